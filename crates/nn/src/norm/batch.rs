//! Batch normalization.

use super::epsilon;
use crate::forward::Forward;
use crate::layers::{along, constant, positive, refuse, zeros};
use wengert_autograd::{
    Buffer, Float, Module, Param, Path, Real, Result, Tensor, Var, Visitor, VisitorMut,
};
use wengert_tensor::error::OrPanic;

/// Batch norm over inputs `[n, channels]` or `[n, channels, length]`.
pub type BatchNorm1d<T = f32> = BatchNorm<1, T>;
/// Batch norm over images `[n, channels, height, width]`.
pub type BatchNorm2d<T = f32> = BatchNorm<2, T>;
/// Batch norm over volumes `[n, channels, depth, height, width]`.
pub type BatchNorm3d<T = f32> = BatchNorm<3, T>;

/// Batch normalization (Ioffe & Szegedy 2015), for `D` spatial axes:
/// y = γ (x - mean) / √(var + ε) + β, with mean and variance of each channel.
///
/// On a training tape these come from the batch (variance divided by n), and the running statistics move by
/// r ← (1 - m) r + m s (variance divided by n - 1), or become the cumulative average of all batches. They leave the
/// forward pass as side outputs and are applied by the optimizer's step; a layer used twice in one recording moves them
/// twice. On an inference tape the running statistics normalize.
///
/// | | shape | start |
/// |---|---|---|
/// | `weight` γ, `bias` β | `[channels]`, or none | 1, 0 |
/// | `running_mean`, `running_var` | `[channels]`, or none | 0, 1 |
/// | `num_batches_tracked` | `[]` | 0 |
///
/// Defaults are PyTorch's: ε = 1e-5, momentum 0.1, with γ and β, with running statistics. Where the running statistics
/// are frozen, they normalize in training, too: a frozen layer is one fixed affine map.
///
/// ```
/// use wengert_autograd::{Gradients, Tape, Tensor};
/// use wengert_nn::{BatchNorm1d, Forward};
/// let bn: BatchNorm1d = BatchNorm1d::new(2);
/// let tape = Tape::training(0);
/// let x = tape.input(&Tensor::from_vec(vec![1.0, 10.0, 3.0, 30.0], [2, 2]));
/// let side = bn.forward(x).sum().backward();
/// let mean = side.side_output(bn.running_mean.as_ref().unwrap().id()).unwrap();
/// assert_eq!(mean.to_vec(), [0.2, 2.0]);
/// ```
///
/// # Panics
/// `forward` panics when the input has another rank or number of channels, and on a training tape when a channel has no
/// more than one value, whose variance means nothing.
#[derive(Clone)]
pub struct BatchNorm<const D: usize, T: Float = f32> {
    /// γ.
    pub weight: Option<Param<T>>,
    /// β.
    pub bias: Option<Param<T>>,
    /// Mean of past batches.
    pub running_mean: Option<Buffer<T>>,
    /// Variance of past batches.
    pub running_var: Option<Buffer<T>>,
    /// Number of past batches.
    pub num_batches_tracked: Option<Buffer<T>>,
    channels: usize,
    eps: f64,
    momentum: Option<f64>,
}

impl<const D: usize, T: Float> BatchNorm<D, T> {
    const NAME: &'static str = match D {
        1 => "batch_norm1d",
        2 => "batch_norm2d",
        3 => "batch_norm3d",
        _ => "batch_norm",
    };

    /// The layer with PyTorch's defaults.
    ///
    /// # Panics
    /// When there are no channels.
    #[track_caller]
    pub fn new(channels: usize) -> Self {
        Self::try_new(channels).or_panic()
    }

    /// The layer with PyTorch's defaults.
    ///
    /// # Errors
    /// When there are no channels.
    pub fn try_new(channels: usize) -> Result<Self> {
        positive(Self::NAME, "a number of channels", channels)?;
        Ok(BatchNorm {
            weight: Some(constant(&[channels], 1.0)?),
            bias: Some(zeros(&[channels])?),
            running_mean: Some(Buffer::new(Tensor::try_zeros([channels])?)),
            running_var: Some(Buffer::new(Tensor::full([channels], T::one()))),
            num_batches_tracked: Some(Buffer::new(Tensor::scalar(T::zero()))),
            channels,
            eps: 1e-5,
            momentum: Some(0.1),
        })
    }

    /// Another ε.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon(Self::NAME, eps).or_panic();
        self.eps = eps;
        self
    }

    /// Another share of the new batch in the running statistics.
    ///
    /// # Panics
    /// When it is not in [0, 1].
    #[track_caller]
    #[must_use]
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        if !(0.0..=1.0).contains(&momentum) {
            refuse::<()>(
                Self::NAME,
                format!("expected a momentum in [0, 1], found {momentum}"),
            )
            .or_panic();
        }
        self.momentum = Some(momentum);
        self
    }

    /// Running statistics that are the plain average of all batches (PyTorch's `momentum=None`).
    #[must_use]
    pub fn with_cumulative_average(mut self) -> Self {
        self.momentum = None;
        self
    }

    /// Without γ and β.
    #[must_use]
    pub fn without_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }

    /// Without running statistics: the batch normalizes in evaluation, too (PyTorch's `track_running_stats=False`).
    #[must_use]
    pub fn without_running_statistics(mut self) -> Self {
        (
            self.running_mean,
            self.running_var,
            self.num_batches_tracked,
        ) = (None, None, None);
        self
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The term that keeps the root away from 0.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Share of the new batch in the running statistics; none for the cumulative average.
    pub fn momentum(&self) -> Option<f64> {
        self.momentum
    }

    /// Declares the running statistics that follow from those of this batch.
    #[track_caller]
    fn track<'t>(&self, x: Var<'t, T>, mean: Var<'t, T>, var: Var<'t, T>, n: usize) {
        let (Some(running_mean), Some(running_var)) = (&self.running_mean, &self.running_var)
        else {
            return;
        };
        let tape = x.tape();
        let follow = || {
            let count = (self.num_batches_tracked.as_ref()).map(|b| (b, tape.buffer(b) + 1.0));
            let unbiased = var * (n as f64 / (n as f64 - 1.0));
            for (buffer, new) in [(running_mean, mean), (running_var, unbiased)] {
                let old = tape.buffer(buffer);
                let new = new.reshape([self.channels]);
                let moved = match (self.momentum, &count) {
                    (Some(m), _) => old * (1.0 - m) + new * m,
                    (None, Some((_, n))) => old + (new - old) / *n,
                    // The count is gone: every batch stands for itself.
                    (None, None) => new,
                };
                tape.side_output(buffer, moved);
            }
            if let Some((buffer, count)) = count {
                tape.side_output(buffer, count);
            }
        };
        tape.at_caller(|| tape.no_grad(follow));
    }
}

