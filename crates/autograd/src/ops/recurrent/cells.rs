//! One time step of a band of the batch: the gates, in one vectorised pass over the products.

use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel};
use wengert_tensor::{Element, Real};

/// Units that are computed together.
const W: usize = 32;

/// Which sequences still run: sequence `r` at time `t` while `t < lengths[r]`.
#[derive(Clone, Copy)]
pub(super) struct Running<'a, T> {
    pub lengths: Option<&'a [T]>,
    pub t: usize,
}

impl<T: Real> Running<'_, T> {
    #[inline(always)]
    pub fn at(&self, r: usize) -> bool {
        self.lengths
            .is_none_or(|l| T::from_f64(self.t as f64) < l[r])
    }
}

#[inline(always)]
fn load<V: Lane>(s: &[V::Elem], at: usize, n: usize) -> [V::Elem; W] {
    if !V::INLINE {
        return load_apart(s, at, n);
    }
    if n == W {
        return s[at..at + W].try_into().expect("W elements");
    }
    let mut a = [V::Elem::ZERO; W];
    a[..n].copy_from_slice(&s[at..at + n]);
    a
}

/// [`load`] by itself, as [`each`].
#[inline(never)]
fn load_apart<E: Real>(s: &[E], at: usize, n: usize) -> [E; W] {
    let mut a = [E::ZERO; W];
    a[..n].copy_from_slice(&s[at..at + n]);
    a
}

/// Zeros where there is nothing.
#[inline(always)]
fn load_some<V: Lane>(s: Option<&[V::Elem]>, at: usize, n: usize) -> [V::Elem; W] {
    match s {
        Some(s) => load::<V>(s, at, n),
        None => [V::Elem::ZERO; W],
    }
}

#[inline(always)]
fn store<V: Lane>(s: &mut [V::Elem], at: usize, n: usize, a: &[V::Elem; W]) {
    if n == W && V::INLINE {
        let to: &mut [V::Elem; W] = (&mut s[at..at + W]).try_into().expect("W elements");
        *to = *a;
    } else {
        s[at..at + n].copy_from_slice(&a[..n]);
    }
}

#[inline(always)]
fn map<V: Lane>(a: &[V::Elem; W], f: impl Fn(V) -> V) -> [V::Elem; W] {
    let mut out = *a;
    if V::INLINE {
        for o in &mut out {
            *o = f(V::new(*o)).get();
        }
    } else {
        each(&mut out, f);
    }
    out
}

/// The loop of [`map`] by itself, where the function is a call: unrolled into the step it would be much code.
#[inline(never)]
fn each<V: Lane>(a: &mut [V::Elem], f: impl Fn(V) -> V) {
    for o in a {
        *o = f(V::new(*o)).get();
    }
}

#[inline(always)]
fn sum<V: Lane>(a: [V::Elem; W], b: &[V::Elem; W]) -> [V::Elem; W] {
    let mut out = a;
    for k in V::places(W) {
        out[k] += b[k];
    }
    out
}

/// First unit and number of units of each block. (A loop, not a function of closures: those would be compiled apart,
/// without the instruction set.)
#[inline(always)]
fn blocks(hidden: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..hidden.div_ceil(W)).map(move |b| (b * W, W.min(hidden - b * W)))
}

/// The sum of a gate: of both products and the bias, where there is one.
#[inline(always)]
fn sums<V: Lane>(
    p: &[V::Elem],
    x: &[V::Elem],
    bias: Option<&[V::Elem]>,
    at: usize,
    n: usize,
) -> [V::Elem; W] {
    let a = sum::<V>(load::<V>(p, at, n), &load::<V>(x, at, n));
    sum::<V>(a, &load_some::<V>(bias, at, n))
}

/// One product and its bias.
#[inline(always)]
fn biased<V: Lane>(p: &[V::Elem], bias: Option<&[V::Elem]>, at: usize, n: usize) -> [V::Elem; W] {
    sum::<V>(load::<V>(p, at, n), &load_some::<V>(bias, at, n))
}

