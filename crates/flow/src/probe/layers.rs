//! Layers as they are found on a recording.

use super::recording::{Node, Recording};
use super::{Act, activation, keeps_elements, recurrent_output, weighted};
use crate::sorted::Sorted;
use wengert_autograd::ParamId;

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
#[derive(Default)]
pub(super) struct Layers {
    pub(super) found: Vec<Found>,
    /// Layer and use by output node.
    pub(super) of: Sorted<u32, (usize, usize)>,
    /// Layer by the slot of its weight.
    pub(super) by_slot: Vec<Option<usize>>,
}

pub(super) fn owner(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(o, _)| o)
}

pub(super) fn find_layers(recording: &Recording) -> Layers {
    // The parameter that a node is a view of, and the layer whose chain a node continues.
    let mut param_of: Sorted<u32, ParamId> = Sorted::default();
    let mut chain: Sorted<u32, usize> = Sorted::default();
    let mut layers = Layers {
        by_slot: vec![None; recording.slots.iter().len()],
        ..Layers::default()
    };
    // Which layers each node is made of, a bit for each.
    let mut made_of: Sorted<u32, Vec<u64>> = Sorted::default();
    for (id, n) in recording.nodes.iter() {
        let id = *id;
        if let Some(p) = n.param {
            param_of.insert(id, p);
            continue;
        }
        if n.args.is_empty() {
            continue;
        }
        let mut parts: Vec<u64> = Vec::new();
        for m in n.args.iter().filter_map(|a| made_of.get(*a)) {
            parts.resize(parts.len().max(m.len()), 0);
            parts.iter_mut().zip(m).for_each(|(a, b)| *a |= b);
        }
        let params: Vec<ParamId> = n
            .args
            .iter()
            .filter_map(|a| param_of.get(*a).copied())
            .collect();
        // A function of parameters alone (a view, a normalised weight) stands for the first of them.
        if params.len() == n.args.len() && !weighted(n.op) {
            param_of.insert(id, params[0]);
            continue;
        }
        let weight = (params.iter().filter(|_| weighted(n.op)))
            .find_map(|p| recording.listed(*p).filter(|p| p.shape.len() >= 2));
        if let Some(w) = weight {
            let slot = recording.slots.get(w.id).copied().unwrap_or_default();
            let at = *layers.by_slot[slot].get_or_insert(layers.found.len());
            if at == layers.found.len() {
                layers.found.push(Found {
                    path: owner(&w.path).to_string(),
                    op: n.op.to_string(),
                    location: n.line(),
                    weight: w.id,
                    outputs: Vec::new(),
                    act: None,
                    finished: false,
                    units: units_axis(recording, n, w.id, &param_of),
                    recurs: false,
                });
            }
            let layer = &mut layers.found[at];
            layer.outputs.push(id);
            layer.finished = false;
            layer.recurs |= parts.get(at / 64).is_some_and(|w| w >> (at % 64) & 1 == 1);
            parts.resize(parts.len().max(at / 64 + 1), 0);
            parts[at / 64] |= 1 << (at % 64);
            made_of.insert(id, parts);
            chain.insert(id, at);
            continue;
        }
        if !parts.is_empty() {
            made_of.insert(id, parts);
        }
        let Some(&at) = n.args.iter().filter_map(|a| chain.get(*a)).max() else {
            continue;
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
            *layer.outputs.last_mut().expect("a layer has an output") = id;
            chain.insert(id, at);
        } else if bias || same {
            *layer.outputs.last_mut().expect("a layer has an output") = id;
            chain.insert(id, at);
        } else if let Some(act) = act {
            if layer.act.is_none() {
                layer.op = n.op.to_string();
                layer.location = n.line();
            }
            layer.act = Some(act);
            layer.finished = true;
            *layer.outputs.last_mut().expect("a layer has an output") = id;
            chain.insert(id, at);
        } else if paths_between(n) {
            chain.insert(id, at);
        }
    }
    for (i, l) in layers.found.iter().enumerate() {
        for (k, &o) in l.outputs.iter().enumerate() {
            layers.of.insert(o, (i, k));
        }
    }
    // Two weights of one module (input and recurrent weights) are told apart by the parameter's own name.
    let paths: Vec<String> = layers.found.iter().map(|l| l.path.clone()).collect();
    for l in &mut layers.found {
        if paths.iter().filter(|p| **p == l.path).count() > 1
            && let Some(p) = recording.listed(l.weight)
        {
            l.path.clone_from(&p.path);
        }
    }
    layers
}

/// Steps between a weight and its activation, such as a normalization.
fn paths_between(n: &Node) -> bool {
    n.op.contains("_norm")
        || matches!(
            n.op,
            "add" | "sub" | "mul" | "div" | "mul_scalar" | "add_scalar" | "div_scalar" | "mask"
        )
}

/// `x W` has one unit per column of `W`; `x Wᵀ` and convolutions one per row.
fn units_axis(
    recording: &Recording,
    n: &Node,
    weight: ParamId,
    param_of: &Sorted<u32, ParamId>,
) -> Option<usize> {
    let arg = (n.args.iter()).find(|a| param_of.get(**a) == Some(&weight))?;
    let leaf = recording.node(*arg).is_some_and(|a| a.param.is_some());
    match n.op {
        "matmul" => Some(usize::from(leaf)),
        op if op.starts_with("conv") && !op.contains("transpose") => Some(0),
        _ => None,
    }
}
