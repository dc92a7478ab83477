//! Paths past a layer: residual, scaled, gated and dense connections.

use super::{Activation, Linear, constant, positive, refuse};
use crate::forward::{Forward, Layer};
use crate::init::{Init, Nonlinearity};
use rand::Rng;
use wengert_autograd::{Float, Param, Path, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Residual connection (He et al. 2016): y = a(f(p(x)) + s(x)).
///
/// | part | what | default |
/// |---|---|---|
/// | `body` f | the residual branch | |
/// | `shortcut` s | projection where f changes the shape | identity |
/// | `pre` p | pre-activation: what stands before the branch | none |
/// | activation a | post-activation | none |
///
/// With `pre` and a projection the shortcut starts from p(x), as in the pre-activation ResNet (He et al. 2016b, section
/// 4.1): f(h) + s(h) with h = p(x). Without a projection the sum takes x itself.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Activation, Forward, Linear, Residual};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: Residual = Residual::new(Linear::new(4, 6, &mut rng))
///     .with_shortcut(Linear::builder(4, 6).bias(false).build(&mut rng))
///     .followed_by(Activation::Relu);
/// assert_eq!(block.predict(&Tensor::ones([2, 4])).shape(), [2, 6]);
/// ```
///
/// # Panics
/// `forward` panics when branch and shortcut have different shapes.
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Residual<T: Float = f32> {
    /// What stands before the branch.
    pub pre: Option<Box<dyn Layer<T>>>,
    /// The residual branch.
    pub body: Box<dyn Layer<T>>,
    /// The way past it; the identity if none.
    pub shortcut: Option<Box<dyn Layer<T>>>,
    /// Applied to the sum.
    #[module(skip)]
    pub activation: Activation,
}

impl<T: Float> Residual<T> {
    /// y = f(x) + x.
    pub fn new(body: impl Layer<T> + 'static) -> Self {
        Residual {
            pre: None,
            body: Box::new(body),
            shortcut: None,
            activation: Activation::Identity,
        }
    }

    /// A projection on the way past the branch.
    #[must_use]
    pub fn with_shortcut(mut self, shortcut: impl Layer<T> + 'static) -> Self {
        self.shortcut = Some(Box::new(shortcut));
        self
    }

    /// Pre-activation: usually a norm and an activation, before the branch.
    #[must_use]
    pub fn preceded_by(mut self, pre: impl Layer<T> + 'static) -> Self {
        self.pre = Some(Box::new(pre));
        self
    }

    /// Post-activation of the sum.
    #[must_use]
    pub fn followed_by(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }
}

#[track_caller]
pub(super) fn join<'t, T: Float>(what: &str, branch: Var<'t, T>, past: Var<'t, T>) -> Var<'t, T> {
    assert!(
        branch.shape() == past.shape(),
        "{what}: the branch gives shape {:?}, the way past it {:?}; add a projection shortcut",
        branch.shape().as_slice(),
        past.shape().as_slice()
    );
    branch + past
}

impl<T: Float> Forward<T> for Residual<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let h = self.pre.forward(x);
        let past = match &self.shortcut {
            Some(s) => s.forward(h),
            None => x,
        };
        self.activation
            .apply(join("residual", self.body.forward(h), past))
    }
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        let h = path.scoped("pre", |p| self.pre.trace(x, p, see));
        let branch = path.scoped("body", |p| self.body.trace(h, p, see));
        let past = match &self.shortcut {
            Some(s) => path.scoped("shortcut", |p| s.trace(h, p, see)),
            None => x,
        };
        let y = self.activation.apply(join("residual", branch, past));
        see(path.as_str(), &y.shape());
        y
    }
}

/// Residual connection whose branch starts silent: y = x + α f(x), with one learned α = 0 at the start (Bachlechner et
/// al. 2020).
///
/// At the start the block is the identity, so gradients pass any depth unchanged.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, Linear, ReZero};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: ReZero = ReZero::new(Linear::new(3, 3, &mut rng));
/// let x = Tensor::ones([2, 3]);
/// assert_eq!(block.predict(&x).to_vec(), x.to_vec()); // the branch is silent at the start
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct ReZero<T: Float = f32> {
    /// The branch.
    pub body: Box<dyn Layer<T>>,
    /// `[1]`, 0 at the start.
    pub alpha: Param<T>,
}

impl<T: Float> ReZero<T> {
    /// y = x + α body(x), α = 0.
    pub fn new(body: impl Layer<T> + 'static) -> Self {
        ReZero {
            body: Box::new(body),
            alpha: constant(&[1], 0.0).or_panic(),
        }
    }
}

