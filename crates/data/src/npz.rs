//! NumPy's archives of arrays, `.npz`: ZIP files with one `.npy` per array, stored or deflated.
//!
//! The archive is never unpacked to disk. Its directory is checked against the size of the file, each member is
//! unpacked on demand, no further than its own header says and [`Limits::unpacked`] allows, and its checksum is
//! verified. Refused are encrypted and split archives, absolute names, names with `..`, and names that stand twice.

use crate::any::AnyTensor;
use crate::error::{Error, Position, Result, shown};
use crate::file::{self, Limits};
use crate::npy;
use std::io::Read;
use std::path::{Path, PathBuf};
use wengert_tensor::order::repeated;

/// An opened archive.
///
/// ```no_run
/// let archive = wengert_data::npz::Npz::open("mnist.npz")?;
/// let images = archive.get("x_train")?.into_u8()?;
/// # Ok::<(), wengert_data::Error>(())
/// ```
pub struct Npz {
    path: PathBuf,
    bytes: Vec<u8>,
    limits: Limits,
    members: Vec<Member>,
}

struct Member {
    name: String,
    deflated: bool,
    crc: u32,
    packed: usize,
    size: u64,
    /// Where the packed bytes begin.
    begin: usize,
}

const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;

fn u16_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u16::from_le_bytes(*b.get(at..)?.first_chunk()?)))
}
fn u32_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(*b.get(at..)?.first_chunk()?)))
}
fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*b.get(at..)?.first_chunk()?))
}
fn is(b: &[u8], at: usize, signature: u32) -> bool {
    u32_at(b, at) == Some(u64::from(signature))
}

impl Npz {
    /// Opens an archive and reads its directory.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`] beyond [`Limits::default`], [`Error::Format`] with the byte at fault.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &Limits::default())
    }

    /// As [`Npz::open`], with other limits.
    ///
    /// # Errors
    /// As [`Npz::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        Self::directory(file::read(path, limits)?, path, limits)
    }

    /// Reads the contents of a file; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Npz::open`].
    pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        Self::directory(bytes.to_vec(), name.as_ref(), &Limits::default())
    }

    fn directory(bytes: Vec<u8>, path: &Path, limits: &Limits) -> Result<Self> {
        let members = entries(&bytes).map_err(|(at, message)| {
            Error::format(path, Position::Byte(at as u64), format!("npz: {message}"))
        })?;
        Ok(Npz {
            path: path.to_path_buf(),
            bytes,
            limits: *limits,
            members,
        })
    }

    /// The names of the arrays, without `.npy`, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|m| m.name.as_str())
    }

    /// One array.
    ///
    /// # Errors
    /// [`Error::Value`] when there is none of that name, else as [`npy::read`], and [`Error::Format`] for damaged packing
    /// or a wrong checksum.
    pub fn get(&self, name: &str) -> Result<AnyTensor> {
        let member = self
            .members
            .iter()
            .find(|m| m.name == name)
            .ok_or_else(|| {
                let list: Vec<String> = self
                    .names()
                    .take(10)
                    .map(|n| format!("\"{}\"", shown(n)))
                    .collect();
                Error::value(
                    "npz",
                    format!("no array \"{}\" among {}", shown(name), list.join(", ")),
                )
            })?;
        // Messages name the archive and the member.
        let path = self.path.join(format!("{name}.npy"));
        let packed = &self.bytes[member.begin..member.begin + member.packed];
        let unpacked;
        let plain = if member.deflated {
            unpacked = self.inflate(&path, member, packed)?;
            &unpacked[..]
        } else {
            packed
        };
        let mut crc = flate2::Crc::new();
        crc.update(plain);
        if crc.sum() != member.crc {
            let message = format!(
                "npz: checksum {:#010x}, the directory says {:#010x}",
                crc.sum(),
                member.crc
            );
            return Err(Error::format(&path, Position::Whole, message));
        }
        npy::parse(plain, &path)
    }

    fn inflate(&self, path: &Path, member: &Member, packed: &[u8]) -> Result<Vec<u8>> {
        let limit = self.limits.unpacked;
        let bad = |done: usize, message: String| {
            Error::format(path, Position::Byte(done as u64), format!("npz: {message}"))
        };
        // Deflate packs at most 1032 bytes into one.
        if member.size > (packed.len() as u64).saturating_mul(1032) {
            let message = format!(
                "{} compressed bytes cannot hold the {} of the directory",
                packed.len(),
                member.size
            );
            return Err(bad(0, message));
        }
        if member.size > limit {
            return Err(Error::TooLarge {
                path: path.to_path_buf(),
                what: " after decompression",
                limit,
            });
        }
        let mut source = flate2::read::DeflateDecoder::new(packed);
        let mut out = Vec::new();
        let failed = |out: &Vec<u8>, e: std::io::Error| {
            bad(out.len(), format!("{e}, after this many unpacked bytes"))
        };
        (&mut source)
            .take((1 << 16).min(member.size))
            .read_to_end(&mut out)
            .map_err(|e| failed(&out, e))?;
        let whole = npy::header(path, &out)?.whole;
        if whole != member.size {
            let message = format!(
                "the array needs {whole} bytes, the directory says {}",
                member.size
            );
            return Err(bad(0, message));
        }
        let rest = member.size - out.len() as u64;
        // The memory grows with what comes out, not with what the headers promise.
        (&mut source)
            .take(rest + 1)
            .read_to_end(&mut out)
            .map_err(|e| failed(&out, e))?;
        if out.len() as u64 != member.size {
            return Err(bad(
                out.len(),
                format!("the directory says {} bytes", member.size),
            ));
        }
        Ok(out)
    }
}

