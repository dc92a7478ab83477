//! Normalization.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::compose::{PackedPart, PartRule, partials};
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::list::Listed;
use wengert_tensor::{Dims, Result, Tensor};

mod kernels;
pub(in crate::ops) use kernels::sums_of;
use kernels::{norm_rows, norm_rows_grad, tasks};

compiled_here! {
    /// Kernels of this file.
    NormKernels {
        fn norm_rows(
            x: &Tensor<Self>, weight: Option<&Tensor<Self>>, bias: Option<&Tensor<Self>>, out: &mut [Self],
            eps: f64, centred: bool,
        ) = norm_rows;
        fn norm_rows_grad(
            x: &Tensor<Self>, weight: Option<&Tensor<Self>>, g: &Tensor<Self>, out: &mut [Self],
            eps: f64, centred: bool,
        ) = norm_rows_grad;
    }
}

/// Rows of a matrix, each shifted and scaled to mean 0 (if centred) and mean square 1, then times a weight plus a bias
/// per column. Inputs: x, then the weight and the bias if they are there.
#[derive(Debug, PartialEq, Clone, Copy)]
struct NormRows {
    eps: f64,
    centred: bool,
    weight: bool,
    bias: bool,
}

impl NormRows {
    fn check(&self, inputs: &[&[usize]]) -> Result<()> {
        let x = inputs[0];
        if x.len() != 2 || inputs[1..].iter().any(|s| *s != &x[1..]) {
            return Err(shape_error(
                "norm_rows",
                format!(
                    "rows of shape {x:?} do not fit weights of shapes {:?}",
                    &inputs[1..]
                ),
            ));
        }
        Ok(())
    }

    fn normalized<'t, T: Float>(&self, x: Var<'t, T>) -> Var<'t, T> {
        let d = if self.centred { x.centred(1 << 1) } else { x };
        d * (d.square().mean_dim(-1, true) + self.eps).rsqrt()
    }
}

impl<T: Float> Op<T> for NormRows {
    fn name(&self) -> &'static str {
        if self.centred {
            "layer_norm"
        } else {
            "rms_norm"
        }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        self.check(inputs)?;
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let w = self.weight.then(|| ctx.input(1));
        let b = self.bias.then(|| ctx.input(1 + usize::from(self.weight)));
        T::norm_rows(x, w, b, ctx.output(), self.eps, self.centred);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let mut args: SmallVec<[Var<'t, T>; 12]> = small![ctx.input(0), ctx.cotangent()];
        if self.weight {
            args.push(ctx.input(1));
        }
        let tape = ctx.cotangent().tape();
        let packed = tape.no_grad(|| tape.apply(NormRowsGrad(*self), &args));
        let part = |of: NormPart| {
            let mut all: SmallVec<[Var<'t, T>; 12]> = small![packed];
            all.extend_from_slice(&args);
            let (start, shape) = of.place(ctx.input(0).shape());
            let rule = NormGradPart { norm: *self, of };
            Some(tape.apply(PackedPart { start, shape, rule }, &all))
        };
        let mut cts: Cotangents<'t, T> = small![part(NormPart::X)];
        if self.weight {
            cts.push(part(NormPart::Weight));
        }
        if self.bias {
            // With a weight the sum of the cotangent is in the packed result already.
            cts.push(match self.weight {
                true => part(NormPart::Bias),
                false => Some(ctx.cotangent().sum_dim(0, false)),
            });
        }
        cts
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        8 * inputs[0].iter().product::<usize>() as u64
    }
}

/// All cotangents of [`NormRows`] from one pass. Inputs: x, g, then the weight if it is there.
#[derive(Debug, PartialEq)]
struct NormRowsGrad(NormRows);
impl<T: Float> Op<T> for NormRowsGrad {
    fn name(&self) -> &'static str {
        if self.0.centred {
            "layer_norm_grad"
        } else {
            "rms_norm_grad"
        }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (rows, n) = (inputs[0][0], inputs[0][1]);
        Ok(small![rows * n + 2 * n * (1 + tasks(rows, n))])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, g) = (ctx.input(0), ctx.input(1));
        let w = self.0.weight.then(|| ctx.input(2));
        T::norm_rows_grad(x, w, g, ctx.output(), self.0.eps, self.0.centred);
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        16 * inputs[0].iter().product::<usize>() as u64
    }
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum NormPart {
    X,
    Weight,
    Bias,
}
impl NormPart {
    /// Where it stands in [`NormRowsGrad`]'s result for rows of shape `x`, and its shape.
    fn place(self, x: Dims) -> (usize, Dims) {
        let (rows, n) = (x[0], x[1]);
        match self {
            NormPart::X => (0, x),
            NormPart::Weight => (rows * n, small![n]),
            NormPart::Bias => (rows * n + n, small![n]),
        }
    }
}

