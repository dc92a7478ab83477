//! The tape: recording.

mod node;
mod passed;
mod record;

use node::Form;
pub(crate) use node::{Node, Shapes};
pub use passed::Passed;
use record::same_node;
pub(crate) use record::{append, leaf, record, record_elem, record_pair, repeated};
use wengert_tensor::list::Listed;

use crate::float::Float;
use crate::observe::Observer;
use crate::op::{NodeOp, Op};
use crate::param::{Buffer, BufferId, Param, ParamId};
use crate::plan::{Event, EventRecord};
use crate::pool::{MemoryStats, Pool};
use crate::values::{Ints, Values};
use crate::var::Var;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;
use wengert_tensor::fused::Reduce;
use wengert_tensor::shape::broadcast;
use wengert_tensor::{Dims, IntoDims, Result, Tensor};

pub(crate) const NO_ORIGIN: u32 = u32::MAX;

/// What a recording stands in (scope, no-grad region, stretch, rule); put back when dropped, so also after a panic in the
/// caller's code.
pub(crate) struct Region<'t, T: Float> {
    tape: &'t Tape<T>,
    scope: u32,
    no_grad: u32,
    stretch: u32,
    origin: Option<(&'static Location<'static>, u32)>,
}

impl<'t, T: Float> Region<'t, T> {
    pub fn enter(tape: &'t Tape<T>) -> Self {
        let g = tape.graph.borrow();
        Region {
            tape,
            scope: g.scope,
            no_grad: g.no_grad,
            stretch: g.stretch,
            origin: g.origin,
        }
    }
}

impl<T: Float> Drop for Region<'_, T> {
    fn drop(&mut self) {
        if let Ok(mut g) = self.tape.graph.try_borrow_mut() {
            g.scope = self.scope;
            g.no_grad = self.no_grad;
            g.stretch = self.stretch;
            g.origin = self.origin;
        }
    }
}

/// Everything a tape holds. Nodes from `len` on are left from the previous step and are taken over again as long as the
/// recording repeats them.
pub struct Graph<T: Float> {
    pub(crate) nodes: Vec<Node<T>>,
    pub(crate) shapes: Shapes,
    pub(crate) len: usize,
    pub(crate) values: Values<T>,
    pub(crate) ints: Ints,
    /// Nodes of parameters, in the order of the parameters' identities.
    pub(crate) params: Vec<(ParamId, u32)>,
    /// Parameter nodes in the order of their first use.
    pub(crate) param_nodes: Vec<u32>,
    pub(crate) replaying: bool,
    pub(crate) events: Vec<EventRecord<T>>,
    pub(crate) event: usize,
    pub(crate) kept: Vec<u32>,
    pub(crate) sides: Vec<(BufferId, u32)>,
    pub(crate) seed: u64,
    pub(crate) step: u64,
    pub(crate) streams: u32,
    pub(crate) pool: Pool<T>,
    pub(crate) origin: Option<(&'static Location<'static>, u32)>,
    pub(crate) no_grad: u32,
    /// The stretch being recorded, and how many there were in this step.
    pub(crate) stretch: u32,
    pub(crate) stretches: u32,
    pub(crate) spent: bool,
    /// Whether an evaluation of this step ended in a panic: what is at hand is not what the events before say.
    pub(crate) aborted: bool,
    /// Which evaluations of this step were observed, as one number. An observed one leaves more at hand.
    pub(crate) watched: u64,
    pub(crate) training: bool,
    pub(crate) fuse: bool,
    pub(crate) anomaly: bool,
    /// Whether anomalies are noted in `found` instead of refused.
    pub(crate) tracing: bool,
    pub(crate) found: Option<crate::anomaly::Anomaly>,
    pub(crate) observer: Option<Box<dyn Observer<T> + Send>>,
    pub(crate) scopes: Vec<(u32, String)>,
    pub(crate) scope: u32,
    pub(crate) hooks: crate::hooks::Hooks<T>,
    pub(crate) counters: Counters,
    /// By node, whether a gradient of the last backward pass is known to be finite.
    pub(crate) finite: Vec<bool>,
}

