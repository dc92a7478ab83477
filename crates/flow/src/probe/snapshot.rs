//! The weights before an update, to measure it.

use super::{Names, Numbers, owner};
use crate::hub;
use crate::profile::{AlongStep, LayerProfile, StepProfile};
use crate::sorted::Sorted;
use std::borrow::Cow;
use wengert_autograd::{Float, Gradients, Module, Param, ParamId, Path, Real, Tensor, Visitor};
use wengert_tensor::simd::{Isa, Kernel, dispatch_narrow};

/// Values that are sampled side by side: memory comes in lines, so single values would cost as much.
const RUN: usize = 16;

/// The weights of a model at one moment, to measure an update.
pub struct Snapshot<T: Float> {
    /// The weights, or samples of them.
    picked: Picked<T>,
    /// Gradients at these weights, before anybody clips them.
    gradients: Sorted<ParamId, Tensor<T>>,
    whole: bool,
    /// Values that are kept of one weight at most; 0: all.
    limit: usize,
    /// Weights whose sample once did not move: only a look at all of it tells whether the rest stands still, too.
    still: Vec<ParamId>,
}

/// Samples of weights.
pub(crate) struct Picked<T> {
    of: Sorted<ParamId, Sample<T>>,
    /// Whether every weight of the model was picked while the step ran that is being measured.
    all: bool,
}

/// Values of one weight.
struct Sample<T> {
    values: Vec<T>,
    /// Whether they were picked while the step ran that is being measured.
    fresh: bool,
}

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Sample {
            values: Vec::new(),
            fresh: false,
        }
    }
}

impl<T> Default for Picked<T> {
    fn default() -> Self {
        Picked {
            of: Sorted::default(),
            all: false,
        }
    }
}

impl<T: Real> Picked<T> {
    /// The memory of a weight's sample.
    pub(super) fn take(&mut self, id: ParamId) -> Vec<T> {
        std::mem::take(&mut self.of.of(id).values)
    }

    /// Keeps the sample of a weight; `fresh`: it was picked just now.
    pub(super) fn put(&mut self, id: ParamId, values: Vec<T>, fresh: bool) {
        *self.of.of(id) = Sample { values, fresh };
    }

    /// Whether all these weights were picked, which are all of the model.
    pub(super) fn see_all(&mut self, mut weights: impl Iterator<Item = ParamId>) {
        self.all = weights.all(|id| self.of.get(id).is_some_and(|s| s.fresh));
    }
}

/// Where the runs of a sample lie: `runs` of [`RUN`] values, `step` from one's start to the next one's.
#[derive(Clone, Copy)]
struct Runs {
    runs: usize,
    step: usize,
}

impl Runs {
    /// At most `limit` of `n` values; `None` where that is all of them, or `limit` is 0.
    fn of(n: usize, limit: usize) -> Option<Runs> {
        if limit == 0 || n <= limit.max(RUN) {
            return None;
        }
        let mut runs = (limit / RUN).max(1);
        // An odd step walks through the columns of a matrix whose rows have an even length.
        let mut step = (((n - RUN) / runs).max(2) - 1) | 1;
        let lines = (n - RUN) / runs / RUN;
        if lines >= 4 {
            // Runs that are lines of memory; an odd number of them, for the same reason.
            step = (lines | 1) * RUN;
            runs = runs.min((n - RUN) / step + 1);
        }
        Some(Runs { runs, step })
    }
}

/// At most `limit` values of a tensor, in evenly spaced runs; `false`, and nothing is done, where that is all of it, or
/// `limit` is 0.
pub(super) fn pick<T: Real>(t: &Tensor<T>, limit: usize, out: &mut Vec<T>) -> bool {
    let Some(Runs { runs, step }) = Runs::of(t.numel(), limit) else {
        return false;
    };
    gather(&contiguous(t), step, runs, out);
    true
}

/// The runs of a sample, one after the other. A loop of copies alone, of known length: the processor then waits for many
/// lines of memory at once.
fn gather<T: Real>(values: &[T], step: usize, runs: usize, out: &mut Vec<T>) {
    out.resize(runs * RUN, T::ZERO);
    for (i, place) in out.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
        if let Some(run) = values[i * step..].first_chunk::<RUN>() {
            *place = *run;
        }
    }
}

/// Room for `n` values in an empty vector. A panic can be caught, an allocation that fails ends the process.
fn make_room<T>(v: &mut Vec<T>, n: usize) {
    if v.try_reserve_exact(n).is_err() {
        let bytes = n * size_of::<T>();
        let e = wengert_tensor::Error::OutOfMemory { op: "probe", bytes };
        panic!("{e}");
    }
}

/// The elements in order, copied if they do not lie so.
pub(super) fn contiguous<T: Real>(t: &Tensor<T>) -> Cow<'_, [T]> {
    match t.as_slice() {
        Some(s) => Cow::Borrowed(s),
        None => {
            let mut v = Vec::new();
            make_room(&mut v, t.numel());
            v.resize(t.numel(), T::ZERO);
            t.copy_into(&mut v);
            Cow::Owned(v)
        }
    }
}

