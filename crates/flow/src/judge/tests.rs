use super::*;
use crate::profile::{Curve, LayerProfile, Summary, TimeProfile};

fn chain(factor: f64, layers: i32) -> StepProfile {
    let mut step = StepProfile::new(0).with_loss(1.0);
    for l in 0..layers {
        let mut p = LayerProfile::new(format!("fc{l}"), "tanh");
        p.activation_grad = Some(Summary::of(&[factor.powi(layers - 1 - l)]));
        step.layers.push(p);
    }
    step
}

fn verdict(step: &StepProfile) -> (String, Severity) {
    let f = Judge::default().step(step);
    (f[0].rule.clone(), f[0].severity)
}

#[test]
fn the_gradient_may_change_by_a_factor_of_100() {
    assert_eq!(verdict(&chain(0.9, 10)).1, Severity::Healthy);
    assert_eq!(
        verdict(&chain(0.5, 10)),
        ("vanishing".into(), Severity::Warning)
    );
    assert_eq!(
        verdict(&chain(0.1, 10)),
        ("vanishing".into(), Severity::Critical)
    );
    assert_eq!(
        verdict(&chain(3.0, 10)),
        ("exploding".into(), Severity::Critical)
    );
}

#[test]
fn what_is_lost_halfway_does_not_count_for_the_layers_before() {
    let lost = |layers: i32, zeros: usize| {
        let mut step = chain(0.1, layers);
        for l in &mut step.layers[..zeros] {
            l.activation_grad = Some(Summary::of(&[0.0]));
        }
        Judge::default().step(&step)[0]
            .cause
            .clone()
            .unwrap_or_default()
    };
    let ten = "each layer takes a factor of 10.0";
    assert!(lost(10, 0).contains(ten));
    assert!(lost(3, 1).contains(ten), "{}", lost(3, 1));
    let all = lost(3, 2);
    assert!(
        all.contains("the first layer that it crosses takes all"),
        "{all}"
    );
}

#[test]
fn healthy_networks_are_worded_by_what_was_measured() {
    let said = |layers: i32, gradient: bool| {
        let mut step = chain(1.0, layers);
        if !gradient {
            step.layers
                .iter_mut()
                .for_each(|l| l.activation_grad = None);
        }
        Judge::default().step(&step)[0].message.clone()
    };
    assert_eq!(
        said(1, true),
        "The layer is alive, and the gradient reaches it."
    );
    assert_eq!(
        said(1, false),
        "The layer is alive; no gradient was measured."
    );
    let each = "All 3 layers are alive, and the gradient reaches each of them.";
    assert_eq!(said(3, true), each);
    assert_eq!(
        said(3, false),
        "All 3 layers are alive; no gradient was measured."
    );
}

#[test]
fn a_memory_that_training_loses_is_a_warning_where_nothing_is_left() {
    let step = |at: u64, decay: f64| {
        let mut s = chain(1.0, 3);
        s.step = at;
        s.time.push(TimeProfile {
            path: "rnn".into(),
            grad_rms: (0..20).rev().map(|k| decay.powi(k)).collect(),
        });
        s
    };
    let found = |first: f64, last: f64| {
        let run = RunProfile::new("r")
            .with_step(step(0, first))
            .with_step(step(9, last));
        let f = Judge::default().run(&run).remove(0);
        (f.rule, f.severity, f.since, f.message)
    };
    assert_eq!(
        found(0.9, 0.5).1,
        Severity::Healthy,
        "6 digits are a lot, but the task may want it"
    );
    let (rule, severity, since, message) = found(0.9, 0.4);
    assert_eq!(
        (rule.as_str(), severity, since),
        ("vanishing over time", Severity::Warning, Some(9))
    );
    assert!(
        message.starts_with("At step 9, on its way back through 20 time steps"),
        "{message}"
    );
    // Gates are told how far to look back, a plain layer is replaced.
    let remedy = |op: &str| {
        let mut s = step(0, 0.4);
        s.layers.push(LayerProfile::new("rnn.weight_hh_l0", op));
        Judge::default()
            .step(&s)
            .remove(0)
            .remedy
            .unwrap_or_default()
    };
    assert!(remedy("gru").contains("`Gru::builder(..).expecting(20)`"));
    assert!(remedy("rnn_tanh").contains("use `Lstm` or `Gru`"));
    let (_, severity, since, message) = found(0.4, 0.4);
    assert_eq!((severity, since), (Severity::Critical, Some(0)));
    assert!(message.starts_with("On its way back"), "{message}");
}

