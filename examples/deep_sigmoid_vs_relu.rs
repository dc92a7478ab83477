//! The same deep network four ways: why sigmoid layers and careless weights make gradients vanish, and what cures it.
//!
//! `cargo run --release --example deep_sigmoid_vs_relu`
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::time::Instant;
use wengert::data::DataLoader;
use wengert::flow::judge::Judge;
use wengert::flow::probe::{Probe, ProbeOptions, Snapshot};
use wengert::flow::profile::{Curve, RunProfile};
use wengert::flow::report::{compare, text::Terminal};
use wengert::nn::init::{Distribution, FanMode, Init};
use wengert::prelude::*;
use wengert_examples::{Images, Options, accuracy, fail, path};

const HELP: &str = "\
Trains one deep network four ways - sigmoid with small random weights, sigmoid with Glorot's, ReLU with Glorot's, ReLU
with He's - and shows, layer by layer, what happens to activations and gradients.

usage: deep_sigmoid_vs_relu [--depth N] [--width N] [--epochs N] [--lr X] [--seed N] [--out FILE] [--data DIR]

  --depth N    layers with weights, 2 to 200           (30)
  --width N    units of a hidden layer, 1 to 4096      (64)
  --epochs N   passes over the training images         (30)
  --lr X       learning rate of SGD with momentum 0.9  (0.002)
  --seed N     seed of weights and order               (1)
  --out FILE   the report                              (deep_sigmoid_vs_relu.html)
  --data DIR   MNIST's IDX files instead of the embedded digits";

/// One of the four networks.
struct Recipe {
    name: &'static str,
    activation: Activation,
    init: Init,
    says: &'static str,
}

/// A stack of linear layers with one activation between them.
#[derive(Module)]
struct Deep {
    layers: Vec<Linear>,
    #[module(skip)]
    activation: Activation,
}

impl Deep {
    fn new(recipe: &Recipe, sizes: &[usize], rng: &mut Xoshiro256PlusPlus) -> Deep {
        let layers = sizes
            .windows(2)
            .map(|s| Linear::builder(s[0], s[1]).init(recipe.init).build(rng));
        Deep {
            layers: layers.collect(),
            activation: recipe.activation,
        }
    }
}

impl Forward for Deep {
    fn forward<'t>(&self, mut x: Var<'t>) -> Var<'t> {
        for (k, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if k + 1 < self.layers.len() {
                x = self.activation.forward(x);
            }
        }
        x
    }
}

fn recipes() -> [Recipe; 4] {
    let glorot = || Init::VarianceScaling {
        scale: 1.0,
        mode: FanMode::FanAvg,
        distribution: Distribution::Normal,
    };
    let he = Init::VarianceScaling {
        scale: 2.0,
        mode: FanMode::FanIn,
        distribution: Distribution::Normal,
    };
    [
        Recipe {
            name: "sigmoid, N(0, 0.01²)",
            activation: Activation::Sigmoid,
            init: Init::Normal {
                mean: 0.0,
                std: 0.01,
            },
            says: "small random weights",
        },
        Recipe {
            name: "sigmoid, Glorot",
            activation: Activation::Sigmoid,
            init: glorot(),
            says: "variance 2 / (fan_in + fan_out)",
        },
        Recipe {
            name: "ReLU, Glorot",
            activation: Activation::Relu,
            init: glorot(),
            says: "variance 2 / (fan_in + fan_out)",
        },
        Recipe {
            name: "ReLU, He",
            activation: Activation::Relu,
            init: he,
            says: "variance 2 / fan_in",
        },
    ]
}

/// Settings of a run.
pub struct Plan {
    images: Images,
    sizes: Vec<usize>,
    epochs: u64,
    seed: u64,
    lr: f64,
}

