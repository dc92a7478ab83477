//! Kernels of softmax and cross-entropy.

use crate::ops::Scratch;
use wengert_tensor::fused::{extreme_of, sum_of};
use wengert_tensor::lane::Lane;
use wengert_tensor::parallel::Band;
use wengert_tensor::simd::{Isa, Kernel, dispatch, dispatch_for};
use wengert_tensor::{Real, Tensor, parallel, stream};

/// Rows handed to one task.
fn grain(row: usize) -> usize {
    (parallel::GRAIN / 4).div_ceil(row.max(1)).max(1) * row
}

pub(super) fn softmax<T: Real + Scratch>(x: &Tensor<T>, out: &mut [T], axis: usize, log: bool) {
    let shape = x.shape();
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    if out.is_empty() {
        return;
    }
    let row = n * inner;
    if inner == 1 && row <= LONG {
        let x = x.contiguous();
        let x = x.as_slice().expect("made contiguous above");
        // The first two rounds of a task make nothing: many rows a task, where there are many.
        let size = (out.len() / 16).clamp(parallel::GRAIN / 4, 2 * parallel::GRAIN);
        let size = size.div_ceil(row) * row;
        parallel::chunks_mut(out, size, |chunk, out| {
            T::with_scratch(2 * row, |made| {
                let x = &x[chunk * size..][..out.len()];
                dispatch(Rows { x, out, made, log });
            });
        });
        return;
    }
    let dense = x.as_slice();
    if dense.is_none() {
        x.copy_into(out);
    }
    if inner == 1 {
        let size = grain(row);
        parallel::chunks_mut(out, size, |chunk, part| {
            for (i, r) in part.chunks_exact_mut(row).enumerate() {
                if let Some(x) = dense {
                    r.copy_from_slice(&x[chunk * size + i * row..][..row]);
                }
                dispatch(Row { x: r, log });
            }
        });
        return;
    }
    if let (Some(x), 1) = (dense, out.len() / row) {
        // One matrix: tasks take columns of it.
        let columns = (parallel::GRAIN / 4).div_ceil(n).next_multiple_of(BLOCK);
        parallel::bands([(out, 1)], inner, columns, |first, _, [out]| {
            let from = Some((&x[first..], inner));
            dispatch_for::<T, _>(Columns {
                x: out,
                from,
                n,
                log,
            });
        });
        return;
    }
    let size = grain(row);
    parallel::chunks_mut(out, size, |chunk, part| {
        for (i, r) in part.chunks_exact_mut(row).enumerate() {
            let from = dense.map(|x| (&x[chunk * size + i * row..], inner));
            parallel::bands([(r, 1)], inner, inner, |_, _, [x]| {
                dispatch_for::<T, _>(Columns { x, from, n, log });
            });
        }
    });
}

const W: usize = 16;

/// Largest of a row; NaN if any is NaN.
#[inline(always)]
pub(crate) fn row_max<T: Real, I: Isa>(x: &[T]) -> T::Lane<I> {
    T::Lane::<I>::new(wengert_tensor::fused::extreme_of::<T, I>(x, true))
}

/// Adds the accumulators in a fixed tree.
#[inline(always)]
fn tree_sum<V: Lane>(mut acc: [V; W]) -> V {
    let mut w = W / 2;
    while w > 0 {
        for k in V::places(w) {
            acc[k] = acc[k] + acc[k + w];
        }
        w /= 2;
    }
    acc[0]
}

/// Σ e^(x - m).
#[inline(always)]
fn row_sum_exp<V: Lane>(x: &[V::Elem], m: V) -> V {
    let mut acc = [V::c(0.0); W];
    let chunks = x.chunks_exact(W);
    let tail = chunks.remainder();
    for c in chunks {
        for k in V::places(W) {
            acc[k] = acc[k] + (V::new(c[k]) - m).exp_down();
        }
    }
    let mut s = V::c(0.0);
    for &t in tail {
        s = s + (V::new(t) - m).exp_down();
    }
    s + tree_sum(acc)
}

