//! Resizing by interpolation, and the shuffles between channels and places.
//!
//! Interpolation is linear and works axis by axis: an output element is a weighted sum of at most four input elements of
//! its line. The gradient is the transposed sum, whose gradient is the first one again.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::var::Var;
use wengert_tensor::{Dims, Real, Result, Tensor, parallel, shape};

compiled_here! {
    /// Kernels of this file.
    InterpolateKernels {
        fn resample(x: &Tensor<Self>, out: &mut [Self], line: &Line, axis: usize) = resample;
        fn resample_adjoint(g: &Tensor<Self>, out: &mut [Self], line: &Line, axis: usize) = resample_adjoint;
    }
}

/// How values between the elements are found. (PyTorch's mode `area` is [`Var::adaptive_avg_pool`].)
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Interpolation {
    /// The element at ⌊i · n / m⌋ (PyTorch's `nearest`).
    Nearest,
    /// The nearest element when elements are cells with their value in the middle: ⌊(i + ½) · n / m⌋ (PyTorch's
    /// `nearest-exact`).
    NearestExact,
    /// Straight lines between neighbours: linear, bilinear, trilinear, by the number of axes.
    Linear {
        /// Whether the first and last elements of input and output lie on each other (otherwise the edges of their cells
        /// do, PyTorch's default).
        align_corners: bool,
    },
    /// Cubic convolution with a = -¾ (Keys 1981) over four neighbours, those beyond the edges repeated: bicubic.
    Cubic {
        /// As for [`Interpolation::Linear`].
        align_corners: bool,
    },
}

impl Interpolation {
    /// [`Interpolation::Linear`] with PyTorch's default.
    pub const LINEAR: Self = Interpolation::Linear {
        align_corners: false,
    };
    /// [`Interpolation::Cubic`] with PyTorch's default.
    pub const CUBIC: Self = Interpolation::Cubic {
        align_corners: false,
    };
}

/// One axis: `n` elements become `m`, which lie `scale` input elements apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line {
    n: usize,
    m: usize,
    scale: f64,
    mode: Interpolation,
}

