//! Kernels of 3 x 3 in fewer multiplications: Winograd's F(2 x 2, 3 x 3) (Lavin and Gray 2016, section 4.1).
//!
//! Two by two results of one channel read four by four pixels `d`. With
//!
//! ```text
//! V = Bᵀ d B,   U = G g Gᵀ,   result = Aᵀ (U ∘ V) A,
//!
//!      1  0 -1  0          1    0    0         1  1  1  0
//! Bᵀ = 0  1  1  0    G = 1/2  1/2  1/2    Aᵀ = 0  1 -1 -1
//!      0 -1  1  0        1/2 -1/2  1/2
//!      0  1  0 -1          0    0    1
//! ```
//!
//! they take 16 multiplications in place of 36. The sum over channels goes between the two transforms, so that the
//! multiplications are sixteen products of matrices, with tiles of pixels in the lanes.
//!
//! The sums are made of other terms than those of the definition: pixels cancel that a result does not depend on. The error
//! is bounded by the largest pixels of the four by four, not by those under the kernel (see
//! `docs/decisions/0006-winograd.md`), and what is not finite would reach all results of a tile. Therefore every result is
//! looked at, and if one is not finite the caller computes them all from the definition.

use super::correlate::{Axis, Correlation, Mode, Plan};
use super::tasks;
use crate::Real;
use crate::gemm::blocks::tile_rows;
use crate::gemm::buffer;
use crate::gemm::driver::part;
use crate::gemm::pack::{Copy, Piece};
use crate::gemm::tile::{Job, Spot, touch};
use crate::list::Listed;
use crate::vector::Vector;
use smallvec::SmallVec;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Products of matrices.
const POINTS: usize = 16;
/// Channels on each side from which it wins.
const CHANNELS: usize = 16;
/// Positions of an axis from which it wins.
const POSITIONS: usize = 4;
/// Bytes of the transformed pixels of one task.
const PIXELS: usize = 1 << 19;
/// Tiles that a task should have at least.
const TILES: usize = 96;
/// Tasks that a convolution is cut into where its size allows, and without which the definition, which can be cut finer, keeps
/// more threads at work.
const TASKS: usize = 32;
const FEW: usize = 8;
/// Multiply-adds below which it is not worth a further task.
const TASK_WORK: usize = 1 << 20;
/// Lanes of the widest panel, and rows of the tallest tile.
const LANES: usize = 48;
const ROWS: usize = 8;

/// How a correlation is cut into tasks: chunks of images, and blocks of rows of tiles of an image; one of both is whole.
pub(super) struct Cut {
    chunks: usize,
    blocks: usize,
}

/// The cut of a correlation of the kind that this does, if it is large enough to win by it and leaves enough tasks.
pub(super) fn cut<T: Real>(job: &Correlation<'_, T>) -> Option<Cut> {
    let [z, y, x] = &job.axes;
    let plain = |a: &Axis| {
        let mut shifts: SmallVec<[usize; 8]> = a.taps.iter().map(|t| t.shift).listed();
        shifts.sort_unstable();
        shifts[..] == [0, 1, 2]
            && a.phases.len() == 1
            && (a.step, a.result_step, a.result_start) == (1, 1, 0)
            && a.count >= POSITIONS
    };
    let fits = (z.count, z.taps.len(), z.source) == (1, 1, 1)
        && z.phases[..] == [0]
        && plain(y)
        && plain(x)
        && job.depth.min(job.rows) >= CHANNELS
        && job.kernels.lanes >= 4;
    if !fits {
        return None;
    }
    let [height, width] = tiles(job);
    let wanted = TASKS.min(job.work / TASK_WORK);
    let row = POINTS * job.depth * width * size_of::<T>();
    let mut blocks = height.div_ceil((PIXELS / row).max(1));
    while job.batch * job.groups * blocks < wanted && height.div_ceil(2 * blocks) * width >= LANES {
        blocks *= 2;
    }
    let images = match blocks {
        1 => (TILES.div_ceil(height * width)).min((PIXELS / (row * height)).max(1)),
        _ => 1,
    };
    let chunks = match job.batch.div_ceil(images) {
        // As much for two threads.
        n if n < job.batch => n.next_multiple_of(2).min(job.batch),
        n => n,
    };
    (chunks * job.groups * blocks >= wanted.min(FEW)).then_some(Cut { chunks, blocks })
}

