//! Derivatives of an operation's derivative, from a composition.
//!
//! A dedicated kernel for a gradient needs a rule of its own. Where the textbook composition exists, the rule is
//! recorded from it: the composition is written down once, in `Var` operations, and differentiated there and then.

use crate::diff::dependents;
use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::tape::Region;
use crate::var::Var;
use crate::vmap::BatchCtx;
use smallvec::SmallVec;
use std::fmt::Debug;
use wengert_tensor::list::Listed;
use wengert_tensor::{Dims, Real, Result, Tensor};

/// The same value under a node of its own.
#[derive(Debug, PartialEq)]
struct Alias;
impl<T: Float> Op<T> for Alias {
    fn name(&self) -> &'static str {
        "alias"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        ctx.input(0).copy_into(ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        Some(input.clone())
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(ctx.input(0).apply(Alias))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent())]
    }
}

/// Cotangents of `inputs` for `y = f(inputs)`, each input taken for independent of the others.
///
/// `f` gets stand-ins for the inputs that `needs` marks, so that a path from one input to another outside `f` does not
/// enter the result.
pub(crate) fn partials<'t, T: Float>(
    inputs: &[Var<'t, T>],
    needs: &[bool],
    cotangent: Var<'t, T>,
    f: impl FnOnce(&[Var<'t, T>]) -> Var<'t, T>,
) -> Cotangents<'t, T> {
    let tape = cotangent.tape();
    // Inside a no-grad region the result must not be differentiated further, but the composition itself must be.
    let region = Region::enter(tape);
    tape.graph.borrow_mut().no_grad = 0;
    let own: SmallVec<[Var<'t, T>; 12]> = inputs
        .iter()
        .zip(needs)
        .map(|(x, &n)| if n { x.apply(Alias) } else { *x })
        .listed();
    let y = f(&own);
    drop(region);
    let ids: SmallVec<[u32; 4]> = (own.iter().zip(needs))
        .filter(|(_, n)| **n)
        .map(|(v, _)| v.id)
        .listed();
    let depends = dependents(tape, &ids, y.id);
    let adjoint = T::differentiate(tape, &[(y.id, cotangent.id)], &depends);
    (own.iter().zip(needs))
        .map(|(v, &n)| {
            let a = adjoint.get(v.id as usize).copied().flatten();
            a.filter(|_| n).map(|a| Var::new(tape, a))
        })
        .listed()
}

/// What distinguishes one of the results that a kernel makes together.
pub(crate) trait PartRule<T: Float>: Debug + PartialEq + Send + Sync + 'static {
    /// As [`Op::name`].
    fn name(&self) -> &'static str;
    /// As [`Op::vjp`]; the packed result, the first input, gets no cotangent.
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T>;
    /// Whether it is copied, so that a small result does not keep the large ones alive.
    fn is_copied(&self) -> bool {
        false
    }
}

/// One result of a kernel that makes several.
///
/// Such operations compute them into one packed tensor, recorded without gradient; each result is a view of it, recorded as an
/// operation on the packed tensor and the original inputs, with the derivative rule of that result alone. So a result that is not
/// used costs nothing in the backward pass, and each rule reads like its formula.
#[derive(Debug, PartialEq)]
pub(crate) struct PackedPart<R> {
    /// Where it begins along the last axis of the packed tensor.
    pub start: usize,
    pub shape: Dims,
    pub rule: R,
}
impl<T: Float, R: PartRule<T>> Op<T> for PackedPart<R> {
    fn name(&self) -> &'static str {
        self.rule.name()
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        part_copy(ctx.input(0), self.start, &self.shape, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        part_view(input, self.start, &self.shape)
    }
    fn is_view(&self) -> bool {
        !self.rule.is_copied()
    }
    fn reads(&self, i: usize) -> bool {
        i == 0
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        self.rule.vjp(ctx)
    }
}

/// Elements `start..` of the last axis of a packed result, as a view of shape `shape`.
pub(crate) fn part_view<T: Real>(
    packed: &Tensor<T>,
    start: usize,
    shape: &[usize],
) -> Option<Tensor<T>> {
    let (&n, lead) = packed.shape().split_last()?;
    let batch: usize = lead.iter().product();
    let all: usize = shape.iter().product();
    if all == 0 {
        return None;
    }
    debug_assert!(
        start + all / batch <= n,
        "a part lies inside the packed result"
    );
    let l = packed.layout().slice(lead.len(), start, all / batch, 1);
    packed.with_layout(l.reshape(shape)?).ok()
}

/// What [`part_view`] shows, copied; for parts without elements.
pub(crate) fn part_copy<T: Real>(packed: &Tensor<T>, start: usize, shape: &[usize], out: &mut [T]) {
    if let Some(v) = part_view(packed, start, shape) {
        v.copy_into(out);
    }
}
