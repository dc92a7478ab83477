//! Discrete Fourier transforms.
//!
//! A complex tensor is a real one with a last axis of size 2: real part, imaginary part. Axes are counted without it.
//! The transform of a line is computed in f64 by mixed radices (Cooley and Tukey 1965) for lengths whose prime factors
//! are small, by convolution with a chirp (Bluestein 1970) for others.

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::ops::compiled_here;
use crate::ops::pad::Pad;
use crate::var::Var;
use smallvec::SmallVec;
use std::f64::consts::TAU;
use wengert_tensor::error::OrPanic;
use wengert_tensor::shape::{self, IntoAxes};
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    FftKernels {
        fn fft(x: &Tensor<Self>, out: &mut [Self], axis: usize, inverse: bool, scale: f64) = fft;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Complex {
    re: f64,
    im: f64,
}

const ZERO: Complex = Complex { re: 0.0, im: 0.0 };

impl std::ops::Add for Complex {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Complex {
            re: self.re + o.re,
            im: self.im + o.im,
        }
    }
}
impl std::ops::Sub for Complex {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Complex {
            re: self.re - o.re,
            im: self.im - o.im,
        }
    }
}
impl std::ops::Mul for Complex {
    type Output = Self;
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Complex {
            re: self.re * o.re - self.im * o.im,
            im: self.re * o.im + self.im * o.re,
        }
    }
}
impl Complex {
    fn conj(self) -> Self {
        Complex {
            im: -self.im,
            ..self
        }
    }

    /// e^(-2π i k / n), from an angle of at most an eighth of a turn.
    fn root(k: usize, n: usize) -> Self {
        let (eighth, rest) = (8 * k / n, 8 * k % n);
        let angle = |r: usize| (TAU / 8.0 * (r as f64 / n as f64)).sin_cos();
        let (re, im) = match eighth % 8 {
            0 => (angle(rest).1, angle(rest).0),
            1 => (angle(n - rest).0, angle(n - rest).1),
            2 => (-angle(rest).0, angle(rest).1),
            3 => (-angle(n - rest).1, angle(n - rest).0),
            4 => (-angle(rest).1, -angle(rest).0),
            5 => (-angle(n - rest).0, -angle(n - rest).1),
            6 => (angle(rest).0, -angle(rest).1),
            _ => (angle(n - rest).1, -angle(n - rest).0),
        };
        Complex { re, im: -im }
    }
}

/// Largest prime factor that is worth a butterfly of its own.
const LARGEST_RADIX: usize = 13;

/// Everything that depends on the length alone.
struct Plan {
    n: usize,
    factors: Vec<usize>,
    roots: Vec<Complex>,
    chirp: Option<Box<Chirp>>,
}

struct Chirp {
    /// e^(-π i k² / n).
    chirp: Vec<Complex>,
    /// Transform of the conjugate chirp, wrapped around.
    kernel: Vec<Complex>,
    inner: Plan,
}

impl Plan {
    fn new(n: usize) -> Self {
        let mut factors = Vec::new();
        let mut rest = n;
        for p in [4, 2, 3, 5, 7, 11, LARGEST_RADIX] {
            while rest > 1 && rest.is_multiple_of(p) {
                factors.push(p);
                rest /= p;
            }
        }
        let smooth = rest <= 1;
        let roots = |n: usize| (0..n).map(|k| Complex::root(k, n)).collect::<Vec<_>>();
        if smooth {
            return Plan {
                n,
                factors,
                roots: roots(n),
                chirp: None,
            };
        }
        let size = (2 * n - 1).next_power_of_two();
        let inner = Plan::new(size);
        // k² is taken modulo 2n first: the square itself would lose digits.
        let chirp: Vec<Complex> = (0..n)
            .map(|k| Complex::root((k as u128 * k as u128 % (2 * n) as u128) as usize, 2 * n))
            .collect();
        let mut wrapped = vec![ZERO; size];
        for k in 0..n {
            wrapped[k] = chirp[k].conj();
            wrapped[(size - k) % size] = chirp[k].conj();
        }
        let mut kernel = vec![ZERO; size];
        inner.run(&wrapped, &mut kernel);
        Plan {
            n,
            factors,
            roots: Vec::new(),
            chirp: Some(Box::new(Chirp {
                chirp,
                kernel,
                inner,
            })),
        }
    }

