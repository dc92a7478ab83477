//! Running sums of lines.

use crate::Real;
use crate::simd::{Isa, Kernel, dispatch, dispatch_narrow};

/// Lines that are summed side by side, so that one need not wait for the other's additions.
const LINES: usize = 4;

/// Running sums of lines of `n` elements, from the start or from the end, carried in f64: rounding does not build up.
///
/// # Panics
/// When `x` and `out` differ in length or are not whole lines.
pub fn running_sums<T: Real>(x: &[T], out: &mut [T], n: usize, reverse: bool) {
    assert!(
        x.len() == out.len() && (x.len() == n || x.len().is_multiple_of(n.max(1))),
        "running_sums: {} and {} elements in lines of {n}",
        x.len(),
        out.len()
    );
    if x.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if x86::running_sums(x, out, n, reverse) {
        return;
    }
    let groups = out.chunks_mut(LINES * n).zip(x.chunks(LINES * n));
    for (out, x) in groups {
        if out.len() == LINES * n {
            lines(Lines::<_, LINES> { x, out, n, reverse });
        } else {
            for (out, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                lines(Lines::<_, 1> { x, out, n, reverse });
            }
        }
    }
}

/// In single precision without a copy for AVX-512, which has a way of its own.
fn lines<T: Real, const L: usize>(lines: Lines<'_, T, L>) {
    if const { size_of::<T>() == 4 } {
        dispatch_narrow(lines);
    } else {
        dispatch(lines);
    }
}

