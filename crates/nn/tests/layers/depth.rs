//! What the default weights are for: gradients keep their size through many layers.

use crate::common::rng;
use wengert_autograd::{ModuleExt, Tape, Tensor, Var, grad};
use wengert_nn::init::{Fans, Init, LsuvRule, lsuv};
use wengert_nn::{Activation, Linear, Sequential};

const DEPTH: usize = 30;
const WIDTH: usize = 256;

fn net(a: Activation, init: Option<Init>) -> Sequential {
    let mut b = Sequential::builder();
    for _ in 0..DEPTH {
        let layer = Linear::builder(WIDTH, WIDTH);
        b = b.then(init.map_or(layer, |i| layer.init(i))).activation(a);
    }
    b.build(&mut rng(3))
}

/// Size of the gradient by the first layer's activations over that by the last layer's.
fn ratio(model: &Sequential) -> f64 {
    let r = &mut rng(4);
    let fans = Fans::linear(WIDTH, WIDTH);
    let normal = |r: &mut _| Init::normal(1.0).sample::<f32>([8, WIDTH], fans, r);
    let tape = Tape::inference();
    let mut h = tape.input(&normal(r));
    let mut seen: Vec<Var> = Vec::new();
    for (i, (_, layer)) in model.layers().enumerate() {
        h = layer.forward(h);
        if i % 2 == 1 {
            seen.push(h);
        }
    }
    assert_eq!(seen.len(), DEPTH);
    let loss = (h * tape.input(&normal(r))).sum();
    let [first, last] = grad(loss, [seen[0], seen[DEPTH - 1]]);
    let norm = |g: Var| {
        let values = g.value();
        values
            .iter()
            .map(|v| f64::from(v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    norm(first) / norm(last)
}

#[test]
fn thirty_layers_with_the_default_weights_keep_their_gradients() {
    println!("gradient of the first layer / last layer, {DEPTH} layers of {WIDTH}");
    println!(
        "{:>16} {:>12} {:>18}",
        "activation", "default", "PyTorch's default"
    );
    for a in [
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu(0.01),
        Activation::Elu(1.0),
        Activation::Selu,
    ] {
        let own = ratio(&net(a, None));
        let torch = ratio(&net(a, Some(Init::pytorch_default())));
        println!("{:>16} {own:>12.2e} {torch:>18.2e}", format!("{a:?}"));
        assert!((0.01..100.0).contains(&own), "{a:?}: {own:e}");
        assert!(
            torch < 1e-3 * own,
            "{a:?}: PyTorch's default keeps {torch:e}"
        );
    }
}

#[test]
fn measured_weights_give_every_layer_unit_deviation() {
    let r = &mut rng(5);
    let mut model: Sequential<f64> = Sequential::builder()
        .conv2d(2, 4, 3)
        .relu()
        .flatten()
        .linear(16, 20)
        .tanh()
        .linear(20, 5)
        .build(r);
    let batch = Init::normal(7.0).sample([50, 2, 4, 4], Fans::linear(1, 1), r);
    let steps = lsuv(&mut model, &batch, &LsuvRule::default(), r).unwrap();
    let paths: Vec<&str> = steps.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths, ["0.weight", "3.weight", "5.weight"]);
    // Measured here once more, from outside.
    let mut x = batch.copy();
    for (name, layer) in model.layers() {
        x = layer.predict(&x);
        if ["0", "3", "5"].contains(&name) {
            let n = x.numel() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            assert!((var - 1.0).abs() < 0.1, "{name}: variance {var}");
        }
    }
    // The rows of the last weight are orthogonal still.
    model.for_each_param(|path, p| {
        if path == "5.weight" {
            let w = p.value();
            let dot = |i, j| {
                (0..20)
                    .map(|k| w.get(&[i, k]) * w.get(&[j, k]))
                    .sum::<f64>()
            };
            assert!(dot(0, 1).abs() < 1e-12 && dot(0, 0) > 0.1);
        }
    });
    // A batch that says nothing.
    let zeros = Tensor::zeros([50, 2, 4, 4]);
    let e = lsuv(&mut model, &zeros, &LsuvRule::default(), r).unwrap_err();
    assert!(
        e.to_string().contains("positive finite standard deviation"),
        "{e}"
    );
    // A frozen layer keeps its weights.
    model.freeze("0");
    let before = model.named_params();
    let steps = lsuv(&mut model, &batch, &LsuvRule::default(), r).unwrap();
    assert_eq!((steps.len(), before), (2, model.named_params()));
}
