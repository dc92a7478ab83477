//! The elementary functions of `lane` on every instruction set of this machine: errors against the bounds that the
//! documentation of `lane` states, special values, and agreement of vector and scalar code.
//!
//! `cargo test -p wengert-tensor --test lane_accuracy -- --nocapture` prints the largest errors found. `SWEEP=3` in front of it
//! looks at every third f32, `SWEEP=1` at all of them, `ONLY=gelu,tanh` at some functions. For the sake of time all floats are
//! compared with our own functions in f64 (the sample without `SWEEP` with those of `libm`), and what the baseline computes is
//! computed in vectors (and compared with the baseline at every four hundredth float).

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::{FRAC_PI_2, PI};
use std::sync::atomic::{AtomicU64, Ordering};
use wengert_tensor::Real;
use wengert_tensor::fused::{BlockFns, Doubles, ERFC, ElemFn, GELU, ROOTS, TANH, block_fns};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Baseline, Isa, Kernel, Level, best_level, dispatch_at};

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
    unary exp exp2 expm1 ln log2 log10 log1p tanh sigmoid erf erfc sinh cosh asinh acosh atanh cbrt sin cos tan
        sin_bounded cos_bounded tan_bounded asin acos atan gelu silu softplus mish erfinv lgamma digamma;
    binary pow hypot atan2;
    order polygamma 1 polygamma1 polygamma 2 polygamma2 polygamma 3 polygamma3 polygamma 10 polygamma10;
    rounding floor ceil round trunc
}

/// Functions as the loops of elementwise programs compute them.
macro_rules! own_loops {
    ($($Name:ident $f:ident $($LOOP:expr),+;)+) => {$(
        struct $Name;
        impl ElemFn for $Name {
            const ARITY: usize = 1;
            #[inline(always)]
            fn eval<V: Lane>(x: V, _: V, _: V, _: [V; 2]) -> V {
                x.$f()
            }
            #[inline(always)]
            fn own_loop<T: Real, I: Isa>(dst: &mut [T], x: &[T]) -> bool {
                $($LOOP.fill::<Self, T, I>(dst, x))||+
            }
        }
    )+};
}
own_loops! {
    GeluPieces gelu GELU, Doubles::Gelu;
    TanhPieces tanh TANH;
    ErfcPieces erfc ERFC, Doubles::Erfc;
    ErfinvPieces erfinv Doubles::Erfinv;
    ExpPieces exp Doubles::Exp;
    LnPieces ln Doubles::Ln;
    Log2Pieces log2 Doubles::Log2;
    Log10Pieces log10 Doubles::Log10;
    AsinPieces asin Doubles::Asin;
    AcosPieces acos Doubles::Acos;
    SinPieces sin Doubles::Sin;
    CosPieces cos Doubles::Cos;
    Sqrt sqrt ROOTS;
}

/// Functions made of pieces, whose loops are handed out whole.
const IN_PIECES: &[&str] = &[
    "gelu_pieces",
    "tanh_pieces",
    "erfc_pieces",
    "erfinv_pieces",
    "exp_pieces",
    "ln_pieces",
    "log2_pieces",
    "log10_pieces",
    "sin_pieces",
    "cos_pieces",
    "asin_pieces",
    "acos_pieces",
];

/// The loops of such a function.
fn in_pieces<T: Real>(name: &str) -> &'static BlockFns<T> {
    match name {
        "gelu_pieces" => block_fns::<GeluPieces, T>(),
        "tanh_pieces" => block_fns::<TanhPieces, T>(),
        "erfc_pieces" => block_fns::<ErfcPieces, T>(),
        "erfinv_pieces" => block_fns::<ErfinvPieces, T>(),
        "exp_pieces" => block_fns::<ExpPieces, T>(),
        "ln_pieces" => block_fns::<LnPieces, T>(),
        "log2_pieces" => block_fns::<Log2Pieces, T>(),
        "log10_pieces" => block_fns::<Log10Pieces, T>(),
        "sin_pieces" => block_fns::<SinPieces, T>(),
        "cos_pieces" => block_fns::<CosPieces, T>(),
        "asin_pieces" => block_fns::<AsinPieces, T>(),
        "acos_pieces" => block_fns::<AcosPieces, T>(),
        _ => panic!("{name} has no loop of its own"),
    }
}

