//! Metrics of scores against classes.

use super::{
    Averaging, Metric, argmax, averaged, check_classes, exactly, rows, same_shape, yes_or_no,
};
use crate::error::{Error, Result, or_panic, positive};
use wengert_tensor::{Real, Tensor};

/// Metrics over scores `[.., classes]` and labels `[..]`, as parts of a batch `(input, labels)`.
macro_rules! of_labels {
    ($name:ident) => {
        impl<X, T: Real> Metric<(X, Tensor<i64>), T> for $name {
            fn reset(&mut self) {
                self.clear();
            }
            fn update(&mut self, output: &Tensor<T>, batch: &(X, Tensor<i64>)) -> Result<()> {
                $name::update(self, output, &batch.1)
            }
            fn values(&self) -> Vec<(String, f64)> {
                self.named()
            }
            fn state(&self) -> Vec<f64> {
                self.numbers()
            }
            fn restore(&mut self, state: &[f64]) -> Result<()> {
                self.take(state)
            }
        }
    };
}

/// Right answers among all answers, with the number of both.
macro_rules! counted {
    ($name:ident, |$s:ident| $label:expr) => {
        impl $name {
            /// Share of right answers; NaN if there were none at all.
            pub fn value(&self) -> f64 {
                self.right as f64 / self.seen as f64
            }

            /// Number of labels seen.
            pub fn seen(&self) -> u64 {
                self.seen
            }

            /// Forgets everything.
            pub fn clear(&mut self) {
                (self.right, self.seen) = (0, 0);
            }

            fn named(&self) -> Vec<(String, f64)> {
                let $s = self;
                vec![($label, self.value())]
            }

            fn numbers(&self) -> Vec<f64> {
                vec![self.right as f64, self.seen as f64]
            }

            fn take(&mut self, state: &[f64]) -> Result<()> {
                let $s = &*self;
                let label: String = $label;
                let [right, seen] = exactly(&label, state)?;
                self.right = right as u64;
                self.seen = seen as u64;
                Ok(())
            }
        }
        of_labels!($name);
    };
}

/// Share of samples whose largest score stands at the label; the first of equal scores counts, a row with NaN is
/// wrong.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::Accuracy;
/// let mut accuracy = Accuracy::new();
/// let scores = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8], [2, 2]);
/// accuracy.update(&scores, &Tensor::from_vec(vec![0, 0], [2]))?;
/// assert_eq!(accuracy.value(), 0.5);
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    right: u64,
    seen: u64,
    ignore: Option<i64>,
}

impl Accuracy {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes over this label, such as padding.
    pub fn ignore(mut self, label: i64) -> Self {
        self.ignore = Some(label);
        self
    }

    /// Takes scores `[.., classes]` and labels `[..]` in.
    ///
    /// # Errors
    /// When the shapes do not go together or a label is not in `0..classes`.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        let (mut right, mut seen) = (0, 0);
        rows("accuracy", scores, labels, self.ignore, |_, row, y| {
            right += u64::from(argmax(row) == Some(y));
            seen += 1;
        })?;
        self.right += right;
        self.seen += seen;
        Ok(())
    }
}
counted!(Accuracy, |_s| "accuracy".to_owned());

/// Share of samples whose label is among the `k` largest scores: fewer than `k` scores are larger, or equal and before
/// it.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    right: u64,
    seen: u64,
    ignore: Option<i64>,
}

impl TopK {
    /// Nothing seen yet; the column is named `top` and `k`.
    ///
    /// # Panics
    /// When `k` is 0.
    #[track_caller]
    pub fn new(k: usize) -> Self {
        or_panic(positive("TopK", "k", k as u64));
        TopK {
            k,
            right: 0,
            seen: 0,
            ignore: None,
        }
    }

    /// Passes over this label, such as padding.
    pub fn ignore(mut self, label: i64) -> Self {
        self.ignore = Some(label);
        self
    }

    /// Takes scores `[.., classes]` and labels `[..]` in.
    ///
    /// # Errors
    /// When the shapes do not go together or a label is not in `0..classes`.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        let (mut right, mut seen, k) = (0, 0, self.k);
        rows("top k", scores, labels, self.ignore, |_, row, y| {
            let before = |(i, x): (usize, &T)| *x > row[y] || (*x == row[y] && i < y);
            let ahead = row.iter().enumerate().filter(|&p| before(p)).count();
            right += u64::from(!row.iter().any(|x| x.is_nan()) && ahead < k);
            seen += 1;
        })?;
        self.right += right;
        self.seen += seen;
        Ok(())
    }
}
counted!(TopK, |s| format!("top{}", s.k));

