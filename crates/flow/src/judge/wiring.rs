//! What is connected with what, and whether loss, output and mode fit each other.

use super::{Rule, about};
use crate::profile::{Facts, Finding, Link, LossFact, RunProfile, Severity, Summary};
use crate::report::number::{list, pretty};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::new("not finite", "NaN or infinity", non_finite).explains(&[
            "vanishing",
            "saturated",
            "dead",
            "symmetric",
            "learning rate too low",
            "frozen by accident",
        ]),
        Rule::new(
            "no gradient",
            "trainable parameters that the loss does not reach",
            no_gradient,
        )
        .explains(&["vanishing", "exploding", "frozen by accident"]),
        Rule::new(
            "frozen by accident",
            "layers that stand still although they should learn",
            frozen,
        )
        .explains(&["learning rate too low"]),
        Rule::new(
            "double softmax",
            "softmax or sigmoid before a loss that applies it itself",
            double,
        ),
        Rule::new(
            "loss and output",
            "an output function or targets that do not fit the loss",
            fit,
        )
        .explains(&["vanishing", "saturated", "dead"]),
        Rule::new(
            "batch norm",
            "a batch of one, or running statistics while training",
            batch_norm,
        )
        .threshold(
            "batch",
            4.0,
            "mean and variance of fewer samples are mostly noise",
        )
        .explains(&["vanishing", "dead", "symmetric"]),
    ]
}

fn facts(run: &RunProfile) -> Option<&Facts> {
    run.first().map(|s| &s.facts)
}

fn non_finite(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    for step in &run.steps {
        let lost = step.loss.is_some_and(|l| !l.is_finite());
        let bad = |s: &Option<Summary>| s.as_ref().is_some_and(|s| s.non_finite() > 0);
        let parameter = step
            .facts
            .non_finite
            .as_ref()
            .and_then(|n| n.parameter.as_ref());
        let layer = step
            .layers
            .iter()
            .find(|l| [&l.weights, &l.activation].iter().any(|s| bad(s)));
        let layer = layer.or_else(|| step.layers.iter().rev().find(|l| l.non_finite() > 0));
        let when = format!("at step {}", step.step);
        // Before the first update nothing but the program can have put them there.
        let weights = (layer.and_then(|l| l.weights.as_ref()))
            .filter(|_| step.step == 0)
            .map_or(0, Summary::non_finite);
        let input =
            (step.facts.non_finite.as_ref()).is_some_and(|n| n.op == "input" && !n.backward);
        let remedy = if input && step.step > 0 {
            "look at what this batch was read and made from: the inputs themselves are not finite"
        } else if weights > 0 {
            "look at where the weights come from: a file, an initializer, a hand"
        } else if step.step == 0 {
            "look at the inputs for NaN, and at logarithms, roots and divisions near 0; `tape.detect_anomaly(true)` names the first operation"
        } else {
            "lower the learning rate or clip the gradient (`grads.clip_norm(1.0)`); `tape.detect_anomaly(true)` names the first operation"
        };
        let cause = if input {
            "an input is not finite"
        } else if weights > 0 {
            "the weights are not finite before the first update"
        } else if step.step == 0 {
            "the first pass already leaves the range of numbers"
        } else {
            "training diverged: numbers outgrew their range"
        };
        let f = match layer {
            Some(l) => about(
                Severity::Critical,
                rule,
                l,
                format!(
                    "`{}` holds {} values that are not finite {when}.",
                    l.path,
                    l.non_finite()
                ),
            )
            .evidence(format!(
                "{} NaN or infinite values, loss {}{}",
                l.non_finite(),
                step.loss.map_or("unknown".into(), |l| l.to_string()),
                match weights {
                    0 => String::new(),
                    n => format!("; {n} of the weights"),
                }
            )),
            None if lost => Finding::new(
                Severity::Critical,
                rule.name,
                format!("The loss is not finite {when}, though every layer is."),
            )
            .evidence(format!("loss {}", step.loss.unwrap_or(f64::NAN))),
            None => match parameter {
                Some(p) => Finding::new(
                    Severity::Critical,
                    rule.name,
                    format!("`{p}` or its gradient is not finite {when}."),
                )
                .at(p.clone())
                .evidence("every layer's output is finite"),
                None => continue,
            },
        };
        let f = match &step.facts.non_finite {
            Some(n) if !n.location.is_empty() => {
                let pass = if n.backward {
                    "backward pass"
                } else {
                    "result"
                };
                let evidence = f.evidence.clone().unwrap_or_default();
                f.evidence(format!("{evidence}; first in the {pass} of `{}`", n.op))
                    .location(n.location.clone())
            }
            _ => f,
        };
        return vec![f.since(step.step).cause(cause).remedy(remedy)];
    }
    let curve = run.curves.iter().find(|c| c.name.contains("loss"));
    let at = curve.and_then(|c| c.points.iter().find(|p| !p.1.is_finite()));
    at.map(|p| {
        Finding::new(
            Severity::Critical,
            rule.name,
            format!("The loss stops being a number at {}.", p.0),
        )
        .evidence(format!("loss {}", p.1))
        .since(1)
        .cause("training diverged: numbers outgrew their range")
        .remedy("lower the learning rate or clip the gradient (`grads.clip_norm(1.0)`)")
    })
    .into_iter()
    .collect()
}

