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

/// First and second derivatives of a product of `n` numbers, by leaving out one and two.
fn prod_of<T: Float>(n: usize, zeros: usize) {
    let (x, w) = (signs(4, n, zeros), signs(5, n, 20));
    let count = x.iter().filter(|&&x| x == 0.0).count();
    let others: f64 = x.iter().filter(|&&x| x != 0.0).product();
    // The product without some of the numbers; each is its own reciprocal unless it is 0.
    let without = |left_out: &[usize]| {
        let (mut left, mut product) = (count, others);
        for &i in left_out {
            match x[i] {
                0.0 => left -= 1,
                x => product *= x,
            }
        }
        if left > 0 { 0.0 } else { product }
    };
    let first: Vec<f64> = (0..n).map(|i| 3.0 * without(&[i])).collect();
    for shape in [vec![n], vec![1, n], vec![n, 1]] {
        let what = format!("{n} numbers, {zeros} zeros in a hundred, {shape:?}");
        let tape = Tape::<T>::training(0);
        let v = tape.input(&tensor(&x, &shape));
        let y = v.prod();
        assert_eq!(numbers(y), [without(&[])], "{what}");
        let g = grad(y * 3.0, [v])[0];
        assert_eq!(numbers(g), first, "gradient of {what}");
        if n > 200 {
            continue;
        }
        let second = grad((g * tape.input(&tensor(&w, &shape))).sum(), [v])[0];
        let of = |m: usize| (0..n).filter(move |&i| i != m);
        let expected: Vec<f64> = (0..n)
            .map(|m| of(m).map(|i| 3.0 * w[i] * without(&[i, m])).sum())
            .collect();
        assert_eq!(numbers(second), expected, "second derivative of {what}");
    }
}

#[test]
fn products_are_exact_at_zeros() {
    let few = [1, 2, 5, 31, 32, 33, 63, 64, 65, 200];
    for n in few.into_iter().chain([8191, 8192, 8193, 8224, 20_000]) {
        for zeros in [0, 1, 30, 100] {
            prod_of::<f32>(n, zeros);
            prod_of::<f64>(n, zeros);
        }
    }
    // One zero, in every place that is special, and two.
    let n = 20_000;
    for places in [&[0][..], &[8191], &[8192], &[19_999], &[40, 17_000]] {
        let mut x = signs(6, n, 0);
        places.iter().for_each(|&i| x[i] = 0.0);
        let all: f64 = x.iter().filter(|&&x| x != 0.0).product();
        let tape = Tape::<f32>::training(0);
        let v = tape.input(&tensor(&x, &[n]));
        let g = numbers(grad(v.prod(), [v])[0]);
        for (i, g) in g.into_iter().enumerate() {
            let expected = if places == [i] { all } else { 0.0 };
            assert_eq!(g, expected, "at {i} with zeros at {places:?}");
        }
    }
}

#[test]
fn products_of_lines_and_views_are_those_of_each_line() {
    for (lines, n) in [(7, 3), (300, 100), (3, 9000)] {
        let x = tensor::<f64>(&signs(7, lines * n, 0), &[lines, n]);
        let w = tensor::<f64>(&signs(8, lines, 10), &[lines]);
        let tape = Tape::<f64>::training(0);
        let v = tape.input(&x);
        let turned = v.t().contiguous();
        for (what, leaf, v) in [("lines", v, v), ("view", turned, turned.t())] {
            let y = v.prod_dim([1], false);
            let g = grad((y * tape.input(&w)).sum(), [leaf])[0];
            let g = numbers(if what == "view" { g.t() } else { g });
            for (line, x) in x.to_vec().chunks(n).enumerate() {
                let all = x.iter().product::<f64>();
                assert_eq!(numbers(y)[line], all, "{what}, line {line} of {n}");
                let w = w.to_vec()[line];
                let expected: Vec<f64> = x.iter().map(|x| w * all * x).collect();
                assert_eq!(g[line * n..][..n], expected, "{what}, line {line} of {n}");
            }
        }
    }
}

#[test]
fn products_of_little_and_of_what_is_not_finite() {
    let tape = Tape::<f32>::training(0);
    for (shape, product) in [(&[][..], 3.0), (&[0], 1.0), (&[1], 3.0), (&[3, 0], 1.0)] {
        let x = tape.full(shape, 3.0);
        let y = x.prod();
        assert_eq!((y.rank(), numbers(y)), (0, vec![product]));
        let g = grad(y, [x])[0];
        assert_eq!((g.shape(), numbers(g)), (x.shape(), vec![1.0; x.numel()]));
    }
    let y = tape.full([3, 0], 3.0).prod_dim([1], false);
    assert_eq!(numbers(y), [1.0; 3]);
    for n in [40, 20_000] {
        let mut x = vec![1.0; n];
        x[n - 3] = f64::NAN;
        let v = tape.input(&tensor(&x, &[n]));
        let y = v.prod();
        assert!(numbers(y)[0].is_nan());
        // Only its own derivative does not meet it.
        let g = numbers(grad(y, [v])[0]);
        assert!(
            g.iter()
                .enumerate()
                .all(|(i, g)| g.is_nan() == (i != n - 3))
        );
        assert_eq!(g[n - 3], 1.0);
        x[n - 3] = f64::INFINITY;
        x[7] = 0.0;
        let v = tape.input(&tensor(&x, &[n]));
        let g = numbers(grad(v.prod(), [v])[0]);
        assert_eq!((g[7], g[n - 3]), (f64::INFINITY, 0.0));
        assert!(numbers(v.prod())[0].is_nan() && g[8].is_nan());
    }
    // As many large numbers as small ones: no part of the product is out of range for long.
    let x: Vec<f64> = (0..32)
        .map(|i| if i % 2 == 0 { 1e30 } else { 1e-30 })
        .collect();
    let v = tape.input(&tensor(&x, &[32]));
    for (x, g) in x.iter().zip(numbers(grad(v.prod(), [v])[0])) {
        assert!((x * g - 1.0).abs() < 1e-5, "{g} for {x}");
    }
}
