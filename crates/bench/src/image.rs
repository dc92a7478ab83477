//! Convolutional networks.

use crate::Workload;
use crate::fill::{integers, uniform};
use wengert::autograd::ops::conv::ConvOptions;
use wengert::nn::BatchNorm2d;
use wengert::prelude::*;

/// Draws tensors in order, each from a seed of its own.
struct Draw {
    seed: u64,
}

impl Draw {
    fn tensor<const N: usize>(&mut self, shape: [usize; N], fan_in: usize) -> Param {
        let t = uniform(self.seed, shape, 1.0 / (fan_in as f64).sqrt());
        self.seed += 1;
        Param::new(t)
    }
    fn kernel(&mut self, out: usize, input: usize, size: usize) -> Param {
        self.tensor([out, input, size, size], input * size * size)
    }
}

/// Weight and bias of a layer.
#[derive(Module)]
struct Affine {
    weight: Param,
    bias: Param,
}

impl Affine {
    fn linear<'t>(&self, x: Var<'t>) -> Var<'t> {
        let tape = x.tape();
        x.linear(tape.param(&self.weight), Some(tape.param(&self.bias)))
    }
    fn conv<'t>(&self, x: Var<'t>) -> Var<'t> {
        let tape = x.tape();
        let bias = Some(tape.param(&self.bias));
        x.conv2d(tape.param(&self.weight), bias, ConvOptions::new())
    }
}

/// Two convolutions, a pool, two linear layers.
#[derive(Module)]
struct Plain {
    conv1: Affine,
    conv2: Affine,
    fc1: Affine,
    fc2: Affine,
}

impl Plain {
    fn new() -> Self {
        let mut d = Draw { seed: 6000 };
        let mut conv = |out: usize, input: usize| Affine {
            weight: d.kernel(out, input, 3),
            bias: d.tensor([out], 9 * input),
        };
        let (conv1, conv2) = (conv(32, 1), conv(64, 32));
        let mut fc = |out: usize, input: usize| Affine {
            weight: d.tensor([out, input], input),
            bias: d.tensor([out], input),
        };
        Plain {
            conv1,
            conv2,
            fc1: fc(128, 9216),
            fc2: fc(10, 128),
        }
    }

    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let x = self.conv1.conv(x).relu();
        let x = self.conv2.conv(x).relu().max_pool([2, 2]).flatten(1, -1);
        self.fc2.linear(self.fc1.linear(x).relu())
    }
}

/// Convolution without bias, then batch norm.
#[derive(Module)]
struct ConvNorm {
    conv: Param,
    norm: BatchNorm2d,
    #[module(skip)]
    options: ConvOptions<2>,
}

impl ConvNorm {
    fn new(d: &mut Draw, out: usize, input: usize, size: usize, stride: usize) -> Self {
        ConvNorm {
            conv: d.kernel(out, input, size),
            norm: BatchNorm2d::new(out),
            options: ConvOptions::new().stride(stride).padding(size / 2),
        }
    }

    fn conv<'t>(&self, x: Var<'t>) -> Var<'t> {
        x.conv2d(x.tape().param(&self.conv), None, self.options)
    }
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.norm.forward(self.conv(x))
    }
    fn forward_relu<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.norm.forward_relu(self.conv(x))
    }
}

/// Residual block: two convolutions beside a shortcut.
#[derive(Module)]
struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let y = self.conv2.forward(self.conv1.forward_relu(x));
        let x = self.shortcut.as_ref().map_or(x, |s| s.forward(x));
        (y + x).relu()
    }
}

/// ResNet-20 for images of 32 x 32.
#[derive(Module)]
struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Affine,
}

impl ResNet {
    fn new() -> Self {
        let mut d = Draw { seed: 7000 };
        let stem = ConvNorm::new(&mut d, 16, 3, 3, 1);
        let mut blocks = Vec::new();
        let mut input = 16;
        for out in [16, 32, 64] {
            for i in 0..3 {
                let stride = if i == 0 && out > 16 { 2 } else { 1 };
                blocks.push(Block {
                    conv1: ConvNorm::new(&mut d, out, input, 3, stride),
                    conv2: ConvNorm::new(&mut d, out, out, 3, 1),
                    shortcut: (stride > 1).then(|| ConvNorm::new(&mut d, out, input, 1, stride)),
                });
                input = out;
            }
        }
        let fc = Affine {
            weight: d.tensor([10, 64], 64),
            bias: d.tensor([10], 64),
        };
        ResNet { stem, blocks, fc }
    }

    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let mut x = self.stem.forward_relu(x);
        for b in &self.blocks {
            x = b.forward(x);
        }
        self.fc.linear(x.mean_dim([2, 3], false))
    }
}

/// A classifier of one batch, trained with SGD.
struct Training<M> {
    model: M,
    forward: for<'t> fn(&M, Var<'t>) -> Var<'t>,
    tape: Tape,
    sgd: Sgd,
    x: Tensor,
    y: Tensor<i64>,
}

impl<M: Module> Workload for Training<M> {
    fn step(&mut self) -> f64 {
        self.tape.reset();
        let x = self.tape.input(&self.x);
        let grads = (self.forward)(&self.model, x)
            .cross_entropy(&self.y)
            .backward();
        self.sgd.step(&mut self.model, &grads);
        f64::from(grads.loss())
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }
}

/// Two 3 x 3 convolutions on 28 x 28, batch 64, SGD with momentum.
pub fn w5() -> impl Workload {
    Training {
        model: Plain::new(),
        forward: |m, x| m.forward(x),
        tape: Tape::training(0),
        sgd: Sgd::new(0.01).momentum(0.9),
        x: uniform(6900, [64, 1, 28, 28], 1.0),
        y: integers(6901, [64], 10),
    }
}

/// ResNet-20 on 32 x 32, batch 64, SGD with momentum and decay.
pub fn w6() -> impl Workload {
    Training {
        model: ResNet::new(),
        forward: |m, x| m.forward(x),
        tape: Tape::training(0),
        sgd: Sgd::new(0.05).momentum(0.9).weight_decay(1e-4),
        x: uniform(7900, [64, 3, 32, 32], 1.0),
        y: integers(7901, [64], 10),
    }
}
