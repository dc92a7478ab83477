//! Logarithms.
//!
//! x = 2^k (1 + f) with 1 + f in [√½, √2), and ln(1 + f) = f - f²/2 + f³ P(f); no division and no table.

use super::ops::{Ops, fast_two_sum, two_prod, two_sum};
use std::f64::consts::LN_2;

/// `(k, m)` with x = m · 2^k, m in [√½, √2), for x > 0, subnormal ones too.
#[inline(always)]
pub(super) fn split<T: Ops>(x: T) -> (T, T) {
    let subnormal = x < T::c(T::TINY);
    let (m, k) = T::select(subnormal, x * T::c(1.0 / T::UNDER.1), x).split_normal();
    (T::select(subnormal, k - T::c(T::UNDER.0), k), m)
}

/// `y`, but with the logarithm's values for x that are not positive and finite.
#[inline(always)]
fn domain<T: Ops>(x: T, y: T) -> T {
    let outside = T::select(x == T::c(0.0), T::c(f64::NEG_INFINITY), T::c(f64::NAN));
    T::select(
        x > T::c(0.0),
        T::select(x < T::c(f64::INFINITY), y, x),
        outside,
    )
}

/// k·ln 2 + ln(1 + f + low), `low` at most a rounding error of 1 + f.
#[inline(always)]
fn assemble<T: Ops>(k: T, f: T, low: T) -> T {
    let z = f * f;
    let tail = (z * f).mul_add(f.poly(T::LN), k.mul_add(T::c(T::LN2.1), low));
    k.mul_add(T::c(T::LN2.0), f - z.mul_add(T::c(0.5), -tail))
}

/// ln(m · 2^(k UNIT)), m in [√½, √2).
#[inline(always)]
fn whole<T: Ops>(m: T, k: T) -> T {
    let f = m - T::c(1.0);
    if T::SHORT && T::FMA {
        // ln 2 rounded to f32 is right to 2^-28, and its product with k is not rounded.
        let tail = f.poly(T::LN).mul_add(f, T::c(-0.5));
        return k.mul_add(T::c(LN_2 * T::UNIT), (f * f).mul_add(tail, f));
    }
    assemble(k * T::c(T::UNIT), f, T::c(0.0))
}

#[inline(always)]
pub(super) fn ln<T: Ops>(x: T) -> T {
    let (m, k) = scaled(x);
    domain(x, whole(m, k))
}

/// `(m, k)` with x = m · 2^(k UNIT), m in [√½, √2), for x > 0, subnormal ones too.
#[inline(always)]
fn scaled<T: Ops>(x: T) -> (T, T) {
    let subnormal = x < T::c(T::TINY);
    let (m, k) = T::select(subnormal, x * T::c(1.0 / T::UNDER.1), x).split_scaled();
    (m, T::select(subnormal, k - T::c(T::UNDER.0 / T::UNIT), k))
}

/// As [`ln`], for normal positive numbers only.
#[inline(always)]
pub(super) fn ln_normal<T: Ops>(x: T) -> T {
    let (m, k) = x.split_scaled();
    whole(m, k)
}

/// `(h, l)` with h + l = ln x to a few bits more than one number has, for normal positive numbers.
#[inline(always)]
pub(super) fn ln_normal_pair<T: Ops>(x: T) -> (T, T) {
    let (m, k) = x.split_normal();
    let f = m - T::c(1.0);
    let z = f * f;
    let tail = f.poly(T::LN).mul_add(f, T::c(-0.5));
    let (h, l) = two_sum(k * T::c(T::LN2.0), f);
    fast_two_sum(h, z.mul_add(tail, k.mul_add(T::c(T::LN2.1), l)))
}

#[inline(always)]
pub(super) fn log1p<T: Ops>(x: T) -> T {
    let one = T::c(1.0);
    let (u, c) = two_sum(one, x);
    let (m, k) = u.split_normal();
    let f = m - one;
    // ln(1 + f + low) = ln(1 + f) + low / (1 + f), and 1 - f + f² is close enough to 1 / (1 + f).
    let low = c * T::pow2(-T::select(k > T::c(64.0), T::c(64.0), k));
    let y = assemble(k, f, low * (f * f + (one - f)));
    T::select(x == T::c(0.0), x, domain(u, y))
}

/// A base: its reciprocal natural logarithm, and the logarithm of 2, each in two parts.
type Base = ((f64, f64), (f64, f64));

/// The logarithm of m · 2^(k UNIT) to a base, m in [√½, √2): for f32 with one rounding where k = 0.
#[inline(always)]
fn short_base<T: Ops>((m, k): (T, T), (scale, two): Base) -> T {
    let f = m - T::c(1.0);
    let tail = f.poly(T::LN).mul_add(f, T::c(-0.5)) * (f * f);
    let rest = f.mul_add(T::c(scale.1), tail * T::c(scale.0));
    let rest = match two.1 == 0.0 {
        true => rest,
        false => k.mul_add(T::c(two.1 * T::UNIT), rest),
    };
    k.mul_add(T::c(two.0 * T::UNIT), f.mul_add(T::c(scale.0), rest))
}

/// The logarithm of m · 2^k to a base, m in [√½, √2).
#[inline(always)]
fn long_base<T: Ops>((m, k): (T, T), (scale, two): Base) -> T {
    let f = m - T::c(1.0);
    let z = f * f;
    let t = (z * f).mul_add(f.poly(T::LN), z * T::c(-0.5));
    let (p, e) = two_prod(f, T::c(scale.0));
    let rest = e + (t * T::c(scale.0) + f * T::c(scale.1));
    k.mul_add(T::c(two.0), p + k.mul_add(T::c(two.1), rest))
}

