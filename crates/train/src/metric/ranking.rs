//! Metrics of the order of scores.

use super::{Averaging, Metric, ScoreKind, averaged, check_classes, same_shape, yes_or_no};
use crate::error::{Error, Result, or_panic, positive};
use wengert_tensor::{Real, Tensor};

/// Walks through scores from the largest to the smallest, equal ones at once: `f` gets the numbers of yes and of no among
/// them.
fn each_threshold(pairs: &mut [(f64, bool)], mut f: impl FnMut(u64, u64)) {
    pairs.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    for equal in pairs.chunk_by(|a, b| a.0 == b.0) {
        let yes = equal.iter().filter(|p| p.1).count() as u64;
        f(yes, equal.len() as u64 - yes);
    }
}

/// Counts pairs, in whole numbers, so the order of the samples does not matter to a bit.
fn roc_auc(pairs: &mut [(f64, bool)]) -> f64 {
    let (mut yes, mut no, mut twice) = (0, 0, 0u128);
    each_threshold(pairs, |y, n| {
        twice += u128::from(n) * u128::from(2 * yes + y);
        yes += y;
        no += n;
    });
    twice as f64 / (2 * u128::from(yes) * u128::from(no)) as f64
}

fn average_precision(pairs: &mut [(f64, bool)]) -> f64 {
    if pairs.is_empty() {
        return f64::NAN;
    }
    let (mut yes, mut all, mut sum) = (0, 0, 0.0);
    each_threshold(pairs, |y, n| {
        yes += y;
        all += y + n;
        sum += y as f64 * (yes as f64 / all as f64);
    });
    if yes == 0 { 0.0 } else { sum / yes as f64 }
}

