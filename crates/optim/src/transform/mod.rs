//! What is done to all gradients before the rule sees them.
//!
//! For one thing at a time there are methods on [`Gradients`] ([`ClipExt`]); for several in a fixed order, with records
//! and state, there is the [`Pipeline`].

mod adaptive;
mod bounds;
mod clip;
mod links;
mod pipeline;

pub use adaptive::{Agc, ZClip};
pub use bounds::{ClipEach, ClipNorm, ClipValue};
pub use clip::{ClipExt, ClipRecord};
pub use links::{Centralize, Noise, NonFinitePolicyLink, Scale};
pub use pipeline::{Context, Outcome, Pipeline, PipelineReport, Record, Transform};

#[cfg(doc)]
use wengert_autograd::Gradients;
