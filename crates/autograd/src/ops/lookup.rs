//! Products of looked-up rows, `x W` where the rows of `x` are rows of a table.
//!
//! With V rows in the table and N > V rows in `x`, most products would be made many times over. Row k of `x W` is row
//! `index[k]` of `table W`, so the table is multiplied, and its products are looked up. Backward, with S the sums of the cotangent's rows
//! by row of the table, `Wᵀ` gets `tableᵀ S` and the table `S Wᵀ`: V in place of N rows in all three products.
//!
//! `x`, the product and its cotangent stay on the tape as they would without this, as operands that no kernel reads
//! ([`Op::reads`]): whoever asks for the value or the derivative of looked-up rows, to any order, by a hook or an observer, gets it,
//! and only then it is computed.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, NodeOp, Op, VjpCtx};
use crate::ops::Scratch;
use crate::ops::compiled_here;
use crate::ops::index::IndexSelect;
use crate::ops::matmul::MatMul;
use crate::ops::shape::{Reshape, is_identity};
use crate::tape::Region;
use crate::var::Var;
use crate::vmap::BatchCtx;
use smallvec::SmallVec;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    LookupKernels {
        fn look_up(table: &Tensor<Self>, rows: &[i64], out: &mut [Self]) = look_up;
        fn row_sums(g: &Tensor<Self>, rows: &[i64], out: &mut [Self]) = row_sums;
        fn table_product(
            table: &Tensor<Self>, sums: &Tensor<Self>, index: &Tensor<i64>, out: &mut [Self], left: bool,
        ) = table_product;
        fn unused_rows(index: &Tensor<i64>, out: &mut [Self], rows: usize) = unused_rows;
        #[track_caller]
        fn lookup_product<'t>(a: Var<'t, Self>, b: Var<'t, Self>) -> Option<Var<'t, Self>> = record;
    }
}

/// How many times each row of the table must be looked up on average.
const REPEATS: usize = 2;
/// Fewest columns of the table: below, a product costs as little as looking it up.
const COLUMNS: usize = 8;

/// In which order a matrix shows the rows of another one: those of `shape`, with its axes in this order. No axes: as they
/// are.
#[derive(Clone, PartialEq, Debug, Default)]
#[doc(hidden)]
pub struct Order {
    shape: Dims,
    axes: SmallVec<[isize; 6]>,
}

impl Order {
    fn inverse(&self) -> Order {
        let mut back = self.clone();
        for (i, &a) in self.axes.iter().enumerate() {
            back.shape[i] = self.shape[a as usize];
            back.axes[a as usize] = i as isize;
        }
        back
    }

    /// The indices in this order.
    pub(crate) fn rows(&self, index: &Tensor<i64>) -> Vec<i64> {
        if self.axes.is_empty() {
            return index.to_vec();
        }
        index
            .reshape(self.shape.clone())
            .permute(self.axes.clone())
            .to_vec()
    }
}

/// The operation of a node and its operands, if it is an `O` that cotangents pass through.
fn is<T: Float, O: Op<T>, R>(v: Var<'_, T>, f: impl FnOnce(&O, &[u32]) -> R) -> Option<R> {
    let g = v.tape().graph.borrow();
    let n = &g.nodes[v.id as usize];
    let NodeOp::Op(op) = &n.op else { return None };
    let op = op.as_any().downcast_ref::<O>()?;
    (!n.stop()).then(|| f(op, &n.args))
}

/// What the rows of `v` are rows of: through views that leave the last axis alone.
fn rows_of<'t, T: Float>(v: Var<'t, T>) -> (Var<'t, T>, Order) {
    let tape = v.tape();
    let columns = v.size(-1);
    let reshaped = |mut v: Var<'t, T>| -> Var<'t, T> {
        while let Some(from) = is(v, |_: &Reshape, args| Var::new(tape, args[0]))
            && from.rank() > 0
            && from.size(-1) == columns
        {
            v = from;
        }
        v
    };
    let mut v = reshaped(v);
    let (axes, from) = loop {
        let Some((axes, from)) = v.unpermuted() else {
            return (v, Order::default());
        };
        if !is_identity(&axes) {
            break (axes, from);
        }
        v = reshaped(from);
    };
    let last = axes.len() - 1;
    if axes[last] != last as isize {
        return (v, Order::default());
    }
    let order = Order {
        shape: Dims::from_slice(&from.shape()[..last]),
        axes: axes[..last].into(),
    };
    (reshaped(from), order)
}

