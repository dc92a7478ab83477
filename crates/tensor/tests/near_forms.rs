//! The forms of functions for ordinary arguments give the bits of the functions themselves: a block of ordinary numbers takes
//! one way, the same block with one number more that is none takes the other.

use wengert_tensor::Real;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, Level, dispatch_at};

/// A function, its form for ordinary arguments, and which those are.
struct Compare<'a, T: Real>(&'a [T]);

impl<T: Real> Kernel for Compare<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        macro_rules! compare {
            ($($f:ident $near:ident |$x:ident| $is_near:expr;)*) => {
                $(
                    let mut seen = 0;
                    for &v in self.0 {
                        let $x = T::Lane::<I>::new(v);
                        if $is_near {
                            seen += 1;
                            let (far, near) = ($x.$f().get().as_f64(), $x.$near().get().as_f64());
                            let same = far.to_bits() == near.to_bits() || far.is_nan() && near.is_nan();
                            assert!(same, "{}({v:?}): {far:e}, {near:e}", stringify!($near));
                        }
                    }
                    assert!(seen > self.0.len() / 20, "{}: {seen} ordinary arguments", stringify!($near));
                )*
            };
        }
        let within = |x: T::Lane<I>, bound: f64| x.abs() <= T::Lane::<I>::c(bound);
        compare! {
            ln ln_normal |x| x.is_normal();
            log2 log2_normal |x| x.is_normal();
            log10 log10_normal |x| x.is_normal();
            exp exp_near |x| within(x, T::Lane::<I>::EXP_BOUND);
            sigmoid sigmoid_near |x| within(x, T::Lane::<I>::EXP_BOUND);
            silu silu_near |x| within(x, T::Lane::<I>::EXP_BOUND);
            gelu gelu_near |x| within(x, T::Lane::<I>::GELU_BOUND);
            erfinv erfinv_near |x| within(x, T::Lane::<I>::ERFINV_BOUND);
            exp exp_down |x| x <= T::Lane::<I>::c(0.0);
        }
    }
}

/// Numbers of all magnitudes and both signs, many of them ordinary, powers of two and their neighbours among them.
fn arguments<T: Real>(least: i32, most: i32) -> Vec<T> {
    let mut all = Vec::new();
    for e in least..most + 1 {
        for i in 0..40 {
            let m = 1.0 + f64::from(i) / 40.0 + if i % 4 == 0 { 0.0 } else { 1e-3 };
            all.push(m * 2f64.powi(e));
        }
        all.extend([0.999_999_94, 1.000_000_1].map(|m| m * 2f64.powi(e)));
    }
    all.extend((0..20_000).map(|i| f64::from(i) * 5e-3 + 1e-4));
    all.extend([0.0, f64::MIN_POSITIVE, f64::INFINITY]);
    let both = all.iter().flat_map(|&x| [x, -x]);
    both.map(T::from_f64).collect()
}

#[test]
fn forms_for_ordinary_arguments_have_the_same_bits() {
    for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
        dispatch_at(level, Compare::<f32>(&arguments(-149, 127)));
        dispatch_at(level, Compare::<f64>(&arguments(-1074, 1023)));
    }
}

/// Quotients by products: all that are normal are those of the instruction.
struct Over<'a, T: Real>(&'a [T]);

impl<T: Real> Kernel for Over<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for d in [6.0, 3.0, 10.0, 49.0, 0.7, 1.0] {
            for &v in self.0 {
                let x = T::Lane::<I>::new(v);
                let (y, exact) = (x.over(d).get(), (x / T::Lane::<I>::c(d)).get());
                let least = T::min_positive_value().as_f64() * 1e3;
                if exact.as_f64().abs() > least && exact.is_finite() {
                    assert!(y == exact, "{v:?} / {d}: {y:?}, not {exact:?}");
                }
            }
        }
    }
}

#[test]
fn quotients_by_products_are_correctly_rounded() {
    for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
        dispatch_at(level, Over::<f32>(&arguments(-120, 127)));
        dispatch_at(level, Over::<f64>(&arguments(-1000, 1023)));
    }
}