    /// The forward transform of `x`, unscaled.
    fn run(&self, x: &[Complex], out: &mut [Complex]) {
        let Some(c) = &self.chirp else {
            self.step(x, 1, out, &self.factors);
            return;
        };
        let size = c.inner.n;
        let mut a = vec![ZERO; size];
        for (k, a) in a[..self.n].iter_mut().enumerate() {
            *a = x[k] * c.chirp[k];
        }
        let mut b = vec![ZERO; size];
        c.inner.run(&a, &mut b);
        // The inverse transform as the conjugate of the forward one of the conjugate.
        for (b, &k) in b.iter_mut().zip(&c.kernel) {
            *b = (*b * k).conj();
        }
        c.inner.run(&b, &mut a);
        let scale = 1.0 / size as f64;
        for (k, o) in out.iter_mut().enumerate() {
            let v = a[k].conj() * c.chirp[k];
            *o = Complex {
                re: v.re * scale,
                im: v.im * scale,
            };
        }
    }

    /// Decimation in time: `out` is the transform of the elements of `x` that are `stride` apart.
    fn step(&self, x: &[Complex], stride: usize, out: &mut [Complex], factors: &[usize]) {
        let n = out.len();
        let Some((&p, rest)) = factors.split_first() else {
            if n == 1 {
                out[0] = x[0];
            }
            return;
        };
        let m = n / p;
        for (r, part) in out.chunks_exact_mut(m).enumerate() {
            self.step(&x[r * stride..], stride * p, part, rest);
        }
        // Powers of the root of order n stand `turn` apart in the table.
        let turn = self.n / n;
        match p {
            2 => {
                let (a, b) = out.split_at_mut(m);
                for k in 0..m {
                    let t = b[k] * self.roots[k * turn];
                    (a[k], b[k]) = (a[k] + t, a[k] - t);
                }
            }
            4 => {
                let (ab, cd) = out.split_at_mut(2 * m);
                let ((a, b), (c, d)) = (ab.split_at_mut(m), cd.split_at_mut(m));
                for k in 0..m {
                    let w = k * turn;
                    let (x0, x1) = (a[k], b[k] * self.roots[w]);
                    let (x2, x3) = (c[k] * self.roots[2 * w], d[k] * self.roots[3 * w]);
                    let (s, t) = (x0 + x2, x0 - x2);
                    let (u, v) = (x1 + x3, x1 - x3);
                    // -i v
                    let v = Complex {
                        re: v.im,
                        im: -v.re,
                    };
                    (a[k], b[k], c[k], d[k]) = (s + u, t + v, s - u, t - v);
                }
            }
            _ => {
                let mut t = [ZERO; LARGEST_RADIX];
                for k in 0..m {
                    for (r, t) in t[..p].iter_mut().enumerate() {
                        *t = out[r * m + k] * self.roots[r * k * turn];
                    }
                    for q in 0..p {
                        let mut sum = t[0];
                        for r in 1..p {
                            sum = sum + t[r] * self.roots[q * r % p * (self.n / p)];
                        }
                        out[q * m + k] = sum;
                    }
                }
            }
        }
    }
}

