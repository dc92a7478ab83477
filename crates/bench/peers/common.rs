// What the Rust peers share: contents by SplitMix64, arguments, the measuring loop, the JSON line. Included by `#[path]`, so that
// every peer stays a package of its own, outside of the workspace, with its own lock file.

#[path = "../src/peak.rs"]
mod peak;
#[path = "../src/times.rs"]
mod times;

use peak::peak_rss_mb;
use std::time::{Duration, Instant};
use times::Times;

/// One training step, which returns the loss before the update.
pub type Step = Box<dyn FnMut() -> f64>;

fn splitmix(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `n` values, uniform on [-bound, bound).
pub fn uniform(seed: u64, n: usize, bound: f64) -> Vec<f32> {
    let value = |i| ((2.0 * (splitmix(seed, i) >> 40) as f64 / 16_777_216.0 - 1.0) * bound) as f32;
    (0..n as u64).map(value).collect()
}

/// `n` integers below `m`.
pub fn integers(seed: u64, n: usize, m: u64) -> Vec<i64> {
    let value = |i| ((splitmix(seed, i) >> 33) % m) as i64;
    (0..n as u64).map(value).collect()
}

/// Runs the workloads that the command line asks for: `WORKLOAD|all [--threads N] [--secs S] [--min-steps M]`.
///
/// One thread means one core: the process moves itself to the first core that it may use, through `taskset`. The pool of rayon has
/// N threads in any case (`RAYON_NUM_THREADS` is set before the first use of it by starting this program again).
pub fn main(peer: &str, names: &[&str], workload: impl Fn(&str) -> Step) {
    let start = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str, default: f64| match args.iter().position(|a| a == name) {
        None => default,
        Some(i) => match args.get(i + 1).and_then(|v| v.parse().ok()) {
            Some(v) => v,
            None => fail(peer, &format!("{name} expects a number")),
        },
    };
    let threads = value("--threads", 2.0) as usize;
    let (secs, min_steps) = (value("--secs", 2.0), value("--min-steps", 20.0) as usize);
    let name = args
        .first()
        .filter(|a| !a.starts_with("--"))
        .map_or("all", |s| s.as_str());
    let chosen: Vec<&str> = match name {
        "all" => names.to_vec(),
        _ if names.contains(&name) => vec![name],
        _ => fail(
            peer,
            &format!(
                "cannot run {name}: expected all or one of {}",
                names.join(", ")
            ),
        ),
    };
    if std::env::var("RAYON_NUM_THREADS").ok() != Some(threads.to_string()) {
        restart(peer, threads, &args);
    }
    let mut first = None;
    for name in chosen {
        let mut step = workload(name);
        let mut losses = vec![format!("{:.7}", step())];
        let first = *first.get_or_insert_with(|| start.elapsed().as_secs_f64() * 1e3);
        losses.extend((1..21).map(|_| format!("{:.7}", step())));
        let warm = Instant::now();
        while warm.elapsed() < Duration::from_secs(1) {
            step();
        }
        let mut times = Times::default();
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < secs || times.count() < min_steps {
            let t = Instant::now();
            step();
            times.push(t.elapsed().as_secs_f64() * 1e3);
        }
        let at = |q: f64| times.quantile(q);
        println!(
            "{{\"peer\":\"{peer}\",\"workload\":\"{name}\",\"threads\":{threads},\"median_ms\":{:.5},\"p10_ms\":{:.5},\
             \"n\":{},\"rss_mb\":{:.1},\"first_ms\":{first:.1},\"losses\":[{}]}}",
            at(0.5),
            at(0.1),
            times.count(),
            peak_rss_mb(),
            losses.join(",")
        );
    }
}

/// Starts this program again with a pool of `threads`, on one core if that is one.
fn restart(peer: &str, threads: usize, args: &[String]) -> ! {
    let program = std::env::current_exe().unwrap_or_else(|e| fail(peer, &e.to_string()));
    let mut command = if threads == 1 {
        let mut c = std::process::Command::new("taskset");
        c.args(["-c", &first_core()]).arg(program);
        c
    } else {
        std::process::Command::new(program)
    };
    match command
        .args(args)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .status()
    {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(e) => fail(
            peer,
            &format!("could not start: {e} (one thread needs `taskset`)"),
        ),
    }
}

fn status_line(key: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.to_string())
}

/// The first of the cores that this process may use.
fn first_core() -> String {
    let list = status_line("Cpus_allowed_list:").unwrap_or_default();
    let digits: String = list.chars().take_while(char::is_ascii_digit).collect();
    if digits.is_empty() {
        "0".into()
    } else {
        digits
    }
}

fn fail(peer: &str, message: &str) -> ! {
    eprintln!("{peer}: {message}");
    std::process::exit(2)
}
