//! Metrics: what is counted over the batches of an epoch.
//!
//! All of them stream. Those of ranks (ROC AUC, average precision) keep the scores of all samples, because nothing less gives
//! the exact value; the others keep counts or sums and never the samples. Counts are whole numbers, so the result does not
//! depend on how the samples were cut into batches, and neither do ranks; sums are in double precision.
//!
//! | metric | output, target | columns |
//! |---|---|---|
//! | [`Accuracy`], [`TopK`] | scores `[.., classes]`, labels `[..]` | `accuracy`, `top5` |
//! | [`ConfusionMatrix`] | the same | `precision`, `recall`, `f1` (means over classes) |
//! | [`RocAuc`], [`AveragePrecision`] | the same | `roc_auc`, `average_precision` (each class against the rest) |
//! | [`BrierScore`], [`CalibrationError`] | the same | `brier`, `ece` |
//! | [`BinaryCounts`] | scores of any shape, 0 or 1 of the same shape | `precision`, `recall`, `f1`, `accuracy` |
//! | [`BinaryRocAuc`], [`BinaryAveragePrecision`] | the same | `roc_auc`, `average_precision` |
//! | [`BinaryBrierScore`], [`BinaryCalibrationError`] | the same | `brier`, `ece` |
//! | [`Perplexity`] | scores `[.., classes]`, labels `[..]` | `perplexity` |
//! | [`MeanSquaredError`], [`MeanAbsoluteError`], [`R2`] | values, values of the same shape | `mse`, `mae`, `r2` |
//! | [`Custom`] | as you say | as you say |
//! | [`Named`] | those of another metric | the same with a word before them |
//!
//! Where probabilities count, scores are logits unless the metric is told that they are probabilities. Scores that are NaN make
//! a wrong answer where answers count; they have no rank and are no probability, so the metrics of these refuse them.

mod classification;
mod probability;
mod ranking;
mod regression;

pub use classification::{Accuracy, BinaryCounts, ConfusionMatrix, Perplexity, TopK};
pub use probability::{
    Bin, BinaryBrierScore, BinaryCalibrationError, BrierScore, CalibrationError,
};
pub use ranking::{AveragePrecision, BinaryAveragePrecision, BinaryRocAuc, RocAuc};
pub use regression::{MeanAbsoluteError, MeanSquaredError, R2};

use crate::error::{Error, Result};
use wengert_tensor::{Real, Tensor};

/// Something counted over the batches of an epoch.
///
/// The metrics of this module also have an `update(output, target)` and a `value()` of their own, for loops written by
/// hand.
pub trait Metric<B, T: Real = f32> {
    /// Forgets everything.
    fn reset(&mut self);

    /// Takes a batch in.
    ///
    /// # Errors
    /// When output and target do not go together.
    fn update(&mut self, output: &Tensor<T>, batch: &B) -> Result<()>;

    /// Names and present values; NaN where nothing was seen. The names never change.
    fn values(&self) -> Vec<(String, f64)>;

    /// What was counted, to be stored in a checkpoint in the middle of an epoch.
    fn state(&self) -> Vec<f64>;

    /// Goes on from a stored state.
    ///
    /// # Errors
    /// When it is not one of this metric.
    fn restore(&mut self, state: &[f64]) -> Result<()>;
}

/// A metric from a function that returns a sum and what it is to be divided by.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::{Custom, Metric};
/// let mut positive = Custom::new("positive", |scores: &Tensor<f32>, _: &()| {
///     let n = scores.iter().filter(|x| *x > 0.0).count();
///     (n as f64, scores.numel() as f64)
/// });
/// positive.update(&Tensor::from_vec(vec![1.0, -2.0], [2]), &())?;
/// assert_eq!(positive.values()[0].1, 0.5);
/// # Ok::<(), wengert_train::Error>(())
/// ```
pub struct Custom<F> {
    name: String,
    f: F,
    sum: f64,
    weight: f64,
}

impl<F> Custom<F> {
    /// `f(output, batch)` returns a sum and its divisor for the batch; the metric is the ratio of their totals.
    pub fn new<B, T: Real>(name: impl Into<String>, f: F) -> Self
    where
        F: Fn(&Tensor<T>, &B) -> (f64, f64),
    {
        Custom {
            name: name.into(),
            f,
            sum: 0.0,
            weight: 0.0,
        }
    }
}

