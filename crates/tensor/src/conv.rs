//! Convolution in one to three dimensions and its two adjoints.
//!
//! All three are the same sum over channels `c`, taps `t` and positions `q`, with another factor left out:
//!
//! ```text
//! y[n, o, q] = Σ w[o, c, t] · x[n, c, q · stride + t · dilation − padding]
//! ```
//!
//! [`forward`] gives `y`; [`input`] puts `y` in place of `x` (the gradient for the input, and the transposed convolution);
//! [`weight`] gives the gradient for `w`. With groups, output channel `o` sees the input channels of its own group only.
//! What lies outside of `x` counts as zero.

pub use crate::gemm::Tail;
use crate::gemm::{Conv, ConvCall};
use crate::simd::{Level, level};
use crate::{Error, Real, Result};

/// Sizes of a convolution along its spatial axes.
///
/// There are always three axes; a convolution of fewer dimensions has leading axes of size 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Geometry {
    /// Spatial sizes of `x`.
    pub input: [usize; 3],
    /// Sizes of the kernel.
    pub kernel: [usize; 3],
    /// Spatial sizes of `y`.
    pub output: [usize; 3],
    /// Distance between positions.
    pub stride: [usize; 3],
    /// Distance between taps.
    pub dilation: [usize; 3],
    /// Zeros in front of `x`.
    pub padding: [usize; 3],
    /// Groups that the channels are divided into.
    pub groups: usize,
}

/// What a convolution runs over besides its [`Geometry`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Channels {
    /// Images.
    pub batch: usize,
    /// Channels of `x`.
    pub input: usize,
    /// Channels of `y`.
    pub output: usize,
}

/// Elements that `taps` taps `dilation` apart reach over.
fn reach(taps: usize, dilation: usize) -> Option<usize> {
    taps.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)
}

impl Geometry {
    /// The geometry of a convolution of `x` with zeros added before and after each axis.
    ///
    /// # Errors
    /// When a stride, dilation or kernel size is 0, a kernel reaches over more than the padded input, or a size
    /// overflows.
    pub fn forward(
        op: &'static str,
        input: [usize; 3],
        kernel: [usize; 3],
        stride: [usize; 3],
        padding: [(usize, usize); 3],
        dilation: [usize; 3],
        groups: usize,
    ) -> Result<Self> {
        positive(op, &kernel, &stride, &dilation, groups)?;
        let mut output = [0; 3];
        for i in 0..3 {
            let padded = input[i]
                .checked_add(padding[i].0)
                .and_then(|p| p.checked_add(padding[i].1))
                .filter(|&p| isize::try_from(p).is_ok())
                .ok_or(Error::Shape {
                    op,
                    message: format!("input size {input:?} with padding {padding:?} overflows"),
                })?;
            let reach = reach(kernel[i], dilation[i])
                .filter(|&r| r <= padded)
                .ok_or_else(|| Error::Shape {
                    op,
                    message: format!(
                        "a kernel of size {} with dilation {} does not fit a padded input of size {padded} ({} + {} + {})",
                        kernel[i], dilation[i], padding[i].0, input[i], padding[i].1
                    ),
                })?;
            output[i] = (padded - reach) / stride[i] + 1;
        }
        Ok(Geometry {
            input,
            kernel,
            output,
            stride,
            dilation,
            padding: padding.map(|p| p.0),
            groups,
        })
    }

    /// The geometry of the transposed convolution that takes `output` (the sizes of its operand) to a larger image.
    ///
    /// # Errors
    /// When a stride, dilation or kernel size is 0, an extra size is not below the stride or the dilation, the image
    /// would be empty, or a size overflows.
    pub fn transposed(
        op: &'static str,
        output: [usize; 3],
        kernel: [usize; 3],
        stride: [usize; 3],
        padding: [usize; 3],
        extra: [usize; 3],
        dilation: [usize; 3],
        groups: usize,
    ) -> Result<Self> {
        positive(op, &kernel, &stride, &dilation, groups)?;
        let mut input = [0; 3];
        for i in 0..3 {
            if extra[i] >= stride[i].max(dilation[i]) {
                return Err(Error::Shape {
                    op,
                    message: format!(
                        "expected an output padding below the stride or the dilation, found {extra:?} for stride \
                         {stride:?} and dilation {dilation:?}"
                    ),
                });
            }
            let full = || -> Option<i128> {
                let spread = output[i].checked_sub(1)?.checked_mul(stride[i])?;
                let end = spread.checked_add(reach(kernel[i], dilation[i])?)?;
                let size = end.checked_add(extra[i])? as i128 - 2 * padding[i] as i128;
                isize::try_from(end).is_ok().then_some(size)
            };
            let size = full().filter(|&s| s > 0).ok_or_else(|| Error::Shape {
                op,
                message: format!(
                    "an input of size {output:?} with kernel {kernel:?}, stride {stride:?}, padding {padding:?}, \
                     dilation {dilation:?} and output padding {extra:?} gives no output of a valid size"
                ),
            })?;
            input[i] = size as usize;
        }
        Ok(Geometry {
            input,
            kernel,
            output,
            stride,
            dilation,
            padding,
            groups,
        })
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
}

fn positive(
    op: &'static str,
    kernel: &[usize; 3],
    stride: &[usize; 3],
    dilation: &[usize; 3],
    groups: usize,
) -> Result<()> {
    let bad = |what: &str, found: &dyn std::fmt::Debug| {
        let message = format!("expected {what} of at least 1, found {found:?}");
        Err(Error::Shape { op, message })
    };
    if groups == 0 {
        return bad("groups", &0);
    }
    for (what, v) in [
        ("kernel sizes", kernel),
        ("strides", stride),
        ("dilations", dilation),
    ] {
        if v.contains(&0) {
            return bad(what, v);
        }
    }
    Ok(())
}

/// `y` of `x` and `w`.
///
/// Layouts: `x` is `[batch, channels, …]`, `w` is `[output channels, channels / groups, …]`, `y` is
/// `[batch, output channels, …]`, all row-major.
///
/// # Panics
/// When a slice does not have the size that geometry and channels say.
#[track_caller]
pub fn forward<T: Real>(g: &Geometry, c: &Channels, x: &[T], w: &[T], y: &mut [T]) {
    forward_at(level(), g, c, x, w, y);
}

/// [`forward`], with a bias per output channel and a relu applied to every element before it is stored.
///
/// # Panics
/// As [`forward`], and when there is not one bias per output channel.
#[track_caller]
pub fn forward_with<T: Real>(
    g: &Geometry,
    c: &Channels,
    x: &[T],
    w: &[T],
    y: &mut [T],
    tail: Tail<'_, T>,
) {
    forward_with_at(level(), g, c, x, w, y, tail);
}

/// The adjoint for `x`: each element of `y` is added, times the weight, where the convolution read `x` for it.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn input<T: Real>(g: &Geometry, c: &Channels, y: &[T], w: &[T], x: &mut [T]) {
    input_at(level(), g, c, y, w, x);
}

