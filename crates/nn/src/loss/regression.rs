//! Losses between real numbers.

use super::{Loss, Reduction};
use wengert_autograd::{Float, Tensor, Var};

/// Squared error (x - y)².
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Mse {
    /// How the elements' losses become one.
    pub reduction: Reduction,
}

impl<T: Float> Loss<T, Tensor<T>> for Mse {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<T>) -> Var<'t, T> {
        let target = prediction.tape().input(target);
        assert!(
            prediction.shape() == target.shape(),
            "mse: prediction of shape {:?} and target of shape {:?} differ (nothing is broadcast)",
            prediction.shape().as_slice(),
            target.shape().as_slice()
        );
        self.reduction.apply((prediction - target).square())
    }
}
