//! Clipping whose bound follows the weights or the past.

use super::clip::clip_to;
use super::pipeline::{Context, Outcome, Transform};
use crate::error::{Error, Result, or_panic};
use crate::rule::Range;
use wengert_autograd::{Gradients, Param, Path, Visitor};
use wengert_tensor::{Real, Tensor};

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
pub(super) fn for_units(shape: &[usize], axis: usize, mut f: impl FnMut(usize)) {
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
