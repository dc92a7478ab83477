//! Rules that average the weights on the way: ASGD and the schedule-free family.

use super::adam::decay;
use crate::hub;
use crate::optimizer::Optimizer;
use crate::rule::{
    Coefs, Init, Pass, Plan, Range, Rule, Scalar, Slot, Slots, Sums, Update, coefs, optimizer,
    precisions, zeros,
};
use wengert_autograd::Module;
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Averaged gradient descent (Polyak and Juditsky 1992; PyTorch's `ASGD`).
    ///
    /// ```text
    /// g ← g + wd p
    /// p ← p (1 - λ η) - η g
    /// ā ← ā + μ (p - ā)
    /// η ← lr / (1 + λ lr t)^α;   μ ← 1 / max(1, t - t₀)
    /// ```
    /// from `η = lr`, `μ = 1`. [`Asgd::averaged`] gives the model with the weights `ā`. Defaults are PyTorch's (whose
    /// default learning rate is 1e-2).
    Asgd: AsgdRule = "asgd";
    hypers {
        /// Decay term `λ >= 0`.
        lambd = 1e-4, Range::NON_NEGATIVE;
        /// Power `α` of the decay of the step.
        alpha = 0.75, Range::FINITE;
        /// Step `t₀ >= 0` at which averaging begins.
        t0 = 1e6, Range::NON_NEGATIVE;
        /// Weight decay `wd >= 0`, added to the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

optimizer! {
    /// Schedule-free gradient descent (Defazio et al. 2024, algorithm 1; optax's `schedule_free_sgd`).
    ///
    /// The model holds `y`, where gradients are taken; `z` is the fast sequence, `x` the average:
    /// ```text
    /// x = (y - (1 - β) z) / β
    /// z ← z - lr (g + λ y)
    /// c = w / Σ w,   w = (largest lr so far)^r
    /// x ← (1 - c) x + c z
    /// y ← β x + (1 - β) z
    /// ```
    /// [`ScheduleFreeSgd::averaged`] gives the model with the weights `x`, for evaluation. Needs no decay of the
    /// learning rate; a warm-up is a schedule. Defaults are optax's (whose default learning rate is 1).
    ScheduleFreeSgd: ScheduleFreeSgdRule = "schedule_free_sgd";
    hypers {
        /// Interpolation `β`, in `(0, 1]`.
        beta = 0.9, Range::new(0.0, true, 1.0, false);
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// Power `r >= 0` of the learning rate in the weights of the average.
        weight_lr_power = 2.0, Range::NON_NEGATIVE;
    }
}

optimizer! {
    /// Schedule-free AdamW (Defazio et al. 2024; optax's `schedule_free_adamw`): as [`ScheduleFreeSgd`] with
    ///
    /// ```text
    /// v ← β₂ v + (1 - β₂) g²
    /// z ← z - lr (g / (√(v / (1 - β₂ᵗ)) + ε) + λ y)
    /// ```
    /// Defaults are optax's (whose default learning rate is 2.5e-3).
    ScheduleFreeAdamW: ScheduleFreeAdamWRule = "schedule_free_adamw";
    hypers {
        /// Interpolation `β`, in `(0, 1]`.
        beta = 0.9, Range::new(0.0, true, 1.0, false);
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// Power `r >= 0` of the learning rate in the weights of the average.
        weight_lr_power = 2.0, Range::NON_NEGATIVE;
    }
}

impl<T: Real> Optimizer<AsgdRule, T> {
    /// A copy of the model with the averaged weights; parameters that were never updated are copied as they are.
    pub fn averaged<M: Module<T> + Clone>(&self, model: &M) -> M {
        let mut copy = model.clone();
        (hub::rewrite::<T>())(&self.engine, &mut copy, &|_, slots, _, out| {
            out.copy_from_slice(slots[0].data.as_slice());
        });
        copy
    }
}

macro_rules! averaged {
    ($($rule:ident)*) => {$(
        impl<T: Real> Optimizer<$rule, T> {
            /// A copy of the model with the averaged weights `x`, for evaluation.
            pub fn averaged<M: Module<T> + Clone>(&self, model: &M) -> M {
                let beta = self.hyper("beta").unwrap_or(1.0);
                let mut copy = model.clone();
                (hub::rewrite::<T>())(&self.engine, &mut copy, &|hypers, slots, y, out| {
                    let beta = hypers.iter().find(|h| h.0 == "beta").map_or(beta, |h| h.1);
                    for ((x, y), z) in out.iter_mut().zip(y).zip(slots[0].data.as_slice()) {
                        *x = T::from_f64((y.as_f64() - (1.0 - beta) * z.as_f64()) / beta);
                    }
                });
                copy
            }
        }
    )*};
}
averaged!(ScheduleFreeSgdRule ScheduleFreeAdamWRule);

#[derive(Clone, Copy)]
struct Averaged {
    l2: f64,
    keep: f64,
    eta: f64,
    mu: f64,
}

impl Update<1> for Averaged {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [a]: [L; 1]) -> (L, [L; 1]) {
        let g = p.mul_add(L::c(self.l2), g);
        let p = g.mul_add(L::c(-self.eta), p * L::c(self.keep));
        // With μ = 1 this is p to the last bit.
        let a = a.mul_add(L::c(1.0 - self.mu), p * L::c(self.mu));
        (p, [a])
    }
}

impl AsgdRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [l2, keep, eta, mu, ..] = *x.coefs;
        x.sweep(Averaged { l2, keep, eta, mu })
    }
}

