//! Kernels of pooling: planes of up to three axes, one after the other in memory.

use crate::ops::{Scratch, compiled_here};
use wengert_tensor::lane::Lane;
use wengert_tensor::simd::{Isa, Kernel, Level, dispatch, dispatch_narrow, level};
use wengert_tensor::{Real, Tensor, parallel};

compiled_here! {
    /// Kernels of pooling.
    PoolKernels {
        fn max_pool(x: &Tensor<Self>, out: &mut [Self], axes: &Axes) = max_pool;
        fn max_places(x: &Tensor<Self>, out: &mut [i64], axes: &Axes) = max_places;
        fn max_scatter(g: &Tensor<Self>, x: &Tensor<Self>, out: &mut [Self], axes: &Axes) = max_scatter;
        fn max_gather(h: &Tensor<Self>, x: &Tensor<Self>, out: &mut [Self], axes: &Axes) = max_gather;
        fn avg_pool(x: &Tensor<Self>, out: &mut [Self], axes: &Axes, divisor: Divisor) = avg_pool;
        fn avg_scatter(g: &Tensor<Self>, out: &mut [Self], axes: &Axes, divisor: Divisor) = avg_scatter;
    }
}

/// By what the sum over a window is divided.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Divisor {
    /// Elements of the window, those of the padding included (PyTorch's `count_include_pad=True`, the default).
    #[default]
    Window,
    /// Elements of the window that lie inside the input.
    Inside,
    /// A number (PyTorch's `divisor_override`); 1 gives sums.
    Fixed(f64),
}

/// Windows along one axis.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Axis {
    /// Elements of the input.
    pub n: usize,
    /// Windows.
    pub m: usize,
    /// Elements of a window.
    pub k: usize,
    /// Distance between windows.
    pub s: usize,
    /// Elements before and after the input.
    pub p: usize,
    /// Distance between the elements of a window.
    pub d: usize,
    /// Windows of about n / m elements instead; `k`, `s`, `p` and `d` mean nothing.
    pub adaptive: bool,
}

/// The innermost axis comes last; axes that are not there have one element.
pub type Axes = [Axis; 3];

impl Axis {
    /// One element, one window.
    pub const ONE: Axis = Axis {
        n: 1,
        m: 1,
        k: 1,
        s: 1,
        p: 0,
        d: 1,
        adaptive: false,
    };

    /// First element and number of elements of a window, inside the input.
    #[inline(always)]
    pub fn span(&self, o: usize) -> (usize, usize) {
        if self.adaptive {
            let (a, b) = (o * self.n / self.m, ((o + 1) * self.n).div_ceil(self.m));
            return (a, b - a);
        }
        let at = o * self.s;
        // The first element of the window that is not in the padding, and the first one beyond the input.
        let first = self.p.saturating_sub(at).div_ceil(self.d);
        let last = (self.n + self.p).saturating_sub(at).div_ceil(self.d);
        let count = last.min(self.k).saturating_sub(first);
        ((at + first * self.d).saturating_sub(self.p), count)
    }

    /// Distance between the elements of a window.
    #[inline(always)]
    pub fn step(&self) -> usize {
        if self.adaptive { 1 } else { self.d }
    }

    /// Elements of a window that count for the average.
    fn count(&self, o: usize, divisor: Divisor) -> usize {
        match divisor {
            Divisor::Window if !self.adaptive => {
                // What hangs over the padding does not count.
                let left = (self.n + 2 * self.p).saturating_sub(o * self.s);
                left.div_ceil(self.d).min(self.k)
            }
            _ => self.span(o).1,
        }
    }

    /// Element `j` of every window: the windows `a..b` that have it inside the input, and its place in window `a`.
    #[inline(always)]
    fn lane(&self, j: usize) -> (usize, usize, usize) {
        let at = j * self.d;
        let a = self.p.saturating_sub(at).div_ceil(self.s).min(self.m);
        let b = (self.n + self.p).saturating_sub(at).div_ceil(self.s);
        let b = b.min(self.m).max(a);
        (a, b, (a * self.s + at).saturating_sub(self.p))
    }

    /// Whether no vector code fits: windows of different sizes, or three and more elements apart; but for a single window whose
    /// elements are side by side.
    fn is_by_element(&self) -> bool {
        !self.is_single() && (self.adaptive || self.s > 2)
    }

