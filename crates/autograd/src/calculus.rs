//! Differential calculus as functions: products with Jacobians and Hessians, whole Jacobians and Hessians, own
//! derivatives, recomputation.
//!
//! Functions with `Var` results record and can be differentiated again; those with `Tensor` results compute.

use crate::diff::{grad_many, vjp_many};
use crate::float::Float;
use crate::gradients::Gradients;
use crate::module::{Module, Path, Visitor};
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::param::Param;
use crate::tape::{Region, Tape};
use crate::var::Var;
use crate::vmap::vmap;
use std::fmt;
use wengert_tensor::list::Listed;
use wengert_tensor::{Dims, Real, Result, Tensor};

/// Vector-Jacobian product (reverse mode): cᵀ ∂y/∂x for each of `wrt`.
///
/// # Panics
/// When the cotangent has another shape than `y`.
#[track_caller]
pub fn vjp<'t, T: Float, const N: usize>(
    y: Var<'t, T>,
    cotangent: Var<'t, T>,
    wrt: [Var<'t, T>; N],
) -> [Var<'t, T>; N] {
    let g = vjp_many(&[y], &[cotangent], &wrt);
    std::array::from_fn(|i| g[i])
}

/// Jacobian-vector product (forward mode): ∂y/∂x · v, summed over the pairs of inputs and tangents.
///
/// Recorded as the transpose of the transpose: the vector-Jacobian product is linear in its cotangent, and its
/// derivative with respect to that cotangent is the Jacobian. Every operation with a rule has it.
///
/// ```
/// use wengert_autograd::{Tape, Tensor, jvp};
/// let tape = Tape::<f64>::inference();
/// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0], [2]));
/// let v = tape.input(&Tensor::from_vec(vec![1.0, 10.0], [2]));
/// assert_eq!(jvp(x.square(), [x], [v]).value().to_vec(), [2.0, 40.0]);
/// ```
///
/// # Panics
/// When a tangent has another shape than its input.
#[track_caller]
pub fn jvp<'t, T: Float, const N: usize>(
    y: Var<'t, T>,
    wrt: [Var<'t, T>; N],
    tangents: [Var<'t, T>; N],
) -> Var<'t, T> {
    for (x, v) in wrt.iter().zip(&tangents) {
        assert!(
            x.shape() == v.shape(),
            "jvp: expected a tangent of shape {:?}, found {:?}",
            x.shape().as_slice(),
            v.shape().as_slice()
        );
    }
    // The value of the dummy cotangent does not matter: the product is linear in it. Zeros of its own node, not a
    // broadcast constant, so that it is an input to differentiate for.
    let dummy = y.tape().input(&Tensor::zeros(y.shape()));
    let region = recorded(y.tape());
    let transposed = vjp_many(&[y], &[dummy], &wrt);
    drop(region);
    vjp_many(&transposed, &tangents, &[dummy])[0]
}

/// A region for what is differentiated once more, also where no gradient is to flow through the result of that.
fn recorded<T: Float>(tape: &Tape<T>) -> Region<'_, T> {
    let region = Region::enter(tape);
    tape.graph.borrow_mut().no_grad = 0;
    region
}

/// Hessian-vector product of a scalar: ∂²f/∂x² · v, with all mixed blocks between the inputs.
///
/// # Panics
/// When `f` has more than one element, or a vector another shape than its input.
#[track_caller]
pub fn hvp<'t, T: Float, const N: usize>(
    f: Var<'t, T>,
    wrt: [Var<'t, T>; N],
    vectors: [Var<'t, T>; N],
) -> [Var<'t, T>; N] {
    let region = recorded(f.tape());
    let g = grad_many(f, &wrt);
    drop(region);
    let h = vjp_many(&g, &vectors, &wrt);
    std::array::from_fn(|i| h[i])
}

/// Value and gradient of a scalar function of tensors.
pub fn value_and_grad<T: Float, const N: usize>(
    f: impl for<'t> Fn([Var<'t, T>; N]) -> Var<'t, T>,
    inputs: [&Tensor<T>; N],
) -> (T, [Tensor<T>; N]) {
    let tape = Tape::inference();
    let x = inputs.map(|t| tape.input(t));
    let y = f(x);
    let g = grad_many(y, &x);
    // Gradients first: the value is then on the way.
    let g = std::array::from_fn(|i| g[i].value());
    (y.item(), g)
}

