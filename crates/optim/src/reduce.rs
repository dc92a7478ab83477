//! Passes over all gradients: norms, finiteness, scaling.
//!
//! Sums are taken in `f64` and cut at places that depend on sizes only, so the bits do not depend on the threads.

use crate::hub::Hub;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use wengert_autograd::{Gradients, ParamId};
use wengert_tensor::parallel;
use wengert_tensor::simd::{Isa, Kernel, dispatch, dispatch_narrow};
use wengert_tensor::{Real, Tensor};

/// Elements of one stretch.
const LEAF: usize = 1 << 17;

/// Most stretches.
const MOST: usize = 64;

/// Elements between the places where a tensor may be cut: whole cache lines of either type.
const LINE: usize = 64;

/// Elements that are changed and looked at together: they stay in the first-level cache in between.
const LOOK: usize = 4096;

/// Elements in all below which everything runs on the calling thread.
pub(crate) const PARALLEL: usize = 1 << 16;

/// The storage of a tensor whose elements fill a stretch of it in whatever order.
pub(crate) fn dense<T: Real>(t: &Tensor<T>) -> Option<std::ops::Range<usize>> {
    match t.layout().extent() {
        None => Some(0..0),
        Some((low, high)) => {
            // As many places as elements, and no place twice: a stride of 0 would need fewer places.
            let stretched = t
                .shape()
                .iter()
                .zip(t.strides())
                .any(|(&d, &s)| d > 1 && s == 0);
            (!stretched && high + 1 - low == t.numel() && is_permuted(t)).then_some(low..high + 1)
        }
    }
}

/// Whether the strides are those of a row-major layout with its axes permuted or flipped.
fn is_permuted<T: Real>(t: &Tensor<T>) -> bool {
    if t.is_contiguous() {
        return true;
    }
    let mut axes: smallvec::SmallVec<[(usize, usize); 6]> = t
        .shape()
        .iter()
        .zip(t.strides())
        .filter(|(d, _)| **d != 1)
        .map(|(&d, &s)| (s.unsigned_abs(), d))
        .collect();
    // A few axes: by insertion.
    for i in 1..axes.len() {
        for j in (1..=i).rev() {
            if axes[j - 1] > axes[j] {
                axes.swap(j - 1, j);
            }
        }
    }
    let mut step = 1;
    axes.iter().all(|&(s, d)| {
        let fits = s == step;
        step *= d;
        fits
    })
}

/// `f(0)`, …, `f(n - 1)`, on all threads.
fn tasks(n: usize, f: &(dyn Fn(usize) + Sync)) {
    if n > 1 && parallel::threads() > 1 {
        parallel::install(|| parallel::tasks(n, f));
    } else {
        (0..n).for_each(f);
    }
}

/// `f(offset, chunk)` over a slice, on all threads if it is worth it.
fn chunks<T: Hub>(data: &mut [T], f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    if data.len() < PARALLEL {
        f(0, data);
    } else {
        parallel::chunks_mut(data, LEAF, |i, c| f(i * LEAF, c));
    }
}

struct Squares<'a, T>(&'a [T]);

impl<T: Real> Kernel for Squares<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        const W: usize = 32;
        // Several stretches are read side by side: one stream of reads does not fill the memory bus.
        const STREAMS: usize = 8;
        let each = self.0.len() / STREAMS / W * W;
        let (streams, rest) = self.0.split_at(each * STREAMS);
        let mut acc = [0.0f64; W];
        let mut start = 0;
        while start < each {
            for k in 0..STREAMS {
                let c = &streams[k * each + start..k * each + start + W];
                for j in 0..W {
                    let x = c[j].as_f64();
                    acc[j] += x * x;
                }
            }
            start += W;
        }
        let mut rows = rest.chunks_exact(W);
        for c in &mut rows {
            for j in 0..W {
                let x = c[j].as_f64();
                acc[j] += x * x;
            }
        }
        for (a, x) in acc.iter_mut().zip(rows.remainder()) {
            let x = x.as_f64();
            *a += x * x;
        }
        acc.into_iter().sum()
    }
}

