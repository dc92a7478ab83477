//! Multi-head attention.

use super::Rotary;
use crate::forward::Forward;
use crate::init::{Fans, Init, sample_blocks};
use crate::layers::{Linear, draw, positive, probability, refuse, zeros};
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::ops::attention::Attention;
use wengert_autograd::{Float, Param, Result, Tape, Tensor, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

/// Which keys a query sees, and with what bias. The default: all, none.
///
/// ```
/// use wengert_nn::AttentionMask;
/// let mask = AttentionMask::<f32>::causal().with_lengths(&[5, 3]);
/// ```
#[derive(Clone, Copy)]
pub struct AttentionMask<'a, 't, T: Float = f32> {
    causal: bool,
    lengths: Option<&'a [usize]>,
    bias: Option<Var<'t, T>>,
}

impl<'a, 't, T: Float> AttentionMask<'a, 't, T> {
    /// Every query sees every key.
    pub fn none() -> Self {
        AttentionMask {
            causal: false,
            lengths: None,
            bias: None,
        }
    }

    /// Query i sees keys 0 to i.
    pub fn causal() -> Self {
        AttentionMask {
            causal: true,
            ..Self::none()
        }
    }

    /// Sample n has only so many keys; the others are padding.
    #[must_use]
    pub fn with_lengths(mut self, lengths: &'a [usize]) -> Self {
        self.lengths = Some(lengths);
        self
    }

    /// A term added to the scores; broadcasts to `[n, heads, queries, keys]`. -∞ hides a key.
    #[must_use]
    pub fn with_bias(mut self, bias: Var<'t, T>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// The mask as settings of the operation: what is added to scores `[n, heads, queries, keys]`, as small as it can be.
    #[track_caller]
    fn settings(&self, tape: &'t Tape<T>, scores: [usize; 4], dropout: f64) -> Attention<'t, T> {
        let [n, _, queries, keys] = scores;
        if let Some(b) = self.bias {
            let shape = b.shape();
            let fits = shape.len() <= 4
                && (shape.iter().rev().zip(scores.iter().rev())).all(|(&b, &s)| b == s || b == 1);
            assert!(
                fits,
                "attention: a bias of shape {:?} does not broadcast to {scores:?} (samples, heads, queries, keys)",
                shape.as_slice()
            );
        }
        let mut mask = self.bias;
        if let Some(l) = self.lengths {
            assert!(
                l.len() == n && l.iter().all(|&l| (1..=keys).contains(&l)),
                "attention: expected {n} lengths from 1 to {keys}, found {l:?}"
            );
            let rows = |hidden: T, shown: T| {
                Tensor::from_fn([n, 1, 1, keys], |i| {
                    if i[3] >= l[i[0]] { hidden } else { shown }
                })
            };
            mask = Some(match mask {
                None => tape.input(&rows(T::neg_infinity(), T::zero())),
                Some(b) => {
                    // Selected, not added: what a bias holds for padding does not count.
                    let heads = b.rank().checked_sub(3).map_or(1, |axis| b.shape()[axis]);
                    b.broadcast_to([n, heads, queries, keys])
                        .masked_fill(tape.input(&rows(T::one(), T::zero())), f64::NEG_INFINITY)
                }
            });
        }
        Attention {
            mask,
            causal: self.causal,
            dropout,
            scale: None,
        }
    }
}

impl<T: Float> Default for AttentionMask<'_, '_, T> {
    fn default() -> Self {
        Self::none()
    }
}

/// Multi-head attention (Vaswani et al. 2017): softmax(Q Kᵀ / √d) V in each of `heads` subspaces of d = embed / heads
/// dimensions, with Q, K, V linear in queries, keys and values, and a linear map of the joined results.
///
/// | | shape |
/// |---|---|
/// | queries | `[n, queries, embed]` |
/// | keys, values | `[n, keys, key_size]`, `[n, keys, value_size]` |
/// | output | `[n, queries, embed]` |
/// | `in_proj_weight` | `[3 embed, embed]`: Q, K, V, if all sizes are `embed` |
/// | `q_proj_weight`, `k_proj_weight`, `v_proj_weight` | `[embed, ..]` otherwise |
/// | `in_proj_bias` | `[3 embed]` |
/// | `out_proj` | `embed -> embed` |
///
/// Names and layouts are PyTorch's; the batch comes first. Weights start Glorot uniform, each projection by its own fans
/// (PyTorch draws Q, K and V as one matrix, which makes them smaller by √2), biases at 0.
///
/// [`Forward`] is self-attention, causal if the builder says so.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, MultiHeadAttention};
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let attention: MultiHeadAttention = MultiHeadAttention::new(8, 2, &mut rng);
/// assert_eq!(attention.predict(&Tensor::ones([3, 5, 8])).shape(), [3, 5, 8]);
/// ```
#[derive(Clone, Module)]
#[module(crate = wengert_autograd)]
pub struct MultiHeadAttention<T: Float = f32> {
    /// `[embed, embed]`, if keys or values have another size.
    pub q_proj_weight: Option<Param<T>>,
    /// `[embed, key_size]`.
    pub k_proj_weight: Option<Param<T>>,
    /// `[embed, value_size]`.
    pub v_proj_weight: Option<Param<T>>,
    /// `[3 embed, embed]`.
    pub in_proj_weight: Option<Param<T>>,
    /// `[3 embed]`.
    pub in_proj_bias: Option<Param<T>>,
    /// Map of the joined heads.
    pub out_proj: Linear<T>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    causal: bool,
    #[module(skip)]
    rotary: Option<Rotary>,
}

impl<T: Float> MultiHeadAttention<T> {
    /// With biases, without dropout.
    ///
    /// # Panics
    /// When a number is 0 or the heads do not divide `embed`.
    #[track_caller]
    pub fn new(embed: usize, heads: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
        Self::builder(embed, heads).build(rng)
    }

    /// With settings.
    pub fn builder(embed: usize, heads: usize) -> MultiHeadAttentionBuilder<T> {
        MultiHeadAttentionBuilder {
            embed,
            heads,
            sizes: None,
            bias: true,
            dropout: 0.0,
            causal: false,
            rotary: None,
            init: Init::glorot_uniform(),
            float: PhantomData,
        }
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Attention of queries to keys and values. A query whose keys are all hidden gives the bias of `out_proj` alone.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn attend<'t>(
        &self,
        queries: Var<'t, T>,
        keys: Var<'t, T>,
        values: Var<'t, T>,
        mask: &AttentionMask<'_, 't, T>,
    ) -> Var<'t, T> {
        let (q, k, v) = self.heads_of(queries, keys, values);
        let (sq, sk) = (q.shape(), k.shape());
        let scores = [sq[0], sq[1], sq[2], sk[2]];
        let settings = mask.settings(q.tape(), scores, self.dropout);
        self.joined(q.scaled_dot_product_attention(k, v, settings))
    }

    /// As [`MultiHeadAttention::attend`]; also returns the weights `[n, heads, queries, keys]` before dropout.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn attend_with_weights<'t>(
        &self,
        queries: Var<'t, T>,
        keys: Var<'t, T>,
        values: Var<'t, T>,
        mask: &AttentionMask<'_, 't, T>,
    ) -> (Var<'t, T>, Var<'t, T>) {
        let (q, k, v) = self.heads_of(queries, keys, values);
        let (sq, sk) = (q.shape(), k.shape());
        let settings = mask.settings(q.tape(), [sq[0], sq[1], sq[2], sk[2]], self.dropout);
        let mut scores = (q * (1.0 / (sq[3] as f64).sqrt())).matmul(k.t());
        if let Some(m) = settings.mask {
            scores = scores + m;
        }
        if settings.causal {
            let late = q.tape().ones([sq[2], sk[2]]).triu(1);
            scores = scores.masked_fill(late, f64::NEG_INFINITY);
        }
        let weights = match settings.mask {
            Some(_) if sk[2] > 0 => {
                // A query whose keys are all excluded gives zeros.
                let blind = scores
                    .detach()
                    .amax_dim(-1, true)
                    .eq_scalar(f64::NEG_INFINITY);
                let scores = scores.masked_fill(blind, 0.0);
                scores.softmax(-1).masked_fill(blind, 0.0)
            }
            _ => scores.softmax(-1),
        };
        let heads = weights.dropout(self.dropout).matmul(v);
        (self.joined(heads), weights)
    }

    /// Heads `[n, heads, queries, size]` side by side, through the last projection.
    #[track_caller]
    fn joined<'t>(&self, heads: Var<'t, T>) -> Var<'t, T> {
        let s = heads.shape();
        let joined = heads
            .permute([0, 2, 1, 3])
            .reshape([s[0], s[2], s[1] * s[3]]);
        self.out_proj.forward(joined)
    }

    /// Queries, keys and values of each head, `[n, heads, length, size]`.
    #[track_caller]
    fn heads_of<'t>(
        &self,
        queries: Var<'t, T>,
        keys: Var<'t, T>,
        values: Var<'t, T>,
    ) -> (Var<'t, T>, Var<'t, T>, Var<'t, T>) {
        let embed = self.out_proj.inputs();
        let (sq, sk, sv) = (queries.shape(), keys.shape(), values.shape());
        let fits = sq.len() == 3
            && sk.len() == 3
            && sv.len() == 3
            && sq[0] == sk[0]
            && sk[..2] == sv[..2]
            && sq[2] == embed;
        assert!(
            fits,
            "attention: queries {:?}, keys {:?} and values {:?} do not fit (expected [n, queries, {embed}] and twice \
             [n, keys, ..])",
            sq.as_slice(),
            sk.as_slice(),
            sv.as_slice()
        );
        let (n, l, s) = (sq[0], sq[1], sk[1]);
        let size = embed / self.heads;
        let tape = queries.tape();
        let in_proj = self.in_proj_weight.as_ref().map(|w| tape.param(w));
        let bias = self.in_proj_bias.as_ref().map(|b| tape.param(b));
        // Parts of the parameters, not of the activations: those are the smaller ones to cut.
        let project = |(x, i, own, len): (Var<'t, T>, usize, &Option<Param<T>>, usize)| {
            let weight = match (in_proj, own) {
                (Some(w), _) => w.narrow(0, i * embed, (i + 1) * embed),
                (None, Some(w)) => tape.param(w),
                (None, None) => unreachable!("a projection has a weight of its own or a part"),
            };
            let bias = bias.map(|b| b.narrow(0, i * embed, (i + 1) * embed));
            x.linear(weight, bias)
                .reshape([n, len, self.heads, size])
                .permute([0, 2, 1, 3])
        };
        let parts = [
            (queries, 0, &self.q_proj_weight, l),
            (keys, 1, &self.k_proj_weight, s),
            (values, 2, &self.v_proj_weight, s),
        ];
        let [mut q, mut k, v] = tape.at_caller(|| parts.map(project));
        if let Some(r) = &self.rotary {
            (q, k) = (r.rotate(q), r.rotate(k));
        }
        (q, k, v)
    }
}

