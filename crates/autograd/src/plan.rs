//! Planning: which nodes are needed, which run fused, where values die.
//!
//! Steps stand in a list; an elementwise node joins an earlier fused step when all its operands are computed before or
//! within that step. A step only ever gains nodes whose operands stand no later, so the list is always a valid order.

mod compile;
mod fuse;
mod nodes;
mod place;
mod tail;

use crate::float::Float;
use crate::observe::{Seen, info};
use crate::op::NodeOp;
use crate::param::BufferId;
use crate::tape::{Graph, NO_ORIGIN};
use fuse::Body;
use nodes::Nodes;
use smallvec::SmallVec;
use std::panic::Location;
use wengert_tensor::Dims;
use wengert_tensor::fused::Program;
use wengert_tensor::list::Listed;
use wengert_tensor::order::order;

/// What was asked of the tape.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The value of a node.
    Value(u32),
    /// Loss and gradients of all parameters.
    Backward(u32),
    /// Differentiation that only records.
    Grad {
        /// Outputs and their cotangents.
        roots: SmallVec<[u32; 4]>,
        /// Inputs.
        wrt: SmallVec<[u32; 4]>,
        /// Whether no gradient flows through the results.
        no_grad: bool,
        /// The checkpointed stretch that they belong to; 0 for none.
        stretch: u32,
        /// The scope, and the place that everything recorded inside is given.
        scope: u32,
        origin: Option<(&'static Location<'static>, u32)>,
    },
}

/// An event of a step, with what it led to, for the next step that repeats it.
pub(crate) struct EventRecord<T: Float> {
    pub event: Event,
    /// Whether it is never repeated: hooks had a part in it, or a rule took tensors in, which are not compared; or it was
    /// planned with what an aborted evaluation had left.
    pub once: bool,
    /// Nodes on the tape before and after.
    pub before: usize,
    pub after: usize,
    /// Random streams and checkpointed stretches of the step after it.
    pub streams: u32,
    pub stretches: u32,
    pub kept: Vec<u32>,
    pub sides: Vec<(BufferId, u32)>,
    /// Grad: the results. Backward: the adjoint of every forward node (`u32::MAX` for none).
    pub results: Vec<u32>,
    pub plans: Plans<T>,
}

/// How an event is evaluated.
pub(crate) struct Plans<T: Float> {
    /// Without an observer.
    plain: Option<Plan<T>>,
    /// With one, unless the other plan serves: where all that it wants is made anyway, one plan serves both, and a step
    /// that is watched now and then finds it in the cache.
    watched: Option<Plan<T>>,
    /// What the observer is shown, once it was asked.
    shown: Option<Shown>,
    /// Which evaluations before were observed when the plans without and with an observer were made.
    after: [u64; 2],
}

impl<T: Float> Default for Plans<T> {
    fn default() -> Self {
        Plans {
            plain: None,
            watched: None,
            shown: None,
            after: [0; 2],
        }
    }
}

impl<T: Float> Plans<T> {
    /// The plan to run after evaluations that were observed or not, if there is one, and what the observer is shown
    /// meanwhile.
    pub(crate) fn of(&self, observed: bool, after: u64) -> Option<(&Plan<T>, &[ShownAt])> {
        if self.after[usize::from(observed)] != after {
            return None;
        }
        match (observed, &self.shown) {
            (false, _) => Some((self.plain.as_ref()?, &[])),
            (true, Some(shown)) => Some((self.watched.as_ref().or(self.plain.as_ref())?, shown)),
            (true, None) => None,
        }
    }

    /// Keeps a plan; one for both if they do the same.
    fn keep(&mut self, plan: Plan<T>, shown: Option<Shown>, after: u64) {
        self.after[usize::from(shown.is_some())] = after;
        if shown.is_some() {
            (self.watched, self.shown) = (Some(plan), shown);
        } else {
            self.plain = Some(plan);
        }
        if let (Some(a), Some(b)) = (&self.plain, &self.watched)
            && a.outline.same(&b.outline)
        {
            self.watched = None;
        }
    }

    /// Forgets what the observer wants.
    pub(crate) fn forget_observer(&mut self) {
        (self.watched, self.shown) = (None, None);
    }
}

/// Tensors for the observer: the step after which, where they are, whom they belong to, what they are; in the order of the
/// steps, [`AVAILABLE`] for those before the first one.
pub(crate) type Shown = Vec<ShownAt>;

