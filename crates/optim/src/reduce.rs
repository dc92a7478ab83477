//! Passes over all gradients: sums of squares, finiteness, scaling.
//!
//! Sums are taken in `f64` over a tree whose shape depends on sizes only, so the bits do not depend on the threads.

use crate::hub::Hub;
use wengert_autograd::ParamId;
use wengert_tensor::parallel;
use wengert_tensor::simd::{Isa, Kernel, dispatch};
use wengert_tensor::{Real, Tensor};

/// Elements of one leaf of the tree.
const LEAF: usize = 1 << 17;

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
    axes.sort_unstable();
    let mut step = 1;
    axes.iter().all(|&(s, d)| {
        let fits = s == step;
        step *= d;
        fits
    })
}

/// `leaf` over every stretch of at most [`LEAF`] elements of every tensor, merged in a fixed tree.
fn tree<T: Real, R: Send>(
    entries: &[(ParamId, Tensor<T>)],
    none: &(impl Fn() -> R + Sync),
    leaf: &(impl Fn(&[T]) -> R + Sync),
    merge: &(impl Fn(R, R) -> R + Sync),
) -> R {
    let total: usize = entries.iter().map(|e| e.1.numel()).sum();
    if total >= PARALLEL && parallel::threads() > 1 {
        parallel::install(|| over_tensors(entries, true, none, leaf, merge))
    } else {
        over_tensors(entries, false, none, leaf, merge)
    }
}

fn both<R: Send>(par: bool, a: impl FnOnce() -> R + Send, b: impl FnOnce() -> R + Send) -> (R, R) {
    if par {
        parallel::join(a, b)
    } else {
        (a(), b())
    }
}

fn over_tensors<T: Real, R: Send>(
    entries: &[(ParamId, Tensor<T>)],
    par: bool,
    none: &(impl Fn() -> R + Sync),
    leaf: &(impl Fn(&[T]) -> R + Sync),
    merge: &(impl Fn(R, R) -> R + Sync),
) -> R {
    match entries {
        [] => none(),
        [(_, t)] => over_tensor(t, par, leaf, merge),
        _ => {
            let (a, b) = entries.split_at(entries.len() / 2);
            let (a, b) = both(
                par,
                || over_tensors(a, par, none, leaf, merge),
                || over_tensors(b, par, none, leaf, merge),
            );
            merge(a, b)
        }
    }
}

fn over_tensor<T: Real, R: Send>(
    t: &Tensor<T>,
    par: bool,
    leaf: &(impl Fn(&[T]) -> R + Sync),
    merge: &(impl Fn(R, R) -> R + Sync),
) -> R {
    match dense(t) {
        Some(range) => over_slice(&t.storage().as_slice()[range], par, leaf, merge),
        None => over_slice(&t.to_vec(), par, leaf, merge),
    }
}

fn over_slice<T: Real, R: Send>(
    data: &[T],
    par: bool,
    leaf: &(impl Fn(&[T]) -> R + Sync),
    merge: &(impl Fn(R, R) -> R + Sync),
) -> R {
    if data.len() <= LEAF {
        return leaf(data);
    }
    let (a, b) = data.split_at((data.len() / LEAF).div_ceil(2) * LEAF);
    let (a, b) = both(
        par,
        || over_slice(a, par, leaf, merge),
        || over_slice(b, par, leaf, merge),
    );
    merge(a, b)
}

/// What is gathered of each element; mark the functions `#[inline(always)]`.
trait Term<T> {
    type Acc: Copy;
    const ZERO: Self::Acc;
    fn add(acc: Self::Acc, x: T) -> Self::Acc;
    fn merge(a: Self::Acc, b: Self::Acc) -> Self::Acc;
}

struct Gather<'a, T, F>(&'a [T], std::marker::PhantomData<F>);

