//! Time of one step: ten million parameters against the memory-bandwidth floor, and a thousand tiny parameters.
//!
//!     cargo bench -p wengert-optim --bench step                    the times, and the ratios to the floor
//!     python crates/optim/benches/step.py --with PROGRAM           the same beside PyTorch, with the ratios to it
//!
//! The floor is the faster of two programs that read and write the same arrays with one multiply-add for each number: a
//! rule that does nothing else, and a plain loop in chunks on all threads. "Floor with a look" reads the gradient once more
//! before it, which nobody can avoid who wants to change nothing where the last element is not finite. The policy is the
//! default but for "unchecked", which does not look. Gradients come from a product, from fused elementwise work, from the
//! rows of a table, or from elsewhere ("supplied", for every step or once for all of them), which clipping by norm may have
//! read. The thread that steps is one of the pool (`parallel::set_global_threads`).
//!
//! Arguments choose the rules, as in `step adam "sgd momentum"`; without them everything is measured. With `--cold` other
//! memory is written before every run, as a training step between two updates does; else the same arrays run again and again.

use std::cell::RefCell;
use std::time::Instant;
use wengert_autograd::{Gradients, Module, Param, Path, Tape, Tensor, Visitor, VisitorMut};
use wengert_optim::rule::*;
use wengert_optim::{Adam, AdamW, ClipExt, NonFinitePolicy, Optimizer, Sgd};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, dispatch};
use wengert_tensor::{Real, parallel};

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

/// Numbers of other memory that is written between two cold runs: more than the last-level cache holds.
const OTHER: usize = 150_000_000;

/// Whether other memory is written before every run.
fn cold() -> bool {
    std::env::args().any(|a| a == "--cold")
}

