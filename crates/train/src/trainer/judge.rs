//! Judging: losses and metrics over a set, without training.

use super::{Average, Trainer, afterwards, guard};
use crate::error::{Error, Result};
use crate::history::Scores;
use crate::source::Source;
use wengert_autograd::{Float, Module};
use wengert_data::Batch;
use wengert_optim::wrappers::apply_side_outputs;

impl<'a, M: Module<T>, B: Batch, T: Float> Trainer<'a, M, B, T> {
    /// Loss and metrics over a set, on an inference tape: dropout off, running statistics in use, averaged weights if
    /// the trainer averages. Nothing of the run changes.
    ///
    /// The loss is the mean over the batches, each counted by its samples. Batches are those of epoch 0, so the
    /// result does not depend on when it is asked for.
    ///
    /// # Errors
    /// When the set has no batches, or the data set or a metric errs.
    pub fn evaluate<S: Source<B>>(&mut self, set: &S) -> Result<Scores> {
        if set.batches() == 0 {
            return Err(Error::Empty { what: "set" });
        }
        self.check_columns()?;
        self.with_judged(|t| guard(t.at.step, || t.judge(set)))
    }

    /// Judges the weights that the model holds; the sums of the running epoch stay.
    pub(super) fn judge(&mut self, set: &dyn Source<B>) -> Result<Scores> {
        let saved: Vec<Vec<f64>> = self.metrics.iter().map(|m| m.state()).collect();
        let back = |t: &mut Self, _| {
            let mut metrics = t.metrics.iter_mut().zip(&saved);
            metrics.try_for_each(|(m, state)| m.restore(state))
        };
        afterwards(self, |t| t.count(set), back)
    }

    fn count(&mut self, set: &dyn Source<B>) -> Result<Scores> {
        self.metrics.iter_mut().for_each(|m| m.reset());
        let (mut sum, mut weight) = (0.0, 0.0);
        for (number, batch) in set.epoch(0, 0).enumerate() {
            let batch = batch.map_err(|source| Error::Data {
                epoch: 0,
                batch: number as u64,
                source,
            })?;
            self.judging.reset();
            let recorded = self.objective.record(&self.model, &self.judging, &batch);
            let scored = recorded.output.filter(|_| !self.metrics.is_empty());
            // The output first: the loss is computed from it, and it stays because it was asked for.
            if let Some(output) = scored.map(|o| o.value()) {
                for m in &mut self.metrics {
                    m.update(&output, &batch)?;
                }
            }
            let rows = batch.rows().unwrap_or(1) as f64;
            sum += recorded.loss.item().as_f64() * rows;
            weight += rows;
        }
        let mut scores = vec![("loss".to_owned(), sum / weight)];
        scores.extend(self.metrics.iter().flat_map(|m| m.values()));
        Ok(Scores(scores))
    }

    /// Estimates running statistics (of batch norms) anew by one pass over a set in training mode, without a step; of the
    /// averaged weights where the trainer averages.
    ///
    /// The statistics move by their own momentum from batch to batch, so that the last batches count most: with the
    /// usual 0.1, what was there before is worth 0.9ⁿ after n batches.
    ///
    /// # Errors
    /// When the set has no batches or errs.
    pub fn refresh_statistics<S: Source<B>>(&mut self, set: &S) -> Result<()> {
        if set.batches() == 0 {
            return Err(Error::Empty { what: "set" });
        }
        self.with_judged(|t| guard(t.at.step, || t.pass_over(set)))
    }

    fn pass_over(&mut self, set: &dyn Source<B>) -> Result<()> {
        let mut tape = wengert_autograd::Tape::training(self.seed);
        for (number, batch) in set.epoch(0, 0).enumerate() {
            let batch = batch.map_err(|source| Error::Data {
                epoch: 0,
                batch: number as u64,
                source,
            })?;
            tape.reset();
            let grads = self
                .objective
                .record(&self.model, &tape, &batch)
                .loss
                .backward();
            apply_side_outputs(&mut self.model, &grads);
        }
        Ok(())
    }
}

impl<T: Float> Average<T> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Average::None => "none",
            Average::Ema(_) => "ema",
            Average::Swa { .. } => "swa",
        }
    }
}
