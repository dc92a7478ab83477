//! Layers one after the other.

use super::{
    Activation, AvgPool2d, Conv2d, Dropout, Flatten, GlobalAvgPool, Linear, MaxPool2d, Prelu,
    refuse,
};
use crate::forward::{Forward, Layer};
use crate::init::Nonlinearity;
use crate::norm::{BatchNorm1d, BatchNorm2d, LayerNorm};
use rand::Rng;
use std::any::Any;
use wengert_autograd::ops::conv::PerAxis;
use wengert_autograd::{Float, IntoDims, Module, Path, Result, Var, Visitor, VisitorMut};
use wengert_tensor::error::OrPanic;

/// Layers one after the other.
///
/// Parameters are named by position (`0.weight`, `2.weight`; activations count), as PyTorch does, or by the
/// names given with [`SequentialBuilder::named`].
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::{ModuleExt, Tensor};
/// use wengert_nn::{Forward, Sequential};
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let model: Sequential = Sequential::builder()
///     .flatten()
///     .linear(64, 32)
///     .relu()
///     .dropout(0.2)
///     .linear(32, 10)
///     .named("head")
///     .build(&mut rng);
/// assert_eq!(model.predict(&Tensor::zeros([5, 8, 8])).shape(), [5, 10]);
/// assert_eq!(model.named_params()[2].path, "head.weight");
/// ```
#[derive(Clone)]
pub struct Sequential<T: Float = f32> {
    layers: Vec<Entry<T>>,
}

#[derive(Clone)]
struct Entry<T: Float> {
    name: String,
    layer: Box<dyn Layer<T>>,
    /// See [`Forward::is_of_library`]; asked once, because the answer takes longer than recording a small layer.
    of_library: bool,
}

impl<T: Float> Entry<T> {
    fn new(name: String, layer: Box<dyn Layer<T>>) -> Self {
        let of_library = (*layer).is_of_library();
        Entry {
            name,
            layer,
            of_library,
        }
    }
}

impl<T: Float> Sequential<T> {
    /// No layers: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new() }
    }

    /// A builder that chooses each layer's initial weights from the activation that follows it.
    pub fn builder() -> SequentialBuilder<T> {
        SequentialBuilder { parts: Vec::new() }
    }

    /// Appends a layer under its position as name.
    ///
    /// # Panics
    /// When an earlier layer was given that name.
    #[track_caller]
    pub fn push(&mut self, layer: impl Layer<T> + 'static) {
        let name = self.layers.len().to_string();
        assert!(
            self.layers.iter().all(|e| e.name != name),
            "sequential: the name {name:?} is taken"
        );
        self.layers.push(Entry::new(name, Box::new(layer)));
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers with their names, in order.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &dyn Layer<T>)> {
        self.layers.iter().map(|e| (e.name.as_str(), &*e.layer))
    }
}

impl<T: Float> Default for Sequential<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Forward<T> for Sequential<T> {
    #[track_caller]
    fn forward<'t>(&self, mut x: Var<'t, T>) -> Var<'t, T> {
        // A call of a trait object has no line of its own.
        let tape = x.tape();
        tape.at_caller(|| {
            for e in &self.layers {
                x = match e.of_library {
                    true => (*e.layer).forward(x),
                    false => tape.at_own_lines(|| (*e.layer).forward(x)),
                };
            }
            x
        })
    }
    fn trace<'t>(
        &self,
        mut x: Var<'t, T>,
        path: &mut Path,
        see: &mut dyn FnMut(&str, &[usize]),
    ) -> Var<'t, T> {
        for Entry { name, layer, .. } in &self.layers {
            x = path.scoped(name, |p| layer.trace(x, p, see));
        }
        see(path.as_str(), &x.shape());
        x
    }
}

impl<T: Float> Module<T> for Sequential<T> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        visitor.enter(path.as_str(), "Sequential");
        for Entry { name, layer, .. } in &self.layers {
            path.scoped(name, |p| layer.visit(p, visitor));
        }
        visitor.leave(path.as_str());
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        for Entry { name, layer, .. } in &mut self.layers {
            path.scoped(name, |p| layer.visit_mut(p, visitor));
        }
    }
    fn kind(&self) -> &'static str {
        "Sequential"
    }
}

