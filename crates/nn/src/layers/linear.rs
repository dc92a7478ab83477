//! The affine layer.

use super::{Blueprint, draw, positive, zeros};
use crate::forward::{Forward, Layer};
use crate::init::{Fans, Init, Nonlinearity};
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::{Float, Param, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Affine layer: y = x Wᵀ + b, over the last axis of `x`.
///
/// | | shape |
/// |---|---|
/// | input | `[.., inputs]` |
/// | output | `[.., outputs]` |
/// | `weight` | `[outputs, inputs]`, as in PyTorch |
/// | `bias` | `[outputs]`, or none |
///
/// Weights start as the activation that follows wants them ([`Nonlinearity::default_init`]): Glorot uniform for none,
/// tanh and sigmoid, He normal for the ReLU family, LeCun normal for SELU. [`Linear::new`] knows of no activation;
/// say it with [`LinearBuilder::followed_by`], or let [`Sequential`](crate::Sequential) see it. Biases start at 0.
/// (PyTorch draws both from U(±1/√inputs).)
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Activation, Forward, Linear};
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let layer: Linear = Linear::builder(3, 5).followed_by(Activation::Relu).build(&mut rng);
/// assert_eq!(layer.predict(&Tensor::ones([2, 3])).shape(), [2, 5]);
/// ```
///
/// # Panics
/// `forward` panics when the last axis of the input is not `inputs`.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Linear<T: Float = f32> {
    /// `[outputs, inputs]`.
    pub weight: Param<T>,
    /// `[outputs]`.
    pub bias: Option<Param<T>>,
}

impl<T: Float> Linear<T> {
    /// A layer with bias and Glorot uniform weights, followed by no activation as far as it knows.
    ///
    /// # Panics
    /// When a size is 0.
    #[track_caller]
    pub fn new(inputs: usize, outputs: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::builder(inputs, outputs).build(rng)
    }

    /// A layer with settings.
    pub fn builder(inputs: usize, outputs: usize) -> LinearBuilder<T> {
        LinearBuilder {
            inputs,
            outputs,
            bias: true,
            init: None,
            next: None,
            float: PhantomData,
        }
    }

    /// Size of the last axis of the input.
    pub fn inputs(&self) -> usize {
        self.weight.shape()[1]
    }

    /// Size of the last axis of the output.
    pub fn outputs(&self) -> usize {
        self.weight.shape()[0]
    }
}

impl<T: Float> Forward<T> for Linear<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let tape = x.tape();
        let bias = self.bias.as_ref().map(|b| tape.param(b));
        x.linear(tape.param(&self.weight), bias)
    }
}

/// Settings of a [`Linear`].
#[derive(Clone, Copy, Debug)]
pub struct LinearBuilder<T: Float = f32> {
    inputs: usize,
    outputs: usize,
    bias: bool,
    init: Option<Init>,
    next: Option<Nonlinearity>,
    float: PhantomData<T>,
}

impl<T: Float> LinearBuilder<T> {
    /// Whether the layer has a bias (default: yes).
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The activation that follows, from which the initializer is chosen.
    #[must_use]
    pub fn followed_by(mut self, next: impl Into<Nonlinearity>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The initializer of the weight, whatever follows.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }

    /// Draws the weights.
    ///
    /// # Errors
    /// When a size is 0 or the initializer refuses.
    pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<Linear<T>> {
        positive("linear", "a number of inputs", self.inputs)?;
        positive("linear", "a number of outputs", self.outputs)?;
        let init = self
            .init
            .unwrap_or_else(|| self.next.unwrap_or_default().default_init());
        let fans = Fans::linear(self.inputs, self.outputs);
        Ok(Linear {
            weight: draw(init, &[self.outputs, self.inputs], fans, rng)?,
            bias: self.bias.then(|| zeros(&[self.outputs])).transpose()?,
        })
    }

    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`LinearBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> Linear<T> {
        self.try_build(rng).or_panic()
    }
}

impl<T: Float> Blueprint<T> for LinearBuilder<T> {
    fn build_before(
        self: Box<Self>,
        next: Nonlinearity,
        rng: &mut dyn Rng,
    ) -> Result<Box<dyn Layer<T>>> {
        let mut b = *self;
        b.next = b.next.or(Some(next));
        Ok(Box::new(b.try_build(rng)?))
    }
}
