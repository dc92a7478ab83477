//! Adam and its kin.

use super::*;

pub fn adam_family() {
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

pub fn cautious_variants() {
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
