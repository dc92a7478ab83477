//! NumPy's array files, `.npy`, versions 1.0 to 3.0.
//!
//! Read are booleans, integers, `<f2`, `<f4`, `<f8` and their big-endian forms, in C or Fortran order:
//!
//! | in the file | becomes |
//! |---|---|
//! | `b1` | `bool` |
//! | `u1` | `u8` |
//! | `i1`, `i2`, `u2`, `i4` | `i32` |
//! | `u4`, `i8`, `u8` (if below 2⁶³) | `i64` |
//! | `f2`, `f4` | `f32` |
//! | `f8` | `f64` |
//!
//! Objects (pickles), strings, dates, complex numbers and structured types are refused: nothing in a file is ever run.

use crate::any::{AnyTensor, from_bytes};
use crate::error::{Error, Position, Result, shown};
use crate::file::{self, Limits};
use crate::idx::MAX_DIMS;
use std::path::Path;
use wengert_tensor::{DType, Element, Tensor};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header text (NumPy's own default limit).
const MAX_HEADER: usize = 10_000;

pub(crate) struct Header {
    kind: u8,
    width: usize,
    big: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// Where the elements begin.
    begin: usize,
    /// Length of the whole file.
    pub(crate) whole: u64,
}

/// Reads a file.
///
/// ```no_run
/// let weights = wengert_data::npy::read("weights.npy")?.to_f32()?;
/// # Ok::<(), wengert_data::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`], [`Error::TooLarge`] beyond [`Limits::default`], [`Error::Format`] with the byte at fault.
pub fn read(path: impl AsRef<Path>) -> Result<AnyTensor> {
    read_with(path, &Limits::default())
}

/// As [`read`], with other limits.
///
/// # Errors
/// As [`read`].
pub fn read_with(path: impl AsRef<Path>, limits: &Limits) -> Result<AnyTensor> {
    let path = path.as_ref();
    parse(&file::read(path, limits)?, path)
}

/// Reads the contents of a file; `name` stands in messages.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<AnyTensor> {
    let path = name.as_ref();
    let h = header(path, bytes)?;
    if h.whole != bytes.len() as u64 {
        let (at, fault) = if h.whole > bytes.len() as u64 {
            (bytes.len() as u64, "the file ends")
        } else {
            (h.whole, "the file goes on")
        };
        let message = format!(
            "npy: {fault} here, but shape {:?} of {}-byte elements needs {} bytes in all",
            h.shape, h.width, h.whole
        );
        return Err(Error::format(path, Position::Byte(at), message));
    }
    let order: Vec<usize> = if h.fortran {
        h.shape.iter().rev().copied().collect()
    } else {
        h.shape.clone()
    };
    let data = &bytes[h.begin..];
    macro_rules! number {
        ($any:ident, $t:ty, $f:expr) => {{
            let f = $f;
            let read = |raw| {
                f(if h.big {
                    <$t>::from_be_bytes(raw)
                } else {
                    <$t>::from_le_bytes(raw)
                })
            };
            AnyTensor::$any(in_c_order(from_bytes(data, &order, read)?, h.fortran))
        }};
    }
    Ok(match (h.kind, h.width) {
        (b'b', _) => {
            if let Some(i) = data.iter().position(|&b| b > 1) {
                let message = format!("npy: {} is no truth value", data[i]);
                return Err(Error::format(
                    path,
                    Position::Byte((h.begin + i) as u64),
                    message,
                ));
            }
            AnyTensor::Bool(in_c_order(
                from_bytes(data, &order, |[b]: [u8; 1]| b == 1)?,
                h.fortran,
            ))
        }
        (b'u', 1) => number!(U8, u8, |x| x),
        (b'i', 1) => number!(I32, i8, i32::from),
        (b'i', 2) => number!(I32, i16, i32::from),
        (b'u', 2) => number!(I32, u16, i32::from),
        (b'i', 4) => number!(I32, i32, |x| x),
        (b'u', 4) => number!(I64, u32, i64::from),
        (b'i', _) => number!(I64, i64, |x| x),
        (b'u', _) => {
            // The byte with the highest bits decides whether the value fits.
            let high = if h.big { 0 } else { 7 };
            if let Some(i) = data.chunks_exact(8).position(|c| c[high] > 0x7f) {
                let message = "npy: an unsigned number above the largest i64";
                return Err(Error::format(
                    path,
                    Position::Byte((h.begin + 8 * i) as u64),
                    message,
                ));
            }
            number!(I64, u64, |x| x as i64)
        }
        (_, 2) => number!(F32, u16, half),
        (_, 4) => number!(F32, f32, |x| x),
        _ => number!(F64, f64, |x| x),
    })
}

