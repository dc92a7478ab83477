//! The loops over planes: sums and results.

use crate::Real;
use crate::lane::Lane;
use crate::simd::Isa;

/// Partial sums side by side.
const W: usize = 32;
/// Results side by side at the end of a plane.
const END: usize = 16;

/// What a loop adds up and what it makes, element by element, of `M` numbers.
pub(super) trait Body<V: Lane, const M: usize, const N: usize>: Copy {
    /// What is added to `N` sums.
    fn sums(&self, x: [V; M]) -> [V; N];
}

/// Σ x.
#[derive(Clone, Copy)]
pub(super) struct Plain;
impl<V: Lane> Body<V, 1, 1> for Plain {
    #[inline(always)]
    fn sums(&self, x: [V; 1]) -> [V; 1] {
        x
    }
}

/// Σ (x - m) and Σ (x - m)².
#[derive(Clone, Copy)]
pub(super) struct Centred<V>(pub(super) V);
impl<V: Lane> Body<V, 1, 2> for Centred<V> {
    #[inline(always)]
    fn sums(&self, [x]: [V; 1]) -> [V; 2] {
        let d = x - self.0;
        [d, d * d]
    }
}

/// How the elements of a channel become results and gradients.
#[derive(Clone, Copy)]
pub(super) struct Channel<V> {
    pub(super) mean: V,
    pub(super) scale: V,
    pub(super) shift: V,
    /// What a relu makes larger numbers of; NaN without one.
    pub(super) low: V,
    /// Means that the gradient loses.
    pub(super) first: V,
    pub(super) second: V,
}
impl<V: Lane> Channel<V> {
    #[inline(always)]
    fn result(&self, x: V) -> V {
        let v = (x - self.mean).mul_add(self.scale, self.shift);
        // NaN passes.
        V::select(v <= self.low, self.low, v)
    }

    /// The cotangent where the result was not cut, and x - mean.
    #[inline(always)]
    fn cotangent(&self, [x, g]: [V; 2]) -> [V; 2] {
        let d = x - self.mean;
        let v = d.mul_add(self.scale, self.shift);
        [V::select(v <= self.low, V::c(0.0), g), d]
    }

    #[inline(always)]
    fn gradient(&self, x: [V; 2]) -> V {
        let [u, d] = self.cotangent(x);
        (u - self.first - d * self.second) * self.scale
    }
}
/// Σ u and Σ u d.
impl<V: Lane> Body<V, 2, 2> for Channel<V> {
    #[inline(always)]
    fn sums(&self, x: [V; 2]) -> [V; 2] {
        let [u, d] = self.cotangent(x);
        [u, u * d]
    }
}

/// Sums over planes, kept in registers from one plane to the next.
pub(super) struct Sums<L, const N: usize>([[L; W]; N]);

impl<L: Lane, const N: usize> Sums<L, N> {
    #[inline(always)]
    fn new() -> Self {
        Sums([[L::c(0.0); W]; N])
    }

    /// `W` elements from `at` on, of which the first `seen` have been added already.
    #[inline(always)]
    fn group<const M: usize>(
        acc: &mut [[L; W]; N],
        x: [&[L::Elem]; M],
        at: usize,
        seen: usize,
        body: impl Body<L, M, N>,
    ) {
        let zero = L::c(0.0);
        let mut own = [[zero.get(); W]; M];
        for i in 0..M {
            own[i] = x[i][at..at + W].try_into().expect("W elements");
        }
        for k in L::places(W) {
            let mut v = [zero; M];
            for i in 0..M {
                v[i] = L::new(own[i][k]);
            }
            let y = body.sums(v);
            for j in 0..N {
                acc[j][k] = acc[j][k] + L::select(k >= seen, y[j], zero);
            }
        }
    }

