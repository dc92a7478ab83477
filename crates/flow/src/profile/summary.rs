//! One pass of moments, one of the distribution.

use super::histogram::{Bins, Histogram};
use crate::hub;
use std::borrow::Cow;
use wengert_tensor::simd::{Isa, Kernel, dispatch};
use wengert_tensor::{Real, parallel};

/// Values that quantiles and histograms are taken from, unless told otherwise: enough for a median to 1 % of the standard
/// deviation.
const SAMPLE: usize = 1 << 14;

/// What [`Summary::with`] looks at beyond the moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detail {
    /// Estimate quantiles (costs a second pass).
    pub quantiles: bool,
    /// Count a histogram (shares that second pass).
    pub histogram: Bins,
    /// The second pass looks at no more than this many values, evenly spaced from first to last; 0 means all.
    /// Moments, extremes and non-finite counts always see every value. The constants below take 16,384.
    pub sample: usize,
}

impl Detail {
    /// Moments, extremes and counts only: one vectorised pass.
    pub const MOMENTS: Detail = Detail {
        quantiles: false,
        histogram: Bins::None,
        sample: 0,
    };
    /// Moments and quantiles; the default of [`Summary::of`].
    pub const QUANTILES: Detail = Detail {
        quantiles: true,
        histogram: Bins::None,
        sample: SAMPLE,
    };

    /// Moments, quantiles and a histogram with the given bins.
    pub const fn histogram(bins: Bins) -> Detail {
        Detail {
            quantiles: true,
            histogram: bins,
            sample: SAMPLE,
        }
    }
}

impl Default for Detail {
    fn default() -> Self {
        Detail::QUANTILES
    }
}

/// Quantiles of the finite values.
///
/// Read off a grid of bins that are 1/32 of a standard deviation wide near the mean and widen in proportion to the
/// distance from it, with the exact share of zeros kept apart: an estimate is off by at most 1/32 of the standard
/// deviation within one standard deviation of the mean, at most 1/32 of the distance plus one deviation outside. Up to
/// 256 values they are exact: the smallest value that at least a share p of the values does not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// 1st percentile.
    pub p01: f64,
    /// 5th percentile.
    pub p05: f64,
    /// First quartile.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// Third quartile.
    pub p75: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// What a set of values looks like: moments, extremes, counts of the unusual, quantiles, histogram.
///
/// Moments and extremes are taken over the **finite** values; NaN and infinities are counted apart, so that one of them
/// does not hide everything else. Arithmetic is `f64` throughout, with deviations from a value of the same block (no
/// cancellation for data far from zero), in an order that depends on the length alone: the same values give the same
/// bits on every machine and for every instruction set.
///
/// ```
/// use wengert_flow::profile::Summary;
/// let s = Summary::of(&[3.0f32, -4.0, 0.0, f32::NAN]);
/// assert_eq!((s.count, s.finite(), s.nan, s.zeros), (4, 3, 1, 1));
/// assert_eq!((s.min, s.max, s.norm), (-4.0, 3.0, 5.0));
/// assert!((s.rms - (25.0f64 / 3.0).sqrt()).abs() < 1e-15);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// All values, finite or not.
    pub count: u64,
    /// How many were NaN.
    pub nan: u64,
    /// How many were +∞ or -∞.
    pub infinite: u64,
    /// How many were exactly ±0.
    pub zeros: u64,
    /// Arithmetic mean of the finite values; NaN when there are none.
    pub mean: f64,
    /// Standard deviation √(Σ(x - mean)² / n), the population form; NaN when there are no finite values.
    pub std: f64,
    /// Root mean square √(Σx² / n); NaN when there are no finite values.
    pub rms: f64,
    /// Smallest finite value; NaN when there are none.
    pub min: f64,
    /// Largest finite value; NaN when there are none.
    pub max: f64,
    /// Euclidean norm √Σx² of the finite values; 0 when there are none.
    pub norm: f64,
    /// Quantiles, if asked for and there are finite values.
    pub quantiles: Option<Quantiles>,
    /// Histogram, if asked for and there are finite values.
    pub histogram: Option<Histogram>,
}

