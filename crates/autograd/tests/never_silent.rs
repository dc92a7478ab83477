//! Own derivatives and their misuse, anomalies, missing gradients, checks of whole models.

use wengert_autograd::{
    Anomaly, Cotangents, GradCheckOptions, Param, Tape, Tensor, Var, WhyMissing, custom_grad,
    custom_grad_with, grad, gradcheck, gradcheck_module, gradcheck_with, jvp, vjp_many,
};

fn vector(v: &[f64]) -> Tensor<f64> {
    Tensor::from_slice(v, [v.len()])
}

fn message(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f))
        .expect_err("the call must be refused");
    match payload.downcast::<String>() {
        Ok(s) => *s,
        Err(p) => (*p.downcast::<&str>().expect("a message")).to_string(),
    }
}

fn one<'t, T: wengert_autograd::Float>(v: Var<'t, T>) -> Cotangents<'t, T> {
    [Some(v)].into_iter().collect()
}

#[test]
fn own_derivatives_do_not_cost_a_plan_per_step() {
    let w = Param::new(vector(&[0.5, -1.5]));
    let mut tape = Tape::training(0);
    let plans: Vec<u64> = (0..4)
        .map(|step| {
            tape.reset();
            let x = tape.param(&w);
            let y = custom_grad([x], |[x]| x.round(), |ctx| one(ctx.cotangent()));
            // The number changes only in the last step.
            let scale = if step == 3 { 0.25 } else { 0.5 };
            let y = custom_grad_with(scale, [y], |[y]| y, |&s, ctx| one(ctx.cotangent() * s));
            let g = (y * y).sum().backward();
            let r = w.value().map(|x| 2.0 * scale * x.round_ties_even());
            assert_eq!(g.get(&w).unwrap().to_vec(), r.to_vec());
            tape.counters().plans
        })
        .collect();
    assert_eq!(plans, [1, 1, 1, 2]);
    // A rule that captures a number may be another each time, so it is never taken for the last one.
    for scale in [2.0, 3.0] {
        tape.reset();
        let x = tape.param(&w);
        let y = custom_grad([x], |[x]| x * 1.0, move |ctx| one(ctx.cotangent() * scale));
        assert_eq!(y.sum().backward().get(&w).unwrap().to_vec(), [scale; 2]);
    }
}

#[test]
fn misuse_of_own_derivatives_is_refused_and_the_tape_stays_usable() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&vector(&[1.0, 2.0]));
    let fine = || grad(x.square().sum(), [x])[0].value().to_vec();
    let y = custom_grad([x], |[x]| x * 3.0, |_| Cotangents::new());
    let m = message(|| {
        grad(y.sum(), [x]);
    });
    assert!(
        m.contains("custom_grad") && m.contains("0 cotangents for 1 inputs"),
        "{m}"
    );
    assert_eq!(fine(), [2.0, 4.0]);
    let y = custom_grad([x], |[x]| x * 3.0, |ctx| one(ctx.cotangent().sum()));
    let m = message(|| {
        grad(y.sum(), [x]);
    });
    assert!(
        m.contains("shape []") && m.contains("input 0 of shape [2]"),
        "{m}"
    );
    assert_eq!(fine(), [2.0, 4.0]);
    let y = custom_grad([x], |[x]| x * 3.0, |_| panic!("the rule fails"));
    let m = message(|| {
        grad(y.sum(), [x]);
    });
    assert!(m.contains("the rule fails"), "{m}");
    assert_eq!(fine(), [2.0, 4.0]);
    // A panic inside a scope, a no-grad region or a checkpointed stretch leaves none of them behind.
    for region in 0..3 {
        let fail = || -> f64 { panic!("inside") };
        message(|| match region {
            0 => drop(tape.scope("layer", fail)),
            1 => drop(tape.no_grad(fail)),
            _ => drop(tape.checkpoint(fail)),
        });
        assert_eq!(fine(), [2.0, 4.0]);
    }
    let mut scopes = Vec::new();
    tape.for_each_node(|n| scopes.push(n.scope.to_string()));
    assert!(scopes.iter().all(String::is_empty));
    let no_inputs: [Var<'_, f64>; 0] = [];
    let m = message(|| {
        custom_grad(no_inputs, |_| x, |_| Cotangents::new());
    });
    assert!(m.contains("at least one input"), "{m}");
}

