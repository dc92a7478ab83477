//! Sliding windows: unfolding (a view) and folding (its adjoint, which sums what overlaps).

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::pad::Pad;
use crate::var::Var;
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Layout, Result, Tensor, shape};

/// Windows along an axis, as a last axis.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Windows {
    axis: usize,
    size: usize,
    step: usize,
    dilation: usize,
}

impl Windows {
    /// Number of windows in `n` elements.
    fn count(&self, n: usize) -> Option<usize> {
        let reach = match self.size {
            0 => 0,
            s => (s - 1).checked_mul(self.dilation)?.checked_add(1)?,
        };
        Some(n.checked_sub(reach)? / self.step + 1)
    }

    fn layout(&self, from: &Layout) -> Option<Layout> {
        let count = self.count(from.shape[self.axis])?;
        let mut l = from.clone();
        let s = l.strides[self.axis];
        l.shape[self.axis] = count;
        l.strides[self.axis] = s * self.step as isize;
        l.shape.push(self.size);
        l.strides.push(s * self.dilation as isize);
        Some(l)
    }
}

impl<T: Float> Op<T> for Windows {
    fn name(&self) -> &'static str {
        "unfold"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let l = self
            .layout(&Layout::contiguous(Dims::from_slice(inputs[0])))
            .ok_or_else(|| {
                shape_error(
                    "unfold",
                    format!(
                        "a window of {} elements {} apart does not fit axis {} of shape {:?}",
                        self.size, self.dilation, self.axis, inputs[0]
                    ),
                )
            })?;
        shape::checked_numel("unfold", &l.shape)?;
        Ok(l.shape)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let l = self.layout(x.layout()).expect("the shape was checked");
        x.with_layout(l).or_panic().copy_into(ctx.output());
    }
    fn view(&self, input: &Tensor<T>) -> Option<Tensor<T>> {
        input.with_layout(self.layout(input.layout())?).ok()
    }
    fn is_view(&self) -> bool {
        true
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let n = ctx.input(0).shape()[self.axis];
        small![Some(ctx.cotangent().apply(Overlap { windows: *self, n }))]
    }
}

/// The adjoint of [`Windows`]: every window added at its place along an axis of `n` elements.
#[derive(Debug, PartialEq)]
struct Overlap {
    windows: Windows,
    n: usize,
}
impl<T: Float> Op<T> for Overlap {
    fn name(&self) -> &'static str {
        "fold"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let w = &self.windows;
        let mut s = Dims::from_slice(inputs[0]);
        let last = s.pop();
        if w.count(self.n) != Some(s[w.axis]) || last != Some(w.size) {
            return Err(shape_error(
                "fold",
                format!(
                    "windows of shape {:?} do not come from {} elements in windows of {} at steps of {} with elements \
                     {} apart",
                    inputs[0], self.n, w.size, w.step, w.dilation
                ),
            ));
        }
        s[w.axis] = self.n;
        shape::checked_numel("fold", &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let x = ctx.input(0);
        let w = self.windows;
        let inner: usize = x.shape()[w.axis + 1..x.rank() - 1].iter().product();
        let outer: usize = x.shape()[..w.axis].iter().product();
        let count = x.shape()[w.axis];
        let n = self.n;
        let out = ctx.output();
        out.fill(T::zero());
        if x.numel() == 0 {
            return;
        }
        let mut it = x.iter();
        for o in 0..outer {
            for k in 0..count {
                for i in 0..inner {
                    for j in 0..w.size {
                        let at = (o * n + k * w.step + j * w.dilation) * inner + i;
                        out[at] += it.next().expect("as many elements as the shape says");
                    }
                }
            }
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![Some(ctx.cotangent().apply(self.windows))]
    }
}

/// Windows over images: sizes of the two axes of each setting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Window2d {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Zeros added on both sides.
    pub padding: [usize; 2],
    /// Distance between the elements of a window.
    pub dilation: [usize; 2],
}

impl Window2d {
    /// Windows of a size, at steps of 1, without padding or dilation.
    pub fn new(kernel: [usize; 2]) -> Self {
        Window2d {
            kernel,
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
        }
    }

