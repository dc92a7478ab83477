//! Scaled dot-product attention without the matrix of all weights: blocks of keys pass by blocks of queries with a
//! running softmax (Milakov and Gimelshein 2018; Dao et al. 2022).

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compose::{part_copy, part_view, partials};
use crate::ops::softmax::{row_exp, row_max};
use crate::ops::{Scratch, compiled_here};
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_tensor::lane::Lane;
use wengert_tensor::shape::broadcast;
use wengert_tensor::simd::{Isa, Kernel, dispatch_for};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    AttentionKernels {
        fn attention(
            q: &Tensor<Self>, k: &Tensor<Self>, v: &Tensor<Self>, mask: Option<&Tensor<Self>>, out: &mut [Self],
            scale: f64, causal: bool,
        ) = attention;
        fn attention_grad(
            q: &Tensor<Self>, k: &Tensor<Self>, v: &Tensor<Self>, mask: Option<&Tensor<Self>>,
            y: &Tensor<Self>, lse: &Tensor<Self>, g: &Tensor<Self>, out: &mut [Self], scale: f64, causal: bool,
        ) = attention_grad;
    }
}

/// Queries and keys of a block.
const BQ: usize = 64;
const BK: usize = 256;

/// Matrix `b` of a batch, from row `row` on.
fn mat<T: Real>(t: &Tensor<T>, b: usize, row: usize) -> MatRef<'_, T> {
    let s = t.strides();
    MatRef {
        data: t.storage().as_slice(),
        offset: (t.layout().offset as isize + b as isize * s[0] + row as isize * s[1]) as usize,
        rs: s[1],
        cs: s[2],
    }
}

/// Adds the mask to a block of scores and excludes keys after their query.
struct Mask<'a, T: Real> {
    tensor: Option<&'a Tensor<T>>,
    offset: isize,
    causal: bool,
}

impl<'a, T: Real> Mask<'a, T> {
    fn new(tensor: Option<&'a Tensor<T>>, mut b: usize, causal: bool) -> Self {
        let mut offset = 0;
        if let Some(t) = tensor {
            offset = t.layout().offset as isize;
            for (&d, &s) in t.shape().iter().zip(t.strides()).rev().skip(2) {
                offset += (b % d) as isize * s;
                b /= d;
            }
        }
        Mask {
            tensor,
            offset,
            causal,
        }
    }

    fn apply(&self, scores: &mut [T], cols: usize, i0: usize, j0: usize) {
        for (r, row) in scores.chunks_exact_mut(cols).enumerate() {
            if let Some(t) = self.tensor {
                let s = &t.strides()[t.rank() - 2..];
                let data = t.storage().as_slice();
                let at = self.offset + (i0 + r) as isize * s[0] + j0 as isize * s[1];
                match s[1] {
                    1 => (row.iter_mut().zip(&data[at as usize..])).for_each(|(x, &m)| *x += m),
                    step => (row.iter_mut().enumerate())
                        .for_each(|(j, x)| *x += data[(at + j as isize * step) as usize]),
                }
            }
            if self.causal {
                let from = (i0 + r + 1).saturating_sub(j0).min(cols);
                row[from..].fill(T::neg_infinity());
            }
        }
    }
}

/// One block of the running softmax: scores become e^(s - m) with the new running maximum `m`; sums and outputs so far
/// are scaled to it.
struct Running<'a, T: Real> {
    scores: &'a mut [T],
    cols: usize,
    max: &'a mut [T],
    sum: &'a mut [T],
    out: &'a mut [T],
}
impl<T: Real> Kernel for Running<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let new = T::Lane::<I>::new;
        let width = self.out.len() / self.max.len();
        for (r, row) in self.scores.chunks_exact_mut(self.cols).enumerate() {
            let old = new(self.max[r]);
            let m = row_max::<T, I>(row).max(old);
            if m.get() == T::neg_infinity() {
                row.fill(T::zero());
                continue;
            }
            let part = row_exp(row, m);
            let shrink = (old - m).exp();
            self.sum[r] = (new(self.sum[r]) * shrink + part).get();
            self.max[r] = m.get();
            for o in &mut self.out[r * width..][..width] {
                *o = (new(*o) * shrink).get();
            }
        }
    }
}

