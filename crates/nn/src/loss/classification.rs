//! Losses between scores and classes.

use super::{Loss, Reduction};
use wengert_autograd::{Float, Tensor, Var};

/// Cross-entropy of logits `[n, classes, ..]` with class labels `[n, ..]`: ln Σ e^x - x\[label\].
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct CrossEntropy {
    /// How the samples' losses become one.
    pub reduction: Reduction,
}

impl<T: Float> Loss<T, Tensor<i64>> for CrossEntropy {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<i64>) -> Var<'t, T> {
        self.reduction
            .apply(prediction.cross_entropy_rows(target, None))
    }
}
