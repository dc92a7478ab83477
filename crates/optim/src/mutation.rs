//! Sabotage of update rules, for the test that measures how many wrong rules the suite notices. Only compiled with the
//! feature `mutation`, which nothing but that test turns on.
//!
//! An update is written on any [`Lane`]; here it runs on a lane that counts the operations of one element and spoils one
//! of them. What a rule plans and what a pass sums up is spoiled number by number.

use crate::rule::{Coefs, Sums};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use wengert_tensor::lane::Lane;

/// What is done to the result of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Its sign is flipped.
    Sign,
    /// It is multiplied by 1.01, a constant by 1.5.
    Scale,
    /// The first operand in its place.
    First,
    /// Another operation: `+` for `-` and back, `min` for `max` and back, the other branch of a choice, a comparison turned
    /// round, the root left out.
    Other,
}

/// Where: the type of the update with its place among the operations on an element, or a rule with the number of a
/// coefficient or sum.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Site {
    /// Type of the update, or name of the rule.
    pub of: String,
    /// The operation.
    pub what: &'static str,
    /// Its place.
    pub at: usize,
}

#[derive(Default)]
struct State {
    target: Option<(Site, Mutation)>,
    seen: BTreeSet<Site>,
    /// The update that runs, whether it is the one to spoil, and the operations of this element so far.
    update: &'static str,
    aimed: bool,
    known: bool,
    count: usize,
}

thread_local!(static STATE: RefCell<State> = RefCell::new(State::default()));

/// Runs `f` on this thread with one place sabotaged, or none; returns the places that were passed.
pub fn with<R>(target: Option<(Site, Mutation)>, f: impl FnOnce() -> R) -> (R, BTreeSet<Site>) {
    STATE.set(State {
        target,
        ..State::default()
    });
    let r = f();
    (r, STATE.take().seen)
}

/// An update begins.
pub(crate) fn begin(update: &'static str) {
    STATE.with_borrow_mut(|s| {
        s.update = update;
        s.aimed = s.target.as_ref().is_some_and(|t| t.0.of == update);
        s.known = false;
    });
}

/// The next element.
pub(crate) fn element(first: bool) {
    STATE.with_borrow_mut(|s| {
        s.count = 0;
        s.known = !first;
    });
}

/// What to do to the next operation.
fn next(what: &'static str) -> Option<Mutation> {
    STATE.with_borrow_mut(|s| {
        let at = s.count;
        s.count += 1;
        if !s.known {
            s.seen.insert(Site {
                of: s.update.to_string(),
                what,
                at,
            });
        }
        let t = s.target.as_ref().filter(|t| s.aimed && t.0.at == at)?;
        Some(t.1)
    })
}

fn spoil(kind: &'static str, of: &str, values: &mut [f64]) {
    STATE.with_borrow_mut(|s| {
        for (at, x) in values.iter_mut().enumerate().filter(|(_, x)| **x != 0.0) {
            let site = Site {
                of: of.to_string(),
                what: kind,
                at,
            };
            if let Some((target, m)) = &s.target
                && *target == site
            {
                *x *= if *m == Mutation::Sign { -1.0 } else { 1.5 };
            }
            s.seen.insert(site);
        }
    });
}

/// Called with what a rule planned.
pub(crate) fn coefs(rule: &str, values: &mut Coefs) {
    spoil("coefficient", rule, values);
}

/// Called with what a pass of a rule summed up.
pub(crate) fn sums(rule: &str, values: &mut Sums) {
    spoil("sum", rule, values);
}

/// A lane that is sabotaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoiled<L>(L);

impl<L: Lane> Spoiled<L> {
    fn make(what: &'static str, first: L, right: L, other: L) -> Self {
        Spoiled(match next(what) {
            None => right,
            Some(Mutation::Sign) => -right,
            Some(Mutation::Scale) => right * L::c(if what == "constant" { 1.5 } else { 1.01 }),
            Some(Mutation::First) => first,
            Some(Mutation::Other) => other,
        })
    }
}

