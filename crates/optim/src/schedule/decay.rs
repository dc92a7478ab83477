//! Schedules that go down.

use super::Schedule;
use super::combine::positive;
use crate::error::{Result, or_panic};
use crate::rule::Range;

/// `initial · gamma^⌊step / every⌋` (PyTorch's `StepLR`).
#[derive(Debug, Clone, PartialEq)]
pub struct StepDecay {
    initial: f64,
    every: u64,
    gamma: f64,
}

impl StepDecay {
    /// Multiplies by `gamma` every `every` steps.
    ///
    /// # Panics
    /// Where [`StepDecay::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, every: u64, gamma: f64) -> Self {
        or_panic(Self::try_new(initial, every, gamma))
    }

    /// As [`StepDecay::new`].
    ///
    /// # Errors
    /// When `initial` is not finite, `every` is 0, or `gamma` is negative or not finite.
    pub fn try_new(initial: f64, every: u64, gamma: f64) -> Result<Self> {
        Range::FINITE.check("StepDecay", "initial", initial)?;
        positive("StepDecay", "every", every)?;
        Range::NON_NEGATIVE.check("StepDecay", "gamma", gamma)?;
        Ok(StepDecay {
            initial,
            every,
            gamma,
        })
    }
}

impl Schedule for StepDecay {
    fn at(&self, step: u64) -> f64 {
        self.initial * self.gamma.powf((step / self.every) as f64)
    }
}

/// Half a cosine from `initial` down to `floor`, which it keeps from step `steps` on (Loshchilov and Hutter 2017,
/// equation 5, one period).
///
/// `floor + (initial - floor) (1 + cos(π · step / steps)) / 2`. PyTorch's `CosineAnnealingLR` agrees up to step
/// `steps` and goes up again after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cosine {
    initial: f64,
    floor: f64,
    steps: u64,
}

impl Cosine {
    /// From `initial` to 0 in `steps` steps.
    ///
    /// # Panics
    /// Where [`Cosine::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, steps: u64) -> Self {
        or_panic(Self::try_new(initial, steps, 0.0))
    }

    /// From `initial` to `floor` in `steps` steps.
    ///
    /// # Errors
    /// When a value is not finite or `steps` is 0.
    pub fn try_new(initial: f64, steps: u64, floor: f64) -> Result<Self> {
        Range::FINITE.check("Cosine", "initial", initial)?;
        Range::FINITE.check("Cosine", "floor", floor)?;
        positive("Cosine", "steps", steps)?;
        Ok(Cosine {
            initial,
            floor,
            steps,
        })
    }

    /// The value at the end.
    ///
    /// # Panics
    /// When it is not finite.
    #[track_caller]
    pub fn floor(self, floor: f64) -> Self {
        or_panic(Self::try_new(self.initial, self.steps, floor))
    }
}

impl Schedule for Cosine {
    fn at(&self, step: u64) -> f64 {
        let x = step.min(self.steps) as f64 / self.steps as f64;
        self.floor + (self.initial - self.floor) * (1.0 + (std::f64::consts::PI * x).cos()) / 2.0
    }
}
