//! Every rule against its published formula, written out slowly over `f64` vectors, on several settings; and in `f32`
//! against itself in `f64`.

mod common;

use common::{Lcg, Params};
use wengert_autograd::{Gradients, Param, Real};
use wengert_optim::rule::Rule;
use wengert_optim::*;

const STEPS: u64 = 12;
/// Two tensors whose sizes leave remainders for any vector width.
const SIZES: [usize; 2] = [77, 5];

/// The update of one tensor at step `t >= 1`; `s` is the tensor's own memory, empty at first.
type Formula = Box<dyn Fn(u64, &mut Vec<f64>, &[f64], &mut Vec<Vec<f64>>)>;

fn zeros(s: &mut Vec<Vec<f64>>, n: usize, len: usize) {
    if s.is_empty() {
        *s = vec![vec![0.0; len]; n];
    }
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// An elementwise formula over memory of `n` numbers per element.
fn each(n: usize, f: impl Fn(f64, &mut f64, f64, &mut [f64]) + 'static) -> Formula {
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

fn check<R: Rule>(
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

#[test]
fn gradient_descent() {
    check(
        "sgd",
        both!(Sgd::new(0.1)),
        each(0, |_, p, g, _| *p -= 0.1 * g),
    );
    check(
        "decoupled decay",
        both!(Sgd::new(0.1).weight_decay(0.2).decoupled()),
        each(0, |_, p, g, _| *p = *p * (1.0 - 0.02) - 0.1 * g),
    );
    check(
        "momentum, dampened, decayed",
        both!(Sgd::new(0.1).momentum(0.9).dampening(0.4).weight_decay(0.2)),
        each(1, |t, p, g, s| {
            let d = g + 0.2 * *p;
            s[0] = if t == 1.0 { d } else { 0.9 * s[0] + 0.6 * d };
            *p -= 0.1 * s[0];
        }),
    );
    check(
        "nesterov",
        both!(Sgd::new(0.1).momentum(0.9).nesterov()),
        each(1, |_, p, g, s| {
            s[0] = 0.9 * s[0] + g;
            *p -= 0.1 * (g + 0.9 * s[0]);
        }),
    );
    for corrected in [false, true] {
        check(
            "averaged momentum",
            both!(Sgd::new(0.1).averaged_momentum(0.9, corrected)),
            each(1, move |t, p, g, s| {
                s[0] = 0.9 * s[0] + 0.1 * g;
                let c = if corrected { 1.0 - 0.9f64.powf(t) } else { 1.0 };
                *p -= 0.1 * s[0] / c;
            }),
        );
    }
}

#[test]
fn adam_family() {
    for amsgrad in [false, true] {
        let make = move |o: Adam<f64>| if amsgrad { o.amsgrad() } else { o };
        let make32 = move |o: Adam<f32>| if amsgrad { o.amsgrad() } else { o };
        check(
            "adam",
            || {
                (
                    make32(Adam::new(0.01).betas(0.8, 0.7).eps(1e-3).weight_decay(0.1)),
                    make(Adam::new(0.01).betas(0.8, 0.7).eps(1e-3).weight_decay(0.1)),
                )
            },
            each(3, move |t, p, g, s| {
                let g = g + 0.1 * *p;
                s[0] = 0.8 * s[0] + 0.2 * g;
                s[1] = 0.7 * s[1] + 0.3 * g * g;
                s[2] = s[2].max(s[1]);
                let v = if amsgrad { s[2] } else { s[1] };
                let root = (v / (1.0 - 0.7f64.powf(t))).sqrt();
                *p -= 0.01 * s[0] / (1.0 - 0.8f64.powf(t)) / (root + 1e-3);
            }),
        );
    }
    check(
        "adamw",
        both!(AdamW::new(0.01).weight_decay(0.5)),
        each(2, |t, p, g, s| {
            s[0] = 0.9 * s[0] + 0.1 * g;
            s[1] = 0.999 * s[1] + 0.001 * g * g;
            let root = (s[1] / (1.0 - 0.999f64.powf(t))).sqrt();
            *p *= 1.0 - 0.01 * 0.5;
            *p -= 0.01 * s[0] / (1.0 - 0.9f64.powf(t)) / (root + 1e-8);
        }),
    );
    check(
        "adamax",
        both!(
            Adamax::new(0.01)
                .betas(0.8, 0.9)
                .eps(1e-3)
                .weight_decay(0.1)
        ),
        each(2, |t, p, g, s| {
            let g = g + 0.1 * *p;
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] = (0.9 * s[1]).max(g.abs() + 1e-3);
            *p -= 0.01 / (1.0 - 0.8f64.powf(t)) * s[0] / s[1];
        }),
    );
    check(
        "nadam",
        both!(
            NAdam::new(0.01)
                .betas(0.8, 0.9)
                .eps(1e-3)
                .momentum_decay(0.05)
                .weight_decay(0.1)
        ),
        each(3, |t, p, g, s| {
            let g = g + 0.1 * *p;
            let mu = |t: f64| 0.8 * (1.0 - 0.5 * 0.96f64.powf(0.05 * t));
            // The last slot is the product of all μ, with 0 for none yet.
            let product = if t == 1.0 { mu(1.0) } else { s[2] * mu(t) };
            s[2] = product;
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] = 0.9 * s[1] + 0.1 * g * g;
            let root = (s[1] / (1.0 - 0.9f64.powf(t))).sqrt() + 1e-3;
            let m = mu(t + 1.0) * s[0] / (1.0 - product * mu(t + 1.0));
            *p -= 0.01 * (m + (1.0 - mu(t)) * g / (1.0 - product)) / root;
        }),
    );
    check(
        "radam",
        both!(RAdam::new(0.01).betas(0.8, 0.9).eps(1e-3)),
        each(2, |t, p, g, s| {
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] = 0.9 * s[1] + 0.1 * g * g;
            let m = s[0] / (1.0 - 0.8f64.powf(t));
            let inf: f64 = 2.0 / 0.1 - 1.0;
            let b = 0.9f64.powf(t);
            let rho = inf - 2.0 * t * b / (1.0 - b);
            if rho > 5.0 {
                let r =
                    ((rho - 4.0) * (rho - 2.0) * inf / ((inf - 4.0) * (inf - 2.0) * rho)).sqrt();
                *p -= 0.01 * m * r * (1.0 - b).sqrt() / (s[1].sqrt() + 1e-3);
            } else {
                *p -= 0.01 * m;
            }
        }),
    );
}

