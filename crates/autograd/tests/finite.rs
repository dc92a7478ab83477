//! Notes about finite gradients: they come with what the tape made, they never lie, and a change drops them. `structured.rs`
//! asks every operation.

use wengert_autograd::{Float, Gradients, Param, Tape, Tensor, Var};

fn finite<T: Float>(t: &Tensor<T>) -> bool {
    t.iter().all(|x| x.is_finite())
}

/// The notes of all gradients; panics where one calls an infinity finite.
#[track_caller]
fn notes<T: Float>(g: &Gradients<T>) -> Vec<bool> {
    let entries = g.entries().iter().enumerate();
    entries
        .map(|(at, (_, t))| {
            let known = g.known_finite(at);
            assert!(!known || finite(t), "gradient {at} is not finite");
            known
        })
        .collect()
}

/// Numbers between `low` and 1.
fn numbers<T: Float>(seed: u64, shape: &[usize], low: f64) -> Tensor<T> {
    let mut x = seed;
    Tensor::from_fn(shape, |_| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        T::from_f64(low + (1.0 - low) * ((x >> 11) as f64 / (1u64 << 53) as f64))
    })
}

fn param<T: Float>(seed: u64, shape: &[usize]) -> Param<T> {
    Param::new(numbers(seed, shape, -1.0))
}

/// A layer whose weight is too large to be looked at.
fn large<T: Float>(x: &Tensor<T>, change: impl for<'t> Fn(Var<'t, T>) -> Var<'t, T>) -> Vec<bool> {
    let (w, b) = (param::<T>(1, &[700, 600]), param::<T>(2, &[700]));
    let tape = Tape::training(0);
    let y = tape.input(x).matmul(tape.param(&w).t()) + tape.param(&b);
    let g = change(y).sum().backward();
    assert_eq!(g.entries()[0].1.shape(), [700, 600]);
    notes(&g)
}

#[test]
fn large_products_are_bounded_by_their_operands() {
    fn check<T: Float>(huge: f64) {
        let x = numbers::<T>(3, &[8, 600], 0.5);
        assert_eq!(large(&x, |y| y.tanh()), [true, true]);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut x = x.clone();
            x.as_mut_slice()[1234] = T::from_f64(bad);
            assert!(!large(&x, |y| y * 2.0)[0], "{bad} in an operand");
            assert!(!large(&x.map(|v| v.abs()), |y| y.sqrt().square())[0]);
        }
        // Finite operands whose product is not.
        assert!(!large(&x.map(|v| v * T::from_f64(huge)), |y| y * huge)[0]);
        // One infinity on the way back.
        assert!(!large(&x, |y| (y * 0.0).sqrt())[0]);
    }
    check::<f32>(1e30);
    check::<f64>(1e250);
}

#[test]
fn a_large_gradient_without_a_bound_is_left_to_the_optimizer() {
    let w = param::<f32>(1, &[800, 500]);
    let tape = Tape::training(0);
    let g = (tape.param(&w) * 2.0).sum().backward();
    assert_eq!(notes(&g), [false]);
    // A product that costs far more than a look is looked at, whatever its operands say.
    let x = param::<f32>(2, &[2000, 800]);
    let tape = Tape::training(0);
    let y = tape.input(x.value()).matmul(tape.param(&w));
    let mut x = x.value().clone();
    x.as_mut_slice()[77] = f32::MAX;
    let g = y.tanh().sum().backward();
    assert_eq!(notes(&g), [true]);
}

#[test]
fn parameters_used_twice_and_views() {
    let w = param::<f64>(1, &[6, 6]);
    let mut tape = Tape::training(0);
    for scale in [1.0, f64::INFINITY, 1.0] {
        tape.reset();
        let x = tape.input(param::<f64>(2, &[4, 6]).value());
        let v = tape.param(&w);
        let y = x.matmul(v.t()).tanh().matmul(v);
        let g = (y * scale).sum().backward();
        assert_eq!(notes(&g), [scale == 1.0]);
        tape.reset();
        let v = tape.param(&w);
        let g = (v.t().narrow(0, 1, 3) * scale).sum().backward();
        assert_eq!(notes(&g), [scale == 1.0]);
    }
}

#[test]
fn changes_drop_the_notes() {
    let (a, b) = (param::<f64>(1, &[3]), param::<f64>(2, &[4]));
    let made = || {
        let tape = Tape::training(0);
        let y = tape.param(&a).sum() * tape.param(&b).sum();
        y.backward()
    };
    let mut g = made();
    assert_eq!(notes(&g), [true, true]);
    g.by_id_mut(b.id()).unwrap().as_mut_slice()[0] = f64::NAN;
    assert_eq!(notes(&g), [true, false]);
    let mut g = made();
    g.iter_mut()
        .for_each(|(_, t)| t.as_mut_slice()[0] = f64::INFINITY);
    assert_eq!(notes(&g), [false, false]);
    let mut g = made();
    g.iter_shrinking()
        .for_each(|(_, t)| t.as_mut_slice()[0] *= 0.5);
    assert_eq!(notes(&g), [true, true]);
    // Two losses: what is added may overflow, what is taken over is unknown.
    let mut g = made();
    g.accumulate(&made(), f64::MAX);
    assert_eq!(notes(&g), [false, false]);
    let (loss, entries, side) = made().into_parts();
    assert_eq!(
        notes(&Gradients::from_parts(loss, entries, side)),
        [false, false]
    );
    // The lists go back to the tape; a note must not outlive its gradient.
    let mut tape = Tape::training(0);
    for scale in [1.0, f64::NAN, 1.0] {
        tape.reset();
        let g = (tape.param(&a) * scale).sum().backward();
        assert_eq!(notes(&g), [scale == 1.0]);
    }
}
