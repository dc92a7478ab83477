//! Other second moments: AdaBelief, Yogi, Adan.

use crate::rule::{
    Coefs, Init, Pass, Plan, Range, Rule, Slot, Slots, Sums, Update, betas, coefs, optimizer,
    precisions, sign, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// AdaBelief: the step is scaled by the belief in the gradient (Zhuang et al. 2020, algorithm 2; optax's
    /// `adabelief`).
    ///
    /// ```text
    /// m ← β₁ m + (1 - β₁) g
    /// s ← β₂ s + (1 - β₂) (g - m)² + ε₀
    /// p ← p - lr (m / (1 - β₁ᵗ) / (√(s / (1 - β₂ᵗ)) + ε) + λ p)
    /// ```
    /// Defaults are optax's; weight decay (decoupled) is an addition, 0 by default.
    AdaBelief: AdaBeliefRule = "adabelief";
    hypers {
        /// Decay rate of the mean, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the squared surprise, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root, `>= 0`.
        eps = 1e-16, Range::NON_NEGATIVE;
        /// What is added to the squared surprise at every step, `>= 0`.
        eps_root = 1e-16, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

optimizer! {
    /// Yogi: the second moment changes additively (Zaheer et al. 2018, algorithm 2; optax's `yogi`).
    ///
    /// ```text
    /// m ← β₁ m + (1 - β₁) g
    /// v ← v - (1 - β₂) sign(v - g²) g²
    /// p ← p - lr (m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + ε) + λ p)
    /// ```
    /// `m` and `v` begin at `initial_accumulator`. Defaults are optax's; weight decay (decoupled) is an addition,
    /// 0 by default.
    Yogi: YogiRule = "yogi";
    hypers {
        /// Decay rate of the mean, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root, `>= 0`.
        eps = 1e-3, Range::NON_NEGATIVE;
        /// First value of both moments, `>= 0`.
        initial_accumulator = 1e-6, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

optimizer! {
    /// Adan: Nesterov momentum through differences of gradients (Xie et al. 2022, algorithm 1; optax's `adan`).
    ///
    /// ```text
    /// d = g - g₋₁                        0 at first
    /// m ← β₁ m + (1 - β₁) g
    /// v ← β₂ v + (1 - β₂) d
    /// n ← β₃ n + (1 - β₃) (g + (1 - β₂) d)²
    /// p ← p - lr ((m̂ + (1 - β₂) v̂) / (√(n̂ + ε₀) + ε) + λ p)         x̂ = x / (1 - βᵗ)
    /// ```
    /// Defaults are optax's. The paper writes `1 - β` for what is `β` here and divides by `1 + lr λ` for the decay.
    Adan: AdanRule = "adan";
    hypers {
        /// Decay rate of the mean gradient, in `[0, 1)`.
        beta1 = 0.98, Range::DECAY;
        /// Decay rate of the mean difference, in `[0, 1)`.
        beta2 = 0.92, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta3 = 0.99, Range::DECAY;
        /// What is added to the root, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// What is added under the root, `>= 0`.
        eps_root = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

betas!(AdaBeliefRule YogiRule);

#[derive(Clone, Copy)]
struct Belief {
    beta1: f64,
    beta2: f64,
    eps: f64,
    eps_root: f64,
    keep: f64,
    step: f64,
    root: f64,
}

impl Update<2> for Belief {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, s]: [L; 2]) -> (L, [L; 2]) {
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let e = g - m;
        let s = s.mul_add(L::c(self.beta2), e * e * L::c(1.0 - self.beta2)) + L::c(self.eps_root);
        let u = m / s.sqrt().mul_add(L::c(self.root), L::c(self.eps));
        (u.mul_add(L::c(self.step), p * L::c(self.keep)), [m, s])
    }
}

impl AdaBeliefRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, beta2, eps, eps_root, keep, step, root, ..] = *x.coefs;
        x.sweep(Belief {
            beta1,
            beta2,
            eps,
            eps_root,
            keep,
            step,
            root,
        })
    }
}

impl Rule for AdaBeliefRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "exp_avg_var"])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let t = x.t as f64;
        coefs([
            self.beta1,
            self.beta2,
            self.eps,
            self.eps_root,
            1.0 - self.lr * self.weight_decay,
            -self.lr / (1.0 - self.beta1.powf(t)),
            1.0 / (1.0 - self.beta2.powf(t)).sqrt(),
        ])
    }
}