/// Work done by a tape since it was made.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Kernels and fused groups run.
    pub kernels: u64,
    /// Of these, fused groups.
    pub fused: u64,
    /// Programs planned (a step that repeats the last one plans nothing).
    pub plans: u64,
    /// Floating-point operations, as the operations count theirs; one for each element of an elementwise operation.
    pub flops: u64,
    /// Bytes that kernels read and wrote: every operand and result of a kernel or fused group once.
    pub bytes: u64,
    /// Bytes of the values alive at once, at most, if each took just its size: what [`MemoryStats::peak`] would be in a
    /// perfect allocator.
    pub live: u64,
}

/// An append-only list of operations (Wengert 1964): recording checks shapes and computes nothing; values are computed
/// when they are asked for, or by [`Var::backward`] together with the gradients.
///
/// ```
/// use wengert_autograd::{Tape, Tensor};
/// let tape = Tape::<f32>::inference();
/// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0], [3]));
/// assert_eq!((x * 2.0 + 1.0).sum().item(), 15.0);
/// ```
///
/// `reset` borrows the tape mutably, so no handle survives it:
/// ```compile_fail
/// # use wengert_autograd::{Tape, Tensor};
/// let mut tape = Tape::<f32>::training(0);
/// let x = tape.input(&Tensor::scalar(1.0));
/// tape.reset();
/// x.item(); // error: `tape` is still borrowed by `x`
/// ```
/// and a handle cannot outlive its tape:
/// ```compile_fail
/// # use wengert_autograd::{Tape, Tensor, Var};
/// let x: Var<f32> = {
///     let tape = Tape::training(0);
///     tape.input(&Tensor::scalar(1.0)) // error: `tape` does not live long enough
/// };
/// x.item();
/// ```
pub struct Tape<T: Float = f32> {
    pub(crate) graph: RefCell<Graph<T>>,
    /// Layers that said what they gave, while somebody asks.
    passed: RefCell<Option<Vec<Passed>>>,
}

impl<T: Float> Tape<T> {
    fn new(training: bool, seed: u64) -> Self {
        Tape {
            graph: RefCell::new(T::graph(training, seed)),
            passed: RefCell::new(None),
        }
    }

    /// A tape for training: dropout and batch statistics are on, values asked for are kept for the backward pass. All
    /// randomness of the forward pass comes from `seed` and the number of resets.
    pub fn training(seed: u64) -> Self {
        Self::new(true, seed)
    }

    /// A tape for evaluation: dropout is off, batch norm uses its running statistics, memory slides with the
    /// computation.
    pub fn inference() -> Self {
        Self::new(false, 0)
    }

    /// Whether this is a training tape.
    pub fn is_training(&self) -> bool {
        self.graph.borrow().training
    }

    /// Forgets the recording and its values; memory, plans and the next step's randomness stay.
    pub fn reset(&mut self) {
        T::reset(self.graph.get_mut());
    }

    /// Steps so far: the number of resets. Together with the seed it determines all randomness.
    pub fn step_index(&self) -> u64 {
        self.graph.borrow().step
    }

    /// Sets the step counter, to resume a run bit for bit.
    pub fn set_step_index(&mut self, step: u64) {
        self.graph.get_mut().step = step;
    }

    /// Number of recorded nodes.
    pub fn len(&self) -> usize {
        self.graph.borrow().len
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory in use, its peak, and what is held for reuse.
    pub fn memory(&self) -> MemoryStats {
        self.graph.borrow().pool.stats()
    }

    /// Starts a new peak measurement.
    pub fn reset_peak(&self) {
        self.graph.borrow_mut().pool.reset_peak();
    }

    /// Gives the memory held for reuse back to the system.
    pub fn trim(&self) {
        self.graph.borrow_mut().pool.clear();
    }

    /// Work done since the tape was made.
    pub fn counters(&self) -> Counters {
        self.graph.borrow().counters
    }

    /// Whether elementwise chains run fused (default) or one operation at a time (for tests and for tracing).
    pub fn set_fusion(&mut self, on: bool) {
        let g = self.graph.get_mut();
        g.fuse = on;
        g.forget();
    }

    /// Fills recycled memory with NaN before use, to show kernels that do not write all of their output.
    pub fn set_poison(&self, on: bool) {
        self.graph.borrow_mut().pool.set_poison(on);
    }

    /// Anomaly mode: the first operation, forward or backward, whose output holds a NaN or an infinity while its
    /// inputs do not, panics with its name, scope, source line, and the shapes and extremes of its operands
    /// ([`Anomaly`](crate::Anomaly)). Off (the default) it costs one question for each kernel; [`Tape::trace`] looks after the fact.
    pub fn detect_anomaly(&mut self, on: bool) {
        let g = self.graph.get_mut();
        g.anomaly = on;
        g.forget();
    }

    // ---- leaves ----

    /// A tensor from outside. It is not trained, but [`grad`](crate::grad) can differentiate with respect to it.
    #[track_caller]
    pub fn input(&self, value: &Tensor<T>) -> Var<'_, T> {
        self.graph.borrow().refuse_if_spent("input");
        let id = self.leaf(NodeOp::Input, value.shape(), false, Location::caller());
        (self.graph.borrow_mut().values).set(id as usize, value.clone());
        Var::new(self, id)
    }

