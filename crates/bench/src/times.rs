//! How long steps took.

/// Times of steps. Of very many, evenly spaced ones are kept, so that the list itself takes no memory to speak of.
pub struct Times {
    kept: Vec<f64>,
    n: usize,
    every: usize,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            kept: Vec::with_capacity(Self::MOST),
            n: 0,
            every: 1,
        }
    }
}

impl Times {
    const MOST: usize = 2048;

    /// How many there were.
    pub fn count(&self) -> usize {
        self.n
    }

    /// The time that a share `q` of the steps stays below; of none at all, NaN.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted
            .get((last as f64 * q) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// Adds one.
    pub fn push(&mut self, ms: f64) {
        if self.n.is_multiple_of(self.every) {
            if self.kept.len() == Self::MOST {
                let mut k = 0;
                self.kept.retain(|_| {
                    k += 1;
                    k % 2 == 1
                });
                self.every *= 2;
            }
            if self.n.is_multiple_of(self.every) {
                self.kept.push(ms);
            }
        }
        self.n += 1;
    }
}
