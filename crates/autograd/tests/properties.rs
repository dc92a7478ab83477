//! Properties that run across operations: broadcasting, extreme arguments, NaN, large offsets, threads.

mod dispatch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::ops::pool::{Divisor, Pool};
use wengert_autograd::{Param, Tape, Tensor, Var, vjp_many};

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Numbers(u64);
impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0) % n
    }
    fn tensor(&mut self, shape: &[usize]) -> Tensor<f64> {
        let n = shape.iter().product();
        Tensor::from_vec(
            (0..n)
                .map(|_| self.below(1 << 40) as f64 / 7e11 - 0.7)
                .collect(),
            shape,
        )
    }
}

/// Broadcasting by index loops: the shape, and for each output element the places of its operands.
fn reference(a: &[usize], b: &[usize]) -> Option<(Vec<usize>, Vec<[usize; 2]>)> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |k| s[k]);
    let mut shape = Vec::new();
    for i in 0..rank {
        shape.push(match (at(a, i), at(b, i)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return None,
        });
    }
    let n: usize = shape.iter().product();
    let places = (0..n).map(|flat| {
        [a, b].map(|s| {
            let (mut rest, mut place, mut step) = (flat, 0, 1);
            for i in (0..rank).rev() {
                let k = rest % shape[i];
                rest /= shape[i];
                let d = at(s, i);
                if d != 1 {
                    place += k * step;
                }
                step *= d;
            }
            place
        })
    });
    Some((shape.clone(), places.collect()))
}

#[test]
fn random_broadcast_pairs_against_index_loops() {
    let mut r = Numbers(1);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut refused = 0;
    let mut tape = Tape::<f64>::inference();
    for round in 0..20_000 {
        tape.reset();
        // Pairs that mostly fit: the second shape starts from the tail of the first.
        let rank = r.below(7) as usize;
        let a: Vec<usize> = (0..rank)
            .map(|_| [0, 1, 1, 2, 2, 3][r.below(6) as usize])
            .collect();
        let cut = r.below(rank as u64 + 1) as usize;
        let b: Vec<usize> = (a[cut..].iter())
            .map(|&d| {
                if r.below(3) == 0 {
                    1
                } else if r.below(25) == 0 {
                    3
                } else {
                    d
                }
            })
            .collect();
        let (a, b) = if r.below(2) == 0 { (a, b) } else { (b, a) };
        let (x, y) = (r.tensor(&a), r.tensor(&b));
        let (vx, vy) = (tape.input(&x), tape.input(&y));
        let sum = catch_unwind(AssertUnwindSafe(|| vx + vy));
        let Some((shape, places)) = reference(&a, &b) else {
            assert!(sum.is_err(), "{a:?} and {b:?} must be refused");
            refused += 1;
            continue;
        };
        let sum = sum.unwrap_or_else(|_| panic!("{a:?} and {b:?} fit"));
        assert_eq!(sum.shape().as_slice(), shape);
        let (x, y) = (x.to_vec(), y.to_vec());
        for (s, [i, k]) in sum.value().iter().zip(&places) {
            assert_eq!(s.to_bits(), (x[*i] + y[*k]).to_bits(), "{a:?} and {b:?}");
        }
        if round % 10 == 0 {
            // The gradient has the operand's shape: the cotangent summed over its uses.
            let c = r.tensor(&shape);
            let g = vjp_many(&[vx * vy], &[tape.input(&c)], &[vx, vy]);
            let mut expected = [vec![0.0; x.len()], vec![0.0; y.len()]];
            for (c, [i, k]) in c.iter().zip(&places) {
                expected[0][*i] += c * y[*k];
                expected[1][*k] += c * x[*i];
            }
            for (g, (e, s)) in g.iter().zip(expected.iter().zip([&a, &b])) {
                assert_eq!(g.shape().as_slice(), s.as_slice());
                for (g, e) in g.value().iter().zip(e) {
                    assert!((g - e).abs() <= 1e-13, "{a:?} and {b:?}");
                }
            }
        }
    }
    std::panic::set_hook(hook);
    assert!((200..15_000).contains(&refused), "{refused}");
}

fn gradient(f: impl for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let tape = Tape::<f64>::inference();
    let v = tape.input(&Tensor::from_slice(x, [x.len()]));
    let y = f(v);
    let c = tape.ones(y.shape());
    let g = vjp_many(&[y], &[c], &[v])[0];
    (y.value().to_vec(), g.value().to_vec())
}

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

