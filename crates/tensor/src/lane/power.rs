//! Powers and roots.

use super::ops::{Ops, two_prod, two_sum};
use super::{exp, log};

#[inline(always)]
pub(super) fn pow<T: Ops>(x: T, y: T) -> T {
    let (zero, one, infinity) = (T::c(0.0), T::c(1.0), T::c(f64::INFINITY));
    let a = x.abs();

    // e^(y ln a), y ln a in two parts. Beyond POWER_RANGE y moves every a but 1 to 0 or ∞.
    let limit = T::c(T::POWER_RANGE);
    let b = T::select(y > limit, limit, y);
    let b = T::select(b < -limit, -limit, b);
    let (h, l) = log::ln_pair(a);
    let (p, p_low) = two_prod(b, h);
    let p_low = b.mul_add(l, p_low);
    let (low, high) = (T::c(T::EXP_RANGE.0), T::c(T::EXP_RANGE.1));
    let inside = (p > low) & (p < high);
    let gone = p < low;
    let p = T::select(gone, zero, p);
    let p = T::select(p > high, high, p);
    let (k, e, e_low) = exp::exp_pair(p, T::select(inside, p_low, zero));
    let z = T::select(gone, zero, (e + e_low).scale(k, p > zero));

    // a = 0 and a = ∞, where the logarithm is not finite.
    let grows = (a > one) == (y > zero);
    let z = T::select(
        (a == zero) | (a == infinity),
        T::select(grows, infinity, zero),
        z,
    );

    // The sign: negative for a negative x and an odd y, NaN where y is not an integer.
    let whole = y.floor() == y;
    let half = y * T::c(0.5);
    let odd = whole & (half.floor() != half);
    let negative = one.copysign(x) < zero;
    let z = T::select(negative & odd, -z, z);
    let defined = (x >= zero) | whole | (a == infinity);
    let z = T::select(defined, z, T::c(f64::NAN));

    let z = T::select(x.is_nan() | y.is_nan(), x + y, z);
    T::select((y == zero) | (x == one), one, z)
}

/// ∛2 and ∛½.
const CBRT_TWO: f64 = 1.259_921_049_894_873_2;
const CBRT_HALF: f64 = 0.793_700_525_984_099_7;

#[inline(always)]
pub(super) fn cbrt<T: Ops>(x: T) -> T {
    let a = x.abs();
    let (k, m) = log::split(a);
    // k = 3q + r with r = -1, 0, 1; the root of m · 2^r first roughly, with half the bits, so that its square is exact.
    let q = (k * T::c(1.0 / 3.0)).round_small();
    let r = q.mul_add(T::c(-3.0), k);
    let (zero, one) = (T::c(0.0), T::c(1.0));
    let scale =
        |down: f64, up: f64| T::select(r < zero, T::c(down), T::select(r > zero, T::c(up), one));
    let y = (m.poly(T::CBRT) * scale(CBRT_HALF, CBRT_TWO)).head();
    let m = m * scale(0.5, 2.0);
    // Halley's step: y - y (y³ - m) / (2 y³ + m).
    let s = y * y;
    let (c, c_low) = two_prod(s, y);
    let e = (c - m) + c_low;
    let root = y - y * e / (c + c + m);
    let root = root * T::pow2(q);
    let finite = (a > zero) & (a < T::c(f64::INFINITY));
    T::select(finite, root.copysign(x), x)
}

#[inline(always)]
pub(super) fn hypot<T: Ops>(x: T, y: T) -> T {
    let (a, b) = (x.abs(), y.abs());
    let swap = b > a;
    let (a, b) = (T::select(swap, b, a), T::select(swap, a, b));
    // Scaled so that the squares neither overflow nor lose bits.
    let (small, up, large, down) = T::SQUARE_SCALE;
    let (tiny, huge, one) = (a < T::c(small), a > T::c(large), T::c(1.0));
    let scale = T::select(tiny, T::c(up), T::select(huge, T::c(down), one));
    let back = T::select(tiny, T::c(1.0 / up), T::select(huge, T::c(1.0 / down), one));
    let (u, v) = (a * scale, b * scale);
    let (p, p_low) = two_prod(u, u);
    let (q, q_low) = two_prod(v, v);
    let (s, e) = two_sum(p, q);
    let r = s.sqrt();
    let (m, m_low) = two_prod(r, r);
    let rest = ((s - m) - m_low) + (e + (p_low + q_low));
    let r = r + rest * T::c(0.5) / T::select(r > T::c(0.0), r, one);
    let r = r * back;
    let infinity = T::c(f64::INFINITY);
    let r = T::select(x.is_nan() | y.is_nan(), x + y, r);
    T::select((a == infinity) | (b == infinity), infinity, r)
}
