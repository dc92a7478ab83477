"""Reference values of the structured operations from PyTorch in f64.

Reads the sample shapes from ../registry/mod.rs, makes the same inputs, and writes structured.txt: per case the shape of
the result, and two random projections each of the value, of every gradient (vjp) and of every second derivative
(vjp of the vjp).

    python structured.py > structured.txt
"""

import re
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
U = np.uint64


def mix(z):
    z = (z ^ (z >> U(30))) * U(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U(27))) * U(0x94D049BB133111EB)
    return z ^ (z >> U(31))


def fnv(name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & (2**64 - 1)
    return h


def numbers(seed, n, lo, hi):
    with np.errstate(over="ignore"):
        i = np.arange(1, n + 1, dtype=U)
        z = mix(U(seed % 2**64) + i * U(0x9E3779B97F4A7C15))
    return lo + (hi - lo) * ((z >> U(11)).astype(np.float64) / 9007199254740992.0)


def I(v):
    return torch.tensor(v)


def join(*parts):
    return torch.cat([p.reshape(-1) for p in parts])


def tril(x, k=0):
    return torch.tril(x, k)


def powi(x):
    return x[0] ** 3 + x[0] ** 5


def scatter(x, i, s):
    # The last of several indices wins, and the gradient goes to it alone.
    rows = list(range(i.shape[0]))
    y = x.clone()
    for j in range(i.shape[1]):
        for r in rows:
            e = torch.zeros_like(x)
            e[i[r, j], j] = 1
            y = y * (1 - e) + e * s[r, j]
    return y


def sparsemax(x, dim):
    z = x.sort(dim, descending=True).values
    shape = [1] * x.ndim
    shape[dim] = -1
    k = torch.arange(1.0, x.shape[dim] + 1).reshape(shape)
    c = z.cumsum(dim)
    n = (1 + k * z > c).sum(dim, keepdim=True)
    tau = (c.gather(dim, n - 1) - 1) / n
    return (x - tau).relu()


def recurrence(a, b):
    h = [b[:, 0]]
    for k in range(1, a.shape[1]):
        h.append(b[:, k] + a[:, k] * h[-1])
    return torch.stack(h, 1)


def fix(rows, partner=None):
    """The component of largest magnitude of each column becomes positive."""
    i = rows.abs().argmax(-2, keepdim=True)
    s = torch.sign(rows.gather(-2, i)).detach()
    return rows * s if partner is None else (rows * s, partner * s.transpose(-1, -2))


def eigh(x):
    w, v = torch.linalg.eigh((x + x.transpose(-1, -2)) / 2)
    return w, fix(v)


def svd(x):
    if x.shape[-2] < x.shape[-1]:
        u, s, vt = svd(x.transpose(-1, -2))
        return vt.transpose(-1, -2), s, u.transpose(-1, -2)
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    u, vt = fix(u, vt)
    return u, s, vt


def C(x):
    return torch.view_as_complex(x.contiguous())


def R(x):
    return torch.view_as_real(x.resolve_conj())


def nll(logp, weight, y, ignore):
    """PyTorch's does not differentiate class weights."""
    keep = [i for i, v in enumerate(y) if v != ignore]
    rows = torch.stack([-logp[i, y[i]] * weight[y[i]] if i in keep else 0 * logp[i, 0] for i in range(len(y))])
    return rows, sum(weight[y[i]] for i in keep)


def cross_entropy_weighted(x):
    y = [2, -1, 3]
    logp = x[0].log_softmax(1)
    rows, total = nll(logp, x[1], y, -1)
    smooth = sum(-(logp[i] * x[1]).sum() for i in (0, 2)) / 4
    mean = (rows.sum() * 0.9 + smooth * 0.1) / total
    a, b = x[0].detach(), x[1].detach()
    same = F.cross_entropy(a, I(y), b, ignore_index=-1, label_smoothing=0.1)
    assert torch.allclose(mean, same, rtol=1e-14)
    return mean


def sdpa(q, k, v, **kw):
    return F.scaled_dot_product_attention(q, k, v, **kw)


def signs(*shape):
    n = int(np.prod(shape))
    return torch.tensor([1.0 if i % 2 == 0 else -1.0 for i in range(n)]).reshape(shape)


def bce_pos(x):
    y = -(x[2] * x[1] * F.logsigmoid(x[0]) + (1 - x[1]) * F.logsigmoid(-x[0]))
    same = F.binary_cross_entropy_with_logits(
        x[0].detach(), x[1].detach(), pos_weight=x[2].detach(), reduction="none"
    )
    assert torch.allclose(y, same, rtol=1e-14)
    return y


def focal(x, t):
    p = x.sigmoid()
    ce = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    pt = p * t + (1 - p) * (1 - t)
    return (0.25 * t + 0.75 * (1 - t)) * ce * (1 - pt) ** 2


def ctc(x, targets, il, tl, blank, zero=False, norm=True):
    # PyTorch's own backward is right after log_softmax alone; the recursion in elementary operations is right always.
    lp = x.log_softmax(-1) if norm else x
    out = []
    for n in range(x.shape[1]):
        if il[n] == 0:
            out.append(lp[0, n, 0] * 0)
            continue
        ext = [blank]
        for y in targets[n][: tl[n]]:
            ext += [y, blank]
        never = torch.tensor(-1e30)
        a = [lp[0, n, ext[s]] if s < 2 else never for s in range(len(ext))]
        for t in range(1, il[n]):
            b = []
            for s in range(len(ext)):
                ways = [a[s]]
                if s >= 1:
                    ways.append(a[s - 1])
                if s >= 2 and ext[s] != blank and ext[s] != ext[s - 2]:
                    ways.append(a[s - 2])
                b.append(torch.logsumexp(torch.stack(ways), 0) + lp[t, n, ext[s]])
            a = b
        out.append(-torch.logsumexp(torch.stack(a[-2:] if len(a) > 1 else a), 0))
    return torch.stack(out)


CASES = {
    "sum": lambda x: x[0].sum(),
    "sum_dim": lambda x: x[0].sum((0, -1)),
    "sum_dim keep": lambda x: x[0].sum(1, keepdim=True),
    "mean": lambda x: x[0].mean(),
    "mean_dim": lambda x: x[0].mean((0, 2), keepdim=True),
    "var": lambda x: x[0].var(),
    "var_dim": lambda x: x[0].var((1, 2), correction=0),
    "var_dim columns": lambda x: x[0].var(0, correction=1, keepdim=True),
    "std": lambda x: x[0].std(),
    "std_dim": lambda x: x[0].std(-1, keepdim=True),
    "amax": lambda x: x[0].amax(),
    "amax_dim": lambda x: x[0].amax((0, 2)),
    "amin": lambda x: x[0].amin(),
    "amin_dim": lambda x: x[0].amin(1, keepdim=True),
    "max": lambda x: x[0].max(),
    "min": lambda x: x[0].min(),
    "prod": lambda x: x[0].prod(),
    "prod_dim": lambda x: x[0].prod(2).prod(0),
    "prod_dim columns": lambda x: x[0].prod(0),
    "prod_dim planes": lambda x: x[0].prod(1, keepdim=True),
    "prod_dim keep": lambda x: x[0].prod(-1, keepdim=True),
    "logsumexp": lambda x: x[0].logsumexp((0, 1)),
    "logsumexp_dim": lambda x: x[0].logsumexp((0, 2)),
    "norm 2": lambda x: x[0].norm(2),
    "norm 1": lambda x: x[0].norm(1),
    "norm 3": lambda x: x[0].norm(3),
    "norm half": lambda x: x[0].norm(0.5),
    "norm negative": lambda x: torch.linalg.vector_norm(x[0], -1.5),
    "norm infinity": lambda x: torch.linalg.vector_norm(x[0], float("inf")),
    "norm minus infinity": lambda x: torch.linalg.vector_norm(x[0], -float("inf")),
    "norm 0": lambda x: torch.linalg.vector_norm(x[0], 0),
    "norm_dim": lambda x: torch.linalg.vector_norm(x[0], 2, (0, 2)),
    "norm_dim p": lambda x: torch.linalg.vector_norm(x[0], 2.5, 1, keepdim=True),
    "count_nonzero": lambda x: x[0].relu().count_nonzero().double(),
    "count_nonzero_dim": lambda x: x[0].relu().count_nonzero(1).double(),
    "all": lambda x: x[0].relu().bool().all().double(),
    "all_dim": lambda x: x[0].relu().bool().all(1, keepdim=True).double(),
    "any": lambda x: x[0].relu().bool().any().double(),
    "any_dim": lambda x: x[0].relu().bool().any(1).double(),
    "cumsum": lambda x: x[0].cumsum(1),
    "cumsum last": lambda x: x[0].cumsum(-1),
    "cumprod": lambda x: x[0].cumprod(1),
    "cumprod last": lambda x: x[0].cumprod(-1),
    "logcumsumexp": lambda x: x[0].logcumsumexp(1),
    "logcumsumexp last": lambda x: x[0].logcumsumexp(-1),
    "linear_recurrence": lambda x: recurrence(x[0], x[1]),
    "max_dim": lambda x: x[0].max(1).values,
    "min_dim": lambda x: x[0].min(-1, keepdim=True).values,
    "argmax": lambda x: x[0].gather(1, x[0].argmax(1, keepdim=True)),
    "argmin": lambda x: x[0].gather(0, x[0].argmin(0, keepdim=True)),
    "sort": lambda x: x[0].sort(1).values,
    "sort descending": lambda x: x[0].sort(-1, descending=True).values,
    "argsort": lambda x: x[0].gather(1, x[0].argsort(1, descending=True)),
    "topk": lambda x: x[0].topk(3, 1).values,
    "sort_values squared": lambda x: x[0].sort(1).values.square(),
    "maximum both": lambda x: torch.maximum(x[0], x[1]),
    "rem both": lambda x: torch.remainder(x[0], x[1]),
    "masked_fill both": lambda x: x[0].masked_fill(x[1] > 0, 0.7),
    "sort_values": lambda x: x[0].sort(1, descending=True).values,
    "topk_values": lambda x: x[0].topk(3, 1).values,
    "clamp_min": lambda x: x[0].clamp(min=0.1),
    "clamp_max": lambda x: x[0].clamp(max=0.1),
    "comparisons with numbers": lambda x: x[0] * ((x[0] > 0.1) * 1.0 + (x[0] >= 0.2) * 2.0 + (x[0] < -0.3) * 3.0 + (x[0] <= -0.4) * 5.0 + (x[0] == 0) * 7.0 + (x[0] != 0) * 11.0),
    "rpow": lambda x: 1.7 ** x[0],
    "rem number": lambda x: torch.remainder(x[0], 0.3),
    "floor_div": lambda x: (x[0] / x[1]).floor() * x[0],
    "logit": lambda x: torch.logit(x[0]),
    "sinc": lambda x: torch.sinc(x[0]),
    "l1": lambda x: (x[0] - x[1]).abs(),
    "view": lambda x: x[0].view(3, 4),
    "truths": lambda x: torch.where(x[0] > 0, x[0], torch.zeros_like(x[0])),
    "topk smallest": lambda x: x[0].topk(2, 0, largest=False).values,
    "kthvalue": lambda x: x[0].kthvalue(2, 1).values,
    "median": lambda x: x[0].median(),
    "median_dim": lambda x: x[0].median(1, keepdim=True).values,
    "quantile": lambda x: x[0].quantile(0.3),
    "quantile_dim": lambda x: x[0].quantile(0.6, 0),
    "reshape": lambda x: x[0].reshape(3, 4),
    "flatten": lambda x: x[0].flatten(1, 2),
    "permute": lambda x: x[0].permute(2, 0, 1),
    "transpose": lambda x: x[0].transpose(0, -1),
    "swapaxes": lambda x: x[0].swapaxes(0, 1),
    "movedim": lambda x: x[0].movedim((0, 1), (-1, 0)),
    "t": lambda x: x[0].t(),
    "broadcast_to": lambda x: x[0].broadcast_to(2, 3, 4),
    "expand": lambda x: x[0].expand(2, -1, 4),
    "unsqueeze": lambda x: x[0].unsqueeze(-1),
    "squeeze": lambda x: x[0].squeeze(1),
    "narrow": lambda x: x[0][:, 1:4],
    "slice": lambda x: x[0][1:6:2],
    "select": lambda x: x[0].select(0, 1),
    "flip": lambda x: x[0].flip((0, 2)),
    "cat": lambda x: torch.cat([x[0], x[1], x[0]], 1),
    "stack": lambda x: torch.stack(x, 1),
    "contiguous": lambda x: x[0].t(),
    "tile": lambda x: x[0].tile(2, 1, 2),
    "repeat": lambda x: x[0].repeat(2, 3),
    "repeat_interleave": lambda x: x[0].repeat_interleave(2, 1),
    "roll": lambda x: x[0].roll((1, -6), (0, 1)),
    "split": lambda x: join(*x[0].split(2, 0)),
    "split_sizes": lambda x: join(*x[0].split([1, 4], 1)),
    "chunk": lambda x: join(*x[0].chunk(3, 0)),
    "unbind": lambda x: join(*x[0].unbind(1)),
    "meshgrid": lambda x: join(*torch.meshgrid(*x, indexing="ij")),
    "tril": lambda x: x[0].tril(),
    "tril below": lambda x: x[0].tril(-1),
    "triu": lambda x: x[0].triu(1),
    "tri": lambda x: x[0] * torch.ones(4, 3).tril(-1),
    "eye": lambda x: x[0] * torch.eye(3),
    "diagonal": lambda x: x[0].diagonal(1, 0, 2),
    "diagonal below": lambda x: x[0].diagonal(-2, 0, 1),
    "diag_embed": lambda x: torch.diag_embed(x[0], -1),
    "diag vector": lambda x: x[0].diag(1),
    "diag matrix": lambda x: x[0].diag(),
    "trace": lambda x: x[0].diagonal(0, -2, -1).sum(-1),
    "pad": lambda x: F.pad(x[0], (2, 1, 1, 0), value=0.5),
    "pad crop": lambda x: F.pad(x[0], (1, -2, -1, 2)),
    "pad reflect": lambda x: F.pad(x[0][None], (1, 3, 2, 1), mode="reflect")[0],
    "pad replicate": lambda x: F.pad(x[0][None], (2, 5), mode="replicate")[0],
    "pad circular": lambda x: F.pad(x[0][None], (2, 3), mode="circular")[0],
    "unfold": lambda x: x[0].unfold(1, 3, 2),
    "fold": lambda x: sum(
        F.pad(x[0][k].t(), (0, 0, 2 * k, 8 - 4 - 2 * k)) for k in range(3)
    ),
    "unfold2d": lambda x: F.unfold(x[0], (2, 3), dilation=(1, 2), padding=(1, 0), stride=(2, 1)),
    "fold2d": lambda x: F.fold(x[0], (4, 3), (2, 2), padding=(1, 0), stride=(2, 1)),
    "max_pool": lambda x: F.max_pool2d(x[0], 2),
    "max_pool odd": lambda x: F.max_pool2d(x[0], 2),
    "max_pool overlap": lambda x: F.max_pool2d(x[0], (3, 2), (2, 1), (1, 1)),
    "max_pool dilated": lambda x: F.max_pool1d(x[0], 3, 2, 1, 2),
    "max_pool ceil": lambda x: F.max_pool2d(x[0], (2, 3), 2, 1, ceil_mode=True),
    "max_pool volume": lambda x: F.max_pool3d(x[0], (2, 3, 2), (2, 1, 2), (1, 1, 0)),
    "max_pool planes": lambda x: F.max_pool3d(x[0], (1, 2, 2)),
    "max_pool_places": lambda x: (lambda y, i: y + x[0].reshape(2, 20).gather(1, i.reshape(2, 6)).reshape(y.shape) / 2)(
        *F.max_pool2d(x[0], 3, (2, 1), (1, 0), return_indices=True)
    ),
    "adaptive_max_pool": lambda x: F.adaptive_max_pool2d(x[0], (3, 4)),
    "adaptive_max_pool volume": lambda x: F.adaptive_max_pool3d(x[0], 2),
    "adaptive_max_pool_places": lambda x: (lambda y, i: y * x[0].gather(1, i))(
        *F.adaptive_max_pool1d(x[0], 3, return_indices=True)
    ),
    "max_unpool": lambda x: F.max_unpool2d(
        x[0], I([0, 3, 8, 15, 1, 2, 12, 11]).reshape(1, 2, 2, 2), 2, output_size=(4, 4)
    ),
    "avg_pool": lambda x: F.avg_pool2d(x[0], 2),
    "avg_pool overlap": lambda x: F.avg_pool2d(x[0], (3, 2), (2, 1), 1),
    "avg_pool inside": lambda x: F.avg_pool2d(x[0], (2, 3), 2, 1, ceil_mode=True, count_include_pad=False),
    "avg_pool ceil": lambda x: F.avg_pool2d(x[0], (2, 3), 2, 1, ceil_mode=True),
    "avg_pool divisor": lambda x: F.avg_pool3d(x[0], 2, (1, 2, 1), (0, 1, 1), divisor_override=3),
    "avg_pool line": lambda x: F.avg_pool1d(x[0], 4, 3, 2),
    "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x[0], (3, 4)),
    "adaptive_avg_pool volume": lambda x: F.adaptive_avg_pool3d(x[0], (2, 3, 1)),
    "adaptive_avg_pool up": lambda x: F.adaptive_avg_pool1d(x[0], 5),
    "lp_pool": lambda x: F.lp_pool2d(x[0], 2.0, (2, 3), (2, 1)),
    "lp_pool cubes": lambda x: F.lp_pool1d(x[0], 3.0, 2, 1),
    "lp_pool volume": lambda x: F.lp_pool3d(x[0], 2.0, (2, 2, 3), stride=1),
    "lp_pool infinity": lambda x: F.lp_pool1d(x[0], float("inf"), 2),
    "interpolate nearest": lambda x: F.interpolate(x[0], (7, 3)),
    "interpolate nearest exact": lambda x: F.interpolate(x[0], (7, 3), mode="nearest-exact"),
    "interpolate line": lambda x: F.interpolate(x[0], 8, mode="linear"),
    "interpolate bilinear": lambda x: F.interpolate(x[0], (5, 4), mode="bilinear"),
    "interpolate aligned": lambda x: F.interpolate(x[0], (6, 1), mode="bilinear", align_corners=True),
    "interpolate trilinear": lambda x: F.interpolate(x[0], (3, 2, 4), mode="trilinear"),
    "interpolate bicubic": lambda x: F.interpolate(x[0], (6, 4), mode="bicubic"),
    "interpolate bicubic aligned": lambda x: F.interpolate(x[0], (3, 7), mode="bicubic", align_corners=True),
    "interpolate_by": lambda x: F.interpolate(x[0], scale_factor=(1.5, 0.7), mode="bilinear"),
    "interpolate_by nearest": lambda x: F.interpolate(x[0], scale_factor=(2.5, 0.7)),
    "interpolate_by cubic": lambda x: F.interpolate(x[0], scale_factor=(1.5, 1.0), mode="bicubic"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x[0], 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[0], 2),
    "gather": lambda x: x[0].gather(0, I([[2, 0, 1], [1, 2, 2]])),
    "scatter_add": lambda x: x[0].scatter_add(0, I([[2, 0, 1], [2, 2, 0]]), x[1]),
    "scatter": lambda x: scatter(x[0], I([[2, 0, 1], [1, 2, 0]]), x[1]),
    "scatter_value": lambda x: x[0].scatter(1, I([[2], [0], [1]]), 0.5),
    "index_select": lambda x: x[0].index_select(1, I([3, 0, 3, 1, 3])),
    "index_add": lambda x: x[0].index_add(1, I([3, 0, 3]), x[1]),
    "embedding": lambda x: F.embedding(I([[3, 0], [3, 1]]), x[0]),
    "take": lambda x: x[0].take(I([[11, 0], [5, 5]])),
    "masked_select": lambda x: x[0].masked_select(I([True, False, True])),
    "one_hot": lambda x: x[0] * F.one_hot(I([2, 0]), 3),
    "truth": lambda x: x[0] * I([1.0, 0.0, 1.0]),
    "matmul": lambda x: x[0] @ x[1],
    "matmul batched": lambda x: x[0] @ x[1],
    "matmul vector": lambda x: x[0] @ x[1],
    "matmul rows": lambda x: x[0] @ x[1],
    "matmul shared": lambda x: x[0] @ x[1],
    "dot": lambda x: x[0] @ x[1],
    "outer": lambda x: torch.outer(x[0], x[1]),
    "linear": lambda x: F.linear(x[0], x[1], x[2]),
    "softmax": lambda x: x[0].softmax(1),
    "softmax last": lambda x: x[0].softmax(-1),
    "log_softmax": lambda x: x[0].log_softmax(1),
    "log_softmax last": lambda x: x[0].log_softmax(-1),
    "cross_entropy": lambda x: F.cross_entropy(x[0], I([2, 0, 3])),
    "cross_entropy_rows": lambda x: F.cross_entropy(
        x[0], I([[2, 0], [-1, 1]]), ignore_index=-1, reduction="none"
    ),
    "mse": lambda x: F.mse_loss(x[0], x[1]),
    "cross_entropy_weighted": cross_entropy_weighted,
    "cross_entropy_weighted images": lambda x: F.cross_entropy(
        x[0], I([[2, 0], [1, 1]]), label_smoothing=0.2, reduction="none"
    ),
    "cross_entropy_probabilities": lambda x: -(x[0].log_softmax(1) * x[1] * x[2][:, None]).sum(1),
    "nll": lambda x: nll(x[0], x[1], [2, -1, 3], -1)[0],
    "bce_with_logits": bce_pos,
    "kl_div": lambda x: F.kl_div(x[0], x[1], reduction="none"),
    "kl_div_log": lambda x: F.kl_div(x[0], x[1], reduction="none", log_target=True),
    "smooth_l1": lambda x: F.smooth_l1_loss(x[0], x[1], beta=0.7, reduction="none"),
    "poisson_nll": lambda x: F.poisson_nll_loss(x[0], x[1], full=True, reduction="none"),
    "gaussian_nll": lambda x: F.gaussian_nll_loss(x[0], x[1], x[2], full=True, reduction="none"),
    "hinge": lambda x: (1 - x[0] * x[1]).relu(),
    "soft_margin": lambda x: F.softplus(-x[0] * x[1]),
    "hinge_embedding": lambda x: F.hinge_embedding_loss(x[0], signs(2, 3), reduction="none"),
    "multi_margin": lambda x: (
        (x[0] - x[0].gather(1, I([[2], [0], [3]])) + 1).relu() * (1 - F.one_hot(I([2, 0, 3]), 4))
    ).sum(1)
    / 4
    * x[1][I([2, 0, 3])],
    "multi_margin 2": lambda x: (
        (x[0] - x[0].gather(1, I([[2], [0], [3]])) + 0.5).relu() ** 2 * (1 - F.one_hot(I([2, 0, 3]), 4))
    ).sum(1)
    / 4,
    "margin_ranking": lambda x: (0.3 - x[2] * (x[0] - x[1])).relu(),
    "cosine_similarity": lambda x: F.cosine_similarity(x[0], x[1], 1),
    "normalize": lambda x: F.normalize(x[0], 3.0, 0, 1e-8),
    "pairwise_distance": lambda x: F.pairwise_distance(x[0], x[1]),
    "cosine_embedding": lambda x: F.cosine_embedding_loss(x[0], x[1], signs(2), 0.1, reduction="none"),
    "triplet": lambda x: F.triplet_margin_loss(x[0], x[1], x[2], reduction="none"),
    "triplet swap": lambda x: F.triplet_margin_loss(
        x[0], x[1], x[2], p=3.0, swap=True, reduction="none"
    ),
    "focal": lambda x: focal(x[0], x[1]),
    "dice": lambda x: 1 - (2 * (x[0] * x[1]).sum(1) + 1) / (x[0].sum(1) + x[1].sum(1) + 1),
    "softmin": lambda x: F.softmin(x[0], 1),
    "sparsemax": lambda x: sparsemax(x[0], 1),
    "sparsemax first": lambda x: sparsemax(x[0], 0),
    "glu": lambda x: F.glu(x[0], 1),
    "swiglu": lambda x: F.silu(x[0][:2]) * x[0][2:],
    "geglu": lambda x: F.gelu(x[0][:, :2]) * x[0][:, 2:],
    "rrelu": lambda x: F.rrelu(x[0], 0.125, 0.375, training=False),
    "powi": powi,
    "softplus": lambda x: F.softplus(x[0]),
    "swish": lambda x: x[0] * (1.5 * x[0]).sigmoid(),
    "einsum product": lambda x: torch.einsum("ij,jk->ik", *x),
    "einsum implicit": lambda x: torch.einsum("bj, aj", *x),
    "einsum batched": lambda x: torch.einsum("bqd,bkd->bqk", *x),
    "einsum ellipsis": lambda x: torch.einsum("...ij,...jk->...ki", *x),
    "einsum diagonal": lambda x: torch.einsum("iij->ji", *x),
    "einsum trace": lambda x: torch.einsum("iii->", *x),
    "einsum outer": lambda x: torch.einsum("i,j,k->kij", *x),
    "einsum chain": lambda x: torch.einsum("ij,jk,kl,l->i", *x),
    "einsum sums": lambda x: torch.einsum("ij,kl->jk", *x),
    "einsum stretch": lambda x: torch.einsum("ij,jk->ik", *x),
    "try_einsum": lambda x: torch.einsum("ij->ji", *x),
    "kron": lambda x: torch.kron(x[0], x[1]),
    "kron vector": lambda x: torch.kron(x[0], x[1]),
    "layer_norm": lambda x: F.layer_norm(x[0], (5,), x[1], x[2]),
    "layer_norm bare": lambda x: F.layer_norm(x[0], (3, 2)),
    "layer_norm weight": lambda x: F.layer_norm(x[0], (3, 4), x[1], eps=0.1),
    "layer_norm bias": lambda x: F.layer_norm(x[0], (18,)) + x[1],
    "rms_norm": lambda x: F.rms_norm(x[0], (17,), x[1], 1e-5),
    "rms_norm bare": lambda x: F.rms_norm(x[0], (4,), None, 1e-5),
    "group_norm": lambda x: F.group_norm(x[0], 2, x[1], x[2]),
    "instance_norm": lambda x: F.instance_norm(x[0], weight=x[1], bias=x[2]),
    "batch_norm": lambda x: F.batch_norm(x[0], None, None, x[1], x[2], training=True),
    "batch_normalized": lambda x: join(
        F.batch_norm(x[0], None, None, x[1], x[2], training=True),
        x[0].mean((0, 2)),
        x[0].var((0, 2), correction=0),
    ),
    "batch_normalized relu": lambda x: F.batch_norm(x[0], None, None, x[1], x[2], training=True, eps=0.1).relu(),
    "batch_normalized squared": lambda x: F.batch_norm(x[0], None, None, x[1], x[2], training=True, eps=0.1).relu() ** 2,
    "layer_norm squared": lambda x: F.layer_norm(x[0], (5,), x[1], x[2], eps=0.1) ** 2,
    "batch_normalized times": lambda x: F.batch_norm(x[0], None, None, x[1], x[2], training=True, eps=0.1).relu() * x[0],
    "batch_normalized bare": lambda x: F.batch_norm(x[0], None, None, None, None, training=True, eps=0.1),
    "batch_normalized bias": lambda x: F.batch_norm(
        x[0], None, None, torch.ones(2), x[1], training=True, eps=0.1
    ).relu(),
    "batch_normalized vectors": lambda x: F.batch_norm(x[0], None, None, x[1], None, training=True, eps=0.1).relu(),
    "batch_norm given": lambda x: (x[0] - x[1]) / (x[2] + 1e-5).sqrt(),
    "local_response_norm": lambda x: F.local_response_norm(x[0], 3, 0.5, 0.75, 1.0),
    "inverse": lambda x: x[0].inverse(),
    "solve": lambda x: torch.linalg.solve(x[0], x[1]),
    "solve vector": lambda x: torch.linalg.solve(x[0], x[1]),
    "solve broadcast": lambda x: torch.linalg.solve(x[0].expand(2, 3, 3), x[1]),
    "triangular_solve": lambda x: torch.linalg.solve_triangular(x[0].tril(), x[1], upper=False),
    "triangular_solve upper unit": lambda x: torch.linalg.solve_triangular(
        x[0].triu(1) + torch.eye(3), x[1], upper=True, unitriangular=True
    ),
    "cholesky": lambda x: torch.linalg.cholesky(
        (x[0] + x[0].transpose(-1, -2)) / 2 + 2 * torch.eye(3)
    ),
    "det": lambda x: torch.det(x[0]),
    "slogdet": lambda x: (lambda r: r[0].detach() * r[1])(torch.linalg.slogdet(x[0])),
    "matrix_power": lambda x: torch.matrix_power(x[0], 5),
    "matrix_power negative": lambda x: torch.matrix_power(x[0], -3),
    "lstsq": lambda x: torch.linalg.pinv(x[0]) @ x[1],
    "lstsq wide": lambda x: torch.linalg.pinv(x[0]) @ x[1],
    "pinv": lambda x: torch.linalg.pinv(x[0]),
    "qr": lambda x: join(*torch.linalg.qr(x[0])),
    # PyTorch has no rule for the wide matrix; its leading square has one.
    "qr wide": lambda x: (lambda q, r: join(q, torch.cat([r, q.t() @ x[0][:, 2:]], 1)))(
        *torch.linalg.qr(x[0][:, :2])
    ),
    "eigh": lambda x: join(*eigh(x[0])),
    "eigvalsh": lambda x: eigh(x[0])[0],
    "svd": lambda x: join(*svd(x[0])),
    "svd wide": lambda x: join(*svd(x[0])),
    "svdvals": lambda x: svd(x[0])[1],
    "scaled_dot_product_attention": lambda x: sdpa(*x),
    "attention causal": lambda x: sdpa(
        x[0].expand(2, 2, 4, 3), x[1].expand(2, 2, 4, 3), x[2].expand(2, 2, 4, 2), is_causal=True, scale=0.7
    ),
    "attention mask stretched": lambda x: sdpa(x[0], x[1], x[2], attn_mask=x[3]),
    "attention mask rows": lambda x: sdpa(x[0], x[1], x[2], attn_mask=x[3] + torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)),
    "attention mask": lambda x: sdpa(x[0], x[1], x[2], attn_mask=x[3]),
    "to_complex": lambda x: torch.stack([x[0], torch.zeros_like(x[0])], -1),
    "complex_mul": lambda x: R(C(x[0]) * C(x[1])),
    "complex_conj": lambda x: R(C(x[0]).conj()),
    "complex_abs": lambda x: C(x[0]).abs(),
    "fft": lambda x: R(torch.fft.fft(C(x[0]), dim=1)),
    "fft first": lambda x: R(torch.fft.fft(C(x[0]), dim=0, norm="ortho")),
    "ifft": lambda x: R(torch.fft.ifft(C(x[0]))),
    "fftn": lambda x: R(torch.fft.fftn(C(x[0]), norm="forward")),
    "ifftn": lambda x: R(torch.fft.ifftn(C(x[0]), norm="ortho")),
    "rfft": lambda x: R(torch.fft.rfft(x[0])),
    "rfft even": lambda x: R(torch.fft.rfft(x[0], dim=0, norm="ortho")),
    "irfft": lambda x: torch.fft.irfft(C(x[0]), 7),
    "irfft even": lambda x: torch.fft.irfft(C(x[0]), 6),
    "irfft fewer": lambda x: torch.fft.irfft(C(x[0]), 8),
    "irfft more": lambda x: torch.fft.irfft(C(x[0]), 7, norm="ortho"),
    "irfft cut in the middle": lambda x: torch.fft.irfft(C(x[0]), 4),
    "rfftn": lambda x: R(torch.fft.rfftn(x[0])),
    "irfftn": lambda x: torch.fft.irfftn(C(x[0]), (3, 4)),
    "fftshift": lambda x: torch.fft.fftshift(x[0]),
    "ifftshift": lambda x: torch.fft.ifftshift(x[0]),
    "ctc": lambda x: ctc(x[0], [[1, 2], [3, 3], [1, 0]], [5, 4, 3], [2, 2, 0], 0),
    "ctc short": lambda x: ctc(x[0], [[1, 2], [1, 1], [2, 0], [0, 0]], [3, 2, 1, 0], [2, 1, 1, 0], 0),
    "ctc free": lambda x: ctc(x[0], [[1, 1], [0, 1]], [4, 4], [2, 1], 2, norm=False),
    "conv1d": lambda x: F.conv1d(x[0], x[1]),
    "conv1d bias": lambda x: F.conv1d(x[0], x[1], x[2], stride=2, padding=1),
    "conv1d same": lambda x: F.conv1d(x[0], x[1], padding="same"),
    "conv1d single": lambda x: F.conv1d(x[0], x[1], dilation=2, padding=1),
    "conv1d depthwise": lambda x: F.conv1d(x[0], x[1], groups=3, padding=2, stride=2),
    "conv1d zeros only": lambda x: F.conv1d(x[0], x[1], padding=3),
    "conv2d": lambda x: F.conv2d(x[0], x[1]),
    "conv2d padding": lambda x: F.conv2d(x[0], x[1], x[2], padding=1),
    "conv2d stride": lambda x: F.conv2d(x[0], x[1], stride=2, padding=1),
    "conv2d uneven": lambda x: F.conv2d(x[0], x[1], stride=(2, 1), padding=(0, 2), dilation=(3, 2)),
    "conv2d point": lambda x: F.conv2d(x[0], x[1]),
    "conv2d point stride": lambda x: F.conv2d(x[0], x[1], stride=2),
    "conv2d same": lambda x: F.conv2d(x[0], x[1], padding="same", dilation=(1, 2)),
    "conv2d groups": lambda x: F.conv2d(x[0], x[1], groups=2, padding="valid"),
    "conv2d depthwise": lambda x: F.conv2d(x[0], x[1], groups=2, padding=1),
    "conv2d depthwise two": lambda x: F.conv2d(x[0], x[1], groups=2, stride=2, padding=1),
    "conv2d single": lambda x: F.conv2d(x[0], x[1], x[2]),
    "conv3d": lambda x: F.conv3d(x[0], x[1]),
    "conv3d uneven": lambda x: F.conv3d(x[0], x[1], x[2], stride=(2, 1, 1), padding=(1, 0, 1), dilation=(2, 1, 1)),
    "conv3d depthwise": lambda x: F.conv3d(x[0], x[1], groups=2, padding=1, stride=2),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x[0], x[1], x[2], stride=2),
    "conv_transpose1d single": lambda x: F.conv_transpose1d(x[0], x[1], stride=3, padding=2, output_padding=2),
    "conv_transpose1d dilation": lambda x: F.conv_transpose1d(x[0], x[1], dilation=3, output_padding=2, stride=2, padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x[0], x[1]),
    "conv_transpose2d stride": lambda x: F.conv_transpose2d(x[0], x[1], stride=2, padding=1, output_padding=1),
    "conv_transpose2d groups": lambda x: F.conv_transpose2d(x[0], x[1], stride=(1, 3), groups=2, padding=(1, 0)),
    "conv_transpose2d depthwise": lambda x: F.conv_transpose2d(x[0], x[1], x[2], stride=2, groups=2),
    "conv_transpose3d": lambda x: F.conv_transpose3d(x[0], x[1], stride=(2, 1, 2), padding=(0, 1, 1), output_padding=(1, 0, 0)),
}