#[test]
fn statistics_around_a_large_mean() {
    let mut r = Numbers(9);
    let n = 1000;
    let wide = Tape::<f64>::inference();
    let y: Vec<f64> = (0..n)
        .map(|_| 1e8 + r.below(1 << 30) as f64 / 536_870_912.0 - 1.0)
        .collect();
    let v = wide.input(&Tensor::from_slice(&y, [n]));
    let mean = y.iter().map(|x| x - 1e8).sum::<f64>() / n as f64;
    let e = y.iter().map(|x| (x - 1e8 - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    assert!((v.var(1.0).item() - e).abs() <= 1e-6 * e);
    assert!((v.std(1.0).item() - e.sqrt()).abs() <= 1e-6 * e.sqrt());
    // The same numbers without the offset give the same normalized ones.
    let c = wide.input(&Tensor::from_vec(y.iter().map(|x| x - 1e8).collect(), [n]));
    let (a, b) = (
        v.layer_norm(1, None, None, 0.0).value(),
        c.layer_norm(1, None, None, 0.0).value(),
    );
    assert!(a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() <= 1e-6));
    let rows = |x: Var<'_, f64>| {
        let x = x.reshape([n / 2, 2]);
        let (m, s) = x.batch_statistics();
        x.batch_norm(m, s, None, None, 0.0).value().to_vec()
    };
    assert!(
        rows(v)
            .iter()
            .zip(rows(c))
            .all(|(a, b)| (a - b).abs() <= 1e-6)
    );
}

