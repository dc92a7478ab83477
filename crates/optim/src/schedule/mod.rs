//! Hyperparameters as functions of the step.
//!
//! A [`Schedule`] gives the value of a hyperparameter (not a factor) at every step, counted from 0. A plain number is
//! the constant schedule, so `Adam::new(1e-3)` and `Adam::new(Cosine::new(1e-3, 10_000).warmup(500))` are the same
//! call. Schedules are pure: resuming at a step needs nothing but the step.

mod batch;
mod combine;
mod cyclic;
mod decay;
mod plateau;

pub use batch::BatchSize;
pub use combine::{Clamped, Delayed, Every, FromFn, Product, Sequential, Sum, Warmup, from_fn};
pub use cyclic::{CosineRestarts, Cyclic, OneCycle};
pub use decay::{
    Constant, Cosine, Exponential, InverseSqrt, InverseTime, Linear, MultiStep, Piecewise,
    Polynomial, StepDecay,
};
pub use plateau::Plateau;

use std::fmt::Debug;
use std::sync::Arc;

/// The value of a hyperparameter at every step.
pub trait Schedule: Debug + Send + Sync + 'static {
    /// The value at a step, counted from 0.
    fn at(&self, step: u64) -> f64;

    /// The value, if it is the same at every step.
    fn constant(&self) -> Option<f64> {
        None
    }

    /// Rises linearly from `value / steps` at step 0 to the first value of `self` at step `steps - 1`, then runs
    /// `self` from its beginning at step `steps`.
    ///
    /// # Panics
    /// When `steps` is 0.
    #[track_caller]
    fn warmup(self, steps: u64) -> Warmup<Self>
    where
        Self: Sized,
    {
        crate::error::or_panic(Warmup::try_new(self, steps, 0.0))
    }

    /// `self` before step `at`; from there `next`, counted from its own step 0 (PyTorch's `SequentialLR`).
    fn then(self, at: u64, next: impl Schedule) -> Sequential
    where
        Self: Sized,
    {
        Sequential::new(self, at, next)
    }

    /// The product of two schedules (PyTorch's `ChainedScheduler` of factors).
    fn times<S: Schedule>(self, other: S) -> Product<Self, S>
    where
        Self: Sized,
    {
        Product(self, other)
    }

    /// The sum of two schedules.
    fn plus<S: Schedule>(self, other: S) -> Sum<Self, S>
    where
        Self: Sized,
    {
        Sum(self, other)
    }

    /// Kept within `low..=high`.
    ///
    /// # Panics
    /// When `low > high` or either is NaN.
    #[track_caller]
    fn clamp(self, low: f64, high: f64) -> Clamped<Self>
    where
        Self: Sized,
    {
        crate::error::or_panic(Clamped::try_new(self, low, high))
    }

    /// The first value of `self` for `steps` steps, then `self` from its beginning.
    fn delay(self, steps: u64) -> Delayed<Self>
    where
        Self: Sized,
    {
        Delayed(self, steps)
    }

    /// One step of `self` every `steps` steps: for schedules counted in epochs.
    ///
    /// # Panics
    /// When `steps` is 0.
    #[track_caller]
    fn every(self, steps: u64) -> Every<Self>
    where
        Self: Sized,
    {
        crate::error::or_panic(Every::try_new(self, steps))
    }

    /// The values at steps `0..steps`, for tables and plots.
    fn values(&self, steps: u64) -> Vec<f64> {
        (0..steps).map(|s| self.at(s)).collect()
    }
}

/// The constant schedule.
impl Schedule for f64 {
    #[inline]
    fn at(&self, _step: u64) -> f64 {
        *self
    }
    fn constant(&self) -> Option<f64> {
        Some(*self)
    }
}

impl<S: Schedule + ?Sized> Schedule for Arc<S> {
    fn at(&self, step: u64) -> f64 {
        (**self).at(step)
    }
    fn constant(&self) -> Option<f64> {
        (**self).constant()
    }
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn at(&self, step: u64) -> f64 {
        (**self).at(step)
    }
    fn constant(&self) -> Option<f64> {
        (**self).constant()
    }
}
