//! Blocking, packing and threads around the tile kernels.
//!
//! A product is first oriented: one operand is read as scalars (its rows are the rows of the tiles), the other as
//! vectors (its columns are the lanes). Either operand can play either part; with the parts exchanged it is the
//! transposed product that is computed. The scalar operand is used where it lies, whatever its strides. The vector
//! operand is used where it lies when its columns are contiguous and it is read once; otherwise it is packed into
//! panels of a few registers width, each of which serves all rows.
//!
//! Every element of the result is one chain of multiply-adds in ascending `k` for each block of `k`, and the blocks of
//! `k` depend on `k` alone: neither the other sizes' borders nor the threads can change a bit.

use super::buffer;
use super::kernels::Kernels;
use super::tile::{Job, Spot};
use super::{Call, Epilogue};
use crate::{Real, parallel};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Longest run of `k` between two visits to the result, in bytes of one operand's row.
const K_BLOCK: usize = 2048;
/// Bytes of packed vector operand that are kept in cache while the scalar operand streams past.
const V_BLOCK: usize = 512 << 10;
/// Multiply-adds below which a product is not worth a second thread.
const SERIAL: usize = 1 << 18;

/// One product with its operands in their parts.
#[derive(Clone, Copy)]
struct Problem<T> {
    rows: usize,
    cols: usize,
    k: usize,
    s: *const T,
    s_row: isize,
    s_k: isize,
    v: *const T,
    v_k: isize,
    v_col: isize,
    c: *mut T,
    c_row: isize,
    c_col: isize,
    bias_s: *const T,
    bias_v: *const T,
    relu: bool,
    alpha: T,
    beta: T,
}

impl<T: Real> Problem<T> {
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

    /// Strides of axes of length one are free: take the ones that make the fast cases.
    fn normalized(mut self) -> Self {
        if self.cols == 1 {
            self.v_col = 1;
            self.c_col = 1;
        } else if self.rows == 1 && self.c_col != 1 {
            self.c_row = 1;
        }
        if self.k == 1 && self.v_col != 1 {
            self.v_k = 1;
        }
        self
    }

    /// Estimated cycles of arithmetic, packing and storing.
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
        let store = if self.c_col == 1 {
            self.rows * registers
        } else if self.c_row == 1 {
            self.rows * self.cols / 3
        } else {
            self.rows * self.cols * 2
        };
        // Fewer than eight independent sums cannot fill the pipeline.
        let sums = (self.rows.min(kernels.mr()) * registers.min(kernels.nv())).min(8);
        self.rows * registers * self.k * 4 / sums + pack + store
    }
}

#[derive(Clone, Copy)]
struct Shared<'a, T: 'static>(&'a Problem<T>, &'a Kernels<T>);
// SAFETY: tasks read the operands and write disjoint parts of the result, which the caller borrows exclusively.
unsafe impl<T> Sync for Shared<'_, T> {}

/// Part `i` of `n` parts of `0..len`, whose sizes differ by one at most.
#[inline]
fn part(len: usize, n: usize, i: usize) -> Range<usize> {
    let (q, r) = (len / n, len % n);
    let start = i * q + i.min(r);
    start..start + q + usize::from(i < r)
}

/// Runs a checked call.
pub(super) fn run<T: Real>(kernels: &Kernels<T>, call: Call<'_, T>) {
    let (bias_row, bias_col, relu) = match call.epilogue {
        Epilogue::None => (std::ptr::null(), std::ptr::null(), false),
        Epilogue::Relu => (std::ptr::null(), std::ptr::null(), true),
        Epilogue::BiasRow(b) => (b.as_ptr(), std::ptr::null(), false),
        Epilogue::BiasCol(b) => (std::ptr::null(), b.as_ptr(), false),
        Epilogue::BiasRowRelu(b) => (b.as_ptr(), std::ptr::null(), true),
        Epilogue::BiasColRelu(b) => (std::ptr::null(), b.as_ptr(), true),
    };
    // wrapping_add: with k == 0 an operand may be empty and its offset anything; it is then not read.
    let straight = Problem {
        rows: call.m,
        cols: call.n,
        k: call.k,
        s: call.a.data.as_ptr().wrapping_add(call.a.offset),
        s_row: call.a.rs,
        s_k: call.a.cs,
        v: call.b.data.as_ptr().wrapping_add(call.b.offset),
        v_k: call.b.rs,
        v_col: call.b.cs,
        c: call.c.data.as_mut_ptr().wrapping_add(call.c.offset),
        c_row: call.c.rs,
        c_col: call.c.cs,
        bias_s: bias_col,
        bias_v: bias_row,
        relu,
        alpha: call.alpha,
        beta: call.beta,
    };
    let exchanged = straight.exchanged().normalized();
    let straight = straight.normalized();
    let swap = exchanged.cost(kernels) < straight.cost(kernels);
    let mut problem = if swap { exchanged } else { straight };
    let work = call.m.saturating_mul(call.n).saturating_mul(call.k);
    let threads = if work.saturating_mul(call.batch) < SERIAL {
        1
    } else {
        parallel::threads()
    };
    for i in 0..call.batch as isize {
        let (a, b) = (
            call.a
                .data
                .as_ptr()
                .wrapping_add(call.a.offset)
                .wrapping_offset(i * call.batch_a),
            call.b
                .data
                .as_ptr()
                .wrapping_add(call.b.offset)
                .wrapping_offset(i * call.batch_b),
        );
        (problem.s, problem.v) = if swap { (b, a) } else { (a, b) };
        problem.c = call
            .c
            .data
            .as_mut_ptr()
            .wrapping_add(call.c.offset)
            .wrapping_offset(i * call.batch_c);
        single(&problem, kernels, threads);
    }
}

