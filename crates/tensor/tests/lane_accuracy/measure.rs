//! Errors in units of the last place, and the bounds that the documentation states.

use std::collections::BTreeMap;

/// The rows `| function | f32 | f64 |` of the table in the documentation of `lane`: the promise under test.
pub fn bounds() -> BTreeMap<&'static str, [f64; 2]> {
    let doc = include_str!("../../src/lane/mod.rs");
    doc.lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let bound = |i: usize| cells[i].parse().expect("a number of ulp");
            (cells[0].trim_end_matches('`'), [bound(1), bound(2)])
        })
        .collect()
}

/// Distance of `y` from the value `high + low`, in units of the last place of that value in a format of `bits`
/// significand bits and least exponent `least`.
pub fn ulps(y: f64, high: f64, low: f64, bits: i32, least: i32, max: f64) -> f64 {
    if y.to_bits() == high.to_bits() && low == 0.0 || y.is_nan() && high.is_nan() {
        return 0.0;
    }
    if y.is_nan() || high.is_nan() || y == 0.0 && high == 0.0 {
        return f64::INFINITY;
    }
    if high.abs() > max || y.is_infinite() {
        // Overflow: the value is beyond the largest number, or the last half unit before it.
        let near = y.is_infinite() && high.abs() >= max
            || y.abs() == max && high.abs() <= max * 1.000_000_1;
        let same = y.is_sign_negative() == high.is_sign_negative();
        return if same && (near || y == high) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = ((high.abs().to_bits() >> 52) as i32 - 1023).max(least) - (bits - 1);
    let ulp = if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (exponent + 1074))
    };
    (((y - high) - low) / ulp).abs()
}

pub struct Worst {
    pub ulps: f64,
    pub x: f64,
    pub y: f64,
}

impl Worst {
    pub fn new() -> Self {
        Worst {
            ulps: 0.0,
            x: 0.0,
            y: 0.0,
        }
    }
    pub fn see(&mut self, ulps: f64, x: f64, y: f64) {
        if ulps > self.ulps {
            *self = Worst { ulps, x, y };
        }
    }
}
