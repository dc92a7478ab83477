//! The gradient-descent family: optimizers, parameter groups, schedules, clipping.
//!
//! ```
//! use wengert_autograd::{Gradients, Param};
//! use wengert_optim::schedule::Cosine;
//! use wengert_optim::{AdamW, Schedule};
//! use wengert_tensor::Tensor;
//!
//! let mut w = Param::new(Tensor::from_vec(vec![1.0f32, -2.0], [2]));
//! let mut adam = AdamW::new(Cosine::new(0.1, 300).warmup(20)).clip_norm(1.0);
//! for _ in 0..300 {
//!     // The gradient of ‖w‖² / 2; a tape returns it.
//!     let grads = Gradients::from_parts(0.0, vec![(w.id(), w.value().copy())], vec![]);
//!     let report = adam.step(&mut w, &grads);
//!     assert!(report.applied && report.clip.is_some());
//! }
//! assert!(w.value().iter().all(|x| x.abs() < 1e-2));
//! // A checkpoint holds the state by parameter path; a new optimizer goes on from it, bit for bit.
//! let saved = adam.state();
//! let mut other = AdamW::new(Cosine::new(0.1, 300).warmup(20)).clip_norm(1.0);
//! other.load_state(&w, &saved).unwrap();
//! assert_eq!(other.state(), saved);
//! ```
//!
//! | family | types | defaults of |
//! |---|---|---|
//! | descent, momentum | [`Sgd`], [`Asgd`], [`ScheduleFreeSgd`] | PyTorch, PyTorch, optax |
//! | Adam and its kin | [`Adam`], [`AdamW`], [`NAdam`], [`RAdam`], [`Adamax`] | PyTorch |
//! | other second moments | [`Adagrad`], [`Adadelta`], [`RmsProp`], [`Adafactor`] | PyTorch |
//! | | [`AdaBelief`], [`Yogi`], [`Adan`], [`ScheduleFreeAdamW`] | optax |
//! | by sign | [`Rprop`], [`SignSgd`], [`Lion`] | PyTorch, optax, optax |
//! | by layer | [`Lamb`], [`Lars`], [`NovoGrad`] | optax |
//! | matrices | [`Muon`], [`Soap`] | PyTorch, the authors |
//! | curvature | [`Sophia`], [`Lbfgs`] | optax, PyTorch |
//! | no learning rate | [`Prodigy`] | optax |
//!
//! Around them: [`Group`]s, [`schedule`]s, [`transform`]s of the gradients, [`wrappers`]. Formulas, defaults and papers in one
//! table: `docs/optimizers.md`.
#![forbid(unsafe_code)]

mod engine;
mod entries;
pub mod error;
mod groups;
mod hub;
mod lbfgs;
mod linalg;
#[cfg(feature = "mutation")]
pub mod mutation;
mod optimizer;
mod power;
mod reduce;
pub mod rule;
pub mod rules;
pub mod schedule;
mod snapshot;
pub mod state;
pub mod transform;
pub mod wrappers;

pub use entries::Entries;
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
