//! 20 steps with given gradients against PyTorch and optax in double precision.

mod common;

use common::{Grads, Steps, distance, reference, start};
use wengert_optim::schedule::{Cosine, StepDecay};
use wengert_optim::{Adam, AdamW, Sgd};

type Case = (&'static str, Box<dyn Steps<f64>>);

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    macro_rules! case {
        ($name:literal, $make:expr) => {
            cases.push(($name, Box::new($make)));
        };
    }
    case!("sgd", Sgd::new(0.1));
    case!("sgd_decay", Sgd::new(0.1).weight_decay(0.03));
    case!("sgd_momentum", Sgd::new(0.1).momentum(0.9));
    case!(
        "sgd_dampening",
        Sgd::new(0.1)
            .momentum(0.8)
            .dampening(0.3)
            .weight_decay(0.02)
    );
    case!(
        "sgd_nesterov",
        Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(0.02)
    );
    case!("adam", Adam::new(0.02));
    case!(
        "adam_decay",
        Adam::new(0.02).betas(0.8, 0.95).eps(1e-6).weight_decay(0.1)
    );
    case!("adam_amsgrad", Adam::new(0.02).betas(0.9, 0.9).amsgrad());
    case!("adamw", AdamW::new(0.02));
    case!(
        "adamw_decay",
        AdamW::new(0.02).weight_decay(0.3).betas(0.7, 0.9)
    );
    case!("adamw_amsgrad", AdamW::new(0.02).betas(0.9, 0.9).amsgrad());
    case!("adam_cosine", Adam::new(Cosine::new(0.02, 20).floor(0.001)));
    case!(
        "sgd_step_decay",
        Sgd::new(StepDecay::new(0.1, 5, 0.3)).momentum(0.9)
    );
    cases
}

#[test]
fn trajectories_agree_with_the_references() {
    let mut expected = reference(include_str!("reference/trajectories.txt"));
    let mut wrong = Vec::new();
    for (name, mut optimizer) in cases() {
        let Some(steps) = expected.remove(name) else {
            panic!("no reference for {name}");
        };
        let mut model = start::<f64>();
        let mut grads = Grads::new();
        for t in 1..=common::STEPS {
            let g = grads.next(&model);
            optimizer.step_dyn(&mut model, &g).unwrap();
            if let Some(values) = steps.get(&t) {
                let d = distance(&model.values(), values);
                if d > 1e-10 {
                    wrong.push(format!("{name} step {t}: {d:e}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        expected.is_empty(),
        "references without a case: {:?}",
        expected.keys()
    );
}
