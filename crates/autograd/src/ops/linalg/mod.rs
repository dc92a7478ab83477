//! Linear algebra of square systems and factorizations, batched over leading axes.
//!
//! Everything is computed in f64, also for f32 (see `dense.rs`). What has no answer is NaN or infinite, not a panic: the
//! inverse of a singular matrix, the Cholesky factor of one that is not positive definite. Derivative rules: Giles 2008,
//! *An extended collection of matrix derivative results*; Murray 2016 for Cholesky; Townsend 2016 for the singular value
//! decomposition.

mod dense;
mod factor;

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::compose::{PackedPart, PartRule, partials};
use crate::var::Var;
use dense::Triangle;
pub use dense::eigh;
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::gemm::MatRef;
use wengert_tensor::shape::broadcast;
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

/// What is computed for each matrix of a batch.
#[derive(Debug, PartialEq, Clone, Copy)]
#[doc(hidden)]
pub enum Task {
    Inverse,
    Solve,
    TriangularSolve {
        upper: bool,
        unit: bool,
    },
    Cholesky,
    /// Sign and ln |det|.
    SlogDet,
    Det,
    Cofactors,
    /// Q, then R.
    Qr,
    /// Eigenvalues, then eigenvectors.
    Eigh,
    /// U, then s, then Vᵀ.
    Svd,
}

compiled_here! {
    /// Kernels of this file.
    LinalgKernels {
        fn linalg(task: Task, inputs: [&Tensor<Self>; 2], out: &mut [Self]) = linalg;
    }
}

/// Rows and columns of the matrices of a batch.
fn sizes(shape: &[usize]) -> (usize, usize) {
    (shape[shape.len() - 2], shape[shape.len() - 1])
}

fn linalg<T: Real>(task: Task, inputs: [&Tensor<T>; 2], out: &mut [T]) {
    let (m, n) = sizes(inputs[0].shape());
    let (_, p) = sizes(inputs[1].shape());
    let batch: usize = inputs[0].shape()[..inputs[0].rank() - 2].iter().product();
    if batch == 0 || out.is_empty() {
        return;
    }
    let inputs = inputs.map(|t| t.contiguous());
    let data = [0, 1].map(|i| inputs[i].as_slice().expect("made contiguous above"));
    let load = |i: usize, b: usize| -> Vec<f64> {
        let len = data[i].len() / batch;
        data[i][b * len..][..len]
            .iter()
            .map(|x| x.as_f64())
            .collect()
    };
    let each = out.len() / batch;
    parallel::chunks_mut(out, each, |b, out| {
        let mut a = load(0, b);
        let mut y = vec![0.0f64; each];
        match task {
            Task::Inverse | Task::Solve => {
                let mut places = vec![0; n];
                dense::lu(&mut a, n, &mut places);
                let right = match task {
                    Task::Solve => load(1, b),
                    _ => identity(n),
                };
                let cols = if task == Task::Solve { p } else { n };
                dense::lu_solve(&a, &places, &right, cols, &mut y);
            }
            Task::TriangularSolve { upper, unit } => {
                y = load(1, b);
                let mat = MatRef::row_major(&a, n);
                Triangle { mat, upper, unit }.solve(n, &mut y, p);
            }
            Task::Cholesky => {
                for i in 0..n {
                    for j in 0..i {
                        y[i * n + j] = 0.5 * (a[i * n + j] + a[j * n + i]);
                    }
                    y[i * n + i] = a[i * n + i];
                }
                dense::cholesky(&mut y, n);
            }
            Task::SlogDet | Task::Det => {
                let mut places = vec![0; n];
                let sign = dense::lu(&mut a, n, &mut places);
                let (s, l) = dense::lu_slogdet(&a, n, sign);
                if task == Task::Det {
                    y[0] = (0..n).fold(sign, |d, i| d * a[i * n + i]);
                } else {
                    y.copy_from_slice(&[s, l]);
                }
            }
            Task::Cofactors => dense::cofactors(&a, n, &mut y),
            Task::Qr => {
                let (q, r) = y.split_at_mut(m * n);
                dense::qr(&a, m, n, q, r);
            }
            Task::Eigh => {
                let symmetric: Vec<f64> = (0..n * n)
                    .map(|i| 0.5 * (a[i] + a[i % n * n + i / n]))
                    .collect();
                let (w, v) = y.split_at_mut(n);
                dense::eigh(&symmetric, n, w, v);
            }
            Task::Svd => {
                let (u, rest) = y.split_at_mut(m * n);
                let (s, vt) = rest.split_at_mut(n);
                dense::svd(&a, m, n, u, s, vt);
            }
        }
        out.iter_mut().zip(y).for_each(|(o, y)| *o = T::from_f64(y));
    });
}

fn identity(n: usize) -> Vec<f64> {
    let mut e = vec![0.0; n * n];
    (0..n).for_each(|i| e[i * n + i] = 1.0);
    e
}

