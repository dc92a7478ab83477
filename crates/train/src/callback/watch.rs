//! Callbacks that watch a column.

use super::{Callback, Run};
use crate::error::{Error, Result, can_write};
use crate::history::{History, Row};
use std::path::PathBuf;
use wengert_autograd::{Float, Module};
use wengert_nn::state::{Checkpoint, LoadOptions, StateExt, Value};

/// The best value of a column so far.
#[derive(Clone, Debug)]
struct Best {
    column: String,
    maximize: bool,
    margin: f64,
    value: f64,
    step: u64,
}

impl Best {
    fn new(column: impl Into<String>, maximize: bool) -> Self {
        Best {
            column: column.into(),
            maximize,
            margin: 0.0,
            value: f64::NAN,
            step: 0,
        }
    }

    /// Whether the row has the column, and if so whether it is better than ever, which is noted.
    fn look(&mut self, row: &Row) -> Option<bool> {
        let x = row.get(&self.column)?;
        let better = if x.is_nan() {
            false
        } else if self.value.is_nan() {
            true
        } else if self.maximize {
            x > self.value + self.margin
        } else {
            x < self.value - self.margin
        };
        if better {
            (self.value, self.step) = (x, row.step);
        }
        Some(better)
    }

    fn to_value(&self, kind: &str, more: Vec<(&str, Value)>) -> Value {
        let mut members = vec![
            ("kind", Value::from(kind)),
            ("column", Value::from(self.column.as_str())),
            ("best", Value::from(self.value)),
            ("step", Value::from(self.step)),
        ];
        members.extend(more);
        Value::map(members)
    }

    /// Takes back what `to_value` wrote, and returns the whole.
    fn read<'a>(&mut self, from: &'a Checkpoint, section: &str, kind: &str) -> Result<&'a Value> {
        let wrong = || {
            Error::resume(format!(
                "section `{section}` is not that of a callback `{kind}` on `{}`",
                self.column
            ))
        };
        let v = from.value(section).ok_or_else(wrong)?;
        let text = |name| v.get(name).and_then(Value::as_str);
        if text("kind") != Some(kind) || text("column") != Some(&self.column) {
            return Err(wrong());
        }
        let best = v.get("best").and_then(Value::as_f64).ok_or_else(wrong)?;
        let step = v.get("step").and_then(Value::as_u64).ok_or_else(wrong)?;
        (self.value, self.step) = (best, step);
        Ok(v)
    }
}

/// Ends the run when a column has not improved for a number of rows.
///
/// A value NaN is not an improvement; rows without the column (epochs without a validation) do not count.
///
/// ```
/// use wengert_train::EarlyStopping;
/// let patient = EarlyStopping::minimize("val_loss", 5).min_delta(1e-3).restore_best();
/// # let _ = patient;
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    best: Best,
    patience: u64,
    waited: u64,
    restore: bool,
    kept: Option<Checkpoint>,
}

impl EarlyStopping {
    /// For a column that should fall; ends after `patience` rows in sequence without improvement (0: at the first).
    pub fn minimize(column: impl Into<String>, patience: u64) -> Self {
        EarlyStopping {
            best: Best::new(column, false),
            patience,
            waited: 0,
            restore: false,
            kept: None,
        }
    }

    /// For a column that should rise.
    pub fn maximize(column: impl Into<String>, patience: u64) -> Self {
        let mut new = Self::minimize(column, patience);
        new.best.maximize = true;
        new
    }

    /// By how much the best must be beaten; default 0.
    ///
    /// # Panics
    /// When it is negative or not finite: nothing, or everything, would be an improvement.
    #[track_caller]
    pub fn min_delta(mut self, margin: f64) -> Self {
        assert!(
            margin >= 0.0 && margin.is_finite(),
            "EarlyStopping: min_delta must be finite and at least 0, found {margin}"
        );
        self.best.margin = margin;
        self
    }

    /// Brings the weights (and buffers) of the best row back when `fit` ends, whatever ended it.
    ///
    /// With averaged weights those are the averaged ones of that row. The running average itself stays as it is, and
    /// [`Trainer::evaluate`](crate::Trainer::evaluate) goes on to judge it; the best are in `trainer.model`.
    pub fn restore_best(mut self) -> Self {
        self.restore = true;
        self
    }
}

