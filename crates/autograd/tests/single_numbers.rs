//! A tensor without axes has the axes 0 and -1 where PyTorch gives it them, as if its shape were `[1]`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::{Float, Tape, Tensor, Var, grad};

type F<T> = for<'t> fn(Var<'t, T>, isize) -> Var<'t, T>;

fn first(index: &[usize]) -> Tensor<i64> {
    Tensor::zeros(index)
}

/// What works along an axis: of a number it gives a number.
fn along<T: Float>() -> Vec<(&'static str, F<T>)> {
    vec![
        ("sum", |x, a| x.sum_dim(a, false)),
        ("sum, kept", |x, a| x.sum_dim(a, true)),
        ("mean", |x, a| x.mean_dim(a, true)),
        ("var", |x, a| x.var_dim(a, 0.0, false)),
        ("std", |x, a| x.std_dim(a, 0.0, true)),
        ("prod", |x, a| x.prod_dim(a, true)),
        ("amax", |x, a| x.amax_dim(a, false)),
        ("amin", |x, a| x.amin_dim(a, true)),
        ("logsumexp", |x, a| x.logsumexp_dim(a, false)),
        ("norm", |x, a| x.norm_dim(2.0, a, true)),
        ("all", |x, a| x.all_dim(a, false)),
        ("any", |x, a| x.any_dim(a, true)),
        ("count_nonzero", |x, a| x.count_nonzero_dim(a, false)),
        ("max", |x, a| x.max_dim(a, false).0),
        ("min", |x, a| x.min_dim(a, true).0),
        ("median", |x, a| x.median_dim(a, true).0),
        ("kthvalue", |x, a| x.kthvalue(1, a, true).0),
        ("quantile", |x, a| x.quantile_dim(0.3, a, true)),
        ("sort", |x, a| x.sort(a, false).0),
        ("sort_values", |x, a| x.sort_values(a, true)),
        ("topk", |x, a| x.topk(1, a, true).0),
        ("topk_values", |x, a| x.topk_values(1, a, false)),
        ("softmax", |x, a| x.softmax(a)),
        ("log_softmax", |x, a| x.log_softmax(a)),
        ("softmin", |x, a| x.softmin(a)),
        ("sparsemax", |x, a| x.sparsemax(a)),
        ("cumsum", |x, a| x.cumsum(a)),
        ("cumprod", |x, a| x.cumprod(a)),
        ("logcumsumexp", |x, a| x.logcumsumexp(a)),
        ("linear_recurrence", |x, a| x.linear_recurrence(x, a)),
        ("normalize", |x, a| x.normalize(2.0, a, 1e-12)),
        ("cosine_similarity", |x, a| x.cosine_similarity(x, a, 1e-8)),
        ("dice", |x, a| x.dice(x, a, 1.0)),
        ("squeeze", |x, a| x.squeeze(a)),
        ("flip", |x, a| x.flip(a)),
        ("transpose", |x, a| x.transpose(a, -1 - a)),
        ("movedim", |x, a| x.movedim(a, -1 - a)),
        ("gather", |x, a| x.gather(a, &first(&[]))),
        ("scatter", |x, a| x.scatter(a, &first(&[]), x.square())),
        ("scatter_add", |x, a| {
            x.scatter_add(a, &first(&[]), x.square())
        }),
        ("index_select", |x, a| x.index_select(a, &first(&[1]))),
        ("index_add", |x, a| x.index_add(a, &first(&[1]), x.square())),
    ]
}

fn numbers<T: Float>() {
    let tape = Tape::<T>::inference();
    let number = tape.input(&Tensor::scalar(T::from_f64(-1.5)));
    let line = tape.input(&Tensor::from_vec(vec![T::from_f64(-1.5)], [1]));
    for (name, f) in along::<T>() {
        for axis in [0, -1] {
            let (x, v) = (f(number, axis), {
                // The line knows indices of its own rank only where a number has none.
                match name {
                    "gather" => line,
                    "scatter" => line.square(),
                    "scatter_add" => line + line.square(),
                    _ => f(line, axis),
                }
            });
            assert_eq!(x.shape().as_slice(), [], "{name}");
            assert_eq!(x.item(), v.sum().item(), "{name}");
            let (g, h) = (grad(x, [number])[0], grad(v.sum(), [line])[0]);
            assert_eq!(g.shape().as_slice(), [], "{name}");
            assert_eq!(g.item(), h.item(), "{name}");
            let (g, h) = (grad(g, [number])[0], grad(h.sum(), [line])[0]);
            assert_eq!(g.item(), h.item(), "{name}");
        }
        for axis in [1, -2] {
            let bad = catch_unwind(AssertUnwindSafe(|| f(number, axis)));
            assert!(bad.is_err(), "{name}: axis {axis} of a number was taken");
        }
    }
    for places in [
        number.argmax(0, false),
        number.argmin(-1, true),
        number.argsort(0, true),
        number.sort(-1, true).1,
        number.topk(1, 0, true).1,
        number.max_dim(0, true).1,
        number.median_dim(-1, false).1,
    ] {
        assert_eq!((places.shape(), places.item()), (&[][..], 0));
    }
    // Operations that give it an axis.
    assert_eq!(number.flatten(0, -1).shape().as_slice(), [1]);
    assert_eq!(number.unfold(0, 1, 1).shape().as_slice(), [1]);
    assert_eq!(Var::stack(&[number; 3], -1).shape().as_slice(), [3]);
    assert_eq!(number.gather(0, &first(&[4])).shape().as_slice(), [4]);
    // Those that PyTorch refuses are refused.
    let refused: [fn(Var<'_, T>) -> Var<'_, T>; 11] = [
        |x| x.select(0, 0),
        |x| x.narrow(0, 0, 1),
        |x| x.roll(1, 0),
        |x| x.split(1, 0)[0],
        |x| x.unbind(0)[0],
        |x| x.permute([0]),
        |x| Var::cat(&[x, x], 0),
        |x| x.glu(0),
        |x| x.repeat_interleave(2, 0),
        |x| x.sum_dim([0, -1], false),
        |x| x.topk_values(0, 0, true),
    ];
    for (i, f) in refused.into_iter().enumerate() {
        let bad = catch_unwind(AssertUnwindSafe(|| f(number)));
        assert!(bad.is_err(), "number {i} was taken");
    }
}

#[test]
fn a_number_is_a_line_of_one() {
    numbers::<f32>();
    numbers::<f64>();
}
