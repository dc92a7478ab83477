//! Channels of one element per image, `[n, channels]`: columns of a matrix, as many side by side as fill some registers.

use super::loops::{Body, Centred, Channel, Map, Plain};
use super::{BatchNorm, Own, Seen, low};
use crate::lane::Lane;
use crate::parallel::Parts;
use crate::simd::{Isa, Kernel, dispatch_for};
use crate::{Real, parallel};
use std::ops::Range;

/// Columns side by side.
const W: usize = 32;
/// Rows that are added up before their sum goes to one of twice the length.
const ROWS: usize = 64;
/// Rows of a first estimate of a mean.
const FIRST: usize = 16;
/// Rows up to which a task takes whole columns, and of a task beyond.
const TALL: usize = 2048;

/// Some rows of at most `W` columns.
#[derive(Clone)]
struct Tile {
    channels: usize,
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Tile {
    #[inline(always)]
    fn row(&self, i: usize) -> Range<usize> {
        let start = i * self.channels + self.cols.start;
        start..start + self.cols.len()
    }

    /// A row of each of `x`, zeros behind its end.
    #[inline(always)]
    fn read<L: Lane, const M: usize, const ALL: bool>(
        &self,
        x: [&[L::Elem]; M],
        i: usize,
    ) -> [[L::Elem; W]; M] {
        let mut own = [[L::c(0.0).get(); W]; M];
        let at = self.row(i);
        for m in 0..M {
            if ALL {
                own[m] = x[m][at.start..at.start + W].try_into().expect("W columns");
            } else {
                own[m][..at.len()].copy_from_slice(&x[m][at.clone()]);
            }
        }
        own
    }

    /// What `body` sums up along the columns.
    #[inline(always)]
    fn sums<L: Lane, B: Body<L, M, N>, const M: usize, const N: usize>(
        &self,
        x: [&[L::Elem]; M],
        body: &impl Each<B>,
    ) -> [[f64; W]; N] {
        if L::INLINE && self.cols.len() == W {
            self.sums_of::<L, B, M, N, true>(x, body)
        } else {
            self.sums_of::<L, B, M, N, false>(x, body)
        }
    }

    #[inline(always)]
    fn sums_of<L: Lane, B: Body<L, M, N>, const M: usize, const N: usize, const ALL: bool>(
        &self,
        x: [&[L::Elem]; M],
        body: &impl Each<B>,
    ) -> [[f64; W]; N] {
        let mut all = [[0.0; W]; N];
        let mut start = self.rows.start;
        while start < self.rows.end {
            let end = (start + ROWS).min(self.rows.end);
            let mut acc = [[L::c(0.0); W]; N];
            for i in start..end {
                let own = self.read::<L, M, ALL>(x, i);
                for k in L::places(W) {
                    let mut v = [L::c(0.0); M];
                    for m in 0..M {
                        v[m] = L::new(own[m][k]);
                    }
                    let y = body.at(k).sums(v);
                    for j in 0..N {
                        acc[j][k] = acc[j][k] + y[j];
                    }
                }
            }
            for j in 0..N {
                for k in L::places(W) {
                    all[j][k] += acc[j][k].get().as_f64();
                }
            }
            start = end;
        }
        all
    }

    #[inline(always)]
    fn map<L: Lane, B: Map<L, M>, const M: usize>(
        &self,
        x: [&[L::Elem]; M],
        body: &impl Each<B>,
        y: &Parts<'_, L::Elem>,
    ) {
        if L::INLINE && self.cols.len() == W {
            self.map_of::<L, B, M, true>(x, body, y);
        } else {
            self.map_of::<L, B, M, false>(x, body, y);
        }
    }

    #[inline(always)]
    fn map_of<L: Lane, B: Map<L, M>, const M: usize, const ALL: bool>(
        &self,
        x: [&[L::Elem]; M],
        body: &impl Each<B>,
        y: &Parts<'_, L::Elem>,
    ) {
        for i in self.rows.clone() {
            let own = self.read::<L, M, ALL>(x, i);
            let mut made = [L::c(0.0).get(); W];
            for k in L::places(W) {
                let mut v = [L::c(0.0); M];
                for m in 0..M {
                    v[m] = L::new(own[m][k]);
                }
                made[k] = body.at(k).one(v).get();
            }
            let at = self.row(i);
            let len = if ALL { W } else { at.len() };
            // SAFETY: the elements of this task's tile.
            let y = unsafe { y.part(at.start..at.start + len) };
            y.copy_from_slice(&made[..len]);
        }
    }
}

/// What belongs to every column, arrays of numbers and not one array of all, so that registers are read whole.
trait Each<B> {
    fn at(&self, k: usize) -> B;
}

impl<B: Copy> Each<B> for B {
    #[inline(always)]
    fn at(&self, _: usize) -> B {
        *self
    }
}

impl<V: Lane> Each<Centred<V>> for [V; W] {
    #[inline(always)]
    fn at(&self, k: usize) -> Centred<V> {
        Centred(self[k])
    }
}

/// [`Channel`]s.
struct Channels<V> {
    mean: [V; W],
    scale: [V; W],
    shift: [V; W],
    first: [V; W],
    second: [V; W],
    low: V,
}

impl<V: Lane> Channels<V> {
    /// Of columns that are not there, nothing that matters.
    #[inline(always)]
    fn new(own: &[Own<V::Elem>], relu: bool) -> Self {
        let zeros = [V::c(0.0); W];
        let mut all = Channels {
            mean: zeros,
            scale: zeros,
            shift: zeros,
            first: zeros,
            second: zeros,
            low: low(relu),
        };
        for (k, own) in own.iter().enumerate().take(W) {
            all.mean[k] = V::new(own.mean);
            all.scale[k] = V::new(own.scale);
            all.shift[k] = V::new(own.shift);
            all.first[k] = V::new(own.first);
            all.second[k] = V::new(own.second);
        }
        all
    }
}

impl<V: Lane> Each<Channel<V>> for Channels<V> {
    #[inline(always)]
    fn at(&self, k: usize) -> Channel<V> {
        Channel {
            mean: self.mean[k],
            scale: self.scale[k],
            shift: self.shift[k],
            low: self.low,
            first: self.first[k],
            second: self.second[k],
        }
    }
}

/// The statistics of the columns of a tile.
struct Stats<'a, T: Real> {
    tile: Tile,
    x: &'a [T],
    seen: &'a mut [Seen],
}
impl<T: Real> Kernel for Stats<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let tile = self.tile;
        let mut some = tile.clone();
        some.rows.end = tile.rows.end.min(tile.rows.start + FIRST);
        let [first] = some.sums::<T::Lane<I>, Plain, 1, 1>([self.x], &Plain);
        let mut rough = [T::ZERO; W];
        let mut centred = [T::Lane::<I>::c(0.0); W];
        for k in T::Lane::<I>::places(W) {
            rough[k] = T::from_f64(first[k] / some.rows.len() as f64);
            centred[k] = T::Lane::<I>::new(rough[k]);
        }
        let [rest, squares] = tile.sums::<T::Lane<I>, Centred<_>, 1, 2>([self.x], &centred);
        let count = tile.rows.len() as f64;
        for (k, seen) in self.seen.iter_mut().enumerate() {
            let rest = [rest[k] / count, squares[k] - rest[k] * (rest[k] / count)];
            seen.add(
                count,
                &[rough[k], T::from_f64(rest[0]), T::from_f64(rest[1])],
            );
        }
    }
}

