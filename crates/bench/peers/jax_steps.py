"""The dense, convolutional and recurrent workloads of `steps` in JAX (jit, optax), with the same weights, data and steps.

    pip install jax optax numpy
    XLA_FLAGS=--xla_cpu_multi_thread_eigen=true python jax_steps.py w1 --threads 2 --secs 2

Prints the same JSON line. The number of threads is that of the processors that the process may use: pin it with `taskset`.
"""
import argparse, json, os, time

p = argparse.ArgumentParser()
p.add_argument("workload", choices=["w1", "w2", "w4", "w5", "w6", "w7", "w10", "w10b", "all"])
p.add_argument("--threads", type=int, default=2)
p.add_argument("--secs", type=float, default=2.0)
p.add_argument("--min-steps", type=int, default=20)
ARGS = p.parse_args()
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: ARGS.threads])

import jax, jax.numpy as jnp, numpy as np, optax


def splitmix(seed, n):
    i = np.arange(1, n + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed, shape, bound):
    z = splitmix(seed, int(np.prod(shape))) >> np.uint64(40)
    return jnp.asarray(((2 * z.astype(np.float64) * 2**-24 - 1) * bound).astype(np.float32).reshape(shape))


def integers(seed, shape, m):
    z = (splitmix(seed, int(np.prod(shape))) >> np.uint64(33)) % np.uint64(m)
    return jnp.asarray(z.astype(np.int32).reshape(shape))


def cross_entropy(z, y):
    return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()


def training(params, optimizer, loss):
    @jax.jit
    def update(params, state):
        value, g = jax.value_and_grad(loss)(params)
        u, state = optimizer.update(g, state, params)
        return optax.apply_updates(params, u), state, value

    box = [params, optimizer.init(params)]

    def step():
        box[0], box[1], value = update(*box)
        return float(value)

    return step


def mlp(w, sizes, activation):
    params = [
        (uniform(w * 1000 + 2 * k, (b, a), 1 / a**0.5), uniform(w * 1000 + 2 * k + 1, (b,), 1 / a**0.5))
        for k, (a, b) in enumerate(zip(sizes, sizes[1:]))
    ]

    def forward(params, x):
        for k, (w, b) in enumerate(params):
            x = x @ w.T + b
            x = activation(x) if k + 1 < len(params) else x
        return x

    return params, forward


def w1():
    params, f = mlp(1, [784, 300, 100, 10], jax.nn.relu)
    x, y = uniform(1900, (64, 784), 1), integers(1901, (64,), 10)
    return training(params, optax.adam(1e-3), lambda p: cross_entropy(f(p, x), y))


def w2():
    params, f = mlp(2, [2, 16, 16, 1], jnp.tanh)
    x, y = uniform(2900, (32, 2), 1), uniform(2901, (32, 1), 1)
    return training(params, optax.sgd(0.01, momentum=0.9), lambda p: jnp.mean((f(p, x) - y) ** 2))


def w4():
    params, f = mlp(5, [1024, 4096, 4096, 1024], lambda x: jax.nn.gelu(x, approximate=False))
    x, y = uniform(5900, (256, 1024), 1), uniform(5901, (256, 1024), 1)
    return training(params, optax.adamw(1e-4, weight_decay=0.01), lambda p: jnp.mean((f(p, x) - y) ** 2))


def w5():
    shapes = [(32, 1, 3, 3), (64, 32, 3, 3), (128, 9216), (10, 128)]
    params = []
    for k, s in enumerate(shapes):
        bound = 1 / np.prod(s[1:]) ** 0.5
        params.append((uniform(6000 + 2 * k, s, bound), uniform(6001 + 2 * k, s[:1], bound)))
    x, y = uniform(6900, (64, 1, 28, 28), 1), integers(6901, (64,), 10)

    def loss(p):
        h = x
        for w, b in p[:2]:
            h = jax.nn.relu(jax.lax.conv(h, w, (1, 1), "VALID") + b[:, None, None])
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID").reshape(64, -1)
        h = jax.nn.relu(h @ p[2][0].T + p[2][1])
        return cross_entropy(h @ p[3][0].T + p[3][1], y)

    return training(params, optax.sgd(0.01, momentum=0.9), loss)


