//! What is refused, for every rule: hyperparameters outside their range, however they come in; and the ends of the
//! ranges that are legal.

mod common;
mod table;

use common::{Params, start};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use table::{Lr, RuleCase, rules};
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::rule::Range;
use wengert_optim::schedule::{Plateau, from_fn};
use wengert_optim::transform::*;
use wengert_optim::wrappers::{Accumulator, Ema, Lookahead, Sam};
use wengert_optim::*;

fn ones(model: &Params<f64>) -> Gradients<f64> {
    let each = |(_, p): &(String, Param<f64>)| (p.id(), Tensor::ones(p.shape()));
    Gradients::from_parts(0.0, model.0.iter().map(each).collect(), vec![])
}

/// Values beside the range, and NaN and the infinities, which no range holds.
fn illegal(r: &Range) -> Vec<f64> {
    let mut list = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for (end, open, out) in [(r.low, r.low_open, -1.0), (r.high, r.high_open, 1.0)] {
        if end.is_finite() {
            list.extend([end + out * 1e-9, end + out]);
            if open {
                list.push(end);
            }
        }
    }
    list
}

fn message(f: impl FnOnce()) -> String {
    let caught = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    let text = caught.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| caught.downcast_ref::<String>().cloned())
        .expect("a message")
}

#[test]
fn every_hyperparameter_of_every_rule() {
    let rules: Vec<RuleCase<f64>> = rules();
    let mut checked = 0;
    for rule in &rules {
        let lr: Lr = Arc::new(rule.lr);
        for (h, default) in &rule.hypers {
            assert!(h.range.contains(*default), "{} {}", rule.name, h.name);
            for x in illegal(&h.range) {
                let what = format!("{}: {} = {x}", rule.name, h.name);
                // As a number, as a schedule, in a group.
                let number = (rule.with)(lr.clone(), h.name, Arc::new(x)).err();
                let Some(Error::Hyperparameter { name, value, .. }) = &number else {
                    panic!("{what}: {number:?}");
                };
                assert!(name == h.name && value.to_bits() == x.to_bits(), "{what}");
                let text = number.as_ref().map(ToString::to_string).unwrap_or_default();
                assert!(text.contains(h.name) && text.contains("must be"), "{text}");
                let function: Lr = Arc::new(from_fn(move |_| x));
                assert_eq!(
                    (rule.with)(lr.clone(), h.name, function)
                        .err()
                        .map(|e| e.to_string()),
                    Some(text.clone()),
                    "{what}"
                );
                let group = Group::matching("*").set(h.name, x);
                assert_eq!(
                    (rule.group)(lr.clone(), group).err().map(|e| e.to_string()),
                    Some(text.clone()),
                    "{what}"
                );
                // `try_new` errs, `new` panics with the same words.
                if h.name == "lr" {
                    let error = (rule.try_new)(x).map(|e| e.to_string());
                    assert_eq!(error, Some(text.clone()), "{what}");
                    assert_eq!(message(|| (rule.new)(x)), text, "{what}");
                }
                checked += 1;
            }
            for (end, open) in [
                (h.range.low, h.range.low_open),
                (h.range.high, h.range.high_open),
            ] {
                if end.is_finite() && !open {
                    assert!(h.range.contains(end));
                    let r = (rule.with)(lr.clone(), h.name, Arc::new(end));
                    // Legal alone; two hyperparameters may still exclude each other, with other words.
                    assert!(
                        !matches!(r.err(), Some(Error::Hyperparameter { .. })),
                        "{}: {} = {end}",
                        rule.name,
                        h.name
                    );
                }
            }
        }
        let unknown = (rule.with)(lr.clone(), "no_such", Arc::new(0.1)).err();
        let text = unknown.map(|e| e.to_string()).unwrap_or_default();
        assert!(
            text.contains("no hyperparameter `no_such`; there are lr"),
            "{text}"
        );
        let group = Group::matching("*").set("no_such", 0.1);
        assert!((rule.group)(lr.clone(), group).is_err(), "{}", rule.name);
        for x in [f64::NAN, -0.1, f64::INFINITY] {
            let group = Group::matching("*").lr_scale(x);
            assert!(
                (rule.group)(lr.clone(), group).is_err(),
                "{} scale {x}",
                rule.name
            );
        }
    }
    assert!(checked > 1000, "{checked}");
}

