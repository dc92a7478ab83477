//! Slow weights that follow fast ones.

use crate::error::{Error, Result, or_panic};
use crate::hub;
use crate::optimizer::{Optimize, StepReport};
use crate::rule::Range;
use crate::snapshot::Snapshot;
use crate::state::{Checker, OptimizerState, StateScalar, scalars};
use wengert_autograd::{Gradients, Module};
use wengert_tensor::Real;

/// Lookahead (Zhang et al. 2019, algorithm 1; optax's `lookahead`): every `k` steps of the inner optimizer the slow
/// weights move by the share `α` of the way, `φ ← φ + α (θ - φ)`, and the fast weights go there, `θ ← φ`.
///
/// The slow weights begin where the model stands at the first step.
///
/// ```
/// use wengert_optim::{Adam, wrappers::Lookahead};
/// let optimizer = Lookahead::<_, f32>::new(Adam::new(1e-3), 5, 0.5);
/// # let _ = optimizer;
/// ```
pub struct Lookahead<O, T: Real = f32> {
    inner: O,
    every: u64,
    share: f64,
    taken: u64,
    slow: Snapshot<T>,
}

impl<T: Real, O: Optimize<T>> Lookahead<O, T> {
    /// Around `inner`, with a synchronization every `every` steps (5 is usual) by the share `share` (0.5 is usual).
    ///
    /// # Panics
    /// When `every` is 0 or `share` is not in `[0, 1]`.
    #[track_caller]
    pub fn new(inner: O, every: u64, share: f64) -> Self {
        or_panic(Self::try_new(inner, every, share))
    }

    /// As [`Lookahead::new`].
    ///
    /// # Errors
    /// When `every` is 0 or `share` is not in `[0, 1]`.
    pub fn try_new(inner: O, every: u64, share: f64) -> Result<Self> {
        if every == 0 {
            return Err(Error::Hyperparameter {
                owner: "Lookahead",
                name: "every".to_string(),
                expected: "at least 1".to_string(),
                value: 0.0,
            });
        }
        Ok(Lookahead {
            inner,
            every,
            share: Range::UNIT.check("Lookahead", "share", share)?,
            taken: 0,
            slow: Snapshot::new(false),
        })
    }

    /// The inner optimizer.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// The inner optimizer, to be changed.
    pub fn inner_mut(&mut self) -> &mut O {
        &mut self.inner
    }

    /// One step.
    ///
    /// # Panics
    /// Where the inner optimizer's `try_step` errs.
    #[track_caller]
    pub fn step<M: Module<T>>(&mut self, model: &mut M, grads: &Gradients<T>) -> StepReport {
        or_panic(self.try_step(model, grads))
    }
}

impl<T: Real, O: Optimize<T>> Optimize<T> for Lookahead<O, T> {
    fn try_step(&mut self, model: &mut dyn Module<T>, grads: &Gradients<T>) -> Result<StepReport> {
        if self.slow.is_empty() {
            self.slow.copy(&*model);
        }
        let report = self.inner.try_step(model, grads)?;
        if !report.applied {
            return Ok(report);
        }
        self.taken += 1;
        if self.taken.is_multiple_of(self.every) {
            let blend = hub::blend::<T>();
            let share = self.share;
            self.slow.write(model, |slow, fast| {
                if let Some(slow) = slow {
                    blend(slow, fast, 1.0 - share, share);
                    fast.copy_from_slice(slow);
                }
            });
        }
        Ok(report)
    }
    fn lr(&self) -> f64 {
        self.inner.lr()
    }
    fn steps(&self) -> u64 {
        self.inner.steps()
    }
    fn observe(&mut self, metric: f64) -> f64 {
        self.inner.observe(metric)
    }
    fn state(&self) -> OptimizerState {
        let mut state = OptimizerState::new("lookahead");
        state.scalars = scalars(&[("taken", StateScalar::Count(self.taken))]);
        self.slow.save(&mut state, "slow");
        state.parts.insert("inner".to_string(), self.inner.state());
        state
    }
    fn load_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()> {
        let (taken, slow) = self.read(model, state)?;
        if let Some(inner) = state.parts.get("inner") {
            self.inner.load_state(model, inner)?;
        }
        (self.taken, self.slow) = (taken, slow);
        Ok(())
    }
    fn check_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()> {
        self.read(model, state).map(drop)
    }
}

impl<T: Real, O: Optimize<T>> Lookahead<O, T> {
    /// What a state says of this wrapper, once the inner optimizer has found nothing wrong with its part, either.
    fn read(
        &mut self,
        model: &dyn Module<T>,
        state: &OptimizerState,
    ) -> Result<(u64, Snapshot<T>)> {
        let mut check = Checker::default();
        check.kind(state, "lookahead");
        check.names("the state", state.scalars.keys(), &["taken"]);
        check.names("the parts", state.parts.keys(), &["inner"]);
        let taken = check.count("the state", &state.scalars, "taken");
        let slow = self.slow.load(model, state, "slow", taken > 0, &mut check);
        if let Some(inner) = state.parts.get("inner") {
            check.absorb("inner", self.inner.check_state(model, inner));
        }
        check.finish()?;
        Ok((taken, slow))
    }
}
