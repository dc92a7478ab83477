#!/usr/bin/env python3
"""Finds the f32 coefficients `NORMAL` of `src/lane/erf.rs`: e^(a²/2) Φ(-a) as a quotient of polynomials, 0 <= a <= 14.5.

    pip install numpy scipy && python3 fit_normal.py

Linear least squares, weighted until the largest relative errors are alike; the coefficients are rounded to f32 one after the
other and the rest fitted again.
"""
import numpy as np
from scipy.special import erfcx

N, D, END = 4, 5, 14.5
ORDER = [("n", 0), ("d", 5), ("n", 4), ("d", 4), ("n", 3), ("d", 1), ("n", 1), ("d", 3), ("n", 2), ("d", 2)]

nodes = np.cos((2 * np.arange(4000) + 1) / 8000 * np.pi)
high = END / (END + 2)
s = high / 2 * (1 + nodes)
a = 2 * s / (1 - s)
y = 0.5 * erfcx(a / np.sqrt(2))


def quotient(c):
    return sum(c["n", j] * a**j for j in range(N + 1)), 1 + sum(c["d", j] * a**j for j in range(1, D + 1))


def fit(fixed):
    free = [k for k in ORDER if k not in fixed]
    below, like, best = np.ones_like(a), np.ones_like(a), None
    for _ in range(60):
        c = dict(fixed)
        if free:
            column = lambda k: a ** k[1] if k[0] == "n" else -y * a ** k[1]
            right = y - sum((v * column(k) for k, v in fixed.items()), np.zeros_like(a))
            weight = np.sqrt(like) / y / below
            m = np.stack([column(k) for k in free], 1) * weight[:, None]
            size = np.linalg.norm(m, axis=0)
            found, *_ = np.linalg.lstsq(m / size, right * weight, rcond=None)
            c.update(zip(free, found / size))
        top, bottom = quotient(c)
        error = np.abs(top / bottom - y) / y
        below = np.abs(bottom)
        like *= error / error.max() + 1e-3
        like /= like.mean()
        if best is None or error.max() < best[0]:
            best = error.max(), c
    return best


fixed = {}
for key in ORDER:
    fixed[key] = float(np.float32(fit(fixed)[1][key]))
print("relative error 2^%.1f" % np.log2(fit(fixed)[0]))
print("N", [np.float32(fixed["n", j]) for j in range(N + 1)])
print("D", [1.0] + [np.float32(fixed["d", j]) for j in range(1, D + 1)])
