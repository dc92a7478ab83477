//! Time of one step: ten million parameters against the memory-bandwidth floor, and a thousand tiny parameters.
//!
//!     cargo bench -p wengert-optim --bench step
//!
//! `benches/step.py` prints the same table for PyTorch.

use std::time::Instant;
use wengert_autograd::{Gradients, Module, Param, Path, Tensor, Visitor, VisitorMut};
use wengert_optim::rule::*;
use wengert_optim::{Adam, AdamW, ClipExt, NonFinitePolicy, Optimizer, Sgd};
use wengert_tensor::lane::Lane;
use wengert_tensor::parallel;

/// Layers of a weight and a bias, visited by hand so that the visit allocates nothing.
struct Layers(Vec<(String, Param<f32>, Param<f32>)>);

impl Module<f32> for Layers {
    fn visit(&self, path: &mut Path, visitor: &mut dyn Visitor<f32>) {
        for (name, w, b) in &self.0 {
            path.scoped(name, |path| {
                path.scoped("weight", |p| w.visit(p, visitor));
                path.scoped("bias", |p| b.visit(p, visitor));
            });
        }
    }
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn VisitorMut<f32>) {
        for (name, w, b) in &mut self.0 {
            path.scoped(name, |path| {
                path.scoped("weight", |p| w.visit_mut(p, visitor));
                path.scoped("bias", |p| b.visit_mut(p, visitor));
            });
        }
    }
}

fn values(shape: &[usize], scale: f32) -> Tensor<f32> {
    let mut x = 1u32;
    Tensor::from_fn(shape, |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((x >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
    })
}

fn layers(n: usize, weight: &[usize], bias: &[usize]) -> Layers {
    Layers(
        (0..n)
            .map(|i| {
                let w = Param::new(values(weight, 1.0));
                let b = Param::new(values(bias, 1.0));
                (format!("layer{i}"), w, b)
            })
            .collect(),
    )
}

fn gradients(model: &Layers) -> Gradients<f32> {
    let each = |p: &Param<f32>| (p.id(), values(p.shape(), 0.01));
    let entries = model.0.iter().flat_map(|(_, w, b)| [each(w), each(b)]);
    Gradients::from_parts(0.0, entries.collect(), vec![])
}

/// Median time in milliseconds.
fn time(rounds: usize, mut f: impl FnMut()) -> f64 {
    for _ in 0..3 {
        f();
    }
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

/// The least that a step with `S` slots can do: a rule that reads everything once and writes it back, one multiply-add
/// per number, through the same walk, chunks and threads.
#[derive(Debug, Clone)]
struct ReadWrite<const S: usize>;

#[derive(Clone, Copy)]
struct Touch;

impl<const S: usize> Update<S> for Touch {
    const WIDE: bool = true;

    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, s: [L; S]) -> (L, [L; S]) {
        let touch = |x: L| g.mul_add(L::c(1e-6), x);
        (touch(p), s.map(touch))
    }
}

impl<const S: usize> Hyperparameters for ReadWrite<S> {
    fn name(&self) -> &'static str {
        "read_write"
    }
    fn hypers(&self) -> &'static [Hyper] {
        &[]
    }
    fn get(&self, _: usize) -> f64 {
        0.0
    }
    fn put(&mut self, _: usize, _: f64) {}
}

impl<const S: usize> Rule for ReadWrite<S> {
    fn boxed(&self) -> Box<dyn Rule> {
        Box::new(self.clone())
    }
    fn slots(&self, _shape: &[usize]) -> Slots {
        ["a", "b", "c", "d"][..S]
            .iter()
            .map(|n| Slot::zeros(n))
            .collect()
    }
    fn plan(&self, _: Plan<'_>) -> Coefs {
        Coefs::default()
    }
    fn pass_f32(&self, x: Pass<'_, f32>) -> Sums {
        x.sweep::<S, _>(Touch)
    }
    fn pass_f64(&self, x: Pass<'_, f64>) -> Sums {
        x.sweep::<S, _>(Touch)
    }
}

fn floor<const S: usize>(model: &mut Layers, rounds: usize) {
    let o = Optimizer::with_rule(ReadWrite::<S>).non_finite(NonFinitePolicy::Ignore);
    run(
        &format!("floor, {} written 1 read", S + 1),
        o,
        model,
        rounds,
    );
}

fn run<R: Rule>(name: &str, mut o: Optimizer<R, f32>, model: &mut Layers, rounds: usize) {
    let grads = gradients(model);
    let ms = time(rounds, || {
        o.step(model, &grads);
    });
    println!("{name:32} {ms:9.4} ms");
}

fn main() {
    println!("threads {}", parallel::threads());
    let rounds = 31;
    let mut big = layers(1, &[2500, 4000 - 1], &[2500]);
    let ignore = NonFinitePolicy::Ignore;
    println!("10,000,000 parameters");
    floor::<2>(&mut big, rounds);
    run("adam", Adam::new(1e-3), &mut big, rounds);
    run(
        "adam, finiteness unchecked",
        Adam::new(1e-3).non_finite(ignore),
        &mut big,
        rounds,
    );
    run("adamw", AdamW::new(1e-3), &mut big, rounds);
    run(
        "adam, clip_norm in the step",
        Adam::new(1e-3).clip_norm(1.0),
        &mut big,
        rounds,
    );
    floor::<1>(&mut big, rounds);
    run(
        "sgd momentum",
        Sgd::new(1e-3).momentum(0.9),
        &mut big,
        rounds,
    );
    run(
        "sgd momentum, unchecked",
        Sgd::new(1e-3).momentum(0.9).non_finite(ignore),
        &mut big,
        rounds,
    );
    let mut grads = gradients(&big);
    let ms = time(rounds, || {
        grads.clip_norm(1e9);
    });
    println!("{:32} {ms:9.4} ms", "clip_norm (nothing to clip)");
    drop(big);
    println!("10,000,000 parameters in 1,000 tensors");
    let mut many = layers(500, &[100, 199], &[100]);
    run("adam", Adam::new(1e-3), &mut many, rounds);
    drop(many);
    println!("1,000 tiny parameters (8x8 and 8)");
    let mut tiny = layers(500, &[8, 8], &[8]);
    run("adam", Adam::new(1e-3), &mut tiny, 301);
    run("adamw", AdamW::new(1e-3), &mut tiny, 301);
    run("sgd momentum", Sgd::new(1e-3).momentum(0.9), &mut tiny, 301);
}
