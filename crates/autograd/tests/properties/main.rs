//! Properties that run across operations: broadcasting, extreme arguments, NaN, large offsets, threads.

mod broadcast;
#[path = "../dispatch/mod.rs"]
mod dispatch;
mod large_mean;
mod not_finite;
mod tails;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use wengert_autograd::ops::pool::{Divisor, Pool};
use wengert_autograd::{Float, Param, Tape, Tensor, Var, grad, vjp_many};

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Numbers(u64);
impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0) % n
    }
    fn tensor(&mut self, shape: &[usize]) -> Tensor<f64> {
        let n = shape.iter().product();
        Tensor::from_vec(
            (0..n)
                .map(|_| self.below(1 << 40) as f64 / 7e11 - 0.7)
                .collect(),
            shape,
        )
    }
}

fn gradient(f: impl for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let tape = Tape::<f64>::inference();
    let v = tape.input(&Tensor::from_slice(x, [x.len()]));
    let y = f(v);
    let c = tape.ones(y.shape());
    let g = vjp_many(&[y], &[c], &[v])[0];
    (y.value().to_vec(), g.value().to_vec())
}

/// The same tests with the other instruction sets of this machine.
#[test]
fn other_instruction_sets() {
    dispatch::run_again();
}
