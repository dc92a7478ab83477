//! What a step asks of its tape is repeated only where the step before asked the same, and what `no_grad` and hooks change is
//! never taken over from another step.

use wengert_autograd::ops::pad::Pad;
use wengert_autograd::{
    Cotangents, Dims, ForwardCtx, NodeInfo, Observer, Op, Param, Result, Seen, Tape, Tensor, Var,
    VjpCtx, custom_grad, grad, hvp, jvp, vmap,
};

fn param(x: f64) -> Param<f64> {
    Param::new(Tensor::scalar(x))
}

#[test]
fn a_hook_lives_for_one_step() {
    for hooked in 0..4 {
        let p = param(2.0);
        let mut tape = Tape::<f64>::training(1);
        let found: Vec<f64> = (0..5)
            .map(|k| {
                tape.reset();
                let m = tape.param(&p) * 1.0;
                if k == hooked {
                    m.hook(|g| g * 5.0);
                }
                let grads = m.sum().backward();
                grads.get(&p).expect("a gradient").item()
            })
            .collect();
        let expected: Vec<f64> = (0..5)
            .map(|k| if k == hooked { 5.0 } else { 1.0 })
            .collect();
        assert_eq!(found, expected);
        // The same by `grad`, on a tape of inference.
        let mut tape = Tape::<f64>::inference();
        let x = Tensor::scalar(2.0);
        let found: Vec<f64> = (0..5)
            .map(|k| {
                tape.reset();
                let x = tape.input(&x);
                let m = x * 1.0;
                if k == hooked {
                    m.hook(|g| g * 5.0);
                }
                grad(m.sum(), [x])[0].item()
            })
            .collect();
        assert_eq!(found, expected);
    }
}

/// y + (∂y/∂x)² for y = x³ at 3: 27 + 2 · 27 · 18 where the penalty is differentiated.
#[test]
fn a_gradient_without_gradient_is_not_taken_for_one_with() {
    for first in [0, 1] {
        let p = param(3.0);
        let mut tape = Tape::<f64>::training(1);
        for k in 0..5 {
            tape.reset();
            let x = tape.param(&p);
            let y = x.powi(3).sum();
            let constant = k % 2 == first;
            let g = match constant {
                true => tape.no_grad(|| grad(y, [x])[0]),
                false => grad(y, [x])[0],
            };
            let grads = ((g * g).sum() + y).backward();
            let expected = if constant { 27.0 } else { 999.0 };
            assert_eq!(grads.get(&p).expect("a gradient").item(), expected);
        }
    }
}

#[test]
fn products_with_derivatives_stand_in_no_grad_regions() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0], [2]));
    let v = tape.input(&Tensor::ones([2]));
    let y = x.powi(3);
    let values = |v: Var<'_, f64>| v.value().to_vec();
    assert_eq!(values(tape.no_grad(|| jvp(y, [x], [v]))), [3.0, 12.0]);
    let f = y.sum();
    let h = tape.no_grad(|| hvp(f, [x], [v])[0]);
    assert_eq!(values(h), [6.0, 12.0]);
    // Nothing flows through the result.
    assert_eq!(values(grad(h.sum(), [x])[0]), [0.0, 0.0]);
    assert_eq!(values(grad(hvp(f, [x], [v])[0].sum(), [x])[0]), [6.0, 6.0]);
}

/// A number of an operation's configuration is another one if its bits are: 1 / -0 is not 1 / 0.
#[test]
fn a_negative_zero_is_another_number() {
    let mut tape = Tape::<f64>::inference();
    let mut found = Vec::new();
    for c in [0.0, -0.0, 0.0, -0.0] {
        tape.reset();
        let x = tape.input(&Tensor::ones([1]));
        let y = 1.0 / x.pad(&[(1, 0)], Pad::Constant(c));
        found.push(y.value().to_vec()[0]);
    }
    let inf = f64::INFINITY;
    assert_eq!(found, [inf, -inf, inf, -inf]);
    // NaN is like itself: the step is planned once.
    let mut tape = Tape::<f64>::inference();
    for _ in 0..5 {
        tape.reset();
        let x = tape.input(&Tensor::ones([1]));
        let y = x.pad(&[(1, 1)], Pad::Constant(f64::NAN));
        assert!(y.sum().item().is_nan());
    }
    assert_eq!(tape.counters().plans, 1);
}

