//! What the tape promises about steps, memory and misuse.

use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::{Param, Tape, Tensor, Var, grad};

fn message(f: impl FnOnce()) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let e = catch_unwind(AssertUnwindSafe(f)).expect_err("expected a panic");
    std::panic::set_hook(hook);
    match e.downcast::<String>() {
        Ok(s) => *s,
        Err(e) => e
            .downcast::<&str>()
            .map(|s| s.to_string())
            .unwrap_or_default(),
    }
}

fn vector(v: &[f64]) -> Tensor<f64> {
    Tensor::from_slice(v, [v.len()])
}

#[test]
fn a_step_returns_gradients_by_parameter() {
    let w = Param::new(vector(&[1.0, 2.0, 3.0]));
    let mut tape = Tape::training(0);
    for _ in 0..3 {
        tape.reset();
        let x = tape.input(&vector(&[4.0, 5.0, 6.0]));
        let loss = (tape.param(&w) * x).sum();
        let grads = loss.backward();
        assert_eq!(grads.loss(), 32.0);
        assert_eq!(grads.len(), 1);
        assert_eq!(grads.get(&w).unwrap().to_vec(), [4.0, 5.0, 6.0]);
    }
    assert_eq!(tape.counters().plans, 1, "a repeated step is planned once");
}

#[test]
fn graph_shapes_have_their_closed_forms() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::scalar(3.0));
    let unused = tape.input(&vector(&[1.0, 2.0]));
    assert_eq!(grad(x + x, [x])[0].item(), 2.0);
    assert_eq!(grad(x * x, [x])[0].item(), 6.0);
    let (a, b) = (x.square(), x * 2.0);
    assert_eq!(grad(a * b, [x])[0].item(), 54.0, "diamond: d(2x³) = 6x²");
    let mut fan = tape.zeros(());
    for _ in 0..1000 {
        fan = fan + x;
    }
    assert_eq!(grad(fan, [x])[0].item(), 1000.0);
    let [_, g] = grad(x * x, [x, unused]);
    assert_eq!(g.value().to_vec(), [0.0, 0.0], "an unused input gets zeros");
    assert_eq!(grad(x.detach() * x, [x])[0].item(), 3.0);
    let c = tape.no_grad(|| tape.no_grad(|| x * x) + x);
    assert_eq!(
        grad(c * x, [x])[0].item(),
        12.0,
        "no gradient through the region"
    );
    let mid = x.square();
    assert_eq!(
        grad(mid * x, [mid])[0].item(),
        3.0,
        "with respect to an intermediate value"
    );
    let mut h = x.powi(4);
    for expected in [108.0, 108.0, 72.0, 24.0, 0.0] {
        [h] = grad(h, [x]);
        assert_eq!(h.item(), expected);
    }
}

#[test]
fn one_leaf_serves_two_tapes() {
    let w = Param::new(vector(&[2.0]));
    let (s, t) = (Tape::training(0), Tape::training(0));
    let (a, b) = (s.param(&w).square().sum(), t.param(&w).powi(3).sum());
    assert_eq!(a.backward().get(&w).unwrap().to_vec(), [4.0]);
    assert_eq!(b.backward().get(&w).unwrap().to_vec(), [12.0]);
}

#[test]
fn parameters_are_updated_in_place() {
    let mut w = Param::new(vector(&[1.0; 64]));
    let mut tape = Tape::training(0);
    let address = w.value().as_slice().unwrap().as_ptr();
    for _ in 0..3 {
        tape.reset();
        let grads = tape.param(&w).square().sum().backward();
        assert!(
            w.value().is_unique(),
            "the tape has let go of the parameter"
        );
        let g = grads.get(&w).unwrap().to_vec();
        for (x, g) in w.value_mut().as_mut_slice().iter_mut().zip(g) {
            *x -= 0.1 * g;
        }
    }
    assert_eq!(w.value().as_slice().unwrap().as_ptr(), address);
}

