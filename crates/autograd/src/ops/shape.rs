//! Operations that move or view elements.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::reduce::sum_to;
use crate::var::Var;
use crate::vmap::{BatchCtx, align};
use smallvec::SmallVec;
use std::ops::Range;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;
use wengert_tensor::shape::{self, IntoAxes, checked_numel};
use wengert_tensor::{Dims, IntoDims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    ShapeKernels {
        fn copy_tensor(src: &Tensor<Self>, dst: &mut [Self]) = copy_tensor;
        fn write_slice(src: &Tensor<Self>, dst: &mut [Self], shape: &[usize], axis: usize, start: usize, step: isize)
            = write_slice;
        #[track_caller]
        fn record_reshape<'t>(x: Var<'t, Self>, shape: Dims) -> Var<'t, Self> = record_reshape;
        #[track_caller]
        fn record_broadcast<'t>(x: Var<'t, Self>, shape: Dims) -> Var<'t, Self> = record_broadcast;
        #[track_caller]
        fn record_permute<'t>(x: Var<'t, Self>, order: &[isize]) -> Var<'t, Self> = record_permute;
        #[track_caller]
        fn record_slice<'t>(x: Var<'t, Self>, axis: isize, range: Range<usize>, step: usize) -> Var<'t, Self>
            = record_slice;
    }
}

fn copy_tensor<T: Real>(src: &Tensor<T>, dst: &mut [T]) {
    src.copy_into(dst);
}

/// Writes `src` to the positions `start + k · step` of `axis` in a row-major array of shape `shape`.
fn write_slice<T: Real>(
    src: &Tensor<T>,
    dst: &mut [T],
    shape: &[usize],
    axis: usize,
    start: usize,
    step: isize,
) {
    if src.numel() == 0 {
        return;
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let (n, len) = (shape[axis], src.shape()[axis]);
    // Backwards is forwards from the other end.
    let turned;
    let (src, start) = if step == -1 {
        turned = reversed(src, axis);
        (&turned, start + 1 - len)
    } else {
        (src, start)
    };
    let dense = src.as_slice();
    let some = parallel::GRAIN.div_ceil(n * inner);
    parallel::chunks_mut(dst, some * n * inner, |i, dst| {
        let mut own = Vec::new();
        for (o, dst) in dst.chunks_exact_mut(n * inner).enumerate() {
            let o = i * some + o;
            let part = o * len * inner..(o + 1) * len * inner;
            if step.abs() == 1 {
                let to = &mut dst[start * inner..][..len * inner];
                match dense {
                    Some(s) => parallel::copy(&s[part], to),
                    None => src.copy_part_into(axis, o, to),
                }
                continue;
            }
            let values = match dense {
                Some(s) => &s[part],
                None => {
                    own.resize(len * inner, T::zero());
                    src.copy_part_into(axis, o, &mut own);
                    &own
                }
            };
            for (k, values) in values.chunks_exact(inner).enumerate() {
                let at = (start as isize + k as isize * step) as usize;
                dst[at * inner..][..inner].copy_from_slice(values);
            }
        }
    });
}

/// The same elements in the other order along an axis.
fn reversed<T: Real>(x: &Tensor<T>, axis: usize) -> Tensor<T> {
    let mut layout = x.layout().clone();
    let last = layout.strides[axis] * (layout.shape[axis] as isize - 1);
    layout.offset = layout.offset.wrapping_add_signed(last);
    layout.strides[axis] *= -1;
    x.with_layout(layout).expect("the same elements")
}

#[derive(Debug, PartialEq)]
pub(crate) struct Reshape(Dims);
impl<T: Float> Op<T> for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (from, to) = (
            checked_numel("reshape", inputs[0])?,
            checked_numel("reshape", &self.0)?,
        );
        if from != to {
            return Err(shape_error(
                "reshape",
                format!(
                    "shape {:?} of {from} elements does not go into {:?} of {to}",
                    inputs[0],
                    self.0.as_slice()
                ),
            ));
        }
        Ok(self.0.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::copy_tensor(ctx.input(0), ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        let layout = input.layout().reshape(&self.0)?;
        input.with_layout(layout).ok()
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(ctx.input(0).reshape(ctx.shape(&self.0)))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent().reshape(ctx.input(0).shape()))]
    }
}

