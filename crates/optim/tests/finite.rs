//! What is not finite is caught wherever it comes from: the backward pass, a transform, the user. It is named, and
//! nothing changes.

use wengert_autograd::{
    Float, Gradients, Module, Param, Path, Tape, Tensor, Var, Visitor, VisitorMut,
};
use wengert_optim::transform::Pipeline;
use wengert_optim::wrappers::Accumulator;
use wengert_optim::{Adam, ClipExt, Error, NonFinitePolicy, Optimizer, Schedule, Sgd};

/// A layer with a weight too large to be looked at while it is made, and one that is small.
struct Net<T: Float> {
    wide: Param<T>,
    narrow: Param<T>,
}

impl<T: Float> Module<T> for Net<T> {
    fn visit(&self, path: &mut Path, v: &mut dyn Visitor<T>) {
        path.scoped("wide", |p| self.wide.visit(p, v));
        path.scoped("narrow", |p| self.narrow.visit(p, v));
    }
    fn visit_mut(&mut self, path: &mut Path, v: &mut dyn VisitorMut<T>) {
        path.scoped("wide", |p| self.wide.visit_mut(p, v));
        path.scoped("narrow", |p| self.narrow.visit_mut(p, v));
    }
}

fn numbers<T: Float>(shape: &[usize]) -> Tensor<T> {
    let mut x = 1u32;
    Tensor::from_fn(shape, |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::from_f64(f64::from(x >> 8) / f64::from(1 << 25) + 0.25)
    })
}

impl<T: Float> Net<T> {
    fn new() -> Self {
        Net {
            wide: Param::new(numbers(&[600, 500])),
            narrow: Param::new(numbers(&[1, 600])),
        }
    }

    /// Gradients of a backward pass through `wide`, `change` and `narrow`.
    fn grads(
        &self,
        x: &Tensor<T>,
        change: impl for<'t> Fn(Var<'t, T>) -> Var<'t, T>,
    ) -> Gradients<T> {
        let tape = Tape::training(0);
        let y = tape.input(x).matmul(tape.param(&self.wide).t());
        let z = change(y).matmul(tape.param(&self.narrow).t());
        z.sum().backward()
    }

    fn good(&self) -> Gradients<T> {
        let g = self.grads(&numbers(&[4, 500]), |y| (y * 0.01).tanh());
        assert!(g.known_finite(0) && g.known_finite(1));
        g
    }

    fn bits(&self) -> Vec<u64> {
        [&self.wide, &self.narrow]
            .iter()
            .flat_map(|p| p.value().to_vec())
            .map(|x| x.as_f64().to_bits())
            .collect()
    }
}

/// A default optimizer skips the step, names the parameter and stays as it is; a good step follows.
#[track_caller]
fn skipped<T: Float>(net: &mut Net<T>, grads: &Gradients<T>, name: &str) {
    let first = net.good();
    let mut adam = Adam::new(1e-3);
    adam.step(net, &first);
    let (before, state) = (net.bits(), adam.state());
    let report = adam.step(net, grads);
    let found = report.non_finite.expect("it is found");
    assert_eq!((report.applied, found.path.as_str()), (false, name));
    assert!(found.nans + found.infinities > 0);
    assert_eq!(net.bits(), before);
    assert_eq!((adam.steps(), adam.skipped_steps()), (1, 1));
    assert_eq!(adam.state().params, state.params);
    let mut strict = Sgd::new(1e-3).non_finite(NonFinitePolicy::Error);
    let error = strict.try_step(net, grads).unwrap_err();
    assert!(matches!(error, Error::NonFinite(_)) && error.to_string().contains(name));
    let second = net.good();
    assert!(adam.step(net, &second).applied);
    assert_ne!(net.bits(), before);
}

