//! Sequences forward and backward: bands of the batch run through all time steps apart from each other.
//!
//! The recurrent weights are packed once. A band's rows are multiplied by them step after step; each element is the
//! same sum whatever the band, so the number of bands follows the threads without touching a bit.

use super::cells::{GruBack, GruStep, LstmBack, LstmStep, RnnBack, RnnStep, Running};
use super::{Config, Gate, Of};
use crate::ops::Scratch;
use std::borrow::Cow;
use wengert_tensor::gemm::{Epilogue, MatMut, MatRef, gemm, gemm_packed, pack, packed_len};
use wengert_tensor::simd::dispatch_for;
use wengert_tensor::{Real, Tensor, parallel};

/// Multiply-adds of the recurrent products below which one thread does it all.
const SERIAL: usize = 1 << 18;
/// Fewest rows of a band.
const ROWS: usize = 4;

/// Sizes of a sequence.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub steps: usize,
    pub batch: usize,
    pub hidden: usize,
    /// Width of the state y: `hidden`, or that of the projection.
    pub out: usize,
    /// Width of the sums of all gates.
    pub sums: usize,
}

impl Sizes {
    pub fn of(c: &Config, x: &[usize], w: &[usize]) -> Self {
        Sizes {
            steps: x[0],
            batch: x[1],
            hidden: x[2] / c.gate.count(),
            out: w[1],
            sums: x[2],
        }
    }

    /// Sections of the packed result: y, the last cell, gates, cells, m.
    pub fn forward(&self, c: &Config) -> [usize; 5] {
        let (rows, h) = (self.batch, self.hidden);
        let lstm = c.gate == Gate::Lstm;
        let kept = if c.reserve { self.steps } else { 0 };
        let cells = if c.reserve { kept } else { self.steps.min(2) };
        let m = if c.reserve { kept } else { self.steps.min(1) };
        let if_ = |on: bool, n: usize| if on { n } else { 0 };
        [
            self.steps * rows * self.out,
            if_(lstm, rows * h),
            if_(lstm || c.gate == Gate::Gru, kept * rows * 4 * h),
            if_(lstm, cells * rows * h),
            if_(c.projection, m * rows * h),
        ]
    }

    /// Sections of the packed derivative: x, state, cell, q (GRU), and the whole cotangents of y.
    pub fn backward(&self, c: &Config, states: bool) -> [usize; 5] {
        let (rows, h) = (self.batch, self.hidden);
        let if_ = |on: bool, n: usize| if on { n } else { 0 };
        [
            self.steps * rows * self.sums,
            rows * self.out,
            if_(c.gate == Gate::Lstm, rows * h),
            if_(c.gate == Gate::Gru, self.steps * rows * h),
            if_(c.projection || states, self.steps * rows * self.out),
        ]
    }

    fn band(&self) -> usize {
        let work = self.steps * self.batch * self.out * self.sums;
        let threads = if work < SERIAL {
            1
        } else {
            parallel::threads()
        };
        self.batch.div_ceil(threads).max(ROWS)
    }
}

/// Start of section `i`.
pub(super) fn start(sections: &[usize], i: usize) -> usize {
    sections[..i].iter().sum()
}

fn split<const N: usize, T>(mut data: &mut [T], sizes: [usize; N]) -> [&mut [T]; N] {
    sizes.map(|n| {
        let (part, rest) = std::mem::take(&mut data).split_at_mut(n);
        data = rest;
        part
    })
}

/// The operation's inputs.
pub struct Inputs<'a, T: Real>(pub(super) &'a [Option<&'a Tensor<T>>]);

impl<'a, T: Real> Inputs<'a, T> {
    fn tensor(&self, i: usize) -> &'a Tensor<T> {
        self.0[i].expect("an input that the operation reads")
    }
    fn flat(&self, i: Option<usize>) -> Option<Cow<'a, [T]>> {
        i.map(|i| flat(self.tensor(i)))
    }
}

/// The sums that the inputs brought, by row of `[steps * batch, sums]`.
pub struct Rows<'a, T: Real> {
    data: Cow<'a, [T]>,
    /// If they are rows of a table, which one each is.
    index: Option<Vec<i64>>,
}

impl<'a, T: Real> Rows<'a, T> {
    pub(super) fn of(x: &'a Tensor<T>) -> Self {
        Rows {
            data: flat(x),
            index: None,
        }
    }
    pub(super) fn looked_up(table: &'a Tensor<T>, index: Vec<i64>) -> Self {
        Rows {
            data: flat(table),
            index: Some(index),
        }
    }

