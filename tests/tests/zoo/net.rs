//! The hand-written networks of the zoo, and how their faults are built in.

use super::accuracy;
use wengert::flow::lab::Samples;
use wengert::nn::{BatchNorm1d, BatchNorm2d, Conv2d};
use wengert::prelude::*;

/// How the layers are connected.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arch {
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
    pub fn is_conv(self) -> bool {
        matches!(self, Arch::Conv | Arch::ConvNorm)
    }
}

/// What is learnt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Task {
    /// Ten classes by cross-entropy.
    Classes,
    /// Whether the digit is 5 or more, by binary cross-entropy.
    Half,
    /// The class as ten numbers, -1 or 1, by squared error.
    Codes,
}

/// What is wrong, and at which layer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
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
pub struct Plan {
    pub arch: Arch,
    pub task: Task,
    pub activation: Activation,
    pub depth: usize,
    pub width: usize,
    pub lr: f64,
    pub epochs: usize,
    pub seed: u64,
    pub fault: Fault,
}

#[derive(Module)]
pub struct Block {
    pub linear: Option<Linear>,
    pub conv: Option<Conv2d>,
    pub norm: Option<BatchNorm1d>,
    pub norm2: Option<BatchNorm2d>,
}

impl Block {
    pub fn weight(&mut self) -> &mut Param {
        match (&mut self.linear, &mut self.conv) {
            (Some(l), _) => &mut l.weight,
            (_, Some(c)) => &mut c.weight,
            _ => unreachable!("a block has a layer"),
        }
    }

    pub fn bias(&mut self) -> &mut Param {
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
pub struct Net {
    pub layers: Vec<Block>,
    pub recurrent: Option<Linear>,
    pub out: Linear,
    pub spare: Option<Linear>,
    #[module(skip)]
    pub plan: Plan,
}

/// Side of an image.
pub const SIDE: usize = 8;

impl Plan {
    /// Time steps that an image is read in.
    pub fn steps(&self) -> usize {
        SIDE * self.depth
    }

    /// Channels of a convolution.
    pub fn channels(&self) -> usize {
        self.width / 4
    }
}

impl Net {
    pub fn new(plan: &Plan) -> Net {
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
pub fn targets(task: Task, y: &Tensor<i64>) -> Tensor {
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

pub fn loss<'t>(net: &Net, x: Var<'t>, y: &Tensor<i64>) -> Var<'t> {
    let out = net.forward(x);
    let target = || x.tape().input(&targets(net.plan.task, y));
    match net.plan.task {
        Task::Classes => out.cross_entropy(y),
        Task::Half => out.bce_with_logits(target(), None).mean(),
        Task::Codes => (out - target()).square().mean(),
    }
}

pub fn score(net: &Net, test: &Samples) -> f64 {
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
