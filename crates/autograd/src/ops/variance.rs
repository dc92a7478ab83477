//! Squared distances of rows from their means, the heart of variances, with one reading of memory.

use crate::float::Float;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, small};
use crate::ops::norm::sums_of;
use crate::ops::{Scratch, compiled_here};
use crate::var::Var;
use crate::vmap::BatchCtx;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, dispatch_for};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel, stream};

compiled_here! {
    /// Kernels of this file.
    VarianceKernels {
        fn spread_rows(x: &Tensor<Self>, out: &mut [Self]) = spread_rows;
        fn centre_rows(x: &Tensor<Self>, scale: &Tensor<Self>, out: &mut [Self]) = centre_rows;
    }
}

/// Elements of a block: longer rows are made of several.
const BLOCK: usize = 8192;

/// Elements of the longest rows that [`CentreRows`] takes: they stay in the cache between its two passes.
const LONG: usize = 1 << 16;

/// Mean, in two parts because one number may be too short for it, and sum of the squared distances from it.
#[derive(Clone, Copy)]
struct Moments<T> {
    rough: T,
    rest: T,
    squares: T,
}

impl<T: Real> Moments<T> {
    /// In one pass: distances from a number near the mean, corrected (Chan, Golub, LeVeque 1983).
    #[inline(always)]
    fn of<I: Isa>(x: &[T]) -> Self {
        let (n, quarter) = (x.len(), T::from_f64(0.25));
        let mut rough = T::ZERO;
        for k in 0..4 {
            rough += x[k * (n - 1) / 3] * quarter;
        }
        let first = Self::around::<I>(x, rough);
        // Where those four were far from the mean the correction would take away what counts: once more, from the cache.
        let rest = first.rest.as_f64();
        if rest * rest * n as f64 > first.squares.as_f64() {
            return Self::around::<I>(x, first.rough + first.rest);
        }
        first
    }

    #[inline(always)]
    fn around<I: Isa>(x: &[T], rough: T) -> Self {
        let near = T::Lane::<I>::new(rough);
        let [sum, squares] = sums_of::<T::Lane<I>, 1>([x], |[x]| {
            let d = T::Lane::<I>::new(x) - near;
            [d, d * d]
        });
        let sum = sum.get().as_f64();
        let rest = sum / x.len() as f64;
        let squares = squares.get().as_f64() - sum * rest;
        Moments {
            rough,
            rest: T::from_f64(rest),
            // Rounding may leave less than nothing; NaN stays.
            squares: T::from_f64(if squares < 0.0 { 0.0 } else { squares }),
        }
    }
}

/// Squared distances of rows of `n` elements, or the moments of parts of rows.
struct Spread<'a, T: Real> {
    x: &'a [T],
    n: usize,
    out: &'a mut [T],
    whole: bool,
}
impl<T: Real> Kernel for Spread<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let width = if self.whole { 1 } else { 3 };
        for (x, out) in self.x.chunks(self.n).zip(self.out.chunks_exact_mut(width)) {
            stream::ahead_by(x, self.n);
            let m = Moments::of::<I>(x);
            match out {
                [a, b, c] => (*a, *b, *c) = (m.rough, m.rest, m.squares),
                out => out[0] = m.squares,
            }
        }
    }
}

fn spread_rows<T: Real + Scratch>(x: &Tensor<T>, out: &mut [T]) {
    let n = x.shape()[1];
    if n == 0 {
        return out.fill(T::ZERO);
    }
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    if n <= BLOCK {
        let rows = (parallel::GRAIN / 2).div_ceil(n);
        return parallel::chunks_mut(out, rows, |chunk, out| {
            let x = &x[chunk * rows * n..][..out.len() * n];
            let whole = true;
            dispatch_for::<T, _>(Spread { x, n, out, whole });
        });
    }
    let blocks = n.div_ceil(BLOCK);
    T::with_scratch(3 * blocks, |parts| {
        for (x, out) in x.chunks_exact(n).zip(out) {
            parallel::chunks_mut(parts, 3, |b, part| {
                let x = &x[b * BLOCK..n.min((b + 1) * BLOCK)];
                dispatch_for::<T, _>(Spread {
                    x,
                    n: BLOCK,
                    out: part,
                    whole: false,
                });
            });
            // In the order of the blocks (Chan, Golub, LeVeque 1979).
            let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
            for (b, part) in parts.chunks_exact(3).enumerate() {
                let own = (n - b * BLOCK).min(BLOCK) as f64;
                let step = part[0].as_f64() - mean + part[1].as_f64();
                let total = count + own;
                squares += part[2].as_f64() + step * step * (count * own / total);
                mean += step * (own / total);
                count = total;
            }
            *out = T::from_f64(squares);
        }
    });
}

