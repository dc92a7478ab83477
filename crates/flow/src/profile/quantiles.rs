//! Quantiles: exact of few values, off a fine grid of many.

use super::Summary;
use super::moments::LANES;
use wengert_tensor::Real;
use wengert_tensor::order::ascending_floats;
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
    /// From the values at these [`RANKS`].
    fn of([p01, p05, p25, p50, p75, p95, p99]: [f64; 7]) -> Self {
        Quantiles {
            p01,
            p05,
            p25,
            p50,
            p75,
            p95,
            p99,
        }
    }
}

/// The shares of the values that the fields of [`Quantiles`] do not fall short of.
const RANKS: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// Up to here sorting is faster than a [`Grid`].
pub(super) const SORTED: usize = 256;

/// Exact quantiles of the finite values, of which there is one at least.
pub(super) fn sorted_quantiles<T: Real>(values: &[T]) -> Quantiles {
    let mut v: Vec<f64> = values
        .iter()
        .map(|x| x.as_f64())
        .filter(|x| x.is_finite())
        .collect();
    ascending_floats(&mut v);
    Quantiles::of(RANKS.map(|p| v[((p * v.len() as f64).ceil() as usize).max(1) - 1]))
}

/// Fine bins around the mean: t = 1 + |x - mean| / std, cut at the leading bits of its binary form (32 bins an octave).
pub(super) struct Grid {
    mean: f64,
    inv: f64,
    std: f64,
    min: f64,
    max: f64,
    /// Values counted, finite or not.
    counted: u64,
    /// Index `HALF + k` for the k-th bin above the mean, `HALF - 1 - k` below it; then zeros, then what is not finite.
    bins: [u32; WILD + 1],
}

const OCTAVES: usize = 24;
const HALF: usize = OCTAVES * 32;
const ZEROS: usize = 2 * HALF;
const WILD: usize = ZEROS + 1;

impl Grid {
    /// For values of a set with this mean, deviation and extremes.
    pub(super) fn new(s: &Summary) -> Grid {
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
            counted: 0,
            bins: [0; WILD + 1],
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

    /// Counts values.
    pub(super) fn count<T: Real>(&mut self, values: &[T]) {
        self.counted += values.len() as u64;
        dispatch(GridPass(self, values));
    }

    /// Quantiles of what was counted.
    pub(super) fn quantiles(&self) -> Quantiles {
        // All values lie between the extremes, and so do their bins.
        let (first, last) = (self.near(self.min), self.near(self.max));
        let zeros = u64::from(self.bins[ZEROS]);
        let n = self.counted - u64::from(self.bins[WILD]);
        // The zeros are a piece of no width, cut into the bin that contains 0.
        let cut = if zeros > 0 {
            self.near(0.0).clamp(first, last)
        } else {
            WILD
        };
        let mut walk = Walk::new(n);
        for i in first..=last {
            let c = u64::from(self.bins[i]);
            if i == cut {
                let (lo, hi) = (self.edge(i), self.edge(i + 1));
                // Which side of zero the bin's own values are on is not known: split by width.
                let share = if lo < 0.0 && hi > lo {
                    -lo / (hi - lo)
                } else {
                    0.0
                };
                let below = ((c as f64 * share).round() as u64).min(c);
                walk.piece(below, || (lo, hi.min(0.0)));
                walk.piece(zeros, || (0.0, 0.0));
                walk.piece(c - below, || (lo.max(0.0), hi));
            } else {
                walk.piece(c, || (self.edge(i), self.edge(i + 1)));
            }
        }
        walk.quantiles()
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

/// Walks over pieces in rising order, and notes the values at the ranks that it passes.
pub(super) struct Walk {
    n: f64,
    seen: f64,
    passed: usize,
    at: [f64; 7],
}

impl Walk {
    /// Over `n` values.
    pub(super) fn new(n: u64) -> Walk {
        Walk {
            n: n as f64,
            seen: 0.0,
            passed: 0,
            at: [f64::NAN; 7],
        }
    }

    /// `count` values that lie evenly between two edges, which are asked for where a rank lies among them.
    #[inline(always)]
    pub(super) fn piece(&mut self, count: u64, edges: impl Fn() -> (f64, f64)) {
        if count > 0 {
            let (c, before) = (count as f64, self.seen);
            self.seen += c;
            while let Some(rank) = RANKS.get(self.passed).map(|p| p * self.n)
                && self.seen >= rank
            {
                let (lo, hi) = edges();
                self.at[self.passed] = lo + (hi - lo) * ((rank - before) / c).clamp(0.0, 1.0);
                self.passed += 1;
            }
        }
    }

    pub(super) fn quantiles(self) -> Quantiles {
        Quantiles::of(self.at)
    }
}