/// Per batch: outputs `[lq, dv]`, then ln Σ e^s of each query.
fn attention<T: Scratch>(
    q: &Tensor<T>,
    k: &Tensor<T>,
    v: &Tensor<T>,
    mask: Option<&Tensor<T>>,
    out: &mut [T],
    scale: f64,
    causal: bool,
) {
    let (lq, d) = (q.shape()[1], q.shape()[2]);
    let (lk, dv) = (k.shape()[1], v.shape()[2]);
    parallel::chunks_mut(out, lq * (dv + 1), |b, out| {
        let mask = Mask::new(mask, b, causal);
        let (out, lse) = out.split_at_mut(lq * dv);
        T::with_scratch(BQ * BK.min(lk) + 2 * BQ, |scratch| {
            let (state, scores) = scratch.split_at_mut(2 * BQ);
            for i0 in (0..lq).step_by(BQ) {
                let rows = BQ.min(lq - i0);
                let o = &mut out[i0 * dv..][..rows * dv];
                let (max, sum) = state.split_at_mut(BQ);
                let (max, sum) = (&mut max[..rows], &mut sum[..rows]);
                o.fill(T::zero());
                max.fill(T::neg_infinity());
                sum.fill(T::zero());
                for j0 in (0..lk).step_by(BK) {
                    if causal && j0 >= i0 + rows {
                        break;
                    }
                    let cols = BK.min(lk - j0);
                    let s = &mut scores[..rows * cols];
                    let (a, c) = (mat(q, b, i0), mat(k, b, j0));
                    multiply(rows, cols, d, T::from_f64(scale), a, c.t(), T::zero(), s);
                    mask.apply(s, cols, i0, j0);
                    dispatch_for::<T, _>(Running {
                        scores: s,
                        cols,
                        max,
                        sum,
                        out: o,
                    });
                    let p = MatRef::row_major(s, cols);
                    multiply(rows, dv, cols, T::one(), p, mat(v, b, j0), T::one(), o);
                }
                for (r, l) in lse[i0..i0 + rows].iter_mut().enumerate() {
                    // A query without keys attends to nothing.
                    let empty = sum[r] == T::zero() && max[r] == T::neg_infinity();
                    let by = if empty { T::zero() } else { T::one() / sum[r] };
                    *l = if empty {
                        T::infinity()
                    } else {
                        max[r] + sum[r].ln()
                    };
                    o[r * dv..][..dv].iter_mut().for_each(|o| *o *= by);
                }
            }
        });
    });
}

/// c = alpha a b + beta c.
fn multiply<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: &mut [T],
) {
    gemm(
        m,
        n,
        k,
        alpha,
        a,
        b,
        beta,
        MatMut::row_major(c, n),
        Epilogue::None,
    );
}

/// Scores become weights e^(s - lse).
struct Weights<'a, T: Real> {
    scores: &'a mut [T],
    cols: usize,
    lse: &'a [T],
}
impl<T: Real> Kernel for Weights<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let new = T::Lane::<I>::new;
        for (row, &l) in self.scores.chunks_exact_mut(self.cols).zip(self.lse) {
            let l = new(l);
            row.iter_mut().for_each(|s| *s = (new(*s) - l).exp().get());
        }
    }
}

