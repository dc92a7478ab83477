//! The logarithm of the gamma function and its derivatives, in f64; f32 arguments are widened.

use super::coefficients::f64::{
    DIGAMMA, DIGAMMA_TAIL, LGAMMA, LGAMMA_SHORT, LN_SHORT, SINC, SINC_SHORT, STIRLING,
    STIRLING_SHORT, X_COT,
};
use super::log::{ln, ln_pair};
use super::ops::{Ops, two_prod, two_sum};
use super::{F64Lane, Lane};
use crate::simd::Isa;

/// From here on asymptotic series take over; half an integer, so that round(a) <= 8 before.
const FAR: f64 = 8.5;
/// ln(2π) / 2 in two parts.
const HALF_LN_2PI: (f64, f64) = (0.918_938_533_204_672_8, -3.878_294_158_067_241_4e-17);
/// The positive zero of digamma less 1.75, in two parts.
const ROOT: (f64, f64) = (-0.288_367_855_031_637_64, -1.552_234_816_285_867_7e-17);

/// ln |Γ(x)|.
///
/// For a = |x| < 8.5 and n = round(a): lnΓ(2 + d) from a polynomial, d = a - n, and the logarithm of the product that
/// leads from 2 + d to a; beyond, Stirling's series; for negative x the reflection |Γ(x)| = π / (a |sin πa| Γ(a)). The
/// large terms are carried in two parts, because they cancel.
#[inline(always)]
pub(super) fn lgamma<I: Isa>(x: F64Lane<I>) -> F64Lane<I> {
    let c = F64Lane::<I>::c;
    let (one, half) = (c(1.0), c(0.5));
    let a = x.abs();
    let far = a >= c(FAR);
    let n = a.round();
    let d = a - n;

    // Γ(a) = Γ(2 + d) · p, or / p for n < 2.
    let below = n < one;
    let up = one + a;
    let (q, q_low) = two_prod(a, up);
    let q_low = a.mul_add((one - up) + a, q_low);
    let mut p = F64Lane::select(below, q, F64Lane::select(n == one, a, one));
    // Not `1..=6`: a loop over an inclusive range is unrolled too late for the loop around it to become vector code.
    for j in 1..7 {
        let j = f64::from(j);
        p = F64Lane::select(n >= c(j + 2.0), p * (a - c(j)), p);
    }
    let argument = F64Lane::select(far, a, p);
    let (h, l) = ln_pair(argument);
    // One division: 1 / a for the series, the rounding error of p for its logarithm.
    let numerator = F64Lane::select(below, q_low, c(0.0));
    let r = F64Lane::select(far, one, numerator) / argument;

    let (g, g_low) = d.poly_pair(&LGAMMA);
    let (t, t_low) = two_prod(d, g);
    let t_low = d.mul_add(g_low, t_low);
    let divide = n < c(2.0);
    let (ph, pl) = (
        F64Lane::select(divide, -h, h),
        F64Lane::select(divide, -l - r, l),
    );
    let (near_h, e) = two_sum(ph, t);
    let near_l = e + (pl + t_low);

    // (a - 1/2) ln a - a + ln(2π)/2 + S(1/a²)/a
    let m = a - half;
    let (s, s_low) = two_prod(m, h);
    let (s, e1) = two_sum(s, -a);
    let (s, e2) = two_sum(s, c(HALF_LN_2PI.0));
    let series = r.mul_add((r * r).poly(&STIRLING), c(HALF_LN_2PI.1));
    let far_l = m.mul_add(l, s_low) + ((e1 + e2) + series);
    // Where the product would overflow long before the result, the leading term is all there is.
    let huge = a > c(1e280);
    let (far_h, far_l) = (
        F64Lane::select(huge, a * (h - one), s),
        F64Lane::select(huge, c(0.0), far_l),
    );
    let (h, l) = (
        F64Lane::select(far, far_h, near_h),
        F64Lane::select(far, far_l, near_l),
    );

    // a |sin πa| / π = a |d| sinc(d)
    let (v, v_low) = two_prod(a, d.abs());
    let (g, g_low) = (d * d).poly_pair(&SINC);
    let (w, w_low) = two_prod(v, g);
    let w_low = v.mul_add(g_low, v_low.mul_add(g, w_low));
    let (rh, rl) = ln_pair(w);
    let (s, e) = two_sum(rh, h);
    let reflected = -(s + (e + ((rl + w_low / w) + l)));

    let infinity = c(f64::INFINITY);
    let pole = (a == infinity) | (a == c(0.0));
    // So close to 0 that both signs of x have -ln |x|.
    let negative = x < c(-1e-18);
    let y = F64Lane::select(negative, reflected, h + l);
    let y = F64Lane::select(pole | (negative & (d == c(0.0))), infinity, y);
    F64Lane::select(x.is_nan(), x, y)
}

