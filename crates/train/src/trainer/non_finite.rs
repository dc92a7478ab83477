//! A loss or gradient that is not finite: where it began.

use super::Trainer;
use crate::error::{Error, Result};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use wengert_autograd::{Float, Module, ModuleExt, NodeInfo, Observer, ParamId, Seen, Tape};
use wengert_data::Batch;
use wengert_optim::NonFinite;
use wengert_tensor::Tensor;

/// What to do when a loss or a gradient is NaN or infinite.
///
/// In either case the step is not taken and the weights stay as they are. What counts as a bad gradient is for the
/// optimizer to say ([`NonFinitePolicy`](wengert_optim::NonFinitePolicy)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnNonFinite {
    /// `fit` returns [`Error::NonFinite`].
    #[default]
    Stop,
    /// The batch is left out and noted in the history; more than `in_a_row` of them in sequence end the run with
    /// [`Error::NonFinite`].
    Skip {
        /// How many in sequence are borne.
        in_a_row: u64,
    },
}

/// Where a loss or a gradient that is not finite came from.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFiniteReport {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batch of that epoch, from 0.
    pub batch: u64,
    /// Optimizer steps taken before.
    pub step: u64,
    /// The loss.
    pub loss: f64,
    /// Path of the layer, as far as it can be told: of the parameter that is nearest to the tensor.
    pub layer: String,
    /// The first tensor that is not finite: `input`, a parameter, the value or the gradient of an operation.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// NaNs in it.
    pub nans: usize,
    /// Infinities in it.
    pub infinities: usize,
    /// File and line that recorded it.
    pub location: Option<(String, u32)>,
}

impl fmt::Display for NonFiniteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {} (epoch {}, batch {}): the loss is {}; the first tensor that is not finite is {} {:?} with {} NaN and \
             {} infinite",
            self.step,
            self.epoch,
            self.batch,
            self.loss,
            self.tensor,
            self.shape,
            self.nans,
            self.infinities
        )?;
        if !self.layer.is_empty() {
            write!(f, ", layer `{}`", self.layer)?;
        }
        if let Some((file, line)) = &self.location {
            write!(f, ", recorded at {file}:{line}")?;
        }
        Ok(())
    }
}

/// A tensor that was seen not to be finite.
struct Found {
    node: u32,
    tensor: String,
    shape: Vec<usize>,
    nans: usize,
    infinities: usize,
    location: Option<(String, u32)>,
    scope: String,
    /// Minus infinity alone, from an operation that masks: most likely meant.
    masked: bool,
}

#[derive(Default)]
struct Sight {
    values: Vec<Found>,
    adjoints: Vec<Found>,
}

struct Watch(Arc<Mutex<Sight>>);

fn count<T: Float>(t: &Tensor<T>) -> (usize, usize, bool) {
    let (mut nans, mut infinities, mut plus) = (0, 0, false);
    for x in t.iter() {
        if x.is_nan() {
            nans += 1;
        } else if x.is_infinite() {
            infinities += 1;
            plus |= x.as_f64() > 0.0;
        }
    }
    (nans, infinities, plus)
}

