//! Attention, transformer layers, positional encodings.
//!
//! Sequences are `[n, length, features]` (PyTorch's `batch_first=True`).

mod multihead;
mod position;
mod transformer;

pub use multihead::{AttentionMask, MultiHeadAttention, MultiHeadAttentionBuilder};
pub use position::{LearnedPositions, Rotary, SinusoidalPositions, alibi};
pub use transformer::{
    TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerOptions,
};
