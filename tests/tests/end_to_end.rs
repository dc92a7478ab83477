//! Data, model, loss, gradients, optimizer, report: the whole path.

use wengert::data::{DataLoader, Digits};
use wengert::flow::probe::Probe;
use wengert::nn::init::{Distribution, FanMode, Init};
use wengert::prelude::*;
use wengert_examples::accuracy;

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Forward for Mlp {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.out.forward(self.hidden.forward(x).relu())
    }
}

fn train(epochs: u64, seed: u64) -> (Mlp, f32) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut model = Mlp {
        hidden: Linear::builder(64, 64)
            .followed_by(Activation::Relu)
            .build(&mut rng),
        out: Linear::new(64, 10, &mut rng),
    };
    let digits = Digits::load();
    let loader = DataLoader::new(digits.train.dataset(), 32).shuffle(seed);
    let mut adam = Adam::new(3e-3);
    let mut tape = Tape::training(seed);
    let mut last = f32::NAN;
    for epoch in 0..epochs {
        for (x, y) in loader.epoch(epoch) {
            tape.reset();
            let mut grads = model.forward(tape.input(&x)).cross_entropy(&y).backward();
            grads.clip_norm(5.0);
            adam.step(&mut model, &grads);
            last = grads.loss();
        }
    }
    (model, last)
}

#[test]
fn a_network_learns_the_digits() {
    let (model, loss) = train(12, 1);
    let digits = Digits::load();
    let right = accuracy(&model.predict(&digits.test.inputs), &digits.test.labels);
    assert!(right >= 0.95, "test accuracy {right}, last loss {loss}");
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| {
            let (model, loss) = train(2, 5);
            let mut all = vec![loss.to_bits()];
            model.for_each_param(|_, p| all.extend(p.value().iter().map(f32::to_bits)));
            all
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(3));
    assert!(
        one != {
            let (_, loss) = train(2, 6);
            vec![loss.to_bits()]
        }
    );
}

/// Ratio of the activation gradient at the first layer to that at the last, at the first step of a deep network.
fn flow(activation: Activation, init: Init) -> f64 {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut sizes = vec![64; 31];
    sizes[30] = 10;
    let layers: Vec<Linear> = sizes
        .windows(2)
        .map(|s| Linear::builder(s[0], s[1]).init(init).build(&mut rng))
        .collect();
    let digits = Digits::load().standardized();
    let tape = Tape::training(1);
    let mut x = tape.input(&digits.train.inputs.narrow(0, 0, 64));
    for (k, l) in layers.iter().enumerate() {
        x = l.forward(x);
        if k < 29 {
            x = activation.forward(x);
        }
    }
    let loss = x.cross_entropy(&digits.train.labels.narrow(0, 0, 64));
    let (_, step) = Probe::default().backward(loss, &layers);
    assert_eq!(step.layers.len(), 30);
    assert_eq!(step.layers[7].path, "7");
    let rms = |k: usize| step.layers[k].activation_grad_rms().expect("measured");
    rms(0) / rms(29)
}

#[test]
fn the_four_networks_show_the_phenomenon() {
    let glorot = Init::VarianceScaling {
        scale: 1.0,
        mode: FanMode::FanAvg,
        distribution: Distribution::Normal,
    };
    let he = Init::VarianceScaling {
        scale: 2.0,
        mode: FanMode::FanIn,
        distribution: Distribution::Normal,
    };
    let small = flow(
        Activation::Sigmoid,
        Init::Normal {
            mean: 0.0,
            std: 0.01,
        },
    );
    assert!(small == 0.0, "below the smallest f32: {small:e}");
    let sigmoid = flow(Activation::Sigmoid, glorot);
    assert!((1e-20..1e-16).contains(&sigmoid), "{sigmoid:e}");
    let relu = flow(Activation::Relu, glorot);
    assert!((1e-6..1e-3).contains(&relu), "{relu:e}");
    let healthy = flow(Activation::Relu, he);
    assert!((0.05..20.0).contains(&healthy), "{healthy:e}");
}
