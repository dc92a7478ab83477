//! Scaled dot-product attention without the matrix of all weights: blocks of keys pass by blocks of queries with a
//! running softmax (Milakov and Gimelshein 2018; Dao et al. 2022).

mod grad;
mod kernels;
mod second;

use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx, shape_error};
use crate::ops::compose::{PackedPart, PartRule};
use crate::var::Var;
use grad::{PackedSecond, SecondPart};
pub use kernels::AttentionKernels;
use kernels::{Given, Job};
use smallvec::SmallVec;
use wengert_tensor::error::OrPanic;
use wengert_tensor::list::Listed;
use wengert_tensor::shape::broadcast;
use wengert_tensor::{Dims, Result, Tensor};

/// The operands are q, k, v `[b, l, d]`, then the mask if there is one, then four random numbers if weights are dropped.
#[derive(Debug, PartialEq, Clone)]
struct Config {
    scale: f64,
    causal: bool,
    masked: bool,
    /// The probability with which weights are dropped; 0 if none are.
    dropout: f64,
    /// The leading axes, `b` together.
    batch: Dims,
}

impl Config {
    fn check(&self, inputs: &[&[usize]]) -> Result<()> {
        let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
        let fits = q[0] == k[0] && k[0] == v[0] && q[2] == k[2] && k[1] == v[1];
        if !fits {
            return Err(shape_error(
                "scaled_dot_product_attention",
                format!("queries {q:?}, keys {k:?} and values {v:?} do not fit"),
            ));
        }
        Ok(())
    }

    /// What the kernels get, from the operands.
    fn job<'a, T: Float>(&self, input: impl Fn(usize) -> &'a Tensor<T>) -> Job<'a, T> {
        let (q, k, v) = (input(0), input(1), input(2));
        let wide = self.wide(q.shape()[1], k.shape()[1]);
        let stretched = |m: &Tensor<T>| {
            let layout = m.layout().broadcast_to("attention", &wide).or_panic();
            m.with_layout(layout).or_panic()
        };
        Job {
            q,
            k,
            v,
            mask: self.masked.then(|| stretched(input(3))),
            dropout: (self.dropout > 0.0)
                .then(|| (self.dropout, input(3 + usize::from(self.masked)))),
            scale: self.scale,
            causal: self.causal,
        }
    }

    /// The shape of all scores.
    fn wide(&self, lq: usize, lk: usize) -> Dims {
        let mut wide = self.batch.clone();
        wide.extend_from_slice(&[lq, lk]);
        wide
    }

    /// The weights softmax(scale q kᵀ + mask), as a composition.
    fn weights<'t, T: Float>(&self, v: &[Var<'t, T>]) -> Var<'t, T> {
        let (q, k) = (v[0], v[1]);
        let mut s = q.matmul(k.t()) * self.scale;
        if self.masked {
            let wide = self.wide(q.size(1), k.size(1));
            s = s + v[3].broadcast_to(wide).reshape(s.shape());
        }
        if self.causal {
            let keep = s.tape().tri(q.size(1), k.size(1), 0);
            s = keep.where_(s, s.tape().scalar(f64::NEG_INFINITY));
        }
        if s.numel() == 0 {
            return s;
        }
        // A query whose keys are all excluded has no weights.
        let most = s.detach().amax_dim(-1, true);
        let some = most.ne(most.tape().scalar(f64::NEG_INFINITY));
        some.where_(s, s.tape().scalar(0.0)).softmax(-1).mask(some)
    }
}

impl Config {
    /// Weights, or their cotangents, with those dropped that were: a composition.
    fn dropped<'t, T: Float>(&self, v: &[Var<'t, T>], x: Var<'t, T>) -> Var<'t, T> {
        if self.dropout == 0.0 {
            return x;
        }
        let op = KeepFactors {
            p: self.dropout,
            shape: x.shape(),
        };
        let keep = v[3 + usize::from(self.masked)].apply(op);
        x.mask(keep) * keep
    }
}

