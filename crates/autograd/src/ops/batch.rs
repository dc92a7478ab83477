//! Batch normalization by the statistics of the batch, in one operation forward and one backward.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::ops::compiled_here;
use crate::ops::compose::{PackedPart, PartRule, partials};
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::batch_norm::BatchNorm;
use wengert_tensor::{Dims, Real, Result, Tensor};

compiled_here! {
    /// Kernels of this file.
    BatchKernels {
        fn batch_norm(job: &BatchNorm, inputs: [Option<&Tensor<Self>>; 3], out: &mut [Self]) = forward;
        fn batch_norm_grad(job: &BatchNorm, inputs: [Option<&Tensor<Self>>; 6], out: &mut [Self]) = backward;
    }
}

/// Elements of a plane below which a channel is not worth a loop of its own, if there is more than one.
const LEAST_PLANE: usize = 8;

/// Inputs as dense memory.
fn dense<T: Real, const N: usize>(inputs: [Option<&Tensor<T>>; N]) -> [Option<Tensor<T>>; N] {
    let mut own = [const { None }; N];
    for (own, t) in own.iter_mut().zip(&inputs) {
        *own = t.map(Tensor::contiguous);
    }
    own
}

fn slice<T: Real>(t: &Option<Tensor<T>>) -> Option<&[T]> {
    t.as_ref().and_then(Tensor::as_slice)
}

/// Inputs: x, weight, bias. Output: y, then mean and variance of each channel.
fn forward<T: Real>(job: &BatchNorm, inputs: [Option<&Tensor<T>>; 3], out: &mut [T]) {
    let own = dense(inputs);
    let x = slice(&own[0]).expect("x is there and dense");
    let (w, b) = (slice(&own[1]), slice(&own[2]));
    let (y, statistics) = out.split_at_mut(x.len());
    let (mean, var) = statistics.split_at_mut(job.channels);
    job.forward(x, w, b, y, mean, var);
}

/// Inputs: x, g, mean, variance, weight, bias. Output: the gradients of x, of the weight, of the bias.
fn backward<T: Real>(job: &BatchNorm, inputs: [Option<&Tensor<T>>; 6], out: &mut [T]) {
    let own = dense(inputs);
    let at = |i: usize| slice(&own[i]).expect("an input that is there and dense");
    let x = at(0);
    let (dx, rest) = out.split_at_mut(x.len());
    let (dw, db) = rest.split_at_mut(job.channels);
    let (w, b) = (slice(&own[4]), slice(&own[5]));
    job.backward(x, at(1), at(2), at(3), w, b, dx, dw, db);
}

/// The whole operation. Inputs: x, then the weight and the bias if they are there.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Norm {
    eps: f64,
    weight: bool,
    bias: bool,
    relu: bool,
}

impl Norm {
    fn job(&self, x: &[usize]) -> BatchNorm {
        BatchNorm {
            n: x[0],
            channels: x[1],
            inner: x[2..].iter().product(),
            eps: self.eps,
            relu: self.relu,
        }
    }

    /// Weight and bias among inputs of which the weight would be number `first`.
    fn affine<V: Copy>(&self, first: usize, input: impl Fn(usize) -> V) -> [Option<V>; 2] {
        [
            self.weight.then(|| input(first)),
            self.bias.then(|| input(first + usize::from(self.weight))),
        ]
    }
}

/// A vector of one element per channel, as it broadcasts to `rank` axes.
fn along<'t, T: Float>(v: Var<'t, T>, rank: usize) -> Var<'t, T> {
    let mut shape = Dims::from_elem(1, rank);
    shape[1] = v.numel();
    v.reshape(shape)
}

fn other_axes(rank: usize) -> Vec<isize> {
    (0..rank as isize).filter(|&a| a != 1).collect()
}