/// The mask of the cautious variants, scaled.
fn cautious(u: &[f64], g: &[f64]) -> Vec<f64> {
    let mask: Vec<f64> = u
        .iter()
        .zip(g)
        .map(|(u, g)| f64::from(u8::from(u * g > 0.0)))
        .collect();
    let mean = mask.iter().sum::<f64>() / mask.len() as f64;
    mask.iter().map(|m| m / mean.max(1e-3)).collect()
}

#[test]
fn cautious_variants() {
    check(
        "cautious adamw",
        both!(AdamW::new(0.01).weight_decay(0.1).eps(1e-3).cautious()),
        Box::new(|t, p, g, s| {
            zeros(s, 2, p.len());
            for i in 0..p.len() {
                s[0][i] = 0.9 * s[0][i] + 0.1 * g[i];
                s[1][i] = 0.999 * s[1][i] + 0.001 * g[i] * g[i];
            }
            let mask = cautious(&s[0], g);
            for i in 0..p.len() {
                let root = (s[1][i] / (1.0 - 0.999f64.powi(t as i32))).sqrt() + 1e-3;
                let m = s[0][i] / (1.0 - 0.9f64.powi(t as i32));
                p[i] = p[i] * (1.0 - 0.001) - 0.01 * m * mask[i] / root;
            }
        }),
    );
    check(
        "cautious amsgrad",
        both!(
            Adam::new(0.01)
                .betas(0.9, 0.5)
                .eps(1e-3)
                .amsgrad()
                .cautious()
        ),
        Box::new(|t, p, g, s| {
            zeros(s, 3, p.len());
            for i in 0..p.len() {
                s[0][i] = 0.9 * s[0][i] + 0.1 * g[i];
                s[1][i] = 0.5 * s[1][i] + 0.5 * g[i] * g[i];
                s[2][i] = s[2][i].max(s[1][i]);
            }
            let mask = cautious(&s[0], g);
            for i in 0..p.len() {
                let root = (s[2][i] / (1.0 - 0.5f64.powi(t as i32))).sqrt() + 1e-3;
                p[i] -= 0.01 * s[0][i] / (1.0 - 0.9f64.powi(t as i32)) * mask[i] / root;
            }
        }),
    );
    check(
        "cautious lion",
        both!(Lion::new(0.01).weight_decay(0.1).cautious()),
        Box::new(|_, p, g, s| {
            zeros(s, 1, p.len());
            let u: Vec<f64> = s[0]
                .iter()
                .zip(g)
                .map(|(m, g)| sign(0.9 * m + 0.1 * g))
                .collect();
            let mask = cautious(&u, g);
            for i in 0..p.len() {
                p[i] = p[i] * (1.0 - 0.001) - 0.01 * u[i] * mask[i];
                s[0][i] = 0.99 * s[0][i] + 0.01 * g[i];
            }
        }),
    );
}

