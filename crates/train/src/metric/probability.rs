//! Metrics of probabilities.

use super::{Metric, ScoreKind, argmax, exactly};
use crate::error::{Error, Result, or_panic, positive};
use wengert_tensor::{Real, Tensor};

/// A metric of labels, or of 0 and 1, over probabilities, by the counts it keeps.
macro_rules! of_probabilities {
    ($name:ident, $target:ty) => {
        impl $name {
            /// Nothing seen yet; for logits.
            pub fn new() -> Self {
                Self::default()
            }

            /// The scores are probabilities, not logits.
            pub fn probabilities(mut self) -> Self {
                self.kind = ScoreKind::Probabilities;
                self
            }

            /// Number of targets seen.
            pub fn seen(&self) -> u64 {
                self.counts.seen()
            }

            /// Forgets everything.
            pub fn clear(&mut self) {
                self.counts.clear();
            }
        }

        impl<X, T: Real> Metric<(X, Tensor<$target>), T> for $name {
            fn reset(&mut self) {
                self.clear();
            }
            fn update(&mut self, output: &Tensor<T>, batch: &(X, Tensor<$target>)) -> Result<()> {
                $name::update(self, output, &batch.1)
            }
            fn values(&self) -> Vec<(String, f64)> {
                vec![(self.counts.name().to_owned(), self.value())]
            }
            fn state(&self) -> Vec<f64> {
                self.counts.state()
            }
            fn restore(&mut self, state: &[f64]) -> Result<()> {
                self.counts.restore(state)
            }
        }
    };
}

/// A sum and a number.
#[derive(Clone, Debug, Default)]
struct Mean {
    sum: f64,
    seen: u64,
}

impl Mean {
    fn name(&self) -> &'static str {
        "brier"
    }
    fn seen(&self) -> u64 {
        self.seen
    }
    fn clear(&mut self) {
        *self = Self::default();
    }
    fn add(&mut self, more: Mean) {
        self.sum += more.sum;
        self.seen += more.seen;
    }
    fn value(&self) -> f64 {
        self.sum / self.seen as f64
    }
    fn state(&self) -> Vec<f64> {
        vec![self.sum, self.seen as f64]
    }
    fn restore(&mut self, state: &[f64]) -> Result<()> {
        let [sum, seen] = exactly(self.name(), state)?;
        (self.sum, self.seen) = (sum, seen as u64);
        Ok(())
    }
}

/// Brier score (Brier 1950): mean over the samples of Σ (p_c - y_c)² over the classes, where y_c is 1 for the label and 0
/// else. For two classes half of it, which is (p₁ - y)² as in [`BinaryBrierScore`].
///
/// It is scikit-learn's `brier_score_loss`, with its `scale_by_half="auto"`: from 0 to 2, for two classes to 1. The scores are
/// logits, whose softmax is taken, unless [`probabilities`](Self::probabilities) says otherwise.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::BrierScore;
/// let mut brier = BrierScore::new().probabilities();
/// let scores = Tensor::from_vec(vec![0.5f32, 0.25, 0.25], [1, 3]);
/// brier.update(&scores, &Tensor::from_vec(vec![0], [1]))?;
/// assert_eq!(brier.value(), 0.25 + 0.0625 + 0.0625);
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BrierScore {
    counts: Mean,
    kind: ScoreKind,
    ignore: Option<i64>,
}
of_probabilities!(BrierScore, i64);

impl BrierScore {
    /// Passes over this label, such as padding.
    pub fn ignore(mut self, label: i64) -> Self {
        self.ignore = Some(label);
        self
    }

    /// Takes scores `[.., classes]` and labels `[..]` in.
    ///
    /// # Errors
    /// When the shapes do not go together, a label is not in `0..classes`, or a row is not one of logits (NaN, +∞) or of
    /// probabilities.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        let mut more = Mean::default();
        self.kind
            .rows("brier", scores, labels, self.ignore, |p, _, y| {
                let squares = p.iter().enumerate().map(|(c, p)| {
                    let y = if c == y { 1.0 } else { 0.0 };
                    (p - y).powi(2)
                });
                more.sum += squares.sum::<f64>() * if p.len() == 2 { 0.5 } else { 1.0 };
                more.seen += 1;
            })?;
        self.counts.add(more);
        Ok(())
    }

    /// The score; NaN if nothing was seen.
    pub fn value(&self) -> f64 {
        self.counts.value()
    }
}

