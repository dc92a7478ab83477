//! Networks written by hand, of linear layers and of convolutions, with faults as they are made in code: a forgotten `detach`, a frozen layer, one layer with
//! other weights than the rest, a function too many in front of the loss.
//!
//! The repair follows the finding alone: [`Plan::apply`] does at the named layer what the rule's remedy says. A wrong rule
//! or a wrong layer repairs nothing.

use super::net::{Arch, Fault, Net, Plan, Task, loss, score};
use super::{Outcome, Part, Specimen, digits};
use wengert::flow::judge::Judge;
use wengert::flow::lab::Samples;
use wengert::flow::profile::{Curve, Finding, RunProfile, Severity};
use wengert::flow::{FlowReport, Monitor};
use wengert::optim::Group;
use wengert::prelude::*;

const BATCH: usize = 32;

fn rows(s: &Samples, from: usize) -> (Tensor, Tensor<i64>) {
    let x = s.inputs.narrow(0, from, from + BATCH);
    (x, s.labels.narrow(0, from, from + BATCH))
}

/// Trains and watches; the accuracy on the test part.
fn train(plan: &Plan, part: Part) -> (RunProfile, f64) {
    let data = digits(part);
    let mut net = Net::new(plan);
    let mut sgd = Sgd::new(plan.lr).momentum(0.9);
    if let Fault::Still(k) = plan.fault {
        sgd = sgd.group(Group::matching(plan.layer(k) + ".*").lr_scale(0.0));
    }
    let mut tape = match plan.fault {
        Fault::WrongMode => Tape::inference(),
        _ => Tape::training(plan.seed),
    };
    let steps = data.train.labels.numel() / BATCH;
    let mut monitor = Monitor::every(10);
    let mut losses = Vec::new();
    'all: for epoch in 0..plan.epochs {
        let mut sum = 0.0;
        for s in 0..steps {
            let (x, y) = rows(&data.train, s * BATCH);
            tape.reset();
            let grads = monitor.backward(loss(&net, tape.input(&x), &y), &net);
            sgd.step(&mut net, &grads);
            monitor.stepped(&net);
            sum += f64::from(grads.loss()) / steps as f64;
            if !grads.loss().is_finite() {
                break 'all;
            }
        }
        losses.push(((epoch + 1) as f64, sum));
    }
    let mut run = monitor.into_run().with_curve(Curve::new("loss", losses));
    run.findings = Judge::default().run(&run);
    (run, score(&net, &data.test))
}

impl Plan {
    /// Path of a layer.
    pub fn layer(&self, k: usize) -> String {
        let kind = if self.arch.is_conv() {
            "conv"
        } else {
            "linear"
        };
        format!("layers.{k}.{kind}")
    }

    /// The layer that a fault is in, as it must be named.
    fn place(&self) -> Option<String> {
        let linear = |k: usize| match k {
            // What stands behind the last layer is the output's.
            k if k == self.depth => Some("out".to_string()),
            k => Some(self.layer(k)),
        };
        match self.fault {
            Fault::Tiny(k) | Fault::Huge(k) | Fault::Constant(k) | Fault::Negative(k) => linear(k),
            Fault::Frozen(k) | Fault::Still(k) => linear(k),
            // Everything before the cut is without gradient, from the first layer on.
            Fault::Detached(_) => linear(0),
            Fault::Log(k) => linear(k + 1),
            Fault::Unused => Some("spare".into()),
            Fault::Output(_) => Some("out".into()),
            Fault::WrongMode if self.arch == Arch::ConvNorm => Some("layers.0.norm2".into()),
            Fault::WrongMode => Some("layers.0.norm".into()),
            Fault::Loud => Some("recurrent".into()),
            Fault::None => None,
        }
    }