/// Axes in another order.
#[derive(Debug, PartialEq)]
pub(crate) struct Permute(pub SmallVec<[isize; 6]>);
impl<T: Float> Op<T> for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let l = wengert_tensor::Layout::contiguous(Dims::from_slice(inputs[0]));
        Ok(l.permute("permute", &self.0)?.shape)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::copy_tensor(&ctx.input(0).permuted(&self.0), ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        Some(input.permuted(&self.0))
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let order: SmallVec<[isize; 6]> = std::iter::once(0)
            .chain(self.0.iter().map(|a| a + 1))
            .listed();
        Some(ctx.input(0).permute(order))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent().permute(inverse(&self.0)))]
    }
}

#[derive(Debug, PartialEq)]
struct BroadcastTo(Dims);
impl<T: Float> Op<T> for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let l = wengert_tensor::Layout::contiguous(Dims::from_slice(inputs[0]));
        Ok(l.broadcast_to("broadcast_to", &self.0)?.shape)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::copy_tensor(&ctx.input(0).broadcast_to(&self.0), ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        input.try_broadcast_to(&self.0).ok()
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(align(ctx.input(0), self.0.len()).broadcast_to(ctx.shape(&self.0)))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(sum_to(ctx.cotangent(), &ctx.input(0).shape()))]
    }
}

/// Elements `start`, `start + step`, … (`len` of them) of an axis.
#[derive(Debug, PartialEq, Clone, Copy)]
pub(super) struct Slice {
    pub axis: usize,
    pub start: usize,
    pub len: usize,
    pub step: isize,
}
impl<T: Float> Op<T> for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[0]);
        s[self.axis] = self.len;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let view = x
            .with_layout(x.layout().slice(self.axis, self.start, self.len, self.step))
            .or_panic();
        T::copy_tensor(&view, ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        let l = input
            .layout()
            .slice(self.axis, self.start, self.len, self.step);
        input.with_layout(l).ok()
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let axis = self.axis + 1;
        Some(ctx.input(0).apply(Slice { axis, ..*self }))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let shape = ctx.input(0).shape();
        small![Some(ctx.cotangent().apply(Embed {
            slice: *self,
            shape
        }))]
    }
}

/// The adjoint of [`Slice`]: zeros with the input at the slice's places.
#[derive(Debug, PartialEq)]
pub(super) struct Embed {
    pub slice: Slice,
    pub shape: Dims,
}
impl<T: Float> Op<T> for Embed {
    fn name(&self) -> &'static str {
        "slice_embed"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        parallel::fill(ctx.output(), T::zero());
        let s = self.slice;
        T::write_slice(x, ctx.output(), &self.shape, s.axis, s.start, s.step);
    }
    fn bound(&self, _: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        Some(largest(0))
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let axis = self.slice.axis + 1;
        Some(ctx.input(0).apply(Embed {
            slice: Slice { axis, ..self.slice },
            shape: ctx.shape(&self.shape),
        }))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent().apply(self.slice))]
    }
}

/// Operands joined along an axis, the first `lead` axes being those of batches. Without them, one of shape `[0]` is passed over.
#[derive(Debug, PartialEq)]
struct Cat {
    axis: usize,
    lead: usize,
}
impl Cat {
    fn passes_over(&self, shape: &[usize]) -> bool {
        shape.len() == self.lead + 1 && shape[self.lead] == 0
    }
}
impl<T: Float> Op<T> for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let axis = self.axis;
        let mut parts = inputs.iter().filter(|s| !self.passes_over(s));
        let first = parts.next().unwrap_or(&inputs[0]);
        let mut out = Dims::from_slice(first);
        for s in parts {
            let fits = s.len() == out.len() && (0..s.len()).all(|i| i == axis || s[i] == out[i]);
            if !fits {
                return Err(shape_error(
                    "cat",
                    format!(
                        "shapes {first:?} and {s:?} differ outside axis {axis}: all other sizes must be equal"
                    ),
                ));
            }
            out[axis] += s[axis];
        }
        checked_numel("cat", &out)?;
        Ok(out)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let mut at = 0;
        let shape = ctx.shape();
        for i in 0..ctx.len() {
            let x = ctx.input(i);
            if !self.passes_over(x.shape()) {
                T::write_slice(x, ctx.output(), shape, self.axis, at, 1);
                at += x.shape()[self.axis];
            }
        }
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        let parts: SmallVec<[Var<'t, T>; 12]> = (0..ctx.len()).map(|i| ctx.lifted(i)).listed();
        let (axis, lead) = (self.axis + 1, self.lead + 1);
        Some(parts[0].tape().apply(Cat { axis, lead }, &parts))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let mut at = 0;
        let axis = self.axis as isize;
        (0..ctx.inputs().len())
            .map(|i| {
                let x = ctx.input(i);
                if self.passes_over(&x.shape()) {
                    return ctx.needs(i).then(|| x.tape().zeros(x.shape()));
                }
                let n = x.size(axis);
                at += n;
                ctx.needs(i)
                    .then(|| ctx.cotangent().narrow(axis, at - n, at))
            })
            .listed()
    }
}

