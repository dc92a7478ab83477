//! Time of one step: ten million parameters against the memory-bandwidth floor, and a thousand tiny parameters.
//!
//!     cargo bench -p wengert-optim --bench step                    the times, and the ratios to the floor
//!     python crates/optim/benches/step.py --with PROGRAM           the same beside PyTorch, with the ratios to it
//!
//! The floor is the faster of two programs that read and write the same arrays with one multiply-add for each number: a
//! rule that does nothing else, and a plain loop in chunks on all threads. "Made by a tape" is the default policy with
//! gradients of a backward pass, "supplied" the default policy with gradients from elsewhere, "unchecked" the policy that
//! does not look.

use std::cell::RefCell;
use std::time::Instant;
use wengert_autograd::{Gradients, Module, Param, Path, Tape, Tensor, Visitor, VisitorMut};
use wengert_optim::rule::*;
use wengert_optim::{Adam, AdamW, ClipExt, NonFinitePolicy, Optimizer, Sgd};
use wengert_tensor::lane::Lane;
use wengert_tensor::parallel;
use wengert_tensor::simd::{Isa, Kernel, dispatch_narrow};

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

/// Median times in milliseconds of several programs that take turns of a few runs, the first of which warm up, so that a
/// slow second of the machine strikes all.
fn turns(rounds: usize, programs: &mut [(String, Box<dyn FnMut() + '_>)]) -> Vec<f64> {
    let mut times = vec![Vec::new(); programs.len()];
    const TURNS: usize = 5;
    for _ in 0..TURNS {
        for ((_, program), times) in programs.iter_mut().zip(&mut times) {
            for run in 0..rounds / TURNS + 2 {
                let start = Instant::now();
                program();
                if run >= 2 {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let medians: Vec<f64> = times.iter_mut().map(median).collect();
    for ((name, _), ms) in programs.iter().zip(&medians) {
        println!("{name:40} {ms:9.4} ms");
    }
    medians
}

fn time(name: &str, rounds: usize, f: impl FnMut()) {
    turns(rounds, &mut [(name.to_string(), Box::new(f))]);
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

/// The same without the optimizer: arrays, chunks and threads, nothing else.
fn plain<'a>(written: &'a mut [Tensor<f32>], read: &'a Tensor<f32>) -> impl FnMut() + 'a {
    const CHUNK: usize = 1 << 15;
    let read = read.as_slice().unwrap();
    let mut slices: Vec<_> = (written.iter_mut())
        .map(|w| w.as_mut_slice().chunks_mut(CHUNK))
        .collect();
    let mut chunks: Vec<([&mut [f32]; 3], &[f32])> = read
        .chunks(CHUNK)
        .map(|g| {
            let mut next = slices.iter_mut().map(|s| s.next().unwrap());
            let a = std::array::from_fn(|_| next.next().unwrap_or_default());
            (a, g)
        })
        .collect();
    move || {
        parallel::install(|| {
            parallel::chunks_mut(&mut chunks, 1, |_, c| {
                let (written, g) = &mut c[0];
                dispatch_narrow(Touched(written, g));
            });
        });
    }
}

struct Touched<'a, 'b>(&'a mut [&'b mut [f32]; 3], &'a [f32]);

impl Kernel for Touched<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let [a, b, c] = self.0;
        let n = self.1.len();
        let (a, g) = (&mut a[..n], &self.1[..n]);
        if c.is_empty() {
            let b = &mut b[..n];
            for i in 0..n {
                let x = g[i] * 1e-6;
                a[i] += x;
                b[i] += x;
            }
        } else {
            let (b, c) = (&mut b[..n], &mut c[..n]);
            for i in 0..n {
                let x = g[i] * 1e-6;
                a[i] += x;
                b[i] += x;
                c[i] += x;
            }
        }
    }
}

/// The gradients that a tape makes for a linear layer and a batch of 64.
fn made(model: &Layers) -> Gradients<f32> {
    let (_, w, b) = &model.0[0];
    let tape = Tape::<f32>::training(0);
    let x = tape.input(&values(&[64, w.shape()[1]], 0.1));
    let y = x.matmul(tape.param(w).t()) + tape.param(b);
    let loss = (y * y).mean();
    let grads = loss.backward();
    assert!((0..grads.len()).all(|i| grads.known_finite(i)));
    grads
}

/// A rule with `S` slots on ten million parameters, and its ratios to the floor.
fn big<R: Rule, const S: usize>(name: &str, rule: impl Fn() -> Optimizer<R, f32>) {
    let model = RefCell::new(layers(1, &[2500, 4000 - 1], &[2500]));
    let (tape, supplied) = (made(&model.borrow()), gradients(&model.borrow()));
    let (mut default, mut given) = (rule(), rule());
    let mut blind = rule().non_finite(NonFinitePolicy::Ignore);
    let mut touch = Optimizer::with_rule(ReadWrite::<S>).non_finite(NonFinitePolicy::Ignore);
    let mut written: Vec<Tensor<f32>> = (0..=S).map(|_| values(&[10_000_000], 1.0)).collect();
    let read = values(&[10_000_000], 0.01);
    let ms = turns(
        50,
        &mut [
            (
                format!("{name}: floor, a plain loop"),
                Box::new(plain(&mut written, &read)),
            ),
            (
                format!("{name}: floor, an empty rule"),
                Box::new(|| drop(touch.step(&mut *model.borrow_mut(), &supplied))),
            ),
            (
                format!("{name}, made by a tape"),
                Box::new(|| assert!(default.step(&mut *model.borrow_mut(), &tape).applied)),
            ),
            (
                format!("{name}, supplied"),
                Box::new(|| assert!(given.step(&mut *model.borrow_mut(), &supplied).applied)),
            ),
            (
                format!("{name}, unchecked"),
                Box::new(|| drop(blind.step(&mut *model.borrow_mut(), &supplied))),
            ),
        ],
    );
    let floor = ms[0].min(ms[1]);
    println!(
        "  to the floor: made by a tape {:.2}, supplied {:.2}, unchecked {:.2}",
        ms[2] / floor,
        ms[3] / floor,
        ms[4] / floor
    );
}

fn run<R: Rule>(name: &str, mut o: Optimizer<R, f32>, model: &mut Layers, rounds: usize) {
    let grads = gradients(model);
    time(name, rounds, || drop(o.step(model, &grads)));
}

fn main() {
    println!("threads {}", parallel::threads());
    println!("10,000,000 parameters");
    big::<_, 2>("adam", || Adam::new(1e-3));
    big::<_, 2>("adamw", || AdamW::new(1e-3));
    big::<_, 1>("sgd momentum", || Sgd::new(1e-3).momentum(0.9));
    let mut model = layers(1, &[2500, 4000 - 1], &[2500]);
    let clipped = Adam::new(1e-3).clip_norm(1.0);
    run("adam, clip_norm in the step", clipped, &mut model, 31);
    let mut grads = gradients(&model);
    time("clip_norm (nothing to clip)", 31, || {
        grads.clip_norm(1e9);
    });
    drop((model, grads));
    println!("10,000,000 parameters in 1,000 tensors");
    let mut many = layers(500, &[100, 199], &[100]);
    run("adam, 1,000 tensors", Adam::new(1e-3), &mut many, 31);
    drop(many);
    println!("1,000 tiny parameters (8x8 and 8)");
    let mut tiny = layers(500, &[8, 8], &[8]);
    run("adam, tiny", Adam::new(1e-3), &mut tiny, 301);
    run("adamw, tiny", AdamW::new(1e-3), &mut tiny, 301);
    let sgd = Sgd::new(1e-3).momentum(0.9);
    run("sgd momentum, tiny", sgd, &mut tiny, 301);
}
