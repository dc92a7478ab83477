//! A tensor whose element type is known at run time.

use super::error::{Problem, Result, StateError, tensor};
use super::header::{Entry, StoredType};
use std::any::Any;
use std::io;
use wengert_tensor::{Dims, Element, Real, Tensor};

/// Bytes that are converted at a time; a multiple of every element's size.
const CHUNK: usize = 1 << 16;

/// A tensor of any element type that a file can hold.
///
/// Half precision (`F16`, `BF16`) is widened to `f32` on reading, which is exact. Types that the framework has no tensor for stay bytes.
#[derive(Clone)]
#[non_exhaustive]
pub enum AnyTensor {
    /// Single precision.
    F32(Tensor<f32>),
    /// Double precision.
    F64(Tensor<f64>),
    /// 32-bit integers.
    I32(Tensor<i32>),
    /// 64-bit integers.
    I64(Tensor<i64>),
    /// Bytes.
    U8(Tensor<u8>),
    /// Truth values.
    Bool(Tensor<bool>),
    /// Another type: its bytes as they stand in the file.
    Other {
        /// The type in the file.
        dtype: StoredType,
        /// Sizes.
        shape: Vec<usize>,
        /// Elements in row-major order, little endian.
        bytes: Vec<u8>,
    },
}

macro_rules! typed {
    ($($variant:ident $t:ty;)*) => {
        $(impl From<Tensor<$t>> for AnyTensor {
            fn from(t: Tensor<$t>) -> Self {
                AnyTensor::$variant(t)
            }
        })*

        impl AnyTensor {
            /// Sizes.
            pub fn shape(&self) -> &[usize] {
                match self {
                    $(AnyTensor::$variant(t) => t.shape(),)*
                    AnyTensor::Other { shape, .. } => shape,
                }
            }

            /// The type it has in a file.
            pub fn dtype(&self) -> StoredType {
                match self {
                    $(AnyTensor::$variant(_) => StoredType::$variant,)*
                    AnyTensor::Other { dtype, .. } => *dtype,
                }
            }

            /// The tensor, if its elements are of type `E`.
            pub fn get<E: Element>(&self) -> Option<&Tensor<E>> {
                let any: &dyn Any = match self {
                    $(AnyTensor::$variant(t) => t,)*
                    AnyTensor::Other { .. } => return None,
                };
                any.downcast_ref()
            }

            fn any_mut<E: Element>(&mut self) -> Option<&mut Tensor<E>> {
                let any: &mut dyn Any = match self {
                    $(AnyTensor::$variant(t) => t,)*
                    AnyTensor::Other { .. } => return None,
                };
                any.downcast_mut()
            }
        }
    };
}
typed! {
    F32 f32;
    F64 f64;
    I32 i32;
    I64 i64;
    U8 u8;
    Bool bool;
}

impl AnyTensor {
    /// A tensor of a model.
    pub fn of<T: Real>(t: Tensor<T>) -> Self {
        let double = T::DTYPE == wengert_tensor::DType::F64;
        let mut out = if double {
            AnyTensor::F64(Tensor::zeros([0]))
        } else {
            AnyTensor::F32(Tensor::zeros([0]))
        };
        *out.any_mut::<T>().expect("a real type is f32 or f64") = t;
        out
    }

    /// The elements as `T`: as they are, or widened from `f32`, or, if `narrow`, rounded from `f64`; a single integer
    /// (a counter) if `T` holds it exactly or `narrow` rounds. `None` where that cannot be.
    pub(super) fn to_real<T: Real>(&self, narrow: bool) -> Option<Tensor<T>> {
        if let Some(t) = self.get::<T>() {
            return Some(t.clone());
        }
        match self {
            AnyTensor::F32(t) => Some(t.map(|x| T::from_f64(x.into()))),
            AnyTensor::F64(t) if narrow => Some(t.map(T::from_f64)),
            AnyTensor::I64(t) if t.numel() == 1 => {
                let n = t.get(&vec![0; t.rank()]);
                let x = T::from_f64(n as f64);
                // 2^63 is the one float that saturates back to a neighbour.
                let exact = x.as_f64() < 9.2e18 && x.as_f64() as i64 == n;
                (exact || narrow).then(|| Tensor::full(t.shape(), x))
            }
            _ => None,
        }
    }

