//! Pooling.

use super::passed;
use crate::forward::Forward;
use wengert_autograd::ops::conv::PerAxis;
use wengert_autograd::ops::pool::{Divisor, Pool};
use wengert_autograd::{Float, Module, Path, Real, Var, Visitor, VisitorMut};

/// `Module` for a layer over `D` axes that owns no parameters: a visit enters and leaves it.
macro_rules! no_parameters_over_axes {
    ($($t:ident: $one:literal, $two:literal, $three:literal;)+) => {$(
        impl<const D: usize, T: Real> Module<T> for $t<D> {
            fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
                let place = crate::layers::place(self);
                visitor.enter_at(path.as_str(), Module::<T>::kind(self), place);
                visitor.leave(path.as_str());
            }
            fn visit_mut(&mut self, _: &mut Path, _: &mut dyn VisitorMut<T>) {}
            fn kind(&self) -> &'static str {
                match D {
                    1 => $one,
                    2 => $two,
                    _ => $three,
                }
            }
        }
    )+};
}
pub(super) use no_parameters_over_axes;

/// Setters of the windows of a pooling layer.
macro_rules! windows {
    () => {
        /// Other distances between windows (default: windows side by side).
        #[must_use]
        pub fn stride(mut self, stride: impl PerAxis<D>) -> Self {
            self.windows.stride = stride.per_axis();
            self
        }

        /// Elements added at both ends of each axis (default: none); at most half of a window.
        #[must_use]
        pub fn padding(mut self, padding: impl PerAxis<D>) -> Self {
            self.windows.padding = padding.per_axis();
            self
        }

        /// Other distances between the elements of a window (default: 1).
        #[must_use]
        pub fn dilation(mut self, dilation: impl PerAxis<D>) -> Self {
            self.windows.dilation = dilation.per_axis();
            self
        }

        /// A last window that hangs over the end counts (default: it does not).
        #[must_use]
        pub fn ceil(mut self) -> Self {
            self.windows.ceil = true;
            self
        }
    };
}

/// Largest element of each window of the last `D` axes: y\[o\] = max over i in window o of x\[i\].
///
/// Windows stand side by side by default: stride = kernel, no padding, dilation 1, as in PyTorch. NaN is larger than
/// everything; the gradient goes to the first of equal elements.
///
/// | | shape |
/// |---|---|
/// | input | `[.., space..]` |
/// | output | `[.., space'..]`, space' = ⌊(space + 2 padding - dilation (kernel - 1) - 1) / stride⌋ + 1 |
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, MaxPool2d};
/// let x = Tensor::<f32>::ones([2, 3, 8, 8]);
/// assert_eq!(MaxPool2d::new(2).predict(&x).shape(), [2, 3, 4, 4]);
/// assert_eq!(MaxPool2d::new(3).stride(2).padding(1).predict(&x).shape(), [2, 3, 4, 4]);
/// ```
///
/// # Panics
/// `forward` panics when an axis is too short for a window, the padding is more than half of the kernel, or a setting is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool<const D: usize> {
    /// The windows.
    pub windows: Pool<D>,
}

/// Maxima of windows of lines.
pub type MaxPool1d = MaxPool<1>;
/// Maxima of windows of images.
pub type MaxPool2d = MaxPool<2>;
/// Maxima of windows of volumes.
pub type MaxPool3d = MaxPool<3>;

impl<const D: usize> MaxPool<D> {
    /// Windows side by side.
    pub fn new(kernel: impl PerAxis<D>) -> Self {
        MaxPool {
            windows: Pool::new(kernel.per_axis()),
        }
    }

    windows!();
}

impl<const D: usize, T: Float> Forward<T> for MaxPool<D> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.max_pool(self.windows))
    }
}

