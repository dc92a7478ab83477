//! Factorizations of one dense matrix, in f64, row-major. Input in f32 is factorized in f64 too.
//!
//! Matrices with NaN or infinity give NaN. Sources: Golub and Van Loan, *Matrix Computations*, 4th edition.

use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_tensor::order::order;

/// Columns factorized at a time before the rest of the matrix follows by one matrix product.
const BLOCK: usize = 32;

/// c -= a b, for a row-major `c` with rows `stride` apart.
fn subtract_product(
    (m, n, k): (usize, usize, usize),
    a: MatRef<'_, f64>,
    b: MatRef<'_, f64>,
    c: &mut [f64],
    stride: usize,
) {
    if m > 0 && n > 0 {
        let c = MatMut::row_major(c, stride);
        gemm(m, n, k, -1.0, a, b, 1.0, c, Epilogue::None);
    }
}

/// P A = L U with partial pivoting, in place; `places[i]` is the row of A that became row i. Returns the sign of the
/// permutation. (Algorithm 3.4.1, by blocks.)
pub fn lu(a: &mut [f64], n: usize, places: &mut [usize]) -> f64 {
    for (i, p) in places.iter_mut().enumerate() {
        *p = i;
    }
    let mut sign = 1.0;
    for k0 in (0..n).step_by(BLOCK) {
        let k1 = (k0 + BLOCK).min(n);
        for j in k0..k1 {
            let mut pivot = j;
            for i in j + 1..n {
                let (x, best) = (a[i * n + j].abs(), a[pivot * n + j].abs());
                if x > best || (x.is_nan() && !best.is_nan()) {
                    pivot = i;
                }
            }
            if pivot != j {
                let (up, down) = a.split_at_mut(pivot * n);
                up[j * n..][..n].swap_with_slice(&mut down[..n]);
                places.swap(j, pivot);
                sign = -sign;
            }
            let (up, down) = a.split_at_mut((j + 1) * n);
            let top = &up[j * n..];
            if top[j] == 0.0 {
                continue;
            }
            for row in down.chunks_exact_mut(n) {
                row[j] /= top[j];
                let f = row[j];
                axpy(-f, &top[j + 1..k1], &mut row[j + 1..k1]);
            }
        }
        if k1 == n {
            break;
        }
        // Rows k0..k1 right of the block: unit lower triangular solve.
        for i in k0..k1 {
            let (up, down) = a.split_at_mut(i * n);
            for k in k0..i {
                let f = down[k];
                axpy(-f, &up[k * n + k1..(k + 1) * n], &mut down[k1..n]);
            }
        }
        let w = k1 - k0;
        let lower: Vec<f64> = (k1..n)
            .flat_map(|i| a[i * n + k0..][..w].to_vec())
            .collect();
        let (up, down) = a.split_at_mut(k1 * n);
        let upper = MatRef {
            data: up,
            offset: k0 * n + k1,
            rs: n as isize,
            cs: 1,
        };
        let size = (n - k1, n - k1, w);
        subtract_product(
            size,
            MatRef::row_major(&lower, w),
            upper,
            &mut down[k1..],
            n,
        );
    }
    sign
}

#[inline]
fn axpy(f: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += f * x);
}

#[inline]
fn dot(x: &[f64], y: &[f64]) -> f64 {
    // Four accumulators, so that the additions overlap.
    let mut s = [0.0; 4];
    let (a, b) = (x.chunks_exact(4), y.chunks_exact(4));
    let tail: f64 = (a.remainder().iter().zip(b.remainder()))
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a.zip(b) {
        for k in 0..4 {
            s[k] += x[k] * y[k];
        }
    }
    (s[0] + s[1]) + (s[2] + s[3]) + tail
}

/// A triangular matrix seen anywhere, and which half counts.
#[derive(Clone, Copy)]
pub struct Triangle<'a> {
    pub mat: MatRef<'a, f64>,
    pub upper: bool,
    /// Whether the diagonal is taken for ones.
    pub unit: bool,
}

