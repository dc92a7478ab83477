//! The dense workloads of `steps` in dfdx, with the same weights, data and steps: `cargo run --release -- w1 --threads 2`.
//!
//! Not here: w5 and w6 (convolution layers need a nightly compiler), w7 (no LSTM).

#[path = "../../common.rs"]
mod common;

use common::{Step, integers, uniform};
use dfdx::optim::{Adam, Momentum, Optimizer, Sgd, WeightDecay};
use dfdx::prelude::*;

type Linears<const A: usize, const B: usize, const C: usize, const D: usize, F> =
    ((Linear<A, B>, F), (Linear<B, C>, F), Linear<C, D>);

fn draw<const I: usize, const O: usize>(layer: &mut modules::Linear<I, O, f32, Cpu>, seed: u64) {
    let bound = 1.0 / (I as f64).sqrt();
    layer.weight.copy_from(&uniform(seed, O * I, bound));
    layer.bias.copy_from(&uniform(seed + 1, O, bound));
}

macro_rules! mlp {
    ($dev:expr, $w:expr, $model:ty) => {{
        let mut m = $dev.build_module::<$model, f32>();
        draw(&mut m.0.0, $w * 1000);
        draw(&mut m.1.0, $w * 1000 + 2);
        draw(&mut m.2, $w * 1000 + 4);
        m
    }};
}

/// A step of the usual loop: gradients live across steps, the tape is new each time.
macro_rules! training {
    ($model:expr, $optimizer:expr, $x:expr, $y:expr, $loss:expr) => {{
        let (mut model, mut optimizer, x, y) = ($model, $optimizer, $x, $y);
        let mut kept = Some(model.alloc_grads());
        Box::new(move || {
            let grads = kept.take().expect("gradients of the last step");
            let out = model.forward_mut(x.trace(grads));
            let loss = $loss(out, y.clone());
            let value = f64::from(loss.array());
            let mut grads = loss.backward();
            optimizer
                .update(&mut model, &grads)
                .expect("every parameter has a gradient");
            model.zero_grads(&mut grads);
            kept = Some(grads);
            value
        })
    }};
}

fn adam(lr: f64, weight_decay: Option<WeightDecay>) -> AdamConfig {
    AdamConfig {
        lr,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay,
    }
}

fn w1() -> Step {
    let dev = Cpu::default();
    let model = mlp!(dev, 1, Linears<784, 300, 100, 10, ReLU>);
    let optimizer = Adam::new(&model, adam(1e-3, None));
    let x: Tensor<Rank2<64, 784>, f32, _> = dev.tensor(uniform(1900, 64 * 784, 1.0));
    let mut hot = vec![0.0; 640];
    for (row, class) in integers(1901, 64, 10).into_iter().enumerate() {
        hot[row * 10 + class as usize] = 1.0;
    }
    let y: Tensor<Rank2<64, 10>, f32, _> = dev.tensor(hot);
    training!(model, optimizer, x, y, cross_entropy_with_logits_loss)
}

fn w2() -> Step {
    let dev = Cpu::default();
    let model = mlp!(dev, 2, Linears<2, 16, 16, 1, Tanh>);
    let config = SgdConfig {
        lr: 0.01,
        momentum: Some(Momentum::Classic(0.9)),
        weight_decay: None,
    };
    let optimizer = Sgd::new(&model, config);
    let x: Tensor<Rank2<32, 2>, f32, _> = dev.tensor(uniform(2900, 64, 1.0));
    let y: Tensor<Rank2<32, 1>, f32, _> = dev.tensor(uniform(2901, 32, 1.0));
    training!(model, optimizer, x, y, mse_loss)
}

fn w4() -> Step {
    let dev = Cpu::default();
    let model = mlp!(dev, 5, Linears<1024, 4096, 4096, 1024, AccurateGeLU>);
    let optimizer = Adam::new(&model, adam(1e-4, Some(WeightDecay::Decoupled(0.01))));
    let x: Tensor<Rank2<256, 1024>, f32, _> = dev.tensor(uniform(5900, 256 * 1024, 1.0));
    let y: Tensor<Rank2<256, 1024>, f32, _> = dev.tensor(uniform(5901, 256 * 1024, 1.0));
    training!(model, optimizer, x, y, mse_loss)
}

fn w10() -> Step {
    let dev = Cpu::default();
    let x: Tensor<Rank0, f32, _> = dev.tensor(1.0);
    Box::new(move || {
        let mut y = x.leaky_trace();
        for _ in 0..1000 {
            y = y * 1.0001;
        }
        let value = f64::from(y.array());
        let _grads = y.backward();
        value
    })
}

fn w10b() -> Step {
    let dev = Cpu::default();
    let x: Tensor<Rank1<100>, f32, _> = dev.ones();
    let c: Tensor<Rank1<100>, f32, _> = dev.tensor([0.001; 100]);
    Box::new(move || {
        let mut y = x.leaky_trace();
        for _ in 0..1000 {
            y = y + c.clone();
        }
        let loss: Tensor<Rank0, f32, _, _> = y.sum();
        let value = f64::from(loss.array());
        let _grads = loss.backward();
        value
    })
}

fn main() {
    common::main(
        "dfdx",
        &["w1", "w2", "w4", "w10", "w10b"],
        |name| match name {
            "w1" => w1(),
            "w2" => w2(),
            "w4" => w4(),
            "w10" => w10(),
            _ => w10b(),
        },
    );
}
