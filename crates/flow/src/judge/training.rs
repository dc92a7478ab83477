//! Inputs and steps: what the data looks like, how far each step goes.

use super::{Rule, about};
use crate::profile::{Finding, RunProfile, Severity, StepProfile};
use crate::report::number::pretty;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::new(
            "unscaled inputs",
            "inputs far from mean 0 and deviation 1",
            inputs,
        )
        .threshold(
            "large",
            10.0,
            "initializers assume inputs of RMS 1; ten times that starts layers saturated",
        )
        .threshold(
            "critical",
            50.0,
            "bytes as numbers (0 to 255) have an RMS of about 100",
        )
        .threshold(
            "small",
            0.02,
            "inputs below a fiftieth are lost beside the biases",
        )
        .threshold(
            "offset",
            5.0,
            "a mean of five deviations: the data is one direction, and the rest noise",
        )
        .threshold(
            "spread",
            1e3,
            "one learning rate cannot serve features a thousand times apart",
        )
        .explains(&[
            "saturated",
            "dead",
            "exploding",
            "vanishing",
            "learning rate too high",
            "learning rate too low",
            "not finite",
        ]),
        Rule::new("learning rate too high", "steps that overshoot", high)
            .threshold(
                "ratio",
                0.5,
                "a step of half the weights replaces what was learnt; 1e-3 is usual",
            )
            .threshold("rise", 1.5, "the loss ends 50 % above its start")
            .threshold(
                "zigzag",
                0.7,
                "share of turns in the loss curve; noise alone gives two thirds, but small ones",
            )
            .threshold("swing", 0.5, "mean jump of the loss over its mean")
            .threshold(
                "overshoot",
                0.25,
                "past four times the best step, the parabola is higher than at the start",
            )
            .threshold(
                "often",
                0.5,
                "share of observed steps that overshoot: single ones do in every training",
            )
            .threshold(
                "stuck",
                0.7,
                "a loss that has fallen by a third is on its way: noise there is no fault",
            )
            .explains(&["dead", "saturated", "not finite"]),
        Rule::new("learning rate too low", "steps that do not move", low)
            .threshold(
                "ratio",
                1e-4,
                "after a thousand such steps the weights have moved by a tenth; 1e-3 is usual",
            )
            .threshold("progress", 0.05, "relative fall of the loss over the run"),
    ]
}

fn inputs(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let Some(step) = run.first() else {
        return Vec::new();
    };
    let Some(x) = &step.facts.inputs else {
        return Vec::new();
    };
    let (problem, severity) = if x.rms >= rule.at("critical") {
        ("far too large", Severity::Critical)
    } else if x.rms >= rule.at("large") {
        ("too large", Severity::Warning)
    } else if x.rms <= rule.at("small") {
        ("too small", Severity::Warning)
    } else if x.mean.abs() > rule.at("offset") * x.std {
        ("not centred", Severity::Warning)
    } else if step
        .facts
        .feature_std
        .is_some_and(|(a, b)| b / a > rule.at("spread"))
    {
        ("of very different scale", Severity::Warning)
    } else {
        return Vec::new();
    };
    let spread = step.facts.feature_std.map_or(String::new(), |(a, b)| {
        format!(
            ", deviation of single features from {} to {}",
            pretty(a),
            pretty(b)
        )
    });
    let mut f = Finding::new(severity, rule.name, format!("The inputs are {problem}."))
        .evidence(format!("mean {}, standard deviation {}, from {} to {}{spread}", pretty(x.mean), pretty(x.std), pretty(x.min), pretty(x.max)))
        .cause("initializers and learning rates assume inputs of mean 0 and deviation 1")
        .remedy("standardize each feature with mean and deviation of the training set (`Normalize::fit`)");
    if let Some(l) = step.layers.first() {
        f = f.at(l.path.clone());
    }
    vec![f]
}

/// The loss by step if there is one, else by epoch.
fn losses(run: &RunProfile) -> Vec<f64> {
    let curve = run.curve("step loss").or_else(|| run.curve("loss"));
    curve.map_or(Vec::new(), |c| c.points.iter().map(|p| p.1).collect())
}

/// Share of the observed descents whose parabola has its minimum before a quarter of the step.
fn overshooting(run: &RunProfile, rule: &Rule) -> Option<(f64, f64)> {
    let best: Vec<f64> = (run.steps.iter())
        .filter_map(|s| s.facts.along?.best())
        .collect();
    let short = |b: &&f64| **b < rule.at("overshoot");
    let n = best.iter().filter(short).count();
    let worst = best.iter().copied().min_by(f64::total_cmp)?;
    Some((n as f64 / best.len() as f64, worst))
}

/// What the loss along the steps adds to the evidence.
fn along(run: &RunProfile) -> String {
    let worst = (run.steps.iter())
        .filter_map(|s| Some((s.step, s.facts.along?, s.facts.along?.best()?)))
        .min_by(|a, b| a.2.total_cmp(&b.2));
    worst.map_or(String::new(), |(step, a, best)| {
        format!(
            "; at step {step} the loss changes by {} along the step, curvature {}: {} of the step would be best",
            pretty(a.change),
            pretty(a.curvature()),
            pretty(best)
        )
    })
}