fn no_gradient(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(facts) = facts(run) else {
        return Vec::new();
    };
    let cut = |want: fn(&Link) -> Option<Option<&String>>| -> (Vec<String>, Option<String>) {
        let hits: Vec<_> = facts
            .params
            .iter()
            .filter_map(|p| Some((p, want(&p.link)?)))
            .collect();
        (
            hits.iter().map(|(p, _)| p.path.clone()).collect(),
            hits.iter().find_map(|(_, l)| l.cloned()),
        )
    };
    let cases: [((Vec<String>, Option<String>), &str, &str); 3] = [
        (
            cut(|l| matches!(l, Link::Unused).then_some(None)),
            "the forward pass does not use it",
            "use it in `forward`, or remove it from the model",
        ),
        (
            cut(|l| match l {
                Link::Dangling { location } => Some(Some(location)),
                _ => None,
            }),
            "what is computed from it does not reach the loss",
            "connect the result of this line with the loss",
        ),
        (
            cut(|l| match l {
                Link::Cut { location } => Some(Some(location)),
                _ => None,
            }),
            "`detach` or `no_grad` cuts the way to the loss",
            "remove the `detach` or `no_grad` of this line, or freeze the parameters if that is meant",
        ),
    ];
    let mut out = Vec::new();
    for ((paths, location), cause, remedy) in cases {
        let Some(first) = paths.first() else { continue };
        let layer = first.rsplit_once('.').map_or(first.as_str(), |p| p.0);
        let mut f = Finding::new(
            Severity::Critical,
            rule.name,
            format!("`{layer}` gets no gradient."),
        )
        .at(layer)
        .evidence(format!("no gradient for {}", list(&paths)))
        .cause(cause)
        .remedy(remedy);
        f.location = location;
        out.push(f);
    }
    out
}

fn frozen(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let mut out = Vec::new();
    if let Some(facts) = facts(run) {
        // A frozen beginning is how features are reused; a frozen layer behind a trainable one is a slip.
        let weights = || facts.params.iter().filter(|p| p.shape.len() >= 2);
        let open = weights()
            .position(|p| p.link != Link::Frozen)
            .unwrap_or(usize::MAX);
        let stuck: Vec<_> = weights()
            .enumerate()
            .filter(|(i, p)| *i > open && p.link == Link::Frozen)
            .collect();
        if let Some((_, p)) = stuck.first() {
            let layer = p.path.rsplit_once('.').map_or(p.path.as_str(), |x| x.0);
            let found = run.first().and_then(|s| {
                s.layers
                    .iter()
                    .find(|l| l.path == layer || l.path == p.path)
            });
            let mut f = Finding::new(
                Severity::Warning,
                rule.name,
                format!("`{layer}` is frozen, though layers before it learn."),
            )
            .at(layer)
            .evidence(format!(
                "{} of {} weights are frozen behind the first that learns",
                stuck.len(),
                weights().count()
            ))
            .cause("its parameters are not trainable")
            .remedy(format!("`model.set_frozen(\"{layer}\", false)`"));
            f.location = found.and_then(|l| l.location.clone());
            out.push(f);
        }
    }
    for step in &run.steps {
        let moves = step
            .layers
            .iter()
            .any(|l| l.update_ratio.is_some_and(|r| r > 0.0));
        let still = |l: &&crate::profile::LayerProfile| {
            l.update_ratio == Some(0.0)
                && l.weight_grad_rms().is_some_and(|g| g > 0.0)
                && l.weights.as_ref().is_some_and(|w| w.rms > 0.0)
        };
        let Some(l) = step.layers.iter().find(still).filter(|_| moves) else {
            continue;
        };
        // In the last place, a gradient may be too small to change the weights: that is not the optimizer's doing.
        let ratio = l.weight_grad_rms().unwrap_or(0.0) / l.weights.as_ref().map_or(1.0, |w| w.rms);
        if ratio > 1e-3 {
            out.push(
                about(Severity::Warning, rule, l, format!("`{}` has a gradient, yet the optimizer does not move it.", l.path))
                    .evidence(format!("update 0, weight gradient {} at step {}", pretty(l.weight_grad_rms().unwrap_or(0.0)), step.step))
                    .since(step.step.max(1))
                    .cause("the optimizer has no learning rate for it: a group with rate 0, or another model was stepped")
                    .remedy("step the model that was recorded, and give every group a learning rate"),
            );
        }
        break;
    }
    out
}

fn loss(run: &RunProfile) -> Option<&LossFact> {
    facts(run)?.loss.as_ref()
}

