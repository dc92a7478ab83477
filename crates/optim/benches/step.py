"""The table of benches/step.rs for PyTorch: python step.py [threads]"""

import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)


def median(rounds, f):
    for _ in range(3):
        f()
    times = []
    for _ in range(rounds):
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


def run(name, make, ps, rounds):
    o = make(ps)
    print(f"{name:32} {median(rounds, o.step):9.4f} ms")


o = torch.optim
print("threads", torch.get_num_threads())
print("10,000,000 parameters")
big = params(1, (2500, 3999), (2500,))
for name, make in [
    ("adam fused", lambda p: o.Adam(p, 1e-3, fused=True)),
    ("adam foreach", lambda p: o.Adam(p, 1e-3, foreach=True)),
    ("adamw fused", lambda p: o.AdamW(p, 1e-3, fused=True)),
    ("sgd momentum fused", lambda p: o.SGD(p, 1e-3, momentum=0.9, fused=True)),
    ("sgd momentum foreach", lambda p: o.SGD(p, 1e-3, momentum=0.9, foreach=True)),
]:
    run(name, make, big, 31)
found = torch.zeros(1)
scale = torch.ones(1)


def checked(o):
    """The step with a look at every gradient, as a gradient scaler takes it."""
    torch._amp_foreach_non_finite_check_and_unscale_([p.grad for p in big], found, scale)
    o.step()


for name, make in [
    ("adam fused, finiteness checked", lambda p: o.Adam(p, 1e-3, fused=True)),
    ("sgd momentum fused, checked", lambda p: o.SGD(p, 1e-3, momentum=0.9, fused=True)),
]:
    opt = make(big)
    print(f"{name:32} {median(31, lambda: checked(opt)):9.4f} ms")
print(f"{'clip_grad_norm_':32} {median(31, lambda: torch.nn.utils.clip_grad_norm_(big, 1e9)):9.4f} ms")
del big
print("10,000,000 parameters in 1,000 tensors")
run("adam fused", lambda p: o.Adam(p, 1e-3, fused=True), params(500, (100, 199), (100,)), 31)
print("1,000 tiny parameters (8x8 and 8)")
tiny = params(500, (8, 8), (8,))
for name, make in [
    ("adam fused", lambda p: o.Adam(p, 1e-3, fused=True)),
    ("adam foreach", lambda p: o.Adam(p, 1e-3, foreach=True)),
    ("adamw foreach", lambda p: o.AdamW(p, 1e-3, foreach=True)),
    ("sgd momentum foreach", lambda p: o.SGD(p, 1e-3, momentum=0.9, foreach=True)),
]:
    run(name, make, tiny, 101)
