//! The transforms.

use super::clip::{ClipExt, clip_to};
use super::pipeline::{Context, Outcome, Transform};
use crate::engine::{locate, zero_non_finite};
use crate::error::{Error, Result, or_panic};
use crate::optimizer::NonFinitePolicy;
use crate::rule::Range;
use crate::schedule::Schedule;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;
use wengert_autograd::{Gradients, Param, Path, Visitor};
use wengert_tensor::{Real, Tensor};

macro_rules! clipping {
    ($($(#[$doc:meta])* $name:ident($what:ident, $label:literal, $method:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $what: f64,
        }

        impl $name {
            /// With this bound.
            ///
            /// # Panics
            /// When it is negative or not finite.
            #[track_caller]
            pub fn new($what: f64) -> Self {
                or_panic(Self::try_new($what))
            }

            /// As `new`.
            ///
            /// # Errors
            /// When the bound is negative or not finite.
            pub fn try_new($what: f64) -> Result<Self> {
                Range::NON_NEGATIVE.check(stringify!($name), stringify!($what), $what)?;
                Ok($name { $what })
            }
        }

        impl<T: Real> Transform<T> for $name {
            fn name(&self) -> &'static str {
                $label
            }
            fn apply(&mut self, _cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
                let r = grads.$method(self.$what)?;
                Ok(Outcome {
                    norm: Some(r.after),
                    changed: r.count,
                    of: grads.len(),
                    skip: None,
                })
            }
        }
    )*};
}

clipping! {
    /// Scales each gradient by itself so that its norm is at most `max`; the record counts tensors.
    ClipEach(max, "clip_each", try_clip_each);
}

/// Brings every element into `-limit..=limit`; the record counts elements.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipValue {
    limit: f64,
}

impl ClipValue {
    /// With this bound.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn new(limit: f64) -> Self {
        or_panic(Self::try_new(limit))
    }

    /// As [`ClipValue::new`].
    ///
    /// # Errors
    /// When the bound is negative or not finite.
    pub fn try_new(limit: f64) -> Result<Self> {
        Range::NON_NEGATIVE.check("ClipValue", "limit", limit)?;
        Ok(ClipValue { limit })
    }
}

impl<T: Real> Transform<T> for ClipValue {
    fn name(&self) -> &'static str {
        "clip_value"
    }
    fn apply(&mut self, _cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let r = grads.try_clip_value(self.limit)?;
        Ok(Outcome {
            norm: Some(r.after),
            changed: r.count,
            of: grads.iter().map(|(_, g)| g.numel()).sum(),
            skip: None,
        })
    }
}

/// Scales all gradients so that their global norm is at most `max` (see [`ClipExt::clip_norm`]); the record counts
/// tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipNorm {
    max: f64,
}

impl ClipNorm {
    /// With this bound.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    pub fn new(max: f64) -> Self {
        or_panic(Self::try_new(max))
    }

    /// As [`ClipNorm::new`].
    ///
    /// # Errors
    /// When the bound is negative or not finite.
    pub fn try_new(max: f64) -> Result<Self> {
        Range::NON_NEGATIVE.check("ClipNorm", "max", max)?;
        Ok(ClipNorm { max })
    }
}

impl<T: Real> Transform<T> for ClipNorm {
    fn name(&self) -> &'static str {
        "clip_norm"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let r = clip_to(grads, cx.norm, self.max / (cx.norm + 1e-6));
        Ok(Outcome {
            norm: Some(r.after),
            changed: r.count,
            of: grads.len(),
            skip: None,
        })
    }
}

/// Adaptive gradient clipping (Brock et al. 2021, equation 3; optax's `adaptive_grad_clip`): the norm of each unit's
/// gradient is at most `clipping · max(‖unit's weights‖, eps)`.
///
/// A unit is a slice along the first axis (an output of a linear or convolutional layer), or along another one
/// ([`Agc::unit_axis`]); vectors and scalars are one unit. The record counts units.
#[derive(Debug, Clone, PartialEq)]
pub struct Agc {
    clipping: f64,
    eps: f64,
    axis: usize,
}