#[test]
fn adagrad_family() {
    check(
        "adagrad",
        both!(
            Adagrad::new(0.1)
                .lr_decay(0.2)
                .weight_decay(0.1)
                .initial_accumulator(0.5)
        ),
        each(1, |t, p, g, s| {
            let g = g + 0.1 * *p;
            if t == 1.0 {
                s[0] = 0.5;
            }
            s[0] += g * g;
            *p -= 0.1 / (1.0 + 0.2 * (t - 1.0)) * g / (s[0].sqrt() + 1e-10);
        }),
    );
    check(
        "adadelta",
        both!(Adadelta::new(0.7).rho(0.8).eps(1e-3).weight_decay(0.1)),
        each(2, |_, p, g, s| {
            let g = g + 0.1 * *p;
            s[0] = 0.8 * s[0] + 0.2 * g * g;
            let d = g * (s[1] + 1e-3).sqrt() / (s[0] + 1e-3).sqrt();
            s[1] = 0.8 * s[1] + 0.2 * d * d;
            *p -= 0.7 * d;
        }),
    );
    for centered in [false, true] {
        let center = move |o: RmsProp<f64>| if centered { o.centered() } else { o };
        let center32 = move |o: RmsProp<f32>| if centered { o.centered() } else { o };
        check(
            "rmsprop",
            || {
                let make = (RmsProp::new(0.01), RmsProp::new(0.01));
                (
                    center32(make.0.alpha(0.7).eps(1e-2).momentum(0.6).weight_decay(0.1)),
                    center(make.1.alpha(0.7).eps(1e-2).momentum(0.6).weight_decay(0.1)),
                )
            },
            each(3, move |_, p, g, s| {
                let g = g + 0.1 * *p;
                s[0] = 0.7 * s[0] + 0.3 * g * g;
                s[1] = 0.7 * s[1] + 0.3 * g;
                let v = if centered { s[0] - s[1] * s[1] } else { s[0] };
                s[2] = 0.6 * s[2] + g / (v.max(0.0).sqrt() + 1e-2);
                *p -= 0.01 * s[2];
            }),
        );
    }
}

#[test]
fn beliefs() {
    check(
        "adabelief",
        both!(
            AdaBelief::new(0.01)
                .betas(0.8, 0.9)
                .eps(1e-3)
                .eps_root(1e-4)
                .weight_decay(0.1)
        ),
        each(2, |t, p, g, s| {
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] = 0.9 * s[1] + 0.1 * (g - s[0]).powi(2) + 1e-4;
            let root = (s[1] / (1.0 - 0.9f64.powf(t))).sqrt() + 1e-3;
            *p -= 0.01 * (s[0] / (1.0 - 0.8f64.powf(t)) / root + 0.1 * *p);
        }),
    );
    check(
        "yogi",
        both!(
            Yogi::new(0.01)
                .betas(0.8, 0.9)
                .initial_accumulator(1e-2)
                .weight_decay(0.1)
        ),
        each(2, |t, p, g, s| {
            if t == 1.0 {
                s.fill(1e-2);
            }
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] -= 0.1 * sign(s[1] - g * g) * g * g;
            let root = (s[1] / (1.0 - 0.9f64.powf(t))).sqrt() + 1e-3;
            *p -= 0.01 * (s[0] / (1.0 - 0.8f64.powf(t)) / root + 0.1 * *p);
        }),
    );
    check(
        "adan",
        both!(
            Adan::new(0.01)
                .beta1(0.9)
                .beta2(0.8)
                .beta3(0.7)
                .eps(1e-3)
                .weight_decay(0.1)
        ),
        each(4, |t, p, g, s| {
            let d = if t == 1.0 { 0.0 } else { g - s[3] };
            s[0] = 0.9 * s[0] + 0.1 * g;
            s[1] = 0.8 * s[1] + 0.2 * d;
            s[2] = 0.7 * s[2] + 0.3 * (g + 0.2 * d).powi(2);
            s[3] = g;
            let m = s[0] / (1.0 - 0.9f64.powf(t));
            let v = s[1] / (1.0 - 0.8f64.powf(t));
            let n = s[2] / (1.0 - 0.7f64.powf(t));
            *p -= 0.01 * ((m + 0.2 * v) / ((n + 1e-8).sqrt() + 1e-3) + 0.1 * *p);
        }),
    );
    check(
        "sophia",
        both!(
            Sophia::new(0.01)
                .betas(0.8, 0.9)
                .weight_decay(0.1)
                .clip(0.5)
                .gamma(2.0)
        ),
        // Without an observation the curvature is 0 and every step is clipped, but for zeros.
        each(1, |_, p, g, s| {
            s[0] = 0.8 * s[0] + 0.2 * g;
            let u = if s[0] == 0.0 { 0.0 } else { 0.5 * sign(s[0]) };
            *p -= 0.01 * (u + 0.1 * *p);
        }),
    );
}

