use super::*;
use crate::profile::{Curve, LayerProfile, Summary};

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
