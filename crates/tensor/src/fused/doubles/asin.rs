//! Inverses of sine and cosine: for a = |x| up to 1/2 by a polynomial, beyond by asin a = π/2 - 2 asin √((1 - a) / 2).

use super::{each, polynomial};
use crate::fused::roots::roots;
use crate::lane::ASIN_F64;
use std::arch::x86_64::*;
use std::f64::consts::{FRAC_PI_2, PI};

/// What π lacks.
const PI_LOW: f64 = 1.224_646_799_147_353_2e-16;

/// t + w = asin a or asin √((1 - a) / 2), and which.
macro_rules! parts {
    ($a:expr) => {{
        let (a, half) = ($a, _mm512_set1_pd(0.5));
        // Also where a is NaN.
        let outer = _mm512_cmp_pd_mask::<_CMP_NLE_UQ>(a, half);
        let (mut t, mut z) = (a, _mm512_mul_pd(a, a));
        let mut w = _mm512_setzero_pd();
        if outer != 0 {
            z = _mm512_mask_mov_pd(z, outer, _mm512_fnmadd_pd(a, half, half));
            let there = _mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(z, _mm512_setzero_pd());
            let (s, h) = roots!(z, _mm512_maskz_rsqrt14_pd(there, z));
            t = _mm512_mask_mov_pd(a, outer, s);
            w = _mm512_maskz_mul_pd(outer, _mm512_fnmadd_pd(s, s, z), h);
        }
        let p = polynomial!(&ASIN_F64, z);
        (t, _mm512_fmadd_pd(_mm512_mul_pd(t, z), p, w), outer)
    }};
}

/// # Safety
/// `dst` and `x` hold `n` elements, and AVX-512 is available.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
pub(super) unsafe fn asin(dst: *mut f64, x: *const f64, n: usize) {
    let all = |v: f64| _mm512_set1_pd(v);
    let value = |x: __m512d| {
        let (t, w, outer) = parts!(_mm512_abs_pd(x));
        let y = _mm512_add_pd(t, w);
        // π/2 - 2 (t + w)
        let first = _mm512_fnmadd_pd(all(2.0), t, all(FRAC_PI_2));
        let rest = _mm512_fnmadd_pd(all(2.0), w, all(PI_LOW / 2.0));
        let y = _mm512_mask_add_pd(y, outer, first, rest);
        let sign = _mm512_and_pd(x, all(-0.0));
        _mm512_or_pd(y, sign)
    };
    each!(dst, x, n, value);
}

/// # Safety
/// As for [`asin`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
pub(super) unsafe fn acos(dst: *mut f64, x: *const f64, n: usize) {
    let all = |v: f64| _mm512_set1_pd(v);
    let value = |x: __m512d| {
        let (t, w, outer) = parts!(_mm512_abs_pd(x));
        let negative = _mm512_movepi64_mask(_mm512_castpd_si512(x));
        // |x| <= 1/2: π/2 ∓ (t + w); else 2 (t + w) or π - 2 (t + w).
        let factor = _mm512_mask_mov_pd(all(-1.0), outer, all(2.0));
        let opposite = _mm512_xor_pd(factor, all(-0.0));
        let factor = _mm512_mask_mov_pd(factor, negative, opposite);
        let turn = _mm512_mask_mov_pd(
            all(FRAC_PI_2),
            outer,
            _mm512_maskz_mov_pd(negative, all(PI)),
        );
        let low = all(PI_LOW);
        let low = _mm512_mask_mov_pd(all(PI_LOW / 2.0), outer, _mm512_maskz_mov_pd(negative, low));
        _mm512_add_pd(
            _mm512_fmadd_pd(factor, t, turn),
            _mm512_fmadd_pd(factor, w, low),
        )
    };
    each!(dst, x, n, value);
}
