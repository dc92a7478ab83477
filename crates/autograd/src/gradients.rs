//! What a backward pass returns.

use crate::float::Float;
use crate::op::NodeOp;
use crate::param::{BufferId, Param, ParamId};
use crate::pool::{Back, Lists};
use crate::var::Var;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wengert_tensor::{Real, Tensor};

/// Gradients by parameter, the value of the loss, and the side outputs of the forward pass.
///
/// Entries stand in the order in which the parameters entered the tape, so every walk over them is deterministic.
///
/// A gradient that the tape made carries a note if it is known to be finite ([`Gradients::known_finite`]), which the tape
/// finds out almost for free while the gradient is made; an optimizer that had to look leaves a note, too. Writable access
/// to the gradient drops the note; [`Gradients::change`] renews it.
pub struct Gradients<T: Real = f32> {
    loss: T,
    entries: Vec<(ParamId, Tensor<T>)>,
    /// By entry, whether all its elements are known to be finite; entries beyond the end are not.
    finite: Vec<bool>,
    /// Whether somebody looked at all entries since and found them finite.
    looked: AtomicBool,
    side: Vec<(BufferId, Tensor<T>)>,
    /// Where the memory goes back to.
    back: Option<Arc<Back<T>>>,
}

impl<T: Real> Drop for Gradients<T> {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            back.leave((
                std::mem::take(&mut self.entries),
                std::mem::take(&mut self.side),
                std::mem::take(&mut self.finite),
            ));
        }
    }
}

#[inline]
fn find<K: PartialEq, V>(entries: &[(K, V)], key: K, near: usize) -> Option<usize> {
    if entries.get(near).is_some_and(|e| e.0 == key) {
        return Some(near);
    }
    let near = near.min(entries.len());
    let (before, after) = entries.split_at(near);
    after
        .iter()
        .position(|e| e.0 == key)
        .map(|i| near + i)
        .or_else(|| before.iter().position(|e| e.0 == key))
}

impl<T: Real> Gradients<T> {
    /// Gradients from their parts; the tape makes them, tests and other sources of gradients may too.
    pub fn from_parts(
        loss: T,
        entries: Vec<(ParamId, Tensor<T>)>,
        side: Vec<(BufferId, Tensor<T>)>,
    ) -> Self {
        Gradients {
            loss,
            entries,
            finite: Vec::new(),
            looked: AtomicBool::new(false),
            side,
            back: None,
        }
    }

    /// Gradients whose memory goes back to a tape's pool when they are dropped, with a note for each.
    pub(crate) fn pooled(loss: T, (entries, side, finite): Lists<T>, back: Arc<Back<T>>) -> Self {
        Gradients {
            loss,
            entries,
            finite,
            looked: AtomicBool::new(false),
            side,
            back: Some(back),
        }
    }

    /// Value of the loss.
    pub fn loss(&self) -> T {
        self.loss
    }

    /// Gradient of a parameter, or `None` if it had no part in the loss.
    pub fn get(&self, param: &Param<T>) -> Option<&Tensor<T>> {
        self.by_id(param.id())
    }

    /// As [`Gradients::get`], by identity.
    pub fn by_id(&self, id: ParamId) -> Option<&Tensor<T>> {
        self.entries.iter().find(|e| e.0 == id).map(|e| &e.1)
    }

    /// Gradient of a parameter, by its handle on the tape; `None` for every other value, see [`Var::keep`].
    pub fn by_var(&self, var: Var<'_, T>) -> Option<&Tensor<T>>
    where
        T: Float,
    {
        match var.tape().graph.borrow().nodes[var.id as usize].op {
            NodeOp::Param(id) => self.by_id(id),
            _ => None,
        }
    }

    /// As [`Gradients::by_id`], writable.
    pub fn by_id_mut(&mut self, id: ParamId) -> Option<&mut Tensor<T>> {
        let (gradient, finite) = self.entry_mut(id, 0)?;
        *finite = false;
        Some(gradient)
    }

    /// A gradient, looked for first at position `near`, with its note.
    pub(crate) fn entry_mut(
        &mut self,
        id: ParamId,
        near: usize,
    ) -> Option<(&mut Tensor<T>, &mut bool)> {
        let at = find(&self.entries, id, near)?;
        self.settle();
        Some((&mut self.entries[at].1, &mut self.finite[at]))
    }

    /// Whether every element of the gradient at a position (see [`Gradients::entries`]) is known to be finite. `false` says
    /// that nobody has looked, or that one is not.
    pub fn known_finite(&self, at: usize) -> bool {
        self.looked.load(Ordering::Relaxed) || self.finite.get(at).is_some_and(|&f| f)
    }

    /// Leaves the note that all gradients are finite, for whoever found that out by reading them; a promise as that of
    /// [`Gradients::change`].
    #[doc(hidden)]
    pub fn note_finite(&self) {
        self.looked.store(true, Ordering::Relaxed);
    }

    /// A note for every entry, before one of them changes.
    fn settle(&mut self) {
        let all = std::mem::take(self.looked.get_mut());
        if all {
            self.finite.clear();
        }
        self.finite.resize(self.entries.len(), all);
    }

    /// As [`Gradients::by_id`], looking first at position `near` and onwards from there; returns the position found.
    ///
    /// The order of entries seldom changes from step to step, so a caller that remembers positions finds each
    /// gradient at once.
    #[inline]
    pub fn find_near(&self, id: ParamId, near: usize) -> Option<(usize, &Tensor<T>)> {
        let at = find(&self.entries, id, near)?;
        Some((at, &self.entries[at].1))
    }

    /// As [`Gradients::side_output`], looking first at position `near`; returns the position found.
    #[inline]
    pub fn find_side_near(&self, id: BufferId, near: usize) -> Option<(usize, &Tensor<T>)> {
        let at = find(&self.side, id, near)?;
        Some((at, &self.side[at].1))
    }

    /// All gradients in tape order.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &Tensor<T>)> {
        self.entries.iter().map(|(id, g)| (*id, g))
    }

