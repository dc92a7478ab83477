//! Losses, as functions of `Var`s and as objects that hold their settings.
//!
//! The functions take `Var`s on both sides (a target may carry a gradient) and a [`Reduction`]. The objects are values
//! that implement [`Loss`] for tensors as targets, which is what trainers ask for.
//!
//! ```
//! use wengert_autograd::{Tape, Tensor};
//! use wengert_nn::loss::{Huber, Loss, mse};
//! use wengert_nn::Reduction;
//! let tape = Tape::<f64>::inference();
//! let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0], [2]));
//! let y = Tensor::from_vec(vec![1.0, 5.0], [2]);
//! assert_eq!(mse(x, tape.input(&y), Reduction::Mean).item(), 4.5);
//! assert_eq!(Huber::default().loss(x, &y).item(), 1.25);
//! ```
//!
//! | between numbers | |
//! |---|---|
//! | [`mse`] | (x - y)² |
//! | [`l1`] | abs(x - y) |
//! | [`huber`], [`smooth_l1`] | quadratic near 0, linear beyond |
//! | [`log_cosh`] | ln cosh(x - y) |
//! | [`poisson_nll`], [`gaussian_nll`] | negative log-likelihoods |
//! | between scores and classes | |
//! | [`CrossEntropy`], [`cross_entropy`], [`cross_entropy_probabilities`], [`nll`] | log-likelihood of classes |
//! | [`bce`], [`bce_with_logits`], [`focal`] | yes or no, element by element |
//! | [`hinge`], [`hinge_embedding`], [`soft_margin`], [`multi_margin`] | margins |
//! | between distributions, sets, vectors | |
//! | [`kl_divergence`] | Σ y (ln y - x) |
//! | [`dice`] | overlap of regions |
//! | [`Ctc`], [`ctc`] | label sequences without alignment |
//! | [`margin_ranking`], [`cosine_embedding`], [`triplet_margin`] | order and distance |
//!
//! Unless said otherwise, formulas, defaults and reductions are PyTorch's. Shapes must be equal: nothing is broadcast
//! silently, because a target `[n]` against a prediction `[n, 1]` is a classic mistake.

mod classification;
mod distance;
mod distribution;
mod objects;
mod regression;
mod sequence;

pub use classification::{
    bce, bce_with_logits, cross_entropy, cross_entropy_probabilities, dice, focal, hinge,
    hinge_embedding, multi_margin, nll, soft_margin,
};
pub use distance::{
    cosine_embedding, cosine_similarity, margin_ranking, pairwise_distance, triplet_margin,
};
pub use distribution::{gaussian_nll, kl_divergence, poisson_nll};
pub use objects::{
    Bce, BceWithLogits, CosineEmbedding, CrossEntropy, Dice, Focal, GaussianNll, Hinge, Huber,
    KlDivergence, L1, LogCosh, MarginRanking, Mse, MultiMargin, Nll, PoissonNll, SmoothL1,
    TripletMargin,
};
pub use regression::{huber, l1, log_cosh, mse, smooth_l1};
pub use sequence::{Ctc, CtcTarget, ctc};

use wengert_autograd::{Float, Var};

/// How the losses of the elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum, divided by the size of the first axis: the mean over the batch (PyTorch's `batchmean`).
    BatchMean,
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
            Reduction::BatchMean => {
                let n = losses.shape().first().copied().unwrap_or(1);
                losses.sum() * (1.0 / n as f64)
            }
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

/// Panics unless both have one shape.
#[track_caller]
pub(crate) fn same_shape<T: Float>(op: &str, x: &Var<'_, T>, y: &Var<'_, T>) {
    let (a, b) = (x.shape(), y.shape());
    assert!(
        a == b,
        "{op}: shapes {:?} and {:?} differ (nothing is broadcast)",
        a.as_slice(),
        b.as_slice()
    );
}
