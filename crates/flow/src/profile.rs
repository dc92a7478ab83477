//! What was measured: plain data, filled by the observers of this crate or from any other framework.
//!
//! A [`Summary`] condenses a set of values; a [`LayerProfile`] holds the summaries of one layer (activations, their
//! gradient, weights, their gradient), a [`StepProfile`] the layers at one training step, a [`RunProfile`] a whole run
//! with its curves. The renderers in [`crate::report`] read these types and nothing else.
//!
//! ```
//! use wengert_flow::profile::{LayerProfile, RunProfile, StepProfile};
//! // Values from another framework, as (name, values):
//! let step = StepProfile::new(0)
//!     .with_loss(2.3)
//!     .with_activation_grads([("fc1", &[1e-9f32, -2e-9][..]), ("fc2", &[0.1, -0.2])]);
//! let run = RunProfile::new("from elsewhere").with_step(step);
//! let [fc1, fc2] = &run.last().unwrap().layers[..] else { panic!() };
//! assert!(fc1.activation_grad_rms().unwrap() < 1e-7 * fc2.activation_grad_rms().unwrap());
//! ```

mod facts;
mod histogram;
mod moments;
mod quantiles;
mod summary;

pub use facts::{AlongStep, Facts, GradientNoise, Link, LossFact, NonFinite, ParamFact};
pub use histogram::{Bins, Histogram};
pub use quantiles::Quantiles;
pub use summary::{Detail, Summary};
pub use wengert_draw::{Finding, Severity};
use wengert_tensor::Real;

/// One layer at one step.
///
/// Every measurement is optional: absent means "not measured", which is different from zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerProfile {
    /// Path of the layer in the model, such as `blocks.3.fc`.
    pub path: String,
    /// Operation or kind of layer, such as `sigmoid` or `Linear`.
    pub op: String,
    /// Source line that recorded it, as `file:line:column`.
    pub location: Option<String>,
    /// The layer's outputs.
    pub activation: Option<Summary>,
    /// Derivative of the loss with respect to the layer's outputs.
    pub activation_grad: Option<Summary>,
    /// The layer's weights.
    pub weights: Option<Summary>,
    /// Derivative of the loss with respect to the weights.
    pub weight_grad: Option<Summary>,
    /// RMS of the last change of the weights over RMS of the weights.
    pub update_ratio: Option<f64>,
    /// Share of units, in `[0, 1]`, whose activation function is nearly flat at their input.
    pub saturation: Option<f64>,
    /// Share of units, in `[0, 1]`, that were zero for every sample.
    pub dead: Option<f64>,
    /// RMS of the output over RMS of the input.
    pub forward_gain: Option<f64>,
    /// RMS of the gradient at the input over RMS of the gradient at the output.
    pub backward_gain: Option<f64>,
    /// Further measurements by name.
    pub extra: Vec<(String, f64)>,
}

impl LayerProfile {
    /// A layer without measurements.
    pub fn new(path: impl Into<String>, op: impl Into<String>) -> LayerProfile {
        LayerProfile {
            path: path.into(),
            op: op.into(),
            ..LayerProfile::default()
        }
    }

    /// RMS of the outputs, if measured.
    pub fn activation_rms(&self) -> Option<f64> {
        self.activation.as_ref().map(|s| s.rms)
    }

    /// RMS of the gradient with respect to the outputs, if measured.
    pub fn activation_grad_rms(&self) -> Option<f64> {
        self.activation_grad.as_ref().map(|s| s.rms)
    }

    /// RMS of the gradient with respect to the weights, if measured.
    pub fn weight_grad_rms(&self) -> Option<f64> {
        self.weight_grad.as_ref().map(|s| s.rms)
    }

    /// NaNs and infinities in anything that was measured.
    pub fn non_finite(&self) -> u64 {
        [
            &self.activation,
            &self.activation_grad,
            &self.weights,
            &self.weight_grad,
        ]
        .into_iter()
        .flatten()
        .map(Summary::non_finite)
        .sum()
    }
}

/// Gradient of a recurrent layer, time step by time step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeProfile {
    /// Path of the layer.
    pub path: String,
    /// RMS of the gradient with respect to the state, from the first time step to the last.
    pub grad_rms: Vec<f64>,
}

impl TimeProfile {
    /// Factor `r` by which the gradient changes per step back in time: least squares of `ln grad_rms` over the steps
    /// with a positive, finite gradient. `None` with fewer than two of those.
    ///
    /// ```
    /// use wengert_flow::profile::TimeProfile;
    /// let t = TimeProfile { path: "rnn".into(), grad_rms: (0..10).map(|i| 0.5f64.powi(9 - i)).collect() };
    /// assert!((t.decay().unwrap() - 0.5).abs() < 1e-12);
    /// ```
    pub fn decay(&self) -> Option<f64> {
        let points: Vec<(f64, f64)> = self
            .grad_rms
            .iter()
            .enumerate()
            .filter(|(_, g)| g.is_finite() && **g > 0.0)
            .map(|(t, g)| (t as f64, g.ln()))
            .collect();
        if points.len() < 2 {
            return None;
        }
        let n = points.len() as f64;
        let (mt, mg) = (
            points.iter().map(|p| p.0).sum::<f64>() / n,
            points.iter().map(|p| p.1).sum::<f64>() / n,
        );
        let cov: f64 = points.iter().map(|p| (p.0 - mt) * (p.1 - mg)).sum();
        let var: f64 = points.iter().map(|p| (p.0 - mt) * (p.0 - mt)).sum();
        // Time runs forward in the data, the gradient backward.
        Some((-cov / var).exp())
    }

