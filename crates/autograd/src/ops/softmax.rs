//! Softmax, its logarithm, and cross-entropy.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::var::Var;
use crate::vmap::BatchCtx;
use wengert_tensor::{Dims, Result, Tensor};

mod kernels;
use kernels::{cross_entropy, cross_entropy_grad, softmax};
pub(crate) use kernels::{row_exp, row_max};

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
        let (x, axis) = self.line("softmax", axis);
        T::record_softmax(x, axis, false).unlined(self)
    }

    /// ln softmax(x) along an axis, stable.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn log_softmax(self, axis: isize) -> Self {
        let (x, axis) = self.line("log_softmax", axis);
        T::record_softmax(x, axis, true).unlined(self)
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
