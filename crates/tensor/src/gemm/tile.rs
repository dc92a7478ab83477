//! The innermost kernel: a tile of `MR` rows by `NV` registers of the result, accumulated in registers over `k`.

use crate::Real;
use crate::vector::Vector;

/// What all tiles of a block have in common.
pub(super) struct Job<T> {
    /// Terms of each sum.
    pub k: usize,
    /// Distance of the rows of the scalar operand.
    pub s_row: isize,
    /// Its distance along `k`.
    pub s_k: isize,
    /// Distance of the vector operand along `k`.
    pub v_k: isize,
    /// Distance of the rows of the result.
    pub c_row: isize,
    /// Factor of the product.
    pub alpha: T,
    /// Factor of the old result, which is not read when this is zero.
    pub beta: T,
    /// Lines of the result to ask for in a round of fetching ahead, if it is so large that this is worth it; else zero.
    pub touch: usize,
    /// Whether to end with a relu.
    pub relu: bool,
    /// Whether the sums go on from `spot.sums`,
    pub resume: bool,
    /// and whether they wait there instead of becoming results.
    pub pause: bool,
    /// Where the vector operand lies in stretches: the offset of each from `spot.v`; else null.
    pub segments: *const isize,
    /// Steps of `k` in a stretch.
    pub segment: usize,
    /// The end of tiles that do more than store, see [`finish`].
    pub finish: FinishFn<T>,
}

impl<T: Real> Job<T> {
    /// Sums of no terms yet, which become results as they are, in one part and without fetching ahead.
    #[inline]
    pub fn new(finish: FinishFn<T>) -> Self {
        Job {
            k: 0,
            s_row: 0,
            s_k: 0,
            v_k: 0,
            c_row: 0,
            alpha: T::ONE,
            beta: T::ZERO,
            touch: 0,
            relu: false,
            resume: false,
            pause: false,
            segments: std::ptr::null(),
            segment: 0,
            finish,
        }
    }
}

/// Where one tile lies.
pub(super) struct Spot<T> {
    /// Scalar operand: element `(i, p)` at `s + i * s_row + p * s_k`.
    pub s: *const T,
    /// Vector operand: elements `(p, 0..)` at `v + p * v_k`, contiguous.
    pub v: *const T,
    /// Result: row `i` at `c + i * c_row`, contiguous.
    pub c: *mut T,
    /// Added to the rows, or null.
    pub bias_s: *const T,
    /// Added to the columns, or null.
    pub bias_v: *const T,
    /// Valid lanes of the last register of a row, `1..=LANES`.
    pub tail: usize,
    /// Distance from a row of the scalar operand to the one to fetch ahead, or zero.
    pub ahead: isize,
    /// Rows of the vector operand of the next block, to fetch ahead: where they start,
    pub fetch: *const T,
    /// how far they are apart,
    pub fetch_step: isize,
    /// how many of them,
    pub fetch_rows: usize,
    /// and how many in a round.
    pub fetch_each: usize,
    /// For kernels that pack: where the registers of the vector operand are copied to, `NV * LANES` elements per `p`.
    pub copy: *mut T,
    /// Room for the sums of the tile, if they are made in several parts.
    pub sums: *mut T,
}

impl<T> Spot<T> {
    /// A tile without biases, fetching ahead, a copy and room for sums.
    #[inline]
    pub fn new(s: *const T, v: *const T, c: *mut T, tail: usize) -> Self {
        let (null, none) = (std::ptr::null(), std::ptr::null_mut());
        Spot {
            s,
            v,
            c,
            bias_s: null,
            bias_v: null,
            tail,
            ahead: 0,
            fetch: null,
            fetch_step: 0,
            fetch_rows: 0,
            fetch_each: 0,
            copy: none,
            sums: none,
        }
    }
}

/// Steps of `k` between two rounds of fetching ahead: a cache line of the scalar operand's rows.
#[inline(always)]
pub(super) const fn line<T>() -> usize {
    64 / size_of::<T>()
}

/// Rounds of fetching ahead in `k` steps.
#[inline(always)]
pub(super) fn rounds<T>(k: usize) -> usize {
    k.div_ceil(line::<T>()).max(1)
}

/// Rows of the vector operand between the one in use and the one that is asked for: where rows are far apart the
/// processor does not foresee them.
const NEXT: isize = 4;

/// A tile kernel.
pub(super) type TileFn<T> = unsafe fn(&Job<T>, &Spot<T>);

