//! A whole run in a dozen lines: train, validate, stop early, keep the best, interrupt, resume, test.
//!
//! `cargo run --release --example digits_trainer`
#![forbid(unsafe_code)]

use std::path::Path;
use wengert::data::{DataLoader, Digits, split};
use wengert::nn::loss::CrossEntropy;
use wengert::prelude::*;
use wengert::train::{Every, Scores, Stop};
use wengert_examples::{Options, fail};

const HELP: &str = "\
Trains a small network on the embedded digits with the trainer: validation, early stopping, checkpoints; interrupts a
second run in the middle of an epoch, resumes it, and compares the weights bit by bit.

usage: digits_trainer [--epochs N] [--seed N] [--dir DIR]

  --epochs N   at most so many epochs, 1 to 10000 (100)
  --seed N     seed of weights, order and dropout (1)
  --dir DIR    where the checkpoints go           (a folder for temporary files)";

type Batch = (Tensor, Tensor<i64>);

fn trainer<'a>(seed: u64, checkpoint: &Path) -> Trainer<'a, Sequential, Batch> {
    let model = Sequential::builder()
        .linear(64, 64)
        .relu()
        .dropout(0.2)
        .linear(64, 10)
        .build(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    Trainer::new(model, CrossEntropy::default(), AdamW::new(3e-3))
        .seed(seed)
        .metric(Accuracy::new())
        .clip_norm(5.0)
        .callback(EarlyStopping::minimize("val_loss", 8).restore_best())
        .checkpoint_every(checkpoint, Every::Epochs(1))
}

/// What the story shows.
pub struct Numbers {
    /// Loss and accuracy on the test images.
    pub test: Scores,
    /// The run.
    pub history: History,
    /// Whether the resumed run ended with the same bits.
    pub same: bool,
}

#[allow(dead_code, reason = "a test calls `story` itself")]
fn main() -> Result<(), wengert::train::Error> {
    let options = Options::parse(HELP, &["epochs", "seed", "dir"]);
    let epochs = options.number("epochs", 100u64, 1, 10_000);
    let seed = options.number("seed", 1u64, 0, u64::MAX);
    let dir = options.text("dir");
    let dir = dir.map_or_else(std::env::temp_dir, Into::into);
    if !story(epochs, seed, &dir)?.same {
        fail("a resumed run must not differ");
    }
    Ok(())
}

/// Trains, tests, interrupts and resumes.
pub fn story(epochs: u64, seed: u64, dir: &Path) -> Result<Numbers, wengert::train::Error> {
    let file = |name: &str| dir.join(format!("digits_trainer-{}-{name}", std::process::id()));

    // A fifth of the training images judges; the test images are looked at once, at the end.
    let digits = Digits::load().standardized();
    let parts =
        split::stratified(&digits.train.labels, 0.2, seed).map_err(wengert::train::Error::other)?;
    let part = |indices: &[usize]| match digits.train.select(indices) {
        Ok(set) => set,
        Err(e) => fail(&e.to_string()),
    };
    let train = DataLoader::new(part(&parts.train).dataset(), 32).shuffle(seed);
    let valid = DataLoader::new(part(&parts.test).dataset(), 256);
    let test = DataLoader::new(digits.test.dataset(), 256);
    println!(
        "{} images to train, {} to validate, {} to test\n",
        parts.train.len(),
        parts.test.len(),
        digits.test.len()
    );

    let mut whole = trainer(seed, &file("whole"));
    let history = whole.fit(&train, Some(&valid), epochs)?;
    println!("{history}");
    match &history.stop {
        Stop::Callback(reason) => println!("Stopped: {reason}"),
        other => println!("Stopped: {other:?}"),
    }
    if let Some(best) = history.lowest("val_loss") {
        println!(
            "Best: epoch {}, validation loss {:.4}; its weights are back in the model",
            best.epoch,
            best.get("val_loss").unwrap_or(f64::NAN)
        );
    }
    let scores = whole.evaluate(&test)?;
    println!("Test: {scores}");

    // The same run, interrupted in the middle of its third epoch and resumed by a new trainer with other weights.
    let cut = train.len() as u64 * 2 + train.len() as u64 / 2;
    let mut first = trainer(seed, &file("cut")).max_steps(cut);
    first.fit(&train, Some(&valid), epochs)?;
    drop(first);
    let mut second = trainer(seed, &file("cut"));
    second.model = trainer(seed + 1, &file("cut")).model;
    second.resume(file("cut"))?;
    let resumed = second.fit(&train, Some(&valid), epochs)?;
    let bytes = |m: &Sequential| m.to_bytes();
    let same = bytes(&whole.model)? == bytes(&second.model)? && resumed.rows == history.rows;
    println!(
        "Interrupted after {cut} of {} steps and resumed: weights and history are {}",
        resumed.steps,
        if same {
            "the same, bit for bit"
        } else {
            "DIFFERENT"
        }
    );
    for name in ["whole", "cut"] {
        let _ = std::fs::remove_file(file(name));
    }
    Ok(Numbers {
        test: scores,
        history,
        same,
    })
}
