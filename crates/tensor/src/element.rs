//! The types a tensor can hold.

use crate::Tensor;
use crate::error::Result;
use crate::lane::{F32Lane, F64Lane, Lane};
use crate::shape::Dims;
use crate::simd::Isa;
use std::fmt::{self, Debug, Display};

/// Name of an element type, as written in files and messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Truth value, one byte.
    Bool,
}

impl Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::Bool => "bool",
        })
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A type that a [`Tensor`](crate::Tensor) can hold: `f32`, `f64`, `i32`, `i64`, `u8`, `bool`.
///
/// Sealed: every value of such a type is plain bytes, and all-zero bytes are [`Element::ZERO`].
pub trait Element:
    sealed::Sealed + Copy + Send + Sync + PartialEq + PartialOrd + Default + Debug + Display + 'static
{
    /// The name of the type.
    const DTYPE: DType;
    /// Zero (`false`).
    const ZERO: Self;
    /// One (`true`).
    const ONE: Self;
    /// Whether it is [`Element::ZERO`] to the last bit: -0.0 is not.
    #[doc(hidden)]
    fn is_all_zero(self) -> bool;
    // What tensors do that takes more than a few instructions; here, so that it is compiled in this crate only.
    #[doc(hidden)]
    fn zeros(shape: Dims) -> Result<Tensor<Self>>;
    #[doc(hidden)]
    fn from_slice(data: &[Self], shape: Dims) -> Result<Tensor<Self>>;
    #[doc(hidden)]
    fn copy(x: &Tensor<Self>) -> Tensor<Self>;
    #[doc(hidden)]
    fn copy_into(x: &Tensor<Self>, out: &mut [Self]);
    #[doc(hidden)]
    fn to_vec(x: &Tensor<Self>) -> Vec<Self>;
    #[doc(hidden)]
    fn reshape(x: &Tensor<Self>, shape: Dims) -> Result<Tensor<Self>>;
    #[doc(hidden)]
    fn as_mut_slice(x: &mut Tensor<Self>) -> &mut [Self];
}

macro_rules! element {
    ($($t:ty, $d:ident, $zero:expr, $one:expr, |$x:ident| $is_zero:expr;)*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            const ZERO: Self = $zero;
            const ONE: Self = $one;
            fn is_all_zero(self) -> bool {
                let $x = self;
                $is_zero
            }
            fn zeros(shape: Dims) -> Result<Tensor<Self>> {
                Tensor::zeros_here(shape)
            }
            fn from_slice(data: &[Self], shape: Dims) -> Result<Tensor<Self>> {
                Tensor::from_slice_here(data, shape)
            }
            fn copy(x: &Tensor<Self>) -> Tensor<Self> {
                x.copy_here()
            }
            fn copy_into(x: &Tensor<Self>, out: &mut [Self]) {
                x.copy_into_here(out);
            }
            fn to_vec(x: &Tensor<Self>) -> Vec<Self> {
                x.to_vec_here()
            }
            fn reshape(x: &Tensor<Self>, shape: Dims) -> Result<Tensor<Self>> {
                x.reshape_here(shape)
            }
            fn as_mut_slice(x: &mut Tensor<Self>) -> &mut [Self] {
                x.as_mut_slice_here()
            }
        }
    )*};
}
element! {
    f32, F32, 0.0, 1.0, |x| x.to_bits() == 0;
    f64, F64, 0.0, 1.0, |x| x.to_bits() == 0;
    i32, I32, 0, 1, |x| x == 0;
    i64, I64, 0, 1, |x| x == 0;
    u8, U8, 0, 1, |x| x == 0;
    bool, Bool, false, true, |x| !x;
}

/// A floating-point element: `f32` or `f64`.
pub trait Real:
    Element + num_traits::Float + num_traits::NumAssign + std::iter::Sum + crate::gemm::GemmElem
{
    /// The scalar a kernel computes with when it is compiled for the instruction set `I`.
    type Lane<I: Isa>: Lane<Elem = Self>;
    /// Nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// Exact widening.
    fn as_f64(self) -> f64;
    /// `max |xᵢ|` in one fast pass; 0 for no elements, and NaN if one is NaN, so it is finite exactly if all of them are.
    fn largest_magnitude(x: &[Self]) -> Self;
    /// `dst ← dst + factor · src` on all threads; returns `max |dstᵢ|` of the result, as [`Real::largest_magnitude`] does,
    /// from the same pass.
    ///
    /// # Panics
    /// When the lengths differ.
    fn add_scaled(dst: &mut [Self], src: &[Self], factor: Self) -> Self;
}

impl Real for f32 {
    type Lane<I: Isa> = F32Lane<I>;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
    fn largest_magnitude(x: &[Self]) -> Self {
        crate::magnitude::of_f32(x)
    }
    fn add_scaled(dst: &mut [Self], src: &[Self], factor: Self) -> Self {
        crate::magnitude::add_f32(dst, src, factor)
    }
}

impl Real for f64 {
    type Lane<I: Isa> = F64Lane<I>;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn as_f64(self) -> f64 {
        self
    }
    fn largest_magnitude(x: &[Self]) -> Self {
        crate::magnitude::of_f64(x)
    }
    fn add_scaled(dst: &mut [Self], src: &[Self], factor: Self) -> Self {
        crate::magnitude::add_f64(dst, src, factor)
    }
}

/// The one of two statics, made for `f32` and for `f64`, that has the type asked for.
///
/// Release builds share no generic code between crates. A crate that keeps its functions in a static for each float, and
/// picks the right one by this, compiles them once, and not again in every crate that uses it.
///
/// # Panics
/// When neither has the type.
#[doc(hidden)]
pub fn of_type<W: std::any::Any>(statics: [&'static dyn std::any::Any; 2]) -> &'static W {
    let found = statics.into_iter().find_map(|s| s.downcast_ref());
    found.expect("Real is sealed: f32 and f64")
}
