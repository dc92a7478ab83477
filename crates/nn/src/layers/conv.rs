//! Convolutions.

use super::{Blueprint, draw, positive, refuse, zeros};
use crate::forward::{Forward, Layer};
use crate::init::{Fans, Init, Nonlinearity};
use crate::norm::Weighted;
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::ops::conv::{ConvOptions, Padding, PerAxis};
use wengert_autograd::{Float, Module, Param, Path, Real, Result, Var, Visitor, VisitorMut};
use wengert_tensor::error::OrPanic;

/// Convolution of lines `[n, channels, length]`.
pub type Conv1d<T = f32> = Conv<1, T>;
/// Convolution of images `[n, channels, height, width]`.
pub type Conv2d<T = f32> = Conv<2, T>;
/// Convolution of volumes `[n, channels, depth, height, width]`.
pub type Conv3d<T = f32> = Conv<3, T>;

/// Convolution over `D` axes (cross-correlation, as in all frameworks):
/// y\[o\] = b\[o\] + Σ over the input channels c of o's group of w\[o, c\] ⋆ x\[c\].
///
/// | | shape |
/// |---|---|
/// | input | `[n, inputs, space..]`, or one sample `[inputs, space..]` |
/// | output | `[n, outputs, space'..]`, space' = ⌊(space + 2 padding - dilation (kernel - 1) - 1) / stride⌋ + 1 |
/// | `weight` | `[outputs, inputs / groups, kernel..]`, as in PyTorch |
/// | `bias` | `[outputs]`, or none |
///
/// Defaults: stride 1, no padding, dilation 1, one group, with bias. Weights start as the activation that follows wants
/// them ([`Nonlinearity::default_init`], with the fans of a convolution, groups counted); biases start at 0. (PyTorch draws
/// both from U(±1/√fan_in).)
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Activation, Conv2d, Forward};
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let conv: Conv2d = Conv2d::builder(3, 16, 3)
///     .stride(2)
///     .padding(1)
///     .followed_by(Activation::Relu)
///     .build(&mut rng);
/// assert_eq!(conv.predict(&Tensor::ones([4, 3, 8, 8])).shape(), [4, 16, 4, 4]);
/// ```
///
/// # Panics
/// `forward` panics when the channels of the input are not `inputs` or the kernel does not fit.
#[derive(Clone)]
pub struct Conv<const D: usize, T: Float = f32> {
    /// `[outputs, inputs / groups, kernel..]`.
    pub weight: Param<T>,
    /// `[outputs]`.
    pub bias: Option<Param<T>>,
    options: ConvOptions<D>,
}

impl<const D: usize, T: Float> Conv<D, T> {
    pub(crate) const NAME: &'static str = match D {
        1 => "conv1d",
        2 => "conv2d",
        3 => "conv3d",
        _ => panic!("convolutions take one to three axes"),
    };
    const KIND: &'static str = match D {
        1 => "Conv1d",
        2 => "Conv2d",
        _ => "Conv3d",
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
    pub fn builder(inputs: usize, outputs: usize, kernel: impl PerAxis<D>) -> ConvBuilder<D, T> {
        ConvBuilder {
            inputs,
            outputs,
            kernel: kernel.per_axis(),
            options: ConvOptions::new(),
            bias: true,
            init: None,
            next: None,
            float: PhantomData,
        }
    }

    /// A depthwise layer: each of `channels` has a kernel of its own (as many groups as channels).
    pub fn depthwise(channels: usize, kernel: impl PerAxis<D>) -> ConvBuilder<D, T> {
        Self::builder(channels, channels, kernel).groups(channels)
    }

    /// Channels of the input.
    pub fn inputs(&self) -> usize {
        self.weight.shape()[1] * self.options.groups
    }

    /// Channels of the output.
    pub fn outputs(&self) -> usize {
        self.weight.shape()[0]
    }

    /// Stride, padding, dilation, groups.
    pub fn options(&self) -> ConvOptions<D> {
        self.options
    }
}

/// The numbers of the first `N` axes.
pub(super) fn axes<const D: usize, const N: usize>(a: [usize; D]) -> [usize; N] {
    std::array::from_fn(|i| a[i])
}

/// The same settings where the number of axes is known.
fn known<const D: usize, const N: usize>(o: ConvOptions<D>) -> ConvOptions<N> {
    ConvOptions {
        stride: axes(o.stride),
        padding: match o.padding {
            Padding::Zeros(p) => Padding::Zeros(axes(p)),
            Padding::Same => Padding::Same,
            Padding::Valid => Padding::Valid,
        },
        dilation: axes(o.dilation),
        groups: o.groups,
    }
}

impl<const D: usize, T: Float> Weighted<T> for Conv<D, T> {
    fn weight(&self) -> &Param<T> {
        &self.weight
    }
    #[track_caller]
    fn forward_with<'t>(&self, x: Var<'t, T>, weight: Var<'t, T>) -> Var<'t, T> {
        let bias = self.bias.as_ref().map(|b| x.tape().param(b));
        match D {
            1 => x.conv1d(weight, bias, known(self.options)),
            2 => x.conv2d(weight, bias, known(self.options)),
            _ => x.conv3d(weight, bias, known(self.options)),
        }
    }
}

