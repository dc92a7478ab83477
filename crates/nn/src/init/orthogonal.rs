//! Random matrices with orthonormal columns.

use rand::Rng;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_tensor::normal::standard_normal;

/// Reflectors that are applied at once.
const BLOCK: usize = 32;

/// A matrix `rows x cols`, row-major, drawn uniformly (Haar measure) from those with orthonormal columns.
///
/// The factor Q of a Gaussian matrix with positive diagonal of R, without the matrix: the k-th column that Householder's
/// method meets is again a Gaussian vector, of length `rows - k`, so the reflectors can be drawn directly (Stewart 1980, "The
/// efficient generation of random orthogonal matrices"). Blocks of reflectors are applied as
/// `I - V T Vᵀ` (Schreiber & Van Loan 1989).
///
/// Requires `rows >= cols`.
pub(super) fn columns<R: Rng + ?Sized>(rows: usize, cols: usize, rng: &mut R) -> Vec<f64> {
    debug_assert!(rows >= cols);
    // Reflectors one after the other; the k-th has length rows - k and starts with 1.
    let mut v: Vec<Vec<f64>> = Vec::with_capacity(cols);
    let mut tau = Vec::with_capacity(cols);
    let mut sign = Vec::with_capacity(cols);
    for k in 0..cols {
        let mut x: Vec<f64> = (k..rows).map(|_| standard_normal(rng)).collect();
        let (t, s) = reflector(&mut x);
        v.push(x);
        tau.push(t);
        sign.push(s);
    }

    let mut q = vec![0.0; rows * cols];
    for k in 0..cols {
        q[k * cols + k] = sign[k];
    }
    let mut start = cols.div_ceil(BLOCK) * BLOCK;
    while start > 0 {
        start -= BLOCK;
        let end = (start + BLOCK).min(cols);
        apply(&mut q, rows, cols, start, &v[start..end], &tau[start..end]);
    }
    q
}

/// Turns `x` into the vector of the reflector `I - tau v vᵀ` that maps it to `r e₁`; returns tau and the sign of r.
fn reflector(x: &mut [f64]) -> (f64, f64) {
    let head = x[0];
    let rest: f64 = x[1..].iter().map(|a| a * a).sum();
    if rest == 0.0 {
        x[0] = 1.0;
        return (0.0, if head < 0.0 { -1.0 } else { 1.0 });
    }
    let norm = (head * head + rest).sqrt();
    // The sign that does not cancel.
    let r = if head >= 0.0 { -norm } else { norm };
    let scale = 1.0 / (head - r);
    x[1..].iter_mut().for_each(|a| *a *= scale);
    x[0] = 1.0;
    ((r - head) / r, r.signum())
}

/// `q <- H₁ … H_b q` for the reflectors of one block, whose first starts at row `start`.
///
/// Later reflectors have left the rows and columns before `start` as in the identity, so only the rest changes.
fn apply(q: &mut [f64], rows: usize, cols: usize, start: usize, v: &[Vec<f64>], tau: &[f64]) {
    let (m, n, b) = (rows - start, cols - start, v.len());
    let mut vs = vec![0.0; m * b];
    for (j, x) in v.iter().enumerate() {
        for (i, &a) in x.iter().enumerate() {
            vs[(i + j) * b + j] = a;
        }
    }
    // H₁ … H_b = I - V T Vᵀ with T upper triangular: T_jj = tau_j, T_:j = -tau_j T V ᵀ v_j.
    let mut gram = vec![0.0; b * b];
    let vt = MatRef::row_major(&vs, b).t();
    gemm(
        b,
        b,
        m,
        1.0,
        vt,
        MatRef::row_major(&vs, b),
        0.0,
        MatMut::row_major(&mut gram, b),
        Epilogue::None,
    );
    let mut t = vec![0.0; b * b];
    for j in 0..b {
        for i in 0..j {
            let dot: f64 = (i..j).map(|l| t[i * b + l] * gram[l * b + j]).sum();
            t[i * b + j] = -tau[j] * dot;
        }
        t[j * b + j] = tau[j];
    }
    let mut w = vec![0.0; b * n];
    let mut tw = vec![0.0; b * n];
    let corner = start * cols + start;
    let part = MatRef {
        data: &*q,
        offset: corner,
        rs: cols as isize,
        cs: 1,
    };
    gemm(
        b,
        n,
        m,
        1.0,
        vt,
        part,
        0.0,
        MatMut::row_major(&mut w, n),
        Epilogue::None,
    );
    gemm(
        b,
        n,
        b,
        1.0,
        MatRef::row_major(&t, b),
        MatRef::row_major(&w, n),
        0.0,
        MatMut::row_major(&mut tw, n),
        Epilogue::None,
    );
    let part = MatMut {
        data: q,
        offset: corner,
        rs: cols as isize,
        cs: 1,
    };
    gemm(
        m,
        n,
        b,
        -1.0,
        MatRef::row_major(&vs, b),
        MatRef::row_major(&tw, n),
        1.0,
        part,
        Epilogue::None,
    );
}
