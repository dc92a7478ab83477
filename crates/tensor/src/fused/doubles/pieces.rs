//! Functions as one polynomial on each of 16 pieces of an interval; beyond it the formulas of [`crate::lane`] serve.

use super::tables::*;
use super::{ElemFn, INTEGER, Row, at, each_near};
use std::arch::x86_64::*;

static ERFC: [Row; 13] = ERFC_F64;
static CDF: [Row; 13] = CDF_F64;
static ERFINV: [Row; 17] = ERFINV_F64;

/// Erfc and Φ: the widths of pieces, which lie around multiples of them.
const ERFC_STEP: f64 = 3.0 / 16.0;
const CDF_STEP: f64 = 1.0 / 4.0;
/// Where pieces around multiples of a width end, a little before the middle between the last one and the next.
const END: f64 = 15.499;
/// The least distance to 1 on the pieces of erfinv.
const ERFINV_END: f64 = 1.0 / 256.0;

/// The place in a piece, and the polynomial there but for its constant, over the place.
macro_rules! place {
    ($table:ident, $piece:expr, $a:expr) => {{
        let piece = $piece;
        let t = _mm512_sub_pd($a, at!($table[0], piece));
        let mut k = $table.len() - 1;
        let mut rest = at!($table[k], piece);
        while k > 2 {
            k -= 1;
            rest = _mm512_fmadd_pd(rest, t, at!($table[k], piece));
        }
        (t, rest, at!($table[1], piece))
    }};
}

each_near! {
    erfc, to ERFC_STEP * END, |x| {
        let a = _mm512_abs_pd(x);
        let number = _mm512_fmadd_pd(a, _mm512_set1_pd(1.0 / ERFC_STEP), _mm512_set1_pd(INTEGER));
        let (t, rest, first) = place!(ERFC, _mm512_castpd_si512(number), a);
        let y = _mm512_fmadd_pd(rest, t, first);
        let negative = _mm512_movepi64_mask(_mm512_castpd_si512(x));
        _mm512_mask_sub_pd(y, negative, _mm512_set1_pd(2.0), y)
    }
}

each_near! {
    gelu, to CDF_STEP * END, |x| {
        let a = _mm512_abs_pd(x);
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

each_near! {
    erfinv, to 1.0 - ERFINV_END, |x| {
        let a = _mm512_abs_pd(x);
        // Below 1, whose exponent is that of the last piece.
        let d = _mm512_sub_pd(_mm512_set1_pd(1.0), a);
        let d = _mm512_min_pd(d, _mm512_set1_pd(1.0 - f64::EPSILON / 2.0));
        let piece = _mm512_srli_epi64::<51>(_mm512_castpd_si512(d));
        let (t, rest, first) = place!(ERFINV, piece, a);
        _mm512_mul_pd(x, _mm512_fmadd_pd(rest, t, first))
    }
}