/// Per batch: the cotangents of q, k and v.
fn attention_grad<T: Scratch>(
    q: &Tensor<T>,
    k: &Tensor<T>,
    v: &Tensor<T>,
    mask: Option<&Tensor<T>>,
    y: &Tensor<T>,
    lse: &Tensor<T>,
    g: &Tensor<T>,
    out: &mut [T],
    scale: f64,
    causal: bool,
) {
    let (lq, d) = (q.shape()[1], q.shape()[2]);
    let (lk, dv) = (k.shape()[1], v.shape()[2]);
    out.fill(T::zero());
    let scale = T::from_f64(scale);
    parallel::chunks_mut(out, lq * d + lk * (d + dv), |b, out| {
        let mask = Mask::new(mask, b, causal);
        let (dq, rest) = out.split_at_mut(lq * d);
        let (dk, dvs) = rest.split_at_mut(lk * d);
        T::with_scratch(2 * BQ * BK.min(lk) + 2 * BQ, |scratch| {
            let (lines, blocks) = scratch.split_at_mut(2 * BQ);
            let (delta, lines) = lines.split_at_mut(BQ);
            let (weights, slopes) = blocks.split_at_mut(BQ * BK.min(lk));
            for i0 in (0..lq).step_by(BQ) {
                let rows = BQ.min(lq - i0);
                let (gm, ym) = (mat(g, b, i0), mat(y, b, i0));
                for r in 0..rows {
                    let at = |m: &MatRef<'_, T>, j: usize| {
                        m.data[(m.offset as isize + r as isize * m.rs + j as isize * m.cs) as usize]
                    };
                    delta[r] = (0..dv).map(|j| at(&gm, j) * at(&ym, j)).sum();
                    lines[r] = lse.get(&[b, i0 + r]);
                }
                for j0 in (0..lk).step_by(BK) {
                    if causal && j0 >= i0 + rows {
                        break;
                    }
                    let cols = BK.min(lk - j0);
                    let p = &mut weights[..rows * cols];
                    let ds = &mut slopes[..rows * cols];
                    let (qm, km, vm) = (mat(q, b, i0), mat(k, b, j0), mat(v, b, j0));
                    multiply(rows, cols, d, scale, qm, km.t(), T::zero(), p);
                    mask.apply(p, cols, i0, j0);
                    dispatch_for::<T, _>(Weights {
                        scores: p,
                        cols,
                        lse: &lines[..rows],
                    });
                    let pm = MatRef::row_major(p, cols);
                    let to = &mut dvs[j0 * dv..][..cols * dv];
                    multiply(cols, dv, rows, T::one(), pm.t(), gm, T::one(), to);
                    multiply(rows, cols, dv, T::one(), gm, vm.t(), T::zero(), ds);
                    for ((ds, p), &delta) in (ds.chunks_exact_mut(cols))
                        .zip(p.chunks_exact(cols))
                        .zip(delta.iter())
                    {
                        ds.iter_mut()
                            .zip(p)
                            .for_each(|(s, &p)| *s = p * (*s - delta));
                    }
                    let dm = MatRef::row_major(ds, cols);
                    let to = &mut dq[i0 * d..][..rows * d];
                    multiply(rows, d, cols, scale, dm, km, T::one(), to);
                    let to = &mut dk[j0 * d..][..cols * d];
                    multiply(cols, d, rows, scale, dm.t(), qm, T::one(), to);
                }
            }
        });
    });
}

#[derive(Debug, PartialEq, Clone, Copy)]
struct Config {
    scale: f64,
    causal: bool,
    masked: bool,
}

impl Config {
    fn check(&self, inputs: &[&[usize]]) -> Result<()> {
        let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
        let fits = q[0] == k[0] && k[0] == v[0] && q[2] == k[2] && k[1] == v[1];
        if !fits {
            return Err(shape_error(
                "scaled_dot_product_attention",
                format!("queries {q:?}, keys {k:?} and values {v:?} do not fit"),
            ));
        }
        Ok(())
    }

    /// The weights softmax(scale q kᵀ + mask), as a composition.
    fn weights<'t, T: Float>(&self, v: &[Var<'t, T>]) -> Var<'t, T> {
        let (q, k) = (v[0], v[1]);
        let mut s = q.matmul(k.t()) * self.scale;
        if self.masked {
            s = s + v[3].reshape(s.shape());
        }
        if self.causal {
            let keep = s.tape().tri(q.size(1), k.size(1), 0);
            s = keep.where_(s, s.tape().scalar(f64::NEG_INFINITY));
        }
        if s.numel() == 0 {
            return s;
        }
        // A query whose keys are all excluded has no weights.
        let most = s.detach().amax_dim(-1, true);
        let some = most.ne(most.tape().scalar(f64::NEG_INFINITY));
        some.where_(s, s.tape().scalar(0.0)).softmax(-1).mask(some)
    }
}

/// Inputs: q, k, v `[b, l, d]`, then the mask if there is one. Output: `[b, lq · dv + lq]`, see [`attention`].
#[derive(Debug, PartialEq)]
struct Packed(Config);
impl<T: Float> Op<T> for Packed {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        self.0.check(inputs)?;
        Ok(small![inputs[0][0], inputs[0][1] * (inputs[2][2] + 1)])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (q, k, v) = (ctx.input(0), ctx.input(1), ctx.input(2));
        let mask = self.0.masked.then(|| ctx.input(3));
        T::attention(q, k, v, mask, ctx.output(), self.0.scale, self.0.causal);
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (q, v) = (inputs[0], inputs[2]);
        2 * (q[0] * q[1] * v[1] * (q[2] + v[2])) as u64
    }
}

