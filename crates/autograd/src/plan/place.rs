//! Which nodes are needed, and which run together.

use super::fuse::Body;
use super::nodes::{Kind, Nodes};
use super::{
    AVAILABLE, Draft, Group, LAZY, LOOK_BACK, MOST_MEMBERS, Outline, Planner, Shown, UNPLACED,
};
use crate::observe::Seen;
use wengert_tensor::Dims;
use wengert_tensor::fused::{BLOCK, few_rows};

impl<'a> Planner<'a> {
    pub fn new(g: &'a dyn Nodes, fuse: bool) -> Self {
        Planner {
            g,
            step_of: vec![UNPLACED; g.len()],
            member: vec![false; g.len()],
            drafts: Vec::new(),
            prologue: Vec::new(),
            fuse,
        }
    }

    pub fn plan(
        mut self,
        targets: &[u32],
        wanted: &[(u32, u32, Seen)],
        release: bool,
        spend: bool,
    ) -> (Outline, Vec<Body>, Shown) {
        let g = self.g;
        let mut needed = vec![false; g.len()];
        let mut stored = vec![false; g.len()];
        for &t in targets {
            needed[t as usize] = true;
            stored[t as usize] = true;
        }
        // An adjoint that only the observer asks for, such as that of a recurrent state.
        for (at, _, what) in wanted {
            needed[*at as usize] |= *what == Seen::Adjoint;
        }
        // It also sees what the program speaks of but need not compute, because a shorter way leads around it.
        let mut seen = vec![false; if wanted.is_empty() { 0 } else { g.len() }];
        for (at, _, what) in wanted {
            seen[*at as usize] |= *what == Seen::Value;
        }
        let mut named = if seen.is_empty() {
            Vec::new()
        } else {
            needed.clone()
        };
        for i in (0..g.len()).rev() {
            if named.get(i) == Some(&true) {
                needed[i] |= seen[i];
                let args = g.args(i).iter();
                args.for_each(|&a| named[a as usize] = true);
            }
            if needed[i] && !g.is_available(i) {
                for a in g.reads(i) {
                    needed[a as usize] = true;
                    // One reader that cannot draw the numbers in passing is enough: they are made before anybody reads them.
                    stored[a as usize] |=
                        matches!(g.kind(a as usize), Kind::Random(_)) && !self.draws(i, a as usize);
                }
            }
        }
        for i in 0..g.len() {
            if !needed[i] {
                continue;
            }
            if g.is_available(i) {
                self.step_of[i] = AVAILABLE;
                continue;
            }
            assert!(
                !g.is_leaf(i),
                "a leaf of the tape has no value: the tape is spent"
            );
            self.place(i);
            // A random node that somebody wants as a tensor gets a step of its own, before anybody reads it.
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

    /// Whether node `i` draws the random numbers `a` itself, wherever it runs.
    fn draws(&self, i: usize, a: usize) -> bool {
        let g = self.g;
        self.fuse && matches!(g.kind(i), Kind::Elem(_)) && g.shape(i) == g.shape(a)
    }

    fn place(&mut self, i: usize) {
        let g = self.g;
        let kind = g.kind(i);
        match kind {
            Kind::Random(_) => self.step_of[i] = LAZY,
            Kind::Elem(_) => self.place_elementwise(i),
            Kind::Reduce(..) => self.place_reduce(i),
            Kind::View | Kind::Op => {
                if kind == Kind::View {
                    let s = self.step_of[g.args(i)[0] as usize];
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
            Kind::Leaf => unreachable!("leaves are available"),
        }
    }

    /// Gives a random node that is read as a tensor a step of its own.
    fn materialize(&mut self, i: usize) {
        if self.step_of[i] != LAZY {
            return;
        }
        let shape = self.g.shape(i).clone();
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
        let (args, shape) = (g.args(i), g.shape(i));
        let mut earliest = 0;
        let mut home = None;
        for &a in args {
            let s = self.step_of[a as usize];
            if s < 0 {
                continue;
            }
            let same = self.member[a as usize]
                && self.fuse
                && (self.drafts[s as usize].group.as_ref())
                    .is_some_and(|gr| gr.domain == *shape && gr.members.len() < MOST_MEMBERS);
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
                self.push_group(shape.clone(), Vec::new());
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
        for &a in args {
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
        let (args, shape) = (self.g.args(i), self.g.shape(i));
        let last = self.drafts.len();
        let first = (earliest.max(0) as usize).max(last.saturating_sub(LOOK_BACK));
        (first..last).rev().find_map(|s| {
            let group = self.drafts[s].group.as_ref()?;
            let fits = group.members.len() < MOST_MEMBERS
                && group.domain == *shape
                && (group.numel <= BLOCK || args.iter().any(|a| group.external.contains(a)));
            fits.then_some(s as i32)
        })
    }

    fn place_reduce(&mut self, i: usize) {
        let g = self.g;
        let a = g.args(i)[0] as usize;
        let domain = g.shape(a);
        let s = self.step_of[a];
        let few = |r: usize| match g.kind(r) {
            Kind::Reduce(_, set) => few_rows(domain, set),
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
                        for &a in g.args(i as usize) {
                            if !inside(a) && self.step_of[a as usize] != LAZY {
                                stored[a as usize] = true;
                            }
                        }
                    }
                }
                None => {
                    let read = g.reads(d.op as usize);
                    read.for_each(|a| stored[a as usize] = true);
                }
            }
            for &v in &d.views {
                let read = g.reads(v as usize);
                read.for_each(|a| stored[a as usize] = true);
            }
        }
    }
}
