//! The gradient for the weight: `w[o, t, c] = Σ_(n, q) y[n, o, q] · x[n, c, place(q, t)]`.
//!
//! The sum runs over pixels. A task takes a few images (or some rows of one), copies `x` with its channels last and zeros
//! around, and multiplies: the scalar operand is `y` as it lies, the lanes are channels and neighbouring taps, which are
//! one stretch of memory for every pixel. Each task sums into a weight of its own; these are added in order at the end.

use super::{tasks, work};
use crate::Real;
use crate::conv::{Channels, Geometry};
use crate::gemm::blocks::tile_rows;
use crate::gemm::buffer;
use crate::gemm::driver::part;
use crate::gemm::kernels::Kernels;
use crate::gemm::pack::{Copy, Piece};
use crate::gemm::tile::{Job, Spot};
use smallvec::SmallVec;
use std::ops::Range;

/// Bytes of the copied image of one step.
const IMAGE: usize = 1 << 20;
/// Pixels that a step should have at least, so that storing its sums is a small part.
const PIXELS: usize = 512;
/// Tasks that the gradient is cut into where its size allows.
const TASKS: usize = 16;
/// Multiply-adds below which it is not worth a further task.
const TASK_WORK: usize = 1 << 20;
/// Elements of all partial weights.
const PARTIAL: usize = 1 << 21;

/// A gradient as tasks share it.
struct Plan<'a, T: 'static> {
    kernels: &'static Kernels<T>,
    g: &'a Geometry,
    c: &'a Channels,
    x: &'a [T],
    y: &'a [T],
    /// Channels of a group.
    ci: usize,
    co: usize,
    /// Sizes of the copied image without blocks, and the pixels of the result.
    padded: [usize; 3],
    /// Parts along the first two axes of an image, and images of a step; one of both is 1.
    blocks: [usize; 2],
    images: usize,
    partial: *mut T,
}
// SAFETY: tasks read the operands and write disjoint parts of the partial sums.
unsafe impl<T> Sync for Plan<'_, T> {}

/// Elements of `x` that positions reach over.
fn reach(g: &Geometry, i: usize, positions: usize) -> usize {
    (positions - 1) * g.stride[i] + (g.kernel[i] - 1) * g.dilation[i] + 1
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
    let (ci, co, taps) = (c.input / g.groups, c.output / g.groups, g.taps());
    let padded = [0, 1, 2].map(|i| reach(g, i, g.output[i]));
    let mut blocks = [1, 1];
    let bytes = |b: [usize; 2]| {
        let rows: usize = [0, 1]
            .map(|i| reach(g, i, g.output[i].div_ceil(b[i])))
            .iter()
            .product();
        rows * padded[2] * ci * size_of::<T>()
    };
    while bytes(blocks) > IMAGE {
        let axis = usize::from(blocks[0] >= g.output[0]);
        if blocks[axis] * 2 > g.output[axis] {
            break;
        }
        blocks[axis] *= 2;
    }
    let pixels: usize = g.output.iter().product();
    let mut images = 1;
    if blocks == [1, 1] {
        images = (PIXELS / pixels)
            .min(IMAGE / bytes(blocks))
            .clamp(1, c.batch);
    }
    let steps = c.batch.div_ceil(images) * blocks[0] * blocks[1];
    let total = work(g, c);
    let wanted = TASKS.min(total / TASK_WORK).max(1);
    let chunks = steps.min(wanted).min(PARTIAL / w.len()).max(1);
    // What is left is cut by rows.
    let cuts = wanted
        .div_ceil(chunks * g.groups)
        .min(co.div_ceil(kernels.mr()));
    buffer::with_kept(chunks * w.len(), |partial: *mut T| {
        let plan = Plan {
            kernels,
            g,
            c,
            x,
            y,
            ci,
            co,
            padded,
            blocks,
            images,
            partial,
        };
        tasks(total, chunks * g.groups * cuts, |i| {
            let (chunk, group, cut) = (i / (g.groups * cuts), i / cuts % g.groups, i % cuts);
            let rows = part(co, cuts, cut);
            // SAFETY: the sizes of the slices were checked; every task has its own rows of its own partial weight.
            unsafe {
                let to = plan
                    .partial
                    .add((chunk * g.groups + group) * co * taps * ci);
                plan.task(part(steps, chunks, chunk), group, rows, to);
            }
        });
        // SAFETY: all partial weights were written.
        let partial = unsafe { std::slice::from_raw_parts_mut(partial, chunks * w.len()) };
        let (sum, rest) = partial.split_at_mut(w.len());
        for part in rest.chunks_exact(w.len()) {
            sum.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
        }
        for (from, to) in sum
            .chunks_exact(ci * taps)
            .zip(w.chunks_exact_mut(ci * taps))
        {
            // SAFETY: taps x channels on both sides.
            unsafe {
                let (from, to) = (from.as_ptr(), to.as_mut_ptr());
                (kernels.transpose)(taps, ci, from, ci as isize, to, taps as isize);
            }
        }
    });
}