/// Rows `r` of matrices of different widths.
#[inline(always)]
fn row<T>(m: &[T], r: usize, width: usize) -> &[T] {
    &m[r * width..(r + 1) * width]
}
#[inline(always)]
fn row_mut<T>(m: &mut [T], r: usize, width: usize) -> &mut [T] {
    &mut m[r * width..(r + 1) * width]
}

/// y = f(x + h Wᵀ + b) with f = tanh or ReLU.
pub(super) struct RnnStep<'a, T: Real> {
    pub relu: bool,
    pub hidden: usize,
    pub product: &'a [T],
    pub x: &'a [T],
    pub bias: Option<&'a [T]>,
    pub running: Running<'a, T>,
    pub y: &'a mut [T],
}
impl<T: Real> Kernel for RnnStep<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let h = self.hidden;
        for r in 0..self.y.len() / h {
            let y = row_mut(self.y, r, h);
            if !self.running.at(r) {
                y.fill(T::zero());
                continue;
            }
            let (p, x) = (row(self.product, r, h), row(self.x, r, h));
            for (j, n) in blocks(h) {
                let a = sums::<T::Lane<I>>(p, x, self.bias, j, n);
                let v = if self.relu {
                    map::<T::Lane<I>>(&a, |v| {
                        let zero = Lane::c(0.0);
                        Lane::select(v <= zero, zero, v)
                    })
                } else {
                    map::<T::Lane<I>>(&a, Lane::tanh)
                };
                store::<T::Lane<I>>(y, j, n, &v);
            }
        }
    }
}

/// The cotangent of the sum inside f, from those of y.
pub(super) struct RnnBack<'a, T: Real> {
    pub relu: bool,
    pub hidden: usize,
    pub y: &'a [T],
    /// From outside, and from later steps; the latter is used up.
    pub gy: &'a [T],
    pub dh: &'a mut [T],
    pub running: Running<'a, T>,
    pub dx: &'a mut [T],
}
impl<T: Real> Kernel for RnnBack<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let h = self.hidden;
        let (zero, one) = (T::Lane::<I>::c(0.0), T::Lane::<I>::c(1.0));
        let new = T::Lane::<I>::new;
        for r in 0..self.y.len() / h {
            let dx = row_mut(self.dx, r, h);
            if !self.running.at(r) {
                dx.fill(T::zero());
                continue;
            }
            let (y, gy) = (row(self.y, r, h), row(self.gy, r, h));
            let dh = row_mut(self.dh, r, h);
            for (j, n) in blocks(h) {
                let y = load::<T::Lane<I>>(y, j, n);
                let mut d =
                    sum::<T::Lane<I>>(load::<T::Lane<I>>(gy, j, n), &load::<T::Lane<I>>(dh, j, n));
                for l in T::Lane::<I>::places(W) {
                    let (g, y) = (new(d[l]), new(y[l]));
                    d[l] = if self.relu {
                        T::Lane::<I>::select(y <= zero, zero, g).get()
                    } else {
                        (g * (one - y * y)).get()
                    };
                }
                store::<T::Lane<I>>(dx, j, n, &d);
            }
            dh.fill(T::zero());
        }
    }
}

