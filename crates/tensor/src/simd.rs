//! Instruction-set dispatch.
//!
//! A kernel is written once, as safe generic code over [`Isa`]; [`dispatch`] runs the copy that was compiled for the
//! best instruction set of this machine. The body must be `#[inline(always)]` all the way down, so that it is compiled
//! with the wider vector instructions.
//!
//! ```
//! use wengert_tensor::simd::{Isa, Kernel, dispatch};
//! struct Scale<'a>(&'a mut [f32], f32);
//! impl Kernel for Scale<'_> {
//!     type Output = ();
//!     #[inline(always)]
//!     fn run<I: Isa>(self) {
//!         for x in self.0.iter_mut() {
//!             *x *= self.1;
//!         }
//!     }
//! }
//! let mut v = [1.0, 2.0];
//! dispatch(Scale(&mut v, 3.0));
//! assert_eq!(v, [3.0, 6.0]);
//! ```

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
pub trait Isa:
    Copy + Default + PartialEq + PartialOrd + std::fmt::Debug + Send + Sync + 'static
{
    /// Whether a fused multiply-add is one instruction.
    const FMA: bool;
    /// Vector width in bytes.
    const WIDTH: usize;
    /// Whether elementary functions are calls instead of part of the loop: slower, but far less code to compile. So on
    /// x86-64 processors without AVX2, which date from before 2013.
    const CALLS: bool = false;
}

/// The baseline of the target: SSE2 on x86-64, NEON on aarch64.
#[derive(Clone, Copy, Default, Debug, PartialEq, PartialOrd)]
pub struct Baseline;
/// AVX2 with FMA.
#[derive(Clone, Copy, Default, Debug, PartialEq, PartialOrd)]
pub struct Avx2;
/// AVX-512 F, DQ, BW, VL.
#[derive(Clone, Copy, Default, Debug, PartialEq, PartialOrd)]
pub struct Avx512;

impl Isa for Baseline {
    const FMA: bool = cfg!(target_arch = "aarch64");
    const WIDTH: usize = 16;
    const CALLS: bool = cfg!(target_arch = "x86_64");
}
impl Isa for Avx2 {
    const FMA: bool = true;
    const WIDTH: usize = 32;
}
impl Isa for Avx512 {
    const FMA: bool = true;
    const WIDTH: usize = 64;
}

/// Whether two types, of an element or of an instruction set, are one: the compiler answers.
#[inline(always)]
pub(crate) fn same_type<A: 'static, B: 'static>() -> bool {
    std::any::TypeId::of::<A>() == std::any::TypeId::of::<B>()
}

/// The instruction set in use, for inspection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// See [`Baseline`].
    Baseline = 1,
    /// See [`Avx2`].
    Avx2 = 2,
    /// See [`Avx512`].
    Avx512 = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The instruction set that kernels run with on this machine.
///
/// The best one detected; the environment variable `WENGERT_ISA` (`baseline`, `avx2`, `avx512`), read once, can lower
/// it, so that every path can be tested on one machine. Results may differ in the last bits between levels.
#[inline]
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => detect(),
    }
}

#[cold]
fn detect() -> Level {
    let asked = match std::env::var("WENGERT_ISA").as_deref() {
        Ok("baseline") => Level::Baseline,
        Ok("avx2") => Level::Avx2,
        _ => Level::Avx512,
    };
    let chosen = best_level().min(asked);
    LEVEL.store(chosen as u8, Ordering::Relaxed);
    chosen
}

/// The best instruction set of this machine, whatever `WENGERT_ISA` says.
#[doc(hidden)]
pub fn best_level() -> Level {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi2")
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            return Level::Avx512;
        }
        return Level::Avx2;
    }
    Level::Baseline
}

/// A computation that is compiled once per instruction set; see the [module](self) page.
pub trait Kernel {
    /// What the computation returns.
    type Output;
    /// The body; mark it and what it calls `#[inline(always)]`.
    fn run<I: Isa>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2")]
fn run_avx512<K: Kernel>(k: K) -> K::Output {
    k.run::<Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2")]
fn run_avx2<K: Kernel>(k: K) -> K::Output {
    k.run::<Avx2>()
}

/// A function of its own, so that the body is not compiled again wherever [`dispatch`] is inlined.
#[inline(never)]
fn run_baseline<K: Kernel>(k: K) -> K::Output {
    k.run::<Baseline>()
}

/// Runs `k` with the instruction set of [`level`].
#[inline]
pub fn dispatch<K: Kernel>(k: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: `level` returns Avx512 only after the features were detected on this machine.
        Level::Avx512 => return unsafe { run_avx512(k) },
        // SAFETY: as above, for AVX2 and FMA.
        Level::Avx2 => return unsafe { run_avx2(k) },
        Level::Baseline => {}
    }
    run_baseline(k)
}

/// As [`dispatch`], with AVX2 in place of AVX-512: one copy of the code less, for bodies whose speed is that of memory
/// or of divisions and roots, which wider vectors do not do faster.
#[inline]
pub fn dispatch_narrow<K: Kernel>(k: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if level() != Level::Baseline {
        // SAFETY: `level` returns Avx2 or Avx512 only after AVX2 and FMA were detected on this machine.
        return unsafe { run_avx2(k) };
    }
    run_baseline(k)
}

/// As [`dispatch`] for single precision, as [`dispatch_narrow`] for double: for the larger kernels of layers, whose speed
/// matters in single precision and whose copies take long to compile.
#[inline]
pub fn dispatch_for<T, K: Kernel>(k: K) -> K::Output {
    if const { size_of::<T>() == 4 } {
        dispatch(k)
    } else {
        dispatch_narrow(k)
    }
}

/// Runs `k` with the instruction set of `level`, or with the best one of this machine if that is lower; for tests
/// that compare the paths.
#[doc(hidden)]
pub fn dispatch_at<K: Kernel>(level: Level, k: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    match level.min(best_level()) {
        // SAFETY: `best_level` says that this machine has the features.
        Level::Avx512 => return unsafe { run_avx512(k) },
        // SAFETY: as above, for AVX2 and FMA.
        Level::Avx2 => return unsafe { run_avx2(k) },
        Level::Baseline => {}
    }
    let _ = level;
    run_baseline(k)
}
