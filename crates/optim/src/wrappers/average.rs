//! Averages of the weights over the run.

use crate::error::{Result, or_panic};
use crate::rule::Range;
use crate::snapshot::{Snapshot, commit};
use crate::state::{Checker, OptimizerState, StateScalar, scalars};
use wengert_autograd::Module;
use wengert_tensor::Real;

macro_rules! average {
    ($name:ident, $kind:literal, $slot:literal) => {
        impl<T: Real> $name<T> {
            /// Averages the buffers (running statistics) like the weights. Without it the averaged model has the
            /// buffers of the model that it is made from.
            pub fn with_buffers(mut self) -> Self {
                self.kept.with_buffers();
                self
            }

            /// Updates so far.
            pub fn updates(&self) -> u64 {
                self.updates
            }

            /// A copy of the model with the averaged weights; without an update so far, an equal copy.
            pub fn averaged<M: Module<T> + Clone>(&mut self, model: &M) -> M {
                let mut copy = model.clone();
                if !self.kept.is_empty() {
                    self.kept.restore(&mut copy);
                }
                copy
            }

            /// Exchanges the model's weights and the averaged ones: once before an evaluation, once after it.
            pub fn swap<M: Module<T> + ?Sized>(&mut self, model: &mut M) {
                self.kept.swap(model);
            }

            /// The averaged weights and what is needed to go on.
            pub fn state(&self) -> OptimizerState {
                let mut state = OptimizerState::new($kind);
                state.scalars = scalars(&[("updates", StateScalar::Count(self.updates))]);
                self.kept.save(&mut state, $slot);
                state
            }

            /// Goes on from a saved state.
            ///
            /// # Errors
            /// When it does not fit the model; all reasons are listed and nothing is changed.
            pub fn load_state(
                &mut self,
                model: &dyn Module<T>,
                state: &OptimizerState,
            ) -> Result<()> {
                let mut check = Checker::default();
                check.kind(state, $kind);
                check.names("the state", state.scalars.keys(), &["updates"]);
                let updates = check.count("the state", &state.scalars, "updates");
                let loaded = self.kept.load(model, state, $slot, updates > 0, &mut check);
                check.no_parts(state);
                commit(&mut self.kept, loaded, check)?;
                self.updates = updates;
                Ok(())
            }
        }
    };
}

/// Exponential moving average of the weights (Polyak; PyTorch's `get_ema_multi_avg_fn`): `w̄ ← δ w̄ + (1 - δ) w` after
/// every step, from `w̄ = w` at the first one.
///
/// ```
/// use wengert_autograd::Param;
/// use wengert_optim::wrappers::Ema;
/// use wengert_tensor::Tensor;
///
/// let mut p = Param::new(Tensor::<f32>::full([1], 1.0));
/// let mut ema = Ema::new(0.75);
/// ema.update(&p);
/// p.set(Tensor::full([1], 5.0));
/// ema.update(&p);
/// assert_eq!(ema.averaged(&p).value().item(), 2.0);
/// ```
pub struct Ema<T: Real = f32> {
    decay: f64,
    warmup: bool,
    updates: u64,
    kept: Snapshot<T>,
}

impl<T: Real> Ema<T> {
    /// With decay `δ` in `[0, 1)`; 0.999 is usual.
    ///
    /// # Panics
    /// When it is outside.
    #[track_caller]
    pub fn new(decay: f64) -> Self {
        or_panic(Self::try_new(decay))
    }

    /// As [`Ema::new`].
    ///
    /// # Errors
    /// When `decay` is not in `[0, 1)`.
    pub fn try_new(decay: f64) -> Result<Self> {
        Ok(Ema {
            decay: Range::DECAY.check("Ema", "decay", decay)?,
            warmup: false,
            updates: 0,
            kept: Snapshot::new(false),
        })
    }

    /// Uses `min(δ, (1 + n) / (10 + n))` at update `n`, so that the first weights are soon forgotten (TensorFlow's
    /// `ExponentialMovingAverage` with a step count).
    pub fn warmup(mut self) -> Self {
        self.warmup = true;
        self
    }

    /// Takes the model's weights in, after a step.
    pub fn update<M: Module<T> + ?Sized>(&mut self, model: &M) {
        let n = self.updates as f64;
        let decay = if self.warmup {
            self.decay.min((1.0 + n) / (10.0 + n))
        } else {
            self.decay
        };
        if self.updates == 0 {
            self.kept.copy(model);
        } else {
            self.kept.blend(model, decay, 1.0 - decay);
        }
        self.updates += 1;
    }
}

average!(Ema, "ema", "ema");

/// Stochastic weight averaging (Izmailov et al. 2018, algorithm 1; PyTorch's `AveragedModel`): the plain mean of the
/// weights at every update, usually one per epoch late in the run.
///
/// The learning rate that goes with it is a schedule, constant or cyclic: `warm.then(start, Constant::new(swa_lr))`.
/// Batch-norm statistics of the averaged model must be estimated anew by forward passes.
pub struct Swa<T: Real = f32> {
    updates: u64,
    kept: Snapshot<T>,
}

impl<T: Real> Default for Swa<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Swa<T> {
    /// A mean of nothing yet.
    pub fn new() -> Self {
        Swa {
            updates: 0,
            kept: Snapshot::new(false),
        }
    }

    /// Takes the model's weights in.
    pub fn update<M: Module<T> + ?Sized>(&mut self, model: &M) {
        let share = 1.0 / (self.updates + 1) as f64;
        if self.updates == 0 {
            self.kept.copy(model);
        } else {
            self.kept.blend(model, 1.0 - share, share);
        }
        self.updates += 1;
    }
}

average!(Swa, "swa", "mean");