#[derive(Clone, Copy)]
struct Additive {
    beta1: f64,
    rate: f64,
    eps: f64,
    keep: f64,
    step: f64,
    root: f64,
}

impl Update<2> for Additive {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let g2 = g * g;
        let v = v - sign(v - g2) * g2 * L::c(self.rate);
        let u = m / v.sqrt().mul_add(L::c(self.root), L::c(self.eps));
        (u.mul_add(L::c(self.step), p * L::c(self.keep)), [m, v])
    }
}

impl YogiRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, rate, eps, keep, step, root, ..] = *x.coefs;
        x.sweep(Additive {
            beta1,
            rate,
            eps,
            keep,
            step,
            root,
        })
    }
}

impl Rule for YogiRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        let first = Init::Value(self.initial_accumulator);
        Slots::from_iter([Slot::new("exp_avg", first), Slot::new("exp_avg_sq", first)])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let t = x.t as f64;
        coefs([
            self.beta1,
            1.0 - self.beta2,
            self.eps,
            1.0 - self.lr * self.weight_decay,
            -self.lr / (1.0 - self.beta1.powf(t)),
            1.0 / (1.0 - self.beta2.powf(t)).sqrt(),
        ])
    }
}

#[derive(Clone, Copy)]
struct Differences {
    beta: [f64; 3],
    eps: f64,
    eps_root: f64,
    keep: f64,
    /// 0 at the first step, where there is no gradient before, else 1.
    known: f64,
    from_m: f64,
    from_v: f64,
    /// One over the correction of the second moment.
    correct: f64,
}

impl Update<4> for Differences {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v, n, before]: [L; 4]) -> (L, [L; 4]) {
        let [b1, b2, b3] = self.beta;
        let d = (g - before) * L::c(self.known);
        let m = m.mul_add(L::c(b1), g * L::c(1.0 - b1));
        let v = v.mul_add(L::c(b2), d * L::c(1.0 - b2));
        let e = d.mul_add(L::c(1.0 - b2), g);
        let n = n.mul_add(L::c(b3), e * e * L::c(1.0 - b3));
        let u = m.mul_add(L::c(self.from_m), v * L::c(self.from_v));
        let root = n.mul_add(L::c(self.correct), L::c(self.eps_root)).sqrt();
        let p = p.mul_add(L::c(self.keep), u / (root + L::c(self.eps)));
        (p, [m, v, n, g])
    }
}

impl AdanRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [
            b1,
            b2,
            b3,
            eps,
            eps_root,
            keep,
            known,
            from_m,
            from_v,
            correct,
            ..,
        ] = *x.coefs;
        x.sweep(Differences {
            beta: [b1, b2, b3],
            eps,
            eps_root,
            keep,
            known,
            from_m,
            from_v,
            correct,
        })
    }
}

impl Rule for AdanRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "exp_avg_diff", "exp_avg_sq", "grad_before"])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let t = x.t as f64;
        let known = if x.t == 1 { 0.0 } else { 1.0 };
        coefs([
            self.beta1,
            self.beta2,
            self.beta3,
            self.eps,
            self.eps_root,
            1.0 - self.lr * self.weight_decay,
            known,
            -self.lr / (1.0 - self.beta1.powf(t)),
            -self.lr * (1.0 - self.beta2) / (1.0 - self.beta2.powf(t)),
            1.0 / (1.0 - self.beta3.powf(t)),
        ])
    }
}
