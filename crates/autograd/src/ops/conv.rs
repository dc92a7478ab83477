//! Convolution in one to three dimensions, transposed convolution, and their derivatives.
//!
//! One sum of three factors stands behind all of it (see [`wengert_tensor::conv`]). Leaving out one factor gives an
//! operation: the convolution, its adjoint for the input (which is the transposed convolution), and its adjoint for the
//! weight. The derivative of each is made of the other two, so derivatives of any order exist.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::var::Var;
use wengert_tensor::conv::{self, Channels, Geometry, Tail};
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Real, Result, Tensor, shape};

compiled_here! {
    /// Kernels of this file.
    ConvKernels {
        fn conv(
            which: Which, g: &Geometry, c: &Channels, a: &Tensor<Self>, b: &Tensor<Self>, out: &mut [Self],
            tail: Tail<'_, Self>
        ) = run;
    }
}

/// One number for all axes, or one for each.
pub trait PerAxis<const N: usize> {
    /// The number for each axis.
    fn per_axis(self) -> [usize; N];
}
impl<const N: usize> PerAxis<N> for usize {
    fn per_axis(self) -> [usize; N] {
        [self; N]
    }
}
impl<const N: usize> PerAxis<N> for [usize; N] {
    fn per_axis(self) -> [usize; N] {
        self
    }
}

/// What is put around the input of a convolution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Padding<const N: usize> {
    /// As many zeros on both sides of each axis.
    Zeros([usize; N]),
    /// As many zeros as give an output of the input's size; an odd one goes to the end. The stride must be 1.
    Same,
    /// Nothing.
    Valid,
}
impl<const N: usize> From<usize> for Padding<N> {
    fn from(n: usize) -> Self {
        Padding::Zeros([n; N])
    }
}
impl<const N: usize> From<[usize; N]> for Padding<N> {
    fn from(n: [usize; N]) -> Self {
        Padding::Zeros(n)
    }
}

/// Settings of a convolution over `N` axes: stride 1, no padding, dilation 1, one group, unless set otherwise.
///
/// ```
/// use wengert_autograd::ops::conv::{ConvOptions, Padding};
/// let a = ConvOptions::<2>::new().stride(2).padding([1, 0]);
/// assert_eq!(a.padding, Padding::Zeros([1, 0]));
/// let depthwise = ConvOptions::<1>::new().groups(16).padding(Padding::Same);
/// assert_eq!(depthwise.groups, 16);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConvOptions<const N: usize> {
    /// Distance between the positions of the kernel.
    pub stride: [usize; N],
    /// What is put around the input.
    pub padding: Padding<N>,
    /// Distance between the elements of the kernel.
    pub dilation: [usize; N],
    /// Groups of channels; as many as input channels makes a depthwise convolution.
    pub groups: usize,
}

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> Self {
        ConvOptions {
            stride: [1; N],
            padding: Padding::Valid,
            dilation: [1; N],
            groups: 1,
        }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the distance between positions.
    #[must_use]
    pub fn stride(mut self, stride: impl PerAxis<N>) -> Self {
        self.stride = stride.per_axis();
        self
    }
    /// Sets the padding: a number, one per axis, or a [`Padding`].
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding<N>>) -> Self {
        self.padding = padding.into();
        self
    }
    /// Sets the distance between the elements of the kernel.
    #[must_use]
    pub fn dilation(mut self, dilation: impl PerAxis<N>) -> Self {
        self.dilation = dilation.per_axis();
        self
    }
    /// Sets the number of groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

/// Settings of a transposed convolution over `N` axes: stride 1, no padding, dilation 1, one group, unless set
/// otherwise.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConvTransposeOptions<const N: usize> {
    /// Distance between the places where the kernel is added.
    pub stride: [usize; N],
    /// Elements that are cut off at both ends of the output.
    pub padding: [usize; N],
    /// Elements that the output is longer at its end; below the stride or the dilation.
    pub output_padding: [usize; N],
    /// Distance between the elements of the kernel.
    pub dilation: [usize; N],
    /// Groups of channels.
    pub groups: usize,
}

