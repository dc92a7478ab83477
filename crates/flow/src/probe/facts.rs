//! Inputs, parameters and loss, read off the recorded tape.

use super::{Bad, ProbeOptions, activation, keeps_elements, snapshot, weighted};
use crate::profile::{Detail, Facts, Link, LossFact, NonFinite, ParamFact, StepProfile, Summary};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
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
    modules: Vec<(String, String)>,
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
    pub(super) fn of<T: Float>(t: &Tensor<T>, options: ProbeOptions) -> Inputs {
        let picked = snapshot::runs(t, if options.start { 0 } else { options.sample });
        Inputs {
            summary: match picked {
                Some(picked) => Summary::with(&picked, Detail::MOMENTS).of_sample(t.numel()),
                None => summary(t),
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
        modules,
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
            modules: self.modules.clone(),
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
            if activation(n.op).is_some() || n.op == "ln" || n.op == "exp" {
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

impl Recorded {
    /// Adds the first operation that made something that is not finite.
    pub(super) fn after<T: Float>(
        &self,
        mut facts: Facts,
        tape: &Tape<T>,
        step: &StepProfile,
        bad: Bad,
    ) -> Facts {
        if step.layers.iter().any(|l| l.non_finite() > 0)
            && let Some(t) = self.input.and_then(|id| tape.input_value(id))
        {
            facts.inputs = Some(summary(&t));
        }
        let entered = facts.inputs.as_ref().is_some_and(|s| s.non_finite() > 0);
        facts.non_finite = (self.first_operation(entered, bad)).or_else(|| first_non_finite(step));
        facts
    }

    /// A parameter whose way to the loss looks open and that has no gradient all the same, by the line that uses it first.
    fn first_use(&self, p: ParamId) -> Option<Link> {
        let (id, _) = self.nodes.iter().find(|(_, n)| n.param == Some(p))?;
        let users = self.nodes.iter().filter(|(_, n)| n.args.contains(id));
        let user = users.min_by_key(|(i, _)| **i);
        let location = user.map_or(String::new(), |(_, n)| line(n.location));
        Some(Link::Cut { location })
    }

    /// The operation that made the first value, or else the first adjoint, that is not finite.
    fn first_operation(&self, entered: bool, bad: Bad) -> Option<NonFinite> {
        let named = |n: &Node, backward| NonFinite {
            op: n.op.into(),
            location: line(n.location),
            backward,
        };
        if entered {
            return Some(named(self.nodes.get(&self.input?)?, false));
        }
        if let Some(n) = bad.value.and_then(|id| self.nodes.get(&id)) {
            return Some(named(n, false));
        }
        // The adjoint of a node is made by the rules of those that use it.
        let id = bad.adjoint?;
        let users = self.nodes.iter().filter(|(_, n)| n.args.contains(&id));
        let (_, user) = users.max_by_key(|(i, _)| **i)?;
        Some(named(user, true))
    }
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
    })
}