/// Brier score of yes and no (Brier 1950): mean of (p - y)² over all elements, with the probability p of the target y = 1.
///
/// It is scikit-learn's `brier_score_loss`. The scores are logits, whose sigmoid is taken, unless
/// [`probabilities`](Self::probabilities) says otherwise.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::BinaryBrierScore;
/// let mut brier = BinaryBrierScore::new().probabilities();
/// let scores = Tensor::from_vec(vec![0.75f32, 0.5], [2]);
/// brier.update(&scores, &Tensor::from_vec(vec![1.0, 0.0], [2]))?;
/// assert_eq!(brier.value(), (0.0625 + 0.25) / 2.0);
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BinaryBrierScore {
    counts: Mean,
    kind: ScoreKind,
}
of_probabilities!(BinaryBrierScore, T);

impl BinaryBrierScore {
    /// Takes scores and targets of the same shape in.
    ///
    /// # Errors
    /// When the shapes differ, a score is NaN or not the probability it should be, or a target is neither 0 nor 1.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, targets: &Tensor<T>) -> Result<()> {
        let mut more = Mean::default();
        self.kind.elements("brier", scores, targets, |p, yes| {
            let y = if yes { 1.0 } else { 0.0 };
            more.sum += (p - y).powi(2);
            more.seen += 1;
        })?;
        self.counts.add(more);
        Ok(())
    }

    /// The score; NaN if nothing was seen.
    pub fn value(&self) -> f64 {
        self.counts.value()
    }
}

/// What fell into a bin of a calibration error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Number of answers.
    pub count: u64,
    /// Right ones among them; for yes and no, targets that are 1.
    pub right: u64,
    /// Sum of the probabilities.
    pub sum: f64,
}

impl Bin {
    /// Share of right answers; NaN in an empty bin.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.count as f64
    }

    /// Mean probability; NaN in an empty bin.
    pub fn confidence(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// Bins of equal width over [0, 1].
#[derive(Clone, Debug)]
struct Bins(Vec<Bin>);

impl Default for Bins {
    fn default() -> Self {
        Bins::new(15)
    }
}

impl Bins {
    fn new(bins: usize) -> Self {
        Bins(vec![Bin::default(); bins])
    }
    fn name(&self) -> &'static str {
        "ece"
    }
    fn seen(&self) -> u64 {
        self.0.iter().map(|b| b.count).sum()
    }
    fn clear(&mut self) {
        self.0.fill(Bin::default());
    }
    /// Takes an answer in: into the bin whose upper edge is the first that is not below `p`.
    fn put(&mut self, p: f64, right: bool) {
        let n = self.0.len();
        let i = ((p * n as f64) as usize).min(n - 1);
        // At an edge, or below one that the product was rounded up to.
        let i = i - usize::from(i > 0 && p <= i as f64 / n as f64);
        let bin = &mut self.0[i];
        bin.count += 1;
        bin.right += u64::from(right);
        bin.sum += p;
    }
    fn value(&self) -> f64 {
        let off = |b: &Bin| (b.right as f64 - b.sum).abs();
        self.0.iter().map(off).sum::<f64>() / self.seen() as f64
    }
    fn state(&self) -> Vec<f64> {
        let bins = self.0.iter();
        bins.flat_map(|b| [b.count as f64, b.right as f64, b.sum])
            .collect()
    }
    fn restore(&mut self, state: &[f64]) -> Result<()> {
        let n = 3 * self.0.len();
        if state.len() != n {
            return Err(Error::metric(
                self.name(),
                format!("a state of {n} numbers expected, found {}", state.len()),
            ));
        }
        for (b, x) in self.0.iter_mut().zip(state.as_chunks::<3>().0) {
            *b = Bin {
                count: x[0] as u64,
                right: x[1] as u64,
                sum: x[2],
            };
        }
        Ok(())
    }
}

