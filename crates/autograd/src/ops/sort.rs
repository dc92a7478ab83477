//! Order: largest and smallest with their places, sorting, the largest few, medians and quantiles.
//!
//! Places are integers that depend on the data. So methods that return them evaluate their input at once ([`Var::value`]),
//! find the places, and record a gather: the values stay differentiable to any order, the places come as `Tensor<i64>`.
//! Methods that return values only record an operation that finds the places when it runs, and again in its derivative.
//!
//! NaN counts as larger than everything (it sorts last, and is the maximum); minima, medians and quantiles of a line
//! that holds a NaN are that NaN. Equal values keep their order, and the first of them wins.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::ops::compiled_here;
use crate::ops::index::Gather;
use crate::var::Var;
use wengert_tensor::fused::extreme_of;
use wengert_tensor::simd::{Isa, Kernel, dispatch_narrow};
use wengert_tensor::sort::{Use, Wanted, in_order};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    SortKernels {
        fn extreme(x: &Tensor<Self>, axis: usize, largest: bool) -> Tensor<i64> = extreme;
        fn in_order(x: &Tensor<Self>, axis: usize, wanted: Wanted, to: Use<'_, Self>) = in_order;
    }
}

/// Places of the wanted elements of each line.
fn places<T: Float>(x: &Tensor<T>, axis: usize, wanted: Wanted) -> Tensor<i64> {
    let mut shape = Dims::from_slice(x.shape());
    shape[axis] = wanted.count();
    let mut places = Tensor::<i64>::zeros(shape);
    T::in_order(x, axis, wanted, Use::Places(places.as_mut_slice()));
    places
}

/// Place of the first of the largest (or smallest) elements, of the first NaN if there is one.
struct Extreme<'a, T: Real>(&'a [T], bool);
impl<T: Real> Kernel for Extreme<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self) -> usize {
        const B: usize = 64;
        let x = self.0;
        let best = extreme_of::<T, I>(x, self.1);
        let nan = best.is_nan();
        let hit = |v: T| v == best || (nan && v.is_nan());
        let chunks = x.chunks_exact(B);
        let mut at = x.len() - chunks.remainder().len();
        for (i, c) in chunks.enumerate() {
            // Without an early end inside a chunk, so that it is one comparison per vector.
            if c.iter().fold(false, |any, &v| any | hit(v)) {
                at = i * B;
                break;
            }
        }
        at + x[at..].iter().position(|&v| hit(v)).unwrap_or(0)
    }
}

fn extreme<T: Real>(x: &Tensor<T>, axis: usize, largest: bool) -> Tensor<i64> {
    // Lines side by side in memory.
    let x = x.transpose(axis as isize, -1).contiguous();
    let n = x.shape()[x.rank() - 1];
    let mut shape = Dims::from_slice(x.shape());
    *shape.last_mut().expect("the axis was checked") = 1;
    let mut out = Tensor::<i64>::zeros(shape);
    let data = x.as_slice().expect("made contiguous above");
    let some = (parallel::GRAIN / 8).div_ceil(n.max(1));
    parallel::chunks_mut(out.as_mut_slice(), some, |chunk, places| {
        for (i, place) in places.iter_mut().enumerate() {
            let line = &data[(chunk * some + i) * n..][..n];
            *place = dispatch_narrow(Extreme(line, largest)) as i64;
        }
    });
    out.transpose(axis as isize, -1)
}

/// Elements of the second operand at places that the order of the first one names.
#[derive(Debug, PartialEq, Clone, Copy)]
struct InOrder {
    axis: usize,
    wanted: Wanted,
}
impl<T: Float> Op<T> for InOrder {
    fn name(&self) -> &'static str {
        "in_order"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[1]);
        s[self.axis] = self.wanted.count();
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, y) = (ctx.input(0), ctx.input(1));
        T::in_order(x, self.axis, self.wanted, Use::Take(y, ctx.output()));
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let back = FromOrder(*self);
        let g = (ctx.cotangent().tape()).apply(back, &[ctx.input(0), ctx.cotangent()]);
        small![None, Some(g)]
    }
}

