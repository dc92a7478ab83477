//! Running sums and products of lines.

use crate::Real;
use crate::simd::{Isa, Kernel, dispatch_narrow};

/// Lines that are worked on side by side, so that one need not wait for the other's operations.
const LINES: usize = 4;
/// The same where each step is a multiplication and an addition.
const MORE_LINES: usize = 8;
/// Elements of a line that are widened as vectors, worked on one by one, and narrowed as vectors.
const STRETCH: usize = 64;

/// Running sums of lines of `n` elements, from the start or from the end, carried in f64: rounding does not build up.
///
/// # Panics
/// When `x` and `out` differ in length or are not whole lines.
pub fn running_sums<T: Real>(x: &[T], out: &mut [T], n: usize, reverse: bool) {
    check("running_sums", &[x.len(), out.len()], n);
    running::<_, false>(x, out, n, reverse);
}

/// Running products of lines of `n` elements, carried in f64.
///
/// # Panics
/// When `x` and `out` differ in length or are not whole lines.
pub fn running_products<T: Real>(x: &[T], out: &mut [T], n: usize) {
    check("running_products", &[x.len(), out.len()], n);
    running::<_, true>(x, out, n, false);
}

/// Slices of one length, in whole lines.
fn check(name: &str, lengths: &[usize], n: usize) {
    let all = lengths[0];
    assert!(
        lengths.iter().all(|&l| l == all) && (all == 0 || n > 0 && all.is_multiple_of(n)),
        "{name}: slices of {lengths:?} elements, expected one length, in lines of {n}",
    );
}

fn running<T: Real, const PRODUCT: bool>(x: &[T], out: &mut [T], n: usize, reverse: bool) {
    if x.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if x86::running::<_, PRODUCT>(x, out, n, reverse) {
        return;
    }
    dispatch_narrow(Lines::<_, PRODUCT> { x, out, n, reverse });
}

/// Running sums or products of lines of `n` elements.
struct Lines<'a, T: Real, const PRODUCT: bool> {
    x: &'a [T],
    out: &'a mut [T],
    n: usize,
    reverse: bool,
}
impl<T: Real, const PRODUCT: bool> Kernel for Lines<'_, T, PRODUCT> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.n;
        let lines = self.x.len() / n;
        let mut wide = [[0.0f64; STRETCH]; LINES];
        for first in (0..lines).step_by(LINES) {
            // Where there are fewer lines, the last one is made several times.
            let start = |line: usize| (first + line).min(lines - 1) * n;
            let mut carry = [if PRODUCT { 1.0 } else { 0.0 }; LINES];
            let mut done = 0;
            while done < n {
                let b = STRETCH.min(n - done);
                let at = if self.reverse { n - done - b } else { done };
                for (l, wide) in wide.iter_mut().enumerate() {
                    for (w, x) in wide.iter_mut().zip(&self.x[start(l) + at..][..b]) {
                        *w = x.as_f64();
                    }
                }
                for k in 0..b {
                    let k = if self.reverse { b - 1 - k } else { k };
                    for (carry, wide) in carry.iter_mut().zip(&mut wide) {
                        if PRODUCT {
                            *carry *= wide[k];
                        } else {
                            *carry += wide[k];
                        }
                        wide[k] = *carry;
                    }
                }
                for (l, wide) in wide.iter().enumerate() {
                    for (w, y) in wide.iter().zip(&mut self.out[start(l) + at..][..b]) {
                        *y = T::from_f64(*w);
                    }
                }
                done += b;
            }
        }
    }
}

/// The cotangents `out` of lines `x` of `n` elements, from their running products `y` and the cotangents `g` of those:
/// out\[k\] = y\[k-1\] h\[k\] with h\[k\] = g\[k\] + x\[k+1\] h\[k+1\], carried in f64. There is no division: a zero is a
/// number as any other.
///
/// # Panics
/// When the slices differ in length or are not whole lines.
pub fn running_product_cotangents<T: Real>(x: &[T], y: &[T], g: &[T], out: &mut [T], n: usize) {
    let lengths = [x.len(), y.len(), g.len(), out.len()];
    check("running_product_cotangents", &lengths, n);
    if !out.is_empty() {
        dispatch_narrow(Cotangents { x, y, g, out, n });
    }
}