/// Average of each window of the last `D` axes: y\[o\] = Σ over i in window o of x\[i\], divided by the size of the window.
///
/// Windows and shapes as for [`MaxPool`]. The padding counts as zeros by default, as in PyTorch
/// (`count_include_pad=True`); another [`Divisor`] changes that.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{AvgPool1d, Forward};
/// let x = Tensor::<f32>::from_vec(vec![1.0, 3.0, 5.0, 7.0], [1, 1, 4]);
/// assert_eq!(AvgPool1d::new(2).predict(&x).to_vec(), [2.0, 6.0]);
/// ```
///
/// # Panics
/// `forward` panics where that of [`MaxPool`] does, or when a fixed divisor is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool<const D: usize> {
    /// The windows.
    pub windows: Pool<D>,
    /// By what the sums are divided.
    pub divisor: Divisor,
}

/// Averages of windows of lines.
pub type AvgPool1d = AvgPool<1>;
/// Averages of windows of images.
pub type AvgPool2d = AvgPool<2>;
/// Averages of windows of volumes.
pub type AvgPool3d = AvgPool<3>;

impl<const D: usize> AvgPool<D> {
    /// Windows side by side.
    pub fn new(kernel: impl PerAxis<D>) -> Self {
        AvgPool {
            windows: Pool::new(kernel.per_axis()),
            divisor: Divisor::Window,
        }
    }

    windows!();

    /// Another divisor.
    #[must_use]
    pub fn divisor(mut self, divisor: Divisor) -> Self {
        self.divisor = divisor;
        self
    }
}

impl<const D: usize, T: Float> Forward<T> for AvgPool<D> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.avg_pool(self.windows, self.divisor))
    }
}

/// Power sum of each window of the last `D` axes: y\[o\] = (Σ over i in window o of x\[i\]ᵖ)^(1/p).
///
/// Windows and shapes as for [`MaxPool`]; p = 1 gives sums, p = ∞ the largest magnitudes.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, LpPool1d};
/// let x = Tensor::<f64>::from_vec(vec![3.0, 4.0, 0.0, 2.0], [1, 1, 4]);
/// assert_eq!(LpPool1d::new(2.0, 2).predict(&x).to_vec(), [5.0, 2.0]);
/// ```
///
/// # Panics
/// `forward` panics where that of [`MaxPool`] does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LpPool<const D: usize> {
    /// The power.
    pub p: f64,
    /// The windows.
    pub windows: Pool<D>,
}

/// Power sums of windows of lines.
pub type LpPool1d = LpPool<1>;
/// Power sums of windows of images.
pub type LpPool2d = LpPool<2>;
/// Power sums of windows of volumes.
pub type LpPool3d = LpPool<3>;

impl<const D: usize> LpPool<D> {
    /// Windows side by side.
    ///
    /// # Panics
    /// When p is not above 0.
    #[track_caller]
    pub fn new(p: f64, kernel: impl PerAxis<D>) -> Self {
        assert!(p > 0.0, "lp_pool: expected p > 0, found {p}");
        LpPool {
            p,
            windows: Pool::new(kernel.per_axis()),
        }
    }

    windows!();
}

impl<const D: usize, T: Float> Forward<T> for LpPool<D> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.lp_pool(self.p, self.windows))
    }
}

/// Largest element of each of a given number of parts of the last `D` axes; part o of n elements in m parts covers
/// ⌊o n / m⌋ .. ⌈(o + 1) n / m⌉.
///
/// | | shape |
/// |---|---|
/// | input | `[.., space..]` |
/// | output | `[.., sizes..]` |
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{AdaptiveMaxPool2d, Forward};
/// let x = Tensor::<f32>::ones([2, 3, 7, 5]);
/// assert_eq!(AdaptiveMaxPool2d::new([2, 3]).predict(&x).shape(), [2, 3, 2, 3]);
/// ```
///
/// # Panics
/// `forward` panics when an axis is empty or a size is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveMaxPool<const D: usize> {
    /// Sizes of the output.
    pub sizes: [usize; D],
}