/// Tiles along both axes.
fn tiles<T>(job: &Correlation<'_, T>) -> [usize; 2] {
    [1, 2].map(|i| job.axes[i].count.div_ceil(2))
}

/// What the tasks share.
struct Winograd<'a, T: 'static> {
    plan: Plan<'a, T>,
    /// Transformed weights: `[group][point][row][channel]`.
    weights: *const T,
    /// Tiles along an axis.
    tiles: [usize; 2],
}
// SAFETY: tasks read the weights and write disjoint parts of the result.
unsafe impl<T> Sync for Winograd<'_, T> {}

/// Computes the correlation; returns whether all results are finite.
pub(super) fn run<T: Real>(job: &Correlation<'_, T>, cut: &Cut) -> bool {
    let (tiles, &Cut { chunks, blocks }) = (tiles(job), cut);
    let size = POINTS * job.rows * job.depth;
    let finite = AtomicBool::new(true);
    buffer::with_more(job.groups * size, |weights: *mut T| {
        for group in 0..job.groups {
            for row in 0..job.rows {
                // SAFETY: the buffer has the room; a row has 9 x depth weights.
                unsafe {
                    let from = job.weights.add((group * job.rows + row) * 9 * job.depth);
                    transform_weights(
                        std::slice::from_raw_parts(from, 9 * job.depth),
                        [1, 2].map(|i| [0, 1, 2].map(|t| job.axes[i].taps[t].shift)),
                        weights.add(group * size + row * job.depth),
                        job.rows * job.depth,
                    );
                }
            }
        }
        let w = Winograd {
            plan: Plan {
                job,
                result: job.result.as_ptr().cast_mut(),
                span: [0, 2, 2],
                mode: Mode::Rows,
            },
            weights,
            tiles,
        };
        let (batch, groups) = (job.batch, job.groups);
        tasks(job.work, chunks * groups * blocks, |i| {
            let (group, block) = (i / blocks % groups, i % blocks);
            let images = part(batch, chunks, i / (groups * blocks));
            // SAFETY: the sizes of the slices were checked, and tasks write disjoint parts of the result.
            if !unsafe { w.task(images, group, part(tiles[0], blocks, block)) } {
                finite.store(false, Ordering::Relaxed);
            }
        });
    });
    finite.into_inner()
}

/// `U = G g Gᵀ` for all channels of a row: `weights` are `[tap][channel]`; element `p` of a channel goes to
/// `to + p * point`.
///
/// # Safety
/// There is room for 16 rows of channels, `point` apart.
unsafe fn transform_weights<T: Real>(
    weights: &[T],
    shifts: [[usize; 3]; 2],
    to: *mut T,
    point: usize,
) {
    /// Channels at a time.
    const W: usize = 8;
    let depth = weights.len() / 9;
    let half = T::from_f64(0.5);
    let three = |g: [[T; W]; 3]| {
        let mut out = [g[0], [T::ZERO; W], [T::ZERO; W], g[2]];
        for i in 0..W {
            let (sum, middle) = ((g[0][i] + g[2][i]) * half, g[1][i] * half);
            out[1][i] = sum + middle;
            out[2][i] = sum - middle;
        }
        out
    };
    for c in (0..depth).step_by(W) {
        let n = W.min(depth - c);
        let mut g = [[[T::ZERO; W]; 3]; 3];
        for (y, &to_y) in shifts[0].iter().enumerate() {
            for (x, &to_x) in shifts[1].iter().enumerate() {
                let from = &weights[(y * 3 + x) * depth + c..][..n];
                match <&[T; W]>::try_from(from) {
                    Ok(whole) => g[to_y][to_x] = *whole,
                    Err(_) => g[to_y][to_x][..n].copy_from_slice(from),
                }
            }
        }
        let rows = g.map(three);
        for x in 0..4 {
            let column = three([rows[0][x], rows[1][x], rows[2][x]]);
            for (y, u) in column.iter().enumerate() {
                // SAFETY: the contract.
                let to = unsafe {
                    let to = to.add((y * 4 + x) * point + c);
                    std::slice::from_raw_parts_mut(to.cast::<MaybeUninit<T>>(), n)
                };
                for (to, &u) in to.iter_mut().zip(u) {
                    to.write(u);
                }
            }
        }
    }
}

