//! The scalar language of kernels.
//!
//! A kernel body is written on [`Lane`] values as if on one number; compiled inside [`crate::simd::dispatch`] the loop
//! around it becomes vector code. Everything here is branch-free (comparisons become selects) and `#[inline(always)]`.
//!
//! # Accuracy
//!
//! The functions are our own: argument reduction, a polynomial fitted by `tools/fit_lane.py`, reconstruction, the same
//! formulas on every instruction set. Results differ between instruction sets in the last bits, because a fused
//! multiply-add rounds once. The largest error in units in the last place, over all instruction sets; a test holds the
//! functions to this table, on a dense sweep of all f32 and on a table of proved values for f64:
//!
//! | function | f32 | f64 |
//! |---|---|---|
//! | `exp` | 1.3 | 1.3 |
//! | `exp_pieces` | 1.3 | 0.7 |
//! | `exp2` | 1.3 | 1.2 |
//! | `expm1` | 1.4 | 1.2 |
//! | `ln` | 1 | 1 |
//! | `ln_pieces` | 1 | 1 |
//! | `log2` | 1.3 | 1.2 |
//! | `log2_pieces` | 1.3 | 0.9 |
//! | `log10` | 1.3 | 1.2 |
//! | `log10_pieces` | 1.3 | 0.9 |
//! | `log1p` | 1.1 | 1 |
//! | `tanh` | 2 | 1.9 |
//! | `tanh_pieces` | 1.9 | 1.9 |
//! | `sigmoid` | 1.9 | 1.8 |
//! | `erf` | 2 | 1.8 |
//! | `erfc` | 1.9 | 1.7 |
//! | `erfc_pieces` | 1.9 | 1.3 |
//! | `sinh` | 1 | 1 |
//! | `cosh` | 1 | 1 |
//! | `asinh` | 1.4 | 1.3 |
//! | `acosh` | 1.3 | 1.3 |
//! | `atanh` | 1 | 1 |
//! | `cbrt` | 0.6 | 0.6 |
//! | `pow` | 1 | 1 |
//! | `sin` | 1.7 | 1 |
//! | `sin_pieces` | 1.7 | 0.8 |
//! | `cos` | 1.7 | 1 |
//! | `cos_pieces` | 1.7 | 0.8 |
//! | `tan` | 1.7 | 1.2 |
//! | `sin_bounded` | 1.7 | 1 |
//! | `cos_bounded` | 1.7 | 1 |
//! | `tan_bounded` | 1.7 | 1.2 |
//! | `asin` | 1.7 | 1.6 |
//! | `asin_pieces` | 1.7 | 1.4 |
//! | `acos` | 1.2 | 1.2 |
//! | `acos_pieces` | 1.2 | 1.1 |
//! | `atan` | 1.8 | 1.6 |
//! | `atan2` | 1.9 | 1.9 |
//! | `hypot` | 1 | 1 |
//! | `gelu` | 3.7 | 2 |
//! | `gelu_pieces` | 3.2 | 2 |
//! | `silu` | 2.7 | 2.6 |
//! | `softplus` | 1.9 | 1.9 |
//! | `mish` | 4.1 | 4.1 |
//! | `erfinv` | 1.7 | 1.6 |
//! | `erfinv_pieces` | 1.7 | 1.4 |
//! | `lgamma` | 0.6 | 1 |
//! | `lgamma` for x < 0 | 0.6 | 1 |
//! | `digamma` | 0.6 | 1.4 |
//! | `digamma` for x < 0 | 0.6 | 2.4 |
//! | `polygamma1` | 0.6 | 1.8 |
//! | `polygamma1` for x < 0 | 0.6 | 1.7 |
//! | `polygamma2` | 0.6 | 2 |
//! | `polygamma2` for x < 0 | 0.6 | 9.3 |
//! | `polygamma3` | 0.6 | 2.6 |
//! | `polygamma3` for x < 0 | 0.6 | 3.8 |
//! | `polygamma10` | 0.6 | 7.3 |
//! | `polygamma10` for x < 0 | 0.6 | 7.8 |
//!
//! `SWEEP=1 cargo test -p wengert-tensor --test lane_accuracy f32_on -- --nocapture` looks at every f32, half a minute to two minutes
//! for a function on two processors (`ONLY=gelu,tanh` chooses some).
//!
//! The functions of the gamma family have zeros and poles between negative integers, where they are ill-conditioned: there
//! the unit is the last place of the larger of |f(x)| and 1, which bounds the absolute error near a zero (in f32, where the
//! arguments are widened, it is that of the result everywhere but for `lgamma`). `polygammaN` is the derivative of order N of digamma.
//!
//! `silu` and `mish` are x times a number that is subnormal far below 0 (-87 in f32, -708 in f64): there the unit is |x| times the
//! smallest subnormal number, if that is larger.
//!
//! `gelu_pieces`, `exp_pieces` and so on are `gelu` and `exp` as elementwise programs compute them with AVX-512: see
//! [`Pieces`](crate::fused::Pieces), [`OddPieces`](crate::fused::OddPieces), [`Octaves`](crate::fused::Octaves) and
//! [`Doubles`](crate::fused::Doubles).
//!
//! Subnormal arguments and results are not flushed, odd functions keep the sign of zero, ±∞ give the limits, NaN
//! stays NaN, and arguments outside of the domain give NaN.