#[test]
fn signs() {
    check(
        "signsgd",
        both!(SignSgd::new(0.01).weight_decay(0.1)),
        each(0, |_, p, g, _| {
            *p -= 0.01 * (sign(g) + 0.1 * *p);
        }),
    );
    check(
        "signum",
        both!(SignSgd::new(0.01).momentum(0.8)),
        each(1, |_, p, g, s| {
            s[0] = 0.8 * s[0] + 0.2 * g;
            *p -= 0.01 * sign(s[0]);
        }),
    );
    check(
        "lion",
        both!(Lion::new(0.01).betas(0.7, 0.8).weight_decay(0.1)),
        each(1, |_, p, g, s| {
            let u = sign(0.7 * s[0] + 0.3 * g);
            *p -= 0.01 * (u + 0.1 * *p);
            s[0] = 0.8 * s[0] + 0.2 * g;
        }),
    );
    check(
        "rprop",
        both!(
            Rprop::new(0.01)
                .eta_minus(0.4)
                .eta_plus(1.3)
                .step_min(1e-3)
                .step_max(0.015)
        ),
        each(2, |t, p, g, s| {
            if t == 1.0 {
                s[1] = 0.01;
            }
            let mut g = g;
            if g * s[0] > 0.0 {
                s[1] *= 1.3;
            } else if g * s[0] < 0.0 {
                s[1] *= 0.4;
                g = 0.0;
            }
            s[1] = s[1].clamp(1e-3, 0.015);
            *p -= sign(g) * s[1];
            s[0] = g;
        }),
    );
}

