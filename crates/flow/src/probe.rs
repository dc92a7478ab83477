//! Measuring a network while it computes: layers are found on the tape, their values and adjoints are summarised in
//! passing.
//!
//! A layer is an operation with a weight (a parameter of rank 2 or more): `matmul`, `conv…`, `embedding`, a recurrent
//! cell. Its path is that of the module that owns the weight. The bias and the activation function that follow belong
//! to it; its output is the activation's.

mod facts;
mod snapshot;
mod time;

pub use snapshot::Snapshot;
pub use time::rms_by_step;

use crate::hub;
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
    matches!(
        op,
        "matmul" | "index_select" | "einsum" | "bilinear" | "recurrent_steps"
    ) || op.starts_with("conv")
}

/// The outputs of a recurrent layer, cut out of all that its steps computed.
fn recurrent_output(op: &str) -> bool {
    matches!(op, "rnn_tanh" | "rnn_relu" | "lstm" | "gru")
}

/// Share of an activation's largest slope below which a unit counts as saturated.
pub const SATURATED_SLOPE: f64 = 0.05;

/// Name of the share of units that are and stay identical, among the further measurements of a layer.
pub const IDENTICAL_UNITS: &str = "identical units";

/// Name of the effective rank of a layer's outputs, among its further measurements: `(Σ λ)² / Σ λ²` for the eigenvalues `λ`
/// of their covariance over at most 256 samples, the number of directions that carry the signal (participation ratio).
pub const EFFECTIVE_RANK: &str = "effective rank";

/// Name of the share of rectified units that were zero for every sample of every observed batch so far.
pub const DEAD_SO_FAR: &str = "dead so far";

/// What a [`Probe`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Detail of the summaries of activations, their gradients, weights and weight gradients.
    pub detail: Detail,
    /// Whether to look for what shows at the start of a run: identical units, the scale of single input features, the
    /// very operation that makes the first NaN or infinity. For the last, every value is looked at and nothing is fused:
    /// for one step in a run, not for each.
    pub start: bool,
    /// Whether to measure the effective rank of outputs `[samples, units]` (see [`EFFECTIVE_RANK`]).
    pub rank: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        ProbeOptions {
            detail: Detail::histogram(Bins::Auto),
            start: true,
            rank: false,
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
    // A hash of each unit's rounded values: 64 bits do not collide by chance among a layer's units.
    let mut keys: Vec<u64> = vec![0xcbf2_9ce4_8422_2325; units];
    for t in std::iter::once(w).chain(g) {
        let n = t.numel().max(1) as f64;
        let rms = (t.iter().map(|x| x.as_f64().powi(2)).sum::<f64>() / n).sqrt();
        let unit = if rms > 0.0 { 1e3 / rms } else { 0.0 };
        for (i, x) in t.iter().enumerate() {
            let k = &mut keys[i / inner % units];
            let rounded = (x.as_f64() * unit).round() as i64 as u64;
            *k = (*k ^ rounded)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }
    let mut count: HashMap<u64, usize> = HashMap::new();
    for k in &keys {
        *count.entry(*k).or_default() += 1;
    }
    let twins: usize = count.values().filter(|c| **c > 1).sum();
    twins as f64 / units.max(1) as f64
}

struct Measured {
    activation: Option<Summary>,
    gradient: Option<Summary>,
    saturation: Option<f64>,
    /// Which rectified units gave anything but zero.
    alive: Vec<bool>,
    rank: Option<f64>,
}

/// Collects summaries while the tape runs.
struct Recorder {
    layers: Layers,
    states: time::States,
    options: ProbeOptions,
    measured: Vec<Vec<Measured>>,
    bad: Bad,
}

/// Where the first value or adjoint that is not finite was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Bad {
    value: Option<u32>,
    adjoint: Option<u32>,
}

