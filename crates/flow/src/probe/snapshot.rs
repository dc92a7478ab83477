//! The weights before an update, to measure it.

use super::owner;
use crate::hub;
use crate::profile::{AlongStep, StepProfile};
use std::collections::{HashMap, HashSet};
use wengert_autograd::{Float, Gradients, Module, Param, ParamId, Path, Real, Tensor, Visitor};
use wengert_tensor::simd::{Isa, Kernel, dispatch_narrow};

/// Values that are sampled side by side: memory comes in lines, so single values would cost as much.
const RUN: usize = 16;

/// The weights of a model at one moment, to measure an update.
///
pub struct Snapshot<T: Float> {
    weights: HashMap<ParamId, Vec<T>>,
    /// Gradients at these weights, before anybody clips them.
    gradients: HashMap<ParamId, Tensor<T>>,
    whole: bool,
    /// Values that are kept of one weight at most; 0: all.
    limit: usize,
    /// Weights whose sample once did not move: only a look at all of it tells whether the rest stands still, too.
    still: HashSet<ParamId>,
    picked: Picked<T>,
}

/// Samples that were picked while a step ran, and memory that is used again: what comes fresh from the system costs more
/// than the samples.
pub(crate) struct Picked<T> {
    of: HashMap<ParamId, Vec<T>>,
    spare: HashMap<ParamId, Vec<T>>,
    /// The values last picked.
    pub(super) scratch: Vec<T>,
}

impl<T> Default for Picked<T> {
    fn default() -> Self {
        Picked {
            of: HashMap::new(),
            spare: HashMap::new(),
            scratch: Vec::new(),
        }
    }
}

impl<T: Real> Picked<T> {
    /// Picks at most `limit` values in evenly spaced runs into `scratch`; whether anything was left out. If not, or if
    /// `limit` is 0, nothing is picked.
    pub(super) fn pick(&mut self, t: &Tensor<T>, limit: usize) -> bool {
        pick(t, limit, &mut self.scratch)
    }

    /// As [`pick`](Picked::pick), and keeps the sample under the name of a parameter.
    pub(super) fn keep(&mut self, id: ParamId, t: &Tensor<T>, limit: usize) -> Option<&[T]> {
        let mut sample = self.spare.remove(&id).unwrap_or_default();
        if !pick(t, limit, &mut sample) {
            self.spare.insert(id, sample);
            return None;
        }
        Some(self.of.entry(id).insert_entry(sample).into_mut())
    }
}

/// At most `limit` values of a tensor, in evenly spaced runs; `false`, and nothing is done, where that is all of it, or
/// `limit` is 0.
fn pick<T: Real>(t: &Tensor<T>, limit: usize, out: &mut Vec<T>) -> bool {
    let n = t.numel();
    if limit == 0 || n <= limit.max(RUN) {
        return false;
    }
    out.clear();
    let count = (limit / RUN).max(1);
    out.reserve(count * RUN);
    let start = |i: usize| i * (n - RUN) / count;
    match t.as_slice() {
        Some(s) => (0..count).for_each(|i| out.extend_from_slice(&s[start(i)..start(i) + RUN])),
        None => {
            let (mut i, mut left) = (0, 0);
            for (at, x) in t.iter().enumerate() {
                if i < count && at == start(i) {
                    (i, left) = (i + 1, RUN);
                }
                if left > 0 {
                    out.push(x);
                    left -= 1;
                }
            }
        }
    }
    true
}

impl<T: Float> Default for Snapshot<T> {
    fn default() -> Self {
        Snapshot {
            weights: HashMap::new(),
            gradients: HashMap::new(),
            whole: false,
            limit: 0,
            still: HashSet::new(),
            picked: Picked::default(),
        }
    }
}

/// `Σ(after - before)²` and `Σbefore²`.
struct Distance<'a, T>(&'a [T], &'a [T]);

impl<T: Real> Kernel for Distance<'_, T> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<I: Isa>(self) -> (f64, f64) {
        const LANES: usize = 8;
        let Distance(before, after) = self;
        let (mut change, mut size) = ([0.0f64; LANES], [0.0f64; LANES]);
        let ((b, b_rest), (a, a_rest)) = (before.as_chunks::<LANES>(), after.as_chunks::<LANES>());
        for (b, a) in b.iter().zip(a) {
            for i in 0..LANES {
                let (a, b) = (a[i].as_f64(), b[i].as_f64());
                change[i] += (a - b) * (a - b);
                size[i] += b * b;
            }
        }
        for (b, a) in b_rest.iter().zip(a_rest) {
            let (a, b) = (a.as_f64(), b.as_f64());
            change[0] += (a - b) * (a - b);
            size[0] += b * b;
        }
        (change.iter().sum(), size.iter().sum())
    }
}

fn distance<T: Real>(before: &[T], after: &[T]) -> (f64, f64) {
    if before.len() != after.len() {
        return (f64::NAN, f64::NAN);
    }
    dispatch_narrow(Distance(before, after))
}

impl<T: Float> Snapshot<T> {
    /// Copies the weights of rank 2 and more.
    pub fn of(model: &dyn Module<T>) -> Self {
        let mut s = Snapshot::default();
        s.refresh(model);
        s
    }

    /// Nothing yet; to keep at most `limit` values of each weight.
    pub(crate) fn sampled(limit: usize) -> Self {
        Snapshot {
            limit,
            ..Snapshot::default()
        }
    }

