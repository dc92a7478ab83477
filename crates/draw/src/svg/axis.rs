//! Scales, ranges, ticks.

use crate::number::{decade, pretty};

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences, equal lengths.
    #[default]
    Linear,
    /// Equal ratios, equal lengths. Zeros get a row of their own below the axis.
    Log,
}

/// One axis of a plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What it measures, with the unit.
    pub label: String,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Ends; taken from the data when not given.
    pub range: Option<(f64, f64)>,
    /// Only whole numbers get a tick.
    pub whole: bool,
    /// From high to low instead of low to high.
    pub reversed: bool,
    /// Words at the two ends.
    pub ends: Option<(String, String)>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Axis {
        Axis {
            label: label.into(),
            ..Axis::default()
        }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Axis {
        Axis {
            label: label.into(),
            scale: Scale::Log,
            ..Axis::default()
        }
    }

    /// Fixes the ends.
    pub fn range(mut self, lo: f64, hi: f64) -> Axis {
        self.range = Some((lo, hi));
        self
    }

    /// Ticks at whole numbers only.
    pub fn whole(mut self) -> Axis {
        self.whole = true;
        self
    }

    /// High values first.
    pub fn reversed(mut self) -> Axis {
        self.reversed = true;
        self
    }

    /// Puts words at the first and the last end, as drawn.
    pub fn ends(mut self, first: impl Into<String>, last: impl Into<String>) -> Axis {
        self.ends = Some((first.into(), last.into()));
        self
    }
}

/// A tick: where, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub value: f64,
    pub label: String,
}

/// An axis with its range fixed and laid on the drawing.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub scale: Scale,
    lo: f64,
    hi: f64,
    /// Where `lo` and `hi` are drawn.
    p0: f64,
    p1: f64,
    whole: bool,
}

impl Layout {
    /// Fits the axis to those values that it can show; `pad` widens a linear range by that share.
    pub fn new(axis: &Axis, values: &[f64], p0: f64, p1: f64, pad: f64) -> Layout {
        let log = axis.scale == Scale::Log;
        let shown = |x: &f64| x.is_finite() && (!log || *x > 0.0);
        let fixed = axis.range.filter(|(a, b)| shown(a) && shown(b) && a < b);
        let (mut lo, mut hi) = fixed.unwrap_or_else(|| {
            let mut range = (f64::INFINITY, f64::NEG_INFINITY);
            for x in values.iter().filter(|x| shown(x)) {
                range = (range.0.min(*x), range.1.max(*x));
            }
            range
        });
        if fixed.is_none() {
            if lo > hi {
                (lo, hi) = if log { (0.1, 1.0) } else { (0.0, 1.0) };
            }
            if log {
                // Whole decades, two at least.
                let (mut a, mut b) = ((lo.log10() + 1e-9).floor(), (hi.log10() - 1e-9).ceil());
                while b - a < 2.0 {
                    if a > -300.0 {
                        a -= 1.0;
                    }
                    if b - a < 2.0 && b < 300.0 {
                        b += 1.0;
                    }
                }
                // 10⁻³²⁴ and 10³⁰⁹ are not numbers; at the ends of the format the data decides.
                let (bottom, top) = (10f64.powf(a.max(-323.0)), 10f64.powf(b.min(308.0)));
                (lo, hi) = (lo.min(bottom), hi.max(top));
            } else if lo == hi {
                let d = if lo == 0.0 {
                    1.0
                } else {
                    (lo.abs() * 0.5).max(f64::MIN_POSITIVE)
                };
                (lo, hi) = (lo - d, hi + d);
            } else {
                let d = (hi / 2.0 - lo / 2.0) * 2.0 * pad;
                if d.is_finite() {
                    // A range that begins at zero goes on beginning at zero.
                    let keep = lo == 0.0;
                    (lo, hi) = (if keep { 0.0 } else { lo - d }, hi + d);
                }
            }
        }
        // Padding may have left the range of numbers.
        (lo, hi) = (lo.max(f64::MIN), hi.min(f64::MAX));
        let (p0, p1) = if axis.reversed { (p1, p0) } else { (p0, p1) };
        Layout {
            scale: axis.scale,
            lo,
            hi,
            p0,
            p1,
            whole: axis.whole,
        }
    }

