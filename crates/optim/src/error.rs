//! What can go wrong.

use std::fmt;

/// The error type of the crate.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A hyperparameter outside its range.
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
    Configuration {
        /// Rule, schedule or transform that was being made.
        owner: &'static str,
        /// What was found, what was expected.
        message: String,
    },
    /// A gradient whose shape is not that of its parameter.
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
    NonFinite(NonFinite),
    /// The visit shows two parameters under one path, or one parameter twice.
    Duplicate {
        /// The optimizer's rule.
        rule: &'static str,
        /// The path seen twice.
        path: String,
    },
    /// A saved state that does not go with the model or the optimizer.
    State(StateMismatch),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Hyperparameter {
                owner,
                name,
                expected,
                value,
            } => write!(f, "{owner}: {name} must be {expected}, found {value}"),
            Error::Configuration { owner, message } => write!(f, "{owner}: {message}"),
            Error::GradientShape {
                rule,
                path,
                expected,
                found,
            } => write!(
                f,
                "{rule}: the gradient of `{path}` has shape {found:?}, the parameter has shape {expected:?}"
            ),
            Error::NonFinite(place) => place.fmt(f),
            Error::Duplicate { rule, path } => write!(
                f,
                "{rule}: the visit shows `{path}` twice; every parameter must be reached once, under a path of its own"
            ),
            Error::State(mismatch) => mismatch.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

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
