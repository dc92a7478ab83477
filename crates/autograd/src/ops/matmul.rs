//! Matrix products of all ranks.

use crate::float::Float;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::lookup;
use crate::ops::reduce::sum_to;
use crate::ops::shape::inverse;
use crate::var::Var;
use crate::vmap::{BatchCtx, align};
use smallvec::SmallVec;
use wengert_tensor::gemm::{MatMut, MatRef, Tail, gemm, gemm_batched};
use wengert_tensor::list::Listed;
use wengert_tensor::shape::broadcast;
use wengert_tensor::{Dims, Real, Result, Tensor};

compiled_here! {
    /// Kernels of this file.
    MatmulKernels {
        fn matmul(a: &Tensor<Self>, b: &Tensor<Self>, out: &mut [Self], shape: &[usize], tail: Tail<'_, Self>) = matmul;
        #[track_caller]
        fn record_matmul<'t>(a: Var<'t, Self>, b: Var<'t, Self>) -> Var<'t, Self> = record_matmul;
    }
}

fn mat<T: Real>(t: &Tensor<T>) -> MatRef<'_, T> {
    let r = t.rank();
    MatRef {
        data: t.storage().as_slice(),
        offset: t.layout().offset,
        rs: t.strides()[r - 2],
        cs: t.strides()[r - 1],
    }
}

fn matmul<T: Real>(
    a: &Tensor<T>,
    b: &Tensor<T>,
    out: &mut [T],
    shape: &[usize],
    tail: Tail<'_, T>,
) {
    let epilogue = tail.columns();
    let r = shape.len();
    let (m, n) = (shape[r - 2], shape[r - 1]);
    let k = a.shape()[a.rank() - 1];
    if out.is_empty() {
        return;
    }
    if r == 2 {
        let c = MatMut::row_major(out, n);
        gemm(m, n, k, T::one(), mat(a), mat(b), T::zero(), c, epilogue);
        return;
    }
    // Batch axes broadcast; all but the last of them are walked, the last is one batched call.
    let lead = &shape[..r - 2];
    let batch_strides = |t: &Tensor<T>| -> SmallVec<[isize; 6]> {
        let own = t.rank() - 2;
        (0..lead.len())
            .map(|i| match (i + own).checked_sub(lead.len()) {
                Some(j) if t.shape()[j] != 1 => t.strides()[j],
                _ => 0,
            })
            .listed()
    };
    let (sa, sb) = (batch_strides(a), batch_strides(b));
    let inner = lead[lead.len() - 1];
    let outer = &lead[..lead.len() - 1];
    let mut index: Dims = SmallVec::from_elem(0, outer.len());
    let (ma, mb) = (mat(a), mat(b));
    for part in out.chunks_exact_mut(inner * m * n) {
        let shift =
            |s: &[isize]| -> isize { index.iter().zip(s).map(|(&i, &s)| i as isize * s).sum() };
        let a = MatRef {
            offset: (ma.offset as isize + shift(&sa)) as usize,
            ..ma
        };
        let b = MatRef {
            offset: (mb.offset as isize + shift(&sb)) as usize,
            ..mb
        };
        gemm_batched(
            inner,
            (sa[lead.len() - 1], sb[lead.len() - 1], m * n),
            m,
            n,
            k,
            T::one(),
            a,
            b,
            T::zero(),
            MatMut::row_major(part, n),
            epilogue,
        );
        for i in (0..outer.len()).rev() {
            index[i] += 1;
            if index[i] < outer[i] {
                break;
            }
            index[i] = 0;
        }
    }
}

