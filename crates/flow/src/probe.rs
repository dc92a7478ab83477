//! Measuring a network while it computes: layers are found on the tape, their values and adjoints are summarised in
//! passing.
//!
//! A layer is an operation with a weight (a parameter of rank 2 or more): `matmul`, `conv…`, `embedding`, a recurrent
//! cell. Its path is that of the module that owns the weight. The bias and the activation function that follow belong
//! to it; its output is the activation's.

mod facts;

use crate::profile::{Bins, Detail, LayerProfile, StepProfile, Summary, TimeProfile};
use std::any::Any;
use std::collections::{HashMap, HashSet};
use wengert_autograd::{
    Float, Gradients, Module, NodeInfo, Observer, Param, ParamId, Path, Real, Seen, Tape, Tensor,
    Var, Visitor,
};

/// An activation function that saturation is judged for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Act {
    Sigmoid,
    Tanh,
    /// Zero for negative inputs.
    Rectifier,
    Other,
}

fn activation(op: &str) -> Option<Act> {
    Some(match op {
        "sigmoid" | "hardsigmoid" => Act::Sigmoid,
        "tanh" | "hardtanh" => Act::Tanh,
        "relu" | "relu6" => Act::Rectifier,
        "leaky_relu" | "prelu" | "elu" | "selu" | "celu" | "gelu" | "gelu_tanh" | "silu"
        | "mish" | "softplus_beta" | "softsign" | "hardswish" | "tanhshrink" | "softshrink"
        | "hardshrink" | "threshold" | "squareplus" | "softmax" | "log_softmax" => Act::Other,
        _ => return None,
    })
}

fn keeps_elements(op: &str) -> bool {
    matches!(
        op,
        "permute" | "reshape" | "contiguous" | "broadcast_to" | "slice"
    )
}

fn weighted(op: &str) -> bool {
    matches!(op, "matmul" | "index_select" | "einsum" | "bilinear")
        || op.starts_with("conv")
        || op.starts_with("lstm")
        || op.starts_with("gru")
        || op.starts_with("rnn")
}

/// Share of an activation's largest slope below which a unit counts as saturated.
pub const SATURATED_SLOPE: f64 = 0.05;

/// Name of the share of units that are and stay identical, among the further measurements of a layer.
pub const IDENTICAL_UNITS: &str = "identical units";

/// What a [`Probe`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Detail of the summaries of activations, their gradients, weights and weight gradients.
    pub detail: Detail,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        ProbeOptions {
            detail: Detail::histogram(Bins::Auto),
        }
    }
}

/// A layer as found on the tape.
#[derive(Clone, Debug)]
struct Found {
    path: String,
    op: String,
    location: String,
    weight: ParamId,
    /// Output node of each use, in order: one for a feed-forward layer, one per time step for a recurrent one.
    outputs: Vec<u32>,
    act: Option<Act>,
    /// Whether the latest use has met its activation function.
    finished: bool,
    /// Axis of the weight that counts the layer's units.
    units: Option<usize>,
}

/// The recorded forward pass, layer by layer.
#[derive(Clone, Debug, Default)]
struct Layers {
    found: Vec<Found>,
    /// Layer and use by output node.
    of: HashMap<u32, (usize, usize)>,
}

struct Paths {
    by_id: HashMap<ParamId, (String, usize)>,
}

impl<T: Real> Visitor<T> for Paths {
    fn param(&mut self, path: &str, p: &Param<T>) {
        self.by_id
            .insert(p.id(), (path.to_string(), p.value().rank()));
    }
}

fn owner(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(o, _)| o)
}

