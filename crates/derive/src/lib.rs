//! `#[derive(Module)]` for the wengert framework.
//!
//! The derive writes the three methods of `wengert_autograd::Module` for a struct or an enum. Parameters are visited in
//! declaration order under the names of their fields (`fc1.weight`); an enum shows the fields of its active variant;
//! the fields of tuple structs and tuple variants are named by their index.
//!
//! ```
//! use wengert_autograd::{Module, ModuleExt, Param, Tensor};
//! use wengert_derive::Module;
//!
//! #[derive(Module)]
//! #[module(crate = wengert_autograd)]
//! struct Affine {
//!     weight: Param,
//!     bias: Option<Param>,
//!     #[module(skip)]
//!     stride: usize,
//! }
//!
//! let a = Affine { weight: Param::new(Tensor::zeros([3, 2])), bias: None, stride: 1 };
//! assert_eq!(a.named_params()[0].path, "weight");
//! assert_eq!((a.num_params(), a.kind(), a.stride), (6, "Affine", 1));
//! ```
//!
//! # Attributes of the type
//! | attribute | meaning |
//! |---|---|
//! | `#[module(float = f64)]` | implement `Module<f64>`; without it the type parameter bounded by `Float` or `Real`, else `f32` |
//! | `#[module(crate = wengert_autograd)]` | where `Module`, `Path`, `Visitor` and `VisitorMut` stand; without it the façade crate `wengert` |
//! | `#[module(kind = "…")]` | what `Module::kind` says; without it the name of the type |
//!
//! # Attributes of a field
//! | attribute | meaning |
//! |---|---|
//! | `#[module(skip)]` | configuration, not visited |
//! | `#[module(rename = "…")]` | another name in the path |
//!
//! A field that is neither a module nor skipped does not compile:
//!
//! ```compile_fail
//! # use wengert_derive::Module;
//! #[derive(Module)]
//! #[module(crate = wengert_autograd)]
//! struct Affine {
//!     weight: wengert_autograd::Param,
//!     stride: usize, // error: `usize` is not a module
//! }
//! ```
//!
//! # Generics
//! For a field whose type mentions a type parameter other than the float, the implementation asks that the field's type
//! is a module; so `struct Wrap<M> { inner: M }` is a module whenever `M` is one.
#![forbid(unsafe_code)]

mod attributes;
mod expand;
mod item;
mod tokens;

use proc_macro::TokenStream;

/// Implements `Module`: see the [crate's page](crate) for names, attributes and generics.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    expand::module(input).unwrap_or_else(tokens::Error::tokens)
}
