//! Networks of the kinds that the numbered workloads leave out: deep ones, other cells, attention, bottlenecks, depthwise
//! and transposed convolutions, groups, one row at a time.
//!
//! Parameters are filled in their order: those of at least two dimensions uniformly with bound 1/sqrt(elements of a row),
//! those of one with 1 if they scale a norm, else with 0.

use crate::Workload;
use crate::fill::{integers, uniform};
use crate::mlp::Training;
use wengert::autograd::Dims;
use wengert::nn::{
    Activation, AttentionMask, Conv1d, ConvTranspose2d, GroupNorm, LearnedPositions, ResNet,
    ResNetConfig, TransformerEncoder, TransformerOptions,
};
use wengert::prelude::*;

/// The update of a model by its gradients.
type Update<M> = Box<dyn FnMut(&mut M, &Gradients)>;

fn rng() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(0)
}

fn sgd<M: Module>() -> Update<M> {
    let mut sgd = Sgd::new(0.01).momentum(0.9);
    Box::new(move |m, g| {
        sgd.step(m, g);
    })
}

fn adam<M: Module>() -> Update<M> {
    let mut adam = Adam::new(1e-3);
    Box::new(move |m, g| {
        adam.step(m, g);
    })
}

fn training<M: Module + 'static>(
    seed: u64,
    mut model: M,
    update: Update<M>,
    loss: impl for<'t> Fn(&M, &'t Tape) -> Var<'t> + 'static,
) -> Box<dyn Workload> {
    let mut k = seed;
    model.for_each_param_mut(|name, p| {
        let shape = Dims::from_slice(p.shape());
        let numel: usize = shape.iter().product();
        let flat = if shape.len() > 1 {
            uniform(k, [numel], 1.0 / ((numel / shape[0]) as f64).sqrt())
        } else {
            let norm = name.ends_with("weight");
            Tensor::full([numel], if norm { 1.0 } else { 0.0 })
        };
        p.set(flat.reshape(shape));
        k += 1;
    });
    Box::new(Training {
        model,
        loss,
        update,
        tape: Tape::training(0),
    })
}

fn classifier<M: Module + Forward + 'static, const N: usize>(
    seed: u64,
    model: M,
    update: Update<M>,
    shape: [usize; N],
) -> Box<dyn Workload> {
    let x = uniform(seed + 900, shape, 1.0);
    let y = integers(seed + 901, [shape[0]], 10);
    training(seed, model, update, move |m, tape| {
        m.forward(tape.input(&x)).cross_entropy(&y)
    })
}

/// Twenty layers of 256 tanh units with batch norm, batch 128.
pub fn deep() -> Box<dyn Workload> {
    let mut b = Sequential::builder().linear(784, 256);
    for _ in 0..20 {
        b = b.batch_norm1d(256).tanh().linear(256, 256);
    }
    let model: Sequential = b.tanh().linear(256, 10).build(&mut rng());
    classifier(20_000, model, sgd(), [128, 784])
}

/// The network of w1, one row at a time.
pub fn single() -> Box<dyn Workload> {
    let b = Sequential::builder().linear(784, 300).relu();
    let model: Sequential = b.linear(300, 100).relu().linear(100, 10).build(&mut rng());
    classifier(21_000, model, adam(), [1, 784])
}

const VOCABULARY: usize = 65;

#[derive(Module)]
struct Characters<R> {
    embedding: Embedding,
    cells: R,
    out: Linear,
}

fn characters<R: Module + Forward + 'static>(
    seed: u64,
    features: usize,
    cells: R,
    outputs: usize,
    shape: [usize; 2],
) -> Box<dyn Workload> {
    let mut rng = rng();
    let model = Characters {
        embedding: Embedding::new(VOCABULARY, features, &mut rng),
        cells,
        out: Linear::new(outputs, VOCABULARY, &mut rng),
    };
    let x = integers(seed + 900, shape, VOCABULARY as u64);
    let y = integers(seed + 901, [shape[0] * shape[1]], VOCABULARY as u64);
    training(seed, model, adam(), move |m, tape| {
        let h = m.cells.forward(m.embedding.lookup(tape, &x));
        let y_hat = m.out.forward(h).reshape([shape[0] * shape[1], VOCABULARY]);
        y_hat.cross_entropy(&y)
    })
}

/// Two layers of 256 gated recurrent units, 64 steps, batch 32.
pub fn gru() -> Box<dyn Workload> {
    let cells = Gru::builder(64, 256).layers(2).batch_first(true);
    characters(22_000, 64, cells.build(&mut rng()), 256, [32, 64])
}

/// Two layers of an LSTM of 128 in both directions, 32 steps, batch 32.
pub fn bilstm() -> Box<dyn Workload> {
    let cells = Lstm::builder(64, 128).layers(2).bidirectional(true);
    let cells = cells.batch_first(true).build(&mut rng());
    characters(23_000, 64, cells, 256, [32, 32])
}

/// A plain recurrent network of 128 tanh units, 128 steps, batch 16.
pub fn rnn() -> Box<dyn Workload> {
    let cells = Rnn::builder(64, 128).batch_first(true).build(&mut rng());
    characters(24_000, 64, cells, 128, [16, 128])
}

#[derive(Module)]
struct Gpt {
    embedding: Embedding,
    position: LearnedPositions,
    /// With a norm at its end.
    blocks: TransformerEncoder,
    out: Linear,
}

