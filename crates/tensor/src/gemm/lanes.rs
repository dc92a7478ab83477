//! Products with a narrow operand whose rows, those of a whole batch that shares the other operand together, are more than a few:
//! the sums are those of [`skinny`], lane by lane, but tiles make them, so that the long operand is read for many rows at a time.

use super::blocks::{FAR, tile_rows};
use super::buffer;
use super::driver::{Problem, VERY_FAR, part};
use super::kernels::Kernels;
use super::narrow::finished;
use super::pack::pack_panel;
use super::skinny::{self, Fold};
use super::tile::{Job, Spot};
use crate::Real;
use std::ops::Range;

/// Bytes of packed rows of the scalar operand, up to [`ROWS`] rows.
const S_BYTES: usize = 1 << 20;
/// Most rows for which a panel is packed, if it does not hold all terms: then their sums wait.
const ROWS: usize = 128;
/// Bytes of a column of a packed panel: a multiple of all registers.
const PANEL_BYTES: usize = 8192;

/// Tiles of rows up to which a vector operand is used where it lies, as in [`blocks`](super::blocks),
const FEW: usize = 8;
/// and the same for one that is far.
const FEW_FAR: usize = 2;

/// Computes the elements `rows x cols` of the result.
///
/// # Safety
/// As [`piece`](super::driver::piece).
pub(super) unsafe fn lanes<T: Real>(
    p: &Problem<T>,
    kernels: &Kernels<T>,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    let (lanes, mr) = (kernels.lanes, kernels.mr());
    let registers = cols.len().div_ceil(lanes);
    let panels = registers.div_ceil(kernels.nv());
    let widest = registers.div_ceil(panels) * lanes;
    let depth = (PANEL_BYTES / size_of::<T>()).min(p.k);
    let wait = depth < p.k;
    let limit = if wait { ROWS } else { usize::MAX };
    let chunk = (S_BYTES / (p.k * size_of::<T>())).clamp(mr, limit) / mr * mr;
    // Chunks of about the same size, of whole tiles.
    let chunk = rows
        .len()
        .div_ceil(rows.len().div_ceil(chunk))
        .next_multiple_of(mr);
    let chunk = chunk.min(rows.len());
    let (s_room, v_room) = (chunk * p.k, widest * depth);
    let sums_room = if wait { chunk } else { mr } * widest * lanes;
    let totals_room = mr * widest;
    let room = v_room + sums_room + totals_room + s_room;
    buffer::with(room, |panel: *mut T| {
        let sums = panel.wrapping_add(v_room);
        let totals = sums.wrapping_add(sums_room);
        for first in rows.clone().step_by(chunk) {
            let chunk_of = Chunk {
                p,
                kernels,
                rows: first..rows.end.min(first + chunk),
                depth,
                wait,
                packed: totals.wrapping_add(totals_room),
                panel,
                sums,
                totals,
            };
            // SAFETY: rows and columns exist, and there is room for what they need.
            unsafe {
                chunk_of.pack();
                for n in 0..panels {
                    let r = part(registers, panels, n);
                    let end = cols.end.min(cols.start + r.end * lanes);
                    chunk_of.columns(cols.start + r.start * lanes..end);
                }
            }
        }
    });
}

/// Rows of the result that pass along the panels together.
struct Chunk<'a, T: 'static> {
    p: &'a Problem<T>,
    kernels: &'a Kernels<T>,
    rows: Range<usize>,
    /// Terms for which a panel is packed.
    depth: usize,
    /// Whether these are not all, so that the sums of all tiles wait for the others.
    wait: bool,
    /// Room for the scalar operand's rows, tile after tile,
    packed: *mut T,
    /// for a panel of the vector operand,
    panel: *mut T,
    /// for the sums of all lanes of the rows, or of a tile, and a panel's columns,
    sums: *mut T,
    /// and for what they add up to in one tile.
    totals: *mut T,
}

/// Some terms of a few registers of columns, packed or where they lie.
struct Panel<T> {
    v: *const T,
    /// Distance of the terms.
    step: isize,
    terms: usize,
    /// Registers.
    nv: usize,
}