fn fft<T: Real>(x: &Tensor<T>, out: &mut [T], axis: usize, inverse: bool, scale: f64) {
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..x.rank() - 1].iter().product();
    x.copy_into(out);
    if out.is_empty() {
        return;
    }
    let plan = Plan::new(n);
    let sign = if inverse { -1.0 } else { 1.0 };
    let row = 2 * n * inner;
    let grain = (parallel::GRAIN / 8).div_ceil(row) * row;
    parallel::chunks_mut(out, grain, |_, part| {
        let (mut line, mut result) = (vec![ZERO; n], vec![ZERO; n]);
        for r in part.chunks_exact_mut(row) {
            for c in 0..inner {
                // The inverse transform is the conjugate of the forward one of the conjugate.
                for (k, v) in line.iter_mut().enumerate() {
                    let at = 2 * (k * inner + c);
                    *v = Complex {
                        re: r[at].as_f64(),
                        im: sign * r[at + 1].as_f64(),
                    };
                }
                plan.run(&line, &mut result);
                for (k, v) in result.iter().enumerate() {
                    let at = 2 * (k * inner + c);
                    r[at] = T::from_f64(scale * v.re);
                    r[at + 1] = T::from_f64(scale * sign * v.im);
                }
            }
        }
    });
}

/// scale · Σ x\[j\] e^(∓2π i j k / n) along an axis.
#[derive(Debug, PartialEq)]
struct Fft {
    axis: usize,
    inverse: bool,
    scale: f64,
}
impl<T: Float> Op<T> for Fft {
    fn name(&self) -> &'static str {
        if self.inverse { "ifft" } else { "fft" }
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::fft(
            ctx.input(0),
            ctx.output(),
            self.axis,
            self.inverse,
            self.scale,
        );
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        // The matrix is symmetric, so its adjoint is its conjugate: the other direction with the same factor.
        small![Some(ctx.cotangent().apply(Fft {
            inverse: !self.inverse,
            ..*self
        }))]
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let n = inputs[0][self.axis];
        5 * inputs[0].iter().product::<usize>() as u64 * u64::from(n.max(2).ilog2())
    }
}

/// Which direction divides by the number of elements n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FftNorm {
    /// The inverse transform (PyTorch's default, "backward").
    #[default]
    Inverse,
    /// Both, by √n each ("ortho"): the transforms are unitary.
    Both,
    /// The forward transform ("forward").
    Forward,
}