impl Agc {
    /// With this ratio; 0.01 is usual.
    ///
    /// # Panics
    /// When it is not positive.
    #[track_caller]
    pub fn new(clipping: f64) -> Self {
        or_panic(Self::try_new(clipping, 1e-3))
    }

    /// With this ratio and this smallest norm of a unit's weights.
    ///
    /// # Errors
    /// When one is not positive.
    pub fn try_new(clipping: f64, eps: f64) -> Result<Self> {
        Range::POSITIVE.check("Agc", "clipping", clipping)?;
        Range::POSITIVE.check("Agc", "eps", eps)?;
        Ok(Agc {
            clipping,
            eps,
            axis: 0,
        })
    }

    /// The axis that counts units; default 0. Parameters without it count as one unit.
    pub fn unit_axis(mut self, axis: usize) -> Self {
        self.axis = axis;
        self
    }
}

/// Calls `f` with the unit of each element in row-major order.
fn for_units(shape: &[usize], axis: usize, mut f: impl FnMut(usize)) {
    let n: usize = shape.iter().product();
    if shape.len() < 2 || axis >= shape.len() {
        (0..n).for_each(|_| f(0));
        return;
    }
    let inner: usize = shape[axis + 1..].iter().product();
    for i in 0..n {
        f(i / inner % shape[axis]);
    }
}

fn unit_norms<T: Real>(t: &Tensor<T>, axis: usize, out: &mut Vec<f64>) {
    let units = if t.rank() < 2 || axis >= t.rank() {
        1
    } else {
        t.shape()[axis]
    };
    out.clear();
    out.resize(units, 0.0);
    let mut elements = t.iter();
    for_units(t.shape(), axis, |u| {
        if let Some(x) = elements.next() {
            out[u] += x.as_f64().powi(2);
        }
    });
    out.iter_mut().for_each(|x| *x = x.sqrt());
}

impl<T: Real> Transform<T> for Agc {
    fn name(&self) -> &'static str {
        "agc"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        struct Clip<'a, T: Real> {
            agc: &'a Agc,
            grads: &'a mut Gradients<T>,
            weights: Vec<f64>,
            slopes: Vec<f64>,
            outcome: Outcome,
        }
        impl<T: Real> Visitor<T> for Clip<'_, T> {
            fn param(&mut self, _path: &str, param: &Param<T>) {
                let Some(g) = self.grads.by_id_mut(param.id()) else {
                    return;
                };
                let axis = self.agc.axis;
                unit_norms(param.value(), axis, &mut self.weights);
                unit_norms(g, axis, &mut self.slopes);
                let mut clipped = 0;
                for (s, w) in self.slopes.iter_mut().zip(&self.weights) {
                    let most = self.agc.clipping * w.max(self.agc.eps);
                    // From here on a slope is the factor that its unit takes.
                    *s = if s.is_finite() && *s >= most {
                        clipped += 1;
                        most / s.max(1e-6)
                    } else {
                        1.0
                    };
                }
                self.outcome.of += self.slopes.len();
                self.outcome.changed += clipped;
                if clipped > 0 {
                    let shape = g.shape().to_vec();
                    let mut elements = g.as_mut_slice().iter_mut();
                    for_units(&shape, axis, |u| {
                        if let Some(x) = elements.next() {
                            *x *= T::from_f64(self.slopes[u]);
                        }
                    });
                }
            }
        }
        let mut clip = Clip {
            agc: self,
            grads,
            weights: Vec::new(),
            slopes: Vec::new(),
            outcome: Outcome::default(),
        };
        cx.model.visit(&mut Path::new(), &mut clip);
        Ok(clip.outcome)
    }
}

