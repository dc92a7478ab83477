"""Reference trajectories of the optimizers in double precision.

    python generate.py > trajectories.txt

needs torch and optax. Each line: name of the case, step, parameters after that step (17 digits). Parameters and
gradients come from a generator that the test repeats (`Lcg`), so they are not written down.
"""

import jax
import jax.numpy as jnp
import optax
import optax.contrib
import torch

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

SHAPES = [(3, 2), (4,), (), (0, 3)]
STEPS = 20
SHOWN = (1, 2, 5, 20)


class Lcg:
    def __init__(self, seed):
        self.x = seed

    def next(self):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 11) / 2**52 - 1.0


def numel(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def start():
    r = Lcg(1)
    return [[r.next() for _ in range(numel(s))] for s in SHAPES]


def gradients(full=False):
    """One list per step; None for a parameter without a gradient, unless `full`."""
    r = Lcg(2)
    steps = []
    for t in range(STEPS):
        g = [[r.next() * (1.0 if t != 6 else 30.0) for _ in range(numel(s))] for s in SHAPES]
        if t in (2, 9) and not full:
            g[1] = None
        steps.append(g)
    return steps


def show(name, t, values):
    if t in SHOWN:
        print(name, t, *[f"{v:.17g}" for p in values for v in p])


def torch_case(name, make, schedule=None, full=False):
    params = [torch.tensor(v).reshape(s).requires_grad_() for v, s in zip(start(), SHAPES)]
    # Some of PyTorch's rules fail on empty tensors, which have nothing to show anyway.
    opt = make([p for p in params if p.numel()])
    sched = schedule(opt) if schedule else None
    for t, grads in enumerate(gradients(full), 1):
        for p, s, g in zip(params, SHAPES, grads):
            p.grad = None if g is None else torch.tensor(g).reshape(s)
        opt.step()
        if sched:
            sched.step()
        show(name, t, [p.detach().flatten().tolist() for p in params])


def torch_cases():
    o = torch.optim
    case = torch_case
    case("sgd", lambda p: o.SGD(p, lr=0.1))
    case("sgd_decay", lambda p: o.SGD(p, lr=0.1, weight_decay=0.03))
    case("sgd_momentum", lambda p: o.SGD(p, lr=0.1, momentum=0.9))
    case("sgd_dampening", lambda p: o.SGD(p, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.02))
    case("sgd_nesterov", lambda p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.02))
    case("adam", lambda p: o.Adam(p, lr=0.02))
    case("adam_decay", lambda p: o.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1))
    case("adam_amsgrad", lambda p: o.Adam(p, lr=0.02, betas=(0.9, 0.9), amsgrad=True))
    case("adamw", lambda p: o.AdamW(p, lr=0.02))
    case("adamw_decay", lambda p: o.AdamW(p, lr=0.02, weight_decay=0.3, betas=(0.7, 0.9)))
    case("adamw_amsgrad", lambda p: o.AdamW(p, lr=0.02, betas=(0.9, 0.9), amsgrad=True))
    case(
        "adam_cosine",
        lambda p: o.Adam(p, lr=0.02),
        lambda opt: o.lr_scheduler.CosineAnnealingLR(opt, 20, eta_min=0.001),
    )
    case(
        "sgd_step_decay",
        lambda p: o.SGD(p, lr=0.1, momentum=0.9),
        lambda opt: o.lr_scheduler.StepLR(opt, 5, gamma=0.3),
    )

    case("adagrad", lambda p: o.Adagrad(p, lr=0.1))
    case(
        "adagrad_decay",
        lambda p: o.Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.05, initial_accumulator_value=0.3, eps=1e-6),
    )
    case("adadelta", lambda p: o.Adadelta(p))
    case("adadelta_decay", lambda p: o.Adadelta(p, lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.05))
    case("rmsprop", lambda p: o.RMSprop(p, lr=0.02))
    case("rmsprop_momentum", lambda p: o.RMSprop(p, lr=0.02, momentum=0.8, alpha=0.9, weight_decay=0.05))
    case("rmsprop_centered", lambda p: o.RMSprop(p, lr=0.02, centered=True, eps=1e-5))
    case("rmsprop_both", lambda p: o.RMSprop(p, lr=0.02, centered=True, momentum=0.5, alpha=0.8))
    case("adamax", lambda p: o.Adamax(p))
    case("adamax_decay", lambda p: o.Adamax(p, lr=0.05, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.05))
    case("nadam", lambda p: o.NAdam(p))
    case("nadam_decay", lambda p: o.NAdam(p, lr=0.05, betas=(0.8, 0.9), weight_decay=0.05, momentum_decay=0.02))
    case(
        "nadam_decoupled",
        lambda p: o.NAdam(p, lr=0.05, weight_decay=0.05, decoupled_weight_decay=True),
    )
    case("radam", lambda p: o.RAdam(p, lr=0.02))
    case("radam_decay", lambda p: o.RAdam(p, lr=0.05, betas=(0.8, 0.9), weight_decay=0.05))
    case("radam_decoupled", lambda p: o.RAdam(p, lr=0.05, weight_decay=0.05, decoupled_weight_decay=True))
    case("rprop", lambda p: o.Rprop(p))
    case("rprop_etas", lambda p: o.Rprop(p, lr=0.05, etas=(0.3, 1.5), step_sizes=(1e-3, 0.2)))
    case("asgd", lambda p: o.ASGD(p))
    case("asgd_early", lambda p: o.ASGD(p, lr=0.1, lambd=0.02, alpha=0.6, t0=3, weight_decay=0.05))
    case("adafactor", lambda p: o.Adafactor(p))
    case("adafactor_decay", lambda p: o.Adafactor(p, lr=0.3, beta2_decay=-0.6, d=1.5, weight_decay=0.05))


