//! Products with a narrow operand: its columns and the rows of the long one, put in order as the kernels of [`skinny`] want them.

use super::buffer;
use super::driver::Problem;
use super::kernels::Kernels;
use super::skinny::{self, Across, Axpy, DEPTH, Dot, Fold, NARROW};
use crate::Real;
use std::ops::Range;

/// Bytes of the lanes of sums that are made lane by lane.
const LANE_BYTES: usize = 512 << 10;
/// Rows of sums that are computed before they are finished.
const DOT_ROWS: usize = 64;
/// Rows that are put in order at a time.
const ORDERED_ROWS: usize = 8;

/// Room for the columns of a narrow operand that are not contiguous.
fn columns_room<T>(p: &Problem<T>) -> usize {
    if p.v_k == 1 { 0 } else { p.cols * p.k }
}

/// The narrow operand's columns, each contiguous, and their distance; copied if need be.
///
/// # Safety
/// As [`piece`](super::driver::piece); `packed` has [`columns_room`].
unsafe fn columns<T: Real>(p: &Problem<T>, packed: *mut T) -> (*const T, isize) {
    if p.v_k == 1 {
        return (p.v, p.v_col);
    }
    // SAFETY: the contract of the function.
    unsafe { in_order(p.v, (p.v_col, p.v_k), (p.cols, p.k), packed) };
    (packed, p.k as isize)
}

/// `to[i * k + q] = from[i * line + q * step]` for `i < lines`, `q < k`, with the steps of a line and of a term.
///
/// # Safety
/// The elements are readable, and `to` has room for them.
unsafe fn in_order<T: Real>(
    from: *const T,
    (line, step): (isize, isize),
    (lines, k): (usize, usize),
    to: *mut T,
) {
    for i in 0..lines {
        for q in 0..k {
            // SAFETY: the contract of the function.
            unsafe { *to.add(i * k + q) = *from.offset(i as isize * line + q as isize * step) };
        }
    }
}

/// The columns of a narrow operand, [`NARROW`] at a time; a batch that shares the long operand has more of them.
fn groups(cols: usize) -> impl Iterator<Item = Range<usize>> {
    (0..cols)
        .step_by(NARROW)
        .map(move |c| c..cols.min(c + NARROW))
}

/// The given rows of a product with a narrow operand.
///
/// # Safety
/// As [`piece`](super::driver::piece).
pub(super) unsafe fn dot<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, rows: Range<usize>) {
    let ordered = p.s_k == 1;
    let step = if ordered { DOT_ROWS } else { ORDERED_ROWS };
    let own = columns_room(p);
    let room = own + if ordered { 0 } else { step * p.k };
    buffer::with(room, |room: *mut T| {
        let lines = room.wrapping_add(own);
        let mut sums = [T::ZERO; DOT_ROWS * NARROW];
        // SAFETY: there is room for the columns.
        let (x, x_col) = unsafe { columns(p, room) };
        for first in rows.clone().step_by(step) {
            let count = step.min(rows.end - first);
            // SAFETY: elements and rows exist, and there is room for the rows that are put in order.
            unsafe {
                let (mut s, mut s_row) = (p.s.offset(first as isize * p.s_row), p.s_row);
                if !ordered {
                    in_order(s, (p.s_row, p.s_k), (count, p.k), lines);
                    (s, s_row) = (lines.cast_const(), p.k as isize);
                }
                for group in groups(p.cols) {
                    let width = group.len();
                    (kernels.dot[width - 1])(&Dot {
                        rows: count,
                        k: p.k,
                        s,
                        s_row,
                        x: x.offset(group.start as isize * x_col),
                        x_col,
                        out: sums.as_mut_ptr(),
                    });
                    finished(p, first..first + count, group, &sums, (width, 1));
                }
            }
        }
    });
}

/// Stores sums of the given rows and columns, `sums[i * steps.0 + j * steps.1]` that of row `rows.start + i` and column
/// `cols.start + j`.
///
/// # Safety
/// As [`piece`](super::driver::piece).
pub(super) unsafe fn finished<T: Real>(
    p: &Problem<T>,
    rows: Range<usize>,
    cols: Range<usize>,
    sums: &[T],
    steps: (usize, usize),
) {
    let plain = p.alpha == T::ONE && p.beta == T::ZERO && !p.relu;
    if plain && p.bias_s.is_null() && p.bias_v.is_null() && p.c_col == 1 && steps.1 == 1 {
        for (i, row) in rows.enumerate() {
            let sums = &sums[i * steps.0..][..cols.len()];
            // SAFETY: the elements exist.
            unsafe {
                let c = p.c.offset(row as isize * p.c_row).add(cols.start);
                c.copy_from_nonoverlapping(sums.as_ptr(), sums.len());
            }
        }
        return;
    }
    for (i, row) in rows.enumerate() {
        for (j, col) in cols.clone().enumerate() {
            // SAFETY: the element and those of the biases exist.
            unsafe {
                let c = p.c.offset(row as isize * p.c_row + col as isize * p.c_col);
                let old = if p.beta == T::ZERO { T::ZERO } else { *c };
                // Of no effect, where 0 would make a -0 another.
                let mut bias = -T::ZERO;
                if !p.bias_s.is_null() {
                    bias = *p.bias_s.add(row);
                }
                if !p.bias_v.is_null() {
                    bias = *p.bias_v.add(col);
                }
                let sum = p.alpha * sums[i * steps.0 + j * steps.1];
                *c = skinny::finish(sum, p.beta, old, bias, p.relu);
            }
        }
    }
}

