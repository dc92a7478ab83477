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
        "clamp_max",
        |x| x.clamp_max(1.0),
        &[1.0, 1.5],
        &[1.0, 1.0],
        &[1.0, 0.0],
    ),
    (
        "clamp, equal limits",
        |x| x.clamp(1.0, 1.0),
        &[0.5, 1.0, 1.5],
        &[1.0, 1.0, 1.0],
        &[0.0, 1.0, 0.0],
    ),
    (
        "clamp, crossing limits",
        |x| x.clamp(2.0, 1.0),
        &[1.0, 1.5, 2.0],
        &[1.0, 1.0, 1.0],
        &[0.0, 0.0, 0.0],
    ),
    (
        "bce_with_logits",
        |x| {
            let tape = x.tape();
            let t = tape.input(&Tensor::from_slice(&[0.0, 1.0], [2]));
            x.bce_with_logits(t, None) + x.bce_with_logits(t, Some(tape.full([2], 3.0)))
        },
        &[-INF, INF],
        &[0.0, 0.0],
        &[0.0, 0.0],
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
    (
        "rem, infinite divisor",
        |x| x % -INF,
        &[-1.0, 0.0, 4.0],
        &[-1.0, 0.0, -INF],
        &[1.0, 1.0, 1.0],
    ),
    (
        "rem, derivative for the divisor",
        |x| x.tape().scalar(-1.0) % x,
        &[2.0, -2.0, INF, -INF],
        &[1.0, -1.0, INF, -1.0],
        &[1.0, 0.0, 1.0, 0.0],
    ),
    (
        "floor_div",
        |x| x.floor_div(x.tape().scalar(0.1)),
        &[3.0, -3.0, 0.0],
        &[29.0, -30.0, 0.0],
        &[0.0, 0.0, 0.0],
    ),
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
        "gelu_tanh",
        |x| x.gelu_tanh(),
        &[-INF, INF],
        &[0.0, INF],
        &[0.0, 1.0],
    ),
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
    let two = tape.input(&Tensor::from_slice(&[1.0, 2.0], [2]));
    assert_eq!((two.var(2.0).item(), two.var(3.0).item()), (INF, INF));
    for shape in [&[0, 2][..], &[0, 2, 3], &[0, 2, 9], &[3, 2, 0]] {
        let x = tape.zeros(shape);
        let (w, b) = (tape.ones([2]), tape.ones([2]));
        let (y, mean, var) = x.batch_normalized(Some(w), Some(b), 1e-5, true);
        assert_eq!(y.shape().as_slice(), shape);
        for v in [mean, var, x.batch_statistics().0, x.batch_statistics().1] {
            assert!(v.shape().as_slice() == [2] && v.value().iter().all(f64::is_nan));
        }
        assert_eq!((slope(y, w), slope(y, b)), (vec![0.0; 2], vec![0.0; 2]));
        assert_eq!(slope(y, x), []);
    }
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

fn matrix<'t>(tape: &'t Tape<f64>, v: &[f64], n: usize) -> Var<'t, f64> {
    tape.input(&Tensor::from_slice(v, [v.len() / n, n]))
}

fn slope<'t>(y: Var<'t, f64>, x: Var<'t, f64>) -> Vec<f64> {
    grad(y.sum(), [x])[0].value().to_vec()
}

#[test]
fn losses_at_the_margin() {
    let tape = Tape::<f64>::inference();
    let zero = |y: Var<'_, f64>, x: Var<'_, f64>, name: &str| {
        assert!(
            y.value().iter().all(|v| v == 0.0),
            "{name}: {:?}",
            y.value()
        );
        assert!(slope(y, x).iter().all(|&v| v == 0.0), "{name}");
    };
    let x = tape.input(&Tensor::from_slice(&[1.0, -1.0], [2]));
    zero(x.hinge(x), x, "hinge");
    // The right class ahead of the other by the margin of 1.
    let row = matrix(&tape, &[2.0, 1.0], 2);
    zero(
        row.multi_margin(&Tensor::from_slice(&[0i64], [1]), 1, 1.0, None),
        row,
        "multi_margin",
    );
    let (a, b) = (
        tape.input(&Tensor::from_slice(&[1.0], [1])),
        tape.input(&Tensor::from_slice(&[0.5], [1])),
    );
    zero(
        a.margin_ranking(b, tape.ones([1]), 0.5),
        a,
        "margin_ranking",
    );
    // Distances 1 and 3, margin 2.
    let anchor = matrix(&tape, &[0.0, 0.0], 2);
    let (near, far) = (matrix(&tape, &[1.0, 0.0], 2), matrix(&tape, &[3.0, 0.0], 2));
    let y = anchor.triplet(near, far, 2.0, 2.0, false);
    assert!(y.value().iter().all(|v| v.abs() <= 1e-5), "{:?}", y.value());
    // Both sides of huber and smooth_l1 agree at δ: the derivative is ±δ and ±1.
    let d = tape.input(&Tensor::from_slice(&[0.5, -0.5], [2]));
    assert_eq!(slope(d.huber(0.5), d), [0.5, -0.5]);
    assert_eq!(slope(d.smooth_l1(tape.zeros([2]), 0.5), d), [1.0, -1.0]);
    let y = x.l1(x);
    zero(y, x, "l1");
    let [v, one] = [1e-9, 1.0].map(|v| tape.input(&Tensor::from_slice(&[v], [1])));
    assert_eq!(slope(one.gaussian_nll(a, v, false, 1e-6), v), [0.0]);
}

