//! Products along axes.

use crate::float::Float;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, small};
use crate::ops::compose::partials;
use crate::ops::{Scratch, compiled_here};
use crate::var::Var;
use crate::vmap::BatchCtx;
use wengert_tensor::lane::Lane;
use wengert_tensor::parallel::Band;
use wengert_tensor::shape::IntoAxes;
use wengert_tensor::simd::{Isa, Kernel, dispatch, dispatch_narrow};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    ProductKernels {
        fn prod(x: &Tensor<Self>, out: &mut [Self], axis: usize) = prod;
        fn prod_grad(x: &Tensor<Self>, g: &Tensor<Self>, out: &mut [Self], axis: usize) = prod_grad;
    }
}

/// Accumulators in whole cache lines: one that lies in two is stored and loaded several times as slowly.
#[repr(align(64))]
struct Aligned<T, const N: usize>([T; N]);

/// Accumulators of a line's product.
const ACCUMULATORS: usize = 64;

/// Numbers of a long line that one task multiplies. How a line is cut depends on its length alone.
const PIECE: usize = parallel::GRAIN / 4;

/// Matrices of `n` rows of `inner` elements, or the columns of one from `first` on: each column is multiplied.
struct ProdOf<'a, T: Real> {
    x: &'a [T],
    n: usize,
    inner: usize,
    first: usize,
    out: &'a mut [T],
}
impl<T: Real> Kernel for ProdOf<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (n, inner, first) = (self.n, self.inner, self.first);
        let width = inner.min(self.out.len());
        let blocks = self
            .x
            .chunks_exact(n * inner)
            .zip(self.out.chunks_exact_mut(width));
        for (x, out) in blocks {
            if inner == 1 {
                const W: usize = ACCUMULATORS;
                let mut acc = Aligned([T::one(); W]);
                // Four at a time, so that the accumulators are seldom stored and loaded.
                let chunks = x.chunks_exact(4 * W);
                let rest = chunks.remainder();
                for c in chunks {
                    for k in T::Lane::<I>::places(W) {
                        acc.0[k] = acc.0[k] * c[k] * c[W + k] * c[2 * W + k] * c[3 * W + k];
                    }
                }
                let chunks = rest.chunks_exact(W);
                let rest = chunks.remainder();
                for c in chunks {
                    for k in T::Lane::<I>::places(W) {
                        acc.0[k] *= c[k];
                    }
                }
                out[0] = fold(acc, rest);
            } else {
                out.copy_from_slice(&x[first..][..width]);
                for row in x[inner..].chunks_exact(inner) {
                    let (out, row) = (&mut out[..width], &row[first..][..width]);
                    for k in T::Lane::<I>::places(width) {
                        out[k] *= row[k];
                    }
                }
            }
        }
    }
}

/// Multiplies accumulators, and the numbers left over, in a fixed tree.
#[inline(never)]
fn fold<T: Real>(Aligned(mut acc): Aligned<T, ACCUMULATORS>, rest: &[T]) -> T {
    for (a, &v) in acc.iter_mut().zip(rest) {
        *a *= v;
    }
    let mut w = ACCUMULATORS / 2;
    while w > 0 {
        for k in 0..w {
            acc[k] *= acc[k + w];
        }
        w /= 2;
    }
    acc[0]
}

/// Piece `p` of a long line.
fn piece<T>(x: &[T], p: usize) -> &[T] {
    &x[p * PIECE..x.len().min((p + 1) * PIECE)]
}

/// Calls `f` with the products of the pieces of a line, and as many numbers more.
fn with_pieces<T: Real>(x: &[T], f: impl FnOnce(&mut [f64], &mut [f64])) {
    let n = x.len().div_ceil(PIECE);
    f64::with_scratch(2 * n, |memory| {
        let (products, more) = memory.split_at_mut(n);
        parallel::chunks_mut(products, 1, |p, product| {
            let x = piece(x, p);
            let (n, inner, first, out) = (x.len(), 1, 0, &mut [T::one()]);
            dispatch(ProdOf {
                x,
                n,
                inner,
                first,
                out,
            });
            product[0] = out[0].as_f64();
        });
        f(products, more);
    });
}

fn prod<T: Real>(x: &Tensor<T>, out: &mut [T], axis: usize) {
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    if n == 0 || out.is_empty() {
        out.fill(T::one());
        return;
    }
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    let block = n * inner;
    if block == x.len() && inner > 1 {
        // One matrix: tasks take columns of it.
        let columns = (parallel::GRAIN / 2).div_ceil(n).max(COLUMNS);
        parallel::chunks_mut(out, columns, |c, out| {
            let first = c * columns;
            dispatch(ProdOf {
                x,
                n,
                inner,
                first,
                out,
            });
        });
        return;
    }
    if inner == 1 && n > PIECE {
        for (x, out) in x.chunks_exact(n).zip(out) {
            with_pieces(x, |products, _| {
                *out = T::from_f64(products.iter().product());
            });
        }
        return;
    }
    // Whole outer blocks per task: how many depends on sizes only.
    let blocks = (parallel::GRAIN / 2).div_ceil(block);
    parallel::chunks_mut(out, blocks * inner, |chunk, out| {
        let len = out.len() / inner * block;
        let x = &x[chunk * blocks * block..][..len];
        let first = 0;
        dispatch(ProdOf {
            x,
            n,
            inner,
            first,
            out,
        });
    });
}