impl<T: Float> Forward<T> for ReZero<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let alpha = x.tape().param(&self.alpha);
        join("rezero", self.body.forward(x) * alpha, x)
    }
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        let branch = path.scoped("body", |p| self.body.trace(x, p, see));
        let y = join("rezero", branch * x.tape().param(&self.alpha), x);
        see(path.as_str(), &y.shape());
        y
    }
}

/// A learned factor at the end of a residual branch, 0 at the start: y = α x (SkipInit, De & Smith 2020).
///
/// Inside a [`Residual`] it does what batch norm does to deep residual networks at the start: it makes the blocks close to
/// the identity.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, Linear, Residual, SkipInit};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: Residual = Residual::new((Linear::new(3, 3, &mut rng), SkipInit::new()));
/// let x = Tensor::ones([2, 3]);
/// assert_eq!(block.predict(&x).to_vec(), x.to_vec());
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct SkipInit<T: Float = f32> {
    /// `[1]`.
    pub alpha: Param<T>,
}

impl<T: Float> SkipInit<T> {
    /// α = 0.
    pub fn new() -> Self {
        Self::starting_at(0.0)
    }

    /// Another first value, such as 1/√depth.
    pub fn starting_at(alpha: f64) -> Self {
        SkipInit {
            alpha: constant(&[1], alpha).or_panic(),
        }
    }
}

impl<T: Float> Default for SkipInit<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Forward<T> for SkipInit<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        x * x.tape().param(&self.alpha)
    }
}

/// One learned factor per channel at the end of a residual branch: y = γ ⊙ x (LayerScale, Touvron et al. 2021).
///
/// γ starts small: 0.1 up to depth 18, 1e-5 up to 24, 1e-6 beyond, says the paper.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, LayerScale};
/// let scale: LayerScale = LayerScale::new(3, 0.5);
/// assert_eq!(scale.predict(&Tensor::ones([1, 3])).to_vec(), [0.5; 3]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct LayerScale<T: Float = f32> {
    /// `[channels]`.
    pub gamma: Param<T>,
    #[module(skip)]
    axis: isize,
}

impl<T: Float> LayerScale<T> {
    /// A factor for each index of the last axis, starting at `value`.
    ///
    /// # Panics
    /// When `channels` is 0 or the value is not finite.
    #[track_caller]
    pub fn new(channels: usize, value: f64) -> Self {
        Self::along(-1, channels, value)
    }

    /// A factor for each index of another axis, such as 1 for images.
    ///
    /// # Panics
    /// When `channels` is 0 or the value is not finite.
    #[track_caller]
    pub fn along(axis: isize, channels: usize, value: f64) -> Self {
        let build = || {
            positive("layer_scale", "a number of channels", channels)?;
            if !value.is_finite() {
                return refuse(
                    "layer_scale",
                    format!("expected a finite first value, found {value}"),
                );
            }
            Ok(LayerScale {
                gamma: constant(&[channels], value)?,
                axis,
            })
        };
        build().or_panic()
    }
}

impl<T: Float> Forward<T> for LayerScale<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let n = self.gamma.shape()[0];
        assert!(
            x.size(self.axis) == n,
            "layer_scale: axis {} of shape {:?} does not have {n} channels",
            self.axis,
            x.shape().as_slice()
        );
        let gamma = x.tape().param(&self.gamma);
        x * along(gamma, self.axis, x.rank())
    }
}

/// A vector as a tensor of `rank` axes that broadcasts along all but `axis`.
#[track_caller]
pub(crate) fn along<'t, T: Float>(v: Var<'t, T>, axis: isize, rank: usize) -> Var<'t, T> {
    let axis = axis.rem_euclid(rank as isize) as usize;
    let mut shape = wengert_autograd::Dims::from_elem(1, rank - axis);
    shape[0] = v.numel();
    v.reshape(shape)
}

/// Highway layer (Srivastava et al. 2015): y = t ⊙ h + (1 - t) ⊙ x with h = a(W x + b) and the gate
/// t = σ(W_t x + b_t).
///
/// The gate's bias starts below 0, so that the layer starts close to the identity: -1 by default; the paper uses down to
/// -10 for the deepest nets. The identity's share then is 0.73 on average.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Activation, Forward, Highway};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: Highway = Highway::new(3, Activation::Tanh, &mut rng);
/// assert_eq!(block.predict(&Tensor::ones([2, 3])).shape(), [2, 3]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct Highway<T: Float = f32> {
    /// The transformation, `n -> n`.
    pub transform: Linear<T>,
    /// The gate, `n -> n`.
    pub gate: Linear<T>,
    /// Activation of the transformation.
    #[module(skip)]
    pub activation: Activation,
}

