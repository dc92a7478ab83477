//! Schedules that go from one value to another.

use super::Schedule;
use super::combine::positive;
use crate::error::{Error, Result, or_panic};
use crate::rule::Range;

/// The same value at every step; a plain number does the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant(f64);

impl Constant {
    /// `value` at every step.
    ///
    /// # Panics
    /// When it is not finite.
    #[track_caller]
    pub fn new(value: f64) -> Self {
        or_panic(Self::try_new(value))
    }

    /// As [`Constant::new`].
    ///
    /// # Errors
    /// When `value` is not finite.
    pub fn try_new(value: f64) -> Result<Self> {
        Range::FINITE
            .check("Constant", "value", value)
            .map(Constant)
    }
}

impl Schedule for Constant {
    fn at(&self, _step: u64) -> f64 {
        self.0
    }
    fn constant(&self) -> Option<f64> {
        Some(self.0)
    }
}

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

/// `initial · gamma^(number of milestones at or before step)` (PyTorch's `MultiStepLR`).
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStep {
    initial: f64,
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStep {
    /// Multiplies by `gamma` at each milestone.
    ///
    /// # Panics
    /// Where [`MultiStep::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, milestones: impl Into<Vec<u64>>, gamma: f64) -> Self {
        or_panic(Self::try_new(initial, milestones, gamma))
    }

    /// As [`MultiStep::new`].
    ///
    /// # Errors
    /// When `initial` is not finite, the milestones do not rise, or `gamma` is negative or not finite.
    pub fn try_new(initial: f64, milestones: impl Into<Vec<u64>>, gamma: f64) -> Result<Self> {
        let milestones = milestones.into();
        Range::FINITE.check("MultiStep", "initial", initial)?;
        Range::NON_NEGATIVE.check("MultiStep", "gamma", gamma)?;
        if !milestones.is_sorted() {
            return Err(Error::Configuration {
                owner: "MultiStep",
                message: format!("the milestones must rise, found {milestones:?}"),
            });
        }
        Ok(MultiStep {
            initial,
            milestones,
            gamma,
        })
    }
}

impl Schedule for MultiStep {
    fn at(&self, step: u64) -> f64 {
        let passed = self.milestones.partition_point(|&m| m <= step);
        self.initial * self.gamma.powf(passed as f64)
    }
}

/// A value for each stretch of steps (optax's `piecewise_constant_schedule`, by values).
///
/// ```
/// use wengert_optim::schedule::{Piecewise, Schedule};
/// let s = Piecewise::new(0.1, [(100, 0.01), (150, 0.001)]);
/// assert_eq!([s.at(99), s.at(100), s.at(1000)], [0.1, 0.01, 0.001]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Piecewise {
    initial: f64,
    pieces: Vec<(u64, f64)>,
}

impl Piecewise {
    /// `initial` until the first of `pieces`, each a step and the value from there on.
    ///
    /// # Panics
    /// Where [`Piecewise::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, pieces: impl Into<Vec<(u64, f64)>>) -> Self {
        or_panic(Self::try_new(initial, pieces))
    }

    /// As [`Piecewise::new`].
    ///
    /// # Errors
    /// When a value is not finite or the steps do not rise.
    pub fn try_new(initial: f64, pieces: impl Into<Vec<(u64, f64)>>) -> Result<Self> {
        let pieces = pieces.into();
        Range::FINITE.check("Piecewise", "initial", initial)?;
        for (_, value) in &pieces {
            Range::FINITE.check("Piecewise", "value", *value)?;
        }
        if !pieces.is_sorted_by_key(|p| p.0) {
            return Err(Error::Configuration {
                owner: "Piecewise",
                message: format!("the steps must rise, found {pieces:?}"),
            });
        }
        Ok(Piecewise { initial, pieces })
    }
}

impl Schedule for Piecewise {
    fn at(&self, step: u64) -> f64 {
        let passed = self.pieces.partition_point(|p| p.0 <= step);
        match passed.checked_sub(1) {
            Some(i) => self.pieces[i].1,
            None => self.initial,
        }
    }
}

