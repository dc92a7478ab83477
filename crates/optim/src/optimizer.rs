//! The optimizer: a rule, its state, and the step.

use crate::engine::Engine;
use crate::error::{NonFinite, Result, or_panic};
use crate::groups::Group;
use crate::hub;
use crate::rule::{Range, Rule};
use crate::schedule::{Plateau, Schedule};
use crate::state::OptimizerState;
use crate::transform::ClipRecord;
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use wengert_autograd::{Gradients, Module, Path, Visitor};
use wengert_tensor::Real;

/// A rule with its state for every parameter of a model.
///
/// [`Sgd`](crate::Sgd), [`Adam`](crate::Adam) and the others are names of this type; their own pages say what they
/// compute. Made with a learning rate (a number or a [`Schedule`]), refined by builder methods, and stepped:
///
/// ```
/// use wengert_autograd::{Gradients, Param};
/// use wengert_optim::Adam;
/// use wengert_tensor::Tensor;
///
/// let mut w = Param::new(Tensor::from_vec(vec![1.0f32, -2.0], [2]));
/// let mut adam = Adam::new(0.1);
/// for _ in 0..200 {
///     // The gradient of ‖w‖² / 2; a tape would return it.
///     let grads = Gradients::from_parts(0.0, vec![(w.id(), w.value().copy())], vec![]);
///     adam.step(&mut w, &grads);
/// }
/// assert!(w.value().iter().all(|x| x.abs() < 0.02));
/// ```
///
/// **State** is kept by the parameter's path and made when a parameter gets its first gradient; frozen parameters
/// have none. A parameter that is new in the model, or that changed its shape, begins with fresh state and its own
/// step count while the others keep theirs.
///
/// **Hyperparameters** are `f64`, whatever the element type.
pub struct Optimizer<R: Rule, T: Real = f32> {
    pub(crate) engine: Engine<T>,
    rule: PhantomData<fn() -> R>,
}

/// What a step does when a gradient holds NaN or infinity.
///
/// A gradient that carries the note [`Gradients::known_finite`] is not looked at: the tape and the transforms of this crate
/// look while they write. Others (supplied, written through `by_id_mut` or `iter_mut`, or large and made by an operation
/// that does not tell) cost one more pass over them, before anything is changed. [`Gradients::change`] notes what the
/// caller has seen; with [`Optimizer::clip_norm`] the norm tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NonFinitePolicy {
    /// Leaves model and optimizer as they are and says which parameter it was.
    #[default]
    Skip,
    /// An error; a panic in [`Optimizer::step`].
    Error,
    /// Takes the offending elements as zero.
    Zero,
    /// Does not look. Saves nothing on gradients that are known to be finite, and one pass over others.
    Ignore,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Steps taken before this one, which is what schedules saw.
    pub step: u64,
    /// Learning rate of the default group.
    pub lr: f64,
    /// Whether the parameters were updated.
    pub applied: bool,
    /// What was found, where a gradient was not finite.
    pub non_finite: Option<Box<NonFinite>>,
    /// Global norm of the gradients before clipping, where somebody asked for it: [`Optimizer::clip_norm`] or
    /// [`Optimizer::report_norm`].
    pub grad_norm: Option<f64>,
    /// What [`Optimizer::clip_norm`] did.
    pub clip: Option<ClipRecord>,
}

impl<R: Rule, T: Real> Optimizer<R, T> {
    /// An optimizer over any rule, of this crate or your own.
    pub fn with_rule(rule: R) -> Self {
        Optimizer {
            engine: (hub::new::<T>())(Box::new(rule)),
            rule: PhantomData,
        }
    }

    /// Sets a hyperparameter by name, to a number or a schedule.
    ///
    /// # Panics
    /// Where [`Optimizer::try_with`] errs.
    #[track_caller]
    pub fn with(self, name: &str, value: impl Schedule) -> Self {
        or_panic(self.try_with(name, value))
    }

