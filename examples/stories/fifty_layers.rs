//! Fifty layers with and without a way around them.

use super::lab_digits;
use std::fmt;
use wengert::flow::judge::Judge;
use wengert::flow::lab::{Comparison, NetSpec, Remedy, compare};
use wengert::prelude::*;

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Plain, and with residual connections.
    pub comparison: Comparison,
}

/// Fifty layers of tanh with batch norm: plain, and with residual connections.
pub fn story() -> Story {
    let spec = NetSpec {
        depth: 50,
        width: 24,
        activation: Activation::Relu,
        batch_norm: true,
        lr: 0.002,
        epochs: 10,
        ..NetSpec::default()
    };
    let comparison = compare(
        &spec,
        &[Remedy::Residual(true)],
        &lab_digits(640, 300),
        &Judge::default(),
    );
    Story {
        comparison: comparison.expect("a sound setting"),
    }
}

impl Story {
    /// Strength of the activation gradient at the first layer over that at the last, before training: plain, residual.
    pub fn journeys(&self) -> [f64; 2] {
        [0, 1].map(|i| {
            let step = self.comparison.runs[i].first();
            let j = step.and_then(wengert::flow::report::compare::Journey::of);
            j.map_or(f64::NAN, |j| j.factor())
        })
    }

    /// Accuracy on held-out digits: plain, residual.
    pub fn accuracies(&self) -> [f64; 2] {
        let last = |i: usize| {
            self.comparison.runs[i]
                .curve("accuracy")
                .and_then(|c| c.last())
        };
        [0, 1].map(|i| last(i).unwrap_or(f64::NAN))
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [plain, residual] = self.journeys();
        write!(
            f,
            "Fifty ReLU layers with batch norm, plain and with residual connections x + f(x)\n\n{}\n\
             Before training the gradient at the first layer is {plain:.2e} times that at the last in the plain network, {residual:.2e}\n\
             times with residual connections: past each layer leads a way on which nothing is multiplied.",
            super::show(&self.comparison.table())
        )
    }
}
