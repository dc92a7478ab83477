//! The loops that instructions run.

use super::lines;
use crate::Real;
use crate::lane::Lane;
use crate::simd::{Avx2, Avx512, Baseline, Isa, Level, level, same_type};
use std::marker::PhantomData;

/// `dst[i] = f(args[0][i], args[1][i], args[2][i])`, all slices of one length.
pub type BlockFn<T> = fn(dst: &mut [T], args: [&[T]; 3], imm: [T; 2]);
/// `dst[i] = f(start + i, key)`.
pub type IndexFn<T> = fn(dst: &mut [T], start: usize, key: u64, imm: [T; 2]);

/// An elementwise function as a type; see [`block_fn`].
pub trait ElemFn {
    /// Number of operands used: 1, 2 or 3.
    const ARITY: usize;
    /// Whether AVX2 serves where there is AVX-512, too.
    const NARROW: bool = false;
    /// Whether many programs use it: the code of those lies together.
    const COMMON: bool = false;
    /// The function of one element; `#[inline(always)]`.
    fn eval<V: Lane>(a: V, b: V, c: V, imm: [V; 2]) -> V;
    /// Whether a function of one operand has a faster form for ordinary arguments.
    const NEAR: bool = false;
    /// Whether `eval_near` takes this argument.
    #[inline(always)]
    fn is_near<V: Lane>(_: V) -> bool {
        false
    }
    /// The magnitude up to which `eval_near` takes arguments, if that is the condition; else 0.
    #[inline(always)]
    fn bound<V: Lane>() -> f64 {
        0.0
    }
    /// Fills `dst` by a loop of its own ([`Pieces`](super::Pieces), [`OddPieces`](super::OddPieces), [`Octaves`](super::Octaves),
    /// [`Roots`](super::Roots), [`Doubles`](super::Doubles)), which stands in place of `eval` and `eval_near` where there are the
    /// instructions for it; `false`, and nothing done, if there are none.
    #[inline(always)]
    fn own_loop<T: Real, I: Isa>(_dst: &mut [T], _x: &[T]) -> bool {
        false
    }
    /// The bits of `eval`, where `is_near`.
    #[inline(always)]
    fn eval_near<V: Lane>(a: V) -> V {
        a
    }
}

/// The result and the operand of an [`ElemFn::own_loop`], and their length, if they are numbers of E and the instruction set is
/// AVX-512; see [`own_loop`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn wide<T: Real, I: Isa, E: Real>(
    dst: &mut [T],
    x: &[T],
) -> Option<(*mut E, *const E, usize)> {
    assert_eq!(dst.len(), x.len(), "one result for each element");
    let wide = same_type::<T, E>() && same_type::<I, Avx512>();
    wide.then(|| (dst.as_mut_ptr().cast(), x.as_ptr().cast(), dst.len()))
}

