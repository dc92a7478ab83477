"""The table of benches/step.rs for PyTorch, and the ratios to it.

    python step.py [--threads N] [--with PROGRAM] [--cold] [--rules adam adamw "sgd momentum"]

PROGRAM is the compiled benches/step.rs (`cargo bench -p wengert-optim --bench step --no-run` names it); it runs before and
after PyTorch, and the better time of each line counts on both sides. With --cold, other memory is written before every run of
either; --rules leaves out the rest.
"""

import argparse
import os
import re
import subprocess
import time

import torch

args = argparse.ArgumentParser()
args.add_argument("--threads", type=int, default=2)
args.add_argument("--with", dest="program")
args.add_argument("--cold", action="store_true")
args.add_argument("--rules", nargs="*", default=[])
args = args.parse_args()
torch.set_num_threads(args.threads)
o = torch.optim


other = torch.zeros(150_000_000 if args.cold else 1)


def median(rounds, f):
    for _ in range(1 if args.cold else 3):
        f()
    times = []
    rounds = 12 if args.cold else rounds
    for _ in range(rounds):
        other.add_(1)
        t = time.perf_counter()
        f()
        times.append(time.perf_counter() - t)
    return sorted(times)[rounds // 2] * 1e3


def params(n, weight, bias):
    out = []
    for _ in range(n):
        for shape in (weight, bias):
            p = torch.randn(shape, requires_grad=True)
            p.grad = torch.randn(shape) * 0.01
            out.append(p)
    return out


RULES = {
    "adam": lambda p, **k: o.Adam(p, 1e-3, **k),
    "adamw": lambda p, **k: o.AdamW(p, 1e-3, **k),
    "sgd momentum": lambda p, **k: o.SGD(p, 1e-3, momentum=0.9, **k),
}
if args.rules:
    RULES = {name: make for name, make in RULES.items() if name in args.rules}
theirs, ours = {}, {}


def note(table, name, ms):
    table[name] = min(ms, table.get(name, ms))


def torch_times():
    found, scale = torch.zeros(1), torch.ones(1)
    big = params(1, (2500, 3999), (2500,))

    def checked(opt):
        """The step with a look at every gradient, as a gradient scaler takes it."""
        torch._amp_foreach_non_finite_check_and_unscale_([p.grad for p in big], found, scale)
        opt.step()

    for name, make in RULES.items():
        opt = make(big, fused=True)
        note(theirs, f"{name} fused", median(31, opt.step))
        note(theirs, f"{name} fused, checked", median(31, lambda: checked(opt)))
    if args.rules or args.cold:
        return
    note(theirs, "clip_grad_norm_", median(31, lambda: torch.nn.utils.clip_grad_norm_(big, 1e9)))
    del big
    note(theirs, "adam fused, 1,000 tensors", median(11, o.Adam(params(500, (100, 199), (100,)), 1e-3, fused=True).step))
    tiny = params(500, (8, 8), (8,))
    for name, make in RULES.items():
        note(theirs, f"{name} foreach, tiny", median(51, make(tiny, foreach=True).step))


def our_times():
    run = subprocess.run(
        [args.program, *(args.rules or (RULES if args.cold else [])), *(["--cold"] if args.cold else [])],
        capture_output=True, text=True, check=True, env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
    )
    for line in run.stdout.splitlines():
        if m := re.match(r"(.*?) +([\d.]+) ms$", line):
            note(ours, m[1].strip(), float(m[2]))


if args.program:
    our_times()
torch_times()
if args.program:
    our_times()
    torch_times()
for table in (theirs, ours):
    for name, ms in table.items():
        print(f"{name:40} {ms:9.4} ms")
if ours:
    # Time over that of the floor, of the floor with a look at the gradient, of PyTorch, and of PyTorch with such a look.
    print(f"\n{'10,000,000 parameters':28}{'floor':>8}{'looking':>9}{'fused':>8}{'fused, checked':>16}")
    for name in RULES:
        floor = min(ours[f"{name}: floor, {what}"] for what in ("a plain loop", "an empty rule"))
        looking = ours[f"{name}: floor with a look"]
        for how in ("product", "elementwise", "table", "clipped", "supplied", "supplied again", "unchecked"):
            t = ours[f"{name}, {how}"]
            print(
                f"{name + ', ' + how:28}{t / floor:8.2f}{t / looking:9.2f}"
                f"{t / theirs[name + ' fused']:8.2f}{t / theirs[name + ' fused, checked']:16.2f}"
            )
    if args.rules or args.cold:
        raise SystemExit
    print("1,000 tiny parameters, PyTorch's foreach over ours")
    for name in RULES:
        print(f"{name:28}{theirs[name + ' foreach, tiny'] / ours[name + ', tiny']:8.1f}")
