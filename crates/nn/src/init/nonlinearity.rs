//! The activation that follows a weight, its gain, and the initializer that fits.

use super::{FanMode, Init};
use std::fmt;

/// The activation function that follows a weight.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Nonlinearity {
    /// None: an output layer, a linear bottleneck.
    #[default]
    Linear,
    /// Logistic sigmoid.
    Sigmoid,
    /// Piecewise linear sigmoid.
    HardSigmoid,
    /// Softmax.
    Softmax,
    /// Hyperbolic tangent.
    Tanh,
    /// `clamp(x, -1, 1)`.
    HardTanh,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `max(x, 0)`.
    Relu,
    /// `clamp(x, 0, 6)`.
    Relu6,
    /// `x` above zero, `slope * x` below; also PReLU with its initial slope.
    LeakyRelu {
        /// Slope below zero.
        slope: f64,
    },
    /// `x` above zero, `alpha (eˣ - 1)` below.
    Elu {
        /// Depth of the negative plateau.
        alpha: f64,
    },
    /// Self-normalizing ELU.
    Selu,
    /// `x Φ(x)`, exact or in its tanh form.
    Gelu,
    /// `x σ(x)`, also called swish.
    Silu,
    /// `x tanh(softplus(x))`.
    Mish,
    /// `x relu6(x + 3) / 6`.
    HardSwish,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// Another function, with `gain = 1 / sqrt(E f(z)²)` for standard normal `z`.
    Custom {
        /// The gain.
        gain: f64,
    },
}

