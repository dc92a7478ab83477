"""Random operations on a training tape, from PyTorch in f64.

    python random_numbers.py > random_numbers.txt

The masks are those of the tape: its generator is written here once more, from its description (SplitMix64 of a key and the
element's index; the key of seed, step and stream). What is done with them is PyTorch's. A line: name, then value, gradient of
a fixed cotangent, and the gradient of that.
"""

import numpy as np
import torch

from structured import fnv, mix, numbers

torch.set_default_dtype(torch.float64)
U = np.uint64
SEED, STEP = 9, 0


def key(stream):
    with np.errstate(over="ignore"):
        return mix(mix(U(SEED) ^ U(0x6A09E667F3BCC908)) + mix(U(STEP)) ^ (U(stream) << U(32)))


def unit(shape, salt=0):
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        i = np.arange(1, n + 1, dtype=U)
        z = mix((key(0) ^ U(salt)) + i * U(0x9E3779B97F4A7C15))
    return torch.tensor((z >> U(11)).astype(np.float64) / 9007199254740992.0).reshape(shape)


def keep(shape, p):
    return (unit(shape) >= p).double()


def normal(shape):
    return torch.sqrt(-2 * torch.log(1 - unit(shape))) * torch.cos(2 * np.pi * unit(shape, 0x5851F42D4C957F2D))


def alpha_dropout(x, p):
    # As in ATen's Dropout.cpp.
    alpha = 1.7580993408473766
    a = 1 / np.sqrt((alpha * alpha * p + 1) * (1 - p))
    noise = keep(x.shape, p)
    return x * (noise * a) + ((noise - 1) * alpha * a + alpha * a * p)


def attention(x, causal, p=0.4):
    # The mask has a key of its own, made of four random numbers, and no scale where the weights are dropped.
    own = U(0)
    for u in unit(4).numpy():
        own = mix(own ^ u.view(U))
    n = x.numel()
    with np.errstate(over="ignore"):
        z = mix(own + np.arange(1, n * n + 1, dtype=U) * U(0x9E3779B97F4A7C15))
    u = torch.tensor((z >> U(11)).astype(np.float64) / 9007199254740992.0).reshape(n, n)
    q = x.reshape(n, 1)
    s = q @ q.sin().T
    if causal:
        s = s + 0.3 * q.T + torch.full((n, n), -torch.inf).triu(1)
    weights = s.softmax(-1)
    # PyTorch's attention, with the chance of dropping as 0: the same weights.
    same = torch.nn.functional.scaled_dot_product_attention(
        q[None], q.sin()[None], torch.eye(n)[None],
        attn_mask=(0.3 * q.T + torch.full((n, n), -torch.inf).triu(1))[None] if causal else None,
    )
    assert torch.allclose(weights, same[0], rtol=1e-12)
    return ((weights * (u >= p) / (1 - p)) @ q**2).reshape(x.shape)


CASES = {
    "uniform": lambda x: x * (unit(x.shape) * 2.5 - 0.5),
    "normal": lambda x: x + x * x * (1 + 0.5 * normal(x.shape)),
    "bernoulli": lambda x: x * x * keep(x.shape, 0.7),
    "dropout": lambda x: x * x * (keep(x.shape, 0.4) / 0.6),
    "feature_dropout": lambda x: x * x * (keep((*x.shape[:2], 1), 0.4) / 0.6),
    "drop_path": lambda x: x * x * (keep((x.shape[0], 1, 1), 0.4) / 0.6),
    "alpha_dropout": lambda x: alpha_dropout(x * x, 0.4),
    "gaussian_noise": lambda x: (x + 0.3 * normal(x.shape)) ** 2,
    "rrelu": lambda x: torch.where(x <= 0, x * (unit(x.shape) * 0.4 + 0.1), x) ** 2,
    "attention dropout": lambda x: attention(x, False),
    "attention dropout causal": lambda x: attention(x, True),
}


def main():
    shape = (3, 4, 2)
    for name, f in CASES.items():
        h = fnv(name)
        draw = lambda k: torch.tensor(numbers(h + k, 24, -2.0, 2.0)).reshape(shape)
        x = draw(0).requires_grad_()
        y = f(x)
        (g,) = torch.autograd.grad(y, x, draw(1), create_graph=True)
        s = torch.zeros_like(x)
        if g.requires_grad:
            (s,) = torch.autograd.grad(g, x, draw(2), allow_unused=True)
            s = torch.zeros_like(x) if s is None else s
        print("|".join([name, *(" ".join(f"{v:.17g}" for v in t.detach().flatten().tolist()) for t in (y, g, s))]))


if __name__ == "__main__":
    main()
