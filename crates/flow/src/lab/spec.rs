//! What a network of the laboratory is made of, and how it is trained.

use wengert_nn::{Activation, Init};

/// Rule of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Rule {
    /// Gradient descent.
    Sgd,
    /// Gradient descent with momentum 0.9.
    #[default]
    Momentum,
    /// RMSProp.
    RmsProp,
    /// Adam.
    Adam,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rule::Sgd => "SGD",
            Rule::Momentum => "momentum",
            Rule::RmsProp => "RMSProp",
            Rule::Adam => "Adam",
        })
    }
}

/// Course of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Decay {
    /// The same at every step.
    #[default]
    Constant,
    /// Half a cosine down to 0 over the whole budget.
    Cosine,
    /// A linear rise over the first tenth of the budget.
    Warmup,
}

impl std::fmt::Display for Decay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Decay::Constant => "constant",
            Decay::Cosine => "cosine",
            Decay::Warmup => "warmup",
        })
    }
}

/// A recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Plain, with tanh.
    Rnn,
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent unit.
    Gru,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cell::Rnn => "RNN",
            Cell::Lstm => "LSTM",
            Cell::Gru => "GRU",
        })
    }
}

/// A settings value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The setting.
    pub what: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.problem)
    }
}

impl std::error::Error for SpecError {}

/// A stack of linear layers, or a recurrent layer before them, and how it is trained with cross-entropy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetSpec {
    /// Layers with weights, the output layer included.
    pub depth: usize,
    /// Units of a hidden layer.
    pub width: usize,
    /// Recurrent layer in the place of the first hidden one.
    pub cell: Option<Cell>,
    /// Time steps that the features are cut into for the recurrent layer.
    pub steps: usize,
    /// Activation function of the hidden layers.
    pub activation: Activation,
    /// Initializer of all weights; `None`: the one that fits the activation.
    pub init: Option<Init>,
    /// Start of the hidden layers' biases.
    pub bias: f64,
    /// Whether each hidden layer's sums are normalized over the batch.
    pub batch_norm: bool,
    /// Whether each hidden layer of equal width is bypassed: `x + f(x)`.
    pub residual: bool,
    /// Function applied to the outputs before the cross-entropy; `Identity` is right.
    pub output: Activation,
    /// Whether the inputs are standardized by the training set.
    pub standardize: bool,
    /// Optimizer.
    pub rule: Rule,
    /// Learning rate.
    pub lr: f64,
    /// Course of the learning rate.
    pub decay: Decay,
    /// Largest norm of the whole gradient.
    pub clip: Option<f64>,
    /// Largest magnitude of a single gradient.
    pub clip_value: Option<f64>,
    /// Dropout probability behind each hidden layer.
    pub dropout: f64,
    /// Weight decay, in PyTorch's coupled form.
    pub l2: f64,
    /// Factor of the sum of all weights' magnitudes, added to the loss.
    pub l1: f64,
    /// Factor of the sum of the hidden outputs' magnitudes, by sample, added to the loss.
    pub activity: f64,
    /// Share of each label that is spread over all classes.
    pub smoothing: f64,
    /// Largest norm of the weights that come into one unit.
    pub max_norm: Option<f64>,
    /// Samples per step.
    pub batch: usize,
    /// Passes over the training set.
    pub epochs: usize,
    /// Seed of weights, order and dropout.
    pub seed: u64,
}

impl Default for NetSpec {
    fn default() -> Self {
        NetSpec {
            depth: 4,
            width: 32,
            cell: None,
            steps: 8,
            activation: Activation::Relu,
            init: None,
            bias: 0.0,
            batch_norm: false,
            residual: false,
            output: Activation::Identity,
            standardize: false,
            rule: Rule::Momentum,
            lr: 0.01,
            decay: Decay::Constant,
            clip: None,
            clip_value: None,
            dropout: 0.0,
            l2: 0.0,
            l1: 0.0,
            activity: 0.0,
            smoothing: 0.0,
            max_norm: None,
            batch: 32,
            epochs: 10,
            seed: 1,
        }
    }
}

