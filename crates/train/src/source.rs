//! Where batches come from.

use wengert_data::{DataLoader, Dataset, LoaderState};

/// Batches, epoch after epoch, each a function of the epoch and its number: what a run can resume.
///
/// [`DataLoader`] is one, and so is a list of finished batches.
pub trait Source<B> {
    /// Batches per epoch.
    fn batches(&self) -> usize;

    /// The batches of an epoch, without the first `skip`.
    fn epoch(
        &self,
        epoch: u64,
        skip: usize,
    ) -> Box<dyn Iterator<Item = wengert_data::Result<B>> + '_>;

    /// What a checkpoint notes of the place before batch `batch` of an epoch, so that another order is noticed.
    fn state(&self, epoch: u64, batch: u64) -> LoaderState;
}

impl<D: Dataset + 'static, O: Send + 'static> Source<O> for DataLoader<D, O> {
    fn batches(&self) -> usize {
        self.len()
    }
    fn epoch(
        &self,
        epoch: u64,
        skip: usize,
    ) -> Box<dyn Iterator<Item = wengert_data::Result<O>> + '_> {
        Box::new(self.epoch_from(epoch, skip).fallible())
    }
    fn state(&self, epoch: u64, batch: u64) -> LoaderState {
        self.state_at(epoch, batch)
    }
}

/// The same batches in the same order, every epoch.
impl<B: Clone> Source<B> for Vec<B> {
    fn batches(&self) -> usize {
        self.len()
    }
    fn epoch(&self, _: u64, skip: usize) -> Box<dyn Iterator<Item = wengert_data::Result<B>> + '_> {
        Box::new(self.iter().skip(skip).map(|b| Ok(b.clone())))
    }
    fn state(&self, epoch: u64, batch: u64) -> LoaderState {
        LoaderState {
            seed: 0,
            epoch,
            batch,
            batch_size: 1,
            drop_last: 0,
            order: self.len() as u64,
        }
    }
}
