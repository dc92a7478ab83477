//! Kernels that normalize rows.

use crate::ops::Scratch;
use wengert_tensor::fused::sum_of;
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, dispatch, dispatch_for};
use wengert_tensor::{Real, Tensor, parallel, stream};

/// Accumulators: enough to hide the time an addition takes.
const W: usize = 64;
/// Accumulators of what is left of a row.
const V16: usize = 16;
/// Accumulators of each of several sums.
const B: usize = 32;

/// Σ f(x) with a fixed tree.
#[inline(always)]
fn sum_by<V: Lane>(x: &[V::Elem], f: impl Fn(V) -> V) -> V {
    let mut acc = [V::c(0.0); W];
    if !V::INLINE {
        for k in V::places(x.len()) {
            acc[k % W] = acc[k % W] + f(V::new(x[k]));
        }
        return total(&acc);
    }
    let chunks = x.chunks_exact(W);
    let tail = chunks.remainder();
    for c in chunks {
        for k in V::places(W) {
            acc[k] = acc[k] + f(V::new(c[k]));
        }
    }
    let chunks = tail.chunks_exact(V16);
    let tail = chunks.remainder();
    for c in chunks {
        for k in V::places(V16) {
            acc[k] = acc[k] + f(V::new(c[k]));
        }
    }
    let mut s = V::c(0.0);
    for &t in tail {
        s = s + f(V::new(t));
    }
    s + total(&acc)
}

/// Adds up accumulators in a fixed tree. Not inlined: beside it the loop that fills them would be compiled to narrower
/// vectors.
#[inline(never)]
fn fold<E: Real, const N: usize>(acc: &[E; N]) -> E {
    let mut acc = *acc;
    let mut w = N / 2;
    while w > 0 {
        for k in 0..w {
            acc[k] += acc[k + w];
        }
        w /= 2;
    }
    acc[0]
}

#[inline(always)]
fn total<V: Lane, const N: usize>(acc: &[V; N]) -> V {
    let mut own = [acc[0].get(); N];
    for k in V::places(N) {
        own[k] = acc[k].get();
    }
    V::new(fold(&own))
}

/// `B` elements of each slice from `at` on.
#[inline(always)]
fn cut<E: Real, const M: usize>(x: [&[E]; M], at: usize) -> [[E; B]; M] {
    let mut own = [[E::ZERO; B]; M];
    for m in 0..M {
        own[m] = x[m][at..at + B].try_into().expect("B elements");
    }
    own
}

/// Element `k` of each of some slices.
#[inline(always)]
fn at_place<E: Real, const M: usize>(x: [&[E]; M], k: usize) -> [E; M] {
    let mut own = [E::ZERO; M];
    for m in 0..M {
        own[m] = x[m][k];
    }
    own
}

/// The same of arrays.
#[inline(always)]
fn of_each<E: Real, const M: usize>(x: &[[E; B]; M], k: usize) -> [E; M] {
    let mut own = [E::ZERO; M];
    for m in 0..M {
        own[m] = x[m][k];
    }
    own
}

/// Σ of the two numbers that f makes of the elements of M slices, with fixed trees.
#[inline(always)]
pub(in crate::ops) fn sums_of<V: Lane, const M: usize>(
    x: [&[V::Elem]; M],
    f: impl Fn([V::Elem; M]) -> [V; 2],
) -> [V; 2] {
    let (zero, n) = (V::c(0.0), x[0].len());
    let (mut s, mut t) = ([zero; B], [zero; B]);
    if !V::INLINE {
        for k in V::places(n) {
            let [a, b] = f(at_place(x, k));
            s[k % B] = s[k % B] + a;
            t[k % B] = t[k % B] + b;
        }
        return [total(&s), total(&t)];
    }
    let full = n / B * B;
    let mut at = 0;
    while at < full {
        let x = cut::<V::Elem, M>(x, at);
        for k in V::places(B) {
            let [a, b] = f(of_each(&x, k));
            s[k] = s[k] + a;
            t[k] = t[k] + b;
        }
        at += B;
    }
    let (mut c, mut d) = (zero, zero);
    if n >= B {
        // The last group again, without what was added before.
        let x = cut::<V::Elem, M>(x, n - B);
        let seen = B - (n - full);
        for k in V::places(B) {
            let [a, b] = f(of_each(&x, k));
            s[k] = s[k] + V::select(k < seen, zero, a);
            t[k] = t[k] + V::select(k < seen, zero, b);
        }
    } else {
        for i in full..n {
            let [a, b] = f(at_place(x, i));
            c = c + a;
            d = d + b;
        }
    }
    [c + total(&s), d + total(&t)]
}

