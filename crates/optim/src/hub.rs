//! The seam that keeps heavy code inside this crate.
//!
//! Everything that runs per element or per parameter is reached through a table of functions that is filled here, for
//! `f32` and for `f64`. Crates that use an optimizer instantiate only thin wrappers, so a debug build of theirs steps as
//! fast as this crate was compiled.

use crate::reduce;
use crate::rule::{Pass, Rule, Sums, Whole};
use crate::walker::{self, Core, Walk};
use std::any::Any;
use wengert_autograd::{Gradients, Param, ParamId};
use wengert_tensor::{Real, Tensor};

/// An element type that the tables exist for.
pub(crate) trait Hub: Real {
    /// [`Rule::pass_f32`] or [`Rule::pass_f64`].
    fn pass(rule: &dyn Rule, x: Pass<'_, Self>) -> Sums;
    /// [`Rule::whole_f32`] or [`Rule::whole_f64`].
    fn whole(rule: &dyn Rule, x: Whole<'_, Self>);
}

impl Hub for f32 {
    #[inline]
    fn pass(rule: &dyn Rule, x: Pass<'_, f32>) -> Sums {
        rule.pass_f32(x)
    }
    fn whole(rule: &dyn Rule, x: Whole<'_, f32>) {
        rule.whole_f32(x);
    }
}

impl Hub for f64 {
    #[inline]
    fn pass(rule: &dyn Rule, x: Pass<'_, f64>) -> Sums {
        rule.pass_f64(x)
    }
    fn whole(rule: &dyn Rule, x: Whole<'_, f64>) {
        rule.whole_f64(x);
    }
}

/// The functions of one element type.
pub(crate) struct Ops<T: Real> {
    pub param: fn(&mut Walk<'_, T>, &str, &mut Param<T>),
    pub run: fn(&mut Core<T>, &Gradients<T>),
    pub finite: fn(&[(ParamId, Tensor<T>)]) -> bool,
    pub sum_squares: fn(&[(ParamId, Tensor<T>)]) -> f64,
    pub sum_squares_of: fn(&Tensor<T>) -> f64,
    pub scale: fn(&mut Tensor<T>, f64),
    pub clamp: fn(&mut Tensor<T>, f64) -> usize,
    pub blend: fn(&mut [T], &[T], f64, f64),
}

impl<T: Hub> Ops<T> {
    const TABLE: Ops<T> = Ops {
        param: walker::visit_param::<T>,
        run: walker::run::<T>,
        finite: reduce::finite::<T>,
        sum_squares: reduce::sum_squares::<T>,
        sum_squares_of: reduce::sum_squares_of::<T>,
        scale: reduce::scale::<T>,
        clamp: reduce::clamp::<T>,
        blend: reduce::blend::<T>,
    };
}

static F32: Ops<f32> = Ops::<f32>::TABLE;
static F64: Ops<f64> = Ops::<f64>::TABLE;

/// The table of `T`.
pub(crate) fn ops<T: Real>() -> &'static Ops<T> {
    let tables: [&'static dyn Any; 2] = [&F32, &F64];
    tables
        .into_iter()
        .find_map(|t| t.downcast_ref::<Ops<T>>())
        .expect("Real is sealed: f32 and f64")
}
