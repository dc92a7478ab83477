//! Normalization of each sample over its features.

use super::epsilon;
use crate::forward::Forward;
use crate::layers::{constant, refuse, zeros};
use wengert_autograd::{Dims, Float, IntoDims, Param, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

fn check_shape(op: &'static str, shape: &[usize]) -> Result<()> {
    if shape.is_empty() || shape.contains(&0) {
        return refuse(
            op,
            format!("expected at least one axis and sizes of at least 1, found shape {shape:?}"),
        );
    }
    Ok(())
}

/// Checks that the last axes of the input have the given sizes.
#[track_caller]
fn last_axes<T: Float>(op: &str, x: &Var<'_, T>, sizes: &[usize]) {
    let shape = x.shape();
    assert!(
        shape.ends_with(sizes),
        "{op}: the last axes of an input of shape {:?} are not {sizes:?}",
        shape.as_slice()
    );
}

/// Layer normalization (Ba et al. 2016): y = γ (x - mean) / √(var + ε) + β, with mean and variance (divided by n) of each
/// sample over the last axes.
///
/// `weight` γ and `bias` β have the shape of those axes and start at 1 and 0; ε = 1e-5, as in PyTorch.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, LayerNorm};
/// let y = LayerNorm::<f64>::new(2).with_eps(0.0).predict(&Tensor::from_vec(vec![1.0, 3.0, -5.0, 5.0], [2, 2]));
/// assert_eq!(y.to_vec(), [-1.0, 1.0, -1.0, 1.0]);
/// ```
///
/// # Panics
/// `forward` panics when the last axes of the input have other sizes.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct LayerNorm<T: Float = f32> {
    /// γ.
    pub weight: Option<Param<T>>,
    /// β.
    pub bias: Option<Param<T>>,
    #[module(skip)]
    sizes: Dims,
    #[module(skip)]
    eps: f64,
}

impl<T: Float> LayerNorm<T> {
    /// Over the last axes, of the given sizes.
    ///
    /// # Panics
    /// When there is no axis or one of size 0.
    #[track_caller]
    pub fn new(sizes: impl IntoDims) -> Self {
        Self::try_new(sizes).or_panic()
    }

    /// Over the last axes, of the given sizes.
    ///
    /// # Errors
    /// When there is no axis or one of size 0.
    pub fn try_new(sizes: impl IntoDims) -> Result<Self> {
        let sizes = sizes.into_dims();
        check_shape("layer_norm", &sizes)?;
        Ok(LayerNorm {
            weight: Some(constant(&sizes, 1.0)?),
            bias: Some(zeros(&sizes)?),
            sizes,
            eps: 1e-5,
        })
    }

    /// Another ε.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon("layer_norm", eps).or_panic();
        self.eps = eps;
        self
    }

    /// Without β.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// Without γ and β.
    #[must_use]
    pub fn without_affine(mut self) -> Self {
        (self.weight, self.bias) = (None, None);
        self
    }

    /// The term that keeps the root away from 0.
    pub fn eps(&self) -> f64 {
        self.eps
    }
}

impl<T: Float> Forward<T> for LayerNorm<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        last_axes("layer_norm", &x, &self.sizes);
        let tape = x.tape();
        let weight = self.weight.as_ref().map(|w| tape.param(w));
        let bias = self.bias.as_ref().map(|b| tape.param(b));
        x.layer_norm(self.sizes.len(), weight, bias, self.eps)
    }
}

/// Root mean square normalization (Zhang & Sennrich 2019): y = γ x / √(mean(x²) + ε) over the last axes.
///
/// `weight` γ has the shape of those axes and starts at 1; ε is the machine epsilon of the element type, as in PyTorch.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, RmsNorm};
/// let y = RmsNorm::<f64>::new(2).with_eps(0.0).predict(&Tensor::from_vec(vec![2.0, -2.0], [1, 2]));
/// assert_eq!(y.to_vec(), [1.0, -1.0]);
/// ```
///
/// # Panics
/// `forward` panics when the last axes of the input have other sizes.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct RmsNorm<T: Float = f32> {
    /// γ.
    pub weight: Option<Param<T>>,
    #[module(skip)]
    sizes: Dims,
    #[module(skip)]
    eps: f64,
}

impl<T: Float> RmsNorm<T> {
    /// Over the last axes, of the given sizes.
    ///
    /// # Panics
    /// When there is no axis or one of size 0.
    #[track_caller]
    pub fn new(sizes: impl IntoDims) -> Self {
        Self::try_new(sizes).or_panic()
    }

    /// Over the last axes, of the given sizes.
    ///
    /// # Errors
    /// When there is no axis or one of size 0.
    pub fn try_new(sizes: impl IntoDims) -> Result<Self> {
        let sizes = sizes.into_dims();
        check_shape("rms_norm", &sizes)?;
        Ok(RmsNorm {
            weight: Some(constant(&sizes, 1.0)?),
            sizes,
            eps: T::epsilon().as_f64(),
        })
    }

    /// Another ε.
    ///
    /// # Panics
    /// When it is negative or not finite.
    #[track_caller]
    #[must_use]
    pub fn with_eps(mut self, eps: f64) -> Self {
        epsilon("rms_norm", eps).or_panic();
        self.eps = eps;
        self
    }

    /// Without γ.
    #[must_use]
    pub fn without_affine(mut self) -> Self {
        self.weight = None;
        self
    }

    /// The term that keeps the root away from 0.
    pub fn eps(&self) -> f64 {
        self.eps
    }
}

impl<T: Float> Forward<T> for RmsNorm<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        last_axes("rms_norm", &x, &self.sizes);
        let weight = self.weight.as_ref().map(|w| x.tape().param(w));
        x.rms_norm(self.sizes.len(), weight, self.eps)
    }
}
