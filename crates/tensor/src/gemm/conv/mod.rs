//! Convolution by the tile kernels of the matrix product, without an im2col buffer.
//!
//! The forward convolution and the adjoint for the input are correlations ([`correlate`]): the weight is the scalar
//! operand, pixels are the lanes, and the vector operand is read from a padded copy of one image at a time, where every
//! tap of the kernel is the same memory at another offset. The gradient for the weight ([`weight`]) runs over pixels: the
//! cotangent is the scalar operand, and the lanes are channels and neighbouring taps of an image with its channels last.
//!
//! All borders depend on sizes alone, and partial sums are added in index order.

mod correlate;
mod depthwise;
mod weight;
pub(super) mod winograd;

use super::kernels::Kernels;
use super::{Call, Epilogue, MatMut, MatRef, Tail, buffer, driver};
use crate::Real;
use crate::conv::{Channels, Geometry};
use crate::list::Listed;
use correlate::{Axis, Correlation, Tap};
use smallvec::SmallVec;

/// Multiply-adds below which a convolution is not worth a second thread.
const SERIAL: usize = 1 << 17;

/// Runs tasks, on this thread alone if there is little work.
fn tasks(work: usize, n: usize, f: impl Fn(usize) + Sync) {
    if work < SERIAL {
        (0..n).for_each(f);
    } else {
        crate::parallel::tasks(n, f);
    }
}

/// Multiply-adds of a convolution.
fn work(g: &Geometry, c: &Channels) -> usize {
    (g.output.iter().product::<usize>())
        .saturating_mul(g.taps())
        .saturating_mul(c.batch * c.output)
        .saturating_mul(c.input / g.groups)
}

/// The axes along which positions of `y` read `x`.
fn axes(g: &Geometry) -> [Axis; 3] {
    std::array::from_fn(|i| {
        let (s, d) = (g.stride[i], g.dilation[i]);
        let mut phases = SmallVec::<[isize; 6]>::new();
        let taps = (0..g.kernel[i])
            .map(|t| {
                let add = (t * d % s) as isize - g.padding[i] as isize;
                let phase = phases.iter().position(|&p| p == add).unwrap_or_else(|| {
                    phases.push(add);
                    phases.len() - 1
                });
                Tap {
                    phase,
                    shift: t * d / s,
                }
            })
            .listed();
        Axis {
            taps,
            phases,
            step: s,
            source: g.input[i],
            count: g.output[i],
            result: g.output[i],
            result_start: 0,
            result_step: 1,
        }
    })
}

/// Pixels of an image, where the convolution is a plain product of matrices.
fn point(g: &Geometry) -> Option<usize> {
    let plain = g.groups == 1
        && g.taps() == 1
        && g.stride == [1; 3]
        && g.padding == [0; 3]
        && g.input == g.output;
    plain.then(|| g.input.iter().product())
}

/// `c[i] = a b[i]` for every image `i`; `sizes` are rows, columns and terms.
fn product<T: Real>(
    kernels: &Kernels<T>,
    batch: usize,
    sizes: [usize; 3],
    a: MatRef<'_, T>,
    b: &[T],
    c: &mut [T],
    epilogue: Epilogue<'_, T>,
) {
    let [m, n, k] = sizes;
    let call = Call {
        batch,
        batch_a: 0,
        batch_b: (k * n) as isize,
        batch_c: (m * n) as isize,
        m,
        n,
        k,
        alpha: T::ONE,
        a,
        b: MatRef::row_major(b, n),
        beta: T::ZERO,
        c: MatMut::row_major(c, n),
        epilogue,
    };
    driver::run(kernels, call);
}

/// See [`crate::conv::forward`].
pub(super) fn forward<T: Real>(
    kernels: &'static Kernels<T>,
    g: &Geometry,
    c: &Channels,
    x: &[T],
    w: &[T],
    y: &mut [T],
    tail: Tail<'_, T>,
) {
    let (ci, co, taps) = (c.input / g.groups, c.output / g.groups, g.taps());
    if let Some(pixels) = point(g) {
        let a = MatRef::row_major(w, ci);
        return product(kernels, c.batch, [co, pixels, ci], a, x, y, tail.rows());
    }
    let axes = axes(g);
    buffer::with_kept(w.len(), |packed: *mut T| {
        for o in 0..c.output {
            // SAFETY: channels x taps elements of one output channel on both sides.
            unsafe {
                let at = o * ci * taps;
                let (from, to) = (w.as_ptr().add(at), packed.add(at));
                (kernels.transpose)(ci, taps, from, taps as isize, to, ci as isize);
            }
        }
        correlate::run(&Correlation {
            kernels,
            axes,
            batch: c.batch,
            groups: g.groups,
            depth: ci,
            rows: co,
            work: work(g, c),
            source: x,
            weights: packed,
            result: y,
            tail,
        });
    });
}