/// Columns side by side in the derivative of products.
const COLUMNS: usize = 256;

/// From this many columns on, and up to this many factors, the derivative of a product has a kernel of its own. (The products
/// of more factors run through subnormal numbers, which are slow, more often than those of a tree.)
const MANY_COLUMNS: usize = 8;
const FEW_FACTORS: usize = 512;

/// Some columns of a matrix of `inner` of them: each element becomes `g` times the product of the others of its column.
struct OthersOf<'a, 'b, T: Real> {
    x: &'a [T],
    g: &'a [T],
    inner: usize,
    first: usize,
    count: usize,
    out: Band<'b, T>,
}
impl<T: Real> Kernel for OthersOf<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self) {
        let n = self.x.len() / self.inner;
        for c in (0..self.count).step_by(COLUMNS) {
            let b = COLUMNS.min(self.count - c);
            let first = self.first + c;
            // What stands before it, then what stands behind.
            let mut product = [T::one(); COLUMNS];
            for k in 0..n {
                let x = &self.x[k * self.inner + first..][..b];
                let (y, p) = (&mut self.out.at_mut(k)[c..c + b], &mut product[..b]);
                for j in T::Lane::<I>::places(b) {
                    y[j] = p[j];
                    p[j] *= x[j];
                }
            }
            product[..b].copy_from_slice(&self.g[first..first + b]);
            for k in (0..n).rev() {
                let x = &self.x[k * self.inner + first..][..b];
                let (y, p) = (&mut self.out.at_mut(k)[c..c + b], &mut product[..b]);
                for j in T::Lane::<I>::places(b) {
                    y[j] *= p[j];
                    p[j] *= x[j];
                }
            }
        }
    }
}

/// Columns that the derivative of a line's product makes of the line.
const LINE_COLUMNS: usize = 32;

/// As [`OthersOf`], for lines of `n` elements that lie one behind the other.
struct OthersOfLines<'a, T: Real> {
    x: &'a [T],
    g: &'a [T],
    n: usize,
    out: &'a mut [T],
}
impl<T: Real> Kernel for OthersOfLines<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        const W: usize = LINE_COLUMNS;
        let (n, rest) = (self.n, self.n % W);
        let lines = self.x.chunks_exact(n).zip(self.out.chunks_exact_mut(n));
        for ((x, out), &g) in lines.zip(self.g) {
            // The line as columns, side by side: what stands before an element in its column, then what stands behind and in
            // the other columns.
            let mut product = Aligned([T::one(); W]);
            let product = &mut product.0;
            let whole = x.chunks_exact(W).zip(out.chunks_exact_mut(W));
            for (x, y) in whole {
                y.copy_from_slice(product);
                for j in T::Lane::<I>::places(W) {
                    product[j] *= x[j];
                }
            }
            for j in 0..rest {
                out[n - rest + j] = product[j];
                product[j] *= x[n - rest + j];
            }
            let (mut columns, mut before) = ([0.0; W], [0.0; W]);
            for j in 0..W {
                columns[j] = product[j].as_f64();
            }
            let used = W.min(n);
            others(&mut columns[..used], &mut before[..used], g.as_f64());
            for j in 0..W {
                product[j] = T::from_f64(columns[j]);
            }
            for j in 0..rest {
                out[n - rest + j] *= product[j];
                product[j] *= x[n - rest + j];
            }
            let whole = x.chunks_exact(W).zip(out.chunks_exact_mut(W));
            for (x, y) in whole.rev() {
                // Two loops: of one it is not known that the slices do not overlap.
                for j in T::Lane::<I>::places(W) {
                    y[j] *= product[j];
                }
                for j in T::Lane::<I>::places(W) {
                    product[j] *= x[j];
                }
            }
        }
    }
}

/// Each element of `x` becomes `g` times the product of the others.
#[inline(never)]
fn others(x: &mut [f64], before: &mut [f64], g: f64) {
    let mut product = 1.0;
    for (before, x) in before.iter_mut().zip(&*x) {
        *before = product;
        product *= x;
    }
    product = g;
    for (before, x) in before.iter().zip(x).rev() {
        let own = *x;
        *x = before * product;
        product *= own;
    }
}

