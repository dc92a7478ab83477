//! Functions and derivatives over the whole range of numbers: f32 against f64, no overflow on the way to a finite result, and
//! derivatives that a product with 0 does not end.

use wengert_autograd::ops::pool::Pool;
use wengert_autograd::{Float, Tape, Tensor, Var, grad};

type F<T> = for<'t> fn(Var<'t, T>) -> Var<'t, T>;

fn vector<T: Float>(x: &[f64]) -> Tensor<T> {
    let v: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
    Tensor::from_vec(v, [x.len()])
}

fn numbers<T: Float>(v: Var<'_, T>) -> Vec<f64> {
    v.value().iter().map(|x| x.as_f64()).collect()
}

/// Value, derivative and second derivative at each element.
fn orders<T: Float>(f: F<T>, x: &[f64]) -> [Vec<f64>; 3] {
    let tape = Tape::<T>::inference();
    let x = tape.input(&vector(x));
    let y = f(x);
    let [g] = grad(y.sum(), [x]);
    let [h] = grad(g.sum(), [x]);
    [y, g, h].map(numbers)
}

/// Name, function twice, and what each order may be off by in absolute terms (2e-4 of the result in any case).
type Row = (&'static str, F<f32>, F<f64>, [f64; 3]);
macro_rules! rows {
    ($($name:literal $off:expr, |$x:ident| $e:expr;)*) => {
        &[$(($name, |$x| $e, |$x| $e, $off),)*]
    };
}

/// A derivative that is the difference of large numbers, made from an output that is rounded, has an absolute error.
const FREE: f64 = f64::INFINITY;
const ROWS: &[Row] = rows! {
    "squareplus" [0.0, 0.0, 1e-6], |x| x.squareplus(4.0);
    "softplus_beta" [0.0, 0.0, 1e-6], |x| x.softplus_beta(2.0);
    "log_cosh" [0.0, 0.0, 1e-6], |x| x.log_cosh();
    "hardsigmoid" [0.0, 0.0, 0.0], |x| x.hardsigmoid();
    "gelu_tanh" [0.0, 1e-6, 1e-4], |x| x.gelu_tanh();
    "gelu" [0.0, 1e-6, 1e-5], |x| x.gelu();
    "silu" [0.0, 1e-6, 1e-5], |x| x.silu();
    "mish" [0.0, 1e-6, 1e-5], |x| x.mish();
    "elu" [0.0, 0.0, 0.0], |x| x.elu(0.7);
    "softsign" [0.0, 0.0, 1e-30], |x| x.softsign();
    "sinc" [1e-6, 1e-5, 1e-4], |x| x.clamp(-0.9, 0.9).sinc();
    "atan2" [0.0, 0.0, FREE], |x| x.atan2(x.detach() * 0.75);
    "hypot" [0.0, 0.0, FREE], |x| x.hypot(x.detach() * 0.25);
    "asinh" [0.0, 1e-19, 1e-30], |x| x.asinh();
    "ln" [0.0, 0.0, 0.0], |x| x.abs().ln();
    "log1p" [0.0, 0.0, 0.0], |x| x.abs().log1p();
    "sqrt" [0.0, 0.0, 0.0], |x| x.abs().sqrt();
    "cbrt" [0.0, 0.0, 0.0], |x| x.cbrt();
};

#[test]
fn single_precision_agrees_with_double_over_all_exponents() {
    let mut x: Vec<f64> = (-126..=127)
        .flat_map(|e| [1.0, 1.37, 1.81].map(|m| m * 2f64.powi(e)))
        .chain((1..4000).map(|k| f64::from(k) * 0.0131))
        .map(|x| f64::from(x as f32))
        .collect();
    let negative: Vec<f64> = x.iter().map(|x| -x).collect();
    x.extend(negative);
    let mut failed = String::new();
    for (name, single, double, off) in ROWS {
        let (found, exact) = (orders(*single, &x), orders(*double, &x));
        for (order, off) in off.iter().enumerate() {
            for (k, x) in x.iter().enumerate() {
                let (a, b) = (found[order][k], exact[order][k]);
                // Beyond the range of f32, or where few bits are left.
                if !(b as f32).is_finite() || b.abs() > 1e38 || b != 0.0 && b.abs() < 1e-36 {
                    continue;
                }
                let close = (a - b).abs() <= 2e-4 * b.abs() + off.max(1.2e-38);
                if !close && off.is_finite() {
                    failed += &format!("{name}, order {order} at {x:e}: {a:e}, expected {b:e}\n");
                    break;
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn results_are_finite_where_the_exact_ones_are() {
    let big = 3e38;
    for x in [big, -big, 1e20, -1e20] {
        for (name, f) in [
            ("squareplus", (|x| x.squareplus(4.0)) as F<f32>),
            ("softplus_beta", |x| x.softplus_beta(2.0)),
            ("gelu_tanh", |x| x.gelu_tanh()),
            ("gelu", |x| x.gelu()),
        ] {
            let [y, g, h] = orders(f, &[x; 37]);
            let step = f64::from(u8::from(x > 0.0));
            let value = step * f64::from(x as f32);
            let near = |found: &[f64], exact: f64| {
                (found.iter()).all(|v| (v - exact).abs() <= 1e-6 * exact + 1e-19)
            };
            assert!(near(&y, value), "{name} {x}: {y:?}");
            assert!(near(&g, step) && near(&h, 0.0), "{name} {x}: {g:?} {h:?}");
        }
    }
    // 1 / (2 a) at equal operands.
    for a in [1e-30, 1e-38, 1e30, 1e38] {
        let tape = Tape::<f32>::inference();
        let [x, y] = [a, a].map(|v| tape.input(&vector(&[v; 37])));
        let found = grad(x.atan2(y).sum(), [x, y]).map(numbers);
        let exact = 0.5 / f64::from(a as f32);
        for (g, e) in found.iter().zip([exact, -exact]) {
            assert!(
                g.iter().all(|g| (g / e - 1.0).abs() < 1e-6),
                "{a}: {g:?}, expected {e}"
            );
        }
    }
    // -a / b² for large and small b.
    for (a, b) in [(1e25, 1e30), (1e-20, 1e-25)] {
        let tape = Tape::<f32>::inference();
        let [a, b] = [a, b].map(|v| tape.input(&vector(&[v; 5])));
        let [g] = grad(a.addcdiv(a, b, 1.0).sum(), [b]).map(numbers);
        let (a, b) = (numbers(a)[0], numbers(b)[0]);
        let e = -a / b / b;
        assert!(
            g.iter().all(|g| (g / e - 1.0).abs() <= 1e-6),
            "{g:?}, expected {e}"
        );
    }
}

#[test]
fn sinc_has_all_derivatives_at_zero() {
    let pi = std::f64::consts::PI;
    let near = [0.0, -0.0, 5e-324, -1e-310, 1e-160, 1e-9];
    let [y, g, h] = orders::<f64>(|x| x.sinc(), &near);
    assert!(y.iter().all(|&y| y == 1.0), "{y:?}");
    assert!(g.iter().all(|g| g.abs() < 1e-8), "{g:?}");
    assert!(h.iter().all(|h| (h + pi * pi / 3.0).abs() < 1e-14), "{h:?}");
    // Both sides of the border of the series, against the formula.
    for x in [0.0795, 0.0796, -0.0795, 0.07, 0.3, 0.9, 2.5] {
        let (u, [y, g, h]) = (pi * x, orders::<f64>(|x| x.sinc(), &[x]));
        let first = pi * (u.cos() - u.sin() / u) / u;
        let second = -pi * pi * (u.sin() / u + 2.0 * (u.cos() - u.sin() / u) / (u * u));
        for (found, exact) in [(y[0], u.sin() / u), (g[0], first), (h[0], second)] {
            assert!(
                (found - exact).abs() < 1e-12,
                "{x}: {found}, expected {exact}"
            );
        }
    }
}

/// A factor of 0 ends an infinite loss; it must not end the derivative for the factor.
#[test]
fn weights_of_zero_have_derivatives() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_slice(&[1.0, 2.0, -0.5], [1, 3]));
    let t = tape.input(&Tensor::from_slice(&[0.0, 1.0, 0.0], [1, 3]));
    let [g] = grad(x.cross_entropy_probabilities(t, None).sum(), [t]);
    assert_eq!(numbers(g), numbers(-x.log_softmax(1)));
    // ∂²(t ln t - t x) / ∂x ∂t = -1.
    let [first] = grad(x.kl_div(t).sum(), [x]);
    let [mixed] = grad(first.sum(), [t]);
    assert_eq!(numbers(mixed), [-1.0; 3]);
    // The loss of a class is its negative logarithm times its weight.
    let w = tape.input(&Tensor::from_slice(&[0.0, 1.0, 2.0], [3]));
    let label = Tensor::from_slice(&[0i64], [1]);
    let logs = x.log_softmax(1);
    let [g] = grad(logs.nll(&label, Some(w), None).0.sum(), [w]);
    assert_eq!(numbers(g), [-numbers(logs)[0], 0.0, 0.0]);
    // Infinite logarithms still end with the weight.
    let low = tape.full([1, 3], f64::NEG_INFINITY);
    let y = low.kl_div(t * 0.0);
    assert_eq!(numbers(y), [0.0; 3]);
    assert_eq!(numbers(grad(y.sum(), [low])[0]), [0.0; 3]);
    assert_eq!(numbers(low.nll(&label, Some(w), None).0), [0.0]);
    // The slope's weight is x for every negative x.
    let x = tape.input(&Tensor::from_slice(
        &[f64::NEG_INFINITY, -2.0, 0.0, 3.0],
        [4],
    ));
    let a = tape.full([4], 0.25);
    let [g] = grad(x.prelu(a).sum(), [x]);
    let [mixed] = grad(g.sum(), [a]);
    assert_eq!(numbers(mixed), [1.0, 1.0, 1.0, 0.0]);
}

/// PyTorch's rule for the number of windows also where the only one is longer than the input.
#[test]
fn a_window_may_hang_over_a_short_input() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_slice(&[3.0, -4.0], [1, 1, 2]));
    let hanging = |k: usize, s: usize| Pool::new([k]).stride([s]).ceil();
    assert_eq!(numbers(x.max_pool(hanging(3, 2))), [3.0]);
    assert_eq!(numbers(x.max_pool(hanging(4, 3))), [3.0]);
    let y = x.avg_pool(hanging(3, 3), wengert_autograd::ops::pool::Divisor::Window);
    assert_eq!(numbers(y), [-0.5]);
    let short = std::panic::catch_unwind(|| {
        let tape = Tape::<f64>::inference();
        tape.ones([1, 1, 2])
            .max_pool(Pool::new([4]).stride([2]).ceil())
            .numel()
    });
    assert!(short.is_err());
    // The largest magnitude.
    let y = x.lp_pool(f64::INFINITY, [2]);
    assert_eq!(numbers(y), [4.0]);
    assert_eq!(numbers(grad(y.sum(), [x])[0]), [0.0, -1.0]);
}