impl<const D: usize, T: Float> Forward<T> for Conv<D, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.forward_with(x, x.tape().param(&self.weight))
    }
}

/// `Module` for a layer with a weight and perhaps a bias, whose kind depends on the number of axes.
macro_rules! weight_and_bias {
    ($t:ident) => {
        impl<const D: usize, T: Float + Real> Module<T> for $t<D, T> {
            fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
                visitor.enter(path.as_str(), Self::KIND);
                path.scoped("weight", |p| self.weight.visit(p, visitor));
                path.scoped("bias", |p| self.bias.visit(p, visitor));
                visitor.leave(path.as_str());
            }
            fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
                path.scoped("weight", |p| self.weight.visit_mut(p, visitor));
                path.scoped("bias", |p| self.bias.visit_mut(p, visitor));
            }
            fn kind(&self) -> &'static str {
                Self::KIND
            }
        }
    };
}
pub(super) use weight_and_bias;
weight_and_bias!(Conv);

/// The builder of a convolution in either direction.
macro_rules! conv_builder {
    (
        $(#[$doc:meta])* $builder:ident, $layer:ident, $options:ident;
        errors: $errors:literal;
        check: $check:expr;
        shape: $shape:expr;
        fans: $fans:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $builder<const D: usize, T: Float = f32> {
            pub(super) inputs: usize,
            pub(super) outputs: usize,
            pub(super) kernel: [usize; D],
            pub(super) options: $options<D>,
            pub(super) bias: bool,
            pub(super) init: Option<Init>,
            pub(super) next: Option<Nonlinearity>,
            pub(super) float: PhantomData<T>,
        }

        impl<const D: usize, T: Float> $builder<D, T> {
            /// Distance between the places of the kernel (default: 1).
            #[must_use]
            pub fn stride(mut self, stride: impl PerAxis<D>) -> Self {
                self.options = self.options.stride(stride);
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
            #[doc = $errors]
            pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<$layer<D, T>> {
                let (name, o) = ($layer::<D, T>::NAME, self.options);
                check(name, self.inputs, self.outputs, o.groups)?;
                for (what, values) in [
                    ("a kernel", self.kernel),
                    ("a stride", o.stride),
                    ("a dilation", o.dilation),
                ] {
                    for v in values {
                        positive(name, what, v)?;
                    }
                }
                let check: fn(&Self) -> Result<()> = $check;
                check(&self)?;
                let shape: fn(&Self) -> [usize; 2] = $shape;
                let mut sizes = shape(&self).to_vec();
                sizes.extend(self.kernel);
                let fans: fn(&Self) -> Fans = $fans;
                let init = (self.init).unwrap_or_else(|| self.next.unwrap_or_default().default_init());
                Ok($layer {
                    weight: draw(init, &sizes, fans(&self), rng)?,
                    bias: self.bias.then(|| zeros(&[self.outputs])).transpose()?,
                    options: o,
                })
            }

            /// Draws the weights.
            ///
            /// # Panics
            /// Where `try_build` errs.
            #[track_caller]
            pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> $layer<D, T> {
                self.try_build(rng).or_panic()
            }
        }

        impl<const D: usize, T: Float> Blueprint<T> for $builder<D, T> {
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
    };
}
pub(super) use conv_builder;

conv_builder! {
    /// Settings of a [`Conv`].
    ConvBuilder, Conv, ConvOptions;
    errors: "When a size, stride or dilation is 0, the groups do not divide the channels, or the initializer refuses.";
    check: |_| Ok(());
    shape: |b| [b.outputs, b.inputs / b.options.groups];
    fans: |b| Fans::conv(b.inputs, b.outputs, &b.kernel, b.options.groups)
}

impl<const D: usize, T: Float> ConvBuilder<D, T> {
    /// Zeros on both sides of each axis (default: none), or [`Padding::Same`].
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding<D>>) -> Self {
        self.options = self.options.padding(padding);
        self
    }
}

/// Checks channels and groups.
pub(super) fn check(
    name: &'static str,
    inputs: usize,
    outputs: usize,
    groups: usize,
) -> Result<()> {
    positive(name, "a number of input channels", inputs)?;
    positive(name, "a number of output channels", outputs)?;
    positive(name, "a number of groups", groups)?;
    if !(inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups)) {
        return refuse(
            name,
            format!("{groups} groups do not divide {inputs} input and {outputs} output channels"),
        );
    }
    Ok(())
}

/// Depthwise separable convolution (Chollet 2017; MobileNet, Howard et al. 2017): a kernel per channel, then a mixture of
/// the channels by a kernel of size 1.
///
/// It costs `kernel² + outputs` multiplications per input element instead of `kernel² · outputs`. The settings of the
/// builder go to the depthwise part, the bias to the pointwise part, as in Keras.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{ModuleExt, Tensor};
/// use wengert_nn::{Forward, SeparableConv2d};
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let conv: SeparableConv2d = SeparableConv2d::builder(8, 16, 3).padding(1).build(&mut rng);
/// assert_eq!(conv.predict(&Tensor::ones([2, 8, 5, 5])).shape(), [2, 16, 5, 5]);
/// assert_eq!(conv.num_params(), 8 * 9 + 16 * 8 + 16);
/// ```
#[derive(Clone)]
pub struct SeparableConv<const D: usize, T: Float = f32> {
    /// A kernel per channel.
    pub depthwise: Conv<D, T>,
    /// The mixture of channels.
    pub pointwise: Conv<D, T>,
}

/// Separable convolution of lines.
pub type SeparableConv1d<T = f32> = SeparableConv<1, T>;
/// Separable convolution of images.
pub type SeparableConv2d<T = f32> = SeparableConv<2, T>;
/// Separable convolution of volumes.
pub type SeparableConv3d<T = f32> = SeparableConv<3, T>;

impl<const D: usize, T: Float> SeparableConv<D, T> {
    const KIND: &'static str = match D {
        1 => "SeparableConv1d",
        2 => "SeparableConv2d",
        _ => "SeparableConv3d",
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

    /// A layer with settings; those of [`Conv`] but the groups.
    pub fn builder(
        inputs: usize,
        outputs: usize,
        kernel: impl PerAxis<D>,
    ) -> SeparableConvBuilder<D, T> {
        SeparableConvBuilder {
            outputs,
            depthwise: Conv::depthwise(inputs, kernel).bias(false),
            bias: true,
        }
    }
}

impl<const D: usize, T: Float> Forward<T> for SeparableConv<D, T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.pointwise.forward(self.depthwise.forward(x))
    }
}