impl<T: Float> Highway<T> {
    /// A layer of `n` units with a gate bias of -1.
    ///
    /// # Panics
    /// Where [`Highway::try_with`] errs.
    #[track_caller]
    pub fn new(n: usize, activation: Activation, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::try_with(n, activation, -1.0, rng).or_panic()
    }

    /// A layer of `n` units with a gate bias.
    ///
    /// # Errors
    /// When `n` is 0 or the bias is not finite.
    pub fn try_with(
        n: usize,
        activation: Activation,
        gate_bias: f64,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self> {
        if !gate_bias.is_finite() {
            return refuse(
                "highway",
                format!("expected a finite gate bias, found {gate_bias}"),
            );
        }
        let transform = Linear::builder(n, n)
            .followed_by(activation)
            .try_build(rng)?;
        let mut gate = Linear::builder(n, n)
            .followed_by(Nonlinearity::Sigmoid)
            .try_build(rng)?;
        gate.bias = Some(constant(&[n], gate_bias)?);
        Ok(Highway {
            transform,
            gate,
            activation,
        })
    }
}

impl<T: Float> Forward<T> for Highway<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let h = self.activation.apply(self.transform.forward(x));
        let t = self.gate.forward(x).sigmoid();
        t * (h - x) + x
    }
}

/// Dense connection (Huang et al. 2017): the output is appended to the input, y = [x, f(x)] along an axis (1, the
/// channels, by default).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{DenseSkip, Forward, Linear};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let block: DenseSkip = DenseSkip::new(Linear::new(3, 2, &mut rng));
/// assert_eq!(block.predict(&Tensor::ones([4, 3])).shape(), [4, 5]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct DenseSkip<T: Float = f32> {
    /// The layer.
    pub body: Box<dyn Layer<T>>,
    #[module(skip)]
    axis: isize,
}

impl<T: Float> DenseSkip<T> {
    /// Along axis 1.
    pub fn new(body: impl Layer<T> + 'static) -> Self {
        Self::along(1, body)
    }

    /// Along another axis.
    pub fn along(axis: isize, body: impl Layer<T> + 'static) -> Self {
        DenseSkip {
            body: Box::new(body),
            axis,
        }
    }
}

impl<T: Float> Forward<T> for DenseSkip<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        Var::cat(&[x, self.body.forward(x)], self.axis)
    }
    fn trace<'t>(
        &self,
        x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        let new = path.scoped("body", |p| self.body.trace(x, p, see));
        let y = Var::cat(&[x, new], self.axis);
        see(path.as_str(), &y.shape());
        y
    }
}

/// Squeeze and excitation (Hu et al. 2018): channels `[n, c, ..]` are weighted by what their means say,
/// y = x ⊙ σ(W₂ relu(W₁ mean(x))).
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, SqueezeExcite};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let se: SqueezeExcite = SqueezeExcite::new(32, 16, &mut rng);
/// assert_eq!(se.predict(&Tensor::ones([2, 32, 5, 5])).shape(), [2, 32, 5, 5]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct SqueezeExcite<T: Float = f32> {
    /// `channels -> channels / reduction`.
    pub fc1: Linear<T>,
    /// `channels / reduction -> channels`.
    pub fc2: Linear<T>,
}

impl<T: Float> SqueezeExcite<T> {
    /// For `channels`, with a bottleneck of `channels / reduction` units (16 in the paper), at least 1.
    ///
    /// # Panics
    /// When a number is 0.
    #[track_caller]
    pub fn new(channels: usize, reduction: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        positive("squeeze_excite", "a number of channels", channels).or_panic();
        positive("squeeze_excite", "a reduction", reduction).or_panic();
        let inner = (channels / reduction).max(1);
        SqueezeExcite {
            fc1: Linear::builder(channels, inner)
                .init(Init::he_normal())
                .build(rng),
            fc2: Linear::builder(inner, channels)
                .followed_by(Nonlinearity::Sigmoid)
                .build(rng),
        }
    }
}

impl<T: Float> Forward<T> for SqueezeExcite<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let rank = x.rank();
        assert!(
            rank >= 2,
            "squeeze_excite: expected [n, channels, ..], found shape {:?}",
            x.shape().as_slice()
        );
        let space: Vec<isize> = (2..rank as isize).collect();
        let mean = if space.is_empty() {
            x
        } else {
            x.mean_dim(&space, false)
        };
        let scale = self.fc2.forward(self.fc1.forward(mean).relu()).sigmoid();
        let mut shape = x.shape();
        shape.iter_mut().skip(2).for_each(|d| *d = 1);
        x * scale.reshape(shape)
    }
}
