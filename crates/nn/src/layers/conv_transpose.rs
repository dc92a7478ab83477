//! Transposed convolutions.

use super::conv::{check, weight_and_bias};
use super::{Blueprint, draw, positive, refuse, zeros};
use crate::forward::{Forward, Layer};
use crate::init::{Fans, Init, Nonlinearity};
use crate::norm::Weighted;
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::ops::conv::{ConvTransposeOptions, PerAxis};
use wengert_autograd::{Float, Module, Param, Path, Real, Result, Var, Visitor, VisitorMut};
use wengert_tensor::error::OrPanic;

/// Transposed convolution of lines.
pub type ConvTranspose1d<T = f32> = ConvTranspose<1, T>;
/// Transposed convolution of images.
pub type ConvTranspose2d<T = f32> = ConvTranspose<2, T>;
/// Transposed convolution of volumes.
pub type ConvTranspose3d<T = f32> = ConvTranspose<3, T>;

/// Transposed convolution over `D` axes, the adjoint of [`Conv`](super::Conv) in its input: every input element adds its
/// multiple of the kernel to the output. It makes an image larger by its stride.
///
/// | | shape |
/// |---|---|
/// | input | `[n, inputs, space..]`, or one sample `[inputs, space..]` |
/// | output | `[n, outputs, space'..]`, space' = (space - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1 |
/// | `weight` | `[inputs, outputs / groups, kernel..]`, as in PyTorch |
/// | `bias` | `[outputs]`, or none |
///
/// Defaults and initial weights as for [`Conv`](super::Conv), with the fans of a transposed convolution: an output element
/// sums kernel / stride terms per axis.
///
/// ```
/// use rand::SeedableRng;
/// use rand_xoshiro::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{ConvTranspose2d, Forward};
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let up: ConvTranspose2d = ConvTranspose2d::builder(8, 4, 4).stride(2).padding(1).build(&mut rng);
/// assert_eq!(up.predict(&Tensor::ones([1, 8, 5, 5])).shape(), [1, 4, 10, 10]);
/// ```
///
/// # Panics
/// `forward` panics when the channels of the input are not `inputs`.
#[derive(Clone)]
pub struct ConvTranspose<const D: usize, T: Float = f32> {
    /// `[inputs, outputs / groups, kernel..]`.
    pub weight: Param<T>,
    /// `[outputs]`.
    pub bias: Option<Param<T>>,
    options: ConvTransposeOptions<D>,
}

impl<const D: usize, T: Float> ConvTranspose<D, T> {
    const NAME: &'static str = match D {
        1 => "conv_transpose1d",
        2 => "conv_transpose2d",
        3 => "conv_transpose3d",
        _ => panic!("convolutions take one to three axes"),
    };
    const KIND: &'static str = match D {
        1 => "ConvTranspose1d",
        2 => "ConvTranspose2d",
        _ => "ConvTranspose3d",
    };

    /// A layer with the default settings, followed by no activation as far as it knows.
    ///
    /// # Panics
    /// When a size is 0.
    #[track_caller]
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: impl PerAxis<D>,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        Self::builder(inputs, outputs, kernel).build(rng)
    }

    /// A layer with settings.
    pub fn builder(
        inputs: usize,
        outputs: usize,
        kernel: impl PerAxis<D>,
    ) -> ConvTransposeBuilder<D, T> {
        ConvTransposeBuilder {
            inputs,
            outputs,
            kernel: kernel.per_axis(),
            options: ConvTransposeOptions::new(),
            bias: true,
            init: None,
            next: None,
            float: PhantomData,
        }
    }

    /// Channels of the input.
    pub fn inputs(&self) -> usize {
        self.weight.shape()[0]
    }

    /// Channels of the output.
    pub fn outputs(&self) -> usize {
        self.weight.shape()[1] * self.options.groups
    }

    /// Stride, padding, output padding, dilation, groups.
    pub fn options(&self) -> ConvTransposeOptions<D> {
        self.options
    }
}

/// The same settings where the number of axes is known.
fn known<const D: usize, const N: usize>(o: ConvTransposeOptions<D>) -> ConvTransposeOptions<N> {
    let axes = |a: [usize; D]| std::array::from_fn(|i| a[i]);
    ConvTransposeOptions {
        stride: axes(o.stride),
        padding: axes(o.padding),
        output_padding: axes(o.output_padding),
        dilation: axes(o.dilation),
        groups: o.groups,
    }
}

