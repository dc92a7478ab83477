//! The loop.

use super::{Driver, Trainer, afterwards, guard};
use crate::callback::{Callback, Run, Step};
use crate::error::{Error, Result, can_write};
use crate::history::{History, Row, Scores, Stop};
use crate::source::Source;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wengert_autograd::{Float, Gradients, Module};
use wengert_data::Batch;
use wengert_tensor::Tensor;

/// What stays the same while `fit` runs.
struct Frame<'s, B> {
    train: &'s dyn Source<B>,
    valid: Option<&'s dyn Source<B>>,
    epochs: u64,
    batches: u64,
    columns: Vec<String>,
    begun: Instant,
}

/// The backward pass of one batch.
struct Passed<T: Float> {
    grads: Gradients<T>,
    output: Option<Tensor<T>>,
}

impl<'a, M: Module<T>, B: Batch, T: Float> Trainer<'a, M, B, T> {
    /// Trains until `epochs` epochs are complete, counted over all calls and resumptions, or something ends it before.
    ///
    /// Returns the whole history, which [`Trainer::history`] also has when this errs.
    ///
    /// # Errors
    /// When a set has no batches, the data set, a callback, the optimizer or a file errs, a loss is not finite and the
    /// policy is to stop, memory is not to be had, or the loader is not the one of the checkpoint. The weights are those after the last step
    /// taken; another call goes on with the next batch. Before the first step, when the checkpoint could not be written.
    ///
    /// # Panics
    /// What the model, the loss, the data set or a callback panics with. A batch norm refuses a batch of one sample: use
    /// [`DataLoader::drop_last`](wengert_data::DataLoader::drop_last) where the last batch may be that short.
    pub fn fit<S: Source<B>>(
        &mut self,
        train: &S,
        valid: Option<&dyn Source<B>>,
        epochs: u64,
    ) -> Result<History> {
        let begun = Instant::now();
        let result = self.run(train, valid, epochs, begun);
        self.history.seconds = begun.elapsed().as_secs_f64();
        result.map(|()| self.history.clone())
    }

    fn run(
        &mut self,
        train: &dyn Source<B>,
        valid: Option<&dyn Source<B>>,
        epochs: u64,
        begun: Instant,
    ) -> Result<()> {
        let frame = Frame {
            train,
            valid,
            epochs,
            batches: train.batches() as u64,
            columns: self.columns(valid.is_some()),
            begun,
        };
        if frame.batches == 0 {
            return Err(Error::Empty {
                what: "training set",
            });
        }
        if valid.is_some_and(|v| v.batches() == 0) {
            return Err(Error::Empty {
                what: "validation set",
            });
        }
        self.check_columns()?;
        if let Some((path, _)) = &self.checkpoint {
            can_write("checkpoint", path)?;
        }
        self.check_loader(train)?;
        // So that a run which ends by an error can tell whether it goes on with the same loader.
        self.note_loader(train);
        // Micro-batches that an error left behind belong to a step that never was.
        self.accumulator.flush();
        let mut said = None;
        self.tell(&frame, &mut said, |c, run| c.start(run))?;
        let (begin, mut saved) = (self.at, None);
        let stop = loop {
            if let Some(stop) = self.reason(&frame, said.take()) {
                break stop;
            }
            if let Some(stop) = self.epoch(&frame, &mut saved)? {
                break stop;
            }
        };
        self.history.stop = stop;
        if let Some((path, _)) = self.checkpoint.clone()
            && saved != Some(self.at)
            && self.at != begin
        {
            self.save(path)?;
        }
        self.tell(&frame, &mut None, |c, run| c.finish(run))
    }

    /// Why the run is to end here, if it is.
    fn reason(&self, frame: &Frame<'_, B>, said: Option<String>) -> Option<Stop> {
        if let Some(reason) = said {
            return Some(Stop::Callback(reason));
        }
        if self.at.epoch >= frame.epochs {
            return Some(Stop::Epochs);
        }
        if self.max_steps.is_some_and(|n| self.at.step >= n) {
            return Some(Stop::Steps);
        }
        let raised = self.flag.as_ref();
        if raised.is_some_and(|f| f.load(Ordering::Relaxed)) {
            return Some(Stop::Requested);
        }
        let up = self.max_time.is_some_and(|t| frame.begun.elapsed() >= t);
        up.then_some(Stop::Time)
    }

