//! The handle to a value on the tape.

use crate::float::Float;
use crate::op::{NodeOp, Op};
use crate::ops::elementwise::Elem;
use crate::plan::Event;
use crate::tape::Tape;
use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::panic::Location;
use wengert_tensor::{Dims, Tensor};

/// A value on a [`Tape`]: a `Copy` handle of two words.
///
/// Operators and methods record operations and check shapes; nothing is computed before a value is asked for
/// ([`Var::value`], [`Var::item`]) or [`Var::backward`] is called. Misuse panics at the caller's line.
pub struct Var<'t, T: Float = f32> {
    tape: &'t Tape<T>,
    pub(crate) id: u32,
}

impl<T: Float> Clone for Var<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Float> Copy for Var<'_, T> {}

impl<T: Float> fmt::Debug for Var<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = self.tape.graph.borrow();
        let n = &g.nodes[self.id as usize];
        write!(
            f,
            "Var(%{} = {} {:?} at {}:{})",
            self.id,
            n.op.name(),
            g.shapes.of(n).as_slice(),
            n.loc.file(),
            n.loc.line()
        )
    }
}

impl<'t, T: Float> Var<'t, T> {
    #[inline]
    pub(crate) fn new(tape: &'t Tape<T>, id: u32) -> Self {
        Var { tape, id }
    }

    /// The tape it stands on.
    #[inline]
    pub fn tape(&self) -> &'t Tape<T> {
        self.tape
    }

    /// Index on the tape, as observers and listings show it.
    #[inline]
    pub fn index(&self) -> u32 {
        self.id
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> Dims {
        self.tape.graph.borrow().shape(self.id).clone()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.tape.graph.borrow().shape(self.id).len()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.tape.graph.borrow().shape(self.id).iter().product()
    }

    /// Size of one axis; negative axes count from the end.
    ///
    /// # Panics
    /// When there is no such axis.
    #[track_caller]
    pub fn size(&self, axis: isize) -> usize {
        let shape = self.shape();
        match wengert_tensor::shape::axis("size", axis, shape.len()) {
            Ok(a) => shape[a],
            Err(e) => panic!("{e} (shape {:?})", shape.as_slice()),
        }
    }

    /// Whether a trainable parameter has a part in the value.
    pub fn is_tracked(&self) -> bool {
        self.tape.graph.borrow().nodes[self.id as usize].tracked()
    }

    #[track_caller]
    pub(crate) fn record(self, op: &NodeOp<T>, args: &[Self]) -> Self {
        self.tape.record(op, args)
    }

    /// Records a row of the elementwise table. The node is put together behind a call: the many methods of the table stay
    /// small.
    #[track_caller]
    #[inline]
    pub(crate) fn elementwise<const N: usize>(elem: Elem, imm: [T; 2], args: [Self; N]) -> Self {
        if cfg!(feature = "mutation") {
            return args[0].record(&NodeOp::Elem(elem, imm), &args);
        }
        let tape = args[0].tape;
        let mut ids = [0; N];
        for (id, a) in ids.iter_mut().zip(&args) {
            if !std::ptr::eq(a.tape, tape) {
                tape.check_tape(a, elem.name());
            }
            *id = a.id;
        }
        let loc = Location::caller();
        Var::new(tape, T::record_elem(tape, elem, imm, &ids, loc))
    }

    /// Records a function of two operands without constants.
    #[track_caller]
    #[inline]
    fn pair(self, elem: Elem, other: Self) -> Self {
        if cfg!(feature = "mutation") || !std::ptr::eq(self.tape, other.tape) {
            return Var::elementwise(elem, [T::zero(); 2], [self, other]);
        }
        let loc = Location::caller();
        Var::new(
            self.tape,
            T::record_pair(self.tape, elem, self.id, other.id, loc),
        )
    }

    /// Records an operation of one input.
    #[track_caller]
    pub fn apply<O: Op<T>>(self, op: O) -> Self {
        self.tape.apply(op, &[self])
    }

    /// Computes the value.
    ///
    /// On a training tape what was computed is kept for the backward pass; on an inference tape only the value asked
    /// for.
    ///
    /// # Panics
    /// After `backward()`, unless the value was marked with [`Var::keep`].
    #[track_caller]
    pub fn value(&self) -> Tensor<T> {
        self.evaluate();
        let g = self.tape.graph.borrow();
        (g.values.get(self.id as usize).cloned()).expect("evaluated above")
    }

    /// The value of a tensor of one element.
    ///
    /// # Panics
    /// When there is not exactly one element, or after `backward()`.
    #[track_caller]
    pub fn item(&self) -> T {
        assert!(
            self.numel() == 1,
            "item: expected exactly one element, found shape {:?}",
            self.shape().as_slice()
        );
        self.evaluate();
        let g = self.tape.graph.borrow();
        g.values
            .get(self.id as usize)
            .expect("evaluated above")
            .item()
    }

    #[track_caller]
    fn evaluate(&self) {
        T::evaluate(self.tape, self.id);
    }

    /// Marks the value to survive `backward()`: the value, not the gradient with respect to it.
    ///
    /// The gradient of a parameter is there anyway ([`Gradients::get`](crate::Gradients::get),
    /// [`Gradients::by_var`](crate::Gradients::by_var)); that of any other value, what PyTorch calls `retain_grad`, is a value to
    /// be kept: `grad(loss, [y])[0].keep()`. Kept on a parameter, the value of the step stays, and the optimizer copies what
    /// it would have written in place.
    ///
    /// ```
    /// use wengert_autograd::{Param, Tape, Tensor, grad};
    /// let w = Param::new(Tensor::<f64>::scalar(3.0));
    /// let tape = Tape::training(0);
    /// let x = tape.param(&w);
    /// let y = x.square().keep();
    /// let loss = y * y;
    /// let dy = grad(loss, [y])[0].keep();
    /// let grads = loss.backward();
    /// assert_eq!((y.item(), dy.item()), (9.0, 18.0));
    /// assert_eq!(grads.by_var(x), grads.get(&w));
    /// ```
    pub fn keep(self) -> Self {
        let mut g = self.tape.graph.borrow_mut();
        if !g.kept.contains(&self.id) {
            g.kept.push(self.id);
        }
        drop(g);
        self
    }
}