#[test]
fn one_bad_layer_is_named() {
    let mut step = chain(1.0, 8);
    for l in &mut step.layers[..4] {
        l.activation_grad = Some(Summary::of(&[1e-4]));
    }
    let f = &Judge::default().step(&step)[0];
    assert_eq!(
        (f.rule.as_str(), f.layer.as_deref()),
        ("vanishing", Some("fc4"))
    );
}

#[test]
fn causes_turn_effects_into_notes() {
    let mut step = chain(0.1, 10);
    for l in &mut step.layers {
        l.saturation = Some(0.9);
    }
    let f = Judge::default().step(&step);
    assert_eq!(
        (f[0].rule.as_str(), f[0].severity),
        ("saturated", Severity::Critical)
    );
    let v = f.iter().find(|f| f.rule == "vanishing").unwrap();
    assert_eq!(v.severity, Severity::Note);
}

#[test]
fn thresholds_move_and_rules_come_and_go() {
    let step = chain(0.5, 10);
    let judge = Judge::default().set("vanishing", "warning", 1e4);
    assert_eq!(judge.step(&step)[0].severity, Severity::Healthy);
    assert_eq!(
        Judge::default().without("vanishing").step(&step)[0].rule,
        "healthy"
    );
    let own = Rule::new("mine", "always", |_, r| {
        vec![Finding::new(Severity::Critical, r.name, "x")]
    });
    assert_eq!(Judge::default().with(own).step(&step)[0].rule, "mine");
}

#[test]
fn a_rising_loss_is_a_learning_rate_too_high() {
    let up = Curve::new("loss", (0..20).map(|i| (f64::from(i), 1.0 + f64::from(i))));
    let run = RunProfile::new("r").with_step(chain(1.0, 3)).with_curve(up);
    assert_eq!(Judge::default().run(&run)[0].rule, "learning rate too high");
}

fn over_time(factor: f64, steps: i32) -> Vec<Finding> {
    let mut step = chain(1.0, 3);
    step.time.push(crate::profile::TimeProfile {
        path: "rnn".into(),
        grad_rms: (0..steps).map(|t| factor.powi(steps - 1 - t)).collect(),
    });
    Judge::default().step(&step)
}

#[test]
fn gradients_may_change_a_thousandfold_over_time() {
    let first = |f: Vec<Finding>| (f[0].rule.clone(), f[0].severity, f[0].layer.clone());
    let rnn = Some("rnn".to_string());
    let (weak, strong) = ("vanishing over time", "exploding over time");
    assert_eq!(over_time(0.95, 100)[0].severity, Severity::Healthy);
    assert_eq!(
        first(over_time(0.9, 100)),
        (weak.into(), Severity::Warning, rnn.clone())
    );
    assert_eq!(
        first(over_time(0.5, 100)),
        (weak.into(), Severity::Critical, rnn.clone())
    );
    assert_eq!(
        first(over_time(0.0, 100)),
        (weak.into(), Severity::Critical, rnn.clone())
    );
    assert_eq!(
        first(over_time(1.06, 100)),
        (strong.into(), Severity::Warning, rnn.clone())
    );
    assert_eq!(
        first(over_time(1.5, 100)),
        (strong.into(), Severity::Critical, rnn)
    );
    // A few steps say nothing about a rate.
    assert_eq!(over_time(0.01, 5)[0].severity, Severity::Healthy);
    let f = &over_time(0.5, 100)[0];
    assert!(f.cause.as_ref().is_some_and(|c| c.contains("0.5")));
    assert!(
        f.evidence
            .as_ref()
            .is_some_and(|e| e.contains("memory 1.44 steps"))
    );
}