impl<const N: usize> Default for ConvTransposeOptions<N> {
    fn default() -> Self {
        ConvTransposeOptions {
            stride: [1; N],
            padding: [0; N],
            output_padding: [0; N],
            dilation: [1; N],
            groups: 1,
        }
    }
}

impl<const N: usize> ConvTransposeOptions<N> {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the distance between the places where the kernel is added.
    #[must_use]
    pub fn stride(mut self, stride: impl PerAxis<N>) -> Self {
        self.stride = stride.per_axis();
        self
    }
    /// Sets what is cut off at both ends.
    #[must_use]
    pub fn padding(mut self, padding: impl PerAxis<N>) -> Self {
        self.padding = padding.per_axis();
        self
    }
    /// Sets how much longer the output is at its end.
    #[must_use]
    pub fn output_padding(mut self, extra: impl PerAxis<N>) -> Self {
        self.output_padding = extra.per_axis();
        self
    }
    /// Sets the distance between the elements of the kernel.
    #[must_use]
    pub fn dilation(mut self, dilation: impl PerAxis<N>) -> Self {
        self.dilation = dilation.per_axis();
        self
    }
    /// Sets the number of groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

/// The factor of the sum that an operation computes.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Which {
    /// `y` of `x` and `w`.
    Output,
    /// `x` of `y` and `w`.
    Input,
    /// `w` of `x` and `y`.
    Weight,
}

fn run<T: Real>(
    which: Which,
    g: &Geometry,
    c: &Channels,
    a: &Tensor<T>,
    b: &Tensor<T>,
    out: &mut [T],
    tail: Tail<'_, T>,
) {
    let (a, b) = (a.contiguous(), b.contiguous());
    let (a, b) = (
        a.as_slice().expect("contiguous"),
        b.as_slice().expect("contiguous"),
    );
    match which {
        Which::Output => conv::forward_with(g, c, a, b, out, tail),
        Which::Input => conv::input(g, c, a, b, out),
        Which::Weight => conv::weight(g, c, a, b, out),
    }
}

/// One of the three operations, over the last `axes` axes.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Conv {
    which: Which,
    axes: usize,
    geometry: Geometry,
}

impl Conv {
    fn with(self, which: Which) -> Self {
        Conv { which, ..self }
    }

    /// Batch and channels, from the shapes of the operands.
    fn channels(&self, inputs: &[&[usize]]) -> Channels {
        let (a, b) = (inputs[0], inputs[1]);
        let groups = self.geometry.groups;
        match self.which {
            Which::Output => Channels {
                batch: a[0],
                input: a[1],
                output: b[0],
            },
            Which::Input => Channels {
                batch: a[0],
                input: b[1] * groups,
                output: a[1],
            },
            Which::Weight => Channels {
                batch: a[0],
                input: a[1],
                output: b[1],
            },
        }
    }
}

