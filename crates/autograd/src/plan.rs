//! Planning: which nodes are needed, which run fused, where values die.
//!
//! Steps stand in a list; an elementwise node joins an earlier fused step when all its operands are computed before or
//! within that step. A step only ever gains nodes whose operands stand no later, so the list is always a valid order.

mod fuse;
mod tail;

use crate::float::Float;
use crate::observe::Seen;
use crate::op::NodeOp;
use crate::param::BufferId;
use crate::tape::{Graph, NO_ORIGIN};
use smallvec::SmallVec;
use wengert_tensor::Dims;
use wengert_tensor::fused::{BLOCK, Program, few_rows};
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
    },
}

/// An event of a step, with what it led to, for the next step that repeats it.
pub(crate) struct EventRecord<T: Float> {
    pub event: Event,
    /// Nodes on the tape before and after.
    pub before: usize,
    pub after: usize,
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
}

impl<T: Float> Default for Plans<T> {
    fn default() -> Self {
        Plans {
            plain: None,
            watched: None,
            shown: None,
        }
    }
}

impl<T: Float> Plans<T> {
    /// The plan to run, if there is one, and what the observer is shown meanwhile.
    pub(crate) fn of(&self, observed: bool) -> Option<(&Plan<T>, &[ShownAt])> {
        match (observed, &self.shown) {
            (false, _) => Some((self.plain.as_ref()?, &[])),
            (true, Some(shown)) => Some((self.watched.as_ref().or(self.plain.as_ref())?, shown)),
            (true, None) => None,
        }
    }

