//! A report on made-up measurements: the four 30-layer networks of the classic comparison, as the theory predicts them.
//!
//! `cargo run -p wengert-flow --example report_demo -- report.html` writes the page, and with further paths the same as
//! JSON (`*.json`) or as TensorBoard event files (a folder).

use std::io::Write;
use wengert_flow::profile::{Bins, Curve, Detail, LayerProfile, RunProfile, StepProfile, Summary};
use wengert_flow::report::text::Terminal;
use wengert_flow::report::{compare, json, tensorboard};

const DEPTH: usize = 30;
const WIDTH: usize = 64;

/// Uniform in (0, 1), the same everywhere.
fn uniform(seed: &mut u64) -> f64 {
    *seed = seed
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    ((*seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

fn normal(seed: &mut u64) -> f64 {
    (-2.0 * uniform(seed).ln()).sqrt() * (std::f64::consts::TAU * uniform(seed)).cos()
}

/// How a network behaves, one layer at a time.
struct Kind {
    name: &'static str,
    sigmoid: bool,
    /// Standard deviation of the weights.
    sigma: f64,
    /// Loss and accuracy after each epoch.
    loss: fn(f64) -> f64,
    accuracy: fn(f64) -> f64,
}

fn profile(kind: &Kind, step: u64, seed: &mut u64) -> StepProfile {
    let values = |n: usize, mean: f64, std: f64, seed: &mut u64| -> Vec<f32> {
        (0..n).map(|_| (mean + std * normal(seed)) as f32).collect()
    };
    let gain = kind.sigma * (WIDTH as f64).sqrt();
    // Half of the ReLU units are off; the sigmoid's slope is at most 1/4.
    let back = gain
        * if kind.sigmoid {
            0.24
        } else {
            std::f64::consts::FRAC_1_SQRT_2
        };
    let mut layers = Vec::new();
    let mut spread = 1.0;
    for l in 0..DEPTH {
        let n = 64 * WIDTH;
        let act: Vec<f32> = if kind.sigmoid {
            // The offset of the unit's own weights decides where it sits, the sample hardly matters.
            let s = (0.5 * gain * spread).min(3.0);
            spread = (0.25 * s).hypot(0.5);
            values(n, 0.0, s, seed)
                .iter()
                .map(|z| 1.0 / (1.0 + (-z).exp()))
                .collect()
        } else {
            spread *= if l == 0 {
                1.0
            } else {
                gain * std::f64::consts::FRAC_1_SQRT_2
            };
            values(n, 0.0, spread, seed)
                .iter()
                .map(|z| z.max(0.0))
                .collect()
        };
        let wobble = 1.0 + 0.12 * normal(seed);
        let g = 0.02 * back.powi((DEPTH - 1 - l) as i32) * wobble.abs();
        let grad = values(n, 0.0, g, seed);
        let input = if l == 0 { 1.0 } else { spread.min(1.0) };
        let wg = values(WIDTH * WIDTH, 0.0, g * input * 0.8, seed);
        let weights = values(WIDTH * WIDTH, 0.0, kind.sigma, seed);
        let bins = if kind.sigmoid {
            Bins::Linear {
                lo: 0.0,
                hi: 1.0,
                count: 60,
            }
        } else {
            Bins::Linear {
                lo: 0.0,
                hi: 3.0,
                count: 60,
            }
        };
        let mut layer = LayerProfile::new(
            format!("hidden.{l}"),
            if kind.sigmoid { "sigmoid" } else { "relu" },
        );
        layer.location = Some("examples/deep_sigmoid_vs_relu.rs:41:18".into());
        layer.dead = Some(if kind.sigmoid {
            0.0
        } else {
            0.02 * uniform(seed)
        });
        layer.saturation = kind.sigmoid.then(|| 0.05 * uniform(seed));
        layer.activation = Some(Summary::with(&act, Detail::histogram(bins)));
        layer.activation_grad = Some(Summary::of(&grad));
        layer.weight_grad = Some(Summary::of(&wg));
        let w = Summary::of(&weights);
        layer.update_ratio = layer.weight_grad.as_ref().map(|d| 0.1 * d.rms / w.rms);
        layer.weights = Some(w);
        layers.push(layer);
    }
    StepProfile {
        step,
        loss: Some((kind.loss)(step as f64 / 10.0)),
        layers,
        ..StepProfile::default()
    }
}

fn main() -> Result<(), wengert_flow::report::Error> {
    let glorot = (2.0 / (2 * WIDTH) as f64).sqrt();
    let he = (2.0 / WIDTH as f64).sqrt();
    let kinds = [
        Kind {
            name: "sigmoid, N(0, 0.01²)",
            sigmoid: true,
            sigma: 0.01,
            loss: |_| 2.303,
            accuracy: |_| 0.1,
        },
        Kind {
            name: "sigmoid, Glorot",
            sigmoid: true,
            sigma: glorot,
            loss: |e| 2.303 + 0.01 / (1.0 + e),
            accuracy: |e| 0.1 + 0.004 * (e * 2.0).sin(),
        },
        Kind {
            name: "ReLU, Glorot",
            sigmoid: false,
            sigma: glorot,
            loss: |e| 0.25 + 2.05 / (1.0 + (e / 9.0).powi(3)),
            accuracy: |e| 0.92 - 0.82 / (1.0 + (e / 8.0).powi(3)),
        },
        Kind {
            name: "ReLU, He",
            sigmoid: false,
            sigma: he,
            loss: |e| 0.05 + 2.25 * (-e / 2.2).exp(),
            accuracy: |e| 0.967 - 0.867 * (-e / 1.6).exp(),
        },
    ];
    let mut seed = 7;
    let runs: Vec<RunProfile> = kinds
        .iter()
        .map(|k| {
            let epochs = || (0..=20).map(f64::from);
            let mut run = RunProfile::new(k.name)
                .with_config("depth", DEPTH.to_string())
                .with_config("width", WIDTH.to_string())
                .with_curve(Curve::new(
                    "training loss",
                    epochs().map(|e| (e, (k.loss)(e))),
                ))
                .with_curve(Curve::new(
                    "test accuracy",
                    epochs().map(|e| (e, (k.accuracy)(e))),
                ));
            for step in (0..=200).step_by(20) {
                run = run.with_step(profile(k, step, &mut seed));
            }
            run
        })
        .collect();
    let text = compare::text(&runs, &Terminal::stdout());
    // A reader that stops early (`| head`) is no reason to fail.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        let page = std::env::temp_dir().join("wengert_report.html");
        paths.push(page.display().to_string());
    }
    for path in paths {
        if path.ends_with(".html") {
            let title = "Four 30-layer networks: where does the gradient go?";
            compare::page(title, &runs).write(&path)?;
        } else if path.ends_with(".json") {
            json::write(&path, &runs)?;
        } else {
            tensorboard::write(&path, &runs)?;
        }
        let _ = writeln!(std::io::stdout(), "written: {path}");
    }
    Ok(())
}
