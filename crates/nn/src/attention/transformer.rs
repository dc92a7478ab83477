//! Transformer layers.

use super::{AttentionMask, MultiHeadAttention};
use crate::forward::Forward;
use crate::layers::{Activation, Linear, positive, probability};
use crate::norm::LayerNorm;
use rand::Rng;
use wengert_autograd::{Float, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Settings of transformer layers. Defaults are PyTorch's: feed-forward size 2048, dropout 0.1, ReLU, norm after each
/// part, ε = 1e-5, with biases.
///
/// ```
/// use wengert_nn::{Activation, TransformerOptions};
/// let gpt = TransformerOptions { activation: Activation::Gelu, norm_first: true, ..TransformerOptions::new(64, 4) };
/// assert_eq!((gpt.feed_forward, gpt.dropout), (2048, 0.1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerOptions {
    /// Size of the features.
    pub embed: usize,
    /// Number of heads.
    pub heads: usize,
    /// Size between the two feed-forward maps.
    pub feed_forward: usize,
    /// Dropout of attention weights, of the feed-forward units and of each part's result.
    pub dropout: f64,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// Norm before each part (Xiong et al. 2020) instead of after the addition. Trains without warm-up.
    pub norm_first: bool,
    /// ε of the norms.
    pub eps: f64,
    /// Whether linear maps have biases.
    pub bias: bool,
}

impl TransformerOptions {
    /// The defaults for a size and a number of heads.
    pub const fn new(embed: usize, heads: usize) -> Self {
        TransformerOptions {
            embed,
            heads,
            feed_forward: 2048,
            dropout: 0.1,
            activation: Activation::Relu,
            norm_first: false,
            eps: 1e-5,
            bias: true,
        }
    }

    fn check(&self) -> Result<()> {
        positive("transformer", "a feed-forward size", self.feed_forward)?;
        probability("transformer", self.dropout)?;
        crate::norm::epsilon("transformer", self.eps)
    }

    fn attention<T: Float>(&self, rng: &mut (impl Rng + ?Sized)) -> Result<MultiHeadAttention<T>> {
        MultiHeadAttention::builder(self.embed, self.heads)
            .dropout(self.dropout)
            .bias(self.bias)
            .try_build(rng)
    }

    fn feed_forward<T: Float>(
        &self,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<(Linear<T>, Linear<T>)> {
        let up = Linear::builder(self.embed, self.feed_forward)
            .followed_by(self.activation)
            .bias(self.bias)
            .try_build(rng)?;
        let down = Linear::builder(self.feed_forward, self.embed)
            .bias(self.bias)
            .try_build(rng)?;
        Ok((up, down))
    }

    fn norm<T: Float>(&self) -> Result<LayerNorm<T>> {
        let norm = LayerNorm::try_new(self.embed)?.with_eps(self.eps);
        Ok(if self.bias { norm } else { norm.without_bias() })
    }

    /// One part with its norm, dropout and the way past it.
    #[track_caller]
    fn part<'t, T: Float>(
        &self,
        x: Var<'t, T>,
        norm: &LayerNorm<T>,
        f: impl FnOnce(Var<'t, T>) -> Var<'t, T>,
    ) -> Var<'t, T> {
        if self.norm_first {
            x + f(norm.forward(x)).dropout(self.dropout)
        } else {
            norm.forward(x + f(x).dropout(self.dropout))
        }
    }

    #[track_caller]
    fn feed<'t, T: Float>(&self, x: Var<'t, T>, up: &Linear<T>, down: &Linear<T>) -> Var<'t, T> {
        let h = self.activation.apply(up.forward(x));
        down.forward(h.dropout(self.dropout))
    }
}