/// A computation with one result.
#[derive(Debug, PartialEq)]
struct Linalg(Task);

impl<T: Float> Op<T> for Linalg {
    fn name(&self) -> &'static str {
        match self.0 {
            Task::Inverse => "inverse",
            Task::Solve => "solve",
            Task::TriangularSolve { .. } => "triangular_solve",
            Task::Cholesky => "cholesky",
            Task::SlogDet => "slogdet",
            Task::Det => "det",
            Task::Cofactors => "cofactors",
            Task::Qr => "qr",
            Task::Eigh => "eigh",
            Task::Svd => "svd",
        }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let a = inputs[0];
        let (m, n) = sizes(a);
        let mut s = Dims::from_slice(&a[..a.len() - 2]);
        match self.0 {
            Task::Inverse | Task::Cholesky | Task::Cofactors => s.extend([n, n]),
            Task::Solve | Task::TriangularSolve { .. } => {
                let (rows, p) = sizes(inputs[1]);
                if rows != n || inputs[1][..inputs[1].len() - 2] != s[..] {
                    return Err(shape_error(
                        Op::<T>::name(self),
                        format!(
                            "a matrix of shape {a:?} and right-hand sides of shape {:?} do not fit",
                            inputs[1]
                        ),
                    ));
                }
                s.extend([n, p]);
            }
            Task::SlogDet => s.push(2),
            Task::Det => {}
            Task::Qr => s.push(m * n + n * n),
            Task::Eigh => s.push(n + n * n),
            Task::Svd => s.push(m * n + n + n * n),
        }
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let a = ctx.input(0);
        let b = if ctx.len() > 1 { ctx.input(1) } else { a };
        T::linalg(self.0, [a, b], ctx.output());
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (a, y, g) = (ctx.input(0), ctx.output(), ctx.cotangent());
        match self.0 {
            // d(A⁻¹) = -A⁻¹ dA A⁻¹.
            Task::Inverse => small![Some(-y.t().matmul(g).matmul(y.t()))],
            Task::Solve => {
                let gb = a.t().system(Task::Solve, g);
                let ga = ctx.needs(0).then(|| -gb.matmul(y.t()));
                small![ga, Some(gb)]
            }
            Task::TriangularSolve { upper, unit } => {
                let transposed = Task::TriangularSolve {
                    upper: !upper,
                    unit,
                };
                let gb = a.t().system(transposed, g);
                let ga = ctx.needs(0).then(|| {
                    let ga = -gb.matmul(y.t());
                    let edge = isize::from(unit);
                    if upper { ga.triu(edge) } else { ga.tril(-edge) }
                });
                small![ga, Some(gb)]
            }
            // With Φ = lower triangle, diagonal halved: gA = L⁻ᵀ Φ(Lᵀ gL) L⁻¹, symmetrized.
            Task::Cholesky => {
                let m = y.t().matmul(g.tril(0));
                let phi = (m.tril(0) + m.tril(-1)) * 0.5;
                let up = Task::TriangularSolve {
                    upper: true,
                    unit: false,
                };
                let left = y.t().system(up, phi);
                small![Some(symmetric(y.t().system(up, left.t())))]
            }
            // g det(A) A⁻ᵀ, also where A is singular.
            Task::Det => {
                let c = a.apply(Linalg(Task::Cofactors));
                small![Some(c * g.unsqueeze(-1).unsqueeze(-1))]
            }
            // Off the singular matrices the cofactors are det(A) A⁻ᵀ; on them their derivative is not finite here.
            Task::Cofactors => partials(ctx.inputs(), ctx.needs, g, |v| {
                let det = v[0].apply(Linalg(Task::Det));
                v[0].inverse().t() * det.unsqueeze(-1).unsqueeze(-1)
            }),
            Task::SlogDet | Task::Qr | Task::Eigh | Task::Svd => {
                unreachable!("recorded without gradient; its parts carry the rules")
            }
        }
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (m, n) = sizes(inputs[0]);
        4 * (inputs[0].iter().product::<usize>() * m.min(n)) as u64
    }
}

