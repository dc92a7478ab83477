//! Adam, AdamW and their relatives that differ in the correction terms.

use crate::power::power;
use crate::rule::{
    Coefs, Measure, Pass, Plan, Range, Rule, Scalar, Scope, Slots, Sums, Update, betas, coefs,
    optimizer, precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Adam (Kingma and Ba 2015, algorithm 1; PyTorch's `Adam`).
    ///
    /// ```text
    /// g ← g + λ p
    /// m ← β₁ m + (1 - β₁) g
    /// v ← β₂ v + (1 - β₂) g²                                v̂ ← max(v̂, v) with AMSGrad, else v̂ = v
    /// p ← p - lr · m / (1 - β₁ᵗ) / (√(v̂ / (1 - β₂ᵗ)) + ε)
    /// ```
    /// Defaults are PyTorch's.
    ///
    /// ```
    /// use wengert_optim::Adam;
    /// let adam = Adam::<f32>::new(1e-3).betas(0.9, 0.99).eps(1e-7);
    /// assert_eq!(adam.hyper("beta2"), Some(0.99));
    /// ```
    Adam: AdamRule = "adam";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root of the second moment, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, added to the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
    variants {
        /// Divides by the largest second moment so far (AMSGrad: Reddi et al. 2018, algorithm 2).
        amsgrad;
        /// Leaves out the elements whose step and gradient disagree in sign, and scales up the others (Liang et al.
        /// 2024, *Cautious Optimizers*): `u ← u · [u g > 0] / max(mean [u g > 0], 1e-3)`.
        cautious;
    }
}

optimizer! {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2; PyTorch's `AdamW`):
    /// `p ← p (1 - lr λ)` in place of `g ← g + λ p`, the rest as [`Adam`].
    /// ```text
    /// m ← β₁ m + (1 - β₁) g;   v ← β₂ v + (1 - β₂) g²
    /// p ← p (1 - lr λ) - lr m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + ε)
    /// ```
    ///
    /// Defaults are PyTorch's.
    AdamW: AdamWRule = "adamw";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root of the second moment, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.01, Range::NON_NEGATIVE;
    }
    variants {
        /// Divides by the largest second moment so far (AMSGrad: Reddi et al. 2018, algorithm 2).
        amsgrad;
        /// Leaves out the elements whose step and gradient disagree in sign, and scales up the others (Liang et al.
        /// 2024, *Cautious Optimizers*): `u ← u · [u g > 0] / max(mean [u g > 0], 1e-3)`.
        cautious;
    }
}

optimizer! {
    /// Adam with Nesterov momentum (Dozat 2016; PyTorch's `NAdam`).
    ///
    /// ```text
    /// μₜ = β₁ (1 - 0.96^(t ψ) / 2)
    /// m, v as in Adam
    /// p ← p - lr (μₜ₊₁ m / (1 - ∏ᵢ₌₁ᵗ⁺¹ μᵢ) + (1 - μₜ) g / (1 - ∏ᵢ₌₁ᵗ μᵢ)) / (√(v / (1 - β₂ᵗ)) + ε)
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 2e-3).
    NAdam: NAdamRule = "nadam";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root of the second moment, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// Decay `ψ >= 0` of the momentum.
        momentum_decay = 4e-3, Range::NON_NEGATIVE;
    }
    variants {
        /// Takes the weight decay out of the gradient: `p ← p (1 - lr λ)`.
        decoupled;
    }
}

optimizer! {
    /// Adam with a rectified adaptive step (Liu et al. 2020, algorithm 2; PyTorch's `RAdam`).
    ///
    /// ```text
    /// m, v as in Adam;  ρ∞ = 2 / (1 - β₂) - 1;  ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)
    /// r = √((ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ))
    /// p ← p - lr · m / (1 - β₁ᵗ) · r √(1 - β₂ᵗ) / (√v + ε)      where ρ > 5
    /// p ← p - lr · m / (1 - β₁ᵗ)                               elsewhere
    /// ```
    /// Defaults are PyTorch's.
    RAdam: RAdamRule = "radam";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the root of the second moment, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
    variants {
        /// Takes the weight decay out of the gradient: `p ← p (1 - lr λ)`.
        decoupled;
    }
}

optimizer! {
    /// Adam with the infinity norm (Kingma and Ba 2015, algorithm 2; PyTorch's `Adamax`).
    ///
    /// ```text
    /// g ← g + λ p
    /// m ← β₁ m + (1 - β₁) g
    /// u ← max(β₂ u, |g| + ε)
    /// p ← p - lr / (1 - β₁ᵗ) · m / u
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 2e-3).
    Adamax: AdamaxRule = "adamax";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the norm, in `[0, 1)`.
        beta2 = 0.999, Range::DECAY;
        /// What is added to the magnitude of the gradient, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, added to the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

