//! Stores that go past the cache, and reads ahead of it.
//!
//! An ordinary store first reads its line of the cache from memory. Where a result is much larger than the cache, that
//! read is a third of the traffic of an operation that reads one tensor and writes one.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};

/// Bytes from which a result is stored past the cache: what is smaller may still be there when the next operation reads it.
const LARGE: usize = 16 << 20;

/// Whether a result of so many bytes is better stored past the cache.
pub(crate) fn pays(bytes: usize) -> bool {
    cfg!(target_arch = "x86_64") && bytes >= LARGE
}

/// Copies `len` elements past the cache.
///
/// # Safety
/// `from` is valid for reading and `to` for writing `len` elements, and they do not overlap. [`finish`] has to be called
/// on this thread before another one may read them.
#[inline(never)]
pub(crate) unsafe fn copy<T: Copy>(from: *const T, to: *mut T, len: usize) {
    // SAFETY: by the contract of this function.
    unsafe { bytes(from.cast(), to.cast(), len * size_of::<T>()) }
}

/// Asks for the lines of the cache that hold `x`, which will be read or written soon.
#[inline(always)]
pub fn ahead<T>(x: &[T]) {
    ahead_at(x.as_ptr(), x.len());
}

/// As [`ahead`], for what lies `by` elements behind `x`.
#[inline(always)]
pub fn ahead_by<T>(x: &[T], by: usize) {
    ahead_at(x.as_ptr().wrapping_add(by), x.len());
}

/// As [`ahead`], for `len` elements at any address.
#[inline(always)]
pub(crate) fn ahead_at<T>(x: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..(len * size_of::<T>()).div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, and it may be given any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast::<i8>().wrapping_add(64 * line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, len);
}

/// Makes what [`copy`] has stored visible to other threads.
pub(crate) fn finish() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: by the contract of `copy`.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn bytes(from: *const u8, to: *mut u8, len: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    let head = to.align_offset(64).min(len);
    let lines = (len - head) / 64;
    let rest = head + 64 * lines;
    // SAFETY: `head`, the lines and what is behind `rest` are `len` bytes; lines are aligned, and every x86-64 processor has
    // the instructions.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, head);
        let (lines_from, lines_to) = (from.add(head), to.add(head));
        if level() == Level::Avx512 {
            lines_512(lines_from, lines_to, lines);
        } else {
            for at in (0..64 * lines).step_by(16) {
                let x = _mm_loadu_si128(lines_from.add(at).cast::<__m128i>());
                _mm_stream_si128(lines_to.add(at).cast(), x);
            }
        }
        std::ptr::copy_nonoverlapping(from.add(rest), to.add(rest), len - rest);
    }
}

/// Whole lines of the cache.
///
/// # Safety
/// The machine has AVX-512, `to` is aligned to 64 bytes, and both are valid for `64 * n` bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn lines_512(from: *const u8, to: *mut u8, n: usize) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_stream_si512};
    for at in (0..64 * n).step_by(64) {
        // SAFETY: by the contract of this function.
        unsafe { _mm512_stream_si512(to.add(at).cast(), _mm512_loadu_si512(from.add(at).cast())) };
    }
}
