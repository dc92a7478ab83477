//! Pooling and interpolation at the edges: NaN, infinities, ties, empty batches, refusals, threads.

use wengert_autograd::ops::interpolate::Interpolation;
use wengert_autograd::ops::pool::{Divisor, Pool};
use wengert_autograd::{Tape, Tensor, Var, grad};

type Fun = for<'t> fn(Var<'t, f64>) -> Var<'t, f64>;

const ALL: &[(&str, Fun)] = &[
    ("max 2x2", |x| x.max_pool([2, 2])),
    ("max overlap", |x| {
        x.max_pool(Pool::new([3, 3]).stride([2, 1]).padding([1, 1]))
    }),
    ("max dilated", |x| {
        x.max_pool(Pool::new([2, 2]).stride([1, 2]).dilation([2, 3]))
    }),
    ("max adaptive", |x| x.adaptive_max_pool([2, 3])),
    ("average", |x| {
        let w = Pool::new([3, 2]).stride([2, 2]).padding([1, 1]).ceil();
        x.avg_pool(w, Divisor::Window)
    }),
    ("average adaptive", |x| x.adaptive_avg_pool([2, 3])),
    ("power mean", |x| x.lp_pool(2.0, [2, 2])),
    ("bilinear", |x| x.interpolate([4, 9], Interpolation::LINEAR)),
    ("bicubic", |x| x.interpolate([7, 3], Interpolation::CUBIC)),
    ("nearest", |x| x.interpolate([3, 9], Interpolation::Nearest)),
];

fn numbers(shape: [usize; 4]) -> Tensor<f64> {
    let mut k = 0u32;
    Tensor::from_fn(shape, |_| {
        k = k.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(k >> 8) / f64::from(1u32 << 24) - 0.5
    })
}

/// One NaN makes NaN of exactly those outputs that depend on its element.
#[test]
fn a_nan_reaches_the_windows_that_hold_it() {
    let x = numbers([1, 1, 5, 6]);
    for (name, f) in ALL {
        let tape = Tape::inference();
        let v = tape.input(&x);
        let clean = f(v).value().to_vec();
        for i in 0..x.numel() {
            let mut bad = x.copy();
            bad.as_mut_slice()[i] = f64::NAN;
            let found = f(tape.input(&bad)).value().to_vec();
            // An output depends on the element when a very large value there moves it, either way.
            let moved = [1e9, -1e9].map(|big| {
                let mut other = x.copy();
                other.as_mut_slice()[i] = big;
                f(tape.input(&other)).value().to_vec()
            });
            for (o, y) in found.iter().enumerate() {
                let depends = moved.iter().any(|m| m[o] != clean[o]);
                // 0 · NaN is NaN: a neighbour of weight 0 counts for interpolation.
                let weightless = !depends && (name.starts_with("bi"));
                assert!(
                    y.is_nan() == depends || weightless,
                    "{name}: NaN at {i}, output {o}"
                );
            }
        }
    }
}

#[test]
fn ties_go_to_the_first_and_the_first_nan_wins() {
    let tape = Tape::<f64>::inference();
    let nan = f64::NAN;
    for (values, first) in [
        ([1.0, 1.0, 1.0, 1.0], 0),
        ([0.0, 2.0, 2.0, 1.0], 1),
        ([0.0, 1.0, 2.0, 2.0], 2),
        ([0.0, nan, 2.0, nan], 1),
        ([nan, 9.0, nan, nan], 0),
        ([-f64::INFINITY; 4], 0),
    ] {
        let x = tape.input(&Tensor::from_slice(&values, [2, 2]));
        // The kernel for squares, and the one for all other windows.
        for y in [
            x.max_pool([2, 2]),
            x.max_pool(Pool::new([2, 2]).stride([1, 1])),
        ] {
            let [g] = grad(y.sum(), [x]);
            let expected: Vec<f64> = (0..4).map(|i| f64::from(u8::from(i == first))).collect();
            assert_eq!(g.value().to_vec(), expected, "{values:?}");
        }
        assert_eq!(x.max_pool_places([2, 2]).1.to_vec(), [first as i64]);
    }
}