/// See [`Shown`].
pub(crate) type ShownAt = (i32, u32, u32, Seen);

/// A program ready to run.
pub struct Plan<T: Float> {
    pub(crate) outline: Outline,
    /// What its fused steps run.
    pub(crate) programs: Vec<Program<T>>,
}

/// What a plan says whatever the element type.
pub(crate) struct Outline {
    pub(crate) prologue: Vec<u32>,
    pub(crate) steps: Vec<Step>,
    /// Rough number of elementary operations, to decide on threads.
    pub(crate) cost: u64,
    /// Bytes that kernels read and write.
    pub(crate) bytes: u64,
    /// Bytes that the program's values need at once, if every one takes just its size; without those alive before.
    pub(crate) live: u64,
    /// Gradients of parameters that no step makes: views of what was there before.
    pub(crate) gradients_before: Vec<u32>,
    /// Whether there are gradients of parameters.
    pub(crate) notes: bool,
}

impl Outline {
    /// Whether both run the same kernels on the same values, and let go of them at the same places. What a fused step
    /// computes from the same inputs for the same nodes is what the tape says.
    fn same(&self, other: &Self) -> bool {
        let step = |(a, b): (&Step, &Step)| {
            a.kind == b.kind && (&a.views, &a.release, a.watch) == (&b.views, &b.release, b.watch)
        };
        self.prologue == other.prologue
            && self.steps.len() == other.steps.len()
            && self.steps.iter().zip(&other.steps).all(step)
    }
}

pub(crate) struct Step {
    pub kind: StepKind,
    /// Views of this step's results, made right after it.
    pub views: Vec<u32>,
    /// Gradients of parameters among this step's results and their views.
    pub gradients: SmallVec<[Made; 1]>,
    /// The set of results (a fused step's outputs, then its reductions) that are such gradients.
    pub watch: u64,
    /// Values whose last use this step is.
    pub release: Vec<u32>,
}

/// The gradient of a parameter that a step makes.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    /// Its node: the result, or a view of it.
    pub gradient: u32,
    /// The result's node.
    pub root: u32,
    /// The result as a set of one, or the empty set for a result behind the first 64.
    pub result: u64,
}

#[derive(PartialEq)]
pub(crate) enum StepKind {
    Fused(Box<FusedStep>),
    Op(u32),
    /// An operation that applies the elementwise nodes behind it before it stores its result.
    Tailed(Tailed),
    /// What was to be done here is part of an earlier step.
    Done,
}

/// An operation with a bias and a relu, see [`Op::bias_axis`](crate::Op::bias_axis).
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Tailed {
    pub op: u32,
    pub bias: Option<u32>,
    pub relu: bool,
    /// The node whose value is made.
    pub out: u32,
}

#[derive(PartialEq)]
pub(crate) struct FusedStep {
    /// Its number among the plan's programs.
    pub program: usize,
    pub inputs: Vec<u32>,
    pub outs: Vec<u32>,
    pub reduced: Vec<u32>,
    pub streams: Vec<u32>,
}

/// Elementwise nodes that a fused step may hold.
const MOST_MEMBERS: usize = 2048;
/// How many steps back a node looks for a group that reads the same operands.
const LOOK_BACK: usize = 6;

pub(crate) const AVAILABLE: i32 = -1;
const UNPLACED: i32 = i32::MIN;
const LAZY: i32 = -2;

struct Group {
    domain: Dims,
    numel: usize,
    members: Vec<u32>,
    reduces: Vec<u32>,
    external: Vec<u32>,
}

struct Draft {
    /// `None` for an operation of its own, whose node stands in `op`.
    group: Option<Group>,
    op: u32,
    views: Vec<u32>,
}

struct Planner<'a> {
    g: &'a dyn Nodes,
    step_of: Vec<i32>,
    member: Vec<bool>,
    drafts: Vec<Draft>,
    prologue: Vec<u32>,
    /// Whether several operations may run as one step.
    fuse: bool,
}