/// The adjoint of [`InOrder`]: zeros with the second operand at those places.
#[derive(Debug, PartialEq)]
struct FromOrder(InOrder);
impl<T: Float> Op<T> for FromOrder {
    fn name(&self) -> &'static str {
        "from_order"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, g) = (ctx.input(0), ctx.input(1));
        T::in_order(x, self.0.axis, self.0.wanted, Use::Put(g, ctx.output()));
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let g = (ctx.cotangent().tape()).apply(self.0, &[ctx.input(0), ctx.cotangent()]);
        small![None, Some(g)]
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    fn in_order(self, axis: usize, wanted: Wanted) -> Self {
        self.tape().apply(InOrder { axis, wanted }, &[self, self])
    }

    /// The elements of each line along an axis in order, without their places: [`Var::sort`] that evaluates nothing.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn sort_values(self, axis: isize, descending: bool) -> Self {
        let (x, a) = self.line("sort_values", axis);
        let count = x.shape()[a];
        (x.in_order(a, Wanted::First { count, descending })).unlined(self)
    }

    /// The `k` largest (or smallest) elements along an axis, in order, without their places: [`Var::topk`] that
    /// evaluates nothing.
    ///
    /// # Panics
    /// When the axis is out of range or shorter than `k`.
    #[track_caller]
    pub fn topk_values(self, k: usize, axis: isize, largest: bool) -> Self {
        let (x, a) = self.topk_line(k, axis);
        let (count, descending) = (k, largest);
        (x.in_order(a, Wanted::First { count, descending })).unlined(self)
    }

    #[track_caller]
    fn topk_line(self, k: usize, axis: isize) -> (Self, usize) {
        let (x, a) = self.line("topk", axis);
        let s = x.shape();
        assert!(
            k <= s[a] && (k > 0 || self.rank() > 0),
            "topk: k = {k} does not fit axis {axis} of shape {:?}",
            self.shape().as_slice()
        );
        (x, a)
    }

    #[track_caller]
    fn some_line(self, op: &'static str, axis: isize) -> (Self, usize) {
        let (x, a) = self.line(op, axis);
        let s = x.shape();
        assert!(
            s[a] > 0,
            "{op}: expected at least one element along axis {axis}, found shape {:?}",
            s.as_slice()
        );
        (x, a)
    }

    #[track_caller]
    fn extreme(self, op: &'static str, axis: isize, largest: bool) -> (Self, usize, Tensor<i64>) {
        let (x, a) = self.some_line(op, axis);
        (x, a, T::extreme(&x.value(), a, largest))
    }

    /// [`Var::extreme`], only the places.
    #[track_caller]
    fn extreme_place(
        self,
        op: &'static str,
        axis: isize,
        largest: bool,
        keepdim: bool,
    ) -> Tensor<i64> {
        let (_, a, places) = self.extreme(op, axis, largest);
        if keepdim {
            return self.unlined_places(places);
        }
        places.select(a as isize, 0)
    }

    /// [`Var::gather`] at places that need no check.
    #[track_caller]
    fn at_places(self, axis: usize, places: &Tensor<i64>) -> Self {
        let places = self.tape().int_input(places);
        self.tape().apply(Gather { axis }, &[self, places])
    }

    #[track_caller]
    fn pick(
        self,
        line: Self,
        axis: usize,
        places: Tensor<i64>,
        keepdim: bool,
    ) -> (Self, Tensor<i64>) {
        let y = line.at_places(axis, &places);
        if keepdim {
            (y.unlined(self), self.unlined_places(places))
        } else {
            (y.squeeze(axis as isize), places.select(axis as isize, 0))
        }
    }

    /// Place of the largest element along an axis; the first of equals, the first NaN if there is one. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn argmax(self, axis: isize, keepdim: bool) -> Tensor<i64> {
        self.extreme_place("argmax", axis, true, keepdim)
    }

    /// Place of the smallest element along an axis; the first of equals, the first NaN if there is one. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn argmin(self, axis: isize, keepdim: bool) -> Tensor<i64> {
        self.extreme_place("argmin", axis, false, keepdim)
    }

    /// Largest element along an axis, and its place: the gradient goes to that place alone (the first of equals; see
    /// [`Var::amax_dim`] for equal shares). Evaluates `self`.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 5.0, 5.0, 0.0, -2.0, -1.0], [2, 3]));
    /// let (y, places) = x.max_dim(1, false);
    /// assert_eq!((y.value().to_vec(), places.to_vec()), (vec![5.0, 0.0], vec![1, 0]));
    /// ```
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn max_dim(self, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let (x, a, places) = self.extreme("max", axis, true);
        self.pick(x, a, places, keepdim)
    }

    /// Smallest element along an axis, and its place; see [`Var::max_dim`]. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn min_dim(self, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let (x, a, places) = self.extreme("min", axis, false);
        self.pick(x, a, places, keepdim)
    }

    /// Places that sort an axis, stable. NaN comes last when ascending, first when descending. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn argsort(self, axis: isize, descending: bool) -> Tensor<i64> {
        let (x, a) = self.line("argsort", axis);
        self.unlined_places(x.sorted(a, x.shape()[a], descending))
    }

    fn sorted(self, axis: usize, count: usize, descending: bool) -> Tensor<i64> {
        places(&self.value(), axis, Wanted::First { count, descending })
    }

    /// The elements of each line along an axis in order, and their former places. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn sort(self, axis: isize, descending: bool) -> (Self, Tensor<i64>) {
        let (x, a) = self.line("sort", axis);
        let places = x.sorted(a, x.shape()[a], descending);
        let y = x.at_places(a, &places).unlined(self);
        (y, self.unlined_places(places))
    }

    /// The `k` largest (or smallest) elements along an axis, in order, and their places. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or shorter than `k`.
    #[track_caller]
    pub fn topk(self, k: usize, axis: isize, largest: bool) -> (Self, Tensor<i64>) {
        let (x, a) = self.topk_line(k, axis);
        let places = x.sorted(a, k, largest);
        let y = x.at_places(a, &places).unlined(self);
        (y, self.unlined_places(places))
    }

    /// The `k`-th smallest element along an axis (`k` counts from 1, as in PyTorch), and its place. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range, or `k` is 0 or more than its size.
    #[track_caller]
    pub fn kthvalue(self, k: usize, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let (x, a) = self.some_line("kthvalue", axis);
        let s = x.shape();
        assert!(
            (1..=s[a]).contains(&k),
            "kthvalue: expected k in 1..={} for axis {axis} of shape {:?}, found {k}",
            s[a],
            s.as_slice()
        );
        let places = places(&x.value(), a, Wanted::Ranks([k - 1; 2]));
        self.pick(x, a, places.narrow(a as isize, 0, 1), keepdim)
    }

    /// Median along an axis, and its place: of an even number of elements the lower of the two in the middle, as in
    /// PyTorch ([`Var::quantile_dim`] at ½ is their mean). NaN if there is one. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn median_dim(self, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let (x, a) = self.some_line("median", axis);
        let middle = (x.shape()[a] - 1) / 2;
        let places = places(&x.value(), a, Wanted::RanksOrNan([middle; 2]));
        self.pick(x, a, places.narrow(a as isize, 0, 1), keepdim)
    }

    /// Median of all elements (the lower of two); see [`Var::median_dim`].
    ///
    /// # Panics
    /// Over nothing.
    #[track_caller]
    pub fn median(self) -> Self {
        let n = self.numel();
        let (x, a) = self.reshape([n]).some_line("median", 0);
        x.in_order(a, Wanted::RanksOrNan([(n - 1) / 2; 2]))
            .select(0, 0)
    }

    /// Quantile `q` of all elements; see [`Var::quantile_dim`].
    ///
    /// # Panics
    /// Over nothing, or when `q` is not in [0, 1].
    #[track_caller]
    pub fn quantile(self, q: f64) -> Self {
        self.reshape([self.numel()]).quantile_dim(q, 0, false)
    }

    /// Quantile `q` along an axis: the element at rank q (n - 1) of the sorted line, interpolated linearly between
    /// neighbours. NaN if there is one.
    ///
    /// # Panics
    /// When the axis is out of range or empty, or `q` is not in [0, 1].
    #[track_caller]
    pub fn quantile_dim(self, q: f64, axis: isize, keepdim: bool) -> Self {
        assert!(
            (0.0..=1.0).contains(&q),
            "quantile: expected q in [0, 1], found {q}"
        );
        let (x, a) = self.some_line("quantile", axis);
        let last = x.shape()[a] - 1;
        let rank = q * last as f64;
        let low = (rank.floor() as usize).min(last);
        let high = (low + 1).min(last);
        let weight = rank - low as f64;
        let both = x.in_order(a, Wanted::RanksOrNan([low, high]));
        let [low, high] = [0, 1].map(|k| both.narrow(a as isize, k, k + 1));
        let y = if weight == 0.0 {
            low
        } else {
            low.lerp(high, self.tape().scalar(weight))
        };
        if keepdim {
            y.unlined(self)
        } else {
            y.squeeze(a as isize)
        }
    }
}
