//! Parts of a data set: which samples train, which test.
//!
//! All functions return indices in ascending order, for [`Dataset::subset`](crate::Dataset::subset),
//! [`TensorDataset::select`](crate::TensorDataset::select) or [`Labeled::select`]; the same seed gives the same parts.

use crate::dataset::Labeled;
use crate::error::{Error, Result};
use crate::random::{permutation, shuffle, stream};
use wengert_tensor::Tensor;
use wengert_tensor::order::{ascending, groups, order};

/// The two sides of one division.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Samples to train on.
    pub train: Vec<usize>,
    /// Samples to test on.
    pub test: Vec<usize>,
}

/// First number of the path of the streams that divide.
const SPLIT: u64 = 2;

/// `0..n` at random in parts of the given shares, which sum to 1; sizes are the shares of `n`, rounded so that they sum to `n`.
///
/// ```
/// let parts = wengert_data::split::shares(10, &[0.7, 0.2, 0.1], 1).unwrap();
/// assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [7, 2, 1]);
/// ```
///
/// # Errors
/// [`Error::Value`] when a share is not in `0..=1` or their sum is not 1 (to 1e-6).
pub fn shares(n: usize, shares: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let sum: f64 = shares.iter().sum();
    if shares.iter().any(|s| !(0.0..=1.0).contains(s)) || (sum - 1.0).abs() > 1e-6 {
        return Err(Error::value(
            "split",
            format!("the shares {shares:?} are not in 0..=1 with sum 1"),
        ));
    }
    let order = permutation(n, &mut stream(seed, &[SPLIT]));
    // Borders are rounded, not sizes, so that the parts cover everything.
    let (mut reached, mut begin) = (0.0, 0);
    let mut parts = Vec::with_capacity(shares.len());
    for (i, share) in shares.iter().enumerate() {
        reached += share;
        let end = if i + 1 == shares.len() {
            n
        } else {
            ((reached * n as f64).round() as usize).clamp(begin, n)
        };
        let mut part = order[begin..end].to_vec();
        ascending(&mut part);
        parts.push(part);
        begin = end;
    }
    Ok(parts)
}

/// `0..n` at random, a share of `test` for testing.
///
/// # Errors
/// [`Error::Value`] when `test` is not in `0..=1`.
pub fn train_test(n: usize, test: f64, seed: u64) -> Result<Split> {
    let mut parts = shares(n, &[1.0 - test, test], seed)?;
    let test = parts.pop().unwrap_or_default();
    Ok(Split {
        train: parts.pop().unwrap_or_default(),
        test,
    })
}

/// As [`train_test`], each class in its proportion (to within one sample of each class).
///
/// # Errors
/// [`Error::Value`] when `test` is not in `0..=1` or `labels` is not of rank 1.
pub fn stratified(labels: &Tensor<i64>, test: f64, seed: u64) -> Result<Split> {
    if !(0.0..=1.0).contains(&test) {
        return Err(Error::value(
            "split",
            format!("the share {test} is not in 0..=1"),
        ));
    }
    let classes = by_class(labels, seed)?;
    let wanted = (labels.numel() as f64 * test).round() as usize;
    // Every class gives the floor of its share; those with the largest remainders give one more until the sum is right.
    let mut give: Vec<usize> = classes
        .iter()
        .map(|c| (c.len() as f64 * test) as usize)
        .collect();
    let rest = |i: usize| classes[i].len() as f64 * test - give[i] as f64;
    let rank = order(classes.len(), &|a, b| rest(b).total_cmp(&rest(a)));
    let lacking = wanted.saturating_sub(give.iter().sum());
    for &i in rank.iter().take(lacking) {
        give[i] += 1;
    }
    let mut split = Split {
        train: Vec::new(),
        test: Vec::new(),
    };
    for (members, &give) in classes.iter().zip(&give) {
        let give = give.min(members.len());
        split.test.extend(&members[..give]);
        split.train.extend(&members[give..]);
    }
    ascending(&mut split.train);
    ascending(&mut split.test);
    Ok(split)
}

/// `k` divisions of `0..n`, at random: each sample is tested once, the sizes of the test parts differ by at most one.
///
/// ```
/// let tested: Vec<usize> = wengert_data::split::k_fold(5, 2, 1).unwrap().flat_map(|s| s.test).collect();
/// assert_eq!(tested.len(), 5);
/// ```
///
/// # Errors
/// [`Error::Value`] unless `2 <= k <= n`.
pub fn k_fold(
    n: usize,
    k: usize,
    seed: u64,
) -> Result<impl ExactSizeIterator<Item = Split> + use<>> {
    check_k(n, k)?;
    let order = permutation(n, &mut stream(seed, &[SPLIT]));
    let mut fold = vec![0; n];
    for (place, &i) in order.iter().enumerate() {
        fold[i] = place % k;
    }
    Ok(folds(fold, k))
}

/// As [`k_fold`], each class in its proportion: the samples of a class are dealt out in turn.
///
/// # Errors
/// [`Error::Value`] unless `2 <= k <= n` and `labels` is of rank 1.
pub fn stratified_k_fold(
    labels: &Tensor<i64>,
    k: usize,
    seed: u64,
) -> Result<impl ExactSizeIterator<Item = Split> + use<>> {
    let n = labels.numel();
    check_k(n, k)?;
    let mut fold = vec![0; n];
    // Each class goes on where the one before it stopped, so that no fold collects all the remainders.
    for (place, i) in by_class(labels, seed)?.concat().into_iter().enumerate() {
        fold[i] = place % k;
    }
    Ok(folds(fold, k))
}

fn check_k(n: usize, k: usize) -> Result<()> {
    if k < 2 || k > n {
        return Err(Error::value(
            "k_fold",
            format!("{k} parts of {n} samples: at least 2, at most one per sample"),
        ));
    }
    Ok(())
}

fn folds(fold: Vec<usize>, k: usize) -> impl ExactSizeIterator<Item = Split> {
    (0..k).map(move |f| {
        let (test, train) = (0..fold.len()).partition(|&i| fold[i] == f);
        Split { train, test }
    })
}

/// The samples of each class in random order, classes in ascending order.
fn by_class(labels: &Tensor<i64>, seed: u64) -> Result<Vec<Vec<usize>>> {
    if labels.rank() != 1 {
        return Err(Error::value(
            "split",
            format!("labels of shape {:?}, expected [n]", labels.shape()),
        ));
    }
    let labels = labels.to_vec();
    let mut classes = groups(labels.len(), &|i, j| labels[i].cmp(&labels[j]));
    let mut rng = stream(seed, &[SPLIT]);
    for members in &mut classes {
        shuffle(members, &mut rng);
    }
    Ok(classes)
}

impl Labeled {
    /// Two parts at random, the second with a share of `test`, each class in its proportion.
    ///
    /// # Errors
    /// As [`stratified`].
    pub fn split(&self, test: f64, seed: u64) -> Result<(Labeled, Labeled)> {
        let s = stratified(&self.labels, test, seed)?;
        Ok((self.select(&s.train)?, self.select(&s.test)?))
    }
}
