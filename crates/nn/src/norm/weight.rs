//! Normalization of weights: other parameters for the same layer.

use super::epsilon;
use crate::forward::Forward;
use crate::layers::{Linear, positive};
use std::marker::PhantomData;
use wengert_autograd::{Buffer, Dims, Float, Module, Param, Result, Tape, Tensor, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// A layer with one main weight, which can do its work with another one: what [`WeightNorm`], [`SpectralNorm`] and
/// [`WeightStandardization`] wrap.
pub trait Weighted<T: Float = f32>: Module<T> {
    /// The weight.
    fn weight(&self) -> &Param<T>;
    /// The layer's output with `weight` in the place of its own.
    fn forward_with<'t>(&self, x: Var<'t, T>, weight: Var<'t, T>) -> Var<'t, T>;
    /// The axis of the weight that numbers the outputs: 0, but 1 for transposed convolutions.
    fn output_axis(&self) -> usize {
        0
    }
    /// How often the outputs are counted anew along that axis, each time for another part of axis 0: the groups of a transposed
    /// convolution, whose weight is `[inputs, outputs / groups, kernel..]`. 1 for every other layer.
    fn output_groups(&self) -> usize {
        1
    }
}

impl<T: Float> Weighted<T> for Linear<T> {
    fn weight(&self) -> &Param<T> {
        &self.weight
    }
    #[track_caller]
    fn forward_with<'t>(&self, x: Var<'t, T>, weight: Var<'t, T>) -> Var<'t, T> {
        let bias = self.bias.as_ref().map(|b| x.tape().param(b));
        x.linear(weight, bias)
    }
}

/// The weight with each output at a place of its own, and the axes that are summed for an output, which are all the others.
///
/// Where groups share an output axis they get one before it: `[groups, inputs / groups, outputs / groups, kernel..]`.
#[track_caller]
fn apart<'t, T: Float>(layer: &impl Weighted<T>, w: Var<'t, T>) -> (Var<'t, T>, Vec<isize>) {
    let (groups, axis) = (layer.output_groups(), layer.output_axis());
    let (w, own) = if groups == 1 {
        (w, [axis, axis])
    } else {
        let mut shape = vec![groups];
        shape.extend_from_slice(&w.shape());
        shape[1] /= groups;
        (w.reshape(Dims::from_slice(&shape)), [0, axis + 1])
    };
    let others = (0..w.rank()).filter(|a| !own.contains(a));
    (w, others.map(|a| a as isize).collect())
}

/// Without the axis that [`apart`] gave the groups.
#[track_caller]
fn together<'t, T: Float>(w: Var<'t, T>, shape: &[usize]) -> Var<'t, T> {
    if w.rank() == shape.len() {
        w
    } else {
        w.reshape(Dims::from_slice(shape))
    }
}

/// Weight normalization (Salimans & Kingma 2016): w = g v / ‖v‖ for each output, so that length and direction are learned
/// apart.
///
/// v is the wrapped layer's own weight, `g` has its shape with all axes but that of the outputs of size 1. At the start
/// g = ‖v‖, so the layer computes what it did before.
///
/// Each output has a length of its own in transposed convolutions, too, as in the paper. PyTorch's `weight_norm` takes one for each
/// input there, unless it is told `dim=1`; and with groups, whose outputs share that axis, `dim=1` is one length for the outputs
/// of the same number in all groups. Here `g` is `[groups, outputs / groups, 1..]` then, which is `[1, outputs, 1..]`, PyTorch's
/// shape for `dim=1`, for one group.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, Linear, WeightNorm};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let layer = WeightNorm::new(Linear::<f32>::new(3, 4, &mut rng));
/// assert_eq!(layer.g.shape(), [4, 1]);
/// assert_eq!(layer.predict(&Tensor::ones([2, 3])).shape(), [2, 4]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct WeightNorm<L, T: Float = f32> {
    /// The layer; its weight is the direction v.
    pub inner: L,
    /// The lengths.
    pub g: Param<T>,
}

impl<T: Float, L: Weighted<T>> WeightNorm<L, T> {
    /// The same layer with another parametrization.
    pub fn new(inner: L) -> Self {
        let tape = Tape::inference();
        let (v, others) = apart(&inner, tape.input(inner.weight().value()));
        let mut g = norm(v, &others).value();
        if inner.output_groups() > 1 {
            // Without the axis of the inputs.
            let mut shape = g.shape().to_vec();
            shape.remove(1);
            g = g.reshape(shape);
        }
        WeightNorm {
            inner,
            g: Param::new(g).with_origin("norm of the weight"),
        }
    }
}

#[track_caller]
fn norm<'t, T: Float>(v: Var<'t, T>, others: &[isize]) -> Var<'t, T> {
    v.square().sum_dim(others, true).sqrt()
}

impl<T: Float, L: Weighted<T>> Forward<T> for WeightNorm<L, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let weight = x.tape().param(self.inner.weight());
        let mut g = x.tape().param(&self.g);
        let (v, others) = apart(&self.inner, weight);
        if self.inner.output_groups() > 1 {
            g = g.unsqueeze(1);
        }
        let normed = together(v * (g / norm(v, &others)), &weight.shape());
        self.inner.forward_with(x, normed)
    }
}

/// Weight standardization (Qiao et al. 2019): for each output the incoming weights are centred and scaled to variance 1,
/// ŵ = (w - mean) / √(var + ε).
///
/// ε = 1e-5. Made for convolutions that are followed by a norm.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Conv2d, Forward, WeightStandardization};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let layer = WeightStandardization::new(Conv2d::<f32>::new(3, 4, 3, &mut rng));
/// assert_eq!(layer.predict(&Tensor::ones([2, 3, 5, 5])).shape(), [2, 4, 3, 3]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct WeightStandardization<L, T: Float = f32> {
    /// The layer.
    pub inner: L,
    #[module(skip)]
    eps: f64,
    #[module(skip)]
    float: PhantomData<T>,
}

