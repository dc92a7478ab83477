//! From a checked call to blocks: which operand plays which part, which path, which thread.
//!
//! A product is first oriented: one operand is read as scalars (its rows are the rows of the tiles), the other as
//! vectors (its columns are the lanes). Either operand can play either part; with the parts exchanged it is the
//! transposed product that is computed.
//!
//! Every element of the result is one chain of multiply-adds in ascending `k` for each block of `k`, or, with a narrow operand
//! and a long `k`, one such chain per lane. Where the borders of tiles and of the threads' parts lie cannot change a bit.
//! Which of the two, and the blocks of `k`, depend on sizes alone as long as the operands are near. Strides have a say where
//! the way from memory counts: with a narrow operand beside a large one ([`NEAR`]), and with up to 128 rows or columns beside
//! a very large operand and a long `k` ([`Blocking`]).

use super::blocks::{Blocking, region};
use super::buffer;
use super::kernels::Kernels;
use super::skinny::{self, Across, Axpy, Dot, NARROW};
use super::{Call, Epilogue};
use crate::{Real, parallel};
use std::ops::Range;

/// Multiply-adds below which a product is not worth a second thread.
const SERIAL: usize = 1 << 18;
/// Elements that a thread reads at least on the paths for narrow operands.
const SERIAL_READ: usize = 1 << 16;

/// One product with its operands in their parts.
#[derive(Clone, Copy)]
pub(super) struct Problem<T> {
    pub rows: usize,
    pub cols: usize,
    pub k: usize,
    /// Scalar operand: element `(i, p)` at `s + i * s_row + p * s_k`.
    pub s: *const T,
    pub s_row: isize,
    pub s_k: isize,
    /// Vector operand: element `(p, j)` at `v + p * v_k + j * v_col`.
    pub v: *const T,
    pub v_k: isize,
    pub v_col: isize,
    /// Result.
    pub c: *mut T,
    pub c_row: isize,
    pub c_col: isize,
    /// Added to the rows, or null.
    pub bias_s: *const T,
    /// Added to the columns, or null.
    pub bias_v: *const T,
    pub relu: bool,
    pub alpha: T,
    pub beta: T,
}

impl<T: Real> Problem<T> {
    fn new(call: &mut Call<'_, T>) -> Self {
        let null = std::ptr::null;
        let (bias_v, bias_s, relu) = match call.epilogue {
            Epilogue::None => (null(), null(), false),
            Epilogue::Relu => (null(), null(), true),
            Epilogue::BiasRow(b) => (b.as_ptr(), null(), false),
            Epilogue::BiasCol(b) => (null(), b.as_ptr(), false),
            Epilogue::BiasRowRelu(b) => (b.as_ptr(), null(), true),
            Epilogue::BiasColRelu(b) => (null(), b.as_ptr(), true),
        };
        Problem {
            rows: call.m,
            cols: call.n,
            k: call.k,
            // wrapping_add: with k == 0 an operand may be empty and its offset anything; it is then not read.
            s: call.a.data.as_ptr().wrapping_add(call.a.offset),
            s_row: call.a.rs,
            s_k: call.a.cs,
            v: call.b.data.as_ptr().wrapping_add(call.b.offset),
            v_k: call.b.rs,
            v_col: call.b.cs,
            c: call.c.data.as_mut_ptr().wrapping_add(call.c.offset),
            c_row: call.c.rs,
            c_col: call.c.cs,
            bias_s,
            bias_v,
            relu,
            alpha: call.alpha,
            beta: call.beta,
        }
    }

    /// The same product, transposed: the operands exchange their parts.
    fn exchanged(self) -> Self {
        Problem {
            rows: self.cols,
            cols: self.rows,
            s: self.v,
            s_row: self.v_col,
            s_k: self.v_k,
            v: self.s,
            v_k: self.s_k,
            v_col: self.s_row,
            c_row: self.c_col,
            c_col: self.c_row,
            bias_s: self.bias_v,
            bias_v: self.bias_s,
            ..self
        }
    }

    /// Strides of axes of length one are free: takes the ones that make the fast cases.
    fn normalized(mut self) -> Self {
        if self.cols == 1 {
            self.v_col = 1;
            self.c_col = 1;
        } else if self.rows == 1 && self.c_col != 1 {
            self.c_row = 1;
        }
        if self.k == 1 {
            self.s_k = 1;
            if self.v_col != 1 {
                self.v_k = 1;
            }
        }
        self
    }

