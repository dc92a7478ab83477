#!/usr/bin/env python3
"""Fits the polynomial coefficients of the elementary functions and writes
`src/lane/coefficients.rs` and `src/fused/doubles/tables.rs`, which `rustfmt` then arranges.

    pip install python-flint && python3 fit_lane.py

Each polynomial is a weighted least-squares fit on Chebyshev nodes, in 400-bit arithmetic, which is within a small
factor of the minimax one for these functions. Coefficients are rounded to the element type one after the other, from
the constant up, and the remaining ones are fitted again after each rounding. The largest weighted error is measured on
a dense grid and written beside the coefficients, as a power of two; the fit fails if it is above the stated bound.
"""
import math
import pathlib
import struct
import sys

from flint import arb, arb_mat, ctx

ctx.prec = 400


def to_f32(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def nearest(x, bits):
    """The float nearest to the arb `x` (double rounding through f64 is harmless for a coefficient)."""
    v = float(x.mid())
    return to_f32(v) if bits == 32 else v


def chebyshev(a, b, n):
    a, b = arb(a), arb(b)
    return [(a + b) / 2 + (b - a) / 2 * (arb(2 * i + 1) / (2 * n)).cos_pi() for i in range(n)]


def fit(f, weight, a, b, degree, bits, given=()):
    """Coefficients c with sum c_i t^i ~ f(t) for t in [a, b], minimizing weight(t) * error; the lowest ones may be given."""
    n = 6 * degree + 40
    ts = chebyshev(a, b, n)
    ws = [weight(t) for t in ts]
    ys = [f(t) for t in ts]
    powers = [[w * t**i for i in range(degree + 1)] for t, w in zip(ts, ws)]
    rhs = [w * y for w, y in zip(ws, ys)]
    done = []
    while len(done) <= degree:
        k = len(done)
        m = arb_mat([row[k:] for row in powers])
        r = arb_mat([[v] for v in rhs])
        mt = m.transpose()
        sol = (mt * m).solve(mt * r)
        c = given[k] if k < len(given) else nearest(sol[0, 0], bits)
        done.append(c)
        rhs = [v - row[k] * arb(c) for v, row in zip(rhs, powers)]
    worst = 0.0
    for t in chebyshev(a, b, 997):
        y = arb(0)
        for c in reversed(done):
            y = y * t + arb(c)
        worst = max(worst, abs(float(((y - f(t)) * weight(t)).mid())))
    return done, worst


ONE = arb(1)
LN2 = arb(2).log()


def near_zero(direct, series, radius="0.01"):
    """`direct(t)`, or the Taylor `series` where the direct form cancels."""
    radius = float(radius)

    def f(t):
        if abs(float(t.mid())) < radius:
            y = arb(0)
            for c in reversed(series):
                y = y * t + c
            return y
        return direct(t)

    return f


def fact(n):
    return arb(math.factorial(n))


N = 60
expm1r2 = near_zero(lambda r: (r.exp() - 1 - r) / r**2, [1 / fact(i + 2) for i in range(N)])
ln1pf3 = near_zero(lambda f: ((1 + f).log() - f + f * f / 2) / f**3, [arb((-1) ** i) / (i + 3) for i in range(N)])

H = float(LN2.mid()) / 2 * 1.0001
S = 0.70710678

# name, doc, function, weight, interval, {bits: (degree, log2 of the bound)}
FITS = []


def add(name, doc, f, weight, a, b, f32, f64):
    FITS.append((name, doc, f, weight, a, b, {32: f32, 64: f64}))


add("EXP", "(eʳ - 1 - r) / r², |r| <= ln 2 / 2", expm1r2, lambda r: r, -H, H, (4, -26), (10, -56))
add("EXP_HALF", "((e²ʳ - 1) / 2 - r) / r², -0.004 <= r <= 0.3505", lambda r: 2 * expm1r2(2 * r), lambda r: r, -0.004, 0.3505, (5, -26), (10, -56))
add("TANH", "((e²ʳ - 1) / 2 - r) / r², |r| <= ln 2 / 4", lambda r: 2 * expm1r2(2 * r), lambda r: r, -H / 2, H / 2, (4, -26), (10, -57))
add("EXP2", "(2ʳ - 1) / r, |r| <= 1/2",
    near_zero(lambda r: ((r * LN2).exp() - 1) / r, [LN2 ** (i + 1) / fact(i + 1) for i in range(N)]),
    lambda r: r, -0.5001, 0.5001, (5, -26.5), (11, -56))
add("LN", "(ln(1 + f) - f + f²/2) / f³, 1 + f in [√½, √2]", ln1pf3, lambda f: f * f, S - 1, 1 / S - 1,
    (7, -26.5), (19, -56))


def erf_tail(z):
    """erf(√z) / √z - 1"""
    if abs(float(z.mid())) < 1e-60:
        return 2 / arb.pi().sqrt() - 1
    return z.sqrt().erf() / z.sqrt() - 1


def erfc_scaled(q):
    """e^(a²) erfc(a) / q, q = 1 / (a + 1.125)"""
    a = 1 / q - 1.125
    return (a * a).exp() * a.erfc() / q


def center(f, near, bits):
    """The float c close to `near` where f(c) is closest to a float, so that an expansion around c loses nothing."""
    step = 2.0 ** (math.floor(math.log2(near)) - (23 if bits == 32 else 52))
    best = min((near + i * step for i in range(400)), key=lambda c: abs(float((f(arb(c)) - nearest(f(arb(c)), bits)).mid())))
    return best


def around(f, near):
    """f(c + t), c = center(f, near), for each type."""
    centers = {bits: center(f, near[bits] if isinstance(near, dict) else near, bits) for bits in (32, 64)}
    return centers, {bits: lambda t, c=arb(c): f(c + t) for bits, c in centers.items()}


ERFC_CENTER, ERFC_AROUND = around(erfc_scaled, 0.3125)


add("ERF", "erf(√z)/√z - 1, 0 <= z <= 1.125²", erf_tail, lambda z: ONE, 0, 1.125**2, (6, -26), (12, -55.5))
add("ERFC_ROOT", "erfc(a)^(1/8), 1.125 <= a to where erfc is lost against 1; error that of erfc",
    lambda a: a.erfc() ** (ONE / 8), lambda a: 8 * a.erfc() ** (arb(7) / 8), 1.125, {32: 4, 64: 6}, (7, -26), (17, -56))
add("ERFC", "e^(a²) erfc(a) / q, q = CENTER + t = 1/(a + 1.125), a >= 0.8125", ERFC_AROUND, lambda t: ONE,
    {32: 1 / 11.4 - 0.3125, 64: 1 / 28.5 - 0.3125}, 0.5163 - 0.3125, (9, -27), (23, -56))


def odd_tail(f, slope):
    """(f(√z)/√z - 1) / z for an odd f with f'(0) = 1 and third derivative / 6 = slope."""

    def g(z):
        if abs(float(z.mid())) < 1e-50:
            return slope
        x = z.sqrt()
        return (f(x) / x - 1) / z

    return g


def even_tail(z):
    """(cos(√z) - 1 + z/2) / z²"""
    return ONE / 24 if abs(float(z.mid())) < 1e-40 else (z.sqrt().cos() - 1 + z / 2) / z**2


def log_tail(z):
    """((atanh(√z)/√z - 1) / z - 1/3) · 2/z"""
    if abs(float(z.mid())) < 1e-30:
        return arb(2) / 5
    x = z.sqrt()
    return ((x.atanh() / x - 1) / z - ONE / 3) * 2 / z


QUARTER = 0.6170  # (π/4)², and a little
add("SINH", "(sinh(√z)/√z - 1) / z, 0 <= z <= 1", odd_tail(lambda x: x.sinh(), ONE / 6), lambda z: z, 0, 1,
    (3, -27), (6, -56))
add("SIN", "(sin(√z)/√z - 1) / z, 0 <= z <= (π/4)²", odd_tail(lambda x: x.sin(), -ONE / 6), lambda z: z, 0, QUARTER,
    (2, -26), (5, -55))
add("COS", "(cos(√z) - 1 + z/2) / z², 0 <= z <= (π/4)²", even_tail, lambda z: z**2, 0, QUARTER, (2, -27), (5, -57))
add("TAN", "(tan(√z)/√z - 1) / z, 0 <= z <= (π/4)²", odd_tail(lambda x: x.tan(), ONE / 3), lambda z: z, 0, QUARTER,
    (6, -26), (13, -55.5))
add("ATAN", "(atan(√z)/√z - 1) / z, 0 <= z <= 1", odd_tail(lambda x: x.atan(), -ONE / 3), lambda z: z, 0, 1,
    (8, -26), (19, -56))
add("ASIN", "(asin(√z)/√z - 1) / z, 0 <= z <= 1/4", odd_tail(lambda x: x.asin(), ONE / 6), lambda z: z, 0, 0.25,
    (4, -26), (12, -56))
add("LN_ATANH", "(ln((1+s)/(1-s)) - 2s - 2/3 s³) / s⁵, z = s², (1+s)/(1-s) in [√½, √2]", log_tail,
    lambda z: z**2 / 2, 0, 0.02945, (2, -34), (6, -66))
add("CBRT", "∛m, m in [√½, √2]; refined after", lambda m: m.root(3), lambda m: ONE / m.root(3), S, 1 / S,
    (2, -10), (5, -18))


def erfinv_of_w(w):
    """erfinv(x) / x, w = -ln(1 - x²)"""
    x = (1 - (-w).exp()).sqrt()
    return x.erfinv() / x


def erfinv_of_root(s):
    """erfinv(x) / s, s² = -ln(1 - x²)"""
    return (1 - (-s * s).exp()).sqrt().erfinv() / s


def digamma_root():
    """The positive zero of digamma, by Newton's method."""
    x, h = arb(1.4616321449683623), arb(2) ** -150
    for _ in range(6):
        slope = ((x + h).digamma() - (x - h).digamma()) / (2 * h)
        x = arb((x - x.digamma() / slope).mid())
    return x


def stirling(z):
    """a (lnΓ(a) - (a - 1/2) ln a + a - ln(2π)/2), z = 1/a²"""
    a = 1 / z.sqrt()
    return a * (a.lgamma() - ((a - arb(0.5)) * a.log() - a + (2 * arb.pi()).log() / 2))


def digamma_tail(z):
    """(ln b - 1/(2b) - ψ(b)) b², z = 1/b²"""
    b = 1 / z.sqrt()
    return (b.log() - 1 / (2 * b) - b.digamma()) / z


def sinc(z):
    x = z.sqrt() * arb.pi()
    return x.sin() / x


def x_cot(z):
    x = z.sqrt() * arb.pi()
    return x * x.cos() / x.sin()


ROOT = digamma_root()
LITTLE = 1e-20  # instead of 0, where the formulas cancel
LOW_CENTER, LOW = around(erfinv_of_w, 2.5)
MID_CENTER, MID = around(erfinv_of_root, {32: 3.1, 64: 2.9})
FAR_CENTER, FAR = around(erfinv_of_root, 4.8)
add("ERFINV", "erfinv(x)/x, -ln(1 - x²) = CENTER + t in [0, 5]", LOW, lambda t: ONE, -2.499999, 2.501,
    (9, -25), (21, -54))
add("ERFINV_MID", "erfinv(x)/s, s = √(-ln(1 - x²)) = CENTER + t, from √5 on", MID, lambda t: ONE,
    {32: -0.88, 64: -0.68}, {32: 0.92, 64: 0.72}, (8, -26), (17, -54))
add("ERFINV_FAR", "erfinv(x)/s, s = CENTER + t from 3.6 on", FAR, lambda t: ONE, -1.22, 1.22, None, (17, -54))
add("LGAMMA", "lnΓ(2 + d)/d, |d| <= 1/2", lambda d: (d + 2).lgamma() / d, lambda d: ONE, -0.5, 0.5, None, (18, -56))
add("STIRLING", "a (lnΓ(a) - Stirling's formula), z = 1/a², a >= 8", stirling, lambda z: z.sqrt() / 8, LITTLE, 1 / 64,
    None, (5, -58))
add("DIGAMMA", "ψ(y)/(y - root), y = 1.75 + t in [1, 2.5]", lambda t: (t + 1.75).digamma() / (t + 1.75 - ROOT),
    lambda t: ONE, -0.75, 0.75, None, (25, -55))
add("DIGAMMA_TAIL", "(ln b - 1/(2b) - ψ(b)) b², z = 1/b², b >= 8", digamma_tail, lambda z: z / 2, LITTLE, 1 / 64,
    None, (5, -58))
add("SINC", "sin(πf)/(πf), z = f², |f| <= 1/2", sinc, lambda z: ONE, LITTLE, 0.25, None, (8, -56))
add("X_COT", "πf cot πf, z = f², |f| <= 1/2", x_cot, lambda z: ONE, LITTLE, 0.25, None, (15, -56))
add("LN_SHORT", "(ln(1 + f) - f + f²/2) / f³, 1 + f in [√½, √2], for results in f32", ln1pf3, lambda f: f * f, S - 1, 1 / S - 1, None, (8, -29.5))
add("LGAMMA_SHORT", "lnΓ(2 + d)/d, |d| <= 1/2, for results in f32", lambda d: (d + 2).lgamma() / d, lambda d: ONE, -0.5, 0.5,
    None, (8, -29.5))
add("STIRLING_SHORT", "a (lnΓ(a) - Stirling's formula), z = 1/a², a >= 2.5, for results in f32", stirling, lambda z: z.sqrt() * 4, LITTLE, 0.16,
    None, (4, -30))
add("SINC_SHORT", "sin(πf)/(πf), z = f², |f| <= 1/2, for results in f32", sinc, lambda z: ONE, LITTLE, 0.25, None, (5, -30))
CONSTANTS = {
    "ERFC_CENTER": ERFC_CENTER,
    "ERFINV_CENTER": LOW_CENTER,
    "ERFINV_MID_CENTER": MID_CENTER,
    "ERFINV_FAR_CENTER": FAR_CENTER,
}


def rust(v, bits):
    s = repr(v) if bits == 64 else str(shortest32(v))
    return s


def shortest32(v):
    for digits in range(1, 12):
        s = f"{v:.{digits}g}"
        if to_f32(float(s)) == v:
            break
    s = repr(float(s))
    return s


GELU_WIDTH = 0.21875
# Short enough for a relative error at the beginning of the second piece, and such that tanh of the first multiples is nearly f32.
TANH_WIDTH = 13657 / 65536
# Where the last piece ends: f32 has no number between tanh and 1.
TANH_END = 9.125


def pieces():
    """Functions on 32 pieces around multiples of a width: name, text, width, coefficients by powers, and the largest relative
    error. Where a piece ends, a place is rounded either way."""

    def table(f, width, first, end=lambda k, h: (-h, h), given=lambda k: ()):
        rows, worst = [], 0.0
        for k in range(first, first + 32):
            g = lambda t: f(k * arb(width) + t)
            c, error = fit(g, lambda t: 1 / g(t), *end(k, width / 2 * 1.0005), 5, 32, given(k))
            rows.append(c)
            worst = max(worst, error)
        return list(zip(*rows)), math.log2(worst)

    yield "GELU", "Φ", GELU_WIDTH, *table(lambda x: (-x / arb(2).sqrt()).erfc() / 2, GELU_WIDTH, -16)
    end = lambda k, h: (-h if k else 0, TANH_END - 31 * TANH_WIDTH if k == 31 else h)
    # Exact for the smallest numbers.
    given = lambda k: () if k else (0.0, 1.0)
    yield "TANH", "tanh of positive numbers", TANH_WIDTH, *table(arb.tanh, TANH_WIDTH, 0, end, given)


def octaves(degree=5):
    """e^(a²) erfc(a) on 8 pieces of each of the octaves of a + 1 from [1, 2) to [8, 16), in the order of the last bits of its exponent
    and the first ones of its significand: the places around which, the coefficients by powers, and the largest relative error."""
    scaled = lambda a: (a * a).exp() * a.erfc()
    rows, worst = {}, 0.0
    for o in range(4):
        for i in range(8):
            low, high = (2.0**o * (1 + j / 8) - 1 for j in (i, i + 1))
            first = not o and not i
            middle = 0.0 if first else center(scaled, (low + high) / 2, 32)
            g = lambda t: scaled(arb(middle) + t)
            h = (high - low) / 2 * 1e-3
            c, error = fit(g, lambda t: 1 / g(t), low - middle - (0 if first else h), high - middle + h, degree, 32, (1.0,) if first else ())
            rows[(127 + o) % 4 * 8 + i] = [middle, *c]
            worst = max(worst, error)
    return list(zip(*(rows[k] for k in range(32)))), math.log2(worst)


def logarithms():
    """What logarithms in double precision are made of, for m in [3/4, 3/2) in 16 pieces by the first four bits of its significand: 1/c
    short, so that r = m/c - 1 is almost exact, for each base log c in two parts, and (ln(1 + r) - r)/r² in units of the logarithm."""
    # The two pieces beside 1 are made around 1, where the logarithm vanishes.
    middles = [1 + (2 * j + 1) / 32 if j < 8 else (1 + (2 * j + 1) / 32) / 2 for j in range(16)]
    inverses = [1.0 if j in (0, 15) else round(128 / c) / 128 for j, c in enumerate(middles)]
    rest = near_zero(lambda r: ((1 + r).log() - r) / r**2, [arb((-1) ** (i + 1)) / (i + 2) for i in range(N)])
    c, worst = fit(rest, lambda r: r, -1 / 32, 1 / 16, 8, 64)
    yield "LOG_INVERSES", "1/c of each piece", inverses
    for name, base in (("LN", None), ("LOG2", 2), ("LOG10", 10)):
        scale = ONE / arb(base).log() if base else ONE
        logs = [-arb(v).log() * scale for v in inverses]
        # Multiples of this and of as short a logarithm of 2 are added exactly.
        unit = 2.0**42
        high = [round(float((v * unit).mid())) / unit for v in logs]
        yield f"{name}_HIGH", "log c of each piece, short", high
        yield f"{name}_LOW", "the rest of it", [nearest(v - h, 64) for v, h in zip(logs, high)]
        yield f"{name}_REST", f"(log(1 + r) - r log e) / r²; relative error 2^{math.log2(worst):.1f}", [nearest(arb(v) * scale, 64) for v in c]


def powers_of_two():
    """2^(j/16) in two parts, and (eʳ - 1 - r) / r² for |r| <= ln 2 / 32."""
    values = [arb(2) ** (arb(j) / 16) for j in range(16)]
    high = [nearest(v, 64) for v in values]
    yield "SIXTEENTHS", "2^(j/16), rounded", high
    yield "SIXTEENTHS_LOW", "the rest of it", [nearest(v - h, 64) for v, h in zip(values, high)]
    h = float(LN2.mid()) / 32 * 1.0001
    c, worst = fit(expm1r2, lambda r: r * r, -h, h, 4, 64)
    yield "EXP_SHORT", f"(eʳ - 1 - r) / r², |r| <= ln 2 / 32; error 2^{math.log2(worst):.1f}", c


def angles():
    """sin(nπ/8) in two parts, and what the sine and the cosine are made of within π/16 of 0."""
    values = [arb(n) * arb.pi() / 8 for n in range(16)]
    values = [v.sin() if n % 4 else arb([0, 1, 0, -1][n // 4]) for n, v in enumerate(values)]
    high = [nearest(v, 64) for v in values]
    yield "SIN_EIGHTHS", "sin(nπ/8), rounded", high
    yield "SIN_EIGHTHS_LOW", "the rest of it", [nearest(v - h, 64) for v, h in zip(values, high)]
    end = float(arb.pi().mid()) / 16 * 1.0001
    cosine = lambda z: -ONE / 2 + z / 24 if abs(float(z.mid())) < 1e-40 else (z.sqrt().cos() - 1) / z
    for name, doc, f, degree in (
        ("SIN_SHORT", "(sin(√z)/√z - 1) / z", odd_tail(arb.sin, -ONE / 6), 3),
        ("COS_SHORT", "(cos(√z) - 1) / z", cosine, 4),
    ):
        c, worst = fit(f, lambda z: z, 0, end * end, degree, 64)
        yield name, f"{doc}, √z <= π/16; error 2^{math.log2(worst):.1f}", c


def sixteen(f, ends, degree):
    """f on 16 pieces between the ends: the places around which, the coefficients by powers, and the largest relative error."""
    rows, worst = [], 0.0
    for low, high in ends:
        middle = 0.0 if low == 0 and f(arb(0)) == 1 else center(f, (low + high) / 2, 64)
        g = lambda t: f(arb(middle) + t)
        h = (high - low) * 5e-4
        c, error = fit(g, lambda t: 1 / g(t), low - middle - h, high - middle + h, degree, 64)
        rows.append([middle, *c])
        worst = max(worst, error)
    return list(zip(*rows)), math.log2(worst)


def halves(width):
    """Pieces around multiples of a width, from 0 on."""
    return [(max(k - 0.5, 0) * width, (k + 0.5) * width) for k in range(16)]


def octaves_of_rest():
    """Halves of the octaves of 1 - a, in the order of the last bits of its exponent and the first one of its significand."""
    ends = [None] * 16
    for o in range(1, 9):
        for i in range(2):
            low, high = (2.0**-o * (1 + j / 2) for j in (i, i + 1))
            ends[(1023 - o) % 8 * 2 + i] = (1 - high, 1 - low)
    return ends


ERFC_STEP, CDF_STEP = 3 / 16, 1 / 4


def doubles():
    """Functions of f64 on 16 pieces: name, text, coefficients, and the largest relative error."""
    yield "ERFC_F64", "erfc a around multiples of 3/16", *sixteen(arb.erfc, halves(ERFC_STEP), 11)
    yield "CDF_F64", "Φ(-a) around multiples of 1/4", *sixteen(lambda a: (a / arb(2).sqrt()).erfc() / 2, halves(CDF_STEP), 11)
    yield "ERFINV_F64", "erfinv(a)/a on halves of octaves of 1 - a", *sixteen(lambda a: a.erfinv() / a, octaves_of_rest(), 15)


def main():
    only = sys.argv[1:]
    out = {32: [], 64: []}
    for name, doc, f, weight, a, b, types in FITS:
        if only and name not in only:
            continue
        for bits, request in types.items():
            if not request:
                continue
            degree, bound = request
            low, high = (v[bits] if isinstance(v, dict) else v for v in (a, b))
            g = f[bits] if isinstance(f, dict) else f
            c, worst = fit(g, weight, low, high, degree, bits)
            e = math.log2(worst)
            print(f"{name:14} f{bits} degree {degree:2} error 2^{e:.1f}", file=sys.stderr)
            if e > bound:
                sys.exit(f"{name}: error 2^{e:.1f} above 2^{bound}")
            out[bits].append((name, f"{doc}; error 2^{e:.1f}.", [rust(v, bits) for v in c]))
    if only:
        return
    lines = ["//! Polynomial coefficients, lowest power first. Written by `tools/fit_lane.py`: do not edit.", "",
             "#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]", ""]
    for name, doc, width, table, worst in pieces():
        lines += [f"/// {doc} on pieces, see `fused::pieces`; relative error 2^{worst:.1f}.",
                  f"pub(crate) const {name}_PIECES: [[f32; 32]; 6] = ["]
        for row in table:
            lines += ["    ["] + [f"        {rust(v, 32)}," for v in row] + ["    ],"]
        lines += ["];", "/// The width of a piece.", f"pub(crate) const {name}_WIDTH: f32 = {width};", ""]
    lines += ["/// Where the last piece ends.", f"pub(crate) const TANH_END: f32 = {TANH_END};", ""]
    table, worst = octaves()
    lines += [f"/// The middles of pieces and coefficients of e^(a²) erfc(a), see `fused::octaves`; relative error 2^{worst:.1f}.",
              f"pub(crate) const ERFC_OCTAVES: [[f32; 32]; {len(table)}] = ["]
    for row in table:
        lines += ["    ["] + [f"        {rust(v, 32)}," for v in row] + ["    ],"]
    lines += ["];", ""]
    for bits in (32, 64):
        lines += [f"/// For `f{bits}`.", f"pub(super) mod f{bits} {{"]
        for name, doc, c in out[bits]:
            lines += [f"    /// {doc}", f"    pub(in super::super) const {name}: [f{bits}; {len(c)}] = ["]
            lines += [f"        {v}," for v in c]
            lines += ["    ];"]
        for name, c in CONSTANTS.items():
            lines += ["    /// Where the expansion is made.", f"    pub(in super::super) const {name}: f{bits} = {rust(c[bits], bits)};"]
        lines += ["}"]
    write("lane/coefficients.rs", lines)
    lines = ["//! Tables of the functions beside. Written by `tools/fit_lane.py`: do not edit.", "",
             "#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]", "", "use super::Row;", ""]
    for name, doc, c in [*logarithms(), *powers_of_two(), *angles()]:
        whole = len(c) == 16
        lines += [f"/// {doc[0].upper() + doc[1:]}.", f"pub(super) const {name}: {'Row' if whole else f'[f64; {len(c)}]'} = {'Row(' * whole}["]
        lines += [f"    {rust(v, 64)}," for v in c]
        lines += ["])" * whole + "]" * (not whole) + ";", ""]
    for name, doc, table, worst in doubles():
        lines += [f"/// The middles of pieces and coefficients of {doc}; relative error 2^{worst:.1f}.",
                  f"pub(super) const {name}: [Row; {len(table)}] = ["]
        for row in table:
            lines += ["    Row(["] + [f"        {rust(v, 64)}," for v in row] + ["    ]),"]
        lines += ["];", ""]
    write("fused/doubles/tables.rs", lines[:-1])


def write(name, lines):
    path = pathlib.Path(__file__).parent.parent / "src" / name
    path.write_text("\n".join(lines) + "\n")


main()
