"""Reference values for the options of layers, computed by PyTorch in f64: every option in each meaningful value and the
usual combinations. Same format as generate.py.

    python options.py             # writes option_*.txt beside this script
"""

import torch
import torch.nn.functional as F
from torch import nn

from generate import Block, File, Own, Separable

SPACE = {1: (5,), 2: (3, 4), 3: (3, 3, 3)}


def trained(m, *x):
    """Brings running statistics and singular vectors away from their start, then evaluates."""
    with torch.no_grad():
        m(*x)
    return m.eval()


def maps():
    f = File("option_maps", 12)
    m = nn.Bilinear(3, 2, 4, bias=False)
    f.case("bilinear no_bias", [f.rand(5, 3), f.rand(5, 2)], m, m)
    m = nn.Embedding(4, 2, padding_idx=0)
    ids = torch.tensor([[0, 3], [1, 0]])
    f.case("embedding padding_first", [], lambda: m(ids), m, extra={"ids": ids})
    one = torch.tensor(2)
    m1 = nn.Embedding(4, 2)
    f.case("embedding scalar", [], lambda: m1(one), m1, extra={"ids": one})
    x = f.rand(3, 4)
    for name, fn in {
        "leaky 0": lambda x: F.leaky_relu(x, 0.0), "leaky 1.5": lambda x: F.leaky_relu(x, 1.5),
        "elu 2": lambda x: F.elu(x, 2.0), "softplus 0.5": lambda x: F.softplus(x, 0.5),
        "softmax 0": lambda x: F.softmax(x, 0), "log_softmax 0": lambda x: F.log_softmax(x, 0),
        "glu 1": lambda x: F.glu(x, 1), "softshrink 1": lambda x: F.softshrink(x, 1.0),
        "hardshrink 1": lambda x: F.hardshrink(x, 1.0), "threshold": lambda x: F.threshold(x, -0.3, 2.0),
        "squareplus 1": lambda x: (x + torch.sqrt(x * x + 1)) / 2,
        "celu 0.5": lambda x: torch.where(x > 0, x, 0.5 * torch.expm1(x / 0.5)),
    }.items():
        f.case(f"act {name}", [x], fn)
    for d in (1, 2, 3):
        conv, up = getattr(nn, f"Conv{d}d"), getattr(nn, f"ConvTranspose{d}d")
        x = lambda c: f.rand(1, c, *SPACE[d])
        axes = lambda *a: a[:d]
        kernel = axes(2, 3, 2)
        one = lambda name, m, c: f.case(f"{name} {d}", [x(c)], m, m)
        one("conv stride", conv(2, 3, kernel, stride=axes(2, 1, 2)), 2)
        one("conv padding", conv(2, 1, kernel, padding=axes(1, 2, 0)), 2)
        one("conv valid", conv(2, 3, kernel, padding="valid"), 2)
        one("conv same_even", conv(2, 1, 2, padding="same"), 2)
        one("conv dilation", conv(2, 3, kernel, dilation=axes(2, 1, 1)), 2)
        one("conv groups", conv(2, 4, kernel, groups=2), 2)
        one("conv all", conv(2, 4, kernel, axes(1, 2, 1), axes(2, 1, 1), axes(2, 1, 2), 2, bias=False), 2)
        m = conv(2, 1, kernel)
        f.case(f"conv one_sample {d}", [f.rand(2, *SPACE[d])], m, m)
        one("depthwise no_bias", conv(3, 3, kernel, groups=3, bias=False), 3)
        one("separable stride", Separable(d, 2, 3, kernel, stride=2), 2)
        m = Separable(d, 2, 3, kernel, padding=2, dilation=2)
        m.pointwise = conv(2, 3, 1, bias=False)
        one("separable dilation", m, 2)
        one("transpose stride", up(2, 1, kernel, axes(2, 1, 2)), 2)
        one("transpose padding", up(2, 2, kernel, padding=axes(1, 2, 1)), 2)
        one("transpose output_padding", up(1, 1, kernel, 3, output_padding=axes(2, 1, 0)), 1)
        one("transpose dilation", up(2, 1, kernel, dilation=axes(2, 1, 2)), 2)
        one("transpose groups", up(2, 4, kernel, groups=2), 2)
        m = up(2, 1, kernel)
        f.case(f"transpose one_sample {d}", [f.rand(2, *SPACE[d])], m, m)
    f.write()


