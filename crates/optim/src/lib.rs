//! The gradient-descent family: optimizers, parameter groups, schedules, clipping.
#![forbid(unsafe_code)]
