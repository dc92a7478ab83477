//! The error function, its complement and its inverse.

use super::coefficients::f32::EXP;
use super::ops::{Ops, fast_two_sum, product_plus, two_prod, two_sum};
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

/// erfc(b) and e^(-b²) over 2^k, for 0.8 <= b up to where they are 0, and k; b and b² in two parts.
#[inline(always)]
fn erfc_tail<T: Ops>((b, b_low): (T, T), (h, l): (T, T)) -> (T, T, T) {
    const SHIFT: f64 = 1.125;
    let one = T::c(1.0);
    // e^(-b²) times q G(q) with q = 1 / (b + SHIFT); the rounding errors of the factors are carried along.
    let (k, y, y_low) = exp::exp_pair(-h, -l);
    let (d, d_low) = two_sum(b, T::c(SHIFT));
    let d_low = d_low + b_low;
    let q = one / d;
    let (m, m_low) = two_prod(q, d);
    let q_low = q * (((one - m) - m_low) - q * d_low);
    let (g, g_low) = (q - T::c(T::ERFC_CENTER)).poly_pair(T::ERFC);
    let (p, p_low) = two_prod(y, q);
    // q G(q) changes (1 + 0.8 q) times as fast as q, in relative terms.
    let q_low = q_low * q.mul_add(T::c(0.8), one);
    let low = g_low.mul_add(p, (p_low + (y * q_low + y_low * q)) * g);
    (product_plus(p, g, low), y + y_low, k)
}

/// Φ(-a), a Φ(-a) and e^(-a²/2) for 0 <= a, up to where they are 0.
#[inline(always)]
fn lower<T: Ops>(a: T) -> (T, T, T) {
    let zero = T::c(0.0);
    let gone = a > T::c(NORMAL_ZERO);
    // The second one is 0 at 0.
    let (p, xp, e) = lower_near(T::select(gone, zero, a));
    (T::select(gone, zero, p), xp, T::select(gone, zero, e))
}

/// As [`lower`], for a <= [`NORMAL_ZERO`] only.
#[inline(always)]
fn lower_near<T: Ops>(a: T) -> (T, T, T) {
    let (one, half) = (T::c(1.0), T::c(0.5));
    // Φ(-a) = erfc(a / √2) / 2, with a / √2 and a² / 2 in two parts.
    let (h, l) = two_prod(a, a);
    let (b, b_low) = two_prod(a, T::c(SQRT_HALF.0));
    let b_low = a.mul_add(T::c(SQRT_HALF.1), b_low);
    let (tail, e, k) = erfc_tail((b, b_low), (h * half, l * half));
    let t = (h * half).poly(T::ERF);
    let near = ((one - b) - b_low).mul_add(half, -(b * half) * t);
    let near = t.mul_add(-b_low * half, near);
    let small = b < T::c(0.8125);
    let tail = tail * half;
    (
        T::select(small, near, tail.scale(k, false)),
        // Scaled after the product: the smaller factor may be subnormal.
        T::select(small, near * a, (tail * a).scale(k, false)),
        e.scale(k, false),
    )
}

#[inline(always)]
pub(super) fn normal<T: Ops>(x: T) -> (T, T) {
    let a = x.abs();
    let (p, e) = if T::SHORT && T::FMA {
        let gone = a > T::c(SHORT_ZERO);
        let short = Short::of(T::select(gone, T::c(0.0), a));
        let q = T::c(1.0) / short.d;
        let s = short.power(T::c(1.0));
        let or_zero = |y: T| T::select(gone, T::c(0.0), y);
        let p = or_zero(q * s * scaled_normal(short.a * q));
        (p, or_zero(s * T::c(T::UNDER.1)))
    } else if T::SHORT {
        let (p, _, e) = lower(a.wide());
        (T::from_wide(p), T::from_wide(e))
    } else {
        let (p, _, e) = lower(a);
        (p, e)
    };
    (T::select(x < T::c(0.0), p, T::c(1.0) - p), e)
}

/// -0 less a Φ(-a) for x < 0, x less that for the others.
#[inline(always)]
pub(super) fn gelu<T: Ops>(x: T) -> T {
    let a = x.abs();
    if T::SHORT && T::FMA {
        less_tail(x, T::select(a > T::c(SHORT_ZERO), T::c(0.0), a))
    } else if T::SHORT {
        // Too inexact without fused multiply-adds.
        start(x) - T::from_wide(lower(a.wide()).1)
    } else {
        start(x) - lower(a).1
    }
}