/// What normalizes a row: its mean in two parts, because one number may be too short for it, and the reciprocal deviation.
/// A second pass corrects the first (Chan, Golub, LeVeque 1983).
#[derive(Clone, Copy)]
struct Scale<V> {
    rough: V,
    rest: V,
    root: V,
}

impl<V: Lane> Scale<V> {
    /// What is known after one pass, with the sum of the row (or of the squares, without centring) at hand.
    #[inline(always)]
    fn rough(sum: V, n: usize, centred: bool) -> Self {
        let (zero, mean) = (V::c(0.0), sum * V::c(1.0 / n as f64));
        Scale {
            rough: if centred { mean } else { zero },
            rest: zero,
            root: mean,
        }
    }

    /// What is known after the second one, which added x - rough and its square.
    #[inline(always)]
    fn finish(self, [rest, squares]: [V; 2], n: usize, eps: f64, centred: bool) -> Self {
        let (zero, r) = (V::c(0.0), V::c(1.0 / n as f64));
        let rest = if centred { rest * r } else { zero };
        let var = if centred {
            squares * r - rest * rest
        } else {
            self.root
        };
        // Rounding may leave less than nothing; NaN stays.
        let var = V::select(var < zero, zero, var);
        Scale {
            rough: self.rough,
            rest,
            root: V::c(1.0) / (var + V::c(eps)).sqrt(),
        }
    }

    /// What becomes of an element.
    #[inline(always)]
    fn result(self, x: V::Elem, weight: V::Elem, bias: V::Elem) -> V::Elem {
        let h = (V::new(x) - self.rough - self.rest) * self.root;
        h.mul_add(V::new(weight), V::new(bias)).get()
    }

    /// From both passes.
    #[inline(always)]
    fn of(x: &[V::Elem], eps: f64, centred: bool) -> Self {
        let s = sum_by::<V>(x, |v| if centred { v } else { v * v });
        let scale = Self::rough(s, x.len(), centred);
        let sums = if centred {
            sums_of([x], |[x]| {
                let d = V::new(x) - scale.rough;
                [d, d * d]
            })
        } else {
            [V::c(0.0); 2]
        };
        scale.finish(sums, x.len(), eps, centred)
    }
}

/// Rows on their way: the pass that waits for memory, the second one, and the result are made of three rows in one loop, so
/// that each row is read from memory once and nothing waits for sums.
#[derive(Clone, Copy)]
struct Turn<'a, V: Lane> {
    /// The rows that stand at the three steps.
    rows: [&'a [V::Elem]; 3],
    weight: &'a [V::Elem],
    bias: &'a [V::Elem],
    /// For the first step: u and v such that the sum of (u x + v) x is what it asks for.
    kind: [V; 2],
    rough: V,
    scale: Scale<V>,
}

impl<V: Lane> Turn<'_, V> {
    /// `N` elements from `at` on, of which the first `seen` are in the sums already.
    #[inline(always)]
    fn group<const N: usize>(
        &self,
        y: &mut [V::Elem],
        at: usize,
        seen: usize,
        sums: &mut [[V; N]; 3],
    ) {
        let cut = |s: &[V::Elem]| -> [V::Elem; N] { s[at..at + N].try_into().expect("N elements") };
        let [a, b, c] = [cut(self.rows[0]), cut(self.rows[1]), cut(self.rows[2])];
        let (w, bias) = (cut(self.weight), cut(self.bias));
        let y: &mut [V::Elem; N] = (&mut y[at..at + N]).try_into().expect("N elements");
        let mut made = c;
        let zero = V::c(0.0);
        for k in V::places(N) {
            let new = k >= seen;
            let a = V::select(new, V::new(a[k]), zero);
            sums[0][k] = a.mul_add(a.mul_add(self.kind[0], self.kind[1]), sums[0][k]);
            let d = V::select(new, V::new(b[k]) - self.rough, zero);
            sums[1][k] = sums[1][k] + d;
            sums[2][k] = d.mul_add(d, sums[2][k]);
            made[k] = self.scale.result(c[k], w[k], bias[k]);
        }
        *y = made;
    }

    /// Rows of less than a group.
    #[inline(always)]
    fn short(&self, y: &mut [V::Elem], sums: &mut [[V; V16]; 3]) {
        let (n, zero) = (y.len(), V::c(0.0).get());
        let mut all = [[zero; V16]; 5];
        let from = [
            self.rows[0],
            self.rows[1],
            self.rows[2],
            self.weight,
            self.bias,
        ];
        for i in 0..5 {
            all[i][V16 - n..].copy_from_slice(from[i]);
        }
        let turn = Turn {
            rows: [&all[0], &all[1], &all[2]],
            weight: &all[3],
            bias: &all[4],
            ..*self
        };
        let mut made = [zero; V16];
        turn.group(&mut made, 0, V16 - n, sums);
        y.copy_from_slice(&made[V16 - n..]);
    }
}

