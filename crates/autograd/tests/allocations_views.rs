//! Kernels that read a view where it lies make no copy of it.

mod counting;

use counting::{count_this_thread, counted};
use wengert_autograd::ops::pad::Pad;
use wengert_autograd::{Tape, Tensor, Var};

fn numbers(shape: &[usize]) -> Tensor<f32> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| i as f32 + 1.0).collect(), shape)
}

/// Allocations of a padding in steady state; the values are compared with those of a contiguous copy.
fn padded(x: &Tensor<f32>, f: impl Fn(Var<'_, f32>) -> Var<'_, f32>) -> usize {
    let mut tape = Tape::inference();
    let mut run = |x: &Tensor<f32>| {
        tape.reset();
        f(tape.input(x)).value().to_vec()
    };
    assert_eq!(run(x), run(&x.copy()));
    let mut tape = Tape::inference();
    let mut count = 0;
    for _ in 0..5 {
        tape.reset();
        let y = f(tape.input(x));
        let before = counted().0;
        y.value();
        count = counted().0 - before;
    }
    count
}

#[test]
fn padding_copies_no_view_whose_rows_lie_side_by_side() {
    count_this_thread();
    let x = numbers(&[4, 3, 5, 6]);
    let views = [
        ("contiguous", x.clone()),
        ("outer axes swapped", x.permute([1, 0, 2, 3])),
        ("cut outside", x.narrow(0, 1, 3).narrow(1, 0, 2)),
        ("repeated", x.narrow(0, 1, 2).broadcast_to([7, 3, 5, 6])),
        ("rows swapped", x.permute([0, 2, 1, 3])),
        ("cut", x.narrow(3, 1, 5)),
        ("cut twice", x.narrow(2, 1, 4).narrow(3, 2, 6)),
        ("one row", x.narrow(0, 2, 3).narrow(1, 1, 2).narrow(2, 3, 4)),
    ];
    for (k, (what, view)) in views.iter().enumerate() {
        let along_the_last = padded(view, |x| x.pad(&[(1, 0), (2, 1)], Pad::Constant(0.5)));
        assert_eq!(along_the_last, 0, "{what}");
        // Two axes are a row here: those behind the last padded one have to lie side by side, too.
        let before_it = padded(view, |x| x.pad(&[(2, 0), (0, 1), (0, 0)], Pad::Zeros));
        assert!(k >= 4 || before_it == 0, "{what}");
    }
    // A row that lies apart is brought together first.
    let apart = padded(&x.transpose(2, 3), |x| x.pad(&[(1, 1)], Pad::Zeros));
    assert!(apart > 0);
}
