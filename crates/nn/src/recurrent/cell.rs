//! One step of a recurrent layer, for loops written by hand.

use super::stack::{Kind, Plan, RecurrentWeights};
use super::{Gru, GruBuilder, Lstm, LstmBuilder, RecurrentState, Rnn, RnnBuilder};
use rand::Rng;
use wengert_autograd::{Float, Param, Result, Var};
use wengert_derive::Module;
use wengert_tensor::error::OrPanic;

macro_rules! cell {
    ($(#[$doc:meta])* $name:ident, $layer:ident, $builder:ident) => {
        $(#[$doc])*
        #[derive(Clone, Module)]
        #[module(crate = wengert_autograd)]
        pub struct $name<T: Float = f32> {
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
            #[module(skip)]
            plan: Plan,
        }

        impl<T: Float> $name<T> {
            /// A cell with biases.
            ///
            /// # Panics
            /// When a size is 0.
            #[track_caller]
            pub fn new(inputs: usize, hidden: usize, rng: &mut (impl Rng + ?Sized)) -> Self {
                Self::builder(inputs, hidden).try_build_cell(rng).or_panic()
            }

            #[doc = concat!("A cell with the settings of a [`", stringify!($layer), "`]; finish with `try_build_cell`.")]
            pub fn builder(inputs: usize, hidden: usize) -> $builder<T> {
                $layer::builder(inputs, hidden)
            }

            pub(super) fn from_plan(plan: Plan, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
                plan.check()?;
                let w = plan.weights(plan.inputs, rng)?;
                Ok($name {
                    weight_ih: w.weight_ih,
                    weight_hh: w.weight_hh,
                    bias_ih: w.bias_ih,
                    bias_hh: w.bias_hh,
                    weight_hr: w.weight_hr,
                    plan,
                })
            }

            /// The state after one step of `x`, `[batch, inputs]`, from a state or from zeros. The output is its `hidden`.
            ///
            /// # Panics
            /// When the input or the state does not fit.
            #[track_caller]
            pub fn step<'t>(
                &self,
                x: Var<'t, T>,
                before: Option<RecurrentState<'t, T>>,
            ) -> RecurrentState<'t, T> {
                let op = self.plan.kind.name();
                let lstm = self.plan.kind == Kind::Lstm;
                assert!(
                    x.rank() == 2 && x.size(1) == self.plan.inputs,
                    "{op}: expected an input [batch, {}], found {:?}",
                    self.plan.inputs,
                    x.shape().as_slice()
                );
                if let Some(s) = &before {
                    assert!(
                        s.cell.is_some() == lstm,
                        "{op}: a state with a cell belongs to an lstm, and only to that"
                    );
                }
                let (y, cell) = RecurrentWeights::step(
                    self.plan.kind,
                    x,
                    before,
                    [
                        Some(&self.weight_ih),
                        Some(&self.weight_hh),
                        self.bias_ih.as_ref(),
                        self.bias_hh.as_ref(),
                        self.weight_hr.as_ref(),
                    ],
                );
                RecurrentState { hidden: y, cell }
            }
        }
    };
}

cell! {
    /// One step of a [`Rnn`].
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_autograd::{Tape, Tensor};
    /// use wengert_nn::RnnCell;
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let cell: RnnCell = RnnCell::new(3, 5, &mut rng);
    /// let tape = Tape::inference();
    /// let x = tape.input(&Tensor::ones([2, 3]));
    /// let mut state = None;
    /// for _ in 0..4 {
    ///     state = Some(cell.step(x, state));
    /// }
    /// assert_eq!(state.unwrap().hidden.shape().as_slice(), [2, 5]);
    /// ```
    RnnCell, Rnn, RnnBuilder
}
cell! {
    /// One step of an [`Lstm`]; the state has a cell.
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_autograd::Tape;
    /// use wengert_nn::LstmCell;
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let cell: LstmCell = LstmCell::new(3, 5, &mut rng);
    /// let tape = Tape::inference();
    /// let mut state = None;
    /// for _ in 0..4 {
    ///     state = Some(cell.step(tape.ones([2, 3]), state));
    /// }
    /// assert_eq!(state.unwrap().cell.unwrap().shape().as_slice(), [2, 5]);
    /// ```
    LstmCell, Lstm, LstmBuilder
}
cell! {
    /// One step of a [`Gru`].
    ///
    /// ```
    /// use rand::SeedableRng;
    /// use rand::rngs::Xoshiro256PlusPlus;
    /// use wengert_autograd::Tape;
    /// use wengert_nn::GruCell;
    /// let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    /// let cell: GruCell = GruCell::new(3, 5, &mut rng);
    /// let tape = Tape::inference();
    /// let mut state = None;
    /// for _ in 0..4 {
    ///     state = Some(cell.step(tape.ones([2, 3]), state));
    /// }
    /// assert_eq!(state.unwrap().hidden.shape().as_slice(), [2, 5]);
    /// ```
    GruCell, Gru, GruBuilder
}
