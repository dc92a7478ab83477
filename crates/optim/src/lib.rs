//! The gradient-descent family: optimizers, parameter groups, schedules, clipping.
#![forbid(unsafe_code)]

pub mod error;
mod groups;
mod hub;
mod optimizer;
mod reduce;
pub mod rule;
pub mod rules;
pub mod schedule;
pub mod transform;
mod walker;

pub use error::{Error, NonFinite, Result};
pub use groups::{Group, ParamInfo};
pub use optimizer::{NonFinitePolicy, Optimizer, StepReport};
pub use rules::{Adam, AdamW, Sgd};
pub use schedule::Schedule;
pub use transform::{ClipExt, ClipRecord};
