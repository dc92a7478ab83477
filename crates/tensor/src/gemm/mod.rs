//! General matrix multiplication: `C = epilogue(alpha * A B + beta * C)`.
//!
//! One seam for every product of matrices: any layout of the operands (arbitrary row and column strides, negative and
//! zero ones included for `A` and `B`), batches, and an [`Epilogue`] applied while the result is still in registers.
//!
//! Every element of the result is one chain of multiply-adds over ascending `k`, or one for each lane of a register, cut at places that
//! depend on the sizes alone: neither the number of threads nor strides change a bit.
//!
//! ```
//! use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
//! let a = [1.0, 2.0, 3.0, 4.0]; // 2 x 2
//! let b = [5.0, 6.0, 7.0, 8.0]; // 2 x 2, used transposed
//! let mut c = [0.0_f32; 4];
//! gemm(
//!     2, 2, 2, 1.0,
//!     MatRef::row_major(&a, 2),
//!     MatRef::row_major(&b, 2).t(),
//!     0.0,
//!     MatMut::row_major(&mut c, 2),
//!     Epilogue::BiasRow(&[100.0, 200.0]),
//! );
//! assert_eq!(c, [117.0, 223.0, 139.0, 253.0]);
//! ```

mod block;
mod blocks;
mod buffer;
mod conv;
mod driver;
mod kernels;
mod lanes;
mod line;
mod narrow;
mod pack;
mod packed;
mod skinny;
mod tile;
mod transpose;

pub use packed::{gemm_packed, pack, packed_len};

use crate::Real;
use crate::conv::{Channels, Geometry};
use crate::simd::{Level, level};

/// A matrix that is read: element `(i, j)` is `data[offset + i * rs + j * cs]`.
///
/// The strides may be negative or zero (a broadcast).
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    /// The memory the matrix lies in.
    pub data: &'a [T],
    /// Position of element `(0, 0)`.
    pub offset: usize,
    /// Distance between rows.
    pub rs: isize,
    /// Distance between columns.
    pub cs: isize,
}

impl<'a, T> MatRef<'a, T> {
    /// A dense matrix of `cols` columns, rows one after the other.
    #[inline]
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        MatRef {
            data,
            offset: 0,
            rs: cols as isize,
            cs: 1,
        }
    }

    /// The transposed matrix, in the same memory.
    #[inline]
    #[must_use]
    pub fn t(self) -> Self {
        MatRef {
            rs: self.cs,
            cs: self.rs,
            ..self
        }
    }
}

/// A matrix that is written: element `(i, j)` is `data[offset + i * rs + j * cs]`.
///
/// Different elements must lie in different places, with nested strides: a step along one axis is longer than the
/// whole extent of the other. A stride of one along either axis is the fast case.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    /// The memory the matrix lies in.
    pub data: &'a mut [T],
    /// Position of element `(0, 0)`.
    pub offset: usize,
    /// Distance between rows.
    pub rs: isize,
    /// Distance between columns.
    pub cs: isize,
}

impl<'a, T> MatMut<'a, T> {
    /// A dense matrix of `cols` columns, rows one after the other.
    #[inline]
    pub fn row_major(data: &'a mut [T], cols: usize) -> Self {
        MatMut {
            data,
            offset: 0,
            rs: cols as isize,
            cs: 1,
        }
    }

    /// The transposed matrix, in the same memory.
    #[inline]
    #[must_use]
    pub fn t(self) -> Self {
        MatMut {
            rs: self.cs,
            cs: self.rs,
            ..self
        }
    }
}

/// What is done to each element of `alpha * A B + beta * C` before it is stored.
///
/// `relu(x)` is `+0` for `x <= 0`, and `x` otherwise (NaN stays NaN).
#[derive(Clone, Copy, Debug, Default)]
pub enum Epilogue<'a, T> {
    /// Nothing.
    #[default]
    None,
    /// Adds a row vector of length `n` to every row: `c[i, j] + bias[j]`.
    BiasRow(&'a [T]),
    /// Adds a column vector of length `m` to every column: `c[i, j] + bias[i]`.
    BiasCol(&'a [T]),
    /// `relu(c[i, j])`.
    Relu,
    /// `relu(c[i, j] + bias[j])`.
    BiasRowRelu(&'a [T]),
    /// `relu(c[i, j] + bias[i])`.
    BiasColRelu(&'a [T]),
}

/// A bias per channel of the result and a relu, applied to what a product or a convolution computes before it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a, T> {
    /// Added to each element, by its channel.
    pub bias: Option<&'a [T]>,
    /// Whether a relu follows: `+0` for `x <= 0`, and `x` otherwise (NaN stays NaN).
    pub relu: bool,
}

impl<T> Default for Tail<'_, T> {
    fn default() -> Self {
        Tail {
            bias: None,
            relu: false,
        }
    }
}

impl<'a, T> Tail<'a, T> {
    /// Channels are the columns of the result.
    pub fn columns(self) -> Epilogue<'a, T> {
        match (self.bias, self.relu) {
            (None, false) => Epilogue::None,
            (None, true) => Epilogue::Relu,
            (Some(b), false) => Epilogue::BiasRow(b),
            (Some(b), true) => Epilogue::BiasRowRelu(b),
        }
    }

    /// Channels are the rows of the result.
    pub fn rows(self) -> Epilogue<'a, T> {
        match (self.bias, self.relu) {
            (Some(b), false) => Epilogue::BiasCol(b),
            (Some(b), true) => Epilogue::BiasColRelu(b),
            _ => self.columns(),
        }
    }
}