fn everywhere<T: Float>(huge: f64) {
    let net = &mut Net::<T>::new();
    let x = numbers(&[4, 500]);
    // Backward passes: a division by zero on the way, an input that is not finite, products that overflow.
    let g = net.grads(&x, |y| (y * 0.0).sqrt());
    skipped(net, &g, "wide");
    for bad in [f64::NAN, f64::INFINITY] {
        let mut x = x.clone();
        x.as_mut_slice()[999] = T::from_f64(bad);
        let g = net.grads(&x, |y| y * 0.5);
        skipped(net, &g, "wide");
    }
    let g = net.grads(&x.map(|v| v * T::from_f64(huge)), |y| y * huge);
    skipped(net, &g, "wide");
    let g = net.grads(&x, |y| y * 0.0 + f64::INFINITY);
    skipped(net, &g, "narrow");
    // The user, through every writable access there is.
    let (wide, narrow) = (net.wide.id(), net.narrow.id());
    for (id, name) in [(wide, "wide"), (narrow, "narrow")] {
        for bad in [f64::NAN, f64::NEG_INFINITY] {
            let mut g = net.good();
            g.by_id_mut(id).unwrap().as_mut_slice()[7] = T::from_f64(bad);
            skipped(net, &g, name);
            let mut g = net.good();
            for (_, t) in g.iter_mut().filter(|(i, _)| *i == id) {
                let last = t.numel() - 1;
                t.as_mut_slice()[last] = T::from_f64(bad);
            }
            skipped(net, &g, name);
            let (loss, mut entries, side) = net.good().into_parts();
            for (_, t) in entries.iter_mut().filter(|(i, _)| *i == id) {
                t.as_mut_slice()[0] = T::from_f64(bad);
            }
            skipped(net, &Gradients::from_parts(loss, entries, side), name);
        }
    }
    let mut g = net.good();
    let other = net.good();
    g.accumulate(&other, f64::INFINITY);
    skipped(net, &g, "wide");
    // Transforms.
    let mut g = net.good();
    g.scale(T::max_value().as_f64());
    g.scale(T::max_value().as_f64());
    skipped(net, &g, "wide");
    let mut g = net.good();
    g.scale(f64::NAN);
    skipped(net, &g, "wide");
    let mut g = net.good();
    Pipeline::new().scale(1e300).scale(1e300).apply(net, &mut g);
    skipped(net, &g, "wide");
    let mut g = net.good();
    g.by_id_mut(narrow).unwrap().as_mut_slice()[0] = T::nan();
    Pipeline::new()
        .clip_value(1.0)
        .centralize()
        .noise(1e-3, 1)
        .agc(0.01)
        .clip_each(1.0)
        .apply(net, &mut g);
    skipped(net, &g, "narrow");
    // Sums of micro-batches that overflow.
    let mut sums = Accumulator::new(2);
    let half = T::max_value().as_f64() * 0.75;
    for round in 0..2 {
        let mut g = net.good();
        g.by_id_mut(narrow).unwrap().as_mut_slice()[3] = T::from_f64(half);
        if let Some(mean) = sums.add(net, g) {
            assert_eq!(round, 1);
            skipped(net, &mean, "narrow");
        }
    }
}

#[test]
fn an_infinity_from_anywhere_is_caught_and_named() {
    everywhere::<f32>(1e30);
    everywhere::<f64>(1e250);
}

/// Ways to a large gradient of `wide`; each puts `c` (of its shape) into it element by element, but for the embedding,
/// which puts the first rows of `c` into some of its rows, and the product, into which one row of `c` goes.
const WAYS: [&str; 9] = [
    "product",
    "elementwise",
    "penalty",
    "embedding",
    "sum of two passes",
    "clip_norm",
    "scale",
    "accumulator",
    "supplied",
];

