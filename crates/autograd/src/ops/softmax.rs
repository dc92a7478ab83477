//! Softmax, its logarithm, and cross-entropy.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::var::Var;
use crate::vmap::BatchCtx;
use wengert_tensor::error::OrPanic;
use wengert_tensor::lane::Lane;
use wengert_tensor::parallel::Band;
use wengert_tensor::simd::{Isa, Kernel, dispatch_for};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel, shape};

compiled_here! {
    /// Kernels of this file.
    SoftmaxKernels {
        fn softmax(x: &Tensor<Self>, out: &mut [Self], axis: usize, log: bool) = softmax;
        fn cross_entropy(x: &Tensor<Self>, labels: &Tensor<i64>, out: &mut [Self], ignore: Option<i64>) = cross_entropy;
        fn cross_entropy_grad(
            x: &Tensor<Self>, labels: &Tensor<i64>, g: &Tensor<Self>, out: &mut [Self], ignore: Option<i64>
        ) = cross_entropy_grad;
        #[track_caller]
        fn record_cross_entropy<'t>(
            x: Var<'t, Self>, labels: &Tensor<i64>, ignore: Option<i64>
        ) -> Var<'t, Self> = record_cross_entropy;
        #[track_caller]
        fn record_softmax<'t>(x: Var<'t, Self>, axis: usize, log: bool) -> Var<'t, Self> = record_softmax;
    }
}

/// Rows handed to one task.
fn grain(row: usize) -> usize {
    (parallel::GRAIN / 4).div_ceil(row.max(1)).max(1) * row
}

fn softmax<T: Real>(x: &Tensor<T>, out: &mut [T], axis: usize, log: bool) {
    let shape = x.shape();
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    if out.is_empty() {
        return;
    }
    let row = n * inner;
    let dense = x.as_slice();
    if dense.is_none() {
        x.copy_into(out);
    }
    if inner == 1 {
        let size = grain(row);
        parallel::chunks_mut(out, size, |chunk, part| {
            for (i, r) in part.chunks_exact_mut(row).enumerate() {
                if let Some(x) = dense {
                    r.copy_from_slice(&x[chunk * size + i * row..][..row]);
                }
                dispatch_for::<T, _>(Row { x: r, log });
            }
        });
        return;
    }
    if let (Some(x), 1) = (dense, out.len() / row) {
        // One matrix: tasks take columns of it.
        let columns = (parallel::GRAIN / 4).div_ceil(n).next_multiple_of(BLOCK);
        parallel::bands([(out, 1)], inner, columns, |first, _, [out]| {
            let from = Some((&x[first..], inner));
            dispatch_for::<T, _>(Columns {
                x: out,
                from,
                n,
                log,
            });
        });
        return;
    }
    let size = grain(row);
    parallel::chunks_mut(out, size, |chunk, part| {
        for (i, r) in part.chunks_exact_mut(row).enumerate() {
            let from = dense.map(|x| (&x[chunk * size + i * row..], inner));
            parallel::bands([(r, 1)], inner, inner, |_, _, [x]| {
                dispatch_for::<T, _>(Columns { x, from, n, log });
            });
        }
    });
}

const W: usize = 16;

/// Largest of a row; NaN if any is NaN.
#[inline(always)]
pub(crate) fn row_max<T: Real, I: Isa>(x: &[T]) -> T::Lane<I> {
    T::Lane::<I>::new(wengert_tensor::fused::extreme_of::<T, I>(x, true))
}

/// Adds the accumulators in a fixed tree.
#[inline(always)]
fn tree_sum<V: Lane>(mut acc: [V; W]) -> V {
    let mut w = W / 2;
    while w > 0 {
        for k in 0..w {
            acc[k] = acc[k] + acc[k + w];
        }
        w /= 2;
    }
    acc[0]
}

/// Σ e^(x - m).
#[inline(always)]
fn row_sum_exp<V: Lane>(x: &[V::Elem], m: V) -> V {
    let mut acc = [V::c(0.0); W];
    let chunks = x.chunks_exact(W);
    let tail = chunks.remainder();
    for c in chunks {
        for k in 0..W {
            acc[k] = acc[k] + (V::new(c[k]) - m).exp();
        }
    }
    let mut s = V::c(0.0);
    for &t in tail {
        s = s + (V::new(t) - m).exp();
    }
    s + tree_sum(acc)
}

