//! Derivatives of slices of one tensor, which are put side by side where they are neighbours; tensors joined, with some of shape
//! `[0]` among them.

use wengert_autograd::{Param, Tape, Tensor, Var, grad, vmap, vmap_many};

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

/// A tensor of shape `[0]` is passed over, whatever the others' rank, as PyTorch does; its derivative is one of shape `[0]`.
#[test]
fn tensors_of_shape_0_are_passed_over_where_others_are_joined() {
    let (a, b) = (
        Tensor::<f64>::from_fn([2, 3], |i| (3 * i[0] + i[1]) as f64),
        Tensor::<f64>::from_fn([2, 3], |i| (1 + i[0] + 2 * i[1]) as f64),
    );
    let nothing = Param::new(Tensor::<f64>::zeros([0]));
    let mut tape = Tape::training(0);
    for (step, axis) in [0, 1, -1, -2, 1, 1].into_iter().enumerate() {
        tape.reset();
        let w = tape.param(&nothing);
        let (x, y) = (tape.input(&a), tape.input(&b));
        let plain = Var::cat(&[x, y], axis);
        let weight = plain.sin();
        for (k, parts) in [
            vec![w, x, y],
            vec![x, w, y],
            vec![x, y, w],
            vec![w, x, w, w, y],
        ]
        .into_iter()
        .enumerate()
        {
            let joined = Var::cat(&parts, axis);
            assert_eq!(joined.shape(), plain.shape());
            assert_eq!(joined.value().to_vec(), plain.value().to_vec());
            assert!(joined.is_tracked());
            let g = grad((joined.square() * weight).sum(), [x, y, w]);
            let h = grad((plain.square() * weight).sum(), [x, y]);
            assert_eq!(g[0].value().to_vec(), h[0].value().to_vec());
            assert_eq!(g[1].value().to_vec(), h[1].value().to_vec());
            assert_eq!(g[2].value().shape(), [0]);
            let second = |g: Var<'_, f64>| grad((g.square() * y).sum(), [x])[0].value();
            let (found, expected) = (second(g[0]), second(h[0]));
            let close = |(a, b): (f64, f64)| (a - b).abs() < 1e-9;
            assert!(found.iter().zip(expected.iter()).all(close));
            if k == step % 4 && step >= 4 {
                let grads = joined.sum().backward();
                assert_eq!(grads.get(&nothing).expect("it has a part").shape(), [0]);
                break;
            }
        }
    }
    // One is left, or none.
    let tape = Tape::<f64>::inference();
    let (w, x) = (tape.zeros([0]), tape.input(&a));
    assert_eq!(Var::cat(&[w, x, w], 1).value().to_vec(), a.to_vec());
    assert_eq!(Var::cat(&[w, w], 0).value().shape(), [0]);
    let number = tape.input(&Tensor::ones([1]));
    assert_eq!(Var::cat(&[w, number], 0).value().to_vec(), [1.0]);
    // Other empty tensors count: they have an axis of their own, and a rank.
    assert_eq!(
        Var::cat(&[tape.zeros([2, 0]), x], 1).shape().as_slice(),
        [2, 3]
    );
}

/// The same for each example of a batch.
#[test]
fn tensors_of_shape_0_are_passed_over_in_batches() {
    let tape = Tape::<f64>::inference();
    let x = tape.input(&Tensor::from_fn([4, 2, 3], |i| {
        (6 * i[0] + 3 * i[1] + i[2]) as f64
    }));
    let (each, all) = (tape.zeros([4, 0]), tape.zeros([0]));
    let plain = vmap(|[x]| Var::cat(&[x, x.square()], 1), [x]);
    let found = vmap(|[x, e]| Var::cat(&[e, x, all, x.square(), e], 1), [x, each]);
    assert_eq!(found.shape().as_slice(), [4, 2, 6]);
    assert_eq!(found.value().to_vec(), plain.value().to_vec());
    // Derivatives from outside and for each example, batches of batches.
    let [g, e, a] = grad((found.square() * plain.sin()).sum(), [x, each, all]);
    let [h] = grad((plain.square() * plain.sin()).sum(), [x]);
    assert!(
        g.value()
            .iter()
            .zip(h.value().iter())
            .all(|(g, h)| (g - h).abs() < 1e-9)
    );
    assert_eq!(
        (e.value().shape(), a.value().shape()),
        (&[4, 0][..], &[0][..])
    );
    let inside = vmap_many(
        |v| grad(Var::cat(&[v[1], v[0], all], 0).square().sum(), [v[0], v[1]]).to_vec(),
        &[x, each],
    );
    assert_eq!(inside[0].value().to_vec(), (x * 2.0).value().to_vec());
    assert_eq!(inside[1].value().shape(), [4, 0]);
    let twice = vmap(|[x]| vmap(|[row]| Var::cat(&[all, row], 0), [x]), [x]);
    assert_eq!(twice.value().to_vec(), x.value().to_vec());
    // A line of numbers each.
    let lines = vmap(|[x, e]| Var::cat(&[e, x.flatten(0, -1), e], 0), [x, each]);
    assert_eq!(lines.value().to_vec(), x.value().to_vec());
}
