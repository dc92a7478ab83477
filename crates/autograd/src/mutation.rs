//! Sabotage of derivative rules, for the test that measures how many wrong rules the suite notices: of the cotangents that a
//! rule returns, and of every value that it records on the way. Only compiled with the feature `mutation`, which nothing but
//! that test turns on.

use crate::float::Float;
use crate::op::{Cotangents, NodeOp};
use crate::ops::elementwise::Elem;
use crate::var::Var;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What is done to the cotangent that a rule returns for one operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Its sign is flipped.
    Sign,
    /// It is multiplied by 1.001.
    Scale,
    /// It is left out.
    Drop,
    /// Its elements come in the opposite order.
    Reverse,
    /// It is NaN: what passes even then does not depend on it.
    Nan,
}

/// A rule and one of its operands.
pub type Site = (&'static str, usize);

/// What is sabotaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The cotangent that a rule returns for an operand.
    Cotangent(Site, Mutation),
    /// The value that a rule records as the n-th; [`Mutation::Sign`], [`Mutation::Scale`] or [`Mutation::Nan`]. A truth value
    /// is turned round by the first two.
    Term(Site, Mutation),
}

/// What rules returned, and what they recorded.
#[derive(Default, Debug)]
pub struct Seen {
    /// Operands that rules returned cotangents for.
    pub cotangents: BTreeSet<Site>,
    /// Values that rules recorded, and by which operations.
    pub terms: BTreeMap<Site, BTreeSet<&'static str>>,
}

#[derive(Default)]
struct State {
    target: Option<Target>,
    seen: Seen,
    /// The rule at work, and how many values it has recorded.
    rule: Option<Site>,
}

thread_local!(static STATE: RefCell<State> = RefCell::new(State::default()));

/// Runs `f` on this thread with one rule sabotaged, or none; returns what rules did.
pub fn with<R>(target: Option<Target>, f: impl FnOnce() -> R) -> (R, Seen) {
    STATE.set(State {
        target,
        ..State::default()
    });
    let r = f();
    (r, STATE.take().seen)
}

/// The name of an operation's rule: its own, but where operations of one name have rules of their own.
pub(crate) fn name<T: Float>(op: &NodeOp<T>) -> &'static str {
    match op {
        NodeOp::Op(op) => crate::ops::lookup::rule_name(op.as_any()),
        _ => None,
    }
    .unwrap_or(op.name())
}

/// Runs the rule of an operation: what it records are its terms.
pub(crate) fn rule<R>(op: &'static str, f: impl FnOnce() -> R) -> R {
    let before = STATE.with_borrow_mut(|s| s.rule.replace((op, 0)));
    let r = f();
    STATE.with_borrow_mut(|s| s.rule = before);
    r
}

/// Whether an operation answers yes or no.
pub(crate) fn is_truth<T: Float>(op: &NodeOp<T>) -> bool {
    use Elem::{
        Eq, Ge, Gt, IsFinite, IsInf, IsNan, Le, LogicalAnd, LogicalNot, LogicalOr, LogicalXor, Lt,
        Ne,
    };
    let NodeOp::Elem(e, _) = op else { return false };
    matches!(e, Eq | Ge | Gt | IsFinite | IsInf | IsNan | Le)
        || matches!(
            e,
            LogicalAnd | LogicalNot | LogicalOr | LogicalXor | Lt | Ne
        )
}

/// Called with every value that is recorded.
pub(crate) fn term<T: Float>(truth: bool, value: Var<'_, T>) -> Var<'_, T> {
    let op = value.tape().graph.borrow().nodes[value.id as usize]
        .op
        .name();
    let what = STATE.with_borrow_mut(|s| {
        let (name, n) = s.rule?;
        s.rule = Some((name, n + 1));
        s.seen.terms.entry((name, n)).or_default().insert(op);
        match s.target {
            Some(Target::Term(site, what)) if site == (name, n) => Some(what),
            _ => None,
        }
    });
    let Some(what) = what else { return value };
    // What is recorded here is no term.
    let rule = STATE.with_borrow_mut(|s| s.rule.take());
    let changed = match what {
        Mutation::Nan => value * f64::NAN,
        _ if truth => value.logical_not(),
        Mutation::Sign => -value,
        _ => value * 1.001,
    };
    STATE.with_borrow_mut(|s| s.rule = rule);
    changed
}

/// Called with what a rule returned.
pub(crate) fn disturb<T: Float>(op: &'static str, cotangents: &mut Cotangents<'_, T>) {
    let target = STATE.with_borrow_mut(|s| {
        for (k, ct) in cotangents.iter().enumerate() {
            if ct.is_some() {
                s.seen.cotangents.insert((op, k));
            }
        }
        match s.target {
            Some(Target::Cotangent((name, k), what)) if name == op => Some((k, what)),
            _ => None,
        }
    });
    let Some((k, what)) = target else { return };
    let Some(Some(ct)) = cotangents.get(k).copied() else {
        return;
    };
    cotangents[k] = match what {
        Mutation::Sign => Some(-ct),
        Mutation::Scale => Some(ct * 1.001),
        Mutation::Drop => None,
        Mutation::Reverse => Some(ct.flatten(0, -1).flip([0]).reshape(ct.shape())),
        Mutation::Nan => Some(ct * f64::NAN),
    };
}
