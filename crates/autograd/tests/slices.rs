//! Derivatives of slices of one tensor, which are put side by side where they are neighbours.

use wengert_autograd::{Tape, Tensor, grad};

/// The slices `ranges` of an axis (start, end, step), each squared and weighted by its number: first and second derivatives.
fn check(shape: &[usize], axis: isize, ranges: &[(usize, usize, usize)]) {
    let n: usize = shape.iter().product();
    let x: Vec<f64> = (0..n).map(|i| (i % 7) as f64 - 3.0).collect();
    let tape = Tape::<f64>::training(0);
    let v = tape.input(&Tensor::from_vec(x.clone(), shape));
    let part = |(k, &(from, to, step)): (usize, &(usize, usize, usize))| {
        v.slice(axis, from, to, step).square() * (k + 1) as f64
    };
    let sum = (ranges.iter().enumerate().map(part))
        .map(|y| y.sum())
        .reduce(|a, b| a + b)
        .expect("a slice");
    let inner: usize = shape[axis as usize + 1..].iter().product();
    let weight = |i: usize| -> f64 {
        let at = i / inner % shape[axis as usize];
        let inside = |&(_, &(from, to, step)): &(usize, &(usize, usize, usize))| {
            (from..to).contains(&at) && (at - from).is_multiple_of(step)
        };
        let taking_part = ranges.iter().enumerate().filter(inside);
        taking_part.map(|(k, _)| (k + 1) as f64).sum()
    };
    let g = grad(sum, [v])[0];
    let h = grad(g.sum(), [v])[0];
    let first: Vec<f64> = (0..n).map(|i| 2.0 * weight(i) * x[i]).collect();
    let second: Vec<f64> = (0..n).map(|i| 2.0 * weight(i)).collect();
    assert_eq!(
        g.value().to_vec(),
        first,
        "{shape:?} along {axis}: {ranges:?}"
    );
    assert_eq!(
        h.value().to_vec(),
        second,
        "{shape:?} along {axis}: {ranges:?}"
    );
}

#[test]
fn derivatives_of_slices_side_by_side_and_otherwise() {
    for (shape, axis, n) in [(&[3, 8][..], 1, 8), (&[8, 3], 0, 8), (&[2, 8, 3], 1, 8)] {
        check(shape, axis, &[(0, n / 2, 1), (n / 2, n, 1)]);
        check(shape, axis, &[(n / 2, n, 1), (0, n / 2, 1)]);
        check(shape, axis, &[(0, 2, 1), (2, 5, 1), (5, n, 1)]);
        check(shape, axis, &[(2, 5, 1), (5, n, 1), (0, 2, 1)]);
        check(shape, axis, &[(0, 2, 1), (5, n, 1), (2, 5, 1)]);
        // With gaps, overlaps, steps and nothing.
        check(shape, axis, &[(1, 3, 1), (3, 6, 1)]);
        check(shape, axis, &[(1, 3, 1), (4, 6, 1)]);
        check(shape, axis, &[(0, 5, 1), (4, n, 1)]);
        check(shape, axis, &[(0, 4, 1), (4, n, 2)]);
        check(shape, axis, &[(0, n, 2), (1, n, 2)]);
        check(shape, axis, &[(0, 4, 1), (4, 4, 1), (4, n, 1)]);
        check(shape, axis, &[(0, n, 1), (n, n, 1)]);
        check(shape, axis, &[(0, n, 1), (0, n, 1)]);
    }
}

#[test]
fn neighbours_along_different_axes_are_added() {
    let tape = Tape::<f64>::training(0);
    let v = tape.input(&Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]));
    let y = v.narrow(0, 0, 1).square().sum() + v.narrow(1, 1, 2).square().sum() * 10.0;
    let g = grad(y, [v])[0];
    assert_eq!(g.value().to_vec(), [2.0, 44.0, 0.0, 80.0]);
}

/// Of many steps of time, each with a part of its own, and of flipped halves.
#[test]
fn derivatives_of_steps_and_of_flipped_halves() {
    let tape = Tape::<f64>::training(0);
    let v = tape.input(&Tensor::from_fn([20, 3], |i| (i[0] + i[1]) as f64));
    let steps = (0..20).map(|k| v.select(0, k) * k as f64);
    let y = steps.reduce(|a, b| a + b).expect("a step").sum();
    let g = grad(y, [v])[0].value().to_vec();
    assert!(g.iter().enumerate().all(|(i, &g)| g == (i / 3) as f64));
    let y = v.narrow(0, 0, 10).flip([0]) * 3.0 + v.narrow(0, 10, 20);
    let g = grad(y.sum(), [v])[0].value().to_vec();
    assert!(
        g.iter()
            .enumerate()
            .all(|(i, &g)| g == if i < 30 { 3.0 } else { 1.0 })
    );
}