/// Clips gradients whose norm stands out from the recent ones (ZClip: Kumar et al. 2025, algorithm 1).
///
/// With mean `μ` and deviation `σ` of past norms (exponential averages of rate `α`) and `z = (norm - μ) / (σ + 1e-6)`, a
/// norm with `z > threshold` is brought down to `μ + threshold² σ / z`, and it is that which enters the averages. The
/// first `warmup` norms set the averages up and are not clipped. The record counts tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct ZClip {
    alpha: f64,
    threshold: f64,
    warmup: u64,
    mean: f64,
    variance: f64,
    seen: u64,
    sum: f64,
    sum_squares: f64,
}

impl Default for ZClip {
    fn default() -> Self {
        ZClip {
            alpha: 0.97,
            threshold: 2.5,
            warmup: 25,
            mean: 0.0,
            variance: 0.0,
            seen: 0,
            sum: 0.0,
            sum_squares: 0.0,
        }
    }
}

impl ZClip {
    /// With the authors' defaults: rate 0.97, threshold 2.5, 25 steps of warm-up.
    pub fn new() -> Self {
        Self::default()
    }

    /// Other settings.
    ///
    /// # Errors
    /// When `alpha` is not in `[0, 1)`, `threshold` is not positive or `warmup` is 0.
    pub fn try_new(alpha: f64, threshold: f64, warmup: u64) -> Result<Self> {
        Range::DECAY.check("ZClip", "alpha", alpha)?;
        Range::POSITIVE.check("ZClip", "threshold", threshold)?;
        if warmup == 0 {
            return Err(Error::Hyperparameter {
                owner: "ZClip",
                name: "warmup".to_string(),
                expected: "at least 1".to_string(),
                value: 0.0,
            });
        }
        Ok(ZClip {
            alpha,
            threshold,
            warmup,
            ..Self::default()
        })
    }

    fn average(&mut self, norm: f64) {
        self.mean = self.alpha * self.mean + (1.0 - self.alpha) * norm;
        self.variance =
            self.alpha * self.variance + (1.0 - self.alpha) * (norm - self.mean).powi(2);
    }
}

impl<T: Real> Transform<T> for ZClip {
    fn name(&self) -> &'static str {
        "zclip"
    }
    fn apply(&mut self, cx: &Context<'_, T>, grads: &mut Gradients<T>) -> Result<Outcome> {
        let norm = cx.norm;
        let mut outcome = Outcome {
            norm: Some(norm),
            of: grads.len(),
            ..Outcome::default()
        };
        if !norm.is_finite() {
            return Ok(outcome);
        }
        if self.seen < self.warmup {
            self.seen += 1;
            self.sum += norm;
            self.sum_squares += norm * norm;
            if self.seen == self.warmup {
                let n = self.warmup as f64;
                self.mean = self.sum / n;
                self.variance = (self.sum_squares / n - self.mean * self.mean).max(0.0);
            }
            return Ok(outcome);
        }
        let deviation = self.variance.sqrt();
        let z = (norm - self.mean) / (deviation + 1e-6);
        if z > self.threshold {
            let target = self.mean + self.threshold * deviation / (z / self.threshold);
            let r = clip_to(grads, norm, target / norm);
            outcome.changed = r.count;
            outcome.norm = Some(r.after);
            self.average(target);
        } else {
            self.average(norm);
        }
        Ok(outcome)
    }
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("mean", self.mean),
            ("variance", self.variance),
            ("seen", self.seen as f64),
            ("sum", self.sum),
            ("sum_squares", self.sum_squares),
        ]
    }
    fn restore(&mut self, values: &[f64]) {
        if let [mean, variance, seen, sum, sum_squares] = *values {
            self.mean = mean;
            self.variance = variance;
            self.seen = seen as u64;
            self.sum = sum;
            self.sum_squares = sum_squares;
        }
    }
}

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
                let z: f64 = StandardNormal.sample(&mut rng);
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