    /// Rows `first..` of time `t`, as many as `room` takes; `room` is used only if they do not lie beside each other.
    fn get<'b>(
        &'b self,
        t: usize,
        z: &Sizes,
        first: usize,
        count: usize,
        room: &'b mut [T],
    ) -> &'b [T] {
        let Some(index) = &self.index else {
            return rows(&self.data, t, z, z.sums, first, count);
        };
        let which = rows(index, t, z, 1, first, count);
        for (to, &i) in room.chunks_exact_mut(z.sums).zip(which) {
            to.copy_from_slice(&self.data[i as usize * z.sums..][..z.sums]);
        }
        room
    }
}

fn flat<T: Real>(t: &Tensor<T>) -> Cow<'_, [T]> {
    match t.as_slice() {
        Some(s) => Cow::Borrowed(s),
        None => Cow::Owned(t.to_vec()),
    }
}

fn weight<T: Real>(t: &Tensor<T>) -> MatRef<'_, T> {
    MatRef {
        data: t.storage().as_slice(),
        offset: t.layout().offset,
        rs: t.strides()[0],
        cs: t.strides()[1],
    }
}

/// The time processed as number `s`.
fn time(c: &Config, steps: usize, s: usize) -> usize {
    if c.reverse { steps - 1 - s } else { s }
}

/// Rows of a band in a tensor `[batch, width]` or in matrix `t` of `[steps, batch, width]`.
fn rows<'a, T>(
    data: &'a [T],
    t: usize,
    z: &Sizes,
    width: usize,
    first: usize,
    count: usize,
) -> &'a [T] {
    &data[(t * z.batch + first) * width..][..count * width]
}

