//! Attention at sizes that cross its blocks: the composition of matrix products and softmax as reference, dropped weights, the
//! gradient of a mask, and the memory of all that.

mod registry;

use registry::numbers;
use wengert_autograd::ops::attention::Attention;
use wengert_autograd::{GradCheckOptions, Tape, Tensor, Var, gradcheck_with, vjp_many};

fn input(seed: u64, shape: &[usize]) -> Tensor<f64> {
    Tensor::from_vec(numbers(seed, shape.iter().product(), (-1.0, 1.0)), shape)
}

fn masked<'t, const CAUSAL: bool>(x: &[Var<'t, f64>]) -> Var<'t, f64> {
    let settings = Attention {
        mask: Some(x[3]),
        causal: CAUSAL,
        dropout: 0.4,
        scale: None,
    };
    x[0].scaled_dot_product_attention(x[1], x[2], settings)
}

#[test]
fn dropped_weights_and_masks_have_derivatives_of_order_one_and_two() {
    let inputs = [
        input(1, &[2, 3, 2]),
        input(2, &[2, 4, 2]),
        input(3, &[2, 4, 3]),
        input(4, &[3, 1]),
    ];
    for causal in [false, true] {
        let options = GradCheckOptions {
            training: true,
            seed: 5,
            ..Default::default()
        };
        let f: for<'t> fn(&[Var<'t, f64>]) -> Var<'t, f64> = if causal {
            masked::<true>
        } else {
            masked::<false>
        };
        gradcheck_with(f, &inputs, options).assert_ok();
    }
}

/// The derivatives of attention, first and second, with a mask of this shape, against those of the composition.
fn agrees(heads: usize, lq: usize, lk: usize, mask: &[usize], causal: bool) {
    let tape = Tape::<f64>::inference();
    let own = [
        tape.input(&input(1, &[2, heads, lq, 3])),
        tape.input(&input(2, &[2, heads, lk, 3])),
        tape.input(&input(3, &[2, heads, lk, 4])),
        tape.input(&input(4, mask)),
    ];
    let [q, k, v, m] = own;
    let settings = Attention {
        mask: Some(m),
        causal,
        ..Default::default()
    };
    let y = q.scaled_dot_product_attention(k, v, settings);
    let mut s = q.matmul(k.t()) / 3f64.sqrt() + m;
    if causal {
        s = tape
            .tri(lq, lk, 0)
            .where_(s, tape.scalar(f64::NEG_INFINITY));
    }
    let z = s.softmax(-1).matmul(v);
    let c = tape.input(&input(5, &y.shape()));
    // The derivatives, and their derivatives, by the cotangent too.
    let both = |y| {
        let first = vjp_many(&[y], &[c], &own);
        let seeds: Vec<_> = (first.iter().enumerate())
            .map(|(i, g)| tape.input(&input(10 + i as u64, &g.shape())))
            .collect();
        let second = vjp_many(&first, &seeds, &[q, k, v, m, c]);
        [vec![y], first, second].concat()
    };
    for (i, (a, b)) in both(y).into_iter().zip(both(z)).enumerate() {
        let worst = (a - b).abs().amax().item();
        let scale = b.abs().amax().item().max(1.0);
        assert!(
            worst <= 1e-12 * scale,
            "{i}, mask {mask:?}, causal {causal}: {worst}"
        );
    }
}

#[test]
fn blocks_agree_with_the_composition() {
    agrees(1, 130, 520, &[130, 520], false);
    agrees(3, 70, 300, &[3, 1, 300], false);
    agrees(2, 65, 257, &[2, 1, 65, 1], false);
    agrees(2, 140, 140, &[140, 140], true);
    agrees(2, 140, 140, &[2, 2, 140, 140], true);
    agrees(2, 3, 5, &[], false);
}

/// One of the derivatives by q, k, v and the mask, as a function of everything it depends on.
fn derivative<'t, const OF: usize>(x: &[Var<'t, f64>]) -> Var<'t, f64> {
    let y = masked::<true>(x);
    vjp_many(&[y], &[x[4]], &[x[OF]])[0]
}