def averaged_case(name, make, key):
    """The averaged weights that an optimizer keeps beside the model."""
    params = [torch.tensor(v).reshape(s).requires_grad_() for v, s in zip(start(), SHAPES)]
    params = [p for p in params if p.numel()]
    opt = make(params)
    for t, grads in enumerate(gradients(), 1):
        for p, s, g in zip(params, SHAPES, grads):
            p.grad = None if g is None else torch.tensor(g).reshape(s)
        opt.step()
        show(name, t, [opt.state[p][key].flatten().tolist() for p in params])


def muon_case(name, **options):
    """PyTorch's Muon, iterating in double precision; the other parameters go to AdamW."""
    source = torch.optim._muon._zeropower_via_newtonschulz

    def exact(grad, coefficients, steps, eps):
        a, b, c = coefficients
        x = grad.T if grad.size(0) > grad.size(1) else grad
        x = x / x.norm().clamp(min=eps)
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if grad.size(0) > grad.size(1) else x

    torch.optim._muon._zeropower_via_newtonschulz = exact
    shapes = SHAPES[:3] + [(2, 3)]
    r = Lcg(1)
    params = [torch.tensor([r.next() for _ in range(numel(s))]).reshape(s).requires_grad_() for s in shapes]
    matrices = [p for p in params if p.ndim == 2]
    others = [p for p in params if p.ndim != 2]
    muon = torch.optim.Muon(matrices, **options)
    adam = torch.optim.AdamW(others, lr=options["lr"] * 0.5)
    r = Lcg(2)
    for t in range(1, STEPS + 1):
        for p, s in zip(params, shapes):
            scale = 1.0 if t != 7 else 30.0
            p.grad = torch.tensor([r.next() * scale for _ in range(numel(s))]).reshape(s)
        muon.step()
        adam.step()
        show(name, t, [p.detach().flatten().tolist() for p in params])
    torch.optim._muon._zeropower_via_newtonschulz = source


