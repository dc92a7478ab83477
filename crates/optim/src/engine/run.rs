//! The large parameters of a step: cut into chunks together and updated by all threads.

use super::walk::{fill_scratch, plan};
use super::{Cell, Engine, Entry};
use crate::hub::Hub;
use crate::reduce::PARALLEL;
use crate::rule::{Coefs, MAX_SLOTS, Pass, Rule, Scope, Sums, slot_slices};
use wengert_autograd::Gradients;
use wengert_tensor::{Real, Tensor, parallel};

/// Elements of a chunk. Borders depend on it alone, never on the number of threads.
const CHUNK: usize = 1 << 15;

pub(super) struct Lent<T: Real> {
    pub entry: usize,
    pub value: Tensor<T>,
    pub coefs: Coefs,
    pub sums: Sums,
}

pub(super) struct Task<'a, T: Real> {
    lent: usize,
    rule: &'a dyn Rule,
    coefs: &'a Coefs,
    param: &'a mut [T],
    grad: &'a [T],
    slots: [&'a mut [T]; MAX_SLOTS],
    sums: Sums,
}

/// Updates all lent parameters, in parallel if they are worth it.
pub(super) fn run<T: Hub>(engine: &mut Engine<T>, grads: &Gradients<T>) {
    let total: usize = engine.lent.iter().map(|l| l.value.numel()).sum();
    if total >= PARALLEL && parallel::threads() > 1 {
        parallel::install(|| run_passes(engine, grads));
    } else {
        run_passes(engine, grads);
    }
}

fn run_passes<T: Hub>(engine: &mut Engine<T>, grads: &Gradients<T>) {
    let Engine {
        base,
        cells,
        entries,
        globals,
        lent,
        tasks,
        partial,
        grad_scale,
        ..
    } = engine;
    let scale = *grad_scale;
    let total: usize = lent.iter().map(|l| l.value.numel()).sum();
    for l in lent.iter() {
        let entry = &mut entries[l.entry];
        let grad = &grads.entries()[entry.grad_at].1;
        if !grad.is_contiguous() {
            fill_scratch(grad, &mut entry.scratch);
        }
    }
    for pass in 0..base.passes() {
        for l in lent.iter_mut() {
            let e = &mut entries[l.entry];
            let cell = &mut cells[e.cell];
            l.coefs = plan(cell, pass, e.t, &e.shape, &mut e.scalars, globals, &l.sums);
        }
        let mut list: Vec<Task<'_, T>> = std::mem::take(tasks);
        make_tasks(&mut list, lent, entries, cells, grads);
        let work = |task: &mut Task<'_, T>| {
            task.sums = T::pass(
                task.rule,
                Pass {
                    pass,
                    coefs: task.coefs,
                    param: &mut *task.param,
                    grad: task.grad,
                    scale,
                    slots: task.slots.each_mut().map(|s| &mut **s),
                },
            );
        };
        if total >= PARALLEL {
            parallel::chunks_mut(&mut list, 1, |_, t| work(&mut t[0]));
        } else {
            list.iter_mut().for_each(work);
        }
        partial.clear();
        partial.extend(list.iter().map(|t| (t.lent, t.sums)));
        *tasks = recycle(list);
        for l in lent.iter_mut() {
            l.sums = Sums::default();
        }
        let mut whole = Sums::default();
        for (i, sums) in partial.iter() {
            for k in 0..sums.len() {
                lent[*i].sums[k] += sums[k];
                whole[k] += sums[k];
            }
        }
        if base.scope(&[]) == Scope::Model {
            cells[0].rule.reduce(pass, &whole, globals);
        }
    }
}

/// Cuts every lent parameter, with its gradient and slots, into chunks.
fn make_tasks<'a, T: Hub>(
    list: &mut Vec<Task<'a, T>>,
    lent: &'a mut [Lent<T>],
    entries: &'a mut [Entry<T>],
    cells: &'a [Cell],
    grads: &'a Gradients<T>,
) {
    let mut rest = entries.iter_mut().enumerate();
    for (index, l) in lent.iter_mut().enumerate() {
        let (_, entry) = rest
            .find(|(i, _)| *i == l.entry)
            .expect("parameters are lent in visiting order");
        let rule = &*cells[entry.cell].rule;
        let tensor = &grads.entries()[entry.grad_at].1;
        let mut grad: &[T] = match tensor.as_slice() {
            Some(s) => s,
            None => &entry.scratch,
        };
        let mut param = l.value.as_mut_slice();
        let mut slots = slot_slices(&mut entry.slots);
        while !param.is_empty() {
            let n = param.len().min(CHUNK);
            let (p, p_rest) = std::mem::take(&mut param).split_at_mut(n);
            let (g, g_rest) = grad.split_at(n);
            param = p_rest;
            grad = g_rest;
            let chunk = slots.each_mut().map(|s| {
                let all = std::mem::take(s);
                let (now, later) = all.split_at_mut(n.min(all.len()));
                *s = later;
                now
            });
            list.push(Task {
                lent: index,
                rule,
                coefs: &l.coefs,
                param: p,
                grad: g,
                slots: chunk,
                sums: Sums::default(),
            });
        }
    }
}

/// The memory of a task list, emptied: collecting an empty vector in place keeps its buffer.
fn recycle<T: Real>(mut list: Vec<Task<'_, T>>) -> Vec<Task<'static, T>> {
    list.clear();
    list.into_iter()
        .map(|_| unreachable!("the list is empty"))
        .collect()
}
