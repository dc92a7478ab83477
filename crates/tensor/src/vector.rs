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

    macro_rules! avx512 {
        ($name:ident, $elem:ty, $reg:ty, $lanes:literal, $mask:ty, $splat:ident, $zero:ident, $load:ident, $store:ident,
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
                unsafe fn relu(self) -> Self {
                    // SAFETY: see above.
                    unsafe { $name($movz($cmp::<_CMP_NLE_UQ>(self.0, $zero()), self.0)) }
                }
            }
        };
    }

    avx512!(
        F32x16,
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
        ($name:ident, $elem:ty, $reg:ty, $lanes:literal, $ones:ident, $splat:ident, $zero:ident, $load:ident,
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
                unsafe fn relu(self) -> Self {
                    // SAFETY: see above.
                    unsafe { $name($and($cmp::<_CMP_NLE_UQ>(self.0, $zero()), self.0)) }
                }
            }
        };
    }

    avx2!(
        F32x8,
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
        let mut r = [T::ZERO; N];
        for i in 0..count {
            // SAFETY: the caller promises count elements.
            r[i] = unsafe { *p.add(i) };
        }
        Wide(r)
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut T, count: usize) {
        for i in 0..count {
            // SAFETY: the caller promises count elements.
            unsafe { *p.add(i) = self.0[i] };
        }
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
