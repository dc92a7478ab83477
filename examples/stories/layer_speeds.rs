//! Each layer learns at its own speed.

use std::fmt;
use wengert::data::{DataLoader, Digits};
use wengert::flow::Monitor;
use wengert::flow::profile::StepProfile;
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::prelude::*;

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Names of the layers.
    pub layers: Vec<String>,
    /// Per observed step: its number, the loss, the speed of each layer.
    pub steps: Vec<(u64, f64, Vec<f64>)>,
}

/// Speed of a layer: norm of the gradient of its weights.
fn speeds(step: &StepProfile) -> Vec<f64> {
    let norm = |l: &wengert::flow::profile::LayerProfile| {
        l.weight_grad.as_ref().map_or(f64::NAN, |g| g.norm)
    };
    step.layers.iter().map(norm).collect()
}

/// Four hidden layers of 30 sigmoids on the digits, weights N(0, 1/fan_in), watched every 30 steps.
pub fn story() -> Story {
    let digits = Digits::load().standardized();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let sizes = [64, 30, 30, 30, 30, 10];
    let mut net: Vec<Linear> = sizes
        .windows(2)
        .map(|s| {
            Linear::builder(s[0], s[1])
                .init(Init::LecunNormal)
                .build(&mut rng)
        })
        .collect();
    let mut sgd = Sgd::new(0.1);
    let mut tape = Tape::training(1);
    let mut monitor = Monitor::every(30);
    let loader = DataLoader::new(digits.train.dataset(), 64).shuffle(1);
    for epoch in 0..10 {
        for (x, y) in loader.epoch(epoch) {
            tape.reset();
            let mut h = tape.input(&x);
            for l in &net[..4] {
                h = l.forward(h).sigmoid();
            }
            let grads = monitor.backward(net[4].forward(h).cross_entropy(&y), &net);
            sgd.step(&mut net, &grads);
            monitor.stepped(&net);
        }
    }
    let run = monitor.into_run();
    let names = |s: &StepProfile| (1..=s.layers.len()).map(|k| format!("layer {k}")).collect();
    Story {
        layers: run.first().map(names).unwrap_or_default(),
        steps: (run.steps.iter())
            .map(|s| (s.step, s.loss.unwrap_or(f64::NAN), speeds(s)))
            .collect(),
    }
}

impl Story {
    /// Speed of the first layer over that of the last hidden one, at an observed step.
    pub fn ratio(&self, at: usize) -> f64 {
        let v = &self.steps[at].2;
        v[0] / v[3]
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["step", "loss"]
            .map(String::from)
            .into_iter()
            .chain(self.layers.clone());
        let mut t = Table::new(heads.map(Column::new));
        for (step, loss, v) in &self.steps {
            let numbers = std::iter::once(loss).chain(v).map(|x| Cell::Number(*x));
            t = t.row(std::iter::once(Cell::Text(step.to_string())).chain(numbers));
        }
        write!(
            f,
            "Norm of the gradient of each layer's weights: four hidden layers of 30 sigmoids, and the output\n\n{}\n\
             At the first step the first layer learns {:.0} times more slowly than the fourth. The gap does not close by itself: each\n\
             sigmoid on the way back multiplies by a slope of 1/4 at most.",
            super::show(&t),
            1.0 / self.ratio(0)
        )
    }
}
