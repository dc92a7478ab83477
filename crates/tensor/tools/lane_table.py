#!/usr/bin/env python3
"""Writes `tests/data/lane_f64.txt`: values of the elementary functions at random and edge points, for the f64 tests.

    pip install python-flint && python3 lane_table.py [POINTS [FILE [FUNCTION...]]]

Ball arithmetic of 400 bits (and more where balls are too wide): every value is proved. A line holds the function, the
argument or arguments, the value rounded to f64 and the rest rounded to f64, as hexadecimal bits.
"""
import math
import pathlib
import random
import struct
import sys

from flint import acb, arb, ctx


def bits(x):
    return "%016x" % struct.unpack("<Q", struct.pack("<d", x))[0]


def split(f, *args):
    """f(args) as an unevaluated sum of two floats."""
    for prec in (300, 2000, 8000):
        ctx.prec = prec
        y = f(*(arb(a) for a in args))
        if y.is_nan():
            continue
        if y.rad() == 0 or y.is_zero() or float((y.rad() / abs(y)).mid()) < 2.0**-130:
            break
    else:
        return None
    hi = to_float(y)
    if math.isinf(hi):
        return hi, 0.0
    return hi, to_float(y - arb(hi))


def to_float(y):
    """Correctly rounded (the library rounds to nearest, subnormal numbers aside)."""
    m = y.mid()
    if abs(m) < arb(2.0**-1022):
        scaled = m * arb(2) ** 1074
        n = scaled.floor().unique_fmpz()
        r = scaled - n
        n = int(n)
        if r > arb(0.5) or (r == arb(0.5) and n & 1):
            n += 1
        return math.copysign(math.ldexp(abs(n), -1074), -1.0 if m < 0 else 1.0)
    if abs(m) >= arb(2) ** 1024:
        return math.copysign(math.inf, -1.0 if m < 0 else 1.0)
    return float(m)


def erfinv(x):
    y = arb(float(x.erfinv().mid())) if hasattr(x, "erfinv") else None
    return x.erfinv()


def lgamma(x):
    if x > 0:
        return x.lgamma()
    return abs(x.gamma()).log() if x > -150 else (arb.pi() / abs(x.sin_pi() * x)).log() - (-x).lgamma()


def polygamma(n):
    def f(x):
        return acb(x).polygamma(n).real if hasattr(acb, "polygamma") else None
    return f


def rng(name):
    return random.Random("wengert " + name)


def uniform(r, low, high):
    return r.uniform(low, high)


def logarithmic(r, low, high):
    """Magnitudes from 2^low to 2^high, both signs."""
    return math.ldexp(r.uniform(1.0, 2.0), r.randint(low, high - 1)) * r.choice((-1.0, 1.0))


