//! Training one network of the laboratory, measured at its beginning and end.

use super::net::Net;
use super::spec::{Decay, NetSpec, Rule, SpecError};
use crate::judge::Judge;
use crate::monitor::Monitor;
use crate::probe::ProbeOptions;
use crate::profile::{Curve, RunProfile};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Instant;
use wengert_autograd::{Gradients, Tape, Tensor, Var};
use wengert_nn::constraint::{Constraint, Constraints};
use wengert_nn::regularize::{Penalty, Regularizer};
use wengert_nn::{Forward, Reduction, loss};
use wengert_optim::schedule::Cosine;
use wengert_optim::{Adam, ClipExt, RmsProp, Schedule, Sgd};

/// Inputs `[n, features]` with labels `[n]`.
#[derive(Clone)]
pub struct Samples {
    /// Inputs.
    pub inputs: Tensor<f32>,
    /// Labels.
    pub labels: Tensor<i64>,
}

/// What networks of the laboratory learn.
#[derive(Clone)]
pub struct LabData {
    /// For people.
    pub name: String,
    /// To train.
    pub train: Samples,
    /// To test.
    pub test: Samples,
    /// Number of classes.
    pub classes: usize,
}

impl LabData {
    /// Checks and takes the data.
    ///
    /// # Errors
    /// When inputs are not of rank 2, a part is empty, the parts do not fit each other, or a label is no class.
    pub fn new(
        name: impl Into<String>,
        train: Samples,
        test: Samples,
        classes: usize,
    ) -> Result<LabData, SpecError> {
        let no = |problem: String| {
            Err(SpecError {
                what: "data",
                problem,
            })
        };
        let features = train.inputs.shape().get(1).copied();
        for part in [&train, &test] {
            let [n, d] = *part.inputs.shape() else {
                return no(format!(
                    "expected inputs [n, features], found shape {:?}",
                    part.inputs.shape()
                ));
            };
            if n == 0 || d == 0 || Some(d) != features || part.labels.shape() != [n] {
                return no(format!(
                    "inputs of shape {:?} and labels of shape {:?} do not fit",
                    part.inputs.shape(),
                    part.labels.shape()
                ));
            }
            if let Some(y) = part
                .labels
                .iter()
                .find(|y| *y < 0 || *y as u64 >= classes as u64)
            {
                return no(format!("label {y} is not below {classes}"));
            }
        }
        Ok(LabData {
            name: name.into(),
            train,
            test,
            classes,
        })
    }

    /// Each feature with mean 0 and deviation 1 over the training set; constant ones are centred.
    pub fn standardized(&self) -> LabData {
        let d = self.train.inputs.shape()[1];
        let v = self.train.inputs.to_vec();
        let n = (v.len() / d) as f64;
        let (mut mean, mut var) = (vec![0.0f64; d], vec![0.0f64; d]);
        let mut varies = vec![false; d];
        for (i, x) in v.iter().enumerate() {
            mean[i % d] += f64::from(*x) / n;
        }
        for (i, x) in v.iter().enumerate() {
            // Of a constant not even what rounding leaves of its mean.
            if *x != v[i % d] {
                varies[i % d] = true;
            }
            var[i % d] += (f64::from(*x) - mean[i % d]).powi(2) / n;
        }
        let part = |s: &Samples| {
            let v = s.inputs.iter().enumerate().map(|(i, x)| {
                let std = if varies[i % d] {
                    var[i % d].sqrt()
                } else {
                    1.0
                };
                ((f64::from(x) - mean[i % d]) / std) as f32
            });
            Samples {
                inputs: Tensor::from_vec(v.collect(), s.inputs.shape()),
                labels: s.labels.clone(),
            }
        };
        LabData {
            train: part(&self.train),
            test: part(&self.test),
            ..self.clone()
        }
    }
}

fn rows(s: &Samples, index: &[usize]) -> (Tensor<f32>, Tensor<i64>) {
    let d = s.inputs.shape()[1];
    // Views are put in order once, everything else is read where it lies.
    let (x, y) = (s.inputs.contiguous(), s.labels.contiguous());
    let x = x.as_slice().unwrap_or_default();
    let y = y.as_slice().unwrap_or_default();
    let picked: Vec<f32> = index
        .iter()
        .flat_map(|&i| x[i * d..(i + 1) * d].iter().copied())
        .collect();
    let labels: Vec<i64> = index.iter().map(|&i| y[i]).collect();
    (
        Tensor::from_vec(picked, [index.len(), d]),
        Tensor::from_vec(labels, [index.len()]),
    )
}

fn accuracy(net: &Net, s: &Samples, classes: usize) -> f64 {
    let scores = net.predict(&s.inputs).to_vec();
    let right = scores
        .chunks_exact(classes)
        .zip(s.labels.iter())
        .filter(|(row, y)| {
            // A net that gives NaN is right about nothing.
            row.iter().all(|v| v.is_finite())
                && (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])) == Some(*y as usize)
        });
    right.count() as f64 / s.labels.numel() as f64
}

type Stepper = Box<dyn FnMut(&mut Net, &Gradients)>;