/// The same value, as a variable of its own. A gradient flows through it, or ends there.
#[derive(Debug, PartialEq)]
struct Same {
    flows: bool,
}
impl<T: Float> Op<T> for Same {
    fn name(&self) -> &'static str {
        if self.flows { "same" } else { "detach" }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::copy_tensor(ctx.input(0), ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        Some(input.clone())
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(ctx.input(0).apply(Same { flows: self.flows }))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![self.flows.then(|| ctx.cotangent())]
    }
}

/// A copy in row-major order.
#[derive(Debug, PartialEq)]
struct Contiguous;
impl<T: Float> Op<T> for Contiguous {
    fn name(&self) -> &'static str {
        "contiguous"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::copy_tensor(ctx.input(0), ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        input.is_contiguous().then(|| input.clone())
    }
    fn is_view(&self) -> bool {
        true
    }
    fn batch<'t>(&self, ctx: &BatchCtx<'t, '_, T>) -> Option<Var<'t, T>> {
        Some(ctx.input(0).apply(Contiguous))
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent())]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The same elements under another shape. A view where the strides allow, else a copy.
    ///
    /// # Panics
    /// When the number of elements differs.
    #[track_caller]
    pub fn reshape(self, shape: impl IntoDims) -> Self {
        T::record_reshape(self, shape.into_dims())
    }

    /// All axes from `start` to `end` (inclusive) merged into one.
    #[track_caller]
    pub fn flatten(self, start: isize, end: isize) -> Self {
        let s = self.shape();
        let a = shape::axis("flatten", start, s.len().max(1)).or_panic();
        let b = shape::axis("flatten", end, s.len().max(1)).or_panic();
        if s.is_empty() {
            return self.reshape([1]);
        }
        assert!(
            a <= b,
            "flatten: start axis {start} comes after end axis {end} (shape {:?})",
            s.as_slice()
        );
        let mut out = Dims::from_slice(&s[..a]);
        out.push(s[a..=b].iter().product());
        out.extend_from_slice(&s[b + 1..]);
        self.reshape(out)
    }

    /// The axes in another order; a view.
    ///
    /// # Panics
    /// When `order` does not name each axis once.
    #[track_caller]
    pub fn permute(self, order: impl IntoAxes) -> Self {
        T::record_permute(self, &order.into_axes())
    }

    /// If it is a permuted view, perhaps through several permutations: the order of its axes in what it is a view of, and that.
    ///
    /// To look at: what is recorded has to go through the views in between, on which somebody may have a hook or a derivative.
    pub(crate) fn unpermuted(self) -> Option<(SmallVec<[isize; 6]>, Self)> {
        let g = self.tape().graph.borrow();
        let step = |id: u32| {
            let n = &g.nodes[id as usize];
            let crate::op::NodeOp::Op(op) = &n.op else {
                return None;
            };
            let p = op.as_any().downcast_ref::<Permute>()?;
            (!n.stop()).then(|| (&p.0, n.args[0]))
        };
        let (order, mut from) = step(self.id)?;
        let mut order = order.clone();
        while let Some((inner, next)) = step(from) {
            order.iter_mut().for_each(|a| *a = inner[*a as usize]);
            from = next;
        }
        Some((order, Var::new(self.tape(), from)))
    }

    /// The order of [`Var::unpermuted`], if it is not that of the axes themselves.
    pub(crate) fn permutation(self) -> Option<SmallVec<[isize; 6]>> {
        (self.unpermuted()).and_then(|(order, _)| (!is_identity(&order)).then_some(order))
    }

    /// Two axes exchanged; a view.
    #[track_caller]
    pub fn transpose(self, a: isize, b: isize) -> Self {
        let rank = self.rank();
        let (a, b) = (
            shape::axis("transpose", a, rank.max(1)).or_panic(),
            shape::axis("transpose", b, rank.max(1)).or_panic(),
        );
        if rank == 0 {
            return self;
        }
        let mut order: SmallVec<[isize; 6]> = (0..rank as isize).listed();
        order.swap(a, b);
        self.permute(order)
    }

    /// The last two axes exchanged; a view.
    ///
    /// # Panics
    /// Below rank 2.
    #[track_caller]
    pub fn t(self) -> Self {
        assert!(
            self.rank() >= 2,
            "t: expected at least 2 axes, found shape {:?}",
            self.shape().as_slice()
        );
        self.transpose(-1, -2)
    }

    /// Stretched to `shape` by the rules of broadcasting; a view.
    ///
    /// # Panics
    /// When the shape does not broadcast.
    #[track_caller]
    pub fn broadcast_to(self, shape: impl IntoDims) -> Self {
        T::record_broadcast(self, shape.into_dims())
    }

    /// A new axis of size 1 at `axis`.
    #[track_caller]
    pub fn unsqueeze(self, axis: isize) -> Self {
        let mut s = self.shape();
        let a = shape::axis("unsqueeze", axis, s.len() + 1).or_panic();
        s.insert(a, 1);
        self.reshape(s)
    }

    /// Without an axis of size 1.
    ///
    /// # Panics
    /// When its size is not 1.
    #[track_caller]
    pub fn squeeze(self, axis: isize) -> Self {
        let mut s = self.shape();
        let a = shape::axis("squeeze", axis, s.len().max(1)).or_panic();
        if s.is_empty() {
            return self;
        }
        assert!(
            s[a] == 1,
            "squeeze: axis {axis} of shape {:?} has size {}, expected 1",
            s.as_slice(),
            s[a]
        );
        s.remove(a);
        self.reshape(s)
    }

    /// Elements `start..end` of an axis; a view.
    ///
    /// # Panics
    /// When the range does not lie in the axis.
    #[track_caller]
    pub fn narrow(self, axis: isize, start: usize, end: usize) -> Self {
        self.slice(axis, start, end, 1)
    }

    /// Elements `start`, `start + step`, … below `end` of an axis; a view.
    ///
    /// # Panics
    /// When the range does not lie in the axis or the step is 0.
    #[track_caller]
    pub fn slice(self, axis: isize, start: usize, end: usize, step: usize) -> Self {
        T::record_slice(self, axis, start..end, step)
    }

    /// The elements at index `i` of an axis; the axis goes.
    #[track_caller]
    pub fn select(self, axis: isize, i: usize) -> Self {
        let s = self.shape();
        let a = shape::axis("select", axis, s.len()).or_panic();
        assert!(
            i < s[a],
            "select: index {i} is out of range for axis {axis} of shape {:?}",
            s.as_slice()
        );
        self.narrow(axis, i, i + 1).squeeze(a as isize)
    }

    /// The order of the elements along some axes reversed; a view.
    #[track_caller]
    pub fn flip(self, axes: impl IntoAxes) -> Self {
        let set = self.set("flip", axes);
        let s = self.shape();
        let mut x = self;
        for (i, &d) in s.iter().enumerate() {
            if set >> i & 1 == 1 && d > 0 {
                x = x.apply(Slice {
                    axis: i,
                    start: d - 1,
                    len: d,
                    step: -1,
                });
            }
        }
        x
    }

    /// Tensors joined along an axis. One of shape `[0]` is passed over, whatever the rank of the others (as in PyTorch): a
    /// collection may begin with it.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, Var};
    /// let tape = Tape::<f32>::inference();
    /// let mut rows = tape.zeros([0]);
    /// for i in 0..3 {
    ///     rows = Var::cat(&[rows, tape.full([1, 2], f64::from(i))], 0);
    /// }
    /// assert_eq!(rows.value().to_vec(), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When there is none, or sizes differ outside the axis.
    #[track_caller]
    pub fn cat(parts: &[Self], axis: isize) -> Self {
        assert!(!parts.is_empty(), "cat: expected at least one tensor");
        let mut shapes = parts.iter().map(Var::shape);
        let rank = shapes.find(|s| s.as_slice() != [0]).map_or(1, |s| s.len());
        let axis = shape::axis("cat", axis, rank).or_panic();
        if parts.len() == 1 {
            return parts[0];
        }
        parts[0].tape().apply(Cat { axis, lead: 0 }, parts)
    }

    /// Tensors of one shape joined along a new axis.
    ///
    /// # Panics
    /// When there is none, or shapes differ.
    #[track_caller]
    pub fn stack(parts: &[Self], axis: isize) -> Self {
        let mut wide: SmallVec<[Self; 12]> = SmallVec::with_capacity(parts.len());
        for p in parts {
            wide.push(p.unsqueeze(axis));
        }
        assert!(!wide.is_empty(), "stack: expected at least one tensor");
        let a = shape::axis("stack", axis, wide[0].rank()).or_panic();
        Self::cat(&wide, a as isize)
    }

    /// The same value; no gradient flows through it.
    #[track_caller]
    pub fn detach(self) -> Self {
        self.tape().apply_no_grad(Same { flows: false }, &[self])
    }

    /// The same value as a variable of its own: what is differentiated with respect to one of them, or hooked, is not the other.
    #[track_caller]
    pub(crate) fn apart(self) -> Self {
        self.apply(Same { flows: true })
    }

    /// The same value in row-major memory order; a copy only where needed.
    #[track_caller]
    pub fn contiguous(self) -> Self {
        self.apply(Contiguous)
    }
}

