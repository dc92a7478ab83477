use super::values::{effective_rank, identical_units};
use super::*;
use wengert_autograd::{Param, Tape, Var};

#[test]
fn effective_rank_counts_directions() {
    // Two samples span one centred direction; four corners of a square two equal ones.
    assert_eq!(effective_rank(&[1.0f64, 2.0, 3.0, 5.0], 2, 2), Some(1.0));
    let square = [1.0f64, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0];
    assert!((effective_rank(&square, 4, 2).unwrap() - 2.0).abs() < 1e-12);
    // Variances 4 and 1: (4 + 1)² / (16 + 1), also with more units than samples.
    let wide = [
        2.0f64, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0,
    ];
    assert!((effective_rank(&wide, 4, 3).unwrap() - 25.0 / 17.0).abs() < 1e-12);
    assert_eq!(effective_rank(&[3.0f64; 6], 3, 2), None);
    assert_eq!(effective_rank(&[1.0f64, f64::NAN, 2.0, 3.0], 2, 2), None);
    assert_eq!(effective_rank::<f64>(&[], 0, 3), None);
}

#[test]
fn units_are_dead_for_all_batches_only_while_no_batch_wakes_them() {
    let model = Param::new(Tensor::<f32>::from_vec(vec![1.0, -1.0, 1.0], [3, 1]));
    let mut memory = Memory::default();
    let mut step = |x: f32| {
        let tape = Tape::training(0);
        let h = tape
            .input(&Tensor::full([4, 1], x))
            .linear(tape.param(&model), None);
        let loss = h.relu().sum();
        let (_, p) = Probe::default().tallied(loss, &model, &mut memory, &mut Picked::default());
        let p = p.named();
        let l = &p.layers[0];
        let so_far = l.extra.iter().find(|e| e.0 == DEAD_SO_FAR).unwrap().1;
        (l.dead.unwrap(), so_far)
    };
    let third = 1.0 / 3.0;
    assert_eq!(step(1.0), (third, third));
    assert_eq!(step(1.0), (third, third));
    assert_eq!(step(-1.0), (2.0 * third, 0.0));
}

#[test]
fn twins_are_units_with_the_same_weights_and_gradients() {
    let w = Tensor::from_vec(vec![1.0f32, 2.0, 1.0, 2.0, 3.0, 4.0], [3, 2]);
    assert_eq!(identical_units(&w, None, 0), 2.0 / 3.0);
    let g = Tensor::from_vec(vec![1.0f32, 2.0, 1.5, 2.0, 3.0, 4.0], [3, 2]);
    assert_eq!(identical_units(&w, Some(&g), 0), 0.0);
    assert_eq!(identical_units(&w, None, 1), 0.0);
    // What is not finite gives no scale to round by: units are told apart by their bits.
    let w = Tensor::from_vec(vec![1.0f32, f32::NAN, 1.0, 2.0, 3.0, 4.0], [3, 2]);
    let g = Tensor::full([3, 2], f32::NAN);
    assert_eq!(identical_units(&w, Some(&g), 0), 0.0);
    let w = Tensor::from_vec(vec![1e200f64, 2e200, 3e200], [3, 1]);
    assert_eq!(identical_units(&w, None, 0), 0.0);
}

/// The share that is told against the slopes that the tape computes.
#[test]
fn saturation_is_the_share_of_small_slopes_for_every_function_whose_output_tells() {
    let functions: [(&str, fn(Var<'_, f64>) -> Var<'_, f64>); 16] = [
        ("sigmoid", |x| x.sigmoid()),
        ("tanh", |x| x.tanh()),
        ("relu", |x| x.relu()),
        ("relu6", |x| x.relu6()),
        ("hardsigmoid", |x| x.hardsigmoid()),
        ("hardtanh", |x| x.hardtanh(-0.5, 2.0)),
        ("hardshrink", |x| x.hardshrink(0.5)),
        ("softshrink", |x| x.softshrink(0.5)),
        ("softsign", |x| x.softsign()),
        ("elu", |x| x.elu(1.0)),
        ("elu 2", |x| x.elu(2.0)),
        ("elu 0.3", |x| x.elu(0.3)),
        ("celu", |x| x.celu(0.7)),
        ("selu", |x| x.selu()),
        ("softplus", |x| x.softplus_beta(1.0)),
        ("softplus 3", |x| x.softplus_beta(3.0)),
    ];
    let n = 4001;
    // Beside 0 many slopes are largest.
    let at = |i: usize| match i {
        0 => -1e-9,
        1 => 1e-9,
        i => (i as f64 - 2000.3) / 100.0,
    };
    let x = Tensor::from_fn([n, 1], |i| at(i[0]));
    let w = Param::new(Tensor::<f64>::ones([1, 1]));
    for (name, f) in functions {
        let tape = Tape::training(0);
        let input = tape.input(&x);
        let slopes = wengert_autograd::grad(f(input).sum(), [input])[0].value();
        let largest = slopes.iter().fold(0.0, f64::max);
        let flat = slopes.iter().filter(|s| *s < SATURATED_SLOPE * largest);
        let expected = flat.count() as f64 / n as f64;
        let tape = Tape::training(0);
        let y = f(tape.input(&x).linear(tape.param(&w), None));
        let (_, p) = Probe::default().backward(y.sum(), &w);
        let told = p.layers[0].saturation.expect(name);
        // The grid stands between the border and its rounding.
        assert!(
            (told - expected).abs() < 1.5 / n as f64,
            "{name}: {told} {expected}"
        );
        assert_eq!(
            p.layers[0].dead.is_some(),
            name.starts_with("relu"),
            "{name}"
        );
    }
}