    /// The windows along axis `2 + i` of an image whose earlier windows stand in last axes already.
    #[track_caller]
    fn axis(&self, i: usize) -> Windows {
        assert!(
            self.stride[i] > 0 && self.dilation[i] > 0 && self.kernel[i] > 0,
            "unfold2d: expected kernel, stride and dilation of at least 1, found {self:?}"
        );
        Windows {
            axis: 2 + i,
            size: self.kernel[i],
            step: self.stride[i],
            dilation: self.dilation[i],
        }
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Windows of `size` elements along an axis, one every `step` elements, as a last axis; a view (PyTorch's
    /// `Tensor.unfold`).
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [4]));
    /// assert_eq!(x.unfold(0, 2, 1).value().to_vec(), [1.0, 2.0, 2.0, 3.0, 3.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// When the axis is out of range or shorter than a window, or the step is 0.
    #[track_caller]
    pub fn unfold(self, axis: isize, size: usize, step: usize) -> Self {
        let (x, axis) = self.line("unfold", axis);
        assert!(step > 0, "unfold: expected a step of at least 1, found 0");
        let windows = x.apply(Windows {
            axis,
            size,
            step,
            dilation: 1,
        });
        if self.rank() == 0 {
            return windows.select(0, 0);
        }
        windows
    }

    /// The adjoint of [`Var::unfold`]: windows, as a last axis, added at their places along an axis of `n` elements.
    ///
    /// # Panics
    /// When the windows do not come from `n` elements at this step.
    #[track_caller]
    pub fn fold(self, axis: isize, n: usize, step: usize) -> Self {
        let rank = self.rank();
        assert!(
            rank >= 2,
            "fold: expected windows as a last axis, found shape {:?}",
            self.shape().as_slice()
        );
        let axis = shape::axis("fold", axis, rank - 1).or_panic();
        assert!(step > 0, "fold: expected a step of at least 1, found 0");
        let windows = Windows {
            axis,
            size: self.size(-1),
            step,
            dilation: 1,
        };
        self.apply(Overlap { windows, n })
    }

    /// Windows of images as columns: `[n, c, h, w]` → `[n, c · kh · kw, windows]` (PyTorch's `nn.Unfold`, im2col).
    ///
    /// # Panics
    /// When the rank is not 4 or a window does not fit.
    #[track_caller]
    pub fn unfold2d(self, w: Window2d) -> Self {
        let s = self.shape();
        assert!(
            s.len() == 4,
            "unfold2d: expected images of shape [n, c, h, w], found {:?}",
            s.as_slice()
        );
        let p = w.padding.map(|p| (p as isize, p as isize));
        let x = self.pad(&p, Pad::Zeros).apply(w.axis(0)).apply(w.axis(1));
        let [rows, cols] = [x.size(2), x.size(3)];
        x.permute([0, 1, 4, 5, 2, 3])
            .reshape([s[0], s[1] * w.kernel[0] * w.kernel[1], rows * cols])
    }

    /// The adjoint of [`Var::unfold2d`]: columns added at their places in images of the given height and width (PyTorch's
    /// `nn.Fold`, col2im).
    ///
    /// # Panics
    /// When the columns do not come from images of this size.
    #[track_caller]
    pub fn fold2d(self, size: [usize; 2], w: Window2d) -> Self {
        let s = self.shape();
        let axes = [w.axis(0), w.axis(1)];
        let padded = [0, 1].map(|i| size[i].saturating_add(2 * w.padding[i]));
        let counts = [0, 1].map(|i| axes[i].count(padded[i]).unwrap_or(0));
        let area = w.kernel[0] * w.kernel[1];
        assert!(
            s.len() == 3 && s[1].is_multiple_of(area) && s[2] == counts[0] * counts[1],
            "fold2d: columns of shape {:?} do not come from images of size {size:?} with {w:?} (expected \
             [n, c · {area}, {}])",
            s.as_slice(),
            counts[0] * counts[1]
        );
        let x = self
            .reshape([
                s[0],
                s[1] / area,
                w.kernel[0],
                w.kernel[1],
                counts[0],
                counts[1],
            ])
            .permute([0, 1, 4, 5, 2, 3])
            .apply(Overlap {
                windows: axes[1],
                n: padded[1],
            })
            .apply(Overlap {
                windows: axes[0],
                n: padded[0],
            });
        x.narrow(2, w.padding[0], w.padding[0] + size[0]).narrow(
            3,
            w.padding[1],
            w.padding[1] + size[1],
        )
    }
}
