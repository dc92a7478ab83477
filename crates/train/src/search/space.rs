//! What may vary, and what a trial got.

use crate::error::{Error, Result, or_panic};
use std::fmt;
use wengert_data::random::{Xoshiro256PlusPlus, below, stream, uniform_f64};

/// First number of the path of the streams that draw trials.
const DRAW: u64 = 3;

/// The value of a hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A real number.
    Number(f64),
    /// A whole number.
    Whole(i64),
    /// A word.
    Text(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Number(x) if *x != 0.0 && !(1e-3..1e5).contains(&x.abs()) => {
                write!(f, "{x:.4e}")
            }
            Setting::Number(x) => write!(f, "{x:.5}"),
            Setting::Whole(i) => write!(f, "{i}"),
            Setting::Text(t) => f.write_str(t),
        }
    }
}

#[derive(Clone, Debug)]
enum Range {
    Uniform(f64, f64),
    LogUniform(f64, f64),
    Whole(i64, i64),
    LogWhole(i64, i64),
    Choice(Vec<Setting>),
}

impl Range {
    /// A draw.
    fn at(&self, rng: &mut Xoshiro256PlusPlus) -> Setting {
        let u = uniform_f64(rng);
        match *self {
            Range::Uniform(a, b) => Setting::Number(a + (b - a) * u),
            Range::LogUniform(a, b) => {
                Setting::Number((a.ln() + (b.ln() - a.ln()) * u).exp().clamp(a, b))
            }
            Range::Whole(a, b) => Setting::Whole(a + below(rng, (b - a + 1) as u64) as i64),
            Range::LogWhole(a, b) => {
                // Each whole number owns the stretch from itself to the next.
                let (low, high) = ((a as f64).ln(), (b as f64 + 1.0).ln());
                Setting::Whole(((low + (high - low) * u).exp() as i64).clamp(a, b))
            }
            Range::Choice(ref all) => all[below(rng, all.len() as u64) as usize].clone(),
        }
    }

    /// Values at even distances, ends included.
    fn points(&self, n: usize) -> Vec<Setting> {
        let share = |i: usize| {
            if n == 1 {
                0.5
            } else {
                i as f64 / (n - 1) as f64
            }
        };
        let log = |a: f64, b: f64, u: f64| {
            if u == 1.0 {
                b
            } else {
                (a.ln() + (b.ln() - a.ln()) * u).exp()
            }
        };
        let mut all: Vec<Setting> = match *self {
            Range::Uniform(a, b) => (0..n)
                .map(|i| Setting::Number(a + (b - a) * share(i)))
                .collect(),
            Range::LogUniform(a, b) => (0..n)
                .map(|i| Setting::Number(log(a, b, share(i))))
                .collect(),
            Range::Whole(a, b) => (0..n)
                .map(|i| Setting::Whole(a + ((b - a) as f64 * share(i)).round() as i64))
                .collect(),
            Range::LogWhole(a, b) => (0..n)
                .map(|i| Setting::Whole(log(a as f64, b as f64, share(i)).round() as i64))
                .collect(),
            Range::Choice(ref all) => all.clone(),
        };
        all.dedup();
        all
    }
}

/// Hyperparameters by name, each with the values that it may have.
#[derive(Clone, Debug, Default)]
pub struct Space {
    ranges: Vec<(String, Range)>,
}

impl Space {
    /// Nothing varies yet.
    pub fn new() -> Self {
        Self::default()
    }

    #[track_caller]
    fn with(mut self, name: &str, range: Range, right: bool) -> Self {
        let fail = |message: String| or_panic::<()>(Err(Error::configuration("Space", message)));
        if !right {
            fail(format!("`{name}`: an empty range {range:?}"));
        }
        if self.ranges.iter().any(|r| r.0 == name) {
            fail(format!("`{name}` occurs twice"));
        }
        self.ranges.push((name.to_owned(), range));
        self
    }

    /// A real number, uniform in `low..high`.
    ///
    /// # Panics
    /// Unless `low <= high`, both finite, or when the name occurs twice.
    #[track_caller]
    pub fn uniform(self, name: &str, low: f64, high: f64) -> Self {
        let right = low <= high && low.is_finite() && high.is_finite();
        self.with(name, Range::Uniform(low, high), right)
    }

    /// A positive real number whose logarithm is uniform: for rates and strengths.
    ///
    /// # Panics
    /// Unless `0 < low <= high`, both finite, or when the name occurs twice.
    #[track_caller]
    pub fn log_uniform(self, name: &str, low: f64, high: f64) -> Self {
        let right = low > 0.0 && low <= high && high.is_finite();
        self.with(name, Range::LogUniform(low, high), right)
    }

    /// A whole number, uniform in `low..=high`.
    ///
    /// # Panics
    /// Unless `low <= high` with fewer than 2⁵³ values, or when the name occurs twice.
    #[track_caller]
    pub fn whole(self, name: &str, low: i64, high: i64) -> Self {
        let right = high
            .checked_sub(low)
            .is_some_and(|d| (0..1 << 53).contains(&d));
        self.with(name, Range::Whole(low, high), right)
    }