fn find_layers<T: Float>(tape: &Tape<T>, model: &dyn Module<T>) -> Layers {
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
    tape.for_each_node(|n| {
        if let Some(p) = n.param {
            param_of.insert(n.id, p);
            leaves.insert(n.id);
            return;
        }
        if n.origin.is_some() || n.args.is_empty() {
            return;
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
                });
                layers.found.len() - 1
            });
            layers.found[at].outputs.push(n.id);
            layers.found[at].finished = false;
            chain.insert(n.id, at);
            return;
        }
        let Some(&at) = n.args.iter().filter_map(|a| chain.get(a)).max() else {
            return;
        };
        let layer = &mut layers.found[at];
        let follows = n.args.contains(layer.outputs.last().unwrap_or(&u32::MAX));
        let bias =
            follows && !params.is_empty() && matches!(n.op, "add" | "sub") && layer.act.is_none();
        // The function may stand behind a normalization or an addition of what bypasses the layer.
        let act = activation(n.op).filter(|_| follows || !layer.finished);
        let same = follows && keeps_elements(n.op);
        if bias || same {
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
fn paths_between(n: &NodeInfo<'_>) -> bool {
    n.op.contains("_norm")
        || matches!(
            n.op,
            "add" | "sub" | "mul" | "div" | "mul_scalar" | "add_scalar" | "div_scalar" | "mask"
        )
}

/// `x W` has one unit per column of `W`; `x Wᵀ` and convolutions one per row.
fn units_axis(
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

/// Share of units whose weights equal those of another unit, and whose gradients do, too: they are and will stay one
/// unit. Equal means within 1/1000 of the tensor's RMS.
fn identical_units<T: Real>(w: &Tensor<T>, g: Option<&Tensor<T>>, axis: usize) -> f64 {
    let units = w.shape()[axis];
    let inner: usize = w.shape()[axis + 1..].iter().product();
    let mut keys: Vec<Vec<i64>> = vec![Vec::new(); units];
    for t in std::iter::once(w).chain(g) {
        let n = t.numel().max(1) as f64;
        let rms = (t.iter().map(|x| x.as_f64().powi(2)).sum::<f64>() / n).sqrt();
        let unit = if rms > 0.0 { 1e3 / rms } else { 0.0 };
        for (i, x) in t.iter().enumerate() {
            keys[i / inner % units].push((x.as_f64() * unit).round() as i64);
        }
    }
    let mut count: HashMap<&[i64], usize> = HashMap::new();
    for k in &keys {
        *count.entry(k).or_default() += 1;
    }
    let twins: usize = count.values().filter(|c| **c > 1).sum();
    twins as f64 / units.max(1) as f64
}

struct Measured {
    activation: Option<Summary>,
    gradient: Option<Summary>,
    saturation: Option<f64>,
    dead: Option<f64>,
}

/// Collects summaries while the tape runs.
struct Recorder {
    layers: Layers,
    options: ProbeOptions,
    measured: Vec<Vec<Measured>>,
}

impl<T: Float> Observer<T> for Recorder {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        self.layers.of.contains_key(&node.id)
    }
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<T>) {
        let Some(&(layer, k)) = self.layers.of.get(&node.id) else {
            return;
        };
        let copy;
        let values = match tensor.as_slice() {
            Some(s) => s,
            None => {
                copy = tensor.to_vec();
                &copy
            }
        };
        let m = &mut self.measured[layer][k];
        let summary = Summary::with(values, self.options.detail);
        match what {
            Seen::Adjoint => m.gradient = Some(summary),
            Seen::Value => {
                m.activation = Some(summary);
                let act = self.layers.found[layer].act;
                m.saturation = act.and_then(|a| saturation(a, values));
                if act == Some(Act::Rectifier) {
                    m.dead = Some(dead(values, tensor.shape()));
                }
            }
        }
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Share of units whose slope is below [`SATURATED_SLOPE`] of the function's largest.
fn saturation<T: Real>(act: Act, y: &[T]) -> Option<f64> {
    let flat: fn(f64) -> bool = match act {
        Act::Sigmoid => |y| 4.0 * y * (1.0 - y) < SATURATED_SLOPE,
        Act::Tanh => |y| 1.0 - y * y < SATURATED_SLOPE,
        Act::Rectifier => |y| y == 0.0,
        Act::Other => return None,
    };
    let n = y.iter().filter(|y| flat(y.as_f64())).count();
    Some(n as f64 / y.len().max(1) as f64)
}

/// Share of units (indices of the last axis; channels for images) that are zero for the whole batch.
fn dead<T: Real>(y: &[T], shape: &[usize]) -> f64 {
    let (units, inner) = match shape {
        [] => (1, 1),
        [_, c, rest @ ..] if !rest.is_empty() => (*c, rest.iter().product()),
        [.., c] => (*c, 1),
    };
    let mut alive = vec![false; units];
    for (i, y) in y.iter().enumerate() {
        if *y != T::zero() {
            alive[i / inner % units] = true;
        }
    }
    alive.iter().filter(|a| !**a).count() as f64 / units.max(1) as f64
}

struct Weights<'a, T: Float> {
    layers: &'a Layers,
    grads: &'a Gradients<T>,
    options: ProbeOptions,
    out: HashMap<ParamId, (Summary, Option<Summary>, Option<f64>)>,
}

impl<T: Float> Visitor<T> for Weights<'_, T> {
    fn param(&mut self, _: &str, p: &Param<T>) {
        let Some(layer) = self.layers.found.iter().find(|l| l.weight == p.id()) else {
            return;
        };
        let summary = |t: &Tensor<T>| match t.as_slice() {
            Some(s) => Summary::with(s, self.options.detail),
            None => Summary::with(&t.to_vec(), self.options.detail),
        };
        let g = self.grads.get(p).map(summary);
        let twins = (layer.units)
            .filter(|&a| p.shape().get(a).is_some_and(|n| *n > 1))
            .map(|a| identical_units(p.value(), self.grads.get(p), a));
        self.out.insert(p.id(), (summary(p.value()), g, twins));
    }
}

