//! The values of the nodes: most nodes have none most of the time.

use crate::float::Float;
use wengert_tensor::Tensor;

/// Tensors by node. A node without a value takes one small number.
pub(crate) struct Values<T: Float> {
    /// Place in `held` of each node's value, plus one; 0 for none.
    place: Vec<u32>,
    held: Vec<Option<Tensor<T>>>,
    /// The node of each place.
    node: Vec<u32>,
    free: Vec<u32>,
}

impl<T: Float> Values<T> {
    pub fn new() -> Self {
        Values {
            place: Vec::new(),
            held: Vec::new(),
            node: Vec::new(),
            free: Vec::new(),
        }
    }

    #[inline]
    fn at(&self, node: usize) -> Option<usize> {
        (self.place[node] as usize).checked_sub(1)
    }

    /// A further node, without a value.
    pub fn push(&mut self) {
        self.place.push(0);
    }

    /// Forgets the nodes from `len` on.
    pub fn truncate(&mut self, len: usize) {
        for node in len..self.place.len() {
            self.take(node);
        }
        self.place.truncate(len);
    }

    #[inline]
    pub fn get(&self, node: usize) -> Option<&Tensor<T>> {
        self.held[self.at(node)?].as_ref()
    }

    #[inline]
    pub fn has(&self, node: usize) -> bool {
        self.place[node] != 0
    }

    /// Sets the value of a node.
    #[inline]
    pub fn set(&mut self, node: usize, value: Tensor<T>) {
        let at = match self.at(node) {
            Some(at) => at,
            None => self.room(node),
        };
        self.held[at] = Some(value);
    }

    fn room(&mut self, node: usize) -> usize {
        let at = match self.free.pop() {
            Some(at) => at as usize,
            None => {
                self.held.push(None);
                self.node.push(0);
                self.held.len() - 1
            }
        };
        self.place[node] = at as u32 + 1;
        self.node[at] = node as u32;
        at
    }

    #[inline]
    pub fn take(&mut self, node: usize) -> Option<Tensor<T>> {
        let at = self.at(node)?;
        self.place[node] = 0;
        self.free.push(at as u32);
        self.held[at].take()
    }

    /// Sets or takes the value of a node, and returns the one before.
    pub fn replace(&mut self, node: usize, value: Option<Tensor<T>>) -> Option<Tensor<T>> {
        let before = self.take(node);
        if let Some(v) = value {
            self.set(node, v);
        }
        before
    }

    /// Takes the values of the nodes that `which` names.
    pub fn take_where(
        &mut self,
        mut which: impl FnMut(usize) -> bool,
        mut then: impl FnMut(usize, Tensor<T>),
    ) {
        for (at, slot) in self.held.iter_mut().enumerate() {
            let node = self.node[at] as usize;
            if slot.is_some()
                && which(node)
                && let Some(t) = slot.take()
            {
                self.place[node] = 0;
                self.free.push(at as u32);
                then(node, t);
            }
        }
    }
}

/// Integers from outside, by node: few, and recorded in order.
#[derive(Default)]
pub(crate) struct Ints(Vec<(u32, Tensor<i64>)>);

impl Ints {
    #[inline]
    fn at(&self, node: u32) -> usize {
        self.0.partition_point(|i| i.0 < node)
    }

    #[inline]
    pub fn get(&self, node: u32) -> Option<&Tensor<i64>> {
        let (id, t) = self.0.get(self.at(node))?;
        (*id == node).then_some(t)
    }

    /// Sets the value of the newest node.
    pub fn push(&mut self, node: u32, value: Tensor<i64>) {
        debug_assert!(self.0.last().is_none_or(|i| i.0 < node));
        self.0.push((node, value));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets the nodes from `len` on.
    pub fn truncate(&mut self, len: u32) {
        self.0.truncate(self.at(len));
    }
}