impl<T: Float, L: Weighted<T>> WeightStandardization<L, T> {
    /// The layer with standardized weights.
    pub fn new(inner: L) -> Self {
        WeightStandardization {
            inner,
            eps: 1e-5,
            float: PhantomData,
        }
    }

    /// Another ε.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon("weight_standardization", eps).or_panic();
        self.eps = eps;
        self
    }
}

impl<T: Float, L: Weighted<T>> Forward<T> for WeightStandardization<L, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let weight = x.tape().param(self.inner.weight());
        let (w, others) = apart(&self.inner, weight);
        let centred = w - w.mean_dim(&others, true);
        let var = centred.square().mean_dim(&others, true);
        let standardized = together(centred * (var + self.eps).rsqrt(), &weight.shape());
        self.inner.forward_with(x, standardized)
    }
}

/// Spectral normalization (Miyato et al. 2018): ŵ = w / σ(w) with the largest singular value σ of the weight as a matrix
/// `[outputs, rest]`.
///
/// σ = uᵀ w v with singular vectors that are improved by power iteration: one round per training step, none in evaluation,
/// 15 at the start, as in PyTorch. u and v are buffers and count as constants for the gradient. Every output of a transposed
/// convolution with groups is a row, as in one without (PyTorch: outputs of the same number in all groups are one).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Conv2d, Forward, SpectralNorm};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let layer = SpectralNorm::new(Conv2d::<f32>::new(3, 4, 3, &mut rng));
/// assert_eq!((layer.u.value().shape(), layer.v.value().shape()), (&[4][..], &[27][..]));
/// assert_eq!(layer.predict(&Tensor::ones([2, 3, 5, 5])).shape(), [2, 4, 3, 3]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct SpectralNorm<L, T: Float = f32> {
    /// The layer.
    pub inner: L,
    /// Left singular vector, `[outputs]`.
    pub u: Buffer<T>,
    /// Right singular vector, `[rest]`.
    pub v: Buffer<T>,
    #[module(skip)]
    rounds: usize,
    #[module(skip)]
    eps: f64,
}

impl<T: Float, L: Weighted<T>> SpectralNorm<L, T> {
    /// The layer with a spectral norm of about 1.
    pub fn new(inner: L) -> Self {
        let w = inner.weight().value();
        let rows = w.shape()[inner.output_axis()] * inner.output_groups();
        let cols = w.numel() / rows.max(1);
        // Any start that is not orthogonal to the singular vectors will do; a fixed one needs no random numbers.
        let start = |n: usize| {
            Tensor::from_fn([n], |i| {
                T::from_f64(1.0 + ((i[0] as f64 + 1.0) * 0.618_033_988_749_895).fract())
            })
        };
        let mut s = SpectralNorm {
            inner,
            u: Buffer::new(start(rows)),
            v: Buffer::new(start(cols)),
            rounds: 1,
            eps: 1e-12,
        };
        let tape = Tape::inference();
        let w = s.matrix(tape.input(s.inner.weight().value()));
        let (u, v) = s.iterate(w, tape.buffer(&s.u), tape.buffer(&s.v), 15);
        let (u, v) = (u.value(), v.value());
        *s.u.value_mut() = u;
        *s.v.value_mut() = v;
        s
    }

    /// Another number of rounds of power iteration per training step.
    ///
    /// # Panics
    /// When it is 0.
    #[track_caller]
    #[must_use]
    pub fn with_rounds(mut self, rounds: usize) -> Self {
        let check: Result<()> = positive("spectral_norm", "a number of rounds", rounds);
        check.or_panic();
        self.rounds = rounds;
        self
    }

    /// Another lower limit of the norms that are divided by.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon("spectral_norm", eps).or_panic();
        self.eps = eps;
        self
    }

    /// The weight as `[outputs, rest]`.
    #[track_caller]
    fn matrix<'t>(&self, w: Var<'t, T>) -> Var<'t, T> {
        let (w, others) = apart(&self.inner, w);
        let own = (0..w.rank() as isize).filter(|a| !others.contains(a));
        let mut order: Vec<isize> = own.collect();
        let rows: usize = order.iter().map(|&a| w.size(a)).product();
        order.extend(others);
        let n = w.numel();
        w.permute(&order)
            .reshape(Dims::from_slice(&[rows, n / rows]))
    }

    #[track_caller]
    fn iterate<'t>(
        &self,
        w: Var<'t, T>,
        mut u: Var<'t, T>,
        mut v: Var<'t, T>,
        rounds: usize,
    ) -> (Var<'t, T>, Var<'t, T>) {
        let unit = |x: Var<'t, T>| {
            let length = x.square().sum().sqrt();
            x / length.maximum(x.tape().scalar(self.eps))
        };
        for _ in 0..rounds {
            u = unit(w.matmul(v));
            v = unit(w.t().matmul(u));
        }
        (u, v)
    }
}

impl<T: Float, L: Weighted<T>> Forward<T> for SpectralNorm<L, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let tape = x.tape();
        let weight = tape.param(self.inner.weight());
        let matrix = self.matrix(weight);
        let (mut u, mut v) = (tape.buffer(&self.u), tape.buffer(&self.v));
        if tape.is_training() && !self.u.is_frozen() {
            (u, v) = tape.at_caller(|| tape.no_grad(|| self.iterate(matrix, u, v, self.rounds)));
            tape.side_output(&self.u, u);
            tape.side_output(&self.v, v);
        }
        let sigma = u.dot(matrix.matmul(v));
        self.inner.forward_with(x, weight / sigma)
    }
}
