//! Layers as they are found on a recording.

use super::{Act, activation, keeps_elements, recurrent_output, weighted};
use std::collections::{HashMap, HashSet};
use wengert_autograd::{Float, Module, NodeInfo, Param, ParamId, Path, Real, Tape, Visitor};

/// A layer as found on the tape.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) op: String,
    pub(super) location: String,
    pub(super) weight: ParamId,
    /// Output node of each use, in order: one for a feed-forward layer, one per time step for a recurrent one.
    pub(super) outputs: Vec<u32>,
    pub(super) act: Option<Act>,
    /// Whether the latest use has met its activation function.
    pub(super) finished: bool,
    /// Axis of the weight that counts the layer's units.
    pub(super) units: Option<usize>,
    /// Whether a later use reads what an earlier one gave: one layer through time.
    pub(super) recurs: bool,
}

/// The recorded forward pass, layer by layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    pub(super) found: Vec<Found>,
    /// Layer and use by output node.
    pub(super) of: HashMap<u32, (usize, usize)>,
}

impl Layers {
    /// Whether a parameter is the weight of a layer.
    pub(super) fn weighs(&self, p: ParamId) -> bool {
        self.found.iter().any(|l| l.weight == p)
    }
}

pub(super) struct Paths {
    pub(super) by_id: HashMap<ParamId, (String, usize)>,
}

impl<T: Real> Visitor<T> for Paths {
    fn param(&mut self, path: &str, p: &Param<T>) {
        self.by_id
            .insert(p.id(), (path.to_string(), p.value().rank()));
    }
}

pub(super) fn owner(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(o, _)| o)
}

pub(super) fn find_layers<T: Float>(tape: &Tape<T>, model: &dyn Module<T>) -> Layers {
    let mut paths = Paths {
        by_id: HashMap::new(),
    };
    model.visit(&mut Path::new(), &mut paths);
    // The parameter that a node is a view of, and the layer whose chain a node continues.
    let mut param_of: HashMap<u32, ParamId> = HashMap::new();
    let mut chain: HashMap<u32, usize> = HashMap::new();
    let mut leaves: HashSet<u32> = HashSet::new();
    let mut layers = Layers::default();
    let mut by_weight: HashMap<ParamId, usize> = HashMap::new();
    // Which layers each node is made of, a bit for each.
    let mut made_of: HashMap<u32, Vec<u64>> = HashMap::new();
    tape.for_each_node(|n| {
        if let Some(p) = n.param {
            param_of.insert(n.id, p);
            leaves.insert(n.id);
            return;
        }
        if n.origin.is_some() || n.args.is_empty() {
            return;
        }
        let mut parts: Vec<u64> = Vec::new();
        for m in n.args.iter().filter_map(|a| made_of.get(a)) {
            parts.resize(parts.len().max(m.len()), 0);
            parts.iter_mut().zip(m).for_each(|(a, b)| *a |= b);
        }
        let params: Vec<ParamId> = n
            .args
            .iter()
            .filter_map(|a| param_of.get(a).copied())
            .collect();
        // A function of parameters alone (a view, a normalised weight) stands for the first of them.
        if params.len() == n.args.len() && !weighted(n.op) {
            param_of.insert(n.id, params[0]);
            return;
        }
        let weight =
            (params.iter()).find(|p| paths.by_id.get(p).is_some_and(|(_, rank)| *rank >= 2));
        if let (Some(w), true) = (weight, weighted(n.op)) {
            let at = *by_weight.entry(*w).or_insert_with(|| {
                layers.found.push(Found {
                    path: owner(&paths.by_id[w].0).to_string(),
                    op: n.op.to_string(),
                    location: format!(
                        "{}:{}:{}",
                        n.location.file(),
                        n.location.line(),
                        n.location.column()
                    ),
                    weight: *w,
                    outputs: Vec::new(),
                    act: None,
                    finished: false,
                    units: units_axis(n, *w, &param_of, &leaves),
                    recurs: false,
                });
                layers.found.len() - 1
            });
            let layer = &mut layers.found[at];
            layer.outputs.push(n.id);
            layer.finished = false;
            layer.recurs |= parts.get(at / 64).is_some_and(|w| w >> (at % 64) & 1 == 1);
            parts.resize(parts.len().max(at / 64 + 1), 0);
            parts[at / 64] |= 1 << (at % 64);
            made_of.insert(n.id, parts);
            chain.insert(n.id, at);
            return;
        }
        if !parts.is_empty() {
            made_of.insert(n.id, parts);
        }
        let Some(&at) = n.args.iter().filter_map(|a| chain.get(a)).max() else {
            return;
        };
        let layer = &mut layers.found[at];
        let follows = n.args.contains(layer.outputs.last().unwrap_or(&u32::MAX));
        let bias =
            follows && !params.is_empty() && matches!(n.op, "add" | "sub") && layer.act.is_none();
        // The function may stand behind a normalization or an addition of what bypasses the layer.
        let act = activation(n.op, n.imm).filter(|_| follows || !layer.finished);
        let same = follows && keeps_elements(n.op);
        if follows && recurrent_output(n.op) {
            layer.op = n.op.to_string();
            layer.finished = true;
            *layer.outputs.last_mut().expect("a layer has an output") = n.id;
            chain.insert(n.id, at);
        } else if bias || same {
            *layer.outputs.last_mut().expect("a layer has an output") = n.id;
            chain.insert(n.id, at);
        } else if let Some(act) = act {
            if layer.act.is_none() {
                layer.op = n.op.to_string();
                layer.location = format!(
                    "{}:{}:{}",
                    n.location.file(),
                    n.location.line(),
                    n.location.column()
                );
            }
            layer.act = Some(act);
            layer.finished = true;
            *layer.outputs.last_mut().expect("a layer has an output") = n.id;
            chain.insert(n.id, at);
        } else if paths_between(n) {
            chain.insert(n.id, at);
        }
    });
    for (i, l) in layers.found.iter().enumerate() {
        for (k, &o) in l.outputs.iter().enumerate() {
            layers.of.insert(o, (i, k));
        }
    }
    // Two weights of one module (input and recurrent weights) are told apart by the parameter's own name.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for l in &layers.found {
        *seen.entry(l.path.clone()).or_default() += 1;
    }
    for l in &mut layers.found {
        if seen[&l.path] > 1 {
            l.path = paths.by_id[&l.weight].0.clone();
        }
    }
    layers
}

/// Steps between a weight and its activation, such as a normalization.
pub(super) fn paths_between(n: &NodeInfo<'_>) -> bool {
    n.op.contains("_norm")
        || matches!(
            n.op,
            "add" | "sub" | "mul" | "div" | "mul_scalar" | "add_scalar" | "div_scalar" | "mask"
        )
}

/// `x W` has one unit per column of `W`; `x Wᵀ` and convolutions one per row.
pub(super) fn units_axis(
    n: &NodeInfo<'_>,
    weight: ParamId,
    param_of: &HashMap<u32, ParamId>,
    leaves: &HashSet<u32>,
) -> Option<usize> {
    let arg = n.args.iter().find(|a| param_of.get(a) == Some(&weight))?;
    match n.op {
        "matmul" => Some(usize::from(leaves.contains(arg))),
        op if op.starts_with("conv") && !op.contains("transpose") => Some(0),
        _ => None,
    }
}
