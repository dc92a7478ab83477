//! What watching costs: training steps with a [`Monitor`] at cadence 10 and 1, against the same step without.
//!
//! One training takes turns of ten steps without a monitor, with one, and with another one, in rotation: what a machine's
//! clock does in seconds falls on all of them, and so does where memory happens to lie, which makes one training some
//! percent faster than its twin. `cadence 0` is a second turn without a monitor: what it seems to cost is what this
//! measurement cannot tell from nothing. Several trainings are made anew, one after the other. A training's figure takes the
//! median over the turns for each place in a turn (a step that is measured, the one after it, …), and compares the sums of
//! these ten: what a machine does now and then does not count, what watching does to the steps that follow does. Shown is
//! the median of the trainings, and the interval in which the median of all possible trainings lies with 99 % (order
//! statistics).
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

/// Trainings; of 20, the 5th and the 16th value hold the median between them with 99 %.
const TRAININGS: usize = 20;
const LOW: usize = 4;

struct Kind {
    name: &'static str,
    sizes: &'static [usize],
    batch: usize,
    /// Turns at each cadence.
    rounds: usize,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "mnist",
        sizes: &[784, 300, 100, 10],
        batch: 64,
        rounds: 24,
    },
    Kind {
        name: "wide",
        sizes: &[784, 1024, 1024, 512, 10],
        batch: 128,
        rounds: 2,
    },
    Kind {
        name: "deep",
        sizes: &[
            128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
            128, 128, 128, 10,
        ],
        batch: 64,
        rounds: 12,
    },
];

struct Training {
    model: Sequential,
    adam: Adam,
    tape: Tape,
    /// By cadence.
    monitors: Vec<Option<Monitor>>,
}

impl Training {
    fn new(kind: &Kind, cadences: &[u64]) -> Training {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut net = Sequential::builder();
        let last = kind.sizes.len() - 2;
        for (i, w) in kind.sizes.windows(2).enumerate() {
            net = net.linear(w[0], w[1]);
            if i < last {
                net = net.relu();
            }
        }
        let monitor = |&cadence: &u64| (cadence > 0).then(|| Monitor::every(cadence));
        Training {
            model: net.build(&mut rng),
            adam: Adam::new(1e-3),
            tape: Tape::training(0),
            monitors: cadences.iter().map(monitor).collect(),
        }
    }

    /// Microseconds of each of some steps at the `k`-th cadence.
    fn steps(&mut self, steps: usize, k: usize, x: &Tensor, y: &Tensor<i64>) -> Vec<f64> {
        let mut times = Vec::with_capacity(steps);
        for _ in 0..steps {
            let start = Instant::now();
            self.tape.reset();
            let loss = self.model.forward(self.tape.input(x)).cross_entropy(y);
            let grads = match &mut self.monitors[k] {
                Some(m) => m.backward(loss, &self.model),
                None => loss.backward(),
            };
            self.adam.step(&mut self.model, &grads);
            if let Some(m) = &mut self.monitors[k] {
                m.stepped(&self.model);
            }
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times
    }
}

/// Sorts; the middle.
fn median(v: &mut [f64]) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2].midpoint(v[(v.len() - 1) / 2])
}

/// One training: microseconds of a step without a monitor, and each cadence's time over that.
fn training(kind: &Kind, cadences: &[u64], (x, y): (&Tensor, &Tensor<i64>)) -> Vec<f64> {
    let n = cadences.len();
    let mut training = Training::new(kind, cadences);
    // By cadence and place in a turn.
    let mut times = vec![vec![Vec::new(); TURN]; n];
    // A measured step stands in the middle of each turn, so that what it leaves behind falls on its own turn.
    for k in 0..n {
        training.steps(TURN / 2, k, x, y);
    }
    for round in 0..kind.rounds + 2 {
        for i in 0..n {
            let k = (i + round) % n;
            let turn = training.steps(TURN, k, x, y);
            // The first turns warm up.
            if round > 1 {
                (times[k].iter_mut().zip(turn)).for_each(|(all, us)| all.push(us));
            }
        }
    }
    let step = |places: Vec<Vec<f64>>| {
        let sum: f64 = places.into_iter().map(|mut t| median(&mut t)).sum();
        sum / TURN as f64
    };
    let mut out: Vec<f64> = times.into_iter().map(step).collect();
    let base = out[0];
    out[1..].iter_mut().for_each(|t| *t /= base);
    out
}

fn compare(kind: &Kind, cadences: &[u64]) {
    let (n, d) = (kind.batch, kind.sizes[0]);
    let noise = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
    let x = Tensor::from_vec((0..n * d).map(noise).collect(), [n, d]);
    let y = Tensor::from_vec((0..n as i64).map(|i| i * 7 % 10).collect(), [n]);
    let one = |_| training(kind, cadences, (&x, &y));
    let all: Vec<Vec<f64>> = (0..TRAININGS).map(one).collect();
    let column = |k: usize| {
        let mut v: Vec<f64> = all.iter().map(|t| t[k]).collect();
        (median(&mut v), v[LOW], v[TRAININGS - 1 - LOW])
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
