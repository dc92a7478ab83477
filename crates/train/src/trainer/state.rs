//! The state of a run: to a checkpoint and back.

use super::{Average, Driver, Position, Trainer, nan_in};
use crate::error::{Error, Result};
use crate::history::{Row, Scores};
use crate::source::Source;
use std::path::Path;
use wengert_autograd::{Float, Module};
use wengert_data::LoaderState;
use wengert_nn::state::{AnyTensor, Checkpoint, LoadOptions, Value};
use wengert_optim::OptimizerState;
use wengert_optim::state::{FlatState, StateScalar, StateTensor};
use wengert_tensor::Tensor;

/// Version of the layout of the section `trainer`.
const VERSION: u64 = 1;

/// `/` and `%` of a name in the form of addresses, because names in a file have no `/`.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> String {
    name.replace("%2F", "/").replace("%25", "%")
}

/// Writes the state of an optimizer into a section of its own.
pub(crate) fn put_state(out: &mut Checkpoint, section: &str, state: &OptimizerState) {
    let flat = state.to_flat();
    for (name, t) in flat.tensors {
        let t = match t {
            StateTensor::F32(t) => AnyTensor::F32(t),
            StateTensor::F64(t) => AnyTensor::F64(t),
        };
        out.put_tensor(section, &escape(&name), t);
    }
    let scalars = flat.scalars.into_iter().map(|(name, s)| {
        let v = match s {
            StateScalar::Count(n) => Value::from(n),
            StateScalar::Number(x) => Value::from(x),
            StateScalar::Text(t) => Value::from(t),
        };
        (name, v)
    });
    out.put_value(section, Value::map(scalars));
}

/// Reads it back.
pub(crate) fn get_state(from: &Checkpoint, section: &str) -> Result<OptimizerState> {
    let mut flat = FlatState::default();
    for (name, t) in from.tensors(section) {
        let t = match t {
            AnyTensor::F32(t) => StateTensor::F32(t.clone()),
            AnyTensor::F64(t) => StateTensor::F64(t.clone()),
            other => {
                return Err(Error::resume(format!(
                    "`{name}` of `{section}` holds {}",
                    other.dtype()
                )));
            }
        };
        flat.tensors.insert(unescape(name), t);
    }
    let members = from.value(section).and_then(Value::as_map);
    for (name, v) in
        members.ok_or_else(|| Error::resume(format!("there is no section `{section}`")))?
    {
        let s = match v {
            Value::Int(_) => v.as_u64().map(StateScalar::Count),
            Value::Float(x) => Some(StateScalar::Number(*x)),
            Value::Str(s) => Some(StateScalar::Text(s.clone())),
            _ => None,
        };
        let s = s.ok_or_else(|| {
            Error::resume(format!("`{name}` of `{section}` is not a number or a word"))
        })?;
        flat.scalars.insert(name.clone(), s);
    }
    OptimizerState::from_flat(&flat).map_err(|e| Error::resume(e.to_string()))
}

