//! Hooks on gradients.

use crate::float::Float;
use crate::var::Var;
use crate::vmap::vmap;
use std::rc::Rc;

type Hook<T> = Box<dyn for<'t> Fn(Var<'t, T>) -> Var<'t, T>>;

/// Hooks by node; they live for one step.
pub(crate) struct Hooks<T: Float>(Vec<(u32, Rc<Hook<T>>)>);

impl<T: Float> Default for Hooks<T> {
    fn default() -> Self {
        Hooks(Vec::new())
    }
}

impl<T: Float> Hooks<T> {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, id: u32) -> Vec<Rc<Hook<T>>> {
        self.0
            .iter()
            .filter(|h| h.0 == id)
            .map(|h| h.1.clone())
            .collect()
    }

    /// Hooks on a value of one example see the gradient of each example, also where that of the batch is taken.
    pub fn batch(&mut self, one: u32, batched: u32) {
        for hook in self.of(one) {
            let each: Hook<T> = Box::new(move |g| vmap(|[g]| hook(g), [g]));
            self.0.push((batched, Rc::new(each)));
        }
    }
}

impl<T: Float> Var<'_, T> {
    /// Passes the gradient with respect to this value through `hook` before it flows on; for this step.
    ///
    /// The hook records on the tape, so the result can be differentiated again. Inside of [`vmap`](crate::vmap) it sees the gradient of
    /// one example.
    /// ```
    /// use wengert_autograd::{Tape, Tensor, grad};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::scalar(3.0));
    /// let y = x * 2.0;
    /// y.hook(|g| g * 10.0);
    /// assert_eq!(grad(y * y, [x])[0].item(), 240.0);
    /// ```
    pub fn hook(self, hook: impl for<'a> Fn(Var<'a, T>) -> Var<'a, T> + 'static) {
        let mut g = self.tape().graph.borrow_mut();
        g.hooks.0.push((self.id, Rc::new(Box::new(hook))));
    }
}
