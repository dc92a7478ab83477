//! The derivatives of attention's derivatives as operations.

use super::Config;
use super::kernels::{Given, Job};
use super::second::Cotangent;
use crate::float::Float;
use crate::op::small;
use crate::op::{Cotangents, ForwardCtx, Op, VjpCtx};
use crate::ops::compose::{PartRule, partials};
use crate::ops::reduce::sum_to;
use crate::var::Var;
use wengert_tensor::error::OrPanic;
use wengert_tensor::{Dims, Result, Tensor};

impl Config {
    /// A cotangent of one of the derivatives, as the kernels take it.
    fn cotangent<'a, T: Float>(
        &self,
        of: usize,
        ct: &'a Tensor<T>,
        job: &Job<'_, T>,
    ) -> Cotangent<'a, T> {
        match (of, &job.mask) {
            (0, _) => Cotangent::Q(ct),
            (1, _) => Cotangent::K(ct),
            (3, Some(mask)) => {
                let wide = ct.layout().broadcast_to("attention", mask.shape());
                Cotangent::Mask(ct.with_layout(wide.or_panic()).or_panic())
            }
            _ => Cotangent::V(ct),
        }
    }

    /// What [`PackedSecond`] computes, for one input, as a composition. `x`: the cotangent of a derivative,
    /// the operands, the cotangent of the output.
    fn second<'t, T: Float>(&self, of: usize, to: usize, x: &[Var<'t, T>]) -> Var<'t, T> {
        let (ct, own, g) = (x[0], &x[1..], x[x.len() - 1]);
        let (q, k, v) = (own[0], own[1], own[2]);
        let p = self.weights(own);
        let w = |u: Var<'t, T>| p * (u - (u * p).sum_dim(-1, true));
        let (scores, direct) = if of == 2 {
            if to == 3 {
                return self.dropped(own, p).matmul(ct);
            }
            (w(self.dropped(own, g.matmul(ct.t()))), None)
        } else {
            let h = match of {
                0 => ct.matmul(k.t()) * self.scale,
                1 => q.matmul(ct.t()) * self.scale,
                _ => (ct.broadcast_to(self.wide(q.size(1), k.size(1)))).reshape(p.shape()),
            };
            if to == 2 || to == 3 {
                let t = self.dropped(own, w(h));
                return if to == 2 {
                    t.t().matmul(g)
                } else {
                    t.matmul(v)
                };
            }
            let dp = self.dropped(own, g.matmul(v.t()));
            let slopes = dp - (dp * p).sum_dim(-1, true);
            let eta = (p * h).sum_dim(-1, true);
            let direct = match (of, to) {
                (0, 1) => Some((p * slopes).t().matmul(ct)),
                (1, 0) => Some((p * slopes).matmul(ct)),
                _ => None,
            };
            (w(h * slopes - eta * dp), direct)
        };
        let product = match to {
            0 => scores.matmul(k),
            1 => scores.t().matmul(q),
            _ => {
                let wide = self.wide(q.size(1), k.size(1));
                return sum_to(scores.reshape(wide), &own[3].shape());
            }
        };
        direct.map_or(product, |d| product + d) * self.scale
    }
}

/// The cotangents of q, k, v and the output's cotangent, or that of the mask, for a cotangent of the derivative `of`. Inputs: that,
/// output, lse, the output's cotangent, the operands. Output: `[b, lq d + lk d + lk dv + lq dv]`, or for the mask its elements as
/// one line.
#[derive(Debug, PartialEq)]
pub(super) struct PackedSecond {
    pub config: Config,
    pub of: usize,
    pub to_mask: bool,
}
impl<T: Float> Op<T> for PackedSecond {
    fn name(&self) -> &'static str {
        ["attention_second", "attention_mask_second"][usize::from(self.to_mask)]
    }
    fn shape(&self, inputs: &[&[usize]]) -> Result<Dims> {
        if self.to_mask {
            return Ok(small![1, inputs[7].iter().product()]);
        }
        let (q, k, v) = (inputs[4], inputs[5], inputs[6]);
        Ok(small![q[0], (q[1] + k[1]) * (q[2] + v[2])])
    }
    fn forward(&self, ctx: &mut ForwardCtx<'_, T>) {
        let job = self.config.job(|i| ctx.input(4 + i));
        let of = self.config.cotangent(self.of, ctx.input(0), &job);
        let given = Given {
            job: &job,
            y: ctx.input(1),
            lse: ctx.input(2),
            g: ctx.input(3),
        };
        if self.to_mask {
            let shape = ctx.input(7).shape();
            T::attention_mask_second(&given, of, ctx.output(), shape);
        } else {
            T::attention_second(&given, of, ctx.output());
        }
    }
    fn vjp<'t>(&self, _: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        unreachable!("recorded without gradient; its parts carry the rules")
    }
    fn flops(&self, inputs: &[&[usize]], _: &[usize]) -> u64 {
        let (q, v) = (inputs[4], inputs[6]);
        let terms = if self.to_mask {
            4 * q[2] + 2 * v[2]
        } else {
            7 * q[2] + 4 * v[2]
        };
        2 * (q[0] * q[1] * v[1] * terms) as u64
    }
}

/// The cotangent of q, k, v, the output's cotangent or the mask, a view of [`PackedSecond`]'s output.
/// Inputs: that, then those of [`Config::second`], which its derivatives come from.
#[derive(Debug, PartialEq)]
pub(super) struct SecondPart {
    pub config: Config,
    pub of: usize,
    pub to: usize,
}
impl<T: Float> PartRule<T> for SecondPart {
    fn name(&self) -> &'static str {
        [
            "attention_second_q",
            "attention_second_k",
            "attention_second_v",
            "attention_second_cotangent",
            "attention_second_mask",
        ][self.to]
    }
    fn vjp<'t>(&self, ctx: &VjpCtx<'t, '_, T>) -> Cotangents<'t, T> {
        let mut cts: Cotangents<'t, T> = small![None];
        let inputs = &ctx.inputs()[1..];
        cts.extend(partials(inputs, &ctx.needs[1..], ctx.cotangent(), |x| {
            self.config.second(self.of, self.to, x)
        }));
        cts
    }
}
