//! Sum, largest and smallest of a slice, and whether it is small, in registers named by hand: what a compiler makes of a loop over arrays of
//! accumulators depends on what stands around it, and these loops are where reductions spend their time.

use super::UNIT;
use crate::Real;
use crate::lane::Lane;
use crate::simd::{Baseline, Isa};

/// Accumulators of the loops for other instruction sets.
const W: usize = 32;

/// Sum of a slice, in an order that depends on its length alone.
#[inline(always)]
pub(super) fn sum<T: Real, I: Isa>(x: &[T]) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(s) = x86::sum::<T, I>(x) {
        return s;
    }
    /// A function of its own where functions are calls: kernels hold many sums.
    #[inline(never)]
    fn apart<T: Real>(x: &[T]) -> T {
        sum_in_arrays::<T, Baseline>(x)
    }
    if I::CALLS {
        apart(x)
    } else {
        sum_in_arrays::<T, I>(x)
    }
}

#[inline(always)]
fn sum_in_arrays<T: Real, I: Isa>(x: &[T]) -> T {
    let chunks = x.chunks_exact(W);
    let tail = chunks.remainder();
    let mut acc = [T::ZERO; W];
    for c in chunks {
        for k in T::Lane::<I>::places(W) {
            acc[k] += c[k];
        }
    }
    for (k, &v) in tail.iter().enumerate() {
        acc[k] += v;
    }
    fold::<T, I>(acc, |a, b| a + b)
}

/// Sum of x·y, with the bits of the products and [`sum`]. The slices are of one length.
#[inline(always)]
pub(super) fn sum_products<T: Real, I: Isa>(x: &[T], y: &[T]) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(s) = x86::sum_products::<T, I>(x, y) {
        return s;
    }
    sum_terms::<T>(x, y, |x, y| x * y)
}

/// Sum of (x - y)², with the bits of the differences, their squares and [`sum`]. The slices are of one length.
#[inline(always)]
pub(super) fn sum_square_differences<T: Real, I: Isa>(x: &[T], y: &[T]) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(s) = x86::sum_square_differences::<T, I>(x, y) {
        return s;
    }
    sum_terms::<T>(x, y, |x, y| (x - y) * (x - y))
}

/// As [`sum_in_arrays`], of the terms.
#[inline(never)]
fn sum_terms<T: Real>(x: &[T], y: &[T], term: fn(T, T) -> T) -> T {
    let mut terms = [T::ZERO; UNIT];
    let terms = &mut terms[..x.len()];
    for ((t, &x), &y) in terms.iter_mut().zip(x).zip(y) {
        *t = term(x, y);
    }
    sum_in_arrays::<T, Baseline>(terms)
}

/// Largest (or smallest) of a slice; NaN if any is NaN, ∓∞ over nothing.
#[inline(always)]
pub(super) fn extreme<T: Real, I: Isa>(x: &[T], largest: bool) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(m) = x86::extreme::<T, I>(x, largest) {
        return m;
    }
    #[inline(never)]
    fn apart<T: Real>(x: &[T], largest: bool) -> T {
        extreme_in_arrays::<T, Baseline>(x, largest)
    }
    if I::CALLS {
        apart(x, largest)
    } else {
        extreme_in_arrays::<T, I>(x, largest)
    }
}

#[inline(always)]
fn extreme_in_arrays<T: Real, I: Isa>(x: &[T], largest: bool) -> T {
    let better = |a: T, b: T| {
        let take = if largest { b > a } else { b < a };
        if take { b } else { a }
    };
    let start = if largest {
        T::neg_infinity()
    } else {
        T::infinity()
    };
    let (mut acc, mut nan) = ([start; W], false);
    for c in x.chunks(W) {
        for k in T::Lane::<I>::places(c.len()) {
            nan |= c[k].is_nan();
            acc[k] = better(acc[k], c[k]);
        }
    }
    if nan {
        T::nan()
    } else {
        fold::<T, I>(acc, better)
    }
}

