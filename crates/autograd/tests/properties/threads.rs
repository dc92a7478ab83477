//! The same bits on any number of threads, run after run.

use super::*;

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
        ("prod of all", |x| (x * 0.01 + 1.0).prod(), &[101, 997]),
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
