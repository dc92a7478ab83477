//! `vmap`, and Jacobians and Hessians without a loop.

use wengert_autograd::{
    Cotangents, Dims, ForwardCtx, Op, Result, Tape, Tensor, Var, VjpCtx, custom_grad, grad,
    hessian, jacobian, vmap, vmap_many,
};

fn fill(seed: f64, shape: &[usize]) -> Tensor<f64> {
    let n = shape.iter().product::<usize>();
    Tensor::from_vec(
        (0..n).map(|i| ((i as f64 + 1.0) * seed).sin()).collect(),
        shape,
    )
}

fn network<'t>(x: Var<'t, f64>, w: Var<'t, f64>, v: Var<'t, f64>) -> Var<'t, f64> {
    let h = x.matmul(w).layer_norm(1, None, None, 1e-5).gelu();
    h.matmul(v).softmax(-1)
}

#[test]
fn nodes_and_kernels_do_not_depend_on_the_number_of_rows() {
    let count = |rows: usize, columns: bool| {
        let tape = Tape::<f64>::inference();
        let x = tape.input(&fill(0.7, &[if columns { rows } else { 40 }]));
        let w = tape.input(&fill(1.1, &[x.numel(), if columns { 40 } else { rows }]));
        let y = x.unsqueeze(0).matmul(w).tanh().squeeze(0);
        let j = y.jacobian(x);
        let (before, kernels) = (tape.len(), tape.counters().kernels);
        let v = j.value();
        assert_eq!(v.shape(), [y.numel(), x.numel()]);
        (before, tape.counters().kernels - kernels)
    };
    assert_eq!(count(3, false), count(30, false));
    assert_eq!(count(3, true), count(30, true));
    // The same for the Hessian of a network whose layers have kernels without a batching rule.
    let hessian = |n: usize| {
        let tape = Tape::<f64>::inference();
        let x = tape.input(&fill(0.7, &[2, n]));
        let w = tape.input(&fill(1.1, &[n, 5]));
        let v = tape.input(&fill(1.7, &[5, 3]));
        let h = network(x, w, v).square().sum().hessian(x);
        let before = tape.len();
        assert_eq!(h.value().shape(), [2, n, 2, n]);
        (before, tape.counters().kernels)
    };
    assert_eq!(hessian(3), hessian(12));
}

#[test]
fn jacobians_equal_their_rows_and_can_be_differentiated() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&fill(0.7, &[2, 3]));
    let w = tape.input(&fill(1.1, &[3, 5]));
    let v = tape.input(&fill(1.7, &[5, 4]));
    let y = network(x, w, v);
    for (wrt, n) in [(x, 6), (w, 15), (v, 20)] {
        let j = y.jacobian(wrt);
        let mut shape = vec![2, 4];
        shape.extend_from_slice(&wrt.shape());
        assert_eq!(j.shape().as_slice(), shape);
        let j = j.reshape([8, n]);
        for r in 0..8 {
            let row = grad(y.flatten(0, 1).select(0, r), [wrt])[0]
                .value()
                .to_vec();
            let found = j.select(0, r).value().to_vec();
            assert!(
                row.iter().zip(&found).all(|(a, b)| (a - b).abs() <= 1e-14),
                "row {r}"
            );
        }
    }
    // Squared Frobenius norm of the Jacobian: a penalty to train with.
    fn penalty(w: Var<'_, f64>) -> Var<'_, f64> {
        let tape = w.tape();
        let (x, v) = (
            tape.input(&fill(0.7, &[2, 3])),
            tape.input(&fill(1.7, &[5, 4])),
        );
        network(x, w, v).jacobian(x).square().sum().reshape(())
    }
    wengert_autograd::gradcheck(|[w]| penalty(w), [fill(1.1, &[3, 5])]).assert_ok();
    let h = hessian(penalty, &fill(1.1, &[3, 5]));
    let h = h.reshape([15, 15]);
    for i in 0..15 {
        for k in 0..i {
            assert!(
                (h.get(&[i, k]) - h.get(&[k, i])).abs() <= 1e-10,
                "symmetric"
            );
        }
    }
}

