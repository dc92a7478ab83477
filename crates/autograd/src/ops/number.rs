//! Operations with a number as second operand, and short names for what is composed of rows of the table.

use crate::float::Float;
use crate::var::Var;
use std::ops::Rem;
use wengert_tensor::{IntoDims, Tensor};

impl<T: Float> Rem<f64> for Var<'_, T> {
    type Output = Self;
    #[track_caller]
    fn rem(self, c: f64) -> Self {
        self % self.tape().scalar(c)
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    fn number(self, c: f64) -> Self {
        self.tape().scalar(c)
    }

    /// max(x, lo); NaN stays NaN; derivative 1 at the limit, 0 below.
    #[track_caller]
    pub fn clamp_min(self, lo: f64) -> Self {
        self.clamp(lo, f64::INFINITY)
    }

    /// min(x, hi); NaN stays NaN; derivative 1 at the limit, 0 above.
    #[track_caller]
    pub fn clamp_max(self, hi: f64) -> Self {
        self.clamp(f64::NEG_INFINITY, hi)
    }

    /// 1 where x > c, else 0.
    #[track_caller]
    pub fn gt_scalar(self, c: f64) -> Self {
        self.gt(self.number(c))
    }

    /// 1 where x ≥ c, else 0.
    #[track_caller]
    pub fn ge_scalar(self, c: f64) -> Self {
        self.ge(self.number(c))
    }

    /// 1 where x < c, else 0.
    #[track_caller]
    pub fn lt_scalar(self, c: f64) -> Self {
        self.lt(self.number(c))
    }

    /// 1 where x ≤ c, else 0.
    #[track_caller]
    pub fn le_scalar(self, c: f64) -> Self {
        self.le(self.number(c))
    }

    /// 1 where x = c, else 0.
    #[track_caller]
    pub fn eq_scalar(self, c: f64) -> Self {
        self.eq(self.number(c))
    }

    /// 1 where x ≠ c, else 0.
    #[track_caller]
    pub fn ne_scalar(self, c: f64) -> Self {
        self.ne(self.number(c))
    }

    /// cˣ with a constant base; see [`Var::pow`].
    #[track_caller]
    pub fn rpow(self, c: f64) -> Self {
        self.number(c).pow(self)
    }

    /// ln(x / (1 - x)): the inverse of the logistic function.
    #[track_caller]
    pub fn logit(self) -> Self {
        self.ln() - (-self).log1p()
    }

    /// sin(π x) / (π x), and 1 at 0, with derivative 0 there.
    #[track_caller]
    pub fn sinc(self) -> Self {
        let x = self * std::f64::consts::PI;
        // Near 0 a series: derivatives of the quotient lose all accuracy there.
        let near = x.abs().lt_scalar(0.25);
        let square = x.mask(near).square();
        let mut terms = [1.0; 7];
        for k in 1..7 {
            terms[k] = -terms[k - 1] / (2 * k * (2 * k + 1)) as f64;
        }
        let mut series = self.number(terms[6]);
        for &term in terms[..6].iter().rev() {
            series = series.mul_add(square, self.number(term));
        }
        // A stand-in keeps the other branch finite.
        let far = near.where_(self.number(1.0), x);
        near.where_(series, far.sin() / far)
    }

    /// |x - target|, by element.
    ///
    /// # Panics
    /// When the shapes differ (no silent broadcasting).
    #[track_caller]
    pub fn l1(self, target: Self) -> Self {
        assert!(
            self.shape() == target.shape(),
            "l1: expected shapes to be equal, found {:?} and {:?}",
            self.shape().as_slice(),
            target.shape().as_slice()
        );
        (self - target).abs()
    }

    /// The same elements under another shape: PyTorch's `view`, here [`Var::reshape`].
    ///
    /// # Panics
    /// When the number of elements differs.
    #[track_caller]
    pub fn view(self, shape: impl IntoDims) -> Self {
        self.reshape(shape)
    }

    /// The answers of a comparison as a tensor of truth values: whether an element is not 0. Evaluates `self`;
    /// [`Tape::truth`](crate::Tape::truth) is the way back.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, -2.0, 3.0], [3]));
    /// let positive = x.gt_scalar(0.0).truths();
    /// assert_eq!(positive.to_vec(), [true, false, true]);
    /// assert_eq!(x.masked_select(&positive).value().to_vec(), [1.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn truths(self) -> Tensor<bool> {
        self.value().map(|x| x != T::zero())
    }
}