/// The sums of the backward pass.
struct GradSums<'a, T: Real> {
    tile: Tile,
    relu: bool,
    x: &'a [T],
    g: &'a [T],
    own: &'a [Own<T>],
    sums: &'a mut [[f64; 2]],
}
impl<T: Real> Kernel for GradSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let own = Channels::<T::Lane<I>>::new(self.own, self.relu);
        let [total, along] = self
            .tile
            .sums::<_, Channel<_>, 2, 2>([self.x, self.g], &own);
        for (k, sums) in self.sums.iter_mut().enumerate() {
            sums[0] += total[k];
            sums[1] += along[k];
        }
    }
}

/// Results, or gradients of x where there is a cotangent.
struct Apply<'a, T: Real> {
    tile: Tile,
    relu: bool,
    x: &'a [T],
    g: Option<&'a [T]>,
    own: &'a [Own<T>],
    y: &'a Parts<'a, T>,
}
impl<T: Real> Kernel for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let own = Channels::<T::Lane<I>>::new(self.own, self.relu);
        match self.g {
            None => self.tile.map::<_, Channel<_>, 1>([self.x], &own, self.y),
            Some(g) => self.tile.map::<_, Channel<_>, 2>([self.x, g], &own, self.y),
        }
    }
}

/// What is summed up of the columns of a tile, and what the whole sums make of a column.
type Sum<'a, P> = &'a (dyn Fn(Tile, &mut [P]) + Sync);
type Finish<'a, T, P> = &'a (dyn Fn(usize, P) -> Own<T> + Sync);

impl BatchNorm {
    /// Whether channels are columns.
    pub(super) fn is_matrix(&self) -> bool {
        self.inner == 1
    }

    fn tile(&self, rows: Range<usize>, first: usize) -> Tile {
        Tile {
            channels: self.channels,
            rows,
            cols: first..(first + W).min(self.channels),
        }
    }

