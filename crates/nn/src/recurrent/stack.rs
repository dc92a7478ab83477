//! Layers over layers, in one or both directions: what all kinds of recurrent layers have in common.

use super::RecurrentState;
use crate::init::{Fans, GateBias, Init, RecurrentInit, gru_bias, lstm_bias, try_sample_blocks};
use crate::layers::{positive, probability, refuse, zeros};
use rand::Rng;
use wengert_autograd::ops::recurrent::Recurrence;
use wengert_autograd::{Float, Param, Path, Result, Tensor, Var, Visitor, VisitorMut};

/// What a step computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

impl Kind {
    pub fn gates(self) -> usize {
        match self {
            Kind::Tanh | Kind::Relu => 1,
            Kind::Lstm => 4,
            Kind::Gru => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Tanh | Kind::Relu => "rnn",
            Kind::Lstm => "lstm",
            Kind::Gru => "gru",
        }
    }
}

/// The parameters of one layer in one direction.
#[derive(Clone)]
pub struct RecurrentWeights<T: Float = f32> {
    /// Weights from the input, `[gates * hidden, inputs]`.
    pub weight_ih: Param<T>,
    /// Weights from the state before, `[gates * hidden, state]`.
    pub weight_hh: Param<T>,
    /// `[gates * hidden]`, or none.
    pub bias_ih: Option<Param<T>>,
    /// `[gates * hidden]`, or none.
    pub bias_hh: Option<Param<T>>,
    /// LSTM: the projection `[state, hidden]`, or none.
    pub weight_hr: Option<Param<T>>,
}

impl<T: Float> RecurrentWeights<T> {
    fn parts(&self) -> [(&'static str, Option<&Param<T>>); 5] {
        [
            ("weight_ih", Some(&self.weight_ih)),
            ("weight_hh", Some(&self.weight_hh)),
            ("bias_ih", self.bias_ih.as_ref()),
            ("bias_hh", self.bias_hh.as_ref()),
            ("weight_hr", self.weight_hr.as_ref()),
        ]
    }

    fn parts_mut(&mut self) -> [(&'static str, Option<&mut Param<T>>); 5] {
        [
            ("weight_ih", Some(&mut self.weight_ih)),
            ("weight_hh", Some(&mut self.weight_hh)),
            ("bias_ih", self.bias_ih.as_mut()),
            ("bias_hh", self.bias_hh.as_mut()),
            ("weight_hr", self.weight_hr.as_mut()),
        ]
    }

    /// One step of `x`, `[batch, inputs]`, with the parameters in the order of the fields: the state, and an LSTM's cell.
    #[track_caller]
    pub(super) fn step<'t>(
        kind: Kind,
        x: Var<'t, T>,
        before: Option<RecurrentState<'t, T>>,
        params: [Option<&Param<T>>; 5],
    ) -> (Var<'t, T>, Option<Var<'t, T>>) {
        let (x, lstm) = (x.unsqueeze(0), kind == Kind::Lstm);
        let (y, cell) = sequence(kind, x, before, params, None, false, lstm);
        (y.select(0, 0), cell)
    }
}

/// All states of a sequence `[steps, batch, inputs]`, and an LSTM's last cell if it is asked for.
#[track_caller]
fn sequence<'t, T: Float>(
    kind: Kind,
    x: Var<'t, T>,
    state: Option<RecurrentState<'t, T>>,
    params: [Option<&Param<T>>; 5],
    lengths: Option<Var<'t, T>>,
    reverse: bool,
    cell: bool,
) -> (Var<'t, T>, Option<Var<'t, T>>) {
    let tape = x.tape();
    let [weight_ih, weight_hh, bias_ih, bias_hh, weight_hr] =
        params.map(|p| p.map(|p| tape.param(p)));
    let sums = x.linear(weight_ih.expect("always there"), None);
    let mut r = Recurrence::new(weight_hh.expect("always there"));
    r.reverse = reverse;
    r.lengths = lengths;
    r.projection = weight_hr;
    if let Some(s) = state {
        r.state = Some(s.hidden);
        r.cell = s.cell;
    }
    if kind == Kind::Gru {
        (r.bias, r.hidden_bias) = (bias_ih, bias_hh);
    } else {
        r.bias = match (bias_ih, bias_hh) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
    match kind {
        Kind::Tanh | Kind::Relu => (sums.rnn(kind == Kind::Relu, &r), None),
        Kind::Gru => (sums.gru(&r), None),
        Kind::Lstm if !cell => (sums.lstm(&r), None),
        Kind::Lstm => {
            let (y, c) = sums.lstm_with_cell(&r);
            (y, Some(c))
        }
    }
}

/// Settings of a stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub kind: Kind,
    pub inputs: usize,
    pub hidden: usize,
    pub layers: usize,
    pub both: bool,
    pub bias: bool,
    pub dropout: f64,
    pub projection: Option<usize>,
    pub batch_first: bool,
    pub init: RecurrentInit,
}

