//! Penalties on weights and activations, added to the loss.
//!
//! ```
//! use rand::SeedableRng;
//! use rand::rngs::Xoshiro256PlusPlus;
//! use wengert_autograd::{Tape, Tensor};
//! use wengert_nn::regularize::{Penalty, Regularizer};
//! use wengert_nn::{Forward, Sequential};
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let model: Sequential = Sequential::builder().linear(4, 8).tanh().linear(8, 3).build(&mut rng);
//! let penalties = Regularizer::new()
//!     .on("*.weight", Penalty::L2(1e-4)) // all weights, no biases
//!     .on("0", Penalty::L1(1e-5)); // one layer
//!
//! let tape = Tape::training(0);
//! let y = model.forward(tape.input(&Tensor::ones([2, 4])));
//! let loss = y.cross_entropy(&Tensor::from_vec(vec![0, 2], [2]));
//! let loss = penalties.add_to(loss, &model) + Penalty::L1(1e-3).of_activations(y);
//! loss.backward();
//! ```
//!
//! Mixup and cutmix are augmentations of batches and stand with the data; label smoothing is a setting of
//! [`CrossEntropy`](crate::loss::CrossEntropy), or [`smooth_labels`] where targets are probabilities.

use crate::layers::refuse;
use wengert_autograd::{Float, Module, ModuleExt, Result, Tensor, Var, path_matches};
use wengert_tensor::error::OrPanic;

/// A penalty on a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Penalty {
    /// λ Σ |w|.
    L1(f64),
    /// λ Σ w². Its gradient is 2 λ w: an optimizer's weight decay of 2 λ for plain SGD.
    L2(f64),
    /// λ₁ Σ |w| + λ₂ Σ w² (elastic net, Zou & Hastie 2005).
    L1L2 {
        /// λ₁.
        l1: f64,
        /// λ₂.
        l2: f64,
    },
    /// λ ‖W Wᵀ - I‖², or of Wᵀ W where that is smaller, with W as a matrix `[outputs, rest]` (soft orthogonality, Bansal et
    /// al. 2018).
    Orthogonal(f64),
}

impl Penalty {
    /// Checks the factors.
    ///
    /// # Errors
    /// When one is negative or not finite.
    pub fn validated(self) -> Result<Self> {
        let factors = match self {
            Penalty::L1(l) | Penalty::L2(l) | Penalty::Orthogonal(l) => [l, 0.0],
            Penalty::L1L2 { l1, l2 } => [l1, l2],
        };
        if factors.iter().any(|l| !(*l >= 0.0 && l.is_finite())) {
            return refuse(
                "penalty",
                format!("expected finite factors of at least 0, found {self:?}"),
            );
        }
        Ok(self)
    }

    /// The penalty of a value, a scalar.
    ///
    /// # Panics
    /// When a factor is negative or not finite; for [`Penalty::Orthogonal`] when the value has less than 2 axes.
    #[track_caller]
    pub fn of<T: Float>(self, w: Var<'_, T>) -> Var<'_, T> {
        match self.validated().or_panic() {
            Penalty::L1(l) => w.abs().sum() * l,
            Penalty::L2(l) => w.square().sum() * l,
            Penalty::L1L2 { l1, l2 } => (w.abs() * l1 + w.square() * l2).sum(),
            Penalty::Orthogonal(l) => {
                let shape = w.shape();
                assert!(
                    shape.len() >= 2,
                    "orthogonal penalty: expected at least 2 axes, found shape {:?}",
                    shape.as_slice()
                );
                let rows = shape[0];
                let cols: usize = shape[1..].iter().product();
                let m = w.reshape([rows, cols]);
                let gram = if rows <= cols {
                    m.matmul(m.t())
                } else {
                    m.t().matmul(m)
                };
                let n = rows.min(cols);
                let eye =
                    Tensor::from_fn([n, n], |i| if i[0] == i[1] { T::one() } else { T::zero() });
                (gram - w.tape().input(&eye)).square().sum() * l
            }
        }
    }

    /// The penalty of activations `[n, ..]`, per sample: divided by n, so that it does not grow with the batch.
    ///
    /// # Panics
    /// As [`Penalty::of`].
    #[track_caller]
    pub fn of_activations<T: Float>(self, x: Var<'_, T>) -> Var<'_, T> {
        let n = x.shape().first().copied().unwrap_or(1);
        self.of(x) * (1.0 / n as f64)
    }
}

/// Penalties by path: which parameters, which penalty.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Regularizer {
    rules: Vec<(String, Penalty)>,
}

impl Regularizer {
    /// No penalties.
    pub fn new() -> Self {
        Self::default()
    }

