//! Runs of every rule in several settings with given gradients, which PyTorch or optax has made, too.

use crate::common::{Grads, Params, STEPS, Steps, distance, start, start_with};
use std::cell::RefCell;
use std::collections::BTreeMap;
use wengert_autograd::Gradients;
use wengert_optim::schedule::{Cosine, StepDecay};
use wengert_optim::*;

/// A rule in one setting that a reference knows.
pub struct Case {
    pub name: &'static str,
    optimizer: Box<dyn Steps<f64>>,
    /// What to show in place of the model.
    shown: Option<Box<dyn Fn(&Params<f64>) -> Vec<f64>>>,
}

/// Sophia, told the squared gradient as curvature every fourth step.
struct SquaredCurvature(Sophia<f64>);

impl Steps<f64> for SquaredCurvature {
    fn step_dyn(&mut self, model: &mut Params<f64>, grads: &Gradients<f64>) -> Result<()> {
        let t = self.0.steps();
        self.0.try_step(model, grads)?;
        if t.is_multiple_of(4) {
            self.0.observe_gauss_newton(model, grads, 1);
        }
        Ok(())
    }
}

/// An optimizer whose averaged weights are shown.
struct Shared<R: rule::Rule>(std::rc::Rc<RefCell<Optimizer<R, f64>>>);

impl<R: rule::Rule> Steps<f64> for Shared<R> {
    fn step_dyn(&mut self, model: &mut Params<f64>, grads: &Gradients<f64>) -> Result<()> {
        self.0.borrow_mut().try_step(model, grads).map(|_| ())
    }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    macro_rules! case {
        ($name:literal, $make:expr) => {
            cases.push(Case {
                name: $name,
                optimizer: Box::new($make),
                shown: None,
            });
        };
    }
    macro_rules! averaged {
        ($name:literal, $make:expr) => {{
            let shared = std::rc::Rc::new(RefCell::new($make));
            let other = shared.clone();
            cases.push(Case {
                name: $name,
                optimizer: Box::new(Shared(shared)),
                shown: Some(Box::new(move |m| other.borrow().averaged(m).values())),
            });
        }};
    }
    case!("sgd", Sgd::new(0.1));
    case!("sgd_decay", Sgd::new(0.1).weight_decay(0.03));
    case!("sgd_momentum", Sgd::new(0.1).momentum(0.9));
    let damped = Sgd::new(0.1).momentum(0.8).dampening(0.3);
    case!("sgd_dampening", damped.weight_decay(0.02));
    let nesterov = Sgd::new(0.1).momentum(0.9).nesterov();
    case!("sgd_nesterov", nesterov.weight_decay(0.02));
    case!("adam", Adam::new(0.02));
    let adam = Adam::new(0.02).betas(0.8, 0.95);
    case!("adam_decay", adam.eps(1e-6).weight_decay(0.1));
    case!("adam_amsgrad", Adam::new(0.02).betas(0.9, 0.9).amsgrad());
    case!("adamw", AdamW::new(0.02));
    let adamw = AdamW::new(0.02).betas(0.7, 0.9);
    case!("adamw_decay", adamw.weight_decay(0.3));
    case!("adamw_amsgrad", AdamW::new(0.02).betas(0.9, 0.9).amsgrad());
    case!("adam_cosine", Adam::new(Cosine::new(0.02, 20).floor(0.001)));
    let decaying = Sgd::new(StepDecay::new(0.1, 5, 0.3));
    case!("sgd_step_decay", decaying.momentum(0.9));
    case!("adagrad", Adagrad::new(0.1));
    let adagrad = Adagrad::new(0.1).lr_decay(0.1).weight_decay(0.05);
    case!("adagrad_decay", adagrad.initial_accumulator(0.3).eps(1e-6));
    case!("adadelta", Adadelta::new(1.0));
    let adadelta = Adadelta::new(0.5).rho(0.8).eps(1e-4);
    case!("adadelta_decay", adadelta.weight_decay(0.05));
    case!("rmsprop", RmsProp::new(0.02));
    let rmsprop = RmsProp::new(0.02).momentum(0.8).alpha(0.9);
    case!("rmsprop_momentum", rmsprop.weight_decay(0.05));
    case!("rmsprop_centered", RmsProp::new(0.02).centered().eps(1e-5));
    let rmsprop = RmsProp::new(0.02).centered().momentum(0.5);
    case!("rmsprop_both", rmsprop.alpha(0.8));
    case!("adamax", Adamax::new(2e-3));
    let adamax = Adamax::new(0.05).betas(0.8, 0.9).eps(1e-4);
    case!("adamax_decay", adamax.weight_decay(0.05));
    case!("nadam", NAdam::new(2e-3));
    let nadam = NAdam::new(0.05).betas(0.8, 0.9).weight_decay(0.05);
    case!("nadam_decay", nadam.momentum_decay(0.02));
    case!(
        "nadam_decoupled",
        NAdam::new(0.05).weight_decay(0.05).decoupled()
    );
    case!("radam", RAdam::new(0.02));
    let radam = RAdam::new(0.05).betas(0.8, 0.9);
    case!("radam_decay", radam.weight_decay(0.05));
    case!(
        "radam_decoupled",
        RAdam::new(0.05).weight_decay(0.05).decoupled()
    );
    case!("rprop", Rprop::new(1e-2));
    let rprop = Rprop::new(0.05).eta_minus(0.3).eta_plus(1.5);
    case!("rprop_etas", rprop.step_min(1e-3).step_max(0.2));
    case!("asgd", Asgd::new(1e-2));
    let asgd = Asgd::new(0.1).lambd(0.02).alpha(0.6).t0(3.0);
    case!("asgd_early", asgd.weight_decay(0.05));
    averaged!("asgd_averaged", Asgd::<f64>::new(0.1).t0(3.0));
    case!("adafactor", Adafactor::new(1e-2));
    let adafactor = Adafactor::new(0.3).beta2_decay(-0.6).d(1.5);
    case!("adafactor_decay", adafactor.weight_decay(0.05));
    case!("muon", Muon::new(0.02).adam_lr_scale(0.5));
    let muon = Muon::new(0.05).adam_lr_scale(0.5).momentum(0.8);
    case!("muon_plain", muon.weight_decay(0.2).plain_momentum());
    let muon = Muon::new(0.05).adam_lr_scale(0.5);
    case!("muon_match", muon.scaling(MuonScale::MatchRmsAdamW));
    case!("soap", Soap::new(0.05));
    let soap = Soap::new(0.05).betas(0.9, 0.8).weight_decay(0.1);
    case!("soap_often", soap.precondition_every(3));
    case!(
        "cautious_adamw",
        AdamW::new(0.02).weight_decay(0.1).cautious()
    );
    case!(
        "cautious_lion",
        Lion::new(0.02).weight_decay(0.1).cautious()
    );