    /// Copies every parameter and holds the gradients, so that [`along`](Snapshot::along) can be measured.
    pub fn whole(model: &dyn Module<T>, gradients: &Gradients<T>) -> Self {
        let mut s = Snapshot {
            whole: true,
            ..Snapshot::default()
        };
        s.refresh(model);
        s.gradients = (gradients.iter()).map(|(id, g)| (id, g.clone())).collect();
        s
    }

    /// Copies the weights anew, into the same memory.
    pub fn refresh(&mut self, model: &dyn Module<T>) {
        (hub::ops().refresh)(self, model);
    }

    /// Where samples of the weights are put while a step runs, for the [`refresh`](Snapshot::refresh) that follows. What
    /// was kept before is given up.
    pub(crate) fn samples(&mut self) -> &mut Picked<T> {
        self.picked.of.clear();
        self.picked.spare.extend(self.weights.drain());
        &mut self.picked
    }

    pub(crate) fn copy_weights(&mut self, model: &dyn Module<T>) {
        struct Copy<'a, T: Float>(&'a mut Snapshot<T>);
        impl<T: Float> Visitor<T> for Copy<'_, T> {
            fn param(&mut self, _: &str, p: &Param<T>) {
                let (id, t) = (p.id(), p.value());
                if t.rank() < 2 && !self.0.whole {
                    return;
                }
                let limit = self.0.limit_of(id);
                let v = self.0.weights.entry(id).or_default();
                let sample = self.0.picked.of.remove(&id);
                if limit > 0
                    && let Some(sample) = sample
                {
                    *v = sample;
                    return;
                }
                if v.is_empty() {
                    *v = self.0.picked.spare.remove(&id).unwrap_or_default();
                }
                if !pick(t, limit, v) {
                    v.clear();
                    match t.as_slice() {
                        Some(s) => v.extend_from_slice(s),
                        None => v.extend(t.iter()),
                    }
                }
            }
        }
        model.visit(&mut Path::new(), &mut Copy(self));
    }

    fn limit_of(&self, id: ParamId) -> usize {
        match self.still.contains(&id) {
            true => 0,
            false => self.limit,
        }
    }

    /// Writes RMS(change) / RMS(weights before) of every layer into a profile.
    pub fn measure_update(&self, model: &dyn Module<T>, step: &mut StepProfile) {
        (hub::ops().update)(self, model, step, &mut Vec::new());
    }

    /// As [`measure_update`](Snapshot::measure_update). A sample that does not move does not show that the whole weight
    /// stands still (of an embedding, few rows move): nothing is said of it, and the next time it is kept whole.
    pub(crate) fn watch_update(&mut self, model: &dyn Module<T>, step: &mut StepProfile) {
        let mut now = std::mem::take(&mut self.picked.scratch);
        let still = (hub::ops().update)(self, model, step, &mut now);
        self.picked.scratch = now;
        self.still.extend(still);
    }

    pub(crate) fn compare_weights(
        &self,
        model: &dyn Module<T>,
        step: &mut StepProfile,
        now: &mut Vec<T>,
    ) -> Vec<ParamId> {
        struct Compare<'a, T: Float> {
            before: &'a Snapshot<T>,
            step: &'a mut StepProfile,
            now: &'a mut Vec<T>,
            still: Vec<ParamId>,
        }
        impl<T: Float> Visitor<T> for Compare<'_, T> {
            fn param(&mut self, path: &str, p: &Param<T>) {
                let (id, t) = (p.id(), p.value());
                let Some(before) = self.before.weights.get(&id) else {
                    return;
                };
                let layer =
                    (self.step.layers.iter_mut()).find(|l| l.path == path || l.path == owner(path));
                let Some(l) = layer.filter(|_| t.rank() >= 2) else {
                    return;
                };
                let part = before.len() < t.numel();
                let now: &[T] = if part {
                    pick(t, self.before.limit, self.now);
                    self.now
                } else if let Some(s) = t.as_slice() {
                    s
                } else {
                    *self.now = t.to_vec();
                    self.now
                };
                let (change, size) = distance(before, now);
                if part && change == 0.0 {
                    self.still.push(id);
                } else {
                    l.update_ratio = Some((change / size).sqrt()).filter(|r| !r.is_nan());
                }
            }
        }
        let mut v = Compare {
            before: self,
            step,
            now,
            still: Vec::new(),
        };
        model.visit(&mut Path::new(), &mut v);
        v.still
    }

    /// The loss along the update from these weights to the present ones, given the loss of the same batch (and masks)
    /// before and after. `None` unless this snapshot is [`whole`](Snapshot::whole).
    pub fn along(&self, model: &dyn Module<T>, before: f64, after: f64) -> Option<AlongStep> {
        struct Product<'a, T: Float>(&'a Snapshot<T>, f64, f64);
        impl<T: Float> Visitor<T> for Product<'_, T> {
            fn param(&mut self, _: &str, p: &Param<T>) {
                let id = p.id();
                let (Some(w), Some(g)) = (self.0.weights.get(&id), self.0.gradients.get(&id))
                else {
                    return;
                };
                for ((a, b), g) in p.value().iter().zip(w).zip(g.iter()) {
                    let d = a.as_f64() - b.as_f64();
                    self.1 += d * g.as_f64();
                    self.2 += d * d;
                }
            }
        }
        if !self.whole {
            return None;
        }
        let mut v = Product(self, 0.0, 0.0);
        model.visit(&mut Path::new(), &mut v);
        Some(AlongStep {
            slope: v.1,
            change: after - before,
            length: v.2.sqrt(),
        })
    }
}
