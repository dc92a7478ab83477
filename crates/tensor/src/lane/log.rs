//! Logarithms.
//!
//! x = 2^k (1 + f) with 1 + f in [√½, √2), and ln(1 + f) = f - f²/2 + f³ P(f); no division and no table.

use super::ops::{Ops, two_prod, two_sum};

/// `(k, m)` with x = m · 2^k, m in [√½, √2), for x > 0, subnormal ones too.
#[inline(always)]
fn split<T: Ops>(x: T) -> (T, T) {
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

#[inline(always)]
pub(super) fn ln<T: Ops>(x: T) -> T {
    let (k, m) = split(x);
    domain(x, assemble(k, m - T::c(1.0), T::c(0.0)))
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

/// The logarithm to the base whose reciprocal natural logarithm is `scale` in two parts, and in which ln 2 is `two`.
#[inline(always)]
fn log_base<T: Ops>(x: T, scale: (f64, f64), two: (f64, f64)) -> T {
    let (k, m) = split(x);
    let f = m - T::c(1.0);
    let z = f * f;
    let t = (z * f).mul_add(f.poly(T::LN), z * T::c(-0.5));
    let (p, e) = two_prod(f, T::c(scale.0));
    let rest = e + (t * T::c(scale.0) + f * T::c(scale.1));
    domain(x, k.mul_add(T::c(two.0), p + k.mul_add(T::c(two.1), rest)))
}

#[inline(always)]
pub(super) fn log2<T: Ops>(x: T) -> T {
    log_base(x, T::LOG2_E, (1.0, 0.0))
}

#[inline(always)]
pub(super) fn log10<T: Ops>(x: T) -> T {
    log_base(x, T::LOG10_E, T::LOG10_2)
}
