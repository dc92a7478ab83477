//! Writing a file so that its path always holds a complete old or a complete new content.

use super::error::{Result, StateError, format, io};
use super::xxh64::Xxh64;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self as std_io, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Replaces the file at `path` by what `write` writes, all or nothing, even if the process is killed or the power fails.
///
/// A temporary file in the same directory is written, flushed to the device, renamed to `path`, and the directory flushed. The new
/// file has mode and, where permitted, owner of the old one. On an error the old file stays as it is and the
/// temporary file goes; what a killed process leaves behind goes at the next save to the same path. Several
/// processes may save to one path at the same time; the last to finish wins.
///
/// A symbolic link is followed: its target is replaced.
///
/// # Errors
/// When `path` is a directory, a device or a dangling link, when the directory is missing or not writable, when
/// the device is full, and what `write` errs with.
pub fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> std_io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(|e| e.at(path))
}

/// Whether [`write_atomic`] could write to this path now: to hear of a directory that is not there before hours of training,
/// not after them. The path stays as it is.
///
/// # Errors
/// As [`write_atomic`], but for what only writing shows, such as a device that is full.
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    Place::find(path).map(drop).map_err(|e| e.at(path))
}

/// Where a file is to be replaced, and all that must be had before its content is written.
struct Place {
    target: PathBuf,
    old: Option<fs::Metadata>,
    /// Opened first: later there may be no descriptor left, and the old file must survive that.
    #[cfg(unix)]
    directory: File,
    temporary: Temporary,
}

impl Place {
    fn find(path: &Path) -> Result<Self> {
        let target = match fs::symlink_metadata(path) {
            Ok(m) if m.is_symlink() => fs::canonicalize(path).map_err(io("follow the link"))?,
            _ => path.to_owned(),
        };
        let old = match fs::metadata(&target) {
            Ok(m) if m.is_file() => Some(m),
            Ok(_) => return Err(not_a_file()),
            Err(e) if e.kind() == std_io::ErrorKind::NotFound => None,
            Err(e) => return Err(io("look at the old file")(e)),
        };
        let Some(name) = target.file_name() else {
            return Err(not_a_file());
        };
        let directory = match target.parent() {
            Some(d) if !d.as_os_str().is_empty() => d,
            _ => Path::new("."),
        };
        #[cfg(unix)]
        let opened = File::open(directory).map_err(io("open the directory"))?;
        let prefix = prefix(name);
        sweep(directory, &prefix);
        let temporary = Temporary::create(directory, &prefix, old.is_some())?;
        Ok(Place {
            target,
            old,
            #[cfg(unix)]
            directory: opened,
            temporary,
        })
    }
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> std_io::Result<()>) -> Result<()> {
    let mut place = Place::find(path)?;
    let file = &place.temporary.file;
    let mut buffered = BufWriter::with_capacity(1 << 16, file);
    write(&mut buffered)
        .and_then(|()| buffered.flush())
        .map_err(io("write"))?;
    drop(buffered);
    if let Some(old) = &place.old {
        keep_owner(file, old);
        file.set_permissions(old.permissions())
            .map_err(io("keep the mode"))?;
    }
    file.sync_all().map_err(io("flush the file"))?;
    fs::rename(&place.temporary.path, &place.target).map_err(io("rename the new file"))?;
    place.temporary.renamed = true;
    #[cfg(unix)]
    place
        .directory
        .sync_all()
        .map_err(io("flush the directory"))?;
    Ok(())
}

pub(super) fn not_a_file() -> StateError {
    format(0, "this is not a regular file")
}

#[cfg(unix)]
fn keep_owner(file: &File, old: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    if let Ok(new) = file.metadata()
        && (new.uid(), new.gid()) != (old.uid(), old.gid())
    {
        // Only root may give files away; the group alone often works. Content matters more than either.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()))
            .or_else(|_| fchown(file, None, Some(old.gid())));
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &fs::Metadata) {}

/// Beginning of the names of the temporary files of a target. The hash keeps targets apart whose names are cut.
fn prefix(name: &std::ffi::OsStr) -> String {
    let name = name.to_string_lossy();
    let mut hash = Xxh64::new();
    hash.update(name.as_bytes());
    let start: String = name.chars().take(32).collect();
    format!(".{start}.{:016x}.", hash.finish())
}

const SUFFIX: &str = ".tmp";

/// A temporary file, locked while its writer lives, removed unless it was renamed.
struct Temporary {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(directory: &Path, prefix: &str, private: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // The old file may be secret: its mode is given only when the content is complete.
        #[cfg(unix)]
        if private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        #[cfg(not(unix))]
        let _ = private;
        loop {
            let n = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{prefix}{}-{n}{SUFFIX}", std::process::id()));
            let file = match options.open(&path) {
                Ok(f) => f,
                // Left by a process that had this number.
                Err(e) if e.kind() == std_io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(io("create a temporary file")(e)),
            };
            let temporary = Temporary {
                file,
                path,
                renamed: false,
            };
            // Between creation and lock another process may have swept the file away.
            match temporary.file.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                _ if temporary.path.exists() => return Ok(temporary),
                _ => {}
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the temporary files of writers that are gone: those that nobody holds a lock on.
fn sweep(directory: &Path, prefix: &str) {
    let Ok(list) = fs::read_dir(directory) else {
        return;
    };
    for entry in list.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with(prefix) || !name.ends_with(SUFFIX) {
            continue;
        }
        if let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
