//! Made-up tasks with known answers.
//!
//! Every function takes the generator, so the same generator state gives the same data. Samples come in random order:
//! any prefix is a fair part.

use crate::dataset::{Labeled, TensorDataset};
use crate::error::{Error, Result};
use crate::random::{below, normal, permutation, uniform_f64};
use rand::Rng;
use std::f64::consts::PI;
use wengert_tensor::Tensor;

/// Inputs and real-valued targets of a regression task, in memory.
#[derive(Clone)]
pub struct Regression {
    /// Inputs, `[n, …]`.
    pub inputs: Tensor<f32>,
    /// Targets, `[n, …]`.
    pub targets: Tensor<f32>,
}

impl Regression {
    /// As a set for a [`DataLoader`](crate::DataLoader).
    ///
    /// # Panics
    /// When the public fields were changed so that the numbers of samples differ.
    #[track_caller]
    pub fn dataset(&self) -> TensorDataset<(Tensor<f32>, Tensor<f32>)> {
        match TensorDataset::new((self.inputs.clone(), self.targets.clone())) {
            Ok(set) => set,
            Err(e) => panic!("{e}"),
        }
    }
}

fn check(op: &'static str, right: bool, message: impl FnOnce() -> String) -> Result<()> {
    if right {
        Ok(())
    } else {
        Err(Error::value(op, message()))
    }
}

fn check_noise(op: &'static str, noise: f64) -> Result<()> {
    check(op, noise >= 0.0 && noise.is_finite(), || {
        format!("noise {noise} is not finite and at least 0")
    })
}

/// `n` points `[n, features]` in random order; `point` gives the coordinates and the class of the `i`-th.
fn classes(
    n: usize,
    features: usize,
    classes: usize,
    noise: f64,
    rng: &mut impl Rng,
    mut point: impl FnMut(usize, &mut [f64]) -> usize,
) -> Result<Labeled> {
    let mut inputs = Tensor::<f32>::try_zeros([n, features])?;
    let mut labels = Tensor::<i64>::try_zeros([n])?;
    let (x, y) = (inputs.as_mut_slice(), labels.as_mut_slice());
    let mut at = vec![0.0; features];
    for (i, place) in permutation(n, rng).into_iter().enumerate() {
        let class = point(i, &mut at);
        for (to, v) in x[place * features..][..features].iter_mut().zip(&at) {
            *to = (v + noise * normal(rng)) as f32;
        }
        y[place] = class as i64;
    }
    Labeled::new(inputs, labels, classes)
}

/// `i`-th of `n` equidistant numbers from 0 to 1, both included.
fn even(i: usize, n: usize) -> f64 {
    i as f64 / n.saturating_sub(1).max(1) as f64
}

/// Two half circles that interlock, `[n, 2]`: `(cos t, sin t)` and `(1 - cos t, 1/2 - sin t)` for `t` in `0..=π`, plus
/// normal noise. Class 0 has `n / 2` points rounded down. (scikit-learn's `make_moons`.)
///
/// ```
/// use rand::SeedableRng;
/// use wengert_data::random::Xoshiro256PlusPlus;
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let moons = wengert_data::synthetic::two_moons(200, 0.1, &mut rng).unwrap();
/// assert_eq!(moons.inputs.shape(), [200, 2]);
/// ```
///
/// # Errors
/// [`Error::Value`] for noise that is negative or not finite, [`Error::Tensor`] when memory is not to be had.
pub fn two_moons(n: usize, noise: f64, rng: &mut impl Rng) -> Result<Labeled> {
    check_noise("two_moons", noise)?;
    let outer = n / 2;
    classes(n, 2, 2, noise, rng, |i, at| {
        let inner = i >= outer;
        let t = PI
            * if inner {
                even(i - outer, n - outer)
            } else {
                even(i, outer)
            };
        let (s, c) = t.sin_cos();
        at.copy_from_slice(&if inner { [1.0 - c, 0.5 - s] } else { [c, s] });
        usize::from(inner)
    })
}

/// Concentric circles of radius `1, 2, …, rings`, one class each, `[n, 2]`, plus normal noise.
///
/// # Errors
/// As [`two_moons`], and for no rings.
pub fn rings(n: usize, rings: usize, noise: f64, rng: &mut impl Rng) -> Result<Labeled> {
    check_noise("rings", noise)?;
    check("rings", rings > 0, || "no rings".into())?;
    let per = n.div_ceil(rings);
    classes(n, 2, rings, noise, rng, |i, at| {
        let (s, c) = (2.0 * PI * (i / rings) as f64 / per as f64).sin_cos();
        let r = (i % rings + 1) as f64;
        at.copy_from_slice(&[r * c, r * s]);
        i % rings
    })
}

