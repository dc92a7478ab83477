//! The blocked product of a region: how it is cut into blocks, and where the operands of each come from.
//!
//! For each block of `k` and each block of columns, the vector operand is packed into panels of a few registers width
//! that stay in the second level of the cache; then tile after tile of rows passes along all panels, its part of the
//! scalar operand staying in the first level. The scalar operand is used where it lies while its rows are contiguous
//! along `k`; otherwise it is packed, too, a group of tiles just before they are computed.

use super::block::Block;
use super::buffer;
use super::driver::{Problem, part};
use super::kernels::Kernels;
use super::pack::GROUP;
use super::tile::{Job, rounds};
use crate::Real;
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
const FEW_CROWDED: usize = 6;
/// Rows times the power of two in their distance, in bytes, up to which they do not drive each other out of the second level.
const SPREAD: usize = 512 << 10;
/// Tiles of rows from which on an operand that is far is packed apart.
const MANY: usize = 64;
/// Bytes of packed scalar operand for one block of `k`.
const S_BLOCK: usize = 4 << 20;

/// Lines of the result that are asked for in a round, at least: at once they would take all the places of lines on
/// their way.
const TOUCHED: usize = 2;

/// Terms from which on they are asked for: shorter tiles are done before the lines are there.
const TOUCHING: usize = 256;

/// Bytes of a line of the cache.
const LINE: usize = 64;

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
pub(super) enum Source {
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
    let s_rows = match v_blocks {
        1 => (GROUP * kernels.mr()).min(rows.len()),
        _ => rows.len(),
    };
    let s_room = if pack_s { s_rows * longest } else { 0 };
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
                s_row: if pack_s { 1 } else { p.s_row },
                s_k: p.s_k,
                c_row: p.c_row,
                alpha: p.alpha,
                ..Job::new(kernels.finish)
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
            pack: false,
            keep: v_blocks > 1,
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
            block.pack = pack_s && columns.start == cols.start;
            // SAFETY: the buffer has room for both packed operands; the rest is the caller's promise.
            unsafe {
                block.run(columns, next);
            }
        }
    });
}
