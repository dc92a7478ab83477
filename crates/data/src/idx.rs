//! The IDX format of the MNIST files, plain or compressed by gzip.
//!
//! Two zero bytes, a type byte, the number of dimensions, the dimensions as big-endian `u32`, the elements in row-major
//! order, big-endian (LeCun, Cortes, Burges, *The MNIST database*).

use crate::any::{AnyTensor, from_bytes};
use crate::error::{Error, Position, Result};
use crate::file::{self, Limits};
use std::path::Path;

/// Most dimensions that a file may have (NumPy's limit).
pub const MAX_DIMS: usize = 32;

struct Header {
    code: u8,
    width: usize,
    shape: Vec<usize>,
    /// Where the elements begin.
    begin: usize,
    /// Length of the whole file.
    whole: u64,
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let bad = |at: usize, message: String| {
        Error::format(path, Position::Byte(at as u64), format!("IDX: {message}"))
    };
    let &[zero0, zero1, code, dims] = bytes
        .first_chunk::<4>()
        .ok_or_else(|| bad(bytes.len(), "the file ends within the magic number".into()))?;
    if [zero0, zero1] != [0, 0] {
        return Err(bad(
            0,
            format!("the magic number begins with {zero0:#04x} {zero1:#04x} instead of two zeros"),
        ));
    }
    let width = match code {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => return Err(bad(2, format!("unknown element type {code:#04x}"))),
    };
    let dims = usize::from(dims);
    if dims > MAX_DIMS {
        return Err(bad(
            3,
            format!("{dims} dimensions, at most {MAX_DIMS} are read"),
        ));
    }
    let mut shape = Vec::with_capacity(dims);
    let mut size = width as u64;
    let mut extent = width as i64;
    for d in 0..dims {
        let at = 4 + 4 * d;
        let raw = bytes
            .get(at..at + 4)
            .and_then(|b| b.first_chunk::<4>())
            .ok_or_else(|| {
                bad(
                    bytes.len(),
                    format!("the file ends within dimension {d} of {dims}"),
                )
            })?;
        let n = u32::from_be_bytes(*raw);
        size = size.saturating_mul(u64::from(n));
        // An axis of size 0 does not excuse the others: strides must be addressable, too.
        extent = extent.checked_mul(i64::from(n.max(1))).ok_or_else(|| {
            bad(
                at,
                format!("dimension {d} is {n}: the product of the dimensions overflows"),
            )
        })?;
        shape.push(n as usize);
    }
    let begin = 4 + 4 * dims;
    let whole = size
        .checked_add(begin as u64)
        .ok_or_else(|| bad(4, "the product of the dimensions overflows".into()))?;
    Ok(Header {
        code,
        width,
        shape,
        begin,
        whole,
    })
}

/// Reads a file, unpacking it first if it is compressed by gzip (feature `gzip`).
///
/// Signed bytes and 16-bit integers become `i32`.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] with the byte and the field: magic number, type, dimension, or elements that are too
/// few or too many; [`Error::TooLarge`] beyond [`Limits::default`].
pub fn read(path: impl AsRef<Path>) -> Result<AnyTensor> {
    read_with(path, &Limits::default())
}

/// As [`read`], with other limits.
///
/// # Errors
/// As [`read`].
pub fn read_with(path: impl AsRef<Path>, limits: &Limits) -> Result<AnyTensor> {
    let path = path.as_ref();
    parse_with(&file::read(path, limits)?, path, limits)
}

/// Reads the contents of a file, plain or compressed; `name` stands in messages.
///
/// ```
/// let bytes = [0, 0, 0x0c, 1, 0, 0, 0, 2, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff];
/// let array = wengert_data::idx::parse(&bytes, "two.idx").unwrap();
/// assert_eq!(array.to_i64().unwrap().to_vec(), [7, -1]);
/// ```
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<AnyTensor> {
    parse_with(bytes, name.as_ref(), &Limits::default())
}

fn parse_with(bytes: &[u8], path: &Path, limits: &Limits) -> Result<AnyTensor> {
    if file::is_gzip(bytes) {
        let plain = file::gunzip(path, bytes, limits, |start| {
            Ok(Some(header(path, start)?.whole))
        })?;
        parse_plain(&plain, path)
    } else {
        parse_plain(bytes, path)
    }
}

fn parse_plain(bytes: &[u8], path: &Path) -> Result<AnyTensor> {
    let h = header(path, bytes)?;
    if h.whole != bytes.len() as u64 {
        let (at, fault) = if h.whole > bytes.len() as u64 {
            (bytes.len() as u64, "the file ends")
        } else {
            (h.whole, "the file goes on")
        };
        return Err(Error::format(
            path,
            Position::Byte(at),
            format!(
                "IDX: {fault} here, but shape {:?} of {}-byte elements needs {} bytes in all",
                h.shape, h.width, h.whole
            ),
        ));
    }
    let (data, shape) = (&bytes[h.begin..], &h.shape[..]);
    Ok(match h.code {
        0x08 => AnyTensor::U8(from_bytes(data, shape, |[b]: [u8; 1]| b)?),
        0x09 => AnyTensor::I32(from_bytes(data, shape, |b: [u8; 1]| {
            i32::from(i8::from_be_bytes(b))
        })?),
        0x0b => AnyTensor::I32(from_bytes(data, shape, |b: [u8; 2]| {
            i32::from(i16::from_be_bytes(b))
        })?),
        0x0c => AnyTensor::I32(from_bytes(data, shape, i32::from_be_bytes)?),
        0x0d => AnyTensor::F32(from_bytes(data, shape, f32::from_be_bytes)?),
        _ => AnyTensor::F64(from_bytes(data, shape, f64::from_be_bytes)?),
    })
}