#[inline(always)]
fn log_base<T: Ops>(x: T, base: Base) -> T {
    let y = if T::SHORT && T::FMA {
        short_base(scaled(x), base)
    } else {
        let (k, m) = split(x);
        long_base((m, k), base)
    };
    domain(x, y)
}

/// As [`log_base`], for normal positive numbers only.
#[inline(always)]
fn log_base_normal<T: Ops>(x: T, base: Base) -> T {
    if T::SHORT && T::FMA {
        short_base(x.split_scaled(), base)
    } else {
        long_base(x.split_normal(), base)
    }
}

#[inline(always)]
pub(super) fn log2<T: Ops>(x: T) -> T {
    log_base(x, (T::LOG2_E, (1.0, 0.0)))
}

#[inline(always)]
pub(super) fn log2_normal<T: Ops>(x: T) -> T {
    log_base_normal(x, (T::LOG2_E, (1.0, 0.0)))
}

#[inline(always)]
pub(super) fn log10<T: Ops>(x: T) -> T {
    log_base(x, (T::LOG10_E, T::LOG10_2))
}

#[inline(always)]
pub(super) fn log10_normal<T: Ops>(x: T) -> T {
    log_base_normal(x, (T::LOG10_E, T::LOG10_2))
}

/// ln(1 + x + low) for x >= 0 and a relatively small `low`; ln 2 more where `double`.
#[inline(always)]
fn log1p_pair<T: Ops>(x: T, low: T, double: bool) -> T {
    let one = T::c(1.0);
    let (u, c) = two_sum(one, x);
    let (u, c) = (
        T::select(double, x, u),
        T::select(double, T::c(0.0), c + low),
    );
    let (m, k) = u.split_normal();
    let f = m - one;
    let low = c * T::pow2(-T::select(k > T::c(64.0), T::c(64.0), k));
    let k = T::select(double, k + one, k);
    assemble(k, f, low * (f * f + (one - f)))
}

#[inline(always)]
pub(super) fn asinh<T: Ops>(x: T) -> T {
    let a = x.abs();
    let one = T::c(1.0);
    // a + √(a² + 1) = 1 + a + a² / (1 + √(a² + 1)); far out 2a.
    let z = a * a;
    let (w, low) = fast_two_sum(a, z / (one + (z + one).sqrt()));
    let far = a > T::c(T::FAR);
    let y = log1p_pair(T::select(far, a, w), low, far);
    let y = T::select(a < T::c(f64::INFINITY), y, a);
    T::select(a == T::c(0.0), x, y.copysign(x))
}

#[inline(always)]
pub(super) fn acosh<T: Ops>(x: T) -> T {
    let one = T::c(1.0);
    // x + √(x² - 1) = 1 + d + √(d (d + 2)), d = x - 1; far out 2x.
    let d = x - one;
    let far = x > T::c(T::FAR);
    let d = T::select(far, one, d);
    let (q, q_low) = two_prod(d, d + T::c(2.0));
    let s = q.sqrt();
    let (m, m_low) = two_prod(s, s);
    let s_low = (((q - m) - m_low) + q_low) * T::c(0.5) / T::select(s > T::c(0.0), s, one);
    let (w, low) = two_sum(d, s);
    let y = log1p_pair(T::select(far, x, w), low + s_low, far);
    let y = T::select(x < T::c(f64::INFINITY), y, x);
    T::select(x < one, T::c(f64::NAN), y)
}

#[inline(always)]
pub(super) fn atanh<T: Ops>(x: T) -> T {
    let a = x.abs();
    let (one, half) = (T::c(1.0), T::c(0.5));
    // ln((1 + a) / (1 - a)) / 2 = ln(1 + 2a / (1 - a)) / 2
    let (d, n) = (one - a, a + a);
    let d_low = (one - d) - a;
    let r = one / d;
    let w = n * r;
    let (m, m_low) = two_prod(w, d);
    let low = (((n - m) - m_low) - w * d_low) * r;
    let y = log1p_pair(w, low, false) * half;
    let y = T::select(a == one, T::c(f64::INFINITY), y);
    let y = T::select(a > one, T::c(f64::NAN), y);
    T::select(a < T::c(T::SINE_IS_X), x, y.copysign(x))
}

/// `(h, l)` with h + l = ln x to almost twice the precision, for x > 0.
#[inline(always)]
pub(super) fn ln_pair<T: Ops>(x: T) -> (T, T) {
    let (k, m) = split(x);
    let (one, two) = (T::c(1.0), T::c(2.0));
    // ln m = 2 atanh(s), s = f / (2 + f), as 2s + s³ (2/3 + s² Q(s²)); all but Q in two parts.
    let f = m - one;
    let d = two + f;
    let d_low = f - (d - two);
    let r = one / d;
    let s = f * r;
    let (p, p_low) = two_prod(s, d);
    let s_low = (((f - p) - p_low) - s * d_low) * r;
    let (z, e) = two_prod(s, s);
    let z_low = (s * s_low).mul_add(two, e);
    let (c, c_low) = fast_two_sum(T::c(T::TWO_THIRDS.0), z * z.poly(T::LN_ATANH));
    let c_low = c_low + T::c(T::TWO_THIRDS.1);
    let (v, e) = two_prod(s, z);
    let v_low = s * z_low + (s_low * z + e);
    let (w, e) = two_prod(v, c);
    let w_low = v * c_low + (v_low * c + e);
    let (h, e) = fast_two_sum(s + s, w);
    let l = e + (w_low + (s_low + s_low));
    let (h, e) = two_sum(k * T::c(T::LN2.0), h);
    fast_two_sum(h, k.mul_add(T::c(T::LN2.1), e + l))
}