/// Measures one training step of any model, without changing it.
///
/// ```
/// use wengert_autograd::{Param, Tape, Tensor};
/// use wengert_flow::probe::Probe;
/// let model = vec![Param::new(Tensor::<f32>::full([3, 2], 0.1)), Param::new(Tensor::full([1, 3], 0.2))];
/// let tape = Tape::training(0);
/// let x = tape.input(&Tensor::ones([4, 2]));
/// let h = x.linear(tape.param(&model[0]), None).tanh();
/// let loss = h.linear(tape.param(&model[1]), None).square().mean();
/// let (grads, step) = Probe::default().backward(loss, &model);
/// assert_eq!((step.layers.len(), grads.len()), (2, 2));
/// assert!(step.layers[0].activation_grad_rms().unwrap() > 0.0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    options: ProbeOptions,
}

impl Probe {
    /// A probe with its own settings.
    pub fn new(options: ProbeOptions) -> Self {
        Probe { options }
    }

    /// As [`Var::backward`], and measures every layer in passing.
    ///
    /// # Panics
    /// As [`Var::backward`].
    #[track_caller]
    pub fn backward<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
    ) -> (Gradients<T>, StepProfile) {
        let tape = loss.tape();
        let layers = find_layers(tape, model);
        let facts = facts::before(tape, model, loss.index());
        let measured = (layers.found.iter())
            .map(|l| {
                let empty = || Measured {
                    activation: None,
                    gradient: None,
                    saturation: None,
                    dead: None,
                };
                l.outputs.iter().map(|_| empty()).collect()
            })
            .collect();
        tape.set_observer(Box::new(Recorder {
            layers,
            options: self.options,
            measured,
        }));
        let grads = loss.backward();
        let recorder = tape
            .take_observer()
            .map(|o| o.into_any().downcast::<Recorder>());
        let Some(Ok(recorder)) = recorder else {
            unreachable!("the recorder was set above")
        };
        let mut profile = self.assemble(*recorder, model, &grads);
        profile.facts = facts.after(model, &grads, &profile);
        (grads, profile)
    }

    fn assemble<T: Float>(
        &self,
        recorder: Recorder,
        model: &dyn Module<T>,
        grads: &Gradients<T>,
    ) -> StepProfile {
        let Recorder {
            layers, measured, ..
        } = recorder;
        let mut weights = Weights {
            layers: &layers,
            grads,
            options: self.options,
            out: HashMap::new(),
        };
        model.visit(&mut Path::new(), &mut weights);
        let mut weights = weights.out;
        let mut step = StepProfile::new(0).with_loss(grads.loss().as_f64());
        for (l, uses) in layers.found.iter().zip(measured) {
            let mut p = LayerProfile::new(l.path.clone(), l.op.clone());
            p.location = Some(l.location.clone());
            if let Some((w, g, twins)) = weights.remove(&l.weight) {
                p.weights = Some(w);
                p.weight_grad = g;
                if let Some(share) = twins.filter(|s| *s > 0.0) {
                    p.extra.push((IDENTICAL_UNITS.into(), share));
                }
            }
            if uses.len() > 1 {
                step.time.push(TimeProfile {
                    path: l.path.clone(),
                    grad_rms: uses
                        .iter()
                        .map(|u| u.gradient.as_ref().map_or(f64::NAN, |g| g.rms))
                        .collect(),
                });
            }
            // A recurrent layer is shown by its last time step.
            if let Some(m) = uses.into_iter().next_back() {
                p.activation = m.activation;
                p.activation_grad = m.gradient;
                p.saturation = m.saturation;
                p.dead = m.dead;
            }
            if let Some(before) = step.layers.last() {
                let ratio =
                    |a: Option<f64>, b: Option<f64>| Some(a? / b?).filter(|r| r.is_finite());
                p.forward_gain = ratio(p.activation_rms(), before.activation_rms());
                p.backward_gain = ratio(before.activation_grad_rms(), p.activation_grad_rms());
            }
            step.layers.push(p);
        }
        step
    }
}

