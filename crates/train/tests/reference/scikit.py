"""Values of scikit.rs: scikit-learn 1.9.1 (pip install scikit-learn), numpy 2.4.6. `python scikit.py > scikit.rs`, then rustfmt."""
import warnings

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (average_precision_score, brier_score_loss, precision_recall_fscore_support, roc_auc_score)
from sklearn.preprocessing import label_binarize

warnings.simplefilter("ignore")
N, C = 200, 5


def sequence(n, k):
    out = []
    for _ in range(n):
        k = (k * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append((k >> 11) / 2**53)
    return np.array(out)


def show(name, x):
    if isinstance(x, list):
        print(f"pub const {name}: [f64; {len(x)}] = [{', '.join(repr(float(v)) for v in x)}];".replace("nan", "f64::NAN"))
    else:
        print(f"pub const {name}: f64 = {float(x)!r};")


# Of yes and no: 16 different scores, so most are ties; a larger one makes yes more probable.
s = np.floor(sequence(N, 11) * 16) / 16
yes = (sequence(N, 12) < 0.1 + 0.6 * s).astype(int)
# Of classes: a row has 16 sixteenths, which are exact; and logits without ties.
cuts = np.sort(np.floor(sequence(N * (C - 1), 13).reshape(N, C - 1) * 17), 1)
p = np.diff(np.concatenate([np.zeros((N, 1)), cuts, np.full((N, 1), 16)], 1), axis=1) / 16
logits = sequence(N * C, 14).reshape(N, C) * 6 - 3
softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
y = (sequence(N, 15) ** 2 * C).astype(int)
# Three of the five classes.
few = y % 3

print("//! Written by `scikit.py`.")
show("BINARY_AUC", roc_auc_score(yes, s))
show("BINARY_AP", average_precision_score(yes, s))
one = lambda f: [f(np.zeros(3), [0.1, 0.5, 0.3]), f(np.ones(3), [0.1, 0.5, 0.3])]
show("ONE_TARGET", one(roc_auc_score) + one(average_precision_score))
for name, scores in [("TIES", p), ("LOGITS", softmax)]:
    auc = lambda a: roc_auc_score(y, scores, multi_class="ovr", average=a)
    ap = lambda a: average_precision_score(label_binarize(y, classes=range(C)), scores, average=a)
    for f, of in [("AUC", auc), ("AP", ap)]:
        show(f"{name}_{f}", [of("macro"), of("weighted"), of("micro"), *of(None)])
auc = lambda a: roc_auc_score(few, p, multi_class="ovr", average=a, labels=range(C))
ap = lambda a: average_precision_score(label_binarize(few, classes=range(C)), p, average=a)
show("FEW_AUC", [auc("macro"), auc("weighted"), auc("micro"), *auc(None)])
show("FEW_AP", [ap("macro"), ap("weighted"), ap("micro"), *ap(None)])

for name, labels in [("ALL", y), ("FEW", few)]:
    for a in ["macro", "weighted", "micro"]:
        show(f"{name}_{a.upper()}", list(precision_recall_fscore_support(labels, p.argmax(1), average=a, zero_division=0)[:3]))

show("BINARY_BRIER", brier_score_loss(yes, s))
show("TIES_BRIER", brier_score_loss(y, p, labels=range(C)))
show("LOGITS_BRIER", brier_score_loss(y, softmax, labels=range(C)))
two = np.stack([1 - s, s], 1)
show("TWO_BRIER", brier_score_loss(yes, two))


def ece(right, q, bins):
    share, mean = calibration_curve(right, q, n_bins=bins)
    count = np.bincount(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], q), minlength=bins)
    count = count[count > 0]
    return (count * abs(share - mean)).sum() / count.sum()


sigmoid = 1 / (1 + np.exp(3 - 6 * s))
# With 16 and 8 bins every score is an edge.
show("BINARY_ECE", [ece(yes, s, 10), ece(yes, s, 16), ece(yes, s, 8), ece(yes, sigmoid, 15)])
# Half of the answers are made right, so that some bins are too sure and others not sure enough.
made = sequence(N, 16) < 0.5
answers = lambda q: (np.where(made, q.argmax(1), y) == q.argmax(1), q.max(1))
show("ECE", [ece(*answers(p), 15), ece(*answers(p), 16), ece(*answers(p), 8), ece(*answers(softmax), 15), ece(*answers(softmax), 10)])
