"""The workloads of `steps` in PyTorch, with the same weights, data and steps.

    pip install torch numpy
    python torch_steps.py w1 --threads 2 --secs 2

Prints the same JSON line. Run it in turn with `steps` on a quiet machine and compare ratios, not absolute times.
"""
import argparse, json, time
import numpy as np, torch


def splitmix(seed, n):
    i = np.arange(1, n + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed, shape, bound):
    z = splitmix(seed, int(np.prod(shape))) >> np.uint64(40)
    return torch.from_numpy(((2 * z.astype(np.float64) * 2**-24 - 1) * bound).astype(np.float32).reshape(shape))


def integers(seed, shape, m):
    z = (splitmix(seed, int(np.prod(shape))) >> np.uint64(33)) % np.uint64(m)
    return torch.from_numpy(z.astype(np.int64).reshape(shape))


def mlp(w, sizes, activation):
    layers = []
    for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layer, bound = torch.nn.Linear(a, b), 1 / a**0.5
        layer.weight.data = uniform(w * 1000 + 2 * k, (b, a), bound)
        layer.bias.data = uniform(w * 1000 + 2 * k + 1, (b,), bound)
        layers.append(layer)
        if k + 2 < len(sizes):
            layers.append(activation())
    return torch.nn.Sequential(*layers)


COMPILE = False


def training(model, x, y, optimizer, loss):
    model = torch.compile(model) if COMPILE else model

    def step():
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    return step


def w1():
    m = mlp(1, [784, 300, 100, 10], torch.nn.ReLU)
    x, y = uniform(1900, (64, 784), 1), integers(1901, (64,), 10)
    return training(m, x, y, torch.optim.Adam(m.parameters(), 1e-3), torch.nn.CrossEntropyLoss())


def w2():
    m = mlp(2, [2, 16, 16, 1], torch.nn.Tanh)
    x, y = uniform(2900, (32, 2), 1), uniform(2901, (32, 1), 1)
    return training(m, x, y, torch.optim.SGD(m.parameters(), 0.01, momentum=0.9), torch.nn.MSELoss())


def w4():
    m = mlp(5, [1024, 4096, 4096, 1024], torch.nn.GELU)
    x, y = uniform(5900, (256, 1024), 1), uniform(5901, (256, 1024), 1)
    return training(m, x, y, torch.optim.AdamW(m.parameters(), 1e-4, weight_decay=0.01), torch.nn.MSELoss())