def shapes():
    """Case name -> list of (shape, lo, hi), from the Rust table."""
    text = (Path(__file__).parent.parent / "registry" / "mod.rs").read_text()
    ranges = {"AROUND": (-2.0, 2.0), "POSITIVE": (0.5, 2.0)}
    cases = {}
    # A case starts at the beginning of a line: "name" [inputs] |x|
    for name, inputs in re.findall(r'^\s{4}"([^"]+)"\s*\[(.*?)\]\s*\|x\|', text, re.S | re.M):
        found = re.findall(r"\(\s*\[([\d,\s]*)\]\s*,\s*(AROUND|POSITIVE|\([^)]*\))", inputs)
        cases[name] = []
        for dims, r in found:
            shape = [int(d) for d in dims.split(",") if d.strip()]
            lo, hi = ranges[r] if r in ranges else eval(r)
            cases[name].append((shape, lo, hi))
    return cases


def line(name, inputs, f):
    """The reference line of a case: name, shape, and the projections of value, gradients and second derivatives."""
    h = fnv(name)
    xs = [
        torch.tensor(numbers(h + k, int(np.prod(s)), lo, hi)).reshape(s).requires_grad_()
        for k, (s, lo, hi) in enumerate(inputs)
    ]

    def project(v):
        v = v.detach().reshape(-1).numpy(force=True)
        return " ".join(f"{float(np.dot(v, numbers(h + 1000 + k, v.size, -1.0, 1.0))):.15g}" for k in range(2))

    def pull(y, c):
        if not any(t.requires_grad for t in y):
            return [torch.zeros_like(x) for x in xs]
        y, c = zip(*[(a, b) for a, b in zip(y, c) if a.requires_grad])
        g = torch.autograd.grad(y, xs, c, create_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if t is None else t for t, x in zip(g, xs)]

    y = f(xs)
    c = torch.tensor(numbers(h ^ 99, y.numel(), -1.0, 1.0)).reshape(y.shape)
    g = pull([y], [c])
    w = [torch.tensor(numbers((h ^ 77) + k, x.numel(), -1.0, 1.0)).reshape(x.shape) for k, x in enumerate(xs)]
    s = pull(g, w)
    dims = ",".join(str(d) for d in y.shape)
    return "|".join([name, dims, *[project(v) for v in [y, *g, *s]]])


def main():
    table = shapes()
    missing = sorted(set(table) ^ set(CASES))
    if missing:
        sys.exit(f"cases in one table only: {missing}")
    for name, inputs in table.items():
        print(line(name, inputs, CASES[name]))


if __name__ == "__main__":
    main()