impl<T: Real> Winograd<'_, T> {
    /// Elements between the points of the transformed pixels: an odd number of cache lines, so that the points do not fall on
    /// each other in the cache.
    fn point(&self, channel: usize) -> usize {
        ((self.plan.job.depth * channel).div_ceil(16) | 1) * 16
    }

    /// Computes some rows of tiles of some images; returns whether all results are finite.
    ///
    /// # Safety
    /// The part of the result belongs to the caller alone.
    unsafe fn task(&self, images: Range<usize>, group: usize, block: Range<usize>) -> bool {
        let job = self.plan.job;
        let kernels = job.kernels;
        let lanes = kernels.lanes;
        let count = [1, 2].map(|i| job.axes[i].count);
        let y = block.start * 2..(block.end * 2).min(count[0]);
        let sizes = self.plan.sizes(1, y.len());
        let width = sizes.size[2];
        let own = block.len() * self.tiles[1];
        let all = images.len() * own;
        // Registers are stored whole; the next row of tiles covers what stands behind the last tile of a row.
        let channel = all.next_multiple_of(lanes) + lanes;
        let point = self.point(channel);
        // The last row of tiles may read a row and a column more than there are, and what fills its last register.
        let room = (sizes.room + 2 * width + 4 * LANES).next_multiple_of(16);
        let products = POINTS * ROWS * LANES;
        let pixels = 2 * ROWS * 2 * LANES;
        buffer::with(
            room + POINTS * point + lanes + products + pixels,
            |at: *mut T| {
                let planes = sizes.at(at);
                let v = at.wrapping_add(room);
                let m = v.wrapping_add(POINTS * point + lanes);
                // SAFETY: the buffer has the room; the rest is passed on.
                unsafe {
                    at.write_bytes(0, room);
                    for (i, image) in images.clone().enumerate() {
                        (self.plan).fill(&planes, image * job.groups + group, &(0..1), &y);
                        for c in 0..job.depth {
                            for ty in 0..block.len() {
                                let to = i * own + ty * self.tiles[1];
                                // To the end of the last register, so that what was in memory before does not count.
                                let more = if to + self.tiles[1] == all {
                                    all.next_multiple_of(lanes) - all
                                } else {
                                    0
                                };
                                (kernels.wino_in)(&Input {
                                    rows: planes.at.add(c * sizes.channel + 2 * ty * width),
                                    width,
                                    tiles: self.tiles[1] + more,
                                    to: v.add(c * channel + to),
                                    point,
                                });
                            }
                        }
                    }
                    let mut finite = true;
                    let registers = all.div_ceil(lanes);
                    let panels = registers.div_ceil(kernels.nv());
                    for panel in 0..panels {
                        let r = part(registers, panels, panel);
                        finite &= self.panel(&images, group, &block, (r, channel), v, m);
                    }
                    finite
                }
            },
        )
    }

    /// Computes the results of some registers of tiles.
    ///
    /// # Safety
    /// As for [`Winograd::task`]; `v` holds the transformed pixels, `m` has room for a tile of products and its results.
    unsafe fn panel(
        &self,
        images: &Range<usize>,
        group: usize,
        block: &Range<usize>,
        (registers, channel): (Range<usize>, usize),
        v: *const T,
        m: *mut T,
    ) -> bool {
        let job = self.plan.job;
        let kernels = job.kernels;
        let [_, ay, ax] = &job.axes;
        let volume = ay.result * ax.result;
        let start = registers.start * kernels.lanes;
        let wide = registers.len() * kernels.lanes;
        let own = block.len() * self.tiles[1];
        let end = (start + wide).min(images.len() * own);
        // Stretches of tiles that are neighbours in the result, for the upper and the lower row of pixels.
        let mut pieces = [[Piece::default(); LANES]; 2];
        let mut counts = [0; 2];
        let mut at = start;
        while at < end {
            let (i, ty, tx) = (at / own, at % own / self.tiles[1], at % self.tiles[1]);
            let n = (self.tiles[1] - tx).min(end - at);
            for half in 0..2 {
                let y = 2 * (block.start + ty) + half;
                if y < ay.count {
                    pieces[half][counts[half]] = Piece {
                        from: 2 * (at - start),
                        to: i * job.groups * job.rows * volume + y * ax.result + 2 * tx,
                        len: (2 * n).min(ax.count - 2 * tx),
                    };
                    counts[half] += 1;
                }
            }
            at += n;
        }
        let tiles = job.rows.div_ceil(kernels.mr());
        let pixels = m.wrapping_add(POINTS * ROWS * LANES);
        let point = self.point(channel);
        let product = Job {
            k: job.depth,
            s_row: job.depth as isize,
            s_k: 1,
            v_k: channel as isize,
            c_row: wide as isize,
            ..Job::new(kernels.finish)
        };
        let mut finite = true;
        for t in 0..tiles {
            let rows = tile_rows(job.rows, kernels.mr(), tiles, t);
            let first = (images.start * job.groups + group) * job.rows + rows.start;
            let to = self.plan.result.wrapping_add(first * volume);
            for half in 0..2 {
                for p in &pieces[half][..counts[half]] {
                    let (row, bytes) = (volume * size_of::<T>(), p.len * size_of::<T>());
                    touch(
                        to.wrapping_add(p.to).cast(),
                        row as isize,
                        rows.len(),
                        bytes,
                    );
                }
            }
            let s =
                (self.weights).wrapping_add((group * POINTS * job.rows + rows.start) * job.depth);
            for p in 0..POINTS {
                let spot = Spot::new(
                    s.wrapping_add(p * job.rows * job.depth),
                    v.wrapping_add(p * point + start),
                    m.wrapping_add(p * rows.len() * wide),
                    kernels.lanes,
                );
                // SAFETY: weights, transformed pixels and the room for products exist.
                unsafe { (kernels.tiles[registers.len() - 1][rows.len() - 1])(&product, &spot) };
            }
            let bias = (job.tail.bias).map_or(std::ptr::null(), |b| {
                b[group * job.rows + rows.start..].as_ptr()
            });
            // SAFETY: the products were made; the pieces lie in the caller's part of the result.
            unsafe {
                finite &= (kernels.wino_out)(&Output {
                    products: m,
                    point: rows.len() * wide,
                    rows: rows.len(),
                    registers: registers.len(),
                    bias,
                    relu: job.tail.relu,
                    to: pixels,
                });
                for half in 0..2 {
                    (kernels.copy)(&Copy {
                        rows: rows.len(),
                        src: pixels.add(half * rows.len() * 2 * wide),
                        src_row: 2 * wide,
                        dst: to,
                        dst_row: volume,
                        pieces: &pieces[half][..counts[half]],
                    });
                }
            }
        }
        finite
    }
}

