//! The gradient doctor: measure activations and gradients, judge, remedy, report.
#![forbid(unsafe_code)]