/// The sum of squares over a stretch of the elements of a tensor.
fn squares_in<T: Hub>(t: &Tensor<T>, from: usize, to: usize) -> f64 {
    match dense(t) {
        Some(range) => dispatch(Squares(&t.storage().as_slice()[range][from..to])),
        None => {
            let squares = t.iter().skip(from).take(to - from);
            squares.map(|x| x.as_f64() * x.as_f64()).sum()
        }
    }
}

/// `f(task, tensor, from, to)` for stretches of all tensors, taken as one line of elements and cut into at most [`MOST`]
/// tasks at places that depend on its length only; returns the number of tasks.
fn stretches<T: Hub>(
    tensors: &dyn Tensors<T>,
    f: &(dyn Fn(usize, &Tensor<T>, usize, usize) + Sync),
) -> usize {
    let total: usize = (0..tensors.len()).map(|i| tensors.at(i).numel()).sum();
    let n = (total / LEAF).clamp(1, MOST);
    tasks(n, &|task| {
        let (from, to) = (total / n * task, total / n * (task + 1));
        let to = if task + 1 == n { total } else { to };
        let mut end = 0;
        for i in 0..tensors.len() {
            let t = tensors.at(i);
            let start = end;
            end += t.numel();
            if start >= to {
                break;
            }
            // Borders within a tensor stand at whole cache lines.
            let border = |x: usize| {
                x.saturating_sub(start)
                    .next_multiple_of(LINE)
                    .min(t.numel())
            };
            let (from, to) = (border(from), border(to));
            if to > from {
                f(task, t, from, to);
            }
        }
    });
    n
}

/// The sum of squares over all tensors.
fn sum_squares<T: Hub>(tensors: &dyn Tensors<T>) -> f64 {
    // Each task adds to its own.
    let partial = [const { AtomicU64::new(0) }; MOST];
    let n = stretches(tensors, &|task, t, from, to| {
        let sum = f64::from_bits(partial[task].load(Ordering::Relaxed)) + squares_in(t, from, to);
        partial[task].store(sum.to_bits(), Ordering::Relaxed);
    });
    let parts = partial[..n].iter();
    parts
        .map(|x| f64::from_bits(x.load(Ordering::Relaxed)))
        .sum()
}

/// Whether all gradients are finite; looks at those that are not known to be, and leaves a note if they are.
pub(crate) fn all_finite<T: Hub>(grads: &Gradients<T>) -> bool {
    let unknown: SmallVec<[&Tensor<T>; 32]> = (grads.entries().iter().enumerate())
        .filter(|(i, _)| !grads.known_finite(*i))
        .map(|(_, (_, g))| g)
        .collect();
    if unknown.is_empty() {
        return true;
    }
    let finite = AtomicBool::new(true);
    stretches(&&unknown[..], &|_, t, from, to| {
        if finite.load(Ordering::Relaxed) && !finite_in(t, from, to) {
            finite.store(false, Ordering::Relaxed);
        }
    });
    let finite = finite.into_inner();
    if finite {
        grads.note_finite();
    }
    finite
}

/// Whether a stretch of the elements of a tensor is finite.
fn finite_in<T: Hub>(t: &Tensor<T>, from: usize, to: usize) -> bool {
    match dense(t) {
        Some(range) => T::largest_magnitude(&t.storage().as_slice()[range][from..to]).is_finite(),
        None => t.iter().skip(from).take(to - from).all(|x| x.is_finite()),
    }
}

/// Some tensors, by index.
trait Tensors<T: Real>: Sync {
    fn len(&self) -> usize;
    fn at(&self, i: usize) -> &Tensor<T>;
}

impl<T: Real> Tensors<T> for &[(ParamId, Tensor<T>)] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn at(&self, i: usize) -> &Tensor<T> {
        &self[i].1
    }
}

impl<T: Real> Tensors<T> for &[&Tensor<T>] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn at(&self, i: usize) -> &Tensor<T> {
        self[i]
    }
}

