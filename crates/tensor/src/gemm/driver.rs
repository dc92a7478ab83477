//! From a checked call to blocks: which operand plays which part, which path, which thread.
//!
//! A product is first oriented: one operand is read as scalars (its rows are the rows of the tiles), the other as
//! vectors (its columns are the lanes). Either operand can play either part; with the parts exchanged it is the
//! transposed product that is computed.
//!
//! Every element of the result is one chain of multiply-adds in ascending `k` for each block of `k`, or, with a narrow operand
//! and a long `k`, one such chain per lane. Which of the two, and the blocks of `k`, depend on the sizes of one product of a batch
//! alone: neither strides nor the borders of tiles and of the threads' parts can change a bit.

use super::blocks::{Blocking, FAR, region};
use super::kernels::Kernels;
use super::lanes::lanes;
use super::narrow::{across, axpy, by_lane, dot};
use super::skinny::NARROW;
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

    /// Whether a sum is the result as it is, and rows of results lie side by side.
    pub(super) fn is_plain(&self) -> bool {
        self.c_row == 1
            && self.alpha == T::ONE
            && self.beta == T::ZERO
            && self.bias_s.is_null()
            && self.bias_v.is_null()
            && !self.relu
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

    /// A batch that shares the vector operand and is contiguous in the others, as one larger product.
    fn folded(mut self, batch: usize, steps: Steps) -> Option<Self> {
        let rows = self.rows as isize;
        if rows == 1 {
            (self.s_row, self.c_row) = (steps.s, steps.c);
        }
        let one = steps.v == 0
            && steps.s == rows * self.s_row
            && steps.c == rows * self.c_row
            && self.bias_s.is_null();
        self.rows *= batch;
        one.then_some(self)
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
        } else if self.v_k == 1 && elements * size_of::<T>() > FAR {
            elements * 2 / 3
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
            self.rows * self.cols
        } else {
            self.rows * self.cols * 2
        };
        // Fewer than eight independent sums cannot fill the pipeline.
        let sums = (self.rows.min(kernels.mr()) * registers.min(kernels.nv())).min(8);
        self.rows * registers * self.k * 4 / sums + pack + read + store
    }

    /// The same for [`lanes`], which packs the scalar operand of any strides.
    fn cost_by_lanes(&self, kernels: &Kernels<T>) -> usize {
        let pack = match self.s_k {
            1 => self.rows * self.k / 2,
            _ => 0,
        };
        self.cost(kernels) + pack
    }
}

/// Distances between the operands and the results of a batch.
#[derive(Clone, Copy)]
struct Steps {
    s: isize,
    v: isize,
    c: isize,
}

impl Steps {
    /// Those of [`Problem::exchanged`].
    fn exchanged(self) -> Self {
        Steps {
            s: self.v,
            v: self.s,
            c: self.c,
        }
    }
}

