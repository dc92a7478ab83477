//! Recurrent layers: plain, LSTM, GRU; sequences and cells.
//!
//! Sequences are `[steps, batch, features]` as PyTorch's default, or `[batch, steps, features]` with `batch_first`. Parameters
//! have PyTorch's names, layouts and order of gates, so its state dicts load as they are.
//!
//! # Truncated backpropagation through time
//! The state at the end of a window is carried into the next as a constant: values flow on, gradients stop. Between steps of the
//! optimizer a [`Memory`] holds it; within one recording [`RecurrentState::detach`] cuts, and `run_windows` does both.
//!
//! ```
//! use rand::SeedableRng;
//! use rand::rngs::Xoshiro256PlusPlus;
//! use wengert_autograd::{Tape, Tensor};
//! use wengert_nn::{Lstm, Memory};
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let lstm: Lstm = Lstm::new(3, 8, &mut rng);
//! let long = Tensor::<f32>::ones([40, 2, 3]); // steps, batch, features
//! let mut memory: Option<Memory> = None;
//! let mut tape = Tape::training(0);
//! for window in 0..4 {
//!     tape.reset();
//!     let x = tape.input(&long.narrow(0, 10 * window, 10 * (window + 1)));
//!     let start = memory.as_ref().map(|m| m.on(&tape)); // constants: the gradient ends here
//!     let (y, end) = lstm.run(x, start);
//!     let end = end.keep();
//!     let grads = y.square().mean().backward(); // then clip, and step the optimizer
//!     memory = Some(end.values());
//!     assert_eq!(grads.len(), 4);
//! }
//! ```

mod cell;
mod layer;
mod stack;

pub use cell::{GruCell, LstmCell, RnnCell};
pub use layer::{Gru, GruBuilder, Lstm, LstmBuilder, Rnn, RnnBuilder};
pub use stack::RecurrentWeights;

use wengert_autograd::{Float, Tape, Tensor, Var};

/// The state of a recurrent layer on the tape: what [`Lstm::run`] and its kin take and return.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentState<'t, T: Float = f32> {
    /// `[layers * directions, batch, state]`; for a cell `[batch, state]`.
    pub hidden: Var<'t, T>,
    /// LSTM: `[layers * directions, batch, hidden]`; for a cell `[batch, hidden]`.
    pub cell: Option<Var<'t, T>>,
}

impl<'t, T: Float> RecurrentState<'t, T> {
    /// The state of a plain layer or a GRU.
    pub fn new(hidden: Var<'t, T>) -> Self {
        RecurrentState { hidden, cell: None }
    }

    /// The state of an LSTM.
    pub fn with_cell(hidden: Var<'t, T>, cell: Var<'t, T>) -> Self {
        RecurrentState {
            hidden,
            cell: Some(cell),
        }
    }

    /// The same values; no gradient flows back through them.
    #[must_use]
    #[track_caller]
    pub fn detach(self) -> Self {
        let mut cut = self;
        cut.hidden = cut.hidden.detach();
        if let Some(c) = &mut cut.cell {
            *c = c.detach();
        }
        cut
    }

    /// The state of the layer at place `at`.
    #[track_caller]
    fn select(mut self, at: usize) -> Self {
        self.hidden = self.hidden.select(0, at);
        if let Some(c) = &mut self.cell {
            *c = c.select(0, at);
        }
        self
    }

    /// Marks the values to survive `backward()`.
    #[must_use]
    pub fn keep(self) -> Self {
        RecurrentState {
            hidden: self.hidden.keep(),
            cell: self.cell.map(Var::keep),
        }
    }

    /// The values, to be carried beyond this recording.
    ///
    /// # Panics
    /// After `backward()`, unless the state was marked with [`RecurrentState::keep`].
    #[track_caller]
    pub fn values(&self) -> Memory<T> {
        Memory {
            hidden: self.hidden.value().copy(),
            cell: self.cell.map(|c| c.value().copy()),
        }
    }
}

/// The values of a state between recordings.
#[derive(Clone)]
pub struct Memory<T: Float = f32> {
    /// As in [`RecurrentState`].
    pub hidden: Tensor<T>,
    /// As in [`RecurrentState`].
    pub cell: Option<Tensor<T>>,
}

impl<T: Float> Memory<T> {
    /// The values as constants of a tape.
    #[track_caller]
    pub fn on<'t>(&self, tape: &'t Tape<T>) -> RecurrentState<'t, T> {
        RecurrentState {
            hidden: tape.input(&self.hidden),
            cell: self.cell.as_ref().map(|c| tape.input(c)),
        }
    }
}
