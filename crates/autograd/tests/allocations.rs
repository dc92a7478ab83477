//! A step in steady state allocates nothing, and live memory does not grow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wengert_autograd::{Param, Tape, Tensor};

struct Counting;
thread_local! {
    // Per thread: the test harness allocates on its own.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        LIVE.set(LIVE.get() + l.size() as isize);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        LIVE.set(LIVE.get() - l.size() as isize);
        // SAFETY: as above.
        unsafe { System.dealloc(p, l) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_repeated_step_allocates_nothing() {
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
    let (count, live) = (COUNT.get(), LIVE.get());
    for _ in 0..20_000 {
        step();
    }
    let (count, live) = (COUNT.get() - count, LIVE.get() - live);
    assert_eq!(
        (count, live),
        (0, 0),
        "allocations and bytes in 20,000 steps"
    );
}
