//! A step in steady state allocates nothing, and live memory does not grow.

mod counting;

use counting::{count_this_thread, counted};
use wengert_autograd::{Param, Tape, Tensor};

#[test]
fn a_repeated_step_allocates_nothing() {
    count_this_thread();
    let mut w1 = Param::new(Tensor::<f32>::full([64, 32], 0.03));
    let mut b1 = Param::new(Tensor::<f32>::zeros([64]));
    let mut w2 = Param::new(Tensor::<f32>::full([10, 64], -0.02));
    let x = Tensor::<f32>::full([16, 32], 0.5);
    let labels = Tensor::from_vec((0..16).map(|i| i % 10).collect(), [16]);
    let mut tape = Tape::training(1);
    let mut step = || {
        tape.reset();
        let h = tape
            .input(&x)
            .linear(tape.param(&w1), Some(tape.param(&b1)))
            .relu()
            .dropout(0.1);
        let loss = h.linear(tape.param(&w2), None).cross_entropy(&labels);
        let grads = loss.backward();
        for p in [&mut w1, &mut b1, &mut w2] {
            let g = grads
                .get(p)
                .expect("every parameter has a part in the loss");
            let g = g.as_slice().expect("gradients are contiguous").iter();
            p.value_mut()
                .as_mut_slice()
                .iter_mut()
                .zip(g)
                .for_each(|(w, g)| *w -= 0.1 * g);
        }
        grads.loss()
    };
    for _ in 0..100 {
        step();
    }
    assert!(
        counted().0 > 0,
        "the first steps allocate, so they are counted"
    );
    let before = counted();
    for _ in 0..20_000 {
        step();
    }
    let after = counted();
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (0, 0),
        "allocations and bytes in 20,000 steps"
    );
}