    fn rule(&self) -> &'static str {
        match self.fault {
            Fault::None => "healthy",
            Fault::Tiny(_) => "vanishing",
            Fault::Huge(_) if self.activation == Activation::Relu => "exploding",
            Fault::Huge(_) => "saturated",
            Fault::Constant(_) => "symmetric",
            Fault::Negative(_) => "dead",
            Fault::Frozen(_) | Fault::Still(_) => "frozen by accident",
            Fault::Detached(_) | Fault::Unused => "no gradient",
            Fault::Log(_) => "not finite",
            Fault::Output(Activation::Softmax(_)) => "double softmax",
            Fault::Output(Activation::Sigmoid) if self.task == Task::Half => "double softmax",
            Fault::Output(_) => "loss and output",
            Fault::WrongMode => "batch norm",
            Fault::Loud => "exploding over time",
        }
    }

    /// Does what a finding's remedy says where it says it.
    fn apply(&self, f: &Finding) -> Plan {
        let here = f.layer == self.place();
        let repairs = match (f.rule.as_str(), self.fault) {
            // Weights and biases of the named layer are started anew.
            (
                "vanishing" | "exploding" | "saturated" | "symmetric" | "dead",
                Fault::Tiny(_) | Fault::Huge(_) | Fault::Constant(_) | Fault::Negative(_),
            ) => here,
            // `set_frozen(layer, false)`, or a learning rate for the named layer.
            ("frozen by accident", Fault::Frozen(_) | Fault::Still(_)) => here,
            // The cut at the named line, the unused layer.
            ("no gradient", Fault::Detached(_) | Fault::Unused) => {
                here && (self.fault == Fault::Unused || f.location.is_some())
            }
            // The named line takes a logarithm.
            ("not finite", Fault::Log(_)) => {
                f.evidence.as_ref().is_some_and(|e| e.contains("`ln`"))
            }
            ("double softmax" | "loss and output", Fault::Output(_)) => here,
            ("batch norm", Fault::WrongMode) => true,
            // Orthogonal weights for the named recurrent layer.
            ("exploding over time", Fault::Loud) => here,
            _ => false,
        };
        let mut p = self.clone();
        match f.rule.as_str() {
            _ if repairs => p.fault = Fault::None,
            "learning rate too high" => p.lr /= 10.0,
            _ => {}
        }
        p
    }
}

fn specimen(part: Part, plan: Plan) -> Specimen {
    Specimen {
        planted: plan.rule(),
        layer: plan.place(),
        name: format!("{plan:?}"),
        run: Box::new(move || {
            let (run, own) = train(&plan, part);
            let found = run.findings[0].clone();
            if plan.fault == Fault::None {
                return Outcome {
                    found,
                    repaired: own,
                    twin: own,
                    how: String::new(),
                };
            }
            let (_, twin) = train(
                &Plan {
                    fault: Fault::None,
                    ..plan.clone()
                },
                part,
            );
            let (mut now, mut last, mut score) = (plan.clone(), found.clone(), own);
            let mut how = Vec::new();
            for _ in 0..4 {
                if last.severity < Severity::Warning {
                    break;
                }
                now = now.apply(&last);
                how.push(format!("{} at {:?}", last.rule, last.layer));
                let (run, s) = train(&now, part);
                last = run.findings[0].clone();
                score = s;
            }
            // A repaired network is one that nothing is found in any more.
            let healthy = last.severity < Severity::Warning;
            Outcome {
                found,
                repaired: if healthy { score } else { 0.0 },
                twin,
                how: how.join(", "),
            }
        }),
    }
}