#[test]
fn values_are_released_at_their_last_use() {
    // A chain of matrix products on an inference tape needs two values at a time.
    let n = 64;
    let a = Tensor::<f64>::full([n, n], 1e-3);
    let one = n * n * size_of::<f64>();
    let tape = Tape::<f64>::inference();
    let w = tape.input(&a);
    let mut x = w;
    for _ in 0..50 {
        x = x.matmul(w);
    }
    x.value();
    assert!(
        tape.memory().peak <= 2 * one,
        "peak {} for values of {one}",
        tape.memory().peak
    );

    // Training keeps what the backward pass reads, and no more: 20 activations, and a few in flight.
    let mut tape = Tape::<f64>::training(0);
    let w = Param::new(a);
    for _ in 0..2 {
        tape.reset();
        let w = tape.param(&w);
        let mut x = tape.input(&Tensor::full([n, n], 1e-3));
        for _ in 0..20 {
            x = x.matmul(w).tanh();
        }
        drop(x.sum().backward());
        let peak = tape.memory().peak;
        assert!(peak <= 26 * one, "peak {peak} is {} values", peak / one);
    }
    assert_eq!(tape.memory().live, 0, "everything went back to the pool");
}

/// y = 2 x - x, as an operation of another crate would be.
#[derive(Debug, PartialEq)]
struct Same;
impl wengert_autograd::Op<f64> for Same {
    fn name(&self) -> &'static str {
        "same"
    }
    fn shape(&self, inputs: &[&[usize]]) -> wengert_autograd::Result<wengert_autograd::Dims> {
        Ok(wengert_autograd::Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut wengert_autograd::ForwardCtx<'_, f64>) {
        let x = ctx.input(0).to_vec();
        for (y, x) in ctx.output().iter_mut().zip(x) {
            *y = 2.0 * x - x;
        }
    }
    fn vjp<'t>(
        &self,
        ctx: &wengert_autograd::VjpCtx<'t, '_, f64>,
    ) -> wengert_autograd::Cotangents<'t, f64> {
        [Some(ctx.cotangent())].into_iter().collect()
    }
}

