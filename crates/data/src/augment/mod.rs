//! Augmentation of whole batches, with given randomness.
//!
//! An [`Augment`] changes a batch of inputs in place; images are `[n, h, w]` or `[n, c, h, w]`. Every sample of the batch
//! gets its own draws, in the order of the samples, so the result depends on the generator alone.
//! [`DataLoader::augment`](crate::DataLoader::augment) runs one on every batch with a generator of its own.
//!
//! ```
//! use wengert_data::augment::{Compose, GaussianNoise, RandomCrop};
//! use wengert_data::{DataLoader, Digits};
//! let digits = Digits::load().as_images();
//! let recipe = Compose::new().then(RandomCrop::padded(1)).then(GaussianNoise::new(0.05).unwrap());
//! let loader = DataLoader::new(digits.train.dataset(), 64).shuffle(1).augment(recipe);
//! assert_eq!(loader.epoch(0).next().unwrap().0.shape(), [64, 1, 8, 8]);
//! ```

mod beta;
mod geometry;
mod mix;
mod normalize;
mod pixels;

pub use geometry::{Flip, RandomAffine, RandomCrop};
pub use mix::{cutmix, mixup};
pub use normalize::{Normalize, Per};
pub use pixels::{Cutout, Fill, GaussianNoise, Jitter, RandomErasing};

use crate::dataset::{BatchOf, Dataset};
use crate::error::{Error, Result};
use crate::loader::DataLoader;
use crate::random::{Xoshiro256PlusPlus, uniform_f64};
use crate::sample::Batch;
use wengert_tensor::Tensor;

/// A change to a batch of inputs.
pub trait Augment: Send + Sync {
    /// Changes `x`, whose first axis counts the samples, in place where its memory is not shared.
    ///
    /// # Errors
    /// [`Error::Value`] for a shape that the change is not made for.
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()>;
}

/// Several changes, one after another.
#[derive(Default)]
pub struct Compose(Vec<Box<dyn Augment>>);

impl Compose {
    /// No change.
    pub fn new() -> Self {
        Compose::default()
    }

    /// The changes so far, then `next`.
    pub fn then(mut self, next: impl Augment + 'static) -> Self {
        self.0.push(Box::new(next));
        self
    }
}

impl Augment for Compose {
    fn apply(&self, x: &mut Tensor<f32>, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
        self.0.iter().try_for_each(|a| a.apply(x, rng))
    }
}

/// A batch whose first member is the inputs.
pub trait HasInputs {
    /// The inputs.
    fn inputs_mut(&mut self) -> &mut Tensor<f32>;
}

impl HasInputs for Tensor<f32> {
    fn inputs_mut(&mut self) -> &mut Tensor<f32> {
        self
    }
}

impl<A: Batch> HasInputs for (Tensor<f32>, A) {
    fn inputs_mut(&mut self) -> &mut Tensor<f32> {
        &mut self.0
    }
}

impl<A: Batch, B: Batch> HasInputs for (Tensor<f32>, A, B) {
    fn inputs_mut(&mut self) -> &mut Tensor<f32> {
        &mut self.0
    }
}

impl<D: Dataset + 'static> DataLoader<D>
where
    BatchOf<D>: HasInputs,
{
    /// Augments the inputs of every batch, on the worker if there are any.
    ///
    /// As [`DataLoader::transform`], the randomness depends on the seed, the epoch and the number of the batch only.
    pub fn augment(self, augment: impl Augment + 'static) -> Self {
        self.transform(move |mut batch, rng| {
            augment.apply(batch.inputs_mut(), rng)?;
            Ok(batch)
        })
    }
}

/// Samples, channels, height and width of a batch of images.
fn image_shape(op: &'static str, x: &Tensor<f32>) -> Result<[usize; 4]> {
    match *x.shape() {
        [n, h, w] => Ok([n, 1, h, w]),
        [n, c, h, w] => Ok([n, c, h, w]),
        ref other => Err(Error::value(
            op,
            format!("expected [n, h, w] or [n, c, h, w], found {other:?}"),
        )),
    }
}

/// `Err` unless `right`.
fn check(op: &'static str, right: bool, message: impl FnOnce() -> String) -> Result<()> {
    if right {
        Ok(())
    } else {
        Err(Error::value(op, message()))
    }
}

/// `Err` unless `p` is a probability.
fn check_probability(op: &'static str, p: f64) -> Result<()> {
    check(op, (0.0..=1.0).contains(&p), || {
        format!("probability {p} is not in 0..=1")
    })
}

/// Uniform between two bounds.
fn between(rng: &mut Xoshiro256PlusPlus, low: f64, high: f64) -> f64 {
    low + (high - low) * uniform_f64(rng)
}
