//! The largest magnitude of a slice, at the speed of memory: one pass tells a bound and whether everything is finite.

use crate::simd::{Isa, Kernel, dispatch};

/// Elements side by side: a few vector registers.
const W: usize = 64;
/// Stretches that are read side by side: one stream of reads does not fill the memory bus.
const STREAMS: usize = 8;

/// Without its sign bit a floating-point number orders as an integer, NaN above infinity.
macro_rules! largest {
    ($name:ident, $real:ty, $bits:ty) => {
        pub(crate) fn $name(x: &[$real]) -> $real {
            struct Largest<'a>(&'a [$real]);
            impl Kernel for Largest<'_> {
                type Output = $real;
                #[inline(always)]
                fn run<I: Isa>(self) -> $real {
                    #[inline(always)]
                    fn row(most: &mut [$bits; W], x: &[$real]) {
                        for (m, x) in most.iter_mut().zip(x) {
                            *m = (*m).max(x.to_bits() as $bits & <$bits>::MAX);
                        }
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
    };
}
largest!(of_f32, f32, i32);
largest!(of_f64, f64, i64);

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

    #[test]
    fn magnitudes() {
        check::<f32>();
        check::<f64>();
    }
}