impl<T: Float> Op<T> for Conv {
    fn name(&self) -> &'static str {
        match (self.which, self.axes) {
            (Which::Output, 1) => "conv1d",
            (Which::Output, 2) => "conv2d",
            (Which::Output, _) => "conv3d",
            (Which::Input, 1) => "conv_transpose1d",
            (Which::Input, 2) => "conv_transpose2d",
            (Which::Input, _) => "conv_transpose3d",
            (Which::Weight, 1) => "conv1d_weight",
            (Which::Weight, 2) => "conv2d_weight",
            (Which::Weight, _) => "conv3d_weight",
        }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        // Sizes along the spatial axes were checked when the geometry was made.
        let c = self.channels(inputs);
        let g = &self.geometry;
        let (lead, sizes) = match self.which {
            Which::Output => ([c.batch, c.output], g.output),
            Which::Input => ([c.batch, c.input], g.input),
            Which::Weight => ([c.output, c.input / g.groups], g.kernel),
        };
        let mut s = Dims::from_slice(&lead);
        s.extend_from_slice(&sizes[3 - self.axes..]);
        shape::checked_numel(Op::<T>::name(self), &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (a, b) = (ctx.input(0), ctx.input(1));
        let c = self.channels(&[a.shape(), b.shape()]);
        let tail = ctx.tail();
        <T as ConvKernels>::conv(self.which, &self.geometry, &c, a, b, ctx.output(), tail);
    }
    fn bias_axis(&self, _: &[&[usize]], _: &[usize]) -> Option<usize> {
        (self.which == Which::Output).then_some(1)
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (a, b, g) = (ctx.input(0), ctx.input(1), ctx.cotangent());
        let op = |which, a: Var<'t, T>, b: Var<'t, T>| a.tape().apply(self.with(which), &[a, b]);
        let (da, db): (&dyn Fn() -> _, &dyn Fn() -> _) = match self.which {
            // a = x, b = w, g like y
            Which::Output => (&|| op(Which::Input, g, b), &|| op(Which::Weight, a, g)),
            // a = y, b = w, g like x
            Which::Input => (&|| op(Which::Output, g, b), &|| op(Which::Weight, g, a)),
            // a = x, b = y, g like w
            Which::Weight => (&|| op(Which::Input, b, g), &|| op(Which::Output, a, g)),
        };
        small![ctx.needs(0).then(da), ctx.needs(1).then(db)]
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (c, g) = (self.channels(inputs), &self.geometry);
        let pairs = (c.input / g.groups) as u64 * c.output as u64 * c.batch as u64;
        2 * pairs * g.taps() as u64 * g.output.iter().product::<usize>() as u64
    }
}

/// Three axes, the missing ones in front.
fn three<const N: usize, V: Copy>(v: [V; N], missing: V) -> [V; 3] {
    std::array::from_fn(|i| if i + N < 3 { missing } else { v[i + N - 3] })
}

impl<'t, T: Float> Var<'t, T> {
    /// Convolution along the last axis (cross-correlation, as in all frameworks): `[n, c, w]` or `[c, w]`, weight
    /// `[out, c / groups, kw]`, bias `[out]` → `[n, out, w']` or `[out, w']`, `w' = (w + 2p − d(k−1) − 1) / s + 1`.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::conv::ConvOptions};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 4.0, 8.0], [1, 1, 4]));
    /// let w = tape.input(&Tensor::from_vec(vec![1.0, -1.0], [1, 1, 2]));
    /// let y = x.conv1d(w, None, ConvOptions::new());
    /// assert_eq!(y.value().to_vec(), [-1.0, -2.0, -4.0]);
    /// ```
    ///
    /// # Panics
    /// When ranks or channels do not fit, the groups do not divide the channels, a kernel, stride or dilation is 0, or
    /// the kernel reaches over more than the padded input.
    #[track_caller]
    pub fn conv1d(self, weight: Self, bias: Option<Self>, options: ConvOptions<1>) -> Self {
        convolve("conv1d", self, weight, bias, options)
    }