    /// All gradients in tape order, writable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ParamId, &mut Tensor<T>)> {
        self.settle();
        self.finite.clear();
        self.iter_shrinking()
    }

    /// As [`Gradients::iter_mut`], for changes that keep finite elements finite, such as scaling by at most 1: the notes
    /// stay. After another change an optimizer may take an infinity for a number.
    pub fn iter_shrinking(&mut self) -> impl Iterator<Item = (ParamId, &mut Tensor<T>)> {
        self.entries.iter_mut().map(|(id, g)| (*id, g))
    }

    /// Changes all gradients in tape order: `f` gets each one and whether it is known to be finite, and returns whether it
    /// is so now. A pass that looks at what it writes spares the optimizer a pass.
    ///
    /// What `f` returns is a promise: after a wrong one an optimizer may take an infinity for a number.
    ///
    /// ```
    /// use wengert_autograd::{Gradients, Param};
    /// use wengert_tensor::Tensor;
    /// let p = Param::new(Tensor::<f32>::zeros([2]));
    /// let mut grads = Gradients::<f32>::from_parts(
    ///     0.0,
    ///     vec![(p.id(), Tensor::from_vec(vec![3.0, 4.0], [2]))],
    ///     vec![],
    /// );
    /// assert!(!grads.known_finite(0));
    /// grads.change(|_, g, _| {
    ///     let mut finite = true;
    ///     for x in g.as_mut_slice() {
    ///         *x *= 1e30;
    ///         finite &= x.is_finite();
    ///     }
    ///     finite
    /// });
    /// assert!(grads.known_finite(0));
    /// ```
    pub fn change(&mut self, mut f: impl FnMut(ParamId, &mut Tensor<T>, bool) -> bool) {
        self.settle();
        for ((id, g), finite) in self.entries.iter_mut().zip(&mut self.finite) {
            let known = std::mem::replace(finite, false);
            *finite = f(*id, g, known);
        }
    }

    /// All side outputs, writable.
    pub fn side_outputs_mut(&mut self) -> impl Iterator<Item = (BufferId, &mut Tensor<T>)> {
        self.side.iter_mut().map(|(id, v)| (*id, v))
    }

    /// The parts again: loss, gradients, side outputs.
    pub fn into_parts(mut self) -> (T, Vec<(ParamId, Tensor<T>)>, Vec<(BufferId, Tensor<T>)>) {
        (
            self.loss,
            std::mem::take(&mut self.entries),
            std::mem::take(&mut self.side),
        )
    }

    /// Appends gradients of parameters that have none yet, each with whether it is known to be finite.
    pub(crate) fn extend(&mut self, new: Vec<(ParamId, Tensor<T>, bool)>) {
        self.settle();
        for (id, g, finite) in new {
            self.entries.push((id, g));
            self.finite.push(finite);
        }
    }

    /// All gradients in tape order, as a slice.
    pub fn entries(&self) -> &[(ParamId, Tensor<T>)] {
        &self.entries
    }

    /// Number of parameters that have a gradient.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// New value of a buffer, such as the running mean of a batch norm.
    pub fn side_output(&self, id: BufferId) -> Option<&Tensor<T>> {
        self.side.iter().find(|e| e.0 == id).map(|e| &e.1)
    }

    /// All side outputs.
    pub fn side_outputs(&self) -> impl Iterator<Item = (BufferId, &Tensor<T>)> {
        self.side.iter().map(|(id, v)| (*id, v))
    }
}