/// [`Var::reshape`], compiled in this crate.
#[track_caller]
fn record_reshape<T: Float>(x: Var<'_, T>, shape: Dims) -> Var<'_, T> {
    if x.shape() == shape {
        return x;
    }
    x.apply(Reshape(shape))
}

/// [`Var::broadcast_to`], compiled in this crate.
#[track_caller]
fn record_broadcast<T: Float>(x: Var<'_, T>, shape: Dims) -> Var<'_, T> {
    if x.shape() == shape {
        return x;
    }
    x.apply(BroadcastTo(shape))
}

/// Whether it is the order of the axes as they are.
pub(crate) fn is_identity(order: &[isize]) -> bool {
    order.iter().enumerate().all(|(i, &a)| a == i as isize)
}

/// The order that undoes `order`.
pub(crate) fn inverse(order: &[isize]) -> SmallVec<[isize; 6]> {
    let mut back = SmallVec::from_elem(0, order.len());
    (order.iter().enumerate()).for_each(|(i, &a)| back[a as usize] = i as isize);
    back
}

/// [`Var::permute`], compiled in this crate.
#[track_caller]
fn record_permute<'t, T: Float>(x: Var<'t, T>, order: &[isize]) -> Var<'t, T> {
    let rank = x.rank();
    let mut o: SmallVec<[isize; 6]> = SmallVec::new();
    for a in order {
        o.push(shape::axis("permute", *a, rank).or_panic() as isize);
    }
    if o.len() == rank && is_identity(&o) {
        return x;
    }
    x.apply(Permute(o))
}

/// [`Var::slice`], compiled in this crate.
#[track_caller]
fn record_slice<T: Float>(
    x: Var<'_, T>,
    axis: isize,
    range: Range<usize>,
    step: usize,
) -> Var<'_, T> {
    let Range { start, end } = range;
    let s = x.shape();
    let a = shape::axis("slice", axis, s.len()).or_panic();
    assert!(step > 0, "slice: expected a step of at least 1, found 0");
    assert!(
        start <= end && end <= s[a],
        "slice: range {start}..{end} does not lie in axis {axis} of shape {:?}",
        s.as_slice()
    );
    if start == 0 && end == s[a] && step == 1 {
        return x;
    }
    x.apply(Slice {
        axis: a,
        start,
        len: (end - start).div_ceil(step),
        step: step as isize,
    })
}
