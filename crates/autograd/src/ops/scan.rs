//! Running sums, products and recurrences along an axis.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::compose::partials;
use crate::var::Var;
use wengert_tensor::scan::{running_product_cotangents, running_products, running_sums};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    ScanKernels {
        fn running(x: &Tensor<Self>, out: &mut [Self], axis: usize, way: Way) = running;
        fn cumprod_grad(x: &Tensor<Self>, y: &Tensor<Self>, g: &Tensor<Self>, out: &mut [Self]) = cumprod_grad;
        fn recurrence(a: &Tensor<Self>, b: &Tensor<Self>, out: &mut [Self], axis: usize, reverse: bool) = recurrence;
        fn logcumsumexp(x: &Tensor<Self>, out: &mut [Self], axis: usize) = logcumsumexp;
    }
}

/// Sizes of the scanned axis and of what lies inside it.
fn extents(shape: &[usize], axis: usize) -> (usize, usize) {
    (shape[axis], shape[axis + 1..].iter().product())
}

/// Positions `0, 1, …` or `n - 1, n - 2, …` of an axis.
fn order(n: usize, reverse: bool) -> impl Iterator<Item = usize> {
    (0..n).map(move |k| if reverse { n - 1 - k } else { k })
}

/// What runs along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// The sum, from the start or from the end.
    Sum {
        /// From the end.
        reverse: bool,
    },
    /// The product.
    Product,
}
impl Way {
    fn reverse(self) -> bool {
        self == Way::Sum { reverse: true }
    }
    /// What is there before the first element.
    fn none(self) -> f64 {
        if self == Way::Product { 1.0 } else { 0.0 }
    }
}

fn running<T: Real>(x: &Tensor<T>, out: &mut [T], axis: usize, way: Way) {
    let (n, inner) = extents(x.shape(), axis);
    if out.is_empty() {
        return;
    }
    let row = n * inner;
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    if inner == 1 {
        let grain = (parallel::GRAIN / 8).div_ceil(row).next_multiple_of(4) * row;
        parallel::chunks_mut(out, grain, |chunk, part| {
            let x = &x[chunk * grain..][..part.len()];
            match way {
                Way::Sum { reverse } => running_sums(x, part, n, reverse),
                Way::Product => running_products(x, part, n),
            }
        });
        return;
    }
    if row == x.len() {
        // One matrix: tasks take columns of it.
        let columns = (parallel::GRAIN / 4).div_ceil(n).next_multiple_of(COLUMNS);
        parallel::bands([(out, 1)], inner, columns, |first, count, [mut out]| {
            for c in (0..count).step_by(COLUMNS) {
                let b = COLUMNS.min(count - c);
                let mut carry = [way.none(); COLUMNS];
                for k in order(n, way.reverse()) {
                    let x = &x[k * inner + first + c..][..b];
                    cum_row(&mut carry, x, &mut out.at_mut(k)[c..c + b], way);
                }
            }
        });
        return;
    }
    let grain = (parallel::GRAIN / 2).div_ceil(row) * row;
    parallel::chunks_mut(out, grain, |chunk, part| {
        let x = &x[chunk * grain..][..part.len()];
        for (r, x) in part.chunks_exact_mut(row).zip(x.chunks_exact(row)) {
            for c in (0..inner).step_by(COLUMNS) {
                let b = COLUMNS.min(inner - c);
                let mut carry = [way.none(); COLUMNS];
                for k in order(n, way.reverse()) {
                    let at = k * inner + c..k * inner + c + b;
                    cum_row(&mut carry, &x[at.clone()], &mut r[at], way);
                }
            }
        }
    });
}

/// Columns that are worked on side by side.
const COLUMNS: usize = 64;

/// One step of running sums or products along columns, carried in f64: rounding does not build up along the axis.
#[inline]
fn cum_row<T: Real>(carry: &mut [f64; COLUMNS], x: &[T], y: &mut [T], way: Way) {
    let all = carry.iter_mut().zip(y).zip(x);
    if way == Way::Product {
        for ((s, y), x) in all {
            *s *= x.as_f64();
            *y = T::from_f64(*s);
        }
    } else {
        for ((s, y), x) in all {
            *s += x.as_f64();
            *y = T::from_f64(*s);
        }
    }
}

/// Along the last axis; all of one shape.
fn cumprod_grad<T: Real>(x: &Tensor<T>, y: &Tensor<T>, g: &Tensor<T>, out: &mut [T]) {
    let n = x.shape().last().copied().unwrap_or(1);
    let (x, y, g) = (x.contiguous(), y.contiguous(), g.contiguous());
    let x = x.as_slice().expect("made contiguous above");
    let y = y.as_slice().expect("made contiguous above");
    let g = g.as_slice().expect("made contiguous above");
    let grain = (parallel::GRAIN / 8).div_ceil(n.max(1)).next_multiple_of(8) * n;
    parallel::chunks_mut(out, grain, |chunk, part| {
        let at = chunk * grain..chunk * grain + part.len();
        let (x, y, g) = (&x[at.clone()], &y[at.clone()], &g[at]);
        running_product_cotangents(x, y, g, part, n);
    });
}

