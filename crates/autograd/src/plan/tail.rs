//! Additions of a bias and relus that an operation can apply itself, before it stores its result.

use super::{Planner, Step, StepKind, Tailed};
use crate::observe::Seen;
use crate::ops::elementwise::Elem;

impl Planner<'_> {
    /// Hands fused steps that only add a bias to the result of an operation, or apply a relu, to that operation.
    ///
    /// The value between must have no other reader.
    pub(super) fn attach_tails(
        &self,
        steps: &mut [Step],
        targets: &[u32],
        wanted: &[(u32, u32, Seen)],
        last_use: &mut [i32],
    ) {
        let g = self.g;
        let mut readers = vec![0u32; g.len()];
        let mut read = |i: u32| readers[i as usize] += 1;
        targets.iter().for_each(|&i| read(i));
        for s in steps.iter() {
            match &s.kind {
                StepKind::Fused(f) => f.inputs.iter().for_each(|&i| read(i)),
                StepKind::Op(i) => g.reads(*i as usize).for_each(&mut read),
                StepKind::Tailed(_) | StepKind::Done => {}
            }
            s.views
                .iter()
                .for_each(|&v| g.reads(v as usize).for_each(&mut read));
        }
        wanted.iter().for_each(|w| read(w.0));
        for s in 0..steps.len() {
            let Some((at, tailed)) = self.tail(s, steps, &readers) else {
                continue;
            };
            steps[at].kind = StepKind::Tailed(tailed);
            steps[s].kind = StepKind::Done;
            // The value between is never made.
            last_use[tailed.op as usize] = super::AVAILABLE;
        }
    }

    /// What step `s` becomes part of, if it is a tail.
    fn tail(&self, s: usize, steps: &[Step], readers: &[u32]) -> Option<(usize, Tailed)> {
        let g = self.g;
        let StepKind::Fused(fused) = &steps[s].kind else {
            return None;
        };
        let group = self.drafts[s].group.as_ref()?;
        let (&first, &out) = (group.members.first()?, group.members.last()?);
        if group.members.len() > 2 || !group.reduces.is_empty() || fused.outs != [out] {
            return None;
        }
        let is = |i: u32, e: Elem| g.is_elem(i as usize, e);
        let two = group.members.len() == 2;
        if two && !(is(out, Elem::Relu) && g.args(out as usize)[0] == first) {
            return None;
        }
        let args = g.args(first as usize);
        let (op, bias) = if is(first, Elem::Add) && args[0] != args[1] {
            let (a, b) = (args[0], args[1]);
            if self.axis_of(a, steps).is_some() {
                (a, Some(b))
            } else {
                (b, Some(a))
            }
        } else if is(first, Elem::Relu) && !two {
            (args[0], None)
        } else {
            return None;
        };
        let axis = self.axis_of(op, steps)?;
        let at = self.step_of[op as usize] as usize;
        let shape = g.shape(op as usize);
        if readers[op as usize] != 1 || *shape != *g.shape(out as usize) {
            return None;
        }
        if let Some(b) = bias {
            let made = self.step_of[b as usize];
            let early = made != super::LAZY && made < at as i32;
            if !early || !along(g.shape(b as usize), shape, axis) {
                return None;
            }
        }
        let relu = is(out, Elem::Relu);
        let tailed = Tailed {
            op,
            bias,
            relu,
            out,
        };
        Some((at, tailed))
    }

    /// The axis of a bias, if node `i` is made by the kernel of a step that can take a tail.
    fn axis_of(&self, i: u32, steps: &[Step]) -> Option<usize> {
        let g = self.g;
        let s = usize::try_from(self.step_of[i as usize]).ok()?;
        let made = matches!(&steps[s].kind, StepKind::Op(made) if *made == i);
        made.then(|| g.bias_axis(i as usize)).flatten()
    }
}

/// Whether a tensor of shape `bias` has one element for each index of `axis` of `shape`, and broadcasts along the others.
fn along(bias: &[usize], shape: &[usize], axis: usize) -> bool {
    let Some(lead) = shape.len().checked_sub(bias.len()) else {
        return false;
    };
    axis >= lead
        && (bias.iter().enumerate()).all(|(i, &n)| {
            if i + lead == axis {
                n == shape[axis]
            } else {
                n == 1
            }
        })
}