def pools():
    f = File("option_pools", 12)
    big = {1: (7,), 2: (5, 7), 3: (4, 3, 5)}
    for d in (1, 2, 3):
        x = [f.rand(1, 2, *big[d])]
        axes = lambda *a: a[:d]
        get = lambda n: getattr(F, f"{n}_pool{d}d")
        k = axes(3, 2, 2) if d > 1 else 3
        one = lambda name, fn, x=x: f.case(f"{name} {d}", x, fn)
        one("max stride", lambda x: get("max")(x, k, axes(2, 1, 3)))
        one("max padding", lambda x: get("max")(x, k, padding=axes(1, 1, 0)))
        one("max dilation", lambda x: get("max")(x, 2, dilation=axes(2, 1, 2)))
        one("max ceil", lambda x: get("max")(x, 2, ceil_mode=True))
        one("avg stride", lambda x: get("avg")(x, k, axes(2, 1, 3)))
        one("avg padding", lambda x: get("avg")(x, k, padding=axes(1, 1, 0)))
        one("avg ceil", lambda x: get("avg")(x, 2, ceil_mode=True))
        one("avg inside", lambda x: get("avg")(x, k, padding=axes(1, 1, 0), count_include_pad=False))
        if d > 1:
            one("avg fixed", lambda x: get("avg")(x, k, divisor_override=5))
        up = [x[0].abs() + 0.1]
        one("lp cube", lambda x: get("lp")(x, 3.0, k), up)
        one("lp one", lambda x: get("lp")(x, 1.0, k, axes(2, 1, 3) if d > 1 else 2), up)
        # PyTorch's own ceil_mode scales a sum that hangs over the end as if the window were whole; zeros do not.
        one("lp ceil", lambda x: get("lp")(F.pad(x, (0, 1) * d), 2.0, 2), up)
        one("adaptive_max sizes", lambda x: get("adaptive_max")(x, axes(2, 3, 1)))
        one("adaptive_avg sizes", lambda x: get("adaptive_avg")(x, axes(2, 3, 1)))
        one("adaptive_avg larger", lambda x: get("adaptive_avg")(x, 8))
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[d]
        one("upsample nearest_to", nn.Upsample(size=axes(4, 9, 2)))
        one("upsample exact_to", nn.Upsample(size=axes(4, 9, 2), mode="nearest-exact"))
        one("upsample exact_by", nn.Upsample(scale_factor=axes(1.5, 0.7, 2.0), mode="nearest-exact"))
        one("upsample nearest_by", nn.Upsample(scale_factor=axes(1.5, 0.7, 2.0)))
        one("upsample linear_by", nn.Upsample(scale_factor=axes(1.5, 0.7, 2.0), mode=mode))
        one("upsample aligned_by", nn.Upsample(scale_factor=axes(1.5, 0.7, 2.0), mode=mode, align_corners=True))
    x = [f.rand(1, 2, 4, 5)]
    f.case("upsample cubic_to 2", x, nn.Upsample(size=(6, 3), mode="bicubic"))
    f.case("upsample cubic_aligned 2", x, nn.Upsample(size=(6, 3), mode="bicubic", align_corners=True))
    f.case("upsample cubic_aligned_by 2", x, nn.Upsample(scale_factor=(1.5, 2), mode="bicubic", align_corners=True))
    f.case("shuffle 3", [f.rand(1, 9, 2, 1)], nn.PixelShuffle(3))
    f.case("unshuffle 3", [f.rand(2, 1, 3, 6)], nn.PixelUnshuffle(3))
    x = [f.rand(2, 3, 2, 2)]
    f.case("flatten start", x, nn.Flatten(0, 1))
    f.case("flatten end", x, nn.Flatten(1, -2))
    f.case("flatten all", x, nn.Flatten(0, -1))
    f.case("unflatten first", [f.rand(6, 2)], nn.Unflatten(0, (3, 1, 2)))
    f.case("lambda", x, lambda x: torch.sin(x) * x.sum(-1, keepdim=True))
    f.write()


