//! The element types of the tape.

use crate::anomaly::Anomaly;
use crate::exec;
use crate::gradients::Gradients;
use crate::module::Module;
use crate::op::{NodeOp, Op};
use crate::ops;
use crate::plan::{Event, Plan, ShownAt};
use crate::tape::{Graph, Tape};
use crate::var::Var;
use std::panic::Location;
use std::sync::Arc;
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
    fn execute(graph: &mut Graph<Self>, plan: &Plan<Self>, shown: &[ShownAt]);
    #[doc(hidden)]
    fn differentiate(tape: &Tape<Self>, roots: &[(u32, u32)], depends: &[bool])
    -> Vec<Option<u32>>;
    #[doc(hidden)]
    fn record(
        tape: &Tape<Self>,
        op: &NodeOp<Self>,
        args: &[u32],
        loc: &'static Location<'static>,
    ) -> u32;
    #[doc(hidden)]
    fn record_elem(
        tape: &Tape<Self>,
        elem: ops::elementwise::Elem,
        imm: [Self; 2],
        args: &[u32],
        loc: &'static Location<'static>,
    ) -> u32;
    #[doc(hidden)]
    fn record_pair(
        tape: &Tape<Self>,
        elem: ops::elementwise::Elem,
        a: u32,
        b: u32,
        loc: &'static Location<'static>,
    ) -> u32;
    #[doc(hidden)]
    fn plan(graph: &mut Graph<Self>, event: &Event);
    #[doc(hidden)]
    fn graph(training: bool, seed: u64) -> Graph<Self>;
    #[doc(hidden)]
    fn reset(graph: &mut Graph<Self>);
    #[doc(hidden)]
    fn leaf(
        tape: &Tape<Self>,
        op: NodeOp<Self>,
        shape: &[usize],
        tracked: bool,
        loc: &'static Location<'static>,
    ) -> u32;
    #[doc(hidden)]
    fn repeated(
        tape: &Tape<Self>,
        op: &dyn Op<Self>,
        args: &[Var<'_, Self>],
        loc: &'static Location<'static>,
    ) -> Option<u32>;
    #[doc(hidden)]
    fn append(
        tape: &Tape<Self>,
        op: Arc<dyn Op<Self>>,
        args: &[Var<'_, Self>],
        loc: &'static Location<'static>,
    ) -> u32;
    #[doc(hidden)]
    fn evaluate(tape: &Tape<Self>, id: u32);
    #[doc(hidden)]
    fn trace(tape: &Tape<Self>, model: &dyn Module<Self>) -> Option<Anomaly>;
    #[doc(hidden)]
    fn backward(loss: Var<'_, Self>) -> Gradients<Self>;
    #[doc(hidden)]
    fn vjp<'t>(
        outputs: &[Var<'t, Self>],
        cotangents: &[Var<'t, Self>],
        wrt: &[Var<'t, Self>],
    ) -> Vec<Var<'t, Self>>;
    #[doc(hidden)]
    fn recur<'t>(
        x: Var<'t, Self>,
        gate: ops::recurrent::Gate,
        r: &ops::recurrent::Recurrence<'t, Self>,
        last: bool,
    ) -> Var<'t, Self>;
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
            fn execute(graph: &mut Graph<Self>, plan: &Plan<Self>, shown: &[ShownAt]) {
                exec::execute(graph, plan, shown);
            }
            fn differentiate(tape: &Tape<Self>, roots: &[(u32, u32)], depends: &[bool]) -> Vec<Option<u32>> {
                crate::diff::differentiate(tape, roots, depends)
            }
            #[track_caller]
            fn record(tape: &Tape<Self>, op: &NodeOp<Self>, args: &[u32], loc: &'static Location<'static>) -> u32 {
                crate::tape::record(tape, op, args, loc)
            }
            #[track_caller]
            fn record_elem(
                tape: &Tape<Self>,
                elem: ops::elementwise::Elem,
                imm: [Self; 2],
                args: &[u32],
                loc: &'static Location<'static>,
            ) -> u32 {
                crate::tape::record_elem(tape, elem, imm, args, loc)
            }
            #[track_caller]
            fn record_pair(tape: &Tape<Self>, elem: ops::elementwise::Elem, a: u32, b: u32, loc: &'static Location<'static>) -> u32 {
                crate::tape::record_pair(tape, elem, a, b, loc)
            }
            fn plan(graph: &mut Graph<Self>, event: &Event) {
                crate::plan::make(graph, event);
            }
            fn graph(training: bool, seed: u64) -> Graph<Self> {
                Graph::new(training, seed)
            }
            fn reset(graph: &mut Graph<Self>) {
                graph.reset();
            }
            #[track_caller]
            fn leaf(
                tape: &Tape<Self>,
                op: NodeOp<Self>,
                shape: &[usize],
                tracked: bool,
                loc: &'static Location<'static>,
            ) -> u32 {
                crate::tape::leaf(tape, op, shape, tracked, loc)
            }
            #[track_caller]
            fn repeated(
                tape: &Tape<Self>,
                op: &dyn Op<Self>,
                args: &[Var<'_, Self>],
                loc: &'static Location<'static>,
            ) -> Option<u32> {
                crate::tape::repeated(tape, op, args, loc)
            }
            #[track_caller]
            fn append(
                tape: &Tape<Self>,
                op: Arc<dyn Op<Self>>,
                args: &[Var<'_, Self>],
                loc: &'static Location<'static>,
            ) -> u32 {
                crate::tape::append(tape, op, args, loc)
            }
            #[track_caller]
            fn evaluate(tape: &Tape<Self>, id: u32) {
                crate::var::evaluate(tape, id);
            }
            fn trace(tape: &Tape<Self>, model: &dyn Module<Self>) -> Option<Anomaly> {
                crate::anomaly::trace(tape, model)
            }
            #[track_caller]
            fn backward(loss: Var<'_, Self>) -> Gradients<Self> {
                crate::diff::backward(loss)
            }
            #[track_caller]
            fn vjp<'t>(
                outputs: &[Var<'t, Self>],
                cotangents: &[Var<'t, Self>],
                wrt: &[Var<'t, Self>],
            ) -> Vec<Var<'t, Self>> {
                crate::diff::differentiate_outputs(outputs, cotangents, wrt)
            }
            #[track_caller]
            fn recur<'t>(
                x: Var<'t, Self>,
                gate: ops::recurrent::Gate,
                r: &ops::recurrent::Recurrence<'t, Self>,
                last: bool,
            ) -> Var<'t, Self> {
                ops::recurrent::record(x, gate, r, last)
            }
        }
    )*};
}
float!(f32, f64);
