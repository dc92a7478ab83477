//! Statistics of numbers around a large mean.

use super::*;

#[test]
fn statistics_around_a_large_mean() {
    let mut r = Numbers(9);
    let n = 1000;
    let wide = Tape::<f64>::inference();
    let y: Vec<f64> = (0..n)
        .map(|_| 1e8 + r.below(1 << 30) as f64 / 536_870_912.0 - 1.0)
        .collect();
    let v = wide.input(&Tensor::from_slice(&y, [n]));
    let mean = y.iter().map(|x| x - 1e8).sum::<f64>() / n as f64;
    let e = y.iter().map(|x| (x - 1e8 - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    assert!((v.var(1.0).item() - e).abs() <= 1e-6 * e);
    assert!((v.std(1.0).item() - e.sqrt()).abs() <= 1e-6 * e.sqrt());
    // The same numbers without the offset give the same normalized ones.
    let c = wide.input(&Tensor::from_vec(y.iter().map(|x| x - 1e8).collect(), [n]));
    let (a, b) = (
        v.layer_norm(1, None, None, 0.0).value(),
        c.layer_norm(1, None, None, 0.0).value(),
    );
    assert!(a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() <= 1e-6));
    let rows = |x: Var<'_, f64>| {
        let x = x.reshape([n / 2, 2]);
        let (m, s) = x.batch_statistics();
        x.batch_norm(m, s, None, None, 0.0).value().to_vec()
    };
    assert!(
        rows(v)
            .iter()
            .zip(rows(c))
            .all(|(a, b)| (a - b).abs() <= 1e-6)
    );
}

/// In f32 the numbers themselves are rounded; what is computed from the rounded ones is compared with f64.
#[test]
fn statistics_around_a_large_mean_in_f32() {
    // At 1e8 neighbours are 8 apart.
    for (center, spread) in [
        (1e8, 1.0),
        (1e8, 100.0),
        (1e4, 1.0),
        (-3e6, 5.0),
        (0.0, 1.0),
    ] {
        let mut r = Numbers(9);
        let (rows, n) = (6, 1000);
        let x: Vec<f32> = (0..rows * n)
            .map(|_| {
                let u = r.below(1 << 30) as f64 / 536_870_912.0 - 1.0;
                (center + spread * u + spread / 9.0) as f32
            })
            .collect();
        // Two passes in f64: mean and variance of each row.
        let exact: Vec<(f64, f64)> = (x.chunks(n))
            .map(|row| {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
                let sum: f64 = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
                (mean, sum / n as f64)
            })
            .collect();
        let tape = Tape::<f32>::inference();
        let v = tape.input(&Tensor::from_slice(&x, [rows, n]));
        let close = |name: &str, found: Var<'_, f32>, expected: &dyn Fn(f64) -> f64| {
            for (f, (_, e)) in found.value().iter().zip(&exact) {
                let e = expected(*e);
                assert!(
                    (f64::from(f) - e).abs() <= 1e-6 * e,
                    "{name} at {center}: {f}, exact {e}"
                );
            }
        };
        close("var", v.var_dim([1], 0.0, false), &|e| e);
        close("var columns", v.t().var_dim([0], 0.0, false), &|e| e);
        close("std", v.std_dim([1], 0.0, false), &f64::sqrt);
        close("batch_statistics", v.t().batch_statistics().1, &|e| e);
        let channels = v.reshape([rows, 4, n / 4]).permute([1, 0, 2]);
        close(
            "batch_normalized",
            channels.batch_normalized(None, None, 0.0, false).2,
            &|e| e,
        );
        // The normalized numbers, relative to their unit size; and their derivative against f64.
        let wide = Tape::<f64>::inference();
        let w = wide.input(&Tensor::from_vec(
            x.iter().map(|&v| f64::from(v)).collect(),
            [rows, n],
        ));
        let c: Vec<f64> = (0..rows * n).map(|i| (i as f64 * 0.37).sin()).collect();
        let c32 = tape.input(&Tensor::from_vec(
            c.iter().map(|&x| x as f32).collect(),
            [rows, n],
        ));
        let c64 = wide.input(&Tensor::from_vec(
            c.iter().map(|&x| f64::from(x as f32)).collect(),
            [rows, n],
        ));
        let shape = [rows, 4, n / 4];
        let pairs = [
            (
                "layer_norm",
                v.layer_norm(1, None, None, 0.0),
                w.layer_norm(1, None, None, 0.0),
            ),
            (
                "group_norm",
                v.group_norm(1, None, None, 0.0),
                w.group_norm(1, None, None, 0.0),
            ),
            (
                "batch_norm",
                v.reshape(shape)
                    .permute([1, 0, 2])
                    .batch_normalized(None, None, 0.0, false)
                    .0
                    .permute([1, 0, 2])
                    .reshape([rows, n]),
                w.reshape(shape)
                    .permute([1, 0, 2])
                    .batch_normalized(None, None, 0.0, false)
                    .0
                    .permute([1, 0, 2])
                    .reshape([rows, n]),
            ),
        ];
        if center == 1e8 && spread == 1.0 {
            // All numbers are the same one after rounding.
            assert!(exact.iter().all(|e| e.1 == 0.0));
            continue;
        }
        for (name, y, z) in pairs {
            // z itself is compared with the definition.
            for (i, (z, x)) in z.value().iter().zip(&x).enumerate() {
                let (mean, var) = exact[i / n];
                assert!(
                    (z - (f64::from(*x) - mean) / var.sqrt()).abs() <= 1e-9,
                    "{name}"
                );
            }
            for (y, z) in y.value().iter().zip(z.value().iter()) {
                assert!(
                    (f64::from(y) - z).abs() <= 1e-6 * z.abs().max(1.0),
                    "{name} at {center}: {y}, exact {z}"
                );
            }
            let (gy, gz) = (
                vjp_many(&[y], &[c32], &[v])[0],
                vjp_many(&[z], &[c64], &[w])[0],
            );
            let scale = gz.value().iter().fold(0.0f64, |m, g| m.max(g.abs()));
            for (y, z) in gy.value().iter().zip(gz.value().iter()) {
                assert!(
                    (f64::from(y) - z).abs() <= 2e-6 * scale,
                    "derivative of {name} at {center}: {y}, exact {z}"
                );
            }
        }
    }
}