impl Triangle<'_> {
    fn at(&self, i: usize, j: usize) -> f64 {
        let m = &self.mat;
        m.data[(m.offset as isize + i as isize * m.rs + j as isize * m.cs) as usize]
    }

    fn corner(&self, i: usize, j: usize) -> MatRef<'_, f64> {
        let m = self.mat;
        MatRef {
            offset: (m.offset as isize + i as isize * m.rs + j as isize * m.cs) as usize,
            ..m
        }
    }

    /// b ← T⁻¹ b for `b` of `n` rows and `m` columns: halves, joined by one matrix product.
    pub fn solve(&self, n: usize, b: &mut [f64], m: usize) {
        if n <= BLOCK {
            for k in 0..n {
                let i = if self.upper { n - 1 - k } else { k };
                let others = if self.upper { i + 1..n } else { 0..i };
                for j in others {
                    let f = -self.at(i, j);
                    let (low, high) = b.split_at_mut(i.max(j) * m);
                    let (to, from) = if i > j {
                        (&mut high[..m], &low[j * m..][..m])
                    } else {
                        (&mut low[i * m..][..m], &high[..m])
                    };
                    axpy(f, from, to);
                }
                if !self.unit {
                    let d = self.at(i, i);
                    b[i * m..][..m].iter_mut().for_each(|x| *x /= d);
                }
            }
            return;
        }
        let h = n / 2;
        let second = Triangle {
            mat: self.corner(h, h),
            ..*self
        };
        let (top, bottom) = b.split_at_mut(h * m);
        if self.upper {
            second.solve(n - h, bottom, m);
            let bm = MatRef::row_major(bottom, m);
            subtract_product((h, m, n - h), self.corner(0, h), bm, top, m);
            self.solve(h, top, m);
        } else {
            self.solve(h, top, m);
            let tm = MatRef::row_major(top, m);
            subtract_product((n - h, m, h), self.corner(h, 0), tm, bottom, m);
            second.solve(n - h, bottom, m);
        }
    }
}

/// A⁻¹ b from [`lu`].
pub fn lu_solve(lu: &[f64], places: &[usize], b: &[f64], m: usize, out: &mut [f64]) {
    let n = places.len();
    for (row, &p) in out.chunks_exact_mut(m.max(1)).zip(places) {
        row.copy_from_slice(&b[p * m..][..m]);
    }
    let mat = MatRef::row_major(lu, n);
    let lower = Triangle {
        mat,
        upper: false,
        unit: true,
    };
    lower.solve(n, out, m);
    let upper = Triangle {
        mat,
        upper: true,
        unit: false,
    };
    upper.solve(n, out, m);
}

