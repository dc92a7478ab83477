//! Single precision.

use super::functions::{BINARY, GAMMA, apply, apply_quickly, in_range, levels, levels_of, unary};
use super::measure::{Worst, bounds, ulps};
use super::special::EDGES;
use std::sync::atomic::{AtomicU64, Ordering};
use wengert_tensor::simd::{Isa, Kernel, Level, best_level, dispatch_at};

fn ulps32(y: f32, value: f64) -> f64 {
    ulps(f64::from(y), value, 0.0, 24, -126, f64::from(f32::MAX))
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// What f32 is compared with: functions of f64 from `libm`, or ours in f64, which the table checks, where `libm` has none or
/// would take too long.
fn oracle(name: &str, xs: &[f32], quick: bool) -> Vec<f64> {
    let f: fn(f64) -> f64 = match name {
        _ if quick => {
            let xs: Vec<f64> = xs.iter().map(|&x| f64::from(x)).collect();
            return apply(best_level(), name, &xs, &[]);
        }
        "exp" => libm::exp,
        "exp2" => libm::exp2,
        "expm1" => libm::expm1,
        "ln" => libm::log,
        "log2" => libm::log2,
        "log10" => libm::log10,
        "log1p" => libm::log1p,
        "tanh" => libm::tanh,
        "sigmoid" => |x| 1.0 / (1.0 + libm::exp(-x)),
        "silu" => |x| x / (1.0 + libm::exp(-x)),
        "softplus" => softplus,
        "mish" => |x| x * libm::tanh(softplus(x)),
        "erf" => libm::erf,
        "erfc" => libm::erfc,
        "sinh" => libm::sinh,
        "cosh" => libm::cosh,
        "asinh" => libm::asinh,
        "acosh" => |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) },
        "atanh" => libm::atanh,
        "cbrt" => libm::cbrt,
        "sin" | "sin_bounded" => libm::sin,
        "cos" | "cos_bounded" => libm::cos,
        "tan" | "tan_bounded" => libm::tan,
        "asin" => libm::asin,
        "acos" => libm::acos,
        "atan" => libm::atan,
        _ => {
            let xs: Vec<f64> = xs.iter().map(|&x| f64::from(x)).collect();
            return apply(Level::Baseline, name, &xs, &[]);
        }
    };
    xs.iter().map(|&x| f(f64::from(x))).collect()
}

/// Below which argument the errors of a function may have another unit than the last place of the result: `silu` and `mish` are x
/// times a number that is subnormal there, and `lgamma` has zeros.
fn other_units_below(name: &str) -> f32 {
    match name {
        "silu" | "mish" => -87.0,
        "lgamma" => 0.0,
        _ => f32::NEG_INFINITY,
    }
}

/// How many units in the last place of the result `e` the error of a function is measured in (see [`other_units_below`]).
fn unit(name: &str, x: f32, e: f64) -> f64 {
    if x.is_nan() || x > other_units_below(name) || e == 0.0 || e.is_infinite() {
        return 1.0;
    }
    let ulp = f64::from(f32::from_bits((e.abs() as f32).to_bits() & 0xff80_0000)) * 2f64.powi(-23);
    let least = 2f64.powi(-149);
    let other = match name {
        "lgamma" => 2f64.powi(-23),
        _ => -f64::from(x) * least,
    };
    (other / ulp.max(least)).max(1.0)
}

/// The errors of ordinary results in units of the last place, as [`ulps`] tells them; -1 for what is not finite, 0, or to be measured
/// in another unit.
struct Errors<'a> {
    x: &'a [f32],
    y: &'a [f32],
    expected: &'a [f64],
    /// Arguments below it are left out.
    least: f32,
    out: &'a mut [f64],
}
impl Kernel for Errors<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        const EXPONENT: u64 = 0x7ff << 52;
        const SUBNORMAL: u64 = (1023 - 126) << 52;
        const MAX: f64 = f32::MAX as f64;
        let n = self.out.len();
        let (x, y, e) = (&self.x[..n], &self.y[..n], &self.expected[..n]);
        for i in 0..n {
            let exponent = (e[i].to_bits() & EXPONENT).max(SUBNORMAL);
            let per_ulp = f64::from_bits(((2 * 1023 + 23) << 52) - exponent);
            let error = (f64::from(y[i]) - e[i]).abs() * per_ulp;
            let ordinary = (e[i].abs() <= MAX)
                & (e[i] != 0.0)
                & (f64::from(y[i]).abs() <= MAX)
                & (x[i] >= self.least);
            self.out[i] = if ordinary { error } else { -1.0 };
        }
    }
}