betas!(AdamRule AdamWRule NAdamRule RAdamRule AdamaxRule);

/// Weight decay as a term of the gradient and as a factor on the parameter.
pub(super) fn decay(decoupled: bool, lr: f64, weight_decay: f64) -> (f64, f64) {
    if decoupled {
        (0.0, 1.0 - lr * weight_decay)
    } else {
        (weight_decay, 1.0)
    }
}

macro_rules! adam {
    ($rule:ident, $decoupled:literal) => {
        impl $rule {
            fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
                let k = Moments::new(x.coefs);
                match (self.cautious, x.pass, self.amsgrad) {
                    (false, _, false) => x.sweep::<2, _>(k),
                    (false, _, true) => x.sweep::<3, _>(k),
                    (true, 0, false) => x.gather::<2, 1, _>(Agreement(k)),
                    (true, 0, true) => x.gather::<3, 1, _>(Agreement(k)),
                    (true, _, false) => x.sweep::<2, _>(Cautious(k)),
                    (true, _, true) => x.sweep::<3, _>(Cautious(k)),
                }
            }
        }

        impl Rule for $rule {
            precisions!();

            fn slots(&self, _shape: &[usize]) -> Slots {
                zeros(if self.amsgrad {
                    &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
                } else {
                    &["exp_avg", "exp_avg_sq"]
                })
            }

            fn scope(&self, _shape: &[usize]) -> Scope {
                if self.cautious {
                    Scope::Tensor
                } else {
                    Scope::Element
                }
            }

            fn passes(&self) -> usize {
                1 + usize::from(self.cautious)
            }

            fn plan(&self, x: Plan<'_>) -> Coefs {
                let (l2, keep) = decay($decoupled, self.lr, self.weight_decay);
                let correction1 = 1.0 - power(self.beta1, x.t);
                let correction2 = 1.0 - power(self.beta2, x.t);
                let mut step = -self.lr / correction1;
                if x.pass == 1 {
                    let n = x.shape.iter().product::<usize>() as f64;
                    step /= (x.sums[0] / n).max(1e-3);
                }
                let root = 1.0 / correction2.sqrt();
                coefs([self.beta1, self.beta2, self.eps, l2, keep, step, root])
            }
        }
    };
}
adam!(AdamRule, false);
adam!(AdamWRule, true);

#[derive(Clone, Copy)]
struct Moments {
    beta1: f64,
    fresh1: f64,
    beta2: f64,
    fresh2: f64,
    eps: f64,
    l2: f64,
    keep: f64,
    /// Minus the learning rate over the first correction.
    step: f64,
    /// One over the root of the second correction.
    root: f64,
}

impl Moments {
    fn new(c: &Coefs) -> Self {
        Moments {
            beta1: c[0],
            fresh1: 1.0 - c[0],
            beta2: c[1],
            fresh2: 1.0 - c[1],
            eps: c[2],
            l2: c[3],
            keep: c[4],
            step: c[5],
            root: c[6],
        }
    }

    #[inline(always)]
    fn moments<L: Lane>(&self, p: L, g: L, m: L, v: L) -> (L, L) {
        let g = p.mul_add(L::c(self.l2), g);
        let m = m.mul_add(L::c(self.beta1), g * L::c(self.fresh1));
        let v = v.mul_add(L::c(self.beta2), g * g * L::c(self.fresh2));
        (m, v)
    }

    #[inline(always)]
    fn write<L: Lane>(&self, p: L, m: L, v: L) -> L {
        let denominator = v.sqrt().mul_add(L::c(self.root), L::c(self.eps));
        (m / denominator).mul_add(L::c(self.step), p * L::c(self.keep))
    }

    /// 1 where step and gradient agree, 0 elsewhere.
    #[inline(always)]
    fn agree<L: Lane>(&self, p: L, g: L, m: L) -> L {
        let g = p.mul_add(L::c(self.l2), g);
        L::select(m * g > L::c(0.0), L::c(1.0), L::c(0.0))
    }
}

impl Update<2> for Moments {
    const WIDE: bool = true;

    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let (m, v) = self.moments(p, g, m, v);
        (self.write(p, m, v), [m, v])
    }
}

impl Update<3> for Moments {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v, top]: [L; 3]) -> (L, [L; 3]) {
        let (m, v) = self.moments(p, g, m, v);
        let top = top.max(v);
        (self.write(p, m, top), [m, v, top])
    }
}

/// First pass of the cautious variants: new moments, and how many elements agree.
#[derive(Clone, Copy)]
struct Agreement(Moments);

impl Measure<2, 1> for Agreement {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2], [L; 1]) {
        let (m, v) = self.0.moments(p, g, m, v);
        (p, [m, v], [self.0.agree(p, g, m)])
    }
}

impl Measure<3, 1> for Agreement {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v, top]: [L; 3]) -> (L, [L; 3], [L; 1]) {
        let (m, v) = self.0.moments(p, g, m, v);
        (p, [m, v, top.max(v)], [self.0.agree(p, g, m)])
    }
}

