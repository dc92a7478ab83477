//! Functions as polynomials on the pieces of an interval, whose coefficients two registers of AVX-512 hold: looking them up
//! takes one instruction each, and on short pieces short polynomials are exact enough.

use super::ElemFn;
use super::kernel::own_loop;
use crate::Real;
use crate::lane::{GELU_PIECES, GELU_WIDTH, TANH_END, TANH_PIECES, TANH_WIDTH};
use crate::simd::Isa;

/// A polynomial of degree 5 on each of 32 pieces of one width, P.
#[repr(C, align(64))]
struct Table {
    /// Coefficients of the powers of the distance from the middle of each piece, the lowest power first.
    powers: [[f32; 32]; 6],
    width: f32,
}

/// x P(x), where the middle of the seventeenth piece is 0, and another function further out.
pub struct Pieces(Table);

/// P(|x|) with the sign of x, where the middle of the first piece is 0 and the last one goes on to an end; constant from there.
pub struct OddPieces {
    table: Table,
    end: f32,
}

/// x Φ(x) for -3.6 < x < 3.39.
pub static GELU: Pieces = Pieces(Table {
    powers: GELU_PIECES,
    width: GELU_WIDTH,
});

/// tanh x.
pub static TANH: OddPieces = OddPieces {
    table: Table {
        powers: TANH_PIECES,
        width: TANH_WIDTH,
    },
    end: TANH_END,
};

impl Pieces {
    /// `dst = x P(x)`, or `F::eval` beyond the pieces; `false`, and nothing done, for other types and instruction sets than f32
    /// and AVX-512. The bits of an element do not depend on its neighbours.
    #[inline(always)]
    pub fn fill<F: ElemFn, T: Real, I: Isa>(&self, dst: &mut [T], x: &[T]) -> bool {
        own_loop!(T, I, dst, x, |to: *mut f32, from, n| {
            x86::run::<F>(&self.0, to, from, n)
        })
    }
}

impl OddPieces {
    /// The function of every element; `false`, and nothing done, as for [`Pieces::fill`].
    #[inline(always)]
    pub fn fill<F: ElemFn, T: Real, I: Isa>(&self, dst: &mut [T], x: &[T]) -> bool {
        own_loop!(T, I, dst, x, |to: *mut f32, from, n| x86::run_odd(
            self, to, from, n
        ))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ElemFn, OddPieces, Table};
    use crate::lane::{F32Lane, Lane};
    use crate::simd::Avx512;
    use std::arch::x86_64::*;

    /// Elements of a register.
    const N: usize = 16;
    /// Elements that are looked at together.
    const GROUP: usize = 4 * N;
    /// 3 · 2²², beside which a number is an integer in its last bits.
    const INTEGER: f32 = 12_582_912.0;

