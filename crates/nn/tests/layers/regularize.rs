//! Penalties and constraints.

use crate::common::{rng, sample};
use wengert_autograd::{ModuleExt, Tape, Tensor, gradcheck};
use wengert_nn::constraint::{Constraint, Constraints};
use wengert_nn::regularize::{Penalty, Regularizer, smooth_labels};
use wengert_nn::{Forward, Sequential};

fn model() -> Sequential<f64> {
    Sequential::builder()
        .linear(3, 4)
        .tanh()
        .linear(4, 2)
        .build(&mut rng(1))
}

fn sum(model: &Sequential<f64>, pattern: &str, f: impl Fn(f64) -> f64) -> f64 {
    let mut s = 0.0;
    model.for_each_param(|path, p| {
        if wengert_autograd::path_matches(pattern, path) {
            s += p.value().iter().map(&f).sum::<f64>();
        }
    });
    s
}

#[test]
fn penalties_by_path_are_added_in_one_call() {
    let mut m = model();
    let rules = Regularizer::new()
        .on("*.weight", Penalty::L2(0.1))
        .on("0", Penalty::L1(0.2));
    let tape = Tape::training(0);
    let y = m.forward(tape.input(&sample(&[2, 3], 1))).sum();
    let total = rules.add_to(y, &m);
    let want = y.item() + 0.1 * sum(&m, "*.weight", |w| w * w) + 0.2 * sum(&m, "0", f64::abs);
    assert!((total.item() - want).abs() < 1e-12);
    // What is frozen is not pulled at.
    m.freeze("0");
    let tape = Tape::training(0);
    let y = m.forward(tape.input(&sample(&[2, 3], 1))).sum();
    let want = y.item() + 0.1 * sum(&m, "2.weight", |w| w * w);
    assert!((rules.add_to(y, &m).item() - want).abs() < 1e-12);
}

#[test]
fn penalties_and_their_derivatives() {
    let w = sample(&[2, 3, 2], 1);
    for p in [
        Penalty::L1(0.3),
        Penalty::L2(0.3),
        Penalty::L1L2 { l1: 0.1, l2: 0.2 },
        Penalty::Orthogonal(0.5),
    ] {
        gradcheck(|[w]| p.of(w), [w.copy()]).assert_ok();
        gradcheck(|[w]| p.of_activations(w), [w.copy()]).assert_ok();
    }
    let tape = Tape::<f64>::inference();
    let eye = tape.input(&Tensor::from_vec(
        vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
        [2, 3],
    ));
    assert_eq!(Penalty::Orthogonal(1.0).of(eye).item(), 0.0);
    assert_eq!(Penalty::Orthogonal(1.0).of(eye.t()).item(), 0.0);
    assert_eq!(Penalty::Orthogonal(1.0).of(eye * 2.0).item(), 18.0);
    assert_eq!(Penalty::L1(2.0).of_activations(eye).item(), 2.0);
}

#[test]
#[should_panic(expected = "regularizer: no parameter matches \"wieght\"")]
fn a_pattern_without_a_match_is_refused() {
    let m = model();
    let tape = Tape::training(0);
    let y = m.forward(tape.input(&sample(&[2, 3], 1))).sum();
    let _ = Regularizer::new()
        .on("wieght", Penalty::L2(0.1))
        .add_to(y, &m);
}

#[test]
fn constraints_hold_after_they_were_applied() {
    let rows = |m: &Sequential<f64>| -> Vec<f64> {
        let mut out = Vec::new();
        m.for_each_param(|path, p| {
            if path.ends_with("weight") {
                let n = p.shape()[1];
                for r in p.value().to_vec().chunks(n) {
                    out.push(r.iter().map(|v| v * v).sum::<f64>().sqrt());
                }
            }
        });
        out
    };
    let apply = |c: Constraint| {
        let mut m = model();
        let before = rows(&m);
        Constraints::new().on("*.weight", c).apply(&mut m);
        (before, rows(&m), m)
    };
    let (before, after, _) = apply(Constraint::MaxNorm(0.8));
    assert!(
        before.iter().any(|&b| b > 0.8) && before.iter().any(|&b| b < 0.8),
        "{before:?}"
    );
    for (b, a) in before.iter().zip(&after) {
        assert!((a - b.min(0.8)).abs() < 1e-12);
    }
    let (_, after, _) = apply(Constraint::UnitNorm);
    assert!(after.iter().all(|a| (a - 1.0).abs() < 1e-12));
    let c = Constraint::MinMaxNorm {
        min: 0.7,
        max: 0.8,
        rate: 0.5,
    };
    let (before, after, _) = apply(c);
    for (b, a) in before.iter().zip(&after) {
        assert!((a - 0.5 * (b + b.clamp(0.7, 0.8))).abs() < 1e-12);
    }
    let (.., m) = apply(Constraint::NonNegative);
    m.for_each_param(|_, p| assert!(p.value().iter().all(|v| v >= 0.0)));
    let (.., m) = apply(Constraint::Clip {
        min: -0.1,
        max: 0.2,
    });
    m.for_each_param(|_, p| assert!(p.value().iter().all(|v| (-0.1..=0.2).contains(&v))));
    // A frozen parameter stays as it is.
    let mut m = model();
    m.freeze("0");
    Constraints::new()
        .on("*", Constraint::NonNegative)
        .apply(&mut m);
    assert!(sum(&m, "0.weight", |v| v.min(0.0)) < 0.0);
    assert!(sum(&m, "2.weight", |v| v.min(0.0)) == 0.0);
    let mut t = Tensor::from_vec(vec![0.0f32, 0.0, f32::NAN, 1.0], [2, 2]);
    Constraint::UnitNorm.project(&mut t);
    assert!(t.to_vec()[..2] == [0.0, 0.0] && t.to_vec()[2].is_nan());
}

#[test]
fn settings_out_of_range_are_refused() {
    for p in [
        Penalty::L1(-1.0),
        Penalty::L2(f64::NAN),
        Penalty::L1L2 {
            l1: 0.1,
            l2: f64::INFINITY,
        },
        Penalty::Orthogonal(-0.1),
    ] {
        assert!(p.validated().is_err(), "{p:?}");
    }
    for c in [
        Constraint::MaxNorm(-1.0),
        Constraint::MinMaxNorm {
            min: 2.0,
            max: 1.0,
            rate: 1.0,
        },
        Constraint::MinMaxNorm {
            min: 0.0,
            max: 1.0,
            rate: 0.0,
        },
        Constraint::Clip {
            min: 1.0,
            max: f64::NAN,
        },
    ] {
        assert!(c.validated().is_err(), "{c:?}");
    }
}

#[test]
fn smoothed_labels() {
    let y: Tensor<f64> = smooth_labels(&Tensor::from_vec(vec![2, 0], [2]), 4, 0.2).unwrap();
    let want = [0.05, 0.05, 0.85, 0.05, 0.85, 0.05, 0.05, 0.05];
    for (a, b) in y.iter().zip(want) {
        assert!((a - b).abs() < 1e-15);
    }
    assert!(smooth_labels::<f64>(&Tensor::from_vec(vec![4], [1]), 4, 0.2).is_err());
    assert!(smooth_labels::<f64>(&Tensor::from_vec(vec![-1], [1]), 4, 0.2).is_err());
    assert!(smooth_labels::<f64>(&Tensor::from_vec(vec![1], [1]), 4, 1.2).is_err());
}
