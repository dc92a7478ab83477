//! Factorizations with several results, each with a derivative rule of its own.

use super::*;

/// One result of a factorization: a view of the packed results. Inputs: those, and the matrix.
#[derive(Debug, PartialEq)]
struct Part {
    task: Task,
    of: usize,
}

/// Results of a factorization of `shape`: where each stands in the packed one, and its shape.
fn parts(task: Task, shape: &[usize]) -> SmallVec<[(usize, Dims); 3]> {
    let (m, n) = sizes(shape);
    let with = |tail: &[usize]| -> Dims {
        let mut s = Dims::from_slice(&shape[..shape.len() - 2]);
        s.extend_from_slice(tail);
        s
    };
    match task {
        Task::SlogDet => smallvec::smallvec![(0, with(&[])), (1, with(&[]))],
        Task::Qr => smallvec::smallvec![(0, with(&[m, n])), (m * n, with(&[n, n]))],
        Task::Eigh => smallvec::smallvec![(0, with(&[n])), (n, with(&[n, n]))],
        Task::Svd => smallvec::smallvec![
            (0, with(&[m, n])),
            (m * n, with(&[n])),
            (m * n + n, with(&[n, n]))
        ],
        _ => unreachable!("only factorizations have several results"),
    }
}

/// Records one result of a factorization.
#[track_caller]
fn part<'t, T: Float>(task: Task, of: usize, packed: Var<'t, T>, a: Var<'t, T>) -> Var<'t, T> {
    let (start, shape) = parts(task, &a.shape())[of].clone();
    let part = PackedPart {
        start,
        shape,
        rule: Part { task, of },
    };
    a.tape().apply(part, &[packed, a])
}

/// x R⁻ᵀ for an upper triangular R.
#[track_caller]
fn right_solve<'t, T: Float>(x: Var<'t, T>, r: Var<'t, T>) -> Var<'t, T> {
    r.triangular_solve(x.t(), true, false).t()
}

/// 1 / (vⱼ - vᵢ) off the diagonal, 0 on it.
#[track_caller]
fn gaps<'t, T: Float>(v: Var<'t, T>) -> Var<'t, T> {
    let d = v.unsqueeze(-2) - v.unsqueeze(-1);
    let eye = v.tape().eye(v.size(-1));
    eye.where_(v.tape().scalar(1.0), d)
        .reciprocal()
        .mask_not(eye)
}