impl Summary {
    /// Moments, extremes and quantiles of `values`: [`Summary::with`] and [`Detail::QUANTILES`].
    pub fn of<T: Real>(values: &[T]) -> Summary {
        Summary::with(values, Detail::QUANTILES)
    }

    /// Summary of `values` in the detail asked for.
    ///
    /// ```
    /// use wengert_flow::profile::{Bins, Detail, Summary};
    /// let v: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
    /// let s = Summary::with(&v, Detail::histogram(Bins::Linear { lo: 0.0, hi: 1.0, count: 4 }));
    /// assert_eq!(s.histogram.unwrap().counts, [250; 4]);
    /// assert!((s.quantiles.unwrap().p25 - 0.25).abs() < 0.01);
    /// ```
    pub fn with<T: Real>(values: &[T], detail: Detail) -> Summary {
        hub::summary(values, detail)
    }

    /// [`with`](Summary::with), compiled in this crate.
    pub(crate) fn measure<T: Real>(values: &[T], detail: Detail) -> Summary {
        let (origin, m) = moments(values);
        let mut s = m.summary(values, origin);
        if s.finite() > 0 && (detail.quantiles || detail.histogram != Bins::None) {
            let step = match detail.sample {
                0 => 1,
                limit => values.len().div_ceil(limit),
            };
            let picked: Cow<[T]> = if step == 1 {
                Cow::Borrowed(values)
            } else {
                Cow::Owned(values.iter().step_by(step).copied().collect())
            };
            if detail.quantiles {
                s.quantiles = Some(if values.len() <= SORTED {
                    sorted_quantiles(values)
                } else {
                    let mut grid = Grid::new(&s);
                    dispatch(GridPass(&mut grid, &picked));
                    grid.quantiles()
                });
            }
            s.histogram = Histogram::empty(detail.histogram, &s).map(|mut h| {
                h.count(&picked);
                h
            });
        }
        s
    }

    /// An estimate for `total` values, of which those of this summary are an even sample: counts and norm grow with the
    /// number, mean, deviation, RMS, quantiles and histogram stay, and so do extremes, which are those of the sample.
    ///
    /// ```
    /// use wengert_flow::profile::Summary;
    /// let s = Summary::of(&[3.0f32, -4.0, 0.0, 0.0]).of_sample(400);
    /// assert_eq!((s.count, s.zeros, s.norm, s.max), (400, 200, 50.0, 3.0));
    /// ```
    pub fn of_sample(mut self, total: usize) -> Summary {
        if self.count > 0 {
            let times = total as f64 / self.count as f64;
            let grown = |n: u64| (n as f64 * times).round() as u64;
            self.nan = grown(self.nan);
            self.infinite = grown(self.infinite);
            self.zeros = grown(self.zeros);
            self.norm *= times.sqrt();
            self.count = total as u64;
        }
        self
    }

    /// Number of finite values.
    pub fn finite(&self) -> u64 {
        self.count - self.nan - self.infinite
    }

    /// Number of NaNs and infinities.
    pub fn non_finite(&self) -> u64 {
        self.nan + self.infinite
    }

    /// Largest magnitude of a finite value; NaN when there are none.
    pub fn max_abs(&self) -> f64 {
        self.max.abs().max(self.min.abs())
    }

    /// Share of values that are exactly zero, in `[0, 1]`; NaN for no values.
    pub fn zero_share(&self) -> f64 {
        self.zeros as f64 / self.count as f64
    }

