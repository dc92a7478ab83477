//! Tape-based reverse-mode automatic differentiation: `Var`, ops and their rules, the fused executor, gradient checks.
//!
//! The tape is the program, values are a cache. Recording checks shapes and appends to a list; evaluation happens when a
//! value is asked for; derivatives are appended to the same list, so they can be differentiated again.
//!
//! | file | what stands there |
//! |---|---|
//! | `tape.rs`, `var.rs`, `op.rs` | recording: the tape, the handle, the trait of operations |
//! | `ops/` | the operations, one file per family, kernel and derivative rule side by side |
//! | `diff.rs` | the adjoint program: `grad`, `backward` |
//! | `calculus.rs` | `vjp`, `jvp`, `hvp`, `jacobian`, `hessian`, own derivatives |
//! | `vmap.rs` | a function of one example over a batch, without a loop |
//! | `plan.rs`, `exec.rs`, `pool.rs` | what is needed, what runs fused, where values die; running it; memory |
//! | `observe.rs`, `hooks.rs` | looking at values and gradients in passing |
//! | `anomaly.rs`, `missing.rs` | where a NaN came from, why a parameter got no gradient |
//! | `param.rs`, `module.rs`, `gradients.rs` | what a model owns, how it is visited, what a backward pass returns |
//! | `gradcheck.rs` | derivatives against finite differences |
#![forbid(unsafe_code)]

mod anomaly;
mod calculus;
mod diff;
mod exec;
mod finite;
mod float;
mod gradcheck;
mod gradients;
mod hooks;
mod missing;
mod module;
#[cfg(feature = "mutation")]
#[doc(hidden)]
pub mod mutation;
mod observe;
mod op;
pub mod ops;
mod param;
mod plan;
mod pool;
mod tape;
mod values;
mod var;
mod visit;
mod vmap;

pub use anomaly::{Anomaly, Extent};
pub use calculus::{
    custom_grad, custom_grad_with, hessian, hvp, jacobian, jvp, value_and_grad, vjp,
};
pub use diff::{grad, grad_many, vjp_many};
pub use finite::largest;
pub use float::Float;
pub use gradcheck::{GradCheck, GradCheckOptions, gradcheck, gradcheck_module, gradcheck_with};
pub use gradients::Gradients;
pub use missing::{MissingGradient, WhyMissing};
pub use module::{Module, Path, Visitor, VisitorMut};
pub use observe::{NodeInfo, Observer, Seen};
pub use op::{Cotangents, DynEq, ForwardCtx, Op, VjpCtx};
pub use param::{Buffer, BufferId, Param, ParamId};
pub use pool::MemoryStats;
pub use tape::{Counters, Passed, Tape};
pub use var::Var;
pub use visit::{BufferInfo, ModuleExt, ModuleInfo, ParamInfo, path_matches};
pub use vmap::{BatchCtx, vmap, vmap_many};
pub use wengert_tensor::{Dims, Error, IntoDims, Real, Result, Tensor};