ALL = ("log", -1074, 1024)
#   name: function, domain test, ranges
FUNCTIONS = {
    "exp": (lambda x: x.exp(), None, [(-746, 710), (-2, 2), ("log", -60, 10)], [709.782712893384, -708.4, -745.13, 88.72283]),
    "exp2": (lambda x: arb(2) ** x, None, [(-1075, 1024), (-2, 2), ("log", -60, 10)], [1.0, -1.0, 0.5, 1023.9999999999999, -1074.0, -1074.5]),
    "expm1": (lambda x: x.expm1(), None, [(-40, 710), (-2, 2), ("log", -1074, 10)], [5e-324, -5e-324, 1e-300]),
    "ln": (lambda x: x.log(), lambda x: x > 0, [(0, 4), (0.5, 2), ALL], [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.9999999999999999, 1.0000000000000002, 0.9396175450602392]),
    "log2": (lambda x: x.log() / arb(2).log(), lambda x: x > 0, [(0, 4), (0.5, 2), ALL], [5e-324, 8.0, 0.125, 0.9999999999999999, 1.0000000000000002, 1.0654046895108633]),
    "log10": (lambda x: x.log() / arb(10).log(), lambda x: x > 0, [(0, 4), (0.5, 2), ALL], [5e-324, 10.0, 1000.0, 0.9999999999999999, 1.0000000000000002, 1.0682908149198946]),
    "log1p": (lambda x: x.log1p(), lambda x: x > -1, [(-1, 4), (-0.5, 0.5), ALL], [5e-324, -0.9999999999999999, 1.7976931348623157e308]),
    "tanh": (lambda x: x.tanh(), None, [(-20, 20), (-1, 1), ALL], [5e-324, 19.0615]),
    "sigmoid": (lambda x: 1 / (1 + (-x).exp()), None, [(-745, 745), (-40, 40), (-2, 2), ("log", -60, 10)], [-745.13, 36.8]),
    "erf": (lambda x: x.erf(), None, [(-6, 6), (-2, 2), ("log", -1074, 4)], [5e-324, 1e-300, 5.9, 1.125]),
    "erfc": (lambda x: x.erfc(), None, [(-6, 28), (-2, 2), (0.4, 1.3), ("log", -60, 4)], [26.5, 27.2, 0.8125]),
    "sinh": (lambda x: x.sinh(), None, [(-711, 711), (-2, 2), ALL], [5e-324, 710.4, -710.4]),
    "cosh": (lambda x: x.cosh(), None, [(-711, 711), (-2, 2), ALL], [710.4]),
    "asinh": (lambda x: x.asinh(), None, [(-10, 10), (-1, 1), ALL], [5e-324, 1.7976931348623157e308]),
    "acosh": (lambda x: x.acosh(), lambda x: x >= 1, [(1, 3), (1, 1.01), (1, 100), ("log", 0, 1024)], [1.0000000000000002, 1.7976931348623157e308]),
    "atanh": (lambda x: x.atanh(), lambda x: abs(x) < 1, [(-1, 1), (-0.6, 0.6), ("log", -1074, 0)], [5e-324, 0.9999999999999999]),
    "cbrt": (lambda x: x.root(3) if x > 0 else -(-x).root(3), lambda x: x != 0, [(-3, 3), ALL], [5e-324, 8.0, -27.0, 1.7976931348623157e308]),
    "sin": (lambda x: x.sin(), None, [(-4, 4), (-100, 100), ALL], [5e-324, 6381956970095103 * 2.0**797, 3.141592653589793, 1.5707963267948966, 1e22, 1.7976931348623157e308, 72.50611062043859]),
    "cos": (lambda x: x.cos(), None, [(-4, 4), (-100, 100), ALL], [6381956970095103 * 2.0**797, 3.141592653589793, 1.5707963267948966, 1e22, 1.7976931348623157e308, 1.0491002451665237]),
    "tan": (lambda x: x.tan(), None, [(-4, 4), (-100, 100), ALL], [5e-324, 6381956970095103 * 2.0**797, 3.141592653589793, 1.5707963267948966, 1e22, 1.7976931348623157e308]),
    "asin": (lambda x: x.asin(), lambda x: abs(x) <= 1, [(-1, 1), (0.4, 0.6), ("log", -1074, 0)], [5e-324, 1.0, -1.0, 0.9999999999999999]),
    "acos": (lambda x: x.acos(), lambda x: -1 <= x < 1, [(-1, 1), (-0.6, 0.6), ("log", -60, 0)], [-1.0, 0.9999999999999999]),
    "atan": (lambda x: x.atan(), None, [(-3, 3), (-1, 1), ALL], [5e-324, 1.7976931348623157e308]),
    "erfinv": (erfinv, lambda x: abs(x) < 1, [(-1, 1), (0.9, 1), ("log", -1074, 0), ("near1",)], [5e-324, 0.9999999999999999, 0.1332849227362718, 0.8240505267058393]),
    "gelu": (lambda x: x * (-x / arb(2).sqrt()).erfc() / 2, None, [(-38, 9), (-3, 3), (-1.5, 0.5), ("log", -60, 4)], [-38.4, -13.0, 1.15, -1.15]),
    "silu": (lambda x: x / (1 + (-x).exp()), None, [(-708, 40), (-40, 9), (-3, 3), ("log", -60, 9)], [-700.0, -87.5, 36.7]),
    "softplus": (lambda x: x.exp().log1p(), None, [(-745, 700), (-40, 40), (-3, 3), ("log", -60, 9)], [-745.13, -708.4, 36.8]),
    "mish": (lambda x: x * x.exp().log1p().tanh(), None, [(-700, 40), (-40, 9), (-3, 3), ("log", -60, 9)], [-690.0, -1.19, 36.7]),
    "lgamma": (lgamma, lambda x: x not in (1, 2) and not (x <= 0 and x == math.floor(x)), [(0, 4), (0, 40), (-6, 0), ("log", -1000, 900)], [5e-324, 0.9999999999999999, 1.0000000000000002, 2.0000000000000004, 1.9999999999999998, 2.5e305]),
    "digamma": (lambda x: x.digamma(), lambda x: not (x <= 0 and x == math.floor(x)), [(0, 4), (0, 40), (-6, 0), ("log", -1000, 1000)], [1.4616321449683623]),
    "polygamma1": (polygamma(1), lambda x: not (x <= 0 and x == math.floor(x)), [(0, 4), (0, 40), (-6, 0), ("log", -500, 500)], []),
    "polygamma2": (polygamma(2), lambda x: not (x <= 0 and x == math.floor(x)), [(0, 4), (0, 40), (-6, 0), ("log", -300, 300)], []),
    "polygamma3": (polygamma(3), lambda x: not (x <= 0 and x == math.floor(x)), [(0, 4), (0, 40), (-6, 0), ("log", -200, 200)], []),
    "polygamma10": (polygamma(10), lambda x: not (x <= 0 and x == math.floor(x)), [(0, 4), (0, 40), (-6, 0), ("log", -80, 80)], []),
}


