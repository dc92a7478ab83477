//! The gradient doctor: measure activations and gradients, judge, remedy, report.
//!
//! | module | what stands there |
//! |---|---|
//! | [`probe`] | measuring: layers found on the tape, values and gradients summarised in passing |
//! | [`profile`] | what was measured: [`profile::Summary`] of values, per layer, per step, per run |
//! | [`Monitor`] | a training run, every n-th step measured |
//! | [`FlowReport`] | one call: measure, judge, show |
//! | [`init_report()`] | before training: gains, Jacobian, symmetry |
//! | [`judge`] | rules with documented thresholds: vanishing, exploding, saturated, dead, symmetric, … |
//! | [`lab`] | remedies compared, applied until healthy |
//! | [`report`] | how it is shown: terminal text, SVG plots, a self-contained HTML page, JSON, TensorBoard event files |
#![forbid(unsafe_code)]

mod flow_report;
mod hub;
mod init_report;
pub mod judge;
pub mod lab;
mod monitor;
pub mod probe;
pub mod profile;
pub mod report;
mod sorted;

pub use flow_report::FlowReport;
pub use init_report::{InitReport, LayerGain, init_report, largest_singular_value};
pub use monitor::Monitor;