#[test]
fn gradients_by_example() {
    let tape = Tape::<f64>::inference();
    let (xs, ts) = (
        tape.input(&fill(0.3, &[4, 3])),
        tape.input(&fill(0.9, &[4, 2])),
    );
    let w = tape.input(&fill(1.3, &[3, 2]));
    let g = vmap(
        |[x, t]| {
            grad(
                (x.unsqueeze(0).matmul(w).squeeze(0).tanh() - t)
                    .square()
                    .sum(),
                [w],
            )[0]
        },
        [xs, ts],
    );
    assert_eq!(g.shape().as_slice(), [4, 3, 2]);
    let total = grad((xs.matmul(w).tanh() - ts).square().sum(), [w])[0]
        .value()
        .to_vec();
    let sum = g.sum_dim([0], false).value().to_vec();
    assert!(total.iter().zip(&sum).all(|(a, b)| (a - b).abs() < 1e-13));
    // A value computed before from all examples: the gradient for it has a row for each example, zero but for its own.
    let h = xs.matmul(w);
    let g = vmap(|[x]| grad(x.square().sum(), [h])[0], [h]).value();
    assert_eq!(g.shape(), [4, 4, 2]);
    for i in 0..4 {
        for k in 0..4 {
            let expected = if i == k {
                2.0 * h.value().get(&[i, 1])
            } else {
                0.0
            };
            assert_eq!(g.get(&[i, k, 1]), expected);
        }
    }
}

#[test]
fn batches_of_batches() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&fill(0.3, &[2, 3, 4]));
    let y = vmap(
        |[x]| vmap(|[x]| x.softmax(0).cumsum(0) * x.sum(), [x]).sum_dim([0], false),
        [x],
    );
    let expected = (x.softmax(2).cumsum(2) * x.sum_dim([2], true)).sum_dim([1], false);
    let (a, b) = (y.value().to_vec(), expected.value().to_vec());
    assert_eq!(y.shape().as_slice(), [2, 4]);
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-14));
    // The Jacobian inside a batch, and a Hessian of a Jacobian's sum.
    let j = vmap(|[x]| x.flatten(0, 1).square().jacobian(x), [x]);
    assert_eq!(j.shape().as_slice(), [2, 12, 3, 4]);
    let trace: f64 = j.sum().item();
    assert!((trace - 2.0 * x.value().iter().sum::<f64>()).abs() < 1e-12);
}

#[test]
fn what_does_not_depend_on_the_example_is_computed_once() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&fill(0.3, &[5, 4]));
    let w = tape.input(&fill(0.8, &[4]));
    let outs = vmap_many(|v| vec![v[0] * w.exp().sum(), w * 2.0, v[0]], &[x]);
    assert_eq!(outs[1].value().shape(), [5, 4]);
    assert_eq!(outs[2].index(), x.index());
    let scale = w.value().iter().map(f64::exp).sum::<f64>();
    assert!((outs[0].value().get(&[3, 2]) - x.value().get(&[3, 2]) * scale).abs() < 1e-14);
    let sizes: Vec<usize> = {
        let mut s = Vec::new();
        tape.for_each_node(|n| {
            if n.op == "exp" {
                s.push(n.shape.iter().product());
            }
        });
        s
    };
    assert_eq!(sizes, [4], "one exponential, without a batch axis");
}

