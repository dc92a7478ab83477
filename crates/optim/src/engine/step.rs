//! A step: a look at the gradients, the policy for what is not finite, clipping, the update.

use super::Engine;
use crate::error::{Error, NonFinite, Result};
use crate::hub::Hub;
use crate::optimizer::{NonFinitePolicy, StepReport};
use crate::reduce;
use crate::transform::ClipRecord;
use wengert_autograd::{Buffer, BufferId, Gradients, Module, Param, ParamId, Path, Visitor};
use wengert_tensor::{Real, Tensor};

impl<T: Hub> Engine<T> {
    /// One update of every trainable parameter that has a gradient.
    pub(crate) fn step(
        &mut self,
        model: &mut dyn Module<T>,
        grads: &Gradients<T>,
    ) -> Result<StepReport> {
        let mut report = StepReport {
            step: self.step,
            lr: self.lr(),
            applied: true,
            non_finite: None,
            grad_norm: None,
            clip: None,
        };
        // The norm tells in the same pass whether everything is finite. It can overflow where no element does.
        let norm = (self.clip.is_some() || self.norm).then(|| reduce::norm(grads.entries()));
        report.grad_norm = norm;
        if norm.is_some_and(f64::is_finite) {
            grads.note_finite();
        }
        let suspect = self.policy != NonFinitePolicy::Ignore
            && (norm.map_or_else(|| !reduce::all_finite(grads), |n| !n.is_finite())
                || grads.side_outputs().any(|(_, v)| !is_finite(v)));
        if suspect && let Some(found) = locate(model, grads) {
            match self.policy {
                NonFinitePolicy::Error => return Err(Error::NonFinite(found)),
                NonFinitePolicy::Skip => {
                    self.skipped += 1;
                    report.applied = false;
                    report.non_finite = Some(Box::new(found));
                    return Ok(report);
                }
                NonFinitePolicy::Zero | NonFinitePolicy::Ignore => {
                    report.non_finite = Some(Box::new(found));
                    let clean = zeroed(grads);
                    let norm = norm.map(|_| reduce::norm(clean.entries()));
                    report.grad_norm = norm;
                    self.update_clipped(model, &clean, norm, &mut report)?;
                    return Ok(report);
                }
            }
        }
        self.update_clipped(model, grads, norm, &mut report)?;
        Ok(report)
    }

    /// The update with gradients scaled so that their norm is within the bound; the factor is applied on the way.
    fn update_clipped(
        &mut self,
        model: &mut dyn Module<T>,
        grads: &Gradients<T>,
        norm: Option<f64>,
        report: &mut StepReport,
    ) -> Result<()> {
        self.grad_scale = 1.0;
        if let (Some(max), Some(norm)) = (self.clip, norm) {
            let record = ClipRecord::to_norm(norm, max, grads.len());
            if record.clipped {
                self.grad_scale = max / (norm + 1e-6);
            }
            report.clip = Some(record);
        }
        self.update(model, grads)
    }
}

fn is_finite<T: Real>(t: &Tensor<T>) -> bool {
    t.iter().all(|x| x.is_finite())
}

/// Puts zeros for what is not finite.
pub(crate) fn zero_non_finite<T: Real>(g: &mut Tensor<T>) {
    if !is_finite(g) {
        for x in g.as_mut_slice() {
            if !x.is_finite() {
                *x = T::ZERO;
            }
        }
    }
}

/// The gradients with zeros for what is not finite; side outputs that are not finite are left out.
fn zeroed<T: Real>(grads: &Gradients<T>) -> Gradients<T> {
    let clean = |(id, g): (ParamId, &Tensor<T>)| {
        let mut g = g.clone();
        zero_non_finite(&mut g);
        (id, g)
    };
    Gradients::from_parts(
        grads.loss(),
        grads.iter().map(clean).collect(),
        grads
            .side_outputs()
            .filter(|(_, v)| is_finite(v))
            .map(|(id, v)| (id, v.clone()))
            .collect(),
    )
}

struct Find<'a, T: Real> {
    bad: Vec<(ParamId, &'a Tensor<T>)>,
    sides: Vec<(BufferId, &'a Tensor<T>)>,
    found: Option<NonFinite>,
}

impl<T: Real> Find<'_, T> {
    fn note(&mut self, path: &str, t: &Tensor<T>) {
        if self.found.is_none() {
            self.found = Some(NonFinite {
                path: path.to_string(),
                tensors: self.bad.len() + self.sides.len(),
                nans: t.iter().filter(|x| x.is_nan()).count(),
                infinities: t.iter().filter(|x| x.is_infinite()).count(),
            });
        }
    }
}

impl<T: Real> Visitor<T> for Find<'_, T> {
    fn param(&mut self, path: &str, param: &Param<T>) {
        if let Some(&(_, t)) = self.bad.iter().find(|b| b.0 == param.id()) {
            self.note(path, t);
        }
    }
    fn buffer(&mut self, path: &str, buffer: &Buffer<T>) {
        if let Some(&(_, t)) = self.sides.iter().find(|b| b.0 == buffer.id()) {
            self.note(path, t);
        }
    }
}

/// Finds the first parameter in visiting order whose gradient is not finite, or `None` if all are.
pub(crate) fn locate<T: Real>(model: &dyn Module<T>, grads: &Gradients<T>) -> Option<NonFinite> {
    let mut find = Find {
        bad: grads.iter().filter(|(_, g)| !is_finite(g)).collect(),
        sides: grads
            .side_outputs()
            .filter(|(_, v)| !is_finite(v))
            .collect(),
        found: None,
    };
    let first = match (find.bad.first(), find.sides.first()) {
        (Some(b), _) => b.1,
        (None, Some(s)) => s.1,
        (None, None) => return None,
    };
    model.visit(&mut Path::new(), &mut find);
    // Gradients of parameters that the model does not show still say what is wrong.
    find.note("(not in the model)", first);
    find.found
}
