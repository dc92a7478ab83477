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

/// Large gradients made by elementwise work: a bad element at every border of the blocks and chunks is seen, whichever thread
/// makes it, and only the gradient that it is in loses its note.
#[test]
fn elementwise_work_is_looked_at_while_it_is_in_the_cache() {
    fn check<T: Float>() {
        const N: usize = 300_001;
        let (a, b) = (param::<T>(1, &[N]), param::<T>(2, &[N]));
        let c = numbers::<T>(3, &[N], 0.5);
        let mut tape = Tape::training(0);
        let mut made = |bad: Option<(usize, f64)>| {
            tape.reset();
            let mut c = c.clone();
            if let Some((at, bad)) = bad {
                c.as_mut_slice()[at] = T::from_f64(bad);
            }
            let (a, b) = (tape.param(&a), tape.param(&b));
            // One loop makes both; the first has c in it, the second has not.
            let loss = (a.tanh() * tape.input(&c)).sum() + (a.detach() * b.square()).sum();
            notes(&loss.backward())
        };
        assert_eq!(made(None), [true, true]);
        let mut places = vec![1, 255, 1023, 1024, N / 2, N - 1024, N - 2, N - 1];
        places.extend((0..N).step_by(1 << 14));
        for (k, at) in places.into_iter().enumerate() {
            let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][k % 3];
            assert_eq!(made(Some((at, bad))), [false, true], "{bad} at {at}");
        }
        assert_eq!(made(None), [true, true]);
    }
    check::<f32>();
    check::<f64>();
}

/// A penalty on the weights adds to what a product made; a weight used twice adds two products.
#[test]
fn sums_of_gradients_are_looked_at() {
    fn check<T: Float>(huge: f64) {
        let w = param::<T>(1, &[600, 500]);
        let run = |x: f64, penalty: f64| {
            let tape = Tape::training(0);
            let v = tape.param(&w);
            let input = tape.input(&numbers::<T>(2, &[3, 500], 0.5));
            let y = (input * x).matmul(v.t()) + (input * x).matmul(v.t());
            let loss = y.sum() + v.square().sum() * penalty;
            notes(&loss.backward())
        };
        assert_eq!(run(1.0, 0.01), [true]);
        assert_eq!(run(1.0, f64::INFINITY), [false]);
        // Each product is finite, their sum is not.
        assert_eq!(run(huge, 0.0), [false]);
        assert_eq!(run(huge / 2.0, 0.0), [true]);
    }
    check::<f32>(8e37);
    check::<f64>(4e307);
}

#[test]
fn large_sums_are_looked_at() {
    fn check<T: Float>(shape: &[usize], param_shape: &[usize]) {
        let w = param::<T>(1, param_shape);
        let x = numbers::<T>(2, shape, 0.5);
        let n = x.numel();
        let run = |bad: Option<(usize, f64)>| {
            let mut x = x.clone();
            if let Some((at, bad)) = bad {
                x.as_mut_slice()[at] = T::from_f64(bad);
            }
            let tape = Tape::training(0);
            notes(&(tape.input(&x) * tape.param(&w)).sum().backward())
        };
        assert_eq!(run(None), [true]);
        for at in [0, 1, n / 3, n / 2, n - 2, n - 1] {
            for bad in [f64::NAN, f64::INFINITY] {
                assert_eq!(run(Some((at, bad))), [false], "{shape:?}: {bad} at {at}");
            }
        }
        let most = T::max_value().as_f64();
        let mut x = x.clone();
        x.as_mut_slice().fill(T::from_f64(most));
        let tape = Tape::training(0);
        let loss = (tape.input(&x) * tape.param(&w)).sum();
        assert_eq!(notes(&loss.backward()), [false], "{shape:?}");
    }
    check::<f32>(&[3, 300_000], &[300_000]);
    check::<f64>(&[2, 270_001], &[270_001]);
    check::<f32>(&[280_000, 4], &[280_000, 1]);
    check::<f64>(&[280_000, 2], &[280_000, 1]);
}

