//! What is seen while the tape runs.
//!
//! Twenty small layers are too little work each to be shared among threads. So what an observer is shown waits until there
//! are some of it, which are then looked at side by side. Looking at one layer while another one is computed is no faster:
//! the other threads are at work, too, and what they miss is more than what they do.

use super::activation::Act;
use super::facts::{self, Inputs};
use super::names::Numbers;
use super::snapshot::{Picked, contiguous, pick};
use super::structure::Structure;
use super::values::{alive, effective_rank, identical_units, saturation};
use super::{ProbeOptions, assemble, layers, summary};
use crate::profile::{Detail, Link, Summary};
use std::any::Any;
use wengert_autograd::{
    Float, Gradients, Module, NodeInfo, Observer, Param, ParamId, Path, Seen, Tape, Tensor,
    Visitor, largest,
};
use wengert_tensor::parallel;

/// Values up to which a tensor is looked at right away.
const SMALL: usize = 1 << 10;

/// Values beyond which it is, too, by all threads together.
const LARGE: usize = 3 << 12;

/// Looks that wait at most, for each thread: many are shared more evenly, few find more in the cache.
const WAITING: usize = 8;

/// What is measured of one use of a layer.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) activation: Option<Summary>,
    pub(super) gradient: Option<Summary>,
    pub(super) saturation: Option<f64>,
    /// Which rectified units gave anything but zero.
    pub(super) alive: Vec<bool>,
    pub(super) rank: Option<f64>,
}

/// What is measured of one parameter.
#[derive(Default)]
pub(super) struct Weight {
    /// Only of those that make a layer.
    pub(super) values: Option<Summary>,
    pub(super) gradient: Option<Summary>,
    /// Whether the gradient was looked at, and whether only a sample of it.
    seen: bool,
    sampled: bool,
    pub(super) twins: Option<f64>,
}

/// Where the first value or adjoint that is not finite was seen.
#[derive(Debug, Default)]
pub(super) struct Bad {
    pub(super) value: Option<u32>,
    pub(super) adjoint: Option<u32>,
    /// Parameters with values, and with gradients, that are not finite.
    pub(super) params: Vec<ParamId>,
    pub(super) gradients: Vec<ParamId>,
}

/// What a tensor was.
#[derive(Clone, Copy)]
struct Of {
    node: u32,
    seen: Seen,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// A parameter by its slot; whether it makes a layer, and whether another look shows what is not finite in it.
    Param(ParamId, usize, bool, bool),
    /// A layer's output by layer and use, with the activation function.
    Output((usize, usize), Option<Act>),
    /// A node of no layer.
    Other,
}

/// What a look shows.
struct Found<T> {
    summary: Option<Summary>,
    /// Something that is not finite was looked for, and is there.
    bad: bool,
    sampled: bool,
    saturation: Option<f64>,
    rank: Option<f64>,
    alive: Vec<bool>,
    /// A sample, kept or in memory that is used again.
    picked: Vec<T>,
}

impl<T> Found<T> {
    /// Nothing yet, and memory to use again.
    fn nothing(picked: Vec<T>, alive: Vec<bool>) -> Self {
        Found {
            summary: None,
            bad: false,
            sampled: false,
            saturation: None,
            rank: None,
            alive,
            picked,
        }
    }
}

impl<T: Float> Found<T> {
    fn look(&mut self, t: &Tensor<T>, of: Of, options: ProbeOptions) {
        match of.what {
            What::Param(_, _, layer, shows) if of.seen == Seen::Value => {
                // A sample misses a single NaN.
                self.bad = !shows && !largest(t).is_finite();
                if layer {
                    let limit = options.sample;
                    self.sampled = pick(t, limit, &mut self.picked);
                    self.summary = Some(match self.sampled && !self.bad {
                        true => sampled(&self.picked, options.inner, t.numel()),
                        false => summary(t, options.inner),
                    });
                    if !self.sampled && limit > 0 {
                        self.picked.clear();
                        self.picked.extend_from_slice(&contiguous(t));
                        self.sampled = true;
                    }
                }
            }
            What::Param(_, _, layer, _) => {
                // What is not finite here is looked for in `complete`, where the tape did not.
                self.sampled = layer && pick(t, options.grad_sample, &mut self.picked);
                self.summary = Some(match (layer, self.sampled) {
                    (false, _) => summary(t, Detail::MOMENTS),
                    (true, true) => sampled(&self.picked, options.inner, t.numel()),
                    (true, false) => summary(t, options.inner),
                });
            }
            What::Output(_, act) => {
                let values = &contiguous(t)[..];
                self.bad = options.start && !all_finite(values);
                if of.seen == Seen::Adjoint {
                    self.summary = Some(Summary::with(values, options.inner));
                    return;
                }
                let summary = Summary::with(values, options.detail);
                self.saturation = act.and_then(|a| saturation(a, values, summary.zeros));
                self.summary = Some(summary);
                if act.is_some_and(|a| a.rectifies) {
                    alive(values, t.shape(), &mut self.alive);
                }
                if options.rank
                    && let [n, d] = *t.shape()
                {
                    self.rank = effective_rank(values, n, d);
                }
            }
            What::Other => self.bad = options.start && !all_finite(&contiguous(t)),
        }
    }
}

