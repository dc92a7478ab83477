//! Adam and AdamW.

use crate::error::{Result, or_panic};
use crate::optimizer::Optimizer;
use crate::rule::{Coefs, Pass, Plan, Range, Rule, Slot, Slots, Sums, Update, rule_basics};
use crate::schedule::Schedule;
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

/// Adam (Kingma and Ba 2015, algorithm 1; PyTorch's `Adam`), with AMSGrad (Reddi et al. 2018) if asked for.
///
/// ```text
/// g ← g + λ p
/// m ← β₁ m + (1 - β₁) g
/// v ← β₂ v + (1 - β₂) g²                                v̂ ← max(v̂, v) with AMSGrad, else v̂ = v
/// p ← p - lr · m / (1 - β₁ᵗ) / (√(v̂ / (1 - β₂ᵗ)) + ε)
/// ```
/// Defaults are PyTorch's: `β = (0.9, 0.999)`, `ε = 1e-8`, no weight decay.
///
/// ```
/// use wengert_optim::Adam;
/// let adam = Adam::<f32>::new(1e-3).betas(0.9, 0.99).eps(1e-7);
/// assert_eq!(adam.hyper("beta2"), Some(0.99));
/// ```
pub type Adam<T = f32> = Optimizer<AdamRule, T>;

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019; PyTorch's `AdamW`): `p ← p (1 - lr λ)` in place of
/// `g + λ p`.
///
/// Defaults are PyTorch's: `β = (0.9, 0.999)`, `ε = 1e-8`, `λ = 0.01`.
pub type AdamW<T = f32> = Optimizer<AdamWRule, T>;

macro_rules! adam {
    ($rule:ident, $alias:ident, $name:literal, $decay:literal, $decoupled:literal) => {
        #[doc = concat!("The rule of [`", stringify!($alias), "`].")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $rule {
            lr: f64,
            beta1: f64,
            beta2: f64,
            eps: f64,
            weight_decay: f64,
            amsgrad: bool,
        }

        impl<T: Real> Optimizer<$rule, T> {
            /// The rule with PyTorch's defaults.
            ///
            /// # Panics
            /// When `lr` is negative or not finite.
            #[track_caller]
            pub fn new(lr: impl Schedule) -> Self {
                or_panic(Self::try_new(lr))
            }

            /// As `new`.
            ///
            /// # Errors
            /// When `lr` is negative or not finite.
            pub fn try_new(lr: impl Schedule) -> Result<Self> {
                let rule = $rule {
                    lr: 0.0,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    weight_decay: $decay,
                    amsgrad: false,
                };
                Optimizer::with_rule(rule).try_with("lr", lr)
            }

            /// Decay rates of the first and second moment, each in `[0, 1)`.
            ///
            /// # Panics
            /// When one is outside.
            #[track_caller]
            pub fn betas(self, beta1: impl Schedule, beta2: impl Schedule) -> Self {
                self.with("beta1", beta1).with("beta2", beta2)
            }

            /// What is added to the root of the second moment, `>= 0`.
            ///
            /// # Panics
            /// When it is negative or not finite.
            #[track_caller]
            pub fn eps(self, eps: impl Schedule) -> Self {
                self.with("eps", eps)
            }

            /// Weight decay `λ >= 0`.
            ///
            /// # Panics
            /// When it is negative or not finite.
            #[track_caller]
            pub fn weight_decay(self, decay: impl Schedule) -> Self {
                self.with("weight_decay", decay)
            }

            /// Divides by the largest second moment so far (Reddi et al. 2018, algorithm 2).
            pub fn amsgrad(mut self) -> Self {
                self.edit(|r| r.amsgrad = true);
                self
            }
        }

        impl $rule {
            fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
                let [beta1, beta2, eps, l2, keep, step, root, ..] = *x.coefs;
                let k = Moments {
                    beta1,
                    fresh1: 1.0 - beta1,
                    beta2,
                    fresh2: 1.0 - beta2,
                    eps,
                    l2,
                    keep,
                    step,
                    root,
                };
                if self.amsgrad {
                    x.sweep::<3, _>(k)
                } else {
                    x.sweep::<2, _>(k)
                }
            }
        }

        impl Rule for $rule {
            rule_basics!($name;
                lr: Range::NON_NEGATIVE,
                beta1: Range::DECAY,
                beta2: Range::DECAY,
                eps: Range::NON_NEGATIVE,
                weight_decay: Range::NON_NEGATIVE,
            );

            fn slots(&self, _shape: &[usize]) -> Slots {
                let mut slots = Slots::new();
                slots.push(Slot::zeros("exp_avg"));
                slots.push(Slot::zeros("exp_avg_sq"));
                if self.amsgrad {
                    slots.push(Slot::zeros("max_exp_avg_sq"));
                }
                slots
            }

            fn plan(&self, x: Plan<'_>) -> Coefs {
                let t = x.t as f64;
                let (l2, keep) = if $decoupled {
                    (0.0, 1.0 - self.lr * self.weight_decay)
                } else {
                    (self.weight_decay, 1.0)
                };
                let correction1 = 1.0 - self.beta1.powf(t);
                let correction2 = 1.0 - self.beta2.powf(t);
                let mut c = Coefs::default();
                c[..7].copy_from_slice(&[
                    self.beta1,
                    self.beta2,
                    self.eps,
                    l2,
                    keep,
                    -self.lr / correction1,
                    1.0 / correction2.sqrt(),
                ]);
                c
            }
        }
    };
}

adam!(AdamRule, Adam, "adam", 0.0, false);
adam!(AdamWRule, AdamW, "adamw", 0.01, true);

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
}

impl Update<2> for Moments {
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
