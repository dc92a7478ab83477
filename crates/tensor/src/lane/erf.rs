//! The error function, its complement and its inverse.

use super::ops::{Ops, product_plus, two_prod, two_sum};
use super::{exp, log};

/// erf(x) for |x| <= 1.125.
#[inline(always)]
fn erf_small<T: Ops>(x: T) -> T {
    (x * x).poly(T::ERF).mul_add(x, x)
}

#[inline(always)]
pub(super) fn erf<T: Ops>(x: T) -> T {
    let a = x.abs();
    // The eighth root of erfc is smooth enough for one polynomial.
    let b = T::select(a > T::c(T::ERF_ONE), T::c(T::ERF_ONE), a);
    let root = b.poly(T::ERFC_ROOT);
    let (r2, one) = (root * root, T::c(1.0));
    let r4 = r2 * r2;
    let large = r4.mul_add(-r4, one).copysign(x);
    T::select(a < T::c(1.125), erf_small(x), large)
}

#[inline(always)]
pub(super) fn erfc<T: Ops>(x: T) -> T {
    const SHIFT: f64 = 1.125;
    let a = x.abs();
    let one = T::c(1.0);
    let near = (x * x).poly(T::ERF).mul_add(-x, one - x);

    // e^(-b²) with b² in two parts, times q G(q) with q = 1 / (b + SHIFT); the rounding errors of the factors are
    // carried along.
    let b = T::select(a > T::c(T::ERFC_ZERO), T::c(T::ERFC_ZERO), a);
    let (h, l) = two_prod(b, b);
    let (k, y, y_low) = exp::exp_pair(-h, -l);
    let (d, d_low) = two_sum(b, T::c(SHIFT));
    let q = one / d;
    let (m, m_low) = two_prod(q, d);
    let q_low = q * (((one - m) - m_low) - q * d_low);
    let (g, g_low) = (q - T::c(T::ERFC_CENTER)).poly_pair(T::ERFC);
    let (p, p_low) = two_prod(y, q);
    // q G(q) changes (1 + 0.8 q) times as fast as q, in relative terms.
    let q_low = q_low * q.mul_add(T::c(0.8), one);
    let low = g_low.mul_add(p, (p_low + (y * q_low + y_low * q)) * g);
    let tail = product_plus(p, g, low);
    let tail = tail.scale(k, false);
    let far = T::select(x < T::c(0.0), T::c(2.0) - tail, tail);
    T::select(a < T::c(0.8125), near, far)
}

/// x·P(w) with w = -ln(1 - x²), and where w is large √w·Q(√w) (after Giles 2010, with other intervals).
#[inline(always)]
pub(super) fn erfinv<T: Ops>(x: T) -> T {
    let one = T::c(1.0);
    let a = x.abs();
    let (z, z_low) = two_prod(a, a);
    let w = -log::ln_normal((one - z) - z_low);
    let w = T::select(w < T::c(0.0), T::c(0.0), w);
    let s = w.sqrt();
    let (m, m_low) = two_prod(s, s);
    let s_low = ((w - m) - m_low) * T::c(0.5) / T::select(s > T::c(0.0), s, one);

    let (near, near_low) = (w - T::c(T::ERFINV_CENTER)).poly_pair(T::ERFINV);
    let (far, far_low) = (s - T::c(T::ERFINV_MID_CENTER)).poly_pair(T::ERFINV_MID);
    let (far, far_low) = if T::ERFINV_FAR.is_empty() {
        (far, far_low)
    } else {
        let (end, end_low) = (s - T::c(T::ERFINV_FAR_CENTER)).poly_pair(T::ERFINV_FAR);
        let beyond = s > T::c(3.6);
        (
            T::select(beyond, end, far),
            T::select(beyond, end_low, far_low),
        )
    };
    let tail = w > T::c(5.0);
    let (g, g_low) = (
        T::select(tail, far, near),
        T::select(tail, far_low, near_low),
    );
    let (f, f_low) = (T::select(tail, s, a), T::select(tail, s_low, T::c(0.0)));
    let y = product_plus(f, g, f.mul_add(g_low, f_low * g));
    let end = T::select(a == one, T::c(f64::INFINITY), T::c(f64::NAN));
    let y = T::select(a < one, y, end);
    T::select(a == T::c(0.0), x, y.copysign(x))
}
