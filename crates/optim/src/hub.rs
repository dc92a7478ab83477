//! The seam that keeps heavy code inside this crate.
//!
//! Everything that runs per element or per parameter is reached through functions that are picked here, for
//! `f32` and for `f64`. Crates that use an optimizer instantiate only thin wrappers, so a debug build of theirs steps as
//! fast as this crate was compiled.

use crate::engine::{self, Engine, Rewrite, Show, Walk};
use crate::error::Result;
use crate::groups::Group;
use crate::optimizer::StepReport;
use crate::reduce;
use crate::rule::{Pass, Rule, Sums, Whole};
use crate::schedule::Schedule;
use crate::state::OptimizerState;
use std::sync::Arc;
use wengert_autograd::{Gradients, Module, Param, ParamId};
use wengert_tensor::{Real, Tensor, of_type};

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

/// Functions of one element type, each picked by itself, so that a program holds those only that it calls.
macro_rules! functions {
    ($($name:ident: $ty:ty = $function:expr;)*) => {
        #[allow(non_camel_case_types)]
        mod types {
            use super::*;
            $(pub(super) type $name<T> = $ty;)*
        }
        $(
            pub(crate) fn $name<T: Real>() -> types::$name<T> {
                static F32: types::$name<f32> = $function;
                static F64: types::$name<f64> = $function;
                *of_type::<types::$name<T>>([&F32, &F64])
            }
        )*
    };
}
functions! {
    new: fn(Box<dyn Rule>) -> Engine<T> = Engine::new;
    set: fn(&mut Engine<T>, &str, Arc<dyn Schedule>) -> Result<()> = Engine::set;
    group: fn(&mut Engine<T>, Group) -> Result<()> = Engine::group;
    edit: fn(&mut Engine<T>, &mut dyn FnMut(&mut dyn Rule)) = Engine::edit;
    observe: fn(&mut Engine<T>, f64) -> f64 = Engine::observe;
    hyper: fn(&Engine<T>, &str) -> Option<f64> = Engine::hyper_now;
    hypers_of: fn(&Engine<T>, &str) -> Option<Vec<(&'static str, f64)>> = Engine::hypers_of;
    step: fn(&mut Engine<T>, &mut dyn Module<T>, &Gradients<T>) -> Result<StepReport> = Engine::step;
    save: fn(&Engine<T>) -> OptimizerState = Engine::save;
    load: fn(&mut Engine<T>, Show<'_, T>, &OptimizerState, bool) -> Result<()> = Engine::load;
    rewrite: fn(&Engine<T>, &mut dyn Module<T>, Rewrite<'_, T>) = Engine::rewrite;
    fold: fn(&mut Engine<T>, Show<'_, T>, &Gradients<T>, usize, &str, &dyn Fn(f64, f64, f64) -> f64) -> Result<()> = Engine::fold;
    param: fn(&mut Walk<'_, T>, &str, &mut Param<T>) = engine::visit_param;
    norm: fn(&[(ParamId, Tensor<T>)]) -> f64 = reduce::norm;
    norm_of: fn(&Tensor<T>) -> f64 = reduce::norm_of;
    scale: fn(&mut Tensor<T>, f64, bool) -> bool = reduce::scale;
    clamp: fn(&mut Tensor<T>, f64) -> usize = reduce::clamp;
    blend: fn(&mut [T], &[T], f64, f64) = reduce::blend;
}
