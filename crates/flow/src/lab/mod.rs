//! The remedy laboratory: one network, described by a [`NetSpec`], trained with and without a remedy, with equal seed,
//! data and budget.
//!
//! [`train`] trains and measures one, [`compare`] a list of remedies side by side, [`cure`] applies what the verdict
//! proposes until the network is healthy or nothing is left to try.

mod compare;
mod cure;
mod net;
mod remedy;
mod spec;
mod train;

pub use compare::{Comparison, compare};
pub use cure::{Cure, cure};
pub use net::Net;
pub use remedy::{Remedy, propose};
pub use spec::{Cell, Decay, NetSpec, Rule, SpecError};
pub use train::{LabData, Samples, train};