/// In f32 the numbers themselves are rounded; what is computed from the rounded ones is compared with f64.
#[test]
fn statistics_around_a_large_mean_in_f32() {
    // At 1e8 neighbours are 8 apart.
    for (center, spread) in [
        (1e8, 1.0),
        (1e8, 100.0),
        (1e4, 1.0),
        (-3e6, 5.0),
        (0.0, 1.0),
    ] {
        let mut r = Numbers(9);
        let (rows, n) = (6, 1000);
        let x: Vec<f32> = (0..rows * n)
            .map(|_| {
                let u = r.below(1 << 30) as f64 / 536_870_912.0 - 1.0;
                (center + spread * u + spread / 9.0) as f32
            })
            .collect();
        // Two passes in f64: mean and variance of each row.
        let exact: Vec<(f64, f64)> = (x.chunks(n))
            .map(|row| {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
                let sum: f64 = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
                (mean, sum / n as f64)
            })
            .collect();
        let tape = Tape::<f32>::inference();
        let v = tape.input(&Tensor::from_slice(&x, [rows, n]));
        let close = |name: &str, found: Var<'_, f32>, expected: &dyn Fn(f64) -> f64| {
            for (f, (_, e)) in found.value().iter().zip(&exact) {
                let e = expected(*e);
                assert!(
                    (f64::from(f) - e).abs() <= 1e-6 * e,
                    "{name} at {center}: {f}, exact {e}"
                );
            }
        };
        close("var", v.var_dim([1], 0.0, false), &|e| e);
        close("var columns", v.t().var_dim([0], 0.0, false), &|e| e);
        close("std", v.std_dim([1], 0.0, false), &f64::sqrt);
        close("batch_statistics", v.t().batch_statistics().1, &|e| e);
        let channels = v.reshape([rows, 4, n / 4]).permute([1, 0, 2]);
        close(
            "batch_normalized",
            channels.batch_normalized(None, None, 0.0, false).2,
            &|e| e,
        );
        // The normalized numbers, relative to their unit size; and their derivative against f64.
        let wide = Tape::<f64>::inference();
        let w = wide.input(&Tensor::from_vec(
            x.iter().map(|&v| f64::from(v)).collect(),
            [rows, n],
        ));
        let c: Vec<f64> = (0..rows * n).map(|i| (i as f64 * 0.37).sin()).collect();
        let c32 = tape.input(&Tensor::from_vec(
            c.iter().map(|&x| x as f32).collect(),
            [rows, n],
        ));
        let c64 = wide.input(&Tensor::from_vec(
            c.iter().map(|&x| f64::from(x as f32)).collect(),
            [rows, n],
        ));
        let shape = [rows, 4, n / 4];
        let pairs = [
            (
                "layer_norm",
                v.layer_norm(1, None, None, 0.0),
                w.layer_norm(1, None, None, 0.0),
            ),
            (
                "group_norm",
                v.group_norm(1, None, None, 0.0),
                w.group_norm(1, None, None, 0.0),
            ),
            (
                "batch_norm",
                v.reshape(shape)
                    .permute([1, 0, 2])
                    .batch_normalized(None, None, 0.0, false)
                    .0
                    .permute([1, 0, 2])
                    .reshape([rows, n]),
                w.reshape(shape)
                    .permute([1, 0, 2])
                    .batch_normalized(None, None, 0.0, false)
                    .0
                    .permute([1, 0, 2])
                    .reshape([rows, n]),
            ),
        ];
        if center == 1e8 && spread == 1.0 {
            // All numbers are the same one after rounding.
            assert!(exact.iter().all(|e| e.1 == 0.0));
            continue;
        }
        for (name, y, z) in pairs {
            // z itself is compared with the definition.
            for (i, (z, x)) in z.value().iter().zip(&x).enumerate() {
                let (mean, var) = exact[i / n];
                assert!(
                    (z - (f64::from(*x) - mean) / var.sqrt()).abs() <= 1e-9,
                    "{name}"
                );
            }
            for (y, z) in y.value().iter().zip(z.value().iter()) {
                assert!(
                    (f64::from(y) - z).abs() <= 1e-6 * z.abs().max(1.0),
                    "{name} at {center}: {y}, exact {z}"
                );
            }
            let (gy, gz) = (
                vjp_many(&[y], &[c32], &[v])[0],
                vjp_many(&[z], &[c64], &[w])[0],
            );
            let scale = gz.value().iter().fold(0.0f64, |m, g| m.max(g.abs()));
            for (y, z) in gy.value().iter().zip(gz.value().iter()) {
                assert!(
                    (f64::from(y) - z).abs() <= 2e-6 * scale,
                    "derivative of {name} at {center}: {y}, exact {z}"
                );
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_runs() {
    type F = for<'t> fn(Var<'t, f32>) -> Var<'t, f32>;
    // Random data; sizes that cross the borders of chunks, tasks and vectors.
    let cases: &[(&str, F, &[usize])] = &[
        ("chain", |x| (x * 1.3).tanh() * x.exp(), &[101, 997]),
        ("sum", |x| x.sum(), &[101, 997]),
        ("sum rows", |x| x.sum_dim([1], false), &[101, 997]),
        ("sum columns", |x| x.sum_dim([0], false), &[997, 101]),
        ("sum middle", |x| x.sum_dim([1], false), &[33, 101, 37]),
        (
            "sum outer",
            |x| x.exp().sum_dim([0, 2], false),
            &[33, 101, 37],
        ),
        ("amax", |x| x.amax_dim([0], false), &[997, 101]),
        ("softmax", |x| x.softmax(1), &[101, 997]),
        ("softmax columns", |x| x.softmax(0), &[101, 997]),
        ("logsumexp", |x| x.logsumexp_dim([1], false), &[101, 997]),
        (
            "layer_norm",
            |x| x.layer_norm(1, None, None, 1e-5),
            &[101, 997],
        ),
        (
            "group_norm",
            |x| x.group_norm(2, None, None, 1e-5),
            &[21, 6, 801],
        ),
        ("cumsum", |x| x.cumsum(1), &[101, 997]),
        ("cumprod", |x| x.cumprod(0), &[101, 997]),
        ("sort", |x| x.sort_values(1, false), &[101, 997]),
        ("matmul", |x| x.matmul(x.t()), &[131, 257]),
        ("var", |x| x.var_dim([0], 1.0, false), &[997, 101]),
        (
            "prod",
            |x| (x * 0.01 + 1.0).prod_dim([1], false),
            &[101, 997],
        ),
        (
            "prod columns",
            |x| (x * 0.01 + 1.0).prod_dim([0], false),
            &[997, 101],
        ),
        ("amin all", |x| x.amin(), &[101, 997]),
        ("max", |x| x.max_dim(1, false).0, &[101, 997]),
        ("norm 3", |x| x.norm_dim(3.0, [0], false), &[997, 101]),
        ("median", |x| x.median_dim(1, false).0, &[101, 997]),
        ("quantile", |x| x.quantile_dim(0.3, 0, false), &[997, 101]),
        ("topk", |x| x.topk_values(5, 1, true), &[101, 997]),
        ("logcumsumexp", |x| x.logcumsumexp(1), &[101, 997]),
        ("cumsum columns", |x| x.cumsum(0), &[997, 101]),
        ("log_softmax", |x| x.log_softmax(0), &[101, 997]),
        ("rms_norm", |x| x.rms_norm(1, None, 1e-5), &[101, 997]),
        (
            "layer_norm affine",
            |x| {
                x.layer_norm(
                    1,
                    Some(x.narrow(0, 0, 1).reshape([997])),
                    Some(x.narrow(0, 1, 2).reshape([997])),
                    1e-5,
                )
            },
            &[101, 997],
        ),
        (
            "batch_norm",
            |x| x.batch_normalized(None, None, 1e-5, true).0,
            &[21, 6, 801],
        ),
        (
            "local_response_norm",
            |x| x.local_response_norm(3, 1e-4, 0.75, 1.0),
            &[5, 9, 1201],
        ),
        (
            "cross_entropy",
            |x| x.cross_entropy(&Tensor::from_fn([997], |i| i[0] as i64 % 101)),
            &[997, 101],
        ),
        (
            "bce",
            |x| x.bce_with_logits(x.sigmoid(), None).mean(),
            &[101, 997],
        ),
        (
            "attention",
            |x| x.matmul(x.transpose(1, 2)).softmax(2).matmul(x),
            &[3, 129, 65],
        ),
        ("max_pool", |x| x.max_pool([2, 2]), &[7, 5, 62, 34]),
        (
            "avg_pool",
            |x| x.avg_pool([2, 2], Divisor::Window),
            &[7, 5, 62, 34],
        ),
        (
            "gather",
            |x| {
                x.gather(
                    1,
                    &Tensor::from_fn([101, 700], |i| (i[0] * 31 + i[1] * 7) as i64 % 997),
                )
            },
            &[101, 997],
        ),
        (
            "index_select",
            |x| x.index_select(0, &Tensor::from_fn([700], |i| (i[0] * 13) as i64 % 101)),
            &[101, 997],
        ),
        (
            "pad",
            |x| x.pad(&[(3, 4), (1, 2)], wengert_autograd::ops::pad::Pad::Reflect),
            &[101, 997],
        ),
        ("flip", |x| x.flip([0]) * x.exp(), &[101, 997]),
        ("sparsemax", |x| x.sparsemax(1), &[101, 997]),
        ("cumprod", |x| (x * 0.01 + 1.0).cumprod(1), &[101, 997]),
        ("kthvalue", |x| x.kthvalue(40, 1, false).0, &[101, 997]),
        ("argsort", |x| x.gather(1, &x.argsort(1, true)), &[101, 997]),
        (
            "count_nonzero",
            |x| x.relu().count_nonzero_dim([0], false) * x.sum(),
            &[101, 997],
        ),
        ("roll", |x| x.roll([5, 7], [0, 1]).exp(), &[101, 997]),
        ("cat", |x| Var::cat(&[x, x.exp()], 0), &[101, 997]),
        ("repeat", |x| x.repeat([2, 2]), &[101, 497]),
        ("tril", |x| x.tril(3) * x, &[301, 301]),
        ("transposed", |x| x.t().contiguous() * 2.0, &[101, 997]),
        (
            "scatter_add",
            |x| {
                x.scatter_add(
                    1,
                    &Tensor::from_fn([101, 997], |i| (i[0] * 31 + i[1] * 7) as i64 % 99),
                    x,
                )
            },
            &[101, 997],
        ),
        (
            "embedding",
            |x| {
                x.embedding(&Tensor::from_fn([50, 30], |i| {
                    (i[0] * 13 + i[1]) as i64 % 101
                }))
            },
            &[101, 97],
        ),
        ("unfold", |x| x.unfold(1, 5, 2), &[101, 997]),
        (
            "fold",
            |x| x.reshape([101, 199, 5]).fold(1, 401, 2),
            &[101, 995],
        ),
        (
            "unfold2d",
            |x| x.unfold2d(wengert_autograd::ops::windows::Window2d::new([3, 2])),
            &[3, 4, 62, 64],
        ),
        (
            "interpolate",
            |x| {
                x.interpolate(
                    [91, 57],
                    wengert_autograd::ops::interpolate::Interpolation::CUBIC,
                )
            },
            &[5, 3, 62, 64],
        ),
        ("pixel_shuffle", |x| x.pixel_shuffle(2), &[5, 12, 62, 34]),
        (
            "adaptive_max_pool",
            |x| x.adaptive_max_pool([7, 5]),
            &[7, 5, 62, 34],
        ),
        (
            "adaptive_avg_pool",
            |x| x.adaptive_avg_pool([7, 5]),
            &[7, 5, 62, 34],
        ),
        ("lp_pool", |x| x.lp_pool(3.0, [2, 2]), &[7, 5, 62, 34]),
        (
            "conv2d",
            |x| {
                x.conv2d(
                    x.narrow(0, 0, 4).narrow(2, 0, 3).narrow(3, 0, 3),
                    None,
                    Default::default(),
                )
            },
            &[5, 6, 40, 41],
        ),
        (
            "conv_transpose1d",
            |x| {
                x.conv_transpose1d(
                    x.narrow(0, 0, 6).narrow(1, 0, 4).narrow(2, 0, 5),
                    None,
                    Default::default(),
                )
            },
            &[9, 6, 601],
        ),
        (
            "instance_norm",
            |x| x.instance_norm(None, None, 1e-5),
            &[21, 6, 801],
        ),
        (
            "fused attention",
            |x| {
                x.scaled_dot_product_attention(
                    x * 0.5,
                    x,
                    wengert_autograd::ops::attention::Attention {
                        causal: true,
                        ..Default::default()
                    },
                )
            },
            &[5, 129, 65],
        ),
        (
            "rfft",
            |x| x.rfft(1, wengert_autograd::ops::fft::FftNorm::Inverse),
            &[101, 600],
        ),
        (
            "einsum",
            |x| Var::einsum("ij,kj,il->kl", &[x, x * 0.1, x]),
            &[71, 157],
        ),
        (
            "kron",
            |x| x.narrow(0, 0, 5).kron(x.narrow(0, 5, 9)),
            &[9, 97],
        ),
        (
            "smoothed",
            |x| {
                let labels = Tensor::from_fn([997], |i| i[0] as i64 % 101);
                x.cross_entropy_weighted(&labels, None, Some(3), 0.1).0
            },
            &[997, 101],
        ),
        (
            "triplet",
            |x| x.triplet(x * 0.5, x.exp(), 1.0, 2.0, true),
            &[997, 101],
        ),
        (
            "focal",
            |x| x.focal(x.sigmoid(), 2.0, Some(0.25)).sum(),
            &[997, 101],
        ),
        ("dice", |x| x.sigmoid().dice(x.abs(), [1], 1.0), &[997, 101]),
        ("kl_div", |x| x.kl_div(x.sigmoid()).sum(), &[997, 101]),
        (
            "cosine",
            |x| x.cosine_similarity(x.exp(), 1, 1e-8),
            &[997, 101],
        ),
        (
            "multi_margin",
            |x| x.multi_margin(&Tensor::from_fn([997], |i| i[0] as i64 % 101), 1, 1.0, None),
            &[997, 101],
        ),
        (
            "ctc",
            |x| {
                let labels = Tensor::from_fn([20, 6], |i| 1 + (i[0] * 3 + i[1] * 5) as i64 % 30);
                x.log_softmax(2).ctc(&labels, &[40; 20], &[6; 20], 0, false)
            },
            &[40, 20, 31],
        ),
        ("svd", |x| x.svdvals(), &[3, 20, 30]),
        ("qr", |x| x.qr().1, &[3, 40, 30]),
        (
            "solve",
            |x| (x.matmul(x.t()) + x.tape().eye(70) * 9.0).inverse(),
            &[70, 90],
        ),
    ];
    for (name, f, shape) in cases {
        let n: usize = shape.iter().product();
        let mut r = Numbers(5);
        let x = Tensor::from_vec(
            (0..n)
                .map(|_| r.below(1 << 24) as f32 / 8_388_608.0 - 1.0)
                .collect(),
            *shape,
        );
        let run = || {
            let tape = Tape::<f32>::inference();
            let v = tape.input(&x);
            let y = f(v);
            let c = Tensor::from_vec(
                (0..y.numel()).map(|i| (i as f32 * 0.37).sin()).collect(),
                y.shape(),
            );
            let g = vjp_many(&[y], &[tape.input(&c)], &[v])[0];
            let bits =
                |v: Var<'_, f32>| -> Vec<u32> { v.value().iter().map(f32::to_bits).collect() };
            (bits(y), bits(g))
        };
        let mut first = None;
        for threads in [1, 2, 3, 4, 2] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let now = pool.install(run);
            match &first {
                None => first = Some(now),
                Some(one) => assert!(*one == now, "{name}: {threads} threads"),
            }
        }
    }
}

/// Values and gradients of a network of one operation, and the kernels that its forward pass took.
fn tailed<'a>(
    fuse: bool,
    shapes: [&'a [usize]; 3],
    f: impl for<'t> Fn(Var<'t, f32>, Var<'t, f32>, Var<'t, f32>) -> Var<'t, f32>,
) -> (Vec<Vec<u32>>, u64) {
    let mut tape = Tape::<f32>::training(0);
    tape.set_fusion(fuse);
    tape.set_poison(true);
    let mut numbers = Numbers(5);
    let params = shapes.map(|s| {
        let v: Vec<f32> = numbers.tensor(s).iter().map(|x| x as f32).collect();
        Param::new(Tensor::from_vec(v, s))
    });
    let forward = {
        let [x, w, b] = [0, 1, 2].map(|i| tape.param(&params[i]));
        f(x, w, b).value();
        tape.counters().kernels
    };
    tape.reset();
    let [x, w, b] = [0, 1, 2].map(|i| tape.param(&params[i]));
    let y = f(x, w, b).keep();
    let grads = y.square().sum().backward();
    let mut all: Vec<Vec<u32>> = vec![y.value().iter().map(f32::to_bits).collect()];
    for p in &params {
        all.push(
            grads
                .get(p)
                .expect("a gradient")
                .iter()
                .map(f32::to_bits)
                .collect(),
        );
    }
    (all, forward)
}

