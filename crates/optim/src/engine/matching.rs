//! Which state belongs to which parameter.

use super::walk::prepare;
use super::{Engine, Entry, Show};
use crate::error::{Error, Result};
use crate::groups::{Group, ParamInfo, Select};
use crate::hub::Hub;
use wengert_autograd::{Param, ParamId, Visitor};
use wengert_tensor::order::repeated;
use wengert_tensor::{Dims, Real};

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

/// Completes the state of parameters that had steps.
struct Prepare<'a, T: Real>(&'a mut Engine<T>, usize);

impl<T: Real> Visitor<T> for Prepare<'_, T> {
    fn param(&mut self, _path: &str, param: &Param<T>) {
        let Prepare(engine, at) = self;
        let entry = &mut engine.entries[*at];
        *at += 1;
        if entry.t > 0 && !entry.ready {
            prepare(entry, &*engine.cells[entry.cell].rule, param.value());
        }
    }
}

impl<T: Hub> Engine<T> {
    /// Matches entries with the parameters of the model: by identity first, then by path; an entry whose shape
    /// changed begins anew, one whose parameter is gone goes.
    pub(super) fn replan(&mut self, show: Show<'_, T>) -> Result<()> {
        let mut look = Look(Vec::new());
        show(&mut look);
        let seen = look.0;
        check_seen(self.base.name(), &self.groups, &seen)?;
        let mut old: Vec<Option<Entry<T>>> = self.entries.drain(..).map(Some).collect();
        let mut found: Vec<Option<Entry<T>>> = seen.iter().map(|_| None).collect();
        // The order seldom changes much, so an entry mostly stands where the last one was found, or behind it.
        for by_id in [true, false] {
            let mut near = 0;
            for (s, f) in seen.iter().zip(&mut found).filter(|(_, f)| f.is_none()) {
                let fits = |i: &usize| {
                    old[*i].as_ref().is_some_and(|e| {
                        if by_id {
                            e.id == s.id
                        } else {
                            e.path == s.path
                        }
                    })
                };
                if let Some(at) = (near..old.len()).chain(0..near).find(fits) {
                    *f = old[at].take();
                    near = at + 1;
                }
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
            let slots = self.cells[cell].rule.slots(&entry.shape);
            let same = slots
                .iter()
                .map(|s| s.name)
                .eq(entry.slots.iter().map(|s| s.name));
            entry.ready &= same;
            self.entries.push(entry);
        }
        self.stale = false;
        // What was switched on since: at once, so that a saved state is whole.
        if self.entries.iter().any(|e| e.t > 0 && !e.ready) {
            show(&mut Prepare(self, 0));
        }
        Ok(())
    }

    /// Whether the model shows exactly the parameters that are known.
    pub(super) fn matches(&self, show: Show<'_, T>) -> bool {
        let mut look = Look(Vec::new());
        show(&mut look);
        look.0.len() == self.entries.len()
            && look.0.iter().zip(&self.entries).all(|(s, e)| {
                s.id == e.id && s.path == e.path && s.shape == e.shape && s.trainable == e.trainable
            })
    }
}

fn check_seen(rule: &'static str, groups: &[Group], seen: &[Seen]) -> Result<()> {
    if seen.is_empty() {
        return Err(Error::Configuration {
            owner: rule,
            message: "the model shows no parameters".to_string(),
        });
    }
    let id = repeated(seen.len(), &|a, b| seen[a].id.cmp(&seen[b].id));
    let path = repeated(seen.len(), &|a, b| seen[a].path.cmp(&seen[b].path));
    if let Some(i) = id.into_iter().chain(path).min() {
        return Err(Error::Duplicate {
            rule,
            path: seen[i].path.clone(),
        });
    }
    for g in groups {
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
