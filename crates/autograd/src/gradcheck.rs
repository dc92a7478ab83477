//! Derivatives against finite differences.

use crate::diff::{grad_many, vjp_many};
use crate::module::{Module, Path, Visitor, VisitorMut};
use crate::param::{Param, ParamId};
use crate::tape::Tape;
use crate::var::Var;
use std::cell::RefCell;
use wengert_tensor::Tensor;

/// Result of [`gradcheck`]: the largest deviation found.
#[derive(Clone, Debug)]
pub struct GradCheck {
    /// Largest error, relative to the scale of the gradient (at least 1).
    pub worst: f64,
    /// Largest error allowed.
    pub tolerance: f64,
    /// What was compared where the error is largest.
    pub at: String,
    /// Number of derivatives compared.
    pub compared: usize,
}

impl GradCheck {
    /// Whether all derivatives agree.
    pub fn is_ok(&self) -> bool {
        self.worst <= self.tolerance
    }

    /// # Panics
    /// When a derivative deviates, naming the input, the element and both values.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert!(
            self.is_ok(),
            "gradcheck: error {:e} exceeds {:e}: {}",
            self.worst,
            self.tolerance,
            self.at
        );
    }
}

/// Settings of a gradient check.
#[derive(Clone, Copy, Debug)]
pub struct GradCheckOptions {
    /// Order: 1 checks gradients, 2 also Hessian-vector products (by finite differences of the gradient).
    pub order: u32,
    /// Largest error allowed at order 1, relative to the scale of the gradient.
    pub tolerance: f64,
    /// Largest error allowed at order 2.
    pub tolerance2: f64,
    /// Inputs with more elements than this are checked in a few random directions instead of element by element.
    pub dense: usize,
    /// Seed of the cotangents and directions, and of the tapes.
    pub seed: u64,
    /// Whether the function runs on training tapes (dropout, batch statistics) instead of inference tapes.
    pub training: bool,
}

impl Default for GradCheckOptions {
    fn default() -> Self {
        GradCheckOptions {
            order: 2,
            tolerance: 2e-9,
            tolerance2: 2e-8,
            dense: 40,
            seed: 0,
            training: false,
        }
    }
}

/// Checks first and second derivatives of a function of tensors against finite differences of order 6 in f64.
///
/// The output may have any shape: it is contracted with random weights. The second order checks the gradient of the
/// gradient's inner product with random weights.
///
/// ```
/// use wengert_autograd::{Tensor, gradcheck};
/// let x = Tensor::from_vec(vec![0.3, -0.7, 1.1, 0.2], [2, 2]);
/// let w = Tensor::from_vec(vec![0.5, 0.1, -0.4, 0.9], [2, 2]);
/// gradcheck(|[x, w]| x.matmul(w).softplus().sum(), [x, w]).assert_ok();
/// ```
pub fn gradcheck<const N: usize>(
    f: impl for<'t> Fn([Var<'t, f64>; N]) -> Var<'t, f64>,
    inputs: [Tensor<f64>; N],
) -> GradCheck {
    gradcheck_with(
        |v| f(std::array::from_fn(|i| v[i])),
        &inputs,
        GradCheckOptions::default(),
    )
}

/// Deterministic numbers of magnitude ½ to 1 with random sign.
fn weights(seed: u64, n: usize) -> Vec<f64> {
    (0..n as u64)
        .map(|i| {
            let z = crate::ops::random::mix(
                seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            );
            let u = (z >> 11) as f64 / 9_007_199_254_740_992.0;
            (0.5 + 0.5 * u) * if z & 1 == 0 { 1.0 } else { -1.0 }
        })
        .collect()
}

/// As [`gradcheck`], for any number of inputs and with settings.
pub fn gradcheck_with(
    f: impl for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>,
    inputs: &[Tensor<f64>],
    options: GradCheckOptions,
) -> GradCheck {
    let names: Vec<String> = (0..inputs.len()).map(|k| format!("input {k}")).collect();
    let run = |xs: &[Tensor<f64>], then: &mut dyn FnMut(Var<'_, f64>, &[Var<'_, f64>])| {
        let tape = if options.training {
            Tape::training(options.seed)
        } else {
            Tape::inference()
        };
        let vars: Vec<_> = xs.iter().map(|x| tape.input(x)).collect();
        then(scalarize(f(&vars), options.seed), &vars);
    };
    check_function(&run, &names, inputs, options)
}

