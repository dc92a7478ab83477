//! Operations that read or write by integer indices.

use crate::finite;
use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::axes::line_of;
use crate::ops::compiled_here;
use crate::ops::lookup;
use crate::var::Var;
use wengert_tensor::error::{Error, OrPanic};
use wengert_tensor::gather::{gather, scatter_add, scatter_places};
use wengert_tensor::shape::{self, checked_numel};
use wengert_tensor::{Dims, Real, Result, Tensor};

compiled_here! {
    /// Kernels of this file.
    IndexKernels {
        fn gather(x: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], axis: usize) = gather;
        fn scatter_add(g: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], shape: &[usize], axis: usize)
            = scatter_add;
        fn index_select(x: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], axis: usize) = index_select;
        fn index_add(
            g: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], shape: &[usize], axis: usize, look: bool,
        ) -> bool = index_add;
        fn scatter_set(x: &Tensor<Self>, index: &Tensor<i64>, source: &Tensor<Self>, out: &mut [Self], axis: usize)
            = scatter_set;
        fn scatter_winners(index: &Tensor<i64>, out: &mut [Self], shape: &[usize], axis: usize) = scatter_winners;
        fn one_hot(labels: &Tensor<i64>, out: &mut [Self], classes: usize) = one_hot;
    }
}

fn scatter_set<T: Real>(
    x: &Tensor<T>,
    index: &Tensor<i64>,
    source: &Tensor<T>,
    out: &mut [T],
    axis: usize,
) {
    x.copy_into(out);
    for (v, p) in source.iter().zip(scatter_places(index, x.shape(), axis)) {
        out[p] = v;
    }
}

/// 1 for the last of the indices that point to one place, 0 for those it overwrites.
fn scatter_winners<T: Real>(index: &Tensor<i64>, out: &mut [T], shape: &[usize], axis: usize) {
    let mut taken = vec![false; shape.iter().product()];
    let places: Vec<usize> = scatter_places(index, shape, axis).collect();
    for (o, p) in out.iter_mut().zip(places).rev() {
        *o = if taken[p] { T::zero() } else { T::one() };
        taken[p] = true;
    }
}

