//! Products with Jacobians and Hessians, own derivatives, recomputation.

use wengert_autograd::{
    Param, Tape, Tensor, Var, custom_grad, grad, gradcheck, hessian, hvp, jacobian, jvp,
    value_and_grad, vjp,
};

fn vector(v: &[f64]) -> Tensor<f64> {
    Tensor::from_slice(v, [v.len()])
}

fn rosenbrock(x: Var<'_, f64>) -> Var<'_, f64> {
    let n = x.numel();
    let (a, b) = (x.narrow(0, 0, n - 1), x.narrow(0, 1, n));
    ((b - a.square()).square() * 100.0 + (1 - a).square()).sum()
}

#[test]
fn the_hessian_of_rosenbrock_has_its_closed_form() {
    let x = vector(&[-1.2, 1.0, 0.7]);
    let h = hessian(rosenbrock, &x).to_vec();
    let v = x.to_vec();
    let d = |i: usize| 1200.0 * v[i] * v[i] - 400.0 * v[i + 1] + 2.0;
    let expected = [
        d(0),
        -400.0 * v[0],
        0.0,
        -400.0 * v[0],
        d(1) + 200.0,
        -400.0 * v[1],
        0.0,
        -400.0 * v[1],
        200.0,
    ];
    for (h, e) in h.iter().zip(expected) {
        assert!((h - e).abs() < 1e-9, "{h} against {e}");
    }
    let tape = Tape::<f64>::inference();
    let (p, w) = (tape.input(&x), tape.input(&vector(&[0.3, -0.5, 2.0])));
    let [hv] = hvp(rosenbrock(p), [p], [w]);
    let direct: Vec<f64> = (0..3)
        .map(|r| {
            (0..3)
                .map(|c| expected[3 * r + c] * [0.3, -0.5, 2.0][c])
                .sum()
        })
        .collect();
    for (a, b) in hv.value().to_vec().iter().zip(direct) {
        assert!((a - b).abs() < 1e-9);
    }
    let (value, [g]) = value_and_grad(|[x]| rosenbrock(x), [&x]);
    assert!(value > 0.0 && g.shape() == [3]);
}

fn network<'t>(x: Var<'t, f64>, w: Var<'t, f64>, v: Var<'t, f64>) -> Var<'t, f64> {
    x.matmul(w).tanh().matmul(v).softplus().log_softmax(1)
}

#[test]
fn forward_mode_is_the_adjoint_of_reverse_mode() {
    let tape = Tape::<f64>::inference();
    let fill = |n: usize, s: f64| {
        (0..n)
            .map(|i| ((i as f64 + 1.0) * s).sin())
            .collect::<Vec<_>>()
    };
    let x = tape.input(&Tensor::from_vec(fill(12, 0.7), [4, 3]));
    let w = tape.input(&Tensor::from_vec(fill(15, 1.3), [3, 5]));
    let v = tape.input(&Tensor::from_vec(fill(10, 2.1), [5, 2]));
    let y = network(x, w, v);
    let u = tape.input(&Tensor::from_vec(fill(8, 0.9), [4, 2]));
    let (tx, tw) = (
        tape.input(&Tensor::from_vec(fill(12, 3.3), [4, 3])),
        tape.input(&Tensor::from_vec(fill(15, 0.2), [3, 5])),
    );
    let left = (u * jvp(y, [x, w], [tx, tw])).sum().item();
    let [gx, gw] = vjp(y, u, [x, w]);
    let right = ((gx * tx).sum() + (gw * tw).sum()).item();
    assert!(
        (left - right).abs() <= 1e-12 * right.abs().max(1.0),
        "{left} against {right}"
    );

    // Forward over reverse, reverse over reverse, reverse over forward: one Hessian-vector product.
    let f = (y * y).sum();
    let [g] = grad(f, [w]);
    let forward_reverse = jvp(g, [w], [tw]).value();
    let [reverse_reverse] = hvp(f, [w], [tw]);
    let [reverse_forward] = grad(jvp(f, [w], [tw]), [w]);
    let (a, b, c) = (
        forward_reverse.to_vec(),
        reverse_reverse.value().to_vec(),
        reverse_forward.value().to_vec(),
    );
    for ((a, b), c) in a.iter().zip(&b).zip(&c) {
        assert!(
            (a - b).abs() < 1e-11 && (a - c).abs() < 1e-11,
            "{a} {b} {c}"
        );
    }
}