/// Replaces x by e^(x - m) and returns the sum.
#[inline(always)]
pub(crate) fn row_exp<V: Lane>(x: &mut [V::Elem], m: V) -> V {
    let mut acc = [V::c(0.0); W];
    let mut chunks = x.chunks_exact_mut(W);
    for c in &mut chunks {
        for k in V::places(W) {
            let e = (V::new(c[k]) - m).exp_down();
            c[k] = e.get();
            acc[k] = acc[k] + e;
        }
    }
    let mut s = V::c(0.0);
    for t in chunks.into_remainder() {
        let e = (V::new(*t) - m).exp_down();
        *t = e.get();
        s = s + e;
    }
    s + tree_sum(acc)
}

/// Elements of the longest rows that [`Rows`] takes.
const LONG: usize = 1 << 16;
/// Elements that go through the loop of [`Turn`] side by side.
const B: usize = 32;

/// Rows on their way: the largest element, the exponentials and the result are made of three rows in one loop, so that the
/// arithmetic of one goes on while another is read from memory and a third one is stored.
#[derive(Clone, Copy)]
struct Turn<'a, V: Lane> {
    /// The rows of which the largest element and the exponentials are made, and what the result is made of.
    rows: [&'a [V::Elem]; 3],
    /// The largest of the second row.
    largest: V,
    /// The result is (x - of\[0\] - of\[1\]) · of\[2\].
    of: [V; 3],
}

#[inline(always)]
fn result<V: Lane>(c: V::Elem, of: [V; 3]) -> V::Elem {
    ((V::new(c) - of[0] - of[1]) * of[2]).get()
}

/// Where exponentials and results go.
type Made<'a, T> = [&'a mut [T]; 2];

impl<V: Lane> Turn<'_, V> {
    /// `N` elements from `at` on, of which the first `seen` are in the sums already.
    #[inline(always)]
    fn group<const N: usize>(
        &self,
        [made, y]: &mut Made<'_, V::Elem>,
        at: usize,
        seen: usize,
        (most, sums): &mut ([V; N], [V; N]),
    ) {
        let cut = |s: &[V::Elem]| -> [V::Elem; N] { s[at..at + N].try_into().expect("N elements") };
        let [a, b, c] = [cut(self.rows[0]), cut(self.rows[1]), cut(self.rows[2])];
        let (mut e, mut z) = (b, c);
        for k in V::places(N) {
            // NaN is passed over: it makes the sum NaN.
            let a = V::new(a[k]);
            most[k] = V::select(a > most[k], a, most[k]);
            let power = (V::new(b[k]) - self.largest).exp_down();
            e[k] = power.get();
            sums[k] = sums[k] + V::select(k >= seen, power, V::c(0.0));
            z[k] = result(c[k], self.of);
        }
        made[at..at + N].copy_from_slice(&e);
        y[at..at + N].copy_from_slice(&z);
    }

    /// Rows of less than a group.
    #[inline(always)]
    fn short(&self, [made, y]: &mut Made<'_, V::Elem>, found: &mut ([V; W], [V; W])) {
        let (n, least) = (y.len(), V::c(f64::NEG_INFINITY).get());
        let mut rows = [[least; W]; 3];
        for i in 0..3 {
            rows[i][W - n..].copy_from_slice(self.rows[i]);
        }
        let turn = Turn {
            rows: [&rows[0], &rows[1], &rows[2]],
            ..*self
        };
        let (mut e, mut z) = ([least; W], [least; W]);
        turn.group(&mut [&mut e, &mut z], 0, W - n, found);
        made.copy_from_slice(&e[W - n..]);
        y.copy_from_slice(&z[W - n..]);
    }
}

/// The largest of some numbers that are not NaN, and the sum of others, in a fixed order.
#[inline(always)]
fn both_of<T: Real, I: Isa, const N: usize>(
    (most, sums): &([T::Lane<I>; N], [T::Lane<I>; N]),
) -> [T::Lane<I>; 2] {
    let (mut m, mut s) = ([T::ZERO; N], [T::ZERO; N]);
    for k in T::Lane::<I>::places(N) {
        m[k] = most[k].get();
        s[k] = sums[k].get();
    }
    let (m, s) = (extreme_of::<T, I>(&m, true), sum_of::<T, I>(&s));
    [T::Lane::<I>::new(m), T::Lane::<I>::new(s)]
}

