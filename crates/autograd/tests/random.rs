//! Random operations: derivatives with the mask of the step, distributions, and masks that are the same wherever and however
//! often they are computed.

mod registry;

use wengert_autograd::ops::attention::Attention;
use wengert_autograd::{Float, GradCheckOptions, Tape, Tensor, Var, gradcheck_with, vjp_many};

struct Case {
    name: &'static str,
    f64: for<'t> fn(Var<'t, f64>) -> Var<'t, f64>,
    f32: for<'t> fn(Var<'t, f32>) -> Var<'t, f32>,
}

macro_rules! cases {
    ($(#[$doc:meta])* $table:ident: $($name:literal |$x:ident| $body:expr;)*) => {
        $(#[$doc])*
        const $table: &[Case] = &[$(Case { name: $name, f64: |$x| $body, f32: |$x| $body },)*];
    };
}
cases! {
    /// Every public operation that draws random numbers, applied to an input.
    CASES:
    "uniform" |x| x * x.tape().uniform(x.shape(), -0.5, 2.0);
    "normal" |x| x + x.square() * x.tape().normal(x.shape(), 1.0, 0.5);
    "bernoulli" |x| x.square() * x.tape().bernoulli(x.shape(), 0.3);
    "dropout" |x| x.square().dropout(0.4);
    "feature_dropout" |x| x.square().feature_dropout(0.4);
    "drop_path" |x| x.square().drop_path(0.4);
    "alpha_dropout" |x| x.square().alpha_dropout(0.4);
    "gaussian_noise" |x| x.gaussian_noise(0.3).square();
    "rrelu" |x| x.rrelu(0.1, 0.5).square();
}
cases! {
    /// Of the order of the square of the input's size, so for small inputs alone.
    ATTENTION:
    "attention dropout" |x| attention(x, false);
    "attention dropout causal" |x| attention(x, true);
}

/// Attention with dropped weights among the elements of `x`, and among those before, with a mask.
fn attention<T: Float>(x: Var<'_, T>, causal: bool) -> Var<'_, T> {
    let q = x.reshape([1, x.numel(), 1]);
    let settings = Attention {
        mask: causal.then(|| q.t() * 0.3),
        causal,
        dropout: 0.4,
        scale: None,
    };
    let y = q.scaled_dot_product_attention(q.sin(), q.square(), settings);
    y.reshape(x.shape())
}

fn input<T: Float>(seed: u64, shape: &[usize]) -> Tensor<T> {
    let v = registry::numbers(seed, shape.iter().product(), (-2.0, 2.0));
    Tensor::from_vec(v.into_iter().map(T::from_f64).collect(), shape)
}

#[test]
fn derivatives_of_order_one_and_two() {
    for case in CASES.iter().chain(ATTENTION) {
        let f = case.f64;
        let options = GradCheckOptions {
            training: true,
            seed: 5,
            ..GradCheckOptions::default()
        };
        for shape in [&[2, 3, 2][..], &[4, 1], &[3]] {
            gradcheck_with(|v| f(v[0]), &[input(1, shape)], options).assert_ok();
        }
        // Nothing to draw.
        for shape in [&[0][..], &[2, 0, 3], &[]] {
            let tape = Tape::<f64>::training(1);
            let x = tape.input(&input(1, shape));
            let y = f(x);
            assert_eq!(y.value().shape(), shape, "{}", case.name);
            let g = vjp_many(&[y], &[tape.ones(shape)], &[x])[0];
            assert_eq!(g.value().shape(), shape, "{}", case.name);
        }
    }
}

/// Value and gradient of a case, of the same seed.
fn run<T: Float>(
    f: impl for<'t> Fn(Var<'t, T>) -> Var<'t, T>,
    x: &Tensor<T>,
    fuse: bool,
) -> [Vec<u64>; 2] {
    let mut tape = Tape::<T>::training(9);
    tape.set_fusion(fuse);
    tape.set_poison(true);
    let v = tape.input(x);
    let y = f(v);
    let g = vjp_many(&[y], &[tape.ones(y.shape())], &[v])[0];
    [y, g].map(|v| v.value().iter().map(|x| x.as_f64().to_bits()).collect())
}

#[test]
fn the_numbers_depend_on_seed_and_place_alone() {
    for case in CASES {
        let x = input::<f32>(2, &[101, 997]);
        let expected = run(case.f32, &x, true);
        assert!(expected == run(case.f32, &x, false), "{}: fused", case.name);
        let back = x.permute(&[1isize, 0][..]).copy().permute(&[1isize, 0][..]);
        assert!(
            expected == run(case.f32, &back, true),
            "{}: strided",
            case.name
        );
        for threads in 1..=4 {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let now = pool.install(|| run(case.f32, &x, true));
            assert!(expected == now, "{}: {threads} threads", case.name);
        }
        let wide = input::<f64>(2, &[7, 11, 5]);
        assert!(
            run(case.f64, &wide, true) == run(case.f64, &wide, true),
            "{}",
            case.name
        );
        // Another step draws other numbers, the same step of another tape the same ones.
        let steps = |seed: u64| {
            let mut tape = Tape::<f32>::training(seed);
            let mut all = Vec::new();
            for _ in 0..2 {
                tape.reset();
                all.push((case.f32)(tape.input(&x)).value().to_vec());
            }
            all
        };
        let (a, b, c) = (steps(3), steps(3), steps(4));
        assert!(a == b && a[0] != a[1] && a[0] != c[0], "{}", case.name);
    }
}

/// Mean and mean square of numbers, with what chance makes of n of them at five standard errors.
fn moments(v: &[f32]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    (
        mean,
        v.iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n,
    )
}

#[test]
fn distributions() {
    const N: usize = 200_000;
    let tape = Tape::<f32>::training(17);
    let near = |name: &str, v: Var<'_, f32>, mean: f64, var: f64| {
        let (m, s) = moments(&v.value().to_vec());
        let error = 5.0 * (var / N as f64).sqrt();
        assert!(
            (m - mean).abs() <= error,
            "{name}: mean {m}, expected {mean}"
        );
        assert!(
            (s - var).abs() <= 0.03 * var,
            "{name}: variance {s}, expected {var}"
        );
    };
    near("uniform", tape.uniform([N], -1.0, 3.0), 1.0, 16.0 / 12.0);
    near("normal", tape.normal([N], 0.5, 2.0), 0.5, 4.0);
    near("bernoulli", tape.bernoulli([N], 0.3), 0.3, 0.21);
    let ones = tape.ones([N]);
    near("dropout", ones.dropout(0.25), 1.0, 0.25 / 0.75);
    near("gaussian_noise", ones.gaussian_noise(0.5), 1.0, 0.25);
    near("rrelu", (-ones).rrelu(0.1, 0.5), -0.3, 0.16 / 12.0);
    // Alpha dropout keeps mean 0 and variance 1.
    near(
        "alpha_dropout",
        tape.normal([N], 0.0, 1.0).alpha_dropout(0.3),
        0.0,
        1.0,
    );
    let u = tape.uniform([N], 2.0, 3.0).value();
    assert!(u.iter().all(|x| (2.0..=3.0).contains(&x)));
    let mut kept = tape.ones([N]).dropout(0.25).value().to_vec();
    kept.retain(|&x| x != 0.0);
    assert!(kept.iter().all(|&x| x == 1.0 / 0.75));
    // Whole channels and whole samples share one decision.
    let x = tape.ones([40, 50, 6]);
    for (y, size) in [(x.feature_dropout(0.5), 6), (x.drop_path(0.5), 300)] {
        let y = y.value().to_vec();
        assert!(y.chunks(size).all(|c| c.iter().all(|&v| v == c[0])));
        assert!(y.contains(&0.0) && y.contains(&2.0));
    }
}

#[test]
fn probabilities_at_the_ends() {
    for (p, value) in [(0.0, 3.0), (1.0, 0.0)] {
        let tape = Tape::<f64>::training(0);
        let x = tape.input(&Tensor::full([5, 4, 2], 3.0));
        for y in [
            x.dropout(p),
            x.feature_dropout(p),
            x.drop_path(p),
            x.alpha_dropout(p),
        ] {
            let g = vjp_many(&[y], &[tape.ones(y.shape())], &[x])[0];
            assert!(y.value().iter().all(|v| v == value), "{p}");
            assert!(g.value().iter().all(|v| v == 1.0 - p), "{p}");
        }
        assert!(tape.bernoulli([9], p).value().iter().all(|v| v == p));
    }
    // An inference tape drops nothing, and a dropped infinity is 0, not NaN.
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::full([50, 2], 3.0));
    for y in [
        x.dropout(0.5),
        x.feature_dropout(0.5),
        x.drop_path(0.5),
        x.alpha_dropout(0.5),
        x.gaussian_noise(1.0),
    ] {
        assert!(y.value().iter().all(|v| v == 3.0));
    }
    let tape = Tape::<f64>::training(0);
    let y = tape
        .input(&Tensor::full([100], f64::INFINITY))
        .dropout(0.5)
        .value();
    assert!(y.iter().all(|v| v == 0.0 || v == f64::INFINITY));
}

