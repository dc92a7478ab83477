//! The same sequences in `Var` operations, step by step: where derivatives of the derivative come from.

use super::kernels::Sizes;
use super::{Config, Gate, Of};
use crate::float::Float;
use crate::ops::compose::partials;
use crate::var::Var;

/// What the operation computes: y, or y and the last cell side by side.
pub(super) fn sequence<'t, T: Float>(c: &Config, v: &[Var<'t, T>]) -> Var<'t, T> {
    let (x, w) = (v[0], v[1]);
    let tape = x.tape();
    let (steps, batch) = (x.size(0), x.size(1));
    let hidden = x.size(2) / c.gate.count();
    let given = |i: Option<usize>| i.map(|i| v[i]);
    let (bias, hidden_bias) = (given(c.bias()), given(c.hidden_bias()));
    let lengths = given(c.lengths());
    let mut h = given(c.state()).unwrap_or_else(|| tape.zeros([batch, w.size(1)]));
    let mut cell = given(c.cell()).unwrap_or_else(|| tape.zeros([batch, hidden]));
    let mut ys = vec![None; steps];
    for s in 0..steps {
        let t = if c.reverse { steps - 1 - s } else { s };
        let mut from_x = x.select(0, t);
        if let Some(b) = bias {
            from_x = from_x + b;
        }
        let from_h = h.linear(w, hidden_bias);
        let gate = |a: Var<'t, T>, k: usize| a.narrow(1, k * hidden, (k + 1) * hidden);
        let mut now = cell;
        let y = match c.gate {
            Gate::Tanh => (from_x + from_h).tanh(),
            Gate::Relu => (from_x + from_h).relu(),
            Gate::Lstm => {
                let a = from_x + from_h;
                let (i, f) = (gate(a, 0).sigmoid(), gate(a, 1).sigmoid());
                let (g, o) = (gate(a, 2).tanh(), gate(a, 3).sigmoid());
                now = f * cell + i * g;
                let m = o * now.tanh();
                match given(c.projection()) {
                    Some(p) => m.linear(p, None),
                    None => m,
                }
            }
            Gate::Gru => {
                let r = (gate(from_x, 0) + gate(from_h, 0)).sigmoid();
                let z = (gate(from_x, 1) + gate(from_h, 1)).sigmoid();
                let n = (gate(from_x, 2) + r * gate(from_h, 2)).tanh();
                n + z * (h - n)
            }
        };
        if let Some(l) = lengths {
            let run = l.gt(tape.scalar(t as f64)).unsqueeze(1);
            ys[t] = Some(run.where_(y, tape.scalar(0.0)));
            h = run.where_(y, h);
            cell = run.where_(now, cell);
        } else {
            ys[t] = Some(y);
            (h, cell) = (y, now);
        }
    }
    let ys: Vec<_> = ys.into_iter().flatten().collect();
    let y = if ys.is_empty() {
        tape.zeros([0, batch, w.size(1)])
    } else {
        Var::stack(&ys, 0)
    };
    if c.last {
        Var::cat(&[y.flatten(0, -1), cell.flatten(0, -1)], 0)
    } else {
        y
    }
}

/// A derivative of the sequence, from `v`: the cotangent, then the operation's inputs.
pub(super) fn gradient<'t, T: Float>(c: &Config, of: Of, v: &[Var<'t, T>]) -> Var<'t, T> {
    let wanted: Vec<usize> = match of {
        Of::Inputs => [Some(0), c.state(), c.cell()]
            .into_iter()
            .flatten()
            .collect(),
        of => vec![c.place(of).expect("asked for an input that is there")],
    };
    let own = &v[1..];
    let tape = v[0].tape();
    let needs: Vec<bool> = (0..own.len()).map(|i| wanted.contains(&i)).collect();
    let cts = partials(own, &needs, v[0], |x| sequence(c, x));
    let part = |i: usize| cts[i].unwrap_or_else(|| tape.zeros(own[i].shape()));
    if of != Of::Inputs {
        return part(wanted[0]);
    }
    // A section for each, given or not.
    let z = Sizes::of(c, &own[0].shape(), &own[1].shape());
    let flat: Vec<_> = [Some(0), c.state(), c.cell()]
        .into_iter()
        .zip(z.backward(c, false))
        .map(|(i, n)| i.map_or_else(|| tape.zeros([n]), |i| part(i).flatten(0, -1)))
        .collect();
    Var::cat(&flat, 0)
}