/// Softmax of rows, or its logarithm.
struct Rows<'a, T: Real> {
    x: &'a [T],
    out: &'a mut [T],
    /// Room for two rows.
    made: &'a mut [T],
    log: bool,
}

impl<T: Real> Rows<'_, T> {
    /// Three whole rows; the largest of the first one and the sum of the exponentials of the second one.
    #[inline(always)]
    fn turn<I: Isa>(
        turn: Turn<'_, T::Lane<I>>,
        mut made: Made<'_, T>,
        next: &[T],
    ) -> [T::Lane<I>; 2] {
        let n = made[1].len();
        let (least, zero) = (T::Lane::<I>::c(f64::NEG_INFINITY), T::Lane::<I>::c(0.0));
        let mut at = 0;
        let mut found = ([least; B], [zero; B]);
        while at + B <= n {
            stream::ahead(&next[at..at + B]);
            // What is stored next is not foreseen by the processor.
            stream::ahead_by(&made[1][at..at + B], n);
            turn.group(&mut made, at, 0, &mut found);
            at += B;
        }
        let mut found = both_of::<T, I, B>(&found);
        if at < n {
            let mut own = ([least; W], [zero; W]);
            if n >= W {
                while at < n {
                    // The last group begins before the end of the one before it.
                    let from = at.min(n - W);
                    turn.group(&mut made, from, at - from, &mut own);
                    at = from + W;
                }
            } else {
                turn.short(&mut made, &mut own);
            }
            let [m, s] = both_of::<T, I, W>(&own);
            found = [
                T::Lane::<I>::select(m > found[0], m, found[0]),
                found[1] + s,
            ];
        }
        found
    }
}

impl<T: Real> Kernel for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.made.len() / 2;
        if I::CALLS {
            for (x, out) in self.x.chunks_exact(n).zip(self.out.chunks_exact_mut(n)) {
                out.copy_from_slice(x);
                dispatch_for::<T, _>(Row {
                    x: out,
                    log: self.log,
                });
            }
            return;
        }
        let (zero, one) = (T::Lane::<I>::c(0.0), T::Lane::<I>::c(1.0));
        let count = self.x.len() / n;
        let row = |i: usize| &self.x[i.min(count - 1) * n..][..n];
        let (mut fresh, mut done) = self.made.split_at_mut(n);
        let (mut largest, mut of) = (row_max::<T, I>(row(0)), [zero, zero, one]);
        for i in 0..count {
            // What the first round makes is no row: the next one writes over it.
            let last = i.saturating_sub(1);
            let y = &mut self.out[last * n..][..n];
            let turn = Turn {
                rows: [
                    row(i + 1),
                    row(i),
                    if self.log { row(last) } else { &*done },
                ],
                largest,
                of,
            };
            let [m, s] = Self::turn::<I>(turn, [&mut *fresh, y], row(i + 2));
            of = if self.log {
                [largest, s.ln(), one]
            } else {
                [zero, zero, one / s]
            };
            largest = m;
            std::mem::swap(&mut fresh, &mut done);
        }
        let c = if self.log { row(count - 1) } else { &*done };
        for (y, &c) in self.out[(count - 1) * n..].iter_mut().zip(c) {
            *y = result(c, of);
        }
    }
}

struct Row<'a, T: Real> {
    x: &'a mut [T],
    log: bool,
}
impl<T: Real> Kernel for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let m = row_max::<T, I>(self.x);
        if self.log {
            let s = row_sum_exp(self.x, m).ln();
            for i in T::Lane::<I>::places(self.x.len()) {
                self.x[i] = (T::Lane::<I>::new(self.x[i]) - m - s).get();
            }
        } else {
            let s = T::Lane::<I>::c(1.0) / row_exp(self.x, m);
            for i in T::Lane::<I>::places(self.x.len()) {
                self.x[i] = (T::Lane::<I>::new(self.x[i]) * s).get();
            }
        }
    }
}

/// Columns that are worked on side by side.
const BLOCK: usize = 64;

