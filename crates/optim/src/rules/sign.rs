//! Steps of one size: signSGD, Signum, Lion, Rprop.

use crate::rule::{
    Coefs, Hyperparameters, Init, Measure, Pass, Plan, Range, Rule, Scope, Slot, Slots, Sums,
    Update, betas, coefs, optimizer, precisions, sign, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// The sign of the gradient, or of its mean (Bernstein et al. 2018, algorithms 1 and 2; optax's `sign_sgd` and
    /// `signum`).
    ///
    /// ```text
    /// b ← β b + (1 - β) g              with momentum (Signum), else b = g
    /// p ← p - lr (sign(b) + λ p)
    /// ```
    SignSgd: SignSgdRule = "signsgd";
    hypers {
        /// Decay rate `β` of the mean, in `[0, 1)`; 0.9 is usual.
        momentum = 0.0, Range::DECAY;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
    private {
        buffered: bool = false;
    }
}

optimizer! {
    /// Lion (Chen et al. 2023, algorithm 2; optax's `lion`).
    ///
    /// ```text
    /// u = sign(β₁ m + (1 - β₁) g)
    /// p ← p - lr (u + λ p)
    /// m ← β₂ m + (1 - β₂) g
    /// ```
    /// Defaults are optax's; learning rates are 3 to 10 times smaller than Adam's.
    Lion: LionRule = "lion";
    hypers {
        /// Weight of the mean in the step, in `[0, 1)`.
        beta1 = 0.9, Range::DECAY;
        /// Decay rate of the mean, in `[0, 1)`.
        beta2 = 0.99, Range::DECAY;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 1e-3, Range::NON_NEGATIVE;
    }
    variants {
        /// Leaves out the elements whose step and gradient disagree in sign, and scales up the others (Liang et al.
        /// 2024, *Cautious Optimizers*): `u ← u · [u g > 0] / max(mean [u g > 0], 1e-3)`.
        cautious;
    }
}

optimizer! {
    /// Resilient propagation for full-batch gradients (Riedmiller and Braun 1993; PyTorch's `Rprop`).
    ///
    /// Each element has a step size `s`, at first `lr`:
    /// ```text
    /// s ← clamp(s · η₊) where g g₋₁ > 0;  clamp(s · η₋) where g g₋₁ < 0, and there g ← 0;  clamp(s) elsewhere
    /// p ← p - s sign(g);  g₋₁ ← g
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 1e-2). The learning rate is read at a parameter's first
    /// step only.
    Rprop: RpropRule = "rprop";
    hypers {
        /// Factor where the sign changed, in `(0, 1)`.
        eta_minus = 0.5, Range::new(0.0, true, 1.0, true);
        /// Factor where it stayed, `> 1`.
        eta_plus = 1.2, Range::new(1.0, true, f64::INFINITY, true);
        /// Smallest step size, `>= 0`.
        step_min = 1e-6, Range::NON_NEGATIVE;
        /// Largest step size, `> 0`.
        step_max = 50.0, Range::POSITIVE;
    }
}

betas!(LionRule);

#[derive(Clone, Copy)]
struct Sign {
    beta: f64,
    keep: f64,
    lr: f64,
}

impl Update<0> for Sign {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; 0]) -> (L, [L; 0]) {
        let step = sign(g) * L::c(self.lr);
        (p.mul_add(L::c(self.keep), -step), s)
    }
}

impl Update<1> for Sign {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [b]: [L; 1]) -> (L, [L; 1]) {
        let b = b.mul_add(L::c(self.beta), g * L::c(1.0 - self.beta));
        let step = sign(b) * L::c(self.lr);
        (p.mul_add(L::c(self.keep), -step), [b])
    }
}

impl SignSgdRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta, keep, lr, ..] = *x.coefs;
        let k = Sign { beta, keep, lr };
        if self.buffered {
            x.sweep::<1, _>(k)
        } else {
            x.sweep::<0, _>(k)
        }
    }
}

impl Rule for SignSgdRule {
    precisions!();

