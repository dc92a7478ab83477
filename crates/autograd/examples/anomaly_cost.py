"""What the anomaly mode costs while it is off: `python crates/autograd/examples/anomaly_cost.py [--starts N]`.

Builds `anomaly_cost.rs` as it is and with the feature `without-anomaly`, which takes the check out of the executor, and runs
the two programs in turns, in an order that is turned round every time, so that a drift of the clock meets both. The programs are
started anew many times, because where memory happens to lie makes some per cent. Prints the median over the starts of the
median ratio of neighbours, and where the middle half lies; a third program, a copy of the first, shows what noise alone does.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import tempfile

p = argparse.ArgumentParser()
p.add_argument("--starts", type=int, default=40)
p.add_argument("--rounds", type=int, default=20)
a = p.parse_args()
folder = tempfile.mkdtemp()
target = os.environ.get("CARGO_TARGET_DIR", "target")


def build(name, *features):
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "wengert-autograd", "--example", "anomaly_cost", *features], check=True)
    program = os.path.join(folder, name)
    shutil.copy(os.path.join(target, "release/examples/anomaly_cost"), program)
    return program


programs = {"without": build("without", "--features", "without-anomaly"), "off": build("off"), "off again": build("again")}


def run(program):
    one_thread = dict(os.environ, RAYON_NUM_THREADS="1")
    return subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread)


def ask(f, work, steps):
    f.stdin.write(f"{work} {steps}\n")
    f.stdin.flush()
    return float(f.stdout.readline())


for work, steps in (("tiny", 100), ("layers", 30)):
    off, again, times = [], [], []
    for start in range(a.starts):
        running = {name: run(path) for name, path in programs.items()}
        rounds = []
        for i in range(a.rounds):
            order = list(running)
            order = order[i % 3:] + order[:i % 3]
            rounds.append({name: ask(running[name], work, steps) for name in (order if i % 2 else order[::-1])})
        off.append(statistics.median(r["off"] / r["without"] for r in rounds[1:]))
        again.append(statistics.median(r["off again"] / r["off"] for r in rounds[1:]))
        times.append(statistics.median(r["off"] for r in rounds[1:]))
        for f in running.values():
            f.stdin.close()
            f.wait()
    low, middle, high = statistics.quantiles(off, n=4)
    print(f"{work}: {statistics.median(times) * 1e6:.1f} us a step; with the check, off, over without it: "
          f"{middle:.4f} ({low:.4f} to {high:.4f}); the same program twice: {statistics.median(again):.4f}", flush=True)
shutil.rmtree(folder)
