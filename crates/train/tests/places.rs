//! Files that a run is to write are looked at before the first step.

mod common;
use common::{Batch, Dir, bits, loader, model};
use std::path::Path;
use wengert_nn::loss::CrossEntropy;
use wengert_nn::state::Problem;
use wengert_optim::Sgd;
use wengert_train::{Error, KeepBest, Trainer};

type T<'a> = Trainer<'a, wengert_nn::Sequential, Batch>;

fn trainer<'a>() -> T<'a> {
    Trainer::new(model(1), CrossEntropy::default(), Sgd::new(0.1))
}

/// The text of the error, when no step was taken and no weight changed.
fn refused(mut t: T<'_>, path: &Path, who: &str) -> String {
    let before = bits(&t.model);
    let e = t.fit(&loader(40, 8), None, 1).unwrap_err();
    assert!(
        matches!(&e, Error::Unwritable { what, source } if *what == who && source.path.as_deref() == Some(path)),
        "{e}"
    );
    assert_eq!((t.steps(), t.history().rows.len()), (0, 0));
    assert!(bits(&t.model) == before);
    let text = e.to_string();
    let (start, end) = (
        format!("{who}: {}: ", path.display()),
        "; expected a path of a file, or of none yet, in a directory that exists and can be written to",
    );
    let middle = text.strip_prefix(&start).and_then(|t| t.strip_suffix(end));
    middle.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_first_step() {
    let dir = Dir::new("refused");
    std::fs::write(dir.join("file"), "old").unwrap();
    let places = [
        // A directory that is not there, a file in the place of one, a directory in the place of a file.
        (dir.join("none/state"), "open the directory"),
        (dir.join("file/state"), "look at the old file"),
        (dir.0.clone(), "not a regular file"),
    ];
    for (path, what) in &places {
        for (who, t) in [
            ("checkpoint", trainer().checkpoint(path)),
            (
                "KeepBest",
                trainer().callback(KeepBest::minimize("loss", path)),
            ),
        ] {
            let said = refused(t, path, who);
            assert!(said.contains(what), "{said}");
        }
    }
    let names: Vec<_> = std::fs::read_dir(&dir.0).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// A directory that nobody may write to, not even root.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_is_closed_is_refused_before_the_first_step() {
    let path = Path::new("/proc/self/state");
    let mut t = trainer().checkpoint(path);
    let e = t.fit(&loader(40, 8), None, 1).unwrap_err();
    let Error::Unwritable { source, .. } = &e else {
        panic!("{e}")
    };
    let Problem::Io { doing, .. } = &source.problem else {
        panic!("{e}")
    };
    assert_eq!((*doing, t.steps()), ("create a temporary file", 0));
}

/// Looking writes nothing: the old file stays until the first checkpoint, and no other comes to be.
#[test]
fn looking_leaves_the_place_as_it_is() {
    let dir = Dir::new("looking");
    let path = dir.join("state");
    let seen = |t: T<'_>| {
        let at = dir.0.clone();
        let mut t = t.checkpoint(&path).on_step(move |run, _| {
            let files = std::fs::read_dir(&at).unwrap();
            let files: Vec<_> = files.map(|f| f.unwrap().file_name()).collect();
            let old = std::fs::read(at.join("state")).unwrap_or_default();
            run.stop(format!("{files:?}, {} bytes", old.len()));
            Ok(())
        });
        t.fit(&loader(40, 8), None, 1).unwrap().stop
    };
    use wengert_train::Stop::Callback;
    assert_eq!(seen(trainer()), Callback("[], 0 bytes".into()));
    let first = std::fs::read(&path).unwrap();
    let said = format!("[\"state\"], {} bytes", first.len());
    assert_eq!(seen(trainer()), Callback(said));
    // A bare name stands in the present directory.
    wengert_nn::state::check_writable("a-name-without-a-directory").unwrap();
    assert!(!Path::new("a-name-without-a-directory").exists());
}
