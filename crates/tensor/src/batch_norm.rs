//! Batch normalization by the statistics of the batch, forward and backward.
//!
//! A channel that stays in the second level of the cache is read once from memory: for the statistics (or for the sums of
//! the backward pass), and from there for the result. Larger channels, and those whose planes are short, are taken all
//! together, in the order of memory: once for the statistics, once for the result. Channels of one element per image are
//! columns of a matrix, taken some side by side. A relu behind the normalization takes part in both directions without a
//! pass of its own.

use crate::lane::Lane;
use crate::list::Listed;
use crate::parallel::Parts;
use crate::simd::{Isa, Kernel, dispatch_for};
use crate::{Real, parallel, stream};
use smallvec::SmallVec;
use std::ops::Range;

mod columns;
mod loops;
use loops::{Centred, Channel, Plain, Sums, map};

/// What is normalized: `n` images of `channels` planes of `inner` elements each.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BatchNorm {
    /// Images.
    pub n: usize,
    /// Channels, the second axis.
    pub channels: usize,
    /// Elements of a plane.
    pub inner: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether a relu follows.
    pub relu: bool,
}

/// Elements of which a first estimate of a mean is made.
const FIRST: usize = 1024;
/// Elements of a block.
const BLOCK: usize = 8192;
/// Bytes of a channel up to which its planes stay in the second level of the cache.
const CACHED: usize = 1 << 20;
/// Bytes of a plane from which on a channel is worth a pass of its own.
const LONG: usize = 2048;

/// How much of every channel a block takes.
#[derive(Clone, Copy)]
struct Cut {
    images: usize,
    places: usize,
    /// Blocks beside each other in a plane.
    pieces: usize,
    /// All of them.
    count: usize,
}

/// Elements of some channels.
struct Block<'a, T> {
    job: BatchNorm,
    x: &'a [T],
    images: Range<usize>,
    places: Range<usize>,
    channels: Range<usize>,
}
impl<T: Real> Block<'_, T> {
    #[inline(always)]
    fn plane(&self, image: usize, channel: usize) -> usize {
        (image * self.job.channels + channel) * self.job.inner + self.places.start
    }
}

/// Mean, what it lacks, and the sum of the squared distances from it, of each channel of a block.
struct Stats<'a, T: Real> {
    block: Block<'a, T>,
    parts: &'a mut [T],
}
impl<T: Real> Kernel for Stats<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let block = self.block;
        let count = (block.images.len() * block.places.len()) as f64;
        let further = block.images.len() * block.job.channels * block.job.inner;
        for (c, part) in block.channels.clone().zip(self.parts.chunks_exact_mut(3)) {
            let n = block.places.len();
            // A mean of some elements is near enough: (its distance from the mean)² is below the variance times the number
            // of such parts, so that few bits are lost when it is corrected.
            let first = block.plane(block.images.start, c);
            let some = n.min(FIRST);
            let sums = Sums::<T::Lane<I>, 1>::over([block.x], first..first + 1, some, Plain);
            let rough = T::from_f64(sums.total::<T, I>()[0] / some as f64);
            let centred = Centred(T::Lane::<I>::new(rough));
            let planes = block.images.clone().map(|i| {
                let at = block.plane(i, c);
                // The next block.
                if let Some(x) = block.x.get(at + further..at + n + further) {
                    stream::ahead(x);
                }
                at
            });
            let sums = Sums::<T::Lane<I>, 2>::over([block.x], planes, n, centred);
            let [rest, squares] = sums.total::<T, I>();
            part[0] = rough;
            part[1] = T::from_f64(rest / count);
            part[2] = T::from_f64(squares - rest * (rest / count));
        }
    }
}

/// The sums of the backward pass over each channel of a block, each in two parts.
struct GradSums<'a, T: Real> {
    block: Block<'a, T>,
    g: &'a [T],
    own: &'a [Own<T>],
    parts: &'a mut [T],
}
impl<T: Real> Kernel for GradSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let block = self.block;
        for (c, part) in block.channels.clone().zip(self.parts.chunks_exact_mut(4)) {
            let own = self.own[c - block.channels.start].lanes::<I>(block.job.relu);
            let planes = block.images.clone().map(|i| block.plane(i, c));
            let n = block.places.len();
            let sums = Sums::<T::Lane<I>, 2>::over([block.x, self.g], planes, n, own);
            let total = sums.total::<T, I>();
            for j in 0..2 {
                part[2 * j] = T::from_f64(total[j]);
                part[2 * j + 1] = T::from_f64(total[j] - part[2 * j].as_f64());
            }
        }
    }
}

