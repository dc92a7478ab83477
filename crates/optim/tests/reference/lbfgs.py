"""PyTorch's L-BFGS in double precision: python lbfgs.py > lbfgs.txt

Each line: case, step, loss before the step, evaluations so far, parameters after it.
"""

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def quadratic(x):
    scale = 10.0 ** torch.arange(len(x))
    return 0.5 * (scale * (x - 1) ** 2).sum()


def bumpy(x):
    return (x**2 / 10 + torch.cos(3 * x)).sum() + (x[0] * x[1]) ** 2


def case(name, f, start, steps, **options):
    x = torch.tensor(start, requires_grad=True)
    o = torch.optim.LBFGS([x], **options)

    def closure():
        o.zero_grad()
        loss = f(x)
        loss.backward()
        return loss

    for t in range(1, steps + 1):
        loss = o.step(closure).item()
        evaluations = o.state[x]["func_evals"]
        print(name, t, f"{loss:.17g}", evaluations, *[f"{v:.17g}" for v in x.tolist()])


wolfe = dict(line_search_fn="strong_wolfe")
case("rosenbrock", rosenbrock, [-1.2, 1.0, 0.5, 2.0], 8, max_iter=5, **wolfe)
case("rosenbrock_short_memory", rosenbrock, [-1.2, 1.0, 0.5, 2.0], 5, max_iter=5, history_size=3, lr=0.5, **wolfe)
case("quadratic", quadratic, [3.0, -2.0, 0.5, 4.0, 1.5], 4, max_iter=4, **wolfe)
case("bumpy", bumpy, [2.0, -1.5, 0.3], 6, max_iter=3, max_eval=6, **wolfe)
case("bumpy_far", bumpy, [30.0, -21.5, 10.3], 6, max_iter=4, lr=3.0, **wolfe)
case("fixed", quadratic, [3.0, -2.0, 0.5], 5, max_iter=4, lr=0.3)