    fn unit(&self, x: f64) -> f64 {
        match self.scale {
            Scale::Linear => {
                let span = self.hi - self.lo;
                if span.is_finite() {
                    (x - self.lo) / span
                } else {
                    (x / 2.0 - self.lo / 2.0) / (self.hi / 2.0 - self.lo / 2.0)
                }
            }
            Scale::Log => (x.log10() - self.lo.log10()) / (self.hi.log10() - self.lo.log10()),
        }
    }

    /// Position of a value, kept near the drawing when it is far outside of the range.
    pub fn at(&self, x: f64) -> f64 {
        self.p0 + (self.p1 - self.p0) * self.unit(x).clamp(-1.0, 2.0)
    }

    /// Whether a value lies within the range.
    pub fn contains(&self, x: f64) -> bool {
        x >= self.lo && x <= self.hi
    }

    /// Lower and upper end of the range.
    pub fn range(&self) -> (f64, f64) {
        (self.lo, self.hi)
    }

    /// At most `most` labelled ticks.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        let most = most.max(2);
        match self.scale {
            Scale::Linear => self.linear_ticks(most),
            Scale::Log => self.log_ticks(most),
        }
    }

    fn linear_ticks(&self, most: usize) -> Vec<Tick> {
        let span = self.hi - self.lo;
        // Out of reach of round steps: wider than the largest number, or finer than the values' own digits.
        let magnitude = self.hi.abs().max(self.lo.abs());
        if !span.is_finite() || span < 1e-300 || span < magnitude * 1e-12 {
            return [self.lo, self.hi]
                .map(|value| Tick {
                    value,
                    label: pretty(value),
                })
                .into();
        }
        let mut step = nice(span / most as f64);
        if self.whole {
            step = step.max(1.0).round();
        }
        while (self.hi / step).floor() - (self.lo / step).ceil() + 1.0 > most as f64 {
            step = nice(step * 1.5);
        }
        let (first, last) = (
            (self.lo / step - 1e-9).ceil() as i64,
            (self.hi / step + 1e-9).floor() as i64,
        );
        // Digits behind the point that the step needs.
        let digits = (-(step.log10() + 1e-9).floor()).max(0.0);
        (first..=last)
            .map(|k| {
                let value = k as f64 * step;
                let big = self.hi.abs().max(self.lo.abs());
                let label = if k == 0 {
                    "0".into()
                } else if digits > 4.0 || big >= 1e6 {
                    short_pretty(value)
                } else {
                    format!("{value:.*}", digits as usize).replace('-', "−")
                };
                Tick { value, label }
            })
            .collect()
    }

    fn log_ticks(&self, most: usize) -> Vec<Tick> {
        let (a, b) = (self.lo.log10(), self.hi.log10());
        let (first, last) = ((a - 1e-9).ceil() as i32, (b + 1e-9).floor() as i32);
        if last - first < 1 {
            // Within one decade: 1, 2, 5.
            let mut t = Vec::new();
            for e in first - 1..=last {
                for m in [1.0, 2.0, 5.0] {
                    let value = m * 10f64.powi(e);
                    if self.contains(value) {
                        t.push(Tick {
                            value,
                            label: short_pretty(value),
                        });
                    }
                }
            }
            return t;
        }
        let stride = self.stride(most);
        (first..=last)
            .filter(|e| e.rem_euclid(stride) == 0)
            .map(|e| Tick {
                value: 10f64.powi(e),
                label: decade(e),
            })
            .collect()
    }

    /// Decades from one labelled tick to the next.
    pub fn stride(&self, most: usize) -> i32 {
        let decades = (self.hi.log10() - self.lo.log10()).ceil() as i32;
        [1, 2, 3, 5, 10, 20, 50, 100]
            .into_iter()
            .find(|s| decades / s < most as i32)
            .unwrap_or(200)
    }

    /// Values between the ticks worth a faint line.
    pub fn minor(&self, most: usize) -> Vec<f64> {
        if self.scale == Scale::Linear {
            return Vec::new();
        }
        let stride = self.stride(most);
        let (first, last) = (
            self.lo.log10().floor() as i32,
            self.hi.log10().ceil() as i32,
        );
        if stride == 1 && last - first <= 4 {
            let mut out = Vec::new();
            for e in first..last {
                for m in 2..10 {
                    let x = f64::from(m) * 10f64.powi(e);
                    if self.contains(x) {
                        out.push(x);
                    }
                }
            }
            out
        } else if (2..=10).contains(&stride) {
            (first..=last)
                .filter(|e| e.rem_euclid(stride) != 0)
                .map(|e| 10f64.powi(e))
                .filter(|x| self.contains(*x))
                .collect()
        } else {
            Vec::new()
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `x`.
fn nice(x: f64) -> f64 {
    let e = 10f64.powf(x.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * e)
        .find(|s| *s >= x * (1.0 - 1e-9))
        .unwrap_or(10.0 * e)
}

/// [`pretty`] without zeros that say nothing.
fn short_pretty(x: f64) -> String {
    let s = pretty(x);
    match s.split_once('×') {
        Some((m, e)) => {
            let m = trim_zeros(m);
            if m == "1" {
                e.into()
            } else {
                format!("{m}×{e}")
            }
        }
        None => trim_zeros(&s).into(),
    }
}

fn trim_zeros(s: &str) -> &str {
    if s.contains('.') {
        s.trim_end_matches('0').trim_end_matches('.')
    } else {
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, lo: f64, hi: f64, most: usize) -> Vec<String> {
        let l = Layout::new(&axis, &[lo, hi], 0.0, 100.0, 0.0);
        l.ticks(most).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(
            labels(Axis::linear(""), 0.0, 1.0, 6),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            labels(Axis::linear("").whole(), 1.0, 30.0, 8),
            ["5", "10", "15", "20", "25", "30"]
        );
        assert_eq!(
            labels(Axis::linear("").whole(), 0.0, 2.0, 8),
            ["0", "1", "2"]
        );
        assert_eq!(
            labels(Axis::linear(""), -3e-7, 3e-7, 4),
            ["−2×10⁻⁷", "0", "2×10⁻⁷"]
        );
        assert_eq!(
            labels(Axis::linear(""), 0.0, 3e6, 4),
            ["0", "10⁶", "2×10⁶", "3×10⁶"]
        );
    }

    #[test]
    fn log_ticks_are_decades() {
        assert_eq!(
            labels(Axis::log(""), 1e-3, 1.0, 8),
            ["10⁻³", "10⁻²", "10⁻¹", "1"]
        );
        let t = labels(Axis::log(""), 3e-45, 0.2, 8);
        assert_eq!(t, ["10⁻⁴⁰", "10⁻³⁰", "10⁻²⁰", "10⁻¹⁰", "1"]);
        assert_eq!(
            labels(Axis::log("").range(0.2, 0.9), 0.0, 0.0, 8),
            ["0.2", "0.5"]
        );
        let l = Layout::new(&Axis::log(""), &[0.0, f64::NAN], 0.0, 1.0, 0.0);
        assert_eq!(l.range(), (0.1 / 10.0, 1.0));
    }

    #[test]
    fn values_are_laid_out_in_the_given_direction() {
        let at = |axis: Axis, x: f64| Layout::new(&axis, &[], 10.0, 110.0, 0.0).at(x);
        assert_eq!(at(Axis::linear("").range(0.0, 4.0), 1.0), 35.0);
        assert_eq!(at(Axis::linear("").range(0.0, 4.0).reversed(), 1.0), 85.0);
        assert!((at(Axis::log("").range(1e-4, 1.0), 1e-3) - 35.0).abs() < 1e-9);
    }

    #[test]
    fn no_range_breaks_it() {
        let ends = [
            0.0,
            -1.0,
            5e-324,
            1e-300,
            1.0,
            1.0 + 1e-15,
            1e300,
            f64::MAX,
            f64::NAN,
            f64::INFINITY,
        ];
        for axis in [
            Axis::linear(""),
            Axis::log(""),
            Axis::linear("").whole(),
            Axis::log("").reversed(),
        ] {
            for a in ends {
                for b in ends {
                    let l = Layout::new(&axis, &[a, b], 10.0, 200.0, 0.05);
                    let (lo, hi) = l.range();
                    assert!(
                        lo < hi && lo.is_finite() && hi.is_finite(),
                        "{a:e} {b:e}: {lo:e} {hi:e}"
                    );
                    assert!(l.ticks(8).len() <= 10, "{a:e} {b:e}");
                    for x in [a, b].into_iter().filter(|x| x.is_finite()) {
                        if axis.scale == Scale::Linear || x > 0.0 {
                            let p = l.at(x);
                            assert!((9.0..=201.0).contains(&p), "{a:e} {b:e}: {x:e} at {p}");
                        }
                    }
                    assert!(l.minor(8).len() < 100);
                }
            }
        }
    }
}
