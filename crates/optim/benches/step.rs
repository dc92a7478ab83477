//! Time of one step: ten million parameters against the memory-bandwidth floor, and a thousand tiny parameters.
//!
//!     cargo bench -p wengert-optim --bench step
//!
//! `benches/step.py` prints the same table for PyTorch.

use std::time::Instant;
use wengert_autograd::{Gradients, Module, Param, Path, Tensor, Visitor, VisitorMut};
use wengert_optim::rule::Rule;
use wengert_optim::{Adam, AdamW, ClipExt, NonFinitePolicy, Optimizer, Sgd};
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

/// The least a step can do: read `reads` arrays and write `writes` of them, one multiply-add per element.
fn floor(n: usize, writes: usize, rounds: usize) -> f64 {
    let g = vec![0.5f32; n];
    let mut arrays: Vec<Vec<f32>> = (0..writes).map(|_| vec![1.0f32; n]).collect();
    const CHUNK: usize = 1 << 15;
    time(rounds, || {
        let mut tasks: Vec<(Vec<&mut [f32]>, &[f32])> = Vec::new();
        let mut chunks: Vec<_> = arrays.iter_mut().map(|a| a.chunks_mut(CHUNK)).collect();
        for g in g.chunks(CHUNK) {
            let parts = chunks.iter_mut().map(|c| c.next().unwrap()).collect();
            tasks.push((parts, g));
        }
        parallel::chunks_mut(&mut tasks, 1, |_, t| {
            let (parts, g) = &mut t[0];
            match parts.as_mut_slice() {
                [a, b] => {
                    for ((a, b), g) in a.iter_mut().zip(b.iter_mut()).zip(*g) {
                        *b = *b * 0.9 + g;
                        *a -= *b * 1e-4;
                    }
                }
                [a, b, c] => {
                    for (((a, b), c), g) in a.iter_mut().zip(b.iter_mut()).zip(c.iter_mut()).zip(*g)
                    {
                        *b = *b * 0.9 + g;
                        *c = *c * 0.9 + g;
                        *a -= *b * *c * 1e-4;
                    }
                }
                _ => unreachable!("two or three arrays are written"),
            }
        });
    })
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
    println!(
        "{:32} {:9.4} ms",
        "floor, 3 written 1 read",
        floor(10_000_000, 3, rounds)
    );
    run("adam", Adam::new(1e-3), &mut big, rounds);
    run(
        "adam, finiteness unchecked",
        Adam::new(1e-3).non_finite(ignore),
        &mut big,
        rounds,
    );
    run("adamw", AdamW::new(1e-3), &mut big, rounds);
    println!(
        "{:32} {:9.4} ms",
        "floor, 2 written 1 read",
        floor(10_000_000, 2, rounds)
    );
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
