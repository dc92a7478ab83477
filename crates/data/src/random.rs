//! The random streams of the crate: named, seeded, the same for any number of threads.
//!
//! Every stream is a [`Xoshiro256PlusPlus`] whose seed is derived from the caller's seed and a path of numbers (what the
//! stream is for, which epoch, which batch), so no stream depends on how much of another one was consumed.

pub use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// One round of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The generator for `path` under `seed`.
///
/// With `k = seed`, each number `p` of the path sets `k = mix(mix(k) ^ p)`, `mix` being one round of SplitMix64; the
/// generator is `Xoshiro256PlusPlus::seed_from_u64(k)`. An empty path is the generator of the seed itself.
///
/// ```
/// use rand::Rng;
/// use wengert_data::random::stream;
/// assert_eq!(stream(1, &[0, 7]).next_u64(), stream(1, &[0, 7]).next_u64());
/// assert_ne!(stream(1, &[0, 7]).next_u64(), stream(1, &[0, 8]).next_u64());
/// ```
pub fn stream(seed: u64, path: &[u64]) -> Xoshiro256PlusPlus {
    let key = path.iter().fold(seed, |k, &p| mix(mix(k) ^ p));
    Xoshiro256PlusPlus::seed_from_u64(key)
}

/// Uniform in `[0, 1)` on a grid of 2⁻²⁴: the top 24 bits of one draw.
pub fn uniform_f32(rng: &mut impl Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
}

/// Uniform in `[0, 1)` on a grid of 2⁻⁵³: the top 53 bits of one draw.
pub fn uniform_f64(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Standard normal (ziggurat).
pub fn normal(rng: &mut impl Rng) -> f64 {
    wengert_tensor::normal::standard_normal(rng)
}

/// Uniform integer in `0..n`, without bias (Lemire 2019, <https://doi.org/10.1145/3230636>).
///
/// # Panics
/// When `n` is zero.
#[track_caller]
pub fn below(rng: &mut impl Rng, n: u64) -> u64 {
    assert!(n > 0, "below: the range is empty");
    loop {
        let wide = u128::from(rng.next_u64()) * u128::from(n);
        let low = wide as u64;
        // Rejecting the lowest 2^64 mod n products leaves every result equally often.
        if low >= n || low >= n.wrapping_neg() % n {
            return (wide >> 64) as u64;
        }
    }
}

/// Puts `items` in random order (Fisher and Yates, from the last place down).
pub fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// The numbers `0..n` in random order.
pub fn permutation(n: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut p: Vec<usize> = (0..n).collect();
    shuffle(&mut p, rng);
    p
}
