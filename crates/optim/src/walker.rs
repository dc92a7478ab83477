//! The one walker over models: matches state with parameters, applies rules, hands large tensors to the threads.
//!
//! A step visits the model once. Small parameters are updated on the spot; larger ones are lent to the walker (moved
//! out, not copied), cut into chunks together, updated by all threads, and handed back by a second visit.

use crate::error::{Error, Result};
use crate::groups::{Change, Group, ParamInfo, Select};
use crate::hub::{Hub, Ops, ops};
use crate::reduce::PARALLEL;
use crate::rule::{
    Coefs, Init, MAX_SLOTS, Pass, Plan, Rule, Scalar, Scope, SlotData, Sums, Whole, slot_slices,
};
use crate::schedule::Schedule;
use crate::state::{Checker, OptimizerState, ParamState, StateScalar, StateTensor};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use wengert_autograd::{Buffer, Gradients, Module, Param, ParamId, Path, Visitor, VisitorMut};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Real, Storage, Tensor, parallel};

/// Elements of a parameter up to which it is updated during the visit.
const SMALL: usize = 2048;

/// Elements of a chunk. Borders depend on it alone, never on the number of threads.
const CHUNK: usize = 1 << 15;

/// A hyperparameter over time.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    Constant(f64),
    Scheduled(Arc<dyn Schedule>),
}

impl Setting {
    pub(crate) fn of(schedule: Arc<dyn Schedule>) -> Setting {
        match schedule.constant() {
            Some(x) => Setting::Constant(x),
            None => Setting::Scheduled(schedule),
        }
    }

    pub(crate) fn at(&self, step: u64) -> f64 {
        match self {
            Setting::Constant(x) => *x,
            Setting::Scheduled(s) => s.at(step),
        }
    }
}

/// The parameters that belong to the same groups share one rule with its hyperparameters set for the step.
struct Cell {
    mask: Vec<bool>,
    rule: Box<dyn Rule>,
    settings: Vec<(Setting, f64)>,
    /// Coefficients by step count, where they depend on nothing else.
    cache: Option<(u64, Coefs)>,
}

/// A parameter and its state.
pub(crate) struct Entry<T: Real> {
    pub path: String,
    id: ParamId,
    pub trainable: bool,
    pub shape: Dims,
    cell: usize,
    /// Updates so far.
    pub t: u64,
    pub scalars: SmallVec<[f64; 4]>,
    pub slots: Vec<SlotData<T>>,
    pub ready: bool,
    /// Where its gradient stood last time.
    grad_at: usize,
    /// Row-major copy of the gradient, for gradients that are views.
    scratch: Vec<T>,
}

struct Lent<T: Real> {
    entry: usize,
    value: Tensor<T>,
    coefs: Coefs,
    sums: Sums,
}

struct Task<'a, T: Real> {
    lent: usize,
    rule: &'a dyn Rule,
    coefs: &'a Coefs,
    param: &'a mut [T],
    grad: &'a [T],
    slots: [&'a mut [T]; MAX_SLOTS],
    sums: Sums,
}

/// Everything an optimizer owns.
pub(crate) struct Core<T: Real> {
    pub ops: &'static Ops<T>,
    pub base: Box<dyn Rule>,
    pub settings: Vec<Setting>,
    pub groups: Vec<Group>,
    cells: Vec<Cell>,
    pub entries: Vec<Entry<T>>,
    pub globals: SmallVec<[f64; 4]>,
    /// Updates so far; the step that schedules see.
    pub step: u64,
    /// Factor on every learning rate.
    pub lr_scale: f64,
    /// The groups or the set of parameters must be looked at again.
    stale: bool,
    lent: Vec<Lent<T>>,
    tasks: Vec<Task<'static, T>>,
    partial: Vec<(usize, Sums)>,
    scratch: Vec<T>,
    empty: Tensor<T>,
    path: Path,
    side_at: usize,
}

enum Phase {
    Update,
    Return,
}

/// One visit of a step.
pub(crate) struct Walk<'a, T: Real> {
    core: &'a mut Core<T>,
    grads: &'a Gradients<T>,
    phase: Phase,
    cursor: usize,
    /// Parameters before this one are done.
    from: usize,
    stale: bool,
    next_lent: usize,
    error: Option<Error>,
}

