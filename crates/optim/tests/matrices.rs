//! The matrix forms of Muon, SOAP and Adafactor, and Sophia's curvature, against their formulas in plain loops.

mod common;

use common::{Lcg, Params};
use wengert_autograd::{Gradients, Param, Tensor};
use wengert_optim::*;

const STEPS: usize = 9;

type Matrix = Vec<Vec<f64>>;

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let dot = |r: &[f64], j: usize| r.iter().zip(b).map(|(x, row)| x * row[j]).sum();
    let row = |r: &Vec<f64>| (0..b[0].len()).map(|j| dot(r, j)).collect();
    a.iter().map(row).collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len())
        .map(|j| a.iter().map(|r| r[j]).collect())
        .collect()
}

fn map2(a: &Matrix, b: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    let row = |(x, y): (&Vec<f64>, &Vec<f64>)| x.iter().zip(y).map(|(x, y)| f(*x, *y)).collect();
    a.iter().zip(b).map(row).collect()
}

fn zeros(rows: usize, cols: usize) -> Matrix {
    vec![vec![0.0; cols]; rows]
}

fn norm(a: &Matrix) -> f64 {
    a.iter().flatten().map(|x| x * x).sum::<f64>().sqrt()
}

/// `formula(t, parameter, gradient)` against an optimizer on a matrix of `rows × cols`.
fn check<R: rule::Rule>(
    name: &str,
    (rows, cols): (usize, usize),
    mut optimizer: Optimizer<R, f64>,
    mut formula: impl FnMut(usize, &mut Matrix, &Matrix),
) {
    let mut r = Lcg(3);
    let matrix = |r: &mut Lcg| -> Matrix {
        (0..rows)
            .map(|_| (0..cols).map(|_| r.next()).collect())
            .collect()
    };
    let mut p = matrix(&mut r);
    let flat = |m: &Matrix| Tensor::from_vec(m.concat(), [rows, cols]);
    let mut model = Params(vec![("w".to_string(), Param::new(flat(&p)))]);
    for t in 1..=STEPS {
        let g = matrix(&mut r);
        let grads = Gradients::from_parts(0.0, vec![(model.0[0].1.id(), flat(&g))], vec![]);
        optimizer.step(&mut model, &grads);
        formula(t, &mut p, &g);
        let d = common::distance(&model.values(), &p.concat());
        assert!(d < 1e-10, "{name} {rows}x{cols} step {t}: {d:e}");
    }
}

#[test]
fn muon() {
    for shape in [(3, 5), (5, 3), (4, 4)] {
        for nesterov in [true, false] {
            let o = Muon::new(0.05).momentum(0.8).weight_decay(0.2);
            let o = if nesterov { o } else { o.plain_momentum() };
            let mut b = zeros(shape.0, shape.1);
            check("muon", shape, o, |_, p, g| {
                b = map2(&b, g, |b, g| 0.8 * b + 0.2 * g);
                let u = if nesterov {
                    map2(&b, g, |b, g| 0.2 * g + 0.8 * b)
                } else {
                    b.clone()
                };
                let n = norm(&u);
                let mut x = map2(&u, &u, |u, _| u / n);
                for _ in 0..5 {
                    let a = product(&x, &transposed(&x));
                    let poly = map2(&a, &product(&a, &a), |a, aa| -4.775 * a + 2.0315 * aa);
                    x = map2(&x, &product(&poly, &x), |x, y| 3.4445 * x + y);
                }
                let scale = (shape.0 as f64 / shape.1 as f64).max(1.0).sqrt();
                *p = map2(p, &x, |p, x| p * (1.0 - 0.05 * 0.2) - 0.05 * scale * x);
            });
        }
    }
}

#[test]
fn adafactor() {
    for shape in [(3, 5), (4, 2)] {
        let o = Adafactor::new(0.3)
            .beta2_decay(-0.6)
            .d(1.0)
            .weight_decay(0.1)
            .eps2(1e-2);
        let (mut row, mut col) = (vec![0.0; shape.0], vec![0.0; shape.1]);
        check("adafactor", shape, o, |t, p, g| {
            let (t, n) = (t as f64, (shape.0 * shape.1) as f64);
            let w = t.powf(-0.6);
            for i in 0..shape.0 {
                let mean = g[i].iter().map(|x| x * x).sum::<f64>() / shape.1 as f64;
                row[i] = (1.0 - w) * row[i] + w * mean;
            }
            for j in 0..shape.1 {
                let mean = g.iter().map(|r| r[j] * r[j]).sum::<f64>() / shape.0 as f64;
                col[j] = (1.0 - w) * col[j] + w * mean;
            }
            let all = row.iter().sum::<f64>() / shape.0 as f64;
            let mut u = g.clone();
            for i in 0..shape.0 {
                for j in 0..shape.1 {
                    u[i][j] /= (row[i] * col[j] / all).sqrt();
                }
            }
            let alpha = (norm(p) / n.sqrt()).max(1e-2) * 0.3f64.min(1.0 / t.sqrt());
            let clip = (norm(&u) / n.sqrt() / 1.0).max(1.0);
            *p = map2(p, &u, |p, u| p * (1.0 - 0.3 * 0.1) - alpha * u / clip);
        });
    }
}

