//! Pooling over windows of the last axes: maximum, average, power mean, with fixed or adaptive windows.
//!
//! One implementation for any number of axes up to three: `[2]` pools lines, `[2, 2]` images, `[2, 2, 2]` volumes. All
//! axes before the last ones are batch axes.
//!
//! The gradient of the maximum goes to the first of equal elements (as PyTorch's). It is found again from the input in
//! the backward pass, so no indices are stored.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::index::check_indices;
use crate::var::Var;
pub use kernels::Divisor;
use kernels::{Axes, Axis};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Result, Tensor};

pub(crate) mod kernels;

/// Windows over the last `D` axes.
///
/// ```
/// use wengert_autograd::{Tape, Tensor, ops::pool::Pool};
/// let tape = Tape::<f32>::inference();
/// let x = tape.input(&Tensor::zeros([2, 3, 8, 8]));
/// assert_eq!(x.max_pool([2, 2]).shape().as_slice(), [2, 3, 4, 4]);
/// let p = Pool::new([3, 3]).stride([2, 2]).padding([1, 1]);
/// assert_eq!(x.max_pool(p).shape().as_slice(), [2, 3, 4, 4]);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pool<const D: usize> {
    /// Sizes of a window.
    pub kernel: [usize; D],
    /// Distances between windows; by default the sizes of a window.
    pub stride: [usize; D],
    /// Elements added at both ends of each axis: -∞ for the maximum, 0 for the average. At most half of a window.
    pub padding: [usize; D],
    /// Distances between the elements of a window.
    pub dilation: [usize; D],
    /// Whether a last window that hangs over the end counts.
    pub ceil: bool,
}

impl<const D: usize> Pool<D> {
    /// Windows side by side.
    pub const fn new(kernel: [usize; D]) -> Self {
        Pool {
            kernel,
            stride: kernel,
            padding: [0; D],
            dilation: [1; D],
            ceil: false,
        }
    }

    /// Other distances between windows.
    #[must_use]
    pub const fn stride(mut self, stride: [usize; D]) -> Self {
        self.stride = stride;
        self
    }

    /// Elements added at both ends.
    #[must_use]
    pub const fn padding(mut self, padding: [usize; D]) -> Self {
        self.padding = padding;
        self
    }

    /// Other distances between the elements of a window.
    #[must_use]
    pub const fn dilation(mut self, dilation: [usize; D]) -> Self {
        self.dilation = dilation;
        self
    }

    /// A last window that hangs over the end counts, if it starts inside the input or the padding before it.
    #[must_use]
    pub const fn ceil(mut self) -> Self {
        self.ceil = true;
        self
    }

    /// The windows along axis `i`, for `n` elements.
    fn axis(&self, op: &'static str, i: usize, n: usize) -> Result<Axis> {
        let [k, s, p, d] = [self.kernel, self.stride, self.padding, self.dilation].map(|a| a[i]);
        if k == 0 || s == 0 || d == 0 {
            return Err(shape_error(
                op,
                format!("expected kernel, stride and dilation of at least 1, found {self:?}"),
            ));
        }
        if p > k / 2 {
            return Err(shape_error(
                op,
                format!("expected a padding of at most half of the kernel, found {self:?}"),
            ));
        }
        let reach = (k - 1).checked_mul(d).and_then(|r| r.checked_add(1));
        let whole = n.saturating_add(2 * p);
        let steps = reach.and_then(|r| match whole.checked_sub(r) {
            Some(room) if self.ceil => Some(room.div_ceil(s)),
            Some(room) => Some(room / s),
            // The only window hangs over the end.
            None => (self.ceil && r - whole < s).then_some(0),
        });
        let too_short = || {
            shape_error(
                op,
                format!("axis {i} of the pooled axes has {n} elements, too few for {self:?}"),
            )
        };
        let mut m = steps.filter(|_| n > 0).ok_or_else(too_short)? + 1;
        if self.ceil && (m - 1) * s >= n + p {
            m -= 1;
        }
        let axis = Axis {
            n,
            m,
            k,
            s,
            p,
            d,
            adaptive: false,
        };
        // A dilated window may step over a short input.
        if (0..m).any(|o| axis.span(o).1 == 0) {
            return Err(too_short());
        }
        Ok(axis)
    }
}

