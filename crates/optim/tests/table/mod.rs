//! Every rule and every schedule, for the tests that go over all of them.
#![allow(dead_code)]

use std::sync::Arc;
use wengert_autograd::Real;
use wengert_optim::rule::Hyper;
use wengert_optim::schedule::*;
use wengert_optim::*;

pub type Lr = Arc<dyn Schedule>;

/// A rule in one variant.
pub struct RuleCase<T: Real> {
    pub name: &'static str,
    /// A learning rate that suits it.
    pub lr: f64,
    /// The optimizer with a learning rate.
    pub make: fn(Lr) -> Box<dyn Optimize<T>>,
    /// As `make`, with one more hyperparameter, by name.
    pub with: fn(Lr, &str, Lr) -> Result<Box<dyn Optimize<T>>>,
    /// As `make`, with a group.
    pub group: fn(Lr, Group) -> Result<Box<dyn Optimize<T>>>,
    /// As `make`, with a policy for gradients that are not finite.
    pub policy: fn(Lr, NonFinitePolicy) -> Box<dyn Optimize<T>>,
    /// As `make`, with a reaction to plateaus.
    pub plateau: fn(Lr, Plateau) -> Box<dyn Optimize<T>>,
    /// As `make`, with clipping to a norm in the step.
    pub clipped: fn(Lr, f64) -> Box<dyn Optimize<T>>,
    /// `try_new`
    pub try_new: fn(f64) -> Option<Error>,
    /// `new`
    pub new: fn(f64),
    /// As `with`, for a look at hyperparameters.
    pub watched: fn(Lr, &str, Lr) -> Result<Box<dyn Watched<T>>>,
    /// Hyperparameters with their values.
    pub hypers: Vec<(Hyper, f64)>,
    /// The type, and its hyperparameters with their defaults.
    pub kind: &'static str,
    pub defaults: Vec<(Hyper, f64)>,
}

/// An optimizer whose hyperparameters can be asked for.
pub trait Watched<T: Real>: Optimize<T> {
    fn now(&self, name: &str) -> Option<f64>;
}

impl<R: rule::Rule, T: Real> Watched<T> for Optimizer<R, T> {
    fn now(&self, name: &str) -> Option<f64> {
        self.hyper(name)
    }
}

macro_rules! rules {
    ($($name:literal $kind:ident $lr:literal |$x:ident| $make:expr;)*) => {
        vec![$({
            fn make<T: Real>($x: Lr) -> impl Refine<T> + Watched<T> + 'static {
                $make
            }
            RuleCase {
                name: $name,
                lr: $lr,
                make: |x| Box::new(make::<T>(x)),
                with: |x, name, value| Ok(Box::new(make::<T>(x).refine_with(name, value)?)),
                group: |x, group| Ok(Box::new(make::<T>(x).refine_group(group)?)),
                policy: |x, policy| Box::new(make::<T>(x).refine_policy(policy)),
                plateau: |x, plateau| Box::new(make::<T>(x).refine_plateau(plateau)),
                clipped: |x, max| Box::new(make::<T>(x).refine_clip(max)),
                try_new: |x| $kind::<T>::try_new(x).err(),
                new: |x| drop($kind::<T>::new(x)),
                watched: |x, name, value| Ok(Box::new(make::<T>(x).refine_with(name, value)?)),
                hypers: make::<T>(Arc::new($lr)).hypers(),
                kind: stringify!($kind),
                defaults: $kind::<T>::new($lr).hypers(),
            }
        }),*]
    };
}

/// The builder methods, whatever the rule.
pub trait Refine<T: Real>: Sized {
    fn refine_with(self, name: &str, value: Lr) -> Result<Self>;
    fn refine_group(self, group: Group) -> Result<Self>;
    fn refine_policy(self, policy: NonFinitePolicy) -> Self;
    fn refine_plateau(self, plateau: Plateau) -> Self;
    fn refine_clip(self, max: f64) -> Self;
    fn hypers(&self) -> Vec<(Hyper, f64)>;
}

impl<R: rule::Rule, T: Real> Refine<T> for Optimizer<R, T> {
    fn refine_with(self, name: &str, value: Lr) -> Result<Self> {
        self.try_with(name, value)
    }
    fn refine_group(self, group: Group) -> Result<Self> {
        self.try_group(group)
    }
    fn refine_policy(self, policy: NonFinitePolicy) -> Self {
        self.non_finite(policy)
    }
    fn refine_plateau(self, plateau: Plateau) -> Self {
        self.reduce_on_plateau(plateau)
    }
    fn refine_clip(self, max: f64) -> Self {
        self.clip_norm(max)
    }
    fn hypers(&self) -> Vec<(Hyper, f64)> {
        let rule = self.rule();
        let all = rule.hypers().iter().enumerate();
        all.map(|(i, h)| (*h, rule.get(i))).collect()
    }
}