impl FftNorm {
    fn scale(self, n: usize, inverse: bool) -> f64 {
        match (self, inverse) {
            (FftNorm::Both, _) => 1.0 / (n as f64).sqrt(),
            (FftNorm::Inverse, true) | (FftNorm::Forward, false) => 1.0 / n as f64,
            _ => 1.0,
        }
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Checks a complex tensor; its rank without the complex axis.
    #[track_caller]
    fn complex_rank(self, op: &str) -> usize {
        let s = self.shape();
        assert!(
            s.last() == Some(&2),
            "{op}: expected a complex tensor, with a last axis of size 2, found shape {:?}",
            s.as_slice()
        );
        s.len() - 1
    }

    #[track_caller]
    fn transform(self, op: &'static str, axis: isize, norm: FftNorm, inverse: bool) -> Self {
        let rank = self.complex_rank(op);
        let axis = shape::axis(op, axis, rank).or_panic();
        let n = self.shape()[axis];
        assert!(
            n > 0,
            "{op}: expected at least one element along axis {axis}, found shape {:?}",
            self.shape().as_slice()
        );
        let scale = norm.scale(n, inverse);
        self.apply(Fft {
            axis,
            inverse,
            scale,
        })
    }

    /// A real tensor as a complex one, with imaginary part 0.
    #[track_caller]
    pub fn to_complex(self) -> Self {
        self.unsqueeze(-1).pad(&[(0, 1)], Pad::Zeros)
    }

    /// Product of complex tensors; they broadcast.
    ///
    /// # Panics
    /// When an operand is not complex or the shapes do not broadcast.
    #[track_caller]
    pub fn complex_mul(self, other: Self) -> Self {
        self.complex_rank("complex_mul");
        other.complex_rank("complex_mul");
        let [a, b] = [0, 1].map(|i| self.select(-1, i));
        let [c, d] = [0, 1].map(|i| other.select(-1, i));
        Var::stack(&[a * c - b * d, a * d + b * c], -1)
    }

    /// Complex conjugate.
    ///
    /// # Panics
    /// When the tensor is not complex.
    #[track_caller]
    pub fn complex_conj(self) -> Self {
        self.complex_rank("complex_conj");
        let [a, b] = [0, 1].map(|i| self.select(-1, i));
        Var::stack(&[a, -b], -1)
    }

    /// Magnitude of a complex tensor, real; the subgradient at 0 is 0.
    ///
    /// # Panics
    /// When the tensor is not complex.
    #[track_caller]
    pub fn complex_abs(self) -> Self {
        self.complex_rank("complex_abs");
        self.norm_dim(2.0, -1, false)
    }

    /// Discrete Fourier transform along an axis of a complex tensor: X\[k\] = Σ x\[j\] e^(-2π i j k / n).
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::fft::FftNorm};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 0.0, 2.0, 0.0], [2, 2])); // 1, 2
    /// assert_eq!(x.fft(0, FftNorm::Inverse).value().to_vec(), [3.0, 0.0, -1.0, 0.0]); // 3, -1
    /// ```
    ///
    /// # Panics
    /// When the tensor is not complex, or the axis is out of range or empty.
    #[track_caller]
    pub fn fft(self, axis: isize, norm: FftNorm) -> Self {
        self.transform("fft", axis, norm, false)
    }

    /// Inverse discrete Fourier transform along an axis of a complex tensor.
    ///
    /// # Panics
    /// When the tensor is not complex, or the axis is out of range or empty.
    #[track_caller]
    pub fn ifft(self, axis: isize, norm: FftNorm) -> Self {
        self.transform("ifft", axis, norm, true)
    }

    /// [`Var::fft`] along several axes.
    ///
    /// # Panics
    /// When the tensor is not complex, or an axis is out of range, empty, or named twice.
    #[track_caller]
    pub fn fftn(self, axes: impl IntoAxes, norm: FftNorm) -> Self {
        self.transforms("fftn", axes.into_axes(), norm, false)
    }

    /// [`Var::ifft`] along several axes.
    ///
    /// # Panics
    /// When the tensor is not complex, or an axis is out of range, empty, or named twice.
    #[track_caller]
    pub fn ifftn(self, axes: impl IntoAxes, norm: FftNorm) -> Self {
        self.transforms("ifftn", axes.into_axes(), norm, true)
    }

    #[track_caller]
    fn transforms(
        self,
        op: &'static str,
        axes: SmallVec<[isize; 6]>,
        norm: FftNorm,
        inverse: bool,
    ) -> Self {
        shape::axis_set(op, &axes, self.complex_rank(op)).or_panic();
        (axes.iter()).fold(self, |x, &a| x.transform(op, a, norm, inverse))
    }

    /// Transform of a real tensor along an axis: the n/2 + 1 frequencies that determine the others; a complex tensor.
    ///
    /// # Panics
    /// When the axis is out of range or empty.
    #[track_caller]
    pub fn rfft(self, axis: isize, norm: FftNorm) -> Self {
        let a = shape::axis("rfft", axis, self.rank()).or_panic();
        let n = self.shape()[a];
        let x = self.to_complex().transform("rfft", a as isize, norm, false);
        x.narrow(a as isize, 0, n / 2 + 1)
    }

    /// The real tensor of `n` elements along an axis whose [`Var::rfft`] this is. Imaginary parts that such a transform
    /// cannot have (at frequency 0, and n/2 for even n) are not read, nor are frequencies above n/2; missing ones are 0.
    ///
    /// # Panics
    /// When the tensor is not complex, the axis is out of range or empty, or n is 0.
    #[track_caller]
    pub fn irfft(self, n: usize, axis: isize, norm: FftNorm) -> Self {
        let rank = self.complex_rank("irfft");
        let a = shape::axis("irfft", axis, rank).or_panic();
        let shape = self.shape();
        assert!(
            n > 0 && shape[a] > 0,
            "irfft: expected elements and frequencies along axis {axis}, found {n} and shape {:?}",
            shape.as_slice()
        );
        let count = shape[a].min(n / 2 + 1);
        // Every frequency but the first, and the middle one, stands for two. The sum's real part is the result.
        let last = count.min(n.div_ceil(2));
        let axis = a as isize;
        let mut parts: SmallVec<[Self; 12]> = small![self.narrow(axis, 0, 1)];
        if last > 1 {
            parts.push(self.narrow(axis, 1, last) * 2.0);
        }
        if last < count {
            parts.push(self.narrow(axis, last, count));
        }
        let mut pads = vec![(0, 0); rank + 1];
        pads[a] = (0, (n - count) as isize);
        let x = Var::cat(&parts, axis).pad(&pads, Pad::Zeros);
        x.transform("irfft", axis, norm, true).select(-1, 0)
    }

    /// Transform of a real tensor along several axes: [`Var::rfft`] along the last of them, [`Var::fft`] along the others.
    ///
    /// # Panics
    /// When an axis is out of range, empty or named twice, or there is none.
    #[track_caller]
    pub fn rfftn(self, axes: impl IntoAxes, norm: FftNorm) -> Self {
        let axes = axes.into_axes();
        shape::axis_set("rfftn", &axes, self.rank()).or_panic();
        let (last, others) = axes
            .split_last()
            .expect("rfftn: expected at least one axis");
        let x = self.rfft(*last, norm);
        (others.iter()).fold(x, |x, &a| x.transform("rfftn", a, norm, false))
    }

    /// The real tensor whose [`Var::rfftn`] along these axes this is; `n` is its size along the last of them.
    ///
    /// # Panics
    /// As [`Var::irfft`], or when an axis is named twice, or there is none.
    #[track_caller]
    pub fn irfftn(self, n: usize, axes: impl IntoAxes, norm: FftNorm) -> Self {
        let axes = axes.into_axes();
        shape::axis_set("irfftn", &axes, self.complex_rank("irfftn")).or_panic();
        let (last, others) = axes
            .split_last()
            .expect("irfftn: expected at least one axis");
        let x = (others.iter()).fold(self, |x, &a| x.transform("irfftn", a, norm, true));
        x.irfft(n, *last, norm)
    }

    /// The frequency 0 moved to the middle of each axis (of a real tensor, or counted with the complex axis).
    ///
    /// # Panics
    /// When an axis is out of range.
    #[track_caller]
    pub fn fftshift(self, axes: impl IntoAxes) -> Self {
        let axes = axes.into_axes();
        let mut shifts: SmallVec<[isize; 6]> = SmallVec::new();
        for &a in &axes {
            shifts.push((self.size(a) / 2) as isize);
        }
        self.roll(shifts, axes)
    }

    /// Undoes [`Var::fftshift`].
    ///
    /// # Panics
    /// When an axis is out of range.
    #[track_caller]
    pub fn ifftshift(self, axes: impl IntoAxes) -> Self {
        let axes = axes.into_axes();
        let mut shifts: SmallVec<[isize; 6]> = SmallVec::new();
        for &a in &axes {
            shifts.push(self.size(a).div_ceil(2) as isize);
        }
        self.roll(shifts, axes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_agrees_with_the_sum() {
        for n in (1..=66).chain([81, 97, 121, 128, 169, 210, 343]) {
            let x: Vec<Complex> = (0..n)
                .map(|k| Complex {
                    re: ((k * 7 + 3) as f64).sin(),
                    im: ((k * k + 1) as f64).cos(),
                })
                .collect();
            let mut y = vec![ZERO; n];
            Plan::new(n).run(&x, &mut y);
            for (k, y) in y.iter().enumerate() {
                let sum = (0..n).fold(ZERO, |s, j| s + x[j] * Complex::root(j * k % n, n));
                let d = *y - sum;
                assert!(d.re.hypot(d.im) < 1e-13 * n as f64, "n = {n}, k = {k}");
            }
        }
    }

    #[test]
    fn roots_are_accurate() {
        for n in [1, 2, 3, 5, 8, 12, 97, 1000] {
            for k in 0..n {
                let r = Complex::root(k, n);
                let (s, c) = (TAU * (k as f64 / n as f64)).sin_cos();
                assert!(
                    (r.re - c).abs() < 1e-15 && (r.im + s).abs() < 1e-15,
                    "{k} / {n}"
                );
            }
        }
    }
}