impl Plan {
    fn new(images: Images, depth: usize, width: usize) -> Plan {
        let mut sizes = vec![width; depth + 1];
        sizes[0] = images.train.inputs.shape()[1];
        sizes[depth] = images.train.classes;
        Plan {
            images,
            sizes,
            epochs: 30,
            seed: 1,
            lr: 0.002,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Plan::new(Images::digits(), 30, 64)
    }
}

/// Trains the four networks and judges them.
pub fn story(plan: &Plan) -> Vec<RunProfile> {
    let judge = Judge::default();
    let told = |recipe: &Recipe| {
        let mut run =
            train(recipe, plan, &plan.images).with_config("data", plan.images.name.clone());
        run.findings = judge.run(&run);
        run
    };
    recipes().iter().map(told).collect()
}

/// Trains one network and measures it at the first step and after every epoch.
fn train(recipe: &Recipe, plan: &Plan, images: &Images) -> RunProfile {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let mut model = Deep::new(recipe, &plan.sizes, &mut rng);
    let mut sgd = Sgd::new(plan.lr).momentum(0.9);
    let mut tape = Tape::training(plan.seed);
    let loader = DataLoader::new(images.train.dataset(), 64).shuffle(plan.seed);
    let mut run = RunProfile::new(recipe.name)
        .with_config(
            "activation",
            recipe.name.split_once(", ").map_or("", |x| x.0),
        )
        .with_config(
            "weights",
            format!(
                "{} ({})",
                recipe.name.split_once(", ").map_or("", |x| x.1),
                recipe.says
            ),
        )
        .with_config(
            "layers",
            format!("{} of {} units", plan.sizes.len() - 1, plan.sizes[1]),
        );
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    let mut steps: u64 = 0;
    for epoch in 0..plan.epochs {
        let (mut sum, mut n) = (0.0, 0.0);
        for (x, y) in loader.epoch(epoch) {
            tape.reset();
            let loss = model.forward(tape.input(&x)).cross_entropy(&y);
            let look = steps == 0 || n as usize + 1 == loader.len();
            let grads = if look {
                let probe = ProbeOptions {
                    start: steps == 0,
                    ..ProbeOptions::default()
                };
                let (grads, mut profile) = Probe::new(probe).backward(loss, &model);
                let before = Snapshot::of(&model);
                sgd.step(&mut model, &grads);
                before.measure_update(&model, &mut profile);
                profile.step = steps;
                run.steps.push(profile);
                grads
            } else {
                let grads = loss.backward();
                sgd.step(&mut model, &grads);
                grads
            };
            sum += f64::from(grads.loss());
            n += 1.0;
            steps += 1;
        }
        let right = accuracy(&model.predict(&images.test.inputs), &images.test.labels);
        losses.push(((epoch + 1) as f64, sum / n));
        scores.push(((epoch + 1) as f64, right));
        progress(recipe.name, epoch + 1, plan.epochs, sum / n, right);
    }
    if let Some(last) = run.steps.last_mut() {
        last.metrics
            .push(("accuracy".into(), scores.last().map_or(f64::NAN, |s| s.1)));
    }
    run.with_curve(Curve::new("loss", losses))
        .with_curve(Curve::new("accuracy", scores))
}

fn progress(name: &str, epoch: u64, epochs: u64, loss: f64, right: f64) {
    if std::io::stderr().is_terminal() {
        eprint!(
            "\r\x1b[K{name}: epoch {epoch}/{epochs}, loss {loss:.4}, test accuracy {:.1} %",
            100.0 * right
        );
        if epoch == epochs {
            eprintln!();
        }
        let _ = std::io::stderr().flush();
    } else if epoch == epochs {
        eprintln!(
            "{name}: epoch {epochs}, loss {loss:.4}, test accuracy {:.1} %",
            100.0 * right
        );
    }
}

#[allow(dead_code, reason = "a test calls `story` itself")]
fn main() {
    let options = Options::parse(
        HELP,
        &["depth", "width", "epochs", "lr", "seed", "out", "data"],
    );
    let depth = options.number("depth", 30usize, 2, 200);
    let width = options.number("width", 64usize, 1, 4096);
    let seed = options.number("seed", 1u64, 0, u64::MAX);
    let epochs = options.number("epochs", 30u64, 1, 100_000);
    let out = path(options.text("out").unwrap_or("deep_sigmoid_vs_relu.html"));
    let images = match Images::load(options.text("data").map(path).as_deref()) {
        Ok(i) => i,
        Err(e) => fail(&format!("--data: {e}")),
    };
    let lr = options.number("lr", 0.002, 1e-9, 1e3);
    let plan = Plan {
        epochs,
        seed,
        lr,
        ..Plan::new(images, depth, width)
    };
    let start = Instant::now();
    let runs = story(&plan);
    let terminal = Terminal::stdout();
    println!("{}", compare::text(&runs, &terminal));
    let title = format!("A {depth}-layer network, four ways");
    match compare::page(&title, &runs).write(&out) {
        Ok(()) => println!(
            "Report: {} ({:.1} s in all)",
            out.display(),
            start.elapsed().as_secs_f64()
        ),
        Err(e) => fail(&format!("--out: {e}")),
    }
}
