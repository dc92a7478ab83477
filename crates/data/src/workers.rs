//! Threads that make results ahead of time and hand them over in order.

use crate::error::Result;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

/// Worker threads that compute `make(i)` for a range of `i`, at most a window ahead of the one who takes.
///
/// Results come out in the order of `i`, whoever made them. Dropping the crew stops and joins the threads.
pub(crate) struct Crew<O> {
    shared: Arc<Shared<O>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<O> {
    state: Mutex<State<O>>,
    /// A slot was emptied, or the work was called off.
    room: Condvar,
    /// A slot was filled.
    ready: Condvar,
}

struct State<O> {
    /// The next to be claimed by a worker.
    claim: usize,
    /// The next to be handed over.
    taken: usize,
    end: usize,
    /// Result `i` waits in slot `i % window`.
    slots: Vec<Option<thread::Result<Result<O>>>>,
    cancelled: bool,
}

impl<O> Shared<O> {
    fn lock(&self) -> MutexGuard<'_, State<O>> {
        // No foreign code runs under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.cancelled || state.claim >= state.end {
                return None;
            }
            if state.claim < state.taken + state.slots.len() {
                state.claim += 1;
                return Some(state.claim - 1);
            }
            state = self.room.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    fn work(&self, make: &(impl Fn(usize) -> Result<O> + ?Sized)) {
        while let Some(i) = self.claim() {
            let result = catch_unwind(AssertUnwindSafe(|| make(i)));
            let mut state = self.lock();
            let window = state.slots.len();
            state.slots[i % window] = Some(result);
            drop(state);
            self.ready.notify_one();
        }
    }
}

impl<O: Send + 'static> Crew<O> {
    /// Starts up to `workers` threads; none when the system refuses even the first.
    pub(crate) fn start(
        workers: usize,
        window: usize,
        range: Range<usize>,
        make: impl Fn(usize) -> Result<O> + Send + Sync + 'static,
    ) -> Option<Self> {
        let window = window.clamp(1, range.len().max(1));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                claim: range.start,
                taken: range.start,
                end: range.end,
                slots: (0..window).map(|_| None).collect(),
                cancelled: false,
            }),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let make = Arc::new(make);
        let mut threads = Vec::new();
        for n in 0..workers.min(window) {
            let (shared, make) = (Arc::clone(&shared), Arc::clone(&make));
            let thread = thread::Builder::new()
                .name(format!("wengert-loader-{n}"))
                .spawn(move || shared.work(&*make));
            match thread {
                Ok(t) => threads.push(t),
                Err(_) => break,
            }
        }
        (!threads.is_empty()).then_some(Crew { shared, threads })
    }

    /// The next result, waiting for it if need be. May be called once for each number of the range.
    ///
    /// # Panics
    /// With the payload of the worker's panic.
    pub(crate) fn take(&mut self) -> Result<O> {
        let mut state = self.shared.lock();
        loop {
            let slot = state.taken % state.slots.len();
            if let Some(result) = state.slots[slot].take() {
                state.taken += 1;
                drop(state);
                self.shared.room.notify_one();
                return result.unwrap_or_else(|panic| resume_unwind(panic));
            }
            state = self
                .shared
                .ready
                .wait(state)
                .unwrap_or_else(|e| e.into_inner());
        }
    }
}

impl<O> Drop for Crew<O> {
    fn drop(&mut self) {
        self.shared.lock().cancelled = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // Panics of the work were caught inside; a failed join leaves nothing to do.
            let _ = thread.join();
        }
    }
}
