//! Measuring a network while it computes: layers are found on the tape, their values and adjoints are summarised in
//! passing.
//!
//! A layer is an operation with a weight (a parameter of rank 2 or more): `matmul`, `conv…`, `embedding`, a recurrent
//! cell. Its path is that of the module that owns the weight. The bias and the activation function that follow belong
//! to it; its output is the activation's.

mod activation;
mod assemble;
mod facts;
mod layers;
mod names;
mod recorder;
mod recording;
mod snapshot;
mod structure;
mod time;
mod values;

use activation::{Act, Flat, activation, keeps_elements, recurrent_output, weighted};
use layers::owner;
pub(crate) use names::{Names, Numbers};
use recorder::Recorder;
pub(crate) use snapshot::Picked;
pub use snapshot::Snapshot;
pub use time::rms_by_step;

use crate::hub;
use crate::profile::{Bins, Detail, StepProfile, Summary, TimeProfile};
use wengert_autograd::{Float, Gradients, Module, Tensor, Var};

/// What is remembered between the measured steps of a training.
pub(crate) struct Memory<T: Float> {
    recorder: Option<Box<Recorder<T>>>,
}

impl<T: Float> Default for Memory<T> {
    fn default() -> Self {
        Memory { recorder: None }
    }
}

fn summary<T: Float>(t: &Tensor<T>, detail: Detail) -> Summary {
    Summary::with(&snapshot::contiguous(t), detail)
}

/// Share of an activation's largest slope below which a unit counts as saturated.
pub const SATURATED_SLOPE: f64 = 0.05;

/// Name of the share of units that are and stay identical, among the further measurements of a layer.
pub const IDENTICAL_UNITS: &str = "identical units";

/// Name of the effective rank of a layer's outputs, among its further measurements: `(Σ λ)² / Σ λ²` for the eigenvalues `λ`
/// of their covariance over at most 256 samples, the number of directions that carry the signal (participation ratio).
pub const EFFECTIVE_RANK: &str = "effective rank";

/// Name of the share of rectified units that were zero for every sample of every observed batch so far.
pub const DEAD_SO_FAR: &str = "dead so far";

/// What a [`Probe`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Detail of the summaries of activations.
    pub detail: Detail,
    /// Detail of the summaries of activation gradients, weights and weight gradients.
    pub inner: Detail,
    /// Values of the inputs and of one weight that are summarised at most, spread over them in short runs; 0 means all.
    /// What is not finite is looked for in all of a weight, and in all inputs when anything is not.
    pub sample: usize,
    /// Values of the gradient of one weight that are summarised at most, spread over it in short runs; 0 means all. What
    /// is not finite is looked for in all of it, as in outputs of layers and their gradients, which are always read whole.
    pub grad_sample: usize,
    /// Whether to look for what shows at the start of a run: identical units, the scale of single input features, the
    /// very operation that makes the first NaN or infinity. For the last, every value is looked at and nothing is fused:
    /// for one step in a run, not for each.
    pub start: bool,
    /// Whether to measure the effective rank of outputs `[samples, units]` (see [`EFFECTIVE_RANK`]).
    pub rank: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        ProbeOptions {
            detail: Detail::histogram(Bins::Auto),
            inner: Detail::histogram(Bins::Auto),
            sample: 0,
            grad_sample: 0,
            start: true,
            rank: false,
        }
    }
}

