use super::*;
use wengert_autograd::Tape;

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
}
