//! Appending nodes: a step that repeats the last one finds its nodes at their places.

use super::node::Form;
use super::{NO_ORIGIN, Node, Tape};
use crate::float::Float;
use crate::op::{NodeOp, Op};
use crate::ops::elementwise::Elem;
use crate::var::Var;
use smallvec::SmallVec;
use std::panic::Location;
use std::sync::Arc;
use wengert_tensor::Dims;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;

/// Records an elementwise operation or a reduction; see [`Tape::record`].
#[track_caller]
pub(crate) fn record<T: Float>(
    tape: &Tape<T>,
    op: &NodeOp<T>,
    ids: &[u32],
    loc: &'static Location<'static>,
) -> u32 {
    let same = |n: &Node<T>| same_ids(&n.args, ids) && same_node(&n.op, op);
    match again(tape, same, loc) {
        Some(id) => id,
        None => anew(tape, op, ids, loc),
    }
}

/// The node at the tape's end if it is left from the previous step, of the same kind, and recorded at the same place.
#[inline(always)]
fn again<T: Float>(
    tape: &Tape<T>,
    same: impl FnOnce(&Node<T>) -> bool,
    loc: &'static Location<'static>,
) -> Option<u32> {
    let mut g = tape.graph.borrow_mut();
    let at = g.len;
    let found = g.replaying && (g.nodes.get(at)).is_some_and(|n| same(n) && g.same_place(n, loc));
    g.len += usize::from(found);
    found.then_some(at as u32)
}

/// As [`record`] for a row of the elementwise table.
#[track_caller]
pub(crate) fn record_elem<T: Float>(
    tape: &Tape<T>,
    elem: Elem,
    imm: [T; 2],
    ids: &[u32],
    loc: &'static Location<'static>,
) -> u32 {
    let same = |n: &Node<T>| {
        let NodeOp::Elem(e, p) = n.op else {
            return false;
        };
        same_ids(&n.args, ids) && e == elem && (same_bits(p[0], imm[0]) & same_bits(p[1], imm[1]))
    };
    match again(tape, same, loc) {
        Some(id) => id,
        None => anew(tape, &NodeOp::Elem(elem, imm), ids, loc),
    }
}

/// As [`record`] for a function of two operands without constants, which most operations are.
#[track_caller]
#[inline(always)]
pub(crate) fn record_pair<T: Float>(
    tape: &Tape<T>,
    elem: Elem,
    a: u32,
    b: u32,
    loc: &'static Location<'static>,
) -> u32 {
    let same = |n: &Node<T>| {
        let NodeOp::Elem(e, [p, q]) = n.op else {
            return false;
        };
        n.args[..] == [a, b] && e == elem && (same_bits(p, T::ZERO) && same_bits(q, T::ZERO))
    };
    match again(tape, same, loc) {
        Some(id) => id,
        None => anew(tape, &NodeOp::Elem(elem, [T::ZERO; 2]), &[a, b], loc),
    }
}

/// [`record`], where the step does not repeat the last one.
#[track_caller]
#[inline(never)]
fn anew<T: Float>(
    tape: &Tape<T>,
    op: &NodeOp<T>,
    ids: &[u32],
    loc: &'static Location<'static>,
) -> u32 {
    let mut g = tape.graph.borrow_mut();
    if g.replaying {
        g.diverge();
    }
    let shape = g.infer(op, ids).or_panic();
    g.add(op.clone(), SmallVec::from_slice(ids), shape, loc)
}

/// The node at the tape's end if it is this operation, left from the previous step; else what was left is forgotten.
#[track_caller]
pub(crate) fn repeated<T: Float>(
    tape: &Tape<T>,
    op: &dyn Op<T>,
    args: &[Var<'_, T>],
    loc: &'static Location<'static>,
) -> Option<u32> {
    for a in args {
        tape.check_tape(a, op.name());
    }
    let mut g = tape.graph.borrow_mut();
    let at = g.len;
    if g.replaying {
        if let Some(n) = g.nodes.get(at)
            && n.args.len() == args.len()
            && n.args.iter().zip(args).all(|(i, a)| *i == a.id)
            && let NodeOp::Op(o) = &n.op
            && o.dyn_eq(op.as_any())
            && g.same_place(n, loc)
        {
            g.len += 1;
            return Some(at as u32);
        }
        g.diverge();
    }
    None
}

/// Appends an operation with a kernel of its own; see [`Tape::apply`].
#[track_caller]
pub(crate) fn append<T: Float>(
    tape: &Tape<T>,
    op: Arc<dyn Op<T>>,
    args: &[Var<'_, T>],
    loc: &'static Location<'static>,
) -> u32 {
    let mut g = tape.graph.borrow_mut();
    let ids = args.iter().map(|a| a.id).collect::<SmallVec<_>>();
    let shape = {
        let shapes: SmallVec<[&[usize]; 4]> =
            ids.iter().map(|&i: &u32| g.shape(i).as_slice()).listed();
        op.shape(&shapes).or_panic()
    };
    g.add(NodeOp::Op(op), ids, shape, loc)
}

/// Records a leaf; see [`Tape::input`].
#[track_caller]
pub(crate) fn leaf<T: Float>(
    tape: &Tape<T>,
    op: NodeOp<T>,
    shape: &[usize],
    tracked: bool,
    loc: &'static Location<'static>,
) -> u32 {
    let mut g = tape.graph.borrow_mut();
    let at = g.len;
    if g.replaying {
        let g = &mut *g;
        if let Some(n) = g.nodes.get_mut(at)
            && n.tracked() == tracked
            && g.shapes.of(n).as_slice() == shape
            && same_leaf(&n.op, &op)
        {
            // No plan depends on the line.
            n.loc = loc;
            g.len += 1;
            return at as u32;
        }
        g.diverge();
    }
    let shape = g.shapes.find(Dims::from_slice(shape), at);
    g.push(Node {
        op,
        args: SmallVec::new(),
        form: Form::new(shape, tracked, false),
        loc,
        scope: 0,
        origin: NO_ORIGIN,
        stretch: 0,
    })
}

/// Few numbers: a loop is faster than a call.
#[inline]
fn same_ids(a: &[u32], b: &[u32]) -> bool {
    match (a, b) {
        ([a], [b]) => a == b,
        ([a, c], [b, d]) => a == b && c == d,
        _ => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b),
    }
}

fn same_leaf<T: Float>(a: &NodeOp<T>, b: &NodeOp<T>) -> bool {
    match (a, b) {
        (NodeOp::Input, NodeOp::Input) | (NodeOp::IntInput, NodeOp::IntInput) => true,
        (NodeOp::Param(a), NodeOp::Param(b)) => a == b,
        (NodeOp::Const(a), NodeOp::Const(b)) => same_bits(*a, *b),
        _ => false,
    }
}

#[inline]
fn same_bits<T: Float>(a: T, b: T) -> bool {
    a.as_f64().to_bits() == b.as_f64().to_bits()
}

#[inline]
pub(super) fn same_node<T: Float>(a: &NodeOp<T>, b: &NodeOp<T>) -> bool {
    match (a, b) {
        (NodeOp::Elem(a, p), NodeOp::Elem(b, q)) => {
            a == b && (same_bits(p[0], q[0]) & same_bits(p[1], q[1]))
        }
        (NodeOp::Reduce(a, s, k), NodeOp::Reduce(b, t, l)) => a == b && s == t && k == l,
        (NodeOp::Random(a, p, s), NodeOp::Random(b, q, t)) => {
            a == b && s == t && same_bits(p[0], q[0]) && same_bits(p[1], q[1])
        }
        _ => false,
    }
}