#[test]
fn nothing_in_a_batch_gives_nothing() {
    for (name, f) in ALL {
        for shape in [[0, 3, 5, 6], [2, 0, 5, 6]] {
            let tape = Tape::inference();
            let x = tape.input(&Tensor::zeros(shape));
            let y = f(x);
            assert_eq!(y.value().numel(), 0, "{name}");
            let [g] = grad(y.sum(), [x]);
            assert_eq!(g.value().shape(), shape, "{name}");
        }
    }
    let tape = Tape::<f32>::inference();
    let x = tape.input(&Tensor::zeros([0, 4]));
    assert_eq!(x.max_pool_places([2]).1.shape(), [0, 2]);
}

/// Enough planes for several tasks.
#[test]
fn same_bits_for_any_number_of_threads() {
    let x = numbers([9, 32, 13, 14]);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let tape = Tape::inference();
            let v = tape.input(&x);
            let mut all = Vec::new();
            for (_, f) in ALL {
                let y = f(v);
                let [g] = grad(y.square().sum(), [v]);
                all.extend(y.value().to_vec());
                all.extend(g.value().to_vec());
            }
            all
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn unpooling_puts_the_maxima_back() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&numbers([2, 3, 4, 6]));
    let (y, places) = x.max_pool_places([2, 2]);
    let back = y.max_unpool(&places, [4, 6]);
    assert_eq!(back.max_pool([2, 2]).relu().value(), y.relu().value());
    let kept = back.value().iter().filter(|&v| v != 0.0).count();
    assert_eq!(kept, y.numel());
}

#[test]
fn misuse_names_what_was_found() {
    type F = for<'t> fn(Var<'t>) -> Var<'t>;
    let message = |f: F| {
        let r = std::panic::catch_unwind(move || {
            let tape = Tape::<f32>::inference();
            let _ = f(tape.input(&Tensor::zeros([1, 4, 5])));
        });
        let e = r.expect_err("must panic");
        let text = e.downcast_ref::<String>().cloned();
        text.or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap()
    };
    for (f, parts) in [
        (
            (|x| x.max_pool([5, 2])) as F,
            ["max_pool", "4 elements", "[5, 2]"],
        ),
        (|x| x.max_pool([0, 2]), ["max_pool", "at least 1", "[0, 2]"]),
        (
            |x| x.avg_pool(Pool::new([2]).padding([2]), Divisor::Window),
            ["avg_pool", "half", "[2]"],
        ),
        (
            |x| x.max_pool(Pool::new([2]).padding([1]).dilation([9])),
            ["max_pool", "too few", "[9]"],
        ),
        (
            |x| x.select(0, 0).max_pool([1, 1, 1]),
            ["max_pool", "3 axes", "[4, 5]"],
        ),
        (
            |x| x.adaptive_avg_pool([0]),
            ["adaptive_avg_pool", "one window", "0"],
        ),
        (|x| x.lp_pool(0.0, [2]), ["lp_pool", "p > 0", "0"]),
        (
            |x| x.max_unpool(&Tensor::full(x.shape(), 4i64), [4]),
            ["max_unpool", "place 4", "4"],
        ),
        (
            |x| x.interpolate([0], Interpolation::LINEAR),
            ["interpolate", "at least one", "0"],
        ),
        (
            |x| x.interpolate_by([-1.0], Interpolation::LINEAR),
            ["interpolate", "factors", "-1"],
        ),
        (
            |x| x.pixel_shuffle(2),
            ["pixel_shuffle", "channels", "[1, 4, 5]"],
        ),
        (
            |x| x.pixel_unshuffle(2),
            ["pixel_unshuffle", "divide", "[1, 4, 5]"],
        ),
        (
            |x| x.max_unpool(&Tensor::<i64>::zeros([1, 4, 4]), [9]),
            ["max_unpool", "[1, 4, 5]", "[1, 4, 4]"],
        ),
        (
            |x| x.max_unpool(&Tensor::<i64>::full([1, 4, 5], 9), [9]),
            ["max_unpool", "place 9", "9"],
        ),
    ] {
        let text = message(f);
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
}
