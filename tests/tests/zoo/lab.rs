//! Stacks of linear layers, as the laboratory describes them; repaired by its `cure`.

use super::{Outcome, Part, Specimen, digits};
use wengert::flow::judge::Judge;
use wengert::flow::lab::{Cell, LabData, NetSpec, Rule, Samples, cure, train};
use wengert::flow::profile::RunProfile;
use wengert::nn::{Activation, Init};
use wengert::prelude::*;

const FIRST: &str = "hidden.0.linear";

fn seeds(part: Part) -> [u64; 4] {
    match part {
        Part::Tuning => [1, 2, 3, 4],
        Part::Test => [7301, 7302, 7303, 7304],
    }
}

/// What differs between the parts.
struct Sizes {
    width: usize,
    deep: usize,
    shallow: usize,
    lr: f64,
}

fn sizes(part: Part, seed: u64) -> Sizes {
    let k = seed as usize % 3;
    match part {
        Part::Tuning => Sizes {
            width: 32,
            deep: 6 + k,
            shallow: 3 + k % 2,
            lr: 0.02,
        },
        Part::Test => Sizes {
            width: [24, 40, 48][k],
            deep: 7 + k,
            shallow: 3 + (k + 1) % 2,
            lr: 0.015,
        },
    }
}

fn base(part: Part, seed: u64) -> NetSpec {
    let s = sizes(part, seed);
    NetSpec {
        depth: s.shallow,
        width: s.width,
        lr: s.lr,
        epochs: 8,
        seed,
        ..NetSpec::default()
    }
}

fn accuracy(r: &RunProfile) -> f64 {
    r.curve("accuracy")
        .and_then(|c| c.last())
        .unwrap_or(f64::NAN)
}

/// The same digits as numbers of another size.
fn times(data: &LabData, factor: f32) -> LabData {
    let part = |s: &Samples| Samples {
        inputs: Tensor::from_vec(
            s.inputs.iter().map(|x| x * factor).collect(),
            s.inputs.shape(),
        ),
        labels: s.labels.clone(),
    };
    LabData::new("digits", part(&data.train), part(&data.test), 10).expect("sound data")
}

fn sick(
    part: Part,
    planted: &'static str,
    layer: Option<&str>,
    twin: NetSpec,
    factor: f32,
    change: impl Fn(&mut NetSpec),
) -> Specimen {
    let mut spec = twin.clone();
    change(&mut spec);
    Specimen {
        planted,
        layer: layer.map(String::from),
        name: format!("{spec:?}"),
        run: Box::new(move || {
            let (judge, plain) = (Judge::default(), digits(part));
            let scaled;
            let data = if factor == 1.0 {
                plain
            } else {
                scaled = times(plain, factor);
                &scaled
            };
            let cured = cure(&spec, data, &judge).expect("a sound setting");
            // The twin of a network with unscaled inputs sees scaled ones.
            let twin = train("twin", &twin, plain, &judge).expect("a sound setting");
            Outcome {
                found: cured.steps[0].1.findings[0].clone(),
                repaired: cured.steps.last().map_or(0.0, |s| accuracy(&s.1)),
                twin: accuracy(&twin),
                how: cured.summary(),
            }
        }),
    }
}

fn well(part: Part, spec: NetSpec) -> Specimen {
    Specimen {
        planted: "healthy",
        layer: None,
        name: format!("{spec:?}"),
        run: Box::new(move || {
            let run = train("healthy", &spec, digits(part), &Judge::default());
            let run = run.expect("a sound setting");
            Outcome {
                found: run.findings[0].clone(),
                repaired: accuracy(&run),
                twin: accuracy(&run),
                how: String::new(),
            }
        }),
    }
}

