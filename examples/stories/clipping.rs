//! Exploding gradients, with and without clipping: by value, by norm.

use std::fmt;
use wengert::flow::report::table::{Cell, Column, Table};
use wengert::optim::{ClipExt, Sgd};
use wengert::prelude::*;

/// Layers of the chain.
pub const DEPTH: usize = 30;
const STEPS: usize = 400;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was done to the gradients.
    pub name: &'static str,
    /// Loss before the first step.
    pub first: f64,
    /// Loss after the last one.
    pub last: f64,
    /// Steps that were not taken because a gradient was not finite.
    pub skipped: usize,
    /// Largest norm of a gradient as it came.
    pub largest: f64,
    /// Cosine between the first gradient as it came and as it was used.
    pub cosine: f64,
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Story {
    /// Without clipping, by value, by norm.
    pub runs: Vec<Run>,
}

/// `y = w³⁰ + b`: a recurrent cell of one weight, unrolled over 30 steps.
#[derive(Module)]
struct Chain {
    w: Param,
    b: Param,
}

#[derive(Clone, Copy, PartialEq)]
enum Clip {
    None,
    Value(f64),
    Norm(f64),
}

fn vector(grads: &Gradients<f32>, net: &Chain) -> [f64; 2] {
    [&net.w, &net.b].map(|p| grads.get(p).map_or(0.0, |g| f64::from(g.item())))
}

fn run(name: &'static str, clip: Clip) -> Run {
    let mut net = Chain {
        w: Param::new(Tensor::scalar(1.5)),
        b: Param::new(Tensor::scalar(0.0)),
    };
    let mut sgd = Sgd::new(0.01);
    let mut tape = Tape::training(0);
    let (mut first, mut last, mut largest, mut cosine) = (f64::NAN, f64::NAN, 0.0f64, f64::NAN);
    for t in 0..STEPS {
        tape.reset();
        let (w, b) = (tape.param(&net.w), tape.param(&net.b));
        let mut h = w;
        for _ in 1..DEPTH {
            h = h * w;
        }
        // The square root of a square: a loss whose own slope does not explode.
        let loss = ((h + b - 0.5).square() + 1.0).sqrt();
        let mut grads = loss.backward();
        last = f64::from(grads.loss());
        let norm = grads.global_norm();
        if norm.is_finite() {
            largest = largest.max(norm);
        }
        let came = vector(&grads, &net);
        match clip {
            Clip::None => {}
            Clip::Value(limit) => {
                grads.clip_value(limit);
            }
            Clip::Norm(max) => {
                grads.clip_norm(max);
            }
        }
        if t == 0 {
            first = last;
            let used = vector(&grads, &net);
            let dot = came[0] * used[0] + came[1] * used[1];
            cosine = dot / (came[0].hypot(came[1]) * used[0].hypot(used[1]));
        }
        sgd.step(&mut net, &grads);
    }
    Run {
        name,
        first,
        last,
        skipped: sgd.skipped_steps() as usize,
        largest,
        cosine,
    }
}

/// Trains the chain to the output 0.5 from a weight of 1.5, three times.
pub fn story() -> Story {
    Story {
        runs: vec![
            run("nothing", Clip::None),
            run("each element to 1", Clip::Value(1.0)),
            run("the norm to 1", Clip::Norm(1.0)),
        ],
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "clipping",
            "loss at first",
            "loss at last",
            "steps skipped",
            "largest norm",
            "cosine of first gradient",
        ];
        let mut t = Table::new(head.map(Column::new));
        for r in &self.runs {
            t = t.row([
                Cell::Text(r.name.to_string()),
                Cell::Text(format!("{:.3e}", r.first)),
                Cell::Text(format!("{:.3e}", r.last)),
                Cell::Text(r.skipped.to_string()),
                Cell::Text(format!("{:.2e}", r.largest)),
                Cell::Text(format!("{:.4}", r.cosine)),
            ]);
        }
        writeln!(
            f,
            "One weight thirty times in a row, y = w³⁰ + b from w = 1.5: the gradient is 30 w²⁹.\n"
        )?;
        writeln!(f, "{}", super::show(&t))?;
        write!(
            f,
            "Without clipping the first step throws the weight so far that loss and gradient are infinite ever after; the\n\
             optimizer skips every step and the run is dead. Clipping the norm keeps the direction; clipping each element\n\
             turns the gradient towards the diagonal, here by 45 degrees."
        )
    }
}
