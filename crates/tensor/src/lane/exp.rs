//! The exponential family.
//!
//! x = k·ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite 1980: ln 2 in two parts, so that r keeps its bits), a polynomial
//! for eʳ, and a scaling by 2^k.

use super::ops::{Ops, fast_two_sum};
use std::f64::consts::{LN_2, LOG2_E};

/// `(k, r, c)` with x = k·ln 2 + r + c.
#[inline(always)]
fn reduce<T: Ops>(x: T) -> (T, T, T) {
    let magic = T::c(T::MAGIC);
    let k = x.mul_add(T::c(LOG2_E), magic) - magic;
    let head = k.mul_add(-T::c(T::LN2.0), x);
    let low = k * T::c(T::LN2.1);
    let r = head - low;
    (k, r, (head - r) - low)
}

/// `(k, y, e)` with e^(x + low) = 2^k (y + e), y in [0.7, 1.5], for |low| far below |x|.
#[inline(always)]
pub(super) fn exp_pair<T: Ops>(x: T, low: T) -> (T, T, T) {
    let (k, r, c) = reduce(x);
    let (y, e) = fast_two_sum(T::c(1.0), r);
    let (y, e) = fast_two_sum(y, (r * r).mul_add(r.poly(T::EXP), e));
    (k, y, (c + low).mul_add(y, e))
}

/// Into the range where eˣ is neither 0 nor ∞, and the first value beyond; NaN stays.
#[inline(always)]
fn clamp<T: Ops>(x: T, low: f64, high: f64) -> T {
    let x = T::select(x < T::c(low), T::c(low), x);
    T::select(x > T::c(high), T::c(high), x)
}

/// `(y, magic + k)` with eˣ = y·2^k, y in [0.7, 1.42].
#[inline(always)]
fn exp_parts<T: Ops>(x: T, magic: f64) -> (T, T) {
    let magic = T::c(magic);
    let shifted = x.mul_add(T::c(LOG2_E), magic);
    let k = shifted - magic;
    let r = k.mul_add(-T::c(T::LN2.0), x);
    let r = k.mul_add(-T::c(T::LN2.1), r);
    let y = r.poly(T::EXP).mul_add(r, T::c(1.0)).mul_add(r, T::c(1.0));
    (y, shifted)
}

/// `f(x)`, and 0 for numbers below `end`. Clamped to it instead, they would have the last product of `f` fall below the
/// smallest number, which takes a processor a hundred times as long as another product.
#[inline(always)]
pub(super) fn or_zero_below<T: Ops>(x: T, end: f64, f: impl FnOnce(T) -> T) -> T {
    let gone = x < T::c(end);
    T::select(gone, T::c(0.0), f(T::select(gone, T::c(0.0), x)))
}

#[inline(always)]
pub(super) fn exp<T: Ops>(x: T) -> T {
    or_zero_below(x, T::EXP_RANGE.0, exp_up)
}

/// As [`exp`], for what does not vanish.
#[inline(always)]
fn exp_up<T: Ops>(x: T) -> T {
    let x = T::select(x > T::c(T::EXP_RANGE.1), T::c(T::EXP_RANGE.1), x);
    let (y, shifted) = exp_parts(x, T::MAGIC + 2.0 * T::BIAS);
    // By two powers of two, so that nothing overflows or underflows before the last product.
    let (s, t) = shifted.exponent_in_two();
    y * s * t
}

/// As [`exp`], for numbers up to 0 only.
#[inline(always)]
pub(super) fn exp_down<T: Ops>(x: T) -> T {
    or_zero_below(x, T::EXP_RANGE.0, |x| {
        let (y, shifted) = exp_parts(x, T::MAGIC + T::BIAS + T::UNDER.0);
        y * shifted.integer_to_exponent() * T::c(T::UNDER.1)
    })
}

/// As [`exp`], without its ends: the power of two is added to the exponent.
#[inline(always)]
pub(super) fn exp_near<T: Ops>(x: T) -> T {
    let (y, shifted) = exp_parts(x, T::MAGIC);
    y.add_to_exponent(shifted)
}

#[inline(always)]
pub(super) fn exp2<T: Ops>(x: T) -> T {
    or_zero_below(x, T::EXP_RANGE.0 * LOG2_E, |x| {
        let end = T::c(T::EXP_RANGE.1 * LOG2_E);
        let x = T::select(x > end, end, x);
        let k = x.round_small();
        let r = x - k;
        r.poly(T::EXP2)
            .mul_add(r, T::c(1.0))
            .scale(k, x > T::c(0.0))
    })
}

#[inline(always)]
pub(super) fn expm1<T: Ops>(x: T) -> T {
    let (k, r, c) = reduce(clamp(x, -60.0, T::EXP_RANGE.1));
    // e^x - 1 = 2^k (1 - 2^-k + (e^r - 1)); beyond k = 64 the 2^-k is lost in any case.
    let t = T::select(k > T::c(64.0), T::c(0.0), T::pow2(-k));
    let one = T::c(1.0) - t;
    let lost = (T::c(1.0) - one) - t;
    let (s, e) = fast_two_sum(one, r);
    let y = s + (e + (lost + (r * r).mul_add(r.poly(T::EXP), c)));
    y.scale(k, k > T::c(0.0)).copysign(x)
}