/// The body of all tile kernels.
///
/// With `PACK` the last register of the vector operand may be partial, and the operand is copied, padded with zeros, to
/// `spot.copy` in passing.
///
/// # Safety
/// The instruction set of `V` is available, and all addressed elements are valid: `MR x k` of `s`, `k` rows of
/// `NV * LANES` of `v` (with `PACK` the last register of a row only up to `tail`), `MR` rows of `c` and `bias_v` up to
/// `tail` in the last register. With segments, the rows of `v` lie at `spot.v + segments[p / segment]`, one after the
/// other from there on, and nothing is fetched ahead.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const MR: usize, const NV: usize, const PACK: bool>(
    job: &Job<V::Elem>,
    spot: &Spot<V::Elem>,
) {
    use crate::Element;
    let lanes = V::LANES;
    let (zero, one) = (<V::Elem as Element>::ZERO, <V::Elem as Element>::ONE);
    // SAFETY: the accesses are those of the function's contract.
    unsafe {
        let mask = V::mask(spot.tail);
        let mut acc = [[V::zero(); NV]; MR];
        if job.resume {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = V::load(spot.sums.add((i * NV + j) * lanes));
                }
            }
        }
        let mut rows = [spot.s; MR];
        for i in 1..MR {
            rows[i] = spot.s.offset(i as isize * job.s_row);
        }
        let mut reach = Reach {
            rows,
            at: 0,
            v: spot.v,
            copy: spot.copy,
            // In stretches, which end soon, the line in use itself.
            next: match job.segments.is_null() {
                true => NEXT.wrapping_mul(job.v_k),
                false => 0,
            },
        };
        let ahead = spot.ahead != 0 || spot.fetch_rows != 0 || job.touch != 0;
        let mut left = job.k;
        if !ahead && (PACK || job.segments.is_null()) {
            // A loop of its own: what the rounds need takes a tenth of the time of a short tile.
            multiply::<V, MR, NV, PACK>(&mut acc, &mut reach, left, job, mask);
            left = 0;
        }
        let mut fetch = spot.fetch;
        let mut touch = if job.touch > 0 { MR * NV } else { 0 };
        let mut chunk = if ahead { line::<V::Elem>() } else { job.k };
        let mut segment = job.segments;
        if !PACK && !segment.is_null() {
            chunk = job.segment;
        }
        let mut due = spot.fetch_rows;
        while left > 0 {
            let steps = left.min(chunk);
            left -= steps;
            if !PACK && !segment.is_null() {
                reach.v = spot.v.offset(*segment);
                segment = segment.add(1);
            }
            if spot.ahead != 0 {
                // One after the other: no place is kept for the address of each row.
                let mut row = spot.s.wrapping_offset(reach.at + spot.ahead);
                for _ in 0..MR {
                    V::prefetch2(row);
                    row = row.wrapping_offset(job.s_row);
                }
            }
            for _ in 0..touch.min(job.touch) {
                touch -= 1;
                let row = (touch / NV) as isize * job.c_row;
                prefetch_write(spot.c.wrapping_offset(row).wrapping_add(touch % NV * lanes));
            }
            let rows_now = due.min(spot.fetch_each);
            due -= rows_now;
            for _ in 0..rows_now {
                for j in 0..NV {
                    V::prefetch2(fetch.wrapping_add(j * lanes));
                }
                fetch = fetch.wrapping_offset(spot.fetch_step);
            }
            multiply::<V, MR, NV, PACK>(&mut acc, &mut reach, steps, job, mask);
        }

        let plain = job.alpha == one && job.beta == zero && !job.relu;
        if !(job.pause || plain && spot.bias_v.is_null() && spot.bias_s.is_null()) {
            // A copy: an accumulator whose address is known elsewhere would not stay in its register.
            let mut sums = [[V::zero(); NV]; MR];
            for i in 0..MR {
                for j in 0..NV {
                    sums[i][j] = acc[i][j];
                }
            }
            (job.finish)(job, spot, sums.as_ptr().cast(), MR, NV);
            return;
        }
        let (to, row, mask) = match job.pause {
            true => (spot.sums, (NV * lanes) as isize, V::mask(lanes)),
            false => (spot.c, job.c_row, mask),
        };
        for i in 0..MR {
            let c = to.offset(i as isize * row);
            for j in 0..NV {
                if j + 1 == NV {
                    acc[i][j].store_part(c.add(j * lanes), mask);
                } else {
                    acc[i][j].store(c.add(j * lanes));
                }
            }
        }
    }
}

