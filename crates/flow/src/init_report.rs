//! Before training: does the signal get through with these weights?

use crate::judge::Judge;
use crate::probe::{IDENTICAL_UNITS, Probe};
use crate::profile::{Finding, RunProfile, Severity, StepProfile};
use crate::report::number::pretty;
use crate::report::table::{Cell, Column, Table};
use crate::report::text::Terminal;
use wengert_autograd::{Float, Module, Tape, Tensor, Var, vjp_many};
use wengert_nn::Forward;

/// Gain of one layer on the way forward, measured and predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGain {
    /// Path of the layer.
    pub path: String,
    /// Its activation function, or operation.
    pub op: String,
    /// RMS of the output over RMS of the input; none for the first layer of an unknown input.
    pub measured: Option<f64>,
    /// The same predicted from the weights alone: `√(fan_in E w²) / gain(op)`, for inputs that are standard normal.
    pub predicted: Option<f64>,
    /// Norm of the gradient at the layer's input over that at its output, for a random cotangent at the network's
    /// output.
    pub backward: Option<f64>,
    /// Share of units that are and stay identical.
    pub identical: f64,
}

/// Name of the predicted gain among the further measurements of a layer.
pub(crate) const PREDICTED_GAIN: &str = "predicted gain";

/// What [`init_report`] found.
#[derive(Clone, Debug)]
pub struct InitReport {
    /// The layers, from input to output.
    pub layers: Vec<LayerGain>,
    /// Norm of the gradient at the first layer's output over that at the last one's.
    pub backward_amplification: f64,
    /// RMS of the last layer's output over RMS of the inputs.
    pub forward_amplification: f64,
    /// Largest singular value of the Jacobian of output by input, over the whole batch.
    pub jacobian: f64,
    /// What was measured, for a random cotangent at the output.
    pub step: StepProfile,
    /// Findings, the most important first.
    pub findings: Vec<Finding>,
}

/// Initializer that keeps the variance in front of a function, in words.
fn initializer(op: &str) -> &'static str {
    match op {
        "relu" | "relu6" | "leaky_relu" | "prelu" | "elu" | "gelu" | "silu" | "mish" => {
            "`Init::he_normal()` (variance 2 / fan_in)"
        }
        "selu" => "`Init::LecunNormal` (variance 1 / fan_in)",
        _ => "`Init::glorot_normal()` (variance 2 / (fan_in + fan_out))",
    }
}

/// `√(E f(z)²)` for standard normal `z`, by the midpoint rule.
fn second_moment(f: impl Fn(f64) -> f64) -> f64 {
    let (n, width) = (4000, 16.0);
    let h = width / f64::from(n);
    let sum: f64 = (0..n)
        .map(|i| {
            let z = -width / 2.0 + (f64::from(i) + 0.5) * h;
            f(z).powi(2) * (-z * z / 2.0).exp()
        })
        .sum();
    (sum * h / (2.0 * std::f64::consts::PI).sqrt()).sqrt()
}

/// RMS of `f(s z)` for standard normal `z`.
fn through(op: &str, s: f64) -> Option<f64> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    Some(match op {
        "relu" => s / 2f64.sqrt(),
        "tanh" => second_moment(|z| (s * z).tanh()),
        "sigmoid" => second_moment(|z| sigmoid(s * z)),
        "silu" => second_moment(|z| s * z * sigmoid(s * z)),
        "elu" => second_moment(|z| if z > 0.0 { s * z } else { (s * z).exp() - 1.0 }),
        "leaky_relu" => s * (0.5 * (1.0 + 1e-4f64)).sqrt(),
        "matmul" => s,
        _ => return None,
    })
}