class Draw:
    """Draws tensors in order, each from a seed of its own."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, parameter, fan_in):
        parameter.data = uniform(self.seed, tuple(parameter.shape), 1 / fan_in**0.5)
        self.seed += 1

    def module(self, m):
        fan_in = m.weight[0].numel()
        self(m.weight, fan_in)
        if m.bias is not None:
            self(m.bias, fan_in)
        return m


def w5():
    d, nn = Draw(6000), torch.nn
    m = nn.Sequential(
        d.module(nn.Conv2d(1, 32, 3)), nn.ReLU(), d.module(nn.Conv2d(32, 64, 3)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), d.module(nn.Linear(9216, 128)), nn.ReLU(), d.module(nn.Linear(128, 10)),
    )
    x, y = uniform(6900, (64, 1, 28, 28), 1), integers(6901, (64,), 10)
    return training(m, x, y, torch.optim.SGD(m.parameters(), 0.01, momentum=0.9), nn.CrossEntropyLoss())


class Block(torch.nn.Module):
    def __init__(self, d, out, cin, stride):
        super().__init__()
        conv = lambda cin, size, stride: torch.nn.Sequential(
            d.module(torch.nn.Conv2d(cin, out, size, stride, size // 2, bias=False)), torch.nn.BatchNorm2d(out)
        )
        self.conv1, self.conv2 = conv(cin, 3, stride), conv(out, 3, 1)
        self.shortcut = conv(cin, 1, stride) if stride > 1 else torch.nn.Identity()

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))


def w6():
    d, nn = Draw(7000), torch.nn
    layers, cin = [d.module(nn.Conv2d(3, 16, 3, padding=1, bias=False)), nn.BatchNorm2d(16), nn.ReLU()], 16
    for out in (16, 32, 64):
        for i in range(3):
            layers.append(Block(d, out, cin, 2 if i == 0 and out > 16 else 1))
            cin = out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), d.module(nn.Linear(64, 10))]
    m = nn.Sequential(*layers)
    x, y = uniform(7900, (64, 3, 32, 32), 1), integers(7901, (64,), 10)
    sgd = torch.optim.SGD(m.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    return training(m, x, y, sgd, nn.CrossEntropyLoss())


class Characters(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(65, 64)
        self.lstm = torch.nn.LSTM(64, 256, batch_first=True)
        self.out = torch.nn.Linear(256, 65)

    def forward(self, x):
        return self.out(self.lstm(self.embedding(x))[0]).reshape(-1, 65)


def w7():
    m = Characters()
    for k, p in enumerate(m.parameters()):
        p.data = uniform(9000 + k, tuple(p.shape), 1 if k == 0 else 1 / 16)
    x, y = integers(9900, (32, 64), 65), integers(9901, (32 * 64,), 65)
    optimizer = torch.optim.Adam(m.parameters(), 1e-3)
    model = torch.compile(m) if COMPILE else m

    def step():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(model(x), y)
        value.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        optimizer.step()
        return value.item()

    return step


def chain(multiply):
    x = (torch.ones(()) if multiply else torch.ones(100)).requires_grad_()
    c = torch.tensor(1.0001) if multiply else torch.full((100,), 0.001)

    def step():
        y = x
        for _ in range(1000):
            y = y * c if multiply else y + c
        loss = y if multiply else y.sum()
        x.grad = None
        loss.backward()
        return loss.item()

    return step


def fill(m, seed):
    """At least two dimensions: uniform by the size of a row; one: 1 for the weight of a norm, else 0."""
    for k, (name, p) in enumerate(m.named_parameters()):
        if p.dim() > 1:
            p.data = uniform(seed + k, tuple(p.shape), 1 / (p.numel() // p.shape[0]) ** 0.5)
        else:
            p.data = torch.full_like(p, 1.0 if name.endswith("weight") else 0.0)
    return m


def sgd(m):
    return torch.optim.SGD(m.parameters(), 0.01, momentum=0.9)


def adam(m):
    return torch.optim.Adam(m.parameters(), 1e-3)


def classifier(seed, m, optimizer, shape):
    m = fill(m, seed)
    x, y = uniform(seed + 900, shape, 1), integers(seed + 901, (shape[0],), 10)
    return training(m, x, y, optimizer(m), torch.nn.CrossEntropyLoss())


def deep():
    nn, layers = torch.nn, [torch.nn.Linear(784, 256)]
    for _ in range(20):
        layers += [nn.BatchNorm1d(256), nn.Tanh(), nn.Linear(256, 256)]
    return classifier(20000, nn.Sequential(*layers, nn.Tanh(), nn.Linear(256, 10)), sgd, (128, 784))


def single():
    nn = torch.nn
    m = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    return classifier(21000, m, adam, (1, 784))


class Text(torch.nn.Module):
    def __init__(self, features, cells, outputs):
        super().__init__()
        self.embedding, self.cells, self.out = torch.nn.Embedding(65, features), cells, torch.nn.Linear(outputs, 65)

    def forward(self, x):
        return self.out(self.cells(self.embedding(x))[0]).reshape(-1, 65)


def text(seed, m, shape):
    m = fill(m, seed)
    x, y = integers(seed + 900, shape, 65), integers(seed + 901, (shape[0] * shape[1],), 65)
    return training(m, x, y, adam(m), torch.nn.CrossEntropyLoss())


def gru():
    return text(22000, Text(64, torch.nn.GRU(64, 256, 2, batch_first=True), 256), (32, 64))


def bilstm():
    return text(23000, Text(64, torch.nn.LSTM(64, 128, 2, batch_first=True, bidirectional=True), 256), (32, 32))


def rnn():
    return text(24000, Text(64, torch.nn.RNN(64, 128, batch_first=True), 128), (16, 128))


class GptLayer(torch.nn.Module):
    """A transformer layer of one call to the fused attention, which PyTorch's own layer takes for inference only."""

    def __init__(self, e, heads, ff):
        super().__init__()
        self.self_attn = torch.nn.MultiheadAttention(e, heads, batch_first=True)
        self.linear1, self.linear2 = torch.nn.Linear(e, ff), torch.nn.Linear(ff, e)
        self.norm1, self.norm2, self.heads = torch.nn.LayerNorm(e), torch.nn.LayerNorm(e), heads

    def forward(self, x):
        f, a = torch.nn.functional, self.self_attn
        n, l, e = x.shape
        q, k, v = f.linear(self.norm1(x), a.in_proj_weight, a.in_proj_bias).view(n, l, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        h = f.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, l, e)
        x = x + a.out_proj(h)
        return x + self.linear2(f.gelu(self.linear1(self.norm2(x))))


