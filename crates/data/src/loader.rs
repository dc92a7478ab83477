//! From a data set to a stream of batches.

use crate::dataset::{BatchOf, Dataset};
use crate::error::{Error, Result};
use crate::random::stream;
use crate::sample::Batch;
use crate::sampler::{Sampler, Sequential, Shuffled};
use crate::workers::Crew;
use rand::rngs::Xoshiro256PlusPlus;
use std::sync::{Arc, Mutex, MutexGuard};

/// First number of the path of the streams that order an epoch.
const ORDER: u64 = 0;
/// First number of the path of the streams that transform a batch.
const TRANSFORM: u64 = 1;

/// Where a loader stands; plain numbers, to be stored in a checkpoint and given back to [`DataLoader::restore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LoaderState {
    /// The seed of the order and of the transforms.
    pub seed: u64,
    /// The epoch the next batch belongs to.
    pub epoch: u64,
    /// How many batches of that epoch were already handed out.
    pub batch: u64,
    /// Samples per batch.
    pub batch_size: u64,
    /// 1 if a short last batch is left out, else 0.
    pub drop_last: u64,
    /// FNV-1a hash of the indices of the epoch, so that another set, sampler or seed is noticed.
    pub order: u64,
}

impl LoaderState {
    /// The fields in the order of their declaration.
    pub fn to_words(self) -> [u64; 6] {
        [
            self.seed,
            self.epoch,
            self.batch,
            self.batch_size,
            self.drop_last,
            self.order,
        ]
    }

    /// The inverse of [`LoaderState::to_words`].
    pub fn from_words(words: [u64; 6]) -> Self {
        let [seed, epoch, batch, batch_size, drop_last, order] = words;
        LoaderState {
            seed,
            epoch,
            batch,
            batch_size,
            drop_last,
            order,
        }
    }
}

type Transform<B, O> = Arc<dyn Fn(B, &mut Xoshiro256PlusPlus) -> Result<O> + Send + Sync>;

/// Batches of a data set, epoch after epoch.
///
/// The stream of batches is a function of the data set, the seed, the epoch and the options: the number of workers and
/// the prefetch never change it. `for batch in &loader` runs the next epoch; leaving the loop early ends that epoch.
/// [`DataLoader::epoch`] runs a given one.
///
/// Batches use memory again: the loader keeps a handle to the last few it gave out, and fills those that
/// nobody else holds any more. So writing into a batch in place copies it; [`DataLoader::reuse`] turns this off.
///
/// ```
/// use wengert_data::{DataLoader, Digits};
/// let digits = Digits::load();
/// let loader = DataLoader::new(digits.train.dataset(), 64).shuffle(1).drop_last(true);
/// assert_eq!(loader.len(), 22);
/// for (x, y) in &loader {
///     assert_eq!((x.shape(), y.shape()), (&[64, 64][..], &[64][..]));
/// }
/// assert_eq!(loader.state().epoch, 1);
/// ```
pub struct DataLoader<D: Dataset, O = BatchOf<D>> {
    dataset: Arc<D>,
    sampler: Arc<dyn Sampler>,
    transform: Transform<BatchOf<D>, O>,
    /// How to get a batch to fill again from what was handed out; none where the transforms change the type.
    recycle: Option<fn(&O) -> BatchOf<D>>,
    batch_size: usize,
    drop_last: bool,
    seed: u64,
    workers: usize,
    prefetch: usize,
    cursor: Mutex<Cursor>,
    spares: Arc<Spares<BatchOf<D>>>,
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    epoch: u64,
    batch: u64,
    /// Hash of the order of `epoch`, once known.
    order: Option<u64>,
}

impl<D: Dataset + 'static> DataLoader<D> {
    /// Batches of `batch_size` in the order of the set, the last one shorter if need be, no workers.
    ///
    /// # Errors
    /// [`Error::Value`] when `batch_size` is zero.
    pub fn try_new(dataset: D, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::value("loader", "a batch of 0 samples was asked for"));
        }
        Ok(DataLoader {
            dataset: Arc::new(dataset),
            sampler: Arc::new(Sequential),
            transform: Arc::new(|batch, _| Ok(batch)),
            recycle: Some(|batch| batch.clone()),
            batch_size,
            drop_last: false,
            seed: 0,
            workers: 0,
            prefetch: 0,
            cursor: Mutex::default(),
            spares: Arc::default(),
        })
    }

    /// As [`DataLoader::try_new`].
    ///
    /// # Panics
    /// When `batch_size` is zero.
    #[track_caller]
    pub fn new(dataset: D, batch_size: usize) -> Self {
        match Self::try_new(dataset, batch_size) {
            Ok(loader) => loader,
            Err(e) => panic!("{e}"),
        }
    }
}

