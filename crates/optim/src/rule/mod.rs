//! What an update rule is.
//!
//! A [`Rule`] is a value that holds hyperparameters and knows three things: which state tensors (*slots*) and numbers
//! (*scalars*) it keeps per parameter, how to turn hyperparameters and step count into the few coefficients of one
//! step ([`Rule::plan`]), and how to pass once over parameter, gradient and slots ([`Rule::pass_f32`],
//! [`Rule::pass_f64`]). It owns no state; the [`Optimizer`](crate::Optimizer) does, walks the model, cuts large tensors
//! into chunks for the threads, and saves.

mod macros;
mod range;
mod sweep;

pub(crate) use macros::{betas, optimizer, precisions, whole_precisions};
pub use range::Range;
pub use sweep::{Measure, Update};

use crate::error::Result;
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;
use wengert_tensor::lane::Lane;
use wengert_tensor::{Dims, Real, Storage};

/// Most slots that an elementwise rule can have.
pub const MAX_SLOTS: usize = 4;

/// The coefficients of one step, made by [`Rule::plan`] and read by the passes.
pub type Coefs = [f64; 12];

/// Sums that a pass gathers over a tensor, for the rules that need norms.
pub type Sums = [f64; 4];

/// Name and legal values of a hyperparameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// The name by which groups and schedules speak of it; `lr` is the learning rate in every rule.
    pub name: &'static str,
    /// The legal values.
    pub range: Range,
}

/// What a slot holds before the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Value(f64),
    /// The parameter's values at that moment.
    Parameter,
}

/// A state tensor that a rule keeps for each parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Name in saved states.
    pub name: &'static str,
    /// Its shape, if it is not that of the parameter.
    pub shape: Option<Dims>,
    /// What it holds at first.
    pub init: Init,
}

impl Slot {
    /// A slot of zeros in the parameter's shape.
    pub const fn zeros(name: &'static str) -> Slot {
        Slot {
            name,
            shape: None,
            init: Init::Value(0.0),
        }
    }

    /// A slot in the parameter's shape.
    pub const fn new(name: &'static str, init: Init) -> Slot {
        Slot {
            name,
            shape: None,
            init,
        }
    }

    /// A slot of its own shape.
    pub fn shaped(name: &'static str, shape: &[usize], value: f64) -> Slot {
        Slot {
            name,
            shape: Some(SmallVec::from_slice(shape)),
            init: Init::Value(value),
        }
    }
}

/// The slots of a parameter.
pub type Slots = SmallVec<[Slot; 4]>;

/// A number kept per parameter or per optimizer: name in saved states and first value.
pub type Scalar = (&'static str, f64);

/// How much a rule must see before it can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each element stands alone; one pass.
    Element,
    /// Some passes over a tensor, with sums over it in between (layer-wise norms).
    Tensor,
    /// Some passes over the model, with sums over all of it in between.
    Model,
    /// The rule works on the whole tensor at once (matrix methods): [`Rule::whole_f32`], [`Rule::whole_f64`].
    Whole,
}

/// What [`Rule::plan`] may look at.
pub struct Plan<'a> {
    /// The pass that is about to run, from 0.
    pub pass: usize,
    /// Number of updates of this parameter, this one included: 1 at first.
    pub t: u64,
    /// Shape of the parameter.
    pub shape: &'a [usize],
    /// Numbers kept for this parameter, in the order of [`Rule::scalars`].
    pub scalars: &'a mut [f64],
    /// Numbers kept for the optimizer, in the order of [`Rule::globals`].
    pub globals: &'a [f64],
    /// Sums of the previous pass over this parameter; zeros before the first.
    pub sums: &'a Sums,
}

