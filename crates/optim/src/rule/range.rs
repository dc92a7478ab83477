//! The legal values of a hyperparameter.

use crate::error::{Error, Result};

/// The legal values of a hyperparameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lower bound.
    pub low: f64,
    /// Whether the lower bound itself is refused.
    pub low_open: bool,
    /// Upper bound.
    pub high: f64,
    /// Whether the upper bound itself is refused.
    pub high_open: bool,
}

impl Range {
    /// `x >= 0`, finite.
    pub const NON_NEGATIVE: Range = Range::new(0.0, false, f64::INFINITY, true);
    /// `x > 0`, finite.
    pub const POSITIVE: Range = Range::new(0.0, true, f64::INFINITY, true);
    /// `0 <= x < 1`, for decay rates.
    pub const DECAY: Range = Range::new(0.0, false, 1.0, true);
    /// `0 <= x <= 1`.
    pub const UNIT: Range = Range::new(0.0, false, 1.0, false);
    /// Any finite number.
    pub const FINITE: Range = Range::new(f64::NEG_INFINITY, true, f64::INFINITY, true);

    /// A range from its bounds.
    pub const fn new(low: f64, low_open: bool, high: f64, high_open: bool) -> Range {
        Range {
            low,
            low_open,
            high,
            high_open,
        }
    }

    /// Whether `x` is legal; NaN never is.
    pub fn contains(&self, x: f64) -> bool {
        (if self.low_open {
            x > self.low
        } else {
            x >= self.low
        }) && (if self.high_open {
            x < self.high
        } else {
            x <= self.high
        })
    }

    /// `Ok`, or an error that names the owner, the hyperparameter and the range.
    ///
    /// # Errors
    /// When `value` is not legal.
    pub fn check(&self, owner: &'static str, name: &str, value: f64) -> Result<f64> {
        if self.contains(value) {
            return Ok(value);
        }
        let low = match (self.low == f64::NEG_INFINITY, self.low_open) {
            (true, _) => "finite".to_string(),
            (_, true) => format!("> {}", self.low),
            _ => format!(">= {}", self.low),
        };
        let expected = match (self.high == f64::INFINITY, self.high_open) {
            (true, _) if self.low == f64::NEG_INFINITY => low,
            (true, _) => format!("{low} and finite"),
            (_, true) => format!("{low} and < {}", self.high),
            _ => format!("{low} and <= {}", self.high),
        };
        Err(Error::Hyperparameter {
            owner,
            name: name.to_string(),
            expected,
            value,
        })
    }
}