/// Rows of a table, slices, padded and gathered elements: zeros and what was put among them.
#[test]
fn large_tables_are_bounded_by_what_is_added_to_them() {
    fn check<T: Float>(way: usize, small: f64) {
        let w = param::<T>(1, &[3000, 100]);
        let rows = [0, 7, 2999, 7, 1500];
        // Few rows, and more than the table has.
        for repeat in [1, 700] {
            let index: Vec<i64> = rows.repeat(repeat);
            let n = index.len();
            let run = |bad: Option<(usize, f64)>| {
                let tape = Tape::training(0);
                let w = tape.param(&w);
                let index = Tensor::from_vec(index.clone(), [n]);
                let y = match way {
                    0 => w.embedding(&index),
                    1 => w.gather(
                        0,
                        &index.reshape([n, 1]).broadcast_to([n, 100]).contiguous(),
                    ),
                    2 => w.narrow(0, 100, 107),
                    _ => w.narrow(0, 0, 3000).narrow(1, 0, 5),
                };
                let mut c = numbers::<T>(2, &y.shape(), 0.5);
                let last = c.numel() - 1;
                if let Some((at, bad)) = bad {
                    c.as_mut_slice()[at.min(last)] = T::from_f64(bad);
                }
                let g = (y * tape.input(&c)).sum().backward();
                assert_eq!(g.entries()[0].1.numel(), 300_000);
                notes(&g)
            };
            // Gathered one by one and more of them than half the table, nobody has looked.
            let known = way != 1 || repeat == 1;
            assert_eq!(run(None), [known], "{way} {repeat}");
            for at in [0, 150, 499, usize::MAX] {
                for bad in [f64::NAN, f64::INFINITY] {
                    assert_eq!(
                        run(Some((at, bad))),
                        [false],
                        "{way} {repeat}: {bad} at {at}"
                    );
                }
                // Finite, but it might add up to an infinity.
                assert_eq!(run(Some((at, small))), [false], "{way} {repeat}: {small}");
            }
        }
    }
    for way in 0..4 {
        check::<f32>(way, 3e38);
        check::<f64>(way, 1e308);
    }
}

#[test]
fn gradients_that_repeat_one_number() {
    let w = param::<f32>(1, &[800, 500]);
    for scale in [2.0, f64::NAN] {
        let tape = Tape::training(0);
        let g = (tape.param(&w) * scale).sum().backward();
        assert_eq!(notes(&g), [scale == 2.0]);
    }
    let tape = Tape::training(0);
    assert_eq!(notes(&tape.param(&w).sum().backward()), [true]);
}

#[test]
fn a_large_gradient_without_a_bound_is_left_to_the_optimizer() {
    let w = param::<f32>(1, &[800, 500]);
    let tape = Tape::training(0);
    let g = tape.param(&w).cumsum(0).sum().backward();
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
    // A change that looks.
    let mut g = made();
    g.change(|id, t, known| {
        assert!(known);
        if id == b.id() {
            t.as_mut_slice()[3] = f64::NEG_INFINITY;
        }
        t.iter().all(|x| x.is_finite())
    });
    assert_eq!(notes(&g), [true, false]);
    g.by_id_mut(b.id()).unwrap().as_mut_slice()[3] = 0.0;
    g.change(|_, t, _| t.iter().all(|x| x.is_finite()));
    assert_eq!(notes(&g), [true, true]);
    // Two losses: what is added is looked at on the way, what is taken over keeps its note unless it grows.
    let mut g = made();
    g.accumulate(&made(), 1.0);
    assert_eq!(notes(&g), [true, true]);
    g.accumulate(&made(), f64::INFINITY);
    assert_eq!(notes(&g), [false, false]);
    for (scale, known) in [(-1.0, true), (2.0, false), (f64::NAN, false)] {
        let mut g = Gradients::from_parts(0.0, vec![(a.id(), a.value().clone())], vec![]);
        g.accumulate(&made(), scale);
        assert_eq!(notes(&g), [!scale.is_nan(), known]);
    }
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
