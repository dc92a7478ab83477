//! What an update rule is.
//!
//! A [`Rule`] is a value that holds hyperparameters and knows three things: which state tensors (*slots*) and numbers
//! (*scalars*) it keeps per parameter, how to turn hyperparameters and step count into the few coefficients of one
//! step ([`Rule::plan`]), and how to pass once over parameter, gradient and slots ([`Rule::pass_f32`],
//! [`Rule::pass_f64`]). It owns no state; the [`Optimizer`](crate::Optimizer) does, walks the model, cuts large tensors
//! into chunks for the threads, and saves.

use crate::error::{Error, Result};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Baseline, Isa, Kernel, dispatch, dispatch_narrow};
use wengert_tensor::{Dims, Real, Storage};

/// Most slots that an elementwise rule can have.
pub const MAX_SLOTS: usize = 4;

/// The coefficients of one step, made by [`Rule::plan`] and read by the passes.
pub type Coefs = [f64; 12];

/// Sums that a pass gathers over a tensor, for the rules that need norms.
pub type Sums = [f64; 4];

/// The legal values of a hyperparameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lower bound.
    pub low: f64,
    /// Whether the lower bound itself is refused.
    pub low_open: bool,
    /// Upper bound.
    pub high: f64,
    /// Whether the upper bound itself is refused.
    pub high_open: bool,
}

impl Range {
    /// `x >= 0`, finite.
    pub const NON_NEGATIVE: Range = Range::new(0.0, false, f64::INFINITY, true);
    /// `x > 0`, finite.
    pub const POSITIVE: Range = Range::new(0.0, true, f64::INFINITY, true);
    /// `0 <= x < 1`, for decay rates.
    pub const DECAY: Range = Range::new(0.0, false, 1.0, true);
    /// `0 <= x <= 1`.
    pub const UNIT: Range = Range::new(0.0, false, 1.0, false);
    /// Any finite number.
    pub const FINITE: Range = Range::new(f64::NEG_INFINITY, true, f64::INFINITY, true);

    /// A range from its bounds.
    pub const fn new(low: f64, low_open: bool, high: f64, high_open: bool) -> Range {
        Range {
            low,
            low_open,
            high,
            high_open,
        }
    }

    /// Whether `x` is legal; NaN never is.
    pub fn contains(&self, x: f64) -> bool {
        (if self.low_open {
            x > self.low
        } else {
            x >= self.low
        }) && (if self.high_open {
            x < self.high
        } else {
            x <= self.high
        })
    }

    /// `Ok`, or an error that names the owner, the hyperparameter and the range.
    ///
    /// # Errors
    /// When `value` is not legal.
    pub fn check(&self, owner: &'static str, name: &str, value: f64) -> Result<f64> {
        if self.contains(value) {
            return Ok(value);
        }
        let low = match (self.low == f64::NEG_INFINITY, self.low_open) {
            (true, _) => "finite".to_string(),
            (_, true) => format!("> {}", self.low),
            _ => format!(">= {}", self.low),
        };
        let expected = match (self.high == f64::INFINITY, self.high_open) {
            (true, _) if self.low == f64::NEG_INFINITY => low,
            (true, _) => format!("{low} and finite"),
            (_, true) => format!("{low} and < {}", self.high),
            _ => format!("{low} and <= {}", self.high),
        };
        Err(Error::Hyperparameter {
            owner,
            name: name.to_string(),
            expected,
            value,
        })
    }
}

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

/// An elementwise update with `S` slots, written on one element; [`Pass::sweep`] compiles it into vector code for
/// every instruction set.
pub trait Update<const S: usize>: Copy {
    /// Whether the rule is worth a longer build: code for AVX-512 in single precision (a fifth faster on tensors beyond
    /// the caches) and for AVX2 in double precision, where other rules have AVX2 and the baseline.
    const WIDE: bool = false;
    /// New parameter and slots from the old ones and the gradient. Mark it `#[inline(always)]`.
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S]);
}

/// As [`Update`], with `N` sums over the tensor.
pub trait Measure<const S: usize, const N: usize>: Copy {
    /// As [`Update::WIDE`].
    const WIDE: bool = false;
    /// New parameter and slots, and the terms of the sums. Mark it `#[inline(always)]`.
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S], [L; N]);
}

/// An update as a measurement of nothing.
#[derive(Clone, Copy)]
struct Plain<U>(U);

impl<U: Update<S>, const S: usize> Measure<S, 0> for Plain<U> {
    const WIDE: bool = U::WIDE;
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S], [L; 0]) {
        let (p, s) = self.0.step(p, g, s);
        (p, s, [])
    }
}

struct Sweep<'a, T: Real, U, const S: usize, const N: usize>(U, Pass<'a, T>);