/// As [`lgamma`], for results in f32: nothing in two parts, and Stirling's series from 2.5 on, so that no product leads there.
#[inline(always)]
pub(super) fn lgamma_short<I: Isa>(x: F64Lane<I>) -> F64Lane<I> {
    let c = F64Lane::<I>::c;
    let (zero, one, half) = (c(0.0), c(1.0), c(0.5));
    let a = x.abs();
    let far = a >= c(2.5);
    let n = a.round();
    let d = a - n;
    let p = F64Lane::select(n < one, a.mul_add(a, a), a);
    let p = F64Lane::select((n < c(2.0)) | far, p, one);
    let l = ln_short(p);
    let near = d.mul_add(d.poly(&LGAMMA_SHORT), -l);
    let r = one / a;
    let series = r.mul_add((r * r).poly(&STIRLING_SHORT), c(HALF_LN_2PI.0 - 0.5));
    let y = F64Lane::select(far, (a - half).mul_add(l - one, series), near);

    let v = a * d.abs() * (d * d).poly(&SINC_SHORT);
    let negative = x < zero;
    let y = F64Lane::select(negative, -(ln_short(v) + y), y);
    let pole = (a == c(f64::INFINITY)) | (a == zero) | (negative & (d == zero));
    let y = F64Lane::select(pole, c(f64::INFINITY), y);
    F64Lane::select(x.is_nan(), x, y)
}

/// ln x for normal positive numbers, for results in f32.
#[inline(always)]
fn ln_short<I: Isa>(x: F64Lane<I>) -> F64Lane<I> {
    let (m, k) = x.split_normal();
    let f = m - F64Lane::c(1.0);
    let z = f * f;
    let tail = f.poly(&LN_SHORT).mul_add(f, F64Lane::c(-0.5));
    k.mul_add(F64Lane::c(std::f64::consts::LN_2), z.mul_add(tail, f))
}

/// ψ(x), the derivative of [`lgamma`].
///
/// On [1, 2.5] a polynomial times the distance to the zero; below and up to 8.5 the recurrence ψ(a + 1) = ψ(a) + 1/a;
/// beyond, the asymptotic series; for negative x the reflection ψ(-a) = ψ(1 + a) + π cot πa.
#[inline(always)]
pub(super) fn digamma<I: Isa>(x: F64Lane<I>) -> F64Lane<I> {
    let c = F64Lane::<I>::c;
    let (zero, one) = (c(0.0), c(1.0));
    let a = x.abs();
    let negative = x < zero;
    let far = a >= c(FAR);
    let below = a < one;
    let n = a.round();
    let d = a - n;

    // ψ(1.75 + t), then the sum of 1 / (a - j) that leads to ψ(a), as one fraction.
    let t = F64Lane::select(a < c(2.5), a - c(1.75), d + c(0.25));
    let t = F64Lane::select(below, a - c(0.75), t);
    let value = ((t - c(ROOT.0)) - c(ROOT.1)) * t.poly(&DIGAMMA);
    let (mut p, mut q) = (zero, one);
    for j in 1..7 {
        let step = a - c(f64::from(j));
        let active = (n >= c(f64::from(j) + 2.0)) & (a >= c(2.5));
        p = F64Lane::select(active, p.mul_add(step, q), p);
        q = F64Lane::select(active, q * step, q);
    }
    // For negative x and a < 1, ψ(1 + a) is wanted, not ψ(a).
    let p = F64Lane::select(below, F64Lane::select(negative, zero, -one), p);
    let q = F64Lane::select(below, F64Lane::select(negative, one, a), q);
    let r = F64Lane::select(far, one, p) / F64Lane::select(far, a, q);
    let z = r * r;
    let series = z.mul_add(z.poly(&DIGAMMA_TAIL), r * c(0.5));
    let y = F64Lane::select(far, ln(a) - series, value + r);

    // 1/a + π cot πd, without the 1/a where it is in already.
    let k = (d * d).poly(&X_COT);
    let reflected = F64Lane::select(below, k, k.mul_add(a, d)) / F64Lane::select(below, d, d * a);
    let reflected = F64Lane::select(d == zero, c(f64::NAN), y + reflected);
    let y = F64Lane::select(negative, reflected, y);
    F64Lane::select(x == zero, -one / x, y)
}

/// B₂ⱼ / (2j)!, j = 1, 2, …
const BERNOULLI: [f64; 10] = [
    0.083_333_333_333_333_33,
    -0.001_388_888_888_888_889,
    3.306_878_306_878_307e-5,
    -8.267_195_767_195_768e-7,
    2.087_675_698_786_81e-8,
    -5.284_190_138_687_493e-10,
    1.338_253_653_068_467_9e-11,
    -3.389_680_296_322_582_7e-13,
    8.586_062_056_277_845e-15,
    -2.174_868_698_558_062e-16,
];

