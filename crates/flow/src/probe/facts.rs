//! Inputs, parameters and loss, read off the recorded tape.

use super::{Bad, Picked, ProbeOptions, activation, keeps_elements, weighted};
use crate::profile::{Detail, Facts, Link, LossFact, NonFinite, ParamFact, StepProfile, Summary};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;
use wengert_autograd::{Float, Module, ModuleExt, ParamId, Tape, Tensor};

/// A forward node, copied out of the tape.
struct Node {
    op: &'static str,
    args: Vec<u32>,
    shape: Vec<usize>,
    location: &'static Location<'static>,
    param: Option<ParamId>,
}

fn line(l: &Location<'_>) -> String {
    format!("{}:{}:{}", l.file(), l.line(), l.column())
}

/// What the recording shows, whatever its values.
pub(super) struct Recorded {
    links: HashMap<ParamId, Link>,
    nodes: HashMap<u32, Node>,
    /// Indices of the nodes, in order.
    ids: Vec<u32>,
    /// Modules as (path, kind).
    modules: Arc<Vec<(String, String)>>,
    params: Vec<Listed>,
    /// What enters the first layer.
    input: Option<u32>,
}

fn summary<T: Float>(t: &Tensor<T>) -> Summary {
    super::summary(t, Detail::MOMENTS)
}

/// A parameter of the model.
struct Listed {
    path: String,
    shape: Vec<usize>,
    id: ParamId,
    trainable: bool,
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
        memory: &mut Picked<T>,
    ) -> Inputs {
        let sampled = memory.pick(t, if options.start { 0 } else { options.sample });
        Inputs {
            summary: match sampled {
                true => Summary::with(&memory.scratch, Detail::MOMENTS).of_sample(t.numel()),
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

/// Reads the recording before it is spent.
pub(super) fn read<T: Float>(tape: &Tape<T>, model: &dyn Module<T>, loss: u32) -> Recorded {
    let mut nodes: HashMap<u32, Node> = HashMap::new();
    tape.for_each_node(|n| {
        if n.origin.is_none() && n.id <= loss {
            nodes.insert(
                n.id,
                Node {
                    op: n.op,
                    args: n.args.to_vec(),
                    shape: n.shape.to_vec(),
                    location: n.location,
                    param: n.param,
                },
            );
        }
    });
    // From the first weight back to the data.
    let mut ids: Vec<u32> = nodes.keys().copied().collect();
    ids.sort_unstable();
    let input = ids.iter().find_map(|id| {
        let n = &nodes[id];
        weighted(n.op).then(|| n.args.iter().copied().find_map(|a| input_of(&nodes, a)))?
    });
    let mut modules = Vec::new();
    model.visit(&mut wengert_autograd::Path::new(), &mut Kinds(&mut modules));
    let mut params = Vec::new();
    ModuleExt::for_each_param(model, &mut |path: &str, p: &wengert_autograd::Param<T>| {
        params.push(Listed {
            path: path.into(),
            shape: p.shape().to_vec(),
            id: p.id(),
            trainable: p.is_trainable(),
        });
    });
    Recorded {
        params,
        links: links(&nodes, &ids, loss),
        nodes,
        ids,
        modules: Arc::new(modules),
        input,
    }
}

impl Recorded {
    /// The node of what enters the first layer.
    pub(super) fn input(&self) -> Option<u32> {
        self.input
    }

    /// Everything but what is not finite; `rms` of a parameter's gradient, if it has one.
    pub(super) fn facts<T: Float>(
        &self,
        tape: &Tape<T>,
        inputs: Option<Inputs>,
        rms: impl Fn(ParamId) -> Option<f64>,
    ) -> Facts {
        let link = |p: &Listed| match rms(p.id) {
            Some(rms) => Link::Gradient(rms),
            None if !p.trainable => Link::Frozen,
            None => (self.links.get(&p.id).cloned())
                .or_else(|| self.first_use(p.id))
                .unwrap_or(Link::Unused),
        };
        let params = (self.params.iter()).map(|p| ParamFact {
            path: p.path.clone(),
            shape: p.shape.clone(),
            link: link(p),
        });
        Facts {
            training: Some(tape.is_training()),
            modules: Arc::clone(&self.modules),
            loss: loss_fact(tape, &self.nodes, &self.ids),
            params: params.collect(),
            batch: inputs.as_ref().and_then(|i| i.batch),
            feature_std: inputs.as_ref().and_then(|i| i.feature_std),
            inputs: inputs.map(|i| i.summary),
            ..Facts::default()
        }
    }
}

struct Kinds<'a>(&'a mut Vec<(String, String)>);

impl<T: Float> wengert_autograd::Visitor<T> for Kinds<'_> {
    fn param(&mut self, _: &str, _: &wengert_autograd::Param<T>) {}
    fn enter(&mut self, path: &str, kind: &'static str) {
        self.0.push((path.into(), kind.into()));
    }
}

/// The input that a node is a rearrangement of.
fn input_of(nodes: &HashMap<u32, Node>, mut id: u32) -> Option<u32> {
    loop {
        let n = nodes.get(&id)?;
        if n.op == "input" {
            return Some(id);
        }
        if !keeps_elements(n.op) {
            return None;
        }
        id = *n.args.first()?;
    }
}

/// Why each parameter may have no gradient, judged by the recording alone.
fn links(nodes: &HashMap<u32, Node>, ids: &[u32], loss: u32) -> HashMap<ParamId, Link> {
    // What reaches the loss without a cut has a gradient; only for the others is the reason looked for.
    let (mut open, mut reaches) = (vec![loss], HashSet::new());
    while let Some(at) = open.pop() {
        if reaches.insert(at)
            && let Some(n) = nodes.get(&at).filter(|n| n.op != "detach")
        {
            open.extend(&n.args);
        }
    }
    let mut out = HashMap::new();
    let cut = |id: &&u32| nodes[*id].param.is_some() && !reaches.contains(*id);
    let cut: Vec<u32> = ids.iter().filter(cut).copied().collect();
    let mut users: HashMap<u32, Vec<u32>> = HashMap::new();
    if !cut.is_empty() {
        for id in ids {
            for a in &nodes[id].args {
                users.entry(*a).or_default().push(*id);
            }
        }
    }
    for id in &cut {
        let Some(p) = nodes[id].param else { continue };
        let (mut open, mut seen) = (vec![*id], HashSet::new());
        let (mut cut, mut first_use) = (None, None);
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            let n = &nodes[&at];
            if n.op == "detach" && cut.is_none() {
                cut = Some(line(n.location));
            }
            for u in users.get(&at).into_iter().flatten() {
                first_use.get_or_insert_with(|| line(nodes[u].location));
                open.push(*u);
            }
        }
        let link = match first_use {
            None => Link::Unused,
            Some(location) if !seen.contains(&loss) => Link::Dangling { location },
            Some(location) => Link::Cut {
                location: cut.unwrap_or(location),
            },
        };
        out.insert(p, link);
    }
    out
}

