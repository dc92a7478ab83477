"""What the anomaly mode costs while it is off: `python crates/autograd/examples/anomaly_cost.py [--rounds N]`.

Builds `anomaly_cost.rs` as it is and with the feature `without-anomaly`, which takes the check out of the executor, and runs
the two programs in turns, in an order that is turned round every time, so that a drift of the clock meets both. Prints the
median of the ratios of neighbours, and where the middle half of them lies; a third program, a copy of the first, shows what
noise alone does.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import tempfile

p = argparse.ArgumentParser()
p.add_argument("--rounds", type=int, default=300)
a = p.parse_args()
folder = tempfile.mkdtemp()
target = os.environ.get("CARGO_TARGET_DIR", "target")


def build(name, *features):
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "wengert-autograd", "--example", "anomaly_cost", *features], check=True)
    program = os.path.join(folder, name)
    shutil.copy(os.path.join(target, "release/examples/anomaly_cost"), program)
    return subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


programs = {"without": build("without", "--features", "without-anomaly"), "off": build("off"), "off again": build("again")}


def ask(name, work, steps):
    f = programs[name]
    f.stdin.write(f"{work} {steps}\n")
    f.stdin.flush()
    return float(f.stdout.readline())


for work, steps in (("tiny", 100), ("layers", 100)):
    ratios = {"off": [], "off again": []}
    times = []
    for name in programs:
        ask(name, work, steps)
    for i in range(a.rounds):
        order = list(programs)
        order = order[i % 3:] + order[:i % 3]
        found = {name: ask(name, work, steps) for name in (order if i % 2 else order[::-1])}
        times.append(found["off"])
        for name in ratios:
            ratios[name].append(found[name] / found["without"])
    low, middle, high = statistics.quantiles(ratios["off"], n=4)
    same = statistics.median(x / y for x, y in zip(ratios["off again"], ratios["off"]))
    print(f"{work}: {statistics.median(times) * 1e6:.1f} us a step; with the check, off, over without it: "
          f"{middle:.4f} ({low:.4f} to {high:.4f}); the same program twice: {same:.4f}", flush=True)
for f in programs.values():
    f.stdin.close()
    f.wait()
shutil.rmtree(folder)
