"""Reference values of layers and losses, computed by PyTorch in f64.

    python generate.py            # writes the *.txt files beside this script

Each file holds cases: inputs `in.0`.., parameters and buffers before the pass, the output, a cotangent `cot`, the
gradients of sum(out * cot) by inputs and parameters, and buffers after the pass. Names are those of the Rust side.
"""

import pathlib
import torch
import torch.nn.functional as F
from torch import nn

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
HERE = pathlib.Path(__file__).parent


class File:
    def __init__(self, name, digits=17):
        self.name = name
        self.digits = digits
        self.lines = []
        self.gen = torch.Generator().manual_seed(sum(map(ord, name)))

    def rand(self, *shape):
        return torch.randn(shape, generator=self.gen)

    def put(self, name, t):
        t = torch.as_tensor(t).detach()
        shape = " ".join(str(d) for d in t.shape)
        values = " ".join(f"{float(v):.{self.digits}g}" for v in t.reshape(-1))
        self.lines.append(f"{name} {shape}: {values}")

    def case(self, name, inputs, fn, module=None, rename=lambda n: n, extra=None, prepare=None):
        """`fn(*inputs)` returns the output; `module` owns parameters and buffers; `prepare` runs when parameters are drawn."""
        self.lines.append(f"case {name}")
        params = dict(module.named_parameters()) if module is not None else {}
        for p in params.values():
            with torch.no_grad():
                p.copy_(0.4 * self.rand(*p.shape) + (p if p.dim() == 1 else 0))
        if prepare:
            prepare()
        for k, v in (extra or {}).items():
            self.put(k, v)
        inputs = [x.clone().requires_grad_() for x in inputs]
        for i, x in enumerate(inputs):
            self.put(f"in.{i}", x)
        for k, p in params.items():
            self.put(f"param.{rename(k)}", p)
        buffers = dict(module.named_buffers()) if module is not None else {}
        buffers = {k: b for k, b in buffers.items() if rename(k)}
        for k, b in buffers.items():
            self.put(f"buffer.{rename(k)}", b)
        y = fn(*inputs)
        cot = self.rand(*y.shape)
        grads = torch.autograd.grad(
            (y * cot).sum(), inputs + list(params.values()), allow_unused=True
        )
        self.put("out", y)
        self.put("cot", cot)
        for i, x in enumerate(inputs):
            self.put(f"grad.in.{i}", grads[i] if grads[i] is not None else torch.zeros_like(x))
        for (k, p), g in zip(params.items(), grads[len(inputs):]):
            self.put(f"grad.param.{rename(k)}", g if g is not None else torch.zeros_like(p))
        for k, b in buffers.items():
            self.put(f"after.{rename(k)}", b)

    def write(self):
        (HERE / f"{self.name}.txt").write_text("\n".join(self.lines) + "\n")


def basic():
    f = File("basic")
    m = nn.Linear(3, 4)
    f.case("linear", [f.rand(2, 5, 3)], m, m)
    m = nn.Linear(3, 4, bias=False)
    f.case("linear_no_bias", [f.rand(2, 3)], m, m)
    m = nn.Bilinear(3, 2, 4)
    f.case("bilinear", [f.rand(5, 3), f.rand(5, 2)], m, m)
    m = nn.Embedding(6, 3)
    ids = torch.tensor([[1, 4], [4, 0]])
    f.case("embedding", [], lambda: m(ids), m, extra={"ids": ids})
    m = nn.Embedding(6, 3, padding_idx=4)
    f.case("embedding_padding", [], lambda: m(ids), m, extra={"ids": ids})
    m = nn.PReLU()
    f.case("prelu", [f.rand(2, 3, 2)], m, m)
    m = nn.PReLU(3)
    f.case("prelu_channels", [f.rand(2, 3, 2)], m, m)
    x = f.rand(3, 4)
    for name, fn in {
        "Identity": lambda x: x * 1,
        "Relu": F.relu, "Relu6": lambda x: F.relu6(4 * x) , "LeakyRelu": lambda x: F.leaky_relu(x, 0.2),
        "Elu": lambda x: F.elu(x, 0.7), # PyTorch's own celu rounds 1/alpha to f32 in its backward pass.
        "Celu": lambda x: torch.where(x > 0, x, 1.3 * torch.expm1(x / 1.3)), "Selu": F.selu,
        "Gelu": F.gelu, "GeluTanh": lambda x: F.gelu(x, approximate="tanh"), "Silu": F.silu,
        "Mish": F.mish, "Sigmoid": torch.sigmoid, "LogSigmoid": F.logsigmoid,
        "HardSwish": F.hardswish, "Tanh": torch.tanh,
        "HardTanh": F.hardtanh, "Tanhshrink": F.tanhshrink, "Softsign": F.softsign,
        "Softplus": lambda x: F.softplus(x, 1.7), "Softshrink": lambda x: F.softshrink(x, 0.3),
        "Hardshrink": lambda x: F.hardshrink(x, 0.3), "Threshold": lambda x: F.threshold(x, 0.1, -0.5),
        "Softmax": lambda x: F.softmax(x, -1), "LogSoftmax": lambda x: F.log_softmax(x, -1),
        "Glu": lambda x: F.glu(x, -1),
        "HardSigmoid": lambda x: torch.clamp(x / 6 + 0.5, 0, 1),
        "Squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
    }.items():
        f.case(f"act {name}", [x], fn)
    f.write()


