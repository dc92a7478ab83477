//! The error type of the crate.

use crate::{DType, Dims};
use std::fmt;

/// What can go wrong when shapes, sizes or indices come from outside.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The number of elements or bytes of a shape does not fit in a machine word.
    ShapeOverflow {
        /// Operation that was asked for.
        op: &'static str,
        /// The offending shape.
        shape: Dims,
    },
    /// The allocation is larger than [`allocation_limit`](crate::allocation_limit).
    TooLarge {
        /// Operation that was asked for.
        op: &'static str,
        /// Size asked for.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The system refused the memory.
    OutOfMemory {
        /// Operation that was asked for.
        op: &'static str,
        /// Size asked for.
        bytes: usize,
    },
    /// Shapes that do not go together.
    Shape {
        /// Operation that was asked for.
        op: &'static str,
        /// What was found, what was expected.
        message: String,
    },
    /// An index or axis outside its range.
    Index {
        /// Operation that was asked for.
        op: &'static str,
        /// What kind of index: "axis", "index", "label", …
        what: &'static str,
        /// The value found.
        index: i64,
        /// The exclusive upper bound.
        size: usize,
    },
    /// A wrong element type.
    DType {
        /// Operation that was asked for.
        op: &'static str,
        /// Type expected.
        expected: DType,
        /// Type found.
        found: DType,
    },
    /// A value outside its documented range.
    Value {
        /// Operation that was asked for.
        op: &'static str,
        /// What was found, what was expected.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ShapeOverflow { op, shape } => write!(
                f,
                "{op}: shape {shape:?} has more elements than can be addressed"
            ),
            Error::TooLarge { op, bytes, limit } => write!(
                f,
                "{op}: {bytes} bytes asked for, the limit is {limit} bytes (see `set_allocation_limit`)"
            ),
            Error::OutOfMemory { op, bytes } => {
                write!(f, "{op}: out of memory while allocating {bytes} bytes")
            }
            Error::Shape { op, message } | Error::Value { op, message } => {
                write!(f, "{op}: {message}")
            }
            Error::Index {
                op,
                what: what @ "axis",
                index,
                size,
            } => write!(f, "{op}: {what} {index} is out of range for rank {size}"),
            Error::Index {
                op,
                what,
                index,
                size,
            } => write!(f, "{op}: {what} {index} is out of range for size {size}"),
            Error::DType {
                op,
                expected,
                found,
            } => write!(f, "{op}: expected {expected}, found {found}"),
        }
    }
}

impl std::error::Error for Error {}

/// Whether a text, perhaps that of a panic, is that of [`Error::OutOfMemory`] or [`Error::TooLarge`].
pub fn tells_no_memory(text: &str) -> bool {
    text.contains("out of memory while allocating") || text.contains("(see `set_allocation_limit`)")
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Unwraps with the error's own text as the panic message, at the caller's line.
pub trait OrPanic<T> {
    /// The value, or a panic with the error's text.
    fn or_panic(self) -> T;
}

impl<T, E: std::fmt::Display> OrPanic<T> for std::result::Result<T, E> {
    #[track_caller]
    #[inline]
    fn or_panic(self) -> T {
        match self {
            Ok(v) => v,
            Err(e) => fail(&e),
        }
    }
}

#[cold]
#[track_caller]
fn fail(e: &dyn std::fmt::Display) -> ! {
    panic!("{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lack_of_memory_is_known_by_its_text() {
        let (op, bytes, limit) = ("zeros", 8, 4);
        for (e, told) in [
            (Error::OutOfMemory { op, bytes }, true),
            (Error::TooLarge { op, bytes, limit }, true),
            (
                Error::ShapeOverflow {
                    op,
                    shape: vec![1].into(),
                },
                false,
            ),
        ] {
            assert_eq!(tells_no_memory(&e.to_string()), told, "{e}");
        }
    }
}
