//! The document: tensors in sections, values, metadata; to bytes and back.

use super::any::AnyTensor;
use super::atomic::{not_a_file, write_atomic};
use super::error::{Problem, Result, StateError, format, io, shown, tensor, unwritable};
use super::header::{self, CHECKSUM, MAX_HEADER, VERSION};
use super::load::{LoadOptions, LoadReport, load_entries};
use super::value::Value;
use super::xxh64::Xxh64;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;
use wengert_autograd::{Buffer, Module, Param, Visitor};
use wengert_tensor::Real;
use wengert_tensor::order::{ascending, groups, order, repeated};

/// Version of the layout that this release writes, and the newest that it reads.
///
/// Version 1: the tensors of section `s` are named `s/path` (those of the unnamed section just `path`). The metadata
/// holds `wengert.format` (this number), `wengert.xxh64` (the XXH64 of the whole file with these 16 digits
/// replaced by zeros), `wengert.kind` or `wengert.kind.<section>` (kind of the model there), `wengert.value.<section>` (JSON), and
/// what the user adds.
pub const FORMAT_VERSION: u32 = 1;

/// Longest text of a section's value; it is for small things, long lists are tensors.
const MAX_VALUE: usize = 1 << 20;

const KIND: &str = "wengert.kind";
const VALUE: &str = "wengert.value";
const RESERVED: &str = "wengert.";
const NO_CHECKSUM: &str = "0000000000000000";

/// Everything a file of weights holds: tensors by section and path, one small [`Value`] per section, the kinds of the models,
/// and free metadata.
///
/// A model alone stands in the unnamed section `""`, so its tensors have plain names in the file and other programs find
/// them ([`StateExt::save`](super::StateExt::save)). A training run puts model, optimizer and loader into sections of their own. The order
/// of entries is kept, and the same content gives the same bytes: there is no time and no path in the file.
///
/// ```
/// use wengert_autograd::{Param, Tensor};
/// use wengert_nn::state::{Checkpoint, LoadOptions, Value};
///
/// let mut model = vec![Param::new(Tensor::from_slice(&[1.0f32, 2.0], [2]))];
/// let mut c = Checkpoint::new();
/// c.put_model("model", &model);
/// c.put_tensor("optimizer", "0.exp_avg", Tensor::<f32>::zeros([2]));
/// c.put_value("optimizer", Value::map([("step", Value::from(7u64))]));
/// let bytes = c.to_bytes()?;
///
/// let c = Checkpoint::from_bytes(&bytes)?;
/// c.load_model("model", &mut model, &LoadOptions::default())?;
/// assert_eq!(c.value("optimizer").unwrap().get("step").unwrap().as_u64(), Some(7));
/// # Ok::<(), wengert_nn::state::StateError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    tensors: Vec<Stored>,
    values: Vec<(String, Value)>,
    kinds: Vec<(String, String)>,
    metadata: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Stored {
    section: String,
    path: String,
    tensor: AnyTensor,
}

impl Stored {
    fn name(&self) -> String {
        if self.section.is_empty() {
            self.path.clone()
        } else {
            format!("{}/{}", self.section, self.path)
        }
    }
}

/// Replaces or appends.
fn put<V>(list: &mut Vec<(String, V)>, key: &str, value: V) {
    match list.iter_mut().find(|(k, _)| k == key) {
        Some((_, v)) => *v = value,
        None => list.push((key.to_owned(), value)),
    }
}

fn get<'a, V>(list: &'a [(String, V)], key: &str) -> Option<&'a V> {
    list.iter().find(|(k, _)| k == key).map(|(_, v)| v)
}

impl Checkpoint {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    // ---- content ----

    /// Adds the parameters and buffers of a model, and its kind.
    ///
    /// The tensors are shared with the model: an update in place copies them first, so the checkpoint keeps this moment.
    pub fn put_model<T: Real, M: Module<T> + ?Sized>(&mut self, section: &str, model: &M) {
        for (path, t) in entries(model) {
            self.put_tensor(section, &path, t);
        }
        put(&mut self.kinds, section, model.kind().to_owned());
    }

    /// Loads a section into a model, all or nothing.
    ///
    /// # Errors
    /// When the section holds another kind of model, or entries and model do not go together; the model is unchanged then.
    pub fn load_model<T: Real, M: Module<T> + ?Sized>(
        &self,
        section: &str,
        model: &mut M,
        options: &LoadOptions,
    ) -> Result<LoadReport> {
        if let Some(found) = self.kind(section)
            && options.checks_kind()
            && found != model.kind()
        {
            return Err(Problem::Kind {
                found: found.to_owned(),
                expected: model.kind().to_owned(),
            }
            .into());
        }
        load_entries(model, self.tensors(section), options)
    }

