//! Functions as one polynomial on each of 16 pieces of an interval; beyond it the formulas of [`crate::lane`] serve.

use super::tables::*;
use super::{ElemFn, Row, at};
use crate::lane::{F64Lane, Lane};
use crate::simd::Avx512;
use std::arch::x86_64::*;

static ERFC: [Row; 13] = ERFC_F64;
static CDF: [Row; 13] = CDF_F64;
static ERFINV: [Row; 17] = ERFINV_F64;

/// Elements of a register.
const N: usize = 8;
/// 3 · 2⁵¹, beside which a number is an integer in its last bits.
const INTEGER: f64 = 6_755_399_441_055_744.0;
/// Erfc and Φ: the widths of pieces, which lie around multiples of them.
const ERFC_STEP: f64 = 3.0 / 16.0;
const CDF_STEP: f64 = 1.0 / 4.0;
/// Where pieces around multiples of a width end.
const END: f64 = 15.5;
/// The least distance to 1 on the pieces of erfinv.
const ERFINV_END: f64 = 1.0 / 256.0;

/// The function itself of `n` elements.
///
/// # Safety
/// `dst` and `x` hold `n` elements.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
unsafe fn others<F: ElemFn>(dst: *mut f64, x: *const f64, n: usize) {
    // SAFETY: by the contract.
    let (dst, x) = unsafe {
        (
            std::slice::from_raw_parts_mut(dst, n),
            std::slice::from_raw_parts(x, n),
        )
    };
    for (y, &x) in dst.iter_mut().zip(x) {
        let x = F64Lane::<Avx512>::new(x);
        *y = F::eval(x, x, x, [x; 2]).get();
    }
}

/// The place in a piece, and the polynomial there but for its constant, over the place.
macro_rules! place {
    ($table:ident, $piece:expr, $a:expr) => {{
        let (piece, t) = ($piece, _mm512_sub_pd($a, at!($table[0], $piece)));
        let mut rest = at!($table[$table.len() - 1], piece);
        let mut k = $table.len() - 2;
        while k > 1 {
            rest = _mm512_fmadd_pd(rest, t, at!($table[k], piece));
            k -= 1;
        }
        (t, rest, at!($table[1], piece))
    }};
}

/// A function that `$value` gives where `$near` says so, and `F` elsewhere.
macro_rules! pieces {
    ($name:ident, |$x:ident, $a:ident| near $near:expr, value $value:expr) => {
        /// # Safety
        /// `dst` and `x` hold `n` elements, and AVX-512 is available.
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
        pub(super) unsafe fn $name<F: ElemFn>(dst: *mut f64, x: *const f64, n: usize) {
            let near = |$a: __m512d| $near;
            let value = |$x: __m512d, $a: __m512d| $value;
            let far = |x: *const f64| {
                // SAFETY: called with eight elements.
                let x = unsafe { _mm512_loadu_pd(x) };
                near(_mm512_abs_pd(x)) == 0
            };
            let mut i = 0;
            // SAFETY: loads and stores are below `n` or masked so.
            unsafe {
                while i < n {
                    let (dst, x, len) = (dst.add(i), x.add(i), (n - i).min(N));
                    let there = !0u8 >> (N - len);
                    let v = _mm512_maskz_loadu_pd(there, x);
                    let a = _mm512_abs_pd(v);
                    let is_near = near(a);
                    if is_near == 0 && len == N {
                        let mut all = N;
                        while i + all + N <= n && far(x.add(all)) {
                            all += N;
                        }
                        others::<F>(dst, x, all);
                        i += all;
                        continue;
                    }
                    let mut y = value(v, a);
                    if is_near != !0 {
                        let (mut other, mut from) = ([0.0; N], [0.0; N]);
                        _mm512_storeu_pd(from.as_mut_ptr(), v);
                        others::<F>(other.as_mut_ptr(), from.as_ptr(), N);
                        y = _mm512_mask_mov_pd(_mm512_loadu_pd(other.as_ptr()), is_near, y);
                    }
                    _mm512_mask_storeu_pd(dst, there, y);
                    i += N;
                }
            }
        }
    };
}

pieces! {
    erfc, |x, a|
    near _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, _mm512_set1_pd(ERFC_STEP * END)),
    value {
        let number = _mm512_fmadd_pd(a, _mm512_set1_pd(1.0 / ERFC_STEP), _mm512_set1_pd(INTEGER));
        let (t, rest, first) = place!(ERFC, _mm512_castpd_si512(number), a);
        let y = _mm512_fmadd_pd(rest, t, first);
        let negative = _mm512_movepi64_mask(_mm512_castpd_si512(x));
        _mm512_mask_sub_pd(y, negative, _mm512_set1_pd(2.0), y)
    }
}

pieces! {
    gelu, |x, a|
    near _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, _mm512_set1_pd(CDF_STEP * END)),
    value {
        let number = _mm512_fmadd_pd(a, _mm512_set1_pd(1.0 / CDF_STEP), _mm512_set1_pd(INTEGER));
        let (t, rest, first) = place!(CDF, _mm512_castpd_si512(number), a);
        let y = _mm512_fmadd_pd(rest, t, first);
        // x Φ(-a), or x less that.
        let minus = _mm512_set1_pd(-0.0);
        let positive = !_mm512_movepi64_mask(_mm512_castpd_si512(x));
        let y = _mm512_mask_xor_pd(y, positive, y, minus);
        _mm512_fmadd_pd(x, y, _mm512_mask_mov_pd(minus, positive, x))
    }
}

pieces! {
    erfinv, |x, a|
    near _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, _mm512_set1_pd(1.0 - ERFINV_END)),
    value {
        // Below 1, whose exponent is that of the last piece.
        let rest = _mm512_sub_pd(_mm512_set1_pd(1.0), a);
        let rest = _mm512_min_pd(rest, _mm512_set1_pd(1.0 - f64::EPSILON / 2.0));
        let piece = _mm512_srli_epi64::<51>(_mm512_castpd_si512(rest));
        let (t, rest, first) = place!(ERFINV, piece, a);
        let p = _mm512_fmadd_pd(rest, t, first);
        let lost = _mm512_fmadd_pd(rest, t, _mm512_sub_pd(first, p));
        let y = _mm512_fmadd_pd(x, p, _mm512_mul_pd(x, lost));
        // Only that of 0 may be another.
        _mm512_or_pd(y, _mm512_and_pd(x, _mm512_set1_pd(-0.0)))
    }
}