/// The networks of one part.
pub fn specimens(part: Part) -> Vec<Specimen> {
    let mut out = Vec::new();
    for seed in seeds(part) {
        let z = sizes(part, seed);
        let of = |activation, depth| NetSpec {
            activation,
            depth,
            ..base(part, seed)
        };
        let adam = |spec: NetSpec| NetSpec {
            rule: Rule::Adam,
            lr: 3e-3,
            ..spec
        };
        let mut add = |planted, layer, twin: NetSpec, factor, change: &dyn Fn(&mut NetSpec)| {
            out.push(sick(part, planted, layer, twin, factor, change));
        };
        let first = Some(FIRST);
        let (relu, tanh) = (of(Activation::Relu, z.deep), of(Activation::Tanh, z.deep));
        let shallow = |a| of(a, z.shallow);
        let small = Some(Init::normal(0.01));
        let large = Some(Init::normal(1.0));
        add("vanishing", first, tanh.clone(), 1.0, &|s| s.init = small);
        add("vanishing", first, relu.clone(), 1.0, &|s| {
            s.activation = Activation::Sigmoid;
            s.init = small;
        });
        add("exploding", first, relu.clone(), 1.0, &|s| s.init = large);
        add("exploding", first, adam(relu.clone()), 1.0, &|s| {
            s.init = large
        });
        add("saturated", first, tanh.clone(), 1.0, &|s| s.init = large);
        add("dead", first, shallow(Activation::Relu), 1.0, &|s| {
            s.bias = -20.0
        });
        add("symmetric", first, shallow(Activation::Tanh), 1.0, &|s| {
            s.init = Some(Init::Zeros)
        });
        add(
            "symmetric",
            first,
            adam(shallow(Activation::Relu)),
            1.0,
            &|s| s.init = Some(Init::Constant(0.05)),
        );
        add(
            "learning rate too high",
            None,
            shallow(Activation::Relu),
            1.0,
            &|s| s.lr *= 1e3,
        );
        add(
            "learning rate too high",
            None,
            adam(shallow(Activation::Tanh)),
            1.0,
            &|s| s.lr = 1.0,
        );
        add(
            "learning rate too low",
            None,
            shallow(Activation::Tanh),
            1.0,
            &|s| s.lr *= 1e-6,
        );
        add(
            "learning rate too low",
            None,
            adam(shallow(Activation::Relu)),
            1.0,
            &|s| s.lr *= 1e-4,
        );
        add(
            "unscaled inputs",
            first,
            shallow(Activation::Tanh),
            100.0,
            &|_| (),
        );
        add(
            "double softmax",
            Some("out"),
            shallow(Activation::Relu),
            1.0,
            &|s| s.output = Activation::Softmax(1),
        );
        add(
            "loss and output",
            Some("out"),
            shallow(Activation::Relu),
            1.0,
            &|s| s.output = Activation::Relu,
        );
        // The image read from left to right, top to bottom, some pixels at a time.
        let read = |cell, steps| NetSpec {
            cell: Some(cell),
            steps,
            ..of(Activation::Tanh, 2)
        };
        let rnn = Some("recurrent.rnn");
        add("vanishing over time", rnn, read(Cell::Rnn, 16), 1.0, &|s| {
            s.init = Some(Init::normal(0.05))
        });
        let norm = NetSpec {
            batch_norm: true,
            ..shallow(Activation::Relu)
        };
        add("batch norm", Some("hidden.0.norm"), norm, 1.0, &|s| {
            s.batch = 1
        });
        out.extend(
            [
                shallow(Activation::Relu),
                of(Activation::Relu, 2),
                of(Activation::Relu, z.deep + 3),
                shallow(Activation::Tanh),
                tanh,
                of(Activation::Sigmoid, 2),
                shallow(Activation::Elu(1.0)),
                of(Activation::Selu, z.deep),
                shallow(Activation::Gelu),
                read(Cell::Rnn, 8),
                read(Cell::Lstm, 8),
                read(Cell::Gru, 16),
                NetSpec {
                    batch_norm: true,
                    ..relu.clone()
                },
                NetSpec {
                    residual: true,
                    batch_norm: true,
                    ..relu.clone()
                },
                NetSpec {
                    dropout: 0.1,
                    ..adam(shallow(Activation::Relu))
                },
                NetSpec {
                    l2: 1e-3,
                    clip: Some(5.0),
                    ..of(Activation::LeakyRelu(0.01), z.shallow)
                },
            ]
            .map(|s| well(part, s)),
        );
    }
    out
}