impl<T: Real> Chunk<'_, T> {
    /// The rows of each tile, from the first one of the chunk.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> {
        let (count, mr) = (self.rows.len(), self.kernels.mr());
        let tiles = count.div_ceil(mr);
        (0..tiles).map(move |t| tile_rows(count, mr, tiles, t))
    }

    /// Packs the scalar operand.
    ///
    /// # Safety
    /// As [`lanes`].
    unsafe fn pack(&self) {
        let p = self.p;
        for tile in self.tiles() {
            let from =
                p.s.wrapping_offset((self.rows.start + tile.start) as isize * p.s_row);
            let (to, n) = (self.packed.wrapping_add(tile.start * p.k), tile.len());
            // SAFETY: the rows exist, and there is room for them.
            unsafe { pack_panel(self.kernels, from, (p.s_k, p.s_row), to, p.k, n, n) };
        }
    }

    /// Computes a panel of columns.
    ///
    /// # Safety
    /// As [`lanes`]; the rows are packed.
    unsafe fn columns(&self, columns: Range<usize>) {
        let (p, lanes) = (self.p, self.kernels.lanes);
        let nv = columns.len().div_ceil(lanes);
        let width = nv * lanes;
        let few = match p.v_k.unsigned_abs().saturating_mul(p.k * size_of::<T>()) {
            bytes if bytes > VERY_FAR => 0,
            bytes if bytes > FAR => FEW_FAR,
            _ => FEW,
        };
        let direct = p.v_col == 1 && columns.len() == width && self.tiles().count() <= few;
        for q in (0..p.k).step_by(self.depth) {
            let terms = self.depth.min(p.k - q);
            let first = q as isize * p.v_k + columns.start as isize * p.v_col;
            let from = p.v.wrapping_offset(first);
            // SAFETY: the terms of the columns exist, and there is room for them.
            unsafe {
                let mut panel = Panel {
                    v: from,
                    step: p.v_k,
                    terms,
                    nv,
                };
                if !direct {
                    (panel.v, panel.step) = (self.panel, width as isize);
                    let (of, valid) = ((p.v_k, p.v_col), columns.len());
                    pack_panel(self.kernels, from, of, self.panel, terms, valid, width);
                }
                for tile in self.tiles() {
                    let mut sums = self.sums;
                    if self.wait {
                        sums = sums.add(tile.start * lanes * width);
                    }
                    self.add(&tile, q, &panel, sums);
                    if q + terms == p.k {
                        self.finish(&tile, columns.clone(), nv, sums);
                    }
                }
            }
        }
    }

    /// Adds up the lanes of a tile in some columns and stores what they sum up to.
    ///
    /// # Safety
    /// As [`lanes`]; the lanes are complete.
    unsafe fn finish(&self, tile: &Range<usize>, columns: Range<usize>, nv: usize, x: *const T) {
        let (p, lanes) = (self.p, self.kernels.lanes);
        let width = nv * lanes;
        let rows = self.rows.start + tile.start..self.rows.start + tile.end;
        let sums = tile.len() * width;
        // SAFETY: the contract of the function; the results exist.
        unsafe {
            (self.kernels.fold)(&Fold {
                rows: sums,
                x,
                step: sums,
                full: skinny::full(p.k, lanes),
                out: self.totals,
            });
            let totals = std::slice::from_raw_parts(self.totals, sums);
            finished(p, rows, columns, totals, (width, 1));
        }
    }

    /// Adds the terms of a panel, from `q` on, to the sums of each lane of a tile.
    ///
    /// # Safety
    /// As [`lanes`]; the rows are packed, and the panel is there.
    unsafe fn add(&self, tile: &Range<usize>, q: usize, panel: &Panel<T>, sums: *mut T) {
        let lanes = self.kernels.lanes;
        let (width, mr) = (panel.nv * lanes, tile.len());
        let kernel = self.kernels.tiles[panel.nv - 1][mr - 1];
        let packed = self.packed.wrapping_add(tile.start * self.p.k + q * mr);
        for l in 0..lanes.min(panel.terms) {
            let job = Job {
                k: (panel.terms - l).div_ceil(lanes),
                s_row: 1,
                s_k: (lanes * mr) as isize,
                v_k: lanes as isize * panel.step,
                resume: q > 0,
                pause: true,
                ..Job::new(self.kernels.finish)
            };
            let (s, v) = (
                packed.wrapping_add(l * mr),
                panel.v.wrapping_offset(l as isize * panel.step),
            );
            let spot = Spot {
                sums: sums.wrapping_add(l * mr * width),
                ..Spot::new(s, v, std::ptr::null_mut(), lanes)
            };
            // SAFETY: both operands are there, and there is room for the sums of all lanes.
            unsafe { kernel(&job, &spot) };
        }
    }
}
