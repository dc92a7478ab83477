"""The calculus of PyTorch in f64: vmap, Jacobians, hooks, recomputed stretches, truncated backpropagation through time.

    python calculus.py > calculus.txt

Inputs are `fill(seed, shape)`, the sines of multiples of the seed. A line: name, shape, elements.
"""

import math

import torch
import torch.nn.functional as F
from torch.func import grad, hessian, jacfwd, jacrev, vmap
from torch.utils.checkpoint import checkpoint

torch.set_default_dtype(torch.float64)


def fill(seed, *shape):
    n = math.prod(shape)
    return torch.tensor([math.sin((i + 1) * seed) for i in range(n)]).reshape(shape)


X, W, V = fill(0.7, 2, 3), fill(1.1, 3, 5), fill(1.7, 5, 4)
BATCH = fill(0.9, 3, 2, 3)


def network(x, w, v):
    h = F.gelu(F.layer_norm(x @ w, [w.shape[-1]]))
    return (h @ v).softmax(-1)


def show(name, t):
    shape = ",".join(map(str, t.shape))
    print("|".join([name, shape, " ".join(f"{v:.17g}" for v in t.detach().flatten().tolist())]))


def loss(x, w):
    return (network(x, w, V) ** 2).sum()


def batches():
    show("vmap", vmap(lambda x: network(x, W, V))(BATCH))
    own = fill(0.4, 3, 3, 5)
    show("vmap two", vmap(lambda x, w: network(x, w, V))(BATCH, own))
    show("gradients by example", vmap(lambda x: grad(loss, 1)(x, W))(BATCH))
    show("vmap of vmap", vmap(vmap(lambda x: (x[:, None] * W).tanh().sum(0)))(BATCH))


def jacobians():
    show("jacobian", jacrev(lambda x: network(x, W, V))(X))
    show("jacobian of the weight", jacrev(lambda w: network(X, w, V))(W))
    show("hessian", hessian(lambda x: loss(x, W))(X))
    show("jacobian of a jacobian", jacfwd(jacrev(lambda x: network(x, W, V)[0, :2]))(X))
    show("jacobians by example", vmap(jacrev(lambda x: network(x, W, V)))(BATCH))


def hooks():
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    h = x @ w
    seen = []
    h.register_hook(lambda g: seen.append(g))
    # Replaced, by the gradient of another function.
    a = h.tanh()
    a.register_hook(lambda g: g.clamp(-0.2, 0.2) * 3 + a.detach() * g**2)
    y = (a @ V).square().sum()
    gx, gw = torch.autograd.grad(y, [x, w], create_graph=True)
    show("hook read", seen[0])
    show("hook replaced x", gx)
    show("hook replaced w", gw)
    (second,) = torch.autograd.grad(gx.square().sum(), w)
    show("hook replaced twice", second)


def recomputed():
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    stretch = lambda x, w: F.silu(F.layer_norm(x @ w, [5])).exp()
    h = checkpoint(stretch, x, w, use_reentrant=False)
    y = (h @ V).tanh().square().sum()
    gx, gw = torch.autograd.grad(y, [x, w], create_graph=True)
    show("checkpoint", y.reshape(1))
    show("checkpoint x", gx)
    show("checkpoint w", gw)


def truncated():
    u, w = fill(0.3, 4, 4).requires_grad_(), W[:, :4].clone().requires_grad_()
    xs, h = fill(0.9, 6, 2, 3), torch.zeros(2, 4)
    total = []
    for t, x in enumerate(xs):
        if t % 2 == 0:
            h = h.detach()
        h = (x @ w + h @ u).tanh()
        total.append((h * fill(0.2 + 0.1 * t, 2, 4)).square().sum())
    gw, gu = torch.autograd.grad(sum(total), [w, u])
    show("truncated w", gw)
    show("truncated u", gu)


if __name__ == "__main__":
    batches()
    jacobians()
    hooks()
    recomputed()
    truncated()