impl Nonlinearity {
    /// Factor by which weights of variance `1 / fan` are multiplied to make up for the function.
    ///
    /// | function | gain | source |
    /// |---|---|---|
    /// | linear, sigmoid, hard sigmoid, softmax, softsign, hard tanh | 1 | PyTorch's `calculate_gain` for the first two, tangent at 0 or convention for the others |
    /// | tanh | 5/3 | `calculate_gain` |
    /// | ReLU, ReLU6, softplus | √2 | He et al. 2015 |
    /// | leaky ReLU of slope a | √(2 / (1 + a²)) | He et al. 2015, eq. 15 |
    /// | SELU | 3/4 | `calculate_gain` |
    /// | ELU, GELU, SiLU, Mish, hard swish | 1 / √(E f(z)²), z ~ N(0, 1) | He's rule with the function's own second moment, which keeps unit activations at unit size |
    ///
    /// Two entries are conventions rather than derivations. `5/3` for tanh makes deep plain nets chaotic (each layer
    /// multiplies the squared gradient by more than one), so [`Nonlinearity::default_init`] takes Glorot with gain 1. PyTorch's `3/4`
    /// for SELU gives up self-normalization, which needs gain 1 (LeCun); `default_init` does that.
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear
            | Nonlinearity::Sigmoid
            | Nonlinearity::HardSigmoid
            | Nonlinearity::Softmax
            | Nonlinearity::HardTanh
            | Nonlinearity::Softsign => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu | Nonlinearity::Relu6 | Nonlinearity::Softplus => {
                std::f64::consts::SQRT_2
            }
            Nonlinearity::LeakyRelu { slope } => leaky_gain(slope),
            // E f(z)² = 1/2 + alpha² E[(eᶻ - 1)²; z < 0].
            Nonlinearity::Elu { alpha } => {
                1.0 / (0.5 + alpha * alpha * 0.144_945_417_492_923_86).sqrt()
            }
            Nonlinearity::Selu => 0.75,
            Nonlinearity::Gelu => 1.533_530_441_195_535_2,
            Nonlinearity::Silu => 1.676_532_470_331_091,
            Nonlinearity::Mish => 1.486_847_581_273_208,
            Nonlinearity::HardSwish => 1.736_657_212_766_541_6,
            Nonlinearity::Custom { gain } => gain,
        }
    }

    /// The initializer that fits a weight followed by this function.
    ///
    /// - Glorot uniform: linear, sigmoid, softmax, tanh and their piecewise linear kin. Near zero they are linear, so one gain
    ///   serves both directions and the mean of both fans is the fair compromise (Glorot & Bengio 2010, eq. 16).
    /// - He normal, fan in: ReLU and leaky ReLU with their slope (He et al. 2015); softplus and ReLU6 as their smooth and clipped
    ///   versions.
    /// - LeCun normal: SELU, whose fixed point (mean 0, variance 1) is derived for weights of variance `1 / fan_in`
    ///   (Klambauer et al. 2017).
    /// - ELU: normal, fan in, variance `gain² / fan_in`, He's derivation with the second moment of ELU itself. Unit size is a
    ///   stable fixed point: what is too large comes back.
    /// - GELU, SiLU, Mish, hard swish: normal, fan in, with the mean of [`Nonlinearity::gain`] and √2. Their unit size is an unstable
    ///   fixed point: larger values meet an almost linear function and grow by `gain²/2` a layer, smaller ones vanish. At the full gain,
    ///   gradients grow 12-fold (GELU) to 600-fold (hard swish) over 30 layers of width 256, at √2 they shrink to 2e-2
    ///   (GELU) to 1e-4 (SiLU, hard swish); half way all four stay between 1 and 50.
    pub fn default_init(self) -> Init {
        let scaled = |gain: f64| Init::VarianceScaling {
            scale: gain * gain,
            mode: FanMode::FanIn,
            distribution: super::Distribution::Normal,
        };
        match self {
            Nonlinearity::Linear
            | Nonlinearity::Sigmoid
            | Nonlinearity::HardSigmoid
            | Nonlinearity::Softmax
            | Nonlinearity::Tanh
            | Nonlinearity::HardTanh
            | Nonlinearity::Softsign => Init::glorot_uniform(),
            Nonlinearity::Relu | Nonlinearity::Relu6 | Nonlinearity::Softplus => Init::he_normal(),
            Nonlinearity::LeakyRelu { slope } => Init::HeNormal {
                slope,
                mode: FanMode::FanIn,
            },
            Nonlinearity::Selu => Init::LecunNormal,
            Nonlinearity::Elu { .. } | Nonlinearity::Custom { .. } => scaled(self.gain()),
            Nonlinearity::Gelu
            | Nonlinearity::Silu
            | Nonlinearity::Mish
            | Nonlinearity::HardSwish => scaled(0.5 * (self.gain() + std::f64::consts::SQRT_2)),
        }
    }

    /// The function's name.
    pub fn name(self) -> &'static str {
        match self {
            Nonlinearity::Linear => "linear",
            Nonlinearity::Sigmoid => "sigmoid",
            Nonlinearity::HardSigmoid => "hard_sigmoid",
            Nonlinearity::Softmax => "softmax",
            Nonlinearity::Tanh => "tanh",
            Nonlinearity::HardTanh => "hard_tanh",
            Nonlinearity::Softsign => "softsign",
            Nonlinearity::Relu => "relu",
            Nonlinearity::Relu6 => "relu6",
            Nonlinearity::LeakyRelu { .. } => "leaky_relu",
            Nonlinearity::Elu { .. } => "elu",
            Nonlinearity::Selu => "selu",
            Nonlinearity::Gelu => "gelu",
            Nonlinearity::Silu => "silu",
            Nonlinearity::Mish => "mish",
            Nonlinearity::HardSwish => "hard_swish",
            Nonlinearity::Softplus => "softplus",
            Nonlinearity::Custom { .. } => "custom",
        }
    }
}

impl fmt::Display for Nonlinearity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `√(2 / (1 + slope²))`: He et al. 2015, eq. 15.
pub(super) fn leaky_gain(slope: f64) -> f64 {
    (2.0 / (1.0 + slope * slope)).sqrt()
}