/// (x + xᵀ) / 2.
#[track_caller]
fn symmetric<T: Float>(x: Var<'_, T>) -> Var<'_, T> {
    (x + x.t()) * 0.5
}

impl<'t, T: Float> Var<'t, T> {
    /// Checks for square matrices.
    #[track_caller]
    fn require_square(self, op: &str) {
        let s = self.shape();
        assert!(
            s.len() >= 2 && s[s.len() - 1] == s[s.len() - 2],
            "{op}: expected square matrices `[.., n, n]`, found shape {:?}",
            s.as_slice()
        );
    }

    #[track_caller]
    fn system(self, task: Task, b: Self) -> Self {
        self.tape().apply(Linalg(task), &[self, b])
    }

    /// A right-hand side for matrices `self`: broadcast to one batch shape, vectors as columns. Says whether it was a
    /// vector.
    #[track_caller]
    fn align(self, op: &'static str, b: Self) -> (Self, Self, bool) {
        let (sa, sb) = (self.shape(), b.shape());
        let vector = sb.len() == 1 || (sb.len() + 1 == sa.len() && sb[..] == sa[..sa.len() - 1]);
        let b = if vector { b.unsqueeze(-1) } else { b };
        let sb = b.shape();
        assert!(
            sb[sb.len() - 2] == sa[sa.len() - 2],
            "{op}: matrices of shape {:?} and right-hand sides of shape {:?} do not fit (expected [.., m, n] and \
             [.., m, k] or [.., m])",
            sa.as_slice(),
            sb.as_slice()
        );
        let batch = broadcast(op, &sa[..sa.len() - 2], &sb[..sb.len() - 2]).or_panic();
        let wide = |x: Self, s: &Dims| {
            let mut to = batch.clone();
            to.extend_from_slice(&s[s.len() - 2..]);
            x.broadcast_to(to)
        };
        (wide(self, &sa), wide(b, &sb), vector)
    }

    /// Inverses of the matrices `[.., n, n]`, by LU factorization. Infinite or NaN for a singular matrix.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let a = tape.input(&Tensor::from_vec(vec![2.0, 0.0, 0.0, 4.0], [2, 2]));
    /// assert_eq!(a.inverse().value().to_vec(), [0.5, 0.0, 0.0, 0.25]);
    /// ```
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn inverse(self) -> Self {
        self.require_square("inverse");
        self.apply(Linalg(Task::Inverse))
    }

    /// The solution X of A X = B for A = self `[.., n, n]` and B `[.., n, k]` or `[.., n]`, by LU factorization with partial
    /// pivoting. Leading axes broadcast. Infinite or NaN for a singular matrix.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn solve(self, b: Self) -> Self {
        self.require_square("solve");
        let (a, b, vector) = self.align("solve", b);
        let x = a.system(Task::Solve, b);
        if vector { x.squeeze(-1) } else { x }
    }

    /// The solution X of A X = B for a triangular A = self, of which only the upper or the lower triangle is read; with
    /// `unit` its diagonal counts as ones.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn triangular_solve(self, b: Self, upper: bool, unit: bool) -> Self {
        self.require_square("triangular_solve");
        let (a, b, vector) = self.align("triangular_solve", b);
        let x = a.system(Task::TriangularSolve { upper, unit }, b);
        if vector { x.squeeze(-1) } else { x }
    }

    /// The lower triangular L with positive diagonal and L Lᵀ = (A + Aᵀ)/2, for symmetric positive definite matrices. NaN
    /// where the matrix is not.
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn cholesky(self) -> Self {
        self.require_square("cholesky");
        self.apply(Linalg(Task::Cholesky))
    }

    /// Determinants. The gradient det(A) A⁻ᵀ is exact for singular matrices too; its own derivative is not finite there.
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn det(self) -> Self {
        self.require_square("det");
        self.apply(Linalg(Task::Det))
    }

    /// A to the power `n`, by repeated squaring; A⁰ is the identity, negative powers are those of the inverse.
    ///
    /// # Panics
    /// When the matrices are not square.
    #[track_caller]
    pub fn matrix_power(self, n: i32) -> Self {
        self.require_square("matrix_power");
        let mut base = if n < 0 { self.inverse() } else { self };
        let mut left = n.unsigned_abs();
        let mut power: Option<Self> = None;
        while left > 0 {
            if left & 1 == 1 {
                power = Some(power.map_or(base, |p| p.matmul(base)));
            }
            left >>= 1;
            if left > 0 {
                base = base.matmul(base);
            }
        }
        power.unwrap_or_else(|| self.tape().eye(self.size(-1)).broadcast_to(self.shape()))
    }

    /// Least squares: the X that minimizes ‖A X - B‖ for A = self `[.., m, n]` of full rank; for m < n the one of smallest
    /// norm. By QR factorization.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn lstsq(self, b: Self) -> Self {
        assert!(
            self.rank() >= 2,
            "lstsq: expected matrices `[.., m, n]`, found shape {:?}",
            self.shape().as_slice()
        );
        let (a, b, vector) = self.align("lstsq", b);
        let x = if a.size(-2) >= a.size(-1) {
            let (q, r) = a.qr();
            r.triangular_solve(q.t().matmul(b), true, false)
        } else {
            let (q, r) = a.t().qr();
            q.matmul(r.t().triangular_solve(b, false, false))
        };
        if vector { x.squeeze(-1) } else { x }
    }

    /// Pseudo-inverse (Moore and Penrose) of matrices of full rank, by QR factorization.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn pinv(self) -> Self {
        assert!(
            self.rank() >= 2,
            "pinv: expected matrices `[.., m, n]`, found shape {:?}",
            self.shape().as_slice()
        );
        self.lstsq(self.tape().eye(self.size(-2)))
    }
}