#[test]
fn lines_and_scopes_are_those_of_the_step() {
    let t = Tensor::<f64>::ones([2]);
    let run = |tape: &Tape<f64>, first: bool| {
        let (x, r);
        if first {
            x = tape.input(&t);
            r = tape.scope("a", || tape.uniform([2], 0.0, 1.0));
        } else {
            x = tape.input(&t);
            r = tape.scope("b", || tape.uniform([2], 0.0, 1.0));
        }
        // What `grad` records itself: zeros.
        tape.scope(if first { "a" } else { "b" }, || grad(r.sum(), [x]));
        tape.listing()
    };
    let mut tape = Tape::<f64>::training(1);
    for k in 0..4 {
        tape.reset();
        assert_eq!(run(&tape, k % 2 == 0), run(&Tape::training(1), k % 2 == 0));
    }
    // A scope whose name holds a dot is not one inside of another.
    tape.reset();
    tape.scope("x.a", || tape.input(&t) + 1.0);
    tape.scope("a", || tape.input(&t).exp());
    let listing = tape.listing();
    assert!(listing.contains("exp(%2) [2] in a at"), "{listing}");
}

/// A random node in a checkpointed stretch, and outside of one.
#[test]
fn a_random_node_belongs_to_the_stretch_of_its_step() {
    let p = param(2.0);
    let run = |tape: &Tape<f64>, stretch: bool| {
        let x = tape.param(&p);
        let f = || (tape.uniform((), 0.0, 1.0), x * 2.0);
        let (r, y) = if stretch { tape.checkpoint(f) } else { f() };
        let loss = (y * r).sin();
        let grads = loss.backward();
        (tape.listing(), grads.get(&p).expect("a gradient").item())
    };
    let mut tape = Tape::<f64>::training(1);
    for stretch in [false, true, false, false, true] {
        tape.reset();
        let mut other = Tape::<f64>::training(1);
        other.set_step_index(tape.step_index());
        assert_eq!(run(&tape, stretch), run(&other, stretch));
    }
}

/// What is set in the middle of a step that repeats the last one: what is recorded afterwards follows what was before.
#[test]
fn settings_change_in_the_middle_of_a_step() {
    let t = |x: f64| Tensor::<f64>::scalar(x);
    let mut tape = Tape::<f64>::training(1);
    for k in 0..4 {
        tape.reset();
        assert_eq!(
            (tape.input(&t(2.0)) * 3.0).exp().sin().item(),
            (6.0f64).exp().sin()
        );
        tape.reset();
        assert_eq!((tape.input(&t(2.0)) * 3.0).item(), 6.0);
        match k {
            0 => tape.detect_anomaly(true),
            1 => tape.set_fusion(false),
            2 => tape.detect_anomaly(false),
            _ => tape.set_fusion(true),
        }
        let x = tape.input(&t(5.0));
        assert_eq!((x + 1.0).item(), 6.0);
        assert_eq!(grad(x.square(), [x])[0].item(), 10.0);
    }
    // And what the step has asked is still known.
    let p = Param::new(Tensor::<f64>::zeros([2]));
    tape.reset();
    drop(tape.param(&p).ln().sum().backward());
    tape.detect_anomaly(true);
    assert_eq!(tape.trace(&p).expect("an infinity").op, "ln");
}

/// The operand times 2, or a panic.
#[derive(Debug, PartialEq)]
struct Twice {
    rule: Rule,
}
#[derive(Debug, PartialEq, Clone, Copy)]
enum Rule {
    Plain,
    /// The rule takes a tensor in.
    Given,
    /// The rule draws random numbers.
    Drawn,
}
thread_local!(static FAIL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
impl Op<f64> for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, f64>) {
        assert!(!FAIL.get(), "as told");
        let x = ctx.input(0);
        for (y, x) in ctx.output().iter_mut().zip(x.iter()) {
            *y = x * 2.0;
        }
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, f64>) -> Cotangents<'t, f64> {
        let g = ctx.cotangent();
        let tape = g.tape();
        let g = match self.rule {
            Rule::Plain => g * 2.0,
            Rule::Given => g * tape.input(&Tensor::full(g.shape(), 2.0)),
            Rule::Drawn => g * 2.0 * tape.uniform(g.shape(), 0.5, 1.5),
        };
        [Some(g)].into_iter().collect()
    }
}

