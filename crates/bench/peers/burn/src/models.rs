//! The networks of the workloads, with drawn weights.

use crate::common::uniform;
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, GateController, Linear, LinearConfig,
    Lstm, LstmConfig, PaddingConfig2d,
};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

fn param<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_data(TensorData::new(values, shape), device)
}

/// `[rows, columns]` in, `[columns, rows]` out: burn keeps the weights of a linear layer as `[in, out]`.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    (0..values.len())
        .map(|i| values[i % rows * columns + i / rows])
        .collect()
}

fn linear(weight: &[f32], bias: Vec<f32>, device: &Device) -> Linear {
    let out = bias.len();
    let input = weight.len() / out;
    let mut layer = LinearConfig::new(input, out).init(device);
    layer.weight = param(transposed(weight, input), [input, out], device);
    layer.bias = Some(param(bias, [out], device));
    layer
}

/// Draws tensors in order, each from a seed of its own.
struct Draw<'a> {
    seed: u64,
    device: &'a Device,
}

impl Draw<'_> {
    fn values(&mut self, n: usize, bound: f64) -> Vec<f32> {
        let v = uniform(self.seed, n, bound);
        self.seed += 1;
        v
    }

    fn linear(&mut self, input: usize, out: usize) -> Linear {
        let bound = 1.0 / (input as f64).sqrt();
        let weight = self.values(out * input, bound);
        linear(&weight, self.values(out, bound), self.device)
    }

    fn conv(
        &mut self,
        input: usize,
        out: usize,
        size: usize,
        stride: usize,
        padding: usize,
        bias: bool,
    ) -> Conv2d {
        let bound = 1.0 / ((input * size * size) as f64).sqrt();
        let mut layer = Conv2dConfig::new([input, out], [size, size])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(
                padding, padding, padding, padding,
            ))
            .with_bias(bias)
            .init(self.device);
        layer.weight = param(
            self.values(out * input * size * size, bound),
            [out, input, size, size],
            self.device,
        );
        if bias {
            layer.bias = Some(param(self.values(out, bound), [out], self.device));
        }
        layer
    }
}

/// A stack of linear layers.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    pub fn new(w: u64, sizes: &[usize], device: &Device) -> Self {
        let mut d = Draw {
            seed: w * 1000,
            device,
        };
        Mlp {
            layers: sizes.windows(2).map(|s| d.linear(s[0], s[1])).collect(),
        }
    }

    pub fn forward(&self, x: Tensor<2>, activation: fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let mut x = self.layers[0].forward(x);
        for l in &self.layers[1..] {
            x = l.forward(activation(x));
        }
        x
    }
}

/// Two convolutions, a pool, two linear layers.
#[derive(Module, Debug)]
pub struct Plain {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Plain {
    pub fn new(device: &Device) -> Self {
        let mut d = Draw { seed: 6000, device };
        Plain {
            conv1: d.conv(1, 32, 3, 1, 0, true),
            conv2: d.conv(32, 64, 3, 1, 0, true),
            fc1: d.linear(9216, 128),
            fc2: d.linear(128, 10),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv2.forward(relu(self.conv1.forward(x))));
        let x = MaxPool2dConfig::new([2, 2])
            .init()
            .forward(x)
            .flatten::<2>(1, 3);
        self.fc2.forward(relu(self.fc1.forward(x)))
    }
}

/// Convolution without bias, then batch norm.
#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(d: &mut Draw, out: usize, input: usize, size: usize, stride: usize) -> Self {
        let conv = d.conv(input, out, size, stride, size / 2, false);
        ConvNorm {
            conv,
            norm: BatchNormConfig::new(out).init(d.device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// Residual block: two convolutions beside a shortcut.
#[derive(Module, Debug)]
struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv2.forward(relu(self.conv1.forward(x.clone())));
        let x = match &self.shortcut {
            Some(s) => s.forward(x),
            None => x,
        };
        relu(y + x)
    }
}

/// ResNet-20 for images of 32 x 32.
#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

impl ResNet {
    pub fn new(device: &Device) -> Self {
        let mut d = Draw { seed: 7000, device };
        let stem = ConvNorm::new(&mut d, 16, 3, 3, 1);
        let (mut blocks, mut input) = (Vec::new(), 16);
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
        ResNet {
            stem,
            blocks,
            fc: d.linear(64, 10),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(x));
        for b in &self.blocks {
            x = b.forward(x);
        }
        let x = AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(x);
        self.fc.forward(x.flatten::<2>(1, 3))
    }
}

/// Embedding, LSTM, linear layer.
#[derive(Module, Debug)]
pub struct Characters {
    embedding: Embedding,
    lstm: Lstm,
    out: Linear,
}

impl Characters {
    pub fn new(device: &Device) -> Self {
        let (hidden, features, vocabulary, bound) = (256, 64, 65, 1.0 / 16.0);
        let mut d = Draw { seed: 9000, device };
        let mut embedding = EmbeddingConfig::new(vocabulary, features).init(device);
        embedding.weight = param(
            d.values(vocabulary * features, 1.0),
            [vocabulary, features],
            device,
        );
        let (wi, wh) = (
            d.values(4 * hidden * features, bound),
            d.values(4 * hidden * hidden, bound),
        );
        let (bi, bh) = (d.values(4 * hidden, bound), d.values(4 * hidden, bound));
        // Order i, f, g, o.
        let gate = |k: usize| {
            let part = |v: &[f32]| v[k * v.len() / 4..(k + 1) * v.len() / 4].to_vec();
            GateController {
                input_transform: linear(&part(&wi), part(&bi), device),
                hidden_transform: linear(&part(&wh), part(&bh), device),
            }
        };
        let mut lstm = LstmConfig::new(features, hidden, true).init(device);
        lstm.input_gate = gate(0);
        lstm.forget_gate = Some(gate(1));
        lstm.cell_gate = gate(2);
        lstm.output_gate = gate(3);
        let weight = d.values(vocabulary * hidden, bound);
        let out = linear(&weight, d.values(vocabulary, bound), device);
        Characters {
            embedding,
            lstm,
            out,
        }
    }

    pub fn forward(&self, x: Tensor<2, Int>) -> Tensor<2> {
        let (y, _) = self.lstm.forward(self.embedding.forward(x), None);
        self.out.forward(y.flatten::<2>(0, 1))
    }
}