    /// Convolution over the last two axes: `[n, c, h, w]` or `[c, h, w]`, weight `[out, c / groups, kh, kw]`, bias
    /// `[out]` → `[n, out, h', w']` or `[out, h', w']`. See [`Var::conv1d`].
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::conv::{ConvOptions, Padding}};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::ones([2, 3, 8, 8]));
    /// let w = tape.input(&Tensor::ones([5, 3, 3, 3]));
    /// let y = x.conv2d(w, None, ConvOptions::new().padding(Padding::Same));
    /// assert_eq!(y.shape().as_slice(), [2, 5, 8, 8]);
    /// let y = x.conv2d(w, None, ConvOptions::new().stride(2).padding(1));
    /// assert_eq!(y.shape().as_slice(), [2, 5, 4, 4]);
    /// ```
    ///
    /// # Panics
    /// As [`Var::conv1d`].
    #[track_caller]
    pub fn conv2d(self, weight: Self, bias: Option<Self>, options: ConvOptions<2>) -> Self {
        convolve("conv2d", self, weight, bias, options)
    }

    /// Convolution over the last three axes: `[n, c, d, h, w]` or `[c, d, h, w]`, weight `[out, c / groups, kd, kh, kw]`,
    /// bias `[out]`. See [`Var::conv1d`].
    ///
    /// # Panics
    /// As [`Var::conv1d`].
    #[track_caller]
    pub fn conv3d(self, weight: Self, bias: Option<Self>, options: ConvOptions<3>) -> Self {
        convolve("conv3d", self, weight, bias, options)
    }

    /// Transposed convolution along the last axis, the adjoint of [`Var::conv1d`] in its input: `[n, c, w]` or `[c, w]`,
    /// weight `[c, out / groups, kw]`, bias `[out]` → `[n, out, w']` or `[out, w']`,
    /// `w' = (w − 1)s − 2p + d(k−1) + output_padding + 1`.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::conv::ConvTransposeOptions};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0], [1, 1, 2]));
    /// let w = tape.input(&Tensor::from_vec(vec![1.0, 10.0], [1, 1, 2]));
    /// let y = x.conv_transpose1d(w, None, ConvTransposeOptions::new().stride(2));
    /// assert_eq!(y.value().to_vec(), [1.0, 10.0, 2.0, 20.0]);
    /// ```
    ///
    /// # Panics
    /// When ranks or channels do not fit, the groups do not divide the channels, a kernel, stride or dilation is 0, the
    /// output padding is not below the stride or the dilation, or the output would be empty.
    #[track_caller]
    pub fn conv_transpose1d(
        self,
        weight: Self,
        bias: Option<Self>,
        options: ConvTransposeOptions<1>,
    ) -> Self {
        transpose("conv_transpose1d", self, weight, bias, options)
    }

    /// Transposed convolution over the last two axes: `[n, c, h, w]` or `[c, h, w]`, weight `[c, out / groups, kh, kw]`,
    /// bias `[out]`. See [`Var::conv_transpose1d`].
    ///
    /// # Panics
    /// As [`Var::conv_transpose1d`].
    #[track_caller]
    pub fn conv_transpose2d(
        self,
        weight: Self,
        bias: Option<Self>,
        options: ConvTransposeOptions<2>,
    ) -> Self {
        transpose("conv_transpose2d", self, weight, bias, options)
    }

    /// Transposed convolution over the last three axes: `[n, c, d, h, w]` or `[c, d, h, w]`, weight
    /// `[c, out / groups, kd, kh, kw]`, bias `[out]`. See [`Var::conv_transpose1d`].
    ///
    /// # Panics
    /// As [`Var::conv_transpose1d`].
    #[track_caller]
    pub fn conv_transpose3d(
        self,
        weight: Self,
        bias: Option<Self>,
        options: ConvTransposeOptions<3>,
    ) -> Self {
        transpose("conv_transpose3d", self, weight, bias, options)
    }
}

/// Checks ranks and bias, adds the batch axis of a single image, applies, adds the bias.
#[track_caller]
fn apply<'t, T: Float>(
    op: &'static str,
    x: Var<'t, T>,
    weight: Var<'t, T>,
    bias: Option<Var<'t, T>>,
    axes: usize,
    make: impl FnOnce(&[usize], &[usize]) -> Result<(Conv, usize)>,
) -> Var<'t, T> {
    let (xs, ws) = (x.shape(), weight.shape());
    let single = xs.len() == axes + 1;
    let made = if (single || xs.len() == axes + 2) && ws.len() == axes + 2 {
        let lead = usize::from(!single);
        make(&xs[lead..], &ws)
    } else {
        Err(shape_error(
            op,
            format!(
                "expected an input [n, c, …] or [c, …] and a weight with {axes} spatial axes, found shapes {:?} and {:?}",
                xs.as_slice(),
                ws.as_slice()
            ),
        ))
    };
    let (conv, out) = made.or_panic();
    let y = if single { x.unsqueeze(0) } else { x };
    let mut y = y.tape().apply(conv, &[y, weight]);
    if single {
        y = y.squeeze(0);
    }
    let Some(b) = bias else { return y };
    assert!(
        b.rank() == 1 && b.size(0) == out,
        "{op}: expected a bias of shape [{out}], found {:?}",
        b.shape().as_slice()
    );
    let mut s = Dims::from_slice(&[out]);
    s.resize(axes + 1, 1);
    y + b.reshape(s)
}

