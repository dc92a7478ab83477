//! How far back a recurrent network can learn: the adding problem (Hochreiter & Schmidhuber 1997).
//!
//! Each step brings a number from 0 to 1 and a mark; two of the steps are marked, one in each half. The network is to say,
//! after the last step, the sum of the two marked numbers. Who always says 1 has a mean squared error of 1/6.

use std::fmt;
use wengert::flow::judge::Judge;
use wengert::flow::probe::{Probe, ProbeOptions};
use wengert::flow::profile::{Curve, Detail, RunProfile, TimeProfile};
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::nn::{Gru, Lstm, Rnn};
use wengert::prelude::*;

/// Length of a sequence.
pub const STEPS: usize = 50;
const UNITS: usize = 32;
const BATCH: usize = 32;

/// Error of the answer that is always 1.
pub const BLIND: f64 = 1.0 / 6.0;

#[derive(Module)]
enum Core {
    Rnn(Rnn),
    Lstm(Lstm),
    Gru(Gru),
}

#[derive(Module)]
struct Net {
    core: Core,
    out: Linear,
}

impl Forward for Net {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let y = match &self.core {
            Core::Rnn(m) => m.forward(x),
            Core::Lstm(m) => m.forward(x),
            Core::Gru(m) => m.forward(x),
        };
        self.out.forward(y.select(0, STEPS - 1))
    }
}

/// A network and what became of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it is.
    pub name: &'static str,
    /// The gradient over time at the start and at the end of training.
    pub time: [TimeProfile; 2],
    /// Mean squared error on new sequences at the end.
    pub error: f64,
    /// Training step after which the running error was below a tenth of [`BLIND`], if it ever was.
    pub solved: Option<usize>,
}

impl Run {
    /// Share of the gradient by the last state that arrives at the first, at the start of training.
    pub fn left(&self) -> f64 {
        let g = &self.time[0].grad_rms;
        g[0] / g[STEPS - 1]
    }
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// The networks.
    pub runs: Vec<Run>,
    /// For the report.
    pub profiles: Vec<RunProfile>,
}

/// `n` sequences `[steps, n, 2]` and their sums `[n, 1]`; a function of `seed`.
fn sequences(n: usize, seed: u64) -> (Tensor, Tensor) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
    };
    let mut x = vec![0.0; STEPS * n * 2];
    let mut y = vec![0.0; n];
    for b in 0..n {
        for t in 0..STEPS {
            x[(t * n + b) * 2] = next();
        }
        let half = STEPS / 2;
        for from in [0, half] {
            let t = from + (next() * half as f32) as usize;
            x[(t * n + b) * 2 + 1] = 1.0;
            y[b] += x[(t * n + b) * 2];
        }
    }
    (
        Tensor::from_vec(x, [STEPS, n, 2]),
        Tensor::from_vec(y, [n, 1]),
    )
}

fn train(name: &'static str, core: Core, steps: usize) -> (Run, RunProfile) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
    let mut net = Net {
        core,
        out: Linear::new(UNITS, 1, &mut rng),
    };
    let mut adam = Adam::new(5e-3);
    let mut tape = Tape::training(0);
    let probe = Probe::new(ProbeOptions {
        detail: Detail::default(),
        inner: Detail::default(),
        start: false,
        ..ProbeOptions::default()
    });
    let mut profile = RunProfile::new(name);
    let (mut running, mut solved) = (BLIND, None);
    let mut errors = Vec::new();
    for step in 0..steps {
        let (x, y) = sequences(BATCH, step as u64);
        tape.reset();
        let loss = net.forward(tape.input(&x)).mse(tape.input(&y));
        let mut grads = if step == 0 || step + 1 == steps {
            let (grads, mut seen) = probe.backward(loss, &net);
            seen.step = step as u64;
            profile = profile.with_step(seen);
            grads
        } else {
            loss.backward()
        };
        grads.clip_norm(1.0);
        adam.step(&mut net, &grads);
        running += 0.05 * (f64::from(grads.loss()) - running);
        if (step + 1) % 10 == 0 {
            errors.push(((step + 1) as f64, running));
        }
        if running < BLIND / 10.0 {
            solved.get_or_insert(step);
        }
    }
    let (x, y) = sequences(512, u64::MAX / 2);
    let tape = Tape::inference();
    let error = net.forward(tape.input(&x)).mse(tape.input(&y)).item();
    profile = profile.with_curve(Curve::new("step loss, running mean", errors));
    profile.findings = Judge::default().run(&profile);
    let time = |k: usize| profile.steps[k].time[0].clone();
    let run = Run {
        name,
        time: [time(0), time(1)],
        error: f64::from(error),
        solved,
    };
    (run, profile)
}

/// Trains a plain network, an LSTM and a GRU, and both of the latter once more told how long to remember.
pub fn story(steps: usize) -> Story {
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
    let told_lstm = Lstm::builder(2, UNITS).expecting(STEPS).build(rng);
    let told_gru = Gru::builder(2, UNITS).expecting(STEPS).build(rng);
    let nets = [
        ("RNN", Core::Rnn(Rnn::new(2, UNITS, rng))),
        ("LSTM", Core::Lstm(Lstm::new(2, UNITS, rng))),
        ("GRU", Core::Gru(Gru::new(2, UNITS, rng))),
        ("LSTM, told 50", Core::Lstm(told_lstm)),
        ("GRU, told 50", Core::Gru(told_gru)),
    ];
    let (runs, profiles) = nets
        .into_iter()
        .map(|(name, core)| train(name, core, steps))
        .unzip();
    Story { runs, profiles }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "network",
            "gradient left at step 1",
            "memory at the start",
            "memory at the end",
            "error at the end",
            "solved at step",
        ];
        let mut t = Table::new(heads.map(Column::new));
        for r in &self.runs {
            let memory = |k: usize| r.time[k].memory().unwrap_or(f64::NAN);
            t = t.row([
                Cell::Text(r.name.into()),
                Cell::Number(r.left()),
                Cell::Number(memory(0)),
                Cell::Number(memory(1)),
                Cell::Number(r.error),
                r.solved
                    .map_or(Cell::Text("not".into()), |s| Cell::Number(s as f64)),
            ]);
        }
        write!(
            f,
            "The adding problem over {STEPS} steps, {UNITS} units; saying 1 always: error {BLIND:.3}\n\n{}\n\
             \"Gradient left\" is how much of the gradient by the last state arrives at the first one before training; \"memory\" is \
             the number\nof steps in which it falls to 1/e.",
            super::show(&t)
        )
    }
}
