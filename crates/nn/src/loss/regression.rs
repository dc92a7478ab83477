//! Losses between real numbers.

use super::{Reduction, same_shape};
use wengert_autograd::{Float, Var};

/// Squared error (x - y)².
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn mse<'t, T: Float>(x: Var<'t, T>, y: Var<'t, T>, reduction: Reduction) -> Var<'t, T> {
    same_shape("mse", &x, &y);
    reduction.apply((x - y).square())
}

/// Absolute error |x - y|; derivative 0 at 0.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn l1<'t, T: Float>(x: Var<'t, T>, y: Var<'t, T>, reduction: Reduction) -> Var<'t, T> {
    same_shape("l1", &x, &y);
    reduction.apply((x - y).abs())
}

/// Huber's loss (1964), with d = x - y: d²/2 for |d| ≤ δ, else δ (|d| - δ/2).
///
/// # Panics
/// When the shapes differ or δ is not positive.
#[track_caller]
pub fn huber<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    delta: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("huber", &x, &y);
    assert!(
        delta > 0.0,
        "huber: expected a delta above 0, found {delta}"
    );
    reduction.apply((x - y).huber(delta))
}

/// Smooth L1 (Girshick 2015): [`huber`] with δ = β, divided by β; [`l1`] for β = 0.
///
/// # Panics
/// When the shapes differ or β is negative.
#[track_caller]
pub fn smooth_l1<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    beta: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("smooth_l1", &x, &y);
    assert!(
        beta >= 0.0,
        "smooth_l1: expected a beta of at least 0, found {beta}"
    );
    reduction.apply(x.smooth_l1(y, beta))
}

/// ln cosh(x - y), stable: like [`mse`]`/2` near 0, like [`l1`] far from it, smooth everywhere.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn log_cosh<'t, T: Float>(x: Var<'t, T>, y: Var<'t, T>, reduction: Reduction) -> Var<'t, T> {
    same_shape("log_cosh", &x, &y);
    reduction.apply((x - y).log_cosh())
}
