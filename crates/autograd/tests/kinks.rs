//! The conventions of `docs/conventions.md` at kinks, ties and edges.

use wengert_autograd::{Tape, Tensor, Var, grad};

type F = for<'t> fn(Var<'t, f64>) -> Var<'t, f64>;

const INF: f64 = f64::INFINITY;

/// Function, where, value, gradient of its sum.
const CASES: &[(&str, F, &[f64], &[f64], &[f64])] = &[
    ("relu", |x| x.relu(), &[0.0, -0.0], &[0.0, 0.0], &[0.0, 0.0]),
    (
        "relu6",
        |x| x.relu6(),
        &[0.0, 6.0],
        &[0.0, 6.0],
        &[0.0, 0.0],
    ),
    (
        "hardtanh",
        |x| x.hardtanh(-1.0, 1.0),
        &[-1.0, 1.0],
        &[-1.0, 1.0],
        &[0.0, 0.0],
    ),
    (
        "hardsigmoid",
        |x| x.hardsigmoid(),
        &[-3.0, 3.0],
        &[0.0, 1.0],
        &[0.0, 0.0],
    ),
    (
        "threshold",
        |x| x.threshold(0.5, 2.0),
        &[0.5],
        &[2.0],
        &[0.0],
    ),
    (
        "hardswish",
        |x| x.hardswish(),
        &[-3.0, 3.0],
        &[0.0, 3.0],
        &[0.0, 1.0],
    ),
    (
        "leaky_relu",
        |x| x.leaky_relu(0.25),
        &[0.0],
        &[0.0],
        &[0.25],
    ),
    ("elu", |x| x.elu(0.5), &[0.0], &[0.0], &[0.5]),
    ("celu", |x| x.celu(2.0), &[0.0], &[0.0], &[1.0]),
    (
        "softshrink",
        |x| x.softshrink(0.5),
        &[0.5, -0.5],
        &[0.0, 0.0],
        &[0.0, 0.0],
    ),
    (
        "hardshrink",
        |x| x.hardshrink(0.5),
        &[0.5, -0.5],
        &[0.0, 0.0],
        &[0.0, 0.0],
    ),
    ("abs", |x| x.abs(), &[0.0, -0.0], &[0.0, 0.0], &[0.0, 0.0]),
    (
        "huber",
        |x| x.huber(0.5),
        &[0.5, -0.5],
        &[0.125, 0.125],
        &[0.5, -0.5],
    ),
    ("maximum", |x| x.maximum(x.detach()), &[2.0], &[2.0], &[0.5]),
    ("minimum", |x| x.minimum(x.detach()), &[2.0], &[2.0], &[0.5]),
    (
        "amax",
        |x| x.amax(),
        &[3.0, 1.0, 3.0],
        &[3.0],
        &[0.5, 0.0, 0.5],
    ),
    (
        "amin",
        |x| x.amin(),
        &[1.0, 1.0, 3.0],
        &[1.0],
        &[0.5, 0.5, 0.0],
    ),
    (
        "norm infinity",
        |x| x.norm(INF),
        &[3.0, -3.0, 1.0],
        &[3.0],
        &[0.5, -0.5, 0.0],
    ),
    (
        "max_dim",
        |x| x.max_dim(0, false).0,
        &[3.0, 1.0, 3.0],
        &[3.0],
        &[1.0, 0.0, 0.0],
    ),
    (
        "min_dim",
        |x| x.min_dim(0, false).0,
        &[3.0, 1.0, 1.0],
        &[1.0],
        &[0.0, 1.0, 0.0],
    ),
    (
        "topk",
        |x| x.topk(1, 0, true).0,
        &[1.0, 3.0, 3.0],
        &[3.0],
        &[0.0, 1.0, 0.0],
    ),
    (
        "topk_values",
        |x| x.topk_values(1, 0, true),
        &[1.0, 3.0, 3.0],
        &[3.0],
        &[0.0, 1.0, 0.0],
    ),
    (
        "kthvalue",
        |x| x.kthvalue(2, 0, false).0,
        &[3.0, 3.0, 1.0],
        &[3.0],
        &[1.0, 0.0, 0.0],
    ),
    (
        "median",
        |x| x.median(),
        &[4.0, 1.0, 3.0, 2.0],
        &[2.0],
        &[0.0, 0.0, 0.0, 1.0],
    ),
    (
        "quantile",
        |x| x.quantile(0.5),
        &[4.0, 1.0, 3.0, 2.0],
        &[2.5],
        &[0.0, 0.0, 0.5, 0.5],
    ),
    (
        "max_pool",
        |x| x.reshape([1, 1, 4]).max_pool([2]),
        &[1.0, 1.0, 0.0, 2.0],
        &[1.0, 2.0],
        &[1.0, 0.0, 0.0, 1.0],
    ),
    (
        "clamp",
        |x| x.clamp(-1.0, 1.0),
        &[-1.0, 1.0, 2.0],
        &[-1.0, 1.0, 1.0],
        &[1.0, 1.0, 0.0],
    ),
    (
        "clamp_min",
        |x| x.clamp_min(1.0),
        &[0.5, 1.0],
        &[1.0, 1.0],
        &[0.0, 1.0],
    ),
    (
        "nan_to_num",
        |x| x.nan_to_num(7.0, 9.0),
        &[f64::NAN, INF, 1.0],
        &[7.0, 9.0, 1.0],
        &[0.0, 0.0, 1.0],
    ),
    (
        "pow 0",
        |x| x.pow(x.tape().scalar(0.0)),
        &[0.0, 2.0],
        &[1.0, 1.0],
        &[0.0, 0.0],
    ),
    (
        "rpow 0",
        |x| x.rpow(0.0),
        &[0.0, 2.0],
        &[1.0, 0.0],
        &[0.0, 0.0],
    ),
    (
        "round",
        |x| x.round(),
        &[0.5, 1.5, -2.5],
        &[0.0, 2.0, -2.0],
        &[0.0, 0.0, 0.0],
    ),
    ("rem", |x| x % 3.0, &[-1.0, 4.0], &[2.0, 1.0], &[1.0, 1.0]),
    ("sqrt", |x| x.sqrt(), &[0.0], &[0.0], &[INF]),
    ("ln", |x| x.ln(), &[0.0], &[-INF], &[INF]),
    ("norm", |x| x.norm(2.0), &[0.0, 0.0], &[0.0], &[0.0, 0.0]),
    (
        "norm 1",
        |x| x.norm(1.0),
        &[0.0, -2.0],
        &[2.0],
        &[0.0, -1.0],
    ),
    (
        "norm 3",
        |x| x.norm(3.0),
        &[0.0, -2.0],
        &[2.0],
        &[0.0, -1.0],
    ),
    ("std", |x| x.std(1.0), &[2.0, 2.0], &[0.0], &[0.0, 0.0]),
    ("sinc", |x| x.sinc(), &[0.0], &[1.0], &[0.0]),
    ("xlogy", |x| x.xlogy(x.detach()), &[0.0], &[0.0], &[-INF]),
    (
        "prod",
        |x| x.prod(),
        &[0.0, 3.0, 5.0],
        &[0.0],
        &[15.0, 0.0, 0.0],
    ),
    (
        "cumprod",
        |x| x.cumprod(0),
        &[0.0, 3.0, 5.0],
        &[0.0, 0.0, 0.0],
        &[19.0, 0.0, 0.0],
    ),
    (
        "softmax",
        |x| x.softmax(0),
        &[-INF, 0.0, 0.0],
        &[0.0, 0.5, 0.5],
        &[0.0, 0.0, 0.0],
    ),
    (
        "dropout 1",
        |x| x.dropout(1.0),
        &[1.0, INF],
        &[0.0, 0.0],
        &[0.0, 0.0],
    ),
    ("silu", |x| x.silu(), &[-INF], &[0.0], &[0.0]),
    ("gelu", |x| x.gelu(), &[-INF], &[0.0], &[0.0]),
    (
        "where",
        |x| x.gt_scalar(0.0).where_(x, x * 0.0),
        &[-1.0, 1.0],
        &[0.0, 1.0],
        &[0.0, 1.0],
    ),
];

