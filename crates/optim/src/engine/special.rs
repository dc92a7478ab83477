//! What single rules need beside their steps.

use super::walk::prepare;
use super::{Engine, Show};
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::rule::SlotData;
use wengert_autograd::{Gradients, Module, Param, Path, Visitor, VisitorMut};
use wengert_tensor::Real;

/// Writes a parameter from its hyperparameters, slots and values.
pub(crate) type Rewrite<'a, T> = &'a dyn Fn(&[(&'static str, f64)], &[SlotData<T>], &[T], &mut [T]);

struct Write<'a, T: Real> {
    engine: &'a Engine<T>,
    f: Rewrite<'a, T>,
    near: usize,
}

impl<T: Hub> VisitorMut<T> for Write<'_, T> {
    fn param(&mut self, path: &str, param: &mut Param<T>) {
        let entries = &self.engine.entries;
        let fits = |i: &usize| entries.get(*i).is_some_and(|e| e.path == path);
        let at = Some(self.near).filter(fits);
        let Some(at) = at.or_else(|| (0..entries.len()).find(fits)) else {
            return;
        };
        self.near = at + 1;
        let e = &entries[at];
        if e.ready && e.shape.as_slice() == param.shape() {
            let hypers = self.engine.hypers_of(path).unwrap_or_default();
            let values = param.value().to_vec();
            let out = param.value_mut().as_mut_slice();
            (self.f)(&hypers, &e.slots, &values, out);
        }
    }
}

struct Fold<'a, T: Real> {
    engine: &'a mut Engine<T>,
    estimate: &'a Gradients<T>,
    near: usize,
    slot: usize,
    hyper: usize,
    f: &'a dyn Fn(f64, f64, f64) -> f64,
    error: Option<Error>,
    cursor: usize,
}

impl<T: Hub> Visitor<T> for Fold<'_, T> {
    fn param(&mut self, path: &str, param: &Param<T>) {
        // The engine was matched with the model just before: entries stand in visiting order.
        let at = self.cursor;
        self.cursor += 1;
        let Some((found, x)) = self.estimate.find_near(param.id(), self.near) else {
            return;
        };
        self.near = found + 1;
        let Some(e) = self.engine.entries.get_mut(at).filter(|e| e.trainable) else {
            return;
        };
        let cell = &self.engine.cells[e.cell];
        let rule = &*cell.rule;
        if x.shape() != param.shape() {
            self.error = Some(Error::GradientShape {
                rule: rule.name(),
                path: path.to_string(),
                expected: param.shape().to_vec(),
                found: x.shape().to_vec(),
            });
            return;
        }
        if !e.ready {
            prepare(e, rule, param.value());
        }
        let (setting, scale) = &cell.settings[self.hyper];
        let hyper = setting.at(self.engine.step) * scale;
        let data = e.slots[self.slot].data.as_mut_slice();
        for (s, x) in data.iter_mut().zip(x.iter()) {
            *s = T::from_f64((self.f)(hyper, s.as_f64(), x.as_f64()));
        }
    }
}

impl<T: Hub> Engine<T> {
    /// Lets `f` write every parameter of a model that has state.
    pub(crate) fn rewrite(&self, model: &mut dyn Module<T>, f: Rewrite<'_, T>) {
        let mut write = Write {
            engine: self,
            f,
            near: 0,
        };
        model.visit_mut(&mut Path::new(), &mut write);
    }

    /// `slot ← f(hyper, slot, estimate)` for every trainable parameter that has an estimate, with its hyperparameter of a
    /// name.
    pub(crate) fn fold(
        &mut self,
        show: Show<'_, T>,
        estimate: &Gradients<T>,
        slot: usize,
        hyper: &str,
        f: &dyn Fn(f64, f64, f64) -> f64,
    ) -> Result<()> {
        let hyper = self.hyper(hyper)?;
        if self.stale || !self.matches(show) {
            self.replan(show)?;
        }
        let mut fold = Fold {
            engine: self,
            estimate,
            near: 0,
            slot,
            hyper,
            f,
            error: None,
            cursor: 0,
        };
        show(&mut fold);
        fold.error.map_or(Ok(()), Err)
    }
}
