//! The blocked product of a region: packing, and the loops around the tile kernels.
//!
//! For each block of `k` and each block of columns, the vector operand is packed into panels of a few registers width
//! that stay in the second level of the cache; then tile after tile of rows passes along all panels, its part of the
//! scalar operand staying in the first level. The scalar operand is used where it lies while its rows are contiguous
//! along `k`; otherwise it is packed, too.

use super::buffer;
use super::driver::{Problem, part};
use super::kernels::Kernels;
use super::pack::{PackRows, PackTiles, gather, pack_panel};
use super::tile::{Job, Spot, TileFn, rounds};
use crate::Real;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Bytes of a packed block of the vector operand, half of a small second level of cache,
const V_BLOCK: usize = 512 << 10;
/// and three quarters of one beside registers of a whole line.
const V_BLOCK_LINES: usize = 768 << 10;
/// The same, for a vector operand that serves few rows and is bound by its way from memory.
const V_BLOCK_STREAMED: usize = 256 << 10;
/// Bytes of an operand beyond which its next part is fetched ahead, and of a result beyond which its lines are.
pub(super) const FAR: usize = 3 << 19;
/// Tiles of rows up to which a vector operand is used where it lies: to pack it takes longer.
const FEW: usize = 16;
/// The same where rows do not begin with a line, so that most registers are read from two,
const FEW_ACROSS: usize = 8;
/// and where they lie in few places of the cache.
const FEW_CROWDED: usize = 4;
/// Rows times the power of two in their distance, in bytes, up to which they do not drive each other out of the second level.
const SPREAD: usize = 512 << 10;
/// Tiles of rows from which on an operand that is far is packed apart.
const MANY: usize = 64;
/// Bytes of packed scalar operand for one block of `k`.
const S_BLOCK: usize = 4 << 20;

/// Bytes of the terms of a sum that are added up before they are added to the result.
const PIECE: usize = 4096;
/// The same as they are read from a vector operand that is bound by its way from memory: fewer rows, of which longer parts are read.
const PIECE_STREAMED: usize = 1024;

/// Sizes of blocks. `k` is cut into pieces, which shape the sums and depend on `k` alone. A piece is read in one part or in several;
/// between two parts the sums wait in memory, which changes nothing.
#[derive(Clone, Copy)]
pub(super) struct Blocking {
    pieces: usize,
    parts: usize,
    v_block: usize,
}

impl Blocking {
    pub(super) fn new<T: Real>(p: &Problem<T>, kernels: &Kernels<T>) -> Self {
        let size = size_of::<T>();
        let pieces = (p.k * size).div_ceil(PIECE).max(1);
        let streamed = p.v_col == 1 && p.rows <= 128 && p.cols * p.k * size > FAR;
        let (parts, v_block) = match streamed {
            true => {
                // Half as many rows, if these can be read where they lie.
                let rows = PIECE_STREAMED / size;
                let half = power(p).saturating_mul(rows) == 2 * SPREAD;
                let rows = if half { rows / 2 } else { rows };
                (p.k.div_ceil(pieces).div_ceil(rows), V_BLOCK_STREAMED)
            }
            false if kernels.lanes * size == 64 => (1, V_BLOCK_LINES),
            false => (1, V_BLOCK),
        };
        Blocking {
            pieces,
            parts,
            v_block,
        }
    }

    /// Terms of part `i` of all parts of all pieces.
    fn terms(&self, k: usize, i: usize) -> Range<usize> {
        let piece = part(k, self.pieces, i / self.parts);
        let r = part(piece.len(), self.parts, i % self.parts);
        piece.start + r.start..piece.start + r.end
    }
}

/// The largest power of two that divides the distance of the rows of the vector operand in bytes.
fn power<T>(p: &Problem<T>) -> usize {
    let bytes = p.v_k.unsigned_abs().saturating_mul(size_of::<T>());
    1 << bytes.trailing_zeros().min(usize::BITS - 1)
}

/// How the registers of the vector operand are come by.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// Read where they lie.
    Direct,
    /// The first tile reads them where they lie and packs in passing.
    Passing,
    /// Packed row by row, all panels of a block at once.
    Rows,
    /// Packed by a transposing copy.
    Transposed,
    /// Packed element by element.
    Gathered,
}

