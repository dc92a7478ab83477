//! Images kept as bytes, and the directories of the MNIST family.

use crate::any::AnyTensor;
use crate::dataset::{Dataset, Labeled, class_in};
use crate::error::{Error, Position, Result};
use crate::file::Limits;
use crate::idx;
use crate::sample::fresh;
use std::path::{Path, PathBuf};
use wengert_tensor::Tensor;

/// Images of bytes with labels; they become `f32` when a batch is made, so they take a quarter of the memory.
///
/// As a [`Dataset`] its samples are `(image [1, h, w], label [])` with pixels `(byte / 255 - mean) / std`, mean 0 and
/// standard deviation 1 unless [`ByteImages::normalize`] says otherwise.
#[derive(Clone)]
pub struct ByteImages {
    images: Tensor<u8>,
    labels: Tensor<i64>,
    classes: usize,
    mean: f32,
    std: f32,
}

impl ByteImages {
    /// Images `[n, h, w]` with labels `[n]` in `0..classes`.
    ///
    /// # Errors
    /// [`Error::Value`] when the shapes do not go together or a label is out of range.
    pub fn new(images: Tensor<u8>, labels: Tensor<i64>, classes: usize) -> Result<Self> {
        if images.rank() != 3 || labels.rank() != 1 || images.shape()[0] != labels.shape()[0] {
            return Err(Error::value(
                "images",
                format!(
                    "expected [n, h, w] and [n], found {:?} and {:?}",
                    images.shape(),
                    labels.shape()
                ),
            ));
        }
        if let Some((i, y)) = labels
            .iter()
            .enumerate()
            .find(|&(_, y)| !class_in(y, classes))
        {
            return Err(Error::value(
                "images",
                format!("label {y} of image {i} is not in 0..{classes}"),
            ));
        }
        Ok(ByteImages {
            images: images.contiguous(),
            labels,
            classes,
            mean: 0.0,
            std: 1.0,
        })
    }

    /// Pixels become `(byte / 255 - mean) / std`; for MNIST 0.1307 and 0.3081 are usual.
    ///
    /// # Errors
    /// [`Error::Value`] unless both are finite and `std` is above 0.
    pub fn normalize(mut self, mean: f32, std: f32) -> Result<Self> {
        if !(mean.is_finite() && std.is_finite() && std > 0.0) {
            return Err(Error::value("normalize", format!("mean {mean}, std {std}")));
        }
        (self.mean, self.std) = (mean, std);
        Ok(self)
    }

    /// The bytes, `[n, h, w]`.
    pub fn images(&self) -> &Tensor<u8> {
        &self.images
    }

    /// The labels, `[n]`.
    pub fn labels(&self) -> &Tensor<i64> {
        &self.labels
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// All of it as `f32`, one row of `h * w` pixels per image.
    ///
    /// # Errors
    /// [`Error::Tensor`] when memory is not to be had.
    pub fn to_labeled(&self) -> Result<Labeled> {
        let (n, size) = (
            self.len(),
            self.images.shape()[1..].iter().product::<usize>(),
        );
        let all: Vec<usize> = (0..n).collect();
        let (images, labels) = self.batch(&all, None)?;
        Ok(Labeled {
            inputs: images.try_reshape([n, size])?,
            labels,
            classes: self.classes,
        })
    }
}

impl Dataset for ByteImages {
    type Sample = (Tensor<f32>, Tensor<i64>);

    fn len(&self) -> usize {
        self.labels.numel()
    }

    fn get(&self, index: usize) -> Result<Self::Sample> {
        let (images, labels) = self.batch(&[index], None)?;
        Ok((images.select(0, 0), labels.select(0, 0)))
    }

