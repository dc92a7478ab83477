//! What a panic in the caller's code leaves behind: a kernel that fails while a step is traced, a model that lacks a parameter,
//! an observer that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use wengert_autograd::{
    Cotangents, Dims, ForwardCtx, NodeInfo, Observer, Op, Param, Result, Seen, Tape, Tensor, Var,
    VjpCtx,
};

fn vector(v: &[f64]) -> Tensor<f64> {
    Tensor::from_slice(v, [v.len()])
}

fn message(f: impl FnOnce()) -> String {
    let e = catch_unwind(AssertUnwindSafe(f)).expect_err("expected a panic");
    match e.downcast::<String>() {
        Ok(s) => *s,
        Err(e) => e
            .downcast::<&str>()
            .map_or(String::new(), |s| s.to_string()),
    }
}

/// The identity, whose kernel panics while a switch is on.
#[derive(Debug)]
struct Fails(&'static AtomicBool);
impl PartialEq for Fails {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}
impl Op<f64> for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, f64>) {
        assert!(!self.0.load(Ordering::Relaxed), "the kernel fails");
        ctx.input(0).copy_into(ctx.output());
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, f64>) -> Cotangents<'t, f64> {
        [Some(ctx.cotangent())].into_iter().collect()
    }
}

/// Sees everything; what it wants panics while a switch is on.
struct Watch {
    fails: &'static AtomicBool,
    leaf: bool,
    seen: usize,
}
impl Observer<f64> for Watch {
    fn wants(&mut self, n: &NodeInfo<'_>) -> bool {
        let fails = !self.leaf && n.op == "tanh" && self.fails.load(Ordering::Relaxed);
        assert!(!fails, "the observer fails");
        true
    }
    fn wants_leaf(&mut self, _: &NodeInfo<'_>) -> bool {
        let fails = self.leaf && self.fails.load(Ordering::Relaxed);
        assert!(!fails, "the observer fails");
        self.leaf
    }
    fn see(&mut self, _: &NodeInfo<'_>, _: Seen, _: &Tensor<f64>) {
        self.seen += 1;
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

fn seen(tape: &Tape<f64>) -> usize {
    let observer = tape.take_observer().expect("the observer is still there");
    observer.into_any().downcast::<Watch>().unwrap().seen
}

#[test]
fn a_panic_while_tracing_leaves_the_tape_as_it_was() {
    static FAILS: AtomicBool = AtomicBool::new(false);
    let model = vec![
        Param::new(vector(&[1.0, 2.0])),
        Param::new(vector(&[0.5, -1.0])),
    ];
    for other in [false, true] {
        let tape = Tape::<f64>::training(0);
        let v: Vec<Var<'_, f64>> = model.iter().map(|p| tape.param(p)).collect();
        let product = (v[0] * v[1]).apply(Fails(&FAILS));
        assert_eq!(product.value().to_vec(), [0.5, -2.0]);
        tape.set_observer(Box::new(Watch {
            fails: &FAILS,
            leaf: false,
            seen: 0,
        }));
        let (counters, kernels) = (tape.counters(), tape.counters().kernels);
        if other {
            // The first parameter is found, the second one is not.
            let text = message(|| drop(tape.trace(&model[0])));
            assert!(text.contains("not in the model"), "{text}");
        } else {
            FAILS.store(true, Ordering::Relaxed);
            let text = message(|| drop(tape.trace(&model)));
            assert!(text.contains("the kernel fails"), "{text}");
            FAILS.store(false, Ordering::Relaxed);
        }
        assert_eq!(tape.counters(), counters);
        // What was computed is still there, and so are the parameters.
        assert_eq!(product.value().to_vec(), [0.5, -2.0]);
        assert_eq!(tape.counters().kernels, kernels, "computed again");
        // Nobody looks for anomalies: neither noted nor refused.
        let infinite = v[0] / tape.scalar(0.0);
        assert_eq!(infinite.value().to_vec(), [f64::INFINITY; 2]);
        assert!(seen(&tape) > 0);
        let found = tape.trace(&model).expect("an anomaly");
        assert_eq!((found.op, found.node), ("div", infinite.index()));
        assert_eq!(
            (product * 2.0)
                .sum()
                .backward()
                .get(&model[0])
                .unwrap()
                .to_vec(),
            [1.0, -2.0]
        );
    }
    // The anomaly mode, if it was on, is on again: it refuses.
    let mut tape = Tape::<f64>::training(0);
    tape.detect_anomaly(true);
    let x = tape.param(&model[0]);
    let y = x.apply(Fails(&FAILS));
    y.value();
    FAILS.store(true, Ordering::Relaxed);
    assert!(message(|| drop(tape.trace(&model))).contains("the kernel fails"));
    FAILS.store(false, Ordering::Relaxed);
    let text = message(|| drop((y / tape.scalar(0.0)).value()));
    assert!(text.contains("anomaly: div"), "{text}");
}

#[test]
fn an_observer_that_panics_stays() {
    static FAILS: AtomicBool = AtomicBool::new(false);
    let w = Param::new(vector(&[1.0, 2.0]));
    for leaf in [false, true] {
        let mut tape = Tape::training(0);
        for repeated in [false, true] {
            tape.reset();
            tape.forget_observed_plans();
            tape.set_observer(Box::new(Watch {
                fails: &FAILS,
                leaf,
                seen: 0,
            }));
            let y = tape.param(&w).tanh().exp();
            FAILS.store(true, Ordering::Relaxed);
            assert!(message(|| drop(y.value())).contains("the observer fails"));
            FAILS.store(false, Ordering::Relaxed);
            let expected = [1.0f64.tanh().exp(), 2.0f64.tanh().exp()];
            for (y, e) in y.value().iter().zip(expected) {
                assert!((y - e).abs() < 1e-14, "{y} {e}");
            }
            assert_eq!(seen(&tape), 2 + usize::from(leaf), "repeated: {repeated}");
        }
    }
}
