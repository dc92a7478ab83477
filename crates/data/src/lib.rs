//! Data sets, loaders and augmentation for the wengert framework.
//!
//! | module | what stands there |
//! |---|---|
//! | [`Digits`] | 1,797 handwritten digits, embedded, with a fixed split |
//! | [`Dataset`], [`TensorDataset`] | indexed collections of samples: subset, concat, map |
//! | [`DataLoader`] | batches: shuffled, weighted, on worker threads, resumable in the middle of an epoch |
//! | [`augment`] | shifts, flips, rotations, noise, erasing, mixup, cutmix, normalization |
//! | [`idx`], [`Mnist`], [`csv`], [`npy`], `npz`, [`Text`] | readers of files |
//! | [`synthetic`] | moons, spirals, blobs, exclusive or, sine, adding problem, copy task, teacher nets |
//! | [`split`] | training and test parts, stratified, k-fold |
//! | [`random`] | the named random streams behind all of it |
//!
//! Everything that comes from a file returns [`Result`]: readers check every number of a header against the size of the
//! file before they allocate, and say which file, where and what was expected.
//!
//! # Features
//! - `gzip` (default): reading `.gz` files and `.npz` archives, through `flate2` in pure Rust.
//! - `serde`: `Serialize` and `Deserialize` for [`LoaderState`].
#![forbid(unsafe_code)]

mod any;
pub mod augment;
pub mod csv;
mod dataset;
mod digits;
mod error;
mod file;
pub mod idx;
mod images;
mod loader;
pub mod npy;
#[cfg(feature = "gzip")]
pub mod npz;
pub mod random;
mod sample;
mod sampler;
pub mod split;
pub mod synthetic;
mod text;
mod workers;

pub use any::AnyTensor;
pub use dataset::{BatchOf, Concat, Dataset, Labeled, Map, Subset, TensorDataset};
pub use digits::Digits;
pub use error::{Error, Position, Result, shown};
pub use file::Limits;
pub use images::{ByteImages, Mnist};
pub use loader::{DataLoader, Epoch, Fallible, LoaderState};
pub use sample::{Batch, Sample};
pub use sampler::{Sampler, Sequential, Shuffled, Weighted};
pub use text::{Text, Vocabulary, Windows};