    /// Summary of both sets of values together.
    ///
    /// Counts, moments and extremes are exact up to rounding (Chan, Golub and LeVeque 1979, equations 1.3 and 1.4).
    /// Histograms are added when both have one, on the bins of `self` if they cover both, else on bins over the joint
    /// range. Quantiles are read off that joint histogram, and given up when there is none.
    ///
    /// ```
    /// use wengert_flow::profile::Summary;
    /// let (a, b) = (Summary::of(&[1.0f32, 2.0]), Summary::of(&[3.0f32, 6.0]));
    /// let s = a.merge(&b);
    /// assert_eq!((s.count, s.mean, s.min, s.max), (4, 3.0, 1.0, 6.0));
    /// ```
    pub fn merge(&self, other: &Summary) -> Summary {
        let (na, nb) = (self.finite() as f64, other.finite() as f64);
        let counts = Summary {
            count: self.count + other.count,
            nan: self.nan + other.nan,
            infinite: self.infinite + other.infinite,
            zeros: self.zeros + other.zeros,
            ..self.clone()
        };
        if nb == 0.0 {
            return counts;
        }
        if na == 0.0 {
            return Summary {
                count: counts.count,
                nan: counts.nan,
                infinite: counts.infinite,
                zeros: counts.zeros,
                ..other.clone()
            };
        }
        let n = na + nb;
        let delta = other.mean - self.mean;
        let mut s = Summary {
            mean: self.mean + delta * (nb / n),
            std: (self.std * (na / n).sqrt())
                .hypot(other.std * (nb / n).sqrt())
                .hypot(delta * (na * nb).sqrt() / n),
            rms: (self.rms * (na / n).sqrt()).hypot(other.rms * (nb / n).sqrt()),
            norm: self.norm.hypot(other.norm),
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            quantiles: None,
            histogram: None,
            ..counts
        };
        if let (Some(a), Some(b)) = (&self.histogram, &other.histogram)
            && let Some(h) = a.merge(b)
        {
            if self.quantiles.is_some() && other.quantiles.is_some() {
                s.quantiles = h.quantiles(s.min, s.max);
            }
            s.histogram = Some(h);
        }
        s
    }
}

/// Values that one thread takes at a time.
const CHUNK: usize = 1 << 13;

