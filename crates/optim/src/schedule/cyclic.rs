//! Schedules that go up and down.

use super::Schedule;
use super::combine::positive;
use crate::error::{Error, Result, or_panic};
use crate::rule::Range;
use std::f64::consts::PI;

/// Cosine decay with warm restarts (SGDR: Loshchilov and Hutter 2017, equation 5; PyTorch's
/// `CosineAnnealingWarmRestarts`).
///
/// `floor + (initial - floor) (1 + cos(π t / T)) / 2`, where `t` counts from the last restart; the first period has
/// `period` steps, each one after it `factor` times as many.
#[derive(Debug, Clone, PartialEq)]
pub struct CosineRestarts {
    initial: f64,
    floor: f64,
    period: u64,
    factor: u64,
}

impl CosineRestarts {
    /// Restarts every `period` steps, down to 0.
    ///
    /// # Panics
    /// Where [`CosineRestarts::try_new`] errs.
    #[track_caller]
    pub fn new(initial: f64, period: u64) -> Self {
        or_panic(Self::try_new(initial, period, 1, 0.0))
    }

    /// As [`CosineRestarts::new`], with growing periods and a floor.
    ///
    /// # Errors
    /// When a value is not finite, or `period` or `factor` is 0.
    pub fn try_new(initial: f64, period: u64, factor: u64, floor: f64) -> Result<Self> {
        Range::FINITE.check("CosineRestarts", "initial", initial)?;
        Range::FINITE.check("CosineRestarts", "floor", floor)?;
        positive("CosineRestarts", "period", period)?;
        positive("CosineRestarts", "factor", factor)?;
        Ok(CosineRestarts {
            initial,
            floor,
            period,
            factor,
        })
    }

    /// Factor on the length of each period; default 1.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn growing(self, factor: u64) -> Self {
        or_panic(Self::try_new(self.initial, self.period, factor, self.floor))
    }

    /// The value at the end of a period; default 0.
    ///
    /// # Panics
    /// When it is not finite.
    #[track_caller]
    pub fn floor(self, floor: f64) -> Self {
        or_panic(Self::try_new(self.initial, self.period, self.factor, floor))
    }
}

impl Schedule for CosineRestarts {
    fn at(&self, step: u64) -> f64 {
        let (mut t, mut period) = (step, self.period);
        if self.factor == 1 {
            t %= period;
        } else {
            while t >= period {
                t -= period;
                period = period.saturating_mul(self.factor);
            }
        }
        let x = t as f64 / period as f64;
        self.floor + (self.initial - self.floor) * (1.0 + (PI * x).cos()) / 2.0
    }
}

/// How the height of a cycle changes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum CycleMode {
    Triangular,
    Triangular2,
    ExpRange(f64),
}

/// Straight lines up from `low` to `high` and down again (Smith 2017; PyTorch's `CyclicLR`).
///
/// ```
/// use wengert_optim::Sgd;
/// use wengert_optim::schedule::Cyclic;
/// let lr = Cyclic::new(0.01, 0.1, 200).triangular2();
/// let sgd = Sgd::<f32>::new(lr.clone()).momentum(lr.momentum(0.85, 0.95));
/// # let _ = sgd;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Cyclic {
    low: f64,
    high: f64,
    up: u64,
    down: u64,
    mode: CycleMode,
    falling: bool,
}

impl Cyclic {
    /// Up in `steps` steps and down in as many, always to the same height.
    ///
    /// # Panics
    /// Where [`Cyclic::try_new`] errs.
    #[track_caller]
    pub fn new(low: f64, high: f64, steps: u64) -> Self {
        or_panic(Self::try_new(low, high, steps))
    }

    /// As [`Cyclic::new`].
    ///
    /// # Errors
    /// When a value is not finite or `steps` is 0.
    pub fn try_new(low: f64, high: f64, steps: u64) -> Result<Self> {
        Range::FINITE.check("Cyclic", "low", low)?;
        Range::FINITE.check("Cyclic", "high", high)?;
        positive("Cyclic", "steps", steps)?;
        Ok(Cyclic {
            low,
            high,
            up: steps,
            down: steps,
            mode: CycleMode::Triangular,
            falling: false,
        })
    }

    /// Another number of steps for the way down.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn down(mut self, steps: u64) -> Self {
        self.down = or_panic(positive("Cyclic", "down", steps));
        self
    }

    /// Half the height in every cycle.
    pub fn triangular2(mut self) -> Self {
        self.mode = CycleMode::Triangular2;
        self
    }

    /// The height shrinks by the factor `gamma` at every step.
    ///
    /// # Panics
    /// When `gamma` is negative or not finite.
    #[track_caller]
    pub fn exp_range(mut self, gamma: f64) -> Self {
        let gamma = or_panic(Range::NON_NEGATIVE.check("Cyclic", "gamma", gamma));
        self.mode = CycleMode::ExpRange(gamma);
        self
    }

    /// The momentum that goes with the learning rate: from `high` down to `low` and up again, in the same cycles.
    ///
    /// # Panics
    /// When a value is not finite.
    #[track_caller]
    pub fn momentum(&self, low: f64, high: f64) -> Cyclic {
        or_panic(Range::FINITE.check("Cyclic", "low", low));
        or_panic(Range::FINITE.check("Cyclic", "high", high));
        Cyclic {
            low,
            high,
            falling: true,
            ..self.clone()
        }
    }
}

