//! The stories of the optimizers, the drawn schedules, and the digits under every rule.

use std::sync::Arc;
use wengert::data::{DataLoader, Digits};
use wengert::optim::schedule::{Cosine, Schedule};
use wengert::optim::*;
use wengert::prelude::*;
use wengert_examples::accuracy;
use wengert_examples::stories::{clipping, ravine, schedules};
use wengert_tests::assert_told;

#[test]
fn a_ravine() {
    let story = ravine::story();
    assert_told("09-optimizers.md", &story.to_string());
    let walks = story.walks;
    let steps = |i: usize| walks[i].steps.expect("arrives");
    // Descent: ln(10 / √2e-6) / -ln(1 - 0.019) = 462 steps at the largest rate of the grid that does not swing apart.
    assert_eq!(walks[0].lr, 0.019);
    assert!((440..490).contains(&steps(0)), "{walks:?}");
    assert!(steps(1) < steps(0) / 2, "{walks:?}");
    assert!(steps(3) < steps(0), "{walks:?}");
    // Across over along: the gradient is (10, 100), the scaled ones are equal.
    assert!((walks[0].aim - 10.0).abs() < 1e-9 && (walks[1].aim - 10.0).abs() < 1e-9);
    assert!((walks[2].aim - 1.0).abs() < 1e-6 && (walks[3].aim - 1.0).abs() < 1e-6);
    assert!(walks[0].crossings > 100, "{walks:?}");
}

#[test]
fn clipping_saves_a_run_and_keeps_the_direction() {
    let story = clipping::story();
    assert_told("08-clipping.md", &story.to_string());
    let runs = story.runs;
    let [none, value, norm] = &runs[..] else {
        panic!("{runs:?}");
    };
    assert!(none.first > 1e5 && none.skipped > 300, "{none:?}");
    assert!(!none.last.is_finite() || none.last > 1e5, "{none:?}");
    for r in [value, norm] {
        assert!(r.skipped == 0 && r.last < 1.05, "{r:?}");
        assert!(r.largest > 1e6, "{r:?}");
    }
    // The gradient points along the weight; clipped by value it points along the diagonal.
    assert!((norm.cosine - 1.0).abs() < 1e-6, "{norm:?}");
    assert!((value.cosine - 0.5f64.sqrt()).abs() < 1e-4, "{value:?}");
}

#[test]
fn the_drawn_schedules_are_current() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schedules.svg");
    let drawn = std::fs::read_to_string(file).expect("docs/schedules.svg");
    assert!(
        drawn == schedules::svg(),
        "docs/schedules.svg is not current: cargo run --release --example schedules > docs/schedules.svg"
    );
    assert_eq!(drawn.matches("<polyline").count(), schedules::all().len());
}

/// Accuracy on the test digits after eight epochs.
fn digits(name: &str, mut optimizer: Box<dyn Optimize<f32>>) -> f32 {
    let digits = Digits::load().standardized();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let hidden = Linear::builder(64, 32)
        .followed_by(Activation::Relu)
        .build(&mut rng);
    let mut net = (hidden, Linear::new(32, 10, &mut rng));
    let loader = DataLoader::new(digits.train.dataset(), 32).shuffle(1);
    let mut tape = Tape::training(1);
    for epoch in 0..8 {
        for (x, y) in loader.epoch(epoch) {
            tape.reset();
            let h = net.0.forward(tape.input(&x)).relu();
            let grads = net.1.forward(h).cross_entropy(&y).backward();
            let report = optimizer.try_step(&mut net, &grads).expect(name);
            assert!(report.applied, "{name}: {report:?}");
        }
    }
    let tape = Tape::inference();
    let h = net.0.forward(tape.input(&digits.test.inputs)).relu();
    let y = net.1.forward(h).value();
    accuracy(&y, &digits.test.labels) as f32
}

#[test]
fn the_digits_converge_under_every_rule() {
    let at = |lr: f64| -> Arc<dyn Schedule> { Arc::new(Cosine::new(lr, 360).floor(lr / 100.0)) };
    let mut low = Vec::new();
    macro_rules! rules {
        ($($name:literal: $make:expr;)*) => {$(
            let found = digits($name, Box::new($make));
            println!("{:24} {found:.3}", $name);
            if found < 0.9 {
                low.push(($name, found));
            }
        )*};
    }
    rules! {
        "sgd": Sgd::new(at(0.1));
        "nesterov": Sgd::new(at(0.05)).momentum(0.9).nesterov();
        "averaged momentum": Sgd::new(at(0.2)).averaged_momentum(0.9, true);
        "adam": Adam::new(at(0.01));
        "amsgrad": Adam::new(at(0.01)).amsgrad();
        "adamw": AdamW::new(at(0.01));
        "cautious adamw": AdamW::new(at(0.01)).cautious();
        "nadam": NAdam::new(at(0.01));
        "radam": RAdam::new(at(0.03));
        "adamax": Adamax::new(at(0.01));
        "adagrad": Adagrad::new(at(0.05));
        "adadelta": Adadelta::new(at(1.0));
        "rmsprop": RmsProp::new(at(0.003)).centered().momentum(0.5);
        "adabelief": AdaBelief::new(at(0.01));
        "yogi": Yogi::new(at(0.01));
        "adan": Adan::new(at(0.01));
        "adafactor": Adafactor::new(at(0.1));
        "lion": Lion::new(at(0.003));
        "lamb": Lamb::new(at(0.02));
        "lars": Lars::new(at(20.0));
        "novograd": NovoGrad::new(at(0.01));
        "muon": Muon::new(at(0.02));
        "soap": Soap::new(at(0.01));
        "sophia": Sophia::new(at(0.003));
        "rprop": Rprop::new(at(0.003)).eta_minus(0.9).eta_plus(1.02);
        "asgd": Asgd::new(at(0.1));
        "signum": SignSgd::new(at(0.003)).momentum(0.9);
        "schedule-free sgd": ScheduleFreeSgd::new(0.5);
        "schedule-free adamw": ScheduleFreeAdamW::new(0.01);
        "prodigy": Prodigy::new(at(1.0));
        "lookahead": wrappers::Lookahead::new(Adam::new(at(0.01)), 5, 0.5);
    }
    assert!(low.is_empty(), "{low:?}");
}