    fn batch(&self, indices: &[usize], spare: Option<Self::Sample>) -> Result<Self::Sample> {
        let len = self.len();
        let (h, w) = (self.images.shape()[1], self.images.shape()[2]);
        let (images, labels) = spare.unzip();
        let mut images = fresh(&[indices.len(), 1, h, w], images)?;
        let mut labels = fresh(&[indices.len()], labels)?;
        // 256 possible pixels: one table instead of a division per pixel.
        let table: [f32; 256] = std::array::from_fn(|b| (b as f32 / 255.0 - self.mean) / self.std);
        let bytes = self.images.as_slice().unwrap_or_default();
        let (to, to_label) = (images.as_mut_slice(), labels.as_mut_slice());
        for (k, &index) in indices.iter().enumerate() {
            if index >= len {
                return Err(Error::Index {
                    op: "batch",
                    index,
                    len,
                });
            }
            to_label[k] = self.labels.get(&[index]);
            let from = &bytes[index * h * w..(index + 1) * h * w];
            for (x, &b) in to[k * h * w..(k + 1) * h * w].iter_mut().zip(from) {
                *x = table[usize::from(b)];
            }
        }
        Ok((images, labels))
    }
}

/// The training and test parts of MNIST or a set in the same files (Fashion-MNIST, KMNIST, QMNIST in IDX).
#[derive(Clone)]
pub struct Mnist {
    /// `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`.
    pub train: ByteImages,
    /// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
    pub test: ByteImages,
}

impl Mnist {
    /// Reads both parts from a directory; each file plain or with the ending `.gz` (feature `gzip`).
    ///
    /// # Errors
    /// [`Error::Missing`] with all files that are not there, else as [`idx::read`], and [`Error::Format`] for images
    /// that are not `[n, h, w]` bytes, labels above 9, or different numbers of both.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let [train, test] = Self::find(dir, [("train", true), ("t10k", true)])?;
        Ok(Mnist {
            train: Self::part(&train)?,
            test: Self::part(&test)?,
        })
    }

    /// Reads the training part alone.
    ///
    /// # Errors
    /// As [`Mnist::load`].
    pub fn load_train(dir: impl AsRef<Path>) -> Result<ByteImages> {
        let [train, _] = Self::find(dir.as_ref(), [("train", true), ("t10k", false)])?;
        Self::part(&train)
    }

    /// Reads the test part alone.
    ///
    /// # Errors
    /// As [`Mnist::load`].
    pub fn load_test(dir: impl AsRef<Path>) -> Result<ByteImages> {
        let [_, test] = Self::find(dir.as_ref(), [("train", false), ("t10k", true)])?;
        Self::part(&test)
    }

    /// Image and label file of each part; empty paths for a part that is not wanted.
    fn find(dir: &Path, parts: [(&str, bool); 2]) -> Result<[[PathBuf; 2]; 2]> {
        if !dir.is_dir() {
            return Err(Error::io(
                dir,
                "open",
                std::io::Error::other("not a directory"),
            ));
        }
        let mut missing = Vec::new();
        let found = parts.map(|(part, wanted)| {
            ["images-idx3", "labels-idx1"].map(|kind| {
                if !wanted {
                    return PathBuf::new();
                }
                let plain = format!("{part}-{kind}-ubyte");
                // Some distributions write a dot before the kind.
                let dotted = plain.replace("-idx", ".idx");
                let names = [
                    plain.clone(),
                    format!("{plain}.gz"),
                    dotted.clone(),
                    format!("{dotted}.gz"),
                ];
                match names.iter().map(|n| dir.join(n)).find(|p| p.is_file()) {
                    Some(path) => path,
                    None => {
                        missing.push(format!("{plain}[.gz]"));
                        PathBuf::new()
                    }
                }
            })
        });
        if missing.is_empty() {
            Ok(found)
        } else {
            Err(Error::Missing {
                dir: dir.to_path_buf(),
                files: missing,
            })
        }
    }

    fn part([images, labels]: &[PathBuf; 2]) -> Result<ByteImages> {
        const CLASSES: usize = 10;
        let limits = Limits::default();
        let bytes = |path: &Path, what: &str, rank: usize| match idx::read_with(path, &limits)? {
            AnyTensor::U8(t) if t.rank() == rank => Ok(t),
            other => Err(Error::format(
                path,
                Position::Whole,
                format!(
                    "{what} are expected as u8 of rank {rank}, found {} of shape {:?}",
                    other.dtype(),
                    other.shape()
                ),
            )),
        };
        let pixels = bytes(images, "images", 3)?;
        let classes = bytes(labels, "labels", 1)?;
        if pixels.shape()[0] != classes.shape()[0] {
            return Err(Error::format(
                labels,
                Position::Byte(4),
                format!(
                    "{} labels, but {} images in {}",
                    classes.shape()[0],
                    pixels.shape()[0],
                    crate::error::shown_path(images)
                ),
            ));
        }
        if let Some((i, y)) = classes
            .iter()
            .enumerate()
            .find(|&(_, y)| usize::from(y) >= CLASSES)
        {
            return Err(Error::format(
                labels,
                Position::Byte(8 + i as u64),
                format!("label {y} is not in 0..{CLASSES}"),
            ));
        }
        ByteImages::new(pixels, classes.map(i64::from), CLASSES)
    }
}
