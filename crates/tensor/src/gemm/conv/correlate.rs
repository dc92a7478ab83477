//! `result[n, r, q] = Σ_(t, c) weights[r, t, c] · source[n, c, place(q, t)]`, pixels in the lanes.
//!
//! A task copies the channels of one image (or of some of its rows, so that they stay in the second level of the cache)
//! into planes with zeros around them. A stride splits them into phases, so that neighbouring positions are always
//! neighbours in memory. Then the tile kernels run over the pixels as they lie: the elements of tap `t` are the same
//! pixels at another offset. Rows of pixels are taken
//!
//! - one by one, where they fill whole registers;
//! - as one line, with the padding between the rows computed in vain and dropped on the way out;
//! - packed, where rows are short and the copy serves many rows of weights.
//!
//! A single channel ([`super::depthwise`]) needs no tiles.

use super::{depthwise, tasks, winograd};
use crate::Real;
use crate::gemm::blocks::tile_rows;
use crate::gemm::driver::part;
use crate::gemm::kernels::Kernels;
use crate::gemm::pack::{Copy, Piece};
use crate::gemm::tile::{Job, Spot};
use crate::gemm::{Tail, buffer};
use crate::list::Listed;
use smallvec::SmallVec;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Bytes of the padded planes of one task.
const PLANES: usize = 1 << 20;
/// Bytes of a packed panel.
const PANEL: usize = 1 << 20;
/// Bytes of weights beyond which a tile of rows passes along all pixels before the next one is read.
const FAR: usize = 1 << 19;
/// Tasks that a convolution is cut into where its size allows.
const TASKS: usize = 32;
/// Multiply-adds below which it is not worth a further task.
const TASK_WORK: usize = 1 << 20;
/// Elements of the largest tile.
const TILE: usize = 512;
/// Lanes of the widest panel.
const LANES: usize = 48;

/// Where a tap of one axis reads.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub phase: usize,
    pub shift: usize,
}

/// One axis: position `q` reads, for tap `t`, element `step * (q + t.shift) + phases[t.phase]` of the source, zero outside.
pub(super) struct Axis {
    pub taps: SmallVec<[Tap; 8]>,
    pub phases: SmallVec<[isize; 6]>,
    pub step: usize,
    /// Elements of the source.
    pub source: usize,
    /// Positions.
    pub count: usize,
    /// Elements of the result, of which position `q` is number `result_start + q * result_step`.
    pub result: usize,
    pub result_start: usize,
    pub result_step: usize,
}

impl Axis {
    pub fn span(&self) -> usize {
        self.taps.iter().map(|t| t.shift).max().unwrap_or(0)
    }

    /// The `m` in `range` whose element `step * m + phase` lies in the source.
    fn valid(&self, phase: usize, range: Range<usize>) -> Range<usize> {
        let (add, step) = (self.phases[phase], self.step as isize);
        let from = |limit: isize| (limit - add + step - 1).div_euclid(step).max(0) as usize;
        let start = from(0).clamp(range.start, range.end);
        start..from(self.source as isize).clamp(start, range.end)
    }
}

/// A whole correlation.
pub(super) struct Correlation<'a, T: 'static> {
    pub kernels: &'static Kernels<T>,
    pub axes: [Axis; 3],
    pub batch: usize,
    pub groups: usize,
    /// Channels of the source in a group.
    pub depth: usize,
    /// Channels of the result in a group.
    pub rows: usize,
    /// Multiply-adds.
    pub work: usize,
    pub source: &'a [T],
    /// `[groups, rows, taps, depth]`.
    pub weights: *const T,
    pub result: &'a mut [T],
    /// Applied to the result, by the channel of the result.
    pub tail: Tail<'a, T>,
}

/// How rows of pixels become registers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Mode {
    Rows,
    Line,
    Packed,
    /// See [`super::depthwise`].
    Single,
}

/// A correlation as tasks share it.
pub(super) struct Plan<'a, T: 'static> {
    pub job: &'a Correlation<'a, T>,
    pub result: *mut T,
    pub span: [usize; 3],
    pub mode: Mode,
}
// SAFETY: tasks read the operands and write disjoint parts of the result, which the caller borrows exclusively.
unsafe impl<T> Sync for Plan<'_, T> {}