impl<T: Real> Tensors<T> for &Tensor<T> {
    fn len(&self) -> usize {
        1
    }
    fn at(&self, _: usize) -> &Tensor<T> {
        self
    }
}

/// The norm from the sum of squares; from the elements where that overflowed or vanished, which in `f64` it can before
/// the norm does.
fn root<T: Hub>(tensors: &dyn Tensors<T>) -> f64 {
    let squares = sum_squares(tensors);
    if squares.is_finite() && squares > f64::MIN_POSITIVE {
        return squares.sqrt();
    }
    let mut largest = 0.0f64;
    for i in 0..tensors.len() {
        for x in tensors.at(i).iter() {
            let x = x.as_f64().abs();
            largest = if x > largest || x.is_nan() {
                x
            } else {
                largest
            };
        }
    }
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let mut scaled = 0.0;
    for i in 0..tensors.len() {
        for x in tensors.at(i).iter() {
            scaled += (x.as_f64() / largest).powi(2);
        }
    }
    largest * scaled.sqrt()
}

/// The norm over all tensors, as if they were one vector. Where it is finite, all elements are; where it is not, one is not,
/// or it has overflowed.
pub(crate) fn norm<T: Hub>(entries: &[(ParamId, Tensor<T>)]) -> f64 {
    root(&entries)
}

/// The norm of one tensor.
pub(crate) fn norm_of<T: Hub>(t: &Tensor<T>) -> f64 {
    root(&t)
}

struct Scale<'a, T>(&'a mut [T], T);

impl<T: Real> Kernel for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for x in self.0 {
            *x *= self.1;
        }
    }
}

struct Clamp<'a, T>(&'a mut [T], T);

impl<T: Real> Kernel for Clamp<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self) -> usize {
        let limit = self.1;
        let mut changed = 0;
        for x in self.0 {
            // By comparison, so that NaN stays.
            let (over, under) = (*x > limit, *x < -limit);
            changed += usize::from(over | under);
            *x = if over { limit } else { *x };
            *x = if under { -limit } else { *x };
        }
        changed
    }
}

/// Brings every element into `-limit..=limit` and counts those outside.
pub(crate) fn clamp<T: Hub>(t: &mut Tensor<T>, limit: f64) -> usize {
    let limit = T::from_f64(limit);
    let changed = AtomicUsize::new(0);
    chunks(t.as_mut_slice(), &|_, c| {
        changed.fetch_add(dispatch_narrow(Clamp(c, limit)), Ordering::Relaxed);
    });
    changed.into_inner()
}

struct Lerp<'a, T>(&'a mut [T], &'a [T], T, T);

impl<T: Real> Kernel for Lerp<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Lerp(dst, src, keep, fresh) = self;
        let src = &src[..dst.len()];
        for i in 0..dst.len() {
            dst[i] = dst[i] * keep + src[i] * fresh;
        }
    }
}

/// `dst ← keep · dst + fresh · src`.
pub(crate) fn blend<T: Hub>(dst: &mut [T], src: &[T], keep: f64, fresh: f64) {
    let (keep, fresh) = (T::from_f64(keep), T::from_f64(fresh));
    chunks(dst, &|at, c| {
        let src = &src[at..at + c.len()];
        dispatch_narrow(Lerp(c, src, keep, fresh));
    });
}

/// Multiplies every element; returns whether all are finite, if it is to `look`.
pub(crate) fn scale<T: Hub>(t: &mut Tensor<T>, factor: f64, look: bool) -> bool {
    let factor = T::from_f64(factor);
    let finite = AtomicBool::new(look);
    chunks(t.as_mut_slice(), &|_, c| {
        let together = if look { LOOK } else { c.len().max(1) };
        for c in c.chunks_mut(together) {
            dispatch_narrow(Scale(&mut *c, factor));
            if look && !T::largest_magnitude(c).is_finite() {
                finite.store(false, Ordering::Relaxed);
            }
        }
    });
    finite.into_inner()
}
