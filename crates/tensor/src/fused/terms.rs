//! Sums of squares, products and squared differences, of all or along rows: what is added up goes from memory through registers into the
//! sum, in one pass, with the bits of the same instructions and the sum one after the other.

use super::CInstr;
use super::chain::Arith;
use super::reduce::ReducePlan;
use crate::Real;
use std::ops::Range;

/// What is added up of a value `x`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Term {
    /// `x`.
    Value,
    /// `x · y`, where y is in this slot.
    Times(usize),
    /// `(x - y)²`.
    SquareMinus(usize),
}

impl Term {
    /// The slot of the other operand.
    pub fn other(self) -> Option<usize> {
        match self {
            Term::Value => None,
            Term::Times(y) | Term::SquareMinus(y) => Some(y),
        }
    }
}

/// Takes instructions into the sums that alone read what they make. `registers` are the slots that nobody reads after the
/// program.
pub(super) fn absorb<T: Real>(
    code: &mut Vec<CInstr<T>>,
    reduces: &mut [(usize, ReducePlan)],
    registers: Range<usize>,
) {
    for k in 0..reduces.len() {
        let (slot, plan) = &reduces[k];
        if !plan.takes_terms() {
            continue;
        }
        let Some((at, [a, b])) = maker(code, reduces, &registers, *slot, Arith::Mul) else {
            continue;
        };
        code.remove(at);
        set(&mut reduces[k], a, Term::Times(b));
        if a == b
            && let Some((at, [a, b])) = maker(code, reduces, &registers, a, Arith::Sub)
        {
            code.remove(at);
            set(&mut reduces[k], a, Term::SquareMinus(b));
        }
    }
}

fn set((slot, plan): &mut (usize, ReducePlan), x: usize, term: Term) {
    *slot = x;
    plan.term = term;
}

/// The instruction that a sum of what is in `slot` may stand for, and its operands: it is of this kind, one reduction alone reads
/// what it makes, and its operands are still there at the end.
fn maker<T: Real>(
    code: &[CInstr<T>],
    reduces: &[(usize, ReducePlan)],
    registers: &Range<usize>,
    slot: usize,
    kind: Arith,
) -> Option<(usize, [usize; 2])> {
    let readers =
        (reduces.iter()).filter(|(s, plan)| *s == slot || plan.term.other() == Some(slot));
    if !registers.contains(&slot) || readers.count() != 1 {
        return None;
    }
    let at = code.iter().rposition(|ins| ins.dst as usize == slot)?;
    let ins = &code[at];
    let operands = [ins.args[0], ins.args[1]];
    let undisturbed = code[at + 1..].iter().all(|later| {
        !later.operands().any(|a| a as usize == slot) && !operands.contains(&later.dst)
    });
    (ins.arith() == Some(kind) && undisturbed).then(|| (at, operands.map(|a| a as usize)))
}