/// Largest number of elements that one value of a batched product may have; more rows than fit are taken in parts.
const WIDEST: usize = 1 << 24;

/// Jacobian of a function of one tensor: shape of the output followed by that of the input.
///
/// The products with all unit vectors are one recorded program with a batch axis ([`vmap`]): by rows, or by columns where
/// the input is smaller. There is no loop over rows; only where a value of the batched program would have more than 2²⁴
/// elements are the rows taken in a few parts.
///
/// ```
/// use wengert_autograd::{Tensor, jacobian};
/// let x = Tensor::<f64>::from_vec(vec![1.0, 2.0, 3.0], [3]);
/// let j = jacobian(|x| x.square(), &x);
/// assert_eq!(j.to_vec(), [2.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 6.0]);
/// ```
pub fn jacobian<T: Float>(
    f: impl for<'t> Fn(Var<'t, T>) -> Var<'t, T>,
    x: &Tensor<T>,
) -> Tensor<T> {
    let mut tape = Tape::<T>::inference();
    let (m, n, widest) = {
        let v = tape.input(x);
        let y = f(v);
        let mut widest = 1;
        tape.for_each_node(|n| widest = widest.max(n.shape.iter().product()));
        (y.shape(), v.shape(), widest)
    };
    let (rows, cols) = (m.iter().product::<usize>(), n.iter().product::<usize>());
    let mut shape = m.clone();
    shape.extend_from_slice(&n);
    let mut out = Tensor::zeros(shape);
    let reverse = rows <= cols;
    let (unit, lanes) = if reverse { (m, rows) } else { (n, cols) };
    let at_once = (WIDEST / widest).clamp(1, lanes.max(1));
    for start in (0..lanes).step_by(at_once) {
        let count = at_once.min(lanes - start);
        let mut own = Dims::from_slice(&[count]);
        own.extend_from_slice(&unit);
        let mut units = Tensor::zeros(own);
        for k in 0..count {
            units.as_mut_slice()[k * lanes + start + k] = T::one();
        }
        tape.reset();
        // Random numbers of the function are the same for all rows.
        tape.set_step_index(0);
        let v = tape.input(x);
        let (y, u) = (f(v), tape.input(&units));
        let p = if reverse {
            vmap(|[u]| vjp(y, u, [v])[0], [u])
        } else {
            vmap(|[u]| jvp(y, [v], [u]), [u])
        };
        let (p, to) = (p.value(), out.as_mut_slice());
        if reverse {
            p.copy_into(&mut to[start * cols..(start + count) * cols]);
        } else {
            for (i, x) in p.iter().enumerate() {
                to[i % rows * cols + start + i / rows] = x;
            }
        }
    }
    out
}

/// Hessian of a scalar function of one tensor: the shape of the input twice.
pub fn hessian<T: Float>(f: impl for<'t> Fn(Var<'t, T>) -> Var<'t, T>, x: &Tensor<T>) -> Tensor<T> {
    jacobian(|v| grad_many(f(v), &[v])[0], x)
}

impl<'t, T: Float> Var<'t, T> {
    /// Gradient of this scalar: [`grad`](crate::grad) as a method.
    ///
    /// # Panics
    /// When the value has more than one element.
    #[track_caller]
    pub fn grad<const N: usize>(self, wrt: [Self; N]) -> [Self; N] {
        crate::diff::grad(self, wrt)
    }

    /// Vector-Jacobian product: [`vjp`](crate::vjp) as a method.
    ///
    /// # Panics
    /// When the cotangent has another shape.
    #[track_caller]
    pub fn vjp<const N: usize>(self, cotangent: Self, wrt: [Self; N]) -> [Self; N] {
        vjp(self, cotangent, wrt)
    }

    /// Jacobian-vector product: [`jvp`](crate::jvp) as a method.
    ///
    /// # Panics
    /// When a tangent has another shape than its input.
    #[track_caller]
    pub fn jvp<const N: usize>(self, wrt: [Self; N], tangents: [Self; N]) -> Self {
        jvp(self, wrt, tangents)
    }

