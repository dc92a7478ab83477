//! Transforms in a row.

use super::adaptive::{Agc, ZClip};
use super::bounds::{ClipEach, ClipNorm, ClipValue};
use super::clip::noted_norm;
use super::links::{Centralize, Noise, NonFinitePolicyLink, Scale};
use crate::error::{NonFinite, Result, or_panic};
use crate::optimizer::NonFinitePolicy;
use crate::state::{Checker, OptimizerState, StateScalar, scalars};
use wengert_autograd::{Gradients, Module};
use wengert_tensor::Real;

/// What a transform may look at besides the gradients.
pub struct Context<'a, T: Real> {
    /// The model that the gradients belong to.
    pub model: &'a dyn Module<T>,
    /// Runs of the pipeline before this one.
    pub step: u64,
    /// Global norm of the gradients as they come in.
    pub norm: f64,
}

/// What a transform did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Global norm of the gradients as they go out, where the transform knows it.
    pub norm: Option<f64>,
    /// How much was changed: elements, rows or tensors, as the transform says.
    pub changed: usize,
    /// Out of how many.
    pub of: usize,
    /// Where the gradients are not finite and the step is not to be taken.
    pub skip: Option<NonFinite>,
}

/// One link of a [`Pipeline`].
pub trait Transform<T: Real>: Send {
    /// Name in records and saved states.
    fn name(&self) -> &'static str;

    /// Changes the gradients.
    ///
    /// # Errors
    /// Where the transform is told to refuse them.
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome>;

    /// Numbers that are carried from step to step.
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Takes such numbers back, in the order of [`Transform::scalars`].
    fn restore(&mut self, values: &[f64]) {
        let _ = values;
    }
}

/// What one link did to the gradients of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Name of the transform.
    pub name: &'static str,
    /// Global norm before.
    pub before: f64,
    /// Global norm after.
    pub after: f64,
    /// How much was changed: elements, rows or tensors, as the transform says.
    pub changed: usize,
    /// Out of how many.
    pub of: usize,
}

/// What a pipeline did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PipelineReport {
    /// One record per link, in order; those behind a skip did not run.
    pub records: Vec<Record>,
    /// Set when the step is not to be taken. An optimizer that is stepped all the same skips it by its own policy.
    pub skip: Option<NonFinite>,
}

/// Transforms of all gradients, in order, each with a record.
///
/// ```
/// use wengert_autograd::{Gradients, Param};
/// use wengert_optim::transform::Pipeline;
/// use wengert_optim::Sgd;
/// use wengert_tensor::Tensor;
///
/// let mut p = Param::new(Tensor::from_vec(vec![1.0f32, 2.0], [2]));
/// let mut pipeline = Pipeline::new().clip_value(5.0).clip_norm(1.0);
/// let mut sgd = Sgd::new(0.1);
///
/// let mut grads = Gradients::from_parts(0.0, vec![(p.id(), Tensor::from_vec(vec![3.0, 40.0], [2]))], vec![]);
/// let report = pipeline.apply(&p, &mut grads);
/// assert_eq!(report.records[0].changed, 1);
/// assert!(report.records[1].before > 5.0 && report.records[1].after <= 1.0);
/// sgd.step(&mut p, &grads);
/// ```
#[derive(Default)]
pub struct Pipeline<T: Real = f32> {
    links: Vec<Box<dyn Transform<T>>>,
    report: PipelineReport,
    step: u64,
}

impl<T: Real> Pipeline<T> {
    /// No transforms.
    pub fn new() -> Self {
        Pipeline {
            links: Vec::new(),
            report: PipelineReport::default(),
            step: 0,
        }
    }

    /// One more link.
    pub fn then(mut self, link: impl Transform<T> + 'static) -> Self {
        self.links.push(Box::new(link));
        self
    }

    /// See [`ClipValue`].
    ///
    /// # Panics
    /// When `limit` is negative or not finite.
    #[track_caller]
    pub fn clip_value(self, limit: f64) -> Self {
        self.then(ClipValue::new(limit))
    }

    /// See [`ClipNorm`].
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    #[track_caller]
    pub fn clip_norm(self, max: f64) -> Self {
        self.then(ClipNorm::new(max))
    }

    /// See [`ClipEach`].
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    #[track_caller]
    pub fn clip_each(self, max: f64) -> Self {
        self.then(ClipEach::new(max))
    }

