//! Single operations: `ops --threads N` answers requests on standard input, one a line: `elements pass seconds name`
//! (`pass` is `forward`, `backward`, `copy` or `read`), with `best median` in seconds, `elements` being `-` for
//! operations on matrices of their own sizes; with `--f64` those of a number of elements are in double precision.
//! `ops --list` prints the names. `crates/bench/peers/torch_ops.py` drives it.
#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use wengert::Float;
use wengert_bench::ops;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        ops::all::<f32>().iter().for_each(|o| println!("{}", o.0));
        ops::SIZED.iter().for_each(|o| println!("{}", o.0));
        ops::DOUBLE.iter().for_each(|o| println!("{}", o.0));
        return;
    }
    let (single, double) = (ops::all::<f32>(), ops::all::<f64>());
    let is_double = args.iter().any(|a| a == "--f64");
    let at = args.iter().position(|a| a == "--threads");
    let threads = at.and_then(|i| args.get(i + 1)?.parse().ok()).unwrap_or(2);
    if let Err(e) = wengert::tensor::parallel::set_threads(threads) {
        fail(&e);
    }
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (n, pass, budget, name) = (next(), next(), next(), next());
        let wrong = || {
            fail(&format!(
                "expected `elements pass seconds name`, found `{line}`"
            ))
        };
        let Ok(budget) = budget.parse() else { wrong() };
        if n == "-" {
            if !["forward", "backward"].contains(&pass) {
                fail(&format!("unknown pass `{pass}`"))
            }
            let single = ops::SIZED.iter().find(|o| o.0 == name);
            let double = ops::DOUBLE.iter().find(|o| o.0 == name);
            answer(match (single, double) {
                (Some(&(_, s, both, op)), _) => ops::measure(op, s, both, pass, budget),
                (_, Some(&(_, s, both, op))) => ops::measure(op, s, both, pass, budget),
                _ => fail(&format!("unknown operation `{name}` of its own size")),
            });
            continue;
        }
        let Ok(n) = n.parse() else { wrong() };
        // The floors move words of 32 bits.
        let words = if is_double { 2 * n } else { n };
        answer(match pass {
            "copy" => {
                let t = ops::copy_floor(words, threads, budget);
                (t, t)
            }
            "read" => {
                let t = ops::read_floor(words, threads, budget);
                (t, t)
            }
            "forward" | "backward" if is_double => measure(&double, name, n, pass, budget),
            "forward" | "backward" => measure(&single, name, n, pass, budget),
            _ => fail(&format!("unknown pass `{pass}`")),
        });
    }
}

fn measure<T: Float>(
    rows: &[ops::Row<T>],
    name: &str,
    n: usize,
    pass: &str,
    budget: f64,
) -> (f64, f64) {
    match rows.iter().find(|o| o.0 == name) {
        Some(&(_, op)) => ops::measure_at(op, n, pass, budget),
        None => fail(&format!("unknown operation `{name}`")),
    }
}

fn answer((best, median): (f64, f64)) {
    println!("{best:e} {median:e}");
    let _ = std::io::stdout().flush();
}

fn fail(message: &str) -> ! {
    eprintln!("ops: {message}");
    std::process::exit(2)
}
