//! The workloads of `steps` in candle, with the same weights, data and steps: `cargo run --release -- w1 --threads 2`.
//!
//! SGD with momentum and clipping by the global norm are written out here because candle has none.

#[path = "../../common.rs"]
mod common;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::{LSTM, LSTMConfig, RNN};
use candle_nn::{
    AdamW, BatchNorm, Conv2d, Conv2dConfig, Embedding, Linear, Module, Optimizer, ParamsAdamW,
    VarBuilder, loss,
};
use common::{Step, integers, uniform};

const CPU: &Device = &Device::Cpu;

/// Draws parameters in order, each from a seed of its own, and keeps them for the optimizer.
struct Draw {
    seed: u64,
    vars: Vec<Var>,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Draw {
            seed,
            vars: Vec::new(),
        }
    }

    fn keep(&mut self, t: Tensor) -> Result<Tensor> {
        let var = Var::from_tensor(&t)?;
        self.vars.push(var.clone());
        Ok(var.into_inner())
    }

    fn tensor(&mut self, shape: &[usize], fan_in: usize) -> Result<Tensor> {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let t = Tensor::from_vec(
            uniform(self.seed, shape.iter().product(), bound),
            shape,
            CPU,
        )?;
        self.seed += 1;
        self.keep(t)
    }

    fn linear(&mut self, input: usize, out: usize) -> Result<Linear> {
        let weight = self.tensor(&[out, input], input)?;
        Ok(Linear::new(weight, Some(self.tensor(&[out], input)?)))
    }

    fn conv(
        &mut self,
        input: usize,
        out: usize,
        size: usize,
        bias: bool,
        config: Conv2dConfig,
    ) -> Result<Conv2d> {
        let fan_in = input * size * size;
        let weight = self.tensor(&[out, input, size, size], fan_in)?;
        let bias = if bias {
            Some(self.tensor(&[out], fan_in)?)
        } else {
            None
        };
        Ok(Conv2d::new(weight, bias, config))
    }

    fn norm(&mut self, n: usize) -> Result<BatchNorm> {
        let (zeros, ones) = (
            Tensor::from_vec(vec![0f32; n], n, CPU)?,
            Tensor::from_vec(vec![1f32; n], n, CPU)?,
        );
        let (weight, bias) = (self.keep(ones.clone())?, self.keep(zeros.clone())?);
        BatchNorm::new(n, zeros, ones, weight, bias, 1e-5)
    }
}

/// SGD with momentum as PyTorch defines it.
struct Sgd {
    params: Vec<(Var, Option<Tensor>)>,
    lr: f64,
    momentum: f64,
    weight_decay: f64,
}

impl Sgd {
    fn new(vars: Vec<Var>, lr: f64, momentum: f64, weight_decay: f64) -> Self {
        let params = vars.into_iter().map(|v| (v, None)).collect();
        Sgd {
            params,
            lr,
            momentum,
            weight_decay,
        }
    }

    fn step(&mut self, grads: &GradStore) -> Result<()> {
        for (var, velocity) in &mut self.params {
            let Some(grad) = grads.get(var) else { continue };
            let grad = if self.weight_decay == 0.0 {
                grad.clone()
            } else {
                (grad + (var.as_tensor() * self.weight_decay)?)?
            };
            let v = match velocity.take() {
                None => grad,
                Some(v) => ((v * self.momentum)? + grad)?,
            };
            var.set(&(var.as_tensor() - (&v * self.lr)?)?.detach())?;
            *velocity = Some(v.detach());
        }
        Ok(())
    }
}

/// A step of training from the loss and the update.
fn training(
    forward: impl Fn() -> Result<Tensor> + 'static,
    mut update: impl FnMut(&mut GradStore) -> Result<()> + 'static,
) -> Step {
    Box::new(move || {
        let mut step = || {
            let loss = forward()?;
            update(&mut loss.backward()?)?;
            loss.to_scalar::<f32>()
        };
        f64::from(step().expect("shapes are those of the workload"))
    })
}

fn mlp(w: u64, sizes: &[usize]) -> Result<(Vec<Linear>, Vec<Var>)> {
    let mut d = Draw::new(w * 1000);
    let layers = sizes
        .windows(2)
        .map(|s| d.linear(s[0], s[1]))
        .collect::<Result<_>>()?;
    Ok((layers, d.vars))
}