/// The networks of one part.
pub fn specimens(part: Part) -> Vec<Specimen> {
    let (seeds, width, lr) = match part {
        Part::Tuning => ([21, 22, 23], 32, 0.02),
        Part::Test => ([321, 322, 323], 28, 0.025),
    };
    let mut out = Vec::new();
    for (i, seed) in seeds.into_iter().enumerate() {
        let of = |arch, task, activation, depth, fault| {
            let lr = if task == Task::Codes { 2.0 * lr } else { lr };
            specimen(
                part,
                Plan {
                    arch,
                    task,
                    activation,
                    depth,
                    width,
                    lr,
                    epochs: 6,
                    seed,
                    fault,
                },
            )
        };
        use Activation::{Identity, Relu, Sigmoid, Softmax, Tanh};
        use Arch::{Conv, ConvNorm, Norm, Plain, Recurrent, Skip};
        use Task::{Classes, Codes, Half};
        let k = 1 + i;
        let deep = 5 + i % 2;
        out.extend([
            of(Plain, Classes, Tanh, deep, Fault::Tiny(k)),
            of(Plain, Classes, Relu, deep, Fault::Huge(k)),
            of(Plain, Codes, Tanh, 4, Fault::Huge(k.min(2))),
            of(Plain, Classes, Tanh, 4, Fault::Constant(k - 1)),
            of(Plain, Half, Relu, 4, Fault::Negative(k)),
            of(Plain, Classes, Relu, 4, Fault::Frozen(k)),
            of(Norm, Classes, Relu, 4, Fault::Frozen(k)),
            of(Plain, Half, Tanh, 3, Fault::Still(1)),
            of(Plain, Classes, Relu, 3, Fault::Detached(i.min(1))),
            of(Norm, Codes, Relu, 3, Fault::Detached(1)),
            of(Skip, Half, Tanh, 3, Fault::Unused),
            of(Plain, Classes, Tanh, 3, Fault::Log(i.min(1))),
            of(Skip, Classes, Relu, 5, Fault::Output(Softmax(1))),
            of(Recurrent, Classes, Tanh, 1, Fault::Output(Softmax(1))),
            of(Plain, Half, Relu, 3, Fault::Output(Sigmoid)),
            of(Plain, Codes, Relu, 3, Fault::Output(Sigmoid)),
            of(Norm, Classes, Relu, 3, Fault::WrongMode),
            of(Recurrent, Classes, Relu, 2, Fault::Loud),
            of(Recurrent, Classes, Identity, 2, Fault::Loud),
            of(Conv, Classes, Tanh, 4, Fault::Tiny(k)),
            of(Conv, Classes, Relu, 4, Fault::Huge(k)),
            of(Conv, Classes, Tanh, 4, Fault::Huge(k)),
            of(Conv, Classes, Tanh, 3, Fault::Constant(i.min(1))),
            of(Conv, Half, Relu, 3, Fault::Negative(k.min(2))),
            of(ConvNorm, Classes, Relu, 3, Fault::Frozen(k.min(2))),
            of(Conv, Half, Tanh, 3, Fault::Still(1)),
            of(Conv, Codes, Relu, 3, Fault::Detached(i.min(1))),
            of(Conv, Classes, Tanh, 3, Fault::Log(i.min(1))),
            of(ConvNorm, Classes, Relu, 3, Fault::Output(Softmax(1))),
            of(ConvNorm, Codes, Relu, 3, Fault::WrongMode),
            of(Plain, Classes, Tanh, 3, Fault::None),
            of(Plain, Half, Relu, 4, Fault::None),
            of(Plain, Codes, Tanh, 4, Fault::None),
            of(Skip, Classes, Relu, 6, Fault::None),
            of(Norm, Codes, Relu, 4, Fault::None),
            of(Norm, Half, Tanh, 3, Fault::None),
            of(Recurrent, Classes, Tanh, 1, Fault::None),
            of(Recurrent, Classes, Tanh, 2, Fault::None),
            of(Recurrent, Classes, Identity, 1, Fault::None),
            of(Conv, Classes, Relu, 2, Fault::None),
            of(Conv, Classes, Relu, 4, Fault::None),
            of(Conv, Half, Tanh, 3, Fault::None),
            of(ConvNorm, Classes, Relu, 3, Fault::None),
            of(ConvNorm, Codes, Relu, 2, Fault::None),
            of(Plain, Classes, Identity, 3, Fault::None),
        ]);
    }
    out
}

#[test]
fn the_line_of_the_first_operation_that_makes_a_nan_is_named() {
    let plan = Plan {
        arch: Arch::Plain,
        task: Task::Classes,
        activation: Activation::Tanh,
        depth: 3,
        width: 16,
        lr: 0.01,
        epochs: 1,
        seed: 5,
        fault: Fault::Log(0),
    };
    let net = Net::new(&plan);
    let data = digits(Part::Tuning);
    let report = FlowReport::of(&net, &data.train.inputs, |n, x| {
        loss(n, x, &data.train.labels)
    });
    let f = report.verdict();
    let line = include_str!("net.rs")
        .lines()
        .position(|l| l.contains("h = h.ln()"))
        .expect("a line")
        + 1;
    let location = f.location.as_deref().unwrap_or("");
    assert_eq!(f.rule, "not finite");
    assert!(location.contains(&format!("net.rs:{line}:")), "{location}");
}
