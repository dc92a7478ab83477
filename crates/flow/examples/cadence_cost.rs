//! What watching costs: a training step of a 784-300-100-10 network (batch 64, Adam) with a [`Monitor`] at cadence 1 and 10,
//! against the same step without; alternating blocks of steps in one process, medians of the blocks.
//!
//! `cargo run --release -p wengert-flow --example cadence_cost`

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Instant;
use wengert_autograd::{Tape, Tensor};
use wengert_flow::Monitor;
use wengert_nn::{Forward, Sequential};
use wengert_optim::Adam;

/// Steps of a block; a multiple of ten, so that each block has its share of measured steps.
const BLOCK: usize = 20;
const ROUNDS: usize = 200;

struct Training {
    model: Sequential,
    adam: Adam,
    tape: Tape,
    monitor: Option<Monitor>,
}

impl Training {
    fn new(cadence: Option<u64>) -> Training {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let net = Sequential::builder().linear(784, 300).relu();
        Training {
            model: net.linear(300, 100).relu().linear(100, 10).build(&mut rng),
            adam: Adam::new(1e-3),
            tape: Tape::training(0),
            monitor: cadence.map(Monitor::every),
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

fn main() {
    let noise = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
    let x = Tensor::from_vec((0..64 * 784).map(noise).collect(), [64, 784]);
    let y = Tensor::from_vec((0..64).map(|i| i * 7 % 10).collect(), [64]);
    let mut kinds = [None, Some(10), Some(1)].map(Training::new);
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (k, t) in kinds.iter_mut().zip(&mut times) {
            let us = k.block(&x, &y);
            // The first rounds warm up.
            if round > 4 {
                t.push(us);
            }
        }
    }
    // Blocks of one round ran next to each other: their ratio is free of what else the machine did meanwhile.
    let ratio = |k: usize| {
        let mut r: Vec<f64> = times[k].iter().zip(&times[0]).map(|(a, b)| a / b).collect();
        r.sort_by(f64::total_cmp);
        100.0 * (r[r.len() / 2] - 1.0)
    };
    let median = |v: &[f64]| {
        let mut v = v.to_vec();
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    println!("without        {:>8.1} us a step", median(&times[0]));
    for (k, name) in [(1, "cadence 10"), (2, "cadence 1 ")] {
        println!(
            "{name}     {:>8.1} us a step, {:+.1} %",
            median(&times[k]),
            ratio(k)
        );
    }
}
