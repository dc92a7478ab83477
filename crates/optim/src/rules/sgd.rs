//! Stochastic gradient descent and its momenta.

use super::adam::decay;
use crate::error::{Error, Result, or_panic};
use crate::optimizer::Optimizer;
use crate::power::power;
use crate::rule::{
    Coefs, Hyperparameters, Pass, Plan, Range, Rule, Slots, Sums, Update, coefs, optimizer,
    precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Gradient descent, with momentum if asked for (PyTorch's `SGD`).
    ///
    /// With gradient `g`, weight decay `λ`, momentum `μ` and dampening `τ`:
    /// ```text
    /// d = g + λ p                     coupled decay; with decoupled decay p ← p (1 - lr λ) and d = g
    /// b ← d at first and where μ = 0, else μ b + (1 - τ) d
    /// p ← p - lr d                    without momentum
    /// p ← p - lr b                    with momentum
    /// p ← p - lr (d + μ b)            Nesterov (Sutskever et al. 2013)
    /// ```
    /// [`Sgd::averaged_momentum`] gives the exponentially weighted form `b ← μ b + (1 - μ) d` from `b = 0`.
    ///
    /// ```
    /// use wengert_optim::Sgd;
    /// let sgd = Sgd::<f32>::new(0.1).momentum(0.9).nesterov().weight_decay(5e-4);
    /// assert_eq!(sgd.lr(), 0.1);
    /// ```
    Sgd: SgdRule = "sgd";
    hypers {
        /// Momentum `μ >= 0`.
        momentum = 0.0, Range::NON_NEGATIVE;
        /// Dampening `τ` of the momentum; goes neither with Nesterov nor with averaged momentum.
        dampening = 0.0, Range::FINITE;
        /// Weight decay `λ >= 0`.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
    variants {
        /// Takes the weight decay out of the gradient: `p ← p (1 - lr λ)` (Loshchilov and Hutter 2019, SGDW).
        decoupled;
    }
    private {
        nesterov: bool = false;
        form: Form = Form::Classic;
        buffered: bool = false;
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Classic,
    Averaged,
    Corrected,
}

impl<T: Real> Optimizer<SgdRule, T> {
    /// Nesterov momentum (Sutskever et al. 2013).
    ///
    /// # Panics
    /// Without momentum (set it first), with dampening or with averaged momentum.
    #[track_caller]
    pub fn nesterov(mut self) -> Self {
        self.edit(|r| r.nesterov = true);
        or_panic(self.rule().check());
        self
    }

    /// Momentum as an exponentially weighted mean, `b ← β b + (1 - β) d` from `b = 0`; with `corrected` the step uses
    /// `b / (1 - βᵗ)`.
    ///
    /// # Panics
    /// When `β` is not in `[0, 1)`, or together with Nesterov momentum or dampening.
    #[track_caller]
    pub fn averaged_momentum(self, beta: f64, corrected: bool) -> Self {
        or_panic(Range::DECAY.check("sgd", "momentum", beta));
        let mut o = self.momentum(beta);
        o.edit(|r| {
            r.form = if corrected {
                Form::Corrected
            } else {
                Form::Averaged
            }
        });
        or_panic(o.rule().check());
        o
    }
}

impl SgdRule {
    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [l2, keep, lr, momentum, fresh, from_grad, from_buffer, ..] = *x.coefs;
        if self.buffered {
            x.sweep(Momentum {
                l2,
                keep,
                momentum,
                fresh,
                from_grad: -lr * from_grad,
                from_buffer: -lr * from_buffer,
            })
        } else {
            x.sweep(Descent { l2, keep, lr: -lr })
        }
    }
}

#[derive(Clone, Copy)]
struct Descent {
    l2: f64,
    keep: f64,
    lr: f64,
}

impl Update<0> for Descent {
    const WIDE: bool = true;

    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; 0]) -> (L, [L; 0]) {
        let d = p.mul_add(L::c(self.l2), g);
        (d.mul_add(L::c(self.lr), p * L::c(self.keep)), s)
    }
}

#[derive(Clone, Copy)]
struct Momentum {
    l2: f64,
    keep: f64,
    momentum: f64,
    fresh: f64,
    from_grad: f64,
    from_buffer: f64,
}

impl Update<1> for Momentum {
    const WIDE: bool = true;

    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [b]: [L; 1]) -> (L, [L; 1]) {
        let d = p.mul_add(L::c(self.l2), g);
        let b = b.mul_add(L::c(self.momentum), d * L::c(self.fresh));
        let p = d.mul_add(L::c(self.from_grad), p * L::c(self.keep));
        (b.mul_add(L::c(self.from_buffer), p), [b])
    }
}

impl Rule for SgdRule {
    precisions!();

    fn enabled(&mut self, i: usize) {
        self.buffered |= self.hypers()[i].name == "momentum";
    }

    fn check(&self) -> Result<()> {
        let fail = |message: &str| {
            Err(Error::Configuration {
                owner: "sgd",
                message: message.to_string(),
            })
        };
        if self.nesterov && !self.buffered {
            return fail("Nesterov momentum needs momentum; set `momentum` first");
        }
        if self.nesterov && self.dampening != 0.0 {
            return fail("Nesterov momentum needs dampening 0");
        }
        if self.form != Form::Classic && (self.nesterov || self.dampening != 0.0) {
            return fail(
                "averaged momentum goes neither with Nesterov momentum nor with dampening",
            );
        }
        if self.form != Form::Classic && self.momentum >= 1.0 {
            return fail("averaged momentum must be below 1");
        }
        Ok(())
    }

    fn slots(&self, _shape: &[usize]) -> Slots {
        zeros(if self.buffered {
            &["momentum_buffer"]
        } else {
            &[]
        })
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let (l2, keep) = decay(self.decoupled, self.lr, self.weight_decay);
        let (momentum, fresh, correction) = match self.form {
            // The first buffer is the gradient itself, undampened; so is one without momentum.
            Form::Classic if x.t == 1 || self.momentum == 0.0 => (0.0, 1.0, 1.0),
            Form::Classic => (self.momentum, 1.0 - self.dampening, 1.0),
            Form::Averaged => (self.momentum, 1.0 - self.momentum, 1.0),
            Form::Corrected => (
                self.momentum,
                1.0 - self.momentum,
                1.0 / (1.0 - power(self.momentum, x.t)),
            ),
        };
        let (from_grad, from_buffer) = if self.nesterov {
            (1.0, self.momentum)
        } else {
            (0.0, correction)
        };
        coefs([l2, keep, self.lr, momentum, fresh, from_grad, from_buffer])
    }
}