impl<T: Float> Forward<T> for MultiHeadAttention<T> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let mask = AttentionMask {
            causal: self.causal,
            ..AttentionMask::none()
        };
        self.attend(x, x, x, &mask)
    }
}

/// Settings of a [`MultiHeadAttention`].
#[derive(Clone, Copy, Debug)]
pub struct MultiHeadAttentionBuilder<T: Float = f32> {
    embed: usize,
    heads: usize,
    sizes: Option<[usize; 2]>,
    bias: bool,
    dropout: f64,
    causal: bool,
    rotary: Option<Rotary>,
    init: Init,
    float: PhantomData<T>,
}

impl<T: Float> MultiHeadAttentionBuilder<T> {
    /// Sizes of keys and values, where they are not `embed`.
    #[must_use]
    pub fn key_value_sizes(mut self, keys: usize, values: usize) -> Self {
        self.sizes = Some([keys, values]);
        self
    }

    /// Whether the four projections have biases (default: yes).
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Dropout of the attention weights (default: 0).
    #[must_use]
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// Whether [`Forward`] lets query i see keys 0 to i only (default: all).
    #[must_use]
    pub fn causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// Rotary position embedding of queries and keys.
    #[must_use]
    pub fn rotary(mut self, rotary: Rotary) -> Self {
        self.rotary = Some(rotary);
        self
    }

