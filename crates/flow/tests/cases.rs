//! Networks of unusual kinds, and what goes wrong in them.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::{Float, Param, Tape, Tensor, Var, custom_grad};
use wengert_flow::judge::{Judge, Rule};
use wengert_flow::lab::{LabData, NetSpec, Remedy, Samples, compare};
use wengert_flow::probe::Probe;
use wengert_flow::profile::{Finding, RunProfile, Severity, StepProfile};
use wengert_flow::report::json;
use wengert_flow::{FlowReport, Monitor};
use wengert_nn::{BatchNorm2d, Conv2d, Forward, Linear, Lstm};
use wengert_optim::Sgd;

fn rng() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(3)
}

fn wave<T: Float>(shape: &[usize]) -> Tensor<T> {
    let n: usize = shape.iter().product();
    let value = |i| T::from_f64((i as f64 * 0.7).sin() * 1.4);
    Tensor::from_vec((0..n).map(value).collect(), shape)
}

fn weights(shapes: &[[usize; 2]]) -> Vec<Param<f32>> {
    shapes.iter().map(|s| Param::new(wave(s))).collect()
}

fn judged(step: StepProfile) -> FlowReport {
    FlowReport::judged(RunProfile::new("run").with_step(step), &Judge::default())
}

/// The line in a location of this file.
fn line(location: Option<&str>) -> u32 {
    let location = location.expect("a line");
    assert!(location.contains("cases.rs"), "{location}");
    location
        .split(':')
        .nth(1)
        .expect("a line")
        .parse()
        .expect("a number")
}

#[test]
fn an_lstm_is_watched_through_time() {
    let mut model: (Lstm, Linear) = (
        Lstm::builder(3, 8).build(&mut rng()),
        Linear::new(8, 1, &mut rng()),
    );
    let (mut tape, mut sgd, mut monitor) = (Tape::training(1), Sgd::new(0.1), Monitor::every(1));
    for _ in 0..3 {
        tape.reset();
        let y = model.0.forward(tape.input(&wave(&[20, 4, 3])));
        let loss = (model.1.forward(y.select(0, 19)) - 0.5).square().mean();
        let grads = monitor.backward(loss, &model);
        sgd.step(&mut model, &grads);
        monitor.stepped(&model);
    }
    let report = monitor.report();
    assert!(report.is_healthy(), "{report}");
    for step in &report.run().steps {
        let [t] = &step.time[..] else {
            panic!("{:?}", step.time)
        };
        let (decay, memory) = (t.decay().expect("measured"), t.memory().expect("measured"));
        assert_eq!((t.path.as_str(), t.grad_rms.len()), ("0", 20));
        assert!((0.7..0.85).contains(&decay), "{decay}");
        assert!((memory + 1.0 / decay.ln()).abs() < 1e-9);
    }
    assert!(
        report.run().steps[2]
            .layers
            .iter()
            .all(|l| l.update_ratio > Some(0.0))
    );
}

/// Findings about a convolution with batch norm, and the line that normalizes.
fn normed(batch: usize, tape: &Tape<f64>) -> (Vec<Finding>, u32) {
    let model: (Conv2d<f64>, BatchNorm2d<f64>, Linear<f64>) = (
        Conv2d::new(2, 4, 3, &mut rng()),
        BatchNorm2d::new(4),
        Linear::new(144, 3, &mut rng()),
    );
    let h = model.0.forward(tape.input(&wave(&[batch, 2, 8, 8])));
    let h = model.1.forward(h);
    let here = std::line!() - 1;
    let y = Tensor::from_vec((0..batch as i64).map(|i| i % 3).collect(), [batch]);
    let loss = model
        .2
        .forward(h.relu().reshape([batch, 144]))
        .cross_entropy(&y);
    let (_, step) = Probe::default().backward(loss, &model);
    assert_eq!(step.layers.len(), 2);
    (judged(step).findings().to_vec(), here)
}