impl<'a, M: Module<T>, B, T: Float> Trainer<'a, M, B, T> {
    /// The state of the run as a document, between two calls of `fit`.
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut out = Checkpoint::new();
        out.put_model("model", &self.model);
        put_state(&mut out, "optimizer", &self.driver.optimizer().state());
        put_state(&mut out, "gradients", &self.pipeline.state());
        match &self.average {
            Average::None => {}
            Average::Ema(ema) => put_state(&mut out, "average", &ema.state()),
            Average::Swa { swa, .. } => put_state(&mut out, "average", &swa.state()),
        }
        for (i, m) in self.metrics.iter().enumerate() {
            let state = m.state();
            let n = state.len();
            out.put_tensor("metrics", &i.to_string(), Tensor::from_vec(state, [n]));
        }
        for (i, c) in self.callbacks.iter().enumerate() {
            c.save(&mut out, &format!("callback-{i}"));
        }
        let columns = self.history.columns();
        let (rows, width) = (self.history.rows.len(), columns.len());
        let cells = || {
            self.history
                .rows
                .iter()
                .flat_map(|r| columns.iter().map(|c| r.get(c)))
        };
        let values: Vec<f64> = cells().map(|x| x.unwrap_or(0.0)).collect();
        let present: Vec<bool> = cells().map(|x| x.is_some()).collect();
        out.put_tensor("history", "values", Tensor::from_vec(values, [rows, width]));
        out.put_tensor(
            "history",
            "present",
            Tensor::from_vec(present, [rows, width]),
        );
        let at = &self.at;
        // An error may have left the run behind the batch that was noted.
        let loader = self.expected.map(|l| LoaderState {
            epoch: at.epoch,
            batch: at.batch,
            ..l
        });
        let loader = loader.map(|l| l.to_words().to_vec());
        out.put_value(
            "trainer",
            Value::map([
                ("version", Value::from(VERSION)),
                ("epoch", Value::from(at.epoch)),
                ("batch", Value::from(at.batch)),
                ("step", Value::from(at.step)),
                ("loss", Value::from(at.loss)),
                ("weight", Value::from(at.weight)),
                ("bad", Value::from(at.bad)),
                ("skipped", Value::from(self.history.skipped)),
                ("seed", Value::from(self.seed)),
                ("tape_step", Value::from(self.tape.step_index())),
                ("accumulate", Value::from(self.every)),
                (
                    "sharpness_aware",
                    Value::from(matches!(self.driver, Driver::Sharp(_))),
                ),
                ("average", Value::from(self.average.name())),
                ("metrics", Value::from(self.metrics.len())),
                ("metric_names", Value::from(self.metric_names())),
                ("callbacks", Value::from(self.callbacks.len())),
                ("loader", loader.map_or(Value::Null, Value::from)),
                ("columns", Value::from(columns)),
            ]),
        );
        out
    }

    fn metric_names(&self) -> Vec<String> {
        let names = self.metrics.iter().flat_map(|m| m.values());
        names.map(|(name, _)| name).collect()
    }

    /// Writes the state of the run, between two calls of `fit`, replacing an old file in one step.
    ///
    /// # Errors
    /// When the model holds NaN (an old file stays as it is), or the system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if let Some(nan) = nan_in(&self.model) {
            return Err(Error::NanWeights {
                step: self.at.step,
                path: nan,
                file: path.to_owned(),
            });
        }
        Ok(self.to_checkpoint().save(path)?)
    }

    /// Goes on from a file that [`Trainer::save`] or [`Trainer::checkpoint`] wrote: the next `fit` continues where it was
    /// written.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is not one of a trainer with the same model, optimizer, metrics and
    /// callbacks; nothing is changed then.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.restore(&Checkpoint::load(path)?)
    }

    /// As [`Trainer::resume`] if the file exists; says whether it did.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn resume_if_exists(&mut self, path: impl AsRef<Path>) -> Result<bool> {
        let path = path.as_ref();
        if !path.exists() {
            return Ok(false);
        }
        self.resume(path).map(|()| true)
    }

    /// Goes on from a document that [`Trainer::to_checkpoint`] made.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn restore(&mut self, from: &Checkpoint) -> Result<()> {
        let read = self.read(from)?;
        let options = LoadOptions::default();
        let (before, noted) = (self.to_checkpoint(), self.history.non_finite.clone());
        if let Err(e) = self.take(from, read, &options) {
            // The parts that were already taken go back to what they were.
            if let Ok(read) = self.read(&before) {
                let _ = self.take(&before, read, &options.allow_nan(true));
            }
            self.history.non_finite = noted;
            return Err(e);
        }
        Ok(())
    }

    /// What can be read and checked before anything is changed.
    fn read(&self, from: &Checkpoint) -> Result<Read> {
        let missing =
            || Error::resume("it was not written by a trainer: there is no section `trainer`");
        let v = from.value("trainer").ok_or_else(missing)?;
        let bad = |name: &str| {
            Error::resume(format!(
                "`{name}` of the section `trainer` is missing or of another kind"
            ))
        };
        let count = |name: &str| v.get(name).and_then(Value::as_u64).ok_or_else(|| bad(name));
        let number = |name: &str| v.get(name).and_then(Value::as_f64).ok_or_else(|| bad(name));
        let same = |name: &str, here: u64| {
            let there = count(name)?;
            if here == there {
                return Ok(());
            }
            Err(Error::resume(format!(
                "`{name}` is {here} here and {there} there"
            )))
        };
        if count("version")? > VERSION {
            return Err(Error::resume(format!(
                "its version is {}, the newest known is {VERSION}",
                count("version")?
            )));
        }
        same("seed", self.seed)?;
        same("accumulate", self.every as u64)?;
        same("metrics", self.metrics.len() as u64)?;
        same("callbacks", self.callbacks.len() as u64)?;
        // Files of earlier versions have no names.
        if let Some(there) = v.get("metric_names").and_then(Value::as_list) {
            let there: Vec<&str> = there.iter().filter_map(Value::as_str).collect();
            let here = self.metric_names();
            if here != there {
                return Err(Error::resume(format!(
                    "the metrics are {here:?} here and {there:?} there"
                )));
            }
        }
        let sharp = matches!(self.driver, Driver::Sharp(_));
        if v.get("sharpness_aware").and_then(Value::as_bool) != Some(sharp) {
            return Err(Error::resume("one is sharpness-aware and the other is not"));
        }
        let average = v.get("average").and_then(Value::as_str).unwrap_or("");
        if average != self.average.name() {
            return Err(Error::resume(format!(
                "the average is `{}` here and `{average}` there",
                self.average.name()
            )));
        }
        let loader = match v.get("loader") {
            Some(Value::Null) => None,
            Some(Value::List(words)) => {
                let words: Vec<u64> = words.iter().filter_map(Value::as_u64).collect();
                let words: [u64; 6] = words.try_into().map_err(|_| bad("loader"))?;
                Some(LoaderState::from_words(words))
            }
            _ => return Err(bad("loader")),
        };
        // Steps are counted on from here.
        let place = |name: &str| match count(name)? {
            n if i64::try_from(n).is_ok() => Ok(n),
            _ => Err(bad(name)),
        };
        let at = Position {
            epoch: place("epoch")?,
            batch: place("batch")?,
            step: place("step")?,
            loss: number("loss")?,
            weight: number("weight")?,
            bad: place("bad")?,
        };
        if loader.is_some_and(|l| (l.epoch, l.batch) != (at.epoch, at.batch)) {
            return Err(bad("loader"));
        }
        let (tape_step, skipped) = (place("tape_step")?, count("skipped")?);
        let columns = v
            .get("columns")
            .and_then(Value::as_list)
            .ok_or_else(|| bad("columns"))?;
        Ok(Read {
            at,
            tape_step,
            skipped,
            loader,
            rows: read_rows(from, columns)?,
            optimizer: get_state(from, "optimizer")?,
            gradients: get_state(from, "gradients")?,
        })
    }

    fn take(&mut self, from: &Checkpoint, read: Read, options: &LoadOptions) -> Result<()> {
        let Read {
            at,
            tape_step,
            skipped,
            loader,
            rows,
            optimizer,
            gradients,
        } = read;
        from.load_model("model", &mut self.model, options)?;
        let step = at.step;
        let misfit = |source| Error::Optimizer { step, source };
        self.driver
            .optimizer_mut()
            .load_state(&self.model, &optimizer)
            .map_err(misfit)?;
        self.pipeline.load_state(&gradients).map_err(misfit)?;
        match &mut self.average {
            Average::None => {}
            Average::Ema(ema) => ema
                .load_state(&self.model, &get_state(from, "average")?)
                .map_err(misfit)?,
            Average::Swa { swa, .. } => swa
                .load_state(&self.model, &get_state(from, "average")?)
                .map_err(misfit)?,
        }
        for (i, m) in self.metrics.iter_mut().enumerate() {
            let state = from
                .tensor("metrics", &i.to_string())
                .and_then(AnyTensor::get::<f64>);
            let state = state
                .ok_or_else(|| Error::resume(format!("the state of metric {i} is missing")))?;
            m.restore(&state.to_vec())?;
        }
        for (i, c) in self.callbacks.iter_mut().enumerate() {
            c.load(from, &format!("callback-{i}"))?;
        }
        self.tape.set_step_index(tape_step);
        self.accumulator.flush();
        self.history.rows = rows;
        (self.history.steps, self.history.skipped) = (at.step, skipped);
        self.history.non_finite.clear();
        self.averaged = at.epoch;
        self.at = at;
        self.expected = loader;
        Ok(())
    }

    /// Writes the state in the middle of `fit`.
    pub(super) fn save_at(&mut self, train: &dyn Source<B>, path: impl AsRef<Path>) -> Result<()> {
        self.note_loader(train);
        self.save(path)
    }

    /// Notes where the loader stands, for the next checkpoint.
    pub(super) fn note_loader(&mut self, train: &dyn Source<B>) {
        self.expected = Some(train.state(self.at.epoch, self.at.batch));
    }

    /// Refuses a loader that would give other batches than those the run was interrupted in.
    pub(super) fn check_loader(&mut self, train: &dyn Source<B>) -> Result<()> {
        let Some(there) = self.expected else {
            return Ok(());
        };
        // Between two epochs another loader is a choice, in the middle of one a mistake. An error may have left the run
        // behind the batch that was noted.
        let there = LoaderState {
            batch: self.at.batch,
            ..there
        };
        let here = train.state(self.at.epoch, self.at.batch);
        if self.at.batch > 0 && here != there {
            return Err(Error::resume(format!(
                "the loader gives other batches than the one that the run was interrupted in: {here:?} here, {there:?} there"
            )));
        }
        Ok(())
    }
}