#[test]
fn chains_of_all_kinds_fit_a_small_stack() {
    // WENGERT_LONG=1: a million.
    let long = std::env::var_os("WENGERT_LONG").is_some();
    let n = if long { 1_000_000 } else { 100_000 };
    let run = move || {
        for kind in 0..3 {
            let w = Param::new(Tensor::scalar(0.5f64));
            let tape = Tape::training(0);
            let x = tape.param(&w);
            let mut y = x;
            // Value and derivative by the same recurrence, in plain numbers.
            let (mut v, mut d) = (0.5, 1.0);
            let mut all = vec![(y, v, d)];
            let mut z = 7u64;
            for _ in 0..n {
                match kind {
                    // One operand.
                    0 => {
                        y = -y;
                        (v, d) = (-v, -d);
                    }
                    // An operation with a kernel of its own.
                    1 => y = y.apply(Same),
                    // Two random earlier ones.
                    _ => {
                        let mut pick = || {
                            z ^= z << 13;
                            z ^= z >> 7;
                            z ^= z << 17;
                            all[all.len() - 1 - z as usize % all.len().min(50)]
                        };
                        let ((a, va, da), (b, vb, db)) = (pick(), pick());
                        y = a * 0.75 + b * 0.25;
                        (v, d) = (va * 0.75 + vb * 0.25, da * 0.75 + db * 0.25);
                        all.push((y, v, d));
                    }
                }
            }
            assert!(format!("{y:?}").len() < 1000);
            let grads = y.backward();
            let g = grads.get(&w).unwrap().item();
            assert!(
                (grads.loss() - v).abs() <= 1e-9 && (g - d).abs() <= 1e-9,
                "{kind}: {g} {d}"
            );
        }
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_million_operations_fit_a_small_stack() {
    let run = || {
        let w = Param::new(Tensor::scalar(1.0f64));
        let tape = Tape::training(0);
        let x = tape.param(&w);
        let mut y = x;
        for _ in 0..1_000_000 {
            y = y + y * 1e-6;
        }
        let grads = y.backward();
        let expected = (1.0f64 + 1e-6).powi(1_000_000);
        let got = grads.get(&w).unwrap().item();
        assert!(
            (got - expected).abs() < 1e-9 * expected,
            "{got} against {expected}"
        );
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_spent_value_says_what_to_do() {
    let w = Param::new(vector(&[1.0, 2.0]));
    let mut tape = Tape::training(0);
    let (y, kept) = {
        let y = tape.param(&w) * 2.0;
        (y.index(), (y + 1.0).keep().index())
    };
    let _ = (y, kept);
    tape.reset();
    let y = tape.param(&w) * 2.0;
    let kept = (y + 1.0).keep();
    assert_eq!(
        y.value().to_vec(),
        [2.0, 4.0],
        "values can be read before the backward pass"
    );
    let loss = kept.sum();
    drop(loss.backward());
    assert_eq!(kept.value().to_vec(), [3.0, 5.0]);
    let m = message(|| drop(y.value()));
    assert!(
        m.contains("spent") && m.contains("tape.reset()") && m.contains("grad"),
        "{m}"
    );
    let m = message(|| drop(loss.backward()));
    assert!(m.contains("spent"), "{m}");
}

/// A parameter's gradient is there anyway, by the parameter and by its handle; what `keep` keeps is the value, as of the step.
#[test]
fn a_parameter_can_be_kept() {
    let mut w = Param::new(vector(&[1.0, 2.0]));
    let mut frozen = Param::new(vector(&[3.0, 4.0]));
    frozen.set_trainable(false);
    let mut tape = Tape::training(0);
    for step in 0..3 {
        tape.reset();
        let (v, c) = (tape.param(&w), tape.param(&frozen));
        let kept = step > 0;
        if kept {
            assert_eq!((v.keep().index(), c.keep().index()), (v.index(), c.index()));
        }
        let y = v * c;
        let loss = (y * v).sum();
        let [by_handle, by_value] = grad(loss, [v, y]).map(Var::keep);
        let before = w.value().to_vec();
        let expected = [6.0 * before[0], 8.0 * before[1]];
        let grads = loss.backward();
        assert_eq!(grads.get(&w).unwrap().to_vec(), expected);
        assert_eq!(grads.by_var(v).unwrap().to_vec(), expected);
        assert_eq!(
            by_handle.value().to_vec(),
            expected,
            "a gradient that is kept"
        );
        assert_eq!(by_value.value().to_vec(), before, "that of any value");
        assert!(grads.by_var(c).is_none() && grads.by_var(y).is_none());
        assert_eq!(w.value().is_unique(), !kept);
        for (x, g) in w.value_mut().as_mut_slice().iter_mut().zip(expected) {
            *x -= 0.125 * g;
        }
        if kept {
            assert_eq!(v.value().to_vec(), before, "before the update");
            assert_eq!(c.value().to_vec(), [3.0, 4.0]);
        } else {
            assert!(message(|| drop(v.value())).contains("spent"));
        }
        assert_eq!(w.value().to_vec(), [before[0] * 0.25, 0.0]);
    }
    tape.reset();
    assert!(w.value().is_unique(), "the next step lets go");
}

#[test]
fn misuse_is_explained() {
    let (s, t) = (Tape::<f64>::inference(), Tape::<f64>::inference());
    let (a, b) = (s.input(&vector(&[1.0])), t.input(&vector(&[1.0])));
    let m = message(|| drop((a + b).value()));
    assert!(m.contains("two tapes") && m.contains("add"), "{m}");
    let x = s.input(&Tensor::zeros([2, 3]));
    let y = s.input(&Tensor::zeros([2, 4]));
    let m = message(|| drop((x * y).value()));
    assert!(
        m.contains("mul") && m.contains("[2, 3]") && m.contains("[2, 4]"),
        "{m}"
    );
    let m = message(|| drop(x.matmul(y).value()));
    assert!(
        m.contains("matmul") && m.contains("[2, 3]") && m.contains("[2, 4]"),
        "{m}"
    );
    let m = message(|| drop(x.sum_dim([2], false).value()));
    assert!(m.contains("sum") && m.contains("axis 2"), "{m}");
    let m = message(|| drop(x.reshape([7]).value()));
    assert!(
        m.contains("reshape") && m.contains("[2, 3]") && m.contains("[7]"),
        "{m}"
    );
    let m = message(|| drop(x.amax_dim([0], false).slice(0, 0, 9, 1).value()));
    assert!(m.contains("0..9"), "{m}");
    let labels = Tensor::from_vec(vec![0i64, 3], [2]);
    let m = message(|| drop(x.cross_entropy(&labels).value()));
    assert!(m.contains("label 3") && m.contains('3'), "{m}");
    let m = message(|| drop(x.backward()));
    assert!(m.contains("one element") && m.contains("[2, 3]"), "{m}");
    let m = message(|| drop(x.sum().backward()));
    assert!(m.contains("no trainable parameter"), "{m}");
    let m = message(|| drop(s.input(&Tensor::zeros([0])).amax().value()));
    assert!(m.contains("zero elements"), "{m}");
    let m = message(|| drop(x.dropout(1.5).value()));
    assert!(m.contains("1.5"), "{m}");
}

#[test]
fn a_panic_in_an_operation_leaves_the_tape_usable() {
    use wengert_autograd::{Cotangents, Dims, ForwardCtx, Op, Result, VjpCtx};
    #[derive(Debug, PartialEq)]
    struct Broken;
    impl Op<f64> for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
            Ok(Dims::from_slice(inputs[0]))
        }
        fn forward(&self, _: &mut ForwardCtx<'_, f64>) {
            panic!("the kernel fails")
        }
        fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, f64>) -> Cotangents<'t, f64> {
            [Some(ctx.cotangent().sum()), None].into_iter().collect()
        }
    }
    let mut tape = Tape::<f64>::training(0);
    let w = Param::new(vector(&[1.0, 2.0]));
    let m = message(|| drop(tape.param(&w).apply(Broken).value()));
    assert!(m.contains("the kernel fails"), "{m}");
    tape.reset();
    let m = message(|| drop(tape.param(&w).apply(Broken).sum().backward()));
    assert!(
        m.contains("broken") && m.contains("2 cotangents for 1 inputs"),
        "{m}"
    );
    tape.reset();
    assert_eq!(tape.param(&w).square().sum().backward().loss(), 5.0);
}