/// Gates i, f, g, o; c = f c' + i g; m = o tanh(c).
pub(super) struct LstmStep<'a, T: Real> {
    pub hidden: usize,
    pub product: &'a [T],
    pub x: &'a [T],
    pub bias: Option<&'a [T]>,
    pub running: Running<'a, T>,
    pub before: Option<&'a [T]>,
    /// i, f, g, o, kept for the backward pass; may be empty.
    pub gates: &'a mut [T],
    pub cell: &'a mut [T],
    pub m: &'a mut [T],
}
impl<T: Real> Kernel for LstmStep<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let h = self.hidden;
        let new = T::Lane::<I>::new;
        let keep = !self.gates.is_empty();
        for r in 0..self.cell.len() / h {
            let (c, m) = (row_mut(self.cell, r, h), row_mut(self.m, r, h));
            let before = self.before.map(|b| row(b, r, h));
            if !self.running.at(r) {
                match before {
                    Some(b) => c.copy_from_slice(b),
                    None => c.fill(T::zero()),
                }
                m.fill(T::zero());
                continue;
            }
            let (p, x) = (row(self.product, r, 4 * h), row(self.x, r, 4 * h));
            let mut none: [T; 0] = [];
            let gates = if keep {
                row_mut(self.gates, r, 4 * h)
            } else {
                &mut none[..]
            };
            for (j, n) in blocks(h) {
                let i =
                    map::<T::Lane<I>>(&sums::<T::Lane<I>>(p, x, self.bias, j, n), Lane::sigmoid);
                let f = map::<T::Lane<I>>(
                    &sums::<T::Lane<I>>(p, x, self.bias, h + j, n),
                    Lane::sigmoid,
                );
                let g = map::<T::Lane<I>>(
                    &sums::<T::Lane<I>>(p, x, self.bias, 2 * h + j, n),
                    Lane::tanh,
                );
                let o = map::<T::Lane<I>>(
                    &sums::<T::Lane<I>>(p, x, self.bias, 3 * h + j, n),
                    Lane::sigmoid,
                );
                let mut now = load_some::<T::Lane<I>>(before, j, n);
                for l in T::Lane::<I>::places(W) {
                    now[l] = new(f[l]).mul_add(new(now[l]), new(i[l]) * new(g[l])).get();
                }
                let mut out = map::<T::Lane<I>>(&now, Lane::tanh);
                for l in T::Lane::<I>::places(W) {
                    out[l] *= o[l];
                }
                store::<T::Lane<I>>(c, j, n, &now);
                store::<T::Lane<I>>(m, j, n, &out);
                if keep {
                    store::<T::Lane<I>>(gates, j, n, &i);
                    store::<T::Lane<I>>(gates, h + j, n, &f);
                    store::<T::Lane<I>>(gates, 2 * h + j, n, &g);
                    store::<T::Lane<I>>(gates, 3 * h + j, n, &o);
                }
            }
        }
    }
}

/// The cotangents of the sums inside the gates, and that of the cell before.
pub(super) struct LstmBack<'a, T: Real> {
    pub hidden: usize,
    pub gates: &'a [T],
    pub cell: &'a [T],
    pub before: Option<&'a [T]>,
    /// Cotangent of m: `gm`, to which `dh` is added if there is no projection between.
    pub gm: &'a [T],
    pub dh: Option<&'a mut [T]>,
    /// Cotangent of c, replaced by that of the cell before.
    pub dc: &'a mut [T],
    pub running: Running<'a, T>,
    pub dx: &'a mut [T],
}
impl<T: Real> Kernel for LstmBack<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self) {
        let h = self.hidden;
        let one = T::Lane::<I>::c(1.0);
        let new = T::Lane::<I>::new;
        for r in 0..self.cell.len() / h {
            let dx = row_mut(self.dx, r, 4 * h);
            if !self.running.at(r) {
                dx.fill(T::zero());
                continue;
            }
            let (gates, cell) = (row(self.gates, r, 4 * h), row(self.cell, r, h));
            let before = self.before.map(|b| row(b, r, h));
            let gm = row(self.gm, r, h);
            let mut dh = self.dh.as_deref_mut().map(|d| row_mut(d, r, h));
            let dc = row_mut(self.dc, r, h);
            for (j, n) in blocks(h) {
                let d = sum::<T::Lane<I>>(
                    load::<T::Lane<I>>(gm, j, n),
                    &load_some::<T::Lane<I>>(dh.as_deref(), j, n),
                );
                let (i, f) = (
                    load::<T::Lane<I>>(gates, j, n),
                    load::<T::Lane<I>>(gates, h + j, n),
                );
                let (g, o) = (
                    load::<T::Lane<I>>(gates, 2 * h + j, n),
                    load::<T::Lane<I>>(gates, 3 * h + j, n),
                );
                let t = map::<T::Lane<I>>(&load::<T::Lane<I>>(cell, j, n), Lane::tanh);
                let before = load_some::<T::Lane<I>>(before, j, n);
                let mut c = load::<T::Lane<I>>(dc, j, n);
                let (mut di, mut df, mut dg, mut d_o) = (c, c, c, c);
                for l in T::Lane::<I>::places(W) {
                    let (d, t, o, g) = (new(d[l]), new(t[l]), new(o[l]), new(g[l]));
                    let (i, f) = (new(i[l]), new(f[l]));
                    let dcl = (d * o).mul_add(one - t * t, new(c[l]));
                    d_o[l] = (d * t * (o * (one - o))).get();
                    di[l] = (dcl * g * (i * (one - i))).get();
                    df[l] = (dcl * new(before[l]) * (f * (one - f))).get();
                    dg[l] = (dcl * i * (one - g * g)).get();
                    c[l] = (dcl * f).get();
                }
                store::<T::Lane<I>>(dc, j, n, &c);
                store::<T::Lane<I>>(dx, j, n, &di);
                store::<T::Lane<I>>(dx, h + j, n, &df);
                store::<T::Lane<I>>(dx, 2 * h + j, n, &dg);
                store::<T::Lane<I>>(dx, 3 * h + j, n, &d_o);
            }
            if let Some(dh) = &mut dh {
                dh.fill(T::zero());
            }
        }
    }
}

