//! The layers.

mod activation;
mod dropout;
mod linear;
mod sequential;
mod shape;

pub use activation::{Activation, Prelu};
pub use dropout::Dropout;
pub use linear::{Linear, LinearBuilder};
pub use sequential::{Blueprint, Sequential, SequentialBuilder};
pub use shape::Flatten;

use wengert_autograd::{Error, Result};

/// A refusal of a layer's settings.
pub(crate) fn refuse<T>(op: &'static str, message: String) -> Result<T> {
    Err(Error::Value { op, message })
}

/// Checks a size that must not be 0.
pub(crate) fn positive(op: &'static str, what: &str, n: usize) -> Result<()> {
    if n == 0 {
        return refuse(op, format!("expected {what} of at least 1, found 0"));
    }
    Ok(())
}

/// Checks a probability.
pub(crate) fn probability(op: &'static str, p: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&p) {
        return refuse(op, format!("expected a probability in [0, 1], found {p}"));
    }
    Ok(())
}

/// Implements `Module` for a layer that owns no parameters: a visit enters and leaves it.
macro_rules! no_parameters {
    ($($t:ty),+ $(,)?) => {$(
        impl<T: wengert_autograd::Real> wengert_autograd::Module<T> for $t {
            fn visit(&self, path: &mut wengert_autograd::Path, visitor: &mut dyn wengert_autograd::Visitor<T>) {
                visitor.enter(path.as_str(), wengert_autograd::Module::<T>::kind(self));
                visitor.leave(path.as_str());
            }
            fn visit_mut(&mut self, _: &mut wengert_autograd::Path, _: &mut dyn wengert_autograd::VisitorMut<T>) {}
        }
    )+};
}
pub(crate) use no_parameters;
