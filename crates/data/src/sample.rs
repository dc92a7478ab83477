//! What samples and batches are made of.

use crate::error::{Error, Result};
use wengert_tensor::{Element, Tensor};

/// A stack of samples: a tensor whose first axis counts them, or a tuple of such tensors.
pub trait Batch: Clone + Send + Sync + 'static {
    /// Number of samples, or what is wrong: a tensor of rank 0, members of different lengths.
    ///
    /// # Errors
    /// [`Error::Value`].
    fn rows(&self) -> Result<usize>;

    /// The samples at `indices`, in that order, repetitions allowed.
    ///
    /// The memory of `spare` is used again where nobody else holds it and the shape is the same.
    ///
    /// # Errors
    /// [`Error::Index`] for an index out of range, [`Error::Tensor`] when memory is not to be had.
    fn gather(&self, indices: &[usize], spare: Option<Self>) -> Result<Self>;

    /// Sample `index`, without the axis that counts.
    ///
    /// # Errors
    /// As [`Batch::gather`].
    fn row(&self, index: usize) -> Result<Self>;

    /// Whether nobody else holds any of the memory.
    fn is_unique(&self) -> bool;
}

/// One sample: a scalar, a tensor, or a tuple of these; many of them stack to a [`Batch`].
pub trait Sample: Send + Sized + 'static {
    /// What many samples become.
    type Batch: Batch;

    /// Stacks samples along a new first axis.
    ///
    /// # Errors
    /// [`Error::Value`] when there are none or their shapes differ, [`Error::Tensor`] when memory is not to be had.
    fn stack(samples: Vec<Self>, spare: Option<Self::Batch>) -> Result<Self::Batch>;
}

/// `spare` if it can be written in place and has this shape, else a new tensor.
pub(crate) fn fresh<T: Element>(shape: &[usize], spare: Option<Tensor<T>>) -> Result<Tensor<T>> {
    match spare {
        Some(t) if t.shape() == shape && t.is_unique() => Ok(t),
        _ => Ok(Tensor::try_zeros(shape)?),
    }
}

impl<T: Element> Batch for Tensor<T> {
    fn rows(&self) -> Result<usize> {
        self.shape().first().copied().ok_or_else(|| {
            Error::value(
                "batch",
                "a tensor of rank 0 has no axis that counts samples",
            )
        })
    }

    fn gather(&self, indices: &[usize], spare: Option<Self>) -> Result<Self> {
        let len = self.rows()?;
        if let Some(&index) = indices.iter().find(|&&i| i >= len) {
            return Err(Error::Index {
                op: "gather",
                index,
                len,
            });
        }
        let mut shape = self.shape().to_vec();
        shape[0] = indices.len();
        let mut out = fresh(&shape, spare)?;
        let row: usize = self.shape()[1..].iter().product();
        if row == 0 || indices.is_empty() {
            return Ok(out);
        }
        // A view that is not contiguous is copied row by row, not as a whole.
        match self.as_slice() {
            Some(data) => {
                for (to, &i) in out.as_mut_slice().chunks_exact_mut(row).zip(indices) {
                    to.copy_from_slice(&data[i * row..(i + 1) * row]);
                }
            }
            None => {
                for (to, &i) in out.as_mut_slice().chunks_exact_mut(row).zip(indices) {
                    self.select(0, i).copy_into(to);
                }
            }
        }
        Ok(out)
    }

    fn row(&self, index: usize) -> Result<Self> {
        let len = self.rows()?;
        if index >= len {
            return Err(Error::Index {
                op: "get",
                index,
                len,
            });
        }
        Ok(self.select(0, index))
    }

    fn is_unique(&self) -> bool {
        Tensor::is_unique(self)
    }
}

impl<T: Element> Sample for Tensor<T> {
    type Batch = Tensor<T>;

    fn stack(samples: Vec<Self>, spare: Option<Tensor<T>>) -> Result<Tensor<T>> {
        let first = samples
            .first()
            .ok_or_else(|| Error::value("stack", "no samples"))?;
        let mut shape = vec![samples.len()];
        shape.extend_from_slice(first.shape());
        if let Some((i, other)) = samples
            .iter()
            .enumerate()
            .find(|(_, s)| s.shape() != first.shape())
        {
            return Err(Error::value(
                "stack",
                format!(
                    "sample 0 of the batch has shape {:?}, sample {i} has {:?}",
                    first.shape(),
                    other.shape()
                ),
            ));
        }
        let row = first.numel();
        let mut out = fresh(&shape, spare)?;
        if row > 0 {
            for (to, sample) in out.as_mut_slice().chunks_exact_mut(row).zip(&samples) {
                sample.copy_into(to);
            }
        }
        Ok(out)
    }
}

macro_rules! scalar_sample {
    ($($t:ty)*) => {$(
        impl Sample for $t {
            type Batch = Tensor<$t>;

            fn stack(samples: Vec<Self>, spare: Option<Tensor<$t>>) -> Result<Tensor<$t>> {
                let mut out = fresh(&[samples.len()], spare)?;
                out.as_mut_slice().copy_from_slice(&samples);
                Ok(out)
            }
        }
    )*};
}
scalar_sample!(f32 f64 i32 i64 u8 bool);

macro_rules! tuple_sample {
    ($($name:ident $at:tt),+) => {
        impl<$($name: Batch),+> Batch for ($($name,)+) {
            fn rows(&self) -> Result<usize> {
                let rows = [$(self.$at.rows()?),+];
                if rows.iter().any(|&r| r != rows[0]) {
                    return Err(Error::value(
                        "batch",
                        format!("the members of a tuple hold different numbers of samples: {rows:?}"),
                    ));
                }
                Ok(rows[0])
            }

            fn gather(&self, indices: &[usize], spare: Option<Self>) -> Result<Self> {
                let spare = spare.map(|s| ($(Some(s.$at),)+)).unwrap_or(($(none::<$name>(),)+));
                Ok(($(self.$at.gather(indices, spare.$at)?,)+))
            }

            fn row(&self, index: usize) -> Result<Self> {
                Ok(($(self.$at.row(index)?,)+))
            }

            fn is_unique(&self) -> bool {
                $(self.$at.is_unique())&&+
            }
        }

        impl<$($name: Sample),+> Sample for ($($name,)+) {
            type Batch = ($($name::Batch,)+);

            fn stack(samples: Vec<Self>, spare: Option<Self::Batch>) -> Result<Self::Batch> {
                let spare = spare.map(|s| ($(Some(s.$at),)+)).unwrap_or(($(none::<$name::Batch>(),)+));
                let mut parts = ($(Vec::<$name>::with_capacity(samples.len()),)+);
                for sample in samples {
                    $(parts.$at.push(sample.$at);)+
                }
                Ok(($($name::stack(parts.$at, spare.$at)?,)+))
            }
        }
    };
}

fn none<T>() -> Option<T> {
    None
}

tuple_sample!(A 0);
tuple_sample!(A 0, B 1);
tuple_sample!(A 0, B 1, C 2);
tuple_sample!(A 0, B 1, C 2, D 3);
