//! erfc from tables that registers of AVX-512 hold: its quotient with e^(-x²) is a polynomial of degree 5 on each of 32 pieces,
//! eight to an octave of |x| + 1, because it changes as slowly as its argument is large.

use super::ElemFn;
use super::kernel::own_loop;
use crate::Real;
use crate::simd::Isa;

/// The complementary error function.
pub struct Octaves;

/// erfc x.
pub static ERFC: Octaves = Octaves;

impl Octaves {
    /// The function of every element; `false`, and nothing done, for other types and instruction sets than f32 and AVX-512.
    #[inline(always)]
    pub fn fill<F: ElemFn, T: Real, I: Isa>(&self, dst: &mut [T], x: &[T]) -> bool {
        own_loop!(T, I, dst, x, |to: *mut f32, from, n| x86::run(to, from, n))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::lane::{ERFC_OCTAVES, EXP, LN2_F32};
    use std::arch::x86_64::*;

    /// Elements of a register.
    const N: usize = 16;
    /// 3 · 2²², beside which a number is an integer in its last bits.
    const INTEGER: f32 = 12_582_912.0;
    /// Further out erfc is 0.
    const END: f32 = 10.19;
    /// The power of two is multiplied by 2 to this, so that it is not subnormal, and the coefficients are divided.
    const UP: u32 = 26;
    const DOWN: f32 = 1.0 / (1u32 << UP) as f32;

    #[repr(align(64))]
    struct Table([[f32; 32]; 7]);
    static TABLE: Table = Table({
        let mut rows = ERFC_OCTAVES;
        let mut k = 1;
        while k < rows.len() {
            let mut i = 0;
            while i < 32 {
                rows[k][i] *= DOWN;
                i += 1;
            }
            k += 1;
        }
        rows
    });

    /// # Safety
    /// `dst` and `x` hold `n` elements, and AVX-512 is available.
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
    pub(super) unsafe fn run(dst: *mut f32, x: *const f32, n: usize) {
        let all = |v: f32| _mm512_set1_ps(v);
        // SAFETY: the table has 32 numbers to a row.
        let half = |k: usize, h: usize| unsafe { _mm512_load_ps(TABLE.0[k].as_ptr().add(h * N)) };
        let at = |k: usize, piece| _mm512_permutex2var_ps(half(k, 0), piece, half(k, 1));
        let (zero, one, two) = (_mm512_setzero_ps(), all(1.0), all(2.0));
        let sign = all(-0.0);
        let magic = all(INTEGER + (127 + UP) as f32);
        let value = |x: __m512| {
            // The second operand of a minimum is taken where one is NaN.
            let a = _mm512_min_ps(all(END), _mm512_andnot_ps(sign, x));
            // -a² = k ln 2 - (q + q_low), q exactly; e^-(q + q_low) = 1 + e.
            let h = _mm512_mul_ps(a, a);
            let l = _mm512_fmsub_ps(a, a, h);
            let shifted = _mm512_fmadd_ps(h, all(-std::f32::consts::LOG2_E), magic);
            let k = _mm512_sub_ps(shifted, magic);
            let q = _mm512_fmadd_ps(k, all(LN2_F32.0), h);
            let q_low = _mm512_fmadd_ps(k, all(LN2_F32.1), l);
            let r = _mm512_add_ps(q, q_low);
            // Of odd powers of -r.
            let c = |i: usize| all([EXP[i], -EXP[i]][i % 2]);
            let mut p = c(4);
            for i in (0..4).rev() {
                p = _mm512_fmadd_ps(p, r, c(i));
            }
            let e = _mm512_fmsub_ps(_mm512_mul_ps(r, r), p, q_low);
            let e = _mm512_sub_ps(e, q);
            // The piece, and m + m_low = e^(a²) erfc(a).
            let octave = _mm512_castps_si512(_mm512_add_ps(a, one));
            let piece = _mm512_srli_epi32::<20>(octave);
            let t = _mm512_sub_ps(a, at(0, piece));
            let mut rest = at(6, piece);
            for k in (2..6).rev() {
                rest = _mm512_fmadd_ps(rest, t, at(k, piece));
            }
            let first = at(1, piece);
            let m = _mm512_fmadd_ps(rest, t, first);
            let m_low = _mm512_fmadd_ps(rest, t, _mm512_sub_ps(first, m));
            let y = _mm512_add_ps(m, _mm512_fmadd_ps(e, m, m_low));
            // y · 2^k, or 2 less that.
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            let power = _mm512_castsi512_ps(power);
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, zero);
            let power = _mm512_mask_xor_ps(power, negative, power, sign);
            _mm512_fmadd_ps(y, power, _mm512_maskz_mov_ps(negative, two))
        };
        let mut i = 0;
        // SAFETY: loads and stores are below `n` or masked so.
        unsafe {
            while i + N <= n {
                _mm512_storeu_ps(dst.add(i), value(_mm512_loadu_ps(x.add(i))));
                i += N;
            }
            if i < n {
                let there = (!0u32 >> (32 - (n - i))) as __mmask16;
                let y = value(_mm512_maskz_loadu_ps(there, x.add(i)));
                _mm512_mask_storeu_ps(dst.add(i), there, y);
            }
        }
    }
}
