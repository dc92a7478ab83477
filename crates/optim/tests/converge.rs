//! Every rule goes down Rosenbrock's valley and an ill-conditioned bowl.

mod common;
mod table;

use common::Params;
use std::sync::Arc;
use table::{Lr, RuleCase, rules};
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::schedule::{Cosine, Schedule};

/// Rosenbrock's function over a matrix and a vector; least at ones.
fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
    let (a, b) = (x[1] - x[0] * x[0], 1.0 - x[0]);
    let g = vec![-400.0 * a * x[0] - 2.0 * b, 200.0 * a];
    (100.0 * a * a + b * b, g)
}

/// A bowl whose axes differ by a factor of 1,000 in curvature, turned by 45 degrees; least at (3, -2).
fn ravine(x: &[f64]) -> (f64, Vec<f64>) {
    let (u, v) = (x[0] - 3.0, x[1] + 2.0);
    let (p, q) = ((u + v) / 2f64.sqrt(), (u - v) / 2f64.sqrt());
    let (dp, dq) = (p, 1e-3 * q);
    let f = (p * p + 1e-3 * q * q) / 2.0;
    (f, vec![(dp + dq) / 2f64.sqrt(), (dp - dq) / 2f64.sqrt()])
}

type Function = fn(&[f64]) -> (f64, Vec<f64>);

/// The loss after `steps` steps from `start`.
fn descend(rule: &RuleCase<f64>, lr: Lr, f: Function, start: [f64; 2], steps: u64) -> f64 {
    let mut m = Params(vec![(
        "x".to_string(),
        Param::new(Tensor::from_slice(&start, [1, 2])),
    )]);
    // Decay moves the minimum, or stops short of it: off.
    let decays = rule
        .hypers
        .iter()
        .find(|(h, x)| h.name.ends_with("_decay") && *x != 0.0);
    let mut o = match decays.filter(|(h, _)| h.name != "momentum_decay" && h.name != "beta2_decay")
    {
        Some((h, _)) => (rule.with)(lr, h.name, Arc::new(0.0)).unwrap(),
        None => (rule.make)(lr),
    };
    for _ in 0..steps {
        let (loss, g) = f(&m.values());
        let g = Tensor::from_vec(g, [1, 2]);
        let grads = Gradients::from_parts(loss, vec![(m.0[0].1.id(), g)], vec![]);
        if !o.try_step(&mut m, &grads).unwrap().applied {
            // Steps that are too large run away until nothing is finite.
            return f64::INFINITY;
        }
    }
    f(&m.values()).0
}

/// The best learning rate of a coarse grid, after a warm-up falling along a cosine to nothing; its loss.
fn best(rule: &RuleCase<f64>, f: Function, start: [f64; 2], steps: u64) -> (f64, f64) {
    let grid = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0];
    grid.into_iter()
        .map(|lr| {
            let schedule: Lr = Arc::new(Cosine::new(lr, steps - 100).warmup(100));
            (lr, descend(rule, schedule, f, start, steps))
        })
        .fold((0.0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a })
}

#[test]
fn rosenbrock_and_an_ill_conditioned_bowl() {
    let mut found = Vec::new();
    for rule in rules::<f64>() {
        let (a, valley) = best(&rule, rosenbrock, [-1.2, 1.0], 4000);
        let (b, bowl) = best(&rule, ravine, [0.0, 0.0], 4000);
        found.push((rule.name, a, valley, b, bowl));
    }
    let mut wrong = Vec::new();
    for (name, a, valley, b, bowl) in found {
        println!("{name:24} rosenbrock lr {a:<7} {valley:9.2e}   bowl lr {b:<7} {bowl:9.2e}");
        // From 24.2 and from 0.26.
        if !(valley < 3e-2 && bowl < 1e-3) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
