//! Units that start equal stay equal.

use std::collections::HashSet;
use std::fmt;
use wengert::data::{DataLoader, Digits};
use wengert::flow::FlowReport;
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::prelude::*;

/// One way to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// What it is.
    pub name: &'static str,
    /// Hidden units of different weights after training, of 32.
    pub distinct: usize,
    /// Largest change of a hidden weight in training.
    pub moved: f64,
    /// Accuracy on the test digits.
    pub accuracy: f64,
    /// What the doctor says before training.
    pub verdict: String,
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Zeros, one value, random.
    pub starts: Vec<Start>,
}

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Forward for Mlp {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.out.forward(self.hidden.forward(x).tanh())
    }
}

/// Trains one hidden layer of 32 tanh units on the digits from three starts.
pub fn story() -> Story {
    let digits = Digits::load().standardized();
    let run = |(name, init): (&'static str, Init)| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut layer = |i, o| Linear::builder(i, o).init(init).build(&mut rng);
        let mut net = Mlp {
            hidden: layer(64, 32),
            out: layer(32, 10),
        };
        let report = FlowReport::of(&net, &digits.train.inputs, |m, x| {
            m.forward(x).cross_entropy(&digits.train.labels)
        });
        let before = net.hidden.weight.value().copy();
        let mut sgd = Sgd::new(0.1).momentum(0.9);
        let mut tape = Tape::training(1);
        let loader = DataLoader::new(digits.train.dataset(), 64).shuffle(1);
        for epoch in 0..5 {
            for (x, y) in loader.epoch(epoch) {
                tape.reset();
                let grads = net.forward(tape.input(&x)).cross_entropy(&y).backward();
                sgd.step(&mut net, &grads);
            }
        }
        let w = net.hidden.weight.value().to_vec();
        let units: HashSet<Vec<u32>> = w
            .chunks_exact(64)
            .map(|u| u.iter().map(|x| x.to_bits()).collect())
            .collect();
        let moved = w
            .iter()
            .zip(before.iter())
            .map(|(a, b)| f64::from((a - b).abs()));
        Start {
            name,
            distinct: units.len(),
            moved: moved.fold(0.0, f64::max),
            accuracy: crate::accuracy(&net.predict(&digits.test.inputs), &digits.test.labels),
            verdict: report.verdict().rule.clone(),
        }
    };
    let starts = [
        ("zeros", Init::Zeros),
        ("0.1 everywhere", Init::Constant(0.1)),
        ("random (Glorot)", Init::glorot_normal()),
    ];
    Story {
        starts: starts.map(run).into(),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut t = Table::new(
            [
                "weights start as",
                "verdict before training",
                "different units",
                "largest change",
                "accuracy",
            ]
            .map(Column::new),
        );
        for s in &self.starts {
            t = t.row([
                Cell::from(s.name.to_string()),
                Cell::from(s.verdict.clone()),
                Cell::Number(s.distinct as f64),
                Cell::Number(s.moved),
                Cell::Percent(s.accuracy),
            ]);
        }
        write!(
            f,
            "One hidden layer of 32 tanh units, trained on the digits for five epochs\n\n{}\n\
             From zeros nothing moves: the hidden outputs are 0, so the weights behind them get no gradient, and the weights\n\
             behind them are 0, so the hidden ones get none either; only the output's biases learn. From one value all units get the\n\
             same gradient at every step: 32 units remain one. Random weights tell them apart.",
            super::show(&t)
        )
    }
}