/// Four causal transformer layers of 128 with four heads, 128 steps, batch 16.
pub fn gpt() -> Box<dyn Workload> {
    const SHAPE: [usize; 2] = [16, 128];
    let mut rng = rng();
    let options = TransformerOptions {
        feed_forward: 512,
        dropout: 0.0,
        activation: Activation::Gelu,
        norm_first: true,
        ..TransformerOptions::new(128, 4)
    };
    let model = Gpt {
        embedding: Embedding::new(VOCABULARY, 128, &mut rng),
        position: LearnedPositions::new(SHAPE[1], 128, &mut rng),
        blocks: TransformerEncoder::new(4, options, &mut rng),
        out: Linear::new(128, VOCABULARY, &mut rng),
    };
    let x = integers(25_900, SHAPE, VOCABULARY as u64);
    let y = integers(25_901, [SHAPE[0] * SHAPE[1]], VOCABULARY as u64);
    training(25_000, model, adam(), move |m, tape| {
        let h = m.position.forward(m.embedding.lookup(tape, &x));
        let h = m.blocks.forward_masked(h, &AttentionMask::causal());
        let h = m.out.forward(h);
        h.reshape([SHAPE[0] * SHAPE[1], VOCABULARY])
            .cross_entropy(&y)
    })
}

/// A residual network of six bottlenecks on images of 32 x 32, batch 32.
pub fn bottleneck() -> Box<dyn Workload> {
    let config = ResNetConfig {
        inputs: 3,
        classes: 10,
        width: 32,
        depths: vec![2, 2, 2],
        bottleneck: true,
        small: true,
        zero_last_norm: false,
    };
    let model: ResNet = ResNet::try_new(&config, &mut rng()).expect("a network");
    classifier(26_000, model, sgd(), [32, 3, 32, 32])
}

/// ResNet-20 from the library's blocks, the network of w6.
pub fn resnet() -> Box<dyn Workload> {
    let model: ResNet = ResNet::resnet20(3, 10, &mut rng());
    classifier(27_000, model, sgd(), [64, 3, 32, 32])
}

/// Convolution without bias, batch norm.
fn norm_conv(b: SequentialOf, conv: Conv2d, channels: usize) -> SequentialOf {
    b.layer(conv).batch_norm2d(channels)
}

type SequentialOf = wengert::nn::SequentialBuilder<f32>;

/// Depthwise separable convolutions, six pairs, images of 32 x 32, batch 32.
pub fn depthwise() -> Box<dyn Workload> {
    let mut rng = rng();
    let stem = Conv2d::builder(3, 32, 3).padding(1).bias(false);
    let mut b = norm_conv(Sequential::builder(), stem.build(&mut rng), 32).relu();
    let mut channels = 32;
    for (out, stride) in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (256, 1)] {
        let depth = Conv2d::depthwise(channels, 3).stride(stride).padding(1);
        b = norm_conv(b, depth.bias(false).build(&mut rng), channels).relu();
        let point = Conv2d::builder(channels, out, 1).bias(false);
        b = norm_conv(b, point.build(&mut rng), out).relu();
        channels = out;
    }
    let b = b.global_avg_pool().flatten().linear(channels, 10);
    classifier(28_000, b.build(&mut rng), sgd(), [32, 3, 32, 32])
}

/// Strided convolutions down, transposed ones up again, mean squared error, batch 64.
pub fn autoencoder() -> Box<dyn Workload> {
    let mut rng = rng();
    let down = |a: usize, b: usize| Conv2d::builder(a, b, 3).stride(2).padding(1);
    let up = |a: usize, b: usize| {
        let t = ConvTranspose2d::builder(a, b, 3).stride(2).padding(1);
        t.output_padding(1)
    };
    let model: Sequential = Sequential::builder()
        .layer(down(1, 32).build(&mut rng))
        .relu()
        .layer(down(32, 64).build(&mut rng))
        .relu()
        .layer(up(64, 32).build(&mut rng))
        .relu()
        .layer(up(32, 1).build(&mut rng))
        .sigmoid()
        .build(&mut rng);
    let x = uniform(29_900, [64, 1, 28, 28], 1.0);
    training(29_000, model, adam(), move |m, tape| {
        let x = tape.input(&x);
        m.forward(x).mse(x)
    })
}

/// Dilated convolutions over 256 steps, 64 channels, group norm, batch 16.
pub fn dilated() -> Box<dyn Workload> {
    let mut rng = rng();
    let mut b = Sequential::builder();
    for (i, dilation) in [1, 2, 4, 8, 16].into_iter().enumerate() {
        let inputs = if i == 0 { 8 } else { 64 };
        let conv = Conv1d::builder(inputs, 64, 3).dilation(dilation);
        b = b.layer(conv.padding(dilation).build(&mut rng));
        b = b.layer(GroupNorm::new(8, 64)).relu();
    }
    let model: Sequential = b.layer(Conv1d::new(64, 10, 1, &mut rng)).build(&mut rng);
    let x = uniform(30_900, [16, 8, 256], 1.0);
    let y = integers(30_901, [16, 256], 10);
    training(30_000, model, adam(), move |m, tape| {
        m.forward(tape.input(&x)).cross_entropy(&y)
    })
}

/// Two layers of 1024 units with layer norm and dropout, batch 128.
pub fn dropout() -> Box<dyn Workload> {
    let mut b = Sequential::builder().linear(784, 1024);
    b = b.layer_norm(1024).relu().dropout(0.5).linear(1024, 1024);
    let b = b.layer_norm(1024).relu().dropout(0.5).linear(1024, 10);
    classifier(31_000, b.build(&mut rng()), adam(), [128, 784])
}
