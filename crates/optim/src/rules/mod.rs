//! The update rules, one family per file.

mod adam;
mod sgd;

pub use adam::{Adam, AdamRule, AdamW, AdamWRule};
pub use sgd::{Sgd, SgdRule};
