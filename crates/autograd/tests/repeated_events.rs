//! What a step asks of its tape is repeated only where the step before asked the same, and what `no_grad` and hooks change is
//! never taken over from another step.

use wengert_autograd::ops::pad::Pad;
use wengert_autograd::{Param, Tape, Tensor, Var, grad, hvp, jvp};

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
