//! The network that a [`NetSpec`] describes.

use super::spec::{NetSpec, SpecError};
use rand::Rng;
use wengert_autograd::{Buffer, Param, Tensor, Var};
use wengert_derive::Module;
use wengert_nn::{Activation, Forward, Linear};

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

/// A stack of linear layers as a [`NetSpec`] describes it. Paths: `hidden.0.linear.weight`, …, `out.weight`.
#[derive(Module)]
#[module(crate = wengert_autograd)]
pub struct Net {
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
        for _ in 1..spec.depth {
            let mut linear: Linear = layer(from, spec.width, spec.activation, rng)?;
            if let Some(b) = &mut linear.bias {
                b.set(Tensor::full([spec.width], spec.bias as f32));
            }
            let norm = spec.batch_norm.then(|| BatchNorm::new(spec.width));
            hidden.push(Hidden { linear, norm });
            from = spec.width;
        }
        Ok(Net {
            hidden,
            out: layer(from, classes, Activation::Identity, rng)?,
            activation: spec.activation,
            output: spec.output,
            residual: spec.residual,
            dropout: spec.dropout,
        })
    }
}

impl Forward for Net {
    fn forward<'t>(&self, mut x: Var<'t>) -> Var<'t> {
        for h in &self.hidden {
            let before = x;
            x = h.norm.forward(h.linear.forward(x));
            x = self.activation.forward(x);
            if self.dropout > 0.0 {
                x = x.dropout(self.dropout);
            }
            if self.residual && before.shape() == x.shape() {
                x = before + x;
            }
        }
        self.output.forward(self.out.forward(x))
    }
}