impl<L: Lane> PartialEq for Spoiled<L> {
    fn eq(&self, o: &Self) -> bool {
        self.0 == o.0
    }
}

impl<L: Lane> PartialOrd for Spoiled<L> {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        let order = self.0.partial_cmp(&o.0);
        match next("comparison") {
            None => order,
            Some(Mutation::First) => Some(Ordering::Equal),
            Some(_) => order.map(Ordering::reverse),
        }
    }
}

macro_rules! binary {
    ($($tr:ident $f:ident $other:ident;)*) => {$(
        impl<L: Lane> $tr for Spoiled<L> {
            type Output = Self;
            fn $f(self, o: Self) -> Self {
                Self::make(stringify!($f), self.0, self.0.$f(o.0), self.0.$other(o.0))
            }
        }
    )*};
}
binary! {
    Add add sub;
    Sub sub add;
    Mul mul div;
    Div div mul;
    Rem rem rem;
}

impl<L: Lane> Neg for Spoiled<L> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::make("neg", self.0, -self.0, self.0)
    }
}

macro_rules! unary {
    ($($f:ident)*) => {$(
        fn $f(self) -> Self {
            Self::make(stringify!($f), self.0, self.0.$f(), self.0)
        }
    )*};
}

impl<L: Lane> Lane for Spoiled<L> {
    type Elem = L::Elem;
    const TRIG_BOUND: f64 = L::TRIG_BOUND;
    const EXP_BOUND: f64 = L::EXP_BOUND;
    const GELU_BOUND: f64 = L::GELU_BOUND;
    const INLINE: bool = L::INLINE;
    fn new(x: L::Elem) -> Self {
        Spoiled(L::new(x))
    }
    fn get(self) -> L::Elem {
        self.0.get()
    }
    fn c(x: f64) -> Self {
        let c = L::c(x);
        // Neither sign nor size of zero.
        Self::make(
            if x == 0.0 { "zero" } else { "constant" },
            c,
            c,
            c + L::c(0.5),
        )
    }
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self::make(
            "mul_add",
            self.0,
            self.0.mul_add(a.0, b.0),
            self.0.mul_add(a.0, -b.0),
        )
    }
    fn is_nan(self) -> bool {
        self.0.is_nan()
    }
    fn is_normal(self) -> bool {
        self.0.is_normal()
    }
    fn normal(self) -> (Self, Self) {
        let (below, density) = self.0.normal();
        (
            Self::make("normal", self.0, below, density),
            Self::make("density", self.0, density, below),
        )
    }
    fn select(cond: bool, a: Self, b: Self) -> Self {
        let (yes, no) = if cond { (a, b) } else { (b, a) };
        Self::make("select", a.0, yes.0, no.0)
    }
    fn max(self, o: Self) -> Self {
        Self::make("max", self.0, self.0.max(o.0), self.0.min(o.0))
    }
    fn min(self, o: Self) -> Self {
        Self::make("min", self.0, self.0.min(o.0), self.0.max(o.0))
    }
    fn copysign(self, s: Self) -> Self {
        Self::make("copysign", self.0, self.0.copysign(s.0), s.0)
    }
    fn atan2(self, x: Self) -> Self {
        Self::make("atan2", self.0, self.0.atan2(x.0), x.0)
    }
    fn pow(self, y: Self) -> Self {
        Self::make("pow", self.0, self.0.pow(y.0), y.0)
    }
    fn hypot(self, y: Self) -> Self {
        Self::make("hypot", self.0, self.0.hypot(y.0), y.0)
    }
    fn polygamma(self, n: u32) -> Self {
        Spoiled(self.0.polygamma(n))
    }
    unary!(abs sqrt floor ceil round trunc exp exp_down exp2 expm1 ln log2 log10 log1p sin cos tan sin_bounded cos_bounded tan_bounded
        asin acos atan sinh cosh tanh asinh acosh atanh sigmoid erf erfc erfinv lgamma digamma cbrt gelu ln_normal log2_normal log10_normal exp_near
        sigmoid_near gelu_near erfinv_near);
}