fn forward(
    layers: &[Linear],
    x: &Tensor,
    activation: fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut x = layers[0].forward(x)?;
    for l in &layers[1..] {
        x = l.forward(&activation(&x)?)?;
    }
    Ok(x)
}

fn data(seed: u64, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(uniform(seed, shape.iter().product(), 1.0), shape, CPU)
}

fn labels(seed: u64, n: usize, classes: u64) -> Result<Tensor> {
    Tensor::from_vec(
        integers(seed, n, classes)
            .into_iter()
            .map(|i| i as u32)
            .collect(),
        n,
        CPU,
    )
}

fn adamw(vars: Vec<Var>, lr: f64, weight_decay: f64) -> Result<AdamW> {
    AdamW::new(
        vars,
        ParamsAdamW {
            lr,
            weight_decay,
            ..ParamsAdamW::default()
        },
    )
}

fn w1() -> Result<Step> {
    let (layers, vars) = mlp(1, &[784, 300, 100, 10])?;
    let (x, y) = (data(1900, &[64, 784])?, labels(1901, 64, 10)?);
    let mut adam = adamw(vars, 1e-3, 0.0)?;
    Ok(training(
        move || loss::cross_entropy(&forward(&layers, &x, Tensor::relu)?, &y),
        move |g| adam.step(g),
    ))
}

fn w2() -> Result<Step> {
    let (layers, vars) = mlp(2, &[2, 16, 16, 1])?;
    let (x, y) = (data(2900, &[32, 2])?, data(2901, &[32, 1])?);
    let mut sgd = Sgd::new(vars, 0.01, 0.9, 0.0);
    Ok(training(
        move || loss::mse(&forward(&layers, &x, Tensor::tanh)?, &y),
        move |g| sgd.step(g),
    ))
}

fn w4() -> Result<Step> {
    let (layers, vars) = mlp(5, &[1024, 4096, 4096, 1024])?;
    let (x, y) = (data(5900, &[256, 1024])?, data(5901, &[256, 1024])?);
    let mut adamw = adamw(vars, 1e-4, 0.01)?;
    Ok(training(
        move || loss::mse(&forward(&layers, &x, Tensor::gelu_erf)?, &y),
        move |g| adamw.step(g),
    ))
}

/// The maximum of each 2 x 2, with its derivative: candle 0.11 passes a quarter of the gradient to a maximum that is alone in its window
/// (it multiplies by the share of the maxima in the window where it should divide by their number). Equal maxima are zeros of the ReLU
/// before, where the gradient ends anyway.
fn max_pool(x: &Tensor) -> Result<Tensor> {
    let y = x.max_pool2d(2)?;
    (&y * 4.0)? - (y.detach() * 3.0)?
}

fn w5() -> Result<Step> {
    let mut d = Draw::new(6000);
    let conv1 = d.conv(1, 32, 3, true, Conv2dConfig::default())?;
    let conv2 = d.conv(32, 64, 3, true, Conv2dConfig::default())?;
    let (fc1, fc2) = (d.linear(9216, 128)?, d.linear(128, 10)?);
    let (x, y) = (data(6900, &[64, 1, 28, 28])?, labels(6901, 64, 10)?);
    let mut sgd = Sgd::new(d.vars, 0.01, 0.9, 0.0);
    Ok(training(
        move || {
            let x = conv1.forward(&x)?.relu()?;
            let x = max_pool(&conv2.forward(&x)?.relu()?)?.flatten_from(1)?;
            loss::cross_entropy(&fc2.forward(&fc1.forward(&x)?.relu()?)?, &y)
        },
        move |g| sgd.step(g),
    ))
}