#[test]
fn schedules_that_leave_the_range_stop_the_run_and_change_nothing() {
    for rule in rules::<f64>() {
        for (h, x) in &rule.hypers {
            let x = *x;
            let value: Lr = Arc::new(from_fn(move |t| if t < 2 { x } else { f64::NAN }));
            let made = if h.name == "lr" {
                Ok((rule.make)(Arc::new(from_fn(|t| {
                    if t < 2 { 0.01 } else { -1.0 }
                }))))
            } else {
                (rule.with)(Arc::new(rule.lr), h.name, value)
            };
            let Ok(mut o) = made else {
                assert_eq!(h.name, "dampening", "{}", rule.name);
                continue;
            };
            let mut m = start::<f64>();
            let g = ones(&m);
            for _ in 0..2 {
                o.try_step(&mut m, &g).unwrap();
            }
            let (before, state) = (m.values(), o.state());
            let error = o.try_step(&mut m, &g).unwrap_err().to_string();
            assert!(error.contains(h.name), "{}: {error}", rule.name);
            assert_eq!(m.values(), before, "{} {}", rule.name, h.name);
            assert_eq!(o.state(), state, "{} {}", rule.name, h.name);
        }
    }
}

#[test]
fn what_is_not_finite_is_skipped_by_default_and_named() {
    for rule in rules::<f64>() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let lr: Lr = Arc::new(rule.lr);
            let poisoned = |m: &Params<f64>| {
                let mut g = ones(m);
                g.iter_mut().nth(1).unwrap().1.as_mut_slice()[2] = bad;
                g
            };
            let mut o = (rule.make)(lr.clone());
            let mut m = start::<f64>();
            let g = ones(&m);
            o.try_step(&mut m, &g).unwrap();
            let (before, state) = (m.values(), o.state());
            let spoiled = poisoned(&m);
            let report = o.try_step(&mut m, &spoiled).unwrap();
            let found = report.non_finite.unwrap();
            assert!(
                !report.applied && found.path == "fc.bias",
                "{}: {found}",
                rule.name
            );
            assert_eq!(
                (found.nans, found.infinities),
                if bad.is_nan() { (1, 0) } else { (0, 1) }
            );
            assert_eq!(m.values(), before, "{}", rule.name);
            let mut after = o.state();
            assert_ne!(after, state, "the skip is counted");
            after
                .scalars
                .insert("skipped".into(), state.scalars["skipped"].clone());
            assert_eq!(after, state, "{}", rule.name);

            let mut o = (rule.policy)(lr.clone(), NonFinitePolicy::Error);
            let error = o.try_step(&mut m, &spoiled).unwrap_err();
            assert!(
                matches!(error, Error::NonFinite(_)) && error.to_string().contains("`fc.bias`")
            );
            assert_eq!(m.values(), before, "{}", rule.name);

            let mut o = (rule.policy)(lr, NonFinitePolicy::Zero);
            let report = o.try_step(&mut m, &spoiled).unwrap();
            assert!(report.applied && report.non_finite.is_some());
            assert!(m.values().iter().all(|x| x.is_finite()), "{}", rule.name);
        }
    }
}

#[test]
fn an_empty_model_is_an_error_and_a_frozen_one_is_not() {
    for rule in rules::<f64>() {
        let mut o = (rule.make)(Arc::new(rule.lr));
        let nothing = Gradients::from_parts(0.0, vec![], vec![]);
        let mut empty = Params::<f64>(vec![]);
        let error = o.try_step(&mut empty, &nothing).unwrap_err().to_string();
        assert!(error.ends_with("the model shows no parameters"), "{error}");
        let mut frozen = start::<f64>();
        frozen
            .0
            .iter_mut()
            .for_each(|(_, p)| p.set_trainable(false));
        let before = frozen.values();
        let g = ones(&frozen);
        assert!(o.try_step(&mut frozen, &g).unwrap().applied);
        assert_eq!(frozen.values(), before);
        assert!(o.state().params.is_empty(), "{}", rule.name);
    }
}

