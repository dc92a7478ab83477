//! Adafactor: second moments kept as the outer product of a row and a column.

use crate::rule::{
    Coefs, Measure, Pass, Plan, Range, Rule, Scope, Slot, Slots, Sums, Update, Whole, coefs,
    optimizer, whole_precisions, zeros,
};
use wengert_tensor::Real;
use wengert_tensor::lane::Lane;

optimizer! {
    /// Adafactor (Shazeer and Stern 2018, algorithms 4 and 5; PyTorch's `Adafactor`).
    ///
    /// ```text
    /// ω = t^δ;   ρ = min(lr, 1 / √t);   α = max(ε₂, rms(p)) ρ
    /// p ← p (1 - lr λ)
    /// r ← (1 - ω) r + ω mean_columns(g²);   c ← (1 - ω) c + ω mean_rows(g²);   v = r cᵀ / max(mean(r), ε₁)
    /// v ← (1 - ω) v + ω g²                              for vectors and scalars
    /// u = g / √max(v, ε₁²)
    /// p ← p - α u / max(1, rms(u) / d)
    /// ```
    /// The last two axes are factored, axes before them count as a batch. Defaults are PyTorch's (whose default
    /// learning rate is 1e-2); `ε₁` is the machine epsilon of the element type.
    Adafactor: AdafactorRule = "adafactor";
    hypers {
        /// Exponent `δ <= 0` of the decay.
        beta2_decay = -0.8, Range::new(f64::NEG_INFINITY, true, 0.0, false);
        /// Smallest scale `ε₂ >= 0` of a parameter.
        eps2 = 1e-3, Range::NON_NEGATIVE;
        /// Clipping threshold `d >= 1` of the root mean square of the step.
        d = 1.0, Range::new(1.0, false, f64::INFINITY, true);
        /// Weight decay `λ >= 0`, apart from the gradient.
        weight_decay = 0.0, Range::NON_NEGATIVE;
    }
}

#[derive(Clone, Copy)]
struct Unfactored {
    fresh: f64,
    floor: f64,
    keep: f64,
    step: f64,
}

impl Unfactored {
    #[inline(always)]
    fn update<L: Lane>(&self, g: L, v: L) -> L {
        g / v.max(L::c(self.floor)).sqrt()
    }
}

impl Measure<1, 2> for Unfactored {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v]: [L; 1]) -> (L, [L; 1], [L; 2]) {
        let v = (g * g - v).mul_add(L::c(self.fresh), v);
        let u = self.update(g, v);
        (p, [v], [p * p, u * u])
    }
}

impl Update<1> for Unfactored {
    #[inline(always)]
    fn step<L: Lane>(&self, p: L, g: L, [v]: [L; 1]) -> (L, [L; 1]) {
        let u = self.update(g, v);
        (u.mul_add(L::c(self.step), p * L::c(self.keep)), [v])
    }
}

impl AdafactorRule {
    /// The size of the step from the sums of `p²` and `u²`.
    fn step(&self, t: f64, n: f64, p2: f64, u2: f64) -> f64 {
        let rho = self.lr.min(1.0 / t.sqrt());
        let alpha = self.eps2.max((p2 / n).sqrt()) * rho;
        -alpha / ((u2 / n).sqrt() / self.d).max(1.0)
    }

    fn pass<T: Real>(&self, x: Pass<'_, T>) -> Sums {
        let [fresh, keep, step, ..] = *x.coefs;
        let k = Unfactored {
            fresh,
            floor: T::epsilon().as_f64().powi(2),
            keep,
            step,
        };
        if x.pass == 0 { x.gather(k) } else { x.sweep(k) }
    }

    fn whole<T: Real>(&self, x: Whole<'_, T>) {
        let eps1 = T::epsilon().as_f64();
        let rank = x.shape.len();
        let (rows, cols) = (x.shape[rank - 2], x.shape[rank - 1]);
        let n = x.param.len();
        if n == 0 {
            return;
        }
        let fresh = (x.t as f64).powf(self.beta2_decay);
        let [row_slot, col_slot] = x.slots else {
            panic!("adafactor keeps a row and a column");
        };
        let (row, col) = (row_slot.data.as_mut_slice(), col_slot.data.as_mut_slice());
        let mut u2 = 0.0;
        x.scratch.clear();
        x.scratch.resize(n, T::ZERO);
        let matrices = x
            .grad
            .chunks(rows * cols)
            .zip(x.scratch.chunks_mut(rows * cols));
        let factors = row.chunks_mut(rows).zip(col.chunks_mut(cols));
        let mut mean = vec![0.0f64; cols];
        for ((g, u), (r, c)) in matrices.zip(factors) {
            mean.fill(0.0);
            for (line, r) in g.chunks(cols).zip(&mut *r) {
                let mut sum = 0.0;
                for (x, m) in line.iter().zip(&mut mean) {
                    let x = x.as_f64();
                    sum += x * x;
                    *m += x * x;
                }
                let old = r.as_f64();
                *r = T::from_f64(old + fresh * (sum / cols as f64 - old));
            }
            for (c, m) in c.iter_mut().zip(&mean) {
                let old = c.as_f64();
                *c = T::from_f64(old + fresh * (m / rows as f64 - old));
            }
            let row_mean = r.iter().map(|x| x.as_f64()).sum::<f64>() / rows as f64;
            let scale = 1.0 / row_mean.max(eps1);
            for ((g, u), r) in g.chunks(cols).zip(u.chunks_mut(cols)).zip(&*r) {
                let r = r.as_f64() * scale;
                for ((g, u), c) in g.iter().zip(u).zip(&*c) {
                    let v = (r * c.as_f64()).max(eps1 * eps1);
                    let x = g.as_f64() / v.sqrt();
                    u2 += x * x;
                    *u = T::from_f64(x);
                }
            }
        }
        let p2 = x.param.iter().map(|p| p.as_f64().powi(2)).sum();
        let step = T::from_f64(self.step(x.t as f64, n as f64, p2, u2));
        let keep = T::from_f64(1.0 - self.lr * self.weight_decay);
        for (p, u) in x.param.iter_mut().zip(&*x.scratch) {
            *p = *p * keep + step * *u;
        }
    }
}

impl Rule for AdafactorRule {
    whole_precisions!();

    fn slots(&self, shape: &[usize]) -> Slots {
        match shape.len() {
            0 | 1 => zeros(&["variance"]),
            rank => {
                let (mut row, mut col) = (shape.to_vec(), shape.to_vec());
                row[rank - 1] = 1;
                col[rank - 2] = 1;
                Slots::from_iter([
                    Slot::shaped("row_var", &row, 0.0),
                    Slot::shaped("col_var", &col, 0.0),
                ])
            }
        }
    }

    fn scope(&self, shape: &[usize]) -> Scope {
        if shape.len() > 1 {
            Scope::Whole
        } else {
            Scope::Tensor
        }
    }

    fn passes(&self) -> usize {
        2
    }

    fn plan(&self, x: Plan<'_>) -> Coefs {
        let (t, n) = (x.t as f64, x.shape.iter().product::<usize>() as f64);
        let step = if x.pass == 1 {
            self.step(t, n, x.sums[0], x.sums[1])
        } else {
            0.0
        };
        let keep = 1.0 - self.lr * self.weight_decay;
        coefs([t.powf(self.beta2_decay), keep, step])
    }
}