/// A caught panic leaves some values at hand; later steps, in which nothing fails, do not count on them.
#[test]
fn an_evaluation_is_aborted() {
    for ask_again in [false, true] {
        let mut tape = Tape::<f64>::training(1);
        for k in 0..5 {
            tape.reset();
            let x = tape.input(&Tensor::scalar(f64::from(k)));
            let a = x.exp().sum().apply(Twice { rule: Rule::Plain });
            let b = a.apply(Twice { rule: Rule::Plain });
            if k == 1 {
                FAIL.set(true);
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| b.item()));
                FAIL.set(false);
                assert!(done.is_err());
            }
            if ask_again {
                assert_eq!(b.item(), 4.0 * f64::from(k).exp());
            } else {
                let c = x.exp().sum();
                assert_eq!((a + c).item(), 3.0 * f64::from(k).exp());
            }
        }
    }
}

/// A rule that takes tensors in or draws random numbers gives in later steps what it gives on a new tape.
#[test]
fn rules_bring_their_own_leaves() {
    let p = param(2.0);
    for rule in [Rule::Given, Rule::Drawn] {
        let run = |tape: &Tape<f64>| {
            let x = tape.param(&p);
            let [g] = grad(x.apply(Twice { rule }), [x]);
            // The numbers drawn here are none of those of the rule.
            let r = tape.uniform((), 0.0, 1.0);
            let grads = (g * x + r * x).apply(Twice { rule }).backward();
            let drawn = r.keep();
            (
                grads.loss(),
                grads.get(&p).expect("a gradient").item(),
                drawn.index(),
            )
        };
        let mut tape = Tape::<f64>::training(1);
        for _ in 0..4 {
            tape.reset();
            let mut other = Tape::<f64>::training(1);
            other.set_step_index(tape.step_index());
            assert_eq!(run(&tape), run(&other), "{rule:?}");
        }
    }
}

struct All;
impl Observer<f64> for All {
    fn wants(&mut self, _: &NodeInfo<'_>) -> bool {
        true
    }
    fn see(&mut self, _: &NodeInfo<'_>, _: Seen, _: &Tensor<f64>) {}
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

/// An observed evaluation leaves more at hand than one that nobody sees.
#[test]
fn an_observer_comes_and_goes_within_a_step() {
    let p = param(2.0);
    let mut tape = Tape::<f64>::training(1);
    for k in 0..16 {
        tape.reset();
        let x = tape.param(&p);
        let h = x.exp() * 3.0;
        let y = h.sin();
        if k & 1 == 1 {
            tape.set_observer(Box::new(All));
        }
        y.item();
        if k & 2 == 2 {
            tape.set_observer(Box::new(All));
        } else {
            tape.take_observer();
        }
        let z = (h + y).cos();
        z.item();
        if k & 4 == 4 {
            tape.take_observer();
        }
        let grads = (z * h).backward();
        tape.take_observer();
        let x = tape_free(2.0);
        assert!((grads.get(&p).expect("a gradient").item() - x).abs() < 1e-12);
    }
    fn tape_free(x: f64) -> f64 {
        let h = x.exp() * 3.0;
        let z = (h + h.sin()).cos();
        h * (z - (h + h.sin()).sin() * (1.0 + h.cos()) * h)
    }
}

/// The mask of an operation of another crate is the same when a checkpointed stretch is computed again.
#[test]
fn random_keys_are_the_same_in_a_stretch_computed_again() {
    #[derive(Debug, PartialEq)]
    struct Noise;
    impl Op<f64> for Noise {
        fn name(&self) -> &'static str {
            "noise"
        }
        fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
            Ok(Dims::from_slice(inputs[0]))
        }
        fn forward(&self, ctx: &mut ForwardCtx<'_, f64>) {
            let r = (ctx.key() % 1000) as f64 / 1000.0;
            let x = ctx.input(0);
            for (y, x) in ctx.output().iter_mut().zip(x.iter()) {
                *y = x + r;
            }
        }
        fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, f64>) -> Cotangents<'t, f64> {
            [Some(ctx.cotangent())].into_iter().collect()
        }
    }
    let p = param(2.0);
    let run = |stretch: bool| {
        let tape = Tape::<f64>::training(1);
        let x = tape.param(&p);
        let f = || (x * 1.5).apply(Noise).sin();
        let y = if stretch { tape.checkpoint(f) } else { f() };
        let grads = y.square().backward();
        (grads.loss(), grads.get(&p).expect("a gradient").item())
    };
    assert_eq!(run(true), run(false));
}

