//! What happens to activations and gradients on their way through the layers.

use super::{Rule, about, graded};
use crate::probe::{DEAD_SO_FAR, IDENTICAL_UNITS};
use crate::profile::{Finding, LayerProfile, RunProfile, Severity, StepProfile, Summary};
use crate::report::compare::{EXPLODING, FADING, STALLED};
use crate::report::number::{pretty, times};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::new("symmetric", "units that are and stay identical", symmetric)
            .threshold(
                "warning",
                0.5,
                "half of the layer's units are copies: its width is wasted",
            )
            .threshold("critical", 0.95, "the whole layer is one unit")
            .explains(&["vanishing", "dead", "saturated", "learning rate too low"]),
        Rule::new(
            "saturated",
            "units in the flat part of their function",
            saturated,
        )
        .threshold(
            "warning",
            0.5,
            "half of the units pass less than 5 % of the gradient",
        )
        .threshold("critical", 0.8, "the layer passes almost nothing")
        .explains(&["vanishing", "exploding"]),
        Rule::new(
            "dead",
            "rectified units that are zero for every sample",
            dead,
        )
        .threshold(
            "warning",
            0.75,
            "deep healthy networks reach a half at initialization",
        )
        .threshold("critical", 0.95, "no unit is left to pass the gradient")
        .threshold(
            "batch",
            16.0,
            "in smaller batches, living units are zero by chance",
        )
        .explains(&[
            "vanishing",
            "exploding",
            "symmetric",
            "learning rate too low",
        ]),
        Rule::new(
            "vanishing",
            "the gradient shrinks on its way back",
            vanishing,
        )
        .threshold(
            "warning",
            1.0 / FADING,
            "good initializers keep a factor of 100 over 30 layers",
        )
        .threshold(
            "critical",
            1.0 / STALLED,
            "the first layer moves a million times less than the last",
        )
        .explains(&["learning rate too low"]),
        Rule::new("exploding", "the gradient grows on its way back", exploding)
            .threshold(
                "warning",
                1.0 / FADING,
                "good initializers keep a factor of 100 over 30 layers",
            )
            .threshold(
                "critical",
                EXPLODING,
                "one learning rate cannot serve first and last layer",
            )
            .explains(&[
                "learning rate too high",
                "learning rate too low",
                "not finite",
                "saturated",
                "dead",
            ]),
    ]
}

fn is_sigmoidal(op: &str) -> bool {
    matches!(op, "sigmoid" | "tanh" | "hardsigmoid" | "hardtanh")
}

fn is_rectifier(op: &str) -> bool {
    matches!(op, "relu" | "relu6")
}

/// First and last observed step, once each.
pub(super) fn ends(run: &RunProfile) -> Vec<&StepProfile> {
    let mut v: Vec<&StepProfile> = run.first().into_iter().collect();
    v.extend(run.last().filter(|_| run.steps.len() > 1));
    v
}

fn extra(l: &LayerProfile, name: &str) -> Option<f64> {
    l.extra.iter().find(|e| e.0 == name).map(|e| e.1)
}

fn share(x: f64) -> String {
    format!("{:.0} %", 100.0 * x)
}

fn symmetric(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(step) = run.first() else {
        return Vec::new();
    };
    let twins = |l: &LayerProfile| extra(l, IDENTICAL_UNITS);
    let hit = step
        .layers
        .iter()
        .find_map(|l| Some((l, twins(l)?, graded(rule, twins(l)?)?)));
    let Some((l, x, severity)) = hit else {
        return Vec::new();
    };
    let zero = l.weights.as_ref().is_some_and(|w| w.rms == 0.0);
    let start = if zero { "zeros" } else { "one value" };
    vec![
        about(
            severity,
            rule,
            l,
            format!("{} of the units of `{}` are identical and get identical gradients: they stay one unit.", share(x), l.path),
        )
        .evidence(format!("{} of the units have the same weights and the same weight gradients as another", share(x)))
        .since(step.step)
        .cause(format!("the weights start as {start}, so nothing tells the units apart"))
        .remedy("start with random weights: `Linear::builder(..).followed_by(activation)` chooses the variance"),
    ]
}

