//! The workloads of `steps` in burn (backend `flex`), with the same weights, data and steps: `cargo run --release -- w1 --threads 2`.

#[path = "../../common.rs"]
mod common;
mod models;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::loss::{CrossEntropyLoss, MseLoss, Reduction};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::{gelu, relu, tanh};
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{Step, integers, uniform};
use models::{Characters, Mlp, Plain, ResNet};

fn device() -> Device {
    Device::flex().autodiff()
}

fn data<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(
        TensorData::new(uniform(seed, shape.iter().product(), 1.0), shape),
        &device(),
    )
}

fn labels<const D: usize>(seed: u64, shape: [usize; D], classes: u64) -> Tensor<D, Int> {
    Tensor::from_data(
        TensorData::new(integers(seed, shape.iter().product(), classes), shape),
        &device(),
    )
}

/// The usual loop: forward, backward, what happens to the gradients, update.
fn training<M: Module + 'static>(
    model: M,
    mut optimizer: ModuleOptimizer,
    lr: f64,
    loss: impl Fn(&M) -> Tensor<1> + 'static,
    clip: Option<f32>,
) -> Step {
    let mut kept = Some(model);
    Box::new(move || {
        let model = kept.take().expect("the model of the last step");
        let loss = loss(&model);
        let value = loss.clone().into_scalar::<f32>();
        let mut grads = GradientsParams::from_grads(loss.backward(), &model);
        if let Some(max) = clip {
            let mut norm = SquaredNorm {
                grads: &grads,
                sum: 0.0,
            };
            model.visit(&mut norm);
            let scale = max / (norm.sum.sqrt() + 1e-6);
            if scale < 1.0 {
                model.visit(&mut Scale {
                    grads: &mut grads,
                    scale,
                });
            }
        }
        kept = Some(optimizer.step(lr, model, grads));
        f64::from(value)
    })
}

/// Sum of squares over the gradients of all parameters: burn's own clipping is by parameter, that of the workload is global.
struct SquaredNorm<'a> {
    grads: &'a GradientsParams,
    sum: f32,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(g) = self.grads.get::<D>(param.id) {
            self.sum += g.square().sum().into_scalar::<f32>();
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    scale: f32,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(g) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, g.mul_scalar(self.scale));
        }
    }
}

fn sgd(decay: Option<f32>) -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let weight_decay = decay.map(WeightDecayConfig::new);
    SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(weight_decay)
        .init()
}

fn adam() -> ModuleOptimizer {
    AdamConfig::new().with_epsilon(1e-8).init()
}

fn w1() -> Step {
    let (x, y) = (data(1900, [64, 784]), labels(1901, [64], 10));
    let entropy = CrossEntropyLoss::new(None, &device());
    let loss = move |m: &Mlp| entropy.forward(m.forward(x.clone(), relu), y.clone());
    training(
        Mlp::new(1, &[784, 300, 100, 10], &device()),
        adam(),
        1e-3,
        loss,
        None,
    )
}

fn w2() -> Step {
    let (x, y) = (data(2900, [32, 2]), data(2901, [32, 1]));
    let loss = move |m: &Mlp| {
        MseLoss::new().forward(m.forward(x.clone(), tanh), y.clone(), Reduction::Mean)
    };
    training(
        Mlp::new(2, &[2, 16, 16, 1], &device()),
        sgd(None),
        0.01,
        loss,
        None,
    )
}

fn w4() -> Step {
    let (x, y) = (data(5900, [256, 1024]), data(5901, [256, 1024]));
    let loss = move |m: &Mlp| {
        MseLoss::new().forward(m.forward(x.clone(), gelu), y.clone(), Reduction::Mean)
    };
    let adamw = AdamWConfig::new()
        .with_epsilon(1e-8)
        .with_weight_decay(0.01)
        .init();
    training(
        Mlp::new(5, &[1024, 4096, 4096, 1024], &device()),
        adamw,
        1e-4,
        loss,
        None,
    )
}

fn w5() -> Step {
    let (x, y) = (data(6900, [64, 1, 28, 28]), labels(6901, [64], 10));
    let entropy = CrossEntropyLoss::new(None, &device());
    let loss = move |m: &Plain| entropy.forward(m.forward(x.clone()), y.clone());
    training(Plain::new(&device()), sgd(None), 0.01, loss, None)
}

fn w6() -> Step {
    let (x, y) = (data(7900, [64, 3, 32, 32]), labels(7901, [64], 10));
    let entropy = CrossEntropyLoss::new(None, &device());
    let loss = move |m: &ResNet| entropy.forward(m.forward(x.clone()), y.clone());
    training(ResNet::new(&device()), sgd(Some(1e-4)), 0.05, loss, None)
}

fn w7() -> Step {
    let (x, y) = (labels(9900, [32, 64], 65), labels(9901, [32 * 64], 65));
    let entropy = CrossEntropyLoss::new(None, &device());
    let loss = move |m: &Characters| entropy.forward(m.forward(x.clone()), y.clone());
    training(Characters::new(&device()), adam(), 1e-3, loss, Some(1.0))
}

fn chain(n: usize, operation: fn(Tensor<1>, &Tensor<1>) -> Tensor<1>, c: f32) -> Step {
    let x = Tensor::<1>::ones([n], &device()).require_grad();
    let c = Tensor::<1>::full([n], c, &device());
    Box::new(move || {
        let mut y = x.clone();
        for _ in 0..1000 {
            y = operation(y, &c);
        }
        let loss = if n == 1 { y } else { y.sum() };
        let value = loss.clone().into_scalar::<f32>();
        let _grads = loss.backward();
        f64::from(value)
    })
}

fn main() {
    let names = ["w1", "w2", "w4", "w5", "w6", "w7", "w10", "w10b"];
    common::main("burn", &names, |name| match name {
        "w1" => w1(),
        "w2" => w2(),
        "w4" => w4(),
        "w5" => w5(),
        "w6" => w6(),
        "w7" => w7(),
        "w10" => chain(1, |y, _| y.mul_scalar(1.0001), 1.0),
        _ => chain(100, |y, c| y.add(c.clone()), 0.001),
    });
}
