//! SOAP: Adam in the eigenbasis of Shampoo.

use crate::linalg::{eigenvectors, falling, mul, orthonormal};
use crate::optimizer::Optimizer;
use crate::power::power;
use crate::rule::{
    Coefs, Pass, Plan, Range, Rule, Scope, Slot, SlotData, Slots, Sums, Update, Whole, betas,
    coefs, optimizer, whole_precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::gemm::MatRef;
use wengert_tensor::lane::Lane;

optimizer! {
    /// SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, algorithm 3, as in the authors'
    /// program).
    ///
    /// For a matrix with gradient `G`, at the first step only the statistics are set up:
    /// ```text
    /// L = (1 - β) G Gᵀ,  R = (1 - β) Gᵀ G;   Q_L, Q_R their eigenvectors
    /// ```
    /// and from then on, with `k` counted from 1:
    /// ```text
    /// G' = Q_Lᵀ G Q_R
    /// M ← β₁ M + (1 - β₁) G;   V ← β₂ V + (1 - β₂) G'²
    /// P ← P - lr √(1 - β₂ᵏ) / (1 - β₁ᵏ) · Q_L (Q_Lᵀ M Q_R / (√V + ε)) Q_Rᵀ
    /// P ← P (1 - lr λ)
    /// L ← β L + (1 - β) G Gᵀ;   R ← β R + (1 - β) Gᵀ G
    /// every `f` steps: one step of orthogonal iteration, Q ← orthonormal(L Q), likewise R
    /// ```
    /// A parameter of more than two axes is taken as a matrix of its first axis against all others; an axis above
    /// `max_dim` keeps the identity. Vectors and scalars take the same steps without rotation. Defaults are the
    /// authors' (whose learning rate is 3e-3).
    Soap: SoapRule = "soap";
    hypers {
        /// Decay rate of the first moment, in `[0, 1)`.
        beta1 = 0.95, Range::DECAY;
        /// Decay rate of the second moment, in `[0, 1)`.
        beta2 = 0.95, Range::DECAY;
        /// Decay rate `β` of the preconditioner, in `[0, 1)`; a negative value stands for `beta2`.
        shampoo_beta = -1.0, Range::new(-1.0, false, 1.0, true);
        /// What is added to the root, `>= 0`.
        eps = 1e-8, Range::NON_NEGATIVE;
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.01, Range::NON_NEGATIVE;
    }
    private {
        frequency: u64 = 10;
        max_dim: usize = 10_000;
    }
}

betas!(SoapRule);

impl<T: Real> Optimizer<SoapRule, T> {
    /// Steps between updates of the basis; default 10.
    ///
    /// # Panics
    /// When it is 0, and once the optimizer has stepped.
    #[track_caller]
    pub fn precondition_every(mut self, steps: u64) -> Self {
        assert!(
            steps > 0,
            "soap: precondition_every must be at least 1, found 0"
        );
        self.edit(|r| r.frequency = steps);
        self
    }

    /// Largest axis that is rotated; default 10,000.
    ///
    /// # Panics
    /// Once the optimizer has stepped.
    #[track_caller]
    pub fn max_dim(mut self, max: usize) -> Self {
        self.edit(|r| r.max_dim = max);
        self
    }
}

/// `p ← (p + u · step) · keep`
#[derive(Clone, Copy)]
struct Unrotated {
    beta1: f64,
    beta2: f64,
    eps: f64,
    keep: f64,
    step: f64,
}

impl Update<2> for Unrotated {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [m, v]: [L; 2]) -> (L, [L; 2]) {
        let m = m.mul_add(L::c(self.beta1), g * L::c(1.0 - self.beta1));
        let v = v.mul_add(L::c(self.beta2), g * g * L::c(1.0 - self.beta2));
        let u = m / (v.sqrt() + L::c(self.eps));
        (u.mul_add(L::c(self.step), p) * L::c(self.keep), [m, v])
    }
}

/// In the place of ε: a step that changes nothing.
const LEFT_OUT: f64 = -1.0;

const MEAN: usize = 0;
const SQUARES: usize = 1;