class Soap:
    """The authors' program (github.com/nikhilvyas/SOAP) for matrices and vectors, without its options."""

    def __init__(self, params, lr, betas=(0.95, 0.95), eps=1e-8, weight_decay=0.01, frequency=10):
        self.params, self.lr, self.betas, self.eps = params, lr, betas, eps
        self.weight_decay, self.frequency, self.state = weight_decay, frequency, {}

    def project(self, x, s, into):
        if x.ndim < 2:
            return x
        l, r = s["q"]
        return l.T @ x @ r if into else l @ x @ r.T

    def precondition(self, g, s):
        if g.ndim < 2:
            return
        beta = self.betas[1]
        s["gg"][0].lerp_(g @ g.T, 1 - beta)
        s["gg"][1].lerp_(g.T @ g, 1 - beta)
        if s["q"] is None:
            s["q"] = [torch.linalg.eigh(m)[1].flip(1) for m in s["gg"]]
        if s["step"] > 0 and s["step"] % self.frequency == 0:
            for side in (0, 1):
                m, q = s["gg"][side], s["q"][side]
                order = torch.argsort(torch.diag(q.T @ m @ q), descending=True)
                s["v"] = s["v"].index_select(side, order)
                s["q"][side] = torch.linalg.qr(m @ q[:, order])[0]

    def step(self):
        b1, b2 = self.betas
        for p in self.params:
            g = p.grad
            if g is None:
                continue
            if p not in self.state:
                sides = [torch.zeros(n, n) for n in p.shape] if p.ndim == 2 else None
                s = {"step": 0, "m": torch.zeros_like(g), "v": torch.zeros_like(g), "gg": sides, "q": None}
                self.state[p] = s
                self.precondition(g, s)
                continue
            s = self.state[p]
            s["step"] += 1
            gp = self.project(g, s, True)
            s["m"].mul_(b1).add_(g, alpha=1 - b1)
            s["v"].mul_(b2).add_(gp.square(), alpha=1 - b2)
            u = self.project(s["m"], s, True) / (s["v"].sqrt() + self.eps)
            size = self.lr * (1 - b2 ** s["step"]) ** 0.5 / (1 - b1 ** s["step"])
            with torch.no_grad():
                p.add_(self.project(u, s, False), alpha=-size)
                p.add_(p, alpha=-self.lr * self.weight_decay)
            self.precondition(g, s)


class Cautious:
    """AdamW and Lion with the mask of Liang et al. 2024 (github.com/kyleliang919/C-Optim)."""

    def __init__(self, params, kind, lr, betas, weight_decay, eps=1e-8):
        self.params, self.kind, self.lr, self.betas = params, kind, lr, betas
        self.weight_decay, self.eps, self.state = weight_decay, eps, {}

    @torch.no_grad()
    def step(self):
        b1, b2 = self.betas
        for p in self.params:
            g = p.grad
            if g is None:
                continue
            s = self.state.setdefault(p, {"t": 0, "m": torch.zeros_like(g), "v": torch.zeros_like(g)})
            s["t"] += 1
            if self.kind == "adamw":
                s["m"].mul_(b1).add_(g, alpha=1 - b1)
                s["v"].mul_(b2).add_(g * g, alpha=1 - b2)
                direction = s["m"]
                denominator = (s["v"] / (1 - b2 ** s["t"])).sqrt() + self.eps
                size = self.lr / (1 - b1 ** s["t"])
            else:
                direction = (s["m"] * b1 + g * (1 - b1)).sign()
                s["m"].mul_(b2).add_(g, alpha=1 - b2)
                denominator, size = 1.0, self.lr
            mask = (direction * g > 0).to(g.dtype)
            if mask.numel():
                mask /= mask.mean().clamp(min=1e-3)
            p.mul_(1 - self.lr * self.weight_decay)
            p.add_(direction * mask / denominator, alpha=-size)


def optax_case(name, tx, extra=None):
    """All parameters have gradients at every step. `extra` reads what is to be shown in place of the parameters."""
    params = [jnp.array(v).reshape(s) for v, s in zip(start(), SHAPES)]
    state = tx.init(params)
    for t, grads in enumerate(gradients(full=True), 1):
        grads = [jnp.array(g).reshape(s) for g, s in zip(grads, SHAPES)]
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        shown = extra(state, params) if extra else params
        show("optax_" + name, t, [p.flatten().tolist() for p in shown])