    /// Kind of the model in a section, if the file says so.
    pub fn kind(&self, section: &str) -> Option<&str> {
        get(&self.kinds, section).map(String::as_str)
    }

    /// Adds a tensor.
    pub fn put_tensor(&mut self, section: &str, path: &str, tensor: impl Into<AnyTensor>) {
        self.tensors.push(Stored {
            section: section.to_owned(),
            path: path.to_owned(),
            tensor: tensor.into(),
        });
    }

    /// The tensor at a path of a section.
    pub fn tensor(&self, section: &str, path: &str) -> Option<&AnyTensor> {
        self.tensors
            .iter()
            .find(|s| s.section == section && s.path == path)
            .map(|s| &s.tensor)
    }

    /// The tensors of a section with their paths, in order.
    pub fn tensors<'a>(
        &'a self,
        section: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a AnyTensor)> {
        self.tensors
            .iter()
            .filter(move |s| s.section == section)
            .map(|s| (s.path.as_str(), &s.tensor))
    }

    /// Sets the value of a section.
    pub fn put_value(&mut self, section: &str, value: Value) {
        put(&mut self.values, section, value);
    }

    /// The value of a section.
    pub fn value(&self, section: &str) -> Option<&Value> {
        get(&self.values, section)
    }

    /// Sets a line of free metadata. Keys that begin with `wengert.` are reserved.
    pub fn put_metadata(&mut self, key: &str, value: &str) {
        put(&mut self.metadata, key, value.to_owned());
    }

    /// A line of free metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        get(&self.metadata, key).map(String::as_str)
    }

    /// Names of the sections that hold tensors, values or a model, in order of appearance.
    pub fn sections(&self) -> Vec<&str> {
        let tensors = self.tensors.iter().map(|s| s.section.as_str());
        let values = self.values.iter().map(|(s, _)| s.as_str());
        let kinds = self.kinds.iter().map(|(s, _)| s.as_str());
        let all: Vec<&str> = tensors.chain(values).chain(kinds).collect();
        let groups = groups(all.len(), &|a, b| all[a].cmp(all[b]));
        let mut firsts: Vec<usize> = groups.iter().map(|g| g[0]).collect();
        ascending(&mut firsts);
        firsts.into_iter().map(|i| all[i]).collect()
    }

    // ---- writing ----

    /// Header (with its length before it) and the order of the data.
    fn layout(&self) -> Result<(Vec<u8>, Vec<usize>)> {
        self.check()?;
        // Large elements first, so that every tensor is aligned; otherwise in order.
        let size = |i: usize| self.tensors[i].tensor.dtype().size();
        let order = order(self.tensors.len(), &|a, b| size(b).cmp(&size(a)));
        let mut ranges: Vec<Range<u64>> = vec![0..0; order.len()];
        let mut end = 0;
        for &i in &order {
            let start = end;
            end += self.tensors[i].tensor.size();
            ranges[i] = start..end;
        }
        let mut lines = vec![
            (VERSION.to_owned(), FORMAT_VERSION.to_string()),
            (CHECKSUM.to_owned(), NO_CHECKSUM.to_owned()),
        ];
        lines.extend(self.kinds.iter().map(|(s, k)| (key(KIND, s), k.clone())));
        for (section, value) in &self.values {
            let text = value.to_json()?;
            if text.len() > MAX_VALUE {
                return Err(unwritable(format!(
                    "the value of section `{section}` takes {} bytes, the limit is {MAX_VALUE}: put long lists into tensors",
                    text.len()
                )));
            }
            lines.push((key(VALUE, section), text));
        }
        lines.extend(self.metadata.iter().cloned());
        let mut text = header::write(
            &lines,
            self.tensors
                .iter()
                .zip(ranges)
                .map(|(s, range)| (s.name(), s.tensor.dtype(), s.tensor.shape().into(), range)),
        );
        if text.len() as u64 > MAX_HEADER {
            return Err(unwritable(format!(
                "the header takes {} bytes, the limit is {MAX_HEADER}",
                text.len()
            )));
        }
        let mut hash = Xxh64::new();
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
        for &i in &order {
            self.tensors[i]
                .tensor
                .bytes(&mut |b| {
                    hash.update(b);
                    Ok(())
                })
                .map_err(io("hash"))?;
        }
        // The version line comes first, so the first zeros in quotes are the checksum's.
        let digits = format!("\"{NO_CHECKSUM}\"");
        let at = text.find(&digits).expect("the checksum line was written") + 1;
        text.replace_range(at..at + 16, &format!("{:016x}", hash.finish()));
        let mut head = (text.len() as u64).to_le_bytes().to_vec();
        head.extend_from_slice(text.as_bytes());
        Ok((head, order))
    }

    fn check(&self) -> Result<()> {
        for s in self.sections() {
            if !plain(s) {
                return Err(unwritable(format!(
                    "section `{}`: a name has letters, digits, `_` and `-` only",
                    shown(s)
                )));
            }
        }
        let mut names = Vec::with_capacity(self.tensors.len());
        for s in &self.tensors {
            let name = s.name();
            if s.path.contains('/') || name == "__metadata__" {
                return Err(unwritable(format!(
                    "the name `{}` is reserved or contains `/`",
                    shown(&name)
                )));
            }
            names.push(name);
        }
        if let Some(i) = repeated(names.len(), &|a, b| names[a].cmp(&names[b])) {
            return Err(unwritable(format!(
                "two tensors are named `{}`",
                shown(&names[i])
            )));
        }
        if let Some((k, _)) = self.metadata.iter().find(|(k, _)| k.starts_with(RESERVED)) {
            return Err(unwritable(format!(
                "the metadata key `{}` is reserved",
                shown(k)
            )));
        }
        Ok(())
    }

    fn write(&self, head: &[u8], order: &[usize], out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(head)?;
        for &i in order {
            self.tensors[i].tensor.bytes(&mut |b| out.write_all(b))?;
        }
        Ok(())
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a name occurs twice or is reserved, a section's name has other characters than letters, digits, `_` and `-`, or
    /// a value cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (head, order) = self.layout()?;
        let mut out = Vec::new();
        self.write(&head, &order, &mut out).map_err(io("write"))?;
        Ok(out)
    }

    /// Writes the file, all or nothing: see [`write_atomic`].
    ///
    /// # Errors
    /// As [`Checkpoint::to_bytes`] and [`write_atomic`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (head, order) = self.layout().map_err(|e| e.at(path))?;
        write_atomic(path, |out| self.write(&head, &order, out))
    }

    // ---- reading ----

    /// Reads a file, and verifies its checksum.
    ///
    /// Memory is taken for what the file holds, never for what its header claims. Files of other programs, which have no
    /// checksum, are read as well; their tensors stand in the unnamed section.
    ///
    /// # Errors
    /// When the file cannot be read, is not a valid safetensors file, does not have the content that was written, or was
    /// written by a newer release.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::open(path.as_ref(), true)
    }

    /// As [`Checkpoint::load`], without verification: to rescue what is left of a damaged file.
    ///
    /// # Errors
    /// As [`Checkpoint::load`], except for the checksum.
    pub fn load_unverified(path: impl AsRef<Path>) -> Result<Self> {
        Self::open(path.as_ref(), false)
    }

    fn open(path: &Path, verify: bool) -> Result<Self> {
        let read = || {
            // Asked before opening, which would wait for the other end of a pipe.
            let meta = std::fs::metadata(path).map_err(io("open"))?;
            if !meta.is_file() {
                return Err(not_a_file());
            }
            let file = File::open(path).map_err(io("open"))?;
            // Of the opened file: a save may have replaced it since.
            let size = file.metadata().map_err(io("open"))?.len();
            Self::read(file, size, verify)
        };
        read().map_err(|e| e.at(path))
    }

    /// Reads the bytes of a file, and verifies the checksum.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, bytes.len() as u64, true)
    }

    /// As [`Checkpoint::from_bytes`], without verification.
    ///
    /// # Errors
    /// As [`Checkpoint::load`], except for the checksum.
    pub fn from_bytes_unverified(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, bytes.len() as u64, false)
    }

    fn read(mut source: impl Read, size: u64, verify: bool) -> Result<Self> {
        if size < 8 {
            return Err(format(0, format!("a file of {size} bytes has no header")));
        }
        let mut at = 0u64;
        let mut take = |buffer: &mut [u8]| -> Result<()> {
            source.read_exact(buffer).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => format(at, "the file ends here"),
                _ => io("read")(e),
            })?;
            at += buffer.len() as u64;
            Ok(())
        };
        let mut field = [0; 8];
        take(&mut field)?;
        let length = header::length(field, size)?;
        let mut text = vec![0; length];
        take(&mut text)?;
        let header = header::parse(&text, size - 8 - length as u64)?;
        let mut out = Checkpoint::default();
        let ours = out.interpret(header.metadata)?;
        let mut hash = None;
        if ours {
            let Some(digits) = header.checksum else {
                return Err(format(8, "the checksum is missing"));
            };
            let stated = String::from_utf8_lossy(&text[digits.clone()]).into_owned();
            text[digits].fill(b'0');
            let mut h = Xxh64::new();
            h.update(&field);
            h.update(&text);
            hash = verify.then_some((h, stated));
        }
        drop(text);

        let mut read: Vec<Option<AnyTensor>> = Vec::new();
        read.resize_with(header.entries.len(), || None);
        for &i in &header.order {
            let mut source = |buffer: &mut [u8]| {
                take(buffer)?;
                if let Some((h, _)) = &mut hash {
                    h.update(buffer);
                }
                Ok(())
            };
            let entry = &header.entries[i];
            read[i] = Some(AnyTensor::read(entry, &mut source)?);
        }
        if let Some((h, stated)) = hash {
            let computed = format!("{:016x}", h.finish());
            if computed != stated {
                return Err(Problem::Checksum { stated, computed }.into());
            }
        }
        for (entry, t) in header.entries.into_iter().zip(read) {
            let name = entry.name.into_string();
            let (section, path) = match name.split_once('/') {
                Some((s, p)) if ours => {
                    // What this release never writes could mean two things: `/a` is not `a`.
                    if s.is_empty() || !plain(s) || p.contains('/') {
                        return Err(tensor(&name, "the name is not of the form section/path"));
                    }
                    (s.to_owned(), p.to_owned())
                }
                _ => (String::new(), name),
            };
            out.tensors.push(Stored {
                section,
                path,
                tensor: t.ok_or_else(|| tensor("", "has no data"))?,
            });
        }
        Ok(out)
    }

    /// Takes the metadata apart; says whether the file is of this format.
    fn interpret(&mut self, lines: Vec<(String, String)>) -> Result<bool> {
        let version = get(&lines, VERSION).cloned();
        if let Some(found) = &version {
            match found.parse::<u32>() {
                Ok(1..=FORMAT_VERSION) => {}
                Ok(n) if n > FORMAT_VERSION => return Err(newer(found)),
                _ => {
                    return Err(format(
                        8,
                        format!("`{}` is not a format version", shown(found)),
                    ));
                }
            }
        }
        for (k, v) in lines {
            if version.is_none() && k.starts_with(RESERVED) {
                return Err(format(
                    8,
                    format!(
                        "metadata `{}`, but the format version is missing",
                        shown(&k)
                    ),
                ));
            }
            if version.is_none() {
                self.metadata.push((k, v));
            } else if k == VERSION || k == CHECKSUM {
            } else if let Some(section) = section(&k, KIND) {
                self.kinds.push((section.to_owned(), v));
            } else if let Some(section) = section(&k, VALUE) {
                if v.len() > MAX_VALUE {
                    return Err(format(
                        8,
                        format!(
                            "the value of section `{}` takes {} bytes, the limit is {MAX_VALUE}",
                            shown(section),
                            v.len()
                        ),
                    ));
                }
                let value = Value::from_json(&v).map_err(|e| {
                    format(
                        8,
                        format!("value of section `{}`: {}", shown(section), e.problem),
                    )
                })?;
                self.values.push((section.to_owned(), value));
            } else if k.starts_with(RESERVED) {
                return Err(format(8, format!("unknown metadata `{}`", shown(&k))));
            } else {
                self.metadata.push((k, v));
            }
        }
        Ok(version.is_some())
    }
}