/// The parts of a state that are read before they are taken.
struct Read {
    at: Position,
    tape_step: u64,
    skipped: u64,
    loader: Option<LoaderState>,
    rows: Vec<Row>,
    optimizer: OptimizerState,
    gradients: OptimizerState,
}

fn read_rows(from: &Checkpoint, columns: &[Value]) -> Result<Vec<Row>> {
    let bad = || Error::resume("the section `history` is not whole");
    let names: Vec<&str> = columns.iter().filter_map(Value::as_str).collect();
    let values = from
        .tensor("history", "values")
        .and_then(AnyTensor::get::<f64>)
        .ok_or_else(bad)?;
    let present = from
        .tensor("history", "present")
        .and_then(AnyTensor::get::<bool>)
        .ok_or_else(bad)?;
    let whole = values.shape() == present.shape()
        && values.rank() == 2
        && values.shape()[1] == names.len()
        && names.starts_with(&["epoch", "step", "lr"]);
    if !whole {
        return Err(bad());
    }
    let (values, present) = (values.to_vec(), present.to_vec());
    let width = names.len();
    let rows = values.chunks_exact(width).zip(present.chunks_exact(width));
    Ok(rows
        .map(|(x, there)| Row {
            epoch: x[0] as u64,
            step: x[1] as u64,
            lr: x[2],
            scores: Scores(
                (3..width)
                    .filter(|&i| there[i])
                    .map(|i| (names[i].to_owned(), x[i]))
                    .collect(),
            ),
        })
        .collect())
}