/// Orders 2 and 3 of attention: orders 1 and 2 of its derivatives, with dropped weights.
#[test]
fn the_third_derivatives_are_right() {
    type Derivative = for<'t> fn(&[Var<'t, f64>]) -> Var<'t, f64>;
    let all: [Derivative; 4] = [
        derivative::<0>,
        derivative::<1>,
        derivative::<2>,
        derivative::<3>,
    ];
    let inputs = [
        input(1, &[2, 3, 2]),
        input(2, &[2, 4, 2]),
        input(3, &[2, 4, 3]),
        input(4, &[3, 1]),
        input(5, &[2, 3, 3]),
    ];
    for f in all {
        let options = GradCheckOptions {
            training: true,
            seed: 5,
            ..Default::default()
        };
        gradcheck_with(f, &inputs, options).assert_ok();
    }
}

#[test]
fn weights_are_dropped_and_the_rest_grows() {
    let (lq, lk, p) = (100, 300, 0.3);
    let tape = Tape::<f64>::training(3);
    let (q, k) = (
        tape.input(&input(1, &[1, lq, 4])),
        tape.input(&input(2, &[1, lk, 4])),
    );
    // With the identity as values the result is the weights.
    let v = tape.eye(lk).unsqueeze(0);
    let dropped = |dropout| {
        q.scaled_dot_product_attention(
            k,
            v,
            Attention {
                dropout,
                ..Default::default()
            },
        )
    };
    let (all, some, others, none) = (dropped(0.0), dropped(p), dropped(p), dropped(1.0));
    let ones = tape.ones(some.shape());
    let through = vjp_many(&[some], &[ones], &[v])[0].sum_dim([-1], false) / lk as f64;
    let columns = some.sum_dim([1], false);
    let [all, some, others] = [all, some, others].map(|y| y.value().to_vec());
    let mut zeros = 0;
    for (&a, &s) in all.iter().zip(&some) {
        zeros += usize::from(s == 0.0);
        assert!(s == 0.0 || (s - a / (1.0 - p)).abs() <= 1e-14, "{s} of {a}");
    }
    let part = zeros as f64 / (lq * lk) as f64;
    assert!((part - p).abs() < 0.015, "{part} dropped");
    assert!(some != others, "each call has a mask of its own");
    assert!(none.value().to_vec().iter().all(|&x| x == 0.0));
    // The backward pass drops the same weights.
    let (a, b) = (through.value().to_vec(), columns.value().to_vec());
    assert!(
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12),
        "{a:?} {b:?}"
    );
}

#[test]
fn no_matrix_of_all_weights_is_made() {
    let l = 1500;
    let tape = Tape::<f32>::training(1);
    let x = tape.input(&Tensor::from_vec(
        (0..l * 8).map(|i| (i % 13) as f32 * 0.1).collect(),
        [1, l, 8],
    ));
    let mask = tape.input(&Tensor::<f32>::zeros([1, l]));
    let settings = Attention {
        mask: Some(mask),
        dropout: 0.1,
        ..Default::default()
    };
    let y = x.scaled_dot_product_attention(x, x, settings);
    let grads = vjp_many(&[y], &[y], &[x, mask]);
    let sum = grads[0].sum() + grads[1].sum();
    assert!(sum.item().is_finite());
    let (peak, matrix) = (tape.memory().peak, l * l * 4);
    assert!(
        peak * 10 < matrix,
        "{peak} bytes at the most, all weights are {matrix}"
    );
    // Nor for second derivatives.
    let second = vjp_many(&grads, &[x, mask], &[x, mask]);
    let sum = second[0].sum() + second[1].sum();
    assert!(sum.item().is_finite());
    let peak = tape.memory().peak;
    assert!(
        peak * 5 < matrix,
        "{peak} bytes at the most, all weights are {matrix}"
    );
}
