//! L-BFGS: a quasi-Newton method for full-batch problems.

mod flat;
mod search;

use crate::error::{Error, Result, or_panic};
use crate::hub;
use crate::rule::Range;
use crate::state::{Checker, OptimizerState, StateScalar, StateTensor, scalars};
use crate::wrappers::apply_side_outputs;
use flat::{count, dot, flat_gradient, max_abs, places, read_values, write_values};
use search::{Trial, strong_wolfe};
use std::collections::VecDeque;
use wengert_autograd::{Gradients, Module};
use wengert_tensor::{Dims, Real};

/// Limited-memory BFGS with a strong Wolfe line search (Nocedal and Wright 2006, algorithms 7.4, 7.5, 3.5 and 3.6;
/// PyTorch's `LBFGS(line_search_fn="strong_wolfe")`).
///
/// Each step runs up to [`Lbfgs::max_iterations`] iterations `x ← x + t d`, where `d = -H g` with the inverse Hessian `H`
/// built from the last [`Lbfgs::history`] pairs `s = Δx`, `y = Δg`, and `t` satisfies
/// `f(x + t d) <= f(x) + 1e-4 t gᵀd` and `|∇f(x + t d)ᵀ d| <= 0.9 |gᵀd|`. The loss is a closure that is evaluated as
/// often as the search needs, so it must be deterministic: the whole batch, no dropout.
///
/// Defaults are PyTorch's, but for the line search, which is on.
///
/// ```
/// use wengert_autograd::{Gradients, Param};
/// use wengert_optim::Lbfgs;
/// use wengert_tensor::Tensor;
///
/// // (w - 3)² / 2
/// let mut w = Param::new(Tensor::<f64>::zeros([1]));
/// let mut lbfgs = Lbfgs::new(1.0);
/// let report = lbfgs.step(&mut w, |w| {
///     let x = w.value().item() - 3.0;
///     Gradients::from_parts(x * x / 2.0, vec![(w.id(), Tensor::full([1], x))], vec![])
/// });
/// assert!((w.value().item() - 3.0).abs() < 1e-7 && report.loss_after < 1e-14);
/// ```
pub struct Lbfgs<T: Real = f32> {
    lr: f64,
    max_iterations: usize,
    max_evaluations: Option<usize>,
    tolerance_grad: f64,
    tolerance_change: f64,
    history: usize,
    search: bool,
    places: Vec<Place>,
    pairs: VecDeque<Pair<T>>,
    direction: Vec<T>,
    previous: Vec<T>,
    step: f64,
    curvature: f64,
    iterations: u64,
    evaluations: u64,
}

/// Where a parameter stands in the flat vectors.
#[derive(Clone, PartialEq)]
struct Place {
    path: String,
    shape: Dims,
    offset: usize,
}

struct Pair<T> {
    s: Vec<T>,
    y: Vec<T>,
    /// 1 / sᵀy
    rho: f64,
}

/// Why a step of [`Lbfgs`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The gradient is below its tolerance.
    Gradient,
    /// Steps or losses change less than their tolerance.
    Change,
    /// As many iterations or evaluations as were allowed.
    Budget,
    /// Loss or gradient is not finite at the start; nothing was changed.
    NonFinite,
}

/// What a step of [`Lbfgs`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct LbfgsReport {
    /// Loss at the start.
    pub loss: f64,
    /// Loss at the end.
    pub loss_after: f64,
    /// Iterations of this step.
    pub iterations: usize,
    /// Evaluations of the closure in this step.
    pub evaluations: usize,
    /// Why it ended.
    pub stop: Stop,
}