/// The output, a view of [`Packed`]'s. Inputs: packed, q, k, v, the mask.
#[derive(Debug, PartialEq)]
struct Output {
    config: Config,
    shape: Dims,
}
impl<T: Float> Op<T> for Output {
    fn name(&self) -> &'static str {
        "attention_output"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        part_copy(ctx.input(0), 0, &self.shape, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        part_view(input, 0, &self.shape)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (packed, q, k, v) = (ctx.input(0), ctx.input(1), ctx.input(2), ctx.input(3));
        let g = ctx.cotangent();
        let tape = g.tape();
        let own = &ctx.inputs()[1..];
        let config = self.config;
        let (b, lq, d) = (q.size(0), q.size(1), q.size(2));
        let (lk, dv) = (k.size(1), v.size(2));
        let mut args: SmallVec<[Var<'t, T>; 12]> = own.iter().copied().collect();
        let grads = tape.no_grad(|| {
            let y = ctx.output();
            let lse = packed.narrow(1, lq * dv, lq * dv + lq);
            let mut all: SmallVec<[Var<'t, T>; 12]> = small![y, lse, g];
            all.extend_from_slice(own);
            tape.apply(PackedGrad(config), &all)
        });
        args.push(g);
        let part = |of: usize| {
            let (start, shape): (usize, Dims) = match of {
                0 => (0, small![b, lq, d]),
                1 => (lq * d, small![b, lk, d]),
                _ => ((lq + lk) * d, small![b, lk, dv]),
            };
            let mut all: SmallVec<[Var<'t, T>; 12]> = small![grads];
            all.extend_from_slice(&args);
            tape.apply(
                GradPart {
                    config,
                    of,
                    start,
                    shape,
                },
                &all,
            )
        };
        let mut cts: Cotangents<'t, T> = small![None];
        for of in 0..3 {
            cts.push(ctx.needs(1 + of).then(|| part(of)));
        }
        if config.masked {
            // A mask that is learned gets its gradient from the scores, which are then made as a whole.
            cts.push(ctx.needs(4).then(|| {
                let p = config.weights(own);
                let dp = g.matmul(v.t());
                let ds = p * (dp - (dp * p).sum_dim(-1, true));
                ds.reshape(own[3].shape())
            }));
        }
        cts
    }
}

/// Inputs: output, lse, cotangent, q, k, v, the mask. Output: `[b, lq d + lk d + lk dv]`.
#[derive(Debug, PartialEq)]
struct PackedGrad(Config);
impl<T: Float> Op<T> for PackedGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (q, k, v) = (inputs[3], inputs[4], inputs[5]);
        Ok(small![q[0], q[1] * q[2] + k[1] * (k[2] + v[2])])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (y, lse, g) = (ctx.input(0), ctx.input(1), ctx.input(2));
        let (q, k, v) = (ctx.input(3), ctx.input(4), ctx.input(5));
        let mask = self.0.masked.then(|| ctx.input(6));
        let Config { scale, causal, .. } = self.0;
        T::attention_grad(q, k, v, mask, y, lse, g, ctx.output(), scale, causal);
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (q, v) = (inputs[3], inputs[5]);
        2 * (q[0] * q[1] * v[1] * (3 * q[2] + 2 * v[2])) as u64
    }
}

/// The cotangent of q, k or v, a view of [`PackedGrad`]'s output. Inputs: that, q, k, v, the mask, the cotangent.
#[derive(Debug, PartialEq)]
struct GradPart {
    config: Config,
    of: usize,
    start: usize,
    shape: Dims,
}
impl<T: Float> Op<T> for GradPart {
    fn name(&self) -> &'static str {
        ["attention_grad_q", "attention_grad_k", "attention_grad_v"][self.of]
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        part_copy(ctx.input(0), self.start, &self.shape, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        part_view(input, self.start, &self.shape)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let Config { scale, .. } = self.config;
        let mut cts: Cotangents<'t, T> = small![None];
        cts.extend(partials(
            &ctx.inputs()[1..],
            &ctx.needs[1..],
            ctx.cotangent(),
            |x| {
                let (q, k, v, g) = (x[0], x[1], x[2], x[x.len() - 1]);
                let p = self.config.weights(x);
                if self.of == 2 {
                    return p.t().matmul(g);
                }
                let dp = g.matmul(v.t());
                let ds = p * (dp - (dp * p).sum_dim(-1, true)) * scale;
                if self.of == 0 {
                    ds.matmul(k)
                } else {
                    ds.t().matmul(q)
                }
            },
        ));
        cts
    }
}

/// Settings of [`Var::scaled_dot_product_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Attention<'t, T: Float> {
    /// Added to the scores; broadcasts to `[.., queries, keys]`. -∞ excludes a key.
    pub mask: Option<Var<'t, T>>,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// Probability with which a weight is dropped (on a training tape).
    pub dropout: f64,
    /// Factor of the scores; 1/√d if `None`.
    pub scale: Option<f64>,
}