impl<D: Dataset + 'static, O: Send + 'static> DataLoader<D, O> {
    /// Every sample once per epoch, in an order that depends on the seed and the epoch.
    pub fn shuffle(self, seed: u64) -> Self {
        self.sampler(Shuffled).seed(seed)
    }

    /// The seed of the order and of the transforms (0 unless set).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Another choice and order of samples.
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Arc::new(sampler);
        self
    }

    /// Whether a last batch that is not full is left out.
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// Prepares batches on `n` threads (0: on the thread that iterates).
    ///
    /// The threads live as long as the iterator. If the system refuses some of them, fewer do the same work.
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = n;
        self
    }

    /// How many batches workers prepare ahead (0, the default: two per worker).
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// Whether batches that nobody holds any more are filled again (the default).
    pub fn reuse(mut self, reuse: bool) -> Self {
        self.spares = Arc::new(Spares {
            enabled: reuse,
            ..Spares::default()
        });
        self
    }

    /// Sends every batch through `f`, on the worker if there are any.
    ///
    /// The generator depends on the seed, the epoch and the number of the batch only. Transforms run in the order
    /// in which they were added and draw from one stream per batch.
    pub fn transform(
        mut self,
        f: impl Fn(O, &mut Xoshiro256PlusPlus) -> Result<O> + Send + Sync + 'static,
    ) -> Self {
        let before = self.transform;
        self.transform = Arc::new(move |batch, rng| f(before(batch, rng)?, rng));
        self
    }

    /// As [`DataLoader::transform`], to another type of batch; its memory is not used again.
    pub fn map<P: Send + 'static>(
        self,
        f: impl Fn(O, &mut Xoshiro256PlusPlus) -> Result<P> + Send + Sync + 'static,
    ) -> DataLoader<D, P> {
        let before = self.transform;
        DataLoader {
            dataset: self.dataset,
            sampler: self.sampler,
            transform: Arc::new(move |batch, rng| f(before(batch, rng)?, rng)),
            recycle: None,
            batch_size: self.batch_size,
            drop_last: self.drop_last,
            seed: self.seed,
            workers: self.workers,
            prefetch: self.prefetch,
            cursor: self.cursor,
            spares: self.spares,
        }
    }

    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Samples per batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Batches per epoch: none for an empty set, or when `drop_last` leaves nothing.
    pub fn len(&self) -> usize {
        let n = self.sampler.count(self.dataset.len());
        if self.drop_last {
            n / self.batch_size
        } else {
            n.div_ceil(self.batch_size)
        }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rest of the epoch where the loader stands: a whole one, unless [`DataLoader::restore`] set it inside one.
    pub fn iter(&self) -> Epoch<'_, D, O> {
        let at = *self.lock();
        self.epoch_from(at.epoch, at.batch as usize)
    }

    /// Epoch `k` from its beginning; the loader then stands there.
    pub fn epoch(&self, k: u64) -> Epoch<'_, D, O> {
        self.epoch_from(k, 0)
    }

    /// Epoch `k` without its first `skip` batches, which are not prepared.
    pub fn epoch_from(&self, k: u64, skip: usize) -> Epoch<'_, D, O> {
        let order = self.order(k);
        let total = self.len();
        let job = Job {
            dataset: Arc::clone(&self.dataset),
            transform: Arc::clone(&self.transform),
            recycle: self.recycle,
            spares: Arc::clone(&self.spares),
            hash: hash(&order),
            order,
            batch_size: self.batch_size,
            seed: self.seed,
            epoch: k,
            count: self.sampler.count(self.dataset.len()),
            refusal: self
                .sampler
                .fits(self.dataset.len())
                .err()
                .map(|e| e.to_string()),
            total,
        };
        let window = match self.prefetch {
            0 => self.workers.saturating_mul(2),
            n => n,
        };
        self.spares
            .limit(window.saturating_add(self.workers).saturating_add(3));
        let next = skip.min(total);
        let job = Arc::new(job);
        let crew = if self.workers > 0 && next < total {
            let job = Arc::clone(&job);
            Crew::start(self.workers, window, next..total, move |i| job.make(i))
        } else {
            None
        };
        Epoch {
            loader: self,
            job,
            crew,
            next,
            started: false,
        }
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let len = self.dataset.len();
        match self.sampler.fits(len) {
            Ok(()) => self
                .sampler
                .order(len, &mut stream(self.seed, &[ORDER, epoch])),
            Err(_) => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cursor> {
        // Nothing can panic while the cursor is held.
        self.cursor.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Where the loader stands: the next batch that the running iteration, or after it the next, will hand out.
    ///
    /// Inside `for batch in &loader`, and after `next()`, the batch in hand counts as handed out. With several
    /// iterators at once it speaks of the one that moved last.
    pub fn state(&self) -> LoaderState {
        let at = *self.lock();
        LoaderState {
            seed: self.seed,
            epoch: at.epoch,
            batch: at.batch,
            batch_size: self.batch_size as u64,
            drop_last: u64::from(self.drop_last),
            order: at.order.unwrap_or_else(|| hash(&self.order(at.epoch))),
        }
    }

    /// Where the loader would stand before batch `batch` of an epoch, wherever it stands now.
    pub fn state_at(&self, epoch: u64, batch: u64) -> LoaderState {
        LoaderState {
            seed: self.seed,
            epoch,
            batch,
            batch_size: self.batch_size as u64,
            drop_last: u64::from(self.drop_last),
            order: hash(&self.order(epoch)),
        }
    }

    /// Stands where `state` was taken, seed included: the next `for batch in &loader` hands out exactly the batches
    /// that followed.
    ///
    /// # Errors
    /// [`Error::Value`] when the batch size, the treatment of the last batch or the order of the samples differ; the
    /// loader is then unchanged.
    pub fn restore(&mut self, state: &LoaderState) -> Result<()> {
        let refuse = |what: &str, here: u64, there: u64| {
            Err(Error::value(
                "restore",
                format!("{what} is {here} here and {there} in the state"),
            ))
        };
        if state.batch_size != self.batch_size as u64 {
            return refuse("the batch size", self.batch_size as u64, state.batch_size);
        }
        if state.drop_last != u64::from(self.drop_last) {
            return refuse("drop_last", u64::from(self.drop_last), state.drop_last);
        }
        if state.batch > self.len() as u64 {
            return refuse("the number of batches", self.len() as u64, state.batch);
        }
        let before = std::mem::replace(&mut self.seed, state.seed);
        let order = hash(&self.order(state.epoch));
        if order != state.order {
            self.seed = before;
            return refuse("the hash of the order of samples", order, state.order);
        }
        *self.lock() = Cursor {
            epoch: state.epoch,
            batch: state.batch,
            order: Some(order),
        };
        Ok(())
    }
}

impl<'a, D: Dataset + 'static, O: Send + 'static> IntoIterator for &'a DataLoader<D, O> {
    type Item = O;
    type IntoIter = Epoch<'a, D, O>;
    fn into_iter(self) -> Epoch<'a, D, O> {
        self.iter()
    }
}