impl<const D: usize> From<[usize; D]> for Pool<D> {
    fn from(kernel: [usize; D]) -> Self {
        Pool::new(kernel)
    }
}

/// The last `D` axes of a shape, each turned into windows.
fn last_axes<const D: usize>(
    op: &'static str,
    shape: &[usize],
    f: impl Fn(usize, usize) -> Result<Axis>,
) -> Result<Axes> {
    const { assert!(D >= 1 && D <= 3, "pooling takes one to three axes") };
    let Some(first) = shape.len().checked_sub(D) else {
        return Err(shape_error(
            op,
            format!("expected at least {D} axes to pool over, found shape {shape:?}"),
        ));
    };
    let mut axes = [Axis::ONE; 3];
    for i in 0..D {
        axes[3 - D + i] = f(i, shape[first + i])?;
    }
    Ok(axes)
}

/// A shape whose last `d` axes become the windows of `axes`, or the elements.
fn replaced(shape: &[usize], axes: &Axes, d: usize, windows: bool) -> Dims {
    let mut s = Dims::from_slice(shape);
    let first = s.len() - d;
    for (i, a) in axes[3 - d..].iter().enumerate() {
        s[first + i] = if windows { a.m } else { a.n };
    }
    s
}

/// Largest element of each window.
#[derive(Debug, PartialEq)]
struct MaxPool {
    axes: Axes,
    d: usize,
}
impl<T: Float> Op<T> for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(replaced(inputs[0], &self.axes, self.d, true))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::max_pool(ctx.input(0), ctx.output(), &self.axes);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (g, x) = (ctx.cotangent(), ctx.input(0));
        let (axes, d) = (self.axes, self.d);
        small![Some(g.tape().apply(MaxScatter { axes, d }, &[g, x]))]
    }
}

/// Each element of the first input at the place where the second has the largest element of its window.
#[derive(Debug, PartialEq)]
struct MaxScatter {
    axes: Axes,
    d: usize,
}
impl<T: Float> Op<T> for MaxScatter {
    fn name(&self) -> &'static str {
        "max_pool_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[1]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (g, x) = (ctx.input(0), ctx.input(1));
        T::max_scatter(g, x, ctx.output(), &self.axes);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (axes, d) = (self.axes, self.d);
        let (h, x) = (ctx.cotangent(), ctx.input(1));
        small![
            ctx.needs(0)
                .then(|| h.tape().apply(MaxGather { axes, d }, &[h, x])),
            None
        ]
    }
}

/// The elements of the first input at the places where the second has the largest of each window.
#[derive(Debug, PartialEq)]
struct MaxGather {
    axes: Axes,
    d: usize,
}
impl<T: Float> Op<T> for MaxGather {
    fn name(&self) -> &'static str {
        "max_pool_pick"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(replaced(inputs[0], &self.axes, self.d, true))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (h, x) = (ctx.input(0), ctx.input(1));
        T::max_gather(h, x, ctx.output(), &self.axes);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (axes, d) = (self.axes, self.d);
        let (g, x) = (ctx.cotangent(), ctx.input(1));
        small![
            ctx.needs(0)
                .then(|| g.tape().apply(MaxScatter { axes, d }, &[g, x])),
            None
        ]
    }
}

/// Average of each window.
#[derive(Debug, PartialEq)]
struct AvgPool {
    axes: Axes,
    d: usize,
    divisor: Divisor,
}
impl<T: Float> Op<T> for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(replaced(inputs[0], &self.axes, self.d, true))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::avg_pool(ctx.input(0), ctx.output(), &self.axes, self.divisor);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let &AvgPool { axes, d, divisor } = self;
        small![Some(ctx.cotangent().apply(AvgScatter { axes, d, divisor }))]
    }
}

/// The adjoint of [`AvgPool`].
#[derive(Debug, PartialEq)]
struct AvgScatter {
    axes: Axes,
    d: usize,
    divisor: Divisor,
}
impl<T: Float> Op<T> for AvgScatter {
    fn name(&self) -> &'static str {
        "avg_pool_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(replaced(inputs[0], &self.axes, self.d, false))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::avg_scatter(ctx.input(0), ctx.output(), &self.axes, self.divisor);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let &AvgScatter { axes, d, divisor } = self;
        small![Some(ctx.cotangent().apply(AvgPool { axes, d, divisor }))]
    }
}

