//! Activations as values.

use super::passed;
use super::{constant, positive};
use crate::forward::Forward;
use crate::init::Nonlinearity;
use wengert_autograd::{Float, Module, Param, Path, Real, Result, Var, Visitor, VisitorMut};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// An activation function as a value: compare it, print it, store it in a configuration, or put it into a
/// [`Sequential`](crate::Sequential).
///
/// It converts into the [`Nonlinearity`] from which initializers are chosen. A learned slope is [`Prelu`].
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Activation, Forward};
/// let y = Activation::LeakyRelu(0.1).predict(&Tensor::<f64>::from_vec(vec![-1.0, 2.0], [2]));
/// assert_eq!(y.to_vec(), [-0.1, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// y = x.
    #[default]
    Identity,
    /// max(x, 0); derivative 0 at 0.
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x above 0, slope · x below (PyTorch's default slope: 0.01).
    LeakyRelu(f64),
    /// x above 0, α (eˣ - 1) below (Clevert et al. 2016; usual α: 1).
    Elu(f64),
    /// x above 0, α (e^(x/α) - 1) below (Barron 2017).
    Celu(f64),
    /// Self-normalizing ELU (Klambauer et al. 2017).
    Selu,
    /// x Φ(x), exact (Hendrycks & Gimpel 2016).
    Gelu,
    /// GELU in its tanh approximation.
    GeluTanh,
    /// x σ(x), also called swish (Elfwing et al. 2018).
    Silu,
    /// x tanh(softplus(x)) (Misra 2019).
    Mish,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// ln σ(x).
    LogSigmoid,
    /// min(max(x/6 + ½, 0), 1).
    HardSigmoid,
    /// x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).
    HardSwish,
    /// Hyperbolic tangent.
    Tanh,
    /// min(max(x, -1), 1).
    HardTanh,
    /// x - tanh x.
    Tanhshrink,
    /// x / (1 + |x|).
    Softsign,
    /// ln(1 + e^(βx)) / β (usual β: 1).
    Softplus(f64),
    /// (x + √(x² + b)) / 2 (Barron 2021).
    Squareplus(f64),
    /// x ∓ λ outside [-λ, λ], else 0.
    Softshrink(f64),
    /// x outside [-λ, λ], else 0.
    Hardshrink(f64),
    /// x above the threshold, else the value.
    Threshold {
        /// Threshold.
        threshold: f64,
        /// What stands at and below it.
        value: f64,
    },
    /// e^x / Σ e^x along an axis.
    Softmax(isize),
    /// ln softmax along an axis.
    LogSoftmax(isize),
    /// Gated linear unit: the axis is cut in halves a and b, y = a σ(b) (Dauphin et al. 2017).
    Glu(isize),
}

