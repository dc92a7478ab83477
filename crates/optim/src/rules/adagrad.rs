//! Steps divided by the root of past squared gradients: Adagrad, Adadelta, RMSprop.

use crate::rule::{
    Coefs, Hyperparameters, Init, Pass, Plan, Range, Rule, Slot, Slots, Sums, Update, coefs,
    optimizer, precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Adagrad (Duchi et al. 2011; PyTorch's `Adagrad`).
    ///
    /// ```text
    /// g ← g + λ p
    /// s ← s + g²
    /// p ← p - lr / (1 + (t - 1) η) · g / (√s + ε)
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 1e-2).
    Adagrad: AdagradRule = "adagrad";
    hypers {
        /// Decay `η >= 0` of the learning rate.
        lr_decay = 0.0, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, added to the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// First value of `s`, `>= 0`.
        initial_accumulator = 0.0, Range::NON_NEGATIVE;
        /// What is added to the root, `>= 0`.
        eps = 1e-10, Range::NON_NEGATIVE;
    }
}

optimizer! {
    /// Adadelta (Zeiler 2012, algorithm 1; PyTorch's `Adadelta`).
    ///
    /// ```text
    /// g ← g + λ p
    /// v ← ρ v + (1 - ρ) g²
    /// Δ = g √(u + ε) / √(v + ε)
    /// u ← ρ u + (1 - ρ) Δ²
    /// p ← p - lr Δ
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 1).
    Adadelta: AdadeltaRule = "adadelta";
    hypers {
        /// Decay rate `ρ` of both averages, in `[0, 1]`.
        rho = 0.9, Range::UNIT;
        /// What is added under the roots, `>= 0`.
        eps = 1e-6, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, added to the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

optimizer! {
    /// RMSprop (Tieleman and Hinton 2012; PyTorch's `RMSprop`).
    ///
    /// ```text
    /// g ← g + λ p
    /// v ← α v + (1 - α) g²
    /// a ← α a + (1 - α) g            ṽ = v - a²   if centered (Graves 2013), else ṽ = v
    /// b ← μ b + g / (√ṽ + ε)         with momentum
    /// p ← p - lr b                   without momentum: p - lr g / (√ṽ + ε)
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 1e-2).
    RmsProp: RmsPropRule = "rmsprop";
    hypers {
        /// Decay rate `α >= 0` of the averages.
        alpha = 0.99, Range::NON_NEGATIVE;
        /// What is added to the root, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, added to the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
        /// Momentum `μ >= 0`.
        momentum = 0.0, Range::NON_NEGATIVE;
    }
    variants {
        /// Divides by the root of the variance in place of that of the second moment. Where rounding makes the
        /// variance negative it is taken as 0 (PyTorch: NaN).
        centered;
    }
    private {
        buffered: bool = false;
    }
}

#[derive(Clone, Copy)]
struct SumOfSquares {
    l2: f64,
    eps: f64,
    step: f64,
}

impl Update<1> for SumOfSquares {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [s]: [L; 1]) -> (L, [L; 1]) {
        let g = p.mul_add(L::c(self.l2), g);
        let s = g.mul_add(g, s);
        let u = g / (s.sqrt() + L::c(self.eps));
        (u.mul_add(L::c(self.step), p), [s])
    }
}

impl AdagradRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [l2, eps, step, ..] = *x.coefs;
        x.sweep(SumOfSquares { l2, eps, step })
    }
}

impl Rule for AdagradRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        Slots::from_iter([Slot::new("sum", Init::Value(self.initial_accumulator))])
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let lr = self.lr / (1.0 + (x.t - 1) as f64 * self.lr_decay);
        coefs([self.weight_decay, self.eps, -lr])
    }
}

#[derive(Clone, Copy)]
struct Delta {
    rho: f64,
    eps: f64,
    l2: f64,
    step: f64,
}

impl Update<2> for Delta {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v, u]: [L; 2]) -> (L, [L; 2]) {
        let (rho, fresh, eps) = (L::c(self.rho), L::c(1.0 - self.rho), L::c(self.eps));
        let g = p.mul_add(L::c(self.l2), g);
        let v = v.mul_add(rho, g * g * fresh);
        let delta = (u + eps).sqrt() / (v + eps).sqrt() * g;
        let u = u.mul_add(rho, delta * delta * fresh);
        (delta.mul_add(L::c(self.step), p), [v, u])
    }
}