/// Windows that cover `n` elements in `m` parts.
fn adaptive(op: &'static str, n: usize, m: usize) -> Result<Axis> {
    if n == 0 || m == 0 {
        return Err(shape_error(
            op,
            format!(
                "expected at least one element and one window along each axis, found {n} and {m}"
            ),
        ));
    }
    // Equal parts are windows side by side.
    let k = n / m;
    let equal = n.is_multiple_of(m);
    Ok(Axis {
        n,
        m,
        k,
        s: k,
        p: 0,
        d: 1,
        adaptive: !equal,
    })
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    fn max_over<const D: usize>(self, axes: Axes) -> Self {
        self.apply(MaxPool { axes, d: D })
    }

    /// As [`Var::max_over`], with the places in each plane.
    #[track_caller]
    fn max_places_over<const D: usize>(self, axes: Axes) -> (Self, Tensor<i64>) {
        let mut places = Tensor::<i64>::zeros(replaced(&self.shape(), &axes, D, true));
        if places.numel() > 0 {
            T::max_places(&self.value(), places.as_mut_slice(), &axes);
        }
        (self.max_over::<D>(axes), places)
    }

    /// Largest element of each window of the last `D` axes (PyTorch's `max_pool1d`, `max_pool2d`, `max_pool3d`; the number
    /// of sizes says which). NaN is larger than everything.
    ///
    /// The gradient goes to the first of equal elements of a window.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 4.0, 2.0, 0.0, 3.0], [1, 1, 5]));
    /// assert_eq!(x.max_pool([2]).value().to_vec(), [4.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When there are fewer than `D` axes, an axis is too short for a window, the padding is more than half of the kernel,
    /// or a kernel, stride or dilation is 0.
    #[doc(alias = "max_pool2d")]
    #[track_caller]
    pub fn max_pool<const D: usize>(self, windows: impl Into<Pool<D>>) -> Self {
        let w = windows.into();
        let axes = last_axes::<D>("max_pool", &self.shape(), |i, n| w.axis("max_pool", i, n));
        self.max_over::<D>(axes.or_panic())
    }

    /// As [`Var::max_pool`], with the place of each maximum in its line, image or volume, row-major (PyTorch's
    /// `return_indices=True`). Evaluates `self`.
    ///
    /// # Panics
    /// Where [`Var::max_pool`] does.
    #[track_caller]
    pub fn max_pool_places<const D: usize>(
        self,
        windows: impl Into<Pool<D>>,
    ) -> (Self, Tensor<i64>) {
        let w = windows.into();
        let axes = last_axes::<D>("max_pool", &self.shape(), |i, n| w.axis("max_pool", i, n));
        self.max_places_over::<D>(axes.or_panic())
    }

    /// Largest element of each of `sizes` parts of the last `D` axes: part o of n elements in m parts covers
    /// ⌊o n / m⌋ .. ⌈(o + 1) n / m⌉ (PyTorch's `adaptive_max_pool2d` and its kin).
    ///
    /// # Panics
    /// When there are fewer than `D` axes, or an axis has no elements or no parts.
    #[doc(alias = "adaptive_max_pool2d")]
    #[track_caller]
    pub fn adaptive_max_pool<const D: usize>(self, sizes: [usize; D]) -> Self {
        let op = "adaptive_max_pool";
        let axes = last_axes::<D>(op, &self.shape(), |i, n| adaptive(op, n, sizes[i]));
        self.max_over::<D>(axes.or_panic())
    }

    /// As [`Var::adaptive_max_pool`], with places as in [`Var::max_pool_places`]. Evaluates `self`.
    ///
    /// # Panics
    /// Where [`Var::adaptive_max_pool`] does.
    #[track_caller]
    pub fn adaptive_max_pool_places<const D: usize>(
        self,
        sizes: [usize; D],
    ) -> (Self, Tensor<i64>) {
        let op = "adaptive_max_pool";
        let axes = last_axes::<D>(op, &self.shape(), |i, n| adaptive(op, n, sizes[i]));
        self.max_places_over::<D>(axes.or_panic())
    }

    /// The opposite of [`Var::max_pool_places`]: each element at its place in planes of the given sizes, zeros elsewhere
    /// (PyTorch's `max_unpool2d` and its kin; the output sizes are always given). Where two elements have one place, the
    /// last one stands there.
    ///
    /// # Panics
    /// When the places do not have the shape of `self` or lie outside a plane.
    #[doc(alias = "max_unpool2d")]
    #[track_caller]
    pub fn max_unpool<const D: usize>(self, places: &Tensor<i64>, sizes: [usize; D]) -> Self {
        let shape = self.shape();
        assert!(
            shape.len() >= D && places.shape() == shape.as_slice(),
            "max_unpool: expected at least {D} axes and one place per element, found {:?} and places {:?}",
            shape.as_slice(),
            places.shape()
        );
        let batch = &shape[..shape.len() - D];
        let planes: usize = batch.iter().product();
        let m: usize = shape[shape.len() - D..].iter().product();
        let n: usize = sizes.iter().product();
        check_indices("max_unpool", "place", places, n).or_panic();
        let mut out = Dims::from_slice(batch);
        out.extend(sizes);
        self.tape()
            .zeros([planes, n])
            .scatter(1, &places.reshape([planes, m]), self.reshape([planes, m]))
            .reshape(out)
    }

    /// Average of each window of the last `D` axes (PyTorch's `avg_pool1d`, `avg_pool2d`, `avg_pool3d`).
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::pool::{Divisor, Pool}};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 4.0, 2.0], [1, 1, 3]));
    /// let w = Pool::new([2]).padding([1]);
    /// assert_eq!(x.avg_pool(w, Divisor::Window).value().to_vec(), [0.5, 3.0]);
    /// assert_eq!(x.avg_pool(w, Divisor::Inside).value().to_vec(), [1.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// Where [`Var::max_pool`] does, or when a fixed divisor is 0.
    #[doc(alias = "avg_pool2d")]
    #[track_caller]
    pub fn avg_pool<const D: usize>(self, windows: impl Into<Pool<D>>, divisor: Divisor) -> Self {
        assert!(
            divisor != Divisor::Fixed(0.0),
            "avg_pool: expected a divisor other than 0"
        );
        let w = windows.into();
        let axes = last_axes::<D>("avg_pool", &self.shape(), |i, n| w.axis("avg_pool", i, n));
        self.apply(AvgPool {
            axes: axes.or_panic(),
            d: D,
            divisor,
        })
    }

    /// Average of each of `sizes` parts of the last `D` axes; the parts are those of [`Var::adaptive_max_pool`].
    ///
    /// # Panics
    /// Where [`Var::adaptive_max_pool`] does.
    #[doc(alias = "adaptive_avg_pool2d")]
    #[track_caller]
    pub fn adaptive_avg_pool<const D: usize>(self, sizes: [usize; D]) -> Self {
        let op = "adaptive_avg_pool";
        let axes = last_axes::<D>(op, &self.shape(), |i, n| adaptive(op, n, sizes[i]));
        if axes.is_ok() && sizes == [1; D] {
            // One part is the mean, which reduces in the pass that makes its input.
            let last: [isize; D] = std::array::from_fn(|i| i as isize - D as isize);
            return self.mean_dim(last, true);
        }
        self.apply(AvgPool {
            axes: axes.or_panic(),
            d: D,
            divisor: Divisor::Inside,
        })
    }

    /// Power mean without the mean: (Σ xᵖ)^(1/p) over each window of the last `D` axes (PyTorch's `lp_pool2d` and its kin);
    /// p = 1 is the sum, p = ∞ the largest magnitude. Where the sum is 0 the gradient is 0, as in PyTorch.
    ///
    /// The padding and what hangs over the end add nothing. (PyTorch scales a window that hangs over the end as if it
    /// were full, and knows no padding here.)
    ///
    /// # Panics
    /// Where [`Var::max_pool`] does, or when p is not above 0.
    #[doc(alias = "lp_pool2d")]
    #[track_caller]
    pub fn lp_pool<const D: usize>(self, p: f64, windows: impl Into<Pool<D>>) -> Self {
        assert!(p > 0.0, "lp_pool: expected p > 0, found {p}");
        let w = windows.into();
        if p == f64::INFINITY {
            return self.abs().max_pool(w);
        }
        let sum = self.powf(p).avg_pool(w, Divisor::Fixed(1.0));
        let nothing = sum.eq(self.tape().scalar(0.0));
        (sum + nothing).powf(1.0 / p).mask_not(nothing)
    }
}
