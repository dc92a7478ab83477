//! Scales that come from a measurement or from the depth of the net.

use wengert_tensor::{Error, Result};

/// Layer-sequential unit-variance initialization: the rule that turns a measured deviation into a factor for the weights.
///
/// Start from orthogonal weights. Then, layer by layer from the input, measure the standard deviation of the layer's
/// output on a batch, multiply the weights by [`LsuvRule::factor`], and measure again until it returns `None` or
/// `max_iterations` is reached. (Mishkin & Matas 2016, algorithm 1.)
///
/// ```
/// use wengert_nn::init::LsuvRule;
/// let rule = LsuvRule::default();
/// assert_eq!(rule.factor(4.0), Ok(Some(0.25)));
/// assert_eq!(rule.factor(1.01), Ok(None));
/// assert!(rule.factor(0.0).is_err()); // a dead layer cannot be scaled alive
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LsuvRule {
    /// Standard deviation aimed at.
    pub target_std: f64,
    /// Accepted deviation of the variance, as a share of the target's.
    pub tolerance: f64,
    /// Measurements per layer at most.
    pub max_iterations: usize,
}

impl Default for LsuvRule {
    /// Target 1, tolerance 0.1, at most 10 measurements: the paper's values.
    fn default() -> Self {
        LsuvRule {
            target_std: 1.0,
            tolerance: 0.1,
            max_iterations: 10,
        }
    }
}

impl LsuvRule {
    /// What the weights are to be multiplied by, or `None` if the measured deviation is close enough.
    ///
    /// # Errors
    /// When the deviation is zero or not finite: no factor helps.
    pub fn factor(&self, measured_std: f64) -> Result<Option<f64>> {
        if !(measured_std.is_finite() && measured_std > 0.0) {
            return Err(Error::Value {
                op: "lsuv",
                message: format!(
                    "expected a positive finite standard deviation of the layer's output, found {measured_std}"
                ),
            });
        }
        let ratio = measured_std / self.target_std;
        Ok(if (ratio * ratio - 1.0).abs() < self.tolerance {
            None
        } else {
            Some(ratio.recip())
        })
    }
}

/// Factor for the weights inside a residual branch so that a net of `branches` branches trains without normalization:
/// `branches^(-1 / (2 m - 2))` for `m` layers in a branch; the last layer of each branch starts at zero.
/// (Zhang, Dauphin & Ma 2019, "Fixup initialization".)
///
/// # Panics
/// When a branch has fewer than two layers (a single one starts at zero and has no scale) or there is no branch.
#[track_caller]
pub fn fixup_scale(branches: usize, layers_per_branch: usize) -> f64 {
    assert!(
        branches > 0 && layers_per_branch >= 2,
        "fixup_scale: expected at least 1 branch of at least 2 layers, found {branches} of {layers_per_branch}"
    );
    (branches as f64).powf(-1.0 / (2.0 * layers_per_branch as f64 - 2.0))
}
