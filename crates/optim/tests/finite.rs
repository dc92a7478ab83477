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

#[test]
fn clipping_keeps_what_is_known() {
    let net = Net::<f32>::new();
    let mut g = net.good();
    g.clip_norm(1e-3);
    g.clip_value(1e-5);
    g.clip_each(1e-4);
    g.scale(0.5);
    assert!(g.known_finite(0) && g.known_finite(1));
    g.scale(2.0);
    assert!(!g.known_finite(0) && !g.known_finite(1));
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
