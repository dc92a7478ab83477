//! Extreme arguments and NaN.

use super::*;

#[test]
fn extreme_logits() {
    let inf = f64::INFINITY;
    for big in [1e3, 1e300] {
        let (y, g) = gradient(|x| x.softmax(0).narrow(0, 0, 1), &[big, -big, 0.0]);
        assert_eq!((y[0], g), (1.0, vec![0.0; 3]));
        let (y, g) = gradient(|x| x.log_softmax(0), &[big, -big, 0.0]);
        assert_eq!((y[0], y[1], y[2]), (0.0, -2.0 * big, -big));
        assert_eq!(g, [-2.0, 1.0, 1.0]);
        let (y, g) = gradient(|x| x.logsumexp(), &[big, -big, 0.0]);
        assert_eq!((y[0], g), (big, vec![1.0, 0.0, 0.0]));
        let (y, g) = gradient(|x| x.softplus(), &[big, -big]);
        assert_eq!((y, g), (vec![big, 0.0], vec![1.0, 0.0]));
        let (y, g) = gradient(|x| x.logsigmoid(), &[big, -big]);
        assert_eq!((y, g), (vec![0.0, -big], vec![0.0, 1.0]));
        let labels = Tensor::from_vec(vec![0i64], [1]);
        let (y, g) = gradient(|x| x.unsqueeze(0).cross_entropy(&labels), &[big, -big]);
        assert_eq!((y[0], g), (0.0, vec![0.0, 0.0]));
        let labels = Tensor::from_vec(vec![1i64], [1]);
        let (y, g) = gradient(|x| x.unsqueeze(0).cross_entropy(&labels), &[big, -big]);
        assert_eq!((y[0], g), (2.0 * big, vec![1.0, -1.0]));
        let (y, g) = gradient(
            |x| {
                x.bce_with_logits(
                    x.tape()
                        .input(&Tensor::from_vec(vec![1.0, 1.0, 0.0, 0.0], [4])),
                    None,
                )
            },
            &[big, -big, big, -big],
        );
        assert_eq!(
            (y, g),
            (vec![0.0, big, big, 0.0], vec![0.0, -1.0, 1.0, 0.0])
        );
    }
    // One -∞ among finite numbers takes no part.
    let (y, g) = gradient(|x| x.softmax(0), &[-inf, 0.0, 0.0]);
    assert_eq!((y, g), (vec![0.0, 0.5, 0.5], vec![0.0; 3]));
    let (y, g) = gradient(|x| x.logsumexp(), &[-inf, 1.0, 1.0]);
    assert!((y[0] - 1.0 - 2f64.ln()).abs() < 1e-15);
    assert_eq!(g, [0.0, 0.5, 0.5]);
    assert_eq!(gradient(|x| x.logsumexp(), &[-inf, -inf]).0, [-inf]);
}

