//! Packing of the vector operand into panels.

use super::kernels::Kernels;
use crate::Real;
use crate::vector::Vector;

/// Copies `k` rows of `cols` contiguous elements, `row` elements apart, into `panels` panels.
///
/// The `registers` registers of a row are shared out evenly; the panel that starts at register `r` of the row starts at
/// `dst + r * LANES * k` and holds its registers row after row. Lanes beyond `cols` become zero.
pub(super) type PackRowsFn<T> = unsafe fn(&PackRows<T>);

/// Arguments of [`PackRowsFn`].
pub(super) struct PackRows<T> {
    pub k: usize,
    pub cols: usize,
    pub registers: usize,
    pub panels: usize,
    pub src: *const T,
    pub row: isize,
    pub dst: *mut T,
}

/// Rows that are copied at a time; as many are fetched ahead.
const ROWS: usize = 8;

/// The body of all [`PackRowsFn`].
///
/// # Safety
/// The instruction set of `V` is available; `k` rows of `cols` elements are readable at `src` and
/// `k * registers * LANES` writable at `dst`; at most three registers make a panel.
#[inline(always)]
pub(super) unsafe fn rows<V: Vector>(job: &PackRows<V::Elem>) {
    let lanes = V::LANES;
    let (q, r) = (job.registers / job.panels, job.registers % job.panels);
    let tail = job.cols - (job.registers - 1) * lanes;
    let mut p0 = 0;
    while p0 < job.k {
        let count = ROWS.min(job.k - p0);
        let mut start = 0;
        for n in 0..job.panels {
            let nv = q + usize::from(n < r);
            // SAFETY: rows p0..p0 + count and registers start..start + nv exist; the very last register is partial.
            // Prefetching does not access.
            unsafe {
                let src = job.src.offset(p0 as isize * job.row).add(start * lanes);
                let dst = job.dst.add(start * lanes * job.k + p0 * nv * lanes);
                if start + nv < job.registers || tail == lanes {
                    match nv {
                        1 => copy::<V, 1>(count, src, job.row, dst),
                        2 => copy::<V, 2>(count, src, job.row, dst),
                        _ => copy::<V, 3>(count, src, job.row, dst),
                    }
                } else {
                    let mask = V::mask(tail);
                    for p in 0..count {
                        let (from, to) =
                            (src.offset(p as isize * job.row), dst.add(p * nv * lanes));
                        for j in 0..nv - 1 {
                            V::load(from.add(j * lanes)).store(to.add(j * lanes));
                        }
                        V::load_part(from.add((nv - 1) * lanes), mask)
                            .store(to.add((nv - 1) * lanes));
                    }
                }
            }
            start += nv;
        }
        p0 += count;
    }
}

/// # Safety
/// `count` rows of `NV` registers at both places, and as for [`rows`].
#[inline(always)]
unsafe fn copy<V: Vector, const NV: usize>(
    count: usize,
    src: *const V::Elem,
    row: isize,
    dst: *mut V::Elem,
) {
    for p in 0..count {
        // SAFETY: the contract of the function.
        unsafe {
            let (from, to) = (src.offset(p as isize * row), dst.add(p * NV * V::LANES));
            V::prefetch(from.wrapping_offset(ROWS as isize * row));
            if NV > 1 {
                V::prefetch(
                    from.wrapping_offset(ROWS as isize * row)
                        .wrapping_add(V::LANES),
                );
            }
            if NV > 2 {
                V::prefetch(
                    from.wrapping_offset(ROWS as isize * row)
                        .wrapping_add(2 * V::LANES),
                );
            }
            for j in 0..NV {
                V::load(from.add(j * V::LANES)).store(to.add(j * V::LANES));
            }
        }
    }
}

/// Copies a group of tiles of a scalar operand whose rows are one element apart.
///
/// Element `(i, p)` is at `src + i + p * step`. Tiles have `mr` rows, the last two share what is left as in
/// [`super::blocks::tile_rows`]; those from number `first` on are copied, [`GROUP`] at most. They lie one after the other
/// at `dst`, each with its rows' elements for each `p` after the other.
pub(super) type PackTilesFn<T> = unsafe fn(&PackTiles<T>);

/// Arguments of [`PackTilesFn`].
pub(super) struct PackTiles<T> {
    pub k: usize,
    pub rows: usize,
    pub mr: usize,
    pub first: usize,
    pub src: *const T,
    pub step: isize,
    pub dst: *mut T,
}

/// Tiles that are copied side by side, so that whole cache lines are read.
pub(super) const GROUP: usize = 8;
/// Terms that are copied for one tile before the next.
const TERMS: usize = 8;