/// Whether a section's name has letters, digits, `_` and `-` only.
fn plain(section: &str) -> bool {
    section
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn newer(found: &str) -> StateError {
    Problem::Version {
        found: found.to_owned(),
        supported: FORMAT_VERSION,
    }
    .into()
}

fn key(base: &str, section: &str) -> String {
    if section.is_empty() {
        base.to_owned()
    } else {
        format!("{base}.{section}")
    }
}

/// The inverse of [`key`].
fn section<'a>(key: &'a str, base: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(base)?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_prefix('.').filter(|s| !s.is_empty() && plain(s))
    }
}

/// Parameters and buffers of a model, in visiting order.
pub(super) fn entries<T: Real, M: Module<T> + ?Sized>(model: &M) -> Vec<(String, AnyTensor)> {
    struct Collect(Vec<(String, AnyTensor)>);
    impl<T: Real> Visitor<T> for Collect {
        fn param(&mut self, path: &str, p: &Param<T>) {
            self.0
                .push((path.to_owned(), AnyTensor::of(p.value().clone())));
        }
        fn buffer(&mut self, path: &str, b: &Buffer<T>) {
            self.0
                .push((path.to_owned(), AnyTensor::of(b.value().clone())));
        }
    }
    let mut c = Collect(Vec::new());
    model.visit(&mut wengert_autograd::Path::new(), &mut c);
    c.0
}
