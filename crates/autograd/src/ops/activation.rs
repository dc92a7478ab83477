//! Activations that are more than a function of one element.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::ops::compiled_here;
use crate::var::Var;
use wengert_tensor::sort::{Use, Wanted};
use wengert_tensor::{Dims, Result, Tensor};

compiled_here! {
    /// Kernels of this file.
    ActivationKernels {
        fn sparsemax(x: &Tensor<Self>, out: &mut [Self], axis: usize) = sparsemax;
    }
}

/// max(x - τ, 0) with the threshold τ for which the line sums to 1 (Martins and Astudillo 2016, algorithm 1).
fn sparsemax<T: Float>(x: &Tensor<T>, out: &mut [T], axis: usize) {
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    x.copy_into(out);
    if out.is_empty() {
        return;
    }
    let mut sorted = vec![T::zero(); out.len()];
    let (count, descending) = (n, true);
    let order = Wanted::First { count, descending };
    T::in_order(x, axis, order, Use::Take(x, &mut sorted));
    for (part, sorted) in (out.chunks_exact_mut(n * inner)).zip(sorted.chunks_exact(n * inner)) {
        for c in 0..inner {
            let column = || (0..n).map(|k| k * inner + c);
            if column().any(|i| !part[i].is_finite()) {
                // -∞ takes no part; NaN and +∞ have no answer.
                let bad = column().any(|i| part[i].is_nan() || part[i] == T::infinity());
                if bad || column().all(|i| part[i] == T::neg_infinity()) {
                    column().for_each(|i| part[i] = T::nan());
                    continue;
                }
            }
            let (mut sum, mut tau) = (0.0, 0.0);
            for (k, i) in column().enumerate() {
                let z = sorted[i].as_f64();
                if 1.0 + (k + 1) as f64 * z <= sum + z {
                    break;
                }
                sum += z;
                tau = (sum - 1.0) / (k + 1) as f64;
            }
            column().for_each(|i| part[i] = T::from_f64((part[i].as_f64() - tau).max(0.0)));
        }
    }
}

#[derive(Debug, PartialEq)]
struct Sparsemax {
    axis: usize,
}
impl<T: Float> Op<T> for Sparsemax {
    fn name(&self) -> &'static str {
        "sparsemax"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::sparsemax(ctx.input(0), ctx.output(), self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        // On its support the map is a projection: g less its mean over the support.
        let (y, g) = (ctx.output(), ctx.cotangent());
        let axis = [self.axis as isize];
        let support = y.gt(y.tape().scalar(0.0));
        let mean = (g * support).sum_dim(axis, true) / support.sum_dim(axis, true);
        small![Some((g - mean) * support)]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Softmax of -x along an axis.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn softmin(self, axis: isize) -> Self {
        (-self).softmax(axis)
    }

    /// The point of the probability simplex nearest to x, along an axis: like softmax, but small entries become exactly 0
    /// (Martins and Astudillo 2016).
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn sparsemax(self, axis: isize) -> Self {
        let (x, axis) = self.line("sparsemax", axis);
        x.apply(Sparsemax { axis }).unlined(self)
    }

    #[track_caller]
    fn halves(self, op: &str, axis: isize) -> (Self, Self) {
        let n = self.size(axis);
        assert!(
            n.is_multiple_of(2),
            "{op}: expected an even size along axis {axis}, found shape {:?}",
            self.shape().as_slice()
        );
        (self.narrow(axis, 0, n / 2), self.narrow(axis, n / 2, n))
    }

    /// Gated linear unit: a · σ(b) for the halves a, b of an axis (Dauphin et al. 2017).
    ///
    /// # Panics
    /// When the axis is out of range or its size is odd.
    #[track_caller]
    pub fn glu(self, axis: isize) -> Self {
        let (a, b) = self.halves("glu", axis);
        a * b.sigmoid()
    }

    /// SwiGLU: silu(a) · b for the halves a, b of an axis (Shazeer 2020); the first half is the gate.
    ///
    /// # Panics
    /// When the axis is out of range or its size is odd.
    #[track_caller]
    pub fn swiglu(self, axis: isize) -> Self {
        let (a, b) = self.halves("swiglu", axis);
        a.silu() * b
    }

    /// GEGLU: gelu(a) · b for the halves a, b of an axis (Shazeer 2020); the first half is the gate.
    ///
    /// # Panics
    /// When the axis is out of range or its size is odd.
    #[track_caller]
    pub fn geglu(self, axis: isize) -> Self {
        let (a, b) = self.halves("geglu", axis);
        a.gelu() * b
    }

    /// Randomized leaky ReLU (Xu et al. 2015): x for x > 0, else a · x with a slope drawn anew for each element,
    /// uniformly on [lower, upper); on an inference tape the slope is their mean. PyTorch's defaults are ⅛ and ⅓.
    ///
    /// # Panics
    /// When lower is above upper.
    #[track_caller]
    pub fn rrelu(self, lower: f64, upper: f64) -> Self {
        assert!(
            lower <= upper,
            "rrelu: expected lower <= upper, found {lower} and {upper}"
        );
        if !self.tape().is_training() {
            return self.leaky_relu((lower + upper) / 2.0);
        }
        self.prelu(self.tape().uniform(self.shape(), lower, upper))
    }
}
