//! L-BFGS against PyTorch, and its state.

mod common;

use common::{Params, distance, reference};
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::{Lbfgs, Stop};

type Function = fn(&[f64]) -> (f64, Vec<f64>);

fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
    let (mut f, mut g) = (0.0, vec![0.0; x.len()]);
    for i in 0..x.len() - 1 {
        let (a, b) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
        f += 100.0 * a * a + b * b;
        g[i] += -400.0 * a * x[i] - 2.0 * b;
        g[i + 1] += 200.0 * a;
    }
    (f, g)
}

fn quadratic(x: &[f64]) -> (f64, Vec<f64>) {
    let each = |(i, x): (usize, &f64)| {
        let scale = 10f64.powi(i as i32);
        (0.5 * scale * (x - 1.0).powi(2), scale * (x - 1.0))
    };
    let parts: Vec<_> = x.iter().enumerate().map(each).collect();
    (
        parts.iter().map(|p| p.0).sum(),
        parts.iter().map(|p| p.1).collect(),
    )
}

fn bumpy(x: &[f64]) -> (f64, Vec<f64>) {
    let mut f: f64 = x.iter().map(|x| x * x / 10.0 + (3.0 * x).cos()).sum();
    let mut g: Vec<f64> = x.iter().map(|x| x / 5.0 - 3.0 * (3.0 * x).sin()).collect();
    f += (x[0] * x[1]).powi(2);
    g[0] += 2.0 * x[0] * x[1] * x[1];
    g[1] += 2.0 * x[0] * x[0] * x[1];
    (f, g)
}

/// The vector as two parameters, with a frozen one between.
fn model(x: &[f64]) -> Params<f64> {
    let (a, b) = x.split_at(1);
    let mut frozen = Param::new(Tensor::ones([2]));
    frozen.set_trainable(false);
    Params(vec![
        ("a".into(), Param::new(Tensor::from_slice(a, ()))),
        ("frozen".into(), frozen),
        ("b".into(), Param::new(Tensor::from_slice(b, [b.len()]))),
    ])
}

fn values(m: &Params<f64>) -> Vec<f64> {
    let mut v = m.0[0].1.value().to_vec();
    v.extend(m.0[2].1.value().to_vec());
    v
}

fn backward(f: Function) -> impl FnMut(&Params<f64>) -> Gradients<f64> {
    move |m| {
        let (loss, g) = f(&values(m));
        let (a, b) = g.split_at(1);
        Gradients::from_parts(
            loss,
            vec![
                (m.0[0].1.id(), Tensor::from_slice(a, ())),
                (m.0[2].1.id(), Tensor::from_slice(b, [b.len()])),
            ],
            vec![],
        )
    }
}

fn cases() -> Vec<(&'static str, Function, Vec<f64>, Lbfgs<f64>)> {
    let valley = vec![-1.2, 1.0, 0.5, 2.0];
    vec![
        (
            "rosenbrock",
            rosenbrock,
            valley.clone(),
            Lbfgs::new(1.0).max_iterations(5),
        ),
        (
            "rosenbrock_short_memory",
            rosenbrock,
            valley,
            Lbfgs::new(0.5).max_iterations(5).history(3),
        ),
        (
            "quadratic",
            quadratic,
            vec![3.0, -2.0, 0.5, 4.0, 1.5],
            Lbfgs::new(1.0).max_iterations(4),
        ),
        (
            "bumpy",
            bumpy,
            vec![2.0, -1.5, 0.3],
            Lbfgs::new(1.0).max_iterations(3).max_evaluations(6),
        ),
        (
            "bumpy_far",
            bumpy,
            vec![30.0, -21.5, 10.3],
            Lbfgs::new(3.0).max_iterations(4),
        ),
        (
            "fixed",
            quadratic,
            vec![3.0, -2.0, 0.5],
            Lbfgs::new(0.3).max_iterations(4).fixed_step(),
        ),
    ]
}

