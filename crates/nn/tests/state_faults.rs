//! What happens to the file when something goes wrong while it is written.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wengert_autograd::Tensor;
use wengert_nn::state::{Checkpoint, Problem, StateError, Value, write_atomic};

/// An empty directory, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let at =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&at);
        fs::create_dir(&at).unwrap();
        Dir(at)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn list(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.0, Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// State number `k`: every value says so.
fn state(k: u64, elements: usize) -> Checkpoint {
    let mut c = Checkpoint::new();
    c.put_tensor("model", "w", Tensor::full([elements], k as f64));
    c.put_value("run", Value::from(k));
    c
}

/// The number of a complete state.
fn number(c: &Checkpoint) -> u64 {
    let k = c.value("run").unwrap().as_u64().unwrap();
    let w = c.tensor("model", "w").unwrap().get::<f64>().unwrap();
    assert!(w.iter().all(|x| x == k as f64), "a mixture of states");
    k
}

fn refused(path: &Path) -> StateError {
    state(2, 4).save(path).expect_err("refused")
}

#[test]
fn places_that_cannot_be_written() {
    let dir = Dir::new("places");
    let e = refused(Path::new("/dev/full"));
    assert!(
        e.to_string()
            .contains("/dev/full: byte 0: this is not a regular file"),
        "{e}"
    );
    assert!(refused(&dir.0).to_string().contains("not a regular file"));
    assert!(
        refused(Path::new("/"))
            .to_string()
            .contains("not a regular file")
    );
    assert!(
        refused(Path::new(""))
            .to_string()
            .contains("not a regular file")
    );
    assert!(matches!(
        refused(&dir.join("missing/x")).problem,
        Problem::Io { .. }
    ));
    symlink(dir.join("nowhere"), dir.join("dangling")).unwrap();
    let e = refused(&dir.join("dangling"));
    assert!(e.to_string().contains("cannot follow the link"), "{e}");
    assert_eq!(dir.list(), ["dangling"]);

    // A directory without write permission (root may write all the same).
    let closed = dir.join("closed");
    fs::create_dir(&closed).unwrap();
    state(1, 4).save(closed.join("x")).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).unwrap();
    let probe = fs::File::create(closed.join("probe"));
    if probe.is_err() {
        assert!(matches!(
            refused(&closed.join("x")).problem,
            Problem::Io { .. }
        ));
        assert_eq!(number(&Checkpoint::load(closed.join("x")).unwrap()), 1);
    }
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn an_error_while_writing_leaves_the_old_file_and_no_other() {
    let dir = Dir::new("error");
    let path = dir.join("x.safetensors");
    state(1, 1000).save(&path).unwrap();
    let before = fs::read(&path).unwrap();
    let e = write_atomic(&path, |out| {
        out.write_all(&[1; 200_000])?;
        Err(std::io::Error::other("full"))
    })
    .err()
    .unwrap();
    assert!(e.to_string().ends_with("cannot write: full"), "{e}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(dir.list(), ["x.safetensors"]);
    // A panic in the writer, too.
    let panic = std::panic::catch_unwind(|| write_atomic(&path, |_| panic!("in the writer")));
    assert!(panic.is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(dir.list(), ["x.safetensors"]);
}

#[test]
fn mode_and_owner_are_kept_and_links_followed() {
    let dir = Dir::new("mode");
    let path = dir.join("x");
    state(1, 4).save(&path).unwrap();
    let fresh = fs::metadata(&path).unwrap().mode() & 0o777;
    let plain = dir.join("plain");
    fs::write(&plain, b"").unwrap();
    assert_eq!(
        fresh,
        fs::metadata(&plain).unwrap().mode() & 0o777,
        "a new file has the usual mode"
    );
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    // Only root can give files away; for others this changes nothing.
    let _ = std::os::unix::fs::chown(&path, Some(12345), Some(54321));
    let before = fs::metadata(&path).unwrap();
    state(2, 4).save(&path).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino(), "replaced, not overwritten");
    assert_eq!(after.mode() & 0o777, 0o640);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));

    symlink(&path, dir.join("link")).unwrap();
    state(3, 4).save(dir.join("link")).unwrap();
    assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
    assert_eq!(number(&Checkpoint::load(&path).unwrap()), 3);
    assert_eq!(dir.list(), ["link", "plain", "x"]);
}

