//! Diagonals and triangles of matrices.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::tape::Tape;
use crate::var::Var;
use wengert_tensor::error::OrPanic;
use wengert_tensor::shape::{self, checked_numel};
use wengert_tensor::{Dims, Layout, Result, Tensor};

/// The diagonal `offset` above the main one, of two axes, as the last axis.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Diagonal {
    offset: isize,
    a: usize,
    b: usize,
}

impl Diagonal {
    /// First row and column, and length.
    fn extent(&self, rows: usize, cols: usize) -> (usize, usize, usize) {
        let r = self.offset.min(0).unsigned_abs();
        let c = self.offset.max(0).unsigned_abs();
        (r, c, rows.saturating_sub(r).min(cols.saturating_sub(c)))
    }

    fn layout(&self, from: &Layout) -> Layout {
        let (r, c, n) = self.extent(from.shape[self.a], from.shape[self.b]);
        let mut l = from.clone();
        let (sa, sb) = (l.strides[self.a], l.strides[self.b]);
        if n > 0 {
            l.offset = (l.offset as isize + r as isize * sa + c as isize * sb) as usize;
        }
        for axis in [self.a.max(self.b), self.a.min(self.b)] {
            l.shape.remove(axis);
            l.strides.remove(axis);
        }
        l.shape.push(n);
        l.strides.push(sa + sb);
        l
    }
}

impl<T: Float> Op<T> for Diagonal {
    fn name(&self) -> &'static str {
        "diagonal"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(self
            .layout(&Layout::contiguous(Dims::from_slice(inputs[0])))
            .shape)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let view = x.with_layout(self.layout(x.layout())).or_panic();
        view.copy_into(ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        input.with_layout(self.layout(input.layout())).ok()
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let shape = ctx.input(0).shape();
        small![Some(ctx.cotangent().apply(DiagonalEmbed {
            diagonal: *self,
            shape
        }))]
    }
}

/// The adjoint of [`Diagonal`]: zeros with the input on the diagonal.
#[derive(Debug, PartialEq)]
struct DiagonalEmbed {
    diagonal: Diagonal,
    shape: Dims,
}
impl<T: Float> Op<T> for DiagonalEmbed {
    fn name(&self) -> &'static str {
        "diagonal_embed"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let l = self
            .diagonal
            .layout(&Layout::contiguous(self.shape.clone()));
        let out = ctx.output();
        out.fill(T::zero());
        let rank = l.shape.len();
        let mut index = Dims::from_elem(0, rank);
        let mut at = l.offset as isize;
        for v in x.iter() {
            out[at as usize] = v;
            for k in (0..rank).rev() {
                index[k] += 1;
                at += l.strides[k];
                if index[k] < l.shape[k] {
                    break;
                }
                at -= l.strides[k] * l.shape[k] as isize;
                index[k] = 0;
            }
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent().apply(self.diagonal))]
    }
}

/// 1 on one side of a diagonal (itself included), 0 on the other.
#[derive(Debug, PartialEq)]
struct Triangle {
    rows: usize,
    cols: usize,
    offset: isize,
    upper: bool,
}
impl<T: Float> Op<T> for Triangle {
    fn name(&self) -> &'static str {
        "triangle"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        let s = Dims::from_slice(&[self.rows, self.cols]);
        checked_numel("triangle", &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        if self.cols == 0 {
            return;
        }
        for (r, row) in ctx.output().chunks_exact_mut(self.cols).enumerate() {
            // Lower: columns up to r + offset. Upper: columns from r + offset.
            let edge = (r as isize)
                .saturating_add(self.offset)
                .saturating_add(isize::from(!self.upper));
            let (left, right) = row.split_at_mut(edge.clamp(0, self.cols as isize) as usize);
            left.fill(if self.upper { T::zero() } else { T::one() });
            right.fill(if self.upper { T::one() } else { T::zero() });
        }
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        Cotangents::new()
    }
}

