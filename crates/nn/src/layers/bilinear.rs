//! A form that is linear in each of two inputs.

use super::{draw, positive, zeros};
use crate::init::{Fans, Init, Nonlinearity};
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::{Float, Param, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Bilinear layer: y_k = Σᵢⱼ x1ᵢ A_kij x2ⱼ + b_k, over the last axes of two inputs.
///
/// | | shape |
/// |---|---|
/// | inputs | `[.., inputs1]`, `[.., inputs2]` |
/// | output | `[.., outputs]` |
/// | `weight` | `[outputs, inputs1, inputs2]`, as in PyTorch |
/// | `bias` | `[outputs]`, or none |
///
/// The default weights are Glorot uniform with fan in `inputs1 · inputs2`; biases start at 0. (PyTorch draws both from
/// U(±1/√inputs1), which forgets `inputs2`.)
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tape;
/// use wengert_nn::Bilinear;
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let layer: Bilinear = Bilinear::new(3, 4, 2, &mut rng);
/// let tape = Tape::inference();
/// let y = layer.forward(tape.ones([5, 3]), tape.ones([5, 4]));
/// assert_eq!(y.shape().as_slice(), [5, 2]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Bilinear<T: Float = f32> {
    /// `[outputs, inputs1, inputs2]`.
    pub weight: Param<T>,
    /// `[outputs]`.
    pub bias: Option<Param<T>>,
}

impl<T: Float> Bilinear<T> {
    /// A layer with bias, followed by no activation as far as it knows.
    ///
    /// # Panics
    /// When a size is 0.
    #[track_caller]
    pub fn new(
        inputs1: usize,
        inputs2: usize,
        outputs: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        Self::builder(inputs1, inputs2, outputs).build(rng)
    }

    /// A layer with settings.
    pub fn builder(inputs1: usize, inputs2: usize, outputs: usize) -> BilinearBuilder<T> {
        BilinearBuilder {
            inputs: [inputs1, inputs2],
            outputs,
            bias: true,
            init: None,
            next: Nonlinearity::Linear,
            float: PhantomData,
        }
    }

    /// The form applied to `x1` and `x2`.
    ///
    /// # Panics
    /// When the last axes are not `inputs1` and `inputs2`, or the others differ.
    #[track_caller]
    pub fn forward<'t>(&self, x1: Var<'t, T>, x2: Var<'t, T>) -> Var<'t, T> {
        let &[outputs, n1, n2] = self.weight.shape() else {
            unreachable!("the weight of a bilinear layer has three axes")
        };
        let (s1, s2) = (x1.shape(), x2.shape());
        let fits = s1.len() == s2.len()
            && s1.last() == Some(&n1)
            && s2.last() == Some(&n2)
            && s1[..s1.len() - 1] == s2[..s2.len() - 1];
        assert!(
            fits,
            "bilinear: inputs of shapes {:?} and {:?} do not fit a weight of shape {:?} (expected [.., {n1}] and \
             [.., {n2}])",
            s1.as_slice(),
            s2.as_slice(),
            self.weight.shape()
        );
        // All products x1ᵢ x2ⱼ, then one matrix product with the weight as it lies.
        let mut shape = s1.clone();
        let last = shape.len() - 1;
        shape[last] = n1 * n2;
        let products = (x1.unsqueeze(-1) * x2.unsqueeze(-2)).reshape(shape);
        let weight = x1.tape().param(&self.weight).reshape([outputs, n1 * n2]);
        let bias = self.bias.as_ref().map(|b| x1.tape().param(b));
        products.linear(weight, bias)
    }
}

/// Settings of a [`Bilinear`].
#[derive(Clone, Copy, Debug)]
pub struct BilinearBuilder<T: Float = f32> {
    inputs: [usize; 2],
    outputs: usize,
    bias: bool,
    init: Option<Init>,
    next: Nonlinearity,
    float: PhantomData<T>,
}

impl<T: Float> BilinearBuilder<T> {
    /// Whether the layer has a bias (default: yes).
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The activation that follows, from which the initializer is chosen.
    #[must_use]
    pub fn followed_by(mut self, next: impl Into<Nonlinearity>) -> Self {
        self.next = next.into();
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
    pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<Bilinear<T>> {
        let [n1, n2] = self.inputs;
        positive("bilinear", "a number of first inputs", n1)?;
        positive("bilinear", "a number of second inputs", n2)?;
        positive("bilinear", "a number of outputs", self.outputs)?;
        let init = self.init.unwrap_or_else(|| self.next.default_init());
        let fans = Fans::bilinear(n1, n2, self.outputs);
        Ok(Bilinear {
            weight: draw(init, &[self.outputs, n1, n2], fans, rng)?,
            bias: self.bias.then(|| zeros(&[self.outputs])).transpose()?,
        })
    }

    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`BilinearBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> Bilinear<T> {
        self.try_build(rng).or_panic()
    }
}