#[test]
fn a_step_that_changes_is_planned_anew() {
    let w = Param::new(vector(&[0.5, -0.5, 2.0]));
    let mut tape = Tape::training(0);
    for k in 0..12 {
        tape.reset();
        let n = 3 + k % 2;
        let x = tape.input(&Tensor::full([n, 3], 2.0));
        let mut y = x * tape.param(&w);
        if k % 3 == 0 {
            y = y.relu();
        }
        let grads = y.sum().backward();
        let expected: Vec<f64> = [0.5, -0.5, 2.0]
            .iter()
            .map(|&w| {
                if k % 3 == 0 && w < 0.0 {
                    0.0
                } else {
                    2.0 * n as f64
                }
            })
            .collect();
        assert_eq!(grads.get(&w).unwrap().to_vec(), expected, "step {k}");
    }
}

#[test]
fn anomaly_mode_names_the_operation() {
    let mut tape = Tape::<f64>::training(0);
    tape.detect_anomaly(true);
    let w = Param::new(vector(&[1.0, 0.0]));
    let m = message(|| {
        let x = tape.param(&w);
        drop(tape.scope("encoder", || x.ln()).sum().value());
    });
    assert!(
        m.contains("ln") && m.contains("encoder") && m.contains("tape.rs"),
        "{m}"
    );
    tape.reset();
    let m = message(|| {
        let x = tape.param(&w);
        drop((x.sqrt() * 0.0).sum().backward());
    });
    assert!(m.contains("backward pass of sqrt"), "{m}");
    tape.reset();
    let m = message(|| {
        let x = tape.param(&w);
        drop((x * 0.0 / (x * 0.0)).sum().backward());
    });
    assert!(m.contains("div") && m.contains("tape.rs"), "{m}");
    // The derivative of the branch not taken: 0 · ∞, named with its line (the cure is to mask the operand too).
    tape.reset();
    let m = message(|| {
        let x = tape.param(&w);
        let zero = x * 0.0;
        drop(x.gt(zero).where_(x.sqrt(), zero).sum().backward());
    });
    assert!(m.contains("backward pass of sqrt"), "{m}");
    tape.reset();
    let x = tape.param(&w);
    let positive = x.gt(x * 0.0);
    let y = positive.where_(positive.where_(x, x * 0.0 + 1.0).sqrt(), x * 0.0);
    assert_eq!(y.sum().backward().get(&w).unwrap().to_vec(), [0.5, 0.0]);
}

