//! Operations: what a node of the tape does, and the open trait for operations of other crates.

use crate::float::Float;
use crate::ops::elementwise::Elem;
use crate::param::ParamId;
use crate::var::Var;
use crate::vmap::BatchCtx;
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use wengert_tensor::fused::Reduce;
use wengert_tensor::gemm::Tail;
use wengert_tensor::{Dims, Error, Result, Tensor};

/// Cotangents of the inputs of an operation; `None` where there is none.
pub type Cotangents<'t, T> = SmallVec<[Option<Var<'t, T>>; 3]>;

/// A list of copies, as `smallvec!` makes it, which compiles every expression twice.
macro_rules! small {
    ($($x:expr),* $(,)?) => {
        smallvec::SmallVec::from_slice(&[$($x),*])
    };
}
pub(crate) use small;

/// An operation with its own kernel.
///
/// Everything about it stands in one place: the shape rule, the kernel, and the derivative rule, written in `Var`
/// operations, so that it can be differentiated again. The value itself (`self`) holds the configuration; two
/// operations are taken for equal when `PartialEq` says so, and a step that records equal operations reuses its plan.
///
/// ```
/// use wengert_autograd::{Cotangents, Dims, Float, ForwardCtx, Op, Result, Tape, Tensor, Var, VjpCtx};
///
/// /// y = x³ with a kernel of its own.
/// #[derive(Debug, PartialEq)]
/// struct Cube;
/// impl<T: Float> Op<T> for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
///         Ok(Dims::from_slice(inputs[0]))
///     }
///     fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
///         let x = ctx.input(0);
///         for (y, x) in ctx.output().iter_mut().zip(x.iter()) {
///             *y = x * x * x;
///         }
///     }
///     fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
///         [Some(ctx.cotangent() * ctx.input(0).square() * 3.0)].into_iter().collect()
///     }
/// }
///
/// let tape = Tape::<f64>::inference();
/// let x = tape.input(&Tensor::from_vec(vec![2.0], [1]));
/// let y = x.apply(Cube);
/// let [dx] = wengert_autograd::grad(y.sum(), [x]);
/// assert_eq!((y.item(), dx.item()), (8.0, 12.0));
/// ```
pub trait Op<T: Float>: DynEq + Debug + Send + Sync {
    /// Name, as shown in messages and reports.
    fn name(&self) -> &'static str;

    /// Shape of the output, or an error that says what was found and what was expected.
    ///
    /// # Errors
    /// When the input shapes do not fit.
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims>;

    /// Computes the output.
    ///
    /// The kernel may use rayon, with any number of threads. With more than two, though, a thread that waits for a part of such
    /// work now and then takes up what keeps the pool awake, and is back only after some tenths of a second. The tasks of
    /// [`wengert_tensor::parallel`] say that somebody waits for them, and know no such pause.
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>);

    /// Records the cotangents of the inputs: for `y = f(x)` and the cotangent `gy`, the vectors `gyᵀ ∂f/∂x`.
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T>;

    /// Records the operation on a batch of examples ([`vmap`](crate::vmap)): the operands that `ctx` calls batched carry a
    /// leading axis of `ctx.size()`, and so must the result. `None`, the default, runs the kernel for one example after
    /// the other inside one node, so a rule is a matter of speed only.
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let _ = ctx;
        None
    }

    /// For operations that only look at their input another way: the view, without a copy, or `None` where the strides
    /// do not allow it; then [`Op::forward`] copies.
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        let _ = input;
        None
    }

    /// Whether [`Op::view`] is the operation.
    fn is_view(&self) -> bool {
        false
    }

    /// Whether the kernel reads operand `i`. An operand that only the derivative rule refers to is not computed for it, and
    /// [`ForwardCtx::input`] has no value for it. A view reads its first operand alone.
    fn reads(&self, i: usize) -> bool {
        let _ = i;
        true
    }

    /// A bound on the magnitude of every element of the output, from the operands' shapes and `largest(i)`, a bound on the
    /// elements of operand `i`; `None`, the default, where the operation knows none. It tells that a large gradient is
    /// finite without reading it, and need not be tight.
    fn bound(&self, inputs: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        let _ = (inputs, largest);
        None
    }

    /// The axis of the output that the kernel can add a bias along, with a relu behind it, before it stores its result
    /// (see [`ForwardCtx::tail`]). The planner then hands it the addition and the relu that follow it. `None` if it
    /// cannot.
    #[doc(hidden)]
    fn bias_axis(&self, inputs: &[&[usize]], output: &[usize]) -> Option<usize> {
        let _ = (inputs, output);
        None
    }

    /// Floating-point operations of one evaluation, for reports and for the choice of threads.
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let _ = inputs;
        output.iter().product::<usize>() as u64
    }
}

/// Equality of operations behind a trait object; implemented for every type with `PartialEq`.
pub trait DynEq: Any {
    /// Same type and equal.
    fn dyn_eq(&self, other: &dyn Any) -> bool;
    /// As `Any`.
    fn as_any(&self) -> &dyn Any;
}