def w6():
    seed, params, stats = 7000, [], []

    def conv(cin, out, size):
        nonlocal seed
        params.append((uniform(seed, (out, cin, size, size), 1 / (cin * size * size) ** 0.5), jnp.ones(out), jnp.zeros(out)))
        stats.append((jnp.zeros(out), jnp.ones(out)))
        seed += 1

    conv(3, 16, 3)
    plan, cin = [], 16
    for out in (16, 32, 64):
        for i in range(3):
            stride = 2 if i == 0 and out > 16 else 1
            plan.append(stride)
            conv(cin, out, 3)
            conv(out, out, 3)
            if stride > 1:
                conv(cin, out, 1)
            cin = out
    params.append((uniform(seed, (10, 64), 1 / 8), uniform(seed + 1, (10,), 1 / 8)))
    x, y = uniform(7900, (64, 3, 32, 32), 1), integers(7901, (64,), 10)

    def loss(params, stats):
        k, kept = 0, []

        def conv_norm(x, stride):
            nonlocal k
            (w, gamma, beta), (mean, var) = params[k], stats[k]
            k += 1
            pad = w.shape[2] // 2
            z = jax.lax.conv_general_dilated(x, w, (stride, stride), [(pad, pad)] * 2)
            m, v, n = z.mean((0, 2, 3)), z.var((0, 2, 3)), z.size // z.shape[1]
            kept.append((0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v * n / (n - 1)))
            scale = gamma * jax.lax.rsqrt(v + 1e-5)
            return (z - m[:, None, None]) * scale[:, None, None] + beta[:, None, None]

        h = jax.nn.relu(conv_norm(x, 1))
        for stride in plan:
            z = conv_norm(jax.nn.relu(conv_norm(h, stride)), 1)
            h = jax.nn.relu(z + (conv_norm(h, stride) if stride > 1 else h))
        w, b = params[-1]
        return cross_entropy(h.mean((2, 3)) @ w.T + b, y), kept

    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9))

    @jax.jit
    def update(params, state, stats):
        (value, stats), g = jax.value_and_grad(loss, has_aux=True)(params, stats)
        u, state = optimizer.update(g, state, params)
        return optax.apply_updates(params, u), state, stats, value

    box = [params, optimizer.init(params), stats]

    def step():
        *box[:], value = update(*box)
        return float(value)

    return step


def w7():
    shapes = [(65, 64), (1024, 64), (1024, 256), (1024,), (1024,), (65, 256), (65,)]
    params = [uniform(9000 + k, s, 1 if k == 0 else 1 / 16) for k, s in enumerate(shapes)]
    x, y = integers(9900, (32, 64), 65), integers(9901, (32 * 64,), 65)

    def loss(p):
        e, wi, wh, bi, bh, wo, bo = p
        z = jnp.swapaxes(e[x] @ wi.T + bi + bh, 0, 1)

        def cell(state, z):
            h, c = state
            i, f, g, o = jnp.split(z + h @ wh.T, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((32, 256))
        _, hs = jax.lax.scan(cell, (zero, zero), z)
        return cross_entropy(jnp.swapaxes(hs, 0, 1).reshape(-1, 256) @ wo.T + bo, y)

    return training(params, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)), loss)


def chain(x, operation):
    @jax.jit
    def f(x):
        def y(x):
            for _ in range(1000):
                x = operation(x)
            return x.sum()

        return jax.value_and_grad(y)(x)

    return lambda: float(f(x)[0])


def w10():
    return chain(jnp.float32(1), lambda x: x * 1.0001)


def w10b():
    c = jnp.full(100, 0.001, jnp.float32)
    return chain(jnp.ones(100, jnp.float32), lambda x: x + c)


WORKLOADS = {"w1": w1, "w2": w2, "w4": w4, "w5": w5, "w6": w6, "w7": w7, "w10": w10, "w10b": w10b}
for name in WORKLOADS if ARGS.workload == "all" else [ARGS.workload]:
    step = WORKLOADS[name]()
    losses = [step() for _ in range(21)]
    start = time.perf_counter()
    while time.perf_counter() - start < 1:
        step()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < ARGS.secs or len(times) < ARGS.min_steps:
        t = time.perf_counter()
        step()
        times.append((time.perf_counter() - t) * 1e3)
    times.sort()
    rss = next(int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
    print(json.dumps({"peer": "jax", "workload": name, "threads": ARGS.threads,
                      "median_ms": times[len(times) // 2], "p10_ms": times[len(times) // 10],
                      "n": len(times), "rss_mb": rss, "losses": losses}), flush=True)
