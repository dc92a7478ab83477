//! One block of `k` and of columns: the loops around the tile kernels, and what becomes of their tiles.

use super::blocks::{Source, tile_rows};
use super::driver::{Problem, part};
use super::kernels::Kernels;
use super::pack::{GROUP, PackRows, PackTiles, gather, pack_panel};
use super::tile::{Job, Spot, TileFn, prefetch_write, rounds};
use crate::Real;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of the largest tile.
const TILE: usize = 512;

/// A block of `k` of a region, as the loops see it.
pub(super) struct Block<'a, T: 'static> {
    pub p: &'a Problem<T>,
    pub kernels: &'a Kernels<T>,
    pub rows: Range<usize>,
    pub tiles: usize,
    pub source: Source,
    pub ks: Range<usize>,
    /// Whether this is the last block of `k`.
    pub last: bool,
    pub job: Job<T>,
    /// Room for the packed vector operand.
    pub packed: *mut T,
    /// Room for sums between two parts of a piece of `k`: tile after tile, for `all_cols` columns from `first_col` on.
    pub sums: *mut T,
    pub first_col: usize,
    pub all_cols: usize,
    /// Room for the packed scalar operand, or null when it is used where it lies.
    pub packed_s: *mut T,
    /// Whether it is to be packed with this block,
    pub pack: bool,
    /// and whether all of it is kept: else a group of tiles after the other takes its place.
    pub keep: bool,
    /// Whether the scalar operand is so large that the next tile's part is worth fetching ahead.
    pub s_ahead: bool,
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

    /// Rows of tile `t`, from the first one of the region.
    #[inline]
    fn tile_rows(&self, t: usize) -> Range<usize> {
        tile_rows(self.rows.len(), self.kernels.mr(), self.tiles, t)
    }

    /// Where tile `t` of the scalar operand is packed.
    #[inline]
    fn packed_tile(&self, t: usize) -> *mut T {
        let mut row = self.tile_rows(t).start;
        if !self.keep {
            row -= self.tile_rows(t / GROUP * GROUP).start;
        }
        self.packed_s.wrapping_add(row * self.job.k)
    }

    /// Packs the tiles of the scalar operand from number `first` on, [`GROUP`] at most.
    ///
    /// # Safety
    /// As [`region`](super::blocks::region); `packed_s` has room for them.
    unsafe fn pack_scalars(&self, first: usize) {
        let (p, k) = (self.p, self.job.k);
        // SAFETY: the contract of the function.
        unsafe {
            if p.s_row == 1 {
                (self.kernels.pack_tiles)(&PackTiles {
                    k,
                    rows: self.rows.len(),
                    mr: self.kernels.mr(),
                    first,
                    src: self.scalars(self.rows.start),
                    step: p.s_k,
                    dst: self.packed_tile(first),
                });
                return;
            }
            for t in first..self.tiles.min(first + GROUP) {
                let rows = self.tile_rows(t);
                let (from, n) = (self.scalars(self.rows.start + rows.start), rows.len());
                gather(from, p.s_k, p.s_row, self.packed_tile(t), k, n, n);
            }
        }
    }

    /// What tile `t` fetches ahead of the next group of tiles of a far scalar operand, before that is packed: the first of
    /// its rows, their distance and their number.
    fn scalars_ahead(&self, t: usize) -> Option<(*const T, isize, usize)> {
        let next = (t / GROUP + 1) * GROUP;
        if !(self.pack && self.s_ahead && self.p.s_row == 1 && next < self.tiles) {
            return None;
        }
        let share = part(self.job.k, GROUP, t % GROUP);
        let first = self.scalars(self.rows.start + self.tile_rows(next).start);
        let step = self.p.s_k;
        let from = first.wrapping_offset(share.start as isize * step);
        Some((from, step, share.len()))
    }

    /// Computes the columns `cols`; fetches the terms `next.1` of as many columns from `next.0` on ahead.
    ///
    /// # Safety
    /// As [`region`](super::blocks::region); `packed` has room for the block.
    pub unsafe fn run(&mut self, cols: Range<usize>, next: Option<(usize, Range<usize>)>) {
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
            let tile = self.tile_rows(t);
            let (i0, mr) = (self.rows.start + tile.start, tile.len());
            let nowhere = std::ptr::null_mut();
            let mut spot = Spot::new(self.scalars(i0), nowhere, nowhere, lanes);
            if !self.packed_s.is_null() {
                self.job.s_k = mr as isize;
                spot.s = self.packed_tile(t);
                if self.pack && t % GROUP == 0 {
                    // SAFETY: there is room for the group.
                    unsafe { self.pack_scalars(t) };
                }
            } else if self.s_ahead && p.s_k == 1 && t + 1 < self.tiles {
                spot.ahead = mr as isize * p.s_row;
            }
            if self.last && !p.bias_s.is_null() {
                spot.bias_s = p.bias_s.wrapping_add(i0);
            }
            // Up to here a row is fetched ahead.
            let mut fetched = usize::MAX;
            let mut fetch = p.v;
            if let Some((from, step, rows)) = self.scalars_ahead(t) {
                spot.fetch_rows = rows;
                spot.fetch_each = rows.div_ceil(rounds::<T>(self.job.k));
                spot.fetch_step = step;
                fetch = from;
                fetched = GROUP * kernels.mr();
            } else if let Some((col, ks)) = &next {
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
                if self.source == Source::Transposed {
                    fetched = self.job.k;
                }
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
                if start >= fetched {
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
                // Columns that were computed before the tile.
                let mut whole = 0;
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
                                whole = self.whole_registers(&mut spot, mr, nv);
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
                    let part = Columns {
                        valid: valid - whole,
                        width: width - whole,
                    };
                    self.tile(kernel, &spot, mr, part);
                }
                spot.ahead = 0;
                start += width;
            }
        }
    }

    /// The registers before the last, which is partial and may not be read whole where it lies; the spot goes on behind
    /// them.
    ///
    /// # Safety
    /// As for [`Block::tile`].
    unsafe fn whole_registers(&self, spot: &mut Spot<T>, mr: usize, nv: usize) -> usize {
        let lanes = self.kernels.lanes;
        let width = (nv - 1) * lanes;
        if nv == 1 {
            return 0;
        }
        let part = Columns {
            valid: width,
            width,
        };
        let tail = std::mem::replace(&mut spot.tail, lanes);
        // SAFETY: the contract of the function.
        unsafe { self.tile(self.kernels.tiles[nv - 2][mr - 1], spot, mr, part) };
        spot.tail = tail;
        spot.v = spot.v.wrapping_add(width);
        spot.c = spot.c.wrapping_offset(width as isize * self.p.c_col);
        spot.sums = spot.sums.wrapping_add(mr * width);
        spot.fetch = spot.fetch.wrapping_add(width);
        if !spot.bias_v.is_null() {
            spot.bias_v = spot.bias_v.wrapping_add(width);
        }
        width
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
