//! Residual blocks without normalization, by initialization alone.

use super::conv::Conv2d;
use super::{Activation, Linear, constant, positive};
use crate::forward::{Forward, Layer};
use crate::init::{Init, fixup_scale};
use crate::norm::Weighted;
use rand::Rng;
use wengert_autograd::{Float, Param, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Residual block with Fixup initialization (Zhang, Dauphin & Ma 2019), which trains deep nets without normalization:
/// y = a(s · f₂(a(f₁(x + b₁) + b₂) + b₃) + b₄ + shortcut(x + b₁)).
///
/// f₂ starts at zero, so the block starts as the identity; f₁ starts with He's weights times
/// [`fixup_scale`]`(branches, 2)`; the scalars b start at 0, s at 1. f₁ and f₂ have no biases of their own. The
/// classifier at the end of the net starts at zero, too.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Fixup, Forward};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// // One of 9 such blocks.
/// let block: Fixup = Fixup::conv2d(8, 8, 1, 9, &mut rng);
/// let x = Tensor::ones([2, 8, 6, 6]);
/// assert_eq!(block.predict(&x).to_vec(), x.to_vec());
/// ```
///
/// # Panics
/// `forward` panics when the input does not fit the layers.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Fixup<T: Float = f32> {
    /// b₁, `[1]`.
    pub bias1: Param<T>,
    /// f₁.
    pub first: Box<dyn Layer<T>>,
    /// b₂, `[1]`.
    pub bias2: Param<T>,
    /// b₃, `[1]`.
    pub bias3: Param<T>,
    /// f₂.
    pub second: Box<dyn Layer<T>>,
    /// s, `[1]`.
    pub scale: Param<T>,
    /// b₄, `[1]`.
    pub bias4: Param<T>,
    /// The way past the block where it changes the shape.
    pub shortcut: Option<Box<dyn Layer<T>>>,
    /// a.
    #[module(skip)]
    pub activation: Activation,
}

impl<T: Float> Fixup<T> {
    /// A block of two 3 x 3 convolutions, the first with a stride, one of `branches` in the net; where the shape
    /// changes, a convolution of size 1 leads past it. The activation is ReLU.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn conv2d(
        inputs: usize,
        outputs: usize,
        stride: usize,
        branches: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        let build = |rng: &mut _| {
            positive("fixup", "a number of branches", branches)?;
            let conv = |i, k: usize, s: usize| {
                Conv2d::builder(i, outputs, k)
                    .stride(s)
                    .padding(k / 2)
                    .bias(false)
            };
            let past = (inputs != outputs || stride != 1)
                .then(|| {
                    conv(inputs, 1, stride)
                        .followed_by(Activation::Relu)
                        .try_build(rng)
                })
                .transpose()?;
            let first = conv(inputs, 3, stride)
                .init(Init::he_normal())
                .try_build(rng)?;
            let second = conv(outputs, 3, 1).init(Init::Zeros).try_build(rng)?;
            Self::of(first, second, past.map(|p| Box::new(p) as _), branches)
        };
        build(rng).or_panic()
    }

    /// A block of two linear layers of `n` units, one of `branches` in the net. The activation is ReLU.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn linear(n: usize, branches: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        let build = |rng: &mut _| {
            positive("fixup", "a number of branches", branches)?;
            let layer = |init| Linear::builder(n, n).bias(false).init(init);
            let first = layer(Init::he_normal()).try_build(rng)?;
            let second = layer(Init::Zeros).try_build(rng)?;
            Self::of(first, second, None, branches)
        };
        build(rng).or_panic()
    }

    fn of<L: Layer<T> + Weighted<T> + Scaled<T> + 'static>(
        mut first: L,
        second: L,
        shortcut: Option<Box<dyn Layer<T>>>,
        branches: usize,
    ) -> Result<Self> {
        let factor = fixup_scale(branches, 2);
        let w = first.weight_mut();
        let origin = format!("{} · fixup {factor:.4}", w.origin().unwrap_or_default());
        let mut value = w.value().copy();
        let scale = T::from_f64(factor);
        value.as_mut_slice().iter_mut().for_each(|v| *v *= scale);
        *w = Param::new(value).with_origin(origin);
        let scalar = |v| constant(&[1], v);
        Ok(Fixup {
            bias1: scalar(0.0)?,
            first: Box::new(first),
            bias2: scalar(0.0)?,
            bias3: scalar(0.0)?,
            second: Box::new(second),
            scale: scalar(1.0)?,
            bias4: scalar(0.0)?,
            shortcut,
            activation: Activation::Relu,
        })
    }

    /// Another activation.
    #[must_use]
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }
}

/// A layer whose weight can be scaled after it was drawn.
trait Scaled<T: Float> {
    fn weight_mut(&mut self) -> &mut Param<T>;
}
impl<T: Float> Scaled<T> for Conv2d<T> {
    fn weight_mut(&mut self) -> &mut Param<T> {
        &mut self.weight
    }
}
impl<T: Float> Scaled<T> for Linear<T> {
    fn weight_mut(&mut self) -> &mut Param<T> {
        &mut self.weight
    }
}

impl<T: Float> Forward<T> for Fixup<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let tape = x.tape();
        let shifted = x + tape.param(&self.bias1);
        let past = match &self.shortcut {
            Some(s) => s.forward(shifted),
            None => x,
        };
        let h = self.first.forward(shifted) + tape.param(&self.bias2);
        let h = self.activation.apply(h) + tape.param(&self.bias3);
        let branch = self.second.forward(h) * tape.param(&self.scale) + tape.param(&self.bias4);
        self.activation
            .apply(super::residual::join("fixup", branch, past))
    }
}