    /// A single window, of elements side by side.
    #[inline(always)]
    fn is_single(&self) -> bool {
        self.m == 1 && self.step() == 1
    }

    /// Pairs side by side, none of which hangs over the end.
    #[inline(always)]
    fn is_pairs(&self) -> bool {
        !self.adaptive && (self.k, self.s, self.p, self.d) == (2, 2, 0, 1) && 2 * self.m <= self.n
    }
}

fn inputs(a: &Axes) -> usize {
    a[0].n * a[1].n * a[2].n
}

fn outputs(a: &Axes) -> usize {
    a[0].m * a[1].m * a[2].m
}

/// Planes handed to one task.
fn planes_per_task(a: &Axes) -> usize {
    (parallel::GRAIN / 2).div_ceil(inputs(a).max(1)).max(1)
}

/// The code for each row of elements of a plane that a row of windows covers, with the numbers of both. Not a function of a
/// closure, which may be compiled apart, without the instruction set.
macro_rules! each_row {
    ($axes:expr, |$windows:ident, $elements:ident| $code:block) => {
        let [a0, a1, _] = $axes;
        for o0 in 0..a0.m {
            let (i0, c0) = a0.span(o0);
            for o1 in 0..a1.m {
                let (i1, c1) = a1.span(o1);
                let $windows = o0 * a1.m + o1;
                for j0 in 0..c0 {
                    let plane = (i0 + j0 * a0.step()) * a1.n + i1;
                    for j1 in 0..c1 {
                        let $elements = plane + j1 * a1.step();
                        $code
                    }
                }
            }
        }
    };
}

/// Maximum or sum over the windows of whole planes.
struct Combine<'a, T: Real> {
    axes: &'a Axes,
    x: &'a [T],
    out: &'a mut [T],
    max: bool,
}

/// y\[o\] = f(y\[o\], x\[i\]) for the elements i of window o.
#[inline(always)]
fn combine_row<V: Lane>(w: &Axis, x: &[V::Elem], y: &mut [V::Elem], f: impl Fn(V, V) -> V + Copy) {
    let new = V::new;
    if V::INLINE && w.is_pairs() {
        let (n, x) = (y.len(), &x[..2 * y.len()]);
        for o in 0..n {
            y[o] = f(f(new(y[o]), new(x[2 * o])), new(x[2 * o + 1])).get();
        }
        return;
    }
    // Where functions are calls, this is the only case: the others go by elements.
    if !V::INLINE || w.is_single() {
        // One window: several running values, combined in a fixed order.
        let (i, c) = w.span(0);
        let chunks = x[i..i + c].chunks_exact(16);
        let mut last = new(y[0]);
        let mut rest = chunks.clone();
        if let Some(first) = rest.next() {
            let mut acc = [new(first[0]); 16];
            for k in V::places(16) {
                acc[k] = new(first[k]);
            }
            for c in rest {
                for k in V::places(16) {
                    acc[k] = f(acc[k], new(c[k]));
                }
            }
            for k in (0..4).map(|k| 8 >> k) {
                for j in V::places(k) {
                    acc[j] = f(acc[j], acc[j + k]);
                }
            }
            last = f(last, acc[0]);
        }
        y[0] = (chunks.remainder().iter())
            .fold(last, |y, &x| f(y, new(x)))
            .get();
        return;
    }
    for j in 0..w.k {
        let (a, b, i) = w.lane(j);
        if a == b {
            continue;
        }
        let y = &mut y[a..b];
        let x = &x[i..];
        if w.s == 1 {
            let x = &x[..b - a];
            for o in 0..b - a {
                y[o] = f(new(y[o]), new(x[o])).get();
            }
        } else {
            // Pairs, of which the first counts, become shuffles of whole vectors.
            for (y, x) in y.iter_mut().zip(x.chunks_exact(2)) {
                *y = f(new(*y), new(x[0])).get();
            }
            let last = b - a - 1;
            if x.len() == 2 * last + 1 {
                y[last] = f(new(y[last]), new(x[2 * last])).get();
            }
        }
    }
}