impl<T: Float> Tape<T> {
    /// Ones on and below the diagonal `offset` places above the main one, zeros elsewhere (NumPy's `tri`).
    ///
    /// # Panics
    /// When the shape has more elements than can be addressed.
    #[track_caller]
    pub fn tri(&self, rows: usize, cols: usize, offset: isize) -> Var<'_, T> {
        self.apply(
            Triangle {
                rows,
                cols,
                offset,
                upper: false,
            },
            &[],
        )
    }

    /// The identity matrix of `n` rows.
    ///
    /// # Panics
    /// When it has more elements than can be addressed.
    #[track_caller]
    pub fn eye(&self, n: usize) -> Var<'_, T> {
        self.ones([n]).diag_embed(0)
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    fn triangle(self, op: &'static str, offset: isize, upper: bool) -> Self {
        let s = self.shape();
        assert!(
            s.len() >= 2,
            "{op}: expected a matrix or a batch of matrices, found shape {:?}",
            s.as_slice()
        );
        let (rows, cols) = (s[s.len() - 2], s[s.len() - 1]);
        let op = Triangle {
            rows,
            cols,
            offset,
            upper,
        };
        self.mask(self.tape().apply(op, &[]))
    }

    /// The lower triangle of each matrix: elements above the diagonal `offset` become 0 (NaN too).
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn tril(self, offset: isize) -> Self {
        self.triangle("tril", offset, false)
    }

    /// The upper triangle of each matrix: elements below the diagonal `offset` become 0 (NaN too).
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn triu(self, offset: isize) -> Self {
        self.triangle("triu", offset, true)
    }

    /// The diagonal `offset` places above the main one of the matrices that axes `a` and `b` span, as a last axis; a
    /// view. Empty where the diagonal lies outside.
    ///
    /// # Panics
    /// When an axis is out of range, or both are the same.
    #[track_caller]
    pub fn diagonal(self, offset: isize, a: isize, b: isize) -> Self {
        let rank = self.rank();
        let (a, b) = (
            shape::axis("diagonal", a, rank).or_panic(),
            shape::axis("diagonal", b, rank).or_panic(),
        );
        assert!(
            a != b,
            "diagonal: expected two axes of shape {:?}, found {a} twice",
            self.shape().as_slice()
        );
        self.apply(Diagonal { offset, a, b })
    }

    /// Square matrices with the last axis on the diagonal `offset` places above the main one, zeros elsewhere:
    /// `[.., n]` → `[.., n + |offset|, n + |offset|]`.
    ///
    /// # Panics
    /// At rank 0, or when the result has more elements than can be addressed.
    #[track_caller]
    pub fn diag_embed(self, offset: isize) -> Self {
        let mut shape = self.shape();
        let rank = shape.len();
        assert!(
            rank > 0,
            "diag_embed: expected at least one axis, found shape []"
        );
        let n = shape[rank - 1].saturating_add(offset.unsigned_abs());
        shape[rank - 1] = n;
        shape.push(n);
        checked_numel("diag_embed", &shape).or_panic();
        let diagonal = Diagonal {
            offset,
            a: rank - 1,
            b: rank,
        };
        self.apply(DiagonalEmbed { diagonal, shape })
    }

    /// A vector as the diagonal of a square matrix, or the diagonal of a matrix as a vector (PyTorch's `diag`).
    ///
    /// # Panics
    /// When the rank is not 1 or 2.
    #[track_caller]
    pub fn diag(self, offset: isize) -> Self {
        match self.rank() {
            1 => self.diag_embed(offset),
            2 => self.diagonal(offset, 0, 1),
            _ => panic!(
                "{}",
                shape_error(
                    "diag",
                    format!(
                        "expected a vector or a matrix, found shape {:?}",
                        self.shape().as_slice()
                    )
                )
            ),
        }
    }

    /// Sum of the main diagonal of the matrices that the last two axes hold.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn trace(self) -> Self {
        assert!(
            self.rank() >= 2,
            "trace: expected a matrix or a batch of matrices, found shape {:?}",
            self.shape().as_slice()
        );
        self.diagonal(0, -2, -1).sum_dim(-1, false)
    }
}
