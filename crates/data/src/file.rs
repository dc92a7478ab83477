//! Reading whole files within limits.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// How much a reader is willing to take.
///
/// Memory follows what a file really holds: numbers written in a header are checked against the size of the file before
/// anything is allocated for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file in bytes (default 16 GiB).
    pub file: u64,
    /// Largest content of a compressed file, or of one member of an archive, in bytes (default 1 GiB).
    pub unpacked: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file: 16 << 30,
            unpacked: 1 << 30,
        }
    }
}

/// The bytes of a regular file.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    // Before opening: opening a pipe would wait for its other end, a device has no end.
    let about = fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    if !about.is_file() {
        return Err(Error::io(
            path,
            "read",
            io::Error::other("not a regular file"),
        ));
    }
    let too_large = || Error::TooLarge {
        path: path.to_path_buf(),
        what: "",
        limit: limits.file,
    };
    if about.len() > limits.file {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(about.len()).map_err(|_| too_large())?;
    bytes
        .try_reserve_exact(room)
        .map_err(|_| Error::io(path, "read", io::ErrorKind::OutOfMemory.into()))?;
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    file.take(limits.file.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(path, "read", e))?;
    if bytes.len() as u64 > limits.file {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Whether the bytes begin as a gzip member.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The content of a gzip file.
///
/// `expect` sees the first bytes of the content (up to 64 KiB) and may say how long the whole must be; what is longer than that is cut
/// one byte behind, so that the caller notices without unpacking a bomb to its end.
#[cfg(feature = "gzip")]
pub(crate) fn gunzip(
    path: &Path,
    packed: &[u8],
    limits: &Limits,
    expect: impl FnOnce(&[u8]) -> Result<Option<u64>>,
) -> Result<Vec<u8>> {
    use crate::error::Position;
    let bad = |e: io::Error, done: usize| {
        Error::format(
            path,
            Position::Byte(done as u64),
            format!("gzip: {e}, after this many unpacked bytes"),
        )
    };
    let too_large = |limit| Error::TooLarge {
        path: path.to_path_buf(),
        what: " after decompression",
        limit,
    };
    let mut source = flate2::read::MultiGzDecoder::new(packed);
    let mut out = Vec::new();
    (&mut source)
        .take(1 << 16)
        .read_to_end(&mut out)
        .map_err(|e| bad(e, out.len()))?;
    let mut most = limits.unpacked;
    if let Some(whole) = expect(&out)? {
        // Deflate packs at most 1032 bytes into one: a length beyond that is a lie of the header.
        let possible = (packed.len() as u64).saturating_mul(1032);
        if whole > possible {
            return Err(Error::format(
                path,
                Position::Whole,
                format!(
                    "the header asks for {whole} bytes, {} compressed bytes cannot hold them",
                    packed.len()
                ),
            ));
        }
        if whole > limits.unpacked {
            return Err(too_large(limits.unpacked));
        }
        most = whole;
    }
    // The memory grows with what comes out, not with what the header promises.
    let room = most.saturating_add(1).saturating_sub(out.len() as u64);
    (&mut source)
        .take(room)
        .read_to_end(&mut out)
        .map_err(|e| bad(e, out.len()))?;
    if out.len() as u64 > limits.unpacked {
        return Err(too_large(limits.unpacked));
    }
    Ok(out)
}

/// As the function with the feature, which is not compiled in.
#[cfg(not(feature = "gzip"))]
pub(crate) fn gunzip(
    path: &Path,
    _: &[u8],
    _: &Limits,
    _: impl FnOnce(&[u8]) -> Result<Option<u64>>,
) -> Result<Vec<u8>> {
    Err(Error::Feature {
        path: path.to_path_buf(),
        feature: "gzip",
    })
}