    /// Sets a hyperparameter by name, to a number or a schedule; every typed builder method is this one.
    ///
    /// # Errors
    /// When the rule has no such hyperparameter, or the value (of a schedule: its value at the present step) is
    /// outside its range.
    pub fn try_with(mut self, name: &str, value: impl Schedule) -> Result<Self> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Sets a hyperparameter in the middle of a run.
    ///
    /// # Errors
    /// As [`Optimizer::try_with`].
    pub fn set(&mut self, name: &str, value: impl Schedule) -> Result<()> {
        (hub::set::<T>())(&mut self.engine, name, Arc::new(value))
    }

    /// Sets the learning rate in the middle of a run.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn set_lr(&mut self, lr: impl Schedule) {
        or_panic(self.set("lr", lr));
    }

    /// Adds a group.
    ///
    /// # Panics
    /// Where [`Optimizer::try_group`] errs.
    #[track_caller]
    pub fn group(self, group: Group) -> Self {
        or_panic(self.try_group(group))
    }

    /// Adds a group.
    ///
    /// # Errors
    /// When the group changes a hyperparameter that the rule does not have, or sets one outside its range.
    pub fn try_group(mut self, group: Group) -> Result<Self> {
        (hub::group::<T>())(&mut self.engine, group)?;
        Ok(self)
    }

    /// No weight decay on parameters of rank 0 and 1: biases, and the gains and shifts of normalizations. For
    /// [`Muon`](crate::Muon), which takes AdamW for them, no decay of that either.
    ///
    /// # Panics
    /// When the rule has no weight decay.
    #[track_caller]
    pub fn no_decay_on_biases_and_norms(self) -> Self {
        let mut group = Group::when(|p| p.shape.len() <= 1).set("weight_decay", 0.0);
        let other = "adam_weight_decay";
        if self.hyper(other).is_some() {
            group = group.set(other, 0.0);
        }
        self.group(group)
    }

    /// Learning rates that shrink with the distance from the output (discriminative fine-tuning, Howard and Ruder
    /// 2018): the last pattern keeps its rate, each one before it takes `decay` times the rate of the next.
    ///
    /// ```
    /// use wengert_optim::AdamW;
    /// let adam = AdamW::<f32>::new(1e-3).layerwise_lr(0.5, ["embed.*", "blocks.0.*", "blocks.1.*", "head.*"]);
    /// # let _ = adam;
    /// ```
    ///
    /// # Panics
    /// When `decay` is negative or not finite.
    #[track_caller]
    pub fn layerwise_lr<S: Into<String>>(
        mut self,
        decay: f64,
        patterns: impl IntoIterator<Item = S>,
    ) -> Self {
        or_panic(Range::NON_NEGATIVE.check("layerwise_lr", "decay", decay));
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        let last = patterns.len().saturating_sub(1);
        for (i, pattern) in patterns.into_iter().enumerate() {
            let scale = decay.powf((last - i) as f64);
            self = self.group(Group::matching(pattern).lr_scale(scale));
        }
        self
    }

    /// What to do when a gradient is not finite; [`NonFinitePolicy::Skip`] by default.
    pub fn non_finite(mut self, policy: NonFinitePolicy) -> Self {
        self.engine.policy = policy;
        self
    }

    /// Scales the gradients of every step so that their global norm is at most `max`, as [`ClipExt::clip_norm`] does, to
    /// the same bits and without another pass: the norm is taken where finiteness is looked at, and the factor is
    /// applied on the way into the update. The gradients themselves stay as they are.
    ///
    /// ```
    /// use wengert_autograd::{Gradients, Param};
    /// use wengert_optim::Sgd;
    /// use wengert_tensor::Tensor;
    /// let mut p = Param::new(Tensor::<f32>::zeros([2]));
    /// let grads = Gradients::from_parts(0.0, vec![(p.id(), Tensor::from_vec(vec![3.0, 4.0], [2]))], vec![]);
    /// let report = Sgd::new(1.0).clip_norm(1.0).step(&mut p, &grads);
    /// assert_eq!(report.grad_norm, Some(5.0));
    /// assert!(report.clip.is_some_and(|c| c.clipped) && (p.value().to_vec()[1] + 0.8).abs() < 1e-6);
    /// ```
    ///
    /// [`ClipExt::clip_norm`]: crate::ClipExt::clip_norm
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    #[track_caller]
    pub fn clip_norm(self, max: f64) -> Self {
        or_panic(self.try_clip_norm(max))
    }

    /// As [`Optimizer::clip_norm`].
    ///
    /// # Errors
    /// When `max` is negative or not finite.
    pub fn try_clip_norm(mut self, max: f64) -> Result<Self> {
        self.engine.clip = Some(Range::NON_NEGATIVE.check("clip_norm", "max", max)?);
        Ok(self)
    }

    /// Takes the global norm of the gradients at every step, for [`StepReport::grad_norm`]: one more pass over them.
    pub fn report_norm(mut self) -> Self {
        self.engine.norm = true;
        self
    }

    /// Lowers the learning rate when what [`Optimizer::observe`] is told stops improving.
    pub fn reduce_on_plateau(mut self, plateau: Plateau) -> Self {
        self.engine.plateau = Some(plateau);
        self
    }

    /// Tells a metric, such as the validation loss of an epoch, to what reacts to it; returns the learning rate.
    pub fn observe(&mut self, metric: f64) -> f64 {
        (hub::observe::<T>())(&mut self.engine, metric)
    }

    /// The rule as configured; hyperparameters that follow a schedule are at their value of the last change.
    pub fn rule(&self) -> &R {
        let any: &dyn Any = &*self.engine.base;
        any.downcast_ref()
            .expect("the rule was put in by `with_rule`")
    }

    /// Changes what is not a hyperparameter, before the first step.
    #[track_caller]
    pub(crate) fn edit(&mut self, mut f: impl FnMut(&mut R)) {
        assert!(
            self.engine.entries.is_empty(),
            "{}: the variant of the rule is fixed once it has state",
            self.engine.base.name()
        );
        (hub::edit::<T>())(&mut self.engine, &mut |rule: &mut dyn Rule| {
            let any: &mut dyn Any = rule;
            f(any
                .downcast_mut()
                .expect("the rule was put in by `with_rule`"));
        });
    }

    /// Value of a hyperparameter in the default group at the present step.
    pub fn hyper(&self, name: &str) -> Option<f64> {
        (hub::hyper::<T>())(&self.engine, name)
    }

    /// The hyperparameters with which the parameter at `path` will be updated at the present step; `None` before the
    /// first step and for paths that the model does not have.
    pub fn hypers_of(&self, path: &str) -> Option<Vec<(&'static str, f64)>> {
        (hub::hypers_of::<T>())(&self.engine, path)
    }

    /// Learning rate of the default group at the present step.
    pub fn lr(&self) -> f64 {
        self.hyper("lr").unwrap_or(f64::NAN)
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.engine.step
    }

    /// Steps skipped because a gradient was not finite.
    pub fn skipped_steps(&self) -> u64 {
        self.engine.skipped
    }

    /// Updates every trainable parameter that has a gradient, in place, and writes the side outputs of the forward
    /// pass into their buffers.
    ///
    /// # Panics
    /// Where [`Optimizer::try_step`] errs.
    #[track_caller]
    pub fn step<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
        grads: &Gradients<T>,
    ) -> StepReport {
        or_panic(self.try_step(model, grads))
    }

    /// As [`Optimizer::step`].
    ///
    /// # Errors
    /// When a gradient has another shape than its parameter (parameters visited before it are updated by then), when
    /// the visit shows a parameter or path twice or no parameter at all, when a group's pattern matches nothing, when a schedule leaves the
    /// range of its hyperparameter, and when a gradient is not finite under [`NonFinitePolicy::Error`].
    pub fn try_step<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
        grads: &Gradients<T>,
    ) -> Result<StepReport> {
        // A reference to a module is a module, sized or not.
        let mut model = model;
        (hub::step::<T>())(&mut self.engine, &mut model, grads)
    }

    /// Everything that a run needs to go on, except for the configuration.
    pub fn state(&self) -> OptimizerState {
        (hub::save::<T>())(&self.engine)
    }

    /// Goes on from a saved state: with the same configuration and the same gradients, bit for bit.
    ///
    /// Entries are matched with the trainable parameters of `model` by path. The state of an optimizer that has not stepped
    /// has none, and brings any optimizer back to before its first step.
    ///
    /// # Errors
    /// When the state is one of another rule, or an entry is missing, unknown, of another shape or type, or holds NaN.
    /// The error lists all such entries; nothing is changed then.
    pub fn load_state<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        state: &OptimizerState,
    ) -> Result<()> {
        self.load(model, state, true)
    }

    /// Whether [`Optimizer::load_state`] would take a state; changes nothing.
    ///
    /// # Errors
    /// Those of [`Optimizer::load_state`].
    pub fn check_state<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        state: &OptimizerState,
    ) -> Result<()> {
        self.load(model, state, false)
    }

    fn load<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        state: &OptimizerState,
        commit: bool,
    ) -> Result<()> {
        let show = |v: &mut dyn Visitor<T>| model.visit(&mut Path::new(), v);
        (hub::load::<T>())(&mut self.engine, &show, state, commit)
    }
}

