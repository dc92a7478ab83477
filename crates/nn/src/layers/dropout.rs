//! Layers that disturb at random.

use super::{no_parameters, probability};
use crate::forward::Forward;
use wengert_autograd::{Float, Result, Var};
use wengert_tensor::error::OrPanic;

/// Inverted dropout (Srivastava et al. 2014): on a training tape each element is 0 with probability `p`, else divided by
/// 1 - p; on an inference tape the identity.
///
/// The mask comes from the tape's seed and step, and is recomputed in the backward pass, not stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// Dropout with probability `p`.
    ///
    /// # Panics
    /// When `p` is not in [0, 1].
    #[track_caller]
    pub fn new(p: f64) -> Self {
        Self::try_new(p).or_panic()
    }

    /// Dropout with probability `p`.
    ///
    /// # Errors
    /// When `p` is not in [0, 1].
    pub fn try_new(p: f64) -> Result<Self> {
        probability("dropout", p)?;
        Ok(Dropout { p })
    }

    /// Probability of an element to be dropped.
    pub fn p(&self) -> f64 {
        self.p
    }
}

impl<T: Float> Forward<T> for Dropout {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        x.dropout(self.p)
    }
}

no_parameters!(Dropout);