#[test]
fn transforms_and_wrappers() {
    let bad = [f64::NAN, -1.0, f64::INFINITY];
    let sgd = || Sgd::<f64>::new(0.1);
    for x in bad {
        assert!(ClipNorm::try_new(x).is_err());
        assert!(ClipValue::try_new(x).is_err());
        assert!(ClipEach::try_new(x).is_err());
        assert!(Agc::try_new(x, 1e-3).is_err() && Agc::try_new(0.1, x).is_err());
        assert!(Noise::try_new(x, 0.5, 1).is_err() && Noise::try_new(0.1, x, 1).is_err());
        assert!(ZClip::try_new(x, 2.5, 5).is_err() && ZClip::try_new(0.9, x, 5).is_err());
        assert!(sgd().try_clip_norm(x).is_err());
        assert!(Ema::<f64>::try_new(x).is_err());
        assert!(Sam::<_, f64>::try_new(sgd(), x).is_err());
        assert!(Lookahead::<_, f64>::try_new(sgd(), 5, x).is_err());
        assert!(Plateau::new().try_factor(x).is_err());
        let mut m = start::<f64>();
        let mut g = ones(&m);
        assert!(g.try_clip_norm(x).is_err() && g.try_clip_value(x).is_err());
        assert!(g.try_clip_each(x).is_err());
        assert!(g.iter().all(|(_, g)| g.iter().all(|x| x == 1.0)));
        // A factor that is negative is legal, one that is not a number is found when it comes.
        let mut p = Pipeline::new().scale(x);
        assert_eq!(p.try_apply(&m, &mut g).is_err(), x != -1.0);
        let text = message(|| drop(sgd().clip_norm(x)));
        assert!(
            text.starts_with("clip_norm: max must be >= 0 and finite"),
            "{text}"
        );
        let text = message(|| assert!(ones(&m).clip_value(x).clipped));
        assert!(text.starts_with("clip_value: limit must be"), "{text}");
        let g = ones(&m);
        sgd().step(&mut m, &g);
    }
    assert!(ZClip::try_new(1.0, 2.5, 5).is_err() && ZClip::try_new(0.9, 2.5, 0).is_err());
    assert!(Agc::try_new(0.0, 1e-3).is_err());
    assert!(Ema::<f64>::try_new(1.0).is_err() && Ema::<f64>::try_new(0.0).is_ok());
    assert!(Lookahead::<_, f64>::try_new(sgd(), 0, 0.5).is_err());
    assert!(Lookahead::<_, f64>::try_new(sgd(), 1, 1.5).is_err());
    assert!(Accumulator::<f64>::try_new(0).is_err());
    // Legal ends: a bound of 0 leaves nothing, a radius of 0 is the plain step.
    assert!(ClipNorm::try_new(0.0).is_ok() && Sam::<_, f64>::try_new(sgd(), 0.0).is_ok());
    for (text, f) in [
        (
            "Accumulator: every must be at least 1",
            (|| drop(Accumulator::<f64>::new(0))) as fn(),
        ),
        ("Ema: decay must be", || drop(Ema::<f64>::new(2.0))),
        ("lbfgs: history must be at least 1", || {
            drop(Lbfgs::<f64>::new(1.0).history(0))
        }),
        ("lbfgs: lr must be > 0", || drop(Lbfgs::<f64>::new(0.0))),
        ("lbfgs: tolerance_grad must be", || {
            drop(Lbfgs::<f64>::new(1.0).tolerances(-1.0, 0.0))
        }),
        ("soap: precondition_every", || {
            drop(Soap::<f64>::new(0.1).precondition_every(0))
        }),
        ("muon: iterations must be", || {
            drop(Muon::<f64>::new(0.1).iterations(100))
        }),
    ] {
        let found = message(f);
        assert!(found.starts_with(text), "{found}");
    }
}
