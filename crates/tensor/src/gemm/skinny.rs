//! Products with a matrix of very few rows or columns: bound by reading the other operand once, in order.

use crate::Real;
use crate::vector::Vector;

/// Most columns (rows) of the narrow operand.
pub(super) const NARROW: usize = 4;

/// Sums of products of rows that are contiguous along `k`.
///
/// Row `i` of the long operand starts at `s + i * s_row`, column `j` of the narrow one at `x + j * x_col`; their sum
/// goes to `out[i * cols + j]`. Lane `l` of a sum takes the terms `l`, `l + LANES`, …; the lanes are added at the end.
pub(super) struct Dot<T> {
    pub rows: usize,
    pub k: usize,
    pub s: *const T,
    pub s_row: isize,
    pub x: *const T,
    pub x_col: isize,
    pub out: *mut T,
}

/// A kernel for a fixed number of columns.
pub(super) type DotFn<T> = unsafe fn(&Dot<T>);

/// The body of all [`DotFn`]: `NC` columns, `MR` rows at a time.
///
/// # Safety
/// The instruction set of `V` is available, all addressed elements are valid, and `rows > 0`.
#[inline(always)]
pub(super) unsafe fn dot<V: Vector, const MR: usize, const NC: usize>(job: &Dot<V::Elem>) {
    let lanes = V::LANES;
    let whole = job.k / lanes * lanes;
    let mut i = 0;
    while i < job.rows {
        let count = MR.min(job.rows - i);
        // SAFETY: rows i..i + count exist (the last one stands in for the missing ones of a partial group), elements up
        // to k of each, and count * NC places of out.
        unsafe {
            let mut rows = [job.s; MR];
            for r in 0..MR {
                rows[r] = job.s.offset((i + r.min(count - 1)) as isize * job.s_row);
            }
            let mut columns = [job.x; NC];
            for c in 1..NC {
                columns[c] = job.x.offset(c as isize * job.x_col);
            }
            let mut acc = [[V::zero(); NC]; MR];
            let mut p = 0;
            while p < whole {
                let mut x = [V::zero(); NC];
                for c in 0..NC {
                    x[c] = V::load(columns[c].add(p));
                }
                for r in 0..MR {
                    let s = V::load(rows[r].add(p));
                    for c in 0..NC {
                        acc[r][c] = acc[r][c].fma(s, x[c]);
                    }
                }
                p += lanes;
            }
            if p < job.k {
                let mask = V::mask(job.k - p);
                let mut x = [V::zero(); NC];
                for c in 0..NC {
                    x[c] = V::load_part(columns[c].add(p), mask);
                }
                for r in 0..MR {
                    let s = V::load_part(rows[r].add(p), mask);
                    for c in 0..NC {
                        acc[r][c] = acc[r][c].fma(s, x[c]);
                    }
                }
            }
            for r in 0..count {
                for c in 0..NC {
                    *job.out.add((i + r) * NC + c) = acc[r][c].sum();
                }
            }
        }
        i += MR;
    }
}

/// The sums of [`Dot`] where the long operand is contiguous along its rows instead of along `k`: the same terms in the same
/// lanes, here one register of rows for each lane, added at the end in the same order.
///
/// Element `(i, p)` of the long operand at `s + i + p * s_k`; the sum of row `i` and column `j` goes to `out[j * out_col + i]`.
pub(super) struct Across<T> {
    pub rows: usize,
    pub cols: usize,
    pub k: usize,
    pub s: *const T,
    pub s_k: isize,
    pub x: *const T,
    pub x_col: isize,
    pub out: *mut T,
    pub out_col: isize,
}

/// A kernel of [`Across`].
pub(super) type AcrossFn<T> = unsafe fn(&Across<T>);

/// The body of all [`AcrossFn`]; `N` is the number of lanes.
///
/// # Safety
/// The instruction set of `V` is available, and all addressed elements are valid.
#[inline(always)]
pub(super) unsafe fn across<V: Vector, const N: usize>(job: &Across<V::Elem>) {
    for i in (0..job.rows).step_by(N) {
        for c in 0..job.cols {
            // SAFETY: the contract of the function.
            unsafe {
                if i + N <= job.rows {
                    strip::<V, N, false>(job, i, c);
                } else {
                    strip::<V, N, true>(job, i, c);
                }
            }
        }
    }
}