/// The variance of rows is made in one pass, around a number near the mean that four elements give, of long rows in blocks:
/// also where those four are far off, and where means differ from block to block.
#[test]
fn variances_of_rows_in_one_pass() {
    fn check<T: Float>(n: usize, tolerance: f64, of: fn(usize, usize, f64) -> f64) {
        let rows = 3;
        let mut r = Numbers(n as u64);
        let x: Vec<T> = (0..rows * n)
            .map(|i| T::from_f64(of(i % n, n, r.below(1 << 30) as f64 / 536_870_912.0 - 1.0)))
            .collect();
        let tape = Tape::<T>::inference();
        let v = tape.input(&Tensor::from_slice(&x, [rows, n]));
        let y = v.var_dim(1, 1.0, false);
        let d = grad(y.sum(), [v])[0].value().to_vec();
        let y = y.value().to_vec();
        for k in 0..rows {
            let row: Vec<f64> = x[k * n..][..n].iter().map(|v| v.as_f64()).collect();
            let mean = row[0] + row.iter().map(|v| v - row[0]).sum::<f64>() / n as f64;
            let sum: f64 = row.iter().map(|v| (v - mean).powi(2)).sum();
            let e = sum / (n - 1) as f64;
            let found = y[k].as_f64();
            assert!((found - e).abs() <= tolerance * e, "{n}: {found} for {e}");
            // 2 (x - mean) / (n - 1), to the rounding of the largest.
            let scale = 2.0 * e.sqrt() / (n - 1) as f64;
            for (d, v) in d[k * n..][..n].iter().zip(&row) {
                let e = 2.0 * (v - mean) / (n - 1) as f64;
                let error = (d.as_f64() - e).abs();
                assert!(error <= tolerance * (scale + e.abs()), "{n}: {d} for {e}");
            }
        }
    }
    let kinds: [fn(usize, usize, f64) -> f64; 4] = [
        |_, _, u| u,
        |_, _, u| 1000.0 + u,
        // The four elements that are looked at first.
        |i, n, u| if i % ((n - 1) / 3) < 2 { 1000.0 + u } else { u },
        |i, n, u| 50.0 * i as f64 / n as f64 + u,
    ];
    for of in kinds {
        for n in [7, 40, 1000, 8192, 8193, 70_000] {
            check::<f32>(n, 1e-6, of);
            check::<f64>(n, 1e-10, of);
        }
    }
}