def norms():
    f = File("norm")
    for d, shape in ((1, (4, 3)), (1, (4, 3, 5)), (2, (2, 3, 3, 2)), (3, (2, 3, 2, 2, 2))):
        cls = getattr(nn, f"BatchNorm{d}d")
        m = cls(3)
        f.case(f"batch{d} {len(shape)}", [f.rand(*shape) * 2 + 1], m, m)
    m = nn.BatchNorm2d(3, momentum=0.3, eps=1e-2)
    m.running_mean.copy_(f.rand(3)); m.running_var.copy_(f.rand(3).abs() + 0.5)
    f.case("batch2 momentum", [f.rand(2, 3, 3, 2)], m, m)
    m = nn.BatchNorm2d(3, momentum=None)
    m.running_mean.copy_(f.rand(3)); m.running_var.copy_(f.rand(3).abs() + 0.5); m.num_batches_tracked += 3
    f.case("batch2 cumulative", [f.rand(2, 3, 3, 2)], m, m)
    m = nn.BatchNorm2d(3)
    m.running_mean.copy_(f.rand(3)); m.running_var.copy_(f.rand(3).abs() + 0.5); m.eval()
    f.case("batch2 eval", [f.rand(2, 3, 3, 2)], m, m)
    m = nn.BatchNorm1d(3, affine=False, track_running_stats=False); m.eval()
    f.case("batch1 plain eval", [f.rand(4, 3)], m, m)
    m = nn.LayerNorm((3, 2))
    f.case("layer", [f.rand(4, 3, 2)], m, m)
    m = nn.LayerNorm(6, eps=1e-3, bias=False)
    f.case("layer no bias", [f.rand(4, 6)], m, m)
    m = nn.RMSNorm(6)
    f.case("rms", [f.rand(2, 3, 6)], m, m)
    m = nn.RMSNorm((3, 2), eps=1e-3, elementwise_affine=False)
    f.case("rms plain", [f.rand(4, 3, 2)], m, m)
    m = nn.GroupNorm(2, 6)
    f.case("group", [f.rand(2, 6, 3)], m, m)
    m = nn.GroupNorm(3, 6, eps=1e-2, affine=False)
    f.case("group plain", [f.rand(4, 6)], m, m)
    m = nn.InstanceNorm2d(3)
    f.case("instance", [f.rand(2, 3, 3, 2)], m, m)
    # PyTorch counts batches in instance norms, too, but never uses the count.
    counted = lambda n: None if n.startswith("num_") else n
    m = nn.InstanceNorm1d(3, affine=True, track_running_stats=True, momentum=0.2)
    f.case("instance running", [f.rand(2, 3, 4)], m, m, rename=counted)
    m = nn.InstanceNorm1d(3, affine=True, track_running_stats=True)
    m.running_mean.copy_(f.rand(3)); m.running_var.copy_(f.rand(3).abs() + 0.5); m.eval()
    f.case("instance eval", [f.rand(2, 3, 4)], m, m, rename=counted)
    lin = nn.Linear(3, 4)
    m = nn.utils.parametrizations.weight_norm(lin)
    names = {"parametrizations.weight.original0": "g", "parametrizations.weight.original1": "inner.weight", "bias": "inner.bias"}
    f.case("weight_norm", [f.rand(5, 3)], m, m, rename=names.get)
    lin = nn.Linear(3, 4)
    m = nn.utils.parametrizations.spectral_norm(lin)
    names = {"parametrizations.weight.original": "inner.weight", "bias": "inner.bias",
             "parametrizations.weight.0._u": "u", "parametrizations.weight.0._v": "v"}
    f.case("spectral_norm", [f.rand(5, 3)], m, m, rename=names.get)
    w = f.rand(4, 3)
    f.case("weight_standardization", [f.rand(5, 3), w],
           lambda x, w: F.linear(x, F.batch_norm(w.reshape(1, 4, 3), None, None, training=True, eps=1e-5).reshape(4, 3)))
    f.write()


