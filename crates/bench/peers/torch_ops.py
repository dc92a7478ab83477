"""Single operations against PyTorch eager, in turn: `torch_ops.py [--program target/release/ops] [--threads N]
[--elements N] [--seconds S] [--only WORDS]` prints a table in Markdown, `--all` the ratios at three sizes with one and two
threads. Each cell is measured three times on both sides,
one after the other; the figures are medians of the best times (microseconds)."""

import argparse
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F


LABELS = {}


def labels(x):
    """A class for each row."""
    if x.shape not in LABELS:
        LABELS[x.shape] = torch.arange(x.shape[0]) * 7 % x.shape[1]
    return LABELS[x.shape]


def channels(x):
    return x.reshape(x.shape[0], 10, x.shape[1] // 10)


OPS = {
    "add": lambda x, b: x + b,
    "mul": lambda x, b: x * b,
    "div": lambda x, b: x / b,
    "maximum": lambda x, b: torch.maximum(x, b),
    "where": lambda x, b: torch.where(x > b, x, b),
    "sqrt": lambda x, b: x.sqrt(),
    "exp": lambda x, b: x.exp(),
    "ln": lambda x, b: x.log(),
    "sin": lambda x, b: x.sin(),
    "tanh": lambda x, b: x.tanh(),
    "erf": lambda x, b: x.erf(),
    "pow 2.5": lambda x, b: x.pow(2.5),
    "relu": lambda x, b: F.relu(x),
    "sigmoid": lambda x, b: x.sigmoid(),
    "gelu": lambda x, b: F.gelu(x),
    "silu": lambda x, b: F.silu(x),
    "softplus": lambda x, b: F.softplus(x),
    "clamp": lambda x, b: x.clamp(0.3, 1.2),
    "sum": lambda x, b: x.sum(),
    "sum rows": lambda x, b: x.sum(1),
    "sum columns": lambda x, b: x.sum(0),
    "mean": lambda x, b: x.mean(),
    "var rows": lambda x, b: x.var(1),
    "amax rows": lambda x, b: x.amax(1),
    "amax columns": lambda x, b: x.amax(0),
    "max rows": lambda x, b: x.max(1).values,
    "logsumexp rows": lambda x, b: x.logsumexp(1),
    "norm": lambda x, b: x.norm(),
    "prod columns": lambda x, b: x.prod(0),
    "cumsum rows": lambda x, b: x.cumsum(1),
    "softmax rows": lambda x, b: x.softmax(1),
    "softmax columns": lambda x, b: x.softmax(0),
    "log_softmax rows": lambda x, b: x.log_softmax(1),
    "mse": lambda x, b: F.mse_loss(x, b),
    "bce with logits": lambda x, b: F.binary_cross_entropy_with_logits(x, b),
    "cross entropy": lambda x, b: F.cross_entropy(x, labels(x)),
    "cross entropy, smoothed": lambda x, b: F.cross_entropy(x, labels(x), label_smoothing=0.1),
    "layer_norm": lambda x, b: F.layer_norm(x, x.shape[1:]),
    "rms_norm": lambda x, b: F.rms_norm(x, x.shape[1:], eps=1e-5),
    "batch_norm": lambda x, b: F.batch_norm(channels(x), None, None, training=True),
    "group_norm": lambda x, b: F.group_norm(channels(x), 2),
}


def measure(op, n, mode, budget):
    cols = 100 if n < 10_000 else 1000
    x = torch.rand(n // cols, cols) + 0.5
    b = torch.rand(n // cols, cols) + 0.45
    if mode == "forward":
        def run():
            with torch.no_grad():
                op(x, b)
    else:
        x.requires_grad_(True)
        with torch.no_grad():
            c = torch.rand_like(op(x, b)) - 0.3

        def run():
            torch.autograd.grad(op(x, b), x, c)
    start = time.perf_counter()
    for _ in range(3):
        run()
    group = min(max(int(2e-5 / ((time.perf_counter() - start) / 3)), 1), 1000)
    best = float("inf")
    count = 0
    start = time.perf_counter()
    while count < 5 or time.perf_counter() - start < budget:
        t = time.perf_counter()
        for _ in range(group):
            run()
        best = min(best, (time.perf_counter() - t) / group)
        count += 1
    return best


class Ours:
    """The program on the other side, with a number of threads."""

    def __init__(self, program, threads):
        self.process = subprocess.Popen([program, "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, elements, mode, seconds, name):
        self.process.stdin.write(f"{elements} {mode} {seconds} {name}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline().split()[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(a, threads, elements):
    """Rows of name -> [ours, torch] forward and [ours, torch] with derivative, and the time of a copy."""
    torch.set_num_threads(threads)
    ours = Ours(a.program, threads)
    floor = ours.ask(elements, "copy", a.seconds, "-")
    rows = {}
    for name, op in OPS.items():
        if a.only and not any(w in name for w in a.only.split(",")):
            continue
        row = []
        for mode in ("forward", "backward"):
            pairs = [(ours.ask(elements, mode, a.seconds, name), measure(op, elements, mode, a.seconds)) for _ in range(a.rounds)]
            row += [statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)]
        rows[name] = row
    ours.close()
    return rows, floor


def table(rows, floor, threads, elements):
    print(f"{elements} elements, {threads} threads; copy of one tensor: {floor * 1e6:.1f} us\n")
    print("| operation | forward | torch | ratio | with derivative | torch | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, (f, tf, b, tb) in rows.items():
        cells = [f"{f * 1e6:.1f}", f"{tf * 1e6:.1f}", f"{tf / f:.2f}", f"{b * 1e6:.1f}", f"{tb * 1e6:.1f}", f"{tb / b:.2f}"]
        print("| " + " | ".join([name, *cells]) + " |")
    print(flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--program", default="target/release/ops")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--elements", type=int, default=100_000)
    p.add_argument("--seconds", type=float, default=0.02)
    p.add_argument("--only", default="")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--all", action="store_true", help="1e3, 1e5 and 1e7 elements with 1 and 2 threads, as one table of ratios")
    a = p.parse_args()
    if not a.all:
        table(*compare(a, a.threads, a.elements), a.threads, a.elements)
        return
    runs = [(t, n) for t in (1, 2) for n in (1_000, 100_000, 10_000_000)]
    found = {run: compare(a, *run) for run in runs}
    for at, title in ((0, "Forward"), (2, "With derivative")):
        print(f"{title}: PyTorch's time over ours\n")
        print("| operation | " + " | ".join(f"{n:.0e}, {t} thread{'s' * (t > 1)}".replace("e+0", "e") for t, n in runs) + " |")
        print("|---|" + "---|" * len(runs))
        for name in found[runs[0]][0]:
            ratios = [found[r][0][name][at + 1] / found[r][0][name][at] for r in runs]
            print(f"| {name} | " + " | ".join(f"{x:.2f}" for x in ratios) + " |")
        print()
    print("Copy of one tensor: " + ", ".join(f"{found[r][1] * 1e6:.1f}" for r in runs) + " us\n")
    table(*found[1, 100_000], 1, 100_000)
    table(*found[1, 10_000_000], 1, 10_000_000)


main()