/// A register of rows from row `i` on, times column `c`; with `PART` the register is partial.
///
/// # Safety
/// As [`across`].
#[inline(always)]
unsafe fn strip<V: Vector, const N: usize, const PART: bool>(
    job: &Across<V::Elem>,
    i: usize,
    c: usize,
) {
    // SAFETY: the contract of the function.
    unsafe {
        let mask = V::mask((job.rows - i).min(N));
        let mut s = job.s.add(i);
        let x = job.x.offset(c as isize * job.x_col);
        let mut acc = [V::zero(); N];
        let mut p = 0;
        while p + N <= job.k {
            for l in 0..N {
                let row = if PART {
                    V::load_part(s, mask)
                } else {
                    V::load(s)
                };
                acc[l] = acc[l].fma(row, V::splat(*x.add(p + l)));
                s = s.wrapping_offset(job.s_k);
            }
            p += N;
        }
        if p < job.k {
            // Missing terms are products of zeros, as there.
            for l in 0..N {
                let (mut row, mut by) = (V::zero(), V::zero());
                if p + l < job.k {
                    row = V::load_part(s, mask);
                    by = V::splat(*x.add(p + l));
                }
                acc[l] = acc[l].fma(row, by);
                s = s.wrapping_offset(job.s_k);
            }
        }
        add_up::<V, N>(&mut acc);
        let out = job.out.offset(c as isize * job.out_col).add(i);
        if PART {
            acc[0].store_part(out, mask);
        } else {
            acc[0].store(out);
        }
    }
}

/// Lanes of a sum of `k` terms that have as many as the first one.
pub(super) fn full(k: usize, lanes: usize) -> usize {
    if k.is_multiple_of(lanes) {
        lanes
    } else {
        k % lanes
    }
}

/// Adds up the lanes of sums of [`Dot`] that were made lane by lane, in the same order.
///
/// Lane `l` of sum `i` at `x + l * step + i`, with a whole register behind the last sum; sum `i` goes to `out[i]`.
pub(super) struct Fold<T> {
    pub rows: usize,
    pub x: *const T,
    pub step: usize,
    /// Lanes from this one on have one term less.
    pub full: usize,
    pub out: *mut T,
}

/// A kernel of [`Fold`].
pub(super) type FoldFn<T> = unsafe fn(&Fold<T>);

/// The body of all [`FoldFn`]; `N` is the number of lanes.
///
/// # Safety
/// The instruction set of `V` is available, and all addressed elements are valid.
#[inline(always)]
pub(super) unsafe fn fold<V: Vector, const N: usize>(job: &Fold<V::Elem>) {
    for i in (0..job.rows).step_by(N) {
        // SAFETY: the contract of the function.
        unsafe {
            let mut acc = [V::zero(); N];
            for l in 0..N {
                acc[l] = V::load(job.x.add(l * job.step + i));
                if l >= job.full {
                    // The missing term is a product of zeros, as there.
                    acc[l] = acc[l].add(V::zero());
                }
            }
            add_up::<V, N>(&mut acc);
            let out = job.out.add(i);
            if i + N <= job.rows {
                acc[0].store(out);
            } else {
                acc[0].store_part(out, V::mask(job.rows - i));
            }
        }
    }
}

/// Upper half onto lower half, until one is left, as [`Vector::sum`].
///
/// # Safety
/// The instruction set of `V` is available.
#[inline(always)]
unsafe fn add_up<V: Vector, const N: usize>(acc: &mut [V; N]) {
    let mut half = N / 2;
    while half > 0 {
        for l in 0..half {
            // SAFETY: the contract of the function.
            acc[l] = unsafe { acc[l].add(acc[l + half]) };
        }
        half /= 2;
    }
}

