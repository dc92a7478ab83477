//! The executor: runs a plan, hands tensors to the observer, releases values at their last use.

use crate::anomaly::{self, Anomaly};
use crate::finite;
use crate::float::Float;
use crate::gradients::Gradients;
use crate::observe::info;
use crate::op::{ForwardCtx, NodeOp, Operand};
use crate::plan::{
    AVAILABLE, Event, EventRecord, FusedStep, Outline, Plan, Plans, ShownAt, StepKind, Tailed,
};
use crate::pool;
use crate::tape::{Graph, Node, Shapes};
use crate::values::{Ints, Values};
use smallvec::SmallVec;
use std::sync::Arc;
use wengert_tensor::fused::Program;
use wengert_tensor::gemm::Tail;
use wengert_tensor::list::Listed;
use wengert_tensor::{Tensor, parallel};

/// Elementary operations below which a program runs on the calling thread alone.
const PARALLEL_COST: u64 = 1 << 18;

/// Elements up to which a gradient is looked at right after it was made: it is still in the second-level cache.
const SMALL_GRADIENT: usize = 1 << 18;

/// How many times smaller than a gradient the operands that bound it must be at least, whatever the work.
const SMALLER: usize = 2;

/// Floating-point operations beside which one element to look at costs about a hundredth.
const WORK_PER_LOOK: u64 = 400;

impl<T: Float> Graph<T> {
    /// Appends an event that does not repeat the previous step.
    pub(crate) fn record_event(&mut self, event: Event, before: usize, results: Vec<u32>) {
        self.events.truncate(self.event);
        // A number stays with its node; other leaves are given their values where they are recorded.
        let given = |n: &Node<T>| n.op.is_leaf() && !matches!(n.op, NodeOp::Const(_));
        let takes = self.nodes[before..self.len].iter().any(given);
        self.events.push(EventRecord {
            once: self.is_hooked(&event) || takes || self.aborted,
            event,
            before,
            after: self.len,
            streams: self.streams,
            stretches: self.stretches,
            kept: self.kept.clone(),
            sides: self.sides.clone(),
            results,
            plans: Plans::default(),
        });
        self.event += 1;
    }

    /// Evaluates an event, with the plan of the previous step if it repeats it.
    pub(crate) fn run_event(&mut self, event: &Event) {
        if !self.repeats(event) {
            self.record_event(event.clone(), self.len, Vec::new());
            self.event -= 1;
        }
        self.run_recorded(event);
    }

    /// Evaluates the event at the cursor.
    fn run_recorded(&mut self, event: &Event) {
        let at = self.event;
        self.step_over(at);
        let (observed, after) = (self.observer.is_some(), self.watched);
        if self.events[at].plans.of(observed, after).is_none() {
            T::plan(self, event);
        }
        // Out of the record while the program runs, which has the whole tape.
        let plans = std::mem::take(&mut self.events[at].plans);
        if let Some((plan, shown)) = plans.of(observed, after) {
            let before = std::mem::replace(&mut self.aborted, true);
            T::execute(self, plan, shown);
            self.aborted = before;
        }
        self.events[at].plans = plans;
        self.watched = after.wrapping_mul(31).wrapping_add(1 + u64::from(observed));
        self.event += 1;
    }

    /// Brings the tape to where it was after recording the event at `at`.
    pub(crate) fn step_over(&mut self, at: usize) {
        let e = &self.events[at];
        (self.len, self.streams, self.stretches) = (e.after, e.streams, e.stretches);
    }

