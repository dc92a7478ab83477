//! Measuring a network while it computes: layers are found on the tape, their values and adjoints are summarised in
//! passing.
//!
//! A layer is an operation with a weight (a parameter of rank 2 or more): `matmul`, `conv…`, `embedding`, a recurrent
//! cell. Its path is that of the module that owns the weight. The bias and the activation function that follow belong
//! to it; its output is the activation's.

mod facts;
mod layers;
mod recording;
mod snapshot;
mod structure;
mod time;
mod values;

use layers::owner;
pub(crate) use snapshot::Picked;
pub use snapshot::Snapshot;
pub(crate) use structure::Memory;
use structure::Structure;
pub use time::rms_by_step;
use values::{alive, dead_share, effective_rank, identical_units, saturation};

use crate::hub;
use crate::profile::{Bins, Detail, LayerProfile, StepProfile, Summary, TimeProfile};
use std::any::Any;
use wengert_autograd::{
    Float, Gradients, Module, NodeInfo, Observer, Param, ParamId, Path, Real, Seen, Tensor, Var,
    Visitor, largest,
};

/// An activation function.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Act {
    /// Zero for negative inputs: its units can die.
    rectifies: bool,
    flat: Flat,
}

/// Which outputs of an activation function lie where its slope is below [`SATURATED_SLOPE`] of its largest.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Flat {
    /// Those that are exactly 0.
    Zeros,
    /// Those not strictly between these two.
    Outside(f64, f64),
    /// None, or the output does not tell (`gelu`, `silu` and `mish` take each small negative value twice).
    Unknown,
}

/// The activation function of this name; `p` are its constants.
fn activation(op: &str, p: [f64; 2]) -> Option<Act> {
    const S: f64 = SATURATED_SLOPE;
    const EVER: f64 = f64::INFINITY;
    let flat = match op {
        "relu" | "hardswish" | "softshrink" | "hardshrink" => Flat::Zeros,
        "relu6" => Flat::Outside(0.0, 6.0),
        "hardsigmoid" => Flat::Outside(0.0, 1.0),
        "hardtanh" => Flat::Outside(p[0], p[1]),
        // 4 y (1 - y) < S.
        "sigmoid" => {
            let r = (1.0 - S).sqrt();
            Flat::Outside((1.0 - r) / 2.0, (1.0 + r) / 2.0)
        }
        // 1 - y² < S.
        "tanh" => Flat::Outside(-(1.0 - S).sqrt(), (1.0 - S).sqrt()),
        // (1 - |y|)² < S.
        "softsign" => Flat::Outside(S.sqrt() - 1.0, 1.0 - S.sqrt()),
        // Below 0: y + α, of at most the larger of 1 and α.
        "elu" if p[0] > 0.0 => Flat::Outside((S * p[0].max(1.0) - p[0]).min(0.0), EVER),
        // Below 0: y / α + 1.
        "celu" if p[0] > 0.0 => Flat::Outside((S - 1.0) * p[0], EVER),
        // Below 0: y + λα, of at most λα.
        "selu" => Flat::Outside((S - 1.0) * 1.758_099_340_847_376_6, EVER),
        // 1 - exp(-β y).
        "softplus_beta" if p[0] > 0.0 => Flat::Outside(-(1.0 - S).ln() / p[0], EVER),
        "leaky_relu" | "prelu" | "elu" | "celu" | "gelu" | "gelu_tanh" | "silu" | "mish"
        | "softplus_beta" | "tanhshrink" | "threshold" | "squareplus" | "softmax"
        | "log_softmax" => Flat::Unknown,
        _ => return None,
    };
    let rectifies = matches!(op, "relu" | "relu6");
    Some(Act { rectifies, flat })
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
    /// Detail of the summaries of activations.
    pub detail: Detail,
    /// Detail of the summaries of activation gradients, weights and weight gradients.
    pub inner: Detail,
    /// Values of the inputs and of one weight that are summarised at most, spread over them in short runs; 0 means all.
    /// What is not finite is looked for in all of a weight, and in all inputs when anything is not.
    pub sample: usize,
    /// Values of the gradient of one weight that are summarised at most, spread over it in short runs; 0 means all. What
    /// is not finite is looked for in all of it, as in outputs of layers and their gradients, which are always read whole.
    pub grad_sample: usize,
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
            inner: Detail::histogram(Bins::Auto),
            sample: 0,
            grad_sample: 0,
            start: true,
            rank: false,
        }
    }
}

#[derive(Default)]
struct Measured {
    activation: Option<Summary>,
    gradient: Option<Summary>,
    saturation: Option<f64>,
    /// Which rectified units gave anything but zero.
    alive: Vec<bool>,
    rank: Option<f64>,
}

/// Collects summaries while the tape runs.
struct Recorder<T> {
    structure: Structure,
    options: ProbeOptions,
    /// By layer and use.
    measured: Vec<Vec<Measured>>,
    inputs: Option<facts::Inputs>,
    /// By the slot of the parameter.
    weights: Vec<Weight>,
    /// What was picked of large weights.
    picked: Picked<T>,
    bad: Bad,
}

