//! Padding.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, Exact, ForwardCtx, Op, VjpCtx};
use crate::ops::compiled_here;
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::list::Listed;
use wengert_tensor::shape::{Layout, advance, checked_numel};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    PadKernels {
        fn pad_constant(
            x: &Tensor<Self>, shape: &[usize], pads: &[(usize, usize)], value: Self, out: &mut [Self],
        ) = pad_constant;
    }
}

/// `x` among elements of one value, in a row-major array of shape `shape`.
fn pad_constant<T: Real>(
    x: &Tensor<T>,
    shape: &[usize],
    pads: &[(usize, usize)],
    value: T,
    out: &mut [T],
) {
    if x.numel() == 0 {
        return parallel::fill(out, value);
    }
    let Some(last) = pads.iter().rposition(|&p| p != (0, 0)) else {
        return x.copy_into(out);
    };
    // Rows of the last padded axis; the axes behind it stay as they are.
    let sizes = x.shape();
    let inner: usize = sizes[last + 1..].iter().product();
    let [before, len, after] = [pads[last].0, sizes[last], pads[last].1].map(|n| n * inner);
    let to = before + len + after;
    // Read where they lie, if side by side.
    let row = Layout {
        shape: Dims::from_slice(&sizes[last..]),
        strides: x.strides()[last..].iter().copied().listed(),
        offset: 0,
    };
    let x = if row.is_contiguous() {
        x
    } else {
        &x.contiguous()
    };
    let (data, first) = (x.storage().as_slice(), x.layout().offset);
    if out.len() == to {
        parallel::fill(&mut out[..before], value);
        parallel::copy(&data[first..][..len], &mut out[before..before + len]);
        return parallel::fill(&mut out[before + len..], value);
    }
    // Rows of the result, as places of the input.
    let rows = Layout {
        shape: Dims::from_slice(&shape[..last]),
        strides: x.strides()[..last].iter().copied().listed(),
        offset: 0,
    };
    let some = (parallel::GRAIN / 2).div_ceil(to);
    parallel::chunks_mut(out, some * to, |task, out| {
        let (mut index, mut at) = (Dims::from_elem(0, last), first as isize);
        let mut rest = task * some;
        for k in (0..last).rev() {
            index[k] = rest % shape[k];
            rest /= shape[k];
            at += (index[k] as isize - pads[k].0 as isize) * rows.strides[k];
        }
        for out in out.chunks_exact_mut(to) {
            if (0..last).all(|k| index[k].wrapping_sub(pads[k].0) < sizes[k]) {
                out[..before].fill(value);
                out[before..][..len].copy_from_slice(&data[at as usize..][..len]);
                out[before + len..].fill(value);
            } else {
                out.fill(value);
            }
            advance(&rows, &mut index, &mut at, last);
        }
    });
}

/// What stands outside the edges.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Pad {
    /// A number.
    Constant(f64),
    /// Zero.
    #[default]
    Zeros,
    /// The elements mirrored at the edge, without the edge itself: `c b | a b c | b a`.
    Reflect,
    /// The element at the edge: `a a | a b c | c c`.
    Replicate,
    /// The elements from the other end: `b c | a b c | a b`.
    Circular,
}

/// One value around the input; `pads` are elements before and after each axis.
#[derive(Debug, PartialEq)]
struct PadConstant {
    pads: SmallVec<[(usize, usize); 6]>,
    value: Exact,
}
impl<T: Float> Op<T> for PadConstant {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let s: Dims = (inputs[0].iter().zip(&self.pads))
            .map(|(&d, &(a, b))| d.saturating_add(a).saturating_add(b))
            .listed();
        checked_numel("pad", &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, shape) = (ctx.input(0), ctx.shape());
        T::pad_constant(
            x,
            shape,
            &self.pads,
            T::from_f64(self.value.0),
            ctx.output(),
        );
    }
    fn bound(&self, _: &[&[usize]], largest: &dyn Fn(usize) -> f64) -> Option<f64> {
        // A sum, because it keeps NaN.
        Some(largest(0) + self.value.0.abs())
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let mut g = ctx.cotangent();
        for (i, &(before, _)) in self.pads.iter().enumerate() {
            let n = ctx.input(0).shape()[i];
            g = g.narrow(i as isize, before, before + n);
        }
        small![Some(g)]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Elements added around the last `pads.len()` axes: `pads[i]` are the numbers before and after the `i`-th of them.
    /// (PyTorch's `pad` lists the last axis first; here the order is that of the axes.)
    ///
    /// A negative number crops. With [`Pad::Reflect`] a pad must be below the size of its axis, with [`Pad::Circular`]
    /// not above it.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::pad::Pad};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0], [3]));
    /// assert_eq!(x.pad(&[(1, 2)], Pad::Zeros).value().to_vec(), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
    /// assert_eq!(x.pad(&[(2, 1)], Pad::Reflect).value().to_vec(), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When there are more pads than axes, or a pad does not fit the size.
    #[track_caller]
    pub fn pad(self, pads: &[(isize, isize)], mode: Pad) -> Self {
        let shape = self.shape();
        assert!(
            pads.len() <= shape.len(),
            "pad: {} pairs {pads:?} given for shape {:?}",
            pads.len(),
            shape.as_slice()
        );
        let first = shape.len() - pads.len();
        // Crop first; then only additions are left.
        let mut x = self;
        let mut add: SmallVec<[(usize, usize); 6]> = SmallVec::from_elem((0, 0), shape.len());
        for (i, &(before, after)) in pads.iter().enumerate() {
            let axis = first + i;
            let n = shape[axis];
            let (a, b) = (before.min(0).unsigned_abs(), after.min(0).unsigned_abs());
            assert!(
                a.saturating_add(b) <= n,
                "pad: cropping ({before}, {after}) does not fit axis {axis} of shape {:?}",
                shape.as_slice()
            );
            x = x.narrow(axis as isize, a, n - b);
            add[axis] = (before.max(0) as usize, after.max(0) as usize);
        }
        if add.iter().all(|&p| p == (0, 0)) {
            return x;
        }
        let value = match mode {
            Pad::Constant(value) => value,
            Pad::Zeros => 0.0,
            _ => return x.pad_from_inside(&add, mode),
        };
        let value = Exact(value);
        x.apply(PadConstant { pads: add, value })
    }

    #[track_caller]
    fn pad_from_inside(self, add: &[(usize, usize)], mode: Pad) -> Self {
        let mut x = self;
        for (axis, &(before, after)) in add.iter().enumerate() {
            if (before, after) == (0, 0) {
                continue;
            }
            let n = x.shape()[axis];
            let most = match mode {
                Pad::Reflect => n.saturating_sub(1),
                Pad::Circular => n,
                _ if n > 0 => usize::MAX / 4,
                _ => 0,
            };
            assert!(
                before <= most && after <= most,
                "pad: ({before}, {after}) elements do not fit axis {axis} of shape {:?} with {mode:?}: at most {most} \
                 are possible",
                x.shape().as_slice()
            );
            let n = n as i64;
            let places: Vec<i64> = (-(before as i64)..n + after as i64)
                .map(|i| match mode {
                    Pad::Reflect if i < 0 => -i,
                    Pad::Reflect if i >= n => 2 * (n - 1) - i,
                    Pad::Circular => i.rem_euclid(n),
                    _ => i.clamp(0, n - 1),
                })
                .collect();
            let len = places.len();
            x = x.index_select(axis as isize, &Tensor::from_vec(places, [len]));
        }
        x
    }
}