/// Computes y, the last cell, and what the backward pass needs, as [`Sizes::forward`] lays them out.
pub(super) fn sequence<T: Scratch>(
    c: &Config,
    z: &Sizes,
    from: &Rows<'_, T>,
    inputs: &Inputs<'_, T>,
    out: &mut [T],
) {
    let w = inputs.tensor(1);
    if z.batch == 0 {
        return;
    }
    let (bias, hidden_bias) = (inputs.flat(c.bias()), inputs.flat(c.hidden_bias()));
    let (state, cell) = (inputs.flat(c.state()), inputs.flat(c.cell()));
    let lengths = inputs.flat(c.lengths());
    let projection = c.projection().map(|i| inputs.tensor(i));
    let [y, last, gates, cells, m] = split(out, z.forward(c));
    let (h, o, sums) = (z.hidden, z.out, z.sums);
    let sizes = [
        packed_len::<T>(o, sums),
        projection.map_or(0, |_| packed_len::<T>(h, o)),
        z.batch * sums,
        if lengths.is_some() { z.batch * o } else { 0 },
        from.index.as_ref().map_or(0, |_| z.batch * sums),
    ];
    T::with_scratch(sizes.iter().sum(), |scratch| {
        let [packed, packed_p, products, hold, room] = split(scratch, sizes);
        pack(o, sums, weight(w).t(), packed);
        if let Some(p) = projection {
            pack(h, o, weight(p).t(), packed_p);
        }
        let (packed, packed_p) = (&*packed, &*packed_p);
        let stacks = [
            (y, o),
            (last, h),
            (gates, 4 * h),
            (cells, h),
            (m, h),
            (products, sums),
            (hold, o),
            (room, sums),
        ];
        parallel::bands(stacks, z.batch, z.band(), |first, count, parts| {
            let [
                mut y,
                mut last,
                mut gates,
                mut cells,
                mut m,
                mut products,
                mut hold,
                mut room,
            ] = parts;
            let part = |d: &Option<Cow<'_, [T]>>, width: usize| -> Option<(usize, usize)> {
                d.as_ref().map(|_| (first * width, (first + count) * width))
            };
            let state = part(&state, o).map(|(a, b)| &state.as_ref().expect("given")[a..b]);
            let cell = part(&cell, h).map(|(a, b)| &cell.as_ref().expect("given")[a..b]);
            let lengths = part(&lengths, 1).map(|(a, b)| &lengths.as_ref().expect("given")[a..b]);
            if lengths.is_some() {
                match state {
                    Some(s) => hold.at_mut(0).copy_from_slice(s),
                    None => hold.at_mut(0).fill(T::zero()),
                }
            }
            for s in 0..z.steps {
                let t = time(c, z.steps, s);
                let before_t = (s > 0).then(|| time(c, z.steps, s - 1));
                let running = Running { lengths, t };
                let room = match from.index {
                    Some(_) => room.at_mut(0),
                    None => &mut [],
                };
                let x = from.get(t, z, first, count, room);
                let from = match (lengths, before_t) {
                    (Some(_), _) => Some(hold.at(0)),
                    (None, Some(b)) => Some(y.at(b)),
                    (None, None) => state,
                };
                let product = products.at_mut(0);
                match from {
                    Some(from) => gemm_packed(
                        count,
                        sums,
                        o,
                        MatRef::row_major(from, o),
                        packed,
                        T::zero(),
                        MatMut::row_major(product, sums),
                    ),
                    None => product.fill(T::zero()),
                }
                let product = &*product;
                match c.gate {
                    Gate::Tanh | Gate::Relu => dispatch_for::<T, _>(RnnStep {
                        relu: c.gate == Gate::Relu,
                        hidden: h,
                        product,
                        x,
                        bias: bias.as_deref(),
                        running,
                        y: y.at_mut(t),
                    }),
                    Gate::Gru => {
                        let (before, y) = match (lengths, before_t) {
                            (Some(_), _) => (Some(hold.at(0)), y.at_mut(t)),
                            (None, Some(b)) => {
                                let (before, y) = y.pair(b, t);
                                (Some(before), y)
                            }
                            (None, None) => (state, y.at_mut(t)),
                        };
                        dispatch_for::<T, _>(GruStep {
                            hidden: h,
                            product,
                            x,
                            bias: bias.as_deref(),
                            hidden_bias: hidden_bias.as_deref(),
                            running,
                            before,
                            gates: gates.at_mut(t),
                            y,
                        });
                    }
                    Gate::Lstm => {
                        let (before, now) = match before_t {
                            Some(b) => {
                                let (before, now) = cells.pair(b, t);
                                (Some(before), now)
                            }
                            None => (cell, cells.at_mut(t)),
                        };
                        dispatch_for::<T, _>(LstmStep {
                            hidden: h,
                            product,
                            x,
                            bias: bias.as_deref(),
                            running,
                            before,
                            gates: gates.at_mut(t),
                            cell: now,
                            m: if c.projection {
                                m.at_mut(t)
                            } else {
                                y.at_mut(t)
                            },
                        });
                        if c.projection {
                            gemm_packed(
                                count,
                                o,
                                h,
                                MatRef::row_major(m.at(t), h),
                                packed_p,
                                T::zero(),
                                MatMut::row_major(y.at_mut(t), o),
                            );
                        }
                    }
                }
                if lengths.is_some() {
                    let to = hold.at_mut(0).chunks_exact_mut(o);
                    for (r, (to, y)) in to.zip(y.at(t).chunks_exact(o)).enumerate() {
                        if running.at(r) {
                            to.copy_from_slice(y);
                        }
                    }
                }
            }
            if c.gate == Gate::Lstm {
                match (z.steps, cell) {
                    (0, Some(cell)) => last.at_mut(0).copy_from_slice(cell),
                    (0, None) => last.at_mut(0).fill(T::zero()),
                    (n, _) => last.at_mut(0).copy_from_slice(cells.at(time(c, n, n - 1))),
                }
            }
        });
    });
}