/// The known loss nearest to the end of the recording.
fn loss_fact<T: Float>(
    tape: &Tape<T>,
    nodes: &HashMap<u32, Node>,
    ids: &[u32],
) -> Option<LossFact> {
    for id in ids.iter().rev() {
        let n = &nodes[id];
        let (kind, prediction, target) = match n.op {
            // A cross-entropy with smoothed labels or weights is made of the logarithms.
            "cross_entropy" | "log_softmax" => ("cross_entropy", n.args[0], None),
            "bce_with_logits_" => ("bce_with_logits", n.args[0], n.args.get(1).copied()),
            "square" => {
                let Some(difference) = nodes.get(&n.args[0]).filter(|d| d.op == "sub") else {
                    continue;
                };
                let [a, b] = difference.args[..] else {
                    continue;
                };
                match (input_of(nodes, a), input_of(nodes, b)) {
                    (None, Some(_)) => ("mse", a, Some(b)),
                    (Some(_), None) => ("mse", b, Some(a)),
                    _ => continue,
                }
            }
            _ => continue,
        };
        let mut before = Vec::new();
        let mut at = prediction;
        while let Some(n) = nodes.get(&at).filter(|n| !weighted(n.op)) {
            if activation(n.op, [0.0; 2]).is_some() || n.op == "ln" || n.op == "exp" {
                before.push(n.op.to_string());
            }
            let next = (n.args.iter()).find(|a| nodes.get(a).is_some_and(|n| !n.args.is_empty()));
            match next {
                Some(a) => at = *a,
                None => break,
            }
        }
        before.reverse();
        let targets = target
            .and_then(|t| input_of(nodes, t))
            .and_then(|t| tape.input_value(t))
            .map(|t| summary(&t));
        return Some(LossFact {
            kind: kind.into(),
            location: line(n.location),
            before,
            classes: (nodes[&prediction].shape.get(1).copied()).filter(|_| kind == "cross_entropy"),
            targets,
        });
    }
    None
}

/// An operation (or what stands in its place) that made something that is not finite: its node, where that is known to come
/// before others, and what is told of it.
type Culprit = (u32, NonFinite);