#[test]
fn at_kinks_and_ties() {
    let mut failed = String::new();
    for (name, f, at, value, slope) in CASES {
        let tape = Tape::<f64>::training(0);
        let x = tape.input(&Tensor::from_slice(at, [at.len()]));
        let y = f(x);
        let (v, g) = (y.value().to_vec(), grad(y.sum(), [x])[0].value().to_vec());
        let same = |a: &[f64], b: &[f64]| {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a == b || (a - b).abs() <= 1e-15)
        };
        if !same(&v, value) || !same(&g, slope) {
            failed += &format!(
                "{name} at {at:?}: {v:?}, derivative {g:?}; expected {value:?}, {slope:?}\n"
            );
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn over_nothing() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::zeros([0]));
    assert_eq!(x.sum().item(), 0.0);
    assert_eq!(x.prod().item(), 1.0);
    assert_eq!(x.norm(2.0).item(), 0.0);
    assert_eq!(x.logsumexp().item(), -INF);
    assert_eq!((x.all().item(), x.any().item()), (1.0, 0.0));
    assert!(x.mean().item().is_nan() && x.var(1.0).item().is_nan());
    let one = tape.input(&Tensor::ones([1]));
    assert!(one.var(1.0).item().is_nan());
}

#[test]
fn stable_order() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_slice(&[1.0, 0.0, f64::NAN, -0.0, 1.0], [5]));
    assert_eq!(x.argsort(0, false).to_vec(), [1, 3, 0, 4, 2]);
    assert_eq!(x.argsort(0, true).to_vec(), [2, 0, 4, 1, 3]);
    assert_eq!(
        (x.argmax(0, false).item(), x.argmin(0, false).item()),
        (2, 2)
    );
    let none = tape.input(&Tensor::from_slice(&[0.5, 0.0, -0.0], [3]));
    assert_eq!(none.argmin(0, false).item(), 1);
    // A singular matrix has a determinant with an exact derivative, and repeated eigenvalues have finite ones.
    let m = tape.input(&Tensor::from_slice(&[1.0, 2.0, 2.0, 4.0], [2, 2]));
    let [d] = grad(m.det(), [m]);
    assert!(
        d.value()
            .iter()
            .zip([4.0, -2.0, -2.0, 1.0])
            .all(|(a, b)| (a - b).abs() < 1e-14)
    );
    let eye = tape.eye(3) * 2.0;
    assert!(
        grad(eye.eigvalsh().square().sum(), [eye])[0]
            .value()
            .iter()
            .all(f64::is_finite)
    );
}