#[test]
fn batch_norm_in_the_wrong_mode_or_with_one_sample_is_named_with_its_line() {
    let (healthy, _) = normed(8, &Tape::training(0));
    assert_eq!(healthy[0].rule, "healthy");
    for (batch, tape) in [(8, Tape::inference()), (1, Tape::training(0))] {
        let (found, here) = normed(batch, &tape);
        assert_eq!(
            (found[0].rule.as_str(), found[0].layer.as_deref()),
            ("batch norm", Some("1"))
        );
        assert_eq!(line(found[0].location.as_deref()), here);
    }
}

#[test]
fn the_step_that_makes_the_first_nan_is_named_with_operation_and_line() {
    let mut model = weights(&[[8, 4], [1, 8]]);
    let (mut tape, mut monitor, mut here) = (Tape::training(1), Monitor::every(1), 0);
    for k in 0..5 {
        tape.reset();
        // Numbers whose squares are beyond f32, once.
        let scale = if k == 3 { 1e30 } else { 1.0 };
        let x = tape.input(&wave(&[6, 4])) * scale;
        let h = x.linear(tape.param(&model[0]), None);
        let h = h.square();
        here = std::line!() - 1;
        let loss = h.linear(tape.param(&model[1]), None).mean();
        let grads = monitor.backward(loss, &model);
        Sgd::new(0.0).step(&mut model, &grads);
        monitor.stepped(&model);
    }
    let report = monitor.report();
    let steps = &report.run().steps;
    let bad: Vec<u64> = (steps.iter())
        .filter(|s| s.facts.non_finite.is_some())
        .map(|s| s.step)
        .collect();
    assert_eq!(bad, [3]);
    let first = steps[3].facts.non_finite.as_ref().expect("found");
    assert_eq!(
        (first.op.as_str(), line(Some(&first.location))),
        ("square", here)
    );
    let verdict = report.verdict();
    assert_eq!(
        (verdict.rule.as_str(), line(verdict.location.as_deref())),
        ("not finite", here)
    );
}

#[test]
fn a_weight_under_no_grad_is_not_connected() {
    let model = weights(&[[8, 4], [3, 8], [1, 3]]);
    let here = std::line!() + 3;
    let report = FlowReport::of(&model, &wave(&[6, 4]), |m, x| {
        let t = x.tape();
        let w = t.no_grad(|| t.param(&m[1]) * 1.0);
        let h = x.linear(t.param(&m[0]), None).tanh();
        h.linear(w, None)
            .linear(t.param(&m[2]), None)
            .square()
            .mean()
    });
    let verdict = report.verdict();
    assert_eq!(
        (verdict.rule.as_str(), verdict.layer.as_deref()),
        ("no gradient", Some("1"))
    );
    assert_eq!(line(verdict.location.as_deref()), here);
    // The whole layer: what stands before it gets none, either.
    let report = FlowReport::of(&model, &wave(&[6, 4]), |m, x| {
        let t = x.tape();
        let h = x.linear(t.param(&m[0]), None).tanh();
        let h = t.no_grad(|| h.linear(t.param(&m[1]), None));
        h.linear(t.param(&m[2]), None).square().mean()
    });
    let evidence = report.verdict().evidence.as_deref();
    assert_eq!(evidence, Some("no gradient for 0 and 1"));
}

#[test]
fn a_layer_used_twice_is_one_layer_with_two_uses() {
    let model = weights(&[[4, 4], [1, 4]]);
    let report = FlowReport::of(&model, &(wave(&[6, 4]) as Tensor), |m, x| {
        let w = x.tape().param(&m[0]);
        let h = x.linear(w, None).tanh().linear(w, None).tanh();
        h.linear(x.tape().param(&m[1]), None).square().mean()
    });
    assert!(report.is_healthy(), "{report}");
    let step = report.step().expect("measured");
    assert_eq!((step.layers.len(), step.time[0].grad_rms.len()), (2, 2));
}