mod coefficients;
mod erf;
mod exp;
mod gamma;
mod log;
mod ops;
mod power;
mod reduce;
mod round;
mod trig;

pub(crate) use coefficients::{
    ERFC_OCTAVES, GELU_PIECES, GELU_WIDTH, TANH_END, TANH_PIECES, TANH_WIDTH,
};

/// (eʳ - 1 - r) / r² as a polynomial.
pub(crate) const EXP: [f32; 5] = coefficients::f32::EXP;
/// The tail of the inverse sine's series: (asin(√z)/√z - 1) / z.
pub(crate) const ASIN_F64: [f64; 13] = coefficients::f64::ASIN;
pub(crate) use reduce::HALF_PI_F64;
/// ln 2 in two parts, of which the first is short.
pub(crate) const LN2_F32: (f32, f32) = {
    let (high, low) = <F32Lane<Baseline> as Ops>::LN2;
    (high as f32, low as f32)
};

use crate::Real;
use crate::simd::{Baseline, Isa};
use ops::Ops;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Range, Rem, Sub};

/// One element inside a kernel, compiled for one instruction set.
pub trait Lane:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Rem<Output = Self>
    + Neg<Output = Self>
{
    /// The element type.
    type Elem: Real;
    /// Up to this magnitude [`Lane::sin_bounded`] and its kin are right.
    const TRIG_BOUND: f64;
    /// Up to this magnitude [`Lane::erfinv_near`] is right: 1 - x² is above e⁻⁵.
    const ERFINV_BOUND: f64 = 0.996;
    /// Up to this magnitude [`Lane::exp_near`] and [`Lane::sigmoid_near`] are right.
    const EXP_BOUND: f64;
    /// Up to this magnitude [`Lane::gelu_near`] is right.
    const GELU_BOUND: f64;
    /// Whether elementary functions are part of the loop, not calls.
    const INLINE: bool;
    /// The numbers below `n`, for a loop over arrays of so many elements.
    #[inline(always)]
    fn places(n: usize) -> Places<Self> {
        Places(0..if Self::INLINE { n } else { black_box(n) }, PhantomData)
    }
    /// Wraps an element.
    fn new(x: Self::Elem) -> Self;
    /// Unwraps it.
    fn get(self) -> Self::Elem;
    /// A constant, rounded to the element type.
    fn c(x: f64) -> Self;
    /// `self * a + b`; one rounding where the instruction set has a fused multiply-add, two elsewhere.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self / d` for a normal quotient, correctly rounded: without a division where the instruction set has a fused multiply-add
    /// (Markstein 1990). There 0 may lose its sign, and ∞ gives NaN.
    #[inline(always)]
    fn over(self, d: f64) -> Self {
        self / Self::c(d)
    }
    /// Is NaN.
    #[inline(always)]
    fn is_nan(self) -> bool {
        #[allow(clippy::eq_op)]
        {
            self != self
        }
    }
    /// `a` where `cond`, else `b`.
    #[inline(always)]
    fn select(cond: bool, a: Self, b: Self) -> Self {
        if cond { a } else { b }
    }
    /// Larger of two; NaN if either is NaN.
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        Self::select(self.is_nan() | (self > o), self, o)
    }
    /// Smaller of two; NaN if either is NaN.
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        Self::select(self.is_nan() | (self < o), self, o)
    }
    /// |x|.
    fn abs(self) -> Self;
    /// √x, correctly rounded.
    fn sqrt(self) -> Self;
    /// Round towards -∞.
    fn floor(self) -> Self;
    /// Round towards +∞.
    fn ceil(self) -> Self;
    /// Round to nearest, ties to even.
    fn round(self) -> Self;
    /// Round towards zero.
    fn trunc(self) -> Self;
    /// Magnitude of self, sign of `s`.
    fn copysign(self, s: Self) -> Self;
    /// eˣ.
    fn exp(self) -> Self;
    /// 2ˣ.
    fn exp2(self) -> Self;
    /// eˣ - 1.
    fn expm1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Logarithm to base 2.
    fn log2(self) -> Self;
    /// Logarithm to base 10.
    fn log10(self) -> Self;
    /// ln(1 + x).
    fn log1p(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Tangent.
    fn tan(self) -> Self;
    /// As [`Lane::sin`], in a fraction of the time, but only for |x| <= [`Lane::TRIG_BOUND`]; meaningless beyond.
    fn sin_bounded(self) -> Self;
    /// As [`Lane::cos`], in a fraction of the time, but only for |x| <= [`Lane::TRIG_BOUND`]; meaningless beyond.
    fn cos_bounded(self) -> Self;
    /// As [`Lane::tan`], in a fraction of the time, but only for |x| <= [`Lane::TRIG_BOUND`]; meaningless beyond.
    fn tan_bounded(self) -> Self;
    /// Inverse sine.
    fn asin(self) -> Self;
    /// Inverse cosine.
    fn acos(self) -> Self;
    /// Inverse tangent.
    fn atan(self) -> Self;
    /// Angle of the point (x, self).
    fn atan2(self, x: Self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Inverse hyperbolic sine.
    fn asinh(self) -> Self;
    /// Inverse hyperbolic cosine.
    fn acosh(self) -> Self;
    /// Inverse hyperbolic tangent.
    fn atanh(self) -> Self;
    /// 1 / (1 + e⁻ˣ).
    fn sigmoid(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// 1 - erf(x), accurate in the tail.
    fn erfc(self) -> Self;
    /// Φ(x), the probability of a standard normal number below x, and e^(-x²/2); both accurate in the tail.
    fn normal(self) -> (Self, Self);
    /// x Φ(x), accurate in the tail; -0 at -∞.
    fn gelu(self) -> Self;
    /// x σ(x); -0 at -∞.
    #[inline(always)]
    fn silu(self) -> Self {
        Self::select(self < Self::c(-1e30), Self::c(-0.0), self * self.sigmoid())
    }
    /// ln(1 + eˣ), accurate in the tail.
    #[inline(always)]
    fn softplus(self) -> Self {
        self.max(Self::c(0.0)) + (-self.abs()).exp().log1p()
    }
    /// x tanh(ln(1 + eˣ)); -0 at -∞.
    #[inline(always)]
    fn mish(self) -> Self {
        let t = self.softplus().tanh();
        Self::select(t == Self::c(0.0), Self::c(-0.0), self * t)
    }
    /// As [`Lane::ln`], for normal positive numbers below ∞ only; the same bits.
    fn ln_normal(self) -> Self;
    /// As [`Lane::log2`], for normal positive numbers below ∞ only; the same bits.
    fn log2_normal(self) -> Self;
    /// As [`Lane::log10`], for normal positive numbers below ∞ only; the same bits.
    fn log10_normal(self) -> Self;
    /// As [`Lane::exp`], for |x| <= [`Lane::EXP_BOUND`] only; the same bits.
    fn exp_near(self) -> Self;
    /// As [`Lane::sigmoid`], for |x| <= [`Lane::EXP_BOUND`] only; the same bits.
    fn sigmoid_near(self) -> Self;
    /// As [`Lane::silu`], for |x| <= [`Lane::EXP_BOUND`] only; the same bits.
    #[inline(always)]
    fn silu_near(self) -> Self {
        self * self.sigmoid_near()
    }
    /// As [`Lane::gelu`], for |x| <= [`Lane::GELU_BOUND`] only; the same bits.
    fn gelu_near(self) -> Self;
    /// As [`Lane::exp`], for numbers up to 0 (and NaN) only; the same bits.
    fn exp_down(self) -> Self;
    /// Whether [`Lane::ln_normal`], [`Lane::log2_normal`] and [`Lane::log10_normal`] are the logarithms of x.
    fn is_normal(self) -> bool;
    /// Inverse of erf.
    fn erfinv(self) -> Self;
    /// As [`Lane::erfinv`], for |x| <= [`Lane::ERFINV_BOUND`] only; the same bits.
    fn erfinv_near(self) -> Self;
    /// ln |Γ(x)|.
    fn lgamma(self) -> Self;
    /// Derivative of lgamma.
    fn digamma(self) -> Self;
    /// Derivative of order `n >= 1` of digamma.
    fn polygamma(self, n: u32) -> Self;
    /// Cube root.
    fn cbrt(self) -> Self;
    /// selfʸ, with the special cases of IEEE pow.
    fn pow(self, y: Self) -> Self;
    /// √(x² + y²) without overflow on the way.
    fn hypot(self, y: Self) -> Self;
}

/// See [`Lane::places`]. Where functions are calls, the compiler does not see through the numbers: it neither unrolls the loop
/// nor makes vector code with all its cases of it, which is what most of the code would be.
pub struct Places<V>(Range<usize>, PhantomData<V>);

impl<V: Lane> Iterator for Places<V> {
    type Item = usize;
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let k = self.0.next()?;
        Some(if V::INLINE { k } else { black_box(k) })
    }
}

macro_rules! lane {
    ($name:ident, $t:ident, bounds $bound:literal $exp_bound:literal $gelu_bound:expr) => {
        #[doc = concat!("A [`Lane`] of `", stringify!($t), "`.")]
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        #[repr(transparent)]
        pub struct $name<I>($t, PhantomData<I>);

        lane!(@op $name, $t, Add, add, +);
        lane!(@op $name, $t, Sub, sub, -);
        lane!(@op $name, $t, Mul, mul, *);
        lane!(@op $name, $t, Div, div, /);
        lane!(@op $name, $t, Rem, rem, %);

        impl<I: Isa> Neg for $name<I> {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Self(-self.0, PhantomData)
            }
        }

        impl<I: Isa> Lane for $name<I> {
            type Elem = $t;
            const TRIG_BOUND: f64 = $bound;
            // The result is neither subnormal nor infinite.
            const EXP_BOUND: f64 = $exp_bound;
            const GELU_BOUND: f64 = $gelu_bound;
            const INLINE: bool = !I::CALLS;
            #[inline(always)]
            fn new(x: $t) -> Self {
                Self(x, PhantomData)
            }
            #[inline(always)]
            fn get(self) -> $t {
                self.0
            }
            #[inline(always)]
            fn c(x: f64) -> Self {
                Self(x as $t, PhantomData)
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                if I::FMA {
                    Self::new(self.0.mul_add(a.0, b.0))
                } else {
                    self * a + b
                }
            }
            #[inline(always)]
            fn over(self, d: f64) -> Self {
                let inverse = Self::c(1.0 / d);
                if I::FMA {
                    let q = self * inverse;
                    q.mul_add(-Self::c(d), self).mul_add(inverse, q)
                } else {
                    self / Self::c(d)
                }
            }
            lane!(@std abs sqrt);
            lane!(@own $name $t: sin cos tan sin_bounded cos_bounded tan_bounded asin acos atan asinh acosh atanh cbrt
                exp exp_down exp2 expm1 sinh cosh tanh sigmoid erf erfc gelu erfinv lgamma digamma ln log2 log10 log1p);
            lane!(@round floor ceil trunc round);
            #[inline(always)]
            fn copysign(self, s: Self) -> Self {
                Self::new(self.0.copysign(s.0))
            }
            lane!(@own2 $name $t: atan2 pow hypot);
            #[inline(always)]
            fn normal(self) -> (Self, Self) {
                if I::CALLS {
                    #[inline(never)]
                    fn call(x: $t) -> ($t, $t) {
                        let (p, e) = inlined::normal($name::<Baseline>::new(x));
                        (p.get(), e.get())
                    }
                    let (p, e) = call(self.0);
                    (Self::new(p), Self::new(e))
                } else {
                    inlined::normal(self)
                }
            }
            #[inline(always)]
            fn ln_normal(self) -> Self {
                inlined::ln_normal(self)
            }
            #[inline(always)]
            fn log2_normal(self) -> Self {
                inlined::log2_normal(self)
            }
            #[inline(always)]
            fn log10_normal(self) -> Self {
                inlined::log10_normal(self)
            }
            #[inline(always)]
            fn exp_near(self) -> Self {
                inlined::exp_near(self)
            }
            #[inline(always)]
            fn erfinv_near(self) -> Self {
                inlined::erfinv_near(self)
            }
            #[inline(always)]
            fn sigmoid_near(self) -> Self {
                inlined::sigmoid_near(self)
            }
            #[inline(always)]
            fn gelu_near(self) -> Self {
                inlined::gelu_near(self)
            }
            #[inline(always)]
            fn is_normal(self) -> bool {
                (self.0 >= $t::MIN_POSITIVE) & (self.0 <= $t::MAX)
            }
            #[inline(always)]
            fn polygamma(self, n: u32) -> Self {
                if I::CALLS {
                    #[inline(never)]
                    fn call(x: $t, n: u32) -> $t {
                        inlined::polygamma($name::<Baseline>::new(x), n).get()
                    }
                    Self::new(call(self.0, n))
                } else {
                    inlined::polygamma(self, n)
                }
            }
        }
    };
    (@op $name:ident, $t:ty, $tr:ident, $f:ident, $op:tt) => {
        impl<I: Isa> $tr for $name<I> {
            type Output = Self;
            #[inline(always)]
            fn $f(self, o: Self) -> Self {
                Self(self.0 $op o.0, PhantomData)
            }
        }
    };
    (@own $name:ident $t:ty: $($f:ident)*) => {$(
        #[inline(always)]
        fn $f(self) -> Self {
            if I::CALLS {
                #[inline(never)]
                fn call(x: $t) -> $t {
                    inlined::$f($name::<Baseline>::new(x)).get()
                }
                Self::new(call(self.0))
            } else {
                inlined::$f(self)
            }
        }
    )*};
    (@own2 $name:ident $t:ty: $($f:ident)*) => {$(
        #[inline(always)]
        fn $f(self, y: Self) -> Self {
            if I::CALLS {
                #[inline(never)]
                fn call(x: $t, y: $t) -> $t {
                    inlined::$f($name::<Baseline>::new(x), $name::<Baseline>::new(y)).get()
                }
                Self::new(call(self.0, y.0))
            } else {
                inlined::$f(self, y)
            }
        }
    )*};
    (@round $($f:ident)*) => {$(
        #[inline(always)]
        fn $f(self) -> Self {
            round::$f(self)
        }
    )*};
    (@std $($f:ident)*) => {$(
        #[inline(always)]
        fn $f(self) -> Self {
            Self::new(self.0.$f())
        }
    )*};
}

