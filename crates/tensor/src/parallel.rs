//! The one seam to threads.
//!
//! Work is cut into tasks whose borders depend on sizes only, never on the number of threads, and results are combined
//! in index order: the same bits come out for any pool. Tasks run on the current rayon pool (the global one, or the
//! one a caller has `install`ed); a pool of one thread, or a single task, runs in place.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::LocalKey;

/// Elements below which a memory-bound pass is not worth a second thread.
pub const GRAIN: usize = 1 << 15;

/// Threads of the current pool; 1 where the calling thread works alone.
#[inline]
pub fn threads() -> usize {
    if ALONE.get() {
        1
    } else {
        asked().unwrap_or_else(rayon_core::current_num_threads)
    }
}

/// Runs `f` inside the pool, where the tasks it starts cost tens of nanoseconds (from outside, microseconds), with the
/// other workers kept awake until it ends.
///
/// Called from outside of the pool while another thread is inside, it runs `f` on the calling thread alone: callers
/// share the processors, not the pool. The bits are the same.
pub fn install<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let n = threads();
    if n == 1 {
        return f();
    }
    build();
    if rayon_core::current_thread_index().is_some() {
        awake(n, f)
    } else if ENTERED
        .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
    {
        let _leave = Leave;
        rayon_core::scope(|_| awake(n, f))
    } else {
        alone(f)
    }
}

/// Whether the calling thread is one of the pool, so that tasks it starts cost little.
#[inline]
pub fn inside() -> bool {
    rayon_core::current_thread_index().is_some() || ASKED.load(Ordering::Relaxed) > 1 && ASKS.get()
}

/// Whether a thread from outside is inside the pool.
static ENTERED: AtomicBool = AtomicBool::new(false);

struct Leave;
impl Drop for Leave {
    fn drop(&mut self) {
        ENTERED.store(false, Ordering::Release);
    }
}

/// The number of threads of a pool that nothing has been large enough for yet; 0 if there is none to build.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Threads of the pool that is not built yet, on a thread that would enter it.
#[inline]
fn asked() -> Option<usize> {
    match ASKED.load(Ordering::Relaxed) {
        0 => None,
        n => rayon_core::current_thread_index().is_none().then_some(n),
    }
}

/// Builds the pool that [`set_threads`] asked for, if that is still to be done.
#[inline]
fn build() {
    #[cold]
    #[inline(never)]
    fn now() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let n = ASKED.load(Ordering::Relaxed);
            let builder = || pool(n, ASKS.get());
            // Somebody has a global pool already: this thread has another one for itself, as long as it lives.
            if builder().build_global().is_err()
                && ASKS.get()
                && let Ok(own) = builder().build()
            {
                std::mem::forget(own);
            }
            ASKED.store(0, Ordering::Release);
        });
    }
    if asked().is_some() {
        now();
    }
}

/// A pool of `n` threads, of which the calling one may be one.
fn pool(n: usize, with_this: bool) -> rayon_core::ThreadPoolBuilder {
    let builder = rayon_core::ThreadPoolBuilder::new().num_threads(n);
    // A pool of one would have no thread left for callers from other threads.
    if with_this && n > 1 {
        builder.use_current_thread()
    } else {
        builder
    }
}

