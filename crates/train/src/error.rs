//! What can go wrong.

use crate::trainer::NonFiniteReport;
use std::fmt;
use std::path::{Path, PathBuf};
use wengert_nn::state::{StateError, check_writable};

/// The error type of the crate.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The data set or a transform hindered a batch.
    Data {
        /// Epoch, from 0.
        epoch: u64,
        /// Batch of that epoch, from 0.
        batch: u64,
        /// What it said.
        source: wengert_data::Error,
    },
    /// A set without batches: nothing to train on or to judge by.
    Empty {
        /// Which set.
        what: &'static str,
    },
    /// The optimizer or a transform of gradients refused.
    Optimizer {
        /// Optimizer steps taken before.
        step: u64,
        /// What it said.
        source: wengert_optim::Error,
    },
    /// A loss or a gradient was NaN or infinite, and the policy is to stop.
    NonFinite(Box<NonFiniteReport>),
    /// The weights hold NaN, so they were not saved; an older file stays as it is.
    NanWeights {
        /// Optimizer steps taken.
        step: u64,
        /// First parameter or buffer that holds one.
        path: String,
        /// The file that was not written.
        file: PathBuf,
    },
    /// A file of weights or a checkpoint could not be written, read, or does not fit.
    State(StateError),
    /// A file that a run is to write could not be written: known before the first step.
    Unwritable {
        /// What would be written there.
        what: &'static str,
        /// The path, and what is wrong with it.
        source: StateError,
    },
    /// A checkpoint is not one of this trainer.
    Resume {
        /// What was found, what was expected.
        message: String,
    },
    /// The system refused memory in a step.
    Memory {
        /// Optimizer steps taken before.
        step: u64,
        /// Which operation, how much.
        message: String,
    },
    /// A metric got an output that does not go with the target.
    Metric {
        /// Name of the metric.
        metric: String,
        /// What was found, what was expected.
        message: String,
    },
    /// A name that no column of the history has.
    UnknownColumn {
        /// The name.
        name: String,
        /// The columns of this run.
        known: Vec<String>,
    },
    /// A log could not be written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting outside its range.
    Configuration {
        /// What was being made.
        owner: &'static str,
        /// What was found, what was expected.
        message: String,
    },
    /// A callback of your own said no.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Data {
                epoch,
                batch,
                source,
            } => write!(f, "epoch {epoch}, batch {batch}: {source}"),
            Error::Empty { what } => write!(f, "{what}: an epoch has no batches"),
            Error::Optimizer { step, source } => write!(f, "step {step}: {source}"),
            Error::NonFinite(report) => report.fmt(f),
            Error::NanWeights { step, path, file } => write!(
                f,
                "step {step}: `{path}` holds NaN, so nothing was saved to {}",
                file.display()
            ),
            Error::State(e) => e.fmt(f),
            Error::Unwritable { what, source } => write!(
                f,
                "{what}: {source}; expected a path of a file, or of none yet, in a directory that exists and can be \
                 written to"
            ),
            Error::Resume { message } => {
                write!(
                    f,
                    "the checkpoint does not fit, nothing was changed: {message}"
                )
            }
            Error::Memory { step, message } => write!(f, "step {step}: {message}"),
            Error::Metric { metric, message } => write!(f, "{metric}: {message}"),
            Error::UnknownColumn { name, known } => {
                write!(
                    f,
                    "no column is named `{name}`; there are {}",
                    known.join(", ")
                )
            }
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Configuration { owner, message } => write!(f, "{owner}: {message}"),
            Error::Other(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Data { source, .. } => Some(source),
            Error::Optimizer { source, .. } => Some(source),
            Error::Io { source, .. } => Some(source),
            // Shown as they are, so their reasons are this error's.
            Error::State(e) | Error::Unwritable { source: e, .. } => e.source(),
            Error::Other(e) => e.source(),
            _ => None,
        }
    }
}

impl From<StateError> for Error {
    fn from(e: StateError) -> Self {
        Error::State(e)
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of your own, from a callback or a trial.
    pub fn other(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Other(e.into())
    }

    pub(crate) fn resume(message: impl Into<String>) -> Self {
        Error::Resume {
            message: message.into(),
        }
    }

    pub(crate) fn metric(metric: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Metric {
            metric: metric.into(),
            message: message.into(),
        }
    }

    pub(crate) fn configuration(owner: &'static str, message: impl Into<String>) -> Self {
        Error::Configuration {
            owner,
            message: message.into(),
        }
    }
}

/// Unwraps with the error's own text, at the caller's line.
#[track_caller]
pub(crate) fn or_panic<T>(r: Result<T>) -> T {
    match r {
        Ok(v) => v,
        Err(e) => panic!("{e}"),
    }
}

/// Refuses a path that could not be written to.
pub(crate) fn can_write(what: &'static str, path: &Path) -> Result<()> {
    check_writable(path).map_err(|source| Error::Unwritable { what, source })
}

/// A count that must not be 0.
pub(crate) fn positive(owner: &'static str, what: &str, n: u64) -> Result<u64> {
    if n == 0 {
        return Err(Error::configuration(
            owner,
            format!("{what} must be at least 1, found 0"),
        ));
    }
    Ok(n)
}

/// Name and value of the columns, short enough for a line.
pub(crate) struct Shown<'a>(pub &'a [(String, f64)]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {value:.4}")?;
        }
        Ok(())
    }
}