#[test]
fn every_reason_for_a_missing_gradient_is_told() {
    let p: Vec<Param<f64>> = (0..7).map(|_| Param::new(vector(&[0.4, 0.6]))).collect();
    let mut model = p;
    model[1].set_trainable(false);
    let tape = Tape::training(0);
    let v: Vec<_> = [0, 1, 3, 4, 5, 6].map(|i| tape.param(&model[i])).to_vec();
    let [a, frozen, unused, detached, region, rounded] = v[..] else {
        unreachable!("six parameters")
    };
    let _ = unused.exp();
    let inside = tape.no_grad(|| region.sin());
    let loss = (a * frozen + detached.tanh().detach() + inside * 2.0 + rounded.round()).sum();
    let before: Vec<String> = loss
        .missing_gradients(&model)
        .iter()
        .map(|m| m.path.clone())
        .collect();
    assert_eq!(
        before,
        ["1", "2", "3", "4", "5"],
        "structure alone does not know of rounding"
    );
    drop(loss.backward());
    let missing = loss.missing_gradients(&model);
    let text: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing.len(), 6, "{text:?}");
    assert_eq!(missing[0].why, WhyMissing::Frozen);
    assert_eq!(missing[1].why, WhyMissing::NotOnTape);
    assert_eq!(missing[2].why, WhyMissing::NoPath);
    assert!(
        matches!(missing[3].why, WhyMissing::Cut { op: "detach", .. }),
        "{text:?}"
    );
    assert!(
        matches!(missing[4].why, WhyMissing::Cut { op: "sin", .. }),
        "{text:?}"
    );
    assert!(
        matches!(
            missing[5].why,
            WhyMissing::ZeroDerivative { op: "round", .. }
        ),
        "{text:?}"
    );
    assert!(
        text[4].contains("no-grad region") && text[4].contains("never_silent.rs"),
        "{text:?}"
    );
}

fn trace(
    f: impl for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>,
    model: &Vec<Param<f64>>,
) -> Option<Anomaly> {
    let tape = Tape::training(3);
    let v: Vec<_> = model.iter().map(|p| tape.param(p)).collect();
    let grads = f(&v).backward();
    let found = tape.trace(model);
    let finite =
        grads.loss().is_finite() && grads.iter().all(|(_, g)| g.iter().all(f64::is_finite));
    assert_eq!(found.is_none(), finite);
    // Twice the same, and the tape is as spent as before.
    assert_eq!(tape.trace(model), found);
    assert!(message(|| drop(v[0].exp().value())).contains("spent"));
    found
}

#[test]
fn a_step_can_be_traced_after_the_fact() {
    let model = vec![
        Param::new(vector(&[1.0, 0.0, 4.0])),
        Param::new(vector(&[2.0, 2.0, 2.0])),
    ];
    assert_eq!(trace(|v| (v[0] * v[1]).dropout(0.5).sum(), &model), None);
    let forward = trace(
        |v| v[1].tape().scope("head", || v[1] + v[0].ln()).sum(),
        &model,
    )
    .unwrap();
    assert_eq!(
        (forward.op, forward.scope.as_str(), forward.backward_of),
        ("ln", "head", None)
    );
    assert_eq!(forward.parameter.as_deref(), Some("0"));
    assert_eq!((forward.output.not_finite, forward.output.numel), (1, 3));
    assert_eq!((forward.inputs[0].min, forward.inputs[0].max), (0.0, 4.0));
    let text = forward.to_string();
    for part in [
        "ln",
        "head",
        "parameter 0",
        "never_silent.rs",
        "1 of 3 not finite",
        "minimum 0e0",
        "maximum 4e0",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The masks of the traced step are those of the step: the zero is dropped in one of them only.
    let backward = trace(|v| (v[0].sqrt() * v[1]).sum(), &model).unwrap();
    assert_eq!(backward.backward_of, Some("sqrt"));
    let held = vec![Param::new(vector(&[f64::NAN, 1.0]))];
    let leaf = trace(|v| v[0].sum(), &held).unwrap();
    assert_eq!((leaf.op, leaf.parameter.as_deref()), ("param", Some("0")));
    // An inference tape, values asked for one by one, and a model without one of the parameters.
    let tape = Tape::<f64>::inference();
    let y = tape.param(&model[0]).recip_of();
    y.value();
    assert_eq!(tape.trace(&model).unwrap().op, "reciprocal");
    assert_eq!(y.value().to_vec()[0], 1.0);
    assert!(message(|| drop(tape.trace(&model[1]))).contains("not in the model"));
}

trait Recip {
    fn recip_of(self) -> Self;
}
impl Recip for Var<'_, f64> {
    fn recip_of(self) -> Self {
        self.reciprocal()
    }
}

#[test]
fn masks_of_a_traced_step_are_those_of_the_step() {
    let model = vec![Param::new(Tensor::<f64>::zeros([64]))];
    let mut tape = Tape::training(11);
    for _ in 0..3 {
        tape.reset();
        let x = tape.param(&model[0]);
        let kept = (x + 1.0).dropout(0.5).keep();
        let loss = (kept - 2.0).ln().sum();
        drop(loss.backward());
        // ln 0 where kept, ln -2 (NaN) where dropped: all are counted, and the kept value is still there.
        let dropped = kept.value().iter().filter(|&x| x == 0.0).count();
        let found = tape.trace(&model).unwrap();
        assert_eq!((found.op, found.output.not_finite), ("ln", 64));
        assert_eq!(found.inputs[0].min, -2.0);
        assert_eq!(kept.value().iter().filter(|&x| x == 0.0).count(), dropped);
    }
}

