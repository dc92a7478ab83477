//! Networks written by hand, of linear layers and of convolutions, with faults as they are made in code: a forgotten `detach`, a frozen layer, one layer with
//! other weights than the rest, a function too many in front of the loss.
//!
//! The repair follows the finding alone: [`Plan::apply`] does at the named layer what the rule's remedy says. A wrong rule
//! or a wrong layer repairs nothing.

use super::{Outcome, Part, Specimen, accuracy, digits};
use wengert::flow::judge::Judge;
use wengert::flow::lab::Samples;
use wengert::flow::profile::{Curve, Finding, RunProfile, Severity};
use wengert::flow::{FlowReport, Monitor};
use wengert::nn::{BatchNorm1d, BatchNorm2d, Conv2d};
use wengert::optim::Group;
use wengert::prelude::*;

/// How the layers are connected.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Arch {
    Plain,
    /// Every second layer is bypassed.
    Skip,
    /// Batch norm before each activation.
    Norm,
    /// The image is read some pixels at a time, with one state.
    Recurrent,
    /// Convolutions over the image, halved once by a maximum over 2x2 pixels.
    Conv,
    /// The same with batch norm before each activation.
    ConvNorm,
}

impl Arch {
    fn is_conv(self) -> bool {
        matches!(self, Arch::Conv | Arch::ConvNorm)
    }
}

/// What is learnt.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Task {
    /// Ten classes by cross-entropy.
    Classes,
    /// Whether the digit is 5 or more, by binary cross-entropy.
    Half,
    /// The class as ten numbers, -1 or 1, by squared error.
    Codes,
}

/// What is wrong, and at which layer.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    /// Weights of one layer far too small.
    Tiny(usize),
    /// Weights of one layer far too large.
    Huge(usize),
    /// Weights of one layer and the next all the same.
    Constant(usize),
    /// Biases of one layer far below zero.
    Negative(usize),
    /// One layer takes no part in training.
    Frozen(usize),
    /// The way back is cut behind one layer.
    Detached(usize),
    /// A layer nobody calls.
    Unused,
    /// The optimizer has a rate of 0 for one layer.
    Still(usize),
    /// A logarithm of numbers below zero behind one layer.
    Log(usize),
    /// A function in front of the loss.
    Output(Activation),
    /// Training on an inference tape.
    WrongMode,
    /// Recurrent weights that multiply the state by far more than 1.
    Loud,
}

#[derive(Clone, Debug)]
struct Plan {
    arch: Arch,
    task: Task,
    activation: Activation,
    depth: usize,
    width: usize,
    lr: f64,
    epochs: usize,
    seed: u64,
    fault: Fault,
}

#[derive(Module)]
struct Block {
    linear: Option<Linear>,
    conv: Option<Conv2d>,
    norm: Option<BatchNorm1d>,
    norm2: Option<BatchNorm2d>,
}

impl Block {
    fn weight(&mut self) -> &mut Param {
        match (&mut self.linear, &mut self.conv) {
            (Some(l), _) => &mut l.weight,
            (_, Some(c)) => &mut c.weight,
            _ => unreachable!("a block has a layer"),
        }
    }

    fn bias(&mut self) -> &mut Param {
        let bias = match (&mut self.linear, &mut self.conv) {
            (Some(l), _) => &mut l.bias,
            (_, Some(c)) => &mut c.bias,
            _ => unreachable!("a block has a layer"),
        };
        bias.as_mut().expect("a bias")
    }
}

impl Forward for Block {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let x = self.conv.forward(self.linear.forward(x));
        self.norm2.forward(self.norm.forward(x))
    }
}

#[derive(Module)]
struct Net {
    layers: Vec<Block>,
    recurrent: Option<Linear>,
    out: Linear,
    spare: Option<Linear>,
    #[module(skip)]
    plan: Plan,
}

/// Side of an image.
const SIDE: usize = 8;

impl Plan {
    /// Time steps that an image is read in.
    fn steps(&self) -> usize {
        SIDE * self.depth
    }

    /// Channels of a convolution.
    fn channels(&self) -> usize {
        self.width / 4
    }
}