/// Mean and spread of what was seen so far (Chan, Golub, LeVeque 1979).
#[derive(Clone, Copy, Default)]
struct Seen {
    count: f64,
    mean: f64,
    squares: f64,
}
impl Seen {
    fn add<T: Real>(&mut self, count: f64, part: &[T]) {
        let total = self.count + count;
        let step = part[0].as_f64() - self.mean + part[1].as_f64();
        self.mean += step * (count / total);
        self.squares += part[2].as_f64() + step * step * (self.count * count / total);
        self.count = total;
    }

    /// With what was seen later.
    fn join(&mut self, later: Seen) {
        self.add::<f64>(later.count, &[later.mean, 0.0, later.squares]);
    }
}

/// What belongs to a channel; see [`Channel`].
#[derive(Clone, Copy, Default)]
struct Own<T> {
    mean: T,
    scale: T,
    shift: T,
    first: T,
    second: T,
    /// 1 / √(var + ε).
    root: T,
    /// What the mean lacks: one number may be too short for it.
    rest: f64,
}
impl<T: Real> Own<T> {
    /// Whether what the mean lacks could matter.
    fn far(&self) -> bool {
        (self.mean * self.root).abs() > T::from_f64(4.0)
    }

    #[inline(always)]
    fn lanes<I: Isa>(&self, relu: bool) -> Channel<T::Lane<I>> {
        let new = T::Lane::<I>::new;
        Channel {
            mean: new(self.mean),
            scale: new(self.scale),
            shift: new(self.shift),
            low: low(relu),
            first: new(self.first),
            second: new(self.second),
        }
    }
}

/// What a relu makes larger numbers of; NaN without one.
#[inline(always)]
fn low<V: Lane>(relu: bool) -> V {
    V::c(if relu { 0.0 } else { f64::NAN })
}

/// Writes every `step`-th plane of a range: the result, or the gradient of x where there is a cotangent.
struct Apply<'a, T: Real> {
    job: BatchNorm,
    planes: Range<usize>,
    step: usize,
    x: &'a [T],
    g: Option<&'a [T]>,
    /// One, or that of every channel.
    own: &'a [Own<T>],
    y: &'a Parts<'a, T>,
}
impl<T: Real> Kernel for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let inner = self.job.inner;
        for p in self.planes.clone().step_by(self.step) {
            let at = p * inner..(p + 1) * inner;
            let own = self.own[p % self.own.len()].lanes::<I>(self.job.relu);
            // SAFETY: the planes of this task.
            let y = unsafe { self.y.part(at.clone()) };
            let x = &self.x[at.clone()];
            // The processor does not foresee the next plane where planes are short, and never what is written.
            let some = inner.min(FIRST);
            stream::ahead_by(&x[..some], self.step * inner);
            stream::ahead_by(&y[..some], self.step * inner);
            match self.g {
                None => map([x], y, own),
                Some(g) => map([x, &g[at]], y, own),
            }
        }
    }
}

/// Vectors of one element per channel.
type PerChannel<T> = SmallVec<[Own<T>; 16]>;

impl BatchNorm {
    /// Elements per channel.
    fn count(&self) -> f64 {
        (self.n * self.inner) as f64
    }

    /// Whether a channel is worth passes of its own.
    fn alone<T>(&self) -> bool {
        let plane = self.inner * size_of::<T>();
        self.inner < 4 || (plane >= LONG && self.n * plane <= CACHED)
    }

    /// Blocks of `channels` channels.
    fn cut(&self, channels: usize) -> Cut {
        let places = self.inner.clamp(1, BLOCK);
        let images = (BLOCK / places / channels.max(1)).clamp(1, self.n.max(1));
        let pieces = self.inner.div_ceil(places);
        Cut {
            images,
            places,
            pieces,
            count: self.n.div_ceil(images) * pieces,
        }
    }

