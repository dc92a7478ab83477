//! The gradient-descent family: optimizers, parameter groups, schedules, clipping.
#![forbid(unsafe_code)]

mod engine;
pub mod error;
mod groups;
mod hub;
mod lbfgs;
mod linalg;
mod optimizer;
mod reduce;
pub mod rule;
pub mod rules;
pub mod schedule;
mod snapshot;
pub mod state;
pub mod transform;
pub mod wrappers;

pub use error::{Error, NonFinite, Result};
pub use groups::{Group, ParamInfo};
pub use lbfgs::{Lbfgs, LbfgsReport, Stop};
pub use optimizer::{NonFinitePolicy, Optimize, Optimizer, StepReport};
pub use rules::{
    AdaBelief, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Adan, Asgd, Lamb, Lars, Lion,
    Muon, MuonScale, NAdam, NovoGrad, Prodigy, RAdam, RmsProp, Rprop, ScheduleFreeAdamW,
    ScheduleFreeSgd, Sgd, SignSgd, Soap, Sophia, Yogi,
};
pub use schedule::Schedule;
pub use state::OptimizerState;
pub use transform::{ClipExt, ClipRecord};
