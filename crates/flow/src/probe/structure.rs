//! What a recording is made of, kept from one measured step to the next.

use super::layers::{Layers, find_layers};
use super::recording::Recording;
use super::{facts, time};
use std::hash::{Hash, Hasher};
use wengert_autograd::{Float, Module, Tape};

/// What is remembered between the measured steps of a training.
#[derive(Default)]
pub(crate) struct Memory {
    /// By layer, which rectified units have ever been alive.
    pub(super) alive: Vec<(String, Vec<bool>)>,
    pub(super) structure: Option<Structure>,
}

/// Everything that is read off a recording and does not depend on values. A step that repeats the last one repeats it.
pub(super) struct Structure {
    signature: u64,
    pub(super) recording: Recording,
    pub(super) layers: Layers,
    pub(super) states: time::States,
    pub(super) known: facts::Known,
}

impl Structure {
    /// That of the former measured step, if this one repeats it, or a new one.
    pub(super) fn of<T: Float>(
        former: Option<Structure>,
        tape: &Tape<T>,
        model: &dyn Module<T>,
        loss: u32,
    ) -> Structure {
        let signature = signature(tape, loss);
        let same = former.filter(|s| s.signature == signature);
        same.unwrap_or_else(|| Structure::read(Recording::of(tape, model, loss), signature))
    }

    fn read(recording: Recording, signature: u64) -> Structure {
        Structure {
            signature,
            layers: find_layers(&recording),
            states: time::States::find(&recording),
            known: facts::Known::of(&recording),
            recording,
        }
    }
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