    /// Evaluates loss and gradients, collects them, and spends the tape.
    pub(crate) fn run_backward(&mut self, event: &Event) -> Gradients<T> {
        self.run_recorded(event);
        let Event::Backward(loss) = event else {
            unreachable!("only backward events come here")
        };
        let loss = (self.values)
            .get(*loss as usize)
            .expect("the loss is a target")
            .item();
        let (mut entries, mut sides, mut notes) = self.pool.take_lists();
        let record = &self.events[self.event - 1];
        for &p in &self.param_nodes {
            let (NodeOp::Param(id), Some(&a)) =
                (&self.nodes[p as usize].op, record.results.get(p as usize))
            else {
                continue;
            };
            if a == u32::MAX || p as usize >= record.before {
                continue;
            }
            // Two parameters may share one adjoint, and an adjoint may be a view: gradients are owned.
            let g = (self.values)
                .get(a as usize)
                .expect("gradients are targets");
            entries.push((*id, g.clone()));
            notes.push(self.finite.get(a as usize).is_some_and(|&f| f));
        }
        for (id, v) in &self.sides {
            let v = (self.values)
                .get(*v as usize)
                .expect("side outputs are targets");
            sides.push((*id, v.clone()));
        }
        self.spend();
        for t in entries
            .iter_mut()
            .map(|e| &mut e.1)
            .chain(sides.iter_mut().map(|e| &mut e.1))
        {
            if !t.is_unique() {
                let mut s = self.pool.take(t.numel());
                let out = Arc::get_mut(&mut s).expect("buffers of the pool are unique");
                t.copy_into(&mut out.as_mut_slice()[..t.numel()]);
                *t = pool::tensor(s, &t.layout().shape.clone());
            }
        }
        Gradients::pooled(loss, (entries, sides, notes), self.pool.back())
    }

    /// Lets go of every value except kept ones and constants.
    fn spend(&mut self) {
        self.spent = true;
        let (nodes, kept) = (&self.nodes, &self.kept);
        let ends = |i: usize| match &nodes[i].op {
            NodeOp::Const(_) | NodeOp::Input => false,
            _ => !kept.contains(&(i as u32)),
        };
        self.values.take_where(ends, |i, t| {
            if !nodes[i].op.is_leaf() {
                self.pool.give(t);
            }
        });
    }
}

pub(crate) fn execute<T: Float>(g: &mut Graph<T>, plan: &Plan<T>, shown: &[ShownAt]) {
    let outline = &plan.outline;
    g.counters.flops += outline.cost;
    g.counters.bytes += outline.bytes;
    g.pool.collect();
    g.counters.live = g
        .counters
        .live
        .max(g.pool.stats().live as u64 + outline.live);
    g.finite.clear();
    if outline.notes {
        g.finite.resize(g.len, false);
    }
    let mut run = Run {
        programs: &plan.programs,
        finite: &mut g.finite,
        values: &mut g.values,
        ints: &g.ints,
        nodes: &g.nodes,
        shapes: &g.shapes,
        pool: &mut g.pool,
        seed: (g.seed, g.step),
        anomaly: g.anomaly,
        kernels: 0,
        fused: 0,
        scopes: &g.scopes,
        observer: g.observer.as_mut(),
        shown,
        late: Vec::new(),
        tracing: g.tracing,
        found: None,
    };
    if outline.cost > PARALLEL_COST {
        parallel::install(|| run.all(outline));
    } else {
        run.all(outline);
    }
    let (kernels, fused, found) = (run.kernels, run.fused, run.found);
    g.counters.kernels += kernels;
    g.counters.fused += fused;
    g.found = g.found.take().or(found);
}

struct Run<'a, T: Float> {
    programs: &'a [Program<T>],
    /// By node, whether a gradient is known to be finite.
    finite: &'a mut [bool],
    values: &'a mut Values<T>,
    ints: &'a Ints,
    nodes: &'a [Node<T>],
    shapes: &'a Shapes,
    pool: &'a mut pool::Pool<T>,
    seed: (u64, u64),
    anomaly: bool,
    kernels: u64,
    fused: u64,
    scopes: &'a [(u32, String)],
    observer: Option<&'a mut Box<dyn crate::observe::Observer<T> + Send>>,
    /// What the observer is still to be shown.
    shown: &'a [ShownAt],
    /// Released while somebody else, perhaps the observer, held them.
    late: Vec<Tensor<T>>,
    /// Whether an anomaly is noted instead of refused.
    tracing: bool,
    found: Option<Anomaly>,
}

