//! Steps scaled by norms of whole tensors: LAMB, LARS, NovoGrad.

use crate::power::power;
use crate::rule::{
    Coefs, Measure, Pass, Plan, Range, Rule, Scalar, Scope, Slots, Sums, Update, betas, coefs,
    optimizer, precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// LAMB: Adam with a trust ratio per tensor (You et al. 2020, algorithm 2; optax's `lamb`).
    ///
    /// ```text
    /// m, v as in Adam
    /// u = m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ) + ε₀) + ε) + λ p
    /// p ← p - lr ‖p‖ / ‖u‖ · u                        ratio 1 where a norm is 0
    /// ```
    /// Defaults are optax's.
    Lamb: LambRule = "lamb";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root, `>= 0`.
        eps = 1e-6, Range::NON_NEGATIVE;
        /// What is added under the root, `>= 0`.
        eps_root = 0.0, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
    variants {
        /// Trust ratio 1 for parameters of rank 0 and 1 (biases, gains), as is usual in practice.
        matrices_only;
    }
}

optimizer! {
    /// LARS: momentum with a trust ratio per tensor (You et al. 2017, algorithm 1; optax's `lars`).
    ///
    /// ```text
    /// d = g + λ p
    /// b ← μ b + lr · κ ‖p‖ / (‖d‖ + ε) · d            ratio 1 where a norm is 0
    /// p ← p - b                                       Nesterov: p - (μ b + lr · ratio · d)
    /// ```
    /// Defaults are optax's.
    Lars: LarsRule = "lars";
    hypers {
        /// Momentum `μ >= 0`.
        momentum = 0.9, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// Trust coefficient `κ > 0`.
        trust = 1e-3, Range::POSITIVE;
        /// What is added to the norm of the gradient, `>= 0`.
        eps = 0.0, Range::NON_NEGATIVE;
    }
    variants {
        /// Nesterov momentum.
        nesterov;
        /// Trust ratio 1 for parameters of rank 0 and 1 (biases, gains), as is usual in practice.
        matrices_only;
    }
}

optimizer! {
    /// NovoGrad: one second moment per tensor (Ginsburg et al. 2019, algorithm 1; optax's `novograd`).
    ///
    /// ```text
    /// ν ← ‖g‖² at first, then β₂ ν + (1 - β₂) ‖g‖²
    /// d = g / (√(ν + ε₀) + ε) + λ p
    /// m ← d at first, then β₁ m + d
    /// p ← p - lr m
    /// ```
    /// Defaults are optax's.
    NovoGrad: NovoGradRule = "novograd";
    hypers {
        /// Decay rate of the momentum, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.25, Range::DECAY;
        /// What is added to the root, `>= 0`.
        eps = 1e-6, Range::NON_NEGATIVE;
        /// What is added under the root, `>= 0`.
        eps_root = 0.0, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

betas!(LambRule NovoGradRule);

#[derive(Clone, Copy)]
struct Moments {
    beta1: f64,
    beta2: f64,
    eps: f64,
    eps_root: f64,
    decay: f64,
    /// One over the corrections.
    correct: [f64; 2],
    /// Learning rate times trust ratio, negative.
    step: f64,
}

impl Moments {
    #[inline(always)]
    fn update<L: Lane>(&self, p: L, m: L, v: L) -> L {
        let root = v.mul_add(L::c(self.correct[1]), L::c(self.eps_root)).sqrt();
        let u = m * L::c(self.correct[0]) / (root + L::c(self.eps));
        p.mul_add(L::c(self.decay), u)
    }
}

impl Measure<2, 2> for Moments {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2], [L; 2]) {
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let v = v.mul_add(L::c(self.beta2), g * g * L::c(1.0 - self.beta2));
        let u = self.update(p, m, v);
        (p, [m, v], [p * p, u * u])
    }
}

impl Update<2> for Moments {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, _g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let u = self.update(p, m, v);
        (u.mul_add(L::c(self.step), p), [m, v])
    }
}

/// `κ ‖p‖ / (‖u‖ + ε)`, and 1 where a norm is 0.
fn trust_ratio(sums: &Sums, trust: f64, eps: f64) -> f64 {
    let (p, u) = (sums[0].sqrt(), sums[1].sqrt());
    if p == 0.0 || u == 0.0 {
        1.0
    } else {
        trust * p / (u + eps)
    }
}