impl NetSpec {
    /// Refuses settings that cannot be trained at all.
    ///
    /// # Errors
    /// Names the first setting out of range.
    pub fn check(&self) -> Result<(), SpecError> {
        let no = |what, problem: String| Err(SpecError { what, problem });
        if !(1..=1000).contains(&self.depth) {
            return no("depth", format!("expected 1 to 1000, found {}", self.depth));
        }
        if !(1..=16384).contains(&self.width) {
            return no(
                "width",
                format!("expected 1 to 16384, found {}", self.width),
            );
        }
        if self.cell.is_some() && (self.depth < 2 || self.steps == 0) {
            return no(
                "cell",
                format!(
                    "expected 2 layers and 1 time step at least, found {} and {}",
                    self.depth, self.steps
                ),
            );
        }
        if !self.bias.is_finite() {
            return no(
                "bias",
                format!("expected a finite number, found {}", self.bias),
            );
        }
        if let Some(Init::Constant(x)) = self.init
            && !x.is_finite()
        {
            return no("init", format!("expected a finite constant, found {x}"));
        }
        if self.batch == 0 || self.epochs == 0 {
            return no("batch, epochs", "expected at least 1".into());
        }
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return no(
                "lr",
                format!("expected a finite rate of at least 0, found {}", self.lr),
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return no(
                "dropout",
                format!("expected 0 to below 1, found {}", self.dropout),
            );
        }
        for (what, factor) in [
            ("l2", self.l2),
            ("l1", self.l1),
            ("activity", self.activity),
        ] {
            if !(factor.is_finite() && factor >= 0.0) {
                return no(what, format!("expected at least 0, found {factor}"));
            }
        }
        if !(0.0..=1.0).contains(&self.smoothing) {
            return no(
                "smoothing",
                format!("expected 0 to 1, found {}", self.smoothing),
            );
        }
        for (what, most) in [
            ("clip", self.clip),
            ("clip value", self.clip_value),
            ("max norm", self.max_norm),
        ] {
            if most.is_some_and(|c| !(c.is_finite() && c > 0.0)) {
                return no(what, "expected a finite limit above 0".into());
            }
        }
        Ok(())
    }

    /// The settings as (what, value), for reports.
    pub fn describe(&self) -> Vec<(String, String)> {
        let init = self
            .init
            .map_or("fits the activation".into(), |i| i.to_string());
        let recurrent = self
            .cell
            .map_or("no".into(), |c| format!("{c} over {} steps", self.steps));
        let limits = [
            self.clip.map(|c| format!("norm {c}")),
            self.clip_value.map(|c| format!("values {c}")),
        ];
        let clip = or_none(limits.into_iter().flatten().collect());
        let factor = |what, x: f64| (x > 0.0).then(|| format!("{what} {x}"));
        let held = [
            factor("dropout", self.dropout),
            factor("L2", self.l2),
            factor("L1", self.l1),
            factor("activity", self.activity),
            factor("label smoothing", self.smoothing),
            self.max_norm.map(|c| format!("max norm {c}")),
        ];
        let held = or_none(held.into_iter().flatten().collect());
        [
            ("layers", format!("{} of {} units", self.depth, self.width)),
            ("recurrent", recurrent),
            ("activation", called(self.activation)),
            ("weights", init),
            ("hidden biases", self.bias.to_string()),
            ("standardized inputs", yes(self.standardize)),
            ("batch norm", yes(self.batch_norm)),
            ("residual", yes(self.residual)),
            (
                "optimizer",
                format!("{}, learning rate {} ({})", self.rule, self.lr, self.decay),
            ),
            ("clip", clip),
            ("regularizers", held),
            (
                "batch, epochs, seed",
                format!("{}, {}, {}", self.batch, self.epochs, self.seed),
            ),
        ]
        .map(|(a, b)| (a.to_string(), b))
        .into()
    }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

/// The name that the command line knows, with what else there is to say: `relu`, `leaky-relu(0.01)`.
pub(super) fn called(a: Activation) -> String {
    let mut out = String::new();
    for c in format!("{a:?}").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn or_none(words: Vec<String>) -> String {
    match &words[..] {
        [] => "none".into(),
        words => words.join(", "),
    }
}