#[test]
fn what_shows_before_the_first_update_is_no_effect_of_one() {
    // Exploding at step 0, steps that overshoot after it, dead units in the end: one cause, the first.
    let mut step = chain(3.0, 10);
    for l in &mut step.layers {
        l.op = "relu".into();
        l.weights = Some(Summary::of(&[1.0]));
    }
    let mut last = chain(1.0, 10);
    last.step = 50;
    for l in &mut last.layers {
        l.op = "relu".into();
        l.weights = Some(Summary::of(&[1.0]));
        l.update_ratio = Some(3.0);
        l.dead = Some(1.0);
    }
    let run = RunProfile::new("r").with_step(step).with_step(last);
    let f = Judge::default().run(&run);
    assert_eq!((f[0].rule.as_str(), f[0].since), ("exploding", Some(0)));
    assert!(f[1..].iter().all(|f| f.severity <= Severity::Note), "{f:?}");
    // Without the explosion, the learning rate is what killed them.
    let mut calm = run.clone();
    calm.steps[0] = chain(1.0, 10);
    let f = Judge::default().run(&calm);
    assert_eq!(f[0].rule, "learning rate too high");
    assert!(f[1..].iter().all(|f| f.severity <= Severity::Note), "{f:?}");
}

#[test]
fn a_loss_that_bends_up_within_the_step_is_a_learning_rate_too_high() {
    use crate::profile::AlongStep;
    let stuck = Curve::new("loss", (0..20).map(|i| (f64::from(i), 1.0)));
    let run = |best: f64| {
        let mut step = chain(1.0, 3);
        // slope -1: the minimum lies at `best` of the step.
        step.facts.along = Some(AlongStep {
            slope: -1.0,
            change: -1.0 + 0.5 / best,
            length: 1.0,
        });
        let run = RunProfile::new("r")
            .with_step(step)
            .with_curve(stuck.clone());
        Judge::default().run(&run)[0].clone()
    };
    assert_eq!(run(1.0).severity, Severity::Healthy);
    let f = run(0.1);
    assert_eq!(f.rule, "learning rate too high");
    assert!(
        f.evidence.is_some_and(|e| e.contains("curvature 10")),
        "{:?}",
        run(0.1)
    );
}

/// Weights that come in broken are told apart from a pass that breaks.
#[test]
fn weights_that_are_not_finite_from_the_beginning() {
    let mut step = chain(0.9, 3);
    step.layers[1].weights = Some(Summary::of(&[1.0f32, f32::NAN]));
    step.layers[1].activation = Some(Summary::of(&[f32::NAN; 4]));
    let f = &Judge::default().step(&step)[0];
    let cause = f.cause.as_deref().unwrap();
    assert!(cause.contains("before the first update"), "{cause}");
    assert!(f.evidence.as_deref().unwrap().contains("1 of the weights"));
    step.layers[1].weights = Some(Summary::of(&[1.0f32]));
    let f = &Judge::default().step(&step)[0];
    assert!(f.cause.as_deref().unwrap().contains("first pass"));
}

#[test]
fn no_layer_is_not_said_to_be_alive() {
    let f = &Judge::default().step(&StepProfile::new(0).with_loss(1.0))[0];
    assert_eq!(
        (f.rule.as_str(), f.severity),
        ("not measured", Severity::Note)
    );
}

/// A batch that is broken while training goes on is no training that diverged.
#[test]
fn an_input_that_is_not_finite_is_the_cause() {
    let mut step = chain(0.9, 3);
    step.step = 9;
    step.layers[0].activation = Some(Summary::of(&[f32::NAN; 4]));
    step.facts.non_finite = Some(crate::profile::NonFinite {
        op: "input".into(),
        location: "main.rs:1:1".into(),
        backward: false,
        parameter: None,
    });
    let f = &Judge::default().step(&step)[0];
    assert_eq!(f.cause.as_deref(), Some("an input is not finite"));
    assert!(!f.remedy.as_deref().unwrap().contains("learning rate"));
}