/// The body of all [`PackTilesFn`].
///
/// # Safety
/// The instruction set of `V` is available; the elements are readable, and those of the tiles are writable at `dst`.
#[inline(always)]
pub(super) unsafe fn tiles<V: Vector>(job: &PackTiles<V::Elem>) {
    let tiles = job.rows.div_ceil(job.mr);
    let tile = |t: usize| super::blocks::tile_rows(job.rows, job.mr, tiles, t);
    let start = tile(job.first).start;
    for p in (0..job.k).step_by(TERMS) {
        let terms = TERMS.min(job.k - p);
        for t in job.first..tiles.min(job.first + GROUP) {
            let (rows, mut j) = (tile(t), 0);
            while j < rows.len() {
                let width = V::LANES.min(rows.len() - j);
                // SAFETY: the elements of the tile; a prefetch does not access.
                unsafe {
                    let mask = V::mask(width);
                    let mut from = job.src.offset(p as isize * job.step).add(rows.start + j);
                    let to = (rows.start - start) * job.k + p * rows.len() + j;
                    let mut to = job.dst.add(to);
                    for _ in 0..terms {
                        V::prefetch(from.wrapping_offset(TERMS as isize * job.step));
                        V::load_part(from, mask).store_part(to, mask);
                        from = from.wrapping_offset(job.step);
                        to = to.wrapping_add(rows.len());
                    }
                }
                j += width;
            }
        }
    }
}

/// Packs `valid` columns of `k` terms into a panel of `width`: term `q` of column `j` at `from + q * of.0 + j * of.1`.
///
/// # Safety
/// The terms are readable, `to` has room for the panel, and this machine has the instruction set of the kernels.
pub(super) unsafe fn pack_panel<T: Real>(
    kernels: &Kernels<T>,
    from: *const T,
    of: (isize, isize),
    to: *mut T,
    k: usize,
    valid: usize,
    width: usize,
) {
    // SAFETY: the contract of the function.
    unsafe {
        if of.0 == 1 {
            if valid < width {
                to.write_bytes(0, width * k);
            }
            (kernels.transpose)(valid, k, from, of.1, to, width as isize);
        } else if of.1 == 1 && width.is_multiple_of(kernels.lanes) {
            (kernels.pack_rows)(&PackRows {
                k,
                cols: valid,
                registers: width / kernels.lanes,
                panels: 1,
                src: from,
                row: of.0,
                dst: to,
            });
        } else {
            gather(from, of.0, of.1, to, k, valid, width);
        }
    }
}

/// Packs element by element: `dst[q * width + j] = src[q * step_k + j * step]`, zero for `valid <= j < width`.
///
/// # Safety
/// `k x valid` elements are readable and `k * width` writable.
pub(super) unsafe fn gather<T: Real>(
    src: *const T,
    step_k: isize,
    step: isize,
    dst: *mut T,
    k: usize,
    valid: usize,
    width: usize,
) {
    for q in 0..k {
        for j in 0..width {
            // SAFETY: the contract of the function.
            unsafe {
                *dst.add(q * width + j) = if j < valid {
                    *src.offset(q as isize * step_k + j as isize * step)
                } else {
                    T::ZERO
                };
            }
        }
    }
}

/// Copies pieces of rows.
pub(super) type CopyFn<T> = unsafe fn(&Copy<'_, T>);

/// Arguments of [`CopyFn`]: the same pieces of each of `rows` rows.
pub(super) struct Copy<'a, T> {
    pub rows: usize,
    pub src: *const T,
    pub src_row: usize,
    pub dst: *mut T,
    pub dst_row: usize,
    pub pieces: &'a [Piece],
}

/// A stretch of a row: `len` elements from place `from` of the source row to place `to` of the other.
#[derive(Clone, Copy, Default)]
pub(super) struct Piece {
    pub from: usize,
    pub to: usize,
    pub len: usize,
}

/// The body of all [`CopyFn`].
///
/// # Safety
/// The instruction set of `V` is available; the pieces of all rows are readable and writable and do not overlap.
#[inline(always)]
pub(super) unsafe fn copy_rows<V: Vector>(job: &Copy<'_, V::Elem>) {
    for p in job.pieces {
        // SAFETY: the contract of the function.
        unsafe {
            let (src, dst) = (job.src.add(p.from), job.dst.add(p.to));
            let whole = p.len / V::LANES * V::LANES;
            let mask = V::mask(p.len - whole);
            for i in 0..job.rows {
                let (src, dst) = (src.add(i * job.src_row), dst.add(i * job.dst_row));
                let mut j = 0;
                while j < whole {
                    V::load(src.add(j)).store(dst.add(j));
                    j += V::LANES;
                }
                if whole < p.len {
                    V::load_part(src.add(whole), mask).store_part(dst.add(whole), mask);
                }
            }
        }
    }
}
