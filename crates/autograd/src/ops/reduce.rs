//! Reductions over any set of axes. Sums, maxima and minima end a fused chain in the same pass.

use crate::float::Float;
use crate::op::NodeOp;
use crate::ops::variance::SpreadRows;
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::Dims;
use wengert_tensor::error::OrPanic;
use wengert_tensor::fused::Reduce;
use wengert_tensor::list::Listed;
use wengert_tensor::shape::{IntoAxes, axis_set};

/// Cotangent of a reduction's input.
pub(crate) fn vjp<'t, T: Float>(
    kind: Reduce,
    set: u64,
    keep: bool,
    x: Var<'t, T>,
    y: Var<'t, T>,
    g: Var<'t, T>,
) -> Option<Var<'t, T>> {
    let shape = x.shape();
    let kept: Dims = (shape.iter().enumerate())
        .map(|(i, &d)| if set >> i & 1 == 1 { 1 } else { d })
        .listed();
    let widen = |v: Var<'t, T>| if keep { v } else { v.reshape(kept.clone()) };
    Some(match kind {
        Reduce::Sum => widen(g).broadcast_to(shape),
        // A tie shares the gradient equally.
        Reduce::Max | Reduce::Min => {
            let mask = x.eq(widen(y));
            let count = mask.reduce(Reduce::Sum, set, true);
            mask * (widen(g) / count)
        }
    })
}