/// Replaces x by e^(x - m) and returns the sum.
#[inline(always)]
pub(crate) fn row_exp<V: Lane>(x: &mut [V::Elem], m: V) -> V {
    let mut acc = [V::c(0.0); W];
    let mut chunks = x.chunks_exact_mut(W);
    for c in &mut chunks {
        for k in 0..W {
            let e = (V::new(c[k]) - m).exp();
            c[k] = e.get();
            acc[k] = acc[k] + e;
        }
    }
    let mut s = V::c(0.0);
    for t in chunks.into_remainder() {
        let e = (V::new(*t) - m).exp();
        *t = e.get();
        s = s + e;
    }
    s + tree_sum(acc)
}

struct Row<'a, T: Real> {
    x: &'a mut [T],
    log: bool,
}
impl<T: Real> Kernel for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let m = row_max::<T, I>(self.x);
        if self.log {
            let s = row_sum_exp(self.x, m).ln();
            for x in self.x.iter_mut() {
                *x = (T::Lane::<I>::new(*x) - m - s).get();
            }
        } else {
            let s = T::Lane::<I>::c(1.0) / row_exp(self.x, m);
            for x in self.x.iter_mut() {
                *x = (T::Lane::<I>::new(*x) * s).get();
            }
        }
    }
}

/// Columns that are worked on side by side.
const BLOCK: usize = 64;

/// The same along the outer of two axes, for blocks of columns.
struct Columns<'a, T: Real> {
    /// `n` rows.
    x: Band<'a, T>,
    /// Where they come from, and from one to the next; or they are in place.
    from: Option<(&'a [T], usize)>,
    n: usize,
    log: bool,
}
impl<T: Real> Kernel for Columns<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (mut x, n) = (self.x, self.n);
        let columns = x.at(0).len();
        let mut at = 0;
        while at < columns {
            let b = BLOCK.min(columns - at);
            let mut m = [T::Lane::<I>::c(f64::NEG_INFINITY); BLOCK];
            let mut s = [T::Lane::<I>::c(0.0); BLOCK];
            for r in 0..n {
                if let Some((from, step)) = self.from {
                    x.at_mut(r)[at..][..b].copy_from_slice(&from[r * step + at..][..b]);
                }
                let row = &x.at(r)[at..][..b];
                for k in 0..b {
                    m[k] = m[k].max(T::Lane::<I>::new(row[k]));
                }
            }
            for r in 0..n {
                let row = &mut x.at_mut(r)[at..][..b];
                for k in 0..b {
                    let e = (T::Lane::<I>::new(row[k]) - m[k]).exp();
                    s[k] = s[k] + e;
                    if !self.log {
                        row[k] = e.get();
                    }
                }
            }
            for s in &mut s[..b] {
                *s = if self.log {
                    s.ln()
                } else {
                    T::Lane::<I>::c(1.0) / *s
                };
            }
            for r in 0..n {
                let row = &mut x.at_mut(r)[at..][..b];
                for k in 0..b {
                    let v = T::Lane::<I>::new(row[k]);
                    row[k] = if self.log { v - m[k] - s[k] } else { v * s[k] }.get();
                }
            }
            at += b;
        }
    }
}

struct LogSumExp<'a, T: Real>(&'a [T]);
impl<T: Real> Kernel for LogSumExp<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self) -> T {
        let m = row_max::<T, I>(self.0);
        (row_sum_exp(self.0, m).ln() + m).get()
    }
}

fn label(labels: &Tensor<i64>, i: usize) -> i64 {
    let at = labels.layout().offset as isize + i as isize * labels.strides()[0];
    labels.storage().as_slice()[at as usize]
}

