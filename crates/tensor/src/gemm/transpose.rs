//! Transposing copies, for packing and for results whose rows are not contiguous.

/// `dst[j * dst_ld + i] = src[i * src_ld + j]` for `i < rows`, `j < cols`.
///
/// The pointers are to valid, disjoint elements, and the instruction set of the function is available.
pub(super) type TransposeFn<T> =
    unsafe fn(rows: usize, cols: usize, src: *const T, src_ld: isize, dst: *mut T, dst_ld: isize);

/// One element at a time.
///
/// # Safety
/// See [`TransposeFn`].
pub(super) unsafe fn plain<T: Copy>(
    rows: usize,
    cols: usize,
    src: *const T,
    src_ld: isize,
    dst: *mut T,
    dst_ld: isize,
) {
    for i in 0..rows {
        for j in 0..cols {
            // SAFETY: the caller promises rows x cols valid elements on both sides.
            unsafe {
                *dst.offset(j as isize * dst_ld).add(i) = *src.offset(i as isize * src_ld).add(j);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::plain;
    use crate::vector::Vector;
    use crate::vector::x86::{F32x8, F64x4};
    use std::arch::x86_64::*;

    /// Four columns of eight rows, as four registers.
    #[inline(always)]
    unsafe fn half8(row: &[*const f32; 8], at: usize) -> [__m256; 4] {
        // SAFETY: the caller has AVX2 and promises four elements of each row from `at` on.
        unsafe {
            let pair = |i: usize| {
                _mm256_insertf128_ps::<1>(
                    _mm256_castps128_ps256(_mm_loadu_ps(row[i].add(at))),
                    _mm_loadu_ps(row[i + 4].add(at)),
                )
            };
            let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
            let (ab, cd) = (
                _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                _mm256_castps_pd(_mm256_unpacklo_ps(c, d)),
            );
            let (ef, gh) = (
                _mm256_castps_pd(_mm256_unpackhi_ps(a, b)),
                _mm256_castps_pd(_mm256_unpackhi_ps(c, d)),
            );
            [
                _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)),
                _mm256_castpd_ps(_mm256_unpacklo_pd(ef, gh)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(ef, gh)),
            ]
        }
    }

    /// Two columns of four rows, as two registers.
    #[inline(always)]
    unsafe fn half4(row: &[*const f64; 4], at: usize) -> [__m256d; 2] {
        // SAFETY: the caller has AVX2 and promises two elements of each row from `at` on.
        unsafe {
            let pair = |i: usize| {
                _mm256_insertf128_pd::<1>(
                    _mm256_castpd128_pd256(_mm_loadu_pd(row[i].add(at))),
                    _mm_loadu_pd(row[i + 2].add(at)),
                )
            };
            let (a, b) = (pair(0), pair(1));
            [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)]
        }
    }

    macro_rules! blocked {
        ($name:ident, $elem:ty, $v:ident, $half:ident, $side:literal) => {
            /// Square blocks in registers; the last block of each axis overlaps the one before.
            ///
            /// # Safety
            /// See [`super::TransposeFn`]; AVX2 is available.
            #[target_feature(enable = "avx2,fma,bmi2")]
            pub(in super::super) unsafe fn $name(
                rows: usize,
                cols: usize,
                src: *const $elem,
                src_ld: isize,
                dst: *mut $elem,
                dst_ld: isize,
            ) {
                const SIDE: usize = $side;
                const HALF: usize = SIDE / 2;
                if cols < HALF || rows == 0 {
                    // SAFETY: the contract is passed on.
                    return unsafe { plain(rows, cols, src, src_ld, dst, dst_ld) };
                }
                // Columns outside: with the rows inside, whole lines of the result are written at once. A block that
                // would reach past the end moves back. With too few rows for one block the last row is read again, and
                // only the lanes of real rows are written.
                let count = rows.min(SIDE);
                // SAFETY: row indices stay below rows, columns j..j + HALF below cols, and lanes below rows.
                unsafe {
                    let mask = $v::mask(count);
                    let mut j = 0;
                    while j < cols {
                        // Two halves at a time while there are as many columns, so that the addresses serve twice.
                        let halves = if j + SIDE <= cols { 2 } else { 1 };
                        let j0 = j.min(cols - HALF);
                        let mut i = 0;
                        while i < rows {
                            let i0 = i.min(rows.saturating_sub(SIDE));
                            let first = src.offset(i0 as isize * src_ld).add(j0);
                            let to = dst.offset(j0 as isize * dst_ld).add(i0);
                            if count == SIDE {
                                let row =
                                    std::array::from_fn(|r| first.offset(r as isize * src_ld));
                                for (c, &column) in $half(&row, 0).iter().enumerate() {
                                    $v(column).store(to.offset(c as isize * dst_ld));
                                }
                                if halves == 2 {
                                    for (c, &column) in $half(&row, HALF).iter().enumerate() {
                                        $v(column).store(to.offset((HALF + c) as isize * dst_ld));
                                    }
                                }
                            } else {
                                let row = std::array::from_fn(|r| {
                                    first.offset(r.min(count - 1) as isize * src_ld)
                                });
                                for h in 0..halves {
                                    for (c, &column) in $half(&row, h * HALF).iter().enumerate() {
                                        $v(column).store_part(
                                            to.offset((h * HALF + c) as isize * dst_ld),
                                            mask,
                                        );
                                    }
                                }
                            }
                            i += SIDE;
                        }
                        j += halves * HALF;
                    }
                }
            }
        };
    }
    blocked!(f32_avx2, f32, F32x8, half8, 8);
    blocked!(f64_avx2, f64, F64x4, half4, 4);
}
