//! Mean 0, standard deviation 1.

use super::Augment;
use crate::error::{Error, Result};
use crate::random::Xoshiro256PlusPlus;
use wengert_tensor::Tensor;

/// Which elements of a batch `[n, …]` share a mean and a standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All of them.
    Batch,
    /// Those of one index along axis 1: the colour channels of `[n, c, h, w]`.
    Channel,
    /// Those of one place behind axis 0: every pixel, every column for itself.
    Feature,
}

/// `(x - mean) / std`, with given or fitted statistics.
///
/// ```
/// use wengert_data::augment::{Normalize, Per};
/// use wengert_tensor::Tensor;
/// let train = Tensor::from_vec(vec![1.0f32, 10.0, 3.0, 10.0], [2, 2]);
/// let norm = Normalize::fit(&train, Per::Feature).unwrap();
/// assert_eq!(norm.normalized(&train).unwrap().to_vec(), [-1.0, 0.0, 1.0, 0.0]);
/// assert!(norm.restored(&norm.normalized(&train).unwrap()).unwrap() == train);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
    per: Per,
}

impl Normalize {
    /// Given statistics: one value, one per channel, or one per feature.
    ///
    /// # Errors
    /// [`Error::Value`] when the numbers of means and deviations differ, a value is not finite, a deviation is not above 0,
    /// or there is not exactly one value for [`Per::Batch`].
    pub fn new(mean: Vec<f32>, std: Vec<f32>, per: Per) -> Result<Self> {
        let fault =
            if mean.len() != std.len() || mean.is_empty() || (per == Per::Batch && mean.len() != 1)
            {
                Some(format!(
                    "{} means and {} standard deviations per {per:?}",
                    mean.len(),
                    std.len()
                ))
            } else {
                let bad = |(m, s): (&f32, &f32)| !(m.is_finite() && s.is_finite() && *s > 0.0);
                mean.iter()
                    .zip(&std)
                    .position(bad)
                    .map(|i| format!("mean {}, std {} at {i}", mean[i], std[i]))
            };
        match fault {
            Some(message) => Err(Error::value("normalize", message)),
            None => Ok(Normalize { mean, std, per }),
        }
    }

    /// The statistics of `x`, computed in `f64` in two passes; the deviation is that of the population (divisor `n`). What is constant gets
    /// deviation 1, so it becomes 0.
    ///
    /// # Errors
    /// [`Error::Value`] for no elements, a value that is not finite, or a rank too low.
    pub fn fit(x: &Tensor<f32>, per: Per) -> Result<Self> {
        let (groups, run) = groups(x, per)?;
        if x.numel() == 0 {
            return Err(Error::value(
                "normalize",
                format!("nothing to fit in shape {:?}", x.shape()),
            ));
        }
        let x = x.contiguous();
        let data = x.as_slice().unwrap_or_default();
        if let Some(i) = data.iter().position(|v| !v.is_finite()) {
            return Err(Error::value(
                "normalize",
                format!(
                    "element {i} of shape {:?} is {}, expected finite values",
                    x.shape(),
                    data[i]
                ),
            ));
        }
        let n = (data.len() / groups) as f64;
        let (mut mean, mut square) = (vec![0f64; groups], vec![0f64; groups]);
        for (k, values) in data.chunks_exact(run).enumerate() {
            mean[k % groups] += values.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        mean.iter_mut().for_each(|m| *m /= n);
        // Exact, where the deviation of a constant would be what rounding leaves of it.
        let mut constant = vec![true; groups];
        for (k, values) in data.chunks_exact(run).enumerate() {
            let (m, first) = (mean[k % groups], data[k % groups * run]);
            square[k % groups] += values
                .iter()
                .map(|&v| (f64::from(v) - m).powi(2))
                .sum::<f64>();
            constant[k % groups] &= values.iter().all(|&v| v == first);
        }
        let std = |(s, c): (&f64, &bool)| {
            if *c {
                1.0
            } else {
                ((s / n).sqrt() as f32).max(f32::MIN_POSITIVE)
            }
        };
        let std = square.iter().zip(&constant).map(std).collect();
        Self::new(mean.iter().map(|&m| m as f32).collect(), std, per)
    }

    /// The means.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviations.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// `(x - mean) / std`.
    ///
    /// # Errors
    /// [`Error::Value`] when the statistics do not go with the shape.
    pub fn normalized(&self, x: &Tensor<f32>) -> Result<Tensor<f32>> {
        let mut out = x.clone();
        self.change(&mut out, |v, mean, std| (v - mean) / std)?;
        Ok(out)
    }

    /// The inverse, `x * std + mean`.
    ///
    /// # Errors
    /// As [`Normalize::normalized`].
    pub fn restored(&self, x: &Tensor<f32>) -> Result<Tensor<f32>> {
        let mut out = x.clone();
        self.change(&mut out, |v, mean, std| v * std + mean)?;
        Ok(out)
    }

    fn change(&self, x: &mut Tensor<f32>, f: impl Fn(f32, f32, f32) -> f32) -> Result<()> {
        let (groups, run) = groups(x, self.per)?;
        if groups != self.mean.len() {
            let message = format!(
                "{} statistics per {:?} for shape {:?}",
                self.mean.len(),
                self.per,
                x.shape()
            );
            return Err(Error::value("normalize", message));
        }
        if x.numel() == 0 {
            return Ok(());
        }
        let data = x.as_mut_slice();
        if run == 1 {
            for row in data.chunks_exact_mut(groups) {
                for ((v, &mean), &std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                    *v = f(*v, mean, std);
                }
            }
        } else {
            for (k, values) in data.chunks_exact_mut(run).enumerate() {
                let (mean, std) = (self.mean[k % groups], self.std[k % groups]);
                values.iter_mut().for_each(|v| *v = f(*v, mean, std));
            }
        }
        Ok(())
    }
}

/// Number of groups, and how many neighbours belong to the same one.
fn groups(x: &Tensor<f32>, per: Per) -> Result<(usize, usize)> {
    let s = x.shape();
    match per {
        Per::Batch => Ok((1, x.numel().max(1))),
        Per::Channel if s.len() >= 2 => Ok((s[1], s[2..].iter().product())),
        Per::Feature if !s.is_empty() => Ok((s[1..].iter().product(), 1)),
        _ => Err(Error::value(
            "normalize",
            format!("shape {s:?} has no axis for statistics per {per:?}"),
        )),
    }
}

impl Augment for Normalize {
    fn apply(&self, x: &mut Tensor<f32>, _: &mut Xoshiro256PlusPlus) -> Result<()> {
        self.change(x, |v, mean, std| (v - mean) / std)
    }
}
