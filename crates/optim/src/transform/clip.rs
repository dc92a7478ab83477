//! Clipping.

use crate::error::{Result, or_panic};
use crate::hub::ops;
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
}

/// Clipping as methods of [`Gradients`].
pub trait ClipExt {
    /// Norm over all gradients, as if they were one vector.
    fn global_norm(&self) -> f64;

    /// Scales all gradients so that their global norm is at most `max` (Pascanu et al. 2013; PyTorch's
    /// `clip_grad_norm_`): the factor is `max / (norm + 1e-6)` where that is below 1.
    ///
    /// A norm that is not finite changes nothing: the optimizer's policy for such gradients decides.
    ///
    /// # Panics
    /// When `max` is negative or not finite.
    fn clip_norm(&mut self, max: f64) -> ClipRecord;

    /// As [`ClipExt::clip_norm`].
    ///
    /// # Errors
    /// When `max` is negative or not finite.
    fn try_clip_norm(&mut self, max: f64) -> Result<ClipRecord>;

    /// Multiplies all gradients.
    fn scale(&mut self, factor: f64);
}

impl<T: Real> ClipExt for Gradients<T> {
    fn global_norm(&self) -> f64 {
        let squares = (ops::<T>().sum_squares)(self.entries());
        if squares.is_finite() && squares > f64::MIN_POSITIVE {
            return squares.sqrt();
        }
        // Squares can overflow or vanish where the norm does not (only in f64): once more, scaled by the largest.
        let largest = self
            .iter()
            .flat_map(|(_, g)| g.iter())
            .fold(0.0f64, |m, x| {
                let x = x.as_f64().abs();
                if x > m || x.is_nan() { x } else { m }
            });
        if largest == 0.0 || !largest.is_finite() {
            return largest;
        }
        let scaled: f64 = self
            .iter()
            .flat_map(|(_, g)| g.iter())
            .map(|x| (x.as_f64() / largest).powi(2))
            .sum();
        largest * scaled.sqrt()
    }

    #[track_caller]
    fn clip_norm(&mut self, max: f64) -> ClipRecord {
        or_panic(self.try_clip_norm(max))
    }

    fn try_clip_norm(&mut self, max: f64) -> Result<ClipRecord> {
        Range::NON_NEGATIVE.check("clip_norm", "max", max)?;
        let before = self.global_norm();
        let factor = max / (before + 1e-6);
        let clipped = before.is_finite() && factor < 1.0;
        if clipped {
            self.scale(factor);
        }
        let after = if clipped { before * factor } else { before };
        Ok(ClipRecord {
            before,
            after,
            clipped,
        })
    }

    fn scale(&mut self, factor: f64) {
        let scale = ops::<T>().scale;
        for (_, g) in self.iter_mut() {
            scale(g, factor);
        }
    }
}