/// All results of [`Norm`] in one tensor.
#[derive(Debug, PartialEq)]
struct Packed(Norm);
impl<T: Float> Op<T> for Packed {
    fn name(&self) -> &'static str {
        "batch_norm"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let x = inputs[0];
        Ok(small![x.iter().product::<usize>() + 2 * x[1]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let [w, b] = self.0.affine(1, |i| ctx.input(i));
        T::batch_norm(&self.0.job(x.shape()), [Some(x), w, b], ctx.output());
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        8 * inputs[0].iter().product::<usize>() as u64
    }
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Part {
    Y,
    Mean,
    Var,
}

/// One result. Inputs: [`Packed`], then its inputs.
#[derive(Debug, PartialEq)]
struct NormPart {
    norm: Norm,
    of: Part,
}
impl<T: Float> PartRule<T> for NormPart {
    fn name(&self) -> &'static str {
        match self.of {
            Part::Y if self.norm.relu => "batch_norm_relu",
            Part::Y => "batch_norm",
            Part::Mean => "batch_mean",
            Part::Var => "batch_var",
        }
    }
    fn is_copied(&self) -> bool {
        self.of != Part::Y
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (norm, g) = (self.norm, ctx.cotangent());
        let tape = g.tape();
        let (packed, x) = (ctx.input(0), ctx.input(1));
        let rank = x.rank();
        let count = (x.numel() / x.size(1)) as f64;
        let mut cts: Cotangents<'t, T> = small![None];
        match self.of {
            Part::Mean => cts.push(Some(along(g, rank).broadcast_to(x.shape()) / count)),
            Part::Var => {
                let centred = x.centred(x.set("batch_norm", &other_axes(rank)));
                cts.push(Some(centred * along(g * (2.0 / count), rank)));
            }
            Part::Y => {
                let inputs = &ctx.inputs()[1..];
                let args = tape.no_grad(|| {
                    let numel = x.numel();
                    let channels = x.size(1);
                    let statistic = |of: Part, start: usize| {
                        let part = PackedPart {
                            start,
                            shape: small![channels],
                            rule: NormPart { norm, of },
                        };
                        let mut all: SmallVec<[Var<'t, T>; 12]> = small![packed];
                        all.extend_from_slice(inputs);
                        tape.apply(part, &all)
                    };
                    let mut args: SmallVec<[Var<'t, T>; 12]> = small![
                        x,
                        g,
                        statistic(Part::Mean, numel),
                        statistic(Part::Var, numel + channels)
                    ];
                    args.extend_from_slice(&inputs[1..]);
                    args
                });
                let grads = tape.no_grad(|| tape.apply(PackedGrad(norm), &args));
                let part = |of: Grad| {
                    let mut all: SmallVec<[Var<'t, T>; 12]> = small![grads, x, g];
                    all.extend_from_slice(&inputs[1..]);
                    let (start, shape) = of.place(x.shape());
                    let rule = GradPart { norm, of };
                    Some(tape.apply(PackedPart { start, shape, rule }, &all))
                };
                cts.push(part(Grad::X));
                if norm.weight {
                    cts.push(part(Grad::Weight));
                }
                if norm.bias {
                    cts.push(part(Grad::Bias));
                }
                return cts;
            }
        }
        cts.resize(ctx.inputs().len(), None);
        cts
    }
}

/// All gradients in one tensor. Inputs: x, g, mean, variance, then the weight and the bias if they are there.
#[derive(Debug, PartialEq)]
struct PackedGrad(Norm);
impl<T: Float> Op<T> for PackedGrad {
    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let x = inputs[0];
        Ok(small![x.iter().product::<usize>() + 2 * x[1]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let input = |i: usize| Some(ctx.input(i));
        let [w, b] = self.0.affine(4, |i| ctx.input(i));
        let inputs = [input(0), input(1), input(2), input(3), w, b];
        T::batch_norm_grad(&self.0.job(ctx.input(0).shape()), inputs, ctx.output());
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        14 * inputs[0].iter().product::<usize>() as u64
    }
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Grad {
    X,
    Weight,
    Bias,
}
impl Grad {
    /// Where it stands in the packed gradients of an input of shape `x`, and its shape.
    fn place(self, x: Dims) -> (usize, Dims) {
        let (all, channels) = (x.iter().product(), x[1]);
        match self {
            Grad::X => (0, x),
            Grad::Weight => (all, small![channels]),
            Grad::Bias => (all + channels, small![channels]),
        }
    }
}

/// One gradient: a view of [`PackedGrad`]. Inputs: that, then x, g, and the weight and the bias if they are there.
#[derive(Debug, PartialEq)]
struct GradPart {
    norm: Norm,
    of: Grad,
}
impl<T: Float> PartRule<T> for GradPart {
    fn name(&self) -> &'static str {
        match self.of {
            Grad::X => "batch_norm_grad_x",
            Grad::Weight => "batch_norm_grad_weight",
            Grad::Bias => "batch_norm_grad_bias",
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (norm, of, rank) = (self.norm, self.of, ctx.input(1).rank());
        let axes = other_axes(rank);
        let mut cts: Cotangents<'t, T> = small![None];
        let needs = &ctx.needs[1..];
        // What was normalized, its factor, and the cotangent behind the relu.
        let recorded = |v: &[Var<'t, T>], g: Var<'t, T>| {
            let [w, b] = norm.affine(2, |i| along(v[i], rank));
            let d = v[0].centred(v[0].set("batch_norm", &axes));
            let root = (d.square().mean_dim(&axes, true) + norm.eps).rsqrt();
            let h = d * root;
            if !norm.relu {
                return (h, root, w, g);
            }
            let y = w.map_or(h, |w| h * w);
            (h, root, w, g.relu_grad(b.map_or(y, |b| y + b)))
        };
        if of == Grad::Bias {
            // A sum of the cotangent: the rest only says where the relu lets it pass.
            let dg = ctx.needs(2).then(|| {
                let c = along(ctx.cotangent(), rank).broadcast_to(ctx.input(1).shape());
                if norm.relu {
                    recorded(&ctx.inputs()[1..], c).3
                } else {
                    c
                }
            });
            cts.extend([None, dg]);
            cts.resize(ctx.inputs().len(), None);
            return cts;
        }
        cts.extend(partials(&ctx.inputs()[1..], needs, ctx.cotangent(), |v| {
            let (h, root, w, g) = recorded(v, v[1]);
            match of {
                Grad::Weight => (g * h).sum_dim(&axes, false),
                _ => {
                    let g = w.map_or(g, |w| g * w);
                    (g - g.mean_dim(&axes, true) - h * (g * h).mean_dim(&axes, true)) * root
                }
            }
        }));
        cts
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Batch normalization of `[n, channels, ..]` by the statistics of the batch (Ioffe and Szegedy 2015), and a relu
    /// behind it if asked for: `relu?((x − mean) / √(var + ε) · weight + bias)`, with mean and variance (divided by the
    /// count) of each channel, which are returned too. The gradient flows through the statistics. Mean and variance over
    /// nothing are NaN; the gradients of weight and bias are 0 then.
    ///
    /// Each direction passes the data as few times as there are tensors: x → y forward, x and the cotangent → the
    /// gradient backward; the relu costs no pass.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 3.0], [2, 1, 1]));
    /// let (y, mean, var) = x.batch_normalized(None, None, 0.0, true);
    /// assert_eq!(y.value().to_vec(), [0.0, 1.0]);
    /// assert_eq!((mean.item(), var.item()), (2.0, 1.0));
    /// ```
    ///
    /// # Panics
    /// When the rank is below 2, weight or bias are not of shape `[channels]`, or ε is negative.
    #[track_caller]
    pub fn batch_normalized(
        self,
        weight: Option<Self>,
        bias: Option<Self>,
        eps: f64,
        relu: bool,
    ) -> (Self, Self, Self) {
        let shape = self.shape();
        let fits = |v: Option<Self>| v.is_none_or(|v| v.shape().as_slice() == [shape[1]]);
        assert!(
            shape.len() >= 2 && fits(weight) && fits(bias),
            "batch_normalized: expected input of shape [n, channels, ..], weight and bias of shape [channels], found \
             {:?}, {:?}, {:?}",
            shape.as_slice(),
            weight.map(|v| v.shape()),
            bias.map(|v| v.shape())
        );
        assert!(
            eps >= 0.0,
            "batch_normalized: expected an ε of at least 0, found {eps}"
        );
        let numel = self.numel();
        let plane: usize = shape[2..].iter().product();
        if numel == 0 {
            // Weight and bias have a part in no element: their gradients are sums over nothing, whatever the statistics.
            let (mean, var) = self.batch_statistics();
            return (self.affine("batch_normalized", weight, bias), mean, var);
        }
        if plane != 1 && plane < LEAST_PLANE {
            let (mean, var) = self.batch_statistics();
            let y = self.batch_norm(mean, var, weight, bias, eps);
            return (if relu { y.relu() } else { y }, mean, var);
        }
        let norm = Norm {
            eps,
            weight: weight.is_some(),
            bias: bias.is_some(),
            relu,
        };
        let mut args: SmallVec<[Self; 12]> = small![self];
        args.extend(weight);
        args.extend(bias);
        let tape = self.tape();
        let packed = tape.apply_no_grad(Packed(norm), &args);
        args.insert(0, packed);
        let channels = shape[1];
        let part = |of: Part, start: usize, shape: Dims| PackedPart {
            start,
            shape,
            rule: NormPart { norm, of },
        };
        (
            tape.apply(part(Part::Y, 0, shape), &args),
            tape.apply(part(Part::Mean, numel, small![channels]), &args),
            tape.apply(part(Part::Var, numel + channels, small![channels]), &args),
        )
    }
}