/// One cotangent: a view of [`NormRowsGrad`]'s result. Inputs: that result, then its inputs, which the derivatives of
/// this part belong to.
#[derive(Debug, PartialEq)]
struct NormGradPart {
    norm: NormRows,
    of: NormPart,
}
impl<T: Float> PartRule<T> for NormGradPart {
    fn name(&self) -> &'static str {
        match self.of {
            NormPart::X => "norm_grad_x",
            NormPart::Weight => "norm_grad_weight",
            NormPart::Bias => "norm_grad_bias",
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let norm = self.norm;
        let of = self.of;
        let mut cts: Cotangents<'t, T> = small![None];
        if of == NormPart::Bias {
            // A sum of the cotangent's rows.
            let dg = (ctx.needs(2)).then(|| ctx.cotangent().broadcast_to(ctx.input(1).shape()));
            cts.extend([None, dg]);
            cts.resize(ctx.inputs().len(), None);
            return cts;
        }
        cts.extend(partials(
            &ctx.inputs()[1..],
            &ctx.needs[1..],
            ctx.cotangent(),
            |v| {
                let (x, g) = (v[0], v[1]);
                match of {
                    NormPart::Weight => (g * norm.normalized(x)).sum_dim(0, false),
                    _ => {
                        let g = if norm.weight { g * v[2] } else { g };
                        let d = if norm.centred {
                            x - x.mean_dim(-1, true)
                        } else {
                            x
                        };
                        let scale = (d.square().mean_dim(-1, true) + norm.eps).rsqrt();
                        let h = d * scale;
                        let mut u = g - h * (g * h).mean_dim(-1, true);
                        if norm.centred {
                            u = u - g.mean_dim(-1, true);
                        }
                        u * scale
                    }
                }
            },
        ));
        cts
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Rows of the last `axes` axes through [`NormRows`].
    #[track_caller]
    fn norm_last(
        self,
        axes: usize,
        weight: Option<Self>,
        bias: Option<Self>,
        eps: f64,
        centred: bool,
    ) -> Self {
        let op = if centred { "layer_norm" } else { "rms_norm" };
        let shape = self.shape();
        assert!(
            (1..=shape.len()).contains(&axes),
            "{op}: expected 1 to {} axes to normalize over for shape {:?}, found {axes}",
            shape.len(),
            shape.as_slice()
        );
        let own = &shape[shape.len() - axes..];
        for (v, name) in [(weight, "weight"), (bias, "bias")] {
            if let Some(v) = v {
                assert!(
                    v.shape().as_slice() == own,
                    "{op}: expected a {name} of shape {own:?} for input of shape {:?}, found {:?}",
                    shape.as_slice(),
                    v.shape().as_slice()
                );
            }
        }
        check_eps(op, eps);
        let n: usize = own.iter().product();
        let rows: usize = shape[..shape.len() - axes].iter().product();
        let mut args: SmallVec<[Self; 12]> = small![self.reshape([rows, n])];
        for v in [weight, bias].into_iter().flatten() {
            args.push(v.reshape([n]));
        }
        let norm = NormRows {
            eps,
            centred,
            weight: weight.is_some(),
            bias: bias.is_some(),
        };
        self.tape().apply(norm, &args).reshape(shape)
    }

    /// Layer normalization over the last `axes` axes (Ba et al. 2016): (x - mean) / √(var + ε) · weight + bias, with the
    /// variance divided by n. Weight and bias have the shape of these axes.
    ///
    /// One pass over the data forward and one backward; statistics by a corrected two-pass sum, so a large mean costs no
    /// accuracy.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 3.0, 5.0, 9.0], [2, 2]));
    /// assert_eq!(x.layer_norm(1, None, None, 0.0).value().to_vec(), [-1.0, 1.0, -1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit or ε is negative.
    #[track_caller]
    pub fn layer_norm(
        self,
        axes: usize,
        weight: Option<Self>,
        bias: Option<Self>,
        eps: f64,
    ) -> Self {
        self.norm_last(axes, weight, bias, eps, true)
    }

    /// Root-mean-square normalization over the last `axes` axes (Zhang and Sennrich 2019): x / √(mean x² + ε) · weight.
    ///
    /// # Panics
    /// When the shapes do not fit or ε is negative.
    #[track_caller]
    pub fn rms_norm(self, axes: usize, weight: Option<Self>, eps: f64) -> Self {
        self.norm_last(axes, weight, None, eps, false)
    }

    /// Group normalization of `[n, channels, ..]` (Wu and He 2018): the channels of a group and all places are
    /// normalized together; weight and bias have one element per channel.
    ///
    /// # Panics
    /// When the rank is below 2, the groups do not divide the channels, or ε is negative.
    #[track_caller]
    pub fn group_norm(
        self,
        groups: usize,
        weight: Option<Self>,
        bias: Option<Self>,
        eps: f64,
    ) -> Self {
        let shape = self.shape();
        assert!(
            shape.len() >= 2,
            "group_norm: expected input of shape [n, channels, ..], found {:?}",
            shape.as_slice()
        );
        assert!(
            groups > 0 && shape[1].is_multiple_of(groups),
            "group_norm: {groups} groups do not divide the channels of shape {:?}",
            shape.as_slice()
        );
        let inner: usize = shape[2..].iter().product();
        let n = shape[1] / groups * inner;
        let y = self
            .reshape([shape[0] * groups, n])
            .norm_last(1, None, None, eps, true)
            .reshape(shape);
        y.affine("group_norm", weight, bias)
    }

    /// Instance normalization of `[n, channels, ..]` (Ulyanov et al. 2016): each channel of each sample on its own.
    ///
    /// # Panics
    /// When the rank is below 3 or ε is negative.
    #[track_caller]
    pub fn instance_norm(self, weight: Option<Self>, bias: Option<Self>, eps: f64) -> Self {
        let shape = self.shape();
        assert!(
            shape.len() >= 3,
            "instance_norm: expected input of shape [n, channels, places, ..], found {:?}",
            shape.as_slice()
        );
        if shape[1] == 0 {
            return self;
        }
        self.group_norm(shape[1], weight, bias, eps)
    }

    /// Mean and variance (divided by the count) of each channel of `[n, channels, ..]`: what batch normalization divides
    /// by in training, and what its running statistics follow.
    ///
    /// # Panics
    /// When the rank is below 2.
    #[track_caller]
    pub fn batch_statistics(self) -> (Self, Self) {
        let rank = self.rank();
        assert!(
            rank >= 2,
            "batch_statistics: expected input of shape [n, channels, ..], found {:?}",
            self.shape().as_slice()
        );
        let axes: SmallVec<[isize; 6]> = (0..rank as isize).filter(|&a| a != 1).listed();
        let channels = self.size(1);
        let set = self.set("batch_statistics", axes.clone());
        let var = self.centred(set).square().mean_dim(axes.clone(), false);
        (self.mean_dim(axes, false).reshape([channels]), var)
    }

    /// Batch normalization of `[n, channels, ..]` with given statistics per channel (Ioffe and Szegedy 2015):
    /// (x - mean) / √(var + ε) · weight + bias. In training the statistics are [`Var::batch_statistics`], through which
    /// the gradient flows; in evaluation the running ones.
    ///
    /// # Panics
    /// When the shapes do not fit or ε is negative.
    #[track_caller]
    pub fn batch_norm(
        self,
        mean: Self,
        var: Self,
        weight: Option<Self>,
        bias: Option<Self>,
        eps: f64,
    ) -> Self {
        check_eps("batch_norm", eps);
        let mut scale = (var + eps).rsqrt();
        let shape = self.channel_shape("batch_norm", &[("mean", mean), ("variance", var)]);
        if let Some(w) = weight {
            self.channel_shape("batch_norm", &[("weight", w)]);
            scale = scale * w;
        }
        let y = (self - mean.reshape(&shape)) * scale.reshape(&shape);
        match bias {
            Some(b) => {
                self.channel_shape("batch_norm", &[("bias", b)]);
                y + b.reshape(shape)
            }
            None => y,
        }
    }

    /// Times a weight and plus a bias per channel (axis 1).
    #[track_caller]
    pub(crate) fn affine(self, op: &'static str, weight: Option<Self>, bias: Option<Self>) -> Self {
        let mut y = self;
        if let Some(w) = weight {
            y = y * w.reshape(self.channel_shape(op, &[("weight", w)]));
        }
        if let Some(b) = bias {
            y = y + b.reshape(self.channel_shape(op, &[("bias", b)]));
        }
        y
    }

    /// Checks vectors of one element per channel; the shape under which they broadcast.
    #[track_caller]
    fn channel_shape(self, op: &'static str, vectors: &[(&str, Self)]) -> Dims {
        let shape = self.shape();
        for (name, v) in vectors {
            assert!(
                shape.len() >= 2 && v.shape().as_slice() == [shape[1]],
                "{op}: a {name} of shape {:?} does not fit input of shape {:?} (expected [n, channels, ..] and \
                 [channels])",
                v.shape().as_slice(),
                shape.as_slice()
            );
        }
        let mut own = Dims::from_elem(1, shape.len());
        own[1] = shape[1];
        own
    }

    /// Local response normalization over `size` neighbouring channels of `[n, channels, ..]` (Krizhevsky et al. 2012), as
    /// PyTorch computes it: x / (k + α · mean of x² over the window)^β, with zeros beyond the first and last channel.
    ///
    /// # Panics
    /// When the rank is below 2 or the size is 0.
    #[track_caller]
    pub fn local_response_norm(self, size: usize, alpha: f64, beta: f64, k: f64) -> Self {
        let rank = self.rank();
        assert!(
            rank >= 2 && size > 0,
            "local_response_norm: expected input of shape [n, channels, ..] and a size of at least 1, found {:?} and \
             {size}",
            self.shape().as_slice()
        );
        let mut pads = vec![(0, 0); rank - 1];
        pads[0] = ((size / 2) as isize, ((size - 1) / 2) as isize);
        let around = (self.square())
            .pad(&pads, crate::ops::pad::Pad::Zeros)
            .unfold(1, size, 1)
            .sum_dim(-1, false);
        self / (around * (alpha / size as f64) + k).powf(beta)
    }
}

#[track_caller]
fn check_eps(op: &str, eps: f64) {
    assert!(eps >= 0.0, "{op}: expected ε >= 0, found {eps}");
}