    /// A table in registers.
    macro_rules! polynomial {
        ($table:expr) => {{
            let half = |k: usize, h: usize| _mm512_load_ps($table.powers[k].as_ptr().add(h * N));
            let at = move |k: usize, piece| _mm512_permutex2var_ps(half(k, 0), piece, half(k, 1));
            move |piece: __m512i, t: __m512| {
                let mut y = at(5, piece);
                y = _mm512_fmadd_ps(y, t, at(4, piece));
                y = _mm512_fmadd_ps(y, t, at(3, piece));
                y = _mm512_fmadd_ps(y, t, at(2, piece));
                y = _mm512_fmadd_ps(y, t, at(1, piece));
                _mm512_fmadd_ps(y, t, at(0, piece))
            }
        }};
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
    fn others<F: ElemFn>(dst: &mut [[f32; GROUP]], x: &[[f32; GROUP]]) {
        for (dst, x) in dst.iter_mut().zip(x) {
            for (y, &x) in dst.iter_mut().zip(x) {
                let x = F32Lane::<Avx512>::new(x);
                *y = F::eval(x, x, x, [x; 2]).get();
            }
        }
    }

    /// # Safety
    /// `dst` and `x` hold `n` elements, and AVX-512 is available.
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
    pub(super) unsafe fn run<F: ElemFn>(p: &Table, dst: *mut f32, x: *const f32, n: usize) {
        // SAFETY: loads and stores are below `n` or masked so, and the caller vouches for the instruction set.
        unsafe {
            let width = _mm512_set1_ps(p.width);
            let scale = _mm512_set1_ps(1.0 / p.width);
            // Beyond the first piece, and more so beyond the last one.
            let end = _mm512_set1_ps(p.width * 17.0);
            // The number of the piece around 0 is 16.
            let integer = _mm512_set1_ps(INTEGER + 16.0);
            let first = _mm512_set1_epi32(INTEGER.to_bits() as i32);
            let polynomial = polynomial!(p);
            // In its last bits the number of the piece, if there is one.
            let place = |x: __m512| _mm512_fmadd_ps(x, scale, integer);
            let beyond = |places: __m512i| _mm512_test_epi32_mask(places, _mm512_set1_epi32(!31));
            let near = |x: __m512, place: __m512| {
                let piece = _mm512_castps_si512(place);
                let t = _mm512_fnmadd_ps(_mm512_sub_ps(place, integer), width, x);
                _mm512_mul_ps(polynomial(piece, t), x)
            };
            // What the places have beside `first`, together.
            let differ = |so_far: __m512i, place: __m512| {
                _mm512_ternarylogic_epi32::<0xf6>(so_far, _mm512_castps_si512(place), first)
            };
            let is_far = |x: &[f32; GROUP]| {
                let nearer = |a, b| _mm512_range_ps::<0b1010>(a, b);
                let load = |k: usize| _mm512_loadu_ps(x.as_ptr().add(k * N));
                let nearest = nearer(nearer(load(0), load(1)), nearer(load(2), load(3)));
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(nearest, end) == !0
            };
            let mut i = 0;
            while i < n {
                let (dst, x, len) = (dst.add(i), x.add(i), (n - i).min(GROUP));
                if len == GROUP {
                    let load = |k: usize| _mm512_loadu_ps(x.add(k * N));
                    let v = [load(0), load(1), load(2), load(3)];
                    let at = [place(v[0]), place(v[1]), place(v[2]), place(v[3])];
                    let all = at.iter().fold(_mm512_setzero_si512(), |d, &p| differ(d, p));
                    if beyond(all) == 0 {
                        for k in 0..4 {
                            _mm512_storeu_ps(dst.add(k * N), near(v[k], at[k]));
                        }
                        i += GROUP;
                        continue;
                    }
                    let groups = std::slice::from_raw_parts(x.cast(), (n - i) / GROUP);
                    let far = groups.iter().take_while(|x| is_far(x)).count();
                    if far > 0 {
                        let dst = std::slice::from_raw_parts_mut(dst.cast(), far);
                        others::<F>(dst, &groups[..far]);
                        i += far * GROUP;
                        continue;
                    }
                }
                let there = |k: usize| (!0u64 >> (GROUP - len) >> (k * N)) as __mmask16;
                let load = |k: usize| _mm512_maskz_loadu_ps(there(k), x.add(k * N));
                let v = [load(0), load(1), load(2), load(3)];
                let far = |k: usize| there(k) & beyond(differ(_mm512_setzero_si512(), place(v[k])));
                let far = [far(0), far(1), far(2), far(3)];
                let mut made = [[0.0; GROUP]];
                if far != [0; 4] {
                    let mut from = [0.0; GROUP];
                    for (k, &v) in v.iter().enumerate() {
                        _mm512_storeu_ps(from.as_mut_ptr().add(k * N), v);
                    }
                    others::<F>(&mut made, &[from]);
                }
                for k in 0..4 {
                    let mut y = v[k];
                    if far[k] != there(k) {
                        y = near(y, place(y));
                    }
                    y = _mm512_mask_loadu_ps(y, far[k], made[0].as_ptr().add(k * N));
                    _mm512_mask_storeu_ps(dst.add(k * N), there(k), y);
                }
                i += GROUP;
            }
        }
    }

    /// # Safety
    /// As for `run`.
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
    pub(super) unsafe fn run_odd(p: &OddPieces, dst: *mut f32, x: *const f32, n: usize) {
        // SAFETY: as in `run`.
        unsafe {
            let width = _mm512_set1_ps(p.table.width);
            let scale = _mm512_set1_ps(1.0 / p.table.width);
            let end = _mm512_set1_ps(p.end);
            let integer = _mm512_set1_ps(INTEGER);
            let last = _mm512_set1_ps(INTEGER + 31.0);
            let sign = _mm512_set1_ps(-0.0);
            let polynomial = polynomial!(p.table);
            // The second operand of a minimum is taken where one is NaN.
            let value = |x: __m512| {
                let a = _mm512_min_ps(end, _mm512_andnot_ps(sign, x));
                let place = _mm512_min_ps(last, _mm512_fmadd_ps(a, scale, integer));
                let t = _mm512_fnmadd_ps(_mm512_sub_ps(place, integer), width, a);
                let y = polynomial(_mm512_castps_si512(place), t);
                _mm512_or_ps(y, _mm512_and_ps(sign, x))
            };
            let mut i = 0;
            while i + GROUP <= n {
                for k in 0..GROUP / N {
                    let x = _mm512_loadu_ps(x.add(i + k * N));
                    _mm512_storeu_ps(dst.add(i + k * N), value(x));
                }
                i += GROUP;
            }
            while i < n {
                let there = (!0u32 >> (32 - (n - i).min(N))) as __mmask16;
                let x = _mm512_maskz_loadu_ps(there, x.add(i));
                _mm512_mask_storeu_ps(dst.add(i), there, value(x));
                i += N;
            }
        }
    }
}
