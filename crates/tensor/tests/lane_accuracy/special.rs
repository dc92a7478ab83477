//! Special values, and what does not depend on the precision.

use super::functions::{BINARY, ROUNDING, apply, levels, same, unary};
use super::measure::bounds;
use std::collections::BTreeSet;
use std::f64::consts::{FRAC_PI_2, PI};
use wengert_tensor::Real;

pub const EDGES: &[f32] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -2.0,
    3.0,
    -3.0,
    0.5,
    -0.5,
    2.5,
    -2.5,
    0.75,
    -0.75,
    1e-40,
    -1e-40,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    16_777_215.0,
    -16_777_215.0,
    16_777_216.0,
    1e30,
];

#[test]
fn every_function_is_documented_and_tested() {
    let bounds = bounds();
    for name in unary().chain(BINARY.iter().copied()) {
        assert!(
            bounds.contains_key(name),
            "{name} has no row in the documentation of lane"
        );
    }
    for name in bounds.keys() {
        let name = name.split('`').next().expect("a name");
        assert!(
            unary().any(|n| n == name) || BINARY.contains(&name),
            "{name} is documented, but not tested"
        );
    }
}

/// `argument:value`, for both types; `tiny` is the smallest normal number, `max` the largest.
const SPECIAL: &str = "
    exp 0:1 -0:1 inf:inf -inf:0 nan:nan tiny:1 max:inf -max:0
    exp_pieces 0:1 -0:1 inf:inf -inf:0 nan:nan tiny:1 max:inf -max:0
    exp2 0:1 -0:1 inf:inf -inf:0 nan:nan 1:2 -3:0.125 10:1024 max:inf -max:0
    expm1 0:0 -0:-0 inf:inf -inf:-1 nan:nan tiny:tiny -tiny:-tiny max:inf -max:-1
    ln 0:-inf -0:-inf 1:0 inf:inf -inf:nan -1:nan -tiny:nan nan:nan
    ln_pieces 0:-inf -0:-inf 1:0 inf:inf -inf:nan -1:nan -tiny:nan nan:nan
    log2 0:-inf -0:-inf 1:0 8:3 0.125:-3 1024:10 inf:inf -inf:nan -1:nan nan:nan
    log2_pieces 0:-inf -0:-inf 1:0 8:3 0.125:-3 1024:10 inf:inf -inf:nan -1:nan nan:nan
    log10 0:-inf -0:-inf 1:0 10:1 1000:3 inf:inf -inf:nan -1:nan nan:nan
    log10_pieces 0:-inf -0:-inf 1:0 10:1 1000:3 inf:inf -inf:nan -1:nan nan:nan
    log1p 0:0 -0:-0 -1:-inf inf:inf -inf:nan -1.5:nan nan:nan tiny:tiny -tiny:-tiny
    tanh 0:0 -0:-0 inf:1 -inf:-1 nan:nan tiny:tiny -tiny:-tiny max:1 -max:-1
    tanh_pieces 0:0 -0:-0 inf:1 -inf:-1 nan:nan tiny:tiny -tiny:-tiny max:1 -max:-1
    sigmoid 0:0.5 -0:0.5 inf:1 -inf:0 nan:nan max:1 -max:0
    erf 0:0 -0:-0 inf:1 -inf:-1 nan:nan max:1 -max:-1
    erfc 0:1 -0:1 inf:0 -inf:2 nan:nan max:0 -max:2
    erfc_pieces 0:1 -0:1 inf:0 -inf:2 nan:nan max:0 -max:2
    sinh 0:0 -0:-0 inf:inf -inf:-inf nan:nan tiny:tiny -tiny:-tiny max:inf -max:-inf
    cosh 0:1 -0:1 inf:inf -inf:inf nan:nan tiny:1 max:inf -max:inf
    asinh 0:0 -0:-0 inf:inf -inf:-inf nan:nan tiny:tiny -tiny:-tiny
    acosh 1:0 inf:inf -inf:nan nan:nan 0.5:nan 0:nan -1:nan -5:nan -max:nan
    atanh 0:0 -0:-0 1:inf -1:-inf 1.5:nan -1.5:nan inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny
    cbrt 0:0 -0:-0 inf:inf -inf:-inf nan:nan 1:1 -1:-1 27:3 -0.125:-0.5
    sin 0:0 -0:-0 inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny
    sin_pieces 0:0 -0:-0 inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny
    cos 0:1 -0:1 inf:nan -inf:nan nan:nan tiny:1
    cos_pieces 0:1 -0:1 inf:nan -inf:nan nan:nan tiny:1
    tan 0:0 -0:-0 inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny
    sin_bounded 0:0 -0:-0 nan:nan tiny:tiny -tiny:-tiny
    cos_bounded 0:1 -0:1 nan:nan tiny:1
    tan_bounded 0:0 -0:-0 nan:nan tiny:tiny -tiny:-tiny
    asin 0:0 -0:-0 1:pi/2 -1:-pi/2 1.1:nan -1.1:nan inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny
    asin_pieces 0:0 -0:-0 1:pi/2 -1:-pi/2 1.1:nan -1.1:nan inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny
    acos 0:pi/2 -0:pi/2 1:0 -1:pi 1.1:nan -1.1:nan inf:nan -inf:nan nan:nan
    acos_pieces 0:pi/2 -0:pi/2 1:0 -1:pi 1.1:nan -1.1:nan inf:nan -inf:nan nan:nan
    atan 0:0 -0:-0 inf:pi/2 -inf:-pi/2 nan:nan tiny:tiny -tiny:-tiny max:pi/2
    gelu 0:0 -0:-0 inf:inf -inf:-0 nan:nan max:max -max:-0
    gelu_pieces 0:0 -0:-0 inf:inf -inf:-0 nan:nan max:max -max:-0
    silu 0:0 -0:-0 inf:inf -inf:-0 nan:nan max:max -max:-0
    softplus inf:inf -inf:0 nan:nan max:max -max:0
    mish 0:0 -0:-0 inf:inf -inf:-0 nan:nan max:max -max:-0
    erfinv 0:0 -0:-0 1:inf -1:-inf 1.1:nan -1.1:nan inf:nan -inf:nan nan:nan
    erfinv_pieces 0:0 -0:-0 1:inf -1:-inf 1.1:nan -1.1:nan inf:nan -inf:nan nan:nan
    lgamma 0:inf -0:inf 1:0 2:0 -1:inf -2:inf inf:inf -inf:inf nan:nan
    digamma 0:-inf -0:inf -1:nan -2:nan inf:inf nan:nan
    polygamma1 0:inf -0:inf -1:inf inf:0 nan:nan
    polygamma2 0:-inf inf:-0 nan:nan
    polygamma3 0:inf -0:inf -1:inf inf:0 nan:nan
    polygamma10 0:-inf inf:-0 nan:nan