/// As [`gelu`], where a Φ(-a) does not vanish.
#[inline(always)]
pub(super) fn gelu_near<T: Ops>(x: T) -> T {
    if T::SHORT && T::FMA {
        less_tail(x, x.abs())
    } else if T::SHORT {
        gelu(x)
    } else {
        start(x) - lower_near(x.abs()).1
    }
}

#[inline(always)]
fn start<T: Ops>(x: T) -> T {
    let zero = T::c(-0.0);
    T::select(x < zero, zero, x)
}

/// [`start`] less a Φ(-a). The product is not rounded before it is taken away, so that beside a large x it may be as small as it
/// likes.
#[inline(always)]
fn less_tail<T: Ops>(x: T, a: T) -> T {
    let short = Short::of(a);
    let w = short.a / short.d;
    (-short.power(w)).mul_add(scaled_normal(w), start(x))
}

/// Here Φ(-a) is 0, even times a.
pub(super) const NORMAL_ZERO: f64 = 38.64;
/// √½ in two parts.
const SQRT_HALF: (f64, f64) = (std::f64::consts::FRAC_1_SQRT_2, -4.833_646_656_726_457e-17);

/// G(v) = e^(a²/2) Φ(-a) (a + SHIFT) for 0 <= a <= 14.5, where v = SHIFT / (a + SHIFT) = CENTER + t, as a polynomial in t with
/// an error of 2^-24.8 of the value; `tools/fit_normal.py` found it.
const NORMAL: [f64; 9] = [
    0.942_301_5,
    1.330_313_9,
    0.943_171_5,
    0.065_672_144,
    -0.313_647_5,
    -0.017_061_107,
    0.151_906_61,
    -0.029_978_36,
    -0.080_792_62,
];
const NORMAL_SHIFT: f64 = 2.898_437_5;
const NORMAL_CENTER: f64 = 0.687_5;

/// From here on Φ(-a) is 0 in f32, even times a.
pub(super) const SHORT_ZERO: f64 = 14.5;

/// What Φ(-a) is made of in f32, for a up to where it is 0: none of the factors is subnormal.
struct Short<T> {
    /// (a + SHIFT) · 2^-26.
    d: T,
    a: T,
    /// e^(-a²/2) · 2^26 = s e^(-q/2), s a power of two.
    s: T,
    q: T,
}

impl<T: Ops> Short<T> {
    #[inline(always)]
    fn of(a: T) -> Self {
        let c = T::c;
        // -a²/2 = k ln 2 - q/2, with the square rounded once, in the sum.
        let magic = c(T::MAGIC + T::BIAS + T::UNDER.0);
        let shifted = (a * a).mul_add(c(-0.5 * std::f64::consts::LOG2_E), magic);
        let k = shifted - magic;
        let q = a.mul_add(a, k * c(2.0 * T::LN2.0));
        Short {
            d: a.mul_add(c(T::UNDER.1), c(NORMAL_SHIFT * T::UNDER.1)),
            a,
            s: shifted.integer_to_exponent(),
            q: k.mul_add(c(2.0 * T::LN2.1), q),
        }
    }

    /// e^(-a²/2) · 2^26 times a factor.
    #[inline(always)]
    fn power(&self, factor: T) -> T {
        let q = self.q;
        // e^r - 1 = q P(q) for q = -2 r.
        let c = |i: i32| T::c(f64::from(EXP[i as usize]) * 0.25 * (-0.5f64).powi(i));
        let p = (c(4).mul_add(q, c(3)))
            .mul_add(q, c(2))
            .mul_add(q, c(1))
            .mul_add(q, c(0))
            .mul_add(q, T::c(-0.5));
        let s = self.s * factor;
        (s * q).mul_add(p, s)
    }
}

/// G(v) · 2^-52 with a / (a + SHIFT) = 1 - v = w · 2^-26.
#[inline(always)]
fn scaled_normal<T: Ops>(w: T) -> T {
    let t = w.mul_add(T::c(-T::UNDER.1), T::c(1.0 - NORMAL_CENTER));
    let c = |i: usize| T::c(NORMAL[i] * (T::UNDER.1 * T::UNDER.1));
    c(8).mul_add(t, c(7))
        .mul_add(t, c(6))
        .mul_add(t, c(5))
        .mul_add(t, c(4))
        .mul_add(t, c(3))
        .mul_add(t, c(2))
        .mul_add(t, c(1))
        .mul_add(t, c(0))
}

