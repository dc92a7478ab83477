//! Reductions at the end of a fused program, over any set of axes.
//!
//! The iteration shape is collapsed to runs of reduced and kept axes. Within a block a run of reduced elements is summed
//! with many accumulators; across blocks sums are carried in f64 (with the rounding error kept aside for the total),
//! so a sum of 1e7 f32 values stays within 1e-6.

use super::few::{FewRows, ROWS as GROUP};
use super::terms::Term;
use super::{UNIT, lines};
use crate::lane::Lane;
use crate::simd::{Isa, Kernel, dispatch};
use crate::{Real, stream};
use smallvec::SmallVec;
use std::ops::Range;

/// Kind of reduction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Reduce {
    /// Sum; zero over nothing.
    Sum,
    /// Largest; NaN if any is NaN.
    Max,
    /// Smallest; NaN if any is NaN.
    Min,
}

impl Reduce {
    /// The value over nothing (for max and min the caller refuses empty reductions).
    pub fn identity(self) -> f64 {
        match self {
            Reduce::Sum => 0.0,
            Reduce::Max => f64::NEG_INFINITY,
            Reduce::Min => f64::INFINITY,
        }
    }
}

/// Partial results of a chunk: of which output the first one is, what was added up, and what still has to be, from one block to
/// the next one: as many zeros as [`ReducePlan::open`] says, in the beginning.
pub(super) type Partial<'a, T> = (usize, &'a mut [f64], &'a mut [T]);

pub(super) struct ReducePlan {
    pub kind: Reduce,
    /// What is reduced of the value.
    pub term: Term,
    pub out_numel: usize,
    /// Collapsed axes, outermost first: size, and stride in the output (0 for a reduced axis).
    axes: SmallVec<[(usize, usize); 6]>,
    /// Whether every element goes to one output.
    pub all: bool,
    /// Whether it is one of few rows.
    pub few: Option<FewRows>,
    numel: usize,
}

/// Neighbouring axes that are reduced together, or kept together, as one: the size of each, and whether it is reduced.
fn joined(shape: &[usize], set: u64) -> SmallVec<[(usize, bool); 6]> {
    let mut merged: SmallVec<[(usize, bool); 6]> = SmallVec::new();
    for (i, &d) in shape.iter().enumerate() {
        let reduced = i < 64 && set >> i & 1 == 1;
        if d == 1 {
            continue;
        }
        match merged.last_mut() {
            Some(last) if last.1 == reduced => last.0 *= d,
            _ => merged.push((d, reduced)),
        }
    }
    merged
}

/// Whether a reduction of a tensor of this shape over a set of axes is one of few rows, and which. In one program it may stand
/// with others of the same rows only, or its bits would depend on them.
pub fn few_rows(shape: &[usize], set: u64) -> Option<FewRows> {
    FewRows::of(&joined(shape, set))
}

impl ReducePlan {
    pub fn new(shape: &[usize], set: u64, kind: Reduce) -> Self {
        let merged = joined(shape, set);
        let mut axes: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        let mut step = 1;
        for &(d, reduced) in merged.iter().rev() {
            axes.push((d, if reduced { 0 } else { step }));
            if !reduced {
                step *= d;
            }
        }
        axes.reverse();
        ReducePlan {
            kind,
            term: Term::Value,
            out_numel: step,
            all: step == 1 && merged.len() <= 1,
            axes,
            few: FewRows::of(&merged),
            numel: shape.iter().product(),
        }
    }

    /// Partial sums in the type of the elements, of the group of rows that is being added up: one for each column, where
    /// rows of single precision are summed over. [`GROUP`] rows are added before the sum is widened, because widening
    /// costs more than adding.
    pub fn open<T: Real>(&self) -> usize {
        match *self.axes {
            [.., (_, 0), (inner, step)]
                if step != 0 && self.kind == Reduce::Sum && size_of::<T>() < size_of::<f64>() =>
            {
                inner
            }
            _ => 0,
        }
    }