impl<T: Real> Plan<'_, T> {
    /// Sums the steps of a chunk.
    ///
    /// # Safety
    /// `to` has room for the group's weight; its `rows` belong to the caller alone.
    unsafe fn task(&self, steps: Range<usize>, group: usize, rows: Range<usize>, to: *mut T) {
        let (g, kernels) = (self.g, self.kernels);
        let parts = self.blocks[0] * self.blocks[1];
        let tallest = [0, 1].map(|i| reach(g, i, g.output[i].div_ceil(self.blocks[i])));
        let image = tallest[0] * tallest[1] * self.padded[2] * self.ci;
        let pixels: usize = g.output.iter().product();
        let room = self.images * image + 64;
        // Several images of the cotangent are put together, row by row.
        let y_room = if self.images > 1 {
            rows.len() * self.images * pixels
        } else {
            0
        };
        let mut beta = T::ZERO;
        buffer::with(room + y_room, |at: *mut T| {
            for step in steps {
                let (first, block) = (step / parts * self.images, step % parts);
                let images = self.images.min(self.c.batch - first);
                let z = part(g.output[0], self.blocks[0], block / self.blocks[1]);
                let y = part(g.output[1], self.blocks[1], block % self.blocks[1]);
                let size = [reach(g, 0, z.len()), reach(g, 1, y.len()), self.padded[2]];
                // SAFETY: the buffer has the room, rows and images exist.
                unsafe {
                    let mut segments = SmallVec::<[isize; 64]>::new();
                    for i in 0..images {
                        self.fill(
                            at.add(i * image),
                            first + i,
                            group,
                            [z.start, y.start],
                            size,
                        );
                        for qz in 0..z.len() {
                            for qy in 0..y.len() {
                                let row = qz * g.stride[0] * size[1] + qy * g.stride[1];
                                segments.push((i * image + row * size[2] * self.ci) as isize);
                            }
                        }
                    }
                    // The cotangent of the block: contiguous, because blocks are whole rows.
                    let start = (z.start * g.output[1] + y.start) * g.output[2];
                    let len = z.len() * y.len() * g.output[2];
                    let channel = |i: usize, o: usize| {
                        ((first + i) * self.c.output + group * self.co + o) * pixels + start
                    };
                    let (mut s, mut s_row) = (self.y[channel(0, rows.start)..].as_ptr(), pixels);
                    if self.images > 1 {
                        let packed = at.add(room);
                        for i in 0..images {
                            (kernels.copy)(&Copy {
                                rows: rows.len(),
                                src: self.y[channel(i, rows.start)..].as_ptr(),
                                src_row: pixels,
                                dst: packed.add(i * len),
                                dst_row: images * len,
                                pieces: &[Piece {
                                    from: 0,
                                    to: 0,
                                    len,
                                }],
                            });
                        }
                        (s, s_row) = (packed.cast_const(), images * len);
                    }
                    let operands = Operands {
                        s,
                        s_row,
                        x: at,
                        size,
                        k: images * len,
                        segments: &segments,
                        beta,
                    };
                    self.product(&operands, &rows, to);
                }
                beta = T::ONE;
            }
        });
    }

    /// Copies a group's channels of an image, channels last, with zeros around: the elements from position `start` of the
    /// output on.
    ///
    /// # Safety
    /// There is room for an image of this size at `at`.
    unsafe fn fill(
        &self,
        at: *mut T,
        image: usize,
        group: usize,
        start: [usize; 2],
        size: [usize; 3],
    ) {
        let (g, ci) = (self.g, self.ci);
        let volume: usize = g.input.iter().product();
        let source = &self.x[(image * self.c.input + group * ci) * volume..][..ci * volume];
        let inside = |i: usize, first: usize, m: usize| -> Option<usize> {
            (first * g.stride[i] + m)
                .checked_sub(g.padding[i])
                .filter(|&x| x < g.input[i])
        };
        let left = g.padding[2].min(size[2]);
        let right = (g.padding[2] + g.input[2]).clamp(left, size[2]);
        for z in 0..size[0] {
            for y in 0..size[1] {
                // SAFETY: the row lies in the image of this size; the source's row exists.
                unsafe {
                    let row = at.add((z * size[1] + y) * size[2] * ci);
                    let (Some(fz), Some(fy)) = (inside(0, start[0], z), inside(1, start[1], y))
                    else {
                        row.write_bytes(0, size[2] * ci);
                        continue;
                    };
                    row.write_bytes(0, left * ci);
                    row.add(right * ci).write_bytes(0, (size[2] - right) * ci);
                    let from = source[(fz * g.input[1] + fy) * g.input[2]..].as_ptr();
                    let to = row.add(left * ci);
                    (self.kernels.transpose)(
                        ci,
                        right - left,
                        from,
                        volume as isize,
                        to,
                        ci as isize,
                    );
                }
            }
        }
    }

    /// Adds the products of a step to the rows of the partial weight.
    ///
    /// # Safety
    /// The operands are readable, and the rows belong to the caller alone.
    unsafe fn product(&self, a: &Operands<'_, T>, rows: &Range<usize>, to: *mut T) {
        let (g, kernels, ci) = (self.g, self.kernels, self.ci);
        let lanes = kernels.lanes;
        let wide = g.taps() * ci;
        // Taps that lie side by side for every pixel.
        let joined = if g.dilation[2] == 1 { g.kernel[2] } else { 1 };
        let run = joined * ci;
        let registers = run.div_ceil(lanes);
        let panels = registers.div_ceil(kernels.nv());
        let tiles = rows.len().div_ceil(kernels.mr());
        let job = Job {
            k: a.k,
            s_row: a.s_row as isize,
            s_k: 1,
            v_k: (g.stride[2] * ci) as isize,
            c_row: wide as isize,
            beta: a.beta,
            segments: a.segments.as_ptr(),
            segment: g.output[2],
            ..Job::new(kernels.finish)
        };
        for tap in (0..g.taps()).step_by(joined) {
            let t = [
                tap / (g.kernel[1] * g.kernel[2]),
                tap / g.kernel[2] % g.kernel[1],
                tap % g.kernel[2],
            ];
            let offset = (t[0] * g.dilation[0] * a.size[1] + t[1] * g.dilation[1]) * a.size[2]
                + t[2] * g.dilation[2];
            for panel in 0..panels {
                let r = part(registers, panels, panel);
                let start = r.start * lanes;
                let valid = (r.end * lanes).min(run) - start;
                for t in 0..tiles {
                    let tile = tile_rows(rows.len(), kernels.mr(), tiles, t);
                    let spot = Spot::new(
                        a.s.wrapping_add(tile.start * a.s_row),
                        a.x.wrapping_add(offset * ci + start),
                        to.wrapping_add((rows.start + tile.start) * wide + tap * ci + start),
                        valid - (r.len() - 1) * lanes,
                    );
                    // SAFETY: the contract of the function; the last register may reach into the room behind the image.
                    unsafe { (kernels.tiles[r.len() - 1][tile.len() - 1])(&job, &spot) };
                }
            }
        }
    }
}

/// Operands of one step.
struct Operands<'a, T> {
    /// Cotangent: row `o` at `s + o * s_row`, `k` pixels.
    s: *const T,
    s_row: usize,
    /// Copied images and the size of each.
    x: *const T,
    size: [usize; 3],
    k: usize,
    /// Where the rows of pixels start.
    segments: &'a [isize],
    beta: T,
}
