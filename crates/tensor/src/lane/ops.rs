//! What the elementary functions are built from: bit-level steps, error-free sums and products, polynomials.
//!
//! Everything compiles to vector code on every instruction set: integers appear only as additions and constant shifts
//! of the bits of a float, and rounding is done by adding a large constant.

use super::reduce::{self, Reduced};
use super::{F32Lane, F64Lane, Lane, coefficients};
use crate::simd::Isa;

/// The names of the polynomials in [`coefficients`], as associated constants.
macro_rules! tables {
    (declare) => {
        tables! { names declare }
    };
    (define $t:ident) => {
        tables! { names define $t }
    };
    (names $($then:tt)*) => {
        tables! {
            $($then)*:
            EXP EXP_HALF TANH EXP2 LN ERF ERFC_ROOT ERFC SINH SIN COS TAN ATAN ASIN LN_ATANH CBRT ERFINV ERFINV_MID
        }
    };
    (declare: $($name:ident)*) => {
        $(const $name: &'static [Self::Elem];)*
    };
    (define $t:ident: $($name:ident)*) => {
        $(const $name: &'static [$t] = &coefficients::$t::$name;)*
    };
}

/// Steps below the [`Lane`] interface, and the constants that depend on the format.
pub(super) trait Ops: Lane {
    /// The instruction set.
    type Isa: Isa;
    /// Whether `mul_add` rounds once.
    const FMA: bool;
    /// Whether this is f32.
    const SHORT: bool;
    /// 1.5 · 2^(stored bits of the significand): added and subtracted, it rounds to an integer.
    const MAGIC: f64;
    /// Biased exponent of 1.
    const BIAS: f64;
    /// What the exponents of [`Self::split_scaled`] count in.
    const UNIT: f64;
    /// Smallest normal number.
    const TINY: f64;
    /// `MANTISSA + 3` and 2 to minus that power.
    const UNDER: (f64, f64);
    /// ln 2 in two parts; the first has so few bits that its product with any exponent is exact.
    const LN2: (f64, f64);
    /// 1 / ln 2 in two parts.
    const LOG2_E: (f64, f64);
    /// 1 / ln 10 in two parts.
    const LOG10_E: (f64, f64);
    /// log₁₀ 2 in two parts, the first as short as that of [`Self::LN2`].
    const LOG10_2: (f64, f64);
    /// Where eˣ becomes 0 and ∞ (a little beyond).
    const EXP_RANGE: (f64, f64);
    /// π in two parts.
    const PI: (f64, f64);
    /// 2/3 in two parts.
    const TWO_THIRDS: (f64, f64);
    /// Up to here sin x and the like are x.
    const SINE_IS_X: f64;
    /// From here √(x² ± 1) is x.
    const FAR: f64;
    /// Exponents beyond which the power of every number but 1 is 0 or ∞.
    const POWER_RANGE: f64;
    /// Below the first number squares lose bits unless multiplied by the second, above the third they overflow unless
    /// multiplied by the fourth.
    const SQUARE_SCALE: (f64, f64, f64, f64);
    /// Where erf has become 1 and erfc 0.
    const ERF_ONE: f64;
    const ERFC_ZERO: f64;
    // The coefficients of this type.
    tables! { declare }
    /// Empty where the other two reach far enough.
    const ERFINV_FAR: &'static [Self::Elem];
    const ERFC_CENTER: f64;
    const ERFINV_CENTER: f64;
    const ERFINV_MID_CENTER: f64;
    const ERFINV_FAR_CENTER: f64;

    /// As f64, exactly.
    fn wide(self) -> F64Lane<Self::Isa>;
    /// Rounded from f64.
    fn from_wide(x: F64Lane<Self::Isa>) -> Self;
    /// A bit of the integer n (in two's complement) out of `MAGIC + n`, |n| < `MAGIC / 4`.
    fn integer_bit(self, bit: u32) -> bool;
    /// See [`reduce`]; exact for |x| <= [`Lane::TRIG_BOUND`].
    fn reduce_bounded(self) -> Reduced<Self>;
    /// The same, where what does not fit the angle matters.
    fn reduce_bounded_pair(self) -> Reduced<Self>;
    /// See [`reduce`]; for every finite number.
    fn reduce_full(self) -> Reduced<Self>;
    /// Shifts the bits into the exponent: makes 2^k out of `MAGIC + BIAS + k`.
    fn integer_to_exponent(self) -> Self;
    /// self · 2^k out of `MAGIC + k`, where that is normal.
    fn add_to_exponent(self, shifted: Self) -> Self;
    /// `(2^-h, 2^(k - h))` out of `MAGIC + 2 BIAS + k`, with h = k / 2 rounded down.
    fn halve_exponent(self) -> (Self, Self);
    /// `(2^h, 2^(k - h))` out of `MAGIC + 2 BIAS + k`, with h = k / 2 rounded down.
    fn exponent_in_two(self) -> (Self, Self);
    /// The number rounded to half of the bits of its significand.
    fn head(self) -> Self;
    /// `(m, k)` with self = m · 2^k and m in [√½, √2), for normal positive numbers.
    fn split_normal(self) -> (Self, Self);
    /// `(m, k)` with self = m · 2^(k UNIT), else the same, in fewer instructions.
    fn split_scaled(self) -> (Self, Self);
    /// The polynomial with the coefficients `c`, lowest power first.
    #[inline(always)]
    fn poly(self, c: &'static [Self::Elem]) -> Self {
        // Horner's last step keeps the rounding errors of the rest small.
        self.poly_rest(c).mul_add(self, Self::new(c[0]))
    }
    /// `(p - c[0]) / x` for the polynomial p.
    fn poly_rest(self, c: &'static [Self::Elem]) -> Self;
    /// As [`Self::poly`], with the error of the last rounding.
    #[inline(always)]
    fn poly_pair(self, c: &'static [Self::Elem]) -> (Self, Self) {
        fast_two_sum(Self::new(c[0]), self * self.poly_rest(c))
    }
    /// The polynomial with the coefficients `c[first]`, `c[first + STRIDE]`, …, by Horner's rule.
    fn strided<const STRIDE: usize>(self, c: &'static [Self::Elem], first: usize) -> Self;

    /// Rounding by one instruction, where there is one.
    fn round_instruction(self) -> Self;
    fn trunc_instruction(self) -> Self;
    fn floor_instruction(self) -> Self;
    fn ceil_instruction(self) -> Self;

    /// Nearest integer, ties to even, for |x| < `MAGIC` / 4.
    #[inline(always)]
    fn round_small(self) -> Self {
        let magic = Self::c(Self::MAGIC);
        (self + magic) - magic
    }
    /// 2^k for an integral `k` in the range of normal exponents; garbage, possibly NaN, outside.
    #[inline(always)]
    fn pow2(k: Self) -> Self {
        (k + Self::c(Self::MAGIC + Self::BIAS)).integer_to_exponent()
    }
    /// `self · 2^k` with one rounding, for 1/4 < self < 4 and an integral k from two below the smallest subnormal's to
    /// one above the largest finite number's. `up` says that k >= -BIAS / 2, `!up` that k <= BIAS / 2.
    #[inline(always)]
    fn scale(self, k: Self, up: bool) -> Self {
        let magic = Self::MAGIC + Self::BIAS;
        let bias = Self::select(up, Self::c(magic - 1.0), Self::c(magic + Self::UNDER.0));
        let rest = Self::select(up, Self::c(2.0), Self::c(Self::UNDER.1));
        self * (k + bias).integer_to_exponent() * rest
    }
}

/// `(s, e)` with s = a + b rounded and s + e = a + b exactly (Knuth's 2Sum).
#[inline(always)]
pub(super) fn two_sum<T: Ops>(a: T, b: T) -> (T, T) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// As [`two_sum`], for |a| >= |b| or a = 0 (Dekker's Fast2Sum).
#[inline(always)]
pub(super) fn fast_two_sum<T: Ops>(a: T, b: T) -> (T, T) {
    let s = a + b;
    (s, b - (s - a))
}

/// `(p, e)` with p = a · b rounded and p + e = a · b exactly, barring overflow and underflow.
#[inline(always)]
pub(super) fn two_prod<T: Ops>(a: T, b: T) -> (T, T) {
    let p = a * b;
    if T::FMA {
        (p, a.mul_add(b, -p))
    } else {
        let (ah, bh) = (a.head(), b.head());
        let (al, bl) = (a - ah, b - bh);
        (p, ((ah * bh - p) + ah * bl + al * bh) + al * bl)
    }
}

/// a · b + c with an error of little more than one rounding of the result, where |c| is far below |a · b|.
#[inline(always)]
pub(super) fn product_plus<T: Ops>(a: T, b: T, c: T) -> T {
    if T::FMA {
        a.mul_add(b, c)
    } else {
        let (p, e) = two_prod(a, b);
        p + (e + c)
    }
}

macro_rules! ops {
    ($lane:ident, $t:ident, $bits:ident $signed:ident, $mantissa:literal, $bias:literal, $under:literal,
     reduce $bounded:ident $pair:ident $full:ident, $($name:ident: $type:ty = $value:expr;)*) => {
        impl<I: Isa> Ops for $lane<I> {
            type Isa = I;
            const FMA: bool = I::FMA;
            const SHORT: bool = $mantissa < 30;
            const MAGIC: f64 = 1.5 * (1u64 << $mantissa) as f64;
            const BIAS: f64 = $bias as f64;
            // f64 has no instruction for whole numbers everywhere.
            const UNIT: f64 = if Self::SHORT { power_of_2(-$mantissa) } else { 1.0 };
            const TINY: f64 = $t::MIN_POSITIVE as f64;
            const UNDER: (f64, f64) = ($under as f64, 1.0 / (1u64 << $under) as f64);
            $(const $name: $type = $value;)*
            tables! { define $t }
            const ERFC_CENTER: f64 = coefficients::$t::ERFC_CENTER as f64;
            const ERFINV_CENTER: f64 = coefficients::$t::ERFINV_CENTER as f64;
            const ERFINV_MID_CENTER: f64 = coefficients::$t::ERFINV_MID_CENTER as f64;
            const ERFINV_FAR_CENTER: f64 = coefficients::$t::ERFINV_FAR_CENTER as f64;

            #[inline(always)]
            fn round_instruction(self) -> Self {
                Self::new(self.get().round_ties_even())
            }
            #[inline(always)]
            fn trunc_instruction(self) -> Self {
                Self::new(self.get().trunc())
            }
            #[inline(always)]
            fn floor_instruction(self) -> Self {
                Self::new(self.get().floor())
            }
            #[inline(always)]
            fn ceil_instruction(self) -> Self {
                Self::new(self.get().ceil())
            }
            #[inline(always)]
            fn wide(self) -> F64Lane<I> {
                F64Lane::new(f64::from(self.get()))
            }
            #[inline(always)]
            fn from_wide(x: F64Lane<I>) -> Self {
                Self::new(x.get() as $t)
            }
            #[inline(always)]
            fn integer_bit(self, bit: u32) -> bool {
                self.get().to_bits() >> bit & 1 == 1
            }
            #[inline(always)]
            fn reduce_bounded(self) -> Reduced<Self> {
                reduce::$bounded(self)
            }
            #[inline(always)]
            fn reduce_bounded_pair(self) -> Reduced<Self> {
                reduce::$pair(self)
            }
            #[inline(always)]
            fn reduce_full(self) -> Reduced<Self> {
                reduce::$full(self)
            }
            #[inline(always)]
            fn integer_to_exponent(self) -> Self {
                Self::new($t::from_bits(self.get().to_bits() << $mantissa))
            }
            #[inline(always)]
            fn add_to_exponent(self, shifted: Self) -> Self {
                let power = shifted.get().to_bits() << $mantissa;
                Self::new($t::from_bits(self.get().to_bits().wrapping_add(power)))
            }
            #[inline(always)]
            fn halve_exponent(self) -> (Self, Self) {
                const TWICE_BIAS: $bits = 2 * $bias;
                let bits = self.get().to_bits();
                let half = bits >> 1;
                let minus = TWICE_BIAS.wrapping_sub(half);
                (
                    Self::new($t::from_bits(minus << $mantissa)),
                    Self::new($t::from_bits(bits.wrapping_sub(half) << $mantissa)),
                )
            }
            #[inline(always)]
            fn exponent_in_two(self) -> (Self, Self) {
                let bits = self.get().to_bits();
                let half = bits >> 1;
                (
                    Self::new($t::from_bits(half << $mantissa)),
                    Self::new($t::from_bits(bits.wrapping_sub(half) << $mantissa)),
                )
            }
            #[inline(always)]
            fn head(self) -> Self {
                // To the nearest, so that both parts have at most half of the bits.
                const CUT: u32 = $mantissa / 2 + 1;
                let bits = self.get().to_bits().wrapping_add(1 << (CUT - 1));
                Self::new($t::from_bits(bits >> CUT << CUT))
            }
            #[inline(always)]
            fn split_normal(self) -> (Self, Self) {
                const ROOT: $t = std::f64::consts::FRAC_1_SQRT_2 as $t;
                const WHOLE: $t = (1u64 << $mantissa) as $t;
                let bits = self
                    .get()
                    .to_bits()
                    .wrapping_add((1.0 as $t).to_bits() - ROOT.to_bits());
                let m = $t::from_bits((bits & ((1 << $mantissa) - 1)).wrapping_add(ROOT.to_bits()));
                let k =
                    $t::from_bits((bits >> $mantissa) | WHOLE.to_bits()) - (WHOLE + $bias as $t);
                (Self::new(m), Self::new(k))
            }
            #[inline(always)]
            fn split_scaled(self) -> (Self, Self) {
                const ROOT: $t = std::f64::consts::FRAC_1_SQRT_2 as $t;
                if !Self::SHORT {
                    return self.split_normal();
                }
                // The exponent, left where it is, as a whole number.
                let bits = self.get().to_bits();
                let exponent = bits.wrapping_sub(ROOT.to_bits()) >> $mantissa << $mantissa;
                let m = $t::from_bits(bits.wrapping_sub(exponent));
                (Self::new(m), Self::new(exponent as $signed as $t))
            }
            #[inline(always)]
            fn poly_rest(self, c: &'static [$t]) -> Self {
                // As 1, 2 or 4 interleaved polynomials, for the latency.
                let x = self;
                let x2 = x * x;
                match c.len() {
                    0..=6 => x.strided::<1>(c, 1),
                    7..=12 => x2.strided::<2>(c, 2).mul_add(x, x2.strided::<2>(c, 1)),
                    _ => {
                        let x4 = x2 * x2;
                        let low = x4.strided::<4>(c, 2).mul_add(x, x4.strided::<4>(c, 1));
                        let high = x4.strided::<4>(c, 4).mul_add(x, x4.strided::<4>(c, 3));
                        high.mul_add(x2, low)
                    }
                }
            }
            #[inline(always)]
            fn strided<const STRIDE: usize>(self, c: &'static [$t], first: usize) -> Self {
                let mut i = first + (c.len() - 1 - first) / STRIDE * STRIDE;
                let mut y = Self::new(c[i]);
                while i > first {
                    i -= STRIDE;
                    y = y.mul_add(self, Self::new(c[i]));
                }
                y
            }
        }
    };
}

ops! {
    F32Lane, f32, u32 i32, 23, 127, 26, reduce bounded_f32 bounded_pair_f32 full_f32,
    LN2: (f64, f64) = (0.693_145_751_953_125, 1.428_606_820_309_417_3e-6);
    LOG2_E: (f64, f64) = (1.442_695_021_629_333_5, 1.925_962_991_126_617_5e-8);
    LOG10_E: (f64, f64) = (0.434_294_492_006_301_9, -1.010_305_005_223_168_3e-8);
    LOG10_2: (f64, f64) = (0.301_033_020_019_531_25, -3.024_355_550_054_786_2e-6);
    PI: (f64, f64) = (3.141_592_741_012_573_2, -8.742_277_657_347_586e-8);
    TWO_THIRDS: (f64, f64) = (0.666_666_686_534_881_6, -1.986_821_492_513_020_7e-8);
    EXP_RANGE: (f64, f64) = (-104.0, 89.0);
    ERF_ONE: f64 = 4.0;
    ERFC_ZERO: f64 = 10.19;
    ERFINV_FAR: &'static [f32] = &[];
    SINE_IS_X: f64 = 1.0 / (1u64 << 13) as f64;
    FAR: f64 = (1u64 << 28) as f64;
    POWER_RANGE: f64 = (1u64 << 40) as f64;
    SQUARE_SCALE: (f64, f64, f64, f64) = (power_of_2(-40), power_of_2(100), power_of_2(60), power_of_2(-70));
}
ops! {
    F64Lane, f64, u64 i64, 52, 1023, 55, reduce bounded_f64 bounded_f64 full_f64,
    LN2: (f64, f64) = (0.693_147_180_560_117_7, -1.723_944_452_561_483_5e-13);
    LOG2_E: (f64, f64) = (std::f64::consts::LOG2_E, 2.035_527_374_093_103_3e-17);
    LOG10_E: (f64, f64) = (std::f64::consts::LOG10_E, 1.098_319_650_216_765e-17);
    LOG10_2: (f64, f64) = (0.301_029_995_664_066_5, -8.532_344_317_057_107e-14);
    PI: (f64, f64) = (std::f64::consts::PI, 1.224_646_799_147_353_2e-16);
    TWO_THIRDS: (f64, f64) = (0.666_666_666_666_666_6, 3.700_743_415_417_188e-17);
    EXP_RANGE: (f64, f64) = (-746.0, 710.0);
    ERF_ONE: f64 = 6.0;
    ERFC_ZERO: f64 = 27.3;
    ERFINV_FAR: &'static [f64] = &coefficients::f64::ERFINV_FAR;
    SINE_IS_X: f64 = 1.0 / (1u64 << 27) as f64;
    FAR: f64 = (1u64 << 60) as f64;
    POWER_RANGE: f64 = power_of_2(80);
    SQUARE_SCALE: (f64, f64, f64, f64) = (power_of_2(-400), power_of_2(700), power_of_2(500), power_of_2(-600));
}

/// 2^k.
const fn power_of_2(k: i32) -> f64 {
    f64::from_bits(((1023 + k) as u64) << 52)
}