#[test]
fn checks_of_whole_models_name_parameter_and_element() {
    let mut model = (
        Param::new(Tensor::from_vec(
            vec![0.3, -0.7, 1.1, 0.2, 0.5, -0.4],
            [3, 2],
        )),
        vec![
            Param::new(vector(&[0.5, -0.1])),
            Param::new(vector(&[0.9, 1.2])),
        ],
    );
    let x = Tensor::from_vec(vec![0.4, -1.3, 0.8, 0.1, 0.6, -0.5], [2, 3]);
    type Model = (Param<f64>, Vec<Param<f64>>);
    fn forward<'t>(tape: &'t Tape<f64>, m: &Model, x: &Tensor<f64>) -> Var<'t, f64> {
        let h = tape.input(x).matmul(tape.param(&m.0)) + tape.param(&m.1[0]);
        h.dropout(0.3).gelu() * tape.param(&m.1[1]) + tape.param(&m.0).square().sum()
    }
    let before = model.0.value().to_vec();
    let options = GradCheckOptions {
        training: true,
        seed: 4,
        ..Default::default()
    };
    let check = gradcheck_module(&mut model, |tape, m| forward(tape, m, &x), options);
    check.assert_ok();
    assert_eq!(check.compared, 20, "ten numbers, two orders");
    assert_eq!(
        model.0.value().to_vec(),
        before,
        "the parameters are put back"
    );
    // A wrong rule for one parameter.
    let check = gradcheck_module(
        &mut model,
        |tape, m| {
            let p = tape.param(&m.1[1]);
            let wrong = custom_grad(
                [p],
                |[p]| p * 1.0,
                |ctx| {
                    let wrong = ctx.input(0).tape().input(&vector(&[1.0, 1.001]));
                    one(ctx.cotangent() * wrong)
                },
            );
            forward(tape, m, &x).sum() + wrong.square().sum()
        },
        options,
    );
    assert!(!check.is_ok());
    assert!(
        check.at.contains("gradient for parameter 1.1, element [1]"),
        "{}",
        check.at
    );
    // The second order alone: the value and the gradient are right, the gradient's derivative is not.
    let check = gradcheck(
        |[x]| {
            custom_grad(
                [x],
                |[x]| x.powi(3),
                |ctx| {
                    let slope = ctx.input(0).square().detach() * 3.0;
                    one(ctx.cotangent() * slope)
                },
            )
            .sum()
        },
        [vector(&[0.7])],
    );
    assert!(
        check
            .at
            .contains("second derivative for input 0, element [0]"),
        "{}",
        check.at
    );
    let m = message(|| check.assert_ok());
    assert!(
        m.contains("analytic 0e0") && m.contains("exceeds 2e-8"),
        "{m}"
    );
    let first = GradCheckOptions {
        order: 1,
        ..Default::default()
    };
    gradcheck_with(
        |v| v[0].square().detach() * v[0],
        &[vector(&[0.7])],
        GradCheckOptions {
            tolerance: 1e9,
            ..first
        },
    )
    .assert_ok();
}

#[test]
fn several_roots_and_intermediate_values() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&vector(&[0.5, 2.0]));
    let h = x.exp();
    let (a, b) = (h.square(), h.sum());
    let ca = tape.input(&vector(&[1.0, 10.0]));
    let cb = tape.scalar(100.0);
    let g = vjp_many(&[a, b, a], &[ca, cb, ca], &[h, x]);
    for i in 0..2 {
        let e = x.value().to_vec()[i].exp();
        let dh = 2.0 * 2.0 * e * [1.0, 10.0][i] + 100.0;
        assert!((g[0].value().to_vec()[i] - dh).abs() < 1e-12 * dh);
        assert!((g[1].value().to_vec()[i] - dh * e).abs() < 1e-12 * dh * e);
    }
    // A root that is an input of another root.
    let g = vjp_many(&[h, h.sum()], &[ca, cb], &[h]);
    assert_eq!(g[0].value().to_vec(), [101.0, 110.0]);
    let t = jvp(a, [h], [ca]);
    assert!((t.value().to_vec()[1] - 20.0 * 2f64.exp()).abs() < 1e-12);
}

#[test]
fn hooks_read_replace_and_stack() {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let w = Param::new(vector(&[3.0]));
    let mut tape = Tape::training(0);
    for step in 0..2 {
        tape.reset();
        let x = tape.param(&w);
        let y = x * 2.0;
        let log = seen.clone();
        // Reading: the hook returns what it got.
        y.hook(move |g| {
            log.borrow_mut().push(g.index());
            g
        });
        if step == 0 {
            // Replacing: in the order of registration.
            y.hook(|g| g * 10.0);
            y.hook(|g| g + 1.0);
            x.hook(|g| g.clamp(-100.0, 100.0));
        }
        let g = y.square().sum().backward();
        // 2 y = 12; times 10, plus 1; times 2; limited.
        assert_eq!(
            g.get(&w).unwrap().to_vec(),
            [if step == 0 { 100.0 } else { 24.0 }]
        );
    }
    assert_eq!(seen.borrow().len(), 2);
}