impl<B, T: Real, F: Fn(&Tensor<T>, &B) -> (f64, f64)> Metric<B, T> for Custom<F> {
    fn reset(&mut self) {
        (self.sum, self.weight) = (0.0, 0.0);
    }
    fn update(&mut self, output: &Tensor<T>, batch: &B) -> Result<()> {
        let (sum, weight) = (self.f)(output, batch);
        self.sum += sum;
        self.weight += weight;
        Ok(())
    }
    fn values(&self) -> Vec<(String, f64)> {
        vec![(self.name.clone(), self.sum / self.weight)]
    }
    fn state(&self) -> Vec<f64> {
        vec![self.sum, self.weight]
    }
    fn restore(&mut self, state: &[f64]) -> Result<()> {
        [self.sum, self.weight] = exactly(&self.name, state)?;
        Ok(())
    }
}

/// A metric under a name of its own, for two of one kind in one run: its columns get a word before them.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::{Accuracy, Metric, Named};
/// let words = Named::new("words", Accuracy::new().ignore(0));
/// type Batch = (Tensor<f32>, Tensor<i64>);
/// assert_eq!(Metric::<Batch>::values(&words)[0].0, "words_accuracy");
/// ```
#[derive(Clone, Debug)]
pub struct Named<M> {
    word: String,
    metric: M,
}

impl<M> Named<M> {
    /// Columns `word_accuracy` and so on.
    pub fn new(word: impl Into<String>, metric: M) -> Self {
        Named {
            word: word.into(),
            metric,
        }
    }

    /// The metric.
    pub fn metric(&self) -> &M {
        &self.metric
    }
}

impl<B, T: Real, M: Metric<B, T>> Metric<B, T> for Named<M> {
    fn reset(&mut self) {
        self.metric.reset();
    }
    fn update(&mut self, output: &Tensor<T>, batch: &B) -> Result<()> {
        self.metric.update(output, batch)
    }
    fn values(&self) -> Vec<(String, f64)> {
        let values = self.metric.values().into_iter();
        let named = values.map(|(name, x)| (format!("{}_{name}", self.word), x));
        named.collect()
    }
    fn state(&self) -> Vec<f64> {
        self.metric.state()
    }
    fn restore(&mut self, state: &[f64]) -> Result<()> {
        self.metric.restore(state)
    }
}

/// How a number for each class becomes one number; the words are those of scikit-learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Averaging {
    /// The plain mean over the classes: rare ones count as much as frequent ones.
    #[default]
    Macro,
    /// The mean over the classes, each as often as it occurs as label.
    Weighted,
    /// Not a mean of classes: all decisions, of every class, are counted together.
    Micro,
}

/// The mean of values by their weights; what has no weight is not looked at. NaN if nothing has.
fn averaged(values: impl Iterator<Item = (f64, u64)>) -> f64 {
    let (mut sum, mut weights) = (0.0, 0);
    for (x, weight) in values.filter(|v| v.1 > 0) {
        sum += x * weight as f64;
        weights += weight;
    }
    sum / weights as f64
}

/// What the scores of a metric of probabilities are.
#[derive(Clone, Copy, Debug, Default)]
enum ScoreKind {
    /// Their softmax or sigmoid is the probability, taken in double precision.
    #[default]
    Logits,
    /// They are it.
    Probabilities,
}

impl ScoreKind {
    /// As [`rows`], with the probabilities of each row before it; a row that has none is an error.
    fn rows<T: Real>(
        self,
        metric: &str,
        scores: &Tensor<T>,
        labels: &Tensor<i64>,
        ignore: Option<i64>,
        mut f: impl FnMut(&[f64], &[T], usize),
    ) -> Result<()> {
        let mut p = Vec::new();
        let mut bad = None;
        rows(metric, scores, labels, ignore, |i, row, y| {
            p.clear();
            p.extend(row.iter().map(|x| x.as_f64()));
            if bad.is_none() {
                match self.fill(&mut p) {
                    Ok(()) => f(&p, row, y),
                    Err(what) => bad = Some(format!("{what}, found {} in sample {i}", Few(&p))),
                }
            }
        })?;
        bad.map_or(Ok(()), |text| Err(Error::metric(metric, text)))
    }