/// Interleaved spirals, one class each, `[n, 2]`: radius `r` from 0 to 1 at the angle `2π (turns · r + class / arms)`, plus
/// normal noise.
///
/// # Errors
/// As [`two_moons`], for no arms, and for turns that are not finite.
pub fn spirals(
    n: usize,
    arms: usize,
    turns: f64,
    noise: f64,
    rng: &mut impl Rng,
) -> Result<Labeled> {
    check_noise("spirals", noise)?;
    check("spirals", arms > 0 && turns.is_finite(), || {
        format!("{arms} arms of {turns} turns")
    })?;
    let per = n.div_ceil(arms);
    classes(n, 2, arms, noise, rng, |i, at| {
        let r = even(i / arms, per);
        let (s, c) = (2.0 * PI * (turns * r + (i % arms) as f64 / arms as f64)).sin_cos();
        at.copy_from_slice(&[r * c, r * s]);
        i % arms
    })
}

/// Normal clouds, one class each, `[n, features]`: centres uniform in `-10..10`, standard deviation `spread` (scikit-learn's
/// `make_blobs`; 1.0 is usual).
///
/// # Errors
/// As [`two_moons`], and for no classes.
pub fn blobs(
    n: usize,
    clouds: usize,
    features: usize,
    spread: f64,
    rng: &mut impl Rng,
) -> Result<Labeled> {
    check_noise("blobs", spread)?;
    check("blobs", clouds > 0, || "no clouds".into())?;
    let size = clouds.saturating_mul(features);
    check("blobs", size < 1 << 30, || {
        format!("{clouds} clouds in {features} dimensions")
    })?;
    let centres: Vec<f64> = (0..size).map(|_| uniform_f64(rng) * 20.0 - 10.0).collect();
    classes(n, features, clouds, spread, rng, |i, at| {
        let class = i % clouds;
        at.copy_from_slice(&centres[class * features..][..features]);
        class
    })
}

/// The exclusive or, `[n, 2]`: corners `(a, b)` of the unit square with class `a xor b`, plus normal noise. Every corner
/// appears equally often; `xor(4, 0.0, …)` is the truth table.
///
/// # Errors
/// As [`two_moons`].
pub fn xor(n: usize, noise: f64, rng: &mut impl Rng) -> Result<Labeled> {
    check_noise("xor", noise)?;
    classes(n, 2, 2, noise, rng, |i, at| {
        let (a, b) = (i & 1, i >> 1 & 1);
        at.copy_from_slice(&[a as f64, b as f64]);
        a ^ b
    })
}

/// `y = sin x` plus normal noise, `x` uniform in `-π..π`; both `[n, 1]`.
///
/// # Errors
/// As [`two_moons`].
pub fn sine(n: usize, noise: f64, rng: &mut impl Rng) -> Result<Regression> {
    check_noise("sine", noise)?;
    let mut inputs = Tensor::<f32>::try_zeros([n, 1])?;
    let mut targets = Tensor::<f32>::try_zeros([n, 1])?;
    for (x, y) in inputs.as_mut_slice().iter_mut().zip(targets.as_mut_slice()) {
        let at = (uniform_f64(rng) * 2.0 - 1.0) * PI;
        *x = at as f32;
        *y = (at.sin() + noise * normal(rng)) as f32;
    }
    Ok(Regression { inputs, targets })
}

/// The adding problem (Hochreiter and Schmidhuber 1997): inputs `[n, length, 2]`, targets `[n, 1]`.
///
/// Channel 0 is uniform in `0..1`; channel 1 marks with ones a place in the first half and a place in the second, all else
/// zero. The target is the sum of the two marked numbers. Always answering 1 has mean squared error 1/6.
///
/// # Errors
/// [`Error::Value`] for a length below 2, [`Error::Tensor`] when memory is not to be had.
pub fn adding(n: usize, length: usize, rng: &mut impl Rng) -> Result<Regression> {
    check("adding", length >= 2, || {
        format!("length {length}, at least 2 is needed")
    })?;
    let mut inputs = Tensor::<f32>::try_zeros([n, length, 2])?;
    let mut targets = Tensor::<f32>::try_zeros([n, 1])?;
    let sequences = inputs.as_mut_slice().chunks_exact_mut(2 * length);
    for (x, y) in sequences.zip(targets.as_mut_slice()) {
        for step in x.chunks_exact_mut(2) {
            step[0] = uniform_f64(rng) as f32;
        }
        let half = length / 2;
        let marks = [
            below(rng, half as u64) as usize,
            half + below(rng, (length - half) as u64) as usize,
        ];
        for at in marks {
            x[2 * at + 1] = 1.0;
            *y += x[2 * at];
        }
    }
    Ok(Regression { inputs, targets })
}