/// a @ b for operands of rank 2 or more; batch axes broadcast.
#[derive(Debug, PartialEq)]
pub(crate) struct MatMul;
impl<T: Float> Op<T> for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (a, b) = (inputs[0], inputs[1]);
        let (ra, rb) = (a.len(), b.len());
        if a[ra - 1] != b[rb - 2] {
            return Err(shape_error(
                "matmul",
                format!(
                    "shapes {a:?} and {b:?} do not fit: the last axis of the first has size {}, the second to last of \
                     the second {}",
                    a[ra - 1],
                    b[rb - 2]
                ),
            ));
        }
        let mut out = broadcast("matmul", &a[..ra - 2], &b[..rb - 2])?;
        out.push(a[ra - 2]);
        out.push(b[rb - 1]);
        wengert_tensor::shape::checked_numel("matmul", &out)?;
        Ok(out)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (a, b, shape) = (ctx.input(0), ctx.input(1), ctx.shape());
        let tail = ctx.tail();
        <T as MatmulKernels>::matmul(a, b, ctx.output(), shape, tail);
    }
    fn bias_axis(&self, _: &[&[usize]], output: &[usize]) -> Option<usize> {
        Some(output.len() - 1)
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let (a, b) = (ctx.input(0), ctx.input(1));
        let (ra, rb) = (
            a.rank() - usize::from(ctx.batched(0)),
            b.rank() - usize::from(ctx.batched(1)),
        );
        if ctx.batched(0) && !ctx.batched(1) && rb == 2 {
            // The batch axis joins the rows of one product.
            return Some(a.matmul(b));
        }
        let rank = ra.max(rb);
        let at = |i: usize, x: Var<'t, T>| if ctx.batched(i) { align(x, rank) } else { x };
        Some(at(0, a).mm(at(1, b)))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (a, b, g) = (ctx.input(0), ctx.input(1), ctx.cotangent());
        // A gradient for a transposed view is computed transposed, so that undoing the view costs no copy.
        let da = ctx.needs(0).then(|| match a.is_transposed() {
            true => b.mm(g.t()).t(),
            false => g.mm(b.t()),
        });
        let db = ctx.needs(1).then(|| match b.is_transposed() {
            true => g.t().mm(a).t(),
            false => a.t().mm(g),
        });
        [
            da.map(|d| sum_to(d, &a.shape())),
            db.map(|d| sum_to(d, &b.shape())),
        ]
        .into_iter()
        .listed()
    }
    fn bound(&self, inputs: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        let k = inputs[0][inputs[0].len() - 1];
        Some(largest(0) * largest(1) * k as f64)
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        2 * output.iter().product::<usize>() as u64 * inputs[0][inputs[0].len() - 1] as u64
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Whether it is a view with the last two axes exchanged.
    pub(crate) fn is_transposed(self) -> bool {
        self.permutation().is_some_and(|p| {
            let r = p.len();
            r >= 2 && p[r - 1] == r as isize - 2 && p[r - 2] == r as isize - 1
        })
    }

    #[track_caller]
    pub(crate) fn mm(self, other: Self) -> Self {
        self.tape().apply(MatMul, &[self, other])
    }

    /// Matrix product by the rules of `torch.matmul`: vectors are rows on the left and columns on the right, leading
    /// axes are batches and broadcast.
    ///
    /// # Panics
    /// When an operand is of rank 0, or the inner sizes differ.
    #[track_caller]
    pub fn matmul(self, other: Self) -> Self {
        T::record_matmul(self, other)
    }

    /// Inner product of two vectors.
    ///
    /// # Panics
    /// When they are not vectors of one length.
    #[track_caller]
    pub fn dot(self, other: Self) -> Self {
        assert!(
            self.rank() == 1 && self.shape() == other.shape(),
            "dot: expected two vectors of one length, found shapes {:?} and {:?}",
            self.shape().as_slice(),
            other.shape().as_slice()
        );
        (self * other).sum()
    }

    /// Outer product of two vectors: `[n]`, `[m]` → `[n, m]`.
    #[track_caller]
    pub fn outer(self, other: Self) -> Self {
        assert!(
            self.rank() == 1 && other.rank() == 1,
            "outer: expected two vectors, found shapes {:?} and {:?}",
            self.shape().as_slice(),
            other.shape().as_slice()
        );
        self.unsqueeze(1) * other.unsqueeze(0)
    }

    /// Affine map `x Wᵀ + b` with a weight of shape `[out, in]`, as PyTorch stores it.
    ///
    /// # Panics
    /// When the last axis of `x` is not `in`.
    #[track_caller]
    pub fn linear(self, weight: Self, bias: Option<Self>) -> Self {
        assert!(
            weight.rank() == 2 && self.rank() > 0 && self.size(-1) == weight.size(1),
            "linear: input of shape {:?} does not fit a weight of shape {:?} (expected [.., in] and [out, in])",
            self.shape().as_slice(),
            weight.shape().as_slice()
        );
        let y = self.matmul(weight.t());
        match bias {
            Some(b) => y + b,
            None => y,
        }
    }
}

/// The product of two matrices; of looked-up rows, by way of their table.
#[track_caller]
fn rows_product<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    // No closure: the caller's line is what the node keeps.
    match lookup::product(a, b) {
        Some(y) => y,
        None => a.mm(b),
    }
}

/// [`Var::matmul`], compiled in this crate.
#[track_caller]
fn record_matmul<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    let (ra, rb) = (a.rank(), b.rank());
    assert!(
        ra > 0 && rb > 0,
        "matmul: expected operands of rank 1 or more, found shapes {:?} and {:?}",
        a.shape().as_slice(),
        b.shape().as_slice()
    );
    match (ra, rb) {
        (1, 1) => {
            assert!(
                a.numel() == b.numel(),
                "matmul: vectors of {} and {} elements",
                a.numel(),
                b.numel()
            );
            (a * b).sum()
        }
        (1, _) => a.unsqueeze(0).matmul(b).squeeze(-2),
        (_, 1) => a.matmul(b.unsqueeze(1)).squeeze(-1),
        (2, 2) => rows_product(a, b),
        // One matrix for all batches: the batch axes are rows of one product.
        (_, 2) => {
            let mut shape = a.shape();
            let k = shape[ra - 1];
            assert!(
                k == b.size(0),
                "matmul: shapes {:?} and {:?} do not fit: inner sizes {k} and {}",
                shape.as_slice(),
                b.shape().as_slice(),
                b.size(0)
            );
            // Batch axes in another order than in memory: what is smaller is put in order, operand or result.
            if b.size(1) < k
                && let Some(order) = a.permutation()
                && order[ra - 1] == ra as isize - 1
            {
                return a.permute(inverse(&order)).matmul(b).permute(order);
            }
            let rows: usize = shape[..ra - 1].iter().product();
            shape[ra - 1] = b.size(1);
            rows_product(a.reshape([rows, k]), b).reshape(shape)
        }
        _ => a.mm(b),
    }
}
