//! What is done to all gradients before the rule sees them.

mod clip;

pub use clip::{ClipExt, ClipRecord};