#[test]
fn operations_of_other_crates_need_no_batching_rule() {
    #[derive(Debug, PartialEq)]
    struct Cube;
    impl Op<f64> for Cube {
        fn name(&self) -> &'static str {
            "cube"
        }
        fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
            Ok(Dims::from_slice(inputs[0]))
        }
        fn forward(&self, ctx: &mut ForwardCtx<'_, f64>) {
            let x = ctx.input(0);
            for (y, x) in ctx.output().iter_mut().zip(x.iter()) {
                *y = x * x * x;
            }
        }
        fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, f64>) -> Cotangents<'t, f64> {
            [Some(ctx.cotangent() * ctx.input(0).square() * 3.0)]
                .into_iter()
                .collect()
        }
    }
    let j = jacobian(|x| x.apply(Cube), &fill(0.4, &[3]));
    let x = fill(0.4, &[3]);
    for i in 0..3 {
        assert_eq!(j.get(&[i, i]), 1.0 * x.get(&[i]).powi(2) * 3.0);
    }
    let own = jacobian(
        |x| {
            custom_grad(
                [x],
                |[x]| x.round(),
                |ctx| [Some(ctx.cotangent() * 2.0)].into_iter().collect(),
            )
        },
        &x,
    );
    assert_eq!(own.to_vec(), [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0]);
}

#[test]
fn a_step_with_a_batched_function_is_planned_once() {
    let mut tape = Tape::<f64>::training(0);
    let mut first = Vec::new();
    for step in 0..3 {
        tape.reset();
        let x = tape.input(&fill(0.3, &[5, 4]));
        let w = tape.input(&fill(0.8, &[4, 4]));
        let g = vmap(
            |[x]| {
                grad(
                    x.matmul(w).layer_norm(1, None, None, 1e-5).square().sum(),
                    [w],
                )[0]
            },
            [x],
        );
        let v = g.value().to_vec();
        if step == 0 {
            first = v;
        } else {
            assert_eq!(first, v);
            assert_eq!(tape.counters().plans, 1);
        }
    }
}

#[test]
fn edges() {
    let tape = Tape::<f64>::inference();
    let none = tape.input(&Tensor::zeros([0, 3]));
    assert_eq!(vmap(|[x]| x.exp().sum(), [none]).value().shape(), [0]);
    let empty = tape.input(&Tensor::zeros([2, 0]));
    assert_eq!(
        vmap(|[x]| x.softmax(0).sum(), [empty]).value().to_vec(),
        [0.0; 2]
    );
    let x = tape.input(&fill(0.3, &[3]));
    assert_eq!(
        vmap(|[x]| x * 2.0, [x]).value().shape(),
        [3],
        "examples of rank 0"
    );
    assert_eq!(x.narrow(0, 0, 0).jacobian(x).value().shape(), [0, 3]);
    assert_eq!(x.jacobian(x).value().to_vec(), tape.eye(3).value().to_vec());
    assert_eq!(tape.scalar(1.0).jacobian(x).value().to_vec(), [0.0; 3]);
}

/// Whether the gradient is taken inside or outside: the hook sees that of each example, here its square.
#[test]
fn hooks_of_the_function_see_the_gradient_of_each_example() {
    let x = Tensor::from_vec(vec![1.0, 2.0, -0.5, 0.3], [2, 2]);
    let mut tape = Tape::<f64>::inference();
    for _ in 0..3 {
        tape.reset();
        let x = tape.input(&x);
        fn f<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
            x.hook(|g| g + 1.0);
            let m = x.square();
            m.hook(|g| g.square() * g.sum());
            m.sin().prod()
        }
        let outside = grad(vmap(|[x]| f(x), [x]).sum(), [x])[0];
        let again = grad((outside * outside).sum(), [x])[0];
        let inside = vmap(|[x]| grad(f(x), [x])[0], [x]);
        for row in 0..2 {
            let one = tape.input(&x.value().narrow(0, row, row + 1).reshape([2]));
            let g = grad(f(one), [one])[0];
            let second = grad((g * g).sum(), [one])[0];
            for (all, one) in [(outside, g), (inside, g), (again, second)] {
                let all = all.narrow(0, row, row + 1).value().to_vec();
                for (a, b) in all.iter().zip(one.value().to_vec()) {
                    assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} {b}");
                }
            }
        }
    }
}
