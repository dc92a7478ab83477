"""Reference values of the elementwise table from PyTorch in f64: as structured.py, for two broadcast shapes of operands, on
the interval of each row of the table and, for functions of the whole line, on [-3, 3] too.

    python elementwise.py > elementwise.txt
"""

import re
from pathlib import Path

import torch
import torch.nn.functional as F

from structured import line

one = torch.ones_like
ROWS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "rem": torch.remainder,
    "floor_div": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "add_scalar": lambda x: x + 0.7,
    "rsub_scalar": lambda x: 0.7 - x,
    "mul_scalar": lambda x: x * 0.7,
    "rdiv_scalar": lambda x: 0.7 / x,
    "div_scalar": lambda x: x / 0.7,
    "neg": lambda x: -x,
    "mul_add": lambda a, b, c: a * b + c,
    "addcmul": lambda x, a, b: torch.addcmul(x, a, b, value=0.7),
    "addcdiv": lambda x, a, b: torch.addcdiv(x, a, b, value=0.7),
    "lerp": torch.lerp,
    "abs": torch.abs,
    "sign": torch.sign,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "sqrt_zero": torch.sqrt,
    "div_no_nan": lambda a, b: a / b,
    "rsqrt": torch.rsqrt,
    "cbrt": lambda x: x ** (1 / 3),
    "reciprocal": torch.reciprocal,
    "pow": torch.pow,
    "pow_grad_base": lambda a, b: b * a ** (b - 1),
    "pow_grad_exponent": lambda y, a, b: y * torch.log(a),
    "powf": lambda x: x**2.5,
    "hypot": torch.hypot,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "ln": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "atan2": torch.atan2,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "tanh_grad": lambda g, y: g * (1 - y * y),
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "erfinv": torch.erfinv,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
    "polygamma": lambda x: torch.polygamma(1, x),
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "frac": torch.frac,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "clamp": lambda x: x.clamp(-0.5, 0.6),
    "clamp_grad": lambda g, x: g * ((x >= -0.5) & (x <= 0.6)),
    "gt": lambda a, b: (a > b) * one(a),
    "ge": lambda a, b: (a >= b) * one(a),
    "lt": lambda a, b: (a < b) * one(a),
    "le": lambda a, b: (a <= b) * one(a),
    "eq": lambda a, b: (a == b) * one(a),
    "ne": lambda a, b: (a != b) * one(a),
    "logical_and": lambda a, b: torch.logical_and(a, b) * one(a),
    "logical_or": lambda a, b: torch.logical_or(a, b) * one(a),
    "logical_xor": lambda a, b: torch.logical_xor(a, b) * one(a),
    "logical_not": lambda x: torch.logical_not(x) * one(x),
    "isnan": lambda x: torch.isnan(x) * one(x),
    "isinf": lambda x: torch.isinf(x) * one(x),
    "isfinite": lambda x: torch.isfinite(x) * one(x),
    "nan_to_num": lambda x: torch.nan_to_num(x, 0.0, 1e30, -1e30),
    "where_": lambda c, a, b: torch.where(c != 0, a, b),
    "mask": lambda x, m: torch.where(m != 0, x, 0.0),
    "mask_not": lambda x, m: torch.where(m != 0, 0.0, x),
    "masked_fill": lambda x, m: torch.where(m != 0, 0.7, x),
    "copysign": torch.copysign,
    "relu": F.relu,
    "relu_grad": lambda g, y: g * (y > 0),
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "hardtanh_grad": lambda g, x: g * ((x > -1) & (x < 1)),
    "leaky_relu": F.leaky_relu,
    "leaky_relu_grad": lambda g, x: torch.where(x > 0, g, g * 0.01),
    "prelu": lambda x, a: torch.where(x > 0, x, a * x),
    "prelu_grad": lambda g, x, a: torch.where(x > 0, g, a * g),
    "min_zero": lambda x: x.clamp(max=0),
    "elu": F.elu,
    "elu_grad": lambda g, x: torch.where(x > 0, g, g * torch.exp(x)),
    "selu": F.selu,
    # F.celu takes 1.3 as an f32 in its derivative.
    "celu": lambda x: torch.where(x > 0, x, 1.3 * torch.expm1(x / 1.3)),
    "gelu": F.gelu,
    "gelu_grad": lambda g, x: g * (0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "sigmoid_grad": lambda g, y: g * y * (1 - y),
    "logsigmoid": F.logsigmoid,
    "softplus_beta": lambda x: F.softplus(x, beta=1.3),
    "silu": F.silu,
    "silu_grad": lambda g, x: g * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
    "mish": F.mish,
    "softsign": F.softsign,
    # F.hardsigmoid takes 1 / 6 as an f32.
    "hardsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "hardswish": F.hardswish,
    "hardswish_grad": lambda g, x: g * torch.where(x <= -3, 0.0, torch.where(x >= 3, 1.0, x / 3 + 0.5)),
    "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "outside": lambda g, x: g * (x.abs() > 0.5),
    "threshold": lambda x: F.threshold(x, 0.1, 0.3),
    "squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
    "log_cosh": lambda x: torch.log(torch.cosh(x)),
    "huber": lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none", delta=0.9),
    "bce_with_logits_": lambda x, t: F.softplus(x) - x * t,
    "bce_with_weight": lambda x, t, p: (1 - t) * F.softplus(x) + p * t * F.softplus(-x),
    "bce": lambda p, t: F.binary_cross_entropy(p, t, reduction="none"),
    "logaddexp": torch.logaddexp,
    "xlogy": torch.xlogy,
}
WIDE = """sin cos atan sinh cosh tanh asinh erf erfc maximum minimum clamp relu relu6 hardtanh leaky_relu prelu
prelu_grad min_zero elu elu_grad selu celu gelu gelu_grad gelu_tanh sigmoid logsigmoid softplus_beta silu silu_grad mish
softsign tanhshrink softshrink hardshrink outside threshold squareplus log_cosh huber logaddexp atan2 hypot abs square
exp expm1 where_ gt lt copysign clamp_grad hardtanh_grad leaky_relu_grad""".split()
SHAPES = [[2, 1, 3], [4, 1], [3]]


def domains():
    ops = Path(__file__).parent.parent.parent / "src" / "ops"
    text = (ops / "elementwise.rs").read_text()
    text = text[text.index("// ---- arithmetic") :] + (ops / "elementwise" / "activations.rs").read_text()
    rows = re.findall(r"^ {4,8}[A-Z]\w* (\w+)(?:\([^)]*\))? \{(.*?)domain \[(.*?)\];", text, re.S | re.M)
    return {name: [tuple(map(float, d.split(".."))) for d in found.split(",")] for name, _, found in rows}


def main():
    table = domains()
    for name, f in ROWS.items():
        runs = [(name, table[name])] + ([(name + " wide", [(-3.0, 3.0)] * len(table[name]))] if name in WIDE else [])
        for label, own in runs:
            inputs = [(SHAPES[k], lo, hi) for k, (lo, hi) in enumerate(own)]
            print(line(label, inputs, lambda x: f(*x) if len(x) == 1 else f(*torch.broadcast_tensors(*x))))


if __name__ == "__main__":
    main()
