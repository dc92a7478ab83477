//! Work beside other work.

use super::{inside, threads};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Pieces of work that wait, beyond which whoever starts another one does one first.
const WAITING: usize = 16;

/// Small pieces of work, done by threads of the pool that have nothing else to do, while the thread that starts them goes
/// on.
///
/// Outside of the pool, or where there is one thread, a piece is done at once. The results come in the order of the
/// starts.
///
/// ```
/// use wengert_tensor::parallel::{Aside, install};
/// let squares = install(|| {
///     let mut aside = Aside::default();
///     (0..40).for_each(|i| aside.start(move || i * i));
///     aside.finish()
/// });
/// assert_eq!(squares[39], 39 * 39);
/// ```
pub struct Aside<R> {
    done: Arc<Done<R>>,
    started: usize,
}

struct Done<R> {
    count: AtomicUsize,
    results: Mutex<Vec<(usize, thread::Result<R>)>>,
}

impl<R> Default for Aside<R> {
    fn default() -> Self {
        let done = Done {
            count: AtomicUsize::new(0),
            results: Mutex::new(Vec::new()),
        };
        Aside {
            done: Arc::new(done),
            started: 0,
        }
    }
}

impl<R: Send + 'static> Aside<R> {
    /// Starts `f`.
    pub fn start(&mut self, f: impl FnOnce() -> R + Send + 'static) {
        let (at, done) = (self.started, Arc::clone(&self.done));
        self.started += 1;
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            let mut results = done.results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((at, result));
            drop(results);
            done.count.fetch_add(1, Ordering::Release);
        };
        if threads() == 1 || !inside() {
            return run();
        }
        rayon_core::spawn(run);
        if self.running() > WAITING {
            rayon_core::yield_now();
        }
    }

    fn running(&self) -> usize {
        self.started - self.done.count.load(Ordering::Acquire)
    }

    /// What all pieces gave, after the last one ended; the calling thread takes part.
    ///
    /// # Panics
    /// With the first panic of a piece.
    pub fn finish(&mut self) -> Vec<R> {
        while self.running() > 0 {
            if rayon_core::yield_now() != Some(rayon_core::Yield::Executed) {
                std::hint::spin_loop();
            }
        }
        let results = self.done.results.lock();
        let results = std::mem::take(&mut *results.unwrap_or_else(PoisonError::into_inner));
        let mut places: Vec<Option<R>> = (0..self.started).map(|_| None).collect();
        self.started = 0;
        self.done.count.store(0, Ordering::Relaxed);
        for (at, result) in results {
            match result {
                Ok(r) => places[at] = Some(r),
                Err(panic) => resume_unwind(panic),
            }
        }
        places.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{alone, install};
    use super::*;

    fn squares() -> Vec<usize> {
        let mut aside = Aside::default();
        let mut all = Vec::new();
        for round in 0..3 {
            (0..100).for_each(|i| aside.start(move || (round + i) * i));
            all.extend(aside.finish());
        }
        all
    }

    #[test]
    fn results_come_in_the_order_of_the_starts() {
        let expected: Vec<usize> = (0..3)
            .flat_map(|r| (0..100).map(move |i| (r + i) * i))
            .collect();
        assert_eq!(squares(), expected);
        assert_eq!(install(squares), expected);
        assert_eq!(alone(squares), expected);
        assert!(Aside::<()>::default().finish().is_empty());
    }

    #[test]
    fn a_panic_reaches_whoever_asks_for_the_results() {
        let caught = catch_unwind(|| {
            install(|| {
                let mut aside = Aside::default();
                (0..10).for_each(|i| aside.start(move || assert!(i != 7, "the seventh")));
                aside.finish();
            })
        });
        let message = caught.unwrap_err();
        assert!(
            message
                .downcast_ref::<&str>()
                .is_some_and(|m| m.contains("seventh"))
        );
    }
}
