//! Sine, cosine, tangent, and their inverses.

use super::ops::{Ops, fast_two_sum, two_prod};
use super::reduce::Reduced;

/// sin(r + low) and cos(r + low) for |r| <= π/4.
#[inline(always)]
fn sin_cos<T: Ops>(r: T, low: T) -> (T, T) {
    let one = T::c(1.0);
    let z = r * r;
    let h = z * T::c(0.5);
    let w = one - h;
    let (u, v) = ((z * r, z.poly(T::SIN)), (z * z, z.poly(T::COS)));
    // f32 can do without `low`, which is less than its half unit: 1.6 ulp instead of 0.8.
    let (u, v) = if T::SHORT {
        (u.0 * u.1, v.0 * v.1)
    } else {
        (u.0.mul_add(u.1, low * w), v.0.mul_add(v.1, -r * low))
    };
    (r + u, w + (((one - w) - h) + v))
}

/// f(r + low) = `y` for an odd function f with f'(0) = 1, where x is so small that f(x) = x: only the sign of 0 may be lost.
#[inline(always)]
fn at_zero<T: Ops>(x: T, r: T, y: T) -> T {
    if T::FMA {
        // The steps that led to r kept it.
        y.copysign(r)
    } else {
        T::select(x.abs() < T::c(T::SINE_IS_X), x, y)
    }
}

#[inline(always)]
pub(super) fn sin<T: Ops>(x: T, (n, r, low): Reduced<T>) -> T {
    let (s, c) = sin_cos(r, low);
    let y = T::select(n.integer_bit(0), c, at_zero(x, r, s));
    T::select(n.integer_bit(1), -y, y)
}

#[inline(always)]
pub(super) fn cos<T: Ops>(_: T, (n, r, low): Reduced<T>) -> T {
    let (s, c) = sin_cos(r, low);
    let y = T::select(n.integer_bit(0), s, c);
    T::select((n + T::c(1.0)).integer_bit(1), -y, y)
}

#[inline(always)]
pub(super) fn tan<T: Ops>(x: T, (n, r, low): Reduced<T>) -> T {
    let one = T::c(1.0);
    // tan(r + low) = t + t_low, and for an odd number of quarter turns -1 / (t + t_low).
    let z = r * r;
    let u = (z * r) * z.strided::<1>(T::TAN, 0);
    // The derivative of the tangent is 1 + 1.4 z but for 7 % of it; f32 can do with 1.
    let slope = if T::SHORT && T::FMA {
        one
    } else {
        z.mul_add(T::c(1.4), one)
    };
    let u = low.mul_add(slope, u);
    let (t, t_low) = fast_two_sum(r, u);
    let q = -one / t;
    // 1 + q (t + t_low)
    let rest = if T::FMA {
        q.mul_add(u, q.mul_add(r, one))
    } else {
        let (m, m_low) = two_prod(q, t);
        ((m + one) + m_low) + q * t_low
    };
    let q = q.mul_add(rest, q);
    T::select(n.integer_bit(0), q, at_zero(x, r, t))
}

/// atan(t) for 0 <= t <= 1.
#[inline(always)]
fn atan_unit<T: Ops>(t: T) -> T {
    let z = t * t;
    (z * t).mul_add(z.poly(T::ATAN), t)
}

#[inline(always)]
pub(super) fn atan<T: Ops>(x: T) -> T {
    let a = x.abs();
    let one = T::c(1.0);
    let outside = a > one;
    let p = atan_unit(T::select(outside, one / a, a));
    let far = T::c(T::PI.0 * 0.5) - (p - T::c(T::PI.1 * 0.5));
    T::select(outside, far, p).copysign(x)
}

#[inline(always)]
pub(super) fn atan2<T: Ops>(y: T, x: T) -> T {
    let (zero, half_pi) = (T::c(0.0), T::PI.0 * 0.5);
    let (ay, ax) = (y.abs(), x.abs());
    let steep = ay > ax;
    let left = T::c(1.0).copysign(x) < zero;
    let (low, high) = (T::select(steep, ax, ay), T::select(steep, ay, ax));
    let t = T::select(low == high, T::c(1.0), low / high);
    let p = atan_unit(T::select(high == zero, zero, t));
    // The angle is p, π/2 - p, π/2 + p or π - p, by octant.
    let turn = T::select(left, T::c(T::PI.0), zero);
    let turn = T::select(steep, T::c(half_pi), turn);
    let rest = T::select(left, T::c(T::PI.1), zero);
    let rest = T::select(steep, T::c(T::PI.1 * 0.5), rest);
    let angle = turn + (T::select(steep != left, -p, p) + rest);
    T::select(x.is_nan() | y.is_nan(), x + y, angle.copysign(y))
}

/// For a = |x|: `(t, w)` with t + w = asin(a) for a <= 1/2, else asin(√((1 - a) / 2)).
#[inline(always)]
fn asin_parts<T: Ops>(a: T) -> (T, T, bool) {
    let half = T::c(0.5);
    let outer = a > half;
    let z = T::select(outer, (T::c(1.0) - a) * half, a * a);
    let s = z.sqrt();
    // √z = s + e; where z = 0, s = 0 too, and the quotient would be NaN.
    let (m, m_low) = two_prod(s, s);
    let e = ((z - m) - m_low) * half / T::select(s > T::c(0.0), s, T::c(1.0));
    let t = T::select(outer, s, a);
    let w = (t * z).mul_add(z.poly(T::ASIN), T::select(outer, e, T::c(0.0)));
    (t, w, outer)
}

#[inline(always)]
pub(super) fn asin<T: Ops>(x: T) -> T {
    let a = x.abs();
    let (t, w, outer) = asin_parts(a);
    // π/2 - 2 (t + w)
    let far = (T::c(T::PI.0 * 0.5) - (t + t)) - (w + w - T::c(T::PI.1 * 0.5));
    T::select(outer, far, t + w).copysign(x)
}

#[inline(always)]
pub(super) fn acos<T: Ops>(x: T) -> T {
    let (t, w, outer) = asin_parts(x.abs());
    let negative = x < T::c(0.0);
    // |x| <= 1/2: π/2 ∓ (t + w); else 2 (t + w) or π - 2 (t + w).
    let inner = T::c(T::PI.0 * 0.5)
        - T::select(negative, -t, t)
        - (T::select(negative, -w, w) - T::c(T::PI.1 * 0.5));
    let right = t + t + (w + w);
    let left = (T::c(T::PI.0) - (t + t)) - (w + w - T::c(T::PI.1));
    T::select(outer, T::select(negative, left, right), inner)
}