fn high(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let remedy = "divide the learning rate by 10, or warm it up";
    let whole = Finding::new(Severity::Critical, rule.name, "")
        .since(1)
        .remedy(remedy);
    // The first step of Adam moves every weight by the full rate: any later step is a better witness.
    let ratio = (run.steps.iter().rev().take(run.steps.len().max(2) - 1))
        .flat_map(|s| s.layers.iter().map(move |l| (s.step, l)))
        .filter(|(_, l)| l.weights.as_ref().is_some_and(|w| w.rms > 0.0))
        .filter_map(|(s, l)| Some((s, l, l.update_ratio?)))
        .max_by(|a, b| a.2.total_cmp(&b.2));
    if let Some((step, l, r)) = ratio.filter(|r| r.2 >= rule.at("ratio")) {
        let message = format!(
            "One step changes `{}` by {} of its weights.",
            l.path,
            pretty(r)
        );
        return vec![
            about(Severity::Critical, rule, l, message)
                .since(step.max(1))
                .evidence(format!(
                    "update to weight ratio {} at step {step}{}",
                    pretty(r),
                    along(run)
                ))
                .cause("the learning rate is too high for these gradients")
                .remedy(remedy),
        ];
    }
    let v = losses(run);
    if v.len() < 2 || v.iter().any(|x| !x.is_finite()) {
        return Vec::new();
    }
    let tail = &v[v.len() - v.len().div_ceil(10)..];
    let end = tail.iter().sum::<f64>() / tail.len() as f64;
    if end > rule.at("rise") * v[0].abs().max(1e-12) {
        return vec![
            Finding {
                message: "The loss rises instead of falling.".into(),
                ..whole
            }
            .evidence(format!(
                "loss {} at the start, {} at the end{}",
                pretty(v[0]),
                pretty(end),
                along(run)
            ))
            .cause("steps overshoot the valley and climb its other side"),
        ];
    }
    // Near a solution, batches differ by more than their mean: only a loss that stays high is a fault.
    if end <= rule.at("stuck") * v[0] {
        return Vec::new();
    }
    if let Some((share, best)) = overshooting(run, rule).filter(|o| o.0 >= rule.at("often")) {
        return vec![
            Finding {
                message: "Steps go past the minimum and up its other side.".into(),
                ..whole
            }
            .evidence(format!(
                "for {:.0} % of the observed steps, less than {} of the step would be best (the worst: {}){}",
                100.0 * share,
                pretty(rule.at("overshoot")),
                pretty(best),
                along(run)
            ))
            .cause("the loss bends up within a fraction of the step: the learning rate is too high for its curvature"),
        ];
    }
    let jumps: Vec<f64> = v.windows(2).map(|w| w[1] - w[0]).collect();
    if jumps.len() < 10 {
        return Vec::new();
    }
    let turns =
        jumps.windows(2).filter(|w| w[0] * w[1] < 0.0).count() as f64 / (jumps.len() - 1) as f64;
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let swing =
        jumps.iter().map(|j| j.abs()).sum::<f64>() / jumps.len() as f64 / mean.abs().max(1e-12);
    if turns > rule.at("zigzag") && swing > rule.at("swing") {
        return vec![
            Finding {
                severity: Severity::Warning,
                message: "The loss oscillates.".into(),
                ..whole
            }
            .evidence(format!(
                "{:.0} % of the steps turn, mean jump {:.0} % of the loss{}",
                100.0 * turns,
                100.0 * swing,
                along(run)
            ))
            .cause("steps are longer than the valley is wide"),
        ];
    }
    Vec::new()
}

fn low(run: &RunProfile, rule: &Rule) -> Vec<Finding> {
    let top = run.steps.iter().filter_map(largest_update);
    let Some(top) = top.max_by(f64::total_cmp) else {
        return Vec::new();
    };
    // Means over epochs: single batches differ by more than slow training moves.
    let v: Vec<f64> = (run.curve("loss").iter().flat_map(|c| &c.points))
        .map(|p| p.1)
        .collect();
    let stands = match v[..] {
        [first, .., last] => first - last < rule.at("progress") * first.abs(),
        // A single epoch: no more than the size of its steps is known.
        _ => true,
    };
    if top >= rule.at("ratio") || !stands {
        return Vec::new();
    }
    let factor = run.first().and_then(faster);
    let remedy = match factor {
        Some(f) => format!("multiply the learning rate by {}", pretty(f)),
        None => "choose a learning rate above 0".into(),
    };
    let progress = match v[..] {
        [first, .., last] => format!(
            "; loss {} in the first epoch, {} in the last",
            pretty(first),
            pretty(last)
        ),
        _ => String::new(),
    };
    vec![
        Finding::new(
            Severity::Warning,
            rule.name,
            "The steps are too small to learn anything.",
        )
        .since(1)
        .evidence(format!(
            "largest update to weight ratio {}; usual is 1e-3{progress}",
            pretty(top)
        ))
        .cause("the learning rate is too low for these gradients")
        .remedy(remedy),
    ]
}

/// Largest update to weight ratio of a step.
fn largest_update(step: &StepProfile) -> Option<f64> {
    (step.layers.iter())
        .filter(|l| l.weights.as_ref().is_some_and(|w| w.rms > 0.0))
        .filter_map(|l| l.update_ratio)
        .max_by(f64::total_cmp)
}

/// Update to weight ratio of the first step of an untrained network that learns well.
const USUAL_UPDATE: f64 = 1e-2;

/// Factor for the learning rate that brings the largest update to weight ratio of a first step, before momentum has
/// gathered, to the usual.
pub(crate) fn faster(step: &StepProfile) -> Option<f64> {
    let r = largest_update(step)?;
    (r > 0.0).then(|| USUAL_UPDATE / r)
}
