//! Sharpness-aware minimization.

use crate::error::{Result, or_panic};
use crate::optimizer::{Optimize, StepReport};
use crate::rule::Range;
use crate::snapshot::Snapshot;
use crate::state::OptimizerState;
use crate::transform::ClipExt;
use wengert_autograd::{Gradients, Module, Param, Path, VisitorMut};
use wengert_tensor::Real;

/// Sharpness-aware minimization (Foret et al. 2021, algorithm 1): the step uses the gradient at the worst point nearby,
/// `w + ρ g / ‖g‖`, found by one step of ascent.
///
/// With [`Sam::adaptive`] the neighbourhood is scaled by the weights (ASAM: Kwon et al. 2021, equation 9):
/// `w + ρ w² g / ‖w g‖`. Each step takes two backward passes; the loss and the side outputs (running statistics) are
/// those of the first.
///
/// ```
/// use wengert_autograd::{Gradients, Param};
/// use wengert_optim::{Sgd, wrappers::Sam};
/// use wengert_tensor::Tensor;
///
/// let mut w = Param::new(Tensor::<f32>::full([1], 2.0));
/// let mut sam = Sam::new(Sgd::new(0.1), 0.05);
/// // The gradient of w² / 2 is w.
/// sam.step(&mut w, |w| Gradients::from_parts(0.0, vec![(w.id(), w.value().copy())], vec![]));
/// assert!((w.value().item() - (2.0 - 0.1 * 2.05)).abs() < 1e-6);
/// ```
pub struct Sam<O, T: Real = f32> {
    inner: O,
    rho: f64,
    adaptive: bool,
    aside: Snapshot<T>,
}

impl<T: Real, O: Optimize<T>> Sam<O, T> {
    /// Around `inner`, with radius `ρ >= 0`; 0.05 is usual (0.5 with [`Sam::adaptive`]).
    ///
    /// # Panics
    /// When `rho` is negative or not finite.
    #[track_caller]
    pub fn new(inner: O, rho: f64) -> Self {
        or_panic(Self::try_new(inner, rho))
    }

    /// As [`Sam::new`].
    ///
    /// # Errors
    /// When `rho` is negative or not finite.
    pub fn try_new(inner: O, rho: f64) -> Result<Self> {
        Ok(Sam {
            inner,
            rho: Range::NON_NEGATIVE.check("Sam", "rho", rho)?,
            adaptive: false,
            aside: Snapshot::new(false),
        })
    }

    /// Scales the neighbourhood by the weights.
    pub fn adaptive(mut self) -> Self {
        self.adaptive = true;
        self
    }

    /// The inner optimizer.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// The inner optimizer, to be changed.
    pub fn inner_mut(&mut self) -> &mut O {
        &mut self.inner
    }

    /// One step; `backward` is called twice.
    ///
    /// # Panics
    /// Where [`Sam::try_step_with`] errs.
    #[track_caller]
    pub fn step<M: Module<T>>(
        &mut self,
        model: &mut M,
        backward: impl FnMut(&M) -> Gradients<T>,
    ) -> StepReport {
        or_panic(self.try_step_with(model, backward))
    }

    /// One step; `backward` is called twice. The weights are exactly the old ones before the inner step.
    ///
    /// # Errors
    /// Where the inner optimizer's `try_step` errs.
    pub fn try_step_with<M: Module<T>>(
        &mut self,
        model: &mut M,
        mut backward: impl FnMut(&M) -> Gradients<T>,
    ) -> Result<StepReport> {
        let first = backward(model);
        self.ascend(model, &first);
        let second = backward(model);
        self.descend(model, &first, second)
    }

    /// The first half of a step: moves the weights to the worst point nearby. A gradient that is not finite moves
    /// nothing.
    pub fn ascend<M: Module<T> + ?Sized>(&mut self, model: &mut M, grads: &Gradients<T>) {
        struct Norm<'a, T: Real>(&'a Gradients<T>, f64);
        impl<T: Real> wengert_autograd::Visitor<T> for Norm<'_, T> {
            fn param(&mut self, _path: &str, param: &Param<T>) {
                if let Some(g) = self.0.get(param).filter(|_| param.is_trainable()) {
                    let pairs = param.value().iter().zip(g.iter());
                    self.1 += pairs.map(|(w, g)| (w * g).as_f64().powi(2)).sum::<f64>();
                }
            }
        }
        struct Ascend<'a, T: Real> {
            grads: &'a Gradients<T>,
            scale: f64,
            adaptive: bool,
        }
        impl<T: Real> VisitorMut<T> for Ascend<'_, T> {
            fn param(&mut self, _path: &str, param: &mut Param<T>) {
                let Some(g) = self
                    .grads
                    .by_id(param.id())
                    .filter(|_| param.is_trainable())
                else {
                    return;
                };
                let scale = T::from_f64(self.scale);
                let adaptive = self.adaptive;
                let values = param.value_mut().as_mut_slice();
                for (w, g) in values.iter_mut().zip(g.iter()) {
                    let g = if adaptive { *w * *w * g } else { g };
                    *w += scale * g;
                }
            }
        }
        self.aside.copy(&*model);
        let norm = if self.adaptive {
            let mut norm = Norm(grads, 0.0);
            model.visit(&mut Path::new(), &mut norm);
            norm.1.sqrt()
        } else {
            grads.global_norm()
        };
        if norm.is_finite() {
            let mut ascend = Ascend {
                grads,
                // The authors' guard against a gradient of zero.
                scale: self.rho / (norm + 1e-12),
                adaptive: self.adaptive,
            };
            model.visit_mut(&mut Path::new(), &mut ascend);
        }
    }

    /// Puts the weights back where [`Sam::ascend`] found them, without a step.
    pub fn retreat<M: Module<T> + ?Sized>(&mut self, model: &mut M) {
        self.aside.restore(model);
    }

    /// The second half: puts the weights back and steps with the gradients found at the worst point.
    ///
    /// # Errors
    /// Where the inner optimizer's `try_step` errs.
    pub fn descend<M: Module<T>>(
        &mut self,
        model: &mut M,
        first: &Gradients<T>,
        second: Gradients<T>,
    ) -> Result<StepReport> {
        self.aside.restore(model);
        let known: Vec<bool> = (0..second.len()).map(|i| second.known_finite(i)).collect();
        let (_, entries, _) = second.into_parts();
        let side = first.side_outputs().map(|(id, v)| (id, v.clone()));
        let mut grads = Gradients::from_parts(first.loss(), entries, side.collect());
        let mut known = known.into_iter();
        grads.change(|_, _, _| known.next() == Some(true));
        self.inner.try_step(model, &grads)
    }

    /// The inner optimizer's state; SAM carries nothing from step to step.
    pub fn state(&self) -> OptimizerState {
        self.inner.state()
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// Where the inner optimizer's `load_state` errs.
    pub fn load_state<M: Module<T>>(&mut self, model: &M, state: &OptimizerState) -> Result<()> {
        self.inner.load_state(model, state)
    }
}
