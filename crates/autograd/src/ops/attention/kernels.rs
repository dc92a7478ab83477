//! Attention block by block: a running softmax forward, the weights made again backward.

use super::second::{Cotangent, attention_mask_second, attention_second};
use crate::float::Float;
use crate::ops::random::{Random, mix};
use crate::ops::softmax::{row_exp, row_max};
use crate::ops::{Scratch, compiled_here};
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, dispatch_for};
use wengert_tensor::{Real, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    AttentionKernels {
        fn attention(job: &Job<'_, Self>, out: &mut [Self]) = attention;
        fn attention_grad(given: &Given<'_, Self>, out: &mut [Self]) = attention_grad;
        fn attention_mask_grad(given: &Given<'_, Self>, out: &mut [Self], shape: &[usize]) = attention_mask_grad;
        fn attention_second(given: &Given<'_, Self>, of: Cotangent<'_, Self>, out: &mut [Self]) = attention_second;
        fn attention_mask_second(
            given: &Given<'_, Self>, of: Cotangent<'_, Self>, out: &mut [Self], shape: &[usize],
        ) = attention_mask_second;
        fn attention_keep(seed: &Tensor<Self>, p: f64, out: &mut [Self]) = attention_keep;
    }
}

/// What the kernels of both directions read.
pub struct Job<'a, T: Real> {
    pub q: &'a Tensor<T>,
    pub k: &'a Tensor<T>,
    pub v: &'a Tensor<T>,
    /// Stretched to `[.., queries, keys]`.
    pub mask: Option<Tensor<T>>,
    /// The probability with which weights are dropped, and what the mask is made from.
    pub dropout: Option<(f64, &'a Tensor<T>)>,
    pub scale: f64,
    pub causal: bool,
}

/// What the kernels of derivatives read beside the operands.
pub struct Given<'a, T: Real> {
    pub job: &'a Job<'a, T>,
    pub y: &'a Tensor<T>,
    /// Of each query the logarithm of the sum of the exponentials of its scores.
    pub lse: &'a Tensor<T>,
    /// The cotangent of the output.
    pub g: &'a Tensor<T>,
}

impl<T: Float> Job<'_, T> {
    /// Matrices, queries, keys.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.q.shape()[0], self.q.shape()[1], self.k.shape()[1])
    }

    /// How many keys the queries below `end` attend to.
    pub(super) fn keys(&self, end: usize) -> usize {
        let all = self.k.shape()[1];
        if self.causal { all.min(end) } else { all }
    }

    pub(super) fn keep(&self) -> Option<Keep<T>> {
        self.dropout.map(|(p, seed)| Keep::new(p, seed))
    }
}

/// The mask of dropout: a function of the place in `[b, lq, lk]`, made again wherever it is needed.
pub(super) struct Keep<T: Real> {
    key: u64,
    imm: [T; 2],
}

impl<T: Float> Keep<T> {
    fn new(p: f64, seed: &Tensor<T>) -> Self {
        let scale = if p == 1.0 { 0.0 } else { 1.0 / (1.0 - p) };
        Keep {
            key: seed
                .iter()
                .fold(0, |key, x| mix(key ^ x.as_f64().to_bits())),
            imm: [T::from_f64(p), T::from_f64(scale)],
        }
    }

    /// Factors of the weights from place `at` on: 0 or 1 / (1 - p).
    pub(super) fn factors(&self, at: usize, out: &mut [T]) {
        Random::Keep.index_fn::<T>()(out, at, self.key, self.imm);
    }
}

/// All factors.
fn attention_keep<T: Float>(seed: &Tensor<T>, p: f64, out: &mut [T]) {
    let keep = Keep::new(p, seed);
    parallel::chunks_mut(out, parallel::GRAIN, |c, out| {
        keep.factors(c * parallel::GRAIN, out);
    });
}

/// x · factor; a dropped x is 0 even if it was not finite.
#[inline(always)]
pub(super) fn kept<T: Real>(x: T, factor: T) -> T {
    if factor == T::zero() {
        factor
    } else {
        x * factor
    }
}