/// Counts of every label against every prediction, and what follows from them.
///
/// | | |
/// |---|---|
/// | precision of class c | right answers c / answers c |
/// | recall of class c | right answers c / labels c |
/// | F1 of class c | harmonic mean of both: 2 right / (answers + labels) |
///
/// A ratio 0 / 0 is 0, as in scikit-learn's `zero_division=0`. The columns `precision`, `recall` and `f1` are plain means
/// over the classes that occur as label or answer (macro averages), unless [`averaging`](Self::averaging) says otherwise:
///
/// | | |
/// |---|---|
/// | [`Averaging::Macro`] | Σ m_c / number of classes that occur |
/// | [`Averaging::Weighted`] | Σ labels c · m_c / labels |
/// | [`Averaging::Micro`] | of the counts over all classes; precision, recall and F1 are the accuracy then |
///
/// They are those of scikit-learn's `precision_recall_fscore_support`.
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_train::metric::{Averaging, ConfusionMatrix};
/// let mut m = ConfusionMatrix::new(2);
/// let scores = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.7, 0.3], [3, 2]);
/// m.update(&scores, &Tensor::from_vec(vec![0, 1, 1], [3]))?;
/// assert_eq!((m.count(1, 0), m.recall(1), m.precision(1)), (1, 0.5, 1.0));
/// assert_eq!(m.mean_recall(Averaging::Macro), 0.5 * (1.0 + 0.5));
/// assert_eq!(m.mean_recall(Averaging::Weighted), (1.0 + 2.0 * 0.5) / 3.0);
/// # Ok::<(), wengert_train::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
    /// Labels whose scores held NaN: no answer.
    lost: Vec<u64>,
    averaging: Averaging,
    ignore: Option<i64>,
}

impl ConfusionMatrix {
    /// Nothing seen yet.
    ///
    /// # Panics
    /// When there are no classes.
    #[track_caller]
    pub fn new(classes: usize) -> Self {
        or_panic(positive(
            "ConfusionMatrix",
            "the number of classes",
            classes as u64,
        ));
        ConfusionMatrix {
            classes,
            counts: vec![0; classes * classes],
            lost: vec![0; classes],
            averaging: Averaging::Macro,
            ignore: None,
        }
    }

    /// What the columns hold; macro averages unless set.
    pub fn averaging(mut self, averaging: Averaging) -> Self {
        self.averaging = averaging;
        self
    }

    /// Passes over this label, such as padding.
    pub fn ignore(mut self, label: i64) -> Self {
        self.ignore = Some(label);
        self
    }

