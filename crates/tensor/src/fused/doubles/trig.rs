//! Sine and cosine: x = nπ/8 + r with |r| <= π/16, and the addition theorems. Beyond [`Lane::TRIG_BOUND`] the formulas of
//! [`crate::lane`] serve.

use super::tables::*;
use super::{ElemFn, INTEGER, Row, at, each_near, polynomial};
use crate::lane::{F64Lane, HALF_PI_F64, Lane};
use crate::simd::Avx512;
use std::arch::x86_64::*;
use std::f64::consts::FRAC_2_PI;

/// The sine and the cosine of nπ/8, each in two parts.
static SIN: [Row; 2] = [SIN_EIGHTHS, SIN_EIGHTHS_LOW];
static COS: [Row; 2] = [quarter_turn(SIN_EIGHTHS), quarter_turn(SIN_EIGHTHS_LOW)];

/// The numbers of the angles π/2 further on.
const fn quarter_turn(sines: Row) -> Row {
    let mut cosines = [0.0; 16];
    let mut n = 0;
    while n < 16 {
        cosines[n] = sines.0[(n + 4) % 16];
        n += 1;
    }
    Row(cosines)
}
const BOUND: f64 = <F64Lane<Avx512> as Lane>::TRIG_BOUND;

/// n, whose last bits choose, and r in two parts, as [`crate::lane`] finds them for π/2.
macro_rules! reduce {
    ($x:expr) => {{
        let (x, magic) = ($x, _mm512_set1_pd(INTEGER));
        let part = |i: usize| _mm512_set1_pd(HALF_PI_F64[i] / 4.0);
        let shifted = _mm512_fmadd_pd(x, _mm512_set1_pd(FRAC_2_PI * 4.0), magic);
        let n = _mm512_sub_pd(shifted, magic);
        let exact = _mm512_fnmadd_pd(n, part(0), x);
        let r = _mm512_fnmadd_pd(n, part(1), exact);
        let d = _mm512_sub_pd(exact, r);
        let e = _mm512_sub_pd(_mm512_sub_pd(exact, d), r);
        let low = _mm512_add_pd(_mm512_fnmadd_pd(n, part(1), d), e);
        let low = _mm512_fnmadd_pd(n, part(2), low);
        (_mm512_castpd_si512(shifted), r, low)
    }};
}

/// a cos r ± b sin r of numbers in two parts, for |x| up to the bound.
macro_rules! turned {
    ($x:expr, $a:ident, $b:ident, $minus:literal) => {{
        let (n, r, low) = reduce!($x);
        let z = _mm512_mul_pd(r, r);
        let rest = _mm512_fmadd_pd(_mm512_mul_pd(z, r), polynomial!(&SIN_SHORT, z), low);
        let less = _mm512_mul_pd(z, polynomial!(&COS_SHORT, z));
        let plus = |b: __m512d, r: __m512d, a: __m512d| match $minus {
            false => _mm512_fmadd_pd(b, r, a),
            true => _mm512_fnmadd_pd(b, r, a),
        };
        // The first sum with what its rounding loses: a is 0, or the larger one.
        let (a, b) = (at!($a[0], n), at!($b[0], n));
        let y = plus(b, r, a);
        let lost = plus(b, r, _mm512_sub_pd(a, y));
        let more = _mm512_fmadd_pd(a, less, at!($a[1], n));
        let more = plus(b, rest, plus(at!($b[1], n), r, more));
        _mm512_add_pd(y, _mm512_add_pd(more, lost))
    }};
}

each_near! {
    sin, to BOUND, |x| {
        let y = turned!(x, SIN, COS, false);
        // x itself, with its sign, where that is 0.
        _mm512_fixupimm_pd::<0>(y, x, _mm512_set1_epi64(0x0000_0100))
    }
}

each_near! { cos, to BOUND, |x| { turned!(x, COS, SIN, true) } }