/// `V = Bᵀ d B` for a row of tiles.
pub(in crate::gemm) type InputFn<T> = unsafe fn(&Input<T>);

/// Arguments of [`InputFn`].
pub(in crate::gemm) struct Input<T> {
    /// Four rows of pixels, `width` apart.
    pub rows: *const T,
    pub width: usize,
    pub tiles: usize,
    /// Element `p` of tile `i` goes to `to + p * point + i`.
    pub to: *mut T,
    pub point: usize,
}

/// The body of all [`InputFn`].
///
/// # Safety
/// The instruction set of `V` is available. Rows are readable, and results writable, up to whole registers.
#[inline(always)]
pub(in crate::gemm) unsafe fn input<V: Vector>(job: &Input<V::Elem>) {
    let lanes = V::LANES;
    for i in (0..job.tiles).step_by(lanes) {
        // SAFETY: the contract.
        unsafe {
            let from = job.rows.add(2 * i);
            // Down the columns, for pixels 0 and 1 of each tile, then for pixels 2 and 3: those two further on.
            let mut d = [[V::zero(); 4]; 4];
            for x in 0..2 {
                let (low, high) = (2 * x, 2 * x + lanes);
                let (mut a, mut b) = ([V::zero(); 4], [V::zero(); 4]);
                for y in 0..4 {
                    a[y] = V::load(from.add(y * job.width + low));
                    b[y] = V::load(from.add(y * job.width + high));
                }
                let (a, b) = (across(a), across(b));
                for y in 0..4 {
                    let (even, odd) = a[y].deinterleave(b[y]);
                    d[y][2 * x] = even;
                    d[y][2 * x + 1] = odd;
                }
            }
            for y in 0..4 {
                for (x, v) in across(d[y]).into_iter().enumerate() {
                    v.store(job.to.add((y * 4 + x) * job.point + i));
                }
            }
        }
    }
}

