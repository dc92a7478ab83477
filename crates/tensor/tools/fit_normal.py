#!/usr/bin/env python3
"""Finds the f32 coefficients `NORMAL` of `src/lane/erf.rs`: e^(a²/2) Φ(-a) (a + SHIFT) as a polynomial in
t = SHIFT / (a + SHIFT) - CENTER, for 0 <= a <= 14.5.

    pip install numpy scipy && python3 fit_normal.py [SHIFT CENTER]

Linear least squares, weighted until the largest relative errors are alike; the coefficients are rounded to f32 one after the
other and the rest fitted again. SHIFT and CENTER are those, of some near by, with which the rounding errors are smallest.
"""
import sys

import numpy as np
from scipy.special import erfcx

SHIFT, CENTER = map(float, sys.argv[1:] or (2.8984375, 0.6875))
DEGREE, END, NODES = 8, 14.5, 800

least = SHIFT / (END + SHIFT)
t = (1 + least) / 2 + (1 - least) / 2 * np.cos((2 * np.arange(NODES) + 1) / (2 * NODES) * np.pi) - CENTER
a = SHIFT * (1 - t - CENTER) / (t + CENTER)
y = 0.5 * erfcx(a / np.sqrt(2)) * (a + SHIFT)


def fit(fixed):
    like, best = np.ones_like(t), None
    rest = y - sum((c * t**i for i, c in enumerate(fixed)), np.zeros_like(t))
    for _ in range(25):
        c = list(fixed)
        if len(fixed) <= DEGREE:
            weight = np.sqrt(like) / y
            m = np.stack([t**i for i in range(len(fixed), DEGREE + 1)], 1) * weight[:, None]
            size = np.linalg.norm(m, axis=0)
            found, *_ = np.linalg.lstsq(m / size, rest * weight, rcond=None)
            c += list(found / size)
        error = np.abs(np.polynomial.polynomial.polyval(t, c) / y - 1)
        like *= error / error.max() + 1e-3
        like /= like.mean()
        if best is None or error.max() < best[0]:
            best = error.max(), c
    return best


fixed = []
while len(fixed) <= DEGREE:
    fixed.append(float(np.float32(fit(fixed)[1][len(fixed)])))
print("relative error 2^%.1f" % np.log2(fit(fixed)[0]))
print([float(str(np.float32(c))) for c in fixed])