impl<T: Real> Tail<'_, T> {
    /// Applies the tail to elements of one channel.
    pub(crate) fn apply(&self, channel: usize, out: &mut [T]) {
        if let Some(b) = self.bias {
            out.iter_mut().for_each(|x| *x += b[channel]);
        }
        if self.relu {
            for x in out {
                if *x <= T::ZERO {
                    *x = T::ZERO;
                }
            }
        }
    }
}

/// Everything one call needs, checked.
pub(crate) struct Call<'a, T> {
    batch: usize,
    batch_a: isize,
    batch_b: isize,
    batch_c: isize,
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    beta: T,
    c: MatMut<'a, T>,
    epilogue: Epilogue<'a, T>,
}

/// A convolution or one of its adjoints, checked.
pub(crate) struct ConvCall<'a, T> {
    pub which: Conv,
    pub geometry: &'a Geometry,
    pub channels: &'a Channels,
    pub a: &'a [T],
    pub b: &'a [T],
    pub out: &'a mut [T],
    /// For the output only.
    pub tail: Tail<'a, T>,
}

/// What is computed of the other two.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Conv {
    Output,
    Input,
    Weight,
}

impl<T: Real> ConvCall<'_, T> {
    fn run(self, kernels: &'static kernels::Kernels<T>) {
        let (g, c) = (self.geometry, self.channels);
        match self.which {
            Conv::Output => conv::forward(kernels, g, c, self.a, self.b, self.out, self.tail),
            Conv::Input => conv::input(kernels, g, c, self.a, self.b, self.out),
            Conv::Weight => conv::weight(kernels, g, c, self.a, self.b, self.out),
        }
    }
}

mod hook {
    /// The part of [`Real`](crate::Real) that multiplies matrices, compiled in this crate once per type.
    pub trait GemmElem: Sized {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn run_gemm(level: crate::simd::Level, call: super::Call<'_, Self>);
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn run_conv(level: crate::simd::Level, call: super::ConvCall<'_, Self>);
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn kernels(level: crate::simd::Level) -> &'static super::kernels::Kernels<Self>;
    }
}
pub(crate) use hook::GemmElem;

impl GemmElem for f32 {
    #[allow(private_interfaces)]
    fn run_gemm(level: Level, call: Call<'_, f32>) {
        driver::run(kernels::f32(level), call);
    }
    #[allow(private_interfaces)]
    fn run_conv(level: Level, call: ConvCall<'_, f32>) {
        call.run(kernels::f32(level));
    }
    #[allow(private_interfaces)]
    fn kernels(level: Level) -> &'static kernels::Kernels<f32> {
        kernels::f32(level)
    }
}

impl GemmElem for f64 {
    #[allow(private_interfaces)]
    fn run_gemm(level: Level, call: Call<'_, f64>) {
        driver::run(kernels::f64(level), call);
    }
    #[allow(private_interfaces)]
    fn run_conv(level: Level, call: ConvCall<'_, f64>) {
        call.run(kernels::f64(level));
    }
    #[allow(private_interfaces)]
    fn kernels(level: Level) -> &'static kernels::Kernels<f64> {
        kernels::f64(level)
    }
}

/// `C = epilogue(alpha * A B + beta * C)` with `A` of shape `m x k`, `B` of `k x n` and `C` of `m x n`.
///
/// With `beta == 0` the old `C` is not read. Any of the sizes may be zero; `k == 0` gives `epilogue(beta * C)`.
/// NaN and infinities of the operands propagate as in the naive sum.
///
/// # Panics
/// When a matrix does not lie inside its memory, when elements of `C` may coincide, or when a bias has the wrong
/// length.
#[inline]
#[track_caller]
pub fn gemm<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    gemm_batched(1, (0, 0, 0), m, n, k, alpha, a, b, beta, c, epilogue);
}

