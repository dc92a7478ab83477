"""Recurrent sequences from PyTorch in f64: RNN, LSTM (with projection) and GRU on sums that the inputs brought, so with the
identity as input weight.

    python recurrent.py > recurrent.txt

A line: the setup, then two random projections each of all outputs (and the last cell), of every gradient, and of every second
derivative. Sequences of different lengths are packed; a reverse one runs from its own end.
"""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from structured import fnv, numbers

torch.set_default_dtype(torch.float64)
STEPS, BATCH, HIDDEN = 4, 3, 2
KINDS = {"Tanh": 1, "Relu": 1, "Lstm": 4, "LstmCell": 4, "LstmProjection": 4, "Gru": 3}


def samples(shapes, scale=1.0):
    out, k, full = [], 0, 2**64 - 1
    for s in shapes:
        v = []
        for _ in range(int(torch.tensor(s).prod())):
            k += 1
            z = k * 0x9E3779B97F4A7C15 & full
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & full
            z = (z ^ z >> 27) * 0x94D049BB133111EB & full
            v.append(scale * ((z >> 11) / 4503599627370496.0 - 1.0))
        out.append(torch.tensor(v).reshape(s).requires_grad_())
    return out


def run(kind, v, bias, state, reverse, lengths):
    gates = KINDS[kind]
    sums, out = gates * HIDDEN, 1 if kind == "LstmProjection" else HIDDEN
    rest = list(v[1:])
    w = rest.pop(0)
    b = rest.pop(0) if bias else torch.zeros(sums)
    hb = rest.pop(0) if bias and kind == "Gru" else torch.zeros(sums)
    h = rest.pop(0) if state else torch.zeros(BATCH, out)
    c = rest.pop(0) if state and gates == 4 else torch.zeros(BATCH, HIDDEN)
    project = [rest.pop(0)] if kind == "LstmProjection" else []
    eye = torch.eye(sums)
    weights = [eye, w, b, hb, *project]
    x = v[0]
    lens = torch.tensor(lengths if lengths else [STEPS] * BATCH)

    def backwards(t):
        # Each sequence from its own end; the steps behind it stay where they are.
        at = torch.arange(STEPS)[:, None]
        at = torch.where(at < lens, lens - 1 - at, at)
        return torch.gather(t, 0, at[:, :, None].expand_as(t))

    if reverse:
        x = backwards(x)
    packed = pack_padded_sequence(x, lens, enforce_sorted=False)
    order = packed.sorted_indices
    data, sizes = packed.data, packed.batch_sizes
    h0, c0 = h[order][None], c[order][None]
    common = (True, 1, 0.0, False, False)
    if gates == 4:
        y, _, cell = torch.lstm(data, sizes, (h0, c0), weights, *common)
    else:
        f = {"Tanh": torch.rnn_tanh, "Relu": torch.rnn_relu, "Gru": torch.gru}[kind]
        y, _ = f(data, sizes, h0, weights, *common)
    packed = torch.nn.utils.rnn.PackedSequence(y, sizes, packed.sorted_indices, packed.unsorted_indices)
    y, _ = pad_packed_sequence(packed, total_length=STEPS)
    if reverse:
        y = backwards(y)
    if kind == "LstmCell":
        y = torch.cat([y.flatten(), cell[0][packed.unsorted_indices].flatten()])
    return y


def project(name, t):
    t = t.detach().flatten()
    return " ".join(f"{float(t @ torch.tensor(numbers(fnv(name) + 1000 + k, len(t), -1.0, 1.0))):.17g}" for k in (0, 1))


def main():
    for kind, gates in KINDS.items():
        for k in range(6):
            bias, state = k % 2 == 1, k >= 2
            reverse = k % 3 == 2 or k == 1
            lengths = [4, 1, 2] if k >= 3 or k == 1 else None
            sums, out = gates * HIDDEN, 1 if kind == "LstmProjection" else HIDDEN
            shapes = [(STEPS, BATCH, sums), (sums, out)]
            shapes += [(sums,)] * (bias + (bias and kind == "Gru"))
            shapes += [(BATCH, out)] * state + [(BATCH, HIDDEN)] * (state and gates == 4)
            shapes += [(out, HIDDEN)] * (kind == "LstmProjection")
            name = f"{kind} {k}"
            v = samples(shapes)
            y = run(kind, v, bias, state, reverse, lengths)
            h = fnv(name)
            draw = lambda seed, t: torch.tensor(numbers(seed, t.numel(), -1.0, 1.0)).reshape(t.shape)
            g = torch.autograd.grad(y, v, draw(h ^ 99, y), create_graph=True)
            w = [draw((h ^ 77) + i, t) for i, t in enumerate(g)]
            s = torch.autograd.grad(g, v, w, allow_unused=True)
            s = [torch.zeros_like(a) if b is None else b for a, b in zip(v, s)]
            print("|".join([name, *(project(name, t) for t in (y, *g, *s))]))


if __name__ == "__main__":
    main()
