//! The derivatives of attention's derivatives, block by block: what is as large as the scores is made again in each block.
//!
//! With S the scores, P = softmax(S), D the factors of dropout, and a cotangent G of the output (D∘P) V, the derivatives are
//! made from dP = D∘(G Vᵀ), δ = Σ P∘dP and dS = P∘(dP - δ), sums along rows: dQ = scale dS K, dK = scale dSᵀ Q, dV = (D∘P)ᵀ G,
//! and dS for the mask. A cotangent of one of these, A, B, C or E, gives
//!
//! - for dS the cotangent H = scale A Kᵀ, scale Q Bᵀ or E; with η = Σ P∘H that of dP is T = P∘(H - η);
//! - for P the cotangent U = H∘(dP - δ) - η dP, or D∘(G Cᵀ); with ω = Σ P∘U that of S is W = P∘(U - ω);
//! - so Q̄ = scale (W K + dS B), K̄ = scale (Wᵀ Q + dSᵀ A), V̄ = (D∘T)ᵀ G, Ḡ = (D∘T) V + (D∘P) C, and W for the mask.
//!
//! δ, η and ω are one number for each query: a first pass along the keys makes them, a second one the rest.

use super::kernels::{
    BK, BQ, Backward, Given, Keep, Mask, Weights, kept, mask_sums, mat, multiply, row_sums,
};
use crate::float::Float;
use crate::ops::Scratch;
use wengert_tensor::gemm::MatRef;
use wengert_tensor::simd::dispatch_for;
use wengert_tensor::{Real, Tensor, parallel};

/// A cotangent of one of the derivatives.
pub enum Cotangent<'a, T: Real> {
    /// Of that of the queries.
    Q(&'a Tensor<T>),
    /// Of that of the keys.
    K(&'a Tensor<T>),
    /// Of that of the values.
    V(&'a Tensor<T>),
    /// Of that of the mask, stretched as the mask is.
    Mask(Tensor<T>),
}

/// One matrix.
struct Second<'a, T: Real> {
    backward: Backward<'a, T>,
    of: &'a Cotangent<'a, T>,
}

/// Numbers that [`Second`] works with.
fn room(lk: usize) -> usize {
    4 * BQ + (3 * BQ + 1) * BK.min(lk)
}

/// Numbers for each query.
struct Lines<'a, T> {
    lse: &'a mut [T],
    delta: &'a mut [T],
    eta: &'a mut [T],
    omega: &'a mut [T],
}

/// A block of queries and keys, each `rows x cols`.
struct Blocks<'a, T> {
    /// The weights, then W.
    p: &'a mut [T],
    /// G Vᵀ, then D∘T; not used for a cotangent of the values' derivative.
    x: &'a mut [T],
    /// H, then dS; for a cotangent of the values' derivative G Cᵀ, then D∘P.
    h: &'a mut [T],
    factors: &'a mut [T],
}

impl<'a, T: Scratch + Float> Second<'a, T> {
    fn new(
        given: &'a Given<'a, T>,
        b: usize,
        keep: Option<&'a Keep<T>>,
        of: &'a Cotangent<'a, T>,
    ) -> Self {
        let backward = Backward::new(given, b, keep);
        Second { backward, of }
    }

    /// The weights of a block, and the products its other values are made from.
    fn products(
        &self,
        i0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        lse: &[T],
        to: &mut Blocks<'_, T>,
    ) {
        let Backward { given, b, .. } = self.backward;
        let job = given.job;
        let (d, dv) = (job.q.shape()[2], job.v.shape()[2]);
        let (qm, km, vm) = (mat(job.q, b, i0), mat(job.k, b, j0), mat(job.v, b, j0));
        let gm = mat(given.g, b, i0);
        let (one, zero, scale) = (T::one(), T::zero(), T::from_f64(job.scale));
        multiply(rows, cols, d, scale, qm, km.t(), zero, to.p);
        self.backward.mask.apply(to.p, cols, i0, j0);
        dispatch_for::<T, _>(Weights {
            scores: &mut *to.p,
            cols,
            lse,
        });
        match self.of {
            Cotangent::Q(a) => multiply(rows, cols, d, scale, mat(a, b, i0), km.t(), zero, to.h),
            Cotangent::K(c) => multiply(rows, cols, d, scale, qm, mat(c, b, j0).t(), zero, to.h),
            Cotangent::V(c) => {
                multiply(rows, cols, dv, one, gm, mat(c, b, j0).t(), zero, to.h);
                return;
            }
            Cotangent::Mask(e) => {
                to.h.fill(zero);
                Mask::new(Some(e), b, false).apply(to.h, cols, i0, j0);
            }
        }
        multiply(rows, cols, dv, one, gm, vm.t(), zero, to.x);
    }