/// A = L Lᵀ in place for a symmetric positive definite A, of which the lower triangle is read; the upper one becomes 0.
/// Any other matrix gives NaN from the first pivot that is not positive on. (Algorithm 4.2.2, by blocks.)
pub fn cholesky(a: &mut [f64], n: usize) {
    for k0 in (0..n).step_by(BLOCK) {
        let k1 = (k0 + BLOCK).min(n);
        for i in k0..n {
            // Row i of the panel: L[i][j] = (A[i][j] - Σ L[i][k] L[j][k]) / L[j][j].
            let (up, row) = a.split_at_mut(i * n);
            for j in k0..k1.min(i + 1) {
                let (done, rest) = row[..n].split_at_mut(j);
                if j == i {
                    let d = rest[0] - dot(&done[k0..], &done[k0..]);
                    rest[0] = if d > 0.0 { d.sqrt() } else { f64::NAN };
                } else {
                    let other = &up[j * n..];
                    rest[0] = (rest[0] - dot(&done[k0..], &other[k0..j])) / other[j];
                }
            }
        }
        let w = k1 - k0;
        let panel: Vec<f64> = (k1..n)
            .flat_map(|i| a[i * n + k0..][..w].to_vec())
            .collect();
        let p = MatRef::row_major(&panel, w);
        if k1 < n {
            subtract_product((n - k1, n - k1, w), p, p.t(), &mut a[k1 * n + k1..], n);
        }
    }
    for i in 0..n {
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
}

/// Householder vector of `x`: replaces it by v with v[0] = 1 and returns (τ, β) with (I - τ v vᵀ) x = β e₁, β of the
/// sign opposite to x[0] (LAPACK's dlarfg).
fn householder(x: &mut [f64]) -> (f64, f64) {
    let alpha = x[0];
    let scale = x[1..].iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if scale == 0.0 {
        x[0] = 1.0;
        return (0.0, alpha);
    }
    let rest = x[1..]
        .iter()
        .map(|v| (v / scale) * (v / scale))
        .sum::<f64>()
        .sqrt()
        * scale;
    let norm = alpha.hypot(rest);
    let beta = if alpha > 0.0 { -norm } else { norm };
    let f = 1.0 / (alpha - beta);
    x[1..].iter_mut().for_each(|v| *v *= f);
    x[0] = 1.0;
    ((beta - alpha) / beta, beta)
}

/// Rows `r..` and columns `c..` of a row-major `a` of `cols` columns: A ← (I - τ v vᵀ) A.
fn reflect(a: &mut [f64], cols: usize, r: usize, c: usize, v: &[f64], tau: f64) {
    if tau == 0.0 || c == cols {
        return;
    }
    let mut w = vec![0.0; cols - c];
    for (row, &v) in a[r * cols..].chunks_exact(cols).zip(v) {
        axpy(v, &row[c..], &mut w);
    }
    for (row, &v) in a[r * cols..].chunks_exact_mut(cols).zip(v) {
        axpy(-tau * v, &w, &mut row[c..]);
    }
}

/// A = Q R for `m ≥ n`: Q `[m, n]` with orthonormal columns, R `[n, n]` upper triangular. (Algorithm 5.2.1.)
pub fn qr(a: &[f64], m: usize, n: usize, q: &mut [f64], r: &mut [f64]) {
    let mut a = a.to_vec();
    let mut vectors: Vec<(Vec<f64>, f64)> = Vec::with_capacity(n);
    for k in 0..n {
        let mut v: Vec<f64> = (k..m).map(|i| a[i * n + k]).collect();
        let (tau, _) = householder(&mut v);
        reflect(&mut a, n, k, k, &v, tau);
        vectors.push((v, tau));
    }
    for (i, row) in r.chunks_exact_mut(n.max(1)).enumerate() {
        row[..i].fill(0.0);
        row[i..].copy_from_slice(&a[i * n + i..(i + 1) * n]);
    }
    q.fill(0.0);
    (0..n).for_each(|i| q[i * n + i] = 1.0);
    for (k, (v, tau)) in vectors.iter().enumerate().rev() {
        reflect(q, n, k, k, v, *tau);
    }
}

/// Turns each of the vectors (rows of length `n`) so that its component of largest magnitude is positive.
fn fix_signs(rows: &mut [f64], n: usize, mut partner: Option<&mut [f64]>, width: usize) {
    for (i, row) in rows.chunks_exact_mut(n.max(1)).enumerate() {
        // A clear winner decides, so that rounding does not.
        let top = row.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let first = row.iter().find(|x| x.abs() >= top * (1.0 - 1e-9));
        if first.is_some_and(|&x| x < 0.0) {
            row.iter_mut().for_each(|x| *x = -*x);
            if let Some(p) = partner.as_deref_mut() {
                p[i * width..][..width].iter_mut().for_each(|x| *x = -*x);
            }
        }
    }
}

/// Eigenvalues (ascending) and eigenvectors (columns of `vectors`, of length 1) of the symmetric row-major `n × n` matrix `a`:
/// Householder tridiagonalization and implicit QL steps (Golub and Van Loan 2013, algorithms 8.3.1 and 8.3.2). All are NaN if
/// something in `a` is not finite. Of each vector the component of largest magnitude is positive. This is what
/// [`Var::eigh`](crate::Var::eigh) computes, for what keeps no tape.
///
/// # Panics
/// When `a` and `vectors` have fewer than n² elements, or `values` fewer than n.
///
/// ```
/// use wengert_autograd::ops::linalg::eigh;
///
/// let (mut values, mut vectors) = ([0.0; 2], [0.0; 4]);
/// eigh(&[2.0, 1.0, 1.0, 2.0], 2, &mut values, &mut vectors);
/// assert!((values[0] - 1.0).abs() < 1e-15 && (values[1] - 3.0).abs() < 1e-15);
/// assert!((vectors[1] - 0.5f64.sqrt()).abs() < 1e-15); // (1, 1) / √2 belongs to 3
/// ```
pub fn eigh(a: &[f64], n: usize, values: &mut [f64], vectors: &mut [f64]) {
    let scale = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if a.iter().any(|x| !x.is_finite()) {
        values.fill(f64::NAN);
        vectors.fill(f64::NAN);
        return;
    }
    let unit = if scale > 0.0 { 1.0 / scale } else { 1.0 };
    let mut a: Vec<f64> = a.iter().map(|x| x * unit).collect();
    let mut off = vec![0.0; n];
    let mut reflectors: Vec<(Vec<f64>, f64)> = Vec::new();
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let (tau, beta) = householder(&mut v);
        off[k] = beta;
        // A ← H A H on the rest: A - v wᵀ - w vᵀ with w = p - (τ/2)(pᵀ v) v, p = τ A v.
        let mut w: Vec<f64> = (k + 1..n)
            .map(|i| tau * dot(&a[i * n + k + 1..][..v.len()], &v))
            .collect();
        let f = -0.5 * tau * dot(&w, &v);
        axpy(f, &v, &mut w);
        for (i, row) in a[(k + 1) * n..].chunks_exact_mut(n).enumerate() {
            axpy(-v[i], &w, &mut row[k + 1..]);
            axpy(-w[i], &v, &mut row[k + 1..]);
        }
        reflectors.push((v, tau));
    }
    if n >= 2 {
        off[n - 2] = a[(n - 1) * n + n - 2];
    }
    let mut diag: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
    // Q = H₀ H₁ …; its transpose, so that rotations act on rows.
    let mut q = vec![0.0; n * n];
    (0..n).for_each(|i| q[i * n + i] = 1.0);
    for (k, (v, tau)) in reflectors.iter().enumerate().rev() {
        reflect(&mut q, n, k + 1, k + 1, v, *tau);
    }
    let mut z = transposed(&q, n, n);
    if !tridiagonal_ql(&mut diag, &mut off, &mut z, n) {
        values.fill(f64::NAN);
        vectors.fill(f64::NAN);
        return;
    }
    let order = order(n, &|i, j| diag[i].total_cmp(&diag[j]));
    fix_signs(&mut z, n, None, 0);
    for (k, &i) in order.iter().enumerate() {
        values[k] = diag[i] * scale;
        (0..n).for_each(|r| vectors[r * n + k] = z[i * n + r]);
    }
}