/// Which way a product goes.
#[derive(Clone, Copy)]
enum Path {
    Tiles(Blocking),
    Lanes,
    Dot,
    Across,
    ByLane,
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
    let by_lanes = m.min(n) <= NARROW && k >= 4 * kernels.lanes;
    let mut straight = Problem::new(&mut call);
    let mut batch = call.batch;
    let mut steps = Steps {
        s: call.batch_a,
        v: call.batch_b,
        c: call.batch_c,
    };
    if batch > 1 {
        let shared = straight.folded(batch, steps).or_else(|| {
            let other = straight.exchanged().folded(batch, steps.exchanged())?;
            Some(other.exchanged())
        });
        if let Some(all) = shared {
            (straight, batch) = (all, 1);
        }
    }
    let (rows, cols) = (straight.rows, straight.cols);
    let exchanged = straight.exchanged().normalized();
    let straight = straight.normalized();
    let ordered = if m < n { straight.v_k } else { straight.s_k } == 1;
    let long = m.max(n).saturating_mul(k * size_of::<T>());
    let few = few_rows(ordered, long, k >= 8 * kernels.lanes);
    let (problem, swapped, path) = if by_lanes && rows.min(cols) > few {
        let swap = exchanged.cost_by_lanes(kernels) < straight.cost_by_lanes(kernels);
        let problem = if swap { exchanged } else { straight };
        (problem, swap, Path::Lanes)
    } else if by_lanes {
        // The long operand as scalars; of two, the one that is read in order.
        // That of a single product of the batch beside a long one, where both are narrow that of all.
        let narrow = |one, beside, all| if beside > NARROW { one } else { all };
        let after = |p: &Problem<T>, narrow| (narrow > NARROW, p.s_k != 1, p.s_row != 1);
        let swap = after(&exchanged, narrow(m, n, rows)) < after(&straight, narrow(n, m, cols));
        let problem = if swap { exchanged } else { straight };
        let near = problem.rows.saturating_mul(k * size_of::<T>()) <= NEAR;
        let path = match (problem.s_k, problem.s_row) {
            (1, _) => Path::Dot,
            (_, 1) if near && problem.cols <= NARROW => Path::Across,
            (_, 1) => Path::ByLane,
            _ => Path::Dot,
        };
        (problem, swap, path)
    } else if axpy_suits(&straight, kernels) {
        (straight, false, Path::Axpy)
    } else if axpy_suits(&exchanged, kernels) {
        (exchanged, true, Path::Axpy)
    } else {
        let swap = exchanged.cost(kernels) < straight.cost(kernels);
        let problem = if swap { exchanged } else { straight };
        (problem, swap, Path::Tiles(Blocking::new(&problem, kernels)))
    };
    let mut plan = Plan {
        problem,
        kernels,
        path,
    };
    if swapped {
        steps = steps.exchanged();
    }
    let work = problem
        .rows
        .saturating_mul(problem.cols)
        .saturating_mul(problem.k);
    let threads = match path {
        _ if work.saturating_mul(batch) < SERIAL
            && matches!(path, Path::Tiles(_) | Path::Lanes) =>
        {
            1
        }
        Path::Tiles(_) | Path::Lanes => parallel::threads(),
        _ => parallel::threads()
            .min((problem.rows.max(problem.cols) * problem.k * batch).div_ceil(SERIAL_READ)),
    };
    if batch == 1 {
        return single(&plan, threads);
    }
    let at = |plan: &Plan<'_, T>, i: usize| {
        let i = i as isize;
        Problem {
            s: plan.problem.s.wrapping_offset(i * steps.s),
            v: plan.problem.v.wrapping_offset(i * steps.v),
            c: plan.problem.c.wrapping_offset(i * steps.c),
            ..plan.problem
        }
    };
    if threads == 1 || batch >= 2 * threads {
        // Whole products are shared out; more tasks than threads level out the load.
        let tasks = if threads == 1 {
            1
        } else {
            batch.min(4 * threads)
        };
        let shared = &plan;
        parallel::tasks(tasks, |task| {
            for i in part(batch, tasks, task) {
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
        for i in 0..batch {
            plan.problem = at(&Plan { problem, ..plan }, i);
            single(&plan, threads);
        }
    }
}

/// Rows beside a long operand of so many bytes, those of a whole batch together, up to which tiles are slower than kernels for narrow
/// operands: more, where these read the long operand in order and tiles have to transpose it; fewer, where sums are long.
fn few_rows(ordered: bool, bytes: usize, long_sums: bool) -> usize {
    match ordered {
        true if bytes > FAR => 16 * NARROW,
        true => 8 * NARROW,
        false if bytes > VERY_FAR => 2 * NARROW,
        false if bytes > FAR || !long_sums => NARROW,
        false => NARROW - 1,
    }
}

/// Bytes of a long operand whose pages are too many for tiles, which go from one to the next with each term.
pub(super) const VERY_FAR: usize = 32 << 20;
/// Bytes of a long operand up to which it is near: it need not be read in order.
const NEAR: usize = 64 << 10;

/// Whether a few short rows beside a long operand that lies in order are best added up row by row; the sums are those of the tiles.
fn axpy_suits<T: Real>(p: &Problem<T>, kernels: &Kernels<T>) -> bool {
    let plain = p.alpha == T::ONE && p.beta == T::ZERO;
    let wide = p.cols >= 4 * kernels.lanes && p.k >= 4;
    p.rows <= NARROW && p.v_col == 1 && p.c_col == 1 && wide && plain
}

/// One product, on up to `threads` threads.
fn single<T: Real>(plan: &Plan<'_, T>, threads: usize) {
    let p = &plan.problem;
    let lanes = plan.kernels.lanes;
    let registers = p.cols.div_ceil(lanes);
    let (gs, gv) = match plan.path {
        _ if threads == 1 => (1, 1),
        Path::Tiles(_) | Path::Lanes => grid(p, plan.kernels, threads),
        Path::Dot => (threads.min(p.rows), 1),
        // So near that it is not worth a second thread.
        Path::Across => (1, 1),
        Path::ByLane => (threads.min(p.rows.div_ceil(lanes)), 1),
        Path::Axpy => (1, threads.min(registers)),
    };
    if gs * gv == 1 {
        // SAFETY: the call was checked: all elements are valid and the result is borrowed exclusively.
        return unsafe { piece(plan, 0..p.rows, 0..p.cols) };
    }
    let (rows, cols) = (p.rows, p.cols);
    parallel::tasks(gs * gv, |task| {
        let rows = match plan.path {
            Path::ByLane => {
                let r = part(rows.div_ceil(lanes), gs, task);
                r.start * lanes..(r.end * lanes).min(rows)
            }
            _ => part(rows, gs, task / gv),
        };
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
            Path::Lanes => lanes(&plan.problem, plan.kernels, rows, cols),
            Path::Dot => dot(&plan.problem, plan.kernels, rows),
            Path::Across => across(&plan.problem, plan.kernels, rows),
            Path::ByLane => by_lane(&plan.problem, plan.kernels, rows),
            Path::Axpy => axpy(&plan.problem, plan.kernels, cols),
        }
    }
}
