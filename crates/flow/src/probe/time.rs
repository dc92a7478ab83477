//! The gradient of recurrent layers, time step by time step.
//!
//! The states of a recurrent layer (or cell) are a node of the tape, `recurrent_state` of shape `[steps, batch, units]`,
//! whose adjoint is the whole derivative of the loss by each state: through the output of its own step and through all
//! later steps. A loop over cells leaves one such node for each step.

use super::recording::Recording;
use crate::profile::TimeProfile;
use crate::sorted::Sorted;
use wengert_autograd::{Float, Tensor};

/// The state nodes of a recording, layer by layer.
#[derive(Default)]
pub(super) struct States {
    layers: Vec<Layer>,
    /// Layer and use by node.
    of: Sorted<u32, (usize, usize)>,
}

struct Layer {
    path: String,
    module: String,
    reverse: bool,
    /// RMS by time step, for each use.
    grad: Vec<Vec<f64>>,
}

/// The path of the module that a parameter belongs to.
fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(module, _)| module)
}

/// `rnn` for `rnn.weight_hh`, `rnn.l1_reverse` for `rnn.weight_hh_l1_reverse`, `rnn` for `rnn.weight_hh_l0`.
fn name(weight: &str) -> String {
    let module = parent(weight);
    let own = weight.rsplit('.').next().unwrap_or(weight);
    let layer = own.strip_prefix("weight_hh").unwrap_or(own);
    match layer.trim_start_matches('_') {
        "" | "l0" if module.is_empty() => weight.to_string(),
        "" | "l0" => module.to_string(),
        layer if module.is_empty() => layer.to_string(),
        layer => format!("{module}.{layer}"),
    }
}

impl States {
    /// Finds the states of the layers that belong to the model.
    pub fn find(recording: &Recording) -> States {
        let mut by_slot = vec![None; recording.slots.iter().len()];
        let mut states = States::default();
        for (id, n) in recording
            .nodes
            .iter()
            .filter(|n| n.1.op == "recurrent_state")
        {
            // The recurrent weight is the only parameter of rank 2 that a plain layer's states read.
            let mut read = (n.args.iter()).filter_map(|a| recording.node(*a)?.param);
            let weight = read.find_map(|p| recording.listed(p).filter(|p| p.shape.len() == 2));
            let Some((slot, weight)) = weight.and_then(|w| Some((recording.slot(w.id)?, w))) else {
                continue;
            };
            let layer = *by_slot[slot].get_or_insert_with(|| {
                states.layers.push(Layer {
                    path: name(&weight.path),
                    module: parent(&weight.path).to_string(),
                    reverse: weight.path.ends_with("_reverse"),
                    grad: Vec::new(),
                });
                states.layers.len() - 1
            });
            let uses = &mut states.layers[layer].grad;
            states.of.insert(*id, (layer, uses.len()));
            uses.push(Vec::new());
        }
        states
    }

    pub fn wants(&self, node: u32) -> bool {
        self.of.has(node)
    }

    /// The adjoint of a state node.
    pub fn see<T: Float>(&mut self, node: u32, adjoint: &Tensor<T>) {
        if let Some(&(layer, k)) = self.of.get(node) {
            self.layers[layer].grad[k] = rms_by_step(adjoint);
        }
    }

    /// Whether the layer of this path (a module's, or that of a weight in it) has states.
    pub fn covers(&self, path: &str) -> bool {
        let mut layers = self.layers.iter();
        layers.any(|l| l.module == path || l.module == parent(path))
    }

    /// Forgets what was seen.
    pub fn clear(&mut self) {
        for g in self.layers.iter_mut().flat_map(|l| &mut l.grad) {
            g.clear();
        }
    }

    /// What was seen, in the order in which each layer runs through time.
    pub fn profiles(&self) -> impl Iterator<Item = TimeProfile> {
        self.layers.iter().filter_map(|l| {
            let mut grad_rms = l.grad.concat();
            if l.reverse {
                grad_rms.reverse();
            }
            (grad_rms.len() > 1).then(|| TimeProfile {
                path: l.path.clone(),
                grad_rms,
            })
        })
    }
}