#[test]
fn a_step_under_another_scope_says_so() {
    let mut tape = Tape::<f64>::training(0);
    tape.detect_anomaly(true);
    let step = |tape: &Tape<f64>, scope: &str, x: f64| {
        let x = tape.input(&vector(&[x]));
        tape.scope(scope, || x.ln()).item()
    };
    assert_eq!(step(&tape, "first", 1.0), 0.0);
    tape.reset();
    let m = message(|| {
        step(&tape, "second", 0.0);
    });
    assert!(m.contains("second") && !m.contains("first"), "{m}");
}

#[test]
fn dropout_is_reproducible_and_recomputed() {
    let w = Param::new(Tensor::<f32>::ones([4000]));
    let run = |seed| {
        let mut tape = Tape::training(seed);
        let mut all = Vec::new();
        for _ in 0..2 {
            tape.reset();
            let y = tape.param(&w).dropout(0.25).keep();
            let grads = (y * y).sum().backward();
            let (y, g) = (y.value().to_vec(), grads.get(&w).unwrap().to_vec());
            // d(y²)/dw = 2 y · mask / (1 - p): the same mask forward and backward.
            for (y, g) in y.iter().zip(&g) {
                assert!((g - 2.0 * y / 0.75).abs() < 1e-5);
            }
            let kept = y.iter().filter(|&&v| v != 0.0).count();
            assert!((2850..3150).contains(&kept), "{kept}");
            all.push(y);
        }
        assert_ne!(all[0], all[1], "a new mask at every step");
        all
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let tape = Tape::<f32>::inference();
    let x = tape.input(&Tensor::ones([3]));
    assert_eq!(x.dropout(0.9).value().to_vec(), [1.0; 3]);
    let tape = Tape::<f32>::training(0);
    assert_eq!(
        tape.input(&Tensor::ones([3])).dropout(1.0).value().to_vec(),
        [0.0; 3]
    );
}

#[test]
fn hooks_and_observers_see_values_and_adjoints() {
    use wengert_autograd::{NodeInfo, Observer, Seen};
    struct Log(Vec<(String, Seen, Vec<f64>)>);
    impl Observer<f64> for Log {
        fn wants(&mut self, n: &NodeInfo<'_>) -> bool {
            n.op == "tanh"
        }
        fn see(&mut self, n: &NodeInfo<'_>, what: Seen, t: &Tensor<f64>) {
            self.0.push((n.op.to_string(), what, t.to_vec()));
        }
        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
            self
        }
    }
    let w = Param::new(vector(&[0.5]));
    let mut tape = Tape::training(0);
    for _ in 0..2 {
        tape.reset();
        tape.set_observer(Box::new(Log(Vec::new())));
        let loss = ((tape.param(&w) * 2.0).tanh() * 3.0).sum();
        drop(loss.backward());
        let log = tape
            .take_observer()
            .unwrap()
            .into_any()
            .downcast::<Log>()
            .unwrap();
        let y = 1.0f64.tanh();
        assert_eq!(log.0.len(), 2);
        assert!((log.0[0].2[0] - y).abs() < 1e-15 && log.0[0].1 == Seen::Value);
        assert_eq!((log.0[1].1, log.0[1].2[0]), (Seen::Adjoint, 3.0));
    }
}