    /// See [`Agc`].
    ///
    /// # Panics
    /// When `clipping` is not positive.
    #[track_caller]
    pub fn agc(self, clipping: f64) -> Self {
        self.then(Agc::new(clipping))
    }

    /// See [`ZClip`].
    pub fn zclip(self) -> Self {
        self.then(ZClip::new())
    }

    /// See [`Centralize`].
    pub fn centralize(self) -> Self {
        self.then(Centralize::new())
    }

    /// See [`Noise`].
    ///
    /// # Panics
    /// When `eta` is negative or not finite.
    #[track_caller]
    pub fn noise(self, eta: f64, seed: u64) -> Self {
        self.then(Noise::new(eta, seed))
    }

    /// See [`Scale`].
    pub fn scale(self, factor: impl crate::schedule::Schedule) -> Self {
        self.then(Scale::new(factor))
    }

    /// What to do with gradients that are not finite.
    pub fn non_finite(self, policy: NonFinitePolicy) -> Self {
        self.then(NonFinitePolicyLink::new(policy))
    }

    /// Runs all links.
    ///
    /// # Panics
    /// Where [`Pipeline::try_apply`] errs.
    #[track_caller]
    pub fn apply<M: Module<T>>(&mut self, model: &M, grads: &mut Gradients<T>) -> &PipelineReport {
        or_panic(self.try_apply(model, grads))
    }

    /// Runs all links; stops where one says that the step is not to be taken.
    ///
    /// # Errors
    /// Where a link refuses the gradients.
    pub fn try_apply(
        &mut self,
        model: &dyn Module<T>,
        grads: &mut Gradients<T>,
    ) -> Result<&PipelineReport> {
        self.report.records.clear();
        self.report.skip = None;
        if self.links.is_empty() {
            return Ok(&self.report);
        }
        let mut norm = noted_norm(grads);
        for link in &mut self.links {
            let cx = Context {
                model,
                step: self.step,
                norm,
            };
            let outcome = link.apply(&cx, grads)?;
            let after = outcome.norm.unwrap_or_else(|| noted_norm(grads));
            self.report.records.push(Record {
                name: link.name(),
                before: norm,
                after,
                changed: outcome.changed,
                of: outcome.of,
            });
            norm = after;
            if outcome.skip.is_some() {
                self.report.skip = outcome.skip;
                break;
            }
        }
        self.step += 1;
        Ok(&self.report)
    }

    /// Runs so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Everything that the links carry from step to step.
    pub fn state(&self) -> OptimizerState {
        let mut state = OptimizerState::new("pipeline");
        state.scalars = scalars(&[("step", StateScalar::Count(self.step))]);
        for (i, link) in self.links.iter().enumerate() {
            let mut part = OptimizerState::new(link.name());
            let numbers = link.scalars();
            for (k, v) in numbers {
                part.scalars.insert(k.to_string(), StateScalar::Number(v));
            }
            state.parts.insert(i.to_string(), part);
        }
        state
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it is not one of the same links; all reasons are listed and nothing is changed.
    pub fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        let mut check = Checker::default();
        check.kind(state, "pipeline");
        check.names("the pipeline", state.scalars.keys(), &["step"]);
        let step = check.count("the pipeline", &state.scalars, "step");
        check.names("the pipeline", state.params.keys(), &[]);
        let roles: Vec<String> = (0..self.links.len()).map(|i| i.to_string()).collect();
        let names: Vec<&str> = roles.iter().map(String::as_str).collect();
        check.names("the links", state.parts.keys(), &names);
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (link, role) in self.links.iter().zip(&roles) {
            let Some(part) = state.parts.get(role) else {
                continue;
            };
            check.kind(part, link.name());
            check.names(link.name(), part.params.keys(), &[]);
            check.no_parts(part);
            let numbers = link.scalars();
            let names: Vec<&str> = numbers.iter().map(|n| n.0).collect();
            check.names(link.name(), part.scalars.keys(), &names);
            let read = names.iter();
            values.push(
                read.map(|n| check.number(link.name(), &part.scalars, n))
                    .collect(),
            );
        }
        check.finish()?;
        self.step = step;
        // Nothing was missing: there are values for every link.
        for (link, v) in self.links.iter_mut().zip(&values) {
            link.restore(v);
        }
        Ok(())
    }
}
