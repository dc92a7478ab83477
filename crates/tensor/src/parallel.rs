//! The one seam to threads.
//!
//! Work is cut into tasks whose borders depend on sizes only, never on the number of threads, and results are combined
//! in index order: the same bits come out for any pool. Tasks run on the current rayon pool (the global one, or the
//! one a caller has `install`ed); a pool of one thread, or a single task, runs in place.

use rayon::prelude::*;

/// Elements below which a memory-bound pass is not worth a second thread.
pub const GRAIN: usize = 1 << 15;

/// Threads of the current pool.
#[inline]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `f` inside the pool, so that the tasks it starts meet warm workers (joining from outside costs microseconds,
/// from inside tens of nanoseconds).
pub fn install<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if threads() == 1 || rayon::current_thread_index().is_some() {
        f()
    } else {
        rayon::scope(|_| f())
    }
}

/// `f(0)`, …, `f(n - 1)`, in any order, perhaps at the same time.
#[inline]
pub fn tasks(n: usize, f: impl Fn(usize) + Sync) {
    if n <= 1 || threads() == 1 {
        (0..n).for_each(f);
    } else {
        share(n, &f);
    }
}

/// The threads' side of [`tasks`], compiled once for all callers.
#[inline(never)]
fn share(n: usize, f: &(dyn Fn(usize) + Sync)) {
    (0..n).into_par_iter().with_max_len(1).for_each(f);
}

/// The runs of `size` elements of a slice, for tasks that take one each.
struct Runs<T> {
    start: *mut T,
    len: usize,
    size: usize,
}

// SAFETY: a `Runs` is the mutable borrow it was made from; runs do not overlap, and each task takes its own.
unsafe impl<T: Send> Sync for Runs<T> {}

impl<T> Runs<T> {
    fn new(data: &mut [T], size: usize) -> Self {
        Runs {
            start: data.as_mut_ptr(),
            len: data.len(),
            size,
        }
    }

    /// Run `i`.
    ///
    /// # Safety
    /// `i` is below the number of runs, no run is taken twice, and the borrow that `self` was made from is alive.
    #[allow(clippy::mut_from_ref)]
    unsafe fn take(&self, i: usize) -> &mut [T] {
        let from = i * self.size;
        // SAFETY: the caller keeps `from` inside the slice, and nobody else has this run.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(from), self.size.min(self.len - from))
        }
    }
}

/// `f(i, chunk)` for each run of `size` elements (the last may be shorter).
#[inline]
pub fn chunks_mut<T: Send>(data: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let size = size.max(1);
    if data.len() <= size || threads() == 1 {
        data.chunks_mut(size).enumerate().for_each(|(i, c)| f(i, c));
    } else {
        let n = data.len().div_ceil(size);
        let runs = Runs::new(data, size);
        // SAFETY: `share` calls once for each i below n, and returns before the borrow of `data` ends.
        share(n, &|i| f(i, unsafe { runs.take(i) }));
    }
}

/// `f(i, chunk of a, chunk of b)` for each run of `size_a` elements of `a` and the run of `size_b` elements of `b` beside
/// it.
///
/// # Panics
/// When `a` and `b` do not have as many runs.
#[inline]
pub fn chunks_mut2<A: Send, B: Send>(
    a: &mut [A],
    size_a: usize,
    b: &mut [B],
    size_b: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (size_a, size_b) = (size_a.max(1), size_b.max(1));
    let n = a.len().div_ceil(size_a);
    assert_eq!(
        n,
        b.len().div_ceil(size_b),
        "chunks_mut2: numbers of runs differ"
    );
    if n <= 1 || threads() == 1 {
        (a.chunks_mut(size_a).zip(b.chunks_mut(size_b)).enumerate())
            .for_each(|(i, (a, b))| f(i, a, b));
    } else {
        let (a, b) = (Runs::new(a, size_a), Runs::new(b, size_b));
        // SAFETY: `share` calls once for each i below n, and returns before the borrows of `a` and `b` end.
        share(n, &|i| f(i, unsafe { a.take(i) }, unsafe { b.take(i) }));
    }
}

/// Two calls, perhaps at the same time.
#[inline]
pub fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    if threads() == 1 {
        (a(), b())
    } else {
        rayon::join(a, b)
    }
}

/// Sets the number of threads of the global pool; before its first use, once.
///
/// # Errors
/// When the global pool exists already.
pub fn set_global_threads(n: usize) -> Result<(), String> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| e.to_string())
}
