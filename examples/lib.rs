//! What the examples share: options from the command line, data, accuracy; and the stories they tell.
#![forbid(unsafe_code)]

pub mod stories;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wengert::data::{Dataset, Digits, Labeled, Mnist};
use wengert::prelude::*;

/// Options as `--name value` pairs.
pub struct Options {
    pairs: Vec<(String, String)>,
}

impl Options {
    /// Reads the command line; prints `help` and leaves on `--help`, says what is wrong and leaves on anything unknown.
    pub fn parse(help: &str, known: &[&str]) -> Options {
        match Self::try_parse(std::env::args().skip(1), known) {
            Ok(Some(o)) => o,
            Ok(None) => {
                println!("{help}");
                std::process::exit(0)
            }
            Err(e) => fail(&format!("{e}\n\n{help}")),
        }
    }

    fn try_parse(
        args: impl Iterator<Item = String>,
        known: &[&str],
    ) -> Result<Option<Options>, String> {
        let mut pairs = Vec::new();
        let mut args = args;
        while let Some(a) = args.next() {
            if a == "--help" || a == "-h" {
                return Ok(None);
            }
            let (name, value) = match a.split_once('=') {
                Some((n, v)) => (n.to_string(), Some(v.to_string())),
                None => (a.clone(), None),
            };
            let Some(name) = name.strip_prefix("--").filter(|n| known.contains(n)) else {
                return Err(format!("unknown option {a:?}"));
            };
            let Some(value) = value.or_else(|| args.next()) else {
                return Err(format!("--{name} expects a value"));
            };
            pairs.push((name.to_string(), value));
        }
        Ok(Some(Options { pairs }))
    }

    /// The text of an option, if it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|p| p.0 == name)
            .map(|p| p.1.as_str())
    }

    /// A number in a range; leaves with a message for anything else.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        default: T,
        low: T,
        high: T,
    ) -> T {
        match self.text(name) {
            None => default,
            Some(s) => match s.parse::<T>() {
                Ok(x) if x >= low && x <= high => x,
                _ => fail(&format!(
                    "--{name}: expected a number from {low} to {high}, found {s:?}"
                )),
            },
        }
    }
}

/// Says what is wrong on standard error and leaves with code 2.
pub fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(2)
}

/// Training and test images, one row each, standardized by the training images.
pub struct Images {
    /// What it is, for people.
    pub name: String,
    /// Training part.
    pub train: Labeled,
    /// Test part.
    pub test: Labeled,
}

impl Images {
    /// The embedded digits.
    pub fn digits() -> Images {
        let d = Digits::load().standardized();
        Images {
            name: "UCI digits, 8x8".into(),
            train: d.train,
            test: d.test,
        }
    }

    /// The digits, or MNIST's IDX files from a folder.
    ///
    /// # Errors
    /// When files are missing, truncated or not of the format.
    pub fn load(folder: Option<&Path>) -> Result<Images, wengert::data::Error> {
        let Some(folder) = folder else {
            return Ok(Self::digits());
        };
        let flat = |l: Labeled| -> Result<Labeled, wengert::data::Error> {
            let pixels: usize = l.inputs.shape()[1..].iter().product();
            l.reshaped(&[pixels])
        };
        let whole = |b: wengert::data::ByteImages| flat(b.normalize(0.1307, 0.3081)?.to_labeled()?);
        match Mnist::load(folder) {
            Ok(m) => Ok(Images {
                name: format!("MNIST, {} training images", m.train.len()),
                train: whole(m.train)?,
                test: whole(m.test)?,
            }),
            Err(missing @ wengert::data::Error::Missing { .. }) => {
                // The test part alone is enough to show the phenomenon: its last fifth is held out.
                let all = match Mnist::load_test(folder) {
                    Ok(all) => all,
                    Err(wengert::data::Error::Missing { .. }) => return Err(missing),
                    Err(broken) => return Err(broken),
                };
                let all = whole(all)?;
                let cut = all.len() * 4 / 5;
                let part = |r: std::ops::Range<usize>| all.select(&r.collect::<Vec<_>>());
                Ok(Images {
                    name: format!(
                        "MNIST, test part alone: {cut} images to train, {} to test",
                        all.len() - cut
                    ),
                    train: part(0..cut)?,
                    test: part(cut..all.len())?,
                })
            }
            Err(e) => Err(e),
        }
    }
}

/// Share of rows of `scores` whose largest entry stands at the label.
pub fn accuracy(scores: &Tensor, labels: &Tensor<i64>) -> f64 {
    let classes = scores.shape()[1];
    let scores = scores.to_vec();
    let right = scores
        .chunks_exact(classes)
        .zip(labels.iter())
        .filter(|(row, y)| {
            let best = (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            best == Some(*y as usize)
        });
    right.count() as f64 / labels.numel().max(1) as f64
}

/// The path of an option that names a file or folder.
pub fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}
