//! Matrix multiplication against naive loops: sizes, layouts, batches, epilogues, levels, threads.

mod bits;
mod matrices;
mod packed;
mod refuses;
mod values;
