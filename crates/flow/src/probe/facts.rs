//! Inputs, parameters and loss, read off the recorded tape.

use super::names::Numbers;
use super::recorder::Bad;
use super::recording::{Listed, Node, Recording, line};
use super::snapshot::pick;
use super::{ProbeOptions, activation, keeps_elements, owner, weighted};
use crate::profile::{Detail, Facts, Link, LossFact, NonFinite, ParamFact, Summary};
use crate::sorted::Sorted;
use std::sync::Arc;
use wengert_autograd::{Float, Module, ParamId, Tape, Tensor};

/// What the recording shows, whatever its values.
pub(super) struct Known {
    links: Sorted<ParamId, Link>,
    lines: Arc<Vec<(String, String)>>,
    /// What enters the first layer.
    input: Option<u32>,
    /// The loss, and the input that its targets are.
    loss: Option<(LossFact, Option<u32>)>,
}

fn summary<T: Float>(t: &Tensor<T>) -> Summary {
    super::summary(t, Detail::MOMENTS)
}

/// What is known of the data that enters the first layer.
pub(super) struct Inputs {
    summary: Summary,
    batch: Option<usize>,
    feature_std: Option<(f64, f64)>,
}

impl Inputs {
    pub(super) fn of<T: Float>(
        t: &Tensor<T>,
        options: ProbeOptions,
        memory: &mut Vec<T>,
    ) -> Inputs {
        let limit = if options.start { 0 } else { options.sample };
        let sampled = pick(t, limit, memory);
        Inputs {
            summary: match sampled {
                true => Summary::with(memory, Detail::MOMENTS).of_sample(t.numel()),
                false => summary(t),
            },
            batch: t.shape().first().copied(),
            feature_std: options.start.then(|| feature_std(t)).flatten(),
        }
    }
}

/// Smallest and largest standard deviation of a feature (column) that is not constant.
fn feature_std<T: Float>(t: &Tensor<T>) -> Option<(f64, f64)> {
    let [n, d] = *t.shape() else { return None };
    let v = t.to_vec();
    let mut range: Option<(f64, f64)> = None;
    let mut column = Vec::with_capacity(n);
    for j in 0..d {
        column.clear();
        column.extend((0..n).map(|i| v[i * d + j]));
        let s = Summary::with(&column, Detail::MOMENTS).std;
        if s > 0.0 {
            range = Some(range.map_or((s, s), |(a, b)| (a.min(s), b.max(s))));
        }
    }
    range
}

impl Known {
    pub(super) fn of(recording: &Recording) -> Known {
        // From the first weight back to the data.
        let first = |n: &Node| n.args.iter().find_map(|a| recording.input_of(*a));
        let mut weighing = recording.nodes.iter().filter(|n| weighted(n.1.op));
        Known {
            links: links(recording),
            lines: Arc::new(lines(recording)),
            input: weighing.find_map(|n| first(&n.1)),
            loss: loss_fact(recording),
        }
    }

    /// The node of what enters the first layer.
    pub(super) fn input(&self) -> Option<u32> {
        self.input
    }

    /// Everything but what is not finite.
    pub(super) fn facts<T: Float>(
        &self,
        tape: &Tape<T>,
        recording: &Recording,
        inputs: Option<Inputs>,
        params: Vec<ParamFact>,
    ) -> Facts {
        let loss = self.loss.as_ref().map(|(known, targets)| LossFact {
            targets: (targets.and_then(|t| tape.input_value(t))).map(|t| summary(&t)),
            ..known.clone()
        });
        Facts {
            training: Some(tape.is_training()),
            modules: Arc::clone(&recording.modules),
            lines: Arc::clone(&self.lines),
            loss,
            params,
            batch: inputs.as_ref().and_then(|i| i.batch),
            feature_std: inputs.as_ref().and_then(|i| i.feature_std),
            inputs: inputs.map(|i| i.summary),
            ..Facts::default()
        }
    }

    /// How each parameter takes part, still without names; `rms` of its gradient, if it has one.
    pub(super) fn params(
        &self,
        recording: &Recording,
        rms: &dyn Fn(ParamId) -> Option<f64>,
    ) -> Vec<ParamFact> {
        let link = |p: &Listed| match rms(p.id) {
            Some(rms) => Link::Gradient(rms),
            None if !p.trainable => Link::Frozen,
            None => (self.links.get(p.id).cloned())
                .or_else(|| first_use(recording, p.id))
                .unwrap_or(Link::Unused),
        };
        let fact = |p: &Listed| ParamFact {
            path: String::new(),
            shape: Vec::new(),
            link: link(p),
        };
        recording.params.iter().map(fact).collect()
    }
}

