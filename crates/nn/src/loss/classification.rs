//! Losses between scores and classes.

use super::{Reduction, same_shape};
use wengert_autograd::{Float, Tensor, Var};

/// The weights of the classes as a vector on the tape.
#[track_caller]
fn class_weights<'t, T: Float>(
    op: &str,
    x: Var<'t, T>,
    weights: Option<&[f64]>,
) -> Option<Var<'t, T>> {
    let weights = weights?;
    let shape = x.shape();
    let classes = shape.get(usize::from(shape.len() > 1)).copied();
    assert!(
        Some(weights.len()) == classes && weights.iter().all(|&w| w >= 0.0),
        "{op}: expected one weight of at least 0 for each of {} classes, found {weights:?}",
        classes.unwrap_or(0)
    );
    let w: Vec<T> = weights.iter().map(|&w| T::from_f64(w)).collect();
    Some(x.tape().input(&Tensor::from_vec(w, [weights.len()])))
}

/// Reduces losses that are weighted already: the mean divides by the sum of the weights.
#[track_caller]
fn weighted<'t, T: Float>(
    (losses, weights): (Var<'t, T>, Var<'t, T>),
    reduction: Reduction,
) -> Var<'t, T> {
    match reduction {
        Reduction::Mean => losses.sum() / weights.sum(),
        r => r.apply(losses),
    }
}

/// Negative log-likelihood of class labels: -w\[y\] x\[y\], for log-probabilities `x` of shape `[n, classes, ..]` and labels
/// `[n, ..]`.
///
/// `weights` has one entry per class. The mean divides by the sum of the weights of the labels; labels equal to `ignore`
/// count for nothing.
///
/// # Panics
/// When the shapes do not fit or a label is out of range.
#[track_caller]
pub fn nll<'t, T: Float>(
    x: Var<'t, T>,
    labels: &Tensor<i64>,
    weights: Option<&[f64]>,
    ignore: Option<i64>,
    reduction: Reduction,
) -> Var<'t, T> {
    let w = class_weights("nll", x, weights);
    weighted(x.nll(labels, w, ignore), reduction)
}

/// Cross-entropy of logits `[n, classes, ..]` with class labels `[n, ..]`:
/// (1 - ε) w\[y\] (ln Σ e^x - x\[y\]) + ε/classes Σ_c w\[c\] (ln Σ e^x - x\[c\]).
///
/// `weights` w has one entry per class (default 1); `smoothing` is ε. The mean divides by the sum of the weights of the
/// labels; labels equal to `ignore` count for nothing.
///
/// # Panics
/// When the shapes do not fit, a label is out of range, or ε is not in [0, 1].
#[track_caller]
pub fn cross_entropy<'t, T: Float>(
    x: Var<'t, T>,
    labels: &Tensor<i64>,
    weights: Option<&[f64]>,
    ignore: Option<i64>,
    smoothing: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    check_smoothing(smoothing);
    if weights.is_none() && smoothing == 0.0 && (ignore.is_none() || reduction != Reduction::Mean) {
        return reduction.apply(x.cross_entropy_rows(labels, ignore));
    }
    let w = class_weights("cross_entropy", x, weights);
    weighted(
        x.cross_entropy_weighted(labels, w, ignore, smoothing),
        reduction,
    )
}

#[track_caller]
fn check_smoothing(smoothing: f64) {
    assert!(
        (0.0..=1.0).contains(&smoothing),
        "cross_entropy: expected a label smoothing in [0, 1], found {smoothing}"
    );
}

/// Cross-entropy of logits `[n, classes, ..]` with probabilities of the same shape: Σ_c w\[c\] p\[c\] (ln Σ e^x - x\[c\]),
/// with p smoothed to (1 - ε) p + ε/classes.
///
/// The mean divides by the number of rows.
///
/// # Panics
/// When the shapes differ or ε is not in [0, 1].
#[track_caller]
pub fn cross_entropy_probabilities<'t, T: Float>(
    x: Var<'t, T>,
    probabilities: Var<'t, T>,
    weights: Option<&[f64]>,
    smoothing: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    check_smoothing(smoothing);
    same_shape("cross_entropy", &x, &probabilities);
    let shape = x.shape();
    assert!(
        !shape.is_empty(),
        "cross_entropy: expected [n, classes, ..], found a scalar"
    );
    let axis = usize::from(shape.len() > 1);
    let classes = shape[axis];
    let p = if smoothing > 0.0 {
        probabilities * (1.0 - smoothing) + smoothing / classes as f64
    } else {
        probabilities
    };
    let w = class_weights("cross_entropy", x, weights);
    reduction.apply(x.cross_entropy_probabilities(p, w))
}

/// ln x, at least -100.
#[track_caller]
fn limited_ln<T: Float>(x: Var<'_, T>) -> Var<'_, T> {
    // The first limit keeps infinity out of the derivative, the second is exact in any precision.
    x.clamp_min((-101f64).exp()).ln().clamp_min(-100.0)
}

/// Binary cross-entropy of probabilities: -(y ln x + (1 - y) ln(1 - x)).
///
/// Logarithms are limited to at least -100, as in PyTorch, so x = 0 and x = 1 give finite losses; there the gradient is 0.
/// [`bce_with_logits`] needs no limit.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn bce<'t, T: Float>(x: Var<'t, T>, y: Var<'t, T>, reduction: Reduction) -> Var<'t, T> {
    same_shape("bce", &x, &y);
    reduction.apply(-(y * limited_ln(x) + (1 - y) * limited_ln(1 - x)))
}

