#!/usr/bin/env python3
"""Training steps of wengert and of every peer that is built, one after the other, several rounds: a table of medians and ratios, one of peak
memory, and a comparison of the losses.

    cargo build --release -p wengert-bench
    for p in dfdx candle burn; do (cd crates/bench/peers/$p && cargo build --release); done
    python3 crates/bench/peers/run.py --threads 2 --workloads w1,w2 --rounds 3 --python path/to/python/with/torch/and/jax

Cells are ms per step, the median over the rounds of the medians of each run, and how many times as long as wengert's that is. One thread means
pinned to one core, with a pool of one. What is not built or not installed is named and left out. `--json FILE` keeps the lines of all runs;
`--from FILE` prints the tables of lines that were kept before, so that a long comparison can be made in pieces.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
WORKLOADS = ["w1", "w2", "w4", "w5", "w6", "w7", "w10", "w10b"]
# Networks of other kinds, for wengert and PyTorch.
MORE = ["deep", "single", "gru", "bilstm", "rnn", "gpt", "bottleneck", "resnet", "depthwise", "autoencoder", "dilated", "dropout"]

# What each peer can run, and why not the rest.
PEERS = {
    "wengert": (WORKLOADS + MORE, ""),
    "torch": (WORKLOADS + MORE, ""),
    "torch-compiled": (WORKLOADS[:6] + MORE, "chains of w10 are not modules"),
    "jax": (WORKLOADS, "its program has the numbered workloads only"),
    "burn": (WORKLOADS, "its program has the numbered workloads only"),
    "candle": (WORKLOADS, "its program has the numbered workloads only"),
    "dfdx": (["w1", "w2", "w4", "w10", "w10b"], "convolution layers need a nightly compiler; no LSTM"),
}

# Losses of PyTorch at steps 0, 1, 5, 20, before the update of that step.
LOSSES = {
    "w1": (2.312832, 2.194788, 1.778356, 0.04803136),
    "w2": (0.3455904, 0.3357500, 0.2686696, 0.2544706),
    "w4": (0.3344206, 0.3300700, 0.3130902, 0.2336591),
    "w5": (2.300267, 2.288191, 2.211200, 2.038295),
    "w6": (2.724908, 2.172009, 1.012673, 0.05715767),
    "w7": (4.173276, 4.167938, 4.146050, 4.001489),
"deep": (2.324813, 2.068897, 1.536878, 0.1149333),
    "single": (2.298296, 1.903047, 0.3958069, 1.54972e-06),
    "gru": (4.174489, 4.172072, 4.160736, 4.046423),
    "bilstm": (4.174387, 4.173329, 4.167839, 4.118345),
    "rnn": (4.17524, 4.171915, 4.158379, 4.08988),
    "gpt": (4.337624, 4.241124, 3.954417, 2.431424),
    "bottleneck": (2.446967, 2.120509, 1.321389, 0.0410056),
    "resnet": (2.346504, 2.266531, 1.794436, 0.2252383),
    "depthwise": (2.332236, 2.292266, 1.979412, 1.213116),
    "autoencoder": (0.5834719, 0.5755293, 0.5274701, 0.339594),
    "dilated": (2.34486, 2.305844, 2.23543, 1.811221),
    "w10": (1.0001**1000,) * 4,
    "w10b": (200.0,) * 4,
}
STEPS = (0, 1, 5, 20)
AGREE = 1e-4


def commands(a):
    """The command of each peer that can run here; says what is missing."""
    found, missing = {}, []
    if os.path.exists(a.program):
        found["wengert"] = [a.program]
    else:
        missing.append(f"wengert: no {a.program} (cargo build --release -p wengert-bench)")
    for name in ("burn", "candle", "dfdx"):
        places = [os.path.join(d, "release", f"{name}-steps") for d in (a.target, os.path.join(HERE, name, "target")) if d]
        program = next((p for p in places if os.path.exists(p)), None)
        if program:
            found[name] = [program]
        else:
            missing.append(f"{name}: not built (cd {os.path.relpath(os.path.join(HERE, name))} && cargo build --release)")
    for name, module, script in (("torch", "torch", "torch_steps.py"), ("jax", "jax", "jax_steps.py")):
        path = shutil.which(a.python)
        if not path or subprocess.run([path, "-c", f"import {module}"], capture_output=True).returncode:
            extra = "torch numpy" if name == "torch" else "jax optax numpy"
            missing.append(f"{name}: {a.python} cannot import {module} (--python PATH; pip install {extra})")
            continue
        found[name] = [path, os.path.join(HERE, script)]
        if name == "torch":
            if shutil.which(os.environ.get("CXX", "g++")):
                found["torch-compiled"] = [*found[name], "--compile"]
            else:
                missing.append("torch-compiled: no C++ compiler (g++, or the one that CXX names)")
    return {n: found[n] for n in PEERS if n in found}, missing


def run(name, command, workload, a):
    """One run: the line that it printed, or None."""
    env = dict(os.environ)
    for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        env[variable] = str(a.threads)
    cores = sorted(os.sched_getaffinity(0))[: a.threads]
    flag = ["--compile"] if "--compile" in command else []
    command = [c for c in command if c != "--compile"]
    command = [*command, workload, "--threads", str(a.threads), "--secs", str(a.secs), "--min-steps", str(a.min_steps), *flag]
    if not shutil.which("taskset"):
        sys.exit("run.py: taskset is missing (package util-linux)")
    command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    try:
        p = subprocess.run(command, env=env, capture_output=True, text=True, timeout=a.timeout)
    except subprocess.TimeoutExpired:
        print(f"{name} {workload}: no result within {a.timeout} s", file=sys.stderr)
        return None
    lines = [l for l in p.stdout.splitlines() if l.startswith("{")]
    if p.returncode or not lines:
        print(f"{name} {workload}: exit {p.returncode}: {p.stderr.strip()[-400:]}", file=sys.stderr)
        return None
    return {**json.loads(lines[-1]), "peer": name}


def deviations(line):
    """Relative distance of the losses from PyTorch's, by step; with dropout they have none."""
    expected = LOSSES.get(line["workload"], ())
    return {s: abs(line["losses"][s] - e) / abs(e) for s, e in zip(STEPS, expected)}