/// The line that uses a module's own parameters first, by its path.
fn lines(recording: &Recording) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for (_, n) in recording.nodes.iter() {
        for p in n.args.iter().filter_map(|a| recording.node(*a)?.param) {
            let Some(listed) = recording.listed(p) else {
                continue;
            };
            let path = owner(&listed.path);
            if lines.iter().all(|l| l.0 != path) {
                lines.push((path.to_string(), n.line()));
            }
        }
    }
    lines
}

/// Why each parameter may have no gradient, judged by the recording alone.
fn links(recording: &Recording) -> Sorted<ParamId, Link> {
    let size = recording.loss as usize + 1;
    // What reaches the loss without a cut has a gradient; only for the others is the reason looked for.
    let (mut open, mut reaches) = (vec![recording.loss], vec![false; size]);
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut reaches[at as usize], true)
            && let Some(n) = recording.node(at).filter(|n| n.op != "detach")
        {
            open.extend(&n.args);
        }
    }
    let mut out = Sorted::default();
    for (id, n) in recording.nodes.iter() {
        if let Some(p) = n.param.filter(|_| !reaches[*id as usize]) {
            out.insert(p, missing_link(recording, *id));
        }
    }
    out
}

/// Why what is computed from a node does not reach the loss.
fn missing_link(recording: &Recording, id: u32) -> Link {
    let mut from = vec![false; recording.loss as usize + 1];
    from[id as usize] = true;
    let (mut cut, mut first_use) = (None, None);
    // Operations come after what they read.
    for (at, n) in recording.nodes.iter() {
        if n.args.iter().any(|a| from[*a as usize]) {
            from[*at as usize] = true;
            first_use.get_or_insert(n);
            if n.op == "detach" {
                cut.get_or_insert(n);
            }
        }
    }
    match first_use {
        None => Link::Unused,
        Some(used) if !from[recording.loss as usize] => Link::Dangling {
            location: used.line(),
        },
        Some(used) => Link::Cut {
            location: cut.unwrap_or(used).line(),
        },
    }
}

/// The known loss nearest to the end of the recording, and the input that its targets are.
fn loss_fact(recording: &Recording) -> Option<(LossFact, Option<u32>)> {
    let input_of = |id| recording.input_of(id);
    for (_, n) in recording.nodes.iter().rev() {
        let (kind, prediction, target) = match n.op {
            // A cross-entropy with smoothed labels or weights is made of the logarithms.
            "cross_entropy" | "log_softmax" => ("cross_entropy", n.args[0], None),
            "bce_with_logits_" => ("bce_with_logits", n.args[0], n.args.get(1).copied()),
            "square" => {
                let Some(difference) = recording.node(n.args[0]).filter(|d| d.op == "sub") else {
                    continue;
                };
                let [a, b] = difference.args[..] else {
                    continue;
                };
                match (input_of(a), input_of(b)) {
                    (None, Some(_)) => ("mse", a, Some(b)),
                    (Some(_), None) => ("mse", b, Some(a)),
                    _ => continue,
                }
            }
            _ => continue,
        };
        let mut before = Vec::new();
        let mut at = prediction;
        while let Some(n) = recording.node(at).filter(|n| !weighted(n.op)) {
            if activation(n.op, [0.0; 2]).is_some() || n.op == "ln" || n.op == "exp" {
                before.push(n.op.to_string());
            }
            let made = |a: &&u32| recording.node(**a).is_some_and(|n| !n.args.is_empty());
            match n.args.iter().find(made) {
                Some(a) => at = *a,
                None => break,
            }
        }
        before.reverse();
        let shape = recording.node(prediction).map(|n| &n.shape[..]);
        let fact = LossFact {
            kind: kind.into(),
            location: n.line(),
            before,
            classes: shape
                .and_then(|s| s.get(1).copied())
                .filter(|_| kind == "cross_entropy"),
            targets: None,
        };
        return Some((fact, target.and_then(input_of)));
    }
    None
}

/// An operation (or what stands in its place) that made something that is not finite: its node, where that is known to come
/// before others, and what is told of it.
type Culprit = (u32, NonFinite);

