//! The layers over whole sequences.

use super::stack::{Kind, Plan, RecurrentWeights, Stack, stacked};
use super::{RecurrentState, cell};
use crate::forward::Forward;
use crate::init::{Nonlinearity, RecurrentInit};
use rand::Rng;
use std::marker::PhantomData;
use wengert_autograd::{Float, Path, Result, Var, Visitor, VisitorMut};
use wengert_tensor::error::OrPanic;

macro_rules! layer {
    ($(#[$doc:meta])* $name:ident, $builder:ident, $cell:ident, $kind:expr, $init:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<T: Float = f32> {
            stack: Stack<T>,
        }
        stacked!($name);

        impl<T: Float> $name<T> {
            /// One layer in one direction, with biases.
            ///
            /// # Panics
            /// When a size is 0.
            #[track_caller]
            pub fn new(inputs: usize, hidden: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
                Self::builder(inputs, hidden).build(rng)
            }

            /// A layer with settings.
            pub fn builder(inputs: usize, hidden: usize) -> $builder<T> {
                $builder {
                    plan: Plan {
                        kind: $kind,
                        inputs,
                        hidden,
                        layers: 1,
                        both: false,
                        bias: true,
                        dropout: 0.0,
                        projection: None,
                        batch_first: false,
                        init: $init,
                    },
                    float: PhantomData,
                }
            }

            /// Size of the last axis of the input.
            pub fn inputs(&self) -> usize {
                self.stack.plan.inputs
            }

            /// Units of one layer in one direction.
            pub fn hidden(&self) -> usize {
                self.stack.plan.hidden
            }

            /// Size of the last axis of the output: the state's, twice for both directions.
            pub fn outputs(&self) -> usize {
                let plan = &self.stack.plan;
                plan.projection.unwrap_or(plan.hidden) * (1 + usize::from(plan.both))
            }

            /// The parameters layer by layer, forward before backward.
            pub fn weights(&self) -> &[RecurrentWeights<T>] {
                &self.stack.weights
            }

            /// The parameters layer by layer, forward before backward.
            pub fn weights_mut(&mut self) -> &mut [RecurrentWeights<T>] {
                &mut self.stack.weights
            }

            /// Outputs of the last layer at all steps, and the states of all layers after the last step, from a state or
            /// from zeros.
            ///
            /// # Panics
            /// When the input or the state does not fit.
            #[track_caller]
            pub fn run<'t>(
                &self,
                x: Var<'t, T>,
                start: Option<RecurrentState<'t, T>>,
            ) -> (Var<'t, T>, RecurrentState<'t, T>) {
                let (y, end) = self.stack.run(x, start, None, true);
                (y, end.expect("asked for"))
            }

            /// As `run`, for a batch of sequences of different lengths: outputs beyond a sequence's end are 0, its last
            /// state is that of its own last step, and the backward direction begins there (PyTorch's packed
            /// sequences, in any order).
            ///
            /// # Panics
            /// As `run`, and when the lengths are not one for each sequence, from 1 to the number of steps.
            #[track_caller]
            pub fn run_lengths<'t>(
                &self,
                x: Var<'t, T>,
                lengths: &[usize],
                start: Option<RecurrentState<'t, T>>,
            ) -> (Var<'t, T>, RecurrentState<'t, T>) {
                let (y, end) = self.stack.run(x, start, Some(lengths), true);
                (y, end.expect("asked for"))
            }

            /// As `run`, with gradients that go back at most `window` steps: every so many steps the state is detached
            /// (truncated backpropagation through time, Williams & Peng 1990). Values are those of `run`.
            ///
            /// # Panics
            /// As `run`, when the window is 0, and for layers in both directions.
            #[track_caller]
            pub fn run_windows<'t>(
                &self,
                x: Var<'t, T>,
                window: usize,
                start: Option<RecurrentState<'t, T>>,
            ) -> (Var<'t, T>, RecurrentState<'t, T>) {
                self.stack.run_windows(x, window, start)
            }
        }

        /// The outputs of the last layer at all steps, from zero states.
        impl<T: Float> Forward<T> for $name<T> {
            #[track_caller]
            fn forward<'t>(&self, x: Var<'t, T>) -> Var<'t, T> {
                self.stack.run(x, None, None, false).0
            }
        }

        #[doc = concat!("Settings of a [`", stringify!($name), "`] or a [`", stringify!($cell), "`](cell::", stringify!($cell), ").")]
        #[derive(Clone, Copy, Debug)]
        pub struct $builder<T: Float = f32> {
            pub(super) plan: Plan,
            float: PhantomData<T>,
        }

        impl<T: Float> $builder<T> {
            /// Layers above each other (default: 1).
            #[must_use]
            pub fn layers(mut self, layers: usize) -> Self {
                self.plan.layers = layers;
                self
            }

            /// Whether a second set of weights runs backward through time; outputs stand side by side (default: no).
            #[must_use]
            pub fn bidirectional(mut self, both: bool) -> Self {
                self.plan.both = both;
                self
            }

            /// Whether there are biases (default: yes).
            #[must_use]
            pub fn bias(mut self, bias: bool) -> Self {
                self.plan.bias = bias;
                self
            }

            /// Probability with which outputs of every layer but the last are dropped in training (default: 0).
            #[must_use]
            pub fn dropout(mut self, p: f64) -> Self {
                self.plan.dropout = p;
                self
            }

            /// Whether sequences are `[batch, steps, features]` (default: no, `[steps, batch, features]`). States
            /// are `[layers * directions, batch, ..]` in both cases.
            #[must_use]
            pub fn batch_first(mut self, batch_first: bool) -> Self {
                self.plan.batch_first = batch_first;
                self
            }

            /// The initializers.
            #[must_use]
            pub fn init(mut self, init: RecurrentInit) -> Self {
                self.plan.init = init;
                self
            }

            /// Draws the weights.
            ///
            /// # Errors
            /// When a size is 0, the dropout is no probability, or an initializer refuses.
            pub fn try_build(self, rng: &mut (impl Rng + ?Sized)) -> Result<$name<T>> {
                Ok($name {
                    stack: Stack::try_new(self.plan, rng)?,
                })
            }

            /// Draws the weights.
            ///
            /// # Panics
            /// Where `try_build` errs.
            #[track_caller]
            pub fn build(self, rng: &mut (impl Rng + ?Sized)) -> $name<T> {
                self.try_build(rng).or_panic()
            }

            /// Draws the weights of a cell; layers, directions, dropout and layout do not matter to it.
            ///
            /// # Errors
            /// As `try_build`.
            pub fn try_build_cell(self, rng: &mut (impl Rng + ?Sized)) -> Result<cell::$cell<T>> {
                cell::$cell::from_plan(self.plan, rng)
            }
        }
    };
}

