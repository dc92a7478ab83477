//! The operations of the tape, one file per family.

use std::cell::RefCell;

pub mod activation;
pub mod arrange;
pub mod attention;
pub(crate) mod axes;
pub mod batch;
pub(crate) mod compose;
pub mod conv;
pub mod ctc;
pub mod diagonal;
pub mod einsum;
pub mod elementwise;
pub mod fft;
pub mod index;
pub mod interpolate;
pub mod linalg;
pub(crate) mod lookup;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod number;
pub mod pad;
pub mod pool;
pub mod product;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod scan;
pub mod shape;
pub mod softmax;
pub mod sort;
pub(crate) mod variance;
pub mod windows;

/// Makes generic functions concrete for `f32` and `f64` in this crate, so that they are compiled once, with its settings:
/// kernels, and the recording of the operations that most programs use.
macro_rules! compiled_here {
    ($(#[$doc:meta])* $trait:ident {
        $($(#[$attr:meta])* fn $name:ident $(<$lt:lifetime>)? ($($a:ident: $t:ty),* $(,)?) $(-> $r:ty)? = $imp:path;)*
    }) => {
        $(#[$doc])*
        pub trait $trait: wengert_tensor::Real {
            $(#[doc(hidden)] $(#[$attr])* fn $name $(<$lt>)? ($($a: $t),*) $(-> $r)? where Self: crate::Float;)*
        }
        impl $trait for f32 {
            $($(#[$attr])* fn $name $(<$lt>)? ($($a: $t),*) $(-> $r)? { $imp($($a),*) })*
        }
        impl $trait for f64 {
            $($(#[$attr])* fn $name $(<$lt>)? ($($a: $t),*) $(-> $r)? { $imp($($a),*) })*
        }
    };
}
pub(crate) use compiled_here;

/// All kernels of this crate, for one element type.
pub trait Kernels:
    product::ProductKernels
    + softmax::SoftmaxKernels
    + index::IndexKernels
    + matmul::MatmulKernels
    + lookup::LookupKernels
    + shape::ShapeKernels
    + scan::ScanKernels
    + sort::SortKernels
    + activation::ActivationKernels
    + norm::NormKernels
    + variance::VarianceKernels
    + attention::AttentionKernels
    + linalg::LinalgKernels
    + fft::FftKernels
    + conv::ConvKernels
    + batch::BatchKernels
    + ctc::CtcKernels
    + pool::kernels::PoolKernels
    + interpolate::InterpolateKernels
    + pad::PadKernels
    + recurrent::RecurrentKernels
    + Scratch
{
}
impl Kernels for f32 {}
impl Kernels for f64 {}

/// Working memory of kernels, kept by each thread between calls.
pub trait Scratch: wengert_tensor::Real {
    /// `f` with a slice of `n` numbers of arbitrary contents.
    #[doc(hidden)]
    fn with_scratch<R>(n: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

macro_rules! scratch {
    ($($t:ty),*) => {$(
        impl Scratch for $t {
            fn with_scratch<R>(n: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local!(static KEPT: RefCell<Vec<$t>> = const { RefCell::new(Vec::new()) });
                // Taken out while in use: a thread that steals another task meanwhile finds an empty one.
                #[inline(never)]
                fn take(n: usize) -> Vec<$t> {
                    let mut memory = KEPT.with(|k| std::mem::take(&mut *k.borrow_mut()));
                    if memory.len() < n {
                        memory.resize(n, 0.0);
                    }
                    memory
                }
                #[inline(never)]
                fn put(memory: Vec<$t>) {
                    KEPT.with(|k| *k.borrow_mut() = memory);
                }
                // From the start of a line on: a register that crosses lines is stored at half the speed.
                const LINE: usize = 64 / size_of::<$t>();
                let mut memory = take(n + LINE);
                let start = memory.as_ptr().align_offset(64).min(LINE);
                let r = f(&mut memory[start..start + n]);
                put(memory);
                r
            }
        }
    )*};
}
scratch!(f32, f64);
