//! Recurrent sequences as one operation per layer and direction: plain, LSTM, GRU.
//!
//! The product of all time steps with the input weights is an ordinary matrix product beforehand (`x Wᵀ`); what stands
//! here takes its rows and adds the recurrence. The gates are kept for the backward pass; gradients of the recurrent
//! weights are one matrix product over all time steps.
//!
//! | file | what stands there |
//! |---|---|
//! | `mod.rs` | the operations and their rules |
//! | `kernels.rs` | sequences forward and backward |
//! | `cells.rs` | one time step: gates in one vectorised pass |
//! | `compose.rs` | the same in `Var` operations, from which higher derivatives are recorded |

mod cells;
mod compose;
mod kernels;

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::compose::{part_copy, part_view, partials};
use crate::ops::lookup::{self, Order};
use crate::var::Var;
use kernels::{Inputs, Rows, Sizes, start};
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;
use wengert_tensor::shape::checked_numel;
use wengert_tensor::{Dims, Result, Tensor};

compiled_here! {
    /// Kernels of this file.
    RecurrentKernels {
        fn sequence(
            c: &Config, z: &Sizes, from: &Rows<'_, Self>, inputs: &Inputs<'_, Self>, out: &mut [Self],
        ) = kernels::sequence;
        fn sequence_grad(
            c: &Config, z: &Sizes, states: bool, made: &Tensor<Self>, g: &Tensor<Self>, inputs: &Inputs<'_, Self>, out: &mut [Self],
        ) = kernels::gradient;
        fn sequence_weight_grad(
            c: &Config, z: &Sizes, of: Of, made: &Tensor<Self>, grads: &Tensor<Self>, inputs: &Inputs<'_, Self>, out: &mut [Self],
        ) = kernels::weight_gradient;
    }
}

/// What a step computes.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(hidden)]
pub enum Gate {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

impl Gate {
    /// Sums per unit.
    fn count(self) -> usize {
        match self {
            Gate::Tanh | Gate::Relu => 1,
            Gate::Lstm => 4,
            Gate::Gru => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Gate::Tanh => "rnn_tanh",
            Gate::Relu => "rnn_relu",
            Gate::Lstm => "lstm",
            Gate::Gru => "gru",
        }
    }
}

/// Which derivative.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(hidden)]
pub enum Of {
    /// Those of x, state and cell.
    Inputs,
    Weight,
    HiddenBias,
    Projection,
}

/// The kind of sequence and which inputs there are, in this order: x, weight, bias, hidden bias, state, cell,
/// projection, lengths.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(hidden)]
pub struct Config {
    gate: Gate,
    reverse: bool,
    given: [bool; 5],
    projection: bool,
    /// Whether the last cell is a result beside y.
    last: bool,
    /// Whether what the backward pass needs is kept.
    reserve: bool,
}

impl Config {
    /// Place of optional input `k` of bias, hidden bias, state, cell, projection, lengths.
    fn optional(&self, k: usize) -> Option<usize> {
        let [bias, hidden_bias, state, cell, lengths] = self.given;
        let all = [bias, hidden_bias, state, cell, self.projection, lengths];
        all[k].then(|| 2 + all[..k].iter().filter(|g| **g).count())
    }
    fn bias(&self) -> Option<usize> {
        self.optional(0)
    }
    fn hidden_bias(&self) -> Option<usize> {
        self.optional(1)
    }
    fn state(&self) -> Option<usize> {
        self.optional(2)
    }
    fn cell(&self) -> Option<usize> {
        self.optional(3)
    }
    fn projection(&self) -> Option<usize> {
        self.optional(4)
    }
    fn lengths(&self) -> Option<usize> {
        self.optional(5)
    }
    fn place(&self, of: Of) -> Option<usize> {
        match of {
            Of::Inputs => Some(0),
            Of::Weight => Some(1),
            Of::HiddenBias => self.hidden_bias(),
            Of::Projection => self.projection(),
        }
    }