    /// Estimated cycles of arithmetic, packing and storing, as far as the parts of the operands matter.
    fn cost(&self, kernels: &Kernels<T>) -> usize {
        let registers = self.cols.div_ceil(kernels.lanes);
        let elements = self.cols * self.k;
        let pack = if self.v_col == 1 {
            elements / 16
        } else if self.v_k == 1 {
            elements / 3
        } else {
            elements * 2
        };
        let read = if self.s_k == 1 {
            self.rows * self.k / 8
        } else if self.s_row == 1 {
            self.rows * self.k
        } else {
            self.rows * self.k * 2
        };
        let store = if self.c_col == 1 {
            self.rows * registers
        } else if self.c_row == 1 {
            self.rows * self.cols / 3
        } else {
            self.rows * self.cols * 2
        };
        // Fewer than eight independent sums cannot fill the pipeline.
        let sums = (self.rows.min(kernels.mr()) * registers.min(kernels.nv())).min(8);
        self.rows * registers * self.k * 4 / sums + pack + read + store
    }
}

/// Which way a product goes.
#[derive(Clone, Copy)]
enum Path {
    Tiles(Blocking),
    Dot,
    Across,
    Axpy,
}

/// A product, its kernels and its path, as tasks share them.
struct Plan<'a, T: 'static> {
    problem: Problem<T>,
    kernels: &'a Kernels<T>,
    path: Path,
}
// SAFETY: tasks read the operands and write disjoint parts of the result, which the caller borrows exclusively.
unsafe impl<T> Sync for Plan<'_, T> {}

/// Part `i` of `n` parts of `0..len`, whose sizes differ by one at most.
#[inline]
pub(super) fn part(len: usize, n: usize, i: usize) -> Range<usize> {
    let (q, r) = (len / n, len % n);
    let start = i * q + i.min(r);
    start..start + q + usize::from(i < r)
}

/// Runs a checked call.
pub(super) fn run<T: Real>(kernels: &Kernels<T>, mut call: Call<'_, T>) {
    let (m, n, k) = (call.m, call.n, call.k);
    let by_lanes = by_lanes(kernels, m, n, k);
    // With more rows the sums would be others.
    if !by_lanes || n <= NARROW {
        fold_batch(&mut call);
    }
    let straight = Problem::new(&mut call);
    let exchanged = straight.exchanged().normalized();
    let straight = straight.normalized();
    let (problem, swapped, path) = if by_lanes {
        // The long operand as scalars; of two, the one that is read in order.
        let after = |p: &Problem<T>| (p.cols > NARROW, p.s_k != 1, p.s_row != 1);
        let swap = after(&exchanged) < after(&straight);
        let problem = if swap { exchanged } else { straight };
        let path = if problem.s_k != 1 && problem.s_row == 1 {
            Path::Across
        } else {
            Path::Dot
        };
        (problem, swap, path)
    } else if let Some(path) = narrow(&straight, kernels) {
        (straight, false, path)
    } else if let Some(path) = narrow(&exchanged, kernels) {
        (exchanged, true, path)
    } else {
        let swap = exchanged.cost(kernels) < straight.cost(kernels);
        let problem = if swap { exchanged } else { straight };
        (problem, swap, Path::Tiles(Blocking::new(&problem)))
    };
    let mut plan = Plan {
        problem,
        kernels,
        path,
    };
    let steps = if swapped {
        (call.batch_b, call.batch_a)
    } else {
        (call.batch_a, call.batch_b)
    };
    let work = problem
        .rows
        .saturating_mul(problem.cols)
        .saturating_mul(problem.k);
    let threads = match path {
        _ if work.saturating_mul(call.batch) < SERIAL && matches!(path, Path::Tiles(_)) => 1,
        Path::Tiles(_) => parallel::threads(),
        _ => parallel::threads()
            .min((problem.rows.max(problem.cols) * problem.k * call.batch).div_ceil(SERIAL_READ)),
    };
    if call.batch == 1 {
        return single(&plan, threads);
    }
    let at = |plan: &Plan<'_, T>, i: usize| {
        let i = i as isize;
        Problem {
            s: plan.problem.s.wrapping_offset(i * steps.0),
            v: plan.problem.v.wrapping_offset(i * steps.1),
            c: plan.problem.c.wrapping_offset(i * call.batch_c),
            ..plan.problem
        }
    };
    if threads == 1 || call.batch >= 2 * threads {
        // Whole products are shared out; more tasks than threads level out the load.
        let tasks = if threads == 1 {
            1
        } else {
            call.batch.min(4 * threads)
        };
        let shared = &plan;
        parallel::tasks(tasks, |task| {
            for i in part(call.batch, tasks, task) {
                let one = Plan {
                    problem: at(shared, i),
                    ..*shared
                };
                // SAFETY: the call was checked: all elements are valid, the result is borrowed exclusively and its
                // matrices are disjoint.
                unsafe { piece(&one, 0..problem.rows, 0..problem.cols) };
            }
        });
    } else {
        for i in 0..call.batch {
            plan.problem = at(&Plan { problem, ..plan }, i);
            single(&plan, threads);
        }
    }
}

