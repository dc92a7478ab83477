//! Scales that come from a measurement or from the depth of the net.

use super::{Fans, Init};
use crate::forward::Forward;
use rand::Rng;
use std::any::Any;
use wengert_autograd::{
    Float, Module, ModuleExt, NodeInfo, Observer, Param, ParamId, Seen, Tape, Tensor,
};
use wengert_tensor::{Error, Result};

/// Layer-sequential unit-variance initialization: the rule that turns a measured deviation into a factor for the weights.
///
/// Start from orthogonal weights. Then, layer by layer from the input, measure the standard deviation of the layer's
/// output on a batch, multiply the weights by [`LsuvRule::factor`], and measure again until it returns `None` or
/// `max_iterations` is reached. (Mishkin & Matas 2016, algorithm 1.)
///
/// ```
/// use wengert_nn::init::LsuvRule;
/// let rule = LsuvRule::default();
/// assert_eq!(rule.factor(4.0), Ok(Some(0.25)));
/// assert_eq!(rule.factor(1.01), Ok(None));
/// assert!(rule.factor(0.0).is_err()); // a dead layer cannot be scaled alive
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LsuvRule {
    /// Standard deviation aimed at.
    pub target_std: f64,
    /// Accepted deviation of the variance, as a share of the target's.
    pub tolerance: f64,
    /// Measurements per layer at most.
    pub max_iterations: usize,
}

impl Default for LsuvRule {
    /// Target 1, tolerance 0.1, at most 10 measurements: the paper's values.
    fn default() -> Self {
        LsuvRule {
            target_std: 1.0,
            tolerance: 0.1,
            max_iterations: 10,
        }
    }
}

impl LsuvRule {
    /// What the weights are to be multiplied by, or `None` if the measured deviation is close enough.
    ///
    /// # Errors
    /// When the deviation is zero or not finite: no factor helps.
    pub fn factor(&self, measured_std: f64) -> Result<Option<f64>> {
        if !(measured_std.is_finite() && measured_std > 0.0) {
            return Err(Error::Value {
                op: "lsuv",
                message: format!(
                    "expected a positive finite standard deviation of the layer's output, found {measured_std}"
                ),
            });
        }
        let ratio = measured_std / self.target_std;
        Ok(if (ratio * ratio - 1.0).abs() < self.tolerance {
            None
        } else {
            Some(ratio.recip())
        })
    }
}

/// Factor for the weights inside a residual branch so that a net of `branches` branches trains without normalization:
/// `branches^(-1 / (2 m - 2))` for `m` layers in a branch; the last layer of each branch starts at zero.
/// (Zhang, Dauphin & Ma 2019, "Fixup initialization".)
///
/// # Panics
/// When a branch has fewer than two layers (a single one starts at zero and has no scale) or there is no branch.
#[track_caller]
pub fn fixup_scale(branches: usize, layers_per_branch: usize) -> f64 {
    assert!(
        branches > 0 && layers_per_branch >= 2,
        "fixup_scale: expected at least 1 branch of at least 2 layers, found {branches} of {layers_per_branch}"
    );
    (branches as f64).powf(-1.0 / (2.0 * layers_per_branch as f64 - 2.0))
}

/// What [`lsuv`] did to one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LsuvStep {
    /// Path of the weight.
    pub path: String,
    /// Standard deviation of the layer's output at the last measurement.
    pub std: f64,
    /// Number of measurements.
    pub measurements: usize,
}