pub(super) fn run<T: Real>(job: &Correlation<'_, T>) {
    let result = job.result.as_ptr().cast_mut();
    let span = [0, 1, 2].map(|i| job.axes[i].span());
    let count = [0, 1, 2].map(|i| job.axes[i].count);
    if count.contains(&0) || job.batch == 0 || job.rows == 0 {
        return;
    }
    if let Some(cut) = winograd::cut(job)
        && winograd::run(job, &cut)
    {
        return;
    }
    let phases: usize = job.axes.iter().map(|a| a.phases.len()).product();
    // Blocks: small enough for the cache, and many enough for the threads.
    let mut blocks = [1, 1];
    let bytes = |b: [usize; 2]| {
        let rows = (count[0].div_ceil(b[0]) + span[0]) * (count[1].div_ceil(b[1]) + span[1]);
        rows * (count[2] + span[2]) * phases * job.depth * size_of::<T>()
    };
    let cut = |blocks: &mut [usize; 2]| {
        let axis = usize::from(blocks[0] >= count[0]);
        if blocks[axis] * 2 > count[axis] {
            return false;
        }
        blocks[axis] *= 2;
        true
    };
    while bytes(blocks) > PLANES && cut(&mut blocks) {}
    let wanted = TASKS.min(job.work / TASK_WORK);
    while job.batch * job.groups * blocks[0] * blocks[1] < wanted && cut(&mut blocks) {}
    let plan = Plan {
        mode: mode(job, count, span),
        job,
        result,
        span,
    };
    let pieces = job.groups * blocks[0] * blocks[1];
    // Several images share a task, and the zeros around their planes.
    let batch = job.batch;
    let chunks = batch.min(TASKS.div_ceil(pieces));
    tasks(job.work, chunks * pieces, |i| {
        let images = part(batch, chunks, i / pieces);
        let (group, block) = (
            i % pieces / (blocks[0] * blocks[1]),
            i % (blocks[0] * blocks[1]),
        );
        let z = part(count[0], blocks[0], block / blocks[1]);
        let y = part(count[1], blocks[1], block % blocks[1]);
        // SAFETY: the sizes of the slices were checked, and tasks write disjoint parts of the result.
        unsafe { plan.task(images, group, z, y) };
    });
}

/// The mode with the least estimated cost per useful lane.
fn mode<T: Real>(job: &Correlation<'_, T>, count: [usize; 3], span: [usize; 3]) -> Mode {
    if depthwise::fits(job.depth, job.rows) {
        return Mode::Single;
    }
    let (lanes, width) = (job.kernels.lanes, count[2]);
    let wide = width as f64;
    let registers = width.div_ceil(lanes);
    let panels = registers.div_ceil(job.kernels.nv());
    let slow = match registers / panels {
        1 => 1.4,
        2 => 1.04,
        _ => 1.0,
    };
    let rows = (registers * lanes) as f64 / wide * slow;
    let line = (width + span[2]) as f64 / wide + if span[2] == 0 { 0.0 } else { 0.03 };
    let k = job.axes.iter().map(|a| a.taps.len()).product::<usize>() * job.depth;
    let straight = job.axes.iter().all(|a| a.result_step == 1);
    let packed = if straight && k * LANES * size_of::<T>() <= PANEL {
        1.0 + (lanes as f64 / wide + 1.0) * 5.0 / job.rows as f64
    } else {
        f64::INFINITY
    };
    if rows <= line && rows <= packed {
        Mode::Rows
    } else if line <= packed {
        Mode::Line
    } else {
        Mode::Packed
    }
}

/// The padded planes of a block: `[channel][phase][z][y][x]`.
pub(super) struct Planes<T> {
    pub at: *mut T,
    /// Sizes along the axes.
    pub size: [usize; 3],
    /// Elements of a phase, and of a channel with all its phases.
    phase: usize,
    channel: usize,
}

/// Sizes of the planes of a block.
pub(super) struct Sizes {
    pub size: [usize; 3],
    phase: usize,
    pub channel: usize,
    /// Elements with what may be read behind the last plane.
    pub room: usize,
    /// Offsets of the taps.
    pub taps: SmallVec<[isize; 64]>,
}

impl Sizes {
    pub fn at<T>(&self, at: *mut T) -> Planes<T> {
        Planes {
            at,
            size: self.size,
            phase: self.phase,
            channel: self.channel,
        }
    }
}

