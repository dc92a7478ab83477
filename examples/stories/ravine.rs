//! Four ways down a ravine: plain descent, momentum, RMSProp, Adam.

use std::fmt;
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::optim::{Adam, Optimize, RmsProp, Sgd};
use wengert::prelude::*;

/// The curvature along each axis.
pub const CURVATURE: [f64; 2] = [1.0, 100.0];
/// Where the walk begins.
pub const START: [f64; 2] = [10.0, 1.0];
/// The loss that counts as arrived.
pub const ARRIVED: f64 = 1e-6;
const MOST: usize = 2000;

/// One walk.
#[derive(Clone, Debug)]
pub struct Walk {
    /// What walked.
    pub name: &'static str,
    /// Its learning rate, the best of a grid.
    pub lr: f64,
    /// Steps until the loss is below [`ARRIVED`] and stays there; `None` if that took more than 2,000.
    pub steps: Option<usize>,
    /// How often the walk crossed the floor of the ravine.
    pub crossings: usize,
    /// Move across the ravine over move along it, at the first step.
    pub aim: f64,
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// One per optimizer.
    pub walks: Vec<Walk>,
}

fn walk(name: &'static str, lr: f64, mut optimizer: Box<dyn Optimize<f64>>) -> Walk {
    let mut p = Param::new(Tensor::from_slice(&START, [2]));
    let curvature = Tensor::from_slice(&CURVATURE, [2]);
    let mut tape = Tape::<f64>::training(0);
    let (mut last_above, mut crossings, mut aim) = (None, 0, 0.0);
    let mut before = START;
    for t in 0..=MOST {
        tape.reset();
        let x = tape.param(&p);
        let grads = ((x.square() * tape.input(&curvature)).sum() * 0.5).backward();
        let loss = grads.loss();
        if loss.is_nan() || loss > ARRIVED {
            last_above = Some(t);
        }
        if optimizer.try_step(&mut p, &grads).is_err() {
            break;
        }
        let now = p.value().to_vec();
        if t == 0 {
            aim = ((now[1] - before[1]) / (now[0] - before[0])).abs();
        }
        if now[1] * before[1] < 0.0 {
            crossings += 1;
        }
        before = [now[0], now[1]];
    }
    let steps = last_above.map_or(0, |t| t + 1);
    Walk {
        name,
        lr,
        steps: (steps <= MOST).then_some(steps),
        crossings,
        aim,
    }
}

/// `f(x, y) = (x² + 100 y²) / 2` from (10, 1); each optimizer with its best learning rate of a grid.
pub fn story() -> Story {
    type Make = fn(f64) -> Box<dyn Optimize<f64>>;
    let makers: [(&'static str, Make); 4] = [
        ("gradient descent", |lr| Box::new(Sgd::new(lr))),
        ("momentum 0.9", |lr| Box::new(Sgd::new(lr).momentum(0.9))),
        ("RMSProp", |lr| {
            use wengert::optim::schedule::Exponential;
            // Steps of one size never arrive: the rate must fall.
            Box::new(RmsProp::new(Exponential::new(lr, 0.98)))
        }),
        ("Adam", |lr| Box::new(Adam::new(lr))),
    ];
    let grid = [
        0.003, 0.006, 0.01, 0.019, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8, 1.6,
    ];
    let best = |(name, make): (&'static str, Make)| {
        let walks = grid.iter().map(|&lr| walk(name, lr, make(lr)));
        walks
            .min_by_key(|w| w.steps.unwrap_or(usize::MAX))
            .expect("a grid")
    };
    Story {
        walks: makers.map(best).into(),
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "optimizer",
            "learning rate",
            "steps to 1e-6",
            "crossings",
            "first step, across : along",
        ];
        let mut t = Table::new(head.map(Column::new));
        for w in &self.walks {
            let steps = w.steps.map_or("over 2,000".to_string(), |s| s.to_string());
            t = t.row([
                Cell::Text(w.name.to_string()),
                Cell::Text(w.lr.to_string()),
                Cell::Text(steps),
                Cell::Text(w.crossings.to_string()),
                Cell::Text(format!("{:.2}", w.aim)),
            ]);
        }
        writeln!(
            f,
            "A ravine, f = (x² + 100 y²) / 2, from (10, 1): a hundred times as steep across as along.\n"
        )?;
        writeln!(f, "{}", super::show(&t))?;
        write!(
            f,
            "Plain descent must not step further than the steep walls allow, and creeps along the floor. Momentum adds up\n\
             what agrees from step to step and cancels what swings. RMSProp and Adam divide each axis by its own\n\
             steepness: their first step is as long along the ravine as across it, where descent aims at the wall."
        )
    }
}
