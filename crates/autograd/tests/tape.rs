//! What the tape promises about steps, memory and misuse.

use wengert_autograd::{Param, Tape, Tensor, grad};

#[test]
fn a_step_returns_gradients_by_parameter() {
    let w = Param::new(Tensor::from_vec(vec![1.0f64, 2.0, 3.0], [3]));
    let mut tape = Tape::training(0);
    for _ in 0..3 {
        tape.reset();
        let x = tape.input(&Tensor::from_vec(vec![4.0, 5.0, 6.0], [3]));
        let loss = (tape.param(&w) * x).sum();
        let grads = loss.backward();
        assert_eq!(grads.loss(), 32.0);
        assert_eq!(grads.len(), 1);
        assert_eq!(grads.get(&w).unwrap().to_vec(), [4.0, 5.0, 6.0]);
    }
    assert_eq!(tape.counters().plans, 1);
}
