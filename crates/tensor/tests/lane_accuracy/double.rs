//! Double precision.

use super::functions::{BINARY, GAMMA, IN_PIECES, apply, levels, levels_of, plain, same, unary};
use super::measure::{Worst, bounds, ulps};
use super::special::EDGES;
use std::collections::BTreeMap;
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Baseline, Level, best_level};

#[test]
fn f64_against_a_table_of_proved_values() {
    let bounds = bounds();
    let mut table: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    for line in include_str!("../data/lane_f64.txt").lines() {
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
        for level in levels_of(name) {
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
