//! Mixtures of two samples and of their labels.

use super::{beta, check, image_shape};
use crate::dataset::class_in;
use crate::error::{Error, Result};
use crate::random::{Xoshiro256PlusPlus, below, permutation};
use wengert_tensor::Tensor;

/// Mixup (Zhang et al. 2018): `x_i <- λ x_i + (1 - λ) x_j` and targets `λ e(y_i) + (1 - λ) e(y_j)`, `j` a random partner
/// from the batch, `λ ~ Beta(alpha, alpha)`, one `λ` per batch.
///
/// Returns the inputs and the class probabilities `[n, classes]`, for a cross-entropy with probabilities. `alpha` 0.2 to
/// 0.4 is usual for images; 0 mixes nothing.
///
/// ```
/// use wengert_data::augment::mixup;
/// use wengert_data::{DataLoader, Digits};
/// let loader = DataLoader::new(Digits::load().train.dataset(), 32)
///     .shuffle(1)
///     .map(|(x, y), rng| mixup(x, &y, 10, 0.3, rng));
/// let (x, targets) = loader.epoch(0).next().unwrap();
/// assert_eq!((x.shape(), targets.shape()), (&[32, 64][..], &[32, 10][..]));
/// ```
///
/// # Errors
/// [`Error::Value`] for a label that is not in `0..classes`, different numbers of samples and labels, or an `alpha` that is
/// negative or not finite.
pub fn mixup(
    mut x: Tensor<f32>,
    labels: &Tensor<i64>,
    classes: usize,
    alpha: f64,
    rng: &mut Xoshiro256PlusPlus,
) -> Result<(Tensor<f32>, Tensor<f32>)> {
    let n = samples("mixup", &x, labels, classes)?;
    let lambda = share("mixup", alpha, rng)?;
    let partner = permutation(n, rng);
    let targets = targets(labels, classes, &partner, lambda)?;
    // With nothing of the partner, an infinity of its own must not come through as 0 · ∞ either.
    if x.numel() > 0 && lambda < 1.0 {
        let old = x.copy();
        let (old, row) = (old.as_slice().unwrap_or_default(), x.numel() / n);
        let (a, b) = (lambda as f32, (1.0 - lambda) as f32);
        for (to, &j) in x.as_mut_slice().chunks_exact_mut(row).zip(&partner) {
            for (v, &other) in to.iter_mut().zip(&old[j * row..][..row]) {
                *v = a * *v + b * other;
            }
        }
    }
    Ok((x, targets))
}

/// CutMix (Yun et al. 2019): a rectangle of each image is taken from a random partner; the targets are mixed in
/// proportion to the area. `λ ~ Beta(alpha, alpha)` gives the share that stays; sides are `√(1 - λ)` of the image's, the centre is
/// uniform, what lies outside is cut off and `λ` corrected. One rectangle per batch.
///
/// Inputs are `[n, h, w]` or `[n, c, h, w]`; returns as [`mixup`]. `alpha` 1 is usual; 0 mixes nothing.
///
/// # Errors
/// As [`mixup`], and for other ranks.
pub fn cutmix(
    mut x: Tensor<f32>,
    labels: &Tensor<i64>,
    classes: usize,
    alpha: f64,
    rng: &mut Xoshiro256PlusPlus,
) -> Result<(Tensor<f32>, Tensor<f32>)> {
    let [_, c, h, w] = image_shape("cutmix", &x)?;
    let n = samples("cutmix", &x, labels, classes)?;
    let lambda = share("cutmix", alpha, rng)?;
    let partner = permutation(n, rng);
    if x.numel() == 0 {
        return Ok((x, targets(labels, classes, &partner, 1.0)?));
    }
    let side = (1.0 - lambda).sqrt();
    let mut span = |length: usize| {
        let half = (length as f64 * side / 2.0).round() as usize;
        let centre = below(rng, length as u64) as usize;
        centre.saturating_sub(half)..(centre + half).min(length)
    };
    let (rows, columns) = (span(h), span(w));
    let stays = 1.0 - (rows.len() * columns.len()) as f64 / (h * w) as f64;
    let targets = targets(labels, classes, &partner, stays)?;
    let old = x.copy();
    let (old, size) = (old.as_slice().unwrap_or_default(), c * h * w);
    for (to, &j) in x.as_mut_slice().chunks_exact_mut(size).zip(&partner) {
        let from = &old[j * size..][..size];
        for channel in 0..c {
            for y in rows.clone() {
                let row = (channel * h + y) * w;
                to[row..][columns.clone()].copy_from_slice(&from[row..][columns.clone()]);
            }
        }
    }
    Ok((x, targets))
}

/// Number of samples, if inputs and labels go together.
fn samples(
    op: &'static str,
    x: &Tensor<f32>,
    labels: &Tensor<i64>,
    classes: usize,
) -> Result<usize> {
    let n = labels.numel();
    check(
        op,
        labels.rank() == 1 && x.shape().first() == Some(&n),
        || {
            format!(
                "inputs of shape {:?} do not go with labels of shape {:?}",
                x.shape(),
                labels.shape()
            )
        },
    )?;
    match labels
        .iter()
        .enumerate()
        .find(|&(_, y)| !class_in(y, classes))
    {
        Some((i, y)) => Err(Error::value(
            op,
            format!("label {y} of sample {i} is not in 0..{classes}"),
        )),
        None => Ok(n),
    }
}

fn share(op: &'static str, alpha: f64, rng: &mut Xoshiro256PlusPlus) -> Result<f64> {
    if alpha == 0.0 {
        return Ok(1.0);
    }
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(Error::value(
            op,
            format!("alpha {alpha} is not finite and at least 0"),
        ));
    }
    // Beyond this the draws are one half to the last bit, and the formulas overflow.
    Ok(beta::symmetric(alpha.min(1e100), rng))
}

fn targets(
    labels: &Tensor<i64>,
    classes: usize,
    partner: &[usize],
    lambda: f64,
) -> Result<Tensor<f32>> {
    let y = labels.to_vec();
    let mut out = Tensor::<f32>::try_zeros([y.len(), classes])?;
    let data = out.as_mut_slice();
    for (i, &j) in partner.iter().enumerate() {
        data[i * classes + y[i] as usize] += lambda as f32;
        data[i * classes + y[j] as usize] += (1.0 - lambda) as f32;
    }
    Ok(out)
}
