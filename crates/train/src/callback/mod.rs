//! What happens beside the steps: stopping, keeping, logging, showing.
//!
//! | callback | |
//! |---|---|
//! | [`EarlyStopping`] | ends the run when a column stops improving; can bring the best weights back |
//! | [`KeepBest`] | writes the weights to a file whenever a column is better than ever |
//! | [`ReduceOnPlateau`] | tells a column to the optimizer's plateau rule |
//! | [`ProgressLine`] | one line on standard error |
//! | [`CsvLog`], [`JsonLog`] | the history as a file that grows with the run |
//! | [`OnRow`], [`OnStep`] | a closure (see [`Trainer::on_row`](crate::Trainer::on_row)) |
//!
//! What a callback must remember to go on after a resumption, it writes into the checkpoint.

mod log;
mod progress;
mod watch;

pub use log::{CsvLog, JsonLog};
pub use progress::ProgressLine;
pub use watch::{EarlyStopping, KeepBest, ReduceOnPlateau};

use crate::error::Result;
use crate::history::{History, Row};
use wengert_autograd::{Float, Gradients};
use wengert_nn::Checkpoint;
use wengert_nn::state::Value;
use wengert_optim::Optimize;

/// Where a run stands, and the parts of it that a callback may look at and change.
pub struct Run<'a, M, T: Float = f32> {
    /// The model. In [`Callback::row`] it holds the weights that were just judged, which are the averaged ones if the
    /// trainer averages.
    pub model: &'a mut M,
    /// The optimizer.
    pub optimizer: &'a mut dyn Optimize<T>,
    /// Everything so far.
    pub history: &'a History,
    /// Names of the columns that rows of this run have.
    pub columns: &'a [String],
    /// The epoch, from 0.
    pub epoch: u64,
    /// Epochs that were asked for.
    pub epochs: u64,
    /// Batches of this epoch that are done.
    pub batch: u64,
    /// Batches of an epoch.
    pub batches: u64,
    /// Optimizer steps taken.
    pub step: u64,
    pub(crate) stop: &'a mut Option<String>,
}

impl<M, T: Float> Run<'_, M, T> {
    /// Ends the run after this step; `fit` returns, the reason stands in the history.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }
}

/// An optimizer step that was just taken.
pub struct Step<'a, T: Float = f32> {
    /// The loss, of all micro-batches of the step.
    pub loss: f64,
    /// The learning rate that was used.
    pub lr: f64,
    /// The gradients as the optimizer got them; with sharpness-aware steps those of the first pass.
    pub grads: &'a Gradients<T>,
}

/// Something that happens beside the steps; every method does nothing unless it is given.
pub trait Callback<M, T: Float = f32> {
    /// `fit` begins, or goes on after a resumption.
    ///
    /// # Errors
    /// What hinders it; `fit` returns it.
    fn start(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        let _ = run;
        Ok(())
    }

    /// An optimizer step was taken.
    ///
    /// # Errors
    /// What hinders it; `fit` returns it.
    fn step(&mut self, run: &mut Run<'_, M, T>, step: &Step<'_, T>) -> Result<()> {
        let _ = (run, step);
        Ok(())
    }

    /// A row was added to the history: the end of an epoch, or a validation.
    ///
    /// # Errors
    /// What hinders it; `fit` returns it.
    fn row(&mut self, run: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        let _ = (run, row);
        Ok(())
    }

    /// `fit` ends in good order.
    ///
    /// # Errors
    /// What hinders it; `fit` returns it.
    fn finish(&mut self, run: &mut Run<'_, M, T>) -> Result<()> {
        let _ = run;
        Ok(())
    }

    /// Writes what must be remembered into a section of a checkpoint.
    fn save(&self, checkpoint: &mut Checkpoint, section: &str) {
        checkpoint.put_value(section, Value::Null);
    }

    /// Takes it back.
    ///
    /// # Errors
    /// When the section is not one of this callback.
    fn load(&mut self, checkpoint: &Checkpoint, section: &str) -> Result<()> {
        let _ = (checkpoint, section);
        Ok(())
    }
}

/// A closure that is called with every row.
pub struct OnRow<F>(
    /// The closure.
    pub F,
);

impl<M, T: Float, F: FnMut(&mut Run<'_, M, T>, &Row) -> Result<()>> Callback<M, T> for OnRow<F> {
    fn row(&mut self, run: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        (self.0)(run, row)
    }
}

/// A closure that is called after every optimizer step.
pub struct OnStep<F>(
    /// The closure.
    pub F,
);

impl<M, T: Float, F: FnMut(&mut Run<'_, M, T>, &Step<'_, T>) -> Result<()>> Callback<M, T>
    for OnStep<F>
{
    fn step(&mut self, run: &mut Run<'_, M, T>, step: &Step<'_, T>) -> Result<()> {
        (self.0)(run, step)
    }
}