def losses():
    f = File("loss")
    x, y = f.rand(4, 3), f.rand(4, 3)
    p = torch.sigmoid(f.rand(4, 3))
    t = torch.sigmoid(f.rand(4, 3))
    b = (f.rand(4, 3) > 0).double()
    s = b * 2 - 1
    for red in ("mean", "sum", "none"):
        r = dict(reduction=red)
        f.case(f"mse {red}", [x, y], lambda x, y: F.mse_loss(x, y, **r))
        f.case(f"l1 {red}", [x, y], lambda x, y: F.l1_loss(x, y, **r))
        f.case(f"huber {red}", [x, y], lambda x, y: F.huber_loss(x, y, delta=0.7, **r))
        f.case(f"smooth_l1 {red}", [x, y], lambda x, y: F.smooth_l1_loss(x, y, beta=0.7, **r))
        f.case(f"bce {red}", [p, t], lambda x, y: F.binary_cross_entropy(x, y, **r))
        f.case(f"bce_with_logits {red}", [x, t], lambda x, y: F.binary_cross_entropy_with_logits(x, y, **r))
        w = torch.tensor([0.5, 2.0, 3.0])
        f.case(f"bce_with_logits_weight {red}", [x, t], lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=w, **r))
        f.case(f"hinge_embedding {red}", [x], lambda x: F.hinge_embedding_loss(x, s, margin=0.8, **r), extra={"answers": s})
        f.case(f"soft_margin {red}", [x], lambda x: F.soft_margin_loss(x, s, **r), extra={"answers": s})
        f.case(f"kl {red}", [F.log_softmax(x, 1), F.softmax(y, 1)], lambda x, y: F.kl_div(x, y, **r))
        f.case(f"kl_log {red}", [F.log_softmax(x, 1), F.log_softmax(y, 1)], lambda x, y: F.kl_div(x, y, log_target=True, **r))
        f.case(f"poisson {red}", [x, y.abs() * 3], lambda x, y: F.poisson_nll_loss(x, y, **r))
        f.case(f"poisson_full {red}", [x.abs() + 0.1, torch.tensor([[0., 1., 2.], [3., 4., 5.], [0., 7., 8.], [1., 1., 2.]])],
               lambda x, y: F.poisson_nll_loss(x, y.detach(), log_input=False, full=True, **r))
        f.case(f"gaussian {red}", [x, y, p + 0.1], lambda x, y, v: F.gaussian_nll_loss(x, y, v, full=True, **r))
        f.case(f"gaussian_clamped {red}", [x, y, p * 1e-3], lambda x, y, v: F.gaussian_nll_loss(x, y, v, eps=0.5, **r))
        lab = torch.tensor([2, 0, 1, 2])
        f.case(f"nll {red}", [x], lambda x: F.nll_loss(x, lab, **r), extra={"labels": lab})
        f.case(f"nll_weight {red}", [x], lambda x: F.nll_loss(x, lab, weight=w, ignore_index=1, **r), extra={"labels": lab})
        f.case(f"ce {red}", [x], lambda x: F.cross_entropy(x, lab, **r), extra={"labels": lab})
        f.case(f"ce_ignore {red}", [x], lambda x: F.cross_entropy(x, lab, ignore_index=2, **r), extra={"labels": lab})
        f.case(f"ce_weight {red}", [x], lambda x: F.cross_entropy(x, lab, weight=w, **r), extra={"labels": lab})
        f.case(f"ce_smooth {red}", [x], lambda x: F.cross_entropy(x, lab, label_smoothing=0.2, **r), extra={"labels": lab})
        f.case(f"ce_all {red}", [x], lambda x: F.cross_entropy(x, lab, weight=w, ignore_index=0, label_smoothing=0.2, **r), extra={"labels": lab})
        x3 = f.rand(2, 3, 2)
        lab3 = torch.tensor([[2, 0], [1, 2]])
        f.case(f"ce_space {red}", [x3], lambda x: F.cross_entropy(x, lab3, weight=w, ignore_index=0, label_smoothing=0.1, **r), extra={"labels": lab3})
        f.case(f"ce_prob {red}", [x, F.softmax(y, 1)], lambda x, y: F.cross_entropy(x, y, **r))
        f.case(f"ce_prob_all {red}", [x, F.softmax(y, 1)], lambda x, y: F.cross_entropy(x, y, weight=w, label_smoothing=0.2, **r))
        f.case(f"multi_margin {red}", [x], lambda x: F.multi_margin_loss(x, lab, margin=0.8, **r), extra={"labels": lab})
        f.case(f"multi_margin_2 {red}", [x], lambda x: F.multi_margin_loss(x, lab, p=2, weight=w, **r), extra={"labels": lab})
        f.case(f"margin_ranking {red}", [x, y], lambda x, y: F.margin_ranking_loss(x, y, s, margin=0.3, **r), extra={"answers": s})
        a = torch.tensor([1., -1., 1., -1.])
        f.case(f"cosine {red}", [x, y], lambda x, y: F.cosine_embedding_loss(x, y, a, margin=-0.5, **r), extra={"answers": a})
        z = f.rand(4, 3)
        f.case(f"triplet {red}", [x, y, z], lambda x, y, z: F.triplet_margin_loss(x, y, z, **r))
        f.case(f"triplet_swap {red}", [x, y, z], lambda x, y, z: F.triplet_margin_loss(x, y, z, margin=2.0, p=3.0, swap=True, **r))

        def focal(x, y):
            ce = F.binary_cross_entropy_with_logits(x, y, reduction="none")
            q = torch.sigmoid(x)
            pt = q * y + (1 - q) * (1 - y)
            l = ce * (1 - pt) ** 1.5 * (0.25 * y + 0.75 * (1 - y))
            return l if red == "none" else getattr(l, red)()
        f.case(f"focal {red}", [x, b], lambda x, y: focal(x, y.detach()))

        def dice(x, y):
            l = 1 - (2 * (x * y).sum(-1) + 0.5) / (x.sum(-1) + y.sum(-1) + 0.5)
            return l if red == "none" else getattr(l, red)()
        f.case(f"dice {red}", [p, t], dice)

        def log_cosh(x, y):
            l = torch.log(torch.cosh(x - y))
            return l if red == "none" else getattr(l, red)()
        f.case(f"log_cosh {red}", [x, y], log_cosh)

        def hinge(x):
            l = torch.relu(1 - x * s)
            return l if red == "none" else getattr(l, red)()
        f.case(f"hinge {red}", [x], hinge, extra={"answers": s})
    f.case("kl batchmean", [F.log_softmax(x, 1), F.softmax(y, 1)], lambda x, y: F.kl_div(x, y, reduction="batchmean"))
    ids = torch.tensor([[1, 2, 1], [2, 2, 0], [0, 0, 0]])
    for red in ("mean", "sum", "none"):
        f.case(f"ctc {red}", [f.rand(6, 3, 4)], lambda x: F.ctc_loss(
            F.log_softmax(x, -1), ids, torch.tensor([6, 5, 4]), torch.tensor([3, 2, 0]), 3, red), extra={"ids": ids})
    f.write()