/// The cotangents of x, state and cell, and what those of the weights need, as [`Sizes::backward`] lays them out.
/// `made` is what [`sequence`] computed, `g` the cotangent of its result.
pub(super) fn gradient<T: Scratch>(
    c: &Config,
    z: &Sizes,
    states: bool,
    made: &Tensor<T>,
    g: &Tensor<T>,
    inputs: &Inputs<'_, T>,
    out: &mut [T],
) {
    let w = inputs.tensor(1);
    if z.batch == 0 {
        return;
    }
    let (state, cell) = (inputs.flat(c.state()), inputs.flat(c.cell()));
    let (made, g) = (flat(made), flat(g));
    let lengths = inputs.flat(c.lengths());
    let projection = c.projection().map(|i| inputs.tensor(i));
    let kept = z.forward(c);
    let section = |i: usize| &made[start(&kept, i)..][..kept[i]];
    let (y, gates, cells) = (section(0), section(2), section(3));
    let (h, o, sums) = (z.hidden, z.out, z.sums);
    let [dx, dh, dc, dq, whole] = split(out, z.backward(c, states));
    let gru = c.gate == Gate::Gru;
    let sizes = [
        packed_len::<T>(sums, o),
        projection.map_or(0, |_| packed_len::<T>(o, h)),
        projection.map_or(0, |_| z.batch * h),
        if gru { z.batch * sums } else { 0 },
    ];
    T::with_scratch(sizes.iter().sum(), |scratch| {
        let [packed, packed_p, dm, products] = split(scratch, sizes);
        pack(sums, o, weight(w), packed);
        if let Some(p) = projection {
            pack(o, h, weight(p), packed_p);
        }
        let (packed, packed_p) = (&*packed, &*packed_p);
        let stacks = [
            (dx, sums),
            (dh, o),
            (dc, h),
            (dq, h),
            (whole, o),
            (dm, h),
            (products, sums),
        ];
        parallel::bands(stacks, z.batch, z.band(), |first, count, parts| {
            let [
                mut dx,
                mut dh,
                mut dc,
                mut dq,
                mut whole,
                mut dm,
                mut products,
            ] = parts;
            let of = |d: &'_ [T], t: usize, width: usize| -> std::ops::Range<usize> {
                let from = (t * z.batch + first) * width;
                debug_assert!(from + count * width <= d.len());
                from..from + count * width
            };
            let state = state.as_deref().map(|s| &s[of(s, 0, o)]);
            let cell = cell.as_deref().map(|s| &s[of(s, 0, h)]);
            let lengths = lengths.as_deref().map(|s| &s[of(s, 0, 1)]);
            dh.at_mut(0).fill(T::zero());
            if c.last {
                let from = z.steps * z.batch * o;
                let g = &g[from..];
                dc.at_mut(0).copy_from_slice(&g[of(g, 0, h)]);
            } else {
                dc.at_mut(0).fill(T::zero());
            }
            for s in (0..z.steps).rev() {
                let t = time(c, z.steps, s);
                let before_t = (s > 0).then(|| time(c, z.steps, s - 1));
                let running = Running { lengths, t };
                let gy = &g[of(&g, t, o)];
                if c.projection || states {
                    let to = whole.at_mut(t);
                    for (r, to) in to.chunks_exact_mut(o).enumerate() {
                        let at = r * o..(r + 1) * o;
                        if running.at(r) {
                            let dh = dh.at_mut(0);
                            for ((to, g), d) in to.iter_mut().zip(&gy[at.clone()]).zip(&dh[at]) {
                                *to = *g + *d;
                            }
                        } else {
                            to.fill(T::zero());
                        }
                    }
                }
                match c.gate {
                    Gate::Tanh | Gate::Relu => dispatch_for::<T, _>(RnnBack {
                        relu: c.gate == Gate::Relu,
                        hidden: h,
                        y: &y[of(y, t, h)],
                        gy,
                        dh: dh.at_mut(0),
                        running,
                        dx: dx.at_mut(t),
                    }),
                    Gate::Gru => {
                        let starts = |r: usize| {
                            s == 0
                                || c.reverse
                                    && lengths.is_some_and(|l| l[r] <= T::from_f64((t + 1) as f64))
                        };
                        dispatch_for::<T, _>(GruBack {
                            hidden: h,
                            gates: &gates[of(gates, t, 4 * h)],
                            before: before_t.map(|b| &y[of(y, b, h)]),
                            start: state,
                            starts: &starts,
                            gy,
                            dh: dh.at_mut(0),
                            running,
                            dx: dx.at_mut(t),
                            dq: dq.at_mut(t),
                            product: products.at_mut(0),
                        });
                    }
                    Gate::Lstm => {
                        if c.projection {
                            gemm_packed(
                                count,
                                h,
                                o,
                                MatRef::row_major(whole.at(t), o),
                                packed_p,
                                T::zero(),
                                MatMut::row_major(dm.at_mut(0), h),
                            );
                            // With a projection the rows' own part is used up here.
                            for (r, d) in dh.at_mut(0).chunks_exact_mut(o).enumerate() {
                                if running.at(r) {
                                    d.fill(T::zero());
                                }
                            }
                        }
                        dispatch_for::<T, _>(LstmBack {
                            hidden: h,
                            gates: &gates[of(gates, t, 4 * h)],
                            cell: &cells[of(cells, t, h)],
                            before: match before_t {
                                Some(b) => Some(&cells[of(cells, b, h)]),
                                None => cell,
                            },
                            gm: if c.projection { dm.at(0) } else { gy },
                            dh: (!c.projection).then(|| dh.at_mut(0)),
                            dc: dc.at_mut(0),
                            running,
                            dx: dx.at_mut(t),
                        });
                    }
                }
                if s > 0 || state.is_some() {
                    let from = if gru { products.at(0) } else { dx.at(t) };
                    gemm_packed(
                        count,
                        o,
                        sums,
                        MatRef::row_major(from, sums),
                        packed,
                        T::one(),
                        MatMut::row_major(dh.at_mut(0), o),
                    );
                }
            }
        });
    });
}