def norms():
    f = File("option_norms", 12)
    shapes = {1: (4, 3, 2), 2: (2, 3, 3, 2), 3: (2, 3, 2, 2, 2)}
    for d in (1, 2, 3):
        cls, inst = getattr(nn, f"BatchNorm{d}d"), getattr(nn, f"InstanceNorm{d}d")
        x = lambda: f.rand(*shapes[d]) * 2 + 1
        for name, k in {"momentum0": dict(momentum=0.0), "momentum1": dict(momentum=1.0), "eps": dict(eps=0.5),
                        "cumulative": dict(momentum=None), "no_affine": dict(affine=False),
                        "no_statistics": dict(track_running_stats=False),
                        "plain": dict(affine=False, track_running_stats=False)}.items():
            m = cls(3, **k)
            if m.running_mean is not None:
                m(x())
            f.case(f"batch {name} {d}", [x()], m, m)
            if k.get("track_running_stats", True):
                f.case(f"batch {name}_eval {d}", [x()], trained(m, x()), m)
            else:
                f.case(f"batch {name}_eval {d}", [x()], m.eval(), m)
        counted = lambda n: None if n.startswith("num_") else n
        for name, k in {"eps": dict(eps=0.5), "affine": dict(affine=True),
                        "statistics": dict(track_running_stats=True, momentum=0.3),
                        "both": dict(affine=True, track_running_stats=True)}.items():
            m = inst(3, **k)
            f.case(f"instance {name} {d}", [x()], m, m, rename=counted)
            if "track_running_stats" in k:
                f.case(f"instance {name}_eval {d}", [x()], trained(m, x()), m, rename=counted)
    for name, m in {"layer eps": nn.LayerNorm(4, eps=0.3), "layer no_bias": nn.LayerNorm((3, 4), bias=False),
                    "layer no_affine": nn.LayerNorm((3, 4), elementwise_affine=False),
                    "rms eps": nn.RMSNorm((3, 4), eps=0.3), "rms no_affine": nn.RMSNorm(4, elementwise_affine=False)}.items():
        f.case(name, [f.rand(2, 3, 4)], m, m)
    for name, m in {"group one": nn.GroupNorm(1, 4), "group all": nn.GroupNorm(4, 4), "group eps": nn.GroupNorm(2, 4, eps=0.3),
                    "group no_affine": nn.GroupNorm(2, 4, affine=False)}.items():
        f.case(name, [f.rand(2, 4, 3)], m, m)
    for n in (1, 2, 5):
        f.case(f"local {n}", [f.rand(2, 5, 3)], nn.LocalResponseNorm(n))
    f.case("local settings", [f.rand(2, 5, 3)], nn.LocalResponseNorm(3, 0.7, 0.5, 3.0))

    # Norms of weights, around every kind of layer that has one.
    wn, sn = nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm
    kinds = {"linear": (lambda: nn.Linear(3, 4), 0, (5, 3)), "linear_no_bias": (lambda: nn.Linear(3, 4, bias=False), 0, (5, 3))}
    for d in (1, 2, 3):
        space = (3,) * d
        conv, up = getattr(nn, f"Conv{d}d"), getattr(nn, f"ConvTranspose{d}d")
        kinds[f"conv{d}"] = (lambda conv=conv: conv(2, 3, 2), 0, (2, 2, *space))
        kinds[f"transpose{d}"] = (lambda up=up: up(2, 3, 2), 1, (2, 2, *space))
    kinds["groups"] = (lambda: nn.Conv2d(4, 4, 2, groups=2, padding=1, bias=False), 0, (1, 4, 2, 3))
    for name, (make, dim, shape) in kinds.items():
        m = wn(make(), dim=dim)
        names = {"parametrizations.weight.original0": "g", "parametrizations.weight.original1": "inner.weight", "bias": "inner.bias"}
        f.case(f"weight {name}", [f.rand(*shape)], m, m, rename=names.get)
        names = {"parametrizations.weight.original": "inner.weight", "bias": "inner.bias",
                 "parametrizations.weight.0._u": "u", "parametrizations.weight.0._v": "v"}
        m = sn(make(), dim=dim)
        f.case(f"spectral {name}", [f.rand(*shape)], m, m, rename=names.get)
        x = f.rand(*shape)
        f.case(f"spectral {name} eval", [x], m, m, rename=names.get, prepare=lambda: trained(m.train(), x))
        m = make()

        def standardized(x, m=m, dim=dim, eps=1e-5):
            w = m.weight
            axes = [a for a in range(w.dim()) if a != dim]
            c = w - w.mean(axes, keepdim=True)
            w = c / torch.sqrt((c * c).mean(axes, keepdim=True) + eps)
            return torch.func.functional_call(m, {"weight": w}, (x,))
        f.case(f"standard {name}", [f.rand(*shape)], standardized, m, rename=lambda n: f"inner.{n}")
        if name == "linear":
            f.case("standard eps", [f.rand(*shape)], lambda x: standardized(x, eps=0.4), m, rename=lambda n: f"inner.{n}")
    m = sn(nn.Linear(3, 4), n_power_iterations=3, eps=1e-3)
    f.case("spectral rounds", [f.rand(5, 3)], m, m, rename=names.get)
    f.write()


