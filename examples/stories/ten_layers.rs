//! Ten layers of 500 units: what the initializer does to the activations.

use std::fmt;
use wengert::flow::profile::{Detail, Summary};
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::nn::init::{Distribution, FanMode};
use wengert::prelude::*;

/// Outputs of one network, layer by layer.
#[derive(Clone, Debug)]
pub struct Net {
    /// What it is.
    pub name: &'static str,
    /// Mean and standard deviation of each layer's outputs.
    pub layers: Vec<Summary>,
    /// Share of outputs of the last layer beyond ±0.975, where the slope of tanh is below 5 %; zeros of a ReLU.
    pub flat: f64,
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// N(0, 0.01²), N(0, 1), Xavier with tanh; Xavier and He with ReLU.
    pub nets: Vec<Net>,
}

/// Standard normal inputs through ten layers of 500 units, five ways.
pub fn story() -> Story {
    let scaling = |scale, mode| Init::VarianceScaling {
        scale,
        mode,
        distribution: Distribution::Normal,
    };
    let (tanh, relu) = (Activation::Tanh, Activation::Relu);
    let nets = [
        ("tanh, N(0, 0.01²)", tanh, Init::normal(0.01)),
        ("tanh, N(0, 1)", tanh, Init::normal(1.0)),
        ("tanh, Xavier", tanh, scaling(1.0, FanMode::FanAvg)),
        ("ReLU, Xavier", relu, scaling(1.0, FanMode::FanAvg)),
        ("ReLU, He", relu, scaling(2.0, FanMode::FanIn)),
    ];
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let inputs: Tensor = Init::normal(1.0).sample(
        [200, 500],
        wengert::nn::init::Fans::linear(500, 500),
        &mut rng,
    );
    let run = |(name, f, init): (&'static str, Activation, Init)| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let tape = Tape::inference();
        let mut x = tape.input(&inputs);
        let mut layers = Vec::new();
        for _ in 0..10 {
            let layer: Linear = Linear::builder(500, 500).init(init).build(&mut rng);
            x = f.forward(layer.forward(x));
            layers.push(Summary::with(&x.value().to_vec(), Detail::QUANTILES));
        }
        let last = x.value();
        let flat = last.iter().filter(|y| {
            if f == relu {
                *y == 0.0
            } else {
                y.abs() > 0.975
            }
        });
        Net {
            name,
            flat: flat.count() as f64 / last.numel() as f64,
            layers,
        }
    };
    Story {
        nets: nets.map(run).into(),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut t = Table::new(
            std::iter::once(Column::new("layer"))
                .chain(self.nets.iter().map(|n| Column::new(n.name))),
        );
        for k in 0..10 {
            let name = std::iter::once(Cell::from((k + 1).to_string()));
            t = t.row(name.chain(self.nets.iter().map(|n| Cell::Number(n.layers[k].std))));
        }
        write!(
            f,
            "Standard deviation of the outputs of ten layers with 500 units, for standard normal inputs\n\n{}\n\
             N(0, 0.01²): each layer divides by about 4; nothing is left after ten. N(0, 1): {:.0} % of the outputs are beyond ±0.975,\n\
             where tanh is flat: the signal is there, the gradient is not. Xavier keeps tanh alive. ReLU cuts half of the signal\n\
             away: with Xavier's weights each layer divides by the square root of 2, {:.0} times in all; He's factor of 2 makes up for it.",
            super::show(&t),
            100.0 * self.nets[1].flat,
            self.nets[3].layers[0].rms / self.nets[3].layers[9].rms
        )
    }
}