/// Elements whose terms are written down before they are added up.
const BLOCK: usize = 256;

impl<T: Real, U: Measure<S, N>, const S: usize, const N: usize> Kernel for Sweep<'_, T, U, S, N> {
    type Output = Sums;
    #[inline(always)]
    fn run<I: Isa>(self) -> Sums {
        // Separate slice arguments, so that the compiler knows that they do not overlap.
        #[inline(always)]
        fn body<I: Isa, T: Real, U: Measure<S, N>, const S: usize, const N: usize>(
            u: U,
            scale: T::Lane<I>,
            p: &mut [T],
            g: &[T],
            a: &mut [T],
            b: &mut [T],
            c: &mut [T],
            d: &mut [T],
            terms: &mut [[T; BLOCK]; N],
        ) {
            let n = if N > 0 { p.len().min(BLOCK) } else { p.len() };
            let (p, g) = (&mut p[..n], &g[..n]);
            let a = if S > 0 { &mut a[..n] } else { a };
            let b = if S > 1 { &mut b[..n] } else { b };
            let c = if S > 2 { &mut c[..n] } else { c };
            let d = if S > 3 { &mut d[..n] } else { d };
            for i in 0..n {
                let mut s = [T::Lane::<I>::c(0.0); S];
                if S > 0 {
                    s[0] = T::Lane::<I>::new(a[i]);
                }
                if S > 1 {
                    s[1] = T::Lane::<I>::new(b[i]);
                }
                if S > 2 {
                    s[2] = T::Lane::<I>::new(c[i]);
                }
                if S > 3 {
                    s[3] = T::Lane::<I>::new(d[i]);
                }
                let g = T::Lane::<I>::new(g[i]) * scale;
                let (x, s, t) = u.step(T::Lane::<I>::new(p[i]), g, s);
                p[i] = x.get();
                if S > 0 {
                    a[i] = s[0].get();
                }
                if S > 1 {
                    b[i] = s[1].get();
                }
                if S > 2 {
                    c[i] = s[2].get();
                }
                if S > 3 {
                    d[i] = s[3].get();
                }
                for k in 0..N {
                    terms[k][i] = t[k].get();
                }
            }
        }
        let Sweep(u, x) = self;
        let scale = T::Lane::<I>::new(T::from_f64(x.scale));
        let [mut a, mut b, mut c, mut d] = x.slots;
        let mut terms = [[T::ZERO; BLOCK]; N];
        let mut sums = Sums::default();
        if const { N == 0 } {
            body::<I, T, U, S, N>(u, scale, x.param, x.grad, a, b, c, d, &mut terms);
        } else {
            let (mut p, mut g) = (x.param, x.grad);
            while !p.is_empty() {
                let n = p.len().min(BLOCK);
                let now = cut(&mut p, n);
                let (grad, later) = g.split_at(n);
                g = later;
                let (a, b) = (cut(&mut a, n), cut(&mut b, n));
                let (c, d) = (cut(&mut c, n), cut(&mut d, n));
                body::<I, T, U, S, N>(u, scale, now, grad, a, b, c, d, &mut terms);
                for k in 0..N {
                    sums[k] += total(&terms[k][..n]);
                }
            }
        }
        sums
    }
}

/// Takes up to `n` elements off the front.
#[inline(never)]
fn cut<'a, T: Real>(s: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let all = std::mem::take(s);
    let (now, later) = all.split_at_mut(n.min(all.len()));
    *s = later;
    now
}

/// The sum of a block in double precision.
#[inline(never)]
fn total<T: Real>(x: &[T]) -> f64 {
    const COLUMNS: usize = 8;
    let mut sums = [0.0; COLUMNS];
    for row in x.chunks(COLUMNS) {
        for (s, x) in sums.iter_mut().zip(row) {
            *s += x.as_f64();
        }
    }
    sums.iter().sum()
}

impl<T: Real> Pass<'_, T> {
    /// Runs an elementwise update over the chunk.
    #[inline]
    pub fn sweep<const S: usize, U: Update<S>>(self, update: U) -> Sums {
        self.gather(Plain(update))
    }

    /// Runs an elementwise update over the chunk and returns its sums.
    #[inline]
    pub fn gather<const S: usize, const N: usize, U: Measure<S, N>>(self, update: U) -> Sums {
        if const { U::WIDE && size_of::<T>() == 4 } {
            dispatch(Sweep(update, self))
        } else if const { U::WIDE || size_of::<T>() == 4 } {
            dispatch_narrow(Sweep(update, self))
        } else {
            Sweep(update, self).run::<Baseline>()
        }
    }
}