def number(x):
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def tables(lines):
    for threads in sorted({l["threads"] for l in lines}, reverse=True):
        runs = {}
        for l in lines:
            if l["threads"] == threads:
                runs.setdefault((l["peer"], l["workload"]), []).append(l)
        names = [p for p in PEERS if any(k[0] == p for k in runs)]
        works = [w for w in WORKLOADS + MORE if any(k[1] == w for k in runs)]
        head = "| workload | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1)
        print(f"\n{threads} thread{'s' if threads > 1 else ''}: ms per step (times wengert's), rounds: {max(map(len, runs.values()))}\n\n{head}")
        for w in works:
            ms = {p: statistics.median(l["median_ms"] for l in runs[p, w]) for p in names if (p, w) in runs}
            ours = ms.get("wengert")
            cell = lambda p: "–" if p not in ms else number(ms[p]) + (f" ({ms[p] / ours:.2f})" if ours and p != "wengert" else "")
            print(f"| {w} | " + " | ".join(cell(p) for p in names) + " |")
        print(f"\npeak resident memory of the process, MB\n\n{head}")
        for w in works:
            cell = lambda p: "–" if (p, w) not in runs else number(max(l["rss_mb"] for l in runs[p, w]))
            print(f"| {w} | " + " | ".join(cell(p) for p in names) + " |")
        print(f"\nlosses at steps 0, 1, 5, 20, relative distance from PyTorch's reference values")
        for p in names:
            worst = {w: max(max(deviations(l).values()) for l in runs[p, w]) for w in works if (p, w) in runs and w in LOSSES}
            far = [w for w in worst if worst[w] > AGREE]
            if worst.keys() - far:
                near = max(v for w, v in worst.items() if w not in far)
                print(f"- {p}: {', '.join(w for w in worst if w not in far)} within {near:.1e}")
            for w in far:
                d = deviations(runs[p, w][0])
                print(f"- {p} {w}: apart: " + ", ".join(f"step {s} {v:.1e}" for s, v in d.items()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--workloads", default=",".join(WORKLOADS), help="by name; more: " + ", ".join(MORE))
    p.add_argument("--peers", default=",".join(PEERS))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--secs", type=float, default=1.0, help="of measuring in each run, after one of warming up")
    p.add_argument("--min-steps", type=int, default=5)
    p.add_argument("--timeout", type=float, default=600)
    p.add_argument("--python", default=os.environ.get("PYTHON", "python3"), help="interpreter with torch and jax (or PYTHON)")
    p.add_argument("--program", default=os.path.join(ROOT, "target", "release", "steps"))
    p.add_argument("--target", default=os.environ.get("CARGO_TARGET_DIR"), help="target directory of the Rust peers, if not their own")
    p.add_argument("--json", help="append the lines of all runs to this file")
    p.add_argument("--from", dest="source", help="only print the tables of the lines in this file")
    a = p.parse_args()
    if a.source:
        with open(a.source) as f:
            return tables([json.loads(l) for l in f])
    works, peers = a.workloads.replace("more", ",".join(MORE)).split(","), a.peers.split(",")
    for kind, given, known in (("workload", works, WORKLOADS + MORE), ("peer", peers, PEERS)):
        for g in given:
            if g not in known:
                p.error(f"unknown {kind} {g}: expected some of {', '.join(known)}")
    found, missing = commands(a)
    for m in missing:
        if m.split(":")[0] in peers:
            print(f"left out: {m}", file=sys.stderr)
    found = {n: c for n, c in found.items() if n in peers}
    for n in found:
        skipped = [w for w in works if w not in PEERS[n][0]]
        if skipped:
            print(f"left out: {n} {', '.join(skipped)}: {PEERS[n][1]}", file=sys.stderr)
    lines = []
    for _ in range(a.rounds):
        for w in works:
            for n, command in found.items():
                line = run(n, command, w, a) if w in PEERS[n][0] else None
                if line:
                    lines.append(line)
                    if a.json:
                        with open(a.json, "a") as f:
                            print(json.dumps(line), file=f)
    tables(lines)


main()
