//! What can go wrong.

use std::fmt;

/// The error type of the crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyperparameter outside its range.
    #[error("{owner}: {name} must be {expected}, found {value}")]
    Hyperparameter {
        /// Rule, schedule or transform that was being made.
        owner: &'static str,
        /// The hyperparameter.
        name: String,
        /// The legal range in words.
        expected: String,
        /// The value found.
        value: f64,
    },
    /// Hyperparameters that are legal alone and not together, or a name that the rule does not have.
    #[error("{owner}: {message}")]
    Configuration {
        /// Rule, schedule or transform that was being made.
        owner: &'static str,
        /// What was found, what was expected.
        message: String,
    },
    /// A gradient whose shape is not that of its parameter.
    #[error(
        "{rule}: the gradient of `{path}` has shape {found:?}, the parameter has shape {expected:?}"
    )]
    GradientShape {
        /// The optimizer's rule.
        rule: &'static str,
        /// The parameter.
        path: String,
        /// Shape of the parameter.
        expected: Vec<usize>,
        /// Shape of the gradient.
        found: Vec<usize>,
    },
    /// A NaN or an infinity among the gradients, where the policy is to refuse it.
    #[error("{0}")]
    NonFinite(NonFinite),
    /// The visit shows two parameters under one path, or one parameter twice.
    #[error(
        "{rule}: the visit shows `{path}` twice; every parameter must be reached once, under a path of its own"
    )]
    Duplicate {
        /// The optimizer's rule.
        rule: &'static str,
        /// The path seen twice.
        path: String,
    },
    /// A saved state that does not go with the model or the optimizer.
    #[error("{0}")]
    State(StateMismatch),
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where the gradients were not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// Path of the first parameter, in visiting order, with a NaN or infinite gradient (or of the buffer, if it was a
    /// side output).
    pub path: String,
    /// Number of gradients and side outputs that hold one.
    pub tensors: usize,
    /// NaNs in the gradient named by `path`.
    pub nans: usize,
    /// Infinities in the gradient named by `path`.
    pub infinities: usize,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the gradient of `{}` is not finite ({} NaN, {} infinite)",
            self.path, self.nans, self.infinities
        )?;
        if self.tensors > 1 {
            write!(f, ", and {} more", self.tensors - 1)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a saved state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateMismatch {
    /// One sentence per entry that is missing, unknown, misshaped or of the wrong type.
    pub problems: Vec<String>,
}

impl fmt::Display for StateMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the saved state does not fit, nothing was changed:")?;
        for p in &self.problems {
            write!(f, "\n  {p}")?;
        }
        Ok(())
    }
}

/// Unwraps with the error's own text, at the caller's line.
#[track_caller]
#[inline]
pub(crate) fn or_panic<T>(r: Result<T>) -> T {
    match r {
        Ok(v) => v,
        Err(e) => panic!("{e}"),
    }
}