    /// Integers from outside (labels, indices), for operations that take them.
    #[track_caller]
    pub(crate) fn int_input(&self, value: &Tensor<i64>) -> Var<'_, T> {
        let id = self.leaf(NodeOp::IntInput, value.shape(), false, Location::caller());
        self.graph.borrow_mut().ints.push(id, value.clone());
        Var::new(self, id)
    }

    /// A parameter; the same node for every use in a step.
    #[track_caller]
    pub fn param(&self, param: &Param<T>) -> Var<'_, T> {
        let mut g = self.graph.borrow_mut();
        if let Some(id) = g.param_node(param.id())
            && (id as usize) < g.len
        {
            return Var::new(self, id);
        }
        g.refuse_if_spent("param");
        drop(g);
        let id = self.leaf(
            NodeOp::Param(param.id()),
            param.shape(),
            param.is_trainable(),
            Location::caller(),
        );
        g = self.graph.borrow_mut();
        if g.set_param_node(param.id(), id) {
            g.param_nodes.push(id);
        }
        g.values.set(id as usize, param.value().clone());
        Var::new(self, id)
    }

    /// The values of a buffer, as a constant: what [`Tape::side_output`] declared last in this recording, if it did.
    #[track_caller]
    pub fn buffer(&self, buffer: &Buffer<T>) -> Var<'_, T> {
        let declared = self.graph.borrow().side_of(buffer.id());
        match declared {
            Some((_, id)) => Var::new(self, id).detach(),
            None => self.input(buffer.value()),
        }
    }

    /// A number, as a tensor of rank 0.
    #[track_caller]
    pub fn scalar(&self, value: f64) -> Var<'_, T> {
        let value = T::from_f64(value);
        let id = self.leaf(NodeOp::Const(value), &[], false, Location::caller());
        let mut g = self.graph.borrow_mut();
        if !g.values.has(id as usize) {
            g.values.set(id as usize, Tensor::scalar(value));
        }
        Var::new(self, id)
    }

    /// A tensor of one value everywhere; stored as one number.
    #[track_caller]
    pub fn full(&self, shape: impl IntoDims, value: f64) -> Var<'_, T> {
        self.scalar(value).broadcast_to(shape.into_dims())
    }

    /// Zeros, stored as one number.
    #[track_caller]
    pub fn zeros(&self, shape: impl IntoDims) -> Var<'_, T> {
        self.full(shape, 0.0)
    }

    /// Ones, stored as one number.
    #[track_caller]
    pub fn ones(&self, shape: impl IntoDims) -> Var<'_, T> {
        self.full(shape, 1.0)
    }

    // ---- regions ----

    /// Runs `f` under a name that messages, observers and reports show: `encoder.block1`.
    pub fn scope<R>(&self, name: &str, f: impl FnOnce() -> R) -> R {
        let inside = {
            let mut g = self.graph.borrow_mut();
            let parent = g.scope;
            // Where the name begins in the path of a scope inside this one; a name may hold dots of its own.
            let start = match g.scopes[parent as usize].1.len() {
                0 => 0,
                n => n + 1,
            };
            let found = g.scopes.iter().enumerate().skip(1).find_map(|(i, (p, n))| {
                (*p == parent && n.get(start..) == Some(name)).then_some(i as u32)
            });
            match found {
                Some(i) => i,
                None => {
                    let path = match &g.scopes[parent as usize].1 {
                        p if p.is_empty() => name.to_string(),
                        p => format!("{p}.{name}"),
                    };
                    g.scopes.push((parent, path));
                    g.scopes.len() as u32 - 1
                }
            }
        };
        let region = Region::enter(self);
        self.graph.borrow_mut().scope = inside;
        let r = f();
        drop(region);
        r
    }

    fn enter_no_grad(&self) -> Region<'_, T> {
        let region = Region::enter(self);
        self.graph.borrow_mut().no_grad += 1;
        region
    }

    /// Runs `f`; no gradient flows through what it records.
    pub fn no_grad<R>(&self, f: impl FnOnce() -> R) -> R {
        let region = self.enter_no_grad();
        let r = f();
        drop(region);
        r
    }

    /// [`apply`](Tape::apply) inside [`no_grad`](Tape::no_grad), at the line of the caller, which a closure would hide.
    #[track_caller]
    pub(crate) fn apply_no_grad<O: Op<T>>(&self, op: O, args: &[Var<'_, T>]) -> Var<'_, T> {
        let region = self.enter_no_grad();
        let v = self.apply(op, args);
        drop(region);
        v
    }

    /// Runs `f`; what it records stands at the line of the caller of this function, wherever it is recorded: for functions
    /// of a library whose own lines nobody wants to see, where closures or trait objects hide the line of their caller.
    /// Around an outer one it changes nothing.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::ones([2]));
    /// let parts = [1.0, 2.0];
    /// let y = tape.at_caller(|| parts.map(|p| x * p)); // both products: this line and column
    /// let mut places = Vec::new();
    /// tape.for_each_node(|n| {
    ///     if n.op == "mul_scalar" {
    ///         places.push(n.location);
    ///     }
    /// });
    /// assert!(places.len() == 2 && places[0] == places[1] && y.len() == 2);
    /// ```
    #[track_caller]
    pub fn at_caller<R>(&self, f: impl FnOnce() -> R) -> R {
        let region = self.enter_place(Location::caller());
        let r = f();
        drop(region);
        r
    }

    /// Runs `f`; what it records stands at its own lines, also inside [`at_caller`](Tape::at_caller): for code of a user that a
    /// library calls.
    pub fn at_own_lines<R>(&self, f: impl FnOnce() -> R) -> R {
        let region = Region::enter(self);
        let rule = |o: &(_, u32)| o.1 != NO_ORIGIN;
        {
            let mut g = self.graph.borrow_mut();
            g.origin = g.origin.filter(rule);
        }
        let r = f();
        drop(region);
        r
    }

    fn enter_place(&self, at: &'static Location<'static>) -> Region<'_, T> {
        let region = Region::enter(self);
        self.graph
            .borrow_mut()
            .origin
            .get_or_insert((at, NO_ORIGIN));
        region
    }

    /// Runs `f`; what it records is not kept for the backward pass but recomputed there (gradient checkpointing, Chen et
    /// al. 2016): less memory for one more forward pass of the stretch. Values that leave the stretch are kept. Dropout
    /// masks are the same both times.
    ///
    /// A stretch inside a stretch belongs to the outer one.
    pub fn checkpoint<R>(&self, f: impl FnOnce() -> R) -> R {
        let region = Region::enter(self);
        {
            let mut g = self.graph.borrow_mut();
            if g.stretch == 0 {
                g.stretches += 1;
                g.stretch = g.stretches;
            }
        }
        let r = f();
        drop(region);
        r
    }

    /// Declares `value` the new contents of a buffer: it leaves the backward pass with the gradients and is applied by
    /// the optimizer's step. Nothing happens on an inference tape or for a frozen buffer.
    ///
    /// Declared again, the later value counts. [`Tape::buffer`] reads it, so that a layer used twice in one recording goes on
    /// from its own first use.
    #[track_caller]
    pub fn side_output(&self, buffer: &Buffer<T>, value: Var<'_, T>) {
        assert!(
            value.shape().as_slice() == buffer.value().shape(),
            "side_output: expected shape {:?}, found {:?}",
            buffer.value().shape(),
            value.shape().as_slice()
        );
        let mut g = self.graph.borrow_mut();
        if g.training && !buffer.is_frozen() {
            match g.side_of(buffer.id()) {
                Some((at, _)) => g.sides[at].1 = value.id,
                None => g.sides.push((buffer.id(), value.id)),
            }
        }
    }

    // ---- recording ----

    #[track_caller]
    fn leaf(
        &self,
        op: NodeOp<T>,
        shape: &[usize],
        tracked: bool,
        loc: &'static Location<'static>,
    ) -> u32 {
        T::leaf(self, op, shape, tracked, loc)
    }

    /// Records a node without inputs whose stream number the tape chooses.
    #[track_caller]
    pub(crate) fn record_shaped(
        &self,
        op: impl FnOnce(u32) -> NodeOp<T>,
        shape: Dims,
    ) -> Var<'_, T> {
        let loc = Location::caller();
        let mut g = self.graph.borrow_mut();
        let stream = g.streams;
        g.streams += 1;
        let op = op(stream);
        let at = g.len;
        if g.replaying {
            if let Some(n) = g.nodes.get(at)
                && *g.shapes.of(n) == shape
                && same_node(&n.op, &op)
                && g.same_place(n, loc)
            {
                g.len += 1;
                return Var::new(self, at as u32);
            }
            g.diverge();
        }
        Var::new(self, g.add(op, SmallVec::new(), shape, loc))
    }

    /// Records an elementwise operation or a reduction.
    #[track_caller]
    #[inline]
    pub(crate) fn record(&self, op: &NodeOp<T>, args: &[Var<'_, T>]) -> Var<'_, T> {
        debug_assert!(
            args.len() <= 4,
            "the table's operations have at most four operands"
        );
        let ids = self.ids(args, op);
        let ids = &ids[..args.len()];
        #[cfg(feature = "mutation")]
        let truth = crate::mutation::is_truth(op);
        let v = Var::new(self, T::record(self, op, ids, Location::caller()));
        #[cfg(feature = "mutation")]
        return crate::mutation::term(truth, v);
        #[cfg(not(feature = "mutation"))]
        v
    }

    /// Records an operation with a kernel of its own.
    ///
    /// # Panics
    /// When the operation refuses the shapes, or an input belongs to another tape.
    #[track_caller]
    pub fn apply<O: Op<T>>(&self, op: O, args: &[Var<'_, T>]) -> Var<'_, T> {
        let loc = Location::caller();
        let id = match T::repeated(self, &op, args, loc) {
            Some(id) => id,
            None => T::append(self, Arc::new(op), args, loc),
        };
        let v = Var::new(self, id);
        #[cfg(feature = "mutation")]
        return crate::mutation::term(false, v);
        #[cfg(not(feature = "mutation"))]
        v
    }

    #[track_caller]
    #[inline]
    fn ids(&self, args: &[Var<'_, T>], op: &NodeOp<T>) -> [u32; 4] {
        let mut ids = [0; 4];
        for (id, a) in ids.iter_mut().zip(args) {
            if !std::ptr::eq(a.tape(), self) {
                self.check_tape(a, op.name());
            }
            *id = a.id;
        }
        ids
    }

    #[track_caller]
    #[inline]
    pub(crate) fn check_tape(&self, v: &Var<'_, T>, op: &str) {
        if !std::ptr::eq(v.tape(), self) {
            refuse_two_tapes(op);
        }
    }
}

#[cold]
#[track_caller]
fn refuse_two_tapes(op: &str) -> ! {
    panic!(
        "{op}: its operands belong to two tapes; record both on one tape, or bring the value over with \
         `tape.input(&x.value())`"
    );
}

/// The copy of a node, or the node itself if it has none; see [`Graph::record_again`].
pub(crate) fn copy_of(copies: &[(u32, u32)], node: u32) -> u32 {
    let at = copies.binary_search_by(|c| c.0.cmp(&node));
    at.map_or(node, |at| copies[at].1)
}

impl<T: Float> Graph<T> {
    pub(crate) fn new(training: bool, seed: u64) -> Self {
        Graph {
            nodes: Vec::new(),
            shapes: Shapes::new(),
            len: 0,
            values: Values::new(),
            ints: Ints::default(),
            params: Vec::new(),
            param_nodes: Vec::new(),
            replaying: false,
            events: Vec::new(),
            event: 0,
            kept: Vec::new(),
            sides: Vec::new(),
            seed,
            step: 0,
            streams: 0,
            pool: Pool::new(),
            origin: None,
            no_grad: 0,
            stretch: 0,
            stretches: 0,
            spent: false,
            aborted: false,
            watched: 0,
            training,
            fuse: true,
            anomaly: false,
            tracing: false,
            found: None,
            observer: None,
            scopes: vec![(0, String::new())],
            scope: 0,
            hooks: Default::default(),
            counters: Counters::default(),
            finite: Vec::new(),
        }
    }

    pub(crate) fn reset(&mut self) {
        // Constants stay for the next step; tensors of the caller are dropped, not pooled.
        let nodes = &self.nodes;
        let ends = |i: usize| !matches!(nodes[i].op, NodeOp::Const(_));
        self.values.take_where(ends, |i, t| {
            if !nodes[i].op.is_leaf() {
                self.pool.give(t);
            }
        });
        self.ints.clear();
        self.len = 0;
        self.event = 0;
        self.kept.clear();
        self.sides.clear();
        self.streams = 0;
        self.step += 1;
        self.spent = false;
        self.aborted = false;
        self.watched = 0;
        self.no_grad = 0;
        self.stretch = 0;
        self.stretches = 0;
        self.scope = 0;
        self.origin = None;
        self.replaying = true;
        self.hooks.clear();
    }

    /// The recording departs from the previous step: what was left of it goes.
    #[cold]
    pub(crate) fn diverge(&mut self) {
        let len = self.len;
        self.nodes.truncate(len);
        self.shapes.truncate(len);
        self.values.truncate(len);
        self.ints.truncate(len as u32);
        self.params.retain(|p| (p.1 as usize) < len);
        self.param_nodes.retain(|id| (*id as usize) < len);
        self.events.truncate(self.event);
        self.replaying = false;
    }

    /// Forgets the previous step, and that the next could repeat what this one has asked so far.
    pub(crate) fn forget(&mut self) {
        self.diverge();
        self.events.iter_mut().for_each(|e| e.once = true);
    }

    #[track_caller]
    pub(crate) fn refuse_if_spent(&self, what: &str) {
        assert!(
            !self.spent,
            "{what}: this tape is spent: `backward()` has released its values; call `tape.reset()` and record again, \
             or use `grad`, which spends nothing"
        );
    }

    /// The shape of a node.
    #[inline]
    pub(crate) fn shape(&self, node: u32) -> &Dims {
        self.shapes.of(&self.nodes[node as usize])
    }

    #[inline]
    fn same_place(&self, n: &Node<T>, loc: &'static Location<'static>) -> bool {
        n.stop() == (self.no_grad > 0)
            && n.stretch == self.stretch
            && match self.origin {
                Some((l, o)) => {
                    n.origin == o
                        && (std::ptr::eq(n.loc, l) || n.loc == l)
                        && (o != NO_ORIGIN || n.scope == self.scope)
                }
                None => {
                    n.origin == NO_ORIGIN
                        && n.scope == self.scope
                        && (std::ptr::eq(n.loc, loc) || n.loc == loc)
                }
            }
    }

    /// The node of a parameter, perhaps left from the previous step.
    pub(crate) fn param_node(&self, id: ParamId) -> Option<u32> {
        let at = self.params.binary_search_by(|p| p.0.cmp(&id)).ok()?;
        Some(self.params[at].1)
    }

    /// Notes the node of a parameter; whether it is another one than before.
    fn set_param_node(&mut self, id: ParamId, node: u32) -> bool {
        match self.params.binary_search_by(|p| p.0.cmp(&id)) {
            Ok(at) => std::mem::replace(&mut self.params[at].1, node) != node,
            Err(at) => {
                self.params.insert(at, (id, node));
                true
            }
        }
    }

    /// Records the nodes of a stretch once more, up to `last`. Returns each node's old index and its copy, in order.
    pub(crate) fn record_again(&mut self, stretch: u32, last: u32) -> Vec<(u32, u32)> {
        let mut copies = Vec::new();
        for i in 0..=last {
            let n = &self.nodes[i as usize];
            if n.stretch != stretch {
                continue;
            }
            let node = Node {
                op: n.op.clone(),
                args: n.args.iter().map(|&a| copy_of(&copies, a)).listed(),
                form: n.form.copied(),
                loc: n.loc,
                scope: n.scope,
                origin: i,
                stretch: 0,
            };
            let copy = self.push(node);
            copies.push((i, copy));
        }
        copies
    }

    fn push(&mut self, node: Node<T>) -> u32 {
        let id = self.len;
        assert!(
            id < NO_ORIGIN as usize,
            "a tape holds at most 2^32 - 1 nodes"
        );
        if self.nodes.len() == self.nodes.capacity() {
            // By large steps: what is copied from stays behind as a hole, what is not yet used takes no memory.
            self.nodes.reserve_exact(3 * self.nodes.len().max(16));
        }
        self.nodes.push(node);
        self.values.push();
        self.len += 1;
        id as u32
    }

    fn add(
        &mut self,
        op: NodeOp<T>,
        args: SmallVec<[u32; 4]>,
        shape: Dims,
        loc: &'static Location<'static>,
    ) -> u32 {
        let stop = self.no_grad > 0;
        let tracked = !stop && args.iter().any(|&a| self.nodes[a as usize].tracked());
        let (loc, origin) = self.origin.unwrap_or((loc, NO_ORIGIN));
        let scope = match origin {
            NO_ORIGIN => self.scope,
            o => self.nodes[o as usize].scope,
        };
        // Mostly that of an operand.
        let same = |&&a: &&u32| *self.shape(a) == shape;
        let shape = match args.iter().find(same) {
            Some(&a) => self.shapes.id(&self.nodes[a as usize]),
            None => self.shapes.find(shape, self.len),
        };
        self.push(Node {
            op,
            args,
            form: Form::new(shape, tracked, stop),
            loc,
            scope,
            origin,
            stretch: self.stretch,
        })
    }

    fn infer(&self, op: &NodeOp<T>, args: &[u32]) -> Result<Dims> {
        let shape = |i: usize| self.shape(args[i]).as_slice();
        match op {
            NodeOp::Elem(e, _) => {
                let mut s = Dims::from_slice(shape(0));
                for i in 1..args.len() {
                    if shape(i) != s.as_slice() {
                        s = broadcast(e.name(), &s, shape(i))?;
                    }
                }
                Ok(s)
            }
            NodeOp::Reduce(kind, set, keep) => {
                let mut out = Dims::new();
                let mut over = 1;
                for (i, &d) in shape(0).iter().enumerate() {
                    if set >> i & 1 == 0 {
                        out.push(d);
                    } else {
                        over *= d;
                        if *keep {
                            out.push(1);
                        }
                    }
                }
                if over == 0
                    && matches!(kind, Reduce::Max | Reduce::Min)
                    && out.iter().all(|&d| d != 0)
                {
                    return Err(crate::op::shape_error(
                        op.name(),
                        format!(
                            "no largest or smallest of zero elements: shape {:?}",
                            shape(0)
                        ),
                    ));
                }
                Ok(out)
            }
            _ => unreachable!("only elementwise operations and reductions are inferred here"),
        }
    }

    /// Where a buffer's new contents stand among the side outputs, and in which node.
    fn side_of(&self, id: BufferId) -> Option<(usize, u32)> {
        let at = self.sides.iter().rposition(|s| s.0 == id)?;
        Some((at, self.sides[at].1))
    }

    /// Whether hooks have a part in an event.
    pub(crate) fn is_hooked(&self, event: &Event) -> bool {
        !matches!(event, Event::Value(_)) && !self.hooks.is_empty()
    }

    /// Whether the next event is that of the previous step, with the same marks.
    pub(crate) fn repeats(&self, event: &Event) -> bool {
        self.replaying
            && !self.aborted
            && !self.is_hooked(event)
            && self.events.get(self.event).is_some_and(|e| {
                e.event == *event
                    && !e.once
                    && e.before == self.len
                    && e.kept == self.kept
                    && e.sides == self.sides
            })
    }
}
