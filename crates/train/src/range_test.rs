//! Which learning rate to begin with.

use crate::error::{Error, Result, or_panic};
use crate::objective::{Objective, Supervised};
use crate::source::Source;
use std::fmt;
use wengert_autograd::{Float, Module, Tape};
use wengert_nn::state::{Checkpoint, LoadOptions};
use wengert_optim::{Optimize, Schedule};

/// The schedule of a range test: `low · (high / low)^(step / (steps - 1))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrSweep {
    low: f64,
    high: f64,
    steps: u64,
}

impl Schedule for LrSweep {
    fn at(&self, step: u64) -> f64 {
        let share = step.min(self.steps - 1) as f64 / (self.steps - 1) as f64;
        self.low * (self.high / self.low).powf(share)
    }
}

/// Learning-rate range test (Smith 2017, section 3.3): a few steps with a rate that grows exponentially, and the loss at
/// each.
///
/// The rate to take lies where the loss falls fastest, well before it rises. The model comes out as it went in.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_data::{DataLoader, Digits};
/// use wengert_nn::{Sequential, loss::CrossEntropy};
/// use wengert_optim::Sgd;
/// use wengert_train::LrRangeTest;
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let mut model: Sequential = Sequential::builder().linear(64, 32).relu().linear(32, 10).build(&mut rng);
/// let set = DataLoader::new(Digits::load().standardized().train.dataset(), 64).shuffle(1);
/// let curve = LrRangeTest::new(1e-4, 10.0, 100).run(&mut model, CrossEntropy::default(), |lr| Sgd::new(lr), &set)?;
/// let lr = curve.suggestion().unwrap();
/// assert!((1e-3..2.0).contains(&lr), "{lr}");
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LrRangeTest {
    sweep: LrSweep,
    smoothing: f64,
    limit: f64,
    seed: u64,
}

impl LrRangeTest {
    /// From `low` to `high` in `steps` steps.
    ///
    /// # Panics
    /// Where [`LrRangeTest::try_new`] errs.
    #[track_caller]
    pub fn new(low: f64, high: f64, steps: u64) -> Self {
        or_panic(Self::try_new(low, high, steps))
    }

    /// As [`LrRangeTest::new`].
    ///
    /// # Errors
    /// Unless `0 < low < high`, both finite, and `steps` is at least 2.
    pub fn try_new(low: f64, high: f64, steps: u64) -> Result<Self> {
        if !(low > 0.0 && high > low && high.is_finite()) || steps < 2 {
            return Err(Error::configuration(
                "LrRangeTest",
                format!(
                    "0 < low < high and at least 2 steps expected, found {low}, {high}, {steps}"
                ),
            ));
        }
        Ok(LrRangeTest {
            sweep: LrSweep { low, high, steps },
            smoothing: 0.9,
            limit: 4.0,
            seed: 0,
        })
    }

    /// Share of the past in the smoothed loss, in [0, 1); default 0.9.
    ///
    /// # Panics
    /// When it is outside.
    #[track_caller]
    pub fn smoothing(mut self, share: f64) -> Self {
        assert!(
            (0.0..1.0).contains(&share),
            "LrRangeTest: smoothing must be in [0, 1), found {share}"
        );
        self.smoothing = share;
        self
    }

    /// Ends the test when the smoothed loss is this many times its lowest; default 4. A loss that is not finite ends it in
    /// any case.
    pub fn limit(mut self, times: f64) -> Self {
        self.limit = times;
        self
    }

    /// Seed of the randomness on the tape.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The test with a loss object, for batches `(input, target)`; `optimizer` makes the optimizer from the schedule.
    ///
    /// # Errors
    /// When an epoch has no batches, or the data set or the optimizer errs.
    pub fn run<L, M, B, T, O, S>(
        &self,
        model: &mut M,
        loss: L,
        optimizer: impl FnOnce(LrSweep) -> O,
        set: &S,
    ) -> Result<LrCurve>
    where
        T: Float,
        M: Module<T>,
        O: Optimize<T>,
        S: Source<B>,
        Supervised<L>: Objective<M, B, T>,
    {
        self.run_with(model, &Supervised(loss), optimizer, set)
    }