    /// Hessian-vector product of this scalar: [`hvp`](crate::hvp) as a method.
    ///
    /// # Panics
    /// When the value has more than one element, or a vector another shape than its input.
    #[track_caller]
    pub fn hvp<const N: usize>(self, wrt: [Self; N], vectors: [Self; N]) -> [Self; N] {
        hvp(self, wrt, vectors)
    }

    /// Jacobian with respect to a value on the tape: this shape followed by that of `x`. It can be differentiated again.
    ///
    /// One batched program for all rows (or all columns, where `x` is smaller): see [`vmap`].
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0], [2]));
    /// let w = tape.input(&Tensor::from_vec(vec![3.0, 0.0, 1.0, 1.0], [2, 2]));
    /// let j = w.matmul(x.square()).jacobian(x); // w diag(2 x)
    /// assert_eq!(j.value().to_vec(), [6.0, 0.0, 2.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn jacobian(self, x: Self) -> Self {
        let (tape, m, n) = (self.tape(), self.shape(), x.shape());
        let (rows, cols) = (self.numel(), x.numel());
        let mut shape = m.clone();
        shape.extend_from_slice(&n);
        if rows * cols == 0 {
            return tape.zeros(shape);
        }
        let units = |count: usize, one: &[usize]| {
            let mut s = Dims::from_slice(&[count]);
            s.extend_from_slice(one);
            tape.eye(count).reshape(s)
        };
        if rows <= cols {
            vmap(|[u]| vjp(self, u, [x])[0], [units(rows, &m)]).reshape(shape)
        } else {
            let columns = vmap(|[u]| jvp(self, [x], [u]), [units(cols, &n)]);
            columns.reshape([cols, rows]).t().reshape(shape)
        }
    }

    /// Hessian of this scalar with respect to a value on the tape: the shape of `x` twice. It can be differentiated again.
    ///
    /// # Panics
    /// When the value has more than one element.
    #[track_caller]
    pub fn hessian(self, x: Self) -> Self {
        grad_many(self, &[x])[0].jacobian(x)
    }
}

/// The identity on its first input, with a derivative of its own for the rest.
struct CustomGrad<C, F> {
    config: C,
    rule: F,
}

impl<C, F> fmt::Debug for CustomGrad<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomGrad")
    }
}

/// A rule that captures nothing is its type, so a repeated step finds its plan again; one that captures something could
/// be another at every step.
impl<C: PartialEq, F> PartialEq for CustomGrad<C, F> {
    fn eq(&self, other: &Self) -> bool {
        size_of::<F>() == 0 && self.config == other.config
    }
}

impl<T, C, F> Op<T> for CustomGrad<C, F>
where
    T: Float,
    C: PartialEq + Send + Sync + 'static,
    F: for<'a> Fn(&C, &VjpCtx<'a, '_, T>) -> Cotangents<'a, T> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "custom_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        T::copy_tensor(x, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        Some(input.clone())
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let own = VjpCtx {
            inputs: &ctx.inputs[1..],
            output: ctx.output,
            cotangent: ctx.cotangent,
            needs: &ctx.needs[1..],
        };
        let cts = (self.rule)(&self.config, &own);
        assert!(
            cts.len() == own.inputs.len(),
            "custom_grad: the rule returned {} cotangents for {} inputs",
            cts.len(),
            own.inputs.len()
        );
        for (k, ct) in cts.iter().enumerate() {
            if let Some(ct) = ct {
                let (found, expected) = (ct.shape(), own.inputs[k].shape());
                assert!(
                    found == expected,
                    "custom_grad: the rule returned a cotangent of shape {:?} for input {k} of shape {:?}",
                    found.as_slice(),
                    expected.as_slice()
                );
            }
        }
        // The value itself was recorded without gradients.
        std::iter::once(None).chain(cts).listed()
    }
}