    /// Steps back in time after which the gradient has fallen to 1/e: `-1 / ln r`. Infinite when it does not fall,
    /// `None` when there is no [`decay`](TimeProfile::decay).
    pub fn memory(&self) -> Option<f64> {
        self.decay().map(|r| {
            if r < 1.0 {
                -1.0 / r.ln()
            } else {
                f64::INFINITY
            }
        })
    }
}

/// The network at one training step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepProfile {
    /// Number of the step, from 0.
    pub step: u64,
    /// The loss, if known.
    pub loss: Option<f64>,
    /// Further numbers by name, such as `accuracy`.
    pub metrics: Vec<(String, f64)>,
    /// The layers, from input to output.
    pub layers: Vec<LayerProfile>,
    /// Recurrent layers by time step.
    pub time: Vec<TimeProfile>,
    /// What is known about inputs, parameters and loss.
    pub facts: Facts,
}

impl StepProfile {
    /// A step without measurements.
    pub fn new(step: u64) -> StepProfile {
        StepProfile {
            step,
            ..StepProfile::default()
        }
    }

    /// Sets the loss.
    pub fn with_loss(mut self, loss: f64) -> StepProfile {
        self.loss = Some(loss);
        self
    }

    /// The layer of this path, appended if there is none yet.
    pub fn layer(&mut self, path: &str) -> &mut LayerProfile {
        let at = match self.layers.iter().position(|l| l.path == path) {
            Some(i) => i,
            None => {
                self.layers.push(LayerProfile::new(path, ""));
                self.layers.len() - 1
            }
        };
        &mut self.layers[at]
    }

    fn fed<'a, T: Real>(
        mut self,
        named: impl IntoIterator<Item = (&'a str, &'a [T])>,
        set: impl Fn(&mut LayerProfile, Summary),
    ) -> StepProfile {
        for (name, values) in named {
            set(
                self.layer(name),
                Summary::with(values, Detail::histogram(Bins::Auto)),
            );
        }
        self
    }

    /// Summarises outputs by layer name, in order from input to output.
    pub fn with_activations<'a, T: Real>(
        self,
        named: impl IntoIterator<Item = (&'a str, &'a [T])>,
    ) -> StepProfile {
        self.fed(named, |l, s| l.activation = Some(s))
    }

    /// Summarises gradients of the loss with respect to outputs, by layer name.
    pub fn with_activation_grads<'a, T: Real>(
        self,
        named: impl IntoIterator<Item = (&'a str, &'a [T])>,
    ) -> StepProfile {
        self.fed(named, |l, s| l.activation_grad = Some(s))
    }

    /// Summarises weights by layer name.
    pub fn with_weights<'a, T: Real>(
        self,
        named: impl IntoIterator<Item = (&'a str, &'a [T])>,
    ) -> StepProfile {
        self.fed(named, |l, s| l.weights = Some(s))
    }

    /// Summarises gradients of the loss with respect to weights, by layer name.
    pub fn with_weight_grads<'a, T: Real>(
        self,
        named: impl IntoIterator<Item = (&'a str, &'a [T])>,
    ) -> StepProfile {
        self.fed(named, |l, s| l.weight_grad = Some(s))
    }
}

/// A line over the run, such as the training loss by epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// What it shows, such as `loss` or `test accuracy`.
    pub name: String,
    /// `(step or epoch, value)` in rising order of the first.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve of the given points.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Curve {
        Curve {
            name: name.into(),
            points: points.into_iter().collect(),
        }
    }

    /// The last value.
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|p| p.1)
    }
}

/// One training run: how it was set up, how it went, what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunProfile {
    /// Name of the run, such as `ReLU, He`.
    pub name: String,
    /// How it was set up, as (what, value).
    pub config: Vec<(String, String)>,
    /// Loss, accuracy and others over the run.
    pub curves: Vec<Curve>,
    /// The observed steps in rising order.
    pub steps: Vec<StepProfile>,
    /// What was found, the most important first.
    pub findings: Vec<Finding>,
}

impl RunProfile {
    /// A run without measurements.
    pub fn new(name: impl Into<String>) -> RunProfile {
        RunProfile {
            name: name.into(),
            ..RunProfile::default()
        }
    }

    /// Notes how the run was set up.
    pub fn with_config(mut self, what: impl Into<String>, value: impl Into<String>) -> RunProfile {
        self.config.push((what.into(), value.into()));
        self
    }

    /// Appends a curve.
    pub fn with_curve(mut self, curve: Curve) -> RunProfile {
        self.curves.push(curve);
        self
    }

    /// Appends an observed step.
    pub fn with_step(mut self, step: StepProfile) -> RunProfile {
        self.steps.push(step);
        self
    }

    /// Appends a finding.
    pub fn with_finding(mut self, finding: Finding) -> RunProfile {
        self.findings.push(finding);
        self
    }

    /// The first observed step: the network as it was initialized, if observed from the start.
    pub fn first(&self) -> Option<&StepProfile> {
        self.steps.first()
    }

    /// The last observed step.
    pub fn last(&self) -> Option<&StepProfile> {
        self.steps.last()
    }

    /// The curve of this name.
    pub fn curve(&self, name: &str) -> Option<&Curve> {
        self.curves.iter().find(|c| c.name == name)
    }

    /// Severity of the worst finding; `None` without findings.
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }
}

#[cfg(test)]
mod tests;
