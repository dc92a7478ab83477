//! Batch normalization by the statistics of the batch, forward and backward.
//!
//! One channel after the other: its planes are read once from memory for the statistics (or for the sums of the
//! backward pass) and once more, from the second level of the cache, for the result. A relu behind the normalization
//! takes part in both directions without a pass of its own.

use crate::lane::Lane;
use crate::simd::{Isa, Kernel, dispatch_for};
use crate::{Real, parallel};
use std::ops::Range;

/// What is normalized: `n` images of `channels` planes of `inner` elements each.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BatchNorm {
    /// Images.
    pub n: usize,
    /// Channels, the second axis.
    pub channels: usize,
    /// Elements of a plane.
    pub inner: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether a relu follows.
    pub relu: bool,
}

/// Partial sums side by side.
const W: usize = 32;

/// Sums over the planes of a channel. Each plane is summed side by side, and the sums are carried in f64.
struct Sums<const N: usize>([[f64; W]; N]);

impl<const N: usize> Sums<N> {
    #[inline(always)]
    fn new() -> Self {
        Sums([[0.0; W]; N])
    }

    /// Adds f of the elements of `x`, slices of one length, that stand at the same place.
    #[inline(always)]
    fn add<'a, V: Lane, const M: usize>(
        &mut self,
        x: [&'a [V::Elem]; M],
        f: impl Fn([V; M]) -> [V; N],
    ) {
        let n = x[0].len();
        let zero = V::c(0.0);
        let mut acc = [[zero; W]; N];
        let full = n / W * W;
        for at in (0..full).step_by(W) {
            // Arrays, so that nothing is left to check in the loop, which then is a few vector instructions.
            let row = |x: &'a [V::Elem]| -> &'a [V::Elem; W] {
                x[at..at + W].try_into().expect("W elements")
            };
            let mut rows = [row(x[0]); M];
            for i in 1..M {
                rows[i] = row(x[i]);
            }
            for k in 0..W {
                let mut v = [zero; M];
                for i in 0..M {
                    v[i] = V::new(rows[i][k]);
                }
                let y = f(v);
                for j in 0..N {
                    acc[j][k] = acc[j][k] + y[j];
                }
            }
        }
        let mut rest = [zero; N];
        for at in full..n {
            let mut v = [zero; M];
            for i in 0..M {
                v[i] = V::new(x[i][at]);
            }
            let y = f(v);
            for j in 0..N {
                rest[j] = rest[j] + y[j];
            }
        }
        for j in 0..N {
            for k in 0..W {
                self.0[j][k] += acc[j][k].get().as_f64();
            }
            self.0[j][0] += rest[j].get().as_f64();
        }
    }

    /// The sums, in a fixed tree. Not inlined: beside it the loops that fill them would be compiled to narrower vectors.
    #[inline(never)]
    fn total(&self) -> [f64; N] {
        let mut out = [0.0; N];
        for (out, acc) in out.iter_mut().zip(&self.0) {
            let mut acc = *acc;
            let mut w = W / 2;
            while w > 0 {
                for k in 0..w {
                    acc[k] += acc[k + w];
                }
                w /= 2;
            }
            *out = acc[0];
        }
        out
    }
}

/// Results that tasks write planes of.
struct Out<T>(*mut T);
// SAFETY: every task writes the planes and elements of its own channels.
unsafe impl<T> Sync for Out<T> {}

impl<T> Out<T> {
    /// # Safety
    /// The elements lie inside the result and belong to the calling task.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, at: Range<usize>) -> &mut [T] {
        // SAFETY: the contract of the function.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at.start), at.len()) }
    }
}

/// Normalizes some channels.
struct Forward<'a, T: Real> {
    job: BatchNorm,
    channels: Range<usize>,
    x: &'a [T],
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    y: &'a Out<T>,
    mean: &'a Out<T>,
    var: &'a Out<T>,
}

impl BatchNorm {
    #[inline(always)]
    fn plane(&self, image: usize, channel: usize) -> Range<usize> {
        let start = (image * self.channels + channel) * self.inner;
        start..start + self.inner
    }

    /// Elements per channel.
    fn count(&self) -> f64 {
        (self.n * self.inner) as f64
    }