fn saturated(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    for step in ends(run) {
        // An output that is sure of itself is no fault once training has begun.
        let hidden = match (step.layers.len(), step.step) {
            (n, s) if n > 1 && s > 0 => &step.layers[..n - 1],
            _ => &step.layers[..],
        };
        let worst = (hidden.iter().filter(|l| is_sigmoidal(&l.op)))
            .filter_map(|l| Some((l, l.saturation?)))
            .find(|(_, s)| graded(rule, *s).is_some());
        let Some((l, s)) = worst else { continue };
        let severity = graded(rule, s).unwrap_or(Severity::Warning);
        let count = hidden
            .iter()
            .filter(|l| l.saturation.is_some_and(|s| s >= rule.at("warning")))
            .count();
        let w = l.weights.as_ref().map_or(f64::NAN, |w| w.rms);
        return vec![
            about(severity, rule, l, format!("{} of the {} outputs of `{}` are in the flat part.", share(s), l.op, l.path))
                .evidence(format!("slope below 5 % of the largest for {}; RMS of the weights {}; {count} layers like this", share(s), pretty(w)))
                .since(step.step)
                .cause(if step.step > 0 {
                    "large steps drove the sums that enter the function into its flat part"
                } else {
                    "the sums that enter the function are too large: large weights or large inputs"
                })
                .remedy(if step.step > 0 {
                    format!("lower the learning rate, or put a normalization before the {}", l.op)
                } else {
                    format!("start with smaller weights (`Init::glorot_normal()`), or put a normalization before the {}", l.op)
                }),
        ];
    }
    Vec::new()
}

fn dead(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    for step in ends(run) {
        if step
            .facts
            .batch
            .is_some_and(|b| (b as f64) < rule.at("batch"))
        {
            continue;
        }
        let hit = (step.layers.iter().filter(|l| is_rectifier(&l.op)))
            .filter_map(|l| Some((l, l.dead?)))
            .find(|(_, d)| graded(rule, *d).is_some());
        let Some((l, d)) = hit else { continue };
        let severity = graded(rule, d).unwrap_or(Severity::Warning);
        let (cause, remedy) = if step.step > 0 {
            (
                "a large step pushed the sums of these units below zero for every sample",
                "lower the learning rate, or use `leaky_relu`, which keeps a slope below zero",
            )
        } else {
            (
                "the sums of these units start below zero for every sample: bias too negative, or weights not centred",
                "start the biases at 0 and the weights with He's variance (`Init::he_normal()`), or use `leaky_relu`",
            )
        };
        return vec![
            about(
                severity,
                rule,
                l,
                format!(
                    "{} of the units of `{}` are zero for the whole batch.",
                    share(d),
                    l.path
                ),
            )
            .evidence(format!(
                "dead units {} at step {}{}; output RMS {}",
                share(d),
                step.step,
                extra(l, DEAD_SO_FAR).map_or(String::new(), |d| format!(
                    ", {} in every batch so far",
                    share(d)
                )),
                pretty(l.activation_rms().unwrap_or(f64::NAN))
            ))
            .since(step.step)
            .cause(cause)
            .remedy(remedy),
        ];
    }
    Vec::new()
}

/// Gradient that is kept from layer to layer by a variance-preserving initializer whatever the widths: the norm of the
/// gradient of the outputs; where no layer's is known, the RMS of that of the weights. With the name of the quantity.
fn strengths(step: &StepProfile) -> (&'static str, Vec<(&LayerProfile, f64)>) {
    // Where no value is finite there is no norm.
    let some = |s: &&Summary| s.finite() > 0;
    let outputs = |l: &LayerProfile| l.activation_grad.as_ref().filter(some).map(|s| s.norm);
    let weights = |l: &LayerProfile| l.weight_grad.as_ref().filter(some).map(|s| s.rms);
    let of = |f: &dyn Fn(&LayerProfile) -> Option<f64>| -> Vec<(&LayerProfile, f64)> {
        (step.layers.iter())
            .filter_map(|l| Some((l, f(l)?)))
            .collect()
    };
    match of(&outputs) {
        v if v.is_empty() => ("RMS of the weight gradient", of(&weights)),
        v => ("norm of the gradient", v),
    }
}