    /// The sums over planes of `n` elements that begin at some places of `x`.
    #[inline(always)]
    pub(super) fn over<const M: usize>(
        x: [&[L::Elem]; M],
        planes: impl Iterator<Item = usize>,
        n: usize,
        body: impl Body<L, M, N>,
    ) -> Self {
        let mut sums = Self::new();
        if !L::INLINE {
            for at in planes {
                for k in L::places(n) {
                    let mut v = [L::c(0.0); M];
                    for i in 0..M {
                        v[i] = L::new(x[i][at + k]);
                    }
                    let y = body.sums(v);
                    for j in 0..N {
                        sums.0[j][k % W] = sums.0[j][k % W] + y[j];
                    }
                }
            }
            return sums;
        }
        // Two loops: in one with both kinds of planes the sums would not stay in registers.
        if n < W {
            for at in planes {
                if at + n >= W {
                    Self::group(&mut sums.0, x, at + n - W, W - n, body);
                    continue;
                }
                let mut own = [[L::c(0.0).get(); W]; M];
                let mut all = [&[][..]; M];
                for (own, x) in own.iter_mut().zip(x) {
                    own[W - n..].copy_from_slice(&x[at..at + n]);
                }
                for (all, own) in all.iter_mut().zip(&own) {
                    *all = own;
                }
                Self::group(&mut sums.0, all, 0, W - n, body);
            }
            return sums;
        }
        for start in planes {
            let (mut at, end) = (start, start + n);
            while at + W <= end {
                Self::group(&mut sums.0, x, at, 0, body);
                at += W;
            }
            if at < end {
                // The last group begins before the end of the one before it.
                Self::group(&mut sums.0, x, end - W, W - (end - at), body);
            }
        }
        sums
    }

    /// The sums, in a fixed order.
    #[inline(always)]
    pub(super) fn total<T: Real, I: Isa>(&self) -> [f64; N]
    where
        L: Lane<Elem = T>,
    {
        let mut out = [0.0; N];
        for j in 0..N {
            let mut own = [T::ZERO; W];
            for k in L::places(W) {
                own[k] = self.0[j][k].get();
            }
            out[j] = crate::fused::sum_of::<T, I>(&own).as_f64();
        }
        out
    }
}

/// What one pass makes of the elements of a plane; `y` and the slices of `x` have one length.
#[inline(always)]
pub(super) fn map<L: Lane, const M: usize>(
    x: [&[L::Elem]; M],
    y: &mut [L::Elem],
    f: impl Map<L, M>,
) {
    #[inline(always)]
    fn group<L: Lane, const M: usize, const K: usize>(
        x: [&[L::Elem]; M],
        y: &mut [L::Elem],
        at: usize,
        f: impl Map<L, M>,
    ) {
        let zero = L::c(0.0);
        let mut own = [[zero.get(); K]; M];
        for i in 0..M {
            own[i] = x[i][at..at + K].try_into().expect("K elements");
        }
        let mut made = [zero.get(); K];
        for k in L::places(K) {
            let mut v = [zero; M];
            for i in 0..M {
                v[i] = L::new(own[i][k]);
            }
            made[k] = f.one(v).get();
        }
        y[at..at + K].copy_from_slice(&made);
    }
    let n = y.len();
    let mut at = 0;
    while L::INLINE && at + W <= n {
        group::<L, M, W>(x, y, at, f);
        at += W;
    }
    while L::INLINE && at < n && n >= END {
        let from = at.min(n - END);
        group::<L, M, END>(x, y, from, f);
        at = from + END;
    }
    while at < n {
        group::<L, M, 1>(x, y, at, f);
        at += 1;
    }
}

/// What [`map`] makes of the elements at one place.
pub(super) trait Map<V: Lane, const M: usize>: Copy {
    fn one(&self, x: [V; M]) -> V;
}
impl<V: Lane> Map<V, 1> for Channel<V> {
    #[inline(always)]
    fn one(&self, [x]: [V; 1]) -> V {
        self.result(x)
    }
}
impl<V: Lane> Map<V, 2> for Channel<V> {
    #[inline(always)]
    fn one(&self, x: [V; 2]) -> V {
        self.gradient(x)
    }
}