/// Sums a cotangent over the axes along which an operand of shape `shape` was broadcast.
pub(crate) fn sum_to<'t, T: Float>(g: Var<'t, T>, shape: &Dims) -> Var<'t, T> {
    let from = g.shape();
    if from == *shape {
        return g;
    }
    let lead = from.len() - shape.len();
    let mut set = 0;
    for i in 0..from.len() {
        if i < lead || (shape[i - lead] == 1 && from[i] != 1) {
            set |= 1 << i;
        }
    }
    let r = g.reduce(Reduce::Sum, set, true);
    if lead == 0 {
        r
    } else {
        r.reshape(shape.clone())
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    pub(crate) fn reduce(self, kind: Reduce, set: u64, keep: bool) -> Self {
        self.record(&NodeOp::Reduce(kind, set, keep), &[self])
    }

    #[track_caller]
    fn all_axes(self) -> u64 {
        let rank = self.rank();
        assert!(rank < 64, "reductions take at most 63 axes");
        (1u64 << rank) - 1
    }

    #[track_caller]
    pub(crate) fn set(self, op: &'static str, axes: impl IntoAxes) -> u64 {
        let rank = self.rank();
        // A single number as a line of one, whose axis is not there.
        let set = axis_set(op, &axes.into_axes(), rank.max(1)).or_panic();
        if rank == 0 { 0 } else { set }
    }

    #[track_caller]
    fn count(self, set: u64) -> usize {
        (self.shape().iter().enumerate())
            .filter(|(i, _)| set >> i & 1 == 1)
            .map(|(_, &d)| d)
            .product()
    }

    /// Sum of all elements; 0 over nothing.
    #[track_caller]
    pub fn sum(self) -> Self {
        self.reduce(Reduce::Sum, self.all_axes(), false)
    }

    /// Sum over some axes; with `keepdim` they stay with size 1.
    ///
    /// # Panics
    /// When an axis is out of range or named twice.
    #[track_caller]
    pub fn sum_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.reduce(Reduce::Sum, self.set("sum", axes), keepdim)
    }

    /// Mean of all elements; NaN over nothing.
    #[track_caller]
    pub fn mean(self) -> Self {
        self.sum() / self.numel() as f64
    }

    /// Mean over some axes; NaN over nothing.
    #[track_caller]
    pub fn mean_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        let set = self.set("mean", axes);
        self.reduce(Reduce::Sum, set, keepdim) / self.count(set) as f64
    }

    /// Variance of all elements around their mean, divided by n - `correction` (1: unbiased, as PyTorch's default;
    /// 0: maximum likelihood). The mean is taken away in two parts, so a large one costs no accuracy. Infinite for
    /// n ≤ correction, NaN for one element.
    #[track_caller]
    pub fn var(self, correction: f64) -> Self {
        let set = self.all_axes();
        self.var_set(set, correction, false)
    }

    /// Variance over some axes.
    #[track_caller]
    pub fn var_dim(self, axes: impl IntoAxes, correction: f64, keepdim: bool) -> Self {
        self.var_set(self.set("var", axes), correction, keepdim)
    }

    #[track_caller]
    fn var_set(self, set: u64, correction: f64, keepdim: bool) -> Self {
        let n = self.count(set) as f64;
        self.spread(set, keepdim) / (n - correction).max(0.0)
    }

    /// Σ (x - mean)² over some axes.
    #[track_caller]
    fn spread(self, set: u64, keepdim: bool) -> Self {
        let shape = self.shape();
        let reduced = |i: usize| set >> i & 1 == 1;
        let kept: Dims = (0..shape.len())
            .filter(|&i| keepdim || !reduced(i))
            .map(|i| if reduced(i) { 1 } else { shape[i] })
            .listed();
        // Whether, of the axes that are not 1, those over which is summed are the last ones.
        let long: SmallVec<[usize; 6]> = (0..shape.len()).filter(|&i| shape[i] != 1).listed();
        if long.is_sorted_by_key(|&i| reduced(i)) {
            let rows = kept.iter().product::<usize>();
            let x = self.reshape([rows, self.count(set)]);
            return x.apply(SpreadRows).reshape(kept);
        }
        // Distances from a constant near the mean, which does not change the result; what it lacks is taken off again. Both
        // sums come from one pass (Chan, Golub, LeVeque 1983).
        let count = self.count(set) as f64;
        let near = self.detach().reduce(Reduce::Sum, set, true) * (1.0 / count);
        let d = self - near;
        let sum = d.reduce(Reduce::Sum, set, keepdim);
        let squares = d.square().reduce(Reduce::Sum, set, keepdim);
        // Rounding may leave less than nothing.
        (squares - sum.square() * (1.0 / count)).clamp_min(0.0)
    }

    /// x - mean, with the mean in two parts, because one number may be too short for it. The first part is a constant for
    /// the derivative, whose choice does not change the result.
    #[track_caller]
    pub(crate) fn centred(self, set: u64) -> Self {
        let share = 1.0 / self.count(set) as f64;
        let rough = self - self.detach().reduce(Reduce::Sum, set, true) * share;
        rough - rough.reduce(Reduce::Sum, set, true) * share
    }

    /// Standard deviation of all elements: the root of [`Var::var`]. A constant input has the subgradient 0.
    #[track_caller]
    pub fn std(self, correction: f64) -> Self {
        self.var(correction).sqrt_zero()
    }

    /// Standard deviation over some axes; where the input is constant along them, the subgradient is 0.
    #[track_caller]
    pub fn std_dim(self, axes: impl IntoAxes, correction: f64, keepdim: bool) -> Self {
        self.var_dim(axes, correction, keepdim).sqrt_zero()
    }

    /// Largest of all elements, with equal shares of the gradient for ties: [`Var::amax`].
    #[track_caller]
    pub fn max(self) -> Self {
        self.amax()
    }

    /// Smallest of all elements, with equal shares of the gradient for ties: [`Var::amin`].
    #[track_caller]
    pub fn min(self) -> Self {
        self.amin()
    }

    /// Largest of all elements; ties share the gradient equally; NaN if any is.
    ///
    /// # Panics
    /// Over nothing.
    #[track_caller]
    pub fn amax(self) -> Self {
        self.reduce(Reduce::Max, self.all_axes(), false)
    }

    /// Largest along some axes; ties share the gradient equally.
    #[track_caller]
    pub fn amax_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.reduce(Reduce::Max, self.set("amax", axes), keepdim)
    }

    /// Smallest of all elements; ties share the gradient equally; NaN if any is.
    ///
    /// # Panics
    /// Over nothing.
    #[track_caller]
    pub fn amin(self) -> Self {
        self.reduce(Reduce::Min, self.all_axes(), false)
    }

    /// Smallest along some axes; ties share the gradient equally.
    #[track_caller]
    pub fn amin_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.reduce(Reduce::Min, self.set("amin", axes), keepdim)
    }

    /// ln Σ e^x over some axes, stable. Zero elements give -∞.
    #[track_caller]
    pub fn logsumexp_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        let set = self.set("logsumexp", axes);
        if self.count(set) == 0 {
            return self.reduce(Reduce::Sum, set, keepdim) + f64::NEG_INFINITY;
        }
        // Shifting by a constant does not change the value, so no gradient flows through the shift; an infinite
        // maximum would turn the difference into NaN and is not subtracted.
        let shift = {
            let m = self.detach().reduce(Reduce::Max, set, true);
            m.mask(m.isfinite())
        };
        let sum = (self - shift).exp().reduce(Reduce::Sum, set, keepdim);
        let shift = if keepdim {
            shift
        } else {
            shift.reshape(sum.shape())
        };
        sum.ln() + shift
    }

    /// ln Σ e^x over all elements, stable.
    #[track_caller]
    pub fn logsumexp(self) -> Self {
        let axes: Vec<isize> = (0..self.rank() as isize).collect();
        self.logsumexp_dim(&axes, false)
    }

    /// Number of elements that are not 0 (NaN counts), as a floating-point number.
    #[track_caller]
    pub fn count_nonzero(self) -> Self {
        self.nonzero_mask().sum()
    }

    /// Number of elements that are not 0 along some axes.
    #[track_caller]
    pub fn count_nonzero_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.nonzero_mask().sum_dim(axes, keepdim)
    }

    /// 1 if no element is 0 (so too over nothing), else 0.
    #[track_caller]
    pub fn all(self) -> Self {
        self.logical_not().sum().logical_not()
    }

    /// 1 where no element along some axes is 0, else 0.
    #[track_caller]
    pub fn all_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.logical_not().sum_dim(axes, keepdim).logical_not()
    }

    /// 1 if an element is not 0 (NaN counts), else 0 (so too over nothing).
    #[track_caller]
    pub fn any(self) -> Self {
        self.count_nonzero().nonzero_mask()
    }

    /// 1 where an element along some axes is not 0, else 0.
    #[track_caller]
    pub fn any_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.count_nonzero_dim(axes, keepdim).nonzero_mask()
    }

    #[track_caller]
    fn nonzero_mask(self) -> Self {
        self.logical_not().logical_not()
    }

    /// Norm of all elements as one vector: (Σ |x|ᵖ)^(1/p); see [`Var::norm_dim`].
    #[track_caller]
    pub fn norm(self, p: f64) -> Self {
        self.norm_set(p, self.all_axes(), false)
    }

    /// Norm over some axes: (Σ |x|ᵖ)^(1/p) for any `p`; p = 2 is the Euclidean norm, ±∞ the largest or smallest
    /// magnitude, 0 the number of elements that are not 0.
    ///
    /// The subgradient at the zero vector is 0, and so is that of an element that is 0. Ties at p = ±∞ share the
    /// gradient equally. Over nothing the norm is 0.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, grad};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![3.0, -4.0, 0.0], [3]));
    /// assert_eq!(x.norm(2.0).item(), 5.0);
    /// let g = grad(x.norm(2.0), [x])[0].value().to_vec();
    /// assert!(g.iter().zip([0.6, -0.8, 0.0]).all(|(g, e)| (g - e).abs() < 1e-15));
    /// assert_eq!(grad((x * 0.0).norm(2.0), [x])[0].value().to_vec(), [0.0; 3]);
    /// ```
    ///
    /// # Panics
    /// When an axis is out of range or named twice, `p` is NaN, or `p` is ±∞ over nothing.
    #[track_caller]
    pub fn norm_dim(self, p: f64, axes: impl IntoAxes, keepdim: bool) -> Self {
        self.norm_set(p, self.set("norm", axes), keepdim)
    }

    #[track_caller]
    fn norm_set(self, p: f64, set: u64, keep: bool) -> Self {
        assert!(!p.is_nan(), "norm: expected a number for p, found NaN");
        if p == 2.0 {
            return self.square().reduce(Reduce::Sum, set, keep).sqrt_zero();
        }
        if p == 1.0 {
            return self.abs().reduce(Reduce::Sum, set, keep);
        }
        if p == f64::INFINITY {
            return self.abs().reduce(Reduce::Max, set, keep);
        }
        if p == f64::NEG_INFINITY {
            return self.abs().reduce(Reduce::Min, set, keep);
        }
        if p == 0.0 {
            return self.nonzero_mask().reduce(Reduce::Sum, set, keep);
        }
        let one = self.tape().scalar(1.0);
        let powers = if p == 3.0 {
            self.abs() * self.square()
        } else {
            // A zero takes no part in the power, whose derivatives may be infinite there; the same for the sum.
            let nonzero = self.nonzero_mask();
            nonzero.where_(self.abs(), one).powf(p).mask(nonzero)
        };
        let sum = powers.reduce(Reduce::Sum, set, keep);
        let some = sum.nonzero_mask();
        let norm = some.where_(sum, one).powf(1.0 / p).mask(some);
        if p > 0.0 {
            return norm;
        }
        // For a negative power a zero makes the sum infinite and the norm 0.
        norm.mask_not(self.logical_not().reduce(Reduce::Sum, set, keep))
    }
}
