//! The elementary functions of `lane` on every instruction set of this machine: errors against the bounds that the
//! documentation of `lane` states, special values, and agreement of vector and scalar code.
//!
//! `cargo test -p wengert-tensor --test lane_accuracy -- --nocapture` prints the largest errors found.

use std::collections::BTreeMap;
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, Level, best_level, dispatch_at};

/// Applies the function of that name to `x` (and `y`).
struct Apply<'a, T> {
    name: &'a str,
    x: &'a [T],
    y: &'a [T],
    out: &'a mut [T],
}

macro_rules! functions {
    (unary $($unary:ident)*; binary $($binary:ident)*; order $($order:ident $n:literal $ordered:ident)*;
     rounding $($rounding:ident)*) => {
        const UNARY: &[&str] = &[$(stringify!($unary),)* $(stringify!($ordered)),*];
        const ROUNDING: &[&str] = &[$(stringify!($rounding)),*];
        const BINARY: &[&str] = &[$(stringify!($binary)),*];

        impl<T: Real> Kernel for Apply<'_, T> {
            type Output = ();
            #[inline(always)]
            fn run<I: Isa>(self) {
                match self.name {
                    $(stringify!($rounding) => {
                        for (o, &x) in self.out.iter_mut().zip(self.x) {
                            *o = T::Lane::<I>::new(x).$rounding().get();
                        }
                    })*
                    $(stringify!($unary) => {
                        for (o, &x) in self.out.iter_mut().zip(self.x) {
                            *o = T::Lane::<I>::new(x).$unary().get();
                        }
                    })*
                    $(stringify!($ordered) => {
                        for (o, &x) in self.out.iter_mut().zip(self.x) {
                            *o = T::Lane::<I>::new(x).$order($n).get();
                        }
                    })*
                    $(stringify!($binary) => {
                        for ((o, &x), &y) in self.out.iter_mut().zip(self.x).zip(self.y) {
                            *o = T::Lane::<I>::new(x).$binary(T::Lane::<I>::new(y)).get();
                        }
                    })*
                    name => panic!("no function {name}"),
                }
            }
        }
    };
}

functions! {
    unary exp exp2 expm1 ln log2 log10 log1p tanh sigmoid erf erfc;
    binary hypot;
    order;
    rounding floor ceil round trunc
}

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&l| l <= best_level())
}

fn apply<T: Real>(level: Level, name: &str, x: &[T], y: &[T]) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len()];
    let out_ref = &mut out[..];
    dispatch_at(
        level,
        Apply {
            name,
            x,
            y,
            out: out_ref,
        },
    );
    out
}

/// The rows `| function | f32 | f64 |` of the table in the documentation of `lane`: the promise under test.
fn bounds() -> BTreeMap<&'static str, [f64; 2]> {
    let doc = include_str!("../src/lane/mod.rs");
    doc.lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let bound = |i: usize| cells[i].parse().expect("a number of ulp");
            (cells[0].trim_end_matches('`'), [bound(1), bound(2)])
        })
        .collect()
}

/// Distance of `y` from the value `high + low`, in units of the last place of that value in a format of `bits`
/// significand bits and least exponent `least`.
fn ulps(y: f64, high: f64, low: f64, bits: i32, least: i32, max: f64) -> f64 {
    if y.to_bits() == high.to_bits() && low == 0.0 || y.is_nan() && high.is_nan() {
        return 0.0;
    }
    if y.is_nan() || high.is_nan() || y == 0.0 && high == 0.0 {
        return f64::INFINITY;
    }
    if high.abs() > max || y.is_infinite() {
        // Overflow: the value is beyond the largest number, or the last half unit before it.
        let near = y.is_infinite() && high.abs() >= max
            || y.abs() == max && high.abs() <= max * 1.000_000_1;
        let same = y.is_sign_negative() == high.is_sign_negative();
        return if same && (near || y == high) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = ((high.abs().to_bits() >> 52) as i32 - 1023).max(least) - (bits - 1);
    let ulp = if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (exponent + 1074))
    };
    (((y - high) - low) / ulp).abs()
}

fn ulps32(y: f32, value: f64) -> f64 {
    ulps(f64::from(y), value, 0.0, 24, -126, f64::from(f32::MAX))
}