/// Rows of tile `t` of `tiles` over `len` rows: tiles are full but for the last, and for the one before it, which leaves
/// two of its rows to the last where these are missed there. So there are packing kernels for two numbers of rows only.
#[inline]
pub(super) fn tile_rows(len: usize, mr: usize, tiles: usize, t: usize) -> Range<usize> {
    if t + 2 < tiles {
        return t * mr..(t + 1) * mr;
    }
    let first = tiles.saturating_sub(2) * mr;
    if tiles == 1 {
        return 0..len;
    }
    let middle = first
        + if len - first <= 2 * (mr - 2) {
            mr - 2
        } else {
            mr
        };
    if t + 2 == tiles {
        first..middle
    } else {
        middle..len
    }
}

/// Computes the elements `rows x cols` of the result.
///
/// # Safety
/// All elements of the operands and the region are valid, nobody else accesses the region, and this machine has the
/// instruction set of the kernels.
pub(super) unsafe fn region<T: Real>(
    p: &Problem<T>,
    kernels: &Kernels<T>,
    blocking: Blocking,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    let (lanes, size) = (kernels.lanes, size_of::<T>());
    let registers = cols.len().div_ceil(lanes);
    let pack_s = p.s_k != 1 && registers > kernels.nv();
    let k_blocks = blocking.pieces * blocking.parts;
    let longest = p.k.div_ceil(blocking.pieces).div_ceil(blocking.parts);
    if pack_s && rows.len() * longest * size > 2 * S_BLOCK {
        // So many rows that their packed form would be far away: one part after the other.
        let parts = (rows.len() * longest * size).div_ceil(S_BLOCK);
        for i in 0..parts {
            let r = part(rows.len(), parts, i);
            // SAFETY: a part of the region.
            unsafe {
                region(
                    p,
                    kernels,
                    blocking,
                    rows.start + r.start..rows.start + r.end,
                    cols.clone(),
                )
            };
        }
        return;
    }
    let tiles = rows.len().div_ceil(kernels.mr());
    let source = if p.v_col == 1 {
        let near = p.v_k.unsigned_abs().saturating_mul(p.k * size) <= FAR;
        let few = match power(p) {
            power if !near && power.saturating_mul(longest) > SPREAD => FEW_CROWDED,
            power if power < LINE => FEW_ACROSS,
            _ => FEW,
        };
        if tiles <= few {
            Source::Direct
        } else if tiles >= MANY && cols.len() * p.k * size > FAR {
            Source::Rows
        } else {
            Source::Passing
        }
    } else if p.v_k == 1 {
        Source::Transposed
    } else {
        Source::Gathered
    };
    // Whole panels: a narrower one does less with each element of the scalar operand.
    let panels = registers.div_ceil(kernels.nv());
    let panel = kernels.nv() * lanes;
    let fit = (blocking.v_block / (panel * size * longest.max(1))).max(1);
    let v_blocks = panels.div_ceil(fit);
    let v_room = panels.div_ceil(v_blocks) * panel * longest;
    let s_room = if pack_s { rows.len() * longest } else { 0 };
    let sums_room = if blocking.parts > 1 {
        rows.len() * registers * lanes
    } else {
        0
    };

    buffer::with(v_room + s_room + sums_room, |packed: *mut T| {
        let packed_s = packed.wrapping_add(v_room);
        let mut block = Block {
            p,
            kernels,
            rows: rows.clone(),
            tiles,
            source,
            ks: 0..0,
            last: false,
            job: Job {
                k: 0,
                s_row: if pack_s { 1 } else { p.s_row },
                s_k: p.s_k,
                v_k: 0,
                c_row: p.c_row,
                alpha: p.alpha,
                beta: p.beta,
                touch: 0,
                relu: false,
                resume: false,
                pause: false,
                segments: std::ptr::null(),
                segment: 0,
                finish: kernels.finish,
            },
            packed,
            sums: packed_s.wrapping_add(s_room),
            first_col: cols.start,
            all_cols: registers * lanes,
            packed_s: if pack_s {
                packed_s
            } else {
                std::ptr::null_mut()
            },
            s_ahead: rows.len() * p.k * size > FAR,
        };
        // Columns that lie in order are read in order, one block of them after the other; else block of `k` after block of `k`.
        let columns_first = source == Source::Transposed && !pack_s;
        let touch = rows.len() * cols.len() * size > FAR && longest >= TOUCHING;
        let count = k_blocks * v_blocks;
        // Block `i`: its number along `k` and its columns.
        let place = |i: usize| {
            let (kb, vb) = if columns_first {
                (i % k_blocks, i / k_blocks)
            } else {
                (i / v_blocks, i % v_blocks)
            };
            let r = part(panels, v_blocks, vb);
            let first = cols.start + r.start * panel;
            (kb, first..(cols.start + r.end * panel).min(cols.end))
        };
        // Columns are fetched ahead where the tiles have too few rows to wait for them.
        let ahead =
            p.v_col == 1 || columns_first && rows.len() <= 128 && cols.len() * p.k * size > FAR;
        for i in 0..count {
            let (kb, columns) = place(i);
            block.ks = blocking.terms(p.k, kb);
            block.last = kb + 1 == k_blocks;
            block.job.k = block.ks.len();
            block.job.relu = block.last && p.relu;
            block.job.beta = if kb < blocking.parts { p.beta } else { T::ONE };
            block.job.resume = kb % blocking.parts > 0;
            block.job.pause = (kb + 1) % blocking.parts > 0;
            block.job.touch = match touch && !block.job.pause {
                true => {
                    TOUCHED.max((kernels.mr() * kernels.nv()).div_ceil(rounds::<T>(block.job.k)))
                }
                false => 0,
            };
            let next = (ahead && i + 1 < count).then(|| {
                let (kb, columns) = place(i + 1);
                (columns.start, blocking.terms(p.k, kb))
            });
            // SAFETY: the buffer has room for both packed operands; the rest is the caller's promise.
            unsafe {
                if pack_s && columns.start == cols.start {
                    block.pack_scalars();
                }
                block.run(columns, next);
            }
        }
    });
}