/// Root of the mean square at each index of the first axis.
///
/// ```
/// use wengert_flow::probe::rms_by_step;
/// use wengert_tensor::Tensor;
/// let g = Tensor::from_vec(vec![3.0f32, 3.0, 0.0, 0.0], [2, 1, 2]);
/// assert_eq!(rms_by_step(&g), [3.0, 0.0]);
/// ```
pub fn rms_by_step<T: Float>(t: &Tensor<T>) -> Vec<f64> {
    let Some((&steps, rest)) = t.shape().split_first() else {
        return Vec::new();
    };
    let n = rest.iter().product::<usize>();
    let values = t.to_vec();
    let rms = |s: &[T]| {
        let squares: f64 = s.iter().map(|x| x.as_f64() * x.as_f64()).sum();
        (squares / n as f64).sqrt()
    };
    (0..steps)
        .map(|k| rms(&values[k * n..(k + 1) * n]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Probe, ProbeOptions};
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;
    use wengert_autograd::Tape;
    use wengert_nn::{Forward, Lstm, LstmCell, Rnn};

    #[test]
    fn names_of_layers() {
        assert_eq!(name("net.rnn.weight_hh"), "net.rnn");
        assert_eq!(name("rnn.weight_hh_l0"), "rnn");
        assert_eq!(name("rnn.weight_hh_l1_reverse"), "rnn.l1_reverse");
        assert_eq!(name("weight_hh_l1"), "l1");
        assert_eq!(name("u"), "u");
    }

    #[test]
    fn one_layer_as_an_operation_and_as_a_loop_of_cells() {
        let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
        let lstm: Lstm<f64> = Lstm::new(2, 3, rng);
        let mut cell: LstmCell<f64> = LstmCell::new(2, 3, rng);
        let w = &lstm.weights()[0];
        cell.weight_ih.set(w.weight_ih.value().copy());
        cell.weight_hh.set(w.weight_hh.value().copy());
        let bias = w.bias_ih.as_ref().unwrap().value().copy();
        cell.bias_ih.as_mut().unwrap().set(bias);
        let x = Tensor::from_fn([9, 4, 2], |i| ((i[0] * 5 + i[1] * 3 + i[2]) as f64).sin());
        let probe = Probe::new(ProbeOptions {
            start: false,
            ..ProbeOptions::default()
        });
        let mut tape = Tape::training(0);
        let y = lstm.forward(tape.input(&x));
        let (_, whole) = probe.backward(y.select(0, 8).square().sum(), &lstm);
        assert_eq!(whole.time.len(), 1);
        tape.reset();
        let input = tape.input(&x);
        let mut state = None;
        for t in 0..9 {
            state = Some(cell.step(input.select(0, t), state));
        }
        let loss = state.unwrap().hidden.square().sum();
        let (_, steps) = probe.backward(loss, &cell);
        assert_eq!(steps.time.len(), 1, "{:?}", steps.time);
        let (a, b) = (&whole.time[0].grad_rms, &steps.time[0].grad_rms);
        assert_eq!((a.len(), b.len()), (9, 9));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-12 * a.max(1e-3), "{a} {b}");
        }
        assert!(a[0] < a[8]);
    }

    #[test]
    fn a_linear_recurrence_has_its_own_decay() {
        // h' = h / 2 + x: the derivative by the state k steps before the end is 2^-k.
        let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
        let mut rnn: Rnn<f64> = Rnn::builder(1, 1).relu().bidirectional(true).build(rng);
        for w in rnn.weights_mut() {
            w.weight_ih.set(Tensor::ones([1, 1]));
            w.weight_hh.set(Tensor::full([1, 1], 0.5));
        }
        let tape = Tape::training(0);
        let y = rnn.forward(tape.input(&Tensor::ones([8, 1, 1])));
        let loss = y.narrow(2, 0, 1).select(0, 7).sum() + y.narrow(2, 1, 2).select(0, 0).sum();
        let (_, step) = Probe::default().backward(loss, &rnn);
        assert_eq!(step.time.len(), 2);
        for t in &step.time {
            assert!((t.decay().unwrap() - 0.5).abs() < 1e-12, "{t:?}");
            assert!((t.memory().unwrap() - 1.0 / 2f64.ln()).abs() < 1e-9);
            assert_eq!(t.grad_rms[7], 1.0);
        }
        assert_eq!(step.time[1].path, "l0_reverse");
    }
}