/// Second pass of the cautious variants.
#[derive(Clone, Copy)]
struct Cautious(Moments);

impl Update<2> for Cautious {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let masked = m * self.0.agree(p, g, m);
        (self.0.write(p, masked, v), [m, v])
    }
}

impl Update<3> for Cautious {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v, top]: [L; 3]) -> (L, [L; 3]) {
        let masked = m * self.0.agree(p, g, m);
        (self.0.write(p, masked, top), [m, v, top])
    }
}

/// `p ← p · keep + (m · from_m + g · from_g) / (√v · root + eps)`
#[derive(Clone, Copy)]
struct Lookahead {
    moments: Moments,
    from_m: f64,
    from_g: f64,
}

impl Update<2> for Lookahead {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let k = &self.moments;
        let (m, v) = k.moments(p, g, m, v);
        let g = p.mul_add(L::c(k.l2), g);
        let denominator = v.sqrt().mul_add(L::c(k.root), L::c(k.eps));
        let u = m.mul_add(L::c(self.from_m), g * L::c(self.from_g));
        (p.mul_add(L::c(k.keep), u / denominator), [m, v])
    }
}

impl NAdamRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let k = Lookahead {
            moments: Moments::new(x.coefs),
            from_m: x.coefs[7],
            from_g: x.coefs[8],
        };
        x.sweep(k)
    }
}

impl Rule for NAdamRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "exp_avg_sq"])
    }

    fn scalars(&self) -> &'static [Scalar] {
        &[("mu_product", 1.0)]
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let t = x.t as f64;
        let (l2, keep) = decay(self.decoupled, self.lr, self.weight_decay);
        let mu_at = |t: f64| self.beta1 * (1.0 - 0.5 * 0.96f64.powf(t * self.momentum_decay));
        let (mu, mu_next) = (mu_at(t), mu_at(t + 1.0));
        x.scalars[0] *= mu;
        let product = x.scalars[0];
        let root = 1.0 / (1.0 - power(self.beta2, x.t)).sqrt();
        let from_m = -self.lr * mu_next / (1.0 - product * mu_next);
        let from_g = -self.lr * (1.0 - mu) / (1.0 - product);
        coefs([
            self.beta1, self.beta2, self.eps, l2, keep, 0.0, root, from_m, from_g,
        ])
    }
}

/// Before the variance is known well enough: `p ← p · keep + step · m`.
#[derive(Clone, Copy)]
struct Unadapted(Moments);

impl Update<2> for Unadapted {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let (m, v) = self.0.moments(p, g, m, v);
        (m.mul_add(L::c(self.0.step), p * L::c(self.0.keep)), [m, v])
    }
}

impl RAdamRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let k = Moments::new(x.coefs);
        if x.coefs[7] != 0.0 {
            x.sweep::<2, _>(k)
        } else {
            x.sweep(Unadapted(k))
        }
    }
}

impl Rule for RAdamRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "exp_avg_sq"])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let t = x.t as f64;
        let (l2, keep) = decay(self.decoupled, self.lr, self.weight_decay);
        let correction1 = 1.0 - power(self.beta1, x.t);
        let correction2 = 1.0 - power(self.beta2, x.t);
        let rho_inf = 2.0 / (1.0 - self.beta2) - 1.0;
        let rho = rho_inf - 2.0 * t * power(self.beta2, x.t) / correction2;
        let adapted = rho > 5.0;
        let mut step = -self.lr / correction1;
        if adapted {
            let rectified =
                (rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho);
            step *= rectified.sqrt() * correction2.sqrt();
        }
        coefs([
            self.beta1,
            self.beta2,
            self.eps,
            l2,
            keep,
            step,
            1.0,
            f64::from(u8::from(adapted)),
        ])
    }
}

#[derive(Clone, Copy)]
struct Infinity {
    beta1: f64,
    beta2: f64,
    eps: f64,
    l2: f64,
    step: f64,
}

impl Update<2> for Infinity {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, u]: [L; 2]) -> (L, [L; 2]) {
        let g = p.mul_add(L::c(self.l2), g);
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let u = (u * L::c(self.beta2)).max(g.abs() + L::c(self.eps));
        ((m / u).mul_add(L::c(self.step), p), [m, u])
    }
}

impl AdamaxRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, beta2, eps, l2, step, ..] = *x.coefs;
        x.sweep(Infinity {
            beta1,
            beta2,
            eps,
            l2,
            step,
        })
    }
}

impl Rule for AdamaxRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg", "exp_inf"])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let correction = 1.0 - power(self.beta1, x.t);
        coefs([
            self.beta1,
            self.beta2,
            self.eps,
            self.weight_decay,
            -self.lr / correction,
        ])
    }
}