impl<T: Real> Lbfgs<T> {
    /// With the first trial step `lr` of each iteration; 1 is usual.
    ///
    /// # Panics
    /// When `lr` is not positive or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        or_panic(Self::try_new(lr))
    }

    /// As [`Lbfgs::new`].
    ///
    /// # Errors
    /// When `lr` is not positive or not finite.
    pub fn try_new(lr: f64) -> Result<Self> {
        Ok(Lbfgs {
            lr: Range::POSITIVE.check("lbfgs", "lr", lr)?,
            max_iterations: 20,
            max_evaluations: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history: 100,
            search: true,
            places: Vec::new(),
            pairs: VecDeque::new(),
            direction: Vec::new(),
            previous: Vec::new(),
            step: 0.0,
            curvature: 1.0,
            iterations: 0,
            evaluations: 0,
        })
    }

    /// Iterations per step; default 20.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn max_iterations(mut self, n: usize) -> Self {
        self.max_iterations = at_least_one("max_iterations", n);
        self
    }

    /// Evaluations per step; default 5/4 of the iterations.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn max_evaluations(mut self, n: usize) -> Self {
        self.max_evaluations = Some(at_least_one("max_evaluations", n));
        self
    }

    /// Pairs that are remembered; default 100.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    pub fn history(mut self, pairs: usize) -> Self {
        self.history = at_least_one("history", pairs);
        self
    }

    /// Ends a step when no element of the gradient is larger than `grad` (default 1e-7), or when step and loss change
    /// by less than `change` (default 1e-9).
    ///
    /// # Panics
    /// When one is negative or not finite.
    #[track_caller]
    pub fn tolerances(mut self, grad: f64, change: f64) -> Self {
        let range = Range::NON_NEGATIVE;
        self.tolerance_grad = or_panic(range.check("lbfgs", "tolerance_grad", grad));
        self.tolerance_change = or_panic(range.check("lbfgs", "tolerance_change", change));
        self
    }

    /// Takes every step with length `lr` in place of a line search (PyTorch's default).
    pub fn fixed_step(mut self) -> Self {
        self.search = false;
        self
    }

    /// Iterations so far.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Evaluations of the closure so far.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// One step: up to [`Lbfgs::max_iterations`] iterations. `loss` returns the gradients of the model that it is shown,
    /// with the loss in them. Side outputs (running statistics) of the first evaluation are applied.
    ///
    /// When the trainable parameters are others than at the last step, the memory begins anew.
    ///
    /// # Panics
    /// When a gradient has another shape than its parameter.
    pub fn step<M: Module<T>>(
        &mut self,
        model: &mut M,
        mut loss: impl FnMut(&M) -> Gradients<T>,
    ) -> LbfgsReport {
        let places = places(model);
        if places != self.places {
            self.forget();
            self.places = places;
        }
        let size = self.places.last().map_or(0, |p| p.offset + count(&p.shape));
        let max_evaluations = self
            .max_evaluations
            .unwrap_or(self.max_iterations * 5 / 4)
            .max(1);
        let grads = loss(model);
        apply_side_outputs(model, &grads);
        let (first, mut g) = (grads.loss().as_f64(), flat_gradient(model, &grads, size));
        drop(grads);
        let mut f = first;
        self.evaluations += 1;
        let mut report = LbfgsReport {
            loss: first,
            loss_after: first,
            iterations: 0,
            evaluations: 1,
            stop: Stop::Gradient,
        };
        if !f.is_finite() || !g.iter().all(|x| x.is_finite()) {
            report.stop = Stop::NonFinite;
            return report;
        }
        if max_abs(&g) <= self.tolerance_grad {
            return report;
        }
        let mut x = vec![T::ZERO; size];
        loop {
            report.iterations += 1;
            self.iterations += 1;
            self.find_direction(&g);
            self.previous.clone_from(&g);
            let before = f;
            let t = if self.iterations == 1 {
                let sum: f64 = g.iter().map(|x| x.as_f64().abs()).sum();
                (1.0 / sum).min(1.0) * self.lr
            } else {
                self.lr
            };
            self.step = t;
            let slope = dot(&g, &self.direction);
            if slope > -self.tolerance_change {
                report.stop = Stop::Change;
                break;
            }
            read_values(model, &mut x);
            let direction = std::mem::take(&mut self.direction);
            let last = report.iterations == self.max_iterations;
            if self.search {
                let limit = max_evaluations.saturating_sub(report.evaluations);
                let start = Trial {
                    t: 0.0,
                    f,
                    slope,
                    g,
                };
                let mut evaluate = |t: f64| {
                    write_values(model, &x, &direction, t);
                    let grads = loss(model);
                    let g = flat_gradient(model, &grads, size);
                    let f = grads.loss().as_f64();
                    let slope = dot(&g, &direction);
                    Trial { t, f, slope, g }
                };
                let scale = max_abs(&direction);
                let change = self.tolerance_change;
                let (found, n) = strong_wolfe(&mut evaluate, start, t, scale, change, limit);
                write_values(model, &x, &direction, found.t);
                (f, g, self.step) = (found.f, found.g, found.t);
                report.evaluations += n;
                self.evaluations += n as u64;
            } else {
                write_values(model, &x, &direction, t);
                if !last {
                    let grads = loss(model);
                    g = flat_gradient(model, &grads, size);
                    f = grads.loss().as_f64();
                    report.evaluations += 1;
                    self.evaluations += 1;
                }
            }
            self.direction = direction;
            report.loss_after = f;
            let moved = max_abs(&self.direction) * self.step.abs();
            if last || report.evaluations >= max_evaluations {
                report.stop = Stop::Budget;
                break;
            }
            if max_abs(&g) <= self.tolerance_grad {
                report.stop = Stop::Gradient;
                break;
            }
            if moved <= self.tolerance_change || (f - before).abs() < self.tolerance_change {
                report.stop = Stop::Change;
                break;
            }
        }
        report
    }

    /// `d = -H g`: steepest descent at first, then the two-loop recursion.
    fn find_direction(&mut self, g: &[T]) {
        if self.iterations == 1 || self.previous.len() != g.len() {
            self.pairs.clear();
            self.curvature = 1.0;
            self.direction = g.iter().map(|&x| -x).collect();
            return;
        }
        let t = T::from_f64(self.step);
        let y: Vec<T> = g.iter().zip(&self.previous).map(|(a, b)| *a - *b).collect();
        let s: Vec<T> = self.direction.iter().map(|&d| d * t).collect();
        let ys = dot(&y, &s);
        // A pair of no or negative curvature would spoil the definiteness of H.
        if ys > 1e-10 {
            if self.pairs.len() == self.history {
                self.pairs.pop_front();
            }
            self.curvature = ys / dot(&y, &y);
            self.pairs.push_back(Pair {
                s,
                y,
                rho: 1.0 / ys,
            });
        }
        let blend = hub::blend::<T>();
        let mut q: Vec<T> = g.iter().map(|&x| -x).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for p in self.pairs.iter().rev() {
            let alpha = dot(&p.s, &q) * p.rho;
            blend(&mut q, &p.y, 1.0, -alpha);
            alphas.push(alpha);
        }
        let scale = T::from_f64(self.curvature);
        q.iter_mut().for_each(|x| *x *= scale);
        for (p, alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = dot(&p.y, &q) * p.rho;
            blend(&mut q, &p.s, 1.0, alpha - beta);
        }
        self.direction = q;
    }

    fn forget(&mut self) {
        self.pairs.clear();
        self.direction.clear();
        self.previous.clear();
        self.iterations = 0;
        self.curvature = 1.0;
    }

    /// The memory and the counters.
    pub fn state(&self) -> OptimizerState {
        let mut state = OptimizerState::new("lbfgs");
        state.scalars = scalars(&[
            ("iterations", StateScalar::Count(self.iterations)),
            ("evaluations", StateScalar::Count(self.evaluations)),
            ("step", StateScalar::Number(self.step)),
            ("curvature", StateScalar::Number(self.curvature)),
            ("pairs", StateScalar::Count(self.pairs.len() as u64)),
        ]);
        for (i, p) in self.pairs.iter().enumerate() {
            let rho = StateScalar::Number(p.rho);
            state.scalars.insert(format!("rho{i}"), rho);
        }
        if self.iterations == 0 {
            return state;
        }
        for place in &self.places {
            let range = place.offset..place.offset + count(&place.shape);
            let part = |v: &[T]| StateTensor::of(&v[range.clone()], &place.shape);
            let param = state.params.or_default(&place.path);
            let mut put = |name: String, v: &[T]| param.tensors.insert(name, part(v));
            put("direction".to_string(), &self.direction);
            put("previous".to_string(), &self.previous);
            for (i, p) in self.pairs.iter().enumerate() {
                put(format!("s{i}"), &p.s);
                put(format!("y{i}"), &p.y);
            }
        }
        state
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it does not fit the model or this configuration; all reasons are listed and nothing is changed.
    pub fn load_state<M: Module<T>>(&mut self, model: &M, state: &OptimizerState) -> Result<()> {
        let mut check = Checker::default();
        check.kind(state, "lbfgs");
        check.no_parts(state);
        let what = "the state";
        let pairs = check.count(what, &state.scalars, "pairs");
        if pairs > self.history as u64 {
            check.problem(format!(
                "the state: holds {pairs} pairs, the history is {}",
                self.history
            ));
        }
        // A number from outside: no more than the entries that there are.
        let pairs = (pairs.min(self.history as u64) as usize).min(state.scalars.len());
        let rhos: Vec<String> = (0..pairs).map(|i| format!("rho{i}")).collect();
        let mut names = vec!["iterations", "evaluations", "step", "curvature", "pairs"];
        names.extend(rhos.iter().map(String::as_str));
        check.names(what, state.scalars.keys(), &names);
        let iterations = check.count(what, &state.scalars, "iterations");
        let evaluations = check.count(what, &state.scalars, "evaluations");
        let step = check.number(what, &state.scalars, "step");
        let curvature = check.number(what, &state.scalars, "curvature");
        let places = places(model);
        let size = places.last().map_or(0, |p| p.offset + count(&p.shape));
        let mut vectors = vec![vec![T::ZERO; size]; 2 + 2 * pairs];
        let mut tensors = vec!["direction".to_string(), "previous".to_string()];
        for i in 0..pairs {
            tensors.extend([format!("s{i}"), format!("y{i}")]);
        }
        let tensor_names: Vec<&str> = tensors.iter().map(String::as_str).collect();
        for path in state.params.keys() {
            if !places.iter().any(|p| p.path == *path) {
                check.problem(format!("`{path}`: the model has no such parameter"));
            }
        }
        for place in places.iter().filter(|_| iterations > 0) {
            let Some(param) = state.params.get(&place.path) else {
                let path = &place.path;
                check.problem(format!("`{path}`: the state has no such parameter"));
                continue;
            };
            let what = format!("`{}`", place.path);
            check.names(&what, param.tensors.keys(), &tensor_names);
            check.names(&what, param.scalars.keys(), &[]);
            for (name, v) in tensor_names.iter().zip(&mut vectors) {
                if let Some(t) = check.tensor(&place.path, &param.tensors, name, &place.shape) {
                    t.copy_into(&mut v[place.offset..place.offset + count(&place.shape)]);
                }
            }
        }
        let rho: Vec<f64> = rhos
            .iter()
            .map(|r| check.number(what, &state.scalars, r))
            .collect();
        check.finish()?;
        self.places = places;
        self.forget();
        self.iterations = iterations;
        self.evaluations = evaluations;
        self.step = step;
        self.curvature = curvature;
        if iterations > 0 {
            let mut vectors = vectors.into_iter();
            let mut next = || vectors.next().unwrap_or_default();
            self.direction = next();
            self.previous = next();
            for rho in rho {
                let (s, y) = (next(), next());
                self.pairs.push_back(Pair { s, y, rho });
            }
        }
        Ok(())
    }
}

#[track_caller]
fn at_least_one(name: &str, n: usize) -> usize {
    if n == 0 {
        or_panic::<()>(Err(Error::Hyperparameter {
            owner: "lbfgs",
            name: name.to_string(),
            expected: "at least 1".to_string(),
            value: 0.0,
        }));
    }
    n
}
