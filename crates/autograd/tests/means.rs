//! A mean is a quotient: that of equal numbers is the number.

use wengert_autograd::{Float, Tape, Tensor, grad};

fn of_ones<T: Float>() {
    let tape = Tape::<T>::inference();
    for n in 1..300 {
        let x = tape.input(&Tensor::ones([2, n]));
        assert_eq!(x.mean().item(), T::ONE, "{n}");
        assert_eq!(x.mean_dim([1], false).value().to_vec(), [T::ONE; 2], "{n}");
        let g = grad(x.mean(), [x])[0].value().to_vec();
        assert_eq!(g, vec![T::ONE / T::from_f64(2.0 * n as f64); 2 * n], "{n}");
    }
}

#[test]
fn the_mean_of_ones_is_1() {
    of_ones::<f32>();
    of_ones::<f64>();
}