/// The way of the gradient from the last layer to the first, and the step that changes it most.
struct Way<'a> {
    /// What is followed.
    quantity: &'static str,
    first: (&'a LayerProfile, f64),
    last: (&'a LayerProfile, f64),
    layers: usize,
    /// Factor that each layer takes, on average over those behind which something is left; none if the last one takes all.
    each: Option<f64>,
    /// Layer whose crossing changes the gradient most in the direction asked for, and its share of the whole change.
    culprit: (&'a LayerProfile, f64, f64),
}

/// The smallest f32: what falls below it on its way becomes 0, and the layer where that happens is not to blame.
const UNDERFLOW: f64 = 1.4e-45;

fn way(step: &StepProfile, shrinks: bool) -> Option<Way<'_>> {
    let (quantity, v) = strengths(step);
    let (first, last) = (*v.first()?, *v.last()?);
    if v.len() < 2 || v.iter().any(|(_, g)| !g.is_finite()) {
        return None;
    }
    let floor = |g: f64| g.max(UNDERFLOW).ln();
    let sign = if shrinks { 1.0 } else { -1.0 };
    let total = sign * (floor(last.1) - floor(first.1));
    let culprit = v
        .windows(2)
        .map(|w| {
            (
                w[1].0,
                w[0].1 / w[1].1,
                sign * (floor(w[1].1) - floor(w[0].1)) / total,
            )
        })
        .max_by(|a, b| a.2.total_cmp(&b.2))?;
    // What is lost halfway says nothing about the layers before it.
    let left = v.iter().rposition(|(_, g)| *g == 0.0).map_or(0, |i| i + 1);
    let crossed = (v.len() - 1).checked_sub(left).filter(|n| *n > 0);
    let each = crossed.map(|n| (last.1 / v[left].1).powf(1.0 / n as f64));
    Some(Way {
        quantity,
        first,
        last,
        layers: v.len(),
        each,
        culprit,
    })
}

/// One layer is to blame when it makes more than half of the change (and there are enough others to compare with).
fn blamed<'a>(w: &Way<'a>) -> Option<&'a LayerProfile> {
    (w.layers > 3 && w.culprit.2 > 0.5).then_some(w.culprit.0)
}

fn vanishing(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(step) = run.first() else {
        return Vec::new();
    };
    let Some(w) = way(step, true) else {
        return Vec::new();
    };
    if w.last.1 == 0.0 {
        return vec![
            about(
                Severity::Critical,
                rule,
                w.last.0,
                "The gradient is zero at the output already.".into(),
            )
            .since(step.step)
            .evidence("gradient 0 in every layer")
            .cause("the loss does not change with the output, or the output function is flat")
            .remedy("check that loss and output function fit each other and that targets differ"),
        ];
    }
    let factor = w.last.1 / w.first.1;
    let Some(severity) = graded(rule, factor) else {
        return Vec::new();
    };
    let layer = blamed(&w).unwrap_or(w.first.0);
    let arrives = if w.first.1 == 0.0 {
        "exactly 0".into()
    } else {
        format!("{} times weaker", times(factor))
    };
    let takes = match w.each {
        Some(f) => format!("each layer takes a factor of {}", pretty(f)),
        None => "the first layer that it crosses takes all of it".into(),
    };
    let inner = layer.op.as_str();
    let (cause, remedy) = match blamed(&w) {
        Some(l) => (
            format!(
                "crossing `{}` takes a factor of {}: its weights have RMS {}",
                l.path,
                pretty(1.0 / w.culprit.1),
                pretty(l.weights.as_ref().map_or(f64::NAN, |w| w.rms))
            ),
            "give this layer the variance that fits its activation (`Linear::builder(..).followed_by(activation)`)",
        ),
        None if inner == "sigmoid" => (
            format!("the slope of the sigmoid is 1/4 at most, and {takes}"),
            "use `relu` with He's weights (`Init::he_normal()`), or a residual connection around each layer",
        ),
        None => (
            format!("{takes}: the weights are too small for `{inner}`"),
            "give the weights the variance that fits the activation (`Init::he_normal()` for relu, `Init::glorot_normal()` for tanh)",
        ),
    };
    vec![
        about(
            severity,
            rule,
            layer,
            format!(
                "On its way back through {} layers the {} becomes **{arrives}**.",
                w.layers, w.quantity
            ),
        )
        .evidence(format!(
            "{} {} in `{}`, {} in `{}`",
            w.quantity,
            pretty(w.last.1),
            w.last.0.path,
            pretty(w.first.1),
            w.first.0.path
        ))
        .since(step.step)
        .cause(cause)
        .remedy(remedy),
    ]
}