/// One product, on up to `threads` threads.
fn single<T: Real>(problem: &Problem<T>, kernels: &Kernels<T>, threads: usize) {
    let registers = problem.cols.div_ceil(kernels.lanes);
    let (gs, gv) = if threads == 1 {
        (1, 1)
    } else {
        grid(problem, kernels, threads)
    };
    if gs * gv == 1 {
        // SAFETY: the call was checked: all elements are valid and the result is borrowed exclusively.
        unsafe { region(problem, kernels, 0..problem.rows, 0..problem.cols) };
        return;
    }
    let shared = Shared(problem, kernels);
    parallel::tasks(gs * gv, |task| {
        let Shared(problem, kernels) = { shared };
        let rows = part(problem.rows, gs, task / gv);
        let cols = part(registers, gv, task % gv);
        let cols = cols.start * kernels.lanes..(cols.end * kernels.lanes).min(problem.cols);
        // SAFETY: as above, and the regions of different tasks are disjoint.
        unsafe { region(problem, kernels, rows, cols) };
    });
}

/// How many parts to cut the rows and the columns into.
fn grid<T: Real>(problem: &Problem<T>, kernels: &Kernels<T>, threads: usize) -> (usize, usize) {
    let registers = problem.cols.div_ceil(kernels.lanes);
    let mut best = (usize::MAX, 1, 1);
    for gv in 1..=threads.min(registers) {
        let gs = threads.div_ceil(gv).min(problem.rows);
        let (r, c) = (
            problem.rows.div_ceil(gs),
            registers.div_ceil(gv) * kernels.lanes,
        );
        let part = Problem {
            rows: r,
            cols: c,
            ..*problem
        };
        // Reading the scalar operand from another level of cache costs too.
        let cost = part.cost(kernels) + r * problem.k / 4;
        if cost < best.0 {
            best = (cost, gs, gv);
        }
    }
    (best.1, best.2)
}

/// How the registers of the vector operand are come by.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// Read where they lie.
    Direct,
    /// The first tile reads them where they lie and packs in passing.
    Passing,
    /// Packed by a transposing copy.
    Transposed,
    /// Packed element by element.
    Gathered,
}