fn transposed(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..n * m).map(|i| a[i % m * n + i / m]).collect()
}

/// Diagonalizes a tridiagonal matrix; the rotations are applied to the rows of `z`. False if it does not converge.
fn tridiagonal_ql(d: &mut [f64], e: &mut [f64], z: &mut [f64], n: usize) -> bool {
    for l in 0..n {
        for round in 0.. {
            // The first negligible off-diagonal element from l on splits the matrix.
            let m = (l..n - 1)
                .find(|&m| {
                    e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs())
                        || e[m].abs() < 1e-290
                })
                .unwrap_or(n - 1);
            if m == l {
                break;
            }
            if round == 60 {
                return false;
            }
            // Wilkinson's shift.
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    split = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                rotate(z, n, i, i + 1, c, s);
            }
            if split {
                continue;
            }
            d[l] -= p;
            e[l] = g;
            e[m] = 0.0;
        }
    }
    true
}

/// Rows i < j of `z`: (zᵢ, zⱼ) ← (c zᵢ - s zⱼ, s zᵢ + c zⱼ).
fn rotate(z: &mut [f64], width: usize, i: usize, j: usize, c: f64, s: f64) {
    let (low, high) = z.split_at_mut(j * width);
    let (a, b) = (&mut low[i * width..][..width], &mut high[..width]);
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (c * *a - s * *b, s * *a + c * *b);
    }
}