/// Functions of one argument.
fn unary() -> impl Iterator<Item = &'static str> {
    UNARY.iter().chain(IN_PIECES).copied()
}

/// The name of a function without what tells its form.
fn plain(name: &str) -> &str {
    (name.trim_end_matches("_bounded")).trim_end_matches("_pieces")
}

/// Functions with a second row in the documentation, for negative arguments.
const GAMMA: &[&str] = &[
    "lgamma",
    "digamma",
    "polygamma1",
    "polygamma2",
    "polygamma3",
    "polygamma10",
];

/// The instruction sets on which a function has a form of its own.
fn levels_of(name: &str) -> impl Iterator<Item = Level> {
    levels().filter(move |&l| !IN_PIECES.contains(&name) || l == Level::Avx512)
}

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&l| l <= best_level())
}

fn apply<T: Real>(level: Level, name: &str, x: &[T], y: &[T]) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len()];
    let out_ref = &mut out[..];
    if IN_PIECES.contains(&name) {
        in_pieces(name)[level as usize - Level::Baseline as usize](out_ref, [x; 3], [T::ZERO; 2]);
        return out;
    }
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

/// The formulas of the baseline in the widest registers of this machine.
#[derive(Clone, Copy, Default, Debug, PartialEq, PartialOrd)]
struct Formulas;
impl Isa for Formulas {
    const FMA: bool = Baseline::FMA;
    const WIDTH: usize = 64;
}

/// A kernel as the baseline computes it, but with vector code in place of a call for each element.
struct InVectors<K>(K);
impl<K: Kernel> Kernel for InVectors<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<I: Isa>(self) -> K::Output {
        self.0.run::<Formulas>()
    }
}

