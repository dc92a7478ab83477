//! Losses, one number per element or per sample: the caller takes their mean or sum.
//!
//! Functions that weight samples return the weights too, because PyTorch's weighted mean is Σ losses / Σ weights.

use crate::float::Float;
use crate::ops::elementwise::weighed;
use crate::ops::index::check_indices;
use crate::var::Var;
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::shape::IntoAxes;
use wengert_tensor::{Dims, Tensor};

impl<'t, T: Float> Var<'t, T> {
    /// Checks class scores `[n, classes, ..]` (or `[classes]`) against labels `[n, ..]` (or `[]`); the scores as a
    /// matrix `[labels, classes]`.
    #[track_caller]
    pub(crate) fn class_rows(
        self,
        op: &'static str,
        labels: &Tensor<i64>,
        ignore: Option<i64>,
    ) -> Self {
        let shape = self.shape();
        let fits = match shape.len() {
            0 => false,
            1 => labels.rank() == 0,
            _ => {
                let mut s = shape.clone();
                s.remove(1);
                s.as_slice() == labels.shape()
            }
        };
        assert!(
            fits,
            "{op}: scores of shape {:?} and labels of shape {:?} do not fit (expected [n, classes, ..] and [n, ..])",
            shape.as_slice(),
            labels.shape()
        );
        let classes = shape[usize::from(shape.len() > 1)];
        let wrong = |&y: &i64| Some(y) != ignore && (y < 0 || y as u64 >= classes as u64);
        if let Some(y) = labels.iter().find(wrong) {
            check_indices(op, "label", &Tensor::scalar(y), classes).or_panic();
        }
        match shape.len() {
            1 => self.unsqueeze(0),
            2 => self,
            _ => self.movedim(1, -1).reshape([labels.numel(), classes]),
        }
    }

    /// The weight of each label's class (1 without weights), 0 for ignored labels.
    #[track_caller]
    fn label_weights(
        self,
        op: &str,
        labels: &Tensor<i64>,
        weight: Option<Self>,
        ignore: Option<i64>,
    ) -> Self {
        let classes = self.size(1);
        let counts = labels.map(|y| {
            if Some(y) == ignore {
                T::zero()
            } else {
                T::one()
            }
        });
        let counts = self.tape().input(&counts.reshape([labels.numel()]));
        let Some(w) = weight else {
            return counts;
        };
        assert!(
            w.shape().as_slice() == [classes],
            "{op}: expected a weight per class of shape [{classes}], found {:?}",
            w.shape().as_slice()
        );
        w.take(&safe(labels, ignore)) * counts
    }

    /// Cross-entropy of logits `[n, classes, ..]` with labels `[n, ..]`, with class weights, a label to ignore and label
    /// smoothing (Szegedy et al. 2016): for ε > 0 the target is 1 - ε on the label plus ε / classes everywhere.
    ///
    /// Returns the losses, already weighted, and the weights of the labels, both `[n, ..]`: the mean as PyTorch takes it
    /// is the quotient of their sums. Ignored labels have loss and weight 0.
    ///
    /// # Panics
    /// When the shapes do not fit, a label is out of range, or ε is not in [0, 1].
    #[track_caller]
    pub fn cross_entropy_weighted(
        self,
        labels: &Tensor<i64>,
        weight: Option<Self>,
        ignore: Option<i64>,
        smoothing: f64,
    ) -> (Self, Self) {
        let op = "cross_entropy";
        assert!(
            (0.0..=1.0).contains(&smoothing),
            "{op}: expected label smoothing in [0, 1], found {smoothing}"
        );
        let x = self.class_rows(op, labels, ignore);
        let w = x.label_weights(op, labels, weight, ignore);
        let flat = labels.reshape([labels.numel()]);
        let mut losses = x.cross_entropy_rows(&flat, ignore);
        if weight.is_some() {
            losses = losses * w;
        }
        if smoothing > 0.0 {
            let classes = x.size(1);
            let counted = w.tape().input(
                &(flat.map(|y| {
                    if Some(y) == ignore {
                        T::zero()
                    } else {
                        T::one()
                    }
                })),
            );
            let spread = match weight {
                Some(w) => -(x.log_softmax(1) * w).sum_dim(1, false),
                // Without weights Σ -ln softmax(x) = C l - Σ (x - x[label]) for the loss l, and no matrix is made.
                None => {
                    let own = x.gather(1, &safe(&flat, ignore).reshape([flat.numel(), 1]));
                    // A label whose logit is -∞ has the loss ∞ and not NaN.
                    let least = own.le(own.tape().scalar(f64::NEG_INFINITY));
                    let own = own.masked_fill(least, 0.0);
                    losses * classes as f64 - (x - own).sum_dim(1, false)
                }
            };
            let spread = spread.mask(counted);
            losses = losses * (1.0 - smoothing) + spread * (smoothing / classes as f64);
        }
        (losses.reshape(labels.shape()), w.reshape(labels.shape()))
    }

