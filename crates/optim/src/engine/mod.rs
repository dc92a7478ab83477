//! What an optimizer owns, without its rule's type: state per parameter, groups, hyperparameters, policies.
//!
//! Compiled here for `f32` and `f64` and reached through [`crate::hub`], so that crates which use an optimizer compile
//! thin wrappers only.

mod matching;
mod run;
mod saving;
mod special;
mod step;
mod walk;

pub(crate) use special::Rewrite;
pub(crate) use step::{locate, zero_non_finite};
pub(crate) use walk::{Walk, visit_param};

use crate::error::{Error, Result};
use crate::groups::{Change, Group, ParamInfo};
use crate::hub::{self, Hub};
use crate::optimizer::NonFinitePolicy;
use crate::rule::{Coefs, Range, Rule, SlotData};
use crate::schedule::{Plateau, Schedule};
use run::{Lent, Task};
use smallvec::SmallVec;
use std::sync::Arc;
use wengert_autograd::{ParamId, Path, Visitor};
use wengert_tensor::{Dims, Real, Tensor};

/// A visit of a model that is only read.
pub(crate) type Show<'a, T> = &'a dyn Fn(&mut dyn Visitor<T>);

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

/// Everything an optimizer owns.
pub(crate) struct Engine<T: Real> {
    /// [`visit_param`].
    param: fn(&mut Walk<'_, T>, &str, &mut wengert_autograd::Param<T>),
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
    pub policy: NonFinitePolicy,
    /// Largest global norm of the gradients.
    pub clip: Option<f64>,
    /// Whether every step takes the norm of the gradients.
    pub norm: bool,
    pub skipped: u64,
    pub plateau: Option<Plateau>,
    /// The groups or the set of parameters must be looked at again.
    stale: bool,
    lent: Vec<Lent<T>>,
    tasks: Vec<Task<'static, T>>,
    partial: Vec<(usize, crate::rule::Sums)>,
    scratch: Vec<T>,
    /// Factor on the gradients of the present step.
    grad_scale: f64,
    empty: Tensor<T>,
    path: Path,
    side_at: usize,
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

impl<T: Hub> Engine<T> {
    pub(crate) fn new(rule: Box<dyn Rule>) -> Self {
        let settings = (0..rule.hypers().len())
            .map(|i| Setting::Constant(rule.get(i)))
            .collect();
        let globals = rule.globals().iter().map(|g| g.1).collect();
        Engine {
            param: hub::param::<T>(),
            base: rule,
            settings,
            groups: Vec::new(),
            cells: Vec::new(),
            entries: Vec::new(),
            globals,
            step: 0,
            lr_scale: 1.0,
            policy: NonFinitePolicy::default(),
            clip: None,
            norm: false,
            skipped: 0,
            plateau: None,
            stale: true,
            lent: Vec::new(),
            tasks: Vec::new(),
            partial: Vec::new(),
            scratch: Vec::new(),
            grad_scale: 1.0,
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
        // What is switched on in the middle of a run needs memory in every parameter's state.
        self.stale |= base.slots(&[2, 2]) != self.base.slots(&[2, 2]);
        self.base = base;
        self.settings[i] = setting;
        self.rebuild_cells();
        Ok(())
    }

    /// One more group.
    pub(crate) fn group(&mut self, group: Group) -> Result<()> {
        let mut rule = self.base.boxed();
        for (name, change) in &group.changes {
            let i = self.hyper(name)?;
            let h = &self.base.hypers()[i];
            match change {
                Change::Set(s) => {
                    let x = h.range.check(self.base.name(), name, s.at(self.step))?;
                    rule.put(i, x);
                }
                Change::Scale(f) => drop(Range::NON_NEGATIVE.check("Group", name, *f)?),
            }
        }
        rule.check()?;
        self.groups.push(group);
        self.stale = true;
        Ok(())
    }

    /// Changes the rule itself.
    pub(crate) fn edit(&mut self, f: &mut dyn FnMut(&mut dyn Rule)) {
        f(&mut *self.base);
        self.rebuild_cells();
    }

    /// After a change of the base rule or its settings.
    fn rebuild_cells(&mut self) {
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
        // What a rule remembers may depend on its hyperparameters.
        for (i, (setting, scale)) in settings.iter().enumerate() {
            let x = setting.at(self.step) * scale;
            if rule.hypers()[i].range.contains(x) {
                rule.put(i, x);
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

    /// Value of a hyperparameter in the default group at the present step.
    pub(crate) fn hyper_now(&self, name: &str) -> Option<f64> {
        let i = self.hyper(name).ok()?;
        let x = self.settings[i].at(self.step);
        Some(if name == "lr" { x * self.lr_scale } else { x })
    }

    /// Learning rate of the default group at the present step.
    pub(crate) fn lr(&self) -> f64 {
        self.hyper_now("lr").unwrap_or(f64::NAN)
    }

    /// Takes a metric in; returns the learning rate.
    pub(crate) fn observe(&mut self, metric: f64) -> f64 {
        let lr = self.lr();
        if let Some(p) = &mut self.plateau {
            self.lr_scale *= p.observe(metric, lr);
        }
        self.lr()
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
}