    /// Makes probabilities of a row, or says why there are none.
    fn fill(self, row: &mut [f64]) -> Result<(), &'static str> {
        match self {
            ScoreKind::Logits => {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if !top.is_finite() || row.iter().any(|x| x.is_nan()) {
                    return Err("logits without NaN and +∞, not all of them -∞, expected");
                }
                let total: f64 = row.iter().map(|x| (x - top).exp()).sum();
                row.iter_mut().for_each(|x| *x = (*x - top).exp() / total);
            }
            ScoreKind::Probabilities => {
                // As far off as scikit-learn bears: single precision and many classes stay well below.
                let sum: f64 = row.iter().sum();
                if !row.iter().all(|p| (0.0..=1.0).contains(p)) || (sum - 1.0).abs() > 1e-5 {
                    return Err("probabilities from 0 to 1 with the sum 1 expected");
                }
            }
        }
        Ok(())
    }

    /// Hands each score as a probability with its target to `f`.
    fn elements<T: Real>(
        self,
        metric: &str,
        scores: &Tensor<T>,
        targets: &Tensor<T>,
        mut f: impl FnMut(f64, bool),
    ) -> Result<()> {
        same_shape(metric, scores, targets)?;
        for (i, (s, t)) in scores.iter().zip(targets.iter()).enumerate() {
            let (s, yes) = (s.as_f64(), yes_or_no(metric, t)?);
            let p = match self {
                ScoreKind::Logits => 1.0 / (1.0 + (-s).exp()),
                ScoreKind::Probabilities => s,
            };
            if !(0.0..=1.0).contains(&p) {
                let what = match self {
                    ScoreKind::Logits => "a logit",
                    ScoreKind::Probabilities => "a probability from 0 to 1",
                };
                return Err(Error::metric(
                    metric,
                    format!("score {i} is {s}, {what} expected"),
                ));
            }
            f(p, yes);
        }
        Ok(())
    }
}

/// The first few numbers of a row.
struct Few<'a>(&'a [f64]);

impl std::fmt::Display for Few<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(5)];
        let more = if self.0.len() > shown.len() {
            " and more"
        } else {
            ""
        };
        write!(f, "{shown:?}{more}")
    }
}

/// A target of yes and no.
fn yes_or_no<T: Real>(metric: &str, target: T) -> Result<bool> {
    match target.as_f64() {
        0.0 => Ok(false),
        1.0 => Ok(true),
        other => Err(Error::metric(
            metric,
            format!("a target is 0 or 1, found {other}"),
        )),
    }
}

/// Refuses scores `[.., classes]` of another number of classes.
fn check_classes<T: Real>(metric: &str, scores: &Tensor<T>, classes: usize) -> Result<()> {
    if scores.shape().last() == Some(&classes) {
        return Ok(());
    }
    Err(Error::metric(
        metric,
        format!(
            "{classes} classes expected, found scores of shape {:?}",
            scores.shape()
        ),
    ))
}

/// The numbers of a stored state.
fn exactly<const N: usize>(metric: &str, state: &[f64]) -> Result<[f64; N]> {
    <[f64; N]>::try_from(state).map_err(|_| {
        Error::metric(
            metric,
            format!("a state of {N} numbers expected, found {}", state.len()),
        )
    })
}

/// Refuses unless both have one shape.
fn same_shape<T: Real>(metric: &str, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
    if output.shape() == target.shape() {
        return Ok(());
    }
    Err(Error::metric(
        metric,
        format!(
            "the output has shape {:?}, the target {:?}",
            output.shape(),
            target.shape()
        ),
    ))
}

/// Checks scores `[.., classes]` against labels `[..]` and hands the number of each sample, its row and its label to `f`;
/// labels that are `ignore` are passed over.
fn rows<T: Real>(
    metric: &str,
    scores: &Tensor<T>,
    labels: &Tensor<i64>,
    ignore: Option<i64>,
    mut f: impl FnMut(usize, &[T], usize),
) -> Result<()> {
    let fits = scores.rank() == labels.rank() + 1
        && scores.shape()[..labels.rank()] == *labels.shape()
        && scores.shape()[labels.rank()] > 0;
    if !fits {
        return Err(Error::metric(
            metric,
            format!(
                "scores [.., classes] and labels [..] expected, found {:?} and {:?}",
                scores.shape(),
                labels.shape()
            ),
        ));
    }
    let classes = scores.shape()[labels.rank()];
    if let Some((i, y)) = labels
        .iter()
        .enumerate()
        .find(|&(_, y)| Some(y) != ignore && !usize::try_from(y).is_ok_and(|y| y < classes))
    {
        return Err(Error::metric(
            metric,
            format!("label {y} of sample {i} is not in 0..{classes}"),
        ));
    }
    let scores = scores.contiguous();
    let data = scores.as_slice().unwrap_or(&[]);
    for (i, (row, y)) in data.chunks_exact(classes).zip(labels.iter()).enumerate() {
        if Some(y) != ignore {
            f(i, row, y as usize);
        }
    }
    Ok(())
}

/// Position of the largest score; the first of equals. A row with NaN has none, as its prediction means nothing.
fn argmax<T: Real>(row: &[T]) -> Option<usize> {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if x.is_nan() {
            return None;
        }
        if *x > row[best] {
            best = i;
        }
    }
    Some(best)
}