    /// Block `b` of some channels.
    fn block<'a, T>(&self, cut: Cut, b: usize, channels: Range<usize>, x: &'a [T]) -> Block<'a, T> {
        let (i, p) = (b / cut.pieces * cut.images, b % cut.pieces * cut.places);
        Block {
            job: *self,
            x,
            images: i..(i + cut.images).min(self.n),
            places: p..(p + cut.places).min(self.inner),
            channels,
        }
    }

    /// The statistics of one channel.
    fn seen<T: Real>(&self, x: &[T], c: usize) -> Seen {
        let cut = self.cut(1);
        let mut seen = Seen::default();
        for b in 0..cut.count {
            let block = self.block(cut, b, c..c + 1, x);
            let count = (block.images.len() * block.places.len()) as f64;
            let mut parts = [T::ZERO; 3];
            dispatch_for::<T, _>(Stats {
                block,
                parts: &mut parts,
            });
            seen.add(count, &parts);
        }
        seen
    }

    /// Calls `f(b, channels, parts)` for all blocks of all channels, with `N` numbers of `room` for each channel, then
    /// `each(c, elements, numbers)` in the order of the blocks.
    fn blocks<T: Real, const N: usize>(
        &self,
        room: &mut [T],
        f: impl Fn(Block<'_, T>, &mut [T]) + Sync,
        x: &[T],
        mut each: impl FnMut(usize, f64, &[T]),
    ) {
        let some = (BLOCK / self.inner.clamp(1, BLOCK)).clamp(1, self.channels);
        let cut = self.cut(some);
        let room = &mut room[..cut.count * self.channels * N];
        let all = self.channels * N;
        let of =
            |b: usize, from: usize| self.block(cut, b, from..(from + some).min(self.channels), x);
        parallel::chunks_mut(room, all, |b, parts| {
            for (k, parts) in parts.chunks_mut(some * N).enumerate() {
                f(of(b, k * some), parts);
            }
        });
        for (b, parts) in room.chunks_exact(all).enumerate() {
            let block = of(b, 0);
            let count = (block.images.len() * block.places.len()) as f64;
            for (c, part) in parts.chunks_exact(N).enumerate() {
                each(c, count, part);
            }
        }
    }

    /// The statistics of all channels; `room` is as large as x.
    fn all_seen<T: Real>(&self, x: &[T], room: &mut [T], seen: &mut [Seen]) {
        self.blocks::<T, 3>(
            room,
            |block, parts| dispatch_for::<T, _>(Stats { block, parts }),
            x,
            |c, count, part| seen[c].add(count, part),
        );
    }

    /// Writes all planes.
    fn apply<T: Real>(&self, x: &[T], g: Option<&[T]>, own: &[Own<T>], y: &mut [T]) {
        let y = Parts::new(y);
        let (all, some) = (self.n * self.channels, parallel::GRAIN.div_ceil(self.inner));
        parallel::tasks(all.div_ceil(some), |i| {
            dispatch_for::<T, _>(Apply {
                job: *self,
                planes: i * some..((i + 1) * some).min(all),
                step: 1,
                x,
                g,
                own,
                y: &y,
            });
        });
    }

    /// Calls `f` with every channel, on several threads if there is much to do.
    fn each_channel(&self, f: impl Fn(usize) + Sync) {
        let own = (self.n * self.inner).max(1);
        let size = (parallel::GRAIN / 4).div_ceil(own).max(1);
        let tasks = self.channels.div_ceil(size);
        let run = |i: usize| (i * size..((i + 1) * size).min(self.channels)).for_each(&f);
        if own * self.channels < parallel::GRAIN {
            (0..tasks).for_each(run);
        } else {
            parallel::tasks(tasks, run);
        }
    }

    /// What the variance of a channel makes of weight and bias.
    fn own<T: Real>(
        &self,
        c: usize,
        [mean, var]: [T; 2],
        rest: f64,
        [weight, bias]: [Option<&[T]>; 2],
    ) -> Own<T> {
        let root = T::one() / (var + T::from_f64(self.eps)).sqrt();
        let scale = weight.map_or(root, |w| root * w[c]);
        Own {
            mean,
            scale,
            shift: bias.map_or(T::zero(), |b| b[c]) - T::from_f64(rest) * scale,
            root,
            rest,
            ..Own::default()
        }
    }

    fn check<T>(&self, x: &[T], per_channel: &[usize]) {
        let all = self.n * self.channels * self.inner;
        assert!(
            x.len() == all && per_channel.iter().all(|&n| n == self.channels),
            "batch_norm: {} elements and {per_channel:?} per channel for {self:?}",
            x.len()
        );
    }

    /// `y = relu?((x − mean) / √(var + ε) · weight + bias)`, with mean and variance (divided by the count) of each
    /// channel, which are returned too: NaN over nothing.
    ///
    /// # Panics
    /// When a slice has the wrong size.
    pub fn forward<T: Real>(
        &self,
        x: &[T],
        weight: Option<&[T]>,
        bias: Option<&[T]>,
        y: &mut [T],
        mean: &mut [T],
        var: &mut [T],
    ) {
        let given = |v: Option<&[T]>| v.map_or(self.channels, <[T]>::len);
        self.check(x, &[given(weight), given(bias), mean.len(), var.len()]);
        self.check(y, &[]);
        if x.is_empty() {
            mean.fill(T::nan());
            return var.fill(T::nan());
        }
        // The statistics as they are returned, and what they make of weight and bias.
        let finish = |c: usize, seen: Seen| {
            let (mean, var) = (
                T::from_f64(seen.mean),
                T::from_f64(seen.squares / self.count()),
            );
            let own = |rest: f64| self.own(c, [mean, var], rest, [weight, bias]);
            // As `backward` decides it, so that a relu cuts there what it cuts here.
            let near = own(0.0);
            let own = match near.far() {
                true => own(seen.mean - mean.as_f64()),
                false => near,
            };
            (mean, var, own)
        };
        if self.is_matrix() || self.alone::<T>() {
            let (means, vars) = (Parts::new(mean), Parts::new(var));
            let finish = |c: usize, seen: Seen| {
                let (m, v, own) = finish(c, seen);
                // SAFETY: the elements of this task's channel.
                unsafe {
                    means.part(c..c + 1)[0] = m;
                    vars.part(c..c + 1)[0] = v;
                }
                own
            };
            if self.is_matrix() {
                return self.forward_columns(x, &finish, y);
            }
            let y = Parts::new(y);
            self.each_channel(|c| self.channel(c, x, None, finish(c, self.seen(x, c)), &y));
            return;
        }
        let mut seen: SmallVec<[Seen; 16]> = SmallVec::from_elem(Seen::default(), self.channels);
        self.all_seen(x, y, &mut seen);
        let mut all: PerChannel<T> = SmallVec::with_capacity(self.channels);
        for (c, &seen) in seen.iter().enumerate() {
            let own;
            (mean[c], var[c], own) = finish(c, seen);
            all.push(own);
        }
        self.apply(x, None, &all, y);
    }

    /// Writes the planes of a channel, which belong to the calling task.
    fn channel<T: Real>(&self, c: usize, x: &[T], g: Option<&[T]>, own: Own<T>, y: &Parts<'_, T>) {
        dispatch_for::<T, _>(Apply {
            job: *self,
            planes: c..self.n * self.channels,
            step: self.channels,
            x,
            g,
            own: &[own],
            y,
        });
    }

    /// Gradients for `x`, the weight and the bias, of the cotangent `g` of `y`, with the statistics that
    /// [`BatchNorm::forward`] returned.
    ///
    /// # Panics
    /// When a slice has the wrong size.
    pub fn backward<T: Real>(
        &self,
        x: &[T],
        g: &[T],
        mean: &[T],
        var: &[T],
        weight: Option<&[T]>,
        bias: Option<&[T]>,
        dx: &mut [T],
        dw: &mut [T],
        db: &mut [T],
    ) {
        let given = |v: Option<&[T]>| v.map_or(self.channels, <[T]>::len);
        let per_channel = [mean.len(), var.len(), dw.len(), db.len()];
        self.check(x, &per_channel);
        self.check(g, &[given(weight), given(bias)]);
        self.check(dx, &[]);
        if self.channels == 0 {
            return;
        }
        let own = |c: usize, rest: f64| self.own(c, [mean[c], var[c]], rest, [weight, bias]);
        let lack = |c: usize, seen: Seen| own(c, seen.mean - mean[c].as_f64());
        // The means that dx loses, and the gradients of weight and bias.
        let finish = |own: &mut Own<T>, [total, along]: [f64; 2]| {
            let (root, along) = (own.root.as_f64(), along - own.rest * total);
            let second = along * root * root / self.count();
            own.first = T::from_f64(total / self.count() - own.rest * second);
            own.second = T::from_f64(second);
            [T::from_f64(along * root), T::from_f64(total)]
        };
        let sum = |sums: &mut [f64; 2], part: &[T]| {
            sums[0] += part[0].as_f64() + part[1].as_f64();
            sums[1] += part[2].as_f64() + part[3].as_f64();
        };
        if self.is_matrix() {
            let mut all: PerChannel<T> = (0..self.channels).map(|c| own(c, 0.0)).collect();
            if all.iter().any(Own::far) {
                for (c, seen) in self.seen_columns(x).into_iter().enumerate() {
                    if all[c].far() {
                        all[c] = lack(c, seen);
                    }
                }
            }
            let (dw, db) = (Parts::new(dw), Parts::new(db));
            let finish = |c: usize, sums: [f64; 2]| {
                let mut own = all[c];
                let [w, b] = finish(&mut own, sums);
                // SAFETY: the elements of this task's channel.
                unsafe {
                    dw.part(c..c + 1)[0] = w;
                    db.part(c..c + 1)[0] = b;
                }
                own
            };
            return self.backward_columns(x, g, &all, &finish, dx);
        }
        if self.alone::<T>() {
            let (dx, dw, db) = (Parts::new(dx), Parts::new(dw), Parts::new(db));
            self.each_channel(|c| {
                let mut own = own(c, 0.0);
                if own.far() {
                    own = lack(c, self.seen(x, c));
                }
                let (cut, mut sums) = (self.cut(1), [0.0; 2]);
                for b in 0..cut.count {
                    let mut parts = [T::ZERO; 4];
                    dispatch_for::<T, _>(GradSums {
                        block: self.block(cut, b, c..c + 1, x),
                        g,
                        own: &[own],
                        parts: &mut parts,
                    });
                    sum(&mut sums, &parts);
                }
                let [w, b] = finish(&mut own, sums);
                // SAFETY: the elements of this task's channel.
                unsafe {
                    dw.part(c..c + 1)[0] = w;
                    db.part(c..c + 1)[0] = b;
                }
                self.channel(c, x, Some(g), own, &dx);
            });
            return;
        }
        let mut all: PerChannel<T> = (0..self.channels).map(|c| own(c, 0.0)).listed();
        if all.iter().any(Own::far) {
            let mut seen: SmallVec<[Seen; 16]> =
                SmallVec::from_elem(Seen::default(), self.channels);
            self.all_seen(x, dx, &mut seen);
            for (c, own) in all.iter_mut().enumerate() {
                if own.far() {
                    *own = lack(c, seen[c]);
                }
            }
        }
        let mut sums: SmallVec<[[f64; 2]; 16]> = SmallVec::from_elem([0.0; 2], self.channels);
        self.blocks::<T, 4>(
            dx,
            |block, parts| {
                let own = &all[block.channels.clone()];
                dispatch_for::<T, _>(GradSums {
                    block,
                    g,
                    own,
                    parts,
                });
            },
            x,
            |c, _, part| sum(&mut sums[c], part),
        );
        for (c, own) in all.iter_mut().enumerate() {
            [dw[c], db[c]] = finish(own, sums[c]);
        }
        self.apply(x, Some(g), &all, dx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of these is not an f32, and elements that are equal to the rounded one come out a little above 0.
    #[test]
    fn the_gradient_of_a_relu_is_cut_where_the_result_is_0() {
        let x = [1.0, 1.0, 1.5, 0.5 - f32::EPSILON / 2.0];
        for (n, inner) in [(4, 1), (1, 4), (4000, 1), (600, 4)] {
            let job = BatchNorm {
                n,
                channels: 1,
                inner,
                eps: 1e-5,
                relu: true,
            };
            let x: Vec<f32> = x.iter().copied().cycle().take(n * inner).collect();
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let [mut mean, mut var, mut dw, mut db] = [[0.0]; 4];
            job.forward(&x, None, None, &mut y, &mut mean, &mut var);
            let g = vec![1.0; x.len()];
            job.backward(&x, &g, &mean, &var, None, None, &mut dx, &mut dw, &mut db);
            let above = y.iter().filter(|&&y| y > 0.0).count();
            assert_eq!(db, [above as f32], "{job:?}");
        }
    }

    #[test]
    fn no_channels() {
        for (n, inner) in [(1, 4), (3000, 1)] {
            let job = BatchNorm {
                n,
                channels: 0,
                inner,
                eps: 1e-5,
                relu: false,
            };
            job.forward::<f32>(&[], None, None, &mut [], &mut [], &mut []);
            let mut none = [[0.0f32; 0]; 3];
            let [dx, dw, db] = &mut none;
            job.backward(&[], &[], &[], &[], None, None, dx, dw, db);
        }
    }

    /// Channels alone and all together, planes shorter than a register and longer than a block, many blocks: against the
    /// formulas in f64, and the same bits on one thread.
    #[test]
    fn every_way_through_memory() {
        for (n, channels, inner) in [
            (2, 3, 1),
            (128, 256, 1),
            (100, 70, 1),
            (5000, 40, 1),
            (700, 5, 3),
            (700, 3, 10),
            (300, 20, 31),
            (90, 2, 100),
            (3, 2, 20_000),
            (2, 1, 300_000),
            (600, 1, 512),
        ] {
            for relu in [false, true] {
                let job = BatchNorm {
                    n,
                    channels,
                    inner,
                    eps: 1e-5,
                    relu,
                };
                let all = n * channels * inner;
                // Images differ in their means: a first estimate from one of them is far off.
                let value = |i: usize| (i * 7919 % 1009) as f32 / 1009.0 + (i / inner % 5) as f32;
                let x: Vec<f32> = (0..all).map(|i| 10.0 + value(i)).collect();
                let g: Vec<f32> = (0..all)
                    .map(|i| (i * 31 % 97) as f32 / 97.0 - 0.3)
                    .collect();
                let w: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32).collect();
                let b: Vec<f32> = (0..channels).map(|c| 0.1 - 0.2 * c as f32).collect();
                let run = || {
                    let (mut y, mut dx) = (vec![0.0; all], vec![0.0; all]);
                    let [mut mean, mut var, mut dw, mut db] = [(); 4].map(|()| vec![0.0; channels]);
                    job.forward(&x, Some(&w), Some(&b), &mut y, &mut mean, &mut var);
                    job.backward(
                        &x,
                        &g,
                        &mean,
                        &var,
                        Some(&w),
                        Some(&b),
                        &mut dx,
                        &mut dw,
                        &mut db,
                    );
                    [y, mean, var, dx, dw, db]
                };
                let found = run();
                assert!(
                    found == parallel::alone(run),
                    "threads change bits: {job:?}"
                );
                let [y, mean, var, dx, dw, db] = &found;
                for c in 0..channels {
                    let planes = (0..n).map(|i| (i * channels + c) * inner);
                    let at: Vec<usize> = planes.flat_map(|p| p..p + inner).collect();
                    let count = at.len() as f64;
                    let x = |i: usize| f64::from(x[i]);
                    let m = at.iter().map(|&i| x(i)).sum::<f64>() / count;
                    let v = at.iter().map(|&i| (x(i) - m).powi(2)).sum::<f64>() / count;
                    let near = |name: &str, found: f32, exact: f64, size: f64| {
                        let off = (f64::from(found) - exact).abs();
                        assert!(off <= 3e-6 * size, "{name} of {job:?}: {found} for {exact}");
                    };
                    near("mean", mean[c], m, m);
                    near("variance", var[c], v, v);
                    let root = 1.0 / (v + job.eps).sqrt();
                    let (w, b) = (f64::from(w[c]), f64::from(b[c]));
                    let h = |i: usize| (x(i) - m) * root;
                    let u = |i: usize| match relu && f64::from(y[i]) <= 0.0 {
                        true => 0.0,
                        false => f64::from(g[i]),
                    };
                    let total: f64 = at.iter().map(|&i| u(i)).sum();
                    let along: f64 = at.iter().map(|&i| u(i) * h(i)).sum();
                    near("bias", db[c], total, count);
                    near("weight", dw[c], along, count);
                    for &i in &at {
                        let exact = h(i) * w + b;
                        let exact = if relu { exact.max(0.0) } else { exact };
                        near("result", y[i], exact, 5.0 * (1.0 + w));
                        let exact = (u(i) - total / count - h(i) * along / count) * root * w;
                        near("gradient", dx[i], exact, 5.0 * (1.0 + root) * w);
                    }
                }
            }
        }
    }
}