/// The same along the outer of two axes, for blocks of columns.
struct Columns<'a, T: Real> {
    /// `n` rows.
    x: Band<'a, T>,
    /// Where they come from, and from one to the next; or they are in place.
    from: Option<(&'a [T], usize)>,
    n: usize,
    log: bool,
}
impl<T: Real> Kernel for Columns<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (mut x, n) = (self.x, self.n);
        let columns = x.at(0).len();
        let mut at = 0;
        while at < columns {
            let b = BLOCK.min(columns - at);
            let mut m = [T::Lane::<I>::c(f64::NEG_INFINITY); BLOCK];
            let mut s = [T::Lane::<I>::c(0.0); BLOCK];
            for r in 0..n {
                if let Some((from, step)) = self.from {
                    x.at_mut(r)[at..][..b].copy_from_slice(&from[r * step + at..][..b]);
                }
                let row = &x.at(r)[at..][..b];
                for k in T::Lane::<I>::places(b) {
                    m[k] = m[k].max(T::Lane::<I>::new(row[k]));
                }
            }
            for r in 0..n {
                let row = &mut x.at_mut(r)[at..][..b];
                for k in T::Lane::<I>::places(b) {
                    let e = (T::Lane::<I>::new(row[k]) - m[k]).exp_down();
                    s[k] = s[k] + e;
                    if !self.log {
                        row[k] = e.get();
                    }
                }
            }
            for s in &mut s[..b] {
                *s = if self.log {
                    s.ln()
                } else {
                    T::Lane::<I>::c(1.0) / *s
                };
            }
            for r in 0..n {
                let row = &mut x.at_mut(r)[at..][..b];
                for k in T::Lane::<I>::places(b) {
                    let v = T::Lane::<I>::new(row[k]);
                    row[k] = if self.log { v - m[k] - s[k] } else { v * s[k] }.get();
                }
            }
            at += b;
        }
    }
}

struct LogSumExp<'a, T: Real>(&'a [T]);
impl<T: Real> Kernel for LogSumExp<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self) -> T {
        let m = row_max::<T, I>(self.0);
        (row_sum_exp(self.0, m).ln() + m).get()
    }
}

fn label(labels: &Tensor<i64>, i: usize) -> i64 {
    let at = labels.layout().offset as isize + i as isize * labels.strides()[0];
    labels.storage().as_slice()[at as usize]
}

pub(super) fn cross_entropy<T: Real>(
    x: &Tensor<T>,
    labels: &Tensor<i64>,
    out: &mut [T],
    ignore: Option<i64>,
) {
    let c = x.shape()[1];
    let x = x.contiguous();
    let data = x.as_slice().expect("made contiguous above");
    parallel::chunks_mut(out, grain(c).div_ceil(c.max(1)), |chunk, part| {
        let first = chunk * grain(c).div_ceil(c.max(1));
        for (k, o) in part.iter_mut().enumerate() {
            let y = label(labels, first + k);
            if Some(y) == ignore {
                *o = T::zero();
                continue;
            }
            let r = &data[(first + k) * c..][..c];
            *o = dispatch_for::<T, _>(LogSumExp(r)) - r[y as usize];
        }
    });
}

pub(super) fn cross_entropy_grad<T: Real>(
    x: &Tensor<T>,
    labels: &Tensor<i64>,
    g: &Tensor<T>,
    out: &mut [T],
    ignore: Option<i64>,
) {
    let c = x.shape()[1];
    x.copy_into(out);
    let g0 = g.layout().offset as isize;
    let (gs, gd) = (g.strides()[0], g.storage().as_slice());
    parallel::chunks_mut(out, grain(c), |chunk, part| {
        let first = chunk * (grain(c) / c.max(1));
        for (k, row) in part.chunks_exact_mut(c).enumerate() {
            let y = label(labels, first + k);
            if Some(y) == ignore {
                row.fill(T::zero());
                continue;
            }
            dispatch_for::<T, _>(Row { x: row, log: false });
            row[y as usize] -= T::one();
            let w = gd[(g0 + (first + k) as isize * gs) as usize];
            row.iter_mut().for_each(|v| *v *= w);
        }
    });
}
