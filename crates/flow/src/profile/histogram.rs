//! Counted bins.

use super::summary::{Quantiles, Summary, quantiles_of_pieces};

/// Which bins a histogram has.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Bins {
    /// No histogram.
    #[default]
    None,
    /// 64 equal bins over the range of the finite values.
    Auto,
    /// `count` equal bins over `[lo, hi]`; what lies outside is counted apart.
    Linear {
        /// Lower end.
        lo: f64,
        /// Upper end, `> lo`.
        hi: f64,
        /// Number of bins, at least 1.
        count: usize,
    },
    /// `count` bins of equal ratio over the magnitudes `|x|` in `[lo, hi]`: for gradients, which span decades.
    Magnitude {
        /// Lower end, `> 0`.
        lo: f64,
        /// Upper end, `> lo`.
        hi: f64,
        /// Number of bins, at least 1.
        count: usize,
    },
}

/// Largest number of bins; more are cut to this.
const MOST_BINS: usize = 1 << 16;

/// Counts of values by bin.
///
/// Bin `i` counts the values in `[edges[i], edges[i + 1])`, the last bin its upper edge too. With
/// [`magnitude`](Histogram::magnitude) the values are `|x|`. NaN and infinities are in no bin; the summary counts them.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// `counts.len() + 1` rising borders.
    pub edges: Vec<f64>,
    /// Values per bin.
    pub counts: Vec<u64>,
    /// Finite values below the first edge.
    pub below: u64,
    /// Finite values above the last edge.
    pub above: u64,
    /// Whether magnitudes are counted, on edges of equal ratio.
    pub magnitude: bool,
}

impl Histogram {
    /// Bins without counts; `None` when `bins` asks for none, or the range is not finite, not rising, or (for
    /// magnitudes) not positive.
    pub fn empty(bins: Bins, range: &Summary) -> Option<Histogram> {
        let (lo, hi, count, magnitude) = match bins {
            Bins::None => return None,
            // A constant gets one bin of some width around it.
            Bins::Auto if range.min == range.max => {
                let half = (range.min.abs() / 2.0).max(f64::MIN_POSITIVE);
                (range.min - half, range.max + half, 1, false)
            }
            Bins::Auto => (range.min, range.max, 64, false),
            Bins::Linear { lo, hi, count } => (lo, hi, count, false),
            Bins::Magnitude { lo, hi, count } => (lo, hi, count, true),
        };
        if !(lo < hi && lo.is_finite() && hi.is_finite()) || (magnitude && lo <= 0.0) {
            return None;
        }
        let count = count.clamp(1, MOST_BINS);
        let at = |i: usize| {
            let f = i as f64 / count as f64;
            if magnitude {
                (lo.ln() + (hi.ln() - lo.ln()) * f).exp()
            } else {
                // Not lo + (hi - lo) f: the difference may overflow.
                lo * (1.0 - f) + hi * f
            }
        };
        let mut edges: Vec<f64> = (0..=count).map(at).collect();
        (edges[0], edges[count]) = (lo, hi);
        Some(Histogram {
            edges,
            counts: vec![0; count],
            below: 0,
            above: 0,
            magnitude,
        })
    }

    /// Number of values in all bins and outside of them.
    pub fn total(&self) -> u64 {
        self.below + self.above + self.counts.iter().sum::<u64>()
    }

    /// The bin of `x`: `Err(false)` below, `Err(true)` above.
    #[inline]
    fn bin(&self, x: f64) -> Result<usize, bool> {
        let n = self.counts.len();
        let (lo, hi) = (self.edges[0], self.edges[n]);
        let x = if self.magnitude { x.abs() } else { x };
        if x < lo {
            return Err(false);
        }
        if x > hi {
            return Err(true);
        }
        let f = if self.magnitude {
            (x / lo).ln() / (hi / lo).ln()
        } else {
            (x / 2.0 - lo / 2.0) / (hi / 2.0 - lo / 2.0)
        };
        let mut i = ((f * n as f64) as usize).min(n - 1);
        // The guess may be off by one where rounding meets a border; the edges decide.
        if x < self.edges[i] {
            i -= 1;
        } else if i + 1 < n && x >= self.edges[i + 1] {
            i += 1;
        }
        Ok(i)
    }

    /// Counts one value; NaN and infinities are ignored.
    #[inline]
    pub fn add(&mut self, x: f64) {
        if !x.is_finite() {
            return;
        }
        match self.bin(x) {
            Ok(i) => self.counts[i] += 1,
            Err(false) => self.below += 1,
            Err(true) => self.above += 1,
        }
    }

    /// Both histograms together; `None` when one counts magnitudes and the other does not.
    ///
    /// On the same edges counts are added. Otherwise the result has the larger number of bins over the joint range,
    /// and each bin's count is shared among the new bins by overlap (largest remainder, so that no value is lost).
    pub fn merge(&self, other: &Histogram) -> Option<Histogram> {
        if self.magnitude != other.magnitude {
            return None;
        }
        let mut sum = if self.edges == other.edges {
            self.clone()
        } else {
            let (lo, hi) = (
                self.edges[0].min(other.edges[0]),
                self.edges[self.counts.len()].max(other.edges[other.counts.len()]),
            );
            let count = self.counts.len().max(other.counts.len());
            let bins = if self.magnitude {
                Bins::Magnitude { lo, hi, count }
            } else {
                Bins::Linear { lo, hi, count }
            };
            let range = Summary::of::<f64>(&[]);
            let mut h = Histogram::empty(bins, &range)?;
            h.pour(self);
            h
        };
        if self.edges == other.edges {
            for (a, b) in sum.counts.iter_mut().zip(&other.counts) {
                *a += b;
            }
            sum.below += other.below;
            sum.above += other.above;
        } else {
            sum.pour(other);
        }
        Some(sum)
    }

    /// Adds the counts of a histogram whose range lies inside this one's.
    fn pour(&mut self, from: &Histogram) {
        self.below += from.below;
        self.above += from.above;
        for (i, &c) in from.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let (lo, hi) = (from.edges[i], from.edges[i + 1]);
            let first = self.bin(lo).unwrap_or(0);
            let last = self.bin(hi).unwrap_or(self.counts.len() - 1);
            // Cumulative rounding: the shares add up to the count exactly.
            let mut given = 0;
            for k in first..=last {
                let upto = if k == last {
                    1.0
                } else {
                    (self.edges[k + 1] - lo) / (hi - lo)
                };
                let total = (c as f64 * upto).round() as u64;
                let share = total.min(c).saturating_sub(given);
                self.counts[k] += share;
                given += share;
            }
        }
    }

    /// Quantiles, as if values lay evenly within their bin; `None` for magnitudes and for no values. What lies outside
    /// of the bins is spread between `min` or `max` and the nearest edge.
    pub fn quantiles(&self, min: f64, max: f64) -> Option<Quantiles> {
        if self.magnitude || self.total() == 0 {
            return None;
        }
        let n = self.counts.len();
        let mut pieces = vec![(min.min(self.edges[0]), self.edges[0], self.below)];
        pieces.extend((0..n).map(|i| (self.edges[i], self.edges[i + 1], self.counts[i])));
        pieces.push((self.edges[n], max.max(self.edges[n]), self.above));
        let pieces: Vec<_> = pieces
            .into_iter()
            .map(|(a, b, c)| (a.clamp(min, max), b.clamp(min, max), c))
            .collect();
        Some(quantiles_of_pieces(&pieces, self.total()))
    }
}
