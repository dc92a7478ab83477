//! Rules with norms over tensors or the model, matrix rules on vectors.

use super::*;

pub fn layerwise() {
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

/// Prodigy sums over the model, so its formula does, too.
pub fn prodigy() {
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

pub fn vectors_under_matrix_rules() {
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
