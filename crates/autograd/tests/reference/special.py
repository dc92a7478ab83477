"""The elementwise table at ±0, ±∞, NaN and very large numbers: values and derivatives of PyTorch in f64.

    python special.py > special.txt

A line: name, values, then the derivative of their sum for each operand. One operand takes the numbers of ONE, two take
all pairs of the numbers of TWO.
"""

import itertools

import torch

from elementwise import ROWS

INF, NAN = float("inf"), float("nan")
ONE = [-INF, -1e300, -1.5, -0.0, 0.0, 1.5, 1e300, INF, NAN]
TWO = [-INF, -2.0, -0.0, 0.0, 0.5, 3.0, INF, NAN]


def text(t):
    return " ".join(f"{v:.10g}" for v in t.tolist())


def main():
    for name, f in ROWS.items():
        arity = f.__code__.co_argcount if hasattr(f, "__code__") and f.__name__ == "<lambda>" else None
        if name.endswith(("_grad", "_base", "_exponent", "_")) and name not in ("where_", "bce_with_logits_"):
            continue
        for n in [arity] if arity else [1, 2]:
            if n == 1:
                columns = [ONE]
            elif n == 2:
                columns = list(zip(*itertools.product(TWO, TWO)))
            else:
                continue
            x = [torch.tensor(c, dtype=torch.float64, requires_grad=True) for c in columns]
            try:
                y = f(*x)
            except (TypeError, RuntimeError):
                continue
            if y.requires_grad:
                g = torch.autograd.grad(y.sum(), x, allow_unused=True)
            else:
                g = [None] * n
            g = [torch.zeros_like(x[0]) if v is None else v for v in g]
            print("|".join([name, *map(text, [y.detach(), *g])]))
            break


if __name__ == "__main__":
    main()
