//! Layers that change the resolution: interpolation and pixel shuffles.

use super::passed;
use super::pool::no_parameters_over_axes;
use crate::forward::Forward;
use wengert_autograd::ops::interpolate::Interpolation;
use wengert_autograd::{Float, Module, Path, Real, Var, Visitor, VisitorMut};

/// The last `D` axes resized, by factors or to sizes, by interpolation: nearest, linear, bilinear, trilinear, bicubic.
///
/// | | shape |
/// |---|---|
/// | input | `[.., space..]` |
/// | output | `[.., sizes..]`, or `[.., ⌊space · factor⌋..]` |
///
/// ```
/// use wengert_autograd::{Tensor, ops::interpolate::Interpolation};
/// use wengert_nn::{Forward, Upsample};
/// let x = Tensor::<f32>::ones([1, 3, 4, 5]);
/// let up = Upsample::by([2.0, 2.0], Interpolation::Nearest);
/// assert_eq!(up.predict(&x).shape(), [1, 3, 8, 10]);
/// let to = Upsample::to([7, 7], Interpolation::LINEAR);
/// assert_eq!(to.predict(&x).shape(), [1, 3, 7, 7]);
/// ```
///
/// # Panics
/// `forward` panics when the input has fewer than `D` axes or a size would be 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Upsample<const D: usize> {
    /// What the axes become.
    pub target: Resolution<D>,
    /// How values between the elements are found.
    pub mode: Interpolation,
}

/// What the last `D` axes become.
///
/// ```
/// use wengert_autograd::ops::interpolate::Interpolation;
/// use wengert_nn::{Resolution, Upsample};
/// let up = Upsample::by([2.0, 2.0], Interpolation::Nearest);
/// assert_eq!(up.target, Resolution::Factors([2.0, 2.0]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution<const D: usize> {
    /// So many elements.
    Sizes([usize; D]),
    /// So many times as many.
    Factors([f64; D]),
}

impl<const D: usize> Upsample<D> {
    /// Resizes to so many elements.
    ///
    /// # Panics
    /// When a size is 0.
    #[track_caller]
    pub fn to(sizes: [usize; D], mode: Interpolation) -> Self {
        assert!(
            !sizes.contains(&0),
            "upsample: expected sizes of at least 1, found {sizes:?}"
        );
        Upsample {
            target: Resolution::Sizes(sizes),
            mode,
        }
    }

    /// Resizes by factors.
    ///
    /// # Panics
    /// When a factor is not positive and finite.
    #[track_caller]
    pub fn by(factors: [f64; D], mode: Interpolation) -> Self {
        assert!(
            factors.iter().all(|f| *f > 0.0 && f.is_finite()),
            "upsample: expected factors above 0, found {factors:?}"
        );
        Upsample {
            target: Resolution::Factors(factors),
            mode,
        }
    }
}

impl<const D: usize, T: Float> Forward<T> for Upsample<D> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let y = match self.target {
            Resolution::Sizes(s) => x.interpolate(s, self.mode),
            Resolution::Factors(f) => x.interpolate_by(f, self.mode),
        };
        passed(self, y)
    }
}

no_parameters_over_axes! {
    Upsample: "Upsample1d", "Upsample2d", "Upsample3d";
}

macro_rules! shuffle {
    ($(#[$doc:meta])* $name:ident, $op:literal, $method:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            factor: usize,
        }

        impl $name {
            /// The layer with factor r.
            ///
            /// # Panics
            /// When it is 0.
            #[track_caller]
            pub fn new(factor: usize) -> Self {
                assert!(factor > 0, concat!($op, ": expected a factor of at least 1, found 0"));
                $name { factor }
            }

            /// The factor r.
            pub fn factor(&self) -> usize {
                self.factor
            }
        }

        impl<T: Float> Forward<T> for $name {
            #[track_caller]
            fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
                passed(self, x.$method(self.factor))
            }
        }
    };
}

shuffle! {
    /// Channels become places (Shi et al. 2016): `[.., c · r², h, w]` → `[.., c, h · r, w · r]`.
    ///
    /// ```
    /// use wengert_autograd::Tensor;
    /// use wengert_nn::{Forward, PixelShuffle};
    /// assert_eq!(PixelShuffle::new(2).predict(&Tensor::<f32>::ones([1, 8, 3, 4])).shape(), [1, 2, 6, 8]);
    /// ```
    ///
    /// # Panics
    /// `forward` panics when r² does not divide the channels.
    PixelShuffle, "pixel_shuffle", pixel_shuffle
}

shuffle! {
    /// Places become channels, the opposite of [`PixelShuffle`]: `[.., c, h · r, w · r]` → `[.., c · r², h, w]`.
    ///
    /// ```
    /// use wengert_autograd::Tensor;
    /// use wengert_nn::{Forward, PixelUnshuffle};
    /// assert_eq!(PixelUnshuffle::new(2).predict(&Tensor::<f32>::ones([1, 2, 6, 8])).shape(), [1, 8, 3, 4]);
    /// ```
    ///
    /// # Panics
    /// `forward` panics when r does not divide height and width.
    PixelUnshuffle, "pixel_unshuffle", pixel_unshuffle
}

super::no_parameters!(PixelShuffle, PixelUnshuffle);