impl<T: Float> Default for Snapshot<T> {
    fn default() -> Self {
        Snapshot {
            picked: Picked::default(),
            gradients: Sorted::default(),
            whole: false,
            limit: 0,
            still: Vec::new(),
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
        (gradients.iter()).for_each(|(id, g)| s.gradients.insert(id, g.clone()));
        s
    }

    /// Copies the weights anew, into the same memory.
    pub fn refresh(&mut self, model: &dyn Module<T>) {
        (hub::ops().refresh)(self, model);
    }

    /// Where samples of the weights are put while a step runs, for the [`refresh`](Snapshot::refresh) that follows.
    pub(crate) fn samples(&mut self) -> &mut Picked<T> {
        self.picked.of.values_mut().for_each(|s| s.fresh = false);
        &mut self.picked
    }

    pub(crate) fn copy_weights(&mut self, model: &dyn Module<T>) {
        // Then there is nothing left to copy.
        if std::mem::take(&mut self.picked.all) && self.limit > 0 && self.still.is_empty() {
            return;
        }
        struct Copy<'a, T: Float>(&'a mut Snapshot<T>);
        impl<T: Float> Visitor<T> for Copy<'_, T> {
            fn param(&mut self, _: &str, p: &Param<T>) {
                let (id, t) = (p.id(), p.value());
                if t.rank() < 2 && !self.0.whole {
                    return;
                }
                let limit = match self.0.still.contains(&id) {
                    true => 0,
                    false => self.0.limit,
                };
                let sample = self.0.picked.of.of(id);
                let picked = std::mem::take(&mut sample.fresh) && limit > 0;
                if !picked && !pick(t, limit, &mut sample.values) {
                    sample.values.clear();
                    make_room(&mut sample.values, t.numel());
                    sample.values.extend_from_slice(&contiguous(t));
                }
            }
        }
        model.visit(&mut Path::new(), &mut Copy(self));
    }

    /// Writes RMS(change) / RMS(weights before) of every layer into a profile.
    pub fn measure_update(&self, model: &dyn Module<T>, step: &mut StepProfile) {
        (hub::ops().update)(self, model, &mut step.layers, None);
    }

    /// As [`measure_update`](Snapshot::measure_update). A sample that does not move does not show that the whole weight
    /// stands still (of an embedding, few rows move): nothing is said of it, and the next time it is kept whole.
    pub(crate) fn watch_update(&mut self, model: &dyn Module<T>, numbers: &mut Numbers) {
        let layers = &mut numbers.step.layers;
        let still = (hub::ops().update)(self, model, layers, Some(&numbers.names));
        self.still.extend(still);
    }

    /// Gives the weights of which only a sample was looked at, and did not move.
    pub(crate) fn compare_weights(
        &self,
        model: &dyn Module<T>,
        layers: &mut [LayerProfile],
        names: Option<&Names>,
    ) -> Vec<ParamId> {
        struct Compare<'a, T: Float> {
            before: &'a Snapshot<T>,
            layers: &'a mut [LayerProfile],
            /// What they are called, if they do not know it yet.
            names: Option<&'a Names>,
            /// The layer after the one last found: mostly the next one that is looked for.
            next: usize,
            still: Vec<ParamId>,
            after: Vec<T>,
        }
        impl<T: Float> Compare<'_, T> {
            fn layer(&mut self, weight: &str) -> Option<&mut LayerProfile> {
                let module = owner(weight);
                let all = 0..self.layers.len();
                let path = |at: usize| match self.names {
                    Some(names) => names.path(at),
                    None => &self.layers[at].path,
                };
                let it = |at: &usize| [weight, module].contains(&path(*at));
                let next = Some(self.next).filter(|next| all.contains(next) && it(next));
                let at = next.or_else(|| all.into_iter().find(it))?;
                self.next = at + 1;
                Some(&mut self.layers[at])
            }
        }
        impl<T: Float> Visitor<T> for Compare<'_, T> {
            fn param(&mut self, path: &str, p: &Param<T>) {
                let (id, t) = (p.id(), p.value());
                let Some(before) = self.before.picked.of.get(id).filter(|_| t.rank() >= 2) else {
                    return;
                };
                let (before, n) = (&before.values, t.numel());
                let sample = Runs::of(n, self.before.limit);
                let sampled = sample.is_some_and(|s| s.runs * RUN == before.len());
                let (change, size) = match sample {
                    Some(s) if sampled => {
                        gather(&contiguous(t), s.step, s.runs, &mut self.after);
                        dispatch_narrow(Distance(before, &self.after))
                    }
                    _ if before.len() == n => dispatch_narrow(Distance(before, &contiguous(t))),
                    _ => (f64::NAN, f64::NAN),
                };
                let ratio = Some((change / size).sqrt()).filter(|r| !r.is_nan());
                let Some(layer) = self.layer(path) else {
                    return;
                };
                if sampled && change == 0.0 {
                    self.still.push(id);
                } else {
                    layer.update_ratio = ratio;
                }
            }
        }
        let mut v = Compare {
            before: self,
            layers,
            names,
            next: 0,
            still: Vec::new(),
            after: Vec::new(),
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
                let w = self.0.picked.of.get(id);
                let (Some(w), Some(g)) = (w, self.0.gradients.get(id)) else {
                    return;
                };
                for ((a, b), g) in p.value().iter().zip(&w.values).zip(g.iter()) {
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
