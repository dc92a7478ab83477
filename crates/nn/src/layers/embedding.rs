//! A table of vectors.

use super::{draw, positive, refuse};
use crate::init::{Fans, Init};
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::{Dims, Float, Param, Result, Tape, Tensor, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Embedding: row `i` of a table for index `i`.
///
/// | | shape |
/// |---|---|
/// | indices | any shape `s` |
/// | output | `s + [features]` |
/// | `weight` | `[entries, features]` |
///
/// Rows start normal with deviation 1, as in PyTorch: exactly one row is looked up, so the fan in is 1. With a padding
/// index that row starts at 0 and gets no gradient.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{Tape, Tensor};
/// use wengert_nn::Embedding;
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let table: Embedding = Embedding::new(10, 4, &mut rng);
/// let tape = Tape::inference();
/// let x = table.lookup(&tape, &Tensor::from_vec(vec![3, 1, 4, 1, 5, 9], [2, 3]));
/// assert_eq!(x.shape().as_slice(), [2, 3, 4]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Embedding<T: Float = f32> {
    /// `[entries, features]`.
    pub weight: Param<T>,
    #[module(skip)]
    padding: Option<usize>,
}

impl<T: Float> Embedding<T> {
    /// A table of `entries` rows.
    ///
    /// # Panics
    /// When a size is 0.
    #[track_caller]
    pub fn new(entries: usize, features: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::builder(entries, features).build(rng)
    }

    /// A table with settings.
    pub fn builder(entries: usize, features: usize) -> EmbeddingBuilder<T> {
        EmbeddingBuilder {
            entries,
            features,
            padding: None,
            init: Init::normal(1.0),
            float: PhantomData,
        }
    }

    /// A table of given rows `[entries, features]`.
    ///
    /// # Errors
    /// When the table is not of rank 2 or holds nothing.
    pub fn from_rows(rows: Tensor<T>) -> Result<Self> {
        if rows.rank() != 2 || rows.numel() == 0 {
            return refuse(
                "embedding",
                format!(
                    "expected a table [entries, features], found shape {:?}",
                    rows.shape()
                ),
            );
        }
        Ok(Embedding {
            weight: Param::new(rows),
            padding: None,
        })
    }

    /// The index that stands for padding.
    pub fn padding(&self) -> Option<usize> {
        self.padding
    }

    /// The rows of the given indices.
    ///
    /// # Panics
    /// When an index is not below the number of entries.
    #[track_caller]
    pub fn lookup<'t>(&self, tape: &'t Tape<T>, indices: &Tensor<i64>) -> Var<'t, T> {
        let rows = tape.param(&self.weight).embedding(indices);
        let Some(padding) = self.padding else {
            return rows;
        };
        let mut shape = Dims::from_slice(indices.shape());
        shape.push(1);
        let real = indices.map(|i| {
            if i == padding as i64 {
                T::zero()
            } else {
                T::one()
            }
        });
        // The row of the padding index keeps its value and passes no gradient on.
        let real = tape.input(&real.reshape(shape));
        real.where_(rows, rows.detach())
    }
}

/// Settings of an [`Embedding`].
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingBuilder<T: Float = f32> {
    entries: usize,
    features: usize,
    padding: Option<usize>,
    init: Init,
    float: PhantomData<T>,
}

impl<T: Float> EmbeddingBuilder<T> {
    /// The index that stands for padding: its row starts at 0 and gets no gradient.
    #[must_use]
    pub fn padding(mut self, index: usize) -> Self {
        self.padding = Some(index);
        self
    }

    /// The initializer of the table (default: normal, deviation 1).
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// Draws the table.
    ///
    /// # Errors
    /// When a size is 0, the padding index is no entry, or the initializer refuses.
    pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<Embedding<T>> {
        positive("embedding", "a number of entries", self.entries)?;
        positive("embedding", "a number of features", self.features)?;
        let fans = Fans::embedding(self.features);
        let mut weight = draw(self.init, &[self.entries, self.features], fans, rng)?;
        if let Some(p) = self.padding {
            if p >= self.entries {
                return refuse(
                    "embedding",
                    format!("padding index {p} is not below {} entries", self.entries),
                );
            }
            let n = self.features;
            let value: &mut Tensor<T> = weight.value_mut();
            value.as_mut_slice()[p * n..][..n].fill(T::zero());
        }
        Ok(Embedding {
            weight,
            padding: self.padding,
        })
    }

    /// Draws the table.
    ///
    /// # Panics
    /// Where [`EmbeddingBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> Embedding<T> {
        self.try_build(rng).or_panic()
    }
}