/// A few rows of sums over rows of the long operand, which is read once, row after row.
///
/// `c[i, j] = start + Σ s[i, p] * v[p, j]`, where `start` is 0 if `fresh`, else what `c` holds.
pub(super) struct Axpy<T> {
    pub k: usize,
    pub cols: usize,
    /// Factors, `s[i * s_row + p]`.
    pub s: *const T,
    pub s_row: usize,
    /// Long operand: row `p` at `v + p * v_k`, contiguous.
    pub v: *const T,
    pub v_k: isize,
    /// Result: row `i` at `c + i * c_row`, contiguous.
    pub c: *mut T,
    pub c_row: isize,
    pub fresh: bool,
}

/// A kernel for a fixed number of rows.
pub(super) type AxpyFn<T> = unsafe fn(&Axpy<T>);

/// A kernel for any number of rows.
pub(super) type AxpyEndsFn<T> = unsafe fn(&Axpy<T>, usize);

/// Rows of the long operand that are read side by side.
pub(super) const DEPTH: usize = 8;

/// The body of all [`AxpyFn`]: `MR` rows, and as many columns as fill registers.
///
/// # Safety
/// The instruction set of `V` is available and all addressed elements are valid.
#[inline(always)]
pub(super) unsafe fn axpy<V: Vector, const MR: usize>(job: &Axpy<V::Elem>) {
    let mut p = 0;
    while p + DEPTH <= job.k {
        // SAFETY: rows p..p + DEPTH exist.
        unsafe { axpy_step::<V, MR, true>(job, p) };
        p += DEPTH;
    }
    if p < job.k {
        // SAFETY: rows p..job.k exist.
        unsafe { axpy_step::<V, MR, false>(job, p) };
    }
}

/// [`DEPTH`] rows from `p` on if `FULL`, else those that are left, which are fewer.
///
/// # Safety
/// As [`axpy`]; the rows exist.
#[inline(always)]
unsafe fn axpy_step<V: Vector, const MR: usize, const FULL: bool>(job: &Axpy<V::Elem>, p: usize) {
    let lanes = V::LANES;
    let depth = if FULL { DEPTH } else { job.k - p };
    let fresh = job.fresh && p == 0;
    // SAFETY: the contract of the function.
    unsafe {
        let mut rows = [job.v; DEPTH];
        for d in 0..depth {
            rows[d] = job.v.offset((p + d) as isize * job.v_k);
        }
        let factor = |i: usize, d: usize| V::splat(*job.s.add(i * job.s_row + p + d));
        let mut j = 0;
        while j + lanes <= job.cols {
            let mut acc = [V::zero(); MR];
            for i in 0..MR {
                if !fresh {
                    acc[i] = V::load(job.c.offset(i as isize * job.c_row).add(j));
                }
            }
            for d in 0..depth {
                let v = V::load(rows[d].add(j));
                for i in 0..MR {
                    acc[i] = acc[i].fma(factor(i, d), v);
                }
            }
            for i in 0..MR {
                acc[i].store(job.c.offset(i as isize * job.c_row).add(j));
            }
            j += lanes;
        }
    }
}

/// The columns behind those that fill registers, which [`axpy`] leaves out.
///
/// # Safety
/// As [`axpy`], with `rows` rows.
#[inline(always)]
pub(super) unsafe fn axpy_ends<V: Vector>(job: &Axpy<V::Elem>, rows: usize) {
    let left = job.cols % V::LANES;
    let first = job.cols - left;
    // SAFETY: the contract of the function.
    unsafe {
        let mask = V::mask(left);
        for i in 0..rows {
            let c = job.c.offset(i as isize * job.c_row).add(first);
            let mut acc = V::zero();
            if !job.fresh {
                acc = V::load_part(c, mask);
            }
            for p in 0..job.k {
                let v = job.v.offset(p as isize * job.v_k).add(first);
                let factor = V::splat(*job.s.add(i * job.s_row + p));
                acc = acc.fma(factor, V::load_part(v, mask));
            }
            acc.store_part(c, mask);
        }
    }
}

/// The end of a sum that was computed outside of a tile: factors, bias, relu.
#[inline]
pub(super) fn finish<T: Real>(product: T, beta: T, old: T, bias: T, relu: bool) -> T {
    let mut x = product;
    if beta != T::ZERO {
        x += beta * old;
    }
    x += bias;
    if relu && x <= T::ZERO { T::ZERO } else { x }
}