    /// Number of bytes in a file.
    pub(super) fn size(&self) -> u64 {
        let n: usize = self.shape().iter().product();
        (n * self.dtype().size()) as u64
    }

    /// Hands the bytes out in the order of the file.
    pub(super) fn bytes(&self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            AnyTensor::F32(t) => encode(t, out, |x, b| b.extend_from_slice(&x.to_le_bytes())),
            AnyTensor::F64(t) => encode(t, out, |x, b| b.extend_from_slice(&x.to_le_bytes())),
            AnyTensor::I32(t) => encode(t, out, |x, b| b.extend_from_slice(&x.to_le_bytes())),
            AnyTensor::I64(t) => encode(t, out, |x, b| b.extend_from_slice(&x.to_le_bytes())),
            AnyTensor::U8(t) => encode(t, out, |x, b| b.push(x)),
            AnyTensor::Bool(t) => encode(t, out, |x, b| b.push(u8::from(x))),
            AnyTensor::Other { bytes, .. } => out(bytes),
        }
    }

    /// Reads the elements that `entry` describes.
    pub(super) fn read(
        entry: &Entry,
        source: &mut dyn FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let shape = &entry.shape;
        Ok(match entry.dtype {
            StoredType::F32 => AnyTensor::F32(decode(shape, source, f32::from_le_bytes)?),
            StoredType::F64 => AnyTensor::F64(decode(shape, source, f64::from_le_bytes)?),
            StoredType::I32 => AnyTensor::I32(decode(shape, source, i32::from_le_bytes)?),
            StoredType::I64 => AnyTensor::I64(decode(shape, source, i64::from_le_bytes)?),
            StoredType::U8 => AnyTensor::U8(decode(shape, source, u8::from_le_bytes)?),
            StoredType::F16 => {
                AnyTensor::F32(decode(shape, source, |b| half(u16::from_le_bytes(b)))?)
            }
            StoredType::BF16 => AnyTensor::F32(decode(shape, source, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            })?),
            StoredType::Bool => {
                let mut bad = None;
                let t = decode(shape, source, |[b]: [u8; 1]| {
                    if b > 1 {
                        bad = Some(b);
                    }
                    b == 1
                })?;
                if let Some(b) = bad {
                    return Err(tensor(
                        &entry.name,
                        format!("a truth value is 0 or 1, found {b}"),
                    ));
                }
                AnyTensor::Bool(t)
            }
            dtype => {
                let n = (entry.range.end - entry.range.start) as usize;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(n).map_err(|_| {
                    StateError::from(Problem::Memory(wengert_tensor::Error::OutOfMemory {
                        op: "load",
                        bytes: n,
                    }))
                })?;
                bytes.resize(n, 0);
                source(&mut bytes)?;
                AnyTensor::Other {
                    dtype,
                    shape: shape.to_vec(),
                    bytes,
                }
            }
        })
    }
}

impl std::fmt::Debug for AnyTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.dtype(), self.shape())
    }
}

fn encode<E: Element>(
    t: &Tensor<E>,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    put: impl Fn(E, &mut Vec<u8>),
) -> io::Result<()> {
    let t = t.contiguous();
    let elements = t.as_slice().expect("contiguous");
    let step = CHUNK / size_of::<E>();
    let mut buffer = Vec::with_capacity(CHUNK.min(size_of_val(elements)));
    for part in elements.chunks(step) {
        buffer.clear();
        part.iter().for_each(|&x| put(x, &mut buffer));
        out(&buffer)?;
    }
    Ok(())
}

fn decode<E: Element, const N: usize>(
    shape: &Dims,
    source: &mut dyn FnMut(&mut [u8]) -> Result<()>,
    mut get: impl FnMut([u8; N]) -> E,
) -> Result<Tensor<E>> {
    let mut t = Tensor::<E>::try_zeros(shape).map_err(|e| StateError::from(Problem::Memory(e)))?;
    let elements = t.as_mut_slice();
    let mut buffer = vec![0; CHUNK.min(elements.len() * N)];
    for part in elements.chunks_mut(CHUNK / N) {
        let bytes = &mut buffer[..part.len() * N];
        source(bytes)?;
        for (x, b) in part.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *x = get(*b);
        }
    }
    Ok(t)
}

/// The value of an IEEE binary16.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Subnormal: fraction · 2⁻²⁴, exact in single precision.
        0 => f32::from_bits(sign | (fraction as f32 * 5.960_464_5e-8).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}
