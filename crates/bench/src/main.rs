//! Benchmark programs of the wengert workspace.
#![forbid(unsafe_code)]
fn main() {}
