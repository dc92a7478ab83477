//! The elementary functions of `lane` on every instruction set of this machine: errors against the bounds that the
//! documentation of `lane` states, special values, and agreement of vector and scalar code.
//!
//! `cargo test -p wengert-tensor --test lane_accuracy -- --nocapture` prints the largest errors found. `SWEEP=3` in front of it
//! looks at every third f32, `SWEEP=1` at all of them, `ONLY=gelu,tanh` at some functions. For the sake of time all floats are
//! compared with our own functions in f64 (the sample without `SWEEP` with those of `libm`), and what the baseline computes is
//! computed in vectors (and compared with the baseline at every four hundredth float).

mod double;
mod functions;
mod measure;
mod roots;
mod single;
mod special;
