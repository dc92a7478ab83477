//! From a batch to a loss: what one forward pass of a run records.

use wengert_autograd::{Float, Tape, Tensor, Var};
use wengert_nn::Forward;
use wengert_nn::loss::Loss;

/// What a forward pass gave.
pub struct Recorded<'t, T: Float = f32> {
    /// The loss, of one element.
    pub loss: Var<'t, T>,
    /// What metrics compare with the target, usually the model's scores.
    pub output: Option<Var<'t, T>>,
}

/// Records the loss of a batch.
///
/// One code path serves training and evaluation: the tape knows which it is (`tape.is_training()`). Implemented by
/// [`Supervised`] for a loss object, by [`FromFn`] and [`FromFnScored`] for closures, and by types of your own.
pub trait Objective<M, B, T: Float = f32> {
    /// Records model and loss on the tape.
    fn record<'t>(&self, model: &M, tape: &'t Tape<T>, batch: &B) -> Recorded<'t, T>;
}

/// Batches `(input, target)`: the model's output for the input, judged by a loss object.
#[derive(Clone, Debug)]
pub struct Supervised<L>(
    /// The loss.
    pub L,
);

impl<M, L, Y, T> Objective<M, (Tensor<T>, Y), T> for Supervised<L>
where
    T: Float,
    M: Forward<T>,
    L: Loss<T, Y>,
{
    fn record<'t>(&self, model: &M, tape: &'t Tape<T>, batch: &(Tensor<T>, Y)) -> Recorded<'t, T> {
        let output = model.forward(tape.input(&batch.0));
        Recorded {
            loss: self.0.loss(output, &batch.1),
            output: Some(output),
        }
    }
}

/// A closure that records the loss.
pub struct FromFn<F>(
    /// The closure.
    pub F,
);

impl<M, B, T, F> Objective<M, B, T> for FromFn<F>
where
    T: Float,
    F: for<'t> Fn(&M, &'t Tape<T>, &B) -> Var<'t, T>,
{
    fn record<'t>(&self, model: &M, tape: &'t Tape<T>, batch: &B) -> Recorded<'t, T> {
        Recorded {
            loss: (self.0)(model, tape, batch),
            output: None,
        }
    }
}

/// A closure that records the loss and the output that metrics judge.
pub struct FromFnScored<F>(
    /// The closure.
    pub F,
);

impl<M, B, T, F> Objective<M, B, T> for FromFnScored<F>
where
    T: Float,
    F: for<'t> Fn(&M, &'t Tape<T>, &B) -> (Var<'t, T>, Var<'t, T>),
{
    fn record<'t>(&self, model: &M, tape: &'t Tape<T>, batch: &B) -> Recorded<'t, T> {
        let (loss, output) = (self.0)(model, tape, batch);
        Recorded {
            loss,
            output: Some(output),
        }
    }
}
