"""Single operations against PyTorch eager, in turn: `torch_ops.py [--program target/release/ops] [--threads N]
[--elements N] [--seconds S] [--only WORDS]` prints a table in Markdown, `--all` the ratios at three sizes with one and two
threads, `--further` takes further operations, `--f64` double precision, `--sized` makes a table of matrix products and other operations on matrices of their own sizes. Each cell is measured three times on both sides,
one after the other; the figures are medians of the best times (microseconds)."""

import argparse
import json
import os
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
    "gelu far out": lambda x, b: F.gelu(x * 20),
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
    "softmax rows far apart": lambda x, b: (x * 300).softmax(1),
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
    "transpose": lambda x, b: x.t().contiguous(),
    "flip rows": lambda x, b: x.flip(1),
    "cat rows": lambda x, b: torch.cat([x, b], 1),
    "slice rows": lambda x, b: x.narrow(1, 5, x.shape[1] - 10).contiguous(),
    "pad": lambda x, b: F.pad(x, (2, 2, 2, 2)),
    "repeat": lambda x, b: x.repeat(2, 1),
}

FURTHER = {
    **{n: (lambda f: lambda x, b: f(x))(getattr(torch, n)) for n in "neg abs sign rsqrt square reciprocal exp2 expm1 log2 log10 log1p cos tan atan sinh cosh asinh erfc lgamma digamma floor round trunc frac sinc nan_to_num isfinite".split()},
    **{n: (lambda f: lambda x, b: f(x))(getattr(F, n)) for n in "logsigmoid relu6 mish softsign hardsigmoid hardswish tanhshrink".split()},
    "cbrt": lambda x, b: x.pow(1 / 3),
    "gelu_tanh": lambda x, b: F.gelu(x, approximate="tanh"),
    "asin of x - 1": lambda x, b: (x - 1).asin(),
    "acos of x - 1": lambda x, b: (x - 1).acos(),
    "atanh of x - 1": lambda x, b: (x - 1).atanh(),
    "acosh of x + 1": lambda x, b: (x + 1).acosh(),
    "erfinv of x - 1": lambda x, b: (x - 1).erfinv(),
    "atan2": lambda x, b: torch.atan2(x, b),
    "hypot": lambda x, b: torch.hypot(x, b),
    "pow": lambda x, b: torch.pow(x, b),
    "minimum": lambda x, b: torch.minimum(x, b),
    "lerp": lambda x, b: torch.lerp(x, b, 0.3),
    "logaddexp": lambda x, b: torch.logaddexp(x, b),
    "greater": lambda x, b: x > b,
    "leaky_relu of x - 1": lambda x, b: F.leaky_relu(x - 1),
    "selu of x - 1": lambda x, b: F.selu(x - 1),
    "elu of x - 1": lambda x, b: F.elu(x - 1),
    "celu of x - 1": lambda x, b: F.celu(x - 1),
    "hardtanh": lambda x, b: F.hardtanh(x),
    "softshrink": lambda x, b: F.softshrink(x),
    "hardshrink": lambda x, b: F.hardshrink(x),
    "threshold": lambda x, b: F.threshold(x, 1.0, 0.0),
    "glu": lambda x, b: F.glu(x, 1),
    "mean rows": lambda x, b: x.mean(1),
    "mean columns": lambda x, b: x.mean(0),
    "var": lambda x, b: x.var(),
    "var columns": lambda x, b: x.var(0),
    "std rows": lambda x, b: x.std(1),
    "amax": lambda x, b: x.amax(),
    "amin rows": lambda x, b: x.amin(1),
    "prod": lambda x, b: x.prod(),
    "norm rows": lambda x, b: torch.linalg.vector_norm(x, 2, 1),
    "norm 1": lambda x, b: torch.linalg.vector_norm(x, 1),
    "norm 3": lambda x, b: torch.linalg.vector_norm(x, 3),
    "logsumexp columns": lambda x, b: x.logsumexp(0),
    "cumsum columns": lambda x, b: x.cumsum(0),
    "cumprod rows": lambda x, b: x.cumprod(1),
    "logcumsumexp rows": lambda x, b: x.logcumsumexp(1),
    "log_softmax columns": lambda x, b: x.log_softmax(0),
    "l1": lambda x, b: F.l1_loss(x, b),
    "huber": lambda x, b: F.huber_loss(x, b, delta=0.3),
    "instance_norm": lambda x, b: F.instance_norm(channels(x)),
}

# Without a derivative in PyTorch.
STEPS = {"greater", "isfinite"}

