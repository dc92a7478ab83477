//! What the machine can do at most, to compare steps with: the rate of a large matrix product and of a copy.

use std::time::Instant;
use wengert::tensor::gemm::{Epilogue, MatMut, MatRef, gemm};
use wengert::tensor::parallel;

/// Seconds of the fastest of several runs.
fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    let one = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(|_| one(&mut f)).fold(f64::INFINITY, f64::min)
}

/// GFLOP/s of a product of two matrices of 1024 x 1024.
pub fn gflops() -> f64 {
    const N: usize = 1024;
    let (a, b, mut c) = (
        vec![0.5f32; N * N],
        vec![0.25f32; N * N],
        vec![0.0f32; N * N],
    );
    let seconds = best(12, || {
        parallel::install(|| {
            let (a, b) = (MatRef::row_major(&a, N), MatRef::row_major(&b, N));
            let c = MatMut::row_major(&mut c, N);
            gemm(N, N, N, 1.0, a, b, 0.0, c, Epilogue::None);
        });
    });
    2e-9 * (N * N * N) as f64 / seconds
}

/// GB/s that are read and written by a copy far beyond the caches (128 MB on each side).
pub fn gigabytes() -> f64 {
    const N: usize = 1 << 25;
    let (from, mut to) = (vec![1.0f32; N], vec![0.0f32; N]);
    let seconds = best(8, || {
        parallel::install(|| {
            parallel::chunks_mut(&mut to, 1 << 16, |i, part| {
                part.copy_from_slice(&from[i << 16..][..part.len()]);
            });
        });
    });
    8e-9 * N as f64 / seconds
}

/// Prints both as a JSON line.
pub fn print() {
    println!(
        "{{\"peer\":\"wengert\",\"workload\":\"ceiling\",\"threads\":{},\"gflops\":{:.1},\"gbs\":{:.1}}}",
        parallel::threads(),
        gflops(),
        gigabytes()
    );
}
