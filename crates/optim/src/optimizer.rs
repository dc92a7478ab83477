//! The optimizer: a rule, its state, and the step.

use crate::error::{Error, NonFinite, Result, or_panic};
use crate::groups::Group;
use crate::rule::Rule;
use crate::schedule::{Plateau, Schedule};
use crate::state::{Checker, OptimizerState, StateScalar, scalars};
use crate::walker::Core;
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use wengert_autograd::{Buffer, BufferId, Gradients, Module, Param, ParamId, Path, Visitor};
use wengert_tensor::{Real, Tensor};

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
    pub(crate) core: Core<T>,
    policy: NonFinitePolicy,
    skipped: u64,
    plateau: Option<Plateau>,
    rule: PhantomData<fn() -> R>,
}

/// What a step does when a gradient holds NaN or infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NonFinitePolicy {
    /// Leaves model and optimizer as they are and says which parameter it was.
    #[default]
    Skip,
    /// An error; a panic in [`Optimizer::step`].
    Error,
    /// Takes the offending elements as zero.
    Zero,
    /// Does not look; saves one pass over the gradients.
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
}

impl<R: Rule, T: Real> Optimizer<R, T> {
    /// An optimizer over any rule, of this crate or your own.
    pub fn with_rule(rule: R) -> Self {
        Optimizer {
            core: Core::new(Box::new(rule)),
            policy: NonFinitePolicy::default(),
            skipped: 0,
            plateau: None,
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
        self.core.set(name, Arc::new(value))?;
        Ok(self)
    }

    /// Sets a hyperparameter in the middle of a run.
    ///
    /// # Errors
    /// As [`Optimizer::try_with`].
    pub fn set(&mut self, name: &str, value: impl Schedule) -> Result<()> {
        self.core.set(name, Arc::new(value))
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
        self.core.group(group)?;
        Ok(self)
    }

    /// No weight decay on parameters of rank 0 and 1: biases, and the gains and shifts of normalizations.
    ///
    /// # Panics
    /// When the rule has no weight decay.
    #[track_caller]
    pub fn no_decay_on_biases_and_norms(self) -> Self {
        self.group(Group::when(|p| p.shape.len() <= 1).set("weight_decay", 0.0))
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
        self.policy = policy;
        self
    }

    /// Lowers the learning rate when what [`Optimizer::observe`] is told stops improving.
    pub fn reduce_on_plateau(mut self, plateau: Plateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Tells a metric, such as the validation loss of an epoch, to what reacts to it; returns the learning rate.
    pub fn observe(&mut self, metric: f64) -> f64 {
        if let Some(p) = &mut self.plateau {
            self.core.lr_scale *= p.observe(metric, self.core.lr());
        }
        self.lr()
    }

    /// The rule as configured; hyperparameters that follow a schedule are at their value of the last change.
    pub fn rule(&self) -> &R {
        let any: &dyn Any = &*self.core.base;
        any.downcast_ref()
            .expect("the rule was put in by `with_rule`")
    }

    /// Changes what is not a hyperparameter, before the first step.
    #[track_caller]
    pub(crate) fn edit(&mut self, f: impl FnOnce(&mut R)) {
        assert!(
            self.core.entries.is_empty(),
            "{}: the variant of the rule is fixed once it has state",
            self.core.base.name()
        );
        let any: &mut dyn Any = &mut *self.core.base;
        f(any
            .downcast_mut()
            .expect("the rule was put in by `with_rule`"));
        self.core.rebuild_cells();
    }

    /// Value of a hyperparameter in the default group at the present step.
    pub fn hyper(&self, name: &str) -> Option<f64> {
        let i = self.core.hyper(name).ok()?;
        let x = self.core.settings[i].at(self.core.step);
        Some(if name == "lr" {
            x * self.core.lr_scale
        } else {
            x
        })
    }

    /// The hyperparameters with which the parameter at `path` will be updated at the present step; `None` before the
    /// first step and for paths that the model does not have.
    pub fn hypers_of(&self, path: &str) -> Option<Vec<(&'static str, f64)>> {
        self.core.hypers_of(path)
    }

    /// Learning rate of the default group at the present step.
    pub fn lr(&self) -> f64 {
        self.core.lr()
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.core.step
    }

    /// Steps skipped because a gradient was not finite.
    pub fn skipped_steps(&self) -> u64 {
        self.skipped
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
    /// the visit shows a parameter or path twice, when a group's pattern matches nothing, when a schedule leaves the
    /// range of its hyperparameter, and when a gradient is not finite under [`NonFinitePolicy::Error`].
    pub fn try_step<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
        grads: &Gradients<T>,
    ) -> Result<StepReport> {
        let mut report = StepReport {
            step: self.core.step,
            lr: self.core.lr(),
            applied: true,
            non_finite: None,
        };
        if self.policy != NonFinitePolicy::Ignore
            && !self.all_finite(grads)
            && let Some(found) = locate(model, grads)
        {
            match self.policy {
                NonFinitePolicy::Error => return Err(Error::NonFinite(found)),
                NonFinitePolicy::Skip => {
                    self.skipped += 1;
                    report.applied = false;
                    report.non_finite = Some(Box::new(found));
                    return Ok(report);
                }
                NonFinitePolicy::Zero | NonFinitePolicy::Ignore => {
                    report.non_finite = Some(Box::new(found));
                    self.core.update(model, &zeroed(grads))?;
                    return Ok(report);
                }
            }
        }
        self.core.update(model, grads)?;
        Ok(report)
    }

    /// Everything that a run needs to go on, except for the configuration.
    pub fn state(&self) -> OptimizerState {
        let mut state = OptimizerState::new(self.core.base.name());
        self.core.save(&mut state);
        state.scalars.extend(scalars([
            ("skipped", StateScalar::Count(self.skipped)),
            ("lr_scale", StateScalar::Number(self.core.lr_scale)),
        ]));
        if let Some(p) = &self.plateau {
            state.scalars.extend(scalars([
                ("plateau_best", StateScalar::Number(p.best)),
                ("plateau_bad", StateScalar::Count(p.bad)),
                ("plateau_cooling", StateScalar::Count(p.cooling)),
            ]));
        }
        state
    }

    /// Goes on from a saved state: with the same configuration and the same gradients, bit for bit.
    ///
    /// Entries are matched with the trainable parameters of `model` by path.
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
        let mut check = Checker::default();
        let what = "the state";
        let skipped = check.count(what, &state.scalars, "skipped");
        let lr_scale = check.number(what, &state.scalars, "lr_scale");
        let mut extra = vec!["skipped", "lr_scale"];
        let mut plateau = self.plateau.clone();
        if let Some(p) = &mut plateau {
            extra.extend(["plateau_best", "plateau_bad", "plateau_cooling"]);
            p.best = check.number(what, &state.scalars, "plateau_best");
            p.bad = check.count(what, &state.scalars, "plateau_bad");
            p.cooling = check.count(what, &state.scalars, "plateau_cooling");
        }
        check.no_parts(state);
        self.core.load(model, state, &extra, check, commit)?;
        if commit {
            self.skipped = skipped;
            self.core.lr_scale = lr_scale;
            self.plateau = plateau;
        }
        Ok(())
    }

    fn all_finite(&self, grads: &Gradients<T>) -> bool {
        (self.core.ops.finite)(grads.entries())
            && grads
                .side_outputs()
                .all(|(_, v)| v.iter().all(|x| x.is_finite()))
    }
}

/// Puts zeros for what is not finite.
pub(crate) fn zero_non_finite<T: Real>(g: &mut Tensor<T>) {
    if !g.iter().all(|x| x.is_finite()) {
        for x in g.as_mut_slice() {
            if !x.is_finite() {
                *x = T::ZERO;
            }
        }
    }
}

/// The gradients with zeros for what is not finite; side outputs that are not finite are left out.
fn zeroed<T: Real>(grads: &Gradients<T>) -> Gradients<T> {
    let clean = |(id, g): (ParamId, &Tensor<T>)| {
        let mut g = g.clone();
        zero_non_finite(&mut g);
        (id, g)
    };
    Gradients::from_parts(
        grads.loss(),
        grads.iter().map(clean).collect(),
        grads
            .side_outputs()
            .filter(|(_, v)| v.iter().all(|x| x.is_finite()))
            .map(|(id, v)| (id, v.clone()))
            .collect(),
    )
}

/// Finds the first parameter in visiting order whose gradient is not finite, or `None` if all are.
pub(crate) fn locate<T: Real, M: Module<T> + ?Sized>(
    model: &M,
    grads: &Gradients<T>,
) -> Option<NonFinite> {
    struct Find<'a, T: Real> {
        bad: Vec<(ParamId, &'a Tensor<T>)>,
        sides: Vec<(BufferId, &'a Tensor<T>)>,
        found: Option<NonFinite>,
    }
    impl<T: Real> Find<'_, T> {
        fn note(&mut self, path: &str, t: &Tensor<T>) {
            if self.found.is_none() {
                self.found = Some(NonFinite {
                    path: path.to_string(),
                    tensors: self.bad.len() + self.sides.len(),
                    nans: t.iter().filter(|x| x.is_nan()).count(),
                    infinities: t.iter().filter(|x| x.is_infinite()).count(),
                });
            }
        }
    }
    impl<T: Real> Visitor<T> for Find<'_, T> {
        fn param(&mut self, path: &str, param: &Param<T>) {
            if let Some(&(_, t)) = self.bad.iter().find(|b| b.0 == param.id()) {
                self.note(path, t);
            }
        }
        fn buffer(&mut self, path: &str, buffer: &Buffer<T>) {
            if let Some(&(_, t)) = self.sides.iter().find(|b| b.0 == buffer.id()) {
                self.note(path, t);
            }
        }
    }
    let finite = |t: &Tensor<T>| t.iter().all(|x| x.is_finite());
    let mut find = Find {
        bad: grads.iter().filter(|(_, g)| !finite(g)).collect(),
        sides: grads.side_outputs().filter(|(_, v)| !finite(v)).collect(),
        found: None,
    };
    let first = match (find.bad.first(), find.sides.first()) {
        (Some(b), _) => b.1,
        (None, Some(s)) => s.1,
        (None, None) => return None,
    };
    model.visit(&mut Path::new(), &mut find);
    // Gradients of parameters that the model does not show still say what is wrong.
    find.note("(not in the model)", first);
    find.found
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
