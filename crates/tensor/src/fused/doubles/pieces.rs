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

/// The polynomial of a piece at `a`.
macro_rules! in_piece {
    ($table:ident, $piece:expr, $a:expr) => {{
        let piece = $piece;
        let t = _mm512_sub_pd($a, at!($table[0], piece));
        let mut k = $table.len() - 1;
        let mut y = at!($table[k], piece);
        while k > 1 {
            k -= 1;
            y = _mm512_fmadd_pd(y, t, at!($table[k], piece));
        }
        y
    }};
}

/// The polynomial at `a` of the piece around the multiple of a width that is nearest to it.
macro_rules! of_magnitude {
    ($table:ident, $a:expr, $step:ident) => {{
        let a = $a;
        let number = _mm512_fmadd_pd(a, _mm512_set1_pd(1.0 / $step), _mm512_set1_pd(INTEGER));
        in_piece!($table, _mm512_castpd_si512(number), a)
    }};
}

each_near! {
    erfc, to ERFC_STEP * END, |x| {
        let a = _mm512_abs_pd(x);
        let y = of_magnitude!(ERFC, a, ERFC_STEP);
        let negative = _mm512_movepi64_mask(_mm512_castpd_si512(x));
        _mm512_mask_sub_pd(y, negative, _mm512_set1_pd(2.0), y)
    }
}

each_near! {
    gelu, to CDF_STEP * END, |x| {
        let a = _mm512_abs_pd(x);
        let y = of_magnitude!(CDF, a, CDF_STEP);
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
        _mm512_mul_pd(x, in_piece!(ERFINV, piece, a))
    }
}