/// [`combine_row`] where [`Axis::is_by_element`].
#[inline(never)]
fn combine_by_element<T: Real>(w: &Axis, x: &[T], y: &mut [T], max: bool) {
    type L<T> = <T as Real>::Lane<wengert_tensor::simd::Baseline>;
    for (o, y) in y.iter_mut().enumerate() {
        let (i, c) = w.span(o);
        for k in 0..c {
            let x = x[i + k * w.step()];
            *y = if max {
                L::<T>::new(*y).max(L::<T>::new(x)).get()
            } else {
                *y + x
            };
        }
    }
}

impl<T: Real> Kernel for Combine<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (a, max) = (self.axes, self.max);
        let w = &a[2];
        let start = if max { T::neg_infinity() } else { T::zero() };
        let planes = self.x.chunks_exact(inputs(a));
        for (x, out) in planes.zip(self.out.chunks_exact_mut(outputs(a))) {
            out.fill(start);
            each_row!(a, |o, i| {
                let (x, y) = (&x[i * w.n..][..w.n], &mut out[o * w.m..][..w.m]);
                if w.is_by_element() || (I::CALLS && !w.is_single()) {
                    combine_by_element(w, x, y, max);
                } else if max {
                    combine_row::<T::Lane<I>>(w, x, y, |a, b| a.max(b));
                } else {
                    combine_row::<T::Lane<I>>(w, x, y, |a, b| a + b);
                }
            });
        }
    }
}

fn combine<T: Real>(
    x: &Tensor<T>,
    out: &mut [T],
    axes: &Axes,
    max: bool,
    then: impl Fn(&mut [T]) + Sync,
) {
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    let planes = planes_per_task(axes);
    let (n, m) = (inputs(axes), outputs(axes));
    parallel::chunks_mut(out, planes * m, |i, out| {
        let x = &x[i * planes * n..][..out.len() / m * n];
        dispatch_narrow(Combine { axes, x, out, max });
        then(out);
    });
}

fn max_pool<T: Real>(x: &Tensor<T>, out: &mut [T], axes: &Axes) {
    combine(x, out, axes, true, |_| ());
}

/// Divides the sums of whole planes.
fn divide<T: Real>(out: &mut [T], axes: &Axes, divisor: Divisor) {
    if let Divisor::Fixed(d) = divisor {
        let d = T::from_f64(d);
        if d != T::one() {
            out.iter_mut().for_each(|y| *y /= d);
        }
        return;
    }
    let w = &axes[2];
    let same = (1..w.m).all(|o| w.count(o, divisor) == w.count(0, divisor));
    for plane in out.chunks_exact_mut(outputs(axes)) {
        for (r, row) in plane.chunks_exact_mut(w.m).enumerate() {
            let c = axes[0].count(r / axes[1].m, divisor) * axes[1].count(r % axes[1].m, divisor);
            if same {
                let d = T::from_f64((c * w.count(0, divisor)) as f64);
                row.iter_mut().for_each(|y| *y /= d);
            } else {
                for (o, y) in row.iter_mut().enumerate() {
                    *y /= T::from_f64((c * w.count(o, divisor)) as f64);
                }
            }
        }
    }
}

fn avg_pool<T: Real>(x: &Tensor<T>, out: &mut [T], axes: &Axes, divisor: Divisor) {
    combine(x, out, axes, false, |out| divide(out, axes, divisor));
}

/// The adjoint of [`avg_pool`]: each element, divided, added to all places of its window.
fn avg_scatter<T: Scratch>(g: &Tensor<T>, out: &mut [T], axes: &Axes, divisor: Divisor) {
    let g = g.contiguous();
    let g = g.as_slice().expect("made contiguous above");
    let planes = planes_per_task(axes);
    let (n, m) = (inputs(axes), outputs(axes));
    parallel::chunks_mut(out, planes * n, |i, out| {
        out.fill(T::zero());
        for (p, out) in out.chunks_exact_mut(n).enumerate() {
            T::with_scratch(m, |share| {
                share.copy_from_slice(&g[(i * planes + p) * m..][..m]);
                divide(share, axes, divisor);
                dispatch_narrow(Spread {
                    axes,
                    g: share,
                    out,
                });
            });
        }
    });
}

