//! Files that are complete or absent.

use super::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file so that its path holds the old or the new content in full, whatever happens in between: into a
/// temporary file in the same folder, synced, then renamed over the path, and the folder synced. Permissions of a file
/// that is replaced are kept; a symbolic link is followed. What is not a regular file (a pipe, `/dev/stdout`) is
/// written to directly.
///
/// # Errors
/// [`Error::Io`] names the path and the step that failed; no temporary file is left.
pub fn write_atomic(path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let (target, folder, found) = match place(path)? {
        Place::Other => {
            let mut f = OpenOptions::new()
                .write(true)
                .open(path)
                .map_err(|e| Error::io("open", path, e))?;
            return f
                .write_all(content)
                .and_then(|()| f.flush())
                .map_err(|e| Error::io("write", path, e));
        }
        Place::File {
            target,
            folder,
            found,
        } => (target, folder, found),
    };
    let (mut file, temp) = create_beside(&target, &folder, path)?;
    let written = file
        .write_all(content)
        .map_err(|e| ("write", e))
        .and_then(|()| match found {
            Some(p) => file
                .set_permissions(p)
                .map_err(|e| ("set the permissions of", e)),
            None => Ok(()),
        })
        .and_then(|()| file.sync_all().map_err(|e| ("sync", e)))
        .and_then(|()| fs::rename(&temp, &target).map_err(|e| ("replace", e)));
    if let Err((action, e)) = written {
        // The error that counts is the first one.
        let _ = fs::remove_file(&temp);
        return Err(Error::io(action, path, e));
    }
    // The rename itself reaches the disk with the folder; systems that cannot open folders do without.
    if let Ok(d) = File::open(&folder) {
        d.sync_all()
            .map_err(|e| Error::io("sync the folder of", path, e))?;
    }
    Ok(())
}

/// Whether [`write_atomic`] could write to this path now: to hear of a folder that is not there before hours of training, not
/// after them. Writes nothing.
///
/// # Errors
/// As [`write_atomic`].
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    if let Place::File { target, folder, .. } = place(path)? {
        let (_, temp) = create_beside(&target, &folder, path)?;
        fs::remove_file(&temp).map_err(|e| Error::io("write", path, e))?;
    }
    Ok(())
}

/// What is at a path.
enum Place {
    /// A regular file, or nothing yet: behind links, its folder, and the permissions of what is there.
    File {
        target: PathBuf,
        folder: PathBuf,
        found: Option<fs::Permissions>,
    },
    /// A pipe or a device.
    Other,
}

fn place(path: &Path) -> Result<Place> {
    let found = match fs::metadata(path) {
        Ok(m) => Some(m),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("open", path, e)),
    };
    match &found {
        Some(m) if m.is_dir() => {
            let e = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::io("write", path, e));
        }
        Some(m) if !m.is_file() => return Ok(Place::Other),
        _ => {}
    }
    // Replacing a link by a file would cut it; a link to nothing is refused rather than replaced.
    let target = if fs::symlink_metadata(path).is_ok() {
        fs::canonicalize(path).map_err(|e| Error::io("open", path, e))?
    } else {
        path.to_path_buf()
    };
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok(Place::File {
        target,
        folder,
        found: found.map(|m| m.permissions()),
    })
}

/// A new file in `folder` that nobody else has.
fn create_beside(target: &Path, folder: &Path, path: &Path) -> Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let stem = target.file_name().unwrap_or_default().to_string_lossy();
    // A long name plus a suffix may exceed what the file system takes.
    let stem: String = stem.chars().take(40).collect();
    loop {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temp = folder.join(format!(".{stem}.{}-{n}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temp) {
            Ok(f) => return Ok((f, temp)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("create", path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let d = std::env::temp_dir().join(format!("wengert-report-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&d);
        fs::create_dir_all(&d).unwrap();
        d
    }

    #[test]
    fn replaces_whole_and_leaves_nothing_behind() {
        let d = folder("replace");
        let p = d.join("r.html");
        write_atomic(&p, b"old and long").unwrap();
        write_atomic(&p, b"new").unwrap();
        assert_eq!(fs::read(&p).unwrap(), b"new");
        assert_eq!(fs::read_dir(&d).unwrap().count(), 1);
        fs::remove_dir_all(d).unwrap();
    }

    #[test]
    fn errors_name_the_path() {
        let d = folder("errors");
        let missing = d.join("no\nwhere").join("r.html");
        let e = write_atomic(&missing, b"x").unwrap_err().to_string();
        assert!(e.contains("no\\nwhere/r.html") && !e.contains('\n'), "{e}");
        assert_eq!(check_writable(&missing).unwrap_err().to_string(), e);
        let e = write_atomic(&d, b"x").unwrap_err().to_string();
        assert!(e.contains("wengert-report"), "{e}");
        assert_eq!(check_writable(&d).unwrap_err().to_string(), e);
        check_writable(d.join("r.html")).unwrap();
        // The rename is what fails here: a file cannot take the name of a folder.
        let slash = format!("{}/new/", d.display());
        assert!(write_atomic(&slash, b"x").is_err());
        assert_eq!(fs::read_dir(&d).unwrap().count(), 0, "nothing is left");
        fs::remove_dir_all(d).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_devices() {
        use std::os::unix::fs::PermissionsExt;
        let d = folder("links");
        let (p, l) = (d.join("r"), d.join("link"));
        fs::write(&p, b"old").unwrap();
        fs::set_permissions(&p, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&p, &l).unwrap();
        write_atomic(&l, b"new").unwrap();
        assert!(fs::symlink_metadata(&l).unwrap().is_symlink());
        assert_eq!(fs::read(&p).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&p).unwrap().permissions().mode() & 0o777,
            0o640
        );
        fs::remove_file(&p).unwrap();
        assert!(write_atomic(&l, b"x").is_err(), "a link to nothing");
        if Path::new("/dev/full").exists() {
            assert!(write_atomic("/dev/full", b"x").is_err());
        }
        fs::remove_dir_all(d).unwrap();
    }
}