    /// Elements that a chunk must at least have so that its partial results do not outweigh its work.
    pub fn least_chunk(&self) -> usize {
        match self.axes.first() {
            // Kept outside: a chunk touches only its own rows.
            Some(&(_, step)) if step != 0 => 0,
            _ if self.all => 0,
            _ => (16 * self.out_numel).max(2 * super::CHUNK),
        }
    }

    /// Range of output elements that iteration elements `start..end` contribute to.
    pub fn range(&self, start: usize, end: usize) -> (usize, usize) {
        match self.axes.first() {
            Some(&(d, step)) if step != 0 => {
                let inner = self.numel / d;
                (start / inner * step, ((end - 1) / inner + 1) * step)
            }
            _ => (0, self.out_numel),
        }
    }

    /// Largest width of [`ReducePlan::range`] over chunks of `chunk` elements.
    pub fn width(&self, chunk: usize) -> usize {
        match self.axes.first() {
            Some(&(d, step)) if step != 0 => {
                let inner = self.numel / d;
                ((chunk.div_ceil(inner.max(1)) + 1) * step).min(self.out_numel)
            }
            _ => self.out_numel,
        }
    }

    /// Whether what is added up may be more than the value itself, see [`Term`]: in totals and along rows.
    pub fn takes_terms(&self) -> bool {
        let rows = self.few.is_none() && self.axes.last().is_some_and(|a| a.1 == 0);
        self.kind == Reduce::Sum && (self.all || rows)
    }

    /// Adds the terms of `x` and `y`, which start at iteration element `start` and are `far` if memory holds them, to the
    /// partial results.
    ///
    /// Runs of reduced elements are cut at multiples of [`UNIT`] and groups of rows are counted from the first whole row of
    /// the chunk, so the bits do not depend on how a chunk is cut into blocks.
    pub fn add_block<T: Real>(
        &self,
        [x, y]: [&[T]; 2],
        start: usize,
        chunk: Range<usize>,
        far: bool,
        (low, acc, open): &mut Partial<'_, T>,
    ) {
        let low = *low;
        let Some((&(inner, inner_step), outer)) = self.axes.split_last() else {
            acc[0] = combine_total(self.kind, acc[0], x[0].as_f64());
            return;
        };
        // The last two axes are walked by one kernel call, the rest here.
        let (&(rows, row_step), outer) = outer.split_last().unwrap_or((&(1, 0), &[]));
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        let mut rest = start / inner / rows;
        let mut out = 0usize;
        for (k, &(d, s)) in outer.iter().enumerate().rev() {
            index[k] = rest % d;
            rest /= d;
            out += index[k] * s;
        }
        let mut first = start % (inner * rows);
        let mut done = 0;
        while done < x.len() {
            let run = (inner * rows - first).min(x.len() - done);
            let row = first / inner;
            // The first row of the first whole group.
            let groups = (chunk.start + first)
                .saturating_sub(start + done)
                .div_ceil(inner);
            dispatch(Span {
                kind: self.kind,
                x: &x[done..done + run],
                y: &y[done..done + run],
                term: self.term,
                at: start + done,
                inner,
                first: first % inner,
                reduced: inner_step == 0,
                step: row_step,
                acc: &mut acc[out + row * row_step - low..],
                open,
                far,
                row: row + GROUP * rows - groups,
                rows: rows + GROUP * rows - groups,
                last: start + done + run == chunk.end,
            });
            done += run;
            first = 0;
            for (k, &(d, s)) in outer.iter().enumerate().rev() {
                index[k] += 1;
                out += s;
                if index[k] < d {
                    break;
                }
                out -= s * d;
                index[k] = 0;
            }
        }
    }
}

#[inline(always)]
pub(super) fn combine_total(kind: Reduce, a: f64, b: f64) -> f64 {
    match kind {
        Reduce::Sum => a + b,
        Reduce::Max => better(a, b, true),
        Reduce::Min => better(a, b, false),
    }
}