layer! {
    /// Plain recurrent layer (Elman 1990): hₜ = f(W xₜ + b + U hₜ₋₁ + b'), f = tanh or ReLU.
    ///
    /// | | shape |
    /// |---|---|
    /// | input | `[steps, batch, inputs]`, or `[batch, steps, inputs]` with `batch_first` |
    /// | output | `[steps, batch, directions * hidden]`, likewise |
    /// | state | `[layers * directions, batch, hidden]` |
    /// | `weight_ih_l{k}` W, `weight_hh_l{k}` U | `[hidden, ..]`, with `_reverse` for the backward direction |
    /// | `bias_ih_l{k}`, `bias_hh_l{k}` | `[hidden]`, or none |
    ///
    /// U starts orthogonal, W by the nonlinearity (Glorot for tanh, He for ReLU), biases at 0. (PyTorch draws all of them from
    /// U(±1/√hidden).) Gradients fall or grow exponentially with the steps; see [`Lstm`] and
    /// [`RecurrentInit::irnn`].
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_autograd::Tensor;
    /// use wengert_nn::{Forward, Rnn};
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let rnn: Rnn = Rnn::builder(3, 5).layers(2).bidirectional(true).build(&mut rng);
    /// assert_eq!(rnn.predict(&Tensor::ones([7, 2, 3])).shape(), [7, 2, 10]);
    /// ```
    ///
    /// # Panics
    /// `forward` panics when the input does not fit.
    Rnn, RnnBuilder, RnnCell, Kind::Tanh, RecurrentInit::rnn(Nonlinearity::Tanh)
}

impl<T: Float> RnnBuilder<T> {
    /// ReLU instead of tanh, with He's weights from the input; call before [`RnnBuilder::init`].
    #[must_use]
    pub fn relu(mut self) -> Self {
        self.plan.kind = Kind::Relu;
        self.plan.init = RecurrentInit::rnn(Nonlinearity::Relu);
        self
    }
}