";

fn special_values<T: Real>() {
    let number = |s: &str| {
        let (sign, s) = match s.strip_prefix('-') {
            Some(s) => (-T::ONE, s),
            None => (T::ONE, s),
        };
        let magnitude = match s {
            "tiny" => T::min_positive_value(),
            "max" => T::max_value(),
            "pi" => T::from_f64(PI),
            "pi/2" => T::from_f64(FRAC_PI_2),
            s => T::from_f64(s.parse().expect("a number")),
        };
        sign * magnitude
    };
    let mut seen = BTreeSet::new();
    for line in SPECIAL.lines().filter(|l| !l.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        seen.insert(name);
        for word in words {
            let (x, e) = word.split_once(':').expect("argument:value");
            let (x, e) = (number(x), number(e));
            for level in levels() {
                // Repeated, so that the vector code sees it too, not only the code for the rest of a loop.
                for y in apply(level, name, &[x; 40], &[]) {
                    assert!(
                        same(y, e),
                        "{} {name}({x}), {level:?}: {y}, not {e}",
                        T::DTYPE
                    );
                }
            }
        }
    }
    let all: BTreeSet<&str> = unary().collect();
    assert_eq!(seen, all, "special values of each function");
}

#[test]
fn rounding_equals_the_standard_library() {
    fn check<T: Real>(xs: &[T], expected: fn(&str, T) -> T) {
        for &name in ROUNDING {
            for level in levels() {
                for (&x, y) in xs.iter().zip(apply(level, name, xs, &[])) {
                    let e = expected(name, x);
                    assert!(same(y, e), "{name}({x}), {level:?}: {y}, not {e}");
                }
            }
        }
    }
    let singles: Vec<f32> = (0..1u64 << 32)
        .step_by(99_991)
        .map(|b| f32::from_bits(b as u32))
        .chain((-80..80).map(|i| i as f32 * 0.25))
        .chain((-80..80).map(|i| 8_388_608.0 + i as f32 * 0.5))
        .collect();
    check(&singles, |name, x| match name {
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round_ties_even(),
        _ => x.trunc(),
    });
    let doubles: Vec<f64> = singles
        .iter()
        .flat_map(|&x| {
            [
                f64::from(x),
                f64::from(x) * 536_870_912.0,
                f64::from(x) * 1.000_000_001,
            ]
        })
        .collect();
    check(&doubles, |name, x| match name {
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round_ties_even(),
        _ => x.trunc(),
    });
}

#[test]
fn special_values_f32() {
    special_values::<f32>();
}

#[test]
fn special_values_f64() {
    special_values::<f64>();
}

/// The last elements of a slice run through scalar code: it must give the same bits as the vector code.
#[test]
fn scalar_remainder_equals_vector_code() {
    fn check<T: Real>() {
        let x: Vec<T> = (0..67)
            .map(|i| T::from_f64(0.037 * f64::from(i) - 0.9))
            .collect();
        let y: Vec<T> = (0..67)
            .map(|i| T::from_f64(1.3 - 0.04 * f64::from(i)))
            .collect();
        for level in levels() {
            for name in unary().chain(BINARY.iter().copied()) {
                let all = apply(level, name, &x, &y);
                for i in 0..x.len() {
                    let alone = apply(level, name, &x[i..=i], &y[i..=i])[0];
                    assert!(
                        same(alone, all[i]),
                        "{} {name}({}), {level:?}: {alone} or {}",
                        T::DTYPE,
                        x[i],
                        all[i]
                    );
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}