/// What f32 is compared with: functions of f64 from `libm`, or ours in f64, which the table checks.
fn oracle(name: &str, x: f64) -> f64 {
    match name {
        "exp" => libm::exp(x),
        "exp2" => libm::exp2(x),
        "expm1" => libm::expm1(x),
        "ln" => libm::log(x),
        "log2" => libm::log2(x),
        "log10" => libm::log10(x),
        "log1p" => libm::log1p(x),
        "tanh" => libm::tanh(x),
        "sigmoid" => 1.0 / (1.0 + libm::exp(-x)),
        "erf" => libm::erf(x),
        "erfc" => libm::erfc(x),
        _ => apply(Level::Baseline, name, &[x], &[])[0],
    }
}

struct Worst {
    ulps: f64,
    x: f64,
    y: f64,
}

impl Worst {
    fn new() -> Self {
        Worst {
            ulps: 0.0,
            x: 0.0,
            y: 0.0,
        }
    }
    fn see(&mut self, ulps: f64, x: f64, y: f64) {
        if ulps > self.ulps {
            *self = Worst { ulps, x, y };
        }
    }
}

#[test]
fn f32_on_a_dense_sweep_of_all_floats() {
    let bounds = bounds();
    let xs: Vec<f32> = (0..1u64 << 32)
        .step_by(997)
        .map(|b| f32::from_bits(b as u32))
        .collect();
    for &name in UNARY {
        let bound = bounds[name][0];
        let expected: Vec<f64> = xs.iter().map(|&x| oracle(name, f64::from(x))).collect();
        for level in levels() {
            let mut worst = Worst::new();
            for ((&x, &y), &e) in xs.iter().zip(&apply(level, name, &xs, &[])).zip(&expected) {
                worst.see(ulps32(y, e), f64::from(x), f64::from(y));
            }
            let Worst { ulps, x, y } = worst;
            println!("f32 {name:12} {level:?}: {ulps:.3} ulp at {x:e} -> {y:e}");
            assert!(
                ulps <= bound,
                "f32 {name}, {level:?}: {ulps} ulp at {x:e} -> {y:e}, stated bound {bound}"
            );
        }
    }
}

#[test]
fn f64_against_a_table_of_proved_values() {
    let bounds = bounds();
    let mut table: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    for line in include_str!("data/lane_f64.txt").lines() {
        let (name, numbers) = line.split_once(' ').expect("a name and numbers");
        let row = numbers
            .split(' ')
            .map(|h| f64::from_bits(u64::from_str_radix(h, 16).expect("hexadecimal bits")))
            .collect();
        table.entry(name).or_default().push(row);
    }
    for &name in UNARY.iter().chain(BINARY) {
        let rows = &table[name];
        assert!(rows.len() >= 150, "{name}: only {} points", rows.len());
        let bound = bounds[name][1];
        let x: Vec<f64> = rows.iter().map(|r| r[0]).collect();
        let y: Vec<f64> = rows.iter().map(|r| r[1]).collect();
        for level in levels() {
            let mut worst = Worst::new();
            for (row, &z) in rows.iter().zip(&apply(level, name, &x, &y)) {
                let [high, low] = row[row.len() - 2..] else {
                    unreachable!()
                };
                worst.see(ulps(z, high, low, 53, -1022, f64::MAX), row[0], z);
            }
            let Worst { ulps, x, y } = worst;
            println!("f64 {name:12} {level:?}: {ulps:.3} ulp at {x:e} -> {y:e}");
            assert!(
                ulps <= bound,
                "f64 {name}, {level:?}: {ulps} ulp at {x:e} -> {y:e}, stated bound {bound}"
            );
        }
    }
}

#[test]
fn every_function_is_documented_and_tested() {
    let bounds = bounds();
    for name in UNARY.iter().chain(BINARY) {
        assert!(
            bounds.contains_key(name),
            "{name} has no row in the documentation of lane"
        );
    }
    for name in bounds.keys() {
        assert!(
            UNARY.contains(name) || BINARY.contains(name),
            "{name} is documented, but not tested"
        );
    }
}

/// Same bits, any NaN equal to any other.
fn same<T: Real>(a: T, b: T) -> bool {
    a.is_nan() && b.is_nan() || a == b && a.is_sign_negative() == b.is_sign_negative()
}