impl<T: Float> Observer<T> for Recorder {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        self.options.start || self.layers.of.contains_key(&node.id) || self.states.wants(node.id)
    }
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<T>) {
        if what == Seen::Adjoint {
            self.states.see(node.id, tensor);
        }
        let layer = self.layers.of.get(&node.id);
        if layer.is_none() && !self.options.start {
            return;
        }
        let copy;
        let values = match tensor.as_slice() {
            Some(s) => s,
            None => {
                copy = tensor.to_vec();
                &copy
            }
        };
        if self.options.start && values.iter().any(|v| !v.as_f64().is_finite()) {
            let first = match what {
                Seen::Value => &mut self.bad.value,
                Seen::Adjoint => &mut self.bad.adjoint,
            };
            first.get_or_insert(node.id);
        }
        let Some(&(layer, k)) = layer else { return };
        let m = &mut self.measured[layer][k];
        let summary = Summary::with(values, self.options.detail);
        match what {
            Seen::Adjoint => m.gradient = Some(summary),
            Seen::Value => {
                m.activation = Some(summary);
                let act = self.layers.found[layer].act;
                m.saturation = act.and_then(|a| saturation(a, values));
                if act == Some(Act::Rectifier) {
                    m.alive = alive(values, tensor.shape());
                }
                if self.options.rank
                    && let [n, d] = *tensor.shape()
                {
                    m.rank = effective_rank(values, n, d);
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

/// Which units (indices of the last axis; channels for images) are not zero for the whole batch.
fn alive<T: Real>(y: &[T], shape: &[usize]) -> Vec<bool> {
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
    alive
}

fn dead_share(alive: &[bool]) -> Option<f64> {
    let dead = alive.iter().filter(|a| !**a).count();
    (!alive.is_empty()).then(|| dead as f64 / alive.len() as f64)
}

/// Samples that the effective rank is taken from at most.
const RANK_SAMPLES: usize = 256;

/// `(tr C)² / tr C²` of the covariance `C` of `n` samples of `d` units; by the Gram matrix of the smaller side, whose
/// eigenvalues are the same. `None` for a single sample, for outputs that do not vary, and for NaN.
fn effective_rank<T: Real>(y: &[T], n: usize, d: usize) -> Option<f64> {
    if n < 2 || d == 0 {
        return None;
    }
    // Of many samples, evenly spaced ones: the cost grows with the square of their number.
    let step = n.div_ceil(RANK_SAMPLES);
    let picked = y.chunks_exact(d).step_by(step);
    let n = picked.len();
    let mut x: Vec<f64> = picked.flatten().map(|v| v.as_f64()).collect();
    for j in 0..d {
        let mean = (0..n).map(|i| x[i * d + j]).sum::<f64>() / n as f64;
        for i in 0..n {
            x[i * d + j] -= mean;
        }
    }
    // Rows are what the products run over.
    let (rows, len) = if n <= d {
        (n, d)
    } else {
        let t = (0..d).flat_map(|j| (0..n).map(move |i| (i, j)));
        x = t.map(|(i, j)| x[i * d + j]).collect();
        (d, n)
    };
    let row = |i: usize| &x[i * len..(i + 1) * len];
    let (mut trace, mut square) = (0.0, 0.0);
    for i in 0..rows {
        for j in 0..=i {
            let dot: f64 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
            if i == j {
                trace += dot;
                square += dot * dot;
            } else {
                square += 2.0 * dot * dot;
            }
        }
    }
    Some(trace * trace / square).filter(|r| r.is_finite())
}

/// Gradient of the loss with respect to each state of a recurrent layer, from the first time step to the last; to be
/// called before `backward`, which spends the tape. Put it into [`StepProfile::time`].
///
/// The states are `Var`s that the recording went through: those a cell returns, or a sequence layer run step by step.
///
/// ```
/// use wengert_autograd::{Tape, Tensor};
/// use wengert_flow::probe::time_profile;
/// let tape = Tape::<f64>::training(0);
/// let mut states = vec![tape.input(&Tensor::ones([1]))];
/// for _ in 0..9 {
///     let last = states[states.len() - 1];
///     states.push(last * 0.5);
/// }
/// let t = time_profile("halving", states[9].sum(), &states);
/// assert!((t.decay().unwrap() - 0.5).abs() < 1e-12);
/// ```
#[track_caller]
pub fn time_profile<'t, T: Float>(
    path: &str,
    loss: Var<'t, T>,
    states: &[Var<'t, T>],
) -> TimeProfile {
    let one = loss.tape().full(loss.shape().as_slice(), 1.0);
    let grads = wengert_autograd::vjp_many(&[loss], &[one], states);
    let rms = |g: &Var<'t, T>| {
        let g = g.value();
        let sum: f64 = g.iter().map(|x| x.as_f64().powi(2)).sum();
        (sum / g.numel().max(1) as f64).sqrt()
    };
    TimeProfile {
        path: path.into(),
        grad_rms: grads.iter().map(rms).collect(),
    }
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
            .filter(|&a| self.options.start && p.shape().get(a).is_some_and(|n| *n > 1))
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
        self.tallied(loss, model, &mut HashMap::new())
    }

    /// As [`backward`](Probe::backward); `alive` remembers by layer which rectified units have ever been alive.
    #[track_caller]
    pub(crate) fn tallied<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
        alive: &mut HashMap<String, Vec<bool>>,
    ) -> (Gradients<T>, StepProfile) {
        (hub::ops().probe)(self, loss, model, alive)
    }

    /// [`tallied`](Probe::tallied), compiled in this crate.
    pub(crate) fn measure<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
        alive: &mut HashMap<String, Vec<bool>>,
    ) -> (Gradients<T>, StepProfile) {
        let tape = loss.tape();
        let layers = find_layers(tape, model);
        let facts = facts::before(tape, model, loss.index(), self.options.start);
        let measured = (layers.found.iter())
            .map(|l| {
                let empty = || Measured {
                    activation: None,
                    gradient: None,
                    saturation: None,
                    alive: Vec::new(),
                    rank: None,
                };
                l.outputs.iter().map(|_| empty()).collect()
            })
            .collect();
        let states = time::States::find(tape, model);
        tape.set_observer(Box::new(Recorder {
            layers,
            states,
            options: self.options,
            measured,
            bad: Bad::default(),
        }));
        // What is wanted may differ from the last probe's; planning costs little beside measuring.
        if self.options.start {
            tape.forget_observed_plans();
        }
        let grads = loss.backward();
        if self.options.start {
            tape.forget_observed_plans();
        }
        let recorder = tape
            .take_observer()
            .map(|o| o.into_any().downcast::<Recorder>());
        let Some(Ok(recorder)) = recorder else {
            unreachable!("the recorder was set above")
        };
        let bad = recorder.bad;
        let mut profile = self.assemble(*recorder, model, &grads, alive);
        profile.facts = facts.after(model, &grads, &profile, bad);
        (grads, profile)
    }

    fn assemble<T: Float>(
        &self,
        recorder: Recorder,
        model: &dyn Module<T>,
        grads: &Gradients<T>,
        alive: &mut HashMap<String, Vec<bool>>,
    ) -> StepProfile {
        let Recorder {
            layers,
            states,
            measured,
            ..
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
            if uses.len() > 1 && !states.covers(&l.path) {
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
                p.dead = dead_share(&m.alive);
                if let Some(r) = m.rank {
                    p.extra.push((EFFECTIVE_RANK.into(), r));
                }
                if !m.alive.is_empty() {
                    let so_far = alive
                        .entry(l.path.clone())
                        .or_insert_with(|| m.alive.clone());
                    so_far.resize(m.alive.len(), false);
                    for (a, b) in so_far.iter_mut().zip(&m.alive) {
                        *a |= b;
                    }
                    p.extra
                        .extend(dead_share(so_far).map(|d| (DEAD_SO_FAR.to_string(), d)));
                }
            }
            if let Some(before) = step.layers.last() {
                let ratio =
                    |a: Option<f64>, b: Option<f64>| Some(a? / b?).filter(|r| r.is_finite());
                p.forward_gain = ratio(p.activation_rms(), before.activation_rms());
                p.backward_gain = ratio(before.activation_grad_rms(), p.activation_grad_rms());
            }
            step.layers.push(p);
        }
        step.time.extend(states.into_profiles());
        step
    }
}

#[cfg(test)]
mod tests;
