//! Reproducible contents for weights and data: SplitMix64 by position.

use wengert::Tensor;

fn splitmix(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform on [-bound, bound).
pub fn uniform<const N: usize>(seed: u64, shape: [usize; N], bound: f64) -> Tensor {
    let n: usize = shape.iter().product();
    let v = (0..n as u64)
        .map(|i| ((2.0 * (splitmix(seed, i) >> 40) as f64 / 16_777_216.0 - 1.0) * bound) as f32)
        .collect();
    Tensor::from_vec(v, shape)
}

/// Integers below `n`.
pub fn integers<const N: usize>(seed: u64, shape: [usize; N], n: u64) -> Tensor<i64> {
    let len: usize = shape.iter().product();
    let v = (0..len as u64)
        .map(|i| ((splitmix(seed, i) >> 33) % n) as i64)
        .collect();
    Tensor::from_vec(v, shape)
}
