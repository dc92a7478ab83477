//! The weights before an update, to measure it.

use super::owner;
use crate::hub;
use crate::profile::{AlongStep, StepProfile};
use std::collections::HashMap;
use wengert_autograd::{Float, Gradients, Module, Param, ParamId, Path, Real, Tensor, Visitor};

/// Values of one weight that its update is measured from at most, evenly spaced: enough for an RMS to 1 %.
const SAMPLE: usize = 1 << 14;

/// The weights of a model at one moment, to measure an update.
///
/// Of each weight, no more than 16,384 values are kept, unless the step itself is to be measured
/// ([`whole`](Snapshot::whole)).
pub struct Snapshot<T: Float> {
    weights: HashMap<ParamId, Vec<T>>,
    /// Gradients at these weights, before anybody clips them.
    gradients: HashMap<ParamId, Tensor<T>>,
    whole: bool,
}

impl<T: Float> Default for Snapshot<T> {
    fn default() -> Self {
        Snapshot {
            weights: HashMap::new(),
            gradients: HashMap::new(),
            whole: false,
        }
    }
}

fn stride(n: usize, whole: bool) -> usize {
    if whole { 1 } else { n.div_ceil(SAMPLE).max(1) }
}

/// Every `step`-th value, in the order of the tensor's elements.
fn sampled<T: Real>(t: &Tensor<T>, step: usize, mut f: impl FnMut(T)) {
    match t.as_slice() {
        Some(s) => s.iter().step_by(step).for_each(|x| f(*x)),
        None => t.iter().step_by(step).for_each(f),
    }
}

impl<T: Float> Snapshot<T> {
    /// Copies the weights of rank 2 and more, in samples.
    pub fn of(model: &dyn Module<T>) -> Self {
        let mut s = Snapshot::default();
        s.refresh(model);
        s
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

    pub(crate) fn copy_weights(&mut self, model: &dyn Module<T>) {
        struct Copy<'a, T: Float>(&'a mut Snapshot<T>);
        impl<T: Float> Visitor<T> for Copy<'_, T> {
            fn param(&mut self, _: &str, p: &Param<T>) {
                if p.value().rank() >= 2 || self.0.whole {
                    let step = stride(p.value().numel(), self.0.whole);
                    let v = self.0.weights.entry(p.id()).or_default();
                    v.clear();
                    sampled(p.value(), step, |x| v.push(x));
                }
            }
        }
        model.visit(&mut Path::new(), &mut Copy(self));
    }

    /// Writes RMS(change) / RMS(weights before) of every layer into a profile.
    pub fn measure_update(&self, model: &dyn Module<T>, step: &mut StepProfile) {
        (hub::ops().update)(self, model, step);
    }

    pub(crate) fn compare_weights(&self, model: &dyn Module<T>, step: &mut StepProfile) {
        struct Compare<'a, T: Float>(&'a Snapshot<T>, &'a mut StepProfile);
        impl<T: Float> Visitor<T> for Compare<'_, T> {
            fn param(&mut self, path: &str, p: &Param<T>) {
                let Some(before) = self.0.weights.get(&p.id()) else {
                    return;
                };
                let layer =
                    (self.1.layers.iter_mut()).find(|l| l.path == path || l.path == owner(path));
                let Some(l) = layer.filter(|_| p.value().rank() >= 2) else {
                    return;
                };
                let (mut change, mut size) = (0.0, 0.0);
                let mut before = before.iter();
                sampled(p.value(), stride(p.value().numel(), self.0.whole), |a| {
                    let b = before.next().map_or(f64::NAN, |b| b.as_f64());
                    change += (a.as_f64() - b).powi(2);
                    size += b * b;
                });
                l.update_ratio = Some((change / size).sqrt()).filter(|r| !r.is_nan());
            }
        }
        model.visit(&mut Path::new(), &mut Compare(self, step));
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