/// Convolution without bias, then batch norm.
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(d: &mut Draw, out: usize, input: usize, size: usize, stride: usize) -> Result<Self> {
        let config = Conv2dConfig {
            stride,
            padding: size / 2,
            ..Conv2dConfig::default()
        };
        Ok(ConvNorm {
            conv: d.conv(input, out, size, false, config)?,
            norm: d.norm(out)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward_train(&self.conv.forward(x)?)
    }
}

struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv2.forward(&self.conv1.forward(x)?.relu()?)?;
        match &self.shortcut {
            Some(s) => (y + s.forward(x)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

fn w6() -> Result<Step> {
    let mut d = Draw::new(7000);
    let stem = ConvNorm::new(&mut d, 16, 3, 3, 1)?;
    let (mut blocks, mut input) = (Vec::new(), 16);
    for out in [16, 32, 64] {
        for i in 0..3 {
            let stride = if i == 0 && out > 16 { 2 } else { 1 };
            let conv1 = ConvNorm::new(&mut d, out, input, 3, stride)?;
            let conv2 = ConvNorm::new(&mut d, out, out, 3, 1)?;
            let shortcut = if stride > 1 {
                Some(ConvNorm::new(&mut d, out, input, 1, stride)?)
            } else {
                None
            };
            blocks.push(Block {
                conv1,
                conv2,
                shortcut,
            });
            input = out;
        }
    }
    let fc = d.linear(64, 10)?;
    let (x, y) = (data(7900, &[64, 3, 32, 32])?, labels(7901, 64, 10)?);
    let mut sgd = Sgd::new(d.vars, 0.05, 0.9, 1e-4);
    Ok(training(
        move || {
            let mut x = stem.forward(&x)?.relu()?;
            for b in &blocks {
                x = b.forward(&x)?;
            }
            loss::cross_entropy(&fc.forward(&x.mean((2, 3))?)?, &y)
        },
        move |g| sgd.step(g),
    ))
}

/// Scales the gradients so that the norm of all of them together is at most `max`.
fn clip_norm(vars: &[Var], grads: &mut GradStore, max: f32) -> Result<()> {
    let mut sum = 0.0;
    for g in vars.iter().filter_map(|v| grads.get(v)) {
        sum += g.sqr()?.sum_all()?.to_scalar::<f32>()?;
    }
    let scale = max / (sum.sqrt() + 1e-6);
    if scale < 1.0 {
        for v in vars {
            if let Some(g) = grads.remove(v) {
                grads.insert(v, (g * f64::from(scale))?);
            }
        }
    }
    Ok(())
}

fn w7() -> Result<Step> {
    let (hidden, features, vocabulary) = (256, 64, 65);
    let mut d = Draw::new(9000);
    let embedding = Embedding::new(d.tensor(&[vocabulary, features], 1)?, features);
    let names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    let shapes: [&[usize]; 4] = [
        &[4 * hidden, features],
        &[4 * hidden, hidden],
        &[4 * hidden],
        &[4 * hidden],
    ];
    let mut tensors = std::collections::HashMap::new();
    for (name, shape) in names.into_iter().zip(shapes) {
        tensors.insert(name.to_string(), d.tensor(shape, hidden)?);
    }
    let lstm = LSTM::new(
        features,
        hidden,
        LSTMConfig::default(),
        VarBuilder::from_tensors(tensors, DType::F32, CPU),
    )?;
    let out = d.linear(hidden, vocabulary)?;
    let (x, y) = (
        labels(9900, 32 * 64, 65)?.reshape((32, 64))?,
        labels(9901, 32 * 64, 65)?,
    );
    let vars = d.vars.clone();
    let mut adam = adamw(d.vars, 1e-3, 0.0)?;
    Ok(training(
        move || {
            let states = lstm.seq(&embedding.forward(&x)?)?;
            let h = lstm.states_to_tensor(&states)?.flatten_to(1)?;
            loss::cross_entropy(&out.forward(&h)?, &y)
        },
        move |g| {
            clip_norm(&vars, g, 1.0)?;
            adam.step(g)
        },
    ))
}

fn w10() -> Result<Step> {
    let x = Var::new(1f32, CPU)?;
    let forward = move || (0..1000).try_fold(x.as_tensor().clone(), |y, _| y * 1.0001);
    Ok(training(forward, |_| Ok(())))
}

fn w10b() -> Result<Step> {
    let x = Var::from_vec(vec![1f32; 100], 100, CPU)?;
    let c = Tensor::from_vec(vec![0.001f32; 100], 100, CPU)?;
    let forward = move || {
        (0..1000)
            .try_fold(x.as_tensor().clone(), |y, _| y + &c)?
            .sum_all()
    };
    Ok(training(forward, |_| Ok(())))
}

fn main() {
    let names = ["w1", "w2", "w4", "w5", "w6", "w7", "w10", "w10b"];
    common::main("candle", &names, |name| {
        let work = match name {
            "w1" => w1(),
            "w2" => w2(),
            "w4" => w4(),
            "w5" => w5(),
            "w6" => w6(),
            "w7" => w7(),
            "w10" => w10(),
            _ => w10b(),
        };
        work.expect("shapes are those of the workload")
    });
}