impl Rule for AsgdRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["ax"])
    }

    fn scalars(&self) -> &'static [Scalar] {
        &[("eta", 0.0), ("mu", 1.0)]
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        if x.t == 1 {
            x.scalars[0] = self.lr;
        }
        let (eta, mu, t) = (x.scalars[0], x.scalars[1], x.t as f64);
        x.scalars[0] = self.lr / (1.0 + self.lambd * self.lr * t).powf(self.alpha);
        x.scalars[1] = 1.0 / (t - self.t0).max(1.0);
        let (_, keep) = decay(true, eta, self.lambd);
        coefs([self.weight_decay, keep, eta, mu])
    }
}

/// The interpolations of one step.
#[derive(Clone, Copy)]
struct Free {
    beta: f64,
    c: f64,
    lr: f64,
    decay: f64,
    beta2: f64,
    root: f64,
    eps: f64,
}

impl Free {
    #[inline(always)]
    fn interpolate<L: Lane>(&self, y: L, z: L, u: L) -> (L, L) {
        let (beta, rest) = (L::c(self.beta), L::c(1.0 - self.beta));
        let x = (y - rest * z) / beta;
        let z = z - L::c(self.lr) * y.mul_add(L::c(self.decay), u);
        let x = x.mul_add(L::c(1.0 - self.c), z * L::c(self.c));
        (x.mul_add(beta, z * rest), z)
    }
}

impl Update<1> for Free {
    #[inline(always)]
    fn step<L: Lane>(&self, y: L, g: L, [z]: [L; 1]) -> (L, [L; 1]) {
        let (y, z) = self.interpolate(y, z, g);
        (y, [z])
    }
}

impl Update<2> for Free {
    #[inline(always)]
    fn step<L: Lane>(&self, y: L, g: L, [z, v]: [L; 2]) -> (L, [L; 2]) {
        let v = v.mul_add(L::c(self.beta2), g * g * L::c(1.0 - self.beta2));
        let u = g / v.sqrt().mul_add(L::c(self.root), L::c(self.eps));
        let (y, z) = self.interpolate(y, z, u);
        (y, [z, v])
    }
}

impl Free {
    fn new(c: &Coefs) -> Self {
        let [beta, c, lr, decay, beta2, root, eps, ..] = *c;
        Free {
            beta,
            c,
            lr,
            decay,
            beta2,
            root,
            eps,
        }
    }
}

const FREE_SCALARS: &[Scalar] = &[("weight_sum", 0.0), ("lr_max", 0.0)];

/// The share of the new point in the average.
fn share(scalars: &mut [f64], lr: f64, power: f64) -> f64 {
    scalars[1] = scalars[1].max(lr);
    let weight = scalars[1].powf(power);
    scalars[0] += weight;
    if scalars[0] > 0.0 {
        weight / scalars[0]
    } else {
        0.0
    }
}

impl ScheduleFreeSgdRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let k = Free::new(x.coefs);
        x.sweep::<1, _>(k)
    }
}

impl Rule for ScheduleFreeSgdRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        Slots::from_iter([Slot::new("z", Init::Parameter)])
    }

    fn scalars(&self) -> &'static [Scalar] {
        FREE_SCALARS
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let c = share(x.scalars, self.lr, self.weight_lr_power);
        coefs([self.beta, c, self.lr, self.weight_decay])
    }
}

impl ScheduleFreeAdamWRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let k = Free::new(x.coefs);
        x.sweep::<2, _>(k)
    }
}

impl Rule for ScheduleFreeAdamWRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        Slots::from_iter([Slot::new("z", Init::Parameter), Slot::zeros("exp_avg_sq")])
    }

    fn scalars(&self) -> &'static [Scalar] {
        FREE_SCALARS
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let c = share(x.scalars, self.lr, self.weight_lr_power);
        let root = 1.0 / (1.0 - self.beta2.powf(x.t as f64)).sqrt();
        coefs([
            self.beta,
            c,
            self.lr,
            self.weight_decay,
            self.beta2,
            root,
            self.eps,
        ])
    }
}
