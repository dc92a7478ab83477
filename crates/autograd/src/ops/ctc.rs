//! Connectionist temporal classification (Graves et al. 2006).

use crate::diff::dependents;
use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compiled_here;
use crate::ops::compose::partials;
use crate::ops::index::check_indices;
use crate::var::Var;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;
use wengert_tensor::{Dims, Real, Result, Tensor, parallel};

compiled_here! {
    /// Kernels of this file.
    CtcKernels {
        fn ctc(x: &Tensor<Self>, tables: [&Tensor<i64>; 2], out: &mut [Self], zero_infinity: bool) = ctc;
        fn ctc_grad(
            x: &Tensor<Self>, tables: [&Tensor<i64>; 2], g: &Tensor<Self>, out: &mut [Self], zero_infinity: bool,
        ) = ctc_grad;
    }
}

const NEVER: f64 = f64::NEG_INFINITY;

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a < b { (b, a) } else { (a, b) };
    if high == NEVER {
        NEVER
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// One sample: its log-probabilities, its labels with blanks between and around them.
struct Sample<'a, T: Real> {
    x: &'a Tensor<T>,
    n: usize,
    steps: usize,
    labels: Vec<usize>,
}

impl<'a, T: Real> Sample<'a, T> {
    /// Tables: the extended labels `[.., n, 2 s + 1]`, and per sample the number of steps and of labels.
    fn new(x: &'a Tensor<T>, tables: [&Tensor<i64>; 2], n: usize) -> Self {
        let [labels, lengths] = tables;
        let count = 2 * lengths.get(&[n, 1]) as usize + 1;
        Sample {
            x,
            n,
            steps: lengths.get(&[n, 0]) as usize,
            labels: (0..count)
                .map(|s| labels.get(&[0, n, s]) as usize)
                .collect(),
        }
    }

    fn log_probability(&self, t: usize, s: usize) -> f64 {
        let (l, d) = (self.x.layout(), self.x.strides());
        let at = l.offset as isize
            + t as isize * d[0]
            + self.n as isize * d[1]
            + self.labels[s] as isize * d[2];
        self.x.storage().as_slice()[at as usize].as_f64()
    }

    /// Whether a path may go from place s - 2 to s: between different labels, over the blank.
    fn skips(&self, s: usize) -> bool {
        s >= 2 && s % 2 == 1 && self.labels[s] != self.labels[s - 2]
    }

    /// ln of the probability of all paths that are at place s at time t, for all t (rows) and s.
    fn forward(&self) -> Vec<f64> {
        let w = self.labels.len();
        let mut a = vec![NEVER; self.steps * w];
        for t in 0..self.steps {
            for s in 0..w {
                let ways = if t == 0 {
                    if s < 2 { 0.0 } else { NEVER }
                } else {
                    let before = &a[(t - 1) * w..t * w];
                    let mut sum = before[s];
                    if s >= 1 {
                        sum = log_add(sum, before[s - 1]);
                    }
                    if self.skips(s) {
                        sum = log_add(sum, before[s - 2]);
                    }
                    sum
                };
                a[t * w + s] = ways + self.log_probability(t, s);
            }
        }
        a
    }

    /// ln of the probability of the labels, from [`Sample::forward`].
    fn total(&self, a: &[f64]) -> f64 {
        let w = self.labels.len();
        if self.steps == 0 {
            return if w == 1 { 0.0 } else { NEVER };
        }
        let last = &a[(self.steps - 1) * w..];
        let end = last[w - 1];
        if w > 1 {
            log_add(end, last[w - 2])
        } else {
            end
        }
    }
}

fn ctc<T: Real>(x: &Tensor<T>, tables: [&Tensor<i64>; 2], out: &mut [T], zero_infinity: bool) {
    parallel::chunks_mut(out, 1, |n, out| {
        let sample = Sample::new(x, tables, n);
        let loss = -sample.total(&sample.forward());
        out[0] = T::from_f64(if zero_infinity && loss == f64::INFINITY {
            0.0
        } else {
            loss
        });
    });
}

