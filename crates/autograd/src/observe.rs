//! Looking at values and adjoints in passing.

use crate::float::Float;
use crate::op::NodeOp;
use crate::param::ParamId;
use crate::tape::{NO_ORIGIN, Node, Shapes};
use std::panic::Location;
use wengert_tensor::Tensor;

/// What is known of a node without computing it.
#[derive(Clone, Debug)]
pub struct NodeInfo<'a> {
    /// Index on the tape.
    pub id: u32,
    /// Name of the operation.
    pub op: &'static str,
    /// Sizes of the value.
    pub shape: &'a [usize],
    /// Constants of an elementwise operation, such as the α of `elu`; 0 where there are none.
    pub imm: [f64; 2],
    /// Indices of the inputs.
    pub args: &'a [u32],
    /// Where it was recorded.
    pub location: &'static Location<'static>,
    /// Names of the enclosing scopes.
    pub scope: &'a str,
    /// The parameter it is, if it is one.
    pub param: Option<ParamId>,
    /// For a node of an adjoint program: the forward node whose rule recorded it.
    pub origin: Option<u32>,
}

/// Which of a node's two tensors is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The value.
    Value,
    /// The derivative of the loss with respect to the value.
    Adjoint,
}

/// Sees values and adjoints while they are computed; nothing is stored for it.
///
/// An observed value inside a fused chain is written out for the observer; everything else runs as without one.
pub trait Observer<T: Float> {
    /// Whether the value and the adjoint of a forward node are wanted. Asked when a program is planned.
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool;
    /// Whether the value and the adjoint of a parameter or an input are wanted, as in [`wants`](Observer::wants); by
    /// default not. Such values are seen before everything else.
    fn wants_leaf(&mut self, node: &NodeInfo<'_>) -> bool {
        let _ = node;
        false
    }
    /// A wanted tensor. It may be held (cloned) until [`end`](Observer::end); its memory then goes back to the tape's pool as
    /// soon as it is let go.
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<T>);
    /// The program has run; what is held has to be let go. Still among the threads that ran it.
    fn end(&mut self) {}
    /// For taking the observer back from the tape by type.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// What is known of a node, from the parts of a tape that say it.
pub(crate) fn info<'a, T: Float>(
    (nodes, shapes): (&'a [Node<T>], &'a Shapes),
    scopes: &'a [(u32, String)],
    id: u32,
) -> NodeInfo<'a> {
    let n = &nodes[id as usize];
    NodeInfo {
        id,
        op: n.op.name(),
        imm: n.op.constants(),
        shape: shapes.of(n),
        args: &n.args,
        location: n.loc,
        scope: &scopes[n.scope as usize].1,
        param: match n.op {
            NodeOp::Param(p) => Some(p),
            _ => None,
        },
        origin: (n.origin != NO_ORIGIN).then_some(n.origin),
    }
}

impl<T: Float> crate::Tape<T> {
    /// Sets the observer of the evaluations that follow. What it wants is asked once per recording that repeats itself
    /// (see [`forget_observed_plans`](crate::Tape::forget_observed_plans)).
    pub fn set_observer(&self, observer: Box<dyn Observer<T> + Send>) {
        self.graph.borrow_mut().observer = Some(observer);
    }

    /// Forgets the plans that were made for an observer, so that the next one is asked again what it wants. Needed when
    /// it wants something else than the last one did.
    pub fn forget_observed_plans(&self) {
        for e in &mut self.graph.borrow_mut().events {
            e.plans.forget_observer();
        }
    }

    /// The tensor behind an input node (see [`Tape::input`](crate::Tape::input)), by its index. `None` for every other node.
    pub fn input_value(&self, node: u32) -> Option<Tensor<T>> {
        let g = self.graph.borrow();
        let at = node as usize;
        if at >= g.len || !matches!(g.nodes[at].op, NodeOp::Input) {
            return None;
        }
        g.values.get(at).cloned()
    }

    /// Takes the observer back.
    pub fn take_observer(&self) -> Option<Box<dyn Observer<T> + Send>> {
        self.graph.borrow_mut().observer.take()
    }

    /// Shows every recorded node to `f`, in order.
    pub fn for_each_node(&self, mut f: impl FnMut(&NodeInfo<'_>)) {
        let g = self.graph.borrow();
        for id in 0..g.len {
            f(&info((&g.nodes, &g.shapes), &g.scopes, id as u32));
        }
    }

    /// The recorded program as text, one node a line: index, operation, inputs, shape, scope, source line.
    pub fn listing(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        self.for_each_node(|n| {
            let args: Vec<String> = n.args.iter().map(|a| format!("%{a}")).collect();
            let adjoint = n
                .origin
                .map(|o| format!(" (adjoint of %{o})"))
                .unwrap_or_default();
            let scope = if n.scope.is_empty() {
                String::new()
            } else {
                format!(" in {}", n.scope)
            };
            let _ = writeln!(
                text,
                "%{} = {}({}) {:?}{adjoint}{scope} at {}:{}",
                n.id,
                n.op,
                args.join(", "),
                n.shape,
                n.location.file(),
                n.location.line()
            );
        });
        text
    }
}
