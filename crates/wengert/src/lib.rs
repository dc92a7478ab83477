//! Reverse-mode automatic differentiation, neural networks and a gradient doctor in pure Rust.
#![forbid(unsafe_code)]