/// Where the first value or adjoint that is not finite was seen.
#[derive(Debug, Default)]
struct Bad {
    value: Option<u32>,
    adjoint: Option<u32>,
    /// Parameters with values, and with gradients, that are not finite.
    params: Vec<ParamId>,
    gradients: Vec<ParamId>,
}

impl<T: Float> Recorder<T> {
    /// Weights and gradients are looked at while the pool is awake and they are in cache.
    fn see_param(&mut self, id: ParamId, what: Seen, tensor: &Tensor<T>) {
        let Some(slot) = self.structure.recording.slot(id) else {
            return;
        };
        let makes_layer = self.structure.layers.by_slot[slot].is_some();
        let weight = &mut self.weights[slot];
        let inner = self.options.inner;
        // A sample misses a single NaN: values are all looked at here, gradients where the tape did not (see `measure`).
        let finite = what == Seen::Adjoint || largest(tensor).is_finite();
        if !finite {
            self.bad.params.push(id);
        }
        match what {
            Seen::Adjoint => {
                let gradient = if !makes_layer {
                    summary(tensor, Detail::MOMENTS)
                } else if self.picked.pick(tensor, self.options.grad_sample) {
                    weight.sampled = true;
                    Summary::with(&self.picked.scratch, inner).of_sample(tensor.numel())
                } else {
                    summary(tensor, inner)
                };
                weight.gradient = Some(gradient);
            }
            Seen::Value if makes_layer => {
                let values = match self.picked.keep(id, tensor, self.options.sample) {
                    Some(picked) if finite => {
                        Summary::with(picked, inner).of_sample(tensor.numel())
                    }
                    _ => summary(tensor, inner),
                };
                weight.values = Some(values);
            }
            Seen::Value => {}
        }
    }
}