/// The optimizer's name, its rule's struct with hyperparameters (`f64`) and variants, constructors and builder methods.
macro_rules! optimizer {
    (
        $(#[$doc:meta])*
        $alias:ident: $rule:ident = $name:literal;
        hypers { $($(#[$hdoc:meta])* $hyper:ident = $default:expr, $range:expr;)* }
        $(variants { $($(#[$fdoc:meta])* $flag:ident;)* })?
        $(private { $($private:ident: $ty:ty = $start:expr;)* })?
    ) => {
        $(#[$doc])*
        pub type $alias<T = f32> = $crate::optimizer::Optimizer<$rule, T>;

        #[doc = concat!("The rule of [`", stringify!($alias), "`].")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $rule {
            lr: f64,
            $($hyper: f64,)*
            $($($flag: bool,)*)?
            $($($private: $ty,)*)?
        }

        impl<T: wengert_tensor::Real> $crate::optimizer::Optimizer<$rule, T> {
            /// The rule with its default hyperparameters.
            ///
            /// # Panics
            /// When `lr` is negative or not finite.
            #[track_caller]
            pub fn new(lr: impl $crate::schedule::Schedule) -> Self {
                $crate::error::or_panic(Self::try_new(lr))
            }

            /// As `new`.
            ///
            /// # Errors
            /// When `lr` is negative or not finite.
            pub fn try_new(lr: impl $crate::schedule::Schedule) -> $crate::error::Result<Self> {
                let rule = $rule {
                    lr: 0.0,
                    $($hyper: $default,)*
                    $($($flag: false,)*)?
                    $($($private: $start,)*)?
                };
                $crate::optimizer::Optimizer::with_rule(rule).try_with("lr", lr)
            }

            $(
                $(#[$hdoc])*
                ///
                #[doc = concat!("Default `", stringify!($default), "`.")]
                ///
                /// # Panics
                /// When it is outside its range or not finite.
                #[track_caller]
                pub fn $hyper(self, value: impl $crate::schedule::Schedule) -> Self {
                    self.with(stringify!($hyper), value)
                }
            )*

            $($(
                $(#[$fdoc])*
                ///
                /// # Panics
                /// Once the optimizer has stepped.
                #[track_caller]
                pub fn $flag(mut self) -> Self {
                    self.edit(|r| r.$flag = true);
                    self
                }
            )*)?
        }

        impl $crate::rule::Hyperparameters for $rule {
            fn name(&self) -> &'static str {
                $name
            }
            fn hypers(&self) -> &'static [$crate::rule::Hyper] {
                const H: &[$crate::rule::Hyper] = &[
                    $crate::rule::Hyper { name: "lr", range: $crate::rule::Range::NON_NEGATIVE },
                    $($crate::rule::Hyper { name: stringify!($hyper), range: $range },)*
                ];
                H
            }
            fn get(&self, i: usize) -> f64 {
                [self.lr, $(self.$hyper),*][i]
            }
            fn put(&mut self, i: usize, value: f64) {
                *[&mut self.lr, $(&mut self.$hyper),*][i] = value;
            }
        }
    };
}
pub(crate) use optimizer;

/// `betas`, for rules with `beta1` and `beta2`.
macro_rules! betas {
    ($($rule:ident)*) => {$(
        impl<T: wengert_tensor::Real> $crate::optimizer::Optimizer<$rule, T> {
            /// Both decay rates at once, each in `[0, 1)`.
            ///
            /// # Panics
            /// When one is outside.
            #[track_caller]
            pub fn betas(
                self,
                beta1: impl $crate::schedule::Schedule,
                beta2: impl $crate::schedule::Schedule,
            ) -> Self {
                self.with("beta1", beta1).with("beta2", beta2)
            }
        }
    )*};
}
pub(crate) use betas;

/// The two precisions of a generic `fn pass<T: Real>(&self, Pass<T>) -> Sums`, and copying.
macro_rules! precisions {
    () => {
        fn boxed(&self) -> Box<dyn $crate::rule::Rule> {
            Box::new(self.clone())
        }
        fn pass_f32(&self, x: $crate::rule::Pass<'_, f32>) -> $crate::rule::Sums {
            self.pass(x)
        }
        fn pass_f64(&self, x: $crate::rule::Pass<'_, f64>) -> $crate::rule::Sums {
            self.pass(x)
        }
    };
}
pub(crate) use precisions;

/// As [`precisions`], with a generic `fn whole<T: Real>(&self, Whole<T>)`.
macro_rules! whole_precisions {
    () => {
        $crate::rule::precisions!();
        fn whole_f32(&self, x: $crate::rule::Whole<'_, f32>) {
            self.whole(x);
        }
        fn whole_f64(&self, x: $crate::rule::Whole<'_, f64>) {
            self.whole(x);
        }
    };
}
pub(crate) use whole_precisions;

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
