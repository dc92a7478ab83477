//! Gradients keep their size in deep networks.

use crate::rng;
use wengert_nn::init::{Fans, Init, Nonlinearity};

/// 30 layers of width 256: ratio of the gradients of the activations at the first and the last layer.
fn gradient_ratio(
    n: Nonlinearity,
    init: Init,
    value: fn(f64) -> f64,
    slope: fn(f64) -> f64,
) -> f64 {
    let (depth, width, batch) = (30, 256, 8);
    let mut rng = rng(9);
    let fans = Fans::linear(width, width);
    let weights: Vec<Vec<f64>> = (0..depth)
        .map(|_| init.sample::<f64>([width, width], fans, &mut rng).to_vec())
        .collect();
    let mut x = Init::normal(1.0)
        .sample::<f64>([batch, width], fans, &mut rng)
        .to_vec();
    let mut slopes = Vec::new();
    for w in &weights {
        let z: Vec<f64> = (0..batch * width)
            .map(|p| {
                let row = &x[p / width * width..][..width];
                w[p % width * width..][..width]
                    .iter()
                    .zip(row)
                    .map(|(a, b)| a * b)
                    .sum()
            })
            .collect();
        slopes.push(z.iter().map(|&z| slope(z)).collect::<Vec<f64>>());
        x = z.into_iter().map(value).collect();
    }
    let norm = |g: &[f64]| g.iter().map(|a| a * a).sum::<f64>().sqrt();
    let mut g = Init::normal(1.0)
        .sample::<f64>([batch, width], fans, &mut rng)
        .to_vec();
    let last = norm(&g);
    for (w, s) in weights.iter().zip(&slopes).rev() {
        let mut back = vec![0.0; batch * width];
        for p in 0..batch * width {
            let scaled = g[p] * s[p];
            let row = &w[p % width * width..][..width];
            back[p / width * width..][..width]
                .iter_mut()
                .zip(row)
                .for_each(|(b, a)| *b += scaled * a);
        }
        g = back;
    }
    let ratio = norm(&g) / last;
    println!("{:>10}  {:<45} {ratio:.2e}", n.name(), init.to_string());
    ratio
}

#[test]
fn gradients_keep_their_size_in_30_layers() {
    use Nonlinearity as N;
    const SCALE: f64 = 1.050_700_987_355_480_5;
    const ALPHA: f64 = 1.673_263_242_354_377_2;
    let cases: [(N, fn(f64) -> f64, fn(f64) -> f64); 8] = [
        (N::Tanh, f64::tanh, |z| 1.0 - z.tanh().powi(2)),
        (N::Relu, |z| z.max(0.0), |z| f64::from(z > 0.0)),
        (
            N::LeakyRelu { slope: 0.01 },
            |z| z.max(0.01 * z),
            |z| if z > 0.0 { 1.0 } else { 0.01 },
        ),
        (
            N::Elu { alpha: 1.0 },
            |z| if z > 0.0 { z } else { z.exp_m1() },
            |z| z.min(0.0).exp(),
        ),
        (
            N::Selu,
            |z| SCALE * if z > 0.0 { z } else { ALPHA * z.exp_m1() },
            |z| SCALE * if z > 0.0 { 1.0 } else { ALPHA * z.exp() },
        ),
        (
            N::Silu,
            |z| z / (1.0 + (-z).exp()),
            |z| {
                let s = 1.0 / (1.0 + (-z).exp());
                s * (1.0 + z * (1.0 - s))
            },
        ),
        (
            N::HardSwish,
            |z| z * (z + 3.0).clamp(0.0, 6.0) / 6.0,
            |z| (z + 3.0).clamp(0.0, 6.0) / 6.0 + if z.abs() < 3.0 { z / 6.0 } else { 0.0 },
        ),
        (
            N::Softsign,
            |z| z / (1.0 + z.abs()),
            |z| (1.0 + z.abs()).powi(-2),
        ),
    ];
    for (n, value, slope) in cases {
        let ratio = gradient_ratio(n, n.default_init(), value, slope);
        assert!((0.01..100.0).contains(&ratio), "{n}: {ratio:e}");
        let torch = gradient_ratio(n, Init::pytorch_default(), value, slope);
        assert!(
            torch < 1e-3 * ratio,
            "{n}: PyTorch's default keeps {torch:e}"
        );
    }
}