struct Cotangents<'a, T: Real> {
    x: &'a [T],
    y: &'a [T],
    g: &'a [T],
    out: &'a mut [T],
    n: usize,
}
impl<T: Real> Kernel for Cotangents<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.n;
        let lines = self.out.len() / n;
        let mut factors = [[0.0f64; STRETCH]; MORE_LINES];
        let mut wide = [[0.0f64; STRETCH]; MORE_LINES];
        for first in (0..lines).step_by(MORE_LINES) {
            // Where there are fewer lines, the last one is made several times.
            let start = |line: usize| (first + line).min(lines - 1) * n;
            // Times the factor behind the last element, which is 0, this changes nothing, not even the sign of a zero.
            let mut h = [-0.0f64; MORE_LINES];
            let mut end = n;
            while end > 0 {
                let b = STRETCH.min(end);
                let behind = b - usize::from(end == n);
                end -= b;
                for l in 0..MORE_LINES {
                    let at = start(l) + end;
                    factors[l][b - 1] = 0.0;
                    for (w, x) in factors[l].iter_mut().zip(&self.x[at + 1..][..behind]) {
                        *w = x.as_f64();
                    }
                    for (w, g) in wide[l].iter_mut().zip(&self.g[at..][..b]) {
                        *w = g.as_f64();
                    }
                }
                for k in (0..b).rev() {
                    for l in 0..MORE_LINES {
                        h[l] = wide[l][k] + factors[l][k] * h[l];
                        wide[l][k] = h[l];
                    }
                }
                for l in 0..MORE_LINES {
                    let at = start(l) + end;
                    let (mut y, mut out) = (&self.y[at..][..b], &mut self.out[at..][..b]);
                    let mut wide = &wide[l][..b];
                    if end > 0 {
                        y = &self.y[at - 1..][..b];
                    } else {
                        out[0] = T::from_f64(wide[0]);
                        (wide, out) = (&wide[1..], &mut out[1..]);
                    }
                    for ((out, w), y) in out.iter_mut().zip(wide).zip(y) {
                        *out = T::from_f64(y.as_f64() * *w);
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lines, Real};
    use crate::simd::{Level, dispatch_narrow, level, same_type};
    use std::arch::x86_64::*;

    /// Lines with AVX-512, but for products of f64; false where it is something else. The lengths have been checked.
    pub(super) fn running<T: Real, const PRODUCT: bool>(
        x: &[T],
        out: &mut [T],
        n: usize,
        reverse: bool,
    ) -> bool {
        let double = same_type::<T, f64>();
        if level() != Level::Avx512 || !(double && !PRODUCT || same_type::<T, f32>()) {
            return false;
        }
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            let (from, to) = (x.as_ptr(), out.as_mut_ptr());
            // SAFETY: T is f32 or f64, both lines have `n` elements, and `level` has detected AVX-512.
            let finite = unsafe {
                if PRODUCT {
                    line::<T, false, true>(from, to, n)
                } else if reverse {
                    line::<T, true, false>(from, to, n)
                } else {
                    line::<T, false, false>(from, to, n)
                }
            };
            if !finite {
                // Eight neighbours may overflow where a sum one by one does not.
                dispatch_narrow(Lines::<_, PRODUCT> { x, out, n, reverse });
            }
        }
        true
    }

    /// Elements of a register of f64.
    const N: usize = 8;

    /// The elements of a mask, as f64; zeros elsewhere.
    ///
    /// # Safety
    /// T is f32 or f64, and the elements are valid.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn load<T: Real>(x: *const T, mask: __mmask8) -> __m512d {
        // SAFETY: by the contract.
        unsafe {
            if same_type::<T, f64>() {
                _mm512_maskz_loadu_pd(mask, x.cast())
            } else {
                _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, x.cast()))
            }
        }
    }

    /// Stores the elements of a mask, rounded.
    ///
    /// # Safety
    /// As for [`load`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn store<T: Real>(out: *mut T, mask: __mmask8, y: __m512d) {
        // SAFETY: by the contract.
        unsafe {
            if same_type::<T, f64>() {
                _mm512_mask_storeu_pd(out.cast(), mask, y);
            } else {
                _mm256_mask_storeu_ps(out.cast(), mask, _mm512_cvtpd_ps(y));
            }
        }
    }

    /// Sums of eight neighbours in registers, as a tree; then one addition carries on what was before. Or products, which in f64
    /// do not overflow for eight numbers of f32. Whether sums of f64
    /// are finite is returned, and true for f32.
    ///
    /// # Safety
    /// The machine has AVX-512 F and VL, T is f32 or f64, and `x` and `out` are valid for `n` elements.
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn line<T: Real, const REVERSE: bool, const PRODUCT: bool>(
        x: *const T,
        out: *mut T,
        n: usize,
    ) -> bool {
        let none = _mm512_set1_pd(if PRODUCT { 1.0 } else { 0.0 });
        let join = |a, b| {
            if PRODUCT {
                _mm512_mul_pd(a, b)
            } else {
                _mm512_add_pd(a, b)
            }
        };
        let outside = _mm512_castpd_si512(none);
        let last = _mm512_set1_epi64(if REVERSE { 0 } else { N as i64 - 1 });
        let mut carry = none;
        // NaN from where a sum is not finite.
        let mut lost = _mm512_setzero_pd();
        let mut step = |mut v: __m512d| {
            macro_rules! shift {
                ($by:literal) => {{
                    let all = _mm512_castpd_si512(v);
                    let moved = if REVERSE {
                        _mm512_alignr_epi64::<$by>(outside, all)
                    } else {
                        _mm512_alignr_epi64::<{ 8 - $by }>(all, outside)
                    };
                    v = join(v, _mm512_castsi512_pd(moved));
                }};
            }
            shift!(1);
            shift!(2);
            shift!(4);
            let y = join(v, carry);
            carry = join(carry, _mm512_permutexvar_pd(last, v));
            if same_type::<T, f64>() {
                lost = _mm512_fmadd_pd(y, _mm512_setzero_pd(), lost);
            }
            y
        };
        // Where what is read soon lies: further on, or in the next line, which begins at the end if that is the order.
        let page = (4096 / size_of::<T>()) as isize;
        let soon = match REVERSE {
            false => page,
            true if n * size_of::<T>() <= 16384 => n as isize,
            true => -page,
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
                store(out.add(at), !0, step(load(x.add(at), !0)));
            };
        }
        if rest > 0 {
            let mask = (1u8 << rest) - 1;
            // SAFETY: the mask leaves out what is not of the line, or has been made already.
            unsafe { store(out.add(tail), mask, step(load(x.add(tail), mask))) };
        }
        _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(lost, lost) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{running_product_cotangents, running_products, running_sums};

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

    /// Sums of neighbours that overflow, of a line whose running sums do not; and sums in f64, one by one.
    #[test]
    fn running_sums_of_f64() {
        let big = f64::MAX / 1.5;
        let mut y = [0.0; 9];
        running_sums(
            &[-big, big, big, -big, 1.0, 1.0, 1.0, 1.0, 0.0],
            &mut y,
            9,
            false,
        );
        assert_eq!(y[..4], [-big, 0.0, big, 0.0]);
        running_sums(
            &[0.0, 1.0, 1.0, 1.0, 1.0, -big, big, big, -big],
            &mut y,
            9,
            true,
        );
        assert_eq!(y[5..], [0.0, big, 0.0, -big]);
        for n in (1..40).chain([63, 64, 65, 1000]) {
            let x: Vec<f64> = (0..3 * n)
                .map(|i| f64::from(i as u32 * 37 % 101) - 15.0)
                .collect();
            for reverse in [false, true] {
                let mut y = vec![f64::NAN; x.len()];
                running_sums(&x, &mut y, n, reverse);
                for (x, y) in x.chunks(n).zip(y.chunks(n)) {
                    let mut sum = 0.0;
                    for k in 0..n {
                        let k = if reverse { n - 1 - k } else { k };
                        sum += x[k];
                        assert_eq!(y[k], sum, "line of {n}, reverse {reverse}, at {k}");
                    }
                }
            }
        }
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

    /// Against products one by one, at all lengths of a line around whole registers and stretches.
    #[test]
    fn running_products_of_short_and_long_lines() {
        for n in (1..40).chain([63, 64, 65, 128, 129]) {
            for lines in [1, 3, 4, 5, 8, 9] {
                let number = |salt: usize| {
                    move |i: usize| {
                        ((i * 37 + salt) % 101) as f32 * if i % 50 == 7 { 0.0 } else { 0.013 } - 0.7
                    }
                };
                let make = |salt| (0..n * lines).map(number(salt)).collect::<Vec<f32>>();
                let (x, g) = (make(5), make(8));
                let (mut y, mut out) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                running_products(&x, &mut y, n);
                running_product_cotangents(&x, &y, &g, &mut out, n);
                for at in (0..x.len()).step_by(n) {
                    let (mut product, mut h) = (1.0f64, 0.0f64);
                    for k in at..at + n {
                        product *= f64::from(x[k]);
                        let found = f64::from(y[k]);
                        assert!(
                            (found - product).abs() <= 1e-7 * product.abs() + 1e-38,
                            "line of {n} at {k}: {found} for {product}"
                        );
                    }
                    for k in (at..at + n).rev() {
                        let factor = if k + 1 < at + n { x[k + 1] } else { 0.0 };
                        h = f64::from(g[k]) + f64::from(factor) * h;
                        let before = if k > at { y[k - 1] } else { 1.0 };
                        assert_eq!(out[k], (f64::from(before) * h) as f32, "line of {n} at {k}");
                    }
                }
            }
        }
        running_products::<f64>(&[], &mut [], 0);
        running_product_cotangents::<f64>(&[], &[], &[], &mut [], 3);
    }

    /// Zero, NaN and infinity stay where they are and behind, and infinity times zero is NaN.
    #[test]
    fn running_products_of_what_is_not_finite() {
        let mut x = vec![1.0f32; 40];
        (x[3], x[21], x[30]) = (f32::INFINITY, 0.0, 2.0);
        let mut y = vec![7.0; 40];
        running_products(&x, &mut y, 40);
        assert!(y[..3].iter().all(|&y| y == 1.0));
        assert!(y[3..21].iter().all(|&y| y == f32::INFINITY));
        assert!(y[21..].iter().all(|y| y.is_nan()));
        // The largest numbers, beyond f32, and back.
        let x: Vec<f32> = (0..24)
            .map(|i| if i < 8 { f32::MAX } else { f32::MAX.recip() })
            .collect();
        running_products(&x, &mut y[..24], 24);
        assert!(y[1..14].iter().all(|&y| y == f32::INFINITY));
        assert!((y[15] - 1.0).abs() < 1e-6 && y[18] == 0.0, "{y:?}");
    }
}
