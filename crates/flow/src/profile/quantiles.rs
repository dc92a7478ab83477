//! Quantiles: exact of few values, off a fine grid of many.

use super::Summary;
use super::moments::LANES;
use wengert_tensor::Real;
use wengert_tensor::simd::{Isa, Kernel, dispatch};

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

impl Quantiles {
    /// From the value at a rank in 0..=1; asked in rising order.
    fn of(q: &mut dyn FnMut(f64) -> f64) -> Self {
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
}

/// Up to here sorting is faster than a [`Grid`].
pub(super) const SORTED: usize = 256;

/// Exact quantiles of the finite values, of which there is one at least.
pub(super) fn sorted_quantiles<T: Real>(values: &[T]) -> Quantiles {
    let mut v: Vec<f64> = values
        .iter()
        .map(|x| x.as_f64())
        .filter(|x| x.is_finite())
        .collect();
    v.sort_unstable_by(f64::total_cmp);
    let mut q = |p: f64| v[((p * v.len() as f64).ceil() as usize).max(1) - 1];
    Quantiles::of(&mut q)
}

/// Quantiles of some values of a set with this mean, deviation and extremes.
pub(super) fn grid_quantiles<T: Real>(s: &Summary, values: &[T]) -> Quantiles {
    let mut grid = Grid::new(s);
    dispatch(GridPass(&mut grid, values));
    grid.quantiles()
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
    Quantiles::of(&mut q)
}