    fn check(&self, inputs: &[&[usize]]) -> Result<Sizes> {
        let name = self.gate.name();
        let n = self.gate.count();
        let (x, w) = (inputs[0], inputs[1]);
        if x.len() != 3 || x[2] % n != 0 || x[2] == 0 || w.len() != 2 || w[0] != x[2] || w[1] == 0 {
            return Err(shape_error(
                name,
                format!(
                    "sums {x:?} and recurrent weight {w:?} do not fit: expected [steps, batch, {n} * hidden] and \
                     [{n} * hidden, state]"
                ),
            ));
        }
        let z = Sizes::of(self, x, w);
        let expect = |what: &str, at: Option<usize>, shape: &[usize]| match at {
            Some(i) if inputs[i] != shape => Err(shape_error(
                name,
                format!("{what} of shape {:?}, expected {shape:?}", inputs[i]),
            )),
            _ => Ok(()),
        };
        if !self.projection && z.out != z.hidden {
            return Err(shape_error(
                name,
                format!(
                    "recurrent weight {w:?} without a projection: expected [{}, {}]",
                    w[0], z.hidden
                ),
            ));
        }
        expect("a bias", self.bias(), &[z.sums])?;
        expect("a hidden bias", self.hidden_bias(), &[z.sums])?;
        expect("a state", self.state(), &[z.batch, z.out])?;
        expect("a cell", self.cell(), &[z.batch, z.hidden])?;
        expect("a projection", self.projection(), &[z.out, z.hidden])?;
        expect("lengths", self.lengths(), &[z.batch])?;
        Ok(z)
    }

    fn flops(&self, z: &Sizes) -> u64 {
        let projection = if self.projection { z.out * z.hidden } else { 0 };
        (2 * z.steps * z.batch * (z.out * z.sums + projection + 16 * z.sums)) as u64
    }
}

fn tensors<'a, T: Float>(
    ctx: &ForwardCtx<'a, T>,
    from: usize,
) -> SmallVec<[Option<&'a Tensor<T>>; 8]> {
    (from..ctx.len()).map(|i| ctx.float(i)).listed()
}

/// Everything at once. Inputs: see [`Config`]; if x is looked up, then the table and the indices of its rows, and x itself
/// is not read. Output: one row, see [`Sizes::forward`].
#[derive(Debug, PartialEq)]
struct Steps {
    config: Config,
    looked: Option<Order>,
}
impl<T: Float> Op<T> for Steps {
    fn name(&self) -> &'static str {
        "recurrent_steps"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let z = self.config.check(inputs)?;
        let sizes = z.forward(&self.config);
        checked_numel(
            self.config.gate.name(),
            &[z.steps, z.batch, 8, z.sums + z.out],
        )?;
        Ok(small![sizes.iter().sum()])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let inputs = tensors(ctx, 0);
        let z = Sizes::of(&self.config, ctx.input_shape(0), ctx.input_shape(1));
        let from = match &self.looked {
            None => Rows::of(ctx.input(0)),
            Some(order) => {
                let k = ctx.len() - 2;
                Rows::looked_up(ctx.input(k), order.rows(ctx.ints(k + 1)))
            }
        };
        T::sequence(&self.config, &z, &from, &Inputs(&inputs), ctx.output());
    }
    fn reads(&self, i: usize) -> bool {
        i > 0 || self.looked.is_none()
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        self.config
            .flops(&Sizes::of(&self.config, inputs[0], inputs[1]))
    }
}

/// The states of all time steps, a view of [`Steps`]'s result: a node of its own whose adjoint is the whole derivative of
/// the loss by each state, through outputs and later steps alike. Nothing flows on from it. Inputs: that, then those of
/// [`Steps`].
#[derive(Debug, PartialEq)]
struct State(Dims);
impl<T: Float> Op<T> for State {
    fn name(&self) -> &'static str {
        "recurrent_state"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.0.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        part_copy(ctx.input(0), 0, &self.0, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        part_view(input, 0, &self.0)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        ctx.inputs().iter().map(|_| None).listed()
    }
}

