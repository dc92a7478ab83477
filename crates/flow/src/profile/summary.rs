//! One pass of moments, one of the distribution.

use super::histogram::{Bins, Histogram};
use super::moments::moments;
use super::quantiles::{Grid, Quantiles, SORTED, sorted_quantiles};
use crate::hub;
use wengert_draw::svg::{Distribution, Ridge};
use wengert_tensor::Real;

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

impl Distribution for Summary {
    fn ridge(&self) -> Option<Ridge> {
        let h = self.histogram.as_ref().filter(|h| h.total() > 0)?;
        Some(Ridge {
            edges: h.edges.clone(),
            counts: h.counts.clone(),
            total: h.total(),
            magnitude: h.magnitude,
            zeros: self.zeros as f64 / self.finite() as f64,
            min: self.min,
            max: self.max,
            mean: self.mean,
            std: self.std,
        })
    }
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
            s.distribution(values, detail);
        }
        s
    }

    /// Adds quantiles and histogram.
    fn distribution<T: Real>(&mut self, values: &[T], detail: Detail) {
        let mut histogram = Histogram::empty(detail.histogram, self);
        let sorted = values.len() <= SORTED;
        let mut grid = (detail.quantiles && !sorted).then(|| Grid::new(self));
        let mut count = |values: &[T]| {
            if let Some(g) = &mut grid {
                g.count(values);
            }
            if let Some(h) = &mut histogram {
                h.count(values);
            }
        };
        match detail.sample {
            limit if limit > 0 && values.len() > limit => {
                // An odd step: an even one would see few of the columns of a matrix.
                let step = values.len().div_ceil(limit) | 1;
                let mut run = [T::ZERO; 256];
                let mut picked = values.iter().step_by(step);
                loop {
                    let places = run.iter_mut().zip(&mut picked);
                    let n = places.map(|(place, x)| *place = *x).count();
                    count(&run[..n]);
                    if n < run.len() {
                        break;
                    }
                }
            }
            _ => count(values),
        }
        if detail.quantiles {
            self.quantiles = Some(match &grid {
                Some(g) => g.quantiles(),
                None => sorted_quantiles(values),
            });
        }
        self.histogram = histogram;
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