impl<O: Any + PartialEq> DynEq for O {
    fn dyn_eq(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<O>().is_some_and(|o| o == self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a kernel gets: input tensors and the output to fill.
pub struct ForwardCtx<'a, T: Float> {
    pub(crate) inputs: &'a [Operand<'a, T>],
    pub(crate) output: &'a mut [T],
    pub(crate) shape: &'a [usize],
    pub(crate) key: u64,
    pub(crate) tail: Tail<'a, T>,
    /// Whether somebody wants to know that the output is finite, and whether the kernel has found that it is.
    pub(crate) watched: bool,
    pub(crate) finite: bool,
}

/// An input of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a, T: Float> {
    Float(&'a Tensor<T>),
    Int(&'a Tensor<i64>),
    /// See [`Op::reads`]; the shape of what has no value.
    Unread(&'a [usize]),
}

impl<'a, T: Float> ForwardCtx<'a, T> {
    /// Input `i`; any strides.
    pub fn input(&self, i: usize) -> &'a Tensor<T> {
        match self.inputs[i] {
            Operand::Float(t) => t,
            Operand::Int(_) => panic!("input {i} holds integers"),
            Operand::Unread(_) => {
                panic!("input {i} is one that the operation said it does not read")
            }
        }
    }

    /// Shape of input `i`, read or not.
    pub fn input_shape(&self, i: usize) -> &'a [usize] {
        match self.inputs[i] {
            Operand::Float(t) => t.shape(),
            Operand::Int(t) => t.shape(),
            Operand::Unread(shape) => shape,
        }
    }

    /// Input `i`, if it is read and holds floating-point numbers.
    pub(crate) fn float(&self, i: usize) -> Option<&'a Tensor<T>> {
        match self.inputs[i] {
            Operand::Float(t) => Some(t),
            _ => None,
        }
    }

    /// Integer input `i` (indices, labels).
    pub fn ints(&self, i: usize) -> &'a Tensor<i64> {
        match self.inputs[i] {
            Operand::Int(t) => t,
            Operand::Float(_) => panic!("input {i} holds floating-point numbers"),
            Operand::Unread(_) => {
                panic!("input {i} is one that the operation said it does not read")
            }
        }
    }

    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are no inputs.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The output, row-major; its old contents are arbitrary.
    pub fn output(&mut self) -> &mut [T] {
        self.output
    }

    /// Shape of the output.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Bias and relu to apply to the output; empty for operations without [`Op::bias_axis`].
    #[doc(hidden)]
    pub fn tail(&self) -> Tail<'a, T> {
        self.tail
    }

    /// Whether the output is a gradient, about which [`ForwardCtx::note_finite`] spares the optimizer a look.
    #[doc(hidden)]
    pub fn watched(&self) -> bool {
        self.watched
    }

    /// Says that the kernel has seen, while it made the output, that all its elements are finite.
    #[doc(hidden)]
    pub fn note_finite(&mut self) {
        self.finite = true;
    }

    /// Random key of this evaluation, the same whenever this node is computed again in the step.
    pub fn key(&self) -> u64 {
        self.key
    }
}

/// What a derivative rule gets.
pub struct VjpCtx<'t, 'a, T: Float> {
    pub(crate) inputs: &'a [Var<'t, T>],
    pub(crate) output: Var<'t, T>,
    pub(crate) cotangent: Var<'t, T>,
    pub(crate) needs: &'a [bool],
}

impl<'t, T: Float> VjpCtx<'t, '_, T> {
    /// Input `i` of the operation.
    pub fn input(&self, i: usize) -> Var<'t, T> {
        self.inputs[i]
    }

    /// All inputs.
    pub fn inputs(&self) -> &[Var<'t, T>] {
        self.inputs
    }

    /// The operation's output.
    pub fn output(&self) -> Var<'t, T> {
        self.output
    }

    /// Cotangent of the output.
    pub fn cotangent(&self) -> Var<'t, T> {
        self.cotangent
    }

    /// Whether the cotangent of input `i` is asked for.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }
}

/// A number of an operation's configuration: equal if its bits are, so that -0 is not 0 and NaN is like itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact(pub(crate) f64);
impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// What a node does.
#[derive(Clone)]
pub enum NodeOp<T: Float> {
    /// A tensor handed in from outside.
    Input,
    /// Integers handed in from outside.
    IntInput,
    /// A parameter.
    Param(ParamId),
    /// A number.
    Const(T),
    /// A row of the elementwise table.
    Elem(Elem, [T; 2]),
    /// A reduction over a set of axes.
    Reduce(Reduce, u64, bool),
    /// A random number per element; the key numbers the stream within the step.
    Random(crate::ops::random::Random, [T; 2], u32),
    /// Anything with a kernel of its own.
    Op(Arc<dyn Op<T>>),
}

impl<T: Float> NodeOp<T> {
    /// Constants of an elementwise operation; 0 where there are none.
    pub fn constants(&self) -> [f64; 2] {
        match self {
            NodeOp::Elem(_, p) => [p[0].as_f64(), p[1].as_f64()],
            _ => [0.0; 2],
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            NodeOp::Input => "input",
            NodeOp::IntInput => "int_input",
            NodeOp::Param(_) => "param",
            NodeOp::Const(_) => "constant",
            NodeOp::Elem(e, _) => e.name(),
            NodeOp::Reduce(k, ..) => match k {
                Reduce::Sum => "sum",
                Reduce::Max => "amax",
                Reduce::Min => "amin",
            },
            NodeOp::Random(r, ..) => r.name(),
            NodeOp::Op(o) => o.name(),
        }
    }

    pub fn is_leaf(&self) -> bool {
        matches!(
            self,
            NodeOp::Input | NodeOp::IntInput | NodeOp::Param(_) | NodeOp::Const(_)
        )
    }

    pub fn is_elementwise(&self) -> bool {
        matches!(self, NodeOp::Elem(..) | NodeOp::Random(..))
    }
}

/// Shape error of an operation.
pub(crate) fn shape_error(op: &'static str, message: String) -> Error {
    Error::Shape { op, message }
}
