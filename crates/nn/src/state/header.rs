//! The safetensors header: length, JSON, offsets (<https://github.com/huggingface/safetensors>, "Format").
//!
//! Stricter than the reference implementation, which accepts duplicate keys, leading blanks, unknown fields and shapes
//! whose size overflows before it becomes zero.

use super::error::{Problem, Result, StateError, format, shown, tensor};
use super::json::{Json, quote};
use std::fmt;
use std::ops::Range;
use wengert_tensor::Dims;
use wengert_tensor::order::{order, repeated};

/// Longest header in bytes, as in the reference implementation.
pub const MAX_HEADER: u64 = 100_000_000;
/// Most axes of a tensor.
const MAX_RANK: usize = 64;
/// Key of the checksum in the metadata.
pub(super) const CHECKSUM: &str = "wengert.xxh64";
/// Key of the format version in the metadata.
pub(super) const VERSION: &str = "wengert.format";

macro_rules! stored {
    ($($variant:ident $name:literal $size:literal;)*) => {
        /// Element type of a tensor in a file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum StoredType {
            $(#[doc = concat!("`", $name, "`, ", stringify!($size), " bytes.")] $variant,)*
        }

        impl StoredType {
            const ALL: &[StoredType] = &[$(StoredType::$variant),*];

            /// Name in the file.
            pub fn name(self) -> &'static str {
                match self {
                    $(StoredType::$variant => $name,)*
                }
            }

            /// Bytes of an element.
            pub fn size(self) -> usize {
                match self {
                    $(StoredType::$variant => $size,)*
                }
            }
        }
    };
}
stored! {
    Bool "BOOL" 1;
    U8 "U8" 1;
    I8 "I8" 1;
    F8E5M2 "F8_E5M2" 1;
    F8E4M3 "F8_E4M3" 1;
    F8E8M0 "F8_E8M0" 1;
    I16 "I16" 2;
    U16 "U16" 2;
    F16 "F16" 2;
    BF16 "BF16" 2;
    I32 "I32" 4;
    U32 "U32" 4;
    F32 "F32" 4;
    C64 "C64" 8;
    F64 "F64" 8;
    I64 "I64" 8;
    U64 "U64" 8;
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor as the header describes it; the range lies in the data part.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub name: Box<str>,
    pub dtype: StoredType,
    pub shape: Dims,
    pub range: Range<u64>,
}

/// A header that was checked: names are unique, tensors cover the data without holes or overlaps.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// In the order of the header.
    pub entries: Vec<Entry>,
    /// Positions in `entries`, in the order of the data.
    pub order: Vec<usize>,
    pub metadata: Vec<(String, String)>,
    /// Where in the header text the digits of the checksum stand.
    pub checksum: Option<Range<usize>>,
}

/// Checks the length field against the size of the file.
pub(super) fn length(field: [u8; 8], file: u64) -> Result<usize> {
    let n = u64::from_le_bytes(field);
    let room = file.saturating_sub(8);
    if n > MAX_HEADER {
        return Err(format(
            0,
            format!("the header claims {n} bytes, the limit is {MAX_HEADER}"),
        ));
    }
    if n > room {
        return Err(format(
            0,
            format!("the header claims {n} bytes, the file has {room} after this field"),
        ));
    }
    if n < 2 {
        return Err(format(0, format!("a header of {n} bytes cannot be")));
    }
    Ok(n as usize)
}

/// Parses and checks the header `text` of a file with `data` bytes after it.
pub(super) fn parse(text: &[u8], data: u64) -> Result<Header> {
    let text = std::str::from_utf8(text)
        .map_err(|e| format(8 + e.valid_up_to() as u64, "the header is not UTF-8"))?;
    if !text.starts_with('{') {
        return Err(format(8, "the header does not begin with `{`"));
    }
    let mut json = Json::new(text, 8);
    let mut metadata = None;
    let mut checksum = None;
    let mut entries = Vec::new();
    // One allocation of the right size, not a series of doublings.
    entries.reserve_exact(text.matches("\"data_offsets\"").count());
    json.members(b'{', b'}', |j| {
        let at = j.position();
        let name = j.string()?;
        j.expect(b':')?;
        if name == "__metadata__" {
            if metadata.is_some() {
                return Err(format(at, "`__metadata__` occurs twice"));
            }
            metadata = Some(read_metadata(j, &mut checksum)?);
            return Ok(());
        }
        let entry = read_entry(j, name, at)?;
        entries.push(entry);
        Ok(())
    })?;
    let rest = &text[json.offset()..];
    if let Some(n) = rest.bytes().position(|b| b != b' ') {
        return Err(format(
            json.position() + n as u64,
            "the header goes on after its closing brace",
        ));
    }
    let order = check(&entries, data)?;
    Ok(Header {
        entries,
        order,
        metadata: metadata.unwrap_or_default(),
        checksum,
    })
}

fn read_metadata(
    json: &mut Json,
    checksum: &mut Option<Range<usize>>,
) -> Result<Vec<(String, String)>> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut starts = Vec::new();
    json.members(b'{', b'}', |j| {
        starts.push(j.position());
        let key = j.string()?;
        j.expect(b':')?;
        if j.peek() != Some(b'"') {
            return j.error(format!("the metadata of `{}` is not a string", shown(&key)));
        }
        let start = j.offset() + 1;
        let value = j.string()?;
        if key == CHECKSUM {
            *checksum = Some(start..j.offset() - 1);
        }
        out.push((key, value));
        Ok(())
    })?;
    match repeated(out.len(), &|a, b| out[a].0.cmp(&out[b].0)) {
        Some(i) => {
            let message = format!("`{}` occurs twice in the metadata", shown(&out[i].0));
            Err(format(starts[i], message))
        }
        None => Ok(out),
    }
}

