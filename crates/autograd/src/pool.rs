//! Recycled memory: buffers that the tape releases serve the next step.

use crate::param::{BufferId, ParamId};
use std::sync::{Arc, Mutex, MutexGuard};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Layout, Real, Storage, Tensor};

/// Elements that buffer sizes are rounded up to.
const ROUND: usize = 16;

/// The memory of a tape.
pub(crate) struct Pool<T: Real> {
    /// Free buffers by size, ascending.
    free: Vec<(usize, Vec<Arc<Storage<T>>>)>,
    /// Emptied lists of former gradients.
    lists: Vec<Lists<T>>,
    stats: MemoryStats,
    poison: bool,
    back: Arc<Back<T>>,
}

/// What gradients consist of: gradients, side outputs and notes.
pub(crate) type Lists<T> = (
    Vec<(ParamId, Tensor<T>)>,
    Vec<(BufferId, Tensor<T>)>,
    Vec<bool>,
);

/// Where gradients leave their memory, from any thread, for the tape to collect.
pub(crate) struct Back<T: Real>(Mutex<Vec<Lists<T>>>);

impl<T: Real> Back<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Lists<T>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn leave(&self, lists: Lists<T>) {
        self.lock().push(lists);
    }
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

/// Whether nobody else holds a buffer.
fn is_free<T: Real>(buffer: &Arc<Storage<T>>) -> bool {
    Arc::strong_count(buffer) == 1 && Arc::weak_count(buffer) == 0
}

impl<T: Real> Pool<T> {
    pub fn new() -> Self {
        Pool {
            free: Vec::new(),
            lists: Vec::new(),
            stats: MemoryStats::default(),
            poison: false,
            back: Arc::new(Back(Mutex::new(Vec::new()))),
        }
    }

    /// Where this pool's gradients leave their memory.
    pub fn back(&self) -> Arc<Back<T>> {
        Arc::clone(&self.back)
    }

    pub fn stats(&self) -> MemoryStats {
        let mut stats = self.stats;
        for (entries, sides, _) in &*self.back.lock() {
            let tensors = entries
                .iter()
                .map(|e| &e.1)
                .chain(sides.iter().map(|e| &e.1));
            for t in tensors.filter(|t| t.is_unique()) {
                let bytes = t.storage().len() * size_of::<T>();
                stats.live = stats.live.saturating_sub(bytes);
                stats.free += bytes;
            }
        }
        stats
    }

    pub fn reset_peak(&mut self) {
        self.collect();
        self.stats.peak = self.stats.live;
    }

    /// From now on buffers are handed out full of NaN.
    pub fn set_poison(&mut self, on: bool) {
        self.poison = on;
    }

    /// A unique buffer of at least `numel` elements with arbitrary contents.
    pub fn take(&mut self, numel: usize) -> Arc<Storage<T>> {
        let size = numel.div_ceil(ROUND) * ROUND;
        let at = self.free.partition_point(|c| c.0 < size);
        let found = self.free[at..]
            .iter_mut()
            .take_while(|c| c.0 <= size + size / 8)
            .find_map(|c| c.1.pop());
        let mut buffer = match found {
            Some(b) => {
                self.stats.free -= b.len() * size_of::<T>();
                b
            }
            None => {
                self.stats.fresh += 1;
                Arc::new(Storage::zeroed("tape", size).or_panic())
            }
        };
        self.stats.live += buffer.len() * size_of::<T>();
        self.stats.peak = self.stats.peak.max(self.stats.live);
        if self.poison
            && let Some(s) = Arc::get_mut(&mut buffer)
        {
            s.as_mut_slice().fill(T::nan());
        }
        buffer
    }

    /// Takes a tensor's buffer back if nobody else holds it.
    pub fn give(&mut self, t: Tensor<T>) {
        let storage = t.into_storage();
        if !is_free(&storage) || storage.is_empty() {
            return;
        }
        let size = storage.len();
        self.stats.live = self.stats.live.saturating_sub(size * size_of::<T>());
        self.stats.free += size * size_of::<T>();
        match self.free.binary_search_by_key(&size, |c| c.0) {
            Ok(i) => self.free[i].1.push(storage),
            Err(i) => self.free.insert(i, (size, vec![storage])),
        }
    }

    /// Frees the buffers held for reuse.
    pub fn clear(&mut self) {
        self.collect();
        self.free.clear();
        self.stats.free = 0;
    }

    /// Takes the memory of dropped gradients back.
    pub fn collect(&mut self) {
        let back = Arc::clone(&self.back);
        let mut left = back.lock();
        while let Some((mut entries, mut sides, mut notes)) = left.pop() {
            entries.drain(..).for_each(|(_, t)| self.give(t));
            sides.drain(..).for_each(|(_, t)| self.give(t));
            notes.clear();
            if self.lists.len() < 4 {
                self.lists.push((entries, sides, notes));
            }
        }
    }

    /// Empty lists for gradients, side outputs and notes.
    pub fn take_lists(&mut self) -> Lists<T> {
        self.lists.pop().unwrap_or_default()
    }
}

/// A tensor of `shape` over a buffer from the pool.
pub(crate) fn tensor<T: Real>(storage: Arc<Storage<T>>, shape: &Dims) -> Tensor<T> {
    Tensor::from_storage(storage, Layout::contiguous(shape.clone())).or_panic()
}