/// A tensor that waits to be looked at.
struct Look<T: Float> {
    of: Of,
    tensor: Tensor<T>,
    found: Found<T>,
}

/// How many values of a tensor are looked at, of which a sample may be taken.
fn most<T: Float>(tensor: &Tensor<T>, sample: usize) -> usize {
    match sample {
        0 => tensor.numel(),
        n => tensor.numel().min(n),
    }
}

/// The summary of a sample of `total` values.
fn sampled<T: Float>(values: &[T], detail: Detail, total: usize) -> Summary {
    Summary::with(values, detail).of_sample(total)
}

fn all_finite<T: Float>(values: &[T]) -> bool {
    T::largest_magnitude(values).is_finite()
}

/// Collects summaries while the tape runs.
pub(super) struct Recorder<T: Float> {
    structure: Structure,
    options: ProbeOptions,
    /// By layer and use.
    measured: Vec<Vec<Measured>>,
    inputs: Option<Inputs>,
    /// By the slot of the parameter.
    weights: Vec<Weight>,
    /// What was picked of large weights.
    pub(super) picked: Picked<T>,
    bad: Bad,
    /// What waits to be looked at.
    looks: Vec<Look<T>>,
    /// Memory for samples.
    spare: Vec<Vec<T>>,
    /// By layer, which rectified units have ever been alive.
    alive: Vec<(String, Vec<bool>)>,
    /// The profile, if nothing was missing when the program ended.
    ready: Option<Numbers>,
}

impl<T: Float> Recorder<T> {
    /// For the recording that ends in `loss`; the former one, cleared, if the recording is repeated.
    pub(super) fn of(
        former: Option<Box<Self>>,
        tape: &Tape<T>,
        model: &dyn Module<T>,
        loss: u32,
        options: ProbeOptions,
    ) -> Box<Self> {
        let alive = match former {
            Some(mut r) if r.structure.repeats(tape, loss) => {
                r.options = options;
                r.clear();
                return r;
            }
            Some(r) => r.alive,
            None => Vec::new(),
        };
        let structure = Structure::of(tape, model, loss);
        let uses = |l: &layers::Found| l.outputs.iter().map(|_| Measured::default()).collect();
        let slots = structure.recording.slots.iter().len();
        Box::new(Recorder {
            options,
            measured: structure.layers.found.iter().map(uses).collect(),
            inputs: None,
            weights: (0..slots).map(|_| Weight::default()).collect(),
            picked: Picked::default(),
            bad: Bad::default(),
            looks: Vec::new(),
            spare: Vec::new(),
            alive,
            ready: None,
            structure,
        })
    }

    /// Forgets what was measured.
    fn clear(&mut self) {
        self.structure.states.clear();
        for m in self.measured.iter_mut().flatten() {
            let mut alive = std::mem::take(&mut m.alive);
            alive.clear();
            *m = Measured {
                alive,
                ..Measured::default()
            };
        }
        self.weights.fill_with(Weight::default);
        (self.inputs, self.bad, self.ready) = (None, Bad::default(), None);
    }

    /// Looks at all that waits.
    fn look(&mut self) {
        let (mut looks, options) = (std::mem::take(&mut self.looks), self.options);
        parallel::chunks_mut(&mut looks, 1, |_, looks| {
            for l in looks {
                l.found.look(&l.tensor, l.of, options);
            }
        });
        looks.iter_mut().for_each(|l| self.put(l.of, &mut l.found));
        looks.clear();
        self.looks = looks;
    }