fn hash(order: &[usize]) -> u64 {
    order.iter().fold(0xcbf2_9ce4_8422_2325, |h, &i| {
        (h ^ i as u64).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Batches that were handed out and may be free to be filled again.
pub(crate) struct Spares<B> {
    held: Mutex<(Vec<B>, usize)>,
    enabled: bool,
}

impl<B> Default for Spares<B> {
    fn default() -> Self {
        Spares {
            held: Mutex::new((Vec::new(), 0)),
            enabled: true,
        }
    }
}

impl<B: Batch> Spares<B> {
    fn limit(&self, most: usize) {
        self.held.lock().unwrap_or_else(|e| e.into_inner()).1 = most;
    }

    /// A batch of `rows` samples that nobody else holds.
    fn take(&self, rows: usize) -> Option<B> {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        let i = held
            .0
            .iter()
            .position(|b| b.is_unique() && b.rows().is_ok_and(|r| r == rows))?;
        Some(held.0.swap_remove(i))
    }

    fn put(&self, batch: B) {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        let extra = held.0.len().saturating_sub(held.1.saturating_sub(1));
        held.0.drain(..extra);
        held.0.push(batch);
    }
}

/// Everything needed to make any batch of one epoch, on any thread.
pub(crate) struct Job<D: Dataset, O> {
    dataset: Arc<D>,
    transform: Transform<BatchOf<D>, O>,
    recycle: Option<fn(&O) -> BatchOf<D>>,
    spares: Arc<Spares<BatchOf<D>>>,
    order: Vec<usize>,
    hash: u64,
    batch_size: usize,
    seed: u64,
    epoch: u64,
    /// Samples that the sampler promised.
    count: usize,
    /// Why the sampler cannot serve the set.
    refusal: Option<String>,
    total: usize,
}

impl<D: Dataset, O> Job<D, O> {
    pub(crate) fn make(&self, number: usize) -> Result<O> {
        if let Some(refusal) = &self.refusal {
            return Err(Error::value("loader", refusal));
        }
        if self.order.len() != self.count {
            let found = self.order.len();
            return Err(Error::value(
                "loader",
                format!(
                    "the sampler counts {} samples and ordered {found}",
                    self.count
                ),
            ));
        }
        let begin = number * self.batch_size;
        let end = begin.saturating_add(self.batch_size).min(self.count);
        let indices = &self.order[begin..end];
        let spare = if self.recycle.is_some() && self.spares.enabled {
            self.spares.take(indices.len())
        } else {
            None
        };
        let batch = self.dataset.batch(indices, spare)?;
        let mut rng = stream(self.seed, &[TRANSFORM, self.epoch, number as u64]);
        let out = (self.transform)(batch, &mut rng)?;
        if let (true, Some(recycle)) = (self.spares.enabled, self.recycle) {
            self.spares.put(recycle(&out));
        }
        Ok(out)
    }
}

/// The batches of one epoch: [`DataLoader::iter`], [`DataLoader::epoch`].
///
/// # Panics
/// `next` panics with the text of an error that the data set or a transform returned ([`Epoch::fallible`] returns it
/// instead), and hands on a panic of theirs, also from a worker.
pub struct Epoch<'a, D: Dataset + 'static, O: Send + 'static> {
    loader: &'a DataLoader<D, O>,
    job: Arc<Job<D, O>>,
    /// The threads that make the batches; none: they are made here.
    crew: Option<Crew<O>>,
    next: usize,
    started: bool,
}

impl<'a, D: Dataset + 'static, O: Send + 'static> Epoch<'a, D, O> {
    /// Iterates over `Result`s instead of panicking when the data set or a transform returns an error.
    ///
    /// An error stands for its batch; the next call goes on with the batch after it.
    pub fn fallible(self) -> Fallible<'a, D, O> {
        Fallible(self)
    }

    /// Where the loader stands; the same as [`DataLoader::state`].
    pub fn state(&self) -> LoaderState {
        self.loader.state()
    }

    fn advance(&mut self) -> Option<Result<O>> {
        self.started = true;
        if self.next >= self.job.total {
            return None;
        }
        self.next += 1;
        // Before the batch is made, so that a panic inside leaves the cursor behind the batch at fault.
        *self.loader.lock() = Cursor {
            epoch: self.job.epoch,
            batch: self.next as u64,
            order: Some(self.job.hash),
        };
        Some(match &mut self.crew {
            None => self.job.make(self.next - 1),
            Some(crew) => crew.take(),
        })
    }
}

impl<D: Dataset + 'static, O: Send + 'static> Iterator for Epoch<'_, D, O> {
    type Item = O;

    #[track_caller]
    fn next(&mut self) -> Option<O> {
        match self.advance()? {
            Ok(batch) => Some(batch),
            Err(e) => panic!("{e}"),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.job.total - self.next;
        (left, Some(left))
    }
}

impl<D: Dataset + 'static, O: Send + 'static> ExactSizeIterator for Epoch<'_, D, O> {}

impl<D: Dataset + 'static, O: Send + 'static> Drop for Epoch<'_, D, O> {
    fn drop(&mut self) {
        // An iterator that was never asked leaves the loader where it stood.
        if self.started {
            *self.loader.lock() = Cursor {
                epoch: self.job.epoch.wrapping_add(1),
                batch: 0,
                order: None,
            };
        }
    }
}

/// The batches of one epoch, or what hindered them: [`Epoch::fallible`].
pub struct Fallible<'a, D: Dataset + 'static, O: Send + 'static>(Epoch<'a, D, O>);

impl<D: Dataset + 'static, O: Send + 'static> Iterator for Fallible<'_, D, O> {
    type Item = Result<O>;

    fn next(&mut self) -> Option<Result<O>> {
        self.0.advance()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