/// Binary cross-entropy of logits, stable: (1 - y) x + (1 + (p - 1) y) softplus(-x), with a weight `p` of the positive
/// examples that broadcasts (default 1).
///
/// # Panics
/// When the shapes differ or the weight does not broadcast.
#[track_caller]
pub fn bce_with_logits<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    positive_weight: Option<Var<'t, T>>,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("bce_with_logits", &x, &y);
    let losses = x.bce_with_logits(y, positive_weight);
    if let Some(p) = positive_weight {
        assert!(
            losses.shape() == x.shape(),
            "bce_with_logits: a weight of shape {:?} does not broadcast to {:?}",
            p.shape().as_slice(),
            x.shape().as_slice()
        );
    }
    reduction.apply(losses)
}

/// Focal loss of logits (Lin et al. 2017, eq. 5): α_t (1 - p_t)^γ times the binary cross-entropy, with p_t the probability
/// of the true answer and α_t = α for positive, 1 - α for negative examples (`None`: 1).
///
/// # Panics
/// When the shapes differ, γ is negative or α is not in [0, 1].
#[track_caller]
pub fn focal<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    alpha: Option<f64>,
    gamma: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("focal", &x, &y);
    assert!(
        gamma >= 0.0,
        "focal: expected a gamma of at least 0, found {gamma}"
    );
    let ce = x.bce_with_logits_(y);
    let p = x.sigmoid();
    // 1 - p_t, without cancellation where p_t is close to 1.
    let miss = y * (-x).sigmoid() + (1 - y) * p;
    // Below 1 the power has no derivative at 0, where the loss has: there it counts as constant.
    let factor = if gamma > 0.0 && gamma < 1.0 {
        miss.clamp_min(T::min_positive_value().as_f64())
    } else {
        miss
    };
    let mut losses = ce * factor.powf(gamma);
    if let Some(a) = alpha {
        assert!(
            (0.0..=1.0).contains(&a),
            "focal: expected an alpha in [0, 1], found {a}"
        );
        losses = losses * (y * (2.0 * a - 1.0) + (1.0 - a));
    }
    reduction.apply(losses)
}

/// Soft Dice loss of probabilities (Milletari et al. 2016): 1 - (2 Σ x y + s) / (Σ x + Σ y + s), the sums over all axes but
/// the first two (`[n, classes, ..]`), one loss per sample and class.
///
/// `smooth` s keeps empty regions from dividing by 0. For rank 1 and 2 the sums run over the last axis.
///
/// # Panics
/// When the shapes differ or s is negative.
#[track_caller]
pub fn dice<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    smooth: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("dice", &x, &y);
    assert!(
        smooth >= 0.0,
        "dice: expected a smoothing term of at least 0, found {smooth}"
    );
    let rank = x.rank() as isize;
    assert!(rank > 0, "dice: expected at least one axis, found a scalar");
    let axes: Vec<isize> = (2.min(rank - 1)..rank).collect();
    reduction.apply(x.dice(y, &axes, smooth))
}

/// Hinge loss max(0, 1 - x y) for scores x and answers y = ±1.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn hinge<'t, T: Float>(x: Var<'t, T>, y: Var<'t, T>, reduction: Reduction) -> Var<'t, T> {
    same_shape("hinge", &x, &y);
    reduction.apply(x.hinge(y))
}

/// x where y = 1, max(0, margin - x) where y = -1, for distances x.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn hinge_embedding<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    margin: f64,
    reduction: Reduction,
) -> Var<'t, T> {
    same_shape("hinge_embedding", &x, &y);
    let one = y.tape().scalar(1.0);
    reduction.apply(y.eq(one).where_(x, (margin - x).relu()))
}

/// ln(1 + e^(-x y)) for scores x and answers y = ±1, stable.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn soft_margin<'t, T: Float>(x: Var<'t, T>, y: Var<'t, T>, reduction: Reduction) -> Var<'t, T> {
    same_shape("soft_margin", &x, &y);
    reduction.apply(x.soft_margin(y))
}

/// Multi-class margin: Σ_{c ≠ y} w\[y\] max(0, margin - x\[y\] + x\[c\])^p / classes, for scores `[n, classes]` and labels
/// `[n]`.
///
/// # Panics
/// When the shapes do not fit, a label is out of range, or p is neither 1 nor 2.
#[track_caller]
pub fn multi_margin<'t, T: Float>(
    x: Var<'t, T>,
    labels: &Tensor<i64>,
    p: u32,
    margin: f64,
    weights: Option<&[f64]>,
    reduction: Reduction,
) -> Var<'t, T> {
    assert!(
        p == 1 || p == 2,
        "multi_margin: expected an exponent of 1 or 2, found {p}"
    );
    let w = class_weights("multi_margin", x, weights);
    reduction.apply(x.multi_margin(labels, p, margin, w))
}