    /// A penalty on the parameters whose path belongs to a pattern ([`path_matches`]).
    ///
    /// # Panics
    /// When a factor is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn on(mut self, pattern: impl Into<String>, penalty: Penalty) -> Self {
        self.rules
            .push((pattern.into(), penalty.validated().or_panic()));
        self
    }

    /// The sum of the penalties of the model's trainable parameters, or `None` if there are none.
    ///
    /// # Panics
    /// When a pattern matches no parameter of the model at all: it is misspelt.
    #[track_caller]
    pub fn penalty<'t, T: Float, M: Module<T> + ?Sized>(
        &self,
        tape: &'t wengert_autograd::Tape<T>,
        model: &M,
    ) -> Option<Var<'t, T>> {
        let mut total: Option<Var<'t, T>> = None;
        let mut used = vec![false; self.rules.len()];
        model.for_each_param(|path, p| {
            for ((pattern, penalty), used) in self.rules.iter().zip(&mut used) {
                if !path_matches(pattern, path) {
                    continue;
                }
                *used = true;
                if p.is_trainable() {
                    let value = penalty.of(tape.param(p));
                    total = Some(total.map_or(value, |t| t + value));
                }
            }
        });
        if let Some(i) = used.iter().position(|u| !u) {
            panic!("regularizer: no parameter matches {:?}", self.rules[i].0);
        }
        total
    }

    /// The loss plus the penalties of the model's trainable parameters.
    ///
    /// # Panics
    /// As [`Regularizer::penalty`].
    #[track_caller]
    pub fn add_to<'t, T: Float, M: Module<T> + ?Sized>(
        &self,
        loss: Var<'t, T>,
        model: &M,
    ) -> Var<'t, T> {
        match self.penalty(loss.tape(), model) {
            Some(p) => loss + p,
            None => loss,
        }
    }
}

/// Class labels of shape `s` as smoothed probabilities `s + [classes]`: 1 - ε + ε/classes for the class, ε/classes for the
/// others (Szegedy et al. 2016). ε = 0 gives one-hot vectors.
///
/// # Errors
/// When a label is out of range or ε is not in [0, 1].
pub fn smooth_labels<T: Float>(
    labels: &Tensor<i64>,
    classes: usize,
    smoothing: f64,
) -> Result<Tensor<T>> {
    if !(0.0..=1.0).contains(&smoothing) {
        return refuse(
            "smooth_labels",
            format!("expected a smoothing in [0, 1], found {smoothing}"),
        );
    }
    let mut shape = labels.shape().to_vec();
    shape.push(classes);
    let mut out = Tensor::try_zeros(&shape)?;
    let rest = smoothing / classes.max(1) as f64;
    let values: &mut [T] = out.as_mut_slice();
    values.fill(T::from_f64(rest));
    for (i, y) in labels.iter().enumerate() {
        if y < 0 || y as u64 >= classes as u64 {
            return refuse(
                "smooth_labels",
                format!("label {y} is out of range for {classes} classes"),
            );
        }
        values[i * classes + y as usize] = T::from_f64(1.0 - smoothing + rest);
    }
    Ok(out)
}