impl Recorded {
    /// Adds the first operation that made something that is not finite.
    pub(super) fn after<T: Float>(
        &self,
        mut facts: Facts,
        tape: &Tape<T>,
        model: &dyn Module<T>,
        step: &StepProfile,
        bad: &Bad,
    ) -> Facts {
        let lost = step.layers.iter().any(|l| l.non_finite() > 0);
        if lost && let Some(t) = self.input.and_then(|id| tape.input_value(id)) {
            facts.inputs = Some(summary(&t));
        }
        let entered = facts.inputs.as_ref().is_some_and(|s| s.non_finite() > 0);
        let no_loss = step.loss.is_some_and(|l| !l.is_finite());
        let params = !bad.params.is_empty() || !bad.gradients.is_empty();
        if !(entered || lost || no_loss || params || bad.value.is_some() || bad.adjoint.is_some()) {
            return facts;
        }
        facts.non_finite = if entered {
            self.input
                .and_then(|id| Some(self.nodes.get(&id)?.named(false)))
        } else {
            let weight = self.first_reader(&bad.params, false);
            // What nobody looked at is found by running the step again.
            let made = (self.made(bad)).or_else(|| {
                let found = self.knows_all().then(|| traced(tape, model))?;
                // Of a parameter, its reader is told.
                found.filter(|f| self.nodes.get(&f.0).is_none_or(|n| n.param.is_none()))
            });
            let first = match (weight, made) {
                (Some(w), Some(m)) if !m.1.backward && m.0 < w.0 => Some(m),
                (w, m) => w.or(m),
            };
            first.map(|c| c.1)
        };
        if facts.non_finite.is_none() {
            let gradient = self.first_reader(&bad.gradients, true).map(|c| c.1);
            facts.non_finite = gradient.or_else(|| first_non_finite(step));
        }
        facts
    }

    /// Whether every parameter that was recorded belongs to the model.
    fn knows_all(&self) -> bool {
        let mut recorded = self.nodes.values().filter_map(|n| n.param);
        recorded.all(|id| self.params.iter().any(|p| p.id == id))
    }

    /// The first operation (from the loss back, the last one) that reads one of these parameters.
    fn first_reader(&self, params: &[ParamId], backward: bool) -> Option<Culprit> {
        let mut first: Option<Culprit> = None;
        for id in &self.ids {
            let n = &self.nodes[id];
            if keeps_elements(n.op) {
                continue;
            }
            let mut read = n.args.iter().filter_map(|a| self.param_behind(*a));
            let Some(param) = read.find(|p| params.contains(p)) else {
                continue;
            };
            let mut told = n.named(backward);
            told.parameter = (self.params.iter().find(|p| p.id == param)).map(|p| p.path.clone());
            first = Some((*id, told));
            if !backward {
                break;
            }
        }
        first
    }

    /// The parameter that a node is, or is a rearrangement of.
    fn param_behind(&self, mut id: u32) -> Option<ParamId> {
        loop {
            let n = self.nodes.get(&id)?;
            if n.param.is_some() || !keeps_elements(n.op) {
                return n.param;
            }
            id = *n.args.first()?;
        }
    }

    /// A parameter whose way to the loss looks open and that has no gradient all the same, by the line that uses it first.
    fn first_use(&self, p: ParamId) -> Option<Link> {
        let (id, _) = self.nodes.iter().find(|(_, n)| n.param == Some(p))?;
        let users = self.nodes.iter().filter(|(_, n)| n.args.contains(id));
        let user = users.min_by_key(|(i, _)| **i);
        let location = user.map_or(String::new(), |(_, n)| line(n.location));
        Some(Link::Cut { location })
    }

    /// The operation that made the first value, or else the first adjoint, that is not finite, if every value was seen.
    fn made(&self, bad: &Bad) -> Option<Culprit> {
        if let Some(id) = bad.value {
            return Some((id, self.nodes.get(&id)?.named(false)));
        }
        // The adjoint of a node is made by the rules of those that use it.
        let id = bad.adjoint?;
        let users = self.nodes.iter().filter(|(_, n)| n.args.contains(&id));
        let (at, user) = users.max_by_key(|(i, _)| **i)?;
        Some((*at, user.named(true)))
    }
}

impl Node {
    fn named(&self, backward: bool) -> NonFinite {
        NonFinite {
            op: self.op.into(),
            location: line(self.location),
            backward,
            parameter: None,
        }
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
fn first_non_finite(step: &StepProfile) -> Option<NonFinite> {
    let bad = |s: &Option<Summary>| s.as_ref().is_some_and(|s| s.non_finite() > 0);
    let forward = step.layers.iter().find(|l| bad(&l.activation));
    let backward = || {
        step.layers
            .iter()
            .rev()
            .find(|l| bad(&l.activation_grad) || bad(&l.weight_grad))
    };
    let (l, is_backward) = match forward {
        Some(l) => (l, false),
        None => (backward()?, true),
    };
    Some(NonFinite {
        op: l.op.clone(),
        location: l.location.clone().unwrap_or_default(),
        backward: is_backward,
        parameter: None,
    })
}
