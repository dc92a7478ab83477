//! Other second moments.

use super::*;

pub fn adagrad_family() {
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

pub fn beliefs() {
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
        "sophia, a floor under the curvature",
        both!(
            Sophia::new(0.01)
                .betas(0.8, 0.9)
                .weight_decay(0.1)
                .clip(0.5)
                .eps(0.9)
        ),
        each(1, |t, p, g, s| {
            s[0] = 0.8 * s[0] + 0.2 * g;
            *p -= 0.01 * ((s[0] / (1.0 - 0.8f64.powf(t)) / 0.9).clamp(-0.5, 0.5) + 0.1 * *p);
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

/// With one gradient for ever the variance is 0 but for rounding, which may make it negative.
pub fn variance_of_a_constant() {
    for buffered in [false, true] {
        let mut negative = false;
        for k in 1..40 {
            let g = 0.1 + 0.037 * k as f64;
            let grads: Vec<Vec<Vec<f64>>> = (0..80)
                .map(|_| SIZES.iter().map(|n| vec![g; *n]).collect())
                .collect();
            let make = || {
                let o = RmsProp::<f64>::new(1e-3).centered().alpha(0.5).eps(1e-4);
                if buffered { o.momentum(1e-9) } else { o }
            };
            let (before, after) = (run(make(), &grads[..79]), run(make(), &grads));
            for (a, b) in before.iter().zip(&after) {
                let step = (a - b) / (1e-3 * g / 1e-4);
                assert!((0.99..1.01).contains(&step), "{g}: {step}");
            }
            let (mut v, mut a) = (0.0f64, 0.0f64);
            for _ in 0..80 {
                v = (g * g - v) * 0.5 + v;
                a = (g - a) * 0.5 + a;
            }
            negative |= v < a * a;
        }
        assert!(negative, "no rounding to test");
    }
}
