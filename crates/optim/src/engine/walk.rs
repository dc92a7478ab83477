//! One visit of the model per step: small parameters are updated on the spot; larger ones are lent (moved out, not
//! copied) to [`super::run`] and handed back by a second visit.

use super::run::{Lent, run};
use super::{Cell, Engine, Entry};
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::rule::{Coefs, Init, Pass, Plan, Rule, Scope, SlotData, Sums, Whole, slot_slices};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use wengert_autograd::{Buffer, Gradients, Module, Param, Path, VisitorMut};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Real, Storage, Tensor};

/// Elements of a parameter up to which it is updated during the visit.
const SMALL: usize = 2048;

enum Phase {
    Update,
    Return,
}

/// One visit of a step.
pub(crate) struct Walk<'a, T: Real> {
    engine: &'a mut Engine<T>,
    grads: &'a Gradients<T>,
    phase: Phase,
    cursor: usize,
    /// Parameters before this one are done.
    from: usize,
    stale: bool,
    next_lent: usize,
    error: Option<Error>,
}

impl<T: Real> VisitorMut<T> for Walk<'_, T> {
    fn param(&mut self, path: &str, param: &mut Param<T>) {
        (self.engine.param)(self, path, param);
    }

    fn buffer(&mut self, _path: &str, buffer: &mut Buffer<T>) {
        if matches!(self.phase, Phase::Return) || buffer.is_frozen() {
            return;
        }
        if let Some((at, value)) = self.grads.find_side_near(buffer.id(), self.engine.side_at) {
            self.engine.side_at = at + 1;
            let target = buffer.value_mut();
            if target.shape() == value.shape() {
                value.copy_into(target.as_mut_slice());
            } else {
                *target = value.copy();
            }
        }
    }
}

/// Body of [`Walk::param`](VisitorMut::param).
pub(crate) fn visit_param<T: Hub>(w: &mut Walk<'_, T>, path: &str, param: &mut Param<T>) {
    let at = w.cursor;
    w.cursor += 1;
    match w.phase {
        Phase::Return => {
            if let Some(lent) = w.engine.lent.get_mut(w.next_lent)
                && lent.entry == at
            {
                std::mem::swap(param.value_mut(), &mut lent.value);
                w.next_lent += 1;
            }
        }
        Phase::Update => {
            if at < w.from || w.stale || w.error.is_some() {
                return;
            }
            let known = w.engine.entries.get(at).is_some_and(|e| {
                e.id == param.id()
                    && e.trainable == param.is_trainable()
                    && e.shape.as_slice() == param.shape()
                    && e.path == path
            });
            if !known {
                w.stale = true;
                w.from = at;
            } else if param.is_trainable() {
                update_param(w, at, param);
            }
        }
    }
}

fn update_param<T: Hub>(w: &mut Walk<'_, T>, at: usize, param: &mut Param<T>) {
    let engine = &mut *w.engine;
    let entry = &mut engine.entries[at];
    let Some((found, grad)) = w.grads.find_near(entry.id, entry.grad_at) else {
        return;
    };
    entry.grad_at = found;
    let cell = &mut engine.cells[entry.cell];
    if grad.shape() != entry.shape.as_slice() {
        w.error = Some(Error::GradientShape {
            rule: cell.rule.name(),
            path: entry.path.clone(),
            expected: entry.shape.to_vec(),
            found: grad.shape().to_vec(),
        });
        return;
    }
    if !entry.ready {
        prepare(entry, &*cell.rule, param.value());
    }
    entry.t += 1;
    let scope = cell.rule.scope(&entry.shape);
    let numel = grad.numel();
    if scope == Scope::Model || (scope != Scope::Whole && numel > SMALL) {
        let value = std::mem::replace(param.value_mut(), engine.empty.clone());
        engine.lent.push(Lent {
            entry: at,
            value,
            coefs: Coefs::default(),
            sums: Sums::default(),
        });
        return;
    }
    let Entry {
        shape,
        t,
        scalars,
        slots,
        scratch,
        ..
    } = entry;
    let scale = engine.grad_scale;
    let grad = if scope == Scope::Whole && scale != 1.0 {
        fill_scratch(grad, scratch);
        let factor = T::from_f64(scale);
        scratch.iter_mut().for_each(|g| *g *= factor);
        scratch
    } else {
        row_major(grad, scratch)
    };
    let p = param.value_mut().as_mut_slice();
    if scope == Scope::Whole {
        let coefs = plan(
            cell,
            0,
            *t,
            shape,
            scalars,
            &engine.globals,
            &Sums::default(),
        );
        let whole = Whole {
            coefs: &coefs,
            t: *t,
            shape,
            param: p,
            grad,
            slots,
            scalars,
            scratch: &mut engine.scratch,
        };
        T::whole(&*cell.rule, whole);
        return;
    }
    let mut sums = Sums::default();
    for pass in 0..cell.rule.passes() {
        let coefs = plan(cell, pass, *t, shape, scalars, &engine.globals, &sums);
        sums = T::pass(
            &*cell.rule,
            Pass {
                pass,
                coefs: &coefs,
                param: &mut *p,
                grad,
                scale,
                slots: slot_slices(slots),
            },
        );
        #[cfg(feature = "mutation")]
        crate::mutation::sums(cell.rule.name(), &mut sums);
    }
}

