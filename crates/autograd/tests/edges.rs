//! Values and gradients at infinities and at limits that are out of order, as PyTorch gives them.

use wengert_autograd::{Float, Tape, Tensor, Var, grad};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

fn vector<T: Float>(x: &[f64]) -> Tensor<T> {
    Tensor::from_vec(
        x.iter().map(|&x| T::from_f64(x)).collect::<Vec<_>>(),
        [x.len()],
    )
}

#[track_caller]
fn same<T: Float>(what: &str, found: &Tensor<T>, expected: &[f64]) {
    let found: Vec<f64> = found.iter().map(|x| x.as_f64()).collect();
    let close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-6;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(|(&a, &b)| close(a, b)),
        "{what}: expected {expected:?}, found {found:?}"
    );
}

type F<T> = for<'t> fn(Var<'t, T>) -> Var<'t, T>;

/// Value of `f` and gradient of its sum.
#[track_caller]
fn check<T: Float>(what: &str, f: F<T>, x: &[f64], value: &[f64], slope: &[f64]) {
    let tape = Tape::<T>::training(0);
    let v = tape.input(&vector(x));
    let y = f(v);
    same(what, &y.value(), value);
    let g = grad(y.sum(), [v])[0];
    same(&format!("gradient of {what}"), &g.value(), slope);
}

#[test]
fn clamp_takes_the_upper_limit_where_the_limits_cross() {
    let x = [0.0, 1.0, 1.5, 2.0, 5.0, -INF, INF];
    check::<f64>("clamp", |x| x.clamp(2.0, 1.0), &x, &[1.0; 7], &[0.0; 7]);
    check::<f32>("clamp", |x| x.clamp(2.0, 1.0), &x, &[1.0; 7], &[0.0; 7]);
    let tape = Tape::<f64>::inference();
    let x = tape.input(&vector(&[NAN, 0.0]));
    same("clamp", &x.clamp(2.0, 1.0).value(), &[NAN, 1.0]);
    same("clamp", &x.clamp(1.0, 2.0).value(), &[NAN, 1.0]);
}

#[test]
fn limits_that_are_nan_make_nan() {
    let cases: [F<f64>; 4] = [
        |x| x.clamp(NAN, 1.0),
        |x| x.clamp(-1.0, NAN),
        |x| x.hardtanh(NAN, 1.0),
        |x| x.hardtanh(-1.0, NAN),
    ];
    for f in cases {
        check("a limit", f, &[0.0, 2.0, INF], &[NAN; 3], &[0.0; 3]);
    }
}

/// x, t, p, loss, derivatives for x, for t and for p: the limit where the logit is infinite.
const WEIGHTED: [[f64; 7]; 16] = [
    [INF, 0.0, 2.0, INF, 1.0, -INF, 0.0],
    [INF, 1.0, 2.0, 0.0, 0.0, -INF, 0.0],
    [INF, 0.5, 2.0, INF, 0.5, -INF, 0.0],
    [INF, 1.0, 0.0, 0.0, 0.0, -INF, 0.0],
    [-INF, 0.0, 2.0, 0.0, 0.0, INF, 0.0],
    [-INF, 1.0, 2.0, INF, -2.0, INF, INF],
    [-INF, 0.5, 2.0, INF, -1.0, INF, INF],
    [-INF, 1.0, 0.0, 0.0, 0.0, 0.0, INF],
    [-INF, 0.5, 0.0, 0.0, 0.0, 0.0, INF],
    [800.0, 0.0, 2.0, 800.0, 1.0, -800.0, 0.0],
    [800.0, 1.0, 2.0, 0.0, 0.0, -800.0, 0.0],
    [-800.0, 1.0, 2.0, 1600.0, -2.0, 1600.0, 800.0],
    [-800.0, 0.5, 0.5, 200.0, -0.25, 400.0, 400.0],
    [-800.0, 0.0, 0.5, 0.0, 0.0, 400.0, 0.0],
    [
        0.0,
        0.0,
        3.0,
        std::f64::consts::LN_2,
        0.5,
        2.0 * std::f64::consts::LN_2,
        0.0,
    ],
    [
        0.0,
        1.0,
        3.0,
        3.0 * std::f64::consts::LN_2,
        -1.5,
        2.0 * std::f64::consts::LN_2,
        std::f64::consts::LN_2,
    ],
];