/// Each element of a plane of windows added to all elements of its window.
struct Spread<'a, T: Real> {
    axes: &'a Axes,
    g: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> Kernel for Spread<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let w = &self.axes[2];
        each_row!(self.axes, |o, i| {
            let (g, x) = (&self.g[o * w.m..][..w.m], &mut self.out[i * w.n..][..w.n]);
            spread_row::<T, I>(w, g, x);
        });
    }
}

/// x\[i\] += g\[o\] for the elements i of window o.
#[inline(always)]
fn spread_row<T: Real, I: Isa>(w: &Axis, g: &[T], x: &mut [T]) {
    if I::CALLS {
        spread_by_element(w, g, x);
    } else if w.is_pairs() {
        for (&g, x) in g.iter().zip(x.chunks_exact_mut(2)) {
            x[0] += g;
            x[1] += g;
        }
    } else if w.adaptive || w.m == 1 && w.d == 1 {
        for (o, &g) in g.iter().enumerate() {
            let (i, c) = w.span(o);
            x[i..i + c].iter_mut().for_each(|x| *x += g);
        }
    } else {
        for j in 0..w.k {
            let (a, b, i) = w.lane(j);
            if a == b {
                continue;
            }
            let (x, g) = (&mut x[i..], &g[a..b]);
            if w.s == 1 {
                x.iter_mut().zip(g).for_each(|(x, &g)| *x += g);
            } else {
                let x = x.iter_mut().step_by(w.s);
                x.zip(g).for_each(|(x, &g)| *x += g);
            }
        }
    }
}

/// [`spread_row`] where little code matters more than speed.
#[inline(never)]
fn spread_by_element<T: Real>(w: &Axis, g: &[T], x: &mut [T]) {
    for (o, &g) in g.iter().enumerate() {
        let (i, c) = w.span(o);
        for k in 0..c {
            x[i + k * w.step()] += g;
        }
    }
}

/// Whether `v` takes the place of the best so far: it is larger, or the first NaN.
#[inline(always)]
fn wins<V: Lane>(v: V, best: V) -> bool {
    (v > best) | (v.is_nan() & !best.is_nan())
}

/// Whether there are no vectors worth code of their own, see [`Isa::CALLS`].
fn is_slow() -> bool {
    cfg!(target_arch = "x86_64") && level() == Level::Baseline
}

/// Places handed over together.
const PLACES: usize = 64;

/// `f(window, places)` with the places of the largest elements of some windows of a plane, side by side from that one on;
/// the first of equals, the first NaN.
fn each_max<T: Scratch>(axes: &Axes, x: &[T], f: &mut dyn FnMut(usize, &[usize])) {
    let w = &axes[2];
    // Places are kept as numbers of the element type, which must be whole.
    if w.adaptive || w.m == 1 || x.len() >= 1 << 24 || is_slow() {
        return each_max_slowly(axes, x, f);
    }
    T::with_scratch(2 * w.m, |memory| {
        let (best, place) = memory.split_at_mut(w.m);
        for o0 in 0..axes[0].m {
            for o1 in 0..axes[1].m {
                dispatch(RowMax {
                    axes,
                    x,
                    row: [o0, o1],
                    best,
                    place,
                });
                let first = (o0 * axes[1].m + o1) * w.m;
                for (k, place) in place.chunks(PLACES).enumerate() {
                    let mut at = [0; PLACES];
                    let from = k * PLACES;
                    for (o, (at, p)) in at.iter_mut().zip(place).enumerate() {
                        *at = p.as_f64() as usize + (from + o) * w.s - w.p;
                    }
                    f(first + from, &at[..place.len()]);
                }
            }
        }
    });
}

/// For a row of windows the largest elements, and their places less what the window's own place adds.
struct RowMax<'a, T: Real> {
    axes: &'a Axes,
    x: &'a [T],
    row: [usize; 2],
    best: &'a mut [T],
    place: &'a mut [T],
}

