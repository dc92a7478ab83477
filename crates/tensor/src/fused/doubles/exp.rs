//! eˣ = 2^(k + j/16) eʳ with |r| <= ln 2 / 32 (Tang 1989).

use super::tables::*;
use super::{INTEGER, Row, at, each, polynomial};
use std::arch::x86_64::*;

static HIGH: Row = SIXTEENTHS;
static LOW: Row = SIXTEENTHS_LOW;
/// ln 2 / 16 in two parts, the first so short that its product with 16 k + j is exact.
const STEP: (f64, f64) = (0.043_321_698_784_893_67, 1.029_121_848_931_067_6e-13);

/// # Safety
/// `dst` and `x` hold `n` elements, and AVX-512 is available.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
pub(super) unsafe fn exp(dst: *mut f64, x: *const f64, n: usize) {
    let all = |v: f64| _mm512_set1_pd(v);
    let magic = all(INTEGER);
    let value = |x: __m512d| {
        // Beyond these it is 0 and ∞. The second operand is taken where one is NaN.
        let x = _mm512_min_pd(all(710.0), _mm512_max_pd(all(-746.0), x));
        let shifted = _mm512_fmadd_pd(x, all(16.0 * std::f64::consts::LOG2_E), magic);
        let k = _mm512_sub_pd(shifted, magic);
        let r = _mm512_fnmadd_pd(k, all(STEP.0), x);
        let r = _mm512_fnmadd_pd(k, all(STEP.1), r);
        let rest = polynomial!(&EXP_SHORT, r);
        let p = _mm512_fmadd_pd(_mm512_mul_pd(r, r), rest, r);
        let j = _mm512_castpd_si512(shifted);
        let y = at!(HIGH, j);
        let y = _mm512_add_pd(y, _mm512_fmadd_pd(y, p, at!(LOW, j)));
        // By 2 to the integer below k/16, rounded once.
        _mm512_scalef_pd(y, _mm512_mul_pd(k, all(1.0 / 16.0)))
    };
    each!(dst, x, n, value);
}
