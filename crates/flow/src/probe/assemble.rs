//! The profile of one step, from what was seen of it.

use super::names::Numbers;
use super::recorder::{Measured, Weight};
use super::structure::Structure;
use super::values::dead_share;
use super::{EFFECTIVE_RANK, IDENTICAL_UNITS};
use crate::profile::{LayerProfile, StepProfile, TimeProfile};
use std::sync::Arc;

/// The layers of one step, still without names, from what was seen of them and their weights, which is taken.
pub(super) fn step(
    structure: &Structure,
    (measured, weights): (&mut [Vec<Measured>], &mut [Weight]),
    alive: &mut Vec<(String, Vec<bool>)>,
) -> Numbers {
    let Structure { layers, states, .. } = structure;
    let mut step = StepProfile::new(0);
    step.layers.reserve_exact(layers.found.len());
    let mut dead_so_far = vec![None; layers.found.len()];
    for (at, (l, uses)) in layers.found.iter().zip(measured).enumerate() {
        let before = step.layers.last();
        let before = before.map(|b| (b.activation_rms(), b.activation_grad_rms()));
        // Filled where it stays: it is a kilobyte.
        step.layers.push(LayerProfile::default());
        let p = &mut step.layers[at];
        if let Some(slot) = structure.recording.slot(l.weight) {
            let w = &mut weights[slot];
            p.weights = w.values.take();
            p.weight_grad = w.gradient.take();
            if let Some(share) = w.twins.filter(|s| *s > 0.0) {
                p.extra.push((IDENTICAL_UNITS.into(), share));
            }
        }
        if l.recurs && !states.covers(&l.path) {
            step.time.push(TimeProfile {
                path: l.path.clone(),
                grad_rms: uses
                    .iter()
                    .map(|u| u.gradient.as_ref().map_or(f64::NAN, |g| g.rms))
                    .collect(),
            });
        }
        // A recurrent layer is shown by its last time step.
        if let Some(m) = uses.last_mut() {
            p.activation = m.activation.take();
            p.activation_grad = m.gradient.take();
            p.saturation = m.saturation;
            p.dead = dead_share(&m.alive);
            if let Some(r) = m.rank {
                p.extra.push((EFFECTIVE_RANK.into(), r));
            }
            if !m.alive.is_empty() {
                let so_far = so_far(alive, at, &l.path);
                so_far.resize(m.alive.len(), false);
                for (a, b) in so_far.iter_mut().zip(&m.alive) {
                    *a |= b;
                }
                dead_so_far[at] = dead_share(so_far);
            }
        }
        if let Some((forward, backward)) = before {
            let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?).filter(|r| r.is_finite());
            p.forward_gain = ratio(p.activation_rms(), forward);
            p.backward_gain = ratio(backward, p.activation_grad_rms());
        }
    }
    step.time.extend(states.profiles());
    Numbers {
        step,
        names: Arc::clone(&structure.names),
        dead_so_far,
    }
}

/// The units of a layer that have ever been alive; probably remembered at place `near`.
fn so_far<'a>(
    alive: &'a mut Vec<(String, Vec<bool>)>,
    near: usize,
    path: &str,
) -> &'a mut Vec<bool> {
    let at = match alive.get(near) {
        Some(a) if a.0 == path => near,
        _ => alive.iter().position(|a| a.0 == path).unwrap_or_else(|| {
            alive.push((path.to_string(), Vec::new()));
            alive.len() - 1
        }),
    };
    &mut alive[at].1
}
