//! Layers that change the shape only.

use super::no_parameters;
use crate::forward::Forward;
use wengert_autograd::{Float, Var};

/// Merges the axes from `start` to `end` (inclusive); by default all but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// First axis merged.
    pub start: isize,
    /// Last axis merged.
    pub end: isize,
}

impl Flatten {
    /// All axes but the first: `[n, a, b, ..]` → `[n, a · b · ..]`.
    pub const fn new() -> Self {
        Flatten { start: 1, end: -1 }
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Forward<T> for Flatten {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        // A batch of vectors is flat already where a batch of numbers would have no second axis.
        if self.start == 1 && x.rank() == 1 {
            return x.unsqueeze(1);
        }
        x.flatten(self.start, self.end)
    }
}

no_parameters!(Flatten);