/// The elements of a gradient in row-major order, through `scratch` if it is a view of another order.
fn row_major<'a, T: Real>(grad: &'a Tensor<T>, scratch: &'a mut Vec<T>) -> &'a [T] {
    if grad.is_contiguous() {
        grad.as_slice().unwrap_or(&[])
    } else {
        fill_scratch(grad, scratch);
        scratch
    }
}

pub(super) fn fill_scratch<T: Real>(grad: &Tensor<T>, scratch: &mut Vec<T>) {
    scratch.resize(grad.numel(), T::ZERO);
    grad.copy_into(scratch);
}

/// Makes the state of a parameter that gets its first gradient, or what its state lacks of the rule's slots.
pub(super) fn prepare<T: Real>(entry: &mut Entry<T>, rule: &dyn Rule, value: &Tensor<T>) {
    if entry.scalars.is_empty() {
        entry.scalars = rule.scalars().iter().map(|s| s.1).collect();
    }
    let mut old = std::mem::take(&mut entry.slots);
    let before = old.len();
    entry.slots = rule
        .slots(&entry.shape)
        .into_iter()
        .map(|slot| {
            if let Some(i) = old.iter().position(|o| o.name == slot.name) {
                return old.swap_remove(i);
            }
            let shape = slot.shape.unwrap_or_else(|| entry.shape.clone());
            let n = shape.iter().product();
            let mut data = Storage::zeroed("optimizer state", n).or_panic();
            match slot.init {
                Init::Value(0.0) => {}
                Init::Value(x) => data.as_mut_slice().fill(T::from_f64(x)),
                Init::Parameter => value.copy_into(data.as_mut_slice()),
            }
            SlotData {
                name: slot.name,
                shape,
                data,
            }
        })
        .collect();
    if old.len() == before {
        // Nothing of it was remembered: it begins here, whatever went before.
        entry.t = 0;
    }
    entry.ready = true;
}

pub(super) fn plan(
    cell: &mut Cell,
    pass: usize,
    t: u64,
    shape: &[usize],
    scalars: &mut [f64],
    globals: &[f64],
    sums: &Sums,
) -> Coefs {
    if let Some((at, coefs)) = &cell.cache
        && *at == t
    {
        return *coefs;
    }
    #[cfg_attr(not(feature = "mutation"), allow(unused_mut))]
    let mut coefs = cell.rule.plan(Plan {
        pass,
        t,
        shape,
        scalars,
        globals,
        sums,
    });
    #[cfg(feature = "mutation")]
    crate::mutation::coefs(cell.rule.name(), &mut coefs);
    if cell.rule.passes() == 1 && cell.rule.scalars().is_empty() {
        cell.cache = Some((t, coefs));
    }
    coefs
}

impl<T: Hub> Engine<T> {
    /// One update of every trainable parameter that has a gradient.
    pub(super) fn update(&mut self, model: &mut dyn Module<T>, grads: &Gradients<T>) -> Result<()> {
        // Rules that sum over the model must not notice in the middle that the model has changed.
        if self.stale
            || (self.base.scope(&[]) == Scope::Model
                && !self.matches(&|v| model.visit(&mut Path::new(), v)))
        {
            self.replan(&|v| model.visit(&mut Path::new(), v))?;
        }
        self.refresh()?;
        let mut from = 0;
        loop {
            let (stale_at, error) = self.visit(model, grads, from);
            if let Some(e) = error {
                return Err(e);
            }
            let Some(at) = stale_at else { break };
            // Parameters before `at` are updated; they keep their places, and the visit goes on from there.
            self.replan(&|v| model.visit(&mut Path::new(), v))?;
            self.refresh()?;
            from = at;
        }
        self.step += 1;
        Ok(())
    }

    /// Updates the parameters from index `from` on; returns the first index that does not match the entries.
    fn visit(
        &mut self,
        model: &mut dyn Module<T>,
        grads: &Gradients<T>,
        from: usize,
    ) -> (Option<usize>, Option<Error>) {
        let mut path = std::mem::take(&mut self.path);
        self.lent.clear();
        self.side_at = 0;
        let mut walk = Walk::new(self, grads, Phase::Update, from);
        let mut panicked =
            catch_unwind(AssertUnwindSafe(|| model.visit_mut(&mut path, &mut walk))).err();
        let (stale, at, seen) = (walk.stale, walk.from, walk.cursor);
        let error = walk.error.take();
        if !self.lent.is_empty() {
            if panicked.is_none() {
                panicked = catch_unwind(AssertUnwindSafe(|| run(self, grads))).err();
            }
            // Whatever happened, the model gets its tensors back.
            if panicked.is_some() {
                path = Path::new();
            }
            let mut back = Walk::new(self, grads, Phase::Return, 0);
            let returned =
                catch_unwind(AssertUnwindSafe(|| model.visit_mut(&mut path, &mut back))).err();
            panicked = panicked.or(returned);
            self.lent.clear();
        }
        if let Some(p) = panicked {
            resume_unwind(p);
        }
        self.path = path;
        if !stale && error.is_none() {
            // Parameters that the visit no longer shows.
            self.entries.truncate(seen);
        }
        (stale.then_some(at), error)
    }
}

impl<'a, T: Real> Walk<'a, T> {
    fn new(engine: &'a mut Engine<T>, grads: &'a Gradients<T>, phase: Phase, from: usize) -> Self {
        Walk {
            engine,
            grads,
            phase,
            cursor: 0,
            from,
            stale: false,
            next_lent: 0,
            error: None,
        }
    }
}