impl Net {
    fn new(plan: &Plan) -> Net {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
        let fitting = |i, o, rng: &mut _| {
            Linear::builder(i, o)
                .followed_by(plan.activation)
                .build(rng)
        };
        let is_rnn = plan.arch == Arch::Recurrent;
        let is_conv = plan.arch.is_conv();
        let mut layers = Vec::new();
        let mut from = match plan.arch {
            Arch::Recurrent => SIDE * SIDE / plan.steps(),
            Arch::Conv | Arch::ConvNorm => 1,
            _ => SIDE * SIDE,
        };
        let to = if is_conv { plan.channels() } else { plan.width };
        for _ in 0..if is_rnn { 1 } else { plan.depth } {
            layers.push(Block {
                linear: (!is_conv).then(|| fitting(from, to, &mut rng)),
                conv: is_conv.then(|| {
                    let same = Conv2d::builder(from, to, 3).padding(1);
                    same.followed_by(plan.activation).build(&mut rng)
                }),
                norm: (plan.arch == Arch::Norm).then(|| BatchNorm1d::new(to)),
                norm2: (plan.arch == Arch::ConvNorm).then(|| BatchNorm2d::new(to)),
            });
            from = to;
        }
        if is_conv {
            from = to * SIDE * SIDE / 4;
        }
        let outputs = if plan.task == Task::Half { 1 } else { 10 };
        let mut net = Net {
            layers,
            recurrent: is_rnn.then(|| {
                let orthogonal = wengert::nn::Init::orthogonal();
                Linear::builder(from, from).init(orthogonal).build(&mut rng)
            }),
            out: Linear::new(from, outputs, &mut rng),
            spare: (plan.fault == Fault::Unused).then(|| Linear::new(4, 4, &mut rng)),
            plan: plan.clone(),
        };
        let scale = |w: &mut Param, by: f32| {
            let v = w.value().iter().map(|x| x * by).collect();
            w.set(Tensor::from_vec(v, w.shape()));
        };
        match plan.fault {
            Fault::Tiny(k) => scale(net.layers[k].weight(), 1e-4),
            Fault::Huge(k) => {
                let by = if plan.activation == Activation::Relu {
                    1e4
                } else {
                    40.0
                };
                scale(net.layers[k].weight(), by);
            }
            Fault::Constant(k) => {
                for b in &mut net.layers[k..k + 2] {
                    let w = b.weight();
                    w.set(Tensor::full(w.shape(), 0.05));
                }
            }
            Fault::Negative(k) => {
                let b = net.layers[k].bias();
                b.set(Tensor::full(b.shape(), -30.0));
            }
            Fault::Loud => {
                let r = net.recurrent.as_mut().expect("a recurrent layer");
                scale(&mut r.weight, 6.0);
            }
            Fault::Frozen(k) => {
                net.set_frozen(&plan.layer(k), true);
            }
            _ => {}
        }
        net
    }
}

impl Forward for Net {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let f = self.plan.activation;
        let mut h = x;
        if let Some(recurrent) = &self.recurrent {
            let mut state: Option<Var<'t>> = None;
            let n = SIDE * SIDE / self.plan.steps();
            for t in 0..self.plan.steps() {
                let sums = self.layers[0].forward(x.narrow(1, t * n, (t + 1) * n));
                let sums = state.map_or(sums, |s| sums + recurrent.forward(s));
                state = Some(f.forward(sums));
            }
            h = state.expect("the image has pixels");
        } else {
            let images = self.plan.arch.is_conv();
            let n = x.shape()[0];
            if images {
                h = h.reshape([n, 1, SIDE, SIDE]);
            }
            let mut bypass = None;
            for (k, b) in self.layers.iter().enumerate() {
                h = f.forward(b.forward(h));
                if images && k == 0 {
                    h = h.max_pool([2, 2]);
                }
                if self.plan.arch == Arch::Skip && k % 2 == 0 {
                    h = bypass.map_or(h, |p| h + p);
                    bypass = Some(h);
                }
                match self.plan.fault {
                    Fault::Detached(at) if at == k => h = h.detach(),
                    Fault::Log(at) if at == k => h = h.ln(),
                    _ => {}
                }
            }
            if images {
                h = h.reshape([n, self.out.weight.shape()[1]]);
            }
        }
        let y = self.out.forward(h);
        match self.plan.fault {
            Fault::Output(f) => f.forward(y),
            _ => y,
        }
    }
}

/// Targets as the loss wants them.
fn targets(task: Task, y: &Tensor<i64>) -> Tensor {
    match task {
        Task::Half => {
            let v = y.iter().map(|y| f32::from(y >= 5)).collect();
            Tensor::from_vec(v, [y.numel(), 1])
        }
        _ => {
            let code = |y: i64| (0..10).map(move |c| if c == y { 1.0 } else { -1.0 });
            Tensor::from_vec(y.iter().flat_map(code).collect(), [y.numel(), 10])
        }
    }
}

fn loss<'t>(net: &Net, x: Var<'t>, y: &Tensor<i64>) -> Var<'t> {
    let out = net.forward(x);
    let target = || x.tape().input(&targets(net.plan.task, y));
    match net.plan.task {
        Task::Classes => out.cross_entropy(y),
        Task::Half => out.bce_with_logits(target(), None).mean(),
        Task::Codes => (out - target()).square().mean(),
    }
}

fn score(net: &Net, test: &Samples) -> f64 {
    let out = net.predict(&test.inputs);
    if net.plan.task != Task::Half {
        return accuracy(&out, &test.labels);
    }
    // A sigmoid too many maps 0 to 1/2.
    let middle = match net.plan.fault {
        Fault::Output(Activation::Sigmoid) => 0.5,
        _ => 0.0,
    };
    let right = out.iter().zip(test.labels.iter());
    right
        .filter(|(s, y)| s.is_finite() && (*s > middle) == (*y >= 5))
        .count() as f64
        / test.labels.numel() as f64
}

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
    fn layer(&self, k: usize) -> String {
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
    let line = include_str!("wired.rs")
        .lines()
        .position(|l| l.contains("h = h.ln()"))
        .expect("a line")
        + 1;
    let location = f.location.as_deref().unwrap_or("");
    assert_eq!(f.rule, "not finite");
    assert!(
        location.contains(&format!("wired.rs:{line}:")),
        "{location}"
    );
}