/// Median times in milliseconds of several programs that take turns of a few runs, the first of which warm up, so that a
/// slow second of the machine strikes all.
///
/// Cold: a run each turn, after other memory was written; the first turn warms up.
fn turns(rounds: usize, programs: &mut [(String, Box<dyn FnMut() + '_>)]) -> Vec<f64> {
    let mut times = vec![Vec::new(); programs.len()];
    let mut other = vec![0.0f32; if cold() { OTHER } else { 0 }];
    let (turns, runs) = if cold() { (13, 1) } else { (5, rounds / 5 + 2) };
    for turn in 0..turns {
        for ((_, program), times) in programs.iter_mut().zip(&mut times) {
            for run in 0..runs {
                parallel::chunks_mut(&mut other, 1 << 16, |_, c| {
                    c.iter_mut().for_each(|x| *x += 1.0);
                });
                let start = Instant::now();
                program();
                if run >= 2 || (cold() && turn > 0) {
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

/// The same without the optimizer: arrays, chunks and threads, nothing else; `look` reads all of `read` before.
fn plain<'a>(
    written: &'a RefCell<Vec<Tensor<f32>>>,
    read: &'a Tensor<f32>,
    look: bool,
) -> impl FnMut() + 'a {
    const CHUNK: usize = 1 << 15;
    let read = read.as_slice().unwrap();
    move || {
        let mut written = written.borrow_mut();
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
        parallel::install(|| {
            if look {
                let parts: Vec<&[f32]> = read.chunks(CHUNK).collect();
                parallel::tasks(parts.len(), |i| {
                    assert!(f32::largest_magnitude(parts[i]).is_finite());
                });
            }
            parallel::chunks_mut(&mut chunks, 1, |_, c| {
                let (written, g) = &mut c[0];
                dispatch(Touched(written, g));
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

/// The ways to gradients.
const WAYS: [&str; 6] = [
    "product",
    "elementwise",
    "table",
    "clipped",
    "supplied",
    "supplied again",
];

/// Gradients made one way: a linear layer and a batch of 64, a mask on every weight, rows of a table looked up 4,096 times,
/// or given by hand.
fn made(model: &Layers, way: &str) -> Gradients<f32> {
    let (_, w, b) = &model.0[0];
    let tape = Tape::<f32>::training(0);
    let loss = match way {
        "product" => {
            let x = tape.input(&values(&[64, w.shape()[1]], 0.1));
            (x.matmul(tape.param(w).t()) + tape.param(b))
                .square()
                .mean()
        }
        "elementwise" => {
            let mask = tape.input(&values(w.shape(), 0.1));
            (tape.param(w).tanh() * mask).sum() + tape.param(b).square().sum()
        }
        "table" => {
            let n = w.shape()[0] as i64;
            let index = Tensor::from_fn([4096], |i| (i[0] as i64 * 7919) % n);
            let rows = tape.param(w).embedding(&index);
            rows.square().mean() + tape.param(b).square().sum()
        }
        _ => {
            let mut grads = gradients(model);
            if way == "clipped" {
                grads.clip_norm(1.0);
            }
            return grads;
        }
    };
    loss.backward()
}

/// A rule with `S` slots on ten million parameters, and its ratios to the floor.
fn big<R: Rule, const S: usize>(name: &str, rule: impl Fn() -> Optimizer<R, f32>) {
    let model = RefCell::new(layers(1, &[2500, 4000 - 1], &[2500]));
    let grads = WAYS.map(|way| made(&model.borrow(), way));
    for (way, g) in WAYS.iter().zip(&grads) {
        assert_eq!(g.len(), 2);
        assert!((0..2).all(|i| g.known_finite(i) != way.starts_with("supplied")));
    }
    let supplied = &grads[4];
    let mut default = WAYS.map(|_| rule());
    let mut blind = rule().non_finite(NonFinitePolicy::Ignore);
    let mut touch = Optimizer::with_rule(ReadWrite::<S>).non_finite(NonFinitePolicy::Ignore);
    let written = RefCell::new((0..=S).map(|_| values(&[10_000_000], 1.0)).collect());
    let read = values(&[10_000_000], 0.01);
    let mut programs: Vec<(String, Box<dyn FnMut() + '_>)> = vec![
        (
            format!("{name}: floor, a plain loop"),
            Box::new(plain(&written, &read, false)),
        ),
        (
            format!("{name}: floor with a look"),
            Box::new(plain(&written, &read, true)),
        ),
        (
            format!("{name}: floor, an empty rule"),
            Box::new(|| drop(touch.step(&mut *model.borrow_mut(), supplied))),
        ),
        (
            format!("{name}, unchecked"),
            Box::new(|| drop(blind.step(&mut *model.borrow_mut(), supplied))),
        ),
    ];
    for ((way, g), o) in WAYS.iter().zip(&grads).zip(&mut default) {
        let model = &model;
        programs.push((
            format!("{name}, {way}"),
            Box::new(move || {
                // The same memory every time, which nobody has looked at since it was supplied.
                let fresh = (*way == "supplied")
                    .then(|| Gradients::from_parts(0.0, g.entries().to_vec(), Vec::new()));
                let g = fresh.as_ref().unwrap_or(g);
                assert!(o.step(&mut *model.borrow_mut(), g).applied);
            }),
        ));
    }
    let ms = turns(30, &mut programs);
    let floor = ms[0].min(ms[2]);
    print!("  to the floor: unchecked {:.2}", ms[3] / floor);
    for (way, ms) in WAYS.iter().zip(&ms[4..]) {
        print!(", {way} {:.2}", ms / floor);
    }
    println!(" ({:.2} to the floor with a look)", ms[8] / ms[1]);
}

fn run<R: Rule>(name: &str, mut o: Optimizer<R, f32>, model: &mut Layers, rounds: usize) {
    let grads = gradients(model);
    time(name, rounds, || drop(o.step(model, &grads)));
}

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let threads = std::env::var("RAYON_NUM_THREADS").ok();
    let threads = threads
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    parallel::set_global_threads(threads).expect("nobody has used the pool");
    println!("threads {}", parallel::threads());
    println!("10,000,000 parameters");
    if wanted("adam") {
        big::<_, 2>("adam", || Adam::new(1e-3));
    }
    if wanted("adamw") {
        big::<_, 2>("adamw", || AdamW::new(1e-3));
    }
    if wanted("sgd momentum") {
        big::<_, 1>("sgd momentum", || Sgd::new(1e-3).momentum(0.9));
    }
    if !chosen.is_empty() {
        return;
    }
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