fn special_values<T: Real>() {
    let (inf, nan, zero, one) = (T::infinity(), T::nan(), T::ZERO, T::ONE);
    let tiny = T::min_positive_value();
    let half = T::from_f64(0.5);
    let cases: &[(&str, &[(T, T)])] = &[
        (
            "exp",
            &[
                (zero, one),
                (-zero, one),
                (inf, inf),
                (-inf, zero),
                (nan, nan),
                (tiny, one),
                (T::max_value(), inf),
                (T::min_value(), zero),
            ],
        ),
        (
            "exp2",
            &[
                (zero, one),
                (-zero, one),
                (inf, inf),
                (-inf, zero),
                (nan, nan),
                (one, T::from_f64(2.0)),
                (T::from_f64(-126.0), T::from_f64(2f64.powi(-126))),
                (T::max_value(), inf),
                (T::min_value(), zero),
            ],
        ),
        (
            "expm1",
            &[
                (zero, zero),
                (-zero, -zero),
                (inf, inf),
                (-inf, -one),
                (nan, nan),
                (tiny, tiny),
                (-tiny, -tiny),
                (T::max_value(), inf),
                (T::min_value(), -one),
            ],
        ),
        (
            "ln",
            &[
                (zero, -inf),
                (-zero, -inf),
                (one, zero),
                (inf, inf),
                (-inf, nan),
                (-one, nan),
                (-tiny, nan),
                (nan, nan),
            ],
        ),
        (
            "log2",
            &[
                (zero, -inf),
                (-zero, -inf),
                (one, zero),
                (T::from_f64(8.0), T::from_f64(3.0)),
                (T::from_f64(2f64.powi(-126)), T::from_f64(-126.0)),
                (inf, inf),
                (-one, nan),
                (nan, nan),
            ],
        ),
        (
            "log10",
            &[
                (zero, -inf),
                (-zero, -inf),
                (one, zero),
                (T::from_f64(1000.0), T::from_f64(3.0)),
                (inf, inf),
                (-one, nan),
                (nan, nan),
            ],
        ),
        (
            "log1p",
            &[
                (zero, zero),
                (-zero, -zero),
                (-one, -inf),
                (inf, inf),
                (-inf, nan),
                (T::from_f64(-1.5), nan),
                (nan, nan),
                (tiny, tiny),
                (-tiny, -tiny),
            ],
        ),
        (
            "tanh",
            &[
                (zero, zero),
                (-zero, -zero),
                (inf, one),
                (-inf, -one),
                (nan, nan),
                (tiny, tiny),
                (-tiny, -tiny),
                (T::max_value(), one),
            ],
        ),
        (
            "sigmoid",
            &[
                (zero, half),
                (-zero, half),
                (inf, one),
                (-inf, zero),
                (nan, nan),
                (T::max_value(), one),
                (T::min_value(), zero),
            ],
        ),
        (
            "erf",
            &[
                (zero, zero),
                (-zero, -zero),
                (inf, one),
                (-inf, -one),
                (nan, nan),
                (T::max_value(), one),
            ],
        ),
        (
            "erfc",
            &[
                (zero, one),
                (-zero, one),
                (inf, zero),
                (-inf, T::from_f64(2.0)),
                (nan, nan),
                (T::max_value(), zero),
                (T::min_value(), T::from_f64(2.0)),
            ],
        ),
    ];
    for level in levels() {
        for &(name, values) in cases {
            // Repeated, so that the vector code sees them too, not only the code for the rest of a loop.
            let x: Vec<T> = values.iter().flat_map(|v| [v.0; 40]).collect();
            let expected = values.iter().flat_map(|v| [v.1; 40]);
            for ((&x, y), e) in x.iter().zip(apply(level, name, &x, &[])).zip(expected) {
                assert!(
                    same(y, e),
                    "{} {name}({x}), {level:?}: {y}, not {e}",
                    T::DTYPE
                );
            }
        }
        for &(name, _) in cases {
            assert!(UNARY.contains(&name));
        }
    }
    for name in UNARY {
        assert!(
            cases.iter().any(|c| c.0 == *name),
            "{name} has no special values"
        );
    }
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
            for &name in UNARY.iter().chain(BINARY) {
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
