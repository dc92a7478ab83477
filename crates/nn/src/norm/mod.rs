//! Normalization: of activations over batch, features or groups, and of weights.

mod batch;
mod feature;
mod group;
mod local;
mod weight;

pub use batch::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d};
pub use feature::{LayerNorm, RmsNorm};
pub use group::{GroupNorm, InstanceNorm};
pub use local::LocalResponseNorm;
pub use weight::{SpectralNorm, WeightNorm, WeightStandardization, Weighted};

use crate::layers::refuse;
use wengert_autograd::Result;

/// Checks a term that keeps a root away from 0.
pub(crate) fn epsilon(op: &'static str, eps: f64) -> Result<()> {
    if !(eps >= 0.0 && eps.is_finite()) {
        return refuse(op, format!("expected a finite eps >= 0, found {eps}"));
    }
    Ok(())
}
