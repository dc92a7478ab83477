//! Aligned memory.

use crate::Element;
use crate::error::{Error, Result};
use std::alloc::{Layout as Block, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Alignment of every buffer in bytes: a cache line, and the widest vector register.
pub const ALIGN: usize = 64;

static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Bytes that every machine has: up to these nobody asks how much memory there is, which means reading a file.
const SMALL: usize = 1 << 24;

/// Largest single buffer in bytes that will be allocated; larger requests are errors, not aborts.
///
/// By default the physical memory of the machine, because an allocation above it can succeed and kill the process when
/// it is touched.
pub fn allocation_limit() -> usize {
    match LIMIT.load(Ordering::Relaxed) {
        0 => {
            let limit = physical_memory().unwrap_or(1 << 40);
            LIMIT.store(limit, Ordering::Relaxed);
            limit
        }
        l => l,
    }
}

/// Sets [`allocation_limit`]; zero restores the default.
pub fn set_allocation_limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

fn physical_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// A 64-byte aligned buffer whose elements are always initialized.
pub struct Storage<T: Element> {
    base: NonNull<u8>,
    data: NonNull<T>,
    len: usize,
}

// SAFETY: a Storage owns its memory exclusively and T is plain data (Element: Send + Sync).
unsafe impl<T: Element> Send for Storage<T> {}
// SAFETY: shared access only reads plain data.
unsafe impl<T: Element> Sync for Storage<T> {}

fn block(bytes: usize) -> Option<Block> {
    // Asking for an alignment of 16 and aligning inside lets the system hand out zero pages untouched.
    Block::from_size_align(bytes.checked_add(ALIGN)?, 16).ok()
}

/// Memory of `bytes` zeros: where the block begins, and where the data.
fn zeroed(op: &'static str, bytes: usize) -> Result<(NonNull<u8>, NonNull<u8>)> {
    if bytes > SMALL || LIMIT.load(Ordering::Relaxed) != 0 {
        let limit = allocation_limit();
        if bytes > limit {
            return Err(Error::TooLarge { op, bytes, limit });
        }
    }
    if bytes == 0 {
        // No memory: any aligned, non-null address will do.
        let data =
            NonNull::new(std::ptr::without_provenance_mut(ALIGN)).expect("ALIGN is not zero");
        return Ok((data, data));
    }
    let layout = block(bytes).ok_or(Error::OutOfMemory { op, bytes })?;
    // SAFETY: the layout has a non-zero size.
    let base =
        NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory { op, bytes })?;
    huge_pages(base, layout.size());
    let shift = base.as_ptr().align_offset(ALIGN);
    // SAFETY: shift < ALIGN and the block is ALIGN bytes larger than the data.
    Ok((base, unsafe { base.add(shift) }))
}

/// Gives the memory of [`zeroed`] back.
///
/// # Safety
/// `base` came from there with as many bytes, and nobody uses it any more.
unsafe fn free(base: NonNull<u8>, bytes: usize) {
    if bytes > 0 {
        let layout = block(bytes).expect("the layout was valid when the block was allocated");
        // SAFETY: base was allocated with this layout, and the caller frees it once.
        unsafe { dealloc(base.as_ptr(), layout) }
    }
}

/// Asks for large pages inside a large block, before it is touched: a pass over it then waits less often for the
/// translation of an address. Only whole large pages of the block itself take part, so it takes no more memory.
#[cfg(all(target_os = "linux", not(miri)))]
fn huge_pages(base: NonNull<u8>, bytes: usize) {
    const PAGE: usize = 1 << 21;
    const ADVICE_HUGE_PAGE: i32 = 14;
    // SAFETY: the signature is that of the C library, which the standard library links.
    unsafe extern "C" {
        fn madvise(address: *mut u8, length: usize, advice: i32) -> i32;
    }
    let skip = base.as_ptr().align_offset(PAGE);
    let length = bytes.saturating_sub(skip) / PAGE * PAGE;
    if length > 0 {
        // SAFETY: the range lies inside the block, which belongs to the caller; this advice changes no contents. A
        // system that does not know it refuses, and nothing is lost.
        unsafe { madvise(base.as_ptr().add(skip), length, ADVICE_HUGE_PAGE) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn huge_pages(_base: NonNull<u8>, _bytes: usize) {}

impl<T: Element> Storage<T> {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`allocation_limit`], [`Error::OutOfMemory`] when the system refuses.
    pub fn zeroed(op: &'static str, len: usize) -> Result<Self> {
        let (base, data) = zeroed(op, len.saturating_mul(size_of::<T>()))?;
        let data = data.cast();
        Ok(Storage { base, data, len })
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: data points to len initialized, aligned elements owned by self.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The elements, writable.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in as_slice, and self is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for Storage<T> {
    fn drop(&mut self) {
        // SAFETY: base came from `zeroed` with as many bytes, and is freed once.
        unsafe { free(self.base, self.len * size_of::<T>()) }
    }
}