/// The factors of dropout, as a whole. Input: the four random numbers that they are made from.
#[derive(Debug, PartialEq)]
struct KeepFactors {
    p: f64,
    shape: Dims,
}
impl<T: Float> Op<T> for KeepFactors {
    fn name(&self) -> &'static str {
        "attention_dropout_mask"
    }
    fn shape(&self, _: &[&[usize]]) -> Result<Dims> {
        Ok(self.shape.clone())
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        T::attention_keep(ctx.input(0), self.p, ctx.output());
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        small![None]
    }
}

/// Inputs: the operands. Output: `[b, lq · dv + lq]`, the results and ln Σ e^s of each query.
#[derive(Debug, PartialEq)]
struct Packed(Config);
impl<T: Float> Op<T> for Packed {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        self.0.check(inputs)?;
        Ok(small![inputs[0][0], inputs[0][1] * (inputs[2][2] + 1)])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let job = self.0.job(|i| ctx.input(i));
        T::attention(&job, ctx.output());
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (q, v) = (inputs[0], inputs[2]);
        2 * (q[0] * q[1] * v[1] * (q[2] + v[2])) as u64
    }
}

/// The output, a view of [`Packed`]'s. Inputs: that, the operands.
#[derive(Debug, PartialEq)]
struct Output {
    config: Config,
}
impl<T: Float> PartRule<T> for Output {
    fn name(&self) -> &'static str {
        "attention_output"
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (packed, q, k, v) = (ctx.input(0), ctx.input(1), ctx.input(2), ctx.input(3));
        let g = ctx.cotangent();
        let tape = g.tape();
        let own = &ctx.inputs()[1..];
        let config = &self.config;
        let (b, lq, d) = (q.size(0), q.size(1), q.size(2));
        let (lk, dv) = (k.size(1), v.size(2));
        let mut args: SmallVec<[Var<'t, T>; 12]> = own.iter().copied().listed();
        args.push(g);
        let lse = || tape.no_grad(|| packed.narrow(1, lq * dv, lq * dv + lq));
        let parts = |op: &dyn Fn(&[Var<'t, T>]) -> Var<'t, T>| {
            tape.no_grad(|| {
                let mut all: SmallVec<[Var<'t, T>; 12]> = small![ctx.output(), lse(), g];
                all.extend_from_slice(own);
                op(&all)
            })
        };
        let part = |grads: Var<'t, T>, of: usize| {
            let rule = GradPart {
                config: config.clone(),
                of,
            };
            let (start, shape): (usize, Dims) = match of {
                0 => (0, small![b, lq, d]),
                1 => (lq * d, small![b, lk, d]),
                2 => ((lq + lk) * d, small![b, lk, dv]),
                _ => (0, own[3].shape()),
            };
            let mut all: SmallVec<[Var<'t, T>; 12]> = small![grads];
            all.extend_from_slice(&args);
            all.extend([ctx.output(), lse()]);
            tape.apply(PackedPart { start, shape, rule }, &all)
        };
        let mut cts: Cotangents<'t, T> = small![None];
        let some = (1..4).any(|i| ctx.needs(i));
        let packed_grad = |of_mask: bool| {
            let config = config.clone();
            parts(&|all| {
                let config = config.clone();
                tape.apply(PackedGrad { config, of_mask }, all)
            })
        };
        let grads = some.then(|| packed_grad(false));
        for of in 0..3 {
            let grads = grads.filter(|_| ctx.needs(1 + of));
            cts.push(grads.map(|grads| part(grads, of)));
        }
        if config.masked {
            cts.push(ctx.needs(4).then(|| part(packed_grad(true), 3)));
        }
        cts.resize(1 + own.len(), None);
        cts
    }
}

/// The derivatives, as they lie side by side. Inputs: output, lse, cotangent, the operands. Output: `[b, lq d + lk d + lk dv]`, or
/// for the mask its elements as one line.
#[derive(Debug, PartialEq)]
struct PackedGrad {
    config: Config,
    of_mask: bool,
}
impl<T: Float> Op<T> for PackedGrad {
    fn name(&self) -> &'static str {
        ["attention_grad", "attention_mask_grad"][usize::from(self.of_mask)]
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        if self.of_mask {
            return Ok(small![1, inputs[6].iter().product()]);
        }
        let (q, k, v) = (inputs[3], inputs[4], inputs[5]);
        Ok(small![q[0], q[1] * q[2] + k[1] * (k[2] + v[2])])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let job = self.config.job(|i| ctx.input(3 + i));
        let given = Given {
            job: &job,
            y: ctx.input(0),
            lse: ctx.input(1),
            g: ctx.input(2),
        };
        if self.of_mask {
            let shape = ctx.input(6).shape();
            T::attention_mask_grad(&given, ctx.output(), shape);
        } else {
            T::attention_grad(&given, ctx.output());
        }
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (q, v) = (inputs[3], inputs[5]);
        let terms = if self.of_mask {
            q[2] + v[2]
        } else {
            3 * q[2] + 2 * v[2]
        };
        2 * (q[0] * q[1] * v[1] * terms) as u64
    }
}

/// The cotangent of q, k, v or the mask, a view of [`PackedGrad`]'s output. Inputs: that, the
/// operands, the cotangent, then, for the derivative rule, output and lse.
#[derive(Debug, PartialEq)]
struct GradPart {
    config: Config,
    of: usize,
}
impl<T: Float> PartRule<T> for GradPart {
    fn name(&self) -> &'static str {
        [
            "attention_grad_q",
            "attention_grad_k",
            "attention_grad_v",
            "attention_grad_mask",
        ][self.of]
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let (config, of) = (&self.config, self.of);
        let ct = ctx.cotangent();
        let tape = ct.tape();
        let last = ctx.inputs().len() - 3;
        let own = &ctx.inputs()[1..last];
        let (g, y, lse) = (ctx.input(last), ctx.input(last + 1), ctx.input(last + 2));
        let (q, k, v) = (own[0], own[1], own[2]);
        let (lq, lk, d, dv) = (q.size(1), k.size(1), q.size(2), v.size(2));
        let mut all: SmallVec<[Var<'t, T>; 12]> = small![ct, y, lse, g];
        all.extend_from_slice(own);
        let some = (1..4).any(|i| ctx.needs(i)) || ctx.needs(last);
        let second = |to_mask: bool| {
            let config = config.clone();
            let op = PackedSecond {
                config,
                of,
                to_mask,
            };
            tape.no_grad(|| tape.apply(op, &all))
        };
        let packed = some.then(|| second(false));
        let part = |packed: Var<'t, T>, to: usize, start: usize| {
            let mut all: SmallVec<[Var<'t, T>; 12]> = small![packed, ct];
            all.extend_from_slice(own);
            all.push(g);
            let like = match to {
                0..3 => own[to],
                3 => g,
                _ => own[3],
            };
            let shape = like.shape();
            let config = config.clone();
            let rule = SecondPart { config, of, to };
            tape.apply(PackedPart { start, shape, rule }, &all)
        };
        let starts = [0, lq * d, (lq + lk) * d, (lq + lk) * d + lk * dv];
        let want = |i: usize, to: usize| {
            // The derivative of the values does not depend on them.
            let packed = packed.filter(|_| ctx.needs(i) && (of, to) != (2, 2));
            packed.map(|packed| part(packed, to, starts[to]))
        };
        let mut cts: Cotangents<'t, T> = small![None, want(1, 0), want(2, 1), want(3, 2)];
        if config.masked {
            cts.push(ctx.needs(4).then(|| part(second(true), 4, 0)));
        }
        cts.resize(last, None);
        cts.extend([want(last, 3), None, None]);
        cts
    }
}

/// Settings of [`Var::scaled_dot_product_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Attention<'t, T: Float> {
    /// Added to the scores; broadcasts to `[.., queries, keys]`. -∞ excludes a key.
    pub mask: Option<Var<'t, T>>,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// Probability with which a weight is dropped (on a training tape).
    pub dropout: f64,
    /// Factor of the scores; 1/√d if `None`.
    pub scale: Option<f64>,
}

impl<T: Float> Default for Attention<'_, T> {
    fn default() -> Self {
        Attention {
            mask: None,
            causal: false,
            dropout: 0.0,
            scale: None,
        }
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Attention (Vaswani et al. 2017): softmax(q kᵀ / √d + mask) v, with queries `[.., lq, d]` (self), keys `[.., lk, d]`
    /// and values `[.., lk, dv]`; the leading axes broadcast.
    ///
    /// The weights are made block by block and again in the backward pass, never as a whole, and so is the mask of dropout;
    /// memory grows with lq + lk. The same holds for second derivatives; from the third on a composition makes the whole
    /// matrix. The gradient of a mask is added up in the mask's own shape. A query whose keys are all excluded gives zeros.
    ///
    /// ```
    /// use wengert_autograd::{Tape, Tensor, ops::attention::Attention};
    /// let tape = Tape::<f64>::inference();
    /// let x = tape.input(&Tensor::from_vec(vec![1.0, 0.0, 0.0, 1.0], [2, 2]));
    /// let y = x.scaled_dot_product_attention(x, x, Attention { causal: true, ..Default::default() });
    /// assert_eq!(y.value().to_vec()[..2], [1.0, 0.0]); // the first query sees the first key alone
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit, or the dropout is not in [0, 1].
    #[track_caller]
    pub fn scaled_dot_product_attention(
        self,
        keys: Self,
        values: Self,
        settings: Attention<'t, T>,
    ) -> Self {
        let op = "scaled_dot_product_attention";
        let (sq, sk, sv) = (self.shape(), keys.shape(), values.shape());
        assert!(
            (0.0..=1.0).contains(&settings.dropout),
            "{op}: expected a dropout probability in [0, 1], found {}",
            settings.dropout
        );
        let fits = sq.len() >= 2
            && sk.len() >= 2
            && sv.len() >= 2
            && sq[sq.len() - 1] == sk[sk.len() - 1]
            && sk[sk.len() - 2] == sv[sv.len() - 2];
        assert!(
            fits,
            "{op}: queries {:?}, keys {:?} and values {:?} do not fit (expected [.., lq, d], [.., lk, d], [.., lk, dv])",
            sq.as_slice(),
            sk.as_slice(),
            sv.as_slice()
        );
        let lead = |s: &Dims| Dims::from_slice(&s[..s.len() - 2]);
        let mut batch = broadcast(op, &lead(&sq), &lead(&sk)).or_panic();
        batch = broadcast(op, &batch, &lead(&sv)).or_panic();
        let b: usize = batch.iter().product();
        let (lq, lk, dv) = (sq[sq.len() - 2], sk[sk.len() - 2], sv[sv.len() - 1]);
        let mut args: SmallVec<[Self; 12]> = SmallVec::new();
        for (x, s) in [(self, &sq), (keys, &sk), (values, &sv)] {
            let mut wide = batch.clone();
            wide.extend_from_slice(&s[s.len() - 2..]);
            let x = x.broadcast_to(wide);
            args.push(x.reshape([b, s[s.len() - 2], s[s.len() - 1]]));
        }
        let tape = self.tape();
        if let Some(m) = settings.mask {
            let mut wide = batch.clone();
            wide.extend_from_slice(&[lq, lk]);
            let own = m.shape();
            assert!(
                broadcast(op, &own, &wide).is_ok_and(|s| s == wide),
                "{op}: the mask of shape {:?} does not stretch to {:?}",
                own.as_slice(),
                wide.as_slice()
            );
            let mut aligned: Dims = std::iter::repeat_n(1, wide.len() - own.len()).listed();
            aligned.extend_from_slice(&own);
            args.push(m.reshape(aligned));
        }
        let dropout = if tape.is_training() {
            settings.dropout
        } else {
            0.0
        };
        if dropout > 0.0 {
            args.push(tape.uniform([4], 0.0, 1.0));
        }
        let config = Config {
            scale: settings
                .scale
                .unwrap_or(1.0 / (sq[sq.len() - 1].max(1) as f64).sqrt()),
            causal: settings.causal,
            masked: settings.mask.is_some(),
            dropout,
            batch: batch.clone(),
        };
        let packed = tape.apply_no_grad(Packed(config.clone()), &args);
        args.insert(0, packed);
        let output = PackedPart {
            start: 0,
            shape: small![b, lq, dv],
            rule: Output { config },
        };
        let y = tape.apply(output, &args);
        batch.extend_from_slice(&[lq, dv]);
        y.reshape(batch)
    }
}