/// Computes the elements `rows x cols` of the result.
///
/// # Safety
/// All elements of the operands and the region are valid, nobody else accesses the region, and this machine has the
/// instruction set of the kernels.
unsafe fn region<T: Real>(
    p: &Problem<T>,
    kernels: &Kernels<T>,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    let lanes = kernels.lanes;
    let tiles = rows.len().div_ceil(kernels.mr());
    let source = if p.v_col == 1 {
        if tiles == 1 {
            Source::Direct
        } else {
            Source::Passing
        }
    } else if p.v_k == 1 {
        Source::Transposed
    } else {
        Source::Gathered
    };
    let k_blocks = (p.k * size_of::<T>()).div_ceil(K_BLOCK).max(1);
    let longest = p.k.div_ceil(k_blocks);
    let registers = cols.len().div_ceil(lanes);
    let fit = (V_BLOCK / (lanes * size_of::<T>() * longest.max(1))).max(kernels.nv());
    let v_blocks = registers.div_ceil(fit);
    let room = registers.div_ceil(v_blocks) * lanes * longest;

    buffer::with(room, |packed: *mut T| {
        for kb in 0..k_blocks {
            let ks = part(p.k, k_blocks, kb);
            let last = kb + 1 == k_blocks;
            let mut job = Job {
                k: ks.len(),
                s_row: p.s_row,
                s_k: p.s_k,
                v_k: 0,
                c_row: p.c_row,
                alpha: p.alpha,
                beta: if kb == 0 { p.beta } else { T::ONE },
                relu: last && p.relu,
            };
            for vb in 0..v_blocks {
                let block = part(registers, v_blocks, vb);
                let panels = block.len().div_ceil(kernels.nv());
                for t in 0..tiles {
                    let tile = part(rows.len(), tiles, t);
                    let (i0, mr) = (rows.start + tile.start, tile.len());
                    for n in 0..panels {
                        let panel = part(block.len(), panels, n);
                        let (nv, width) = (panel.len(), panel.len() * lanes);
                        let j0 = cols.start + (block.start + panel.start) * lanes;
                        let valid = width.min(cols.end - j0);
                        let tail = valid - (nv - 1) * lanes;
                        // SAFETY: indices stay inside the operands and the region; the panel stays inside `packed`.
                        unsafe {
                            let there = p
                                .v
                                .wrapping_offset(j0 as isize * p.v_col + ks.start as isize * p.v_k);
                            let here = packed.wrapping_add(panel.start * lanes * job.k);
                            let mut kernel = kernels.tiles[nv - 1][mr - 1];
                            let mut v: *const T = here;
                            job.v_k = width as isize;
                            if source == Source::Direct && tail == lanes {
                                v = there;
                                job.v_k = p.v_k;
                            } else if t == 0 {
                                match source {
                                    Source::Direct | Source::Passing => {
                                        kernel = kernels.packing[nv - 1][mr - 1];
                                        v = there;
                                        job.v_k = p.v_k;
                                    }
                                    Source::Transposed => {
                                        if valid < width {
                                            here.write_bytes(0, width * job.k);
                                        }
                                        (kernels.transpose)(
                                            valid,
                                            job.k,
                                            there,
                                            p.v_col,
                                            here,
                                            width as isize,
                                        );
                                    }
                                    Source::Gathered => {
                                        gather(there, p.v_k, p.v_col, here, job.k, valid, width)
                                    }
                                }
                            }
                            let mut spot = Spot {
                                s: p.s.wrapping_offset(
                                    i0 as isize * p.s_row + ks.start as isize * p.s_k,
                                ),
                                v,
                                c: p.c
                                    .wrapping_offset(i0 as isize * p.c_row + j0 as isize * p.c_col),
                                bias_s: std::ptr::null(),
                                bias_v: std::ptr::null(),
                                tail,
                                copy: here,
                            };
                            if last {
                                if !p.bias_s.is_null() {
                                    spot.bias_s = p.bias_s.add(i0);
                                }
                                if !p.bias_v.is_null() {
                                    spot.bias_v = p.bias_v.add(j0);
                                }
                            }
                            if p.c_col == 1 {
                                kernel(&job, &spot);
                            } else {
                                aside(p, kernels, kernel, &job, &spot, mr, valid, width);
                            }
                        }
                    }
                }
            }
        }
    });
}

/// Packs element by element: `dst[q * width + j] = src[q * v_k + j * v_col]`, zero for `valid <= j < width`.
unsafe fn gather<T: Real>(
    src: *const T,
    v_k: isize,
    v_col: isize,
    dst: *mut T,
    k: usize,
    valid: usize,
    width: usize,
) {
    for q in 0..k {
        for j in 0..width {
            // SAFETY: the caller promises k x valid readable and k x width writable elements.
            unsafe {
                *dst.add(q * width + j) = if j < valid {
                    *src.offset(q as isize * v_k + j as isize * v_col)
                } else {
                    T::ZERO
                };
            }
        }
    }
}

/// Elements of the largest tile.
const TILE: usize = 512;

/// Runs a tile whose rows are not contiguous in the result by way of a scratch tile.
unsafe fn aside<T: Real>(
    p: &Problem<T>,
    kernels: &Kernels<T>,
    kernel: super::tile::TileFn<T>,
    job: &Job<T>,
    spot: &Spot<T>,
    mr: usize,
    valid: usize,
    width: usize,
) {
    debug_assert!(mr * width <= TILE);
    let mut scratch = MaybeUninit::<[T; TILE]>::uninit();
    let tile = scratch.as_mut_ptr().cast::<T>();
    // SAFETY: the tile has room for mr rows of width; the rest is the caller's promise.
    unsafe {
        if job.beta != T::ZERO {
            if p.c_row == 1 {
                (kernels.transpose)(valid, mr, spot.c, p.c_col, tile, width as isize);
            } else {
                for i in 0..mr {
                    for j in 0..valid {
                        *tile.add(i * width + j) =
                            *spot.c.offset(i as isize * p.c_row + j as isize * p.c_col);
                    }
                }
            }
        }
        kernel(
            &Job {
                c_row: width as isize,
                ..*job
            },
            &Spot { c: tile, ..*spot },
        );
        if p.c_row == 1 {
            (kernels.transpose)(mr, valid, tile, width as isize, spot.c, p.c_col);
        } else {
            for i in 0..mr {
                for j in 0..valid {
                    *spot.c.offset(i as isize * p.c_row + j as isize * p.c_col) =
                        *tile.add(i * width + j);
                }
            }
        }
    }
}