fn one_hot<T: Real>(labels: &Tensor<i64>, out: &mut [T], classes: usize) {
    out.fill(T::zero());
    if classes == 0 {
        return;
    }
    for (row, y) in out.chunks_exact_mut(classes).zip(labels.iter()) {
        row[y as usize] = T::one();
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

/// Elements that are looked at together, while they are in the first-level cache.
const LOOK: usize = 4096;

/// Returns whether the result is known to be finite, if it is to `look` at what it adds.
fn index_add<T: Real>(
    g: &Tensor<T>,
    index: &Tensor<i64>,
    out: &mut [T],
    shape: &[usize],
    axis: usize,
    look: bool,
) -> bool {
    out.fill(T::zero());
    let inner: usize = shape[axis + 1..].iter().product();
    let (d, n) = (shape[axis], index.numel());
    if g.numel() == 0 {
        return look;
    }
    let copy;
    let s = match g.as_slice() {
        Some(s) => s,
        None => {
            copy = g.to_vec();
            &copy
        }
    };
    // A place gets at most one row for each index: that many times the largest element bounds the sums.
    let mut bound = 0.0;
    let together = (LOOK / inner).max(1);
    for (b, rows) in s.chunks(together * inner).enumerate() {
        for (r, values) in rows.chunks_exact(inner).enumerate() {
            let r = b * together + r;
            let (o, k) = (r / n, r % n);
            let to = &mut out[(o * d + index_at(index, k) as usize) * inner..][..inner];
            to.iter_mut().zip(values).for_each(|(t, &v)| *t += v);
        }
        if look {
            let most = T::largest_magnitude(rows).as_f64() * n as f64;
            // Once NaN, it stays so.
            if most > bound || most.is_nan() {
                bound = most;
            }
        }
    }
    look && bound < finite::limit::<T>()
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
    let outside = |i: i64| i as u64 >= size as u64;
    // Without an early end, so that it is one comparison per vector.
    if let Some(all) = index.as_slice()
        && !all.iter().fold(false, |any, &i| any | outside(i))
    {
        return Ok(());
    }
    match index.iter().find(|&i| outside(i)) {
        None => Ok(()),
        Some(index) => Err(Error::Index {
            op,
            what,
            index,
            size,
        }),
    }
}

/// Elements along an axis at the places that an index tensor of the output's shape names.
#[derive(Debug, PartialEq)]
pub(crate) struct Gather {
    pub axis: usize,
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
        small![Some(g), None]
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
    fn bound(&self, inputs: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        // A place gets at most all indices of a line along the axis.
        Some(largest(0) * inputs[1][self.axis] as f64)
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = Gather { axis: self.axis };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.cotangent(), ctx.input(1)]);
        small![Some(g), None]
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct IndexSelect {
    pub axis: usize,
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
        let shape = ctx.input(0).shape();
        let (g, index) = (ctx.cotangent(), ctx.input(1));
        if self.axis == 0
            && let Some(g) = lookup::table_gradient(g, index, &shape)
        {
            return small![Some(g), None];
        }
        let axis = self.axis;
        let g = g.tape().apply(IndexAdd { axis, shape }, &[g, index]);
        small![Some(g), None]
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
        let look = ctx.watched();
        if T::index_add(g, i, ctx.output(), &self.shape, self.axis, look) {
            ctx.note_finite();
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let op = IndexSelect { axis: self.axis };
        let g = ctx
            .cotangent()
            .tape()
            .apply(op, &[ctx.cotangent(), ctx.input(1)]);
        small![Some(g), None]
    }
}

/// A copy of the first input with the elements of the third at the places that the second names.
#[derive(Debug, PartialEq)]
struct ScatterSet {
    axis: usize,
}
impl<T: Float> Op<T> for ScatterSet {
    fn name(&self) -> &'static str {
        "scatter"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (x, i, s) = (inputs[0], inputs[1], inputs[2]);
        let fits =
            x.len() == i.len() && i == s && (0..x.len()).all(|k| k == self.axis || i[k] <= x[k]);
        if !fits {
            return Err(shape_error(
                "scatter",
                format!(
                    "index of shape {i:?} and source of shape {s:?} do not fit a tensor of shape {x:?}: index and \
                     source must have one shape, of the same rank and no size outside axis {} larger",
                    self.axis
                ),
            ));
        }
        Ok(Dims::from_slice(x))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, i, s) = (ctx.input(0), ctx.ints(1), ctx.input(2));
        T::scatter_set(x, i, s, ctx.output(), self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (index, g) = (ctx.input(1), ctx.cotangent());
        let tape = g.tape();
        let axis = self.axis;
        let dx = ctx.needs(0).then(|| {
            let nothing = tape.zeros(ctx.input(2).shape());
            tape.apply(ScatterSet { axis }, &[g, index, nothing])
        });
        let ds = ctx.needs(2).then(|| {
            let shape = ctx.input(0).shape();
            let winners = tape.apply(ScatterWinners { axis, shape }, &[index]);
            tape.apply(Gather { axis }, &[g, index]).mask(winners)
        });
        small![dx, None, ds]
    }
}

/// Which elements of an index tensor are not overwritten by a later one.
#[derive(Debug, PartialEq)]
struct ScatterWinners {
    axis: usize,
    shape: Dims,
}
impl<T: Float> Op<T> for ScatterWinners {
    fn name(&self) -> &'static str {
        "scatter_winners"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::scatter_winners(ctx.ints(0), ctx.output(), &self.shape, self.axis);
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![None]
    }
}

#[derive(Debug, PartialEq)]
struct OneHot {
    classes: usize,
}
impl<T: Float> Op<T> for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[0]);
        s.push(self.classes);
        checked_numel("one_hot", &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::one_hot(ctx.ints(0), ctx.output(), self.classes);
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![None]
    }
}

