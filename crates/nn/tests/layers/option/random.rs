//! Layers that disturb at random: given what was drawn for an element, its value and gradient are PyTorch's; and what is
//! drawn has the right frequencies and moments.

use crate::common::{Case, RAN, cases, sample};
use std::collections::BTreeSet;
use wengert_autograd::{Tape, Tensor, grad};
use wengert_nn::{
    AlphaDropout, ClassicDropout, DropPath, Dropout, Forward, GaussianDropout, GaussianNoise,
    SpatialDropout,
};

const RANDOM: &str = include_str!("../../reference/option_random.txt");

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-10 * b.abs().max(1.0)
}

/// Each element either stays or goes; both have PyTorch's value and gradient. `block` elements go together.
fn either(c: &Case, layer: &dyn Forward<f64>, block: usize) {
    RAN.lock().unwrap().insert(c.name.clone());
    c.close("eval", &layer.predict(c.get("x")));
    let n = c.get("x").numel();
    let mut seen: BTreeSet<(usize, bool)> = BTreeSet::new();
    for seed in 0..60 {
        let tape = Tape::training(seed);
        let x = tape.input(c.get("x"));
        let y = layer.forward(x);
        let value = y.value().to_vec();
        let [g] = grad((y * tape.input(c.get("cot"))).sum(), [x]);
        let gradient = g.value().to_vec();
        for i in 0..n {
            let at = |name: &str| c.get(name).to_vec()[i];
            let stays = gradient[i] != 0.0;
            let side = if stays { "kept" } else { "gone" };
            let (v, g) = (at(side), at(&format!("{side}_grad")));
            assert!(
                close(value[i], v) && close(gradient[i], g),
                "{}: element {i} {side}: {} and {}, PyTorch has {v} and {g}",
                c.name,
                value[i],
                gradient[i]
            );
            seen.insert((i, stays));
            let head = i / block * block;
            assert_eq!(stays, gradient[head] != 0.0, "{}: {i}", c.name);
        }
    }
    assert_eq!(seen.len(), 2 * n, "{}: not all seen both ways", c.name);
}

#[test]
fn given_the_mask_values_and_gradients_are_pytorchs() {
    let mut count = 0;
    for c in cases(RANDOM) {
        count += 1;
        let words: Vec<&str> = c.name.split(' ').collect();
        let p: f64 = words[1].parse().unwrap();
        let shape = c.get("x").shape().to_vec();
        match words[0] {
            "dropout" => either(&c, &Dropout::new(p), 1),
            "alpha" => either(&c, &AlphaDropout::new(p), 1),
            "classic" => either(&c, &ClassicDropout::new(p), 1),
            "spatial" => {
                let space = shape[2..].iter().product();
                either(&c, &SpatialDropout::new(p), space);
            }
            "path" => either(&c, &DropPath::new(p), shape[1..].iter().product()),
            name => panic!("no test for {name}"),
        }
    }
    assert_eq!(count, 14);
}

/// PyTorch has no such layers: y = x + σ z and y = x (1 + √(p / (1 - p)) z), for the z that is drawn; the derivative
/// counts z as a constant.
#[test]
fn given_the_noise_values_and_gradients_follow() {
    let x0 = sample(&[40, 50], 1);
    for seed in 0..3 {
        let run = |layer: &dyn Forward<f64>| {
            let tape = Tape::training(seed);
            let x = tape.input(&x0);
            let y = layer.forward(x);
            let [g] = grad(y.sum(), [x]);
            (y.value().to_vec(), g.value().to_vec())
        };
        // The same numbers drawn by hand: the first stream of the recording.
        let tape = Tape::training(seed);
        let _ = tape.input(&x0);
        let z = tape.normal([40, 50], 0.0, 1.0).value().to_vec();
        let x = x0.to_vec();
        let (y, g) = run(&GaussianNoise::new(0.3));
        for i in 0..x.len() {
            assert!(close(y[i], x[i] + 0.3 * z[i]) && g[i] == 1.0);
        }
        let (y, g) = run(&GaussianDropout::new(0.4));
        for i in 0..x.len() {
            let factor = 1.0 + (0.4f64 / 0.6).sqrt() * z[i];
            assert!(close(y[i], x[i] * factor) && close(g[i], factor));
        }
    }
}

/// Frequencies over a million draws within three standard errors, and no correlation between neighbours or steps.
#[test]
fn frequencies_over_a_million_draws() {
    let n = 1_000_000usize;
    let zeros = |layer: &dyn Forward<f64>, shape: &[usize]| {
        let mut tape = Tape::training(3);
        let mut run = || {
            tape.reset();
            let x = tape.input(&Tensor::ones(shape));
            layer.forward(x).value().to_vec()
        };
        (run(), run())
    };
    let check = |name: &str, p: f64, (a, b): (Vec<f64>, Vec<f64>), block: usize| {
        let gone: Vec<f64> = a
            .iter()
            .step_by(block)
            .map(|v| f64::from(u8::from(*v == 0.0)))
            .collect();
        let m = gone.len() as f64;
        let share = gone.iter().sum::<f64>() / m;
        let error = (p * (1.0 - p) / m).sqrt();
        assert!(
            (share - p).abs() < 3.0 * error,
            "{name}: {share} is not {p} +- {error}"
        );
        // Products of neighbours, and of one element at two steps.
        let pairs = gone
            .windows(2)
            .map(|w| (w[0] - p) * (w[1] - p))
            .sum::<f64>()
            / m;
        let later = b
            .iter()
            .step_by(block)
            .map(|v| f64::from(u8::from(*v == 0.0)));
        let steps = gone
            .iter()
            .zip(later)
            .map(|(a, b)| (a - p) * (b - p))
            .sum::<f64>()
            / m;
        for cov in [pairs, steps] {
            assert!(
                cov.abs() < 4.0 * p * (1.0 - p) / m.sqrt(),
                "{name}: covariance {cov}"
            );
        }
    };
    for p in [0.1, 0.5] {
        check("dropout", p, zeros(&Dropout::new(p), &[n]), 1);
        check("classic", p, zeros(&ClassicDropout::new(p), &[n]), 1);
        check(
            "spatial",
            p,
            zeros(&SpatialDropout::new(p), &[1000, 1000, 2]),
            2,
        );
        check("path", p, zeros(&DropPath::new(p), &[n, 2]), 2);
    }
    // Normal noise: mean and variance within three standard errors.
    let moments = |layer: &dyn Forward<f64>, mean: f64, var: f64| {
        let tape = Tape::training(5);
        let y = layer
            .forward(tape.input(&Tensor::ones([n])))
            .value()
            .to_vec();
        let m = y.iter().sum::<f64>() / n as f64;
        let v = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((m - mean).abs() < 3.0 * (var / n as f64).sqrt(), "mean {m}");
        assert!(
            (v - var).abs() < 3.0 * var * (2.0 / n as f64).sqrt(),
            "variance {v}"
        );
    };
    moments(&GaussianNoise::new(0.5), 1.0, 0.25);
    moments(&GaussianDropout::new(0.5), 1.0, 1.0);
    // Alpha dropout keeps mean 0 and variance 1 of normal input.
    let tape = Tape::training(7);
    let x = tape.normal([n], 0.0, 1.0);
    let y = AlphaDropout::new(0.2).forward(x).value().to_vec();
    let m = y.iter().sum::<f64>() / n as f64;
    let v = y.iter().map(|y| y * y).sum::<f64>() / n as f64;
    assert!(m.abs() < 3e-3 && (v - 1.0).abs() < 6e-3, "{m} {v}");
}