/// The largest errors of a function on every `every`th float, for each instruction set, piece by piece, so that memory does
/// not grow with their number; all processors share the pieces.
fn sweep(name: &str, every: u64) -> Vec<Worst> {
    const PIECE: u64 = 1 << 14;
    let count = (1u64 << 32).div_ceil(every);
    let next = AtomicU64::new(0);
    let levels: Vec<Level> = levels_of(name).collect();
    let work = || {
        let mut worst: Vec<Worst> = levels.iter().map(|_| Worst::new()).collect();
        loop {
            let from = PIECE * next.fetch_add(1, Ordering::Relaxed);
            if from >= count {
                return worst;
            }
            let xs: Vec<f32> = (from..count.min(from + PIECE))
                .map(|i| f32::from_bits((i * every) as u32))
                .collect();
            let xs = in_range(name, &xs);
            let quick = every <= 3;
            let expected = oracle(name, &xs, quick);
            let mut errors = vec![0.0; xs.len()];
            for (&level, worst) in levels.iter().zip(&mut worst) {
                let ys = if quick {
                    apply_quickly(level, name, &xs)
                } else {
                    apply(level, name, &xs, &[])
                };
                dispatch_at(
                    best_level(),
                    Errors {
                        x: &xs,
                        y: &ys,
                        expected: &expected,
                        least: other_units_below(name),
                        out: &mut errors,
                    },
                );
                for (i, &error) in errors.iter().enumerate() {
                    if error < 0.0 || error > worst.ulps {
                        let (x, y, e) = (xs[i], ys[i], expected[i]);
                        worst.see(ulps32(y, e) / unit(name, x, e), f64::from(x), f64::from(y));
                    }
                }
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut all: Vec<Worst> = levels.iter().map(|_| Worst::new()).collect();
    std::thread::scope(|s| {
        let running: Vec<_> = (0..processors).map(|_| s.spawn(work)).collect();
        for thread in running {
            let found = thread.join().expect("no thread panics");
            for (all, w) in all.iter_mut().zip(found) {
                all.see(w.ulps, w.x, w.y);
            }
        }
    });
    all
}

#[test]
fn f32_on_a_dense_sweep_of_all_floats() {
    let bounds = bounds();
    let asked = |variable: &str| std::env::var(variable).ok();
    let every = asked("SWEEP").map_or(997, |s| s.parse().expect("SWEEP is a number"));
    let only = asked("ONLY");
    for name in unary() {
        if (only.as_ref()).is_some_and(|o| !o.split(',').any(|o| o == name)) {
            continue;
        }
        // Long loops per element, computed in f64: fewer of them do.
        let fewer = if GAMMA.contains(&name) { 101 } else { 1 };
        let bound = bounds[name][0];
        for (level, Worst { ulps, x, y }) in levels_of(name).zip(sweep(name, every * fewer)) {
            println!("f32 {name:12} {level:?}: {ulps:.3} ulp at {x:e} -> {y:e}");
            assert!(
                ulps <= bound,
                "f32 {name}, {level:?}: {ulps} ulp at {x:e} -> {y:e}, stated bound {bound}"
            );
        }
    }
}

/// Pairs of f32: dense in magnitude, in ratio, and near 1 for the base of a power.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let mut state = 1u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0
    };
    let mut pairs = Vec::new();
    for i in 0..400_000 {
        let (u, v) = (random(), random());
        let x = f32::from_bits(i * 10_723);
        pairs.push((x, (v - 0.5) * 280.0 / x.abs().log2().abs().max(1e-6)));
        pairs.push((
            1.0 + (u - 0.5) * (v - 0.5).powi(3),
            (random() - 0.5) * 6000.0,
        ));
        pairs.push((u * 8.0 - 4.0, v * 8.0 - 4.0));
        pairs.push((-u * 30.0, (v * 60.0).round() - 30.0));
        pairs.push((x, x * (u * 4.0 - 2.0)));
        pairs.push((x, f32::from_bits((v * 4.3e9) as u32)));
    }
    for &x in EDGES {
        pairs.extend(EDGES.iter().map(|&y| (x, y)));
    }
    pairs.into_iter().unzip()
}

#[test]
fn f32_functions_of_two_arguments() {
    let bounds = bounds();
    let (xs, ys) = pairs();
    for &name in BINARY {
        let f = match name {
            "pow" => f64::powf,
            "hypot" => f64::hypot,
            "atan2" => f64::atan2,
            _ => panic!("{name} has no oracle"),
        };
        let bound = bounds[name][0];
        for level in levels() {
            let mut worst = (0.0, 0.0, 0.0, 0.0);
            for ((&x, &y), &z) in xs.iter().zip(&ys).zip(&apply(level, name, &xs, &ys)) {
                let u = ulps32(z, f(f64::from(x), f64::from(y)));
                if u > worst.0 {
                    worst = (u, x, y, z);
                }
            }
            let (ulps, x, y, z) = worst;
            println!("f32 {name:12} {level:?}: {ulps:.3} ulp at {x:e}, {y:e} -> {z:e}");
            assert!(
                ulps <= bound,
                "f32 {name}, {level:?}: {ulps} ulp at {x:e}, {y:e} -> {z:e}, stated bound {bound}"
            );
        }
    }
}