/// `a b` for matrices, if the rows of `a` are looked up and repeat.
#[track_caller]
pub(crate) fn product<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Option<Var<'t, T>> {
    // Most operands are neither a view nor looked up.
    is(a, |_: &Reshape, _| ()).or_else(|| is(a, |_: &IndexSelect, _| ()))?;
    T::lookup_product(a, b)
}

#[track_caller]
fn record<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Option<Var<'t, T>> {
    let tape = a.tape();
    let (n, columns) = (a.size(0), a.size(1));
    if columns < COLUMNS || columns != b.size(0) {
        return None;
    }
    let (base, order) = rows_of(a);
    let (table, index) = is(base, |op: &IndexSelect, args| {
        (op.axis == 0).then(|| (Var::new(tape, args[0]), Var::new(tape, args[1])))
    })??;
    if table.rank() != 2 || table.size(0) * REPEATS > n {
        return None;
    }
    let region = Region::enter(tape);
    tape.graph.borrow_mut().no_grad += 1;
    let products = tape.apply(Products, &[table, b]);
    drop(region);
    Some(tape.apply(Looked { order }, &[a, b, products, index, table]))
}

/// If the rows of `x` are looked up from products of a table: their order, those products, the indices.
pub(crate) fn looked_up<'t, T: Float>(x: Var<'t, T>) -> Option<(Order, Var<'t, T>, Var<'t, T>)> {
    let tape = x.tape();
    let (base, order) = rows_of(x);
    if !order.axes.is_empty() {
        return None;
    }
    is(base, |op: &Looked, args| {
        (
            op.order.clone(),
            Var::new(tape, args[2]),
            Var::new(tape, args[3]),
        )
    })
}

/// The cotangent of a table of this shape, if that of its looked-up rows, `g`, is the one of a product.
#[track_caller]
pub(crate) fn table_gradient<'t, T: Float>(
    g: Var<'t, T>,
    index: Var<'t, T>,
    shape: &Dims,
) -> Option<Var<'t, T>> {
    if g.rank() != 2 {
        return None;
    }
    let tape = g.tape();
    let (base, order) = rows_of(g);
    let [b, sums, of] = is(base, |op: &RowsGrad, args| {
        (op.order.inverse() == order).then(|| [1, 2, 3].map(|i| Var::new(tape, args[i])))
    })??;
    let fits = of.id == index.id && sums.size(0) == shape[0];
    let shape = shape.clone();
    fits.then(|| tape.apply(TableGrad { shape }, &[g, index, sums, b]))
}

fn look_up<T: Real>(table: &Tensor<T>, rows: &[i64], out: &mut [T]) {
    let table = table.contiguous();
    let (data, n) = (table.as_slice().expect("made contiguous"), table.shape()[1]);
    if out.is_empty() {
        return;
    }
    let chunk = (parallel::GRAIN / n).max(1);
    parallel::chunks_mut(out, chunk * n, |c, out| {
        for (to, &i) in out.chunks_exact_mut(n).zip(&rows[c * chunk..]) {
            to.copy_from_slice(&data[i as usize * n..][..n]);
        }
    });
}