/// `batch` products of one shape: matrix number `s` of `A`, `B` and `C` starts `s * strides` elements after the first.
///
/// A stride of zero for `A` or `B` uses one matrix for the whole batch. The bias of the epilogue is the same for all.
///
/// # Panics
/// As [`gemm`]; the matrices of `C` must not overlap.
///
/// ```
/// use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm_batched};
/// let a = [1.0, 2.0, 3.0, 4.0]; // two 1 x 2
/// let b = [1.0, 10.0]; // one 2 x 1
/// let mut c = [0.0_f64; 2]; // two 1 x 1
/// let (a, b, c1) = (MatRef::row_major(&a, 2), MatRef::row_major(&b, 1), MatMut::row_major(&mut c, 1));
/// gemm_batched(2, (2, 0, 1), 1, 1, 2, 1.0, a, b, 0.0, c1, Epilogue::None);
/// assert_eq!(c, [21.0, 43.0]);
/// ```
#[inline]
#[track_caller]
pub fn gemm_batched<T: Real>(
    batch: usize,
    strides: (isize, isize, usize),
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    let l = level();
    gemm_batched_at(l, batch, strides, m, n, k, alpha, a, b, beta, c, epilogue);
}

/// [`gemm_batched`] with the kernels of one instruction set, for tests.
///
/// # Panics
/// As [`gemm_batched`], and when `at` is above [`level`].
#[doc(hidden)]
#[track_caller]
pub fn gemm_batched_at<T: Real>(
    at: Level,
    batch: usize,
    strides: (isize, isize, usize),
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    assert!(at <= level(), "gemm: no {at:?} on this machine");
    let (batch_a, batch_b) = (strides.0, strides.1);
    let batch_c = isize::try_from(strides.2).expect("gemm: the batch stride of C is too large");
    inside(
        "A",
        a.data.len(),
        a.offset,
        [(batch, batch_a), (m, a.rs), (k, a.cs)],
    );
    inside(
        "B",
        b.data.len(),
        b.offset,
        [(batch, batch_b), (k, b.rs), (n, b.cs)],
    );
    let axes = [(batch, batch_c), (m, c.rs), (n, c.cs)];
    inside("C", c.data.len(), c.offset, axes);
    assert!(
        distinct(axes),
        "gemm: elements of C coincide or its strides are not nested: sizes and strides (batch, rows, columns) {axes:?}"
    );
    match epilogue {
        Epilogue::BiasRow(v) | Epilogue::BiasRowRelu(v) => {
            assert!(
                v.len() == n,
                "gemm: a bias of {} elements for {n} columns",
                v.len()
            );
        }
        Epilogue::BiasCol(v) | Epilogue::BiasColRelu(v) => {
            assert!(
                v.len() == m,
                "gemm: a bias of {} elements for {m} rows",
                v.len()
            );
        }
        Epilogue::None | Epilogue::Relu => {}
    }
    if batch == 0 || m == 0 || n == 0 {
        return;
    }
    assert!(
        packable::<T>(batch, m.max(n), k),
        "gemm: no memory could hold {batch} times {m} x {k} and {k} x {n} elements, which strides of 0 allow"
    );
    let call = Call {
        batch,
        batch_a,
        batch_b,
        batch_c,
        m,
        n,
        k,
        alpha,
        a,
        b,
        beta,
        c,
        epilogue,
    };
    T::run_gemm(at, call);
}

/// Panics unless every element at `offset + Σ index * stride` lies in `0..len`.
#[track_caller]
fn inside(name: &str, len: usize, offset: usize, axes: [(usize, isize); 3]) {
    if axes.iter().any(|&(n, _)| n == 0) {
        return;
    }
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (n, stride) in axes {
        let reach = (n as i128 - 1) * stride as i128;
        if reach < 0 {
            low += reach;
        } else {
            high += reach;
        }
    }
    assert!(
        low >= 0 && high < len as i128,
        "gemm: {name} reaches from element {low} to {high} of a slice of {len}"
    );
}

/// Whether whatever a product packs of its operands, with what fills up their tiles, has a size that can be counted.
fn packable<T>(batch: usize, lines: usize, k: usize) -> bool {
    const TILE: u128 = 64;
    let elements = batch as u128 * (lines as u128 + TILE);
    elements
        .checked_mul(k as u128 + TILE)
        .is_some_and(|n| n < isize::MAX as u128 / (TILE * size_of::<T>() as u128))
}

/// Whether the axes are nested, which makes all elements distinct.
fn distinct(mut axes: [(usize, isize); 3]) -> bool {
    if axes.iter().any(|&(n, _)| n == 0) {
        return true;
    }
    for (a, b) in [(0, 1), (1, 2), (0, 1)] {
        if axes[a].1.unsigned_abs() > axes[b].1.unsigned_abs() {
            axes.swap(a, b);
        }
    }
    let mut reach: u128 = 0;
    for (n, stride) in axes {
        if n > 1 {
            if stride.unsigned_abs() as u128 <= reach {
                return false;
            }
            reach += (n as u128 - 1) * stride.unsigned_abs() as u128;
        }
    }
    true
}