class Grouped(nn.Module):
    """A transposed convolution with groups, each of which has a norm of its own: that of PyTorch for one without groups."""

    def __init__(self, d, norm):
        super().__init__()
        self.inner = getattr(nn, f"ConvTranspose{d}d")(4, 6, 2, groups=2)
        self.kind = norm
        if norm == "weight":
            self.g = nn.Parameter(torch.ones(2, 3, *(1,) * d))
        if norm == "spectral":
            self.norm = nn.utils.parametrizations._SpectralNorm(self.rows(), n_power_iterations=1, dim=0, eps=1e-12)

    def rows(self):
        """A row for each output channel, those of the first group first."""
        return torch.cat([w.transpose(0, 1).flatten(1) for w in self.inner.weight.chunk(2)])

    def forward(self, x):
        w = self.inner.weight
        if self.kind == "weight":
            w = torch.cat([torch._weight_norm(v, g, 1) for v, g in zip(w.chunk(2), self.g.chunk(2))])
        else:
            rows = self.rows()
            if self.kind == "spectral":
                rows = self.norm(rows)
            else:
                c = rows - rows.mean(1, keepdim=True)
                rows = c / torch.sqrt((c * c).mean(1, keepdim=True) + 1e-5)
            w = torch.cat([r.reshape(3, 2, *w.shape[2:]).transpose(0, 1) for r in rows.chunk(2)])
        return torch.func.functional_call(self.inner, {"weight": w}, (x,))


def grouped():
    f = File("option_grouped", 12)
    torch.manual_seed(1)
    names = lambda n: {"norm._u": "u", "norm._v": "v"}.get(n, n)
    for d in (1, 2, 3):
        for norm in ("weight", "spectral", "standard"):
            m, x = Grouped(d, norm), f.rand(2, 4, *(2,) * d)
            f.case(f"{norm} transpose_groups{d}", [x], m, m, rename=names)
            if norm == "spectral":
                f.case(f"{norm} transpose_groups{d} eval", [x], m, m, rename=names, prepare=lambda: trained(m.train(), x))
    f.write()