/// The functions where they are part of the loop.
mod inlined {
    pub(super) use super::erf::{erf, erfc, erfinv, erfinv_near, gelu, gelu_near, normal};
    pub(super) use super::exp::{
        cosh, exp, exp_down, exp_near, exp2, expm1, sigmoid, sigmoid_near, sinh, tanh,
    };
    pub(super) use super::log::{
        acosh, asinh, atanh, ln, ln_normal, log1p, log2, log2_normal, log10, log10_normal,
    };
    pub(super) use super::power::{cbrt, hypot, pow};
    use super::trig;
    pub(super) use super::trig::{acos, asin, atan, atan2};
    use super::{Ops, gamma};

    macro_rules! of {
        ($($f:ident $bounded:ident $reduce:ident)*; $($wide:ident)*) => {
            $(
                /// The bits of a result do not depend on which of its neighbours are large.
                #[inline(always)]
                pub(in super::super) fn $f<V: Ops>(x: V) -> V {
                    let bounded = x.abs() <= V::c(V::TRIG_BOUND);
                    let ((n, r, low), (m, s, rest)) = (x.$reduce(), x.reduce_full());
                    let parts = (
                        V::select(bounded, n, m),
                        V::select(bounded, r, s),
                        V::select(bounded, low, rest),
                    );
                    let y = trig::$f(x, parts);
                    V::select(x.abs() < V::c(f64::INFINITY), y, V::c(f64::NAN))
                }
                #[inline(always)]
                pub(in super::super) fn $bounded<V: Ops>(x: V) -> V {
                    trig::$f(x, x.$reduce())
                }
            )*
            $(
                #[inline(always)]
                pub(in super::super) fn $wide<V: Ops>(x: V) -> V {
                    V::from_wide(gamma::$wide(x.wide()))
                }
            )*
        };
    }
    of!(sin sin_bounded reduce_bounded cos cos_bounded reduce_bounded tan tan_bounded reduce_bounded_pair; digamma);

    #[inline(always)]
    pub(super) fn lgamma<V: Ops>(x: V) -> V {
        V::from_wide(if V::SHORT {
            gamma::lgamma_short(x.wide())
        } else {
            gamma::lgamma(x.wide())
        })
    }

    #[inline(always)]
    pub(super) fn polygamma<V: Ops>(x: V, n: u32) -> V {
        V::from_wide(gamma::polygamma(x.wide(), n))
    }
}

lane!(F32Lane, f32, bounds 32768.0 87.0 erf::SHORT_ZERO);
lane!(F64Lane, f64, bounds 1_048_576.0 708.0 erf::NORMAL_ZERO);
