//! Gradient accumulation over micro-batches.

use crate::error::{Error, Result, or_panic};
use crate::hub;
use crate::state::{Checker, OptimizerState, ParamState, StateScalar, StateTensor, scalars};
use crate::transform::ClipExt;
use wengert_autograd::{Buffer, Gradients, Module, Param, ParamId, Path, Visitor, VisitorMut};
use wengert_tensor::{Real, Tensor};

/// Name of the sums in saved states.
const SUM: &str = "sum";

/// Adds up the gradients of `n` micro-batches and gives their mean to one step.
///
/// With equal micro-batches and a mean loss this is the gradient of the whole batch. A parameter without a gradient in
/// some micro-batch counts as zero there. Side outputs (running statistics) are written into the model's buffers at
/// every micro-batch, because the next forward pass continues from them.
///
/// ```
/// use wengert_autograd::{Gradients, Param};
/// use wengert_optim::{Sgd, wrappers::Accumulator};
/// use wengert_tensor::Tensor;
///
/// let mut p = Param::new(Tensor::<f32>::zeros([1]));
/// let mut sgd = Sgd::new(1.0);
/// let mut accumulator = Accumulator::new(2);
/// for g in [1.0, 3.0] {
///     let grads = Gradients::from_parts(0.0, vec![(p.id(), Tensor::full([1], g))], vec![]);
///     if let Some(mean) = accumulator.add(&mut p, grads) {
///         sgd.step(&mut p, &mean);
///     }
/// }
/// assert_eq!(p.value().item(), -2.0);
/// ```
pub struct Accumulator<T: Real = f32> {
    every: usize,
    seen: usize,
    loss: f64,
    entries: Vec<(ParamId, Tensor<T>)>,
}

impl<T: Real> Accumulator<T> {
    /// One step for `every` micro-batches.
    ///
    /// # Panics
    /// When `every` is 0.
    #[track_caller]
    pub fn new(every: usize) -> Self {
        or_panic(Self::try_new(every))
    }

    /// As [`Accumulator::new`].
    ///
    /// # Errors
    /// When `every` is 0.
    pub fn try_new(every: usize) -> Result<Self> {
        if every == 0 {
            return Err(Error::Hyperparameter {
                owner: "Accumulator",
                name: "every".to_string(),
                expected: "at least 1".to_string(),
                value: 0.0,
            });
        }
        Ok(Accumulator {
            every,
            seen: 0,
            loss: 0.0,
            entries: Vec::new(),
        })
    }

    /// Micro-batches since the last step.
    pub fn pending(&self) -> usize {
        self.seen
    }