thread_local! {
    /// Whether this thread is the one that [`set_threads`] was called on.
    static ASKS: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread runs its tasks by itself.
    static ALONE: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread keeps the others awake, or is kept awake.
    static AWAKE: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is at work on a part of something that another thread waits for.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with `flag` set on this thread.
#[inline]
fn with<R>(flag: &'static LocalKey<Cell<bool>>, f: impl FnOnce() -> R) -> R {
    struct Before(&'static LocalKey<Cell<bool>>, bool);
    impl Drop for Before {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _before = Before(flag, flag.replace(true));
    f()
}

/// Runs a part that another thread may have offered.
#[inline]
fn busy<R>(f: impl FnOnce() -> R) -> R {
    with(&BUSY, f)
}

/// Runs `f`; meanwhile the other workers look for its tasks without going to sleep, because waking a thread costs as
/// much as many a task.
fn awake<R: Send>(n: usize, f: impl FnOnce() -> R + Send) -> R {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
            AWAKE.set(false);
        }
    }
    if AWAKE.replace(true) {
        return f();
    }
    let done = AtomicBool::new(false);
    let run = || {
        let _done = Done(&done);
        f()
    };
    rayon_core::join(run, || watch(n - 1, &done)).0
}

/// How often a worker looks for tasks in vain before it goes to sleep after all: some tenths of a second.
const PATIENCE: u32 = 1 << 20;

/// Keeps `n` workers at hand until `done`.
///
/// A thread that waits for a part of its work takes up whatever is offered, this too: it must go back to its work at once, for
/// `done` may be waiting for that. Of work that is not from here nobody knows; patience ends.
fn watch(n: usize, done: &AtomicBool) {
    if AWAKE.get() || BUSY.get() {
        return;
    }
    if n > 1 {
        rayon_core::join(|| watch(n / 2, done), || watch(n - n / 2, done));
        return;
    }
    AWAKE.set(true);
    let mut patience = PATIENCE;
    while !done.load(Ordering::Acquire) && patience > 0 {
        if rayon_core::yield_now() == Some(rayon_core::Yield::Executed) {
            patience = PATIENCE;
            continue;
        }
        patience -= 1;
        for _ in 0..16 {
            std::hint::spin_loop();
        }
    }
    AWAKE.set(false);
}

/// `f(0)`, …, `f(n - 1)`, in any order, perhaps at the same time.
#[inline]
pub fn tasks(n: usize, f: impl Fn(usize) + Sync) {
    run(n, &f);
}

/// Work in numbered pieces. Not `dyn Fn`, whose table would hold the code of every closure three times.
trait Tasks: Sync {
    fn one(&self, i: usize);
}

impl<F: Fn(usize) + Sync> Tasks for F {
    fn one(&self, i: usize) {
        self(i);
    }
}

/// [`tasks`], compiled once for all callers: what they pass is compiled once, too, not for one and for several threads.
#[inline(never)]
fn run(n: usize, all: &dyn Tasks) {
    if n <= 1 || threads() == 1 {
        return (0..n).for_each(|i| all.one(i));
    }
    build();
    /// The tasks of a range, one half offered to the other threads.
    fn halves(from: usize, to: usize, all: &dyn Tasks) {
        if to - from == 1 {
            return all.one(from);
        }
        let middle = from + (to - from) / 2;
        rayon_core::join(
            || halves(from, middle, all),
            || busy(|| halves(middle, to, all)),
        );
    }
    halves(0, n, all);
}

/// A slice of which tasks write parts.
pub(crate) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    data: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Parts` is the mutable borrow it was made from; each task takes parts of its own.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    #[inline]
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Parts {
            start: data.as_mut_ptr(),
            len: data.len(),
            data: PhantomData,
        }
    }

    /// # Safety
    /// The elements lie inside the slice, and nobody else has one of them.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, at: Range<usize>) -> &mut [T] {
        debug_assert!(at.start <= at.end && at.end <= self.len);
        // SAFETY: the contract of the function.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at.start), at.len()) }
    }

    /// Where element `i` is, if there is one.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> *mut T {
        self.start.wrapping_add(i)
    }

    /// Run `i` of those of `size` elements, of which the last one may be shorter.
    ///
    /// # Safety
    /// `i` is below the number of runs, and no run is taken twice.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    unsafe fn run(&self, i: usize, size: usize) -> &mut [T] {
        let from = i * size;
        // SAFETY: the caller keeps `from` inside the slice, and nobody else has this run.
        unsafe { self.part(from..self.len.min(from + size)) }
    }
}

/// `f(i, chunk)` for each run of `size` elements (the last may be shorter).
#[inline]
pub fn chunks_mut<T: Send>(data: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let size = size.max(1);
    let n = data.len().div_ceil(size);
    let data = Parts::new(data);
    // SAFETY: `tasks` calls once for each i below n.
    tasks(n, |i| f(i, unsafe { data.run(i, size) }));
}

/// Copies `from`, which is as long as `to`.
pub fn copy<T: Copy + Send + Sync>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "copy: lengths differ");
    chunks_mut(to, 2 * GRAIN, |i, to| {
        to.copy_from_slice(&from[2 * i * GRAIN..][..to.len()]);
    });
}

/// Makes all elements `x`.
pub fn fill<T: Copy + Send + Sync>(data: &mut [T], x: T) {
    chunks_mut(data, 2 * GRAIN, |_, data| data.fill(x));
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
    let (a, b) = (Parts::new(a), Parts::new(b));
    tasks(n, |i| {
        // SAFETY: `tasks` calls once for each i below n.
        let (a, b) = unsafe { (a.run(i, size_a), b.run(i, size_b)) };
        f(i, a, b);
    });
}

/// A band of rows of a stack of matrices `[steps, rows, width]`: one task's part of the whole.
pub struct Band<'a, T> {
    base: *mut T,
    steps: usize,
    /// Elements of a matrix of the whole stack.
    matrix: usize,
    /// Elements of the band's part of a matrix.
    len: usize,
    stack: PhantomData<&'a mut [T]>,
}

// SAFETY: a band is a `&mut [T]` with holes; bands of one stack do not overlap.
unsafe impl<T: Send> Send for Band<'_, T> {}

impl<T> Band<'_, T> {
    /// Where the rows of matrix `step` begin. A division only where it is needed: it costs more than a short row.
    #[inline]
    fn start(&self, step: usize) -> usize {
        let step = if step < self.steps {
            step
        } else {
            step % self.steps
        };
        step * self.matrix
    }

    /// The band's rows of matrix `step`, side by side; a stack of fewer matrices is used again from the start.
    #[inline]
    pub fn at(&self, step: usize) -> &[T] {
        if self.steps == 0 {
            return &[];
        }
        // SAFETY: `bands` checked that the rows of every matrix lie inside the stack; the borrow of self keeps writers
        // away.
        unsafe { std::slice::from_raw_parts(self.base.add(self.start(step)), self.len) }
    }

    /// As [`Band::at`], writable.
    #[inline]
    pub fn at_mut(&mut self, step: usize) -> &mut [T] {
        if self.steps == 0 {
            return &mut [];
        }
        // SAFETY: as in `at`, and self is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(self.start(step)), self.len) }
    }

    /// One matrix to read and another to write.
    ///
    /// # Panics
    /// When they are the same.
    #[inline]
    pub fn pair(&mut self, read: usize, write: usize) -> (&[T], &mut [T]) {
        if self.steps == 0 {
            return (&[], &mut []);
        }
        let (r, w) = (self.start(read), self.start(write));
        assert!(r != w, "bands: one matrix cannot be read and written");
        // SAFETY: as in `at`, and parts of different matrices do not overlap.
        unsafe {
            (
                std::slice::from_raw_parts(self.base.add(r), self.len),
                std::slice::from_raw_parts_mut(self.base.add(w), self.len),
            )
        }
    }
}

/// `f(first, count, parts)` for bands of at most `size` of `rows` rows, each with its part of every stack
/// `[steps, rows, width]`, given as memory and width.
///
/// Where the borders lie must not matter to the result, so `size` may depend on the number of threads.
///
/// # Panics
/// When the memory of a stack is not whole matrices.
pub fn bands<T: Send, const N: usize>(
    stacks: [(&mut [T], usize); N],
    rows: usize,
    size: usize,
    f: impl Fn(usize, usize, [Band<'_, T>; N]) + Sync,
) {
    let size = size.max(1);
    let whole = Stacks::new(stacks, rows);
    tasks(rows.div_ceil(size), |i| {
        let first = i * size;
        let count = size.min(rows - first);
        // SAFETY: `tasks` calls once for each i, so that no two parts share a row, and returns before the borrow ends.
        f(first, count, unsafe { whole.parts(first, count) });
    });
}

/// What [`bands`] cuts: memory, matrices and width of each stack, and the rows of a matrix. Apart from `bands`, so that it is
/// compiled once for all that is called there.
struct Stacks<T, const N: usize>([(*mut T, usize, usize); N], usize);

// SAFETY: a `Stacks` is the mutable borrows it was made from; tasks take parts that do not overlap.
unsafe impl<T: Send, const N: usize> Sync for Stacks<T, N> {}

impl<T, const N: usize> Stacks<T, N> {
    #[inline(never)]
    fn new(mut stacks: [(&mut [T], usize); N], rows: usize) -> Self {
        let mut whole = [(std::ptr::null_mut(), 0, 0); N];
        for (whole, (data, width)) in whole.iter_mut().zip(&mut stacks) {
            let matrix = rows * *width;
            let steps = data.len().checked_div(matrix).unwrap_or(0);
            assert!(
                steps * matrix == data.len(),
                "bands: {} elements are not whole matrices of {rows} rows of {width}",
                data.len()
            );
            *whole = (data.as_mut_ptr(), steps, *width);
        }
        Stacks(whole, rows)
    }

    /// Rows `first..first + count` of every matrix.
    ///
    /// # Safety
    /// The rows exist, nobody else has one of them, and the borrows that `self` was made from are alive.
    #[inline(never)]
    unsafe fn parts<'a>(&self, first: usize, count: usize) -> [Band<'a, T>; N] {
        std::array::from_fn(|s| {
            let (base, steps, width) = self.0[s];
            Band {
                // Wrapping: a stack of no matrices has no such row, and then it is never read.
                base: base.wrapping_add(first * width),
                steps,
                matrix: self.1 * width,
                len: count * width,
                stack: PhantomData,
            }
        })
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
        build();
        rayon_core::join(a, || busy(b))
    }
}

/// Runs `f` on the calling thread alone, for callers that are themselves one of several threads at work: what `f`
/// computes does not spread, and nobody waits for the pool. The results are the same.
pub fn alone<R>(f: impl FnOnce() -> R) -> R {
    with(&ALONE, f)
}

/// Sets the number of threads of the global pool; before its first use, once. The calling thread becomes one of them, so
/// that its work enters the pool without a change of threads: call it from the thread that trains, which has to live
/// as long as the pool is used.
///
/// # Errors
/// When the global pool exists already.
pub fn set_global_threads(n: usize) -> Result<(), String> {
    pool(n, true).build_global().map_err(|e| e.to_string())
}

/// As [`set_global_threads`], but the pool is built when something is large enough for more than one thread: a program
/// of small tensors has no threads and spares their memory. For programs that do not use rayon themselves; one that
/// does, and before the pool is built, has rayon's own number of threads in its own work, and `n` here.
///
/// If another thread is the first with something large, it builds the pool, and the calling thread enters it from outside.
///
/// # Errors
/// When `n` is 0, or something was asked for before.
pub fn set_threads(n: usize) -> Result<(), String> {
    if n == 0 {
        return Err("set_threads: at least one thread is needed".into());
    }
    static CALLED: AtomicBool = AtomicBool::new(false);
    if CALLED.swap(true, Ordering::Relaxed) {
        return Err("set_threads: called before".into());
    }
    ASKS.set(true);
    ASKED.store(n, Ordering::Release);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// A watch whose end never comes, taken up by a thread at work on a part, and by one that is kept awake.
    #[test]
    fn a_thread_at_work_does_not_watch() {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let (done, end) = channel();
        std::thread::spawn(move || {
            let watches = || (0..60).for_each(|_| watch(1, &NEVER));
            busy(watches);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
            pool.expect("threads").install(|| install(watches));
            done.send(BUSY.get())
        });
        // So many watches would lose their patience far later.
        let left = end.recv_timeout(Duration::from_secs(5));
        assert_eq!(left, Ok(false));
    }

    /// Threads that wait for a part of their work take up others' watches: more threads than processors, parts of parts. A watch
    /// that went on would be seen here seldom; the test above sees it always.
    #[test]
    fn nobody_watches_for_the_end_of_what_waits_for_him() {
        let (done, end) = channel();
        std::thread::spawn(move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build();
            let count = AtomicUsize::new(0);
            // Whoever has the first one waits for the others.
            let part = |k: usize| {
                (0..5000 * k).for_each(|_| std::hint::spin_loop());
                count.fetch_add(1, Ordering::Relaxed);
            };
            pool.expect("threads").install(|| {
                for _ in 0..3000 {
                    install(|| tasks(3, part));
                    install(|| tasks(2, |_| tasks(2, part)));
                }
            });
            done.send(count.into_inner())
        });
        let count = end.recv_timeout(Duration::from_secs(100)).expect("an end");
        assert_eq!(count, 3000 * 7);
    }
}
