//! Products with Jacobians and Hessians, own derivatives, recomputation.

use std::cell::RefCell;
use std::rc::Rc;
use wengert_autograd::{
    Param, Tape, Tensor, Var, custom_grad, grad, gradcheck, hessian, hvp, jacobian, jvp,
    value_and_grad, vjp, vmap,
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

/// The derivatives of `a + b` for both are one value, and two variables: what is done to one of them is not done to the other.
#[test]
fn equal_derivatives_are_variables_of_their_own() {
    let (a, b) = (vector(&[1.0, 2.0]), vector(&[3.0, -1.0]));
    let mut tape = Tape::<f64>::training(0);
    for _ in 0..3 {
        tape.reset();
        let (x, y) = (tape.input(&a), tape.input(&b));
        let [gx, gy, again] = grad((x + y).square().sum(), [x, y, x]);
        assert_eq!(gx.index(), again.index(), "one variable asked for twice");
        let z = (gx * 2.0 + gy.square()).sum();
        // With respect to one of them.
        let [by_x, by_y] = grad(z, [gx, gy]);
        assert_eq!(by_x.value().to_vec(), [2.0, 2.0]);
        assert_eq!(by_y.value().to_vec(), [16.0, 4.0]);
        // Through both: 2 (2 + 2 gy).
        let [through] = grad(z, [x]);
        assert_eq!(through.value().to_vec(), [36.0, 12.0]);
        // A hook on one of them.
        gx.hook(|g| g * 10.0);
        let [hooked] = grad(z, [x]);
        assert_eq!(hooked.value().to_vec(), [72.0, 48.0]);
        assert_eq!(gx.value().to_vec(), [8.0, 2.0]);
        assert_eq!(gy.value().to_vec(), [8.0, 2.0]);
    }
    // Of three, in batches, and of a rule that says so itself.
    let x = tape.input(&Tensor::from_fn([3, 2], |i| (2 * i[0] + i[1]) as f64));
    let second = vmap(
        |[x]| {
            let [p, q, r] = [x * 1.0, x * 2.0, x * 3.0];
            let [gp, gq, gr] = grad((p + q + r).powi(3).sum(), [p, q, r]);
            let [d] = grad((gp + gq.square() + gr * 5.0).sum(), [gr]);
            d
        },
        [x],
    );
    assert_eq!(second.value().to_vec(), [5.0; 6]);
}

/// A hook on one operand of `a + b` leaves the other's derivative alone, and observers and parameters get one each.
#[test]
fn operands_of_a_sum_have_derivatives_of_their_own() {
    use wengert_autograd::{NodeInfo, Observer, Seen};
    struct Log(Vec<(u32, Vec<f64>)>);
    impl Observer<f64> for Log {
        fn wants(&mut self, _: &NodeInfo<'_>) -> bool {
            true
        }
        fn see(&mut self, n: &NodeInfo<'_>, what: Seen, t: &Tensor<f64>) {
            if what == Seen::Adjoint {
                self.0.push((n.id, t.to_vec()));
            }
        }
        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
            self
        }
    }
    let (a, b) = (
        Param::new(vector(&[1.0, 2.0])),
        Param::new(vector(&[3.0, -1.0])),
    );
    let mut tape = Tape::<f64>::training(0);
    for hooked in [false, true, false] {
        tape.reset();
        tape.set_observer(Box::new(Log(Vec::new())));
        let (x, y) = (tape.param(&a) * 2.0, tape.param(&b) * 1.0);
        if hooked {
            x.hook(|g| g * 10.0);
        }
        let mut grads = (x + y).square().sum().backward();
        let log = tape.take_observer().unwrap().into_any();
        let log = log.downcast::<Log>().unwrap().0;
        let seen = |v: Var<'_, f64>| &log.iter().find(|l| l.0 == v.index()).unwrap().1;
        let by = if hooked { 10.0 } else { 1.0 };
        assert_eq!(seen(x)[..], [10.0 * by, 6.0 * by]);
        assert_eq!(seen(y)[..], [10.0, 6.0]);
        assert_eq!(grads.get(&a).unwrap().to_vec(), [20.0 * by, 12.0 * by]);
        // Those of the parameters are memory of their own.
        grads.by_id_mut(a.id()).unwrap().as_mut_slice().fill(0.0);
        assert_eq!(grads.get(&b).unwrap().to_vec(), [10.0, 6.0]);
    }
    tape.reset();
    let (x, y) = (tape.param(&a), tape.param(&b));
    let mut grads = (x + y).square().sum().backward();
    grads.by_id_mut(a.id()).unwrap().as_mut_slice().fill(0.0);
    assert_eq!(grads.get(&b).unwrap().to_vec(), [8.0, 2.0]);
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

/// As in `tests/reference/calculus.py`.
fn fill(seed: f64, shape: &[usize]) -> Tensor<f64> {
    let n = shape.iter().product::<usize>();
    let v = (0..n).map(|i| ((i as f64 + 1.0) * seed).sin()).collect();
    Tensor::from_vec(v, shape)
}

fn classes<'t>(x: Var<'t, f64>, w: Var<'t, f64>, v: Var<'t, f64>) -> Var<'t, f64> {
    let h = x.matmul(w).layer_norm(1, None, None, 1e-5).gelu();
    h.matmul(v).softmax(-1)
}