impl<'a, T: Float> Run<'a, T> {
    fn all(&mut self, plan: &Outline) {
        for &v in &plan.prologue {
            self.view(v);
        }
        for &gradient in &plan.gradients_before {
            self.finite[gradient as usize] = self.values.get(gradient as usize).is_some_and(|g| {
                finite::reach(g) <= SMALL_GRADIENT && finite::largest(g).is_finite()
            });
        }
        self.observe(AVAILABLE);
        for (at, step) in (0..).zip(&plan.steps) {
            let watch = step.watch;
            let finite = match &step.kind {
                StepKind::Fused(f) => self.run_fused(f, watch),
                StepKind::Op(id) => self.run_op(*id, *id, Tail::default(), watch),
                StepKind::Tailed(t) => self.run_tailed(t, watch),
                StepKind::Done => 0,
            };
            self.kernels += u64::from(!matches!(step.kind, StepKind::Done));
            for &v in &step.views {
                self.view(v);
            }
            for m in &step.gradients {
                self.finite[m.gradient as usize] =
                    finite & m.result != 0 || self.is_finite(m.gradient, m.root);
            }
            self.observe(at);
            for &r in &step.release {
                match self.values.take(r as usize) {
                    Some(t) if self.observer.is_some() && !t.is_unique() => self.late.push(t),
                    Some(t) => self.pool.give(t),
                    None => {}
                }
            }
        }
        if let Some(observer) = self.observer.as_deref_mut() {
            observer.end();
        }
        self.late.drain(..).for_each(|t| self.pool.give(t));
    }

    fn value(&self, id: u32) -> &Tensor<T> {
        match self.values.get(id as usize) {
            Some(t) => t,
            None => unreachable!("the plan computes %{id} before it is read"),
        }
    }

