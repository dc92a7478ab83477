//! Metrics of numbers against numbers.

use super::{Metric, exactly, same_shape};
use crate::error::Result;
use wengert_tensor::{Real, Tensor};

macro_rules! of_values {
    ($name:ident, $label:literal, [$($field:ident),+]) => {
        impl $name {
            /// Nothing seen yet.
            pub fn new() -> Self {
                Self::default()
            }

            /// Forgets everything.
            pub fn clear(&mut self) {
                *self = Self::default();
            }
        }

        impl<X, T: Real> Metric<(X, Tensor<T>), T> for $name {
            fn reset(&mut self) {
                self.clear();
            }
            fn update(&mut self, output: &Tensor<T>, batch: &(X, Tensor<T>)) -> Result<()> {
                $name::update(self, output, &batch.1)
            }
            fn values(&self) -> Vec<(String, f64)> {
                vec![($label.to_owned(), self.value())]
            }
            fn state(&self) -> Vec<f64> {
                vec![$(self.$field),+]
            }
            fn restore(&mut self, state: &[f64]) -> Result<()> {
                [$(self.$field),+] = exactly($label, state)?;
                Ok(())
            }
        }
    };
}

/// Mean of (x - y)² over all elements.
#[derive(Clone, Debug, Default)]
pub struct MeanSquaredError {
    sum: f64,
    seen: f64,
}
of_values!(MeanSquaredError, "mse", [sum, seen]);

impl MeanSquaredError {
    /// Takes values and targets of the same shape in.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn update<T: Real>(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
        same_shape("mse", output, target)?;
        let pairs = output.iter().zip(target.iter());
        self.sum += pairs
            .map(|(x, y)| (x.as_f64() - y.as_f64()).powi(2))
            .sum::<f64>();
        self.seen += output.numel() as f64;
        Ok(())
    }

    /// The mean; NaN if nothing was seen.
    pub fn value(&self) -> f64 {
        self.sum / self.seen
    }
}

/// Mean of |x - y| over all elements.
#[derive(Clone, Debug, Default)]
pub struct MeanAbsoluteError {
    sum: f64,
    seen: f64,
}
of_values!(MeanAbsoluteError, "mae", [sum, seen]);

impl MeanAbsoluteError {
    /// Takes values and targets of the same shape in.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn update<T: Real>(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
        same_shape("mae", output, target)?;
        let pairs = output.iter().zip(target.iter());
        self.sum += pairs
            .map(|(x, y)| (x.as_f64() - y.as_f64()).abs())
            .sum::<f64>();
        self.seen += output.numel() as f64;
        Ok(())
    }

    /// The mean; NaN if nothing was seen.
    pub fn value(&self) -> f64 {
        self.sum / self.seen
    }
}

/// Coefficient of determination, 1 - Σ (x - y)² / Σ (y - mean y)², over all elements.
///
/// The spread of the targets is gathered around a running mean (Welford 1962; Chan et al. 1979), so that a large mean
/// costs no digits. NaN where all targets are equal.
#[derive(Clone, Debug, Default)]
pub struct R2 {
    residual: f64,
    mean: f64,
    spread: f64,
    seen: f64,
}
of_values!(R2, "r2", [residual, mean, spread, seen]);

impl R2 {
    /// Takes values and targets of the same shape in.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn update<T: Real>(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
        same_shape("r2", output, target)?;
        for (x, y) in output.iter().zip(target.iter()) {
            let (x, y) = (x.as_f64(), y.as_f64());
            self.residual += (x - y).powi(2);
            self.seen += 1.0;
            let off = y - self.mean;
            self.mean += off / self.seen;
            self.spread += off * (y - self.mean);
        }
        Ok(())
    }

    /// The coefficient.
    pub fn value(&self) -> f64 {
        if self.spread > 0.0 {
            1.0 - self.residual / self.spread
        } else {
            f64::NAN
        }
    }
}
