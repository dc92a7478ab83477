//! What watching costs: training steps with a [`Monitor`] at cadence 10 and 1, against the same step without.
//!
//! Trainings with and without a monitor take turns, ten steps each, in rotation: what a machine's clock does in seconds
//! falls on both. Where memory happens to lie makes one training some percent faster than its twin, for as long as it lives;
//! so several sets of trainings are made anew, first and last in turn. `cadence 0` is a second training without a monitor: what it
//! seems to cost is what this measurement cannot tell from nothing. A set's figure is the median of the ratios of neighbouring turns; shown is the
//! median of the sets, and the interval in which the median of all possible sets lies with 96 % (order statistics).
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

/// Steps of a turn; a multiple of ten, so that each turn has its share of measured steps.
const TURN: usize = 10;

/// Sets of trainings; of 12, the 3rd and the 10th value hold the median between them with 96 %.
const SETS: usize = 12;
const LOW: usize = 2;

struct Kind {
    name: &'static str,
    sizes: &'static [usize],
    batch: usize,
    /// Turns of each training of a set.
    rounds: usize,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "mnist",
        sizes: &[784, 300, 100, 10],
        batch: 64,
        rounds: 40,
    },
    Kind {
        name: "wide",
        sizes: &[784, 1024, 1024, 512, 10],
        batch: 128,
        rounds: 6,
    },
    Kind {
        name: "deep",
        sizes: &[
            128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
            128, 128, 128, 10,
        ],
        batch: 64,
        rounds: 24,
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
    fn steps(&mut self, steps: usize, x: &Tensor, y: &Tensor<i64>) -> f64 {
        let start = Instant::now();
        for _ in 0..steps {
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
        start.elapsed().as_secs_f64() * 1e6 / steps as f64
    }
}

/// Sorts; the middle.
fn median(v: &mut [f64]) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2].midpoint(v[(v.len() - 1) / 2])
}

/// One set: microseconds of a step without a monitor, and each cadence's time over that.
fn set(
    kind: &Kind,
    cadences: &[u64],
    (x, y): (&Tensor, &Tensor<i64>),
    backwards: bool,
) -> Vec<f64> {
    let n = cadences.len();
    let mut trainings: Vec<Option<Training>> = (0..n).map(|_| None).collect();
    for i in 0..n {
        let k = if backwards { n - 1 - i } else { i };
        trainings[k] = Some(Training::new(kind, cadences[k]));
    }
    let mut trainings: Vec<Training> = trainings.into_iter().flatten().collect();
    let mut times = vec![Vec::new(); n];
    for round in 0..kind.rounds + 2 {
        if round == 0 {
            // So that a measured step stands in the middle of each turn: the first steps find the caches as the other
            // training left them.
            for t in &mut trainings {
                t.steps(TURN / 2, x, y);
            }
        }
        for i in 0..n {
            // None follows itself, with the caches as it left them.
            let k = (i + round) % n;
            let us = trainings[k].steps(TURN, x, y);
            // The first turns warm up.
            if round > 1 {
                times[k].push(us);
            }
        }
    }
    let base = times[0].clone();
    let ratios =
        |t: &Vec<f64>| median(&mut t.iter().zip(&base).map(|(a, b)| a / b).collect::<Vec<_>>());
    let mut out = vec![median(&mut base.clone())];
    out.extend(times[1..].iter().map(ratios));
    out
}

fn compare(kind: &Kind, cadences: &[u64]) {
    let (n, d) = (kind.batch, kind.sizes[0]);
    let noise = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
    let x = Tensor::from_vec((0..n * d).map(noise).collect(), [n, d]);
    let y = Tensor::from_vec((0..n as i64).map(|i| i * 7 % 10).collect(), [n]);
    let one = |i: usize| set(kind, cadences, (&x, &y), i % 2 == 1);
    let sets: Vec<Vec<f64>> = (0..SETS).map(one).collect();
    let column = |k: usize| {
        let mut v: Vec<f64> = sets.iter().map(|s| s[k]).collect();
        (median(&mut v), v[LOW], v[SETS - 1 - LOW])
    };
    println!("{} {:?}, batch {n}", kind.name, kind.sizes);
    println!("  without      {:>9.1} us a step", column(0).0);
    for (k, cadence) in cadences.iter().enumerate().skip(1) {
        let (mid, low, high) = column(k);
        let percent = |r: f64| 100.0 * (r - 1.0);
        println!(
            "  cadence {cadence:<4} {:+9.2} %   [{:+.2}, {:+.2}]",
            percent(mid),
            percent(low),
            percent(high)
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
                None => compare(kind, &[0, 0, 10, 1]),
            }
        }
    }
}
