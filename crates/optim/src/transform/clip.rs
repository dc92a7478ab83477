//! Clipping as methods of gradients.

use crate::error::{Result, or_panic};
use crate::hub;
use crate::rule::Range;
use wengert_autograd::Gradients;
use wengert_tensor::Real;

/// What a clipping did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipRecord {
    /// Global norm before.
    pub before: f64,
    /// Global norm after.
    pub after: f64,
    /// Whether anything was changed.
    pub clipped: bool,
    /// How many were changed: elements for clipping by value, tensors elsewhere.
    pub count: usize,
}

/// Clipping and scaling as methods of [`Gradients`].
///
/// Gradients that are not finite pass unchanged: the optimizer's policy for them decides. Every method that changes gradients
/// notes on the way which of them are finite ([`Gradients::known_finite`]), so that the step does not look again.
///
/// ```
/// use wengert_autograd::{Gradients, Param};
/// use wengert_optim::ClipExt;
/// use wengert_tensor::Tensor;
/// let p = Param::new(Tensor::<f32>::zeros([2]));
/// let mut grads = Gradients::from_parts(0.0, vec![(p.id(), Tensor::from_vec(vec![3.0, 4.0], [2]))], vec![]);
/// let record = grads.clip_norm(1.0);
/// assert!(record.clipped && record.before == 5.0 && (record.after - 1.0).abs() < 1e-6);
/// ```
pub trait ClipExt {
    /// Norm over all gradients, as if they were one vector.
    fn global_norm(&self) -> f64;

    /// Scales all gradients so that their global norm is at most `max` (Pascanu et al. 2013; PyTorch's
    /// `clip_grad_norm_`): the factor is `max / (norm + 1e-6)` where that is below 1.
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    fn clip_norm(&mut self, max: f64) -> ClipRecord;

    /// As [`ClipExt::clip_norm`].
    ///
    /// # Errors
    /// When `max` is negative or not finite.
    fn try_clip_norm(&mut self, max: f64) -> Result<ClipRecord>;

    /// Brings every element into `-limit..=limit` (PyTorch's `clip_grad_value_`).
    ///
    /// # Panics
    /// When `limit` is negative or not finite.
    fn clip_value(&mut self, limit: f64) -> ClipRecord;

    /// As [`ClipExt::clip_value`].
    ///
    /// # Errors
    /// When `limit` is negative or not finite.
    fn try_clip_value(&mut self, limit: f64) -> Result<ClipRecord>;

    /// Scales each gradient by itself so that its norm is at most `max`.
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    fn clip_each(&mut self, max: f64) -> ClipRecord;

    /// As [`ClipExt::clip_each`].
    ///
    /// # Errors
    /// When `max` is negative or not finite.
    fn try_clip_each(&mut self, max: f64) -> Result<ClipRecord>;

    /// Multiplies all gradients.
    fn scale(&mut self, factor: f64);
}

impl ClipRecord {
    /// What scaling gradients of `count` tensors to the norm `max` does.
    pub(crate) fn to_norm(before: f64, max: f64, count: usize) -> ClipRecord {
        Self::by(before, max / (before + 1e-6), count)
    }

    /// What scaling by `factor` does, where that is below 1 and the norm is finite.
    pub(super) fn by(before: f64, factor: f64, count: usize) -> ClipRecord {
        let clipped = before.is_finite() && factor < 1.0;
        ClipRecord {
            before,
            after: if clipped { before * factor } else { before },
            clipped,
            count: if clipped { count } else { 0 },
        }
    }
}

impl<T: Real> ClipExt for Gradients<T> {
    fn global_norm(&self) -> f64 {
        (hub::norm::<T>())(self.entries())
    }

    #[track_caller]
    fn clip_norm(&mut self, max: f64) -> ClipRecord {
        or_panic(self.try_clip_norm(max))
    }

    fn try_clip_norm(&mut self, max: f64) -> Result<ClipRecord> {
        Range::NON_NEGATIVE.check("clip_norm", "max", max)?;
        let before = noted_norm(self);
        Ok(clip_to(self, before, max / (before + 1e-6)))
    }

    #[track_caller]
    fn clip_value(&mut self, limit: f64) -> ClipRecord {
        or_panic(self.try_clip_value(limit))
    }

    fn try_clip_value(&mut self, limit: f64) -> Result<ClipRecord> {
        Range::NON_NEGATIVE.check("clip_value", "limit", limit)?;
        let before = noted_norm(self);
        let clamp = hub::clamp::<T>();
        let count = self.iter_shrinking().map(|(_, g)| clamp(g, limit)).sum();
        Ok(ClipRecord {
            before,
            after: if count > 0 { noted_norm(self) } else { before },
            clipped: count > 0,
            count,
        })
    }

    #[track_caller]
    fn clip_each(&mut self, max: f64) -> ClipRecord {
        or_panic(self.try_clip_each(max))
    }

    fn try_clip_each(&mut self, max: f64) -> Result<ClipRecord> {
        Range::NON_NEGATIVE.check("clip_each", "max", max)?;
        let before = self.global_norm();
        let mut count = 0;
        self.change(|_, g, known| {
            let norm = (hub::norm_of::<T>())(g);
            let factor = max / (norm + 1e-6);
            if norm.is_finite() && factor < 1.0 {
                (hub::scale::<T>())(g, factor, false);
                count += 1;
            }
            known || norm.is_finite()
        });
        Ok(ClipRecord {
            before,
            after: if count > 0 {
                self.global_norm()
            } else {
                before
            },
            clipped: count > 0,
            count,
        })
    }

    fn scale(&mut self, factor: f64) {
        let scale = hub::scale::<T>();
        self.change(|_, g, known| {
            // What shrinks stays finite.
            let stays = known && factor.abs() <= 1.0;
            scale(g, factor, !stays) || stays
        });
    }
}

/// The norm over all gradients; a finite one proves that they are finite, and that is noted.
pub(super) fn noted_norm<T: Real>(grads: &mut Gradients<T>) -> f64 {
    let norm = grads.global_norm();
    if norm.is_finite() {
        grads.change(|_, _, _| true);
    }
    norm
}

/// Scales everything by `factor` where that is below 1 and the norm is finite.
pub(super) fn clip_to<T: Real>(grads: &mut Gradients<T>, before: f64, factor: f64) -> ClipRecord {
    let record = ClipRecord::by(before, factor, grads.len());
    if record.clipped {
        grads.scale(factor);
    }
    record
}