/// `out[r]` is the sum of the rows k of `g` with `rows[k] == r`, in their order.
fn row_sums<T: Real>(g: &Tensor<T>, rows: &[i64], out: &mut [T]) {
    let g = g.contiguous();
    let (data, n) = (g.as_slice().expect("made contiguous"), g.shape()[1]);
    if out.is_empty() {
        return;
    }
    let count = out.len() / n;
    // Places of the rows of `g`, those of one sum beside each other.
    let mut start = vec![0usize; count + 1];
    rows.iter().for_each(|&r| start[r as usize + 1] += 1);
    for r in 0..count {
        start[r + 1] += start[r];
    }
    let mut next = start.clone();
    let mut places = vec![0usize; rows.len()];
    for (k, &r) in rows.iter().enumerate() {
        let at = &mut next[r as usize];
        places[*at] = k;
        *at += 1;
    }
    parallel::chunks_mut(out, n, |r, out| {
        out.fill(T::zero());
        let mut fours = places[start[r]..start[r + 1]].chunks_exact(4);
        let row = |k: usize| &data[k * n..][..n];
        for four in &mut fours {
            let (a, b, c, d) = (row(four[0]), row(four[1]), row(four[2]), row(four[3]));
            for (o, i) in out.iter_mut().zip(0..n) {
                *o += (a[i] + b[i]) + (c[i] + d[i]);
            }
        }
        for &k in fours.remainder() {
            out.iter_mut().zip(row(k)).for_each(|(o, &v)| *o += v);
        }
    });
}

/// `tableᵀ sums`, or its transpose `sumsᵀ table`. Rows of the table that nobody looked up have no part in it, whatever they
/// hold.
fn table_product<T: Scratch>(
    table: &Tensor<T>,
    sums: &Tensor<T>,
    index: &Tensor<i64>,
    out: &mut [T],
    left: bool,
) {
    let sums = sums.contiguous();
    let (rows, columns) = (table.shape()[0], table.shape()[1]);
    let n = sums.shape()[1];
    if out.is_empty() {
        return;
    }
    T::with_scratch(rows * columns, |used| {
        table.copy_into(used);
        unused_rows(index, used, rows);
        let used = MatRef::row_major(used, columns);
        let sums = MatRef::row_major(sums.as_slice().expect("made contiguous"), n);
        let (m, n, a, b) = if left {
            (columns, n, used.t(), sums)
        } else {
            (n, columns, sums.t(), used)
        };
        let c = MatMut::row_major(out, n);
        gemm(m, n, rows, T::one(), a, b, T::zero(), c, Epilogue::None);
    });
}

/// Sets the rows of a table to zero that no index names.
fn unused_rows<T: Real>(index: &Tensor<i64>, table: &mut [T], rows: usize) {
    let mut used = vec![false; rows];
    index.iter().for_each(|i| used[i as usize] = true);
    let width = table.len() / rows.max(1);
    for (row, _) in table
        .chunks_exact_mut(width.max(1))
        .zip(used)
        .filter(|r| !r.1)
    {
        row.fill(T::zero());
    }
}

/// The products of the table's rows, under a name of their own: nobody wrote this product.
#[derive(Debug, PartialEq)]
struct Products;
impl<T: Float> Op<T> for Products {
    fn name(&self) -> &'static str {
        "lookup_products"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Op::<T>::shape(&MatMul, inputs)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        MatMul.forward(ctx);
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        MatMul.batch(ctx)
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; what reads it carries the rules")
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        Op::<T>::flops(&MatMul, inputs, output)
    }
}

