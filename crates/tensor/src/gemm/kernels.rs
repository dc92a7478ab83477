//! The table of kernels of each instruction set.

use super::conv::winograd;
use super::line::{self, Dots, DotsFn, Line, LineFn};
use super::pack::{self, Copy, CopyFn, PackRows, PackRowsFn, PackTiles, PackTilesFn};
use super::skinny::{self, Across, AcrossFn, Axpy, AxpyEndsFn, AxpyFn, Dot, DotFn, Fold, FoldFn};
use super::tile::{self, FinishFn, Job, Spot, TileFn, tile};
use super::transpose;
use crate::simd::Level;
use crate::vector::Wide;

/// The kernels of one instruction set for one element type.
pub(super) struct Kernels<T: 'static> {
    /// Elements per register.
    pub lanes: usize,
    /// Tile kernels for `mr` rows and `nv` registers at `[nv - 1][mr - 1]`.
    pub tiles: &'static [&'static [TileFn<T>]],
    /// Tile kernels for one register that copy the vector operand in passing, at `[mr - 1]`.
    pub packing_one: &'static [TileFn<T>],
    /// The same for `nv > 1` registers at `[nv - 2]`: for two rows less than a full tile has, and for a full tile (see
    /// [`tile_rows`](super::blocks::tile_rows)).
    pub packing: &'static [[TileFn<T>; 2]],
    /// See [`tile::finish`](super::tile::finish).
    pub finish: FinishFn<T>,
    /// Kernels for `nc` columns at `[nc - 1]`, see [`skinny`].
    pub dot: &'static [DotFn<T>; skinny::NARROW],
    /// See [`skinny`].
    pub across: AcrossFn<T>,
    /// See [`skinny`].
    pub fold: FoldFn<T>,
    /// Kernels for `mr` rows at `[mr - 1]`, see [`skinny`].
    axpy: &'static [AxpyFn<T>; skinny::NARROW],
    /// See [`skinny`].
    axpy_ends: AxpyEndsFn<T>,
    /// See [`pack`].
    pub pack_rows: PackRowsFn<T>,
    /// See [`pack`].
    pub pack_tiles: PackTilesFn<T>,
    /// See [`pack`].
    pub copy: CopyFn<T>,
    /// See [`line`](super::line).
    pub line: LineFn<T>,
    /// See [`line`](super::line).
    pub dots: DotsFn<T>,
    /// See [`winograd`].
    pub wino_in: winograd::InputFn<T>,
    /// See [`winograd`].
    pub wino_out: winograd::OutputFn<T>,
    /// See [`transpose`].
    pub transpose: transpose::TransposeFn<T>,
}

impl<T> Kernels<T> {
    /// Most rows of a tile.
    #[inline]
    pub fn mr(&self) -> usize {
        self.tiles[0].len()
    }
    /// Most registers of a row of a tile.
    #[inline]
    pub fn nv(&self) -> usize {
        self.tiles.len()
    }
    /// Rows of sums over rows, see [`Axpy`].
    ///
    /// # Safety
    /// All addressed elements are valid, with `rows` of them; the instruction set is available.
    pub unsafe fn axpy(&self, job: &Axpy<T>, rows: usize) {
        // SAFETY: the contract of the function.
        unsafe {
            (self.axpy[rows - 1])(job);
            if !job.cols.is_multiple_of(self.lanes) {
                (self.axpy_ends)(job, rows);
            }
        }
    }
}