impl Plan {
    /// Draws the parameters of one layer in one direction.
    pub fn weights<T: Float>(
        &self,
        inputs: usize,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<RecurrentWeights<T>> {
        let (gates, h) = (self.kind.gates(), self.hidden);
        let state = self.projection.unwrap_or(h);
        let rows = gates * h;
        let mut blocks = |init: Init, n: usize| -> Result<Param<T>> {
            let fans = Fans::gate(n, h);
            let w = try_sample_blocks(init, gates, [rows, n], fans, rng)?;
            Ok(Param::new(w).with_origin(init.describe(&[h, n], fans)))
        };
        let weight_ih = blocks(self.init.input, inputs)?;
        let weight_hh = blocks(self.init.recurrent, state)?;
        let (mut bias_ih, mut bias_hh) = (None, None);
        if self.bias {
            let rule = self.init.bias;
            let b = match (self.kind, rule) {
                (Kind::Lstm, rule) => lstm_bias(h, rule, rng)?,
                (Kind::Gru, rule) => gru_bias(h, rule, rng)?,
                (_, GateBias::Zero) => Tensor::try_zeros([h])?,
                (_, rule) => {
                    return refuse(
                        "rnn",
                        format!("a plain layer has no gates to set biases of, found {rule:?}"),
                    );
                }
            };
            let origin = match rule {
                GateBias::Zero => "zeros".to_owned(),
                GateBias::Forget(v) => format!("memory gate {v}"),
                GateBias::Chrono { steps } => format!("chrono, {steps} steps"),
            };
            bias_ih = Some(Param::new(b).with_origin(origin));
            bias_hh = Some(zeros(&[rows])?);
        }
        let weight_hr = match self.projection {
            Some(p) => {
                let (init, fans) = (Init::glorot_uniform(), Fans::linear(h, p));
                Some(crate::layers::draw(init, &[p, h], fans, rng)?)
            }
            None => None,
        };
        Ok(RecurrentWeights {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            weight_hr,
        })
    }

    pub fn check(&self) -> Result<()> {
        let op = self.kind.name();
        positive(op, "a number of inputs", self.inputs)?;
        positive(op, "a number of units", self.hidden)?;
        positive(op, "a number of layers", self.layers)?;
        probability(op, self.dropout)?;
        if let Some(p) = self.projection
            && !(1..self.hidden).contains(&p)
        {
            return refuse(
                op,
                format!(
                    "expected a projection to fewer than {} units and at least 1, found {p}",
                    self.hidden
                ),
            );
        }
        Ok(())
    }
}

/// All layers and directions.
#[derive(Clone)]
pub(super) struct Stack<T: Float> {
    pub plan: Plan,
    /// Layer by layer, forward before backward.
    pub weights: Vec<RecurrentWeights<T>>,
}

impl<T: Float> Stack<T> {
    pub fn try_new(plan: Plan, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        plan.check()?;
        let directions = 1 + usize::from(plan.both);
        let above = plan.projection.unwrap_or(plan.hidden) * directions;
        let mut weights = Vec::new();
        for layer in 0..plan.layers {
            let inputs = if layer == 0 { plan.inputs } else { above };
            for _ in 0..directions {
                weights.push(plan.weights(inputs, rng)?);
            }
        }
        Ok(Stack { plan, weights })
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.plan.both)
    }

    fn names(&self) -> impl Iterator<Item = String> + use<T> {
        let directions = self.directions();
        (0..self.weights.len()).map(move |i| {
            let tail = if i % directions == 1 { "_reverse" } else { "" };
            format!("_l{}{tail}", i / directions)
        })
    }