type Fault = (usize, String);

/// The members that the directory at the end of the file lists.
fn entries(bytes: &[u8]) -> Result<Vec<Member>, Fault> {
    let bad = |at: usize, message: &str| (at, message.to_string());
    // The end record stands at the end, before a comment of at most 65,535 bytes whose length it knows.
    let last = bytes.len().checked_sub(22);
    let end = last.and_then(|last| {
        (last.saturating_sub(0xffff)..=last)
            .rev()
            .find(|&p| is(bytes, p, END) && u16_at(bytes, p + 20) == Some((last - p) as u64))
    });
    let end = end.ok_or_else(|| {
        bad(
            bytes.len(),
            "no end of a ZIP directory here; not an archive, or cut off",
        )
    })?;
    let cut = || bad(end, "the end record is cut off");
    let word = |at| u16_at(bytes, at).ok_or_else(cut);
    let (mut count, mut size, mut start) = (
        word(end + 10)?,
        u32_at(bytes, end + 12).ok_or_else(cut)?,
        u32_at(bytes, end + 16).ok_or_else(cut)?,
    );
    let mut disks = [word(end + 4)?, word(end + 6)?];
    let mut limit = end;
    if let Some(locator) = end.checked_sub(20).filter(|&p| is(bytes, p, LOCATOR64)) {
        let at = u64_at(bytes, locator + 8)
            .and_then(|p| usize::try_from(p).ok())
            .unwrap_or(usize::MAX);
        if at > locator || !is(bytes, at, END64) {
            return Err(bad(locator, "the ZIP64 locator points to no record"));
        }
        let long =
            |k: usize| u64_at(bytes, at + k).ok_or_else(|| bad(at, "the ZIP64 record is cut off"));
        (count, size, start) = (long(32)?, long(40)?, long(48)?);
        let long_disk = long(16)?;
        disks = [long_disk & 0xffff_ffff, long_disk >> 32];
        limit = at;
    }
    if disks != [0, 0] {
        return Err(bad(end, "the archive is split over several files"));
    }
    // An entry takes at least 46 bytes: a count beyond that is a lie of the record.
    let fits = start.checked_add(size).is_some_and(|e| e <= limit as u64) && count <= size / 46;
    if !fits {
        return Err((
            end,
            format!(
                "a directory of {count} members in {size} bytes at {start} does not fit the file"
            ),
        ));
    }
    let stop = (start + size) as usize;
    let mut at = start as usize;
    let mut members = Vec::with_capacity(count as usize);
    for _ in 0..count {
        at = entry(&bytes[..stop], bytes, at, &mut members)?;
    }
    if at != stop {
        return Err(bad(at, "the directory is longer than its members"));
    }
    let name = |i: usize| &members[i].name;
    if let Some(i) = repeated(members.len(), &|a, b| name(a).cmp(name(b))) {
        return Err((
            start as usize,
            format!("the name \"{}\" stands twice", shown(name(i))),
        ));
    }
    Ok(members)
}

