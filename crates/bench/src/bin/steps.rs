//! Whole training steps: `steps [WORKLOAD|all] [--threads N] [--secs S] [--min-steps M]` prints one JSON line per workload:
//! median and 10th percentile of a step in ms, number of steps, peak memory of the process in MB, ms from the start of the
//! program to the end of its first step (of the first workload), the losses of the first 21 steps; and of one step, as the
//! tape counts them: kernels, floating-point operations in 1e9, MB that kernels read and write, MB of the buffers at most
//! and of the values alive at most. `steps ceiling` prints what the machine can do: GFLOP/s of a large matrix product, GB/s
//! of a large copy.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};
use wengert_bench::times::Times;
use wengert_bench::{NAMES, ceiling, workload};

fn main() {
    let start = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str, default: f64| -> f64 {
        match args.iter().position(|a| a == name) {
            None => default,
            Some(i) => match args.get(i + 1).and_then(|v| v.parse().ok()) {
                Some(v) => v,
                None => fail(&format!("{name} expects a number")),
            },
        }
    };
    let threads = value("--threads", 2.0) as usize;
    let (secs, min_steps) = (value("--secs", 2.0), value("--min-steps", 20.0) as usize);
    let name = match args.first().filter(|a| !a.starts_with("--")) {
        Some(name) => name.as_str(),
        None => "all",
    };
    let names: Vec<&str> = if name == "all" {
        NAMES.to_vec()
    } else {
        vec![name]
    };
    if let Err(e) = wengert::tensor::parallel::set_global_threads(threads) {
        fail(&e);
    }
    if name == "ceiling" {
        println!(
            "{{\"peer\":\"wengert\",\"workload\":\"ceiling\",\"threads\":{threads},\"gflops\":{:.1},\"gbs\":{:.1}}}",
            ceiling::gflops(),
            ceiling::gigabytes()
        );
        return;
    }
    let mut first = None;
    for name in names {
        let Some(mut work) = workload(name) else {
            fail(&format!(
                "unknown workload {name}: expected all, ceiling or one of {}",
                NAMES.join(", ")
            ))
        };
        let mut losses = vec![format!("{:.7}", work.step())];
        let first = *first.get_or_insert_with(|| start.elapsed().as_secs_f64() * 1e3);
        losses.extend((1..21).map(|_| format!("{:.7}", work.step())));
        let warm = Instant::now();
        while warm.elapsed() < Duration::from_secs(1) {
            work.step();
        }
        let mut times = Times::default();
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < secs || times.count() < min_steps {
            let t = Instant::now();
            work.step();
            times.push(t.elapsed().as_secs_f64() * 1e3);
        }
        let before = work.tape().counters();
        work.step();
        let after = work.tape().counters();
        let memory = work.tape().memory();
        let at = |q: f64| times.quantile(q);
        println!(
            "{{\"peer\":\"wengert\",\"workload\":\"{name}\",\"threads\":{threads},\"median_ms\":{:.5},\"p10_ms\":{:.5},\
             \"n\":{},\"rss_mb\":{:.1},\"first_ms\":{first:.1},\"kernels\":{},\"gflop\":{:.4},\"traffic_mb\":{:.2},\
             \"buffers_mb\":{:.3},\"alive_mb\":{:.3},\"losses\":[{}]}}",
            at(0.5),
            at(0.1),
            times.count(),
            peak_rss_mb(),
            after.kernels - before.kernels,
            (after.flops - before.flops) as f64 * 1e-9,
            (after.bytes - before.bytes) as f64 * 1e-6,
            memory.peak as f64 * 1e-6,
            after.live as f64 * 1e-6,
            losses.join(",")
        );
    }
}

fn fail(message: &str) -> ! {
    eprintln!("steps: {message}");
    std::process::exit(2)
}

/// VmHWM of this process.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    let kib: Option<f64> = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    kib.map_or(f64::NAN, |k| k / 1024.0)
}
