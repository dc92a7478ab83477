//! Drawing for reports: [`text`] for terminals, [`svg`] plots, [`html`] pages, [`table`]s for all three, and files that are
//! complete or absent. Plain numbers and names come in; tensors and networks are not known here.
//!
//! Names that come from outside (layer paths, run names, metrics) may hold anything. Every renderer passes them
//! through [`escape`]: control and direction characters become visible, long names are shortened, markup is escaped.
#![forbid(unsafe_code)]

pub mod escape;
mod file;
mod finding;
pub mod html;
pub mod number;
pub mod svg;
pub mod table;
pub mod text;

pub use file::{check_writable, write_atomic};
pub use finding::{Finding, Severity};

/// A report could not be written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    Io {
        /// What was tried: `create`, `write`, `sync`, `replace`, `open`.
        action: &'static str,
        /// The file, with control characters made visible.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Error::Io {
            action,
            path,
            source,
        } = self;
        write!(f, "cannot {action} {path}: {source}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let Error::Io { source, .. } = self;
        Some(source)
    }
}

impl Error {
    /// From an error of the system at `path`.
    pub fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Error {
        Error::Io {
            action,
            path: escape::clean(&path.to_string_lossy(), 400).into_owned(),
            source,
        }
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
