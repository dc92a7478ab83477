//! Every operation over a batch: `vmap` against a loop over examples, with derivatives inside and outside.

use crate::registry::{self, CASES, Case};
use wengert_autograd::ops::elementwise::ELEMENTWISE;
use wengert_autograd::{Tape, Tensor, Var, grad_many, vjp_many, vmap_many};

const BATCH: usize = 3;

/// Different sample inputs for each example, and the same stacked.
fn batch(
    inputs: &[(&[usize], (f64, f64))],
    seed: u64,
) -> (Vec<Vec<Tensor<f64>>>, Vec<Tensor<f64>>) {
    let examples: Vec<Vec<Tensor<f64>>> = (0..BATCH as u64)
        .map(|b| {
            (inputs.iter().enumerate())
                .map(|(k, &(shape, range))| {
                    let seed = seed.wrapping_add(1000 * b + k as u64);
                    let n = shape.iter().product();
                    Tensor::from_vec(registry::numbers(seed, n, range), shape)
                })
                .collect()
        })
        .collect();
    let stacked = (inputs.iter().enumerate())
        .map(|(k, &(shape, _))| {
            let all: Vec<f64> = examples.iter().flat_map(|e| e[k].to_vec()).collect();
            let mut s = vec![BATCH];
            s.extend_from_slice(shape);
            Tensor::from_vec(all, s)
        })
        .collect();
    (examples, stacked)
}

fn close(name: &str, what: &str, a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "{name}: {what}");
    let scale = b
        .iter()
        .filter(|x| x.is_finite())
        .fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-11 * scale;
        assert!(
            same,
            "{name}: {what}, element {i}: {a:e} in a batch, {b:e} alone"
        );
    }
}

/// Value and gradients of one example, for a fixed cotangent.
fn with_gradients<'t>(
    name: &str,
    f: &dyn Fn(&[Var<'t, f64>]) -> Var<'t, f64>,
    x: &[Var<'t, f64>],
) -> Vec<Var<'t, f64>> {
    let y = f(x);
    let c = registry::numbers(registry::hash(name) ^ 99, y.numel(), (-1.0, 1.0));
    let c = y.tape().input(&Tensor::from_vec(c, y.shape()));
    let mut all = vjp_many(&[y], &[c], x);
    all.insert(0, y);
    all
}

fn check(
    name: &str,
    inputs: &[(&[usize], (f64, f64))],
    f: for<'t> fn(&str, &[Var<'t, f64>]) -> Var<'t, f64>,
) {
    let (examples, stacked) = batch(inputs, registry::hash(name));
    let mut alone: Vec<Vec<f64>> = Vec::new();
    for e in &examples {
        let tape = Tape::<f64>::inference();
        let x: Vec<_> = e.iter().map(|x| tape.input(x)).collect();
        let all = with_gradients(name, &|v| f(name, v), &x);
        // The second derivative, along the gradient.
        let s = all
            .iter()
            .map(|v| v.square().sum())
            .reduce(|a, b| a + b)
            .unwrap();
        let second = grad_many(s, &x);
        let parts = all.iter().chain(&second);
        for (k, v) in parts.enumerate() {
            if alone.len() <= k {
                alone.push(Vec::new());
            }
            alone[k].extend(v.value().to_vec());
        }
    }
    let tape = Tape::<f64>::inference();
    let x: Vec<_> = stacked.iter().map(|x| tape.input(x)).collect();
    let all = vmap_many(|v| with_gradients(name, &|v| f(name, v), v), &x);
    for (k, (v, a)) in all.iter().zip(&alone).enumerate() {
        close(name, &format!("result {k}"), &v.value().to_vec(), a);
    }
    // Differentiated from outside: the batched nodes have their own rules.
    let s = all
        .iter()
        .map(|v| v.square().sum())
        .reduce(|a, b| a + b)
        .unwrap();
    for (k, v) in grad_many(s, &x).iter().enumerate() {
        close(
            name,
            &format!("second derivative {k}"),
            &v.value().to_vec(),
            &alone[all.len() + k],
        );
    }
}

#[test]
fn every_structured_operation() {
    // The places are host tensors, so these evaluate their input: `amax_dim`, `sort_values` and `topk_values` do not.
    let places = [
        "max_dim",
        "min_dim",
        "argmax",
        "argmin",
        "sort",
        "argsort",
        "topk",
        "kthvalue",
        "median_dim",
        "truths",
    ];
    for case in CASES {
        let name = case.name.split(' ').next().unwrap();
        if places.contains(&name) || name.ends_with("_places") {
            continue;
        }
        fn f<'t>(name: &str, x: &[Var<'t, f64>]) -> Var<'t, f64> {
            let case: &Case = CASES.iter().find(|c| c.name == name).unwrap();
            (case.f64)(x)
        }
        check(case.name, case.inputs, f);
    }
}

#[test]
fn every_elementwise_operation() {
    for info in ELEMENTWISE {
        fn f<'t>(name: &str, x: &[Var<'t, f64>]) -> Var<'t, f64> {
            let info = ELEMENTWISE.iter().find(|i| i.name == name).unwrap();
            info.op.apply(info.imm, x)
        }
        // Operands of different ranks: the batch axis stays in front of what broadcasts.
        let shapes: [&[usize]; 3] = [&[2], &[3, 1], &[1, 2]];
        let inputs: Vec<_> = (0..info.arity)
            .map(|k| (shapes[k], info.domain[k]))
            .collect();
        check(info.name, &inputs, f);
    }
}