/// Running sums of `L` lines of `n` elements.
struct Lines<'a, T: Real, const L: usize> {
    x: &'a [T],
    out: &'a mut [T],
    n: usize,
    reverse: bool,
}
impl<T: Real, const L: usize> Kernel for Lines<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        // A stretch is widened as vectors, summed one by one, and narrowed as vectors.
        const B: usize = 64;
        let (n, mut sum) = (self.n, [0.0f64; L]);
        let mut wide = [[0.0f64; B]; L];
        let mut done = 0;
        while done < n {
            let b = B.min(n - done);
            let at = if self.reverse { n - done - b } else { done };
            for (wide, x) in wide.iter_mut().zip(self.x.chunks_exact(n)) {
                for (w, x) in wide.iter_mut().zip(&x[at..at + b]) {
                    *w = x.as_f64();
                }
            }
            for k in 0..b {
                let k = if self.reverse { b - 1 - k } else { k };
                for (sum, wide) in sum.iter_mut().zip(&mut wide) {
                    *sum += wide[k];
                    wide[k] = *sum;
                }
            }
            for (wide, y) in wide.iter().zip(self.out.chunks_exact_mut(n)) {
                for (w, y) in wide.iter().zip(&mut y[at..at + b]) {
                    *y = T::from_f64(*w);
                }
            }
            done += b;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Real;
    use crate::simd::{Level, level, same_type};
    use std::arch::x86_64::*;

    /// Lines of f32 with AVX-512; false where it is something else. The lengths have been checked.
    pub(super) fn running_sums<T: Real>(x: &[T], out: &mut [T], n: usize, reverse: bool) -> bool {
        if level() != Level::Avx512 || !same_type::<T, f32>() {
            return false;
        }
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            let (x, out) = (x.as_ptr().cast::<f32>(), out.as_mut_ptr().cast::<f32>());
            // SAFETY: T is f32, both lines have `n` elements, and `level` has detected AVX-512.
            unsafe {
                if reverse {
                    line::<true>(x, out, n);
                } else {
                    line::<false>(x, out, n);
                }
            }
        }
        true
    }

    /// Sums of eight neighbours in registers, as a tree; then one addition carries on what was before.
    ///
    /// # Safety
    /// The machine has AVX-512 F and VL, and `x` and `out` are valid for `n` elements.
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn line<const REVERSE: bool>(x: *const f32, out: *mut f32, n: usize) {
        const N: usize = 8;
        let zero = _mm512_setzero_si512();
        let last = _mm512_set1_epi64(if REVERSE { 0 } else { N as i64 - 1 });
        let mut carry = _mm512_setzero_pd();
        let mut step = |v: __m256| {
            let mut v = _mm512_cvtps_pd(v);
            macro_rules! shift {
                ($by:literal) => {{
                    let all = _mm512_castpd_si512(v);
                    let moved = if REVERSE {
                        _mm512_alignr_epi64::<$by>(zero, all)
                    } else {
                        _mm512_alignr_epi64::<{ 8 - $by }>(all, zero)
                    };
                    v = _mm512_add_pd(v, _mm512_castsi512_pd(moved));
                }};
            }
            shift!(1);
            shift!(2);
            shift!(4);
            let y = _mm512_add_pd(v, carry);
            carry = _mm512_add_pd(carry, _mm512_permutexvar_pd(last, v));
            _mm512_cvtpd_ps(y)
        };
        // Where what is read soon lies: further on, or in the next line, which begins at the end if that is the order.
        let soon = match REVERSE {
            false => 1024,
            true if n <= 4096 => n as isize,
            true => -1024,
        };
        let (full, rest) = (n / N, n % N);
        // What does not fill a register comes last.
        let tail = if REVERSE { 0 } else { full * N };
        let start = if REVERSE { rest } else { 0 };
        for i in 0..full {
            let at = start + N * if REVERSE { full - 1 - i } else { i };
            // SAFETY: whole registers of the line; any address may be asked for in advance.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(x.add(at).wrapping_offset(soon).cast());
                _mm256_storeu_ps(out.add(at), step(_mm256_loadu_ps(x.add(at))));
            };
        }
        if rest > 0 {
            let mask = (1u8 << rest) - 1;
            // SAFETY: the mask leaves out what is not of the line, or has been made already.
            unsafe {
                let v = _mm256_maskz_loadu_ps(mask, x.add(tail));
                _mm256_mask_storeu_ps(out.add(tail), mask, step(v));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::running_sums;

    /// Against sums one by one, at all lengths of a line around whole registers, and where f32 alone would go wrong.
    #[test]
    fn running_sums_of_short_and_long_lines() {
        for n in (1..40).chain([63, 64, 65, 1000]) {
            for lines in [1, 3, 4, 5] {
                let x: Vec<f32> = (0..n * lines)
                    .map(|i| (i * 37 % 101) as f32 * 0.37 - 15.0)
                    .collect();
                for reverse in [false, true] {
                    let mut y = vec![f32::NAN; x.len()];
                    running_sums(&x, &mut y, n, reverse);
                    for (x, y) in x.chunks(n).zip(y.chunks(n)) {
                        let mut sum = 0.0f64;
                        for k in 0..n {
                            let k = if reverse { n - 1 - k } else { k };
                            sum += f64::from(x[k]);
                            let found = f64::from(y[k]);
                            assert!(
                                (found - sum).abs() <= 1e-7 * sum.abs() + 1e-12,
                                "line of {n}, reverse {reverse}, at {k}: {found} for {sum}"
                            );
                        }
                    }
                }
            }
        }
        let x = vec![0.1f32; 100_000];
        let mut y = x.clone();
        running_sums(&x, &mut y, x.len(), false);
        let exact = f64::from(0.1f32) * 100_000.0;
        assert!((f64::from(y[99_999]) - exact).abs() < 1e-3, "{}", y[99_999]);
    }

    /// NaN and infinity stay where they are and behind.
    #[test]
    fn running_sums_of_what_is_not_finite() {
        let mut x = vec![1.0f32; 40];
        x[21] = f32::INFINITY;
        x[30] = f32::NAN;
        let mut y = vec![0.0; 40];
        running_sums(&x, &mut y, 40, false);
        assert!(y[..21].iter().all(|y| y.is_finite()));
        assert!(y[21..30].iter().all(|&y| y == f32::INFINITY));
        assert!(y[30..].iter().all(|y| y.is_nan()));
        running_sums(&x, &mut y, 40, true);
        assert!(y[31..].iter().all(|y| y.is_finite()));
        assert!(y[..31].iter().all(|y| y.is_nan()));
    }
}
