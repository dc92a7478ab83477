//! Networks with planted faults and healthy ones: which rule names which fault, and how often the proposed remedy brings the
//! accuracy to that of the healthy twin. Prints the confusion table and every case that is named otherwise.
//!
//! `cargo run --release -p wengert-flow --example zoo`

use std::collections::BTreeMap;
use wengert_autograd::{Param, Tensor, Var};
use wengert_data::Digits;
use wengert_derive::Module;
use wengert_flow::FlowReport;
use wengert_flow::judge::Judge;
use wengert_flow::lab::{LabData, NetSpec, Rule, Samples, cure, train};
use wengert_flow::profile::Severity;
use wengert_nn::{Activation, Forward, Init, Linear};

fn digits(scale: f32) -> LabData {
    let d = Digits::load().standardized();
    let part = |l: &wengert_data::Labeled, n: usize| {
        let l = l.select(&(0..n).collect::<Vec<_>>()).unwrap();
        let v = l.inputs.iter().map(|x| x * scale).collect();
        Samples {
            inputs: Tensor::from_vec(v, l.inputs.shape()),
            labels: l.labels,
        }
    };
    LabData::new("digits", part(&d.train, 480), part(&d.test, 200), 10).unwrap()
}

fn base(seed: u64) -> NetSpec {
    NetSpec {
        depth: 4,
        width: 32,
        lr: 0.02,
        epochs: 6,
        seed,
        ..NetSpec::default()
    }
}

/// A network with a fault, its healthy twin, and what must be found.
struct Case {
    verdict: &'static str,
    layer: Option<&'static str>,
    sick: NetSpec,
    twin: NetSpec,
    scale: f32,
}

fn faults() -> Vec<Case> {
    let mut out = Vec::new();
    for seed in 1..=5 {
        let deep = 6 + seed as usize % 3;
        let mut add = |verdict, layer, twin: NetSpec, scale, change: &dyn Fn(&mut NetSpec)| {
            let mut sick = twin.clone();
            change(&mut sick);
            out.push(Case {
                verdict,
                layer,
                sick,
                twin,
                scale,
            });
        };
        let first = Some("hidden.0.linear");
        let of = |activation, depth| NetSpec {
            activation,
            depth,
            ..base(seed)
        };
        let (relu, tanh) = (of(Activation::Relu, deep), of(Activation::Tanh, deep));
        let small = Some(Init::normal(0.01));
        let large = Some(Init::normal(1.0));
        add("vanishing", first, tanh.clone(), 1.0, &|s| s.init = small);
        add("vanishing", first, relu.clone(), 1.0, &|s| {
            s.activation = Activation::Sigmoid;
            s.init = small;
        });
        add("exploding", first, relu.clone(), 1.0, &|s| s.init = large);
        add("saturated", first, tanh.clone(), 1.0, &|s| s.init = large);
        add("dead", first, of(Activation::Relu, 4), 1.0, &|s| {
            s.bias = -20.0
        });
        add("symmetric", first, of(Activation::Tanh, 3), 1.0, &|s| {
            s.init = Some(Init::Zeros)
        });
        add("symmetric", first, of(Activation::Relu, 4), 1.0, &|s| {
            s.init = Some(Init::Constant(0.05))
        });
        add(
            "learning rate too high",
            None,
            of(Activation::Relu, 4),
            1.0,
            &|s| s.lr = 20.0,
        );
        add(
            "learning rate too low",
            None,
            of(Activation::Tanh, 3),
            1.0,
            &|s| s.lr = 2e-8,
        );
        add(
            "unscaled inputs",
            first,
            of(Activation::Tanh, 4),
            100.0,
            &|_| (),
        );
        add(
            "double softmax",
            Some("out"),
            of(Activation::Relu, 3),
            1.0,
            &|s| s.output = Activation::Softmax(1),
        );
        add(
            "loss and output",
            Some("out"),
            of(Activation::Relu, 4),
            1.0,
            &|s| s.output = Activation::Relu,
        );
        add(
            "batch norm",
            Some("hidden.0.norm"),
            NetSpec {
                batch_norm: true,
                ..of(Activation::Relu, 4)
            },
            1.0,
            &|s| s.batch = 1,
        );
    }
    out
}

fn healthy() -> Vec<NetSpec> {
    let mut out = Vec::new();
    for seed in 11..=15 {
        let of = |activation, depth| NetSpec {
            activation,
            depth,
            ..base(seed)
        };
        out.extend([
            of(Activation::Relu, 2),
            of(Activation::Relu, 4),
            of(Activation::Relu, 10),
            of(Activation::Tanh, 3),
            of(Activation::Tanh, 8),
            of(Activation::Sigmoid, 2),
            of(Activation::Elu(1.0), 5),
            of(Activation::Selu, 6),
            NetSpec {
                batch_norm: true,
                ..of(Activation::Relu, 6)
            },
            NetSpec {
                residual: true,
                batch_norm: true,
                ..of(Activation::Relu, 8)
            },
            NetSpec {
                rule: Rule::Adam,
                lr: 2e-3,
                dropout: 0.1,
                ..of(Activation::Relu, 4)
            },
            NetSpec {
                l2: 1e-3,
                width: 96,
                clip: Some(5.0),
                ..of(Activation::LeakyRelu(0.01), 4)
            },
        ]);
    }
    out
}

