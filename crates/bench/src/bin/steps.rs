//! Whole training steps: `steps <workload|all> [--threads N] [--secs S] [--min-steps M]` prints one JSON line per workload.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};
use wengert_bench::{NAMES, workload};

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
    let Some(name) = args.first().filter(|a| !a.starts_with("--")) else {
        fail(&format!(
            "usage: steps <{}|all> [--threads N] [--secs S] [--min-steps M]",
            NAMES.join("|")
        ))
    };
    let names: Vec<&str> = if name == "all" {
        NAMES.to_vec()
    } else {
        vec![name]
    };
    if let Err(e) = wengert::tensor::parallel::set_global_threads(threads) {
        fail(&e);
    }
    for name in names {
        let Some(mut work) = workload(name) else {
            fail(&format!(
                "unknown workload {name}: expected one of {}",
                NAMES.join(", ")
            ))
        };
        let losses: Vec<String> = (0..21).map(|_| format!("{:.7}", work.step())).collect();
        let warm = Instant::now();
        while warm.elapsed() < Duration::from_secs(1) {
            work.step();
        }
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < secs || times.len() < min_steps {
            let t = Instant::now();
            work.step();
            times.push(t.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
        println!(
            "{{\"peer\":\"wengert\",\"workload\":\"{name}\",\"threads\":{threads},\"median_ms\":{:.5},\"p10_ms\":{:.5},\
             \"n\":{},\"rss_mb\":{:.1},\"losses\":[{}]}}",
            at(0.5),
            at(0.1),
            times.len(),
            peak_rss_mb(),
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