/// As [`dot`], for a long operand that is contiguous along its rows and near: a register of rows at a time.
///
/// # Safety
/// As [`piece`](super::driver::piece).
pub(super) unsafe fn across<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, rows: Range<usize>) {
    let direct = p.is_plain();
    let (own, count) = (columns_room(p), rows.len());
    let room = own + if direct { 0 } else { count * p.cols };
    buffer::with(room, |room: *mut T| {
        let sums = room.wrapping_add(own);
        // SAFETY: elements and rows exist, and there is room for the columns and the sums.
        unsafe {
            let (x, x_col) = columns(p, room);
            (kernels.across)(&Across {
                rows: count,
                cols: p.cols,
                k: p.k,
                s: p.s.add(rows.start),
                s_k: p.s_k,
                x,
                x_col,
                out: if direct { p.c.add(rows.start) } else { sums },
                out_col: if direct { p.c_col } else { count as isize },
            });
            if !direct {
                let sums = std::slice::from_raw_parts(sums, count * p.cols);
                finished(p, rows, 0..p.cols, sums, (1, count));
            }
        }
    });
}

/// As [`across`], for a long operand that is far: the terms of one lane after those of the other, each
/// read in order. The lanes of as many rows as fit into the second level of the cache are added up at the end.
///
/// # Safety
/// As [`piece`](super::driver::piece).
pub(super) unsafe fn by_lane<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, rows: Range<usize>) {
    let lanes = kernels.lanes;
    let terms = p.k.div_ceil(lanes);
    let width = p.cols.min(NARROW);
    let fit = LANE_BYTES / (size_of::<T>() * lanes * width);
    let block = fit.min(rows.len()).next_multiple_of(lanes);
    // Some terms of each lane in turn if all lanes are so near, all terms of a lane otherwise.
    let few = width * lanes * block * size_of::<T>() <= LANE_BYTES / 16;
    let turn = if few { DEPTH } else { terms };
    let direct = p.is_plain();
    let (factors_room, lanes_room) = (width * lanes * terms, width * lanes * block);
    let room = factors_room + lanes_room + if direct { 0 } else { width * block };
    buffer::with(room, |factors: *mut T| {
        let sums = factors.wrapping_add(factors_room);
        let totals = sums.wrapping_add(lanes_room);
        for group in groups(p.cols) {
            let width = group.len();
            // SAFETY: elements exist, and there is room for the factors, each lane's behind each other.
            unsafe {
                for (c, col) in group.clone().enumerate() {
                    let x = p.v.offset(col as isize * p.v_col);
                    for l in 0..lanes {
                        for (q, k) in (l..p.k).step_by(lanes).enumerate() {
                            let at = (c * lanes + l) * terms + q;
                            *factors.add(at) = *x.offset(k as isize * p.v_k);
                        }
                    }
                }
            }
            for first in rows.clone().step_by(block) {
                let count = block.min(rows.end - first);
                // SAFETY: elements, rows and columns exist, and there is room for the lanes and the totals.
                unsafe {
                    for q in (0..terms).step_by(turn) {
                        for l in 0..lanes.min(p.k - q * lanes) {
                            let k = q * lanes + l;
                            let job = Axpy {
                                k: (p.k - k).div_ceil(lanes).min(turn),
                                cols: count,
                                s: factors.add(l * terms + q),
                                s_row: lanes * terms,
                                v: p.s.add(first).offset(k as isize * p.s_k),
                                v_k: lanes as isize * p.s_k,
                                c: sums.add(l * block),
                                c_row: (lanes * block) as isize,
                                fresh: q == 0,
                            };
                            kernels.axpy(&job, width);
                        }
                    }
                    for (c, col) in group.clone().enumerate() {
                        let out =
                            p.c.offset(col as isize * p.c_col)
                                .add(if direct { first } else { 0 });
                        (kernels.fold)(&Fold {
                            rows: count,
                            x: sums.add(c * lanes * block),
                            step: block,
                            full: skinny::full(p.k, lanes),
                            out: if direct { out } else { totals.add(c * block) },
                        });
                    }
                    if !direct {
                        let totals = std::slice::from_raw_parts(totals, width * block);
                        finished(p, first..first + count, group.clone(), totals, (1, block));
                    }
                }
            }
        }
    });
}

/// The given columns of a product with at most [`NARROW`] rows, without factors.
///
/// # Safety
/// As [`piece`](super::driver::piece).
pub(super) unsafe fn axpy<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, cols: Range<usize>) {
    buffer::with(p.rows * p.k, |factors: *mut T| {
        // SAFETY: elements, rows and columns exist; the buffer has room for rows x k factors.
        unsafe {
            in_order(p.s, (p.s_row, p.s_k), (p.rows, p.k), factors);
            let job = Axpy {
                k: p.k,
                cols: cols.len(),
                s: factors,
                s_row: p.k,
                v: p.v.add(cols.start),
                v_k: p.v_k,
                c: p.c.add(cols.start),
                c_row: p.c_row,
                fresh: true,
            };
            kernels.axpy(&job, p.rows);
            if p.bias_s.is_null() && p.bias_v.is_null() && !p.relu {
                return;
            }
            for i in 0..p.rows {
                let c = p.c.offset(i as isize * p.c_row);
                let row_bias = if p.bias_s.is_null() {
                    T::ZERO
                } else {
                    *p.bias_s.add(i)
                };
                for j in cols.clone() {
                    let bias = if p.bias_v.is_null() {
                        row_bias
                    } else {
                        *p.bias_v.add(j)
                    };
                    *c.add(j) = skinny::finish(*c.add(j), T::ZERO, T::ZERO, bias, p.relu);
                }
            }
        }
    });
}