/// The copy task (Hochreiter and Schmidhuber 1997; in this form Arjovsky, Shah, Bengio 2016): tokens in, tokens out, both
/// `[n, delay + 2 * pattern]`.
///
/// There are `symbols + 2` tokens: 0 is blank, `1..=symbols` are symbols, `symbols + 1` asks for the answer. The input is
/// `pattern` random symbols, `delay - 1` blanks, the question, `pattern` blanks; the target is `delay + pattern` blanks and
/// then the symbols. Without memory the best mean cross-entropy is `pattern · ln(symbols) / (delay + 2 pattern)`.
///
/// # Errors
/// [`Error::Value`] when `symbols`, `pattern` or `delay` is zero, [`Error::Tensor`] when memory is not to be had.
pub fn copy_task(
    n: usize,
    symbols: usize,
    pattern: usize,
    delay: usize,
    rng: &mut impl Rng,
) -> Result<TensorDataset<(Tensor<i64>, Tensor<i64>)>> {
    let length = pattern.checked_mul(2).and_then(|p| p.checked_add(delay));
    let length = length.filter(|_| symbols > 0 && pattern > 0 && delay > 0 && symbols < 1 << 32);
    let length = length.ok_or_else(|| {
        Error::value(
            "copy_task",
            format!("{symbols} symbols, pattern of {pattern}, delay of {delay}"),
        )
    })?;
    let mut inputs = Tensor::<i64>::try_zeros([n, length])?;
    let mut targets = Tensor::<i64>::try_zeros([n, length])?;
    let rows = inputs
        .as_mut_slice()
        .chunks_exact_mut(length)
        .zip(targets.as_mut_slice().chunks_exact_mut(length));
    for (x, y) in rows {
        for k in 0..pattern {
            x[k] = 1 + below(rng, symbols as u64) as i64;
            y[delay + pattern + k] = x[k];
        }
        x[pattern + delay - 1] = symbols as i64 + 1;
    }
    TensorDataset::new((inputs, targets))
}

/// What a random net of one hidden layer answers: inputs `[n, inputs]` standard normal, targets `[n, outputs]`
/// `y = W₂ tanh(W₁ x + b) ` plus normal noise, `W₁ ~ N(0, 1/inputs)`, `b ~ N(0, 1)`, `W₂ ~ N(0, 1/hidden)`.
///
/// The weights are drawn before the data, sample after sample: more samples from the same generator begin with the same.
///
/// # Errors
/// As [`two_moons`], and when a size is zero.
pub fn teacher(
    n: usize,
    inputs: usize,
    hidden: usize,
    outputs: usize,
    noise: f64,
    rng: &mut impl Rng,
) -> Result<Regression> {
    check_noise("teacher", noise)?;
    let sizes = [
        inputs.saturating_mul(hidden),
        hidden.saturating_mul(outputs),
    ];
    check(
        "teacher",
        sizes.iter().all(|&s| s > 0 && s < 1 << 30),
        || format!("a net of {inputs} inputs, {hidden} hidden units, {outputs} outputs"),
    )?;
    let mut draw =
        |count: usize, std: f64| -> Vec<f64> { (0..count).map(|_| std * normal(rng)).collect() };
    let first = draw(sizes[0], (inputs as f64).powf(-0.5));
    let bias = draw(hidden, 1.0);
    let second = draw(sizes[1], (hidden as f64).powf(-0.5));
    let mut x = Tensor::<f32>::try_zeros([n, inputs])?;
    let mut y = Tensor::<f32>::try_zeros([n, outputs])?;
    let dot = |w: &[f64], v: &[f64]| w.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
    let rows = x
        .as_mut_slice()
        .chunks_exact_mut(inputs)
        .zip(y.as_mut_slice().chunks_exact_mut(outputs));
    let (mut point, mut h) = (vec![0.0; inputs], vec![0.0; hidden]);
    for (x, y) in rows {
        for (p, x) in point.iter_mut().zip(x) {
            *x = normal(rng) as f32;
            *p = f64::from(*x);
        }
        for (k, h) in h.iter_mut().enumerate() {
            *h = (dot(&first[k * inputs..][..inputs], &point) + bias[k]).tanh();
        }
        for (k, y) in y.iter_mut().enumerate() {
            *y = (dot(&second[k * hidden..][..hidden], &h) + noise * normal(rng)) as f32;
        }
    }
    Ok(Regression {
        inputs: x,
        targets: y,
    })
}