/// See [`Var::value`].
#[track_caller]
pub(crate) fn evaluate<T: Float>(tape: &Tape<T>, id: u32) {
    let mut g = tape.graph.borrow_mut();
    if g.values.has(id as usize) {
        return;
    }
    g.refuse_if_spent("value");
    if matches!(g.nodes[id as usize].op, NodeOp::IntInput) {
        panic!("value: this node holds integers");
    }
    g.run_event(&Event::Value(id));
}

macro_rules! operator {
    ($trait:ident, $method:ident, $elem:ident, $scalar:ident, |$x:ident, $c:ident| $left:expr) => {
        impl<'t, T: Float> $trait for Var<'t, T> {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, other: Self) -> Self {
                self.pair(Elem::$elem, other)
            }
        }
        impl<'t, T: Float> $trait<f64> for Var<'t, T> {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, c: f64) -> Self {
                let c = operator!(@sign $trait, c);
                Var::elementwise(Elem::$scalar, [T::from_f64(c), T::zero()], [self])
            }
        }
        impl<'t, T: Float> $trait<Var<'t, T>> for f64 {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, $x: Var<'t, T>) -> Var<'t, T> {
                let $c = self;
                $left
            }
        }
        impl<'t, T: Float> $trait<i32> for Var<'t, T> {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, c: i32) -> Self {
                $trait::<f64>::$method(self, f64::from(c))
            }
        }
        impl<'t, T: Float> $trait<Var<'t, T>> for i32 {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, $x: Var<'t, T>) -> Var<'t, T> {
                let $c = f64::from(self);
                $left
            }
        }
    };
    (@sign Sub, $c:ident) => { -$c };
    (@sign $t:ident, $c:ident) => { $c };
}
operator!(Add, add, Add, AddScalar, |x, c| x.add_scalar(c));
operator!(Sub, sub, Sub, AddScalar, |x, c| x.rsub_scalar(c));
operator!(Mul, mul, Mul, MulScalar, |x, c| x.mul_scalar(c));
operator!(Div, div, Div, DivScalar, |x, c| x.rdiv_scalar(c));

impl<'t, T: Float> Neg for Var<'t, T> {
    type Output = Var<'t, T>;
    #[track_caller]
    fn neg(self) -> Self {
        Var::elementwise(Elem::Neg, [T::zero(); 2], [self])
    }
}

impl<'t, T: Float> Rem for Var<'t, T> {
    type Output = Var<'t, T>;
    #[track_caller]
    fn rem(self, other: Self) -> Self {
        self.pair(Elem::Rem, other)
    }
}