/// The derivative of order n of digamma.
///
/// n! ζ(n + 1, x) by the Euler-Maclaurin formula, with the sign of (-1)ⁿ⁺¹; for negative x the reflection with the
/// n-th derivative of π cot πx. The loops have bounds that depend on n alone: where n is a constant they unroll, and
/// the loop over elements around them becomes vector code.
#[inline(always)]
pub(super) fn polygamma<I: Isa>(x: F64Lane<I>, n: u32) -> F64Lane<I> {
    if n == 0 {
        return digamma(x);
    }
    let c = F64Lane::<I>::c;
    let zero = c(0.0);
    let odd = n % 2 == 1;
    let negative = x < zero;
    let p = hurwitz(F64Lane::select(negative, c(1.0) - x, x), n);
    let d = x - x.round();
    // The derivative of order n of π cot πx, negated.
    let k = (d * d).poly(&X_COT) / d;
    let k2 = k * k;
    let s = k2 + c(PI_2);
    let slope = match n {
        1 => s,
        2 => c(-2.0) * k * s,
        3 => s * k2.mul_add(c(6.0), c(2.0 * PI_2)),
        4 => -k * s * k2.mul_add(c(24.0), c(16.0 * PI_2)),
        _ => {
            let nearest = factorial_over_power(d.abs(), n);
            let (left, right) = (hurwitz(c(1.0) - d, n), hurwitz(c(1.0) + d, n));
            if odd {
                nearest + (right + left)
            } else {
                -(nearest.copysign(d) + (right - left))
            }
        }
    };
    let y = if odd { p } else { -p };
    F64Lane::select(negative, slope - p, y)
}

const PI_2: f64 = std::f64::consts::PI * std::f64::consts::PI;

/// n! / vⁿ⁺¹.
#[inline(always)]
fn factorial_over_power<I: Isa>(v: F64Lane<I>, n: u32) -> F64Lane<I> {
    let c = F64Lane::<I>::c;
    let mut y = c(1.0) / v;
    for i in 1..n + 1 {
        y = y * (c(f64::from(i)) / v);
    }
    y
}

/// n! ζ(n + 1, u) = Σ n! / (u + k)ⁿ⁺¹ over k >= 0, for u > 0 and n > 0.
#[inline(always)]
fn hurwitz<I: Isa>(u: F64Lane<I>, n: u32) -> F64Lane<I> {
    let c = F64Lane::<I>::c;
    let (zero, one) = (c(0.0), c(1.0));
    let order = f64::from(n);
    // The terms before u + m, an even number of them, one by one; the rest by the series.
    let bound = n + 10;
    let m = ((c(f64::from(bound)) - u) * c(0.5)).ceil() * c(2.0);
    let m = F64Lane::select(m > zero, m, zero);
    let mut sum = zero;
    for k in (0..bound.div_ceil(2)).rev() {
        let k = f64::from(2 * k);
        let (v0, v1) = (u + c(k), u + c(k + 1.0));
        let pair = if n <= 4 {
            let (mut q0, mut q1) = (v0, v1);
            for _ in 0..n {
                q0 = q0 * v0;
                q1 = q1 * v1;
            }
            (q0 + q1) / (q0 * q1)
        } else {
            factorial_over_power(v1, n) + factorial_over_power(v0, n)
        };
        sum = F64Lane::select(c(k) < m, sum + pair, sum);
    }

    // (n-1)! / bⁿ · (1 + n / 2b + Σ B₂ⱼ/(2j)! · n (n+1) … (n+2j-1) / b²ʲ)
    let t = one / (u + m);
    let z = t * t;
    let mut scale = [0.0; BERNOULLI.len()];
    let mut rising = 1.0;
    for (j, s) in scale.iter_mut().enumerate() {
        let j = 2.0 * j as f64;
        rising *= (order + j) * (order + j + 1.0);
        *s = BERNOULLI[j as usize / 2] * rising;
    }
    let mut series = zero;
    for &s in scale.iter().rev() {
        series = series.mul_add(z, c(s));
    }
    let series = series.mul_add(z, t * c(0.5 * order));
    let mut head = t;
    for i in 1..n {
        head = head * (t * c(f64::from(i)));
    }
    let tail = head.mul_add(series, head);
    if n <= 4 {
        let factorial = [1.0, 1.0, 2.0, 6.0, 24.0][n as usize];
        sum.mul_add(c(factorial), tail)
    } else {
        sum + tail
    }
}
