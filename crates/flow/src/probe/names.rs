//! What a step's layers and parameters are called.

use super::recording::Recording;
use super::{DEAD_SO_FAR, layers};
use crate::profile::StepProfile;
use std::sync::Arc;

/// The names in a recording; the same in all steps that repeat it.
#[derive(Default)]
pub(crate) struct Names {
    /// By layer.
    layers: Vec<Layer>,
    /// Path and shape, by parameter of the model.
    params: Vec<(String, Vec<usize>)>,
}

struct Layer {
    path: String,
    op: String,
    location: String,
}

impl Names {
    pub(super) fn of(recording: &Recording, layers: &[layers::Found]) -> Names {
        let layer = |l: &layers::Found| Layer {
            path: l.path.clone(),
            op: l.op.clone(),
            location: l.location.clone(),
        };
        let params = recording.params.iter();
        Names {
            layers: layers.iter().map(layer).collect(),
            params: params.map(|p| (p.path.clone(), p.shape.clone())).collect(),
        }
    }

    /// The path of a layer.
    pub(super) fn path(&self, layer: usize) -> &str {
        &self.layers[layer].path
    }

    /// The operation and the line of a layer.
    pub(super) fn made(&self, layer: usize) -> (&str, &str) {
        let l = &self.layers[layer];
        (&l.op, &l.location)
    }
}

/// A measured step without the names, which are written into it when somebody asks for it: writing them takes longer than
/// measuring small layers.
#[derive(Clone)]
pub(crate) struct Numbers {
    /// Layers and parameters in the order of `names`.
    pub(crate) step: StepProfile,
    pub(super) names: Arc<Names>,
    /// By layer, [`DEAD_SO_FAR`].
    pub(super) dead_so_far: Vec<Option<f64>>,
}

impl Numbers {
    /// The step, with its names.
    pub(crate) fn named(self) -> StepProfile {
        let Numbers {
            mut step,
            names,
            dead_so_far,
        } = self;
        for ((l, n), dead) in step.layers.iter_mut().zip(&names.layers).zip(dead_so_far) {
            l.path.clone_from(&n.path);
            l.op.clone_from(&n.op);
            l.location = Some(n.location.clone());
            l.extra.extend(dead.map(|d| (DEAD_SO_FAR.to_string(), d)));
        }
        for (p, (path, shape)) in step.facts.params.iter_mut().zip(&names.params) {
            p.path.clone_from(path);
            p.shape.clone_from(shape);
        }
        step
    }
}
