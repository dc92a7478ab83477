//! A tensor whose element type is known at run time only.

use crate::error::{Error, Result};
use wengert_tensor::{DType, Element, Tensor};

/// What a file turned out to hold.
#[derive(Clone)]
#[non_exhaustive]
pub enum AnyTensor {
    /// 32-bit floats.
    F32(Tensor<f32>),
    /// 64-bit floats.
    F64(Tensor<f64>),
    /// 32-bit integers.
    I32(Tensor<i32>),
    /// 64-bit integers.
    I64(Tensor<i64>),
    /// Bytes.
    U8(Tensor<u8>),
    /// Truth values.
    Bool(Tensor<bool>),
}

macro_rules! each {
    ($any:expr, $t:ident => $body:expr) => {
        match $any {
            AnyTensor::F32($t) => $body,
            AnyTensor::F64($t) => $body,
            AnyTensor::I32($t) => $body,
            AnyTensor::I64($t) => $body,
            AnyTensor::U8($t) => $body,
            AnyTensor::Bool($t) => $body,
        }
    };
}

impl AnyTensor {
    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        each!(self, t => t.shape())
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        fn of<T: Element>(_: &Tensor<T>) -> DType {
            T::DTYPE
        }
        each!(self, t => of(t))
    }

    /// The tensor, if its elements are bytes.
    ///
    /// # Errors
    /// [`Error::Tensor`] that names the type found.
    pub fn into_u8(self) -> Result<Tensor<u8>> {
        let found = self.dtype();
        match self {
            AnyTensor::U8(t) => Ok(t),
            _ => Err(Error::Tensor(wengert_tensor::Error::DType {
                op: "into_u8",
                expected: DType::U8,
                found,
            })),
        }
    }

    /// The elements as `f32`: rounded to nearest from wider types, `false` and `true` as 0 and 1.
    ///
    /// # Errors
    /// [`Error::Tensor`] when memory is not to be had.
    pub fn to_f32(&self) -> Result<Tensor<f32>> {
        match self {
            AnyTensor::F32(t) => Ok(t.clone()),
            AnyTensor::F64(t) => convert(t, |x| x as f32),
            AnyTensor::I32(t) => convert(t, |x| x as f32),
            AnyTensor::I64(t) => convert(t, |x| x as f32),
            AnyTensor::U8(t) => convert(t, f32::from),
            AnyTensor::Bool(t) => convert(t, |x| f32::from(u8::from(x))),
        }
    }

    /// The elements as `f64`; only `i64` above 2⁵³ is rounded.
    ///
    /// # Errors
    /// [`Error::Tensor`] when memory is not to be had.
    pub fn to_f64(&self) -> Result<Tensor<f64>> {
        match self {
            AnyTensor::F32(t) => convert(t, f64::from),
            AnyTensor::F64(t) => Ok(t.clone()),
            AnyTensor::I32(t) => convert(t, f64::from),
            AnyTensor::I64(t) => convert(t, |x| x as f64),
            AnyTensor::U8(t) => convert(t, f64::from),
            AnyTensor::Bool(t) => convert(t, |x| f64::from(u8::from(x))),
        }
    }

    /// Integers and truth values as `i64`: labels, say.
    ///
    /// # Errors
    /// [`Error::Tensor`] for floating-point elements, or when memory is not to be had.
    pub fn to_i64(&self) -> Result<Tensor<i64>> {
        match self {
            AnyTensor::I32(t) => convert(t, i64::from),
            AnyTensor::I64(t) => Ok(t.clone()),
            AnyTensor::U8(t) => convert(t, i64::from),
            AnyTensor::Bool(t) => convert(t, i64::from),
            AnyTensor::F32(_) | AnyTensor::F64(_) => {
                Err(Error::Tensor(wengert_tensor::Error::DType {
                    op: "to_i64",
                    expected: DType::I64,
                    found: self.dtype(),
                }))
            }
        }
    }
}

macro_rules! from_tensor {
    ($($t:ty, $variant:ident;)*) => {$(
        impl From<Tensor<$t>> for AnyTensor {
            fn from(t: Tensor<$t>) -> Self {
                AnyTensor::$variant(t)
            }
        }
    )*};
}
from_tensor! {
    f32, F32;
    f64, F64;
    i32, I32;
    i64, I64;
    u8, U8;
    bool, Bool;
}

fn convert<T: Element, U: Element>(from: &Tensor<T>, f: impl Fn(T) -> U) -> Result<Tensor<U>> {
    let mut out = Tensor::<U>::try_zeros(from.shape())?;
    for (to, x) in out.as_mut_slice().iter_mut().zip(from.iter()) {
        *to = f(x);
    }
    Ok(out)
}

/// A tensor from little- or big-endian numbers of `N` bytes each.
pub(crate) fn from_bytes<const N: usize, T: Element>(
    bytes: &[u8],
    shape: &[usize],
    read: impl Fn([u8; N]) -> T,
) -> Result<Tensor<T>> {
    let mut out = Tensor::<T>::try_zeros(shape)?;
    for (to, chunk) in out.as_mut_slice().iter_mut().zip(bytes.chunks_exact(N)) {
        let mut raw = [0; N];
        raw.copy_from_slice(chunk);
        *to = read(raw);
    }
    Ok(out)
}