    /// Keeps a plan; one for both if they do the same.
    fn keep(&mut self, plan: Plan<T>, shown: Option<Shown>) {
        if shown.is_some() {
            (self.watched, self.shown) = (Some(plan), shown);
        } else {
            self.plain = Some(plan);
        }
        if let (Some(a), Some(b)) = (&self.plain, &self.watched)
            && a.same(b)
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
    pub(crate) prologue: Vec<u32>,
    pub(crate) steps: Vec<Step<T>>,
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

impl<T: Float> Plan<T> {
    /// Whether both run the same kernels on the same values, and let go of them at the same places.
    fn same(&self, other: &Plan<T>) -> bool {
        let step = |(a, b): (&Step<T>, &Step<T>)| {
            a.kind.same(&b.kind)
                && (&a.views, &a.release, a.watch) == (&b.views, &b.release, b.watch)
        };
        self.prologue == other.prologue
            && self.steps.len() == other.steps.len()
            && self.steps.iter().zip(&other.steps).all(step)
    }
}

pub(crate) struct Step<T: Float> {
    pub kind: StepKind<T>,
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

pub(crate) enum StepKind<T: Float> {
    Fused(Box<FusedStep<T>>),
    Op(u32),
    /// An operation that applies the elementwise nodes behind it before it stores its result.
    Tailed(Tailed),
    /// What was to be done here is part of an earlier step.
    Done,
}

impl<T: Float> StepKind<T> {
    fn same(&self, other: &StepKind<T>) -> bool {
        match (self, other) {
            (StepKind::Fused(a), StepKind::Fused(b)) => {
                // What a program computes from these inputs for these nodes is what the tape says.
                (&a.inputs, &a.outs, &a.reduced, &a.streams)
                    == (&b.inputs, &b.outs, &b.reduced, &b.streams)
            }
            (StepKind::Op(a), StepKind::Op(b)) => a == b,
            (StepKind::Tailed(a), StepKind::Tailed(b)) => a == b,
            (StepKind::Done, StepKind::Done) => true,
            _ => false,
        }
    }
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

pub(crate) struct FusedStep<T: Float> {
    pub program: Program<T>,
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

pub(crate) struct Group {
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

struct Planner<'a, T: Float> {
    g: &'a Graph<T>,
    step_of: Vec<i32>,
    member: Vec<bool>,
    drafts: Vec<Draft>,
    prologue: Vec<u32>,
    /// Anomaly mode looks at every value, so it runs one operation at a time.
    fuse: bool,
}

/// Plans the event at the cursor and stores the plan with it.
pub(crate) fn make<T: Float>(g: &mut Graph<T>, event: &Event) {
    let mut observer = g.observer.take();
    let observed = observer.is_some();
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
    if let Some(o) = &mut observer {
        let last = record.before;
        for id in 0..last as u32 {
            let n = &g.nodes[id as usize];
            let asked = n.origin == NO_ORIGIN
                && match &n.op {
                    NodeOp::Param(_) | NodeOp::Input => o.wants_leaf(&g.info(id)),
                    op => !op.is_leaf() && o.wants(&g.info(id)),
                };
            if asked {
                wanted.push((id, id, Seen::Value));
                if let Some(&a) = record.results.get(id as usize).filter(|&&a| a != u32::MAX) {
                    wanted.push((a, id, Seen::Adjoint));
                }
            }
        }
    }
    g.observer = observer;
    let spend = matches!(event, Event::Backward(_));
    let release = spend || !g.training;
    let (mut plan, shown) = Planner::new(g).plan(&targets, &wanted, release, spend);
    if let Event::Backward(_) = event {
        mark_gradients(g, &mut plan);
    }
    g.counters.plans += 1;
    let at = g.event;
    g.events[at].plans.keep(plan, observed.then_some(shown));
}

/// Tells each step which gradients of parameters it makes.
fn mark_gradients<T: Float>(g: &Graph<T>, plan: &mut Plan<T>) {
    let record = &g.events[g.event];
    let is_view = |i: u32| matches!(&g.nodes[i as usize].op, NodeOp::Op(o) if o.is_view());
    // Nodes that gradients are views of, and the gradients.
    let mut made: Vec<(u32, u32)> = Vec::new();
    for &p in &g.param_nodes {
        let Some(&gradient) = record.results.get(p as usize) else {
            continue;
        };
        if gradient == u32::MAX {
            continue;
        }
        let mut root = gradient;
        while is_view(root) {
            root = g.nodes[root as usize].args[0];
        }
        made.push((root, gradient));
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
    let mut planner = Planner::new(g);
    planner.fuse = false;
    planner.plan(targets, &[], true, true).0
}

impl<'a, T: Float> Planner<'a, T> {
    fn new(g: &'a Graph<T>) -> Self {
        Planner {
            g,
            step_of: vec![UNPLACED; g.len],
            member: vec![false; g.len],
            drafts: Vec::new(),
            prologue: Vec::new(),
            fuse: g.fuse && !g.anomaly,
        }
    }

    fn plan(
        mut self,
        targets: &[u32],
        wanted: &[(u32, u32, Seen)],
        release: bool,
        spend: bool,
    ) -> (Plan<T>, Shown) {
        let g = self.g;
        let mut needed = vec![false; g.len];
        let mut stored = vec![false; g.len];
        for &t in targets {
            needed[t as usize] = true;
            stored[t as usize] = true;
        }
        // An adjoint that only the observer asks for, such as that of a recurrent state.
        for (at, _, what) in wanted {
            needed[*at as usize] |= *what == Seen::Adjoint;
        }
        // It also sees what the program speaks of but need not compute, because a shorter way leads around it.
        let mut seen = vec![false; if wanted.is_empty() { 0 } else { g.len }];
        for (at, _, what) in wanted {
            seen[*at as usize] |= *what == Seen::Value;
        }
        let mut named = if seen.is_empty() {
            Vec::new()
        } else {
            needed.clone()
        };
        let available = |i: usize| g.values.has(i) || g.ints.get(i as u32).is_some();
        for i in (0..g.len).rev() {
            if named.get(i) == Some(&true) {
                needed[i] |= seen[i];
                let args = g.nodes[i].args.iter();
                args.for_each(|&a| named[a as usize] = true);
            }
            if needed[i] && !available(i) {
                g.nodes[i].reads().for_each(|a| needed[a as usize] = true);
            }
        }
        for i in 0..g.len {
            if !needed[i] {
                continue;
            }
            if available(i) {
                self.step_of[i] = AVAILABLE;
                continue;
            }
            assert!(
                !g.nodes[i].op.is_leaf(),
                "a leaf of the tape has no value: the tape is spent"
            );
            self.place(i);
            // A random node that is asked for itself gets a step of its own, before anybody reads it.
            if stored[i] {
                self.materialize(i);
            }
        }
        // An observer sees what is computed anyway: a random node that each reader draws anew has no tensor to show.
        for w in wanted.iter().filter(|w| self.step_of[w.0 as usize] != LAZY) {
            stored[w.0 as usize] = true;
        }
        self.mark_stored(&mut stored);
        self.compile(&stored, targets, wanted, release, spend)
    }

    fn place(&mut self, i: usize) {
        let g = self.g;
        let n = &g.nodes[i];
        match &n.op {
            NodeOp::Random(..) => self.step_of[i] = LAZY,
            NodeOp::Elem(..) => self.place_elementwise(i),
            NodeOp::Reduce(..) => self.place_reduce(i),
            NodeOp::Op(op) => {
                for a in n.reads() {
                    self.materialize(a as usize);
                }
                if op.is_view() {
                    let s = self.step_of[n.args[0] as usize];
                    self.step_of[i] = s;
                    if s == AVAILABLE {
                        self.prologue.push(i as u32);
                    } else {
                        self.drafts[s as usize].views.push(i as u32);
                    }
                } else {
                    self.step_of[i] = self.drafts.len() as i32;
                    self.drafts.push(Draft {
                        group: None,
                        op: i as u32,
                        views: Vec::new(),
                    });
                }
            }
            _ => unreachable!("leaves are available"),
        }
    }

    /// Gives a random node that is read as a tensor a step of its own.
    fn materialize(&mut self, i: usize) {
        if self.step_of[i] != LAZY {
            return;
        }
        let shape = self.g.nodes[i].shape.clone();
        self.step_of[i] = self.drafts.len() as i32;
        self.member[i] = true;
        self.push_group(shape, vec![i as u32]);
    }

    fn push_group(&mut self, domain: Dims, members: Vec<u32>) {
        let numel = domain.iter().product();
        self.drafts.push(Draft {
            group: Some(Group {
                domain,
                numel,
                members,
                reduces: Vec::new(),
                external: Vec::new(),
            }),
            op: 0,
            views: Vec::new(),
        });
    }

    fn place_elementwise(&mut self, i: usize) {
        let g = self.g;
        let n = &g.nodes[i];
        for &a in &n.args {
            if self.step_of[a as usize] == LAZY
                && (g.nodes[a as usize].shape != n.shape || !self.fuse)
            {
                self.materialize(a as usize);
            }
        }
        let mut earliest = 0;
        let mut home = None;
        for &a in &n.args {
            let s = self.step_of[a as usize];
            if s < 0 {
                continue;
            }
            let same = self.member[a as usize]
                && self.fuse
                && (self.drafts[s as usize].group.as_ref())
                    .is_some_and(|gr| gr.domain == n.shape && gr.members.len() < MOST_MEMBERS);
            if same {
                earliest = earliest.max(s);
                home = Some(s);
            } else {
                earliest = earliest.max(s + 1);
            }
        }
        let chosen = match home {
            Some(s) if s == earliest => Some(s),
            _ if self.fuse => self.find_group(i, earliest),
            _ => None,
        };
        let s = match chosen {
            Some(s) => s as usize,
            None => {
                self.push_group(n.shape.clone(), Vec::new());
                self.drafts.len() - 1
            }
        };
        self.step_of[i] = s as i32;
        self.member[i] = true;
        let step_of = &self.step_of;
        let group = self.drafts[s]
            .group
            .as_mut()
            .expect("a fused step was chosen");
        group.members.push(i as u32);
        for &a in &n.args {
            let at = step_of[a as usize];
            if at != LAZY
                && at != s as i32
                && group.external.len() < 64
                && !group.external.contains(&a)
            {
                group.external.push(a);
            }
        }
    }

    /// A fused step from `earliest` on, of the node's shape, that reads one of its operands or is tiny.
    fn find_group(&self, i: usize, earliest: i32) -> Option<i32> {
        let n = &self.g.nodes[i];
        let last = self.drafts.len();
        let first = (earliest.max(0) as usize).max(last.saturating_sub(LOOK_BACK));
        (first..last).rev().find_map(|s| {
            let group = self.drafts[s].group.as_ref()?;
            let fits = group.members.len() < MOST_MEMBERS
                && group.domain == n.shape
                && (group.numel <= BLOCK || n.args.iter().any(|a| group.external.contains(a)));
            fits.then_some(s as i32)
        })
    }

    fn place_reduce(&mut self, i: usize) {
        let g = self.g;
        let a = g.nodes[i].args[0] as usize;
        let domain = &g.nodes[a].shape;
        if self.step_of[a] == LAZY {
            self.materialize(a);
        }
        let s = self.step_of[a];
        let few = |r: usize| match g.nodes[r].op {
            NodeOp::Reduce(_, set, _) => few_rows(domain, set),
            _ => None,
        };
        let room = |d: &Draft| {
            d.group.as_ref().is_some_and(|gr| {
                let with = gr.reduces.first();
                gr.domain == *domain
                    && gr.reduces.len() < 8
                    && with.is_none_or(|&r| few(r as usize) == few(i))
            })
        };
        let chosen = if self.fuse && s >= 0 && self.member[a] && room(&self.drafts[s as usize]) {
            Some(s as usize)
        } else if self.fuse {
            let first = ((s + 1).max(0) as usize).max(self.drafts.len().saturating_sub(LOOK_BACK));
            (first..self.drafts.len()).rev().find(|&d| {
                room(&self.drafts[d])
                    && (self.drafts[d].group.as_ref())
                        .is_some_and(|gr| gr.external.contains(&(a as u32)))
            })
        } else {
            None
        };
        let s = chosen.unwrap_or_else(|| {
            self.push_group(domain.clone(), Vec::new());
            self.drafts.len() - 1
        });
        self.step_of[i] = s as i32;
        let own = self.step_of[a] == s as i32 && self.member[a];
        let group = self.drafts[s]
            .group
            .as_mut()
            .expect("a fused step was chosen");
        group.reduces.push(i as u32);
        if !own && !group.external.contains(&(a as u32)) {
            group.external.push(a as u32);
        }
    }

    /// Marks values that are read outside the fused step that makes them.
    fn mark_stored(&self, stored: &mut [bool]) {
        let g = self.g;
        for (s, d) in self.drafts.iter().enumerate() {
            let inside = |a: u32| self.member[a as usize] && self.step_of[a as usize] == s as i32;
            match &d.group {
                Some(gr) => {
                    for &i in gr.members.iter().chain(&gr.reduces) {
                        for &a in &g.nodes[i as usize].args {
                            if !inside(a) && self.step_of[a as usize] != LAZY {
                                stored[a as usize] = true;
                            }
                        }
                    }
                }
                None => {
                    let read = g.nodes[d.op as usize].reads();
                    read.for_each(|a| stored[a as usize] = true);
                }
            }
            for &v in &d.views {
                let read = g.nodes[v as usize].reads();
                read.for_each(|a| stored[a as usize] = true);
            }
        }
    }

    fn compile(
        self,
        stored: &[bool],
        targets: &[u32],
        wanted: &[(u32, u32, Seen)],
        release: bool,
        spend: bool,
    ) -> (Plan<T>, Shown) {
        let g = self.g;
        let mut last_use = vec![AVAILABLE; g.len];
        let mut cost = 0u64;
        let mut scratch = fuse::Scratch::new(g.len);
        let mut steps: Vec<Step<T>> = Vec::with_capacity(self.drafts.len());
        for (s, d) in self.drafts.iter().enumerate() {
            let kind = match &d.group {
                Some(group) => {
                    let fused = self.compile_group(s, group, stored, &mut scratch);
                    for &i in &fused.inputs {
                        last_use[i as usize] = s as i32;
                    }
                    for &i in fused.outs.iter().chain(&fused.reduced) {
                        last_use[i as usize] = last_use[i as usize].max(s as i32);
                    }
                    cost += (group.numel * (1 + group.members.len() + group.reduces.len())) as u64;
                    StepKind::Fused(Box::new(fused))
                }
                None => {
                    let n = &g.nodes[d.op as usize];
                    for a in n.reads() {
                        last_use[a as usize] = s as i32;
                    }
                    last_use[d.op as usize] = s as i32;
                    if let NodeOp::Op(op) = &n.op {
                        let shapes: SmallVec<[&[usize]; 4]> = n
                            .args
                            .iter()
                            .map(|&a| g.nodes[a as usize].shape.as_slice())
                            .listed();
                        cost += op.flops(&shapes, &n.shape);
                    }
                    StepKind::Op(d.op)
                }
            };
            for &v in &d.views {
                last_use[v as usize] = s as i32;
                for a in g.nodes[v as usize].reads() {
                    last_use[a as usize] = last_use[a as usize].max(s as i32);
                }
            }
            steps.push(Step {
                kind,
                views: d.views.clone(),
                gradients: SmallVec::new(),
                watch: 0,
                release: Vec::new(),
            });
        }
        if self.fuse {
            self.attach_tails(&mut steps, targets, wanted, &mut last_use);
        }
        let shown: Shown = (wanted.iter())
            .map(|&(at, of, what)| (self.step_of[at as usize], at, of, what))
            .filter(|s| s.0 >= AVAILABLE)
            .collect();
        let sequence = order(shown.len(), &|a, b| shown[a].0.cmp(&shown[b].0));
        let shown: Shown = sequence.into_iter().map(|i| shown[i]).collect();
        if release {
            let mut hold = vec![false; g.len];
            for &t in targets {
                hold[t as usize] = true;
            }
            for i in 0..g.len {
                let computed =
                    self.step_of[i] >= 0 || (self.step_of[i] == AVAILABLE && !g.values.has(i));
                let mine = computed || (spend && g.values.has(i));
                if mine && last_use[i] >= 0 && !hold[i] && !g.nodes[i].op.is_leaf() {
                    steps[last_use[i] as usize].release.push(i as u32);
                }
            }
        }
        let plan = Plan {
            bytes: self.traffic(&steps),
            live: self.live(&steps),
            prologue: self.prologue,
            steps,
            cost,
            gradients_before: Vec::new(),
            notes: false,
        };
        (plan, shown)
    }

    /// Bytes of a node's value.
    fn size(&self, i: u32) -> u64 {
        let n: usize = self.g.nodes[i as usize].shape.iter().product();
        (n * size_of::<T>()) as u64
    }

    /// What the kernels of the program read and write: every operand and result of a step once.
    fn traffic(&self, steps: &[Step<T>]) -> u64 {
        let all = |list: &[u32]| list.iter().map(|&i| self.size(i)).sum::<u64>();
        let read = |i: u32| -> u64 {
            let list = self.g.nodes[i as usize].reads();
            list.map(|i| self.size(i)).sum()
        };
        let of = |s: &Step<T>| match &s.kind {
            StepKind::Fused(f) => all(&f.inputs) + all(&f.outs) + all(&f.reduced),
            StepKind::Op(i) => read(*i) + self.size(*i),
            StepKind::Tailed(t) => {
                let bias = t.bias.map_or(0, |b| self.size(b));
                read(t.op) + bias + self.size(t.out)
            }
            StepKind::Done => 0,
        };
        steps.iter().map(of).sum()
    }

    /// The largest sum of the sizes of values alive at once. A view keeps what it looks at alive.
    fn live(&self, steps: &[Step<T>]) -> u64 {
        let g = self.g;
        let is_view = |i: u32| matches!(&g.nodes[i as usize].op, NodeOp::Op(o) if o.is_view());
        let root = |mut i: u32| {
            while is_view(i) {
                i = g.nodes[i as usize].args[0];
            }
            i
        };
        let mut holders = vec![0u32; g.len];
        for &v in &self.prologue {
            holders[root(v) as usize] += 1;
        }
        let (mut live, mut most) = (0i64, 0i64);
        for s in steps {
            let made = match &s.kind {
                StepKind::Fused(f) => [&f.outs[..], &f.reduced[..]].concat(),
                StepKind::Op(i) => vec![*i],
                StepKind::Tailed(t) => vec![t.out],
                StepKind::Done => Vec::new(),
            };
            for i in made {
                holders[i as usize] += 1;
                live += self.size(i) as i64;
            }
            most = most.max(live);
            for &v in &s.views {
                holders[root(v) as usize] += 1;
            }
            for &i in &s.release {
                let r = root(i);
                let h = &mut holders[r as usize];
                *h = h.saturating_sub(1);
                if *h == 0 && !g.nodes[r as usize].op.is_leaf() {
                    live -= self.size(r) as i64;
                }
            }
        }
        most as u64
    }
}