/// Whether the elements are surely at most `bound` in magnitude: sums of the squares of some are at most its square. It takes one
/// instruction where a comparison and what comes with it take three; `false` says nothing, and there may be no such way.
#[inline(always)]
pub(super) fn surely_within<T: Real, I: Isa>(x: &[T], bound: f64) -> Option<bool> {
    #[cfg(target_arch = "x86_64")]
    return x86::surely_within::<T, I>(x, bound);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (x, bound);
        None
    }
}

#[inline(always)]
fn fold<T: Real, I: Isa>(mut acc: [T; W], f: impl Fn(T, T) -> T) -> T {
    let mut w = W / 2;
    while w > 0 {
        for k in T::Lane::<I>::places(w) {
            acc[k] = f(acc[k], acc[k + w]);
        }
        w /= 2;
    }
    acc[0]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Isa, Real};
    use crate::Element;
    use crate::simd::{Avx2, Avx512, same_type};
    use num_traits::Float;
    use std::arch::x86_64::*;

    /// A register of `N` elements.
    ///
    /// # Safety
    /// The functions may be called only where the instruction set is available, and `load` reads `N` elements.
    trait Register: Copy {
        type Elem: Real;
        const N: usize;
        unsafe fn splat(x: Self::Elem) -> Self;
        unsafe fn load(x: *const Self::Elem) -> Self;
        /// The elements of a slice, fewer than `N`, with `fill` behind.
        unsafe fn load_part(x: &[Self::Elem], fill: Self::Elem) -> Self;
        unsafe fn add(self, o: Self) -> Self;
        unsafe fn sub(self, o: Self) -> Self;
        unsafe fn mul(self, o: Self) -> Self;
        /// self² + o.
        unsafe fn square_add(self, o: Self) -> Self;
        /// Whether every lane is at most that of `o`; not if one is NaN.
        unsafe fn at_most(self, o: Self) -> bool;
        /// The larger one, `o` where one is NaN.
        unsafe fn max(self, o: Self) -> Self;
        /// The smaller one, `o` where one is NaN.
        unsafe fn min(self, o: Self) -> Self;
        /// Not 0 if a lane of one or the other is NaN.
        unsafe fn unordered(self, o: Self) -> u32;
        unsafe fn total(self) -> Self::Elem;
        unsafe fn largest(self) -> Self::Elem;
        unsafe fn smallest(self) -> Self::Elem;
    }

    macro_rules! register {
        ($reg:ident, $t:ident, $n:literal, $splat:ident $load:ident $add:ident $sub:ident $mul:ident $fma:ident $max:ident $min:ident,
         |$part:ident, $fill:ident| $load_part:expr,
         |$a:ident, $b:ident| unordered $unordered:expr, at_most $at_most:expr, |$v:ident| $total:expr, $largest:expr, $smallest:expr) => {
            // SAFETY of the blocks: the trait requires the instruction set, and N elements to load, from the caller.
            impl Register for $reg {
                type Elem = $t;
                const N: usize = $n;
                #[inline(always)]
                unsafe fn splat(x: $t) -> Self {
                    // SAFETY: see above.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(x: *const $t) -> Self {
                    // SAFETY: see above.
                    unsafe { $load(x) }
                }
                #[inline(always)]
                unsafe fn load_part($part: &[$t], $fill: $t) -> Self {
                    // SAFETY: see above; no element behind the slice is read.
                    unsafe { $load_part }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $add(self, o) }
                }
                #[inline(always)]
                unsafe fn sub(self, o: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $sub(self, o) }
                }
                #[inline(always)]
                unsafe fn mul(self, o: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $mul(self, o) }
                }
                #[inline(always)]
                unsafe fn square_add(self, o: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $fma(self, self, o) }
                }
                #[inline(always)]
                unsafe fn at_most(self, o: Self) -> bool {
                    let ($a, $b) = (self, o);
                    // SAFETY: see above.
                    let lanes = unsafe { $at_most as u32 };
                    lanes == (1u32 << $n) - 1
                }
                #[inline(always)]
                unsafe fn max(self, o: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $max(self, o) }
                }
                #[inline(always)]
                unsafe fn min(self, o: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $min(self, o) }
                }
                #[inline(always)]
                unsafe fn unordered(self, o: Self) -> u32 {
                    let ($a, $b) = (self, o);
                    // SAFETY: see above.
                    unsafe { $unordered as u32 }
                }
                #[inline(always)]
                unsafe fn total(self) -> $t {
                    let $v = self;
                    // SAFETY: see above.
                    unsafe { $total }
                }
                #[inline(always)]
                unsafe fn largest(self) -> $t {
                    let $v = self;
                    // SAFETY: see above.
                    unsafe { $largest }
                }
                #[inline(always)]
                unsafe fn smallest(self) -> $t {
                    let $v = self;
                    // SAFETY: see above.
                    unsafe { $smallest }
                }
            }
        };
    }
    register!(
        __m512, f32, 16, _mm512_set1_ps _mm512_loadu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_fmadd_ps _mm512_max_ps _mm512_min_ps,
        |x, fill| _mm512_mask_loadu_ps(_mm512_set1_ps(fill), !(!0 << x.len()), x.as_ptr()),
        |a, b| unordered _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b), at_most _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b),
        |v| _mm512_reduce_add_ps(v), _mm512_reduce_max_ps(v), _mm512_reduce_min_ps(v)
    );
    register!(
        __m512d, f64, 8, _mm512_set1_pd _mm512_loadu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_fmadd_pd _mm512_max_pd _mm512_min_pd,
        |x, fill| _mm512_mask_loadu_pd(_mm512_set1_pd(fill), !(!0 << x.len()), x.as_ptr()),
        |a, b| unordered _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, b), at_most _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b),
        |v| _mm512_reduce_add_pd(v), _mm512_reduce_max_pd(v), _mm512_reduce_min_pd(v)
    );
    register!(
        __m256, f32, 8, _mm256_set1_ps _mm256_loadu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_fmadd_ps _mm256_max_ps _mm256_min_ps,
        |x, fill| by_way_of_memory(x, fill),
        |a, b| unordered _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, b)),
        at_most _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b)),
        |v| fold(std::mem::transmute::<__m256, [f32; 8]>(v), |a, b| a + b),
        fold(std::mem::transmute::<__m256, [f32; 8]>(v), f32::max),
        fold(std::mem::transmute::<__m256, [f32; 8]>(v), f32::min)
    );
    register!(
        __m256d, f64, 4, _mm256_set1_pd _mm256_loadu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_fmadd_pd _mm256_max_pd _mm256_min_pd,
        |x, fill| by_way_of_memory(x, fill),
        |a, b| unordered _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_UNORD_Q>(a, b)),
        at_most _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LE_OQ>(a, b)),
        |v| fold(std::mem::transmute::<__m256d, [f64; 4]>(v), |a, b| a + b),
        fold(std::mem::transmute::<__m256d, [f64; 4]>(v), f64::max),
        fold(std::mem::transmute::<__m256d, [f64; 4]>(v), f64::min)
    );

    #[inline(always)]
    fn fold<T: Real, const N: usize>(mut lanes: [T; N], f: impl Fn(T, T) -> T) -> T {
        let mut half = N / 2;
        while half > 0 {
            for k in 0..half {
                lanes[k] = f(lanes[k], lanes[k + half]);
            }
            half /= 2;
        }
        lanes[0]
    }

    /// [`Register::load_part`] without masks.
    ///
    /// # Safety
    /// The instruction set is available.
    #[inline(always)]
    unsafe fn by_way_of_memory<R: Register>(x: &[R::Elem], fill: R::Elem) -> R {
        let mut lanes = [fill; 16];
        lanes[..x.len()].copy_from_slice(x);
        // SAFETY: no register has more than 16 elements.
        unsafe { R::load(lanes.as_ptr()) }
    }

    /// # Safety
    /// The instruction set is available.
    #[inline(always)]
    unsafe fn sum_in<R: Register, const TERM: u8>(x: &[R::Elem], y: &[R::Elem]) -> R::Elem {
        let n = x.len();
        let y = &y[..n];
        // SAFETY: every load ends at `n`, and the caller vouches for the instruction set.
        unsafe {
            let mut acc = [R::splat(R::Elem::ZERO); 4];
            let mut i = 0;
            while i + 4 * R::N <= n {
                for (k, a) in acc.iter_mut().enumerate() {
                    *a = a.add(term_at::<R, TERM>(x, y, i + k * R::N));
                }
                i += 4 * R::N;
            }
            while i + R::N <= n {
                acc[0] = acc[0].add(term_at::<R, TERM>(x, y, i));
                i += R::N;
            }
            if i < n {
                let x = R::load_part(&x[i..], R::Elem::ZERO);
                let y = R::load_part(&y[i..], R::Elem::ZERO);
                acc[1] = acc[1].add(term::<R, TERM>(x, y));
            }
            acc[0].add(acc[1]).add(acc[2].add(acc[3])).total()
        }
    }

    /// What [`sum_in`] adds up: x, x·y or (x - y)².
    const VALUE: u8 = 0;
    const PRODUCT: u8 = 1;
    const SQUARE_DIFFERENCE: u8 = 2;

    /// # Safety
    /// The instruction set is available.
    #[inline(always)]
    unsafe fn term<R: Register, const TERM: u8>(x: R, y: R) -> R {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            match TERM {
                VALUE => x,
                PRODUCT => x.mul(y),
                _ => {
                    let d = x.sub(y);
                    d.mul(d)
                }
            }
        }
    }

    /// The terms of a register's elements from `at` on.
    ///
    /// # Safety
    /// The instruction set is available, and both have the elements.
    #[inline(always)]
    unsafe fn term_at<R: Register, const TERM: u8>(x: &[R::Elem], y: &[R::Elem], at: usize) -> R {
        debug_assert!(at + R::N <= x.len().min(y.len()));
        // SAFETY: by the contract.
        unsafe { term::<R, TERM>(R::load(x.as_ptr().add(at)), R::load(y.as_ptr().add(at))) }
    }

    /// # Safety
    /// The instruction set is available.
    #[inline(always)]
    unsafe fn extreme_in<R: Register>(x: &[R::Elem], largest: bool) -> R::Elem {
        let start = if largest {
            R::Elem::from_f64(f64::NEG_INFINITY)
        } else {
            R::Elem::from_f64(f64::INFINITY)
        };
        // SAFETY: every load lies in its chunk, and the caller vouches for the instruction set.
        unsafe {
            let better = |v: R, a: R| if largest { v.max(a) } else { v.min(a) };
            let mut acc = [R::splat(start); 4];
            let mut nan = 0;
            let chunks = x.chunks_exact(4 * R::N);
            let tail = chunks.remainder().chunks_exact(R::N);
            let last = tail.remainder();
            for c in chunks {
                let mut v = acc;
                for k in 0..4 {
                    v[k] = R::load(c.as_ptr().add(k * R::N));
                    acc[k] = better(v[k], acc[k]);
                }
                nan |= v[0].unordered(v[1]) | v[2].unordered(v[3]);
            }
            for c in tail {
                let v = R::load(c.as_ptr());
                acc[0] = better(v, acc[0]);
                nan |= v.unordered(v);
            }
            if !last.is_empty() {
                let v = R::load_part(last, start);
                acc[1] = better(v, acc[1]);
                nan |= v.unordered(v);
            }
            if nan != 0 {
                return Float::nan();
            }
            let acc = better(better(acc[0], acc[1]), better(acc[2], acc[3]));
            if largest {
                acc.largest()
            } else {
                acc.smallest()
            }
        }
    }

    /// Squares that [`surely_within`] adds up in a lane: few, so that ordinary numbers stay far below a bound.
    const SQUARES: usize = 16;

    /// # Safety
    /// The instruction set is available.
    #[inline(always)]
    unsafe fn surely_within_in<R: Register>(x: &[R::Elem], bound: f64) -> bool {
        // SAFETY: every load lies in its chunk, and the caller vouches for the instruction set.
        unsafe {
            let zero = R::splat(R::Elem::ZERO);
            let most = R::splat(R::Elem::from_f64(bound * bound));
            for part in x.chunks(SQUARES * 4 * R::N) {
                let mut acc = [zero; 4];
                let chunks = part.chunks_exact(4 * R::N);
                let tail = chunks.remainder().chunks_exact(R::N);
                let last = tail.remainder();
                for c in chunks {
                    for (k, a) in acc.iter_mut().enumerate() {
                        *a = R::load(c.as_ptr().add(k * R::N)).square_add(*a);
                    }
                }
                for c in tail {
                    acc[0] = R::load(c.as_ptr()).square_add(acc[0]);
                }
                if !last.is_empty() {
                    acc[1] = R::load_part(last, R::Elem::ZERO).square_add(acc[1]);
                }
                if !acc.iter().all(|a| a.at_most(most)) {
                    return false;
                }
            }
            true
        }
    }

    /// A slice of the type that it has anyway.
    #[inline(always)]
    fn cast<T: Real, U: Real>(x: &[T]) -> &[U] {
        assert!(same_type::<T, U>());
        // SAFETY: the types are the same.
        unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
    }

    /// A number of the type that it has anyway.
    #[inline(always)]
    fn same<T: Real, U: Real>(x: U) -> T {
        T::from_f64(x.as_f64())
    }

    macro_rules! pick {
        ($f:ident $([$k:ident])?, $T:ident, $I:ident, $slices:tt $(, $more:ident)?; $out:path) => {
            // A kernel compiled for an instruction set runs only where it is available, see `simd::dispatch`.
            match (same_type::<$I, Avx512>(), same_type::<$I, Avx2>(), same_type::<$T, f32>()) {
                (true, _, true) => Some($out(pick!(@ $f [__m512 $(, $k)?] $T f32 $slices $(, $more)?))),
                (true, _, false) => Some($out(pick!(@ $f [__m512d $(, $k)?] $T f64 $slices $(, $more)?))),
                (_, true, true) => Some($out(pick!(@ $f [__m256 $(, $k)?] $T f32 $slices $(, $more)?))),
                (_, true, false) => Some($out(pick!(@ $f [__m256d $(, $k)?] $T f64 $slices $(, $more)?))),
                _ => None,
            }
        };
        (@ $f:ident [$($par:tt)+] $T:ident $E:ident ($($x:ident),+) $(, $more:ident)?) => {
            // SAFETY: see above.
            unsafe { $f::<$($par)+>($(cast::<$T, $E>($x)),+ $(, $more)?) }
        };
    }

    #[inline(always)]
    pub(super) fn sum<T: Real, I: Isa>(x: &[T]) -> Option<T> {
        pick!(sum_in[VALUE], T, I, (x, x); same::<T, _>)
    }

    #[inline(always)]
    pub(super) fn sum_products<T: Real, I: Isa>(x: &[T], y: &[T]) -> Option<T> {
        pick!(sum_in[PRODUCT], T, I, (x, y); same::<T, _>)
    }

    #[inline(always)]
    pub(super) fn sum_square_differences<T: Real, I: Isa>(x: &[T], y: &[T]) -> Option<T> {
        pick!(sum_in[SQUARE_DIFFERENCE], T, I, (x, y); same::<T, _>)
    }

    #[inline(always)]
    pub(super) fn extreme<T: Real, I: Isa>(x: &[T], largest: bool) -> Option<T> {
        pick!(extreme_in, T, I, (x), largest; same::<T, _>)
    }

    #[inline(always)]
    pub(super) fn surely_within<T: Real, I: Isa>(x: &[T], bound: f64) -> Option<bool> {
        pick!(surely_within_in, T, I, (x), bound; std::convert::identity)
    }
}
