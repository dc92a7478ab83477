//! Batch norm rescues a bad initializer.

use super::lab_digits;
use std::fmt;
use wengert::flow::judge::Judge;
use wengert::flow::lab::{Comparison, NetSpec, Remedy, compare};
use wengert::prelude::*;

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// As it is, with batch norm, with weights that fit.
    pub comparison: Comparison,
}

/// Eight tanh layers with weights of N(0, 0.01²): as they are, with batch norm, with fitting weights.
pub fn story() -> Story {
    let spec = NetSpec {
        depth: 8,
        width: 32,
        activation: Activation::Tanh,
        init: Some(Init::normal(0.01)),
        lr: 0.02,
        epochs: 8,
        ..NetSpec::default()
    };
    let remedies = [Remedy::BatchNorm(true), Remedy::Init(None)];
    let comparison = compare(&spec, &remedies, &lab_digits(640, 300), &Judge::default());
    Story {
        comparison: comparison.expect("a sound setting"),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Eight tanh layers whose weights start as N(0, 0.01²)\n\n{}\n\
             The small weights let the signal fade from layer to layer. Batch norm brings the sums of each layer back to deviation 1,\n\
             whatever the weights are: the same bad weights train. Weights that fit need no rescue.",
            super::show(&self.comparison.table())
        )
    }
}
