//! Layers that say what they gave, for the summary of a model.

use super::Tape;
use crate::float::Float;
use crate::var::Var;
use wengert_tensor::Dims;

/// What a layer gave in a recording: see [`Tape::passed`].
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// Where the layer stands in memory, as in [`Visitor::enter_at`](crate::Visitor::enter_at).
    pub place: usize,
    /// Its kind.
    pub kind: &'static str,
    /// Shape of its output.
    pub shape: Dims,
}

impl<T: Float> Tape<T> {
    /// Starts a list of the layers that are passed from now on.
    pub fn list_passed(&self) {
        *self.passed.borrow_mut() = Some(Vec::new());
    }

    /// Says that the layer of this kind at this place in memory gave `y`. Layers without parameters say so, for the
    /// summary of a model; it costs nothing unless [`Tape::list_passed`] asked for it.
    pub fn passed(&self, place: usize, kind: &'static str, y: Var<'_, T>) {
        if let Some(list) = &mut *self.passed.borrow_mut() {
            list.push(Passed {
                place,
                kind,
                shape: y.shape(),
            });
        }
    }

    /// Ends the list and gives it out, in the order of the recording.
    pub fn take_passed(&self) -> Vec<Passed> {
        self.passed.take().unwrap_or_default()
    }
}