/// Queries and keys of a block.
pub(super) const BQ: usize = 64;
pub(super) const BK: usize = 256;

/// Matrix `b` of a batch, from row `row` on.
pub(super) fn mat<T: Real>(t: &Tensor<T>, b: usize, row: usize) -> MatRef<'_, T> {
    let s = t.strides();
    MatRef {
        data: t.storage().as_slice(),
        offset: (t.layout().offset as isize + b as isize * s[0] + row as isize * s[1]) as usize,
        rs: s[1],
        cs: s[2],
    }
}

/// Adds the mask to a block of scores and excludes keys after their query.
pub(super) struct Mask<'a, T: Real> {
    tensor: Option<&'a Tensor<T>>,
    offset: isize,
    causal: bool,
}

impl<'a, T: Real> Mask<'a, T> {
    pub(super) fn new(tensor: Option<&'a Tensor<T>>, mut b: usize, causal: bool) -> Self {
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

    pub(super) fn apply(&self, scores: &mut [T], cols: usize, i0: usize, j0: usize) {
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
fn attention<T: Scratch + Float>(job: &Job<'_, T>, out: &mut [T]) {
    let (q, k, v, causal) = (job.q, job.k, job.v, job.causal);
    let (_, lq, lk) = job.sizes();
    let (d, dv) = (q.shape()[2], v.shape()[2]);
    let keep = job.keep();
    parallel::chunks_mut(out, lq * (dv + 1), |b, out| {
        let mask = Mask::new(job.mask.as_ref(), b, causal);
        let (out, lse) = out.split_at_mut(lq * dv);
        T::with_scratch((BQ + 1) * BK.min(lk) + 2 * BQ, |scratch| {
            let (state, scores) = scratch.split_at_mut(2 * BQ);
            let (factors, scores) = scores.split_at_mut(BK.min(lk));
            for i0 in (0..lq).step_by(BQ) {
                let rows = BQ.min(lq - i0);
                let o = &mut out[i0 * dv..][..rows * dv];
                let (max, sum) = state.split_at_mut(BQ);
                let (max, sum) = (&mut max[..rows], &mut sum[..rows]);
                o.fill(T::zero());
                max.fill(T::neg_infinity());
                sum.fill(T::zero());
                let keys = job.keys(i0 + rows);
                for j0 in (0..keys).step_by(BK) {
                    let cols = BK.min(keys - j0);
                    let s = &mut scores[..rows * cols];
                    let (a, c) = (mat(q, b, i0), mat(k, b, j0));
                    let scale = T::from_f64(job.scale);
                    multiply(rows, cols, d, scale, a, c.t(), T::zero(), s);
                    mask.apply(s, cols, i0, j0);
                    dispatch_for::<T, _>(Running {
                        scores: s,
                        cols,
                        max,
                        sum,
                        out: o,
                    });
                    if let Some(keep) = &keep {
                        for (r, row) in s.chunks_exact_mut(cols).enumerate() {
                            let factors = &mut factors[..cols];
                            keep.factors((b * lq + i0 + r) * lk + j0, factors);
                            (row.iter_mut().zip(&*factors)).for_each(|(p, &f)| *p = kept(*p, f));
                        }
                    }
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
pub(super) fn multiply<T: Real>(
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
pub(super) struct Weights<'a, T: Real> {
    pub scores: &'a mut [T],
    pub cols: usize,
    pub lse: &'a [T],
}
impl<T: Real> Kernel for Weights<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let new = T::Lane::<I>::new;
        for (row, &l) in self.scores.chunks_exact_mut(self.cols).zip(self.lse) {
            let l = new(l);
            row.iter_mut()
                .for_each(|s| *s = (new(*s) - l).exp_down().get());
        }
    }
}

/// The sums Σ a · b along rows of `n` elements.
pub(super) fn row_sums<T: Real>(a: &MatRef<'_, T>, b: &MatRef<'_, T>, n: usize, out: &mut [T]) {
    for (r, sum) in out.iter_mut().enumerate() {
        let at = |m: &MatRef<'_, T>, j: usize| {
            m.data[(m.offset as isize + r as isize * m.rs + j as isize * m.cs) as usize]
        };
        *sum = (0..n).map(|j| at(a, j) * at(b, j)).sum();
    }
}

/// Blocks of the backward pass of one matrix.
pub(super) struct Backward<'a, T: Real> {
    pub given: &'a Given<'a, T>,
    pub b: usize,
    pub mask: Mask<'a, T>,
    pub keep: Option<&'a Keep<T>>,
}

/// Numbers that [`Backward`] works with.
fn backward_scratch(lk: usize) -> usize {
    2 * BQ + (2 * BQ + 1) * BK.min(lk)
}

impl<'a, T: Scratch + Float> Backward<'a, T> {
    pub fn new(given: &'a Given<'a, T>, b: usize, keep: Option<&'a Keep<T>>) -> Self {
        let mask = Mask::new(given.job.mask.as_ref(), b, given.job.causal);
        Backward {
            given,
            b,
            mask,
            keep,
        }
    }

    /// For each block of the queries `i0..i0 + rows` and some keys: `f(j0, keys, weights, slopes)` with the weights that
    /// were used, dropout applied, and the cotangents of the scores.
    fn blocks(
        &self,
        i0: usize,
        rows: usize,
        scratch: &mut [T],
        mut f: impl FnMut(usize, usize, &[T], &[T]),
    ) {
        let Given { job, y, lse, g } = *self.given;
        let b = self.b;
        let (_, lq, lk) = job.sizes();
        let (d, dv) = (job.q.shape()[2], job.v.shape()[2]);
        let width = BK.min(lk);
        let (lines, blocks) = scratch.split_at_mut(2 * BQ);
        let (delta, lines) = lines.split_at_mut(BQ);
        let (factors, blocks) = blocks.split_at_mut(width);
        let (weights, slopes) = blocks.split_at_mut(BQ * width);
        let gm = mat(g, b, i0);
        row_sums(&gm, &mat(y, b, i0), dv, &mut delta[..rows]);
        for (r, l) in lines[..rows].iter_mut().enumerate() {
            *l = lse.get(&[b, i0 + r]);
        }
        let keys = job.keys(i0 + rows);
        for j0 in (0..keys).step_by(BK) {
            let cols = BK.min(keys - j0);
            let p = &mut weights[..rows * cols];
            let ds = &mut slopes[..rows * cols];
            let (qm, km, vm) = (mat(job.q, b, i0), mat(job.k, b, j0), mat(job.v, b, j0));
            let scale = T::from_f64(job.scale);
            multiply(rows, cols, d, scale, qm, km.t(), T::zero(), p);
            self.mask.apply(p, cols, i0, j0);
            dispatch_for::<T, _>(Weights {
                scores: p,
                cols,
                lse: &lines[..rows],
            });
            multiply(rows, cols, dv, T::one(), gm, vm.t(), T::zero(), ds);
            let lines = (ds.chunks_exact_mut(cols)).zip(p.chunks_exact_mut(cols));
            for (r, (ds, p)) in lines.enumerate() {
                let delta = delta[r];
                let Some(keep) = self.keep else {
                    (ds.iter_mut().zip(p)).for_each(|(s, p)| *s = *p * (*s - delta));
                    continue;
                };
                let factors = &mut factors[..cols];
                keep.factors((b * lq + i0 + r) * lk + j0, factors);
                for ((s, p), &factor) in ds.iter_mut().zip(p).zip(&*factors) {
                    *s = *p * (kept(*s, factor) - delta);
                    *p = kept(*p, factor);
                }
            }
            f(j0, cols, p, ds);
        }
    }
}

/// Per batch: the cotangents of q, k and v.
fn attention_grad<T: Scratch + Float>(given: &Given<'_, T>, out: &mut [T]) {
    let (job, g) = (given.job, given.g);
    let (_, lq, lk) = job.sizes();
    let (d, dv) = (job.q.shape()[2], job.v.shape()[2]);
    out.fill(T::zero());
    let scale = T::from_f64(job.scale);
    let keep = job.keep();
    parallel::chunks_mut(out, lq * d + lk * (d + dv), |b, out| {
        let backward = Backward::new(given, b, keep.as_ref());
        let (dq, rest) = out.split_at_mut(lq * d);
        let (dk, dvs) = rest.split_at_mut(lk * d);
        T::with_scratch(backward_scratch(lk), |scratch| {
            for i0 in (0..lq).step_by(BQ) {
                let rows = BQ.min(lq - i0);
                let (qm, gm) = (mat(job.q, b, i0), mat(g, b, i0));
                backward.blocks(i0, rows, scratch, |j0, cols, p, ds| {
                    let km = mat(job.k, b, j0);
                    let pm = MatRef::row_major(p, cols);
                    let to = &mut dvs[j0 * dv..][..cols * dv];
                    multiply(cols, dv, rows, T::one(), pm.t(), gm, T::one(), to);
                    let dm = MatRef::row_major(ds, cols);
                    let to = &mut dq[i0 * d..][..rows * d];
                    multiply(rows, d, cols, scale, dm, km, T::one(), to);
                    let to = &mut dk[j0 * d..][..cols * d];
                    multiply(cols, d, rows, scale, dm.t(), qm, T::one(), to);
                });
            }
        });
    });
}

/// The cotangent of a mask of shape `shape`, whose axes of size 1 were stretched: added up while the blocks pass.
fn attention_mask_grad<T: Scratch + Float>(given: &Given<'_, T>, out: &mut [T], shape: &[usize]) {
    let job = given.job;
    let keep = job.keep();
    let room = backward_scratch(job.sizes().2);
    mask_sums(job, room, out, shape, |b, i0, rows, scratch, add| {
        let backward = Backward::new(given, b, keep.as_ref());
        backward.blocks(i0, rows, scratch, |j0, cols, _, ds| add(j0, cols, ds));
    });
}

/// Sums of blocks of the shape of scores into a mask's shape. `blocks(b, i0, rows, scratch, add)` makes those of the queries
/// `i0..i0 + rows` of matrix `b`, each with its first key and number of keys.
pub(super) fn mask_sums<T: Scratch + Float>(
    job: &Job<'_, T>,
    room: usize,
    out: &mut [T],
    shape: &[usize],
    blocks: impl Fn(usize, usize, usize, &mut [T], &mut dyn FnMut(usize, usize, &[T])) + Sync,
) {
    let (matrices, lq, lk) = job.sizes();
    let wide = job.mask.as_ref().expect("there is a mask").shape();
    let lead = shape.len() - 2;
    let (tall, broad) = (shape[lead] != 1, shape[lead + 1] != 1);
    let own = shape[lead] * shape[lead + 1];
    out.fill(T::zero());
    // Which part of the mask a matrix had.
    let part_of = |mut b: usize| {
        let (mut part, mut step) = (0, 1);
        for (&d, &own) in wide[..lead].iter().zip(&shape[..lead]).rev() {
            if own != 1 {
                part += b % d * step;
                step *= d;
            }
            b /= d;
        }
        part
    };
    let some = |part: usize, queries: std::ops::Range<usize>, out: &mut [T]| {
        T::with_scratch(room, |scratch| {
            for b in (0..matrices).filter(|&b| part_of(b) == part) {
                for i0 in queries.clone().step_by(BQ) {
                    let rows = BQ.min(queries.end - i0);
                    blocks(b, i0, rows, scratch, &mut |j0, cols, ds| {
                        for (r, ds) in ds.chunks_exact(cols).enumerate() {
                            let row = if tall { i0 - queries.start + r } else { 0 };
                            if broad {
                                let to = &mut out[row * lk + j0..][..cols];
                                (to.iter_mut().zip(ds)).for_each(|(o, &s)| *o += s);
                            } else {
                                out[row] += ds.iter().copied().sum();
                            }
                        }
                    });
                }
            }
        });
    };
    if own == out.len() && tall {
        // One part: a task takes some queries of all matrices.
        let width = shape[lead + 1];
        parallel::chunks_mut(out, BQ * width, |c, out| {
            some(0, c * BQ..c * BQ + out.len() / width, out);
        });
    } else {
        parallel::chunks_mut(out, own, |part, out| some(part, 0..lq, out));
    }
}
