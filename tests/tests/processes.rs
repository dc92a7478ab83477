//! Runs over several processes: the same bits in each, after an interruption, after `kill -9`, and an error where there
//! is no memory.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use wengert::data::augment::GaussianNoise;
use wengert::data::{DataLoader, Digits};
use wengert::nn::loss::CrossEntropy;
use wengert::nn::{Lstm, TransformerEncoder, TransformerOptions};
use wengert::optim::schedule::OneCycle;
use wengert::optim::wrappers::Ema;
use wengert::prelude::*;
use wengert::train::{Error, Every};

/// The rows of an image, one after the other.
#[derive(Module, Clone)]
struct RowReader {
    lstm: Lstm,
    out: Linear,
}

impl Forward for RowReader {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let n = x.size(0);
        let y = self.lstm.forward(x.reshape([n, 8, 8]));
        self.out.forward(y.narrow(1, 7, 8).reshape([n, 24]))
    }
}

/// Attention between the rows of an image.
#[derive(Module, Clone)]
struct RowAttention {
    into: Linear,
    encoder: TransformerEncoder,
    out: Linear,
}

impl Forward for RowAttention {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let rows = self.into.forward(x.reshape([x.size(0), 8, 8]));
        self.out
            .forward(self.encoder.forward(rows).mean_dim(1, false))
    }
}

const NETS: [&str; 4] = ["mlp", "cnn", "lstm", "transformer"];

fn net(kind: &str, seed: u64) -> Box<dyn Layer> {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
    match kind {
        "mlp" => Box::new(
            Sequential::<f32>::builder()
                .flatten()
                .linear(64, 24)
                .batch_norm1d(24)
                .relu()
                .dropout(0.2)
                .linear(24, 10)
                .build(rng),
        ),
        "cnn" => Box::new(
            Sequential::<f32>::builder()
                .conv2d(1, 6, 3)
                .batch_norm2d(6)
                .relu()
                .max_pool2d(2)
                .flatten()
                .dropout(0.1)
                .linear(54, 10)
                .build(rng),
        ),
        "lstm" => Box::new(RowReader {
            lstm: Lstm::builder(8, 24).batch_first(true).build(rng),
            out: Linear::new(24, 10, rng),
        }),
        _ => Box::new(RowAttention {
            into: Linear::new(8, 16, rng),
            encoder: TransformerEncoder::new(
                1,
                TransformerOptions {
                    feed_forward: 32,
                    ..TransformerOptions::new(16, 2)
                },
                rng,
            ),
            out: Linear::new(16, 10, rng),
        }),
    }
}

type Net = Box<dyn Layer>;
type Run<'a> = Trainer<'a, Net, (Tensor, Tensor<i64>)>;

fn run<'a>(kind: &str, seed: u64) -> Run<'a> {
    Run::new(
        net(kind, seed),
        CrossEntropy::default(),
        Adam::new(OneCycle::new(0.01, 200)),
    )
    .seed(4)
    .metric(Accuracy::new())
    .clip_norm(1.0)
    .accumulate(2)
    .ema(Ema::new(0.9))
}

/// Shuffled, with noise, on a worker thread; a short last batch.
fn images() -> impl wengert::train::Source<(Tensor, Tensor<i64>)> {
    let set = Digits::load().as_images().train;
    let set = set.select(&(0..200).collect::<Vec<_>>()).expect("in range");
    let noise = GaussianNoise::new(0.1).expect("a standard deviation");
    DataLoader::new(set.dataset(), 12)
        .shuffle(2)
        .augment(noise)
        .workers(1)
}

/// Not a test: what the other processes of this file do, as the environment says.
#[test]
fn child() {
    let Ok(task) = std::env::var("WENGERT_CHILD") else {
        return;
    };
    let words: Vec<&str> = task.split('|').collect();
    let result = match words[..] {
        // Up to a number of steps, from the file if it exists; a save after every so many steps.
        ["train", kind, steps, every, seed, file] => train(
            kind,
            steps.parse().expect("a number"),
            every.parse().expect("a number"),
            seed.parse().expect("a number"),
            Path::new(file),
        ),
        ["hungry", file] => hungry(Path::new(file)),
        _ => panic!("unknown task {task}"),
    };
    match result {
        Ok(()) => std::process::exit(0),
        Err(e) => {
            eprintln!("error: {e}");
            std::process::exit(1)
        }
    }
}

fn train(kind: &str, steps: u64, every: u64, seed: u64, file: &Path) -> Result<(), Error> {
    let mut t = run(kind, seed)
        .max_steps(steps)
        .checkpoint_every(file, Every::Steps(every));
    t.resume_if_exists(file)?;
    t.fit(&images(), None, u64::MAX).map(|_| ())
}

/// Each step asks for 4 GB.
fn hungry(file: &Path) -> Result<(), Error> {
    let mut t = Trainer::from_fn(
        net("mlp", 1),
        |m: &Net, tape, (x, y): &(Tensor, Tensor<i64>)| {
            let rows = tape.ones([1 << 15, 1 << 15]).cumsum(0);
            m.forward(tape.input(x)).cross_entropy(y) + rows.sum() * 0.0
        },
        Sgd::new(0.1),
    )
    .checkpoint(file);
    t.fit(&images(), None, 1).map(|_| ())
}

