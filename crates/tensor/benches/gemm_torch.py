"""Matrix multiplication against PyTorch, taking turns, so that both meet the same machine.

    cargo build --release -p wengert-tensor --bench gemm     # prints the path of the executable with --message-format=json
    python crates/tensor/benches/gemm_torch.py EXECUTABLE [--threads 1] [--rounds 5] [--type f32] [--other EXECUTABLE]

Every executable answers the requests described in gemm.rs.
"""

import argparse
import os
import re
import subprocess
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("executable")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--ms", type=int, default=20)
parser.add_argument("--type", default="f32")
parser.add_argument("--other", action="append", default=[])
parser.add_argument("--only", help="regular expression on 'nt 64 300 784'")
args = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)
import torch

torch.set_num_threads(args.threads)


def serve(path):
    env = dict(os.environ, RAYON_NUM_THREADS=str(args.threads))
    p = subprocess.Popen([path, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(layout, m, n, k):
        p.stdin.write(f"{args.type} {layout} {m} {n} {k} {args.ms}\n")
        p.stdin.flush()
        return float(p.stdout.readline().split()[0])

    return ask


def with_torch(layout, m, n, k):
    dtype = {"f32": torch.float32, "f64": torch.float64}[args.type]
    a = torch.rand(k, m, dtype=dtype).t() if layout[0] == "t" else torch.rand(m, k, dtype=dtype)
    b = torch.rand(n, k, dtype=dtype).t() if layout[1] == "t" else torch.rand(k, n, dtype=dtype)
    c = torch.empty(m, n, dtype=dtype)
    torch.mm(a, b, out=c)
    start = time.perf_counter()
    torch.mm(a, b, out=c)
    repeat = min(10000, int(50e-6 / max(time.perf_counter() - start, 1e-9)) + 1)
    best, begin = 1e9, time.perf_counter()
    while time.perf_counter() - begin < args.ms / 1000:
        start = time.perf_counter()
        for _ in range(repeat):
            torch.mm(a, b, out=c)
        best = min(best, (time.perf_counter() - start) / repeat)
    return best


shapes = re.findall(r'^    \("(\w\w)", (\d+), (\d+), (\d+)\)', Path(__file__).with_name("gemm.rs").read_text(), re.M)
names = ["wengert", "torch"] + [Path(o).name for o in args.other]
runs = [serve(args.executable), with_torch] + [serve(o) for o in args.other]
print(f"{args.type}, {args.threads} threads, GFLOP/s (times as fast as torch)")
print(" " * 28 + "".join(f"{n:>18}" for n in names))
for layout, *size in shapes:
    m, n, k = map(int, size)
    if args.only and not re.search(args.only, f"{layout} {m} {n} {k}"):
        continue
    best = [1e9] * len(runs)
    for _ in range(args.rounds):
        for i, run in enumerate(runs):
            best[i] = min(best[i], run(layout, m, n, k))
    flops = 2e-9 * m * n * k
    cells = "".join(f"{flops / t:9.1f} ({best[1] / t:5.2f})  " for t in best)
    print(f"{layout} {m:6} {n:6} {k:6} {best[0] * 1e6:9.2f} us {cells}", flush=True)