def power(x, y):
    if x > 0:
        return (x.log() * y).exp()
    s = (-x).log() * y
    return s.exp() * (-1 if int(y.unique_fmpz()) % 2 else 1)


def hypot(x, y):
    return (x * x + y * y).sqrt()


def sample(r, kind):
    if kind[0] == "log":
        return logarithmic(r, kind[1], kind[2])
    if kind[0] == "near1":
        return (1.0 - math.ldexp(r.uniform(1.0, 2.0), r.randint(-53, -3))) * r.choice((-1.0, 1.0))
    return uniform(r, *kind)


def pairs(name, n):
    r = rng(name)
    for i in range(n):
        if name == "pow":
            kind = i % 5
            if kind == 0:
                x, y = math.exp(r.uniform(-3, 3)), r.uniform(-30, 30)
            elif kind == 1:
                x = abs(logarithmic(r, -1074, 1024))
                y = r.uniform(-1.05, 1.05) * 1024 / max(1.0, abs(math.log2(x)))
            elif kind == 2:
                x = 1 + logarithmic(r, -52, -2)
                y = r.uniform(-1, 1) * 709 / abs(math.log(x))
            elif kind == 3:
                x, y = -r.uniform(0, 30), float(r.randint(-40, 40))
            else:
                x, y = r.uniform(0, 4), r.uniform(-3, 3)
        elif i % 2:
            x, y = r.uniform(-5, 5), r.uniform(-5, 5)
        else:
            x = logarithmic(r, -1074, 1024)
            y = math.ldexp(x, 0) * logarithmic(r, -8, 8) if r.random() < 0.7 else logarithmic(r, -1074, 1024)
        if x != 0 and math.isfinite(x) and math.isfinite(y) and y != 0:
            yield x, y


BINARY = {"pow": power, "hypot": hypot, "atan2": lambda y, x: arb.atan2(y, x)}


def main():
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 240
    path = pathlib.Path(__file__).parent.parent / "tests/data/lane_f64.txt"
    if len(sys.argv) > 2:
        path = pathlib.Path(sys.argv[2])
    only = sys.argv[3:]
    lines = []
    for name, (f, inside, ranges, edges) in FUNCTIONS.items():
        if only and name not in only:
            continue
        r = rng(name)
        xs = list(edges)
        while len(xs) < points:
            xs.append(sample(r, ranges[len(xs) % len(ranges)]))
        for x in xs:
            if inside and not inside(x):
                continue
            y = split(f, x)
            if y:
                lines.append(" ".join([name, bits(x), *map(bits, y)]))
    for name, f in BINARY.items():
        if only and name not in only:
            continue
        for x, y in pairs(name, points):
            z = split(f, x, y)
            if z:
                lines.append(" ".join([name, bits(x), bits(y), *map(bits, z)]))
    path.write_text("\n".join(lines) + "\n")


main()