/// `initial · gamma^step` (PyTorch's `ExponentialLR`).
#[derive(Debug, Clone, PartialEq)]
pub struct Exponential {
    initial: f64,
    gamma: f64,
}

impl Exponential {
    /// Multiplies by `gamma` at every step.
    ///
    /// # Panics
    /// Where [`Exponential::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, gamma: f64) -> Self {
        or_panic(Self::try_new(initial, gamma))
    }

    /// As [`Exponential::new`].
    ///
    /// # Errors
    /// When `initial` is not finite, or `gamma` is negative or not finite.
    pub fn try_new(initial: f64, gamma: f64) -> Result<Self> {
        Range::FINITE.check("Exponential", "initial", initial)?;
        Range::NON_NEGATIVE.check("Exponential", "gamma", gamma)?;
        Ok(Exponential { initial, gamma })
    }
}

impl Schedule for Exponential {
    fn at(&self, step: u64) -> f64 {
        self.initial * self.gamma.powf(step as f64)
    }
}

/// How far a stretch of `steps` steps is done, from 0 to 1.
fn progress(step: u64, steps: u64) -> f64 {
    step.min(steps) as f64 / steps as f64
}

macro_rules! stretch {
    ($($name:ident: $(#[$doc:meta])* = $floor_doc:literal, |$x:ident| $f:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            initial: f64,
            floor: f64,
            steps: u64,
        }

        impl $name {
            /// From `initial` to 0 in `steps` steps.
            ///
            /// # Panics
            #[doc = concat!("Where [`", stringify!($name), "::try_new`] errs.")]
            #[track_caller]
            pub fn new(initial: f64, steps: u64) -> Self {
                or_panic(Self::try_new(initial, steps, 0.0))
            }

            /// From `initial` to `floor` in `steps` steps.
            ///
            /// # Errors
            /// When a value is not finite or `steps` is 0.
            pub fn try_new(initial: f64, steps: u64, floor: f64) -> Result<Self> {
                Range::FINITE.check(stringify!($name), "initial", initial)?;
                Range::FINITE.check(stringify!($name), "floor", floor)?;
                positive(stringify!($name), "steps", steps)?;
                Ok($name { initial, floor, steps })
            }

            #[doc = $floor_doc]
            ///
            /// # Panics
            /// When it is not finite.
            #[track_caller]
            pub fn floor(self, floor: f64) -> Self {
                or_panic(Self::try_new(self.initial, self.steps, floor))
            }
        }

        impl Schedule for $name {
            fn at(&self, step: u64) -> f64 {
                let $x = progress(step, self.steps);
                self.floor + (self.initial - self.floor) * $f
            }
        }
    )*};
}

stretch! {
    Cosine:
    /// Half a cosine from `initial` down to `floor`, which it keeps from step `steps` on (Loshchilov and Hutter 2017,
    /// equation 5, one period).
    ///
    /// `floor + (initial - floor) (1 + cos(π · step / steps)) / 2`. PyTorch's `CosineAnnealingLR` agrees up to step
    /// `steps` and goes up again after it.
    = "The value at the end; default 0.", |x| (1.0 + (std::f64::consts::PI * x).cos()) / 2.0;
    Linear:
    /// A straight line from `initial` to `floor`, which it keeps from step `steps` on (PyTorch's `LinearLR`, by
    /// values).
    ///
    /// The end may lie above the beginning:
    /// ```
    /// use wengert_optim::schedule::{Linear, Schedule};
    /// let rise = Linear::new(0.0, 4).floor(1.0);
    /// assert_eq!(rise.values(6), [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
    /// ```
    = "The value at the end; default 0.", |x| 1.0 - x;
}

/// `floor + (initial - floor) (1 - step / steps)^power` until step `steps`, then `floor` (PyTorch's `PolynomialLR`,
/// optax's `polynomial_schedule`).
#[derive(Debug, Clone, PartialEq)]
pub struct Polynomial {
    initial: f64,
    floor: f64,
    steps: u64,
    power: f64,
}

