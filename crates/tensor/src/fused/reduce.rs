//! Reductions at the end of a fused program, over any set of axes.
//!
//! The iteration shape is collapsed to runs of reduced and kept axes. Within a block a run of reduced elements is summed
//! with many accumulators; across blocks sums are carried in f64 (with the rounding error kept aside for the total),
//! so a sum of 1e7 f32 values stays within 1e-6.

use crate::Real;
use crate::simd::{Isa, Kernel, dispatch};
use smallvec::SmallVec;

/// Kind of reduction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Reduce {
    /// Sum; zero over nothing.
    Sum,
    /// Largest; NaN if any is NaN.
    Max,
    /// Smallest; NaN if any is NaN.
    Min,
}

impl Reduce {
    /// The value over nothing (for max and min the caller refuses empty reductions).
    pub fn identity(self) -> f64 {
        match self {
            Reduce::Sum => 0.0,
            Reduce::Max => f64::NEG_INFINITY,
            Reduce::Min => f64::INFINITY,
        }
    }

    #[inline(always)]
    fn combine<T: Real>(self, a: T, b: T) -> T {
        match self {
            Reduce::Sum => a + b,
            Reduce::Max => {
                if a > b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
            Reduce::Min => {
                if a < b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
        }
    }
}

pub(super) struct ReducePlan {
    pub kind: Reduce,
    pub out_numel: usize,
    /// Collapsed axes, outermost first: size, and stride in the output (0 for a reduced axis).
    axes: SmallVec<[(usize, usize); 6]>,
    /// Whether every element goes to one output.
    pub all: bool,
    numel: usize,
}

impl ReducePlan {
    pub fn new(shape: &[usize], set: u64, kind: Reduce) -> Self {
        let mut merged: SmallVec<[(usize, bool); 6]> = SmallVec::new();
        for (i, &d) in shape.iter().enumerate() {
            let reduced = i < 64 && set >> i & 1 == 1;
            if d == 1 {
                continue;
            }
            match merged.last_mut() {
                Some(last) if last.1 == reduced => last.0 *= d,
                _ => merged.push((d, reduced)),
            }
        }
        let mut axes: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        let mut step = 1;
        for &(d, reduced) in merged.iter().rev() {
            axes.push((d, if reduced { 0 } else { step }));
            if !reduced {
                step *= d;
            }
        }
        axes.reverse();
        ReducePlan {
            kind,
            out_numel: step,
            all: step == 1 && merged.len() <= 1,
            axes,
            numel: shape.iter().product(),
        }
    }

    /// Elements that a chunk must at least have so that its partial results do not outweigh its work.
    pub fn least_chunk(&self) -> usize {
        match self.axes.first() {
            // Kept outside: a chunk touches only its own rows.
            Some(&(_, step)) if step != 0 => 0,
            _ if self.all => 0,
            _ => 16 * self.out_numel,
        }
    }

    /// Range of output elements that iteration elements `start..end` contribute to.
    pub fn range(&self, start: usize, end: usize) -> (usize, usize) {
        match self.axes.first() {
            Some(&(d, step)) if step != 0 => {
                let inner = self.numel / d;
                (start / inner * step, ((end - 1) / inner + 1) * step)
            }
            _ => (0, self.out_numel),
        }
    }

    /// Largest width of [`ReducePlan::range`] over chunks of `chunk` elements.
    pub fn width(&self, chunk: usize) -> usize {
        match self.axes.first() {
            Some(&(d, step)) if step != 0 => {
                let inner = self.numel / d;
                ((chunk.div_ceil(inner.max(1)) + 1) * step).min(self.out_numel)
            }
            _ => self.out_numel,
        }
    }

    /// Adds the block `x`, which starts at iteration element `start`, to `acc`, which stands for outputs from `low`.
    pub fn add_block<T: Real>(&self, x: &[T], start: usize, low: usize, acc: &mut [f64]) {
        let Some((&(inner, inner_step), outer)) = self.axes.split_last() else {
            acc[0] = combine_total(self.kind, acc[0], x[0].as_f64());
            return;
        };
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        let mut rest = start / inner;
        let mut out = 0usize;
        for (k, &(d, s)) in outer.iter().enumerate().rev() {
            index[k] = rest % d;
            rest /= d;
            out += index[k] * s;
        }
        let mut first = start % inner;
        let mut done = 0;
        while done < x.len() {
            let run = (inner - first).min(x.len() - done);
            let part = &x[done..done + run];
            let to = out - low;
            if inner_step == 0 {
                let v = reduce_run(part, self.kind).as_f64();
                acc[to] = combine_total(self.kind, acc[to], v);
            } else {
                add_row(&mut acc[to + first..to + first + run], part, self.kind);
            }
            done += run;
            first = 0;
            for (k, &(d, s)) in outer.iter().enumerate().rev() {
                index[k] += 1;
                out += s;
                if index[k] < d {
                    break;
                }
                out -= s * d;
                index[k] = 0;
            }
        }
    }
}

#[inline(always)]
pub(super) fn combine_total(kind: Reduce, a: f64, b: f64) -> f64 {
    kind.combine(a, b)
}

/// Reduces a run with 32 accumulators and a fixed tree.
pub(super) fn reduce_run<T: Real>(x: &[T], kind: Reduce) -> T {
    struct Run<'a, T: Real>(&'a [T], Reduce);
    impl<T: Real> Kernel for Run<'_, T> {
        type Output = T;
        #[inline(always)]
        fn run<I: Isa>(self) -> T {
            match self.1 {
                Reduce::Sum => tree(self.0, T::zero(), |a, b| a + b),
                Reduce::Max => tree(self.0, T::neg_infinity(), |a, b| Reduce::Max.combine(a, b)),
                Reduce::Min => tree(self.0, T::infinity(), |a, b| Reduce::Min.combine(a, b)),
            }
        }
    }
    if x.len() == 1 {
        return x[0];
    }
    dispatch(Run(x, kind))
}

#[inline(always)]
fn tree<T: Real>(x: &[T], identity: T, f: impl Fn(T, T) -> T) -> T {
    const W: usize = 32;
    let mut acc = [identity; W];
    let chunks = x.chunks_exact(W);
    let tail = chunks.remainder();
    for c in chunks {
        for k in 0..W {
            acc[k] = f(acc[k], c[k]);
        }
    }
    let mut w = W / 2;
    while w > 0 {
        for k in 0..w {
            acc[k] = f(acc[k], acc[k + w]);
        }
        w /= 2;
    }
    let mut r = acc[0];
    for &v in tail {
        r = f(r, v);
    }
    r
}

fn add_row<T: Real>(acc: &mut [f64], x: &[T], kind: Reduce) {
    struct Row<'a, T: Real>(&'a mut [f64], &'a [T], Reduce);
    impl<T: Real> Kernel for Row<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let n = self.0.len();
            let (acc, x) = (&mut self.0[..n], &self.1[..n]);
            match self.2 {
                Reduce::Sum => (0..n).for_each(|i| acc[i] += x[i].as_f64()),
                kind => (0..n).for_each(|i| acc[i] = kind.combine(acc[i], x[i].as_f64())),
            }
        }
    }
    dispatch(Row(acc, x, kind));
}
