//! Training loops, metrics, callbacks, checkpoints and search for the wengert framework.
//!
//! The loop remains ordinary code: everything here can be done by hand with a tape, a loss and an optimizer. The
//! [`Trainer`] does it in the same order and to the same bits, and adds what every run wants: validation, metrics,
//! early stopping, checkpoints that resume bit for bit, logs, and a word about the first NaN.
//!
//! | | |
//! |---|---|
//! | [`Trainer`] | epochs over batches; [`History`] is what it returns |
//! | [`metric`] | accuracy, top k, confusion matrix, F1, ROC AUC, average precision, Brier score, calibration, perplexity, squared error, R², your own |
//! | [`callback`] | early stopping, best weights, plateau, progress, logs, closures |
//! | [`Objective`], [`Source`] | from a batch to a loss; where batches come from |
//! | [`search`] | grid, random, successive halving, Hyperband, in parallel and reproducible |
//! | [`LrRangeTest`] | which learning rate to begin with |
//! | [`grow`] | wider and deeper networks that compute the same function |
#![forbid(unsafe_code)]

pub mod callback;
mod error;
pub mod grow;

mod history;
pub mod metric;
mod objective;
mod range_test;
pub mod search;

mod source;
mod trainer;

pub use callback::{
    Callback, CsvLog, EarlyStopping, JsonLog, KeepBest, ProgressLine, ReduceOnPlateau, Run, Step,
};
pub use error::{Error, Result};
pub use history::{History, Row, Scores, Stop};
pub use objective::{FromFn, FromFnScored, Objective, Recorded, Supervised};
pub use range_test::{LrCurve, LrRangeTest, LrSweep};
pub use source::Source;
pub use trainer::{Every, NonFiniteReport, OnNonFinite, Trainer};
