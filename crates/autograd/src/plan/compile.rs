//! From placed nodes to steps: what each one reads and makes, and where values die.

use super::fuse::Body;
use super::{AVAILABLE, Outline, Planner, Shown, Step, StepKind, fuse};
use crate::observe::Seen;
use smallvec::SmallVec;
use wengert_tensor::order::order;

impl Planner<'_> {
    pub(super) fn compile(
        self,
        stored: &[bool],
        targets: &[u32],
        wanted: &[(u32, u32, Seen)],
        release: bool,
        spend: bool,
    ) -> (Outline, Vec<Body>, Shown) {
        let g = self.g;
        let mut last_use = vec![AVAILABLE; g.len()];
        let mut cost = 0u64;
        let mut scratch = fuse::Scratch::new(g.len());
        let mut bodies = Vec::new();
        let mut steps: Vec<Step> = Vec::with_capacity(self.drafts.len());
        for (s, d) in self.drafts.iter().enumerate() {
            let kind = match &d.group {
                Some(group) => {
                    let (fused, body) =
                        self.compile_group(s, group, stored, bodies.len(), &mut scratch);
                    bodies.push(body);
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
                    for a in g.reads(d.op as usize) {
                        last_use[a as usize] = s as i32;
                    }
                    last_use[d.op as usize] = s as i32;
                    cost += g.flops(d.op as usize);
                    StepKind::Op(d.op)
                }
            };
            for &v in &d.views {
                last_use[v as usize] = s as i32;
                for a in g.reads(v as usize) {
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
        // Of steps that became tails nothing is left to run.
        let mut kept = Vec::with_capacity(bodies.len());
        for step in &mut steps {
            if let StepKind::Fused(f) = &mut step.kind {
                kept.push(std::mem::take(&mut bodies[f.program]));
                f.program = kept.len() - 1;
            }
        }
        let shown: Shown = (wanted.iter())
            .map(|&(at, of, what)| (self.step_of[at as usize], at, of, what))
            .filter(|s| s.0 >= AVAILABLE)
            .collect();
        let sequence = order(shown.len(), &|a, b| shown[a].0.cmp(&shown[b].0));
        let shown: Shown = sequence.into_iter().map(|i| shown[i]).collect();
        if release {
            let mut hold = vec![false; g.len()];
            for &t in targets {
                hold[t as usize] = true;
            }
            for i in 0..g.len() {
                let computed =
                    self.step_of[i] >= 0 || (self.step_of[i] == AVAILABLE && !g.has_value(i));
                let mine = computed || (spend && g.has_value(i));
                if mine && last_use[i] >= 0 && !hold[i] && !g.is_leaf(i) {
                    steps[last_use[i] as usize].release.push(i as u32);
                }
            }
        }
        let outline = Outline {
            bytes: self.traffic(&steps),
            live: self.live(&steps),
            prologue: self.prologue,
            steps,
            cost,
            gradients_before: Vec::new(),
            notes: false,
        };
        (outline, kept, shown)
    }

    /// What the kernels of the program read and write: every operand and result of a step once.
    fn traffic(&self, steps: &[Step]) -> u64 {
        let all = |list: &[u32]| list.iter().map(|&i| self.g.size(i)).sum::<u64>();
        let g = self.g;
        let read = |i: u32| -> u64 { g.reads(i as usize).map(|i| g.size(i)).sum() };
        let of = |s: &Step| match &s.kind {
            StepKind::Fused(f) => all(&f.inputs) + all(&f.outs) + all(&f.reduced),
            StepKind::Op(i) => read(*i) + self.g.size(*i),
            StepKind::Tailed(t) => {
                let bias = t.bias.map_or(0, |b| self.g.size(b));
                read(t.op) + bias + self.g.size(t.out)
            }
            StepKind::Done => 0,
        };
        steps.iter().map(of).sum()
    }

    /// The largest sum of the sizes of values alive at once. A view keeps what it looks at alive.
    fn live(&self, steps: &[Step]) -> u64 {
        let g = self.g;
        let mut holders = vec![0u32; g.len()];
        for &v in &self.prologue {
            holders[g.root(v) as usize] += 1;
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
                live += self.g.size(i) as i64;
            }
            most = most.max(live);
            for &v in &s.views {
                holders[g.root(v) as usize] += 1;
            }
            for &i in &s.release {
                let r = g.root(i);
                let h = &mut holders[r as usize];
                *h = h.saturating_sub(1);
                if *h == 0 && !g.is_leaf(r as usize) {
                    live -= self.g.size(r) as i64;
                }
            }
        }
        most as u64
    }
}