#[test]
fn trajectories_agree_with_pytorch() {
    let expected = reference(include_str!("reference/lbfgs.txt"));
    assert_eq!(expected.len(), cases().len());
    let mut wrong = Vec::new();
    for (name, f, start, mut lbfgs) in cases() {
        let mut m = model(&start);
        for (t, line) in &expected[name] {
            let report = lbfgs.step(&mut m, backward(f));
            let mut found = vec![report.loss, lbfgs.evaluations() as f64];
            found.extend(values(&m));
            let d = distance(&found, line);
            if d > 1e-10 {
                wrong.push(format!("{name} step {t}: {d:e}\n{found:?}\n{line:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn converges_and_says_why_it_stops() {
    let mut m = model(&[-1.2, 1.0]);
    let mut lbfgs = Lbfgs::new(1.0).max_iterations(200).tolerances(1e-9, 1e-14);
    let report = lbfgs.step(&mut m, backward(rosenbrock));
    assert!(
        matches!(report.stop, Stop::Gradient | Stop::Change),
        "{report:?}"
    );
    assert!(
        values(&m).iter().all(|x| (x - 1.0).abs() < 1e-6),
        "{:?}",
        values(&m)
    );
    assert!(report.loss_after < 1e-12 && report.loss > 1.0);
    assert_eq!(m.0[1].1.value().to_vec(), [1.0, 1.0]);
    let again = lbfgs.step(&mut m, backward(rosenbrock));
    assert!(again.evaluations <= 3, "{again:?}");
}

#[test]
fn a_loss_that_is_not_finite_is_not_stepped_on() {
    let mut m = model(&[1.0, 2.0]);
    let before = values(&m);
    let mut lbfgs = Lbfgs::new(1.0);
    let report = lbfgs.step(&mut m, backward(|x| (f64::NAN, vec![1.0; x.len()])));
    assert_eq!(report.stop, Stop::NonFinite);
    assert_eq!(values(&m), before);
    // Infinite beyond a wall: the search turns back.
    let walled = |x: &[f64]| {
        if x[0] > 1.5 {
            (f64::NAN, vec![f64::NAN; x.len()])
        } else {
            let f = -x[0] + 0.1 * x[0] * x[0] + x[1] * x[1];
            (f, vec![-1.0 + 0.2 * x[0], 2.0 * x[1]])
        }
    };
    let mut m = model(&[0.0, 1.0]);
    let report = Lbfgs::new(1.0).step(&mut m, backward(walled));
    assert!(values(&m).iter().all(|x| x.is_finite()));
    assert!(report.loss_after < -1.0, "{report:?}");
}

#[test]
fn resumes_bit_for_bit() {
    for (name, f, start, mut lbfgs) in cases() {
        let mut m = model(&start);
        for _ in 0..2 {
            lbfgs.step(&mut m, backward(f));
        }
        let saved = lbfgs.state();
        let mut copy = m.clone();
        let mut other = cases().into_iter().find(|c| c.0 == name).unwrap().3;
        other.load_state(&copy, &saved).unwrap();
        assert_eq!(other.state(), saved, "{name}");
        for _ in 0..3 {
            assert_eq!(
                lbfgs.step(&mut m, backward(f)),
                other.step(&mut copy, backward(f))
            );
        }
        assert_eq!(values(&m), values(&copy), "{name}");
        assert_eq!(lbfgs.state(), other.state());
    }
}

#[test]
fn states_that_do_not_fit_are_refused_whole() {
    let mut m = model(&[-1.2, 1.0, 0.5]);
    let mut lbfgs = Lbfgs::new(1.0).max_iterations(3);
    lbfgs.step(&mut m, backward(rosenbrock));
    let good = lbfgs.state();
    let mut bad = good.clone();
    bad.kind = "adam".into();
    bad.scalars.remove("step");
    let a = bad.params.remove("a").unwrap();
    bad.params.insert("z".into(), a);
    let b = bad.params.get_mut("b").unwrap();
    b.tensors.remove("y0");
    let text = lbfgs.load_state(&m, &bad).unwrap_err().to_string();
    for part in ["adam", "`step` is missing", "`z`", "`a`", "`y0` is missing"] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    assert_eq!(lbfgs.state(), good);
    let mut huge = good.clone();
    huge.scalars.insert(
        "pairs".into(),
        wengert_optim::state::StateScalar::Count(u64::MAX),
    );
    assert!(lbfgs.load_state(&m, &huge).is_err());
}

#[test]
fn a_changed_model_begins_anew() {
    let mut m = model(&[-1.2, 1.0, 0.5]);
    let mut lbfgs = Lbfgs::new(1.0).max_iterations(3);
    lbfgs.step(&mut m, backward(rosenbrock));
    let mut other = model(&[-1.2, 1.0, 0.5, 2.0]);
    lbfgs.step(&mut other, backward(rosenbrock));
    let mut fresh_model = model(&[-1.2, 1.0, 0.5, 2.0]);
    Lbfgs::new(1.0)
        .max_iterations(3)
        .step(&mut fresh_model, backward(rosenbrock));
    assert_eq!(values(&other), values(&fresh_model));
    assert!(Lbfgs::<f64>::try_new(0.0).is_err() && Lbfgs::<f64>::try_new(f64::NAN).is_err());
}