/// The adjoint for `w`.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn weight<T: Real>(g: &Geometry, c: &Channels, x: &[T], y: &[T], w: &mut [T]) {
    weight_at(level(), g, c, x, y, w);
}

/// [`forward`] with the kernels of one instruction set, for tests.
#[doc(hidden)]
#[track_caller]
pub fn forward_at<T: Real>(at: Level, g: &Geometry, c: &Channels, x: &[T], w: &[T], y: &mut [T]) {
    forward_with_at(at, g, c, x, w, y, Tail::default());
}

/// [`forward_with`] with the kernels of one instruction set, for tests.
#[doc(hidden)]
#[track_caller]
pub fn forward_with_at<T: Real>(
    at: Level,
    g: &Geometry,
    c: &Channels,
    x: &[T],
    w: &[T],
    y: &mut [T],
    tail: Tail<'_, T>,
) {
    check(at, g, c, x, w, y);
    if let Some(b) = tail.bias {
        let n = b.len();
        assert!(n == c.output, "conv: {n} biases for {} channels", c.output);
    }
    if empty(g, c, y) {
        let volume: usize = g.output.iter().product();
        for (i, plane) in y.chunks_exact_mut(volume.max(1)).enumerate() {
            tail.apply(i % c.output, plane);
        }
        return;
    }
    T::run_conv(
        at,
        ConvCall {
            tail,
            ..call(Conv::Output, g, c, x, w, y)
        },
    );
}

/// [`input`] with the kernels of one instruction set, for tests.
#[doc(hidden)]
#[track_caller]
pub fn input_at<T: Real>(at: Level, g: &Geometry, c: &Channels, y: &[T], w: &[T], x: &mut [T]) {
    check(at, g, c, x, w, y);
    if empty(g, c, x) {
        return;
    }
    T::run_conv(at, call(Conv::Input, g, c, y, w, x));
}

/// [`weight`] with the kernels of one instruction set, for tests.
#[doc(hidden)]
#[track_caller]
pub fn weight_at<T: Real>(at: Level, g: &Geometry, c: &Channels, x: &[T], y: &[T], w: &mut [T]) {
    check(at, g, c, x, w, y);
    if empty(g, c, w) {
        return;
    }
    T::run_conv(at, call(Conv::Weight, g, c, x, y, w));
}

fn call<'a, T>(
    which: Conv,
    geometry: &'a Geometry,
    channels: &'a Channels,
    a: &'a [T],
    b: &'a [T],
    out: &'a mut [T],
) -> ConvCall<'a, T> {
    ConvCall {
        which,
        geometry,
        channels,
        a,
        b,
        out,
        tail: Tail::default(),
    }
}

/// Whether there is nothing to multiply: then the result is zero.
fn empty<T: Real>(g: &Geometry, c: &Channels, out: &mut [T]) -> bool {
    let none =
        [c.batch, c.input, c.output].contains(&0) || g.input.contains(&0) || g.output.contains(&0);
    if none {
        out.fill(T::ZERO);
    }
    none
}

#[track_caller]
fn check<T>(at: Level, g: &Geometry, c: &Channels, x: &[T], w: &[T], y: &[T]) {
    assert!(at <= level(), "conv: no {at:?} on this machine");
    let fits = g.groups > 0
        && c.input.is_multiple_of(g.groups)
        && c.output.is_multiple_of(g.groups)
        && [g.kernel, g.stride, g.dilation]
            .iter()
            .all(|v| !v.contains(&0));
    assert!(fits, "conv: {c:?} do not fit {g:?}");
    let size = |lead: [usize; 2], sizes: [usize; 3]| -> Option<usize> {
        (lead.iter().chain(&sizes)).try_fold(1usize, |n, &s| n.checked_mul(s))
    };
    for (name, found, expected) in [
        ("x", x.len(), size([c.batch, c.input], g.input)),
        ("w", w.len(), size([c.output, c.input / g.groups], g.kernel)),
        ("y", y.len(), size([c.batch, c.output], g.output)),
    ] {
        assert!(
            Some(found) == expected,
            "conv: {found} elements of {name} for {c:?} and {g:?}"
        );
    }
}
