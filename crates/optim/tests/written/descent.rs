//! Descent, averages of the weights, signs.

use super::*;

pub fn gradient_descent() {
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
        "momentum, decoupled decay",
        both!(Sgd::new(0.1).momentum(0.9).weight_decay(0.2).decoupled()),
        each(1, |_, p, g, s| {
            s[0] = 0.9 * s[0] + g;
            *p = *p * (1.0 - 0.02) - 0.1 * s[0];
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

pub fn averages() {
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

pub fn signs() {
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