#[inline(always)]
pub(super) fn tanh<T: Ops>(x: T) -> T {
    let a = x.abs();
    let a = T::select(a > T::c(20.0), T::c(20.0), a);
    // h = (e^2a - 1) / 2 = sinh(a) e^a. Without fused multiply-add r is not centred on 0: 0 <= r < ln 2 / 2, so that the terms
    // of h have one sign.
    let magic = T::c(T::MAGIC + T::BIAS);
    let start = if T::FMA { a } else { a - T::c(0.172) };
    let shifted = start.mul_add(T::c(2.0 * LOG2_E), magic);
    let k = shifted - magic;
    let r = if T::SHORT && T::FMA {
        // The last bits of so short a ln 2 do not reach the result.
        k.mul_add(T::c(-0.5 * LN_2), a)
    } else {
        let r = k.mul_add(T::c(-0.5 * T::LN2.0), a);
        k.mul_add(T::c(-0.5 * T::LN2.1), r)
    };
    let p = (r * r).mul_add(r.poly(if T::FMA { T::TANH } else { T::EXP_HALF }), r);
    let s = shifted.integer_to_exponent();
    let h = s.mul_add(p, s.mul_add(T::c(0.5), T::c(-0.5)));
    // tanh = h / (1 + h), as h - h (h / (1 + h)) where it is small, as 1 - 1 / (1 + h) where it is near 1.
    let one = T::c(1.0);
    let u = T::select(h > one, one, h);
    (-u).mul_add(u / (one + h), u).copysign(x)
}

#[inline(always)]
pub(super) fn sigmoid<T: Ops>(x: T) -> T {
    or_zero_below(x, T::EXP_RANGE.0, sigmoid_up)
}

/// As [`sigmoid`], for what does not vanish.
#[inline(always)]
fn sigmoid_up<T: Ops>(x: T) -> T {
    let x = T::select(-x < T::c(T::EXP_RANGE.0), T::c(T::EXP_RANGE.0), -x);
    let magic = T::c(T::MAGIC + 2.0 * T::BIAS);
    let shifted = x.mul_add(T::c(LOG2_E), magic);
    let k = shifted - magic;
    let r = k.mul_add(-T::c(T::LN2.0), x);
    let r = k.mul_add(-T::c(T::LN2.1), r);
    let p = (r * r).mul_add(r.poly(T::EXP), r);
    // With e^-x = (1 + p) 2^k and k = h + l: σ = 2^-h / (2^-h + 2^l (1 + p)), and nothing overflows. The sum of the
    // powers of two is exact, or its rounding error is kept.
    let (n, s) = shifted.halve_exponent();
    let a = s + n;
    n / (a + s.mul_add(p, n - (a - s)))
}

/// As [`sigmoid`], without its ends: one power of two will do.
#[inline(always)]
pub(super) fn sigmoid_near<T: Ops>(x: T) -> T {
    let magic = T::c(T::MAGIC + T::BIAS);
    let shifted = x.mul_add(T::c(-LOG2_E), magic);
    let k = shifted - magic;
    let r = k.mul_add(-T::c(T::LN2.0), -x);
    let r = k.mul_add(-T::c(T::LN2.1), r);
    let p = (r * r).mul_add(r.poly(T::EXP), r);
    let (one, s) = (T::c(1.0), shifted.integer_to_exponent());
    let a = s + one;
    one / (a + s.mul_add(p, one - (a - s)))
}

/// `(k, y, e, w)` with e^a = 2^(k + 1) (y + e) and e^-a = 2^(k + 1) w, for 0 <= a, up to where cosh is infinite.
#[inline(always)]
fn exp_both<T: Ops>(a: T) -> (T, T, T, T) {
    let limit = T::c(T::EXP_RANGE.1 + 1.0);
    let (k, y, e) = exp_pair(T::select(a > limit, limit, a), T::c(0.0));
    // Beyond, e^-a is lost beside e^a; its square must not be subnormal.
    let t = T::pow2(-T::select(k > T::c(50.0), T::c(50.0), k));
    (k - T::c(1.0), y, e, t * t / y)
}

#[inline(always)]
pub(super) fn sinh<T: Ops>(x: T) -> T {
    let a = x.abs();
    let z = x * x;
    let small = (z * a).mul_add(z.poly(T::SINH), a);
    let (k, y, e, w) = exp_both(a);
    let large = (y - (w - e)).scale(k, true);
    T::select(a < T::c(1.0), small, large).copysign(x)
}

#[inline(always)]
pub(super) fn cosh<T: Ops>(x: T) -> T {
    let (k, y, e, w) = exp_both(x.abs());
    (y + (w + e)).scale(k, true)
}