macro_rules! binned {
    ($name:ident) => {
        impl $name {
            /// Another number of bins than 15. What was seen is forgotten.
            ///
            /// # Panics
            /// When it is 0.
            #[track_caller]
            pub fn bins(mut self, bins: usize) -> Self {
                or_panic(positive(
                    stringify!($name),
                    "the number of bins",
                    bins as u64,
                ));
                self.counts = Bins::new(bins);
                self
            }

            /// The error; NaN if nothing was seen.
            pub fn value(&self) -> f64 {
                self.counts.value()
            }

            /// The bins in order, which a reliability diagram shows.
            pub fn diagram(&self) -> &[Bin] {
                &self.counts.0
            }
        }
    };
}

/// Expected calibration error of the answers (Naeini et al. 2015; Guo et al. 2017): whether of the answers given with
/// probability 0.8 eight in ten are right.
///
/// The answers are sorted into bins of equal width by the largest probability of each row; the error is Σ |B| / n · |share of
/// right answers in B - mean probability in B| over the bins B. There are 15 of them unless set, as in Guo et al. and in
/// torchmetrics. A bin has its upper edge and not its lower one, (0.8, 0.9], as in Guo et al. and in scikit-learn's
/// `calibration_curve` (torchmetrics: the other way round); the first has 0, too.
///
/// The scores are logits, whose softmax is taken, unless [`probabilities`](Self::probabilities) says otherwise. The first of
/// equal scores is the answer, as in [`Accuracy`](super::Accuracy).
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::CalibrationError;
/// let mut error = CalibrationError::new().probabilities();
/// let scores = Tensor::from_vec(vec![0.75f32, 0.25, 0.25, 0.75], [2, 2]);
/// error.update(&scores, &Tensor::from_vec(vec![0, 0], [2]))?;
/// // Given with probability 0.75, right in one of two cases.
/// assert_eq!(error.value(), 0.25);
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CalibrationError {
    counts: Bins,
    kind: ScoreKind,
    ignore: Option<i64>,
}
of_probabilities!(CalibrationError, i64);
binned!(CalibrationError);

impl CalibrationError {
    /// Passes over this label, such as padding.
    pub fn ignore(mut self, label: i64) -> Self {
        self.ignore = Some(label);
        self
    }

    /// Takes scores `[.., classes]` and labels `[..]` in.
    ///
    /// # Errors
    /// When the shapes do not go together, a label is not in `0..classes`, or a row is not one of logits (NaN, +∞) or of
    /// probabilities.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        let mut counts = self.counts.clone();
        self.kind
            .rows("ece", scores, labels, self.ignore, |p, row, y| {
                if let Some(answer) = argmax(row) {
                    counts.put(p[answer], answer == y);
                }
            })?;
        self.counts = counts;
        Ok(())
    }
}

/// Expected calibration error of yes and no: whether of the targets that have probability 0.8 eight in ten are 1.
///
/// As [`CalibrationError`], by the probability of the target 1 and the share of targets that are 1, as in scikit-learn's
/// `calibration_curve`. The scores are logits, whose sigmoid is taken, unless [`probabilities`](Self::probabilities) says
/// otherwise.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::BinaryCalibrationError;
/// let mut error = BinaryCalibrationError::new().bins(10).probabilities();
/// let scores = Tensor::from_vec(vec![0.25f32, 0.25, 0.75, 0.75], [4]);
/// error.update(&scores, &Tensor::from_vec(vec![0.0, 0.0, 1.0, 0.0], [4]))?;
/// assert_eq!(error.value(), 0.5 * 0.25 + 0.5 * 0.25);
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BinaryCalibrationError {
    counts: Bins,
    kind: ScoreKind,
}
of_probabilities!(BinaryCalibrationError, T);
binned!(BinaryCalibrationError);

impl BinaryCalibrationError {
    /// Takes scores and targets of the same shape in.
    ///
    /// # Errors
    /// When the shapes differ, a score is NaN or not the probability it should be, or a target is neither 0 nor 1.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, targets: &Tensor<T>) -> Result<()> {
        let mut counts = self.counts.clone();
        self.kind
            .elements("ece", scores, targets, |p, yes| counts.put(p, yes))?;
        self.counts = counts;
        Ok(())
    }
}