/// r, z = σ(..), q = h Wₙᵀ + bₙ, n = tanh(xₙ + r q), y = (1 - z) n + z h.
pub(super) struct GruStep<'a, T: Real> {
    pub hidden: usize,
    pub product: &'a [T],
    pub x: &'a [T],
    pub bias: Option<&'a [T]>,
    pub hidden_bias: Option<&'a [T]>,
    pub running: Running<'a, T>,
    pub before: Option<&'a [T]>,
    /// r, z, n, q, kept for the backward pass; may be empty.
    pub gates: &'a mut [T],
    pub y: &'a mut [T],
}
impl<T: Real> Kernel for GruStep<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let h = self.hidden;
        let new = T::Lane::<I>::new;
        let keep = !self.gates.is_empty();
        for r in 0..self.y.len() / h {
            let y = row_mut(self.y, r, h);
            if !self.running.at(r) {
                y.fill(T::zero());
                continue;
            }
            let before = self.before.map(|b| row(b, r, h));
            let (p, x) = (row(self.product, r, 3 * h), row(self.x, r, 3 * h));
            let mut none: [T; 0] = [];
            let gates = if keep {
                row_mut(self.gates, r, 4 * h)
            } else {
                &mut none[..]
            };
            for (j, n) in blocks(h) {
                // One loop, so that sums and function are there once.
                let mut made = [[T::ZERO; W]; 2];
                let (mut inside, mut q) = ([T::ZERO; W], [T::ZERO; W]);
                for k in 0..3 {
                    let a = biased::<T::Lane<I>>(x, self.bias, k * h + j, n);
                    let b = biased::<T::Lane<I>>(p, self.hidden_bias, k * h + j, n);
                    match made.get_mut(k) {
                        Some(made) => {
                            *made = map::<T::Lane<I>>(&sum::<T::Lane<I>>(a, &b), Lane::sigmoid);
                        }
                        None => (inside, q) = (a, b),
                    }
                }
                let [reset, update] = &made;
                for l in T::Lane::<I>::places(W) {
                    inside[l] = new(reset[l]).mul_add(new(q[l]), new(inside[l])).get();
                }
                let fresh = map::<T::Lane<I>>(&inside, Lane::tanh);
                let mut out = load_some::<T::Lane<I>>(before, j, n);
                for l in T::Lane::<I>::places(W) {
                    let (b, f) = (new(out[l]), new(fresh[l]));
                    out[l] = new(update[l]).mul_add(b - f, f).get();
                }
                store::<T::Lane<I>>(y, j, n, &out);
                if keep {
                    store::<T::Lane<I>>(gates, j, n, reset);
                    store::<T::Lane<I>>(gates, h + j, n, update);
                    store::<T::Lane<I>>(gates, 2 * h + j, n, &fresh);
                    store::<T::Lane<I>>(gates, 3 * h + j, n, &q);
                }
            }
        }
    }
}