    fn enabled(&mut self, i: usize) {
        self.buffered |= self.hypers()[i].name == "momentum";
    }

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(if self.buffered {
            &["momentum_buffer"]
        } else {
            &[]
        })
    }

    fn plan(&self, _: Plan<'_>) -> Coefs {
        coefs([self.momentum, 1.0 - self.lr * self.weight_decay, self.lr])
    }
}

#[derive(Clone, Copy)]
struct Evolved {
    beta1: f64,
    beta2: f64,
    keep: f64,
    lr: f64,
    cautious: bool,
}

impl Evolved {
    #[inline(always)]
    fn direction<L: Lane>(&self, g: L, m: L) -> L {
        sign(m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1)))
    }

    #[inline(always)]
    fn agrees<L: Lane>(&self, g: L, u: L) -> L {
        L::select(u * g > L::c(0.0), L::c(1.0), L::c(0.0))
    }
}

impl Update<1> for Evolved {
    const WIDE: bool = true;

    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m]: [L; 1]) -> (L, [L; 1]) {
        let mut u = self.direction(g, m);
        if self.cautious {
            u = u * self.agrees(g, u);
        }
        let m = m.mul_add(L::c(self.beta2), g * L::c(1.0 - self.beta2));
        (p.mul_add(L::c(self.keep), -(u * L::c(self.lr))), [m])
    }
}

#[derive(Clone, Copy)]
struct Agreement(Evolved);

impl Measure<1, 1> for Agreement {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m]: [L; 1]) -> (L, [L; 1], [L; 1]) {
        let u = self.0.direction(g, m);
        (p, [m], [self.0.agrees(g, u)])
    }
}

impl LionRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, beta2, keep, lr, ..] = *x.coefs;
        let k = Evolved {
            beta1,
            beta2,
            keep,
            lr,
            cautious: self.cautious,
        };
        if self.cautious && x.pass == 0 {
            x.gather(Agreement(k))
        } else {
            x.sweep(k)
        }
    }
}

impl Rule for LionRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["exp_avg"])
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
        let mut lr = self.lr;
        if x.pass == 1 {
            let n = x.shape.iter().product::<usize>() as f64;
            lr /= (x.sums[0] / n).max(1e-3);
        }
        let keep = 1.0 - self.lr * self.weight_decay;
        coefs([self.beta1, self.beta2, keep, lr])
    }
}

#[derive(Clone, Copy)]
struct Resilient {
    minus: f64,
    plus: f64,
    low: f64,
    high: f64,
}

impl Update<2> for Resilient {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [before, size]: [L; 2]) -> (L, [L; 2]) {
        let zero = L::c(0.0);
        let product = g * before;
        let (same, changed) = (product > zero, product < zero);
        let factor = L::select(
            same,
            L::c(self.plus),
            L::select(changed, L::c(self.minus), L::c(1.0)),
        );
        let size = (size * factor).max(L::c(self.low)).min(L::c(self.high));
        let g = L::select(changed, zero, g);
        (p - sign(g) * size, [g, size])
    }
}

impl RpropRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [minus, plus, low, high, ..] = *x.coefs;
        x.sweep(Resilient {
            minus,
            plus,
            low,
            high,
        })
    }
}

impl Rule for RpropRule {
    precisions!();

    fn check(&self) -> crate::error::Result<()> {
        if self.step_min > self.step_max {
            return Err(crate::error::Error::Configuration {
                owner: "rprop",
                message: format!(
                    "step_min must not exceed step_max, found {} and {}",
                    self.step_min, self.step_max
                ),
            });
        }
        Ok(())
    }

    fn slots(&self, _shape: &[usize]) -> Slots {
        Slots::from_iter([
            Slot::zeros("prev"),
            Slot::new("step_size", Init::Value(self.lr)),
        ])
    }

    fn plan(&self, _: Plan<'_>) -> Coefs {
        coefs([self.eta_minus, self.eta_plus, self.step_min, self.step_max])
    }
}
