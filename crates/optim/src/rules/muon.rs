//! Muon: momentum, orthogonalized.

use crate::linalg::mul;
use crate::optimizer::Optimizer;
use crate::power::power;
use crate::rule::{
    Coefs, Pass, Plan, Range, Rule, Scope, Slots, Sums, Update, Whole, coefs, optimizer,
    whole_precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::gemm::MatRef;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Muon for matrices, AdamW for everything else (Jordan et al. 2024; PyTorch's `Muon`, which takes matrices only).
    ///
    /// ```text
    /// b ← μ b + (1 - μ) g
    /// u = (1 - μ) g + μ b            Nesterov, else u = b
    /// X = u / ‖u‖;   5 times  A = X Xᵀ,  X ← a X + (b A + c A²) X         (a, b, c) = (3.4445, -4.7750, 2.0315)
    /// p ← p (1 - lr λ) - lr · s · X                     s = √max(1, rows / columns)
    /// ```
    /// A parameter of more than two axes is taken as a matrix of its first axis against all others. Vectors and
    /// scalars take AdamW with the `adam_*` hyperparameters and the learning rate `lr · adam_lr_scale`; so do matrices
    /// for which a group sets `orthogonalize` to 0, as is usual for embeddings and the last layer:
    ///
    /// ```
    /// use wengert_optim::{Group, Muon};
    /// let muon = Muon::<f32>::new(2e-2)
    ///     .group(Group::matching("embed*").set("orthogonalize", 0.0))
    ///     .group(Group::matching("head*").set("orthogonalize", 0.0));
    /// # let _ = muon;
    /// ```
    /// Defaults are PyTorch's (whose default learning rate is 1e-3); it iterates in bfloat16, this in the element type.
    Muon: MuonRule = "muon";
    hypers {
        /// Momentum `μ`, in `[0, 1)`.
        momentum = 0.95, Range::DECAY;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.1, Range::NON_NEGATIVE;
        /// Smallest norm that is divided by, `> 0`.
        eps = 1e-7, Range::POSITIVE;
        /// 1 for Muon, 0 for AdamW; for groups.
        orthogonalize = 1.0, Range::UNIT;
        /// AdamW's learning rate as a multiple of `lr`, `>= 0`.
        adam_lr_scale = 1.0, Range::NON_NEGATIVE;
        /// AdamW's decay rate of the first moment, in `[0, 1)`.
        adam_beta1 = 0.9, Range::DECAY;
        /// AdamW's decay rate of the second moment, in `[0, 1)`.
        adam_beta2 = 0.999, Range::DECAY;
        /// What AdamW adds to the root, `>= 0`.
        adam_eps = 1e-8, Range::NON_NEGATIVE;
        /// AdamW's weight decay, `>= 0`.
        adam_weight_decay = 0.01, Range::NON_NEGATIVE;
    }
    variants {
        /// Plain in place of Nesterov momentum.
        plain_momentum;
    }
    private {
        steps: usize = 5;
        adjust: MuonScale = MuonScale::Original;
    }
}

/// How Muon scales the orthogonalized step of an `a × b` matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MuonScale {
    /// `√max(1, a / b)` (Jordan et al. 2024).
    #[default]
    Original,
    /// `0.2 √max(a, b)`: the root mean square of an AdamW step, so that its learning rate can be kept (Liu et al. 2025).
    MatchRmsAdamW,
    /// 1.
    None,
}

impl<T: Real> Optimizer<MuonRule, T> {
    /// Newton-Schulz iterations; default 5.
    ///
    /// # Panics
    /// Above 99, and once the optimizer has stepped.
    #[track_caller]
    pub fn iterations(mut self, steps: usize) -> Self {
        assert!(
            steps < 100,
            "muon: iterations must be below 100, found {steps}"
        );
        self.edit(|r| r.steps = steps);
        self
    }

    /// The scale of the step; default [`MuonScale::Original`].
    ///
    /// # Panics
    /// Once the optimizer has stepped.
    #[track_caller]
    pub fn scaling(mut self, scale: MuonScale) -> Self {
        self.edit(|r| r.adjust = scale);
        self
    }
}

#[derive(Clone, Copy)]
struct AdamW {
    beta1: f64,
    beta2: f64,
    eps: f64,
    keep: f64,
    step: f64,
    root: f64,
}

impl Update<2> for AdamW {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let v = v.mul_add(L::c(self.beta2), g * g * L::c(1.0 - self.beta2));
        let u = m / v.sqrt().mul_add(L::c(self.root), L::c(self.eps));
        (u.mul_add(L::c(self.step), p * L::c(self.keep)), [m, v])
    }
}

/// The momentum step: `u` goes to where the parameter would.
#[derive(Clone, Copy)]
struct Momentum {
    momentum: f64,
    nesterov: bool,
}