impl<T: Float> Default for Attention<'_, T> {
    fn default() -> Self {
        Attention {
            mask: None,
            causal: false,
            dropout: 0.0,
            scale: None,
        }
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Attention (Vaswani et al. 2017): softmax(q kᵀ / √d + mask) v, with queries `[.., lq, d]` (self), keys `[.., lk, d]`
    /// and values `[.., lk, dv]`; the leading axes broadcast.
    ///
    /// The weights are made block by block and again in the backward pass, never as a whole; memory grows with lq + lk.
    /// (With dropout, or for the gradient of a mask, or for second derivatives, the whole matrix is made.) A query whose
    /// keys are all excluded gives zeros.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::attention::Attention};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 0.0, 0.0, 1.0], [2, 2]));
    /// let y = x.scaled_dot_product_attention(x, x, Attention { causal: true, ..Default::default() });
    /// assert_eq!(y.value().to_vec()[..2], [1.0, 0.0]); // the first query sees the first key alone
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit, or the dropout is not in [0, 1].
    #[track_caller]
    pub fn scaled_dot_product_attention(
        self,
        keys: Self,
        values: Self,
        settings: Attention<'t, T>,
    ) -> Self {
        let op = "scaled_dot_product_attention";
        let (sq, sk, sv) = (self.shape(), keys.shape(), values.shape());
        assert!(
            (0.0..=1.0).contains(&settings.dropout),
            "{op}: expected a dropout probability in [0, 1], found {}",
            settings.dropout
        );
        let fits = sq.len() >= 2
            && sk.len() >= 2
            && sv.len() >= 2
            && sq[sq.len() - 1] == sk[sk.len() - 1]
            && sk[sk.len() - 2] == sv[sv.len() - 2];
        assert!(
            fits,
            "{op}: queries {:?}, keys {:?} and values {:?} do not fit (expected [.., lq, d], [.., lk, d], [.., lk, dv])",
            sq.as_slice(),
            sk.as_slice(),
            sv.as_slice()
        );
        let lead = |s: &Dims| Dims::from_slice(&s[..s.len() - 2]);
        let mut batch = broadcast(op, &lead(&sq), &lead(&sk)).or_panic();
        batch = broadcast(op, &batch, &lead(&sv)).or_panic();
        let b: usize = batch.iter().product();
        let whole = |x: Self| {
            let s = x.shape();
            let mut wide = batch.clone();
            wide.extend_from_slice(&s[s.len() - 2..]);
            x.broadcast_to(wide)
                .reshape([b, s[s.len() - 2], s[s.len() - 1]])
        };
        let (lq, lk, dv) = (sq[sq.len() - 2], sk[sk.len() - 2], sv[sv.len() - 1]);
        let mut args: SmallVec<[Self; 12]> = small![whole(self), whole(keys), whole(values)];
        if let Some(m) = settings.mask {
            let mut wide = batch.clone();
            wide.extend_from_slice(&[lq, lk]);
            args.push(m.broadcast_to(wide));
        }
        let config = Config {
            scale: settings
                .scale
                .unwrap_or(1.0 / (sq[sq.len() - 1].max(1) as f64).sqrt()),
            causal: settings.causal,
            masked: settings.mask.is_some(),
        };
        let tape = self.tape();
        let y = if settings.dropout > 0.0 && tape.is_training() {
            config
                .weights(&args)
                .dropout(settings.dropout)
                .matmul(args[2])
        } else {
            let packed = tape.no_grad(|| tape.apply(Packed(config), &args));
            args.insert(0, packed);
            let output = Output {
                config,
                shape: small![b, lq, dv],
            };
            tape.apply(output, &args)
        };
        batch.extend_from_slice(&[lq, dv]);
        y.reshape(batch)
    }
}
