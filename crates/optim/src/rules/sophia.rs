//! Sophia: clipped steps scaled by an estimate of the curvature.

use crate::error::{Result, or_panic};
use crate::hub;
use crate::optimizer::Optimizer;
use crate::power::power;
use crate::rule::{
    Coefs, Pass, Plan, Range, Rule, Slots, Sums, Update, betas, coefs, optimizer, precisions, zeros,
};
use wengert_autograd::{Gradients, Module, Path, Visitor};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Sophia (Liu et al. 2023, algorithm 3; optax's `sophia`).
    ///
    /// ```text
    /// m ← β₁ m + (1 - β₁) g
    /// p ← p - lr (clip(m / (1 - β₁ᵗ) / max(γ h, ε), ρ) + λ p)
    /// h ← β₂ h + (1 - β₂) ĥ                when told an estimate ĥ of the diagonal of the Hessian
    /// ```
    /// Every ten steps or so tell it the curvature: [`Sophia::observe_hessian`] takes an estimate such as `u ⊙ H u`
    /// with random signs `u` (Hutchinson), [`Sophia::observe_gauss_newton`] takes gradients of the loss at labels that
    /// were sampled from the model (Gauss-Newton-Bartlett). Until then every element moves by `lr · ρ`, by sign.
    ///
    /// Defaults are optax's; ρ is the clipping threshold.
    Sophia: SophiaRule = "sophia";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.965, Range::DECAY;
        /// Decay rate of the curvature, in `[0, 1)`.
        beta2 = 0.99, Range::DECAY;
        /// Smallest denominator, `> 0`.
        eps = 1e-8, Range::POSITIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 1e-4, Range::NON_NEGATIVE;
        /// Factor `γ >= 0` on the curvature.
        gamma = 0.01, Range::NON_NEGATIVE;
        /// Clipping threshold `ρ > 0`.
        clip = 1.0, Range::POSITIVE;
    }
}

betas!(SophiaRule);

impl<T: Real> Optimizer<SophiaRule, T> {
    /// Folds an estimate `ĥ` of the diagonal of the Hessian into the curvature, `h ← β₂ h + (1 - β₂) ĥ`.
    ///
    /// `estimate` holds one tensor per parameter, where gradients hold theirs.
    ///
    /// # Panics
    /// Where [`Sophia::try_observe_hessian`] errs.
    #[track_caller]
    pub fn observe_hessian<M: Module<T> + ?Sized>(&mut self, model: &M, estimate: &Gradients<T>) {
        or_panic(self.try_observe_hessian(model, estimate));
    }

    /// As [`Sophia::observe_hessian`].
    ///
    /// # Errors
    /// When a tensor has another shape than its parameter, or the model shows a parameter twice.
    pub fn try_observe_hessian<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        estimate: &Gradients<T>,
    ) -> Result<()> {
        self.fold(model, estimate, |x| x)
    }

    /// Folds in the Gauss-Newton-Bartlett estimate `ĥ = B g²`, where `g` is the gradient of the mean loss over a batch
    /// of `batch` examples whose labels were sampled from the model's own predictions.
    ///
    /// # Panics
    /// Where [`Sophia::try_observe_hessian`] errs.
    #[track_caller]
    pub fn observe_gauss_newton<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        grads: &Gradients<T>,
        batch: usize,
    ) {
        or_panic(self.fold(model, grads, |x| batch as f64 * x * x));
    }

    fn fold<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        estimate: &Gradients<T>,
        f: impl Fn(f64) -> f64,
    ) -> Result<()> {
        let show = |v: &mut dyn Visitor<T>| model.visit(&mut Path::new(), v);
        let into = |beta: f64, h: f64, x: f64| beta * h + (1.0 - beta) * f(x);
        (hub::fold::<T>())(&mut self.engine, &show, estimate, 1, "beta2", &into)
    }
}

#[derive(Clone, Copy)]
struct Clipped {
    beta1: f64,
    correct: f64,
    gamma: f64,
    eps: f64,
    clip: f64,
    keep: f64,
    lr: f64,
}

impl Update<2> for Clipped {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, h]: [L; 2]) -> (L, [L; 2]) {
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let u = m * L::c(self.correct) / (h * L::c(self.gamma)).max(L::c(self.eps));
        let u = u.max(L::c(-self.clip)).min(L::c(self.clip));
        (u.mul_add(L::c(-self.lr), p * L::c(self.keep)), [m, h])
    }
}

impl SophiaRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, correct, gamma, eps, clip, keep, lr, ..] = *x.coefs;
        x.sweep(Clipped {
            beta1,
            correct,
            gamma,
            eps,
            clip,
            keep,
            lr,
        })
    }
}

impl Rule for SophiaRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "hessian"])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        coefs([
            self.beta1,
            1.0 / (1.0 - power(self.beta1, x.t)),
            self.gamma,
            self.eps,
            self.clip,
            1.0 - self.lr * self.weight_decay,
            self.lr,
        ])
    }
}
