//! The element types of the tape.

use crate::exec;
use crate::op::NodeOp;
use crate::ops;
use crate::plan::{Event, Plan};
use crate::tape::{Graph, Tape};
use std::panic::Location;
use wengert_tensor::Real;

/// A floating-point type that the tape computes with: `f32` (the default everywhere) or `f64`.
///
/// The hidden methods make the engine's heavy parts concrete for both types, so that they are compiled once, in this
/// crate, with its optimization settings, and not again in every crate that uses them.
pub trait Float: Real + ops::Kernels {
    #[doc(hidden)]
    fn block_fn(e: ops::elementwise::Elem) -> wengert_tensor::fused::BlockFn<Self>;
    #[doc(hidden)]
    fn random_fn(r: ops::random::Random) -> wengert_tensor::fused::IndexFn<Self>;
    #[doc(hidden)]
    fn execute(graph: &mut Graph<Self>, plan: &mut Plan<Self>);
    #[doc(hidden)]
    fn differentiate(tape: &Tape<Self>, roots: &[(u32, u32)], depends: &[bool])
    -> Vec<Option<u32>>;
    #[doc(hidden)]
    fn record(
        tape: &Tape<Self>,
        op: NodeOp<Self>,
        args: &[u32],
        loc: &'static Location<'static>,
    ) -> u32;
    #[doc(hidden)]
    fn plan(graph: &mut Graph<Self>, event: &Event);
}

macro_rules! float {
    ($($t:ty),*) => {$(
        impl Float for $t {
            fn block_fn(e: ops::elementwise::Elem) -> wengert_tensor::fused::BlockFn<Self> {
                e.block_fn::<$t>()
            }
            fn random_fn(r: ops::random::Random) -> wengert_tensor::fused::IndexFn<Self> {
                r.index_fn::<$t>()
            }
            fn execute(graph: &mut Graph<Self>, plan: &mut Plan<Self>) {
                exec::execute(graph, plan);
            }
            fn differentiate(tape: &Tape<Self>, roots: &[(u32, u32)], depends: &[bool]) -> Vec<Option<u32>> {
                crate::diff::differentiate(tape, roots, depends)
            }
            #[track_caller]
            fn record(tape: &Tape<Self>, op: NodeOp<Self>, args: &[u32], loc: &'static Location<'static>) -> u32 {
                crate::tape::record(tape, op, args, loc)
            }
            fn plan(graph: &mut Graph<Self>, event: &Event) {
                crate::plan::make(graph, event);
            }
        }
    )*};
}
float!(f32, f64);