    /// Cross-entropy of logits with probabilities `target` of the same shape, along the class axis: -Σ w t ln softmax(x),
    /// without that axis. The class axis is 1 (0 for a single sample). The target may be differentiated too.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn cross_entropy_probabilities(self, target: Self, weight: Option<Self>) -> Self {
        let op = "cross_entropy_probabilities";
        same_shape(op, self, target);
        let shape = self.shape();
        assert!(
            !shape.is_empty(),
            "{op}: expected a class axis, found shape []"
        );
        let axis = usize::from(shape.len() > 1);
        let mut logs = self.log_softmax(axis as isize);
        if let Some(w) = weight {
            assert!(
                w.shape().as_slice() == [shape[axis]],
                "{op}: expected a weight per class of shape [{}], found {:?}",
                shape[axis],
                w.shape().as_slice()
            );
            let mut own = Dims::from_elem(1, shape.len());
            own[axis] = shape[axis];
            logs = logs * w.reshape(own);
        }
        // A target of 0 ends a logarithm of -∞.
        -weighed(target, logs).sum_dim(axis as isize, false)
    }

    /// Negative log-likelihood of log-probabilities `[n, classes, ..]` with labels `[n, ..]`: -w x\[label\]. Returns
    /// losses and weights as [`Var::cross_entropy_weighted`].
    ///
    /// # Panics
    /// When the shapes do not fit or a label is out of range.
    #[track_caller]
    pub fn nll(
        self,
        labels: &Tensor<i64>,
        weight: Option<Self>,
        ignore: Option<i64>,
    ) -> (Self, Self) {
        let x = self.class_rows("nll", labels, ignore);
        let w = x.label_weights("nll", labels, weight, ignore);
        let n = labels.numel();
        let picked = x
            .gather(1, &safe(labels, ignore).reshape([n, 1]))
            .reshape([n]);
        let losses = -weighed(w, picked);
        (losses.reshape(labels.shape()), w.reshape(labels.shape()))
    }

    /// Binary cross-entropy of logits with targets in [0, 1], per element, stable. A `pos_weight` (it broadcasts)
    /// multiplies the loss of the positive part: (1 - t) ln(1 + eˣ) + p t ln(1 + e⁻ˣ), at infinite logits its limit.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn bce_with_logits(self, target: Self, pos_weight: Option<Self>) -> Self {
        same_shape("bce_with_logits", self, target);
        match pos_weight {
            None => self.bce_with_logits_(target),
            Some(p) => self.bce_with_weight(target, p),
        }
    }

    /// Kullback-Leibler divergence per element of log-probabilities x and probabilities t: t (ln t - x), 0 where t is 0.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn kl_div(self, target: Self) -> Self {
        same_shape("kl_div", self, target);
        target.xlogy(target) - weighed(target, self)
    }

    /// [`Var::kl_div`] with a target of log-probabilities: eᵗ (t - x).
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn kl_div_log(self, target: Self) -> Self {
        same_shape("kl_div_log", self, target);
        target.exp() * (target - self)
    }

    /// Smooth L1 per element: d²/(2β) for |d| ≤ β, else |d| - β/2, with d = x - t; L1 for β = 0.
    ///
    /// # Panics
    /// When the shapes differ or β is negative.
    #[track_caller]
    pub fn smooth_l1(self, target: Self, beta: f64) -> Self {
        same_shape("smooth_l1", self, target);
        assert!(beta >= 0.0, "smooth_l1: expected β >= 0, found {beta}");
        let d = self - target;
        if beta == 0.0 {
            d.abs()
        } else {
            d.huber(beta) / beta
        }
    }

    /// Poisson negative log-likelihood per element: eˣ - t x for x = ln λ. With `full` the Stirling term
    /// t ln t - t + ln(2π t)/2 is added for t > 1.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn poisson_nll(self, target: Self, full: bool) -> Self {
        same_shape("poisson_nll", self, target);
        let loss = self.exp() - target * self;
        if !full {
            return loss;
        }
        let large = target.gt(self.tape().scalar(1.0));
        let t = large.where_(target, self.tape().scalar(1.0));
        let stirling = t * t.ln() - t + (t * std::f64::consts::TAU).ln() * 0.5;
        loss + stirling.mask(large)
    }

    /// Gaussian negative log-likelihood per element: (ln v + (x - t)² / v) / 2 with the variance v = max(var, ε), plus
    /// ln(2π)/2 with `full`. `var` broadcasts; below ε its derivative is 0 (PyTorch: that without the limit).
    ///
    /// # Panics
    /// When the shapes differ or ε is not positive.
    #[track_caller]
    pub fn gaussian_nll(self, target: Self, var: Self, full: bool, eps: f64) -> Self {
        same_shape("gaussian_nll", self, target);
        assert!(eps > 0.0, "gaussian_nll: expected ε > 0, found {eps}");
        let v = var.clamp(eps, f64::INFINITY);
        let loss = (v.ln() + (self - target).square() / v) * 0.5;
        if full {
            loss + 0.5 * std::f64::consts::TAU.ln()
        } else {
            loss
        }
    }

    /// Hinge loss per element of scores and targets ±1: max(0, 1 - t x).
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn hinge(self, target: Self) -> Self {
        same_shape("hinge", self, target);
        (1 - target * self).relu()
    }

    /// Soft margin loss per element of scores and targets ±1: ln(1 + e^(-t x)).
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn soft_margin(self, target: Self) -> Self {
        same_shape("soft_margin", self, target);
        (-(target * self)).softplus()
    }

    /// Hinge embedding loss per element of distances and targets ±1: x where t = 1, max(0, margin - x) where t = -1.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn hinge_embedding(self, target: Self, margin: f64) -> Self {
        same_shape("hinge_embedding", self, target);
        let near = target.gt(self.tape().scalar(0.0));
        near.where_(self, (margin - self).relu())
    }

    /// Multi-class margin loss of scores `[n, classes]`: w\[y\] / classes · Σ max(0, margin - x\[y\] + x\[i\])ᵖ over the
    /// other classes i, for p = 1 or 2; one number per sample.
    ///
    /// # Panics
    /// When the shapes do not fit, a label is out of range, or p is not 1 or 2.
    #[track_caller]
    pub fn multi_margin(
        self,
        labels: &Tensor<i64>,
        p: u32,
        margin: f64,
        weight: Option<Self>,
    ) -> Self {
        assert!(
            p == 1 || p == 2,
            "multi_margin: expected p to be 1 or 2, found {p}"
        );
        let x = self.class_rows("multi_margin", labels, None);
        let (n, classes) = (labels.numel(), x.size(1));
        let own = x.gather(1, &labels.reshape([n, 1]));
        let mut gap = (x - own + margin).relu();
        if p == 2 {
            gap = gap.square();
        }
        let others = 1 - self.tape().one_hot(&labels.reshape([n]), classes);
        let mut loss = (gap * others).sum_dim(1, false) / classes as f64;
        if let Some(w) = weight {
            loss = loss * x.label_weights("multi_margin", labels, Some(w), None);
        }
        loss.reshape(labels.shape())
    }

    /// Margin ranking loss per element: max(0, margin - t (x - other)) with t = 1 where x should rank higher, else -1.
    ///
    /// # Panics
    /// When the shapes do not broadcast.
    #[track_caller]
    pub fn margin_ranking(self, other: Self, target: Self, margin: f64) -> Self {
        (margin - target * (self - other)).relu()
    }

    /// Cosine of the angle between two tensors along an axis: Σ a b / (max(‖a‖, ε) max(‖b‖, ε)).
    ///
    /// # Panics
    /// When the axis is out of range or the shapes do not broadcast.
    #[track_caller]
    pub fn cosine_similarity(self, other: Self, axis: isize, eps: f64) -> Self {
        self.normalize(2.0, axis, eps)
            .mul(other.normalize(2.0, axis, eps))
            .sum_dim(axis, false)
    }

    /// x / max(‖x‖ₚ, ε) along an axis.
    ///
    /// # Panics
    /// When the axis is out of range.
    #[track_caller]
    pub fn normalize(self, p: f64, axis: isize, eps: f64) -> Self {
        self / self.norm_dim(p, axis, true).clamp(eps, f64::INFINITY)
    }

    /// ‖a - b + ε‖ₚ along the last axis (PyTorch's `pairwise_distance`).
    ///
    /// # Panics
    /// When the shapes do not broadcast.
    #[track_caller]
    pub fn pairwise_distance(self, other: Self, p: f64, eps: f64) -> Self {
        (self - other + eps).norm_dim(p, -1, false)
    }

    /// Cosine embedding loss of two batches of vectors along the last axis: 1 - cos where t = 1, max(0, cos - margin)
    /// where t = -1. The cosine is [`Var::cosine_similarity`] with ε = 1e-8. (PyTorch adds 1e-12 to both squared lengths here,
    /// which differs for vectors shorter than about 1e-6.)
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn cosine_embedding(self, other: Self, target: Self, margin: f64) -> Self {
        let cos = self.cosine_similarity(other, -1, 1e-8);
        same_shape("cosine_embedding", cos, target);
        let near = target.gt(self.tape().scalar(0.0));
        near.where_(1 - cos, (cos - margin).relu())
    }

    /// Triplet margin loss of anchors (self), positives and negatives along the last axis (Schroff et al. 2015):
    /// max(0, d(a, p) - d(a, n) + margin) with the p-norm distance of [`Var::pairwise_distance`] (ε = 1e-6). With `swap`
    /// the smaller of d(a, n) and d(p, n) counts (Balntas et al. 2016).
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn triplet(self, positive: Self, negative: Self, margin: f64, p: f64, swap: bool) -> Self {
        let near = self.pairwise_distance(positive, p, 1e-6);
        let mut far = self.pairwise_distance(negative, p, 1e-6);
        if swap {
            far = far.minimum(positive.pairwise_distance(negative, p, 1e-6));
        }
        (near - far + margin).relu()
    }

    /// Focal loss per element of logits with targets in [0, 1] (Lin et al. 2017): the binary cross-entropy times
    /// (1 - pₜ)^γ, where pₜ is the probability of the target, and times α for positives, 1 - α for negatives if α is
    /// given.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn focal(self, target: Self, gamma: f64, alpha: Option<f64>) -> Self {
        same_shape("focal", self, target);
        let p = self.sigmoid();
        let miss = p + target - p * target * 2.0;
        let mut loss = self.bce_with_logits_(target) * miss.powf(gamma);
        if let Some(a) = alpha {
            loss = loss * (target * (2.0 * a - 1.0) + (1.0 - a));
        }
        loss
    }

    /// Dice loss of probabilities and targets over some axes (Milletari et al. 2016):
    /// 1 - (2 Σ p t + s) / (Σ p + Σ t + s) with a smoothing term s.
    ///
    /// # Panics
    /// When the shapes differ or an axis is out of range.
    #[track_caller]
    pub fn dice(self, target: Self, axes: impl IntoAxes, smooth: f64) -> Self {
        same_shape("dice", self, target);
        let axes: SmallVec<[isize; 6]> = axes.into_axes();
        self.set("dice", axes.clone());
        let both = (self * target).sum_dim(axes.clone(), false) * 2.0 + smooth;
        1 - both / ((self + target).sum_dim(axes, false) + smooth)
    }
}

/// Labels with ignored ones replaced by class 0.
fn safe(labels: &Tensor<i64>, ignore: Option<i64>) -> Tensor<i64> {
    let n = labels.numel();
    labels
        .map(|y| if Some(y) == ignore { 0 } else { y })
        .reshape([n])
}

#[track_caller]
fn same_shape<T: Float>(op: &str, x: Var<'_, T>, target: Var<'_, T>) {
    assert!(
        x.shape() == target.shape(),
        "{op}: expected input and target of one shape, found {:?} and {:?}",
        x.shape().as_slice(),
        target.shape().as_slice()
    );
}
