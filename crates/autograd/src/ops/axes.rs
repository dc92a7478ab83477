//! Axes of tensors without axes: where an operation works along one, a single number is a line of one element, as in PyTorch.

use crate::float::Float;
use crate::var::Var;
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Tensor, shape};

impl<'t, T: Float> Var<'t, T> {
    /// Itself, or a line of one element in place of a single number; and the axis of that.
    #[track_caller]
    pub(crate) fn line(self, op: &'static str, axis: isize) -> (Self, usize) {
        let rank = self.rank();
        let a = shape::axis(op, axis, rank.max(1)).or_panic();
        (self.as_line(), a)
    }

    /// Itself, or a line of one element in place of a single number.
    #[track_caller]
    pub(crate) fn as_line(self) -> Self {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        self
    }

    /// What was made of the line of `of`, as a single number again if `of` is one.
    #[track_caller]
    pub(crate) fn unlined(self, of: Self) -> Self {
        if of.rank() == 0 {
            return self.reshape(());
        }
        self
    }

    /// As [`Var::unlined`] for places.
    #[track_caller]
    pub(crate) fn unlined_places(self, places: Tensor<i64>) -> Tensor<i64> {
        if self.rank() == 0 {
            return places.reshape(());
        }
        places
    }
}

/// As [`Var::as_line`] for places.
#[track_caller]
pub(crate) fn line_of(places: &Tensor<i64>) -> Tensor<i64> {
    if places.rank() == 0 {
        return places.reshape([1]);
    }
    places.clone()
}
