//! Normalization.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::compose::{part_copy, part_view, partials};
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, dispatch_for};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

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

/// Accumulators: enough to hide the time an addition takes.
const W: usize = 64;
/// Accumulators of what is left of a row.
const V16: usize = 16;
/// Accumulators of each of two sums.
const B: usize = 32;

/// Σ f(x) with a fixed tree.
#[inline(always)]
fn sum_of<V: Lane>(x: &[V::Elem], f: impl Fn(V) -> V) -> V {
    let mut acc = [V::c(0.0); W];
    let chunks = x.chunks_exact(W);
    let tail = chunks.remainder();
    for c in chunks {
        for k in 0..W {
            acc[k] = acc[k] + f(V::new(c[k]));
        }
    }
    let chunks = tail.chunks_exact(V16);
    let tail = chunks.remainder();
    for c in chunks {
        for k in 0..V16 {
            acc[k] = acc[k] + f(V::new(c[k]));
        }
    }
    let mut s = V::c(0.0);
    for &t in tail {
        s = s + f(V::new(t));
    }
    s + total(&acc)
}

/// Adds up accumulators in a fixed tree. Not inlined: beside it the loop that fills them would be compiled to narrower
/// vectors.
#[inline(never)]
fn fold<E: Real, const N: usize>(acc: &[E; N]) -> E {
    let mut acc = *acc;
    let mut w = N / 2;
    while w > 0 {
        for k in 0..w {
            acc[k] += acc[k + w];
        }
        w /= 2;
    }
    acc[0]
}

#[inline(always)]
fn total<V: Lane, const N: usize>(acc: &[V; N]) -> V {
    let mut own = [acc[0].get(); N];
    for k in 1..N {
        own[k] = acc[k].get();
    }
    V::new(fold(&own))
}

/// The mean of a row in two parts, because one number may be too short for it, and the reciprocal deviation: two passes,
/// corrected (Chan, Golub, LeVeque 1983).
#[inline(always)]
fn statistics<V: Lane>(x: &[V::Elem], eps: f64, centred: bool) -> ([V; 2], V) {
    let r = V::c(1.0 / x.len() as f64);
    let one = V::c(1.0);
    if !centred {
        let s = sum_of::<V>(x, |v| v * v) * r;
        return ([V::c(0.0); 2], one / (s + V::c(eps)).sqrt());
    }
    let rough = sum_of::<V>(x, |v| v) * r;
    let rest = sum_of::<V>(x, |v| v - rough) * r;
    let var = sum_of::<V>(x, |v| {
        let d = (v - rough) - rest;
        d * d
    }) * r;
    ([rough, rest], one / (var + V::c(eps)).sqrt())
}

struct Forward<'a, T: Real> {
    rows: &'a mut [T],
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    n: usize,
    eps: f64,
    centred: bool,
}
impl<T: Real> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.n;
        for row in self.rows.chunks_exact_mut(n) {
            let (mean, scale) = statistics::<T::Lane<I>>(row, self.eps, self.centred);
            let new = T::Lane::<I>::new;
            match (self.weight, self.bias) {
                (Some(w), Some(b)) => {
                    let (w, b) = (&w[..n], &b[..n]);
                    for i in 0..n {
                        row[i] = ((new(row[i]) - mean[0] - mean[1]) * scale)
                            .mul_add(new(w[i]), new(b[i]))
                            .get();
                    }
                }
                (w, b) => {
                    for x in row.iter_mut() {
                        *x = ((new(*x) - mean[0] - mean[1]) * scale).get();
                    }
                    if let Some(w) = w {
                        row.iter_mut().zip(w).for_each(|(x, &w)| *x *= w);
                    }
                    if let Some(b) = b {
                        row.iter_mut().zip(b).for_each(|(x, &b)| *x += b);
                    }
                }
            }
        }
    }
}

/// Rows handed to one task.
fn rows_per_task(n: usize) -> usize {
    (parallel::GRAIN / 2).div_ceil(n.max(1)).max(1)
}