impl<T: Real> Kernel for RowMax<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        if I::CALLS {
            unreachable!("where it is slow, windows go element by element");
        }
        let new = T::Lane::<I>::new;
        let [a0, a1, w] = self.axes;
        let (i0, c0) = a0.span(self.row[0]);
        let (i1, c1) = a1.span(self.row[1]);
        // Nothing seen yet.
        self.place.fill(-T::one());
        for j0 in 0..c0 {
            for j1 in 0..c1 {
                let row = ((i0 + j0 * a0.step()) * a1.n + i1 + j1 * a1.step()) * w.n;
                for j in 0..w.k {
                    let (a, b, i) = w.lane(j);
                    if a == b {
                        continue;
                    }
                    let here = T::Lane::<I>::c((row + j * w.d) as f64);
                    let (best, place) = (&mut self.best[a..b], &mut self.place[a..b]);
                    let x = &self.x[row + i..row + w.n];
                    let step = |v: T, best: &mut T, place: &mut T| {
                        let (v, old, at) = (new(v), new(*best), new(*place));
                        let t = wins(v, old) | (at < T::Lane::<I>::c(0.0));
                        *best = T::Lane::<I>::select(t, v, old).get();
                        *place = T::Lane::<I>::select(t, here, at).get();
                    };
                    let windows = best.iter_mut().zip(place.iter_mut());
                    match w.s {
                        1 => {
                            for (&v, (best, place)) in x.iter().zip(windows) {
                                step(v, best, place);
                            }
                        }
                        2 => {
                            // Pairs, of which the first counts, become shuffles of whole vectors.
                            for (v, (best, place)) in x.chunks_exact(2).zip(windows) {
                                step(v[0], best, place);
                            }
                            let last = b - a - 1;
                            if x.len() == 2 * last + 1 {
                                step(x[2 * last], &mut best[last], &mut place[last]);
                            }
                        }
                        s => {
                            for (&v, (best, place)) in x.iter().step_by(s).zip(windows) {
                                step(v, best, place);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// As [`each_max`], element by element.
fn each_max_slowly<T: Real>(axes: &Axes, x: &[T], f: &mut dyn FnMut(usize, &[usize])) {
    type L<T> = <T as Real>::Lane<wengert_tensor::simd::Baseline>;
    let [a0, a1, w] = axes;
    let mut o = 0;
    for o0 in 0..a0.m {
        let (i0, c0) = a0.span(o0);
        for o1 in 0..a1.m {
            let (i1, c1) = a1.span(o1);
            for o2 in 0..w.m {
                let (i2, c2) = w.span(o2);
                let mut at = (i0 * a1.n + i1) * w.n + i2;
                let mut best = L::<T>::new(x[at]);
                for j0 in 0..c0 {
                    for j1 in 0..c1 {
                        let row = ((i0 + j0 * a0.step()) * a1.n + i1 + j1 * a1.step()) * w.n + i2;
                        for j2 in 0..c2 {
                            let i = row + j2 * w.step();
                            let v = L::<T>::new(x[i]);
                            if wins(v, best) {
                                (best, at) = (v, i);
                            }
                        }
                    }
                }
                f(o, &[at]);
                o += 1;
            }
        }
    }
}

fn max_places<T: Scratch>(x: &Tensor<T>, out: &mut [i64], axes: &Axes) {
    let x = x.contiguous();
    let x = x.as_slice().expect("made contiguous above");
    let planes = planes_per_task(axes);
    let (n, m) = (inputs(axes), outputs(axes));
    parallel::chunks_mut(out, planes * m, |i, out| {
        for (p, out) in out.chunks_exact_mut(m).enumerate() {
            let x = &x[(i * planes + p) * n..][..n];
            each_max(axes, x, &mut |o, at| {
                for (out, &at) in out[o..].iter_mut().zip(at) {
                    *out = at as i64;
                }
            });
        }
    });
}

fn max_gather<T: Scratch>(h: &Tensor<T>, x: &Tensor<T>, out: &mut [T], axes: &Axes) {
    let (h, x) = (h.contiguous(), x.contiguous());
    let h = h.as_slice().expect("made contiguous above");
    let x = x.as_slice().expect("made contiguous above");
    let planes = planes_per_task(axes);
    let (n, m) = (inputs(axes), outputs(axes));
    parallel::chunks_mut(out, planes * m, |i, out| {
        for (p, out) in out.chunks_exact_mut(m).enumerate() {
            let from = (i * planes + p) * n;
            let h = &h[from..][..n];
            each_max(axes, &x[from..][..n], &mut |o, at| {
                for (out, &at) in out[o..].iter_mut().zip(at) {
                    *out = h[at];
                }
            });
        }
    });
}

fn max_scatter<T: Scratch>(g: &Tensor<T>, x: &Tensor<T>, out: &mut [T], axes: &Axes) {
    let (g, x) = (g.contiguous(), x.contiguous());
    let g = g.as_slice().expect("made contiguous above");
    let x = x.as_slice().expect("made contiguous above");
    let planes = planes_per_task(axes);
    let (n, m) = (inputs(axes), outputs(axes));
    let squares = axes[0]
        == Axis {
            n: axes[0].n,
            m: axes[0].n,
            ..Axis::ONE
        }
        && axes[1].is_pairs()
        && axes[2].is_pairs()
        && !is_slow();
    parallel::chunks_mut(out, planes * n, |i, out| {
        let (x, g) = (
            &x[i * planes * n..][..out.len()],
            &g[i * planes * m..][..out.len() / n * m],
        );
        if squares {
            dispatch_narrow(Squares { axes, x, g, out });
            return;
        }
        out.fill(T::zero());
        for (p, out) in out.chunks_exact_mut(n).enumerate() {
            let g = &g[p * m..][..m];
            each_max(axes, &x[p * n..][..n], &mut |o, at| {
                for (&g, &at) in g[o..].iter().zip(at) {
                    out[at] += g;
                }
            });
        }
    });
}

/// The gradient of the maximum over squares of 2 x 2 side by side: each square is written once.
struct Squares<'a, T: Real> {
    axes: &'a Axes,
    x: &'a [T],
    g: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> Kernel for Squares<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        if I::CALLS {
            unreachable!("where it is slow, windows go element by element");
        }
        let [_, h, w] = *self.axes;
        let images = self.x.chunks_exact(h.n * w.n);
        let grads = self.g.chunks_exact(h.m * w.m);
        for ((x, g), out) in images.zip(grads).zip(self.out.chunks_exact_mut(h.n * w.n)) {
            if h.n % 2 == 1 {
                out[2 * h.m * w.n..].fill(T::zero());
            }
            let pairs = x.chunks_exact(2 * w.n).zip(out.chunks_exact_mut(2 * w.n));
            for ((x, out), g) in pairs.zip(g.chunks_exact(w.m)) {
                let (x0, x1) = x.split_at(w.n);
                let (y0, y1) = out.split_at_mut(w.n);
                if w.n % 2 == 1 {
                    (y0[w.n - 1], y1[w.n - 1]) = (T::zero(), T::zero());
                }
                // Blocks of eight; the last one overlaps the one before, which writes the same numbers twice.
                let mut o = 0;
                while o < w.m {
                    if w.m < 8 {
                        square::<T::Lane<I>, 1>(x0, x1, g, y0, y1, o);
                        o += 1;
                    } else {
                        o = o.min(w.m - 8);
                        square::<T::Lane<I>, 8>(x0, x1, g, y0, y1, o);
                        o += 8;
                    }
                }
            }
        }
    }
}

/// Squares `o..o + B` of a pair of rows.
#[inline(always)]
fn square<V: Lane, const B: usize>(
    x0: &[V::Elem],
    x1: &[V::Elem],
    g: &[V::Elem],
    y0: &mut [V::Elem],
    y1: &mut [V::Elem],
    o: usize,
) {
    let (x0, x1) = (&x0[2 * o..2 * (o + B)], &x1[2 * o..2 * (o + B)]);
    let (y0, y1) = (&mut y0[2 * o..2 * (o + B)], &mut y1[2 * o..2 * (o + B)]);
    let g = &g[o..o + B];
    let zero = V::c(0.0);
    for k in V::places(B) {
        let v = [
            V::new(x0[2 * k]),
            V::new(x0[2 * k + 1]),
            V::new(x1[2 * k]),
            V::new(x1[2 * k + 1]),
        ];
        let g = V::new(g[k]);
        let t1 = wins(v[1], v[0]);
        let m = V::select(t1, v[1], v[0]);
        let t2 = wins(v[2], m);
        let m = V::select(t2, v[2], m);
        let t3 = wins(v[3], m);
        y0[2 * k] = V::select(t1 | t2 | t3, zero, g).get();
        y0[2 * k + 1] = V::select(t1 & !(t2 | t3), g, zero).get();
        y1[2 * k] = V::select(t2 & !t3, g, zero).get();
        y1[2 * k + 1] = V::select(t3, g, zero).get();
    }
}