/// Random numbers that one reader draws in passing and another reads as a tensor.
#[test]
fn random_numbers_have_readers_of_several_kinds() {
    let tape = Tape::<f64>::training(1);
    let r = tape.uniform([3], 0.0, 1.0);
    let one = 1.0 - r;
    let two = tape.ones([2, 3]) * r + one;
    assert!(two.value().iter().all(|x| (x - 1.0).abs() < 1e-15));
}

/// A value between two permutations is a value like others.
#[test]
fn views_of_permuted_views_depend_on_them() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_vec((0..6).map(f64::from).collect(), [2, 3]));
    let y = x.t();
    y.hook(|g| g * 10.0);
    let z = (y.t() * 2.0).sum();
    let [gx, gy] = grad(z, [x, y]);
    assert!(gy.value().iter().all(|g| g == 20.0));
    assert!(gx.value().iter().all(|g| g == 20.0));
    // A product that prefers the order of what is permuted.
    let a = tape.input(&Tensor::<f64>::ones([2, 3, 4]));
    let w = tape.input(&Tensor::<f64>::full([4, 2], 0.5));
    let b = a.permute([1, 0, 2]);
    let y = b.matmul(w);
    let [gw, gb] = grad(y.sum(), [w, b]);
    assert!(gb.value().iter().all(|g| g == 1.0));
    assert!(gw.value().iter().all(|g| g == 6.0));
    // The derivative of a derivative: ∂/∂b of Σ (bᵀ 1)² is 2 (bᵀ 1) again for each row.
    let c = x.t();
    let m = tape.input(&Tensor::<f64>::ones([2, 1]));
    let [gm] = grad(c.matmul(m).square().sum(), [m]);
    let [gc] = grad(gm.sum(), [c]);
    let alone = tape.input(&c.value());
    let [gm] = grad(alone.matmul(m).square().sum(), [m]);
    assert_eq!(
        gc.value().to_vec(),
        grad(gm.sum(), [alone])[0].value().to_vec()
    );
}

#[test]
fn gradients_of_examples_in_a_checkpointed_stretch() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]));
    let each = || vmap(|[r]| grad(r.powi(3).sum(), [r])[0], [x]);
    assert_eq!(
        tape.checkpoint(each).value().to_vec(),
        [3.0, 12.0, 27.0, 48.0]
    );
    let [h] = grad(tape.checkpoint(each).sum(), [x]);
    assert_eq!(h.value().to_vec(), [6.0, 12.0, 18.0, 24.0]);
}

/// Second derivatives for what stands inside of a checkpointed stretch, which the backward pass computes once more.
#[test]
fn what_is_computed_again_is_the_same_value() {
    let run = |stretch: bool| {
        let tape = Tape::<f64>::inference();
        let x = tape.input(&Tensor::from_vec(vec![0.5, -1.0], [2]));
        let f = || {
            let h = x.sin();
            (h, h.powi(3).exp())
        };
        let (h, y) = if stretch { tape.checkpoint(f) } else { f() };
        h.hook(|g| g * 2.0);
        let [g] = grad(y.sum(), [h]);
        let [second] = grad(g.sum(), [h]);
        let [third] = grad(second.sum(), [x]);
        [g, second, third].map(|v| v.value().to_vec())
    };
    let (a, b) = (run(true), run(false));
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() < 1e-12 * b.abs(), "{a} {b}");
    }
}

/// A rule that differentiates for its operand, which in a stretch is what was computed again.
#[test]
fn a_rule_differentiates_in_a_checkpointed_stretch() {
    let run = |stretch: bool| {
        let tape = Tape::<f64>::inference();
        let x = tape.input(&Tensor::scalar(0.5));
        let f = || {
            custom_grad(
                [x.exp()],
                |[h]| h.cos(),
                |ctx| {
                    let h = ctx.input(0);
                    let g = ctx.cotangent().detach();
                    grad(h.cos() * g, [h]).map(Some).into_iter().collect()
                },
            )
        };
        let y = if stretch { tape.checkpoint(f) } else { f() };
        grad(y, [x])[0].item()
    };
    assert_eq!(run(true), run(false));
    let h = 0.5f64.exp();
    assert!((run(true) + h * h.sin()).abs() < 1e-12);
}