/// Per sample `[steps, classes]`: -g times the probability of being at a label at a time, given the labels.
fn ctc_grad<T: Real>(
    x: &Tensor<T>,
    tables: [&Tensor<i64>; 2],
    g: &Tensor<T>,
    out: &mut [T],
    zero_infinity: bool,
) {
    let (steps, classes) = (x.shape()[0], x.shape()[2]);
    out.fill(T::zero());
    parallel::chunks_mut(out, steps * classes, |n, out| {
        let sample = Sample::new(x, tables, n);
        let w = sample.labels.len();
        let a = sample.forward();
        let total = sample.total(&a);
        let g = g.get(&[n]).as_f64();
        if total == NEVER {
            // No path gives the labels: the loss is infinite and has no derivative.
            if !zero_infinity {
                out[..sample.steps * classes].fill(T::nan());
            }
            return;
        }
        let mut after = vec![NEVER; w];
        let mut occupied = vec![0.0f64; classes];
        for t in (0..sample.steps).rev() {
            // ln of the probability of what follows time t, for each place at t.
            let here: Vec<f64> = (0..w)
                .map(|s| {
                    if t + 1 == sample.steps {
                        return if s + 2 >= w { 0.0 } else { NEVER };
                    }
                    let go = |s: usize| after[s] + sample.log_probability(t + 1, s);
                    let mut sum = go(s);
                    if s + 1 < w {
                        sum = log_add(sum, go(s + 1));
                    }
                    if s + 2 < w && sample.skips(s + 2) {
                        sum = log_add(sum, go(s + 2));
                    }
                    sum
                })
                .collect();
            occupied.fill(0.0);
            for s in 0..w {
                occupied[sample.labels[s]] += (a[t * w + s] + here[s] - total).exp();
            }
            for (o, &p) in out[t * classes..][..classes].iter_mut().zip(&occupied) {
                *o = T::from_f64(-g * p);
            }
            after = here;
        }
    });
}

/// Inputs: log-probabilities `[t, n, c]`; extended labels `[t, n, w]` and lengths `[n, 2]` (integers); and for the second
/// derivative where a skip is possible `[n, w]`, where a sample still runs `[t, n]`, where a path may end `[n, w]`.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Ctc {
    zero_infinity: bool,
}

impl Ctc {
    /// The losses as a composition: T steps of the forward recursion.
    fn composed<'t, T: Float>(x: Var<'t, T>, v: &[Var<'t, T>]) -> Var<'t, T> {
        let (labels, skip, live, end) = (v[1], v[3], v[4], v[5]);
        let tape = x.tape();
        // A finite stand-in for ln 0 keeps derivatives finite where both terms are impossible.
        let never = tape.scalar(-1e30);
        let own = tape.apply(crate::ops::index::Gather { axis: 2 }, &[x, labels]);
        let (steps, n, w) = (own.size(0), own.size(1), own.size(2));
        // A sample without steps is at its first blank with probability 1.
        let first = live
            .select(0, 0)
            .unsqueeze(1)
            .where_(own.select(0, 0), tape.scalar(0.0));
        let mut a = first.narrow(1, 0, w.min(2));
        if w > 2 {
            a = Var::cat(&[a, never.broadcast_to([n, w - 2])], 1);
        }
        let late = |a: Var<'t, T>, by: usize| {
            let by = by.min(w);
            let fill = never.broadcast_to([n, by]);
            Var::cat(&[fill, a.narrow(1, 0, w - by)], 1)
        };
        for t in 1..steps {
            let two = skip.where_(late(a, 2), never);
            let next = a.logaddexp(late(a, 1)).logaddexp(two) + own.select(0, t);
            a = live.select(0, t).unsqueeze(1).where_(next, a);
        }
        -end.where_(a, never).logsumexp_dim(1, false)
    }
}