def turn(x, base=10000.0):
    """Rotary positions, pairs by halves."""
    l, d = x.shape[-2:]
    angle = torch.arange(l)[:, None] * base ** (-2.0 * torch.arange(d // 2) / d)
    cos, sin = torch.cos(angle), torch.sin(angle)
    a, b = x[..., : d // 2], x[..., d // 2:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def table(l, d, base=10000.0):
    i = torch.arange(d)
    angle = torch.arange(l)[:, None] * base ** (-(i // 2 * 2).double() / d)
    return torch.where(i % 2 == 0, torch.sin(angle), torch.cos(angle))


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 4))

    def forward(self, x):
        return x + self.weight[: x.shape[-2]]


def attention():
    f = File("option_attention", 12)
    x = lambda l=3, e=4: f.rand(2, l, e)
    f.case("sinusoidal", [x()], lambda x: x + table(3, 4))
    f.case("sinusoidal base", [x(3, 5)], lambda x: x + table(3, 5, 50.0))
    f.case("rotary", [f.rand(2, 2, 3, 6)], turn)
    f.case("rotary base", [x(5, 6)], lambda x: turn(x, 50.0))
    m = Learned()
    f.case("learned", [x()], m, m)

    def attend(m, q, k, v, heads, rotary=None, mask=None):
        """Multi-head attention written out, with rotary positions."""
        e = q.shape[-1]
        if m.in_proj_weight is not None:
            ws = m.in_proj_weight.chunk(3)
        else:
            ws = (m.q_proj_weight, m.k_proj_weight, m.v_proj_weight)
        bs = m.in_proj_bias.chunk(3) if m.in_proj_bias is not None else (None,) * 3
        cut = lambda x, w, b: F.linear(x, w, b).reshape(x.shape[0], x.shape[1], heads, e // heads).transpose(1, 2)
        q, k, v = (cut(x, w, b) for x, w, b in zip((q, k, v), ws, bs))
        if rotary is not None:
            q, k = turn(q, rotary), turn(k, rotary)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        return m.out_proj(y.transpose(1, 2).reshape(y.shape[0], y.shape[2], e))
    m = nn.MultiheadAttention(4, 2, batch_first=True)
    f.case("mha rotary", [x()], lambda x: attend(m, x, x, x, 2, 10000.0), m)
    f.case("mha rotary_base", [x(), x(2)], lambda q, k: attend(m, q, k, k, 2, 50.0), m)
    heads = torch.tensor([1.0, 2.0])
    slopes = -2.0 ** (-8 * heads / 2)
    distance = (torch.arange(3)[:, None] - torch.arange(2)).abs()
    f.case("mha alibi", [x(), x(2)], lambda q, k: attend(m, q, k, k, 2, None, slopes[:, None, None] * distance), m)
    m2 = nn.MultiheadAttention(4, 2, batch_first=True, dropout=0.5).eval()
    f.case("mha dropout_eval", [x()], lambda x: m2(x, x, x, need_weights=False)[0], m2)
    m3 = nn.MultiheadAttention(4, 4, kdim=3, vdim=5, bias=False, batch_first=True)
    f.case("mha sizes_no_bias", [x(), x(2, 3), x(2, 5)], lambda *a: m3(*a, need_weights=False)[0], m3)
    m4 = nn.MultiheadAttention(4, 1, kdim=3, vdim=4, batch_first=True)
    f.case("mha one_head", [x(), x(2, 3), x(2, 4)], lambda *a: m4(*a, need_weights=False)[0], m4)
    late = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    pad = torch.tensor([[False, False, False], [False, False, True]])

    def everything(q, k, b):
        mask = b.masked_fill(late, -torch.inf)
        return m(q, k, k, attn_mask=mask, key_padding_mask=torch.zeros(2, 3).masked_fill(pad, -torch.inf), need_weights=False)[0]
    f.case("mha all_masks", [x(), x(), f.rand(3, 3)], everything, m)
    f.case("mha weights_masked", [x(), x()], lambda q, k: m(
        q, k, k, attn_mask=late, key_padding_mask=pad, average_attn_weights=False)[1], m)
    acts = {"silu": F.silu, "tanh": torch.tanh}
    for depth, first, act, bias, eps in ((1, False, "silu", True, 1e-5), (2, True, "tanh", True, 1e-5), (2, False, "silu", False, 1e-2),
                                         (3, True, "silu", False, 1e-5)):
        k = dict(dropout=0.3, activation=acts[act], norm_first=first, bias=bias, layer_norm_eps=eps, batch_first=True)
        norm = (lambda: nn.LayerNorm(4, eps=eps, bias=bias)) if first else (lambda: None)
        e = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 3, **k), depth, norm(), enable_nested_tensor=False).eval()
        f.case(f"encoder {depth} {first} {act} {bias} {eps}", [x()], lambda x: e(x, mask=late, src_key_padding_mask=pad), e)
        d = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 3, **k), depth, norm()).eval()
        f.case(f"decoder {depth} {first} {act} {bias} {eps}", [x(), x()],
               lambda x, y: d(x, y, tgt_mask=late, memory_key_padding_mask=pad), d)
    f.write()