fn norm_rows<T: Real>(
    x: &Tensor<T>,
    weight: Option<&Tensor<T>>,
    bias: Option<&Tensor<T>>,
    out: &mut [T],
    eps: f64,
    centred: bool,
) {
    let n = x.shape()[1];
    if out.is_empty() {
        return;
    }
    let (weight, bias) = (weight.map(|w| w.contiguous()), bias.map(|b| b.contiguous()));
    let weight = weight
        .as_ref()
        .map(|w| w.as_slice().expect("made contiguous above"));
    let bias = bias
        .as_ref()
        .map(|b| b.as_slice().expect("made contiguous above"));
    let size = rows_per_task(n) * n;
    let dense = x.as_slice();
    if dense.is_none() {
        x.copy_into(out);
    }
    parallel::chunks_mut(out, size, |chunk, rows| {
        if let Some(x) = dense {
            rows.copy_from_slice(&x[chunk * size..][..rows.len()]);
        }
        dispatch_for::<T, _>(Forward {
            rows,
            weight,
            bias,
            n,
            eps,
            centred,
        });
    });
}

struct Backward<'a, T: Real> {
    x: &'a [T],
    g: &'a [T],
    weight: Option<&'a [T]>,
    dx: &'a mut [T],
    /// Σ g x̂ and Σ g over these rows; zeros without a weight.
    sums: &'a mut [T],
    n: usize,
    eps: f64,
    centred: bool,
}
impl<T: Real> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.n;
        let new = T::Lane::<I>::new;
        self.sums.fill(T::zero());
        let (dw, db) = self.sums.split_at_mut(n);
        let r = T::Lane::<I>::c(1.0 / n as f64);
        let rows = self
            .dx
            .chunks_exact_mut(n)
            .zip(self.x.chunks_exact(n))
            .zip(self.g.chunks_exact(n));
        for ((dx, x), g) in rows {
            let (mean, scale) = statistics::<T::Lane<I>>(x, self.eps, self.centred);
            // dx holds the weighted cotangent, then the result.
            let (x, g) = (&x[..n], &g[..n]);
            match self.weight {
                Some(w) => {
                    let (w, dw, db) = (&w[..n], &mut dw[..n], &mut db[..n]);
                    for i in 0..n {
                        let h = (new(x[i]) - mean[0] - mean[1]) * scale;
                        dw[i] = new(g[i]).mul_add(h, new(dw[i])).get();
                        db[i] += g[i];
                        dx[i] = g[i] * w[i];
                    }
                }
                None => dx.copy_from_slice(g),
            }
            let zero = T::Lane::<I>::c(0.0);
            let (mut s1, mut s2) = ([zero; B], [zero; B]);
            let (full_x, full_u) = (x.chunks_exact(B), dx.chunks_exact(B));
            let (rest_x, rest_u) = (full_x.remainder(), full_u.remainder());
            for (x, u) in full_x.zip(full_u) {
                for k in 0..B {
                    let d = new(x[k]) - mean[0] - mean[1];
                    s1[k] = s1[k] + new(u[k]);
                    s2[k] = new(u[k]).mul_add(d, s2[k]);
                }
            }
            let (mut a, mut b) = (zero, zero);
            for (&x, &u) in rest_x.iter().zip(rest_u) {
                a = a + new(u);
                b = new(u).mul_add(new(x) - mean[0] - mean[1], b);
            }
            let a = a + total(&s1);
            let b = b + total(&s2);
            let m1 = if self.centred { a * r } else { zero };
            let m2 = b * r * scale * scale;
            for i in 0..n {
                let d = new(x[i]) - mean[0] - mean[1];
                dx[i] = ((new(dx[i]) - m1 - d * m2) * scale).get();
            }
        }
    }
}

/// Tasks of the backward pass, each with sums of its own.
fn tasks(rows: usize, n: usize) -> usize {
    rows.div_ceil(rows_per_task(n))
}

