//! Products of a whole batch that shares an operand, of which each alone has a narrow operand: the sums are those of [`skinny`],
//! lane by lane, but tiles make them, so that the shared operand is read for many rows at a time.

use super::blocks::tile_rows;
use super::buffer;
use super::driver::{Problem, part};
use super::kernels::Kernels;
use super::narrow::finished;
use super::pack::pack_panel;
use super::skinny::{self, Fold};
use super::tile::{Job, Spot};
use crate::Real;
use std::ops::Range;

/// Bytes of packed rows of the scalar operand, up to [`ROWS`] rows.
const S_BYTES: usize = 1 << 20;
/// Most rows for which a panel is packed.
const ROWS: usize = 128;
/// Bytes of a column of a packed panel: a multiple of all registers.
const PANEL_BYTES: usize = 4096;

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
    let chunk = (S_BYTES / (p.k * size_of::<T>())).clamp(mr, ROWS) / mr * mr;
    let most = chunk.min(rows.len());
    let depth = (PANEL_BYTES / size_of::<T>()).min(p.k);
    let (s_room, v_room) = (most * p.k, widest * depth);
    let sums_room = most * widest * lanes;
    buffer::with(
        v_room + sums_room + mr * widest + s_room,
        |panel: *mut T| {
            let sums = panel.wrapping_add(v_room);
            let totals = sums.wrapping_add(sums_room);
            let packed = totals.wrapping_add(mr * widest);
            for first in rows.clone().step_by(chunk) {
                let count = chunk.min(rows.end - first);
                let tiles = count.div_ceil(mr);
                let tile = |t: usize| tile_rows(count, mr, tiles, t);
                for t in 0..tiles {
                    // SAFETY: the rows exist, and there is room for them.
                    unsafe {
                        let from = p.s.offset((first + tile(t).start) as isize * p.s_row);
                        let of = (p.s_k, p.s_row);
                        let (to, n) = (packed.add(tile(t).start * p.k), tile(t).len());
                        pack_panel(kernels, from, of, to, p.k, n, n);
                    }
                }
                for n in 0..panels {
                    let r = part(registers, panels, n);
                    let nv = r.len();
                    let width = nv * lanes;
                    let columns =
                        cols.start + r.start * lanes..(cols.start + r.end * lanes).min(cols.end);
                    let mut job = Job {
                        k: 0,
                        s_row: 1,
                        s_k: 0,
                        v_k: (lanes * width) as isize,
                        c_row: 0,
                        alpha: T::ONE,
                        beta: T::ZERO,
                        touch: 0,
                        relu: false,
                        resume: false,
                        pause: true,
                        segments: std::ptr::null(),
                        segment: 0,
                        finish: kernels.finish,
                    };
                    for q in (0..p.k).step_by(depth) {
                        let terms = depth.min(p.k - q);
                        let from = p
                            .v
                            .wrapping_offset(q as isize * p.v_k + columns.start as isize * p.v_col);
                        // SAFETY: the terms of the columns exist, and there is room for them.
                        unsafe {
                            let of = (p.v_k, p.v_col);
                            pack_panel(kernels, from, of, panel, terms, columns.len(), width);
                        }
                        job.resume = q > 0;
                        for t in 0..tiles {
                            let (start, mr) = (tile(t).start, tile(t).len());
                            job.s_k = (lanes * mr) as isize;
                            for l in 0..lanes.min(terms) {
                                job.k = (terms - l).div_ceil(lanes);
                                let at = start * lanes + l * mr;
                                let spot = Spot {
                                    s: packed.wrapping_add(start * p.k + (q + l) * mr),
                                    v: panel.wrapping_add(l * width),
                                    c: std::ptr::null_mut(),
                                    bias_s: std::ptr::null(),
                                    bias_v: std::ptr::null(),
                                    tail: lanes,
                                    ahead: 0,
                                    fetch: std::ptr::null(),
                                    fetch_step: 0,
                                    fetch_rows: 0,
                                    fetch_each: 0,
                                    copy: std::ptr::null_mut(),
                                    sums: sums.wrapping_add(at * width),
                                };
                                // SAFETY: both operands are packed, and there is room for the sums of all lanes.
                                unsafe { (kernels.tiles[nv - 1][mr - 1])(&job, &spot) };
                            }
                        }
                    }
                    for t in 0..tiles {
                        let (start, mr) = (tile(t).start, tile(t).len());
                        let rows = first + start..first + start + mr;
                        // SAFETY: all lanes are there; the results exist.
                        unsafe {
                            (kernels.fold)(&Fold {
                                rows: mr * width,
                                x: sums.add(start * lanes * width),
                                step: mr * width,
                                full: skinny::full(p.k, lanes),
                                out: totals,
                            });
                            let sums = std::slice::from_raw_parts(totals, mr * width);
                            finished(p, rows, columns.clone(), sums, (width, 1));
                        }
                    }
                }
            }
        },
    );
}