def recurrent():
    f = File("option_recurrent", 12)
    for kind, cls, cell in (("tanh", nn.RNN, nn.RNNCell), ("relu", nn.RNN, nn.RNNCell),
                            ("lstm", nn.LSTM, nn.LSTMCell), ("gru", nn.GRU, nn.GRUCell)):
        opt = dict(nonlinearity=kind) if cls is nn.RNN else {}
        lstm = cls is nn.LSTM
        pack = lambda y, h: torch.cat([y.reshape(-1)] + [t.reshape(-1) for t in (h if lstm else (h,))])
        m = cls(2, 3, **opt)
        f.case(f"{kind} steps_first", [f.rand(4, 2, 2)], lambda x: pack(*m(x)), m)
        m1 = cls(2, 3, num_layers=2, bidirectional=True, bias=False, **opt)
        f.case(f"{kind} no_bias_both", [f.rand(4, 2, 2)], lambda x: pack(*m1(x)), m1)
        m2 = cls(2, 3, num_layers=3, dropout=0.5, **opt).eval()
        f.case(f"{kind} dropout_eval", [f.rand(4, 2, 2)], lambda x: pack(*m2(x)), m2)
        m3 = cls(2, 3, num_layers=2, bidirectional=True, **opt)
        lengths = torch.tensor([2, 4])
        state = [f.rand(4, 2, 3) for _ in range(1 + lstm)]

        def packed(x, *s):
            p = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, h = m3(p, tuple(s) if lstm else s[0])
            y, _ = nn.utils.rnn.pad_packed_sequence(y, total_length=4)
            return pack(y, h)
        f.case(f"{kind} state_lengths", [f.rand(4, 2, 2)] + state, packed, m3)
        m4 = cls(2, 3, num_layers=2, batch_first=True, **opt)

        def windows(x):
            """Truncated backpropagation: the state is cut loose every two steps."""
            ys, s = [], None
            for part in x.split(2, 1):
                if s is not None:
                    s = tuple(t.detach() for t in s) if lstm else s.detach()
                y, s = m4(part, s)
                ys.append(y)
            return pack(torch.cat(ys, 1), s)
        f.case(f"{kind} windows", [f.rand(2, 5, 2)], windows, m4)
        c = cell(2, 3, bias=False, **opt)
        f.case(f"{kind} cell_no_bias", [f.rand(2, 2)], lambda x: torch.cat(c(x), 1) if lstm else c(x), c)
        if lstm:
            m5 = cls(2, 3, proj_size=1, bias=False)
            f.case("lstm projection", [f.rand(4, 2, 2)], lambda x: pack(*m5(x)), m5)
            m6 = cls(2, 3, num_layers=2, proj_size=2)
            state = [f.rand(2, 2, 2), f.rand(2, 2, 3)]
            f.case("lstm projection_state", [f.rand(4, 2, 2)] + state, lambda x, h, c: pack(*m6(x, (h, c))), m6)
    f.write()