/// How far a tile has come.
struct Reach<T, const MR: usize> {
    rows: [*const T; MR],
    /// Added to `rows`.
    at: isize,
    v: *const T,
    copy: *mut T,
    /// From `v` to what is asked for.
    next: isize,
}

/// Some steps of `k`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn multiply<V: Vector, const MR: usize, const NV: usize, const PACK: bool>(
    acc: &mut [[V; NV]; MR],
    reach: &mut Reach<V::Elem, MR>,
    steps: usize,
    job: &Job<V::Elem>,
    mask: V::Mask,
) {
    let lanes = V::LANES;
    // SAFETY: the contract of the function.
    unsafe {
        for _ in 0..steps {
            let v = reach.v;
            // Tiles of one register are bound by loads as it is.
            for j in 0..if NV > 1 { NV } else { 0 } {
                // The last element, as registers may lie across two lines.
                V::prefetch(
                    v.wrapping_offset(reach.next)
                        .wrapping_add((j + 1) * lanes - 1),
                );
            }
            let mut b = [V::zero(); NV];
            for j in 0..NV {
                if PACK {
                    b[j] = if j + 1 == NV {
                        V::load_part(v.add(j * lanes), mask)
                    } else {
                        V::load(v.add(j * lanes))
                    };
                    b[j].store(reach.copy.add(j * lanes));
                } else {
                    b[j] = V::load(v.add(j * lanes));
                }
            }
            for i in 0..MR {
                let a = V::splat(*reach.rows[i].offset(reach.at));
                for j in 0..NV {
                    acc[i][j] = acc[i][j].fma(a, b[j]);
                }
            }
            if PACK {
                reach.copy = reach.copy.add(NV * lanes);
            }
            reach.v = v.wrapping_offset(job.v_k);
            reach.at += job.s_k;
        }
    }
}

/// The end of a tile of any size whose sums lie at the pointer, row by row.
pub(super) type FinishFn<T> = unsafe fn(&Job<T>, &Spot<T>, *const T, usize, usize);

/// The body of all [`FinishFn`]: factor, old result, biases and relu. One loop for all tiles: unrolled into each of them
/// it would be most of the code.
///
/// # Safety
/// As [`tile`]; `mr * nv` registers of sums.
#[inline(always)]
pub(super) unsafe fn finish<V: Vector>(
    job: &Job<V::Elem>,
    spot: &Spot<V::Elem>,
    sums: *const V::Elem,
    mr: usize,
    nv: usize,
) {
    use crate::Element;
    let lanes = V::LANES;
    // SAFETY: the contract of the function.
    unsafe {
        let tail = V::mask(spot.tail);
        let (alpha, beta) = (V::splat(job.alpha), V::splat(job.beta));
        for i in 0..mr {
            let c = spot.c.offset(i as isize * job.c_row);
            for j in 0..nv {
                let (c, last) = (c.add(j * lanes), j + 1 == nv);
                let mut x = V::load(sums.add((i * nv + j) * lanes)).mul(alpha);
                if job.beta != <V::Elem as Element>::ZERO {
                    x = x.fma(
                        beta,
                        if last {
                            V::load_part(c, tail)
                        } else {
                            V::load(c)
                        },
                    );
                }
                if !spot.bias_v.is_null() {
                    let bias = spot.bias_v.add(j * lanes);
                    x = x.add(if last {
                        V::load_part(bias, tail)
                    } else {
                        V::load(bias)
                    });
                }
                if !spot.bias_s.is_null() {
                    x = x.add(V::splat(*spot.bias_s.add(i)));
                }
                if job.relu {
                    x = x.relu();
                }
                if last {
                    x.store_part(c, tail);
                } else {
                    x.store(c);
                }
            }
        }
    }
}

/// Asks for the cache lines of some rows, which need not be valid, to be written.
#[inline(never)]
pub(super) fn touch(c: *mut u8, row: isize, rows: usize, bytes: usize) {
    for i in 0..rows {
        for at in (0..bytes).step_by(64) {
            prefetch_write(c.wrapping_offset(i as isize * row).wrapping_add(at));
        }
    }
}

/// Asks for the cache line of `p`, which need not be valid, to be written.
#[inline(always)]
pub(super) fn prefetch_write<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch does not access.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
