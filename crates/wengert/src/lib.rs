//! Reverse-mode automatic differentiation, neural networks and a gradient doctor in pure Rust.
#![forbid(unsafe_code)]

pub use wengert_autograd::{Buffer, Module, ModuleExt, Param, Real as Float, Tensor};
pub use wengert_derive::Module;

/// What `#[derive(Module)]` names. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use wengert_autograd::{Module, Path, Visitor, VisitorMut};
}
