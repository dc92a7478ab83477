//! Losses as values with their settings.

use super::{Loss, Reduction};
use super::{classification as c, distance as d, distribution as p, regression as r};
use wengert_autograd::{Float, Tensor, Var};

/// A loss between a prediction and a tensor of the same shape, with `reduction` as its last setting.
macro_rules! elementwise {
    ($(
        $(#[$doc:meta])*
        $Name:ident { $($(#[$fdoc:meta])* $field:ident: $t:ty = $default:expr,)* }
        |$s:ident, $x:ident, $y:ident| $call:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $Name {
            $($(#[$fdoc])* pub $field: $t,)*
            /// How the losses of the elements become one.
            pub reduction: Reduction,
        }

        impl Default for $Name {
            fn default() -> Self {
                $Name { $($field: $default,)* reduction: Reduction::Mean }
            }
        }

        impl<T: Float> Loss<T, Tensor<T>> for $Name {
            #[track_caller]
            fn loss<'t>(&self, $x: Var<'t, T>, target: &Tensor<T>) -> Var<'t, T> {
                let $s = self;
                let $y = $x.tape().input(target);
                $call
            }
        }
    )*};
}

elementwise! {
    /// [`mse`](super::mse).
    Mse {}
    |s, x, y| r::mse(x, y, s.reduction);

    /// [`l1`](super::l1).
    L1 {}
    |s, x, y| r::l1(x, y, s.reduction);

    /// [`huber`](super::huber).
    Huber {
        /// Where the parabola ends.
        delta: f64 = 1.0,
    }
    |s, x, y| r::huber(x, y, s.delta, s.reduction);

    /// [`smooth_l1`](super::smooth_l1).
    SmoothL1 {
        /// Where the parabola ends.
        beta: f64 = 1.0,
    }
    |s, x, y| r::smooth_l1(x, y, s.beta, s.reduction);

    /// [`log_cosh`](super::log_cosh).
    LogCosh {}
    |s, x, y| r::log_cosh(x, y, s.reduction);

    /// [`bce`](super::bce).
    Bce {}
    |s, x, y| c::bce(x, y, s.reduction);

    /// [`focal`](super::focal); α = 0.25 and γ = 2, as in the paper.
    Focal {
        /// Weight of the positive examples.
        alpha: Option<f64> = Some(0.25),
        /// How fast easy examples lose their weight.
        gamma: f64 = 2.0,
    }
    |s, x, y| c::focal(x, y, s.alpha, s.gamma, s.reduction);

    /// [`dice`](super::dice).
    Dice {
        /// Keeps empty regions from dividing by 0.
        smooth: f64 = 1.0,
    }
    |s, x, y| c::dice(x, y, s.smooth, s.reduction);

    /// [`hinge`](super::hinge).
    Hinge {}
    |s, x, y| c::hinge(x, y, s.reduction);

    /// [`kl_divergence`](super::kl_divergence).
    KlDivergence {
        /// Whether the target holds logarithms.
        log_target: bool = false,
    }
    |s, x, y| p::kl_divergence(x, y, s.log_target, s.reduction);

    /// [`poisson_nll`](super::poisson_nll).
    PoissonNll {
        /// Whether the prediction is the logarithm of the rate.
        log_input: bool = true,
        /// Whether the constant is added.
        full: bool = false,
    }
    |s, x, y| p::poisson_nll(x, y, s.log_input, s.full, s.reduction);
}

/// [`gaussian_nll`](super::gaussian_nll); the prediction holds mean and variance one after the other along the last axis:
/// `[.., 2 n]` against a target `[.., n]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianNll {
    /// Lower limit of the variance.
    pub eps: f64,
    /// Whether the constant is added.
    pub full: bool,
    /// How the losses of the elements become one.
    pub reduction: Reduction,
}

impl Default for GaussianNll {
    fn default() -> Self {
        GaussianNll {
            eps: 1e-6,
            full: false,
            reduction: Reduction::Mean,
        }
    }
}

impl<T: Float> Loss<T, Tensor<T>> for GaussianNll {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<T>) -> Var<'t, T> {
        let n = prediction.size(-1);
        assert!(
            n.is_multiple_of(2),
            "gaussian_nll: expected means and variances along the last axis, found shape {:?}",
            prediction.shape().as_slice()
        );
        let mean = prediction.narrow(-1, 0, n / 2);
        let variance = prediction.narrow(-1, n / 2, n);
        let y = prediction.tape().input(target);
        p::gaussian_nll(mean, y, variance, self.eps, self.full, self.reduction)
    }
}

/// [`bce_with_logits`](super::bce_with_logits).
#[derive(Clone, Debug, PartialEq)]
pub struct BceWithLogits {
    /// Weight of the positive examples: one number, or one for each index of the last axis.
    pub positive_weight: Option<Vec<f64>>,
    /// How the losses of the elements become one.
    pub reduction: Reduction,
}

impl Default for BceWithLogits {
    fn default() -> Self {
        BceWithLogits {
            positive_weight: None,
            reduction: Reduction::Mean,
        }
    }
}

impl<T: Float> Loss<T, Tensor<T>> for BceWithLogits {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<T>) -> Var<'t, T> {
        let y = prediction.tape().input(target);
        let weight = self.positive_weight.as_ref().map(|w| {
            let w = w.iter().map(|&w| T::from_f64(w)).collect::<Vec<_>>();
            let n = w.len();
            prediction.tape().input(&Tensor::from_vec(w, [n]))
        });
        c::bce_with_logits(prediction, y, weight, self.reduction)
    }
}