/// Plans the event at the cursor and stores the plan with it.
pub(crate) fn make<T: Float>(g: &mut Graph<T>, event: &Event) {
    let observed = g.observer.is_some();
    let mut wanted: Vec<(u32, u32, Seen)> = Vec::new();
    let record = &g.events[g.event];
    let mut targets: Vec<u32> = Vec::new();
    match event {
        Event::Value(id) => targets.push(*id),
        Event::Backward(loss) => {
            targets.push(*loss);
            targets.extend(
                (g.param_nodes.iter())
                    .filter_map(|&p| record.results.get(p as usize).filter(|&&a| a != u32::MAX)),
            );
        }
        Event::Grad { .. } => return,
    }
    targets.extend(&g.kept);
    targets.extend(g.sides.iter().map(|s| s.1));
    // It stays where it is: it may panic.
    if let Some(o) = g.observer.as_deref_mut() {
        let info = |id| info((&g.nodes, &g.shapes), &g.scopes, id);
        let last = record.before;
        for id in 0..last as u32 {
            let n = &g.nodes[id as usize];
            let asked = n.origin == NO_ORIGIN
                && match &n.op {
                    NodeOp::Param(_) | NodeOp::Input => o.wants_leaf(&info(id)),
                    op => !op.is_leaf() && o.wants(&info(id)),
                };
            if asked {
                wanted.push((id, id, Seen::Value));
                if let Some(&a) = record.results.get(id as usize).filter(|&&a| a != u32::MAX) {
                    wanted.push((a, id, Seen::Adjoint));
                }
            }
        }
    }
    let spend = matches!(event, Event::Backward(_));
    let release = spend || !g.training;
    // Anomaly mode looks at every value, so it runs one operation at a time.
    let fuse = g.fuse && !g.anomaly;
    let (mut outline, bodies, shown) =
        Planner::new(g, fuse).plan(&targets, &wanted, release, spend);
    if let Event::Backward(_) = event {
        mark_gradients(g, &g.param_nodes, &g.events[g.event].results, &mut outline);
    }
    let plan = Plan::new(g, outline, bodies);
    g.counters.plans += 1;
    let at = g.event;
    let after = g.watched;
    (g.events[at].plans).keep(plan, observed.then_some(shown), after);
}

/// Tells each step which gradients of parameters it makes.
fn mark_gradients(g: &dyn Nodes, params: &[u32], results: &[u32], plan: &mut Outline) {
    // Nodes that gradients are views of, and the gradients.
    let mut made: Vec<(u32, u32)> = Vec::new();
    for &p in params {
        let Some(&gradient) = results.get(p as usize) else {
            continue;
        };
        if gradient == u32::MAX {
            continue;
        }
        made.push((g.root(gradient), gradient));
    }
    let order = order(made.len(), &|a, b| made[a].0.cmp(&made[b].0));
    let mut before = vec![true; made.len()];
    for step in &mut plan.steps {
        let results: SmallVec<[u32; 4]> = match &step.kind {
            StepKind::Op(id) => SmallVec::from_elem(*id, 1),
            StepKind::Fused(f) => f.outs.iter().chain(&f.reduced).copied().listed(),
            StepKind::Tailed(t) => SmallVec::from_elem(t.out, 1),
            StepKind::Done => SmallVec::new(),
        };
        for (k, root) in results.into_iter().enumerate() {
            let first = order.partition_point(|&i| made[i].0 < root);
            let result = 1u64.checked_shl(k as u32).unwrap_or(0);
            for &i in order[first..].iter().take_while(|&&i| made[i].0 == root) {
                before[i] = false;
                step.watch |= result;
                step.gradients.push(Made {
                    gradient: made[i].1,
                    root,
                    result,
                });
            }
        }
        plan.notes |= !step.gradients.is_empty();
    }
    plan.gradients_before = (made.iter().zip(&before))
        .filter(|(_, before)| **before)
        .map(|(m, _)| m.1)
        .collect();
    plan.notes |= !plan.gradients_before.is_empty();
}

/// A plan for `targets`, one operation at a time, that releases all values but those.
pub(crate) fn traced<T: Float>(g: &Graph<T>, targets: &[u32]) -> Plan<T> {
    let (outline, bodies, _) = Planner::new(g, false).plan(targets, &[], true, true);
    Plan::new(g, outline, bodies)
}

impl<T: Float> Plan<T> {
    fn new(g: &Graph<T>, outline: Outline, bodies: Vec<Body>) -> Self {
        let mut programs = Vec::with_capacity(bodies.len());
        programs.extend(bodies.into_iter().map(|b| b.program(g)));
        Plan { outline, programs }
    }
}