#[test]
fn long_and_odd_names() {
    let dir = Dir::new("names");
    for name in [
        "é".repeat(127),
        "a b\n'\"".to_owned(),
        "-".to_owned(),
        ".hidden".to_owned(),
    ] {
        state(4, 4).save(dir.join(&name)).unwrap();
        assert_eq!(number(&Checkpoint::load(dir.join(&name)).unwrap()), 4);
    }
    assert_eq!(dir.list().len(), 4);
}

// ---- other processes ----

/// The work of a child process: saves states 1, 2, … (or up to a number) to a path until it is killed. Does nothing in the
/// suite itself.
#[test]
fn child() {
    let Ok(path) = std::env::var("WENGERT_TEST_SAVE_TO") else {
        return;
    };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (from, to, elements) = (
        number("WENGERT_TEST_FROM"),
        number("WENGERT_TEST_TO"),
        number("WENGERT_TEST_ELEMENTS"),
    );
    for k in from..to {
        state(k, elements as usize).save(&path).unwrap();
    }
}

fn start_child(path: &Path, from: u64, to: u64, elements: usize) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--quiet"])
        .env("WENGERT_TEST_SAVE_TO", path)
        .env("WENGERT_TEST_FROM", from.to_string())
        .env("WENGERT_TEST_TO", to.to_string())
        .env("WENGERT_TEST_ELEMENTS", elements.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a writer at many moments; the file is always a complete state, and a stray temporary file goes at the next save.
#[test]
fn a_killed_writer_leaves_a_complete_state() {
    let dir = Dir::new("killed");
    let path = dir.join("x.safetensors");
    state(0, 100_000).save(&path).unwrap();
    let rounds = std::env::var("WENGERT_KILL_ROUNDS").map_or(25, |n| n.parse().expect("a number"));
    let mut last = 0;
    let mut stray = 0;
    for round in 0..rounds {
        let mut child = start_child(&path, last + 1, u64::MAX, 100_000);
        std::thread::sleep(Duration::from_micros(2000 + round * 7919 % 48_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let k = number(&Checkpoint::load(&path).unwrap());
        assert!(k >= last, "state {k} after {last}");
        last = k;
        let others = dir.list().len() - 1;
        assert!(others <= 1, "{:?}", dir.list());
        stray += others;
    }
    println!("{rounds} kills, {last} states, {stray} temporary files seen");
    state(last + 1, 10).save(&path).unwrap();
    assert_eq!(dir.list(), ["x.safetensors"]);
}

#[test]
fn two_writers_and_a_reader() {
    let dir = Dir::new("writers");
    let path = dir.join("x.safetensors");
    state(0, 20_000).save(&path).unwrap();
    let mut children = [
        start_child(&path, 1000, 1060, 20_000),
        start_child(&path, 2000, 2060, 20_000),
    ];
    let begin = Instant::now();
    let mut loads = 0;
    while children.iter_mut().any(|c| c.try_wait().unwrap().is_none()) {
        number(&Checkpoint::load(&path).unwrap());
        loads += 1;
        assert!(begin.elapsed() < Duration::from_secs(120));
    }
    for c in &mut children {
        assert!(c.wait().unwrap().success(), "no save failed");
    }
    println!("{loads} loads");
    assert!([1059, 2059].contains(&number(&Checkpoint::load(&path).unwrap())));
    assert_eq!(dir.list(), ["x.safetensors"]);
}

/// Writers in threads of one process share nothing either.
#[test]
fn writers_in_threads() {
    let dir = Dir::new("threads");
    let path = dir.join("x.safetensors");
    state(0, 100).save(&path).unwrap();
    std::thread::scope(|s| {
        for t in 0..3u64 {
            let path = &path;
            s.spawn(move || {
                for k in 0..20 {
                    state(100 * t + k, 100).save(path).unwrap();
                    number(&Checkpoint::load(path).unwrap());
                }
            });
        }
    });
    assert_eq!(dir.list(), ["x.safetensors"]);
}