# Operations on matrices of their own sizes: those of the operands, and whether the derivative is taken by both.
SIZED = {
    **{f"matmul {n}": ((n, n), (n, n), True, lambda x, b: x @ b) for n in (512, 1024, 2048)},
    "matmul 64 x 1024 x 4096": ((64, 1024), (1024, 4096), True, lambda x, b: x @ b),
    "matmul 64 x 4096 x 1024": ((64, 4096), (4096, 1024), True, lambda x, b: x @ b),
    "transpose 2048": ((2048, 2048), (1, 1), False, lambda x, b: x.t().contiguous()),
    **{f"sort rows {m} x {n}": ((m, n), (1, 1), False, lambda x, b: x.sort(1).values) for m, n in ((100_000, 8), (10_000, 100), (1000, 1000))},
    **{f"sort columns {m} x {n}": ((m, n), (1, 1), False, lambda x, b: x.sort(0).values) for m, n in ((1000, 1000), (8, 100_000))},
    "sort rows 10 x 100000": ((10, 100_000), (1, 1), False, lambda x, b: x.sort(1).values),
    "sort 1000000": ((1, 1_000_000), (1, 1), False, lambda x, b: x.sort(1).values),
    "sort 1000000, in order before": ((1, 1_000_000), (1, 1), False, lambda x, b: x.cumsum(1).sort(1).values),
    "sort 1000000, few values": ((1, 1_000_000), (1, 1), False, lambda x, b: (x * 10).floor().sort(1).values),
    **{f"topk 10 rows {m} x {n}": ((m, n), (1, 1), False, lambda x, b: x.topk(10, 1).values) for m, n in ((10_000, 100), (1000, 1000))},
    "topk 10 columns 1000 x 1000": ((1000, 1000), (1, 1), False, lambda x, b: x.topk(10, 0).values),
    "topk 100 of 1000000": ((1, 1_000_000), (1, 1), False, lambda x, b: x.topk(100, 1).values),
    "median rows 1000 x 1000": ((1000, 1000), (1, 1), False, lambda x, b: x.median(1).values),
    "median 1000000": ((1, 1_000_000), (1, 1), False, lambda x, b: x.median(1).values),
    "quantile rows 1000 x 1000": ((1000, 1000), (1, 1), False, lambda x, b: x.quantile(0.3, 1)),
    **{f"sort rows {m} x {n}, f64": ((m, n), (1, 1), False, lambda x, b: x.sort(1).values) for m, n in ((10_000, 100), (1000, 1000))},
    "sort 1000000, f64": ((1, 1_000_000), (1, 1), False, lambda x, b: x.sort(1).values),
    "topk 10 rows 1000 x 1000, f64": ((1000, 1000), (1, 1), False, lambda x, b: x.topk(10, 1).values),
    "median rows 1000 x 1000, f64": ((1000, 1000), (1, 1), False, lambda x, b: x.median(1).values),
}


