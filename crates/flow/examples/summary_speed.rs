//! Time per value of a summary, by detail and size: `cargo run --release -p wengert-flow --example summary_speed`.

use std::hint::black_box;
use std::time::Instant;
use wengert_flow::profile::{Bins, Detail, Summary};

fn main() {
    let mut seed = 1u64;
    let mut noise = || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    println!("values      moments    quantiles    histogram   (ns per value)");
    for n in [64, 1 << 10, 1 << 14, 1 << 18, 1 << 22] {
        let v: Vec<f32> = (0..n).map(|_| noise()).collect();
        let time = |d: Detail| {
            // The best of many single calls: other work on the machine only adds.
            let best = (0..((1 << 24) / n).clamp(5, 2000))
                .map(|_| {
                    let t = Instant::now();
                    black_box(Summary::with(black_box(&v), d));
                    t.elapsed().as_secs_f64()
                })
                .fold(f64::INFINITY, f64::min);
            best * 1e9 / n as f64
        };
        println!(
            "{n:<10} {:>8.3} {:>12.3} {:>12.3}",
            time(Detail::MOMENTS),
            time(Detail::QUANTILES),
            time(Detail {
                quantiles: false,
                ..Detail::histogram(Bins::Auto)
            })
        );
    }
}