#[test]
fn layerwise() {
    for nesterov in [false, true] {
        let on = move |o: Lars<f64>| if nesterov { o.nesterov() } else { o };
        let on32 = move |o: Lars<f32>| if nesterov { o.nesterov() } else { o };
        check(
            "lars",
            || {
                let make = (Lars::new(0.5), Lars::new(0.5));
                (
                    on32(make.0.weight_decay(0.1).trust(0.02).eps(1e-3)),
                    on(make.1.weight_decay(0.1).trust(0.02).eps(1e-3)),
                )
            },
            Box::new(move |_, p, g, s| {
                zeros(s, 1, p.len());
                let d: Vec<f64> = g.iter().zip(&*p).map(|(g, p)| g + 0.1 * p).collect();
                let ratio = 0.02 * norm(p) / (norm(&d) + 1e-3);
                for i in 0..p.len() {
                    let u = 0.5 * ratio * d[i];
                    s[0][i] = 0.9 * s[0][i] + u;
                    p[i] -= if nesterov { 0.9 * s[0][i] + u } else { s[0][i] };
                }
            }),
        );
    }
    check(
        "lamb",
        both!(
            Lamb::new(0.01)
                .betas(0.8, 0.9)
                .eps(1e-3)
                .eps_root(1e-4)
                .weight_decay(0.1)
        ),
        Box::new(|t, p, g, s| {
            zeros(s, 2, p.len());
            let mut u = vec![0.0; p.len()];
            for i in 0..p.len() {
                s[0][i] = 0.8 * s[0][i] + 0.2 * g[i];
                s[1][i] = 0.9 * s[1][i] + 0.1 * g[i] * g[i];
                let root = (s[1][i] / (1.0 - 0.9f64.powi(t as i32)) + 1e-4).sqrt() + 1e-3;
                u[i] = s[0][i] / (1.0 - 0.8f64.powi(t as i32)) / root + 0.1 * p[i];
            }
            let ratio = norm(p) / norm(&u);
            p.iter_mut()
                .zip(&u)
                .for_each(|(p, u)| *p -= 0.01 * ratio * u);
        }),
    );
    // Vectors take ratio 1 when only matrices are adapted.
    check(
        "lamb on vectors",
        both!(Lamb::new(0.01).matrices_only()),
        each(2, |t, p, g, s| {
            s[0] = 0.9 * s[0] + 0.1 * g;
            s[1] = 0.999 * s[1] + 0.001 * g * g;
            let root = (s[1] / (1.0 - 0.999f64.powf(t))).sqrt() + 1e-6;
            *p -= 0.01 * s[0] / (1.0 - 0.9f64.powf(t)) / root;
        }),
    );
    check(
        "novograd",
        both!(
            NovoGrad::new(0.01)
                .betas(0.8, 0.6)
                .eps(1e-3)
                .eps_root(1e-4)
                .weight_decay(0.1)
        ),
        Box::new(|t, p, g, s| {
            zeros(s, 2, p.len());
            let square = norm(g).powi(2);
            let nu = if t == 1 {
                square
            } else {
                0.6 * s[1][0] + 0.4 * square
            };
            s[1][0] = nu;
            for i in 0..p.len() {
                let d = g[i] / ((nu + 1e-4).sqrt() + 1e-3) + 0.1 * p[i];
                s[0][i] = if t == 1 { d } else { 0.8 * s[0][i] + d };
                p[i] -= 0.01 * s[0][i];
            }
        }),
    );
}

#[test]
fn averages() {
    check(
        "asgd",
        both!(
            Asgd::new(0.1)
                .lambd(0.05)
                .alpha(0.6)
                .t0(4.0)
                .weight_decay(0.1)
        ),
        each(0, |t, p, g, _| {
            let eta = if t == 1.0 {
                0.1
            } else {
                0.1 / (1.0 + 0.05 * 0.1 * (t - 1.0)).powf(0.6)
            };
            let g = g + 0.1 * *p;
            *p = *p * (1.0 - 0.05 * eta) - eta * g;
        }),
    );
    check(
        "schedule-free sgd",
        both!(ScheduleFreeSgd::new(0.1).beta(0.7).weight_decay(0.1)),
        // Memory: z, x; the model holds y. With a constant rate the average is the plain mean of z.
        each(2, |t, y, g, s| {
            if t == 1.0 {
                s.fill(*y);
            }
            s[0] -= 0.1 * (g + 0.1 * *y);
            s[1] += (s[0] - s[1]) / t;
            *y = 0.7 * s[1] + 0.3 * s[0];
        }),
    );
    check(
        "schedule-free adamw",
        both!(
            ScheduleFreeAdamW::new(0.01)
                .beta(0.7)
                .beta2(0.9)
                .eps(1e-3)
                .weight_decay(0.1)
        ),
        each(3, |t, y, g, s| {
            if t == 1.0 {
                (s[0], s[1]) = (*y, *y);
            }
            s[2] = 0.9 * s[2] + 0.1 * g * g;
            let root = (s[2] / (1.0 - 0.9f64.powf(t))).sqrt() + 1e-3;
            s[0] -= 0.01 * (g / root + 0.1 * *y);
            s[1] += (s[0] - s[1]) / t;
            *y = 0.7 * s[1] + 0.3 * s[0];
        }),
    );
}