// The compiler puts a module's functions in the order of their names' lengths. Tiles of one register, which small products run,
// are among the first, so that a program of small products has few pages of kernels in memory.
macro_rules! kernels {
    ($vis:vis $name:ident, $elem:ty, $v:ty, $lanes:expr, $transpose:expr, [$feature:meta], $nvs:tt, $mrs:tt, [$($more:literal),*], [$less:literal, $full:literal]) => {
        $vis static $name: Kernels<$elem> = {
            #[$feature]
            unsafe fn tile_of_one<const MR: usize>(job: &Job<$elem>, spot: &Spot<$elem>) {
                // SAFETY: the contract of the tile is passed on.
                unsafe { tile::<$v, MR, 1, false>(job, spot) }
            }
            #[$feature]
            unsafe fn tile_of_more<const MR: usize, const NV: usize>(job: &Job<$elem>, spot: &Spot<$elem>) {
                // SAFETY: as above.
                unsafe { tile::<$v, MR, NV, false>(job, spot) }
            }
            #[$feature]
            unsafe fn packing<const MR: usize, const NV: usize>(job: &Job<$elem>, spot: &Spot<$elem>) {
                // SAFETY: as above.
                unsafe { tile::<$v, MR, NV, true>(job, spot) }
            }
            #[$feature]
            unsafe fn finish(job: &Job<$elem>, spot: &Spot<$elem>, sums: *const $elem, mr: usize, nv: usize) {
                // SAFETY: as above.
                unsafe { tile::finish::<$v>(job, spot, sums, mr, nv) }
            }
            #[$feature]
            unsafe fn pack_rows(job: &PackRows<$elem>) {
                // SAFETY: as above.
                unsafe { pack::rows::<$v>(job) }
            }
            #[$feature]
            unsafe fn pack_tiles(job: &PackTiles<$elem>) {
                // SAFETY: as above.
                unsafe { pack::tiles::<$v>(job) }
            }
            #[$feature]
            unsafe fn copy(job: &Copy<'_, $elem>) {
                // SAFETY: as above.
                unsafe { pack::copy_rows::<$v>(job) }
            }
            #[$feature]
            unsafe fn line(job: &Line<'_, $elem>) {
                // SAFETY: as above.
                unsafe { line::line::<$v>(job) }
            }
            #[$feature]
            unsafe fn dots(job: &Dots<'_, $elem>) {
                // SAFETY: as above.
                unsafe { line::dots::<$v>(job) }
            }
            #[$feature]
            unsafe fn dot<const MR: usize, const NC: usize>(job: &Dot<$elem>) {
                // SAFETY: as above.
                unsafe { skinny::dot::<$v, MR, NC>(job) }
            }
            #[$feature]
            unsafe fn across(job: &Across<$elem>) {
                // SAFETY: as above.
                unsafe { skinny::across::<$v, { $lanes }>(job) }
            }
            #[$feature]
            unsafe fn fold(job: &Fold<$elem>) {
                // SAFETY: as above.
                unsafe { skinny::fold::<$v, { $lanes }>(job) }
            }
            #[$feature]
            unsafe fn axpy<const MR: usize>(job: &Axpy<$elem>) {
                // SAFETY: as above.
                unsafe { skinny::axpy::<$v, MR>(job) }
            }
            #[$feature]
            unsafe fn axpy_ends(job: &Axpy<$elem>, rows: usize) {
                // SAFETY: as above.
                unsafe { skinny::axpy_ends::<$v>(job, rows) }
            }
            #[$feature]
            unsafe fn wino_in(job: &winograd::Input<$elem>) {
                // SAFETY: as above.
                unsafe { winograd::input::<$v>(job) }
            }
            #[$feature]
            unsafe fn wino_out(job: &winograd::Output<$elem>) -> bool {
                // SAFETY: as above.
                unsafe { winograd::output::<$v>(job) }
            }
            Kernels {
                wino_in,
                wino_out,
                dot: &[dot::<8, 1>, dot::<4, 2>, dot::<3, 3>, dot::<2, 4>],
                across,
                fold,
                axpy: &[axpy::<1>, axpy::<2>, axpy::<3>, axpy::<4>],
                axpy_ends,
                pack_rows,
                pack_tiles,
                copy,
                line,
                dots,
                lanes: $lanes,
                tiles: kernels!(@rows tile_of_one, tile_of_more, $nvs, $mrs),
                packing_one: kernels!(@row packing, 1, $mrs),
                packing: &[$([packing::<$less, $more>, packing::<$full, $more>]),*],
                finish,
                transpose: $transpose,
            }
        };
    };
    (@rows $one:ident, $more:ident, [1, $($nv:literal),*], $mrs:tt) => {
        &[kernels!(@ones $one, $mrs), $(kernels!(@row $more, $nv, $mrs)),*]
    };
    (@ones $f:ident, [$($mr:literal),*]) => { &[$($f::<$mr>),*] };
    (@row $f:ident, $nv:literal, [$($mr:literal),*]) => { &[$($f::<$mr, $nv>),*] };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::vector::x86::{F32x8, F32x16, F64x4, F64x8};

    kernels!(pub F32_AVX512, f32, F32x16, 16, transpose::x86::f32_avx2,
        [target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")], [1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [2, 3], [6, 8]);
    kernels!(pub F64_AVX512, f64, F64x8, 8, transpose::x86::f64_avx2,
        [target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")], [1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [2, 3], [6, 8]);
    kernels!(pub F32_AVX2, f32, F32x8, 8, transpose::x86::f32_avx2,
        [target_feature(enable = "avx2,fma,bmi2")], [1, 2], [1, 2, 3, 4, 5, 6], [2], [4, 6]);
    kernels!(pub F64_AVX2, f64, F64x4, 4, transpose::x86::f64_avx2,
        [target_feature(enable = "avx2,fma,bmi2")], [1, 2], [1, 2, 3, 4, 5, 6], [2], [4, 6]);
}

kernels!(F32_BASE, f32, Wide<f32, 4>, 4, transpose::plain::<f32>, [inline(never)], [1, 2], [1, 2, 3, 4], [2], [2, 4]);
kernels!(F64_BASE, f64, Wide<f64, 2>, 2, transpose::plain::<f64>, [inline(never)], [1, 2], [1, 2, 3, 4], [2], [2, 4]);

/// The kernels for `f32` at `level`, which this machine must support.
pub(super) fn f32(level: Level) -> &'static Kernels<f32> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &x86::F32_AVX512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &x86::F32_AVX2,
        _ => &F32_BASE,
    }
}

/// The kernels for `f64` at `level`, which this machine must support.
pub(super) fn f64(level: Level) -> &'static Kernels<f64> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &x86::F64_AVX512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &x86::F64_AVX2,
        _ => &F64_BASE,
    }
}