/// The cotangent of one of the weights, from what [`sequence`] and [`gradient`] computed.
pub(super) fn weight_gradient<T: Scratch>(
    c: &Config,
    z: &Sizes,
    of: Of,
    made: &Tensor<T>,
    grads: &Tensor<T>,
    inputs: &Inputs<'_, T>,
    out: &mut [T],
) {
    let (h, o, sums) = (z.hidden, z.out, z.sums);
    let (made, grads) = (flat(made), flat(grads));
    let (kept, found) = (z.forward(c), z.backward(c, false));
    let of_made = |i: usize| &made[start(&kept, i)..][..kept[i]];
    let of_grads = |i: usize| &grads[start(&found, i)..][..found[i]];
    let (y, dx, dq) = (of_made(0), of_grads(0), of_grads(3));
    let gru = c.gate == Gate::Gru;
    // The cotangents of the recurrent products: those of x, but for a GRU's q.
    let parts: [(&[T], usize, usize); 2] = if gru {
        [(dx, sums, 2 * h), (dq, h, h)]
    } else {
        [(dx, sums, sums), (&[], 0, 0)]
    };
    match of {
        Of::Inputs => unreachable!("computed by `gradient`"),
        Of::Weight => {
            let state = inputs.flat(c.state());
            let lengths = inputs.flat(c.lengths());
            let mut to = 0;
            for (d, width, used) in parts {
                let out = &mut out[to * o..][..used * o];
                to += used;
                let later = z.steps.saturating_sub(1) * z.batch;
                // Rows of time t beside the states before them.
                let (skip_d, skip_y) = if c.reverse {
                    (0, z.batch)
                } else {
                    (z.batch, 0)
                };
                let (skip_d, skip_y) = if later == 0 { (0, 0) } else { (skip_d, skip_y) };
                product(
                    used,
                    o,
                    later,
                    MatRef {
                        offset: skip_d * width,
                        ..MatRef::row_major(d, width)
                    },
                    MatRef {
                        offset: skip_y * o,
                        ..MatRef::row_major(y, o)
                    },
                    T::zero(),
                    out,
                );
                let Some(state) = &state else { continue };
                if z.steps == 0 {
                    continue;
                }
                let state = MatRef::row_major(&state[..], o);
                match &lengths {
                    Some(l) if c.reverse => T::with_scratch(z.batch * used, |first| {
                        for (r, to) in first.chunks_exact_mut(used.max(1)).enumerate() {
                            match l[r].as_f64() as usize {
                                0 => to.fill(T::zero()),
                                n => {
                                    let t = n.min(z.steps) - 1;
                                    to.copy_from_slice(&d[(t * z.batch + r) * width..][..used]);
                                }
                            }
                        }
                        let first = MatRef::row_major(first, used);
                        product(used, o, z.batch, first, state, T::one(), out);
                    }),
                    _ => {
                        let first = MatRef {
                            offset: time(c, z.steps, 0) * z.batch * width,
                            ..MatRef::row_major(d, width)
                        };
                        product(used, o, z.batch, first, state, T::one(), out);
                    }
                }
            }
        }
        Of::Projection => product(
            o,
            h,
            z.steps * z.batch,
            MatRef::row_major(of_grads(4), o),
            MatRef::row_major(of_made(4), h),
            T::zero(),
            out,
        ),
        Of::HiddenBias => {
            out.fill(T::zero());
            let mut to = 0;
            for (d, width, used) in parts {
                let out = &mut out[to..to + used];
                to += used;
                for row in d.chunks_exact(width.max(1)) {
                    out.iter_mut().zip(row).for_each(|(o, d)| *o += *d);
                }
            }
        }
    }
}

/// c = aᵀ b + beta c for `a` of `k x m` and `b` of `k x n`.
fn product<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: &mut [T],
) {
    if c.is_empty() {
        return;
    }
    gemm(
        m,
        n,
        k,
        T::one(),
        a.t(),
        b,
        beta,
        MatMut::row_major(c, n),
        Epilogue::None,
    );
}