/// [`cross_entropy`](super::cross_entropy) for class labels,
/// [`cross_entropy_probabilities`](super::cross_entropy_probabilities) for probabilities as targets.
///
/// ```
/// use wengert_autograd::{Tape, Tensor};
/// use wengert_nn::loss::{CrossEntropy, Loss};
/// let tape = Tape::<f64>::inference();
/// let logits = tape.input(&Tensor::zeros([2, 4]));
/// let smooth = CrossEntropy { smoothing: 0.1, ..Default::default() };
/// let labels = Tensor::from_vec(vec![0, 3], [2]);
/// assert!((smooth.loss(logits, &labels).item() - 4f64.ln()).abs() < 1e-15);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// One weight per class.
    pub weights: Option<Vec<f64>>,
    /// Label that counts for nothing (PyTorch's default is -100).
    pub ignore: Option<i64>,
    /// Share of the target that is spread over all classes.
    pub smoothing: f64,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy {
            weights: None,
            ignore: None,
            smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

impl<T: Float> Loss<T, Tensor<i64>> for CrossEntropy {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<i64>) -> Var<'t, T> {
        c::cross_entropy(
            prediction,
            target,
            self.weights.as_deref(),
            self.ignore,
            self.smoothing,
            self.reduction,
        )
    }
}

/// Once per type: that no label is a floating-point number is more than the compiler knows.
macro_rules! probabilities {
    ($($t:ty),*) => {$(
        impl Loss<$t, Tensor<$t>> for CrossEntropy {
            /// # Panics
            /// Also when an ignored label is set: probabilities have none.
            #[track_caller]
            fn loss<'t>(&self, prediction: Var<'t, $t>, target: &Tensor<$t>) -> Var<'t, $t> {
                assert!(
                    self.ignore.is_none(),
                    "cross_entropy: an ignored label has no meaning for probabilities as targets"
                );
                let y = prediction.tape().input(target);
                c::cross_entropy_probabilities(
                    prediction,
                    y,
                    self.weights.as_deref(),
                    self.smoothing,
                    self.reduction,
                )
            }
        }
    )*};
}
probabilities!(f32, f64);

/// [`nll`](super::nll).
#[derive(Clone, Debug, PartialEq)]
pub struct Nll {
    /// One weight per class.
    pub weights: Option<Vec<f64>>,
    /// Label that counts for nothing.
    pub ignore: Option<i64>,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl Default for Nll {
    fn default() -> Self {
        Nll {
            weights: None,
            ignore: None,
            reduction: Reduction::Mean,
        }
    }
}

impl<T: Float> Loss<T, Tensor<i64>> for Nll {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<i64>) -> Var<'t, T> {
        c::nll(
            prediction,
            target,
            self.weights.as_deref(),
            self.ignore,
            self.reduction,
        )
    }
}

/// [`multi_margin`](super::multi_margin).
#[derive(Clone, Debug, PartialEq)]
pub struct MultiMargin {
    /// Exponent, 1 or 2.
    pub p: u32,
    /// By how much the right class should lead.
    pub margin: f64,
    /// One weight per class.
    pub weights: Option<Vec<f64>>,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl Default for MultiMargin {
    fn default() -> Self {
        MultiMargin {
            p: 1,
            margin: 1.0,
            weights: None,
            reduction: Reduction::Mean,
        }
    }
}

impl<T: Float> Loss<T, Tensor<i64>> for MultiMargin {
    #[track_caller]
    fn loss<'t>(&self, prediction: Var<'t, T>, target: &Tensor<i64>) -> Var<'t, T> {
        c::multi_margin(
            prediction,
            target,
            self.p,
            self.margin,
            self.weights.as_deref(),
            self.reduction,
        )
    }
}

/// [`margin_ranking`](super::margin_ranking).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct MarginRanking {
    /// By how much the larger should lead.
    pub margin: f64,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl MarginRanking {
    /// The loss of two scores and the answers ±1.
    #[track_caller]
    pub fn loss<'t, T: Float>(
        &self,
        x1: Var<'t, T>,
        x2: Var<'t, T>,
        answers: &Tensor<T>,
    ) -> Var<'t, T> {
        let y = x1.tape().input(answers);
        d::margin_ranking(x1, x2, y, self.margin, self.reduction)
    }
}

/// [`cosine_embedding`](super::cosine_embedding).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct CosineEmbedding {
    /// Cosine up to which different vectors may come close.
    pub margin: f64,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl CosineEmbedding {
    /// The loss of two vectors each and the answers ±1.
    #[track_caller]
    pub fn loss<'t, T: Float>(
        &self,
        x1: Var<'t, T>,
        x2: Var<'t, T>,
        answers: &Tensor<T>,
    ) -> Var<'t, T> {
        let y = x1.tape().input(answers);
        d::cosine_embedding(x1, x2, y, self.margin, self.reduction)
    }
}

/// [`triplet_margin`](super::triplet_margin).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletMargin {
    /// By how much the negative should be farther.
    pub margin: f64,
    /// Exponent of the norm.
    pub p: f64,
    /// Whether the negative's distance may be taken from the positive.
    pub swap: bool,
    /// How the losses of the samples become one.
    pub reduction: Reduction,
}

impl Default for TripletMargin {
    fn default() -> Self {
        TripletMargin {
            margin: 1.0,
            p: 2.0,
            swap: false,
            reduction: Reduction::Mean,
        }
    }
}

impl TripletMargin {
    /// The loss of anchors, positives and negatives.
    #[track_caller]
    pub fn loss<'t, T: Float>(
        &self,
        anchor: Var<'t, T>,
        positive: Var<'t, T>,
        negative: Var<'t, T>,
    ) -> Var<'t, T> {
        d::triplet_margin(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.swap,
            self.reduction,
        )
    }
}