fn spawn(task: &str, threads: &str) -> Command {
    let mut c = Command::new(std::env::current_exe().expect("this program"));
    c.args(["child", "--exact", "--nocapture"])
        .env("WENGERT_CHILD", task)
        .env("RAYON_NUM_THREADS", threads)
        .stdout(Stdio::null());
    c
}

fn must(task: &str, threads: &str) {
    let out = spawn(task, threads).output().expect("a process");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{task}: {text}");
}

/// An empty directory, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let at =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&at);
        std::fs::create_dir(&at).expect("a directory");
        Dir(at)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(file).expect("written")
}

#[test]
fn two_processes_and_an_interrupted_third_write_the_same_bytes() {
    let dir = Dir::new("bits");
    for kind in NETS {
        let (a, b, c) = (dir.file("a"), dir.file("b"), dir.file("c"));
        must(&format!("train|{kind}|40|1000|1|{a}"), "1");
        must(&format!("train|{kind}|40|1000|1|{b}"), "3");
        assert!(
            read(&a) == read(&b),
            "{kind}: two processes, 1 and 3 threads"
        );
        // Stopped in the middle of the third epoch; the next process begins with other weights.
        must(&format!("train|{kind}|21|1000|1|{c}"), "2");
        assert!(read(&c) != read(&a));
        must(&format!("train|{kind}|40|1000|2|{c}"), "1");
        assert!(
            read(&c) == read(&a),
            "{kind}: 21 steps, a new process, 19 steps"
        );
        for f in [a, b, c] {
            std::fs::remove_file(f).expect("there");
        }
    }
}

/// When the file was written, if it is there.
fn changed(file: &str) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|m| m.modified()).ok()
}

#[test]
fn kill_at_any_moment_and_go_on_to_the_same_bytes() {
    let dir = Dir::new("kill");
    let (whole, file) = (dir.file("whole"), dir.file("cut"));
    let steps = 250;
    must(&format!("train|mlp|{steps}|1|1|{whole}"), "1");
    let mut reached = 0;
    let mut wait = 7u64;
    let mut kills = 0;
    for round in 0..6 {
        let before = changed(&file);
        let mut child = spawn(&format!("train|mlp|{steps}|1|1|{file}"), "1")
            .spawn()
            .expect("a process");
        wait = (wait * 31 + 17) % 97;
        // The first dies while it starts, the others some saves later, however fast the machine is.
        let limit = Instant::now() + Duration::from_secs(60);
        while round > 0 && changed(&file) == before && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait % 20));
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("a child");
        kills += 1;
        if !Path::new(&file).exists() {
            continue;
        }
        // A complete state, not older than the one before.
        let mut t = run("mlp", 9);
        t.resume(&file).expect("a complete state");
        assert!(t.steps() >= reached, "{} after {reached}", t.steps());
        reached = t.steps();
    }
    assert!(kills >= 3 && reached > 0, "{kills} kills, step {reached}");
    must(&format!("train|mlp|{steps}|1|1|{file}"), "1");
    assert!(read(&file) == read(&whole));
    let left = std::fs::read_dir(&dir.0).expect("a directory").count();
    assert_eq!(left, 2, "no temporary file is left");
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_an_error() {
    let dir = Dir::new("memory");
    let file = dir.file("x");
    let exe = std::env::current_exe().expect("this program");
    let out = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 2500000; exec \"$0\" child --exact --nocapture",
        ])
        .arg(exe)
        .env("WENGERT_CHILD", format!("hungry|{file}"))
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(
        text.contains("error: step 0: ") && text.contains("out of memory"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(&dir.0).expect("a directory").count(), 0);
}

#[test]
fn eight_threads_train_and_judge_as_one_after_the_other() {
    let bytes = |kind: &str, seed: u64| {
        let mut t = run(kind, seed).max_steps(9);
        t.fit(&images(), None, 9).expect("a run");
        t.to_checkpoint().to_bytes().expect("a state")
    };
    let jobs: Vec<(&str, u64)> = (0..8).map(|i| (NETS[i % 4], i as u64)).collect();
    let alone: Vec<Vec<u8>> = jobs.iter().map(|(k, s)| bytes(k, *s)).collect();
    let together: Vec<Vec<u8>> = std::thread::scope(|s| {
        let bytes = &bytes;
        let handles: Vec<_> = jobs
            .iter()
            .map(|(k, n)| s.spawn(move || bytes(k, *n)))
            .collect();
        handles
            .into_iter()
            .map(|h| h.join().expect("no panic"))
            .collect()
    });
    assert!(alone == together);

    let shared = net("cnn", 3);
    let x = Digits::load().as_images().test.inputs;
    let expected = shared.predict(&x).to_vec();
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| assert!(shared.predict(&x).to_vec() == expected));
        }
    });
}
