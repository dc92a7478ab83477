//! Reduction of an angle to the nearest multiple of π/2.
//!
//! Two ways. [`bounded_f64`] and [`bounded_f32`] subtract n·π/2 with π/2 in parts so short that the products are exact
//! (Cody and Waite 1980). The others multiply by 2/π from which the bits that only make whole turns have been left out
//! (Payne and Hanek 1983): those bits depend on the exponent alone, so a table has one entry per exponent, and one
//! gathered load per part of 2/π replaces a loop over words.

use super::ops::{Ops, fast_two_sum, two_prod, two_sum};
use super::{F32Lane, F64Lane, Lane};
use crate::simd::Isa;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// The bits of 2/π after the binary point.
const TWO_OVER_PI: [u64; 20] = [
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
    0xf0cf_bc20_9af4_361d,
];

/// 64 bits of 2/π; 0 before the first ones. Behind those that are known it does not compile.
const fn word_at(i: i32) -> u128 {
    if i < 0 {
        0
    } else {
        TWO_OVER_PI[i as usize] as u128
    }
}

/// `count` bits of 2/π from the one of weight 2^-(start + 1) on, as an integer times 2^scale.
const fn window(start: i32, count: i32, scale: i32) -> f64 {
    // By words: a loop over bits takes the compiler a second.
    let word = start.div_euclid(64);
    let n = (word_at(word) << 64 | word_at(word + 1)) << start.rem_euclid(64) >> (128 - count);
    n as f64 * f64::from_bits(((1023 + scale) as u64) << 52)
}

// Constants, not statics: other crates' copies of a kernel see through them only if they are.

/// 2^e · 2/π modulo 2^25 for the exponent e, in parts of 29 and 53 bits. A significand in [1, 2) has 23 bits after the
/// point, so that what is left out makes whole turns (4 quarters).
const TURNS_F32: &[[f64; 2]; 128] = &{
    let mut table = [[0.0; 2]; 128];
    let mut e = 0;
    while e < 128 {
        let start = e - 25;
        table[e as usize] = [window(start, 29, -4), window(start + 29, 53, -57)];
        e += 1;
    }
    table
};

/// 2^e · 2/π modulo 2^54 for the exponent e, in four parts of 53 bits.
const TURNS_F64: &[[f64; 4]; 1024] = &{
    let mut table = [[0.0; 4]; 1024];
    let mut e = 0;
    while e < 1024 {
        let start = e - 54;
        table[e as usize] = [
            window(start, 53, 1),
            window(start + 53, 53, -52),
            window(start + 106, 53, -105),
            window(start + 159, 53, -158),
        ];
        e += 1;
    }
    table
};

/// π/2 in three parts of 33 bits and a rest: a product of one with an integer below 2^20 is exact.
const HALF_PI: [f64; 4] = [
    1.570_796_326_734_125_6,
    6.077_100_506_303_966e-11,
    2.022_266_248_711_166_5e-21,
    8.478_427_660_368_9e-32,
];
/// π/2 in a part of 33 bits and a rest.
const HALF_PI_SHORT: [f64; 2] = [1.570_796_326_734_125_6, 6.077_100_506_506_192e-11];
/// What [`FRAC_PI_2`] lacks.
const HALF_PI_LOW: f64 = 6.123_233_995_736_766e-17;

/// π/2 in three parts of f64.
pub(crate) const HALF_PI_F64: [f64; 3] = [FRAC_PI_2, HALF_PI_LOW, -1.497_384_904_859_169_8e-33];

/// `(n + MAGIC, r, low)` with x = n·π/2 + r + low: the last bits of the first are those of n.
pub(super) type Reduced<T> = (T, T, T);

/// Where `mul_add` rounds once: the first step is exact, because its result is a multiple of the last place of the constant and
/// below 1.
#[inline(always)]
fn in_three_steps<T: Ops>(x: T, [a, b, c]: [f64; 3]) -> Reduced<T> {
    let (shifted, n) = quarters(x);
    let exact = n.mul_add(T::c(-a), x);
    let r = n.mul_add(T::c(-b), exact);
    // exact - r = d + e: where r is far below `exact`, e counts; where it is above, at most half a unit of r is lost.
    let d = exact - r;
    let e = (exact - d) - r;
    let low = n.mul_add(T::c(-b), d) + e;
    (shifted, r, n.mul_add(T::c(-c), low))
}

#[inline(always)]
pub(super) fn bounded_f64<I: Isa>(x: F64Lane<I>) -> Reduced<F64Lane<I>> {
    if I::FMA {
        return in_three_steps(x, HALF_PI_F64);
    }
    let c = F64Lane::<I>::c;
    let (shifted, n) = quarters(x);
    let r = n.mul_add(-c(HALF_PI[0]), x);
    let (r, e1) = two_sum(r, n * -c(HALF_PI[1]));
    let (r, e2) = two_sum(r, n * -c(HALF_PI[2]));
    (shifted, r, n.mul_add(-c(HALF_PI[3]), e1 + e2))
}

/// As f32 lanes.
#[inline(always)]
fn narrow<I: Isa>(n: F64Lane<I>, r: F64Lane<I>) -> Reduced<F32Lane<I>> {
    let high = r.get() as f32;
    let low = (r.get() - f64::from(high)) as f32;
    (
        F32Lane::new(n.get() as f32) + F32Lane::c(F32Lane::<I>::MAGIC),
        F32Lane::new(high),
        F32Lane::new(low),
    )
}

/// π/2 in three parts of f32, all of them positive: so they keep the sign of 0.
const HALF_PI_F32: [f64; 3] = [
    1.570_796_251_296_997,
    7.549_789_415_861_596e-8,
    5.390_302_953_474_238e-15,
];

