//! Kernels for one channel at a time: a line of pixels times a few taps.

use crate::vector::Vector;

/// `out[j] = Σ_t weights[t] · src[taps[t] + j]` for `j < len`.
pub(super) type LineFn<T> = unsafe fn(&Line<'_, T>);

/// Arguments of [`LineFn`].
pub(super) struct Line<'a, T> {
    pub len: usize,
    /// Readable up to a whole register beyond `len`, for every tap.
    pub src: *const T,
    pub taps: &'a [isize],
    /// As many as taps.
    pub weights: *const T,
    /// Writable up to a whole register beyond `len`.
    pub out: *mut T,
}

/// Registers that are summed side by side.
const WIDE: usize = 8;

/// The body of all [`LineFn`].
///
/// # Safety
/// The instruction set of `V` is available, and memory as [`Line`] says.
#[inline(always)]
pub(super) unsafe fn line<V: Vector>(job: &Line<'_, V::Elem>) {
    let mut j = 0;
    // SAFETY: the contract of the function.
    unsafe {
        while j + WIDE * V::LANES <= job.len {
            step::<V, WIDE>(job, j);
            j += WIDE * V::LANES;
        }
        while j < job.len {
            step::<V, 1>(job, j);
            j += V::LANES;
        }
    }
}

/// # Safety
/// As [`line`], for `N` registers from element `j` on.
#[inline(always)]
unsafe fn step<V: Vector, const N: usize>(job: &Line<'_, V::Elem>, j: usize) {
    // SAFETY: the contract of the function.
    unsafe {
        let mut acc = [V::zero(); N];
        for (t, &tap) in job.taps.iter().enumerate() {
            let w = V::splat(*job.weights.add(t));
            let src = job.src.offset(tap).add(j);
            for (r, a) in acc.iter_mut().enumerate() {
                *a = a.fma(w, V::load(src.add(r * V::LANES)));
            }
        }
        for (r, a) in acc.iter().enumerate() {
            a.store(job.out.add(j + r * V::LANES));
        }
    }
}

/// `out[t] += Σ_(i, j) a[i * a_row + j] · b[taps[t] + i * b_row + j]` over `rows` rows of `len` elements.
pub(super) type DotsFn<T> = unsafe fn(&Dots<'_, T>);

/// Arguments of [`DotsFn`].
pub(super) struct Dots<'a, T> {
    pub rows: usize,
    pub len: usize,
    pub a: *const T,
    pub a_row: usize,
    pub b: *const T,
    pub b_row: usize,
    pub taps: &'a [isize],
    /// As many as taps.
    pub out: *mut T,
}

/// The body of all [`DotsFn`].
///
/// # Safety
/// The instruction set of `V` is available, and the addressed elements exist.
#[inline(always)]
pub(super) unsafe fn dots<V: Vector>(job: &Dots<'_, V::Elem>) {
    let mut t = 0;
    // SAFETY: the contract of the function.
    unsafe {
        while t < job.taps.len() {
            match job.taps.len() - t {
                9.. => {
                    some::<V, 9>(job, t);
                    t += 9;
                }
                5.. => {
                    some::<V, 5>(job, t);
                    t += 5;
                }
                _ => {
                    some::<V, 1>(job, t);
                    t += 1;
                }
            }
        }
    }
}

/// # Safety
/// As [`dots`], for `N` taps from number `t` on.
#[inline(always)]
unsafe fn some<V: Vector, const N: usize>(job: &Dots<'_, V::Elem>, t: usize) {
    // SAFETY: the contract of the function; masked lanes are not accessed and count as zero on both sides.
    unsafe {
        let mut acc = [V::zero(); N];
        let taps: [isize; N] = job.taps[t..t + N].try_into().expect("N taps");
        let whole = job.len / V::LANES * V::LANES;
        let mask = V::mask(job.len - whole);
        for i in 0..job.rows {
            let (a, b) = (job.a.add(i * job.a_row), job.b.add(i * job.b_row));
            let mut j = 0;
            while j < whole {
                let x = V::load(a.add(j));
                for n in 0..N {
                    acc[n] = acc[n].fma(x, V::load(b.offset(taps[n]).add(j)));
                }
                j += V::LANES;
            }
            if whole < job.len {
                let x = V::load_part(a.add(whole), mask);
                for n in 0..N {
                    acc[n] = acc[n].fma(x, V::load_part(b.offset(taps[n]).add(whole), mask));
                }
            }
        }
        for (n, a) in acc.iter().enumerate() {
            *job.out.add(t + n) += a.sum();
        }
    }
}