#[test]
fn weighted_binary_cross_entropy_is_the_limit_at_infinity() {
    fn one<T: Float>() {
        for [x, t, p, loss, dx, dt, dp] in WEIGHTED {
            let tape = Tape::<T>::training(0);
            let [x, t, p] = [x, t, p].map(|v| tape.input(&vector(&[v; 37])));
            let what = format!("{:?}", [x, t, p].map(|v| v.value().iter().next()));
            let y = x.bce_with_logits(t, Some(p));
            same(&what, &y.value(), &[loss; 37]);
            let found = grad(y.sum(), [x, t, p]);
            for (g, e) in found.into_iter().zip([dx, dt, dp]) {
                same(&format!("gradient at {what}"), &g.value(), &[e; 37]);
            }
        }
    }
    one::<f32>();
    one::<f64>();
}

#[test]
fn the_first_factor_of_a_recurrence_has_no_part_in_the_gradient() {
    check::<f32>(
        "cumprod",
        |x| x.cumprod(0),
        &[1e20; 3],
        &[1e20f32 as f64, INF, INF],
        &[INF; 3],
    );
    let ones: F<f32> = |a| a.linear_recurrence(a.tape().ones([3]), 0);
    check(
        "linear_recurrence",
        ones,
        &[7.0, INF, 1.0],
        &[1.0, INF, INF],
        &[0.0, 2.0, INF],
    );
    check::<f64>(
        "linear_recurrence",
        |a| a.linear_recurrence(a.tape().ones([1]), 0),
        &[INF],
        &[1.0],
        &[0.0],
    );
    check::<f64>(
        "linear_recurrence",
        |a| a.linear_recurrence(a, 0),
        &[],
        &[],
        &[],
    );
}

#[test]
fn recurrences_along_any_axis_have_second_derivatives() {
    // h[2] = b (1 + a[2] (1 + a[1])) for each column: its derivatives are products.
    let tape = Tape::<f64>::training(0);
    let a = tape.input(&Tensor::from_vec(
        vec![9.0, 2.0, 3.0, 9.0, 4.0, 5.0],
        [2, 3],
    ));
    let h = a.linear_recurrence(tape.ones([2, 3]), 1);
    let g = grad(h.sum(), [a])[0];
    same(
        "first",
        &g.value().reshape([6]),
        &[0.0, 4.0, 3.0, 0.0, 6.0, 5.0],
    );
    let weights = tape.input(&Tensor::from_vec(
        vec![5.0, 2.0, 7.0, 5.0, 3.0, 1.0],
        [2, 3],
    ));
    let second = grad((g * weights).sum(), [a])[0];
    same(
        "second",
        &second.value().reshape([6]),
        &[0.0, 7.0, 2.0, 0.0, 1.0, 3.0],
    );
}

/// Logit, target, loss, derivative for the logit.
const BCE: [(f64, f64, f64, f64); 8] = [
    (INF, 0.0, INF, 1.0),
    (INF, 0.5, INF, 0.5),
    (INF, 1.0, 0.0, 0.0),
    (-INF, 0.0, 0.0, 0.0),
    (-INF, 0.5, INF, -0.5),
    (-INF, 1.0, INF, -1.0),
    (NAN, 0.0, NAN, NAN),
    (NAN, 1.0, NAN, NAN),
];

#[test]
fn binary_cross_entropy_of_infinite_logits_is_the_limit() {
    fn one<T: Float>() {
        for (x, t, loss, slope) in BCE {
            let tape = Tape::<T>::training(0);
            // Wide enough for whole vectors and a rest.
            let v = tape.input(&vector(&[x; 37]));
            let y = v.bce_with_logits(tape.input(&vector(&[t; 37])), None);
            same(&format!("loss of {x} with {t}"), &y.value(), &[loss; 37]);
            let g = grad(y.sum(), [v])[0];
            same(
                &format!("gradient at {x} with {t}"),
                &g.value(),
                &[slope; 37],
            );
        }
    }
    one::<f32>();
    one::<f64>();
}

