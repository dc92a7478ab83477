//! The gradient doctor: measure activations and gradients, judge, remedy, report.
//!
//! | module | what stands there |
//! |---|---|
//! | [`probe`] | measuring: layers found on the tape, values and gradients summarised in passing |
//! | [`profile`] | what was measured: [`profile::Summary`] of values, per layer, per step, per run |
//! | [`report`] | how it is shown: terminal text, SVG plots, a self-contained HTML page, JSON, TensorBoard event files |
#![forbid(unsafe_code)]

pub mod probe;
pub mod profile;
pub mod report;