#[test]
fn jacobians_by_rows_and_by_columns_agree() {
    let x = vector(&[0.3, -0.4]);
    let tall = jacobian(|x| Var::cat(&[x.sin(), x * x, x.flip([0]) * 3.0], 0), &x);
    assert_eq!(tall.shape(), [6, 2]);
    let (c, s) = (0.3f64.cos(), (-0.4f64).cos());
    let expected = [c, 0.0, 0.0, s, 0.6, 0.0, 0.0, -0.8, 0.0, 3.0, 3.0, 0.0];
    for (a, b) in tall.to_vec().iter().zip(expected) {
        assert!((a - b).abs() < 1e-15);
    }
    let wide = jacobian(|x| x.sum().square().unsqueeze(0), &x);
    assert_eq!(wide.shape(), [1, 2]);
    assert!(wide.to_vec().iter().all(|j| (j + 0.2).abs() < 1e-15));
}

#[test]
fn own_derivatives_replace_those_of_the_forward_function() {
    // ln(1 + e^x) with a stable derivative, differentiated twice.
    gradcheck(
        |[x]| {
            custom_grad(
                [x],
                |[x]| (x.exp() + 1.0).ln(),
                |ctx| {
                    [Some(ctx.cotangent() * ctx.input(0).sigmoid())]
                        .into_iter()
                        .collect()
                },
            )
        },
        [vector(&[0.3, -1.0, 2.0])],
    )
    .assert_ok();
}

#[test]
fn a_checkpointed_stretch_is_recomputed() {
    let n = 64;
    let w = Param::new(Tensor::<f64>::from_vec(
        (0..n * n).map(|i| (i as f64 * 0.37).sin() * 0.15).collect(),
        [n, n],
    ));
    let run = |checkpointed: bool| {
        let mut tape = Tape::<f64>::training(5);
        let mut result = Vec::new();
        for _ in 0..2 {
            tape.reset();
            let w = tape.param(&w);
            let mut x = tape.input(&Tensor::full([n, n], 0.1));
            for _ in 0..8 {
                let block = || (0..6).fold(x, |x, _| x.matmul(w).tanh().dropout(0.1));
                x = if checkpointed {
                    tape.checkpoint(block)
                } else {
                    block()
                };
            }
            let grads = x.square().sum().backward();
            result = vec![grads.loss().to_bits()];
            result.extend(grads.entries()[0].1.iter().map(f64::to_bits));
        }
        (result, tape.memory().peak)
    };
    let (kept, recomputed) = (run(false), run(true));
    let differ = kept.0.iter().zip(&recomputed.0).position(|(a, b)| a != b);
    assert!(
        differ.is_none(),
        "the same bits, masks included: entry {differ:?}: {:?}",
        differ.map(|i| (f64::from_bits(kept.0[i]), f64::from_bits(recomputed.0[i])))
    );
    assert!(
        recomputed.1 * 2 < kept.1,
        "peak {} against {}",
        recomputed.1,
        kept.1
    );
}

#[test]
fn gradients_of_several_losses_add_up() {
    let (a, b) = (Param::new(vector(&[1.0, 2.0])), Param::new(vector(&[3.0])));
    let mut tape = Tape::training(0);
    tape.reset();
    let mut total = tape.param(&a).square().sum().backward();
    for _ in 0..2 {
        tape.reset();
        let loss = tape.param(&a).square().sum() + tape.param(&b).sum();
        total.accumulate(&loss.backward(), 1.0);
    }
    assert_eq!(total.get(&a).unwrap().to_vec(), [6.0, 12.0]);
    assert_eq!(total.get(&b).unwrap().to_vec(), [2.0]);
    let model = (a.clone(), b);
    assert_eq!(
        total.missing(&model),
        ["0"],
        "a parameter that was not on the tape"
    );
}