/// Weights of the four neighbours at distance `t` after the second of them.
fn cubic(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

impl Line {
    /// Number of input elements of an output element.
    fn taps(&self) -> usize {
        match self.mode {
            Interpolation::Nearest | Interpolation::NearestExact => 1,
            Interpolation::Linear { .. } => 2,
            Interpolation::Cubic { .. } => 4,
        }
    }

    /// The input elements of output element `o`, and their weights.
    fn at(&self, o: usize) -> ([usize; 4], [f64; 4]) {
        let last = self.n - 1;
        let nearest = |x: usize| ([x.min(last), 0, 0, 0], [1.0, 0.0, 0.0, 0.0]);
        // Whole numbers decide exactly where the distance is n / m.
        let whole = self.scale == self.n as f64 / self.m as f64;
        let (k, o) = (o, o as f64);
        match self.mode {
            Interpolation::Nearest if whole => nearest(k * self.n / self.m),
            Interpolation::Nearest => nearest((o * self.scale).floor() as usize),
            Interpolation::NearestExact if whole => nearest((2 * k + 1) * self.n / (2 * self.m)),
            Interpolation::NearestExact => nearest(((o + 0.5) * self.scale).floor() as usize),
            Interpolation::Linear { align_corners } => {
                let x = if align_corners {
                    o * self.scale
                } else {
                    ((o + 0.5) * self.scale - 0.5).max(0.0)
                };
                let i = (x.floor() as usize).min(last);
                let t = (x - i as f64).clamp(0.0, 1.0);
                ([i, (i + 1).min(last), 0, 0], [1.0 - t, t, 0.0, 0.0])
            }
            Interpolation::Cubic { align_corners } => {
                let x = if align_corners {
                    o * self.scale
                } else {
                    (o + 0.5) * self.scale - 0.5
                };
                let i = x.floor();
                let places =
                    [-1.0, 0.0, 1.0, 2.0].map(|k| (i + k).clamp(0.0, last as f64) as usize);
                (places, cubic(x - i))
            }
        }
    }
}

/// Planes handed to one task: runs of `size` elements of the output.
fn grain(size: usize) -> usize {
    (parallel::GRAIN / 4).div_ceil(size.max(1)).max(1)
}

fn resample<T: Real>(x: &Tensor<T>, out: &mut [T], line: &Line, axis: usize) {
    let inner: usize = x.shape()[axis + 1..].iter().product();
    if out.is_empty() {
        return;
    }
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    let table: Vec<_> = (0..line.m).map(|o| line.at(o)).collect();
    let (from, to) = (line.n * inner, line.m * inner);
    let some = grain(to);
    parallel::chunks_mut(out, some * to, |c, out| {
        for (p, out) in out.chunks_exact_mut(to).enumerate() {
            let x = &x[(c * some + p) * from..][..from];
            for (y, (places, weights)) in out.chunks_exact_mut(inner).zip(&table) {
                let row = |k: usize| &x[places[k] * inner..][..inner];
                let w = weights.map(T::from_f64);
                match line.taps() {
                    1 => y.copy_from_slice(row(0)),
                    2 => {
                        for ((y, &a), &b) in y.iter_mut().zip(row(0)).zip(row(1)) {
                            *y = a * w[0] + b * w[1];
                        }
                    }
                    _ => {
                        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                        for i in 0..inner {
                            y[i] = a[i] * w[0] + b[i] * w[1] + c[i] * w[2] + d[i] * w[3];
                        }
                    }
                }
            }
        }
    });
}

fn resample_adjoint<T: Real>(g: &Tensor<T>, out: &mut [T], line: &Line, axis: usize) {
    let inner: usize = g.shape()[axis + 1..].iter().product();
    if out.is_empty() {
        return;
    }
    let g = g.contiguous();
    let g = g.as_slice().expect("made contiguous above");
    let table: Vec<_> = (0..line.m).map(|o| line.at(o)).collect();
    let (from, to) = (line.m * inner, line.n * inner);
    let some = grain(to);
    parallel::chunks_mut(out, some * to, |c, out| {
        out.fill(T::zero());
        for (p, x) in out.chunks_exact_mut(to).enumerate() {
            let g = &g[(c * some + p) * from..][..from];
            for (g, (places, weights)) in g.chunks_exact(inner).zip(&table) {
                for k in 0..line.taps() {
                    let w = T::from_f64(weights[k]);
                    let x = &mut x[places[k] * inner..][..inner];
                    x.iter_mut().zip(g).for_each(|(x, &g)| *x += g * w);
                }
            }
        }
    });
}

/// Resampling of one axis.
#[derive(Debug, PartialEq)]
struct Resample {
    line: Line,
    axis: usize,
}
impl<T: Float> Op<T> for Resample {
    fn name(&self) -> &'static str {
        "interpolate"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[0]);
        if s[self.axis] == 0 || self.line.m == 0 {
            return Err(shape_error(
                "interpolate",
                format!(
                    "expected at least one element along each axis, found {} to make from axis {} of shape {:?}",
                    self.line.m, self.axis, inputs[0]
                ),
            ));
        }
        s[self.axis] = self.line.m;
        shape::checked_numel("interpolate", &s)?;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::resample(ctx.input(0), ctx.output(), &self.line, self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let &Resample { line, axis } = self;
        small![Some(ctx.cotangent().apply(Adjoint { line, axis }))]
    }
}

/// The adjoint of [`Resample`].
#[derive(Debug, PartialEq)]
struct Adjoint {
    line: Line,
    axis: usize,
}
impl<T: Float> Op<T> for Adjoint {
    fn name(&self) -> &'static str {
        "interpolate_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let mut s = Dims::from_slice(inputs[0]);
        s[self.axis] = self.line.n;
        Ok(s)
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::resample_adjoint(ctx.input(0), ctx.output(), &self.line, self.axis);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let &Adjoint { line, axis } = self;
        small![Some(ctx.cotangent().apply(Resample { line, axis }))]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The last `D` axes resized to `sizes` (PyTorch's `interpolate`; one size for lines, two for images, three for
    /// volumes).
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::interpolate::Interpolation};
    /// let tape = Tape::<f32>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 3.0], [1, 1, 2]));
    /// assert_eq!(x.interpolate([4], Interpolation::Nearest).value().to_vec(), [1.0, 1.0, 3.0, 3.0]);
    /// assert_eq!(x.interpolate([4], Interpolation::LINEAR).value().to_vec(), [1.0, 1.5, 2.5, 3.0]);
    /// ```
    ///
    /// # Panics
    /// When there are fewer than `D` axes, or a size is 0.
    #[track_caller]
    pub fn interpolate<const D: usize>(self, sizes: [usize; D], mode: Interpolation) -> Self {
        self.resize(sizes.map(|m| (m, None)), mode)
    }