fn read_entry(json: &mut Json, name: String, at: u64) -> Result<Entry> {
    let fail = |message: String| -> StateError {
        Problem::Format {
            at: Some(at),
            tensor: Some(name.clone()),
            message,
        }
        .into()
    };
    let (mut dtype, mut shape, mut range) = (None, None, None);
    if json.peek() != Some(b'{') {
        return Err(fail(
            "expected an object with dtype, shape and data_offsets".into(),
        ));
    }
    json.members(b'{', b'}', |j| {
        let field = j.string()?;
        j.expect(b':')?;
        let twice = match field.as_str() {
            "dtype" => {
                if j.peek() != Some(b'"') {
                    return Err(fail("the dtype is not a string".into()));
                }
                let text = j.string()?;
                let Some(&d) = StoredType::ALL.iter().find(|d| d.name() == text) else {
                    return Err(fail(format!("unknown dtype `{}`", shown(&text))));
                };
                dtype.replace(d).is_some()
            }
            "shape" => {
                let mut dims = Dims::new();
                j.members(b'[', b']', |j| {
                    if dims.len() == MAX_RANK {
                        return Err(fail(format!("more than {MAX_RANK} axes")));
                    }
                    let d = j.unsigned()?;
                    match usize::try_from(d) {
                        Ok(d) => dims.push(d),
                        Err(_) => return Err(fail(format!("axis of {d} elements"))),
                    }
                    Ok(())
                })?;
                shape.replace(dims).is_some()
            }
            "data_offsets" => {
                j.expect(b'[')?;
                let begin = j.unsigned()?;
                j.expect(b',')?;
                let end = j.unsigned()?;
                j.expect(b']')?;
                range.replace(begin..end).is_some()
            }
            other => return Err(fail(format!("unknown field `{}`", shown(other)))),
        };
        if twice {
            return Err(fail(format!("the field `{field}` occurs twice")));
        }
        Ok(())
    })?;
    let (Some(dtype), Some(shape), Some(range)) = (dtype, shape, range) else {
        return Err(fail("dtype, shape or data_offsets is missing".into()));
    };
    let bytes = shape
        .iter()
        .try_fold(dtype.size(), |n, &d| n.checked_mul(d))
        .map(|n| n as u64);
    let Some(bytes) = bytes else {
        return Err(fail(format!(
            "the size of shape {:?} overflows",
            shape.as_slice()
        )));
    };
    if range.start > range.end {
        return Err(fail(format!(
            "the offsets {}..{} run backwards",
            range.start, range.end
        )));
    }
    if range.end - range.start != bytes {
        return Err(fail(format!(
            "shape {:?} of {dtype} takes {bytes} bytes, the offsets {}..{} hold {}",
            shape.as_slice(),
            range.start,
            range.end,
            range.end - range.start
        )));
    }
    Ok(Entry {
        name: name.into_boxed_str(),
        dtype,
        shape,
        range,
    })
}

/// Unique names; ranges side by side from the first to the last byte. Returns the order of the data.
fn check(entries: &[Entry], data: u64) -> Result<Vec<usize>> {
    let name = |i: usize| &entries[i].name;
    if let Some(i) = repeated(entries.len(), &|a, b| name(a).cmp(name(b))) {
        return Err(tensor(name(i), "occurs twice"));
    }
    let ends = |i: usize| (entries[i].range.start, entries[i].range.end);
    let order = order(entries.len(), &|a, b| ends(a).cmp(&ends(b)));
    let mut end = 0;
    for &i in &order {
        let Entry { name, range, .. } = &entries[i];
        if range.start < end {
            return Err(tensor(
                name,
                format!(
                    "begins at {} of the data, inside the tensor before it, which ends at {end}",
                    range.start
                ),
            ));
        }
        if range.start > end {
            return Err(tensor(
                name,
                format!(
                    "begins at {} of the data, after a hole from {end}",
                    range.start
                ),
            ));
        }
        if range.end > data {
            return Err(tensor(
                name,
                format!("ends at {} of the data, the file has {data}", range.end),
            ));
        }
        end = range.end;
    }
    if end != data {
        return Err(format(
            0,
            format!("the tensors take {end} bytes of data, the file has {data}"),
        ));
    }
    Ok(order)
}

/// The text of a header, padded with blanks so that the data begins at a multiple of 8.
///
/// Entries keep their order; the ranges are the caller's.
pub(super) fn write(
    metadata: &[(String, String)],
    entries: impl Iterator<Item = (String, StoredType, Dims, Range<u64>)>,
) -> String {
    let mut out = String::from("{");
    let mut separator = "";
    if !metadata.is_empty() {
        out.push_str("\"__metadata__\":{");
        for (i, (k, v)) in metadata.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            quote(&mut out, k);
            out.push(':');
            quote(&mut out, v);
        }
        out.push('}');
        separator = ",";
    }
    for (name, dtype, shape, range) in entries {
        out.push_str(separator);
        separator = ",";
        quote(&mut out, &name);
        let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
        out.push_str(&format!(
            ":{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
            dims.join(","),
            range.start,
            range.end
        ));
    }
    out.push('}');
    while out.len() % 8 != 0 {
        out.push(' ');
    }
    out
}