    /// Puts what was found where it belongs; in the order in which the tape computed it.
    fn put(&mut self, of: Of, found: &mut Found<T>) {
        let picked = std::mem::take(&mut found.picked);
        let is_value = of.seen == Seen::Value;
        match of.what {
            What::Param(id, slot, layer, _) if is_value => {
                if found.bad {
                    self.bad.params.push(id);
                }
                self.weights[slot].values = found.summary.take();
                if layer {
                    self.picked.put(id, picked, found.sampled);
                    return;
                }
            }
            What::Param(_, slot, ..) => {
                let w = &mut self.weights[slot];
                w.gradient = found.summary.take();
                (w.seen, w.sampled) = (true, found.sampled);
            }
            What::Output(..) | What::Other => {
                if found.bad {
                    let first = match of.seen {
                        Seen::Value => &mut self.bad.value,
                        Seen::Adjoint => &mut self.bad.adjoint,
                    };
                    first.get_or_insert(of.node);
                }
                if let What::Output((layer, k), _) = of.what {
                    let m = &mut self.measured[layer][k];
                    if is_value {
                        m.activation = found.summary.take();
                        (m.saturation, m.rank) = (found.saturation, found.rank);
                        m.alive = std::mem::take(&mut found.alive);
                    } else {
                        m.gradient = found.summary.take();
                    }
                }
            }
        }
        if picked.capacity() > 0 {
            self.spare.push(picked);
        }
    }

    /// The model's weights of rank 2 and more.
    pub(super) fn weights_of_rank_two(&self) -> impl Iterator<Item = ParamId> {
        let all = self.structure.recording.params.iter();
        all.filter(|p| p.shape.len() >= 2).map(|p| p.id)
    }

    /// Slots of weights that were not looked at as a whole, where what should show for them is missing or not finite.
    fn doubtful(&self) -> impl Iterator<Item = usize> {
        let gradient = |m: &Measured| {
            m.gradient
                .as_ref()
                .map(|g| g.count > 0 && g.non_finite() == 0)
        };
        let by_slot = self.structure.layers.by_slot.iter();
        let shows = by_slot.zip(&self.structure.shows).enumerate();
        let in_doubt = shows.filter(move |(_, (own, at))| {
            let Some((layer, k)) = **at else { return false };
            // Where the layer's own output has no gradient, none went through the weight.
            let through = |l: &usize| self.measured[*l].iter().all(|m| m.gradient.is_some());
            !own.as_ref().is_some_and(through) || gradient(&self.measured[layer][k]) != Some(true)
        });
        in_doubt.map(|(slot, _)| slot)
    }

    /// Measures what was not seen in passing.
    pub(super) fn complete(&mut self, grads: &Gradients<T>, model: &dyn Module<T>) {
        // A program that did not run to its end.
        self.look();
        let mut complete = true;
        for (at, (id, g)) in grads.iter().enumerate() {
            let Some(slot) = self.structure.recording.slot(id) else {
                continue;
            };
            let w = &self.weights[slot];
            let missed = w.sampled && !grads.known_finite(at) && !largest(g).is_finite();
            if missed || (self.ready.is_some() && !w.seen) {
                self.correct(id, slot, g);
            }
            complete &= self.weights[slot].seen;
        }
        if self.ready.is_some() {
            return;
        }
        // Looking at the whole model again is rarely needed.
        let doubtful: Vec<usize> = match self.options.start {
            true => Vec::new(),
            false => self.doubtful().collect(),
        };
        let mut layers = self.structure.layers.by_slot.iter().zip(&self.weights);
        complete &= layers.all(|(l, w)| l.is_none() || w.values.is_some());
        if self.options.start || !complete || !doubtful.is_empty() {
            let mut all = Weights {
                structure: &self.structure,
                grads,
                options: self.options,
                of: &mut self.weights,
                doubtful,
                bad: &mut self.bad,
            };
            model.visit(&mut Path::new(), &mut all);
        }
    }

    /// Looks at a whole gradient.
    fn correct(&mut self, id: ParamId, slot: usize, gradient: &Tensor<T>) {
        let layer = self.structure.layers.by_slot[slot];
        let detail = layer.map_or(Detail::MOMENTS, |_| self.options.inner);
        let whole = summary(gradient, detail);
        self.weights[slot].seen = true;
        let Some(ready) = &mut self.ready else {
            self.weights[slot].gradient = Some(whole);
            return;
        };
        if whole.non_finite() > 0 {
            self.bad.gradients.push(id);
        }
        let listed = self.structure.recording.params.iter();
        for (p, fact) in listed.zip(&mut ready.step.facts.params) {
            if p.id == id {
                fact.link = Link::Gradient(whole.rms);
            }
        }
        if let Some(l) = layer {
            ready.step.layers[l].weight_grad = Some(whole);
        }
    }

    /// The layers, and the parameters among the facts.
    fn assembled(&mut self) -> Numbers {
        let Structure {
            recording, known, ..
        } = &self.structure;
        let rms = |id| {
            let w = &self.weights[recording.slot(id)?];
            Some(w.gradient.as_ref()?.rms)
        };
        let params = known.params(recording, &rms);
        for (id, slot) in recording.slots.iter() {
            let gradient = self.weights[*slot].gradient.as_ref();
            if gradient.is_some_and(|g| g.non_finite() > 0) {
                self.bad.gradients.push(*id);
            }
        }
        let measured = (&mut self.measured[..], &mut self.weights[..]);
        let mut numbers = assemble::step(&self.structure, measured, &mut self.alive);
        numbers.step.facts.params = params;
        numbers
    }

