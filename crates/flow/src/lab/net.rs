//! The network that a [`NetSpec`] describes.

use super::spec::{Cell, NetSpec, SpecError};
use rand::Rng;
use wengert_autograd::{Buffer, Param, Tensor, Var};
use wengert_derive::Module;
use wengert_nn::init::RecurrentInit;
use wengert_nn::{Activation, Forward, Gru, Linear, Lstm, Nonlinearity, Rnn};

/// Normalization over the batch (Ioffe and Szegedy 2015), for `[n, features]`.
#[derive(Module)]
#[module(crate = wengert_autograd)]
struct BatchNorm {
    weight: Param,
    bias: Param,
    running_mean: Buffer,
    running_var: Buffer,
}

impl BatchNorm {
    fn new(features: usize) -> BatchNorm {
        BatchNorm {
            weight: Param::new(Tensor::ones([features])),
            bias: Param::new(Tensor::zeros([features])),
            running_mean: Buffer::new(Tensor::zeros([features])),
            running_var: Buffer::new(Tensor::ones([features])),
        }
    }
}

impl Forward for BatchNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let tape = x.tape();
        let (rm, rv) = (
            tape.buffer(&self.running_mean),
            tape.buffer(&self.running_var),
        );
        let (mean, var) = if tape.is_training() {
            let mean = x.mean_dim(0, false);
            let var = (x - mean).square().mean_dim(0, false);
            tape.side_output(&self.running_mean, rm * 0.9 + mean.detach() * 0.1);
            tape.side_output(&self.running_var, rv * 0.9 + var.detach() * 0.1);
            (mean, var)
        } else {
            (rm, rv)
        };
        let normal = (x - mean) / (var + 1e-5).sqrt();
        normal * tape.param(&self.weight) + tape.param(&self.bias)
    }
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Hidden {
    linear: Linear,
    norm: Option<BatchNorm>,
}

#[derive(Module)]
#[module(crate = wengert_autograd)]
struct Recurrent {
    rnn: Option<Rnn>,
    lstm: Option<Lstm>,
    gru: Option<Gru>,
    #[module(skip)]
    steps: usize,
}

impl Recurrent {
    fn new(
        cell: Cell,
        spec: &NetSpec,
        inputs: usize,
        rng: &mut impl Rng,
    ) -> Result<Recurrent, SpecError> {
        if !inputs.is_multiple_of(spec.steps) {
            return Err(SpecError {
                what: "steps",
                problem: format!("{} steps do not divide {inputs} features", spec.steps),
            });
        }
        let (features, units) = (inputs / spec.steps, spec.width);
        let fit = |fitting: RecurrentInit| match spec.init {
            Some(init) => RecurrentInit {
                input: init,
                recurrent: init,
                ..fitting
            },
            None => fitting,
        };
        macro_rules! built {
            ($kind:ident, $cell:expr, $init:expr) => {
                match cell == $cell {
                    true => Some(
                        ($kind::builder(features, units)
                            .init(fit($init))
                            .try_build(rng))
                        .map_err(|e| SpecError {
                            what: "network",
                            problem: e.to_string(),
                        })?,
                    ),
                    false => None,
                }
            };
        }
        Ok(Recurrent {
            rnn: built!(Rnn, Cell::Rnn, RecurrentInit::rnn(Nonlinearity::Tanh)),
            lstm: built!(Lstm, Cell::Lstm, RecurrentInit::lstm()),
            gru: built!(Gru, Cell::Gru, RecurrentInit::gru()),
            steps: spec.steps,
        })
    }

    /// The hidden state `[n, units]` after the last step.
    fn last_state<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (n, d) = (x.shape()[0], x.shape()[1]);
        let steps = x
            .reshape([n, self.steps, d / self.steps])
            .permute([1, 0, 2]);
        let end = match self {
            Recurrent { rnn: Some(l), .. } => l.run(steps, None).1,
            Recurrent { lstm: Some(l), .. } => l.run(steps, None).1,
            Recurrent { gru: Some(l), .. } => l.run(steps, None).1,
            _ => unreachable!("one of them was built"),
        };
        let units = end.hidden.shape()[2];
        end.hidden.reshape([n, units])
    }
}

/// A network as a [`NetSpec`] describes it. Paths: `recurrent.lstm.weight_hh_l0`, `hidden.0.linear.weight`, …,
/// `out.weight`.
#[derive(Module)]
#[module(crate = wengert_autograd)]
pub struct Net {
    recurrent: Option<Recurrent>,
    hidden: Vec<Hidden>,
    out: Linear,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    output: Activation,
    #[module(skip)]
    residual: bool,
    #[module(skip)]
    dropout: f64,
}

impl Net {
    /// The network with fresh weights.
    ///
    /// # Errors
    /// When a setting is out of range or the initializer does not fit.
    pub fn new(
        spec: &NetSpec,
        inputs: usize,
        classes: usize,
        rng: &mut impl Rng,
    ) -> Result<Net, SpecError> {
        spec.check()?;
        let layer = |i, o, next: Activation, rng: &mut _| {
            let b = Linear::builder(i, o).followed_by(next);
            let b = match spec.init {
                Some(init) => b.init(init),
                None => b,
            };
            b.try_build(rng).map_err(|e| SpecError {
                what: "network",
                problem: e.to_string(),
            })
        };
        let mut hidden = Vec::new();
        let mut from = inputs;
        let recurrent = match spec.cell {
            Some(cell) => Some(Recurrent::new(cell, spec, inputs, rng)?),
            None => None,
        };
        if recurrent.is_some() {
            from = spec.width;
        }
        for _ in (1 + usize::from(recurrent.is_some()))..spec.depth {
            let mut linear: Linear = layer(from, spec.width, spec.activation, rng)?;
            if let Some(b) = &mut linear.bias {
                b.set(Tensor::full([spec.width], spec.bias as f32));
            }
            let norm = spec.batch_norm.then(|| BatchNorm::new(spec.width));
            hidden.push(Hidden { linear, norm });
            from = spec.width;
        }
        Ok(Net {
            recurrent,
            hidden,
            out: layer(from, classes, Activation::Identity, rng)?,
            activation: spec.activation,
            output: spec.output,
            residual: spec.residual,
            dropout: spec.dropout,
        })
    }
}

impl Net {
    /// The outputs, and those of the hidden layers.
    pub(super) fn forward_with_hidden<'t>(&self, mut x: Var<'t>) -> (Var<'t>, Vec<Var<'t>>) {
        let mut hidden = Vec::new();
        if let Some(r) = &self.recurrent {
            x = r.last_state(x);
            hidden.push(x);
        }
        for h in &self.hidden {
            let before = x;
            x = h.norm.forward(h.linear.forward(x));
            x = self.activation.forward(x);
            hidden.push(x);
            if self.dropout > 0.0 {
                x = x.dropout(self.dropout);
            }
            if self.residual && before.shape() == x.shape() {
                x = before + x;
            }
        }
        (self.output.forward(self.out.forward(x)), hidden)
    }

    /// Patterns of the paths of all weight matrices.
    pub(super) fn weights(&self) -> Vec<&'static str> {
        let mut patterns = vec!["out.weight"];
        if !self.hidden.is_empty() {
            patterns.push("hidden.*.linear.weight");
        }
        if self.recurrent.is_some() {
            patterns.push("recurrent.*.weight*");
        }
        patterns
    }
}

impl Forward for Net {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.forward_with_hidden(x).0
    }
}