/// Adds the first operation that made something that is not finite.
pub(super) fn add_non_finite<T: Float>(
    facts: &mut Facts,
    (recording, input): (&Recording, Option<u32>),
    tape: &Tape<T>,
    model: &dyn Module<T>,
    numbers: &Numbers,
    bad: &Bad,
) {
    let step = &numbers.step;
    let lost = step.layers.iter().any(|l| l.non_finite() > 0);
    if lost && let Some(t) = input.and_then(|id| tape.input_value(id)) {
        facts.inputs = Some(summary(&t));
    }
    let entered = facts.inputs.as_ref().is_some_and(|s| s.non_finite() > 0);
    let no_loss = step.loss.is_some_and(|l| !l.is_finite());
    let params = !bad.params.is_empty() || !bad.gradients.is_empty();
    if !(entered || lost || no_loss || params || bad.value.is_some() || bad.adjoint.is_some()) {
        return;
    }
    facts.non_finite = if entered {
        input.and_then(|id| Some(named(recording.node(id)?, false)))
    } else {
        let weight = first_reader(recording, &bad.params, false);
        // What nobody looked at is found by running the step again.
        let made = made(recording, bad).or_else(|| {
            let found = knows_all(recording).then(|| traced(tape, model))?;
            // Of a parameter, its reader is told.
            found.filter(|f| recording.node(f.0).is_none_or(|n| n.param.is_none()))
        });
        // A rearrangement of a parameter makes nothing: its reader is told, too.
        let made = made.map(|m| match param_behind(recording, m.0) {
            Some(p) if !m.1.backward => first_reader(recording, &[p], false).unwrap_or(m),
            _ => m,
        });
        let first = match (weight, made) {
            (Some(w), Some(m)) if !m.1.backward && m.0 < w.0 => Some(m),
            (w, m) => w.or(m),
        };
        first.map(|c| c.1)
    };
    if facts.non_finite.is_none() {
        let gradient = first_reader(recording, &bad.gradients, true).map(|c| c.1);
        facts.non_finite = gradient.or_else(|| first_non_finite(numbers));
    }
}

/// Whether every parameter that was recorded belongs to the model.
fn knows_all(recording: &Recording) -> bool {
    let mut recorded = recording.nodes.iter().filter_map(|n| n.1.param);
    recorded.all(|id| recording.listed(id).is_some())
}

/// The first operation (from the loss back, the last one) that reads one of these parameters.
fn first_reader(recording: &Recording, params: &[ParamId], backward: bool) -> Option<Culprit> {
    let mut first: Option<Culprit> = None;
    for (id, n) in recording.nodes.iter() {
        if keeps_elements(n.op) {
            continue;
        }
        let mut read = n.args.iter().filter_map(|a| param_behind(recording, *a));
        let Some(param) = read.find(|p| params.contains(p)) else {
            continue;
        };
        let mut told = named(n, backward);
        told.parameter = recording.listed(param).map(|p| p.path.clone());
        first = Some((*id, told));
        if !backward {
            break;
        }
    }
    first
}

/// The parameter that a node is, or is a rearrangement of.
fn param_behind(recording: &Recording, mut id: u32) -> Option<ParamId> {
    loop {
        let n = recording.node(id)?;
        if n.param.is_some() || !keeps_elements(n.op) {
            return n.param;
        }
        id = *n.args.first()?;
    }
}

/// A parameter whose way to the loss looks open and that has no gradient all the same, by the line that uses it first.
fn first_use(recording: &Recording, p: ParamId) -> Option<Link> {
    let mut nodes = recording.nodes.iter();
    let (id, _) = nodes.find(|(_, n)| n.param == Some(p))?;
    let user = nodes.find(|(_, n)| n.args.contains(id));
    let location = user.map_or(String::new(), |(_, n)| n.line());
    Some(Link::Cut { location })
}

/// The operation that made the first value, or else the first adjoint, that is not finite, if every value was seen.
fn made(recording: &Recording, bad: &Bad) -> Option<Culprit> {
    if let Some(id) = bad.value {
        return Some((id, named(recording.node(id)?, false)));
    }
    // The adjoint of a node is made by the rules of those that use it.
    let id = bad.adjoint?;
    let mut last_first = recording.nodes.iter().rev();
    let (at, user) = last_first.find(|(_, n)| n.args.contains(&id))?;
    Some((*at, named(user, true)))
}

fn named(n: &Node, backward: bool) -> NonFinite {
    NonFinite {
        op: n.op.into(),
        location: n.line(),
        backward,
        parameter: None,
    }
}

/// The first operation that makes something that is not finite, when the step is run again.
fn traced<T: Float>(tape: &Tape<T>, model: &dyn Module<T>) -> Option<Culprit> {
    let found = tape.trace(model)?;
    let told = NonFinite {
        op: found.backward_of.unwrap_or(found.op).into(),
        location: line(found.location),
        backward: found.backward_of.is_some(),
        parameter: None,
    };
    Some((found.node, told))
}

/// The first layer whose output, or else the last layer whose adjoint, is not finite.
fn first_non_finite(numbers: &Numbers) -> Option<NonFinite> {
    let layers = &numbers.step.layers;
    let bad = |s: &Option<Summary>| s.as_ref().is_some_and(|s| s.non_finite() > 0);
    let forward = layers.iter().position(|l| bad(&l.activation));
    let mut last_first = layers.iter();
    let (at, backward) = match forward {
        Some(at) => (at, false),
        None => {
            let at = last_first.rposition(|l| bad(&l.activation_grad) || bad(&l.weight_grad));
            (at?, true)
        }
    };
    let (op, location) = numbers.names.made(at);
    Some(NonFinite {
        op: op.into(),
        location: location.into(),
        backward,
        parameter: None,
    })
}
