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
use crate::var::Var;
use wengert_tensor::error::OrPanic;
use wengert_tensor::fused::extreme_of;
use wengert_tensor::simd::{Isa, Kernel, dispatch_narrow};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel, shape};

compiled_here! {
    /// Kernels of this file.
    SortKernels {
        fn extreme(x: &Tensor<Self>, axis: usize, largest: bool) -> Tensor<i64> = extreme;
        fn sorted_places(x: &Tensor<Self>, axis: usize, from: usize, to: usize, descending: bool) -> Tensor<i64>
            = sorted_places;
        fn rank_places(x: &Tensor<Self>, axis: usize, ranks: [usize; 2]) -> Tensor<i64> = rank_places;
    }
}

/// A number that orders as `v` does, ascending with NaN last; equal values (so 0 and -0, or two NaN) have equal numbers.
#[inline(always)]
fn rank(v: f64) -> u64 {
    if v.is_nan() {
        return u64::MAX;
    }
    // Without the sign of zero.
    let bits = (v + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// Each element's [`rank`] with its place, which decides between equal ones: so an unstable sort gives the stable order.
pub(crate) fn ranks<T: Real>(line: &[T], descending: bool) -> Vec<(u64, i64)> {
    let flip = if descending { u64::MAX } else { 0 };
    (line.iter().enumerate())
        .map(|(i, v)| (rank(v.as_f64()) ^ flip, i as i64))
        .collect()
}

/// The `count` smallest in order. One function for all element types and directions.
#[inline(never)]
pub(crate) fn sort_first(all: &mut Vec<(u64, i64)>, count: usize) {
    if count < all.len() {
        all.select_nth_unstable(count);
        all.truncate(count);
    }
    all.sort_unstable();
}

/// Lines along an axis, side by side in memory: the tensor with that axis last, contiguous.
fn lines<T: Real>(x: &Tensor<T>, axis: usize) -> Tensor<T> {
    x.transpose(axis as isize, -1).contiguous()
}

/// `f(line, places)` for each line, where `places` are `k` numbers to fill; they become axis `axis` of the result.
fn per_line<T: Real>(
    x: &Tensor<T>,
    axis: usize,
    k: usize,
    f: impl Fn(&[T], &mut [i64]) + Sync,
) -> Tensor<i64> {
    let x = lines(x, axis);
    let n = x.shape()[x.rank() - 1];
    let mut shape = x.layout().shape.clone();
    *shape.last_mut().expect("the axis was checked") = k;
    let mut out = Tensor::<i64>::zeros(shape);
    let data = x.as_slice().expect("made contiguous above");
    if out.numel() > 0 {
        let grain = (parallel::GRAIN / 8).div_ceil(n.max(1)).max(1);
        parallel::chunks_mut(out.as_mut_slice(), grain * k, |chunk, part| {
            for (i, places) in part.chunks_exact_mut(k).enumerate() {
                f(&data[(chunk * grain + i) * n..][..n], places);
            }
        });
    }
    out.transpose(axis as isize, -1)
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
    per_line(x, axis, 1, |line, place| {
        place[0] = dispatch_narrow(Extreme(line, largest)) as i64;
    })
}

/// Places `from..to` of the sorted order.
fn sorted_places<T: Real>(
    x: &Tensor<T>,
    axis: usize,
    from: usize,
    to: usize,
    descending: bool,
) -> Tensor<i64> {
    per_line(x, axis, to - from, |line, places| {
        let mut all = ranks(line, descending);
        sort_first(&mut all, to);
        for (place, r) in places.iter_mut().zip(&all[from..to]) {
            *place = r.1;
        }
    })
}

/// Places of two neighbouring ranks; of the first NaN, for both, where there is one.
fn rank_places<T: Real>(x: &Tensor<T>, axis: usize, wanted: [usize; 2]) -> Tensor<i64> {
    per_line(x, axis, 2, |line, places| {
        if let Some(i) = line.iter().position(|v| v.is_nan()) {
            places.fill(i as i64);
            return;
        }
        places.copy_from_slice(&neighbours(ranks(line, false), wanted));
    })
}

/// Places of the elements of two neighbouring ranks.
#[inline(never)]
fn neighbours(mut all: Vec<(u64, i64)>, wanted: [usize; 2]) -> [i64; 2] {
    let (_, &mut low, above) = all.select_nth_unstable(wanted[0]);
    let high = match wanted[1] == wanted[0] {
        true => low,
        false => *above
            .iter()
            .min()
            .expect("the upper rank is below the length"),
    };
    [low.1, high.1]
}

/// Which places of a line are taken.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Places {
    /// Ranks `from..to` of the sorted order.
    Sorted {
        from: usize,
        to: usize,
        descending: bool,
    },
    /// Two neighbouring ranks, or the first NaN.
    Ranks([usize; 2]),
}

impl Places {
    fn count(self) -> usize {
        match self {
            Places::Sorted { from, to, .. } => to - from,
            Places::Ranks(_) => 2,
        }
    }

    fn of<T: Float>(self, x: &Tensor<T>, axis: usize) -> Tensor<i64> {
        match self {
            Places::Sorted {
                from,
                to,
                descending,
            } => T::sorted_places(x, axis, from, to, descending),
            Places::Ranks(ranks) => T::rank_places(x, axis, ranks),
        }
    }
}

/// Elements of the second operand at places that the order of the first one names.
#[derive(Debug, PartialEq, Clone, Copy)]
struct InOrder {
    axis: usize,
    places: Places,
}
impl<T: Float> Op<T> for InOrder {
    fn name(&self) -> &'static str {
        "in_order"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[1]);
        s[self.axis] = self.places.count();
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let places = self.places.of(ctx.input(0), self.axis);
        let x = ctx.input(1);
        T::gather(x, &places, ctx.output(), self.axis);
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
        let InOrder { axis, places } = self.0;
        let places = places.of(ctx.input(0), axis);
        let (g, shape) = (ctx.input(1), ctx.shape());
        T::scatter_add(g, &places, ctx.output(), shape, axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let g = (ctx.cotangent().tape()).apply(self.0, &[ctx.input(0), ctx.cotangent()]);
        small![None, Some(g)]
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[track_caller]
    fn in_order(self, axis: usize, places: Places) -> Self {
        self.tape().apply(InOrder { axis, places }, &[self, self])
    }

    /// The elements of each line along an axis in order, without their places: [`Var::sort`] that evaluates nothing.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn sort_values(self, axis: isize, descending: bool) -> Self {
        let a = shape::axis("sort_values", axis, self.rank()).or_panic();
        let (from, to) = (0, self.shape()[a]);
        self.in_order(
            a,
            Places::Sorted {
                from,
                to,
                descending,
            },
        )
    }

    /// The `k` largest (or smallest) elements along an axis, in order, without their places: [`Var::topk`] that
    /// evaluates nothing.
    ///
    /// # Panics
    /// When the axis is out of range or shorter than `k`.
    #[track_caller]
    pub fn topk_values(self, k: usize, axis: isize, largest: bool) -> Self {
        let a = self.topk_axis(k, axis);
        let descending = largest;
        self.in_order(
            a,
            Places::Sorted {
                from: 0,
                to: k,
                descending,
            },
        )
    }

    #[track_caller]
    fn topk_axis(self, k: usize, axis: isize) -> usize {
        let a = shape::axis("topk", axis, self.rank()).or_panic();
        let s = self.shape();
        assert!(
            k <= s[a],
            "topk: k = {k} is more than the size of axis {axis} of shape {:?}",
            s.as_slice()
        );
        a
    }

    #[track_caller]
    fn line_axis(self, op: &'static str, axis: isize) -> usize {
        let a = shape::axis(op, axis, self.rank()).or_panic();
        let s = self.shape();
        assert!(
            s[a] > 0,
            "{op}: expected at least one element along axis {axis}, found shape {:?}",
            s.as_slice()
        );
        a
    }

    #[track_caller]
    fn extreme(self, op: &'static str, axis: isize, largest: bool) -> (usize, Tensor<i64>) {
        let a = self.line_axis(op, axis);
        (a, T::extreme(&self.value(), a, largest))
    }

    #[track_caller]
    fn pick(self, axis: usize, places: Tensor<i64>, keepdim: bool) -> (Self, Tensor<i64>) {
        let y = self.gather(axis as isize, &places);
        if keepdim {
            (y, places)
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
        let (a, places) = self.extreme("argmax", axis, true);
        if keepdim {
            places
        } else {
            places.select(a as isize, 0)
        }
    }

    /// Place of the smallest element along an axis; the first of equals, the first NaN if there is one. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn argmin(self, axis: isize, keepdim: bool) -> Tensor<i64> {
        let (a, places) = self.extreme("argmin", axis, false);
        if keepdim {
            places
        } else {
            places.select(a as isize, 0)
        }
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
        let (a, places) = self.extreme("max", axis, true);
        self.pick(a, places, keepdim)
    }

    /// Smallest element along an axis, and its place; see [`Var::max_dim`]. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn min_dim(self, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let (a, places) = self.extreme("min", axis, false);
        self.pick(a, places, keepdim)
    }

    /// Places that sort an axis, stable. NaN comes last when ascending, first when descending. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn argsort(self, axis: isize, descending: bool) -> Tensor<i64> {
        let a = shape::axis("argsort", axis, self.rank()).or_panic();
        T::sorted_places(&self.value(), a, 0, self.shape()[a], descending)
    }

    /// The elements of each line along an axis in order, and their former places. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn sort(self, axis: isize, descending: bool) -> (Self, Tensor<i64>) {
        let a = shape::axis("sort", axis, self.rank()).or_panic();
        let places = T::sorted_places(&self.value(), a, 0, self.shape()[a], descending);
        (self.gather(axis, &places), places)
    }

    /// The `k` largest (or smallest) elements along an axis, in order, and their places. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or shorter than `k`.
    #[track_caller]
    pub fn topk(self, k: usize, axis: isize, largest: bool) -> (Self, Tensor<i64>) {
        let a = self.topk_axis(k, axis);
        let places = T::sorted_places(&self.value(), a, 0, k, largest);
        (self.gather(axis, &places), places)
    }

    /// The `k`-th smallest element along an axis (`k` counts from 1, as in PyTorch), and its place. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range, or `k` is 0 or more than its size.
    #[track_caller]
    pub fn kthvalue(self, k: usize, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let a = self.line_axis("kthvalue", axis);
        let s = self.shape();
        assert!(
            (1..=s[a]).contains(&k),
            "kthvalue: expected k in 1..={} for axis {axis} of shape {:?}, found {k}",
            s[a],
            s.as_slice()
        );
        let places = T::sorted_places(&self.value(), a, k - 1, k, false);
        self.pick(a, places, keepdim)
    }

    /// Median along an axis, and its place: of an even number of elements the lower of the two in the middle, as in
    /// PyTorch ([`Var::quantile_dim`] at ½ is their mean). NaN if there is one. Evaluates `self`.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn median_dim(self, axis: isize, keepdim: bool) -> (Self, Tensor<i64>) {
        let a = self.line_axis("median", axis);
        let middle = (self.shape()[a] - 1) / 2;
        let places = T::rank_places(&self.value(), a, [middle; 2]);
        self.pick(a, places.narrow(a as isize, 0, 1), keepdim)
    }

    /// Median of all elements (the lower of two); see [`Var::median_dim`].
    ///
    /// # Panics
    /// Over nothing.
    #[track_caller]
    pub fn median(self) -> Self {
        let n = self.numel();
        let x = self.reshape([n]);
        let a = x.line_axis("median", 0);
        x.in_order(a, Places::Ranks([(n - 1) / 2; 2])).select(0, 0)
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
        let a = self.line_axis("quantile", axis);
        let last = self.shape()[a] - 1;
        let rank = q * last as f64;
        let low = (rank.floor() as usize).min(last);
        let high = (low + 1).min(last);
        let weight = rank - low as f64;
        let both = self.in_order(a, Places::Ranks([low, high]));
        let [low, high] = [0, 1].map(|k| both.narrow(a as isize, k, k + 1));
        let y = if weight == 0.0 {
            low
        } else {
            low.lerp(high, self.tape().scalar(weight))
        };
        if keepdim { y } else { y.squeeze(a as isize) }
    }
}