    /// The factors of dropout of row `i` from key `j0` on.
    fn factors(&self, i: usize, j0: usize, out: &mut [T]) {
        let Backward { given, b, keep, .. } = self.backward;
        let (_, lq, lk) = given.job.sizes();
        match keep {
            Some(keep) => keep.factors((b * lq + i) * lk + j0, out),
            None => out.fill(T::one()),
        }
    }

    /// η and ω, as far as a block has part in them; ω still without -η δ.
    fn first_pass(
        &self,
        i0: usize,
        j0: usize,
        cols: usize,
        blocks: &mut Blocks<'_, T>,
        lines: &mut Lines<'_, T>,
    ) {
        let values = matches!(self.of, Cotangent::V(_));
        let rows = (blocks.p.chunks_exact(cols)).zip(blocks.x.chunks_exact(cols));
        for (r, ((p, x), h)) in rows.zip(blocks.h.chunks_exact(cols)).enumerate() {
            let factors = &mut blocks.factors[..cols];
            self.factors(i0 + r, j0, factors);
            let (mut eta, mut omega) = (T::zero(), T::zero());
            if values {
                for ((&p, &h), &f) in p.iter().zip(h).zip(&*factors) {
                    omega += p * kept(h, f);
                }
            } else {
                let delta = lines.delta[r];
                for (((&p, &x), &h), &f) in p.iter().zip(x).zip(h).zip(&*factors) {
                    let ph = p * h;
                    eta += ph;
                    omega += ph * (kept(x, f) - delta);
                }
            }
            lines.eta[r] += eta;
            lines.omega[r] += omega;
        }
    }

    /// What [`Blocks`] says, in place of the products.
    fn second_pass(
        &self,
        i0: usize,
        j0: usize,
        cols: usize,
        blocks: &mut Blocks<'_, T>,
        lines: &Lines<'_, T>,
    ) {
        let values = matches!(self.of, Cotangent::V(_));
        let rows = (blocks.p.chunks_exact_mut(cols)).zip(blocks.x.chunks_exact_mut(cols));
        for (r, ((p, x), h)) in rows.zip(blocks.h.chunks_exact_mut(cols)).enumerate() {
            let factors = &mut blocks.factors[..cols];
            self.factors(i0 + r, j0, factors);
            let (delta, eta, omega) = (lines.delta[r], lines.eta[r], lines.omega[r]);
            if values {
                for ((p, h), &f) in p.iter_mut().zip(h).zip(&*factors) {
                    let w = *p * (kept(*h, f) - omega);
                    *h = kept(*p, f);
                    *p = w;
                }
                continue;
            }
            for (((p, x), h), &f) in p.iter_mut().zip(x).zip(h).zip(&*factors) {
                let dp = kept(*x, f);
                let u = *h * (dp - delta) - eta * dp;
                *x = kept(*p * (*h - eta), f);
                *h = *p * (dp - delta);
                *p *= u - omega;
            }
        }
    }