/// A metric of yes and no that keeps the scores.
macro_rules! of_answers {
    ($(#[$about:meta])* $name:ident, $label:literal, $f:ident, $(#[$value:meta])*) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            pairs: Vec<(f64, bool)>,
        }

        impl $name {
            /// Nothing seen yet.
            pub fn new() -> Self {
                Self::default()
            }

            /// Takes scores and targets of the same shape in.
            ///
            /// # Errors
            /// When the shapes differ, a score is NaN, or a target is neither 0 nor 1; nothing of the batch is taken in then.
            pub fn update<T: Real>(&mut self, scores: &Tensor<T>, targets: &Tensor<T>) -> Result<()> {
                same_shape($label, scores, targets)?;
                let pairs = scores.iter().zip(targets.iter()).enumerate();
                let pairs: Result<Vec<(f64, bool)>> = pairs
                    .map(|(i, (s, t))| {
                        let s = s.as_f64();
                        if s.is_nan() {
                            return Err(Error::metric($label, format!("score {i} is NaN, which has no rank")));
                        }
                        Ok((s, yes_or_no($label, t)?))
                    })
                    .collect();
                self.pairs.append(&mut pairs?);
                Ok(())
            }

            $(#[$value])*
            pub fn value(&self) -> f64 {
                $f(&mut self.pairs.clone())
            }

            /// Number of scores seen.
            pub fn seen(&self) -> u64 {
                self.pairs.len() as u64
            }

            /// Forgets everything.
            pub fn clear(&mut self) {
                self.pairs.clear();
            }
        }

        impl<X, T: Real> Metric<(X, Tensor<T>), T> for $name {
            fn reset(&mut self) {
                self.clear();
            }
            fn update(&mut self, output: &Tensor<T>, batch: &(X, Tensor<T>)) -> Result<()> {
                $name::update(self, output, &batch.1)
            }
            fn values(&self) -> Vec<(String, f64)> {
                vec![($label.to_owned(), self.value())]
            }
            fn state(&self) -> Vec<f64> {
                let pairs = self.pairs.iter();
                pairs.flat_map(|&(s, yes)| [s, f64::from(u8::from(yes))]).collect()
            }
            fn restore(&mut self, state: &[f64]) -> Result<()> {
                let (pairs, rest) = state.as_chunks::<2>();
                let whole = |&[s, t]: &[f64; 2]| !s.is_nan() && (t == 0.0 || t == 1.0);
                if !rest.is_empty() || !pairs.iter().all(whole) {
                    let text = "a state of scores, each followed by 0 or 1, expected";
                    return Err(Error::metric($label, text));
                }
                self.pairs = pairs.iter().map(|&[s, t]| (s, t == 1.0)).collect();
                Ok(())
            }
        }
    };
}

of_answers!(
    /// Area under the receiver operating characteristic, of yes and no: the probability that a sample of the target 1 has a
    /// larger score than one of the target 0, an equal score counting half (Hanley & McNeil 1982; Fawcett 2006).
    ///
    /// With P targets 1 and N targets 0 it is (|{(p, n): sₚ > sₙ}| + ½ |{(p, n): sₚ = sₙ}|) / (P N), which is the area that the
    /// trapezoidal rule finds under the curve of scikit-learn's `roc_auc_score`. Any scores do, logits or probabilities: only
    /// their order counts, and infinite ones have a place in it. Keeps 16 bytes a sample.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// use wengert_train::metric::BinaryRocAuc;
    /// let mut auc = BinaryRocAuc::new();
    /// let scores = Tensor::from_vec(vec![0.1f32, 0.4, 0.35, 0.8], [4]);
    /// auc.update(&scores, &Tensor::from_vec(vec![0.0, 0.0, 1.0, 1.0], [4]))?;
    /// assert_eq!(auc.value(), 0.75);
    /// # Ok::<(), wengert_train::Error>(())
    /// ```
    BinaryRocAuc,
    "roc_auc",
    roc_auc,
    /// The area. NaN while only one of the targets 0 and 1 was seen, as in scikit-learn: there is no pair to compare.
);

of_answers!(
    /// Average precision of yes and no: the area under the curve of precision over recall, as a sum of steps.
    ///
    /// Σ (Rₖ - Rₖ₋₁) Pₖ over the different scores from the largest down, with precision Pₖ and recall Rₖ of the answers "yes from
    /// this score on". It is scikit-learn's `average_precision_score`; nothing is interpolated between the points, because a
    /// straight line between them is too good to be true (Davis & Goadrich 2006). Any scores do: only their order counts. Keeps
    /// 16 bytes a sample.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// use wengert_train::metric::BinaryAveragePrecision;
    /// let mut precision = BinaryAveragePrecision::new();
    /// let scores = Tensor::from_vec(vec![0.1f32, 0.4, 0.35, 0.8], [4]);
    /// precision.update(&scores, &Tensor::from_vec(vec![0.0, 0.0, 1.0, 1.0], [4]))?;
    /// // The first of the two is found with precision 1, the second with 2/3.
    /// assert_eq!(precision.value(), 0.5 * (1.0 + 2.0 / 3.0));
    /// # Ok::<(), wengert_train::Error>(())
    /// ```
    BinaryAveragePrecision,
    "average_precision",
    average_precision,
    /// The average precision. 0 if no target is 1, as in scikit-learn: no answer is right; NaN if nothing was seen.
);

/// A metric of several classes that keeps the scores.
macro_rules! one_against_rest {
    ($(#[$about:meta])* $name:ident, $label:literal, $f:ident, $(#[$class:meta])*) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            classes: usize,
            scores: Vec<f64>,
            labels: Vec<usize>,
            averaging: Averaging,
            kind: ScoreKind,
            ignore: Option<i64>,
        }

        impl $name {
            /// Nothing seen yet; for logits.
            ///
            /// # Panics
            /// When there are no classes.
            #[track_caller]
            pub fn new(classes: usize) -> Self {
                or_panic(positive(
                    stringify!($name),
                    "the number of classes",
                    classes as u64,
                ));
                $name {
                    classes,
                    scores: Vec::new(),
                    labels: Vec::new(),
                    averaging: Averaging::Macro,
                    kind: ScoreKind::Logits,
                    ignore: None,
                }
            }

            /// The scores are probabilities, not logits.
            pub fn probabilities(mut self) -> Self {
                self.kind = ScoreKind::Probabilities;
                self
            }

            /// What the column and [`value`](Self::value) hold; macro averages unless set.
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
            /// When the shapes do not go together, a label is not in `0..classes`, or a row is not one of logits (NaN, +∞) or of
            /// probabilities; nothing of the batch is taken in then.
            pub fn update<T: Real>(&mut self, scores: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
                check_classes($label, scores, self.classes)?;
                let (mut kept, mut found) = (Vec::new(), Vec::new());
                self.kind
                    .rows($label, scores, labels, self.ignore, |p, _, y| {
                        kept.extend_from_slice(p);
                        found.push(y);
                    })?;
                self.scores.append(&mut kept);
                self.labels.append(&mut found);
                Ok(())
            }

            fn pairs(&self, class: usize) -> impl Iterator<Item = (f64, bool)> {
                let rows = self.scores.chunks_exact(self.classes).zip(&self.labels);
                rows.map(move |(row, &y)| (row[class], y == class))
            }

            $(#[$class])*
            ///
            /// # Panics
            /// When there is no such class.
            #[track_caller]
            pub fn class(&self, class: usize) -> f64 {
                assert!(
                    class < self.classes,
                    "{}: class {class} is not in 0..{}",
                    stringify!($name),
                    self.classes
                );
                let mut pairs: Vec<(f64, bool)> = self.pairs(class).collect();
                $f(&mut pairs)
            }

            /// An average over the classes; NaN if nothing was seen.
            pub fn average(&self, averaging: Averaging) -> f64 {
                if self.labels.is_empty() {
                    return f64::NAN;
                }
                let classes = 0..self.classes;
                let weight = |c| self.labels.iter().filter(|&&y| y == c).count() as u64;
                match averaging {
                    Averaging::Macro => averaged(classes.map(|c| (self.class(c), 1))),
                    Averaging::Weighted => averaged(classes.map(|c| (self.class(c), weight(c)))),
                    Averaging::Micro => {
                        let mut pairs: Vec<(f64, bool)> = classes.flat_map(|c| self.pairs(c)).collect();
                        $f(&mut pairs)
                    }
                }
            }

            /// The average that was asked for.
            pub fn value(&self) -> f64 {
                self.average(self.averaging)
            }

            /// Number of labels seen.
            pub fn seen(&self) -> u64 {
                self.labels.len() as u64
            }

            /// Forgets everything.
            pub fn clear(&mut self) {
                self.scores.clear();
                self.labels.clear();
            }
        }

        impl<X, T: Real> Metric<(X, Tensor<i64>), T> for $name {
            fn reset(&mut self) {
                self.clear();
            }
            fn update(&mut self, output: &Tensor<T>, batch: &(X, Tensor<i64>)) -> Result<()> {
                $name::update(self, output, &batch.1)
            }
            fn values(&self) -> Vec<(String, f64)> {
                vec![($label.to_owned(), self.value())]
            }
            fn state(&self) -> Vec<f64> {
                let rows = self.scores.chunks_exact(self.classes).zip(&self.labels);
                rows.flat_map(|(row, &y)| row.iter().copied().chain([y as f64]))
                    .collect()
            }
            fn restore(&mut self, state: &[f64]) -> Result<()> {
                let n = self.classes;
                let rows = state.chunks_exact(n + 1);
                let whole = |row: &[f64]| {
                    row[..n].iter().all(|p| (0.0..=1.0).contains(p))
                        && (0..n).any(|y| y as f64 == row[n])
                };
                if !rows.remainder().is_empty() || !rows.clone().all(whole) {
                    let text = format!("a state of {n} probabilities and a label for each sample expected");
                    return Err(Error::metric($label, text));
                }
                self.labels = rows.clone().map(|row| row[n] as usize).collect();
                self.scores = rows.flat_map(|row| &row[..n]).copied().collect();
                Ok(())
            }
        }
    };
}

one_against_rest!(
    /// Area under the receiver operating characteristic for several classes, each against the rest (Provost & Domingos 2000;
    /// Fawcett 2006): of each class as [`BinaryRocAuc`], by the probability of the class, and averaged.
    ///
    /// It is scikit-learn's `roc_auc_score(multi_class="ovr")` of the softmax of the scores: samples are compared with each other,
    /// so their scores must be on one scale, which logits are not. [`Averaging::Macro`] is NaN while a class has no label, or
    /// all labels, as there; [`Averaging::Weighted`] leaves classes without labels out. Keeps 8 bytes for each class of each
    /// sample, and sorts them when asked.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// use wengert_train::metric::{Averaging, RocAuc};
    /// let mut auc = RocAuc::new(3).probabilities();
    /// let scores = vec![0.75f32, 0.25, 0.0, 0.25, 0.5, 0.25, 0.0, 0.25, 0.75, 0.5, 0.25, 0.25];
    /// auc.update(&Tensor::from_vec(scores, [4, 3]), &Tensor::from_vec(vec![0, 1, 2, 2], [4]))?;
    /// assert_eq!([auc.class(0), auc.class(1), auc.class(2)], [1.0, 1.0, 0.875]);
    /// assert_eq!(auc.average(Averaging::Weighted), 0.25 + 0.25 + 0.5 * 0.875);
    /// # Ok::<(), wengert_train::Error>(())
    /// ```
    RocAuc,
    "roc_auc",
    roc_auc,
    /// The area of a class against the rest. NaN while it has no label, or all of them, as in scikit-learn.
);

one_against_rest!(
    /// Average precision for several classes, each against the rest: of each class as [`BinaryAveragePrecision`], by the
    /// probability of the class, and averaged.
    ///
    /// It is scikit-learn's `average_precision_score` of the softmax of the scores and the labels as indicators. A class without
    /// labels counts 0 in [`Averaging::Macro`], as there; [`Averaging::Weighted`] leaves it out. Keeps 8 bytes for each class of
    /// each sample, and sorts them when asked.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// use wengert_train::metric::AveragePrecision;
    /// let mut precision = AveragePrecision::new(3).probabilities();
    /// let scores = vec![0.75f32, 0.25, 0.0, 0.25, 0.5, 0.25, 0.0, 0.25, 0.75, 0.5, 0.25, 0.25];
    /// precision.update(&Tensor::from_vec(scores, [4, 3]), &Tensor::from_vec(vec![0, 1, 2, 2], [4]))?;
    /// // Class 2: the sample of 0.75 at precision 1, then one of two that have 0.25.
    /// assert_eq!([precision.class(0), precision.class(2)], [1.0, 0.5 * (1.0 + 2.0 / 3.0)]);
    /// # Ok::<(), wengert_train::Error>(())
    /// ```
    AveragePrecision,
    "average_precision",
    average_precision,
    /// The average precision of a class against the rest. 0 if it has no label, as in scikit-learn; NaN if nothing was seen.
);
