//! The operations of the tape, one file per family.

pub mod activation;
pub mod arrange;
pub(crate) mod compose;
pub mod diagonal;
pub mod einsum;
pub mod elementwise;
pub mod index;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod pad;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod shape;
pub mod softmax;
pub mod sort;
pub mod windows;

/// Makes generic kernels concrete for `f32` and `f64` in this crate, so that they are compiled once, with its settings.
macro_rules! compiled_here {
    ($(#[$doc:meta])* $trait:ident { $(fn $name:ident($($a:ident: $t:ty),* $(,)?) $(-> $r:ty)? = $imp:path;)* }) => {
        $(#[$doc])*
        pub trait $trait: wengert_tensor::Real {
            $(#[doc(hidden)] fn $name($($a: $t),*) $(-> $r)?;)*
        }
        impl $trait for f32 {
            $(fn $name($($a: $t),*) $(-> $r)? { $imp($($a),*) })*
        }
        impl $trait for f64 {
            $(fn $name($($a: $t),*) $(-> $r)? { $imp($($a),*) })*
        }
    };
}
pub(crate) use compiled_here;

/// All kernels of this crate, for one element type.
pub trait Kernels:
    softmax::SoftmaxKernels
    + index::IndexKernels
    + matmul::MatmulKernels
    + shape::ShapeKernels
    + scan::ScanKernels
    + sort::SortKernels
    + activation::ActivationKernels
    + norm::NormKernels
{
}
impl Kernels for f32 {}
impl Kernels for f64 {}
