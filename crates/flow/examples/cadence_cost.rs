//! What watching costs: training steps with a [`Monitor`] at cadence 1 and 10, against the same step without; alternating
//! blocks of steps in one process, medians of the blocks.
//!
//! `cargo run --release -p wengert-flow --example cadence_cost [-- NETWORK [CADENCE]]`: one network, `mnist` (784-300-100-10,
//! batch 64), `wide` (784-1024-1024-512-10, batch 128) or `deep` (20 layers of 128, batch 64), all with Adam; with a cadence
//! (0: no monitor), that training alone, for a profiler.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::time::Instant;
use wengert_autograd::{Tape, Tensor};
use wengert_flow::Monitor;
use wengert_nn::{Forward, Sequential};
use wengert_optim::Adam;

/// Steps of a block; a multiple of ten, so that each block has its share of measured steps.
const BLOCK: usize = 20;

struct Kind {
    name: &'static str,
    sizes: &'static [usize],
    batch: usize,
    rounds: usize,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "mnist",
        sizes: &[784, 300, 100, 10],
        batch: 64,
        rounds: 200,
    },
    Kind {
        name: "wide",
        sizes: &[784, 1024, 1024, 512, 10],
        batch: 128,
        rounds: 20,
    },
    Kind {
        name: "deep",
        sizes: &[
            128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
            128, 128, 128, 10,
        ],
        batch: 64,
        rounds: 100,
    },
];

struct Training {
    model: Sequential,
    adam: Adam,
    tape: Tape,
    monitor: Option<Monitor>,
}

impl Training {
    fn new(kind: &Kind, cadence: u64) -> Training {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut net = Sequential::builder();
        let last = kind.sizes.len() - 2;
        for (i, w) in kind.sizes.windows(2).enumerate() {
            net = net.linear(w[0], w[1]);
            if i < last {
                net = net.relu();
            }
        }
        Training {
            model: net.build(&mut rng),
            adam: Adam::new(1e-3),
            tape: Tape::training(0),
            monitor: (cadence > 0).then(|| Monitor::every(cadence)),
        }
    }

    /// Microseconds a step.
    fn block(&mut self, x: &Tensor, y: &Tensor<i64>) -> f64 {
        let start = Instant::now();
        for _ in 0..BLOCK {
            self.tape.reset();
            let loss = self.model.forward(self.tape.input(x)).cross_entropy(y);
            let grads = match &mut self.monitor {
                Some(m) => m.backward(loss, &self.model),
                None => loss.backward(),
            };
            self.adam.step(&mut self.model, &grads);
            if let Some(m) = &mut self.monitor {
                m.stepped(&self.model);
            }
        }
        start.elapsed().as_secs_f64() * 1e6 / BLOCK as f64
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut v: Vec<f64> = values.collect();
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn compare(kind: &Kind, cadences: &[u64]) {
    let (n, d) = (kind.batch, kind.sizes[0]);
    let noise = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
    let x = Tensor::from_vec((0..n * d).map(noise).collect(), [n, d]);
    let y = Tensor::from_vec((0..n as i64).map(|i| i * 7 % 10).collect(), [n]);
    let mut trainings: Vec<Training> = (cadences.iter()).map(|&c| Training::new(kind, c)).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); cadences.len()];
    for round in 0..=kind.rounds {
        for (k, t) in trainings.iter_mut().zip(&mut times) {
            let us = k.block(&x, &y);
            // The first rounds warm up.
            if round > 4 {
                t.push(us);
            }
        }
    }
    println!("{} {:?}, batch {n}", kind.name, kind.sizes);
    for (cadence, t) in cadences.iter().zip(&times) {
        // Blocks of one round ran next to each other: their ratio is free of what else the machine did meanwhile.
        let ratio = median(t.iter().zip(&times[0]).map(|(a, b)| a / b));
        let name = match cadence {
            0 => "without".into(),
            c => format!("cadence {c}"),
        };
        println!(
            "  {name:<12} {:>9.1} us a step, {:+.1} %",
            median(t.iter().copied()),
            100.0 * (ratio - 1.0)
        );
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next();
    let cadence = args.next().and_then(|c| c.parse().ok());
    for kind in &KINDS {
        if name.as_deref().is_none_or(|n| n == kind.name) {
            match cadence {
                Some(c) => compare(kind, &[c]),
                None => compare(kind, &[0, 10, 1]),
            }
        }
    }
}
