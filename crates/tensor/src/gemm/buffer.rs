//! Packing memory: one buffer per thread, kept between calls.

use crate::{Element, Storage};
use std::cell::Cell;
use std::thread::LocalKey;

thread_local! {
    static SPARE: Cell<Option<Storage<u8>>> = const { Cell::new(None) };
    static MORE: Cell<Option<Storage<u8>>> = const { Cell::new(None) };
    static KEPT: Cell<Option<Storage<u8>>> = const { Cell::new(None) };
}

/// Calls `f` with room for `len` elements of unspecified content, aligned to 64 bytes.
///
/// The buffer stays with the thread, so that after the first calls nothing is allocated. A call from inside `f` gets
/// memory of its own.
pub(super) fn with<T: Element, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> R {
    lend(&SPARE, len, f)
}

/// The same with another buffer, for what a call keeps while its tasks use theirs.
pub(super) fn with_kept<T: Element, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> R {
    lend(&KEPT, len, f)
}

/// The same with a third buffer, for a call inside of one that keeps the second.
pub(super) fn with_more<T: Element, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> R {
    lend(&MORE, len, f)
}

fn lend<T: Element, R>(
    spare: &'static LocalKey<Cell<Option<Storage<u8>>>>,
    len: usize,
    f: impl FnOnce(*mut T) -> R,
) -> R {
    let mut buffer = take(spare, len * size_of::<T>());
    let result = f(buffer.as_mut_slice().as_mut_ptr().cast());
    put(spare, buffer);
    result
}

/// The spare buffer, or a new one. Apart from [`lend`], which is compiled for every caller; so [`put`].
#[inline(never)]
fn take(spare: &'static LocalKey<Cell<Option<Storage<u8>>>>, bytes: usize) -> Storage<u8> {
    match spare.take() {
        Some(b) if b.len() >= bytes => b,
        _ => Storage::zeroed("gemm", bytes.next_power_of_two().max(1 << 12))
            .expect("memory for packing"),
    }
}

#[inline(never)]
fn put(spare: &'static LocalKey<Cell<Option<Storage<u8>>>>, buffer: Storage<u8>) {
    spare.set(Some(buffer));
}