    /// The last `D` axes resized by `factors`: n elements become ⌊n · factor⌋, which lie 1 / factor input elements apart
    /// (PyTorch's `scale_factor`). With aligned corners the distance follows from the sizes.
    ///
    /// # Panics
    /// When there are fewer than `D` axes, a factor is not positive and finite, or an axis would lose all elements.
    #[track_caller]
    pub fn interpolate_by<const D: usize>(self, factors: [f64; D], mode: Interpolation) -> Self {
        let first = self.first_of("interpolate", D);
        let mut i = 0;
        let shape = self.shape();
        let sizes = factors.map(|f| {
            assert!(
                f > 0.0 && f.is_finite(),
                "interpolate: expected factors above 0, found {factors:?}"
            );
            let m = (shape[first + i] as f64 * f).floor() as usize;
            i += 1;
            (m, Some(1.0 / f))
        });
        self.resize(sizes, mode)
    }

    /// The first of the last `d` axes.
    #[track_caller]
    fn first_of(self, op: &str, d: usize) -> usize {
        let shape = self.shape();
        assert!(
            shape.len() >= d,
            "{op}: expected at least {d} axes, found shape {:?}",
            shape.as_slice()
        );
        shape.len() - d
    }

    #[track_caller]
    fn resize<const D: usize>(self, to: [(usize, Option<f64>); D], mode: Interpolation) -> Self {
        let first = self.first_of("interpolate", D);
        let mut x = self;
        let shape = self.shape();
        // The last axis comes first: its lines are short strides, and later axes see whole rows.
        for (i, (m, scale)) in to.into_iter().enumerate().rev() {
            let axis = first + i;
            let n = shape[axis];
            let aligned = matches!(
                mode,
                Interpolation::Linear {
                    align_corners: true
                } | Interpolation::Cubic {
                    align_corners: true
                }
            );
            let scale = if aligned {
                // One element lies on the first.
                if m > 1 {
                    n.saturating_sub(1) as f64 / (m - 1) as f64
                } else {
                    0.0
                }
            } else {
                scale.unwrap_or(n as f64 / m as f64)
            };
            if n == m && n > 0 && scale == 1.0 {
                continue;
            }
            let line = Line { n, m, scale, mode };
            x = x.apply(Resample { line, axis });
        }
        x
    }

    /// Channels become places: `[.., c · r², h, w]` → `[.., c, h · r, w · r]` (Shi et al. 2016, sub-pixel convolution;
    /// PyTorch's `pixel_shuffle`).
    ///
    /// # Panics
    /// When the rank is below 3, or r² does not divide the channels.
    #[track_caller]
    pub fn pixel_shuffle(self, r: usize) -> Self {
        let first = self.first_of("pixel_shuffle", 3);
        let s = self.shape();
        let [c, h, w] = [s[first], s[first + 1], s[first + 2]];
        let area = r.checked_mul(r).unwrap_or(0);
        assert!(
            area > 0 && c.is_multiple_of(area),
            "pixel_shuffle: the square of {r} does not divide the channels of shape {:?}",
            s.as_slice()
        );
        let batch = &s[..first];
        let n: usize = batch.iter().product();
        let mut out = Dims::from_slice(batch);
        out.extend([c / area, h * r, w * r]);
        self.reshape([n, c / area, r, r, h, w])
            .permute([0, 1, 4, 2, 5, 3])
            .reshape(out)
    }

    /// The opposite of [`Var::pixel_shuffle`]: `[.., c, h · r, w · r]` → `[.., c · r², h, w]`.
    ///
    /// # Panics
    /// When the rank is below 3, or r does not divide height and width.
    #[track_caller]
    pub fn pixel_unshuffle(self, r: usize) -> Self {
        let first = self.first_of("pixel_unshuffle", 3);
        let s = self.shape();
        let [c, h, w] = [s[first], s[first + 1], s[first + 2]];
        assert!(
            r > 0 && h.is_multiple_of(r) && w.is_multiple_of(r),
            "pixel_unshuffle: {r} does not divide the height and width of shape {:?}",
            s.as_slice()
        );
        let batch = &s[..first];
        let n: usize = batch.iter().product();
        let mut out = Dims::from_slice(batch);
        out.extend([c * r * r, h / r, w / r]);
        self.reshape([n, c, h / r, r, w / r, r])
            .permute([0, 1, 3, 5, 2, 4])
            .reshape(out)
    }
}