/// The result, a view of [`Steps`]'s: y, or y and the last cell in one row. Inputs: that, [`State`]'s, then those of
/// [`Steps`].
#[derive(Debug, PartialEq)]
struct Output {
    config: Config,
    shape: Dims,
}
impl<T: Float> Op<T> for Output {
    fn name(&self) -> &'static str {
        self.config.gate.name()
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        part_copy(ctx.input(0), 0, &self.shape, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        part_view(input, 0, &self.shape)
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let own = &ctx.inputs()[2..];
        // A copy only where the layout is another one, in the tape's own memory.
        let g = ctx.cotangent().contiguous();
        let tape = g.tape();
        let mut c = self.config;
        let mut made = ctx.input(0);
        if !c.reserve {
            // What was not kept is computed again.
            c.reserve = true;
            let steps = Steps {
                config: c,
                looked: None,
            };
            made = tape.no_grad(|| tape.apply(steps, own));
        }
        let (x, w) = (own[0].shape(), own[1].shape());
        let z = Sizes::of(&c, &x, &w);
        let with = |head: &[Var<'t, T>]| -> SmallVec<[Var<'t, T>; 12]> {
            head.iter().chain(own).copied().listed()
        };
        let grads = tape.no_grad(|| tape.apply(Grad(c, false), &with(&[made, g])));
        let sections = z.backward(&c, false);
        let inputs = |of: Of| {
            let shape: Dims = match c.place(of) {
                Some(i) if of != Of::Inputs => own[i].shape(),
                _ => small![start(&sections, 3)],
            };
            let part = GradPart {
                config: c,
                of,
                shape,
            };
            tape.apply(part, &with(&[grads, made, g]))
        };
        let needs = |i: Option<usize>| i.filter(|&i| ctx.needs(2 + i));
        let mut all = None;
        let mut section = |k: usize, shape: &[usize]| {
            let all = *all.get_or_insert_with(|| inputs(Of::Inputs));
            let from = start(&sections, k);
            all.narrow(0, from, from + sections[k]).reshape(shape)
        };
        let mut cts: Cotangents<'t, T> = SmallVec::from_elem(None, ctx.inputs().len());
        let mut set = |i: usize, ct: Var<'t, T>| cts[2 + i] = Some(ct);
        if needs(Some(0)).is_some() {
            set(0, section(0, &x));
        }
        if needs(Some(1)).is_some() {
            set(1, inputs(Of::Weight));
        }
        if let Some(i) = needs(c.bias()) {
            set(i, section(0, &x).sum_dim([0, 1], false));
        }
        if let Some(i) = needs(c.hidden_bias()) {
            set(i, inputs(Of::HiddenBias));
        }
        if let Some(i) = needs(c.state()) {
            set(i, section(1, &[z.batch, z.out]));
        }
        if let Some(i) = needs(c.cell()) {
            set(i, section(2, &[z.batch, z.hidden]));
        }
        if let Some(i) = needs(c.projection()) {
            set(i, inputs(Of::Projection));
        }
        if ctx.needs(1) {
            // Computed only if somebody looks at it.
            let seen = tape.no_grad(|| {
                let all = tape.apply(Grad(c, true), &with(&[made, g]));
                let sections = z.backward(&c, true);
                let from = start(&sections, 4);
                all.narrow(0, from, from + sections[4])
                    .reshape([z.steps, z.batch, z.out])
            });
            cts[1] = Some(seen);
        }
        cts
    }
}

/// The derivatives at once. Inputs: what [`Steps`] made, the cotangent of [`Output`], then the inputs of [`Steps`].
/// Output: one row, see [`Sizes::backward`].
#[derive(Debug, PartialEq)]
struct Grad(Config, bool);
impl<T: Float> Op<T> for Grad {
    fn name(&self) -> &'static str {
        "recurrent_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let z = Sizes::of(&self.0, inputs[2], inputs[3]);
        Ok(small![z.backward(&self.0, self.1).iter().sum()])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let inputs = tensors(ctx, 2);
        let (made, g) = (ctx.input(0), ctx.input(1));
        let z = Sizes::of(&self.0, ctx.input_shape(2), ctx.input_shape(3));
        let inputs = Inputs(&inputs);
        T::sequence_grad(&self.0, &z, self.1, made, g, &inputs, ctx.output());
    }
    fn reads(&self, i: usize) -> bool {
        let c = &self.0;
        i < 2 || i == 3 || [c.state(), c.cell(), c.projection(), c.lengths()].contains(&Some(i - 2))
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        self.0.flops(&Sizes::of(&self.0, inputs[2], inputs[3]))
    }
}