fn recurrence<T: Real>(a: &Tensor<T>, b: &Tensor<T>, out: &mut [T], axis: usize, reverse: bool) {
    let (n, inner) = extents(b.shape(), axis);
    b.copy_into(out);
    if out.is_empty() || n == 1 {
        return;
    }
    let a = a.contiguous();
    let a = a.as_slice().expect("made contiguous above");
    let row = n * inner;
    let grain = parallel::GRAIN.div_ceil(row) * row;
    parallel::chunks_mut(out, grain, |chunk, part| {
        let a = &a[chunk * grain..][..part.len()];
        for (r, a) in part.chunks_exact_mut(row).zip(a.chunks_exact(row)) {
            for k in 1..n {
                // Forward: h[k] += a[k] h[k-1]. Reverse: h[k] += a[k+1] h[k+1], from the end.
                let (to, from, factor) = if reverse {
                    (n - 1 - k, n - k, n - k)
                } else {
                    (k, k - 1, k)
                };
                let (low, high) = r.split_at_mut(to.max(from) * inner);
                let (to, from) = if reverse {
                    (&mut low[to * inner..][..inner], &high[..inner])
                } else {
                    (&mut high[..inner], &low[from * inner..][..inner])
                };
                let a = &a[factor * inner..][..inner];
                for i in 0..inner {
                    to[i] += a[i] * from[i];
                }
            }
        }
    });
}

fn logcumsumexp<T: Real>(x: &Tensor<T>, out: &mut [T], axis: usize) {
    let (n, inner) = extents(x.shape(), axis);
    x.copy_into(out);
    if out.is_empty() {
        return;
    }
    let row = n * inner;
    let grain = (parallel::GRAIN / 8).div_ceil(row) * row;
    parallel::chunks_mut(out, grain, |_, part| {
        for r in part.chunks_exact_mut(row) {
            for c in 0..inner {
                // ln Σ = m + ln s with the running maximum m.
                let (mut m, mut s) = (f64::NEG_INFINITY, 0.0f64);
                for k in 0..n {
                    let x = r[k * inner + c].as_f64();
                    if x > m || x.is_nan() {
                        s = if m == f64::NEG_INFINITY {
                            1.0
                        } else {
                            s * (m - x).exp() + 1.0
                        };
                        m = x;
                    } else if x == m {
                        s += if x == f64::NEG_INFINITY { 0.0 } else { 1.0 };
                    } else {
                        s += (x - m).exp();
                    }
                    r[k * inner + c] = T::from_f64(if m.is_infinite() { m } else { m + s.ln() });
                }
            }
        }
    });
}

/// Running sum, from the start or from the end.
#[derive(Debug, PartialEq)]
struct CumSum {
    axis: usize,
    reverse: bool,
}
impl<T: Float> Op<T> for CumSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let reverse = self.reverse;
        T::running(ctx.input(0), ctx.output(), self.axis, Way::Sum { reverse });
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent().apply(CumSum {
            axis: self.axis,
            reverse: !self.reverse
        }))]
    }
}

/// Running product from the start.
#[derive(Debug, PartialEq)]
struct CumProd {
    axis: usize,
}
impl<T: Float> Op<T> for CumProd {
    fn name(&self) -> &'static str {
        "cumprod"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::running(ctx.input(0), ctx.output(), self.axis, Way::Product);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (x, y, g) = (ctx.input(0), ctx.output(), ctx.cotangent());
        small![Some(if self.axis + 1 == x.rank() {
            x.tape().apply(CumProdGrad, &[x, y, g])
        } else {
            cumprod_cotangent(x, y, g, self.axis)
        })]
    }
}

/// y\[k-1\] h\[k\] with h\[k\] = g\[k\] + x\[k+1\] h\[k+1\]: no division, so zeros need no care.
fn cumprod_cotangent<'t, T: Float>(
    x: Var<'t, T>,
    y: Var<'t, T>,
    g: Var<'t, T>,
    axis: usize,
) -> Var<'t, T> {
    let reverse = true;
    y.delayed(axis, 1.0) * x.tape().apply(Recurrence { axis, reverse }, &[x, g])
}

/// [`cumprod_cotangent`] along the last axis, for factors, products and the cotangent of these.
#[derive(Debug, PartialEq)]
struct CumProdGrad;
impl<T: Float> Op<T> for CumProdGrad {
    fn name(&self) -> &'static str {
        "cumprod_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::cumprod_grad(ctx.input(0), ctx.input(1), ctx.input(2), ctx.output());
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        partials(ctx.inputs(), ctx.needs, ctx.cotangent(), |v| {
            cumprod_cotangent(v[0], v[1], v[2], v[0].rank() - 1)
        })
    }
}