#[test]
fn a_bias_and_a_relu_are_part_of_the_operation_before_them() {
    use wengert_autograd::ops::conv::ConvOptions;
    type Net = for<'t> fn(Var<'t, f32>, Var<'t, f32>, Var<'t, f32>) -> Var<'t, f32>;
    let cases: [(&str, [&[usize]; 3], Net); 10] = [
        ("linear", [&[5, 7], &[3, 7], &[3]], |x, w, b| {
            x.linear(w, Some(b))
        }),
        ("linear relu", [&[70, 33], &[65, 33], &[65]], |x, w, b| {
            x.linear(w, Some(b)).relu()
        }),
        ("relu", [&[5, 7], &[7, 4], &[1]], |x, w, b| {
            x.matmul(w).relu() * b.sum()
        }),
        ("bias first", [&[5, 7], &[7, 4], &[1, 4]], |x, w, b| {
            (b + x.matmul(w)).relu()
        }),
        ("one row", [&[1, 64], &[64, 300], &[300]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("one column", [&[300, 64], &[64, 1], &[1]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("batched", [&[2, 3, 5, 7], &[3, 7, 4], &[4]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("conv", [&[2, 4, 9, 8], &[6, 4, 3, 3], &[6]], |x, w, b| {
            x.conv2d(w, Some(b), ConvOptions::new().padding(1)).relu()
        }),
        (
            "depthwise",
            [&[2, 4, 9, 8], &[4, 1, 3, 3], &[4]],
            |x, w, b| {
                x.conv2d(w, Some(b), ConvOptions::new().groups(4).stride(2))
                    .relu()
            },
        ),
        (
            "pointwise",
            [&[3, 4, 5, 5], &[6, 4, 1, 1], &[6]],
            |x, w, b| x.conv2d(w, Some(b), ConvOptions::new()).relu(),
        ),
    ];
    for (name, shapes, f) in cases {
        let (fused, kernels) = tailed(true, shapes, f);
        assert_eq!(fused, tailed(false, shapes, f).0, "{name}");
        let expected = if name == "relu" { 3 } else { 1 };
        assert_eq!(kernels, expected, "{name}: kernels");
    }
    // What another reader needs is made; a bias that is no bias, or is made later, is added apart.
    let others: [(&str, [&[usize]; 3], Net); 4] = [
        ("read twice", [&[5, 7], &[7, 4], &[4]], |x, w, b| {
            let h = x.matmul(w);
            (h + b).relu() * h
        }),
        ("a full bias", [&[5, 7], &[7, 4], &[5, 4]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("a column", [&[5, 7], &[7, 5], &[5, 1]], |x, w, b| {
            (x.matmul(w) + b).relu()
        }),
        ("made later", [&[5, 7], &[7, 4], &[3, 4]], |x, w, b| {
            let h = x.matmul(w);
            let late = b.cumsum(0).narrow(0, 2, 3);
            (h + late).relu()
        }),
    ];
    for (name, shapes, f) in others {
        let (fused, kernels) = tailed(true, shapes, f);
        assert_eq!(fused, tailed(false, shapes, f).0, "{name}");
        assert!(kernels > 1, "{name}: {kernels}");
    }
}

/// The same tests with the other instruction sets of this machine.
#[test]
fn other_instruction_sets() {
    dispatch::run_again();
}