/// The body of an [`ElemFn::own_loop`] of T on I: runs a loop for AVX-512 that takes pointers to the results and the operands, of a
/// type E, and their number, if T and I are these; whether it did.
macro_rules! own_loop {
    ($T:ty, $I:ty, $dst:ident, $x:ident, |$to:ident: *mut $E:ty, $from:ident, $n:ident| $run:expr) => {{
        #[cfg(target_arch = "x86_64")]
        let done = match $crate::fused::kernel::wide::<$T, $I, $E>($dst, $x) {
            Some(($to, $from, $n)) => {
                // SAFETY: there are as many of both, and a kernel compiled for AVX-512 runs only where it is available, see
                // `simd::dispatch`.
                unsafe { $run };
                true
            }
            None => false,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let done = {
            let _ = ($dst, $x);
            false
        };
        done
    }};
}
pub(super) use own_loop;

/// A function of an element's index as a type; see [`index_fn`].
pub trait IndexedFn {
    /// The function of one index; `#[inline(always)]`.
    fn eval<V: Lane>(index: u64, key: u64, imm: [V; 2]) -> V;
}

/// Whether [`ElemFn::eval_near`] takes all of these arguments.
#[inline(always)]
fn all_near<F: ElemFn, T: Real, I: Isa>(a: &[T]) -> bool {
    let bound = F::bound::<T::Lane<I>>();
    let sure = (bound > 0.0).then(|| lines::surely_within::<T, I>(a, bound));
    sure.flatten().unwrap_or_else(|| {
        (a.iter()).fold(true, |near, &x| near & F::is_near(T::Lane::<I>::new(x)))
    })
}

#[inline(always)]
fn body<F: ElemFn, T: Real, I: Isa>(dst: &mut [T], args: [&[T]; 3], imm: [T; 2]) {
    type L<T, I> = <T as Real>::Lane<I>;
    let imm = [L::<T, I>::new(imm[0]), L::<T, I>::new(imm[1])];
    let n = dst.len();
    let a = &args[0][..n];
    match F::ARITY {
        1 if F::own_loop::<T, I>(dst, a) => {}
        // A block of ordinary arguments takes the faster form.
        1 if F::NEAR && L::<T, I>::INLINE && all_near::<F, T, I>(a) => {
            for i in 0..n {
                dst[i] = F::eval_near(L::<T, I>::new(a[i])).get();
            }
        }
        1 => {
            for i in 0..n {
                let x = L::<T, I>::new(a[i]);
                dst[i] = F::eval(x, x, x, imm).get();
            }
        }
        2 => {
            let b = &args[1][..n];
            for i in 0..n {
                let x = L::<T, I>::new(a[i]);
                dst[i] = F::eval(x, L::<T, I>::new(b[i]), x, imm).get();
            }
        }
        _ => {
            let (b, c) = (&args[1][..n], &args[2][..n]);
            for i in 0..n {
                let x = F::eval(
                    L::<T, I>::new(a[i]),
                    L::<T, I>::new(b[i]),
                    L::<T, I>::new(c[i]),
                    imm,
                );
                dst[i] = x.get();
            }
        }
    }
}

#[inline(always)]
fn index_body<F: IndexedFn, T: Real, I: Isa>(dst: &mut [T], start: usize, key: u64, imm: [T; 2]) {
    let imm = [T::Lane::<I>::new(imm[0]), T::Lane::<I>::new(imm[1])];
    for (i, d) in dst.iter_mut().enumerate() {
        *d = F::eval((start + i) as u64, key, imm).get();
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn baseline<F: ElemFn, T: Real>(dst: &mut [T], args: [&[T]; 3], imm: [T; 2]) {
    body::<F, T, Baseline>(dst, args, imm);
}

/// On x86-64 without AVX2 (see [`Isa::CALLS`]): one loop for all functions, which it calls.
#[cfg(target_arch = "x86_64")]
fn baseline<F: ElemFn, T: Real>(dst: &mut [T], args: [&[T]; 3], imm: [T; 2]) {
    fn one<F: ElemFn, T: Real>(x: [T; 3], imm: [T; 2]) -> T {
        let new = T::Lane::<Baseline>::new;
        let [a, b, c] = x;
        F::eval(new(a), new(b), new(c), [new(imm[0]), new(imm[1])]).get()
    }
    calls(dst, &args[..F::ARITY], imm, one::<F, T>);
}

/// The loop of [`baseline`].
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn calls<T: Real>(dst: &mut [T], args: &[&[T]], imm: [T; 2], f: fn([T; 3], [T; 2]) -> T) {
    let args = args.iter().map(|a| &a[..dst.len()]);
    let a = args.clone().next().expect("functions have an operand");
    // Operands that a function has not are never looked at.
    let b = args.clone().nth(1).unwrap_or(a);
    let c = args.clone().nth(2).unwrap_or(a);
    for (i, d) in dst.iter_mut().enumerate() {
        *d = f([a[i], b[i], c[i]], imm);
    }
}

fn index_baseline<F: IndexedFn, T: Real>(dst: &mut [T], start: usize, key: u64, imm: [T; 2]) {
    index_body::<F, T, Baseline>(dst, start, key, imm);
}

macro_rules! entry {
    ($isa:ident, [$($elem:ident),*], $index:ident, $features:literal) => {
        $(
        #[cfg(target_arch = "x86_64")]
        fn $elem<F: ElemFn, T: Real>(dst: &mut [T], args: [&[T]; 3], imm: [T; 2]) {
            #[target_feature(enable = $features)]
            fn inner<F: ElemFn, T: Real>(dst: &mut [T], args: [&[T]; 3], imm: [T; 2]) {
                body::<F, T, $isa>(dst, args, imm);
            }
            // SAFETY: `block_fn` hands this function out only on machines that have the features.
            unsafe { inner::<F, T>(dst, args, imm) }
        }
        )*

        #[cfg(target_arch = "x86_64")]
        fn $index<F: IndexedFn, T: Real>(dst: &mut [T], start: usize, key: u64, imm: [T; 2]) {
            #[target_feature(enable = $features)]
            fn inner<F: IndexedFn, T: Real>(dst: &mut [T], start: usize, key: u64, imm: [T; 2]) {
                index_body::<F, T, $isa>(dst, start, key, imm);
            }
            // SAFETY: `index_fn` hands this function out only on machines that have the features.
            unsafe { inner::<F, T>(dst, start, key, imm) }
        }
    };
}
entry!(
    Avx512,
    [avx512, common512],
    index_avx512,
    "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2"
);
entry!(Avx2, [avx2, common256], index_avx2, "avx2,fma,bmi2");

// Functions lie in the order of their names: two names for each instruction set part what is common from the rest, so that
// a program's few functions do not bring all others into memory with them.

/// The loops of an elementwise function for each [`Level`], the lowest first; see [`pick`].
pub type BlockFns<T> = [BlockFn<T>; 3];

struct Loops<F, T>(PhantomData<(F, T)>);

impl<F: ElemFn, T: Real> Loops<F, T> {
    /// A constant: a function that chooses would be compiled for every elementwise function.
    #[cfg(target_arch = "x86_64")]
    const ALL: &'static BlockFns<T> = &[
        baseline::<F, T>,
        Self::AVX2,
        match (F::NARROW, F::COMMON) {
            (true, _) => Self::AVX2,
            (_, true) => common512::<F, T>,
            _ => avx512::<F, T>,
        },
    ];
    #[cfg(target_arch = "x86_64")]
    const AVX2: BlockFn<T> = if F::COMMON {
        common256::<F, T>
    } else {
        avx2::<F, T>
    };
    #[cfg(not(target_arch = "x86_64"))]
    const ALL: &'static BlockFns<T> = &[baseline::<F, T>; 3];
}

/// The loops of an elementwise function for all instruction sets.
#[inline]
pub fn block_fns<F: ElemFn, T: Real>() -> &'static BlockFns<T> {
    Loops::<F, T>::ALL
}

/// The loop for the instruction set of this machine.
#[inline]
pub fn pick<T: Real>(loops: &BlockFns<T>) -> BlockFn<T> {
    loops[level() as usize - Level::Baseline as usize]
}

/// The loop of an elementwise function, compiled for the instruction set of this machine.
#[inline]
pub fn block_fn<F: ElemFn, T: Real>() -> BlockFn<T> {
    pick(block_fns::<F, T>())
}

/// The loop of an index function, compiled for the instruction set of this machine.
pub fn index_fn<F: IndexedFn, T: Real>() -> IndexFn<T> {
    #[cfg(target_arch = "x86_64")]
    match level() {
        Level::Avx512 => return index_avx512::<F, T>,
        Level::Avx2 => return index_avx2::<F, T>,
        Level::Baseline => {}
    }
    index_baseline::<F, T>
}
