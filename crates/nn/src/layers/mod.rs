//! The layers.

mod activation;
mod bilinear;
mod conv;
mod conv_transpose;
mod dropout;
mod embedding;
mod fixup;
mod linear;
mod pool;
mod residual;
mod resize;
mod resnet;
mod sequential;
mod shape;

pub use activation::{Activation, Prelu};
pub use bilinear::{Bilinear, BilinearBuilder};
pub use conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvBuilder, SeparableConv, SeparableConv1d, SeparableConv2d,
    SeparableConv3d, SeparableConvBuilder,
};
pub use conv_transpose::{
    ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, ConvTransposeBuilder,
};
pub use dropout::{
    AlphaDropout, ClassicDropout, DropPath, Dropout, GaussianDropout, GaussianNoise, SpatialDropout,
};
pub use embedding::{Embedding, EmbeddingBuilder};
pub use fixup::Fixup;
pub use linear::{Linear, LinearBuilder};
pub use pool::{
    AdaptiveAvgPool, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool,
    AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, AvgPool, AvgPool1d, AvgPool2d,
    AvgPool3d, GlobalAvgPool, GlobalMaxPool, LpPool, LpPool1d, LpPool2d, LpPool3d, MaxPool,
    MaxPool1d, MaxPool2d, MaxPool3d,
};
pub(crate) use residual::along;
pub use residual::{DenseSkip, Highway, LayerScale, ReZero, Residual, SkipInit, SqueezeExcite};
pub use resize::{PixelShuffle, PixelUnshuffle, Resolution, Upsample};
pub use resnet::{BasicBlock, Bottleneck, ResNet, ResNetConfig};
pub use sequential::{Blueprint, Sequential, SequentialBuilder};
pub use shape::{Flatten, Lambda, Unflatten};

use crate::init::{Fans, Init};
use rand::Rng;
use wengert_autograd::{Error, Float, Module, Param, Result, Tensor, Var};

/// Draws a parameter and notes its initializer.
pub(crate) fn draw<T: Float>(
    init: Init,
    shape: &[usize],
    fans: Fans,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Param<T>> {
    let value = init.try_sample(shape, fans, rng)?;
    Ok(Param::new(value).with_origin(init.describe(shape, fans)))
}

/// A parameter of zeros.
pub(crate) fn zeros<T: Float>(shape: &[usize]) -> Result<Param<T>> {
    Ok(Param::new(Tensor::try_zeros(shape)?).with_origin("zeros"))
}

/// A parameter of one value.
pub(crate) fn constant<T: Float>(shape: &[usize], value: f64) -> Result<Param<T>> {
    let mut t = Tensor::try_zeros(shape)?;
    t.as_mut_slice().fill(T::from_f64(value));
    let origin = if value == 1.0 {
        "ones".to_owned()
    } else {
        format!("constant({value})")
    };
    Ok(Param::new(t).with_origin(origin))
}

/// A refusal of a layer's settings.
pub(crate) fn refuse<T>(op: &'static str, message: String) -> Result<T> {
    Err(Error::Value { op, message })
}

/// Checks a size that must not be 0.
pub(crate) fn positive(op: &'static str, what: &str, n: usize) -> Result<()> {
    if n == 0 {
        return refuse(op, format!("expected {what} of at least 1, found 0"));
    }
    Ok(())
}

/// Checks a probability.
pub(crate) fn probability(op: &'static str, p: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&p) {
        return refuse(op, format!("expected a probability in [0, 1], found {p}"));
    }
    Ok(())
}

/// Where a layer stands in memory.
pub(crate) fn place<L>(layer: &L) -> usize {
    std::ptr::from_ref(layer) as usize
}

/// Tells the tape that a layer without parameters gave `y`, for the summary of a model.
pub(crate) fn passed<'t, T: Float, L: Module<T>>(layer: &L, y: Var<'t, T>) -> Var<'t, T> {
    y.tape().passed(place(layer), layer.kind(), y);
    y
}

/// Implements `Module` for a layer that owns no parameters: a visit enters and leaves it.
macro_rules! no_parameters {
    ($($t:ty),+ $(,)?) => {$(
        impl<T: wengert_autograd::Real> wengert_autograd::Module<T> for $t {
            fn visit(&self, path: &mut wengert_autograd::Path, visitor: &mut dyn wengert_autograd::Visitor<T>) {
                let kind = wengert_autograd::Module::<T>::kind(self);
                visitor.enter_at(path.as_str(), kind, crate::layers::place(self));
                visitor.leave(path.as_str());
            }
            fn visit_mut(&mut self, _: &mut wengert_autograd::Path, _: &mut dyn wengert_autograd::VisitorMut<T>) {}
        }
    )+};
}
pub(crate) use no_parameters;
