//! Nanoseconds per element of every elementary function, per element type and instruction set, against the standard
//! library's scalar function: `cargo bench -p wengert-tensor --bench lane [-- NAME...]`.
//!
//! One thread, 100 000 elements, the best of many passes.

use std::hint::black_box;
use std::time::{Duration, Instant};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, Level, best_level, dispatch_at};

const N: usize = 100_000;

/// Best time of one call, in nanoseconds per element.
fn time(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < 5 || start.elapsed() < Duration::from_millis(60) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_nanos() as f64);
        runs += 1;
    }
    best / N as f64
}

fn inputs<T: Real>(low: f64, high: f64) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..N)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            T::from_f64(low + (high - low) * (state >> 11) as f64 / (1u64 << 53) as f64)
        })
        .collect()
}

macro_rules! functions {
    ($($name:ident($($y:ident)?) on $low:literal, $high:literal, std $std:expr;)*) => {
        $(
            #[allow(non_camel_case_types)]
            struct $name<'a, T>(&'a [T], &'a [T], &'a mut [T]);
            impl<T: Real> Kernel for $name<'_, T> {
                type Output = ();
                #[inline(always)]
                fn run<I: Isa>(self) {
                    for ((&x, &_y), o) in self.0.iter().zip(self.1).zip(self.2) {
                        $(let $y = T::Lane::<I>::new(_y);)?
                        *o = T::Lane::<I>::new(x).$name($($y)?).get();
                    }
                }
            }
        )*
        fn all<T: Real>(name: &str, filter: &[String]) {
            let mut out = vec![T::from_f64(0.0); N];
            let y = inputs::<T>(-3.0, 3.0);
            $(if filter.is_empty() || filter.iter().any(|f| f == stringify!($name)) {
                let x = inputs::<T>($low, $high);
                print!("{name} {:10}", stringify!($name));
                for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
                    if level <= best_level() {
                        let t = time(|| {
                            dispatch_at(level, $name(&x, &y, &mut out));
                            black_box(&out);
                        });
                        print!("{t:10.3}");
                    }
                }
                let std: fn(T, T) -> T = $std;
                let t = time(|| {
                    for ((&x, &y), o) in x.iter().zip(&y).zip(out.iter_mut()) {
                        *o = std(x, y);
                    }
                    black_box(&out);
                });
                println!("{t:10.3}");
            })*
        }
    };
}

functions! {
    exp() on -10.0, 10.0, std |x, _| x.exp();
    exp2() on -10.0, 10.0, std |x, _| x.exp2();
    expm1() on -3.0, 3.0, std |x, _| x.exp_m1();
    ln() on 0.001, 10.0, std |x, _| x.ln();
    log2() on 0.001, 10.0, std |x, _| x.log2();
    log10() on 0.001, 10.0, std |x, _| x.log10();
    log1p() on -0.9, 10.0, std |x, _| x.ln_1p();
    tanh() on -5.0, 5.0, std |x, _| x.tanh();
    sigmoid() on -10.0, 10.0, std |x, _| T::ONE / (T::ONE + (-x).exp());
    erf() on -3.0, 3.0, std |x, _| T::from_f64(libm::erf(x.as_f64()));
    erfc() on -3.0, 6.0, std |x, _| T::from_f64(libm::erfc(x.as_f64()));
    sinh() on -5.0, 5.0, std |x, _| x.sinh();
    cosh() on -5.0, 5.0, std |x, _| x.cosh();
    asinh() on -5.0, 5.0, std |x, _| x.asinh();
    acosh() on 1.0, 5.0, std |x, _| x.acosh();
    atanh() on -1.0, 1.0, std |x, _| x.atanh();
    cbrt() on -5.0, 5.0, std |x, _| x.cbrt();
    pow(y) on 0.1, 10.0, std |x, y| x.powf(y);
    hypot(y) on -5.0, 5.0, std |x, y| x.hypot(y);
    sin() on -10.0, 10.0, std |x, _| x.sin();
    cos() on -10.0, 10.0, std |x, _| x.cos();
    tan() on -10.0, 10.0, std |x, _| x.tan();
    sin_bounded() on -10.0, 10.0, std |x, _| x.sin();
    cos_bounded() on -10.0, 10.0, std |x, _| x.cos();
    tan_bounded() on -10.0, 10.0, std |x, _| x.tan();
    asin() on -1.0, 1.0, std |x, _| x.asin();
    acos() on -1.0, 1.0, std |x, _| x.acos();
    atan() on -5.0, 5.0, std |x, _| x.atan();
    atan2(y) on -5.0, 5.0, std |x, y| x.atan2(y);
}

fn main() {
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    println!("ns/element       baseline      avx2    avx512       std");
    all::<f32>("f32", &filter);
    all::<f64>("f64", &filter);
}