/// The sides that are rotated, with the indices of their statistics and bases among the slots.
struct Sides {
    left: Option<usize>,
    right: Option<usize>,
}

impl SoapRule {
    fn sides(&self, rows: usize, cols: usize) -> Sides {
        let left = (rows <= self.max_dim).then_some(2);
        let after = if left.is_some() { 4 } else { 2 };
        Sides {
            left,
            right: (cols <= self.max_dim).then_some(after),
        }
    }

    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [beta1, beta2, eps, keep, step, ..] = *x.coefs;
        if eps < 0.0 {
            // The first step of the authors' program is left out for vectors, too.
            return Sums::default();
        }
        x.sweep(Unrotated {
            beta1,
            beta2,
            eps,
            keep,
            step,
        })
    }

    fn whole<T: Real>(&self, x: Whole<'_, T>) {
        let rows = x.shape[0];
        let n = x.param.len();
        if n == 0 {
            return;
        }
        let cols = n / rows;
        let sides = self.sides(rows, cols);
        let beta = if self.shampoo_beta < 0.0 {
            self.beta2
        } else {
            self.shampoo_beta
        };
        if x.t > 1 {
            x.scratch.clear();
            x.scratch.resize(3 * n, T::ZERO);
            self.rotated_step(
                x.coefs,
                x.param,
                x.grad,
                x.slots,
                x.scratch,
                (rows, cols),
                &sides,
            );
        }
        let g = MatRef::row_major(x.grad, cols);
        if let Some(i) = sides.left {
            let l = x.slots[i].data.as_mut_slice();
            mul((rows, rows, cols), 1.0 - beta, g, g.t(), beta, l);
        }
        if let Some(i) = sides.right {
            let r = x.slots[i].data.as_mut_slice();
            mul((cols, cols, rows), 1.0 - beta, g.t(), g, beta, r);
        }
        let k = x.t - 1;
        for (side, size) in [(sides.left, rows), (sides.right, cols)] {
            let Some(i) = side else { continue };
            if k == 0 {
                let q = eigenvectors(x.slots[i].data.as_slice(), size);
                x.slots[i + 1].data.as_mut_slice().copy_from_slice(&q);
            }
        }
        if k > 0 && k.is_multiple_of(self.frequency) {
            for (left, side, size) in [(true, sides.left, rows), (false, sides.right, cols)] {
                if let Some(i) = side {
                    refresh(x.slots, i, size, left, (rows, cols));
                }
            }
        }
    }

    fn rotated_step<T: Real>(
        &self,
        coefs: &Coefs,
        param: &mut [T],
        grad: &[T],
        slots: &mut [SlotData<T>],
        scratch: &mut [T],
        (rows, cols): (usize, usize),
        sides: &Sides,
    ) {
        let [beta1, beta2, eps, keep, step, ..] = *coefs;
        let n = param.len();
        let (projected, rest) = scratch.split_at_mut(n);
        let (mean, temporary) = rest.split_at_mut(n);
        let (fresh1, fresh2) = (T::from_f64(1.0 - beta1), T::from_f64(1.0 - beta2));
        let (beta1, beta2) = (T::from_f64(beta1), T::from_f64(beta2));
        for (m, g) in slots[MEAN].data.as_mut_slice().iter_mut().zip(grad) {
            *m = beta1 * *m + fresh1 * *g;
        }
        rotate(grad, projected, temporary, slots, (rows, cols), sides, true);
        for (v, g) in slots[SQUARES]
            .data
            .as_mut_slice()
            .iter_mut()
            .zip(&*projected)
        {
            *v = beta2 * *v + fresh2 * *g * *g;
        }
        let m = slots[MEAN].data.as_slice();
        rotate(m, mean, temporary, slots, (rows, cols), sides, true);
        let eps = T::from_f64(eps);
        for (m, v) in mean.iter_mut().zip(slots[SQUARES].data.as_slice()) {
            *m /= v.sqrt() + eps;
        }
        rotate(
            mean,
            projected,
            temporary,
            slots,
            (rows, cols),
            sides,
            false,
        );
        let (keep, step) = (T::from_f64(keep), T::from_f64(step));
        for (p, u) in param.iter_mut().zip(&*projected) {
            *p = (*p + step * *u) * keep;
        }
    }
}

