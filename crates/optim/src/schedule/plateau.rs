//! Learning rates that react.

use crate::error::{Result, or_panic};
use crate::rule::Range;

/// Lowers the learning rate when a metric stops improving (PyTorch's `ReduceLROnPlateau`).
///
/// Give it to an optimizer ([`Optimizer::reduce_on_plateau`](crate::Optimizer::reduce_on_plateau)) and tell that the
/// metric ([`Optimizer::observe`](crate::Optimizer::observe)), usually once per epoch. It multiplies the learning rate,
/// whatever its schedule, by `factor` after more than `patience` observations without improvement. Defaults are
/// PyTorch's; the state is saved with the optimizer's.
///
/// NaN is not an improvement.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    maximize: bool,
    factor: f64,
    patience: u64,
    threshold: f64,
    absolute: bool,
    cooldown: u64,
    min_lr: f64,
    pub(crate) best: f64,
    pub(crate) bad: u64,
    pub(crate) cooling: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau {
            maximize: false,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            absolute: false,
            cooldown: 0,
            min_lr: 0.0,
            best: f64::INFINITY,
            bad: 0,
            cooling: 0,
        }
    }
}

impl Plateau {
    /// For a metric that should fall, such as a loss.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a metric that should rise, such as an accuracy.
    pub fn maximize(mut self) -> Self {
        self.maximize = true;
        self.best = f64::NEG_INFINITY;
        self
    }

    /// What the learning rate is multiplied by, in `(0, 1)`; default 0.1.
    ///
    /// # Panics
    /// When it is outside.
    #[track_caller]
    pub fn factor(self, factor: f64) -> Self {
        or_panic(self.try_factor(factor))
    }

    /// As [`Plateau::factor`].
    ///
    /// # Errors
    /// When it is not in `(0, 1)`.
    pub fn try_factor(mut self, factor: f64) -> Result<Self> {
        let open = Range::new(0.0, true, 1.0, true);
        self.factor = open.check("Plateau", "factor", factor)?;
        Ok(self)
    }

    /// Observations without improvement that are borne; default 10.
    pub fn patience(mut self, observations: u64) -> Self {
        self.patience = observations;
        self
    }

    /// An improvement must beat the best by this share of it; default 1e-4.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn threshold(mut self, relative: f64) -> Self {
        self.threshold = or_panic(Range::NON_NEGATIVE.check("Plateau", "threshold", relative));
        self.absolute = false;
        self
    }

    /// An improvement must beat the best by this much.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn absolute_threshold(mut self, by: f64) -> Self {
        self.threshold = or_panic(Range::NON_NEGATIVE.check("Plateau", "threshold", by));
        self.absolute = true;
        self
    }

    /// Observations after a reduction that do not count; default 0.
    pub fn cooldown(mut self, observations: u64) -> Self {
        self.cooldown = observations;
        self
    }

    /// The learning rate (of the default group) is not brought below this; default 0.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn min_lr(mut self, lr: f64) -> Self {
        self.min_lr = or_panic(Range::NON_NEGATIVE.check("Plateau", "min_lr", lr));
        self
    }

    fn improves(&self, metric: f64) -> bool {
        let sign = if self.maximize { 1.0 } else { -1.0 };
        let margin = if self.absolute {
            self.threshold
        } else {
            // PyTorch's rule: best (1 ± threshold); of an infinite best everything is an improvement.
            self.threshold * self.best
        };
        let bar = if self.best.is_infinite() {
            self.best
        } else {
            self.best + sign * margin
        };
        if self.maximize {
            metric > bar
        } else {
            metric < bar
        }
    }

    /// Takes a metric in and returns the factor that the learning rate `lr` is now to be multiplied by.
    pub fn observe(&mut self, metric: f64, lr: f64) -> f64 {
        if self.improves(metric) {
            self.best = metric;
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad <= self.patience {
            return 1.0;
        }
        self.cooling = self.cooldown;
        self.bad = 0;
        let lower = (lr * self.factor).max(self.min_lr);
        // PyTorch leaves differences up to 1e-8 alone.
        if lr - lower > 1e-8 { lower / lr } else { 1.0 }
    }
}
