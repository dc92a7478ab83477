//! Sabotage of derivative rules, for the test that measures how many wrong rules the suite notices. Only compiled with the
//! feature `mutation`, which nothing but that test turns on.

use crate::float::Float;
use crate::op::Cotangents;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What is done to the cotangent that a rule returns for one operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Its sign is flipped.
    Sign,
    /// It is multiplied by 1.001.
    Scale,
    /// It is left out.
    Drop,
    /// Its elements come in the opposite order.
    Reverse,
}

/// A rule and one of its operands.
pub type Site = (&'static str, usize);

#[derive(Default)]
struct State {
    target: Option<(Site, Mutation)>,
    seen: BTreeSet<Site>,
}

thread_local!(static STATE: RefCell<State> = RefCell::new(State::default()));

/// Runs `f` on this thread with one rule sabotaged, or none; returns the operands that rules returned cotangents for.
pub fn with<R>(target: Option<(Site, Mutation)>, f: impl FnOnce() -> R) -> (R, BTreeSet<Site>) {
    STATE.set(State {
        target,
        seen: BTreeSet::new(),
    });
    let r = f();
    (r, STATE.take().seen)
}

/// Called with what a rule returned.
pub(crate) fn disturb<T: Float>(op: &'static str, cotangents: &mut Cotangents<'_, T>) {
    let target = STATE.with_borrow_mut(|s| {
        for (k, ct) in cotangents.iter().enumerate() {
            if ct.is_some() {
                s.seen.insert((op, k));
            }
        }
        s.target.filter(|t| t.0.0 == op)
    });
    let Some(((_, k), what)) = target else { return };
    let Some(Some(ct)) = cotangents.get(k).copied() else {
        return;
    };
    cotangents[k] = match what {
        Mutation::Sign => Some(-ct),
        Mutation::Scale => Some(ct * 1.001),
        Mutation::Drop => None,
        Mutation::Reverse => Some(ct.flatten(0, -1).flip([0]).reshape(ct.shape())),
    };
}