/// Reads the entry at `at` of the directory; returns where the next begins.
fn entry(
    directory: &[u8],
    bytes: &[u8],
    at: usize,
    members: &mut Vec<Member>,
) -> Result<usize, Fault> {
    let bad = |at: usize, message: &str| (at, message.to_string());
    let cut = || bad(at, "a member of the directory is cut off");
    if !is(directory, at, ENTRY) {
        return Err(bad(at, "no member of the directory begins here"));
    }
    let half = |k: usize| u16_at(directory, at + k).ok_or_else(cut);
    let word = |k: usize| u32_at(directory, at + k).ok_or_else(cut);
    let (flags, method, crc) = (half(8)?, half(10)?, word(16)?);
    let (mut packed, mut size, mut offset) = (word(20)?, word(24)?, word(42)?);
    let (name_len, extra_len, note_len) =
        (half(28)? as usize, half(30)? as usize, half(32)? as usize);
    let name = directory.get(at + 46..at + 46 + name_len).ok_or_else(cut)?;
    let mut extra = directory
        .get(at + 46 + name_len..at + 46 + name_len + extra_len)
        .ok_or_else(cut)?;
    let next = at + 46 + name_len + extra_len + note_len;
    while let (Some(id), Some(n)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let field = extra.get(4..4 + n as usize).ok_or_else(cut)?;
        if id == 1 {
            // ZIP64: the values that did not fit above, in this order.
            let mut p = 0;
            for value in [&mut size, &mut packed, &mut offset] {
                if *value == 0xffff_ffff {
                    *value = u64_at(field, p).ok_or_else(cut)?;
                    p += 8;
                }
            }
        }
        extra = &extra[4 + n as usize..];
    }
    let name = std::str::from_utf8(name).map_err(|_| bad(at + 46, "a name that is not UTF-8"))?;
    let safe = name.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !name.contains(['\\', '\0', ':']);
    let stem = name.strip_suffix(".npy").filter(|_| safe);
    let stem = stem.ok_or_else(|| {
        (
            at + 46,
            format!("the name \"{}\" is not that of an array", shown(name)),
        )
    })?;
    if flags & 1 != 0 {
        return Err(bad(at + 8, "encrypted members are not read"));
    }
    let deflated = match method {
        0 => false,
        8 => true,
        _ => return Err((at + 10, format!("compression method {method} is not read"))),
    };
    if !deflated && packed != size {
        return Err((
            at + 20,
            format!("a stored member of {packed} bytes that claims {size}"),
        ));
    }
    let local = usize::try_from(offset)
        .ok()
        .filter(|&p| is(bytes, p, LOCAL));
    let local = local.ok_or_else(|| (at + 42, format!("no member begins at {offset}")))?;
    let lengths = u16_at(bytes, local + 26).zip(u16_at(bytes, local + 28));
    let (n, m) = lengths.ok_or_else(|| bad(local, "a member is cut off"))?;
    let begin = local + 30 + n as usize + m as usize;
    let inside = (begin as u64)
        .checked_add(packed)
        .is_some_and(|end| end <= bytes.len() as u64);
    if !inside {
        return Err((
            at + 20,
            format!("{packed} bytes from {begin} on do not lie in the file"),
        ));
    }
    members.push(Member {
        name: stem.to_string(),
        deflated,
        crc: crc as u32,
        packed: packed as usize,
        size,
        begin,
    });
    Ok(next)
}