/// What is said about the output is about the last layer.
fn output(run: &RunProfile, f: Finding) -> Finding {
    match run.first().and_then(|s| s.layers.last()) {
        Some(l) => f.at(l.path.clone()),
        None => f,
    }
}

fn double(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(l) = loss(run) else {
        return Vec::new();
    };
    let twice = match (l.kind.as_str(), l.before.last().map(String::as_str)) {
        ("cross_entropy", Some(op @ ("softmax" | "sigmoid"))) => op,
        ("bce_with_logits", Some(op @ ("sigmoid" | "softmax"))) => op,
        _ => return Vec::new(),
    };
    let own = if l.kind == "cross_entropy" {
        "softmax"
    } else {
        "sigmoid"
    };
    vec![output(
        run,
        Finding::new(
            Severity::Critical,
            rule.name,
            format!(
                "`{twice}` is applied before `{}`, which applies {own} itself.",
                l.kind
            ),
        )
        .evidence(format!("before the loss: {}", l.before.join(" → ")))
        .cause("the loss wants logits; probabilities between 0 and 1 differ too little for it")
        .location(l.location.clone())
        .remedy(format!("hand the outputs to the loss without `{twice}`")),
    )]
}

fn fit(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(l) = loss(run) else {
        return Vec::new();
    };
    let last = l.before.last().map_or("", String::as_str);
    let say = |severity, message: String, evidence: String, cause: &str, remedy: &str| {
        vec![output(
            run,
            Finding::new(severity, rule.name, message)
                .evidence(evidence)
                .cause(cause)
                .location(l.location.clone())
                .remedy(remedy),
        )]
    };
    if l.classes == Some(1) {
        return say(
            Severity::Critical,
            "A cross-entropy over one class is always 0.".into(),
            "one output, loss 0".into(),
            "softmax of a single number is 1",
            "use `bce_with_logits` for a single yes-or-no output, or one output per class",
        );
    }
    let logits = matches!(l.kind.as_str(), "cross_entropy" | "bce_with_logits");
    if logits && matches!(last, "relu" | "relu6" | "tanh" | "hardtanh") {
        return say(
            Severity::Warning,
            format!("`{last}` stands between the last layer and `{}`.", l.kind),
            format!("before the loss: {}", l.before.join(" → ")),
            "logits must be free to be negative and large",
            "hand the last layer's outputs to the loss as they are",
        );
    }
    let (lo, hi) = match last {
        "sigmoid" | "hardsigmoid" | "softmax" => (0.0, 1.0),
        "tanh" | "hardtanh" => (-1.0, 1.0),
        "relu" => (0.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    if let Some(t) = l.targets.as_ref().filter(|_| l.kind == "mse")
        && (t.min < lo || t.max > hi)
    {
        return say(
            Severity::Critical,
            format!("Targets lie outside what `{last}` can give."),
            format!(
                "targets from {} to {}, outputs from {lo} to {hi}",
                pretty(t.min),
                pretty(t.max)
            ),
            "the output function bounds the outputs",
            "remove the output function, or scale the targets into its range",
        );
    }
    if let Some(t) = l.targets.as_ref().filter(|_| l.kind == "bce_with_logits")
        && (t.min < 0.0 || t.max > 1.0)
    {
        return say(
            Severity::Critical,
            "Targets of a binary cross-entropy lie outside 0 to 1.".into(),
            format!("targets from {} to {}", pretty(t.min), pretty(t.max)),
            "they are no probabilities",
            "use targets of 0 and 1",
        );
    }
    Vec::new()
}

fn batch_norm(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(facts) = facts(run) else {
        return Vec::new();
    };
    let Some((path, kind)) = facts.modules.iter().find(|m| m.1.starts_with("BatchNorm")) else {
        return Vec::new();
    };
    let say = |severity, message: String, evidence: String, cause: &str, remedy: &str| {
        let f = Finding::new(severity, rule.name, message)
            .at(path.clone())
            .evidence(evidence)
            .cause(cause)
            .remedy(remedy);
        vec![match facts.lines.iter().find(|l| l.0 == *path) {
            Some((_, line)) => f.location(line.clone()),
            None => f,
        }]
    };
    if facts.training == Some(false) {
        return say(
            Severity::Warning,
            format!(
                "`{path}` ({kind}) normalizes with running statistics while gradients are taken."
            ),
            "the tape is an inference tape".into(),
            "mode lives on the tape: `Tape::inference()` uses running statistics",
            "train on `Tape::training(seed)`",
        );
    }
    match facts.batch {
        Some(n) if (n as f64) < rule.at("batch") => say(
            if n == 1 {
                Severity::Critical
            } else {
                Severity::Warning
            },
            format!("`{path}` ({kind}) sees a batch of {n}."),
            format!("{n} samples per batch"),
            "mean and variance over the batch erase a single sample, and are noise for a few",
            "use larger batches, or a normalization that does not look at the batch (layer or group norm)",
        ),
        _ => Vec::new(),
    }
}