class Stem(nn.Module):
    """torchvision's network, with the stem for small images and either kind of block."""

    def __init__(self, bottleneck, small):
        super().__init__()
        self.small = small
        self.conv1 = nn.Conv2d(1, 2, 3, 1, 1, bias=False) if small else nn.Conv2d(1, 2, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        k = 4 if bottleneck else 1
        self.layer1 = nn.Sequential(Block(2, 2, 1, bottleneck), Block(2 * k, 2, 1, bottleneck))
        self.layer2 = nn.Sequential(Block(2 * k, 4, 2, bottleneck))
        self.fc = nn.Linear(4 * k, 3)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        h = h if self.small else F.max_pool2d(h, 3, 2, 1)
        return self.fc(self.layer2(self.layer1(h)).mean((2, 3)))


def blocks():
    f = File("option_blocks", 12)
    for bottleneck in (False, True):
        for small in (False, True):
            m = Stem(bottleneck, small)
            f.case(f"resnet {bottleneck} {small}", [f.rand(2, 1, 6, 6) if small else f.rand(2, 1, 12, 12)], m, m)
    for name, k in {"basic": (2, 2, 1, False), "basic_down": (2, 3, 2, False), "bottleneck_down": (2, 1, 2, True)}.items():
        m = Block(*k)
        f.case(f"{name} eval", [f.rand(2, k[0], 4, 4)], trained(m, f.rand(2, k[0], 4, 4)), m)

    def fixup(m, x):
        s = x + m.bias1
        h = m.second(F.silu(m.first(s) + m.bias2) + m.bias3) * m.scale + m.bias4
        return F.silu(h + x)
    scalars = ("bias1", "bias2", "bias3", "bias4", "scale")
    lin = lambda i=4, o=4, **k: nn.Linear(i, o, **k)
    m = Own(fixup, scalars, first=lin(bias=False), second=lin(bias=False))
    f.case("fixup activation", [f.rand(2, 4)], m, m)
    m = Own(lambda m, x: (lambda t: t * F.relu(m.transform(x)) + (1 - t) * x)(torch.sigmoid(m.gate(x))), transform=lin(), gate=lin())
    f.case("highway relu", [f.rand(3, 4)], m, m)
    m = Own(lambda m, x: torch.cat([x, m.body(x)], -1), body=lin(4, 2))
    f.case("dense along", [f.rand(2, 3, 4)], m, m)
    m = Own(lambda m, x: m.gamma * x)
    m.gamma = nn.Parameter(torch.ones(4))
    f.case("scale last", [f.rand(2, 3, 4)], m, m)
    m = Own(lambda m, x: torch.sigmoid(m.fc2(F.relu(m.fc1(x.mean(2)))))[:, :, None] * x, fc1=lin(4, 1), fc2=lin(1, 4))
    f.case("squeeze line", [f.rand(2, 4, 3)], m, m)
    m = Own(lambda m, x: x + m.body(x), body=lin())
    f.case("residual plain", [f.rand(2, 4)], m, m)
    m = Own(lambda m, x: torch.tanh(m.body(F.relu(x)) + x), body=lin())
    f.case("residual pre_post", [f.rand(2, 4)], m, m)
    m = Own(lambda m, x: (lambda h: F.relu(m.body(h) + m.shortcut(h)))(m.pre(x)), pre=nn.LayerNorm(4), body=lin(4, 3), shortcut=lin(4, 3))
    f.case("residual everything", [f.rand(2, 4)], m, m)
    f.write()


def both_ways(f, name, layer, x):
    """A random layer in training: what PyTorch gives each element, and its gradient, when it stays and when it goes."""
    kept, gone = [torch.full_like(x, torch.nan) for _ in range(2)], [torch.full_like(x, torch.nan) for _ in range(2)]
    cot = f.rand(*x.shape)
    plain = layer.eval()(x)
    layer.train()
    torch.manual_seed(1)
    while any(t.isnan().any() for t in kept + gone):
        v = x.clone().requires_grad_()
        y = layer(v)
        (g,) = torch.autograd.grad((y * cot).sum(), [v])
        stays = g != 0
        for to, where in ((kept, stays), (gone, ~stays)):
            for t, s in zip(to, (y, g)):
                t[where] = s.detach()[where]
    f.lines.append(f"case {name}")
    for k, t in dict(x=x, cot=cot, eval=plain, kept=kept[0], kept_grad=kept[1], gone=gone[0], gone_grad=gone[1]).items():
        f.put(k, t)


def noise():
    f = File("option_random", 12)
    for p in (0.2, 0.5):
        both_ways(f, f"dropout {p}", nn.Dropout(p), f.rand(3, 4))
        both_ways(f, f"alpha {p}", nn.AlphaDropout(p), f.rand(3, 4))
        both_ways(f, f"spatial {p} 1", nn.Dropout1d(p), f.rand(3, 2, 2))
        both_ways(f, f"spatial {p} 2", nn.Dropout2d(p), f.rand(3, 2, 2, 2))
        both_ways(f, f"spatial {p} 3", nn.Dropout3d(p), f.rand(3, 2, 1, 2, 2))

        class Path(nn.Module):
            """torchvision's StochasticDepth in its mode row."""

            def forward(self, x):
                if not self.training:
                    return x
                keep = torch.empty([x.shape[0]] + [1] * (x.dim() - 1)).bernoulli_(1 - p)
                return x * keep.div_(1 - p)

        class Classic(nn.Module):
            def forward(self, x):
                return x * torch.empty_like(x).bernoulli_(1 - p) if self.training else x * (1 - p)
        both_ways(f, f"path {p}", Path(), f.rand(4, 3, 2))
        both_ways(f, f"classic {p}", Classic(), f.rand(3, 4))
    f.write()


if __name__ == "__main__":
    for g in (maps, pools, norms, grouped, attention, recurrent, blocks, noise):
        g()