/// A batch that shares one operand and is contiguous in the others is one larger product.
fn fold_batch<T: Real>(call: &mut Call<'_, T>) {
    if call.batch == 1 {
        return;
    }
    let rows = call.m as isize;
    let column_bias = matches!(
        call.epilogue,
        Epilogue::BiasCol(_) | Epilogue::BiasColRelu(_)
    );
    if call.m == 1 {
        (call.a.rs, call.c.rs) = (call.batch_a, call.batch_c);
    }
    if call.batch_b == 0
        && call.batch_a == rows * call.a.rs
        && call.batch_c == rows * call.c.rs
        && !column_bias
    {
        call.m *= call.batch;
        call.batch = 1;
    }
}

/// Bytes of a long operand up to which its strides cannot change a bit.
const NEAR: usize = 64 << 10;

/// Whether the sums of a product are made lane by lane (see [`Dot`]) under any strides.
fn by_lanes<T>(kernels: &Kernels<T>, m: usize, n: usize, k: usize) -> bool {
    m.min(n) <= NARROW && k >= 4 * kernels.lanes && m.max(n) * k * size_of::<T>() <= NEAR
}

/// The path for a narrow operand beside a long one that is to be read in order, whatever that order is, or where the sums are
/// those of the tiles.
fn narrow<T: Real>(p: &Problem<T>, kernels: &Kernels<T>) -> Option<Path> {
    let long = p.k >= 4 * kernels.lanes;
    if p.cols <= NARROW && p.s_k == 1 && long {
        return Some(Path::Dot);
    }
    let plain = p.alpha == T::ONE && p.beta == T::ZERO;
    let wide = p.cols >= 4 * kernels.lanes && p.k >= 4;
    if p.rows <= NARROW && p.v_col == 1 && p.c_col == 1 && wide && (long || plain) {
        return Some(Path::Axpy);
    }
    None
}

/// One product, on up to `threads` threads.
fn single<T: Real>(plan: &Plan<'_, T>, threads: usize) {
    let p = &plan.problem;
    let lanes = plan.kernels.lanes;
    let registers = p.cols.div_ceil(lanes);
    let (gs, gv) = match plan.path {
        _ if threads == 1 => (1, 1),
        Path::Tiles(_) => grid(p, plan.kernels, threads),
        Path::Dot => (threads.min(p.rows), 1),
        // So near that it is not worth a second thread.
        Path::Across => (1, 1),
        Path::Axpy => (1, threads.min(registers)),
    };
    if gs * gv == 1 {
        // SAFETY: the call was checked: all elements are valid and the result is borrowed exclusively.
        return unsafe { piece(plan, 0..p.rows, 0..p.cols) };
    }
    let (rows, cols) = (p.rows, p.cols);
    parallel::tasks(gs * gv, |task| {
        let rows = part(rows, gs, task / gv);
        let r = part(registers, gv, task % gv);
        let cols = r.start * lanes..(r.end * lanes).min(cols);
        // SAFETY: as above, and the pieces of different tasks are disjoint.
        unsafe { piece(plan, rows, cols) };
    });
}

/// How many parts to cut the rows and the columns into.
fn grid<T: Real>(problem: &Problem<T>, kernels: &Kernels<T>, threads: usize) -> (usize, usize) {
    let registers = problem.cols.div_ceil(kernels.lanes);
    let mut best = (usize::MAX, 1, 1);
    for gv in 1..=threads.min(registers) {
        let gs = threads.div_ceil(gv).min(problem.rows);
        let rows = problem.rows.div_ceil(gs);
        let cols = registers.div_ceil(gv) * kernels.lanes;
        let part = Problem {
            rows,
            cols,
            ..*problem
        };
        // Reading the scalar operand from another level of cache costs too.
        let cost = part.cost(kernels) + rows * problem.k / 4;
        if cost < best.0 {
            best = (cost, gs, gv);
        }
    }
    (best.1, best.2)
}