fn optimizer(spec: &NetSpec, steps: u64) -> Stepper {
    let lr: Arc<dyn Schedule> = match spec.decay {
        Decay::Constant => Arc::new(spec.lr),
        Decay::Cosine => Arc::new(Cosine::new(spec.lr, steps)),
        Decay::Warmup => Arc::new(spec.lr.warmup((steps / 10).max(1))),
    };
    macro_rules! boxed {
        ($o:expr) => {{
            let mut o = $o.weight_decay(spec.l2);
            Box::new(move |m: &mut Net, g: &Gradients| {
                o.step(m, g);
            })
        }};
    }
    match spec.rule {
        Rule::Sgd => boxed!(Sgd::new(lr)),
        Rule::Momentum => boxed!(Sgd::new(lr).momentum(0.9)),
        Rule::RmsProp => boxed!(RmsProp::new(lr)),
        Rule::Adam => boxed!(Adam::new(lr)),
    }
}

/// What is added to the loss, and what the weights are held to after each step.
struct Held {
    smoothing: f64,
    activity: f64,
    penalties: Option<Regularizer>,
    limits: Option<Constraints>,
}

impl Held {
    fn new(spec: &NetSpec, net: &Net) -> Held {
        let weights = || net.weights().into_iter();
        let penalties = (spec.l1 > 0.0)
            .then(|| weights().fold(Regularizer::new(), |r, w| r.on(w, Penalty::L1(spec.l1))));
        let limits = spec
            .max_norm
            .map(|m| weights().fold(Constraints::new(), |c, w| c.on(w, Constraint::MaxNorm(m))));
        Held {
            smoothing: spec.smoothing,
            activity: spec.activity,
            penalties,
            limits,
        }
    }

    /// The cross-entropy, with what is added to it.
    fn loss<'t>(&self, net: &Net, x: Var<'t>, y: &Tensor<i64>) -> Var<'t> {
        let (scores, hidden) = net.forward_with_hidden(x);
        let mut loss = match self.smoothing {
            0.0 => scores.cross_entropy(y),
            e => loss::cross_entropy(scores, y, None, None, e, Reduction::Mean),
        };
        if self.activity > 0.0 {
            for h in hidden {
                loss = loss + Penalty::L1(self.activity).of_activations(h);
            }
        }
        match &self.penalties {
            Some(p) => p.add_to(loss, net),
            None => loss,
        }
    }
}

/// Trains one network and judges it. The same spec and data give the same run, on every thread.
///
/// Measured steps: the first, the second, the last of the first epoch, the last. Curves: `loss` and `accuracy` (on the
/// test part) by epoch, `step loss`. Training stops when the loss is not finite.
///
/// # Errors
/// When a setting is out of range.
pub fn train(
    name: &str,
    spec: &NetSpec,
    data: &LabData,
    judge: &Judge,
) -> Result<RunProfile, SpecError> {
    spec.check()?;
    let start = Instant::now();
    let scaled;
    let data = if spec.standardize {
        scaled = data.standardized();
        &scaled
    } else {
        data
    };
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(spec.seed);
    let mut net = Net::new(spec, data.train.inputs.shape()[1], data.classes, &mut rng)?;
    let mut order_rng = Xoshiro256PlusPlus::seed_from_u64(rng.next_u64());
    let n = data.train.labels.numel();
    let batch = spec.batch.min(n);
    // A last batch that is smaller is left out: every step has the same number of samples.
    let per_epoch = n / batch;
    let total = per_epoch * spec.epochs;
    let mut step = optimizer(spec, total as u64);
    let mut tape = Tape::training(spec.seed);
    let held = Held::new(spec, &net);
    // A few steps of a whole training are measured: as much as can be is shown of each.
    let mut monitor = (Monitor::every(1).along().named(name)).options(ProbeOptions::default());
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    let mut order: Vec<usize> = (0..n).collect();
    let mut done = 0;
    'training: for epoch in 0..spec.epochs {
        order.shuffle(&mut order_rng);
        let mut sum = 0.0;
        for index in order.chunks_exact(batch) {
            let (x, y) = rows(&data.train, index);
            tape.reset();
            let loss = held.loss(&net, tape.input(&x), &y);
            let watched = [0, 1, per_epoch - 1, total - 1].contains(&done);
            let mut grads = monitor.backward_if(watched, loss, &net);
            let value = f64::from(grads.loss());
            if let Some(c) = spec.clip {
                grads.clip_norm(c);
            }
            if let Some(c) = spec.clip_value {
                grads.clip_value(c);
            }
            step(&mut net, &grads);
            if let Some(limits) = &held.limits {
                limits.apply(&mut net);
            }
            monitor.stepped(&net);
            if monitor.wants_loss_after() {
                // The same samples and masks once more, at the new weights.
                let masks = tape.step_index();
                tape.reset();
                tape.set_step_index(masks);
                let after = held.loss(&net, tape.input(&x), &y).item();
                monitor.loss_after(&net, f64::from(after));
            }
            sum += value;
            done += 1;
            if !value.is_finite() {
                break 'training;
            }
        }
        losses.push(((epoch + 1) as f64, sum / per_epoch as f64));
        scores.push(((epoch + 1) as f64, accuracy(&net, &data.test, data.classes)));
    }
    if scores.is_empty() {
        scores.push((0.0, accuracy(&net, &data.test, data.classes)));
    }
    let mut run = monitor.into_run();
    run.config = spec.describe();
    run.config.push(("data".into(), data.name.clone()));
    let seconds = start.elapsed().as_secs_f64();
    if let Some(last) = run.steps.last_mut() {
        last.metrics
            .push(("accuracy".into(), scores.last().map_or(f64::NAN, |s| s.1)));
        last.metrics.push(("seconds".into(), seconds));
    }
    run = run
        .with_curve(Curve::new("loss", losses))
        .with_curve(Curve::new("accuracy", scores));
    run.findings = judge.run(&run);
    Ok(run)
}