/// `Bᵀ d`.
///
/// # Safety
/// The instruction set of `V` is available.
#[inline(always)]
unsafe fn across<V: Vector>(d: [V; 4]) -> [V; 4] {
    // SAFETY: the contract.
    unsafe {
        [
            d[0].sub(d[2]),
            d[1].add(d[2]),
            d[2].sub(d[1]),
            d[1].sub(d[3]),
        ]
    }
}

/// `Aᵀ M A`, then bias and relu, for some rows of registers of tiles; returns whether all results are finite.
pub(in crate::gemm) type OutputFn<T> = unsafe fn(&Output<T>) -> bool;

/// Arguments of [`OutputFn`].
pub(in crate::gemm) struct Output<T> {
    /// Element `p` of row `r` at `products + p * point + r * registers * LANES`.
    pub products: *const T,
    pub point: usize,
    pub rows: usize,
    pub registers: usize,
    /// For each row, or null.
    pub bias: *const T,
    pub relu: bool,
    /// The upper pixels of all tiles of all rows, then the lower ones.
    pub to: *mut T,
}

/// The body of all [`OutputFn`].
///
/// # Safety
/// The instruction set of `V` is available; everything is readable, or writable, as described.
#[inline(always)]
pub(in crate::gemm) unsafe fn output<V: Vector>(job: &Output<V::Elem>) -> bool {
    use crate::Element;
    let lanes = V::LANES;
    let wide = job.registers * lanes;
    // SAFETY: the contract.
    unsafe {
        // Adds up zeros, or what is not a number.
        let mut odd = V::zero();
        for r in 0..job.rows {
            let bias = match job.bias.is_null() {
                true => V::zero(),
                false => V::splat(*job.bias.add(r)),
            };
            for j in 0..job.registers {
                let from = job.products.add(r * wide + j * lanes);
                let mut rows = [[V::zero(); 4]; 2];
                for x in 0..4 {
                    let mut m = [V::zero(); 4];
                    for y in 0..4 {
                        m[y] = V::load(from.add((y * 4 + x) * job.point));
                    }
                    let [upper, lower] = down(m);
                    (rows[0][x], rows[1][x]) = (upper, lower);
                }
                for (half, m) in rows.into_iter().enumerate() {
                    let [mut left, mut right] = down(m);
                    odd = odd.fma(left, V::zero()).fma(right, V::zero());
                    left = left.add(bias);
                    right = right.add(bias);
                    if job.relu {
                        (left, right) = (left.relu(), right.relu());
                    }
                    let (first, second) = left.interleave(right);
                    let to = job.to.add((half * job.rows + r) * 2 * wide + 2 * j * lanes);
                    first.store(to);
                    second.store(to.add(lanes));
                }
            }
        }
        odd.sum() == V::Elem::ZERO
    }
}

/// `Aᵀ m`.
///
/// # Safety
/// The instruction set of `V` is available.
#[inline(always)]
unsafe fn down<V: Vector>(m: [V; 4]) -> [V; 2] {
    // SAFETY: the contract.
    unsafe { [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])] }
}