/// What the addition `t = sum + v` lost to rounding (Knuth's two-sum).
#[inline(always)]
pub(super) fn lost(kind: Reduce, sum: f64, v: f64, t: f64) -> f64 {
    if kind != Reduce::Sum {
        return 0.0;
    }
    let b = t - sum;
    let e = (sum - (t - b)) + (v - b);
    if e.is_finite() { e } else { 0.0 }
}

/// Bytes by which a reduction of what memory holds asks ahead: the processor does not foresee the next page.
const AHEAD: usize = 4096;

/// Asks for what comes [`AHEAD`] of `x`.
#[inline(always)]
fn ask<T>(x: &[T]) {
    stream::ahead_by(x, AHEAD / size_of::<T>());
}

/// A total with what its additions lost; the largest and the smallest lose nothing, not even the sign of 0.
#[inline(always)]
pub(super) fn with_lost(kind: Reduce, sum: f64, err: f64) -> f64 {
    if kind == Reduce::Sum { sum + err } else { sum }
}

/// A total and what its additions lost to rounding, with the terms of `x` and `y` added, which start at iteration element `at` and are
/// `far` if memory holds them.
pub(super) fn add_total<T: Real>(
    [x, y]: [&[T]; 2],
    at: usize,
    plan: &ReducePlan,
    far: bool,
    total: (f64, f64),
) -> (f64, f64) {
    struct Total<'a, T: Real>([&'a [T]; 2], usize, Reduce, Term, bool, (f64, f64));
    impl<T: Real> Kernel for Total<'_, T> {
        type Output = (f64, f64);
        #[inline(always)]
        fn run<I: Isa>(self) -> (f64, f64) {
            let Total([x, y], at, kind, term, far, (mut sum, mut err)) = self;
            // A sum of squares reads one tensor.
            let apart = term != Term::Value && !std::ptr::eq(x, y);
            let mut from = 0;
            while from < x.len() {
                let to = (((at + from) / UNIT + 1) * UNIT - at).min(x.len());
                let (x, y) = (&x[from..to], &y[from..to]);
                if far {
                    ask(x);
                    if apart {
                        ask(y);
                    }
                }
                let v = reduce_terms::<T, I>([x, y], kind, term).as_f64();
                let t = combine_total(kind, sum, v);
                err += lost(kind, sum, v, t);
                sum = t;
                from = to;
            }
            (sum, err)
        }
    }
    dispatch(Total([x, y], at, plan.kind, plan.term, far, total))
}

/// The terms of a run.
#[inline(always)]
fn reduce_terms<T: Real, I: Isa>([x, y]: [&[T]; 2], kind: Reduce, term: Term) -> T {
    match term {
        Term::Value => reduce_run::<T, I>(x, kind),
        Term::Times(_) => lines::sum_products::<T, I>(x, y),
        Term::SquareMinus(_) => lines::sum_square_differences::<T, I>(x, y),
    }
}