    /// For each block of the queries `i0..i0 + rows` and some keys: `f(j0, keys, W, D∘T, dS)`, or, for a cotangent of the values'
    /// derivative, `f(j0, keys, W, _, D∘P)`.
    fn blocks(
        &self,
        i0: usize,
        rows: usize,
        scratch: &mut [T],
        mut f: impl FnMut(usize, usize, &[T], &[T], &[T]),
    ) {
        let Backward { given, b, .. } = self.backward;
        let job = given.job;
        let (_, _, lk) = job.sizes();
        let width = BK.min(lk);
        let (lines, blocks) = scratch.split_at_mut(4 * BQ);
        let (lse, lines) = lines.split_at_mut(BQ);
        let (delta, lines) = lines.split_at_mut(BQ);
        let (eta, omega) = lines.split_at_mut(BQ);
        let mut lines = Lines {
            lse,
            delta,
            eta,
            omega,
        };
        let (factors, blocks) = blocks.split_at_mut(width);
        let (p, blocks) = blocks.split_at_mut(BQ * width);
        let (x, h) = blocks.split_at_mut(BQ * width);
        for r in 0..rows {
            lines.lse[r] = given.lse.get(&[b, i0 + r]);
        }
        let dv = job.v.shape()[2];
        row_sums(
            &mat(given.g, b, i0),
            &mat(given.y, b, i0),
            dv,
            &mut lines.delta[..rows],
        );
        lines.eta.fill(T::zero());
        lines.omega.fill(T::zero());
        let keys = job.keys(i0 + rows);
        for last in [false, true] {
            for j0 in (0..keys).step_by(BK) {
                let cols = BK.min(keys - j0);
                let mut blocks = Blocks {
                    p: &mut p[..rows * cols],
                    x: &mut x[..rows * cols],
                    h: &mut h[..rows * cols],
                    factors: &mut *factors,
                };
                self.products(i0, rows, j0, cols, &lines.lse[..rows], &mut blocks);
                if last {
                    self.second_pass(i0, j0, cols, &mut blocks, &lines);
                    f(j0, cols, blocks.p, blocks.x, blocks.h);
                } else {
                    self.first_pass(i0, j0, cols, &mut blocks, &mut lines);
                }
            }
            if !last {
                for r in 0..rows {
                    lines.omega[r] -= lines.eta[r] * lines.delta[r];
                }
            }
        }
    }
}

/// Per batch: the cotangents of q, k, v and G.
pub(super) fn attention_second<T: Scratch + Float>(
    given: &Given<'_, T>,
    of: Cotangent<'_, T>,
    out: &mut [T],
) {
    let (job, g) = (given.job, given.g);
    let (_, lq, lk) = job.sizes();
    let (d, dv) = (job.q.shape()[2], job.v.shape()[2]);
    out.fill(T::zero());
    let (one, scale) = (T::one(), T::from_f64(job.scale));
    let keep = job.keep();
    parallel::chunks_mut(out, (lq + lk) * (d + dv), |b, out| {
        let second = Second::new(given, b, keep.as_ref(), &of);
        let (dq, rest) = out.split_at_mut(lq * d);
        let (dk, rest) = rest.split_at_mut(lk * d);
        let (dvs, dg) = rest.split_at_mut(lk * dv);
        T::with_scratch(room(lk), |scratch| {
            for i0 in (0..lq).step_by(BQ) {
                let rows = BQ.min(lq - i0);
                second.blocks(i0, rows, scratch, |j0, cols, w, t, s| {
                    let (qm, km, vm) = (mat(job.q, b, i0), mat(job.k, b, j0), mat(job.v, b, j0));
                    let gm = mat(g, b, i0);
                    let [w, t, s] = [w, t, s].map(|m| MatRef::row_major(m, cols));
                    let dq = &mut dq[i0 * d..][..rows * d];
                    let dk = &mut dk[j0 * d..][..cols * d];
                    let dvs = &mut dvs[j0 * dv..][..cols * dv];
                    let dg = &mut dg[i0 * dv..][..rows * dv];
                    multiply(rows, d, cols, scale, w, km, one, dq);
                    multiply(cols, d, rows, scale, w.t(), qm, one, dk);
                    match &of {
                        Cotangent::V(c) => {
                            return multiply(rows, dv, cols, one, s, mat(c, b, j0), one, dg);
                        }
                        Cotangent::Q(a) => {
                            multiply(cols, d, rows, scale, s.t(), mat(a, b, i0), one, dk);
                        }
                        Cotangent::K(c) => {
                            multiply(rows, d, cols, scale, s, mat(c, b, j0), one, dq)
                        }
                        Cotangent::Mask(_) => {}
                    }
                    multiply(cols, dv, rows, one, t.t(), gm, one, dvs);
                    multiply(rows, dv, cols, one, t, vm, one, dg);
                });
            }
        });
    });
}

/// The cotangent of the mask, in its shape.
pub(super) fn attention_mask_second<T: Scratch + Float>(
    given: &Given<'_, T>,
    of: Cotangent<'_, T>,
    out: &mut [T],
    shape: &[usize],
) {
    let job = given.job;
    let keep = job.keep();
    let room = room(job.sizes().2);
    mask_sums(job, room, out, shape, |b, i0, rows, scratch, add| {
        let second = Second::new(given, b, keep.as_ref(), &of);
        second.blocks(i0, rows, scratch, |j0, cols, w, _, _| add(j0, cols, w));
    });
}