#[test]
fn pools_of_zeros_and_of_equals() {
    let tape = Tape::<f64>::inference();
    let x = tape.zeros([1, 1, 4]);
    let y = x.lp_pool(2.0, [2]);
    assert_eq!(
        (y.value().to_vec(), slope(y, x)),
        (vec![0.0; 2], vec![0.0; 4])
    );
    let x = tape.ones([1, 1, 4]);
    assert_eq!(slope(x.max_pool([2]), x), [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(slope(x.adaptive_max_pool([2]), x), [1.0, 0.0, 1.0, 0.0]);
    // Padding never wins.
    let x = -tape.ones([1, 1, 2]);
    let padded = wengert_autograd::ops::pool::Pool::new([2])
        .stride([2])
        .padding([1]);
    assert_eq!(x.max_pool(padded).value().to_vec(), [-1.0, -1.0]);
}

#[test]
fn ctc_without_an_alignment() {
    let tape = Tape::<f64>::inference();
    // The same label twice needs a blank between, and so three steps.
    let x = tape.zeros([2, 1, 3]);
    let labels = Tensor::from_slice(&[1i64, 1], [1, 2]);
    let run = |zero: bool| {
        let y = x.log_softmax(-1).ctc(&labels, &[2], &[2], 0, zero);
        (y.value().to_vec(), slope(y, x))
    };
    let (y, g) = run(false);
    assert!(y == [INF] && g.iter().all(|g| g.is_nan()), "{y:?} {g:?}");
    assert_eq!(run(true), (vec![0.0], vec![0.0; 6]));
    // Forward mode says the same.
    let direction = tape.input(&Tensor::from_fn([2, 1, 3], |i| (i[0] + 2 * i[2]) as f64));
    for zero in [true, false] {
        let y = x.log_softmax(-1).ctc(&labels, &[2], &[2], 0, zero);
        let slope = y.jvp([x], [direction]).item();
        assert!(if zero { slope == 0.0 } else { slope.is_nan() }, "{slope}");
    }
}

#[test]
fn linear_algebra_at_its_edges() {
    let tape = Tape::<f64>::inference();
    let infinite = |v: &[f64]| v.iter().any(|x| !x.is_finite());
    // Repeated eigenvalues and singular values: vectors have no derivative, values have one.
    let eye = tape.eye(3) * 2.0;
    let weights = tape.input(&Tensor::from_fn([3, 3], |i| (1 + i[0] * 3 + i[1]) as f64));
    assert!(infinite(&slope(eye.eigh().1 * weights, eye)));
    assert!(infinite(&slope(eye.svd().0 * weights, eye)));
    assert!(!infinite(&slope(
        eye.eigvalsh() * weights.narrow(0, 0, 1),
        eye
    )));
    assert!(!infinite(&slope(
        eye.svdvals() * weights.narrow(0, 0, 1),
        eye
    )));
    // cholesky and eigh read their input as symmetric: what lies above the diagonal does not matter on its own, and the
    // cotangent is symmetric.
    let a = matrix(&tape, &[4.0, 1.0, 1.0, 3.0], 2);
    for g in [
        slope(a.cholesky() * weights.narrow(0, 0, 2).narrow(1, 0, 2), a),
        slope(a.eigh().1 * weights.narrow(0, 0, 2).narrow(1, 0, 2), a),
        slope(a.eigh().0.square(), a),
    ] {
        assert_eq!(g[1], g[2]);
    }
    // QR: Q R is the input and R upper triangular, whatever the signs; a column twice leaves no derivative.
    let b = matrix(&tape, &[1.0, 2.0, -3.0, 4.0, 5.0, -1.0], 2);
    let (q, r) = b.qr();
    for (x, y) in q.matmul(r).value().iter().zip(b.value().iter()) {
        assert!((x - y).abs() <= 1e-14);
    }
    assert_eq!(r.value().to_vec()[2], 0.0);
    let twice = matrix(&tape, &[1.0, 1.0, 2.0, 2.0, 2.0, 2.0], 2);
    let g = slope(twice.qr().0 * weights.narrow(1, 0, 2), twice);
    assert!(infinite(&g) || g.iter().any(|g| g.abs() > 1e12), "{g:?}");
    // A singular matrix.
    let m = matrix(&tape, &[1.0, 2.0, 2.0, 4.0], 2);
    let (sign, log) = m.slogdet();
    assert_eq!((sign.item(), log.item(), m.det().item()), (0.0, -INF, 0.0));
    for (g, e) in slope(m.det(), m).iter().zip([4.0, -2.0, -2.0, 1.0]) {
        assert!((g - e).abs() <= 1e-14);
    }
}

#[test]
fn places_named_twice() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_slice(&[1.0, 2.0, 4.0], [3]));
    let base = tape.zeros([2]);
    let at = Tensor::from_slice(&[1i64, 0, 1], [3]);
    let y = base.scatter(0, &at, x);
    assert_eq!(
        (y.value().to_vec(), slope(y, x)),
        (vec![2.0, 4.0], vec![0.0, 1.0, 1.0])
    );
    let y = base.scatter_add(0, &at, x);
    assert_eq!(
        (y.value().to_vec(), slope(y, x)),
        (vec![2.0, 5.0], vec![1.0; 3])
    );
    let y = base.index_add(0, &at, x);
    assert_eq!(
        (y.value().to_vec(), slope(y, x)),
        (vec![2.0, 5.0], vec![1.0; 3])
    );
    // A label that is ignored.
    let rows = matrix(&tape, &[1.0, 2.0, 3.0, 5.0], 2);
    let labels = Tensor::from_slice(&[-1i64, 0], [2]);
    let y = rows.cross_entropy_rows(&labels, Some(-1));
    assert_eq!(y.value().to_vec()[0], 0.0);
    assert_eq!(slope(y, rows)[..2], [0.0, 0.0]);
    let (l, w) = rows.nll(&labels, None, Some(-1));
    assert_eq!((l.value().to_vec()[0], w.value().to_vec()[0]), (0.0, 0.0));
}