    /// Takes the gradients of a micro-batch in; returns the mean when it was the last one.
    ///
    /// # Panics
    /// When the gradient of a parameter changes its shape between micro-batches.
    #[track_caller]
    pub fn add<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
        grads: Gradients<T>,
    ) -> Option<Gradients<T>> {
        apply_side_outputs(model, &grads);
        let (loss, entries, _) = grads.into_parts();
        self.loss += loss.as_f64();
        self.seen += 1;
        for (at, (id, g)) in entries.into_iter().enumerate() {
            let near = self.entries.get(at).is_some_and(|e| e.0 == id);
            let found = if near {
                Some(at)
            } else {
                self.entries.iter().position(|e| e.0 == id)
            };
            match found {
                Some(i) => add_to(&mut self.entries[i].1, &g),
                None => self.entries.push((id, g)),
            }
        }
        (self.seen == self.every).then(|| self.take())
    }

    /// The mean of the micro-batches so far, for an epoch that ends in the middle; `None` if there are none.
    pub fn flush(&mut self) -> Option<Gradients<T>> {
        (self.seen > 0).then(|| self.take())
    }

    /// The sums of the micro-batches since the last step, for a run that ends between two steps.
    pub fn state<M: Module<T> + ?Sized>(&self, model: &M) -> OptimizerState {
        struct Save<'a, T: Real>(&'a [(ParamId, Tensor<T>)], OptimizerState);
        impl<T: Real> Visitor<T> for Save<'_, T> {
            fn param(&mut self, path: &str, param: &Param<T>) {
                let Some(at) = self.0.iter().position(|e| e.0 == param.id()) else {
                    return;
                };
                let sum = &self.0[at].1;
                let mut saved = ParamState {
                    scalars: scalars(&[("at", StateScalar::Count(at as u64))]),
                    ..ParamState::default()
                };
                let copy = StateTensor::from_tensor(&sum.copy());
                saved.tensors.insert(SUM.to_string(), copy);
                self.1.params.insert(path.to_string(), saved);
            }
        }
        let mut state = OptimizerState::new("accumulator");
        state.scalars = scalars(&[
            ("seen", StateScalar::Count(self.seen as u64)),
            ("loss", StateScalar::Number(self.loss)),
        ]);
        let mut save = Save(&self.entries, state);
        model.visit(&mut Path::new(), &mut save);
        let mut state = save.1;
        let sums = StateScalar::Count(state.params.len() as u64);
        state.scalars.insert("sums".to_string(), sums);
        state
    }

    /// Goes on from a saved state. What is not finite among the sums stays so: the optimizer's policy decides.
    ///
    /// # Errors
    /// When it does not fit the model or holds more micro-batches than make a step; all reasons are listed and nothing
    /// is changed.
    pub fn load_state<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        state: &OptimizerState,
    ) -> Result<()> {
        struct Load<'a, T: Real> {
            state: &'a OptimizerState,
            check: Checker,
            found: Vec<(u64, ParamId, Tensor<T>)>,
            known: Vec<String>,
        }
        impl<T: Real> Visitor<T> for Load<'_, T> {
            fn param(&mut self, path: &str, param: &Param<T>) {
                let Some(saved) = self.state.params.get(path) else {
                    return;
                };
                self.known.push(path.to_string());
                let what = format!("`{path}`");
                let check = &mut self.check;
                check.names(&what, saved.scalars.keys(), &["at"]);
                check.names(&what, saved.tensors.keys(), &[SUM]);
                let at = check.count(&what, &saved.scalars, "at");
                if let Some(t) = check.any_tensor::<T>(path, &saved.tensors, SUM, param.shape()) {
                    self.found.push((at, param.id(), t.copy()));
                }
            }
        }
        let mut load = Load {
            state,
            check: Checker::default(),
            found: Vec::new(),
            known: Vec::new(),
        };
        let check = &mut load.check;
        let what = "the state";
        check.kind(state, "accumulator");
        check.no_parts(state);
        check.names(what, state.scalars.keys(), &["seen", "sums", "loss"]);
        let seen = check.count(what, &state.scalars, "seen");
        let sums = check.count(what, &state.scalars, "sums");
        if sums != state.params.len() as u64 {
            let found = state.params.len();
            check.problem(format!(
                "{what}: `sums` says {sums} parameters, found {found}"
            ));
        }
        let loss = match state.scalars.get("loss") {
            Some(StateScalar::Number(x)) => *x,
            _ => check.number(what, &state.scalars, "loss"),
        };
        if seen >= self.every as u64 {
            check.problem(format!(
                "{what}: `seen` must be below {}, found {seen}",
                self.every
            ));
        }
        model.visit(&mut Path::new(), &mut load);
        let Load {
            mut check,
            mut found,
            known,
            ..
        } = load;
        for path in state.params.keys().filter(|p| !known.contains(*p)) {
            check.problem(format!("`{path}`: the model has no such parameter"));
        }
        check.finish()?;
        found.sort_unstable_by_key(|f| f.0);
        self.seen = seen as usize;
        self.loss = loss;
        self.entries = found.into_iter().map(|(_, id, t)| (id, t)).collect();
        Ok(())
    }

    fn take(&mut self) -> Gradients<T> {
        let n = self.seen as f64;
        let loss = T::from_f64(self.loss / n);
        let mut mean = Gradients::from_parts(loss, std::mem::take(&mut self.entries), vec![]);
        if self.seen > 1 {
            mean.scale(1.0 / n);
        }
        self.seen = 0;
        self.loss = 0.0;
        mean
    }
}

#[track_caller]
fn add_to<T: Real>(sum: &mut Tensor<T>, g: &Tensor<T>) {
    assert!(
        sum.shape() == g.shape(),
        "Accumulator: a gradient changed its shape from {:?} to {:?}",
        sum.shape(),
        g.shape()
    );
    let g = g.contiguous();
    let g = g.as_slice().unwrap_or(&[]);
    (hub::blend::<T>())(sum.as_mut_slice(), g, 1.0, 1.0);
}

/// Writes the side outputs of a forward pass into the model's buffers, as an optimizer's step does.
pub fn apply_side_outputs<T: Real, M: Module<T> + ?Sized>(model: &mut M, grads: &Gradients<T>) {
    struct Apply<'a, T: Real>(&'a Gradients<T>);
    impl<T: Real> VisitorMut<T> for Apply<'_, T> {
        fn param(&mut self, _path: &str, _param: &mut Param<T>) {}
        fn buffer(&mut self, _path: &str, buffer: &mut Buffer<T>) {
            if let Some(v) = self
                .0
                .side_output(buffer.id())
                .filter(|_| !buffer.is_frozen())
            {
                *buffer.value_mut() = v.copy();
            }
        }
    }
    if grads.side_outputs().next().is_some() {
        model.visit_mut(&mut Path::new(), &mut Apply(grads));
    }
}