fn found(findings: &[wengert_flow::profile::Finding]) -> (String, Option<String>) {
    let f = &findings[0];
    (f.rule.clone(), f.layer.clone())
}

/// Runs `f` on every item, on two threads, results in order.
fn both<I: Sync, O: Send>(items: &[I], f: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let (a, b) = items.split_at(items.len() / 2);
    std::thread::scope(|s| {
        let right = s.spawn(|| b.iter().map(&f).collect::<Vec<O>>());
        let mut left: Vec<O> = a.iter().map(&f).collect();
        left.extend(right.join().unwrap());
        left
    })
}

fn main() {
    let judge = Judge::default();
    let (plain, bytes) = (digits(1.0), digits(100.0));
    let data = |c: &Case| if c.scale == 1.0 { &plain } else { &bytes };
    let cases = faults();
    let mut confusion: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut note =
        |planted: &str, layer: Option<&str>, (rule, at): (String, Option<String>), what: String| {
            if rule != planted || layer.is_some_and(|l| at.as_deref() != Some(l)) {
                wrong.push(format!(
                    "planted {planted} at {layer:?}, found {rule} at {at:?}: {what}"
                ));
            }
            *confusion.entry((planted.to_string(), rule)).or_default() += 1;
        };
    let results = both(&cases, |c| {
        let run = train("sick", &c.sick, data(c), &judge).unwrap();
        let cured = cure(&c.sick, data(c), &judge).unwrap();
        // The twin of a network with unscaled inputs sees scaled ones.
        let twin = train("twin", &c.twin, &plain, &judge).unwrap();
        let score = |r: &wengert_flow::profile::RunProfile| {
            r.curve("accuracy").and_then(|c| c.last()).unwrap()
        };
        (
            run,
            score(&cured.steps.last().unwrap().1),
            score(&twin),
            cured,
        )
    });
    let (mut repaired, mut lost) = (0, Vec::new());
    for (c, (run, after, twin, cured)) in cases.iter().zip(&results) {
        note(
            c.verdict,
            c.layer,
            found(&run.findings),
            format!("{:?}", c.sick),
        );
        // A step of 1/200 of the test part is one image; five points are within what the seed decides.
        if cured.healthy && *after >= twin - 0.05 {
            repaired += 1;
        } else {
            lost.push(format!(
                "{}: {after:.3} against {twin:.3}, {}",
                c.verdict,
                cured.summary()
            ));
        }
    }
    for (spec, run) in healthy().iter().zip(both(&healthy(), |s| {
        train("healthy", s, &plain, &judge).unwrap()
    })) {
        note(
            "healthy",
            None,
            found(&run.findings),
            format!("{spec:?} {:?}", run.findings[0]),
        );
    }
    for seed in 1..=5 {
        for fault in [Wire::Detached, Wire::Unused, Wire::Frozen, Wire::NotANumber] {
            let (planted, layer) = fault.expected();
            let report = wired(fault, seed);
            note(
                planted,
                Some(layer),
                found(report.findings()),
                format!("{:?}", report.verdict()),
            );
        }
        let report = wired(Wire::Sound, seed);
        note(
            "healthy",
            None,
            found(report.findings()),
            format!("{:?}", report.verdict()),
        );
    }
    println!("planted -> found: networks");
    for ((planted, rule), n) in &confusion {
        println!("{planted:>24} -> {rule:<24} {n:>3}");
    }
    println!("repaired {repaired} of {}", cases.len());
    for l in &lost {
        println!("not repaired: {l}");
    }
    for w in &wrong {
        println!("{w}");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Sound,
    Detached,
    Unused,
    Frozen,
    NotANumber,
}

impl Wire {
    fn expected(self) -> (&'static str, &'static str) {
        match self {
            Wire::Sound => ("healthy", ""),
            Wire::Detached => ("no gradient", "first"),
            Wire::Unused => ("no gradient", "spare"),
            Wire::Frozen => ("frozen by accident", "second"),
            Wire::NotANumber => ("not finite", "second"),
        }
    }
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Wired {
    first: Linear,
    second: Linear,
    out: Linear,
    spare: Option<Linear>,
    #[module(skip)]
    fault: Wire,
}

impl Forward for Wired {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let mut h = self.first.forward(x).tanh();
        if self.fault == Wire::Detached {
            h = h.detach();
        }
        if self.fault == Wire::NotANumber {
            h = h.ln();
        }
        self.out.forward(self.second.forward(h).tanh())
    }
}

fn wired(fault: Wire, seed: u64) -> FlowReport {
    use rand::SeedableRng;
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut layer = |i, o| Linear::new(i, o, &mut rng);
    let mut model = Wired {
        first: layer(64, 24),
        second: layer(24, 24),
        out: layer(24, 10),
        spare: (fault == Wire::Unused).then(|| layer(4, 4)),
        fault,
    };
    if fault == Wire::Frozen {
        let freeze = |p: &mut Param| p.set_trainable(false);
        freeze(&mut model.second.weight);
        freeze(model.second.bias.as_mut().unwrap());
    }
    let data = digits(1.0).train;
    let report = FlowReport::of(&model, &data.inputs, |m, x| {
        m.forward(x).cross_entropy(&data.labels)
    });
    if let Wire::Sound = fault {
        assert_eq!(report.verdict().severity, Severity::Healthy, "{report}");
    }
    report
}
