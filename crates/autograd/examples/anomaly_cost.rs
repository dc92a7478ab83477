//! Time of a step whose anomaly mode is off, for `anomaly_cost.py`, which runs this program built with and without the
//! check: a line `work steps` on standard input is answered with seconds per step.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;
use wengert_autograd::{Tape, Tensor, Var, grad};

fn numbers(n: usize, shape: &[usize]) -> Tensor<f32> {
    let v = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 500.0);
    Tensor::from_vec(v.collect(), shape)
}

/// A chain of kernels over one element each: as little work as possible beside each check.
fn tiny<'t>(x: Var<'t>) -> Var<'t> {
    (0..100).fold(x, |y, _| y.cumsum(0)).sum()
}

/// Two layers of a small network.
fn layers<'t>(x: Var<'t>) -> Var<'t> {
    let tape = x.tape();
    let w = tape.input(&numbers(10_000, &[100, 100]));
    x.matmul(w).relu().matmul(w).tanh().square().sum()
}

fn main() {
    let mut tape = Tape::<f32>::inference();
    let small = numbers(1, &[1]);
    let large = numbers(3_200, &[32, 100]);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        let (work, steps) = line.split_once(' ').expect("`work steps`");
        let (f, x): (for<'t> fn(Var<'t>) -> Var<'t>, _) = match work {
            "tiny" => (tiny, &small),
            "layers" => (layers, &large),
            _ => panic!("unknown work `{work}`"),
        };
        let steps: u32 = steps.parse().expect("a number of steps");
        let start = Instant::now();
        for _ in 0..steps {
            tape.reset();
            let x = tape.input(x);
            black_box(grad(f(x), [x])[0].value());
        }
        println!("{:e}", start.elapsed().as_secs_f64() / f64::from(steps));
        std::io::stdout()
            .flush()
            .expect("standard output can be written");
    }
}