/// A function with a derivative of its own: `forward` says how the value is computed, `rule` the cotangents of the
/// inputs, in `Var` operations (so it can be differentiated again).
///
/// A rule that captures nothing is recognized in the next step, which then needs no new plan; numbers that it depends on
/// go through [`custom_grad_with`].
///
/// ```
/// use wengert_autograd::{Tape, Tensor, custom_grad, grad};
/// // Rounding whose gradient passes straight through (Bengio et al. 2013).
/// let tape = Tape::<f64>::inference();
/// let x = tape.input(&Tensor::scalar(1.7));
/// let y = custom_grad([x], |[x]| x.round(), |ctx| [Some(ctx.cotangent())].into_iter().collect());
/// assert_eq!((y.item(), grad(y * 3.0, [x])[0].item()), (2.0, 3.0));
/// ```
///
/// # Panics
/// Without inputs; when differentiated, if the rule returns another number of cotangents than inputs, or of another shape.
/// The tape stays usable.
#[track_caller]
pub fn custom_grad<'t, T: Float, const N: usize>(
    inputs: [Var<'t, T>; N],
    forward: impl FnOnce([Var<'t, T>; N]) -> Var<'t, T>,
    rule: impl for<'a> Fn(&VjpCtx<'a, '_, T>) -> Cotangents<'a, T> + Send + Sync + 'static,
) -> Var<'t, T> {
    custom_grad_with(
        (),
        inputs,
        forward,
        move |_: &(), ctx: &VjpCtx<'_, '_, T>| rule(ctx),
    )
}

/// As [`custom_grad`], with numbers that the rule depends on: two steps with equal configuration share their plan.
///
/// ```
/// use wengert_autograd::{Tape, Tensor, custom_grad_with, grad};
/// // The identity whose gradient is reversed and scaled (Ganin and Lempitsky 2015).
/// let tape = Tape::<f64>::inference();
/// let x = tape.input(&Tensor::scalar(1.7));
/// let y = custom_grad_with(0.5, [x], |[x]| x, |&scale, ctx| [Some(ctx.cotangent() * -scale)].into_iter().collect());
/// assert_eq!((y.item(), grad(y * 3.0, [x])[0].item()), (1.7, -1.5));
/// ```
///
/// # Panics
/// As [`custom_grad`].
#[track_caller]
pub fn custom_grad_with<'t, T: Float, C: PartialEq + Send + Sync + 'static, const N: usize>(
    config: C,
    inputs: [Var<'t, T>; N],
    forward: impl FnOnce([Var<'t, T>; N]) -> Var<'t, T>,
    rule: impl for<'a> Fn(&C, &VjpCtx<'a, '_, T>) -> Cotangents<'a, T> + Send + Sync + 'static,
) -> Var<'t, T> {
    assert!(N > 0, "custom_grad: expected at least one input");
    let tape = inputs[0].tape();
    let value = tape.no_grad(|| forward(inputs));
    let args: Vec<Var<'t, T>> = std::iter::once(value).chain(inputs).collect();
    tape.apply(CustomGrad { config, rule }, &args)
}

impl<T: Float> Gradients<T> {
    /// Trainable parameters of a model that got no gradient, with their paths: they have no part in the loss (not used
    /// in the forward pass, or cut off by `detach` or a no-grad region).
    ///
    /// Frozen parameters are not listed: they are not meant to have one.
    pub fn missing(&self, model: &dyn Module<T>) -> Vec<String> {
        struct Missing<'a, T: Real>(&'a Gradients<T>, Vec<String>);
        impl<T: Real> Visitor<T> for Missing<'_, T> {
            fn param(&mut self, path: &str, p: &Param<T>) {
                if p.is_trainable() && self.0.get(p).is_none() {
                    self.1.push(path.to_string());
                }
            }
        }
        let mut v = Missing(self, Vec::new());
        model.visit(&mut Path::new(), &mut v);
        v.1
    }

    /// Adds `scale` times other gradients, parameter by parameter: several losses, or several batches in one update.
    /// Parameters that only `other` has are taken over.
    pub fn accumulate(&mut self, other: &Gradients<T>, scale: f64) {
        let s = T::from_f64(scale);
        let mut new = Vec::new();
        for (at, (id, g)) in other.iter().enumerate() {
            match self.entry_mut(id, at) {
                Some((own, finite)) => {
                    let add = g.contiguous();
                    let add = add.as_slice().unwrap_or_default();
                    *finite = T::add_scaled(own.as_mut_slice(), add, s).is_finite();
                }
                None => {
                    let kept = other.known_finite(at) && scale.abs() <= 1.0;
                    new.push((id, g.map(|x| x * s), kept));
                }
            }
        }
        self.extend(new);
    }
}