/// Gradient of the loss with respect to each state of a recurrent layer, from the first time step to the last; to be
/// called before `backward`, which spends the tape. Put it into [`StepProfile::time`].
///
/// The states are `Var`s that the recording went through: those a cell returns, or a sequence layer run step by step.
///
/// ```
/// use wengert_autograd::{Tape, Tensor};
/// use wengert_flow::probe::time_profile;
/// let tape = Tape::<f64>::training(0);
/// let mut states = vec![tape.input(&Tensor::ones([1]))];
/// for _ in 0..9 {
///     let last = states[states.len() - 1];
///     states.push(last * 0.5);
/// }
/// let t = time_profile("halving", states[9].sum(), &states);
/// assert!((t.decay().unwrap() - 0.5).abs() < 1e-12);
/// ```
#[track_caller]
pub fn time_profile<'t, T: Float>(
    path: &str,
    loss: Var<'t, T>,
    states: &[Var<'t, T>],
) -> TimeProfile {
    let one = loss.tape().full(loss.shape().as_slice(), 1.0);
    let grads = wengert_autograd::vjp_many(&[loss], &[one], states);
    let rms = |g: &Var<'t, T>| {
        let g = g.value();
        let sum: f64 = g.iter().map(|x| x.as_f64().powi(2)).sum();
        (sum / g.numel().max(1) as f64).sqrt()
    };
    TimeProfile {
        path: path.into(),
        grad_rms: grads.iter().map(rms).collect(),
    }
}

/// What a probe gives: gradients, and what was measured.
pub(crate) type Probed<T> = (Gradients<T>, Numbers);

/// Measures one training step of any model, without changing it.
///
/// ```
/// use wengert_autograd::{Param, Tape, Tensor};
/// use wengert_flow::probe::Probe;
/// let model = vec![Param::new(Tensor::<f32>::full([3, 2], 0.1)), Param::new(Tensor::full([1, 3], 0.2))];
/// let tape = Tape::training(0);
/// let x = tape.input(&Tensor::ones([4, 2]));
/// let h = x.linear(tape.param(&model[0]), None).tanh();
/// let loss = h.linear(tape.param(&model[1]), None).square().mean();
/// let (grads, step) = Probe::default().backward(loss, &model);
/// assert_eq!((step.layers.len(), grads.len()), (2, 2));
/// assert!(step.layers[0].activation_grad_rms().unwrap() > 0.0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    options: ProbeOptions,
}

impl Probe {
    /// A probe with its own settings.
    pub fn new(options: ProbeOptions) -> Self {
        Probe { options }
    }

    /// As [`Var::backward`], and measures every layer in passing.
    ///
    /// # Panics
    /// As [`Var::backward`].
    #[track_caller]
    pub fn backward<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
    ) -> (Gradients<T>, StepProfile) {
        let (memory, picked) = (&mut Memory::default(), &mut Picked::default());
        let (grads, numbers) = self.tallied(loss, model, memory, picked);
        (grads, numbers.named())
    }

    /// As [`backward`](Probe::backward), with a memory of former steps. Gives what was picked of large weights, too.
    #[track_caller]
    pub(crate) fn tallied<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
        memory: &mut Memory<T>,
        picked: &mut Picked<T>,
    ) -> Probed<T> {
        (hub::ops().probe)(self, loss, model, memory, picked)
    }

    /// [`tallied`](Probe::tallied), compiled in this crate.
    pub(crate) fn measure<T: Float>(
        &self,
        loss: Var<'_, T>,
        model: &dyn Module<T>,
        memory: &mut Memory<T>,
        picked: &mut Picked<T>,
    ) -> Probed<T> {
        let tape = loss.tape();
        let former = memory.recorder.take();
        let mut recorder = Recorder::of(former, tape, model, loss.index(), self.options);
        std::mem::swap(&mut recorder.picked, picked);
        tape.set_observer(recorder);
        // What is wanted may differ from the last probe's; planning costs little beside measuring.
        if self.options.start {
            tape.forget_observed_plans();
        }
        let grads = loss.backward();
        if self.options.start {
            tape.forget_observed_plans();
        }
        let recorder = tape
            .take_observer()
            .map(|o| o.into_any().downcast::<Recorder<T>>());
        let Some(Ok(mut recorder)) = recorder else {
            unreachable!("the recorder was set above")
        };
        std::mem::swap(&mut recorder.picked, picked);
        picked.see_all(recorder.weights_of_rank_two());
        recorder.complete(&grads, model);
        let numbers = recorder.profile(&grads, tape, model);
        memory.recorder = Some(recorder);
        (grads, numbers)
    }
}

#[cfg(test)]
mod tests;
