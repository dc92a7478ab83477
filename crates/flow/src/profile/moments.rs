//! Moments, extremes and counts in one pass.

use super::Summary;
use wengert_tensor::simd::{Isa, Kernel, dispatch};
use wengert_tensor::{Real, parallel};

/// Values that are counted together, and that one thread takes at a time.
const CHUNK: usize = 1 << 12;

/// Values up to which one thread takes them all.
const GRAIN: usize = 3 << 12;

/// The origin, and the moments with the mean counted from it.
pub(super) fn moments<T: Real>(values: &[T]) -> (f64, Moments) {
    let finite = values.iter().map(|x| x.as_f64()).find(|x| x.is_finite());
    let origin = finite.unwrap_or(0.0);
    if values.len() <= GRAIN {
        let parts = values.chunks(CHUNK);
        let parts = parts.map(|part| dispatch(MomentPass(part, origin)));
        return (origin, parts.fold(Moments::EMPTY, Moments::join));
    }
    let mut parts = vec![Moments::EMPTY; values.len().div_ceil(CHUNK)];
    parallel::chunks_mut(&mut parts, 1, |i, part| {
        let end = values.len().min((i + 1) * CHUNK);
        part[0] = dispatch(MomentPass(&values[i * CHUNK..end], origin));
    });
    let all = parts.into_iter().fold(Moments::EMPTY, Moments::join);
    (origin, all)
}

/// Values that share one pivot; sums of their deviations stay small, and a block stays in the first-level cache.
const BLOCK: usize = 2048;
/// Partial sums of a block: enough for two AVX-512 registers; the same for every instruction set, hence the same bits.
pub(super) const LANES: usize = 16;

/// Running moments of finite values.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    n: u64,
    nan: u64,
    inf: u64,
    zeros: u64,
    /// Mean, measured from the origin of the pass: block means near 1e8 would have lost the digits of their difference.
    mean: f64,
    /// Σ(x - mean)².
    m2: f64,
    min: f64,
    max: f64,
}

impl Moments {
    const EMPTY: Moments = Moments {
        n: 0,
        nan: 0,
        inf: 0,
        zeros: 0,
        mean: 0.0,
        m2: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    #[inline(always)]
    fn join(self, o: Moments) -> Moments {
        let (na, nb) = (self.n as f64, o.n as f64);
        let n = na + nb;
        let (mean, m2) = if o.n == 0 {
            (self.mean, self.m2)
        } else if self.n == 0 {
            (o.mean, o.m2)
        } else {
            let delta = o.mean - self.mean;
            (
                self.mean + delta * (nb / n),
                self.m2 + o.m2 + delta * delta * (na * nb / n),
            )
        };
        Moments {
            n: self.n + o.n,
            nan: self.nan + o.nan,
            inf: self.inf + o.inf,
            zeros: self.zeros + o.zeros,
            mean,
            m2,
            min: self.min.min(o.min),
            max: self.max.max(o.max),
        }
    }

    pub(super) fn summary<T: Real>(&self, values: &[T], origin: f64) -> Summary {
        let count = values.len() as u64;
        let none = Summary {
            count,
            nan: self.nan,
            infinite: self.inf,
            zeros: self.zeros,
            mean: f64::NAN,
            std: f64::NAN,
            rms: f64::NAN,
            min: f64::NAN,
            max: f64::NAN,
            norm: 0.0,
            quantiles: None,
            histogram: None,
        };
        if self.n == 0 {
            return none;
        }
        let n = self.n as f64;
        let finish = |m: &Moments, origin: f64| {
            let (mean, variance) = (origin + m.mean, m.m2 / n);
            (mean, variance.sqrt(), (variance + mean * mean).sqrt())
        };
        let (mut mean, mut std, mut rms) = finish(self, origin);
        // Squares of f64 values beyond 1e±150 leave the range; measure those in units of a power of two near the
        // largest one. Widened f32 values never come here: their squares fit, down to the smallest subnormal.
        let top = self.max.abs().max(self.min.abs());
        if !(1e-140..1e140).contains(&top) && top != 0.0 {
            let e = i32::try_from(top.log2().floor() as i64).unwrap_or(0);
            // 2^-e may itself be out of range: apply it in two halves.
            let (h1, h2) = (2f64.powi(-e / 2), 2f64.powi(-e - (-e / 2)));
            let scaled: Vec<f64> = values
                .iter()
                .map(|x| x.as_f64() * h1 * h2)
                .filter(|x| x.is_finite())
                .collect();
            let (origin, m) = moments(&scaled);
            let unit = |x: f64| x / h1 / h2;
            let (a, b, c) = finish(&m, origin);
            (mean, std, rms) = (unit(a), unit(b), unit(c));
        }
        Summary {
            mean,
            std,
            rms,
            min: self.min,
            max: self.max,
            norm: rms * n.sqrt(),
            ..none
        }
    }
}

/// Values, and the origin that their mean is counted from.
struct MomentPass<'a, T>(&'a [T], f64);