impl LambRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, beta2, eps, eps_root, decay, c1, c2, step, ..] = *x.coefs;
        let k = Moments {
            beta1,
            beta2,
            eps,
            eps_root,
            decay,
            correct: [c1, c2],
            step,
        };
        if x.pass == 0 { x.gather(k) } else { x.sweep(k) }
    }
}

impl Rule for LambRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "exp_avg_sq"])
    }

    fn scope(&self, _shape: &[usize]) -> Scope {
        Scope::Tensor
    }

    fn passes(&self) -> usize {
        2
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let adapt = x.shape.len() > 1 || !self.matrices_only;
        let ratio = if adapt {
            trust_ratio(x.sums, 1.0, 0.0)
        } else {
            1.0
        };
        coefs([
            self.beta1,
            self.beta2,
            self.eps,
            self.eps_root,
            self.weight_decay,
            1.0 / (1.0 - power(self.beta1, x.t)),
            1.0 / (1.0 - power(self.beta2, x.t)),
            -self.lr * ratio,
        ])
    }
}

#[derive(Clone, Copy)]
struct Scaled {
    momentum: f64,
    decay: f64,
    /// Learning rate times trust ratio.
    step: f64,
    nesterov: bool,
}

#[derive(Clone, Copy)]
struct Norms(f64);

impl Measure<0, 2> for Norms {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; 0]) -> (L, [L; 0], [L; 2]) {
        let d = p.mul_add(L::c(self.0), g);
        (p, s, [p * p, d * d])
    }
}

impl Update<1> for Scaled {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [b]: [L; 1]) -> (L, [L; 1]) {
        let d = p.mul_add(L::c(self.decay), g) * L::c(self.step);
        let b = b.mul_add(L::c(self.momentum), d);
        let u = if self.nesterov {
            b.mul_add(L::c(self.momentum), d)
        } else {
            b
        };
        (p - u, [b])
    }
}

impl LarsRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [momentum, decay, step, ..] = *x.coefs;
        if x.pass == 0 {
            x.gather(Norms(decay))
        } else {
            x.sweep(Scaled {
                momentum,
                decay,
                step,
                nesterov: self.nesterov,
            })
        }
    }
}

impl Rule for LarsRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["momentum_buffer"])
    }

    fn scope(&self, _shape: &[usize]) -> Scope {
        Scope::Tensor
    }

    fn passes(&self) -> usize {
        2
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let adapt = x.shape.len() > 1 || !self.matrices_only;
        let ratio = if adapt {
            trust_ratio(x.sums, self.trust, self.eps)
        } else {
            1.0
        };
        coefs([self.momentum, self.weight_decay, self.lr * ratio])
    }
}

#[derive(Clone, Copy)]
struct Normalized {
    beta1: f64,
    scale: f64,
    decay: f64,
    lr: f64,
}

impl Update<1> for Normalized {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m]: [L; 1]) -> (L, [L; 1]) {
        let d = p.mul_add(L::c(self.decay), g * L::c(self.scale));
        let m = m.mul_add(L::c(self.beta1), d);
        (m.mul_add(L::c(-self.lr), p), [m])
    }
}

#[derive(Clone, Copy)]
struct SquaredNorm;

impl Measure<0, 1> for SquaredNorm {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; 0]) -> (L, [L; 0], [L; 1]) {
        (p, s, [g * g])
    }
}

impl NovoGradRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, scale, decay, lr, ..] = *x.coefs;
        if x.pass == 0 {
            x.gather(SquaredNorm)
        } else {
            x.sweep(Normalized {
                beta1,
                scale,
                decay,
                lr,
            })
        }
    }
}

impl Rule for NovoGradRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg"])
    }

    fn scalars(&self) -> &'static [Scalar] {
        &[("exp_avg_sq", 0.0)]
    }

    fn scope(&self, _shape: &[usize]) -> Scope {
        Scope::Tensor
    }

    fn passes(&self) -> usize {
        2
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        if x.pass == 0 {
            return Coefs::default();
        }
        let squared = x.sums[0];
        x.scalars[0] = if x.t == 1 {
            squared
        } else {
            self.beta2 * x.scalars[0] + (1.0 - self.beta2) * squared
        };
        let denominator = (x.scalars[0] + self.eps_root).sqrt() + self.eps;
        coefs([self.beta1, 1.0 / denominator, self.weight_decay, self.lr])
    }
}
