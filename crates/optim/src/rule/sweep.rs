//! The loop over a chunk: an update written on one element, compiled into vector code for every instruction set.

use super::{Pass, Sums};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Baseline, Isa, Kernel, dispatch, dispatch_narrow};

/// An elementwise update with `S` slots, written on one element; [`Pass::sweep`] compiles it into vector code for
/// every instruction set.
pub trait Update<const S: usize>: Copy {
    /// Whether the rule is worth a longer build: code for AVX-512 in single precision (a fifth faster on tensors beyond
    /// the caches) and for AVX2 in double precision, where other rules have AVX2 and the baseline.
    const WIDE: bool = false;
    /// New parameter and slots from the old ones and the gradient. Mark it `#[inline(always)]`.
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S]);
}

/// As [`Update`], with `N` sums over the tensor.
pub trait Measure<const S: usize, const N: usize>: Copy {
    /// As [`Update::WIDE`].
    const WIDE: bool = false;
    /// New parameter and slots, and the terms of the sums. Mark it `#[inline(always)]`.
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S], [L; N]);
}

/// An update as a measurement of nothing.
#[derive(Clone, Copy)]
struct Plain<U>(U);

impl<U: Update<S>, const S: usize> Measure<S, 0> for Plain<U> {
    const WIDE: bool = U::WIDE;
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S], [L; 0]) {
        let (p, s) = self.0.step(p, g, s);
        (p, s, [])
    }
}

/// The lane that an update runs on.
#[cfg(not(feature = "mutation"))]
type On<T, I> = <T as Real>::Lane<I>;
#[cfg(feature = "mutation")]
type On<T, I> = crate::mutation::Spoiled<<T as Real>::Lane<I>>;

struct Sweep<'a, T: Real, U, const S: usize, const N: usize>(U, Pass<'a, T>);

/// Elements whose terms are written down before they are added up.
const BLOCK: usize = 256;

impl<T: Real, U: Measure<S, N>, const S: usize, const N: usize> Kernel for Sweep<'_, T, U, S, N> {
    type Output = Sums;
    #[inline(always)]
    fn run<I: Isa>(self) -> Sums {
        // Separate slice arguments, so that the compiler knows that they do not overlap.
        #[inline(always)]
        fn body<I: Isa, T: Real, U: Measure<S, N>, const S: usize, const N: usize>(
            u: U,
            scale: T::Lane<I>,
            p: &mut [T],
            g: &[T],
            a: &mut [T],
            b: &mut [T],
            c: &mut [T],
            d: &mut [T],
            terms: &mut [[T; BLOCK]; N],
        ) {
            let n = if N > 0 { p.len().min(BLOCK) } else { p.len() };
            let (p, g) = (&mut p[..n], &g[..n]);
            let a = if S > 0 { &mut a[..n] } else { a };
            let b = if S > 1 { &mut b[..n] } else { b };
            let c = if S > 2 { &mut c[..n] } else { c };
            let d = if S > 3 { &mut d[..n] } else { d };
            for i in T::Lane::<I>::places(n) {
                let mut s = [On::<T, I>::new(T::ZERO); S];
                if S > 0 {
                    s[0] = On::<T, I>::new(a[i]);
                }
                if S > 1 {
                    s[1] = On::<T, I>::new(b[i]);
                }
                if S > 2 {
                    s[2] = On::<T, I>::new(c[i]);
                }
                if S > 3 {
                    s[3] = On::<T, I>::new(d[i]);
                }
                let g = T::Lane::<I>::new(g[i]) * scale;
                #[cfg(feature = "mutation")]
                crate::mutation::element(i == 0);
                let (x, s, t) = u.step(On::<T, I>::new(p[i]), On::<T, I>::new(g.get()), s);
                p[i] = x.get();
                if S > 0 {
                    a[i] = s[0].get();
                }
                if S > 1 {
                    b[i] = s[1].get();
                }
                if S > 2 {
                    c[i] = s[2].get();
                }
                if S > 3 {
                    d[i] = s[3].get();
                }
                for k in 0..N {
                    terms[k][i] = t[k].get();
                }
            }
        }
        let Sweep(u, x) = self;
        let scale = T::Lane::<I>::new(T::from_f64(x.scale));
        let [mut a, mut b, mut c, mut d] = x.slots;
        let mut terms = [[T::ZERO; BLOCK]; N];
        let mut sums = Sums::default();
        if const { N == 0 } {
            body::<I, T, U, S, N>(u, scale, x.param, x.grad, a, b, c, d, &mut terms);
        } else {
            let (mut p, mut g) = (x.param, x.grad);
            while !p.is_empty() {
                let n = p.len().min(BLOCK);
                let now = cut(&mut p, n);
                let (grad, later) = g.split_at(n);
                g = later;
                let (a, b) = (cut(&mut a, n), cut(&mut b, n));
                let (c, d) = (cut(&mut c, n), cut(&mut d, n));
                body::<I, T, U, S, N>(u, scale, now, grad, a, b, c, d, &mut terms);
                for k in 0..N {
                    sums[k] += total(&terms[k][..n]);
                }
            }
        }
        sums
    }
}

/// Takes up to `n` elements off the front.
#[inline(never)]
fn cut<'a, T: Real>(s: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let all = std::mem::take(s);
    let (now, later) = all.split_at_mut(n.min(all.len()));
    *s = later;
    now
}

/// The sum of a block in double precision.
#[inline(never)]
fn total<T: Real>(x: &[T]) -> f64 {
    const COLUMNS: usize = 8;
    let mut sums = [0.0; COLUMNS];
    for row in x.chunks(COLUMNS) {
        for (s, x) in sums.iter_mut().zip(row) {
            *s += x.as_f64();
        }
    }
    sums.iter().sum()
}

impl<T: Real> Pass<'_, T> {
    /// Runs an elementwise update over the chunk.
    #[inline]
    pub fn sweep<const S: usize, U: Update<S>>(self, update: U) -> Sums {
        self.gather(Plain(update))
    }

    /// Runs an elementwise update over the chunk and returns its sums.
    #[inline]
    pub fn gather<const S: usize, const N: usize, U: Measure<S, N>>(self, update: U) -> Sums {
        #[cfg(feature = "mutation")]
        crate::mutation::begin(std::any::type_name::<U>());
        if const { U::WIDE && size_of::<T>() == 4 } {
            dispatch(Sweep(update, self))
        } else if const { U::WIDE || size_of::<T>() == 4 } {
            dispatch_narrow(Sweep(update, self))
        } else {
            Sweep(update, self).run::<Baseline>()
        }
    }
}