/// The origin, and the moments with the mean counted from it.
fn moments<T: Real>(values: &[T]) -> (f64, Moments) {
    let finite = values.iter().map(|x| x.as_f64()).find(|x| x.is_finite());
    let origin = finite.unwrap_or(0.0);
    if values.len() <= CHUNK {
        return (origin, dispatch(MomentPass(values, origin)));
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
const LANES: usize = 16;

/// Running moments of finite values.
#[derive(Clone, Copy)]
struct Moments {
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

    fn summary<T: Real>(&self, values: &[T], origin: f64) -> Summary {
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

/// Up to here sorting is faster than a [`Grid`].
const SORTED: usize = 256;

/// Exact quantiles of the finite values, of which there is one at least.
fn sorted_quantiles<T: Real>(values: &[T]) -> Quantiles {
    let mut v: Vec<f64> = values
        .iter()
        .map(|x| x.as_f64())
        .filter(|x| x.is_finite())
        .collect();
    v.sort_unstable_by(f64::total_cmp);
    let q = |p: f64| v[((p * v.len() as f64).ceil() as usize).max(1) - 1];
    Quantiles {
        p01: q(0.01),
        p05: q(0.05),
        p25: q(0.25),
        p50: q(0.5),
        p75: q(0.75),
        p95: q(0.95),
        p99: q(0.99),
    }
}

/// Fine bins around the mean: t = 1 + |x - mean| / std, cut at the leading bits of its binary form (32 bins an octave).
struct Grid {
    mean: f64,
    inv: f64,
    std: f64,
    min: f64,
    max: f64,
    /// Index `HALF + k` for the k-th bin above the mean, `HALF - 1 - k` below it; then zeros, then what is not finite.
    bins: Vec<u32>,
}

const OCTAVES: usize = 24;
const HALF: usize = OCTAVES * 32;
const ZEROS: usize = 2 * HALF;
const WILD: usize = ZEROS + 1;

impl Grid {
    fn new(s: &Summary) -> Grid {
        Grid {
            mean: s.mean,
            inv: if s.std > 0.0 && s.std.is_finite() {
                1.0 / s.std
            } else {
                0.0
            },
            std: s.std,
            min: s.min,
            max: s.max,
            bins: vec![0; WILD + 1],
        }
    }

    /// The bin around a finite value, zero or not.
    #[inline(always)]
    fn near(&self, x: f64) -> usize {
        let z = (x - self.mean) * self.inv;
        let t = (1.0 + z.abs()) as f32;
        let k = (t.to_bits().wrapping_sub(1f32.to_bits()) >> 18).min(HALF as u32 - 1);
        let i = if z < 0.0 {
            HALF as u32 - 1 - k
        } else {
            HALF as u32 + k
        };
        i as usize
    }

    /// Where a value belongs; without branches, so that a row of them is vector code.
    #[inline(always)]
    fn index(&self, x: f64) -> u32 {
        let i = self.near(x) as u32;
        let i = if x == 0.0 { ZEROS as u32 } else { i };
        if x.abs() <= f64::MAX { i } else { WILD as u32 }
    }

    /// Lower edge of bin `i`.
    fn edge(&self, i: usize) -> f64 {
        let far = |k: usize| f64::from(f32::from_bits(1f32.to_bits() + ((k as u32) << 18))) - 1.0;
        let z = if i >= HALF {
            far(i - HALF)
        } else {
            -far(HALF - i)
        };
        (self.mean + z * self.std).clamp(self.min, self.max)
    }

    fn quantiles(&self) -> Quantiles {
        // Pieces in rising order; the zeros are a piece of no width, cut into the bin that contains 0.
        let mut pieces: Vec<(f64, f64, u64)> = Vec::new();
        // All values lie between the extremes, and so do their bins.
        let (first, last) = (self.near(self.min), self.near(self.max));
        let bins = &self.bins[first..=last];
        let mut zeros = u64::from(self.bins[ZEROS]);
        let n = zeros + bins.iter().map(|c| u64::from(*c)).sum::<u64>();
        for (i, &c) in bins.iter().enumerate().filter(|(_, c)| **c > 0) {
            let (lo, hi) = (self.edge(first + i), self.edge(first + i + 1));
            let c = u64::from(c);
            if zeros > 0 && hi >= 0.0 {
                let between = std::mem::take(&mut zeros);
                if lo < 0.0 {
                    // Which side of zero the bin's own values are on is not known: split by width.
                    let below = ((c as f64 * (-lo / (hi - lo))).round() as u64).min(c);
                    pieces.push((lo, 0.0, below));
                    pieces.push((0.0, 0.0, between));
                    pieces.push((0.0, hi, c - below));
                    continue;
                }
                pieces.push((0.0, 0.0, between));
            }
            pieces.push((lo, hi, c));
        }
        if zeros > 0 {
            pieces.push((0.0, 0.0, zeros));
        }
        quantiles_of_pieces(&pieces, n)
    }
}

/// Counts values into a grid, a row of indices at a time.
struct GridPass<'a, T>(&'a mut Grid, &'a [T]);

impl<T: Real> Kernel for GridPass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let GridPass(grid, values) = self;
        let (rows, rest) = values.as_chunks::<LANES>();
        for row in rows {
            let mut at = [0u32; LANES];
            for i in 0..LANES {
                at[i] = grid.index(row[i].as_f64());
            }
            for i in at {
                grid.bins[i as usize] += 1;
            }
        }
        for x in rest {
            let i = grid.index(x.as_f64());
            grid.bins[i as usize] += 1;
        }
    }
}

/// Quantiles of `n` values that lie evenly within `(lo, hi, count)` pieces.
pub(super) fn quantiles_of_pieces(pieces: &[(f64, f64, u64)], n: u64) -> Quantiles {
    let mut seen = 0.0;
    let mut rest = pieces.iter().filter(|p| p.2 > 0).peekable();
    // Ranks in rising order: the pieces are walked through once.
    let mut q = |p: f64| {
        let rank = p * n as f64;
        while let Some(&&(lo, hi, c)) = rest.peek() {
            let c = c as f64;
            if seen + c >= rank {
                return lo + (hi - lo) * ((rank - seen) / c).clamp(0.0, 1.0);
            }
            seen += c;
            rest.next();
        }
        pieces.last().map_or(f64::NAN, |p| p.1)
    };
    Quantiles {
        p01: q(0.01),
        p05: q(0.05),
        p25: q(0.25),
        p50: q(0.5),
        p75: q(0.75),
        p95: q(0.95),
        p99: q(0.99),
    }
}