    pub fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
        for (w, name) in self.weights.iter().zip(self.names()) {
            for (what, p) in w.parts() {
                if let Some(p) = p {
                    path.scoped(&format!("{what}{name}"), |path| {
                        visitor.param(path.as_str(), p);
                    });
                }
            }
        }
    }

    pub fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
        let names = self.names();
        for (w, name) in self.weights.iter_mut().zip(names) {
            for (what, p) in w.parts_mut() {
                if let Some(p) = p {
                    path.scoped(&format!("{what}{name}"), |path| {
                        visitor.param(path.as_str(), p);
                    });
                }
            }
        }
    }

    /// Outputs, and the last states if they are asked for.
    #[track_caller]
    pub fn run<'t>(
        &self,
        x: Var<'t, T>,
        start: Option<RecurrentState<'t, T>>,
        lengths: Option<&[usize]>,
        states: bool,
    ) -> (Var<'t, T>, Option<RecurrentState<'t, T>>) {
        let Plan { kind, hidden, .. } = self.plan;
        let op = kind.name();
        let lstm = kind == Kind::Lstm;
        let tape = x.tape();
        let shape = x.shape();
        assert!(
            shape.len() == 3 && shape[2] == self.plan.inputs,
            "{op}: expected an input [{}, {}], found {:?}",
            if self.plan.batch_first {
                "batch, steps"
            } else {
                "steps, batch"
            },
            self.plan.inputs,
            shape.as_slice()
        );
        let x = if self.plan.batch_first {
            x.transpose(0, 1)
        } else {
            x
        };
        let (steps, batch) = (x.size(0), x.size(1));
        let width = self.plan.projection.unwrap_or(hidden);
        if let Some(s) = &start {
            let expect = |what: &str, v: Var<'t, T>, width: usize| {
                let expected = [self.weights.len(), batch, width];
                assert!(
                    v.shape().as_slice() == expected,
                    "{op}: expected {what} of shape {expected:?}, found {:?}",
                    v.shape().as_slice()
                );
            };
            expect("a state", s.hidden, width);
            assert!(
                s.cell.is_some() == lstm,
                "{op}: {}",
                if lstm {
                    "expected a state with a cell"
                } else {
                    "expected a state without a cell"
                }
            );
            if let Some(c) = s.cell {
                expect("a cell", c, hidden);
            }
        }
        if let Some(l) = lengths {
            assert!(
                l.len() == batch && l.iter().all(|l| (1..=steps).contains(l)),
                "{op}: expected {batch} lengths from 1 to {steps}, found {l:?}"
            );
        }
        let limits = lengths.map(|l| {
            let l: Vec<T> = l.iter().map(|&l| T::from_f64(l as f64)).collect();
            tape.input(&Tensor::from_vec(l, [batch]))
        });
        let directions = self.directions();
        let (mut hiddens, mut cells) = (Vec::new(), Vec::new());
        let mut y = x;
        for layer in 0..self.plan.layers {
            let mut outputs = Vec::with_capacity(directions);
            for direction in 0..directions {
                let at = layer * directions + direction;
                let reverse = direction == 1;
                let mut from = start;
                if let Some(s) = &mut from {
                    *s = s.select(at);
                }
                let w = &self.weights[at];
                let params = w.parts().map(|(_, p)| p);
                let cell = states && lstm;
                let (out, cell) = sequence(kind, y, from, params, limits, reverse, cell);
                if states {
                    hiddens.push(match (steps, lengths) {
                        (0, _) => from.map_or_else(|| tape.zeros([batch, width]), |s| s.hidden),
                        (_, _) if reverse => out.select(0, 0),
                        (_, None) => out.select(0, steps - 1),
                        (_, Some(l)) => {
                            let at = |(b, &l): (usize, &usize)| ((l - 1) * batch + b) as i64;
                            let last: Vec<i64> = l.iter().enumerate().map(at).collect();
                            out.reshape([steps * batch, width])
                                .index_select(0, &Tensor::from_vec(last, [batch]))
                        }
                    });
                    cells.extend(cell);
                }
                outputs.push(out);
            }
            y = Var::cat(&outputs, -1);
            if layer + 1 < self.plan.layers {
                y = y.dropout(self.plan.dropout);
            }
        }
        let y = if self.plan.batch_first {
            y.transpose(0, 1)
        } else {
            y
        };
        if !states {
            return (y, None);
        }
        let hidden = Var::stack(&hiddens, 0);
        let cell = if lstm {
            Some(Var::stack(&cells, 0))
        } else {
            None
        };
        (y, Some(RecurrentState { hidden, cell }))
    }

    /// As `run`, with states detached every `window` steps.
    #[track_caller]
    pub fn run_windows<'t>(
        &self,
        x: Var<'t, T>,
        window: usize,
        mut state: Option<RecurrentState<'t, T>>,
    ) -> (Var<'t, T>, RecurrentState<'t, T>) {
        let op = self.plan.kind.name();
        assert!(
            window > 0,
            "{op}: expected a window of at least 1 step, found 0"
        );
        assert!(
            !self.plan.both,
            "{op}: a layer in both directions has no windows: its backward half begins at the end"
        );
        assert!(
            x.rank() == 3,
            "{op}: expected an input of rank 3, found {:?}",
            x.shape().as_slice()
        );
        let axis = isize::from(self.plan.batch_first);
        let steps = x.size(axis);
        let mut outputs = Vec::new();
        let mut from = 0;
        while from < steps || outputs.is_empty() {
            let to = (from + window).min(steps);
            let part = x.narrow(axis, from, to);
            if let Some(s) = &mut state {
                *s = s.detach();
            }
            let (y, end) = self.run(part, state, None, true);
            outputs.push(y);
            state = end;
            from = to.max(from + 1);
        }
        (
            Var::cat(&outputs, axis),
            state.expect("at least one window"),
        )
    }
}

/// Implements `Module` for a layer around a [`Stack`].
macro_rules! stacked {
    ($name:ident) => {
        impl<T: Float> wengert_autograd::Module<T> for $name<T> {
            fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<T>) {
                visitor.enter(path.as_str(), stringify!($name));
                self.stack.visit(path, visitor);
                visitor.leave(path.as_str());
            }
            fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<T>) {
                self.stack.visit_mut(path, visitor);
            }
            fn kind(&self) -> &'static str {
                stringify!($name)
            }
        }
    };
}
pub(super) use stacked;