impl<T: Real, F: Term<T>> Kernel for Gather<'_, T, F> {
    type Output = F::Acc;
    #[inline(always)]
    fn run<I: Isa>(self) -> F::Acc {
        const W: usize = 32;
        // Several stretches are read side by side: one stream of reads does not fill the memory bus.
        const STREAMS: usize = 8;
        let data = self.0;
        let each = data.len() / STREAMS / W * W;
        let (streams, rest) = data.split_at(each * STREAMS);
        let mut acc = [F::ZERO; W];
        if each > 0 {
            let mut start = 0;
            while start < each {
                for k in 0..STREAMS {
                    let c = &streams[k * each + start..k * each + start + W];
                    for j in 0..W {
                        acc[j] = F::add(acc[j], c[j]);
                    }
                }
                start += W;
            }
        }
        let mut chunks = rest.chunks_exact(W);
        for c in &mut chunks {
            for j in 0..W {
                acc[j] = F::add(acc[j], c[j]);
            }
        }
        for (a, &x) in acc.iter_mut().zip(chunks.remainder()) {
            *a = F::add(*a, x);
        }
        acc.into_iter().fold(F::ZERO, |a, b| F::merge(a, b))
    }
}

#[inline]
fn gather<T: Real, F: Term<T>>(data: &[T]) -> F::Acc {
    dispatch(Gather::<T, F>(data, std::marker::PhantomData))
}

struct Squares;

impl<T: Real> Term<T> for Squares {
    type Acc = f64;
    const ZERO: f64 = 0.0;
    #[inline(always)]
    fn add(acc: f64, x: T) -> f64 {
        let x = x.as_f64();
        acc + x * x
    }
    #[inline(always)]
    fn merge(a: f64, b: f64) -> f64 {
        a + b
    }
}

/// x · 0 is NaN exactly for NaN and infinities, and a sum that met NaN stays NaN.
struct Finite;

impl<T: Real> Term<T> for Finite {
    type Acc = T;
    const ZERO: T = T::ZERO;
    #[inline(always)]
    fn add(acc: T, x: T) -> T {
        acc + x * T::ZERO
    }
    #[inline(always)]
    fn merge(a: T, b: T) -> T {
        a + b
    }
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

/// Whether every element of every tensor is finite.
pub(crate) fn finite<T: Hub>(entries: &[(ParamId, Tensor<T>)]) -> bool {
    tree(
        entries,
        &|| true,
        &|s: &[T]| gather::<T, Finite>(s) == T::ZERO,
        &|a, b| a & b,
    )
}

/// The sum of squares over all tensors.
pub(crate) fn sum_squares<T: Hub>(entries: &[(ParamId, Tensor<T>)]) -> f64 {
    tree(
        entries,
        &|| 0.0,
        &|s: &[T]| gather::<T, Squares>(s),
        &|a, b| a + b,
    )
}

/// The sum of squares of one tensor.
pub(crate) fn sum_squares_of<T: Hub>(t: &Tensor<T>) -> f64 {
    let par = t.numel() >= PARALLEL && parallel::threads() > 1;
    let leaf = |s: &[T]| gather::<T, Squares>(s);
    let run = || over_tensor(t, par, &leaf, &|a, b| a + b);
    if par { parallel::install(run) } else { run() }
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
    dispatch(Clamp(t.as_mut_slice(), T::from_f64(limit)))
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
    if dst.len() < PARALLEL {
        dispatch(Lerp(dst, src, keep, fresh));
    } else {
        parallel::chunks_mut(dst, LEAF, |i, c| {
            let src = &src[i * LEAF..i * LEAF + c.len()];
            dispatch(Lerp(c, src, keep, fresh));
        });
    }
}

/// Multiplies every element.
pub(crate) fn scale<T: Hub>(t: &mut Tensor<T>, factor: f64) {
    let factor = T::from_f64(factor);
    let data = t.as_mut_slice();
    if data.len() < PARALLEL {
        dispatch(Scale(data, factor));
    } else {
        parallel::chunks_mut(data, LEAF, |_, c| dispatch(Scale(c, factor)));
    }
}
