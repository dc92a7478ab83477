//! Products and running products: derivatives of first and second order with any number of zeros, against sums of products
//! written out; what is not finite; shapes without elements, and views.

use wengert_autograd::{Float, Tape, Tensor, Var, grad};

/// -1, 0 and 1, so that every sum of products is exact in any order; `zeros` in a hundred are 0.
fn signs(salt: usize, n: usize, zeros: usize) -> Vec<f64> {
    let hash = |i: usize| (i + 1000 * salt).wrapping_mul(2_654_435_761) % 1_000_003;
    let sign = |i: usize| match hash(i) {
        h if h % 100 < zeros => 0.0,
        h => (h / 100 % 2) as f64 * 2.0 - 1.0,
    };
    (0..n).map(sign).collect()
}

fn tensor<T: Float>(x: &[f64], shape: &[usize]) -> Tensor<T> {
    Tensor::from_vec(x.iter().map(|&x| T::from_f64(x)).collect(), shape)
}

fn numbers<T: Float>(x: Var<'_, T>) -> Vec<f64> {
    x.value().to_vec().into_iter().map(|x| x.as_f64()).collect()
}

/// The products of `x[..=k]`, each times `g[k]`, without the factors `i` and `m`, summed over the `k` that have both.
fn without(x: &[f64], g: &[f64], i: usize, m: usize) -> f64 {
    let (mut product, mut sum) = (1.0, 0.0);
    for k in 0..x.len() {
        if k != i && k != m {
            product *= x[k];
        }
        if k >= i.max(m) {
            sum += g[k] * product;
        }
    }
    sum
}

/// First and second derivatives of the sum of `f`, weighted with `g` and `w`, for lines against [`without`]. Along the last
/// axis, along the first, and along the last of a transposed view.
fn cumprod_of<T: Float>(lines: usize, n: usize, zeros: usize) {
    let what = format!("{lines} lines of {n}, {zeros} % zeros");
    let (x, g, w) = (
        signs(1, lines * n, zeros),
        signs(2, lines * n, 20),
        signs(3, lines * n, 20),
    );
    let mut expected = [vec![], vec![], vec![]];
    for line in 0..lines {
        let [x, g, w] = [&x, &g, &w].map(|v| &v[line * n..][..n]);
        let mut product = 1.0;
        for i in 0..n {
            product *= x[i];
            expected[0].push(product);
            expected[1].push(without(x, g, i, i));
            let others = (0..n).filter(|&m| m != i);
            expected[2].push(others.map(|m| w[m] * without(x, g, i, m)).sum());
        }
    }
    let tape = Tape::<T>::training(0);
    let shape = [lines, n];
    let [x, g, w] = [&x, &g, &w].map(|v| tape.input(&tensor(v, &shape)));
    let turned = x.t().contiguous();
    for (way, x, axis) in [("rows", x, 1), ("columns", turned, 0), ("view", turned, -1)] {
        let view = if way == "view" { x.t() } else { x };
        let y = view.cumprod(axis);
        let [g, w] = [g, w].map(|v| if way == "columns" { v.t() } else { v });
        let first = grad((y * g).sum(), [view])[0];
        let second = grad((first * w).sum(), [view])[0];
        for (order, (v, e)) in [y, first, second].into_iter().zip(&expected).enumerate() {
            let v = if way == "columns" { v.t() } else { v };
            assert_eq!(&numbers(v), e, "order {order} of {what}, {way}");
        }
    }
}

#[test]
fn running_products_are_exact_at_zeros() {
    for (lines, n) in [(1, 2), (3, 9), (8, 64), (9, 65), (1, 130), (17, 7)] {
        for zeros in [0, 3, 30, 100] {
            cumprod_of::<f32>(lines, n, zeros);
            cumprod_of::<f64>(lines, n, zeros);
        }
    }
}

#[test]
fn running_products_of_little_and_of_what_is_not_finite() {
    let tape = Tape::<f32>::training(0);
    for shape in [&[][..], &[0], &[1], &[3, 0], &[0, 3], &[3, 1]] {
        let x = tape.full(shape, 3.0);
        let y = x.cumprod(-1);
        assert_eq!((y.shape(), numbers(y)), (x.shape(), numbers(x)));
        let g = grad(y.sum(), [x])[0];
        assert_eq!((g.shape(), numbers(g)), (x.shape(), vec![1.0; x.numel()]));
    }
    // Products beyond f32 do not spoil what comes back, and each line is by itself.
    let x = tape.input(&tensor(
        &[1e30, 1e30, 1e-30, 1e-30, 2.0, f64::NAN, 0.0, 3.0],
        &[2, 4],
    ));
    let y = numbers(x.cumprod(1));
    assert_eq!((y[0], y[1]), (1e30f32 as f64, f64::INFINITY));
    assert!((y[2] - 1e30).abs() < 1e24 && (y[3] - 1.0).abs() < 1e-6);
    assert!(y[4] == 2.0 && y[5..].iter().all(|y| y.is_nan()));
}
