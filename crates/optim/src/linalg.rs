//! The little linear algebra that matrix optimizers need: symmetric eigenvectors and orthonormal bases.

use wengert_autograd::ops::linalg::eigh;
use wengert_tensor::Real;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_tensor::order::order;

/// `C = α A B + β C`, row-major, `A` of `m × k`, `B` of `k × n`.
pub(crate) fn mul<T: Real>(
    (m, n, k): (usize, usize, usize),
    alpha: f64,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: f64,
    c: &mut [T],
) {
    gemm(
        m,
        n,
        k,
        T::from_f64(alpha),
        a,
        b,
        T::from_f64(beta),
        MatMut::row_major(c, n),
        Epilogue::None,
    );
}

fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x.as_f64() * y.as_f64()).sum()
}

fn axpy<T: Real>(alpha: f64, x: &[T], y: &mut [T]) {
    let alpha = T::from_f64(alpha);
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * *x;
    }
}

/// Eigenvectors of the symmetric `n × n` matrix `a`, as the columns of the result, by falling eigenvalue.
pub(crate) fn eigenvectors<T: Real>(a: &[T], n: usize) -> Vec<T> {
    let a: Vec<f64> = a.iter().map(|x| x.as_f64()).collect();
    let (mut values, mut vectors) = (vec![0.0; n], vec![0.0; n * n]);
    eigh(&a, n, &mut values, &mut vectors);
    let rows = vectors.chunks_exact(n.max(1));
    rows.flat_map(|row| row.iter().rev().map(|&x| T::from_f64(x)))
        .collect()
}

/// The indices of `x` by falling value.
pub(crate) fn falling(x: &[f64]) -> Vec<usize> {
    order(x.len(), &|i, j| x[j].total_cmp(&x[i]))
}

/// Columns orthogonalized at once against all before them.
const BLOCK: usize = 32;

/// An orthonormal basis from the columns of the `n × n` matrix `a`, in their order (the `Q` of a QR decomposition with
/// positive diagonal): blocked Gram-Schmidt, each projection twice. A column that depends on those before it is
/// replaced by a unit vector that does not.
pub(crate) fn orthonormal<T: Real>(a: &[T], n: usize) -> Vec<T> {
    // Row i of q is column i of the result.
    let mut q = vec![T::ZERO; n * n];
    for i in 0..n {
        for j in 0..n {
            q[j * n + i] = a[i * n + j];
        }
    }
    let mut products = vec![T::ZERO; n * BLOCK];
    for start in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - start);
        let (done, rest) = q.split_at_mut(start * n);
        let block = &mut rest[..width * n];
        let norms: Vec<f64> = block.chunks(n).map(|r| dot(r, r).sqrt()).collect();
        if start > 0 {
            for _ in 0..2 {
                // block ← block - (block · doneᵀ) done
                let p = &mut products[..width * start];
                let d = MatRef::row_major(done, n);
                mul(
                    (width, start, n),
                    1.0,
                    MatRef::row_major(block, n),
                    d.t(),
                    0.0,
                    p,
                );
                let d = MatRef::row_major(done, n);
                mul(
                    (width, n, start),
                    -1.0,
                    MatRef::row_major(p, start),
                    d,
                    1.0,
                    block,
                );
            }
        }
        for i in 0..width {
            normalize(&mut q, n, start, start + i, norms[i]);
        }
    }
    let mut out = vec![T::ZERO; n * n];
    for i in 0..n {
        for j in 0..n {
            out[i * n + j] = q[j * n + i];
        }
    }
    out
}

/// Makes row `at` orthonormal to the rows `from..at`; it is orthogonal to those before `from`.
fn normalize<T: Real>(q: &mut [T], n: usize, from: usize, at: usize, norm: f64) {
    let (before, rest) = q.split_at_mut(at * n);
    let row = &mut rest[..n];
    let project = |row: &mut [T], from: usize| {
        for _ in 0..2 {
            for j in from..at {
                let b = &before[j * n..(j + 1) * n];
                let p = dot(b, row);
                axpy(-p, b, row);
            }
        }
        dot(row, row).sqrt()
    };
    let mut left = project(row, from);
    let small = 1e2 * T::epsilon().as_f64() * norm;
    if left.is_nan() || left <= small {
        for axis in 0..n {
            row.fill(T::ZERO);
            row[(at + axis) % n] = T::ONE;
            left = project(row, 0);
            if left > 0.5 / (n as f64).sqrt() {
                break;
            }
        }
    }
    let scale = T::from_f64(1.0 / left);
    row.iter_mut().for_each(|x| *x *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut x = seed;
        (0..n)
            .map(|_| {
                x = x
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }

    fn identity_error(q: &[f64], n: usize) -> f64 {
        let mut g = vec![0.0; n * n];
        let m = MatRef::row_major(q, n);
        mul((n, n, n), 1.0, m.t(), MatRef::row_major(q, n), 0.0, &mut g);
        (0..n * n)
            .map(|i| (g[i] - f64::from(u8::from(i / n == i % n))).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn eigenvectors_diagonalize() {
        for n in [1usize, 2, 3, 5, 8, 33, 70] {
            for rank in [n, n.div_ceil(2)] {
                // A Gram matrix, of full rank or not.
                let b = random(n * rank, n as u64);
                let mut a = vec![0.0; n * n];
                let m = MatRef::row_major(&b, rank);
                mul(
                    (n, n, rank),
                    1.0,
                    m,
                    MatRef::row_major(&b, rank).t(),
                    0.0,
                    &mut a,
                );
                let q = eigenvectors(&a, n);
                assert!(
                    identity_error(&q, n) < 1e-13 * n as f64,
                    "n {n} rank {rank}"
                );
                let (mut aq, mut d) = (vec![0.0; n * n], vec![0.0; n * n]);
                let (qm, am) = (MatRef::row_major(&q, n), MatRef::row_major(&a, n));
                mul((n, n, n), 1.0, am, qm, 0.0, &mut aq);
                let qt = MatRef::row_major(&q, n).t();
                mul((n, n, n), 1.0, qt, MatRef::row_major(&aq, n), 0.0, &mut d);
                let scale = d[0].abs();
                for i in 0..n {
                    for j in 0..n {
                        if i != j {
                            assert!(d[i * n + j].abs() < 1e-13 * scale * n as f64, "{i} {j}");
                        }
                    }
                    if i > 0 {
                        assert!(d[(i - 1) * n + i - 1] >= d[i * n + i] - 1e-12 * scale);
                    }
                }
            }
        }
    }

    #[test]
    fn bases_are_orthonormal_and_keep_the_flag() {
        for n in [1, 2, 7, 31, 32, 33, 80] {
            let mut a = random(n * n, 7 + n as u64);
            let q = orthonormal(&a, n);
            assert!(identity_error(&q, n) < 1e-12, "n {n}");
            // Qᵀ A is upper triangular with positive diagonal.
            let mut r = vec![0.0; n * n];
            let qt = MatRef::row_major(&q, n).t();
            mul((n, n, n), 1.0, qt, MatRef::row_major(&a, n), 0.0, &mut r);
            for i in 0..n {
                assert!(r[i * n + i] > 0.0);
                for j in 0..i {
                    assert!(r[i * n + j].abs() < 1e-11, "n {n} at {i} {j}");
                }
            }
            // A rank-deficient matrix still gives a basis.
            for i in 0..n {
                a[i * n] = 0.0;
                if n > 3 {
                    a[i * n + 3] = 2.0 * a[i * n + 2];
                }
            }
            assert!(
                identity_error(&orthonormal(&a, n), n) < 1e-12,
                "deficient {n}"
            );
        }
    }
}
