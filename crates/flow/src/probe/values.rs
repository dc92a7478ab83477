//! What the values of one layer show beyond their summary.

use super::{Act, Flat};
use wengert_autograd::{Real, Tensor};
use wengert_tensor::order::ascending_keys;
use wengert_tensor::simd::{Isa, Kernel, dispatch_narrow};

/// Share of units whose weights equal those of another unit, and whose gradients do, too: they are and will stay one
/// unit. Equal means within 1/1000 of the tensor's RMS.
pub(super) fn identical_units<T: Real>(w: &Tensor<T>, g: Option<&Tensor<T>>, axis: usize) -> f64 {
    let units = w.shape()[axis];
    let inner: usize = w.shape()[axis + 1..].iter().product();
    // A hash of each unit's rounded values: 64 bits do not collide by chance among a layer's units.
    let mut keys: Vec<u64> = vec![0xcbf2_9ce4_8422_2325; units];
    for t in std::iter::once(w).chain(g) {
        let n = t.numel().max(1) as f64;
        let rms = (t.iter().map(|x| x.as_f64().powi(2)).sum::<f64>() / n).sqrt();
        let unit = if rms > 0.0 { 1e3 / rms } else { 0.0 };
        for (i, x) in t.iter().enumerate() {
            let k = &mut keys[i / inner % units];
            // Without a scale to round by, every bit counts.
            let rounded = match rms.is_finite() {
                true => (x.as_f64() * unit).round() as i64 as u64,
                false => x.as_f64().to_bits(),
            };
            *k = (*k ^ rounded)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }
    ascending_keys(&mut keys);
    let groups = keys.chunk_by(|a, b| a == b).filter(|g| g.len() > 1);
    let twins: usize = groups.map(<[u64]>::len).sum();
    twins as f64 / units.max(1) as f64
}

/// Share of outputs that lie where the function is flat; `zeros` of them are 0.
pub(super) fn saturation<T: Real>(act: Act, y: &[T], zeros: u64) -> Option<f64> {
    let n = match act.flat {
        Flat::Zeros => zeros,
        Flat::Outside(lo, hi) => {
            // Counted as bytes in short runs, which is vector code.
            let flat = |y: &T| u8::from(y.as_f64() <= lo) | u8::from(y.as_f64() >= hi);
            let short = |run: &[T]| u64::from(run.iter().map(flat).sum::<u8>());
            y.chunks(255).map(short).sum()
        }
        Flat::Unknown => return None,
    };
    Some(n as f64 / y.len().max(1) as f64)
}

/// Which units (indices of the last axis; channels for images) are not zero for the whole batch.
pub(super) fn alive<T: Real>(y: &[T], shape: &[usize], alive: &mut Vec<bool>) {
    let (units, inner) = match shape {
        [] => (1, 1),
        [_, c, rest @ ..] if !rest.is_empty() => (*c, rest.iter().product()),
        [.., c] => (*c, 1),
    };
    alive.clear();
    alive.resize(units, false);
    if inner == 1 {
        dispatch_narrow(Columns(y, alive));
    } else {
        for (i, plane) in y.chunks_exact(inner.max(1)).enumerate() {
            let a = &mut alive[i % units];
            *a = *a || plane.iter().any(|y| *y != T::zero());
        }
    }
}

/// Which columns of a matrix are not all zeros.
struct Columns<'a, T>(&'a [T], &'a mut [bool]);

impl<T: Real> Kernel for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        // Some at a time, with marks as wide as the values, which is vector code.
        const UNITS: usize = 64;
        let Columns(y, alive) = self;
        let units = alive.len();
        for (first, alive) in (0..).step_by(UNITS).zip(alive.chunks_mut(UNITS)) {
            let mut marks = [T::ZERO; UNITS];
            for row in y.chunks_exact(units) {
                for (m, y) in marks.iter_mut().zip(&row[first..][..alive.len()]) {
                    *m = if *y == T::ZERO { *m } else { T::ONE };
                }
            }
            (alive.iter_mut().zip(marks)).for_each(|(a, m)| *a = m == T::ONE);
        }
    }
}

pub(super) fn dead_share(alive: &[bool]) -> Option<f64> {
    let dead = alive.iter().filter(|a| !**a).count();
    (!alive.is_empty()).then(|| dead as f64 / alive.len() as f64)
}

/// Samples that the effective rank is taken from at most.
const RANK_SAMPLES: usize = 256;

/// `(tr C)² / tr C²` of the covariance `C` of `n` samples of `d` units; by the Gram matrix of the smaller side, whose
/// eigenvalues are the same. `None` for a single sample, for outputs that do not vary, and for NaN.
pub(super) fn effective_rank<T: Real>(y: &[T], n: usize, d: usize) -> Option<f64> {
    if n < 2 || d == 0 {
        return None;
    }
    // Of many samples, evenly spaced ones: the cost grows with the square of their number.
    let step = n.div_ceil(RANK_SAMPLES);
    let picked = y.chunks_exact(d).step_by(step);
    let n = picked.len();
    let mut x: Vec<f64> = picked.flatten().map(|v| v.as_f64()).collect();
    for j in 0..d {
        let mean = (0..n).map(|i| x[i * d + j]).sum::<f64>() / n as f64;
        for i in 0..n {
            x[i * d + j] -= mean;
        }
    }
    // Rows are what the products run over.
    let (rows, len) = if n <= d {
        (n, d)
    } else {
        let t = (0..d).flat_map(|j| (0..n).map(move |i| (i, j)));
        x = t.map(|(i, j)| x[i * d + j]).collect();
        (d, n)
    };
    let row = |i: usize| &x[i * len..(i + 1) * len];
    let (mut trace, mut square) = (0.0, 0.0);
    for i in 0..rows {
        for j in 0..=i {
            let dot: f64 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
            if i == j {
                trace += dot;
                square += dot * dot;
            } else {
                square += 2.0 * dot * dot;
            }
        }
    }
    Some(trace * trace / square).filter(|r| r.is_finite())
}