#[test]
fn a_nan_reaches_exactly_what_depends_on_it() {
    type F = for<'t> fn(Var<'t, f64>) -> Var<'t, f64>;
    // Operation on [3, 5], and whether element (i, k) of the input has a part in output element number o.
    let cases: &[(&str, F, fn(usize, usize, usize) -> bool)] = &[
        ("sum", |x| x.sum(), |_, _, _| true),
        ("sum rows", |x| x.sum_dim([1], false), |i, _, o| i == o),
        ("sum columns", |x| x.sum_dim([0], false), |_, k, o| k == o),
        ("mean", |x| x.mean_dim([1], false), |i, _, o| i == o),
        ("var", |x| x.var_dim([0], 1.0, false), |_, k, o| k == o),
        ("amax", |x| x.amax_dim([1], false), |i, _, o| i == o),
        ("amax columns", |x| x.amax_dim([0], false), |_, k, o| k == o),
        ("amin", |x| x.amin_dim([0], false), |_, k, o| k == o),
        ("amin all", |x| x.amin(), |_, _, _| true),
        ("max", |x| x.max_dim(1, false).0, |i, _, o| i == o),
        ("min", |x| x.min_dim(1, false).0, |i, _, o| i == o),
        ("prod", |x| x.prod_dim(1, false), |i, _, o| i == o),
        ("norm", |x| x.norm_dim(2.0, [1], false), |i, _, o| i == o),
        (
            "logsumexp",
            |x| x.logsumexp_dim([1], false),
            |i, _, o| i == o,
        ),
        ("median", |x| x.median_dim(1, false).0, |i, _, o| i == o),
        (
            "quantile",
            |x| x.quantile_dim(0.3, 1, false),
            |i, _, o| i == o,
        ),
        ("softmax", |x| x.softmax(1), |i, _, o| i == o / 5),
        (
            "log_softmax columns",
            |x| x.log_softmax(0),
            |_, k, o| k == o % 5,
        ),
        (
            "cumsum",
            |x| x.cumsum(1),
            |i, k, o| i == o / 5 && o % 5 >= k,
        ),
        (
            "layer_norm",
            |x| x.layer_norm(1, None, None, 1e-5),
            |i, _, o| i == o / 5,
        ),
        (
            "rms_norm",
            |x| x.rms_norm(1, None, 1e-5),
            |i, _, o| i == o / 5,
        ),
        (
            "matmul",
            |x| x.matmul(x.tape().zeros([5, 2])),
            |i, _, o| i == o / 2,
        ),
        ("relu", |x| x.relu(), |i, k, o| 5 * i + k == o),
        ("clamp", |x| x.clamp(-1.0, 1.0), |i, k, o| 5 * i + k == o),
        (
            "sort",
            |x| x.sort_values(1, false),
            |i, _, o| o == 5 * i + 4,
        ),
        ("topk", |x| x.topk_values(1, 1, true), |i, _, o| i == o),
        ("kthvalue", |x| x.kthvalue(5, 1, false).0, |i, _, o| i == o),
        (
            "cumprod",
            |x| x.cumprod(1),
            |i, k, o| i == o / 5 && o % 5 >= k,
        ),
        (
            "logcumsumexp",
            |x| x.logcumsumexp(1),
            |i, k, o| i == o / 5 && o % 5 >= k,
        ),
        ("std", |x| x.std_dim([1], 1.0, false), |i, _, o| i == o),
        ("norm 1", |x| x.norm_dim(1.0, [0], false), |_, k, o| k == o),
        ("norm 3", |x| x.norm_dim(3.0, [1], false), |i, _, o| i == o),
        (
            "norm infinity",
            |x| x.norm_dim(f64::INFINITY, [1], false),
            |i, _, o| i == o,
        ),
        ("prod columns", |x| x.prod_dim(0, false), |_, k, o| k == o),
        ("sparsemax", |x| x.sparsemax(1), |i, _, o| i == o / 5),
        (
            "max_pool",
            |x| x.unsqueeze(0).max_pool(Pool::new([2]).stride([1])),
            |i, k, o| i == o / 4 && (o % 4 == k || o % 4 + 1 == k),
        ),
        (
            "avg_pool",
            |x| {
                x.unsqueeze(0)
                    .avg_pool(Pool::new([2]).stride([1]), Divisor::Window)
            },
            |i, k, o| i == o / 4 && (o % 4 == k || o % 4 + 1 == k),
        ),
        (
            "lp_pool",
            |x| x.unsqueeze(0).lp_pool(2.0, Pool::new([2]).stride([1])),
            |i, k, o| i == o / 4 && (o % 4 == k || o % 4 + 1 == k),
        ),
        (
            "adaptive_avg_pool",
            |x| x.unsqueeze(0).adaptive_avg_pool([1]),
            |i, _, o| i == o,
        ),
        (
            "group_norm",
            |x| x.group_norm(1, None, None, 1e-5),
            |i, _, o| i == o / 5,
        ),
        (
            "batch_norm",
            |x| x.batch_normalized(None, None, 1e-5, true).0,
            |_, k, o| k == o % 5,
        ),
        (
            "local_response_norm",
            |x| x.local_response_norm(1, 1.0, 0.75, 1.0),
            |i, k, o| 5 * i + k == o,
        ),
    ];
    for (name, f, depends) in cases {
        for i in 0..3 {
            for k in 0..5 {
                let mut x = Numbers(3).tensor(&[3, 5]);
                x.as_mut_slice()[5 * i + k] = f64::NAN;
                let tape = Tape::<f64>::inference();
                let y = f(tape.input(&x)).value().to_vec();
                for (o, y) in y.iter().enumerate() {
                    assert_eq!(
                        y.is_nan(),
                        depends(i, k, o),
                        "{name}: NaN at ({i}, {k}), output {o}: {y}"
                    );
                }
            }
        }
    }
    // Long lines: a NaN at every place of the vector loops and their rests, both kinds of reduction.
    for n in [1, 31, 32, 33, 64, 100, 257, 1000, 1500] {
        for at in (0..n).step_by(1 + n / 13) {
            let mut x = Tensor::<f32>::full([3, n], 1.0);
            x.as_mut_slice()[n + at] = f32::NAN;
            let tape = Tape::<f32>::inference();
            let v = tape.input(&x);
            for y in [
                v.amax_dim([1], false),
                v.amin_dim([1], false),
                v.sum_dim([1], false),
                (v * 2.0).amax_dim([1], false),
            ] {
                let nan: Vec<bool> = y.value().iter().map(f32::is_nan).collect();
                assert_eq!(nan, [false, true, false], "{n}, {at}");
            }
            assert_eq!(v.argmax(1, false).to_vec(), [0, at as i64, 0]);
            let columns = v.amax_dim([0], false).value();
            assert_eq!(columns.iter().filter(|x| x.is_nan()).count(), 1);
        }
    }
}