/// Encoder layer of the transformer (Vaswani et al. 2017): self-attention and a feed-forward net, each with a way past it
/// and a layer norm. Names are PyTorch's; the batch comes first: `[n, length, embed]`.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, TransformerEncoderLayer, TransformerOptions};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let options = TransformerOptions { feed_forward: 32, norm_first: true, ..TransformerOptions::new(8, 2) };
/// let layer: TransformerEncoderLayer = TransformerEncoderLayer::new(options, &mut rng);
/// assert_eq!(layer.predict(&Tensor::ones([2, 5, 8])).shape(), [2, 5, 8]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct TransformerEncoderLayer<T: Float = f32> {
    /// Self-attention.
    pub self_attn: MultiHeadAttention<T>,
    /// `embed -> feed_forward`.
    pub linear1: Linear<T>,
    /// `feed_forward -> embed`.
    pub linear2: Linear<T>,
    /// Norm of the attention part.
    pub norm1: LayerNorm<T>,
    /// Norm of the feed-forward part.
    pub norm2: LayerNorm<T>,
    #[module(skip)]
    options: TransformerOptions,
}

impl<T: Float> TransformerEncoderLayer<T> {
    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`TransformerEncoderLayer::try_new`] errs.
    #[track_caller]
    pub fn new(options: TransformerOptions, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::try_new(options, rng).or_panic()
    }

    /// Draws the weights.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn try_new(options: TransformerOptions, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        options.check()?;
        let self_attn = options.attention(rng)?;
        let (linear1, linear2) = options.feed_forward(rng)?;
        Ok(TransformerEncoderLayer {
            self_attn,
            linear1,
            linear2,
            norm1: options.norm()?,
            norm2: options.norm()?,
            options,
        })
    }

    /// The layer with a mask.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn forward_masked<'t>(&self, x: Var<'t, T>, mask: &AttentionMask<'_, 't, T>) -> Var<'t, T> {
        let o = &self.options;
        x.tape().at_caller(|| {
            let x = o.part(x, &self.norm1, |h| self.self_attn.attend(h, h, h, mask));
            o.part(x, &self.norm2, |h| o.feed(h, &self.linear1, &self.linear2))
        })
    }
}

impl<T: Float> Forward<T> for TransformerEncoderLayer<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.forward_masked(x, &AttentionMask::none())
    }
}

/// Decoder layer of the transformer: self-attention, attention to the encoder's output, and a feed-forward net. Names are
/// PyTorch's; the batch comes first.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tape;
/// use wengert_nn::{AttentionMask, TransformerDecoderLayer, TransformerOptions};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let options = TransformerOptions { feed_forward: 32, ..TransformerOptions::new(8, 2) };
/// let layer: TransformerDecoderLayer = TransformerDecoderLayer::new(options, &mut rng);
/// let tape = Tape::inference();
/// let (x, memory) = (tape.zeros([2, 5, 8]), tape.ones([2, 3, 8]));
/// let y = layer.forward(x, memory, &AttentionMask::causal(), &AttentionMask::none());
/// assert_eq!(y.shape().as_slice(), [2, 5, 8]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct TransformerDecoderLayer<T: Float = f32> {
    /// Self-attention.
    pub self_attn: MultiHeadAttention<T>,
    /// Attention to the memory.
    pub multihead_attn: MultiHeadAttention<T>,
    /// `embed -> feed_forward`.
    pub linear1: Linear<T>,
    /// `feed_forward -> embed`.
    pub linear2: Linear<T>,
    /// Norm of the self-attention part.
    pub norm1: LayerNorm<T>,
    /// Norm of the attention to the memory.
    pub norm2: LayerNorm<T>,
    /// Norm of the feed-forward part.
    pub norm3: LayerNorm<T>,
    #[module(skip)]
    options: TransformerOptions,
}

impl<T: Float> TransformerDecoderLayer<T> {
    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`TransformerDecoderLayer::try_new`] errs.
    #[track_caller]
    pub fn new(options: TransformerOptions, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::try_new(options, rng).or_panic()
    }

    /// Draws the weights.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn try_new(options: TransformerOptions, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        options.check()?;
        let self_attn = options.attention(rng)?;
        let multihead_attn = options.attention(rng)?;
        let (linear1, linear2) = options.feed_forward(rng)?;
        Ok(TransformerDecoderLayer {
            self_attn,
            multihead_attn,
            linear1,
            linear2,
            norm1: options.norm()?,
            norm2: options.norm()?,
            norm3: options.norm()?,
            options,
        })
    }

    /// The layer on `x` `[n, length, embed]` and the encoder's output `memory` `[n, length', embed]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn forward<'t>(
        &self,
        x: Var<'t, T>,
        memory: Var<'t, T>,
        mask: &AttentionMask<'_, 't, T>,
        memory_mask: &AttentionMask<'_, 't, T>,
    ) -> Var<'t, T> {
        let o = &self.options;
        x.tape().at_caller(|| {
            let x = o.part(x, &self.norm1, |h| self.self_attn.attend(h, h, h, mask));
            let x = o.part(x, &self.norm2, |h| {
                self.multihead_attn.attend(h, memory, memory, memory_mask)
            });
            o.part(x, &self.norm3, |h| o.feed(h, &self.linear1, &self.linear2))
        })
    }
}

