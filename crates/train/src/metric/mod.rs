//! Metrics: what is counted over the batches of an epoch.
//!
//! All of them stream: they keep counts or sums and never the samples. Counts are whole numbers, so the result does not
//! depend on how the samples were cut into batches; sums are in double precision.
//!
//! | metric | output, target | columns |
//! |---|---|---|
//! | [`Accuracy`], [`TopK`] | scores `[.., classes]`, labels `[..]` | `accuracy`, `top5` |
//! | [`ConfusionMatrix`] | the same | `precision`, `recall`, `f1` (means over classes) |
//! | [`BinaryCounts`] | scores of any shape, 0 or 1 of the same shape | `precision`, `recall`, `f1`, `accuracy` |
//! | [`Perplexity`] | scores `[.., classes]`, labels `[..]` | `perplexity` |
//! | [`MeanSquaredError`], [`MeanAbsoluteError`], [`R2`] | values, values of the same shape | `mse`, `mae`, `r2` |
//! | [`Custom`] | as you say | as you say |
//! | [`Named`] | those of another metric | the same with a word before them |

mod classification;
mod regression;

pub use classification::{Accuracy, BinaryCounts, ConfusionMatrix, Perplexity, TopK};
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

/// Checks scores `[.., classes]` against labels `[..]` and hands each row with its label to `f`; labels that are
/// `ignore` are passed over.
fn rows<T: Real>(
    metric: &str,
    scores: &Tensor<T>,
    labels: &Tensor<i64>,
    ignore: Option<i64>,
    mut f: impl FnMut(&[T], usize),
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
    for (row, y) in data.chunks_exact(classes).zip(labels.iter()) {
        if Some(y) != ignore {
            f(row, y as usize);
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