/// Output: dx, then Σ g x̂ and Σ g over all rows, then the same per task.
fn norm_rows_grad<T: Real>(
    x: &Tensor<T>,
    weight: Option<&Tensor<T>>,
    g: &Tensor<T>,
    out: &mut [T],
    eps: f64,
    centred: bool,
) {
    let (rows, n) = (x.shape()[0], x.shape()[1]);
    let (dx, sums) = out.split_at_mut(rows * n);
    let (total, parts) = sums.split_at_mut(2 * n);
    total.fill(T::zero());
    if dx.is_empty() {
        return;
    }
    let (x, g) = (x.contiguous(), g.contiguous());
    let weight = weight.map(|w| w.contiguous());
    let weight = weight
        .as_ref()
        .map(|w| w.as_slice().expect("made contiguous above"));
    let x = x.as_slice().expect("made contiguous above");
    let g = g.as_slice().expect("made contiguous above");
    let size = rows_per_task(n) * n;
    parallel::chunks_mut2(dx, size, parts, 2 * n, |chunk, dx, sums| {
        let at = chunk * size..chunk * size + dx.len();
        dispatch_for::<T, _>(Backward {
            x: &x[at.clone()],
            g: &g[at],
            weight,
            dx,
            sums,
            n,
            eps,
            centred,
        });
    });
    for (i, t) in total.iter_mut().enumerate() {
        let sum: f64 = parts.chunks_exact(2 * n).map(|p| p[i].as_f64()).sum();
        *t = T::from_f64(sum);
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
            let (rows, n) = (ctx.input(0).shape()[0], ctx.input(0).shape()[1]);
            Some(tape.apply(
                NormGradPart {
                    norm: *self,
                    of,
                    rows,
                    n,
                },
                &all,
            ))
        };
        let mut cts: Cotangents<'t, T> = small![part(NormPart::X)];
        if self.weight {
            cts.push(part(NormPart::Weight));
        }
        if self.bias {
            cts.push(Some(ctx.cotangent().sum_dim(0, false)));
        }
        // The sum of the cotangent is in the packed result already.
        if self.bias && self.weight {
            cts[2] = part(NormPart::Bias);
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

/// One cotangent: a view of [`NormRowsGrad`]'s result. Inputs: that result, then its inputs, which the derivatives of
/// this part belong to.
#[derive(Debug, PartialEq)]
struct NormGradPart {
    norm: NormRows,
    of: NormPart,
    rows: usize,
    n: usize,
}
impl NormGradPart {
    fn place(&self) -> (usize, Dims) {
        let n = self.n;
        match self.of {
            NormPart::X => (0, small![self.rows, n]),
            NormPart::Weight => (self.rows * n, small![n]),
            NormPart::Bias => (self.rows * n + n, small![n]),
        }
    }
}
impl<T: Float> Op<T> for NormGradPart {
    fn name(&self) -> &'static str {
        match self.of {
            NormPart::X => "norm_grad_x",
            NormPart::Weight => "norm_grad_weight",
            NormPart::Bias => "norm_grad_bias",
        }
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.place().1)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (start, shape) = self.place();
        part_copy(ctx.input(0), start, &shape, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        let (start, shape) = self.place();
        part_view(input, start, &shape)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let norm = self.norm;
        let of = self.of;
        let mut cts: Cotangents<'t, T> = small![None];
        cts.extend(partials(
            &ctx.inputs()[1..],
            &ctx.needs[1..],
            ctx.cotangent(),
            |v| {
                let (x, g) = (v[0], v[1]);
                match of {
                    NormPart::Bias => g.sum_dim(0, false),
                    NormPart::Weight => (g * norm.normalized(x)).sum_dim(0, false),
                    NormPart::X => {
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
        args.extend(weight.map(|w| w.reshape([n])));
        args.extend(bias.map(|b| b.reshape([n])));
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
        let axes: SmallVec<[isize; 6]> = (0..rank as isize).filter(|&a| a != 1).collect();
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
    fn affine(self, op: &'static str, weight: Option<Self>, bias: Option<Self>) -> Self {
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