/// A = U diag(s) Vᵀ for `m ≥ n`: U `[m, n]`, s descending, Vᵀ `[n, n]`. A QR factorization, then one-sided Jacobi
/// rotations (section 8.6.3), which give small singular values to full relative accuracy of the columns.
pub fn svd(a: &[f64], m: usize, n: usize, u: &mut [f64], s: &mut [f64], vt: &mut [f64]) {
    let scale = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if a.iter().any(|x| !x.is_finite()) {
        u.fill(f64::NAN);
        s.fill(f64::NAN);
        vt.fill(f64::NAN);
        return;
    }
    let unit = if scale > 0.0 { 1.0 / scale } else { 1.0 };
    let scaled: Vec<f64> = a.iter().map(|x| x * unit).collect();
    let (mut q, mut r) = (vec![0.0; m * n], vec![0.0; n * n]);
    qr(&scaled, m, n, &mut q, &mut r);
    // Rows of `w` are columns of R; rows of `v` follow.
    let mut w = transposed(&r, n, n);
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    for _ in 0..60 {
        let mut turned = false;
        for i in 0..n {
            for j in i + 1..n {
                let (wi, wj) = (&w[i * n..][..n], &w[j * n..][..n]);
                let (a, b, g) = (dot(wi, wi), dot(wj, wj), dot(wi, wj));
                if g.abs() <= 1e-15 * (a * b).sqrt() || g == 0.0 {
                    continue;
                }
                turned = true;
                let zeta = (b - a) / (2.0 * g);
                let t = 1.0 / (zeta.abs() + zeta.hypot(1.0));
                let t = if zeta < 0.0 { -t } else { t };
                let c = 1.0 / t.hypot(1.0);
                rotate(&mut w, n, i, j, c, c * t);
                rotate(&mut v, n, i, j, c, c * t);
            }
        }
        if !turned {
            break;
        }
    }
    let norms: Vec<f64> = (w.chunks_exact(n.max(1)))
        .map(|w| dot(w, w).sqrt())
        .collect();
    let order = order(n, &|i, j| norms[j].total_cmp(&norms[i]));
    // Left vectors, as rows: Q times the normalized columns, or any completion where the value is 0.
    let mut left = vec![0.0; n * m];
    let mut right = vec![0.0; n * n];
    for (k, &i) in order.iter().enumerate() {
        s[k] = norms[i] * scale;
        right[k * n..][..n].copy_from_slice(&v[i * n..][..n]);
        if norms[i] > f64::MIN_POSITIVE {
            let inverse = 1.0 / norms[i];
            let coefficients: Vec<f64> = w[i * n..][..n].iter().map(|x| x * inverse).collect();
            for r in 0..m {
                left[k * m + r] = dot(&q[r * n..][..n], &coefficients);
            }
        } else {
            complete(&mut left, k, m);
        }
    }
    fix_signs(&mut left, m, Some(&mut right), n);
    u.copy_from_slice(&transposed(&left, n, m));
    vt.copy_from_slice(&right);
}

/// Makes row `k` of `rows` a unit vector orthogonal to the rows before it.
fn complete(rows: &mut [f64], k: usize, m: usize) {
    let (done, rest) = rows.split_at_mut(k * m);
    let row = &mut rest[..m];
    for axis in 0..m {
        row.fill(0.0);
        row[axis] = 1.0;
        // Twice is enough (Kahan).
        for _ in 0..2 {
            for other in done.chunks_exact(m) {
                let f = dot(other, row);
                axpy(-f, other, row);
            }
        }
        let norm = dot(row, row).sqrt();
        if norm > 0.5 / (m as f64).sqrt() {
            row.iter_mut().for_each(|x| *x /= norm);
            return;
        }
    }
}

/// Determinant from [`lu`]: sign and ln |det|.
pub fn lu_slogdet(lu: &[f64], n: usize, mut sign: f64) -> (f64, f64) {
    let mut log = 0.0;
    for i in 0..n {
        let d = lu[i * n + i];
        sign *= if d == 0.0 { 0.0 } else { d.signum() };
        log += d.abs().ln();
    }
    (sign, log)
}

/// det(A) A⁻ᵀ for any A, singular or not: with A = U diag(s) Vᵀ it is det(U) det(V) U diag(Π s / sᵢ) Vᵀ.
pub fn cofactors(a: &[f64], n: usize, out: &mut [f64]) {
    let (mut u, mut s, mut vt) = (vec![0.0; n * n], vec![0.0; n], vec![0.0; n * n]);
    svd(a, n, n, &mut u, &mut s, &mut vt);
    let det = |m: &[f64]| {
        let mut lu_ = m.to_vec();
        let mut places = vec![0; n];
        let sign = lu(&mut lu_, n, &mut places);
        lu_slogdet(&lu_, n, sign).0
    };
    let sign = det(&u) * det(&vt);
    out.fill(0.0);
    for k in 0..n {
        let f: f64 = sign * (0..n).filter(|&i| i != k).map(|i| s[i]).product::<f64>();
        for i in 0..n {
            axpy(f * u[i * n + k], &vt[k * n..][..n], &mut out[i * n..][..n]);
        }
    }
}
