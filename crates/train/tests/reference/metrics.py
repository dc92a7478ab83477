"""Values of mod.rs: numpy alone, by the definitions of scikit-learn (macro averages, zero_division=0)."""
import numpy as np

N, C = 200, 5


def sequence(n, k):
    out = []
    for _ in range(n):
        k = (k * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append((k >> 11) / 2**53)
    return np.array(out)


s = sequence(N * C, 1).reshape(N, C)
y = (sequence(N, 2) ** 2 * C).astype(int)
answer = s.argmax(1)
m = np.zeros((C, C), int)
np.add.at(m, (y, answer), 1)
ratio = lambda a, b: np.where(b > 0, a / np.maximum(b, 1), 0.0)
precision = ratio(m.diagonal(), m.sum(0))
recall = ratio(m.diagonal(), m.sum(1))
f1 = ratio(2 * m.diagonal(), m.sum(0) + m.sum(1))
top3 = (np.argsort(-s, 1, kind="stable")[:, :3] == y[:, None]).any(1).mean()
nll = np.log(np.exp(s).sum(1)) - s[np.arange(N), y]
yes = sequence(N, 3) > 0.6
said = sequence(N, 4) - 0.5 > 0
tp, fp, fn = (yes & said).sum(), (~yes & said).sum(), (yes & ~said).sum()
a, b = sequence(N, 5), sequence(N, 6)
# The shift by 1e6 rounds; differences are those of the rounded values.
a, b = 1e6 + a, 1e6 + b
f = lambda x: "[" + ", ".join(repr(float(v)) for v in x) + "]"
print(f"pub const ACCURACY: f64 = {float((answer == y).mean())!r};")
print(f"pub const TOP3: f64 = {float(top3)!r};")
print(f"pub const PERPLEXITY: f64 = {float(np.exp(nll.mean()))!r};")
print(f"pub const PRECISION: f64 = {float(precision.mean())!r};")
print(f"pub const RECALL: f64 = {float(recall.mean())!r};")
print(f"pub const F1: f64 = {float(f1.mean())!r};")
print("pub const CONFUSION: [[u64; 5]; 5] = [" + ", ".join("[" + ", ".join(map(str, r)) + "]" for r in m) + "];")
print(f"pub const PRECISIONS: [f64; 5] = {f(precision)};")
print(f"pub const RECALLS: [f64; 5] = {f(recall)};")
print(f"pub const F1S: [f64; 5] = {f(f1)};")
print(f"pub const BINARY: [f64; 4] = {f([tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn), (yes == said).mean()])};")
r2 = 1 - ((a - b) ** 2).sum() / ((b - b.mean()) ** 2).sum()
print(f"pub const REGRESSION: [f64; 3] = {f([((a - b) ** 2).mean(), np.abs(a - b).mean(), r2])};")