impl AdadeltaRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [rho, eps, l2, step, ..] = *x.coefs;
        x.sweep(Delta { rho, eps, l2, step })
    }
}

impl Rule for AdadeltaRule {
    precisions!();

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(&["square_avg", "acc_delta"])
    }

    fn plan(&self, _: Plan<'_>) -> Coefs {
        coefs([self.rho, self.eps, self.weight_decay, -self.lr])
    }
}

#[derive(Clone, Copy)]
struct MeanSquare {
    alpha: f64,
    eps: f64,
    l2: f64,
    momentum: f64,
    step: f64,
}

impl MeanSquare {
    #[inline(always)]
    fn decay<L: Lane>(&self, mean: L, x: L) -> L {
        mean.mul_add(L::c(self.alpha), x * L::c(1.0 - self.alpha))
    }

    #[inline(always)]
    fn gradient<L: Lane>(&self, p: L, g: L) -> L {
        p.mul_add(L::c(self.l2), g)
    }

    #[inline(always)]
    fn scaled<L: Lane>(&self, g: L, v: L) -> L {
        g / (v.sqrt() + L::c(self.eps))
    }

    #[inline(always)]
    fn variance<L: Lane>(&self, v: L, a: L) -> L {
        let d = v - a * a;
        L::select(d < L::c(0.0), L::c(0.0), d)
    }

    #[inline(always)]
    fn write<L: Lane>(&self, p: L, u: L) -> L {
        u.mul_add(L::c(self.step), p)
    }
}

impl Update<1> for MeanSquare {
    const WIDE: bool = true;

    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v]: [L; 1]) -> (L, [L; 1]) {
        let g = self.gradient(p, g);
        let v = self.decay(v, g * g);
        (self.write(p, self.scaled(g, v)), [v])
    }
}

#[derive(Clone, Copy)]
struct WithMomentum(MeanSquare);

impl Update<2> for WithMomentum {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v, b]: [L; 2]) -> (L, [L; 2]) {
        let k = &self.0;
        let g = k.gradient(p, g);
        let v = k.decay(v, g * g);
        let b = b.mul_add(L::c(k.momentum), k.scaled(g, v));
        (k.write(p, b), [v, b])
    }
}

#[derive(Clone, Copy)]
struct Centered(MeanSquare);

impl Update<2> for Centered {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v, a]: [L; 2]) -> (L, [L; 2]) {
        let k = &self.0;
        let g = k.gradient(p, g);
        let (v, a) = (k.decay(v, g * g), k.decay(a, g));
        (k.write(p, k.scaled(g, k.variance(v, a))), [v, a])
    }
}

impl Update<3> for Centered {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v, b, a]: [L; 3]) -> (L, [L; 3]) {
        let k = &self.0;
        let g = k.gradient(p, g);
        let (v, a) = (k.decay(v, g * g), k.decay(a, g));
        let b = b.mul_add(L::c(k.momentum), k.scaled(g, k.variance(v, a)));
        (k.write(p, b), [v, b, a])
    }
}

impl RmsPropRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [alpha, eps, l2, momentum, step, ..] = *x.coefs;
        let k = MeanSquare {
            alpha,
            eps,
            l2,
            momentum,
            step,
        };
        match (self.buffered, self.centered) {
            (false, false) => x.sweep(k),
            (true, false) => x.sweep(WithMomentum(k)),
            (false, true) => x.sweep::<2, _>(Centered(k)),
            (true, true) => x.sweep::<3, _>(Centered(k)),
        }
    }
}

impl Rule for RmsPropRule {
    precisions!();

    fn enabled(&mut self, i: usize) {
        self.buffered |= self.hypers()[i].name == "momentum";
    }

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(match (self.buffered, self.centered) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "momentum_buffer"],
            (false, true) => &["square_avg", "grad_avg"],
            (true, true) => &["square_avg", "momentum_buffer", "grad_avg"],
        })
    }

    fn plan(&self, _: Plan<'_>) -> Coefs {
        coefs([
            self.alpha,
            self.eps,
            self.weight_decay,
            self.momentum,
            -self.lr,
        ])
    }
}