impl Schedule for Cyclic {
    fn at(&self, step: u64) -> f64 {
        let length = self.up + self.down;
        let cycle = step / length;
        let t = (step % length) as f64;
        let (up, down) = (self.up as f64, self.down as f64);
        let height = if t <= up {
            t / up
        } else {
            (up + down - t) / down
        };
        let scale = match self.mode {
            CycleMode::Triangular => 1.0,
            CycleMode::Triangular2 => 0.5f64.powf(cycle as f64),
            CycleMode::ExpRange(gamma) => gamma.powf(step as f64),
        };
        let rise = (self.high - self.low) * height * scale;
        if self.falling {
            self.high - rise
        } else {
            self.low + rise
        }
    }
}

/// One cycle: up to `peak`, down to almost nothing (Smith and Topin 2018; PyTorch's `OneCycleLR`).
///
/// From `peak / 25` up to `peak` in the first 30 % of the steps, then down to `peak / 25 / 10,000`, along cosines; the
/// last value is kept after the end. Defaults are PyTorch's.
///
/// ```
/// use wengert_optim::Sgd;
/// use wengert_optim::schedule::OneCycle;
/// let lr = OneCycle::new(0.1, 1000);
/// let sgd = Sgd::<f32>::new(lr.clone()).momentum(lr.momentum(0.85, 0.95));
/// # let _ = sgd;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OneCycle {
    peak: f64,
    steps: u64,
    start: f64,
    initial: f64,
    last: f64,
    linear: bool,
    three_phase: bool,
}

impl OneCycle {
    /// A cycle of `steps` steps.
    ///
    /// # Panics
    /// Where [`OneCycle::try_new`] errs.
    #[track_caller]
    pub fn new(peak: f64, steps: u64) -> Self {
        or_panic(Self::try_new(peak, steps))
    }

    /// As [`OneCycle::new`].
    ///
    /// # Errors
    /// When `peak` is not finite or `steps` is 0.
    pub fn try_new(peak: f64, steps: u64) -> Result<Self> {
        Range::FINITE.check("OneCycle", "peak", peak)?;
        positive("OneCycle", "steps", steps)?;
        Ok(OneCycle {
            peak,
            steps,
            start: 0.3,
            initial: peak / 25.0,
            last: peak / 25.0 / 1e4,
            linear: false,
            three_phase: false,
        })
    }

    /// The share of the steps on the way up; default 0.3.
    ///
    /// # Panics
    /// When it is not in `(0, 1)`, or exceeds one half with three phases.
    #[track_caller]
    pub fn start(mut self, share: f64) -> Self {
        let open = Range::new(0.0, true, 1.0, true);
        self.start = or_panic(open.check("OneCycle", "start", share));
        or_panic(self.check());
        self
    }

    fn check(&self) -> Result<()> {
        if self.three_phase && self.start > 0.5 {
            return Err(Error::Configuration {
                owner: "OneCycle",
                message: format!(
                    "three phases need a start of at most 0.5, found {}",
                    self.start
                ),
            });
        }
        Ok(())
    }

    /// The first value is `peak / div`, the last one `peak / div / final_div`; default 25 and 10,000.
    ///
    /// # Panics
    /// When one is not positive.
    #[track_caller]
    pub fn div(mut self, div: f64, final_div: f64) -> Self {
        or_panic(Range::POSITIVE.check("OneCycle", "div", div));
        or_panic(Range::POSITIVE.check("OneCycle", "final_div", final_div));
        self.initial = self.peak / div;
        self.last = self.initial / final_div;
        self
    }

    /// Straight lines in place of cosines.
    pub fn linear(mut self) -> Self {
        self.linear = true;
        self
    }

    /// Down to the first value as fast as up, then from there to the last.
    ///
    /// # Panics
    /// When the share of the way up exceeds one half.
    #[track_caller]
    pub fn three_phase(mut self) -> Self {
        self.three_phase = true;
        or_panic(self.check());
        self
    }

    /// The momentum that goes with the learning rate: from `high` down to `low` at the peak and up again.
    ///
    /// # Panics
    /// When a value is not finite.
    #[track_caller]
    pub fn momentum(&self, low: f64, high: f64) -> OneCycle {
        or_panic(Range::FINITE.check("OneCycle", "low", low));
        or_panic(Range::FINITE.check("OneCycle", "high", high));
        OneCycle {
            initial: high,
            peak: low,
            last: high,
            ..self.clone()
        }
    }
}

impl Schedule for OneCycle {
    fn at(&self, step: u64) -> f64 {
        let total = self.steps as f64;
        let top = self.start * total - 1.0;
        let end = total - 1.0;
        let t = step as f64;
        let (from, to, begin, stop) = if t <= top {
            (self.initial, self.peak, 0.0, top)
        } else if self.three_phase {
            let back = 2.0 * self.start * total - 2.0;
            if t <= back {
                (self.peak, self.initial, top, back)
            } else {
                (self.initial, self.last, back, end)
            }
        } else {
            (self.peak, self.last, top, end)
        };
        let x = if stop > begin {
            ((t - begin) / (stop - begin)).min(1.0)
        } else {
            1.0
        };
        if self.linear {
            (to - from) * x + from
        } else {
            to + (from - to) / 2.0 * (1.0 + (PI * x).cos())
        }
    }
}
