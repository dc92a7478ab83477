//! Square roots by two units of the processor: the instruction for roots works beside the units for products.

use super::ElemFn;
use super::kernel::own_loop;
use crate::Real;
use crate::simd::Isa;

/// √x, correctly rounded: of three registers one by the instruction, two by products. In double precision these are looked at once
/// more, and made by the instruction if one of them may be rounded wrongly.
pub struct Roots;

/// √x.
pub static ROOTS: Roots = Roots;

impl Roots {
    /// `dst = √x`; `false`, and nothing done, for other instruction sets than AVX-512.
    #[inline(always)]
    pub fn fill<F: ElemFn, T: Real, I: Isa>(&self, dst: &mut [T], x: &[T]) -> bool {
        own_loop!(T, I, dst, x, |to: *mut f32, from, n| x86::run(to, from, n))
            || own_loop!(T, I, dst, x, |to: *mut f64, from, n| x86::run_f64(
                to, from, n
            ))
    }
}

/// √x and half its inverse from an inverse of 14 bits, by steps that double the bits (Goldschmidt 1964).
#[cfg(target_arch = "x86_64")]
macro_rules! roots {
    ($x:expr, $inverse:expr) => {{
        let (x, y, half) = ($x, $inverse, _mm512_set1_pd(0.5));
        let (s, h) = (_mm512_mul_pd(x, y), _mm512_mul_pd(y, half));
        let e = _mm512_fnmadd_pd(s, h, half);
        let (s, h) = (_mm512_fmadd_pd(s, e, s), _mm512_fmadd_pd(h, e, h));
        let e = _mm512_fnmadd_pd(s, h, half);
        (_mm512_fmadd_pd(s, e, s), _mm512_fmadd_pd(h, e, h))
    }};
}
#[cfg(target_arch = "x86_64")]
pub(super) use roots;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Elements of a register.
    const N: usize = 16;
    /// What the products take: from here to infinity nothing on the way is subnormal.
    const LEAST: f32 = 1.0 / (1u128 << 70) as f32;

    /// # Safety
    /// `dst` and `x` hold `n` elements, and AVX-512 is available.
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
    pub(super) unsafe fn run(dst: *mut f32, x: *const f32, n: usize) {
        // SAFETY: loads and stores are below `n` or masked so, and the caller vouches for the instruction set.
        unsafe {
            let least = _mm512_set1_epi32(LEAST.to_bits() as i32);
            let many = _mm512_set1_epi32((f32::INFINITY.to_bits() - LEAST.to_bits()) as i32);
            let is_near = |x: __m512| {
                let above = _mm512_sub_epi32(_mm512_castps_si512(x), least);
                _mm512_cmplt_epu32_mask(above, many)
            };
            let half = _mm512_set1_ps(0.5);
            let by_products = |x: __m512| {
                // 1 / √x to 14 bits, then both roots by a step of order 2 (Goldschmidt 1964).
                let y = _mm512_rsqrt14_ps(x);
                let (s, h) = (_mm512_mul_ps(x, y), _mm512_mul_ps(y, half));
                let e = _mm512_fnmadd_ps(s, h, half);
                let (s, h) = (_mm512_fmadd_ps(s, e, s), _mm512_fmadd_ps(h, e, h));
                // What is missing is known exactly, so the last rounding is the only one (Markstein 1990).
                _mm512_fmadd_ps(_mm512_fnmadd_ps(s, s, x), h, s)
            };
            let mut i = 0;
            while i + 3 * N <= n {
                let (dst, x) = (dst.add(i), x.add(i));
                let v = [
                    _mm512_loadu_ps(x),
                    _mm512_loadu_ps(x.add(N)),
                    _mm512_loadu_ps(x.add(2 * N)),
                ];
                _mm512_storeu_ps(dst, _mm512_sqrt_ps(v[0]));
                let (a, b) = if is_near(v[1]) & is_near(v[2]) == !0 {
                    (by_products(v[1]), by_products(v[2]))
                } else {
                    (_mm512_sqrt_ps(v[1]), _mm512_sqrt_ps(v[2]))
                };
                _mm512_storeu_ps(dst.add(N), a);
                _mm512_storeu_ps(dst.add(2 * N), b);
                i += 3 * N;
            }
            while i < n {
                let there = (!0u32 >> (32 - (n - i).min(N))) as __mmask16;
                let x = _mm512_maskz_loadu_ps(there, x.add(i));
                _mm512_mask_storeu_ps(dst.add(i), there, _mm512_sqrt_ps(x));
                i += N;
            }
        }
    }

    /// Elements of a register of f64.
    const N_F64: usize = 8;
    /// As [`LEAST`]: the remainder of a root from here on is no subnormal number.
    const LEAST_F64: u64 = (1023 - 800) << 52;

    /// # Safety
    /// As for [`run`].
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
    pub(super) unsafe fn run_f64(dst: *mut f64, x: *const f64, n: usize) {
        const N: usize = N_F64;
        // SAFETY: loads and stores are below `n` or masked so, and the caller vouches for the instruction set.
        unsafe {
            let least = _mm512_set1_epi64(LEAST_F64 as i64);
            let many = _mm512_set1_epi64((f64::INFINITY.to_bits() - LEAST_F64) as i64);
            let is_near = |x: __m512d| {
                let above = _mm512_sub_epi64(_mm512_castpd_si512(x), least);
                _mm512_cmplt_epu64_mask(above, many)
            };
            let exponent = _mm512_set1_pd(f64::INFINITY);
            // An ulp of 1, less what rounding may add.
            let ulp = _mm512_set1_pd(f64::EPSILON * (1.0 - 1.0 / (1u64 << 48) as f64));
            // The root, and where it is surely rounded correctly: it is so if x - s² is below s · ulp(s), and then that is exact.
            let by_products = |x: __m512d| {
                let (s, h) = roots!(x, _mm512_rsqrt14_pd(x));
                let s = _mm512_fmadd_pd(_mm512_fnmadd_pd(s, s, x), h, s);
                let rest = _mm512_abs_pd(_mm512_fnmadd_pd(s, s, x));
                let power = _mm512_and_pd(s, exponent);
                let most = _mm512_mul_pd(_mm512_mul_pd(s, ulp), power);
                (s, _mm512_cmp_pd_mask::<_CMP_LT_OQ>(rest, most))
            };
            let mut i = 0;
            while i + 3 * N <= n {
                let (dst, x) = (dst.add(i), x.add(i));
                let v = [
                    _mm512_loadu_pd(x),
                    _mm512_loadu_pd(x.add(N)),
                    _mm512_loadu_pd(x.add(2 * N)),
                ];
                _mm512_storeu_pd(dst, _mm512_sqrt_pd(v[0]));
                let ((mut a, sure_a), (mut b, sure_b)) = (by_products(v[1]), by_products(v[2]));
                if is_near(v[1]) & is_near(v[2]) & sure_a & sure_b != !0 {
                    (a, b) = (_mm512_sqrt_pd(v[1]), _mm512_sqrt_pd(v[2]));
                }
                _mm512_storeu_pd(dst.add(N), a);
                _mm512_storeu_pd(dst.add(2 * N), b);
                i += 3 * N;
            }
            while i < n {
                let there = !0u8 >> (8 - (n - i).min(N));
                let x = _mm512_maskz_loadu_pd(there, x.add(i));
                _mm512_mask_storeu_pd(dst.add(i), there, _mm512_sqrt_pd(x));
                i += N;
            }
        }
    }
}
