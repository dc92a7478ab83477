//! What a recording is made of, kept from one measured step to the next.

use super::layers::{Layers, find_layers};
use super::names::Names;
use super::recording::Recording;
use super::{facts, time};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use wengert_autograd::{Float, Module, Tape};

/// Everything that is read off a recording and does not depend on values. A step that repeats the last one repeats it.
pub(super) struct Structure {
    signature: u64,
    pub(super) recording: Recording,
    pub(super) layers: Layers,
    pub(super) names: Arc<Names>,
    pub(super) states: time::States,
    pub(super) known: facts::Known,
    /// By the slot of a weight, the layer and use whose gradient shows what is not finite in the weight.
    pub(super) shows: Vec<Option<(usize, usize)>>,
}

impl Structure {
    pub(super) fn of<T: Float>(tape: &Tape<T>, model: &dyn Module<T>, loss: u32) -> Structure {
        Structure::read(Recording::of(tape, model, loss), signature(tape, loss))
    }

    /// Whether it is that of the present recording, too.
    pub(super) fn repeats<T: Float>(&self, tape: &Tape<T>, loss: u32) -> bool {
        self.signature == signature(tape, loss)
    }

    fn read(recording: Recording, signature: u64) -> Structure {
        let layers = find_layers(&recording);
        Structure {
            signature,
            shows: shows(&recording, &layers),
            names: Arc::new(Names::of(&recording, &layers.found)),
            layers,
            states: time::States::find(&recording),
            known: facts::Known::of(&recording),
            recording,
        }
    }
}

/// The gradient of `x` in `y = x Wᵀ` is `gy W`: a weight that is not finite makes a whole column of it so, whatever it is
/// multiplied with, and nothing that is added to that makes it finite again. So if the gradient of the output that a layer
/// reads is finite, then so are the layer's weights.
fn shows(recording: &Recording, layers: &Layers) -> Vec<Option<(usize, usize)>> {
    // The same elements in another order.
    let source = |mut id: u32| {
        while let Some(n) = recording.node(id)
            && matches!(n.op, "permute" | "reshape" | "contiguous")
        {
            id = n.args[0];
        }
        id
    };
    let mut shows = vec![None; recording.slots.iter().len()];
    let products = recording.nodes.iter().filter(|(_, n)| n.op == "matmul");
    for (x, w) in products.flat_map(|(_, n)| [(n.args[0], n.args[1]), (n.args[1], n.args[0])]) {
        let weight = recording.node(source(w)).and_then(|n| n.param);
        if let Some(slot) = weight.and_then(|id| recording.slot(id))
            && let Some(at) = layers.of.get(x).or_else(|| layers.of.get(source(x)))
        {
            shows[slot] = Some(*at);
        }
    }
    shows
}

/// Multiply and rotate: a few nodes are not worth a hash that withstands attacks.
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for c in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..c.len()].copy_from_slice(c);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(23) ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_u32(&mut self, x: u32) {
        self.write_u64(u64::from(x));
    }
    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64);
    }
}

/// Tells recordings apart: operations, operands, shapes, lines, parameters, and which node is the loss.
fn signature<T: Float>(tape: &Tape<T>, loss: u32) -> u64 {
    let mut h = Mix(u64::from(loss));
    tape.is_training().hash(&mut h);
    tape.for_each_node(|n| {
        if n.origin.is_none() && n.id <= loss {
            (n.id, n.op.as_ptr() as usize, n.args, n.shape, n.param).hash(&mut h);
            (n.location.line(), n.location.column()).hash(&mut h);
        }
    });
    h.finish()
}
