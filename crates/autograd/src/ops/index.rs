//! Operations that read or write by integer indices.

use crate::float::Float;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::var::Var;
use smallvec::smallvec;
use wengert_tensor::error::{Error, OrPanic};
use wengert_tensor::shape::{self, checked_numel};
use wengert_tensor::{Dims, Real, Result, Tensor};

compiled_here! {
    /// Kernels of this file.
    IndexKernels {
        fn gather(x: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], axis: usize) = gather;
        fn scatter_add(g: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], shape: &[usize], axis: usize)
            = scatter_add;
        fn index_select(x: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], axis: usize) = index_select;
        fn index_add(g: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], shape: &[usize], axis: usize) = index_add;
    }
}

fn gather<T: Real>(x: &Tensor<T>, index: &Tensor<i64>, out: &mut [T], axis: usize) {
    let data = x.storage().as_slice();
    let step = x.strides()[axis];
    // Walk the index tensor and, beside it, the corner of x that it covers, with the axis itself held at 0.
    let mut l = x.layout().clone();
    l.shape = Dims::from_slice(index.shape());
    l.strides[axis] = 0;
    if out.is_empty() {
        return;
    }
    let walk = x.with_layout(l).or_panic();
    for ((o, at), i) in out.iter_mut().zip(walk.offsets()).zip(index.iter()) {
        *o = data[(at as isize + i as isize * step) as usize];
    }
}

fn scatter_add<T: Real>(
    g: &Tensor<T>,
    index: &Tensor<i64>,
    out: &mut [T],
    shape: &[usize],
    axis: usize,
) {
    out.fill(T::zero());
    let strides = shape::contiguous_strides(shape);
    let mut at = Dims::from_elem(0, shape.len());
    for (v, i) in g.iter().zip(index.iter()) {
        let mut p = i as isize * strides[axis];
        for (k, (&a, &s)) in at.iter().zip(&strides).enumerate() {
            if k != axis {
                p += a as isize * s;
            }
        }
        out[p as usize] += v;
        for k in (0..at.len()).rev() {
            at[k] += 1;
            if at[k] < index.shape()[k] {
                break;
            }
            at[k] = 0;
        }
    }
}

fn index_select<T: Real>(x: &Tensor<T>, index: &Tensor<i64>, out: &mut [T], axis: usize) {
    let n = index.numel();
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    if out.is_empty() {
        return;
    }
    if let Some(s) = x.as_slice() {
        let d = x.shape()[axis];
        for o in 0..outer {
            for (k, i) in index.iter().enumerate() {
                let from = (o * d + i as usize) * inner;
                out[(o * n + k) * inner..][..inner].copy_from_slice(&s[from..from + inner]);
            }
        }
        return;
    }
    for (k, i) in index.iter().enumerate() {
        let row = x.narrow(axis as isize, i as usize, i as usize + 1);
        let mut it = row.iter();
        for o in 0..outer {
            for y in &mut out[(o * n + k) * inner..][..inner] {
                *y = it.next().expect("a row has outer * inner elements");
            }
        }
    }
}

fn index_add<T: Real>(
    g: &Tensor<T>,
    index: &Tensor<i64>,
    out: &mut [T],
    shape: &[usize],
    axis: usize,
) {
    out.fill(T::zero());
    let inner: usize = shape[axis + 1..].iter().product();
    let (d, n) = (shape[axis], index.numel());
    if g.numel() == 0 {
        return;
    }
    let copy;
    let s = match g.as_slice() {
        Some(s) => s,
        None => {
            copy = g.to_vec();
            &copy
        }
    };
    for (r, values) in s.chunks_exact(inner).enumerate() {
        let (o, k) = (r / n, r % n);
        let to = &mut out[(o * d + index_at(index, k) as usize) * inner..][..inner];
        to.iter_mut().zip(values).for_each(|(t, &v)| *t += v);
    }
}

#[inline]
fn index_at(index: &Tensor<i64>, k: usize) -> i64 {
    let at = index.layout().offset as isize + k as isize * index.strides()[0];
    index.storage().as_slice()[at as usize]
}

/// Checks that all indices lie below `size`.
pub(crate) fn check_indices(
    op: &'static str,
    what: &'static str,
    index: &Tensor<i64>,
    size: usize,
) -> Result<()> {
    match index.iter().find(|&i| i < 0 || i as u64 >= size as u64) {
        None => Ok(()),
        Some(index) => Err(Error::Index {
            op,
            what,
            index,
            size,
        }),
    }
}

#[derive(Debug, PartialEq)]
struct Gather {
    axis: usize,
}
impl<T: Float> Op<T> for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (x, i) = (inputs[0], inputs[1]);
        let fits = x.len() == i.len() && (0..x.len()).all(|k| k == self.axis || i[k] <= x[k]);
        if !fits {
            return Err(shape_error(
                "gather",
                format!(
                    "index of shape {i:?} does not fit a tensor of shape {x:?}: the ranks must be equal and no size \
                     outside axis {} larger",
                    self.axis
                ),
            ));
        }
        Ok(Dims::from_slice(i))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, i) = (ctx.input(0), ctx.ints(1));
        T::gather(x, i, ctx.output(), self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = ScatterAdd {
            axis: self.axis,
            shape: ctx.input(0).shape(),
        };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.cotangent(), ctx.input(1)]);
        smallvec![Some(g), None]
    }
}

