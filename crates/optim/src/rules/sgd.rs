//! Stochastic gradient descent and its momenta.

use crate::error::{Error, Result, or_panic};
use crate::optimizer::Optimizer;
use crate::rule::{Coefs, Pass, Plan, Range, Rule, Slot, Slots, Sums, Update, rule_basics};
use crate::schedule::Schedule;
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

/// Gradient descent, with momentum if asked for (PyTorch's `SGD`).
///
/// With gradient `g`, weight decay `λ`, momentum `μ` and dampening `τ`:
/// ```text
/// d = g + λ p                     coupled decay; with decoupled decay p ← p (1 - lr λ) and d = g
/// b ← d at first, then μ b + (1 - τ) d
/// p ← p - lr d                    without momentum
/// p ← p - lr b                    with momentum
/// p ← p - lr (d + μ b)            Nesterov
/// ```
/// [`Sgd::averaged_momentum`] gives the exponentially weighted form `b ← μ b + (1 - μ) d` from `b = 0`.
///
/// ```
/// use wengert_optim::Sgd;
/// let sgd = Sgd::<f32>::new(0.1).momentum(0.9).nesterov().weight_decay(5e-4);
/// assert_eq!(sgd.lr(), 0.1);
/// ```
pub type Sgd<T = f32> = Optimizer<SgdRule, T>;

/// The rule of [`Sgd`].
#[derive(Debug, Clone, PartialEq)]
pub struct SgdRule {
    lr: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    decoupled: bool,
    form: Form,
    buffered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Classic,
    Averaged,
    Corrected,
}

impl<T: Real> Optimizer<SgdRule, T> {
    /// Plain gradient descent.
    ///
    /// # Panics
    /// Where [`Sgd::try_new`] errs.
    #[track_caller]
    pub fn new(lr: impl Schedule) -> Self {
        or_panic(Self::try_new(lr))
    }

    /// As [`Sgd::new`].
    ///
    /// # Errors
    /// When `lr` is negative or not finite.
    pub fn try_new(lr: impl Schedule) -> Result<Self> {
        let rule = SgdRule {
            lr: 0.0,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            decoupled: false,
            form: Form::Classic,
            buffered: false,
        };
        Optimizer::with_rule(rule).try_with("lr", lr)
    }

    /// Momentum `μ >= 0`; default 0.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn momentum(self, momentum: impl Schedule) -> Self {
        let mut o = self.with("momentum", momentum);
        o.edit(|r| r.buffered = true);
        o
    }

    /// Dampening `τ` of the momentum; default 0.
    ///
    /// # Panics
    /// When it is not finite, or when Nesterov momentum was asked for.
    #[track_caller]
    pub fn dampening(self, dampening: impl Schedule) -> Self {
        let o = self.with("dampening", dampening);
        or_panic(o.rule().check());
        o
    }

    /// Nesterov momentum (Sutskever et al. 2013).
    ///
    /// # Panics
    /// Without momentum, with dampening or with averaged momentum.
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

    /// Weight decay `λ >= 0` added to the gradient; default 0.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(self, decay: impl Schedule) -> Self {
        self.with("weight_decay", decay)
    }

    /// Takes the weight decay out of the gradient: `p ← p (1 - lr λ)` (Loshchilov and Hutter 2019, SGDW).
    pub fn decoupled(mut self) -> Self {
        self.edit(|r| r.decoupled = true);
        self
    }
}

impl SgdRule {
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
        Ok(())
    }

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
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [b]: [L; 1]) -> (L, [L; 1]) {
        let d = p.mul_add(L::c(self.l2), g);
        let b = b.mul_add(L::c(self.momentum), d * L::c(self.fresh));
        let p = d.mul_add(L::c(self.from_grad), p * L::c(self.keep));
        (b.mul_add(L::c(self.from_buffer), p), [b])
    }
}

impl Rule for SgdRule {
    rule_basics!("sgd";
        lr: Range::NON_NEGATIVE,
        momentum: Range::NON_NEGATIVE,
        dampening: Range::FINITE,
        weight_decay: Range::NON_NEGATIVE,
    );

    fn scheduled(&mut self, i: usize) {
        self.buffered |= self.hypers()[i].name == "momentum";
    }

    fn slots(&self, _shape: &[usize]) -> Slots {
        let mut slots = Slots::new();
        if self.buffered {
            slots.push(Slot::zeros("momentum_buffer"));
        }
        slots
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let (l2, keep) = if self.decoupled {
            (0.0, 1.0 - self.lr * self.weight_decay)
        } else {
            (self.weight_decay, 1.0)
        };
        let (momentum, fresh, correction) = match self.form {
            // The first buffer is the gradient itself, undampened.
            Form::Classic if x.t == 1 => (0.0, 1.0, 1.0),
            Form::Classic => (self.momentum, 1.0 - self.dampening, 1.0),
            Form::Averaged => (self.momentum, 1.0 - self.momentum, 1.0),
            Form::Corrected => (
                self.momentum,
                1.0 - self.momentum,
                1.0 / (1.0 - self.momentum.powf(x.t as f64)),
            ),
        };
        let (from_grad, from_buffer) = if self.nesterov {
            (1.0, self.momentum)
        } else {
            (0.0, correction)
        };
        let mut c = Coefs::default();
        c[..7].copy_from_slice(&[l2, keep, self.lr, momentum, fresh, from_grad, from_buffer]);
        c
    }
}