impl<T: Float> Observer<T> for Watch {
    fn wants(&mut self, node: &NodeInfo<'_>) -> bool {
        // What has no operands (masks, noise) is finite.
        !node.args.is_empty()
    }
    fn see(&mut self, node: &NodeInfo<'_>, what: Seen, tensor: &Tensor<T>) {
        let (nans, infinities, plus) = count(tensor);
        if nans + infinities == 0 {
            return;
        }
        let (name, masks) = match what {
            Seen::Value => ("value", matches!(node.op, "where" | "masked_fill" | "add")),
            Seen::Adjoint => ("gradient", false),
        };
        let found = Found {
            node: node.id,
            tensor: format!("the {name} of `{}`", node.op),
            shape: node.shape.to_vec(),
            nans,
            infinities,
            location: Some((node.location.file().to_owned(), node.location.line())),
            scope: node.scope.to_owned(),
            masked: masks && nans == 0 && !plus,
        };
        let mut sight = self.0.lock().unwrap_or_else(|e| e.into_inner());
        match what {
            Seen::Value => sight.values.push(found),
            Seen::Adjoint => sight.adjoints.push(found),
        }
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl<'a, M: Module<T>, B: Batch, T: Float> Trainer<'a, M, B, T> {
    /// Leaves a batch out, or errs, as the policy says.
    pub(super) fn leave_out(
        &mut self,
        batch: &B,
        loss: f64,
        found: Option<NonFinite>,
    ) -> Result<()> {
        let mut report = self.find(batch);
        report.loss = loss;
        if report.tensor.is_empty() {
            // Seen in an earlier micro-batch, or made by a transform of the gradients.
            if let Some(f) = found {
                report.layer = parent(&f.path);
                report.tensor = format!("the gradient of parameter `{}`", f.path);
                (report.nans, report.infinities) = (f.nans, f.infinities);
            } else {
                report.tensor = "the loss".to_owned();
            }
        }
        self.history.skipped += 1;
        self.at.bad += 1;
        if self.history.non_finite.len() < 16 {
            self.history.non_finite.push(report.clone());
        }
        match self.policy {
            OnNonFinite::Skip { in_a_row } if self.at.bad <= in_a_row => Ok(()),
            _ => Err(Error::NonFinite(Box::new(report))),
        }
    }

    /// Records the batch once more, with the same randomness, and looks at every tensor.
    fn find(&self, batch: &B) -> NonFiniteReport {
        let mut report = NonFiniteReport {
            epoch: self.at.epoch,
            batch: self.at.batch.saturating_sub(1),
            step: self.at.step,
            loss: f64::NAN,
            layer: String::new(),
            tensor: String::new(),
            shape: Vec::new(),
            nans: 0,
            infinities: 0,
            location: None,
        };
        let mut paths: Vec<(ParamId, String)> = Vec::new();
        self.model.for_each_param(|path, p| {
            paths.push((p.id(), path.to_owned()));
            let (nans, infinities, _) = count(p.value());
            if nans + infinities > 0 && report.tensor.is_empty() {
                report.tensor = format!("parameter `{path}`");
                report.layer = parent(path);
                report.shape = p.shape().to_vec();
                (report.nans, report.infinities) = (nans, infinities);
            }
        });
        if !report.tensor.is_empty() {
            return report;
        }
        let mut tape = Tape::training(self.seed);
        tape.set_step_index(self.tape.step_index());
        let sight = Arc::new(Mutex::new(Sight::default()));
        tape.set_observer(Box::new(Watch(Arc::clone(&sight))));
        let loss = self.objective.record(&self.model, &tape, batch).loss;
        let mut nodes: Vec<(Vec<u32>, Option<ParamId>)> = Vec::new();
        let mut inputs = Vec::new();
        tape.for_each_node(|n| {
            nodes.push((n.args.to_vec(), n.param));
            inputs.push((n.id, n.shape.to_vec(), n.location));
        });
        let bad_input = inputs.into_iter().find_map(|(id, shape, at)| {
            let (nans, infinities, plus) = count(&tape.input_value(id)?);
            (nans > 0 || plus).then(|| Found {
                node: id,
                tensor: "input".to_owned(),
                shape,
                nans,
                infinities,
                location: Some((at.file().to_owned(), at.line())),
                scope: String::new(),
                masked: false,
            })
        });
        let found = bad_input.or_else(|| {
            drop(loss.backward());
            let mut sight = sight.lock().unwrap_or_else(|e| e.into_inner());
            let values = std::mem::take(&mut sight.values);
            let adjoints = std::mem::take(&mut sight.adjoints);
            let first = values
                .into_iter()
                .filter(|f| !f.masked)
                .min_by_key(|f| f.node);
            // The backward pass runs from the loss to the leaves.
            first.or_else(|| adjoints.into_iter().max_by_key(|f| f.node))
        });
        if let Some(f) = found {
            let near = nearest(&nodes, f.node).and_then(|id| paths.iter().find(|p| p.0 == id));
            report.layer = match near {
                Some((_, path)) if f.tensor != "input" => parent(path),
                _ => f.scope,
            };
            report.tensor = f.tensor;
            report.shape = f.shape;
            (report.nans, report.infinities) = (f.nans, f.infinities);
            report.location = f.location;
        }
        report
    }
}

/// The path of the layer that a parameter belongs to.
fn parent(path: &str) -> String {
    path.rsplit_once('.')
        .map_or("", |(layer, _)| layer)
        .to_owned()
}

/// The parameter that is the fewest operations before a node.
fn nearest(nodes: &[(Vec<u32>, Option<ParamId>)], from: u32) -> Option<ParamId> {
    let mut queue = VecDeque::from([from]);
    let mut seen = vec![false; nodes.len()];
    while let Some(i) = queue.pop_front() {
        let Some((args, param)) = nodes.get(i as usize) else {
            continue;
        };
        if let Some(p) = param {
            return Some(*p);
        }
        if !std::mem::replace(&mut seen[i as usize], true) {
            queue.extend(args);
        }
    }
    None
}
