//! The largest magnitude of a slice, at the speed of memory: one pass tells a bound and whether everything is finite.

use crate::Real;
use crate::lane::Lane;
use crate::parallel::{self, GRAIN};
use crate::simd::{Isa, Kernel, dispatch};
use std::sync::atomic::{AtomicU64, Ordering};

/// Elements side by side: a few vector registers.
const W: usize = 64;
/// Stretches that are read side by side: one stream of reads does not fill the memory bus.
const STREAMS: usize = 8;

/// Elements that are changed and looked at together: they stay in the first-level cache in between.
const BLOCK: usize = 4096;

/// Without its sign bit a floating-point number orders as an integer, NaN above infinity.
macro_rules! largest {
    ($name:ident, $add:ident, $real:ty, $bits:ty) => {
        pub(crate) fn $name(x: &[$real]) -> $real {
            struct Largest<'a>(&'a [$real]);
            impl Kernel for Largest<'_> {
                type Output = $real;
                #[inline(always)]
                fn run<I: Isa>(self) -> $real {
                    #[inline(always)]
                    fn bits(x: $real) -> $bits {
                        x.to_bits() as $bits & <$bits>::MAX
                    }
                    #[inline(always)]
                    fn row(most: &mut [$bits; W], x: &[$real]) {
                        for (m, x) in most.iter_mut().zip(x) {
                            *m = (*m).max(bits(*x));
                        }
                    }
                    if I::CALLS {
                        let mut most = 0;
                        for k in <$real as Real>::Lane::<I>::places(self.0.len()) {
                            most = bits(self.0[k]).max(most);
                        }
                        return <$real>::from_bits(most as _);
                    }
                    let mut most: [$bits; W] = [0; W];
                    let each = self.0.len() / STREAMS / W * W;
                    let (streams, rest) = self.0.split_at(each * STREAMS);
                    let mut at = 0;
                    while at < each {
                        for k in 0..STREAMS {
                            row(&mut most, &streams[k * each + at..][..W]);
                        }
                        at += W;
                    }
                    for x in rest.chunks(W) {
                        row(&mut most, x);
                    }
                    <$real>::from_bits(most.iter().fold(0, |a, b| a.max(*b)) as _)
                }
            }
            dispatch(Largest(x))
        }

        pub(crate) fn $add(dst: &mut [$real], src: &[$real], factor: $real) -> $real {
            assert_eq!(dst.len(), src.len(), "add_scaled: lengths differ");
            let most = AtomicU64::new(0);
            let run = |i: usize, dst: &mut [$real]| {
                let src = &src[i * GRAIN..][..dst.len()];
                let mut largest: u64 = 0;
                for (dst, src) in dst.chunks_mut(BLOCK).zip(src.chunks(BLOCK)) {
                    for (d, s) in dst.iter_mut().zip(src) {
                        *d += factor * *s;
                    }
                    largest = largest.max(u64::from($name(dst).to_bits()));
                }
                most.fetch_max(largest, Ordering::Relaxed);
            };
            if dst.len() > GRAIN {
                parallel::install(|| parallel::chunks_mut(dst, GRAIN, run));
            } else if !dst.is_empty() {
                run(0, dst);
            }
            <$real>::from_bits(most.into_inner() as _)
        }
    };
}
largest!(of_f32, add_f32, f32, i32);
largest!(of_f64, add_f64, f64, i64);

#[cfg(test)]
mod tests {
    use crate::Real;

    fn check<T: Real>() {
        assert_eq!(T::largest_magnitude(&[]), T::ZERO);
        for n in [1, 7, 63, 64, 65, 511, 512, 513, 1200] {
            let x: Vec<T> = (0..n)
                .map(|i| T::from_f64(((i * 37) % 101) as f64 - 50.5))
                .collect();
            let expected = x.iter().fold(T::ZERO, |a, b| a.max(b.abs()));
            assert_eq!(T::largest_magnitude(&x), expected, "{n}");
            // One element anywhere is enough.
            for at in [0, n / 2, n - 1] {
                for bad in [
                    T::nan(),
                    -T::nan(),
                    T::infinity(),
                    T::neg_infinity(),
                    T::max_value(),
                ] {
                    let mut x = x.clone();
                    x[at] = bad;
                    let most = T::largest_magnitude(&x);
                    assert_eq!(most.is_nan(), bad.is_nan(), "{n} {at}");
                    assert!(bad.is_nan() || most == bad.abs(), "{n} {at} {bad}");
                }
            }
        }
        let mut both = [T::infinity(); 3];
        both[1] = T::nan();
        assert!(T::largest_magnitude(&both).is_nan());
    }

    fn check_add<T: Real>() {
        for n in [0, 1, 4095, 4097, 32_768, 100_000] {
            let number = |i: usize| T::from_f64(((i * 37) % 101) as f64 - 50.5);
            let (a, b): (Vec<T>, Vec<T>) = (0..n).map(|i| (number(i), number(i + 5))).unzip();
            let factor = T::from_f64(0.3);
            let sum: Vec<T> = a.iter().zip(&b).map(|(a, b)| *a + factor * *b).collect();
            let mut x = a.clone();
            let most = T::add_scaled(&mut x, &b, factor);
            assert_eq!(x, sum);
            assert_eq!(most, sum.iter().fold(T::ZERO, |m, x| m.max(x.abs())));
            for at in [0, n / 2, n.saturating_sub(1)] {
                if n == 0 {
                    continue;
                }
                let (mut x, mut b) = (a.clone(), b.clone());
                b[at] = T::nan();
                assert!(T::add_scaled(&mut x, &b, factor).is_nan(), "{n} {at}");
                // Finite terms, an infinite sum.
                let mut x = a.clone();
                (x[at], b[at]) = (T::max_value(), T::max_value());
                assert!(T::add_scaled(&mut x, &b, T::ONE).is_infinite(), "{n} {at}");
            }
        }
    }

    #[test]
    fn magnitudes() {
        check::<f32>();
        check::<f64>();
        check_add::<f32>();
        check_add::<f64>();
    }
}