#[test]
fn an_empty_batch_is_said_to_be_one() {
    let model = weights(&[[4, 4], [1, 4]]);
    let out = |m: &Vec<Param<f32>>, x: Var<'_>| {
        let h = x.linear(x.tape().param(&m[0]), None).tanh();
        let t = x.tape();
        h.linear(t.param(&m[1]), None).square().sum().value()
    };
    assert_eq!(
        out(&model, Tape::training(0).input(&wave(&[0, 4]))).item(),
        0.0
    );
    let report = FlowReport::of(&model, &wave(&[0, 4]), |m, x| {
        let h = x.linear(x.tape().param(&m[0]), None).tanh();
        h.linear(x.tape().param(&m[1]), None).square().sum()
    });
    let [only] = report.findings() else {
        panic!("{report}")
    };
    assert!(
        only.rule == "not measured" && only.message.contains("empty"),
        "{report}"
    );
    assert!(!report.is_healthy());
}

#[test]
fn a_rule_that_panics_leaves_tape_and_probe_usable() {
    let model = weights(&[[4, 4]]);
    let mut tape = Tape::training(0);
    let loss = |tape: &Tape| {
        let y = tape
            .input(&wave(&[6, 4]))
            .linear(tape.param(&model[0]), None);
        y.tanh().square().mean().item()
    };
    let before = loss(&tape);
    tape.reset();
    let h = tape
        .input(&wave(&[6, 4]))
        .linear(tape.param(&model[0]), None);
    let y = custom_grad([h], |[h]| h.round(), |_| panic!("the rule of a caller"));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        Probe::default().backward(y.mean(), &model).1
    }));
    let message = caught.expect_err("the panic of the rule");
    assert_eq!(message.downcast_ref(), Some(&"the rule of a caller"));
    tape.reset();
    assert_eq!(loss(&tape), before);
    tape.reset();
    let h = tape
        .input(&wave(&[6, 4]))
        .linear(tape.param(&model[0]), None);
    let (grads, step) = Probe::default().backward(h.tanh().mean(), &model);
    assert_eq!((grads.len(), step.layers.len()), (1, 1));
}

#[test]
fn two_monitors_of_one_tape_see_what_each_would_alone() {
    let mut model = weights(&[[4, 4]]);
    let (mut tape, mut sgd) = (Tape::training(0), Sgd::new(0.0));
    let (mut a, mut b): (Monitor, Monitor) = (Monitor::every(1), Monitor::every(1));
    for k in 0..6 {
        tape.reset();
        let y = tape
            .input(&wave(&[6, 4]))
            .linear(tape.param(&model[0]), None);
        let m = if k % 2 == 0 { &mut a } else { &mut b };
        let grads = m.backward(y.tanh().square().mean(), &model);
        sgd.step(&mut model, &grads);
        m.stepped(&model);
    }
    let (a, b) = (a.into_run(), b.into_run());
    assert_eq!((a.steps.len(), b.steps.len()), (3, 3));
    assert_eq!(a.steps, b.steps);
}

#[test]
fn a_rule_may_name_a_layer_that_is_not_there() {
    let rule = Rule::new("mine", "always", |_, _| {
        vec![Finding::new(Severity::Warning, "mine", "It is `nowhere`.").at("nowhere")]
    });
    let model = weights(&[[1, 4]]);
    let report = FlowReport::of(&model, &(wave(&[6, 4]) as Tensor), |m, x| {
        x.linear(x.tape().param(&m[0]), None).square().mean()
    });
    let report = FlowReport::judged(report.run().clone(), &Judge::default().with(rule));
    assert_eq!(report.verdict().layer.as_deref(), Some("nowhere"));
    assert!(format!("{report}").contains("nowhere"));
    assert!(report.json().contains("nowhere"));
}

