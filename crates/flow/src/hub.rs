//! The seam that keeps the measuring inside this crate.
//!
//! Release builds share no generic code between crates: what is generic over the float is compiled again in every crate
//! that uses it. So everything heavy is reached through a table of functions that is filled here, for `f32` and `f64`.

use crate::probe::{Memory, Names, Picked, Probe, Probed, Snapshot};
use crate::profile::{Detail, LayerProfile, Summary};
use wengert_autograd::{Float, Module, ParamId, Real, Var};
use wengert_tensor::of_type;

/// The functions of one element type.
pub(crate) struct Ops<T: Float> {
    pub probe: fn(&Probe, Var<'_, T>, &dyn Module<T>, &mut Memory<T>, &mut Picked<T>) -> Probed<T>,
    pub refresh: fn(&mut Snapshot<T>, &dyn Module<T>),
    pub update:
        fn(&Snapshot<T>, &dyn Module<T>, &mut [LayerProfile], Option<&Names>) -> Vec<ParamId>,
}

impl<T: Float> Ops<T> {
    const TABLE: Ops<T> = Ops {
        probe: Probe::measure,
        refresh: Snapshot::copy_weights,
        update: Snapshot::compare_weights,
    };
}

static F32: Ops<f32> = Ops::<f32>::TABLE;
static F64: Ops<f64> = Ops::<f64>::TABLE;

/// The table of `T`.
pub(crate) fn ops<T: Float>() -> &'static Ops<T> {
    of_type([&F32, &F64])
}

/// A summary of values of either type.
type Summarise<T> = fn(&[T], Detail) -> Summary;

/// [`Summary::with`], compiled here.
pub(crate) fn summary<T: Real>(values: &[T], detail: Detail) -> Summary {
    static F32: Summarise<f32> = Summary::measure;
    static F64: Summarise<f64> = Summary::measure;
    of_type::<Summarise<T>>([&F32, &F64])(values, detail)
}