/// A stack of encoder layers, with a final norm where the layers put theirs first.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, TransformerEncoder, TransformerOptions};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let options = TransformerOptions { feed_forward: 32, norm_first: true, ..TransformerOptions::new(8, 2) };
/// let encoder: TransformerEncoder = TransformerEncoder::new(3, options, &mut rng);
/// assert_eq!(encoder.predict(&Tensor::ones([2, 5, 8])).shape(), [2, 5, 8]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct TransformerEncoder<T: Float = f32> {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer<T>>,
    /// Final norm.
    pub norm: Option<LayerNorm<T>>,
}

impl<T: Float> TransformerEncoder<T> {
    /// `depth` layers of one kind.
    ///
    /// # Panics
    /// When a setting is out of its range.
    #[track_caller]
    pub fn new(depth: usize, options: TransformerOptions, rng: &mut (impl Rng + ?Sized)) -> Self {
        TransformerEncoder {
            layers: (0..depth)
                .map(|_| TransformerEncoderLayer::new(options, rng))
                .collect(),
            norm: options.norm_first.then(|| options.norm().or_panic()),
        }
    }

    /// The stack with a mask.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn forward_masked<'t>(
        &self,
        mut x: Var<'t, T>,
        mask: &AttentionMask<'_, 't, T>,
    ) -> Var<'t, T> {
        for l in &self.layers {
            x = l.forward_masked(x, mask);
        }
        self.norm.forward(x)
    }
}

impl<T: Float> Forward<T> for TransformerEncoder<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        self.forward_masked(x, &AttentionMask::none())
    }
}

/// A stack of decoder layers, with a final norm where the layers put theirs first.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tape;
/// use wengert_nn::{AttentionMask, TransformerDecoder, TransformerOptions};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let options = TransformerOptions { feed_forward: 32, ..TransformerOptions::new(8, 2) };
/// let decoder: TransformerDecoder = TransformerDecoder::new(2, options, &mut rng);
/// let tape = Tape::inference();
/// let (x, memory) = (tape.zeros([2, 5, 8]), tape.ones([2, 3, 8]));
/// let y = decoder.forward(x, memory, &AttentionMask::causal(), &AttentionMask::none());
/// assert_eq!(y.shape().as_slice(), [2, 5, 8]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct TransformerDecoder<T: Float = f32> {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer<T>>,
    /// Final norm.
    pub norm: Option<LayerNorm<T>>,
}

impl<T: Float> TransformerDecoder<T> {
    /// `depth` layers of one kind.
    ///
    /// # Panics
    /// When a setting is out of its range.
    #[track_caller]
    pub fn new(depth: usize, options: TransformerOptions, rng: &mut (impl Rng + ?Sized)) -> Self {
        TransformerDecoder {
            layers: (0..depth)
                .map(|_| TransformerDecoderLayer::new(options, rng))
                .collect(),
            norm: options.norm_first.then(|| options.norm().or_panic()),
        }
    }

    /// The stack on `x` and the encoder's output.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn forward<'t>(
        &self,
        mut x: Var<'t, T>,
        memory: Var<'t, T>,
        mask: &AttentionMask<'_, 't, T>,
        memory_mask: &AttentionMask<'_, 't, T>,
    ) -> Var<'t, T> {
        for l in &self.layers {
            x = l.forward(x, memory, mask, memory_mask);
        }
        self.norm.forward(x)
    }
}