/// The cotangents of the sums inside the gates; that of n's recurrent part apart.
pub(super) struct GruBack<'a, T: Real> {
    pub hidden: usize,
    pub gates: &'a [T],
    /// The state before, row by row: `before`, or `start` for a sequence at its first step.
    pub before: Option<&'a [T]>,
    pub start: Option<&'a [T]>,
    pub starts: &'a dyn Fn(usize) -> bool,
    pub gy: &'a [T],
    /// Cotangent of y from later steps, replaced by the direct part of that of the state before.
    pub dh: &'a mut [T],
    pub running: Running<'a, T>,
    pub dx: &'a mut [T],
    /// r times the cotangent of n's sum.
    pub dq: &'a mut [T],
    /// Cotangents of the products: those of r and z, and dq.
    pub product: &'a mut [T],
}
impl<T: Real> Kernel for GruBack<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let h = self.hidden;
        let one = T::Lane::<I>::c(1.0);
        let new = T::Lane::<I>::new;
        for r in 0..self.dh.len() / h {
            let dx = row_mut(self.dx, r, 3 * h);
            let dq = row_mut(self.dq, r, h);
            let product = row_mut(self.product, r, 3 * h);
            if !self.running.at(r) {
                dx.fill(T::zero());
                dq.fill(T::zero());
                product.fill(T::zero());
                continue;
            }
            let before = if (self.starts)(r) {
                self.start
            } else {
                self.before
            };
            let before = before.map(|b| row(b, r, h));
            let (gates, gy) = (row(self.gates, r, 4 * h), row(self.gy, r, h));
            let dh = row_mut(self.dh, r, h);
            for (j, n) in blocks(h) {
                let (reset, update) = (
                    load::<T::Lane<I>>(gates, j, n),
                    load::<T::Lane<I>>(gates, h + j, n),
                );
                let (fresh, q) = (
                    load::<T::Lane<I>>(gates, 2 * h + j, n),
                    load::<T::Lane<I>>(gates, 3 * h + j, n),
                );
                let before = load_some::<T::Lane<I>>(before, j, n);
                let mut d =
                    sum::<T::Lane<I>>(load::<T::Lane<I>>(gy, j, n), &load::<T::Lane<I>>(dh, j, n));
                let (mut dr, mut dz, mut dn, mut dql) = (d, d, d, d);
                for l in T::Lane::<I>::places(W) {
                    let (g, r, z) = (new(d[l]), new(reset[l]), new(update[l]));
                    let (f, q, b) = (new(fresh[l]), new(q[l]), new(before[l]));
                    let inner = g * (one - z) * (one - f * f);
                    dz[l] = (g * (b - f) * (z * (one - z))).get();
                    dn[l] = inner.get();
                    dr[l] = (inner * q * (r * (one - r))).get();
                    dql[l] = (inner * r).get();
                    d[l] = (g * z).get();
                }
                store::<T::Lane<I>>(dh, j, n, &d);
                store::<T::Lane<I>>(dx, j, n, &dr);
                store::<T::Lane<I>>(dx, h + j, n, &dz);
                store::<T::Lane<I>>(dx, 2 * h + j, n, &dn);
                store::<T::Lane<I>>(dq, j, n, &dql);
                store::<T::Lane<I>>(product, j, n, &dr);
                store::<T::Lane<I>>(product, h + j, n, &dz);
                store::<T::Lane<I>>(product, 2 * h + j, n, &dql);
            }
        }
    }
}