class Gpt(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.position = torch.nn.Embedding(65, 128), torch.nn.Embedding(128, 128)
        self.blocks = torch.nn.ModuleList(GptLayer(128, 4, 512) for _ in range(4))
        self.norm, self.out = torch.nn.LayerNorm(128), torch.nn.Linear(128, 65)

    def forward(self, x):
        h = self.embedding(x) + self.position.weight
        for b in self.blocks:
            h = b(h)
        return self.out(self.norm(h)).reshape(-1, 65)


def gpt():
    return text(25000, Gpt(), (16, 128))


class Residual(torch.nn.Module):
    """Blocks with torchvision's names and order."""

    def __init__(self, cin, width, stride, bottleneck):
        super().__init__()
        nn, out = torch.nn, width * (4 if bottleneck else 1)
        conv = lambda a, b, k, s: nn.Conv2d(a, b, k, s, k // 2, bias=False)
        if bottleneck:
            convs = [(cin, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        else:
            convs = [(cin, width, 3, stride), (width, width, 3, 1)]
        self.branch = nn.Sequential()
        for i, c in enumerate(convs):
            self.branch.append(conv(*c)).append(nn.BatchNorm2d(c[1]))
            if i + 1 < len(convs):
                self.branch.append(nn.ReLU())
        past = nn.Sequential(conv(cin, out, 1, stride), nn.BatchNorm2d(out))
        self.downsample = past if stride > 1 or cin != out else nn.Identity()

    def forward(self, x):
        return torch.relu(self.branch(x) + self.downsample(x))


def residual(width, depths, bottleneck):
    nn, cin = torch.nn, width
    m = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    for s, depth in enumerate(depths):
        for i in range(depth):
            m.append(Residual(cin, width << s, 2 if i == 0 and s > 0 else 1, bottleneck))
            cin = (width << s) * (4 if bottleneck else 1)
    return m.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(cin, 10))


def bottleneck():
    return classifier(26000, residual(32, [2, 2, 2], True), sgd, (32, 3, 32, 32))


def resnet():
    return classifier(27000, residual(16, [3, 3, 3], False), sgd, (64, 3, 32, 32))


def depthwise():
    nn, cin = torch.nn, 32
    m = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    for out, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (256, 1)]:
        m.extend([nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False), nn.BatchNorm2d(cin), nn.ReLU()])
        m.extend([nn.Conv2d(cin, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()])
        cin = out
    return classifier(28000, m.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 10)]), sgd, (32, 3, 32, 32))


def autoencoder():
    nn = torch.nn
    up = lambda a, b: nn.ConvTranspose2d(a, b, 3, 2, 1, 1)
    m = nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), up(64, 32), nn.ReLU(), up(32, 1), nn.Sigmoid()
    )
    m, x = fill(m, 29000), uniform(29900, (64, 1, 28, 28), 1)
    return training(m, x, x, adam(m), nn.MSELoss())


def dilated():
    nn, m = torch.nn, torch.nn.Sequential()
    for i, d in enumerate([1, 2, 4, 8, 16]):
        m.extend([nn.Conv1d(64 if i else 8, 64, 3, padding=d, dilation=d), nn.GroupNorm(8, 64), nn.ReLU()])
    m = fill(m.append(nn.Conv1d(64, 10, 1)), 30000)
    return training(m, uniform(30900, (16, 8, 256), 1), integers(30901, (16, 256), 10), adam(m), nn.CrossEntropyLoss())


def dropout():
    nn = torch.nn
    part = lambda a: [nn.Linear(a, 1024), nn.LayerNorm(1024), nn.ReLU(), nn.Dropout(0.5)]
    return classifier(31000, nn.Sequential(*part(784), *part(1024), nn.Linear(1024, 10)), adam, (128, 784))


MORE = (deep, single, gru, bilstm, rnn, gpt, bottleneck, resnet, depthwise, autoencoder, dilated, dropout)
WORKLOADS = {"w1": w1, "w2": w2, "w4": w4, "w5": w5, "w6": w6, "w7": w7, "w10": lambda: chain(True), "w10b": lambda: chain(False)}
WORKLOADS |= {f.__name__: f for f in MORE}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("workload", choices=[*WORKLOADS, "all"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--secs", type=float, default=2.0)
    p.add_argument("--min-steps", type=int, default=20)
    p.add_argument("--compile", action="store_true", help="torch.compile of the model (w1 to w7; needs a C++ compiler)")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    global COMPILE
    COMPILE = a.compile
    names = list(WORKLOADS) if a.workload == "all" else [a.workload]
    if COMPILE and a.workload == "all":
        names = [n for n in names if not n.startswith("w10")]
    elif COMPILE and a.workload.startswith("w10"):
        p.error("the chains of w10 have no module to compile")
    for name in names:
        step = WORKLOADS[name]()
        losses = [step() for _ in range(21)]
        start = time.perf_counter()
        while time.perf_counter() - start < 1:
            step()
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < a.secs or len(times) < a.min_steps:
            t = time.perf_counter()
            step()
            times.append((time.perf_counter() - t) * 1e3)
        times.sort()
        rss = next(int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
        print(json.dumps({"peer": "torch-compiled" if a.compile else "torch", "workload": name, "threads": a.threads,
                          "median_ms": times[len(times) // 2], "p10_ms": times[len(times) // 10],
                          "n": len(times), "rss_mb": rss, "losses": losses}), flush=True)


main()
