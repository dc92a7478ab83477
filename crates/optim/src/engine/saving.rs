//! State into a checkpoint and back.

use super::{Engine, Show};
use crate::Entries;
use crate::error::Result;
use crate::hub::Hub;
use crate::rule::{Scalar, SlotData};
use crate::state::{Checker, OptimizerState, ParamState, StateScalar, StateTensor, scalars};
use smallvec::SmallVec;
use wengert_tensor::Storage;
use wengert_tensor::error::OrPanic;

/// Writes numbers under their names.
fn numbers(map: &mut Entries<StateScalar>, names: &[Scalar], values: &[f64]) {
    for (name, x) in names.iter().zip(values) {
        map.insert(name.0.to_string(), StateScalar::Number(*x));
    }
}

/// An optimizer that has not stepped knows no parameters.
fn never_stepped(state: &OptimizerState, step: u64) -> bool {
    state.params.is_empty() && step == 0
}

impl<T: Hub> Engine<T> {
    /// Everything that a run needs to go on, except for the configuration.
    pub(crate) fn save(&self) -> OptimizerState {
        let mut state = OptimizerState::new(self.base.name());
        state.scalars = scalars(&[
            ("step", StateScalar::Count(self.step)),
            ("skipped", StateScalar::Count(self.skipped)),
            ("lr_scale", StateScalar::Number(self.lr_scale)),
        ]);
        if let Some(p) = &self.plateau {
            let mut put = |name: &str, x| drop(state.scalars.insert(name.to_string(), x));
            put("plateau_best", StateScalar::Number(p.best));
            put("plateau_bad", StateScalar::Count(p.bad));
            put("plateau_cooling", StateScalar::Count(p.cooling));
        }
        numbers(&mut state.scalars, self.base.globals(), &self.globals);
        for e in self.entries.iter().filter(|e| e.trainable) {
            let mut param = ParamState::default();
            numbers(&mut param.scalars, self.base.scalars(), &e.scalars);
            let t = StateScalar::Count(e.t);
            param.scalars.insert("t".to_string(), t);
            for s in &e.slots {
                let values = StateTensor::of(s.data.as_slice(), &s.shape);
                param.tensors.insert(s.name.to_string(), values);
            }
            state.params.insert(e.path.clone(), param);
        }
        state
    }

    /// Takes a state over if `commit` is set and nothing is wrong with it; changes nothing otherwise. The error lists
    /// every problem.
    pub(crate) fn load(
        &mut self,
        show: Show<'_, T>,
        state: &OptimizerState,
        commit: bool,
    ) -> Result<()> {
        let what = "the state";
        let mut check = Checker::default();
        check.kind(state, self.base.name());
        check.no_parts(state);
        let mut known: Vec<&str> = vec!["step", "skipped", "lr_scale"];
        let step = check.count(what, &state.scalars, "step");
        let skipped = check.count(what, &state.scalars, "skipped");
        let lr_scale = check.number(what, &state.scalars, "lr_scale");
        let mut plateau = self.plateau.clone();
        if let Some(p) = &mut plateau {
            known.extend(["plateau_best", "plateau_bad", "plateau_cooling"]);
            p.best = check.number(what, &state.scalars, "plateau_best");
            p.bad = check.count(what, &state.scalars, "plateau_bad");
            p.cooling = check.count(what, &state.scalars, "plateau_cooling");
        }
        let names = self.base.globals().iter().map(|g| g.0);
        known.extend(names.clone());
        check.names(what, state.scalars.keys(), &known);
        let globals: SmallVec<[f64; 4]> = names
            .map(|g| check.number(what, &state.scalars, g))
            .collect();
        // Plan anew beside the old entries, so that these can come back.
        let old = (
            std::mem::take(&mut self.entries),
            std::mem::take(&mut self.cells),
            self.stale,
            std::mem::replace(&mut self.step, step),
        );
        let planned = self.replan(show);
        if planned.is_ok() {
            self.load_entries(state, step, &mut check);
        } else {
            check.absorb("the model", planned);
        }
        let result = check.finish();
        if commit && result.is_ok() {
            self.globals = globals;
            self.skipped = skipped;
            self.lr_scale = lr_scale;
            self.plateau = plateau;
            if never_stepped(state, step) {
                // As it was before its first step, when it knew no parameters.
                self.entries.clear();
                self.stale = true;
            }
        } else {
            (self.entries, self.cells, self.stale, self.step) = old;
        }
        result
    }

    fn load_entries(&mut self, state: &OptimizerState, step: u64, check: &mut Checker) {
        let fresh = never_stepped(state, step);
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
}
