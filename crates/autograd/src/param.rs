//! Parameters and buffers: the tensors that a model owns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wengert_tensor::{Real, Tensor};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Identity of a [`Param`] while the process runs. Never written to files and never part of a result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ParamId(u64);

/// Identity of a [`Buffer`] while the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BufferId(u64);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A trainable tensor that belongs to a model.
///
/// A clone is an independent parameter with equal values. A frozen parameter enters the tape as a constant, gets no
/// gradient and no optimizer state.
pub struct Param<T: Real = f32> {
    id: ParamId,
    value: Tensor<T>,
    trainable: bool,
    origin: Option<Arc<str>>,
}

impl<T: Real> Param<T> {
    /// A trainable parameter.
    pub fn new(value: Tensor<T>) -> Self {
        Param {
            id: ParamId(next()),
            value,
            trainable: true,
            origin: None,
        }
    }

    /// Notes where the first values came from (the initializer with its fan and standard deviation), for summaries and
    /// reports.
    #[must_use]
    pub fn with_origin(mut self, origin: impl Into<Arc<str>>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Where the first values came from, if that was noted.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Identity, the key of its gradient.
    #[inline]
    pub fn id(&self) -> ParamId {
        self.id
    }

    /// The values.
    #[inline]
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// The values, for an update in place.
    #[inline]
    pub fn value_mut(&mut self) -> &mut Tensor<T> {
        &mut self.value
    }

    /// Sizes of the tensor.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// Replaces the values.
    ///
    /// # Panics
    /// When the shape differs; to grow a network, replace the `Param` itself.
    #[track_caller]
    pub fn set(&mut self, value: Tensor<T>) {
        assert!(
            value.shape() == self.value.shape(),
            "Param::set: expected shape {:?}, found {:?}",
            self.value.shape(),
            value.shape()
        );
        self.value = value;
    }

    /// Whether the parameter gets gradients and updates.
    #[inline]
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }

    /// Freezes (`false`) or unfreezes (`true`).
    pub fn set_trainable(&mut self, trainable: bool) {
        self.trainable = trainable;
    }
}

impl<T: Real> Clone for Param<T> {
    fn clone(&self) -> Self {
        Param {
            id: ParamId(next()),
            value: self.value.copy(),
            trainable: self.trainable,
            origin: self.origin.clone(),
        }
    }
}

/// A tensor that belongs to a model and is saved with it but not trained, such as the running mean of a batch norm.
///
/// Forward takes `&self`: new values leave the tape as side outputs of [`Gradients`](crate::Gradients) and are applied
/// by the optimizer's step. A frozen buffer is not updated.
pub struct Buffer<T: Real = f32> {
    id: BufferId,
    value: Tensor<T>,
    frozen: bool,
}

impl<T: Real> Buffer<T> {
    /// A buffer.
    pub fn new(value: Tensor<T>) -> Self {
        Buffer {
            id: BufferId(next()),
            value,
            frozen: false,
        }
    }

    /// Identity, the key of its side output.
    #[inline]
    pub fn id(&self) -> BufferId {
        self.id
    }

    /// The values.
    #[inline]
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// The values, for an update in place.
    #[inline]
    pub fn value_mut(&mut self) -> &mut Tensor<T> {
        &mut self.value
    }

    /// Whether side outputs leave it unchanged.
    #[inline]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Freezes or unfreezes.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.frozen = frozen;
    }
}

impl<T: Real> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer {
            id: BufferId(next()),
            value: self.value.copy(),
            frozen: self.frozen,
        }
    }
}
