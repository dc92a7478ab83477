//! In which order a loader visits its samples.

use crate::error::{Error, Result};
use crate::random::{self, uniform_f64};
use rand::rngs::Xoshiro256PlusPlus;
use wengert_tensor::Tensor;
use wengert_tensor::order::{groups, order};

/// Chooses the samples of an epoch and their order.
///
/// The generator is fresh for every epoch, derived from the loader's seed and the number of the epoch, so the order of
/// epoch `k` does not depend on the epochs before it.
pub trait Sampler: Send + Sync {
    /// Whether the sampler was made for a set of `len`; asked before [`Sampler::order`].
    ///
    /// # Errors
    /// [`Error::Value`] that says what does not fit; every batch of the loader is then this error.
    fn fits(&self, len: usize) -> Result<()> {
        let _ = len;
        Ok(())
    }

    /// Number of samples in an epoch over a set of `len`.
    fn count(&self, len: usize) -> usize;

    /// The samples of one epoch: [`Sampler::count`] indices below `len`.
    fn order(&self, len: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize>;
}

/// `0, 1, …, len - 1`.
#[derive(Debug, Clone, Copy)]
pub struct Sequential;

impl Sampler for Sequential {
    fn count(&self, len: usize) -> usize {
        len
    }
    fn order(&self, len: usize, _: &mut Xoshiro256PlusPlus) -> Vec<usize> {
        (0..len).collect()
    }
}

/// Every sample once, in an order drawn anew for each epoch.
#[derive(Debug, Clone, Copy)]
pub struct Shuffled;

impl Sampler for Shuffled {
    fn count(&self, len: usize) -> usize {
        len
    }
    fn order(&self, len: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
        random::permutation(len, rng)
    }
}

/// Samples drawn with probabilities in proportion to given weights.
///
/// With replacement, `count` independent draws; without, `count` different samples, drawn one after another in
/// proportion to the weights of those left (Efraimidis and Spirakis 2006, by the keys `-ln(u) / w`).
///
/// ```
/// use wengert_data::{DataLoader, TensorDataset, Weighted};
/// use wengert_tensor::Tensor;
/// let set = TensorDataset::new(Tensor::from_vec(vec![10i64, 20, 30], [3])).unwrap();
/// let loader = DataLoader::new(set, 8).sampler(Weighted::new(vec![0.0, 1.0, 0.0], 8).unwrap());
/// assert_eq!(loader.epoch(0).next().unwrap().to_vec(), [20; 8]);
/// ```
#[derive(Debug, Clone)]
pub struct Weighted {
    weights: Vec<f64>,
    /// Running sums of the weights.
    sums: Vec<f64>,
    count: usize,
    replacement: bool,
}

impl Weighted {
    /// `count` draws with replacement.
    ///
    /// # Errors
    /// [`Error::Value`] for a weight that is negative or not finite, or when all are zero.
    pub fn new(weights: Vec<f64>, count: usize) -> Result<Self> {
        let mut sum = 0.0;
        let mut sums = Vec::with_capacity(weights.len());
        for (i, &w) in weights.iter().enumerate() {
            if !(w >= 0.0 && w.is_finite()) {
                return Err(Error::value(
                    "weighted",
                    format!("weight {w} of sample {i} is not finite and at least 0"),
                ));
            }
            sum += w;
            sums.push(sum);
        }
        if !(sum > 0.0 && sum.is_finite()) {
            return Err(Error::value(
                "weighted",
                format!("the {} weights sum to {sum}", weights.len()),
            ));
        }
        Ok(Weighted {
            weights,
            sums,
            count,
            replacement: true,
        })
    }

    /// `count` different samples.
    ///
    /// # Errors
    /// As [`Weighted::new`], and when fewer than `count` weights are above zero.
    pub fn without_replacement(weights: Vec<f64>, count: usize) -> Result<Self> {
        let positive = weights.iter().filter(|&&w| w > 0.0).count();
        if count > positive {
            return Err(Error::value(
                "weighted",
                format!("{count} different samples asked for, {positive} have a weight above 0"),
            ));
        }
        Ok(Weighted {
            replacement: false,
            ..Weighted::new(weights, count)?
        })
    }

    /// Every class equally often in expectation, whatever its share: weight 1 / (samples of the class), as many draws
    /// with replacement as there are labels.
    ///
    /// # Errors
    /// [`Error::Value`] when there are no labels.
    pub fn balanced(labels: &Tensor<i64>) -> Result<Self> {
        let labels = labels.to_vec();
        let n = labels.len();
        let mut weights = vec![0.0; n];
        for class in groups(n, &|i, j| labels[i].cmp(&labels[j])) {
            for &i in &class {
                weights[i] = 1.0 / class.len() as f64;
            }
        }
        Weighted::new(weights, n)
    }
}

impl Sampler for Weighted {
    fn fits(&self, len: usize) -> Result<()> {
        if len == self.weights.len() {
            return Ok(());
        }
        Err(Error::value(
            "weighted",
            format!("{} weights for {len} samples", self.weights.len()),
        ))
    }

    fn count(&self, _: usize) -> usize {
        self.count
    }

    fn order(&self, _: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
        if self.replacement {
            let total = self.sums[self.sums.len() - 1];
            let draw = |_| {
                let at = uniform_f64(rng) * total;
                // The first sum above the point; a product that rounds up to the total falls to the last weight above 0.
                let i = self.sums.partition_point(|&s| s <= at);
                if i < self.sums.len() {
                    i
                } else {
                    self.sums.partition_point(|&s| s < total)
                }
            };
            return (0..self.count).map(draw).collect();
        }
        let drawn: Vec<(f64, usize)> = (self.weights.iter().enumerate())
            .filter(|&(_, &w)| w > 0.0)
            .map(|(i, &w)| (-(1.0 - uniform_f64(rng)).ln() / w, i))
            .collect();
        let order = order(drawn.len(), &|a, b| drawn[a].0.total_cmp(&drawn[b].0));
        (order.into_iter().take(self.count))
            .map(|k| drawn[k].1)
            .collect()
    }
}