    /// The test with any objective; epochs follow one another until the steps are done.
    ///
    /// # Errors
    /// As [`LrRangeTest::run`].
    pub fn run_with<M, B, T, O, S>(
        &self,
        model: &mut M,
        objective: &dyn Objective<M, B, T>,
        optimizer: impl FnOnce(LrSweep) -> O,
        set: &S,
    ) -> Result<LrCurve>
    where
        T: Float,
        M: Module<T>,
        O: Optimize<T>,
        S: Source<B>,
    {
        if set.batches() == 0 {
            return Err(Error::Empty {
                what: "training set",
            });
        }
        let mut before = Checkpoint::new();
        before.put_model("", &*model);
        let mut optimizer = optimizer(self.sweep);
        let result = self.sweep(model, objective, &mut optimizer, set);
        before.load_model("", model, &LoadOptions::default().allow_nan(true))?;
        result
    }

    fn sweep<M: Module<T>, B, T: Float>(
        &self,
        model: &mut M,
        objective: &dyn Objective<M, B, T>,
        optimizer: &mut dyn Optimize<T>,
        set: &dyn Source<B>,
    ) -> Result<LrCurve> {
        let mut curve = LrCurve::default();
        let mut tape = Tape::training(self.seed);
        let (mut average, mut lowest) = (0.0, f64::INFINITY);
        let batches = (0..).flat_map(|e| set.epoch(e, 0).enumerate().map(move |(i, b)| (e, i, b)));
        for (step, (epoch, i, batch)) in (0..self.sweep.steps).zip(batches) {
            let batch = batch.map_err(|source| Error::Data {
                epoch,
                batch: i as u64,
                source,
            })?;
            tape.reset();
            let grads = objective.record(model, &tape, &batch).loss.backward();
            let loss = grads.loss().as_f64();
            if !loss.is_finite() {
                curve.diverged = true;
                break;
            }
            // The average begins at nothing; the divisor makes up for it (as in Adam).
            average = self.smoothing * average + (1.0 - self.smoothing) * loss;
            let smooth = average / (1.0 - self.smoothing.powf((step + 1) as f64));
            curve.rates.push(self.sweep.at(step));
            curve.losses.push(loss);
            curve.smoothed.push(smooth);
            lowest = f64::min(lowest, smooth);
            if smooth > self.limit * lowest {
                curve.diverged = true;
                break;
            }
            let report = optimizer
                .try_step(model, &grads)
                .map_err(|source| Error::Optimizer { step, source })?;
            if !report.applied {
                curve.diverged = true;
                break;
            }
        }
        Ok(curve)
    }
}

/// What a range test found: the loss before each step, by learning rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LrCurve {
    /// Learning rates, rising.
    pub rates: Vec<f64>,
    /// Losses.
    pub losses: Vec<f64>,
    /// Losses, smoothed.
    pub smoothed: Vec<f64>,
    /// Whether the loss rose so far that the test ended before its last step.
    pub diverged: bool,
}

impl LrCurve {
    /// The rate at which the smoothed loss falls fastest per factor of the rate, before its lowest point; `None` if it never
    /// falls.
    pub fn suggestion(&self) -> Option<f64> {
        let low = self.lowest_at()?;
        let slope = |i: usize| self.smoothed[i + 1] - self.smoothed[i - 1];
        (1..low.min(self.smoothed.len().saturating_sub(1)))
            .filter(|&i| slope(i) < 0.0)
            .min_by(|&a, &b| slope(a).total_cmp(&slope(b)))
            .map(|i| self.rates[i])
    }

    /// The rate at which the smoothed loss is lowest: too much to train with.
    pub fn lowest(&self) -> Option<f64> {
        self.lowest_at().map(|i| self.rates[i])
    }

    fn lowest_at(&self) -> Option<usize> {
        (0..self.smoothed.len()).min_by(|&a, &b| self.smoothed[a].total_cmp(&self.smoothed[b]))
    }
}

/// Every tenth of the curve.
impl fmt::Display for LrCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  {:>8}", "lr", "loss")?;
        for i in (0..self.rates.len()).step_by((self.rates.len() / 10).max(1)) {
            writeln!(f, "{:>10.2e}  {:>8.4}", self.rates[i], self.smoothed[i])?;
        }
        Ok(())
    }
}
