//! Losses, as functions of `Var`s and as objects that hold their settings.

mod classification;
mod regression;

pub use classification::CrossEntropy;
pub use regression::Mse;

use wengert_autograd::{Float, Var};

/// How the losses of the elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Not at all: the losses keep their shape.
    None,
}

impl Reduction {
    /// Reduces.
    #[track_caller]
    pub fn apply<T: Float>(self, losses: Var<'_, T>) -> Var<'_, T> {
        match self {
            Reduction::Mean => losses.mean(),
            Reduction::Sum => losses.sum(),
            Reduction::None => losses,
        }
    }
}

/// A loss with its settings: compares a prediction with a target of type `Y`.
///
/// Targets are tensors, not `Var`s; the functions of this module take `Var`s where a gradient for the target makes
/// sense.
pub trait Loss<T: Float, Y: ?Sized> {
    /// The loss, reduced as the object says.
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Y) -> Var<'t, T>;
}
