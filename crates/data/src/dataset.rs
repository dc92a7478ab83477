//! Data sets: things with a length and samples.

use crate::error::{Error, Result};
use crate::sample::{Batch, Sample};
use std::sync::Arc;
use wengert_tensor::Tensor;

/// What the samples of `D` stack to.
pub type BatchOf<D> = <<D as Dataset>::Sample as Sample>::Batch;

/// A finite, indexed collection of samples.
///
/// Only `len` and `get` are needed; sets that can copy many samples at once also give `batch`. Combinators that need
/// the set by value take it whole; an `Arc` of a set is a set, too.
///
/// ```
/// use wengert_data::{Dataset, DataLoader, Result};
/// use wengert_tensor::Tensor;
///
/// struct Squares(usize);
/// impl Dataset for Squares {
///     type Sample = (f32, f32);
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn get(&self, i: usize) -> Result<(f32, f32)> {
///         Ok((i as f32, (i * i) as f32))
///     }
/// }
///
/// let loader = DataLoader::new(Squares(5), 2);
/// let batches: Vec<(Tensor<f32>, Tensor<f32>)> = loader.iter().collect();
/// assert_eq!(batches[1].1.to_vec(), [4.0, 9.0]);
/// ```
pub trait Dataset: Send + Sync {
    /// One sample: a scalar, a tensor, or a tuple of these.
    type Sample: Sample;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`.
    ///
    /// # Errors
    /// [`Error::Index`] when out of range, and whatever hinders the set from delivering the sample.
    fn get(&self, index: usize) -> Result<Self::Sample>;

    /// The samples at `indices`, stacked; `spare` is a batch of earlier whose memory may be used again.
    ///
    /// # Errors
    /// As [`Dataset::get`], and [`Error::Value`] when the samples do not stack.
    fn batch(&self, indices: &[usize], spare: Option<BatchOf<Self>>) -> Result<BatchOf<Self>> {
        let samples = indices
            .iter()
            .map(|&i| self.get(i))
            .collect::<Result<Vec<_>>>()?;
        Self::Sample::stack(samples, spare)
    }

    /// The samples at `indices`, in that order, as a set.
    ///
    /// # Errors
    /// [`Error::Index`] when an index is out of range.
    fn subset(self, indices: Vec<usize>) -> Result<Subset<Self>>
    where
        Self: Sized,
    {
        let len = self.len();
        match indices.iter().find(|&&i| i >= len) {
            Some(&index) => Err(Error::Index {
                op: "subset",
                index,
                len,
            }),
            None => Ok(Subset {
                base: self,
                indices,
            }),
        }
    }

    /// This set, then `other`.
    fn concat<D: Dataset<Sample = Self::Sample>>(self, other: D) -> Concat<Self, D>
    where
        Self: Sized,
    {
        Concat {
            first: self,
            second: other,
        }
    }

    /// Each sample through `f`, when it is asked for.
    fn map<S: Sample, F: Fn(Self::Sample) -> Result<S> + Send + Sync>(self, f: F) -> Map<Self, F>
    where
        Self: Sized,
    {
        Map { base: self, f }
    }
}

macro_rules! forward_dataset {
    ($($p:ident)*) => {$(
        impl<D: Dataset + ?Sized> Dataset for $p<D> {
            type Sample = D::Sample;
            fn len(&self) -> usize {
                (**self).len()
            }
            fn get(&self, index: usize) -> Result<D::Sample> {
                (**self).get(index)
            }
            fn batch(&self, indices: &[usize], spare: Option<BatchOf<D>>) -> Result<BatchOf<D>> {
                (**self).batch(indices, spare)
            }
        }
    )*};
}
forward_dataset!(Arc Box);

/// A data set in memory: a tensor whose first axis counts the samples, or a tuple of such tensors.
///
/// Cloning is cheap (tensors share their storage).
///
/// ```
/// use wengert_data::{Dataset, TensorDataset};
/// use wengert_tensor::Tensor;
/// let x = Tensor::from_vec(vec![0.0f32, 0.1, 1.0, 1.1], [2, 2]);
/// let y = Tensor::from_vec(vec![0i64, 1], [2]);
/// let set = TensorDataset::new((x, y)).unwrap();
/// assert_eq!(set.len(), 2);
/// let (x, y) = set.batch(&[1, 0], None).unwrap();
/// assert_eq!((x.to_vec(), y.to_vec()), (vec![1.0, 1.1, 0.0, 0.1], vec![1, 0]));
/// ```
#[derive(Clone)]
pub struct TensorDataset<B> {
    data: B,
    len: usize,
}

impl<B: Batch> TensorDataset<B> {
    /// A set over `data`.
    ///
    /// # Errors
    /// [`Error::Value`] when a tensor has rank 0 or the first axes differ.
    pub fn new(data: B) -> Result<Self> {
        let len = data.rows()?;
        Ok(TensorDataset { data, len })
    }

    /// The tensors.
    pub fn data(&self) -> &B {
        &self.data
    }

    /// The samples at `indices` as a set of its own, copied.
    ///
    /// # Errors
    /// [`Error::Index`] when an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        TensorDataset::new(self.data.gather(indices, None)?)
    }
}

impl<B: Batch + Sample<Batch = B>> Dataset for TensorDataset<B> {
    type Sample = B;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<B> {
        self.data.row(index)
    }

    fn batch(&self, indices: &[usize], spare: Option<B>) -> Result<B> {
        self.data.gather(indices, spare)
    }
}

/// Some samples of another set: [`Dataset::subset`].
#[derive(Clone)]
pub struct Subset<D> {
    base: D,
    indices: Vec<usize>,
}

impl<D> Subset<D> {
    /// Which samples of the set below.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Sample = D::Sample;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize) -> Result<D::Sample> {
        match self.indices.get(index) {
            Some(&i) => self.base.get(i),
            None => Err(Error::Index {
                op: "get",
                index,
                len: self.len(),
            }),
        }
    }

    fn batch(&self, indices: &[usize], spare: Option<BatchOf<D>>) -> Result<BatchOf<D>> {
        let len = self.len();
        let below = indices
            .iter()
            .map(|&index| {
                self.indices.get(index).copied().ok_or(Error::Index {
                    op: "batch",
                    index,
                    len,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        self.base.batch(&below, spare)
    }
}

/// One set after another: [`Dataset::concat`].
#[derive(Clone)]
pub struct Concat<A, B> {
    first: A,
    second: B,
}

impl<A: Dataset, B: Dataset<Sample = A::Sample>> Dataset for Concat<A, B> {
    type Sample = A::Sample;

    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn get(&self, index: usize) -> Result<A::Sample> {
        let n = self.first.len();
        if index < n {
            self.first.get(index)
        } else if index < self.len() {
            self.second.get(index - n)
        } else {
            Err(Error::Index {
                op: "get",
                index,
                len: self.len(),
            })
        }
    }
}

/// Samples through a function: [`Dataset::map`].
#[derive(Clone)]
pub struct Map<D, F> {
    base: D,
    f: F,
}

impl<D: Dataset, S: Sample, F: Fn(D::Sample) -> Result<S> + Send + Sync> Dataset for Map<D, F> {
    type Sample = S;

    fn len(&self) -> usize {
        self.base.len()
    }

    fn get(&self, index: usize) -> Result<S> {
        (self.f)(self.base.get(index)?)
    }
}

/// Inputs and class labels of a classification task, in memory.
#[derive(Clone)]
pub struct Labeled {
    /// Inputs, `[n, …]`.
    pub inputs: Tensor<f32>,
    /// Labels `0..classes`, `[n]`.
    pub labels: Tensor<i64>,
    /// Number of classes.
    pub classes: usize,
}

impl Labeled {
    /// Inputs with labels.
    ///
    /// # Errors
    /// [`Error::Value`] when the numbers of samples differ or a label is not in `0..classes`.
    pub fn new(inputs: Tensor<f32>, labels: Tensor<i64>, classes: usize) -> Result<Self> {
        if labels.rank() != 1 || inputs.rows()? != labels.rows()? {
            return Err(Error::value(
                "labeled",
                format!(
                    "inputs of shape {:?} do not go with labels of shape {:?}",
                    inputs.shape(),
                    labels.shape()
                ),
            ));
        }
        if let Some((i, y)) = labels
            .iter()
            .enumerate()
            .find(|&(_, y)| !class_in(y, classes))
        {
            return Err(Error::value(
                "labeled",
                format!("label {y} of sample {i} is not in 0..{classes}"),
            ));
        }
        Ok(Labeled {
            inputs,
            labels,
            classes,
        })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.numel()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a set for a [`DataLoader`](crate::DataLoader).
    ///
    /// # Panics
    /// When the public fields were changed so that the numbers of samples differ.
    #[track_caller]
    pub fn dataset(&self) -> TensorDataset<(Tensor<f32>, Tensor<i64>)> {
        match TensorDataset::new((self.inputs.clone(), self.labels.clone())) {
            Ok(set) => set,
            Err(e) => panic!("{e}"),
        }
    }

    /// The samples at `indices`, copied.
    ///
    /// # Errors
    /// [`Error::Index`] when an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        Ok(Labeled {
            inputs: self.inputs.gather(indices, None)?,
            labels: self.labels.gather(indices, None)?,
            classes: self.classes,
        })
    }

    /// The inputs under another shape `[n, shape…]`, for instance `[1, 8, 8]` for a convolutional net.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the number of elements differs.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self> {
        let mut full = vec![self.len()];
        full.extend_from_slice(shape);
        Ok(Labeled {
            inputs: self.inputs.try_reshape(&full[..])?,
            labels: self.labels.clone(),
            classes: self.classes,
        })
    }
}

pub(crate) fn class_in(label: i64, classes: usize) -> bool {
    usize::try_from(label).is_ok_and(|y| y < classes)
}