/// See [`crate::conv::input`].
pub(super) fn input<T: Real>(
    kernels: &'static Kernels<T>,
    g: &Geometry,
    c: &Channels,
    y: &[T],
    w: &[T],
    x: &mut [T],
) {
    let (ci, co, taps) = (c.input / g.groups, c.output / g.groups, g.taps());
    if let Some(pixels) = point(g) {
        let a = MatRef::row_major(w, ci).t();
        return product(kernels, c.batch, [ci, pixels, co], a, y, x, Epilogue::None);
    }
    // The positions of x fall into classes by their remainder modulo the stride; each sees its own taps.
    let classes: [usize; 3] = std::array::from_fn(|i| g.stride[i].min(g.input[i]));
    let axis = |i: usize, class: usize| -> Option<(Axis, SmallVec<[usize; 6]>)> {
        let (s, d, p) = (g.stride[i], g.dilation[i], g.padding[i]);
        // The first position of the class, and its place among the positions of the strided grid.
        let rest = (class + p) % s;
        let first = (class + p) / s;
        let which: SmallVec<[usize; 6]> = (0..g.kernel[i]).filter(|t| t * d % s == rest).listed();
        let far = which.last().map(|t| t * d / s)?;
        let axis = Axis {
            taps: (which.iter())
                .map(|t| Tap {
                    phase: 0,
                    shift: far - t * d / s,
                })
                .listed(),
            phases: SmallVec::from_slice(&[first as isize - far as isize]),
            step: 1,
            source: g.output[i],
            count: (g.input[i] - class).div_ceil(s),
            result: g.input[i],
            result_start: class,
            result_step: s,
        };
        Some((axis, which))
    };
    buffer::with_kept(w.len(), |packed: *mut T| {
        for class in 0..classes.iter().product() {
            let class = [
                class / (classes[1] * classes[2]),
                class / classes[2] % classes[1],
                class % classes[2],
            ];
            let (Some(a0), Some(a1), Some(a2)) =
                (axis(0, class[0]), axis(1, class[1]), axis(2, class[2]))
            else {
                unreached(g, c, x, class);
                continue;
            };
            let chosen: SmallVec<[usize; 32]> = (a0.1.iter())
                .flat_map(|t0| a1.1.iter().map(move |t1| (t0, t1)))
                .flat_map(|(t0, t1)| {
                    (a2.1.iter()).map(move |t2| (t0 * g.kernel[1] + t1) * g.kernel[2] + t2)
                })
                .listed();
            let depth = chosen.len() * co;
            for row in 0..c.input {
                let (group, k) = (row / ci, row % ci);
                let first = (group * co * ci + k) * taps;
                // SAFETY: the taps of channel k of the group's outputs, and the row's part of the buffer.
                unsafe {
                    let (from, to) = (w.as_ptr().add(first), packed.add(row * depth));
                    if chosen.len() == taps {
                        (kernels.transpose)(co, taps, from, (ci * taps) as isize, to, co as isize);
                    } else {
                        for (j, &t) in chosen.iter().enumerate() {
                            for o in 0..co {
                                *to.add(j * co + o) = *from.add(o * ci * taps + t);
                            }
                        }
                    }
                }
            }
            correlate::run(&Correlation {
                kernels,
                axes: [a0.0, a1.0, a2.0],
                batch: c.batch,
                groups: g.groups,
                depth: co,
                rows: ci,
                work: work(g, c) * chosen.len() / taps,
                source: y,
                weights: packed,
                result: &mut *x,
                tail: Tail::default(),
            });
        }
    });
}

/// Zeros the positions of `x` of a class that no tap reaches.
fn unreached<T: Real>(g: &Geometry, c: &Channels, x: &mut [T], class: [usize; 3]) {
    let volume: usize = g.input.iter().product();
    for image in x.chunks_exact_mut(volume).take(c.batch * c.input) {
        for z in (class[0]..g.input[0]).step_by(g.stride[0]) {
            for y in (class[1]..g.input[1]).step_by(g.stride[1]) {
                let row = (z * g.input[1] + y) * g.input[2];
                for v in image[row..row + g.input[2]]
                    .iter_mut()
                    .skip(class[2])
                    .step_by(g.stride[2])
                {
                    *v = T::ZERO;
                }
            }
        }
    }
}

/// See [`crate::conv::weight`].
pub(super) fn weight<T: Real>(
    kernels: &'static Kernels<T>,
    g: &Geometry,
    c: &Channels,
    x: &[T],
    y: &[T],
    w: &mut [T],
) {
    if depthwise::fits(c.input / g.groups, c.output / g.groups) {
        depthwise::weight(kernels, g, c, x, y, w);
    } else {
        weight::weight(kernels, g, c, x, y, w);
    }
}
