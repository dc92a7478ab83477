//! What planning asks of a tape. Nothing of it depends on the element type, so that planning is compiled once.

use crate::float::Float;
use crate::op::NodeOp;
use crate::ops::elementwise::Elem;
use crate::tape::{Graph, Node};
use smallvec::SmallVec;
use wengert_tensor::Dims;
use wengert_tensor::fused::Reduce;
use wengert_tensor::list::Listed;

/// What a node does, as far as planning goes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Leaf,
    Elem(Elem),
    /// With the set of axes.
    Reduce(Reduce, u64),
    /// With the number of its stream.
    Random(u32),
    View,
    Op,
}

/// The nodes of a recording, by number.
pub(crate) trait Nodes {
    fn len(&self) -> usize;
    fn kind(&self, i: usize) -> Kind;
    fn args(&self, i: usize) -> &[u32];
    fn shape(&self, i: usize) -> &Dims;
    /// Whether the kernel of an operation reads its operand `k`.
    fn reads_operand(&self, i: usize, k: usize) -> bool;
    /// Of an operation.
    fn flops(&self, i: usize) -> u64;
    /// Of an operation, see [`Op::bias_axis`](crate::Op::bias_axis).
    fn bias_axis(&self, i: usize) -> Option<usize>;
    fn has_value(&self, i: usize) -> bool;
    /// Whether there is a value, or there are integers.
    fn is_available(&self, i: usize) -> bool;
    /// Bytes of an element.
    fn element_size(&self) -> usize;
}

impl<'a> dyn Nodes + 'a {
    /// The operands that its kernel reads, see [`Op::reads`](crate::Op::reads).
    pub fn reads(&self, i: usize) -> impl Iterator<Item = u32> {
        let kind = self.kind(i);
        (self.args(i).iter().enumerate())
            .filter(move |&(k, _)| match kind {
                Kind::View => k == 0,
                Kind::Op => self.reads_operand(i, k),
                _ => true,
            })
            .map(|(_, &a)| a)
    }

    pub fn is_leaf(&self, i: usize) -> bool {
        self.kind(i) == Kind::Leaf
    }

    pub fn is_elem(&self, i: usize, e: Elem) -> bool {
        self.kind(i) == Kind::Elem(e)
    }

    /// The node whose memory a view shows; the node itself if it is none.
    pub fn root(&self, mut i: u32) -> u32 {
        while self.kind(i as usize) == Kind::View {
            i = self.args(i as usize)[0];
        }
        i
    }

    /// Bytes of the value.
    pub fn size(&self, i: u32) -> u64 {
        let n: usize = self.shape(i as usize).iter().product();
        (n * self.element_size()) as u64
    }
}

impl<T: Float> Graph<T> {
    fn operands(&self, n: &Node<T>) -> SmallVec<[&[usize]; 4]> {
        (n.args.iter())
            .map(|&a| self.shapes.of(&self.nodes[a as usize]).as_slice())
            .listed()
    }
}

impl<T: Float> Nodes for Graph<T> {
    fn len(&self) -> usize {
        self.len
    }

    fn kind(&self, i: usize) -> Kind {
        match &self.nodes[i].op {
            NodeOp::Input | NodeOp::IntInput | NodeOp::Param(_) | NodeOp::Const(_) => Kind::Leaf,
            NodeOp::Elem(e, _) => Kind::Elem(*e),
            NodeOp::Reduce(kind, set, _) => Kind::Reduce(*kind, *set),
            NodeOp::Random(_, _, stream) => Kind::Random(*stream),
            NodeOp::Op(op) if op.is_view() => Kind::View,
            NodeOp::Op(_) => Kind::Op,
        }
    }

    fn args(&self, i: usize) -> &[u32] {
        &self.nodes[i].args
    }

    fn shape(&self, i: usize) -> &Dims {
        self.shapes.of(&self.nodes[i])
    }

    fn reads_operand(&self, i: usize, k: usize) -> bool {
        match &self.nodes[i].op {
            NodeOp::Op(op) => op.reads(k),
            _ => true,
        }
    }

    fn flops(&self, i: usize) -> u64 {
        let n = &self.nodes[i];
        match &n.op {
            NodeOp::Op(op) => op.flops(&self.operands(n), self.shapes.of(n)),
            _ => 0,
        }
    }

    fn bias_axis(&self, i: usize) -> Option<usize> {
        let n = &self.nodes[i];
        match &n.op {
            NodeOp::Op(op) => op.bias_axis(&self.operands(n), self.shapes.of(n)),
            _ => None,
        }
    }

    fn has_value(&self, i: usize) -> bool {
        self.values.has(i)
    }

    fn is_available(&self, i: usize) -> bool {
        self.values.has(i) || self.ints.get(i as u32).is_some()
    }

    fn element_size(&self) -> usize {
        size_of::<T>()
    }
}
