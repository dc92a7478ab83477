//! Dense strided tensors, SIMD and threaded kernels, fused programs and random fill for the wengert framework.
//!
//! This is the only crate of the workspace that contains `unsafe` code and the only one that touches memory.
//!
//! | module | what stands there |
//! |---|---|
//! | [`Tensor`], [`Storage`], [`shape`] | the array, its memory, shapes and broadcasting |
//! | [`simd`] | instruction-set dispatch: one generic kernel, compiled for AVX-512, AVX2+FMA and the baseline |
//! | [`lane`] | the scalar language of kernels: [`lane::Lane`] with `exp`, `tanh`, `erf`, … of stated accuracy |
//! | [`fused`] | programs of elementwise operations and reductions in one pass over memory |
//! | [`parallel`] | the threads that kernels run on |
//! | [`gemm`] | matrix multiplication, any layout, batched, with an epilogue |
//! | [`conv`] | convolution in one to three dimensions and its adjoints |
//! | [`batch_norm`] | batch normalization in the fewest passes |
//! | [`scan`] | running sums |
//! | [`normal`] | draws from the normal distribution |
//! | [`error`] | the error type of everything that can fail |

pub mod batch_norm;
pub mod conv;
mod copy;
mod display;
mod element;
pub mod error;
mod fill;
pub mod fused;
#[doc(hidden)]
pub mod gather;
pub mod gemm;
pub mod lane;
#[doc(hidden)]
pub mod list;
mod magnitude;
pub mod normal;
#[doc(hidden)]
pub mod order;
pub mod parallel;
pub mod scan;
pub mod shape;
pub mod simd;
#[doc(hidden)]
pub mod sort;
mod storage;
#[doc(hidden)]
pub mod stream;
mod tensor;
mod vector;

pub use element::{DType, Element, Real, of_type};
pub use error::{Error, Result};
pub use fill::Cast;
pub use shape::{Dims, IntoDims, Layout};
pub use storage::{Storage, allocation_limit, set_allocation_limit};
pub use tensor::Tensor;
