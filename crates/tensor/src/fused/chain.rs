//! Runs of sums and products, each of the result before it: the result stays in vector registers.
//!
//! A run goes through all its instructions with a few registers' worth of elements, then with the next ones. Each element
//! sees the same operations in the same order as in the loops of single instructions, so the bits are the same; only the
//! stores and loads of what the next instruction alone reads are left out.

use super::CInstr;
use crate::simd::{Level, level};
use crate::vector::Vector;
use crate::{Real, of_type};
use std::ops::Range;

/// A function that runs in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arith {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a + imm[0]`.
    AddScalar,
    /// `a * imm[0]`.
    MulScalar,
    /// `+0` where `a <= 0`, else `a`.
    Relu,
}

/// Instructions that run one by one, or in registers.
pub(super) enum Part<T> {
    /// The instructions from the first one up to the second one.
    Steps(usize, usize),
    /// A run.
    Chain(Chain<T>),
}

/// A run: `first` is read, then each link applied to what the one before it made.
pub(super) struct Chain<T> {
    first: u32,
    links: Vec<Link<T>>,
}

struct Link<T> {
    kind: Kind,
    /// Whether somebody reads the result from memory.
    stored: bool,
    dst: u32,
    /// The other operand: a slot, or [`ITSELF`].
    other: u32,
    imm: T,
}

/// The result of the link before stands on both sides.
const ITSELF: u32 = u32::MAX;

#[derive(Clone, Copy)]
enum Kind {
    Add,
    Sub,
    /// `other - x`.
    Reversed,
    Mul,
    AddScalar,
    MulScalar,
    Relu,
}

/// Divides a program into parts. `read` are the slots that are read after it.
pub(super) fn parts<T: Real>(
    instrs: &[CInstr<T>],
    slots: usize,
    read: impl Iterator<Item = usize>,
) -> Vec<Part<T>> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < instrs.len() {
        let mut end = at + 1;
        if function::<T>().is_some() && instrs[at].arith().is_some() {
            while end < instrs.len() && follows(&instrs[end - 1], &instrs[end]) {
                end += 1;
            }
        }
        ends.push(end);
        at = end;
    }
    // From the end on: which slots are read from memory before they are written again.
    let mut live = vec![false; slots];
    read.for_each(|s| live[s] = true);
    let mut parts: Vec<Part<T>> = Vec::new();
    while let Some(end) = ends.pop() {
        let start = ends.last().copied().unwrap_or(0);
        let run = &instrs[start..end];
        let mut links = Vec::with_capacity(if run.len() > 1 { run.len() } else { 0 });
        for (k, ins) in run.iter().enumerate().rev() {
            let stored = std::mem::replace(&mut live[ins.dst as usize], false);
            let before = k.checked_sub(1).map(|k| run[k].dst);
            for a in ins.operands() {
                live[a as usize] |= before != Some(a);
            }
            if run.len() > 1 {
                links.push(link(ins, before, stored));
            }
        }
        match parts.last_mut() {
            _ if run.len() > 1 => {
                links.reverse();
                let first = run[0].args[0];
                parts.push(Part::Chain(Chain { first, links }));
            }
            Some(Part::Steps(from, _)) => *from = start,
            _ => parts.push(Part::Steps(start, end)),
        }
    }
    parts.reverse();
    parts
}

/// Whether an instruction can take the result of the one before it from registers.
fn follows<T: Real>(before: &CInstr<T>, ins: &CInstr<T>) -> bool {
    ins.arith().is_some() && ins.operands().any(|a| a == before.dst)
}

/// The link that an instruction becomes, behind one with the result `before`.
fn link<T: Real>(ins: &CInstr<T>, before: Option<u32>, stored: bool) -> Link<T> {
    let [a, b, _] = ins.args;
    // The first link has the run's first operand in the registers.
    let (left, right) = match before {
        Some(d) => (a == d, b == d),
        None => (true, false),
    };
    let other = match (left, right) {
        (true, true) => ITSELF,
        (true, false) => b,
        _ => a,
    };
    let kind = match ins.arith().expect("only these follow each other") {
        Arith::Add => Kind::Add,
        Arith::Sub if left => Kind::Sub,
        Arith::Sub => Kind::Reversed,
        Arith::Mul => Kind::Mul,
        Arith::AddScalar => Kind::AddScalar,
        Arith::MulScalar => Kind::MulScalar,
        Arith::Relu => Kind::Relu,
    };
    Link {
        kind,
        stored,
        dst: ins.dst,
        other,
        imm: ins.imm[0],
    }
}

/// Runs a chain on the elements `part` of the slots.
type ChainFn<T> = unsafe fn(chain: &Chain<T>, table: &[*mut T], part: Range<usize>);

/// Registers that a run passes through its instructions at a time.
const REGISTERS: usize = 4;