/// Zeros of a shape plus the input's elements at the indexed places.
#[derive(Debug, PartialEq)]
struct ScatterAdd {
    axis: usize,
    shape: Dims,
}
impl<T: Float> Op<T> for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        if inputs[0] != inputs[1] {
            return Err(shape_error(
                "scatter_add",
                format!(
                    "source {:?} and index {:?} must have one shape",
                    inputs[0], inputs[1]
                ),
            ));
        }
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (g, i) = (ctx.input(0), ctx.ints(1));
        T::scatter_add(g, i, ctx.output(), &self.shape, self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = Gather { axis: self.axis };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.cotangent(), ctx.input(1)]);
        smallvec![Some(g), None]
    }
}

#[derive(Debug, PartialEq)]
struct IndexSelect {
    axis: usize,
}
impl<T: Float> Op<T> for IndexSelect {
    fn name(&self) -> &'static str {
        "index_select"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[0]);
        s[self.axis] = inputs[1][0];
        checked_numel("index_select", &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, i) = (ctx.input(0), ctx.ints(1));
        T::index_select(x, i, ctx.output(), self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = IndexAdd {
            axis: self.axis,
            shape: ctx.input(0).shape(),
        };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.cotangent(), ctx.input(1)]);
        smallvec![Some(g), None]
    }
}

/// Zeros of a shape plus the input's slices at the indexed places of an axis.
#[derive(Debug, PartialEq)]
struct IndexAdd {
    axis: usize,
    shape: Dims,
}
impl<T: Float> Op<T> for IndexAdd {
    fn name(&self) -> &'static str {
        "index_add"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let fits = inputs[0].len() == self.shape.len()
            && (0..self.shape.len()).all(|k| {
                inputs[0][k]
                    == if k == self.axis {
                        inputs[1][0]
                    } else {
                        self.shape[k]
                    }
            });
        if !fits {
            return Err(shape_error(
                "index_add",
                format!(
                    "source of shape {:?} with {} indices does not fit axis {} of shape {:?}",
                    inputs[0],
                    inputs[1][0],
                    self.axis,
                    self.shape.as_slice()
                ),
            ));
        }
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (g, i) = (ctx.input(0), ctx.ints(1));
        T::index_add(g, i, ctx.output(), &self.shape, self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = IndexSelect { axis: self.axis };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.cotangent(), ctx.input(1)]);
        smallvec![Some(g), None]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// `out[i][j] = x[index[i][j]][j]` for axis 0, and likewise for the others (PyTorch's `gather`).
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn gather(self, axis: isize, index: &Tensor<i64>) -> Self {
        let a = shape::axis("gather", axis, self.rank()).or_panic();
        check_indices("gather", "index", index, self.size(axis)).or_panic();
        let i = self.tape().int_input(index);
        self.tape().apply(Gather { axis: a }, &[self, i])
    }

    /// `self` plus `source`, added at the indexed places of an axis (PyTorch's `scatter_add`). Indices may repeat.
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn scatter_add(self, axis: isize, index: &Tensor<i64>, source: Self) -> Self {
        let a = shape::axis("scatter_add", axis, self.rank()).or_panic();
        check_indices("scatter_add", "index", index, self.size(axis)).or_panic();
        let shape = self.shape();
        for (k, (&d, &i)) in shape.iter().zip(index.shape()).enumerate() {
            assert!(
                k == a || i <= d,
                "scatter_add: index of shape {:?} does not fit a tensor of shape {:?}",
                index.shape(),
                shape.as_slice()
            );
        }
        assert!(
            index.rank() == shape.len(),
            "scatter_add: index of shape {:?} has another rank than {:?}",
            index.shape(),
            shape.as_slice()
        );
        let i = self.tape().int_input(index);
        self + self
            .tape()
            .apply(ScatterAdd { axis: a, shape }, &[source, i])
    }

    /// The slices of an axis at the given indices, in their order.
    ///
    /// # Panics
    /// When an index is out of range or `index` is not of rank 1.
    #[track_caller]
    pub fn index_select(self, axis: isize, index: &Tensor<i64>) -> Self {
        let a = shape::axis("index_select", axis, self.rank()).or_panic();
        assert!(
            index.rank() == 1,
            "index_select: expected indices of rank 1, found shape {:?}",
            index.shape()
        );
        check_indices("index_select", "index", index, self.size(axis)).or_panic();
        let i = self.tape().int_input(index);
        self.tape().apply(IndexSelect { axis: a }, &[self, i])
    }

    /// `self` plus the slices of `source` added at the given indices of an axis. Indices may repeat.
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn index_add(self, axis: isize, index: &Tensor<i64>, source: Self) -> Self {
        let a = shape::axis("index_add", axis, self.rank()).or_panic();
        assert!(
            index.rank() == 1,
            "index_add: expected indices of rank 1, found shape {:?}",
            index.shape()
        );
        check_indices("index_add", "index", index, self.size(axis)).or_panic();
        let i = self.tape().int_input(index);
        let shape = self.shape();
        self + self.tape().apply(IndexAdd { axis: a, shape }, &[source, i])
    }

    /// Rows of an embedding table: `[vocabulary, size]` and indices of any shape `s` give `s + [size]`.
    ///
    /// # Panics
    /// When an index is out of range or the table is not of rank 2.
    #[track_caller]
    pub fn embedding(self, index: &Tensor<i64>) -> Self {
        assert!(
            self.rank() == 2,
            "embedding: expected a table of rank 2, found shape {:?}",
            self.shape().as_slice()
        );
        let mut shape = Dims::from_slice(index.shape());
        shape.push(self.size(1));
        self.index_select(0, &index.reshape([index.numel()]))
            .reshape(shape)
    }
}