/// Records a scalar function of tensors and hands over its result and its inputs.
type Recorded<'a> = dyn Fn(&[Tensor<f64>], &mut dyn FnMut(Var<'_, f64>, &[Var<'_, f64>])) + 'a;

fn check_function(
    run: &Recorded<'_>,
    names: &[String],
    inputs: &[Tensor<f64>],
    options: GradCheckOptions,
) -> GradCheck {
    let first = |xs: &[Tensor<f64>]| -> f64 {
        let mut value = 0.0;
        run(xs, &mut |y, _| value = y.item());
        value
    };
    let gradient = |xs: &[Tensor<f64>]| -> Vec<Tensor<f64>> {
        let mut all = Vec::new();
        run(xs, &mut |y, vars| {
            all = grad_many(y, vars).iter().map(Var::value).collect();
        });
        all
    };
    let mut check = compare(
        &first,
        &gradient,
        names,
        inputs,
        options,
        options.tolerance,
        "gradient",
    );
    if options.order >= 2 && check.is_ok() {
        let contract = |g: &[Tensor<f64>]| -> f64 {
            g.iter()
                .enumerate()
                .map(|(k, g)| {
                    let w = weights(options.seed ^ (k as u64 + 77), g.numel());
                    g.iter().zip(w).map(|(g, w)| g * w).sum::<f64>()
                })
                .sum()
        };
        let second = |xs: &[Tensor<f64>]| -> f64 { contract(&gradient(xs)) };
        let hvp = |xs: &[Tensor<f64>]| -> Vec<Tensor<f64>> {
            let mut all = Vec::new();
            run(xs, &mut |y, vars| {
                let grads = grad_many(y, vars);
                let cotangents: Vec<_> = (grads.iter().enumerate())
                    .map(|(k, g)| {
                        let w = weights(options.seed ^ (k as u64 + 77), g.numel());
                        y.tape().input(&Tensor::from_vec(w, g.shape()))
                    })
                    .collect();
                all = vjp_many(&grads, &cotangents, vars)
                    .iter()
                    .map(Var::value)
                    .collect();
            });
            all
        };
        let c = compare(
            &second,
            &hvp,
            names,
            inputs,
            options,
            options.tolerance2,
            "second derivative",
        );
        let compared = check.compared + c.compared;
        // Report whichever is closer to its own limit.
        if c.worst / c.tolerance > check.worst / check.tolerance || c.worst.is_nan() {
            check = c;
        }
        check.compared = compared;
    }
    check
}

/// Checks the derivatives of a loss with respect to every trainable parameter of a model, layer or whole network, by
/// their paths: as [`gradcheck`], in orders 1 and 2.
///
/// `loss` records the forward pass; its result may have any shape. Every evaluation runs on a fresh tape with the same
/// seed, so random masks are the same in all of them.
///
/// ```
/// use wengert_autograd::{GradCheckOptions, Param, Tensor, gradcheck_module};
/// let mut model = (
///     Param::new(Tensor::from_vec(vec![0.3, -0.7, 1.1, 0.2], [2, 2])),
///     Param::new(Tensor::from_vec(vec![0.5, -0.1], [2])),
/// );
/// let x = Tensor::from_vec(vec![0.4, -1.3], [1, 2]);
/// gradcheck_module(
///     &mut model,
///     |tape, m| (tape.input(&x).matmul(tape.param(&m.0)) + tape.param(&m.1)).tanh(),
///     GradCheckOptions::default(),
/// )
/// .assert_ok();
/// ```
///
/// # Panics
/// When the model has no trainable parameter.
#[track_caller]
pub fn gradcheck_module<M: Module<f64>>(
    model: &mut M,
    loss: impl for<'t> Fn(&'t Tape<f64>, &M) -> Var<'t, f64>,
    options: GradCheckOptions,
) -> GradCheck {
    struct List(Vec<(String, ParamId, Tensor<f64>)>);
    impl Visitor<f64> for List {
        fn param(&mut self, path: &str, p: &Param<f64>) {
            if p.is_trainable() && self.0.iter().all(|q| q.1 != p.id()) {
                self.0.push((path.to_string(), p.id(), p.value().copy()));
            }
        }
    }
    struct Set<'a>(&'a [ParamId], &'a [Tensor<f64>]);
    impl VisitorMut<f64> for Set<'_> {
        fn param(&mut self, _: &str, p: &mut Param<f64>) {
            if let Some(k) = self.0.iter().position(|&id| id == p.id()) {
                p.set(self.1[k].clone());
            }
        }
    }
    let mut list = List(Vec::new());
    model.visit(&mut Path::new(), &mut list);
    assert!(
        !list.0.is_empty(),
        "gradcheck_module: the model has no trainable parameter"
    );
    let names: Vec<String> = list
        .0
        .iter()
        .map(|p| format!("parameter {}", p.0))
        .collect();
    let ids: Vec<ParamId> = list.0.iter().map(|p| p.1).collect();
    let start: Vec<Tensor<f64>> = list.0.into_iter().map(|p| p.2).collect();
    let cell = RefCell::new(model);
    let run = |xs: &[Tensor<f64>], then: &mut dyn FnMut(Var<'_, f64>, &[Var<'_, f64>])| {
        let mut model = cell.borrow_mut();
        model.visit_mut(&mut Path::new(), &mut Set(&ids, xs));
        let tape = if options.training {
            Tape::training(options.seed)
        } else {
            Tape::inference()
        };
        let y = scalarize(loss(&tape, &model), options.seed);
        let params = Collect::of(&tape, &**model, &ids);
        then(y, &params);
    };
    let check = check_function(&run, &names, &start, options);
    cell.into_inner()
        .visit_mut(&mut Path::new(), &mut Set(&ids, &start));
    check
}