/// Computes the elements `rows x cols` of the result.
///
/// # Safety
/// All elements of the operands and the region are valid, nobody else accesses the region, and this machine has the
/// instruction set of the kernels.
unsafe fn piece<T: Real>(plan: &Plan<'_, T>, rows: Range<usize>, cols: Range<usize>) {
    // SAFETY: the contract is passed on.
    unsafe {
        match plan.path {
            Path::Tiles(blocking) => region(&plan.problem, plan.kernels, blocking, rows, cols),
            Path::Dot => dot(&plan.problem, plan.kernels, rows),
            Path::Across => across(&plan.problem, plan.kernels, rows),
            Path::Axpy => axpy(&plan.problem, plan.kernels, cols),
        }
    }
}

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
/// As [`piece`]; `packed` has [`columns_room`].
unsafe fn columns<T: Real>(p: &Problem<T>, packed: *mut T) -> (*const T, isize) {
    if p.v_k == 1 {
        return (p.v, p.v_col);
    }
    for j in 0..p.cols {
        for q in 0..p.k {
            // SAFETY: the contract of the function.
            unsafe {
                *packed.add(j * p.k + q) = *p.v.offset(q as isize * p.v_k + j as isize * p.v_col);
            }
        }
    }
    (packed, p.k as isize)
}

/// The given rows of a product with at most [`NARROW`] columns.
///
/// # Safety
/// As [`piece`].
unsafe fn dot<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, rows: Range<usize>) {
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
                    for i in 0..count {
                        for q in 0..p.k {
                            *lines.add(i * p.k + q) =
                                *s.offset(i as isize * p.s_row + q as isize * p.s_k);
                        }
                    }
                    (s, s_row) = (lines.cast_const(), p.k as isize);
                }
                (kernels.dot[p.cols - 1])(&Dot {
                    rows: count,
                    k: p.k,
                    s,
                    s_row,
                    x,
                    x_col,
                    out: sums.as_mut_ptr(),
                });
                finished(p, first..first + count, &sums, (p.cols, 1));
            }
        }
    });
}

/// Stores sums of the given rows, `sums[i * steps.0 + j * steps.1]` that of row `rows.start + i` and column `j`.
///
/// # Safety
/// As [`piece`].
unsafe fn finished<T: Real>(p: &Problem<T>, rows: Range<usize>, sums: &[T], steps: (usize, usize)) {
    for (i, row) in rows.enumerate() {
        for j in 0..p.cols {
            // SAFETY: the element and those of the biases exist.
            unsafe {
                let c = p.c.offset(row as isize * p.c_row + j as isize * p.c_col);
                let old = if p.beta == T::ZERO { T::ZERO } else { *c };
                let mut bias = T::ZERO;
                if !p.bias_s.is_null() {
                    bias = *p.bias_s.add(row);
                }
                if !p.bias_v.is_null() {
                    bias = *p.bias_v.add(j);
                }
                let sum = p.alpha * sums[i * steps.0 + j * steps.1];
                *c = skinny::finish(sum, p.beta, old, bias, p.relu);
            }
        }
    }
}

/// As [`dot`], for a long operand that is contiguous along its rows.
///
/// # Safety
/// As [`piece`].
unsafe fn across<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, rows: Range<usize>) {
    let direct = p.c_row == 1
        && p.alpha == T::ONE
        && p.beta == T::ZERO
        && p.bias_s.is_null()
        && p.bias_v.is_null()
        && !p.relu;
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
                finished(p, rows, sums, (1, count));
            }
        }
    });
}

/// The given columns of a product with at most [`NARROW`] rows.
///
/// # Safety
/// As [`piece`].
unsafe fn axpy<T: Real>(p: &Problem<T>, kernels: &Kernels<T>, cols: Range<usize>) {
    buffer::with(p.rows * p.k, |factors: *mut T| {
        // SAFETY: elements, rows and columns exist; the buffer has room for rows x k factors.
        unsafe {
            for i in 0..p.rows {
                for q in 0..p.k {
                    *factors.add(i * p.k + q) =
                        p.alpha * *p.s.offset(i as isize * p.s_row + q as isize * p.s_k);
                }
                let c = p.c.offset(i as isize * p.c_row).add(cols.start);
                if p.beta == T::ZERO {
                    c.write_bytes(0, cols.len());
                } else if p.beta != T::ONE {
                    for j in 0..cols.len() {
                        *c.add(j) *= p.beta;
                    }
                }
            }
            (kernels.axpy[p.rows - 1])(&Axpy {
                k: p.k,
                cols: cols.len(),
                s: factors,
                s_row: p.k,
                v: p.v.add(cols.start),
                v_k: p.v_k,
                c: p.c.add(cols.start),
                c_row: p.c_row,
            });
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
