//! Watching a training run: every n-th step is measured, the others run as without.

use crate::flow_report::FlowReport;
use crate::judge::Judge;
use crate::probe::{Memory, Numbers, Probe, ProbeOptions, Snapshot};
use crate::profile::{Bins, Curve, Detail, GradientNoise, RunProfile, TimeProfile};
use wengert_autograd::{Float, Gradients, Module, ParamId, Tensor, Var};

/// Measures every n-th step of a training run into a [`RunProfile`].
///
/// Per step: [`backward`](Monitor::backward) in the place of [`Var::backward`], and [`stepped`](Monitor::stepped) after
/// the optimizer. What costs more is measured only when asked for: [`noise`](Monitor::noise) (holds one gradient),
/// [`along`](Monitor::along) (one forward pass more), the effective rank ([`ProbeOptions::rank`]).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{Tape, Tensor};
/// use wengert_flow::Monitor;
/// use wengert_nn::{Forward, Sequential};
/// use wengert_optim::Sgd;
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let mut model: Sequential = Sequential::builder().linear(4, 16).tanh().linear(16, 1).build(&mut rng);
/// let x = Tensor::from_vec((0..128).map(|i| (i as f32 * 0.7).sin() * 1.4).collect(), [32, 4]);
/// let (mut sgd, mut tape) = (Sgd::new(0.1), Tape::training(1));
/// let mut monitor = Monitor::every(10);
/// for _ in 0..30 {
///     tape.reset();
///     let loss = (model.forward(tape.input(&x)) - 0.5).square().mean();
///     let grads = monitor.backward(loss, &model);
///     sgd.step(&mut model, &grads);
///     monitor.stepped(&model);
/// }
/// let report = monitor.report();
/// assert_eq!(report.run().steps.len(), 3);
/// assert!(report.is_healthy(), "{report}");
/// ```
pub struct Monitor<T: Float = f32> {
    every: u64,
    step: u64,
    probe: ProbeOptions,
    memory: Memory<T>,
    name: String,
    /// What was measured of each step.
    steps: Vec<Numbers>,
    losses: Vec<(f64, f64)>,
    with_noise: bool,
    with_along: bool,
    /// Gradient of the last measured step, until the next one comes.
    held: Option<Vec<(ParamId, Tensor<T>)>>,
    snapshot: Snapshot<T>,
    /// Whether the last step was measured and waits for its update.
    open: bool,
    /// The snapshot of the last measured update, until its loss comes.
    before: Option<Snapshot<T>>,
}

/// Of activations, moments of every value, quantiles and histogram of 512: a median to 6 % of the standard deviation. Of
/// their gradients, moments of every value; of weights and their gradients, moments of 512 and 2,048 values: an RMS to some
/// 3 and 5 %. What is not finite is looked for in all of them.
const WATCHING: ProbeOptions = ProbeOptions {
    detail: Detail {
        quantiles: true,
        histogram: Bins::Auto,
        sample: 512,
    },
    inner: Detail::MOMENTS,
    sample: 1 << 9,
    grad_sample: 1 << 11,
    start: true,
    rank: false,
};

impl<T: Float> Monitor<T> {
    /// Measures the steps 0, n, 2 n, …
    ///
    /// # Panics
    /// When `n` is 0.
    #[track_caller]
    pub fn every(n: u64) -> Self {
        assert!(n > 0, "a cadence of 0 steps");
        Monitor {
            every: n,
            step: 0,
            probe: WATCHING,
            memory: Memory::default(),
            name: "model".into(),
            steps: Vec::new(),
            losses: Vec::new(),
            with_noise: false,
            with_along: false,
            held: None,
            snapshot: Snapshot::sampled(WATCHING.sample),
            open: false,
            before: None,
        }
    }

    /// What is measured of each layer, in the place of the default: quantiles and histograms of activations from 512
    /// values, moments of gradients (of one weight's: from 2,048 values), of weights and of inputs (from 512 values).
    /// [`ProbeOptions::default`] looks at everything. [`ProbeOptions::start`] concerns the first measured step alone.
    #[must_use]
    pub fn options(mut self, options: ProbeOptions) -> Self {
        self.snapshot = Snapshot::sampled(options.sample);
        self.probe = options;
        self
    }

    /// Measures the gradient's noise scale: holds the gradient of a measured step until the next step's.
    #[must_use]
    pub fn noise(mut self) -> Self {
        self.with_noise = true;
        self
    }

    /// Keeps whole weights and gradients of a measured step, for [`loss_after`](Monitor::loss_after).
    #[must_use]
    pub fn along(mut self) -> Self {
        self.with_along = true;
        self
    }

    /// Names the run.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether the next step is measured.
    pub fn is_due(&self) -> bool {
        self.step.is_multiple_of(self.every)
    }