impl<T: Float> Observer<T> for Recorder<T> {
    fn wants_leaf(&mut self, node: &NodeInfo<'_>) -> bool {
        node.param.is_some() || Some(node.id) == self.structure.known.input()
    }
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        let s = &self.structure;
        self.options.start || s.layers.of.has(node.id) || s.states.wants(node.id)
    }
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<T>) {
        if what == Seen::Adjoint {
            self.structure.states.see(node.id, tensor);
        }
        if let Some(p) = node.param {
            self.see_param(p, what, tensor);
            return;
        }
        if Some(node.id) == self.structure.known.input() {
            if what == Seen::Value {
                self.inputs = Some(facts::Inputs::of(tensor, self.options, &mut self.picked));
            }
            return;
        }
        let layer = self.structure.layers.of.get(node.id).copied();
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
        let Some((layer, k)) = layer else { return };
        let m = &mut self.measured[layer][k];
        match what {
            Seen::Adjoint => m.gradient = Some(Summary::with(values, self.options.inner)),
            Seen::Value => {
                let summary = Summary::with(values, self.options.detail);
                let act = self.structure.layers.found[layer].act;
                m.saturation = act.and_then(|a| saturation(a, values, summary.zeros));
                m.activation = Some(summary);
                if act.is_some_and(|a| a.rectifies) {
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

/// What is measured of one parameter.
#[derive(Default)]
struct Weight {
    /// Only of those that make a layer.
    values: Option<Summary>,
    gradient: Option<Summary>,
    /// Whether a sample of the gradient was looked at.
    sampled: bool,
    twins: Option<f64>,
}

fn summary<T: Real>(t: &Tensor<T>, detail: Detail) -> Summary {
    match t.as_slice() {
        Some(s) => Summary::with(s, detail),
        None => Summary::with(&t.to_vec(), detail),
    }
}

/// Measures what was not seen in passing.
struct Weights<'a, T: Float> {
    structure: &'a Structure,
    grads: &'a Gradients<T>,
    options: ProbeOptions,
    of: &'a mut [Weight],
}

impl<T: Float> Visitor<T> for Weights<'_, T> {
    fn param(&mut self, _: &str, p: &Param<T>) {
        let Some(slot) = self.structure.recording.slot(p.id()) else {
            return;
        };
        let (g, w) = (self.grads.get(p), &mut self.of[slot]);
        let layers = &self.structure.layers;
        let layer = layers.by_slot[slot].map(|l| &layers.found[l]);
        let detail = layer.map_or(Detail::MOMENTS, |_| self.options.inner);
        if w.gradient.is_none() {
            w.gradient = g.map(|g| summary(g, detail));
        }
        let Some(layer) = layer else { return };
        if w.values.is_none() {
            w.values = Some(summary(p.value(), detail));
        }
        w.twins = (layer.units)
            .filter(|&a| self.options.start && p.shape().get(a).is_some_and(|n| *n > 1))
            .map(|a| identical_units(p.value(), g, a));
    }
}

/// What a probe gives: gradients, and what was measured.
pub(crate) type Probed<T> = (Gradients<T>, StepProfile);

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
        self.tallied(loss, model, &mut Memory::default(), &mut Picked::default())
    }

    /// As [`backward`](Probe::backward), with a memory of former steps. Gives what was picked of large weights, too.
    #[track_caller]
    pub(crate) fn tallied<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
        memory: &mut Memory,
        picked: &mut Picked<T>,
    ) -> Probed<T> {
        (hub::ops().probe)(self, loss, model, memory, picked)
    }

    /// [`tallied`](Probe::tallied), compiled in this crate.
    pub(crate) fn measure<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
        memory: &mut Memory,
        picked: &mut Picked<T>,
    ) -> Probed<T> {
        let tape = loss.tape();
        let mut structure = Structure::of(memory.structure.take(), tape, model, loss.index());
        structure.states.clear();
        let slots = structure.recording.slots.iter().len();
        tape.set_observer(Box::new(Recorder {
            options: self.options,
            measured: empty(&structure),
            inputs: None,
            weights: (0..slots).map(|_| Weight::default()).collect(),
            picked: std::mem::take(picked),
            bad: Bad::default(),
            structure,
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
            .map(|o| o.into_any().downcast::<Recorder<T>>());
        let Some(Ok(recorder)) = recorder else {
            unreachable!("the recorder was set above")
        };
        let Recorder {
            structure,
            measured,
            mut weights,
            picked: samples,
            inputs,
            mut bad,
            ..
        } = *recorder;
        *picked = samples;
        let slot = |id| structure.recording.slot(id);
        let mut complete = true;
        for (at, (id, g)) in grads.iter().enumerate() {
            let Some(w) = slot(id).map(|s| &mut weights[s]) else {
                continue;
            };
            if w.sampled && !grads.known_finite(at) && !largest(g).is_finite() {
                w.gradient = Some(summary(g, self.options.inner));
            }
            complete &= w.gradient.is_some();
        }
        // Looking at the whole model again is rarely needed.
        let mut layers = structure.layers.by_slot.iter().zip(&weights);
        complete &= layers.all(|(l, w)| l.is_none() || w.values.is_some());
        if self.options.start || !complete {
            let mut all = Weights {
                structure: &structure,
                grads: &grads,
                options: self.options,
                of: &mut weights,
            };
            model.visit(&mut Path::new(), &mut all);
        }
        let rms = |id| Some(weights[slot(id)?].gradient.as_ref()?.rms);
        let mut facts = (structure.known).facts(&structure.recording, tape, inputs, &rms);
        for (id, slot) in structure.recording.slots.iter() {
            let gradient = weights[*slot].gradient.as_ref();
            if gradient.is_some_and(|g| g.non_finite() > 0) {
                bad.gradients.push(*id);
            }
        }
        let loss = grads.loss().as_f64();
        let mut profile = assemble(&structure, measured, weights, loss, &mut memory.alive);
        let recorded = (&structure.recording, structure.known.input());
        facts::add_non_finite(&mut facts, recorded, tape, model, &profile, &bad);
        profile.facts = facts;
        memory.structure = Some(structure);
        (grads, profile)
    }
}

/// Place for what will be measured of each layer and use.
fn empty(structure: &Structure) -> Vec<Vec<Measured>> {
    let uses = |l: &layers::Found| l.outputs.iter().map(|_| Measured::default()).collect();
    structure.layers.found.iter().map(uses).collect()
}

/// The layers of one step, from what was seen of them and their weights.
fn assemble(
    structure: &Structure,
    measured: Vec<Vec<Measured>>,
    mut weights: Vec<Weight>,
    loss: f64,
    alive: &mut Vec<(String, Vec<bool>)>,
) -> StepProfile {
    let Structure { layers, states, .. } = structure;
    let mut step = StepProfile::new(0).with_loss(loss);
    step.layers.reserve_exact(layers.found.len());
    for (l, uses) in layers.found.iter().zip(measured) {
        let mut p = LayerProfile::new(l.path.clone(), l.op.clone());
        p.location = Some(l.location.clone());
        if let Some(slot) = structure.recording.slot(l.weight) {
            let w = std::mem::take(&mut weights[slot]);
            p.weights = w.values;
            p.weight_grad = w.gradient;
            if let Some(share) = w.twins.filter(|s| *s > 0.0) {
                p.extra.push((IDENTICAL_UNITS.into(), share));
            }
        }
        if l.recurs && !states.covers(&l.path) {
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
                let at = alive.iter().position(|a| a.0 == l.path).unwrap_or_else(|| {
                    alive.push((l.path.clone(), m.alive.clone()));
                    alive.len() - 1
                });
                let so_far = &mut alive[at].1;
                so_far.resize(m.alive.len(), false);
                for (a, b) in so_far.iter_mut().zip(&m.alive) {
                    *a |= b;
                }
                p.extra
                    .extend(dead_share(so_far).map(|d| (DEAD_SO_FAR.to_string(), d)));
            }
        }
        if let Some(before) = step.layers.last() {
            let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?).filter(|r| r.is_finite());
            p.forward_gain = ratio(p.activation_rms(), before.activation_rms());
            p.backward_gain = ratio(before.activation_grad_rms(), p.activation_grad_rms());
        }
        step.layers.push(p);
    }
    step.time.extend(states.profiles());
    step
}

#[cfg(test)]
mod tests;