impl<T: Real> Kernel for MomentPass<'_, T> {
    type Output = Moments;

    #[inline(always)]
    fn run<I: Isa>(self) -> Moments {
        let MomentPass(values, origin) = self;
        let mut all = Moments::EMPTY;
        for block in values.chunks(BLOCK) {
            let m = block_moments(block, origin);
            // A NaN or an infinity anywhere in the block shows in its sum of squares (so does an f64 overflow).
            let m = if m.m2.is_finite() {
                m
            } else {
                careful_moments(block, origin)
            };
            all = all.join(m);
        }
        all
    }
}

/// Moments of a block that is hoped to be finite: branch-free, 16 partial sums.
#[inline(always)]
fn block_moments<T: Real>(block: &[T], origin: f64) -> Moments {
    let pivot = block[0].as_f64();
    let mut sum = [0.0f64; LANES];
    let mut sq = [0.0f64; LANES];
    let mut lo = [block[0]; LANES];
    let mut hi = [block[0]; LANES];
    let mut zeros = [0u32; LANES];
    let mut step = |i: usize, x: T| {
        let d = x.as_f64() - pivot;
        sum[i] += d;
        sq[i] += d * d;
        lo[i] = if x < lo[i] { x } else { lo[i] };
        hi[i] = if x > hi[i] { x } else { hi[i] };
        zeros[i] += u32::from(x == T::ZERO);
    };
    let (rows, rest) = block.as_chunks::<LANES>();
    for row in rows {
        for i in 0..LANES {
            step(i, row[i]);
        }
    }
    for (i, &x) in rest.iter().enumerate() {
        step(i, x);
    }
    let n = block.len() as f64;
    let s = fold(sum);
    let shift = s / n;
    Moments {
        n: block.len() as u64,
        nan: 0,
        inf: 0,
        zeros: u64::from(zeros.iter().sum::<u32>()),
        mean: (pivot - origin) + shift,
        m2: (fold(sq) - s * shift).max_or_nan(0.0),
        min: lo.iter().fold(f64::INFINITY, |a, b| a.min(b.as_f64())),
        max: hi.iter().fold(f64::NEG_INFINITY, |a, b| a.max(b.as_f64())),
    }
}

/// `f64::max` drops a NaN, which here is the sign that the block needs care.
trait MaxOrNan {
    fn max_or_nan(self, o: f64) -> f64;
}

impl MaxOrNan for f64 {
    #[inline(always)]
    fn max_or_nan(self, o: f64) -> f64 {
        if self < o { o } else { self }
    }
}

#[inline(always)]
fn fold(mut v: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            v[i] += v[i + half];
        }
        half /= 2;
    }
    v[0]
}

/// Moments of a block with NaN or infinities in it, one value after the other.
#[cold]
#[inline(never)]
fn careful_moments<T: Real>(block: &[T], origin: f64) -> Moments {
    let mut m = Moments::EMPTY;
    for &x in block {
        let x = x.as_f64();
        if x.is_nan() {
            m.nan += 1;
        } else if x.is_infinite() {
            m.inf += 1;
        } else {
            m = m.join(Moments {
                n: 1,
                zeros: u64::from(x == 0.0),
                mean: x - origin,
                m2: 0.0,
                min: x,
                max: x,
                ..Moments::EMPTY
            });
        }
    }
    m
}
