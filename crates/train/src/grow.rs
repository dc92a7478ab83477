//! Networks that grow: wider and deeper, computing the same function at first (Net2Net: Chen, Goodfellow and Shlens
//! 2016).
//!
//! **Wider.** A [`Widening`] says which unit each new unit copies. The layer that makes the units takes copies of the
//! rows, the layer that reads them divides each column among the copies. Here the shares are random (they sum to 1),
//! not equal: copies with equal shares would get equal gradients and stay copies for ever, which the paper breaks with noise
//! and thereby changes the function.
//!
//! **Deeper.** An [`identity`] layer behind an activation with f(f(x)) = f(x), such as ReLU, changes nothing; nor does a residual block
//! whose last layer is zero.
//!
//! **The optimizer** finds parameters again by identity, then by path: those that were left alone keep their moments and
//! step counts, wherever in a list they now stand; those that were replaced begin anew.
//!
//! ```
//! use rand::SeedableRng;
//! use rand::rngs::Xoshiro256PlusPlus;
//! use wengert_autograd::Tensor;
//! use wengert_nn::{Activation, Forward, Linear};
//! use wengert_train::grow;
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let mut net: (Linear, Activation, Linear) =
//!     (Linear::new(4, 8, &mut rng), Activation::Relu, Linear::new(8, 3, &mut rng));
//! let x = Tensor::from_fn([5, 4], |i| (i[0] * 4 + i[1]) as f32 / 10.0);
//! let before = net.predict(&x);
//! grow::widen(&mut net.0, &mut net.2, 20, &mut rng)?;
//! let deeper = (net.0, net.1, grow::identity(20), Activation::Relu, net.2);
//! let after = deeper.predict(&x);
//! assert!(before.iter().zip(after.iter()).all(|(a, b)| (a - b).abs() < 1e-5));
//! # Ok::<(), wengert_train::Error>(())
//! ```

use crate::error::{Error, Result};
use rand::Rng;
use wengert_autograd::{Buffer, Float, Param, Real, Tensor};
use wengert_data::random::{below, uniform_f64};
use wengert_nn::{BatchNorm, Linear};

/// Which old unit each new unit copies, and its share of that unit's outgoing weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Widening {
    old: usize,
    source: Vec<usize>,
    share: Vec<f64>,
}

impl Widening {
    /// From `old` to `new` units: the first `old` stay, the others copy units chosen at random.
    ///
    /// # Errors
    /// When there are no units, or fewer than before.
    pub fn new(old: usize, new: usize, rng: &mut impl Rng) -> Result<Self> {
        if old == 0 || new < old {
            return Err(Error::configuration(
                "Widening",
                format!("at least as many units as before expected, found {new} for {old}"),
            ));
        }
        let mut source: Vec<usize> = (0..old).collect();
        source.extend((old..new).map(|_| below(rng, old as u64) as usize));
        // Shares between 1/3 and 3 of one another, so that none is next to nothing.
        let weight: Vec<f64> = source.iter().map(|_| 0.5 + uniform_f64(rng)).collect();
        let mut total = vec![0.0; old];
        for (s, w) in source.iter().zip(&weight) {
            total[*s] += w;
        }
        let share = source.iter().zip(&weight).map(|(s, w)| w / total[*s]);
        let share = share.collect();
        Ok(Widening { old, source, share })
    }

    /// The old unit that each new one copies.
    pub fn source(&self) -> &[usize] {
        &self.source
    }

    /// The share that each new unit has of the outgoing weights of the one it copies.
    pub fn share(&self) -> &[f64] {
        &self.share
    }

    /// Number of units afterwards.
    pub fn width(&self) -> usize {
        self.source.len()
    }

    fn spread<T: Real>(&self, t: &Tensor<T>, axis: usize, shared: bool) -> Result<Tensor<T>> {
        if t.shape().get(axis) != Some(&self.old) {
            return Err(Error::configuration(
                "Widening",
                format!(
                    "{} units at axis {axis} expected, found shape {:?}",
                    self.old,
                    t.shape()
                ),
            ));
        }
        let inner: usize = t.shape()[axis + 1..].iter().product();
        let mut shape = t.shape().to_vec();
        shape[axis] = self.width();
        let values = t.to_vec();
        let mut out = Vec::with_capacity(shape.iter().product());
        for block in values.chunks_exact((self.old * inner).max(1)) {
            for (s, share) in self.source.iter().zip(&self.share) {
                let run = &block[s * inner..(s + 1) * inner];
                let alone = *share == 1.0 || !shared;
                out.extend(run.iter().map(|x| {
                    if alone {
                        *x
                    } else {
                        T::from_f64(x.as_f64() * share)
                    }
                }));
            }
        }
        Tensor::try_from_vec(out, &shape[..]).map_err(Error::other)
    }

