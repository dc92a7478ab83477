"""Reference trajectories of the optimizers in double precision.

    python generate.py > trajectories.txt

needs torch and optax. Each line: name of the case, step, parameters after that step (17 digits). Parameters and
gradients come from a generator that the test repeats (`Lcg`), so they are not written down.
"""

import sys

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

SHAPES = [(3, 2), (4,), (), (0, 3)]
STEPS = 20
SHOWN = (1, 2, 5, 20)


class Lcg:
    def __init__(self, seed):
        self.x = seed

    def next(self):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 11) / 2**52 - 1.0


def numel(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def start():
    r = Lcg(1)
    return [[r.next() for _ in range(numel(s))] for s in SHAPES]


def gradients():
    """One list per step; None for a parameter without a gradient."""
    r = Lcg(2)
    steps = []
    for t in range(STEPS):
        g = [[r.next() * (1.0 if t != 6 else 30.0) for _ in range(numel(s))] for s in SHAPES]
        if t in (2, 9):
            g[1] = None
        steps.append(g)
    return steps


def show(name, t, values):
    if t in SHOWN:
        print(name, t, *[f"{v:.17g}" for p in values for v in p])


def torch_case(name, make, schedule=None):
    params = [torch.tensor(v).reshape(s).requires_grad_() for v, s in zip(start(), SHAPES)]
    opt = make(params)
    sched = schedule(opt) if schedule else None
    for t, grads in enumerate(gradients(), 1):
        for p, s, g in zip(params, SHAPES, grads):
            p.grad = None if g is None else torch.tensor(g).reshape(s)
        opt.step()
        if sched:
            sched.step()
        show(name, t, [p.detach().flatten().tolist() for p in params])


def torch_cases():
    o = torch.optim
    case = torch_case
    case("sgd", lambda p: o.SGD(p, lr=0.1))
    case("sgd_decay", lambda p: o.SGD(p, lr=0.1, weight_decay=0.03))
    case("sgd_momentum", lambda p: o.SGD(p, lr=0.1, momentum=0.9))
    case("sgd_dampening", lambda p: o.SGD(p, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.02))
    case("sgd_nesterov", lambda p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.02))
    case("adam", lambda p: o.Adam(p, lr=0.02))
    case("adam_decay", lambda p: o.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1))
    case("adam_amsgrad", lambda p: o.Adam(p, lr=0.02, betas=(0.9, 0.9), amsgrad=True))
    case("adamw", lambda p: o.AdamW(p, lr=0.02))
    case("adamw_decay", lambda p: o.AdamW(p, lr=0.02, weight_decay=0.3, betas=(0.7, 0.9)))
    case("adamw_amsgrad", lambda p: o.AdamW(p, lr=0.02, betas=(0.9, 0.9), amsgrad=True))
    case(
        "adam_cosine",
        lambda p: o.Adam(p, lr=0.02),
        lambda opt: o.lr_scheduler.CosineAnnealingLR(opt, 20, eta_min=0.001),
    )
    case(
        "sgd_step_decay",
        lambda p: o.SGD(p, lr=0.1, momentum=0.9),
        lambda opt: o.lr_scheduler.StepLR(opt, 5, gamma=0.3),
    )


torch_cases()
sys.stdout.flush()
