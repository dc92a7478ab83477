//! The error type of the crate.

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

/// Where in a file something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// The file as a whole.
    Whole,
    /// Offset in bytes from the start (after decompression).
    Byte(u64),
    /// Line and field of a table, both from 1.
    Cell {
        /// Line of the text file, the header included.
        line: u64,
        /// Number of the field within the line.
        column: u64,
    },
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Whole => Ok(()),
            Position::Byte(b) => write!(f, " at byte {b}"),
            Position::Cell { line, column } => write!(f, " at line {line}, column {column}"),
        }
    }
}

/// What can go wrong between a file or a data set and a batch.
///
/// File names and texts taken from files are escaped and shortened in the messages.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system refused to open or read a file.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: "open", "read", …
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The contents are not what the format demands.
    Format {
        /// The file, or the name that the caller gave to the bytes.
        path: PathBuf,
        /// Where.
        at: Position,
        /// Which field, what was found, what was expected.
        message: String,
    },
    /// The contents are larger than the reader is willing to take.
    TooLarge {
        /// The file, or the name that the caller gave to the bytes.
        path: PathBuf,
        /// Empty, or " after decompression".
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// A directory lacks files of a data set.
    Missing {
        /// The directory that was searched.
        dir: PathBuf,
        /// The names that were looked for.
        files: Vec<String>,
    },
    /// A file needs a feature of the crate that is not compiled in.
    Feature {
        /// The file.
        path: PathBuf,
        /// The feature.
        feature: &'static str,
    },
    /// An index outside a data set.
    Index {
        /// Operation that was asked for.
        op: &'static str,
        /// The index.
        index: usize,
        /// Number of samples.
        len: usize,
    },
    /// Samples or tensors that do not go together, a value outside its documented range.
    Value {
        /// Operation that was asked for.
        op: &'static str,
        /// What was found, what was expected.
        message: String,
    },
    /// A tensor could not be made.
    Tensor(wengert_tensor::Error),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                path,
                action,
                source,
            } => write!(f, "{}: cannot {action}: {source}", shown_path(path)),
            Error::Format { path, at, message } => {
                write!(f, "{}{at}: {message}", shown_path(path))
            }
            Error::TooLarge { path, what, limit } => write!(
                f,
                "{}: more than {limit} bytes{what}, the limit of this reader",
                shown_path(path)
            ),
            Error::Missing { dir, files } => {
                write!(f, "{}: missing {}", shown_path(dir), files.join(", "))
            }
            Error::Feature { path, feature } => write!(
                f,
                "{}: reading this needs the feature `{feature}` of wengert or wengert-data",
                shown_path(path)
            ),
            Error::Index { op, index, len } => {
                write!(f, "{op}: sample {index} is out of range for {len} samples")
            }
            Error::Value { op, message } => write!(f, "{op}: {message}"),
            Error::Tensor(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            // Shown as it is, so its reason is this error's.
            Error::Tensor(e) => e.source(),
            _ => None,
        }
    }
}

impl From<wengert_tensor::Error> for Error {
    fn from(e: wengert_tensor::Error) -> Self {
        Error::Tensor(e)
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn value(op: &'static str, message: impl Into<String>) -> Self {
        Error::Value {
            op,
            message: message.into(),
        }
    }

    pub(crate) fn format(path: &Path, at: Position, message: impl Into<String>) -> Self {
        Error::Format {
            path: path.to_path_buf(),
            at,
            message: message.into(),
        }
    }

    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Error::Io {
            path: path.to_path_buf(),
            action,
            source,
        }
    }
}

/// Longest text from outside that a message repeats, in characters.
const SHOWN: usize = 80;

/// `text` as it may stand in a message: control characters, line breaks and direction marks escaped, shortened to 80
/// characters.
///
/// ```
/// use wengert_data::shown;
/// assert_eq!(shown("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
/// assert!(shown(&"x".repeat(1_000_000)).len() < 120);
/// ```
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN {
            out.push_str(&format!("… ({} bytes)", text.len()));
            break;
        }
        let marks = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || marks {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`shown`], keeping the end of a long path, which holds the file name.
pub(crate) fn shown_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let n = text.chars().count();
    if n <= 4 * SHOWN {
        // Every piece is short enough for `shown`.
        let chars: Vec<char> = text.chars().collect();
        return chars
            .chunks(SHOWN)
            .map(|c| shown(&c.iter().collect::<String>()))
            .collect();
    }
    let tail: String = text.chars().skip(n - SHOWN).collect();
    format!("…{}", shown(&tail))
}