fn by_way<T: Float>(net: &mut Net<T>, way: &str, c: &Tensor<T>) -> Gradients<T> {
    let elementwise = |net: &Net<T>| {
        let tape = Tape::training(0);
        (tape.param(&net.wide) * tape.input(c)).sum().backward()
    };
    let supplied =
        |net: &Net<T>| Gradients::from_parts(T::ZERO, vec![(net.wide.id(), c.clone())], vec![]);
    let tape = Tape::training(0);
    match way {
        "product" => {
            let x = tape.input(&c.narrow(0, 0, 1));
            x.matmul(tape.param(&net.wide).t()).sum().backward()
        }
        "elementwise" => elementwise(net),
        "penalty" => {
            let w = tape.param(&net.wide);
            let y = tape.input(&numbers(&[4, 500])).matmul(w.t());
            (y.sum() + (w.square() * tape.input(c)).sum() * 1e-3).backward()
        }
        "embedding" => {
            let index = Tensor::from_vec(vec![599i64, 0, 300, 0], [4]);
            let rows = tape.param(&net.wide).embedding(&index);
            (rows * tape.input(&c.narrow(0, 0, 4))).sum().backward()
        }
        "sum of two passes" => {
            let mut g = net.grads(&numbers(&[4, 500]), |y| y);
            g.accumulate(&elementwise(net), 0.5);
            g
        }
        "clip_norm" => {
            let mut g = supplied(net);
            g.clip_norm(1.0);
            g
        }
        "scale" => {
            let mut g = supplied(net);
            g.scale(3.0);
            g
        }
        "accumulator" => {
            let mut sums = Accumulator::new(2);
            let (first, second) = (net.good(), supplied(net));
            assert!(sums.add(net, first).is_none());
            sums.add(net, second).expect("two of two")
        }
        "supplied" => supplied(net),
        _ => unreachable!(),
    }
}

