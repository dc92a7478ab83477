//! Layers that change the shape only.

use super::{no_parameters, passed};
use crate::forward::Forward;
use wengert_autograd::{Dims, Float, IntoDims, Module, Path, Real, Var, Visitor, VisitorMut};

/// Merges the axes from `start` to `end` (inclusive); by default all but the first.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Flatten, Forward};
/// let x = Tensor::<f32>::ones([2, 3, 4]);
/// assert_eq!(Flatten::new().predict(&x).shape(), [2, 12]);
/// assert_eq!(Flatten { start: 0, end: 1 }.predict(&x).shape(), [6, 4]);
/// ```
///
/// # Panics
/// `forward` panics when an axis is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// First axis merged.
    pub start: isize,
    /// Last axis merged.
    pub end: isize,
}

impl Flatten {
    /// All axes but the first: `[n, a, b, ..]` → `[n, a · b · ..]`.
    pub const fn new() -> Self {
        Flatten { start: 1, end: -1 }
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Forward<T> for Flatten {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.flatten(self.start, self.end))
    }
}

/// Cuts an axis into several: the opposite of [`Flatten`].
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, Unflatten};
/// assert_eq!(Unflatten::new(1, [3, 4]).predict(&Tensor::<f32>::ones([2, 12])).shape(), [2, 3, 4]);
/// ```
///
/// # Panics
/// `forward` panics when the sizes do not multiply to that of the axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unflatten {
    /// The axis.
    pub axis: isize,
    /// What it becomes.
    pub sizes: Dims,
}

impl Unflatten {
    /// `axis` becomes axes of the given sizes.
    pub fn new(axis: isize, sizes: impl IntoDims) -> Self {
        Unflatten {
            axis,
            sizes: sizes.into_dims(),
        }
    }
}

impl<T: Float> Forward<T> for Unflatten {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let n = x.size(self.axis);
        assert!(
            self.sizes.iter().product::<usize>() == n,
            "unflatten: axis {} of shape {:?} has size {n}, it does not become {:?}",
            self.axis,
            x.shape().as_slice(),
            self.sizes.as_slice()
        );
        let mut shape = x.shape();
        let rank = shape.len() as isize;
        let axis = self.axis.rem_euclid(rank) as usize;
        shape.remove(axis);
        shape.insert_many(axis, self.sizes.iter().copied());
        passed(self, x.reshape(shape))
    }
}

/// A function without parameters as a layer.
///
/// ```
/// use wengert_autograd::{Tensor, Var};
/// use wengert_nn::{Forward, Lambda};
/// let double = Lambda::new(|x: Var<'_, f32>| x * 2.0);
/// assert_eq!(double.predict(&Tensor::ones([2])).to_vec(), [2.0, 2.0]);
/// ```
#[derive(Clone, Copy)]
pub struct Lambda<F>(F);

impl<F> Lambda<F> {
    /// The layer that applies `f`.
    pub fn new<T: Float>(f: F) -> Self
    where
        F: for<'t> Fn(Var<'t, T>) -> Var<'t, T>,
    {
        Lambda(f)
    }
}

impl<T: Float, F: for<'t> Fn(Var<'t, T>) -> Var<'t, T>> Forward<T> for Lambda<F> {
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let y = (self.0)(x);
        y.tape().passed(super::place(self), "Lambda", y);
        y
    }
}

impl<T: Real, F: Send + Sync> Module<T> for Lambda<F> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.enter_at(path.as_str(), "Lambda", super::place(self));
        visitor.leave(path.as_str());
    }
    fn visit_mut(&mut self, _: &mut Path, _: &mut dyn VisitorMut<T>) {}
    fn kind(&self) -> &'static str {
        "Lambda"
    }
}

no_parameters!(Flatten, Unflatten);
