//! The system's allocator, counting what the threads that ask for it allocate: the test harness allocates on its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

struct Counting;
thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static COUNT: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        if COUNTED.get() {
            COUNT.fetch_add(1, Relaxed);
            LIVE.fetch_add(l.size() as isize, Relaxed);
        }
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        if COUNTED.get() {
            LIVE.fetch_sub(l.size() as isize, Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(p, l) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// From now on what this thread allocates counts.
pub fn count_this_thread() {
    COUNTED.set(true);
}

/// Allocations so far, and bytes alive.
pub fn counted() -> (usize, isize) {
    (COUNT.load(Relaxed), LIVE.load(Relaxed))
}