    /// Calls `f(first, parts)` for groups of columns with their part of `room`, which holds a row of numbers.
    fn groups<P>(&self, room: &mut [P], mut f: impl FnMut(usize, &mut [P])) {
        for (k, part) in room.chunks_mut(W).enumerate() {
            f(k * W, part);
        }
    }

    /// Sums up all columns, in parts that are added in their order.
    fn sum_columns<P: Copy + Default + Send>(&self, sum: Sum<'_, P>, add: fn(&mut P, P)) -> Vec<P> {
        let mut parts = vec![P::default(); self.n.div_ceil(TALL) * self.channels];
        parallel::chunks_mut(&mut parts, self.channels, |b, parts| {
            let rows = b * TALL..((b + 1) * TALL).min(self.n);
            self.groups(parts, |first, part| {
                sum(self.tile(rows.clone(), first), part);
            });
        });
        let mut all = vec![P::default(); self.channels];
        for parts in parts.chunks_exact(self.channels) {
            (all.iter_mut().zip(parts)).for_each(|(all, &part)| add(all, part));
        }
        all
    }

    /// Sums up each column, finishes it, and writes its results.
    fn columns<T: Real, P: Copy + Default + Send>(
        &self,
        sum: Sum<'_, P>,
        add: fn(&mut P, P),
        finish: Finish<'_, T, P>,
        [x, g]: [Option<&[T]>; 2],
        y: &mut [T],
    ) {
        let y = Parts::new(y);
        let x = x.expect("what is normalized");
        let apply = |tile: Tile, own: &[Own<T>]| {
            dispatch_for::<T, _>(Apply {
                tile,
                relu: self.relu,
                x,
                g,
                own,
                y: &y,
            });
        };
        if self.n <= TALL {
            let groups = self.channels.div_ceil(W);
            let run = |k: usize| {
                let tile = self.tile(0..self.n, k * W);
                let (mut sums, mut own) = ([P::default(); W], [Own::default(); W]);
                let (sums, own) = (&mut sums[..tile.cols.len()], &mut own[..tile.cols.len()]);
                sum(tile.clone(), sums);
                for (k, own) in own.iter_mut().enumerate() {
                    *own = finish(tile.cols.start + k, sums[k]);
                }
                apply(tile, own);
            };
            if self.n * self.channels < parallel::GRAIN / 2 {
                (0..groups).for_each(run);
            } else {
                let some = (parallel::GRAIN / 8).div_ceil(self.n * W);
                parallel::tasks(groups.div_ceil(some), |i| {
                    (i * some..((i + 1) * some).min(groups)).for_each(run);
                });
            }
            return;
        }
        let own: Vec<Own<T>> = (self.sum_columns(sum, add).into_iter().enumerate())
            .map(|(c, sums)| finish(c, sums))
            .collect();
        parallel::tasks(self.n.div_ceil(TALL), |b| {
            let rows = b * TALL..((b + 1) * TALL).min(self.n);
            for (k, own) in own.chunks(W).enumerate() {
                apply(self.tile(rows.clone(), k * W), own);
            }
        });
    }

    fn stats<'a, T: Real>(&self, x: &'a [T]) -> impl Fn(Tile, &mut [Seen]) + Sync + 'a {
        move |tile, seen| dispatch_for::<T, _>(Stats { tile, x, seen })
    }

    /// As [`BatchNorm::forward`].
    pub(super) fn forward_columns<T: Real>(
        &self,
        x: &[T],
        finish: Finish<'_, T, Seen>,
        y: &mut [T],
    ) {
        self.columns(&self.stats(x), Seen::join, finish, [Some(x), None], y);
    }

    /// The statistics of all channels.
    pub(super) fn seen_columns<T: Real>(&self, x: &[T]) -> Vec<Seen> {
        self.sum_columns(&self.stats(x), Seen::join)
    }

    /// As [`BatchNorm::backward`].
    pub(super) fn backward_columns<T: Real>(
        &self,
        x: &[T],
        g: &[T],
        own: &[Own<T>],
        finish: Finish<'_, T, [f64; 2]>,
        dx: &mut [T],
    ) {
        let sum = |tile: Tile, sums: &mut [[f64; 2]]| {
            let own = &own[tile.cols.clone()];
            dispatch_for::<T, _>(GradSums {
                tile,
                relu: self.relu,
                x,
                g,
                own,
                sums,
            });
        };
        let add = |all: &mut [f64; 2], part: [f64; 2]| {
            all[0] += part[0];
            all[1] += part[1];
        };
        self.columns(&sum, add, finish, [Some(x), Some(g)], dx);
    }
}