/// `out = Q_Lᵀ x Q_R` into the basis, or `Q_L x Q_Rᵀ` out of it.
fn rotate<T: Real>(
    x: &[T],
    out: &mut [T],
    temporary: &mut [T],
    slots: &[SlotData<T>],
    (rows, cols): (usize, usize),
    sides: &Sides,
    into: bool,
) {
    let basis = |i: usize, size: usize| MatRef::row_major(slots[i + 1].data.as_slice(), size);
    let half: &[T] = match sides.left {
        Some(i) => {
            let q = basis(i, rows);
            let q = if into { q.t() } else { q };
            mul(
                (rows, cols, rows),
                1.0,
                q,
                MatRef::row_major(x, cols),
                0.0,
                temporary,
            );
            temporary
        }
        None => x,
    };
    match sides.right {
        Some(i) => {
            let q = basis(i, cols);
            let q = if into { q } else { q.t() };
            mul(
                (rows, cols, cols),
                1.0,
                MatRef::row_major(half, cols),
                q,
                0.0,
                out,
            );
        }
        None => out.copy_from_slice(half),
    }
}

/// One step of orthogonal iteration on a side, its directions sorted by what the statistics say of them.
fn refresh<T: Real>(
    slots: &mut [SlotData<T>],
    i: usize,
    size: usize,
    left: bool,
    (rows, cols): (usize, usize),
) {
    let gram = slots[i].data.as_slice();
    let q = slots[i + 1].data.as_slice();
    let mut gq = vec![T::ZERO; size * size];
    let (g, qm) = (MatRef::row_major(gram, size), MatRef::row_major(q, size));
    mul((size, size, size), 1.0, g, qm, 0.0, &mut gq);
    let weight: Vec<f64> = (0..size)
        .map(|j| {
            (0..size)
                .map(|r| q[r * size + j].as_f64() * gq[r * size + j].as_f64())
                .sum()
        })
        .collect();
    let order = falling(&weight);
    let mut sorted = vec![T::ZERO; size * size];
    for r in 0..size {
        for (c, &from) in order.iter().enumerate() {
            sorted[r * size + c] = gq[r * size + from];
        }
    }
    let fresh = orthonormal(&sorted, size);
    slots[i + 1].data.as_mut_slice().copy_from_slice(&fresh);
    // The second moments follow their directions.
    let old = slots[SQUARES].data.as_slice().to_vec();
    let v = slots[SQUARES].data.as_mut_slice();
    for r in 0..rows {
        for c in 0..cols {
            let (fr, fc) = if left { (order[r], c) } else { (r, order[c]) };
            v[r * cols + c] = old[fr * cols + fc];
        }
    }
}

impl Rule for SoapRule {
    whole_precisions!();

    fn slots(&self, shape: &[usize]) -> Slots {
        let mut slots = zeros(&["exp_avg", "exp_avg_sq"]);
        if shape.len() >= 2 {
            let rows = shape[0];
            let cols = shape[1..].iter().product();
            let sides = self.sides(rows, cols);
            if sides.left.is_some() {
                slots.push(Slot::shaped("left", &[rows, rows], 0.0));
                slots.push(Slot::shaped("left_basis", &[rows, rows], 0.0));
            }
            if sides.right.is_some() {
                slots.push(Slot::shaped("right", &[cols, cols], 0.0));
                slots.push(Slot::shaped("right_basis", &[cols, cols], 0.0));
            }
        }
        slots
    }

    fn scope(&self, shape: &[usize]) -> Scope {
        if shape.len() >= 2 {
            Scope::Whole
        } else {
            Scope::Element
        }
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        if x.t == 1 {
            return coefs([self.beta1, self.beta2, LEFT_OUT, 1.0, 0.0]);
        }
        let k = x.t - 1;
        let step = -self.lr * (1.0 - power(self.beta2, k)).sqrt() / (1.0 - power(self.beta1, k));
        let keep = 1.0 - self.lr * self.weight_decay;
        coefs([self.beta1, self.beta2, self.eps, keep, step])
    }
}
