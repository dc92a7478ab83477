//! Counted bins.

use super::quantiles::{Quantiles, Walk};
use super::summary::Summary;
use wengert_tensor::Real;
use wengert_tensor::lane::{F64Lane, Lane};
use wengert_tensor::simd::{Isa, Kernel, dispatch};

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

    /// The bin of `x`, which lies within the outer edges, from a guess that may be off by one where rounding meets a
    /// border: the edges decide.
    #[inline(always)]
    fn settle(&self, x: f64, guess: u32) -> usize {
        let n = self.counts.len();
        let i = (guess as usize).min(n - 1);
        if x < self.edges[i] {
            i.saturating_sub(1)
        } else if i + 1 < n && x >= self.edges[i + 1] {
            i + 1
        } else {
            i
        }
    }

    /// The bin of `x`, or of the outer edge nearest to it.
    fn bin(&self, x: f64, ruler: &Ruler) -> usize {
        let x = x.clamp(self.edges[0], self.edges[self.counts.len()]);
        self.settle(x, (ruler.share(x) * self.counts.len() as f64) as u32)
    }

    #[inline(always)]
    fn put(&mut self, x: f64, guess: u32) {
        if x < self.edges[0] {
            self.below += u64::from(x.is_finite());
        } else if x <= self.edges[self.counts.len()] {
            let i = self.settle(x, guess);
            self.counts[i] += 1;
        } else {
            // Neither below nor within: above, infinite, or NaN.
            self.above += u64::from(x.is_finite());
        }
    }

    /// Counts values; NaN and infinities are ignored.
    pub fn count<T: Real>(&mut self, values: &[T]) {
        dispatch(CountPass(self, values));
    }

    fn ruler(&self) -> Ruler {
        let (lo, hi) = (self.edges[0], self.edges[self.counts.len()]);
        if self.magnitude {
            Ruler {
                log: true,
                lo: lo.ln(),
                scale: 1.0 / (hi.ln() - lo.ln()),
            }
        } else {
            // Halves, because the width itself may overflow.
            Ruler {
                log: false,
                lo: lo / 2.0,
                scale: 1.0 / (hi / 2.0 - lo / 2.0),
            }
        }
    }

    /// Counts one value; NaN and infinities are ignored.
    pub fn add(&mut self, x: f64) {
        self.count(&[x]);
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
        let ruler = self.ruler();
        self.below += from.below;
        self.above += from.above;
        for (i, &c) in from.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let (lo, hi) = (from.edges[i], from.edges[i + 1]);
            let (first, last) = (self.bin(lo, &ruler), self.bin(hi, &ruler));
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
        let (first, last) = (self.edges[0], self.edges[n]);
        let inside = |lo: f64, hi: f64| (lo.clamp(min, max), hi.clamp(min, max));
        let mut walk = Walk::new(self.total());
        walk.piece(self.below, || inside(min.min(first), first));
        for (i, c) in self.counts.iter().enumerate() {
            walk.piece(*c, || inside(self.edges[i], self.edges[i + 1]));
        }
        walk.piece(self.above, || inside(last, max.max(last)));
        Some(walk.quantiles())
    }
}

/// Where a value lies between the outer edges, as a share of the way.
struct Ruler {
    log: bool,
    lo: f64,
    scale: f64,
}

impl Ruler {
    #[inline(always)]
    fn share(&self, x: f64) -> f64 {
        let x = if self.log { x.ln() } else { x / 2.0 };
        (x - self.lo) * self.scale
    }

    /// How near to a border, in bins, a guess may be wrong: the guess and the edges are rounded.
    fn doubt(&self, h: &Histogram) -> f64 {
        let bins = h.counts.len();
        let largest = h.edges[0].abs().max(h.edges[bins].abs()) / 2.0;
        let doubt = 16.0 * f64::EPSILON * bins as f64 * (1.0 + largest * self.scale);
        if self.log { 1.0 } else { doubt }
    }
}

/// Counts values into bins, a row of guesses at a time.
struct CountPass<'a, T>(&'a mut Histogram, &'a [T]);

/// Values whose bins are guessed together.
const ROW: usize = 16;

impl<T: Real> Kernel for CountPass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let CountPass(h, values) = self;
        let ruler = h.ruler();
        let bins = h.counts.len() as f64;
        let (lo, hi) = (h.edges[0], h.edges[h.counts.len()]);
        let doubt = ruler.doubt(h);
        for row in values.chunks(ROW) {
            let mut x_of = [0.0; ROW];
            let mut guess = [0u32; ROW];
            let mut sure = [false; ROW];
            for (a, b) in x_of.iter_mut().zip(row) {
                *a = b.as_f64();
            }
            if ruler.log {
                for a in &mut x_of {
                    *a = a.abs();
                }
            }
            for i in 0..ROW {
                let x = if ruler.log {
                    F64Lane::<I>::new(x_of[i]).ln().get()
                } else {
                    x_of[i] / 2.0
                };
                // Rounded down into the low bits of a number beyond 2⁵²; a cast would not become vector code.
                const SHIFT: f64 = 4_503_599_627_370_496.0;
                let at = (x - ruler.lo) * ruler.scale * bins;
                let y = at - 0.5;
                let y = if y > 0.0 { y } else { 0.0 };
                let y = if y < bins { y } else { bins };
                guess[i] = (y + SHIFT).to_bits() as u32;
                // The outer edges are compared with, so that a guess is right which is not near to another border.
                let above = at - ((y + SHIFT) - SHIFT);
                let inside = (x_of[i] >= lo) & (x_of[i] <= hi);
                let low = (above > doubt) | (at < 0.5);
                let high = (above < 1.0 - doubt) | (at > bins - 0.5);
                sure[i] = inside & low & high;
            }
            if sure.iter().all(|s| *s) && row.len() == ROW && doubt < 0.25 {
                let last = h.counts.len() - 1;
                for g in guess {
                    h.counts[last.min(g as usize)] += 1;
                }
                continue;
            }
            for i in 0..row.len() {
                h.put(x_of[i], guess[i]);
            }
        }
    }
}