impl Activation {
    /// The function itself.
    ///
    /// # Panics
    /// When the axis of softmax is out of range, or that of GLU has an odd size.
    #[track_caller]
    pub fn apply<T: Float>(self, x: Var<'_, T>) -> Var<'_, T> {
        match self {
            Activation::Identity => x,
            Activation::Relu => x.relu(),
            Activation::Relu6 => x.relu6(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Elu(alpha) => x.elu(alpha),
            Activation::Celu(alpha) => x.celu(alpha),
            Activation::Selu => x.selu(),
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Silu => x.silu(),
            Activation::Mish => x.mish(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::LogSigmoid => x.logsigmoid(),
            Activation::HardSigmoid => x.hardsigmoid(),
            Activation::HardSwish => x.hardswish(),
            Activation::Tanh => x.tanh(),
            Activation::HardTanh => x.hardtanh(-1.0, 1.0),
            Activation::Tanhshrink => x.tanhshrink(),
            Activation::Softsign => x.softsign(),
            Activation::Softplus(beta) => x.softplus_beta(beta),
            Activation::Squareplus(b) => x.squareplus(b),
            Activation::Softshrink(lambda) => x.softshrink(lambda),
            Activation::Hardshrink(lambda) => x.hardshrink(lambda),
            Activation::Threshold { threshold, value } => x.threshold(threshold, value),
            Activation::Softmax(axis) => x.softmax(axis),
            Activation::LogSoftmax(axis) => x.log_softmax(axis),
            Activation::Glu(axis) => {
                let n = x.size(axis);
                assert!(
                    n.is_multiple_of(2),
                    "glu: axis {axis} of shape {:?} has odd size {n}, it cannot be halved",
                    x.shape().as_slice()
                );
                x.narrow(axis, 0, n / 2) * x.narrow(axis, n / 2, n).sigmoid()
            }
        }
    }

    /// The class of functions that it belongs to, for the choice of an initializer.
    pub fn nonlinearity(self) -> Nonlinearity {
        match self {
            Activation::Relu | Activation::Threshold { .. } => Nonlinearity::Relu,
            Activation::Relu6 => Nonlinearity::Relu6,
            Activation::LeakyRelu(slope) => Nonlinearity::LeakyRelu { slope },
            Activation::Elu(alpha) | Activation::Celu(alpha) => Nonlinearity::Elu { alpha },
            Activation::Selu => Nonlinearity::Selu,
            Activation::Gelu | Activation::GeluTanh => Nonlinearity::Gelu,
            Activation::Silu => Nonlinearity::Silu,
            Activation::Mish => Nonlinearity::Mish,
            Activation::Sigmoid | Activation::LogSigmoid | Activation::Glu(_) => {
                Nonlinearity::Sigmoid
            }
            Activation::HardSigmoid => Nonlinearity::HardSigmoid,
            Activation::HardSwish => Nonlinearity::HardSwish,
            Activation::Tanh => Nonlinearity::Tanh,
            Activation::HardTanh => Nonlinearity::HardTanh,
            Activation::Softsign => Nonlinearity::Softsign,
            Activation::Softplus(_) | Activation::Squareplus(_) => Nonlinearity::Softplus,
            Activation::Softmax(_) | Activation::LogSoftmax(_) => Nonlinearity::Softmax,
            Activation::Identity
            | Activation::Tanhshrink
            | Activation::Softshrink(_)
            | Activation::Hardshrink(_) => Nonlinearity::Linear,
        }
    }
}

impl From<Activation> for Nonlinearity {
    fn from(a: Activation) -> Self {
        a.nonlinearity()
    }
}

impl<T: Float> Forward<T> for Activation {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, self.apply(x))
    }
}

impl<T: Real> Module<T> for Activation {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.enter_at(path.as_str(), Module::<T>::kind(self), super::place(self));
        visitor.leave(path.as_str());
    }
    fn visit_mut(&mut self, _: &mut Path, _: &mut dyn VisitorMut<T>) {}
    fn kind(&self) -> &'static str {
        match self {
            Activation::Identity => "Identity",
            Activation::Relu => "Relu",
            Activation::Relu6 => "Relu6",
            Activation::LeakyRelu(_) => "LeakyRelu",
            Activation::Elu(_) => "Elu",
            Activation::Celu(_) => "Celu",
            Activation::Selu => "Selu",
            Activation::Gelu => "Gelu",
            Activation::GeluTanh => "GeluTanh",
            Activation::Silu => "Silu",
            Activation::Mish => "Mish",
            Activation::Sigmoid => "Sigmoid",
            Activation::LogSigmoid => "LogSigmoid",
            Activation::HardSigmoid => "HardSigmoid",
            Activation::HardSwish => "HardSwish",
            Activation::Tanh => "Tanh",
            Activation::HardTanh => "HardTanh",
            Activation::Tanhshrink => "Tanhshrink",
            Activation::Softsign => "Softsign",
            Activation::Softplus(_) => "Softplus",
            Activation::Squareplus(_) => "Squareplus",
            Activation::Softshrink(_) => "Softshrink",
            Activation::Hardshrink(_) => "Hardshrink",
            Activation::Threshold { .. } => "Threshold",
            Activation::Softmax(_) => "Softmax",
            Activation::LogSoftmax(_) => "LogSoftmax",
            Activation::Glu(_) => "Glu",
        }
    }
}

/// ReLU with a learned slope below 0: y = x above 0, a x below (He et al. 2015).
///
/// `weight` holds one slope for all, or one per channel (axis 1 of inputs of rank 2 and more, axis 0 of vectors), 0.25
/// at the start, as in PyTorch.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, Prelu};
/// let x = Tensor::from_vec(vec![-2.0, 2.0], [2]);
/// assert_eq!(Prelu::<f32>::new().predict(&x).to_vec(), [-0.5, 2.0]);
/// ```
///
/// # Panics
/// `forward` panics when there is more than one slope and the input has another number of channels.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Prelu<T: Float = f32> {
    /// `[1]` or `[channels]`.
    pub weight: Param<T>,
}

impl<T: Float> Prelu<T> {
    /// One slope for all channels.
    pub fn new() -> Self {
        Self::try_with(1, 0.25).or_panic()
    }

    /// One slope for each of `channels`, starting at `slope`.
    ///
    /// # Panics
    /// Where [`Prelu::try_with`] errs.
    #[track_caller]
    pub fn with(channels: usize, slope: f64) -> Self {
        Self::try_with(channels, slope).or_panic()
    }

    /// One slope for each of `channels`, starting at `slope`.
    ///
    /// # Errors
    /// When there are no channels.
    pub fn try_with(channels: usize, slope: f64) -> Result<Self> {
        positive("prelu", "a number of channels", channels)?;
        Ok(Prelu {
            weight: constant(&[channels], slope)?,
        })
    }
}

impl<T: Float> Default for Prelu<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Forward<T> for Prelu<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let slope = x.tape().param(&self.weight);
        let channels = slope.numel();
        let mut shape = x.shape();
        let axis = usize::from(shape.len() > 1);
        assert!(
            channels == 1 || shape.get(axis) == Some(&channels),
            "prelu: input of shape {:?} does not have {channels} channels at axis {axis}",
            shape.as_slice()
        );
        if channels == 1 && !shape.is_empty() {
            return x.prelu(slope);
        }
        for (i, d) in shape.iter_mut().enumerate() {
            *d = if i == axis { channels } else { 1 };
        }
        x.prelu(slope.reshape(shape))
    }
}