    /// Calls `f` with ranges of channels, on several threads if there is much to do.
    fn split(&self, f: impl Fn(Range<usize>) + Sync) {
        let own = (self.n * self.inner).max(1);
        let size = (parallel::GRAIN / 4).div_ceil(own).max(1);
        let tasks = self.channels.div_ceil(size);
        let run = |i: usize| f(i * size..((i + 1) * size).min(self.channels));
        if own * self.channels < parallel::GRAIN {
            (0..tasks).for_each(run);
        } else {
            parallel::tasks(tasks, run);
        }
    }

    fn check<T>(&self, x: &[T], per_channel: &[usize]) {
        let all = self.n * self.channels * self.inner;
        assert!(
            x.len() == all && per_channel.iter().all(|&n| n == self.channels),
            "batch_norm: {} elements and {per_channel:?} per channel for {self:?}",
            x.len()
        );
    }

    /// `y = relu?((x − mean) / √(var + ε) · weight + bias)`, with mean and variance (divided by the count) of each
    /// channel, which are returned too.
    ///
    /// # Panics
    /// When a slice has the wrong size.
    pub fn forward<T: Real>(
        &self,
        x: &[T],
        weight: Option<&[T]>,
        bias: Option<&[T]>,
        y: &mut [T],
        mean: &mut [T],
        var: &mut [T],
    ) {
        let given = |v: Option<&[T]>| v.map_or(self.channels, <[T]>::len);
        self.check(x, &[given(weight), given(bias), mean.len(), var.len()]);
        self.check(y, &[]);
        let (y, mean, var) = (
            Out(y.as_mut_ptr()),
            Out(mean.as_mut_ptr()),
            Out(var.as_mut_ptr()),
        );
        self.split(|channels| {
            dispatch_for::<T, _>(Forward {
                job: *self,
                channels,
                x,
                weight,
                bias,
                y: &y,
                mean: &mean,
                var: &var,
            });
        });
    }

    /// Gradients for `x`, the weight and the bias, of the cotangent `g` of `y`, with the statistics that
    /// [`BatchNorm::forward`] returned.
    ///
    /// # Panics
    /// When a slice has the wrong size.
    pub fn backward<T: Real>(
        &self,
        x: &[T],
        g: &[T],
        mean: &[T],
        var: &[T],
        weight: Option<&[T]>,
        bias: Option<&[T]>,
        dx: &mut [T],
        dw: &mut [T],
        db: &mut [T],
    ) {
        let given = |v: Option<&[T]>| v.map_or(self.channels, <[T]>::len);
        let own = [mean.len(), var.len(), dw.len(), db.len()];
        self.check(x, &own);
        self.check(g, &[given(weight), given(bias)]);
        self.check(dx, &[]);
        let (dx, dw, db) = (
            Out(dx.as_mut_ptr()),
            Out(dw.as_mut_ptr()),
            Out(db.as_mut_ptr()),
        );
        self.split(|channels| {
            dispatch_for::<T, _>(Backward {
                job: *self,
                channels,
                x,
                g,
                mean,
                var,
                weight,
                bias,
                dx: &dx,
                dw: &dw,
                db: &db,
            });
        });
    }
}

impl<T: Real> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (job, new, constant) = (self.job, T::Lane::<I>::new, T::Lane::<I>::c);
        for c in self.channels.clone() {
            let mut sums = Sums::new();
            for i in 0..job.n {
                let x = &self.x[job.plane(i, c)];
                sums.add([x], |[x]: [T::Lane<I>; 1]| [x]);
            }
            let mean = T::from_f64(sums.total()[0] / job.count());
            let m = new(mean);
            // The mean has a second part: one number may be too short for it.
            let r = constant(offset::<T, I>(&job, self.x, c, m));
            let mut sums = Sums::new();
            for i in 0..job.n {
                let x = &self.x[job.plane(i, c)];
                sums.add([x], |[x]: [T::Lane<I>; 1]| {
                    let d = x - m - r;
                    [d * d]
                });
            }
            let var = T::from_f64(sums.total()[0] / job.count());
            let (scale, shift) = affine::<T, I>(&job, var, self.weight, self.bias, c);
            let shift = shift - r * scale;
            let zero = T::Lane::<I>::c(0.0);
            // SAFETY: the planes and elements of this task's channels.
            unsafe {
                self.mean.part(c..c + 1)[0] = mean;
                self.var.part(c..c + 1)[0] = var;
                for i in 0..job.n {
                    let x = &self.x[job.plane(i, c)];
                    let y = &mut self.y.part(job.plane(i, c))[..x.len()];
                    if job.relu {
                        for j in 0..x.len() {
                            let v = (new(x[j]) - m).mul_add(scale, shift);
                            // NaN passes.
                            y[j] = T::Lane::<I>::select(v <= zero, zero, v).get();
                        }
                    } else {
                        for j in 0..x.len() {
                            y[j] = (new(x[j]) - m).mul_add(scale, shift).get();
                        }
                    }
                }
            }
        }
    }
}