impl Update<1> for Momentum {
    #[inline(always)]
    fn step<L: Lane>(&self, _: L, g: L, [b]: [L; 1]) -> (L, [L; 1]) {
        let (mu, rest) = (L::c(self.momentum), L::c(1.0 - self.momentum));
        let b = b.mul_add(mu, g * rest);
        let u = if self.nesterov {
            b.mul_add(mu, g * rest)
        } else {
            b
        };
        (u, [b])
    }
}

#[derive(Clone, Copy)]
struct Write {
    keep: f64,
    step: f64,
}

impl Update<0> for Write {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, u: L, s: [L; 0]) -> (L, [L; 0]) {
        (u.mul_add(L::c(self.step), p * L::c(self.keep)), s)
    }
}

const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

impl MuonRule {
    fn is_matrix(&self, shape: &[usize]) -> bool {
        shape.len() >= 2 && self.orthogonalize > 0.0
    }

    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, beta2, eps, keep, step, root, ..] = *x.coefs;
        x.sweep(AdamW {
            beta1,
            beta2,
            eps,
            keep,
            step,
            root,
        })
    }

    fn whole<T: Real>(&self, x: Whole<'_, T>) {
        let rows = x.shape[0];
        let n = x.param.len();
        if n == 0 {
            return;
        }
        let cols = n / rows;
        // The iteration works on the wide orientation: the square matrices are of the smaller size.
        let (short, long) = (rows.min(cols), rows.max(cols));
        x.scratch.clear();
        x.scratch.resize(2 * n + 2 * short * short, T::ZERO);
        let (u, rest) = x.scratch.split_at_mut(n);
        let (next, rest) = rest.split_at_mut(n);
        let (gram, poly) = rest.split_at_mut(short * short);
        let none = || -> [&mut [T]; 3] { [&mut [], &mut [], &mut []] };
        let [b, c, d] = none();
        let pass = Pass {
            pass: 0,
            coefs: x.coefs,
            param: &mut *u,
            grad: x.grad,
            scale: 1.0,
            slots: [x.slots[0].data.as_mut_slice(), b, c, d],
        };
        pass.sweep(Momentum {
            momentum: self.momentum,
            nesterov: !self.plain_momentum,
        });
        let norm = u.iter().map(|x| x.as_f64().powi(2)).sum::<f64>().sqrt();
        let scale = T::from_f64(1.0 / norm.max(self.eps));
        u.iter_mut().for_each(|x| *x *= scale);
        let (a, b, c) = COEFFICIENTS;
        let (mut u, mut next) = (u, next);
        for _ in 0..self.steps {
            let wide = MatRef::row_major(u, cols);
            let wide = if rows > cols { wide.t() } else { wide };
            mul((short, short, long), 1.0, wide, wide.t(), 0.0, gram);
            poly.copy_from_slice(gram);
            let g = MatRef::row_major(gram, short);
            mul((short, short, short), c, g, g, b, poly);
            next.copy_from_slice(u);
            // (B X) in the stored orientation: B X, or X B where X is stored transposed (B is symmetric).
            let p = MatRef::row_major(poly, short);
            let stored = MatRef::row_major(u, cols);
            if rows > cols {
                mul((rows, cols, short), 1.0, stored, p, a, next);
            } else {
                mul((rows, cols, short), 1.0, p, stored, a, next);
            }
            std::mem::swap(&mut u, &mut next);
        }
        let (r, c) = (rows as f64, cols as f64);
        let adjust = match self.adjust {
            MuonScale::Original => (r / c).max(1.0).sqrt(),
            MuonScale::MatchRmsAdamW => 0.2 * r.max(c).sqrt(),
            MuonScale::None => 1.0,
        };
        let pass = Pass {
            pass: 0,
            coefs: x.coefs,
            param: x.param,
            grad: u,
            scale: 1.0,
            slots: [&mut [], &mut [], &mut [], &mut []],
        };
        pass.sweep(Write {
            keep: 1.0 - self.lr * self.weight_decay,
            step: -self.lr * adjust,
        });
    }
}

impl Rule for MuonRule {
    whole_precisions!();

    fn slots(&self, shape: &[usize]) -> Slots {
        zeros(if self.is_matrix(shape) {
            &["momentum_buffer"]
        } else {
            &["exp_avg", "exp_avg_sq"]
        })
    }

    fn scope(&self, shape: &[usize]) -> Scope {
        if self.is_matrix(shape) {
            Scope::Whole
        } else {
            Scope::Element
        }
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let lr = self.lr * self.adam_lr_scale;
        coefs([
            self.adam_beta1,
            self.adam_beta2,
            self.adam_eps,
            1.0 - lr * self.adam_weight_decay,
            -lr / (1.0 - power(self.adam_beta1, x.t)),
            1.0 / (1.0 - power(self.adam_beta2, x.t)).sqrt(),
        ])
    }
}
