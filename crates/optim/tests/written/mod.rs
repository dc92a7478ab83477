//! Every rule against its published formula, written out slowly over `f64` vectors, on several settings; and in `f32`
//! against itself in `f64`.

use crate::common::{Lcg, Params};
use wengert_autograd::{Gradients, Param, Real};
use wengert_optim::rule::Rule;
use wengert_optim::*;

const STEPS: u64 = 12;
/// Two tensors whose sizes leave remainders for any vector width.
const SIZES: [usize; 2] = [77, 5];

/// All of them by name.
pub const ALL: &[(&str, fn())] = &[
    ("gradient descent", descent::gradient_descent),
    ("averages", descent::averages),
    ("signs", descent::signs),
    ("Adam's family", adam::adam_family),
    ("cautious variants", adam::cautious_variants),
    ("Adagrad's family", moments::adagrad_family),
    ("beliefs", moments::beliefs),
    ("a variance of zero", moments::variance_of_a_constant),
    ("layer by layer", tensors::layerwise),
    ("Prodigy", tensors::prodigy),
    (
        "vectors under matrix rules",
        tensors::vectors_under_matrix_rules,
    ),
];

/// The update of one tensor at step `t >= 1`; `s` is the tensor's own memory, empty at first.
pub type Formula = Box<dyn Fn(u64, &mut Vec<f64>, &[f64], &mut Vec<Vec<f64>>)>;

pub fn zeros(s: &mut Vec<Vec<f64>>, n: usize, len: usize) {
    if s.is_empty() {
        *s = vec![vec![0.0; len]; n];
    }
}

pub fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

pub fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// An elementwise formula over memory of `n` numbers per element.
pub fn each(n: usize, f: impl Fn(f64, &mut f64, f64, &mut [f64]) + 'static) -> Formula {
    Box::new(move |t, p, g, s| {
        zeros(s, n, p.len());
        for i in 0..p.len() {
            let mut local: Vec<f64> = s.iter().map(|v| v[i]).collect();
            f(t as f64, &mut p[i], g[i], &mut local);
            for (v, x) in s.iter_mut().zip(local) {
                v[i] = x;
            }
        }
    })
}

fn run<T: Real, R: Rule>(mut optimizer: Optimizer<R, T>, grads: &[Vec<Vec<f64>>]) -> Vec<f64> {
    let mut r = Lcg(5);
    let mut model = Params::<T>(
        SIZES
            .iter()
            .enumerate()
            .map(|(i, n)| (format!("p{i}"), Param::new(r.tensor(&[*n], 1.0))))
            .collect(),
    );
    for g in grads {
        let tensor = |(i, v): (usize, &Vec<f64>)| {
            let data: Vec<T> = v.iter().map(|&x| T::from_f64(x)).collect();
            (
                model.0[i].1.id(),
                wengert_autograd::Tensor::from_vec(data, [v.len()]),
            )
        };
        let entries = g.iter().enumerate().map(tensor).collect();
        optimizer.step(&mut model, &Gradients::from_parts(T::ZERO, entries, vec![]));
    }
    model.values().iter().map(|x| x.as_f64()).collect()
}

pub fn check<R: Rule>(
    name: &str,
    make: impl Fn() -> (Optimizer<R, f32>, Optimizer<R, f64>),
    formula: Formula,
) {
    let mut r = Lcg(6);
    let grads: Vec<Vec<Vec<f64>>> = (0..STEPS)
        .map(|t| {
            let scale = if t == 4 { 20.0 } else { 1.0 };
            // Some exact zeros, too.
            let mut one = || {
                let x = r.next();
                if x.abs() < 0.02 {
                    0.0
                } else {
                    (x * scale) as f32 as f64
                }
            };
            SIZES
                .iter()
                .map(|n| (0..*n).map(|_| one()).collect())
                .collect()
        })
        .collect();
    let mut r = Lcg(5);
    let mut expected = Vec::new();
    let starts: Vec<Vec<f64>> = SIZES
        .iter()
        .map(|n| (0..*n).map(|_| r.next()).collect())
        .collect();
    for (i, mut p) in starts.into_iter().enumerate() {
        let mut memory = Vec::new();
        for t in 1..=STEPS {
            formula(t, &mut p, &grads[t as usize - 1][i], &mut memory);
        }
        expected.extend(p);
    }
    let (single, double) = make();
    let found = run(double, &grads);
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (a - b).abs() <= 1e-12 * b.abs().max(1.0),
            "{name} element {i}: {a} against {b}"
        );
    }
    // In single precision the same, to the rounding of some operations per step.
    let found = run(single, &grads);
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (a - b).abs() <= 1e-4 * b.abs().max(1.0),
            "{name} f32 element {i}: {a} against {b}"
        );
    }
}

macro_rules! both {
    ($make:expr) => {
        || ($make, $make)
    };
}

mod adam;
mod descent;
mod moments;
mod tensors;