/// The cotangent of x, state and cell in one row, a view of [`Grad`]'s result; or that of a weight. Inputs: that, what
/// [`Steps`] made, the cotangent of [`Output`], then the inputs of [`Steps`].
#[derive(Debug, PartialEq)]
struct GradPart {
    config: Config,
    of: Of,
    shape: Dims,
}
impl<T: Float> Op<T> for GradPart {
    fn name(&self) -> &'static str {
        match self.of {
            Of::Inputs => "recurrent_grad_inputs",
            Of::Weight => "recurrent_grad_weight",
            Of::HiddenBias => "recurrent_grad_bias",
            Of::Projection => "recurrent_grad_projection",
        }
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        if self.of == Of::Inputs {
            part_copy(ctx.input(0), 0, &self.shape, ctx.output());
            return;
        }
        let inputs = tensors(ctx, 3);
        let (grads, made) = (ctx.input(0), ctx.input(1));
        let z = Sizes::of(&self.config, ctx.input_shape(3), ctx.input_shape(4));
        T::sequence_weight_grad(
            &self.config,
            &z,
            self.of,
            made,
            grads,
            &Inputs(&inputs),
            ctx.output(),
        );
    }
    fn reads(&self, i: usize) -> bool {
        i < 2 || i > 2 && [self.config.state(), self.config.lengths()].contains(&Some(i - 3))
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        part_view(input, 0, &self.shape)
    }
    fn is_view(&self) -> bool {
        self.of == Of::Inputs
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let mut cts: Cotangents<'t, T> = small![None, None];
        cts.extend(partials(
            &ctx.inputs()[2..],
            &ctx.needs[2..],
            ctx.cotangent(),
            |v| compose::gradient(&self.config, self.of, v),
        ));
        cts
    }
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let rows = inputs[3][0] * inputs[3][1];
        2 * (rows * output.iter().product::<usize>()) as u64
    }
}

/// Weights and settings of a recurrent sequence: [`Var::rnn`], [`Var::lstm`], [`Var::gru`].
#[derive(Clone, Copy, Debug)]
pub struct Recurrence<'t, T: Float> {
    /// Recurrent weights of all gates below each other, `[gates * hidden, state]`.
    pub weight: Var<'t, T>,
    /// Added to the sums, `[gates * hidden]`.
    pub bias: Option<Var<'t, T>>,
    /// GRU: added to the recurrent products, `[3 * hidden]`, because r stands between the two. Elsewhere none.
    pub hidden_bias: Option<Var<'t, T>>,
    /// The state before the first step, `[batch, state]`; zeros if none.
    pub state: Option<Var<'t, T>>,
    /// LSTM: the cell before the first step, `[batch, hidden]`; zeros if none.
    pub cell: Option<Var<'t, T>>,
    /// LSTM: the state is this `[state, hidden]` times what the cell puts out; without it `state` is `hidden`.
    pub projection: Option<Var<'t, T>>,
    /// Number of steps of each sequence, `[batch]`: from there on outputs are zero and the state stands still. All steps
    /// if none. A constant.
    pub lengths: Option<Var<'t, T>>,
    /// Whether time runs backward, from each sequence's own end.
    pub reverse: bool,
}

impl<'t, T: Float> Recurrence<'t, T> {
    /// A forward recurrence from zero states.
    pub fn new(weight: Var<'t, T>) -> Self {
        Recurrence {
            weight,
            bias: None,
            hidden_bias: None,
            state: None,
            cell: None,
            projection: None,
            lengths: None,
            reverse: false,
        }
    }
}