    /// What was measured of the step.
    pub(super) fn profile(
        &mut self,
        grads: &Gradients<T>,
        tape: &Tape<T>,
        model: &dyn Module<T>,
    ) -> Numbers {
        let ready = self.ready.take();
        let mut numbers = ready.unwrap_or_else(|| self.assembled());
        let step = &mut numbers.step;
        step.loss = Some(grads.loss().as_f64());
        let Structure {
            recording, known, ..
        } = &self.structure;
        let params = std::mem::take(&mut step.facts.params);
        let mut facts = known.facts(tape, recording, self.inputs.take(), params);
        let recorded = (recording, known.input());
        facts::add_non_finite(&mut facts, recorded, tape, model, &numbers, &self.bad);
        numbers.step.facts = facts;
        numbers
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
    fn see(&mut self, node: &NodeInfo<'_>, seen: Seen, tensor: &Tensor<T>) {
        if seen == Seen::Adjoint {
            self.structure.states.see(node.id, tensor);
        }
        let Structure {
            recording,
            layers,
            known,
            ..
        } = &self.structure;
        let what = if let Some(id) = node.param {
            match recording.slot(id) {
                Some(slot) => {
                    let shows = !self.options.start && self.structure.shows[slot].is_some();
                    What::Param(id, slot, layers.by_slot[slot].is_some(), shows)
                }
                None => return,
            }
        } else if Some(node.id) == known.input() {
            if seen == Seen::Value {
                let mut memory = self.spare.pop().unwrap_or_default();
                self.inputs = Some(Inputs::of(tensor, self.options, &mut memory));
                self.spare.push(memory);
            }
            return;
        } else if let Some(&at) = layers.of.get(node.id) {
            What::Output(at, layers.found[at.0].act)
        } else if self.options.start {
            What::Other
        } else {
            return;
        };
        let picked = match what {
            What::Param(id, _, true, _) if seen == Seen::Value => self.picked.take(id),
            What::Param(..) => self.spare.pop().unwrap_or_default(),
            _ => Vec::new(),
        };
        let alive = match what {
            What::Output((layer, k), _) if seen == Seen::Value => {
                std::mem::take(&mut self.measured[layer][k].alive)
            }
            _ => Vec::new(),
        };
        let mut found = Found::nothing(picked, alive);
        let node = node.id;
        let of = Of { node, seen, what };
        let values = match (what, seen) {
            (What::Param(_, _, true, true), Seen::Value) => most(tensor, self.options.sample),
            (What::Param(_, _, true, _), Seen::Adjoint) => most(tensor, self.options.grad_sample),
            _ => tensor.numel(),
        };
        let waits = (SMALL..=LARGE).contains(&values) && parallel::inside();
        if !waits || parallel::threads() == 1 {
            // At the start, what was bad first is told by the order in which all is put.
            if self.options.start {
                self.look();
            }
            found.look(tensor, of, self.options);
            self.put(of, &mut found);
            return;
        }
        let tensor = tensor.clone();
        self.looks.push(Look { of, tensor, found });
        if self.looks.len() >= WAITING * parallel::threads() {
            self.look();
        }
    }
    fn end(&mut self) {
        self.look();
        // Here, where the other threads are awake and the memory is warm, it costs less than after the program.
        let layers = self.structure.layers.by_slot.iter().zip(&self.weights);
        let complete = { layers }.all(|(l, w)| l.is_none() || w.values.is_some());
        if complete && !self.options.start && self.doubtful().next().is_none() {
            self.ready = Some(self.assembled());
        }
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Measures what was not seen in passing.
struct Weights<'a, T: Float> {
    structure: &'a Structure,
    grads: &'a Gradients<T>,
    options: ProbeOptions,
    of: &'a mut [Weight],
    /// Slots of weights that may hold what is not finite.
    doubtful: Vec<usize>,
    bad: &'a mut Bad,
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
        if self.doubtful.contains(&slot) && !largest(p.value()).is_finite() {
            self.bad.params.push(p.id());
            w.values = None;
        }
        if w.values.is_none() {
            w.values = Some(summary(p.value(), detail));
        }
        w.twins = (layer.units)
            .filter(|&a| self.options.start && p.shape().get(a).is_some_and(|n| *n > 1))
            .map(|a| identical_units(p.value(), g, a));
    }
}