struct Forward<'a, T: Real> {
    x: &'a [T],
    out: &'a mut [T],
    weight: &'a [T],
    bias: &'a [T],
    eps: f64,
    centred: bool,
}

impl<T: Real> Forward<'_, T> {
    /// Three whole rows; the sum of the first step, and the two of the second one.
    #[inline(always)]
    fn turn<I: Isa>(turn: Turn<'_, T::Lane<I>>, y: &mut [T], next: &[T]) -> [T::Lane<I>; 3] {
        let n = y.len();
        let zero = T::Lane::<I>::c(0.0);
        let mut sums = [[zero; B]; 3];
        let mut at = 0;
        while at + B <= n {
            stream::ahead(&next[at..at + B]);
            // What is stored next is not foreseen by the processor.
            stream::ahead_by(&y[at..at + B], n);
            turn.group(y, at, 0, &mut sums);
            at += B;
        }
        let mut found = sums_up::<T, I, B>(&sums);
        if at < n {
            let mut own = [[zero; V16]; 3];
            if n >= V16 {
                while at < n {
                    // The last group begins before the end of the one before it.
                    let from = at.min(n - V16);
                    turn.group(y, from, at - from, &mut own);
                    at = from + V16;
                }
            } else {
                turn.short(y, &mut own);
            }
            let own = sums_up::<T, I, V16>(&own);
            for j in 0..3 {
                found[j] = found[j] + own[j];
            }
        }
        found
    }
}

/// Adds up accumulators in a fixed order.
#[inline(always)]
fn sums_up<T: Real, I: Isa, const N: usize>(acc: &[[T::Lane<I>; N]; 3]) -> [T::Lane<I>; 3] {
    let mut found = [T::Lane::<I>::c(0.0); 3];
    for j in 0..3 {
        let mut own = [T::ZERO; N];
        for k in T::Lane::<I>::places(N) {
            own[k] = acc[j][k].get();
        }
        found[j] = T::Lane::<I>::new(sum_of::<T, I>(&own));
    }
    found
}

impl<T: Real> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (n, centred) = (self.weight.len(), self.centred);
        if I::CALLS {
            for (x, out) in self.x.chunks_exact(n).zip(self.out.chunks_exact_mut(n)) {
                let scale = Scale::<T::Lane<I>>::of(x, self.eps, centred);
                for k in T::Lane::<I>::places(n) {
                    out[k] = scale.result(x[k], self.weight[k], self.bias[k]);
                }
            }
            return;
        }
        let (zero, one) = (T::Lane::<I>::c(0.0), T::Lane::<I>::c(1.0));
        let count = self.x.len() / n;
        let row = |i: usize| &self.x[i.min(count - 1) * n..][..n];
        let mut first = Scale::rough(zero, n, centred);
        let mut turn = Turn {
            rows: [row(0); 3],
            weight: self.weight,
            bias: self.bias,
            kind: if centred { [zero, one] } else { [one, zero] },
            rough: zero,
            scale: first,
        };
        for i in 0..count + 2 {
            turn.rows = [row(i), turn.rows[0], turn.rows[1]];
            // What the first two rounds make is no row: the next one writes over it.
            let y = &mut self.out[i.saturating_sub(2) * n..][..n];
            let [a, b, c] = Self::turn::<I>(turn, y, row(i + 1));
            turn.scale = first.finish([b, c], n, self.eps, centred);
            first = Scale::rough(a, n, centred);
            turn.rough = first.rough;
        }
    }
}

/// Rows handed to one task.
fn rows_per_task(n: usize) -> usize {
    (parallel::GRAIN / 2).div_ceil(n.max(1)).max(1)
}

