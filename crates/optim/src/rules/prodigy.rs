//! Prodigy: Adam that finds its own learning rate.

use crate::power::power;
use crate::rule::{
    Coefs, Init, Measure, Pass, Plan, Range, Rule, Scalar, Scope, Slot, Slots, Sums, Update, betas,
    coefs, optimizer, precisions,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Adam with an estimate `d` of the distance to the solution as learning rate (Mishchenko and Defazio 2023,
    /// algorithm 4; optax's `prodigy`).
    ///
    /// ```text
    /// γ = lr · d · √(1 - β₂ᵏ) / (1 - β₁ᵏ)              k counts the steps of the optimizer
    /// m ← β₁ m + (1 - β₁) d g;   v ← β₂ v + (1 - β₂) d² g²
    /// s ← β₃ s + γ d / d₀ · g                          (γ replaced by d with a guarded warm-up)
    /// r ← β₃ r + γ d / d₀ · ⟨g, p₀ - p⟩
    /// d ← max(d, κ r / ‖s‖₁)
    /// p ← p - γ (m / (√v + d ε) + λ p)
    /// ```
    /// The sums run over all parameters of the model. The learning rate is a factor, to be left at 1 or given a
    /// schedule that falls. Defaults are optax's; β₃ = √β₂ unless set.
    Prodigy: ProdigyRule = "prodigy";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// Decay rate of the estimate; a negative value stands for `√β₂`.
        beta3 = -1.0, Range::new(-1.0, false, 1.0, true);
        /// What is added to the root, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// First estimate `d₀ > 0`.
        d0 = 1e-6, Range::POSITIVE;
        /// Coefficient `κ > 0` of the estimate.
        d_coef = 1.0, Range::POSITIVE;
    }
    variants {
        /// Keeps a warm-up of the learning rate out of the denominator of the estimate.
        safeguard_warmup;
    }
}

betas!(ProdigyRule);

// Globals: estimate, estimate before this step, weighted numerator, steps.
const D: usize = 0;
const D_BEFORE: usize = 1;
const NUMERATOR: usize = 2;
const STEPS: usize = 3;

impl ProdigyRule {
    fn beta3_now(&self) -> f64 {
        if self.beta3 < 0.0 {
            self.beta2.sqrt()
        } else {
            self.beta3
        }
    }

    fn gamma(&self, d: f64, k: u64) -> f64 {
        self.lr * d * (1.0 - power(self.beta2, k)).sqrt() / (1.0 - power(self.beta1, k))
    }

    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [a, b, c, d, e, f, ..] = *x.coefs;
        if x.pass == 0 {
            x.gather(Estimate {
                beta1: a,
                beta2: b,
                beta3: c,
                d,
                from_g: e,
                gamma: f,
            })
        } else {
            x.sweep(Write {
                step: a,
                eps: b,
                keep: c,
            })
        }
    }
}

#[derive(Clone, Copy)]
struct Estimate {
    beta1: f64,
    beta2: f64,
    beta3: f64,
    d: f64,
    from_g: f64,
    gamma: f64,
}

impl Measure<4, 2> for Estimate {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v, s, p0]: [L; 4]) -> (L, [L; 4], [L; 2]) {
        let dg = g * L::c(self.d);
        let m = m.mul_add(L::c(self.beta1), dg * L::c(1.0 - self.beta1));
        let v = v.mul_add(L::c(self.beta2), dg * dg * L::c(1.0 - self.beta2));
        let s = s.mul_add(L::c(self.beta3), g * L::c(self.from_g));
        let toward = g * (p0 - p) * L::c(self.gamma);
        (p, [m, v, s, p0], [toward, s.abs()])
    }
}

#[derive(Clone, Copy)]
struct Write {
    step: f64,
    eps: f64,
    keep: f64,
}

impl Update<4> for Write {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, _g: L, [m, v, s, p0]: [L; 4]) -> (L, [L; 4]) {
        let u = m / (v.sqrt() + L::c(self.eps));
        (
            u.mul_add(L::c(self.step), p * L::c(self.keep)),
            [m, v, s, p0],
        )
    }
}

impl Rule for ProdigyRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        Slots::from_iter([
            Slot::zeros("exp_avg"),
            Slot::zeros("exp_avg_sq"),
            Slot::zeros("grad_sum"),
            Slot::new("p0", Init::Parameter),
        ])
    }

    fn globals(&self) -> &'static [Scalar] {
        // An estimate of 0 stands for d₀, which is a hyperparameter.
        &[
            ("d", 0.0),
            ("d_before", 0.0),
            ("numerator", 0.0),
            ("steps", 0.0),
        ]
    }

    fn scope(&self, _shape: &[usize]) -> Scope {
        Scope::Model
    }

    fn passes(&self) -> usize {
        2
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let now = |d: f64| if d == 0.0 { self.d0 } else { d };
        if x.pass == 0 {
            let d = now(x.globals[D]);
            let gamma = self.gamma(d, x.globals[STEPS] as u64 + 1);
            let rate = if self.safeguard_warmup { d } else { gamma };
            let from_g = rate * d / self.d0;
            coefs([self.beta1, self.beta2, self.beta3_now(), d, from_g, gamma])
        } else {
            let gamma = self.gamma(now(x.globals[D_BEFORE]), x.globals[STEPS] as u64);
            coefs([
                -gamma,
                now(x.globals[D]) * self.eps,
                1.0 - gamma * self.weight_decay,
            ])
        }
    }

    fn reduce(&self, pass: usize, sums: &Sums, globals: &mut [f64]) {
        if pass > 0 {
            return;
        }
        let d = if globals[D] == 0.0 {
            self.d0
        } else {
            globals[D]
        };
        globals[NUMERATOR] = self.beta3_now() * globals[NUMERATOR] + d / self.d0 * sums[0];
        globals[D_BEFORE] = d;
        globals[D] = if sums[1] > 0.0 {
            d.max(self.d_coef * globals[NUMERATOR] / sums[1])
        } else {
            d
        };
        globals[STEPS] += 1.0;
    }
}