/// As [`apply`] for a sweep of all floats: the baseline in vectors, and a check that its bits are the same for some of `x`.
fn apply_quickly(level: Level, name: &str, x: &[f32]) -> Vec<f32> {
    if level != Level::Baseline {
        return apply(level, name, x, &[]);
    }
    let mut out = vec![0.0; x.len()];
    let y = &mut out[..];
    let job = Apply {
        name,
        x,
        y: &[],
        out: y,
    };
    dispatch_at(best_level(), InVectors(job));
    let some = 0..x.len().min(40);
    for (i, y) in some.clone().zip(apply(level, name, &x[some], &[])) {
        assert!(same(y, out[i]), "{name}({}): {y} or {}", x[i], out[i]);
    }
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

/// The arguments that a function promises something for.
fn in_range<T: Real>(name: &str, xs: &[T]) -> Vec<T> {
    let bound = if name.ends_with("_bounded") {
        T::Lane::<Baseline>::TRIG_BOUND
    } else {
        f64::INFINITY
    };
    xs.iter()
        .copied()
        .filter(|x| x.is_nan() || x.as_f64().abs() <= bound)
        .collect()
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
    for name in unary().chain(BINARY.iter().copied()) {
        let mut rows = table[plain(name)].clone();
        if name.ends_with("_bounded") {
            rows.retain(|r| r[0].abs() <= <f64 as Real>::Lane::<Baseline>::TRIG_BOUND);
        }
        assert!(rows.len() >= 150, "{name}: only {} points", rows.len());
        // Below 0 the functions of this family have zeros, near which the error is that of the terms which cancel there.
        let family = GAMMA.contains(&name);
        let below = format!("{name}` for x < 0");
        let x: Vec<f64> = rows.iter().map(|r| r[0]).collect();
        let y: Vec<f64> = rows.iter().map(|r| r[1]).collect();
        for level in levels() {
            let (mut worst, mut worst_below) = (Worst::new(), Worst::new());
            for (row, &z) in rows.iter().zip(&apply(level, name, &x, &y)) {
                let [high, low] = row[row.len() - 2..] else {
                    unreachable!()
                };
                let error = ulps(z, high, low, 53, -1022, f64::MAX);
                if family && row[0] < 0.0 {
                    worst_below.see(error * high.abs().min(1.0), row[0], z);
                } else {
                    worst.see(error, row[0], z);
                }
            }
            for (name, Worst { ulps, x, y }) in [(name, worst), (&below, worst_below)] {
                println!("f64 {name:12} {level:?}: {ulps:.3} ulp at {x:e} -> {y:e}");
                let bound = bounds.get(name).map_or(0.0, |b| b[1]);
                assert!(
                    ulps <= bound,
                    "f64 {name}, {level:?}: {ulps} ulp at {x:e} -> {y:e}, stated bound {bound}"
                );
            }
        }
    }
}

/// Every piece of a function in f64, and where pieces meet: within the two stated bounds of the formulas.
#[test]
fn pieces_in_f64_agree_with_the_formulas() {
    if best_level() < Level::Avx512 {
        return;
    }
    let bounds = bounds();
    let mut x: Vec<f64> = (0..60_000).map(|i| f64::from(i) * 5e-4 + 1e-5).collect();
    x.extend((1..60_000).map(|i| f64::from(i) / 6e4));
    for e in -1074..1024 {
        let power = 2f64.powi(e);
        x.extend((0..16).flat_map(|j| {
            let end = power * (1.0 + f64::from(j) / 16.0);
            [end.next_down(), end, end.next_up(), end * 1.03]
        }));
    }
    let x: Vec<f64> = x.iter().flat_map(|&x| [x, -x]).collect();
    for &name in IN_PIECES {
        let mut worst = Worst::new();
        let formulas = apply(Level::Avx512, plain(name), &x, &[]);
        for ((&x, &y), z) in x
            .iter()
            .zip(&formulas)
            .zip(apply(Level::Avx512, name, &x, &[]))
        {
            worst.see(ulps(z, y, 0.0, 53, -1022, f64::MAX), x, z);
        }
        let Worst { ulps, x, y } = worst;
        let bound = bounds[name][1] + bounds[plain(name)][1];
        println!("f64 {name:12}: {ulps} ulp from the formula at {x:e} -> {y:e}");
        assert!(
            ulps <= bound,
            "{name}: {ulps} ulp from the formula at {x:e} -> {y:e}"
        );
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

const EDGES: &[f32] = &[
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

/// The special cases of IEEE 754 and C: those that the standard library has, on all pairs of edge values.
#[test]
fn f64_functions_of_two_arguments_at_the_edges() {
    let edges: Vec<f64> = EDGES
        .iter()
        .map(|&x| f64::from(x))
        .chain([f64::MAX, 5e-324, 9_007_199_254_740_991.0])
        .collect();
    for level in levels() {
        for (name, f) in [
            ("pow", f64::powf as fn(f64, f64) -> f64),
            ("hypot", f64::hypot),
            ("atan2", f64::atan2),
        ] {
            for &x in &edges {
                let xs = vec![x; edges.len()];
                for (&y, z) in edges.iter().zip(apply(level, name, &xs, &edges)) {
                    let e = f(x, y);
                    let special = e == 0.0 || e.is_nan() || e.is_infinite();
                    let close = (z - e).abs() <= 4e-16 * e.abs() + 5e-324;
                    assert!(
                        if special { same(z, e) } else { close },
                        "{name}({x:e}, {y:e}), {level:?}: {z:e}, not {e:e}"
                    );
                }
            }
        }
    }
}

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

/// Same bits, any NaN equal to any other.
fn same<T: Real>(a: T, b: T) -> bool {
    a.is_nan() && b.is_nan() || a == b && a.is_sign_negative() == b.is_sign_negative()
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

/// Elementwise square roots of `x`, begun at three places that are a register of `lanes` elements apart, against `root`.
fn check_roots<T: Real>(x: &[T], lanes: usize, root: fn(T) -> T) {
    let loops = block_fns::<Sqrt, T>();
    for level in levels() {
        for from in [0, lanes, 2 * lanes] {
            let x = &x[from..];
            let mut y = vec![T::ZERO; x.len()];
            loops[level as usize - Level::Baseline as usize](&mut y, [x; 3], [T::ZERO; 2]);
            for (&x, y) in x.iter().zip(y) {
                // Conversion to f64 is exact.
                let [x, y, root] = [x, y, root(x)].map(|v| v.as_f64());
                let same = y.to_bits() == root.to_bits() || y.is_nan() && root.is_nan();
                assert!(same, "{x:e}: {y:e} in place of {root:e} on {level:?}");
            }
        }
    }
}

/// Every f32 of two binades (the others repeat them), the ends of the range of products, and what they do not take, at every
/// place of a group.
#[test]
fn roots_are_correctly_rounded() {
    let all = |from: f32, to: f32| (from.to_bits()..to.to_bits()).map(f32::from_bits);
    let least = 2.0f32.powi(-70);
    let mut x = vec![1.0; 32];
    x.extend(all(1.0, 4.0));
    x.extend(all(least / 2.0, 4.0 * least).step_by(7));
    x.extend(all(f32::MAX / 4.0, f32::INFINITY).step_by(7));
    for special in [0.0, -0.0, f32::INFINITY, f32::NAN, -1.0, 1e-40, -1e-40] {
        for at in 0..48 {
            x.extend(all(2.0, 2.1).take(at));
            x.push(special);
            x.extend(all(3.0, 3.1).take(47 - at));
        }
    }
    check_roots(&x, 16, |x| x.sqrt());
}

/// In double precision: numbers of all magnitudes, squares of numbers in the middle between two of f64 (their roots are the hardest
/// to round), the ends of the range of products, and what they do not take, at every place of a group.
#[test]
fn roots_are_correctly_rounded_in_double_precision() {
    let mut state = 7u64;
    let mut bits = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ state >> 29
    };
    let mut x = vec![1.0; 16];
    for i in 0..400_000 {
        x.push(f64::from_bits(bits() >> 1).abs());
        x.push(1.0 + (bits() >> 11) as f64 / (1u64 << 52) as f64 * 1.5);
        // (m + 1/2)² of a whole number m of 53 bits, rounded down and up, as numbers between 1 and 4. Those of m near the least
        // one are next to numbers of f64.
        let m = (1u64 << 52) | if i % 2 == 0 { bits() >> 12 } else { i };
        let square = u128::from(m) * u128::from(m + 1);
        let shift = 128 - 53 - square.leading_zeros();
        let scale = 2f64.powi(shift as i32 - 104);
        let whole = (square >> shift) as u64;
        x.extend([whole, whole + 1].map(|w| w as f64 * scale));
    }
    let least = 2f64.powi(-800);
    for i in 0..10_000u64 {
        for around in [least, f64::MAX, f64::MIN_POSITIVE, 1.0, 4.0] {
            x.push(f64::from_bits(around.to_bits() - 5_000 + i.min(5_000)));
        }
        x.push(f64::from_bits(least.to_bits() + i));
    }
    for special in [0.0, -0.0, f64::INFINITY, f64::NAN, -1.0, 1e-310, -1e-310] {
        for at in 0..24 {
            x.extend((0..24).map(|k| 2.0 + f64::from(k) * 0.37));
            let last = x.len() - 24;
            x[last + at] = special;
        }
    }
    check_roots(&x, 8, |x| x.sqrt());
}
