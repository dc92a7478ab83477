//! Vector registers: the few operations that the kernels are written in, for each instruction set.

/// A register of [`Vector::LANES`] elements.
///
/// # Safety
/// All functions may be called only where the instruction set of the implementor is available. Functions that take
/// pointers access `LANES` elements, the `_part` forms the first `count` of them, which must be valid.
pub(crate) trait Vector: Copy {
    /// The element.
    type Elem: crate::Real;
    /// Which of the first lanes take part in a partial access.
    type Mask: Copy;
    /// Elements per register.
    const LANES: usize;
    /// All lanes `x`.
    unsafe fn splat(x: Self::Elem) -> Self;
    /// All lanes zero.
    unsafe fn zero() -> Self;
    /// Reads `LANES` elements; no alignment is needed.
    unsafe fn load(p: *const Self::Elem) -> Self;
    /// Writes `LANES` elements; no alignment is needed.
    unsafe fn store(self, p: *mut Self::Elem);
    /// The first `count` lanes.
    unsafe fn mask(count: usize) -> Self::Mask;
    /// Reads the lanes of `mask`, zero elsewhere.
    unsafe fn load_part(p: *const Self::Elem, mask: Self::Mask) -> Self;
    /// Writes the lanes of `mask`.
    unsafe fn store_part(self, p: *mut Self::Elem, mask: Self::Mask);
    /// Asks for the cache line of `p`, which need not be valid.
    unsafe fn prefetch(p: *const Self::Elem);
    /// Asks for the cache line of `p` in the second level of the cache only.
    unsafe fn prefetch2(p: *const Self::Elem);
    /// `a * b + self`.
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// `self * o`.
    unsafe fn mul(self, o: Self) -> Self;
    /// `self + o`.
    unsafe fn add(self, o: Self) -> Self;
    /// `self - o`.
    unsafe fn sub(self, o: Self) -> Self;
    /// The elements with even places of `self` and `o`, one behind the other, and those with odd places.
    unsafe fn deinterleave(self, o: Self) -> (Self, Self);
    /// The opposite: elements of `self` and `o` in turn.
    unsafe fn interleave(self, o: Self) -> (Self, Self);
    /// `+0` for `x <= 0`, else `x`, NaN included.
    unsafe fn relu(self) -> Self;
    /// Sum of all lanes: upper half onto lower half, until one is left.
    #[inline(always)]
    unsafe fn sum(self) -> Self::Elem {
        let mut lanes = [<Self::Elem as crate::Element>::ZERO; 16];
        // SAFETY: no register has more than 16 lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    /// Pairs of neighbours: `apart` gives the even and the odd places of two registers, `in_turn` undoes it.
    macro_rules! pairs {
        ($name:ident, $feature:literal, $reg:ty, |$a:ident, $b:ident| $apart:expr, $in_turn:expr) => {
            mod $name {
                use super::*;
                #[inline]
                #[target_feature(enable = $feature)]
                pub fn apart($a: $reg, $b: $reg) -> ($reg, $reg) {
                    $apart
                }
                #[inline]
                #[target_feature(enable = $feature)]
                pub fn in_turn($a: $reg, $b: $reg) -> ($reg, $reg) {
                    $in_turn
                }
            }
        };
    }
    pairs!(
        f32x16,
        "avx512f",
        __m512,
        |a, b| {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            (
                _mm512_permutex2var_ps(a, even, b),
                _mm512_permutex2var_ps(a, odd, b),
            )
        },
        {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (
                _mm512_permutex2var_ps(a, low, b),
                _mm512_permutex2var_ps(a, high, b),
            )
        }
    );
    pairs!(
        f64x8,
        "avx512f",
        __m512d,
        |a, b| {
            let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
            let odd = _mm512_add_epi64(even, _mm512_set1_epi64(1));
            (
                _mm512_permutex2var_pd(a, even, b),
                _mm512_permutex2var_pd(a, odd, b),
            )
        },
        {
            let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
            (
                _mm512_permutex2var_pd(a, low, b),
                _mm512_permutex2var_pd(a, high, b),
            )
        }
    );
    pairs!(
        f32x8,
        "avx2",
        __m256,
        |a, b| {
            // Halves of registers: a, b, a, b.
            let order =
                |x| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(x)));
            (
                order(_mm256_shuffle_ps::<0x88>(a, b)),
                order(_mm256_shuffle_ps::<0xDD>(a, b)),
            )
        },
        {
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            (
                _mm256_permute2f128_ps::<0x20>(low, high),
                _mm256_permute2f128_ps::<0x31>(low, high),
            )
        }
    );
    pairs!(
        f64x4,
        "avx2",
        __m256d,
        |a, b| {
            let order = |x| _mm256_permute4x64_pd::<0b11_01_10_00>(x);
            (
                order(_mm256_unpacklo_pd(a, b)),
                order(_mm256_unpackhi_pd(a, b)),
            )
        },
        {
            let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            (
                _mm256_permute2f128_pd::<0x20>(low, high),
                _mm256_permute2f128_pd::<0x31>(low, high),
            )
        }
    );

    macro_rules! avx512 {
        ($name:ident, $pairs:ident, $elem:ty, $reg:ty, $lanes:literal, $mask:ty, $splat:ident, $zero:ident, $load:ident, $store:ident,
         $loadz:ident, $storem:ident, $fma:ident, $mul:ident, $add:ident, $sub:ident, $cmp:ident, $movz:ident) => {
            #[derive(Clone, Copy)]
            #[repr(transparent)]
            pub(crate) struct $name(pub $reg);

            // SAFETY of every block below: the trait requires AVX-512 F, DQ, BW and VL from the caller, and that the
            // addressed lanes are valid.
            impl Vector for $name {
                type Elem = $elem;
                type Mask = $mask;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn splat(x: $elem) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $splat(x) })
                }
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $zero() })
                }
                #[inline(always)]
                unsafe fn load(p: *const $elem) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $load(p) })
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $elem) {
                    // SAFETY: see above.
                    unsafe { $store(p, self.0) }
                }
                #[inline(always)]
                unsafe fn mask(count: usize) -> $mask {
                    ((1u32 << count) - 1) as $mask
                }
                #[inline(always)]
                unsafe fn load_part(p: *const $elem, mask: $mask) -> Self {
                    // SAFETY: see above; masked lanes are not accessed.
                    $name(unsafe { $loadz(mask, p) })
                }
                #[inline(always)]
                unsafe fn store_part(self, p: *mut $elem, mask: $mask) {
                    // SAFETY: see above; masked lanes are not accessed.
                    unsafe { $storem(p, mask, self.0) }
                }
                #[inline(always)]
                unsafe fn prefetch(p: *const $elem) {
                    // SAFETY: a prefetch does not fault.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
                }
                #[inline(always)]
                unsafe fn prefetch2(p: *const $elem) {
                    // SAFETY: as above.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
                }
                #[inline(always)]
                unsafe fn fma(self, a: Self, b: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $fma(a.0, b.0, self.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, o: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $mul(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $add(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn sub(self, o: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $sub(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn deinterleave(self, o: Self) -> (Self, Self) {
                    // SAFETY: see above.
                    let (even, odd) = unsafe { $pairs::apart(self.0, o.0) };
                    ($name(even), $name(odd))
                }
                #[inline(always)]
                unsafe fn interleave(self, o: Self) -> (Self, Self) {
                    // SAFETY: see above.
                    let (first, second) = unsafe { $pairs::in_turn(self.0, o.0) };
                    ($name(first), $name(second))
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: see above.
                    unsafe { $name($movz($cmp::<_CMP_NLE_UQ>(self.0, $zero()), self.0)) }
                }
            }
        };
    }

    avx512!(
        F32x16,
        f32x16,
        f32,
        __m512,
        16,
        __mmask16,
        _mm512_set1_ps,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_maskz_loadu_ps,
        _mm512_mask_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_mul_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_cmp_ps_mask,
        _mm512_maskz_mov_ps
    );
    avx512!(
        F64x8,
        f64x8,
        f64,
        __m512d,
        8,
        __mmask8,
        _mm512_set1_pd,
        _mm512_setzero_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_maskz_loadu_pd,
        _mm512_mask_storeu_pd,
        _mm512_fmadd_pd,
        _mm512_mul_pd,
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_cmp_pd_mask,
        _mm512_maskz_mov_pd
    );

    /// `mask(count)` for AVX2 is eight (four) words of ones followed by zeros, read from here at a distance.
    static ONES: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
    static ONES32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    macro_rules! avx2 {
        ($name:ident, $pairs:ident, $elem:ty, $reg:ty, $lanes:literal, $ones:ident, $splat:ident, $zero:ident, $load:ident,
         $store:ident, $loadm:ident, $storem:ident, $fma:ident, $mul:ident, $add:ident, $sub:ident, $cmp:ident, $and:ident) => {
            #[derive(Clone, Copy)]
            #[repr(transparent)]
            pub(crate) struct $name(pub $reg);

            // SAFETY of every block below: the trait requires AVX2 and FMA from the caller, and that the addressed
            // lanes are valid.
            impl Vector for $name {
                type Elem = $elem;
                type Mask = __m256i;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn splat(x: $elem) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $splat(x) })
                }
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $zero() })
                }
                #[inline(always)]
                unsafe fn load(p: *const $elem) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $load(p) })
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $elem) {
                    // SAFETY: see above.
                    unsafe { $store(p, self.0) }
                }
                #[inline(always)]
                unsafe fn mask(count: usize) -> __m256i {
                    // SAFETY: count <= LANES, so LANES words are left from LANES - count on.
                    unsafe { _mm256_loadu_si256($ones.as_ptr().add($lanes - count).cast()) }
                }
                #[inline(always)]
                unsafe fn load_part(p: *const $elem, mask: __m256i) -> Self {
                    // SAFETY: see above; masked lanes are not accessed.
                    $name(unsafe { $loadm(p, mask) })
                }
                #[inline(always)]
                unsafe fn store_part(self, p: *mut $elem, mask: __m256i) {
                    // SAFETY: see above; masked lanes are not accessed.
                    unsafe { $storem(p, mask, self.0) }
                }
                #[inline(always)]
                unsafe fn prefetch(p: *const $elem) {
                    // SAFETY: a prefetch does not fault.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
                }
                #[inline(always)]
                unsafe fn prefetch2(p: *const $elem) {
                    // SAFETY: as above.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
                }
                #[inline(always)]
                unsafe fn fma(self, a: Self, b: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $fma(a.0, b.0, self.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, o: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $mul(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $add(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn sub(self, o: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $sub(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn deinterleave(self, o: Self) -> (Self, Self) {
                    // SAFETY: see above.
                    let (even, odd) = unsafe { $pairs::apart(self.0, o.0) };
                    ($name(even), $name(odd))
                }
                #[inline(always)]
                unsafe fn interleave(self, o: Self) -> (Self, Self) {
                    // SAFETY: see above.
                    let (first, second) = unsafe { $pairs::in_turn(self.0, o.0) };
                    ($name(first), $name(second))
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: see above.
                    unsafe { $name($and($cmp::<_CMP_NLE_UQ>(self.0, $zero()), self.0)) }
                }
            }
        };
    }

    avx2!(
        F32x8,
        f32x8,
        f32,
        __m256,
        8,
        ONES32,
        _mm256_set1_ps,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_maskload_ps,
        _mm256_maskstore_ps,
        _mm256_fmadd_ps,
        _mm256_mul_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_cmp_ps,
        _mm256_and_ps
    );
    avx2!(
        F64x4,
        f64x4,
        f64,
        __m256d,
        4,
        ONES,
        _mm256_set1_pd,
        _mm256_setzero_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_maskload_pd,
        _mm256_maskstore_pd,
        _mm256_fmadd_pd,
        _mm256_mul_pd,
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_cmp_pd,
        _mm256_and_pd
    );
}

/// `count` elements, then zeros. A function of its own: at the edges of kernels it occurs once for every register.
///
/// # Safety
/// The elements are valid, and no more than N.
#[inline(never)]
unsafe fn part<T: crate::Real, const N: usize>(p: *const T, count: usize) -> [T; N] {
    let mut r = [T::ZERO; N];
    // SAFETY: the contract of the function.
    unsafe { std::ptr::copy_nonoverlapping(p, r.as_mut_ptr(), count) };
    r
}

/// A register of the baseline, as an array that the compiler keeps in one.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Wide<T, const N: usize>([T; N]);

impl<T: crate::Real, const N: usize> Vector for Wide<T, N> {
    type Elem = T;
    type Mask = usize;
    const LANES: usize = N;
    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Wide([x; N])
    }
    #[inline(always)]
    unsafe fn zero() -> Self {
        Wide([T::ZERO; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller promises N elements; an array of T is aligned as T.
        Wide(unsafe { p.cast::<[T; N]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: as in load.
        unsafe { p.cast::<[T; N]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count
    }
    #[inline(always)]
    unsafe fn load_part(p: *const T, count: usize) -> Self {
        // SAFETY: the contract of the function.
        Wide(unsafe { part(p, count) })
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut T, count: usize) {
        // SAFETY: the caller promises count elements, no more than N.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), p, count) }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const T) {}
    #[inline(always)]
    unsafe fn prefetch2(_: *const T) {}
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        let mut out = self;
        for i in 0..N {
            out.0[i] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                a.0[i].mul_add(b.0[i], self.0[i])
            } else {
                a.0[i] * b.0[i] + self.0[i]
            };
        }
        out
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        let mut out = self;
        for i in 0..N {
            out.0[i] = self.0[i] * o.0[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        let mut out = self;
        for i in 0..N {
            out.0[i] = self.0[i] + o.0[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        let mut out = self;
        for i in 0..N {
            out.0[i] = self.0[i] - o.0[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn deinterleave(self, o: Self) -> (Self, Self) {
        let both = |i: usize| if i < N { self.0[i] } else { o.0[i - N] };
        let (mut even, mut odd) = (self, o);
        for i in 0..N {
            even.0[i] = both(2 * i);
            odd.0[i] = both(2 * i + 1);
        }
        (even, odd)
    }
    #[inline(always)]
    unsafe fn interleave(self, o: Self) -> (Self, Self) {
        let turn = |i: usize| {
            if i.is_multiple_of(2) {
                self.0[i / 2]
            } else {
                o.0[i / 2]
            }
        };
        let (mut first, mut second) = (self, o);
        for i in 0..N {
            first.0[i] = turn(i);
            second.0[i] = turn(N + i);
        }
        (first, second)
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        let mut out = self;
        for i in 0..N {
            if self.0[i] <= T::ZERO {
                out.0[i] = T::ZERO;
            }
        }
        out
    }
}