/// A layer that is not built yet: it waits to be told which activation follows.
///
/// Builders of layers with weights implement it ([`LinearBuilder`](super::LinearBuilder)); a builder of your own may, too.
pub trait Blueprint<T: Float = f32>: 'static {
    /// Draws the weights; settings of the builder come before `next`.
    ///
    /// # Errors
    /// When a setting is out of its range.
    fn build_before(
        self: Box<Self>,
        next: Nonlinearity,
        rng: &mut dyn Rng,
    ) -> Result<Box<dyn Layer<T>>>;
}

enum Part<T: Float> {
    /// Weights still to be drawn.
    Weighted(Box<dyn Blueprint<T>>),
    /// An activation: what the weights before it are chosen for.
    Activation(Box<dyn Layer<T>>, Nonlinearity),
    /// Anything that is looked through on the way from weights to their activation.
    Layer(Box<dyn Layer<T>>),
}

/// Builder of a [`Sequential`].
pub struct SequentialBuilder<T: Float = f32> {
    parts: Vec<(Option<String>, Part<T>)>,
}

impl<T: Float> SequentialBuilder<T> {
    fn part(mut self, part: Part<T>) -> Self {
        self.parts.push((None, part));
        self
    }

    /// A layer whose weights are drawn when the activation after it is known.
    #[must_use]
    pub fn then(self, layer: impl Blueprint<T>) -> Self {
        self.part(Part::Weighted(Box::new(layer)))
    }

    /// A finished layer. An [`Activation`] or a [`Prelu`] is what the weights before it are chosen for.
    #[must_use]
    pub fn layer(self, layer: impl Layer<T> + 'static) -> Self {
        let any: &dyn Any = &layer;
        let next = match (any.downcast_ref::<Activation>(), any.downcast_ref()) {
            (Some(a), _) => Some(a.nonlinearity()),
            (None, Some(Prelu { weight })) => Some(Nonlinearity::LeakyRelu {
                slope: weight.value().iter().next().map_or(0.0, T::as_f64),
            }),
            _ => None,
        };
        self.part(match next {
            Some(next) => Part::Activation(Box::new(layer), next),
            None => Part::Layer(Box::new(layer)),
        })
    }

