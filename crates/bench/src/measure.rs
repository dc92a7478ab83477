//! The measuring loop of the programs behind `steps`.

use crate::Workload;
use crate::peak::peak_rss_mb;
use crate::times::Times;
use std::time::{Duration, Instant};

/// What takes a number.
const OPTIONS: [&str; 3] = ["--threads", "--secs", "--min-steps"];

/// Runs the workload that the command line names and prints its line; see `steps`.
pub fn main(workload: impl Fn(&str) -> Option<Box<dyn Workload>>) {
    let start = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Every line is JSON already: `--json` asks for what there is.
    let mut rest = args.iter().skip(1).filter(|a| *a != "--json");
    while let Some(option) = rest.next() {
        if !OPTIONS.contains(&option.as_str()) {
            fail(&format!(
                "unknown option {option}: expected {} or --json",
                OPTIONS.join(", ")
            ));
        }
        rest.next();
    }
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
    let name = args.first().map_or("", String::as_str);
    if let Err(e) = wengert::tensor::parallel::set_threads(threads) {
        fail(&e);
    }
    let Some(mut work) = workload(name) else {
        fail(&format!("unknown workload {name}"))
    };
    let mut losses = vec![format!("{:.7}", work.step())];
    let first = start.elapsed().as_secs_f64() * 1e3;
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

/// Ends the program with a message.
pub fn fail(message: &str) -> ! {
    eprintln!("steps: {message}");
    std::process::exit(2)
}