/// What every optimizer and wrapper can do, for code that takes any of them.
///
/// ```
/// use wengert_optim::{Adam, Optimize, Sgd};
/// let choice: Vec<Box<dyn Optimize<f32>>> = vec![Box::new(Sgd::new(0.1)), Box::new(Adam::new(1e-3))];
/// assert_eq!(choice[1].lr(), 1e-3);
/// ```
pub trait Optimize<T: Real> {
    /// One update of the model; see [`Optimizer::try_step`].
    ///
    /// # Errors
    /// As [`Optimizer::try_step`].
    fn try_step(&mut self, model: &mut dyn Module<T>, grads: &Gradients<T>) -> Result<StepReport>;
    /// Learning rate of the default group at the present step.
    fn lr(&self) -> f64;
    /// Steps taken.
    fn steps(&self) -> u64;
    /// Tells a metric to what reacts to it; returns the learning rate.
    fn observe(&mut self, metric: f64) -> f64;
    /// Everything that a run needs to go on, except for the configuration.
    fn state(&self) -> OptimizerState;
    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When the state does not fit; all reasons are listed and nothing is changed.
    fn load_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()>;
    /// Whether [`Optimize::load_state`] would take a state; changes nothing. What is loaded in parts asks every part
    /// before it changes the first.
    ///
    /// # Errors
    /// Those of [`Optimize::load_state`].
    fn check_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()>;
}