/// What an observer holds until the end changes nothing, and its memory serves the next step.
#[test]
fn an_observer_may_hold_what_it_sees() {
    use wengert_autograd::{NodeInfo, Observer, Seen};
    struct Hold(Vec<Tensor<f64>>, usize);
    impl Observer<f64> for Hold {
        fn wants(&mut self, _: &NodeInfo<'_>) -> bool {
            true
        }
        fn see(&mut self, _: &NodeInfo<'_>, _: Seen, t: &Tensor<f64>) {
            self.0.push(t.clone());
        }
        fn end(&mut self) {
            self.1 = self.0.len();
            self.0.clear();
        }
        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
            self
        }
    }
    let w = Param::new(vector(&[0.5; 100]));
    let mut tape = Tape::training(0);
    let mut step = |watched: bool| {
        tape.reset();
        if watched {
            tape.set_observer(Box::new(Hold(Vec::new(), 0)));
        }
        let mut x = tape.param(&w);
        for _ in 0..20 {
            x = (x.tanh() * 1.5).exp();
        }
        let gradient = x.sum().backward().get(&w).unwrap().to_vec();
        let held = tape
            .take_observer()
            .map(|o| o.into_any().downcast::<Hold>().unwrap().1);
        assert!(!watched || held.unwrap() > 60, "{held:?}");
        (gradient, tape.memory().fresh)
    };
    let plain = step(false);
    assert_eq!(step(true).0, plain.0);
    let (_, warm) = step(true);
    for watched in [false, true, true, false] {
        assert_eq!(step(watched), (plain.0.clone(), warm));
    }
}

/// Where all that is watched is made anyway, one plan serves watched steps and others; else there are two. Both show the same
/// in any order of steps, and after the observer was forgotten.
#[test]
fn watched_and_plain_steps_in_any_order() {
    use wengert_autograd::{NodeInfo, Observer, Seen};
    struct Log(&'static str, Vec<(u32, Seen, Vec<f64>)>);
    impl Observer<f64> for Log {
        fn wants(&mut self, n: &NodeInfo<'_>) -> bool {
            n.op == self.0
        }
        fn see(&mut self, n: &NodeInfo<'_>, what: Seen, t: &Tensor<f64>) {
            self.1.push((n.id, what, t.to_vec()));
        }
        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
            self
        }
    }
    let noise = |n: usize, k: f64| (0..n).map(|i| (i as f64 * k).sin()).collect::<Vec<_>>();
    let x = Tensor::from_vec(noise(12, 0.7), [3, 4]);
    let w = Param::new(Tensor::from_vec(noise(20, 1.3), [5, 4]));
    let v = Param::new(Tensor::from_vec(noise(10, 2.1), [2, 5]));
    let run = |op: &'static str, watched: &[bool], forget: bool| {
        let mut tape = Tape::training(0);
        let step = |&watched: &bool| {
            tape.reset();
            if watched {
                tape.set_observer(Box::new(Log(op, Vec::new())));
            }
            let h = tape.input(&x).linear(tape.param(&w), None).relu();
            let y = (h.linear(tape.param(&v), None).tanh() * 2.0).exp();
            let grads = y.sum().backward();
            let log = tape.take_observer();
            if forget {
                tape.forget_observed_plans();
            }
            let grads = [&w, &v].map(|p| grads.get(p).unwrap().to_vec());
            (
                grads,
                log.map(|o| o.into_any().downcast::<Log>().unwrap().1),
            )
        };
        watched.iter().map(step).collect::<Vec<_>>()
    };
    for (op, seen) in [("matmul", 4), ("relu", 2), ("tanh", 2), ("exp", 2)] {
        let alone = run(op, &[true], false).remove(0);
        assert_eq!(alone.1.as_ref().unwrap().len(), seen, "{op}");
        for forget in [false, true] {
            for first in [true, false] {
                let order = [first, !first, first, true, false, true];
                for (watched, (grads, log)) in order.iter().zip(run(op, &order, forget)) {
                    assert_eq!(grads, alone.0, "{op}");
                    assert_eq!(log, alone.1.clone().filter(|_| *watched), "{op}");
                }
            }
        }
    }
}

