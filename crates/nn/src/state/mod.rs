//! State: the tensors of a model by path, saved to and loaded from safetensors files.
//!
//! ```
//! use wengert_autograd::{Param, Tensor};
//! use wengert_nn::state::StateExt;
//!
//! let dir = std::env::temp_dir();
//! let path = dir.join(format!("wengert-state-{}.safetensors", std::process::id()));
//! let mut model = vec![Param::new(Tensor::<f32>::ones([2, 3]))];
//! model.save(&path)?;
//! model[0].value_mut().as_mut_slice().fill(0.0);
//! model.load(&path)?;
//! assert_eq!(model[0].value().to_vec(), [1.0; 6]);
//! # std::fs::remove_file(&path).unwrap();
//! # Ok::<(), wengert_nn::state::StateError>(())
//! ```
//!
//! | what | where |
//! |---|---|
//! | [`StateExt`] | `state_dict`, `save`, `load` on every model |
//! | [`LoadOptions`] | strict or partial, prefixes, renaming, files of PyTorch, types |
//! | [`Checkpoint`] | model, optimizer, loader and values in one file |
//! | [`write_atomic`], [`check_writable`] | the replacement of a file, all or nothing; whether it could be done |
//!
//! # Files
//! Plain safetensors, readable by every program that reads those:
//! `safetensors.torch.load_file("mlp.safetensors")` in Python. The metadata holds a format version, the kind of the model and a
//! checksum of the whole file ([`FORMAT_VERSION`]). Same state, same bytes.
//!
//! What comes from outside is never trusted: headers are checked completely before memory is taken for tensors
//! (unique names, no holes, no overlaps, sizes that agree with shapes and with the file), and no input panics. The reader is stricter than
//! the reference implementation: it also refuses duplicate names, unknown fields, trailing bytes in the header
//! other than blanks, more than 64 axes, shapes whose size overflows although one axis is 0, and types smaller than a byte.
//!
//! A file is replaced in one step and flushed to the device, so a crash leaves the old state or the new one ([`write_atomic`]).
//! Loading is all or nothing, too: an error leaves the model as it was.

mod any;
mod atomic;
mod checkpoint;
mod error;
mod header;
mod json;
mod load;
mod value;
mod xxh64;

pub use any::AnyTensor;
pub use atomic::{check_writable, write_atomic};
pub use checkpoint::{Checkpoint, FORMAT_VERSION};
pub use error::{Mismatch, Problem, Result, StateError};
pub use header::{MAX_HEADER, StoredType};
pub use load::{LoadOptions, LoadReport};
pub use value::Value;

use std::path::Path;
use wengert_autograd::Module;
use wengert_tensor::{Real, Tensor};

/// The tensors of a model by path, in visiting order: parameters and buffers.
///
/// The tensors are shared with the model; an update of the model in place copies them first, so this keeps its moment.
#[derive(Clone)]
pub struct StateDict<T: Real = f32> {
    entries: Vec<(String, Tensor<T>)>,
}

impl<T: Real> StateDict<T> {
    /// From paths and tensors; a path that occurs twice makes [`StateExt::load_state_dict`] err.
    pub fn new(entries: impl IntoIterator<Item = (String, Tensor<T>)>) -> Self {
        StateDict {
            entries: entries.into_iter().collect(),
        }
    }

    /// The tensor at a path.
    pub fn get(&self, path: &str) -> Option<&Tensor<T>> {
        self.entries.iter().find(|e| e.0 == path).map(|e| &e.1)
    }

    /// Paths and tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<T>)> {
        self.entries.iter().map(|(p, t)| (p.as_str(), t))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T: Real> IntoIterator for StateDict<T> {
    type Item = (String, Tensor<T>);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// Saving and loading, for every [`Module`].
pub trait StateExt<T: Real = f32>: Module<T> {
    /// Parameters and buffers by path, in visiting order.
    fn state_dict(&self) -> StateDict<T> {
        StateDict::new(checkpoint::entries(self).into_iter().map(|(path, t)| {
            let t = t.get::<T>().expect("the model's own type").clone();
            (path, t)
        }))
    }

    /// Takes the values of a state dict; everything must fit, or `options` say otherwise.
    ///
    /// # Errors
    /// With every entry that does not fit; the model is unchanged then.
    fn load_state_dict(
        &mut self,
        state: &StateDict<T>,
        options: &LoadOptions,
    ) -> Result<LoadReport> {
        let entries: Vec<(&str, AnyTensor)> = state
            .iter()
            .map(|(path, t)| (path, AnyTensor::of(t.clone())))
            .collect();
        load::load_entries(self, entries.iter().map(|(p, t)| (*p, t)), options)
    }

    /// Writes a safetensors file, replacing an old one in one step: see [`write_atomic`].
    ///
    /// # Errors
    /// When the system refuses, or two parameters have the same path.
    fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        document(self).save(path)
    }

    /// Loads what [`StateExt::save`] wrote; everything must fit.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, of a newer version, of another kind of model, or does not fit; the model is unchanged
    /// then.
    fn load(&mut self, path: impl AsRef<Path>) -> Result<LoadReport> {
        self.load_with(path, &LoadOptions::default())
    }

    /// As [`StateExt::load`], with options.
    ///
    /// # Errors
    /// As [`StateExt::load`], as far as the options do not allow it.
    fn load_with(&mut self, path: impl AsRef<Path>, options: &LoadOptions) -> Result<LoadReport> {
        let path = path.as_ref();
        Checkpoint::load(path)?
            .load_model("", self, options)
            .map_err(|e| e.at(path))
    }

    /// The bytes of the file that [`StateExt::save`] would write.
    ///
    /// # Errors
    /// When two parameters have the same path.
    fn to_bytes(&self) -> Result<Vec<u8>> {
        document(self).to_bytes()
    }

    /// As [`StateExt::load_with`], from bytes.
    ///
    /// # Errors
    /// As [`StateExt::load_with`].
    fn load_bytes(&mut self, bytes: &[u8], options: &LoadOptions) -> Result<LoadReport> {
        Checkpoint::from_bytes(bytes)?.load_model("", self, options)
    }
}

impl<T: Real, M: Module<T> + ?Sized> StateExt<T> for M {}

fn document<T: Real, M: Module<T> + ?Sized>(model: &M) -> Checkpoint {
    let mut c = Checkpoint::new();
    c.put_model("", model);
    c
}