    /// The initializer of all weights (default: Glorot uniform).
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// Draws the weights.
    ///
    /// # Errors
    /// When a size is 0, the heads do not divide `embed`, the dropout is no probability, or rotary positions meet an odd
    /// head size.
    pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<MultiHeadAttention<T>> {
        const OP: &str = "multi_head_attention";
        let e = self.embed;
        positive(OP, "an embedding size", e)?;
        positive(OP, "a number of heads", self.heads)?;
        probability(OP, self.dropout)?;
        if !e.is_multiple_of(self.heads) {
            return refuse(
                OP,
                format!("{} heads do not divide an embedding of {e}", self.heads),
            );
        }
        if self.rotary.is_some() && !(e / self.heads).is_multiple_of(2) {
            return refuse(
                OP,
                format!(
                    "rotary positions need heads of even size, found {}",
                    e / self.heads
                ),
            );
        }
        let (q, k, v, joint) = match self.sizes.filter(|s| *s != [e, e]) {
            None => {
                let fans = Fans::linear(e, e);
                let w = sample_blocks(self.init, 3, [3 * e, e], fans, rng);
                let w = Param::new(w).with_origin(self.init.describe(&[e, e], fans));
                (None, None, None, Some(w))
            }
            Some([ks, vs]) => {
                positive(OP, "a key size", ks)?;
                positive(OP, "a value size", vs)?;
                let mut weight =
                    |n: usize| draw(self.init, &[e, n], Fans::linear(n, e), rng).map(Some);
                (weight(e)?, weight(ks)?, weight(vs)?, None)
            }
        };
        Ok(MultiHeadAttention {
            q_proj_weight: q,
            k_proj_weight: k,
            v_proj_weight: v,
            in_proj_weight: joint,
            in_proj_bias: self.bias.then(|| zeros(&[3 * e])).transpose()?,
            out_proj: Linear::builder(e, e)
                .bias(self.bias)
                .init(self.init)
                .try_build(rng)?,
            heads: self.heads,
            dropout: self.dropout,
            causal: self.causal,
            rotary: self.rotary,
        })
    }

    /// Draws the weights.
    ///
    /// # Panics
    /// Where [`MultiHeadAttentionBuilder::try_build`] errs.
    #[track_caller]
    pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> MultiHeadAttention<T> {
        self.try_build(rng).or_panic()
    }
}
