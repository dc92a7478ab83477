//! Whole training steps: `steps [WORKLOAD|all] [--threads N] [--secs S] [--min-steps M]` prints one JSON line per workload:
//! median and 10th percentile of a step in ms, number of steps, peak memory of the process in MB, ms from the start of the
//! program to the end of its first step, the losses of the first 21 steps; and of one step, as the tape counts them: kernels,
//! floating-point operations in 1e9, MB that kernels read and write, MB of the buffers at most and of the values alive at
//! most. `steps ceiling` prints what the machine can do: GFLOP/s of a large matrix product, GB/s of a large copy.
//!
//! Each workload runs in a process of its own, a program beside this one (see [`PROGRAMS`]).
#![forbid(unsafe_code)]

use std::process::Command;
use wengert_bench::PROGRAMS;
use wengert_bench::measure::fail;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let name = match args.first().filter(|a| !a.starts_with("--")) {
        Some(_) => args.remove(0),
        None => "all".to_string(),
    };
    let runs: Vec<(&str, &str)> = (PROGRAMS.iter())
        .flat_map(|(program, names)| names.iter().map(|n| (*program, *n)))
        .chain([("steps-network", "ceiling")])
        .filter(|(_, n)| *n == name || name == "all" && *n != "ceiling")
        .collect();
    if runs.is_empty() {
        let names: Vec<&str> = PROGRAMS.iter().flat_map(|p| p.1.iter().copied()).collect();
        fail(&format!(
            "unknown workload {name}: expected all, ceiling or one of {}",
            names.join(", ")
        ));
    }
    let here = std::env::current_exe().unwrap_or_else(|e| fail(&e.to_string()));
    for (program, name) in runs {
        let path = here.with_file_name(format!("{program}{}", std::env::consts::EXE_SUFFIX));
        let status = Command::new(&path)
            .arg(name)
            .args(&args)
            .status()
            .unwrap_or_else(|e| {
                fail(&format!(
                    "{}: {e} (cargo build --release -p wengert-bench makes it)",
                    path.display()
                ))
            });
        if !status.success() {
            std::process::exit(status.code().unwrap_or(1));
        }
    }
}
