//! Growing: the same function afterwards, the optimizer's state of what was left alone kept.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use wengert_autograd::{ModuleExt, Tape, Tensor, Var};
use wengert_nn::{Activation, BatchNorm1d, Forward, Linear};
use wengert_optim::state::StateScalar;
use wengert_optim::{Adam, OptimizerState};
use wengert_train::grow::{self, Widening};

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn input(n: usize, d: usize) -> Tensor<f64> {
    Tensor::from_fn([n, d], |i| {
        ((i[0] * 31 + i[1] * 17) % 23) as f64 / 11.0 - 1.0
    })
}

fn distance(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.iter()
        .zip(b.iter())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn wider_is_the_same_function() {
    for act in [Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        for (old, new) in [(1, 1), (1, 5), (6, 6), (6, 7), (6, 100)] {
            let mut net = (
                Linear::<f64>::new(5, old, &mut rng(1)),
                act,
                Linear::new(old, 3, &mut rng(2)),
            );
            let before = net.predict(&input(9, 5));
            let w = grow::widen(&mut net.0, &mut net.2, new, &mut rng(3)).unwrap();
            assert_eq!((net.0.outputs(), net.2.inputs()), (new, new));
            assert!(distance(&net.predict(&input(9, 5)), &before) < 1e-13);
            // The shares of a unit's copies sum to 1.
            for unit in 0..old {
                let shares = w.source().iter().zip(w.share()).filter(|x| *x.0 == unit);
                assert!((shares.map(|x| x.1).sum::<f64>() - 1.0).abs() < 1e-14);
            }
        }
    }
}

/// Copies get different gradients, so they part.
#[test]
fn copies_part() {
    let mut net = (
        Linear::<f64>::new(5, 2, &mut rng(1)),
        Activation::Tanh,
        Linear::new(2, 3, &mut rng(2)),
    );
    let w = grow::widen(&mut net.0, &mut net.2, 4, &mut rng(3)).unwrap();
    let tape = Tape::training(0);
    let g = net
        .forward(tape.input(&input(9, 5)))
        .square()
        .sum()
        .backward();
    let g = g.get(&net.0.weight).unwrap().clone();
    let row = |k: usize| g.narrow(0, k, k + 1);
    assert!(distance(&row(2), &row(w.source()[2])) > 1e-3);
}

#[test]
fn batch_norm_and_images_between() {
    let mut net = (
        Linear::<f64>::new(5, 4, &mut rng(1)),
        BatchNorm1d::<f64>::new(4).with_eps(1e-3).with_momentum(0.3),
        Linear::new(4, 3, &mut rng(2)),
    );
    net.1
        .running_mean
        .as_mut()
        .unwrap()
        .value_mut()
        .as_mut_slice()
        .copy_from_slice(&[0.1, -0.2, 0.3, 0.4]);
    net.1
        .weight
        .as_mut()
        .unwrap()
        .value_mut()
        .as_mut_slice()
        .copy_from_slice(&[1.0, 2.0, 0.5, -1.0]);
    let before = net.predict(&input(9, 5));
    let w = grow::widen(&mut net.0, &mut net.2, 11, &mut rng(3)).unwrap();
    w.batch_norm(&mut net.1).unwrap();
    assert_eq!(
        (net.1.channels(), net.1.eps(), net.1.momentum()),
        (11, 1e-3, Some(0.3))
    );
    assert!(distance(&net.predict(&input(9, 5)), &before) < 1e-13);

    // Any axis of any weight: kernels [out, in, h, w].
    let mut kernel = wengert_autograd::Param::new(Tensor::from_fn([2, 3, 2, 2], |i| {
        (i[0] * 12 + i[1] * 4 + i[2] * 2 + i[3]) as f64
    }));
    kernel.set_trainable(false);
    let w = Widening::new(3, 5, &mut rng(1)).unwrap();
    w.copy(&mut kernel, 1).unwrap();
    assert_eq!(
        (kernel.shape(), kernel.is_trainable()),
        (&[2, 5, 2, 2][..], false)
    );
    for c in 0..5 {
        assert_eq!(
            kernel.value().get(&[1, c, 1, 0]),
            (12 + w.source()[c] * 4 + 2) as f64
        );
    }
    let e = w.copy(&mut kernel, 0).unwrap_err().to_string();
    assert!(
        e.contains("3 units at axis 0 expected, found shape [2, 5, 2, 2]"),
        "{e}"
    );
    assert!(Widening::new(3, 2, &mut rng(1)).is_err() && Widening::new(0, 2, &mut rng(1)).is_err());
    let mut a = Linear::<f64>::new(5, 4, &mut rng(1));
    let mut b = Linear::<f64>::new(3, 4, &mut rng(1));
    assert!(grow::widen(&mut a, &mut b, 9, &mut rng(1)).is_err());
}

type Stack = Vec<Linear<f64>>;

fn forward<'t>(net: &Stack, mut x: Var<'t, f64>) -> Var<'t, f64> {
    for (i, l) in net.iter().enumerate() {
        x = l.forward(x);
        if i + 1 < net.len() {
            x = x.relu();
        }
    }
    x
}

fn predict(net: &Stack) -> Tensor<f64> {
    let tape = Tape::inference();
    forward(net, tape.input(&input(9, 5))).value()
}

#[test]
fn the_optimizer_keeps_what_was_left_alone() {
    let sizes = [5, 6, 6, 6, 2];
    let layer = |s: &[usize]| Linear::new(s[0], s[1], &mut rng(s[0] as u64));
    let mut net: Stack = sizes.windows(2).map(layer).collect();
    let mut adam = Adam::new(1e-2);
    let mut tape = Tape::training(0);
    let mut steps = |net: &mut Stack, adam: &mut Adam<f64>, n: usize| {
        for _ in 0..n {
            tape.reset();
            let g = forward(net, tape.input(&input(9, 5)))
                .square()
                .mean()
                .backward();
            adam.step(net, &g);
        }
    };
    steps(&mut net, &mut adam, 10);
    let before = adam.state();
    let output = predict(&net);
    // Layers 0 and 1 share wider units; an identity goes in as layer 2, so 2 and 3 become 3 and 4.
    let [first, second, ..] = &mut net[..] else {
        unreachable!()
    };
    grow::widen(first, second, 9, &mut rng(7)).unwrap();
    net.insert(2, grow::identity(6));
    assert!(distance(&predict(&net), &output) < 1e-13);
    assert_eq!(net.named_params().len(), 10);
    steps(&mut net, &mut adam, 1);
    let after = adam.state();
    let age = |s: &OptimizerState, path: &str| match s.params[path].scalars["t"] {
        StateScalar::Count(n) => n,
        _ => unreachable!(),
    };
    for path in ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias"] {
        assert_eq!(age(&after, path), 1, "{path} is new");
    }
    for path in ["1.bias", "3.weight", "3.bias", "4.weight", "4.bias"] {
        assert_eq!(age(&after, path), 11, "{path} was left alone");
    }
    // Old layer 2 is layer 3 now, with its own moments: one step of decay 0.9 away from where they were.
    let moment = |s: &OptimizerState, path: &str| {
        s.params[path].tensors["exp_avg"]
            .get::<f64>()
            .unwrap()
            .clone()
    };
    let (was, is) = (moment(&before, "2.weight"), moment(&after, "3.weight"));
    let size = was.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    assert!(size > 0.0 && distance(&was, &is) < 0.3 * size);
}