#[test]
fn selections_and_supports() {
    let tape = Tape::<f64>::inference();
    // The element that is left out gets a zero cotangent, which √'s infinite derivative turns into NaN.
    let x = tape.input(&Tensor::from_slice(&[0.0, 4.0], [2]));
    let y = x.sqrt().mask(x);
    assert_eq!(y.value().to_vec(), [0.0, 2.0]);
    let g = slope(y, x);
    assert!(g[0].is_nan() && g[1] == 0.25, "{g:?}");
    let g = slope(x.masked_fill(x, 7.0), x);
    assert_eq!(g, [1.0, 0.0]);
    let signs = tape.input(&Tensor::from_slice(&[-1.0, -1.0], [2]));
    assert_eq!(slope(x.copysign(signs), x), [0.0, -1.0]);
    // On the border of the support: outside.
    let x = tape.input(&Tensor::from_slice(&[1.0, 0.0], [2]));
    let y = x.sparsemax(0);
    assert_eq!(y.value().to_vec(), [1.0, 0.0]);
    assert_eq!(slope(y * signs.narrow(0, 0, 1), x), [0.0, 0.0]);
}

#[test]
fn activations_far_to_the_left() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_slice(&[-INF, -1e300], [2]));
    for y in [x.silu(), x.gelu(), x.mish()] {
        assert_eq!(y.value().to_vec(), [0.0, 0.0]);
    }
    for y in [x.silu(), x.gelu()] {
        assert_eq!(slope(y, x), [0.0, 0.0]);
    }
    let (a, b) = (tape.zeros([1]), tape.zeros([1]));
    assert_eq!(slope(a.atan2(b), a), [0.0]);
    assert!(slope(a.hypot(b), a)[0].is_nan());
}

/// Every row of the table "Kinks and edges" names a function that a test of this file computes.
#[test]
fn every_row_of_the_conventions_is_computed() {
    let page = include_str!("../../../docs/conventions.md");
    let table = page.split("## Kinks and edges").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let own = include_str!("kinks.rs");
    let mut rows = 0;
    let mut missing = Vec::new();
    for row in table
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| function"))
    {
        rows += 1;
        let cell = row.split('|').nth(1).unwrap();
        let words = cell.split(|c: char| !c.is_alphanumeric() && c != '_');
        let computed =
            |w: &str| own.contains(&format!(".{w}(")) || own.contains(&format!("(\"{w}\""));
        let names: Vec<&str> = words.filter(|w| w.len() > 1).collect();
        // Some rows speak of a family: the word is then the one of the test.
        let family = ["comparisons", "sums", "scatter", "derivative"];
        if !names.iter().any(|w| computed(w) || family.contains(w)) {
            missing.push(cell.trim());
        }
    }
    assert!(rows >= 40, "{rows}");
    assert!(missing.is_empty(), "no test computes {missing:?}");
}

/// Logits of minus infinity: the loss of a label that has one is infinite, smoothed or not; of another class, only smoothed.
#[test]
fn cross_entropy_at_minus_infinity() {
    let tape = Tape::<f64>::inference();
    let x = Tensor::from_vec(vec![f64::NEG_INFINITY, 1.0, 2.0, 3.0], [1, 4]);
    let x = tape.input(&x);
    let loss = |label: i64, smoothing: f64| {
        let label = Tensor::from_vec(vec![label], [1]);
        let (losses, _) = x.cross_entropy_weighted(&label, None, None, smoothing);
        losses.value().to_vec()[0]
    };
    assert_eq!(loss(0, 0.0), f64::INFINITY);
    assert_eq!(loss(0, 0.1), f64::INFINITY);
    assert!(loss(3, 0.0).is_finite());
    assert_eq!(loss(3, 0.1), f64::INFINITY);
}