    /// Copies: for weights and biases that make the units, whose axis `axis` counts them.
    ///
    /// # Errors
    /// When the axis has another size.
    pub fn copy<T: Float>(&self, param: &mut Param<T>, axis: usize) -> Result<()> {
        replace(param, self.spread(param.value(), axis, false)?);
        Ok(())
    }

    /// Divides: for weights that read the units, whose axis `axis` counts them.
    ///
    /// # Errors
    /// When the axis has another size.
    pub fn divide<T: Float>(&self, param: &mut Param<T>, axis: usize) -> Result<()> {
        replace(param, self.spread(param.value(), axis, true)?);
        Ok(())
    }

    /// A batch norm between the two layers, for the wider one.
    ///
    /// # Errors
    /// When it has another number of channels.
    pub fn batch_norm<const D: usize, T: Float>(&self, bn: &mut BatchNorm<D, T>) -> Result<()> {
        if bn.channels() != self.old {
            return Err(Error::configuration(
                "Widening",
                format!(
                    "a batch norm of {} channels expected, found {}",
                    self.old,
                    bn.channels()
                ),
            ));
        }
        let mut new = BatchNorm::<D, T>::new(self.width()).with_eps(bn.eps());
        new = match bn.momentum() {
            Some(m) => new.with_momentum(m),
            None => new.with_cumulative_average(),
        };
        let param = |old: &Option<Param<T>>| -> Result<Option<Param<T>>> {
            let Some(old) = old else { return Ok(None) };
            let mut p = Param::new(self.spread(old.value(), 0, false)?);
            p.set_trainable(old.is_trainable());
            Ok(Some(p))
        };
        let buffer = |old: &Option<Buffer<T>>, wide: bool| -> Result<Option<Buffer<T>>> {
            let Some(old) = old else { return Ok(None) };
            let value = if wide {
                self.spread(old.value(), 0, false)?
            } else {
                old.value().clone()
            };
            let mut b = Buffer::new(value);
            b.set_frozen(old.is_frozen());
            Ok(Some(b))
        };
        new.weight = param(&bn.weight)?;
        new.bias = param(&bn.bias)?;
        new.running_mean = buffer(&bn.running_mean, true)?;
        new.running_var = buffer(&bn.running_var, true)?;
        new.num_batches_tracked = buffer(&bn.num_batches_tracked, false)?;
        *bn = new;
        Ok(())
    }
}

/// Puts another parameter in the place of one.
fn replace<T: Float>(param: &mut Param<T>, value: Tensor<T>) {
    let mut new = Param::new(value);
    new.set_trainable(param.is_trainable());
    if let Some(origin) = param.origin() {
        new = new.with_origin(format!("{origin}, widened"));
    }
    *param = new;
}

/// Widens what stands between two linear layers to `width` units; any elementwise activation may be between them. The pair computes
/// what it computed, to rounding.
///
/// # Errors
/// When `first` has other outputs than `second` has inputs, or more than `width`; nothing is changed then.
pub fn widen<T: Float>(
    first: &mut Linear<T>,
    second: &mut Linear<T>,
    width: usize,
    rng: &mut impl Rng,
) -> Result<Widening> {
    if first.outputs() != second.inputs() {
        return Err(Error::configuration(
            "widen",
            format!(
                "the first layer has {} outputs, the second {} inputs",
                first.outputs(),
                second.inputs()
            ),
        ));
    }
    let w = Widening::new(first.outputs(), width, rng)?;
    w.copy(&mut first.weight, 0)?;
    if let Some(bias) = &mut first.bias {
        w.copy(bias, 0)?;
    }
    w.divide(&mut second.weight, 1)?;
    Ok(w)
}

/// A linear layer that returns its input: weights 1 on the diagonal, biases 0.
///
/// # Panics
/// When `width` is 0.
#[track_caller]
pub fn identity<T: Float>(width: usize) -> Linear<T> {
    assert!(width > 0, "identity: a layer needs at least one unit");
    let eye = Tensor::from_fn([width, width], |i| {
        if i[0] == i[1] { T::one() } else { T::zero() }
    });
    Linear {
        weight: Param::new(eye).with_origin("identity"),
        bias: Some(Param::new(Tensor::zeros([width]))),
    }
}