#[test]
fn products_of_zeros_have_exact_derivatives() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&vector(&[2.0, 0.0, 5.0]));
    let [g] = grad(x.prod(), [x]);
    assert_eq!(g.value().to_vec(), [0.0, 10.0, 0.0]);
    let w = tape.input(&vector(&[1.0, 1.0, 1.0]));
    let [h] = grad((g * w).sum(), [x]);
    assert_eq!(h.value().to_vec(), [5.0, 7.0, 2.0]);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let v: Vec<f32> = (0..300_000u64)
                .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / 1e7 - 0.8)
                .collect();
            let w = Param::new(Tensor::from_vec(v, [300, 1000]));
            let tape = Tape::training(3);
            let x = tape.param(&w);
            let h = (x * 1.7).tanh().dropout(0.1);
            let y = h.matmul(h.t()).softmax(1);
            let loss = (y.square().sum()
                + h.sum_dim([0], false).square().sum()
                + h.sum_dim([1], true).exp().sum())
                / x.logsumexp();
            let g = loss.backward();
            let bits: Vec<u32> = g.get(&w).unwrap().iter().map(f32::to_bits).collect();
            (g.loss().to_bits(), bits)
        })
    };
    let one = run(1);
    for threads in [2, 3, 4] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn sums_are_accurate() {
    let v: Vec<f32> = (0..10_000_000u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / 16_777_216.0)
        .collect();
    let exact: f64 = v.iter().map(|&x| f64::from(x)).sum();
    let tape = Tape::<f32>::inference();
    let x = tape.input(&Tensor::from_vec(v, [10_000_000]));
    let sum = f64::from(x.sum().item());
    assert!((sum - exact).abs() <= 1e-6 * exact, "{sum} against {exact}");
    let mut v = vec![1e16, 1.0, -1e16];
    v.extend(std::iter::repeat_n(0.1, 4096));
    let tape = Tape::<f64>::inference();
    let x: Var<f64> = tape.input(&Tensor::from_slice(&v, [v.len()]));
    // Stated bound of a blocked sum: (block / lanes + log2 lanes) roundings of the sum of magnitudes.
    let bound = 37.0 * f64::EPSILON / 2.0 * 2e16;
    assert!(
        (x.sum().item() - 410.6).abs() <= bound,
        "{}",
        x.sum().item()
    );
}

#[test]
fn peak_memory_is_that_of_the_values_alive_at_once() {
    let fill = |r: usize, c: usize| Tensor::<f32>::full([r, c], 0.01);
    let sizes = [128, 512, 384, 512, 10];
    let weights: Vec<Param<f32>> = (sizes.windows(2))
        .map(|s| Param::new(fill(s[1], s[0])))
        .collect();
    let (x, labels) = (fill(256, 128), Tensor::from_vec(vec![3; 256], [256]));
    let mut tape = Tape::training(1);
    for _ in 0..4 {
        tape.reset();
        tape.reset_peak();
        let mut h = tape.input(&x);
        for w in &weights {
            h = h.linear(tape.param(w), None).gelu();
        }
        h.cross_entropy(&labels).backward();
    }
    let (peak, live) = (tape.memory().peak as f64, tape.counters().live as f64);
    assert!(
        live <= peak && peak <= 1.1 * live,
        "peak {peak}, values {live}"
    );
    // Two of the hidden activations and one gradient at least, in bytes, and far from the sum of everything.
    let unit = (256 * 512 * 4) as f64;
    assert!(live > 2.0 * unit && live < 12.0 * unit, "values {live}");
    let c = tape.counters();
    assert!(c.flops > 4 * 6 * 256 * 128 * 512 && c.bytes > c.flops / 1000);
}