/// Prodigy sums over the model, so its formula does, too.
#[test]
fn prodigy() {
    for safeguard in [false, true] {
        let mut r = Lcg(6);
        let n: usize = SIZES.iter().sum();
        // One direction with noise, so that the sums do not cancel.
        let base: Vec<f64> = (0..n).map(|_| r.next()).collect();
        let mut noisy = || base.iter().map(|b| b + 0.3 * r.next()).collect();
        let grads: Vec<Vec<f64>> = (0..STEPS).map(|_| noisy()).collect();
        let mut r = Lcg(5);
        let mut p: Vec<f64> = (0..n).map(|_| r.next()).collect();
        let start = p.clone();
        let (mut m, mut v, mut s) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let (mut d, mut numerator) = (1e-2f64, 0.0);
        let beta3 = 0.9f64.sqrt();
        for (k, g) in grads.iter().enumerate() {
            let k = k as f64 + 1.0;
            let gamma = 0.7 * d * (1.0 - 0.9f64.powf(k)).sqrt() / (1.0 - 0.8f64.powf(k));
            let rate = if safeguard { d } else { gamma };
            numerator *= beta3;
            for i in 0..n {
                numerator += gamma * d / 1e-2 * g[i] * (start[i] - p[i]);
                m[i] = 0.8 * m[i] + 0.2 * d * g[i];
                v[i] = 0.9 * v[i] + 0.1 * (d * g[i]).powi(2);
                s[i] = beta3 * s[i] + rate * d / 1e-2 * g[i];
            }
            let total: f64 = s.iter().map(|x| x.abs()).sum();
            d = d.max(2.0 * numerator / total);
            for i in 0..n {
                p[i] -= gamma * (m[i] / (v[i].sqrt() + d * 1e-8) + 0.1 * p[i]);
            }
        }
        let grads: Vec<Vec<Vec<f64>>> = grads
            .iter()
            .map(|g| vec![g[..SIZES[0]].to_vec(), g[SIZES[0]..].to_vec()])
            .collect();
        let make = Prodigy::<f64>::new(0.7)
            .betas(0.8, 0.9)
            .d0(1e-2)
            .d_coef(2.0)
            .weight_decay(0.1);
        let make = if safeguard {
            make.safeguard_warmup()
        } else {
            make
        };
        let found = run(make, &grads);
        assert!(d > 1e-2, "the estimate must have moved");
        for (a, b) in found.iter().zip(&p) {
            assert!((a - b).abs() < 1e-12, "{a} against {b}");
        }
    }
}

#[test]
fn vectors_under_matrix_rules() {
    check(
        "adafactor",
        both!(
            Adafactor::new(0.3)
                .beta2_decay(-0.6)
                .d(1.5)
                .weight_decay(0.1)
                .eps2(1e-2)
        ),
        Box::new(|t, p, g, s| {
            zeros(s, 1, p.len());
            let (t, n) = (t as f64, p.len() as f64);
            let w = t.powf(-0.6);
            let alpha = (norm(p) / n.sqrt()).max(1e-2) * (1.0 / t.sqrt()).min(0.3);
            for i in 0..p.len() {
                s[0][i] = (1.0 - w) * s[0][i] + w * g[i] * g[i];
            }
            let u: Vec<f64> = g
                .iter()
                .zip(&s[0])
                // ε₁ is so small that it only matters for exact zeros.
                .map(|(g, v)| if *v == 0.0 { 0.0 } else { g / v.sqrt() })
                .collect();
            let clip = (norm(&u) / n.sqrt() / 1.5).max(1.0);
            for i in 0..p.len() {
                p[i] = p[i] * (1.0 - 0.3 * 0.1) - alpha * u[i] / clip;
            }
        }),
    );
    check(
        "muon",
        both!(
            Muon::new(0.02)
                .adam_lr_scale(0.5)
                .adam_beta1(0.8)
                .adam_beta2(0.9)
                .adam_eps(1e-3)
        ),
        each(2, |t, p, g, s| {
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] = 0.9 * s[1] + 0.1 * g * g;
            let root = (s[1] / (1.0 - 0.9f64.powf(t))).sqrt() + 1e-3;
            *p = *p * (1.0 - 0.01 * 0.01) - 0.01 * s[0] / (1.0 - 0.8f64.powf(t)) / root;
        }),
    );
    check(
        "soap",
        both!(Soap::new(0.02).betas(0.8, 0.9).eps(1e-3).weight_decay(0.1)),
        each(2, |t, p, g, s| {
            if t == 1.0 {
                return;
            }
            let k = t - 1.0;
            s[0] = 0.8 * s[0] + 0.2 * g;
            s[1] = 0.9 * s[1] + 0.1 * g * g;
            let size = 0.02 * (1.0 - 0.9f64.powf(k)).sqrt() / (1.0 - 0.8f64.powf(k));
            *p = (*p - size * s[0] / (s[1].sqrt() + 1e-3)) * (1.0 - 0.02 * 0.1);
        }),
    );
}