/// Rows less their means, times a number for each row.
struct Centre<'a, T: Real> {
    x: &'a [T],
    n: usize,
    scale: &'a [T],
    out: &'a mut [T],
}
impl<T: Real> Kernel for Centre<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.n;
        let rows = self.x.chunks_exact(n).zip(self.out.chunks_exact_mut(n));
        for ((x, y), &scale) in rows.zip(self.scale) {
            stream::ahead_by(x, n);
            let m = Moments::of::<I>(x);
            let new = T::Lane::<I>::new;
            let (rough, rest, scale) = (new(m.rough), new(m.rest), new(scale));
            stream::ahead_by(y, n);
            for i in T::Lane::<I>::places(n) {
                y[i] = ((new(x[i]) - rough - rest) * scale).get();
            }
        }
    }
}

fn centre_rows<T: Real>(x: &Tensor<T>, scale: &Tensor<T>, out: &mut [T]) {
    let n = x.shape()[1];
    if out.is_empty() {
        return;
    }
    let (x, scale) = (x.contiguous(), scale.contiguous());
    let x = x.as_slice().expect("made contiguous above");
    let scale = scale.as_slice().expect("made contiguous above");
    let rows = (parallel::GRAIN / 2).div_ceil(n);
    parallel::chunks_mut(out, rows * n, |chunk, out| {
        dispatch_for::<T, _>(Centre {
            x: &x[chunk * rows * n..][..out.len()],
            n,
            scale: &scale[chunk * rows..][..out.len() / n],
            out,
        });
    });
}

/// `[.., rows, n]` with all axes but the last in one, for a kernel that knows rows.
fn as_rows<'t, T: Float>(x: Var<'t, T>) -> Var<'t, T> {
    let shape = x.shape();
    let (&n, lead) = shape.split_last().expect("a matrix, or several");
    x.reshape([lead.iter().product::<usize>(), n])
}

/// Σ (x - mean)² of each row of a matrix.
#[derive(Debug, PartialEq)]
pub(super) struct SpreadRows;
impl<T: Float> Op<T> for SpreadRows {
    fn name(&self) -> &'static str {
        "var"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(small![inputs[0][0]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::spread_rows(ctx.input(0), ctx.output());
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let x = ctx.input(0);
        let rows = x.shape()[1];
        Some(as_rows(x).apply(SpreadRows).reshape([ctx.size(), rows]))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (x, g) = (ctx.input(0), ctx.cotangent() * 2.0);
        small![Some(if x.shape()[1] <= LONG {
            x.tape().apply(CentreRows, &[x, g])
        } else {
            x.centred(1 << 1) * g.reshape([x.shape()[0], 1])
        })]
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        4 * inputs[0].iter().product::<usize>() as u64
    }
}

/// (x - mean) · s of each row of a matrix. Inputs: x, and s with a number for each row.
#[derive(Debug, PartialEq)]
struct CentreRows;
impl<T: Float> Op<T> for CentreRows {
    fn name(&self) -> &'static str {
        "var_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::centre_rows(ctx.input(0), ctx.input(1), ctx.output());
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let (x, s) = (ctx.lifted(0), ctx.lifted(1));
        let rows = s.reshape([s.numel()]);
        let y = x.tape().apply(CentreRows, &[as_rows(x), rows]);
        Some(y.reshape(x.shape()))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (x, s, c) = (ctx.input(0), ctx.input(1), ctx.cotangent());
        small![
            ctx.needs[0].then(|| x.tape().apply(CentreRows, &[c, s])),
            ctx.needs[1].then(|| (c * x.centred(1 << 1)).sum_dim(1, false))
        ]
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        6 * inputs[0].iter().product::<usize>() as u64
    }
}