fn cross_entropy<T: Real>(x: &Tensor<T>, labels: &Tensor<i64>, out: &mut [T], ignore: Option<i64>) {
    let c = x.shape()[1];
    let x = x.contiguous();
    let data = x.as_slice().expect("made contiguous above");
    parallel::chunks_mut(out, grain(c).div_ceil(c.max(1)), |chunk, part| {
        let first = chunk * grain(c).div_ceil(c.max(1));
        for (k, o) in part.iter_mut().enumerate() {
            let y = label(labels, first + k);
            if Some(y) == ignore {
                *o = T::zero();
                continue;
            }
            let r = &data[(first + k) * c..][..c];
            *o = dispatch_for::<T, _>(LogSumExp(r)) - r[y as usize];
        }
    });
}

fn cross_entropy_grad<T: Real>(
    x: &Tensor<T>,
    labels: &Tensor<i64>,
    g: &Tensor<T>,
    out: &mut [T],
    ignore: Option<i64>,
) {
    let c = x.shape()[1];
    x.copy_into(out);
    let g0 = g.layout().offset as isize;
    let (gs, gd) = (g.strides()[0], g.storage().as_slice());
    parallel::chunks_mut(out, grain(c), |chunk, part| {
        let first = chunk * (grain(c) / c.max(1));
        for (k, row) in part.chunks_exact_mut(c).enumerate() {
            let y = label(labels, first + k);
            if Some(y) == ignore {
                row.fill(T::zero());
                continue;
            }
            dispatch_for::<T, _>(Row { x: row, log: false });
            row[y as usize] -= T::one();
            let w = gd[(g0 + (first + k) as isize * gs) as usize];
            row.iter_mut().for_each(|v| *v *= w);
        }
    });
}

#[derive(Debug, PartialEq)]
struct Softmax {
    axis: usize,
    log: bool,
}
impl<T: Float> Op<T> for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::softmax(ctx.input(0), ctx.output(), self.axis, self.log);
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(ctx.input(0).apply(Softmax {
            axis: self.axis + 1,
            log: self.log,
        }))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (y, g) = (ctx.output(), ctx.cotangent());
        let axis = [self.axis as isize];
        small![Some(if self.log {
            g - y.exp() * g.sum_dim(axis, true)
        } else {
            y * (g - (g * y).sum_dim(axis, true))
        })]
    }
    fn flops(&self, _: &[&[usize]], output: &[usize]) -> u64 {
        16 * output.iter().product::<usize>() as u64
    }
}

/// Cross-entropy of rows of logits with class labels, one number a row.
#[derive(Debug, PartialEq, Clone, Copy)]
struct CrossEntropy {
    ignore: Option<i64>,
}
impl<T: Float> Op<T> for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        if inputs[0].len() != 2 || inputs[1].len() != 1 || inputs[0][0] != inputs[1][0] {
            return Err(shape_error(
                "cross_entropy",
                format!(
                    "logits of shape {:?} and labels of shape {:?} do not fit (expected [n, classes] and [n])",
                    inputs[0], inputs[1]
                ),
            ));
        }
        Ok(Dims::from_slice(inputs[1]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, labels) = (ctx.input(0), ctx.ints(1));
        <T as SoftmaxKernels>::cross_entropy(x, labels, ctx.output(), self.ignore);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = CrossEntropyGrad {
            ignore: self.ignore,
        };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.input(0), ctx.input(1), ctx.cotangent()]);
        small![Some(g), None]
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        16 * inputs[0].iter().product::<usize>() as u64
    }
}