/// The nearest integer to x · 2/π, with `MAGIC` and without.
#[inline(always)]
fn quarters<T: Ops>(x: T) -> (T, T) {
    let magic = T::c(T::MAGIC);
    let shifted = x.mul_add(T::c(FRAC_2_PI), magic);
    (shifted, shifted - magic)
}

#[inline(always)]
pub(super) fn bounded_f32<I: Isa>(x: F32Lane<I>) -> Reduced<F32Lane<I>> {
    if I::FMA {
        // As in `in_three_steps`, with one rounding more.
        let [a, b, c] = HALF_PI_F32;
        let (shifted, n) = quarters(x);
        let r = n.mul_add(F32Lane::c(-b), n.mul_add(F32Lane::c(-a), x));
        return (shifted, n.mul_add(F32Lane::c(-c), r), F32Lane::c(0.0));
    }
    bounded_pair_f32(x)
}

#[inline(always)]
pub(super) fn bounded_pair_f32<I: Isa>(x: F32Lane<I>) -> Reduced<F32Lane<I>> {
    if I::FMA {
        return in_three_steps(x, HALF_PI_F32);
    }
    let c = F64Lane::<I>::c;
    let x = F64Lane::<I>::new(f64::from(x.get()));
    let (_, n) = quarters(x);
    let r = n.mul_add(-c(HALF_PI_SHORT[0]), x);
    narrow(n, n.mul_add(-c(HALF_PI_SHORT[1]), r))
}

#[inline(always)]
pub(super) fn full_f32<I: Isa>(x: F32Lane<I>) -> Reduced<F32Lane<I>> {
    // x = m · 2^e with e >= 0.
    let bits = x.get().to_bits();
    let biased = bits >> 23 & 0xff;
    let e = biased.saturating_sub(127);
    let m = F64Lane::<I>::new(f64::from(f32::from_bits(bits.wrapping_sub(e << 23))));
    let turns = TURNS_F32[(e & 127) as usize];
    let p = whole_turns_off(m * F64Lane::new(turns[0]));
    let q = m * F64Lane::new(turns[1]);
    let n = (p + q).round_small();
    narrow(n, ((p - n) + q) * F64Lane::c(FRAC_PI_2))
}

/// p modulo 4, in [-2, 2], exactly; |p| < 2^52.
#[inline(always)]
fn whole_turns_off<I: Isa>(p: F64Lane<I>) -> F64Lane<I> {
    (p * F64Lane::c(0.25))
        .round_small()
        .mul_add(F64Lane::c(-4.0), p)
}

#[inline(always)]
pub(super) fn full_f64<I: Isa>(x: F64Lane<I>) -> Reduced<F64Lane<I>> {
    let bits = x.get().to_bits();
    let biased = bits >> 52 & 0x7ff;
    let e = biased.saturating_sub(1023);
    let m = F64Lane::<I>::new(f64::from_bits(bits.wrapping_sub(e << 52)));
    let turns = TURNS_F64[(e & 1023) as usize];
    let (p, p_low) = two_prod(m, F64Lane::new(turns[0]));
    let (q, q_low) = two_prod(m, F64Lane::new(turns[1]));
    let (u, u_low) = two_prod(m, F64Lane::new(turns[2]));
    let v = m * F64Lane::new(turns[3]);
    // Modulo 16 first: that rounding takes numbers up to 2^55.
    let magic = F64Lane::c(1.5 * 72_057_594_037_927_936.0);
    let p = whole_turns_off(p - ((p + magic) - magic));
    // Both terms are multiples of 2^-51, and the sum is at most 4: exact.
    let p = p + p_low;
    let (s, e1) = two_sum(p, q);
    let n = s.round_small();
    let (t, e2) = two_sum(q_low, u);
    let (t, e3) = two_sum(t, e1);
    let (f, e4) = two_sum(s - n, t);
    let (f, low) = fast_two_sum(f, e4 + ((e2 + e3) + (u_low + v)));
    let half_pi = F64Lane::c(FRAC_PI_2);
    let (r, r_low) = two_prod(f, half_pi);
    let low = low.mul_add(half_pi, f.mul_add(F64Lane::c(HALF_PI_LOW), r_low));
    (n + F64Lane::c(F64Lane::<I>::MAGIC), r, low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Baseline;

    #[test]
    fn the_tables_hold_two_over_pi() {
        assert_eq!(TURNS_F32[0].iter().sum::<f64>(), FRAC_2_PI);
        assert_eq!(TURNS_F64[0].iter().sum::<f64>(), FRAC_2_PI);
        assert_eq!(TURNS_F32[20].iter().sum::<f64>(), FRAC_2_PI * 1_048_576.0);
        assert_eq!(TURNS_F64[20].iter().sum::<f64>(), FRAC_2_PI * 1_048_576.0);
    }

    #[test]
    fn the_two_ways_agree() {
        for i in 1..2000 {
            let x = f64::from(i) * 1.37 * if i % 2 == 0 { 1.0 } else { -323.0 };
            let (n, r, low) = bounded_f64(F64Lane::<Baseline>::new(x));
            let (m, s, s_low) = full_f64(F64Lane::<Baseline>::new(x));
            // Whole turns are left out of one of the numbers of quarter turns.
            assert_eq!((n.get() - m.get()).rem_euclid(4.0), 0.0, "{x}");
            let difference = (r.get() - s.get()) + (low.get() - s_low.get());
            assert!(difference.abs() <= 1e-31, "{x}: {difference}");
        }
    }
}