    /// As [`Var::backward`]; measures in passing when the step is due.
    ///
    /// # Panics
    /// As [`Var::backward`].
    #[track_caller]
    pub fn backward(&mut self, loss: Var<'_, T>, model: &dyn Module<T>) -> Gradients<T> {
        self.backward_if(self.is_due(), loss, model)
    }

    /// As [`backward`](Monitor::backward), with the choice left to the caller.
    #[track_caller]
    pub fn backward_if(
        &mut self,
        due: bool,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
    ) -> Gradients<T> {
        let held = self.held.take();
        self.before = None;
        let grads = if due {
            let options = ProbeOptions {
                start: self.probe.start && self.steps.is_empty(),
                ..self.probe
            };
            let picked = self.snapshot.samples();
            let (grads, mut numbers) =
                Probe::new(options).tallied(loss, model, &mut self.memory, picked);
            numbers.step.step = self.step;
            self.steps.push(numbers);
            if self.with_along {
                self.before = Some(Snapshot::whole(model, &grads));
            } else {
                self.snapshot.refresh(model);
            }
            if self.with_noise {
                let all = grads.iter().map(|(id, g)| (id, g.clone()));
                self.held = Some(all.collect());
            }
            grads
        } else {
            loss.backward()
        };
        self.open = due;
        if let Some(held) = held {
            self.compare(&held, &grads);
        }
        let value = grads.loss().as_f64();
        self.losses.push((self.step as f64, value));
        self.step += 1;
        grads
    }

    /// Noise from two gradients of neighbouring steps, written to the earlier one.
    fn compare(&mut self, held: &[(ParamId, Tensor<T>)], grads: &Gradients<T>) {
        let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
        for (id, a) in held {
            let Some(b) = grads.by_id(*id) else { return };
            for (a, b) in a.iter().zip(b.iter()) {
                let (a, b) = (a.as_f64(), b.as_f64());
                aa += a * a;
                bb += b * b;
                ab += a * b;
            }
        }
        let mut steps = self.steps.iter_mut().rev().map(|n| &mut n.step);
        let earlier = steps.find(|s| s.step + 1 == self.step);
        if let Some(s) = earlier
            && let Some(batch) = s.facts.batch
        {
            let mean = (aa + bb + 2.0 * ab) / 4.0;
            s.facts.noise = Some(GradientNoise::of(2, batch, mean, (aa + bb) / 2.0));
        }
    }

    /// Adds the gradients over time (see [`time_profile`](crate::probe::time_profile)) to the step that was measured last,
    /// in the place of those of the same path and of the parts below it.
    pub fn add_time(&mut self, profiles: impl IntoIterator<Item = TimeProfile>) {
        if let Some(Numbers { step: s, .. }) = self.steps.last_mut() {
            for t in profiles {
                // What was measured of its single weights says less.
                let part = format!("{}.", t.path);
                s.time
                    .retain(|old| old.path != t.path && !old.path.starts_with(&part));
                s.time.push(t);
            }
        }
    }

    /// Call after the optimizer's step: measures the update of a measured step.
    pub fn stepped(&mut self, model: &dyn Module<T>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let before = self.before.as_mut().unwrap_or(&mut self.snapshot);
        if let Some(s) = self.steps.last_mut() {
            before.watch_update(model, s);
        }
    }

    /// Call after [`stepped`](Monitor::stepped) with the loss of the same batch (and dropout masks) at the new weights:
    /// notes how the loss bends along the step. Does nothing when the step was not measured or
    /// [`along`](Monitor::along) was not asked for.
    pub fn loss_after(&mut self, model: &dyn Module<T>, loss: f64) {
        if let Some(before) = self.before.take()
            && let Some(Numbers { step: s, .. }) = self.steps.last_mut()
            && let Some(start) = s.loss
        {
            s.facts.along = before.along(model, start, loss);
        }
    }

    /// Whether [`loss_after`](Monitor::loss_after) is waited for.
    pub fn wants_loss_after(&self) -> bool {
        self.before.is_some()
    }

    /// What was measured so far, with the loss by step as the curve `step loss`.
    pub fn run(&self) -> RunProfile {
        let steps = self.steps.iter().cloned().map(Numbers::named).collect();
        RunProfile {
            steps,
            ..RunProfile::new(self.name.clone())
        }
        .with_curve(Curve::new("step loss", self.losses.clone()))
    }

    /// Gives up what was measured.
    pub fn into_run(self) -> RunProfile {
        let steps = self.steps.into_iter().map(Numbers::named).collect();
        RunProfile {
            steps,
            ..RunProfile::new(self.name)
        }
        .with_curve(Curve::new("step loss", self.losses))
    }

    /// What was measured so far, judged by the default rules.
    pub fn report(&self) -> FlowReport {
        FlowReport::judged(self.run(), &Judge::default())
    }
}

#[cfg(test)]
mod tests;