const EARLY: &str = "early_stopping";

impl<M: Module<T>, T: Float> Callback<M, T> for EarlyStopping {
    fn start(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        History::check_column(&self.best.column, run.columns)
    }

    fn row(&mut self, run: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        match self.best.look(row) {
            None => {}
            Some(true) => {
                self.waited = 0;
                if self.restore {
                    let mut kept = Checkpoint::new();
                    kept.put_model("", &*run.model);
                    self.kept = Some(kept);
                }
            }
            Some(false) => {
                self.waited += 1;
                if self.waited > self.patience {
                    run.stop(format!(
                        "{} has not improved on {:.6} since step {}",
                        self.best.column, self.best.value, self.best.step
                    ));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        if let Some(kept) = &self.kept {
            kept.load_model("", run.model, &LoadOptions::default())?;
        }
        Ok(())
    }

    fn save(&self, checkpoint: &mut Checkpoint, section: &str) {
        let more = vec![("waited", Value::from(self.waited))];
        checkpoint.put_value(section, self.best.to_value(EARLY, more));
        if let Some(kept) = &self.kept {
            for (path, t) in kept.tensors("") {
                checkpoint.put_tensor(section, path, t.clone());
            }
        }
    }

    fn load(&mut self, checkpoint: &Checkpoint, section: &str) -> Result<()> {
        let v = self.best.read(checkpoint, section, EARLY)?;
        self.waited = v.get("waited").and_then(Value::as_u64).unwrap_or(0);
        let mut kept = Checkpoint::new();
        for (path, t) in checkpoint.tensors(section) {
            kept.put_tensor("", path, t.clone());
        }
        self.kept = (!kept.sections().is_empty()).then_some(kept);
        Ok(())
    }
}

/// Writes the model to a file whenever a column is better than ever; `model.load(path)` reads it.
///
/// The file is replaced in one step. Weights that hold NaN are never written. `fit` errs before the first step when the
/// file could not be written.
#[derive(Clone, Debug)]
pub struct KeepBest {
    best: Best,
    path: PathBuf,
}

impl KeepBest {
    /// For a column that should fall.
    pub fn minimize(column: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        KeepBest {
            best: Best::new(column, false),
            path: path.into(),
        }
    }

    /// For a column that should rise.
    pub fn maximize(column: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        KeepBest {
            best: Best::new(column, true),
            path: path.into(),
        }
    }
}

const KEEP: &str = "keep_best";

impl<M: Module<T>, T: Float> Callback<M, T> for KeepBest {
    fn start(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        History::check_column(&self.best.column, run.columns)?;
        can_write("KeepBest", &self.path)
    }

    fn row(&mut self, run: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        let before = self.best.clone();
        if self.best.look(row) == Some(true) {
            let written = match crate::trainer::nan_in(&*run.model) {
                None => run.model.save(&self.path).map_err(Error::from),
                Some(path) => Err(Error::NanWeights {
                    step: run.step,
                    path,
                    file: self.path.clone(),
                }),
            };
            if written.is_err() {
                self.best = before;
            }
            return written;
        }
        Ok(())
    }

    fn save(&self, checkpoint: &mut Checkpoint, section: &str) {
        checkpoint.put_value(section, self.best.to_value(KEEP, vec![]));
    }

    fn load(&mut self, checkpoint: &Checkpoint, section: &str) -> Result<()> {
        self.best.read(checkpoint, section, KEEP).map(|_| ())
    }
}

/// Tells a column to the optimizer, whose plateau rule
/// ([`Optimizer::reduce_on_plateau`](wengert_optim::Optimizer::reduce_on_plateau)) lowers the learning rate.
#[derive(Clone, Debug)]
pub struct ReduceOnPlateau {
    column: String,
}

impl ReduceOnPlateau {
    /// On this column; whether it should fall or rise is said in the optimizer's rule.
    pub fn new(column: impl Into<String>) -> Self {
        ReduceOnPlateau {
            column: column.into(),
        }
    }
}

impl<M, T: Float> Callback<M, T> for ReduceOnPlateau {
    fn start(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        History::check_column(&self.column, run.columns)
    }

    fn row(&mut self, run: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        if let Some(x) = row.get(&self.column) {
            run.optimizer.observe(x);
        }
        Ok(())
    }
}