    /// Calls every callback.
    fn tell(
        &mut self,
        frame: &Frame<'_, B>,
        said: &mut Option<String>,
        mut f: impl FnMut(&mut dyn Callback<M, T>, &mut Run<'_, M, T>) -> Result<()>,
    ) -> Result<()> {
        for c in &mut self.callbacks {
            let mut run = Run {
                model: &mut self.model,
                optimizer: self.driver.optimizer_mut(),
                history: &self.history,
                columns: &frame.columns,
                epoch: self.at.epoch,
                epochs: frame.epochs,
                batch: self.at.batch,
                batches: frame.batches,
                step: self.at.step,
                stop: said,
            };
            f(&mut **c, &mut run)?;
        }
        Ok(())
    }

    /// The rest of an epoch.
    fn epoch(
        &mut self,
        frame: &Frame<'_, B>,
        saved: &mut Option<super::Position>,
    ) -> Result<Option<Stop>> {
        let epoch = self.at.epoch;
        if self.at.batch == 0 {
            self.metrics.iter_mut().for_each(|m| m.reset());
        }
        let mut said = None;
        let mut stream = frame.train.epoch(epoch, self.at.batch as usize);
        while self.at.batch < frame.batches {
            let number = self.at.batch;
            // Before the batch is made, so that a panic inside leaves the place behind the batch at fault.
            self.at.batch += 1;
            let Some(batch) = stream.next() else { break };
            let batch = batch.map_err(|source| Error::Data {
                epoch,
                batch: number,
                source,
            })?;
            let last = self.at.batch >= frame.batches;
            let step = self.at.step;
            let Some((loss, lr, grads)) = guard(step, || self.batch(&batch, last))? else {
                continue;
            };
            let taken = Step {
                loss,
                lr,
                grads: &grads,
            };
            self.tell(frame, &mut said, |c, run| c.step(run, &taken))?;
            drop(grads);
            if self.validate.at_step(self.at.step) {
                self.row(frame, &mut said, true)?;
            }
            if let Some((path, every)) = self.checkpoint.clone()
                && every.at_step(self.at.step)
            {
                self.save_at(frame.train, path)?;
                *saved = Some(self.at);
            }
            // At the end of an epoch its row comes first.
            if !last && let Some(stop) = self.reason(frame, said.take()) {
                self.note_loader(frame.train);
                return Ok(Some(stop));
            }
        }
        drop(stream);
        let done = epoch + 1;
        let last = done >= frame.epochs;
        // Not again where the row below was hindered and is asked for once more.
        if done > self.averaged {
            self.average.after_epoch(done, &self.model);
            self.averaged = done;
        }
        let rows = self.history.rows.len();
        let validate = self.validate.at_epoch(done, last);
        afterwards(
            self,
            |t| t.row(frame, &mut said, validate),
            |t, _| {
                // An epoch whose row stands is over, even if a callback erred or panicked at it.
                if t.history.rows.len() > rows {
                    t.at.epoch = done;
                    (t.at.batch, t.at.loss, t.at.weight) = (0, 0.0, 0.0);
                    t.note_loader(frame.train);
                }
                Ok(())
            },
        )?;
        if let Some((path, every)) = self.checkpoint.clone()
            && every.at_epoch(done, last)
        {
            self.save_at(frame.train, path)?;
            *saved = Some(self.at);
        }
        Ok(said.map(Stop::Callback))
    }

    /// Records a batch, and steps when it is the last of a step. Returns loss, learning rate and gradients of the step.
    fn batch(&mut self, batch: &B, last: bool) -> Result<Option<(f64, f64, Gradients<T>)>> {
        self.tape.reset();
        let mut ready = None;
        let Passed { grads, output } = self.pass(batch);
        let loss = grads.loss().as_f64();
        if loss.is_finite() {
            let weight = batch.rows().unwrap_or(1) as f64;
            self.at.loss += loss * weight;
            self.at.weight += weight;
            if let Some(output) = output {
                for m in &mut self.metrics {
                    m.update(&output, batch)?;
                }
            }
            ready = if self.every == 1 {
                Some(grads)
            } else {
                self.accumulator.add(&mut self.model, grads)
            };
        } else {
            drop(grads);
            self.leave_out(batch, loss, None)?;
        }
        if last && self.every > 1 && ready.is_none() {
            ready = self.accumulator.flush();
        }
        match ready {
            Some(grads) => self.step(batch, grads),
            None => Ok(None),
        }
    }

    /// Forward and backward of a batch on the tape, which was reset.
    fn pass(&mut self, batch: &B) -> Passed<T> {
        let recorded = self.objective.record(&self.model, &self.tape, batch);
        let output = recorded
            .output
            .filter(|_| self.training_metrics && !self.metrics.is_empty())
            .map(|o| o.keep());
        let grads = match &mut self.backward {
            Some(f) => f(recorded.loss, &self.model),
            None => recorded.loss.backward(),
        };
        Passed {
            grads,
            output: output.map(|o| o.value()),
        }
    }

    fn step(&mut self, batch: &B, first: Gradients<T>) -> Result<Option<(f64, f64, Gradients<T>)>> {
        let step = self.at.step;
        let refused = |source| Error::Optimizer { step, source };
        let loss = first.loss().as_f64();
        let mut grads = first;
        let mut before = None;
        if let Driver::Sharp(sam) = &mut self.driver {
            sam.ascend(&mut self.model, &grads);
            let masks = self.tape.step_index();
            self.tape.reset();
            self.tape.set_step_index(masks);
            let second = afterwards(
                self,
                |t| Ok(t.pass(batch)),
                |t, panicked| {
                    if panicked && let Driver::Sharp(sam) = &mut t.driver {
                        sam.retreat(&mut t.model);
                    }
                    Ok(())
                },
            )?;
            before = Some(std::mem::replace(&mut grads, second.grads));
        }
        let verdict = self.pipeline.try_apply(&self.model, &mut grads);
        let verdict = verdict.map(|r| r.skip.clone());
        let (report, grads) = match (&mut self.driver, before) {
            (Driver::Sharp(sam), Some(first)) => {
                if !matches!(verdict, Ok(None)) {
                    // Back from the worst point nearby, without a step.
                    sam.retreat(&mut self.model);
                }
                if let Some(found) = verdict.map_err(refused)? {
                    drop((first, grads));
                    self.leave_out(batch, loss, Some(found))?;
                    return Ok(None);
                }
                let report = sam.descend(&mut self.model, &first, grads);
                (report.map_err(refused)?, first)
            }
            (driver, _) => {
                if let Some(found) = verdict.map_err(refused)? {
                    drop(grads);
                    self.leave_out(batch, loss, Some(found))?;
                    return Ok(None);
                }
                let report = driver.optimizer_mut().try_step(&mut self.model, &grads);
                (report.map_err(refused)?, grads)
            }
        };
        if !report.applied {
            drop(grads);
            self.leave_out(batch, loss, report.non_finite.map(|f| *f))?;
            return Ok(None);
        }
        self.at.bad = 0;
        self.at.step += 1;
        self.history.steps = self.at.step;
        self.average.after_step(&self.model);
        Ok(Some((loss, report.lr, grads)))
    }

    /// Adds a row to the history, and tells it.
    fn row(
        &mut self,
        frame: &Frame<'_, B>,
        said: &mut Option<String>,
        validate: bool,
    ) -> Result<()> {
        let mut scores = vec![("loss".to_owned(), self.at.loss / self.at.weight)];
        if self.training_metrics {
            scores.extend(self.metrics.iter().flat_map(|m| m.values()));
        }
        self.with_judged(|t| t.judge_and_tell(frame, said, validate, scores))
    }

    fn judge_and_tell(
        &mut self,
        frame: &Frame<'_, B>,
        said: &mut Option<String>,
        validate: bool,
        mut scores: Vec<(String, f64)>,
    ) -> Result<()> {
        if let Some(valid) = frame.valid.filter(|_| validate) {
            let found = guard(self.at.step, || self.judge(valid))?;
            scores.extend(found.0.into_iter().map(|(n, x)| (format!("val_{n}"), x)));
        }
        let row = Row {
            epoch: self.at.epoch + 1,
            step: self.at.step,
            lr: self.driver.optimizer().lr(),
            scores: Scores(scores),
        };
        self.history.rows.push(row.clone());
        self.tell(frame, said, |c, run| c.row(run, &row))
    }
}
