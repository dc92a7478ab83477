//! Constraints on parameters, restored after each optimizer step.
//!
//! ```
//! use rand::SeedableRng;
//! use rand::rngs::Xoshiro256PlusPlus;
//! use wengert_nn::constraint::{Constraint, Constraints};
//! use wengert_nn::Sequential;
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let mut model: Sequential = Sequential::builder().linear(4, 8).relu().linear(8, 3).build(&mut rng);
//! let constraints = Constraints::new().on("*.weight", Constraint::MaxNorm(1.0));
//! // after optimizer.step(&mut model, &gradients):
//! constraints.apply(&mut model);
//! ```

use crate::layers::refuse;
use wengert_autograd::{Float, Module, ModuleExt, Result, Tensor, path_matches};
use wengert_tensor::error::OrPanic;

/// What a parameter must satisfy.
///
/// Norms are those of the weights that come into one output: row i of a weight `[outputs, ..]`. A vector (a bias) counts as
/// one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Constraint {
    /// Rows longer than this are shortened to it (Hinton et al. 2012; 3 to 4 beside dropout).
    MaxNorm(f64),
    /// All rows get length 1; rows of length 0 stay.
    UnitNorm,
    /// Row lengths are moved towards the interval by the share `rate` of the way: 1 moves them inside at once.
    MinMaxNorm {
        /// Least length.
        min: f64,
        /// Largest length.
        max: f64,
        /// Share of the way, in (0, 1].
        rate: f64,
    },
    /// Negative values become 0.
    NonNegative,
    /// Values are limited to an interval (weight clipping of Arjovsky et al. 2017).
    Clip {
        /// Least value.
        min: f64,
        /// Largest value.
        max: f64,
    },
}

impl Constraint {
    /// Checks the settings.
    ///
    /// # Errors
    /// When a length is negative or not finite, an interval is empty, or a rate is not in (0, 1].
    pub fn validated(self) -> Result<Self> {
        let length = |x: f64| x >= 0.0 && x.is_finite();
        let ok = match self {
            Constraint::MaxNorm(m) => length(m),
            Constraint::UnitNorm | Constraint::NonNegative => true,
            Constraint::MinMaxNorm { min, max, rate } => {
                length(min) && length(max) && min <= max && rate > 0.0 && rate <= 1.0
            }
            Constraint::Clip { min, max } => min <= max,
        };
        if !ok {
            return refuse("constraint", format!("settings out of range: {self:?}"));
        }
        Ok(self)
    }

    /// Changes a tensor so that it satisfies the constraint. NaN stays NaN.
    ///
    /// # Panics
    /// When the settings are out of range.
    #[track_caller]
    pub fn project<T: Float>(self, w: &mut Tensor<T>) {
        let rows = if w.rank() >= 2 { w.shape()[0] } else { 1 };
        let row = w.numel() / rows.max(1);
        if row == 0 {
            return;
        }
        let values = w.as_mut_slice();
        match self.validated().or_panic() {
            Constraint::NonNegative => values.iter_mut().for_each(|v| {
                if *v < T::zero() {
                    *v = T::zero();
                }
            }),
            Constraint::Clip { min, max } => {
                let (min, max) = (T::from_f64(min), T::from_f64(max));
                values.iter_mut().for_each(|v| {
                    if *v < min {
                        *v = min;
                    } else if *v > max {
                        *v = max;
                    }
                });
            }
            norm => {
                for r in values.chunks_exact_mut(row) {
                    let length = r.iter().map(|v| v.as_f64().powi(2)).sum::<f64>().sqrt();
                    let wanted = match norm {
                        Constraint::MaxNorm(m) if length > m => m,
                        Constraint::UnitNorm => 1.0,
                        Constraint::MinMaxNorm { min, max, rate } => {
                            rate * length.clamp(min, max) + (1.0 - rate) * length
                        }
                        _ => length,
                    };
                    if wanted != length && length > 0.0 {
                        let factor = wanted / length;
                        r.iter_mut()
                            .for_each(|v| *v = T::from_f64(v.as_f64() * factor));
                    }
                }
            }
        }
    }
}

/// Constraints by path: which parameters, which constraint.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Constraints {
    rules: Vec<(String, Constraint)>,
}

impl Constraints {
    /// No constraints.
    pub fn new() -> Self {
        Self::default()
    }

    /// A constraint on the parameters whose path belongs to a pattern ([`path_matches`]).
    ///
    /// # Panics
    /// When the settings are out of range.
    #[track_caller]
    #[must_use]
    pub fn on(mut self, pattern: impl Into<String>, constraint: Constraint) -> Self {
        self.rules
            .push((pattern.into(), constraint.validated().or_panic()));
        self
    }

    /// Changes the trainable parameters so that they satisfy the constraints, in the order these were given. Call it after
    /// the optimizer's step.
    ///
    /// # Panics
    /// When a pattern matches no parameter of the model at all: it is misspelt.
    #[track_caller]
    pub fn apply<T: Float, M: Module<T> + ?Sized>(&self, model: &mut M) {
        let mut used = vec![false; self.rules.len()];
        model.for_each_param_mut(|path, p| {
            for ((pattern, constraint), used) in self.rules.iter().zip(&mut used) {
                if path_matches(pattern, path) {
                    *used = true;
                    if p.is_trainable() {
                        constraint.project(p.value_mut());
                    }
                }
            }
        });
        if let Some(i) = used.iter().position(|u| !u) {
            panic!("constraints: no parameter matches {:?}", self.rules[i].0);
        }
    }
}