impl<T: Real> Entry<T> {
    fn new(path: String, id: ParamId, shape: Dims, trainable: bool) -> Self {
        Entry {
            path,
            id,
            trainable,
            shape,
            cell: 0,
            t: 0,
            scalars: SmallVec::new(),
            slots: Vec::new(),
            ready: false,
            grad_at: 0,
            scratch: Vec::new(),
        }
    }
}

impl<T: Real> VisitorMut<T> for Walk<'_, T> {
    fn param(&mut self, path: &str, param: &mut Param<T>) {
        (self.core.ops.param)(self, path, param);
    }

    fn buffer(&mut self, _path: &str, buffer: &mut Buffer<T>) {
        if matches!(self.phase, Phase::Return) || buffer.is_frozen() {
            return;
        }
        if let Some((at, value)) = self.grads.find_side_near(buffer.id(), self.core.side_at) {
            self.core.side_at = at + 1;
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
            if let Some(lent) = w.core.lent.get_mut(w.next_lent)
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
            let known = w.core.entries.get(at).is_some_and(|e| {
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
    let core = &mut *w.core;
    let entry = &mut core.entries[at];
    let Some((found, grad)) = w.grads.find_near(entry.id, entry.grad_at) else {
        return;
    };
    entry.grad_at = found;
    let cell = &mut core.cells[entry.cell];
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
        let value = std::mem::replace(param.value_mut(), core.empty.clone());
        core.lent.push(Lent {
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
    let grad = row_major(grad, scratch);
    let p = param.value_mut().as_mut_slice();
    if scope == Scope::Whole {
        let coefs = plan(cell, 0, *t, shape, scalars, &core.globals, &Sums::default());
        let whole = Whole {
            coefs: &coefs,
            t: *t,
            shape,
            param: p,
            grad,
            slots,
            scalars,
            scratch: &mut core.scratch,
        };
        T::whole(&*cell.rule, whole);
        return;
    }
    let mut sums = Sums::default();
    for pass in 0..cell.rule.passes() {
        let coefs = plan(cell, pass, *t, shape, scalars, &core.globals, &sums);
        sums = T::pass(
            &*cell.rule,
            Pass {
                pass,
                coefs: &coefs,
                param: &mut *p,
                grad,
                slots: slot_slices(slots),
            },
        );
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

fn fill_scratch<T: Real>(grad: &Tensor<T>, scratch: &mut Vec<T>) {
    scratch.resize(grad.numel(), T::ZERO);
    grad.copy_into(scratch);
}

/// Makes the state of a parameter that gets its first gradient.
fn prepare<T: Real>(entry: &mut Entry<T>, rule: &dyn Rule, value: &Tensor<T>) {
    entry.scalars = rule.scalars().iter().map(|s| s.1).collect();
    entry.slots = rule
        .slots(&entry.shape)
        .into_iter()
        .map(|slot| {
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
    entry.ready = true;
}

fn plan(
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
    let coefs = cell.rule.plan(Plan {
        pass,
        t,
        shape,
        scalars,
        globals,
        sums,
    });
    if cell.rule.passes() == 1 && cell.rule.scalars().is_empty() {
        cell.cache = Some((t, coefs));
    }
    coefs
}

/// Updates all lent parameters, in parallel if they are worth it.
pub(crate) fn run<T: Hub>(core: &mut Core<T>, grads: &Gradients<T>) {
    let total: usize = core.lent.iter().map(|l| l.value.numel()).sum();
    if total >= PARALLEL && parallel::threads() > 1 {
        parallel::install(|| run_passes(core, grads));
    } else {
        run_passes(core, grads);
    }
}

fn run_passes<T: Hub>(core: &mut Core<T>, grads: &Gradients<T>) {
    let Core {
        base,
        cells,
        entries,
        globals,
        lent,
        tasks,
        partial,
        ..
    } = core;
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

/// What a visit sees of a parameter.
struct Seen {
    path: String,
    id: ParamId,
    shape: Dims,
    trainable: bool,
}

struct Look(Vec<Seen>);

impl<T: Real> Visitor<T> for Look {
    fn param(&mut self, path: &str, param: &Param<T>) {
        self.0.push(Seen {
            path: path.to_string(),
            id: param.id(),
            shape: Dims::from_slice(param.shape()),
            trainable: param.is_trainable(),
        });
    }
}

impl<T: Real> Core<T> {
    pub(crate) fn new(rule: Box<dyn Rule>) -> Self {
        let settings = (0..rule.hypers().len())
            .map(|i| Setting::Constant(rule.get(i)))
            .collect();
        let globals = rule.globals().iter().map(|g| g.1).collect();
        Core {
            ops: ops::<T>(),
            base: rule,
            settings,
            groups: Vec::new(),
            cells: Vec::new(),
            entries: Vec::new(),
            globals,
            step: 0,
            lr_scale: 1.0,
            stale: true,
            lent: Vec::new(),
            tasks: Vec::new(),
            partial: Vec::new(),
            scratch: Vec::new(),
            empty: Tensor::zeros([0]),
            path: Path::new(),
            side_at: 0,
        }
    }

    /// Index of a hyperparameter, or an error that lists the names there are.
    pub(crate) fn hyper(&self, name: &str) -> Result<usize> {
        let hypers = self.base.hypers();
        hypers.iter().position(|h| h.name == name).ok_or_else(|| {
            let names: Vec<&str> = hypers.iter().map(|h| h.name).collect();
            Error::Configuration {
                owner: self.base.name(),
                message: format!(
                    "there is no hyperparameter `{name}`; there are {}",
                    names.join(", ")
                ),
            }
        })
    }

    /// Another value or schedule of a hyperparameter.
    pub(crate) fn set(&mut self, name: &str, schedule: Arc<dyn Schedule>) -> Result<()> {
        let i = self.hyper(name)?;
        let setting = Setting::of(schedule);
        let first = setting.at(self.step);
        let h = &self.base.hypers()[i];
        h.range.check(self.base.name(), h.name, first)?;
        let mut base = self.base.boxed();
        base.put(i, first);
        if !matches!(setting, Setting::Constant(0.0)) {
            base.enabled(i);
        }
        base.check()?;
        self.base = base;
        self.settings[i] = setting;
        self.rebuild_cells();
        Ok(())
    }

    /// One more group.
    pub(crate) fn group(&mut self, group: Group) -> Result<()> {
        for (name, change) in &group.changes {
            let i = self.hyper(name)?;
            let h = &self.base.hypers()[i];
            match change {
                Change::Set(s) => h.range.check(self.base.name(), name, s.at(self.step))?,
                Change::Scale(f) => crate::rule::Range::NON_NEGATIVE.check("Group", name, *f)?,
            };
        }
        self.groups.push(group);
        self.stale = true;
        Ok(())
    }

    /// After a change of the base rule or its settings.
    pub(crate) fn rebuild_cells(&mut self) {
        let masks: Vec<Vec<bool>> = self.cells.drain(..).map(|c| c.mask).collect();
        for mask in masks {
            let cell = self.make_cell(mask);
            self.cells.push(cell);
        }
    }

    fn make_cell(&self, mask: Vec<bool>) -> Cell {
        let mut rule = self.base.boxed();
        let mut settings: Vec<(Setting, f64)> =
            self.settings.iter().map(|s| (s.clone(), 1.0)).collect();
        let belongs = self.groups.iter().zip(&mask).filter(|(_, m)| **m);
        for (name, change) in belongs.flat_map(|(g, _)| &g.changes) {
            let i = self
                .hyper(name)
                .expect("names were checked when the group was added");
            match change {
                Change::Set(s) => {
                    settings[i].0 = Setting::of(Arc::clone(s));
                    if s.constant() != Some(0.0) {
                        rule.enabled(i);
                    }
                }
                Change::Scale(f) => settings[i].1 *= f,
            }
        }
        Cell {
            mask,
            rule,
            settings,
            cache: None,
        }
    }

    fn cell_of(&mut self, path: &str, shape: &[usize]) -> usize {
        let info = ParamInfo { path, shape };
        let mask: Vec<bool> = self.groups.iter().map(|g| g.contains(info)).collect();
        if let Some(i) = self.cells.iter().position(|c| c.mask == mask) {
            return i;
        }
        let cell = self.make_cell(mask);
        self.cells.push(cell);
        self.cells.len() - 1
    }

    /// Matches entries with the parameters of the model: by identity first, then by path; an entry whose shape
    /// changed begins anew, one whose parameter is gone goes.
    pub(crate) fn replan<M: Module<T> + ?Sized>(&mut self, model: &M) -> Result<()> {
        let mut look = Look(Vec::new());
        model.visit(&mut Path::new(), &mut look);
        let seen = look.0;
        self.check_seen(&seen)?;
        let mut old: Vec<Option<Entry<T>>> = self.entries.drain(..).map(Some).collect();
        let by_id: HashMap<ParamId, usize> = old
            .iter()
            .enumerate()
            .filter_map(|(i, e)| e.as_ref().map(|e| (e.id, i)))
            .collect();
        let by_path: HashMap<String, usize> = old
            .iter()
            .enumerate()
            .filter_map(|(i, e)| e.as_ref().map(|e| (e.path.clone(), i)))
            .collect();
        let mut found: Vec<Option<Entry<T>>> = seen
            .iter()
            .map(|s| by_id.get(&s.id).and_then(|&i| old[i].take()))
            .collect();
        for (s, f) in seen.iter().zip(&mut found) {
            if f.is_none() {
                *f = by_path.get(&s.path).and_then(|&i| old[i].take());
            }
        }
        self.cells.clear();
        // Cell 0 is the default: what a parameter of no group takes.
        let base = self.make_cell(vec![false; self.groups.len()]);
        self.cells.push(base);
        for (s, f) in seen.into_iter().zip(found) {
            let cell = self.cell_of(&s.path, &s.shape);
            let kept = f.filter(|e| e.shape == s.shape && e.trainable && s.trainable);
            let mut entry = match kept {
                Some(e) => Entry {
                    path: s.path,
                    id: s.id,
                    ..e
                },
                None => Entry::new(s.path, s.id, s.shape, s.trainable),
            };
            entry.cell = cell;
            self.entries.push(entry);
        }
        self.stale = false;
        Ok(())
    }

    fn check_seen(&self, seen: &[Seen]) -> Result<()> {
        let rule = self.base.name();
        let (mut ids, mut paths) = (HashSet::new(), HashSet::new());
        for s in seen {
            if !ids.insert(s.id) || !paths.insert(s.path.as_str()) {
                return Err(Error::Duplicate {
                    rule,
                    path: s.path.clone(),
                });
            }
        }
        for g in &self.groups {
            let missed = !g.optional
                && !seen.iter().any(|s| {
                    g.contains(ParamInfo {
                        path: &s.path,
                        shape: &s.shape,
                    })
                });
            if let (true, Select::Pattern(pattern)) = (missed, &g.select) {
                return Err(Error::Configuration {
                    owner: rule,
                    message: format!(
                        "the group `{pattern}` matches none of the {} parameters of the model",
                        seen.len()
                    ),
                });
            }
        }
        Ok(())
    }

    /// Sets the hyperparameters of the step.
    fn refresh(&mut self) -> Result<()> {
        for cell in &mut self.cells {
            cell.cache = None;
            for (i, (setting, scale)) in cell.settings.iter().enumerate() {
                let h = &cell.rule.hypers()[i];
                let mut x = setting.at(self.step) * scale;
                if h.name == "lr" {
                    x *= self.lr_scale;
                }
                h.range.check(cell.rule.name(), h.name, x)?;
                cell.rule.put(i, x);
            }
        }
        Ok(())
    }

    /// Learning rate of the default group at the present step.
    pub(crate) fn lr(&self) -> f64 {
        match self.hyper("lr") {
            Ok(i) => self.settings[i].at(self.step) * self.lr_scale,
            Err(_) => f64::NAN,
        }
    }

    /// Writes what is kept for the parameters and the rule.
    pub(crate) fn save(&self, state: &mut OptimizerState) {
        let number = |(name, x): (&Scalar, &f64)| (name.0.to_string(), StateScalar::Number(*x));
        let globals = self.base.globals().iter().zip(&self.globals);
        state
            .scalars
            .insert("step".to_string(), StateScalar::Count(self.step));
        state.scalars.extend(globals.map(number));
        for e in self.entries.iter().filter(|e| e.trainable) {
            let names = self.base.scalars().iter().zip(&e.scalars);
            let mut scalars: BTreeMap<_, _> = names.map(number).collect();
            scalars.insert("t".to_string(), StateScalar::Count(e.t));
            let tensor = |s: &SlotData<T>| {
                let values = StateTensor::of(s.data.as_slice(), &s.shape);
                (s.name.to_string(), values)
            };
            let tensors = e.slots.iter().map(tensor).collect();
            let param = ParamState { scalars, tensors };
            state.params.insert(e.path.clone(), param);
        }
    }

    /// Takes the place of the present state if `commit` is set and nothing is wrong; changes nothing otherwise and
    /// reports every problem to `check`.
    ///
    /// `extra` names the scalars of the state that are not this part's.
    pub(crate) fn load<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        state: &OptimizerState,
        extra: &[&str],
        mut check: Checker,
        commit: bool,
    ) -> Result<()> {
        check.kind(state, self.base.name());
        let mut known: Vec<&str> = vec!["step"];
        known.extend(extra);
        known.extend(self.base.globals().iter().map(|g| g.0));
        check.names("the state", state.scalars.keys(), &known);
        let step = check.count("the state", &state.scalars, "step");
        let globals: SmallVec<[f64; 4]> = self
            .base
            .globals()
            .iter()
            .map(|g| check.number("the state", &state.scalars, g.0))
            .collect();
        // Plan anew beside the old entries, so that these can come back.
        let old = (
            std::mem::take(&mut self.entries),
            std::mem::take(&mut self.cells),
            self.stale,
        );
        let planned = self.replan(model);
        if planned.is_ok() {
            self.load_entries(state, step, &mut check);
        } else {
            check.absorb("the model", planned);
        }
        let result = check.finish();
        if commit && result.is_ok() {
            self.step = step;
            self.globals = globals;
        } else {
            (self.entries, self.cells, self.stale) = old;
        }
        result
    }

    fn load_entries(&mut self, state: &OptimizerState, step: u64, check: &mut Checker) {
        // An optimizer that has not stepped knows no parameters.
        let fresh = state.params.is_empty() && step == 0;
        for path in state.params.keys() {
            match self.entries.iter().find(|e| e.path == *path) {
                None => check.problem(format!("`{path}`: the model has no such parameter")),
                Some(e) if !e.trainable => {
                    check.problem(format!("`{path}`: the parameter is frozen in the model"));
                }
                Some(_) => {}
            }
        }
        for e in self.entries.iter_mut().filter(|e| e.trainable) {
            let Some(saved) = state.params.get(&e.path) else {
                if !fresh {
                    check.problem(format!("`{}`: the state has no such parameter", e.path));
                }
                continue;
            };
            let rule = &*self.cells[e.cell].rule;
            let what = format!("`{}`", e.path);
            e.t = check.count(&what, &saved.scalars, "t");
            // A parameter that never had a gradient has a step count and nothing else.
            let started = e.t > 0 || !saved.tensors.is_empty() || saved.scalars.len() > 1;
            let mut names = vec!["t"];
            if started {
                names.extend(rule.scalars().iter().map(|s| s.0));
            }
            check.names(&what, saved.scalars.keys(), &names);
            if !started {
                continue;
            }
            e.scalars = rule
                .scalars()
                .iter()
                .map(|s| check.number(&what, &saved.scalars, s.0))
                .collect();
            let slots = rule.slots(&e.shape);
            let names: Vec<&str> = slots.iter().map(|s| s.name).collect();
            check.names(&what, saved.tensors.keys(), &names);
            e.slots.clear();
            for slot in slots {
                let shape = slot.shape.unwrap_or_else(|| e.shape.clone());
                let Some(t) = check.tensor::<T>(&e.path, &saved.tensors, slot.name, &shape) else {
                    continue;
                };
                let mut data = Storage::zeroed("optimizer state", t.numel()).or_panic();
                t.copy_into(data.as_mut_slice());
                e.slots.push(SlotData {
                    name: slot.name,
                    shape,
                    data,
                });
            }
            e.ready = true;
        }
    }

    /// The hyperparameters that a parameter is updated with at the present step.
    pub(crate) fn hypers_of(&self, path: &str) -> Option<Vec<(&'static str, f64)>> {
        let entry = self.entries.iter().find(|e| e.path == path)?;
        let cell = &self.cells[entry.cell];
        let values = cell.settings.iter().zip(cell.rule.hypers());
        Some(
            values
                .map(|((s, scale), h)| {
                    let lr = if h.name == "lr" { self.lr_scale } else { 1.0 };
                    (h.name, s.at(self.step) * scale * lr)
                })
                .collect(),
        )
    }

    /// A copy of the model in which `f` has written every parameter with state, from its hyperparameters, slots and
    /// values.
    pub(crate) fn averaged<M: Module<T> + Clone>(
        &self,
        model: &M,
        f: &dyn Fn(&[(&'static str, f64)], &[SlotData<T>], &[T], &mut [T]),
    ) -> M {
        struct Write<'a, T: Real> {
            core: &'a Core<T>,
            f: &'a dyn Fn(&[(&'static str, f64)], &[SlotData<T>], &[T], &mut [T]),
        }
        impl<T: Real> VisitorMut<T> for Write<'_, T> {
            fn param(&mut self, path: &str, param: &mut Param<T>) {
                let entry = self.core.entries.iter().find(|e| e.path == path);
                if let Some(e) = entry.filter(|e| e.ready && e.shape.as_slice() == param.shape()) {
                    let hypers = self.core.hypers_of(path).unwrap_or_default();
                    let values = param.value().to_vec();
                    let out = param.value_mut().as_mut_slice();
                    (self.f)(&hypers, &e.slots, &values, out);
                }
            }
        }
        let mut copy = model.clone();
        copy.visit_mut(&mut Path::new(), &mut Write { core: self, f });
        copy
    }

    /// `slot ← f(slot, estimate)` for every trainable parameter that has an estimate.
    pub(crate) fn fold_into_slot<M: Module<T> + ?Sized>(
        &mut self,
        model: &M,
        estimate: &Gradients<T>,
        slot: usize,
        f: &dyn Fn(f64, f64) -> f64,
    ) -> Result<()> {
        struct Fold<'a, T: Real> {
            core: &'a mut Core<T>,
            estimate: &'a Gradients<T>,
            slot: usize,
            f: &'a dyn Fn(f64, f64) -> f64,
            error: Option<Error>,
        }
        impl<T: Real> Visitor<T> for Fold<'_, T> {
            fn param(&mut self, path: &str, param: &Param<T>) {
                let Some(x) = self.estimate.get(param) else {
                    return;
                };
                let entry = self.core.entries.iter_mut().find(|e| e.id == param.id());
                let Some(e) = entry.filter(|e| e.trainable) else {
                    return;
                };
                let rule = &*self.core.cells[e.cell].rule;
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
                let data = e.slots[self.slot].data.as_mut_slice();
                for (s, x) in data.iter_mut().zip(x.iter()) {
                    *s = T::from_f64((self.f)(s.as_f64(), x.as_f64()));
                }
            }
        }
        if self.stale || !self.matches(model) {
            self.replan(model)?;
        }
        let mut fold = Fold {
            core: self,
            estimate,
            slot,
            f,
            error: None,
        };
        model.visit(&mut Path::new(), &mut fold);
        fold.error.map_or(Ok(()), Err)
    }

    /// One update of every trainable parameter that has a gradient.
    pub(crate) fn update<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
        grads: &Gradients<T>,
    ) -> Result<()> {
        // Rules that sum over the model must not notice in the middle that the model has changed.
        if self.stale || (self.base.scope(&[]) == Scope::Model && !self.matches(model)) {
            self.replan(model)?;
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
            self.replan(model)?;
            self.refresh()?;
            from = at;
        }
        self.step += 1;
        Ok(())
    }

    fn matches<M: Module<T> + ?Sized>(&self, model: &M) -> bool {
        let mut look = Look(Vec::new());
        model.visit(&mut Path::new(), &mut look);
        look.0.len() == self.entries.len()
            && look.0.iter().zip(&self.entries).all(|(s, e)| {
                s.id == e.id && s.path == e.path && s.shape == e.shape && s.trainable == e.trainable
            })
    }

    /// Updates the parameters from index `from` on; returns the first index that does not match the entries.
    fn visit<M: Module<T> + ?Sized>(
        &mut self,
        model: &mut M,
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
            let run = self.ops.run;
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
    fn new(core: &'a mut Core<T>, grads: &'a Gradients<T>, phase: Phase, from: usize) -> Self {
        Walk {
            core,
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