/// Registers that a tile of rows passes over.
struct Panel<T> {
    /// Element (0, 0) of the vector operand.
    v: *const T,
    v_k: isize,
    registers: usize,
    /// Lanes that are there.
    valid: usize,
    /// Offsets of the taps.
    taps: *const isize,
    pieces: [Piece; LANES],
    count: usize,
}

impl<T: Real> Plan<'_, T> {
    /// Sizes of the planes that a block of positions reads.
    pub fn sizes(&self, depth: usize, height: usize) -> Sizes {
        let axes = &self.job.axes;
        let size = [
            depth + self.span[0],
            height + self.span[1],
            axes[2].count + self.span[2],
        ];
        let phase = size[0] * size[1] * size[2];
        let phases: usize = axes.iter().map(|a| a.phases.len()).product();
        // An odd number of cache lines, so that channels do not fall on each other in the cache.
        let channel = ((phase * phases).div_ceil(16) | 1) * 16;
        let taps = (axes[0].taps.iter())
            .flat_map(|a| axes[1].taps.iter().map(move |b| (a, b)))
            .flat_map(|(a, b)| axes[2].taps.iter().map(move |c| (a, b, c)))
            .map(|(a, b, c)| {
                let p = (a.phase * axes[1].phases.len() + b.phase) * axes[2].phases.len() + c.phase;
                (p * phase + (a.shift * size[1] + b.shift) * size[2] + c.shift) as isize
            })
            .listed();
        Sizes {
            size,
            phase,
            channel,
            room: self.job.depth * channel + 4 * LANES,
            taps,
        }
    }

    /// # Safety
    /// The part of the result belongs to the caller alone.
    unsafe fn task(&self, images: Range<usize>, group: usize, z: Range<usize>, y: Range<usize>) {
        let sizes = self.sizes(z.len(), y.len());
        let job = self.job;
        let taps = &sizes.taps;
        let packed = match self.mode {
            Mode::Packed => taps.len() * job.depth * LANES,
            Mode::Single => sizes.size[1] * sizes.size[2] + LANES,
            _ => 0,
        };
        let room = sizes.room;
        buffer::with(room + packed, |at: *mut T| {
            let planes = sizes.at(at);
            // SAFETY: the buffer has the room; the rest is passed on.
            unsafe {
                at.write_bytes(0, room);
                for image in images.clone() {
                    self.fill(&planes, image * job.groups + group, &z, &y);
                    for dz in 0..z.len() {
                        self.slice(
                            &planes,
                            taps,
                            image,
                            group,
                            (z.start + dz, dz),
                            &y,
                            at.add(room),
                        );
                    }
                }
            }
        });
    }

    /// Copies the channels of an image into the planes; what lies outside of the image stays zero.
    ///
    /// # Safety
    /// The planes belong to the caller alone.
    pub unsafe fn fill(
        &self,
        planes: &Planes<T>,
        image: usize,
        z: &Range<usize>,
        y: &Range<usize>,
    ) {
        let job = self.job;
        let [az, ay, ax] = &job.axes;
        let volume = az.source * ay.source * ax.source;
        let [depth, height, width] = planes.size;
        for c in 0..job.depth {
            let source = job.source[(image * job.depth + c) * volume..][..volume].as_ptr();
            let mut phase = 0;
            for pz in 0..az.phases.len() {
                for py in 0..ay.phases.len() {
                    for px in 0..ax.phases.len() {
                        // SAFETY: valid elements of the source, and places inside the planes.
                        unsafe {
                            let plane = planes.at.add(c * planes.channel + phase * planes.phase);
                            phase += 1;
                            let xs = ax.valid(px, 0..width);
                            let ys = ay.valid(py, y.start..y.start + height);
                            if xs.is_empty() || ys.is_empty() {
                                continue;
                            }
                            let from = |a: &Axis, p: usize, m: usize| {
                                ((m * a.step) as isize + a.phases[p]) as usize
                            };
                            for m in az.valid(pz, z.start..z.start + depth) {
                                let row = from(az, pz, m) * ay.source + from(ay, py, ys.start);
                                let source = source.add(row * ax.source + from(ax, px, xs.start));
                                let to = (m - z.start) * height + ys.start - y.start;
                                let to = plane.add(to * width + xs.start);
                                if ax.step == 1 {
                                    let piece = Piece {
                                        from: 0,
                                        to: 0,
                                        len: xs.len(),
                                    };
                                    (job.kernels.copy)(&Copy {
                                        rows: ys.len(),
                                        src: source,
                                        src_row: ay.step * ax.source,
                                        dst: to,
                                        dst_row: width,
                                        pieces: &[piece],
                                    });
                                    continue;
                                }
                                for i in 0..ys.len() {
                                    let source = source.add(i * ay.step * ax.source);
                                    let to = to.add(i * width);
                                    for j in 0..xs.len() {
                                        *to.add(j) = *source.add(j * ax.step);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Computes one plane of positions of all rows of a group.
    ///
    /// # Safety
    /// As [`Plan::task`]; `packed` has room for a panel if the mode needs one.
    unsafe fn slice(
        &self,
        planes: &Planes<T>,
        taps: &[isize],
        image: usize,
        group: usize,
        (z, dz): (usize, usize),
        y: &Range<usize>,
        packed: *mut T,
    ) {
        let job = self.job;
        let [az, ay, ax] = &job.axes;
        let kernels = job.kernels;
        let (lanes, width, count) = (kernels.lanes, planes.size[2], ax.count);
        let volume = az.result * ay.result * ax.result;
        // Position (z, y.start, 0) of the group's first row in the result.
        let origin = ((az.result_start + z * az.result_step) * ay.result
            + ay.result_start
            + y.start * ay.result_step)
            * ax.result
            + ax.result_start;
        let first = (image * job.groups + group) * job.rows;
        let result = self.result.wrapping_add(first * volume + origin);
        let base = planes
            .at
            .wrapping_add(dz * planes.size[1] * width)
            .cast_const();
        if self.mode == Mode::Single {
            // SAFETY: the contract is passed on.
            return unsafe { self.single(planes, taps, group, base, y.len(), result, packed) };
        }
        // A line is a number of lanes; `pitch` of them belong to a row of positions, of which `count` are real.
        let (lines, length, pitch) = match self.mode {
            Mode::Rows => (y.len(), count, count),
            Mode::Line => (1, (y.len() - 1) * width + count, width),
            Mode::Packed | Mode::Single => (1, y.len() * count, count),
        };
        let registers = length.div_ceil(lanes);
        let per_line = registers.div_ceil(kernels.nv());
        let panel = |i: usize, panel: &mut Panel<T>| {
            let line = i / per_line;
            let r = part(registers, per_line, i % per_line);
            let start = r.start * lanes;
            panel.registers = r.len();
            panel.valid = (r.end * lanes).min(length) - start;
            panel.v = base.wrapping_add(line * width + start);
            panel.v_k = planes.channel as isize;
            panel.taps = taps.as_ptr();
            panel.count = 0;
            let mut lane = 0;
            while lane < panel.valid {
                let (row, x) = (line + (start + lane) / pitch, (start + lane) % pitch);
                let len = (pitch - x).min(panel.valid - lane);
                if x < count {
                    panel.pieces[panel.count] = Piece {
                        from: lane,
                        to: row * ay.result_step * ax.result + x * ax.result_step,
                        len: len.min(count - x),
                    };
                    panel.count += 1;
                }
                lane += len;
            }
        };
        let k = taps.len() * job.depth;
        let tiles = job.rows.div_ceil(kernels.mr());
        let run = |panel: &Panel<T>, t: usize| {
            let tile = tile_rows(job.rows, kernels.mr(), tiles, t);
            // SAFETY: the rows of the weights and of the result exist, and the taps of the panel lie in the planes.
            unsafe {
                let s = job.weights.add((group * job.rows + tile.start) * k);
                let result = result.wrapping_add(tile.start * volume);
                let bias = (job.tail.bias).map_or(std::ptr::null(), |b| {
                    b[group * job.rows + tile.start..].as_ptr()
                });
                self.tile(panel, tile.len(), k, s, bias, result, volume);
            }
        };
        let mut current = Panel {
            v: base,
            v_k: 0,
            registers: 0,
            valid: 0,
            taps: std::ptr::null(),
            pieces: [Piece::default(); LANES],
            count: 0,
        };
        let total = lines * per_line;
        if self.mode != Mode::Packed && job.rows * k * size_of::<T>() > FAR {
            for t in 0..tiles {
                for i in 0..total {
                    panel(i, &mut current);
                    run(&current, t);
                }
            }
            return;
        }
        for i in 0..total {
            panel(i, &mut current);
            if self.mode == Mode::Packed {
                // SAFETY: the pieces lie in the planes and the panel in its buffer.
                unsafe { self.pack(&mut current, planes, taps, i, registers, base, packed) };
            }
            for t in 0..tiles {
                run(&current, t);
            }
        }
    }

    /// Copies the pixels of a panel for all taps and channels.
    ///
    /// # Safety
    /// `packed` has room for `taps x depth` rows of the panel's registers.
    unsafe fn pack(
        &self,
        panel: &mut Panel<T>,
        planes: &Planes<T>,
        taps: &[isize],
        i: usize,
        registers: usize,
        base: *const T,
        packed: *mut T,
    ) {
        let job = self.job;
        let (lanes, count) = (job.kernels.lanes, job.axes[2].count);
        let wide = panel.registers * lanes;
        let panels = registers.div_ceil(job.kernels.nv());
        let start = part(registers, panels, i).start * lanes;
        let mut pieces = panel.pieces;
        for p in &mut pieces[..panel.count] {
            let (row, x) = ((start + p.from) / count, (start + p.from) % count);
            *p = Piece {
                from: row * planes.size[2] + x,
                to: p.from,
                len: p.len,
            };
        }
        for (t, &tap) in taps.iter().enumerate() {
            // SAFETY: the contract of the function.
            unsafe {
                (job.kernels.copy)(&Copy {
                    rows: job.depth,
                    src: base.offset(tap),
                    src_row: planes.channel,
                    dst: packed.add(t * job.depth * wide),
                    dst_row: wide,
                    pieces: &pieces[..panel.count],
                });
            }
        }
        panel.v = packed;
        panel.v_k = wide as isize;
        panel.taps = std::ptr::null();
    }

    /// Computes `mr` rows of a panel.
    ///
    /// # Safety
    /// `mr` rows of `k` elements are readable at `s`, and `mr` at `bias` unless it is null; the panel's lanes are readable, and its places in the rows at
    /// `result`, `volume` apart, belong to the caller alone.
    unsafe fn tile(
        &self,
        panel: &Panel<T>,
        mr: usize,
        k: usize,
        s: *const T,
        bias: *const T,
        result: *mut T,
        volume: usize,
    ) {
        let kernels = self.job.kernels;
        let step = self.job.axes[2].result_step;
        let pieces = &panel.pieces[..panel.count];
        let wide = panel.registers * kernels.lanes;
        // Lanes that are neighbours in the result, too, go there at once.
        let straight = step == 1
            && pieces.iter().map(|p| p.len).sum::<usize>() == panel.valid
            && pieces.iter().all(|p| p.to == pieces[0].to + p.from);
        let mut scratch = MaybeUninit::<[T; TILE]>::uninit();
        let scratch = scratch.as_mut_ptr().cast::<T>();
        let job = Job {
            k,
            s_row: k as isize,
            s_k: 1,
            v_k: panel.v_k,
            c_row: if straight { volume } else { wide } as isize,
            relu: self.job.tail.relu,
            segments: panel.taps,
            segment: self.job.depth,
            ..Job::new(kernels.finish)
        };
        let to = match straight {
            true => result.wrapping_add(pieces[0].to),
            false => scratch,
        };
        let tail = panel.valid - (panel.registers - 1) * kernels.lanes;
        let spot = Spot {
            bias_s: bias,
            ..Spot::new(s, panel.v, to, tail)
        };
        // SAFETY: the contract of the function; the scratch tile has room for the widest tile.
        unsafe {
            (kernels.tiles[panel.registers - 1][mr - 1])(&job, &spot);
            if straight {
                return;
            }
            if step == 1 {
                (kernels.copy)(&Copy {
                    rows: mr,
                    src: scratch,
                    src_row: wide,
                    dst: result,
                    dst_row: volume,
                    pieces,
                });
                return;
            }
            for i in 0..mr {
                let (from, to) = (scratch.add(i * wide), result.wrapping_add(i * volume));
                for p in pieces {
                    for j in 0..p.len {
                        *to.wrapping_add(p.to + j * step) = *from.add(p.from + j);
                    }
                }
            }
        }
    }
}