/// The product. Inputs: x and W, neither read, the products of the table, indices, the table (not read).
#[derive(Debug, PartialEq)]
struct Looked {
    order: Order,
}
impl<T: Float> Op<T> for Looked {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(small![inputs[0][0], inputs[1][1]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (table, rows) = (ctx.input(2), self.order.rows(ctx.ints(3)));
        T::look_up(table, &rows, ctx.output());
    }
    fn reads(&self, i: usize) -> bool {
        i == 2 || i == 3
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        MatMul.batch(ctx)
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (a, b, g) = (ctx.input(0), ctx.input(1), ctx.cotangent());
        let (index, table) = (ctx.input(3), ctx.input(4));
        let tape = g.tape();
        let order = self.order.clone();
        let sums = RowSums {
            order: order.clone(),
            rows: table.size(0),
        };
        let sums = tape.no_grad(|| tape.apply(sums, &[g, index]));
        let da = (ctx.needs(0)).then(|| tape.apply(RowsGrad { order }, &[g, b.t(), sums, index]));
        let db = ctx.needs(1).then(|| {
            let weight = |left: bool, x: Var<'t, T>, y: Var<'t, T>| {
                tape.apply(WeightGrad { left }, &[x, y, sums, table, index])
            };
            // For a transposed view, transposed: undoing the view costs no copy then.
            match b.is_transposed() {
                true => weight(false, g.t(), a).t(),
                false => weight(true, a.t(), g),
            }
        });
        small![da, db, None, None, None]
    }
}

/// The sums of the rows of a cotangent by row of the table. Inputs: the cotangent, indices.
#[derive(Debug, PartialEq)]
struct RowSums {
    order: Order,
    rows: usize,
}
impl<T: Float> Op<T> for RowSums {
    fn name(&self) -> &'static str {
        "lookup_sums"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(small![self.rows, inputs[0][1]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (g, rows) = (ctx.input(0), self.order.rows(ctx.ints(1)));
        T::row_sums(g, &rows, ctx.output());
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; what reads it carries the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        inputs[0].iter().product::<usize>() as u64
    }
}

/// The cotangent of x. Inputs: that of the product and Wᵀ, then, not read, its sums and indices, by which
/// [`table_gradient`] goes on.
#[derive(Debug, PartialEq)]
struct RowsGrad {
    order: Order,
}
impl<T: Float> Op<T> for RowsGrad {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Op::<T>::shape(&MatMul, &inputs[..2])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        MatMul.forward(ctx);
    }
    fn reads(&self, i: usize) -> bool {
        i < 2
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        MatMul.batch(ctx)
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        as_product(ctx)
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        Op::<T>::flops(&MatMul, inputs, output)
    }
}

/// The cotangent of W or Wᵀ, a product in which x is on the `left`, transposed, or on the right. Inputs: its two factors,
/// neither read, the sums, the table, indices.
#[derive(Debug, PartialEq)]
struct WeightGrad {
    left: bool,
}
impl<T: Float> Op<T> for WeightGrad {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Op::<T>::shape(&MatMul, &inputs[..2])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (sums, table, index) = (ctx.input(2), ctx.input(3), ctx.ints(4));
        T::table_product(table, sums, index, ctx.output(), self.left);
    }
    fn reads(&self, i: usize) -> bool {
        i >= 2
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        MatMul.batch(ctx)
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        as_product(ctx)
    }
    fn bound(&self, inputs: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        Some(largest(2) * largest(3) * inputs[2][0] as f64)
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        2 * (inputs[2][0] * output.iter().product::<usize>()) as u64
    }
}

/// The rule of a product of the first two inputs.
fn as_product<'t, T: Float>(ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
    let mut cts = MatMul.vjp(ctx);
    cts.resize(ctx.inputs().len(), None);
    cts
}

/// The rules of this file, for the test of wrong rules: three of its operations are called like the product they stand for.
#[cfg(feature = "mutation")]
pub(crate) fn rule_name(op: &dyn std::any::Any) -> Option<&'static str> {
    let is = [
        (op.is::<Looked>(), "lookup"),
        (op.is::<RowsGrad>(), "lookup_rows_grad"),
        (op.is::<WeightGrad>(), "lookup_weight_grad"),
        (op.is::<TableGrad>(), "lookup_table_grad"),
    ];
    is.into_iter().find(|i| i.0).map(|i| i.1)
}

/// The cotangent of the table. Inputs: that of its looked-up rows (not read), indices, the sums, Wᵀ.
#[derive(Debug, PartialEq)]
struct TableGrad {
    shape: Dims,
}
impl<T: Float> Op<T> for TableGrad {
    fn name(&self) -> &'static str {
        "index_add"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (index, sums, b) = (ctx.ints(1), ctx.input(2), ctx.input(3));
        T::matmul(sums, b, ctx.output(), &self.shape, Default::default());
        T::unused_rows(index, ctx.output(), self.shape[0]);
    }
    fn reads(&self, i: usize) -> bool {
        i > 0
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (c, index) = (ctx.cotangent(), ctx.input(1));
        let rows = c.tape().apply(IndexSelect { axis: 0 }, &[c, index]);
        small![Some(rows), None, None, None]
    }
    fn bound(&self, inputs: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        Some(largest(2) * largest(3) * inputs[3][0] as f64)
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        2 * (inputs[3][0] * output.iter().product::<usize>()) as u64
    }
}