/// One pass over a chunk of a parameter.
pub struct Pass<'a, T: Real> {
    /// Which pass, from 0.
    pub pass: usize,
    /// What [`Rule::plan`] returned.
    pub coefs: &'a Coefs,
    /// The parameter, updated in place.
    pub param: &'a mut [T],
    /// The gradient, to be multiplied by `scale`.
    pub grad: &'a [T],
    /// Factor on the gradient, from clipping; [`Pass::sweep`] and [`Pass::gather`] apply it, a pass written by hand must.
    pub scale: f64,
    /// The slots, updated in place; empty slices beyond those of [`Rule::slots`].
    pub slots: [&'a mut [T]; MAX_SLOTS],
}

/// A whole parameter, for rules of [`Scope::Whole`].
pub struct Whole<'a, T: Real> {
    /// What [`Rule::plan`] returned.
    pub coefs: &'a Coefs,
    /// Number of updates of this parameter, this one included.
    pub t: u64,
    /// Shape of the parameter.
    pub shape: &'a [usize],
    /// The parameter in row-major order.
    pub param: &'a mut [T],
    /// The gradient in row-major order.
    pub grad: &'a [T],
    /// The slots.
    pub slots: &'a mut [SlotData<T>],
    /// Numbers kept for this parameter.
    pub scalars: &'a mut [f64],
    /// Working memory, kept from call to call; holds anything.
    pub scratch: &'a mut Vec<T>,
}

/// The values of a slot.
pub struct SlotData<T: Real> {
    /// Name in saved states.
    pub name: &'static str,
    /// Shape.
    pub shape: Dims,
    /// Values in row-major order.
    pub data: Storage<T>,
}

/// Name and hyperparameters of a rule.
pub trait Hyperparameters: Any + Send + Sync + Debug {
    /// Name in saved states and messages.
    fn name(&self) -> &'static str;
    /// Names and ranges of the hyperparameters.
    fn hypers(&self) -> &'static [Hyper];
    /// Value of hyperparameter `i`.
    fn get(&self, i: usize) -> f64;
    /// Sets hyperparameter `i`, which was checked against its range.
    fn put(&mut self, i: usize, value: f64);
}

