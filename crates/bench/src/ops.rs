//! Single operations, forward and with their derivatives: the rows of `docs/benchmarks-ops.md`.

use std::hint::black_box;
use std::time::Instant;
use wengert::autograd::ops::pad::Pad;
use wengert::autograd::vjp_many;
use wengert::nn::Reduction;
use wengert::nn::loss::cross_entropy;
use wengert::tensor::parallel;
use wengert::{Float, Tape, Tensor, Var};

/// An operation on `x` and a second operand of the same shape.
pub type Operation<T = f32> = for<'t> fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>;

/// A row of a table: its name and what it does.
pub type Row<T> = (&'static str, Operation<T>);

/// Operations of one element or two, on a matrix.
fn elementwise<T: Float>() -> Vec<Row<T>> {
    vec![
        ("add", |x, b| x + b),
        ("mul", |x, b| x * b),
        ("div", |x, b| x / b),
        ("maximum", |x, b| x.maximum(b)),
        ("where", |x, b| x.gt(b).where_(x, b)),
        ("sqrt", |x, _| x.sqrt()),
        ("exp", |x, _| x.exp()),
        ("ln", |x, _| x.ln()),
        ("sin", |x, _| x.sin()),
        ("tanh", |x, _| x.tanh()),
        ("erf", |x, _| x.erf()),
        ("pow 2.5", |x, _| x.powf(2.5)),
        ("relu", |x, _| x.relu()),
        ("sigmoid", |x, _| x.sigmoid()),
        ("gelu", |x, _| x.gelu()),
        ("gelu far out", |x, _| (x * 20.0).gelu()),
        ("silu", |x, _| x.silu()),
        ("softplus", |x, _| x.softplus()),
        ("clamp", |x, _| x.clamp(0.3, 1.2)),
    ]
}

/// Reductions of a matrix.
fn reductions<T: Float>() -> Vec<Row<T>> {
    vec![
        ("sum", |x, _| x.sum()),
        ("sum rows", |x, _| x.sum_dim([1], false)),
        ("sum columns", |x, _| x.sum_dim([0], false)),
        ("mean", |x, _| x.mean()),
        ("var rows", |x, _| x.var_dim([1], 1.0, false)),
        ("amax rows", |x, _| x.amax_dim([1], false)),
        ("amax columns", |x, _| x.amax_dim([0], false)),
        ("max rows", |x, _| x.max_dim(1, false).0),
        ("logsumexp rows", |x, _| x.logsumexp_dim([1], false)),
        ("norm", |x, _| x.norm(2.0)),
        ("prod columns", |x, _| x.prod_dim(0, false)),
        ("cumsum rows", |x, _| x.cumsum(1)),
    ]
}

/// Softmax, losses and normalizations of a matrix, or of `[n, channels, length]` for the last ones.
fn normalizations<T: Float>() -> Vec<Row<T>> {
    vec![
        ("softmax rows", |x, _| x.softmax(1)),
        ("softmax rows far apart", |x, _| (x * 300.0).softmax(1)),
        ("softmax columns", |x, _| x.softmax(0)),
        ("log_softmax rows", |x, _| x.log_softmax(1)),
        ("mse", |x, b| x.mse(b)),
        ("bce with logits", |x, b| x.bce_with_logits(b, None).mean()),
        ("cross entropy", |x, _| x.cross_entropy(&labels(x))),
        ("cross entropy, smoothed", |x, _| {
            cross_entropy(x, &labels(x), None, None, 0.1, Reduction::Mean)
        }),
        ("layer_norm", |x, _| x.layer_norm(1, None, None, 1e-5)),
        ("rms_norm", |x, _| x.rms_norm(1, None, 1e-5)),
        ("batch_norm", |x, _| {
            let s = x.shape();
            x.reshape([s[0], 10, s[1] / 10])
                .batch_normalized(None, None, 1e-5, false)
                .0
        }),
        ("group_norm", |x, _| {
            let s = x.shape();
            x.reshape([s[0], 10, s[1] / 10])
                .group_norm(2, None, None, 1e-5)
        }),
    ]
}

/// Elements that change their places.
fn shapes<T: Float>() -> Vec<Row<T>> {
    vec![
        ("transpose", |x, _| x.t().contiguous()),
        ("flip rows", |x, _| x.flip([1]).contiguous()),
        ("cat rows", |x, b| Var::cat(&[x, b], 1)),
        ("slice rows", |x, _| {
            x.narrow(1, 5, x.size(1) - 5).contiguous()
        }),
        ("pad", |x, _| x.pad(&[(2, 2), (2, 2)], Pad::Zeros)),
        ("repeat", |x, _| x.repeat([2, 1])),
    ]
}

/// Further operations of these kinds, for a table of its own.
fn further<T: Float>() -> Vec<Row<T>> {
    vec![
        ("neg", |x, _| x.neg()),
        ("abs", |x, _| x.abs()),
        ("sign", |x, _| x.sign()),
        ("rsqrt", |x, _| x.rsqrt()),
        ("cbrt", |x, _| x.cbrt()),
        ("square", |x, _| x.square()),
        ("reciprocal", |x, _| x.reciprocal()),
        ("exp2", |x, _| x.exp2()),
        ("expm1", |x, _| x.expm1()),
        ("log2", |x, _| x.log2()),
        ("log10", |x, _| x.log10()),
        ("log1p", |x, _| x.log1p()),
        ("cos", |x, _| x.cos()),
        ("tan", |x, _| x.tan()),
        ("atan", |x, _| x.atan()),
        ("sinh", |x, _| x.sinh()),
        ("cosh", |x, _| x.cosh()),
        ("asinh", |x, _| x.asinh()),
        ("erfc", |x, _| x.erfc()),
        ("lgamma", |x, _| x.lgamma()),
        ("digamma", |x, _| x.digamma()),
        ("logsigmoid", |x, _| x.logsigmoid()),
        ("floor", |x, _| x.floor()),
        ("round", |x, _| x.round()),
        ("trunc", |x, _| x.trunc()),
        ("frac", |x, _| x.frac()),
        ("relu6", |x, _| x.relu6()),
        ("gelu_tanh", |x, _| x.gelu_tanh()),
        ("mish", |x, _| x.mish()),
        ("softsign", |x, _| x.softsign()),
        ("hardsigmoid", |x, _| x.hardsigmoid()),
        ("hardswish", |x, _| x.hardswish()),
        ("tanhshrink", |x, _| x.tanhshrink()),
        ("sinc", |x, _| x.sinc()),
        ("nan_to_num", |x, _| x.nan_to_num(0.0, 1e30)),
        ("isfinite", |x, _| x.isfinite()),
        ("asin of x - 1", |x, _| (x - 1.0).asin()),
        ("acos of x - 1", |x, _| (x - 1.0).acos()),
        ("atanh of x - 1", |x, _| (x - 1.0).atanh()),
        ("acosh of x + 1", |x, _| (x + 1.0).acosh()),
        ("erfinv of x - 1", |x, _| (x - 1.0).erfinv()),
        ("atan2", |x, b| x.atan2(b)),
        ("hypot", |x, b| x.hypot(b)),
        ("pow", |x, b| x.pow(b)),
        ("minimum", |x, b| x.minimum(b)),
        ("lerp", |x, b| x.lerp(b, x.tape().scalar(0.3))),
        ("logaddexp", |x, b| x.logaddexp(b)),
        ("greater", |x, b| x.gt(b)),
        ("leaky_relu of x - 1", |x, _| (x - 1.0).leaky_relu(0.01)),
        ("selu of x - 1", |x, _| (x - 1.0).selu()),
        ("elu of x - 1", |x, _| (x - 1.0).elu(1.0)),
        ("celu of x - 1", |x, _| (x - 1.0).celu(1.0)),
        ("hardtanh", |x, _| x.hardtanh(-1.0, 1.0)),
        ("softshrink", |x, _| x.softshrink(0.5)),
        ("hardshrink", |x, _| x.hardshrink(0.5)),
        ("threshold", |x, _| x.threshold(1.0, 0.0)),
        ("glu", |x, _| x.glu(1)),
        ("mean rows", |x, _| x.mean_dim([1], false)),
        ("mean columns", |x, _| x.mean_dim([0], false)),
        ("var", |x, _| x.var_dim([0, 1], 1.0, false)),
        ("var columns", |x, _| x.var_dim([0], 1.0, false)),
        ("std rows", |x, _| x.std_dim([1], 1.0, false)),
        ("amax", |x, _| x.amax()),
        ("amin rows", |x, _| x.amin_dim([1], false)),
        ("prod", |x, _| x.prod()),
        ("norm rows", |x, _| x.norm_dim(2.0, [1], false)),
        ("norm 1", |x, _| x.norm(1.0)),
        ("norm 3", |x, _| x.norm(3.0)),
        ("logsumexp columns", |x, _| x.logsumexp_dim([0], false)),
        ("cumsum columns", |x, _| x.cumsum(0)),
        ("cumprod rows", |x, _| x.cumprod(1)),
        ("logcumsumexp rows", |x, _| x.logcumsumexp(1)),
        ("log_softmax columns", |x, _| x.log_softmax(0)),
        ("l1", |x, b| x.l1(b)),
        ("huber", |x, b| (x - b).huber(0.3).mean()),
        ("instance_norm", |x, _| {
            let s = x.shape();
            x.reshape([s[0], 10, s[1] / 10])
                .instance_norm(None, None, 1e-5)
        }),
    ]
}

/// Operations on matrices of their own sizes: those of the operands, and whether the derivative is taken by both.
pub const SIZED: &[(&str, [[usize; 2]; 2], bool, Operation)] = &[
    ("matmul 512", [[512, 512]; 2], true, |x, b| x.matmul(b)),
    ("matmul 1024", [[1024, 1024]; 2], true, |x, b| x.matmul(b)),
    ("matmul 2048", [[2048, 2048]; 2], true, |x, b| x.matmul(b)),
    (
        "matmul 64 x 1024 x 4096",
        [[64, 1024], [1024, 4096]],
        true,
        |x, b| x.matmul(b),
    ),
    (
        "matmul 64 x 4096 x 1024",
        [[64, 4096], [4096, 1024]],
        true,
        |x, b| x.matmul(b),
    ),
    ("transpose 2048", [[2048, 2048], [1, 1]], false, |x, _| {
        x.t().contiguous()
    }),
    (
        "sort rows 100000 x 8",
        [[100_000, 8], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    (
        "sort rows 10000 x 100",
        [[10_000, 100], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    (
        "sort rows 1000 x 1000",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    (
        "sort columns 1000 x 1000",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.sort(0, false).0,
    ),
    (
        "sort columns 8 x 100000",
        [[8, 100_000], [1, 1]],
        false,
        |x, _| x.sort(0, false).0,
    ),
    (
        "sort rows 10 x 100000",
        [[10, 100_000], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    ("sort 1000000", [[1, 1_000_000], [1, 1]], false, |x, _| {
        x.sort(1, false).0
    }),
    (
        "sort 1000000, in order before",
        [[1, 1_000_000], [1, 1]],
        false,
        |x, _| x.cumsum(1).sort(1, false).0,
    ),
    (
        "sort 1000000, few values",
        [[1, 1_000_000], [1, 1]],
        false,
        |x, _| (x * 10.0).floor().sort(1, false).0,
    ),
    (
        "topk 10 rows 10000 x 100",
        [[10_000, 100], [1, 1]],
        false,
        |x, _| x.topk(10, 1, true).0,
    ),
    (
        "topk 10 rows 1000 x 1000",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.topk(10, 1, true).0,
    ),
    (
        "topk 10 columns 1000 x 1000",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.topk(10, 0, true).0,
    ),
    (
        "topk 100 of 1000000",
        [[1, 1_000_000], [1, 1]],
        false,
        |x, _| x.topk(100, 1, true).0,
    ),
    (
        "median rows 1000 x 1000",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.median_dim(1, false).0,
    ),
    ("median 1000000", [[1, 1_000_000], [1, 1]], false, |x, _| {
        x.median_dim(1, false).0
    }),
    (
        "quantile rows 1000 x 1000",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.quantile_dim(0.3, 1, false),
    ),
];

/// As [`SIZED`], in double precision.
pub const DOUBLE: &[(&str, [[usize; 2]; 2], bool, Operation<f64>)] = &[
    (
        "sort rows 10000 x 100, f64",
        [[10_000, 100], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    (
        "sort rows 1000 x 1000, f64",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    (
        "sort 1000000, f64",
        [[1, 1_000_000], [1, 1]],
        false,
        |x, _| x.sort(1, false).0,
    ),
    (
        "topk 10 rows 1000 x 1000, f64",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.topk(10, 1, true).0,
    ),
    (
        "median rows 1000 x 1000, f64",
        [[1000, 1000], [1, 1]],
        false,
        |x, _| x.median_dim(1, false).0,
    ),
];

/// A class for each row.
fn labels<T: Float>(x: Var<'_, T>) -> Tensor<i64> {
    let (n, classes) = (x.size(0), x.size(1));
    Tensor::from_vec((0..n).map(|i| (i * 7 % classes) as i64).collect(), [n])
}

/// Every row.
pub fn all<T: Float>() -> Vec<Row<T>> {
    let tables = [
        elementwise(),
        reductions(),
        normalizations(),
        shapes(),
        further(),
    ];
    tables.into_iter().flatten().collect()
}

/// Rows and columns of the matrix with `n` elements.
fn matrix(n: usize) -> [usize; 2] {
    match n {
        0..10_000 => [n / 100, 100],
        _ => [n / 1000, 1000],
    }
}

/// [`measure`] of an operation on matrices of `n` elements, the derivative by the first.
pub fn measure_at<T: Float>(op: Operation<T>, n: usize, pass: &str, budget: f64) -> (f64, f64) {
    measure(op, [matrix(n); 2], false, pass, budget)
}

/// Seconds of one call: the best and the median of as many as `budget` seconds hold (at least 5).
///
/// `pass` is `forward` or `backward` (the value, and the product of the Jacobian by the first operand or by both with a
/// cotangent).
pub fn measure<T: Float>(
    op: Operation<T>,
    shapes: [[usize; 2]; 2],
    both: bool,
    pass: &str,
    budget: f64,
) -> (f64, f64) {
    let number = |lo: f64, i: usize| {
        T::from_f64(lo + (i.wrapping_mul(2_654_435_761) % 1_000_003) as f64 / 1_000_003.0)
    };
    let make = |lo: f64, salt: usize, [rows, cols]: [usize; 2]| {
        let data = (0..rows * cols).map(|i| number(lo, i + salt)).collect();
        Tensor::from_vec(data, [rows, cols])
    };
    let (x, b) = (make(0.5, 0, shapes[0]), make(0.45, 77, shapes[1]));
    let mut tape = Tape::<T>::inference();
    let out = op(tape.input(&x), tape.input(&b)).shape();
    let total: usize = out.iter().product();
    let c = Tensor::from_vec((0..total).map(|i| number(-0.3, i + 5)).collect(), out);
    let mut run = || {
        tape.reset();
        let (x, b) = (tape.input(&x), tape.input(&b));
        let y = op(x, b);
        if pass == "forward" {
            black_box(y.value());
        } else {
            let c = tape.input(&c);
            black_box(y.value());
            let by = [x, b];
            for g in vjp_many(&[y], &[c], &by[..1 + usize::from(both)]) {
                black_box(g.value());
            }
        }
    };
    // Small calls are timed in groups, so that the clock does not count.
    let start = Instant::now();
    for _ in 0..3 {
        run();
    }
    let group = ((2e-5 / (start.elapsed().as_secs_f64() / 3.0)) as usize).clamp(1, 1000);
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < budget {
        let t = Instant::now();
        for _ in 0..group {
            run();
        }
        times.push(t.elapsed().as_secs_f64() / group as f64);
    }
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

/// Seconds of a copy of `n` numbers in warm memory with `threads` threads: the floor of what is bound by memory (one
/// read, one write per element).
pub fn copy_floor(n: usize, threads: usize, budget: f64) -> f64 {
    // Memory as operations get it.
    let x = Tensor::<f32>::ones([n]);
    let mut y = Tensor::<f32>::ones([n]);
    // As many pieces as an operation of this size has, on the pool that operations run on.
    let part = n.div_ceil(threads).min(1 << 15);
    let (x, y) = (x.as_slice().expect("new"), y.as_mut_slice());
    best_of(budget, || {
        parallel::install(|| {
            parallel::chunks_mut(y, part, |i, y| {
                y.copy_from_slice(&black_box(x)[i * part..][..y.len()]);
            });
        });
        black_box(&*y);
    })
}

/// Seconds of reading the memory of `n` numbers, warm, with `threads` threads: the floor of reductions.
pub fn read_floor(n: usize, threads: usize, budget: f64) -> f64 {
    let x = Tensor::<f32>::ones([n]);
    let x = x.as_slice().expect("new");
    let part = n.div_ceil(threads).min(1 << 15);
    let mut sums = vec![0u32; n.div_ceil(part)];
    let total = |x: &[f32]| {
        let mut acc = [0u32; 32];
        for c in x.chunks_exact(32) {
            for k in 0..32 {
                acc[k] = acc[k].wrapping_add(c[k].to_bits());
            }
        }
        acc.iter().fold(0, |a: u32, &b| a.wrapping_add(b))
    };
    best_of(budget, || {
        parallel::install(|| {
            parallel::chunks_mut(&mut sums, 1, |i, s| {
                s[0] = total(&black_box(x)[i * part..((i + 1) * part).min(n)]);
            });
        });
        black_box(&sums);
    })
}

/// The best time of at least ten calls.
fn best_of(budget: f64, mut f: impl FnMut()) -> f64 {
    let (mut best, mut calls) = (f64::INFINITY, 0);
    let start = Instant::now();
    while calls < 10 || start.elapsed().as_secs_f64() < budget {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
        calls += 1;
    }
    best
}