/// Called through `Float::recur`, so that it is compiled here.
#[track_caller]
pub(crate) fn record<'t, T: Float>(
    x: Var<'t, T>,
    gate: Gate,
    r: &Recurrence<'t, T>,
    last: bool,
) -> Var<'t, T> {
    let tape = x.tape();
    let name = gate.name();
    assert!(
        gate == Gate::Lstm || (r.cell.is_none() && r.projection.is_none()),
        "{name}: only an lstm has a cell or a projection"
    );
    assert!(
        gate == Gate::Gru || r.hidden_bias.is_none(),
        "{name}: only a gru has a hidden bias; add it to the bias"
    );
    let config = Config {
        gate,
        reverse: r.reverse,
        given: [
            r.bias.is_some(),
            r.hidden_bias.is_some(),
            r.state.is_some(),
            r.cell.is_some(),
            r.lengths.is_some(),
        ],
        projection: r.projection.is_some(),
        last,
        reserve: tape.is_training(),
    };
    let mut lengths = r.lengths;
    if let Some(l) = &mut lengths {
        *l = l.detach();
    }
    let mut args: SmallVec<[Var<'t, T>; 12]> = small![x, r.weight];
    args.extend(
        [
            r.bias,
            r.hidden_bias,
            r.state,
            r.cell,
            r.projection,
            lengths,
        ]
        .into_iter()
        .flatten(),
    );
    let shapes: SmallVec<[Dims; 8]> = args.iter().map(Var::shape).listed();
    let shapes: SmallVec<[&[usize]; 4]> = shapes.iter().map(|s| s.as_slice()).listed();
    let z = config.check(&shapes).or_panic();
    let (mut looked, mut all) = (None, args.clone());
    if let Some((order, table, index)) = lookup::looked_up(x) {
        looked = Some(order);
        all.extend([table, index]);
    }
    let steps = tape.apply_no_grad(Steps { config, looked }, &all);
    args.insert(0, steps);
    let states: Dims = small![z.steps, z.batch, z.out];
    let state = tape.apply(State(states.clone()), &args);
    args.insert(1, state);
    let shape = if last {
        small![z.steps * z.batch * z.out + z.batch * z.hidden]
    } else {
        states
    };
    tape.apply(Output { config, shape }, &args)
}

impl<'t, T: Float> Var<'t, T> {
    /// Plain recurrence (Elman 1990) over sums `[steps, batch, hidden]` that the inputs brought (`x Wᵀ`): yₜ = f(sₜ + yₜ₋₁ Uᵀ + b)
    /// with f = tanh, or ReLU. Returns all y, `[steps, batch, hidden]`.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::recurrent::Recurrence};
    /// let tape = Tape::<f64>::inference();
    /// let s = tape.input(&Tensor::ones([3, 1, 1]));
    /// let u = tape.input(&Tensor::full([1, 1], 2.0));
    /// assert_eq!(s.rnn(true, &Recurrence::new(u)).value().to_vec(), [1.0, 3.0, 7.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit, or there is a cell, a projection or a hidden bias.
    #[track_caller]
    pub fn rnn(self, relu: bool, r: &Recurrence<'t, T>) -> Self {
        let gate = if relu { Gate::Relu } else { Gate::Tanh };
        T::recur(self, gate, r, false)
    }

    /// Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000) over sums
    /// `[steps, batch, 4 * hidden]` that the inputs brought, in PyTorch's order of gates i, f, g, o:
    /// c = σ(f) c' + σ(i) tanh(g), y = σ(o) tanh(c), projected if there is a projection. Returns all y,
    /// `[steps, batch, state]`.
    ///
    /// # Panics
    /// When the shapes do not fit, or there is a hidden bias.
    #[track_caller]
    pub fn lstm(self, r: &Recurrence<'t, T>) -> Self {
        T::recur(self, Gate::Lstm, r, false)
    }

    /// As [`Var::lstm`], and returns the cell after the last step, `[batch, hidden]`, as well.
    ///
    /// # Panics
    /// As [`Var::lstm`].
    #[track_caller]
    pub fn lstm_with_cell(self, r: &Recurrence<'t, T>) -> (Self, Self) {
        let both = T::recur(self, Gate::Lstm, r, true);
        let (x, out) = (self.shape(), r.weight.size(1));
        let n = x[0] * x[1] * out;
        let y = both.narrow(0, 0, n).reshape([x[0], x[1], out]);
        let cell = both.narrow(0, n, both.numel());
        (y, cell.reshape([x[1], x[2] / 4]))
    }

    /// Gated recurrent unit (Cho et al. 2014, with r applied after the product as in PyTorch) over sums
    /// `[steps, batch, 3 * hidden]` that the inputs brought, in PyTorch's order r, z, n:
    /// y = (1 - z) n + z y', n = tanh(sₙ + r ⊙ (y' Uₙᵀ + bₙ)). Returns all y, `[steps, batch, hidden]`.
    ///
    /// # Panics
    /// When the shapes do not fit, or there is a cell or a projection.
    #[track_caller]
    pub fn gru(self, r: &Recurrence<'t, T>) -> Self {
        T::recur(self, Gate::Gru, r, false)
    }
}
