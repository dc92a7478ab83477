//! Schedules made of schedules.

use super::Schedule;
use crate::error::{Error, Result};
use crate::rule::Range;
use std::fmt;
use std::sync::Arc;

pub(super) fn positive(owner: &'static str, name: &str, n: u64) -> Result<u64> {
    if n > 0 {
        return Ok(n);
    }
    Err(Error::Hyperparameter {
        owner,
        name: name.to_string(),
        expected: "at least 1".to_string(),
        value: 0.0,
    })
}

/// Linear warm-up; see [`Schedule::warmup`].
#[derive(Debug, Clone, PartialEq)]
pub struct Warmup<S> {
    inner: S,
    steps: u64,
    from: f64,
}

impl<S: Schedule> Warmup<S> {
    /// Rises linearly over `steps` steps to the first value of `inner`, beginning at the fraction `from` of it:
    /// at step `s < steps` the value is `inner(0) · (from + (1 - from) (s + 1) / steps)`.
    ///
    /// # Errors
    /// When `steps` is 0 or `from` is not in `[0, 1]`.
    pub fn try_new(inner: S, steps: u64, from: f64) -> Result<Self> {
        positive("Warmup", "steps", steps)?;
        Range::UNIT.check("Warmup", "from", from)?;
        Ok(Warmup { inner, steps, from })
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn at(&self, step: u64) -> f64 {
        if step < self.steps {
            let rise = (step + 1) as f64 / self.steps as f64;
            self.inner.at(0) * (self.from + (1.0 - self.from) * rise)
        } else {
            self.inner.at(step - self.steps)
        }
    }
}

/// One schedule after the other; see [`Schedule::then`].
#[derive(Debug, Clone)]
pub struct Sequential {
    first: Arc<dyn Schedule>,
    at: u64,
    next: Arc<dyn Schedule>,
}

impl Sequential {
    /// `first` before step `at`, then `next` from its own beginning.
    pub fn new(first: impl Schedule, at: u64, next: impl Schedule) -> Self {
        Sequential {
            first: Arc::new(first),
            at,
            next: Arc::new(next),
        }
    }
}

impl Schedule for Sequential {
    fn at(&self, step: u64) -> f64 {
        if step < self.at {
            self.first.at(step)
        } else {
            self.next.at(step - self.at)
        }
    }
}

/// The product of two schedules; see [`Schedule::times`].
#[derive(Debug, Clone, PartialEq)]
pub struct Product<A, B>(pub(super) A, pub(super) B);

impl<A: Schedule, B: Schedule> Schedule for Product<A, B> {
    fn at(&self, step: u64) -> f64 {
        self.0.at(step) * self.1.at(step)
    }
}

/// The sum of two schedules; see [`Schedule::plus`].
#[derive(Debug, Clone, PartialEq)]
pub struct Sum<A, B>(pub(super) A, pub(super) B);

impl<A: Schedule, B: Schedule> Schedule for Sum<A, B> {
    fn at(&self, step: u64) -> f64 {
        self.0.at(step) + self.1.at(step)
    }
}

/// A schedule within bounds; see [`Schedule::clamp`].
#[derive(Debug, Clone, PartialEq)]
pub struct Clamped<S> {
    inner: S,
    low: f64,
    high: f64,
}

impl<S: Schedule> Clamped<S> {
    /// `inner` kept within `low..=high`.
    ///
    /// # Errors
    /// When `low > high` or either is NaN.
    pub fn try_new(inner: S, low: f64, high: f64) -> Result<Self> {
        if low <= high {
            return Ok(Clamped { inner, low, high });
        }
        Err(Error::Configuration {
            owner: "Clamped",
            message: format!("the bounds must satisfy low <= high, found {low} and {high}"),
        })
    }
}

impl<S: Schedule> Schedule for Clamped<S> {
    fn at(&self, step: u64) -> f64 {
        let x = self.inner.at(step);
        // By comparison, because `f64::max` swallows NaN.
        if x < self.low {
            self.low
        } else if x > self.high {
            self.high
        } else {
            x
        }
    }
}

/// A schedule that begins later; see [`Schedule::delay`].
#[derive(Debug, Clone, PartialEq)]
pub struct Delayed<S>(pub(super) S, pub(super) u64);

impl<S: Schedule> Schedule for Delayed<S> {
    fn at(&self, step: u64) -> f64 {
        self.0.at(step.saturating_sub(self.1))
    }
}

/// A schedule slowed down; see [`Schedule::every`].
#[derive(Debug, Clone, PartialEq)]
pub struct Every<S> {
    inner: S,
    steps: u64,
}

impl<S: Schedule> Every<S> {
    /// One step of `inner` every `steps` steps.
    ///
    /// # Errors
    /// When `steps` is 0.
    pub fn try_new(inner: S, steps: u64) -> Result<Self> {
        positive("Every", "steps", steps)?;
        Ok(Every { inner, steps })
    }
}

impl<S: Schedule> Schedule for Every<S> {
    fn at(&self, step: u64) -> f64 {
        self.inner.at(step / self.steps)
    }
}

/// A schedule from a function; see [`from_fn`].
#[derive(Clone)]
pub struct FromFn<F>(F);

/// The schedule `step -> f(step)`.
///
/// ```
/// use wengert_optim::schedule::{Schedule, from_fn};
/// let s = from_fn(|step| 0.1 / (1.0 + step as f64).sqrt());
/// assert_eq!(s.at(3), 0.05);
/// ```
pub fn from_fn<F: Fn(u64) -> f64 + Send + Sync + 'static>(f: F) -> FromFn<F> {
    FromFn(f)
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

impl<F: Fn(u64) -> f64 + Send + Sync + 'static> Schedule for FromFn<F> {
    fn at(&self, step: u64) -> f64 {
        (self.0)(step)
    }
}
