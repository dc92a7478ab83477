//! Convolution of single channels, as in depthwise convolution: a few taps over lines of pixels.

use super::correlate::{Correlation, Mode, Plan, Planes};
use super::{axes, tasks, work};
use crate::Real;
use crate::conv::{Channels, Geometry};
use crate::gemm::driver::part;
use crate::gemm::kernels::Kernels;
use crate::gemm::line::{Dots, Line};
use crate::gemm::pack::{Copy, Piece};
use crate::gemm::{Tail, buffer};

/// Tasks that the gradient for the weight is cut into where its size allows.
const TASKS: usize = 16;

/// Whether a channel and the few that it is mapped to are better off without tiles.
pub(super) fn fits(channels: usize, results: usize) -> bool {
    channels == 1 && results <= 3
}

impl<T: Real> Plan<'_, T> {
    /// Computes one plane of positions: the plane as one line, with the padding between the rows computed in vain and
    /// dropped on the way out.
    ///
    /// # Safety
    /// The planes are filled, the places of the group's rows at `result` belong to the caller alone, and `line` has room
    /// for the rows of the planes and a register.
    pub(super) unsafe fn single(
        &self,
        planes: &Planes<T>,
        taps: &[isize],
        group: usize,
        base: *const T,
        height: usize,
        result: *mut T,
        line: *mut T,
    ) {
        let job = self.job;
        let [az, ay, ax] = &job.axes;
        let volume = az.result * ay.result * ax.result;
        let (width, row) = (planes.size[2], ay.result_step * ax.result);
        for r in 0..job.rows {
            let to = result.wrapping_add(r * volume);
            // SAFETY: the contract of the function.
            unsafe {
                (job.kernels.line)(&Line {
                    len: (height - 1) * width + ax.count,
                    src: base,
                    taps,
                    weights: job.weights.add((group * job.rows + r) * taps.len()),
                    out: line,
                });
                let channel = group * job.rows + r;
                let done = std::slice::from_raw_parts_mut(line, (height - 1) * width + ax.count);
                job.tail.apply(channel, done);
                if ax.result_step == 1 {
                    (job.kernels.copy)(&Copy {
                        rows: height,
                        src: line,
                        src_row: width,
                        dst: to,
                        dst_row: row,
                        pieces: &[Piece {
                            from: 0,
                            to: 0,
                            len: ax.count,
                        }],
                    });
                    continue;
                }
                for y in 0..height {
                    for x in 0..ax.count {
                        *to.add(y * row + x * ax.result_step) = *line.add(y * width + x);
                    }
                }
            }
        }
    }
}

/// See [`crate::conv::weight`], for single channels.
pub(super) fn weight<T: Real>(
    kernels: &'static Kernels<T>,
    g: &Geometry,
    c: &Channels,
    x: &[T],
    y: &[T],
    w: &mut [T],
) {
    let co = c.output / g.groups;
    let [depth, height, width] = g.output;
    let work = work(g, c);
    let job = Correlation {
        kernels,
        axes: axes(g),
        batch: c.batch,
        groups: g.groups,
        depth: 1,
        rows: co,
        work,
        source: x,
        weights: std::ptr::null(),
        result: &mut [],
        tail: Tail::default(),
    };
    let plan = Plan {
        job: &job,
        result: std::ptr::null_mut(),
        span: [0, 1, 2].map(|i| job.axes[i].span()),
        mode: Mode::Single,
    };
    let sizes = plan.sizes(depth, height);
    let chunks = c.batch.min(TASKS.div_ceil(g.groups));
    let (len, own) = (w.len(), co * g.taps());
    buffer::with_kept(chunks * len, |partial: *mut T| {
        let all = Partial(partial);
        tasks(work, chunks * g.groups, |i| {
            let (images, group) = (part(c.batch, chunks, i / g.groups), i % g.groups);
            buffer::with(sizes.room, |at: *mut T| {
                let planes = sizes.at(at);
                // SAFETY: the buffers have the room, the sizes of the slices were checked, and every task has its own
                // part of the partial weights.
                unsafe {
                    let sums = all.at(i * own);
                    sums.write_bytes(0, own);
                    at.write_bytes(0, sizes.room);
                    for image in images.clone() {
                        plan.fill(&planes, image * g.groups + group, &(0..depth), &(0..height));
                        for o in 0..co {
                            let first = image * c.output + group * co + o;
                            for z in 0..depth {
                                let at = (first * depth + z) * height * width;
                                (kernels.dots)(&Dots {
                                    rows: height,
                                    len: width,
                                    a: y[at..at + height * width].as_ptr(),
                                    a_row: width,
                                    b: planes.at.add(z * planes.size[1] * planes.size[2]),
                                    b_row: planes.size[2],
                                    taps: &sizes.taps,
                                    out: sums.add(o * g.taps()),
                                });
                            }
                        }
                    }
                }
            });
        });
        // SAFETY: the tasks wrote all partial weights.
        let partial = unsafe { std::slice::from_raw_parts(partial, chunks * len) };
        w.copy_from_slice(&partial[..len]);
        for part in partial[len..].chunks_exact(len) {
            w.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
        }
    });
}

/// Partial weights, of which every task writes its own.
struct Partial<T>(*mut T);
// SAFETY: see above.
unsafe impl<T> Sync for Partial<T> {}
impl<T> Partial<T> {
    fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}
