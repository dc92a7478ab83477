//! Looking for what is not finite.

use std::sync::atomic::{AtomicU64, Ordering};
use wengert_tensor::{Real, Tensor, parallel};

/// Bounds below it prove that a number is finite: far from the largest one, so that rounding does not matter.
pub(crate) fn limit<T: Real>() -> f64 {
    T::max_value().as_f64() / 4.0
}

/// Elements of the stretch of memory that [`largest`] reads: the elements of the tensor, or fewer if it repeats them.
pub(crate) fn reach<T: Real>(t: &Tensor<T>) -> usize {
    t.layout().extent().map_or(0, |(low, high)| high - low + 1)
}

/// A bound on the magnitude of every element of a tensor: the largest one in the stretch of memory that it lies in. NaN or
/// infinite if an element there is.
///
/// ```
/// use wengert_autograd::{Tensor, largest};
/// assert_eq!(largest(&Tensor::from_vec(vec![1.0f32, -3.0], [2])), 3.0);
/// assert!(!largest(&Tensor::from_vec(vec![f64::NAN, 1.0], [2])).is_finite());
/// ```
pub fn largest<T: Real>(t: &Tensor<T>) -> T {
    let Some((low, high)) = t.layout().extent() else {
        return T::ZERO;
    };
    let x = &t.storage().as_slice()[low..=high];
    if x.len() <= parallel::GRAIN || parallel::threads() == 1 {
        return T::largest_magnitude(x);
    }
    // Magnitudes order as the bits of their exact `f64`, NaN above infinity.
    let most = AtomicU64::new(0);
    parallel::tasks(x.len().div_ceil(parallel::GRAIN), |i| {
        let from = i * parallel::GRAIN;
        let part = &x[from..(from + parallel::GRAIN).min(x.len())];
        let m = T::largest_magnitude(part).as_f64().to_bits();
        most.fetch_max(m, Ordering::Relaxed);
    });
    T::from_f64(f64::from_bits(most.into_inner()))
}