impl<R: Rule, T: Real> Optimize<T> for Optimizer<R, T> {
    fn try_step(&mut self, model: &mut dyn Module<T>, grads: &Gradients<T>) -> Result<StepReport> {
        Optimizer::try_step(self, model, grads)
    }
    fn lr(&self) -> f64 {
        Optimizer::lr(self)
    }
    fn steps(&self) -> u64 {
        Optimizer::steps(self)
    }
    fn observe(&mut self, metric: f64) -> f64 {
        Optimizer::observe(self, metric)
    }
    fn state(&self) -> OptimizerState {
        Optimizer::state(self)
    }
    fn load_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()> {
        Optimizer::load_state(self, model, state)
    }
    fn check_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()> {
        Optimizer::check_state(self, model, state)
    }
}

impl<T: Real, O: Optimize<T> + ?Sized> Optimize<T> for Box<O> {
    fn try_step(&mut self, model: &mut dyn Module<T>, grads: &Gradients<T>) -> Result<StepReport> {
        (**self).try_step(model, grads)
    }
    fn lr(&self) -> f64 {
        (**self).lr()
    }
    fn steps(&self) -> u64 {
        (**self).steps()
    }
    fn observe(&mut self, metric: f64) -> f64 {
        (**self).observe(metric)
    }
    fn state(&self) -> OptimizerState {
        (**self).state()
    }
    fn load_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()> {
        (**self).load_state(model, state)
    }
    fn check_state(&mut self, model: &dyn Module<T>, state: &OptimizerState) -> Result<()> {
        (**self).check_state(model, state)
    }
}