/// Measures a network before its first step: gain of each layer forward and backward, measured and predicted, the
/// end-to-end amplification, the largest singular value of the input-output Jacobian, symmetry; and names the initializer
/// that would train where this one does not.
///
/// The Jacobian is taken for the batch as it stands; `power iteration` multiplies by `J` (the transpose of the
/// transpose) and `Jᵀ` in turn, 20 times.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{Param, Tensor};
/// use wengert_flow::init_report;
/// use wengert_nn::Linear;
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let mut layer: Linear = Linear::builder(2, 2).bias(false).build(&mut rng);
/// layer.weight = Param::new(Tensor::from_vec(vec![3.0, 0.0, 0.0, 0.5], [2, 2]));
/// let report = init_report(&layer, &Tensor::ones([1, 2]));
/// assert!((report.jacobian - 3.0).abs() < 1e-4);
/// ```
#[track_caller]
pub fn init_report<T: Float, M: Module<T> + Forward<T>>(
    model: &M,
    batch: &Tensor<T>,
) -> InitReport {
    let tape = Tape::training(0);
    let out = model.forward(tape.input(batch));
    // A random cotangent, scaled so that the numbers read like those of a mean loss.
    let seed = tape.normal(out.shape(), 0.0, 1.0);
    let (_, step) = Probe::default().backward((out * seed).mean(), model);
    let jacobian = largest_singular_value(model, batch, 20);
    let layers = gains(&step);
    let norm = |i: Option<&crate::profile::LayerProfile>| {
        i.and_then(|l| l.activation_grad.as_ref())
            .map_or(f64::NAN, |s| s.norm)
    };
    let backward_amplification = norm(step.layers.first()) / norm(step.layers.last());
    let input = step.facts.inputs.as_ref().map_or(f64::NAN, |s| s.rms);
    let last = step.layers.last().and_then(|l| l.activation_rms());
    // What concerns the loss is not known yet.
    let mut findings = Judge::default()
        .without("learning rate too low")
        .step(&step);
    for f in &mut findings {
        if f.severity >= Severity::Warning
            && matches!(
                f.rule.as_str(),
                "vanishing" | "exploding" | "saturated" | "symmetric"
            )
        {
            let op = step.layers.first().map_or("", |l| l.op.as_str());
            f.remedy = Some(format!("start with {}", initializer(op)));
        }
    }
    InitReport {
        layers,
        backward_amplification,
        forward_amplification: last.unwrap_or(f64::NAN) / input,
        jacobian,
        step,
        findings,
    }
}

fn gains(step: &StepProfile) -> Vec<LayerGain> {
    let input = step.facts.inputs.as_ref().map(|s| s.rms);
    let mut before: Option<&crate::profile::LayerProfile> = None;
    let mut out = Vec::new();
    for l in &step.layers {
        let rms_in = match before {
            Some(b) => b.activation_rms(),
            None => input,
        };
        let fan_in = (step.facts.params.iter())
            .find(|p| {
                p.shape.len() >= 2
                    && (p.path == l.path || p.path.strip_suffix(".weight") == Some(&l.path))
            })
            .map(|p| p.shape[1..].iter().product::<usize>() as f64);
        let predicted = (|| {
            let (w, x) = (l.weights.as_ref()?.rms, rms_in?);
            Some(through(&l.op, fan_in?.sqrt() * w * x)? / x)
        })();
        let grad =
            |p: Option<&crate::profile::LayerProfile>| Some(p?.activation_grad.as_ref()?.norm);
        out.push(LayerGain {
            path: l.path.clone(),
            op: l.op.clone(),
            measured: (|| Some(l.activation_rms()? / rms_in?))(),
            predicted,
            backward: (|| Some(grad(before)? / grad(Some(l))?))(),
            identical: (l.extra.iter())
                .find(|e| e.0 == IDENTICAL_UNITS)
                .map_or(0.0, |e| e.1),
        });
        before = Some(l);
    }
    out
}