    /// The shape of a node.
    fn shape(&self, node: u32) -> &'a wengert_tensor::Dims {
        self.shapes.of(&self.nodes[node as usize])
    }

    /// Runs a fused step; returns which results of the set `watch` are finite.
    fn run_fused(&mut self, f: &FusedStep, watch: u64) -> u64 {
        self.fused += 1;
        let mut buffers: SmallVec<[(u32, Arc<wengert_tensor::Storage<T>>); 6]> = SmallVec::new();
        for &o in f.outs.iter().chain(&f.reduced) {
            let n: usize = self.shape(o).iter().product();
            buffers.push((o, self.pool.take(n)));
        }
        let finite = {
            let inputs: SmallVec<[&Tensor<T>; 8]> =
                f.inputs.iter().map(|&i| self.value(i)).listed();
            let keys: SmallVec<[u64; 2]> = f.streams.iter().map(|&s| key(self.seed, s)).listed();
            let mut slices: SmallVec<[&mut [T]; 6]> = (buffers.iter_mut())
                .map(|(o, b)| {
                    let n: usize = self.shape(*o).iter().product();
                    &mut Arc::get_mut(b)
                        .expect("buffers of the pool are unique")
                        .as_mut_slice()[..n]
                })
                .listed();
            let (outs, reduced) = slices.split_at_mut(f.outs.len());
            self.programs[f.program].run_watching(&inputs, outs, reduced, &keys, watch)
        };
        for (o, b) in buffers {
            self.values.set(o as usize, pool::tensor(b, self.shape(o)));
            if self.anomalies() {
                self.check(o);
            }
        }
        finite
    }

    /// Runs an operation together with the bias and the relu behind it.
    fn run_tailed(&mut self, t: &Tailed, watch: u64) -> u64 {
        self.fused += 1;
        let bias = t.bias.map(|b| self.value(b).clone());
        let values = bias.as_ref().map(Tensor::contiguous);
        let tail = Tail {
            bias: values
                .as_ref()
                .map(|b| b.as_slice().expect("made contiguous")),
            relu: t.relu,
        };
        self.run_op(t.op, t.out, tail, watch)
    }

    /// Runs an operation; the result, `tail` applied, is the value of node `out`. Returns `watch` if it is that and
    /// the operation says that the result is finite.
    fn run_op(&mut self, id: u32, out: u32, tail: Tail<'_, T>, watch: u64) -> u64 {
        let n = &self.nodes[id as usize];
        let NodeOp::Op(op) = &n.op else {
            unreachable!("only operations with kernels come here")
        };
        let shape = self.shape(id);
        let numel: usize = shape.iter().product();
        let mut buffer = self.pool.take(numel);
        let finite = {
            let inputs: SmallVec<[Operand<'_, T>; 4]> = (n.args.iter())
                .map(|&a| match (self.values.get(a as usize), self.ints.get(a)) {
                    (Some(t), _) => Operand::Float(t),
                    (None, Some(t)) => Operand::Int(t),
                    (None, None) => Operand::Unread(self.shape(a)),
                })
                .listed();
            let output = Arc::get_mut(&mut buffer).expect("buffers of the pool are unique");
            let mut ctx = ForwardCtx {
                inputs: &inputs,
                output: &mut output.as_mut_slice()[..numel],
                shape,
                key: key(self.seed, if n.copy() { n.origin } else { id } | 1 << 31),
                tail,
                watched: watch != 0,
                finite: false,
            };
            op.forward(&mut ctx);
            ctx.finite
        };
        self.values.set(out as usize, pool::tensor(buffer, shape));
        if self.anomalies() {
            self.check(out);
        }
        if finite { watch } else { 0 }
    }

    fn view(&mut self, id: u32) {
        let n = &self.nodes[id as usize];
        let NodeOp::Op(op) = &n.op else {
            unreachable!("only operations are views")
        };
        match op.view(self.value(n.args[0])) {
            Some(t) => {
                debug_assert_eq!(
                    t.shape(),
                    self.shape(id).as_slice(),
                    "{}: shape of a view",
                    op.name()
                );
                self.values.set(id as usize, t);
            }
            // A reshape that the strides do not allow is a copy.
            None => {
                self.run_op(id, id, Tail::default(), 0);
            }
        }
    }

    /// Shows the observer what there is to see after a step.
    fn observe(&mut self, step: i32) {
        let now = self.shown.iter().take_while(|s| s.0 == step).count();
        if now == 0 {
            return;
        }
        let Some(observer) = self.observer.as_deref_mut() else {
            return;
        };
        let (list, rest) = self.shown.split_at(now);
        self.shown = rest;
        for &(_, at, of, what) in list {
            if let Some(t) = self.values.get(at as usize) {
                observer.see(&info((self.nodes, self.shapes), self.scopes, of), what, t);
            }
        }
        let mut i = 0;
        while i < self.late.len() {
            if self.late[i].is_unique() {
                self.pool.give(self.late.swap_remove(i));
            } else {
                i += 1;
            }
        }
    }

    /// Whether all elements of a gradient, a view of the node `root` that was just computed and has not said so itself, are
    /// known to be finite.
    ///
    /// Looks at the gradient if it is small, so still in the cache; else at what is smaller, the gradient or the operands
    /// that bound it, if that is little beside the work of making it. `false` where it would be; the optimizer looks then.
    fn is_finite(&self, gradient: u32, root: u32) -> bool {
        let g = self.value(gradient);
        if finite::reach(g) <= SMALL_GRADIENT {
            return finite::largest(g).is_finite();
        }
        let n = &self.nodes[root as usize];
        let NodeOp::Op(op) = &n.op else { return false };
        let shapes: SmallVec<[&[usize]; 4]> =
            (n.args.iter()).map(|&a| self.shape(a).as_slice()).listed();
        let most = op.flops(&shapes, self.shape(root)) / WORK_PER_LOOK;
        let read: usize = shapes.iter().map(|s| s.iter().product::<usize>()).sum();
        let cheap = read as u64 <= most || read <= g.numel() / SMALLER;
        if read < g.numel() && cheap {
            let largest = |i: usize| match self.values.get(n.args[i] as usize) {
                Some(t) => finite::largest(t).as_f64(),
                None => f64::NAN,
            };
            if (op.bound(&shapes, &largest)).is_some_and(|b| b < finite::limit::<T>()) {
                return true;
            }
        }
        g.numel() as u64 <= most && finite::largest(g).is_finite()
    }

    /// Whether the anomaly mode is on: all that it costs while it is off is to ask.
    #[inline]
    fn anomalies(&self) -> bool {
        cfg!(not(feature = "without-anomaly")) && self.anomaly
    }

    /// Anomaly mode: a non-finite output of finite inputs is reported.
    fn check(&mut self, id: u32) {
        if self.found.is_some() {
            return;
        }
        let found = anomaly::of(self.nodes, self.scopes, id, |a| self.values.get(a as usize));
        match found {
            Some(a) if self.tracing => self.found = Some(a),
            Some(a) => panic!("{a}"),
            None => {}
        }
    }
}

fn key((seed, step): (u64, u64), stream: u32) -> u64 {
    use crate::ops::random::mix;
    mix(mix(seed ^ 0x6A09_E667_F3BC_C908).wrapping_add(mix(step)) ^ (u64::from(stream) << 32))
}
