//! The error type of the crate.

use crate::{DType, Dims};

/// What can go wrong when shapes, sizes or indices come from outside.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of elements or bytes of a shape does not fit in a machine word.
    #[error("{op}: shape {shape:?} has more elements than can be addressed")]
    ShapeOverflow {
        /// Operation that was asked for.
        op: &'static str,
        /// The offending shape.
        shape: Dims,
    },
    /// The allocation is larger than [`allocation_limit`](crate::allocation_limit).
    #[error(
        "{op}: {bytes} bytes asked for, the limit is {limit} bytes (see `set_allocation_limit`)"
    )]
    TooLarge {
        /// Operation that was asked for.
        op: &'static str,
        /// Size asked for.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The system refused the memory.
    #[error("{op}: out of memory while allocating {bytes} bytes")]
    OutOfMemory {
        /// Operation that was asked for.
        op: &'static str,
        /// Size asked for.
        bytes: usize,
    },
    /// Shapes that do not go together.
    #[error("{op}: {message}")]
    Shape {
        /// Operation that was asked for.
        op: &'static str,
        /// What was found, what was expected.
        message: String,
    },
    /// An index or axis outside its range.
    #[error("{op}: {what} {index} is out of range for size {size}")]
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
    #[error("{op}: expected {expected}, found {found}")]
    DType {
        /// Operation that was asked for.
        op: &'static str,
        /// Type expected.
        expected: DType,
        /// Type found.
        found: DType,
    },
    /// A value outside its documented range.
    #[error("{op}: {message}")]
    Value {
        /// Operation that was asked for.
        op: &'static str,
        /// What was found, what was expected.
        message: String,
    },
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