    /// A name for the last layer, instead of its position.
    ///
    /// # Panics
    /// When there is no layer yet, the name is empty, holds a dot, or is taken.
    #[track_caller]
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        assert!(
            !name.is_empty() && !name.contains('.'),
            "sequential: a name is one level of a path, not empty and without dots, found {name:?}"
        );
        let taken = (self.parts.iter().enumerate())
            .any(|(i, (n, _))| n.as_deref().map_or(i.to_string() == name, |n| n == name));
        assert!(!taken, "sequential: the name {name:?} is taken");
        let last = self.parts.last_mut();
        last.expect("sequential: `named` comes after a layer").0 = Some(name.to_owned());
        self
    }

    /// [`Linear`] with bias.
    #[must_use]
    pub fn linear(self, inputs: usize, outputs: usize) -> Self {
        self.then(Linear::builder(inputs, outputs))
    }

    /// [`Conv2d`] without padding; for more settings see [`SequentialBuilder::then`].
    #[must_use]
    pub fn conv2d(self, inputs: usize, outputs: usize, kernel: impl PerAxis<2>) -> Self {
        self.then(Conv2d::builder(inputs, outputs, kernel))
    }

    /// [`MaxPool2d`] over windows side by side.
    #[must_use]
    pub fn max_pool2d(self, kernel: impl PerAxis<2>) -> Self {
        self.layer(MaxPool2d::new(kernel))
    }

    /// [`AvgPool2d`] over windows side by side.
    #[must_use]
    pub fn avg_pool2d(self, kernel: impl PerAxis<2>) -> Self {
        self.layer(AvgPool2d::new(kernel))
    }

    /// [`GlobalAvgPool`]: `[n, channels, space..]` → `[n, channels]`.
    #[must_use]
    pub fn global_avg_pool(self) -> Self {
        self.layer(GlobalAvgPool)
    }

    /// [`BatchNorm1d`].
    ///
    /// # Panics
    /// When there are no channels.
    #[track_caller]
    #[must_use]
    pub fn batch_norm1d(self, channels: usize) -> Self {
        self.layer(BatchNorm1d::new(channels))
    }

    /// [`BatchNorm2d`].
    ///
    /// # Panics
    /// When there are no channels.
    #[track_caller]
    #[must_use]
    pub fn batch_norm2d(self, channels: usize) -> Self {
        self.layer(BatchNorm2d::new(channels))
    }

    /// [`LayerNorm`] over the last axes, of the given sizes.
    ///
    /// # Panics
    /// When there is no axis or one of size 0.
    #[track_caller]
    #[must_use]
    pub fn layer_norm(self, sizes: impl IntoDims) -> Self {
        self.layer(LayerNorm::new(sizes))
    }

    /// An activation.
    #[must_use]
    pub fn activation(self, a: Activation) -> Self {
        self.layer(a)
    }

    /// [`Activation::Relu`].
    #[must_use]
    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    /// [`Activation::LeakyRelu`].
    #[must_use]
    pub fn leaky_relu(self, slope: f64) -> Self {
        self.activation(Activation::LeakyRelu(slope))
    }

    /// [`Prelu`] with one slope, 0.25 at the start.
    #[must_use]
    pub fn prelu(self) -> Self {
        self.layer(Prelu::new())
    }

    /// [`Activation::Elu`] with α = 1.
    #[must_use]
    pub fn elu(self) -> Self {
        self.activation(Activation::Elu(1.0))
    }

    /// [`Activation::Selu`].
    #[must_use]
    pub fn selu(self) -> Self {
        self.activation(Activation::Selu)
    }

    /// [`Activation::Gelu`].
    #[must_use]
    pub fn gelu(self) -> Self {
        self.activation(Activation::Gelu)
    }

    /// [`Activation::Silu`].
    #[must_use]
    pub fn silu(self) -> Self {
        self.activation(Activation::Silu)
    }

    /// [`Activation::Mish`].
    #[must_use]
    pub fn mish(self) -> Self {
        self.activation(Activation::Mish)
    }

    /// [`Activation::Tanh`].
    #[must_use]
    pub fn tanh(self) -> Self {
        self.activation(Activation::Tanh)
    }

    /// [`Activation::Sigmoid`].
    #[must_use]
    pub fn sigmoid(self) -> Self {
        self.activation(Activation::Sigmoid)
    }

    /// [`Activation::Softmax`] over the last axis.
    #[must_use]
    pub fn softmax(self) -> Self {
        self.activation(Activation::Softmax(-1))
    }

    /// [`Dropout`].
    ///
    /// # Panics
    /// When `p` is not in [0, 1].
    #[track_caller]
    #[must_use]
    pub fn dropout(self, p: f64) -> Self {
        self.layer(Dropout::new(p))
    }

    /// [`Flatten`]: all axes but the first become one.
    #[must_use]
    pub fn flatten(self) -> Self {
        self.layer(Flatten::new())
    }

    /// Draws all weights, in order.
    ///
    /// # Errors
    /// When a setting of a layer is out of its range, or a layer was given the position of a later one as its name.
    pub fn try_build(self, rng: &mut impl Rng) -> Result<Sequential<T>> {
        // From each position: the next activation before other weights.
        let mut next = Vec::with_capacity(self.parts.len());
        let mut seen = Nonlinearity::Linear;
        for (_, part) in self.parts.iter().rev() {
            next.push(seen);
            match part {
                Part::Weighted(_) => seen = Nonlinearity::Linear,
                Part::Activation(_, n) => seen = *n,
                Part::Layer(_) => {}
            }
        }
        let mut layers = Vec::with_capacity(self.parts.len());
        for (i, ((name, part), next)) in self
            .parts
            .into_iter()
            .zip(next.into_iter().rev())
            .enumerate()
        {
            let layer = match part {
                Part::Weighted(b) => b.build_before(next, rng)?,
                Part::Activation(l, _) | Part::Layer(l) => l,
            };
            let name = name.unwrap_or_else(|| i.to_string());
            if layers.iter().any(|e: &Entry<T>| e.name == name) {
                return refuse("sequential", format!("two layers have the name {name:?}"));
            }
            layers.push(Entry::new(name, layer));
        }
        Ok(Sequential { layers })
    }

    /// Draws all weights, in order.
    ///
    /// # Panics
    /// Where [`SequentialBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut impl Rng) -> Sequential<T> {
        self.try_build(rng).or_panic()
    }
}