    /// Takes scores `[.., classes]` and labels `[..]` in.
    ///
    /// # Errors
    /// When the shapes do not go together or a label is not in `0..classes`.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        check_classes("confusion matrix", scores, self.classes)?;
        let Self {
            classes,
            counts,
            lost,
            ignore,
            ..
        } = self;
        rows(
            "confusion matrix",
            scores,
            labels,
            *ignore,
            |_, row, y| match argmax(row) {
                Some(answer) => counts[y * *classes + answer] += 1,
                None => lost[y] += 1,
            },
        )
    }

    /// How often `label` was answered by `answer`.
    pub fn count(&self, label: usize, answer: usize) -> u64 {
        self.counts[label * self.classes + answer]
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    fn answers(&self, class: usize) -> u64 {
        (0..self.classes).map(|y| self.count(y, class)).sum()
    }

    fn labels(&self, class: usize) -> u64 {
        self.lost[class] + (0..self.classes).map(|a| self.count(class, a)).sum::<u64>()
    }

    /// Share of right ones among the answers `class`.
    pub fn precision(&self, class: usize) -> f64 {
        ratio(self.count(class, class), self.answers(class))
    }

    /// Share of right ones among the labels `class`.
    pub fn recall(&self, class: usize) -> f64 {
        ratio(self.count(class, class), self.labels(class))
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self, class: usize) -> f64 {
        ratio(
            2 * self.count(class, class),
            self.answers(class) + self.labels(class),
        )
    }

    /// Share of right answers; the F1 averaged over samples (micro average) is the same number.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.count(c, c)).sum();
        let all: u64 = (0..self.classes).map(|c| self.labels(c)).sum();
        right as f64 / all as f64
    }

    /// Mean of a measure over the classes that occur; NaN if none does.
    pub fn mean(&self, measure: impl Fn(&Self, usize) -> f64) -> f64 {
        let present: Vec<usize> = (0..self.classes)
            .filter(|&c| self.answers(c) + self.labels(c) > 0)
            .collect();
        present.iter().map(|&c| measure(self, c)).sum::<f64>() / present.len() as f64
    }

    /// Precision of all classes together; NaN if nothing was seen.
    pub fn mean_precision(&self, averaging: Averaging) -> f64 {
        self.average(averaging, Self::precision, |right, answers, _| {
            ratio(right, answers)
        })
    }

    /// Recall of all classes together; NaN if nothing was seen.
    pub fn mean_recall(&self, averaging: Averaging) -> f64 {
        self.average(averaging, Self::recall, |right, _, labels| {
            ratio(right, labels)
        })
    }

    /// F1 of all classes together; NaN if nothing was seen.
    pub fn mean_f1(&self, averaging: Averaging) -> f64 {
        self.average(averaging, Self::f1, |right, answers, labels| {
            ratio(2 * right, answers + labels)
        })
    }

    /// A measure of a class, and the same of the sums of right answers, answers and labels.
    fn average(
        &self,
        averaging: Averaging,
        of_class: fn(&Self, usize) -> f64,
        of_sums: fn(u64, u64, u64) -> f64,
    ) -> f64 {
        let classes = 0..self.classes;
        match averaging {
            Averaging::Macro => self.mean(of_class),
            Averaging::Weighted => averaged(classes.map(|c| (of_class(self, c), self.labels(c)))),
            Averaging::Micro => {
                let labels = classes.clone().map(|c| self.labels(c)).sum();
                let right = classes.map(|c| self.count(c, c)).sum();
                match labels {
                    0 => f64::NAN,
                    _ => of_sums(right, self.counts.iter().sum(), labels),
                }
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.lost.fill(0);
    }

    fn named(&self) -> Vec<(String, f64)> {
        vec![
            ("precision".to_owned(), self.mean_precision(self.averaging)),
            ("recall".to_owned(), self.mean_recall(self.averaging)),
            ("f1".to_owned(), self.mean_f1(self.averaging)),
        ]
    }

    fn numbers(&self) -> Vec<f64> {
        let all = self.counts.iter().chain(&self.lost);
        all.map(|&n| n as f64).collect()
    }

    fn take(&mut self, state: &[f64]) -> Result<()> {
        let n = self.counts.len();
        if state.len() != n + self.classes {
            return Err(Error::metric(
                "confusion matrix",
                format!(
                    "a state of {} numbers expected, found {}",
                    n + self.classes,
                    state.len()
                ),
            ));
        }
        let whole = |x: &f64| *x as u64;
        self.counts = state[..n].iter().map(whole).collect();
        self.lost = state[n..].iter().map(whole).collect();
        Ok(())
    }
}
of_labels!(ConfusionMatrix);

/// The matrix, labels down, answers across.
impl std::fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let longest = self.counts.iter().max().map_or(1, |n| n.to_string().len());
        let width = longest.max((self.classes - 1).to_string().len());
        write!(f, "{:>width$}", "")?;
        for a in 0..self.classes {
            write!(f, " {a:>width$}")?;
        }
        writeln!(f)?;
        for y in 0..self.classes {
            write!(f, "{y:>width$}")?;
            for a in 0..self.classes {
                write!(f, " {:>width$}", self.count(y, a))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// Yes or no, element by element: a score above the threshold says yes, the target is 1 for yes and 0 for no.
///
/// The threshold is 0 unless set, which is right for logits (probability 0.5). A ratio 0 / 0 is 0; a score NaN says
/// no.
#[derive(Clone, Debug, Default)]
pub struct BinaryCounts {
    threshold: f64,
    counts: [u64; 4],
}

impl BinaryCounts {
    /// Nothing seen yet; for logits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another threshold, such as 0.5 for probabilities.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// Takes scores and targets of the same shape in.
    ///
    /// # Errors
    /// When the shapes differ or a target is neither 0 nor 1.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, targets: &Tensor<T>) -> Result<()> {
        same_shape("binary counts", scores, targets)?;
        let mut counts = self.counts;
        for (s, t) in scores.iter().zip(targets.iter()) {
            let yes = yes_or_no("binary counts", t)?;
            counts[usize::from(yes) * 2 + usize::from(s.as_f64() > self.threshold)] += 1;
        }
        self.counts = counts;
        Ok(())
    }

    /// True negatives, false positives, false negatives, true positives.
    pub fn counts(&self) -> [u64; 4] {
        self.counts
    }

    /// True positives among the answers yes.
    pub fn precision(&self) -> f64 {
        let [_, fp, _, tp] = self.counts;
        ratio(tp, tp + fp)
    }

    /// True positives among the targets 1.
    pub fn recall(&self) -> f64 {
        let [_, _, fnn, tp] = self.counts;
        ratio(tp, tp + fnn)
    }

    /// Harmonic mean of both.
    pub fn f1(&self) -> f64 {
        let [_, fp, fnn, tp] = self.counts;
        ratio(2 * tp, 2 * tp + fp + fnn)
    }

    /// Share of right answers; NaN if there were none at all.
    pub fn accuracy(&self) -> f64 {
        let [tn, _, _, tp] = self.counts;
        (tn + tp) as f64 / self.counts.iter().sum::<u64>() as f64
    }
}

impl<X, T: Real> Metric<(X, Tensor<T>), T> for BinaryCounts {
    fn reset(&mut self) {
        self.counts = [0; 4];
    }
    fn update(&mut self, output: &Tensor<T>, batch: &(X, Tensor<T>)) -> Result<()> {
        BinaryCounts::update(self, output, &batch.1)
    }
    fn values(&self) -> Vec<(String, f64)> {
        vec![
            ("precision".to_owned(), self.precision()),
            ("recall".to_owned(), self.recall()),
            ("f1".to_owned(), self.f1()),
            ("accuracy".to_owned(), self.accuracy()),
        ]
    }
    fn state(&self) -> Vec<f64> {
        self.counts.iter().map(|&n| n as f64).collect()
    }
    fn restore(&mut self, state: &[f64]) -> Result<()> {
        let numbers: [f64; 4] = exactly("binary counts", state)?;
        self.counts = numbers.map(|x| x as u64);
        Ok(())
    }
}

/// exp of the mean negative log-likelihood of the labels, from scores (logits) `[.., classes]`.
#[derive(Clone, Debug, Default)]
pub struct Perplexity {
    sum: f64,
    seen: u64,
    ignore: Option<i64>,
}

impl Perplexity {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes over this label, such as padding.
    pub fn ignore(mut self, label: i64) -> Self {
        self.ignore = Some(label);
        self
    }

    /// Takes logits `[.., classes]` and labels `[..]` in.
    ///
    /// # Errors
    /// When the shapes do not go together or a label is not in `0..classes`.
    pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        let (mut sum, mut seen) = (0.0, 0);
        rows("perplexity", scores, labels, self.ignore, |_, row, y| {
            let top = row
                .iter()
                .map(|x| x.as_f64())
                .fold(
                    f64::NEG_INFINITY,
                    |a, b| {
                        if b > a || b.is_nan() { b } else { a }
                    },
                );
            let total: f64 = row.iter().map(|x| (x.as_f64() - top).exp()).sum();
            sum += total.ln() + top - row[y].as_f64();
            seen += 1;
        })?;
        self.sum += sum;
        self.seen += seen;
        Ok(())
    }

    /// The perplexity; NaN if nothing was seen.
    pub fn value(&self) -> f64 {
        (self.sum / self.seen as f64).exp()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.sum, self.seen) = (0.0, 0);
    }

    fn named(&self) -> Vec<(String, f64)> {
        vec![("perplexity".to_owned(), self.value())]
    }

    fn numbers(&self) -> Vec<f64> {
        vec![self.sum, self.seen as f64]
    }

    fn take(&mut self, state: &[f64]) -> Result<()> {
        let [sum, seen] = exactly("perplexity", state)?;
        self.sum = sum;
        self.seen = seen as u64;
        Ok(())
    }
}
of_labels!(Perplexity);