/// The operations behind the masks, and the masks themselves: `tests/reference/random_numbers.py` makes both again.
#[test]
fn values_and_derivatives_agree_with_pytorch() {
    let text = include_str!("reference/random_numbers.txt");
    assert_eq!(text.lines().count(), CASES.len() + ATTENTION.len());
    for line in text.lines() {
        let mut fields = line.split('|');
        let name = fields.next().unwrap();
        let mut cases = CASES.iter().chain(ATTENTION);
        let case = cases.find(|c| c.name == name).expect("a case");
        let tape = Tape::<f64>::training(9);
        let draw = |k: u64| {
            let v = registry::numbers(registry::hash(name).wrapping_add(k), 24, (-2.0, 2.0));
            tape.input(&Tensor::from_vec(v, [3, 4, 2]))
        };
        let x = draw(0);
        let y = (case.f64)(x);
        let g = vjp_many(&[y], &[draw(1)], &[x])[0];
        let s = vjp_many(&[g], &[draw(2)], &[x])[0];
        for (k, v) in [y, g, s].iter().enumerate() {
            let expected = fields.next().unwrap().split(' ').map(|e| e.parse::<f64>());
            for (i, (found, e)) in v.value().iter().zip(expected).enumerate() {
                let e = e.unwrap();
                assert!(
                    (found - e).abs() <= 1e-12 * e.abs().max(1.0),
                    "{name}, result {k}, element {i}: {found:e}, PyTorch {e:e}"
                );
            }
        }
    }
    // On an inference tape rrelu takes the mean of its slopes, as PyTorch does.
    let tape = Tape::<f64>::inference();
    let x = tape.input(&input(4, &[9]));
    let (y, e) = (x.rrelu(0.1, 0.5).value(), x.leaky_relu(0.3).value());
    assert_eq!(y.to_vec(), e.to_vec());
}