impl<const D: usize, T: Float + Real> Module<T> for SeparableConv<D, T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.enter(path.as_str(), Self::KIND);
        path.scoped("depthwise", |p| self.depthwise.visit(p, visitor));
        path.scoped("pointwise", |p| self.pointwise.visit(p, visitor));
        visitor.leave(path.as_str());
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        path.scoped("depthwise", |p| self.depthwise.visit_mut(p, visitor));
        path.scoped("pointwise", |p| self.pointwise.visit_mut(p, visitor));
    }
    fn kind(&self) -> &'static str {
        Self::KIND
    }
}

/// Settings of a [`SeparableConv`].
#[derive(Clone, Copy, Debug)]
pub struct SeparableConvBuilder<const D: usize, T: Float = f32> {
    outputs: usize,
    depthwise: ConvBuilder<D, T>,
    bias: bool,
}

impl<const D: usize, T: Float> SeparableConvBuilder<D, T> {
    /// As [`ConvBuilder::stride`].
    #[must_use]
    pub fn stride(mut self, stride: impl PerAxis<D>) -> Self {
        self.depthwise = self.depthwise.stride(stride);
        self
    }

    /// As [`ConvBuilder::padding`].
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding<D>>) -> Self {
        self.depthwise = self.depthwise.padding(padding);
        self
    }

    /// As [`ConvBuilder::dilation`].
    #[must_use]
    pub fn dilation(mut self, dilation: impl PerAxis<D>) -> Self {
        self.depthwise = self.depthwise.dilation(dilation);
        self
    }

    /// Whether the pointwise part has a bias (default: yes).
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The initializer of both weights, whatever follows.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.depthwise.init = Some(init);
        self
    }

    /// The activation that follows. The depthwise part feeds the pointwise one, without activation between.
    #[must_use]
    pub fn followed_by(mut self, next: impl Into<Nonlinearity>) -> Self {
        self.depthwise.next = Some(next.into());
        self
    }

    /// Draws the weights.
    ///
    /// # Errors
    /// When a size, stride or dilation is 0.
    pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<SeparableConv<D, T>> {
        let mut first = self.depthwise;
        // Depthwise kernels see one channel each: variance 1 / fan_in, for no activation follows.
        let next = first.next.take();
        let init = first.init;
        first.init = init.or(Some(Init::LecunNormal));
        let pointwise = ConvBuilder {
            next,
            init,
            ..Conv::builder(first.inputs, self.outputs, [1; D]).bias(self.bias)
        };
        Ok(SeparableConv {
            depthwise: first.try_build(rng)?,
            pointwise: pointwise.try_build(rng)?,
        })
    }

    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`SeparableConvBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> SeparableConv<D, T> {
        self.try_build(rng).or_panic()
    }
}

impl<const D: usize, T: Float> Blueprint<T> for SeparableConvBuilder<D, T> {
    fn build_before(
        self: Box<Self>,
        next: Nonlinearity,
        rng: &mut dyn Rng,
    ) -> Result<Box<dyn Layer<T>>> {
        let mut b = *self;
        b.depthwise.next = b.depthwise.next.or(Some(next));
        Ok(Box::new(b.try_build(rng)?))
    }
}
