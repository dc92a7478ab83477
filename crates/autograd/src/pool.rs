//! Recycled memory: buffers that the tape releases serve the next step.

use crate::param::{BufferId, ParamId};
use std::sync::{Arc, Mutex, MutexGuard};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Layout, Real, Storage, Tensor};

/// Elements that buffer sizes are rounded up to.
const ROUND: usize = 16;

/// A free list of buffers, shared by a tape and the gradients that it returns.
pub(crate) struct Pool<T: Real> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T: Real> {
    /// Free buffers by size, ascending.
    free: Vec<(usize, Vec<Arc<Storage<T>>>)>,
    /// Emptied lists of former gradients.
    entries: Vec<Vec<(ParamId, Tensor<T>)>>,
    sides: Vec<Vec<(BufferId, Tensor<T>)>>,
    notes: Vec<Vec<bool>>,
    stats: MemoryStats,
    poison: bool,
}

/// Memory of a tape, in bytes and counts.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct MemoryStats {
    /// Bytes of values alive now.
    pub live: usize,
    /// Largest `live` since the tape was made or [`reset_peak`](crate::Tape::reset_peak) was called.
    pub peak: usize,
    /// Bytes held for reuse.
    pub free: usize,
    /// Buffers that had to be allocated anew.
    pub fresh: usize,
}

impl<T: Real> Pool<T> {
    pub fn new() -> Self {
        Pool {
            inner: Mutex::new(Inner {
                free: Vec::new(),
                entries: Vec::new(),
                sides: Vec::new(),
                notes: Vec::new(),
                stats: MemoryStats::default(),
                poison: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn stats(&self) -> MemoryStats {
        self.lock().stats
    }

    pub fn reset_peak(&self) {
        let mut p = self.lock();
        p.stats.peak = p.stats.live;
    }

    /// From now on buffers are handed out full of NaN.
    pub fn set_poison(&self, on: bool) {
        self.lock().poison = on;
    }

    /// A unique buffer of at least `numel` elements with arbitrary contents.
    pub fn take(&self, numel: usize) -> Arc<Storage<T>> {
        let size = numel.div_ceil(ROUND) * ROUND;
        let mut p = self.lock();
        let p = &mut *p;
        let at = p.free.partition_point(|c| c.0 < size);
        let found = p.free[at..]
            .iter_mut()
            .take_while(|c| c.0 <= size + size / 8)
            .find_map(|c| c.1.pop());
        let mut buffer = match found {
            Some(b) => {
                p.stats.free -= b.len() * size_of::<T>();
                b
            }
            None => {
                p.stats.fresh += 1;
                Arc::new(Storage::zeroed("tape", size).or_panic())
            }
        };
        p.stats.live += buffer.len() * size_of::<T>();
        p.stats.peak = p.stats.peak.max(p.stats.live);
        if p.poison
            && let Some(s) = Arc::get_mut(&mut buffer)
        {
            s.as_mut_slice().fill(T::nan());
        }
        buffer
    }

    /// Takes a tensor's buffer back if nobody else holds it.
    pub fn give(&self, t: Tensor<T>) {
        let mut storage = t.into_storage();
        if Arc::get_mut(&mut storage).is_none() || storage.is_empty() {
            return;
        }
        let size = storage.len();
        let mut p = self.lock();
        let p = &mut *p;
        p.stats.live = p.stats.live.saturating_sub(size * size_of::<T>());
        p.stats.free += size * size_of::<T>();
        match p.free.binary_search_by_key(&size, |c| c.0) {
            Ok(i) => p.free[i].1.push(storage),
            Err(i) => p.free.insert(i, (size, vec![storage])),
        }
    }

    /// Frees the buffers held for reuse.
    pub fn clear(&self) {
        let mut p = self.lock();
        p.free.clear();
        p.stats.free = 0;
    }

    /// Empty lists for gradients, side outputs and notes.
    #[allow(clippy::type_complexity)]
    pub fn take_lists(
        &self,
    ) -> (
        Vec<(ParamId, Tensor<T>)>,
        Vec<(BufferId, Tensor<T>)>,
        Vec<bool>,
    ) {
        let mut p = self.lock();
        (
            p.entries.pop().unwrap_or_default(),
            p.sides.pop().unwrap_or_default(),
            p.notes.pop().unwrap_or_default(),
        )
    }

    pub fn give_lists(
        &self,
        mut entries: Vec<(ParamId, Tensor<T>)>,
        mut sides: Vec<(BufferId, Tensor<T>)>,
        mut notes: Vec<bool>,
    ) {
        for (_, t) in entries.drain(..) {
            self.give(t);
        }
        for (_, t) in sides.drain(..) {
            self.give(t);
        }
        notes.clear();
        let mut p = self.lock();
        if p.entries.len() < 4 {
            p.entries.push(entries);
            p.sides.push(sides);
            p.notes.push(notes);
        }
    }
}

/// A tensor of `shape` over a buffer from the pool.
pub(crate) fn tensor<T: Real>(storage: Arc<Storage<T>>, shape: &Dims) -> Tensor<T> {
    Tensor::from_storage(storage, Layout::contiguous(shape.clone())).or_panic()
}
