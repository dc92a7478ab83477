//! A node, and the shapes that nodes share.

use crate::float::Float;
use crate::op::NodeOp;
use smallvec::SmallVec;
use std::panic::Location;
use wengert_tensor::Dims;

/// A node of the tape. A step that repeats the last one passes over all of them: their size is what it costs.
pub(crate) struct Node<T: Float> {
    pub args: SmallVec<[u32; 4]>,
    pub op: NodeOp<T>,
    pub loc: &'static Location<'static>,
    /// For a node of an adjoint program: the forward node it belongs to.
    pub origin: u32,
    /// Number of the checkpointed stretch it belongs to; 0 for none.
    pub stretch: u32,
    pub scope: u32,
    pub form: Form,
}

const _: () = assert!(size_of::<Node<f64>>() <= 72 && size_of::<Node<f32>>() <= 72);

/// The number of a node's shape, and what is to be said of it by yes or no.
#[derive(Clone, Copy)]
pub(crate) struct Form(u32);

impl Form {
    const STOP: u32 = 1 << 31;
    const TRACKED: u32 = 1 << 30;
    const COPY: u32 = 1 << 29;

    pub fn new(shape: ShapeId, tracked: bool, stop: bool) -> Self {
        let mark = |on, mark| if on { mark } else { 0 };
        Form(shape.0 | mark(stop, Self::STOP) | mark(tracked, Self::TRACKED))
    }

    /// That of a node which computes this one once more, outside of its stretch.
    pub fn copied(self) -> Self {
        Form(self.0 | Self::COPY)
    }
}

impl<T: Float> Node<T> {
    /// Whether cotangents end here (no-grad regions).
    #[inline]
    pub fn stop(&self) -> bool {
        self.form.0 & Form::STOP != 0
    }

    /// Whether a trainable parameter has a part in it.
    #[inline]
    pub fn tracked(&self) -> bool {
        self.form.0 & Form::TRACKED != 0
    }

    /// Whether it computes `origin` once more: a node of a checkpointed stretch in the backward pass.
    #[inline]
    pub fn copy(&self) -> bool {
        self.form.0 & Form::COPY != 0
    }
}

/// The number of a shape.
#[derive(Clone, Copy)]
pub(crate) struct ShapeId(u32);

/// The shapes of nodes, each with the first node that has it.
pub(crate) struct Shapes(Vec<(Dims, u32)>);

impl Shapes {
    /// Shapes that are looked through for an equal one, from the last on.
    const NEAR: usize = 4;

    pub fn new() -> Self {
        Shapes(Vec::new())
    }

    /// The shape of a node.
    #[inline]
    pub fn of<T: Float>(&self, node: &Node<T>) -> &Dims {
        &self.0[(node.form.0 & (Form::COPY - 1)) as usize].0
    }

    /// The number of the shape of a node that is there.
    pub fn id<T: Float>(&self, node: &Node<T>) -> ShapeId {
        ShapeId(node.form.0 & (Form::COPY - 1))
    }

    /// The number for the shape of node `at`, which is to be recorded.
    pub fn find(&mut self, shape: Dims, at: usize) -> ShapeId {
        let from = self.0.len().saturating_sub(Self::NEAR);
        let near = self.0[from..].iter().rposition(|(s, _)| *s == shape);
        let id = near.map_or(self.0.len(), |k| from + k);
        if near.is_none() {
            assert!(
                id < Form::COPY as usize,
                "a tape holds at most 2^29 shapes that differ from those before"
            );
            self.0.push((shape, at as u32));
        }
        ShapeId(id as u32)
    }

    /// Forgets what only nodes from `len` on have.
    pub fn truncate(&mut self, len: usize) {
        let kept = self.0.partition_point(|&(_, first)| (first as usize) < len);
        self.0.truncate(kept);
    }
}
