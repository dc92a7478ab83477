"""PyTorch's learning rates over 60 steps: python schedules.py > schedules.txt"""

import torch

s = torch.optim.lr_scheduler
STEPS = 60


def case(name, make, lr=0.1, key="lr", metric=None, **options):
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    o = torch.optim.SGD([p], lr=lr, momentum=0.9)
    sched = make(o)
    values = []
    for t in range(STEPS):
        values.append(o.param_groups[0][key])
        o.step()
        if metric:
            sched.step(metric(t))
        elif t + 1 < STEPS:
            sched.step()
    print(name, 0, *[f"{v:.17g}" for v in values])


def bumpy(t):
    return 1.0 / (1 + t) if t < 9 else 0.1 + 0.01 * ((t * 7) % 5)


case("step", lambda o: s.StepLR(o, 7, gamma=0.5))
case("multi_step", lambda o: s.MultiStepLR(o, [5, 20, 20, 45], gamma=0.3))
case("exponential", lambda o: s.ExponentialLR(o, 0.93))
case("polynomial", lambda o: s.PolynomialLR(o, 50, power=1.7))
case("linear", lambda o: s.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=30))
case("constant", lambda o: s.ConstantLR(o, factor=0.25, total_iters=9))
case("cosine", lambda o: s.CosineAnnealingLR(o, 60, eta_min=0.003))
case("restarts", lambda o: s.CosineAnnealingWarmRestarts(o, 13, eta_min=0.01))
case("restarts_growing", lambda o: s.CosineAnnealingWarmRestarts(o, 7, T_mult=2, eta_min=0.01))
for mode in ("triangular", "triangular2", "exp_range"):
    make = lambda o: s.CyclicLR(o, 0.01, 0.1, step_size_up=6, step_size_down=9, mode=mode, gamma=0.97,
                                base_momentum=0.8, max_momentum=0.9)
    case(f"cyclic_{mode}", make)
    case(f"cyclic_{mode}_momentum", make, key="momentum")
for name, options in [
    ("one_cycle", {}),
    ("one_cycle_linear", dict(anneal_strategy="linear", pct_start=0.25, div_factor=10, final_div_factor=100)),
    ("one_cycle_three", dict(three_phase=True)),
]:
    make = lambda o: s.OneCycleLR(o, 0.1, total_steps=60, **options)
    case(name, make)
    case(name + "_momentum", make, key="momentum")
case("lambda", lambda o: s.LambdaLR(o, lambda t: 1 / (1 + 0.1 * t)))
case("multiplicative", lambda o: s.MultiplicativeLR(o, lambda t: 0.9 if t % 3 else 1.05))
for strategy in ("cos", "linear"):
    make = lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.02, anneal_epochs=25, anneal_strategy=strategy)
    case(f"swa_{strategy}", make)
case(
    "warmup_cosine",
    lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=10), s.CosineAnnealingLR(o, 50)], [10]),
)
case("chained", lambda o: s.ChainedScheduler([s.ConstantLR(o, 0.5, total_iters=4), s.ExponentialLR(o, 0.9)]))
case("plateau", lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=3), metric=bumpy)
case(
    "plateau_max",
    lambda o: s.ReduceLROnPlateau(o, mode="max", factor=0.3, patience=2, threshold=0.01, threshold_mode="abs",
                                  cooldown=4, min_lr=0.002),
    metric=bumpy,
)