def attention():
    f = File("attention")
    m = nn.MultiheadAttention(6, 2, batch_first=True)
    run = lambda *a, **k: m(*a, need_weights=False, **k)[0]
    f.case("self", [f.rand(2, 3, 6)], lambda x: run(x, x, x), m)
    f.case("cross", [f.rand(2, 3, 6), f.rand(2, 4, 6), f.rand(2, 4, 6)], run, m)
    mask = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    f.case("causal", [f.rand(2, 3, 6)], lambda x: run(x, x, x, attn_mask=mask), m)
    pad = torch.tensor([[False, False, False, True], [False, True, True, True]])
    f.case("lengths", [f.rand(2, 3, 6), f.rand(2, 4, 6)], lambda q, k: run(q, k, k, key_padding_mask=pad), m)
    bias = f.rand(3, 4)
    f.case("bias", [f.rand(2, 3, 6), f.rand(2, 4, 6), bias], lambda q, k, b: run(q, k, k, attn_mask=b), m)
    f.case("weights", [f.rand(2, 3, 6), f.rand(2, 4, 6)],
           lambda q, k: m(q, k, k, average_attn_weights=False)[1], m)
    m2 = nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True)
    f.case("sizes", [f.rand(2, 3, 6), f.rand(2, 4, 4), f.rand(2, 4, 5)], lambda q, k, v: m2(q, k, v, need_weights=False)[0], m2)
    m3 = nn.MultiheadAttention(6, 2, bias=False, batch_first=True)
    f.case("no bias", [f.rand(2, 3, 6)], lambda x: m3(x, x, x, need_weights=False)[0], m3)
    for first in (False, True):
        for act in ("relu", "gelu"):
            e = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation=act, norm_first=first, batch_first=True)
            f.case(f"encoder {act} {first}", [f.rand(2, 3, 6)], e, e)
    e = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, layer_norm_eps=1e-2, bias=False, batch_first=True)
    f.case("encoder no bias", [f.rand(2, 3, 6)], lambda x: e(x, src_mask=mask), e)
    for first in (False, True):
        d = nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0, norm_first=first, batch_first=True)
        f.case(f"decoder {first}", [f.rand(2, 3, 6), f.rand(2, 4, 6)],
               lambda x, y: d(x, y, tgt_mask=mask, memory_key_padding_mask=pad), d)
    f.write()