/// Eigenvectors as columns, by Jacobi rotations, by falling eigenvalue.
fn eigenvectors(a: &Matrix) -> Matrix {
    let n = a.len();
    let mut a = a.clone();
    let mut q = zeros(n, n);
    (0..n).for_each(|i| q[i][i] = 1.0);
    for _ in 0..60 {
        for i in 0..n {
            for j in i + 1..n {
                let angle = 0.5 * (2.0 * a[i][j]).atan2(a[i][i] - a[j][j]);
                let (s, c) = angle.sin_cos();
                let mut turn = zeros(n, n);
                (0..n).for_each(|k| turn[k][k] = 1.0);
                (turn[i][i], turn[j][j], turn[i][j], turn[j][i]) = (c, c, -s, s);
                a = product(&transposed(&turn), &product(&a, &turn));
                q = product(&q, &turn);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    let row = |r: &Vec<f64>| order.iter().map(|&i| r[i]).collect();
    q.iter().map(row).collect()
}

/// The columns made orthonormal, one after the other.
fn orthonormal(a: &Matrix) -> Matrix {
    let mut columns = transposed(a);
    for i in 0..columns.len() {
        for j in 0..i {
            let dot: f64 = columns[i].iter().zip(&columns[j]).map(|(x, y)| x * y).sum();
            let other = columns[j].clone();
            columns[i]
                .iter_mut()
                .zip(other)
                .for_each(|(x, y)| *x -= dot * y);
        }
        let n = columns[i].iter().map(|x| x * x).sum::<f64>().sqrt();
        columns[i].iter_mut().for_each(|x| *x /= n);
    }
    transposed(&columns)
}

#[test]
fn soap() {
    // Square, so that neither side's statistics lack a direction, whose eigenvectors would be anyone's choice.
    let n = 4;
    let o = Soap::new(0.05)
        .betas(0.9, 0.8)
        .with("shampoo_beta", 0.7)
        .eps(1e-3)
        .weight_decay(0.1)
        .precondition_every(3);
    let (mut l, mut r) = (zeros(n, n), zeros(n, n));
    let (mut ql, mut qr) = (zeros(n, n), zeros(n, n));
    let (mut m, mut v) = (zeros(n, n), zeros(n, n));
    check("soap", (n, n), o, |t, p, g| {
        let k = t as i32 - 1;
        if k > 0 {
            m = map2(&m, g, |m, g| 0.9 * m + 0.1 * g);
            let rotated = product(&transposed(&ql), &product(g, &qr));
            v = map2(&v, &rotated, |v, g| 0.8 * v + 0.2 * g * g);
            let mean = product(&transposed(&ql), &product(&m, &qr));
            let u = map2(&mean, &v, |m, v| m / (v.sqrt() + 1e-3));
            let u = product(&ql, &product(&u, &transposed(&qr)));
            let size = 0.05 * (1.0 - 0.8f64.powi(k)).sqrt() / (1.0 - 0.9f64.powi(k));
            *p = map2(p, &u, |p, u| (p - size * u) * (1.0 - 0.05 * 0.1));
        }
        l = map2(&l, &product(g, &transposed(g)), |l, x| 0.7 * l + 0.3 * x);
        r = map2(&r, &product(&transposed(g), g), |r, x| 0.7 * r + 0.3 * x);
        if k == 0 {
            (ql, qr) = (eigenvectors(&l), eigenvectors(&r));
        } else if k % 3 == 0 {
            for (left, gram, q) in [(true, &l, &mut ql), (false, &r, &mut qr)] {
                let gq = product(gram, q);
                let weight: Vec<f64> = (0..n)
                    .map(|j| (0..n).map(|i| q[i][j] * gq[i][j]).sum())
                    .collect();
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| weight[b].total_cmp(&weight[a]));
                let pick = |row: &Vec<f64>| order.iter().map(|&i| row[i]).collect();
                *q = orthonormal(&gq.iter().map(pick).collect());
                v = if left {
                    order.iter().map(|&i| v[i].clone()).collect()
                } else {
                    v.iter().map(pick).collect()
                };
            }
        }
    });
}

#[test]
fn sophia() {
    let (rows, cols) = (3, 2);
    let mut o = Sophia::<f64>::new(0.05)
        .betas(0.8, 0.7)
        .gamma(0.5)
        .clip(0.6)
        .weight_decay(0.1);
    let mut r = Lcg(8);
    let mut model = Params(vec![(
        "w".to_string(),
        Param::new(r.tensor(&[rows, cols], 1.0)),
    )]);
    let mut p = model.values();
    let (mut m, mut h) = (vec![0.0; 6], vec![0.0; 6]);
    let mut clipped = 0;
    for t in 1..=20i32 {
        let id = model.0[0].1.id();
        let g: Tensor<f64> = r.tensor(&[rows, cols], 1.0);
        let e: Tensor<f64> = r.tensor(&[rows, cols], 2.0);
        let of = |x: &Tensor<f64>| Gradients::from_parts(0.0, vec![(id, x.clone())], vec![]);
        if t % 3 == 1 {
            o.observe_hessian(&model, &of(&e));
            h.iter_mut()
                .zip(e.iter())
                .for_each(|(h, e)| *h = 0.7 * *h + 0.3 * e);
        } else if t % 3 == 2 {
            o.observe_gauss_newton(&model, &of(&e), 4);
            h.iter_mut()
                .zip(e.iter())
                .for_each(|(h, e)| *h = 0.7 * *h + 0.3 * 4.0 * e * e);
        }
        o.step(&mut model, &of(&g));
        for (i, g) in g.iter().enumerate() {
            m[i] = 0.8 * m[i] + 0.2 * g;
            let u = m[i] / (1.0 - 0.8f64.powi(t)) / (0.5 * h[i]).max(1e-8);
            clipped += i32::from(u.abs() > 0.6);
            p[i] = p[i] * (1.0 - 0.05 * 0.1) - 0.05 * u.clamp(-0.6, 0.6);
        }
        let d = common::distance(&model.values(), &p);
        assert!(d < 1e-12, "step {t}: {d:e}");
    }
    assert!(
        (20..100).contains(&clipped),
        "both sides of the clip: {clipped}"
    );
}
