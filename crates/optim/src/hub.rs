//! The seam that keeps heavy code inside this crate.
//!
//! Everything that runs per element or per parameter is reached through a table of functions that is filled here, for
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

/// The functions of one element type.
pub(crate) struct Ops<T: Real> {
    pub new: fn(Box<dyn Rule>) -> Engine<T>,
    pub set: fn(&mut Engine<T>, &str, Arc<dyn Schedule>) -> Result<()>,
    pub group: fn(&mut Engine<T>, Group) -> Result<()>,
    pub edit: fn(&mut Engine<T>, &mut dyn FnMut(&mut dyn Rule)),
    pub observe: fn(&mut Engine<T>, f64) -> f64,
    pub hyper: fn(&Engine<T>, &str) -> Option<f64>,
    pub hypers_of: fn(&Engine<T>, &str) -> Option<Vec<(&'static str, f64)>>,
    pub step: fn(&mut Engine<T>, &mut dyn Module<T>, &Gradients<T>) -> Result<StepReport>,
    pub save: fn(&Engine<T>) -> OptimizerState,
    pub load: fn(&mut Engine<T>, Show<'_, T>, &OptimizerState, bool) -> Result<()>,
    pub rewrite: fn(&Engine<T>, &mut dyn Module<T>, Rewrite<'_, T>),
    pub fold: fn(
        &mut Engine<T>,
        Show<'_, T>,
        &Gradients<T>,
        usize,
        &dyn Fn(f64, f64) -> f64,
    ) -> Result<()>,
    pub param: fn(&mut Walk<'_, T>, &str, &mut Param<T>),
    pub norm: fn(&[(ParamId, Tensor<T>)]) -> f64,
    pub norm_of: fn(&Tensor<T>) -> f64,
    pub scale: fn(&mut Tensor<T>, f64, bool) -> bool,
    pub clamp: fn(&mut Tensor<T>, f64) -> usize,
    pub blend: fn(&mut [T], &[T], f64, f64),
}

impl<T: Hub> Ops<T> {
    const TABLE: Ops<T> = Ops {
        new: Engine::new,
        set: Engine::set,
        group: Engine::group,
        edit: Engine::edit,
        observe: Engine::observe,
        hyper: Engine::hyper_now,
        hypers_of: Engine::hypers_of,
        step: Engine::step,
        save: Engine::save,
        load: Engine::load,
        rewrite: Engine::rewrite,
        fold: Engine::fold,
        param: engine::visit_param,
        norm: reduce::norm,
        norm_of: reduce::norm_of,
        scale: reduce::scale,
        clamp: reduce::clamp,
        blend: reduce::blend,
    };
}

static F32: Ops<f32> = Ops::<f32>::TABLE;
static F64: Ops<f64> = Ops::<f64>::TABLE;

/// The table of `T`.
pub(crate) fn ops<T: Real>() -> &'static Ops<T> {
    of_type([&F32, &F64])
}
