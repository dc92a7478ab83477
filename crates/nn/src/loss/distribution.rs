//! Losses between distributions.

use super::{Reduction, same_shape};
use wengert_autograd::{Float, Var};

/// Kullback-Leibler divergence of log-probabilities x from probabilities y: y (ln y - x), 0 where y = 0; with
/// `log_target`, y holds logarithms, too: e^y (y - x).
///
/// [`Reduction::BatchMean`] gives the divergence per sample; the mean over all elements has no meaning, but is PyTorch's
/// default.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn kl_divergence<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    log_target: bool,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("kl_divergence", &x, &y);
    reduction.apply(if log_target {
        x.kl_div_log(y)
    } else {
        x.kl_div(y)
    })
}

/// Negative log-likelihood of counts y under a Poisson distribution, without the constant ln y!: e^x - y x, where x is the
/// logarithm of the rate; with `log_input = false` x is the rate itself: x - y ln(x + ε), ε = 1e-8.
///
/// `full` adds Stirling's approximation y ln y - y + ln(2πy)/2 for y > 1.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn poisson_nll<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    log_input: bool,
    full: bool,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("poisson_nll", &x, &y);
    let mut losses = if log_input {
        x.exp() - y * x
    } else {
        x - y * (x + 1e-8).ln()
    };
    if full {
        let stirling = y * y.ln() - y + (y * std::f64::consts::TAU).ln() * 0.5;
        losses = losses + stirling.mask(y.gt(y.tape().scalar(1.0)));
    }
    reduction.apply(losses)
}

/// Negative log-likelihood of y under a normal distribution: (ln v + (x - y)²/v)/2 with mean x and variance v, which has the
/// shape of x, or 1 in some axes (PyTorch's `GaussianNLLLoss`).
///
/// The variance is limited to at least ε from below; its gradient passes the limit, so that it can recover. `full` adds
/// ln(2π)/2.
///
/// # Panics
/// When the shapes do not fit or ε is not positive.
#[track_caller]
pub fn gaussian_nll<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    variance: Var<'t, T>,
    eps: f64,
    full: bool,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("gaussian_nll", &x, &y);
    assert!(
        eps > 0.0,
        "gaussian_nll: expected an eps above 0, found {eps}"
    );
    // At the limit to the last bit, with the derivative of the variance itself.
    let raised = (variance - variance.detach()) + eps;
    let v = variance.lt_scalar(eps).where_(raised, variance);
    let mut losses = (v.ln() + (x - y).square() / v) * 0.5;
    assert!(
        losses.shape() == x.shape(),
        "gaussian_nll: a variance of shape {:?} does not broadcast to {:?}",
        variance.shape().as_slice(),
        x.shape().as_slice()
    );
    if full {
        losses = losses + 0.5 * std::f64::consts::TAU.ln();
    }
    reduction.apply(losses)
}