impl<const D: usize, T: Float> Forward<T> for BatchNorm<D, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.run(x, false)
    }
}

impl<const D: usize, T: Float> BatchNorm<D, T> {
    /// The layer and a relu behind it, which costs no pass over the data of its own in training.
    ///
    /// # Panics
    /// As `forward`.
    #[track_caller]
    pub fn forward_relu<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.run(x, true)
    }

    #[track_caller]
    fn run<'t>(&self, x: Var<'t, T>, relu: bool) -> Var<'t, T> {
        let shape = x.shape();
        let rank = shape.len();
        let fits = rank == D + 2 || (D == 1 && rank == 2);
        assert!(
            fits && shape[1] == self.channels,
            "{}: input of shape {:?} does not fit (expected rank {} with {} channels at axis 1)",
            Self::NAME,
            shape.as_slice(),
            if D == 1 {
                "2 or 3".to_owned()
            } else {
                (D + 2).to_string()
            },
            self.channels
        );
        let tape = x.tape();
        let weight = self.weight.as_ref().map(|w| tape.param(w));
        let bias = self.bias.as_ref().map(|b| tape.param(b));
        let fixed = (self.running_mean.as_ref().zip(self.running_var.as_ref()))
            .filter(|(m, v)| !tape.is_training() || (m.is_frozen() && v.is_frozen()));
        if let Some((mean, var)) = fixed {
            // A fixed affine map: per channel first, so that the large tensor is passed once.
            let scale = (tape.buffer(var) + self.eps).rsqrt();
            // Not in closures: the line of the caller is recorded.
            let scale = match weight {
                Some(w) => w * scale,
                None => scale,
            };
            let y = (x - along(tape.buffer(mean), 1, rank)) * along(scale, 1, rank);
            let y = match bias {
                Some(b) => y + along(b, 1, rank),
                None => y,
            };
            return if relu { y.relu() } else { y };
        }
        let n = x.numel() / self.channels;
        assert!(
            n > 1 || !tape.is_training(),
            "{}: expected more than one value per channel while training, found shape {:?}",
            Self::NAME,
            shape.as_slice()
        );
        let (y, mean, var) = x.batch_normalized(weight, bias, self.eps, relu);
        if tape.is_training() {
            self.track(x, mean, var, n);
        }
        y
    }
}

impl<const D: usize, T: Float> BatchNorm<D, T> {
    const KIND: &'static str = match D {
        1 => "BatchNorm1d",
        2 => "BatchNorm2d",
        3 => "BatchNorm3d",
        _ => "BatchNorm",
    };
}

impl<const D: usize, T: Float + Real> Module<T> for BatchNorm<D, T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.enter(path.as_str(), Self::KIND);
        path.scoped("weight", |p| self.weight.visit(p, visitor));
        path.scoped("bias", |p| self.bias.visit(p, visitor));
        path.scoped("running_mean", |p| self.running_mean.visit(p, visitor));
        path.scoped("running_var", |p| self.running_var.visit(p, visitor));
        path.scoped("num_batches_tracked", |p| {
            self.num_batches_tracked.visit(p, visitor);
        });
        visitor.leave(path.as_str());
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        path.scoped("weight", |p| self.weight.visit_mut(p, visitor));
        path.scoped("bias", |p| self.bias.visit_mut(p, visitor));
        path.scoped("running_mean", |p| self.running_mean.visit_mut(p, visitor));
        path.scoped("running_var", |p| self.running_var.visit_mut(p, visitor));
        path.scoped("num_batches_tracked", |p| {
            self.num_batches_tracked.visit_mut(p, visitor);
        });
    }
    fn kind(&self) -> &'static str {
        Self::KIND
    }
}
