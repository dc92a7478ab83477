//! Transposed convolutions.

use super::conv::{axes, check, conv_builder, weight_and_bias};
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
/// use rand::rngs::Xoshiro256PlusPlus;
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
    fn output_groups(&self) -> usize {
        self.options.groups
    }
}

impl<const D: usize, T: Float> Forward<T> for ConvTranspose<D, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.forward_with(x, x.tape().param(&self.weight))
    }
}

weight_and_bias!(ConvTranspose);

conv_builder! {
    /// Settings of a [`ConvTranspose`].
    ConvTransposeBuilder, ConvTranspose, ConvTransposeOptions;
    errors: "When a size, stride or dilation is 0, the groups do not divide the channels, the output padding is not below \
        the stride or the dilation, or the initializer refuses.";
    check: |b| {
        let o = b.options;
        if (0..D).any(|i| o.output_padding[i] >= o.stride[i].max(o.dilation[i])) {
            return refuse(
                ConvTranspose::<D, T>::NAME,
                format!(
                    "expected an output padding below the stride or the dilation, found {:?} with stride {:?} and \
                     dilation {:?}",
                    o.output_padding, o.stride, o.dilation
                ),
            );
        }
        Ok(())
    };
    shape: |b| [b.inputs, b.outputs / b.options.groups];
    fans: |b| Fans::conv_transpose(b.inputs, b.outputs, &b.kernel, &b.options.stride, b.options.groups)
}

impl<const D: usize, T: Float> ConvTransposeBuilder<D, T> {
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
}