layer! {
    /// Long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000):
    /// i, f, o = σ(W x + b + U h + b'), g = tanh(..), cₜ = f cₜ₋₁ + i g, hₜ = o tanh(cₜ), projected if there is a projection.
    ///
    /// | | shape |
    /// |---|---|
    /// | input | `[steps, batch, inputs]`, or `[batch, steps, inputs]` with `batch_first` |
    /// | output | `[steps, batch, directions * state]`, likewise; `state` is `hidden` or the projection's size |
    /// | state | hidden `[layers * directions, batch, state]`, cell `[layers * directions, batch, hidden]` |
    /// | `weight_ih_l{k}` W, `weight_hh_l{k}` U | `[4 * hidden, ..]` in the order i, f, g, o; `_reverse` for the backward direction |
    /// | `bias_ih_l{k}`, `bias_hh_l{k}` | `[4 * hidden]`, or none |
    /// | `weight_hr_l{k}` | `[state, hidden]`, with a projection |
    ///
    /// U starts orthogonal gate by gate, W Glorot uniform, the forget gate's bias at 1, the other biases at 0; told how long
    /// dependencies are expected to be ([`LstmBuilder::expecting`]), biases are chrono. (PyTorch draws all of them from
    /// U(±1/√hidden): its gradient falls to 1e-18 and less within 100 steps.)
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::{Forward, Lstm};
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let lstm: Lstm = Lstm::builder(3, 8).expecting(100).batch_first(true).build(&mut rng);
    /// let tape = Tape::inference();
    /// let x = tape.input(&Tensor::ones([2, 100, 3]));
    /// let (y, end) = lstm.run(x, None);
    /// assert_eq!(y.shape().as_slice(), [2, 100, 8]);
    /// assert_eq!(end.cell.unwrap().shape().as_slice(), [1, 2, 8]);
    /// ```
    ///
    /// # Panics
    /// `forward` panics when the input does not fit.
    Lstm, LstmBuilder, LstmCell, Kind::Lstm, RecurrentInit::lstm()
}

impl<T: Float> LstmBuilder<T> {
    /// The state is a linear map of what the cell puts out, of this size (Sak et al. 2014; PyTorch's `proj_size`).
    #[must_use]
    pub fn projection(mut self, size: usize) -> Self {
        self.plan.projection = Some(size);
        self
    }

    /// Gate biases for dependencies of up to `steps` steps (chrono initialization, Tallec & Ollivier 2018).
    #[must_use]
    pub fn expecting(mut self, steps: usize) -> Self {
        self.plan.init = self.plan.init.expecting(steps);
        self
    }
}

layer! {
    /// Gated recurrent unit (Cho et al. 2014), r applied after the product as in PyTorch:
    /// r, z = σ(W x + b + U h + b'), n = tanh(Wₙ x + bₙ + r ⊙ (Uₙ h + b'ₙ)), hₜ = (1 - z) n + z hₜ₋₁.
    ///
    /// | | shape |
    /// |---|---|
    /// | input | `[steps, batch, inputs]`, or `[batch, steps, inputs]` with `batch_first` |
    /// | output | `[steps, batch, directions * hidden]`, likewise |
    /// | state | `[layers * directions, batch, hidden]` |
    /// | `weight_ih_l{k}` W, `weight_hh_l{k}` U | `[3 * hidden, ..]` in the order r, z, n; `_reverse` for the backward direction |
    /// | `bias_ih_l{k}`, `bias_hh_l{k}` | `[3 * hidden]`, or none |
    ///
    /// U starts orthogonal gate by gate, W Glorot uniform, the bias of the gate that keeps (z) at 1, the others at 0; with
    /// [`GruBuilder::expecting`] it is chrono. (PyTorch draws all of them from U(±1/√hidden).)
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::Gru;
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let gru: Gru = Gru::new(3, 4, &mut rng);
    /// let tape = Tape::inference();
    /// let x = tape.input(&Tensor::ones([5, 2, 3]));
    /// let (y, _) = gru.run_lengths(x, &[5, 2], None);
    /// assert_eq!(y.value().get(&[2, 1, 0]), 0.0); // beyond the end of the second sequence
    /// ```
    ///
    /// # Panics
    /// `forward` panics when the input does not fit.
    Gru, GruBuilder, GruCell, Kind::Gru, RecurrentInit::gru()
}

impl<T: Float> GruBuilder<T> {
    /// Gate biases for dependencies of up to `steps` steps (chrono initialization, Tallec & Ollivier 2018).
    #[must_use]
    pub fn expecting(mut self, steps: usize) -> Self {
        self.plan.init = self.plan.init.expecting(steps);
        self
    }
}
