//! The transforms that do not clip.

use super::adaptive::for_units;
use super::clip::ClipExt;
use super::pipeline::{Context, Outcome, Transform};
use crate::engine::{locate, zero_non_finite};
use crate::error::{Error, Result, or_panic};
use crate::optimizer::NonFinitePolicy;
use crate::rule::Range;
use crate::schedule::Schedule;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::sync::Arc;
use wengert_autograd::Gradients;
use wengert_tensor::Real;
use wengert_tensor::normal::standard_normal;

/// Takes the mean over all axes but the first off each gradient of two or more axes (Yong et al. 2020, equation 1;
/// optax's `centralize`); the record counts tensors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Centralize {
    axis: usize,
}

impl Centralize {
    /// One mean per slice along the first axis.
    pub fn new() -> Self {
        Self::default()
    }

    /// One mean per slice along another axis; gradients without it are left alone.
    pub fn unit_axis(mut self, axis: usize) -> Self {
        self.axis = axis;
        self
    }
}

impl<T: Real> Transform<T> for Centralize {
    fn name(&self) -> &'static str {
        "centralize"
    }
    fn apply(&mut self, _cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let mut outcome = Outcome {
            of: grads.len(),
            ..Outcome::default()
        };
        let mut means = Vec::new();
        for (_, g) in grads.iter_mut() {
            if g.rank() < 2 || self.axis >= g.rank() || g.numel() == 0 {
                continue;
            }
            let shape = g.shape().to_vec();
            let units = shape[self.axis];
            let per_unit = g.numel() / units;
            means.clear();
            means.resize(units, 0.0f64);
            let data = g.as_mut_slice();
            let mut i = 0;
            for_units(&shape, self.axis, |u| {
                means[u] += data[i].as_f64();
                i += 1;
            });
            i = 0;
            for_units(&shape, self.axis, |u| {
                data[i] -= T::from_f64(means[u] / per_unit as f64);
                i += 1;
            });
            outcome.changed += 1;
        }
        Ok(outcome)
    }
}

/// Adds Gaussian noise of variance `eta / (1 + step)^gamma` (Neelakantan et al. 2015; optax's `add_noise`); the record
/// counts tensors.
///
/// The noise of a step follows from the seed and the step alone, so a resumed run draws the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    eta: f64,
    gamma: f64,
    seed: u64,
}

impl Noise {
    /// With the usual decay `gamma = 0.55`.
    ///
    /// # Panics
    /// When `eta` is negative or not finite.
    #[track_caller]
    pub fn new(eta: f64, seed: u64) -> Self {
        or_panic(Self::try_new(eta, 0.55, seed))
    }

    /// With another decay.
    ///
    /// # Errors
    /// When `eta` or `gamma` is negative or not finite.
    pub fn try_new(eta: f64, gamma: f64, seed: u64) -> Result<Self> {
        Range::NON_NEGATIVE.check("Noise", "eta", eta)?;
        Range::NON_NEGATIVE.check("Noise", "gamma", gamma)?;
        Ok(Noise { eta, gamma, seed })
    }
}

impl<T: Real> Transform<T> for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        // Neighbouring steps must not give neighbouring seeds to anything linear: the golden ratio spreads them, and
        // the generator hashes its seed.
        let seed = self.seed ^ cx.step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let deviation = (self.eta / (1.0 + cx.step as f64).powf(self.gamma)).sqrt();
        for (_, g) in grads.iter_mut() {
            for x in g.as_mut_slice() {
                let z = standard_normal(&mut rng);
                *x += T::from_f64(deviation * z);
            }
        }
        Ok(Outcome {
            changed: grads.len(),
            of: grads.len(),
            ..Outcome::default()
        })
    }
}

/// Multiplies all gradients by a schedule's value; the record counts tensors.
#[derive(Debug, Clone)]
pub struct Scale {
    factor: Arc<dyn Schedule>,
}

impl Scale {
    /// By a number or a schedule of the pipeline's step.
    pub fn new(factor: impl Schedule) -> Self {
        Scale {
            factor: Arc::new(factor),
        }
    }
}

impl<T: Real> Transform<T> for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let factor = self.factor.at(cx.step);
        Range::FINITE.check("Scale", "factor", factor)?;
        grads.scale(factor);
        Ok(Outcome {
            norm: Some(cx.norm * factor.abs()),
            changed: grads.len(),
            of: grads.len(),
            skip: None,
        })
    }
}

/// What to do with gradients that are not finite: skip the step, refuse, or put zeros; the record counts tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinitePolicyLink {
    policy: NonFinitePolicy,
}

impl NonFinitePolicyLink {
    /// With this policy.
    pub fn new(policy: NonFinitePolicy) -> Self {
        NonFinitePolicyLink { policy }
    }
}

impl<T: Real> Transform<T> for NonFinitePolicyLink {
    fn name(&self) -> &'static str {
        "non_finite"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let of = grads.len();
        if cx.norm.is_finite() || self.policy == NonFinitePolicy::Ignore {
            return Ok(Outcome {
                norm: Some(cx.norm),
                of,
                ..Outcome::default()
            });
        }
        // A norm can overflow where no element did; then there is nothing to find.
        let Some(found) = locate(cx.model, grads) else {
            return Ok(Outcome {
                norm: Some(cx.norm),
                of,
                ..Outcome::default()
            });
        };
        let changed = found.tensors;
        match self.policy {
            NonFinitePolicy::Error => Err(Error::NonFinite(found)),
            NonFinitePolicy::Skip => Ok(Outcome {
                norm: Some(cx.norm),
                changed: 0,
                of,
                skip: Some(found),
            }),
            NonFinitePolicy::Zero | NonFinitePolicy::Ignore => {
                for (_, g) in grads.iter_mut() {
                    zero_non_finite(g);
                }
                Ok(Outcome {
                    norm: None,
                    changed,
                    of,
                    skip: None,
                })
            }
        }
    }
}
