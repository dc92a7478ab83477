//! Recurrent layers: weights gate by gate, and biases that set the memory.

use super::{Fans, Init, Nonlinearity};
use rand::{Rng, RngExt};
use wengert_tensor::error::OrPanic;
use wengert_tensor::shape::IntoDims;
use wengert_tensor::{Error, Real, Result, Tensor};

/// Initializers of a recurrent layer.
///
/// The weights of all gates stand below each other, `[gates * hidden, inputs]` and `[gates * hidden, hidden]`; they are
/// drawn block by block ([`sample_blocks`]), each with the fans of one gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentInit {
    /// Weights from the input.
    pub input: Init,
    /// Weights from the previous state.
    pub recurrent: Init,
    /// Biases of the gates.
    pub bias: GateBias,
}

impl RecurrentInit {
    /// LSTM: Glorot uniform input weights, orthogonal recurrent weights, forget bias 1.
    pub const fn lstm() -> Self {
        RecurrentInit {
            input: Init::glorot_uniform(),
            recurrent: Init::orthogonal(),
            bias: GateBias::Forget(1.0),
        }
    }

    /// GRU: Glorot uniform input weights, orthogonal recurrent weights, the gates of memory opened with bias 1.
    pub const fn gru() -> Self {
        Self::lstm()
    }

    /// Plain recurrent layer: input weights by the nonlinearity, orthogonal recurrent weights, zero biases.
    ///
    /// For ReLU see [`RecurrentInit::irnn`] as well.
    pub fn rnn(nonlinearity: Nonlinearity) -> Self {
        RecurrentInit {
            input: nonlinearity.default_init(),
            recurrent: Init::orthogonal(),
            bias: GateBias::Zero,
        }
    }

    /// Plain recurrent ReLU layer that starts by copying its state: identity recurrent weights, input weights
    /// normal with deviation 0.001, zero biases (Le, Jaitly & Hinton 2015).
    pub const fn irnn() -> Self {
        RecurrentInit {
            input: Init::normal(0.001),
            recurrent: Init::Identity { gain: 1.0 },
            bias: GateBias::Zero,
        }
    }

    /// The same with chrono biases for dependencies of up to `steps` steps.
    #[must_use]
    pub const fn expecting(self, steps: usize) -> Self {
        RecurrentInit {
            bias: GateBias::Chrono { steps },
            ..self
        }
    }
}

/// How the biases of gates start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GateBias {
    /// All zero.
    Zero,
    /// The gate that keeps the memory starts at this value, the others at zero (Gers et al. 2000, Jozefowicz et al. 2015).
    Forget(f64),
    /// For dependencies of up to `steps` steps: the gate that keeps the memory at `ln U(1, steps - 1)`, the
    /// one that writes at its negative (Tallec & Ollivier 2018, eq. 15 and 16). Each unit then forgets
    /// with a time constant of its own, spread over 1 to `steps`.
    Chrono {
        /// Longest expected dependency, at least 2.
        steps: usize,
    },
}

/// Bias of an LSTM, `[4 * hidden]` in PyTorch's order: input, forget, cell, output.
///
/// A layer with two biases per gate (PyTorch's `bias_ih` and `bias_hh`, which are added) gives this to one of them and zeros to
/// the other.
///
/// # Errors
/// When a chrono bias expects fewer than 2 steps, or the forget bias is not finite.
pub fn lstm_bias<T: Real>(
    hidden: usize,
    rule: GateBias,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    bias(hidden, 4, rule, rng, |out, unit, keep, write| {
        out[hidden + unit] = T::from_f64(keep);
        out[unit] = T::from_f64(write);
    })
}

/// Bias of a GRU, `[3 * hidden]` in PyTorch's order: reset, update, new.
///
/// PyTorch's update gate `z` keeps: `h' = (1 - z) n + z h`. It is both the gate that keeps and, with the other sign, the one that
/// writes, so only its bias is set.
///
/// # Errors
/// As [`lstm_bias`].
pub fn gru_bias<T: Real>(
    hidden: usize,
    rule: GateBias,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    bias(hidden, 3, rule, rng, |out, unit, keep, _| {
        out[hidden + unit] = T::from_f64(keep);
    })
}

fn bias<T: Real>(
    hidden: usize,
    gates: usize,
    rule: GateBias,
    rng: &mut (impl Rng + ?Sized),
    mut set: impl FnMut(&mut [T], usize, f64, f64),
) -> Result<Tensor<T>> {
    let invalid = |message: String| {
        Err(Error::Value {
            op: "gate bias",
            message,
        })
    };
    let Some(n) = hidden.checked_mul(gates) else {
        return Err(Error::ShapeOverflow {
            op: "gate bias",
            shape: [gates, hidden].into_dims(),
        });
    };
    let mut t = Tensor::try_zeros([n])?;
    let out = t.as_mut_slice();
    match rule {
        GateBias::Zero => {}
        GateBias::Forget(v) if v.is_finite() => (0..hidden).for_each(|u| set(out, u, v, 0.0)),
        GateBias::Forget(v) => return invalid(format!("expected a finite forget bias, found {v}")),
        GateBias::Chrono { steps } if steps >= 2 => {
            for unit in 0..hidden {
                let time = 1.0 + (steps - 2) as f64 * rng.random::<f64>();
                set(out, unit, time.ln(), -time.ln());
            }
        }
        GateBias::Chrono { steps } => {
            return invalid(format!(
                "expected dependencies of at least 2 steps, found {steps}"
            ));
        }
    }
    Ok(t)
}

/// Draws a weight whose first axis is a stack of `blocks` independent weights: the gates of a recurrent layer, the query, key
/// and value projections of attention. Each block is drawn for itself with the given fans, so that an orthogonal
/// block is orthogonal.
///
/// # Panics
/// When `blocks` is 0 or does not divide the first axis, and where [`Init::sample`] panics.
#[track_caller]
pub fn sample_blocks<T: Real>(
    init: Init,
    blocks: usize,
    shape: impl IntoDims,
    fans: Fans,
    rng: &mut (impl Rng + ?Sized),
) -> Tensor<T> {
    try_sample_blocks(init, blocks, shape, fans, rng).or_panic()
}

/// As [`sample_blocks`].
///
/// # Errors
/// Where [`Init::try_sample`] errs.
///
/// # Panics
/// When `blocks` is 0 or does not divide the first axis.
#[track_caller]
pub fn try_sample_blocks<T: Real>(
    init: Init,
    blocks: usize,
    shape: impl IntoDims,
    fans: Fans,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    let shape = shape.into_dims();
    assert!(
        blocks > 0 && shape.first().is_some_and(|d| d.is_multiple_of(blocks)),
        "sample_blocks: {blocks} blocks do not divide the first axis of shape {:?}",
        shape.as_slice()
    );
    let mut out = Tensor::try_zeros(&shape)?;
    let mut block = shape.clone();
    block[0] /= blocks;
    let n = out.numel() / blocks;
    if n == 0 {
        return Ok(out);
    }
    for part in out.as_mut_slice().chunks_exact_mut(n) {
        init.try_sample::<T>(&block, fans, rng)?.copy_into(part);
    }
    Ok(out)
}
