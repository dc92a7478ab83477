//! Elementary functions in double precision from tables of 16 numbers, which two registers of AVX-512 hold: looking one up takes
//! one instruction, and on short pieces short polynomials are exact enough.

use super::ElemFn;
use super::kernel::own_loop;
use crate::Real;
use crate::lane::{F64Lane, Lane};
use crate::simd::{Avx512, Isa};

#[cfg(target_arch = "x86_64")]
mod asin;
#[cfg(target_arch = "x86_64")]
mod exp;
#[cfg(target_arch = "x86_64")]
mod logs;
#[cfg(target_arch = "x86_64")]
mod pieces;
#[cfg(target_arch = "x86_64")]
mod tables;
#[cfg(target_arch = "x86_64")]
mod trig;

/// A function of one f64 with a loop of its own for AVX-512.
pub enum Doubles {
    /// eˣ.
    Exp,
    /// The natural logarithm.
    Ln,
    /// The logarithm to base 2.
    Log2,
    /// The logarithm to base 10.
    Log10,
    /// The complementary error function.
    Erfc,
    /// x Φ(x).
    Gelu,
    /// The inverse of the error function.
    Erfinv,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The inverse of the sine.
    Asin,
    /// The inverse of the cosine.
    Acos,
}

impl Doubles {
    /// The function of every element; `false`, and nothing done, for other types and instruction sets than f64 and AVX-512. The
    /// bits of an element do not depend on its neighbours.
    #[inline(always)]
    pub fn fill<F: ElemFn, T: Real, I: Isa>(&self, dst: &mut [T], x: &[T]) -> bool {
        own_loop!(T, I, dst, x, |to: *mut f64, from, n| match self {
            Doubles::Exp => exp::exp(to, from, n),
            Doubles::Ln => logs::ln(to, from, n),
            Doubles::Log2 => logs::log2(to, from, n),
            Doubles::Log10 => logs::log10(to, from, n),
            Doubles::Erfc => pieces::erfc::<F>(to, from, n),
            Doubles::Gelu => pieces::gelu::<F>(to, from, n),
            Doubles::Erfinv => pieces::erfinv::<F>(to, from, n),
            Doubles::Sin => trig::sin::<F>(to, from, n),
            Doubles::Cos => trig::cos::<F>(to, from, n),
            Doubles::Asin => asin::asin(to, from, n),
            Doubles::Acos => asin::acos(to, from, n),
        })
    }
}

/// 3 · 2⁵¹, beside which a number is an integer in its last bits.
#[cfg(target_arch = "x86_64")]
const INTEGER: f64 = 6_755_399_441_055_744.0;

/// Numbers that two registers hold.
#[cfg(target_arch = "x86_64")]
#[repr(align(64))]
struct Row([f64; 16]);

/// The number of a [`Row`] that the last four bits of each element of an index say.
#[cfg(target_arch = "x86_64")]
macro_rules! at {
    ($row:expr, $index:expr) => {{
        // SAFETY: a row has 16 aligned numbers.
        let half = |h: usize| unsafe { _mm512_load_pd($row.0.as_ptr().add(8 * h)) };
        _mm512_permutex2var_pd(half(0), $index, half(1))
    }};
}

/// The polynomial with these coefficients, the lowest power first, by Horner's rule.
#[cfg(target_arch = "x86_64")]
macro_rules! polynomial {
    ($c:expr, $x:expr) => {{
        let c = $c;
        let mut i = c.len() - 1;
        let mut y = _mm512_set1_pd(c[i]);
        while i > 0 {
            i -= 1;
            y = _mm512_fmadd_pd(y, $x, _mm512_set1_pd(c[i]));
        }
        y
    }};
}

/// `$dst` becomes `$value` of `$x`, `$n` elements each.
#[cfg(target_arch = "x86_64")]
macro_rules! each {
    ($dst:ident, $x:ident, $n:ident, $value:ident) => {
        let mut i = 0;
        // SAFETY: loads and stores are below `n` or masked so.
        unsafe {
            while i + 8 <= $n {
                _mm512_storeu_pd($dst.add(i), $value(_mm512_loadu_pd($x.add(i))));
                i += 8;
            }
            if i < $n {
                let there = !0u8 >> (8 - ($n - i));
                let y = $value(_mm512_maskz_loadu_pd(there, $x.add(i)));
                _mm512_mask_storeu_pd($dst.add(i), there, y);
            }
        }
    };
}

/// A function that `$value` gives up to the magnitude `$bound`, and for NaN, and `F` beyond.
#[cfg(target_arch = "x86_64")]
macro_rules! each_near {
    ($name:ident, to $bound:expr, |$x:ident| $value:expr) => {
        /// # Safety
        /// `dst` and `x` hold `n` elements, and AVX-512 is available.
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
        pub(super) unsafe fn $name<F: ElemFn>(dst: *mut f64, x: *const f64, n: usize) {
            let value = |$x: __m512d| $value;
            let beyond = |x: __m512d| {
                _mm512_cmp_pd_mask::<_CMP_GT_OQ>(_mm512_abs_pd(x), _mm512_set1_pd($bound))
            };
            let larger = |x, y| _mm512_range_pd::<0b1011>(x, y);
            let mut i = 0;
            // SAFETY: loads and stores are below `n` or masked so.
            unsafe {
                while i < n {
                    let (dst, x, len) = (dst.add(i), x.add(i), n - i);
                    if len >= 32 {
                        let at = |k: usize| _mm512_loadu_pd(x.add(8 * k));
                        let v = [at(0), at(1), at(2), at(3)];
                        if beyond(larger(larger(v[0], v[1]), larger(v[2], v[3]))) == 0 {
                            for k in 0..4 {
                                _mm512_storeu_pd(dst.add(8 * k), value(v[k]));
                            }
                            i += 32;
                            continue;
                        }
                    }
                    let there = !0u8 >> (8 - len.min(8));
                    let v = _mm512_maskz_loadu_pd(there, x);
                    let far = beyond(v);
                    if far == !0 {
                        let mut all = 8;
                        while all + 8 <= len && beyond(_mm512_loadu_pd(x.add(all))) == !0 {
                            all += 8;
                        }
                        super::others::<F>(dst, x, all);
                        i += all;
                        continue;
                    }
                    let mut y = value(v);
                    if far != 0 {
                        let (mut other, mut from) = ([0.0; 8], [0.0; 8]);
                        _mm512_storeu_pd(from.as_mut_ptr(), v);
                        super::others::<F>(other.as_mut_ptr(), from.as_ptr(), 8);
                        y = _mm512_mask_loadu_pd(y, far, other.as_ptr());
                    }
                    _mm512_mask_storeu_pd(dst, there, y);
                    i += 8;
                }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
use {at, each, each_near, polynomial};

#[cfg(target_arch = "x86_64")]
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