#[test]
fn binary_cross_entropy_of_finite_logits_is_the_formula() {
    fn one<T: Float>(eps: f64) {
        let numbers = [0.0, -0.0, 1e-3, -0.7, 3.0, -20.0, 90.0, -150.0, 1e30, -1e30];
        let targets = [0.0, 1.0, 0.5, 0.1, 1.0 - 1e-7, 1e-9];
        let pairs = numbers.iter().flat_map(|&x| targets.map(|t| (x, t)));
        let (x, t): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let tape = Tape::<T>::inference();
        let (x, t) = (tape.input(&vector(&x)), tape.input(&vector(&t)));
        let y = x.bce_with_logits(t, None).value();
        let both = x.value().iter().zip(t.value().iter()).collect::<Vec<_>>();
        for (y, (x, t)) in y.iter().zip(both) {
            let (x, t) = (x.as_f64(), t.as_f64());
            let exact = x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
            let size = x.abs() + 1.0;
            assert!((y.as_f64() - exact).abs() <= eps * size, "{x} {t}: {y}");
        }
    }
    one::<f32>(2.0 * f64::from(f32::EPSILON));
    one::<f64>(2.0 * f64::EPSILON);
}

/// Elements, value, gradient of the sum, and gradient of the gradient's sum with the weights 1, 2, 3.
const LOGCUMSUMEXP: [[[f64; 3]; 4]; 8] = [
    [[INF, 0.0, 1.0], [INF; 3], [NAN, 0.0, 0.0], [NAN, 0.0, 0.0]],
    [
        [0.0, INF, 1.0],
        [0.0, INF, INF],
        [1.0, NAN, 0.0],
        [0.0, NAN, 0.0],
    ],
    [
        [0.0, 1.0, INF],
        [0.0, 1.3132616875182228, INF],
        [1.268941421369995, 0.7310585786300049, NAN],
        [-0.19661193324148196, 0.19661193324148174, NAN],
    ],
    [[INF, INF, 0.0], [INF; 3], [NAN, NAN, 0.0], [NAN, NAN, 0.0]],
    // Where nothing but -∞ was met the derivatives are 0.
    [
        [-INF, 0.0, 1.0],
        [-INF, 0.0, 1.3132616875182228],
        [0.0, 1.268941421369995, 0.7310585786300049],
        [0.0, -0.19661193324148174, 0.19661193324148152],
    ],
    [
        [0.0, -INF, 1.0],
        [0.0, 0.0, 1.3132616875182228],
        [2.268941421369995, 0.0, 0.7310585786300049],
        [-0.3932238664829639, 0.0, 0.3932238664829637],
    ],
    [
        [-INF, -INF, 1.0],
        [-INF, -INF, 1.0],
        [0.0, 0.0, 1.0],
        [0.0; 3],
    ],
    [[0.0, NAN, 1.0], [0.0, NAN, NAN], [NAN; 3], [NAN; 3]],
];

#[test]
fn infinities_in_logcumsumexp_keep_to_themselves() {
    fn one<T: Float>() {
        for [x, value, slope, second] in LOGCUMSUMEXP {
            check::<T>(
                &format!("logcumsumexp of {x:?}"),
                |x| x.logcumsumexp(0),
                &x,
                &value,
                &slope,
            );
            let tape = Tape::<T>::training(0);
            let v = tape.input(&vector(&x));
            let g = grad(v.logcumsumexp(0).sum(), [v])[0];
            let weighted = (g * tape.input(&vector(&[1.0, 2.0, 3.0]))).sum();
            let g = grad(weighted, [v])[0];
            same(&format!("second of {x:?}"), &g.value(), &second);
        }
    }
    one::<f32>();
    one::<f64>();
}

#[test]
fn shares_too_small_for_the_sum_have_second_derivatives() {
    // The share e^-60 of the last element is lost in the sum, not in -p q.
    let tape = Tape::<f64>::training(0);
    let v = tape.input(&vector(&[0.0, -60.0]));
    let y = v.logcumsumexp(0).narrow(0, 1, 2);
    let g = grad(y.sum(), [v])[0];
    let second = grad(g.narrow(0, 0, 1).sum(), [v])[0].value();
    let share = (-60.0f64).exp();
    assert!(
        (second.to_vec()[1] / -share - 1.0).abs() < 1e-12,
        "{second:?}"
    );
}