/// Names and results, in the order of the reference.
type Results = Vec<(&'static str, Tensor<f64>)>;

fn batches_and_jacobians(all: &mut Results) {
    let tape = Tape::<f64>::inference();
    let at = |seed, shape: &[usize]| tape.input(&fill(seed, shape));
    let (x, w, v) = (at(0.7, &[2, 3]), at(1.1, &[3, 5]), at(1.7, &[5, 4]));
    let batch = at(0.9, &[3, 2, 3]);
    let loss = |x, w| classes(x, w, v).square().sum();
    let mut show = |name, y: Var<'_, f64>| all.push((name, y.value()));
    show("vmap", vmap(|[x]| classes(x, w, v), [batch]));
    let own = at(0.4, &[3, 3, 5]);
    show("vmap two", vmap(|[x, w]| classes(x, w, v), [batch, own]));
    show(
        "gradients by example",
        vmap(|[x]| grad(loss(x, w), [w])[0], [batch]),
    );
    show(
        "vmap of vmap",
        vmap(
            |[x]| vmap(|[x]| (x.unsqueeze(1) * w).tanh().sum_dim(0, false), [x]),
            [batch],
        ),
    );
    let y = classes(x, w, v);
    show("jacobian", y.jacobian(x));
    show("jacobian of the weight", y.jacobian(w));
    show("hessian", loss(x, w).hessian(x));
    let part = y.select(0, 0).narrow(0, 0, 2);
    show("jacobian of a jacobian", part.jacobian(x).jacobian(x));
    show(
        "jacobians by example",
        vmap(|[x]| classes(x, w, v).jacobian(x), [batch]),
    );
}

fn hooks_and_stretches(all: &mut Results) {
    let tape = Tape::<f64>::inference();
    let at = |seed, shape: &[usize]| tape.input(&fill(seed, shape));
    let (x, w, v) = (at(0.7, &[2, 3]), at(1.1, &[3, 5]), at(1.7, &[5, 4]));
    let h = x.matmul(w);
    let seen = Rc::new(RefCell::new(None));
    let read = seen.clone();
    h.hook(move |g| {
        read.replace(Some(g.value()));
        g
    });
    let a = h.tanh();
    let factor = a.value();
    a.hook(move |g| g.clamp(-0.2, 0.2) * 3.0 + g.tape().input(&factor) * g.square());
    let [gx, gw] = grad(a.matmul(v).square().sum(), [x, w]);
    let read = seen.take().expect("the hook ran");
    all.push(("hook read", read));
    all.push(("hook replaced x", gx.value()));
    all.push(("hook replaced w", gw.value()));
    let [second] = grad(gx.square().sum(), [w]);
    all.push(("hook replaced twice", second.value()));

    // On a training tape, which forgets what lies in the stretch.
    let params = [
        Param::new(fill(0.7, &[2, 3])),
        Param::new(fill(1.1, &[3, 5])),
    ];
    let tape = Tape::<f64>::training(1);
    let [x, w] = [0, 1].map(|i| tape.param(&params[i]));
    let v = tape.input(&fill(1.7, &[5, 4]));
    let h = tape.checkpoint(|| x.matmul(w).layer_norm(1, None, None, 1e-5).silu().exp());
    let g = h.matmul(v).tanh().square().sum().backward();
    let loss = Tensor::from_vec(vec![g.loss()], [1]);
    all.push(("checkpoint", loss));
    all.push((
        "checkpoint x",
        g.get(&params[0]).expect("a gradient").copy(),
    ));
    all.push((
        "checkpoint w",
        g.get(&params[1]).expect("a gradient").copy(),
    ));
}

fn truncated(all: &mut Results) {
    let tape = Tape::<f64>::inference();
    let at = |seed, shape: &[usize]| tape.input(&fill(seed, shape));
    let u = at(0.3, &[4, 4]);
    let w = at(1.1, &[3, 5]).narrow(1, 0, 4);
    let xs = at(0.9, &[6, 2, 3]);
    let (mut h, mut total) = (tape.zeros([2, 4]), tape.scalar(0.0));
    for t in 0..6 {
        if t % 2 == 0 {
            h = h.detach();
        }
        h = (xs.select(0, t).matmul(w) + h.matmul(u)).tanh();
        total = total + (h * at(0.2 + 0.1 * t as f64, &[2, 4])).square().sum();
    }
    let [gw, gu] = grad(total, [w, u]);
    all.push(("truncated w", gw.value()));
    all.push(("truncated u", gu.value()));
}

/// `tests/reference/calculus.py` wrote the file, with PyTorch in f64.
#[test]
fn the_calculus_agrees_with_pytorch() {
    let mut all = Vec::new();
    batches_and_jacobians(&mut all);
    hooks_and_stretches(&mut all);
    truncated(&mut all);
    let text = include_str!("reference/calculus.txt");
    assert_eq!(text.lines().count(), all.len());
    for (line, (name, found)) in text.lines().zip(&all) {
        let fields: Vec<&str> = line.split('|').collect();
        assert_eq!(fields[0], *name);
        let shape: Vec<String> = found.shape().iter().map(usize::to_string).collect();
        assert_eq!(fields[1], shape.join(","), "{name}");
        let expected: Vec<f64> = (fields[2].split(' '))
            .map(|v| v.parse().expect("a number"))
            .collect();
        let scale = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        assert_eq!(found.numel(), expected.len(), "{name}");
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (a - b).abs() <= 1e-12 * scale,
                "{name}, element {i}: {a:e}, PyTorch {b:e}"
            );
        }
    }
}