/// Part of a matrix of rows of `inner` elements, from element `first` of a row: each row is reduced to the accumulator of
/// its own, or added element by element to the row of accumulators.
struct Span<'a, T: Real> {
    kind: Reduce,
    x: &'a [T],
    y: &'a [T],
    term: Term,
    at: usize,
    inner: usize,
    first: usize,
    reduced: bool,
    /// From one row's accumulators to the next one's.
    step: usize,
    /// Whether memory holds `x`.
    far: bool,
    acc: &'a mut [f64],
    /// See [`ReducePlan::open`]; the numbers of the first row and behind the last one, counted so that groups begin at
    /// multiples of [`GROUP`], and whether the chunk ends here.
    open: &'a mut [T],
    row: usize,
    rows: usize,
    last: bool,
}
impl<T: Real> Kernel for Span<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        if !self.open.is_empty() {
            return self.sum_columns::<I>();
        }
        let Span {
            kind,
            x,
            y,
            term,
            at,
            inner,
            mut first,
            reduced,
            step,
            far,
            acc,
            ..
        } = self;
        let (mut done, mut out) = (0, 0);
        let apart = term != Term::Value && !std::ptr::eq(x, y);
        while done < x.len() {
            if reduced {
                let mut run = (inner - first).min(x.len() - done);
                run = run.min(UNIT - (at + done) % UNIT);
                let (x, y) = (&x[done..done + run], &y[done..done + run]);
                if far {
                    ask(x);
                    if apart {
                        ask(y);
                    }
                }
                let v = reduce_terms::<T, I>([x, y], kind, term).as_f64();
                acc[out] = combine_total(kind, acc[out], v);
                done += run;
                first += run;
            } else if first == 0
                && step == 0
                && kind == Reduce::Sum
                && x.len() - done >= GROUP * inner
            {
                // Eight rows while the accumulators are in registers; each is added in order.
                let x = group(&x[done..], inner);
                let acc = &mut acc[..inner];
                for i in T::Lane::<I>::places(inner) {
                    acc[i] = x.iter().fold(acc[i], |sum, x| sum + x[i].as_f64());
                }
                done += GROUP * inner;
                first = inner;
            } else if first == 0
                && step == 0
                && kind != Reduce::Sum
                && inner >= TILE
                && x.len() - done >= inner
            {
                let rows = (x.len() - done) / inner;
                columns::<T, I>(
                    &x[done..done + rows * inner],
                    kind == Reduce::Max,
                    &mut acc[..inner],
                );
                done += rows * inner;
                first = inner;
            } else {
                let run = (inner - first).min(x.len() - done);
                add_row::<T, I>(
                    &mut acc[out + first..out + first + run],
                    &x[done..done + run],
                    kind,
                );
                done += run;
                first += run;
            }
            if first == inner {
                first = 0;
                out += step;
            }
        }
    }
}

impl<T: Real> Span<'_, T> {
    /// Sums of columns by groups of rows.
    #[inline(always)]
    fn sum_columns<I: Isa>(self) {
        let Span {
            x,
            inner,
            mut first,
            acc,
            open,
            mut row,
            rows,
            last,
            ..
        } = self;
        let acc = &mut acc[..inner];
        let mut done = 0;
        while done < x.len() {
            if first == 0
                && row % GROUP == 0
                && rows - row >= GROUP
                && x.len() - done >= GROUP * inner
            {
                let x = group(&x[done..], inner);
                add_group::<T, I>(x, acc);
                done += GROUP * inner;
                row += GROUP;
                continue;
            }
            let run = (inner - first).min(x.len() - done);
            let columns = first..first + run;
            let (x, open) = (&x[done..done + run], &mut open[columns.clone()]);
            for i in T::Lane::<I>::places(run) {
                open[i] += x[i];
            }
            if row % GROUP == GROUP - 1 || row + 1 == rows {
                close::<T, I>(&mut acc[columns], open);
            }
            done += run;
            first += run;
            if first == inner {
                first = 0;
                row += 1;
            }
        }
        if last {
            close::<T, I>(acc, open);
        }
    }
}

/// Adds the sums of a group to the accumulators.
#[inline(always)]
fn close<T: Real, I: Isa>(acc: &mut [f64], open: &mut [T]) {
    let open = &mut open[..acc.len()];
    for i in T::Lane::<I>::places(acc.len()) {
        acc[i] += open[i].as_f64();
        open[i] = T::ZERO;
    }
}

/// Sum of a slice inside a kernel, in an order that depends on its length alone.
#[doc(hidden)]
#[inline(always)]
pub fn sum_of<T: Real, I: Isa>(x: &[T]) -> T {
    lines::sum::<T, I>(x)
}

/// Largest (or smallest) of a slice; NaN if any is NaN, ∓∞ over nothing. For kernels: compiled with their instructions.
#[doc(hidden)]
#[inline(always)]
pub fn extreme_of<T: Real, I: Isa>(x: &[T], largest: bool) -> T {
    lines::extreme::<T, I>(x, largest)
}