/// A block of `k` of a region, as the loops see it.
struct Block<'a, T: 'static> {
    p: &'a Problem<T>,
    kernels: &'a Kernels<T>,
    rows: Range<usize>,
    tiles: usize,
    source: Source,
    ks: Range<usize>,
    /// Whether this is the last block of `k`.
    last: bool,
    job: Job<T>,
    /// Room for the packed vector operand.
    packed: *mut T,
    /// Room for sums between two parts of a piece of `k`: tile after tile, for `all_cols` columns from `first_col` on.
    sums: *mut T,
    first_col: usize,
    all_cols: usize,
    /// Room for the packed scalar operand, or null when it is used where it lies.
    packed_s: *mut T,
    /// Whether the scalar operand is so large that the next tile's part is worth fetching ahead.
    s_ahead: bool,
}

impl<T: Real> Block<'_, T> {
    /// Element `(i, ks.start)` of the scalar operand.
    #[inline]
    fn scalars(&self, i: usize) -> *const T {
        self.p
            .s
            .wrapping_offset(i as isize * self.p.s_row + self.ks.start as isize * self.p.s_k)
    }

    /// Element `(ks.start, j)` of the vector operand.
    #[inline]
    fn vectors(&self, j: usize) -> *const T {
        self.p
            .v
            .wrapping_offset(j as isize * self.p.v_col + self.ks.start as isize * self.p.v_k)
    }

    /// Packs all tiles of the scalar operand.
    ///
    /// # Safety
    /// As [`region`]; `packed_s` has room for them.
    unsafe fn pack_scalars(&self) {
        let (p, k, mr) = (self.p, self.job.k, self.kernels.mr());
        // SAFETY: the contract of the function.
        unsafe {
            if p.s_row == 1 {
                (self.kernels.pack_tiles)(&PackTiles {
                    k,
                    rows: self.rows.len(),
                    mr,
                    src: self.scalars(self.rows.start),
                    step: p.s_k,
                    dst: self.packed_s,
                });
                return;
            }
            for t in 0..self.tiles {
                let tile = tile_rows(self.rows.len(), mr, self.tiles, t);
                let from = self.scalars(self.rows.start + tile.start);
                gather(
                    from,
                    p.s_k,
                    p.s_row,
                    self.packed_s.add(tile.start * k),
                    k,
                    tile.len(),
                    tile.len(),
                );
            }
        }
    }

    /// Computes the columns `cols`; fetches the terms `next.1` of as many columns from `next.0` on ahead.
    ///
    /// # Safety
    /// As [`region`]; `packed` has room for the block.
    unsafe fn run(&mut self, cols: Range<usize>, next: Option<(usize, Range<usize>)>) {
        let (p, kernels) = (self.p, self.kernels);
        let lanes = kernels.lanes;
        let registers = cols.len().div_ceil(lanes);
        let panels = registers.div_ceil(kernels.nv());
        let (narrow, wide) = (registers / panels, registers % panels);
        if self.source == Source::Rows {
            let job = PackRows {
                k: self.job.k,
                cols: cols.len(),
                registers,
                panels,
                src: self.vectors(cols.start),
                row: p.v_k,
                dst: self.packed,
            };
            // SAFETY: the rows exist, and the buffer has room for the block.
            unsafe { (kernels.pack_rows)(&job) };
        }
        for t in 0..self.tiles {
            let tile = tile_rows(self.rows.len(), kernels.mr(), self.tiles, t);
            let (i0, mr) = (self.rows.start + tile.start, tile.len());
            let mut spot = Spot {
                s: self.scalars(i0),
                v: std::ptr::null(),
                c: std::ptr::null_mut(),
                bias_s: std::ptr::null(),
                bias_v: std::ptr::null(),
                tail: lanes,
                ahead: 0,
                fetch: std::ptr::null(),
                fetch_step: p.v_k,
                fetch_rows: 0,
                fetch_each: 0,
                copy: std::ptr::null_mut(),
                sums: std::ptr::null_mut(),
            };
            if !self.packed_s.is_null() {
                self.job.s_k = mr as isize;
                spot.s = self.packed_s.wrapping_add(tile.start * self.job.k);
            } else if self.s_ahead && p.s_k == 1 && t + 1 < self.tiles {
                spot.ahead = mr as isize * p.s_row;
            }
            if self.last && !p.bias_s.is_null() {
                spot.bias_s = p.bias_s.wrapping_add(i0);
            }
            let mut fetch = p.v;
            if let Some((col, ks)) = &next {
                // Each tile fetches some of the lines that lie in order, each panel a part of their length.
                let (line, n) = match self.source {
                    Source::Transposed => (p.v_col, cols.len()),
                    _ => (p.v_k, ks.len()),
                };
                let share = part(n, self.tiles, t);
                spot.fetch_rows = share.len();
                spot.fetch_each = share.len().div_ceil(rounds::<T>(self.job.k));
                spot.fetch_step = line;
                let first = *col as isize * p.v_col + ks.start as isize * p.v_k;
                fetch = p.v.wrapping_offset(first + share.start as isize * line);
            }
            let mut start = 0;
            for n in 0..panels {
                let nv = narrow + usize::from(n < wide);
                let width = nv * lanes;
                let j0 = cols.start + start;
                let valid = width.min(cols.end - j0);
                spot.tail = valid - (nv - 1) * lanes;
                spot.copy = self.packed.wrapping_add(start * self.job.k);
                spot.fetch = fetch.wrapping_add(start);
                if self.source == Source::Transposed && start >= self.job.k {
                    spot.fetch_rows = 0;
                }
                spot.c =
                    p.c.wrapping_offset(i0 as isize * p.c_row + j0 as isize * p.c_col);
                if self.last && !p.bias_v.is_null() {
                    spot.bias_v = p.bias_v.wrapping_add(j0);
                }
                let at = tile.start * self.all_cols + mr * (j0 - self.first_col);
                spot.sums = self.sums.wrapping_add(at);
                spot.v = spot.copy;
                self.job.v_k = width as isize;
                let mut kernel = kernels.tiles[nv - 1][mr - 1];
                let mut part = Columns { valid, width };
                let source = match self.source {
                    // Only packing kernels read a partial register: the panel is packed for the other tiles, too.
                    Source::Direct if spot.tail < lanes && self.tiles > 1 => Source::Passing,
                    source => source,
                };
                // SAFETY: indices stay inside the operands and the region; the panel stays inside `packed`.
                unsafe {
                    match source {
                        Source::Direct => {
                            spot.v = self.vectors(j0);
                            self.job.v_k = p.v_k;
                            if spot.tail < lanes {
                                // The whole registers before a partial one apart.
                                if nv > 1 {
                                    let whole = width - lanes;
                                    part = Columns {
                                        valid: whole,
                                        width: whole,
                                    };
                                    let kernel = kernels.tiles[nv - 2][mr - 1];
                                    self.tile(
                                        kernel,
                                        &Spot {
                                            tail: lanes,
                                            ..spot
                                        },
                                        mr,
                                        part,
                                    );
                                    spot.v = spot.v.wrapping_add(whole);
                                    spot.c = spot.c.wrapping_offset(whole as isize * p.c_col);
                                    spot.sums = spot.sums.wrapping_add(mr * whole);
                                    spot.fetch = spot.fetch.wrapping_add(whole);
                                    if !spot.bias_v.is_null() {
                                        spot.bias_v = spot.bias_v.wrapping_add(whole);
                                    }
                                    part = Columns {
                                        valid: valid - whole,
                                        width: lanes,
                                    };
                                }
                                kernel = kernels.packing_one[mr - 1];
                            }
                        }
                        Source::Passing if t == 0 => {
                            spot.v = self.vectors(j0);
                            self.job.v_k = p.v_k;
                            kernel = match nv {
                                1 => kernels.packing_one[mr - 1],
                                _ => kernels.packing[nv - 2][usize::from(mr == kernels.mr())],
                            };
                        }
                        Source::Transposed | Source::Gathered if t == 0 => {
                            let of = (p.v_k, p.v_col);
                            let k = self.job.k;
                            pack_panel(kernels, self.vectors(j0), of, spot.copy, k, valid, width);
                        }
                        _ => {}
                    }
                    self.tile(kernel, &spot, mr, part);
                }
                spot.ahead = 0;
                start += width;
            }
        }
    }

    /// Runs a tile; by way of a scratch tile, if its rows are not contiguous in the result.
    ///
    /// # Safety
    /// As for the kernel, but for the place of the result.
    #[inline]
    unsafe fn tile(&self, kernel: TileFn<T>, spot: &Spot<T>, mr: usize, part: Columns) {
        // SAFETY: the contract of the function.
        unsafe {
            match self.p.c_col {
                _ if self.job.pause => kernel(&self.job, spot),
                1 => kernel(&self.job, spot),
                _ => self.aside(kernel, spot, mr, part),
            }
        }
    }

    /// Runs a tile whose rows are not contiguous in the result by way of a scratch tile.
    ///
    /// # Safety
    /// As for the kernel, but for the place of the result.
    unsafe fn aside(&self, kernel: TileFn<T>, spot: &Spot<T>, mr: usize, part: Columns) {
        let Columns { valid, width } = part;
        debug_assert!(mr * width <= TILE);
        let (p, transpose) = (self.p, self.kernels.transpose);
        let mut scratch = MaybeUninit::<[T; TILE]>::uninit();
        let tile = scratch.as_mut_ptr().cast::<T>();
        let place = |i: usize, j: usize| {
            spot.c
                .wrapping_offset(i as isize * p.c_row + j as isize * p.c_col)
        };
        // SAFETY: the tile has room for mr rows of width; the rest is the caller's promise.
        unsafe {
            if self.job.beta != T::ZERO {
                if p.c_row == 1 {
                    transpose(valid, mr, spot.c, p.c_col, tile, width as isize);
                } else {
                    for i in 0..mr {
                        for j in 0..valid {
                            *tile.add(i * width + j) = *place(i, j);
                        }
                    }
                }
            } else if p.c_row == 1 {
                for j in 0..valid {
                    prefetch_write(place(0, j));
                }
            }
            kernel(
                &Job {
                    c_row: width as isize,
                    touch: 0,
                    ..self.job
                },
                &Spot { c: tile, ..*spot },
            );
            if p.c_row == 1 {
                transpose(mr, valid, tile, width as isize, spot.c, p.c_col);
            } else {
                for i in 0..mr {
                    for j in 0..valid {
                        *place(i, j) = *tile.add(i * width + j);
                    }
                }
            }
        }
    }
}

/// Columns of a tile: those of the result, and those of its registers.
#[derive(Clone, Copy)]
struct Columns {
    valid: usize,
    width: usize,
}

/// Lines of the result that are asked for in a round, at least: at once they would take all the places of lines on
/// their way.
const TOUCHED: usize = 2;

/// Terms from which on they are asked for: shorter tiles are done before the lines are there.
const TOUCHING: usize = 256;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Elements of the largest tile.
const TILE: usize = 512;

/// Asks for the cache line of `p`, which need not be valid, to be written.
#[inline(always)]
pub(super) fn prefetch_write<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch does not access.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