impl Polynomial {
    /// From `initial` to 0 in `steps` steps.
    ///
    /// # Panics
    /// Where [`Polynomial::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, steps: u64, power: f64) -> Self {
        or_panic(Self::try_new(initial, steps, power, 0.0))
    }

    /// From `initial` to `floor` in `steps` steps.
    ///
    /// # Errors
    /// When a value is not finite, `power` is not positive or `steps` is 0.
    pub fn try_new(initial: f64, steps: u64, power: f64, floor: f64) -> Result<Self> {
        Range::FINITE.check("Polynomial", "initial", initial)?;
        Range::FINITE.check("Polynomial", "floor", floor)?;
        Range::POSITIVE.check("Polynomial", "power", power)?;
        positive("Polynomial", "steps", steps)?;
        Ok(Polynomial {
            initial,
            floor,
            steps,
            power,
        })
    }

    /// The value at the end; default 0.
    ///
    /// # Panics
    /// When it is not finite.
    #[track_caller]
    pub fn floor(self, floor: f64) -> Self {
        or_panic(Self::try_new(self.initial, self.steps, self.power, floor))
    }
}

impl Schedule for Polynomial {
    fn at(&self, step: u64) -> f64 {
        let left = 1.0 - progress(step, self.steps);
        self.floor + (self.initial - self.floor) * left.powf(self.power)
    }
}

/// `peak · min((step + 1) / warmup, √(warmup / (step + 1)))`: a linear rise, then the inverse square root (Vaswani et
/// al. 2017, equation 3, scaled to its peak).
#[derive(Debug, Clone, PartialEq)]
pub struct InverseSqrt {
    peak: f64,
    warmup: u64,
}

impl InverseSqrt {
    /// The peak is reached at step `warmup - 1`; with `warmup` 1 there is no rise.
    ///
    /// # Panics
    /// Where [`InverseSqrt::try_new`] errs.
    #[track_caller]
    pub fn new(peak: f64, warmup: u64) -> Self {
        or_panic(Self::try_new(peak, warmup))
    }

    /// As [`InverseSqrt::new`].
    ///
    /// # Errors
    /// When `peak` is not finite or `warmup` is 0.
    pub fn try_new(peak: f64, warmup: u64) -> Result<Self> {
        Range::FINITE.check("InverseSqrt", "peak", peak)?;
        positive("InverseSqrt", "warmup", warmup)?;
        Ok(InverseSqrt { peak, warmup })
    }
}

impl Schedule for InverseSqrt {
    fn at(&self, step: u64) -> f64 {
        let (t, w) = ((step + 1) as f64, self.warmup as f64);
        self.peak * (t / w).min((w / t).sqrt())
    }
}

/// `initial / (1 + rate · step / every)` (Keras' `InverseTimeDecay`; with `every` 1 the decay of Robbins and Monro).
#[derive(Debug, Clone, PartialEq)]
pub struct InverseTime {
    initial: f64,
    rate: f64,
    every: u64,
}

impl InverseTime {
    /// Halved after `every / rate` steps.
    ///
    /// # Panics
    /// Where [`InverseTime::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, rate: f64, every: u64) -> Self {
        or_panic(Self::try_new(initial, rate, every))
    }

    /// As [`InverseTime::new`].
    ///
    /// # Errors
    /// When `initial` is not finite, `rate` is negative or not finite, or `every` is 0.
    pub fn try_new(initial: f64, rate: f64, every: u64) -> Result<Self> {
        Range::FINITE.check("InverseTime", "initial", initial)?;
        Range::NON_NEGATIVE.check("InverseTime", "rate", rate)?;
        positive("InverseTime", "every", every)?;
        Ok(InverseTime {
            initial,
            rate,
            every,
        })
    }
}

impl Schedule for InverseTime {
    fn at(&self, step: u64) -> f64 {
        self.initial / (1.0 + self.rate * step as f64 / self.every as f64)
    }
}