impl<T: Float> crate::tape::Tape<T> {
    /// One-hot rows: labels of any shape `s` give `s + [classes]`, 1 at the label and 0 elsewhere.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f32>::inference();
    /// let y = tape.one_hot(&Tensor::from_vec(vec![2, 0], [2]), 3);
    /// assert_eq!(y.value().to_vec(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// When a label is negative or not below `classes`.
    #[track_caller]
    pub fn one_hot(&self, labels: &Tensor<i64>, classes: usize) -> Var<'_, T> {
        check_indices("one_hot", "label", labels, classes).or_panic();
        let y = self.int_input(labels);
        self.apply(OneHot { classes }, &[y])
    }

    /// Truth values as numbers: 1 for true, 0 for false. The form that [`Var::mask`], [`Var::where_`] and
    /// [`Var::masked_fill`] take.
    #[track_caller]
    pub fn truth(&self, mask: &Tensor<bool>) -> Var<'_, T> {
        self.input(&mask.map(|b| if b { T::one() } else { T::zero() }))
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The elements at the given places of the tensor seen as one line, from the end where they are negative (as PyTorch's `take`);
    /// the shape is that of `index`.
    ///
    /// # Panics
    /// When an index is out of range.
    #[track_caller]
    pub fn take(self, index: &Tensor<i64>) -> Self {
        let n = self.numel();
        let place = |i: i64| {
            if i < 0 && i >= -(n as i64) {
                i + n as i64
            } else {
                i
            }
        };
        let index = index.map(place);
        check_indices("take", "index", &index, n).or_panic();
        self.reshape([n])
            .index_select(0, &index.reshape([index.numel()]))
            .reshape(index.shape())
    }

    /// The elements where the mask is true, as one line in row-major order. Mask and tensor broadcast against each
    /// other.
    ///
    /// # Panics
    /// When the shapes do not broadcast.
    #[track_caller]
    pub fn masked_select(self, mask: &Tensor<bool>) -> Self {
        let shape = shape::broadcast("masked_select", &self.shape(), mask.shape()).or_panic();
        let mask = mask.broadcast_to(&shape);
        let places: Vec<i64> = (mask.iter().enumerate())
            .filter(|(_, m)| *m)
            .map(|(i, _)| i as i64)
            .collect();
        let n = places.len();
        self.broadcast_to(shape)
            .take(&Tensor::from_vec(places, [n]))
    }

    /// A copy of `self` with the elements of `source` at the indexed places of an axis:
    /// `y[index[i][j]][j] = source[i][j]` for axis 0, and likewise for the others (PyTorch's `scatter`). Where several
    /// indices name one place, the last wins, and the gradient goes to it alone.
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn scatter(self, axis: isize, index: &Tensor<i64>, source: Self) -> Self {
        let (x, axis) = self.line("scatter", axis);
        check_indices("scatter", "index", index, x.size(axis as isize)).or_panic();
        let i = self.tape().int_input(&line_of(index));
        let args = [x, i, source.as_line()];
        self.tape().apply(ScatterSet { axis }, &args).unlined(self)
    }

    /// [`Var::scatter`] of one number.
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn scatter_value(self, axis: isize, index: &Tensor<i64>, value: f64) -> Self {
        self.scatter(axis, index, self.tape().full(index.shape(), value))
    }

    /// `out[i][j] = x[index[i][j]][j]` for axis 0, and likewise for the others (PyTorch's `gather`).
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn gather(self, axis: isize, index: &Tensor<i64>) -> Self {
        let (x, axis) = self.line("gather", axis);
        check_indices("gather", "index", index, x.size(axis as isize)).or_panic();
        let i = self.tape().int_input(&line_of(index));
        let y = self.tape().apply(Gather { axis }, &[x, i]);
        if index.rank() == 0 {
            return y.reshape(());
        }
        y
    }

    /// `self` plus `source`, added at the indexed places of an axis (PyTorch's `scatter_add`). Indices may repeat.
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn scatter_add(self, axis: isize, index: &Tensor<i64>, source: Self) -> Self {
        let (x, a) = self.line("scatter_add", axis);
        check_indices("scatter_add", "index", index, x.size(a as isize)).or_panic();
        let shape = x.shape();
        let index = &line_of(index);
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
        let op = ScatterAdd { axis: a, shape };
        (x + self.tape().apply(op, &[source.as_line(), i])).unlined(self)
    }

    /// The slices of an axis at the given indices, in their order.
    ///
    /// # Panics
    /// When an index is out of range or `index` is not of rank 1.
    #[track_caller]
    pub fn index_select(self, axis: isize, index: &Tensor<i64>) -> Self {
        let (x, axis) = self.line("index_select", axis);
        assert!(
            index.rank() <= 1 && (self.rank() > 0 || index.numel() == 1),
            "index_select: expected indices of rank 1, one for a single number, found shape {:?}",
            index.shape()
        );
        check_indices("index_select", "index", index, x.size(axis as isize)).or_panic();
        let i = self.tape().int_input(&line_of(index));
        (self.tape().apply(IndexSelect { axis }, &[x, i])).unlined(self)
    }

    /// `self` plus the slices of `source` added at the given indices of an axis. Indices may repeat.
    ///
    /// # Panics
    /// When an index is out of range or the shapes do not fit.
    #[track_caller]
    pub fn index_add(self, axis: isize, index: &Tensor<i64>, source: Self) -> Self {
        let (x, axis) = self.line("index_add", axis);
        assert!(
            index.rank() <= 1 && source.rank() == self.rank(),
            "index_add: expected indices of rank 1 and a source of the rank of {:?}, found shapes {:?} and {:?}",
            self.shape().as_slice(),
            index.shape(),
            source.shape().as_slice()
        );
        check_indices("index_add", "index", index, x.size(axis as isize)).or_panic();
        let i = self.tape().int_input(&line_of(index));
        let op = IndexAdd {
            axis,
            shape: x.shape(),
        };
        (x + self.tape().apply(op, &[source.as_line(), i])).unlined(self)
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