impl<T: Float> Op<T> for Ctc {
    fn name(&self) -> &'static str {
        "ctc"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let (x, labels) = (inputs[0], inputs[1]);
        if x.len() != 3 || x[1] != labels[1] {
            return Err(shape_error(
                "ctc",
                format!("log-probabilities of shape {x:?} and labels {labels:?} do not fit"),
            ));
        }
        Ok(small![x[1]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, tables) = (ctx.input(0), [ctx.ints(1), ctx.ints(2)]);
        T::ctc(x, tables, ctx.output(), self.zero_infinity);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let mut args: smallvec::SmallVec<[Var<'t, T>; 12]> = ctx.inputs().iter().copied().listed();
        args.push(ctx.cotangent());
        let g = ctx.cotangent().tape().apply(CtcGrad(*self), &args);
        // The kernel writes sample by sample.
        let mut cts: Cotangents<'t, T> = small![Some(g.transpose(0, 1))];
        cts.extend((1..ctx.inputs().len()).map(|_| None));
        cts
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        40 * inputs[1].iter().product::<usize>() as u64
    }
}

/// Cotangent of the log-probabilities, as `[n, t, c]`. Inputs: those of [`Ctc`], then its cotangent.
#[derive(Debug, PartialEq)]
struct CtcGrad(Ctc);
impl<T: Float> Op<T> for CtcGrad {
    fn name(&self) -> &'static str {
        "ctc_grad"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        let x = inputs[0];
        Ok(small![x[1], x[0], x[2]])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let (x, tables) = (ctx.input(0), [ctx.ints(1), ctx.ints(2)]);
        let g = ctx.input(ctx.len() - 1);
        T::ctc_grad(x, tables, g, ctx.output(), self.0.zero_infinity);
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        partials(ctx.inputs(), ctx.needs, ctx.cotangent(), |v| {
            // The gradient of the composition, as a function of x and g.
            let (x, g) = (v[0], v[v.len() - 1]);
            let loss = Ctc::composed(x, v);
            // A sample without an alignment has the gradient 0 or NaN whatever it is multiplied by.
            let none = loss.gt_scalar(1e29);
            let g = match self.0.zero_infinity {
                true => g.mask_not(none),
                false => g * none.where_(x.tape().scalar(f64::NAN), x.tape().scalar(1.0)),
            };
            let depends = dependents(x.tape(), &[x.id], loss.id);
            let adjoint = T::differentiate(x.tape(), &[(loss.id, g.id)], &depends);
            let own = adjoint[x.id as usize].map(|a| Var::new(x.tape(), a));
            own.unwrap_or_else(|| x * 0.0).transpose(0, 1)
        })
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        100 * inputs[1].iter().product::<usize>() as u64
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// CTC loss of log-probabilities `[t, n, classes]`: -ln of the probability of all paths that give the labels when
    /// repetitions are merged and blanks dropped; one number per sample.
    ///
    /// `targets` are labels `[n, s]`, of which the first `target_lengths[i]` count; of the steps the first
    /// `input_lengths[i]` count. Where no path gives the labels (repeated labels need a blank between them) the loss is
    /// infinite and its gradient NaN, or both are 0 with `zero_infinity`. The second derivative is that of the recursion in
    /// elementary operations.
    ///
    /// # Panics
    /// When the shapes do not fit, a label is the blank or out of range, a length is larger than its axis, or there are
    /// more labels than steps.
    #[track_caller]
    pub fn ctc(
        self,
        targets: &Tensor<i64>,
        input_lengths: &[usize],
        target_lengths: &[usize],
        blank: usize,
        zero_infinity: bool,
    ) -> Self {
        let shape = self.shape();
        let fits = shape.len() == 3
            && targets.rank() == 2
            && targets.shape()[0] == shape[1]
            && input_lengths.len() == shape[1]
            && target_lengths.len() == shape[1];
        assert!(
            fits,
            "ctc: log-probabilities of shape {:?}, targets of shape {:?}, {} input lengths and {} target lengths do not \
             fit (expected [t, n, classes], [n, s], n and n)",
            shape.as_slice(),
            targets.shape(),
            input_lengths.len(),
            target_lengths.len()
        );
        let (steps, n, classes) = (shape[0], shape[1], shape[2]);
        let most = targets.shape()[1];
        assert!(
            steps > 0 && blank < classes,
            "ctc: expected at least one step and a blank below {classes} classes, found shape {:?} and blank {blank}",
            shape.as_slice()
        );
        let w = 2 * most + 1;
        let mut labels = Tensor::full([n, w], blank as i64);
        let mut skip = Tensor::<T>::zeros([n, w]);
        let mut end = Tensor::<T>::zeros([n, w]);
        for i in 0..n {
            let (t, s) = (input_lengths[i], target_lengths[i]);
            assert!(
                t <= steps && s <= most && s <= t,
                "ctc: sample {i} has {s} labels (at most {most}) and {t} steps (at most {steps}): expected no more labels \
                 than steps"
            );
            let own: Vec<i64> = (0..s).map(|k| targets.get(&[i, k])).collect();
            check_indices("ctc", "label", &Tensor::from_slice(&own, [s]), classes).or_panic();
            assert!(
                !own.contains(&(blank as i64)),
                "ctc: sample {i} has the blank {blank} among its labels"
            );
            for (k, &y) in own.iter().enumerate() {
                labels.as_mut_slice()[i * w + 2 * k + 1] = y;
                if k > 0 && own[k - 1] != y {
                    skip.as_mut_slice()[i * w + 2 * k + 1] = T::one();
                }
            }
            end.as_mut_slice()[i * w + 2 * s] = T::one();
            if s > 0 {
                end.as_mut_slice()[i * w + 2 * s - 1] = T::one();
            }
        }
        let lengths = Tensor::from_fn([n, 2], |i| {
            [input_lengths, target_lengths][i[1]][i[0]] as i64
        });
        let live = Tensor::from_fn([steps, n], |i| {
            if i[0] < input_lengths[i[1]] {
                T::one()
            } else {
                T::zero()
            }
        });
        let tape = self.tape();
        let args = [
            self,
            tape.int_input(&labels.broadcast_to([steps, n, w])),
            tape.int_input(&lengths),
            tape.input(&skip),
            tape.input(&live),
            tape.input(&end),
        ];
        tape.apply(Ctc { zero_infinity }, &args)
    }
}