/// The mean of x - m over a channel.
#[inline(always)]
fn offset<T: Real, I: Isa>(job: &BatchNorm, x: &[T], c: usize, m: T::Lane<I>) -> f64 {
    let mut sums = Sums::new();
    for i in 0..job.n {
        let x = &x[job.plane(i, c)];
        sums.add([x], |[x]: [T::Lane<I>; 1]| [x - m]);
    }
    sums.total()[0] / job.count()
}

/// Factor and summand of the centred elements of a channel.
#[inline(always)]
fn affine<T: Real, I: Isa>(
    job: &BatchNorm,
    var: T,
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    c: usize,
) -> (T::Lane<I>, T::Lane<I>) {
    let (new, constant) = (T::Lane::<I>::new, T::Lane::<I>::c);
    let scale = constant(1.0) / (new(var) + constant(job.eps)).sqrt();
    (
        weight.map_or(scale, |w| scale * new(w[c])),
        bias.map_or(constant(0.0), |b| new(b[c])),
    )
}

/// Differentiates some channels.
struct Backward<'a, T: Real> {
    job: BatchNorm,
    channels: Range<usize>,
    x: &'a [T],
    g: &'a [T],
    mean: &'a [T],
    var: &'a [T],
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    dx: &'a Out<T>,
    dw: &'a Out<T>,
    db: &'a Out<T>,
}

impl<T: Real> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (job, new, constant) = (self.job, T::Lane::<I>::new, T::Lane::<I>::c);
        let zero = constant(0.0);
        for c in self.channels.clone() {
            let m = new(self.mean[c]);
            let (scale, shift) = affine::<T, I>(&job, self.var[c], self.weight, self.bias, c);
            let root = constant(1.0) / (new(self.var[c]) + constant(job.eps)).sqrt();
            // The second part of the mean, where it could matter.
            let far = (m * root).abs() > constant(4.0);
            let rest = if far {
                offset::<T, I>(&job, self.x, c, m)
            } else {
                0.0
            };
            let shift = shift - constant(rest) * scale;
            let mut both = Sums::new();
            for i in 0..job.n {
                let (x, g) = (&self.x[job.plane(i, c)], &self.g[job.plane(i, c)]);
                let g = &g[..x.len()];
                if job.relu {
                    both.add([x, g], |[x, g]: [T::Lane<I>; 2]| {
                        let d = x - m;
                        let v = d.mul_add(scale, shift);
                        let u = T::Lane::<I>::select(v <= zero, zero, g);
                        [u, u * d]
                    });
                } else {
                    both.add([x, g], |[x, g]: [T::Lane<I>; 2]| [g, g * (x - m)]);
                }
            }
            let [total, along] = both.total();
            let root64 = root.get().as_f64();
            let along = along - rest * total;
            let second = along * root64 * root64 / job.count();
            let first = constant(total / job.count() - rest * second);
            let second = constant(second);
            // SAFETY: the planes and elements of this task's channels.
            unsafe {
                self.db.part(c..c + 1)[0] = T::from_f64(total);
                self.dw.part(c..c + 1)[0] = T::from_f64(along * root64);
                for i in 0..job.n {
                    let (x, g) = (&self.x[job.plane(i, c)], &self.g[job.plane(i, c)]);
                    let g = &g[..x.len()];
                    let dx = &mut self.dx.part(job.plane(i, c))[..x.len()];
                    if job.relu {
                        for j in 0..x.len() {
                            let d = new(x[j]) - m;
                            let v = d.mul_add(scale, shift);
                            let u = T::Lane::<I>::select(v <= zero, zero, new(g[j]));
                            dx[j] = ((u - first - d * second) * scale).get();
                        }
                    } else {
                        for j in 0..x.len() {
                            let d = new(x[j]) - m;
                            dx[j] = ((new(g[j]) - first - d * second) * scale).get();
                        }
                    }
                }
            }
        }
    }
}