/// Reduces a run, in an order that depends on its length alone.
#[inline(always)]
fn reduce_run<T: Real, I: Isa>(x: &[T], kind: Reduce) -> T {
    match kind {
        Reduce::Sum => lines::sum::<T, I>(x),
        Reduce::Max => lines::extreme::<T, I>(x, true),
        Reduce::Min => lines::extreme::<T, I>(x, false),
    }
}

/// The better one; NaN if either is NaN.
#[inline(always)]
pub(super) fn better<T: Real>(a: T, b: T, largest: bool) -> T {
    let take = if largest { b > a } else { b < a };
    let r = if take { b } else { a };
    if b.is_nan() { b } else { r }
}

/// Columns whose accumulators stay in registers.
const TILE: usize = 64;

/// Whole rows into one row of accumulators.
#[inline(always)]
fn columns<T: Real, I: Isa>(x: &[T], largest: bool, acc: &mut [f64]) {
    let inner = acc.len();
    let mut tiles = acc.chunks_exact_mut(TILE);
    for (k, acc) in tiles.by_ref().enumerate() {
        if largest {
            extremes::<T, I, true>(x, k * TILE, inner, acc);
        } else {
            extremes::<T, I, false>(x, k * TILE, inner, acc);
        }
    }
    let acc = tiles.into_remainder();
    if !acc.is_empty() {
        let at = inner - acc.len();
        for row in x.chunks_exact(inner) {
            let kind = if largest { Reduce::Max } else { Reduce::Min };
            add_row::<T, I>(acc, &row[at..], kind);
        }
    }
}

/// The best of each of [`TILE`] columns from `at` on, the first of equals.
#[inline(always)]
fn extremes<T: Real, I: Isa, const LARGEST: bool>(
    x: &[T],
    at: usize,
    inner: usize,
    acc: &mut [f64],
) {
    let mut tile = [T::ZERO; TILE];
    tile.copy_from_slice(&x[at..at + TILE]);
    // The next tile of each row is asked for: the processor does not foresee it.
    for row in x[inner..].chunks_exact(inner) {
        let row = &row[at..at + TILE];
        stream::ahead_by(row, TILE);
        for k in T::Lane::<I>::places(TILE) {
            tile[k] = better(tile[k], row[k], LARGEST);
        }
    }
    for k in T::Lane::<I>::places(TILE) {
        acc[k] = better(acc[k], tile[k].as_f64(), LARGEST);
    }
}

/// The first rows of `inner` elements.
#[inline(always)]
fn group<T: Real>(x: &[T], inner: usize) -> [&[T]; GROUP] {
    let mut rows: [&[T]; GROUP] = [&[]; GROUP];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &x[r * inner..][..inner];
    }
    rows
}

/// Adds rows one after the other, in their own type, and the sums to the accumulators.
#[inline(always)]
fn add_group<T: Real, I: Isa>(x: [&[T]; GROUP], acc: &mut [f64]) {
    let n = acc.len();
    let [a, b, c, d, e, f, g, h] = x;
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    let (e, f, g, h) = (&e[..n], &f[..n], &g[..n], &h[..n]);
    for i in T::Lane::<I>::places(n) {
        let sum = a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i];
        acc[i] += sum.as_f64();
    }
}

#[inline(always)]
fn add_row<T: Real, I: Isa>(acc: &mut [f64], x: &[T], kind: Reduce) {
    let n = acc.len();
    let x = &x[..n];
    let places = T::Lane::<I>::places(n);
    match kind {
        Reduce::Sum => {
            for i in places {
                acc[i] += x[i].as_f64();
            }
        }
        Reduce::Max => {
            for i in places {
                acc[i] = better(acc[i], x[i].as_f64(), true);
            }
        }
        Reduce::Min => {
            for i in places {
                acc[i] = better(acc[i], x[i].as_f64(), false);
            }
        }
    }
}