#[test]
fn values_from_elsewhere_may_be_nan_empty_or_huge() {
    let (huge, nan, none) = ([f32::MAX; 10], [f32::NAN, 1.0], [0.0f32; 0]);
    let infinite = [f32::INFINITY; 3];
    let all = || {
        [
            ("a", &huge[..]),
            ("b", &nan),
            ("c", &none),
            ("d", &infinite),
        ]
    };
    let step = StepProfile::new(0)
        .with_loss(2.3)
        .with_activations(all())
        .with_activation_grads(all());
    let report = judged(step);
    assert!(
        report.findings().iter().any(|f| f.rule == "not finite"),
        "{report}"
    );
    let text = format!("{report}{}", json::runs(&[report.run().clone()]));
    assert!(!text.contains("gradient 0 in `d`"), "{text}");
    // Nothing but empty lists, and nothing at all.
    let report = judged(StepProfile::new(0).with_activations([("", &none[..])]));
    assert_eq!(report.verdict().rule, "not measured");
    // Without gradients nobody claims that they arrive.
    let report = judged(StepProfile::new(0).with_activations([("a", &[0.5f32, -1.0][..])]));
    assert_eq!(
        report.verdict().message,
        "The layer is alive; no gradient was measured."
    );
}

#[test]
fn no_remedies_leave_the_network_as_it_is() {
    let samples = |n: usize| Samples {
        inputs: wave(&[n, 4]),
        labels: Tensor::from_vec((0..n as i64).map(|i| i % 2).collect(), [n]),
    };
    let data = LabData::new("wave", samples(64), samples(16), 2).expect("data");
    let spec = NetSpec {
        epochs: 1,
        ..NetSpec::default()
    };
    let c = compare(&spec, &[], &data, &Judge::default()).expect("trained");
    assert_eq!((c.runs.len(), c.table().rows.len()), (1, 1));
}

/// One broken weight: told as that weight, and the units it does not belong to are not called identical.
#[test]
fn a_broken_weight_is_told_by_its_name() {
    let mut model: (Linear, Linear) =
        (Linear::new(6, 8, &mut rng()), Linear::new(8, 3, &mut rng()));
    let mut w = model.1.weight.value().to_vec();
    w[5] = f32::NAN;
    model.1.weight.set(Tensor::from_vec(w, [3, 8]));
    let report = FlowReport::of(&model, &wave(&[16, 6]), |m, x| {
        m.1.forward(m.0.forward(x).tanh()).square().mean()
    });
    let found = report.step().unwrap().facts.non_finite.clone().unwrap();
    assert_eq!(found.parameter.as_deref(), Some("1.weight"), "{found:?}");
    assert_ne!(found.op, "permute");
    let rules: Vec<&str> = report.findings().iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(rules, ["not finite"]);
    let cause = report.verdict().cause.as_deref().unwrap();
    assert!(cause.contains("before the first update"), "{cause}");
}

/// A feature that is the same for every sample says nothing, before and after standardizing.
#[test]
fn a_constant_feature_is_centred() {
    let part = |n: usize| Samples {
        inputs: Tensor::from_fn([n, 2], |i| [0.1, i[0] as f32][i[1]]),
        labels: Tensor::from_fn([n], |i| (i[0] % 2) as i64),
    };
    for n in [3, 10, 97] {
        let data = LabData::new("constant", part(n), part(2), 2).expect("sound");
        let x = data.standardized().train.inputs.to_vec();
        assert!(x.iter().step_by(2).all(|x| x.abs() < 1e-6), "{n}: {x:?}");
        let square: f32 = x.iter().skip(1).step_by(2).map(|x| x * x).sum();
        assert!((square / n as f32 - 1.0).abs() < 1e-5);
    }
}

/// A setting that cannot be trained is refused before the others are: this training would take days.
#[test]
fn remedies_are_checked_before_the_first_training() {
    let part = Samples {
        inputs: wave(&[64, 2]),
        labels: Tensor::from_fn([64], |i| (i[0] % 2) as i64),
    };
    let data = LabData::new("waves", part.clone(), part, 2).expect("sound");
    let spec = NetSpec {
        epochs: usize::MAX / 64,
        ..NetSpec::default()
    };
    let e = compare(&spec, &[Remedy::Depth(0)], &data, &Judge::default()).unwrap_err();
    assert!(e.to_string().contains("depth"), "{e}");
}