impl<T: Float> PartRule<T> for Part {
    fn name(&self) -> &'static str {
        match (self.task, self.of) {
            (Task::SlogDet, 0) => "slogdet_sign",
            (Task::SlogDet, _) => "slogdet_log",
            (Task::Qr, 0) => "qr_q",
            (Task::Qr, _) => "qr_r",
            (Task::Eigh, 0) => "eigh_values",
            (Task::Eigh, _) => "eigh_vectors",
            (_, 0) => "svd_u",
            (_, 1) => "svd_s",
            _ => "svd_vt",
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (packed, a, g) = (ctx.input(0), ctx.input(1), ctx.cotangent());
        let other = |of: usize| part(self.task, of, packed, a);
        let ga = match (self.task, self.of) {
            (Task::SlogDet, 0) => return small![None, None],
            (Task::SlogDet, _) => a.inverse().t() * g.unsqueeze(-1).unsqueeze(-1),
            // gA = (gQ + Q copyltu(R gRᵀ - gQᵀ Q)) R⁻ᵀ, where copyltu mirrors the lower triangle up.
            (Task::Qr, of) => {
                let (q, r) = (other(0), other(1));
                let m = if of == 0 {
                    -g.t().matmul(q)
                } else {
                    r.matmul(g.triu(0).t())
                };
                let mirrored = q.matmul(m.tril(0) + m.tril(-1).t());
                let x = if of == 0 { g + mirrored } else { mirrored };
                right_solve(x, r)
            }
            (Task::Eigh, of) => {
                let v = other(1);
                let inner = if of == 0 {
                    v * g.unsqueeze(-2)
                } else {
                    v.matmul(gaps(other(0)) * v.t().matmul(g))
                };
                symmetric(inner.matmul(v.t()))
            }
            (_, 1) => (other(0) * g.unsqueeze(-2)).matmul(other(2)),
            // gA = U (F ∘ (Uᵀ gU - gUᵀ U)) S Vᵀ + (I - U Uᵀ) gU S⁻¹ Vᵀ with F = 1 / (sⱼ² - sᵢ²).
            (_, 0) => {
                let (u, s, vt) = (other(0), other(1).unsqueeze(-2), other(2));
                let m = u.t().matmul(g);
                let turn = u.matmul(gaps(other(1).square()) * (m - m.t())) * s;
                let out = (g - u.matmul(m)) / s;
                (turn + out).matmul(vt)
            }
            // The same for Aᵀ = V S Uᵀ, transposed; V is square, so that I - V Vᵀ is 0.
            _ => {
                let (u, s, v) = (other(0), other(1).unsqueeze(-2), other(2).t());
                let m = v.t().matmul(g.t());
                let turn = v.matmul(gaps(other(1).square()) * (m - m.t())) * s;
                u.matmul(turn.t())
            }
        };
        small![None, Some(ga)]
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    fn packed(self, task: Task) -> Self {
        self.tape().apply_no_grad(Linalg(task), &[self])
    }

    /// Sign and ln |det| of the matrices `[.., n, n]`: (0, -∞) for a singular one.
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn slogdet(self) -> (Self, Self) {
        self.require_square("slogdet");
        let packed = self.packed(Task::SlogDet);
        (
            part(Task::SlogDet, 0, packed, self),
            part(Task::SlogDet, 1, packed, self),
        )
    }

    /// A = Q R for matrices `[.., m, n]`: Q `[.., m, k]` with orthonormal columns and R `[.., k, n]` upper triangular,
    /// k = min(m, n), by Householder reflections. The derivative asks for the first k columns to be independent.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn qr(self) -> (Self, Self) {
        assert!(
            self.rank() >= 2,
            "qr: expected matrices `[.., m, n]`, found shape {:?}",
            self.shape().as_slice()
        );
        let (m, n) = (self.size(-2), self.size(-1));
        let tall = self.narrow(-1, 0, m.min(n));
        let packed = tall.packed(Task::Qr);
        let (q, r) = (
            part(Task::Qr, 0, packed, tall),
            part(Task::Qr, 1, packed, tall),
        );
        if n <= m {
            return (q, r);
        }
        // The columns that are left are only expressed in Q.
        let rest = q.t().matmul(self.narrow(-1, m, n));
        (q, Var::cat(&[r, rest], -1))
    }

    /// Eigenvalues `[.., n]`, ascending, and eigenvectors (the columns of `[.., n, n]`) of (A + Aᵀ)/2.
    ///
    /// Of each vector the component of largest magnitude is positive. The derivative of a vector whose eigenvalue is
    /// repeated does not exist and comes out infinite or NaN; that of the values does exist, and [`Var::eigvalsh`] stays
    /// finite.
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn eigh(self) -> (Self, Self) {
        self.require_square("eigh");
        let packed = self.packed(Task::Eigh);
        (
            part(Task::Eigh, 0, packed, self),
            part(Task::Eigh, 1, packed, self),
        )
    }

    /// Eigenvalues `[.., n]`, ascending, of (A + Aᵀ)/2.
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn eigvalsh(self) -> Self {
        self.eigh().0
    }

    /// A = U diag(s) Vᵀ for matrices `[.., m, n]`: U `[.., m, k]`, s `[.., k]` descending, Vᵀ `[.., k, n]`, k = min(m, n), by
    /// one-sided Jacobi rotations.
    ///
    /// Of each left vector the component of largest magnitude is positive (for m < n, of each right vector). The
    /// derivatives of vectors whose singular value is repeated or 0 do not exist and come out infinite or NaN.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn svd(self) -> (Self, Self, Self) {
        assert!(
            self.rank() >= 2,
            "svd: expected matrices `[.., m, n]`, found shape {:?}",
            self.shape().as_slice()
        );
        if self.size(-2) < self.size(-1) {
            let (u, s, vt) = self.t().svd();
            return (vt.t(), s, u.t());
        }
        let packed = self.packed(Task::Svd);
        (
            part(Task::Svd, 0, packed, self),
            part(Task::Svd, 1, packed, self),
            part(Task::Svd, 2, packed, self),
        )
    }

    /// Singular values, descending.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn svdvals(self) -> Self {
        self.svd().1
    }
}
