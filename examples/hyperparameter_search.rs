//! Which learning rate, momentum, width and activation: a range test, a random search, and Hyperband with a third of the work.
//!
//! `cargo run --release --example hyperparameter_search`
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use wengert::data::{DataLoader, Labeled};
use wengert::nn::loss::CrossEntropy;
use wengert::prelude::*;
use wengert::train::search::{Search, Space, Trial};
use wengert::train::{Error, LrRangeTest};
use wengert_examples::{Images, Options, fail};

const HELP: &str = "\
Searches for the hyperparameters of a small network on the embedded digits: a learning-rate range test, a random search
in which every trial trains to the end, and Hyperband, in which weak trials end early.

usage: hyperparameter_search [--trials N] [--epochs N] [--threads N] [--seed N]

  --trials N    trials of the random search, 1 to 10000 (24)
  --epochs N    epochs of a whole trial, 1 to 1000      (9)
  --threads N   trials at a time, 1 to 256              (2)
  --seed N      seed of the search                      (1)";

fn model(width: usize, activation: &str, seed: u64) -> Sequential {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
    let b = Sequential::builder().linear(64, width);
    let b = if activation == "relu" {
        b.relu()
    } else {
        b.sigmoid()
    };
    b.linear(width, 10).build(rng)
}

type Run<'a> = Trainer<'a, Sequential, (Tensor, Tensor<i64>)>;

fn trainer<'a>(t: &Trial) -> Run<'a> {
    let model = model(t.whole("width"), t.text("activation"), t.seed);
    let sgd = Sgd::new(t.number("lr")).momentum(t.number("momentum"));
    Trainer::new(model, CrossEntropy::default(), sgd)
        .seed(t.seed)
        .metric(Accuracy::new())
}

/// What the story shows.
pub struct Numbers {
    /// What the range test suggests.
    pub lr: Option<f64>,
    /// Best validation accuracy of the random search and of Hyperband.
    pub best: [f64; 2],
    /// Epochs that each spent.
    pub spent: [u64; 2],
    /// Test accuracy of the best of Hyperband.
    pub test: f64,
}

#[allow(dead_code, reason = "a test calls `story` itself")]
fn main() -> Result<(), Error> {
    let options = Options::parse(HELP, &["trials", "epochs", "threads", "seed"]);
    let trials = options.number("trials", 24usize, 1, 10_000);
    let epochs = options.number("epochs", 9u64, 1, 1000);
    let threads = options.number("threads", 2usize, 1, 256);
    let seed = options.number("seed", 1u64, 0, u64::MAX);
    story(trials, epochs, threads, seed).map(|_| ())
}

/// Range test, random search, Hyperband.
pub fn story(trials: usize, epochs: u64, threads: usize, seed: u64) -> Result<Numbers, Error> {
    let images = Images::digits();
    let cut = images.train.len() * 4 / 5;
    let part = |r: std::ops::Range<usize>| -> Labeled {
        match images.train.select(&r.collect::<Vec<_>>()) {
            Ok(p) => p,
            Err(e) => fail(&e.to_string()),
        }
    };
    let (learn, judge) = (part(0..cut), part(cut..images.train.len()));
    let train = |seed| DataLoader::new(learn.dataset(), 64).shuffle(seed);
    let valid = DataLoader::new(judge.dataset(), 300);

    let mut net = model(32, "relu", seed);
    let curve = LrRangeTest::new(1e-4, 10.0, 100).run(
        &mut net,
        CrossEntropy::default(),
        |lr| Sgd::new(lr).momentum(0.9),
        &train(seed),
    )?;
    println!("Learning-rate range test, SGD with momentum 0.9:\n{curve}");
    if let Some(lr) = curve.suggestion() {
        println!("The loss falls fastest at {lr:.3}.\n");
    }

    let space = Space::new()
        .log_uniform("lr", 1e-4, 1.0)
        .uniform("momentum", 0.0, 0.95)
        .log_whole("width", 4, 64)
        .choice("activation", ["relu", "sigmoid"]);
    let spent = AtomicU64::new(0);
    let random = Search::random(trials)
        .seed(seed)
        .threads(threads)
        .budget(1, epochs)
        .maximize(&space, |t| {
            let mut run = trainer(t);
            run.fit(&train(t.seed), None, t.budget)?;
            spent.fetch_add(t.budget, Ordering::Relaxed);
            Ok(run.evaluate(&valid)?["accuracy"])
        });
    let whole = spent.swap(0, Ordering::Relaxed);
    println!("Random search, {whole} epochs in all:\n{random}");

    let band = Search::hyperband(3)
        .seed(seed)
        .threads(threads)
        .budget(1, epochs)
        .maximize_from(&space, |t, state: Option<Checkpoint>| {
            let mut run = trainer(t);
            if let Some(state) = state {
                run.restore(&state)?;
            }
            let before = run.epochs();
            run.fit(&train(t.seed), None, t.budget)?;
            spent.fetch_add(t.budget - before, Ordering::Relaxed);
            Ok((run.evaluate(&valid)?["accuracy"], run.to_checkpoint()))
        });
    let early = spent.into_inner();
    println!("Hyperband, {early} epochs in all:\n{band}");

    let Some(best) = band.best().or(random.best()) else {
        fail("every trial failed");
    };
    let test = DataLoader::new(images.test.dataset(), 360);
    let mut run = trainer(&best.trial);
    run.fit(&train(best.trial.seed), None, epochs)?;
    let accuracy = run.evaluate(&test)?["accuracy"];
    println!(
        "Best of Hyperband: {}; validation accuracy {:.3}, test accuracy {:.3}, with {:.0} % of the epochs of the random search.",
        best.trial,
        best.score,
        accuracy,
        100.0 * early as f64 / whole as f64
    );
    Ok(Numbers {
        lr: curve.suggestion(),
        best: [random.best().map_or(f64::NAN, |b| b.score), best.score],
        spent: [whole, early],
        test: accuracy,
    })
}
