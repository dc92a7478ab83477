//! Packing memory: one buffer per thread, kept between calls.

use crate::{Element, Storage};
use std::cell::Cell;

thread_local! {
    static SPARE: Cell<Option<Storage<u8>>> = const { Cell::new(None) };
}

/// Calls `f` with room for `len` elements of unspecified content, aligned to 64 bytes.
///
/// The buffer stays with the thread, so that after the first calls nothing is allocated. A call from inside `f` gets
/// memory of its own.
pub(super) fn with<T: Element, R>(len: usize, f: impl FnOnce(*mut T) -> R) -> R {
    let bytes = len * size_of::<T>();
    let mut buffer = match SPARE.take() {
        Some(b) if b.len() >= bytes => b,
        _ => Storage::zeroed("gemm", bytes.next_power_of_two().max(1 << 16))
            .expect("memory for packing"),
    };
    let result = f(buffer.as_mut_slice().as_mut_ptr().cast());
    SPARE.set(Some(buffer));
    result
}