    /// A positive whole number in `low..=high` whose logarithm is uniform: for widths.
    ///
    /// # Panics
    /// Unless `1 <= low <= high < 2⁵³`, or when the name occurs twice.
    #[track_caller]
    pub fn log_whole(self, name: &str, low: i64, high: i64) -> Self {
        let right = 1 <= low && low <= high && high < 1 << 53;
        self.with(name, Range::LogWhole(low, high), right)
    }

    /// One of some words.
    ///
    /// # Panics
    /// When there are none, or the name occurs twice.
    #[track_caller]
    pub fn choice<S: Into<String>>(self, name: &str, words: impl IntoIterator<Item = S>) -> Self {
        let all: Vec<Setting> = words.into_iter().map(|w| Setting::Text(w.into())).collect();
        let right = !all.is_empty();
        self.with(name, Range::Choice(all), right)
    }

    /// One of some numbers.
    ///
    /// # Panics
    /// When there are none, or the name occurs twice.
    #[track_caller]
    pub fn values(self, name: &str, numbers: impl IntoIterator<Item = f64>) -> Self {
        let all: Vec<Setting> = numbers.into_iter().map(Setting::Number).collect();
        let right = !all.is_empty();
        self.with(name, Range::Choice(all), right)
    }

    /// Trial `index`: a function of the seed and the index alone.
    pub fn draw(&self, seed: u64, index: usize) -> Trial {
        let settings = self.ranges.iter().enumerate().map(|(k, (name, range))| {
            // A stream of its own for every hyperparameter: another one more changes none of the others.
            let mut rng = stream(seed, &[DRAW, index as u64, k as u64]);
            (name.clone(), range.at(&mut rng))
        });
        Trial {
            index,
            seed: trial_seed(seed, index),
            budget: 1,
            settings: settings.collect(),
        }
    }

    /// Every combination, the last name varying fastest.
    ///
    /// # Panics
    /// When there are more than a million.
    #[track_caller]
    pub fn grid(&self, points: usize, seed: u64) -> Vec<Trial> {
        let axes: Vec<Vec<Setting>> = self.ranges.iter().map(|r| r.1.points(points)).collect();
        let sizes = || axes.iter().map(Vec::len);
        let total = sizes().try_fold(1usize, |n, k| n.checked_mul(k));
        let Some(total) = total.filter(|n| *n <= 1_000_000) else {
            let sizes: Vec<String> = sizes().map(|n| n.to_string()).collect();
            panic!(
                "grid: {} are more than a million trials; a random search has as many as it is told",
                sizes.join(" x ")
            );
        };
        (0..total)
            .map(|index| {
                let mut rest = index;
                let mut settings: Vec<(String, Setting)> = (self.ranges.iter().zip(&axes).rev())
                    .map(|((name, _), axis)| {
                        let s = axis[rest % axis.len()].clone();
                        rest /= axis.len();
                        (name.clone(), s)
                    })
                    .collect();
                settings.reverse();
                Trial {
                    index,
                    seed: trial_seed(seed, index),
                    budget: 1,
                    settings,
                }
            })
            .collect()
    }
}

fn trial_seed(seed: u64, index: usize) -> u64 {
    let mut rng = stream(seed, &[DRAW, index as u64]);
    below(&mut rng, 1 << 63)
}

/// The hyperparameters of one trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number.
    pub index: usize,
    /// A seed of its own, for weights, order and dropout.
    pub seed: u64,
    /// How long it is to train in all, usually in epochs.
    pub budget: u64,
    /// Names and values, in the order of the space.
    pub settings: Vec<(String, Setting)>,
}

impl Trial {
    pub(super) fn with_budget(mut self, budget: u64) -> Self {
        self.budget = budget;
        self
    }

    /// The value of a name.
    ///
    /// # Errors
    /// When the space has no such name.
    pub fn get(&self, name: &str) -> Result<&Setting> {
        let found = self.settings.iter().find(|s| s.0 == name);
        found.map(|s| &s.1).ok_or_else(|| Error::UnknownColumn {
            name: name.to_owned(),
            known: self.settings.iter().map(|s| s.0.clone()).collect(),
        })
    }

    /// The number of a name, whole ones included.
    ///
    /// # Panics
    /// When the space has no such number.
    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        match or_panic(self.get(name)) {
            Setting::Number(x) => *x,
            Setting::Whole(i) => *i as f64,
            Setting::Text(t) => panic!("`{name}` is the word {t:?}, not a number"),
        }
    }

    /// The whole number of a name.
    ///
    /// # Panics
    /// When the space has no such whole number, or it is negative.
    #[track_caller]
    pub fn whole(&self, name: &str) -> usize {
        match or_panic(self.get(name)) {
            Setting::Whole(i) if *i >= 0 => *i as usize,
            other => panic!("`{name}` is {other}, not a whole number from 0"),
        }
    }

    /// The word of a name.
    ///
    /// # Panics
    /// When the space has no such word.
    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        match or_panic(self.get(name)) {
            Setting::Text(t) => t,
            other => panic!("`{name}` is {other}, not a word"),
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, s)) in self.settings.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {s}")?;
        }
        Ok(())
    }
}