#[test]
fn one_bad_element_is_found_whatever_makes_the_gradient_and_wherever_it_is() {
    fn check<T: Float>() {
        let net = &mut Net::<T>::new();
        let c = numbers::<T>(&[600, 500]);
        let last = c.numel() - 1;
        for way in WAYS {
            let g = by_way(net, way, &c);
            let at = g.entries().iter().position(|e| e.0 == net.wide.id());
            assert_eq!(g.known_finite(at.unwrap()), way != "supplied", "{way}");
            assert!(Adam::new(1e-3).step(net, &g).applied, "{way}");
            // Every chunk that a thread may take, and both ends.
            let mut places: Vec<usize> = match way {
                "product" => vec![0, 250, 499],
                "embedding" => vec![0, 499, 500, 1000, 1999],
                _ => (0..last).step_by(1 << 15).collect(),
            };
            if places.len() > 5 {
                places.extend([1, last / 2, last - 1, last]);
            }
            for (k, at) in places.into_iter().enumerate() {
                let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][k % 3];
                let mut c = c.clone();
                c.as_mut_slice()[at] = T::from_f64(bad);
                let g = by_way(net, way, &c);
                let before = net.bits();
                let mut adam = Adam::new(1e-3);
                let report = adam.step(net, &g);
                let found = report.non_finite.expect(way);
                assert_eq!(found.path, "wide", "{way}: {bad} at {at}");
                assert!(!report.applied && found.nans + found.infinities > 0);
                assert!(net.bits() == before && adam.steps() == 0, "{way}: {at}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn transforms_note_what_they_see() {
    let net = Net::<f32>::new();
    let mut g = net.good();
    g.clip_norm(1e-3);
    g.clip_value(1e-5);
    g.clip_each(1e-4);
    g.scale(0.5);
    assert!(g.known_finite(0) && g.known_finite(1));
    g.scale(2.0);
    assert!(g.known_finite(0) && g.known_finite(1));
    // What grows may become infinite, what is infinite does not shrink, and a clamped infinity is a number.
    g.scale(1e38);
    g.scale(1e38);
    assert!(!g.known_finite(0) && !g.known_finite(1));
    g.scale(0.5);
    assert!(!g.known_finite(0) && !g.known_finite(1));
    g.clip_value(1.0);
    assert!(g.known_finite(0) && g.known_finite(1));
    let supplied = |bad: f32| {
        let (loss, mut entries, side) = net.good().into_parts();
        entries[1].1.as_mut_slice()[3] = bad;
        Gradients::from_parts(loss, entries, side)
    };
    let known = |g: &Gradients<f32>| [g.known_finite(0), g.known_finite(1)];
    type Change = fn(&mut Gradients<f32>);
    let ways: [(Change, [bool; 2], [bool; 2]); 5] = [
        (|g| _ = g.clip_norm(1.0), [false; 2], [false; 2]),
        (|g| _ = g.clip_value(1.0), [false; 2], [true; 2]),
        (|g| _ = g.clip_each(1.0), [true, false], [true, false]),
        (|g| g.scale(0.5), [true, false], [true, false]),
        (|g| g.scale(2.0), [true, false], [true, false]),
    ];
    for (k, (change, with_nan, with_infinity)) in ways.into_iter().enumerate() {
        for (bad, expected) in [
            (0.0, [true; 2]),
            (f32::NAN, with_nan),
            (f32::INFINITY, with_infinity),
        ] {
            let mut g = supplied(bad);
            assert_eq!(known(&g), [false; 2]);
            change(&mut g);
            assert_eq!(known(&g), expected, "{k}: {bad}");
        }
    }
    // A pipeline takes norms, whose finiteness tells.
    for bad in [0.0, f32::NAN] {
        let mut g = supplied(bad);
        let mut all = Pipeline::new().agc(0.01).centralize().noise(1e-3, 1);
        all.apply(&net, &mut g);
        assert_eq!(known(&g), [bad == 0.0; 2]);
        let mut zero = Pipeline::new().non_finite(NonFinitePolicy::Zero);
        zero.apply(&net, &mut g);
        assert_eq!(known(&g), [true; 2]);
    }
}

#[test]
fn known_and_unknown_gradients_take_the_same_step() {
    fn run<S: Schedule + Clone>(lr: S, known: bool) -> Vec<u64> {
        let mut net = Net::<f32>::new();
        // The identities do not enter: two nets are equal.
        let mut adam: Optimizer<_, f32> = Adam::new(lr);
        for _ in 0..3 {
            let g = net.good();
            let g = if known {
                g
            } else {
                let (loss, entries, side) = g.into_parts();
                Gradients::from_parts(loss, entries, side)
            };
            assert!(adam.step(&mut net, &g).applied);
        }
        net.bits()
    }
    assert_eq!(run(1e-3, true), run(1e-3, false));
}

#[test]
fn the_norm_is_taken_when_it_is_asked_for() {
    let mut net = Net::<f32>::new();
    let g = net.good();
    assert_eq!(Sgd::new(0.1).step(&mut net, &g).grad_norm, None);
    let report = Sgd::new(0.1).report_norm().step(&mut net, &g);
    assert_eq!(report.grad_norm, Some(g.global_norm()));
    assert_eq!(report.clip, None);
}

/// What a step has looked at it does not look at again, until somebody may have written to it.
#[test]
fn a_look_leaves_a_note() {
    let mut net = Net::<f32>::new();
    let made = net.good().into_parts().1;
    let mut grads = Gradients::from_parts(0.0, made, vec![]);
    let (wide, narrow) = (net.wide.id(), net.narrow.id());
    let known = |g: &Gradients<f32>| [g.known_finite(0), g.known_finite(1)];
    assert_eq!(known(&grads), [false; 2]);
    let mut adam = Adam::new(1e-3);
    assert!(adam.step(&mut net, &grads).applied);
    assert_eq!(known(&grads), [true; 2]);

    // Writable access to one of them.
    grads.by_id_mut(narrow).expect("it is there").as_mut_slice()[7] = f32::NAN;
    let at = grads.entries().iter().position(|e| e.0 == wide).unwrap();
    assert!(grads.known_finite(at) && !grads.known_finite(1 - at));
    skipped(&mut net, &grads, "narrow");
    assert!(!grads.known_finite(1 - at));

    // Writable access to all of them.
    for (_, g) in grads.iter_mut() {
        g.as_mut_slice().fill(1.0);
    }
    assert_eq!(known(&grads), [false; 2]);
    assert!(adam.step(&mut net, &grads).applied);
    assert_eq!(known(&grads), [true; 2]);
    grads.change(|id, g, finite| {
        assert!(finite);
        if id == wide {
            g.as_mut_slice()[299_999] = f32::INFINITY;
        }
        id != wide
    });
    skipped(&mut net, &grads, "wide");

    // A norm tells as well; one that is not finite tells nothing.
    let mut clipping = Adam::new(1e-3).clip_norm(1.0);
    let fresh = Gradients::from_parts(0.0, net.good().into_parts().1, vec![]);
    assert!(clipping.step(&mut net, &fresh).applied);
    assert_eq!(known(&fresh), [true; 2]);
    let fresh = Gradients::from_parts(0.0, grads.into_parts().1, vec![]);
    assert!(!clipping.step(&mut net, &fresh).applied);
    assert_eq!(known(&fresh), [false; 2]);
}