/// Growth of the outputs from the first layer to the last before the one that is not finite.
fn outgrown(step: &StepProfile) -> Option<(&LayerProfile, &LayerProfile, usize, f64)> {
    let bad = |l: &LayerProfile| l.activation.as_ref().is_none_or(|a| a.non_finite() > 0);
    let n = step.layers.iter().position(bad)?;
    let (first, last) = (step.layers.first()?, step.layers.get(n.checked_sub(1)?)?);
    let growth = last.activation_rms()? / first.activation_rms()?;
    Some((first, last, n, growth))
}

/// Change of the gradient that is asked of initializers.
const FITTING: &str = "give the weights the variance that fits the activation (`Init::he_normal()` for relu, `Init::glorot_normal()` for tanh); clipping (`grads.clip_norm(1.0)`) treats the symptom";

fn exploding(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(step) = run.first() else {
        return Vec::new();
    };
    if let Some((first, last, n, growth)) = outgrown(step)
        && n > 1
        && growth >= rule.at("critical")
    {
        return vec![
            about(Severity::Critical, rule, first, format!("On their way through {n} layers the outputs become **{} times larger**, then leave the range of numbers.", times(growth)))
                .evidence(format!("output RMS {} in `{}`, {} in `{}`", pretty(first.activation_rms().unwrap_or(f64::NAN)), first.path, pretty(last.activation_rms().unwrap_or(f64::NAN)), last.path))
                .since(step.step)
                .cause(format!("each layer multiplies them by {}: the weights are too large", pretty(growth.powf(1.0 / (n - 1) as f64))))
                .remedy(FITTING),
        ];
    }
    let Some(w) = way(step, false) else {
        return Vec::new();
    };
    let factor = w.first.1 / w.last.1;
    let Some(severity) = graded(rule, factor) else {
        return Vec::new();
    };
    let layer = blamed(&w).unwrap_or(w.first.0);
    let per_layer = factor.powf(1.0 / (w.layers - 1) as f64);
    let cause = match blamed(&w) {
        Some(l) => format!(
            "crossing `{}` multiplies it by {}: its weights have RMS {}",
            l.path,
            pretty(w.culprit.1),
            pretty(l.weights.as_ref().map_or(f64::NAN, |w| w.rms))
        ),
        None => format!(
            "each layer multiplies it by {}: the weights are too large",
            pretty(per_layer)
        ),
    };
    vec![
        about(
            severity,
            rule,
            layer,
            format!(
                "On its way back through {} layers the {} becomes **{} times stronger**.",
                w.layers,
                w.quantity,
                times(factor)
            ),
        )
        .evidence(format!(
            "{} {} in `{}`, {} in `{}`",
            w.quantity,
            pretty(w.last.1),
            w.last.0.path,
            pretty(w.first.1),
            w.first.0.path
        ))
        .since(step.step)
        .cause(cause)
        .remedy(FITTING),
    ]
}