class Separable(nn.Module):
    def __init__(self, d, inputs, outputs, kernel, **k):
        super().__init__()
        conv = getattr(nn, f"Conv{d}d")
        self.depthwise = conv(inputs, inputs, kernel, groups=inputs, bias=False, **k)
        self.pointwise = conv(inputs, outputs, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


def convs():
    f = File("conv", 12)
    space = {1: (5,), 2: (4, 5), 3: (3, 4, 3)}
    for d in (1, 2, 3):
        conv, up = getattr(nn, f"Conv{d}d"), getattr(nn, f"ConvTranspose{d}d")
        x = lambda c: f.rand(2 if d == 2 else 1, c, *space[d])
        m = conv(2, 3, 2)
        f.case(f"conv {d}", [x(2)], m, m)
        m = conv(4, 2, 3, stride=2, padding=1, groups=2, bias=False)
        f.case(f"conv stride groups {d}", [x(4)], m, m)
        m = conv(2, 2, 3, padding="same", dilation=2)
        f.case(f"conv same {d}", [x(2)], m, m)
        m = conv(3, 3, 2, groups=3, padding=1)
        f.case(f"depthwise {d}", [x(3)], m, m)
        m = Separable(d, 2, 3, 3, padding=1)
        f.case(f"separable {d}", [x(2)], m, m)
        m = up(2, 3, 2)
        f.case(f"transpose {d}", [x(2)], m, m)
        m = up(4, 2, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2, bias=False)
        f.case(f"transpose options {d}", [x(4)], m, m)
    for d in (1, 2, 3):
        big = {1: (7,), 2: (5, 7), 3: (4, 3, 5)}
        x = [f.rand(1, 2, *big[d])]
        get = lambda n: getattr(F, f"{n}_pool{d}d")
        f.case(f"max {d}", x, lambda x: get("max")(x, 2))
        f.case(f"max options {d}", x, lambda x: get("max")(x, 2, 1, 1, 2, ceil_mode=True))
        f.case(f"avg {d}", x, lambda x: get("avg")(x, 2))
        f.case(f"avg options {d}", x, lambda x: get("avg")(x, 3, 2, 1, True, False))
        f.case(f"lp {d}", x, lambda x: get("lp")(x, 2.0, 2, 1))
        f.case(f"adaptive max {d}", x, lambda x: get("adaptive_max")(x, 3))
        f.case(f"adaptive avg {d}", x, lambda x: get("adaptive_avg")(x, 3))
        f.case(f"global avg {d}", x, lambda x: x.mean(tuple(range(2, 2 + d))))
        f.case(f"global max {d}", x, lambda x: get("adaptive_max")(x, 1).flatten(1))
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[d]
        f.case(f"upsample nearest {d}", x, nn.Upsample(scale_factor=2))
        f.case(f"upsample linear {d}", x, nn.Upsample(size=(4,) * d, mode=mode))
        f.case(f"upsample aligned {d}", x, nn.Upsample(size=(6,) * d, mode=mode, align_corners=True))
    f.case("upsample cubic 2", [f.rand(1, 2, 4, 5)], nn.Upsample(scale_factor=(1.5, 2), mode="bicubic"))
    f.case("pixel_shuffle", [f.rand(1, 8, 2, 3)], nn.PixelShuffle(2))
    f.case("pixel_unshuffle", [f.rand(1, 2, 4, 6)], nn.PixelUnshuffle(2))
    f.case("local_response", [f.rand(2, 5, 3)], nn.LocalResponseNorm(3, 0.5, 0.75, 2.0))
    m = nn.utils.parametrizations.weight_norm(nn.ConvTranspose2d(2, 3, 2), dim=1)
    names = {"parametrizations.weight.original0": "g", "parametrizations.weight.original1": "inner.weight", "bias": "inner.bias"}
    f.case("weight_norm transpose", [f.rand(1, 2, 3, 3)], m, m, rename=names.get)
    w = f.rand(3, 2, 2, 2)
    f.case("weight_standardization conv", [f.rand(1, 2, 3, 4), w], lambda x, w: F.conv2d(
        x, F.batch_norm(w.reshape(1, 3, 8), None, None, training=True, eps=1e-5).reshape(3, 2, 2, 2)))
    f.write()


class Block(nn.Module):
    """torchvision's BasicBlock and Bottleneck."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        else:
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        if self.bottleneck:
            h = self.bn3(self.conv3(F.relu(h)))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        self.layer1 = nn.Sequential(Block(2, 2, 1, False))
        self.layer2 = nn.Sequential(Block(2, 4, 2, False))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        h = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.layer2(self.layer1(h)).mean((2, 3)))


class Own(nn.Module):
    """Named parts and a function of them."""

    def __init__(self, fn, scalars=(), **parts):
        super().__init__()
        self.fn = fn
        for k in scalars:
            setattr(self, k, nn.Parameter(torch.ones(1)))
        for k, v in parts.items():
            setattr(self, k, v)

    def forward(self, x):
        return self.fn(self, x)


def blocks():
    f = File("block", 12)
    for name, k in {"basic": (2, 2, 1, False), "basic down": (2, 3, 2, False),
                    "bottleneck": (4, 1, 1, True), "bottleneck down": (2, 1, 2, True)}.items():
        m = Block(*k)
        f.case(name, [f.rand(2, k[0], 4, 4)], m, m)
    m = Net()
    f.case("resnet", [f.rand(2, 1, 12, 12)], m, m)

    def fixup(m, x):
        s = x + m.bias1
        h = m.second(F.relu(m.first(s) + m.bias2) + m.bias3) * m.scale + m.bias4
        return F.relu(h + (m.shortcut(s) if hasattr(m, "shortcut") else x))
    scalars = ("bias1", "bias2", "bias3", "bias4", "scale")
    m = Own(fixup, scalars, first=nn.Linear(4, 4, bias=False), second=nn.Linear(4, 4, bias=False))
    f.case("fixup linear", [f.rand(2, 4)], m, m)
    m = Own(fixup, scalars, first=nn.Conv2d(2, 3, 3, 2, 1, bias=False), second=nn.Conv2d(3, 3, 3, 1, 1, bias=False),
            shortcut=nn.Conv2d(2, 3, 1, 2, bias=False))
    f.case("fixup conv", [f.rand(1, 2, 4, 4)], m, m)
    lin = lambda: nn.Linear(4, 4)
    m = Own(lambda m, x: (lambda t: t * torch.tanh(m.transform(x)) + (1 - t) * x)(torch.sigmoid(m.gate(x))),
            transform=lin(), gate=lin())
    f.case("highway", [f.rand(3, 4)], m, m)
    m = Own(lambda m, x: torch.cat([x, m.body(x)], 1), body=nn.Linear(4, 2))
    f.case("dense skip", [f.rand(3, 4)], m, m)
    m = Own(lambda m, x: x + m.alpha * m.body(x), ("alpha",), body=lin())
    f.case("rezero", [f.rand(3, 4)], m, m)
    m = Own(lambda m, x: m.alpha * x, ("alpha",))
    f.case("skip init", [f.rand(3, 4)], m, m)
    m = Own(lambda m, x: m.gamma[:, None] * x)
    m.gamma = nn.Parameter(torch.ones(3))
    f.case("layer scale", [f.rand(2, 3, 4)], m, m)
    m = Own(lambda m, x: torch.sigmoid(m.fc2(F.relu(m.fc1(x.mean((2, 3))))))[:, :, None, None] * x,
            fc1=nn.Linear(4, 2), fc2=nn.Linear(2, 4))
    f.case("squeeze excite", [f.rand(2, 4, 3, 2)], m, m)
    m = Own(lambda m, x: F.silu(m.body(x) + m.shortcut(x)), body=nn.Linear(4, 3), shortcut=nn.Linear(4, 3, bias=False))
    f.case("residual", [f.rand(2, 4)], m, m)
    m = Own(lambda m, x: (lambda h: m.body(h) + m.shortcut(h))(m.pre(x)), pre=nn.LayerNorm(4), body=nn.Linear(4, 3),
            shortcut=nn.Linear(4, 3, bias=False))
    f.case("residual pre", [f.rand(2, 4)], m, m)
    m = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    f.case("sequential", [f.rand(2, 4)], m, m)
    f.case("flatten", [f.rand(2, 3, 2)], nn.Flatten())
    f.case("unflatten", [f.rand(2, 6)], nn.Unflatten(1, (3, 2)))
    f.write()


def recurrent():
    f = File("recurrent")
    for kind, cls, cell in (("tanh", nn.RNN, nn.RNNCell), ("relu", nn.RNN, nn.RNNCell),
                            ("lstm", nn.LSTM, nn.LSTMCell), ("gru", nn.GRU, nn.GRUCell)):
        opt = dict(nonlinearity=kind) if cls is nn.RNN else {}
        lstm = cls is nn.LSTM
        pack = lambda y, h: torch.cat([y.reshape(-1)] + [t.reshape(-1) for t in (h if lstm else (h,))])
        for name, k in {
            "plain": {}, "no_bias": dict(bias=False), "two": dict(num_layers=2),
            "both": dict(bidirectional=True), "two_both": dict(num_layers=2, bidirectional=True),
        }.items():
            m = cls(3, 4, batch_first=True, **opt, **k)
            f.case(f"{kind} {name}", [f.rand(2, 5, 3)], lambda x: pack(*m(x)), m)
        m = cls(3, 4, num_layers=2, bidirectional=True, batch_first=True, **opt)
        state = [f.rand(4, 2, 4) for _ in range(1 + lstm)]
        f.case(f"{kind} state", [f.rand(2, 5, 3)] + state,
               lambda x, *s: pack(*m(x, tuple(s) if lstm else s[0])), m)
        lengths = torch.tensor([5, 2, 3])

        def packed(x):
            p = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, h = m(p)
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=5)
            return pack(y, h)
        f.case(f"{kind} lengths", [f.rand(3, 5, 3)], packed, m)
        if lstm:
            m = cls(3, 4, num_layers=2, bidirectional=True, proj_size=2, batch_first=True)
            f.case(f"{kind} projection", [f.rand(2, 4, 3)], lambda x: pack(*m(x)), m)
        c = cell(3, 4, **opt)
        if lstm:
            f.case(f"{kind} cell", [f.rand(2, 3), f.rand(2, 4), f.rand(2, 4)], lambda x, h, s: torch.cat(c(x, (h, s)), 1), c)
        else:
            f.case(f"{kind} cell", [f.rand(2, 3), f.rand(2, 4)], c, c)
    f.write()


if __name__ == "__main__":
    for g in (basic, norms, losses, attention, convs, blocks, recurrent):
        g()
