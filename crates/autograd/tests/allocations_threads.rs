//! A step large enough for threads allocates nothing in steady state either, on any of them.

mod counting;

use counting::{count_this_thread, counted};
use rayon::ThreadPoolBuilder;
use wengert_autograd::{Param, Tape, Tensor};

fn fill(shape: [usize; 2], scale: f32) -> Tensor<f32> {
    let n = shape[0] * shape[1];
    Tensor::from_vec(
        (0..n)
            .map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * scale)
            .collect(),
        shape,
    )
}

/// A training loop over a network of 784-300-100-10 with batches of 64; returns the allocations of its last 300 steps.
fn train() -> usize {
    let sizes = [784, 300, 100, 10];
    let mut weights: Vec<Param<f32>> = (sizes.windows(2))
        .map(|s| Param::new(fill([s[1], s[0]], (s[0] as f32).sqrt().recip())))
        .collect();
    let x = fill([64, 784], 1.0);
    let labels = Tensor::from_vec((0..64).map(|i| i % 10).collect(), [64]);
    let mut tape = Tape::training(1);
    let mut step = || {
        tape.reset();
        let mut h = tape.input(&x);
        for (k, w) in weights.iter().enumerate() {
            h = h.linear(tape.param(w), None);
            if k < 2 {
                h = h.relu();
            }
        }
        let grads = h.cross_entropy(&labels).backward();
        for p in &mut weights {
            let g = grads.get(p).expect("every weight has a part in the loss");
            let g = g.as_slice().expect("gradients are contiguous").iter();
            let w = p.value_mut().as_mut_slice().iter_mut();
            w.zip(g).for_each(|(w, g)| *w -= 0.1 * g);
        }
    };
    for _ in 0..200 {
        step();
    }
    let before = counted().0;
    assert!(before > 0, "the first steps allocate, so they are counted");
    for _ in 0..300 {
        step();
    }
    counted().0 - before
}

#[test]
fn a_repeated_step_on_two_threads_allocates_nothing() {
    let pool = ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("two threads can be started");
    pool.broadcast(|_| count_this_thread());
    assert_eq!(
        pool.install(train),
        0,
        "allocations in 300 steps inside the pool"
    );
}
