//! Kernels of other crates may use rayon themselves, whatever the threads: nobody waits for ever.

use rayon::prelude::*;
use std::sync::mpsc::channel;
use std::time::Duration;
use wengert_autograd::{
    Cotangents, Dims, ForwardCtx, Op, Param, Result, Tape, Tensor, Var, VjpCtx,
};

/// Twice the input, by parallel iterators inside of parallel iterators, `join` and `scope`.
#[derive(Debug, PartialEq)]
struct Twice;
impl Op<f32> for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        Ok(Dims::from_slice(inputs[0]))
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, f32>) {
        let x = ctx.input(0).contiguous();
        let x = x.as_slice().expect("made contiguous above");
        let out = ctx.output();
        (out.par_chunks_mut(64).zip(x.par_chunks(64))).for_each(|(out, x)| {
            let middle = out.len() / 2;
            let (a, b) = out.split_at_mut(middle);
            let copy = |to: &mut [f32], from: &[f32]| {
                (to.par_iter_mut().with_min_len(8).zip(from)).for_each(|(y, x)| *y = *x);
            };
            rayon::join(|| copy(a, &x[..middle]), || copy(b, &x[middle..]));
        });
        rayon::scope(|s| {
            for out in out.chunks_mut(256) {
                s.spawn(|_| out.par_iter_mut().with_min_len(32).for_each(|y| *y *= 2.0));
            }
        });
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, f32>) -> Cotangents<'t, f32> {
        [Some(ctx.cotangent().apply(Twice))].into_iter().collect()
    }
    // So much that the evaluation enters the pool, however little it is.
    fn flops(&self, _: &[&[usize]], _: &[usize]) -> u64 {
        1 << 20
    }
}

/// Steps of a program in which such kernels and those of this crate alternate; the gradient is checked.
fn steps(n: usize) {
    const SIDE: usize = 32;
    let w = Param::new(Tensor::<f32>::full([SIDE, SIDE], 0.5));
    let mean = Tensor::full([SIDE, SIDE], 1.0 / SIDE as f32);
    let mut tape = Tape::training(0);
    for _ in 0..n {
        tape.reset();
        let mut x: Var<'_, f32> = tape.param(&w);
        for _ in 0..3 {
            x = x.apply(Twice).matmul(tape.input(&mean)).apply(Twice) * 0.25;
        }
        let grads = x.sum().backward();
        let g = grads.get(&w).expect("it has a part");
        assert!(g.iter().all(|g| (g - 1.0).abs() < 1e-3));
    }
}

/// Runs `f` on a thread of its own, which has a minute.
fn in_time(what: &str, f: impl FnOnce() + Send + 'static) {
    let (done, end) = channel();
    std::thread::spawn(move || {
        f();
        done.send(()).expect("somebody waits");
    });
    (end.recv_timeout(Duration::from_secs(60))).unwrap_or_else(|e| panic!("{what}: {e}"));
}

#[test]
fn kernels_that_use_rayon_come_to_an_end() {
    // With eight, on fewer processors, a worker that did not lose its patience would be waited for for ever.
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = std::sync::Arc::new(pool.expect("threads"));
        let own = pool.clone();
        in_time(&format!("{threads} threads, one tape"), move || {
            own.install(|| steps(2000));
        });
        // Several tapes at once, each on a thread of the pool.
        in_time(&format!("{threads} threads, many tapes"), move || {
            pool.install(|| (0..16).into_par_iter().for_each(|_| steps(150)));
        });
    }
    in_time("from outside", || steps(2000));
}