/// An error unless the groups divide the channels and the weight has the rest.
fn check_channels(
    op: &'static str,
    x: &[usize],
    w: &[usize],
    groups: usize,
    transposed: bool,
) -> Result<()> {
    let fits = if transposed {
        x[0] == w[0] && x[0].is_multiple_of(groups.max(1))
    } else {
        w[1].checked_mul(groups) == Some(x[0]) && w[0].is_multiple_of(groups.max(1))
    };
    // No groups at all is refused with the other numbers that must be positive.
    if groups == 0 || fits {
        return Ok(());
    }
    let expected = if transposed {
        "[c, out / groups, …] with groups that divide c"
    } else {
        "[out, c / groups, …] with groups that divide c and out"
    };
    Err(shape_error(
        op,
        format!(
            "{} channels in {groups} groups do not fit a weight of shape {w:?} (expected {expected})",
            x[0]
        ),
    ))
}

#[track_caller]
fn convolve<'t, T: Float, const N: usize>(
    op: &'static str,
    x: Var<'t, T>,
    weight: Var<'t, T>,
    bias: Option<Var<'t, T>>,
    o: ConvOptions<N>,
) -> Var<'t, T> {
    apply(op, x, weight, bias, N, |x, w| {
        let sizes: [usize; N] = std::array::from_fn(|i| x[1 + i]);
        let kernel: [usize; N] = std::array::from_fn(|i| w[2 + i]);
        let padding = match o.padding {
            Padding::Zeros(p) => p.map(|p| (p, p)),
            Padding::Valid => [(0, 0); N],
            Padding::Same => {
                if o.stride != [1; N] {
                    return Err(shape_error(
                        op,
                        format!("same padding needs a stride of 1, found {:?}", o.stride),
                    ));
                }
                std::array::from_fn(|i| {
                    let all = kernel[i].saturating_sub(1).saturating_mul(o.dilation[i]);
                    (all / 2, all - all / 2)
                })
            }
        };
        check_channels(op, x, w, o.groups, false)?;
        let geometry = Geometry::forward(
            op,
            three(sizes, 1),
            three(kernel, 1),
            three(o.stride, 1),
            three(padding, (0, 0)),
            three(o.dilation, 1),
            o.groups,
        )?;
        let which = Which::Output;
        Ok((
            Conv {
                which,
                axes: N,
                geometry,
            },
            w[0],
        ))
    })
}

#[track_caller]
fn transpose<'t, T: Float, const N: usize>(
    op: &'static str,
    x: Var<'t, T>,
    weight: Var<'t, T>,
    bias: Option<Var<'t, T>>,
    o: ConvTransposeOptions<N>,
) -> Var<'t, T> {
    apply(op, x, weight, bias, N, |x, w| {
        let sizes: [usize; N] = std::array::from_fn(|i| x[1 + i]);
        let kernel: [usize; N] = std::array::from_fn(|i| w[2 + i]);
        check_channels(op, x, w, o.groups, true)?;
        let geometry = Geometry::transposed(
            op,
            three(sizes, 1),
            three(kernel, 1),
            three(o.stride, 1),
            three(o.padding, 0),
            three(o.output_padding, 0),
            three(o.dilation, 1),
            o.groups,
        )?;
        let which = Which::Input;
        Ok((
            Conv {
                which,
                axes: N,
                geometry,
            },
            w[1] * o.groups,
        ))
    })
}