/// # Safety
/// The instruction set of `V` is available. Every slot that the chain names is valid for `part`.
#[inline(always)]
unsafe fn run<V: Vector>(chain: &Chain<V::Elem>, table: &[*mut V::Elem], part: Range<usize>) {
    let wide = REGISTERS * V::LANES;
    let mut at = part.start;
    // SAFETY: by the contract, and every strip ends at the end of `part`.
    unsafe {
        while part.end - at >= wide {
            strip::<V, REGISTERS, false>(chain, table, at, wide);
            at += wide;
        }
        match part.end - at {
            0 => {}
            n if n <= V::LANES => strip::<V, 1, true>(chain, table, at, n),
            n => strip::<V, REGISTERS, true>(chain, table, at, n),
        }
    }
}

/// Takes `n` elements from `at` on through the chain: `R` registers, full ones unless `PART`.
///
/// # Safety
/// As for [`run`], with `at + n` for `len`.
#[inline(always)]
unsafe fn strip<V: Vector, const R: usize, const PART: bool>(
    chain: &Chain<V::Elem>,
    table: &[*mut V::Elem],
    at: usize,
    n: usize,
) {
    // SAFETY: by the contract; masked lanes are not accessed.
    unsafe {
        let mut masks = [V::mask(V::LANES.min(n)); R];
        for k in 1..R {
            masks[k] = V::mask(n.saturating_sub(k * V::LANES).min(V::LANES));
        }
        let read = |slot: u32| {
            let p = table
                .get_unchecked(slot as usize)
                .cast_const()
                .wrapping_add(at);
            let mut x = [V::zero(); R];
            for k in 0..R {
                let p = p.wrapping_add(k * V::LANES);
                x[k] = if PART {
                    V::load_part(p, masks[k])
                } else {
                    V::load(p)
                };
            }
            x
        };
        let mut x = read(chain.first);
        for l in &chain.links {
            let other = |x: &[V; R]| if l.other == ITSELF { *x } else { read(l.other) };
            match l.kind {
                Kind::Add => x = both(x, other(&x), |a, b| a.add(b)),
                Kind::Sub => x = both(x, other(&x), |a, b| a.sub(b)),
                Kind::Reversed => x = both(x, other(&x), |a, b| b.sub(a)),
                Kind::Mul => x = both(x, other(&x), |a, b| a.mul(b)),
                Kind::AddScalar => x = both(x, [V::splat(l.imm); R], |a, b| a.add(b)),
                Kind::MulScalar => x = both(x, [V::splat(l.imm); R], |a, b| a.mul(b)),
                Kind::Relu => x = both(x, x, |a, _| a.relu()),
            }
            if l.stored {
                let p = table.get_unchecked(l.dst as usize).wrapping_add(at);
                for k in 0..R {
                    let p = p.wrapping_add(k * V::LANES);
                    if PART {
                        x[k].store_part(p, masks[k]);
                    } else {
                        x[k].store(p);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn both<V: Vector, const R: usize>(mut x: [V; R], y: [V; R], f: impl Fn(V, V) -> V) -> [V; R] {
    for k in 0..R {
        x[k] = f(x[k], y[k]);
    }
    x
}

/// [`run`] for each instruction set that has it.
struct Functions<T: 'static> {
    avx512: Option<ChainFn<T>>,
    avx2: Option<ChainFn<T>>,
}

#[cfg(target_arch = "x86_64")]
macro_rules! functions {
    ($elem:ty, $v512:ident, $v256:ident) => {{
        use crate::vector::x86::{$v256, $v512};
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
        unsafe fn avx512(chain: &Chain<$elem>, table: &[*mut $elem], part: Range<usize>) {
            // SAFETY: the contract is passed on.
            unsafe { run::<$v512>(chain, table, part) }
        }
        #[target_feature(enable = "avx2,fma,bmi2")]
        unsafe fn avx2(chain: &Chain<$elem>, table: &[*mut $elem], part: Range<usize>) {
            // SAFETY: the contract is passed on.
            unsafe { run::<$v256>(chain, table, part) }
        }
        Functions {
            avx512: Some(avx512),
            avx2: Some(avx2),
        }
    }};
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! functions {
    ($elem:ty, $v512:ident, $v256:ident) => {
        Functions {
            avx512: None,
            avx2: None,
        }
    };
}
static F32: Functions<f32> = functions!(f32, F32x16, F32x8);
static F64: Functions<f64> = functions!(f64, F64x8, F64x4);

/// [`run`] for the instruction set of this machine, if it has one.
fn function<T: Real>() -> Option<ChainFn<T>> {
    let f = of_type::<Functions<T>>([&F32, &F64]);
    match level() {
        Level::Avx512 => f.avx512,
        Level::Avx2 => f.avx2,
        Level::Baseline => None,
    }
}

impl<T: Real> Chain<T> {
    /// Runs the chain on the elements `part` of the slots.
    ///
    /// # Safety
    /// Every slot that the chain names is valid for `part`, its results for writing, and no result overlaps an operand of its
    /// instruction.
    #[inline]
    pub unsafe fn run(&self, table: &[*mut T], part: Range<usize>) {
        let f = function::<T>().expect("chains are made where there is one");
        // SAFETY: `function` returns it where the instruction set is available; the rest by the contract.
        unsafe { f(self, table, part) }
    }
}