pub(super) fn norm_rows<T: Real + Scratch>(
    x: &Tensor<T>,
    weight: Option<&Tensor<T>>,
    bias: Option<&Tensor<T>>,
    out: &mut [T],
    eps: f64,
    centred: bool,
) {
    let n = x.shape()[1];
    if out.is_empty() {
        return;
    }
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    let (weight, bias) = (weight.map(Tensor::contiguous), bias.map(Tensor::contiguous));
    T::with_scratch(2 * n, |own| {
        // What is not there changes nothing: any number, -0 too, stays itself when -0 is added.
        let (ones, zeros) = own.split_at_mut(n);
        ones.fill(T::one());
        zeros.fill(T::from_f64(-0.0));
        let weight = weight.as_ref().and_then(Tensor::as_slice).unwrap_or(ones);
        let bias = bias.as_ref().and_then(Tensor::as_slice).unwrap_or(zeros);
        // The first two rounds of a task make nothing: many rows a task, where there are many.
        let size = (out.len() / 16).clamp(parallel::GRAIN / 2, 2 * parallel::GRAIN);
        let size = size.div_ceil(n) * n;
        parallel::chunks_mut(out, size, |chunk, out| {
            dispatch(Forward {
                x: &x[chunk * size..][..out.len()],
                out,
                weight,
                bias,
                eps,
                centred,
            });
        });
    });
}

struct Backward<'a, T: Real> {
    x: &'a [T],
    g: &'a [T],
    weight: Option<&'a [T]>,
    dx: &'a mut [T],
    /// Σ g x̂ and Σ g over these rows; zeros without a weight.
    sums: &'a mut [T],
    n: usize,
    eps: f64,
    centred: bool,
}
impl<T: Real> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let n = self.n;
        let new = T::Lane::<I>::new;
        self.sums.fill(T::zero());
        let (dw, db) = self.sums.split_at_mut(n);
        let r = T::Lane::<I>::c(1.0 / n as f64);
        let rows = self
            .dx
            .chunks_exact_mut(n)
            .zip(self.x.chunks_exact(n))
            .zip(self.g.chunks_exact(n));
        for ((dx, x), g) in rows {
            let Scale { rough, rest, root } = Scale::<T::Lane<I>>::of(x, self.eps, self.centred);
            // dx holds the weighted cotangent, then the result.
            let (x, g) = (&x[..n], &g[..n]);
            match self.weight {
                Some(w) => {
                    let (w, dw, db) = (&w[..n], &mut dw[..n], &mut db[..n]);
                    for i in T::Lane::<I>::places(n) {
                        let h = (new(x[i]) - rough - rest) * root;
                        dw[i] = new(g[i]).mul_add(h, new(dw[i])).get();
                        db[i] += g[i];
                        dx[i] = g[i] * w[i];
                    }
                }
                None => dx.copy_from_slice(g),
            }
            let zero = T::Lane::<I>::c(0.0);
            let [a, b] = sums_of([x, &*dx], |[x, u]| {
                let d = new(x) - rough - rest;
                [new(u), new(u) * d]
            });
            let m1 = if self.centred { a * r } else { zero };
            let m2 = b * r * root * root;
            for i in T::Lane::<I>::places(n) {
                let d = new(x[i]) - rough - rest;
                dx[i] = ((new(dx[i]) - m1 - d * m2) * root).get();
            }
        }
    }
}

/// Tasks of the backward pass, each with sums of its own.
pub(super) fn tasks(rows: usize, n: usize) -> usize {
    rows.div_ceil(rows_per_task(n))
}

/// Output: dx, then Σ g x̂ and Σ g over all rows, then the same per task.
pub(super) fn norm_rows_grad<T: Real>(
    x: &Tensor<T>,
    weight: Option<&Tensor<T>>,
    g: &Tensor<T>,
    out: &mut [T],
    eps: f64,
    centred: bool,
) {
    let (rows, n) = (x.shape()[0], x.shape()[1]);
    let (dx, sums) = out.split_at_mut(rows * n);
    let (total, parts) = sums.split_at_mut(2 * n);
    total.fill(T::zero());
    if dx.is_empty() {
        return;
    }
    let (x, g) = (x.contiguous(), g.contiguous());
    let weight = weight.map(|w| w.contiguous());
    let weight = weight
        .as_ref()
        .map(|w| w.as_slice().expect("made contiguous above"));
    let x = x.as_slice().expect("made contiguous above");
    let g = g.as_slice().expect("made contiguous above");
    let size = rows_per_task(n) * n;
    parallel::chunks_mut2(dx, size, parts, 2 * n, |chunk, dx, sums| {
        let at = chunk * size..chunk * size + dx.len();
        dispatch_for::<T, _>(Backward {
            x: &x[at.clone()],
            g: &g[at],
            weight,
            dx,
            sums,
            n,
            eps,
            centred,
        });
    });
    for (i, t) in total.iter_mut().enumerate() {
        let sum: f64 = parts.chunks_exact(2 * n).map(|p| p[i].as_f64()).sum();
        *t = T::from_f64(sum);
    }
}