/// Every rule, with its variants.
pub fn rules<T: Real>() -> Vec<RuleCase<T>> {
    rules! {
        "sgd" Sgd 0.1 |lr| Sgd::new(lr);
        "momentum" Sgd 0.02 |lr| Sgd::new(lr).momentum(0.9);
        "dampened" Sgd 0.02 |lr| Sgd::new(lr).momentum(0.9).dampening(0.5).weight_decay(0.01).decoupled();
        "nesterov" Sgd 0.02 |lr| Sgd::new(lr).momentum(0.9).nesterov();
        "averaged momentum" Sgd 0.1 |lr| Sgd::new(lr).averaged_momentum(0.9, false);
        "corrected momentum" Sgd 0.1 |lr| Sgd::new(lr).averaged_momentum(0.9, true);
        "adam" Adam 0.05 |lr| Adam::new(lr);
        "amsgrad" Adam 0.05 |lr| Adam::new(lr).amsgrad().weight_decay(0.01);
        "cautious adam" Adam 0.05 |lr| Adam::new(lr).cautious();
        "adamw" AdamW 0.05 |lr| AdamW::new(lr);
        "cautious amsgrad w" AdamW 0.05 |lr| AdamW::new(lr).amsgrad().cautious();
        "nadam" NAdam 0.05 |lr| NAdam::new(lr).weight_decay(0.01).decoupled();
        "radam" RAdam 0.05 |lr| RAdam::new(lr);
        "adamax" Adamax 0.05 |lr| Adamax::new(lr);
        "adagrad" Adagrad 0.2 |lr| Adagrad::new(lr).lr_decay(0.01);
        "adadelta" Adadelta 1.0 |lr| Adadelta::new(lr);
        "rmsprop" RmsProp 0.02 |lr| RmsProp::new(lr);
        "centered rmsprop" RmsProp 0.02 |lr| RmsProp::new(lr).centered().momentum(0.5);
        "adabelief" AdaBelief 0.05 |lr| AdaBelief::new(lr);
        "yogi" Yogi 0.05 |lr| Yogi::new(lr);
        "adan" Adan 0.05 |lr| Adan::new(lr);
        "adafactor" Adafactor 0.05 |lr| Adafactor::new(lr);
        "lion" Lion 0.01 |lr| Lion::new(lr);
        "cautious lion" Lion 0.01 |lr| Lion::new(lr).cautious();
        "lamb" Lamb 0.02 |lr| Lamb::new(lr);
        "lars" Lars 1.0 |lr| Lars::new(lr).trust(0.02);
        "novograd" NovoGrad 0.02 |lr| NovoGrad::new(lr);
        "muon" Muon 0.02 |lr| Muon::new(lr);
        "soap" Soap 0.02 |lr| Soap::new(lr).precondition_every(3);
        "sophia" Sophia 0.01 |lr| Sophia::new(lr);
        "rprop" Rprop 0.01 |lr| Rprop::new(lr);
        "asgd" Asgd 0.05 |lr| Asgd::new(lr).t0(20.0);
        "signsgd" SignSgd 0.01 |lr| SignSgd::new(lr);
        "signum" SignSgd 0.01 |lr| SignSgd::new(lr).momentum(0.9);
        "schedule-free sgd" ScheduleFreeSgd 0.1 |lr| ScheduleFreeSgd::new(lr);
        "schedule-free adamw" ScheduleFreeAdamW 0.05 |lr| ScheduleFreeAdamW::new(lr);
        "prodigy" Prodigy 1.0 |lr| Prodigy::new(lr).d0(1e-3);
    }
}

/// Every schedule and every way to compose them, with values about `x`, over some 100 steps.
pub fn schedules(x: f64) -> Vec<(&'static str, Lr)> {
    let mut list: Vec<(&'static str, Lr)> = Vec::new();
    macro_rules! add {
        ($($name:literal: $make:expr;)*) => {$(list.push(($name, Arc::new($make)));)*};
    }
    let cyclic = Cyclic::new(x / 4.0, x, 7).down(5);
    let cycle = OneCycle::new(x, 90);
    add! {
        "number": x;
        "constant": Constant::new(x);
        "step": StepDecay::new(x, 13, 0.6);
        "multi-step": MultiStep::new(x, [20, 49, 50, 80], 0.5);
        "piecewise": Piecewise::new(x, [(49, x / 2.0), (51, x / 3.0)]);
        "exponential": Exponential::new(x, 0.98);
        "polynomial": Polynomial::new(x, 90, 1.7).floor(x / 50.0);
        "linear": Linear::new(x, 90).floor(x / 20.0);
        "inverse square root": InverseSqrt::new(x, 11);
        "inverse time": InverseTime::new(x, 0.3, 10);
        "cosine": Cosine::new(x, 90).floor(x / 100.0);
        "warm restarts": CosineRestarts::new(x, 9).growing(2).floor(x / 100.0);
        "triangular": cyclic.clone();
        "triangular2": cyclic.clone().triangular2();
        "exp_range": cyclic.clone().exp_range(0.99);
        "cycled down": cyclic.momentum(x / 4.0, x);
        "one-cycle": cycle.clone();
        "one-cycle of three lines": cycle.clone().linear().three_phase();
        "one-cycle, momentum": cycle.momentum(x / 2.0, x);
        "warm-up": Cosine::new(x, 60).warmup(20);
        "sequential": Linear::new(x / 10.0, 45).floor(x).then(45, Exponential::new(x, 0.97));
        "chained": StepDecay::new(x, 30, 0.5).times(Exponential::new(1.0, 0.99));
        "sum": Exponential::new(x / 2.0, 0.9).plus(x / 2.0);
        "clamped": Exponential::new(x, 0.95).clamp(x / 4.0, x * 0.9);
        "delayed": Exponential::new(x, 0.97).delay(33);
        "every": StepDecay::new(x, 2, 0.7).every(10);
        "function": from_fn(move |t| x / (1.0 + (t as f64).sqrt()));
    }
    list
}
