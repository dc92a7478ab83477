//! Logarithms: x = m 2ᵏ with m in [3/4, 3/2), and log x = k log 2 + log c + log(1 + r) with r = m/c - 1, where c comes from the
//! piece that m lies in (Tang 1990).

use super::tables::*;
use super::{Row, at, each, polynomial};
use std::arch::x86_64::*;

struct Base {
    /// The logarithm of e and of 2, each in two parts.
    e: (f64, f64),
    two: (f64, f64),
    high: Row,
    low: Row,
    rest: [f64; 9],
}

static INVERSES: Row = LOG_INVERSES;
static LN: Base = Base {
    e: (1.0, 0.0),
    two: (0.693_147_180_559_890_3, 5.497_923_018_708_371e-14),
    high: LN_HIGH,
    low: LN_LOW,
    rest: LN_REST,
};
static LOG2: Base = Base {
    e: (std::f64::consts::LOG2_E, 2.035_527_374_093_103_3e-17),
    two: (1.0, 0.0),
    high: LOG2_HIGH,
    low: LOG2_LOW,
    rest: LOG2_REST,
};
static LOG10: Base = Base {
    e: (std::f64::consts::LOG10_E, 1.098_319_650_216_765e-17),
    two: (0.301_029_995_664_066_5, -8.532_344_317_057_107e-14),
    high: LOG10_HIGH,
    low: LOG10_LOW,
    rest: LOG10_REST,
};

macro_rules! log {
    ($name:ident, $base:ident) => {
        /// # Safety
        /// `dst` and `x` hold `n` elements, and AVX-512 is available.
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
        pub(super) unsafe fn $name(dst: *mut f64, x: *const f64, n: usize) {
            let all = |v: f64| _mm512_set1_pd(v);
            let one = all(1.0);
            // What x that are not positive and finite give: NaN, -∞ for 0, ∞.
            let special = _mm512_set1_epi64(0x0353_0422);
            let value = |x: __m512d| {
                let m = _mm512_getmant_pd::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_ZERO>(x);
                let k = _mm512_getexp_pd(x);
                let k = _mm512_mask_add_pd(k, _mm512_cmp_pd_mask::<_CMP_LT_OQ>(m, one), k, one);
                let piece = _mm512_srli_epi64::<48>(_mm512_castpd_si512(m));
                let r = _mm512_fmsub_pd(m, at!(INVERSES, piece), one);
                let high = _mm512_fmadd_pd(k, all($base.two.0), at!($base.high, piece));
                let low = at!($base.low, piece);
                let low = if $base.two.1 == 0.0 {
                    low
                } else {
                    _mm512_fmadd_pd(k, all($base.two.1), low)
                };
                let mut rest = polynomial!(&$base.rest, r);
                let mut first = r;
                if $base.e.0 != 1.0 {
                    first = _mm512_mul_pd(r, all($base.e.0));
                    let lost = _mm512_fmsub_pd(r, all($base.e.0), first);
                    rest = _mm512_fmadd_pd(rest, r, all($base.e.1));
                    rest = _mm512_fmadd_pd(rest, r, _mm512_add_pd(low, lost));
                } else {
                    rest = _mm512_fmadd_pd(rest, _mm512_mul_pd(r, r), low);
                }
                let y = _mm512_add_pd(high, _mm512_add_pd(first, rest));
                _mm512_fixupimm_pd::<0>(y, x, special)
            };
            each!(dst, x, n, value);
        }
    };
}
log!(ln, LN);
log!(log2, LOG2);
log!(log10, LOG10);
