//! Losses on order and distance.

use super::{Reduction, same_shape};
use wengert_autograd::{Float, Var};

/// max(0, margin - y (x1 - x2)): x1 should be larger where y = 1, x2 where y = -1.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn margin_ranking<'t, T: Float>(
    x1: Var<'t, T>,
    x2: Var<'t, T>,
    y: Var<'t, T>,
    margin: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("margin_ranking", &x1, &x2);
    same_shape("margin_ranking", &x1, &y);
    reduction.apply(x1.margin_ranking(x2, y, margin))
}

/// Cosine of the angle between vectors along an axis: x1 · x2 / (‖x1‖ ‖x2‖), with norms of at least ε.
///
/// # Panics
/// When the shapes differ or the axis is out of range.
#[track_caller]
pub fn cosine_similarity<'t, T: Float>(
    x1: Var<'t, T>,
    x2: Var<'t, T>,
    axis: isize,
    eps: f64,
) -> Var<'t, T> {
    same_shape("cosine_similarity", &x1, &x2);
    let floor = x1.tape().scalar(eps * eps);
    let norm1 = (x1.square().sum_dim(axis, false).maximum(floor)).sqrt();
    let norm2 = (x2.square().sum_dim(axis, false).maximum(floor)).sqrt();
    (x1 * x2).sum_dim(axis, false) / (norm1 * norm2)
}

/// For vectors along the last axis: 1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1.
///
/// Squared norms are enlarged by 1e-12, as in PyTorch.
///
/// # Panics
/// When the shapes do not fit: `[n, features]` or `[features]` twice, and `[n]` or `[]`.
#[track_caller]
pub fn cosine_embedding<'t, T: Float>(
    x1: Var<'t, T>,
    x2: Var<'t, T>,
    y: Var<'t, T>,
    margin: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("cosine_embedding", &x1, &x2);
    let square1 = x1.square().sum_dim(-1, false) + 1e-12;
    let square2 = x2.square().sum_dim(-1, false) + 1e-12;
    let cos = (x1 * x2).sum_dim(-1, false) / (square1 * square2).sqrt();
    same_shape("cosine_embedding", &cos, &y);
    let one = y.tape().scalar(1.0);
    reduction.apply(y.eq(one).where_(1 - cos, (cos - margin).relu()))
}

/// p-norm of x1 - x2 + ε along the last axis.
///
/// # Panics
/// When the shapes differ or p is not positive.
#[track_caller]
pub fn pairwise_distance<'t, T: Float>(
    x1: Var<'t, T>,
    x2: Var<'t, T>,
    p: f64,
    eps: f64,
) -> Var<'t, T> {
    same_shape("pairwise_distance", &x1, &x2);
    assert!(
        p > 0.0,
        "pairwise_distance: expected an exponent above 0, found {p}"
    );
    x1.pairwise_distance(x2, p, eps)
}

/// Triplet margin (Balntas et al. 2016): max(0, d(a, positive) - d(a, negative) + margin), distances in the p-norm along the
/// last axis with ε = 1e-6.
///
/// `swap` takes the smaller of d(a, negative) and d(positive, negative).
///
/// # Panics
/// When the shapes differ or p is not positive.
#[track_caller]
pub fn triplet_margin<'t, T: Float>(
    anchor: Var<'t, T>,
    positive: Var<'t, T>,
    negative: Var<'t, T>,
    margin: f64,
    p: f64,
    swap: bool,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("triplet_margin", &anchor, &positive);
    same_shape("triplet_margin", &anchor, &negative);
    assert!(
        p > 0.0,
        "triplet_margin: expected an exponent above 0, found {p}"
    );
    reduction.apply(anchor.triplet(positive, negative, margin, p, swap))
}
