//! GFLOP/s of matrix multiplication.
//!
//! `cargo bench -p wengert-tensor --bench gemm` prints a table. With `-- --serve` it answers requests on standard input
//! (`f32 nt 64 300 784 20`: type, layouts of A and B, m, n, k, milliseconds, and if there is a seventh word, as many products
//! that share B) with the best seconds per call and the share of the ceiling of one core, so that
//! `gemm_torch.py` can take turns between this and PyTorch. Threads are set with `RAYON_NUM_THREADS`.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm_batched};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel};
use wengert_tensor::{Real, Storage, parallel, simd};

const SHAPES: &[(&str, usize, usize, usize)] = &[
    ("nt", 64, 300, 784),
    ("nt", 64, 100, 300),
    ("nt", 64, 10, 100),
    ("tn", 300, 784, 64),
    ("tn", 100, 300, 64),
    ("tn", 10, 100, 64),
    ("nn", 64, 784, 300),
    ("nn", 64, 300, 100),
    ("nn", 64, 100, 10),
    ("nt", 256, 4096, 1024),
    ("tn", 4096, 1024, 256),
    ("nn", 256, 1024, 4096),
    ("nt", 64, 4096, 1024),
    ("nn", 64, 4096, 1024),
    ("nt", 32, 1024, 256),
    ("nn", 32, 1024, 256),
    ("nn", 512, 512, 512),
    ("nt", 512, 512, 512),
    ("tn", 512, 512, 512),
    ("nn", 1024, 1024, 1024),
    ("nt", 1024, 1024, 1024),
    ("nn", 2048, 2048, 2048),
    ("nn", 64, 36864, 576),
    ("nt", 32, 16, 16),
    ("nn", 32, 16, 16),
    ("nt", 32, 2, 16),
    ("nt", 32, 1, 16),
    ("nt", 1, 4096, 1024),
    ("nn", 1, 4096, 1024),
    ("nt", 1, 300, 784),
    ("nn", 128, 300, 784),
    ("nn", 32, 300, 784),
];

/// Multiply-adds that need nothing but registers, for the ceiling of this moment: clocks change under the feet.
struct Ceiling<T>(T);

impl<T: Real> Kernel for Ceiling<T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self) -> T {
        let x = T::Lane::<I>::new(self.0);
        let mut sums = [x; 192];
        for _ in 0..CEILING_STEPS {
            for s in &mut sums {
                *s = s.mul_add(x, x);
            }
        }
        sums.iter().fold(T::ZERO, |a, s| a + s.get())
    }
}
const CEILING_STEPS: usize = 2000;

fn ceiling<T: Real>() -> f64 {
    let start = Instant::now();
    black_box(simd::dispatch(Ceiling(black_box(T::from_f64(0.5)))));
    2.0 * 192.0 * CEILING_STEPS as f64 / start.elapsed().as_secs_f64()
}

/// Best seconds per call within about `budget`, and the median share of the ceiling of one core.
fn measure<T: Real>(
    layout: &str,
    batch: usize,
    (m, n, k): (usize, usize, usize),
    budget: Duration,
) -> (f64, f64) {
    // The memory of tensors, whose alignment counts.
    let fill = |len: usize| {
        let mut memory = Storage::<T>::zeroed("bench", len).expect("memory");
        for (i, x) in memory.as_mut_slice().iter_mut().enumerate() {
            *x = T::from_f64((i * 7919 % 1000) as f64 / 500.0 - 1.0);
        }
        memory
    };
    let (a, b, mut c) = (fill(batch * m * k), fill(k * n), fill(batch * m * n));
    let (a, b, c) = (a.as_slice(), b.as_slice(), c.as_mut_slice());
    let av = if layout.starts_with('t') {
        MatRef::row_major(a, m).t()
    } else {
        MatRef::row_major(a, k)
    };
    let bv = if layout.ends_with('t') {
        MatRef::row_major(b, k).t()
    } else {
        MatRef::row_major(b, n)
    };
    parallel::install(|| {
        let mut call = || {
            let cv = MatMut::row_major(black_box(&mut *c), n);
            gemm_batched(
                batch,
                ((m * k) as isize, 0, m * n),
                m,
                n,
                k,
                T::ONE,
                black_box(av),
                black_box(bv),
                T::ZERO,
                cv,
                Epilogue::None,
            );
        };
        call();
        let start = Instant::now();
        call();
        let repeat = (50e-6 / start.elapsed().as_secs_f64().max(1e-9))
            .ceil()
            .min(1e4) as u32;
        let begin = Instant::now();
        let (mut best, mut shares) = (f64::MAX, Vec::new());
        while begin.elapsed() < budget || best == f64::MAX {
            let before = ceiling::<T>();
            let start = Instant::now();
            for _ in 0..repeat {
                call();
            }
            let seconds = start.elapsed().as_secs_f64() / f64::from(repeat);
            let after = ceiling::<T>();
            best = best.min(seconds);
            shares.push(2.0 * (batch * m * n * k) as f64 / seconds / before.max(after));
        }
        shares.sort_unstable_by(f64::total_cmp);
        (best, shares[shares.len() / 2])
    })
}

fn main() {
    if std::env::args().any(|a| a == "--serve") {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("a request");
            let f: Vec<&str> = line.split_whitespace().collect();
            let num = |i: usize| f[i].parse::<usize>().expect("a number");
            let budget = Duration::from_millis(num(5) as u64);
            let run = if f[0] == "f32" {
                measure::<f32>
            } else {
                measure::<f64>
            };
            let batch = if f.len() > 6 { num(6) } else { 1 };
            let (seconds, share) = run(f[1], batch, (num(2), num(3), num(4)), budget);
            println!("{seconds} {share}");
            std::io::stdout().flush().expect("an open pipe");
        }
        return;
    }
    println!("{:?}, {} threads", simd::level(), parallel::threads());
    println!("     m      n      k            f32 us  GFLOP/s  ceiling  f64 GF/s  ceiling");
    for &(layout, m, n, k) in SHAPES {
        let budget = Duration::from_millis(30);
        let (t, share) = measure::<f32>(layout, 1, (m, n, k), budget);
        let (t64, share64) = measure::<f64>(layout, 1, (m, n, k), budget);
        let flops = 2e-9 * (m * n * k) as f64;
        println!(
            "{m:6} {n:6} {k:6} {layout:>4} {:12.3} {:8.1} {:7.0}% {:9.1} {:7.0}%",
            t * 1e6,
            flops / t,
            share * 100.0,
            flops / t64,
            share64 * 100.0
        );
    }
}