/// h\[k\] = b\[k\] + a\[k\] h\[k-1\], or its adjoint h\[k\] = b\[k\] + a\[k+1\] h\[k+1\].
#[derive(Debug, PartialEq)]
struct Recurrence {
    axis: usize,
    reverse: bool,
}
impl<T: Float> Op<T> for Recurrence {
    fn name(&self) -> &'static str {
        "linear_recurrence"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        if inputs[0] != inputs[1] {
            return Err(shape_error(
                "linear_recurrence",
                format!(
                    "factors of shape {:?} and terms of shape {:?} must have one shape",
                    inputs[0], inputs[1]
                ),
            ));
        }
        Ok(Dims::from_slice(inputs[1]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (a, b) = (ctx.input(0), ctx.input(1));
        T::recurrence(a, b, ctx.output(), self.axis, self.reverse);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (a, h, g) = (ctx.input(0), ctx.output(), ctx.cotangent());
        let adjoint = Recurrence {
            axis: self.axis,
            reverse: !self.reverse,
        };
        let db = g.tape().apply(adjoint, &[a, g]);
        let da = ctx.needs(0).then(|| {
            let (ahead, behind) = if self.reverse { (h, db) } else { (db, h) };
            // The first factor is not used: its derivative is 0, not a product, which may be ∞ · 0.
            let (axis, n) = (self.axis as isize, h.shape()[self.axis]);
            if n == 0 {
                return ahead;
            }
            (ahead.narrow(axis, 1, n) * behind.narrow(axis, 0, n - 1)).headed(self.axis, 0.0)
        });
        small![da, Some(db)]
    }
}

#[derive(Debug, PartialEq)]
struct LogCumSumExp {
    axis: usize,
}
impl<T: Float> Op<T> for LogCumSumExp {
    fn name(&self) -> &'static str {
        "logcumsumexp"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::logcumsumexp(ctx.input(0), ctx.output(), self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (x, y, g) = (ctx.input(0), ctx.output(), ctx.cotangent());
        if y.shape()[self.axis] == 0 {
            return small![Some(g)];
        }
        // y[k] = ln(e^y[k-1] + e^x[k]): the factors e^(y[k-1] - y[k]) and e^(x[k] - y[k]) are at most 1. Where nothing
        // but -∞ was met so far, both are 0. Behind +∞ the first is 1: later elements change nothing.
        let before = y.delayed(self.axis, f64::NEG_INFINITY);
        let endless = y.eq_scalar(f64::INFINITY);
        let y = y.mask_not(y.eq_scalar(f64::NEG_INFINITY));
        // The same values, constant at ∞, whose NaN must not reach what stands before.
        let y = y.masked_fill(endless, f64::INFINITY);
        let behind = before.eq(y).logical_and(endless);
        let a = (before - y).mask_not(behind).exp();
        let own = (x - y).exp();
        let op = Recurrence {
            axis: self.axis,
            reverse: true,
        };
        small![Some(own * g.tape().apply(op, &[a, g]))]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Shifted by one along an axis; `first` enters at the start.
    #[track_caller]
    fn delayed(self, axis: usize, first: f64) -> Self {
        match self.shape()[axis] {
            0 => self,
            n => (self.narrow(axis as isize, 0, n - 1)).headed(axis, first),
        }
    }

    /// Behind a slice of `first` along an axis.
    #[track_caller]
    fn headed(self, axis: usize, first: f64) -> Self {
        let mut shape = self.shape();
        shape[axis] = 1;
        Var::cat(&[self.tape().full(shape, first), self], axis as isize)
    }

    /// Running sum along an axis: y\[k\] = x\[0\] + … + x\[k\], carried in f64.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn cumsum(self, axis: isize) -> Self {
        let (x, axis) = self.line("cumsum", axis);
        let op = CumSum {
            axis,
            reverse: false,
        };
        x.apply(op).unlined(self)
    }

    /// Running product along an axis: y\[k\] = x\[0\] · … · x\[k\], carried in f64. The derivatives are exact at zeros,
    /// to any order.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn cumprod(self, axis: isize) -> Self {
        let (x, a) = self.line("cumprod", axis);
        if x.shape()[a] <= 1 {
            return self;
        }
        x.apply(CumProd { axis: a }).unlined(self)
    }

    /// ln Σ e^x over the elements up to and including each along an axis, stable.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn logcumsumexp(self, axis: isize) -> Self {
        let (x, axis) = self.line("logcumsumexp", axis);
        x.apply(LogCumSumExp { axis }).unlined(self)
    }

    /// First-order linear recurrence along an axis: h\[0\] = b\[0\], h\[k\] = b\[k\] + a\[k\] h\[k-1\], with the factors
    /// a = `self` (a\[0\] is not used) and the terms `b`.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let a = tape.full([3], 0.5);
    /// let b = tape.input(&Tensor::from_vec(vec![4.0, 0.0, 1.0], [3]));
    /// assert_eq!(a.linear_recurrence(b, 0).value().to_vec(), [4.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When the axis is out of range or the shapes differ.
    #[track_caller]
    pub fn linear_recurrence(self, b: Self, axis: isize) -> Self {
        assert!(
            self.rank() == b.rank(),
            "linear_recurrence: factors of shape {:?} and terms of shape {:?} differ",
            self.shape().as_slice(),
            b.shape().as_slice()
        );
        let (a, axis) = self.line("linear_recurrence", axis);
        let op = Recurrence {
            axis,
            reverse: false,
        };
        self.tape().apply(op, &[a, b.as_line()]).unlined(b)
    }
}
