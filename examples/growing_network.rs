//! A network that grows while it trains: wider and deeper without forgetting, against one that begins anew.
//!
//! `cargo run --release --example growing_network`
#![forbid(unsafe_code)]

use wengert::data::DataLoader;
use wengert::nn::loss::CrossEntropy;
use wengert::prelude::*;
use wengert::train::grow;
use wengert_examples::{Images, Options};

const HELP: &str = "\
Trains a small network on the embedded digits, makes it wider and then deeper without changing what it computes, and
trains on; a network of the final size that begins anew stands beside it.

usage: growing_network [--epochs N] [--seed N]

  --epochs N   epochs before, between and after the changes, 1 to 1000 (4)
  --seed N     seed of weights and order                               (1)";

/// Linear layers with ReLU between them; the list may grow.
#[derive(Module)]
struct Stack {
    layers: Vec<Linear>,
}

impl Stack {
    fn new(sizes: &[usize], rng: &mut Xoshiro256PlusPlus) -> Stack {
        let layer = |s: &[usize]| {
            Linear::builder(s[0], s[1])
                .followed_by(Activation::Relu)
                .build(rng)
        };
        Stack {
            layers: sizes.windows(2).map(layer).collect(),
        }
    }

    fn sizes(&self) -> String {
        let mut text = self.layers[0].inputs().to_string();
        for l in &self.layers {
            text += &format!("-{}", l.outputs());
        }
        text
    }
}

impl Forward for Stack {
    fn forward<'t>(&self, mut x: Var<'t>) -> Var<'t> {
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if i + 1 < self.layers.len() {
                x = x.relu();
            }
        }
        x
    }
}

fn trainer<'a>(model: Stack) -> Trainer<'a, Stack, (Tensor, Tensor<i64>)> {
    Trainer::new(model, CrossEntropy::default(), Adam::new(1e-3)).metric(Accuracy::new())
}

/// What the story shows.
pub struct Numbers {
    /// Test losses: trained, wider, trained, deeper, trained, begun anew.
    pub losses: Vec<f64>,
    /// Largest change of an output when made wider and when made deeper.
    pub changes: [f32; 2],
    /// The table.
    pub table: String,
}

#[allow(dead_code, reason = "a test calls `story` itself")]
fn main() -> Result<(), wengert::train::Error> {
    let options = Options::parse(HELP, &["epochs", "seed"]);
    let epochs = options.number("epochs", 4u64, 1, 1000);
    let seed = options.number("seed", 1u64, 0, u64::MAX);
    let told = story(epochs, seed)?;
    println!("{}", told.table);
    println!(
        "Largest change of an output: {:.1e} when made wider, {:.1e} when made deeper.",
        told.changes[0], told.changes[1]
    );
    println!(
        "After {epochs} epochs at its last size the network that grew has a test loss of {:.4}, the one that began anew {:.4}.",
        told.losses[4], told.losses[5]
    );
    Ok(())
}

/// Trains, widens, deepens, compares.
pub fn story(epochs: u64, seed: u64) -> Result<Numbers, wengert::train::Error> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let images = Images::digits();
    let train = DataLoader::new(images.train.dataset(), 32).shuffle(seed);
    let test = DataLoader::new(images.test.dataset(), 360);
    let probe = images.test.inputs.narrow(0, 0, 64);

    let mut table = format!(
        "{:>8}  {:<18} {:>10}  {:>9}  {:>8}\n",
        "epochs", "sizes", "parameters", "test loss", "accuracy"
    );
    let mut told = Vec::new();
    let mut show = |t: &mut Trainer<'_, Stack, (Tensor, Tensor<i64>)>,
                    what: &str|
     -> Result<(), wengert::train::Error> {
        let s = t.evaluate(&test)?;
        table += &format!(
            "{:>8}  {:<18} {:>10}  {:>9.4}  {:>8.3}  {what}\n",
            t.epochs(),
            t.model.sizes(),
            t.model.num_params(),
            s["loss"],
            s["accuracy"]
        );
        told.push(s["loss"]);
        Ok(())
    };

    let mut growing = trainer(Stack::new(&[64, 12, 10], &mut rng));
    growing.fit(&train, None, epochs)?;
    show(&mut growing, "trained")?;

    let before = growing.model.predict(&probe);
    if let [first, second] = &mut growing.model.layers[..] {
        grow::widen(first, second, 48, &mut rng)?;
    }
    let wider = difference(&before, &growing.model.predict(&probe));
    show(&mut growing, "made wider")?;
    growing.fit(&train, None, 2 * epochs)?;
    show(&mut growing, "trained on")?;

    let before = growing.model.predict(&probe);
    growing.model.layers.insert(1, grow::identity(48));
    let deeper = difference(&before, &growing.model.predict(&probe));
    show(&mut growing, "made deeper")?;
    growing.fit(&train, None, 3 * epochs)?;
    show(&mut growing, "trained on")?;

    let mut fresh = trainer(Stack::new(&[64, 48, 48, 10], &mut rng));
    fresh.fit(&train, None, epochs)?;
    show(&mut fresh, "the same size, begun anew")?;

    Ok(Numbers {
        losses: told,
        changes: [wider, deeper],
        table,
    })
}

fn difference(a: &Tensor, b: &Tensor) -> f32 {
    a.iter()
        .zip(b.iter())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