/// Maxima of parts of lines.
pub type AdaptiveMaxPool1d = AdaptiveMaxPool<1>;
/// Maxima of parts of images.
pub type AdaptiveMaxPool2d = AdaptiveMaxPool<2>;
/// Maxima of parts of volumes.
pub type AdaptiveMaxPool3d = AdaptiveMaxPool<3>;

impl<const D: usize> AdaptiveMaxPool<D> {
    /// An output of the given sizes.
    pub fn new(sizes: impl PerAxis<D>) -> Self {
        AdaptiveMaxPool {
            sizes: sizes.per_axis(),
        }
    }
}

impl<const D: usize, T: Float> Forward<T> for AdaptiveMaxPool<D> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.adaptive_max_pool(self.sizes))
    }
}

/// Average of each of a given number of parts of the last `D` axes; parts, shapes and refusals as for
/// [`AdaptiveMaxPool`].
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{AdaptiveAvgPool2d, Forward};
/// let x = Tensor::<f32>::ones([2, 3, 7, 5]);
/// assert_eq!(AdaptiveAvgPool2d::new(1).predict(&x).shape(), [2, 3, 1, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveAvgPool<const D: usize> {
    /// Sizes of the output.
    pub sizes: [usize; D],
}

/// Averages of parts of lines.
pub type AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
/// Averages of parts of images.
pub type AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
/// Averages of parts of volumes.
pub type AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

impl<const D: usize> AdaptiveAvgPool<D> {
    /// An output of the given sizes.
    pub fn new(sizes: impl PerAxis<D>) -> Self {
        AdaptiveAvgPool {
            sizes: sizes.per_axis(),
        }
    }
}

impl<const D: usize, T: Float> Forward<T> for AdaptiveAvgPool<D> {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, x.adaptive_avg_pool(self.sizes))
    }
}

no_parameters_over_axes! {
    MaxPool: "MaxPool1d", "MaxPool2d", "MaxPool3d";
    AvgPool: "AvgPool1d", "AvgPool2d", "AvgPool3d";
    LpPool: "LpPool1d", "LpPool2d", "LpPool3d";
    AdaptiveMaxPool: "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d";
    AdaptiveAvgPool: "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d";
}

/// The elements of each channel side by side: `[n, channels, space]`.
#[track_caller]
fn channels<'t, T: Float>(op: &str, x: Var<'t, T>) -> Var<'t, T> {
    let s = x.shape();
    assert!(
        s.len() > 2,
        "{op}: expected [n, channels, space..], found shape {:?}",
        s.as_slice()
    );
    x.flatten(2, -1)
}

/// Mean of each channel (Lin et al. 2014): `[n, channels, space..]` → `[n, channels]`, what stands between the
/// convolutions and the classifier of a ResNet.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, GlobalAvgPool};
/// assert_eq!(GlobalAvgPool.predict(&Tensor::<f32>::ones([2, 3, 7, 5])).to_vec(), [1.0; 6]);
/// ```
///
/// # Panics
/// `forward` panics when the rank is below 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GlobalAvgPool;

impl<T: Float> Forward<T> for GlobalAvgPool {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        passed(self, channels("global_avg_pool", x).mean_dim(-1, false))
    }
}

/// Largest element of each channel: `[n, channels, space..]` → `[n, channels]`; the gradient goes to the first of equals.
///
/// ```
/// use wengert_autograd::Tensor;
/// use wengert_nn::{Forward, GlobalMaxPool};
/// assert_eq!(GlobalMaxPool.predict(&Tensor::<f32>::ones([2, 3, 7, 5])).to_vec(), [1.0; 6]);
/// ```
///
/// # Panics
/// `forward` panics when the rank is below 3 or there is no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GlobalMaxPool;

impl<T: Float> Forward<T> for GlobalMaxPool {
    #[track_caller]
    fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let x = channels("global_max_pool", x);
        passed(self, x.adaptive_max_pool([1]).squeeze(-1))
    }
}

super::no_parameters!(GlobalAvgPool, GlobalMaxPool);
