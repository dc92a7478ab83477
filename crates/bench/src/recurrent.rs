//! A character model with an LSTM.

use crate::Workload;
use crate::fill::{integers, uniform};
use wengert::autograd::Dims;
use wengert::nn::{Embedding, Lstm};
use wengert::prelude::*;

const VOCABULARY: usize = 65;
const FEATURES: usize = 64;
const HIDDEN: usize = 256;
const STEPS: usize = 64;
const BATCH: usize = 32;

/// Embedding, LSTM, linear layer.
#[derive(Module)]
pub struct Model {
    embedding: Embedding,
    lstm: Lstm,
    out: Linear,
}

struct Training {
    model: Model,
    tape: Tape,
    adam: Adam,
    x: Tensor<i64>,
    y: Tensor<i64>,
}

impl Workload for Training {
    fn step(&mut self) -> f64 {
        self.tape.reset();
        let m = &self.model;
        let x = m.embedding.lookup(&self.tape, &self.x);
        let y = m.out.forward(m.lstm.forward(x));
        let y = y.reshape([STEPS * BATCH, VOCABULARY]);
        let mut grads = y.cross_entropy(&self.y).backward();
        grads.clip_norm(1.0);
        self.adam.step(&mut self.model, &grads);
        f64::from(grads.loss())
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }
}

/// Embedding 65x64, LSTM 256, sequence 64, batch 32, linear 65, cross-entropy, clip 1.0, Adam.
pub fn w7() -> impl Workload {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut model = Model {
        embedding: Embedding::new(VOCABULARY, FEATURES, &mut rng),
        lstm: Lstm::builder(FEATURES, HIDDEN)
            .batch_first(true)
            .build(&mut rng),
        out: Linear::new(HIDDEN, VOCABULARY, &mut rng),
    };
    let bound = 1.0 / (HIDDEN as f64).sqrt();
    let mut k = 0;
    model.for_each_param_mut(|_, p| {
        let bound = if k == 0 { 1.0 } else { bound };
        let shape = Dims::from_slice(p.shape());
        let numel: usize = shape.iter().product();
        p.set(uniform(9000 + k, [numel], bound).reshape(shape));
        k += 1;
    });
    let x = integers(9900, [BATCH, STEPS], VOCABULARY as u64);
    let y = integers(9901, [STEPS * BATCH], VOCABULARY as u64);
    Training {
        model,
        tape: Tape::training(0),
        adam: Adam::new(1e-3),
        x,
        y,
    }
}