/// (softmax(x) - one_hot(label)) · g, row by row.
#[derive(Debug, PartialEq)]
struct CrossEntropyGrad {
    ignore: Option<i64>,
}
impl<T: Float> Op<T> for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, labels, g) = (ctx.input(0), ctx.ints(1), ctx.input(2));
        T::cross_entropy_grad(x, labels, g, ctx.output(), self.ignore);
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        // Linear in the cotangent: with logits that are the same for all, their part is computed once.
        if ctx.batched(0) {
            return None;
        }
        let (x, labels, g) = (ctx.input(0), ctx.input(1), ctx.input(2));
        let one = x.tape().ones(labels.shape());
        let ignore = self.ignore;
        let d = x
            .tape()
            .apply(CrossEntropyGrad { ignore }, &[x, labels, one]);
        Some(d * g.unsqueeze(-1))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (x, labels, g, c) = (ctx.input(0), ctx.input(1), ctx.input(2), ctx.cotangent());
        // With d = softmax(x) - one_hot: the output is d g.
        let d = x.tape().apply(
            CrossEntropyGrad {
                ignore: self.ignore,
            },
            &[x, labels, x.tape().ones(g.shape())],
        );
        let dg = (c * d).sum_dim([1], false);
        let mut g1 = g.unsqueeze(1);
        if let Some(ignore) = self.ignore {
            // Ignored rows have a zero output whatever x is: their weight goes.
            let keep = x.tape().apply(LabelMask { ignore }, &[labels]);
            g1 = g1 * keep.unsqueeze(1);
        }
        let s = x.softmax(1);
        let dx = g1 * s * (c - (c * s).sum_dim([1], true));
        small![Some(dx), None, Some(dg)]
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        16 * inputs[0].iter().product::<usize>() as u64
    }
}

/// 1 where the label counts, 0 where it is ignored.
#[derive(Debug, PartialEq)]
struct LabelMask {
    ignore: i64,
}
impl<T: Float> Op<T> for LabelMask {
    fn name(&self) -> &'static str {
        "label_mask"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let labels = ctx.ints(0);
        for (o, y) in ctx.output().iter_mut().zip(labels.iter()) {
            *o = if y == self.ignore {
                T::zero()
            } else {
                T::one()
            };
        }
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![None]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// e^x / Σ e^x along an axis, stable.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn softmax(self, axis: isize) -> Self {
        let axis = shape::axis("softmax", axis, self.rank()).or_panic();
        T::record_softmax(self, axis, false)
    }

    /// ln softmax(x) along an axis, stable.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn log_softmax(self, axis: isize) -> Self {
        let axis = shape::axis("log_softmax", axis, self.rank()).or_panic();
        T::record_softmax(self, axis, true)
    }

    /// Mean cross-entropy of logits `[n, classes, ...]` with class labels `[n, ...]`:
    /// mean of ln Σ e^x - x\[label\].
    ///
    /// # Panics
    /// When the shapes do not fit or a label is not below the number of classes.
    #[track_caller]
    pub fn cross_entropy(self, labels: &Tensor<i64>) -> Self {
        self.cross_entropy_rows(labels, None).mean()
    }

    /// Cross-entropy of each sample, without reduction. A label equal to `ignore` gives 0.
    ///
    /// # Panics
    /// As [`Var::cross_entropy`].
    #[track_caller]
    pub fn cross_entropy_rows(self, labels: &Tensor<i64>, ignore: Option<i64>) -> Self {
        T::record_cross_entropy(self, labels, ignore)
    }

    /// Mean squared error: mean of (x - target)².
    ///
    /// # Panics
    /// When the shapes differ (no silent broadcasting).
    #[track_caller]
    pub fn mse(self, target: Self) -> Self {
        assert!(
            self.shape() == target.shape(),
            "mse: expected shapes to be equal, found {:?} and {:?}",
            self.shape().as_slice(),
            target.shape().as_slice()
        );
        (self - target).square().mean()
    }
}

/// [`Var::cross_entropy_rows`], compiled in this crate.
#[track_caller]
fn record_cross_entropy<'t, T: Float>(
    x: Var<'t, T>,
    labels: &Tensor<i64>,
    ignore: Option<i64>,
) -> Var<'t, T> {
    let scores = x.class_rows("cross_entropy", labels, ignore);
    let y = x.tape().int_input(&labels.reshape([labels.numel()]));
    let rows = x.tape().apply(CrossEntropy { ignore }, &[scores, y]);
    rows.reshape(labels.shape())
}

/// The softmax of one axis or its logarithm, compiled in this crate.
#[track_caller]
fn record_softmax<'t, T: Float>(x: Var<'t, T>, axis: usize, log: bool) -> Var<'t, T> {
    x.apply(Softmax { axis, log })
}
