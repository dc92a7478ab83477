//! Fully connected networks.

use crate::Workload;
use crate::fill::{integers, uniform};
use wengert::prelude::*;

/// Weight `[out, in]` and bias.
#[derive(Module)]
pub struct Layer {
    weight: Param,
    bias: Param,
}

/// A stack of layers.
#[derive(Module)]
pub struct Mlp {
    layers: Vec<Layer>,
}

fn mlp(id: u64, sizes: &[usize]) -> Mlp {
    let layers = sizes.windows(2).enumerate().map(|(k, s)| {
        let bound = 1.0 / (s[0] as f64).sqrt();
        let seed = id * 1000 + 2 * k as u64;
        Layer {
            weight: Param::new(uniform(seed, [s[1], s[0]], bound)),
            bias: Param::new(uniform(seed + 1, [s[1]], bound)),
        }
    });
    Mlp {
        layers: layers.collect(),
    }
}

impl Mlp {
    fn forward<'t>(&self, mut x: Var<'t>, activation: fn(Var<'t>) -> Var<'t>) -> Var<'t> {
        let tape = x.tape();
        for (k, l) in self.layers.iter().enumerate() {
            x = x.linear(tape.param(&l.weight), Some(tape.param(&l.bias)));
            if k + 1 < self.layers.len() {
                x = activation(x);
            }
        }
        x
    }
}

/// A model, its loss on one batch, and its optimizer.
pub(crate) struct Training<M, L, S> {
    pub model: M,
    pub tape: Tape,
    pub loss: L,
    pub update: S,
}

impl<M, L, S> Workload for Training<M, L, S>
where
    L: for<'t> Fn(&M, &'t Tape) -> Var<'t>,
    S: FnMut(&mut M, &Gradients),
{
    fn step(&mut self) -> f64 {
        self.tape.reset();
        let grads = (self.loss)(&self.model, &self.tape).backward();
        (self.update)(&mut self.model, &grads);
        f64::from(grads.loss())
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }
}

fn training<L, S>(model: Mlp, loss: L, update: S) -> impl Workload
where
    L: for<'t> Fn(&Mlp, &'t Tape) -> Var<'t>,
    S: FnMut(&mut Mlp, &Gradients),
{
    Training {
        model,
        tape: Tape::training(0),
        loss,
        update,
    }
}

/// 784-300-100-10 ReLU, batch 64, cross-entropy, Adam.
pub fn w1() -> impl Workload {
    let (x, y) = (uniform(1900, [64, 784], 1.0), integers(1901, [64], 10));
    let mut adam = Adam::new(1e-3);
    training(
        mlp(1, &[784, 300, 100, 10]),
        move |m, tape| m.forward(tape.input(&x), Var::relu).cross_entropy(&y),
        move |m, g| {
            adam.step(m, g);
        },
    )
}

/// 2-16-16-1 tanh, batch 32, MSE, SGD with momentum.
pub fn w2() -> impl Workload {
    let (x, y) = (uniform(2900, [32, 2], 1.0), uniform(2901, [32, 1], 1.0));
    let mut sgd = Sgd::new(0.01).momentum(0.9);
    training(
        mlp(2, &[2, 16, 16, 1]),
        move |m, tape| m.forward(tape.input(&x), Var::tanh).mse(tape.input(&y)),
        move |m, g| {
            sgd.step(m, g);
        },
    )
}

/// 1024-4096-4096-1024 exact GELU, batch 256, MSE, AdamW.
pub fn w4() -> impl Workload {
    let (x, y) = (
        uniform(5900, [256, 1024], 1.0),
        uniform(5901, [256, 1024], 1.0),
    );
    let mut adamw = AdamW::new(1e-4).weight_decay(0.01);
    training(
        mlp(5, &[1024, 4096, 4096, 1024]),
        move |m, tape| m.forward(tape.input(&x), Var::gelu).mse(tape.input(&y)),
        move |m, g| {
            adamw.step(m, g);
        },
    )
}
