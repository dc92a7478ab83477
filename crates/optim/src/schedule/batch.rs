//! Batch sizes that grow.

use super::Schedule;
use super::combine::positive;
use crate::error::{Result, or_panic};
use std::sync::Arc;

/// A schedule rounded to batch sizes.
///
/// ```
/// use wengert_optim::schedule::{BatchSize, StepDecay};
/// // In place of a learning rate that is divided by 5 every 100 steps (Smith et al. 2018).
/// let batch = BatchSize::inverse_to(32, StepDecay::new(0.1, 100, 0.2)).at_most(512);
/// assert_eq!([batch.at(0), batch.at(100), batch.at(200)], [32, 160, 512]);
/// ```
#[derive(Debug, Clone)]
pub struct BatchSize {
    size: Arc<dyn Schedule>,
    multiple: u64,
    most: u64,
}

impl BatchSize {
    /// The values of `size`, rounded to the nearest whole number, at least 1.
    pub fn new(size: impl Schedule) -> Self {
        BatchSize {
            size: Arc::new(size),
            multiple: 1,
            most: u64::MAX,
        }
    }

    /// `initial` times what the learning rate `lr` has fallen by: the batch grows in its place.
    pub fn inverse_to(initial: u64, lr: impl Schedule) -> Self {
        let first = lr.at(0);
        Self::new(super::from_fn(move |step| {
            initial as f64 * first / lr.at(step)
        }))
    }

    /// Rounds to multiples of `n`, at least one.
    ///
    /// # Panics
    /// When `n` is 0.
    #[track_caller]
    pub fn multiple_of(self, n: u64) -> Self {
        or_panic(self.try_multiple_of(n))
    }

    /// As [`BatchSize::multiple_of`].
    ///
    /// # Errors
    /// When `n` is 0.
    pub fn try_multiple_of(mut self, n: u64) -> Result<Self> {
        self.multiple = positive("BatchSize", "multiple_of", n)?;
        Ok(self)
    }

    /// Never more than `n`.
    ///
    /// # Panics
    /// When `n` is 0.
    #[track_caller]
    pub fn at_most(mut self, n: u64) -> Self {
        self.most = or_panic(positive("BatchSize", "at_most", n));
        self
    }

    /// The batch size at a step.
    pub fn at(&self, step: u64) -> usize {
        let m = self.multiple;
        // A cast saturates: NaN and negative values give 0, infinity the largest number.
        let n = (self.size.at(step) / m as f64).round() as u64;
        let n = n.max(1).saturating_mul(m).min(self.most);
        usize::try_from(n).unwrap_or(usize::MAX)
    }
}
