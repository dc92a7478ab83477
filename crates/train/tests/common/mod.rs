//! What the tests share.
#![allow(dead_code)]

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::path::{Path, PathBuf};
use wengert_autograd::{ModuleExt, Tensor};
use wengert_data::{DataLoader, Digits, Labeled, TensorDataset};
use wengert_nn::Sequential;

pub type Batch = (Tensor<f32>, Tensor<i64>);
pub type Loader = DataLoader<TensorDataset<Batch>>;

pub fn model(seed: u64) -> Sequential {
    Sequential::builder()
        .linear(64, 16)
        .relu()
        .dropout(0.2)
        .linear(16, 10)
        .build(&mut Xoshiro256PlusPlus::seed_from_u64(seed))
}

/// The first `n` training images.
pub fn digits(n: usize) -> Labeled {
    let all = Digits::load().standardized().train;
    all.select(&(0..n).collect::<Vec<_>>()).unwrap()
}

pub fn loader(n: usize, batch: usize) -> Loader {
    DataLoader::new(digits(n).dataset(), batch).shuffle(3)
}

/// Bits of all parameters and buffers.
pub fn bits<M: ModuleExt<f32> + ?Sized>(model: &M) -> Vec<u32> {
    let mut all = Vec::new();
    model.for_each_param(|_, p| all.extend(p.value().iter().map(f32::to_bits)));
    model.for_each_buffer(|_, b| all.extend(b.value().iter().map(f32::to_bits)));
    all
}

/// An empty directory, removed at the end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let at =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&at);
        std::fs::create_dir(&at).unwrap();
        Dir(at)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A fixed pseudo-random sequence in [0, 1).
pub fn sequence(n: usize, mut k: u64) -> Vec<f64> {
    (0..n)
        .map(|_| {
            k = k
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (k >> 11) as f64 / (1u64 << 53) as f64
        })
        .collect()
}