impl<const D: usize, T: Float> Weighted<T> for ConvTranspose<D, T> {
    fn weight(&self) -> &Param<T> {
        &self.weight
    }
    #[track_caller]
    fn forward_with<'t>(&self, x: Var<'t, T>, weight: Var<'t, T>) -> Var<'t, T> {
        let bias = self.bias.as_ref().map(|b| x.tape().param(b));
        match D {
            1 => x.conv_transpose1d(weight, bias, known(self.options)),
            2 => x.conv_transpose2d(weight, bias, known(self.options)),
            _ => x.conv_transpose3d(weight, bias, known(self.options)),
        }
    }
    fn output_axis(&self) -> usize {
        1
    }
}

impl<const D: usize, T: Float> Forward<T> for ConvTranspose<D, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.forward_with(x, x.tape().param(&self.weight))
    }
}

weight_and_bias!(ConvTranspose);

/// Settings of a [`ConvTranspose`].
#[derive(Clone, Copy, Debug)]
pub struct ConvTransposeBuilder<const D: usize, T: Float = f32> {
    inputs: usize,
    outputs: usize,
    kernel: [usize; D],
    options: ConvTransposeOptions<D>,
    bias: bool,
    init: Option<Init>,
    next: Option<Nonlinearity>,
    float: PhantomData<T>,
}

impl<const D: usize, T: Float> ConvTransposeBuilder<D, T> {
    /// Distance between the places where the kernel is added (default: 1).
    #[must_use]
    pub fn stride(mut self, stride: impl PerAxis<D>) -> Self {
        self.options = self.options.stride(stride);
        self
    }

    /// Elements that are cut off at both ends of the output (default: none).
    #[must_use]
    pub fn padding(mut self, padding: impl PerAxis<D>) -> Self {
        self.options = self.options.padding(padding);
        self
    }

    /// Elements that the output is longer at its end (default: none); below the stride or the dilation.
    #[must_use]
    pub fn output_padding(mut self, extra: impl PerAxis<D>) -> Self {
        self.options = self.options.output_padding(extra);
        self
    }

    /// Distance between the elements of the kernel (default: 1).
    #[must_use]
    pub fn dilation(mut self, dilation: impl PerAxis<D>) -> Self {
        self.options = self.options.dilation(dilation);
        self
    }

    /// Groups of channels that do not see each other (default: 1).
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.options = self.options.groups(groups);
        self
    }

    /// Whether the layer has a bias (default: yes).
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The activation that follows (behind a norm, too), from which the initializer is chosen.
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
    /// When a size, stride or dilation is 0, the groups do not divide the channels, the output padding is not below the
    /// stride or the dilation, or the initializer refuses.
    pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<ConvTranspose<D, T>> {
        let name = ConvTranspose::<D, T>::NAME;
        let o = self.options;
        check(name, self.inputs, self.outputs, o.groups)?;
        for i in 0..D {
            positive(name, "a kernel", self.kernel[i])?;
            positive(name, "a stride", o.stride[i])?;
            positive(name, "a dilation", o.dilation[i])?;
            if o.output_padding[i] >= o.stride[i].max(o.dilation[i]) {
                return refuse(
                    name,
                    format!(
                        "expected an output padding below the stride or the dilation, found {:?} with stride {:?} and \
                         dilation {:?}",
                        o.output_padding, o.stride, o.dilation
                    ),
                );
            }
        }
        let mut shape = vec![self.inputs, self.outputs / o.groups];
        shape.extend(self.kernel);
        let fans =
            Fans::conv_transpose(self.inputs, self.outputs, &self.kernel, &o.stride, o.groups);
        let init = (self.init).unwrap_or_else(|| self.next.unwrap_or_default().default_init());
        Ok(ConvTranspose {
            weight: draw(init, &shape, fans, rng)?,
            bias: self.bias.then(|| zeros(&[self.outputs])).transpose()?,
            options: o,
        })
    }

    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`ConvTransposeBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> ConvTranspose<D, T> {
        self.try_build(rng).or_panic()
    }
}

impl<const D: usize, T: Float> Blueprint<T> for ConvTransposeBuilder<D, T> {
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