/// The tape's nodes of parameters; one that the loss does not use has a node of its own.
struct Collect<'t, 'a> {
    tape: &'t Tape<f64>,
    ids: &'a [ParamId],
    found: Vec<Option<Var<'t, f64>>>,
}
impl<'t, 'a> Collect<'t, 'a> {
    fn of(tape: &'t Tape<f64>, model: &dyn Module<f64>, ids: &'a [ParamId]) -> Vec<Var<'t, f64>> {
        let mut c = Collect {
            tape,
            ids,
            found: vec![None; ids.len()],
        };
        model.visit(&mut Path::new(), &mut c);
        c.found.into_iter().flatten().collect()
    }
}
impl Visitor<f64> for Collect<'_, '_> {
    fn param(&mut self, _: &str, p: &Param<f64>) {
        if let Some(k) = self.ids.iter().position(|&id| id == p.id()) {
            self.found[k] = Some(self.tape.param(p));
        }
    }
}

fn scalarize(y: Var<'_, f64>, seed: u64) -> Var<'_, f64> {
    if y.numel() == 1 {
        return y.reshape(());
    }
    let w = weights(seed, y.numel());
    let w = y.tape().input(&Tensor::from_vec(w, y.shape()));
    (y * w).sum()
}

/// Derivative of `f` at `xs` along `direction` of input `k`: central differences of order 6, best of three steps.
fn finite(
    f: &dyn Fn(&[Tensor<f64>]) -> f64,
    xs: &[Tensor<f64>],
    k: usize,
    direction: &[(usize, f64)],
    expected: f64,
) -> f64 {
    let at = |h: f64| {
        let mut moved = xs.to_vec();
        let mut t = moved[k].copy();
        for &(i, d) in direction {
            t.as_mut_slice()[i] += h * d;
        }
        moved[k] = t;
        f(&moved)
    };
    let mut best = f64::NAN;
    for h in [1e-3, 3e-4, 1e-4, 1e-2] {
        let d = (45.0 * (at(h) - at(-h)) - 9.0 * (at(2.0 * h) - at(-2.0 * h)) + at(3.0 * h)
            - at(-3.0 * h))
            / (60.0 * h);
        if best.is_nan() || (d - expected).abs() < (best - expected).abs() {
            best = d;
        }
        if (best - expected).abs() <= 1e-11 * expected.abs().max(1.0) {
            break;
        }
    }
    best
}

/// The index of element `i` in row-major order.
fn index(shape: &[usize], mut i: usize) -> Vec<usize> {
    let mut at: Vec<usize> = (shape.iter().rev())
        .map(|&d| {
            let k = i % d;
            i /= d;
            k
        })
        .collect();
    at.reverse();
    at
}

fn compare(
    f: &dyn Fn(&[Tensor<f64>]) -> f64,
    derivative: &dyn Fn(&[Tensor<f64>]) -> Vec<Tensor<f64>>,
    names: &[String],
    inputs: &[Tensor<f64>],
    options: GradCheckOptions,
    tolerance: f64,
    what: &str,
) -> GradCheck {
    let analytic = derivative(inputs);
    let scale = analytic
        .iter()
        .flat_map(|g| g.to_vec())
        .fold(1.0f64, |m, x| m.max(x.abs()));
    let mut check = GradCheck {
        worst: 0.0,
        tolerance,
        at: String::new(),
        compared: 0,
    };
    let mut see = |error: f64, at: &dyn Fn() -> String| {
        check.compared += 1;
        if error > check.worst || error.is_nan() && !check.worst.is_nan() {
            check.worst = error;
            check.at = at();
        }
    };
    for (k, g) in analytic.iter().enumerate() {
        let g = g.to_vec();
        if g.len() <= options.dense {
            for (i, &a) in g.iter().enumerate() {
                let n = finite(f, inputs, k, &[(i, 1.0)], a);
                see((a - n).abs() / scale, &|| {
                    let at = index(inputs[k].shape(), i);
                    let name = &names[k];
                    format!("{what} for {name}, element {at:?}: analytic {a:e}, numeric {n:e}")
                });
            }
        } else {
            for r in 0..3 {
                let d: Vec<(usize, f64)> = weights(options.seed ^ (1000 + r), g.len())
                    .into_iter()
                    .enumerate()
                    .collect();
                let a: f64 = d.iter().map(|&(i, d)| g[i] * d).sum();
                let n = finite(f, inputs, k, &d, a);
                see((a - n).abs() / scale.max(a.abs()), &|| {
                    format!(
                        "{what} for {}, random direction {r}: analytic {a:e}, numeric {n:e}",
                        names[k]
                    )
                });
            }
        }
    }
    if check.worst.is_nan() {
        check.worst = f64::INFINITY;
    }
    check
}
