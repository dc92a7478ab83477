//! What can be wrong with a file of weights, and with what it is to be loaded into.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest piece of foreign text that a message repeats.
const SHOWN: usize = 80;

/// A name from a file, fit for a terminal: control characters and marks of direction escaped, long names shortened.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN {
            out.push_str(&format!("… ({} bytes)", text.len()));
            break;
        }
        let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || invisible {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// An error of this module: which file, and what is wrong.
#[derive(Debug)]
pub struct StateError {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// What is wrong.
    pub problem: Problem,
}

/// Result with [`StateError`].
pub type Result<T, E = StateError> = std::result::Result<T, E>;

/// What is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// What it answered.
        source: std::io::Error,
    },
    /// The bytes are not a valid file.
    Format {
        /// Byte at which this shows, counted from the start of the file.
        at: Option<u64>,
        /// Name of the tensor concerned, as it stands in the file.
        tensor: Option<String>,
        /// What was found, what was expected.
        message: String,
    },
    /// The content is not what was written.
    Checksum {
        /// The checksum that the file states.
        stated: String,
        /// The checksum of its content.
        computed: String,
    },
    /// The file was written by a newer release.
    Version {
        /// Version of the file, as it states.
        found: String,
        /// Newest version that this release reads.
        supported: u32,
    },
    /// The file holds another kind of model.
    Kind {
        /// Kind that the file states.
        found: String,
        /// Kind of the model that is to be loaded.
        expected: String,
    },
    /// Entries and model do not go together.
    Mismatch(Box<Mismatch>),
    /// A name, section or number that cannot be written.
    Unwritable {
        /// What and why.
        message: String,
    },
    /// The memory for a tensor is not to be had.
    Memory(wengert_tensor::Error),
}

impl StateError {
    pub(super) fn at(self, path: &Path) -> Self {
        StateError {
            path: Some(self.path.unwrap_or_else(|| path.to_owned())),
            ..self
        }
    }

    /// Every difference between file and model, if that is what is wrong.
    pub fn mismatch(&self) -> Option<&Mismatch> {
        match &self.problem {
            Problem::Mismatch(m) => Some(m),
            _ => None,
        }
    }
}

impl From<Problem> for StateError {
    fn from(problem: Problem) -> Self {
        StateError {
            path: None,
            problem,
        }
    }
}

pub(super) fn format(at: u64, message: impl Into<String>) -> StateError {
    Problem::Format {
        at: Some(at),
        tensor: None,
        message: message.into(),
    }
    .into()
}

pub(super) fn tensor(name: &str, message: impl Into<String>) -> StateError {
    Problem::Format {
        at: None,
        tensor: Some(name.to_owned()),
        message: message.into(),
    }
    .into()
}

pub(super) fn unwritable(message: impl Into<String>) -> StateError {
    Problem::Unwritable {
        message: message.into(),
    }
    .into()
}

pub(super) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> StateError {
    move |source| Problem::Io { doing, source }.into()
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(p) = &self.path {
            write!(f, "{}: ", shown(&p.to_string_lossy()))?;
        }
        write!(f, "{}", self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Problem::Format {
                at,
                tensor,
                message,
            } => {
                if let Some(at) = at {
                    write!(f, "byte {at}: ")?;
                }
                if let Some(name) = tensor {
                    write!(f, "tensor `{}`: ", shown(name))?;
                }
                f.write_str(message)
            }
            Problem::Checksum { stated, computed } => write!(
                f,
                "the file is damaged: its checksum is {computed}, it states {}",
                shown(stated)
            ),
            Problem::Version { found, supported } => write!(
                f,
                "format version {} is newer than {supported}, the newest that this release reads",
                shown(found)
            ),
            Problem::Kind { found, expected } => write!(
                f,
                "holds a `{}`, not a `{}` (see `LoadOptions::any_kind`)",
                shown(found),
                shown(expected)
            ),
            Problem::Mismatch(m) => m.fmt(f),
            Problem::Unwritable { message } => write!(f, "cannot be saved: {message}"),
            Problem::Memory(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io { source, .. } => Some(source),
            Problem::Memory(e) => Some(e),
            _ => None,
        }
    }
}

/// Every difference between the entries of a file and a model.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Mismatch {
    /// Paths of the model that have no entry.
    pub missing: Vec<String>,
    /// Entries that have no place in the model, under the name they would have there.
    pub extra: Vec<String>,
    /// Entries of another shape: path, shape found, shape expected.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Entries of a type that does not convert: path, type found, type expected.
    pub mistyped: Vec<(String, String, String)>,
    /// Entries that hold NaN: path, number of NaNs.
    pub nan: Vec<(String, usize)>,
    /// Paths that more than one entry is renamed to.
    pub ambiguous: Vec<String>,
}

impl Mismatch {
    /// Number of differences.
    pub fn len(&self) -> usize {
        self.missing.len()
            + self.extra.len()
            + self.misshaped.len()
            + self.mistyped.len()
            + self.nan.len()
            + self.ambiguous.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} entries do not fit the model, which is unchanged:",
            self.len()
        )?;
        for p in &self.missing {
            write!(f, "\n  missing: {}", shown(p))?;
        }
        for p in &self.extra {
            write!(f, "\n  extra: {}", shown(p))?;
        }
        for (p, found, expected) in &self.misshaped {
            write!(
                f,
                "\n  shape: {} is {found:?}, the model has {expected:?}",
                shown(p)
            )?;
        }
        for (p, found, expected) in &self.mistyped {
            write!(
                f,
                "\n  type: {} is {found}, the model has {expected}",
                shown(p)
            )?;
        }
        for (p, n) in &self.nan {
            write!(f, "\n  NaN: {} holds {n}", shown(p))?;
        }
        for p in &self.ambiguous {
            write!(f, "\n  ambiguous: several entries become {}", shown(p))?;
        }
        Ok(())
    }
}
