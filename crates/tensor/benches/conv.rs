//! GFLOP/s of convolution and its two adjoints.
//!
//! `cargo bench -p wengert-tensor --bench conv` prints a table: shape, then for each of the three milliseconds, GFLOP/s and
//! the share of the ceiling of the threads in use (multiply-adds that need nothing but registers). A word after `--`
//! chooses the shapes whose name contains it. Threads are set with `RAYON_NUM_THREADS`.

use std::hint::black_box;
use std::time::{Duration, Instant};
use wengert_tensor::batch_norm::BatchNorm;
use wengert_tensor::conv::{self, Channels, Geometry};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel};
use wengert_tensor::{Real, parallel, simd};

/// Name, batch, channels in and out, groups, size of image, kernel, stride, padding.
type Shape = (
    &'static str,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
);

const SHAPES: &[Shape] = &[
    ("plain 1", 64, 1, 32, 1, 28, 3, 1, 0),
    ("plain 2", 64, 32, 64, 1, 26, 3, 1, 0),
    ("resnet20 stem", 64, 3, 16, 1, 32, 3, 1, 1),
    ("resnet20 16", 64, 16, 16, 1, 32, 3, 1, 1),
    ("resnet20 16-32", 64, 16, 32, 1, 32, 3, 2, 1),
    ("resnet20 32", 64, 32, 32, 1, 16, 3, 1, 1),
    ("resnet20 64", 64, 64, 64, 1, 8, 3, 1, 1),
    ("resnet20 point", 64, 32, 64, 1, 16, 1, 2, 0),
    ("single 56", 32, 64, 64, 1, 56, 3, 1, 1),
    ("resnet50 stem", 4, 3, 64, 1, 224, 7, 2, 3),
    ("resnet50 point", 16, 256, 64, 1, 56, 1, 1, 0),
    ("resnet50 14", 16, 256, 256, 1, 14, 3, 1, 1),
    ("resnet50 7", 16, 512, 512, 1, 7, 3, 1, 1),
    ("depthwise 56", 16, 128, 128, 128, 56, 3, 1, 1),
    ("depthwise 14", 16, 512, 512, 512, 14, 3, 1, 1),
    ("groups 32", 16, 128, 128, 32, 28, 3, 1, 1),
];

/// Multiply-adds that need nothing but registers.
struct Ceiling(f32);
impl Kernel for Ceiling {
    type Output = f32;
    #[inline(always)]
    fn run<I: Isa>(self) -> f32 {
        let x = <f32 as Real>::Lane::<I>::new(self.0);
        let mut sums = [x; 192];
        for _ in 0..STEPS {
            for s in &mut sums {
                *s = s.mul_add(x, x);
            }
        }
        sums.iter().fold(0.0, |a, s| a + s.get())
    }
}
const STEPS: usize = 5000;

fn ceiling() -> f64 {
    let threads = parallel::threads();
    let seconds = best(Duration::from_millis(20), || {
        parallel::tasks(threads, |_| {
            black_box(simd::dispatch(Ceiling(black_box(0.5))));
        });
    });
    2.0 * 192.0 * (STEPS * threads) as f64 / seconds
}

fn best(budget: Duration, mut f: impl FnMut() + Send) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < budget {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    println!(
        "{:16} {:>36} {:>22} {:>22}",
        "ms, GFLOP/s, %", "forward", "input", "weight"
    );
    for &(name, batch, input, output, groups, size, kernel, stride, padding) in SHAPES {
        if !asked.is_empty() && !asked.iter().any(|a| name.contains(a.as_str())) {
            continue;
        }
        let s = |n| [1, n, n];
        let p = [(0, 0), (padding, padding), (padding, padding)];
        let g = Geometry::forward("conv", s(size), s(kernel), s(stride), p, [1; 3], groups)
            .expect("a shape that fits");
        let c = Channels {
            batch,
            input,
            output,
        };
        let fill =
            |n: usize| -> Vec<f32> { (0..n).map(|i| (i * 7 % 13) as f32 * 0.1 - 0.6).collect() };
        let volume = |s: [usize; 3]| s.iter().product::<usize>();
        let mut x = fill(batch * input * volume(g.input));
        let mut w = fill(output * input / groups * g.taps());
        let mut y = fill(batch * output * volume(g.output));
        let flops = 2.0 * (y.len() * input / groups * g.taps()) as f64;
        let budget = Duration::from_millis(150);
        let (times, top) = parallel::install(|| {
            let times = [
                best(budget, || conv::forward(&g, &c, &x, &w, &mut y)),
                best(budget, || conv::input(&g, &c, &y, &w, &mut x)),
                best(budget, || conv::weight(&g, &c, &x, &y, &mut w)),
            ];
            (times, ceiling())
        });
        print!("{name:16} {:5.0} peak", top * 1e-9);
        for t in times {
            print!(
                " {:9.3} {:6.1} {:3.0}%",
                t * 1e3,
                flops / t * 1e-9,
                100.0 * flops / t / top
            );
        }
        println!();
    }
    if asked.is_empty() || asked.iter().any(|a| a == "norm") {
        norms();
    }
}

/// Batch normalization, with a relu behind it: milliseconds forward and backward.
fn norms() {
    for (n, channels, inner) in [(64, 64, 1024), (64, 16, 1024), (64, 32, 256), (64, 64, 64)] {
        let job = BatchNorm {
            n,
            channels,
            inner,
            eps: 1e-5,
            relu: true,
        };
        let x: Vec<f32> = (0..n * channels * inner)
            .map(|i| (i * 7 % 13) as f32 * 0.1 - 0.6)
            .collect();
        let (mut y, mut dx) = (x.clone(), x.clone());
        let [mut mean, mut var, mut dw, mut db] = [(); 4].map(|()| vec![1.0f32; channels]);
        let budget = Duration::from_millis(100);
        let times = parallel::install(|| {
            let forward = best(budget, || {
                job.forward(&x, None, None, &mut y, &mut mean, &mut var);
            });
            let backward = best(budget, || {
                job.backward(&x, &y, &mean, &var, None, None, &mut dx, &mut dw, &mut db);
            });
            [forward, backward].map(|t| t * 1e3)
        });
        println!(
            "batch norm {n} x {channels} x {inner}: {:.3} {:.3} ms",
            times[0], times[1]
        );
    }
}
