//! What happens to the gradient on its way back through time.

use super::signal::ends;
use super::{Rule, about};
use crate::profile::{Finding, LayerProfile, RunProfile, Severity, TimeProfile};
use crate::report::number::{pretty, times};

pub(super) fn rules() -> Vec<Rule> {
    let steps = |r: Rule| {
        r.threshold(
            "steps",
            8.0,
            "over a few steps, single numbers decide and not a rate",
        )
    };
    vec![
        steps(Rule::new(
            "vanishing over time",
            "the gradient shrinks on its way back through the time steps",
            |run, rule| over_time(run, rule, true),
        ))
        .threshold(
            "warning",
            1e3,
            "orthogonal weights and gates keep a factor of 1000 over a hundred steps",
        )
        .threshold(
            "critical",
            1e6,
            "the first inputs count a million times less than the last; at the last observed step only this counts, as a warning",
        )
        .explains(&["vanishing", "learning rate too low"]),
        steps(Rule::new(
            "exploding over time",
            "the gradient grows on its way back through the time steps",
            |run, rule| over_time(run, rule, false),
        ))
        .threshold(
            "warning",
            1e2,
            "gates keep the gradient; a hundredfold growth doubles with every few steps more",
        )
        .threshold(
            "critical",
            1e4,
            "one step of the optimizer destroys what was learnt",
        )
        .explains(&[
            "exploding",
            "learning rate too high",
            "not finite",
            "saturated",
        ]),
    ]
}

/// Gradient at the beginning over that at the end, if both are known and enough steps lie between.
fn journey(t: &TimeProfile, least: f64) -> Option<(f64, f64)> {
    let (first, last) = (*t.grad_rms.first()?, *t.grad_rms.last()?);
    let sound = first.is_finite() && last.is_finite() && last > 0.0;
    (sound && t.grad_rms.len() as f64 >= least).then_some((first, last))
}

fn over_time(run: &RunProfile, rule: &Rule, shrinks: bool) -> Vec<Finding> {
    let seen = ends(run).into_iter().enumerate();
    for (k, step, t) in seen.flat_map(|(k, s)| s.time.iter().map(move |t| (k, s, t))) {
        let Some((first, last)) = journey(t, rule.at("steps")) else {
            continue;
        };
        let factor = if shrinks { last / first } else { first / last };
        let Some(mut severity) = super::graded(rule, factor) else {
            continue;
        };
        // What training makes of it may be what the task wants: only a gradient that is gone counts.
        let trained = k > 0;
        if trained {
            if !shrinks || severity < Severity::Critical {
                continue;
            }
            severity = Severity::Warning;
        }
        let n = t.grad_rms.len();
        let rate = t.decay().map_or(f64::NAN, |r| r);
        let arrives = match (shrinks, first == 0.0) {
            (true, true) => "exactly 0".to_string(),
            (true, false) => format!("{} times weaker", times(factor)),
            (false, _) => format!("{} times stronger", times(factor)),
        };
        let memory = match t.memory() {
            Some(m) if m.is_finite() => format!(", memory {} steps", pretty(m)),
            _ => String::new(),
        };
        let when = match trained {
            true => format!("At step {}, on", step.step),
            false => "On".into(),
        };
        let message = format!(
            "{when} its way back through {n} time steps the gradient becomes **{arrives}**."
        );
        // The layer's own line, where a layer of this path or below it was found.
        let of = |l: &&LayerProfile| {
            l.path == t.path
                || l.path
                    .strip_prefix(&t.path)
                    .is_some_and(|r| r.starts_with('.'))
        };
        let f = match step.layers.iter().find(of) {
            Some(l) => about(severity, rule, l, message).at(t.path.clone()),
            None => Finding::new(severity, rule.name, message).at(t.path.clone()),
        };
        // Gates that forget too fast can be told how far to look back.
        let gated = |name: &str| step.layers.iter().filter(of).any(|l| l.op == name);
        let (cause, remedy) = if shrinks {
            let remedy = match (gated("lstm"), gated("gru")) {
                (true, _) => format!("tell the gates how far to look back: `Lstm::builder(..).expecting({n})`"),
                (_, true) => format!("tell the gates how far to look back: `Gru::builder(..).expecting({n})`"),
                _ => "use `Lstm` or `Gru`, whose gates let the gradient pass; or orthogonal recurrent weights (`RecurrentInit`)".into(),
            };
            (
                format!("each step back multiplies it by {}", pretty(rate)),
                remedy,
            )
        } else {
            (
                format!(
                    "each step back multiplies it by {}: the recurrent weights are too large",
                    pretty(rate)
                ),
                "start with orthogonal recurrent weights (`RecurrentInit`), clip the gradient (`grads.clip_norm(1.0)`), or use `Lstm` or `Gru`".into(),
            )
        };
        return vec![
            f.since(step.step)
                .evidence(format!(
                    "gradient RMS {} at the last time step, {} at the first{memory}",
                    pretty(last),
                    pretty(first)
                ))
                .cause(cause)
                .remedy(remedy),
        ];
    }
    Vec::new()
}
