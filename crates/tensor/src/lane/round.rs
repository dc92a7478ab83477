//! Rounding to integers.
//!
//! One instruction where there is one; SSE2 has none, and a library call per element would keep loops from becoming
//! vector code, so there adding and subtracting a large number rounds.

use super::ops::Ops;

/// `whole` with the sign of x; x itself where it is so large that it has no fraction, or NaN.
#[inline(always)]
fn with_sign<T: Ops>(x: T, whole: T) -> T {
    let fraction = x.abs() < T::c(T::MAGIC / 1.5);
    T::select(fraction, whole.copysign(x), x)
}

/// Nearest integer, ties to even, of a non-negative number below `MAGIC / 1.5`.
#[inline(always)]
fn nearest<T: Ops>(a: T) -> T {
    // 2^(stored bits of the significand): from there to its double, floats are the integers.
    let shift = T::c(T::MAGIC / 1.5);
    (a + shift) - shift
}

#[inline(always)]
pub(super) fn round<T: Ops>(x: T) -> T {
    if T::FMA {
        return x.round_instruction();
    }
    with_sign(x, nearest(x.abs()))
}

#[inline(always)]
pub(super) fn trunc<T: Ops>(x: T) -> T {
    if T::FMA {
        return x.trunc_instruction();
    }
    let a = x.abs();
    let n = nearest(a);
    with_sign(x, T::select(n > a, n - T::c(1.0), n))
}

#[inline(always)]
pub(super) fn floor<T: Ops>(x: T) -> T {
    if T::FMA {
        return x.floor_instruction();
    }
    let n = trunc(x);
    T::select(n > x, n - T::c(1.0), n)
}

#[inline(always)]
pub(super) fn ceil<T: Ops>(x: T) -> T {
    if T::FMA {
        return x.ceil_instruction();
    }
    let n = trunc(x);
    T::select(n < x, n + T::c(1.0), n).copysign(x)
}
