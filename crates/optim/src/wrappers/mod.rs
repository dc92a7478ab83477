//! What goes around an optimizer: accumulation, sharpness-aware steps, slow weights, averaged weights.

mod accumulate;
mod average;
mod lookahead;
mod sam;

pub use accumulate::{Accumulator, apply_side_outputs};
pub use average::{Ema, Swa};
pub use lookahead::Lookahead;
pub use sam::Sam;
