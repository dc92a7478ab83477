//! Numbers for people.

use std::fmt::Write;

/// Smallest and largest of the finite values seen so far; `lo > hi` before the first.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The smallest.
    pub lo: f64,
    /// The largest.
    pub hi: f64,
}

impl Default for Range {
    fn default() -> Self {
        Range {
            lo: f64::INFINITY,
            hi: f64::NEG_INFINITY,
        }
    }
}

impl Range {
    /// Of these values.
    pub fn of(values: &[f64]) -> Range {
        let mut range = Range::default();
        values.iter().for_each(|x| range.see(*x));
        range
    }

    /// Takes a value in, if it is finite.
    pub fn see(&mut self, x: f64) {
        if x.is_finite() {
            self.lo = self.lo.min(x);
            self.hi = self.hi.max(x);
        }
    }
}

/// Three significant digits, short enough for a column: `0.0123`, `12.3`, `1.23e-8`, `0`, `NaN`, `∞`.
///
/// ```
/// use wengert_draw::number::short;
/// assert_eq!(short(0.012345), "0.0123");
/// assert_eq!(short(123456.0), "1.23e5");
/// assert_eq!(short(1.0), "1.00");
/// assert_eq!(short(9.999e-9), "1.00e-8");
/// assert_eq!((short(0.0), short(f64::NEG_INFINITY)), ("0".into(), "-∞".into()));
/// ```
pub fn short(x: f64) -> String {
    match special(x) {
        Some(s) => s.into(),
        None => {
            // Rounding first: 9.999 has the exponent of 10.
            let e = format!("{x:.2e}");
            let (m, exp) = split(&e);
            if (-3..5).contains(&exp) {
                format!("{:.*}", (2 - exp).max(0) as usize, x)
            } else {
                format!("{m}e{exp}")
            }
        }
    }
}

/// As [`short`], in print: `1.23×10⁻⁸`.
///
/// ```
/// use wengert_draw::number::pretty;
/// assert_eq!(pretty(1.234e-8), "1.23×10⁻⁸");
/// assert_eq!(pretty(-0.5), "−0.500");
/// ```
pub fn pretty(x: f64) -> String {
    let s = short(x).replace('-', "−");
    match s.split_once('e') {
        Some((m, e)) => format!("{m}×10{}", superscript(&e.replace('−', "-"))),
        None => s,
    }
}

/// The power of ten nearest below in print: `10⁻⁸`; `1` and `10` stay as they are.
pub fn decade(exponent: i32) -> String {
    match exponent {
        0 => "1".into(),
        1 => "10".into(),
        e => format!("10{}", superscript(&e.to_string())),
    }
}

fn superscript(digits: &str) -> String {
    digits
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            c => c
                .to_digit(10)
                .and_then(|d| char::from_u32(0x2070 + d))
                .unwrap_or(c),
        })
        .collect()
}

/// A share as percent: `97.2 %`, `<0.1 %`.
///
/// ```
/// use wengert_draw::number::percent;
/// assert_eq!(percent(0.972), "97.2 %");
/// assert_eq!(percent(0.0001), "<0.1 %");
/// assert_eq!((percent(1.0), percent(0.0)), ("100 %".into(), "0 %".into()));
/// ```
pub fn percent(share: f64) -> String {
    if let Some(s) = special(share) {
        return if share == 0.0 { "0 %".into() } else { s.into() };
    }
    let p = share * 100.0;
    if p > 0.0 && p < 0.1 {
        return "<0.1 %".into();
    }
    let s = format!("{p:.1}");
    format!("{} %", s.strip_suffix(".0").unwrap_or(&s))
}

/// How many times, in words where there are words: `3.2`, `40`, `5 thousand`, `12 million`, `7 trillion`, `10²⁴`.
///
/// ```
/// use wengert_draw::number::times;
/// assert_eq!(times(3.21), "3.2");
/// assert_eq!(times(5.4e3), "5 thousand");
/// assert_eq!(times(2.5e7), "25 million");
/// assert_eq!(times(3e24), "10²⁴");
/// ```
pub fn times(factor: f64) -> String {
    if let Some(s) = special(factor) {
        return s.into();
    }
    let e = format!("{factor:.1e}");
    let (_, exp) = split(&e);
    let unit = ["", " thousand", " million", " billion", " trillion"];
    match exp {
        ..0 => pretty(factor),
        0 if factor < 9.95 => format!("{factor:.1}"),
        0..=2 => round_to(factor, 2),
        3..=14 => {
            let u = (exp / 3) as usize;
            format!(
                "{}{}",
                round_to(factor / 10f64.powi(exp / 3 * 3), 2),
                unit[u]
            )
        }
        _ => decade(exp),
    }
}

/// Rounded to `digits` significant digits, written as an integer.
fn round_to(x: f64, digits: i32) -> String {
    let unit = 10f64.powi((x.log10().floor() as i32 + 1 - digits).max(0));
    format!("{:.0}", (x / unit).round() * unit)
}

fn special(x: f64) -> Option<&'static str> {
    if x.is_nan() {
        Some("NaN")
    } else if x == f64::INFINITY {
        Some("∞")
    } else if x == f64::NEG_INFINITY {
        Some("-∞")
    } else if x == 0.0 {
        Some("0")
    } else {
        None
    }
}

/// Mantissa and exponent of `1.23e-8`.
fn split(e: &str) -> (&str, i32) {
    let (m, x) = e.split_once('e').unwrap_or((e, "0"));
    (m, x.parse().unwrap_or(0))
}

/// A list in words: `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    let mut s = String::new();
    for (i, item) in items.iter().enumerate() {
        let sep = match i {
            0 => "",
            i if i + 1 == items.len() => " and ",
            _ => ", ",
        };
        write!(s, "{sep}{item}").expect("a string takes all");
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_magnitude_is_short() {
        for e in -320..=308 {
            for m in [1.0, 2.345, 9.9951, 9.9949] {
                let x: f64 = format!("{m}e{e}").parse().unwrap();
                if x.is_infinite() {
                    continue;
                }
                let s = short(x);
                assert!(s.chars().count() <= 9, "{x:e}: {s}");
                let back: f64 = s.parse().unwrap();
                if x >= f64::MIN_POSITIVE {
                    assert!((back / x - 1.0).abs() < 0.006, "{x:e}: {s}");
                }
                assert_eq!(short(-x), format!("-{s}"));
            }
        }
        assert_eq!(short(99_999.0), "1.00e5");
        assert_eq!(short(0.001), "0.00100");
        assert_eq!(times(999.9), "1 thousand");
        assert_eq!(times(994.0), "990");
        assert_eq!(times(1e15), "10¹⁵");
        assert_eq!(times(f64::INFINITY), "∞");
        assert_eq!(decade(-12), "10⁻¹²");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