    case!("optax_sgd", Sgd::new(0.1).momentum(0.9).nesterov());
    case!("optax_adam", Adam::new(0.02));
    let cosine = Cosine::new(0.02, 20).floor(0.001);
    case!("optax_adamw", AdamW::new(cosine).weight_decay(0.1));
    case!(
        "optax_ema_momentum",
        Sgd::new(0.1).averaged_momentum(0.9, false)
    );
    case!(
        "optax_ema_corrected",
        Sgd::new(0.1).averaged_momentum(0.9, true)
    );
    case!("optax_adabelief", AdaBelief::new(0.02));
    let belief = AdaBelief::new(0.05).betas(0.8, 0.9);
    case!("optax_adabelief_betas", belief.eps(1e-8).eps_root(1e-6));
    case!("optax_yogi", Yogi::new(0.02));
    case!(
        "optax_yogi_betas",
        Yogi::new(0.05).betas(0.8, 0.9).eps(1e-2)
    );
    case!("optax_adan", Adan::new(0.02));
    let adan = Adan::new(0.05).beta1(0.9).beta2(0.8).beta3(0.95);
    case!("optax_adan_decay", adan.weight_decay(0.1));
    case!("optax_lion", Lion::new(0.01));
    case!(
        "optax_lion_decay",
        Lion::new(0.03).betas(0.8, 0.9).weight_decay(0.2)
    );
    case!("optax_lamb", Lamb::new(0.02));
    let lamb = Lamb::new(0.05).betas(0.8, 0.9).eps_root(1e-4);
    case!("optax_lamb_decay", lamb.weight_decay(0.1));
    case!("optax_lars", Lars::new(0.5));
    let lars = Lars::new(0.5).weight_decay(0.1).trust(0.01);
    case!("optax_lars_decay", lars.eps(1e-3).nesterov());
    case!("optax_novograd", NovoGrad::new(0.02));
    let novograd = NovoGrad::new(0.05).betas(0.8, 0.6).eps_root(1e-4);
    case!("optax_novograd_decay", novograd.weight_decay(0.1));
    case!("optax_sign_sgd", SignSgd::new(0.02));
    case!("optax_signum", SignSgd::new(0.02).momentum(0.8));
    case!("optax_prodigy", Prodigy::new(1.0).d0(1e-2));
    let prodigy = Prodigy::new(0.5).betas(0.8, 0.9).beta3(0.7).d0(1e-2);
    case!("optax_prodigy_decay", prodigy.weight_decay(0.1).d_coef(2.0));
    let prodigy = Prodigy::new(1.0).d0(1e-2);
    case!("optax_prodigy_safeguard", prodigy.safeguard_warmup());
    case!("optax_schedule_free_sgd", ScheduleFreeSgd::new(0.1));
    let free = ScheduleFreeSgd::new(0.1).beta(0.7).weight_decay(0.1);
    case!("optax_schedule_free_sgd_decay", free.weight_lr_power(1.0));
    case!("optax_schedule_free_adamw", ScheduleFreeAdamW::new(0.02));
    let free = ScheduleFreeAdamW::new(0.05).beta(0.8).beta2(0.9);
    case!("optax_schedule_free_adamw_decay", free.weight_decay(0.1));
    averaged!(
        "optax_schedule_free_averaged",
        ScheduleFreeAdamW::<f64>::new(0.02)
    );
    case!("optax_sophia", SquaredCurvature(Sophia::new(0.02)));
    let sophia = Sophia::new(0.05).betas(0.8, 0.9).gamma(0.5);
    case!(
        "optax_sophia_gamma",
        SquaredCurvature(sophia.weight_decay(0.1).clip(0.7))
    );
    cases
}

/// Runs a case; the steps at which the weights are further than 1e-10 from the reference, with the distance.
pub fn differences(mut case: Case, steps: &BTreeMap<usize, Vec<f64>>) -> Vec<(usize, f64)> {
    let mut wrong = Vec::new();
    let matrices = case.name.starts_with("muon");
    let mut model = if matrices {
        start_with::<f64>(&[&[3, 2], &[4], &[], &[2, 3]])
    } else {
        start::<f64>()
    };
    let mut grads = Grads::new(matrices || case.name.starts_with("optax_"));
    for t in 1..=STEPS {
        let g = grads.next(&model);
        case.optimizer.step_dyn(&mut model, &g).unwrap();
        if let Some(values) = steps.get(&t) {
            let found = match &case.shown {
                Some(f) => f(&model),
                None => model.values(),
            };
            let d = distance(&found, values);
            if d.is_nan() || d > 1e-10 {
                wrong.push((t, d));
            }
        }
    }
    wrong
}
