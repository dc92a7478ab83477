//! A recording, copied out of the tape: what a network is made of, whatever its values.

use super::keeps_elements;
use crate::sorted::Sorted;
use std::panic::Location;
use std::sync::Arc;
use wengert_autograd::{Float, Module, Param, ParamId, Path, Tape, Visitor};

/// A forward node.
pub(super) struct Node {
    pub(super) op: &'static str,
    pub(super) imm: [f64; 2],
    pub(super) args: Vec<u32>,
    pub(super) shape: Vec<usize>,
    pub(super) location: &'static Location<'static>,
    pub(super) param: Option<ParamId>,
}

impl Node {
    /// Its source line.
    pub(super) fn line(&self) -> String {
        line(self.location)
    }
}

pub(super) fn line(l: &Location<'_>) -> String {
    format!("{}:{}:{}", l.file(), l.line(), l.column())
}

/// A parameter of the model.
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) shape: Vec<usize>,
    pub(super) id: ParamId,
    pub(super) trainable: bool,
}

/// The forward pass up to the loss, and the model.
pub(super) struct Recording {
    pub(super) loss: u32,
    pub(super) nodes: Sorted<u32, Node>,
    /// The model's parameters, in its order.
    pub(super) params: Vec<Listed>,
    /// Its modules as (path, kind).
    pub(super) modules: Arc<Vec<(String, String)>>,
    /// A number for every parameter of the model and of the recording.
    pub(super) slots: Sorted<ParamId, usize>,
}

/// Lists what a model is made of.
#[derive(Default)]
struct Parts {
    params: Vec<Listed>,
    modules: Vec<(String, String)>,
}

impl<T: Float> Visitor<T> for Parts {
    fn param(&mut self, path: &str, p: &Param<T>) {
        self.params.push(Listed {
            path: path.into(),
            shape: p.shape().to_vec(),
            id: p.id(),
            trainable: p.is_trainable(),
        });
    }
    fn enter(&mut self, path: &str, kind: &'static str) {
        self.modules.push((path.into(), kind.into()));
    }
}

impl Recording {
    pub(super) fn of<T: Float>(tape: &Tape<T>, model: &dyn Module<T>, loss: u32) -> Recording {
        let mut nodes = Sorted::default();
        tape.for_each_node(|n| {
            if n.origin.is_none() && n.id <= loss {
                let node = Node {
                    op: n.op,
                    imm: n.imm,
                    args: n.args.to_vec(),
                    shape: n.shape.to_vec(),
                    location: n.location,
                    param: n.param,
                };
                nodes.insert(n.id, node);
            }
        });
        let mut parts = Parts::default();
        model.visit(&mut Path::new(), &mut parts);
        Recording::from(loss, nodes, parts)
    }

    fn from(loss: u32, nodes: Sorted<u32, Node>, parts: Parts) -> Recording {
        let mut slots = Sorted::default();
        let mut number = |id: ParamId| {
            if !slots.has(id) {
                slots.insert(id, slots.iter().len());
            }
        };
        parts.params.iter().for_each(|p| number(p.id));
        (nodes.iter().filter_map(|(_, n)| n.param)).for_each(number);
        Recording {
            loss,
            nodes,
            params: parts.params,
            modules: Arc::new(parts.modules),
            slots,
        }
    }

    pub(super) fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The model's parameter of this identity.
    pub(super) fn listed(&self, id: ParamId) -> Option<&Listed> {
        // The slots of the model's parameters come first, in order; one that is there twice has one.
        let at = *self.slots.get(id)?;
        let near = self.params.get(at).filter(|p| p.id == id);
        near.or_else(|| self.params.iter().find(|p| p.id == id))
    }

    /// The slot of a parameter of the model or of the recording.
    pub(super) fn slot(&self, id: ParamId) -> Option<usize> {
        self.slots.get(id).copied()
    }

    /// The input that a node is a rearrangement of.
    pub(super) fn input_of(&self, mut id: u32) -> Option<u32> {
        loop {
            let n = self.node(id)?;
            if n.op == "input" {
                return Some(id);
            }
            if !keeps_elements(n.op) {
                return None;
            }
            id = *n.args.first()?;
        }
    }
}
