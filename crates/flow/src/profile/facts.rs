//! What is known about a step beyond its layers: inputs, parameters, loss.

use super::Summary;
use std::sync::Arc;

/// How a parameter takes part in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// It has a gradient, with this RMS.
    Gradient(f64),
    /// It is frozen: no gradient is wanted.
    Frozen,
    /// The forward pass did not use it.
    Unused,
    /// It was used, and what came of it does not reach the loss.
    Dangling {
        /// Line that used it.
        location: String,
    },
    /// It was used, and the way to the loss is cut by `detach` or `no_grad`.
    Cut {
        /// Line where the way is cut.
        location: String,
    },
}

/// One parameter of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamFact {
    /// Path in the model.
    pub path: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// How it takes part.
    pub link: Link,
}

/// What the loss is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct LossFact {
    /// `cross_entropy`, `bce_with_logits`, `mse`.
    pub kind: String,
    /// Line that recorded it.
    pub location: String,
    /// Operations between the last layer's weights and the loss that matter for it: `softmax`, `sigmoid`, `relu`, …
    pub before: Vec<String>,
    /// Number of classes of a cross-entropy.
    pub classes: Option<usize>,
    /// Targets of a squared error or of a binary cross-entropy.
    pub targets: Option<Summary>,
}

/// Where values stopped being numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// First operation whose result is not finite.
    pub op: String,
    /// Line that recorded it.
    pub location: String,
    /// Whether it was in the backward pass.
    pub backward: bool,
    /// The parameter, if its own values (or, in the backward pass, its gradient) are not finite.
    pub parameter: Option<String>,
}

/// The loss of one batch along one update `d` of the weights `w`.
///
/// A parabola through what is known, `L(w + s d) ≈ L(w) + slope s + (change - slope) s²`, tells whether the step was too
/// long or too short.
///
/// ```
/// use wengert_flow::profile::AlongStep;
/// // L(w) = w² at w = 1, and a step of -1.5: past the minimum at 0, up the other side.
/// let a = AlongStep { slope: 2.0 * -1.5, change: 0.25 - 1.0, length: 1.5 };
/// assert_eq!((a.curvature(), a.best()), (2.0, Some(2.0 / 3.0)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlongStep {
    /// `∇L(w)·d`: the change of the loss if it were a plane.
    pub slope: f64,
    /// `L(w + d) - L(w)`, for the same samples and masks.
    pub change: f64,
    /// `‖d‖`.
    pub length: f64,
}

impl AlongStep {
    /// Second derivative of the loss in the direction of the step: `2 (change - slope) / ‖d‖²`.
    pub fn curvature(&self) -> f64 {
        2.0 * (self.change - self.slope) / (self.length * self.length)
    }

    /// Multiple of the step at which the parabola is lowest: `slope / (2 (slope - change))`; infinite where the loss bends
    /// down, `None` where the step sets out uphill or is not finite.
    pub fn best(&self) -> Option<f64> {
        if !(self.slope < 0.0 && self.change.is_finite()) {
            return None;
        }
        let bend = self.change - self.slope;
        Some(if bend > 0.0 {
            -self.slope / (2.0 * bend)
        } else {
            f64::INFINITY
        })
    }
}

/// How noisy the gradient of a batch is (McCandlish et al. 2018, section 2.2 and appendix A.1).
///
/// A batch of `B` samples gives `E‖g‖² = ‖G‖² + tr Σ / B`. Two gradients of different batches at (nearly) the same
/// weights tell both terms apart: their product estimates `‖G‖²`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientNoise {
    /// Estimate of `‖G‖²`, the squared norm of the gradient without noise; may come out negative when noise rules.
    pub signal: f64,
    /// Estimate of `tr Σ`, the variance of the gradient of single samples.
    pub variance: f64,
}

impl GradientNoise {
    /// From gradients of batches of `batch` samples at the same weights: `‖mean‖²` and the mean of `‖g‖²` over `n` of them.
    ///
    /// `tr Σ / B = n / (n - 1) (mean ‖g‖² - ‖mean‖²)`, `‖G‖² = ‖mean‖² - tr Σ / (B n)`: both without bias.
    pub fn of(n: usize, batch: usize, norm2_of_mean: f64, mean_of_norm2: f64) -> GradientNoise {
        let (n, b) = (n as f64, batch as f64);
        let per_batch = n / (n - 1.0) * (mean_of_norm2 - norm2_of_mean);
        GradientNoise {
            signal: norm2_of_mean - per_batch / n,
            variance: per_batch * b,
        }
    }

    /// The simple noise scale `tr Σ / ‖G‖²`: batches far below it are mostly noise, batches far above it waste work.
    /// Infinite when no signal is left.
    pub fn scale(&self) -> f64 {
        if self.signal > 0.0 {
            self.variance / self.signal
        } else {
            f64::INFINITY
        }
    }
}

/// What is known about a step beyond its layers. Everything is optional: absent means "not known".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Samples in the batch.
    pub batch: Option<usize>,
    /// Whether the tape was a training tape.
    pub training: Option<bool>,
    /// What entered the first layer.
    pub inputs: Option<Summary>,
    /// Smallest and largest standard deviation of an input feature that is not constant.
    pub feature_std: Option<(f64, f64)>,
    /// The parameters, in the model's order.
    pub params: Vec<ParamFact>,
    /// The loss, if it is a known one.
    pub loss: Option<LossFact>,
    /// Modules as (path, kind); the same list in every step of a run.
    pub modules: Arc<Vec<(String, String)>>,
    /// Modules with parameters of their own as (path, source line that uses them first); the same list in every step of a run.
    pub lines: Arc<Vec<(String, String)>>,
    /// First operation that made a value that is not finite.
    pub non_finite: Option<NonFinite>,
    /// The loss along the update that followed, if it was asked for.
    pub along: Option<AlongStep>,
    /// Noise of the gradient, if it was asked for.
    pub noise: Option<GradientNoise>,
}
