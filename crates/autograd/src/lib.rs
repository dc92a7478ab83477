//! Tape-based reverse-mode automatic differentiation: `Var`, ops and their rules, the fused executor, gradient checks.
#![forbid(unsafe_code)]

mod gradients;
mod module;
mod param;
mod visit;

pub use gradients::Gradients;
pub use module::{Module, Path, Visitor, VisitorMut};
pub use param::{Buffer, BufferId, Param, ParamId};
pub use visit::{BufferInfo, ModuleExt, ModuleInfo, ParamInfo, path_matches};
pub use wengert_tensor::{Error, IntoDims, Real, Result, Tensor};
