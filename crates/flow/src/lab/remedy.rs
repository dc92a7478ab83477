//! What can be changed about a network, and what a verdict proposes to change.

use super::spec::{Cell, Decay, NetSpec, Rule, called};
use crate::judge::training::faster;
use crate::profile::{Finding, RunProfile};
use wengert_nn::{Activation, Init};

/// One change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// Nothing: the network as it is.
    None,
    /// Another activation function, with the weights that fit it.
    Activation(Activation),
    /// Another initializer; `None`: the one that fits the activation.
    Init(Option<Init>),
    /// Biases start here.
    Bias(f64),
    /// Normalization over the batch.
    BatchNorm(bool),
    /// Residual connections.
    Residual(bool),
    /// Outputs go to the loss as they are.
    PlainOutput,
    /// Inputs of mean 0 and deviation 1.
    Standardize,
    /// Another optimizer, with a learning rate.
    Optimizer(Rule, f64),
    /// Another learning rate.
    LearningRate(f64),
    /// Another course of the learning rate.
    Decay(Decay),
    /// Clipping by norm.
    Clip(f64),
    /// Dropout.
    Dropout(f64),
    /// Clipping by value.
    ClipValue(f64),
    /// Weight decay.
    L2(f64),
    /// A penalty on the magnitudes of weights.
    L1(f64),
    /// A penalty on the magnitudes of hidden outputs.
    Activity(f64),
    /// Label smoothing.
    Smoothing(f64),
    /// A limit to the norm of the weights into one unit.
    MaxNorm(f64),
    /// A recurrent layer, or another one, with the weights that fit it.
    Cell(Cell),
    /// Another depth.
    Depth(usize),
    /// Another batch size.
    Batch(usize),
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Remedy::None => write!(f, "as it is"),
            Remedy::Activation(a) => write!(f, "activation {}", called(*a)),
            Remedy::Init(None) => write!(f, "weights that fit the activation"),
            Remedy::Init(Some(i)) => write!(f, "weights {i}"),
            Remedy::Bias(b) => write!(f, "biases {b}"),
            Remedy::BatchNorm(on) => {
                write!(f, "{} batch norm", if *on { "with" } else { "without" })
            }
            Remedy::Residual(on) => write!(
                f,
                "{} residual connections",
                if *on { "with" } else { "without" }
            ),
            Remedy::PlainOutput => write!(f, "outputs as they are"),
            Remedy::Standardize => write!(f, "standardized inputs"),
            Remedy::Optimizer(r, lr) => write!(f, "{r}, learning rate {lr}"),
            Remedy::LearningRate(lr) => write!(f, "learning rate {lr}"),
            Remedy::Decay(d) => write!(f, "learning rate: {d}"),
            Remedy::Clip(c) => write!(f, "gradient clipped at norm {c}"),
            Remedy::Dropout(p) => write!(f, "dropout {p}"),
            Remedy::ClipValue(c) => write!(f, "gradient clipped at values {c}"),
            Remedy::L2(l) => write!(f, "weight decay {l}"),
            Remedy::L1(l) => write!(f, "L1 penalty {l}"),
            Remedy::Activity(l) => write!(f, "activity penalty {l}"),
            Remedy::Smoothing(e) => write!(f, "label smoothing {e}"),
            Remedy::MaxNorm(c) => write!(f, "max norm {c}"),
            Remedy::Cell(c) => write!(f, "{c}"),
            Remedy::Depth(d) => write!(f, "{d} layers"),
            Remedy::Batch(b) => write!(f, "batches of {b}"),
        }
    }
}

impl Remedy {
    /// The network with this change.
    pub fn apply(&self, spec: &NetSpec) -> NetSpec {
        let mut s = spec.clone();
        match self {
            Remedy::None => {}
            Remedy::Activation(a) => {
                s.activation = *a;
                s.init = None;
            }
            Remedy::Init(i) => s.init = *i,
            Remedy::Bias(b) => s.bias = *b,
            Remedy::BatchNorm(on) => s.batch_norm = *on,
            Remedy::Residual(on) => s.residual = *on,
            Remedy::PlainOutput => s.output = Activation::Identity,
            Remedy::Standardize => s.standardize = true,
            Remedy::Optimizer(r, lr) => {
                s.rule = *r;
                s.lr = *lr;
            }
            Remedy::LearningRate(lr) => s.lr = *lr,
            Remedy::Decay(d) => s.decay = *d,
            Remedy::Clip(c) => s.clip = Some(*c),
            Remedy::Dropout(p) => s.dropout = *p,
            Remedy::ClipValue(c) => s.clip_value = Some(*c),
            Remedy::L2(l) => s.l2 = *l,
            Remedy::L1(l) => s.l1 = *l,
            Remedy::Activity(l) => s.activity = *l,
            Remedy::Smoothing(e) => s.smoothing = *e,
            Remedy::MaxNorm(c) => s.max_norm = Some(*c),
            Remedy::Cell(c) => {
                s.cell = Some(*c);
                s.init = None;
                s.depth = s.depth.max(2);
            }
            Remedy::Depth(d) => s.depth = *d,
            Remedy::Batch(b) => s.batch = *b,
        }
        s
    }
}

/// Changes that a finding about a run calls for, the most promising first.
pub fn propose(finding: &Finding, run: &RunProfile, spec: &NetSpec) -> Vec<Remedy> {
    use Remedy as R;
    let slower = R::LearningRate(spec.lr / 10.0);
    let all = match finding.rule.as_str() {
        "symmetric" => vec![R::Init(None)],
        "vanishing" => {
            let relu = R::Activation(Activation::Relu);
            vec![
                R::PlainOutput,
                R::Init(None),
                relu,
                R::Residual(true),
                R::BatchNorm(true),
            ]
        }
        "vanishing over time" => {
            vec![R::Init(None), R::Cell(Cell::Lstm), R::Cell(Cell::Gru)]
        }
        "exploding over time" => vec![R::Init(None), R::Clip(1.0), R::Cell(Cell::Lstm)],
        "exploding" => vec![R::Init(None), R::BatchNorm(true), R::Clip(1.0)],
        // Units that are driven into the flat part or below zero by the updates: it is their size.
        "saturated" | "dead" if finding.since.is_some_and(|n| n > 0) => vec![
            slower,
            R::BatchNorm(true),
            R::Activation(Activation::LeakyRelu(0.01)),
        ],
        "saturated" => vec![
            R::Init(None),
            R::Bias(0.0),
            R::BatchNorm(true),
            slower,
            R::Activation(Activation::Relu),
        ],
        "dead" => vec![
            R::Bias(0.0),
            R::Init(None),
            slower,
            R::Activation(Activation::LeakyRelu(0.01)),
        ],
        "unscaled inputs" => vec![R::Standardize],
        "double softmax" | "loss and output" => vec![R::PlainOutput],
        "batch norm" => vec![R::Batch(32)],
        "not finite" => vec![R::Standardize, R::Init(None), slower, R::Clip(1.0)],
        "learning rate too high" => vec![slower],
        "learning rate too low" => (run.last().and_then(faster))
            .map(|f| R::LearningRate(spec.lr * f))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    };
    // What changes nothing cures nothing.
    all.into_iter().filter(|r| r.apply(spec) != *spec).collect()
}