fn prod_grad<T: Real>(x: &Tensor<T>, g: &Tensor<T>, out: &mut [T], axis: usize) {
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    if out.is_empty() {
        return;
    }
    let (x, g) = (x.contiguous(), g.contiguous());
    let x = x.as_slice().expect("made contiguous above");
    let g = g.as_slice().expect("made contiguous above");
    let block = n * inner;
    if inner == 1 {
        return prod_grad_lines(x, g, out, n);
    }
    // A matrix, so many columns in a task.
    let matrix = |x: &[T], g: &[T], out: &mut [T], columns: usize| {
        parallel::bands([(out, 1)], inner, columns, |first, count, [out]| {
            dispatch_narrow(OthersOf {
                x,
                g,
                inner,
                first,
                count,
                out,
            });
        });
    };
    if block == x.len() {
        let columns = (parallel::GRAIN / 2).div_ceil(n).max(COLUMNS);
        return matrix(x, g, out, columns);
    }
    let blocks = (parallel::GRAIN / 2).div_ceil(block);
    parallel::chunks_mut(out, blocks * block, |chunk, out| {
        for (k, out) in out.chunks_exact_mut(block).enumerate() {
            let at = chunk * blocks + k;
            let (x, g) = (&x[at * block..][..block], &g[at * inner..][..inner]);
            matrix(x, g, out, inner);
        }
    });
}

fn prod_grad_lines<T: Real>(x: &[T], g: &[T], out: &mut [T], n: usize) {
    if n <= PIECE {
        let lines = PIECE.div_ceil(n);
        parallel::chunks_mut(out, lines * n, |task, out| {
            let x = &x[task * lines * n..][..out.len()];
            let g = &g[task * lines..];
            dispatch_narrow(OthersOfLines { x, g, n, out });
        });
        return;
    }
    for ((x, g), out) in x.chunks_exact(n).zip(g).zip(out.chunks_exact_mut(n)) {
        with_pieces(x, |products, more| {
            others(products, more, g.as_f64());
            parallel::chunks_mut(out, PIECE, |p, out| {
                let (x, g) = (piece(x, p), &[T::from_f64(products[p])]);
                let n = x.len();
                dispatch_narrow(OthersOfLines { x, g, n, out });
            });
        });
    }
}

/// Derivative of [`Prod`] for its input, from that and the cotangent: for lines, and for many columns.
#[derive(Debug, PartialEq)]
struct ProdGrad {
    axis: usize,
}
impl<T: Float> Op<T> for ProdGrad {
    fn name(&self) -> &'static str {
        "prod_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::prod_grad(ctx.input(0), ctx.input(1), ctx.output(), self.axis);
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let axis = self.axis + 1;
        Some(
            ctx.lifted(0)
                .tape()
                .apply(ProdGrad { axis }, &[ctx.lifted(0), ctx.lifted(1)]),
        )
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        partials(ctx.inputs(), ctx.needs, ctx.cotangent(), |v| {
            let others = partials(&v[..1], &[true], v[1], |x| x[0].prod_tree(self.axis));
            others[0].expect("a product depends on its factors")
        })
    }
}

/// Product along an axis, which stays with size 1.
#[derive(Debug, PartialEq)]
struct Prod {
    axis: usize,
}
impl<T: Float> Op<T> for Prod {
    fn name(&self) -> &'static str {
        "prod"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut shape = Dims::from_slice(inputs[0]);
        shape[self.axis] = 1;
        Ok(shape)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::prod(ctx.input(0), ctx.output(), self.axis);
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(ctx.input(0).apply(Prod {
            axis: self.axis + 1,
        }))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (x, g) = (ctx.input(0), ctx.cotangent());
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let n = x.size(self.axis as isize);
        if (inner == 1 && n > 0) || (inner >= MANY_COLUMNS && (1..=FEW_FACTORS).contains(&n)) {
            return small![Some(x.tape().apply(ProdGrad { axis: self.axis }, &[x, g]))];
        }
        partials(ctx.inputs(), ctx.needs, g, |v| v[0].prod_tree(self.axis))
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Product of all elements; 1 over nothing.
    #[track_caller]
    pub fn prod(self) -> Self {
        let n = self.numel();
        self.reshape([n]).prod_axis(0, false)
    }

    /// Product over some axes; 1 over nothing. The derivatives are products of the other factors, without a division: exact
    /// at zeros, to any order.
    #[track_caller]
    pub fn prod_dim(self, axes: impl IntoAxes, keepdim: bool) -> Self {
        let set = self.set("prod", axes);
        let mut x = self;
        for axis in (0..self.rank()).rev().filter(|a| set >> a & 1 == 1) {
            x = x.prod_axis(axis, keepdim);
        }
        x
    }

    #[track_caller]
    fn prod_axis(self, axis: usize, keepdim: bool) -> Self {
        let y = self.apply(Prod { axis });
        if keepdim { y } else { y.squeeze(axis as isize) }
    }

    /// [`Prod`], composed of multiplications.
    fn prod_tree(self, axis: usize) -> Self {
        let mut x = self;
        let mut shape = x.shape();
        if shape[axis] == 0 {
            shape[axis] = 1;
            x = self.tape().ones(shape);
        }
        let axis = axis as isize;
        while x.size(axis) > 1 {
            let n = x.size(axis);
            let half = n / 2;
            let pairs = x.narrow(axis, 0, half) * x.narrow(axis, half, 2 * half);
            x = if n % 2 == 1 {
                Var::cat(&[pairs, x.narrow(axis, n - 1, n)], axis)
            } else {
                pairs
            };
        }
        x
    }
}
