//! A line that tells how far the run is.

use super::{Callback, Run, Step};
use crate::error::Result;
use crate::history::Row;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use wengert_autograd::Float;

/// One line on standard error: on a terminal it is written over in place while an epoch runs; elsewhere each row is a line of
/// its own.
#[derive(Debug)]
pub struct ProgressLine {
    terminal: bool,
    shown: Option<Instant>,
    begun: Instant,
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressLine {
    /// On standard error.
    pub fn new() -> Self {
        ProgressLine {
            terminal: std::io::stderr().is_terminal(),
            shown: None,
            begun: Instant::now(),
        }
    }

    fn show(&self, text: &str, end: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        // A closed standard error is no reason to end a run.
        let _ = write!(std::io::stderr(), "{clear}{text}{end}");
        let _ = std::io::stderr().flush();
    }
}

impl<M, T: Float> Callback<M, T> for ProgressLine {
    fn start(&mut self, _: &mut Run<'_, M, T>) -> Result<()> {
        self.begun = Instant::now();
        Ok(())
    }

    fn step(&mut self, run: &mut Run<'_, M, T>, step: &Step<'_, T>) -> Result<()> {
        let due = |t: Instant| t.elapsed() >= Duration::from_millis(100);
        if self.terminal && self.shown.is_none_or(due) {
            self.shown = Some(Instant::now());
            let text = format!(
                "epoch {}/{}, batch {}/{}, loss {:.4}",
                run.epoch + 1,
                run.epochs,
                run.batch,
                run.batches,
                step.loss
            );
            self.show(&text, "");
        }
        Ok(())
    }

    fn row(&mut self, run: &mut Run<'_, M, T>, row: &Row) -> Result<()> {
        let text = format!(
            "epoch {}/{}, step {}, {} ({:.1} s)",
            row.epoch,
            run.epochs,
            row.step,
            row.scores,
            self.begun.elapsed().as_secs_f64()
        );
        self.show(&text, "\n");
        Ok(())
    }
}
