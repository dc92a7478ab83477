//! Initializers: statistics of the draws, fans and gains against PyTorch's formulae, structure, gradients in depth.

mod depth;
mod fans;
mod settings;
mod statistics;
mod structure;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// `∫ f(z) φ(z) dz / ∫ φ(z) dz` over `[a, b]`, by the midpoint rule on a fine grid.
fn normal_mean(a: f64, b: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (a, b) = (a.max(-12.0), b.min(12.0));
    let n = 200_000;
    let h = (b - a) / n as f64;
    let (mut top, mut bottom) = (0.0, 0.0);
    for i in 0..n {
        let z = a + h * (i as f64 + 0.5);
        let p = (-0.5 * z * z).exp();
        top += p * f(z);
        bottom += p;
    }
    top / bottom
}