/// An update rule; see the [module](self) page.
///
/// Implement it to bring a rule of your own: [`Optimizer::with_rule`](crate::Optimizer::with_rule) makes an optimizer
/// with groups, schedules, saving and threads of it.
///
/// ```
/// use wengert_optim::rule::*;
/// use wengert_tensor::{Real, lane::Lane};
///
/// /// p ← p - lr · sign(g) · √|g|
/// #[derive(Debug, Clone)]
/// struct RootDescent {
///     lr: f64,
/// }
///
/// #[derive(Clone, Copy)]
/// struct Step(f64);
///
/// impl Update<0> for Step {
///     #[inline(always)]
///     fn step<L: Lane>(&self, p: L, g: L, s: [L; 0]) -> (L, [L; 0]) {
///         (p - L::c(self.0) * g.abs().sqrt().copysign(g), s)
///     }
/// }
///
/// impl Hyperparameters for RootDescent {
///     fn name(&self) -> &'static str {
///         "root_descent"
///     }
///     fn hypers(&self) -> &'static [Hyper] {
///         &[Hyper { name: "lr", range: Range::NON_NEGATIVE }]
///     }
///     fn get(&self, _: usize) -> f64 {
///         self.lr
///     }
///     fn put(&mut self, _: usize, value: f64) {
///         self.lr = value;
///     }
/// }
///
/// impl Rule for RootDescent {
///     fn boxed(&self) -> Box<dyn Rule> {
///         Box::new(self.clone())
///     }
///     fn slots(&self, _shape: &[usize]) -> Slots {
///         Slots::new()
///     }
///     fn plan(&self, _: Plan<'_>) -> Coefs {
///         let mut c = Coefs::default();
///         c[0] = self.lr;
///         c
///     }
///     fn pass_f32(&self, x: Pass<'_, f32>) -> Sums {
///         let step = Step(x.coefs[0]);
///         x.sweep(step)
///     }
///     fn pass_f64(&self, x: Pass<'_, f64>) -> Sums {
///         let step = Step(x.coefs[0]);
///         x.sweep(step)
///     }
/// }
///
/// let optimizer = wengert_optim::Optimizer::<_, f32>::with_rule(RootDescent { lr: 0.1 });
/// assert_eq!(optimizer.lr(), 0.1);
/// ```
pub trait Rule: Hyperparameters {
    /// Hyperparameter `i` was given something other than the constant 0, so what it stands for is in use.
    fn enabled(&mut self, i: usize) {
        let _ = i;
    }
    /// Whether the hyperparameters go together; asked after every change of configuration.
    ///
    /// # Errors
    /// When they do not.
    fn check(&self) -> Result<()> {
        Ok(())
    }
    /// A copy.
    fn boxed(&self) -> Box<dyn Rule>;
    /// The slots of a parameter of this shape.
    fn slots(&self, shape: &[usize]) -> Slots;
    /// Numbers kept per parameter.
    fn scalars(&self) -> &'static [Scalar] {
        &[]
    }
    /// Numbers kept once per optimizer.
    fn globals(&self) -> &'static [Scalar] {
        &[]
    }
    /// What must be seen before a parameter of this shape can be written. [`Scope::Model`] must hold for all shapes.
    fn scope(&self, shape: &[usize]) -> Scope {
        let _ = shape;
        Scope::Element
    }
    /// Number of passes.
    fn passes(&self) -> usize {
        1
    }
    /// The coefficients of one pass.
    ///
    /// For a rule of one pass that keeps no scalars it must depend on the hyperparameters and `t` alone, because it
    /// is called once for all parameters of a group (but not for those of [`Scope::Whole`]).
    fn plan(&self, x: Plan<'_>) -> Coefs;
    /// For [`Scope::Model`]: called between passes with the sums over the whole model.
    fn reduce(&self, pass: usize, sums: &Sums, globals: &mut [f64]) {
        let _ = (pass, sums, globals);
    }
    /// One pass over a chunk in single precision.
    fn pass_f32(&self, x: Pass<'_, f32>) -> Sums;
    /// One pass over a chunk in double precision.
    fn pass_f64(&self, x: Pass<'_, f64>) -> Sums;
    /// For [`Scope::Whole`]: the update in single precision.
    fn whole_f32(&self, x: Whole<'_, f32>) {
        let _ = x;
        no_whole(self.name());
    }
    /// For [`Scope::Whole`]: the update in double precision.
    fn whole_f64(&self, x: Whole<'_, f64>) {
        let _ = x;
        no_whole(self.name());
    }
}

#[cold]
fn no_whole(name: &str) {
    panic!("the rule `{name}` has a parameter of Scope::Whole but no `whole_f32` and `whole_f64`");
}

/// The first slots as slices, empty beyond the last.
pub(crate) fn slot_slices<T: Real>(slots: &mut [SlotData<T>]) -> [&mut [T]; MAX_SLOTS] {
    let mut it = slots.iter_mut();
    std::array::from_fn(|_| match it.next() {
        Some(s) => s.data.as_mut_slice(),
        None => &mut [],
    })
}

/// Coefficients from the first few.
pub(crate) fn coefs<const N: usize>(c: [f64; N]) -> Coefs {
    let mut out = Coefs::default();
    out[..N].copy_from_slice(&c);
    out
}

/// Slots of zeros in the parameter's shape.
pub(crate) fn zeros(names: &[&'static str]) -> Slots {
    names.iter().map(|n| Slot::zeros(n)).collect()
}

/// sign(x), with sign(0) = 0 and sign(NaN) = NaN.
#[inline(always)]
pub(crate) fn sign<L: Lane>(x: L) -> L {
    let zero = L::c(0.0);
    let unit = L::c(1.0).copysign(x);
    L::select((x > zero) | (x < zero), unit, x)
}