/// Layer-sequential unit-variance initialization of a model on a batch (Mishkin & Matas 2016): weights of linear layers
/// and convolutions start orthogonal, then, from the input on, each is scaled until the layer's output has the rule's
/// deviation.
///
/// Weights that are frozen, or that enter other operations (embeddings, recurrent gates), are left alone.
///
/// ```
/// use rand::SeedableRng;
/// use rand::rngs::Xoshiro256PlusPlus;
/// use wengert_nn::init::{Init, LsuvRule, lsuv};
/// use wengert_nn::Sequential;
///
/// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
/// let mut model: Sequential = Sequential::builder().linear(20, 50).mish().linear(50, 10).build(&mut rng);
/// let batch = Init::normal(3.0).sample([64, 20], wengert_nn::init::Fans::linear(20, 20), &mut rng);
/// let steps = lsuv(&mut model, &batch, &LsuvRule::default(), &mut rng)?;
/// assert_eq!(steps[1].path, "2.weight");
/// assert!(steps.iter().all(|s| (s.std - 1.0).abs() < 0.06));
/// # Ok::<(), wengert_autograd::Error>(())
/// ```
///
/// # Errors
/// When a layer's output is constant or not finite: no factor helps.
///
/// # Panics
/// Where the model's forward pass does.
#[track_caller]
pub fn lsuv<T: Float, M: Module<T> + Forward<T> + ?Sized>(
    model: &mut M,
    batch: &Tensor<T>,
    rule: &LsuvRule,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Vec<LsuvStep>> {
    let mut steps = Vec::new();
    let weights: Vec<_> = (model.named_params().into_iter())
        .filter(|p| p.trainable && p.shape.len() >= 2)
        .collect();
    for w in weights {
        // Redrawn only where it is known what its layer's output is.
        if output_deviation(model, batch, w.id).is_none() {
            continue;
        }
        let fresh: Tensor<T> = Init::orthogonal().try_sample(&w.shape, Fans::new(1.0, 1.0), rng)?;
        change(model, w.id, |p| *p.value_mut() = fresh.copy());
        let mut step = LsuvStep {
            path: w.path,
            std: f64::NAN,
            measurements: 0,
        };
        while step.measurements < rule.max_iterations {
            step.std = output_deviation(model, batch, w.id).unwrap_or(f64::NAN);
            step.measurements += 1;
            let Some(factor) = rule.factor(step.std)? else {
                break;
            };
            let factor = T::from_f64(factor);
            change(model, w.id, |p| {
                let values = p.value_mut().as_mut_slice();
                values.iter_mut().for_each(|v| *v *= factor);
            });
        }
        steps.push(step);
    }
    Ok(steps)
}

/// Applies `f` to one parameter.
fn change<T: Float, M: Module<T> + ?Sized>(
    model: &mut M,
    id: ParamId,
    f: impl FnMut(&mut Param<T>),
) {
    let mut f = f;
    model.for_each_param_mut(|_, p| {
        if p.id() == id {
            f(p);
        }
    });
}

/// Standard deviation of the output of the linear operation or convolution that a weight enters.
#[track_caller]
fn output_deviation<T: Float, M: Module<T> + Forward<T> + ?Sized>(
    model: &M,
    batch: &Tensor<T>,
    id: ParamId,
) -> Option<f64> {
    let tape = Tape::inference();
    let y = model.forward(tape.input(batch));
    let mut holders = Vec::new();
    let mut node = None;
    tape.for_each_node(|n| {
        if n.param == Some(id) {
            holders.push(n.id);
        } else if node.is_none() && n.args.iter().any(|a| holders.contains(a)) {
            match n.op {
                // The weight itself, transposed.
                "permute" | "transpose" => holders.push(n.id),
                "matmul" | "linear" => node = Some(n.id),
                op if op.starts_with("conv") => node = Some(n.id),
                _ => {}
            }
        }
    });
    tape.set_observer(Box::new(Deviation {
        node: node?,
        std: None,
    }));
    y.value();
    let seen = tape.take_observer()?.into_any().downcast::<Deviation>();
    seen.ok()?.std
}

/// Measures one value in passing.
struct Deviation {
    node: u32,
    std: Option<f64>,
}

impl<T: Float> Observer<T> for Deviation {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        node.id == self.node
    }
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<T>) {
        if node.id != self.node || what != Seen::Value {
            return;
        }
        let n = tensor.numel() as f64;
        let mean = tensor.iter().map(|v| v.as_f64()).sum::<f64>() / n;
        let var = (tensor.iter())
            .map(|v| (v.as_f64() - mean).powi(2))
            .sum::<f64>()
            / n;
        self.std = Some(var.sqrt());
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