#[inline(always)]
pub(super) fn erfc<T: Ops>(x: T) -> T {
    let a = x.abs();
    let one = T::c(1.0);
    let near = (x * x).poly(T::ERF).mul_add(-x, one - x);

    let gone = a > T::c(T::ERFC_ZERO);
    let b = T::select(gone, one, a);
    let (h, l) = two_prod(b, b);
    let (tail, _, k) = erfc_tail((b, T::c(0.0)), (h, l));
    let tail = T::select(gone, T::c(0.0), tail.scale(k, false));
    let far = T::select(x < T::c(0.0), T::c(2.0) - tail, tail);
    T::select(a < T::c(0.8125), near, far)
}

/// The polynomial with the coefficients `c` around `center` at x + low, in two parts; it changes about as fast as there.
#[inline(always)]
fn around<T: Ops>(x: T, low: T, center: f64, c: &'static [T::Elem]) -> (T, T) {
    let (t, t_low) = fast_two_sum(T::c(-center), x);
    let (p, p_low) = two_prod(t, t.poly_rest(c));
    let (g, g_low) = fast_two_sum(T::new(c[0]), p);
    (g, (t_low + low).mul_add(T::new(c[1]), p_low + g_low))
}

/// -ln(1 - a²) in two parts.
#[inline(always)]
fn minus_ln<T: Ops>(a: T) -> (T, T) {
    let (z, z_low) = two_prod(a, a);
    let (w, w_low) = log::ln_normal_pair((T::c(1.0) - z) - z_low);
    (T::select(w > T::c(0.0), T::c(0.0), -w), -w_low)
}

/// As [`erfinv`], where w <= 5.
#[inline(always)]
pub(super) fn erfinv_near<T: Ops>(x: T) -> T {
    let one = T::c(1.0);
    let a = x.abs();
    if T::SHORT && T::FMA {
        let w = -log::ln_normal((-a).mul_add(a, one));
        let t = w - T::c(T::ERFINV_CENTER);
        let (p, p_low) = two_prod(t, t.strided::<1>(T::ERFINV, 1));
        let (g, g_low) = fast_two_sum(T::new(T::ERFINV[0]), p);
        return a.mul_add(g, a * (g_low + p_low)).copysign(x);
    }
    let (w, w_low) = minus_ln(a);
    let (g, g_low) = around(w, w_low, T::ERFINV_CENTER, T::ERFINV);
    product_plus(a, g, a * g_low).copysign(x)
}

/// x·P(w) with w = -ln(1 - x²), and where w is large √w·Q(√w) (after Giles 2010, with other intervals).
#[inline(always)]
pub(super) fn erfinv<T: Ops>(x: T) -> T {
    let one = T::c(1.0);
    let a = x.abs();
    if T::SHORT && T::FMA {
        let w = -log::ln_normal((-a).mul_add(a, one));
        let s = w.sqrt();
        let tail = w > T::c(5.0);
        let (near, far) = (w - T::c(T::ERFINV_CENTER), s - T::c(T::ERFINV_MID_CENTER));
        let rest = T::select(
            tail,
            far.strided::<1>(T::ERFINV_MID, 1),
            near.strided::<1>(T::ERFINV, 1),
        );
        let first = T::select(tail, T::new(T::ERFINV_MID[0]), T::new(T::ERFINV[0]));
        let (p, p_low) = two_prod(T::select(tail, far, near), rest);
        let (g, g_low) = fast_two_sum(first, p);
        let f = T::select(tail, s, a);
        let y = f.mul_add(g, f * (g_low + p_low));
        let y = T::select(a == one, T::c(f64::INFINITY), y);
        return T::select(a <= one, y.copysign(x), T::c(f64::NAN));
    }
    let (w, w_low) = minus_ln(a);
    let s = w.sqrt();
    let (m, m_low) = two_prod(s, s);
    let s_low = (((w - m) - m_low) + w_low) * T::c(0.5) / T::select(s > T::c(0.0), s, one);

    let (near, near_low) = around(w, w_low, T::ERFINV_CENTER, T::ERFINV);
    let (far, far_low) = around(s, s_low, T::ERFINV_MID_CENTER, T::ERFINV_MID);
    let (far, far_low) = if T::ERFINV_FAR.is_empty() {
        (far, far_low)
    } else {
        let (end, end_low) = around(s, s_low, T::ERFINV_FAR_CENTER, T::ERFINV_FAR);
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