/// Largest singular value of the Jacobian of `model` at `x`, by power iteration on `Jᵀ J`.
///
/// Each round costs one product with `J` (the cotangent map differentiated once more, at a cotangent of zero) and one
/// with `Jᵀ`.
#[track_caller]
pub fn largest_singular_value<T: Float, M: Forward<T>>(
    model: &M,
    x: &Tensor<T>,
    rounds: usize,
) -> f64 {
    let mut v: Vec<f64> = (0..x.numel())
        .map(|i| (i as f64 * 0.754_877_666 + 0.3).fract() - 0.5)
        .collect();
    let mut sigma = 0.0;
    for _ in 0..rounds {
        let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        if norm == 0.0 || !norm.is_finite() {
            return if norm == 0.0 { 0.0 } else { f64::NAN };
        }
        let unit: Vec<T> = v.iter().map(|a| T::from_f64(a / norm)).collect();
        let (forward, back) = product(model, x, &Tensor::from_vec(unit, x.shape()));
        sigma = forward;
        v = back;
    }
    sigma
}

/// `‖J v‖` and `Jᵀ J v`.
fn product<T: Float, M: Forward<T>>(model: &M, x: &Tensor<T>, v: &Tensor<T>) -> (f64, Vec<f64>) {
    // The same tape seed each time: dropout, if any, keeps its mask.
    let tape = Tape::training(0);
    let x = tape.input(x);
    let y = model.forward(x);
    let u: Var<'_, T> = tape.input(&Tensor::zeros(y.shape().as_slice()));
    let back = vjp_many(&[y], &[u], &[x])[0];
    // `back` is linear in `u`: its own transpose, applied to v, is J v.
    let jv = vjp_many(&[back], &[tape.input(v)], &[u])[0];
    let jtjv = vjp_many(&[y], &[jv], &[x])[0];
    let jv = jv
        .value()
        .iter()
        .map(|a| a.as_f64().powi(2))
        .sum::<f64>()
        .sqrt();
    (jv, jtjv.value().iter().map(|a| a.as_f64()).collect())
}

impl InitReport {
    /// Whether nothing worse than a note was found.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|f| f.severity <= Severity::Note)
    }

    /// As a run of one step, for [`crate::report`]: the numbers of the whole network as its settings, the predicted gain
    /// among the further measurements of each layer (`predicted gain`).
    pub fn run(&self) -> RunProfile {
        let mut step = self.step.clone();
        for (l, g) in step.layers.iter_mut().zip(&self.layers) {
            l.forward_gain = g.measured;
            l.backward_gain = g.backward;
            l.extra
                .extend(g.predicted.map(|p| (PREDICTED_GAIN.to_string(), p)));
        }
        let mut run = RunProfile::new("before training").with_step(step);
        for (what, x) in [
            ("forward amplification", self.forward_amplification),
            ("backward amplification", self.backward_amplification),
            ("largest singular value of the Jacobian", self.jacobian),
        ] {
            run = run.with_config(what, pretty(x));
        }
        run.findings = self.findings.clone();
        run
    }

    /// The layers as a table.
    pub fn table(&self) -> Table {
        let mut t = Table::new([
            Column::new("layer"),
            Column::new("op").priority(5),
            Column::new("gain forward").hint("RMS of the output over RMS of the input"),
            Column::new("predicted")
                .priority(2)
                .hint("the same from the weights alone"),
            Column::new("gain backward")
                .hint("norm of the gradient at the input over that at the output"),
            Column::new("identical units").priority(3),
        ]);
        for l in &self.layers {
            t.rows.push(vec![
                Cell::from(l.path.clone()),
                Cell::from(l.op.clone()),
                Cell::from(l.measured),
                Cell::from(l.predicted),
                Cell::from(l.backward),
                if l.identical > 0.0 {
                    Cell::Percent(l.identical)
                } else {
                    Cell::Empty
                },
            ]);
        }
        t.without_blank_columns()
    }

    /// As text for a terminal.
    pub fn text(&self, terminal: &Terminal) -> String {
        let mut out = self.table().text(terminal);
        out += &format!(
            "\nforward amplification {}, backward amplification {}, largest singular value of the Jacobian {}\n",
            pretty(self.forward_amplification),
            pretty(self.backward_amplification),
            pretty(self.jacobian)
        );
        out + &crate::report::compare::text(
            &[RunProfile {
                name: "before training".into(),
                findings: self.findings.clone(),
                ..Default::default()
            }],
            terminal,
        )
    }
}

impl std::fmt::Display for InitReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(&Terminal::stdout()))
    }
}
