//! The scalar language of kernels.
//!
//! A kernel body is written on [`Lane`] values as if on one number; compiled inside [`crate::simd::dispatch`] the loop
//! around it becomes vector code. Everything here is branch-free (comparisons become selects) and `#[inline(always)]`.

use crate::Real;
use crate::simd::Isa;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

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
    /// Wraps an element.
    fn new(x: Self::Elem) -> Self;
    /// Unwraps it.
    fn get(self) -> Self::Elem;
    /// A constant, rounded to the element type.
    fn c(x: f64) -> Self;
    /// `self * a + b`; one rounding where the instruction set has a fused multiply-add, two elsewhere.
    fn mul_add(self, a: Self, b: Self) -> Self;
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
    /// Inverse of erf.
    fn erfinv(self) -> Self;
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

macro_rules! lane {
    ($name:ident, $t:ty) => {
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
            lane!(@std abs sqrt floor ceil trunc exp exp2 ln log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh
                acosh atanh cbrt);
            #[inline(always)]
            fn round(self) -> Self {
                Self::new(self.0.round_ties_even())
            }
            #[inline(always)]
            fn copysign(self, s: Self) -> Self {
                Self::new(self.0.copysign(s.0))
            }
            #[inline(always)]
            fn expm1(self) -> Self {
                Self::new(self.0.exp_m1())
            }
            #[inline(always)]
            fn log1p(self) -> Self {
                Self::new(self.0.ln_1p())
            }
            #[inline(always)]
            fn atan2(self, x: Self) -> Self {
                Self::new(self.0.atan2(x.0))
            }
            #[inline(always)]
            fn sigmoid(self) -> Self {
                Self::c(1.0) / (Self::c(1.0) + (-self).exp())
            }
            #[inline(always)]
            fn erf(self) -> Self {
                self
            }
            #[inline(always)]
            fn erfc(self) -> Self {
                self
            }
            #[inline(always)]
            fn erfinv(self) -> Self {
                self
            }
            #[inline(always)]
            fn lgamma(self) -> Self {
                self
            }
            #[inline(always)]
            fn digamma(self) -> Self {
                self
            }
            #[inline(always)]
            fn polygamma(self, _n: u32) -> Self {
                self
            }
            #[inline(always)]
            fn pow(self, y: Self) -> Self {
                Self::new(self.0.powf(y.0))
            }
            #[inline(always)]
            fn hypot(self, y: Self) -> Self {
                Self::new(self.0.hypot(y.0))
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
    (@std $($f:ident)*) => {$(
        #[inline(always)]
        fn $f(self) -> Self {
            Self::new(self.0.$f())
        }
    )*};
}

lane!(F32Lane, f32);
lane!(F64Lane, f64);