def measure_at(op, n, mode, budget, dtype):
    """An operation on matrices of n elements, the derivative by the first."""
    cols = 100 if n < 10_000 else 1000
    return measure(op, (n // cols, cols), (n // cols, cols), False, mode, budget, dtype)


def measure(op, x_shape, b_shape, both, mode, budget, dtype=torch.float32):
    x = torch.rand(x_shape, dtype=dtype) + 0.5
    b = torch.rand(b_shape, dtype=dtype) + 0.45
    if mode == "forward":
        def run():
            with torch.no_grad():
                op(x, b)
    else:
        x.requires_grad_(True)
        b.requires_grad_(both)
        by = (x, b) if both else x
        with torch.no_grad():
            c = torch.rand_like(op(x, b)) - 0.3

        def run():
            torch.autograd.grad(op(x, b), by, c)
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

    def __init__(self, program, threads, double=False):
        self.process = subprocess.Popen([program, "--threads", str(threads)] + ["--f64"] * double, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, elements, mode, seconds, name):
        self.process.stdin.write(f"{elements} {mode} {seconds} {name}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline().split()[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(a, threads, elements):
    """Rows of name -> [ours, torch] forward, [ours, torch] with derivative, and the times of a copy and of a read beside them."""
    torch.set_num_threads(threads)
    ours = Ours(a.program, threads, a.f64)
    dtype = torch.float64 if a.f64 else torch.float32
    rows = {}
    for name, op in (FURTHER if a.further else OPS).items():
        if a.only and not any(w in name for w in a.only.split(",")):
            continue
        rounds = []
        for _ in range(a.rounds):
            # Memory alone, in warm buffers: a copy (one read, one write) and a read.
            floors = [ours.ask(elements, pass_, a.seconds / 4, "-") for pass_ in ("copy", "read")]
            pairs = [(ours.ask(elements, mode, a.seconds, name), measure_at(op, elements, mode, a.seconds, dtype)) for mode in (("forward",) * 2 if name in STEPS else ("forward", "backward"))]
            rounds.append([*pairs[0], *pairs[1], *floors])
        rows[name] = [statistics.median(column) for column in zip(*rounds)]
    ours.close()
    return rows


# Rows that little but memory bounds: reads and writes of whole tensors, forward. A channel of batch_norm is spread over all
# of a tensor that no cache holds: it is read for the statistics and once more for the result.
MEMORY = {
    "add": (2, 1), "mul": (2, 1), "div": (2, 1), "maximum": (2, 1), "sqrt": (1, 1), "relu": (1, 1), "clamp": (1, 1),
    "sum": (1, 0), "sum rows": (1, 0), "sum columns": (1, 0), "mean": (1, 0), "amax rows": (1, 0), "amax columns": (1, 0),
    "norm": (1, 0), "mse": (2, 0), "layer_norm": (1, 1), "rms_norm": (1, 1), "batch_norm": (2, 1), "group_norm": (1, 1),
    "softmax rows": (1, 1), "log_softmax rows": (1, 1), "cumsum rows": (1, 1), "var rows": (1, 0), "exp": (1, 1), "tanh": (1, 1),
}


def floor_of(name, copy, read):
    """Seconds that moving the operands and the result of an operation takes, at the bandwidth measured beside it."""
    if name not in MEMORY:
        return None
    reads, writes = MEMORY[name]
    return (reads - writes) * read + writes * copy


def table(rows, threads, elements):
    copy, read = (statistics.median(r[i] for r in rows.values()) for i in (4, 5))
    print(f"{elements} elements, {threads} threads; one tensor read: {read * 1e6:.1f} us, copied: {copy * 1e6:.1f} us\n")
    print("| operation | forward | torch | ratio | with derivative | torch | ratio | forward / floor |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (f, tf, b, tb, copy, read) in rows.items():
        cells = [f"{f * 1e6:.1f}", f"{tf * 1e6:.1f}", f"{tf / f:.2f}", f"{b * 1e6:.1f}", f"{tb * 1e6:.1f}", f"{tb / b:.2f}"]
        floor = floor_of(name, copy, read)
        cells.append("" if floor is None else f"{f / floor:.2f}")
        print("| " + " | ".join([name, *cells]) + " |")
    print(flush=True)


def sized(a):
    """The table of operations on matrices of their own sizes."""
    runs = [(mode, t) for mode in ("forward", "backward") for t in (1, 2)]
    heads = [f"{'with derivative' if mode == 'backward' else mode}, {t} thread{'s' * (t > 1)} | torch | ratio" for mode, t in runs]
    print("| operation | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * (3 * len(heads)))
    ours = {t: Ours(a.program, t) for t in (1, 2)}
    for name, (x, b, both, op) in SIZED.items():
        if a.only and not any(w in name for w in a.only.split(",")):
            continue
        cells = []
        dtype = torch.float64 if name.endswith("f64") else torch.float32
        for mode, t in runs:
            torch.set_num_threads(t)
            pairs = [(ours[t].ask("-", mode, a.seconds, name), measure(op, x, b, both, mode, a.seconds, dtype)) for _ in range(a.rounds)]
            f, tf = (statistics.median(p[i] for p in pairs) for i in (0, 1))
            cells += [f"{f * 1e6:.0f}", f"{tf * 1e6:.0f}", f"{tf / f:.2f}"]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)
    for o in ours.values():
        o.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--program", default="target/release/ops")
    p.add_argument("--threads", type=int, help="of one size; 2 unless told")
    p.add_argument("--elements", type=int, help="of one size; 100000 unless told")
    p.add_argument("--seconds", type=float, default=0.02)
    p.add_argument("--only", default="")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--all", action="store_true", help="1e3, 1e5 and 1e7 elements with 1 and 2 threads, as one table of ratios")
    p.add_argument("--keep", default="", help="with --all: keep each size's figures in files that begin so, and take up what is there")
    p.add_argument("--one", action="store_true", help="with --keep: one size in a call")
    p.add_argument("--further", action="store_true", help="further elementwise operations, reductions and normalizations in place of the others")
    p.add_argument("--f64", action="store_true", help="in double precision")
    p.add_argument("--sized", action="store_true", help="matrix products, a transposed copy and sorting, microseconds with 1 and 2 threads")
    a = p.parse_args()
    if (a.all or a.sized) and (a.threads or a.elements):
        p.error("--all and --sized have their own --threads and --elements")
    if a.sized and (a.all or a.further) or a.keep and not a.all or a.one and not a.keep:
        p.error("--sized is a table of its own, without --all and --further; --keep needs --all, --one needs --keep")
    if a.sized:
        sized(a)
        return
    if not a.all:
        threads, elements = a.threads or 2, a.elements or 100_000
        table(compare(a, threads, elements), threads, elements)
        return
    runs = [(t, n) for t in (1, 2) for n in (1_000, 100_000, 10_000_000)]
    found = {}
    for run in runs:
        if a.keep and os.path.exists(name := f"{a.keep}.{run[0]}.{run[1]}"):
            with open(name) as f:
                found[run] = json.load(f)
            continue
        found[run] = compare(a, *run)
        if a.keep:
            with open(name, "w") as f:
                json.dump(found[run], f)
        if a.one:
            return
    for at, title in ((0, "Forward"), (2, "With derivative")):
        print(f"{title}: PyTorch's time over ours\n")
        print("| operation | " + " | ".join(f"{n:.0e}, {t} thread{'s' * (t > 1)}".replace("e+0", "e") for t, n in runs) + " |")
        print("|---|" + "---|" * len(runs))
        for name in found[runs[0]]:
            ratios = [found[r][name][at + 1] / found[r][name][at] for r in runs]
            print(f"| {name} | " + " | ".join(f"{x:.2f}" for x in ratios) + " |")
        print()
    for t, n in runs[1:3] + runs[4:]:
        table(found[t, n], t, n)


main()