def optax_cases():
    case, c = optax_case, optax.contrib
    case("sgd", optax.sgd(0.1, momentum=0.9, nesterov=True))
    case("adam", optax.adam(0.02))
    case("adamw", optax.adamw(optax.cosine_decay_schedule(0.02, 20, 0.05), weight_decay=0.1))
    case("ema_momentum", optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1)))
    case("ema_corrected", optax.chain(optax.ema(0.9, debias=True), optax.scale(-0.1)))
    case("adabelief", optax.adabelief(0.02))
    case("adabelief_betas", optax.adabelief(0.05, b1=0.8, b2=0.9, eps=1e-8, eps_root=1e-6))
    case("yogi", optax.yogi(0.02))
    case("yogi_betas", optax.yogi(0.05, b1=0.8, b2=0.9, eps=1e-2))
    case("adan", optax.adan(0.02))
    case("adan_decay", optax.adan(0.05, b1=0.9, b2=0.8, b3=0.95, weight_decay=0.1))
    case("lion", optax.lion(0.01))
    case("lion_decay", optax.lion(0.03, b1=0.8, b2=0.9, weight_decay=0.2))
    case("lamb", optax.lamb(0.02))
    case("lamb_decay", optax.lamb(0.05, b1=0.8, b2=0.9, eps_root=1e-4, weight_decay=0.1))
    case("lars", optax.lars(0.5))
    case("lars_decay", optax.lars(0.5, weight_decay=0.1, trust_coefficient=0.01, eps=1e-3, nesterov=True))
    case("novograd", optax.novograd(0.02))
    case("novograd_decay", optax.novograd(0.05, b1=0.8, b2=0.6, eps_root=1e-4, weight_decay=0.1))
    case("sign_sgd", optax.sign_sgd(0.02))
    case("signum", optax.signum(0.02, beta=0.8))
    case("prodigy", c.prodigy(1.0, estim_lr0=1e-2))
    case("prodigy_decay", c.prodigy(0.5, betas=(0.8, 0.9), beta3=0.7, weight_decay=0.1, estim_lr0=1e-2, estim_lr_coef=2.0))
    case("prodigy_safeguard", c.prodigy(1.0, estim_lr0=1e-2, safeguard_warmup=True))
    case("schedule_free_sgd", c.schedule_free_sgd(0.1))
    case("schedule_free_sgd_decay", c.schedule_free_sgd(0.1, b1=0.7, weight_decay=0.1, weight_lr_power=1.0))
    case("schedule_free_adamw", c.schedule_free_adamw(0.02))
    case("schedule_free_adamw_decay", c.schedule_free_adamw(0.05, b1=0.8, b2=0.9, weight_decay=0.1))
    case("schedule_free_averaged", c.schedule_free_adamw(0.02), c.schedule_free_eval_params)
    square = optax.GradientTransformation(lambda p: optax.EmptyState(), lambda u, s, p: ([x * x for x in u], s))
    case("sophia", c.sophia(0.02, hessian_diagonal_fn=square, update_interval=4))
    case(
        "sophia_gamma",
        c.sophia(0.05, b1=0.8, b2=0.9, gamma=0.5, weight_decay=0.1, clip_threshold=0.7,
                 hessian_diagonal_fn=square, update_interval=4),
    )


torch_cases()
averaged_case("asgd_averaged", lambda p: torch.optim.ASGD(p, lr=0.1, t0=3), "ax")
muon_case("muon", lr=0.02)
muon_case("muon_plain", lr=0.05, nesterov=False, momentum=0.8, weight_decay=0.2)
muon_case("muon_match", lr=0.05, adjust_lr_fn="match_rms_adamw")
torch_case("soap", lambda p: Soap(p, lr=0.05))
torch_case("soap_often", lambda p: Soap(p, lr=0.05, betas=(0.9, 0.8), weight_decay=0.1, frequency=3))
torch_case("cautious_adamw", lambda p: Cautious(p, "adamw", 0.02, (0.9, 0.999), 0.1))
torch_case("cautious_lion", lambda p: Cautious(p, "lion", 0.02, (0.9, 0.99), 0.1))
optax_cases()