/// The value of an IEEE binary16, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    match exponent {
        // Zero and subnormals: a multiple of 2⁻²⁴.
        0 => f32::from_bits((fraction as f32 / 16_777_216.0).to_bits() | sign),
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// A tensor read with reversed axes, put into row-major order.
fn in_c_order<T: Element>(t: Tensor<T>, fortran: bool) -> Tensor<T> {
    if fortran && t.rank() > 1 {
        let axes: Vec<isize> = (0..t.rank() as isize).rev().collect();
        t.permute(&axes[..]).contiguous()
    } else {
        t
    }
}

pub(crate) fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let bad = |at: usize, message: String| {
        Error::format(path, Position::Byte(at as u64), format!("npy: {message}"))
    };
    if !bytes.starts_with(MAGIC) {
        return Err(bad(0, "the magic string is not \\x93NUMPY".into()));
    }
    let (Some(&major), Some(&minor)) = (bytes.get(6), bytes.get(7)) else {
        return Err(bad(bytes.len(), "the file ends within the version".into()));
    };
    let prefix = match (major, minor) {
        (1, 0) => 2,
        (2 | 3, 0) => 4,
        _ => {
            return Err(bad(
                6,
                format!("version {major}.{minor}; known are 1.0, 2.0 and 3.0"),
            ));
        }
    };
    let Some(raw) = bytes.get(8..8 + prefix) else {
        return Err(bad(
            bytes.len(),
            "the file ends within the length of the header".into(),
        ));
    };
    let length = raw.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    if length > MAX_HEADER as u64 {
        return Err(bad(
            8,
            format!("a header of {length} bytes, at most {MAX_HEADER} are read"),
        ));
    }
    let start = 8 + prefix;
    let begin = start + length as usize;
    let Some(text) = bytes.get(start..begin) else {
        return Err(bad(
            bytes.len(),
            format!("the file ends within the header of {length} bytes"),
        ));
    };
    let facts = Literal { text, at: 0 }
        .facts()
        .map_err(|(at, m)| bad(start + at, m))?;
    let (at, descr) = facts.descr;
    let (big, kind, width) = element(&descr).map_err(|m| bad(start + at, m))?;
    let mut size = width as u64;
    let mut extent = width as i64;
    for &(at, n) in &facts.shape {
        size = size.saturating_mul(n);
        // An axis of size 0 does not excuse the others: strides must be addressable, too.
        extent = i64::try_from(n.max(1))
            .ok()
            .and_then(|n| extent.checked_mul(n))
            .ok_or_else(|| bad(start + at, "the product of the shape overflows".into()))?;
    }
    Ok(Header {
        kind,
        width,
        big,
        fortran: facts.fortran,
        shape: facts.shape.iter().map(|&(_, n)| n as usize).collect(),
        begin,
        whole: size.saturating_add(begin as u64),
    })
}

/// Byte order (big?), kind and width of a type string.
fn element(descr: &str) -> Result<(bool, u8, usize), String> {
    let &[order, kind, ref width @ ..] = descr.as_bytes() else {
        return Err(format!("the type \"{}\" is not known", shown(descr)));
    };
    let width = match width {
        b"1" => 1,
        b"2" => 2,
        b"4" => 4,
        b"8" => 8,
        _ => 0,
    };
    let known = matches!(
        (kind, width),
        (b'b', 1) | (b'i' | b'u', 1 | 2 | 4 | 8) | (b'f', 2 | 4 | 8)
    );
    // One byte has no order, more must have one; '=' (native) is never written by NumPy.
    let ordered = match order {
        b'|' => width == 1,
        b'<' | b'>' => true,
        _ => false,
    };
    match (kind, known && ordered) {
        (b'O', _) => Err("the elements are Python objects, which are never loaded".into()),
        (_, false) => Err(format!("the type \"{}\" is not read", shown(descr))),
        _ => Ok((order == b'>', kind, width)),
    }
}

/// The Python dictionary of a header, read as a literal; nothing is evaluated.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
}

/// The three entries, each with its place where a message may need it.
struct Facts {
    descr: (usize, String),
    fortran: bool,
    shape: Vec<(usize, u64)>,
}

type Fault = (usize, String);