/// The weights of a model at one moment, to measure an update.
pub struct Snapshot<T: Float> {
    weights: HashMap<ParamId, (String, Tensor<T>)>,
}

impl<T: Float> Snapshot<T> {
    /// Copies the weights.
    pub fn of(model: &dyn Module<T>) -> Self {
        struct Copy<T: Float>(HashMap<ParamId, (String, Tensor<T>)>);
        impl<T: Float> Visitor<T> for Copy<T> {
            fn param(&mut self, path: &str, p: &Param<T>) {
                if p.value().rank() >= 2 {
                    self.0.insert(p.id(), (path.to_string(), p.value().copy()));
                }
            }
        }
        let mut v = Copy(HashMap::new());
        model.visit(&mut Path::new(), &mut v);
        Snapshot { weights: v.0 }
    }

    /// Writes RMS(change) / RMS(weights before) of every layer into a profile.
    pub fn measure_update(&self, model: &dyn Module<T>, step: &mut StepProfile) {
        struct Compare<'a, T: Float>(&'a Snapshot<T>, &'a mut StepProfile);
        impl<T: Float> Visitor<T> for Compare<'_, T> {
            fn param(&mut self, path: &str, p: &Param<T>) {
                let Some((_, before)) = self.0.weights.get(&p.id()) else {
                    return;
                };
                let (mut change, mut size) = (0.0, 0.0);
                for (a, b) in p.value().iter().zip(before.iter()) {
                    change += (a - b).as_f64().powi(2);
                    size += b.as_f64().powi(2);
                }
                let layer = self
                    .1
                    .layers
                    .iter_mut()
                    .find(|l| l.path == path || l.path == owner(path));
                if let Some(l) = layer {
                    l.update_ratio = Some((change / size).sqrt()).filter(|r| !r.is_nan());
                }
            }
        }
        model.visit(&mut Path::new(), &mut Compare(self, step));
    }
}
