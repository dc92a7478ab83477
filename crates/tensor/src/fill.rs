//! Filling from a generator, and conversion between element types.

use crate::error::{Error, OrPanic, Result};
use crate::normal::standard_normal;
use crate::{Element, IntoDims, Real, Tensor};
use rand::{Rng, RngExt};

impl<T: Real> Tensor<T> {
    /// Uniform on [low, high), drawn in row-major order: 53 random bits a number, so `f32` and `f64` see one stream.
    ///
    /// # Panics
    /// When the bounds are not finite or `low > high`.
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_tensor::Tensor;
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let t = Tensor::<f32>::uniform([2, 3], -1.0, 1.0, &mut rng);
    /// assert!(t.iter().all(|x| (-1.0..1.0).contains(&x)));
    /// ```
    #[track_caller]
    pub fn uniform(
        shape: impl IntoDims,
        low: f64,
        high: f64,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        assert!(
            low.is_finite() && high.is_finite() && low <= high,
            "uniform: expected finite bounds in order, found {low} and {high}"
        );
        let mut t = Self::zeros(shape);
        for x in t.as_mut_slice() {
            let v = T::from_f64(low + (high - low) * rng.random::<f64>());
            // Rounding to f32 may reach the upper bound.
            *x = if v.as_f64() < high || low == high {
                v
            } else {
                T::from_f64(low)
            };
        }
        t
    }

    /// Normal with a mean and a standard deviation, drawn in row-major order in f64.
    ///
    /// # Panics
    /// When `std` is negative or not finite.
    #[track_caller]
    pub fn normal(
        shape: impl IntoDims,
        mean: f64,
        std: f64,
        rng: &mut (impl Rng + ?Sized),
    ) -> Self {
        assert!(
            std >= 0.0 && std.is_finite() && mean.is_finite(),
            "normal: expected a finite mean and standard deviation >= 0, found {mean} and {std}"
        );
        let mut t = Self::zeros(shape);
        for x in t.as_mut_slice() {
            let z = standard_normal(rng);
            *x = T::from_f64(mean + std * z);
        }
        t
    }
}

/// Conversion of one element, with the rules of Rust's `as`: floats to integers saturate and NaN becomes 0, integers to
/// floats round to nearest, anything to `bool` is "not zero".
pub trait Cast<U> {
    /// The converted element.
    fn cast(self) -> U;
}

macro_rules! casts {
    ($($from:ty => $($to:ty),*;)*) => {$($(
        impl Cast<$to> for $from {
            #[inline]
            fn cast(self) -> $to {
                self as $to
            }
        }
    )*)*};
}
casts! {
    f32 => f32, f64, i32, i64, u8;
    f64 => f32, f64, i32, i64, u8;
    i32 => f32, f64, i32, i64, u8;
    i64 => f32, f64, i32, i64, u8;
    u8 => f32, f64, i32, i64, u8;
}

macro_rules! bools {
    ($($t:ty),*) => {$(
        impl Cast<bool> for $t {
            #[inline]
            fn cast(self) -> bool {
                self != <$t as Element>::ZERO
            }
        }
        impl Cast<$t> for bool {
            #[inline]
            fn cast(self) -> $t {
                if self { <$t as Element>::ONE } else { <$t as Element>::ZERO }
            }
        }
    )*};
}
bools!(f32, f64, i32, i64, u8);

impl<T: Element> Tensor<T> {
    /// The elements in another type, by the rules of [`Cast`].
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let t = Tensor::from_vec(vec![1.9f64, f64::NAN, 1e300], [3]);
    /// assert_eq!(t.cast::<i64>().to_vec(), [1, 0, i64::MAX]);
    /// ```
    pub fn cast<U: Element>(&self) -> Tensor<U>
    where
        T: Cast<U>,
    {
        self.map(Cast::cast)
    }

    /// A tensor from nested rows of equal length.
    ///
    /// # Errors
    /// When the rows differ in length.
    pub fn try_from_rows(rows: &[impl AsRef<[T]>]) -> Result<Self> {
        let cols = rows.first().map_or(0, |r| r.as_ref().len());
        let mut data = Vec::new();
        for (i, r) in rows.iter().enumerate() {
            let r = r.as_ref();
            if r.len() != cols {
                return Err(Error::Shape {
                    op: "from_rows",
                    message: format!("row {i} has {} elements, row 0 has {cols}", r.len()),
                });
            }
            data.extend_from_slice(r);
        }
        Self::try_from_vec(data, [rows.len(), cols])
    }

    /// A tensor from nested rows of equal length.
    ///
    /// # Panics
    /// When the rows differ in length.
    #[track_caller]
    pub fn from_rows(rows: &[impl AsRef<[T]>]) -> Self {
        Self::try_from_rows(rows).or_panic()
    }
}

impl Tensor<i64> {
    /// start, start + 1, … below `end`.
    pub fn arange(start: i64, end: i64) -> Self {
        let v: Vec<i64> = (start..end).collect();
        let n = v.len();
        Tensor::from_vec(v, [n])
    }
}