impl Literal<'_> {
    fn facts(mut self) -> Result<Facts, Fault> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while self.peek() != Some(b'}') {
            let (at, key) = self.string()?;
            self.expect(b':')?;
            let again = match key.as_str() {
                "descr" => {
                    if matches!(self.peek(), Some(b'[' | b'(')) {
                        return Err((self.at, "structured types are not read".into()));
                    }
                    descr.replace(self.string()?).is_some()
                }
                "fortran_order" => fortran.replace(self.truth()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err((at, format!("unknown key \"{}\"", shown(&key)))),
            };
            if again {
                return Err((at, format!("the key \"{key}\" stands twice")));
            }
            if self.peek() != Some(b'}') {
                self.expect(b',')?;
            }
        }
        self.expect(b'}')?;
        if self.peek().is_some() {
            return Err((self.at, "text behind the dictionary".into()));
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Facts {
                descr,
                fortran,
                shape,
            }),
            _ => Err((
                self.at,
                "one of the keys descr, fortran_order, shape is missing".into(),
            )),
        }
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        match self.peek() {
            Some(b) if b == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err((
                self.at,
                format!("expected '{}' in the header", char::from(byte)),
            )),
        }
    }

    fn string(&mut self) -> Result<(usize, String), Fault> {
        let quote = match self.peek() {
            Some(q @ (b'\'' | b'"')) => q,
            _ => return Err((self.at, "expected a string in the header".into())),
        };
        let begin = self.at + 1;
        let rest = &self.text[begin..];
        let n = rest
            .iter()
            .position(|&b| b == quote)
            .ok_or((self.at, "a string of the header is not closed".to_string()))?;
        if let Some(i) = rest[..n]
            .iter()
            .position(|b| !(32..127).contains(b) || *b == b'\\')
        {
            return Err((
                begin + i,
                "only plain ASCII may stand in strings of the header".into(),
            ));
        }
        self.at = begin + n + 1;
        Ok((begin, String::from_utf8_lossy(&rest[..n]).into_owned()))
    }

    fn truth(&mut self) -> Result<bool, Fault> {
        self.peek();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err((self.at, "fortran_order must be True or False".into()))
    }

    fn shape(&mut self) -> Result<Vec<(usize, u64)>, Fault> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while self.peek() != Some(b')') {
            let begin = self.at;
            let digits = self.text[begin..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            let text = std::str::from_utf8(&self.text[begin..begin + digits]).unwrap_or_default();
            let n = text.parse::<u64>().map_err(|_| {
                (
                    begin,
                    "the shape must hold integers from 0 to 2^64 - 1".to_string(),
                )
            })?;
            self.at += digits;
            if shape.len() == MAX_DIMS {
                return Err((begin, format!("more than {MAX_DIMS} dimensions")));
            }
            shape.push((begin, n));
            if self.peek() == Some(b',') {
                self.at += 1;
            } else if shape.len() == 1 || self.peek() != Some(b')') {
                // A tuple of one needs its comma, or it is a number in parentheses.
                return Err((self.at, "expected ',' in the shape".into()));
            }
        }
        self.expect(b')')?;
        Ok(shape)
    }
}

/// A tensor as the contents of a file: version 1.0, C order, little-endian, the header padded to 64 bytes as NumPy does.
///
/// ```
/// use wengert_data::npy;
/// use wengert_tensor::Tensor;
/// let t = Tensor::from_vec(vec![1i64, 2, 3], [3]);
/// let back = npy::parse(&npy::to_bytes(t), "t.npy").unwrap();
/// assert_eq!(back.to_i64().unwrap().to_vec(), [1, 2, 3]);
/// ```
pub fn to_bytes(tensor: impl Into<AnyTensor>) -> Vec<u8> {
    let tensor = tensor.into();
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let sizes: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let mut text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        sizes.join(", ")
    );
    // Magic, version and length take ten bytes, the line end one.
    while (text.len() + 11) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
    match &tensor {
        AnyTensor::F32(t) => t.iter().for_each(|x| out.extend(x.to_le_bytes())),
        AnyTensor::F64(t) => t.iter().for_each(|x| out.extend(x.to_le_bytes())),
        AnyTensor::I32(t) => t.iter().for_each(|x| out.extend(x.to_le_bytes())),
        AnyTensor::I64(t) => t.iter().for_each(|x| out.extend(x.to_le_bytes())),
        AnyTensor::U8(t) => out.extend(t.iter()),
        AnyTensor::Bool(t) => out.extend(t.iter().map(u8::from)),
    }
    out
}

/// Writes a tensor to a file, as [`to_bytes`].
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: impl AsRef<Path>, tensor: impl Into<AnyTensor>) -> Result<()> {
    let path = path.as_ref();
    std::fs::write(path, to_bytes(tensor)).map_err(|e| Error::io(path, "write", e))
}
