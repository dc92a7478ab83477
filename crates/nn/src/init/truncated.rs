//! The truncated normal distribution.

use rand::{Rng, RngExt};
use wengert_tensor::normal::standard_normal;

/// Standard deviation of a standard normal truncated to `[-2, 2]`.
///
/// Jax and TensorFlow divide by it so that their variance scaling keeps the promised variance.
pub const TRUNCATED_AT_2_STD: f64 = 0.879_625_661_034_239_8;

/// A draw from the standard normal restricted to `[a, b]`, by the rejection rules of Robert 1995 ("Simulation of
/// truncated normal variables"). Exact, and no interval costs more than a few proposals on average.
pub(super) fn sample<R: Rng + ?Sized>(a: f64, b: f64, rng: &mut R) -> f64 {
    if a > 0.0 {
        tail(a, b, rng)
    } else if b < 0.0 {
        -tail(-b, -a, rng)
    } else if b - a > (2.0 * std::f64::consts::PI).sqrt() {
        loop {
            let z = standard_normal(rng);
            if a <= z && z <= b {
                return z;
            }
        }
    } else {
        uniform(a, b, 0.0, rng)
    }
}

/// `0 < a <= b`.
fn tail<R: Rng + ?Sized>(a: f64, b: f64, rng: &mut R) -> f64 {
    let root = (a * a + 4.0).sqrt();
    let rate = 0.5 * (a + root);
    if b - a <= (0.25 * (a * a - a * root)).exp() * 2.0 * 0.5_f64.exp() / (a + root) {
        return uniform(a, b, a, rng);
    }
    loop {
        // 1 - u lies in (0, 1]: the logarithm is finite.
        let z = a - (1.0 - rng.random::<f64>()).ln() / rate;
        if z <= b && rng.random::<f64>() <= (-0.5 * (z - rate).powi(2)).exp() {
            return z;
        }
    }
}

/// Uniform proposals; `mode` is where the density is highest.
fn uniform<R: Rng + ?Sized>(a: f64, b: f64, mode: f64, rng: &mut R) -> f64 {
    loop {
        let z = a + (b - a) * rng.random::<f64>();
        if rng.random::<f64>() <= (0.5 * (mode * mode - z * z)).exp() {
            return z.clamp(a, b);
        }
    }
}

/// Standard deviation of the standard normal restricted to `[a, b]`.
///
/// By integration of the density relative to its peak, so that it holds far out in the tail, where the closed form
/// subtracts equal numbers.
pub(super) fn std(a: f64, b: f64) -> f64 {
    let (a, b) = if b < 0.0 { (-b, -a) } else { (a, b) };
    let peak = a.max(0.0);
    // Beyond this distance from the peak the density has fallen by e⁻⁴⁰.
    let reach = (peak * peak + 80.0).sqrt() - peak;
    let (low, high) = (a.max(peak - reach), b.min(peak + reach));
    if high <= low {
        return 0.0;
    }
    // Simpson's rule for the moments around the peak.
    const STEPS: usize = 4096;
    let h = (high - low) / STEPS as f64;
    let (mut m0, mut m1, mut m2) = (0.0, 0.0, 0.0);
    for i in 0..=STEPS {
        let d = low - peak + h * i as f64;
        let weight = match i {
            0 | STEPS => 1.0,
            _ if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let p = weight * (-0.5 * d * (d + 2.0 * peak)).exp();
        m0 += p;
        m1 += p * d;
        m2 += p * d * d;
    }
    let mean = m1 / m0;
    (m2 / m0 - mean * mean).max(0.0).sqrt()
}
