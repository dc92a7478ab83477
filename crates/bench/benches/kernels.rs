//! Kernels, by criterion: `cargo bench -p wengert-bench --bench kernels [-- FILTER]`. Threads are set with
//! `RAYON_NUM_THREADS`, the instruction set with `WENGERT_ISA`.
//!
//! Elementwise operations, reductions and layers run on an inference tape whose memory is warm, which is how a model uses
//! them; matrix products run on their own.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wengert::autograd::ops::conv::ConvOptions;
use wengert::prelude::*;
use wengert::tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert_bench::fill::uniform;

/// A function of one variable.
type Function = for<'t> fn(Var<'t>) -> Var<'t>;

const FUNCTIONS: &[(&str, Function)] = &[
    ("add", |x| x + 1.5),
    ("relu", |x| x.relu()),
    ("exp", |x| x.exp()),
    ("tanh", |x| x.tanh()),
    ("sigmoid", |x| x.sigmoid()),
    ("gelu", |x| x.gelu()),
    ("chain of eight", |x| {
        ((x * 2.0 + 1.0).tanh() * x - 0.5).square().sigmoid() * 3.0
    }),
    ("sum", |x| x.sum()),
    ("softmax", |x| x.softmax(-1)),
];

fn elementwise(c: &mut Criterion) {
    for (name, f) in FUNCTIONS {
        let mut group = c.benchmark_group(*name);
        for n in [1_000, 100_000, 10_000_000] {
            let x = uniform(n as u64, [n / 1000, 1000], 2.0);
            let mut tape = Tape::inference();
            group.throughput(Throughput::Elements(n as u64));
            group.bench_function(BenchmarkId::from_parameter(n), |b| {
                b.iter(|| {
                    tape.reset();
                    black_box(f(tape.input(&x)).value());
                });
            });
        }
        group.finish();
    }
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    for (m, n, k) in [
        (512, 512, 512),
        (1024, 1024, 1024),
        (64, 4096, 1024),
        (64, 300, 784),
        (32, 1024, 256),
        (32, 16, 16),
    ] {
        let draw = |seed, len: usize| uniform(seed, [len], 1.0).to_vec();
        let (a, b, mut y) = (draw(1, m * k), draw(2, k * n), vec![0.0; m * n]);
        group.throughput(Throughput::Elements((2 * m * n * k) as u64));
        group.bench_function(format!("{m} x {n} x {k}"), |bench| {
            bench.iter(|| {
                let (a, b) = (MatRef::row_major(&a, k), MatRef::row_major(&b, n));
                let y = MatMut::row_major(black_box(&mut y), n);
                gemm(m, n, k, 1.0, a, b, 0.0, y, Epilogue::None);
            });
        });
    }
    group.finish();
}

fn layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward and backward");
    let mut run = |name: &str, shape: &[usize], weight: &[usize], f: Layer| {
        let draw = |seed, shape: &[usize], bound| {
            uniform(seed, [shape.iter().product()], bound).reshape(shape)
        };
        let (x, w) = (draw(1, shape, 1.0), Param::new(draw(2, weight, 0.1)));
        let mut tape = Tape::training(0);
        group.bench_function(name, |b| {
            b.iter(|| {
                tape.reset();
                black_box(f(tape.input(&x), tape.param(&w)).backward());
            });
        });
    };
    run("linear, gelu", &[256, 1024], &[1024, 1024], |x, w| {
        x.linear(w, None).gelu().mean()
    });
    run(
        "convolution 3 x 3",
        &[16, 32, 28, 28],
        &[64, 32, 3, 3],
        |x, w| x.conv2d(w, None, ConvOptions::new()).relu().mean(),
    );
    run("layer norm", &[4096, 512], &[512], |x, w| {
        x.layer_norm(1, Some(w), None, 1e-5).square().mean()
    });
    group.finish();
}

/// A scalar function of an input and a parameter.
type Layer = for<'t> fn(Var<'t>, Var<'t>) -> Var<'t>;

criterion_group!(benches, elementwise, products, layers);
criterion_main!(benches);
